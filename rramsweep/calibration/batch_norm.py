"""New running statistics of batch norms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rramsweep.calibration.protocol import Calibration
from rramsweep.network.corrections import NormStatistics


@dataclass(frozen=True, kw_only=True)
class BatchNorm(Calibration):
    """Running mean and variance of each batch norm as measured on the chip, in the network's order.

    Each batch norm normalises with its new statistics before the next layer sees its output; the old ones are
    discarded (torch's momentum None). They cost nothing, since a batch norm has them anyway. A few inputs have other
    statistics than the training data, so this harms a chip without errors, unlike `Moments`.
    """

    version: ClassVar[int] = 1

    def fit_norm(self, x: Tensor) -> NormStatistics:
        """Mean and unbiased variance of each channel over the calibration inputs and their positions."""
        channels = x.double().movedim(1, 0).flatten(1)
        return NormStatistics(channels.mean(1), channels.var(1, correction=min(1, channels.shape[1] - 1)))
