"""Variation that write-verify does not see: between cells, columns and chips, and smoothly over the array."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rramsweep.arguments import check_fields
from rramsweep.devices.device import Cells
from rramsweep.devices.streams import Stream
from rramsweep.effects.checks import fraction
from rramsweep.effects.protocol import EffectBase
from rramsweep.errors import one_of

OF = ("conductance", "g_max")


@dataclass(frozen=True)
class Variation(EffectBase):
    """`G' = G + sigma G_ref z`, z standard normal in every cell and made of four parts whose variances add to 1.

        z = sqrt(share_device) z_cell + sqrt(share_chip) z_chip + sqrt(share_column) z_column + sqrt(share_gradient) f

    z_cell is drawn once a cell, z_column once a bit line, z_chip once a chip (all layers, p and n cells), all N(0, 1).
    f is a smooth Gaussian field over the array's bit lines i of n and word lines j of m:

        f = sqrt(1/2) (a cos(pi i/n) + b sin(pi i/n) + c cos(pi j/m) + d sin(pi j/m)),   a, b, c, d ~ N(0, 1)

    half a wave along each side, so its variance is exactly 1 everywhere (cos^2 + sin^2) and its correlation is
    `(cos(pi di/n) + cos(pi dj/m)) / 2`: +1 between neighbours, 0 between the ends of a side, -1 between opposite
    corners, as on a plane of random slope. Every cell's variance is `(sigma G_ref)^2`, for all shares and positions.

    G_ref is the present conductance (`of: conductance`) or g_max. Relative variation is the default: areas, film
    thickness and the gains of columns and chips scale a current. A column's current I then has the error
    `sigma sqrt(share_column) I` (variance proportional to I^2, removable by one scale a column), whereas independent
    cells give the variance `sigma^2 share_device sum (x G)^2`. With `of: g_max` the chip's common part cancels in a
    pair.

    p and n cells are in separate arrays: their columns and fields are independent, only z_chip is common. The variation
    acts after drift and is frozen for the chip's life (`t_s` has no influence). The edge acts after it: a clipped cell
    at g_max can only lose.

    Source of the decomposition: derived here [D] from the scopes of device-to-device and chip-to-chip variation and of
    spatial correlation; sigma is a parameter, and the default of the config is a placeholder, not measured. It does not
    include a spread of noise amplitudes or of windows, or a word-line term, and its normal tails are not measured.

    Args:
        sigma: total standard deviation as a fraction of G_ref, 0..1.
        of: reference of sigma: `conductance` (the cell's, at present) or `g_max`.
        share_device: share of sigma^2 that is independent for each cell; None is the remainder.
        share_chip: share that is common to all cells of a chip.
        share_column: share that is common to the cells of a bit line.
        share_gradient: share that varies smoothly over the array.

    Raises:
        ValueError: sigma or a share outside 0..1, shares that do not sum to 1, an unknown reference.
    """

    version: ClassVar[int] = 1

    sigma: float = 0.0
    of: str = "conductance"
    share_device: float | None = None
    share_chip: float = 0.0
    share_column: float = 0.0
    share_gradient: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        fraction("sigma", self.sigma, "of the reference conductance")
        one_of("of", self.of, OF)
        shares = {
            name: value
            for name in ("share_device", "share_chip", "share_column", "share_gradient")
            if (value := getattr(self, name)) is not None
        }
        for name, value in shares.items():
            fraction(name, value, "of sigma^2")
        total = sum(shares.values())
        if total > 1 + 1e-9 or (self.share_device is not None and total < 1 - 1e-9):
            given = " + ".join(f"{name} {value:g}" for name, value in shares.items())
            raise ValueError(f"shares of a variance must sum to 1, got {given} = {total:g}: use share_device=null")

    def __call__(self, cells: Cells, rng: Stream) -> Tensor:
        """Conductances (uS) with the four parts of the variation added; unchanged at sigma 0."""
        if self.sigma == 0:
            return cells.g_uS
        bit_lines, word_lines = cells.lines
        along_bit_lines = torch.zeros(bit_lines, 1)
        along_word_lines = torch.zeros(1, word_lines)
        if self.share_chip > 0:
            along_bit_lines += math.sqrt(self.share_chip) * rng.shared().child("chip").normal((1,))
        if self.share_column > 0:
            along_bit_lines += math.sqrt(self.share_column) * rng.child("column").normal((bit_lines, 1))
        if self.share_gradient > 0:
            a, b, c, d = (math.sqrt(self.share_gradient / 2) * rng.child("gradient").normal((4,))).tolist()
            along_bit_lines += _half_wave(bit_lines, a, b).unsqueeze(1)
            along_word_lines += _half_wave(word_lines, c, d)
        device = self._share_device()
        if device > 0:
            z = rng.child("cell").normal((bit_lines, word_lines)).mul_(math.sqrt(device))
            z.add_(along_bit_lines).add_(along_word_lines)
        else:
            z = along_bit_lines + along_word_lines
        z = z.mul_(self.sigma).view(cells.g_uS.shape)
        if self.of == "g_max":
            return z.mul_(cells.device.g_max_uS).add_(cells.g_uS)
        return z.mul_(cells.g_uS).add_(cells.g_uS)

    def _share_device(self) -> float:
        if self.share_device is not None:
            return self.share_device
        return max(0.0, 1 - self.share_chip - self.share_column - self.share_gradient)


def _half_wave(n: int, cosine: float, sine: float) -> Tensor:
    phase = torch.arange(n) * (math.pi / n)
    return cosine * phase.cos() + sine * phase.sin()
