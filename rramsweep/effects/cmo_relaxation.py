"""Relaxation of IBM's CMO/HfOx cells: mean and spread grow with the natural logarithm of time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rramsweep.arguments import check_fields
from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Stream
from rramsweep.effects.checks import finite
from rramsweep.effects.protocol import EffectBase
from rramsweep.effects.walk import combine, wiener
from rramsweep.errors import Sentence, ValidationError, by_law
from rramsweep.units import UNITS_S

# AIHWKit's fit for t in seconds. The logarithm is natural: with log10 the slopes would be 2.3 times too small.
MEAN_US = -0.08900206
SD_SLOPE_US = 0.04201137
SD_AT_1_S_US = 0.41183342

FIRST_S = 1.0
G_US = (8.0, 90.0)
LAST_S = 10 * UNITS_S["y"]


@dataclass(frozen=True)
class CmoRelaxation(EffectBase):
    """`G(t) = G + strength N(-0.0890 ln t, (0.0420 ln t + 0.4118)^2)` uS, t in s; an increment on the written cell.

    The law is the same at every conductance. At 1 s, 1 h, 1 d, 10 y: mean 0, -0.73, -1.01, -1.74 uS, standard deviation
    0.41, 0.76, 0.89, 1.23 uS [D]. Time counts from programming (`t0_s` is 0): `t_s=0` is the written cell, and the
    0.41 uS reached at 1 s are part of the law. Times between 0 and 1 s are refused, as the fit's width falls to 0 at
    55 us. A chip read at several times is one trajectory with independent increments and correlation `sd(t1) / sd(t2)`,
    which is an assumption, as no correlation is published.

    Source: IBM AIHWKit, `ReRamCMONoiseModel` [R: reram.py], for Falcone et al., arXiv:2502.04524; windows of 8 to
    90 uS with one device a weight. AIHWKit adds it to the written conductance, so it contains no programming error.

    It does not include read noise (1/f), which AIHWKit adds separately, and no tails are known.

    Args:
        strength: multiplies the change; 1 is the fit.
        scale: True uses it for another window, with every change multiplied by g_max / 90 uS.

    Raises:
        ValueError: the strength is negative or not finite.
    """

    version: ClassVar[int] = 1
    cellwise: ClassVar[bool] = True
    t0_s: ClassVar[float] = 0.0
    until_s: ClassVar[float] = math.inf
    measured_until_s: ClassVar[float] = LAST_S

    strength: float = 1.0
    scale: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        finite("strength", self.strength, least=0.0)

    def __call__(self, cells: Cells, rng: Stream) -> Tensor:
        """Conductances (uS) at `cells.t_s`; unchanged at 0 s and at strength 0."""
        self.check_time(cells.t_s)
        if cells.t_s == 0 or self.strength == 0:
            return cells.g_uS
        log_time = math.log(cells.t_s)
        unit = self.strength * self._factor(cells.device)
        # The Wiener process runs in the variance relative to that at 1 s: 1 to 9 until 10 years.
        relative_sd = 1 + SD_SLOPE_US / SD_AT_1_S_US * log_time
        change_uS = combine(rng, cells.g_uS.shape, wiener(relative_sd**2))
        return change_uS.mul_(unit * SD_AT_1_S_US).add_(unit * MEAN_US * log_time).add_(cells.g_uS)

    def check(self, device: Device) -> None:
        """Check that the device's window lies in the fitted range, unless the law is scaled.

        Raises:
            ValidationError: states the range, the window and the remedy.
        """
        if not self.scale and not (G_US[0] <= device.g_min_uS and device.g_max_uS <= G_US[1]):
            raise ValidationError(
                by_law(f"{{law}} was fitted in {G_US[0]:g}..{G_US[1]:g} uS", self),
                by_law("take a device inside{devices} or set {law.dot}scale=true", self, devices=""),
                value=(device.g_min_uS, device.g_max_uS),
                shown=f"a window of {device.g_min_uS:g}..{device.g_max_uS:g} uS",
                window_uS=G_US,
            )

    def check_time(self, t_s: float) -> None:
        """Check that the time is 0 or at least 1 s.

        Raises:
            ValidationError: states the times that the law covers.
        """
        if 0 < t_s < FIRST_S:
            raise ValidationError(
                by_law(f"{{law}} covers t_s = 0 and from {FIRST_S:g} s on", self),
                "take one of these",
                value=t_s,
                shown=f"{t_s:g} s",
            )

    def notes(self, device: Device, t_s: float) -> Sequence[Sentence]:
        """Notes on a chip read at 0 s, on a scaled window, and on times beyond 10 years."""
        notes = []
        if t_s == 0:
            notes.append(by_law("{law} does nothing at t_s=0, just after programming", self))
        if self.scale:
            notes.append(
                by_law(
                    f"{{law}} is scaled by a factor of {self._factor(device):.3g} from a window up to {G_US[1]:g} uS "
                    f"to one up to {device.g_max_uS:g} uS",
                    self,
                )
            )
        if t_s > LAST_S:
            notes.append(by_law(f"{{law}} at {t_s:.3g} s, beyond 10 years, is an extrapolation", self))
        return notes

    def _factor(self, device: Device) -> float:
        return device.g_max_uS / G_US[1] if self.scale else 1.0
