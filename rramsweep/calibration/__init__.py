"""Calibration: digital corrections of one programmed chip, fitted in closed form to a few inputs; one method a file.

A method is a frozen dataclass with one pure call for each layer or batch norm (`protocol.Calibration`). The corrections
that it fits are a record of `network.corrections`; conductances do not change.
"""

from rramsweep.calibration.affine import Affine
from rramsweep.calibration.batch_norm import BatchNorm
from rramsweep.calibration.dora import DoRA
from rramsweep.calibration.drift_compensation import DriftCompensation
from rramsweep.calibration.low_rank import LowRank
from rramsweep.calibration.moments import Moments
from rramsweep.calibration.protocol import Calibration
from rramsweep.calibration.samples import LayerSamples
from rramsweep.effects.ideal import Ideal
from rramsweep.network.corrections import Corrections, LayerCorrection, NormStatistics

# The targets of `calibration=`.
METHODS = ("Ideal", "Affine", "BatchNorm", "DoRA", "DriftCompensation", "LowRank", "Moments")

__all__ = [
    "Affine",
    "BatchNorm",
    "Calibration",
    "Corrections",
    "DoRA",
    "DriftCompensation",
    "Ideal",
    "LayerCorrection",
    "LayerSamples",
    "LowRank",
    "Moments",
    "NormStatistics",
]
