"""Mappings of a weight to cells and back."""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from rramsweep.arguments import check_fields
from rramsweep.devices.device import Device
from rramsweep.errors import ValidationError, one_of

SCALES = ("per_tensor", "per_channel")
W_MAX = ("max", "percentile")

# The targets of `mapping=`.
MAPPINGS = ("Differential", "ConstantSum", "Offset", "Sliced")

# How one slice of `Sliced` holds its digits.
BASES = ("differential", "constant_sum", "offset")

# Bits of a cell, slices of a weight and bits of both together. A float32 keeps a conductance to a part in 2^24, which
# of 16 bits is less than a hundredth of the last one; of 20 it would be a tenth.
MOST_CELL_BITS, MOST_SLICES, MOST_BITS = 8, 16, 16

# Largest number of copies of a weight. Beyond a few, the same area is better spent on a better device.
MOST_COPIES = 64


class Mapping(Protocol):
    """A weight tensor as named arrays of cells, each in the weight's own shape, whose axis 0 counts outputs.

    Cells are named `p` and `n`; a mapping of one cell a weight has `p` alone, so that the draws of a `p` cell are
    the same under every mapping. Where a weight has several slices, these are the most significant one, and `p_1`,
    `n_1`, `p_2`, ... follow downwards. A mapping names one copy of its cells; those of further copies, `p2`, `n2`,
    `p2_1`, ..., are made and averaged by `copied` and `averaged`.

    It has `gains` or, where all cells have the same one, `gain(full_scale, device) -> Tensor`: see `cell_gains`.
    """

    version: ClassVar[int]

    def full_scale(self, weight: Tensor) -> Tensor:
        """W_max, the weight that spans the device's whole window; broadcasts against `weight`."""

    def targets(self, weight: Tensor, full_scale: Tensor, device: Device) -> dict[str, Tensor]:
        """Conductances (uS) to ask for, before quantisation, which also confines them to the window."""

    def weight(self, g_uS: Map[str, Tensor], full_scale: Tensor, device: Device) -> Tensor:
        """The weight that these conductances (uS) represent: the inverse of `targets`."""


@dataclass(frozen=True)
class Differential:
    """One-sided pair: the sign picks the cell, the other one rests at g_min.

    `G_p = g_min + max(w, 0) D`, `G_n = g_min + max(-w, 0) D`, `w = (G_p - G_n) / D = W / W_max`, with
    `D = g_max - g_min`. Weight 0 is the balanced pair (g_min, g_min).

    PyRRAM-Sim's README writes `(W / w_max) G_max`, which leaves the window for every g_min > 0; `D` does not.

    Args:
        scale: `per_tensor`, one W_max a layer, or `per_channel`, one for each output channel.
        w_max: `max` takes the largest |W|; `percentile` the smallest |W| that `percentile` % of the weights do not
            exceed (nearest rank), and larger weights saturate.
        percentile: above 0, at most 100; read by `w_max: percentile` alone.
        copies: M, 1..64: every cell exists M times, each programmed independently, and the weight is their mean. Each
            copy lies in a crossbar of its own; their currents are added before an ADC.

    Raises:
        ValueError: an unknown scale or w_max, or a percentile or copies outside their range.
    """

    version: ClassVar[int] = 1

    scale: str = "per_tensor"
    w_max: str = "max"
    percentile: float = 99.9
    copies: int = field(default=1, metadata={"added": True})

    def __post_init__(self) -> None:
        check_fields(self, "mapping")
        _check(self.scale, self.w_max, self.percentile, self.copies)

    def full_scale(self, weight: Tensor) -> Tensor:
        """W_max of the layer or of each output channel; broadcasts against the weight."""
        return _full_scale(weight, self.scale, self.w_max, self.percentile)

    def targets(self, weight: Tensor, full_scale: Tensor, device: Device) -> dict[str, Tensor]:
        """Conductances (uS) of `p` and `n`, one of which is g_min."""
        g_uS = weight * (device.span_uS / _nonzero(full_scale))
        return {
            "p": g_uS.clamp(min=0.0).add_(device.g_min_uS),
            "n": g_uS.neg().clamp_(min=0.0).add_(device.g_min_uS),
        }

    def weight(self, g_uS: Map[str, Tensor], full_scale: Tensor, device: Device) -> Tensor:
        """Weight that pairs of conductances (uS) represent."""
        return _pair_weight(g_uS, full_scale, device)

    def gains(self, full_scale: Tensor, device: Device) -> dict[str, Tensor]:
        """|dW/dG| by name of cell array."""
        return _pair_gains(full_scale, device)


