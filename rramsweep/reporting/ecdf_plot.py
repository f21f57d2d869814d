"""Distribution of the chips: the share of them at or below each score, every chip a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from rramsweep.analysis.grouping import finished, need_facts, one_metric, span
from rramsweep.analysis.summary import allowed_drop, summarize
from rramsweep.arguments import checked_arguments
from rramsweep.intervals import ecdf_band
from rramsweep.reporting.curves import flat, of_what
from rramsweep.reporting.levels import banded, draw_steps, levels_of, name_levels
from rramsweep.reporting.robustness_plot import coincide, limit_of
from rramsweep.reporting.style import REFERENCE_LINES, axes_or_new, styled, write_caption


@checked_arguments
@styled()
def plot_ecdf(
    frame: pd.DataFrame, group: str | None = None, ax: Axes | None = None, yield_drop: float | None = None
) -> Axes:
    """Draw the empirical distribution of the score over chips, one stair for each value of ``group`` (of many: some).

    ``F(s)`` is the share of chips with a score at or below s, drawn from a group's first chip to its last: every chip
    is a step of 1/n. Chips of a group that all agree have no distribution: a diamond stands at their score. The band
    holds the whole distribution that the chips come from with 95 % (`intervals.ecdf_band`), so it is wider than an
    interval for one s; of more than three groups the caption has its half width instead. Vertical: the digital network,
    the ideal chip and the score from which a chip is good, where all groups share them.

    Args:
        frame: a results frame of one metric with one point in each value of ``group``.
        group: a choice or parameter column; numbers get ordered shades, names colours. None: all chips are one point's.
        ax: where to draw, as in `plot_robustness`.
        yield_drop: see `summarize`.

    Returns:
        The Axes. Its artists have a gid: ``ecdf:``, ``band:``, ``alike:`` before the group's name, ``digital``,
        ``ideal chip``, ``yield limit``, ``caption``.

    Raises:
        ValueError: what `plot_robustness` refuses.
    """
    need_facts(frame)
    metric = one_metric(frame)
    keys = [] if group is None else [group]
    chips = finished(frame, keys, free=group is None)
    yield_drop = allowed_drop(frame, yield_drop)
    table = summarize(frame, keys, yield_drop)
    ax = axes_or_new(ax, height=2.8)
    table = table[table["n"] > 0]
    table = table.assign(limit=limit_of(table, chips, metric, yield_drop))
    levels, left_out = levels_of(table, group)
    alike, half = 0, 0.0
    for level in levels:
        scores = metric.factor * np.sort(
            chips.loc[chips["summary_row"] == level.row, "score"].to_numpy(dtype=np.float64)
        )
        if len(scores) > 1 and scores[0] == scores[-1]:
            label = level.name if level.named else "_nolegend_"
            style: dict[str, Any] = {"color": level.colour, "marker": "D", "markersize": 4, "linestyle": "none"}
            ax.plot(scores[:1], [50.0], label=label, gid=f"alike:{level.name}", zorder=4, **style)
            alike += 1
            continue
        share = np.arange(1, len(scores) + 1) / len(scores)
        low, high = ecdf_band(np.append(0.0, share), len(scores))
        half = max(half, float((high - low).max()) / 2)
        s, stair = np.append(scores[0], scores), np.append(0.0, share)
        draw_steps(ax, level, s, 100 * stair, 100 * low, 100 * high, "ecdf", band=banded(levels))
    same = coincide(table)
    for column, words, grey, dashes in REFERENCE_LINES:
        if table[column].notna().all() and flat(table[column]) and not (same and column == "ideal_score"):
            words = "digital, ideal chip" if same and column == "digital_score" else words
            value = table[column].iloc[0]
            style = {"color": grey, "linestyle": dashes, "linewidth": 0.9, "zorder": 1, "gid": words.split(",")[0]}
            ax.axvline(metric.factor * value, label=f"{words} {metric.text(value, digits=1)}", **style)
    if alike:
        style = {"color": "#777777", "marker": "D", "markersize": 4, "linestyle": "none"}
        ax.add_line(Line2D([], [], label="all chips alike", **style))
    ax.set_ylim(-2, 102)
    ax.set_xlabel(metric.label)
    ax.set_ylabel("chips at or below (%)")
    name_levels(ax, group)
    what = "95 %, for the whole distribution (Dvoretzky, Kiefer, Wolfowitz)"
    band = f"band: {what}" if banded(levels) else f"not drawn: the band, at most ±{100 * half:.0f} points, {what}"
    diamonds = ["diamond: all chips have this score"] if alike else []
    write_caption(ax, [f"{span(table['n'])} chips {of_what(chips)}, each a step", band, *diamonds], left_out)
    return ax
