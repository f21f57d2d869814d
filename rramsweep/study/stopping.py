"""Stopping rules: when a point has enough chips."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from rramsweep.construct import call, fitted
from rramsweep.errors import ValidationError
from rramsweep.intervals import ANYTIME, T, betting_interval, t_quantile
from rramsweep.scale import FRACTION, Scale

# Half a point of accuracy; no number would suit every other unit.
HALF_WIDTH = 0.005


class Stopping(Protocol):
    """Decides from a point's scores, in the order of its seeds, how many of its chips count."""

    def check(self, metrics: Sequence[Scale]) -> None:
        """Check, with ValueError, that the rule makes sense for scores of these metrics."""

    def cap(self, chips: int) -> int:
        """The most chips that a point may get, `chips` being the setting of that name."""

    def decide(self, scores: Sequence[float | None], cap: int, interval: str = T) -> tuple[int, str] | None:
        """`(n, why)` once the first n chips are enough, else None; None in `scores` is a failed chip.

        `interval` is the kind that the mean's is to have, of `intervals.INTERVALS`.
        """

    def next_check(self, n: int, cap: int) -> int:
        """The number of chips at which to decide next, above `n`."""


@dataclass(frozen=True)
class Fixed:
    """Every point gets `chips` chips."""

    def check(self, metrics: Sequence[Scale]) -> None:
        """Accept every metric."""

    def cap(self, chips: int) -> int:
        """The setting `chips` itself."""
        return chips

    def decide(self, scores: Sequence[float | None], cap: int, interval: str = T) -> tuple[int, str] | None:  # noqa: ARG002
        """`(cap, "fixed")` once a point has all of its chips."""
        return (cap, "fixed") if len(scores) >= cap else None

    def next_check(self, n: int, cap: int) -> int:  # noqa: ARG002
        """The cap: nothing is decided before."""
        return cap


