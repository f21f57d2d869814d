"""A user's own images and labels from an `.npz` file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch

from rramsweep.datasets.arrays import Data
from rramsweep.datasets.pixels import normalise

LAYOUTS = ("NCHW", "NHWC", "NHW")


def npz(
    path: str,
    layout: str = "NCHW",
    scale: float = 1.0,
    mean: list[float] | None = None,
    std: list[float] | None = None,
    n_classes: int | None = None,
    limit: int | None = None,
    name: str | None = None,
) -> Data:
    """Images `x` and integer labels `y` of an `.npz` file, as `(x / scale - mean) / std`.

    Args:
        path: the file; its arrays are named `x` and `y`.
        layout: order of x's axes: NCHW, NHWC, or NHW for one channel.
        scale: what the pixels are divided by, 255 for bytes.
        mean, std: one number a channel, as the network was trained with; None leaves them out.
        n_classes: None takes the largest label plus one.
        limit: keep the first so many images.
        name: what the images are, for plots; None takes the file's name.

    Raises:
        ValueError: no such file, not an .npz, no `x` or `y`, object arrays, wrong shapes or dtypes, no rows, NaN or
            infinity, or parameters that do not fit.
    """
    arrays = _read(Path(path))
    x, y = arrays["x"], arrays["y"]
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}: pick one")
    if x.dtype.kind not in "fiu":
        raise ValueError(f"x must hold numbers, got dtype {x.dtype} in {path}: save float32 or uint8")
    if x.ndim != len(layout):
        raise ValueError(f"x must have {len(layout)} axes ({layout}), got shape {x.shape} in {path}: set data.layout")
    if y.dtype.kind not in "iu":
        raise ValueError(f"y must hold integer labels, got dtype {y.dtype} in {path}: save int64")
    if len(y) == 0:
        raise ValueError(f"y must hold at least one label, got none in {path}: save some rows")
    if not scale > 0:
        raise ValueError(f"scale must lie above 0, got {scale}: 255 for bytes, 1 for floats")
    images = torch.from_numpy(np.ascontiguousarray(x)).float() / scale
    if layout == "NHW":
        images = images.unsqueeze(1)
    elif layout == "NHWC":
        images = images.permute(0, 3, 1, 2).contiguous()
    images = normalise(images, mean, std)
    labels = torch.from_numpy(y.astype(np.int64)).reshape(y.shape)
    classes = int(labels.max()) + 1 if n_classes is None else n_classes
    return Data(images, labels, name or Path(path).stem, classes).take(limit)


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise ValueError(f"data.path must be an existing .npz file, got {path}: check the path")
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError(f"data.path must be an .npz archive, {path} holds one array: save with np.savez")
        with archive:
            lacking = [name for name in ("x", "y") if name not in archive.files]
            if lacking:
                raise ValueError(
                    f"an .npz must hold x and y, {path} lacks {' and '.join(lacking)} but has "
                    f"{', '.join(archive.files) or 'nothing'}: save it with np.savez(path, x=images, y=labels)"
                )
            return {name: archive[name] for name in ("x", "y")}
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise ValueError(
            f"data.path must be a whole .npz file, {path} cannot be read ({error}): save it again"
        ) from None
    except ValueError as error:
        if "allow_pickle" in str(error) or "Object arrays" in str(error):
            raise ValueError(
                f"an .npz must hold plain number arrays, {path} holds pickled objects: save x and y as numbers"
            ) from None
        raise
