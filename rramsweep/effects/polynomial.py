"""Programming error whose spread is a polynomial of the target, as in published fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rramsweep.arguments import check_fields
from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Stream
from rramsweep.effects.checks import not_negative
from rramsweep.effects.coverage import Coverage
from rramsweep.effects.protocol import EffectBase
from rramsweep.errors import Sentence, by_law

# Points of the range at which sigma must not be negative.
CHECKED = 1001


@dataclass(frozen=True)
class Polynomial(EffectBase):
    """`G' = G_t + strength sigma(G_t) z`, `sigma(G) = c0 + c1 G + c2 G^2 + ...`, `z ~ N(0, 1)` independent per cell.

    The total error against the (quantised) target G_t, read `at_s` seconds after the write; sigma and G in uS. With
    `outside=scale` and `k = g_max / g_high` sigma is `k sigma(G / k)`: a fit in uS is never applied to another window
    unscaled, nor beyond its range without a note.

    Published fits are the options of `conf/programming/`: Milo et al., IRPS 2021 [R: CrossSim `RRAM_Milo.py`]; Wan et
    al., Nature 2022, at 1 s [R: CrossSim `RRAM_Wan.py`; AIHWKit `reram.py`]; Falcone et al., arXiv:2502.04524
    [R: AIHWKit `reram.py`]; Joshi et al., Nat. Commun. 2020, phase change memory [R: CrossSim `PCM_Joshi.py`].

    It is not heavy-tailed, as measured cells are, and not a law of time: a fit at 1 s contains the relaxation up to
    1 s and is the same at any `t_s`.

    Args:
        coefficients: c0, c1, ... in uS, 1, 1/uS, ...
        g_low_uS, g_high_uS: ends of the fitted range.
        at_s: seconds after the write at which the error was read; 0 is right after the last pulse.
        outside: rule outside the range: `refuse`, `clamp` or `scale`, see `Coverage`.
        strength: multiplies sigma; 1 is as published, 0 no error.

    Raises:
        ValueError: no coefficients or one that is not finite, sigma below 0 in the range, a range or an `outside`
            that `Coverage` refuses, a negative `at_s` or `strength`.
    """

    version: ClassVar[int] = 1
    cellwise: ClassVar[bool] = True
    kind: ClassVar[str] = "total"

    coefficients: list[float]
    g_low_uS: float
    g_high_uS: float
    at_s: float = 0.0
    outside: str = "refuse"
    strength: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self)
        self.coverage  # noqa: B018 - checks the range
        not_negative("at_s", self.at_s)
        not_negative("strength", self.strength)
        if not self.coefficients or not all(math.isfinite(c) for c in self.coefficients):
            raise ValueError(
                f"coefficients must be finite numbers c0, c1, ..., got {self.coefficients}: give at least c0"
            )
        g = torch.linspace(self.g_low_uS, self.g_high_uS, CHECKED, dtype=torch.float64)
        sigma = self._sigma(g)
        if sigma.min() < 0:
            raise ValueError(
                f"sigma must not be negative in {self.g_low_uS:g}..{self.g_high_uS:g} uS, got {float(sigma.min()):.3g} "
                f"uS at {float(g[sigma.argmin()]):.4g} uS: correct the coefficients or the range"
            )

    @property
    def coverage(self) -> Coverage:
        """Fitted range, and the rule outside of it."""
        return Coverage("Polynomial", self.g_low_uS, self.g_high_uS, self.outside)

    def __call__(self, cells: Cells, rng: Stream) -> Tensor:
        """Conductances (uS) around the targets, with the fitted spread; unchanged at strength 0."""
        if self.strength == 0 or not any(self.coefficients):
            return cells.g_uS
        sigma_uS = self._sigma(self.coverage.equivalent(cells.target_uS, cells.device))
        sigma_uS.mul_(self.strength * self.coverage.factor(cells.device))
        return rng.normal(cells.g_uS.shape).mul_(sigma_uS).add_(cells.target_uS)

    def check(self, device: Device) -> None:
        """Check that the window lies in the fitted range, see `Coverage.check`."""
        self.coverage.check(device)

    def notes(self, device: Device, t_s: float) -> Sequence[Sentence]:
        """Notes on a scaled or clamped law, and on a chip that is read before the error was measured."""
        notes = list(self.coverage.notes(device))
        if t_s < self.at_s:
            text = f"{{law}} is the error at {self.at_s:g} s, so a chip read at {t_s:g} s has too much of it"
            notes.append(by_law(text, self))
        return notes

    def _sigma(self, g_uS: Tensor) -> Tensor:
        sigma_uS = torch.full_like(g_uS, self.coefficients[-1])
        for c in reversed(self.coefficients[:-1]):
            sigma_uS.mul_(g_uS).add_(c)
        return sigma_uS
