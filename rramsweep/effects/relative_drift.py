"""State-proportional drift: the law of PyRRAM-Sim's README."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rramsweep.device import Cells
from rramsweep.effects.checks import fraction
from rramsweep.streams import Stream


@dataclass(frozen=True)
class RelativeDrift:
    """`G' = G + relative_drift G_target z`, z ~ N(0, 1), drawn once a cell and frozen for the chip's life.

    Relative drift = sigma / G_t with G_t the (quantised) target conductance. Source: Dong et al., "Efficient
    Calibration for RRAM-based In-Memory Computing using DoRA", arXiv:2504.03763, as quoted by PyRRAM-Sim's
    README [R2], which says that it is typically below 0.20 [R2]: beyond that the value is an extrapolation.

    It is not a law of time (`t_s` plays no part), and not what measured filamentary RRAM shows, where sigma
    falls toward g_max.

    Args:
        relative_drift: sigma as a fraction of the target conductance, 0..1.

    Raises:
        ValueError: the fraction is outside 0..1.
    """

    version: ClassVar[int] = 1

    relative_drift: float = 0.0

    def __post_init__(self) -> None:
        fraction("relative_drift", self.relative_drift, "of the target conductance")

    def __call__(self, cells: Cells, rng: Stream) -> Tensor:
        if self.relative_drift == 0:
            return cells.g_uS
        z = rng.normal(cells.g_uS.shape)
        return z.mul_(self.relative_drift).mul_(cells.target_uS).add_(cells.g_uS)
