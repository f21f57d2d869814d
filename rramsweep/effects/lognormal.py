"""Lognormal conductance error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rramsweep.arguments import check_fields
from rramsweep.devices.device import Cells
from rramsweep.devices.streams import Stream
from rramsweep.effects.checks import not_negative
from rramsweep.effects.protocol import EffectBase
from rramsweep.errors import one_of

PRESERVES = ("mean", "median")


@dataclass(frozen=True)
class Lognormal(EffectBase):
    """`G' = G exp(s z - s^2/2)` (keeps the mean) or `G' = G exp(s z)` (keeps the median), `z ~ N(0, 1)` per cell.

    s is `sigma_ln`, the standard deviation of ln G; the coefficient of variation is `sqrt(exp(s^2) - 1)` around the
    mean, which the second form raises by `exp(s^2/2)`. An increment on the present conductance, never below 0. The law
    is also lognormal in resistance, but "mean" and "median" refer to conductance.

    Source: the multiplicative lognormal of Chen L. et al., DATE 2017 [R2] (median); lognormal resistance in
    joksas/nonideality-aware-mnn-training `nonidealities.py` [R]. HRS currents are lognormal, LRS ones normal, in
    cycling statistics of HfO2 (2013) [R: abstract]; s has no value that holds for a technology.

    It is not a law of one technology, and its spread is proportional to G, whereas measured filamentary RRAM has little
    spread in LRS.

    Args:
        sigma_ln: standard deviation of ln G, at least 0; about the relative error while it is small.
        preserve: `mean` or `median`.

    Raises:
        ValueError: a negative or infinite `sigma_ln`, or an unknown `preserve`.
    """

    version: ClassVar[int] = 1
    cellwise: ClassVar[bool] = True

    sigma_ln: float = 0.0
    preserve: str = "mean"

    def __post_init__(self) -> None:
        check_fields(self)
        not_negative("sigma_ln", self.sigma_ln)
        one_of("preserve", self.preserve, PRESERVES)

    def __call__(self, cells: Cells, rng: Stream) -> Tensor:
        """Conductances (uS) times one lognormal factor a cell; unchanged at strength 0."""
        if self.sigma_ln == 0:
            return cells.g_uS
        exponent = rng.normal(cells.g_uS.shape).mul_(self.sigma_ln)
        if self.preserve == "mean":
            exponent.sub_(self.sigma_ln**2 / 2)
        return exponent.exp_().mul_(cells.g_uS)
