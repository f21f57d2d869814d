"""Measured relaxation of HfOx cells: core and tail, with a persistent part and a part that is new at each time."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rramsweep.arguments import check_fields
from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Stream
from rramsweep.effects.checks import finite
from rramsweep.effects.protocol import EffectBase
from rramsweep.effects.walk import combine
from rramsweep.errors import Sentence, ValidationError, by_law
from rramsweep.units import UNITS_S, in_words

Array = NDArray[np.float64]

TABLE = Path(__file__).parent / "tables" / "hfox_relaxation.json"

FIRST_S, LAST_S = 0.01, 1e5
TEN_YEARS_S = 10 * UNITS_S["y"]
G_MAX_US = 40.0

# Number of conductances in 0..G_MAX_US at which the law is tabulated for one time: steps of 0.04 uS, far finer than the
# knots.
POINTS = 1001

ROOT = 2  # the measured time at which the chain of persistent draws starts: 1 s


@dataclass(frozen=True)
class HfOxRelaxation(EffectBase):
    """`G(t) = G + mu(G, t) + sigma(G, t) X(t)` as measured on HfOx cells; an increment on the first reading.

    mu, sigma^2 and the shape of X are linear in log t between 10 ms, 0.1 s, 1 s and 1e5 s and linear in G between
    knots; G is the conductance at the beginning of the relaxation. X has mean 0 and variance 1. It is drawn from a
    normal core for most cells and from a tail (a wider, shifted normal) for a share of them, matched to the shares of
    cells beyond 3, 4 and 6 robust sigma: 5.0, 2.5, 0.8 % at 1 s, where a normal law has 0.27, 0.006, 0 % [X]. A cell in
    the tail stays in it as long as the share does not fall below its own draw.

    A chip read at several times is one trajectory. The normal draw under X has a persistent part, a Gauss-Markov
    chain over the measured times, and a transient part, new at each time. The change then correlates as measured, to
    0.03 over all cells: 0.45 (10 ms, 0.1 s), 0.58 (0.1 s, 1 s), 0.36 (1 s, 1e5 s), 0.30 (10 ms, 1 s), 0.25 (0.1 s,
    1e5 s), 0.14 (10 ms, 1e5 s) [X].

    Time counts from the first reading, right after the last pulse (`t0_s` is 0): `t_s=0` is the written cell. Times
    between 0 and 10 ms are refused, and those beyond 10 years unless `beyond_10y`. After 1e5 s, mu and sigma^2 continue
    with the slope in log t since 1 s, with the shape and the persistent draw of 1e5 s; `notes` reports this
    extrapolation.

    Source: readings of technology C (0 to 40 uS, almost certainly the device of NeuRRAM) of A. Levy,
    RRAM-Relaxation-Master-Model, MIT licence; the table is fitted by `tests/fit_relaxation.py` to 8,102 of the 16,204
    cells that were read at all four times [X].

    It is not measured between 1 s and 1e5 s (the correlation of two times in between is interpolated), nor at other
    temperatures or after cycling. At 10 ms it has fewer cells beyond 6 uS than measured (0.13 instead of 0.33 %), and
    below 5 uS it correlates 10 ms and 1 s more than measured (0.33 instead of 0.16). It contains the drift after the
    write and, in its transient part, some of the read noise: leave `drift` ideal.

    Args:
        strength: multiplies the change; 1 is as measured.
        scale: True applies the law to another window, with conductances and changes multiplied by g_max / 40 uS.
        beyond_10y: True lets the extrapolation go on beyond 10 years.

    Raises:
        ValueError: the strength is negative or not finite.
    """

    version: ClassVar[int] = 1
    cellwise: ClassVar[bool] = True
    t0_s: ClassVar[float] = 0.0
    until_s: ClassVar[float] = math.inf
    measured_until_s: ClassVar[float] = LAST_S

    strength: float = 1.0
    scale: bool = False
    beyond_10y: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        finite("strength", self.strength, least=0.0)

    def __call__(self, cells: Cells, rng: Stream) -> Tensor:
        """Conductances (uS) at `cells.t_s`; unchanged at 0 s and at strength 0."""
        self.check_time(cells.t_s)
        if cells.t_s == 0 or self.strength == 0:
            return cells.g_uS
        share, mean_uS, sd_uS = (row.to(cells.g_uS.device) for row in _lookup(cells.t_s))
        now_uS, factor = cells.g_uS.flatten(), self._factor(cells.device)
        row = (now_uS * ((POINTS - 1) / G_MAX_US / factor)).round_().clamp_(0, POINTS - 1).to(torch.int32)
        tail = rng.child("tail").uniform(row.shape) < share.index_select(0, row)
        row.add_(tail.to(torch.int32), alpha=POINTS)
        x = combine(rng, row.shape, draws(cells.t_s))
        change_uS = x.mul_(sd_uS.index_select(0, row)).add_(mean_uS.index_select(0, row))
        return change_uS.mul_(self.strength * factor).add_(now_uS).view(cells.g_uS.shape)

    def check(self, device: Device) -> None:
        """Check that the device's window ends within the measured range, unless the law is scaled.

        Raises:
            ValidationError: states the range, the window and the remedy.
        """
        if not self.scale and device.g_max_uS > G_MAX_US:
            raise ValidationError(
                by_law(f"{{law}} was measured in 0..{G_MAX_US:g} uS", self),
                by_law("take a device inside{devices} or set {law.dot}scale=true", self, devices=""),
                value=(device.g_min_uS, device.g_max_uS),
                shown=f"a window of {device.g_min_uS:g}..{device.g_max_uS:g} uS",
                window_uS=(0.0, G_MAX_US),
            )

    def check_time(self, t_s: float) -> None:
        """Check that the law covers a time: 0, or 10 ms to 10 years, or later with `beyond_10y`.

        Raises:
            ValidationError: states the times that the law covers.
        """
        if 0 < t_s < FIRST_S:
            raise ValidationError(
                by_law(f"{{law}} covers t_s = 0 and from {FIRST_S:g} s on", self),
                "take one of these",
                value=t_s,
                shown=f"{t_s:g} s",
            )
        if t_s > TEN_YEARS_S and not self.beyond_10y:
            raise ValidationError(
                by_law(f"{{law}} was measured until {LAST_S:g} s and goes on to 10 years", self),
                by_law("take an earlier time or set {law.dot}beyond_10y=true", self),
                value=t_s,
                shown=f"{t_s:.3g} s",
            )

    def notes(self, device: Device, t_s: float) -> Sequence[Sentence]:
        """Notes on a chip read at 0 s, on a scaled window, and on an extrapolated time."""
        notes = []
        if t_s == 0:
            notes.append(by_law("{law} does nothing at t_s=0, just after programming", self))
        if self.scale:
            notes.append(
                by_law(
                    f"{{law}} is scaled by a factor of {self._factor(device):.3g} from a window up to {G_MAX_US:g} "
                    f"uS to one up to {device.g_max_uS:g} uS",
                    self,
                )
            )
        if t_s > LAST_S:
            notes.append(
                by_law(
                    f"{{law}} at {in_words(t_s)} is extrapolated over {math.log10(t_s / LAST_S):.1f} decades, it "
                    f"was measured until {LAST_S:g} s",
                    self,
                )
            )
        return notes

    def _factor(self, device: Device) -> float:
        return device.g_max_uS / G_MAX_US if self.scale else 1.0


def components(mean: Array, sd: Array, share: Array, ratio: Array, shift: Array) -> tuple[Array, Array, Array, Array]:
    """Core mean, core sd, tail mean and tail sd of a mixture with this mean and standard deviation.

    Args:
        mean: of the mixture.
        sd: standard deviation of the mixture.
        share: of the tail.
        ratio: tail sd / core sd.
        shift: (tail mean - core mean) / sd.
    """
    core_sd = sd * np.sqrt((1 - share * (1 - share) * shift**2) / (1 - share + share * ratio**2))
    core_mean = mean - share * shift * sd
    return core_mean, core_sd, core_mean + shift * sd, ratio * core_sd


def draws(t_s: float) -> Mapping[str, float]:
    """Weights of the normal draws under X at a time: the persistent ones, shared with other times, and its own.

    The chain starts at 1 s and runs both ways, so that no time needs more than four draws.
    """
    table = _table()
    links, persistent = table["links"], table["persistent_share"]
    own = np.eye(len(links) + 1)
    chain = own.copy()
    for k in (*range(ROOT - 1, -1, -1), *range(ROOT + 1, len(own))):
        inner = k + 1 if k < ROOT else k - 1
        link = links[min(k, inner)]
        chain[k] = link * chain[inner] + math.sqrt(1 - link**2) * own[k]
    k, f = _time_interval(t_s)
    f = min(f, 1.0)
    weights = (1 - f) * chain[k] + f * chain[k + 1]
    weights *= math.sqrt(persistent / (weights @ weights))
    named = {f"persistent {i}": float(w) for i, w in enumerate(weights) if w != 0}
    return {**named, f"transient {t_s:.12g}": math.sqrt(1 - persistent)}


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return {key: np.asarray(value) if isinstance(value, list) else value for key, value in data.items()}


def _time_interval(t_s: float) -> tuple[int, float]:
    """Index of the measured time before `t_s`, at most the last but one, and the fraction in log t to the next."""
    log_t = np.log10(_table()["t_s"])
    k = int(np.clip(np.searchsorted(log_t, math.log10(t_s), side="right") - 1, 0, len(log_t) - 2))
    return k, float((math.log10(t_s) - log_t[k]) / (log_t[k + 1] - log_t[k]))


@lru_cache(maxsize=64)
def _lookup(t_s: float) -> tuple[Tensor, Tensor, Tensor]:
    """Tail share (POINTS,), and mean and sd of core and tail (2 POINTS,), at conductances 0..G_MAX_US and one time."""
    table = _table()
    k, f = _time_interval(t_s)

    def at(values: Array, f: float) -> Array:
        between: Array = (1 - f) * values[k] + f * values[k + 1]
        return between

    shape = (at(table[name], min(f, 1.0)) for name in ("tail_share", "tail_ratio", "tail_shift"))
    knots = [at(table["mean_uS"], f), np.sqrt(at(table["sd_uS"] ** 2, f)), *shape]
    g_uS = np.linspace(0, G_MAX_US, POINTS)
    mean, sd, share, ratio, shift = (np.interp(g_uS, table["g_uS"], values) for values in knots)
    core_mean, core_sd, tail_mean, tail_sd = components(mean, sd, share, ratio, shift)
    rows = share, np.concatenate([core_mean, tail_mean]), np.concatenate([core_sd, tail_sd])
    share_, mean_, sd_ = (torch.from_numpy(row).float() for row in rows)
    return share_, mean_, sd_
