"""Matching of the mean and standard deviation of each channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from rramsweep.calibration.protocol import Calibration
from rramsweep.calibration.samples import LayerSamples
from rramsweep.network.corrections import LayerCorrection


@dataclass(frozen=True, kw_only=True)
class Moments(Calibration):
    """`y' = s y + h` of each channel, with mean and standard deviation of `y'` equal to those of the digital network.

    `s = std(target) / std(y)` and `h = mean(target) - s mean(y)`, over the calibration inputs and their positions. A
    batch norm after the layer absorbs both in its own scale and shift, so they cost nothing there.

    Because it is paired with the digital outputs for the same inputs, it does not change a chip without errors, unlike
    `BatchNorm`, which uses statistics only.
    """

    version: ClassVar[int] = 1

    def fit_layer(self, samples: LayerSamples) -> LayerCorrection:
        """Scale and offset that give each output the mean and standard deviation of its target."""
        y, target = samples.y.double(), samples.target.double()
        std = y.std(0, correction=0)
        scale = torch.where(std > 0, target.std(0, correction=0) / std, 1.0)
        return LayerCorrection(scale.float(), (target.mean(0) - scale * y.mean(0)).float())
