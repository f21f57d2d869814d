"""The x axis of a plot: where its values stand, numbers and categories alike, and what they are called."""

import json
import os
from collections.abc import Iterable
from pathlib import PurePath
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from rramsweep.analysis.schema import CHOICES, TIME
from rramsweep.intervals import Floats
from rramsweep.units import NAME_UNITS, in_words

LABELS = {
    "drift.relative_drift": r"relative drift $\sigma\,/\,G_\mathrm{target}$",
    "faults.p_stuck_lrs": "share of cells stuck at LRS, p_stuck_lrs",
    "faults.p_stuck_hrs": "share of cells stuck at HRS, p_stuck_hrs",
}
# Fractions keep their name and say of what.
OF_WHAT = {"alpha_ind": r"of $G_\mathrm{max}$", "alpha_prop": "of the conductance now"}


# The time at which a calibration is fitted; null is that at which the chip is read.
FITTED_AT = "calibration.at_s"

# A positive axis whose ends are this many times apart is logarithmic.
DECADES_APART = 100
# So is one over a decade of which two levels lie closer than this share of it: their intervals would cover each other.
_DECADE, _CLOSE = 10, 0.06
# More levels than these are no ticks of their own.
_TICKS = 9


def positions(values: "pd.Series[Any]", ax: Axes) -> dict[str, Any]:
    """Columns of positions: ``at`` (place on the axis' own scale), ``curve`` (else a category), ``lane`` (width)."""
    v = values.to_numpy(dtype=np.float64, na_value=np.nan) if is_number(values) else np.full(len(values), np.nan)
    finite = np.isfinite(v)
    if ax.get_xscale() == "log":
        finite &= v > 0  # zero has no place on a logarithm, so it stands apart
    if not finite.any():
        at = pd.factorize(values, use_na_sentinel=False)[0].astype(np.float64)
        ax.set_xlim(-0.6, at.max() + 0.6)
        return {"at": at, "curve": False, "lane": 0.5}
    low, high = v[finite].min(), v[finite].max()
    if low > 0 and (high / low >= DECADES_APART or (high / low >= _DECADE and _close(v[finite]))):
        ax.set_xscale("log")
    at = np.full(len(v), np.nan)
    at[finite] = ax.xaxis.get_transform().transform(v[finite])
    levels = np.unique(at[finite])
    span = np.ptp(levels) or abs(levels[0]) or 1.0
    if len(levels) == 1:
        ax.set_xlim(*data_at(ax, [levels[0] - span / 2, levels[0] + span / 2]))
    at[v == np.inf] = levels[-1] + 0.15 * span
    apart = np.isfinite(v) & ~finite
    at[apart] = levels[0] - 0.15 * span
    at[np.isnan(at)] = levels[0] - (0.3 if apart.any() else 0.15) * span
    lane = min(0.08 * span, 0.4 * np.diff(levels, append=np.inf).min())
    return {"at": at, "curve": finite & (len(levels) > 1), "lane": np.where(finite, lane, 0.1 * span)}


def _close(values: Floats) -> bool:
    levels = np.unique(values)
    return len(levels) > 2 and bool(np.diff(levels).min() < _CLOSE * np.ptp(levels))


def is_number(values: "pd.Series[Any]") -> bool:
    """True where a column holds numbers: neither text nor yes and no."""
    return bool(pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values))


def data_at(ax: Axes, at: Any) -> Any:
    """Data coordinates of places on the axis' own scale."""
    return ax.xaxis.get_transform().inverted().transform(np.asarray(at, dtype=np.float64))


def text_of(value: Any, column: str = "") -> str:
    """A value in words, that of ``t_s`` by the clock."""
    if pd.isna(value):
        return "none"
    if column == TIME:
        return in_words(float(value))
    return f"{value:.12g}" if isinstance(value, float) else _listed(str(value))


def _listed(text: str) -> str:
    """A list that a column holds as JSON, by its entries: `["c1"]` is `c1`."""
    if not text.startswith("["):
        return text
    try:
        entries = json.loads(text)
    except ValueError:
        return text
    return ", ".join(map(str, entries)) or "none"


