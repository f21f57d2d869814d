"""Accuracy over time: the score from the moment of programming on, on a logarithmic axis."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rramsweep.axis import label_of
from rramsweep.cells import need_facts, resolve_by
from rramsweep.clock import UNITS_S
from rramsweep.plots import plot_robustness
from rramsweep.schema import TIME
from rramsweep.style import axes_or_new, styled

# Marks of a clock that people know, in seconds.
CLOCK = {size: f"1 {unit.replace('us', 'µs')}" for unit, size in UNITS_S.items()}
CLOCK |= {30 * UNITS_S["d"]: "30 d", 10 * UNITS_S["y"]: "10 y", 100 * UNITS_S["y"]: "100 y"}


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
    times = np.unique(frame[TIME].dropna().astype("float64"))
    later = times[(times > 0) & np.isfinite(times)]
    if len(later) < 2:
        told = ", ".join(f"{t:g}" for t in later) or "none"
        raise ValueError(f"an axis of time needs two values of t_s above 0, got {told}: sweep t_s=1,1h,1d, say")
    ax = axes_or_new(ax, height=3.2)
    ax.set_xscale("log")
    plot_robustness(frame, TIME, group, ax, yield_drop)
    marks = {t: name for t, name in CLOCK.items() if later[0] * 0.999 <= t <= later[-1] * 1.001}
    if len(marks) > 1:
        # The place of time 0 is the one tick that names no time above it.
        zero = {at: "0" for at, label in zip(ax.get_xticks(), ax.get_xticklabels(), strict=True) if _is_zero(label)}
        ax.set_xticks([*zero, *marks], [*zero.values(), *marks.values()], rotation=0, ha="center")
        ax.minorticks_off()
    ax.set_xlabel("time since programming, t_s" if len(marks) > 1 else label_of(TIME))
    return ax


def _is_zero(label: object) -> bool:
    return getattr(label, "get_text", str)() == "0"
