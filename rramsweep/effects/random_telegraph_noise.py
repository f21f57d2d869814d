"""Random telegraph noise: a trap next to the filament that is occupied or empty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from rramsweep.arguments import check_fields
from rramsweep.devices.streams import Stream
from rramsweep.effects.checks import above_zero, fraction, not_negative
from rramsweep.effects.protocol import EffectBase, Linear
from rramsweep.effects.reads import normal_read, weight_variance


@dataclass(frozen=True)
class RandomTelegraphNoise(EffectBase):
    """Two levels a cell: `G_read = G + dG` with probability tau, `G` otherwise, new for every cell at every read.

    `dG / G = x / (G - x)` with `x = a_uS + b G`, at most `relative_max`; a cell at or below 0 has none. The formula
    alone is singular at `G = a / (1 - b)` = 0.17 uS and negative below, where a trap would reverse the current;
    measured amplitudes saturate in the HRS (Karpov and Niraula, abstract [R]), as they do here.

    Only the first two moments are modelled: the mean shift `tau dG`, which moves every weight, and the variance
    `tau (1 - tau) dG^2`, as `y = linear(x, W(G + tau dG)) + sqrt(linear(x^2, var_W)) z`. Mean and variance of an output
    are right; its distribution is not exact. Two levels of many cells add up to a normal output (central limit
    theorem), but a real bit line of few cells, or one dominated by a few inputs, has steps and other tails. Noise is
    independent between input vectors, outputs and output positions; a trap slower than the reads, which would repeat
    its state, is not modelled.

    Source: PytorX's code (tau 0.5, a 1.662e-7 S, b 0.0015; an occupied trap *raises* G) [R]; the measurement behind it
    was not checked. dG/G is 20 % at 1 uS, 1.8 % at 10 uS, 0.3 % at 100 uS [D]. The approximately lognormal spread of
    amplitudes from trap to trap [R] is left out: all cells of equal conductance have the same amplitude.

    Args:
        tau: probability that the trap is occupied at a read, 0..1.
        a_uS: constant part of x in uS, at least 0.
        b: proportional part of x, 0..1.
        relative_max: largest dG / G, above 0; 1, a doubled conductance, is a placeholder.

    Raises:
        ValueError: a value outside its range.
    """

    version: ClassVar[int] = 1

    tau: float = 0.5
    a_uS: float = 0.1662
    b: float = 0.0015
    relative_max: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self)
        fraction("tau", self.tau, "of the reads")
        not_negative("a_uS", self.a_uS)
        fraction("b", self.b, "of the cell's conductance")
        above_zero("relative_max", self.relative_max, "the largest dG/G, like 1")

    @property
    def silent(self) -> bool:
        """True for a strength of zero."""
        return self.tau == 0 or (self.a_uS == 0 and self.b == 0)

    def amplitude_uS(self, g_uS: Tensor) -> Tensor:
        """Amplitude dG of each cell, at least 0; same shape as `g_uS`."""
        x_uS = self.a_uS + self.b * g_uS
        # x / (G - x) reaches relative_max r where G = x (1 + r) / r, and is larger or negative below.
        regular = g_uS > x_uS * ((1 + self.relative_max) / self.relative_max)
        relative = torch.where(regular, x_uS / (g_uS - x_uS), self.relative_max)
        return relative.mul_(g_uS.clamp(min=0.0))

    def __call__(self, linear: Linear, x: Tensor, layer: Any, rng: Stream) -> Tensor:
        """Output of one read with telegraph noise of the right mean and variance, see `ReadEffect`."""
        step_uS = {cell: self.amplitude_uS(g_uS) for cell, g_uS in layer.g_uS.items()}
        mean_uS = {cell: g_uS + self.tau * step_uS[cell] for cell, g_uS in layer.g_uS.items()}
        mean_W = layer.weight_of(mean_uS)
        var_W = weight_variance(layer, (d.square_().mul_(self.tau * (1 - self.tau)) for d in step_uS.values()))
        return normal_read(linear(x, mean_W), linear(x.square(), var_W), rng)
