"""A user's own inputs and targets from an `.npz` file."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rramsweep.arguments import checked_arguments
from rramsweep.datasets.arrays import IGNORED, Data, ignoring
from rramsweep.datasets.inputs import LABELS, Inputs, roles
from rramsweep.datasets.pixels import normalise, unscaled
from rramsweep.errors import ValidationError
from rramsweep.npz import array_names, holds_one_array, read_arrays

IMAGES = ("NCHW", "NHWC", "NHW")
LAYOUTS = (*IMAGES, "any", "tokens")


@checked_arguments
def npz(
    path: str,
    layout: str = "NCHW",
    scale: float = 1.0,
    mean: list[float] | None = None,
    std: list[float] | None = None,
    n_classes: int | None = None,
    limit: int | None = None,
    name: str | None = None,
    inputs: list[str] | None = None,
    labels: str | None = None,
    ignore_index: int = IGNORED,
) -> Data:
    """Inputs `x` and targets `y` of an `.npz` file; images and other numbers as `(x / scale - mean) / std`.

    A file without `x`, or with `inputs` given, is for a network of several inputs: each array goes unchanged to the
    forward's argument of its name, integers as int64, masks as bool, other numbers as float32.

    The dtype of y decides its meaning: integers are labels, of shape (N,) or several an input; floating-point numbers
    are to be predicted (regression). The metric refuses the kind that it cannot score.

    Args:
        path: the file; its arrays are named `x` and `y`, or as the forward's arguments and `y` or `labels`.
        layout: NCHW, NHWC, or NHW for one channel, the order of the axes of images; `any` for numbers of any shape
            (N, ...), vectors or series; `tokens` for integer ids of any shape (N, ...), which stay integers.
        scale: divisor of the numbers, 255 for bytes.
        mean: one number a channel of an image, as the network was trained with; None subtracts nothing.
        std: likewise; None divides by nothing.
        n_classes: of labels; None takes the largest label plus one.
        limit: number of inputs to keep, from the first on.
        name: name of the inputs in plots; None takes the file's name.
        inputs: arrays that go to the forward by name; None takes `x` alone if there is one, else all but the labels.
        labels: array of the targets; None takes `y`, else `labels`.
        ignore_index: value of labels that are not scored, such as those of padding.

    Raises:
        ValueError: no such file, not an .npz, no `x` or `y`, object arrays, wrong shapes or dtypes, no rows, NaN or
            infinity, or parameters that do not fit.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}: pick one")
    arrays, targets, others = _read(Path(path), inputs, labels)
    y = ignoring(_targets(targets, path), ignore_index)
    n_classes = n_classes if n_classes is not None else Data.count_classes(y)
    name = name or Path(path).stem
    if inputs is not None or "x" not in arrays:
        if layout not in ("NCHW", "any") or scale != 1 or mean is not None or std is not None:
            raise ValidationError(
                f"are of one array x, but {path} gives {', '.join(arrays)} by name",
                "leave them out, and save arrays as the network takes them",
                parameter="layout, scale, mean and std",
            )
        return Data(Inputs(kwargs={n: _as_is(n, a, path) for n, a in arrays.items()}), y, name, n_classes).take(limit)
    x = arrays["x"]
    if not 0 < scale < math.inf:
        raise ValueError(f"scale must lie above 0, got {scale}: 255 for bytes, 1 for floats")
    if layout not in IMAGES and (mean is not None or std is not None):
        raise ValueError(f"mean and std are one number a channel of images, got them with layout={layout}: normalise x")
    if layout == "tokens" and scale != 1:
        raise ValueError(f"tokens are ids and have no scale, got scale={scale}: leave it out")
    raw = _tokens(x, path) if layout == "tokens" else _numbers(x, path, layout) / scale
    normal = normalise(raw, mean, std)
    notes = unscaled(raw, "set data.scale={full}", normal) if layout in IMAGES and scale == 1 and x.size else ()
    if others:
        notes += (f"{path}: {', '.join(others)} beside x and y are not used: data.inputs=[x,...] names what is",)
    return Data(normal, y, name, n_classes, notes).take(limit)


def _numbers(x: np.ndarray, path: str, layout: str) -> Tensor:
    if x.dtype.kind not in "fiu":
        raise ValueError(f"x must hold numbers, got dtype {x.dtype} in {path}: save float32 or uint8")
    if layout in IMAGES and x.ndim != len(layout):
        images = {3: "data.layout=NHW for images of one channel, or ", 4: "data.layout=NCHW or NHWC for images, or "}
        raise ValueError(
            f"x must have {len(layout)} axes ({layout}), got shape {x.shape} in {path}: set {images.get(x.ndim, '')}"
            "data.layout=any for what is no image"
        )
    numbers = torch.from_numpy(np.ascontiguousarray(x)).float()
    if layout == "NHW":
        return numbers.unsqueeze(1)
    return numbers.permute(0, 3, 1, 2).contiguous() if layout == "NHWC" else numbers


def _tokens(x: np.ndarray, path: str) -> Tensor:
    if x.dtype.kind not in "iu":
        raise ValueError(f"tokens must be integers, got x of dtype {x.dtype} in {path}: save int64, or set layout=any")
    return torch.from_numpy(x.astype(np.int64))


def _as_is(name: str, array: NDArray[Any], path: str) -> Tensor:
    """One of several inputs."""
    kinds = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float32}
    if array.dtype.kind not in kinds or array.ndim < 1:
        raise ValidationError(
            "must hold numbers or a mask, one row an input",
            "save float32, int64 or bool, or leave it out with data.inputs",
            parameter=name,
            shown=f"dtype {array.dtype} of shape {array.shape} in {path}",
        )
    return torch.from_numpy(np.ascontiguousarray(array.astype(kinds[array.dtype.kind])))


def _targets(y: np.ndarray, path: str) -> Tensor:
    if y.dtype.kind not in "iuf":
        raise ValueError(
            f"y must hold integer labels or floating-point numbers, got dtype {y.dtype} in {path}: save int64 or "
            "float32"
        )
    if y.size == 0:
        raise ValueError(f"y must hold at least one value, got none in {path}: save some rows")
    return torch.from_numpy(y.astype(np.float32 if y.dtype.kind == "f" else np.int64))


def _read(
    path: Path, inputs: list[str] | None, labels: str | None
) -> tuple[dict[str, NDArray[Any]], NDArray[Any], list[str]]:
    """The arrays of inputs by name, the targets, and the names of the arrays that are neither."""
    if not path.is_file():
        raise ValueError(f"data.path must be an existing .npz file, got {path}: check the path")
    try:
        if holds_one_array(path):
            raise ValueError(f"data.path must be an .npz archive, {path} holds one array: save with np.savez")
        found = array_names(path)
        missing = [name for name in ("x", "y") if name not in found]
        if labels is None and not any(name in found for name in LABELS):
            if found and "x" not in found:
                raise ValidationError(
                    f"must hold labels beside {', '.join(found)}, as an array y, labels or label",
                    "save them too, or name their array with data.labels",
                    parameter="path",
                    value=str(path),
                )
            raise ValueError(
                f"an .npz must hold x and y, {path} lacks {' and '.join(missing)} but has "
                f"{', '.join(found) or 'nothing'}: save it with np.savez(path, x=images, y=labels)"
            )
        lone = ["x"] if inputs is None and "x" in found else inputs
        chosen, target = roles(found, lone, labels)
        arrays = read_arrays(path, (*chosen, target))
        others = [name for name in found if name not in arrays]
        return {name: arrays[name] for name in chosen}, arrays[target], others
    except ValidationError:
        raise
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
