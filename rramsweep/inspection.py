"""What chips do to each layer of a network, before any accuracy: one row of plain facts for each layer and chip."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from collections.abc import Mapping as Map
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from rramsweep.arrays import WeightArray, find_arrays, own_weights, private_copy
from rramsweep.chip import STAGES, LayerSpec, ProgrammedLayer, apply_stage, map_layer, program
from rramsweep.device import Device
from rramsweep.effects import Ideal
from rramsweep.slot import product
from rramsweep.streams import Stream

# Inputs a forward pass: the products of a wide convolution are held beside each other.
BATCH = 16

# A conductance this near to an edge, as a part of the window, is at it: a thousandth of the finest level in use.
AT_EDGE = 1e-6

# The used part of the window lies between these quantiles of the target conductances.
USED = (0.01, 0.99)


@dataclass(eq=False)
class Moments:
    """Sums over the digital products `y` and the chip's `z` of one layer, in float64."""

    n: int = 0
    y: float = 0.0
    z: float = 0.0
    yy: float = 0.0
    zz: float = 0.0
    yz: float = 0.0
    dd: float = 0.0

    def add(self, y: Tensor, z: Tensor) -> None:
        """Take in the products of one call."""
        y, z = y.double(), z.double()
        self.n += y.numel()
        self.y += float(y.sum())
        self.z += float(z.sum())
        self.yy += float((y * y).sum())
        self.zz += float((z * z).sum())
        self.yz += float((y * z).sum())
        self.dd += float((z - y).square().sum())

    def facts(self) -> dict[str, float | None]:
        """`mvm_error`, `mvm_bias`, `mvm_slope`, `mvm_correlation`; null where the digital products do not vary."""
        n = max(self.n, 1)
        var_y, var_z = self.yy - self.y**2 / n, self.zz - self.z**2 / n
        covariance = self.yz - self.y * self.z / n
        spread = math.sqrt(max(var_y, 0.0) * max(var_z, 0.0))
        return {
            "mvm_error": _ratio(math.sqrt(self.dd), math.sqrt(self.yy)),
            "mvm_bias": _ratio((self.z - self.y) / n, math.sqrt(self.yy / n)),
            "mvm_slope": _ratio(covariance, max(var_y, 0.0)),
            "mvm_correlation": _ratio(covariance, spread),
        }


def notes_of(spec: LayerSpec, t_s: float) -> list[str]:
    """What a user should know of a layer's effects on its device at this time, one sentence each."""
    notes = spec.notes(t_s)
    for slot in (*STAGES, "read_noise"):
        effect = getattr(spec, slot)
        # A law of time that has notes says so itself.
        if t_s == 0 and hasattr(effect, "t0_s") and not hasattr(effect, "notes"):
            notes.append(
                f"{slot}={type(effect).__name__} is a law of time from t0_s={effect.t0_s} on, but is asked for at "
                "t_s=0, just after programming: give the time of reading, like t_s=1h"
            )
    return notes


@torch.inference_mode()
def inspect_layers(
    model: nn.Module, specs: Map[str, LayerSpec], t_s: float, x: Tensor, seeds: Iterable[int]
) -> list[dict[str, Any]]:
    """Facts of every array of a network on a few chips, one row an array and chip.

    The products are compared alone: each layer gets the inputs that it has in the digital network, so that no error
    of a layer before it is counted, and the digital bias is left out of both. `y = W x`, `z = W_chip x` (with
    the chip's read noise, if any), over all inputs, outputs and calls of a layer:

    - `mvm_error` = |z - y| / |y|, the relative MVM error epsilon;
    - `mvm_bias` = mean(z - y) / rms(y) and `mvm_slope` = cov(z, y) / var(y), its systematic part: 0 and 1 are none;
    - `mvm_correlation` of z and y (Pearson).

    They are null for layers in fused kernels (recurrent layers, attention), whose products are not to be had, and for
    layers that the network does not call; `weight_error` = |W_chip - W| / |W| is told of all, without read noise.
    For independent errors of zero mean and uncorrelated inputs the two agree. Layers of one tied weight are one array,
    compared at the first of them.

    Of the cells: `edge_share` at or beyond an edge of the window, `pushed_share` likewise but only of those whose
    weight asks for a conductance inside it (a one-sided pair rests one of its cells at g_min, which is no fault);
    `window_used`, the part of the window between the 1 % and the 99 % quantile of the targets. Of the weights:
    `w_max_over_std`, max|W| / std(W); `saturated_share` that the window cuts off, |W| > W_max;
    `stuck_share` with at least one stuck cell.

    Args:
        model: any PyTorch network; it is copied.
        specs: `{array name: LayerSpec}` for every weight on the array.
        t_s: seconds since programming at which the chips are read.
        x: inputs of the network, the first axis counts them.
        seeds: the chips.

    Raises:
        ValueError: a weight is not finite.
    """
    private = private_copy(model).requires_grad_(False)
    arrays = own_weights(find_arrays(private), specs)
    weights = {name: array.lay(array.weight).clone() for name, array in arrays.items()}
    mapped = {name: map_layer(name, weights[name], specs[name], array.parts) for name, array in arrays.items()}
    fixed = {name: _of_weights(weights[name], layer) for name, layer in mapped.items()}
    rows = []
    for seed in seeds:
        layers = {name: program(layer, seed, t_s) for name, layer in mapped.items()}
        moments = _products(private, arrays, weights, layers, x, seed)
        for name, layer in layers.items():
            error = (layer.weight() - weights[name]).norm()
            rows.append(
                {
                    "layer": name,
                    "seed": seed,
                    **moments[name].facts(),
                    "weight_error": _ratio(float(error), float(weights[name].norm())),
                    **_of_cells(weights[name], layer, seed, t_s),
                    **fixed[name],
                }
            )
    return rows