@dataclass(frozen=True)
class ConstantSum:
    """Two-sided pair around mid-window, whose conductances sum to `g_min + g_max` for every weight.

    `G_p = (g_min + g_max)/2 + w D/2`, `G_n = (g_min + g_max)/2 - w D/2`, `w = (G_p - G_n) / D`. The mapping of
    PyRRAM-Sim's code. Both cells conduct for every weight, so proportional errors weigh more than in `Differential`:
    at a relative drift of 0.2 the MVM error is about 0.59 instead of 0.21 (weights with W_max = 4 std).

    Args and errors: see `Differential`.
    """

    version: ClassVar[int] = 1

    scale: str = "per_tensor"
    w_max: str = "max"
    percentile: float = 99.9
    copies: int = field(default=1, metadata={"added": True})

    def __post_init__(self) -> None:
        check_fields(self, "mapping")
        _check(self.scale, self.w_max, self.percentile, self.copies)

    def full_scale(self, weight: Tensor) -> Tensor:
        """W_max of the layer or of each output channel; broadcasts against the weight."""
        return _full_scale(weight, self.scale, self.w_max, self.percentile)

    def targets(self, weight: Tensor, full_scale: Tensor, device: Device) -> dict[str, Tensor]:
        """Conductances (uS) of `p` and `n`, symmetric around mid-window."""
        half_uS = weight * (device.span_uS / 2 / _nonzero(full_scale))
        mid_uS = (device.g_min_uS + device.g_max_uS) / 2
        return {"p": mid_uS + half_uS, "n": mid_uS - half_uS}

    def weight(self, g_uS: Map[str, Tensor], full_scale: Tensor, device: Device) -> Tensor:
        """Weight that pairs of conductances (uS) represent."""
        return _pair_weight(g_uS, full_scale, device)

    def gains(self, full_scale: Tensor, device: Device) -> dict[str, Tensor]:
        """|dW/dG| by name of cell array."""
        return _pair_gains(full_scale, device)


@dataclass(frozen=True)
class Offset:
    """One cell a weight against a reference at mid-window: `G_p = G_ref + w D/2`, `w = 2 (G_p - G_ref) / D`.

    The reference is noise-free and sits on the device level nearest mid-window, so that weight 0 is exact on the
    ideal chip. A real reference column has errors of its own, which are not modelled.

    Args and errors: see `Differential`.
    """

    version: ClassVar[int] = 1

    scale: str = "per_tensor"
    w_max: str = "max"
    percentile: float = 99.9
    copies: int = field(default=1, metadata={"added": True})

    def __post_init__(self) -> None:
        check_fields(self, "mapping")
        _check(self.scale, self.w_max, self.percentile, self.copies)

    def full_scale(self, weight: Tensor) -> Tensor:
        """W_max of the layer or of each output channel; broadcasts against the weight."""
        return _full_scale(weight, self.scale, self.w_max, self.percentile)

    def targets(self, weight: Tensor, full_scale: Tensor, device: Device) -> dict[str, Tensor]:
        """Conductances (uS) of `p`, around the reference."""
        return {"p": (weight * (device.span_uS / 2 / _nonzero(full_scale))).add_(_reference_uS(device))}

    def weight(self, g_uS: Map[str, Tensor], full_scale: Tensor, device: Device) -> Tensor:
        """Weight that conductances (uS) represent against the reference."""
        return (g_uS["p"] - _reference_uS(device)).mul_(self.gains(full_scale, device)["p"])

    def gains(self, full_scale: Tensor, device: Device) -> dict[str, Tensor]:
        """|dW/dG| by name of cell array."""
        return {"p": 2 * full_scale / device.span_uS}


