"""The plot of `sensitivity`: what each layer costs alone on the array, and what a chip gains where it is digital."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rramsweep.analysis.layer_table import LAYER
from rramsweep.arguments import checked_arguments
from rramsweep.reporting.style import axes_or_new, colour_of, legend_above, marker_of, room, styled, write_caption
from rramsweep.scale import Scale, percent

# More layers than this make a figure longer than a page.
MOST_LAYERS = 40

# Inches of a row, of what stands around them, and of a caption that is drawn.
_ROW, _AROUND, _CAPTION = 0.19, 1.5, 0.5

_SHOWN = (("alone", "alone on the array"), ("gain", "gain if it alone is digital"))


def height_for(table: pd.DataFrame, *, caption: bool = False) -> float:
    """Height of a figure in inches in which the names of all layers can be read, with a drawn caption or without."""
    return _AROUND + _ROW * min(len(table), MOST_LAYERS) + _CAPTION * caption


@checked_arguments
@styled()
def plot_sensitivity(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the loss of each layer alone on the array and the gain where it alone is digital, with their intervals.

    A row a layer, the most sensitive above, with its share of the multiplications behind the name; the line is the loss
    of all layers together. Of more than 40 layers the first ones are drawn.

    Args:
        table: from `rramsweep.sensitivity`, or read from its `sensitivity.csv`.
        ax: where to draw; nothing else is touched. Default: a new figure, one column wide.

    Returns:
        The Axes. Its artists have a gid: ``alone`` and ``gain`` for the markers, ``interval:alone`` and
        ``interval:gain``, ``all`` for the line, ``caption``.

    Raises:
        ValueError: the frame is no table of `sensitivity`.
    """
    needed = [LAYER, "macs_share", "all_mean", *(f"{name}_{end}" for name, _ in _SHOWN for end in ("mean", "low"))]
    if not isinstance(table, pd.DataFrame) or not {*needed} <= {*table.columns} or table.empty:
        raise ValueError("plot_sensitivity takes the table of rramsweep.sensitivity, got another: call it first")
    ax = axes_or_new(ax, height=height_for(table))
    scale, whole = Scale.of(table.iloc[0]), table.iloc[0]
    drawn = table.iloc[:MOST_LAYERS]
    at = np.arange(len(drawn))
    style: dict[str, Any] = {"color": "#000000", "linestyle": (0, (6, 2)), "linewidth": 0.9, "zorder": 1}
    ax.axvline(scale.factor * whole["all_mean"], gid="all", label="all layers on the array", **style)
    ax.axvline(0, color="#bbbbbb", linewidth=0.6, zorder=0)
    for index, (name, words) in enumerate(_SHOWN):
        mean, low, high = (scale.factor * drawn[f"{name}_{end}"] for end in ("mean", "low", "high"))
        y, colour = at + 0.3 * (index - 0.5), colour_of(index)
        ax.hlines(y, low, high, color=colour, linewidth=1.0, zorder=2, gid=f"interval:{name}")
        dots: dict[str, Any] = {"linestyle": "none", "marker": marker_of(index), "markersize": 3, "color": colour}
        ax.plot(mean, y, label=words, zorder=3, gid=name, **dots)
    ax.set_yticks(at, [f"{row[LAYER]} ({percent(row['macs_share'])} %)" for _, row in drawn.iterrows()])
    ax.set_ylim(len(drawn) - 0.4, -0.6)
    ax.set_ylabel("layer")
    ax.set_xlabel(f"loss of {scale.name}{f' ({scale.distance})' if scale.distance else ''}")
    if isinstance(ax.figure, Figure):
        ax.figure.draw_without_rendering()  # long names make the Axes narrow, within which legend and caption stay
    legend_above(ax)
    over = f"mean with paired 95 % t interval over {int(whole['all_n'])} chips {table.attrs.get('of', '')}".rstrip()
    left = len(table) - len(drawn)
    more = [f"{left} layers of less loss are left out"] if left else []
    letters = int(0.9 * room(ax))  # the figure ends where the Axes do
    parts = [over, "in the order of the mean of both", "in brackets: share of the multiplications", *more]
    write_caption(ax, parts, letters=letters)
    return ax
