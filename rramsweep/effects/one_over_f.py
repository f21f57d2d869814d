"""1/f read noise, whose variance grows with the logarithm of time: with given strengths, of CMO/HfOx and of PCM."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from rramsweep.arguments import check_fields
from rramsweep.devices.device import Device
from rramsweep.devices.streams import Stream
from rramsweep.effects.checks import above_zero, fraction, not_negative
from rramsweep.effects.coverage import Coverage
from rramsweep.effects.protocol import EffectBase, Linear
from rramsweep.effects.reads import normal_read, weight_variance
from rramsweep.errors import Sentence, by_law


def growth(t_s: float, t_read_s: float) -> float:
    """`ln((t + t_r) / (2 t_r))`, the growth of a 1/f variance t seconds after the write; natural logarithm.

    It is 0 at t = t_r, and is set to 0 before that, where the formula is negative.
    """
    return math.log((t_s + t_read_s) / (2 * t_read_s)) if t_s > t_read_s else 0.0


@dataclass(frozen=True)
class OneOverF(EffectBase):
    """`G_read = G + sigma(G, t) z` at every read, `sigma(G, t) = sigma_read(G) sqrt(ln((t + t_r) / (2 t_r)))`.

    `sigma_read^2 = (alpha_ind g_max)^2 + (alpha_prop G)^2` is the variance that 1/f noise adds per factor e of time:
    `var = A ln(f_high / f_low)` for a spectrum A/f. t is the network's `t_s`; up to t_r there is no noise.

    Each read is drawn independently, with the variance accumulated by t: this is the law of a single read. The 1/f
    noise of a real cell is correlated. Reads close in time see nearly the same error, so consecutive input vectors
    share it, and averaging K reads, which lowers the variance to 1/K here, hardly helps on a chip. Cells of equal
    conductance have equal sigma_read; the measured lognormal spread of A over cells (Levy et al. [R]) is left out.

    Source: the growth is that of AIHWKit's PCM and CMO models [R]; the strengths are parameters without a source.

    Args:
        alpha_ind: sigma_read as a fraction of the device's g_max (not of the window), 0..1.
        alpha_prop: sigma_read as a fraction of the cell's present conductance, 0..1.
        t_read_s: time t_r that a read takes, above 0, in seconds.

    Raises:
        ValueError: a fraction is outside 0..1, or t_read_s not above 0.
    """

    version: ClassVar[int] = 1

    alpha_ind: float = 0.0
    alpha_prop: float = 0.0
    t_read_s: float = 1e-6

    def __post_init__(self) -> None:
        check_fields(self)
        fraction("alpha_ind", self.alpha_ind, "of g_max")
        fraction("alpha_prop", self.alpha_prop, "of the cell's conductance")
        above_zero("t_read_s", self.t_read_s, "the seconds that a read takes, like 1e-6")

    @property
    def silent(self) -> bool:
        """True for a strength of zero."""
        return self.alpha_ind == 0 and self.alpha_prop == 0

    def __call__(self, linear: Linear, x: Tensor, layer: Any, rng: Stream) -> Tensor:
        """Output of one read with 1/f noise, see `ReadEffect`."""
        constant_uS2 = (self.alpha_ind * layer.spec.device.g_max_uS) ** 2

        def variance_uS2(g_uS: Tensor) -> Tensor:
            return (self.alpha_prop * g_uS).square_().add_(constant_uS2)

        return _read(linear, x, layer, rng, variance_uS2, self.t_read_s)

    def check(self, device: Device) -> None:
        """Accept every device: nothing was fitted."""

    def notes(self, device: Device, t_s: float) -> list[Sentence]:  # noqa: ARG002
        """Note on a chip that is read before the noise has begun to grow."""
        return _too_early(self, t_s, self.t_read_s)


@dataclass(frozen=True)
class CMOReadNoise(EffectBase):
    """1/f read noise of IBM's CMO/HfOx: `sigma(G, t) = slope_uS log10(G / 1 uS) sqrt(ln((t + t_r) / (2 t_r)))` in uS.

    0.171 uS at 50 uS after 1 s, 0.269 uS after 10 years [D]. The logarithm of G has base 10, that of time is natural,
    as in AIHWKit's code; its documentation prints "log" for both. Source: Falcone et al., arXiv:2502.04524
    [R: AIHWKit `reram.py`]. Each read is drawn independently; see `OneOverF` for the correlation that this omits.

    Valid for windows within 8..90 uS; AIHWKit's device has 9..88.19 uS.

    Args:
        slope_uS: sigma_read per decade of conductance, at least 0.
        t_read_s: time t_r that a read takes, above 0, in seconds.
        outside: rule outside the fitted range: `refuse`, `clamp` or `scale`, see `Coverage`.

    Raises:
        ValueError: a value outside its range, or an unknown `outside`.
    """

    version: ClassVar[int] = 1

    slope_uS: float = 0.0277316
    t_read_s: float = 1e-6
    outside: str = "refuse"
    coverage: Coverage = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "coverage", Coverage("CMOReadNoise", 8.0, 90.0, self.outside))
        not_negative("slope_uS", self.slope_uS)
        above_zero("t_read_s", self.t_read_s, "the seconds that a read takes, like 1e-6")

    @property
    def silent(self) -> bool:
        """True for a strength of zero."""
        return self.slope_uS == 0

    def __call__(self, linear: Linear, x: Tensor, layer: Any, rng: Stream) -> Tensor:
        """Output of one read with 1/f noise, see `ReadEffect`."""
        device = layer.spec.device
        slope_uS = self.slope_uS * self.coverage.factor(device)

        def variance_uS2(g_uS: Tensor) -> Tensor:
            return self.coverage.equivalent(g_uS, device).log10_().mul_(slope_uS).square_()

        return _read(linear, x, layer, rng, variance_uS2, self.t_read_s)

    def check(self, device: Device) -> None:
        """Check that the window lies in the fitted range, see `Coverage.check`."""
        self.coverage.check(device)

    def notes(self, device: Device, t_s: float) -> list[Sentence]:
        """Notes on a scaled or clamped law, and on a chip that is read before the noise has begun to grow."""
        return [*self.coverage.notes(device), *_too_early(self, t_s, self.t_read_s)]


@dataclass(frozen=True)
class PCMReadNoise(EffectBase):
    """1/f read noise of phase change memory, for comparison: `sigma / G = min(q x^-exponent, q_max) sqrt(ln(...))`.

    `x = G / 25 uS`; growth in time as in `OneOverF`, with t_r = 250 ns. Source: Joshi et al., Nat. Commun. 2020
    [R: AIHWKit `pcm.py`]. AIHWKit takes x from the programmed conductance and adds 20 s to the time since the write;
    here x is the present conductance, and t is `t_s`. Each read is drawn independently; see `OneOverF` for the
    correlation that this omits.

    Valid for windows within 0..25 uS. It is not a law of RRAM.

    Args:
        q: sigma_read at 25 uS as a fraction of the cell's present conductance, 0..1.
        exponent: of 1/x, at least 0: lower conductances are noisier.
        q_max: largest sigma_read as a fraction of the cell's present conductance, 0..1.
        t_read_s: time t_r that a read takes, above 0, in seconds.
        outside: rule outside the fitted range: `refuse`, `clamp` or `scale`, see `Coverage`.

    Raises:
        ValueError: a value outside its range, or an unknown `outside`.
    """

    version: ClassVar[int] = 1

    q: float = 0.0088
    exponent: float = 0.65
    q_max: float = 0.2
    t_read_s: float = 250e-9
    outside: str = "refuse"
    coverage: Coverage = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "coverage", Coverage("PCMReadNoise", 0.0, 25.0, self.outside))
        fraction("q", self.q, "of the cell's conductance")
        not_negative("exponent", self.exponent)
        fraction("q_max", self.q_max, "of the cell's conductance")
        above_zero("t_read_s", self.t_read_s, "the seconds that a read takes, like 2.5e-7")

    @property
    def silent(self) -> bool:
        """True for a strength of zero."""
        return self.q == 0 or self.q_max == 0

    def __call__(self, linear: Linear, x: Tensor, layer: Any, rng: Stream) -> Tensor:
        """Output of one read with 1/f noise, see `ReadEffect`."""
        device = layer.spec.device
        k = self.coverage.factor(device)

        def variance_uS2(g_uS: Tensor) -> Tensor:
            fitted_uS = self.coverage.equivalent(g_uS, device)
            # 0 uS to a negative power is infinite, which q_max limits.
            relative = (fitted_uS / self.coverage.high_uS).pow_(-self.exponent).mul_(self.q).clamp_(max=self.q_max)
            return relative.mul_(fitted_uS).mul_(k).square_()

        return _read(linear, x, layer, rng, variance_uS2, self.t_read_s)

    def check(self, device: Device) -> None:
        """Check that the window lies in the fitted range, see `Coverage.check`."""
        self.coverage.check(device)

    def notes(self, device: Device, t_s: float) -> list[Sentence]:
        """Notes on a scaled or clamped law, and on a chip that is read before the noise has begun to grow."""
        return [*self.coverage.notes(device), *_too_early(self, t_s, self.t_read_s)]


def _read(
    linear: Linear, x: Tensor, layer: Any, rng: Stream, variance_uS2: Callable[[Tensor], Tensor], t_read_s: float
) -> Tensor:
    y = linear(x, layer.weight())
    grown = growth(layer.t_s, t_read_s)
    if grown == 0:
        return y
    cells_uS2 = (variance_uS2(g_uS) for g_uS in layer.g_uS.values())
    return normal_read(y, linear(x.square(), weight_variance(layer, cells_uS2).mul_(grown)), rng)


def _too_early(law: object, t_s: float, t_read_s: float) -> list[Sentence]:
    if t_s > t_read_s:
        return []
    text = f"{{law}} grows from {t_read_s:g} s after the write on, so a chip read at t_s={t_s:g} s has none of it"
    return [by_law(text, law)]
