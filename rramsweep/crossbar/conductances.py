"""Files of a chip's conductances: `.npz` with names, shapes and units, written by a simulation or measured."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping as Map
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rramsweep.crossbar.programming import ProgrammedLayer
from rramsweep.devices.device import PLAUSIBLE_G_MAX_US
from rramsweep.errors import Sentence, ValidationError
from rramsweep.files import write_atomic
from rramsweep.npz import read_arrays

FORMAT = 1
UNIT = "uS"
METADATA = "metadata"
FULL_SCALE = "full_scale"

# Prefix of entries other than cells. No layer has such a name, since the parts of a layer's name are not empty.
CORRECTIONS = ".corrections/"

# An array whose largest conductance is below this fraction of the window's end is in siemens rather than dead.
_SIEMENS = 1e-5

# Cells whose target is at least this fraction of the window's end conduct. If half of them lie this many times above or
# below their targets, they are in another unit. Relaxation and drift move a conducting cell by far less.
_CONDUCTING, _OTHER_UNIT = 0.1, 100.0

# In a layer of at least so many cells, a correlation with the targets below this means resistances, which fall as
# conductances rise.
_CELLS, _OPPOSITE = 16, -0.5


def save(
    path: str | PathLike[str], layers: Map[str, ProgrammedLayer], corrections: Map[str, NDArray[Any]] | None = None
) -> None:
    """Write the conductances of a chip; read them with `numpy.load(path)`.

    Entries of the file: `LAYER/CELL`, conductances in uS, float32, in the shape of the layer's weight, for every cell
    array (`p`, `n`; of slices `p_1`, ...); `LAYER/full_scale`, W_max, which broadcasts against the weight; and
    `metadata`, a JSON text with `format`, `unit` and `layers: {LAYER: {shape, cells, g_min_uS, g_max_uS}}`. float32 is
    exact for networks in float32 and narrower; conductances of a float64 network are rounded. Digital corrections of
    the chip are `.corrections/NAME` each.

    Args:
        path: of the file, replaced whole if it exists.
        layers: `{layer name: cells}`.
        corrections: arrays of the chip's digital corrections, `{name: array}`, as `load_corrections` returns them.

    Raises:
        OSError: the file cannot be written.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for name, layer in layers.items():
        arrays |= {f"{name}/{cell}": _float32(g_uS) for cell, g_uS in layer.g_uS.items()}
        arrays[f"{name}/{FULL_SCALE}"] = _float32(layer.full_scale)
    described = {name: _described(layer) for name, layer in layers.items()}
    arrays |= {f"{CORRECTIONS}{name}": array for name, array in (corrections or {}).items()}
    metadata = json.dumps({"format": FORMAT, "unit": UNIT, "layers": described})
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{METADATA: np.array(metadata), **arrays})
    write_atomic(Path(path), buffer.getvalue())


def load(path: str | PathLike[str], layers: Map[str, ProgrammedLayer]) -> dict[str, ProgrammedLayer]:
    """Read the conductances of a file of `save`'s format into the mapped layers of a network.

    For a measured chip, take a file that `save` wrote for the same network and replace its arrays by the measured ones.
    They may lie outside the window, which only defines the weight that a conductance represents, and are not confined
    to it.

    Args:
        path: the file; nothing in it is executed.
        layers: `{layer name: cells}` of the network, mapped to the device and with the W_max of the file.

    Returns:
        `layers` with `g_uS` of the file, in the type of the layer's targets.

    Raises:
        ValueError: not such a file, another format or unit, layers, cells or shapes that are not the network's,
            another window or W_max, conductances that are not finite, below 0 or beyond any cell's, or all of an array
            at 0 or in what looks like another unit.
        OSError: the file cannot be read.
    """
    metadata, arrays = _read(path)
    arrays = {name: array for name, array in arrays.items() if not name.startswith(CORRECTIONS)}
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} must have format {FORMAT}, got {metadata.get('format')!r}: export it again")
    if metadata.get("unit") != UNIT:
        raise ValueError(f"{path} must hold conductances in {UNIT}, got {metadata.get('unit')!r}: convert them")
    described = metadata.get("layers")
    if not isinstance(described, dict) or set(described) != set(layers):
        found = sorted(described) if isinstance(described, dict) else described
        raise ValueError(
            f"{path} must hold the analog layers {sorted(layers)}, got {found}: use the file of the same network, "
            "include and exclude"
        )
    expected = {f"{name}/{cell}" for name, layer in layers.items() for cell in (*layer.g_uS, FULL_SCALE)}
    if set(arrays) != expected:
        missing, unknown = sorted(expected - set(arrays)), sorted(set(arrays) - expected)
        raise ValueError(
            f"{path} must hold an array a cell and full_scale of every layer, but lacks {missing} and has {unknown}: "
            "use the file of the same mapping"
        )
    for name, layer in layers.items():
        if described[name] != _described(layer):
            raise ValueError(
                f"{path} must describe {name!r} as {_described(layer)}, got {described[name]}: use the same network, "
                "mapping and window"
            )
    return {name: _filled(path, name, layer, arrays) for name, layer in layers.items()}


