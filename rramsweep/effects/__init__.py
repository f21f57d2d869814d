"""Physical effects, one file each, and the interfaces that a new one implements.

An effect is a frozen dataclass with one pure call. Once-a-chip effects (programming, relaxation, drift, faults)
are called as `effect(cells, rng) -> g_uS` for each array of cells; read noise is called in the read slot as
`effect(linear, x, layer, rng) -> y`. See `rramsweep.crossbar.programming` for the order of the stages.
"""

from rramsweep.effects.cmo_relaxation import CmoRelaxation
from rramsweep.effects.gaussian import Gaussian
from rramsweep.effects.gaussian_tail import GaussianTail
from rramsweep.effects.hfox_relaxation import HfOxRelaxation
from rramsweep.effects.ideal import Ideal
from rramsweep.effects.inverse_proportional import InverseProportional
from rramsweep.effects.log_time_walk import LogTimeWalk
from rramsweep.effects.lognormal import Lognormal
from rramsweep.effects.one_over_f import CMOReadNoise, OneOverF, PCMReadNoise
from rramsweep.effects.polynomial import Polynomial
from rramsweep.effects.power_law_drift import PowerLawDrift
from rramsweep.effects.protocol import Calibrated, Effect, EffectBase, Noted, ReadEffect, Timed
from rramsweep.effects.random_telegraph_noise import RandomTelegraphNoise
from rramsweep.effects.relative_drift import RelativeDrift
from rramsweep.effects.stuck import Stuck
from rramsweep.effects.stuck_clusters import StuckClusters
from rramsweep.effects.stuck_lines import StuckLines
from rramsweep.effects.table import Table
from rramsweep.effects.thermal_shot_noise import ThermalShotNoise
from rramsweep.effects.variation import Variation
from rramsweep.effects.white_read_noise import WhiteReadNoise
from rramsweep.effects.write_verify import WriteVerify

__all__ = [
    "CMOReadNoise",
    "Calibrated",
    "CmoRelaxation",
    "Effect",
    "EffectBase",
    "Gaussian",
    "GaussianTail",
    "HfOxRelaxation",
    "Ideal",
    "InverseProportional",
    "LogTimeWalk",
    "Lognormal",
    "Noted",
    "OneOverF",
    "PCMReadNoise",
    "Polynomial",
    "PowerLawDrift",
    "RandomTelegraphNoise",
    "ReadEffect",
    "RelativeDrift",
    "Stuck",
    "StuckClusters",
    "StuckLines",
    "Table",
    "ThermalShotNoise",
    "Timed",
    "Variation",
    "WhiteReadNoise",
    "WriteVerify",
]

# The targets of the stages that act once a chip, and of `read_noise`. A law is taken by the slots of its kind alone.
EACH_READ = (
    "Ideal",
    "CMOReadNoise",
    "OneOverF",
    "PCMReadNoise",
    "RandomTelegraphNoise",
    "ThermalShotNoise",
    "WhiteReadNoise",
)
_INTERFACES = ("Calibrated", "Effect", "EffectBase", "Noted", "ReadEffect", "Timed")
ONCE_A_CHIP = ("Ideal", *(name for name in __all__ if name not in (*EACH_READ, *_INTERFACES)))
