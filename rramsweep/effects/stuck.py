"""Stuck-at faults, independent from cell to cell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rramsweep.device import Cells
from rramsweep.effects.checks import fraction
from rramsweep.streams import Stream


@dataclass(frozen=True)
class Stuck:
    """A cell is stuck at LRS with probability `p_stuck_lrs`, at HRS with `p_stuck_hrs`, independent of the others.

    One uniform draw u a cell decides: LRS where `u < p_stuck_lrs`, HRS where `u >= 1 - p_stuck_hrs`. The two sets
    are disjoint, each is nested in the set of a higher rate, and neither moves when the other's rate changes. A
    stuck cell ignores every other stage and the window's edge; it still has read noise.

    "SA0" and "SA1" mean opposite things in different papers, so they are not used. Source of the default rates:
    C.-Y. Chen et al., IEEE Trans. Computers 64(1) 180-190 (2015), 1.75 % and 9.04 % as cited by others [R2].

    It is not a model of line failures, of clusters, or of faults that grow with cycling.

    Args:
        p_stuck_lrs: rate of cells stuck at LRS (high conductance), 0..1.
        p_stuck_hrs: rate of cells stuck at HRS (low conductance), 0..1; the two sum to at most 1.
        g_lrs_uS: where a cell stuck at LRS sits; None is the device's g_max. May lie outside the window.
        g_hrs_uS: where a cell stuck at HRS sits; None is the device's g_min. May lie outside the window.

    Raises:
        ValueError: a rate outside 0..1, rates that sum to more than 1, a value that is negative or not finite.
    """

    version: ClassVar[int] = 1

    p_stuck_lrs: float = 0.0
    p_stuck_hrs: float = 0.0
    g_lrs_uS: float | None = None
    g_hrs_uS: float | None = None

    def __post_init__(self) -> None:
        fraction("p_stuck_lrs", self.p_stuck_lrs, "of the cells")
        fraction("p_stuck_hrs", self.p_stuck_hrs, "of the cells")
        if self.p_stuck_lrs + self.p_stuck_hrs > 1:
            raise ValueError(
                f"p_stuck_lrs + p_stuck_hrs must be at most 1, got {self.p_stuck_lrs} + {self.p_stuck_hrs}: lower one"
            )
        for name in ("g_lrs_uS", "g_hrs_uS"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a conductance >= 0 in uS, got {value}: use null for the window's end")

    def __call__(self, cells: Cells, rng: Stream) -> Tensor:
        if self.p_stuck_lrs == 0 and self.p_stuck_hrs == 0:
            return cells.g_uS
        lrs_uS = cells.device.g_max_uS if self.g_lrs_uS is None else self.g_lrs_uS
        hrs_uS = cells.device.g_min_uS if self.g_hrs_uS is None else self.g_hrs_uS
        u = rng.uniform(cells.g_uS.shape)
        stuck = torch.where(u < self.p_stuck_lrs, lrs_uS, cells.g_uS)
        return torch.where(u >= 1 - self.p_stuck_hrs, hrs_uS, stuck)
