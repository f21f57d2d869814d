"""Accuracy over time: the score from the moment of programming on, on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from rramsweep.analysis.grouping import need_facts, resolve_by
from rramsweep.analysis.schema import TIME
from rramsweep.analysis.summary import allowed_drop
from rramsweep.arguments import checked_arguments
from rramsweep.reporting.axis import short_names
from rramsweep.reporting.robustness_plot import plot_robustness
from rramsweep.reporting.style import axes_or_new, legend_above, styled
from rramsweep.reporting.time_axis import times_above_0

# Share of good chips below which chips are to be refreshed: that of the findings.
REFRESH_YIELD = 0.9


@checked_arguments
@styled()
def plot_over_time(
    frame: pd.DataFrame,
    group: str | None = None,
    ax: Axes | None = None,
    yield_drop: float | None = None,
    *,
    marker: str | None = None,
    order: Sequence[str] | None = None,
) -> Axes:
    """Draw the score over ``t_s``, the time between programming and reading, on a logarithmic axis.

    Curves, bands, dots and baselines as in `plot_robustness`. Time 0, the chips as programmed, has no place on a
    logarithm and stands apart at the left. The marks are a clock's (1 s, 1 h, 1 d) where two of them lie within the
    times, else powers of ten in seconds. Times beyond those that an effect was measured at are shaded. Where fewer than
    90 % of the chips of a curve are still good, a triangle at the foot marks the first such time: the latest at which
    they are to be refreshed (`time_to_failure`).

    Args:
        frame: a results frame of one metric with one point in each (t_s, group).
        group: a choice or parameter column, or None for one curve.
        ax: where to draw, as in `plot_robustness`.
        yield_drop: see `summarize`.
        marker: another column beside ``group``, as in `plot_robustness`.
        order: names of the groups in the order of their colours, as in `plot_robustness`.

    Returns:
        The Axes, with the artists of `plot_robustness` and ``refresh:`` before a group's name.

    Raises:
        ValueError: what `plot_robustness` refuses, or fewer than two times above 0.
    """
    need_facts(frame)
    resolve_by(frame, [TIME])
    later = times_above_0(frame[TIME])
    if len(later) < 2:
        found = ", ".join(f"{t:g}" for t in later) or "none"
        raise ValueError(f"an axis of time needs two values of t_s above 0, got {found}: sweep t_s=1,1h,1d, say")
    ax = axes_or_new(ax, height=3.2)
    ax.set_xscale("log")
    plot_robustness(frame, TIME, group, ax, yield_drop, marker=marker, order=order)
    _mark_refresh(ax, frame, [name for name in (group, marker) if name is not None], yield_drop)
    return ax


def _mark_refresh(ax: Axes, frame: pd.DataFrame, by: list[str], yield_drop: float | None) -> None:
    """Mark the first time at which a curve's yield is below `REFRESH_YIELD`, at the foot, in the curve's look."""
    from rramsweep.analysis.lifetime import time_to_failure  # brings scipy.stats, which no other plot waits for

    drop = allowed_drop(frame, yield_drop)
    if drop is None:
        return
    lives = time_to_failure(frame, by, REFRESH_YIELD, drop)
    lives = lives[lives["life_s"] > 0]
    names = [short_names(lives[name], name) for name in by]
    curves = {str(line.get_gid()).partition(":")[2]: line for line in ax.get_lines()}
    label = f"refresh: yield below {100 * REFRESH_YIELD:g} %"
    for row, life_s in enumerate(lives["life_s"]):
        name = ", ".join(each[row] for each in names) or "mean"
        if name not in curves:  # left out of the plot
            continue
        style: dict[str, Any] = {
            "color": curves[name].get_color(),
            "marker": "v",
            "s": 22,
            "clip_on": False,
            "zorder": 6,
        }
        style |= {"transform": ax.get_xaxis_transform(), "label": label, "gid": f"refresh:{name}"}
        ax.scatter([life_s], [0.0], **style)
        label = "_nolegend_"
    if label == "_nolegend_":
        legend = ax.get_legend()
        title = legend.get_title().get_text() if legend is not None else ""
        if legend is None or not by[1:]:
            legend_above(ax, title or None)
