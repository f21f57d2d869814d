"""Groups of rows of a results table: the columns that distinguish them, and the check that each holds one point."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from rramsweep.analysis.schema import FACTS, LATER, METRIC, TIME, check_outcomes
from rramsweep.arguments import brief, fitting
from rramsweep.errors import Sentence, ValidationError
from rramsweep.groups import REDRAW
from rramsweep.intervals import Codes, T
from rramsweep.scale import Scale
from rramsweep.suggest import nearest

# Makes the remedy of an error message from the columns that distinguish points and the rows of these points.
Remedy = Callable[[Sequence[str], pd.DataFrame], str]

# Largest set of columns that is tried to distinguish points.
_FEW = 3


def scales(frame: pd.DataFrame) -> list[Scale]:
    """The metrics of a frame's rows, in order of appearance."""
    return [Scale.of(row) for row in frame[list(METRIC)].drop_duplicates().to_dict("records")]


def one_metric(frame: pd.DataFrame) -> Scale:
    """The metric of a frame's rows, for a plot, which can show only one.

    Raises:
        ValueError: the rows have several metrics.
    """
    metrics = scales(frame)
    if len(metrics) > 1:
        names = ", ".join(metric.label for metric in metrics)
        raise ValueError(f"a plot must be of one metric, got {names}: filter the frame")
    return metrics[0] if metrics else Scale("score", "", True)


def inputs_word(frame: pd.DataFrame) -> str:
    """Word for the rows of the data: images where correct answers are counted, else inputs."""
    return "images" if frame["n_correct"].notna().any() else "inputs"


def need_facts(frame: pd.DataFrame) -> None:
    """Check that a results frame has the schema's columns, and facts that trials can have.

    Raises:
        ValueError: it has not; see `schema.check_outcomes`.
    """
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(f"a results frame must be a DataFrame, got {type(frame).__name__}: rs.load(DIR) reads one")
    needed = [name for name in (*FACTS, *METRIC) if name not in frame.columns and name not in LATER]
    if needed:
        raise ValueError(
            f"a results frame lacks columns {', '.join(needed)}: take it from rs.run(), rs.sweep() or rs.load()"
        )
    _refuse_hybrids(frame)
    check_outcomes(frame)
    if TIME in frame.columns and not is_numeric_dtype(frame[TIME]):
        raise ValueError(f"column {TIME} must hold seconds, got {frame[TIME].dtype}: convert it with astype(float)")
    _check_attrs(frame.attrs)


def _refuse_hybrids(frame: pd.DataFrame) -> None:
    """Check that no row is of a hybrid chip, whose streams are of two draws.

    Raises:
        ValidationError: says how to leave them out.
    """
    drawn_again = [name for name in frame.columns if str(name).startswith(f"{REDRAW}.")]
    n = int(frame[drawn_again].notna().any(axis=1).sum()) if drawn_again else 0
    if n:
        raise ValidationError(
            Sentence("rows must be of chips of one draw, not of hybrid chips, which rs.spread makes"),
            f"leave them out, frame[frame[{drawn_again[0]!r}].isna()]",
            shown=f"{n} rows with {drawn_again[0]}",
        )


def _check_attrs(attrs: Mapping[Any, Any]) -> None:
    """Check that a frame's attributes are those that a sweep leaves.

    Raises:
        ValidationError: names the entry.
    """
    swept, images = attrs.get("swept", []), attrs.get("images")
    names = isinstance(swept, list | tuple) and all(isinstance(name, str) for name in swept)
    for name, value, fits, what in (
        ("swept", swept, names, "a list of column names"),
        ("images", images, images is None or isinstance(images, Mapping), "a dict {point_id: counts}"),
    ):
        if not fits:
            raise ValidationError(
                f"must be {what}", "load the frame again", shown=brief(value), parameter=f"attrs[{name!r}]"
            )
    fitting(attrs.get("yield_drop"), float | None, "attrs['yield_drop']")
    fitting(attrs.get("interval", T), str, "attrs['interval']")
    fitting(attrs.get("source_ranges", {}), Mapping[str, tuple[float, float, str]], "attrs['source_ranges']")


def resolve_by(frame: pd.DataFrame, by: Sequence[str] | None) -> list[str]:
    """The columns that distinguish groups; see `summarize`.

    Raises:
        ValueError: a name that is not a column, or a fact that is an outcome of the trial.
    """
    conditions = [str(name) for name in frame.columns if name not in FACTS]
    if by is None and "swept" in frame.attrs:
        # A swept seed is the chip itself, and a swept machine setting has no column.
        return [name for name in frame.attrs["swept"] if name in conditions]
    if by is None:
        return [name for name in conditions if frame[name].nunique(dropna=False) > 1]
    names = [by] if isinstance(by, str) else list(dict.fromkeys(by))
    allowed = ["point_id", "seed", *conditions]
    for name in names:
        if name in FACTS and name not in allowed:
            raise ValueError(f"by takes choices and parameters, got {name!r}, an outcome: drop it")
        if name not in allowed:
            near = nearest(name, allowed)
            remedy = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(conditions)}"
            raise ValueError(f"columns must be in the frame, got {name!r}: {remedy}")
    return names