@dataclass(frozen=True)
class Sliced:
    """A weight as the digits of an integer, each digit in a cell or pair of its own: bit slices.

    With `B = 2^bits_per_cell`, S slices and `K = B^S - 1`, `k = round(|w| K)` of `w = W / W_max`, confined to 0..K; its
    digits base B, the most significant one first, are held as `digit / (B - 1)` of the window D, by

    - `differential`: `G = g_min + D digit/(B-1)` in the cell of the sign, g_min in the other one;
    - `constant_sum`: `G_p,n = mid +- sign digit/(B-1) D/2`;
    - `offset`: one cell a slice, for the digits of `k = k0 + round(w (k0 - 1))` with `k0 = B^S / 2`, which is
      subtracted digitally and exactly, so that weight 0 is exact on the ideal chip.

    The slices are recombined with the exact scale, `w = sum_s (B-1) B^s c_s / K`, c the cell's (or pair's) part of the
    window; of `offset` `w = (sum_s (B-1) B^s c_s - k0) / (k0 - 1)`. Each slice is programmed with its own draws. The
    device's levels should hold every digit (`device.levels=B`, or none).

    Args:
        base: how a slice holds its digits.
        bits_per_cell: 1..8.
        slices: S, 1..16; `bits_per_cell * slices` is at most 16, and at least 2 for `offset`.
        scale: see `Differential`, as `w_max` and `percentile`.
        w_max: likewise.
        percentile: likewise.
        copies: likewise.

    Raises:
        ValueError: a value outside its range, an unknown base, scale or w_max.

    Source: Shafiee et al., ISCA 2016 (ISAAC: 8 slices of 2 bits, an offset); CrossSim's weight bit slicing
    (second-hand).
    """

    version: ClassVar[int] = 1

    base: str = "differential"
    bits_per_cell: int = 2
    slices: int = 4
    scale: str = "per_tensor"
    w_max: str = "max"
    percentile: float = 99.9
    copies: int = field(default=1, metadata={"added": True})

    def __post_init__(self) -> None:
        check_fields(self, "mapping")
        one_of("base", self.base, BASES)
        for name, most in (("bits_per_cell", MOST_CELL_BITS), ("slices", MOST_SLICES)):
            value = getattr(self, name)
            if not 1 <= value <= most:
                raise ValidationError(
                    f"must lie in 1..{most}", "correct it", value=value, parameter=name, slot="mapping"
                )
        least = 2 if self.base == "offset" else 1
        if not least <= self.bits <= MOST_BITS:
            raise ValidationError(
                f"needs {least}..{MOST_BITS} bits a weight for base={self.base}",
                f"take {'fewer' if self.bits > MOST_BITS else 'more'} slices or bits_per_cell",
                value=self.bits,
                shown=f"bits_per_cell={self.bits_per_cell} times slices={self.slices}",
                slot="mapping",
            )
        _check(self.scale, self.w_max, self.percentile, self.copies)

    @property
    def bits(self) -> int:
        """Bits of a weight's integer k, without the sign, which a pair holds in addition."""
        return self.bits_per_cell * self.slices

    @property
    def top(self) -> int:
        """Largest digit, B - 1."""
        return int(2**self.bits_per_cell - 1)

    @property
    def _middle(self) -> int:
        """Integer of weight 0, k0, of `offset`."""
        return int(2 ** (self.bits - 1))

    @property
    def _codes(self) -> int:
        """Integer of the largest weight minus that of weight 0."""
        return self._middle - 1 if self.base == "offset" else int(2**self.bits - 1)

    @property
    def _shifts(self) -> range:
        """Bits below each slice's digit, from the most significant slice down."""
        return range(self.bits - self.bits_per_cell, -1, -self.bits_per_cell)

    def full_scale(self, weight: Tensor) -> Tensor:
        """W_max of the layer or of each output channel; broadcasts against the weight."""
        return _full_scale(weight, self.scale, self.w_max, self.percentile)

    def digits(self, weight: Tensor, full_scale: Tensor) -> list[Tensor]:
        """Digits of a weight in its own shape and type, slice by slice; those of pairs have the sign of the weight."""
        # In float64: in float32, w K of 16 bits would be off by up to a hundredth, and round to its neighbour.
        code = (weight.double() / _nonzero(full_scale)).mul_(self._codes).round_().clamp_(-self._codes, self._codes)
        if self.base == "offset":
            k = code.int().add_(self._middle)
            return [((k >> shift) & self.top).to(weight.dtype) for shift in self._shifts]
        k, sign = code.abs().int(), code.sign().to(weight.dtype)
        return [((k >> shift) & self.top).to(weight.dtype).mul_(sign) for shift in self._shifts]

    def targets(self, weight: Tensor, full_scale: Tensor, device: Device) -> dict[str, Tensor]:
        """Conductances (uS) of every slice's cells, the most significant slice first."""
        found: dict[str, Tensor] = {}
        for k, digit in enumerate(self.digits(weight, full_scale)):
            found |= zip(_cells_of_slice(k), self._held(digit, device), strict=False)
        return found

    def digit_errors(self, device: Device) -> Tensor:
        """Rounding error of the device's levels for each value of a digit, in units of the digit."""
        digit = torch.arange(0.0 if self.base == "offset" else -self.top, self.top + 1.0)
        p_uS, *n_uS = (device.quantise(g_uS) for g_uS in self._held(digit, device))
        zero_uS = n_uS[0] if n_uS else device.g_min_uS
        return (p_uS - zero_uS) * (self.top / device.span_uS) - digit

    def _held(self, digit: Tensor, device: Device) -> tuple[Tensor, ...]:
        """Conductances (uS) that hold a digit: of `p` and, except for `offset`, of `n`."""
        step_uS = device.span_uS / self.top
        if self.base == "constant_sum":
            half_uS, mid_uS = digit * (step_uS / 2), (device.g_min_uS + device.g_max_uS) / 2
            return mid_uS + half_uS, mid_uS - half_uS
        p_uS = digit.clamp(min=0.0).mul_(step_uS).add_(device.g_min_uS)
        if self.base == "offset":
            return (p_uS,)
        return p_uS, digit.neg().clamp_(min=0.0).mul_(step_uS).add_(device.g_min_uS)

    def weight(self, g_uS: Map[str, Tensor], full_scale: Tensor, device: Device) -> Tensor:
        """Weight that the slices' conductances (uS) represent together."""
        gains, parts = self.gains(full_scale, device), []
        for k in range(self.slices):
            p, n = _cells_of_slice(k)
            zero_uS = g_uS[n] if n in gains else self._reference_uS(k, device)
            parts.append((g_uS[p] - zero_uS).mul_(gains[p]))
        return reduce(Tensor.add_, parts)

    def gains(self, full_scale: Tensor, device: Device) -> dict[str, Tensor]:
        """|dW/dG| by name of cell array, larger for more significant slices."""
        found: dict[str, Tensor] = {}
        for k, shift in enumerate(self._shifts):
            gain = full_scale / (device.span_uS * self._codes / (self.top * 2**shift))
            p, n = _cells_of_slice(k)
            found |= {p: gain} if self.base == "offset" else {p: gain, n: gain}
        return found

    def _reference_uS(self, k: int, device: Device) -> float:
        """Conductance of k0's digit in a slice of `offset`: B/2 in the most significant one, 0 in the others."""
        digit = 2 ** (self.bits_per_cell - 1) if k == 0 else 0
        return device.g_min_uS + device.span_uS * digit / self.top


