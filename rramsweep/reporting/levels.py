"""Stairs of several levels in one plot: how each looks, and how a stair with its band is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from rramsweep.analysis.schema import TIME
from rramsweep.intervals import Floats
from rramsweep.reporting.axis import is_number, label_of, short_names, text_of
from rramsweep.reporting.style import (
    MOST_COLOURS,
    MOST_SHADES,
    LeftOut,
    colour_of,
    dashes_of,
    evenly,
    legend_above,
    shades,
)

# Bands of more levels than these mix to a grey that belongs to none.
_BANDED = 3
# A band of more corners than these is a picture in a vector file.
_DENSE = 400
# Of the legend at most: two columns of twelve times would leave the stairs half of their height.
_COLUMNS = 4


@dataclass(frozen=True)
class Level:
    """One value of the column that tells stairs apart: row of the summary, name, look, if the legend has it."""

    row: int
    name: str
    colour: str
    dashes: Any
    named: bool


def levels_of(table: pd.DataFrame, group: str | None) -> tuple[list[Level], list[LeftOut]]:
    """The levels of a summary by ``group``: numbers ascend in shades, names in order of appearance have colours.

    Of more than can be told apart so many, evenly spaced in that order, and what is left out.
    """
    if group is None:
        return [Level(int(table.index[0]), "chips", colour_of(0), "-", False)], []
    ordered = is_number(table[group])
    every = table[group].sort_values(na_position="last") if ordered else table[group]
    values = every.iloc[evenly(len(every), MOST_SHADES if ordered else MOST_COLOURS)]
    names = [text_of(value, group) for value in every.drop(values.index)]
    words = _names(values, group)
    left_out = [LeftOut(group, names, len(every))] if names else []
    n = len(values)
    colours = shades(n) if ordered else [colour_of(i) for i in range(n)]
    # Stairs in dashes look like other stairs: shades, which differ in grey, do without.
    levels = [
        Level(row, name, colours[i], "-" if ordered else dashes_of(i), True)
        for i, (row, name) in enumerate(zip(values.index.tolist(), words, strict=True))
    ]
    return levels, left_out


def _names(values: pd.Series[Any], group: str) -> list[str]:
    return [text_of(value, group) for value in values] if is_number(values) else short_names(values)


def banded(levels: Sequence[Level]) -> bool:
    """True where the levels are so few that each can show its band."""
    return len(levels) <= _BANDED


def draw_steps(
    ax: Axes, level: Level, x: Floats, y: Floats, low: Floats, high: Floats, what: str, *, band: bool = True
) -> None:
    """A stair that takes its value at each x and holds it up to the next, with its band unless that is left out."""
    style: dict[str, Any] = {"color": level.colour, "linewidth": 1.0, "linestyle": level.dashes, "zorder": 3}
    label = level.name if level.named else "_nolegend_"
    ax.step(x, y, where="post", gid=f"{what}:{level.name}", label=label, **style)
    if not band:
        return
    style = {"rasterized": len(x) > _DENSE}
    style |= {"color": level.colour, "alpha": 0.12, "linewidth": 0, "zorder": 0, "gid": f"band:{level.name}"}
    ax.fill_between(x, low, high, step="post", **style)


def name_levels(ax: Axes, group: str | None) -> None:
    """The legend of a plot of stairs, under the name of the column that tells them apart."""
    # Times are named by the clock, with their unit.
    title = None if group is None else group if group == TIME else label_of(group)
    legend_above(ax, title, _COLUMNS)