def short_names(values: Iterable[Any], column: str = "") -> list[str]:
    """Values in words as `name_of` has them, a file by its stem unless two of them would then have one name."""
    texts = [_fitted_at(value) if column == FITTED_AT else name_of(value, column) for value in values]
    stems = {text: PurePath(text.rpartition(" = ")[2]).stem if os.sep in text else text for text in texts}
    once = len(set(stems.values())) == len(stems)
    return [stems[text] if once else text for text in texts]


def _fitted_at(value: Any) -> str:
    return f"fitted at {TIME if pd.isna(value) else text_of(value, TIME)}"


def joined_names(rows: pd.DataFrame) -> list[str]:
    """Rows of several columns in words: each value by `short_names`, but no parameter that its option does not have.

    An option has a parameter where some row with this option has a value of it.
    """
    columns = [str(name) for name in rows]
    names = pd.DataFrame({name: short_names(rows[name], name) for name in columns}, index=rows.index)
    for name in columns:
        option = name.partition(".")[0]
        if option != name and option in rows:
            absent = ~rows[name].notna().groupby(rows[option], dropna=False).transform("any")
            names.loc[absent, name] = ""
    return [", ".join(filter(None, texts)) for texts in names.itertuples(index=False)]


def name_of(value: Any, column: str = "") -> str:
    """A value in words; a parameter's with its name before it."""
    text = text_of(value, column)
    # A column of several joined ones already says in its values what they are.
    return text if column in CHOICES or not column or ", " in column else f"{column} = {text}"


def legend_title(group: str | None, room: int) -> str | None:
    """Title of a legend: the name of the column that tells curves apart, of several joined ones in lines of `room`.

    None where each entry has the name of its parameter already, and for choices joined, whose options say what they
    are.
    """
    names = [] if group is None else group.split(", ")
    if len(names) == 1:
        return group if group in CHOICES else None
    if set(names) <= set(CHOICES):
        return None
    return fill(", ".join(names), room, break_long_words=False, break_on_hyphens=False)


def label_of(name: str) -> str:
    """A column's name for an axis, with its unit or what it is a fraction of."""
    for ending, words in (NAME_UNITS | OF_WHAT).items():
        if name.endswith(ending):
            return f"{name.removesuffix(ending) if ending in NAME_UNITS else name} ({words})"
    return LABELS.get(name, name)


def whole_ticks(ax: Axes, values: "pd.Series[Any]") -> None:
    """Set ticks at whole numbers alone where the values of a linear x axis are whole."""
    locator = ax.xaxis.get_major_locator()
    if pd.api.types.is_integer_dtype(values) and isinstance(locator, MaxNLocator):
        locator.set_params(integer=True)


def has_places(table: pd.DataFrame, x: str, ax: Axes) -> bool:
    """True where the places of a table are to be named: categories, and a few levels on a logarithmic axis."""
    few = ax.get_xscale() == "log" and x != TIME and table["at"].nunique() <= _TICKS
    return few or not bool(table["curve"].all())


def name_places(ax: Axes, table: pd.DataFrame, chips: pd.DataFrame, x: str, room: int) -> None:
    """Ticks for an axis with categories; a continuous one keeps its own."""
    # Null means that the option chosen has no such parameter, so the option names the place.
    choice = x.split(".")[0]
    absent = list(chips.loc[chips[x].isna(), choice].unique()) if choice in CHOICES else []
    named = table.drop_duplicates("at").sort_values("at")
    named = named[~named["curve"] | (np.arange(len(named)) % -(-len(named) // 9) == 0)]
    names = short_names(absent[0] if pd.isna(value) and len(absent) == 1 else value for value in named[x])
    long = max(map(len, names)) + 2 > room / len(names)
    slope: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if long else {}
    ax.set_xticks(data_at(ax, named["at"]), names, **slope)
    ax.minorticks_off()
