"""The target that chips are held to: how much worse than digital they may be, and how many of them must keep to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rramsweep.errors import Sentence, ValidationError, fraction_of
from rramsweep.intervals import CONFIDENCE
from rramsweep.scale import FRACTION, YIELD_DROP, Scale
from rramsweep.suggest import suggest

TARGET = "target"

# Override name -> field.
_FIELDS = {"target.drop": "drop", "target.yield": "yield_"}


@dataclass(frozen=True)
class Target:
    """A limit on the loss of chips against the digital network.

    Args:
        drop: how much worse than digital, in the metric's unit; None is the sweep's `yield_drop`, for a fraction 0.02.
        yield_: share of chips that must lose at most `drop`, shown by the exact lower 95 % bound; with None the mean
            loss must be at most `drop`, shown by the upper end of its 95 % interval.

    Raises:
        ValidationError: a number out of range, or neither of the two.
    """

    drop: float | None = None
    yield_: float | None = None

    def __post_init__(self) -> None:
        if self.drop is None and self.yield_ is None:
            raise ValidationError("must have a drop or a yield", "give target.drop=0.02", parameter=TARGET)
        if self.drop is not None and not 0 <= self.drop < math.inf:
            raise ValidationError(
                "must be a finite number >= 0, in the metric's unit",
                "give target.drop=0.02 for two points of accuracy",
                value=self.drop,
                parameter="target.drop",
            )
        if self.yield_ is not None and not 0 < self.yield_ < 1:
            raise ValidationError(
                "must lie between 0 and 1, both excluded, since no number of chips shows that all are good",
                "give target.yield=0.9",
                value=self.yield_,
                parameter="target.yield",
            )

    @property
    def least_chips(self) -> int:
        """Number of chips that can show the target where all of them keep to it."""
        return 2 if self.yield_ is None else max(2, math.ceil(math.log(1 - CONFIDENCE) / math.log(self.yield_) - 1e-9))

    def limit(self, scale: Scale, yield_drop: float | None = None) -> float:
        """Largest loss in the metric's unit.

        Args:
            scale: of the scores.
            yield_drop: of the sweep, for a target without a drop.

        Raises:
            ValidationError: no number is given for a metric that has no default, or one above 1 for a fraction.
        """
        drop = yield_drop if self.drop is None else self.drop
        if drop is None and scale.unit == FRACTION:
            drop = YIELD_DROP
        if drop is None:
            raise ValidationError(
                f"must be given for {scale.label}",
                "give how much worse than digital a chip may be",
                value=None,
                shown="none",
                parameter="target.drop",
            )
        if scale.unit == FRACTION and drop > 1:
            raise ValidationError(
                f"must be at most 1 for {scale.label}, a fraction",
                "0.02 is two points",
                value=drop,
                parameter="target.drop",
            )
        return drop

    def check_chips(self, chips: int) -> None:
        """Check that so many chips can show the target.

        Raises:
            ValidationError: says how many can.
        """
        if chips < self.least_chips:
            shown = "an interval of the mean loss" if self.yield_ is None else f"a yield of {self.yield_:g} at 95 %"
            raise ValidationError(
                f"must be at least {self.least_chips} to show {shown}",
                f"give chips={self.least_chips} or more",
                value=chips,
                parameter="chips",
            )

    def words(self, limit: float, scale: Scale) -> str:
        """The target as a clause, `mean loss at most 2 percentage points ...`."""
        distance = f"{scale.factor * limit:g} {scale.distance}".rstrip()
        if self.yield_ is None:
            return f"mean loss of {scale.name} at most {distance} (by the upper end of its 95 % interval)"
        return (
            f"a yield of at least {100 * self.yield_:g} % (by its exact lower 95 % bound), good chips losing at most "
            f"{distance} of {scale.name}"
        )


def split_target(words: Sequence[str]) -> tuple[list[str], Target | None]:
    """Separate the overrides `target.drop=` and `target.yield=` from the others.

    Returns:
        The other words, and the target; None if no word sets one.

    Raises:
        ValidationError: another name that begins with `target`, a value that is not a number, or one name twice.
    """
    own = [word for word in words if word.lstrip("+~").partition("=")[0].split(".")[0] == TARGET]
    values: dict[str, float] = {}
    for word in own:
        name, equals, text = word.lstrip("+").partition("=")
        if name not in _FIELDS:
            raise ValidationError(
                Sentence(f"{name.lstrip('~')} is not a setting of a target"),
                suggest(name.lstrip("~"), _FIELDS),
                value=word,
            )
        if _FIELDS[name] in values:
            given = [other.lstrip("+").partition("=")[2] for other in own if other.lstrip("+").startswith(f"{name}=")]
            raise ValidationError("must be given once", "leave one out", shown=" and ".join(given), parameter=name)
        try:
            values[_FIELDS[name]] = float(text)
        except ValueError:
            share = fraction_of(text)
            usual = "0.02" if name == "target.drop" else "0.9"
            raise ValidationError(
                "must be one number",
                f"give {name}={usual if share is None else format(share, 'g')}",
                value=text,
                shown=repr(text) if equals else "no value",
                parameter=name,
            ) from None
    rest = [word for word in words if word not in own]
    return rest, Target(**values) if own else None
