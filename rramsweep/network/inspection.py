"""Errors of each layer on chips, before any accuracy: one row of plain facts for each layer and chip."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from collections.abc import Mapping as Map
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from rramsweep.crossbar.cell_facts import (
    cell_facts,
    program_by_steps,
    ratio,
    tile_facts,
    weight_facts,
    wire_facts,
)
from rramsweep.crossbar.programming import LayerSpec, ProgrammedLayer, map_layer, program
from rramsweep.crossbar.tile import Crossbar
from rramsweep.datasets.inputs import AnyInputs, call
from rramsweep.devices.streams import Stream
from rramsweep.effects import Ideal
from rramsweep.errors import ValidationError, no_exit
from rramsweep.network.arrays import WeightArray, find_arrays, own_weights, private_copy
from rramsweep.network.numerics import fixed_arithmetic
from rramsweep.network.products import check_product, product
from rramsweep.network.tiled_read import Clipped, Ranges, TiledRead
from rramsweep.network.unfolding import pad_nested, unfold, unfoldable

# Inputs per forward pass, few because all products of a wide convolution are held in memory.
BATCH = 16

# Parts of a read, in the order in which they act.
PARTS = ("dac", "iv", "read_noise", "adc")


_NONE: Map[str, Ranges] = {}


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
        """Add the products of one call."""
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
            "mvm_error": ratio(math.sqrt(self.dd), math.sqrt(self.yy)),
            "mvm_bias": ratio((self.z - self.y) / n, math.sqrt(self.yy / n)),
            "mvm_slope": ratio(covariance, max(var_y, 0.0)),
            "mvm_correlation": ratio(covariance, spread),
        }


@no_exit("a network's forward or an effect")
@fixed_arithmetic()
@torch.inference_mode()
def inspect_layers(
    model: nn.Module,
    specs: Map[str, LayerSpec],
    t_s: float,
    x: AnyInputs,
    seeds: Iterable[int],
    ranges: Map[str, Ranges] = _NONE,
) -> list[dict[str, Any]]:
    """Measure the errors of every array of a network on a few chips, one row for each array and chip.

    Only the products are compared: each layer gets the inputs that it has in the digital network, so that no error of a
    previous layer is counted, and the digital bias is left out of both. With `y = W x`, `z = W_chip x` (including the
    chip's converters and read noise, if any), over all inputs, outputs and calls of a layer:

    - `mvm_error` = |z - y| / |y|, the relative MVM error epsilon;
    - `mvm_bias` = mean(z - y) / rms(y) and `mvm_slope` = cov(z, y) / var(y), its systematic part: 0 and 1 are none;
    - `mvm_correlation` of z and y (Pearson).

    The inputs of recurrent layers and attention are those of an unfolded copy of the network (`unfolding`), whose
    products equal torch's to rounding. All four are null for subclasses of these with a forward of their own, and for
    layers that the network does not call. `weight_error` = |W_chip - W| / |W| is given for all layers, without read
    noise and converters; for independent errors of zero mean and uncorrelated inputs it equals `mvm_error`. Layers with
    a tied weight are one array, compared at the first of them.

    Cells: `edge_share`, the share at or beyond an edge of the window; `pushed_share`, the same share among cells whose
    target lies inside the window (one cell of a one-sided pair rests at g_min, which is not an error); `window_used`,
    the fraction of the window between the 1 % and the 99 % quantile of the targets; `n_cells`, the number of cells in
    all slices. Weights: `w_max_over_std`, max|W| / std(W); `saturated_share`, the share with |W| > W_max, which the
    window cuts off; `stuck_share`, the share with at least one stuck cell.

    Sources of error: `by_mapping` (and quantisation), `by_programming`, ..., `by_faults`, the |dW| / |W| that each step
    of the chip adds; and `by_dac`, `by_iv`, `by_read_noise` and `by_adc`, the |dz| / |y| that each part of a read adds.
    Squares of independent steps add up; an edge that clips, or a stuck cell, removes earlier errors.

    Array, null without the respective part: `tiles`, the number of physical crossbars; `tile_use`, the share of their
    cells that hold a weight; `adcs`; `g_eff_mean` and `g_eff_worst`, mean and smallest G_eff / G of the conducting
    cells, and `g_eff_worst_corner`, the corner of the tile where the smallest lies; `lsb_over_weight_step`, the LSB of
    the ADCs relative to the contribution of one level of a cell to a sum at full input (without a DAC: at an input of
    1), null for a device without levels; `dac_clip_rate` and `adc_clip_rate`, over all inputs and calls.

    Args:
        model: any PyTorch network; it is copied.
        specs: `{array name: LayerSpec}` for every weight on the array.
        t_s: seconds since programming at which the chips are read.
        x: inputs of the network, one tensor or several.
        seeds: the chips.
        ranges: `{layer: Ranges}` of those with converters, from `AnalogNetwork.fit_ranges`.

    Raises:
        ValueError: a weight is not finite, or ranges of a layer with converters are missing.
    """
    missing = [name for name, spec in specs.items() if spec.converted and name not in ranges]
    if missing:
        raise ValidationError(
            "must have a range of each layer with converters",
            "give AnalogNetwork(model, specs).fit_ranges(x)",
            value=missing,
            shown=f"none of {missing[0]}",
            parameter="ranges",
        )
    private = private_copy(model).requires_grad_(False)
    pad_nested(private)
    arrays = own_weights(find_arrays(private), specs)
    passes: list[tuple[nn.Module, Map[str, WeightArray]]] = [(private, arrays)]
    if fused := unfoldable(private, arrays):
        # The digital network is not unfolded: rounding in an unfolded layer must not count as an error of the next one.
        unfolded = private_copy(private)
        unfold(unfolded, fused)
        inner = find_arrays(unfolded)
        passes.append((unfolded, {name: inner[name] for name in fused}))
    weights = {name: array.to_array(array.weight).clone() for name, array in arrays.items()}
    mapped = {
        name: map_layer(name, weights[name], specs[name], array.parts, groups=array.matrices)
        for name, array in arrays.items()
    }
    fixed = {name: weight_facts(weights[name], layer) for name, layer in mapped.items()}
    tiles = {name: tile_facts(layer) for name, layer in mapped.items()}
    rows = []
    for seed in seeds:
        chips = {name: program_by_steps(layer, weights[name], seed, t_s) for name, layer in mapped.items()}
        layers = {name: layer for name, (layer, _) in chips.items()}
        compared: dict[str, Comparison] = {}
        for network, some in passes:
            compared |= _products(network, some, weights, layers, x, seed, ranges)
        for name, (layer, steps) in chips.items():
            error = (layer.weight() - weights[name]).norm()
            rows.append(
                {
                    "layer": name,
                    "seed": seed,
                    **compared[name].moments.facts(),
                    "weight_error": ratio(float(error), float(weights[name].norm())),
                    **cell_facts(weights[name], layer, seed, t_s),
                    **fixed[name],
                    **steps,
                    **compared[name].facts(),
                    **tiles[name],
                    **wire_facts(layer),
                }
            )
    return rows


@dataclass(eq=False)
class Comparison:
    """Comparison of one layer's products on a chip with the digital ones.

    Args:
        spec: of the layer.
        moments: of all products.
        clipped: conversions of all products.
        added: sum of the squares that each of `PARTS` adds to the products.
        lsb_over_level: see `TiledRead`.
    """

    spec: LayerSpec
    moments: Moments = field(default_factory=Moments)
    clipped: Clipped = field(default_factory=Clipped)
    added: dict[str, float] = field(default_factory=dict)
    lsb_over_level: float | None = None

    def add(self, part: str, before: Tensor, after: Tensor) -> Tensor:
        """Add the change of products by a part of the read; return the changed products."""
        self.added[part] = self.added.get(part, 0.0) + float((after.double() - before).square().sum())
        return after

    def facts(self) -> dict[str, float | None]:
        """`by_dac`, ..., `by_read_noise`, the LSB and the clip rates; null of a converter or curve that is ideal."""
        size = math.sqrt(self.moments.yy)
        by = {part: ratio(math.sqrt(self.added.get(part, 0.0)), size) for part in PARTS}
        by |= dict.fromkeys(part for part in ("dac", "iv", "adc") if isinstance(getattr(self.spec, part), Ideal))
        return {
            **{f"by_{part}": error for part, error in by.items()},
            "lsb_over_weight_step": self.lsb_over_level,
            "dac_clip_rate": ratio(self.clipped.dac, self.clipped.dac_all),
            "adc_clip_rate": ratio(self.clipped.adc, self.clipped.adc_all),
        }


def _products(
    model: nn.Module,
    arrays: Map[str, WeightArray],
    weights: Map[str, Tensor],
    layers: Map[str, ProgrammedLayer],
    x: AnyInputs,
    seed: int,
    ranges: Map[str, Ranges],
) -> dict[str, Comparison]:
    """Run the digital network and compare the products of each layer when it is called."""
    compared = {name: Comparison(layers[name].spec) for name in arrays}
    hooks = []
    for name, array in arrays.items():
        if array.readable:
            compare = _comparison(array, weights[name], layers[name], seed, ranges.get(name), compared[name])
            hooks.append(array.module.register_forward_hook(compare, with_kwargs=True))
    try:
        for part in x.split(BATCH):
            call(model, part)
    finally:
        for hook in hooks:
            hook.remove()
    return compared


def _comparison(
    array: WeightArray, weight: Tensor, layer: ProgrammedLayer, seed: int, ranges: Ranges | None, found: Comparison
) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], None]:
    linear, noise, chip_weight = product(array), layer.spec.read_noise, layer.weight()
    stream = Stream(seed, (layer.name, "read_noise"))
    converted = {} if ranges is None else _reads(array, layer, seed, ranges)
    if converted:
        found.lsb_over_level = list(converted.values())[-1].lsb_over_level
    reads = 0

    def compare(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:  # noqa: ARG001
        nonlocal reads
        given = dict(kwargs)
        inputs, *others = args or (given.pop(next(iter(kwargs))),)  # the input may come by name

        def analog(x: Tensor, w: Tensor) -> Tensor:
            return linear(x, w, *others, **given)

        if not reads and (converted or not isinstance(noise, Ideal)):
            check_product(array, linear, inputs, *others, **given)
        rng = stream.child(str(reads))
        z = analog(inputs, chip_weight)
        for part, read in converted.items():
            read.clipped = Clipped()  # counts a single read
            z = found.add(part, z, read(inputs, rng, *others, **given))
        if converted:
            found.clipped += read.clipped
        elif not isinstance(noise, Ideal):
            z = found.add("read_noise", z, noise(analog, inputs, layer, rng))
        found.moments.add(analog(inputs, weight), z)
        reads += 1

    return compare


def _reads(array: WeightArray, layer: ProgrammedLayer, seed: int, ranges: Ranges) -> dict[str, TiledRead]:
    """Reads of a layer with converters, each with one more part than the previous one."""
    spec = replace(layer.spec, iv=Ideal(), dac=Ideal(), adc=Ideal(), read_noise=Ideal())
    found = {}
    for part in PARTS:
        own = getattr(layer.spec, part)
        if not isinstance(own, Ideal):
            spec = replace(spec, **{part: own})
            # Noise before an ADC is drawn for each sum that it reads, in the read with all parts.
            before_adc = part == "read_noise" and not isinstance(layer.spec.adc, Ideal)
            found[part] = TiledRead(array, product(array), layer.spec if before_adc else spec, not before_adc)
            found[part].program(layer, ranges, seed)
    return found


def tile_drop(model: nn.Module, spec: LayerSpec, layer: str, t_s: float, seed: int, cell: str) -> list[Tensor]:
    """Compute the relative loss of each cell's conductance to wires, `1 - G_eff / G`, for the tiles of one layer.

    Args:
        model: any PyTorch network; it is copied.
        spec: of the layer.
        layer: name of the array.
        t_s: seconds since programming.
        seed: the chip.
        cell: array of cells, `p` or `n`; `p_1`, `n_1`, ... for slices below the most significant one.

    Returns:
        A matrix (word lines, bit lines) for each tile: groups one after the other, then along the inputs, then along
        the outputs. A cell of 0 uS has NaN.

    Raises:
        ValidationError: the mapping has no such cells.
    """
    array = find_arrays(private_copy(model))[layer]
    weight = array.to_array(array.weight.detach())
    programmed = program(map_layer(layer, weight, spec, array.parts, groups=array.matrices), seed, t_s)
    if cell not in programmed.g_uS:
        raise ValidationError(
            "must name an array of cells", f"give {' or '.join(programmed.g_uS)}", value=cell, parameter="cell"
        )
    drop = torch.where(programmed.g_uS[cell] > 0, 1 - programmed.transfer[cell].double(), math.nan).flatten(1)
    tile = spec.tile if isinstance(spec.tile, Crossbar) else Crossbar(drop.shape[1], len(drop))
    return [
        part
        for matrix in drop.chunk(array.matrices)
        for rows in torch.split(matrix.mT, tile.inputs)
        for part in torch.split(rows, tile.columns, 1)
    ]
