"""Intervals of a cost: the lowest and the highest of what sources say."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """Lower and upper bound of a cost, at least 0.

    Args:
        low, high: in the unit of the cost.
    """

    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[float]) -> Interval:
        """Interval that spans the values of several sources."""
        found = list(values)
        return cls(min(found), max(found))

    @property
    def middle(self) -> float:
        """Geometric mean of the bounds: each lies the same factor away from it."""
        return math.sqrt(self.low * self.high)

    def __add__(self, other: Interval) -> Interval:
        return Interval(self.low + other.low, self.high + other.high)

    def __mul__(self, factor: float) -> Interval:
        return Interval(self.low * factor, self.high * factor)


def total(parts: Iterable[Interval]) -> Interval:
    """Sum of intervals, bound by bound."""
    return sum(parts, Interval(0.0, 0.0))
