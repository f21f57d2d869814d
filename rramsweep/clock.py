"""The one clock of every law of time: seconds since programming, and how they are written."""

from __future__ import annotations

import math
import re

# A year of 365.25 days, as astronomers count.
UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "y": 365.25 * 86400.0}

_TEXT = re.compile(r"\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([a-z]+)\s*")


def seconds(value: object, name: str = "t_s") -> float:
    """A time in seconds, from a number of them or from a text such as `10ms`, `1h`, `1d`, `10y`.

    Args:
        value: seconds, or a number and one of the units us, ms, s, min, h, d, y.
        name: of the setting, for messages.

    Raises:
        ValueError: negative, not finite, or not a time.
    """
    number: float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
    elif isinstance(value, str) and (match := _TEXT.fullmatch(value)) and match[2] in UNITS_S:
        try:
            number = float(match[1]) * UNITS_S[match[2]]
        except ValueError:
            number = None
    if number is None or not 0 <= number < math.inf:
        raise ValueError(
            f"{name} must be a time in seconds >= 0, got {value!r}: give seconds since programming, or a number with "
            f"one of {', '.join(UNITS_S)}, like 1h"
        )
    return number
