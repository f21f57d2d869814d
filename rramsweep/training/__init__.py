"""Noise-aware fine-tuning: a network trained on chips, a new one each step, so that its weights stand their errors.

Settings, the network that runs a chip under autograd, and the loop. Corrections of one programmed chip are no training.
"""

from rramsweep.training.settings import FineTuning

__all__ = ["FineTuning"]
