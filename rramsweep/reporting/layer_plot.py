"""The plot of `inspect`: each layer's relative MVM error, on the Axes it is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from rramsweep.analysis.layer_table import LAYER, STEPS, cause_squares
from rramsweep.arguments import checked_arguments
from rramsweep.reporting.axis import name_of
from rramsweep.reporting.style import (
    axes_or_new,
    colour_of,
    columns_for,
    legend_above,
    legend_sections,
    marker_of,
    styled,
    write_caption,
)

# More names than this cannot be read beside each other in one column of a journal.
_NAMES = 24

# A step with a smaller part of the squares of each layer is one of the others.
_NAMED_PART = 0.05
_OTHERS = "#bbbbbb"
# Of the highest column; a step whose parts are all smaller cannot be seen and is not in the legend.
_VISIBLE = 0.01
# Columns of more groups are thinner than their markers.
_STACKED = 4
_OVER_COLUMNS = "#000000"


@checked_arguments
@styled()
def plot_inspect(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the relative MVM error of every layer: mean over the chips (marker) and their range (bar), in percent.

    Layers stand in the network's order. Columns show where the error comes from: each step's part of the sum of the
    squares of all. Each combination of the swept columns has a marker and a column of its own beside the others'; of
    more than four there are no columns, and the marker has a colour. A layer whose
    product cannot be had (a recurrent layer with a forward of its own) shows its weight error, by an open marker.

    Args:
        table: from `rramsweep.inspect`.
        ax: where to draw; nothing else is touched. Default: a new figure, one column wide.

    Returns:
        The Axes. Its artists have a gid: ``mvm:`` and ``weights:`` before the group's name for the markers, ``range:``
        for the bars, ``cause:`` before the column's name (`by_drift`) for the columns.

    Raises:
        ValueError: the frame is no table of `inspect`.
    """
    if not isinstance(table, pd.DataFrame) or LAYER not in table or "by" not in table.attrs:
        raise ValueError("plot_inspect takes the table of rramsweep.inspect, got another frame: call inspect first")
    ax = axes_or_new(ax)
    by = table.attrs["by"]
    layers = list(dict.fromkeys(table[LAYER]))
    parts = table.groupby(by, sort=False, dropna=False) if by else [((), table)]
    groups = [(", ".join(map(name_of, key)), part) for key, part in parts]
    stacked = len(groups) <= _STACKED
    places = [
        part[LAYER].map(layers.index) + 0.8 * ((i + 0.5) / len(groups) - 0.5) for i, (_, part) in enumerate(groups)
    ]
    if stacked:
        _draw_causes(ax, table, pd.concat(places).reindex(table.index), 0.7 / len(groups))
    for index, ((name, part), at) in enumerate(zip(groups, places, strict=True)):
        _draw(ax, part, at, name, _OVER_COLUMNS if stacked else colour_of(index), marker_of(index))
    ax.set_ylim(bottom=0)
    step = -(-len(layers) // _NAMES)
    ax.set_xticks(np.arange(0, len(layers), step), layers[::step], rotation=40, ha="right", rotation_mode="anchor")
    ax.set_xlim(-0.6, len(layers) - 0.4)
    ax.set_xlabel("layer")
    fused = bool(table["mvm_error"].isna().any())
    ax.set_ylabel(f"relative MVM error{', open: weight error' if fused else ''} (%)")
    title = ", ".join(name.rpartition(".")[2] for name in by)
    if by and stacked:
        handles = {str(handle.get_label()): handle for handle in ax.get_legend_handles_labels()[0]}
        causes = [handle for handle in handles.values() if not isinstance(handle, Line2D)]
        legend_sections(ax, [(title, [h for h in handles.values() if h not in causes]), ("error from", causes)])
    elif by:
        legend_above(ax, title, columns_for([name for name, _ in groups]))
    else:
        legend_above(ax, "error from", 3)
    chips = int(table["chips"].max())
    of = "error of the analog product to the digital one, with the layer's digital inputs"
    over = "one chip" if chips == 1 else f"marker: mean of {chips} chips, bar: from the smallest to the largest"
    sources = [] if not stacked else ["colours: parts of the steps in the sum of their squares"]
    write_caption(ax, [of, over, *sources])
    return ax


def _draw_causes(ax: Axes, table: pd.DataFrame, at: pd.Series[float], width: float) -> None:
    """Draw a column for each row up to its error, with the parts of its steps from the largest step upwards."""
    squares = pd.DataFrame([cause_squares(row) for _, row in table.iterrows()])
    parts = squares.div(squares.sum(axis=1), axis=0).fillna(0.0)
    small = [name for name in parts if parts[name].max() < _NAMED_PART]
    others, parts = parts[small].sum(axis=1), parts.drop(columns=small)
    parts = parts[parts.sum().sort_values(ascending=False, kind="stable").index]
    drawn = [(str(name), STEPS[str(name)][0], colour_of(i), parts[name]) for i, name in enumerate(parts)]
    if others.any():
        drawn.append(("others", "others", _OTHERS, others))
    error = 100 * table["mvm_error"].fillna(table["weight_error"]).fillna(0.0).to_numpy()
    low = np.zeros(len(table))
    for name, words, colour, part in drawn:
        height = error * part.to_numpy()
        visible = height.max() >= _VISIBLE * error.max()
        for bar in ax.bar(
            at.to_numpy(),
            height,
            width,
            low,
            color=colour,
            alpha=0.75,
            linewidth=0,
            zorder=1,
            label=words if visible else "_nolegend_",
        ):
            bar.set_gid(f"cause:{name}")
        low += height


def _draw(ax: Axes, part: pd.DataFrame, at: pd.Series[float], name: str, colour: str, marker: str) -> None:
    fused = part["mvm_error"].isna()
    label = name or None  # of the first markers alone, so that the legend has a group once
    for what, error, chosen, fill in (
        ("mvm", "mvm_error", ~fused, colour),
        ("weights", "weight_error", fused, "white"),
    ):
        if not chosen.any():
            continue
        low, high = 100 * part.loc[chosen, f"{error}_min"], 100 * part.loc[chosen, f"{error}_max"]
        ax.vlines(at[chosen], low, high, color=colour, linewidth=1.0, zorder=2, gid=f"range:{name}")
        style: dict[str, Any] = {"linestyle": "none", "marker": marker, "zorder": 3}
        style |= {"color": colour, "markerfacecolor": fill, "markeredgewidth": 0.8, "gid": f"{what}:{name}"}
        ax.plot(at[chosen], 100 * part.loc[chosen, error], label=label, **style)
        label = None
