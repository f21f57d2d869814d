"""Real images that ship with the package, so that every command works offline on the first try.

Both files hold unchanged `uint8` pixels, interleaved by class; scaling happens on loading. Licences and
sources are in `files/LICENSES.md`. They are ordinary `.npz` archives, but LZMA-compressed, which
`np.load` reads as it reads deflate and which keeps both together under 2 MB.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from rramsweep.arguments import checked_arguments
from rramsweep.datasets.arrays import Data

FILES = Path(__file__).parent / "files"
N_CLASSES = 10

# Mean and population standard deviation of pixel / 255 over all pixels of the 4000 embedded training images.
FASHION_MNIST_MEAN = np.float32(0.28677)
FASHION_MNIST_STD = np.float32(0.35435)

# A pixel of the digits counts the set points in a 4x4 block of a 32x32 bitmap, so its maximum is 16.
DIGITS_FULL = np.float32(16)


@checked_arguments
def fashion_mnist(split: str = "test", limit: int | None = None) -> Data:
    """Fashion-MNIST: clothing in ten classes, `x` of shape `(N, 1, 28, 28)`.

    Pixels are scaled to mean 0 and standard deviation 1 over the training split. The set is a balanced part of the
    original: `"train"` is the first 400 images of each class of the original training set (4000), `"test"` the first
    100 of each class of its test set (1000). Accuracies are therefore *not* comparable with published ones, which
    train on 60,000 and test on 10,000.

    Args:
        split: `"train"` or `"test"`.
        limit: keep this many images, balanced over the classes; `None` keeps all.

    Raises:
        ValueError: for another split, or a limit outside `1..N`.

    Source: Xiao, Rasul, Vollgraf, arXiv:1708.07747 (2017); MIT, Zalando SE.
    """
    images, labels = _load("fashion_mnist.npz", split, {"train": ("train",), "test": ("test",)})
    x = (images.astype(np.float32) / np.float32(255) - FASHION_MNIST_MEAN) / FASHION_MNIST_STD
    return _data(x, labels, f"Fashion-MNIST ({split})").take(limit)


@checked_arguments
def digits(split: str = "test", limit: int | None = None) -> Data:
    """Handwritten digits: `x` of shape `(N, 1, 8, 8)` in 0..1, 1797 images.

    The split is fixed. Of each class in source order, `"test"` is the third of every five images (numbers 2, 7,
    12, .. from 0), up to 35: 350 images, exactly balanced. `"train"` is the other 1447 (139 to 148 per class),
    `"all"` is both, test first. The source is not shuffled, and its last images are harder for a network trained on the
    others. This split has early and late images in both parts, so it is easier than a split by source order;
    `rramsweep.models.train` gives the numbers.

    Args:
        split: `"train"`, `"test"` or `"all"`.
        limit: keep this many images, balanced over the classes until the rarest class runs out; `None` keeps all.

    Raises:
        ValueError: for another split, or a limit outside `1..N`.

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI (1998); CC BY 4.0. These are the
    1797 images of the original's test file, as scikit-learn distributes them.
    """
    parts = {"train": ("train",), "test": ("test",), "all": ("test", "train")}
    images, labels = _load("digits.npz", split, parts)
    return _data(images.astype(np.float32) / DIGITS_FULL, labels, f"digits ({split})").take(limit)


def _load(file: str, split: str, parts: dict[str, tuple[str, ...]]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    if split not in parts:
        raise ValueError(f"split must be one of {', '.join(parts)}, got {split!r}: choose one of these")
    images, labels = zip(*(_part(file, part) for part in parts[split]), strict=True)
    return np.concatenate(images), np.concatenate(labels)


@cache  # 4 MB in all, which a process would unpack again for every sweep
def _part(file: str, part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    with np.load(FILES / file, allow_pickle=False) as arrays:
        return arrays[f"x_{part}"], arrays[f"y_{part}"]


def _data(x: NDArray[np.float32], labels: NDArray[np.uint8], name: str) -> Data:
    return Data(
        x=torch.from_numpy(x).unsqueeze(1),
        y=torch.from_numpy(labels.astype(np.int64)),
        name=name,
        n_classes=N_CLASSES,
    )