def cell_gains(mapping: Mapping, cells: Iterable[str], full_scale: Tensor, device: Device) -> dict[str, Tensor]:
    """|dW/dG| of the cells of each array (a weight unit a uS): `p` cells add, `n` cells subtract.

    Args:
        mapping: with `gains`, by name of array, or with `gain`, one for all.
        cells: names of its arrays.
        full_scale: W_max, which broadcasts against the weight, as each gain does.
        device: the cell.
    """
    found: Any = mapping  # the protocol declares neither, since either is enough
    copies = copies_of(mapping)
    if not hasattr(mapping, "gains"):
        return dict.fromkeys(cells, found.gain(full_scale, device) / copies)
    gains: dict[str, Tensor] = found.gains(full_scale, device)
    if copies == 1:
        return gains
    shared = {id(gain): gain / copies for gain in gains.values()}  # one tensor stays one, by which cells are grouped
    return {cell: shared[id(gains[original(cell)])] for cell in cells}


def copied(cells: Map[str, Tensor], copies: int) -> dict[str, Tensor]:
    """Arrays of all copies, copy by copy: `p`, `n`, `p2`, `n2`, `p3`, ..."""
    further = {name[0] + str(copy) + name[1:]: g for copy in range(2, copies + 1) for name, g in cells.items()}
    return {**cells, **further}


