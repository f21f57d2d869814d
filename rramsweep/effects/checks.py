"""What several effects share: checks of their parameters, and a clamped normal draw."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from rramsweep.arguments import fitting
from rramsweep.devices.streams import Stream
from rramsweep.effects.protocol import EffectBase
from rramsweep.errors import Sentence, ValidationError, by_law


def number(name: str, value: object) -> None:
    """Refuse what is no number: a text, yes or no, an array.

    Raises:
        ValidationError: names the parameter.
    """
    fitting(value, float, name)


def fraction(name: str, value: float, of: str) -> None:
    """Refuse a value outside 0..1 (NaN included).

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
    """Refuse a value that is given and not above 0 (NaN included).

    Raises:
        ValueError: states the constraint, the value and the remedy.
    """
    if value is not None:
        number(name, value)
    if value is not None and not value > 0:
        raise ValidationError("must lie above 0", "use null to leave it out", value=value, parameter=name)


def not_negative(name: str, value: float) -> None:
    """Refuse a value below 0 or not finite.

    Raises:
        ValueError: states the constraint, the value and the remedy.
    """
    number(name, value)
    if not 0 <= value < math.inf:
        raise ValidationError("must be finite and at least 0", "correct the value", value=value, parameter=name)


def finite(name: str, value: float, least: float = -math.inf) -> None:
    """Refuse a value that is not finite (NaN included) or lies below `least`.

    Raises:
        ValueError: states the constraint, the value and the remedy.
    """
    number(name, value)
    if not (math.isfinite(value) and value >= least):
        bound = "" if least == -math.inf else f" and at least {least:g}"
        raise ValidationError(f"must be finite{bound}", "use 0 to leave it out", value=value, parameter=name)


def begins(t0_s: float) -> None:
    """Refuse a beginning of a log-time law that is no time after programming (NaN included).

    Raises:
        ValueError: states the constraint, the value and the remedy.
    """
    if not 0 < t0_s < math.inf:
        raise ValidationError(
            "must be a time above 0 in seconds", "give when the drift begins", value=t0_s, parameter="t0_s"
        )


def source_notes(law: EffectBase) -> list[Sentence]:
    """Note of each parameter that lies outside the range that its source covers."""
    ranges = law.source_range.items()
    return [Sentence(note) for name, (low, high, note) in ranges if not low <= getattr(law, name) <= high]


def drift_notes(law: object, t_s: float, t0_s: float, acceleration: float) -> list[Sentence]:
    """What a user should know of a law that begins at t0, read at t, while time runs faster by a factor."""
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
    """Standard normal draws, clamped to -z_max..z_max if given: never rejected, so draws stay in their places."""
    z = rng.normal(shape)
    return z if z_max is None else z.clamp_(-z_max, z_max)
