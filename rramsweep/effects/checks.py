"""What several effects share: checks of their parameters, and a clamped normal draw."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from rramsweep.streams import Stream


def fraction(name: str, value: float, of: str) -> None:
    """Refuse a value outside 0..1 (NaN included).

    Raises:
        ValueError: states the constraint, the value, and what to do about a percentage.
    """
    if not 0 <= value <= 1:
        hint = f"; for {value:g} % give {value / 100:g}" if 1 < value <= 100 else ""
        raise ValueError(f"{name} must lie in 0..1 (a fraction {of}), got {value}: give a fraction{hint}")


def positive(name: str, value: float | None) -> None:
    """Refuse a value that is given and not above 0 (NaN included).

    Raises:
        ValueError: states the constraint, the value and the remedy.
    """
    if value is not None and not value > 0:
        raise ValueError(f"{name} must lie above 0, got {value}: use null to leave it out")


def not_negative(name: str, value: float) -> None:
    """Refuse a value below 0 or not finite.

    Raises:
        ValueError: states the constraint, the value and the remedy.
    """
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be finite and at least 0, got {value}: correct the value")


def clamped_normal(rng: Stream, shape: Sequence[int], z_max: float | None) -> Tensor:
    """Standard normal draws, clamped to -z_max..z_max if given: never rejected, so draws stay in their places."""
    z = rng.normal(shape)
    return z if z_max is None else z.clamp_(-z_max, z_max)
