"""The sets that torchvision reads, from a local folder: MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100.

Nothing is downloaded unless `download` is set. Each loader returns `(pixel / 255 - mean) / std`, one image of each
class in turn, so that a limit keeps a balanced part of the original.

The default `mean` and `std` are the customary ones, of all pixels / 255 of the training split. A network needs those
that it was trained with, which may differ: many CIFAR-10 networks were trained with a `std` near 0.20 (the mean of each
image's own deviation) or with ImageNet's numbers.
"""

from __future__ import annotations

import numpy as np
import torch

from rramsweep.arguments import checked_arguments
from rramsweep.datasets.arrays import Data
from rramsweep.datasets.pixels import by_turns, normalise

SPLITS = ("train", "test")

# pytorch/examples, mnist/main.py.
MNIST_MEAN, MNIST_STD = [0.1307], [0.3081]
# Widely used; the first 10,000 training images alone give 0.2863 and 0.3540.
FASHION_MNIST_MEAN, FASHION_MNIST_STD = [0.2860], [0.3530]
# Stevens, Antiga, Viehmann, Deep Learning with PyTorch (Manning, 2020), 7.1.4; its means differ by 3e-4 at most.
CIFAR10_MEAN, CIFAR10_STD = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]
# weiaicunzai/pytorch-cifar100, conf/global_settings.py, rounded.
CIFAR100_MEAN, CIFAR100_STD = [0.5071, 0.4865, 0.4409], [0.2673, 0.2564, 0.2762]


@checked_arguments
def mnist(
    root: str,
    split: str = "test",
    limit: int | None = None,
    mean: list[float] | None = MNIST_MEAN,
    std: list[float] | None = MNIST_STD,
    download: bool = False,
) -> Data:
    """MNIST: handwritten digits, `x` of shape `(N, 1, 28, 28)`; 60,000 training and 10,000 test images.

    Args:
        root: torchvision's root folder, which holds `MNIST/raw/` with the unpacked idx files.
        split: `"train"` or `"test"`.
        limit: keep this many images, balanced over the classes; None keeps all.
        mean: one number a channel, as the network was trained with; None subtracts nothing.
        std: likewise; None divides by nothing.
        download: let torchvision fetch missing files.

    Raises:
        ValueError: the files are missing or damaged, the download failed, or a parameter does not fit.

    Source: LeCun, Cortes, Burges, The MNIST database of handwritten digits.
    """
    return _load("MNIST", "MNIST", "MNIST/raw", root, split, limit, mean, std, download)


@checked_arguments
def fashion_mnist_full(
    root: str,
    split: str = "test",
    limit: int | None = None,
    mean: list[float] | None = FASHION_MNIST_MEAN,
    std: list[float] | None = FASHION_MNIST_STD,
    download: bool = False,
) -> Data:
    """All of Fashion-MNIST: `x` of shape `(N, 1, 28, 28)`; 60,000 training and 10,000 test images.

    Args, Raises: see `mnist`; `root` holds `FashionMNIST/raw/`.

    Source: Xiao, Rasul, Vollgraf, arXiv:1708.07747 (2017). The part of it that ships with the package, which needs
    no files, is `fashion_mnist`; it is normalised a little differently.
    """
    return _load("FashionMNIST", "Fashion-MNIST", "FashionMNIST/raw", root, split, limit, mean, std, download)


@checked_arguments
def cifar10(
    root: str,
    split: str = "test",
    limit: int | None = None,
    mean: list[float] | None = CIFAR10_MEAN,
    std: list[float] | None = CIFAR10_STD,
    download: bool = False,
) -> Data:
    """CIFAR-10: small pictures in ten classes, `x` of shape `(N, 3, 32, 32)`; 50,000 training and 10,000 test images.

    Args, Raises: see `mnist`; `root` holds `cifar-10-batches-py/`, whose pickles torchvision reads only if their
    checksums are the publisher's.

    Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009).
    """
    return _load("CIFAR10", "CIFAR-10", "cifar-10-batches-py", root, split, limit, mean, std, download)


@checked_arguments
def cifar100(
    root: str,
    split: str = "test",
    limit: int | None = None,
    mean: list[float] | None = CIFAR100_MEAN,
    std: list[float] | None = CIFAR100_STD,
    download: bool = False,
) -> Data:
    """CIFAR-100: small pictures in a hundred (fine) classes, `x` of shape `(N, 3, 32, 32)`; sizes as CIFAR-10.

    Args, Raises: see `mnist`; `root` holds `cifar-100-python/`, read under the same condition as CIFAR-10.

    Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009).
    """
    return _load("CIFAR100", "CIFAR-100", "cifar-100-python", root, split, limit, mean, std, download)


def _load(
    kind: str,
    title: str,
    folder: str,
    root: str,
    split: str,
    limit: int | None,
    mean: list[float] | None,
    std: list[float] | None,
    download: bool,
) -> Data:
    from torchvision import datasets  # takes a second, and no other loader needs it

    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}: choose one of these")
    remedy = (
        f"data.root must hold {title} in {folder}, but {root} lacks it or holds it damaged: point data.root to it, or "
        "let it be fetched with data.download=true"
    )
    try:
        found = getattr(datasets, kind)(root, train=split == "train", download=download)
    except Exception as error:  # torchvision documents no set of errors: a cut idx file alone raises three types
        if download:
            remedy = f"data.download must be able to fetch {title}, but failed to: copy its files to {root}/{folder}"
        raise ValueError(remedy) from error
    if len(found.data) != len(found.targets):
        raise ValueError(remedy)
    rows = by_turns(found.targets, limit)
    pixels = torch.as_tensor(found.data)[rows]
    images = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    labels = torch.from_numpy(np.asarray(found.targets, dtype=np.int64)[rows])
    images = normalise(images.contiguous().float() / 255, mean, std)
    return Data(images, labels, f"{title} ({split})", len(found.classes))
