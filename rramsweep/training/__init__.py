"""Noise-aware fine-tuning: training of a network on chips, a new one each step, so that it tolerates their errors.

Settings, the network that runs a chip under autograd, and the loop. Corrections of a programmed chip are in
`calibration`.
"""

from rramsweep.training.settings import FineTuning

__all__ = ["FineTuning"]