def load_corrections(path: str | PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read the arrays of a chip's digital corrections; none where the file has none.

    Args:
        path: a file that `load` takes.

    Raises:
        ValueError: not such a file.
        OSError: it cannot be read.
    """
    _, arrays = _read(path)
    return {name.removeprefix(CORRECTIONS): a for name, a in arrays.items() if name.startswith(CORRECTIONS)}


def _read(path: str | PathLike[str]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    try:
        arrays = read_arrays(path)
        metadata = json.loads(str(arrays.pop(METADATA)))
    except ValidationError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} must be a file of exported conductances (.npz), but is not: export one") from error
    if not isinstance(metadata, dict):
        raise ValueError(f"{path} must have a JSON object as its metadata, got {metadata!r}: export it again")
    return metadata, arrays


def _filled(
    path: str | PathLike[str], name: str, layer: ProgrammedLayer, arrays: Map[str, NDArray[Any]]
) -> ProgrammedLayer:
    full_scale = arrays[f"{name}/{FULL_SCALE}"]
    if not np.array_equal(full_scale, _float32(layer.full_scale)):
        raise ValueError(
            f"{path} must have the W_max of the network, but that of {name!r} differs: use the same checkpoint, "
            "mapping.scale and mapping.w_max"
        )
    g_uS = {}
    for cell, target_uS in layer.target_uS.items():
        array = arrays[f"{name}/{cell}"]
        if array.shape != tuple(target_uS.shape) or array.dtype.kind not in "fiu":
            raise ValueError(
                f"{path} must hold {name}/{cell} as numbers of shape {tuple(target_uS.shape)}, got {array.dtype} of "
                f"shape {array.shape}: bring it into the weight's shape"
            )
        # Checked as stored, because rounding to the network's type could hide a negative value.
        n_bad = int((~(np.isfinite(array) & (array >= 0))).sum())
        if n_bad:
            raise ValueError(
                f"conductances must be finite and at least 0, but {n_bad} of {array.size} in {name}/{cell} of {path} "
                "are not: put 0 for a cell that does not conduct"
            )
        most, end_uS = array.max(initial=0), layer.spec.device.g_max_uS
        if 0 < most < _SIEMENS * end_uS:
            raise ValueError(
                f"conductances must be in {UNIT}, but none in {name}/{cell} of {path} is above {most:.2g} where the "
                f"window ends at {end_uS:g}, which looks like siemens: multiply by 1e6"
            )
        _check_unit(f"{name}/{cell} of {path}", array.astype(np.float64), _float64(target_uS), end_uS)
        g_uS[cell] = torch.from_numpy(array.astype(np.float64)).to(target_uS)
    _check_direction(path, name, layer, arrays)
    return replace(layer, g_uS=g_uS)


def _check_unit(what: str, g_uS: NDArray[np.float64], target_uS: NDArray[np.float64], end_uS: float) -> None:
    """Check that an array is plausible in microsiemens for a device whose window ends at `end_uS`.

    Raises:
        ValidationError: all values are 0 where the targets are not, one is larger than any cell's, or their scale
            differs from that of the targets.
    """
    convert = f"convert to {UNIT} (1 nS = 1e-3 uS, 1 mS = 1e3 uS, 1 ohm^-1 = 1e6 uS)"
    most = g_uS.max(initial=0)
    if most == 0 and target_uS.max(initial=0) > 0:
        raise ValidationError(
            Sentence(
                f"conductances must not all be 0 where cells were to conduct, but {what} holds nothing else, with "
                f"targets of up to {target_uS.max():g} uS"
            ),
            "put in the measured values; a part of the cells may be dead",
        )
    if most > PLAUSIBLE_G_MAX_US[1]:
        raise ValidationError(
            Sentence(
                f"conductances must be at most {PLAUSIBLE_G_MAX_US[1]:g} {UNIT}, which no cell exceeds, but {what} "
                f"holds {most:.3g}"
            ),
            convert,
        )
    chosen = (target_uS >= _CONDUCTING * end_uS) & (g_uS > 0)
    # Without a conducting target only the window can be compared with: a cell at rest may be many times off.
    ratio = float(np.median(g_uS[chosen] / target_uS[chosen])) if chosen.any() else float(np.median(g_uS)) / end_uS
    if ratio > _OTHER_UNIT or (chosen.any() and ratio < 1 / _OTHER_UNIT):
        raise ValidationError(
            Sentence(
                f"conductances must be in {UNIT}, but half of the cells in {what} are "
                f"{'above' if ratio > 1 else 'below'} {ratio:.2g} times "
                f"{'their targets' if chosen.any() else 'the end of the window'}, where the window ends at {end_uS:g} "
                f"{UNIT}, which looks like another unit"
            ),
            convert,
        )


def _check_direction(
    path: str | PathLike[str], name: str, layer: ProgrammedLayer, arrays: Map[str, NDArray[Any]]
) -> None:
    """Check that the values of a layer rise with its targets.

    Raises:
        ValidationError: they fall.
    """
    target_uS = np.concatenate([_float64(target_uS).ravel() for target_uS in layer.target_uS.values()])
    g_uS = np.concatenate([arrays[f"{name}/{cell}"].ravel().astype(np.float64) for cell in layer.target_uS])
    # Correlation of ranks, since resistances lie on a hyperbola.
    ranks = [np.unique(values, return_inverse=True)[1].astype(np.float64) for values in (target_uS, g_uS)]
    if len(g_uS) < _CELLS or min(np.ptp(rank) for rank in ranks) == 0:
        return
    correlation = float(np.corrcoef(ranks[0], ranks[1])[0, 1])
    if correlation < _OPPOSITE:
        raise ValidationError(
            Sentence(
                f"conductances must rise with their targets, but those of {name!r} in {path} fall (rank correlation "
                f"{correlation:.2f}), which looks like resistances, or like p and n exchanged"
            ),
            f"convert to {UNIT} (1e6 / ohm), or exchange the arrays",
        )


def _described(layer: ProgrammedLayer) -> dict[str, Any]:
    device = layer.spec.device
    return {
        "shape": list(next(iter(layer.g_uS.values())).shape),
        "cells": sorted(layer.g_uS),
        "g_min_uS": device.g_min_uS,
        "g_max_uS": device.g_max_uS,
    }


def _float64(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().to("cpu", torch.float64).numpy()


def _float32(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().to("cpu", torch.float32).numpy()
