"""Recovered share of the lost score over one parameter or choice, with what it costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rramsweep.analysis.grouping import finished, need_facts, one_metric, resolve_by, span
from rramsweep.analysis.recovery import GROUP, recovered
from rramsweep.arguments import checked_arguments
from rramsweep.reporting.axis import has_places, label_of, legend_title, name_places, short_names, whole_ticks
from rramsweep.reporting.curves import draw_means, drawn, of_what, placed
from rramsweep.reporting.style import axes_or_new, legend_above, room, styled, write_caption
from rramsweep.reporting.time_axis import name_times, spread_times

_BANDS = (("interval", "share_low", "share_high", 0.4),)


@checked_arguments
@styled()
def plot_recovered(frame: pd.DataFrame, x: str = GROUP, group: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw the share of the lost score that calibrations recover over ``x``, from `recovered`.

    The ratio of means with its paired 95 % bootstrap interval: a band along a curve where ``x`` is a number, bars where
    it is a choice. All that was lost is the line at 100 %. The caption says what each method adds in digital parameters
    and multiply-accumulates. Points that lose no more than their interval have no share and are not drawn.

    Args:
        frame: a results frame of one metric with one point in each (x, group), `calibration=none` among them.
        x: a choice or parameter column.
        group: a choice or parameter column, or None for one curve.
        ax: where to draw, as in `plot_robustness`.

    Returns:
        The Axes. Its artists have a gid: ``mean:`` and ``interval:`` before the group's name, ``all``, ``caption``.

    Raises:
        ValueError: what `recovered` refuses, a frame of several metrics, or one in which no point has a share.
    """
    need_facts(frame)
    one_metric(frame)
    keys = resolve_by(frame, [name for name in (group, x) if name is not None])
    chips = finished(frame, keys, free=group is None)
    table = _table(frame, keys)
    known = table["recovered_share"].notna()
    if not known.any():
        reasons = ", ".join(dict.fromkeys(table["reason"]))
        raise ValueError(
            f"a plot needs a point that recovers a share of a loss, got none ({reasons}): sweep more chips"
        )
    order = None if group is None else list(dict.fromkeys(short_names(frame[group], group)))
    table, left_out = drawn(table[known], x, group)
    ax = axes_or_new(ax, height=2.8)
    spread_times(ax, x, table[x])
    table = placed(table, x, group, ax)
    draw_means(ax, table, "recovered_share", _BANDS, 100.0, order)
    style: dict[str, Any] = {"color": "#000000", "linestyle": (0, (6, 2)), "linewidth": 0.9, "zorder": 1}
    ax.axhline(100, gid="all", label="all that was lost", **style)
    if has_places(table, x, ax):
        name_places(ax, table, chips, x, room(ax))
    ax.set_xlabel(label_of(x))
    whole_ticks(ax, table[x])
    name_times(ax, x, table[x])
    ax.set_ylabel("recovered of the lost score (%)")
    if group is None:
        for line in ax.get_lines():
            line.set_label("recovered" if str(line.get_label()) == "mean" else str(line.get_label()))
    legend_above(ax, legend_title(group, room(ax)), apart=set(table["group"]) if group is not None else ())
    over = f"ratio of means with paired 95 % bootstrap interval over {span(table['n'])} chips {of_what(chips)}"
    hidden = int((~known).sum())
    parts = [over, *_costs(table)]
    parts += [f"{hidden} points without a share, whose loss is within its interval, are left out"] if hidden else []
    write_caption(ax, parts, left_out)
    return ax


def _table(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """`recovered` by all that tells points apart, with ``keys``, of which one may join several columns."""
    by = list(dict.fromkeys([*resolve_by(frame, None), GROUP]))
    table = recovered(frame, by)
    joined = [name for name in keys if name not in table]
    if not joined:
        return table
    texts = frame[[*by, *joined]].drop_duplicates(by)
    return table.merge(texts, on=by, how="left")


def _costs(table: pd.DataFrame) -> list[str]:
    """Extra parameters and multiply-accumulates of each method, from the fewest to the most of its points."""
    words = []
    for method, rows in table.groupby(GROUP, sort=False):
        parts = [
            f"{_between(rows[name])} {word}"
            for name, word in (("extra_parameters", "parameters"), ("extra_macs", "MACs"))
            if rows[name].notna().any()
        ]
        words += [f"{method} adds {' and '.join(parts)}"] if parts else []
    return words


def _between(values: pd.Series[Any]) -> str:
    ends = np.unique(values.dropna().to_numpy(dtype=np.int64))[[0, -1]]
    return "–".join(f"{end:,}" for end in dict.fromkeys(ends.tolist()))
