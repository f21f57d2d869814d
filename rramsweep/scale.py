"""Scale of a score: its name, unit, direction and rounding, for tables and plots, without torch or pandas."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal
from typing import Any, Literal

# Unit of a share in 0..1, which is shown in percent.
FRACTION = "fraction"

# Default loss of a good chip in `FRACTION`; other units have no common default.
YIELD_DROP = 0.02

# End of an interval, or one-sided bound; it decides the direction of rounding.
Bound = Literal["low", "high"]
_ROUNDING = {"low": ROUND_FLOOR, "high": ROUND_CEILING, None: ROUND_HALF_UP}

# Digits beyond these are rounding errors: 1 - 0.9 is 0.09999999999999998 and must not be shown as 9 %.
_EXACT_DIGITS = 13
# Enough for every float with two decimals: the default of 28 digits refuses 1e30.
_ANY_FLOAT = Context(prec=400)

# Columns of a point that hold the scale of its scores.
NAME, UNIT, HIGHER = "metric.name", "metric.unit", "metric.higher_is_better"
SCALE_COLUMNS = {NAME: str, UNIT: str, HIGHER: bool}


@dataclass(frozen=True)
class Scale:
    """Name, unit and direction of a score.

    Args:
        name: of the metric, e.g. `top-1 accuracy`.
        unit: of its values; `FRACTION`, or empty for a pure number.
        higher_is_better: its direction.
    """

    name: str
    unit: str
    higher_is_better: bool

    @staticmethod
    def of(columns: Any) -> Scale:
        """Read a scale from a map with `NAME`, `UNIT` and `HIGHER`: the parameters of a point, or a row of a table."""
        return Scale(str(columns[NAME]), str(columns[UNIT]), bool(columns[HIGHER]))

    @property
    def columns(self) -> dict[str, Any]:
        """Columns that `of` reads."""
        return {NAME: self.name, UNIT: self.unit, HIGHER: self.higher_is_better}

    @property
    def factor(self) -> float:
        """Factor from a score to the number that is shown."""
        return 100.0 if self.unit == FRACTION else 1.0

    @property
    def shown_unit(self) -> str:
        """The unit as people write it, `%` or `mm²`; as text of a point's identity it stays `mm^2`."""
        return "%" if self.unit == FRACTION else self.unit.replace("^2", "²")

    @property
    def label(self) -> str:
        """Name and shown unit, for an axis or a title: `top-1 accuracy (%)`."""
        return f"{self.name} ({self.shown_unit})" if self.unit else self.name

    @property
    def mean_name(self) -> str:
        """Name of the mean over chips; `mean` is not repeated for a score that is a mean itself."""
        return f"{self.name}, over chips" if self.name.startswith("mean ") else f"mean {self.name}"

    @property
    def distance(self) -> str:
        """Shown unit of a difference of two scores: percentages differ by percentage points."""
        return "percentage points" if self.unit == FRACTION else self.shown_unit

    @property
    def words(self) -> str:
        """Unit and direction, for messages and identities."""
        return f"{self.unit or 'no unit'}, {'higher' if self.higher_is_better else 'lower'} is better"

    def number(self, score: float, digits: int = 2, bound: Bound | None = None) -> str:
        """The shown number alone: `digits` decimals of a percentage, else four significant digits; `-` for NaN.

        Args:
            score: in the metric's unit.
            digits: of a percentage.
            bound: rounds toward caution, see `rounded`; None is an estimate.
        """
        if self.unit == FRACTION:
            return percent(score, digits, bound)
        return "-" if math.isnan(score) else f"{float(rounded(score, significant=4, bound=bound)):#.4g}"

    def text(self, score: float, digits: int = 2, bound: Bound | None = None) -> str:
        """The shown number with its unit: `88.20 %`, `0.4312 nat`."""
        return f"{self.number(score, digits, bound)} {self.shown_unit}".rstrip()

    def between(self, low: float, high: float, digits: int = 2) -> str:
        """Two scores as a range, `88.1–88.6 %`, or one where they are shown alike."""
        first, last = self.text(low, digits), self.text(high, digits)
        return last if first == last else f"{first.removesuffix(' %')}–{last}"


