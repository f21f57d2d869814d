"""A read through converters as loops in float64: patches, tile by tile, one conversion after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rramsweep.crossbar import (
    ConstantSum,
    Crossbar,
    Differential,
    Ideal,
    LayerSpec,
    Offset,
    ProgrammedLayer,
    Sliced,
    UniformADC,
    UniformDAC,
)
from rramsweep.crossbar.programming import map_layer, program
from rramsweep.network.tiled_read import Ranges

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def array_weight(module: nn.Module) -> Tensor:
    """Weight of a layer as (outputs, inputs of each, ...)."""
    weight, groups = module.weight.detach(), getattr(module, "groups", 1)
    if not isinstance(module, TRANSPOSED):
        return weight
    return weight.view(groups, -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1)


def patches(module: nn.Module, x: Tensor) -> Tensor:
    """Inputs of each output, (vectors, groups, inputs) in (c, kh, kw) order, float64."""
    x = x.double()
    if isinstance(module, nn.Linear):
        return x.reshape(-1, 1, x.shape[-1])
    kernel, dilation = module.kernel_size, module.dilation
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if isinstance(module, TRANSPOSED):
        spread = x.new_zeros(*x.shape[:2], *[(n - 1) * s + 1 for n, s in zip(x.shape[2:], module.stride, strict=True)])
        spread[(..., *[slice(None, None, s) for s in module.stride])] = x
        before = [r - p for r, p in zip(reach, module.padding, strict=True)]
        around = list(zip(before, [b + o for b, o in zip(before, module.output_padding, strict=True)], strict=True))
        x, stride, mode = spread, [1] * len(kernel), "constant"
    else:
        whole = module.padding == "same"
        around = [(r // 2, r - r // 2) if whole else (p, p) for r, p in zip(reach, module.padding, strict=False)]
        if whole:
            around = [(r // 2, r - r // 2) for r in reach]
        stride, mode = module.stride, {"zeros": "constant"}.get(module.padding_mode, module.padding_mode)
    x = F.pad(x, [n for pair in reversed(around) for n in pair], mode=mode)
    sizes = [(n - 1 - r) // s + 1 for n, r, s in zip(x.shape[2:], reach, stride, strict=True)]
    taps = []
    for tap in product(*map(range, kernel)):
        at = [d * t for d, t in zip(dilation, tap, strict=True)]
        if isinstance(module, TRANSPOSED):
            at = [r - a for r, a in zip(reach, at, strict=True)]
        taps.append(x[(..., *[slice(a, a + s * (n - 1) + 1, s) for a, s, n in zip(at, stride, sizes, strict=True)])])
    unfolded = torch.stack(taps, 2).flatten(1, 2).movedim(1, -1)  # (N, positions ..., channels x taps)
    return unfolded.reshape(-1, module.groups, unfolded.shape[-1] // module.groups)


def by_vector(module: nn.Module, y: Tensor) -> Tensor:
    """Outputs of a layer with a batch as (vectors, outputs), float64."""
    return (y if isinstance(module, nn.Linear) else y.movedim(1, -1)).reshape(-1, len(array_weight(module))).double()


def programmed(module: nn.Module, spec: LayerSpec, seed: int, name: str = "0") -> ProgrammedLayer:
    groups = getattr(module, "groups", 1)
    return program(map_layer(name, array_weight(module), spec, groups=groups), seed)


def bit_lines(layer: ProgrammedLayer) -> Iterator[tuple[int, float, Tensor]]:
    """`(slice, factor, weights)` of what has an ADC of its own, weights in units of one cell at full weight."""
    spec = layer.spec
    mapping, device = spec.mapping, spec.device
    span = device.g_max_uS - device.g_min_uS
    g = {cell: each.double().flatten(1) for cell, each in layer.effective_uS.items()}
    digital = isinstance(spec.adc, UniformADC) and spec.adc.subtraction == "digital"
    slices = mapping.slices if isinstance(mapping, Sliced) else 1
    for s in range(slices):
        suffix = f"_{s}" if s else ""
        if isinstance(mapping, Sliced):
            bits = mapping.bits_per_cell
            top, digit = 2**bits - 1, 2 ** (bits * (slices - 1 - s))
            largest = 2 ** (bits * slices - 1) - 1 if mapping.base == "offset" else 2 ** (bits * slices) - 1
            factor = top * digit / largest
        else:
            factor = 1.0
        p, n = g[f"p{suffix}"], g.get(f"n{suffix}")
        if n is not None and digital:
            yield s, factor, p / span
            yield s, -factor, n / span
        elif n is not None:
            assert isinstance(mapping, Differential | ConstantSum | Sliced)
            yield s, factor, (p - n) / span
        elif isinstance(mapping, Offset):
            yield s, factor, 2 * (p - (device.g_min_uS + device.g_max_uS) / 2) / span
        else:
            zero = device.g_min_uS + (span * 2 ** (bits - 1) / top if s == 0 else 0.0)
            yield s, factor, (p - zero) / span


def reads(tile: Crossbar | Ideal, inputs: int) -> list[tuple[slice, int]]:
    """Inputs that are driven at once, and their tile."""
    if isinstance(tile, Ideal):
        return [(slice(0, inputs), 0)]
    half = 2 if tile.arrangement == "interleaved" else 1
    rows, step = tile.rows // half, (tile.rows_active or tile.rows) // half
    found = []
    for number, first in enumerate(range(0, inputs, rows)):
        end = min(first + rows, inputs)
        found += [(slice(i, min(i + step, end)), number) for i in range(first, end, step)]
    return found


def dac_codes(dac: UniformDAC, x: Tensor, x_max: Tensor | float, signed: bool) -> tuple[Tensor, int]:
    largest = 2 ** (dac.bits - 1) - 1 if signed else 2**dac.bits - 1
    high = torch.as_tensor(x_max, dtype=torch.float64).expand_as(x)
    low = -high if signed else torch.zeros_like(high)
    codes = torch.round((x.clamp(low, high) - low) * (largest / high))
    return (codes - largest if signed else codes), largest


def drives(spec: LayerSpec, vectors: Tensor, ranges: Ranges) -> tuple[list[tuple[float, Tensor]], Tensor | float]:
    """What drives the word lines, relative to a full input, each with its weight; and the full input."""
    dac = spec.dac
    if isinstance(dac, Ideal):
        return [(1.0, vectors)], 1.0
    x_max: Tensor | float = ranges.x_max
    if dac.range == "abs_max":
        x_max = vectors.abs().amax(-1, keepdim=True)
        x_max = x_max.where(x_max > 0, 1.0)
    codes, largest = dac_codes(dac, vectors, x_max, ranges.signed)
    if dac.accumulation == "none":
        u = codes / largest
        if not isinstance(spec.iv, Ideal):
            v = spec.iv.v_read_V / spec.iv.v_0_V
            u = torch.sinh(u * v) / math.sinh(v)
        return [(1.0, u)], x_max
    cycles = dac.bits - 1 if ranges.signed else dac.bits
    size = codes.abs().long()
    return [(2.0**b / largest, ((size >> b) & 1).double() * codes.sign()) for b in range(cycles)], x_max


def sums(spec: LayerSpec, weight: Tensor, vectors: Tensor, groups: int) -> Iterator[tuple[int, Tensor]]:
    """`(tile, sums)` of each conversion, (vectors, outputs)."""
    shaped = weight.view(groups, -1, weight.shape[1])
    for rows, tile in reads(spec.tile, weight.shape[1]):
        yield tile, torch.einsum("vgi,goi->vgo", vectors[..., rows], shaped[..., rows]).flatten(1)


@dataclass
class Read:
    """Outputs without a bias, (vectors, outputs), and of each output the smallest and largest step of a conversion.

    Sums of codes in single precision are rounded to `rounding` of an output.
    """

    y: Tensor
    step: Tensor
    largest_step: Tensor
    conversions: int = 0
    clipped: int = 0
    rounding: float = 0.0


def read(
    module: nn.Module,
    layer: ProgrammedLayer,
    ranges: Ranges,
    x: Tensor,
    gain: Tensor | float = 0.0,
    offset: Tensor | float = 0.0,
) -> Read:
    """Read a layer.

    Args:
        module: the layer.
        layer: its cells.
        ranges: of its converters.
        x: input.
        gain, offset: of each ADC, (lines, tiles, outputs).
    """
    spec, groups = layer.spec, getattr(module, "groups", 1)
    parts, x_max = drives(spec, patches(module, x), ranges)
    lines = list(bit_lines(layer))
    outputs, tiles = len(lines[0][2]), reads(spec.tile, lines[0][2].shape[1])[-1][1] + 1
    w_max = layer.full_scale.double().flatten(1).expand(outputs, -1)[:, 0]
    full = torch.as_tensor(x_max, dtype=torch.float64)
    if full.dim():
        full = full.expand(-1, -1, outputs // groups).flatten(1)
    scale = w_max * full
    shape = (len(lines), tiles, outputs)
    gains, offsets = (torch.as_tensor(each, dtype=torch.float64).expand(shape) for each in (gain, offset))
    total = torch.zeros(len(parts[0][1]), outputs, dtype=torch.float64)
    adc = spec.adc
    analog = isinstance(spec.dac, UniformDAC) and spec.dac.accumulation == "analog"
    if isinstance(adc, UniformADC):
        signed = adc.subtraction == "array" or ranges.signed
        top = 2**adc.bits - 2 if signed else 2**adc.bits - 1
        middle = top // 2 if signed else 0
        z_max = ranges.z_max.double().expand(-1, tiles, outputs)
        z_max = torch.stack([z_max[min(s, len(z_max) - 1)] for s, _, _ in lines])
        lsb = z_max / (middle or top)
        steps = torch.stack([abs(f) * lsb[i] for i, (_, f, _) in enumerate(lines)]).flatten(0, 1) * w_max
        result = Read(total, steps.amin(0), steps.amax(0))
    else:
        result = Read(total, w_max, w_max)
    for i, (_, factor, weight) in enumerate(lines):
        each = [(part, list(sums(spec, weight, drive, groups))) for part, drive in parts]
        if analog:
            tiles_of = [tile for tile, _ in each[0][1]]
            added = [(tile, sum(part * done[k][1] for part, done in each)) for k, tile in enumerate(tiles_of)]
            each = [(1.0, added)]
        for part, done in each:
            for tile, z in done:
                if isinstance(adc, UniformADC):
                    v = z * (1 + gains[i, tile]) / lsb[i, tile] + offsets[i, tile] + middle
                    result.clipped += int(((v < 0) | (v > top)).sum())
                    result.conversions += v.numel()
                    z = (torch.round(v.clamp(0, top)) - middle) * lsb[i, tile]
                total += part * factor * z
    result.y = total * scale
    result.rounding = 2e-6 * float(result.y.abs().max())
    if full.dim():
        biggest = full.amax()
        result.step, result.largest_step = result.step * full.amin(), result.largest_step * biggest
    else:
        result.step, result.largest_step = result.step * full, result.largest_step * full
    if isinstance(adc, UniformADC):
        result.rounding += 1e-7 * top * float(result.largest_step.max()) * max(tiles, len(parts))
    if len(parts) > 1 and not analog:
        result.step = result.step * parts[0][0]
    return result


def nearest_rank(values: Tensor, percentile: float) -> float:
    """The smallest |value| that `percentile` % do not exceed; 1 in the place of 0."""
    size = np.sort(np.abs(values.double().numpy().ravel()))
    found = float(size[math.ceil(Fraction(str(percentile)) / 100 * len(size)) - 1])
    return found if found > 0 else 1.0
