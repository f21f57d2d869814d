"""Levels of an error budget, today's against the tolerated ones, on the Axes it is given."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rramsweep.analysis.budget import BEYOND, NONE
from rramsweep.reporting.budget_findings import Row, level_text, target_words, tolerated_text
from rramsweep.reporting.style import axes_or_new, colour_of, legend_above, styled, write_caption

_HEIGHT = 0.36


@styled()
def plot_budget(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the level of each parameter today and the tolerated one, as places in its bracket, in the table's order.

    Bars begin at the harmless end of the bracket, so that a shorter bar is a smaller error, of bits too. A tolerated
    level at the harmful end is hatched, since it may lie beyond; where not even the harmless end is tolerated there is
    no bar. Numbers stand beside the bars.

    Args:
        table: of `rramsweep.budget`.
        ax: where to draw; nothing else is touched. Default: a new figure, one column wide.

    Returns:
        The Axes. Its artists have a gid: ``today:`` and ``tolerated:`` before the parameter's name, ``caption``.

    Raises:
        ValueError: a table that is no budget.
    """
    if "target_yield" not in table.attrs or "tolerated" not in table:
        raise ValueError("plot_budget takes the table of rs.budget, got another: give that one")
    ax = axes_or_new(ax, height=1.6 + 0.34 * len(table))
    labels = {"today": "today", "tolerated": "tolerated"}
    for place, row in enumerate(table.to_dict("records")):
        name, beyond = row["parameter"], row["status"] == BEYOND
        today, tolerated = _place(row, row["today"]), _place(row, row["tolerated"])
        for kind, at, offset, colour in (("today", today, -1, "#999999"), ("tolerated", tolerated, 1, colour_of(0))):
            width = 0.0 if math.isnan(at) else float(np.clip(at, 0, 100))
            hatch = "////" if kind == "tolerated" and beyond else None
            ax.barh(
                place + offset * _HEIGHT / 2,
                width,
                _HEIGHT,
                color="none" if hatch else colour,
                edgecolor=colour,
                hatch=hatch,
                label=labels[kind],
                gid=f"{kind}:{name}",
            )
            text = _text(row, kind)
            ax.annotate(
                text,
                (width, place + offset * _HEIGHT / 2),
                xytext=(2, 0),
                textcoords="offset points",
                va="center",
                fontsize="x-small",
            )
    ax.set_yticks(range(len(table)), [str(name) for name in table["parameter"]])
    ax.set_ylim(len(table) - 0.4, -0.6)
    ax.set_xlim(0, 100)
    ax.set_xlabel("place in the bracket, from its harmless end (%)")
    legend_above(ax)
    violations = int(table["violations"].sum())
    parts = [f"tolerated: {target_words(table)}, all else as configured", f"{table['n'].iloc[0]} chips"]
    parts += ["hatched: at the harmful end, perhaps beyond"] if (table["status"] == BEYOND).any() else []
    parts += [f"{violations} chips not monotonic"] if violations else []
    write_caption(ax, parts)
    return ax


def _place(row: Row, level: float) -> float:
    """Place of a level in the bracket of its row, in percent from the harmless end; NaN of none."""
    share = 100 * float(level - row["low"]) / float(row["high"] - row["low"])
    return 100 - share if row["larger"] == "helps" else share


def _text(row: Row, kind: str) -> str:
    if kind == "today":
        return level_text(row["parameter"], row["today"])
    return f"none ({tolerated_text(row)})" if row["status"] == NONE else tolerated_text(row)
