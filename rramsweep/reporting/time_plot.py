"""Accuracy over time: the score from the moment of programming on, on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from rramsweep.analysis.grouping import need_facts, resolve_by
from rramsweep.analysis.schema import TIME
from rramsweep.analysis.summary import allowed_drop
from rramsweep.arguments import checked_arguments
from rramsweep.reporting.axis import short_names
from rramsweep.reporting.refresh import REFRESH_YIELD, lives_of
from rramsweep.reporting.robustness_plot import draw_robustness
from rramsweep.reporting.style import axes_or_new, styled
from rramsweep.reporting.time_axis import times_above_0
from rramsweep.units import in_words


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
    by = [name for name in (group, marker) if name is not None]
    mark = partial(_mark_refresh, frame=frame, by=by, drop=allowed_drop(frame, yield_drop))
    return draw_robustness(frame, TIME, group, ax, yield_drop, marker=marker, order=order, mark=mark)


def _mark_refresh(ax: Axes, frame: pd.DataFrame, by: list[str], drop: float | None) -> list[str]:
    """Mark the first time at which a curve's yield is below the target, at the foot, in the curve's look."""
    if drop is None:
        return []
    lives = lives_of(frame, by, drop)
    names = [short_names(lives[name], name) for name in by]
    curves = {str(line.get_gid()).partition(":")[2]: line for line in ax.get_lines()}
    marked: dict[str, str] = {}
    for row, life_s in enumerate(lives["life_s"]):
        name = ", ".join(each[row] for each in names) or "mean"
        if name not in curves or not life_s > 0:  # left out of the plot, or bad from the first or never
            continue
        style: dict[str, Any] = {"color": curves[name].get_color(), "marker": "v", "s": 22, "clip_on": False}
        style |= {"transform": ax.get_xaxis_transform(), "zorder": 6, "gid": f"refresh:{name}"}
        style |= {"label": "_nolegend_" if marked else f"refresh: yield below {100 * REFRESH_YIELD:g} %"}
        ax.scatter([life_s], [0.0], **style)
        marked[name] = in_words(life_s)
    times = ", ".join(f"{life} ({name})" if by else life for name, life in marked.items())
    return [f"triangle: first time at which the yield is below {100 * REFRESH_YIELD:g} %, {times}"] if marked else []
