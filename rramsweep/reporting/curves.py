"""Means with intervals over one column, one curve a group: what robustness and differences have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rramsweep.analysis.grouping import inputs_word, span
from rramsweep.reporting.axis import data_at, is_number, name_of, positions, text_of
from rramsweep.reporting.style import MOST_COLOURS, MOST_NAMES, LeftOut, colour_of, evenly, marker_of

# Bands of more groups than these mix to a grey that belongs to none.
_BANDED = 3

# Markers on a curve of more points than these make it a band.
_MARKED = 60

Bands = Sequence[tuple[str, str, str, float]]


def drawn(table: pd.DataFrame, x: str, group: str | None) -> tuple[pd.DataFrame, list[LeftOut]]:
    """The rows of a table that one plot can show, and what is left out.

    Of more than `MOST_COLOURS` groups, and of more than `MOST_NAMES` names on the x axis, so many are drawn: evenly
    spaced in their order, the first and the last among them. Numbers ascend, names are in order of appearance.
    """
    left_out = []
    for column, most in ((group, MOST_COLOURS), (x, MOST_NAMES)):
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


def placed(table: pd.DataFrame, x: str, group: str | None, ax: Axes) -> pd.DataFrame:
    """The table with each row's ``group`` in words, its `positions`, ``middle`` of its dots, ``where`` its mean is."""
    names = "mean" if group is None else [name_of(value, group) for value in table[group]]
    table = table.assign(group=names, **positions(table[x], ax))
    every = list(dict.fromkeys(table["group"]))
    lane = table["lane"] / len(every)
    shift = lane * (table["group"].map(every.index) - (len(every) - 1) / 2)
    # On a curve only the dots step aside, so that the mean stands at its value of x.
    where = data_at(ax, table["at"] + shift.where(~table["curve"], 0.0))
    return table.assign(lane=lane, middle=table["at"] + shift, where=where)


def crowded(table: pd.DataFrame) -> bool:
    """True where a placed table has so many groups that bands would lie over each other until none has a colour."""
    return table["group"].nunique() > _BANDED


def draw_means(
    ax: Axes, table: pd.DataFrame, mean: str, bands: Bands, factor: float, order: Sequence[str] | None = None
) -> None:
    """Means of a placed table with their bands, joined on a curve, alone with bars as categories.

    Where curves are `crowded`, thin bars beside the means stand for the last band and the others are left out.

    Args:
        ax: where to draw.
        table: from `placed`.
        mean: column of the means.
        bands: ``(gid before the group's name, column of the low end, of the high end, alpha)`` each.
        factor: what the columns are multiplied by to be shown.
        order: of the groups' names, by which they have their colours; None is that of the table.
    """
    every = list(dict.fromkeys(table["group"]))
    width = min(8.0, 20.0 / len(every))
    for name in every:
        index = (order or every).index(name)
        part_of_group, colour = table[table["group"] == name].sort_values("at", kind="stable"), colour_of(index)
        for curve, part in part_of_group.groupby("curve"):
            style: dict[str, Any] = {"color": colour, "marker": marker_of(index), "markeredgecolor": "white"}
            style |= {"markeredgewidth": 0.4, "linestyle": "-" if curve else "none"}
            style |= {"marker": ""} if curve and len(part) > _MARKED else {}
            ax.plot(part["where"], factor * part[mean], zorder=4, gid=f"mean:{name}", label=name, **style)
            for what, low, high, alpha in bands:
                style = {"color": colour, "alpha": alpha, "zorder": 1, "gid": f"{what}:{name}"}
                if curve and crowded(table):
                    if what == bands[-1][0]:
                        style |= {"alpha": 0.8, "linewidth": 0.9, "zorder": 3}
                        beside = data_at(ax, part["middle"])  # with the group's dots: at one place bars hide each other
                        ax.vlines(beside, factor * part[low], factor * part[high], **style)
                elif curve:
                    ax.fill_between(part["where"], factor * part[low], factor * part[high], linewidth=0, **style)
                else:
                    ax.vlines(part["where"], factor * part[low], factor * part[high], linewidth=width, **style)


def flat(values: pd.Series[Any]) -> bool:
    """True where all values are one, but for rounding."""
    return bool(np.ptp(values) <= 1e-9 * np.abs(values).max())


def of_what(chips: pd.DataFrame) -> str:
    """Words on what every number is about: this network and these images."""
    network = "this network" if chips["model"].nunique() <= 1 else "each network"
    return f"of {network} on these {span(chips['n_images'])} {inputs_word(chips)}"
