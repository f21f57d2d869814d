"""Lifetimes of chips: times to failure with censoring, over chips *of this network on these images*."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from rramsweep.analysis.grouping import group_numbers, grouped, need_facts, resolve_by, scales
from rramsweep.analysis.schema import TIME
from rramsweep.analysis.summary import allowed_drop, good_chips
from rramsweep.arguments import checked_arguments
from rramsweep.intervals import CONFIDENCE, Floats, all_or_none
from rramsweep.scale import HIGHER


@checked_arguments
def time_to_failure(
    frame: pd.DataFrame,
    by: Sequence[str] | None = None,
    yield_target: float = 0.5,
    yield_drop: float | None = None,
) -> pd.DataFrame:
    """Estimate the time at which the share of good chips falls below a target, for each combination of ``by``.

    A chip, which is its seed, is one trajectory through the swept times. It fails at the first time at which it is not
    good, and later recovery does not undo that; a chip that never fails is right-censored at the last time at which
    it was read, and so is one whose next trial failed or is missing. The share of chips that have
    not failed by t is the Kaplan-Meier estimate

        ``S(t) = prod over times t_i <= t of (1 - failures at t_i / chips still watched at t_i)``

    (Kaplan and Meier, J. Am. Stat. Assoc. 53, 457, 1958), its 95 % interval that of Greenwood's variance on the
    scale of log(-log S), by `scipy.stats.ecdf`. Failure is seen at swept times only: it happened between the time
    before and the one that is given, so the result is late by up to one step of the grid.

    Args:
        frame: a results frame of a sweep over ``t_s``.
        by: columns that distinguish the curves, see `summarize`, without ``t_s``. Default: what was swept beside it.
        yield_target: share of chips, above 0 and at most 1. 0.5 gives the median life, 1 the first failure.
        yield_drop: how much worse than digital a good chip may be, see `summarize`.

    Returns:
        One row a curve in order of appearance: ``by``, then

        - ``n``: chips that were read at the first time; ``n_censored``: those of them that were never seen to fail
        - ``last_s``: the last time swept
        - ``life_s``: the first time at which ``S < yield_target``; null where S never falls so low
        - ``life_low_s``, ``life_high_s``: where the lower and the upper bound of S fall below it (Brookmeyer and
          Crowley, Biometrics 38, 29, 1982); null where one does not. ``life_low_s`` is null as well where the lower
          bound is already below it at the first swept time, unless that is 0, because the crossing may be earlier.
          Greenwood's variance carries no information at S = 1 and S = 0, so there the bounds are the exact ones of a
          share (`intervals.all_or_none`) over the ``m`` chips that were read at every time so far, ``0.025 ** (1 / m)``
          below 1 and ``1 - 0.025 ** (1 / m)`` above 0. Failed chips are read as well, so the ``m`` are not selected:
          each is good independently with probability S

        ``attrs`` hold ``by``, ``yield_target`` and ``yield_drop``.

    The result says nothing about times after ``last_s`` or about refreshed chips: each chip was written once.

    Raises:
        ValueError: no sweep over ``t_s``, a ``yield_target`` that is not a share, a metric without ``yield_drop``, or
            what `summarize` refuses.
    """
    need_facts(frame)
    if not 0 < yield_target <= 1:
        raise ValueError(f"yield_target must lie above 0 and at most at 1 (a share of chips), got {yield_target}: 0.9")
    if TIME not in frame.columns or frame[TIME].nunique() < 2:
        raise ValueError("a time to failure needs rows at two or more times, got fewer: sweep t_s=1s,1h,1d")
    yield_drop = allowed_drop(frame, yield_drop)
    if yield_drop is None:
        raise ValueError(
            f"{', '.join(scale.label for scale in scales(frame))} has no yield of its own, got yield_drop=None: say in "
            "its unit how much worse a good chip may be"
        )
    keys = [name for name in resolve_by(frame, by) if name != TIME]
    chips = grouped(frame, [*keys, TIME])[0]  # refuses what would pool two points
    ok = (chips["status"] == "ok").to_numpy(dtype=bool)
    done = chips.loc[ok]
    state = np.full(len(chips), np.nan)
    state[ok] = good_chips(done, np.full(len(done), yield_drop), done[HIGHER].to_numpy(dtype=bool))
    rows = pd.DataFrame({"seed": chips["seed"], TIME: chips[TIME].astype(float), "good": state})
    curve = group_numbers(chips, keys)
    heads = chips.iloc[np.unique(curve, return_index=True)[1]][keys].reset_index(drop=True)
    lives = [_life(rows.loc[curve == k], yield_target) for k in range(len(heads))]
    out = pd.concat([heads, pd.DataFrame(lives)], axis=1)
    out.attrs = {"by": keys, "yield_target": yield_target, "yield_drop": yield_drop}
    return out


def _life(rows: pd.DataFrame, yield_target: float) -> dict[str, Any]:
    table = rows.pivot(index="seed", columns=TIME, values="good")
    times_s = table.columns.to_numpy(dtype=np.float64)
    good = table.to_numpy(dtype=np.float64)
    good = good[~np.isnan(good[:, 0])]
    life: dict[str, Any] = {"n": len(good), "n_censored": 0, "last_s": times_s[-1]}
    if not len(good):
        return life | dict.fromkeys(("life_s", "life_low_s", "life_high_s"), np.nan)
    # A chip stays good up to the first time at which it is bad or was not read.
    last = np.cumprod(good == 1, axis=1).sum(axis=1)
    failed = (last < len(times_s)) & (good[np.arange(len(good)), np.minimum(last, len(times_s) - 1)] == 0)
    seen_s = times_s[np.where(failed, last, last - 1)]
    survival = stats.ecdf(stats.CensoredData.right_censored(seen_s, ~failed)).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # log(-log S) of 1 and of 0, which is settled below
        bounds = survival.confidence_interval(CONFIDENCE, method="log-log")
    # The step at or before each swept time; before the first step no chip has failed.
    step = np.searchsorted(survival.quantiles, times_s, side="right")
    curves = (survival.probabilities, bounds.low.probabilities, bounds.high.probabilities)
    share, low, high = (np.append(1.0, curve)[step] for curve in curves)
    none_high, all_low = all_or_none(np.cumprod(~np.isnan(good), axis=1).sum(axis=0))
    low = np.where(share == 1, all_low, np.where(share == 0, 0.0, low))
    high = np.where(share == 1, 1.0, np.where(share == 0, none_high, high))
    high = np.minimum.accumulate(high)
    below = {"life_s": share, "life_low_s": low, "life_high_s": high}
    life["n_censored"] = int((~failed).sum())
    life |= {name: _first_below(curve, times_s, yield_target) for name, curve in below.items()}
    if 0 < life["life_low_s"] <= times_s[0]:
        life["life_low_s"] = np.nan
    return life


def _first_below(curve: Floats, times_s: Floats, target: float) -> float:
    # A share such as 27/30, computed as a product of fractions, may miss 0.9 by rounding.
    under = np.flatnonzero(curve < target - 1e-9)
    return float(times_s[under[0]]) if len(under) else np.nan
