"""Times by which chips are to be refreshed, in a sentence for terminal and page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from rramsweep.analysis.grouping import resolve_by, scales
from rramsweep.analysis.schema import ENDED, TIME
from rramsweep.analysis.summary import allowed_drop, at_chance
from rramsweep.intervals import CONFIDENCE, all_or_none
from rramsweep.reporting.axis import joined_names, text_of
from rramsweep.scale import FRACTION

# Share of good chips below which chips are to be refreshed: that of the findings.
REFRESH_YIELD = 0.9
# More curves than these in one sentence are not read: then the shortest and the longest life stand for all.
_READABLE = 8


def lives_of(frame: pd.DataFrame, by: Sequence[str], drop: float) -> pd.DataFrame:
    """`time_to_failure` of each curve for a yield of `REFRESH_YIELD`."""
    from rramsweep.analysis.lifetime import time_to_failure  # brings scipy.stats, for which no other report waits

    return time_to_failure(frame, by, REFRESH_YIELD, drop)


def refresh_words(frame: pd.DataFrame, summary: pd.DataFrame) -> list[str]:
    """A sentence on the time to failure of each curve over ``t_s``, with its interval and the yield it is for.

    None without two times, with several metrics or one without a yield, or where a network is at chance level.

    Args:
        frame: results.
        summary: of `summarize`.
    """
    metrics, drop = scales(frame), allowed_drop(frame, None)
    swept = TIME in frame and frame.loc[frame["status"] == "ok", TIME].nunique() > 1
    if not swept or len(metrics) != 1 or drop is None or at_chance(summary).any():
        return []
    by = [name for name in resolve_by(frame, None) if name not in (TIME, ENDED)]
    lives = lives_of(frame, by, drop)
    lives = lives[lives["n"] > 0]
    varied = [name for name in by if lives[name].nunique(dropna=False) > 1]
    names = joined_names(lives[varied]) if varied else [""] * len(lives)
    first = frame[TIME].min()
    shown = list(range(len(lives)))
    if len(shown) > _READABLE:
        ranked = lives["life_s"].fillna(float("inf")).to_numpy().argsort(kind="stable")
        shown = [int(ranked[0]), int(ranked[-1])]
    curves = "; ".join(f"{names[i]}{': ' if names[i] else ''}{_life(lives.iloc[i], first)}" for i in shown)
    of = f"shortest and longest of {len(lives)}: " if len(shown) < len(lives) else ""
    loss = f"{100 * drop:g} points" if metrics[0].unit == FRACTION else f"{drop:g} {metrics[0].distance}".rstrip()
    side = "below" if metrics[0].higher_is_better else "above"
    return [
        f"Time to failure, the first swept t_s at which fewer than {100 * REFRESH_YIELD:g} % of chips are still good "
        f"({metrics[0].name} at most {loss} {side} digital), with its {100 * CONFIDENCE:g} % interval: {of}{curves}. "
        "Refresh earlier: chips fail between the swept time before and this one."
    ]


def _life(row: pd.Series[Any], first_s: float) -> str:
    """Life of a curve and its interval in words; a bound that is null lies before the first time or after the last."""
    life, low, high = (row[name] for name in ("life_s", "life_low_s", "life_high_s"))
    after = f"after {text_of(row['last_s'], TIME)}"
    # Time 0 is never null; from a later first time on all chips must be good, and enough of them to show the yield.
    shown = row["n_censored"] == row["n"] and all_or_none(np.array([row["n"]]))[1][0] >= REFRESH_YIELD
    before = after if first_s == 0 or shown else f"before {text_of(first_s, TIME)}"
    ends = [null if pd.isna(end) else text_of(end, TIME) for end, null in ((low, before), (high, after))]
    interval = ends[0] if ends[0] == ends[1] else " to ".join(ends)
    return f"{after if pd.isna(life) else text_of(life, TIME)} ({interval})"
