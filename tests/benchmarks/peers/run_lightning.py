"""Trials of IBM's aihwkit-lightning: one draw of its Gaussian weight noise a chip, then run the images.

It has no programming, no cells, no drift and no time: it injects noise into weights in training, for which its layers
draw it anew at every forward pass in training mode. Its documentation sends users to aihwkit for chips. The nearest to
a chip that it has itself is that injection, with analog layers alone in training mode and all images in one batch,
so that every image sees the same draw. Nothing else is modelled: no input range, no converters.
"""

from __future__ import annotations

from importlib.metadata import version

from aihwkit_lightning.nn.conversion import convert_to_analog
from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig, WeightNoiseInjectionType
from runner import Prepared, accuracy, serve
from torch import nn

from rramsweep.datasets import Data

# Of the layer's largest weight; about what the three stages of the others amount to.
WEIGHT_NOISE = 0.1


def config() -> TorchInferenceRPUConfig:
    chosen = TorchInferenceRPUConfig()
    chosen.modifier.noise_type = WeightNoiseInjectionType.ADD_NORMAL
    chosen.modifier.std_dev = WEIGHT_NOISE
    return chosen


def prepare(network: str, model: nn.Module, data: Data) -> Prepared:
    analog = convert_to_analog(model, config()).eval()
    for layer in analog.analog_layers():
        layer.train()
    return Prepared(lambda: accuracy(analog, data, len(data)), len(data))


serve("aihwkit-lightning", version("aihwkit-lightning"), "one draw of Gaussian weight noise, no device", prepare)
