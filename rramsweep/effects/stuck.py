"""Stuck-at faults, independent from cell to cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from rramsweep.arguments import check_fields
from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Stream
from rramsweep.effects.protocol import EffectBase
from rramsweep.effects.stuck_values import check_stuck, stick, stuck_notes
from rramsweep.errors import Sentence


@dataclass(frozen=True)
class Stuck(EffectBase):
    """A cell is stuck at LRS with probability `p_stuck_lrs`, at HRS with `p_stuck_hrs`, independent of the others.

    One uniform draw u a cell decides: LRS where `u < p_stuck_lrs`, HRS where `u >= 1 - p_stuck_hrs`. The two sets
    are disjoint, each is nested in the set of a higher rate, and neither moves when the other's rate changes. A
    stuck cell ignores every other stage and the window's edge; it still has read noise. The number of stuck cells of
    a tile has the index of dispersion (variance / mean) `1 - p`, p the rate.

    A stuck cell sits at a fixed conductance g, or, with `cv_` above 0, at a draw of its own of mean g and standard
    deviation `cv g`: `normal` `g (1 + cv z)` with z clamped to +-1/cv (at the largest cv, 1/3, the standard deviation
    is 1.3 % smaller), `uniform` `g (1 + sqrt(3) cv v)` with v in -1..1, `lognormal` `g exp(s z - s^2/2)`,
    `s^2 = ln(1 + cv^2)`. Window and edge do not bound them: measured cells were stuck at about 500 and 10 uS beside
    a window of 133-233 uS (Yousuf et al. 2025 [R2]).

    "SA0" and "SA1" mean opposite things in different papers, so they are not used: stuck at LRS, high conductance, is
    SA0 in Chen L. et al., DATE 2017 [R2] and PytorX [R], and SA1 in Charan et al., JXCDC 2020 [R2]. Source of the
    default rates: C.-Y. Chen et al., IEEE Trans. Computers 64(1) 180-190 (2015), 1.75 % and 9.04 % as cited by
    others [R2]. They are interpreted as 1.75 % at LRS; the other interpretation swaps the two.

    It is not a model of line failures (`StuckLines`), of clusters (`StuckClusters`), or of faults that grow with
    cycling.

    Args:
        p_stuck_lrs: rate of cells stuck at LRS (high conductance), 0..1.
        p_stuck_hrs: rate of cells stuck at HRS (low conductance), 0..1; the two sum to at most 1.
        g_lrs_uS: where a cell stuck at LRS sits; None is the device's g_max. May lie outside the window.
        g_hrs_uS: where a cell stuck at HRS sits; None is the device's g_min. May lie outside the window.
        distribution: of the conductance of stuck cells: `normal`, `uniform` or `lognormal`.
        cv_lrs: standard deviation of this conductance as a fraction of `g_lrs_uS`; 0 fixes it. At most 1/3 (normal) or
            0.577 (uniform).
        cv_hrs: the same for `g_hrs_uS`.

    Raises:
        ValueError: a rate outside 0..1, rates that sum to more than 1, a value that is negative or not finite, an
            unknown distribution, or a spread that reaches below 0.
    """

    version: ClassVar[int] = 1
    cellwise: ClassVar[bool] = True

    p_stuck_lrs: float = 0.0
    p_stuck_hrs: float = 0.0
    g_lrs_uS: float | None = None
    g_hrs_uS: float | None = None
    distribution: str = field(default="normal", metadata={"added": True})
    cv_lrs: float = field(default=0.0, metadata={"added": True})
    cv_hrs: float = field(default=0.0, metadata={"added": True})

    def __post_init__(self) -> None:
        check_fields(self)
        check_stuck(self)

    def __call__(self, cells: Cells, rng: Stream) -> Tensor:
        """Conductances (uS) with each cell stuck or free by its own draw."""
        if self.p_stuck_lrs == 0 and self.p_stuck_hrs == 0:
            return cells.g_uS
        u = rng.uniform(cells.g_uS.shape)
        return stick(self, cells, u < self.p_stuck_lrs, u >= 1 - self.p_stuck_hrs, rng)

    def notes(self, device: Device, t_s: float) -> Sequence[Sentence]:  # noqa: ARG002
        """Note on stuck conductances outside the window."""
        return stuck_notes(self, device)
