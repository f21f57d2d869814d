"""Physical effects: one file each, the only folder that is meant to grow.

An effect is a frozen dataclass with one pure call. Once-a-chip effects (programming, relaxation, drift, faults)
are called as `effect(cells, rng) -> g_uS` for each array of cells; read noise is called in the read slot as
`effect(linear, x, layer, rng) -> y`. See `rramsweep.chip` for the order of the stages.
"""

from rramsweep.effects.gaussian import Gaussian
from rramsweep.effects.ideal import Ideal
from rramsweep.effects.protocol import Calibrated, Effect, ReadEffect
from rramsweep.effects.relative_drift import RelativeDrift
from rramsweep.effects.stuck import Stuck
from rramsweep.effects.stuck_clusters import StuckClusters
from rramsweep.effects.stuck_lines import StuckLines
from rramsweep.effects.variation import Variation

__all__ = [
    "Calibrated",
    "Effect",
    "Gaussian",
    "Ideal",
    "ReadEffect",
    "RelativeDrift",
    "Stuck",
    "StuckClusters",
    "StuckLines",
    "Variation",
]
