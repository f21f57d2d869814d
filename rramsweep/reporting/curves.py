"""Means with intervals over one column, one curve a group: what robustness and differences have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from rramsweep.analysis.grouping import inputs_word, span
from rramsweep.analysis.schema import CHOICES
from rramsweep.reporting.axis import data_at, is_number, legend_title, positions, short_names, text_of
from rramsweep.reporting.style import (
    COLOURS,
    DASHES,
    MARKERS,
    MOST_COLOURS,
    MOST_NAMES,
    CurveStyle,
    LeftOut,
    colour_of,
    evenly,
    legend_above,
    legend_sections,
    room,
    style_of,
)

# Bands of more groups than these lie over each other and mix to a colour that belongs to none.
_BANDED = 1
# Markers of more groups than these have no room beside each other unless they are small.
_LARGE = 3

# Markers on a curve of more points than these make it a band.
_MARKED = 60

# A longer name at the end of a curve would take the plot's width.
_SHORT = 14

Bands = Sequence[tuple[str, str, str, float]]


def drawn(
    table: pd.DataFrame, x: str, group: str | None, marker: str | None = None
) -> tuple[pd.DataFrame, list[LeftOut]]:
    """The rows of a table that one plot can show, and what is left out.

    Of more than `MOST_COLOURS` groups, and of more than `MOST_NAMES` names on the x axis, so many are drawn: evenly
    spaced in their order, the first and the last among them. Numbers ascend, names are in order of appearance.
    """
    left_out = []
    for column, most in ((group, MOST_COLOURS), (marker, len(MARKERS)), (x, MOST_NAMES)):
        if column is None or (column == x and is_number(table[x])):
            continue
        values = table[column].drop_duplicates()
        values = values.sort_values() if is_number(values) else values
        kept = values.iloc[evenly(len(values), most)]
        if len(kept) < len(values):
            names = [text_of(value, column) for value in values.drop(kept.index)]
            left_out.append(LeftOut(column, names, len(values)))
            table = table[table[column].isin(kept)]
    return table, left_out


def placed(table: pd.DataFrame, x: str, group: str | None, ax: Axes, marker: str | None = None) -> pd.DataFrame:
    """The table with each row's ``group`` in words, its `positions`, ``middle`` of its dots, ``where`` its mean is."""
    names = ["mean"] * len(table) if group is None else short_names(table[group], group)
    if marker is not None:
        names = [", ".join(pair) for pair in zip(names, short_names(table[marker], marker), strict=True)]
    table = table.assign(group=names, **positions(table[x], ax))
    every = list(dict.fromkeys(table["group"]))
    lane = table["lane"] / len(every)
    shift = lane * (table["group"].map(every.index) - (len(every) - 1) / 2)
    # On a curve only the dots step aside, so that the mean stands at its value of x; of several the mean does as
    # well, or its interval would lie behind another one's.
    where = data_at(ax, table["at"] + shift.where(~table["curve"] | (len(every) > _BANDED), 0.0))
    return table.assign(lane=lane, middle=table["at"] + shift, where=where)


def crowded(table: pd.DataFrame) -> bool:
    """True where a placed table has more groups than can have bands."""
    return table["group"].nunique() > _BANDED


