"""Power-law drift with an exponent of its own for each cell."""

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
from rramsweep.errors import Sentence
from rramsweep.units import acceleration, decades


@dataclass(frozen=True)
class PowerLawDrift(EffectBase):
    """`G(t) = G (t / t0)^-nu` for `t > t0`, `nu ~ N(nu_mean, nu_std)` once a cell; acts on the present conductance.

    Up to t0 nothing happens, so `t_s=0`, just after programming, is the conductance that the previous stage left. A
    chip read at several times is one trajectory: its exponents are frozen. Without `clip_nu`, with L = ln(t / t0):
    mean `exp(-nu_mean L + nu_std^2 L^2 / 2)`, second moment `exp(-2 nu_mean L + 2 nu_std^2 L^2)`, times G and G^2.

    Sources: IBM AIHWKit, generic state-independent PCM-like law, nu = 0.1 +- 0.05, t0 = 20 s [R: AIHWKit]. MemTorch
    takes t0 = 1e-12 s [R], which turns nu = 0.1 into a factor of 0.063 after 1 s: a nu means nothing without its t0.

    It is not a law of RRAM: filamentary RRAM shows no systematic nu (AIHWKit says so too [R: docstring]). It is the law
    of phase-change memory, included for comparison and because some RRAM papers assume it.

    Args:
        nu_mean: mean exponent.
        nu_std: spread of the exponent from cell to cell, at least 0.
        clip_nu: True sets negative exponents to 0, as AIHWKit does: no cell drifts upward.
        t0_s: when the drift begins, in seconds since programming.
        temperature_K: storage temperature of the chip; None is the reference temperature.
        activation_energy_eV: E_a; required with a temperature. t is multiplied by `units.acceleration`.
        reference_temperature_K: temperature at which nu was measured.

    Raises:
        ValueError: a value is not finite or negative where it must not be, or a temperature without E_a.
    """

    version: ClassVar[int] = 1
    cellwise: ClassVar[bool] = True

    nu_mean: float = 0.0
    nu_std: float = 0.0
    clip_nu: bool = True
    t0_s: float = 20.0
    temperature_K: float | None = None
    activation_energy_eV: float | None = None
    reference_temperature_K: float = 298.15

    def __post_init__(self) -> None:
        check_fields(self)
        finite("nu_mean", self.nu_mean)
        finite("nu_std", self.nu_std, least=0.0)
        check_start(self.t0_s)
        self._acceleration()

    def __call__(self, cells: Cells, rng: Stream) -> Tensor:
        """Conductances (uS) at `cells.t_s`, each cell with its own exponent; unchanged up to `t0_s`."""
        log_time = math.log(10) * decades(cells.t_s * self._acceleration(), self.t0_s)
        if log_time == 0 or (self.nu_mean == 0 and self.nu_std == 0):
            return cells.g_uS
        nu = rng.normal(cells.g_uS.shape).mul_(self.nu_std).add_(self.nu_mean)
        if self.clip_nu:
            nu.clamp_(min=0.0)
        return nu.mul_(-log_time).exp_().mul_(cells.g_uS)

    def notes(self, device: Device, t_s: float) -> Sequence[Sentence]:  # noqa: ARG002
        """Notes on a drift that has not begun, and on accelerated time."""
        return drift_notes(self, t_s, self.t0_s, self._acceleration())

    def _acceleration(self) -> float:
        return acceleration(self.temperature_K, self.activation_energy_eV, self.reference_temperature_K)