def _products(
    model: nn.Module,
    arrays: Map[str, WeightArray],
    weights: Map[str, Tensor],
    layers: Map[str, ProgrammedLayer],
    x: Tensor,
    seed: int,
) -> dict[str, Moments]:
    """Run the digital network and compare the products of each layer as it is called."""
    moments = {name: Moments() for name in arrays}
    hooks = []
    for name, array in arrays.items():
        if array.readable:
            look = _looking(product(array), weights[name], layers[name], seed, moments[name])
            hooks.append(array.module.register_forward_hook(look, with_kwargs=True))
    try:
        for part in torch.split(x, BATCH):
            model(part)
    finally:
        for hook in hooks:
            hook.remove()
    return moments


def _looking(
    linear: Callable[..., Tensor], weight: Tensor, layer: ProgrammedLayer, seed: int, moments: Moments
) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], None]:
    noise, chip_weight = layer.spec.read_noise, layer.weight()
    stream = Stream(seed, (layer.name, "read_noise"))
    reads = 0

    def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:  # noqa: ARG001
        nonlocal reads
        given = dict(kwargs)
        inputs, *others = args or (given.pop(next(iter(kwargs))),)  # the input may come by name

        def analog(x: Tensor, w: Tensor) -> Tensor:
            return linear(x, w, *others, **given)

        if isinstance(noise, Ideal):
            z = analog(inputs, chip_weight)
        else:
            z = noise(analog, inputs, layer, stream.child(str(reads)))
        reads += 1
        moments.add(analog(inputs, weight), z)

    return look


def _of_weights(weight: Tensor, layer: ProgrammedLayer) -> dict[str, float | None]:
    """What a layer's weights and their targets are on every chip."""
    size = weight.abs()
    targets = torch.cat([g.flatten() for g in layer.target_uS.values()])
    low, high = (float(targets.kthvalue(max(1, math.ceil(q * len(targets)))).values) for q in USED)
    return {
        "window_used": (high - low) / layer.spec.device.span_uS,
        "w_max_over_std": _ratio(float(size.max()), float(weight.std(correction=0))),
        "saturated_share": float((size > layer.full_scale * (1 + 1e-6)).float().mean()),
    }


def _of_cells(weight: Tensor, layer: ProgrammedLayer, seed: int, t_s: float) -> dict[str, float | None]:
    """Where a layer's cells sit on one chip, and which are stuck."""
    device, mapping = layer.spec.device, layer.spec.mapping
    edge, inside = [], []
    for cell, asked_uS in mapping.targets(weight, layer.full_scale, device).items():
        edge.append(_at_edge(layer.g_uS[cell], device))
        inside.append(~_at_edge(asked_uS, device))
    at_edge, asked_inside = torch.stack(edge), torch.stack(inside)
    n_inside = int(asked_inside.sum())
    return {
        "edge_share": float(at_edge.float().mean()),
        "pushed_share": int((at_edge & asked_inside).sum()) / n_inside if n_inside else 0.0,
        "stuck_share": _stuck_share(layer, seed, t_s),
    }


def _stuck_share(layer: ProgrammedLayer, seed: int, t_s: float) -> float:
    """Share of weights with a cell that ends at one conductance wherever it stood before: that is what stuck means."""
    faults, device = layer.spec.faults, layer.spec.device
    if isinstance(faults, Ideal):
        return 0.0
    ends = []
    for before_uS in (device.g_min_uS + 0.25 * device.span_uS, device.g_min_uS + 0.75 * device.span_uS):
        cells = {cell: torch.full_like(g_uS, before_uS) for cell, g_uS in layer.g_uS.items()}
        ends.append(apply_stage(replace(layer, g_uS=cells), "faults", faults, seed, t_s).g_uS)
    stuck = torch.stack([ends[0][cell] == ends[1][cell] for cell in layer.g_uS])
    return float(stuck.any(0).float().mean())


def _at_edge(g_uS: Tensor, device: Device) -> Tensor:
    near = AT_EDGE * device.span_uS
    return (g_uS <= device.g_min_uS + near) | (g_uS >= device.g_max_uS - near)


def _ratio(value: float, of: float) -> float | None:
    return value / of if of > 0 else None