@dataclass(frozen=True)
class Interval:
    """Chips in batches until the 95 % interval of the mean score is narrower than `half_width` either side.

    With `interval=t`, n is the first batch boundary, counted from the first seed, at which
    `t(0.975, n-1) s / sqrt(n) <= half_width`; it depends on these chips alone, never on what else the store holds or
    on the number of workers. Looking more than once costs coverage, up to three points of the nominal 95 % for a
    skewed metric (the table is in README.md of this folder).
    Chips that all agree say little about the spread, so zero variance does not stop a point before twice
    `min_chips`.

    With `interval=anytime`, n is the first boundary at which half of `intervals.betting_interval` is so narrow. It
    holds at every n at once, so looking costs nothing; but even without any spread it takes some
    `ln(2 / 0.05) / half_width` chips. A point with a failed chip has no such interval and goes on to the cap.

    Source: sequential fixed-width intervals, Chow and Robbins, Ann. Math. Statist. 36 (1965) 457.

    Args:
        half_width: of the interval, in the metric's unit. None: 0.005 of a fraction, half a point of accuracy; any
            other unit needs a number.
        min_chips: no look before this many chips.
        max_chips: where a point ends in any case, and says so.
        batch: chips between two looks; with 30, a skewed metric is covered 91.8 % of the time instead of 92.6 %.

    Raises:
        ValueError: a value out of its range, or `min_chips > max_chips`.
    """

    half_width: float | None = None
    min_chips: int = 30
    max_chips: int = 1000
    batch: int = 50

    def __post_init__(self) -> None:
        if self.half_width is not None and not 0 < self.half_width < math.inf:
            raise ValueError(f"half_width must lie above 0 and be finite, got {self.half_width}: 0.005 is half a point")
        if self.min_chips < 2:
            raise ValueError(f"min_chips must be at least 2, got {self.min_chips}: an interval needs a spread")
        if self.min_chips > self.max_chips:
            raise ValueError(
                f"min_chips must not exceed max_chips, got {self.min_chips} > {self.max_chips}: swap or raise one"
            )
        if self.batch < 1:
            raise ValueError(f"batch must be at least 1, got {self.batch}: 50 is the default")

    def check(self, metrics: Sequence[Scale]) -> None:
        """Check that `half_width` is given in a unit that all metrics share.

        Raises:
            ValueError: states the metrics and the remedy.
        """
        units = {scale.unit for scale in metrics}
        names = ", ".join(scale.label for scale in metrics)
        if self.half_width is None and units - {FRACTION}:
            raise ValueError(f"half_width must be given in the metric's unit, got none for {names}: set it")
        if self.half_width is not None and len(units) > 1:
            raise ValueError(f"half_width must be in the unit of one metric, got {names}: sweep them one by one")
        if self.half_width is not None and units == {FRACTION} and self.half_width >= 1:
            raise ValueError(f"half_width must lie below 1 for {names}, got {self.half_width}: 0.005 is half a point")

    def cap(self, chips: int) -> int:  # noqa: ARG002
        """`max_chips`, whatever `chips` is."""
        return self.max_chips

    def decide(self, scores: Sequence[float | None], cap: int, interval: str = T) -> tuple[int, str] | None:
        """`(n, "interval")` at the first check whose interval is narrow enough, `(cap, "cap")` at the last."""
        checks = list(self._checks(len(scores), cap))
        if interval == ANYTIME:
            n = self._first_anytime(checks, scores)
        else:
            n = next((n for n in checks if self._narrow(scores[:n])), None)
        if n is not None:
            return n, "interval"
        return (cap, "cap") if checks[-1:] == [cap] else None

    def _first_anytime(self, checks: Sequence[int], scores: Sequence[float | None]) -> int | None:
        whole = scores.index(None) if None in scores else len(scores)
        known = np.array([scores[:whole]], dtype=np.float64)
        checks = [n for n in checks if n <= whole]
        # It only ever gets narrower, so that bisection finds the first.
        first = bisect.bisect_left(checks, True, key=lambda n: self._anytime_narrow(known[:, :n]))
        return checks[first] if first < len(checks) else None

    def _checks(self, n: int, cap: int) -> Iterator[int]:
        """Numbers of chips up to n at which to decide."""
        check = 0
        while check < cap and (check := self.next_check(check, cap)) <= n:
            yield check

    def next_check(self, n: int, cap: int) -> int:
        """`min_chips`, then one `batch` more at a time."""
        if n < self.min_chips:
            return min(self.min_chips, cap)
        return min(self.min_chips + ((n - self.min_chips) // self.batch + 1) * self.batch, cap)

    def _narrow(self, scores: Sequence[float | None]) -> bool:
        x = np.array([a for a in scores if a is not None])
        if len(x) < 2:
            return False
        if np.ptp(x) == 0:
            return len(x) >= 2 * self.min_chips
        return self.half_of(x) <= self._wanted

    def _anytime_narrow(self, scores: np.ndarray[Any, Any]) -> bool:
        low, high = betting_interval(scores)
        return bool(high[0] - low[0] <= 2 * self._wanted)

    @property
    def _wanted(self) -> float:
        return HALF_WIDTH if self.half_width is None else self.half_width

    @staticmethod
    def half_of(x: np.ndarray[Any, Any]) -> float:
        """Half the width of the 95 % t interval of a mean: `t(0.975, n-1) s / sqrt(n)`."""
        return float(t_quantile(len(x)) * x.std(ddof=1)) / math.sqrt(len(x))


# The rules there are, by the name that a config or a plan has for them. Frozen: stored plans name them so.
RULES: dict[str, type[Fixed] | type[Interval]] = {
    "rramsweep.stopping.Fixed": Fixed,
    "rramsweep.stopping.Interval": Interval,
}


def read(node: object) -> Fixed | Interval:
    """The rule that a node of a config or a plan names; one of `RULES`, nothing else is built.

    Raises:
        ValidationError: no node, another target, or an argument that the rule refuses.
    """
    name = node.get("_target_") if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping) or not isinstance(name, str) or name not in RULES:
        raise ValidationError(
            f"must be one of {', '.join(RULES)}",
            "choose stopping=fixed or stopping=interval",
            value=node if name is None else name,
            slot="stopping",
            parameter="_target_",
        )
    rule = RULES[name]
    given = fitted(rule, {key: value for key, value in node.items() if key != "_target_"}, "stopping")
    made: Fixed | Interval = call(rule, given, "stopping", name)
    return made


def document(rule: Stopping) -> dict[str, Any]:
    """A rule as the node that `read` takes."""
    for name, kind in RULES.items():
        if isinstance(rule, kind):
            return {"_target_": name, **asdict(rule)}
    raise ValidationError(
        f"must be one of {', '.join(RULES)}", "take one of these", value=type(rule).__name__, slot="stopping"
    )


def in_order(known: Mapping[int, float | None], seeds: Iterable[int]) -> list[float | None]:
    """The scores of a point's first seeds, up to the first that is not known yet."""
    return [known[seed] for seed in itertools.takewhile(known.__contains__, seeds)]