def styles_of(
    table: pd.DataFrame, group: str | None = None, marker: str | None = None, order: Sequence[str] | None = None
) -> dict[str, CurveStyle]:
    """Style of each group of a placed table: by its place in ``order``, or by colour and marker of its two columns."""
    every = list(dict.fromkeys(table["group"]))
    if group is None or marker is None:
        names = list(order) if order is not None and set(every) <= set(order) else every
        return {name: style_of(names.index(name)) for name in every}
    colours, marks = _numbers(table[group]), _numbers(table[marker])
    found = {}
    for name, i, j in zip(table["group"], colours, marks, strict=True):
        dashes = DASHES[(j + i // len(COLOURS)) % len(DASHES)]
        found[name] = CurveStyle(colour_of(i), MARKERS[j % len(MARKERS)], dashes)
    return found


def _numbers(values: pd.Series[Any]) -> list[int]:
    return [int(number) for number in pd.factorize(values, use_na_sentinel=False)[0]]


def draw_means(
    ax: Axes,
    table: pd.DataFrame,
    mean: str,
    bands: Bands,
    factor: float,
    order: Sequence[str] | None = None,
    styles: Mapping[str, CurveStyle] | None = None,
) -> None:
    """Means of a placed table with their bands, joined on a curve, alone with bars as categories.

    Where curves are `crowded`, capped bars at the means stand for the last band and the others are left out.

    Args:
        ax: where to draw.
        table: from `placed`.
        mean: column of the means.
        bands: ``(gid before the group's name, column of the low end, of the high end, alpha)`` each.
        factor: what the columns are multiplied by to be shown.
        order: of the groups' names, by which they have their styles; None is that of the table.
        styles: of each group, see `styles_of`; None follows ``order``.
    """
    styles = styles or styles_of(table, order=order)
    every = list(dict.fromkeys(table["group"]))
    width = min(8.0, 20.0 / len(every) / max(1.0, table["at"].nunique() / 8))
    for name in every:
        own, part_of_group = styles[name], table[table["group"] == name].sort_values("at", kind="stable")
        for curve, part in part_of_group.groupby("curve"):
            many = crowded(table)
            style: dict[str, Any] = {"color": own.colour, "marker": own.marker, "markeredgecolor": "white"}
            style |= {"markeredgewidth": 0.4, "linestyle": own.dashes if curve else "none"}
            style |= {"markersize": 3.2, "linewidth": 0.9} if len(every) > _LARGE else {}
            style |= {"marker": ""} if curve and len(part) > _MARKED else {}
            ax.plot(part["where"], factor * part[mean], zorder=4, gid=f"mean:{name}", label=name, **style)
            for what, low, high, alpha in bands:
                ends = factor * part[low], factor * part[high]
                style = {"color": own.colour, "alpha": alpha, "zorder": 1, "gid": f"{what}:{name}"}
                last = what == bands[-1][0]
                if many and last:
                    ax.vlines(part["where"], *ends, **style | {"alpha": 1.0, "linewidth": 0.9, "zorder": 5})
                    _draw_caps(ax, part["where"], ends, own.colour, name)
                elif curve and not many:
                    ax.fill_between(part["where"], *ends, linewidth=0, **style)
                elif not curve:
                    ax.vlines(part["where"], *ends, linewidth=width, **style)


def _draw_caps(ax: Axes, where: pd.Series[Any], ends: Sequence[pd.Series[Any]], colour: str, name: str) -> None:
    """Caps of an interval: wider than the marker, so that they show where the interval is less high than it."""
    for values in ends:
        ax.scatter(where, values, s=16, marker="_", linewidths=0.7, color=colour, zorder=5, gid=f"caps:{name}")


def name_curves(ax: Axes, table: pd.DataFrame, mean: str, factor: float, styles: Mapping[str, CurveStyle]) -> bool:
    """Write each curve's name at its right end, in its colour; False where names are long or ends too close.

    The names then leave the legend.
    """
    if table["group"].nunique() < 2 or not table["curve"].any() or ax.get_xscale() != "linear":
        return False
    ends = table[table["curve"]].sort_values("at", kind="stable").groupby("group", sort=False).tail(1)
    names = list(dict.fromkeys(table["group"]))
    together = len(ends) == len(names) and ends["at"].nunique() == 1 and table["at"].max() == ends["at"].iloc[0]
    low, high = ax.get_ylim()
    height = ax.get_window_extent().height / ax.figure.dpi * 72 / (high - low)
    gaps = np.diff(np.sort(factor * ends[mean].to_numpy(dtype=np.float64))) * height
    size = mpl.rcParams["legend.fontsize"]
    if not together or max(map(len, names)) > _SHORT or gaps.min() < 1.2 * size:
        return False
    for name, y in zip(ends["group"], factor * ends[mean], strict=True):
        style: dict[str, Any] = {"textcoords": "offset points", "xycoords": ("axes fraction", "data"), "va": "center"}
        style |= {"fontsize": size, "color": styles[name].colour, "gid": f"label:{name}", "annotation_clip": False}
        ax.annotate(name, (1.0, y), xytext=(3, 0), **style)
    for line in ax.get_lines():
        if str(line.get_label()) in names:
            line.set_label("_nolegend_")
    return True


def name_groups(
    ax: Axes, table: pd.DataFrame, styles: Mapping[str, CurveStyle], group: str | None, marker: str | None = None
) -> None:
    """The legend of a plot of curves: one title for each column, colours under the one and markers under the other."""
    if group is None or marker is None:
        shown = set(table["group"]) & set(ax.get_legend_handles_labels()[1])
        legend_above(ax, legend_title(group, room(ax)) if shown else None, apart=shown)
        return
    curves = set(table["group"])
    handles = {str(handle.get_label()): handle for handle in ax.get_legend_handles_labels()[0]}
    others = [handle for label, handle in handles.items() if label not in curves]
    found = []
    for column in (group, marker):
        firsts = table.drop_duplicates(column)
        names = short_names(firsts[column], "" if column not in CHOICES else column)
        style = [styles[name] for name in firsts["group"]]
        lines = [
            Line2D([], [], label=name, **({"color": own.colour} if column == group else _grey(own)))
            for name, own in zip(names, style, strict=True)
        ]
        found.append((column, lines))
    legend_sections(ax, [*found, ("", others)])


def _grey(style: CurveStyle) -> dict[str, Any]:
    return {"color": "#666666", "marker": style.marker, "linestyle": style.dashes, "markersize": 3.2}


def flat(values: pd.Series[Any]) -> bool:
    """True where all values are one, but for rounding."""
    return bool(np.ptp(values) <= 1e-9 * np.abs(values).max())


def of_what(chips: pd.DataFrame) -> str:
    """Words on what every number is about: this network and these images."""
    network = "this network" if chips["model"].nunique() <= 1 else "each network"
    return f"of {network} on these {span(chips['n_images'])} {inputs_word(chips)}"
