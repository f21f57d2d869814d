"""Error of write-verify: an accepted cell lies inside the acceptance window, whatever the write does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rramsweep.arguments import check_fields
from rramsweep.devices.device import Cells
from rramsweep.devices.streams import Stream
from rramsweep.effects.checks import fraction, not_negative
from rramsweep.effects.protocol import EffectBase

# Largest `parent_sigma`; a wider distribution cannot be distinguished from a uniform window.
WIDEST = 1000.0


@dataclass(frozen=True)
class WriteVerify(EffectBase):
    """`G' = G_t + delta u`, with `|u| < 1` independent per cell: the target G_t is met to within the half-width delta.

    u is uniform, so `sigma = delta / sqrt(3)`, or a normal draw with standard deviation `parent_sigma` in units of
    delta, truncated to the window: `sigma = delta/a sqrt(1 - 2 a phi(a) / (2 Phi(a) - 1))` with `a = 1 / parent_sigma`.
    Drawn by the inverse distribution function, one uniform a cell, so that levels of a sweep stay paired. The total
    error against the target right after the write.

    Source: derived [D]; the uniform window agrees with the published fits of IBM's CMO/HfOx at 2 % and 0.2 % acceptance
    (arXiv:2502.04524 [R: AIHWKit `reram.py`]) to 2 and 7 % [D].

    It has no outliers (cells that never reach the window) and none of the relaxation that begins with the last pulse.

    Args:
        window_uS: delta in uS, the same for every target; or
        window_fraction: delta as a fraction of the target, 0..1, e.g. 0.02 for 2 % acceptance. Exactly one is given.
        parent_sigma: standard deviation of the write's own spread in units of delta; None fills the window uniformly,
            which is the limit of a large one.

    Raises:
        ValueError: both or none of the half-widths, one out of range, or `parent_sigma` not in 0..1000.
    """

    version: ClassVar[int] = 1
    cellwise: ClassVar[bool] = True
    kind: ClassVar[str] = "total"

    window_uS: float | None = None
    window_fraction: float | None = None
    parent_sigma: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if (self.window_uS is None) == (self.window_fraction is None):
            raise ValueError(
                f"write-verify takes window_uS or window_fraction, got window_uS={self.window_uS} and "
                f"window_fraction={self.window_fraction}: set one of them to null"
            )
        if self.window_uS is not None:
            not_negative("window_uS", self.window_uS)
        if self.window_fraction is not None:
            fraction("window_fraction", self.window_fraction, "of the target")
        if self.parent_sigma is not None and not 0 < self.parent_sigma <= WIDEST:
            raise ValueError(
                f"parent_sigma must lie above 0 and at most at {WIDEST:g} (in half-widths), got {self.parent_sigma}: "
                "use null for a window that is filled uniformly"
            )

    def __call__(self, cells: Cells, rng: Stream) -> Tensor:
        """Conductances (uS) inside the window around the targets, one draw a cell."""
        if not (self.window_uS or self.window_fraction):
            return cells.g_uS
        u = self._inside(rng.uniform(cells.g_uS.shape))
        if self.window_fraction is not None:
            return u.mul_(self.window_fraction).mul_(cells.target_uS).add_(cells.target_uS)
        return u.mul_(self.window_uS or 0.0).add_(cells.target_uS)

    def _inside(self, u: Tensor) -> Tensor:
        # Maps multiples of 2**-24 in [0, 1) to the middles of equal cells of (-1, 1): symmetric, and never at an end,
        # where erfinv is infinite.
        v = u.mul_(2).add_(2.0**-24 - 1)
        if self.parent_sigma is None:
            return v
        scale = math.sqrt(2) * self.parent_sigma
        return torch.erfinv(v.mul_(math.erf(1 / scale))).mul_(scale)
