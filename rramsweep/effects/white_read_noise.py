"""White read noise: an independent error of each cell's conductance at every read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from rramsweep.arguments import check_fields
from rramsweep.devices.streams import Stream
from rramsweep.effects.checks import fraction
from rramsweep.effects.protocol import EffectBase, Linear
from rramsweep.effects.reads import normal_read, weight_variance


@dataclass(frozen=True)
class WhiteReadNoise(EffectBase):
    """`G_read = G + sigma(G) z`, `z ~ N(0, 1)` new for every cell at every read; G itself does not change.

    `sigma(G)^2 = (alpha_ind g_max)^2 + (alpha_prop G)^2`, as in `Gaussian`. Cells are not drawn one by one: an output
    is a sum of independent normal terms, so `y = linear(x, W) + sqrt(linear(x^2, var_W)) z` has exactly their law, with
    `var_W = (dW/dG)^2 sum over the weight's cells of sigma(G)^2`. Noise is independent between input vectors, between
    outputs (other cells), and between the output positions of a convolution, where the same cells are read at different
    times. The mean of K reads has 1/K of the variance; errors of programming and drift do not average out.

    Sources: AIHWKit's documentation advises about 0.01, additive, for the read of RRAM [R], and about 1 % in addition
    to the table of Wan et al. 2022 [R]; to take that as a share of g_max is an interpretation, not a measurement.

    It is not low-frequency noise, which persists from one read to the next and which averaging hardly lowers (see
    `OneOverF`). A read may leave the device's window: the edge acts on the state of a cell, not on its read.

    Args:
        alpha_ind: sigma as a fraction of the device's g_max (not of the window), 0..1.
        alpha_prop: sigma as a fraction of the cell's present conductance, 0..1.

    Raises:
        ValueError: a fraction is outside 0..1.
    """

    version: ClassVar[int] = 1

    alpha_ind: float = 0.0
    alpha_prop: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        fraction("alpha_ind", self.alpha_ind, "of g_max")
        fraction("alpha_prop", self.alpha_prop, "of the cell's conductance")

    @property
    def silent(self) -> bool:
        """True for a strength of zero."""
        return self.alpha_ind == 0 and self.alpha_prop == 0

    def __call__(self, linear: Linear, x: Tensor, layer: Any, rng: Stream) -> Tensor:
        """Output of one read with white noise, see `ReadEffect`."""
        constant_uS2 = (self.alpha_ind * layer.spec.device.g_max_uS) ** 2
        cells_uS2 = ((self.alpha_prop * g_uS).square_().add_(constant_uS2) for g_uS in layer.g_uS.values())
        return normal_read(linear(x, layer.weight()), linear(x.square(), weight_variance(layer, cells_uS2)), rng)