def grouped(
    frame: pd.DataFrame, keys: Sequence[str], remedy: Remedy | None = None
) -> tuple[pd.DataFrame, Codes, pd.DataFrame]:
    """Sort chips into groups: the rows without repeated chips, the group number of each, the groups' ``keys``.

    Groups are numbered in order of appearance. ``remedy`` makes the end of the error message; the default speaks of
    `summarize`.

    Raises:
        ValueError: a group holds more than one point.
    """
    code = group_numbers(frame, keys)
    rows = pd.DataFrame({"group": code, "point": frame["point_id"].to_numpy(), "seed": frame["seed"].to_numpy()})
    first = np.unique(code, return_index=True)[1]
    held = np.bincount(rows[["group", "point"]].drop_duplicates()["group"], minlength=len(first))
    if (held > 1).any():
        worst = int((held > 1).argmax())
        raise ValueError(_pooled(frame.loc[code == worst], keys, int(held[worst]), remedy or _in_by))
    once = ~rows.duplicated().to_numpy()
    return frame.loc[once], code[once], frame.iloc[first][list(keys)].reset_index(drop=True)


def group_numbers(frame: pd.DataFrame, keys: Sequence[str]) -> Codes:
    """Number of each row's combination of ``keys``, in order of appearance; a null is a value of its own."""
    if not keys:
        return np.zeros(len(frame), dtype=np.int64)
    return np.asarray(frame.groupby(list(keys), sort=False, dropna=False, observed=True).ngroup(), dtype=np.int64)


def finished(frame: pd.DataFrame, keys: Sequence[str], free: bool) -> pd.DataFrame:
    """The chips that a plot shows: those that finished, each once; ``summary_row`` is the number of its row there.

    Args:
        frame: a results frame.
        keys: the columns that distinguish the summary's rows, see `grouped`.
        free: True if the plot's ``group`` is still unused, so that the error message can suggest it.

    Raises:
        ValueError: no chip finished, a group holds more than one point, or what `resolve_by` refuses.
    """
    remedy = _in_group if free else _in_frame
    resolve_by(frame, ["model"])  # which captions name
    chips, group, _ = grouped(frame, resolve_by(frame, list(keys)), remedy)
    chips = chips.assign(summary_row=group)[chips["status"] == "ok"]
    if chips.empty:
        raise ValueError("a plot needs a chip with status ok, got none: see the frame's error column")
    return chips


def _pooled(rows: pd.DataFrame, keys: Sequence[str], held: int, remedy: Remedy) -> str:
    where = ", ".join(f"{name}={rows[name].iloc[0]}" for name in keys) or "the whole frame"
    columns = _telling(rows, held)
    if columns:
        difference = f"which differ in {', '.join(columns)}: {remedy(columns, rows)}"
    else:
        difference = "which no column tells apart (other weights, images or code): "
        difference += "add point_id to by" if remedy is _in_by else "filter the frame by point_id"
    return f"a group of chips must hold one point, {where} holds {held}, {difference}"


def _telling(rows: pd.DataFrame, held: int) -> list[str]:
    """Smallest set of columns that distinguishes points, swept ones first; all that differ if no small set does."""
    points = rows.drop_duplicates("point_id")
    differ = [str(name) for name in rows.columns if name not in FACTS and points[name].nunique(dropna=False) > 1]
    swept = [name for name in rows.attrs.get("swept", ()) if name in differ]
    for names in (swept, differ):
        for size in range(1, min(len(names), _FEW) + 1):
            for subset in itertools.combinations(names, size):
                if len(points[list(subset)].drop_duplicates()) == held:
                    return list(subset)
    return differ


def _in_by(columns: Sequence[str], rows: pd.DataFrame) -> str:
    return f"add {'it' if len(columns) == 1 else 'them'} to by, or filter the frame, {_one_value(columns[0], rows)}"


def _in_group(columns: Sequence[str], rows: pd.DataFrame) -> str:
    *others, group = columns
    if not others:
        return f"give group={group!r}, or filter the frame, {_one_value(group, rows)}"
    return f"give group={group!r} and filter the frame, {', '.join(_one_value(name, rows) for name in others)}"


def _in_frame(columns: Sequence[str], rows: pd.DataFrame) -> str:
    return f"filter the frame, {', '.join(_one_value(name, rows) for name in columns)}"


def _one_value(name: str, rows: pd.DataFrame) -> str:
    value = rows[name].dropna().iloc[0]
    return f"frame[frame[{name!r}] == {value.item() if isinstance(value, np.generic) else value!r}]"


def span(values: "pd.Series[Any]") -> str:
    """Text of a count: one number, or the range from smallest to largest."""
    return f"{values.min()}" if values.nunique() == 1 else f"{values.min()}–{values.max()}"
