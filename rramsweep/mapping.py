"""How a weight becomes cells, and how cells become a weight again."""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from rramsweep.device import Device


class Mapping(Protocol):
    """A weight tensor as named arrays of cells (`p`, `n`), each in the weight's own shape."""

    version: ClassVar[int]

    def scale(self, weight: Tensor) -> Tensor:
        """W_max: the weight that spans the device's whole window; broadcasts against `weight`."""

    def targets(self, weight: Tensor, scale: Tensor, device: Device) -> dict[str, Tensor]:
        """Conductances (uS) to ask for, before quantisation."""

    def weight(self, g_uS: Map[str, Tensor], scale: Tensor, device: Device) -> Tensor:
        """The weight that these conductances (uS) stand for: the inverse of `targets`."""


@dataclass(frozen=True)
class Differential:
    """One-sided pair: the sign picks the cell, the other one rests at g_min.

    `G_p = g_min + max(w, 0) D`, `G_n = g_min + max(-w, 0) D`, `w = (G_p - G_n) / D = W / W_max`, with
    `D = g_max - g_min` and `W_max = max|W|` of the layer. Weight 0 is the balanced pair (g_min, g_min).

    PyRRAM-Sim's README writes `(W / w_max) G_max`, which leaves the window for every g_min > 0; `D` does not.
    """

    version: ClassVar[int] = 1

    def scale(self, weight: Tensor) -> Tensor:
        return weight.abs().max()

    def targets(self, weight: Tensor, scale: Tensor, device: Device) -> dict[str, Tensor]:
        g_uS = weight * (device.span_uS / _nonzero(scale))
        return {
            "p": g_uS.clamp(min=0.0).add_(device.g_min_uS),
            "n": g_uS.neg().clamp_(min=0.0).add_(device.g_min_uS),
        }

    def weight(self, g_uS: Map[str, Tensor], scale: Tensor, device: Device) -> Tensor:
        return (g_uS["p"] - g_uS["n"]).mul_(scale / device.span_uS)


def _nonzero(scale: Tensor) -> Tensor:
    # An all-zero layer has scale 0: dividing by 1 instead maps it to balanced cells, and the scale of 0 keeps
    # its weights at exactly 0 on the way back, whatever the cells do.
    return torch.where(scale == 0, torch.ones_like(scale), scale)
