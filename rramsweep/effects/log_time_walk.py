"""Drift as a random walk in the logarithm of time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rramsweep.arguments import check_fields
from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Stream
from rramsweep.effects.checks import check_start, drift_notes, finite
from rramsweep.effects.protocol import EffectBase
from rramsweep.effects.walk import combine, wiener
from rramsweep.errors import Sentence, by_law
from rramsweep.units import acceleration, decades

# The rates of conf/drift/log_time.yaml, and the window in which they were measured [X].
MEASURED = {"mean_uS_per_decade": -0.30, "variance_uS2_per_decade": 2.13}
MEASURED_G_MAX_US = 40.0

# Windows whose ends differ by a smaller fraction are equal: 39.26 and 40 uS are one device.
WINDOW = 0.05


@dataclass(frozen=True)
class LogTimeWalk(EffectBase):
    """`G(t) = G + m s + sqrt(b) W(s)`, `s = log10(t / t0)`, W a Wiener process a cell; an increment.

    Mean `m s`, variance `b s`; increments over disjoint intervals are independent, so
    `Var(t2) - Var(t1) = b log10(t2 / t1)` and the correlation of two times is `sigma(t1) / sigma(t2)`. Up to t0
    nothing happens, so `t_s=0`, just after programming, is the conductance that the previous stage left. A chip read
    at several times is one trajectory, whatever the times and their order; two times within the same 0.31 decade (a
    factor of 2.05) are correlated more strongly, see `walk.wiener`.

    Form: `Var(G, t) = C1(G) log10 t + C2(G)` of A. Levy's relaxation data [R: analysis.ipynb]; a 1/f spectrum gives
    the same growth [D]. For their technology C (HfOx, window up to 40 uS) b is 0.6 to 2.1 uS^2 a decade and m 0.06
    to -0.30 uS a decade from 0.1 s to 1e5 s [X].

    It describes these data only in part: 37 % of their variance at 1 s is transient [X]. The measured law is
    `HfOxRelaxation`, which contains this drift; together they would count it twice. A log-time law with one activation
    energy describes baked cells only approximately [X].

    Args:
        mean_uS_per_decade: m.
        variance_uS2_per_decade: b, at least 0.
        t0_s: when the drift begins, in seconds since programming.
        temperature_K: storage temperature of the chip; None is the reference temperature.
        activation_energy_eV: E_a; required with a temperature. t is multiplied by `units.acceleration`.
        reference_temperature_K: temperature at which m and b were measured.

    Raises:
        ValueError: a value is not finite or negative where it must not be, or a temperature without E_a.
    """

    version: ClassVar[int] = 1
    cellwise: ClassVar[bool] = True

    mean_uS_per_decade: float = 0.0
    variance_uS2_per_decade: float = 0.0
    t0_s: float = 1.0
    temperature_K: float | None = None
    activation_energy_eV: float | None = None
    reference_temperature_K: float = 298.15

    def __post_init__(self) -> None:
        check_fields(self)
        finite("mean_uS_per_decade", self.mean_uS_per_decade)
        finite("variance_uS2_per_decade", self.variance_uS2_per_decade, least=0.0)
        check_start(self.t0_s)
        self._acceleration()

    def __call__(self, cells: Cells, rng: Stream) -> Tensor:
        """Conductances (uS) at `cells.t_s` on each cell's random walk; unchanged up to `t0_s`."""
        s = decades(cells.t_s * self._acceleration(), self.t0_s)
        if s == 0 or (self.mean_uS_per_decade == 0 and self.variance_uS2_per_decade == 0):
            return cells.g_uS
        if self.variance_uS2_per_decade == 0:
            return cells.g_uS + self.mean_uS_per_decade * s
        walk = combine(rng, cells.g_uS.shape, wiener(s))
        change_uS = walk.mul_(math.sqrt(self.variance_uS2_per_decade)).add_(self.mean_uS_per_decade * s)
        return change_uS.add_(cells.g_uS)

    def notes(self, device: Device, t_s: float) -> Sequence[Sentence]:
        """Notes on a drift that has not begun, on accelerated time, and on measured rates in another window."""
        notes = drift_notes(self, t_s, self.t0_s, self._acceleration())
        kept = [f"{name}={rate:g}" for name, rate in MEASURED.items() if getattr(self, name) == rate]
        if kept and abs(device.g_max_uS / MEASURED_G_MAX_US - 1) > WINDOW:
            notes.append(
                by_law(
                    f"{' and '.join(kept)} of {{law}} were measured in a window up to {MEASURED_G_MAX_US:g} uS and are "
                    f"not scaled to one up to {device.g_max_uS:g} uS: give the rates of your device",
                    self,
                )
            )
        return notes

    def _acceleration(self) -> float:
        return acceleration(self.temperature_K, self.activation_energy_eV, self.reference_temperature_K)
