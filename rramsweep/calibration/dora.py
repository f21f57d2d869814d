"""A magnitude of each channel and a low-rank matrix (DoRA)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from rramsweep.calibration.regression import RankedCalibration, SecondMoments, penalty
from rramsweep.calibration.samples import LayerSamples
from rramsweep.network.corrections import LayerCorrection

ROUNDS = 2

# Smallest magnitude: least squares gives none to a channel that is unrelated to its target, and B is divided by it.
SMALLEST = 0.01


@dataclass(frozen=True, kw_only=True)
class DoRA(RankedCalibration):
    """`y' = s (y + B A x) + h`: a magnitude of each channel, a low-rank matrix and a bias.

    Alternates the magnitude by least squares and B A by ridge reduced-rank regression, two rounds. After the adapters
    of arXiv:2504.03763 as quoted by others [R2], which are trained there; here they are in closed form.
    """

    version: ClassVar[int] = 1

    def fit_layer(self, samples: LayerSamples) -> LayerCorrection:
        """Alternate the magnitudes and the low-rank matrix for `ROUNDS` rounds, then fit the offset."""
        moments = SecondMoments(samples, penalty(self, samples))
        low_rank = torch.zeros_like(moments.mx)
        for _ in range(ROUNDS):
            scale = moments.scale(low_rank).clamp(min=SMALLEST)
            left, right = moments.low_rank(scale, self.rank)
            low_rank = left @ right
        offset = moments.offset(scale, low_rank)
        return LayerCorrection(scale.flatten().float(), offset.float(), left.float(), moments.right(right).float())
