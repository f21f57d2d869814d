"""How a score is named, ordered and written: what tables and plots know of a metric, without torch or pandas."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# Unit of a share in 0..1, which people read in percent.
FRACTION = "fraction"

# What a good chip may lose of a metric in `FRACTION`; no number would suit every other unit.
YIELD_DROP = 0.02

# Columns of a point that say what its scores are.
NAME, UNIT, HIGHER = "metric.name", "metric.unit", "metric.higher_is_better"
SCALE_COLUMNS = {NAME: str, UNIT: str, HIGHER: bool}


@dataclass(frozen=True)
class Scale:
    """What a score is.

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
        """From a map with `NAME`, `UNIT` and `HIGHER`: the parameters of a point, or a row of a table."""
        return Scale(str(columns[NAME]), str(columns[UNIT]), bool(columns[HIGHER]))

    @property
    def columns(self) -> dict[str, Any]:
        """The columns that `of` reads."""
        return {NAME: self.name, UNIT: self.unit, HIGHER: self.higher_is_better}

    @property
    def factor(self) -> float:
        """Score times this is the number that is shown."""
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
        """What the mean over chips is called: of a score that is a mean itself, `mean` is not said twice."""
        return f"{self.name}, over chips" if self.name.startswith("mean ") else f"mean {self.name}"

    @property
    def distance(self) -> str:
        """Shown unit of a difference of two scores: percentages differ by percentage points."""
        return "percentage points" if self.unit == FRACTION else self.shown_unit

    @property
    def words(self) -> str:
        """Unit and direction, for messages and identities."""
        return f"{self.unit or 'no unit'}, {'higher' if self.higher_is_better else 'lower'} is better"

    def number(self, score: float, digits: int = 2) -> str:
        """The shown number alone: `digits` decimals of a percentage, else four significant digits; `-` for NaN."""
        if math.isnan(score):
            return "-"
        return f"{100 * score:.{digits}f}" if self.unit == FRACTION else f"{score:#.4g}"

    def text(self, score: float, digits: int = 2) -> str:
        """The shown number with its unit: `88.20 %`, `0.4312 nat`."""
        return f"{self.number(score, digits)} {self.shown_unit}".rstrip()


def drop_for(metrics: Iterable[Scale], yield_drop: float | None) -> float | None:
    """How much worse than digital a good chip may be: as given, else 0.02 if all scores are fractions, else None.

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
