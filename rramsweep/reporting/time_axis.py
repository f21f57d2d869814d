"""The x axis of a plot over time: logarithmic where times span decades, time 0 apart, its marks those of a clock."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rramsweep.analysis.schema import TIME
from rramsweep.intervals import Floats
from rramsweep.reporting.axis import DECADES_APART
from rramsweep.units import UNITS_S

# Marks of a clock that people know, in seconds.
CLOCK = {size: f"1 {unit.replace('us', 'µs')}" for unit, size in UNITS_S.items()}
CLOCK |= {30 * UNITS_S["d"]: "30 d", 10 * UNITS_S["y"]: "10 y", 100 * UNITS_S["y"]: "100 y"}


def times_above_0(values: pd.Series[Any]) -> Floats:
    """The finite times above 0 of a column, ascending, each once."""
    times: Floats = np.unique(values.dropna().to_numpy(dtype=np.float64))
    return times[(times > 0) & np.isfinite(times)]


def spread_times(ax: Axes, x: str, values: pd.Series[Any]) -> None:
    """Before anything is placed: make an axis of ``t_s`` logarithmic where its times above 0 need it, 0 or not."""
    if x != TIME or ax.get_xscale() != "linear":
        return
    later = times_above_0(values)
    if len(later) > 1 and later[-1] >= DECADES_APART * later[0]:
        ax.set_xscale("log")


def name_times(ax: Axes, x: str, values: pd.Series[Any]) -> None:
    """After all is drawn: the marks of a clock on a logarithmic axis of ``t_s``, where two lie within its times."""
    if x != TIME or ax.get_xscale() != "log":
        return
    later = times_above_0(values)
    marks = {t: name for t, name in CLOCK.items() if later[0] * 0.999 <= t <= later[-1] * 1.001} if len(later) else {}
    if len(marks) < 2:
        return
    # The place of time 0 is the one tick that names no time above it.
    zero = {at: "0" for at, label in zip(ax.get_xticks(), ax.get_xticklabels(), strict=True) if _is_zero(label)}
    ax.set_xticks([*zero, *marks], [*zero.values(), *marks.values()], rotation=0, ha="center")
    ax.minorticks_off()
    ax.set_xlabel("time since programming, t_s")


def _is_zero(label: object) -> bool:
    return getattr(label, "get_text", str)() == "0"
