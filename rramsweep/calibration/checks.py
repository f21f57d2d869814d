"""Checks of a calibration against network, inputs and time, before any chip is programmed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rramsweep.calibration.fitting import method_sites
from rramsweep.calibration.protocol import Calibration
from rramsweep.calibration.regression import RankedCalibration
from rramsweep.datasets.inputs import AnyInputs, call
from rramsweep.errors import ValidationError
from rramsweep.network.arrays import find_arrays, private_copy
from rramsweep.network.corrections import CorrectableLayer, correctable_layers, norms_of
from rramsweep.network.unfolding import unfold

SLOT = "calibration"

# Ridge that suffices with few inputs.
RIDGE = 0.3

_NAMED = 3


def check_calibration(
    method: Calibration,
    model: nn.Module,
    names: Sequence[str],
    x: AnyInputs,
    pool: int | None,
    t_s: float,
    unfolded: Sequence[str] = (),
) -> list[str]:
    """Check that a method can be fitted to the layers and inputs of a point.

    Args:
        method: of calibration.
        model: the network; not changed.
        names: of its weights on the array.
        x: a few of its inputs.
        pool: number of inputs of `data.fitting`; None without any.
        t_s: seconds since programming at which chips are read.
        unfolded: weights of fused kernels whose layers are unfolded and read product by product.

    Returns:
        A note on weights in fused kernels, if there are any.

    Raises:
        ValidationError: no or too few inputs, a time after that of the read, no layer that the method corrects, or a
            rank that a layer does not have or that so few inputs do not determine.
    """
    if pool is None:
        raise ValidationError("needs inputs to fit on", "set data.fitting=SPLIT or PATH", slot=SLOT)
    if not (method.fits_layers or method.fits_norms):
        raise ValidationError(
            "must fit layers or batch norms",
            "define fit_layer or fit_norm",
            shown=type(method).__name__,
            slot=SLOT,
        )
    if method.images > pool:
        raise ValidationError(
            f"must be at most the {pool} inputs of data.fitting",
            "give fewer, or another data.fitting",
            value=method.images,
            parameter="images",
            slot=SLOT,
        )
    if method.at_s is not None and method.at_s > t_s:
        raise ValidationError(
            f"must be at most t_s={t_s:g}, when the chip is read",
            "read it later, or leave calibration.at_s null",
            value=method.at_s,
            parameter="at_s",
            slot=SLOT,
        )
    private = private_copy(model)
    unfold(private, unfolded)
    arrays = find_arrays(private)
    layers = correctable_layers(private, arrays, names)
    fused = [name for name in names if not arrays[name].readable]
    shown = f"{', '.join(fused[:_NAMED])}{', ...' if len(fused) > _NAMED else ''}"
    if method.fits_layers and not layers:
        raise ValidationError(
            f"needs layers whose products are seen, but {shown} run in fused kernels (recurrent layers, attention)",
            "set calibration=none",
            slot=SLOT,
        )
    if method.fits_norms and not method.fits_layers and not norms_of(private):
        raise ValidationError(
            f"needs batch norms with running statistics, but {type(model).__name__} has none",
            "set calibration=moments",
            slot=SLOT,
        )
    try:
        sites = method_sites(method, private, layers)
    except ValidationError as error:
        raise error.inside(SLOT) from None
    if isinstance(method, RankedCalibration):
        _check_images(method, private, [layer for layer in layers if layer.name in sites], x)
    if method.fits_layers and fused:
        return [f"calibration leaves {shown} as they are: they run in fused kernels (recurrent layers, attention)"]
    return []


def _check_images(
    method: RankedCalibration, model: nn.Module, layers: Sequence[CorrectableLayer], x: AnyInputs
) -> None:
    fitted = method.images // 2 if method.gate else method.images
    share = ", half of which the gate holds out" if method.gate else ""
    for layer, positions in _positions(model, layers, x):
        inputs = layer.matrix_shape()[1]
        needed = inputs if method.ridge == 0 else method.rank
        if fitted * positions >= needed:
            continue
        images = -(-needed // positions) * (2 if method.gate else 1)
        rows = f"{layer.name!r} has {inputs} inputs and {positions} output position{'s' * (positions > 1)} an image"
        if method.ridge == 0:
            least = -(-method.rank // positions) * (2 if method.gate else 1)
            more = f" with calibration.images={least}" if fitted * positions < method.rank else ""
            why, other = "without a ridge", f"calibration.ridge={RIDGE:g}{more}"
        else:
            why, other = f"for rank {method.rank}", "a lower calibration.rank"
        raise ValidationError(
            f"must be at least {images}{share}, {why}, because {rows}",
            f"set calibration.images={images} or {other}",
            value=method.images,
            parameter="images",
            slot=SLOT,
        )


@torch.inference_mode()
def _positions(
    model: nn.Module, layers: Sequence[CorrectableLayer], x: AnyInputs
) -> list[tuple[CorrectableLayer, int]]:
    """Output positions an input of the first call of each layer."""
    found: dict[str, tuple[CorrectableLayer, int]] = {}

    def count(layer: CorrectableLayer, _: nn.Module, __: tuple[Any, ...], y: Tensor) -> None:
        found.setdefault(layer.name, (layer, y.numel() // y.shape[-1 - layer.spatial] // len(x)))

    handles = [layer.module.register_forward_hook(partial(count, layer), prepend=True) for layer in layers]
    try:
        call(model, x)
    finally:
        for handle in handles:
            handle.remove()
    return list(found.values())
