"""Accuracy over time: the score from the moment of programming on, on a logarithmic axis."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from rramsweep.analysis.grouping import need_facts, resolve_by
from rramsweep.analysis.schema import TIME
from rramsweep.arguments import checked_arguments
from rramsweep.reporting.robustness_plot import plot_robustness
from rramsweep.reporting.style import axes_or_new, styled
from rramsweep.reporting.time_axis import times_above_0


@checked_arguments
@styled()
def plot_over_time(
    frame: pd.DataFrame, group: str | None = None, ax: Axes | None = None, yield_drop: float | None = None
) -> Axes:
    """Draw the score over ``t_s``, the time between programming and reading, on a logarithmic axis.

    Curves, bands, dots and baselines as in `plot_robustness`. Time 0, the chips as programmed, has no place on a
    logarithm and stands apart at the left. The marks are a clock's (1 s, 1 h, 1 d) where two of them lie within the
    times, else powers of ten in seconds.

    Args:
        frame: a results frame of one metric with one point in each (t_s, group).
        group: a choice or parameter column, or None for one curve.
        ax: where to draw, as in `plot_robustness`.
        yield_drop: see `summarize`.

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
    return plot_robustness(frame, TIME, group, ax, yield_drop)
