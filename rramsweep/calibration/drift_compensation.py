"""One scale for the drift of a layer, as aihwkit compensates it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from rramsweep.calibration.protocol import DIGITAL, PROGRAMMED, Calibration
from rramsweep.calibration.samples import LayerSamples
from rramsweep.errors import one_of
from rramsweep.network.corrections import LayerCorrection

REFERENCES, SCOPES = (DIGITAL, PROGRAMMED), ("global", "per_column")


@dataclass(frozen=True, kw_only=True)
class DriftCompensation(Calibration):
    """`y' = s y`, with `s = |reference| / |y|`: the ratio of output norms at a reference read and now.

    For comparison with aihwkit's global drift compensation [M], which uses mean absolute outputs. A scale corrects
    drift in which all cells lose the same share; it does nothing for errors that differ from cell to cell.

    Args:
        reference: `digital`, the network with its own weights, or `programmed`, the same chip right after the write,
            without relaxation and drift.
        scope: `global`, one scale a layer, or `per_column`, one an output.

    Raises:
        ValidationError: an unknown reference or scope.
    """

    version: ClassVar[int] = 1

    reference: str = DIGITAL
    scope: str = "global"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("reference", self.reference, REFERENCES)
        one_of("scope", self.scope, SCOPES)

    def fit_layer(self, samples: LayerSamples) -> LayerCorrection:
        """Ratio of the reference's output norm to the chip's, for the layer or for each output."""
        now, then = (rows.double().square().sum(0) for rows in (samples.y, samples.target))
        if self.scope == "global":
            now, then = now.sum()[None], then.sum()[None]
        return LayerCorrection(torch.where(now > 0, (then / now).sqrt(), 1.0).float())
