"""A low-rank matrix in addition to the chip's weight (LoRA)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from rramsweep.calibration.regression import RankedCalibration, SecondMoments, penalty
from rramsweep.calibration.samples import LayerSamples
from rramsweep.network.corrections import LayerCorrection


@dataclass(frozen=True, kw_only=True)
class LowRank(RankedCalibration):
    """`y' = y + B A x + h`: ridge reduced-rank regression of the chip's output error on the chip's own input.

    The full ridge solution `M = C (X'X + lambda)^-1` is projected on the r main directions of `M C'`, which is the
    exact minimum among matrices of rank r.
    """

    version: ClassVar[int] = 1

    def fit_layer(self, samples: LayerSamples) -> LayerCorrection:
        """Low-rank matrix by reduced-rank regression, and the offset of the means that remains."""
        moments = SecondMoments(samples, penalty(self, samples))
        one = torch.ones_like(moments.yy)
        left, right = moments.low_rank(one, self.rank)
        offset = moments.offset(one, left @ right)
        return LayerCorrection(None, offset.float(), left.float(), moments.right(right).float())
