"""Checks that several effects share."""

from __future__ import annotations


def fraction(name: str, value: float, of: str) -> None:
    """Refuse a value outside 0..1 (NaN included).

    Raises:
        ValueError: states the constraint, the value, and what to do about a percentage.
    """
    if not 0 <= value <= 1:
        hint = f"; for {value:g} % give {value / 100:g}" if 1 < value <= 100 else ""
        raise ValueError(f"{name} must lie in 0..1 (a fraction {of}), got {value}: give a fraction{hint}")
