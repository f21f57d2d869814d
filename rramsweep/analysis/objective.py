"""Objectives of a design search: columns of the results table or of its summary, each with a direction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from rramsweep.analysis.schema import FACTS
from rramsweep.analysis.summary import summarize
from rramsweep.errors import Sentence, ValidationError
from rramsweep.scale import Scale
from rramsweep.suggest import suggest

MAXIMIZE, MINIMIZE = "maximize", "minimize"
DIRECTIONS = (MINIMIZE, MAXIMIZE)

# Beginnings of columns by the direction in which they are better; those of a score go with the metric.
_HIGHER = ("accuracy", "yield_", "n_correct", "n_gained", "agreement")
_LOWER = (
    "cost.energy_pJ",
    "cost.area_um2",
    "cost.latency_us",
    "cost.array_uS",
    "calibration.extra_",
    "calibration.seconds",
    "loss",
    "n_lost",
    "n_failed",
    "se_",
    "dac_clip",
    "adc_clip",
    "cells",
    "multiplications",
)
_OF_SCORE = ("score", "q05", "q25", "q50", "q75", "q95", "tail")


@dataclass(frozen=True)
class Objective:
    """A column that a search makes best.

    Args:
        name: of the column.
        direction: `maximize` or `minimize`.
    """

    name: str
    direction: str

    @property
    def sign(self) -> float:
        """Factor to a number of which less is better."""
        return -1.0 if self.direction == MAXIMIZE else 1.0


def objectives_of(
    names: Sequence[str], directions: Sequence[str] | None, frame: pd.DataFrame, scale: Scale
) -> list[Objective]:
    """The objectives of a search, checked before it begins.

    Args:
        names: of columns.
        directions: as given, one for each name; None takes each column's own.
        frame: a results frame of the search's points, which need no rows yet.
        scale: of the search's scores.

    Raises:
        ValidationError: a name that is no column of numbers, one given twice, a direction that contradicts the
            column's, or a column of which only the user can know the direction.
    """
    known = _columns(frame)
    if not names or len(set(names)) < len(names):
        raise ValidationError(
            "must name one column or several different ones",
            "give objective=accuracy_mean or objective=[accuracy_mean,COLUMN]",
            shown=str(list(names)),
            parameter="objective",
        )
    for name in names:
        if name not in known:
            raise ValidationError(
                "must be a column of numbers of the results table or its summary",
                suggest(name, list(known)),
                value=name,
                parameter="objective",
            )
    if directions is not None and (len(directions) != len(names) or not set(directions) <= set(DIRECTIONS)):
        raise ValidationError(
            f"must be {' or '.join(DIRECTIONS)} for each of the {len(names)} objectives",
            "leave it out to take each column's own",
            shown=str(list(directions)),
            parameter="hydra.sweeper.direction",
        )
    given: Sequence[str | None] = directions or [None] * len(names)
    return [Objective(name, _direction(name, each, scale)) for name, each in zip(names, given, strict=True)]


def values_of(names: Sequence[str], frame: pd.DataFrame) -> list[float]:
    """The objectives' values of one point: of its summary, or the mean of a column over its chips.

    Raises:
        ValidationError: a column that is not there or has no finite value.
    """
    summary, done = summarize(frame, []), frame[frame["status"] == "ok"]
    values = []
    for name in names:
        value = math.nan
        if name in summary and name not in FACTS:
            value = float(summary[name].iloc[0])
        elif name in done:
            value = float(done[name].astype("Float64").mean(skipna=False)) if done[name].notna().all() else math.nan
        if not math.isfinite(value):
            raise ValidationError(
                Sentence(f"objective={name} must have a finite value at every point"),
                "take another column, or choose what gives it one",
                shown="none" if math.isnan(value) else str(value),
            )
        values.append(value)
    return values


def _columns(frame: pd.DataFrame) -> list[str]:
    numbers: dict[str, None] = {}
    for table in (summarize(frame, []), frame):
        kept = (name for name in table if is_numeric_dtype(table[name]) and not is_bool_dtype(table[name]))
        numbers |= dict.fromkeys(str(name) for name in kept)
    return [name for name in numbers if name not in ("seed", "n")]


def _direction(name: str, given: str | None, scale: Scale) -> str:
    own = _own_direction(name, scale)
    if own is None and given is None:
        raise ValidationError(
            Sentence(f"objective={name} is a column of which only you know the better direction"),
            "give hydra.sweeper.direction=minimize or maximize, a list of them for several objectives",
        )
    if own is not None and given is not None and given != own:
        better = "higher" if own == MAXIMIZE else "lower"
        raise ValidationError(
            Sentence(f"hydra.sweeper.direction must be {own} for objective={name}, of which {better} is better"),
            "correct it, or leave it out",
            value=given,
        )
    return given or str(own)


def _own_direction(name: str, scale: Scale) -> str | None:
    """Direction that a column has by its meaning, None where that is not known."""
    if name.endswith("_std") or name.startswith(_LOWER):
        return MINIMIZE
    if name.startswith(_HIGHER):
        return MAXIMIZE
    if name.startswith(_OF_SCORE) and not name.endswith("_skewness"):
        return MAXIMIZE if scale.higher_is_better else MINIMIZE
    return None
