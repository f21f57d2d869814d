"""Frames as a notebook shows them: the few columns that are read, in the words and digits of the page."""

from __future__ import annotations

from typing import Any

import pandas as pd

from rramsweep.scale import HIGHER, NAME, UNIT, Bound, Scale, percent

# Of more rows a notebook shows the first and the last ones, as pandas does.
_ROWS = 60
# Names of the bounds on quantiles from 59 chips on, by the column that they come from.
BOUNDS = {"q05_low": "q05 bound", "q95_high": "q95 bound"}
_TRIAL = ("seed", "status", "score")
_SHOWN = ("n", "score_mean", "score_low", "score_high", "tail", "tail_name", "yield_share", NAME, UNIT, HIGHER)
_ENDS: tuple[Bound, ...] = ("low", "high")


class Results(pd.DataFrame):
    """A results frame; a notebook shows the columns that were swept, the seed and the score."""

    @property
    def _constructor(self) -> type[Results]:
        return Results

    def _repr_html_(self) -> str:
        swept = [name for name in self.attrs.get("swept", []) if name in self]
        if not {*_TRIAL, "point_id"} <= set(self.columns):
            return _of_pandas(self)
        points, failed = self["point_id"].nunique(), int((self["status"] == "failed").sum())
        words = f"{len(self)} trials of {points} points, {failed} failed; {self.shape[1]} columns, of which these are"
        return f"<p>{words}:</p>{_plain(pd.DataFrame(self)[list(dict.fromkeys([*swept, *_TRIAL]))])}"


class Summary(pd.DataFrame):
    """A frame of `summarize`; a notebook shows n, mean, 95 % interval, bad end and yield of each group."""

    @property
    def _constructor(self) -> type[Summary]:
        return Summary

    def _repr_html_(self) -> str:
        by = self.attrs.get("by", [])
        if not {*by, *_SHOWN} <= set(self.columns):
            return _of_pandas(self)
        shown = pd.DataFrame({name: self[name] for name in by})
        rows = [row for _, row in pd.DataFrame(self).iterrows()]
        shown["chips"] = self["n"]
        shown["mean"] = [Scale.of(row).text(row["score_mean"]) for row in rows]
        for end in _ENDS:
            shown[f"95 % {end}"] = [Scale.of(row).number(row[f"score_{end}"], bound=end) for row in rows]
        shown["bad end"] = [tail_text(row, "") for row in rows]
        shown["yield %"] = ["-" if pd.isna(row["yield_share"]) else percent(row["yield_share"]) for row in rows]
        return _plain(shown)


def tail_text(row: Any, heading: str) -> str:
    """A row's ``tail`` as it is shown: a bound rounded toward caution, with its name where the heading has none."""
    scale, name = Scale.of(row), row["tail_name"]
    bound: dict[Any, Bound] = {BOUNDS["q05_low"]: "low", BOUNDS["q95_high"]: "high"}
    number = scale.number(row["tail"], bound=bound.get(name))
    return number if heading == name or pd.isna(name) else f"{number} {name}"


def _of_pandas(frame: pd.DataFrame) -> str:
    """HTML of pandas, for a frame that only descends from one of these, as a selection of columns does."""
    return str(vars(pd.DataFrame)["_repr_html_"](pd.DataFrame(frame)))


def _plain(frame: pd.DataFrame) -> str:
    return str(pd.DataFrame(frame).to_html(index=False, max_rows=_ROWS, border=0, na_rep="none"))
