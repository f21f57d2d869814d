"""Error budgets: the level of each parameter that a share of the chips tolerates, decided on plain data.

Each chip has its own tolerated level of a parameter: the last one, from the harmless end of a bracket on, before its
score falls short. The yield at a level is the share of chips that tolerate it, so the level at which the yield is still
the target is a quantile of the chips' own levels, and an order statistic bounds it whatever their distribution.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rramsweep.intervals import ALPHA, CONFIDENCE, binomial_tail, lower_rank
from rramsweep.units import unit_of

# Steps from one end of a bracket to the other; integers are stepped through one by one where there are no more.
STEPS = 64

# How a tolerated level lies in its bracket: inside; at the harmful end, where it may lie beyond; nowhere.
WITHIN, BEYOND, NONE = "within", "beyond", "none"

# Last parts of the names of parameters that help, whose errors have a known size.
_LSB, _STEP = "bits", "levels"

# Column to sort by: the target is reached by the tolerated level (0), at another that was tried (1), nowhere (2).
_REACHED = "reached"


@dataclass(frozen=True)
class Bracket:
    """The levels between which chips are tried.

    Args:
        parameter: its override name.
        low, high: the ends.
        whole: it takes integers alone.
    """

    parameter: str
    low: float
    high: float
    whole: bool = False

    @property
    def levels(self) -> tuple[float, ...]:
        """The ends and what divides the bracket into 64 equal steps, ascending; every integer where they are fewer."""
        width = self.high - self.low
        if self.whole and width <= STEPS:
            return tuple(range(int(self.low), int(self.high) + 1))
        exact = [self.low + width * k / STEPS for k in range(STEPS + 1)]
        return tuple(dict.fromkeys(round(x) for x in exact) if self.whole else (float(f"{x:.12g}") for x in exact))

    @property
    def resolution(self) -> float:
        """Largest distance between neighbouring levels."""
        return float(f"{max(np.diff(self.levels)):.12g}")


class Search:
    """The levels that each chip tolerates of one parameter, found in rounds: both ends, quarters, then halves.

    All chips are in the same round, so that a round is one plan. The quarters, some of which bisection could do
    without, show chips that fail at a level and pass at a worse one. A chip that fails at the harmless end is tried one
    step from it as well, because an optimum is often close to the end at which nothing is cut off.

    Args:
        bracket: what is searched.
        seeds: the chips.
        helps: whether larger values are better; None finds it from the ends.
    """

    def __init__(self, bracket: Bracket, seeds: Sequence[int], helps: bool | None = None) -> None:
        self.bracket, self.seeds = bracket, list(seeds)
        self._helps = helps
        self._good: dict[int, dict[float, bool]] = defaultdict(dict)
        self._loss: dict[float, dict[int, float]] = defaultdict(dict)

    def observe(self, level: float, seed: int, good: bool, loss: float) -> None:
        """Take note of a chip at a level, which need not be one of the bracket.

        Args:
            level: of the parameter.
            seed: the chip.
            good: it passes.
            loss: of its score against digital.
        """
        self._good[seed][level] = good
        self._loss[level][seed] = loss

    def wanted(self) -> dict[float, list[int]]:
        """Chips of the next round by level, ascending; empty once every chip's tolerated level is known."""
        levels = self.bracket.levels
        if ends := self._missing(self.seeds, (levels[0], levels[-1])):
            return ends
        dead = [seed for seed in self.seeds if not self._good[seed][self.ends[0]]]
        quarters = [levels[round(k * (len(levels) - 1) / 4)] for k in (1, 2, 3)]
        next_to_end = levels[-2] if self.helps else levels[1]
        inner = self._missing(self.seeds, quarters)
        for level, chips in self._missing(dead, [next_to_end]).items():
            inner.setdefault(level, chips)
        if inner:
            return dict(sorted(inner.items()))
        # Where a chip passes that the harmless end does not save, the yield is worth knowing.
        better = [level for level in (*quarters, next_to_end) if any(self._good[seed][level] for seed in dead)]
        if others := self._missing(self.seeds, better):
            return others
        found: dict[float, list[int]] = defaultdict(list)
        for seed in self.seeds:
            passes, fails = self.tolerance(seed)
            if passes is not None and fails is not None:
                between = [level for level in levels if min(passes, fails) < level < max(passes, fails)]
                if between:
                    found[between[len(between) // 2]].append(seed)
        return dict(sorted(found.items()))

    def _missing(self, seeds: Iterable[int], levels: Iterable[float]) -> dict[float, list[int]]:
        found = {level: [seed for seed in seeds if level not in self._good[seed]] for level in sorted({*levels})}
        return {level: chips for level, chips in found.items() if chips}

    @property
    def helps(self) -> bool:
        """True where larger values are better, by a sign test of the chips' losses at both ends.

        Where that does not tell at 5 %, integers are taken to help and sizes to hurt.
        """
        if self._helps is not None:
            return self._helps
        low, high = (self._loss[level] for level in (self.bracket.levels[0], self.bracket.levels[-1]))
        better = sum(high[seed] < low[seed] for seed in self.seeds)
        worse = sum(high[seed] > low[seed] for seed in self.seeds)
        tail = float(binomial_tail(max(better, worse), better + worse, 0.5))
        return better > worse if tail <= ALPHA else self.bracket.whole

    @property
    def ends(self) -> tuple[float, float]:
        """The harmless and the harmful end."""
        levels = self.bracket.levels
        return (levels[-1], levels[0]) if self.helps else (levels[0], levels[-1])

    def passing(self, level: float) -> int:
        """Number of chips that pass at a level, of those that were tried there."""
        return sum(self._good[seed].get(level, False) for seed in self.seeds)

    @property
    def peak(self) -> tuple[float, int]:
        """The tried level of the bracket at which most chips pass, the least harmful of equals, and their number."""
        low, high = self.bracket.levels[0], self.bracket.levels[-1]
        tried = {level for good in self._good.values() for level in good if low <= level <= high}
        level = min(tried, key=lambda level: (-self.passing(level), self.harm(level)))
        return level, self.passing(level)

    def harm(self, level: float) -> float:
        """A number that is larger for a worse level."""
        return -level if self.helps else level

    def tolerance(self, seed: int) -> tuple[float | None, float | None]:
        """Last level that a chip passes before the first that it fails, and that one; None where there is none."""
        low, high = self.bracket.levels[0], self.bracket.levels[-1]
        tried = {level: good for level, good in self._good[seed].items() if low <= level <= high}
        order = sorted(tried, key=self.harm)
        first = next((i for i, level in enumerate(order) if not tried[level]), len(order))
        return (order[first - 1] if first else None), (order[first] if first < len(order) else None)

    def violations(self) -> list[int]:
        """Chips that pass at a level, of all that were tried, which is worse than one that they fail at."""
        found = []
        for seed in self.seeds:
            passed = [self._good[seed][level] for level in sorted(self._good[seed], key=self.harm)]
            if passed != sorted(passed, reverse=True):
                found.append(seed)
        return found

    def ordered(self, rank: int) -> tuple[str, float | None]:
        """The ``rank``-th worst of the chips' tolerated levels (1 the worst), and how it lies in the bracket."""
        found = [self.tolerance(seed) for seed in self.seeds]
        harms = sorted(
            (-math.inf if passes is None else self.harm(passes), fails is None, passes) for passes, fails in found
        )
        _, passes_all, level = harms[rank - 1]
        return (NONE if level is None else BEYOND if passes_all else WITHIN), level


def tolerated_rank(n: int, target_yield: float) -> int:
    """Rank among n chips (1 the worst) of the level that ``target_yield`` of all chips tolerate at 95 % confidence.

    The largest r with ``P(Binomial(n, 1 - target_yield) <= r - 1) <= 0.05``; 0 where even the worst chip bounds
    nothing.
    """
    return int(lower_rank(np.array(n), 1 - target_yield, 1 - CONFIDENCE))


def estimated_rank(n: int, target_yield: float) -> int:
    """Rank among n chips of the worst level that at least ``target_yield`` of these very chips tolerate."""
    return math.floor((1 - target_yield) * n + 1e-9) + 1


def size(parameter: str, level: float, helps: bool) -> float | None:
    """A number that the error of a parameter is proportional to; None where none is known.

    Of one that hurts the level itself; of one that helps ``2^-bits`` for bits (an LSB) and ``1 / (levels - 1)`` for
    levels (a step). The law of another one that helps, such as a conductance or a number of copies, is not known.
    """
    if level < 0:
        return None
    if not helps:
        return level
    kind = parameter.rpartition(".")[2]
    if kind == _LSB:
        return math.exp2(-level)
    return 1 / (level - 1) if kind == _STEP and level > 1 else None


def scaled(bracket: Bracket, today: float, helps: bool, factor: float) -> float:
    """The level at which a parameter's error is a factor in 0..1 times today's, no better than its harmless end.

    Bits and levels are rounded up. A parameter of unknown law, see `size`, stays as it is.

    Args:
        bracket: of the parameter.
        today: its level as configured.
        helps: whether larger values are better.
        factor: of the error, see `size`.
    """
    kind = bracket.parameter.rpartition(".")[2]
    if factor == 1 or size(bracket.parameter, today, helps) is None:
        return today
    if not helps:
        level = max(factor * today, min(bracket.low, today))
        return math.floor(level + 1e-9) if bracket.whole else float(f"{level:.12g}")
    most = max(bracket.high, today)
    if factor == 0:
        return most
    exact = today - math.log2(factor) if kind == _LSB else 1 + (today - 1) / factor
    return min(most, math.ceil(exact - 1e-9))


def budget_table(
    searches: Mapping[str, Search], today: Mapping[str, float | None], passing_today: int, rank: int, estimated: int
) -> pd.DataFrame:
    """One row a parameter, the one to improve first in front.

    Args:
        searches: by parameter, done, all of the same chips.
        today: level of each as configured, None where that is no number.
        passing_today: number of chips that pass as configured.
        rank: of the chip whose level bounds the target, see `tolerated_rank`.
        estimated: see `estimated_rank`.

    Returns:
        The columns

        - ``parameter``, ``unit``: the override name, and the unit of its levels
        - ``low``, ``high``, ``resolution``: the bracket, and the distance of the levels that are tried
        - ``larger``: ``hurts`` or ``helps``, as found, see `Search.helps`
        - ``today``: as configured; null where that is no number
        - ``tolerated``: worst level that the share of chips tolerates at 95 % confidence, all else as configured;
          null where ``status`` is none
        - ``status``: ``within`` the bracket; ``beyond``: the harmful end is tolerated, perhaps more; ``none``: not even
          the harmless end is
        - ``estimate``: worst level that the share of these very chips tolerates, without confidence; null likewise
        - ``margin``: size of the error at ``tolerated`` over that of today, see `size`: above 1 is room, below 1 must
          shrink, 0 must vanish and where ``status`` is none does not suffice alone; a lower bound for ``beyond``; null
          without a number today, without a known size, and where ``status`` is none but ``peak`` reaches the target
        - ``n``, ``passing_today``, ``passing_best``, ``passing_worst``: chips, and those that pass as configured and at
          the harmless and the harmful end
        - ``peak``, ``passing_peak``: the tried level at which most chips pass, and those
        - ``violations``: chips that pass at a level worse than one that they fail at

        Where the target is met today the least margin is in front; else the largest, which needs the least
        improvement, then those that are not monotonic and reach the target at ``peak``, and of those that do not
        suffice alone the one that repairs most chips. Where the margin is not known a row comes after its like.
    """
    n = len(next(iter(searches.values())).seeds)
    rows = []
    for name, search in searches.items():
        bracket, helps, now = search.bracket, search.helps, today[name]
        status, level = search.ordered(rank)
        guess = search.ordered(estimated)[1]
        peak, passing_peak = search.peak
        reached = 0 if level is not None else 1 if passes_target(n, passing_peak, rank) else 2
        rows.append(
            {
                "parameter": name,
                "unit": unit_of(name),
                "low": float(bracket.low),
                "high": float(bracket.high),
                "resolution": bracket.resolution,
                "larger": "helps" if helps else "hurts",
                "today": math.nan if now is None else float(now),
                "tolerated": math.nan if level is None else float(level),
                "status": status,
                "estimate": math.nan if guess is None else float(guess),
                "margin": math.nan if reached == 1 else _margin(name, now, level, helps),
                "n": n,
                "passing_today": passing_today,
                "passing_best": search.passing(search.ends[0]),
                "passing_worst": search.passing(search.ends[1]),
                "peak": float(peak),
                "passing_peak": passing_peak,
                "violations": len(search.violations()),
                _REACHED: reached,
            }
        )
    table = pd.DataFrame(rows)
    met = passes_target(n, passing_today, rank)
    order = ["margin", "passing_best"] if met else [_REACHED, "margin", "passing_best"]
    return table.sort_values(
        order,
        ascending=[column == _REACHED or (met and column == "margin") for column in order],
        kind="stable",
        ignore_index=True,
    ).drop(columns=_REACHED)


def passes_target(n: int, passing: int, rank: int) -> bool:
    """True where so many of n chips that pass bound the yield at the target: fewer fail than the rank."""
    return n - passing < rank


def _margin(parameter: str, today: float | None, tolerated: float | None, helps: bool) -> float:
    if today is None:
        return math.nan
    if tolerated is None:
        return 0.0
    now, then = size(parameter, today, helps), size(parameter, tolerated, helps)
    if now is None or then is None:
        return math.nan
    if now == 0:
        return math.inf if then > 0 else 1.0
    return then / now
