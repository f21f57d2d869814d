"""Upper bounds on the work of one command, so that a typing error or a hostile file costs neither memory nor days.

Each is raised by an environment variable, never by a config: a file must not raise the bound that it exceeds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from rramsweep.errors import ValidationError

# A seed is hashed as a signed integer of 64 bits.
SEED_LIMIT = 2**63


class LimitError(ValidationError):
    """Error for a request beyond a bound of the environment."""


@dataclass(frozen=True)
class Limit:
    """One bound and the environment variable that raises it.

    Args:
        variable: its name.
        default: where the variable is not set.
    """

    variable: str
    default: float

    @property
    def value(self) -> float:
        """The bound: the variable's value, or the default.

        Raises:
            ValidationError: the variable is not a number above 0.
        """
        text = os.environ.get(self.variable, "")
        if not text:
            return self.default
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not value > 0:
            raise ValidationError("must be a number above 0", "unset it", value=text, parameter=self.variable)
        return value

    def check(self, value: float, name: str, unit: str = "", remedy: str = "ask for less") -> None:
        """Check that a value does not exceed the bound.

        Args:
            value: to be checked.
            name: of the quantity, for the message.
            unit: text after the numbers, such as ` MB`.
            remedy: alternative to raising the bound.

        Raises:
            LimitError: states the bound, the value and the variable.
        """
        if value > self.value:
            raise LimitError(
                f"must be at most {self.value:,.15g}{unit}",
                f"{remedy}, or raise the limit with the environment variable {self.variable}",
                value=value,
                shown=f"{value:,.15g}{unit}",
                parameter=name,
            )


# Chips of all points of a plan together. A hundred thousand points of a hundred chips, far beyond any sweep so far.
TRIALS = Limit("RRAMSWEEP_MAX_TRIALS", 1e7)

# Points of a plan, each of which is composed, checked and kept.
POINTS = Limit("RRAMSWEEP_MAX_POINTS", 1e6)

# Chips at a time and threads, each of which takes memory of its own before anything runs.
PARALLEL = Limit("RRAMSWEEP_MAX_PARALLEL", 1024)

# Resolved text of a config. Those of this package have 10 kB; aliases and interpolations can grow without bound.
CONFIG_MB = Limit("RRAMSWEEP_MAX_CONFIG_MB", 10.0)

# Share of the available memory that one array file may take.
MEMORY_SHARE = Limit("RRAMSWEEP_MAX_MEMORY_SHARE", 0.8)