def averaged(g_uS: Map[str, Tensor], copies: int) -> dict[str, Tensor]:
    """Mean over the copies of each array of cells, by the name of the array in the first copy."""
    if copies == 1:
        return dict(g_uS)
    found: dict[str, Tensor] = {}
    for cell, g in g_uS.items():
        first = original(cell)
        found[first] = found[first] + g if first in found else g
    return {cell: g / copies for cell, g in found.items()}


def original(cell: str) -> str:
    """Name of the array in the first copy."""
    head, _, number = cell.partition("_")
    return f"{head[0]}_{number}" if number else head[0]


def slice_of(cell: str) -> int:
    """Number of the slice that an array of cells belongs to, by its name: 0 for the most significant one."""
    number = cell.rpartition("_")[2]
    return int(number) if number.isdecimal() else 0


def sign_of(cell: str) -> int:
    """Sign with which an array of cells enters the weight, by its name: -1 for `n` cells, 1 for all others."""
    return -1 if cell.startswith("n") else 1


def is_paired(cells: Iterable[str]) -> bool:
    """True where every array of `p` cells has one of `n` cells, by their names."""
    names = set(cells)
    return all(("n" if cell[0] == "p" else "p") + cell[1:] in names for cell in names)


def cell_names(mapping: Mapping, device: Device) -> list[str]:
    """Names of a mapping's arrays of cells, in their order."""
    return list(copied(mapping.targets(torch.zeros(1, 1), torch.ones(1, 1), device), copies_of(mapping)))


def copies_of(mapping: Mapping) -> int:
    """Copies of each cell; a user's own mapping has one unless it says so."""
    return int(getattr(mapping, "copies", 1))


def _cells_of_slice(k: int) -> tuple[str, str]:
    return ("p", "n") if k == 0 else (f"p_{k}", f"n_{k}")


def _pair_weight(g_uS: Map[str, Tensor], full_scale: Tensor, device: Device) -> Tensor:
    return (g_uS["p"] - g_uS["n"]).mul_(full_scale / device.span_uS)


def _pair_gains(full_scale: Tensor, device: Device) -> dict[str, Tensor]:
    return dict.fromkeys("pn", full_scale / device.span_uS)


def _check(scale: str, w_max: str, percentile: float, copies: int) -> None:
    if not 1 <= copies <= MOST_COPIES:
        raise ValidationError(
            f"must lie in 1..{MOST_COPIES}",
            "give the number of cells that hold one value",
            value=copies,
            parameter="copies",
            slot="mapping",
        )
    if scale not in SCALES:
        raise ValueError(f"mapping.scale must be one of {', '.join(SCALES)}, got {scale!r}: pick one")
    if w_max not in W_MAX:
        raise ValueError(f"mapping.w_max must be one of {', '.join(W_MAX)}, got {w_max!r}: pick one")
    if not 0 < percentile <= 100:
        raise ValueError(f"mapping.percentile must lie above 0 and up to 100, got {percentile}: 99.9 is common")


def _full_scale(weight: Tensor, scale: str, w_max: str, percentile: float) -> Tensor:
    size = weight.abs()
    shape = [1] * weight.dim()
    if scale == "per_channel":
        shape[0] = len(weight)
        size = size.flatten(1) if weight.dim() > 1 else size.unsqueeze(1)
    else:
        size = size.flatten().unsqueeze(0)
    largest = size.amax(1)
    if w_max == "max":
        return largest.reshape(shape)
    rank = max(1, math.ceil(percentile / 100 * size.shape[1] - 1e-9))
    full = size.kthvalue(rank, dim=1).values
    if ((full == 0) & (largest > 0)).any():
        raise ValueError(
            f"mapping.percentile must leave a weight above 0, but at {percentile} % W_max is 0 in a layer or channel "
            "whose weights are mostly 0: raise it or use w_max=max"
        )
    return full.reshape(shape)


def _nonzero(full_scale: Tensor) -> Tensor:
    # An all-zero layer or channel has W_max 0: dividing by 1 instead maps it to balanced cells, and the W_max of 0
    # keeps its weights at exactly 0 on the way back, whatever the cells do.
    return torch.where(full_scale == 0, torch.ones_like(full_scale), full_scale)


def _reference_uS(device: Device) -> float:
    mid_uS = torch.tensor((device.g_min_uS + device.g_max_uS) / 2)
    return float(device.quantise(mid_uS))
