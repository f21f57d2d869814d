"""Paired differences: how much better or worse than a baseline, chip by chip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rramsweep.analysis.comparison import check_baseline, compare, equal_to
from rramsweep.analysis.grouping import finished, need_facts, one_metric, resolve_by, span
from rramsweep.analysis.summary import interval_words
from rramsweep.arguments import checked_arguments
from rramsweep.reporting.axis import has_places, label_of, name_places, short_names, text_of, whole_ticks
from rramsweep.reporting.curves import draw_means, drawn, name_curves, name_groups, of_what, placed, styles_of
from rramsweep.reporting.style import axes_or_new, room, styled, write_caption
from rramsweep.reporting.time_axis import name_times, spread_times


@checked_arguments
@styled()
def plot_differences(
    frame: pd.DataFrame,
    baseline: Mapping[str, Any],
    x: str,
    group: str | None = None,
    ax: Axes | None = None,
    *,
    marker: str | None = None,
    order: Sequence[str] | None = None,
) -> Axes:
    """Draw the difference of each point to its baseline over ``x``, from `compare`: chips paired by seed.

    The mean over the common chips with its paired 95 % interval; a band along a curve where ``x`` is a number, bars
    where it is a choice. The baseline is the line at 0; its own points are not drawn.

    Args:
        frame: a results frame of one metric with one point in each (x, group).
        baseline: values of ``x``, of ``group``, or of both; see `compare`.
        x: a choice or parameter column.
        group: a choice or parameter column, or None for one curve.
        ax: where to draw, as in `plot_robustness`.
        marker: another column beside ``group``, as in `plot_robustness`.
        order: names of the groups in the order of their colours, as in `plot_robustness`.

    Returns:
        The Axes. Its artists have a gid: ``mean:`` and ``interval:`` before the group's name, ``baseline``,
        ``caption``.

    Raises:
        ValueError: what `compare` refuses, a baseline in other columns than ``x`` and ``group``, a frame of several
            metrics, or one in which nothing but the baseline is left.
    """
    need_facts(frame)
    metric = one_metric(frame)
    keys = resolve_by(frame, [name for name in (group, marker, x) if name is not None])
    check_baseline(frame, baseline)
    other = [name for name in baseline if name not in keys]
    if other:
        raise ValueError(
            f"baseline must be of {' and '.join(reversed(keys))}, the columns drawn, got {', '.join(other)}: make it x "
            "or group, or filter the frame"
        )
    chips = finished(frame, keys, free=group is None)
    table, left_out = drawn(compare(frame, baseline, keys), x, group, marker)
    is_base = np.logical_and.reduce([equal_to(table[name], value) for name, value in baseline.items()])
    # The colours of the plot in which the baseline has its own.
    if group is not None and order is None:
        order = list(dict.fromkeys(short_names(table[group], group)))
    table = table[~is_base]
    if table.empty:
        raise ValueError("a plot of differences needs a point beside the baseline, got none: sweep another value")
    ax = axes_or_new(ax, height=2.8)
    spread_times(ax, x, table[x])
    table = placed(table, x, group, ax, marker)
    styles = styles_of(table, group, marker, order)
    bands = (("interval", "difference_low", "difference_high", 0.4),)
    draw_means(ax, table, "difference_mean", bands, metric.factor, styles=styles)
    values = ", ".join(f"{name} = {text_of(value, name)}" for name, value in baseline.items())
    against = ", ".join(short_names([value], name)[0] for name, value in baseline.items())
    style: dict[str, Any] = {"color": "#000000", "linestyle": (0, (6, 2)), "linewidth": 0.9, "zorder": 1}
    ax.axhline(0, gid="baseline", label=f"baseline: {against}", **style)
    if has_places(table, x, ax):
        name_places(ax, table, chips, x, room(ax))
    ax.set_xlabel(label_of(x))
    whole_ticks(ax, table[x])
    name_times(ax, x, table[x])
    unit = f"\n({metric.distance})" if metric.distance else ""
    ax.set_ylabel(f"change in {metric.name}{unit}")
    if group is None:
        for line in ax.get_lines():
            line.set_label("difference" if str(line.get_label()) == "mean" else str(line.get_label()))
    if marker is None:
        name_curves(ax, table, "difference_mean", metric.factor, styles)
    name_groups(ax, table, styles, group, marker)
    over = f"mean with paired {interval_words(table)} over {span(table['n'])} chips {of_what(chips)}"
    if table["n"].max() == 1:
        over = f"one chip {of_what(chips)}, so no interval"
    worse = f"{'below' if metric.higher_is_better else 'above'} 0 is worse"
    write_caption(ax, [over, f"baseline: {values}", worse], left_out)
    return ax
