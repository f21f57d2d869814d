"""Least squares of each channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from rramsweep.calibration.protocol import Calibration
from rramsweep.calibration.samples import LayerSamples
from rramsweep.network.corrections import LayerCorrection


@dataclass(frozen=True, kw_only=True)
class Affine(Calibration):
    """Least-squares fit of each channel to the digital network's output: `y' = s y + h`.

    `s = cov(target, y) / var(y)` and `h = mean(target) - s mean(y)`. For a noisy output, s is smaller than in
    `Moments`, because least squares attenuates what it cannot explain.
    """

    version: ClassVar[int] = 1

    def fit_layer(self, samples: LayerSamples) -> LayerCorrection:
        """Least-squares scale and offset of each output; a channel that does not vary keeps scale 1."""
        y, target = samples.y.double(), samples.target.double()
        mean, mean_target = y.mean(0), target.mean(0)
        var = (y - mean).square().sum(0)
        scale = torch.where(var > 0, ((y - mean) * (target - mean_target)).sum(0) / var, 1.0)
        return LayerCorrection(scale.float(), (mean_target - scale * mean).float())
