"""Checks of parameters, notes, and a clamped normal draw, shared by several effects."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from rramsweep.arguments import fitting
from rramsweep.devices.streams import Stream
from rramsweep.effects.protocol import EffectBase
from rramsweep.errors import Sentence, ValidationError, by_law


def number(name: str, value: object) -> None:
    """Check that a value is a number, not text, a bool or an array.

    Raises:
        ValidationError: names the parameter.
    """
    fitting(value, float, name)


def fraction(name: str, value: float, of: str) -> None:
    """Check that a value lies in 0..1; NaN does not.

    Raises:
        ValueError: states the constraint, the value, and what to do about a percentage.
    """
    number(name, value)
    if not 0 <= value <= 1:
        hint = f"; for {value:g} % give {value / 100:g}" if 1 < value <= 100 else ""
        raise ValidationError(
            f"must lie in 0..1 (a fraction {of})", f"give a fraction{hint}", value=value, parameter=name
        )


def positive(name: str, value: float | None) -> None:
    """Check that a value is None or above 0; NaN is not.

    Raises:
        ValueError: states the constraint, the value and the remedy.
    """
    if value is not None:
        number(name, value)
    if value is not None and not value > 0:
        raise ValidationError("must lie above 0", "use null to leave it out", value=value, parameter=name)


def not_negative(name: str, value: float) -> None:
    """Check that a value is finite and at least 0.

    Raises:
        ValueError: states the constraint, the value and the remedy.
    """
    number(name, value)
    if not 0 <= value < math.inf:
        raise ValidationError("must be finite and at least 0", "correct the value", value=value, parameter=name)


def above_zero(name: str, value: float, meaning: str) -> None:
    """Check that a value is finite and above 0.

    Args:
        name: of the parameter.
        value: to be checked.
        meaning: description of the value with its unit and an example, for the remedy.

    Raises:
        ValueError: states the constraint, the value and the remedy.
    """
    if not 0 < value < math.inf:
        raise ValidationError("must lie above 0 and be finite", f"give {meaning}", value=value, parameter=name)


def finite(name: str, value: float, least: float = -math.inf) -> None:
    """Check that a value is finite and at least `least`.

    Raises:
        ValueError: states the constraint, the value and the remedy.
    """
    number(name, value)
    if not (math.isfinite(value) and value >= least):
        bound = "" if least == -math.inf else f" and at least {least:g}"
        raise ValidationError(f"must be finite{bound}", "use 0 to leave it out", value=value, parameter=name)


def check_start(t0_s: float) -> None:
    """Check that a law in the logarithm of time begins at a time after programming.

    Raises:
        ValueError: states the constraint, the value and the remedy.
    """
    if not 0 < t0_s < math.inf:
        raise ValidationError(
            "must be a time above 0 in seconds", "give when the drift begins", value=t0_s, parameter="t0_s"
        )


def source_notes(law: EffectBase) -> list[Sentence]:
    """Notes on parameters outside the range that their source covers."""
    ranges = law.source_range.items()
    return [Sentence(note) for name, (low, high, note) in ranges if not low <= getattr(law, name) <= high]


def drift_notes(law: object, t_s: float, t0_s: float, acceleration: float) -> list[Sentence]:
    """Notes on a law that begins at t0 and is read at t, with time accelerated by a factor."""
    notes = []
    if t_s * acceleration <= t0_s:
        notes.append(by_law(f"{{law}}: drift begins at t0_s={t0_s:g} s, so it does nothing at t_s={t_s:g} s", law))
    if acceleration != 1:
        notes.append(
            by_law(
                f"{{law}}: time runs {acceleration:.3g} times as fast by one activation energy, which describes baked "
                "cells only approximately",
                law,
            )
        )
    return notes


def clamped_normal(rng: Stream, shape: Sequence[int], z_max: float | None) -> Tensor:
    """Standard normal draws, clamped to -z_max..z_max if given; never rejected, so that every cell keeps its draw."""
    z = rng.normal(shape)
    return z if z_max is None else z.clamp_(-z_max, z_max)
