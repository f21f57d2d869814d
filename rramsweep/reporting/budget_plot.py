"""Levels of an error budget, today's against the tolerated ones, on the Axes it is given."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from rramsweep.analysis.budget import BEYOND
from rramsweep.arguments import checked_arguments
from rramsweep.reporting.budget_findings import Row, level_text, target_words, tolerated_text
from rramsweep.reporting.style import axes_or_new, colour_of, legend_above, styled, write_caption

# Of a bar, in units of the axis; the name above takes as much, and so does the gap below.
_HEIGHT = 0.25
# What lies right of the bracket, in percent of it, for the number beside a bar.
_MARGIN = 35


@checked_arguments
@styled()
def plot_budget(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the level of each parameter today and the tolerated one, as places in its bracket, in the table's order.

    Bars begin at the harmless end of the bracket, so that a shorter bar is a smaller error, of bits too. A tolerated
    level at the harmful end is hatched, since it may lie beyond; where not even the harmless end is tolerated there is
    no bar. Where no parameter alone reaches the target, the levels at which all together do are drawn as well. Numbers
    stand beside the bars; of a level outside the bracket the bar ends where the bracket does.

    Args:
        table: of `rramsweep.budget`.
        ax: where to draw; nothing else is touched. Default: a new figure, one column wide.

    Returns:
        The Axes. Its artists have a gid: ``today:``, ``tolerated:`` and ``together:`` before the parameter's name,
        ``caption``.

    Raises:
        ValueError: a table that is no budget.
    """
    if not isinstance(table, pd.DataFrame) or "target_yield" not in table.attrs or "tolerated" not in table:
        raise ValueError("plot_budget takes the table of rs.budget, got another: give that one")
    ax = axes_or_new(ax, height=height_of(table))
    joint = _joint(table)
    kinds = {"today": "#999999", "tolerated": colour_of(0)} | ({"together": colour_of(2)} if joint else {})
    labels = {"tolerated": "tolerated by itself", "together": "all together"}
    pitch = _HEIGHT * (len(kinds) + 2)
    for number, row in enumerate(table.to_dict("records")):
        name, place = row["parameter"], pitch * number
        ax.annotate(name, (0, place), xytext=(2, -1), textcoords="offset points", va="top", fontsize="small")
        levels = {"today": row["today"], "tolerated": row["tolerated"], "together": joint.get(name, row["today"])}
        texts = {kind: level_text(name, level) for kind, level in levels.items()} | {"tolerated": tolerated_text(row)}
        for i, (kind, colour) in enumerate(kinds.items()):
            middle, at = place + _HEIGHT * (i + 1.5), _place(row, levels[kind])
            width = 0.0 if math.isnan(at) else min(100.0, max(0.0, at))
            hatch = "////" if kind == "tolerated" and row["status"] == BEYOND else None
            style: dict[str, Any] = {"color": "none" if hatch else colour, "edgecolor": colour, "hatch": hatch}
            ax.barh(middle, width, _HEIGHT, label=labels.get(kind, kind), gid=f"{kind}:{name}", linewidth=0.5, **style)
            beside: dict[str, Any] = {"xytext": (2, 0), "textcoords": "offset points", "va": "center"}
            ax.annotate(texts[kind], (width, middle), fontsize="x-small", **beside)
    ax.set_yticks([])
    ax.set_ylim(pitch * len(table), -0.1)
    ax.set_xlim(0, 100 + _MARGIN)
    ax.set_xticks(range(0, 101, 25))
    ax.set_xlabel("place in the bracket, from its harmless end (%)")
    legend_above(ax, ncols=3)
    violations = int(table["violations"].sum())
    parts = [f"tolerated: {target_words(table)}, all else as configured", f"{table['n'].iloc[0]} chips"]
    parts += ["hatched: at the harmful end, perhaps beyond"] if (table["status"] == BEYOND).any() else []
    parts += [f"chips not monotonic: {violations}"] if violations else []
    write_caption(ax, parts)
    return ax


def height_of(table: pd.DataFrame) -> float:
    """Height in inches of a figure that holds a budget."""
    return 1.5 + (0.6 if _joint(table) else 0.5) * len(table)


def _joint(table: pd.DataFrame) -> dict[str, float]:
    """Levels at which all parameters together reach the target; none where that is not known."""
    joint = table.attrs["joint"]
    return dict(joint["levels"]) if joint and joint["factor"] is not None else {}


def _place(row: Row, level: float) -> float:
    """Place of a level in the bracket of its row, in percent from the harmless end; NaN of none."""
    share = 100 * float(level - row["low"]) / float(row["high"] - row["low"])
    return 100 - share if row["larger"] == "helps" else share