def rounded(
    value: float, decimals: int = 0, bound: Bound | None = None, *, significant: int | None = None
) -> Decimal | float:
    """Round a number as it is shown, in the terminal, on the page, in tables and in sentences.

    A lower bound is rounded down and an upper one up, so that a shown number never claims more than the computed one;
    an estimate is rounded to the nearest. A value is first rounded to 13 significant digits, to remove the rounding
    errors of binary arithmetic.

    Args:
        value: any number; infinities and NaN are returned unchanged.
        decimals: digits after the point.
        bound: `low` or `high`; None is an estimate.
        significant: significant digits, instead of ``decimals``.
    """
    if not math.isfinite(value):
        return float(value)
    exact = Decimal(f"{value:.{_EXACT_DIGITS - 1}e}")
    last = -decimals if significant is None else exact.adjusted() - significant + 1
    shown = exact.quantize(Decimal(1).scaleb(last), rounding=_ROUNDING[bound], context=_ANY_FLOAT)
    return shown.copy_abs() if shown == 0 else shown


def percent(share: float, decimals: int = 0, bound: Bound | None = None, *, significant: int | None = None) -> str:
    """Format a share in percent, without the sign; `-` for NaN.

    An estimate reads 0 or 100 only where it is exactly that: 0.9996 is `>99.9` with one decimal and 0.0004 is `<0.1`.
    Bounds are rounded as in `rounded`: a lower bound of 0.004 is 0, an upper one of 0.996 is 100.

    Args:
        share: as a fraction.
        decimals: digits after the point.
        bound: `low` or `high`; None is an estimate.
        significant: significant digits, instead of ``decimals``; zeros at the end are left out.
    """
    if math.isnan(share):
        return "-"
    shown = rounded(100 * share, decimals, bound, significant=significant)
    if isinstance(shown, float):
        return f"{shown}"
    step = Decimal(1).scaleb(-decimals if significant is None else 2 - significant)
    if bound is None and shown == 100 and share < 1:
        return f">{100 - step}"
    if bound is None and shown == 0 and share > 0:
        return f"<{step}"
    return f"{shown}" if significant is None else f"{float(shown):.{significant}g}"


def drop_for(metrics: Iterable[Scale], yield_drop: float | None) -> float | None:
    """Largest loss against digital of a good chip: as given, else 0.02 if all scores are fractions, else None.

    Raises:
        ValueError: below 0, not finite, above 1 for a fraction, or given for scores of several units.
    """
    metrics = list(metrics)
    units = {scale.unit for scale in metrics}
    names = ", ".join(scale.label for scale in metrics)
    if yield_drop is None:
        return YIELD_DROP if units <= {FRACTION} else None
    if len(units) > 1:
        raise ValueError(
            f"yield_drop must be in the unit of one metric, got {yield_drop:g} for {names}: leave it out, or take one "
            "metric at a time"
        )
    if FRACTION in units and not 0 <= yield_drop <= 1:
        raise ValueError(f"yield_drop must lie in 0..1 (a fraction, for {names}), got {yield_drop}: 0.02 is two points")
    if not 0 <= yield_drop < math.inf:
        raise ValueError(
            f"yield_drop must be a finite number >= 0, how much worse in {names} a good chip may be, got {yield_drop}: "
            "give another"
        )
    return float(yield_drop)


def chance_words(network: str, n_correct: int, n_images: int, chance: float) -> str:
    """Sentence on a network that is no better than one answer to every input, and the remedy.

    Args:
        network: description of the network.
        n_correct: number of inputs that it gets right.
        n_images: number of inputs.
        chance: share of inputs that the best single answer to all of them gets right.
    """
    return (
        f"{network} is at chance level before any chip: it gets {n_correct} of {n_images} images right, not "
        f"significantly more than one answer to all of them ({percent(chance, 1)} %; exact binomial test at 5 %). "
        "Chips as good as it show no yield: check model.checkpoint, the order of the labels and how inputs are "
        "normalised, or take more images"
    )
