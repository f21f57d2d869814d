"""Mappings of a weight to cells and back."""

from __future__ import annotations

import math
from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from rramsweep.arguments import check_fields
from rramsweep.devices.device import Device

SCALES = ("per_tensor", "per_channel")
W_MAX = ("max", "percentile")

# The targets of `mapping=`.
MAPPINGS = ("Differential", "ConstantSum", "Offset")


class Mapping(Protocol):
    """A weight tensor as named arrays of cells, each in the weight's own shape, whose axis 0 counts outputs.

    Cells are named `p` and `n`; a mapping of one cell a weight has `p` alone, so that the draws of a `p` cell are
    the same under every mapping.
    """

    version: ClassVar[int]

    def full_scale(self, weight: Tensor) -> Tensor:
        """W_max, the weight that spans the device's whole window; broadcasts against `weight`."""

    def targets(self, weight: Tensor, full_scale: Tensor, device: Device) -> dict[str, Tensor]:
        """Conductances (uS) to ask for, before quantisation, which also confines them to the window."""

    def weight(self, g_uS: Map[str, Tensor], full_scale: Tensor, device: Device) -> Tensor:
        """The weight that these conductances (uS) stand for: the inverse of `targets`."""

    def gain(self, full_scale: Tensor, device: Device) -> Tensor:
        """|dW/dG| of every cell (a weight unit a uS): `p` cells add, `n` cells subtract. For noise of a read."""


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

    Raises:
        ValueError: an unknown scale or w_max, or a percentile outside its range.
    """

    version: ClassVar[int] = 1

    scale: str = "per_tensor"
    w_max: str = "max"
    percentile: float = 99.9

    def __post_init__(self) -> None:
        check_fields(self, "mapping")
        _check(self.scale, self.w_max, self.percentile)

    def full_scale(self, weight: Tensor) -> Tensor:
        return _full_scale(weight, self.scale, self.w_max, self.percentile)

    def targets(self, weight: Tensor, full_scale: Tensor, device: Device) -> dict[str, Tensor]:
        g_uS = weight * (device.span_uS / _nonzero(full_scale))
        return {
            "p": g_uS.clamp(min=0.0).add_(device.g_min_uS),
            "n": g_uS.neg().clamp_(min=0.0).add_(device.g_min_uS),
        }

    def weight(self, g_uS: Map[str, Tensor], full_scale: Tensor, device: Device) -> Tensor:
        return _pair_weight(g_uS, full_scale, device)

    def gain(self, full_scale: Tensor, device: Device) -> Tensor:
        return full_scale / device.span_uS


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

    def __post_init__(self) -> None:
        check_fields(self, "mapping")
        _check(self.scale, self.w_max, self.percentile)

    def full_scale(self, weight: Tensor) -> Tensor:
        return _full_scale(weight, self.scale, self.w_max, self.percentile)

    def targets(self, weight: Tensor, full_scale: Tensor, device: Device) -> dict[str, Tensor]:
        half_uS = weight * (device.span_uS / 2 / _nonzero(full_scale))
        mid_uS = (device.g_min_uS + device.g_max_uS) / 2
        return {"p": mid_uS + half_uS, "n": mid_uS - half_uS}

    def weight(self, g_uS: Map[str, Tensor], full_scale: Tensor, device: Device) -> Tensor:
        return _pair_weight(g_uS, full_scale, device)

    def gain(self, full_scale: Tensor, device: Device) -> Tensor:
        return full_scale / device.span_uS


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

    def __post_init__(self) -> None:
        check_fields(self, "mapping")
        _check(self.scale, self.w_max, self.percentile)

    def full_scale(self, weight: Tensor) -> Tensor:
        return _full_scale(weight, self.scale, self.w_max, self.percentile)

    def targets(self, weight: Tensor, full_scale: Tensor, device: Device) -> dict[str, Tensor]:
        return {"p": (weight * (device.span_uS / 2 / _nonzero(full_scale))).add_(_reference_uS(device))}

    def weight(self, g_uS: Map[str, Tensor], full_scale: Tensor, device: Device) -> Tensor:
        return (g_uS["p"] - _reference_uS(device)).mul_(self.gain(full_scale, device))

    def gain(self, full_scale: Tensor, device: Device) -> Tensor:
        return 2 * full_scale / device.span_uS


def _pair_weight(g_uS: Map[str, Tensor], full_scale: Tensor, device: Device) -> Tensor:
    return (g_uS["p"] - g_uS["n"]).mul_(full_scale / device.span_uS)


def _check(scale: str, w_max: str, percentile: float) -> None:
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
