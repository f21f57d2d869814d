"""A chip's conductances as a file: `.npz` with names, shapes and units, written by a simulation or measured."""

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

from rramsweep.chip import ProgrammedLayer
from rramsweep.files import write_atomic

FORMAT = 1
UNIT = "uS"
METADATA = "metadata"
FULL_SCALE = "full_scale"

# An array whose largest conductance is less than this part of the window's end is in siemens, not dead.
_SIEMENS = 1e-5


def save(path: str | PathLike[str], layers: Map[str, ProgrammedLayer]) -> None:
    """Write the conductances of a chip; read them with `numpy.load(path)`.

    Entries of the file: `LAYER/CELL`, conductances in uS, float32, in the shape of the layer's weight, for every cell
    array (`p`, `n`); `LAYER/full_scale`, W_max, which broadcasts against the weight; and `metadata`, a JSON text with
    `format`, `unit` and `layers: {LAYER: {shape, cells, g_min_uS, g_max_uS}}`. float32 is exact for networks in float32
    and narrower; conductances of a float64 network are rounded.

    Args:
        path: where it goes, replaced whole if it is there.
        layers: `{layer name: cells}`.

    Raises:
        OSError: the file cannot be written.
    """
    arrays: dict[str, NDArray[np.float32]] = {}
    for name, layer in layers.items():
        arrays |= {f"{name}/{cell}": _float32(g_uS) for cell, g_uS in layer.g_uS.items()}
        arrays[f"{name}/{FULL_SCALE}"] = _float32(layer.full_scale)
    described = {name: _described(layer) for name, layer in layers.items()}
    metadata = json.dumps({"format": FORMAT, "unit": UNIT, "layers": described})
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{METADATA: np.array(metadata), **arrays})
    write_atomic(Path(path), buffer.getvalue())


def load(path: str | PathLike[str], layers: Map[str, ProgrammedLayer]) -> dict[str, ProgrammedLayer]:
    """The mapped layers of a network with the conductances of a file of `save`'s format.

    For a measured chip, take a file that `save` wrote of the same network and put the measured arrays in the place of
    its own. They may lie outside the window, which only says what weight a conductance stands for, and are not
    confined to it.

    Args:
        path: the file; nothing in it is executed.
        layers: `{layer name: cells}` of the network, mapped to the device and with the W_max of the file.

    Returns:
        `layers` with `g_uS` of the file, in the type of the layer's targets.

    Raises:
        ValueError: not such a file, another format or unit, layers, cells or shapes that are not the network's,
            another window or W_max, or a conductance that is not finite or below 0.
        OSError: the file cannot be read.
    """
    metadata, arrays = _read(path)
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


def _read(path: str | PathLike[str]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        metadata = json.loads(str(arrays.pop(METADATA)))
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
        # Checked as it is stored, before rounding to the network's type could hide a negative.
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
        g_uS[cell] = torch.from_numpy(array.astype(np.float64)).to(target_uS)
    return replace(layer, g_uS=g_uS)


def _described(layer: ProgrammedLayer) -> dict[str, Any]:
    device = layer.spec.device
    return {
        "shape": list(next(iter(layer.g_uS.values())).shape),
        "cells": sorted(layer.g_uS),
        "g_min_uS": device.g_min_uS,
        "g_max_uS": device.g_max_uS,
    }


def _float32(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().to("cpu", torch.float32).numpy()
