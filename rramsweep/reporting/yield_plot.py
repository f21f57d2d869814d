"""Yield over threshold: the share of good chips, however much worse than digital a good chip may be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rramsweep.analysis.grouping import finished, need_facts, one_metric, span
from rramsweep.analysis.summary import allowed_drop, losses, summarize
from rramsweep.arguments import checked_arguments
from rramsweep.intervals import wilson
from rramsweep.reporting.curves import of_what
from rramsweep.reporting.levels import banded, draw_steps, levels_of, name_levels
from rramsweep.reporting.style import axes_or_new, styled, write_caption
from rramsweep.scale import FRACTION


@checked_arguments
@styled()
def plot_yield(
    frame: pd.DataFrame,
    group: str | None = None,
    ax: Axes | None = None,
    yield_drop: float | None = None,
    *,
    up_to: float | None = None,
) -> Axes:
    """Draw the yield over ``yield_drop``, one stair for each value of ``group`` (of many: some).

    ``Y(d)`` is the share of chips that are at most d worse than the digital network, as in `summarize`; the band is
    its two-sided 95 % Wilson interval at each d by itself, of more than three groups in the caption alone. The
    threshold of the sweep is a dotted line.

    Args:
        frame: a results frame of one metric with one point in each value of ``group``.
        group: a choice or parameter column; numbers get ordered shades, names colours. None: all chips are one point's.
        ax: where to draw, as in `plot_robustness`.
        yield_drop: the threshold to mark; see `summarize`.
        up_to: the largest d to show, in the metric's unit. Default: where 90 % of the chips of every group are good,
            beyond which curves hardly rise, and twice the threshold at least.

    Returns:
        The Axes. Its artists have a gid: ``yield:`` and ``band:`` before the group's name, ``yield_drop``, ``caption``.

    Raises:
        ValueError: what `plot_robustness` refuses, or an ``up_to`` that is not above 0.
    """
    need_facts(frame)
    metric = one_metric(frame)
    if up_to is not None and not 0 < up_to < np.inf:
        raise ValueError(
            f"up_to must lie above 0 and be finite, the largest loss to show, got {up_to}: 0.1 shows ten points"
        )
    keys = [] if group is None else [group]
    chips = finished(frame, keys, free=group is None)
    yield_drop = allowed_drop(frame, yield_drop)
    table = summarize(frame, keys, yield_drop)
    ax = axes_or_new(ax, height=2.8)
    table = table[table["n"] > 0]
    loss = pd.Series(losses(chips, metric.higher_is_better), chips.index)
    end = max(0.0, loss.max(), 2 * (yield_drop or 0.0))  # so that the threshold is never on the edge
    levels, left_out = levels_of(table, group)
    rise, half = 0.0, 0.0
    for level in levels:
        ordered = np.sort(loss[chips["summary_row"] == level.row].to_numpy())
        drop = np.unique(np.concatenate([[0.0], ordered[ordered > 0], [end]]))
        good = np.searchsorted(ordered, drop, side="right")
        low, high = np.array([wilson(int(k), len(ordered)) for k in good]).T
        draw_steps(
            ax,
            level,
            metric.factor * drop,
            100 * good / len(ordered),
            100 * low,
            100 * high,
            "yield",
            band=banded(levels),
        )
        rise = max(rise, float(ordered[-(-9 * len(ordered) // 10) - 1]))
        half = max(half, float((high - low).max()) / 2)
    if yield_drop is not None:
        style: dict[str, Any] = {"color": "#777777", "linestyle": (0, (1, 2)), "linewidth": 0.9, "gid": "yield_drop"}
        unit = "points" if metric.unit == FRACTION else metric.distance
        ax.axvline(
            metric.factor * yield_drop, label=f"yield_drop: {metric.factor * yield_drop:g} {unit}".rstrip(), **style
        )
    right = up_to or min(end, max(rise, 2 * (yield_drop or 0.0)) or end)
    if right > 0:  # else no chip loses anything
        ax.set_xlim(-0.02 * metric.factor * right, metric.factor * right)
    ax.set_ylim(-2, 102)
    ax.set_xlabel(f"{metric.name}\nworse than digital by at most{_in(metric.distance)}")
    ax.set_ylabel("yield (% of chips)")
    name_levels(ax, group)
    what = "95 % Wilson interval at each threshold"
    band = f"band: {what}" if banded(levels) else f"not drawn: the {what}, at most ±{100 * half:.0f} points"
    write_caption(ax, [f"{span(table['n'])} chips {of_what(chips)}", band], left_out)
    return ax


def _in(unit: str) -> str:
    return f" ({unit})" if unit else ""
