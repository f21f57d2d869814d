"""Share of the lost accuracy that a calibration recovers, over chips *of this network on these images*."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rramsweep.analysis.comparison import check_baseline, equal_to
from rramsweep.analysis.grouping import group_numbers, grouped, need_facts, resolve_by
from rramsweep.analysis.schema import CALIBRATION, METRIC
from rramsweep.analysis.summary import losses, moments
from rramsweep.arguments import checked_arguments
from rramsweep.intervals import CONFIDENCE, Codes, Floats
from rramsweep.scale import FRACTION, HIGHER, UNIT

GROUP, NONE = "calibration", "none"
# Bootstrap resamples of the chips, and the seed of their draw.
RESAMPLES, SEED = 4_000, 0

# Why a row has no share.
UNPAIRED, ALONE, SMALL = "no chip of the baseline", "one chip has no interval", "loss within its interval"


@checked_arguments
def recovered(
    frame: pd.DataFrame, by: Sequence[str] | None = None, baseline: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """Measure the share of the lost score that each calibration recovers, chip by chip on common seeds.

    Args:
        frame: a results frame. Rows with status ``ok`` count.
        by: columns that distinguish the groups, see `summarize`; those of ``baseline`` are added.
        baseline: values of columns that identify the group without recovery, by default ``{"calibration": "none"}``.
            Columns of ``by`` that it does not name are matched, except for parameters of those that it names
            (``calibration.rank``). With ``{"calibration": "none", "mapping.copies": 1}``, copies count as recovery too.

    Returns:
        One row for each group other than a baseline, in order of appearance. The columns are ``by``, then, in the
        metric's unit and all over the ``n`` common chips, with ``l`` the loss of a baseline's chip against digital and
        ``r`` the gain of the same seed over it

        - ``n``: seeds that are ``ok`` both here and at the baseline
        - ``lost_mean``, ``lost_low``, ``lost_high``: mean of l with its 95 % t interval
        - ``recovered_mean``, ``recovered_low``, ``recovered_high``: mean of r with its paired 95 % t interval
        - ``recovered_share``, ``share_low``, ``share_high``: the ratio of means ``mean(r) / mean(l)`` and its paired
          95 % bootstrap interval: 2.5 and 97.5 % quantiles of the ratio over 4,000 resamples of the chips (seed 0).
          For few chips it is too narrow: it covers some 85 % for 5 chips, 91 % for 10, 94 % for 20
        - ``reason``: why there is no share; null where there is one. A share is given only where the loss exceeds its
          interval (``lost_low > 0``), because a loss of 0 has no share
        - ``worst_baseline``, ``worst``: score of the worst common chip at the baseline and here
        - ``extra_parameters``, ``extra_macs``: digital numbers and multiply-accumulates an input that the corrections
          add, the most over chips; null without a calibration
        - ``images``, ``seconds``: inputs that each chip was fitted to, and mean time of its fit; null likewise
        - ``metric.name``, ``metric.unit``, ``metric.higher_is_better``: what the scores are, unless in ``by``

        ``attrs`` hold ``by`` and ``baseline``.

    Raises:
        ValueError: a column that does not exist, an empty baseline, values that no row has together or that hold for
            several groups at once, nothing beside the baseline, or a group that holds more than one point.
    """
    need_facts(frame)
    baseline = {GROUP: NONE} if baseline is None else baseline
    check_baseline(frame, baseline)
    keys = resolve_by(frame, [*resolve_by(frame, by), *resolve_by(frame, list(baseline))])
    chips, group, heads = grouped(frame, keys)
    first = chips.iloc[np.unique(group, return_index=True)[1]].reset_index(drop=True)
    base, is_base = _baselines(heads, first, baseline, keys)
    ok = (chips["status"] == "ok").to_numpy(dtype=bool)
    chips, group = chips.loc[ok], group[ok]
    seed, seeds = pd.factorize(chips["seed"])
    wanted = np.where(base[group] < 0, -1, base[group] * len(seeds) + seed)
    partner = pd.Index(group * len(seeds) + seed).get_indexer(wanted)
    paired = np.flatnonzero((partner >= 0) & ~is_base[group])
    partner, of = partner[paired], group[paired]
    n = np.bincount(of, minlength=len(heads))
    higher, most = first[HIGHER].to_numpy(dtype=bool), np.where(first[UNIT] == FRACTION, 1.0, np.inf)
    loss = losses(chips, higher[group])
    lost, gain = loss[partner], loss[partner] - loss[paired]
    columns: dict[str, Any] = {"n": n}
    for name, values in (("lost", lost), ("recovered", gain)):
        stat = moments(values, of, n, -most, most)
        columns |= {f"{name}_{end}": stat[end] for end in ("mean", "low", "high")}
    columns |= _shares(lost, gain, of, columns)
    scores = chips["score"].to_numpy(dtype=np.float64)
    columns |= {name: _worst(scores[at], of, higher) for name, at in (("worst_baseline", partner), ("worst", paired))}
    columns |= _costs(chips.iloc[paired], of, len(heads))
    columns |= {name: first[name] for name in METRIC if name not in keys}
    out = heads.assign(**columns)[~is_base].reset_index(drop=True)
    out.attrs = {"by": keys, "baseline": dict(baseline)}
    return out


def has_recovered(frame: pd.DataFrame) -> bool:
    """True where a frame holds finished chips both without and with a calibration, which `recovered` compares."""
    if GROUP not in frame or GROUP not in resolve_by(frame, None):
        return False
    done = frame.loc[frame["status"] == "ok", GROUP]
    return bool((done == NONE).any() and (done != NONE).any())


def _baselines(
    heads: pd.DataFrame, first: pd.DataFrame, baseline: Mapping[str, Any], keys: Sequence[str]
) -> tuple[Codes, npt.NDArray[np.bool_]]:
    """Number of each group's baseline group, -1 where there is none, and a mask of the baselines."""
    where = ", ".join(f"{name}={value!r}" for name, value in baseline.items())
    is_base = np.logical_and.reduce([equal_to(heads[name], value) for name, value in baseline.items()])
    if not is_base.any():
        raise ValueError(
            f"recovered needs rows of its baseline {where}, got none: sweep it too, or give another baseline"
        )
    if is_base.all():
        raise ValueError(f"recovered needs rows beside its baseline {where}, got none: sweep another value too")
    own = tuple(f"{name}." for name in baseline)
    free = [name for name in keys if name not in baseline and not name.startswith(own)]
    match = group_numbers(first, [*free, *(name for name in METRIC if name not in free)])
    if len(np.unique(match[is_base])) < is_base.sum():
        raise ValueError(
            f"a baseline must be one group of each condition, but {where} holds for several: name more columns"
        )
    found = np.full(match.max() + 1, -1)
    found[match[is_base]] = np.flatnonzero(is_base)
    return found[match], is_base


def _shares(lost: Floats, gain: Floats, group: Codes, columns: Mapping[str, Floats]) -> dict[str, Any]:
    n, lost_low = columns["n"], columns["lost_low"]
    share, low, high = (np.full(len(n), np.nan) for _ in range(3))
    reason = np.full(len(n), None, dtype=object)
    for i in range(len(n)):
        if n[i] < 2 or not lost_low[i] > 0:
            reason[i] = UNPAIRED if n[i] == 0 else ALONE if n[i] == 1 else SMALL
            continue
        share[i] = columns["recovered_mean"][i] / columns["lost_mean"][i]
        low[i], high[i] = ratio_interval(gain[group == i], lost[group == i])
    return {"recovered_share": share, "share_low": low, "share_high": high, "reason": reason}


def ratio_interval(numerator: Floats, denominator: Floats) -> tuple[float, float]:
    """Paired 95 % bootstrap interval of a ratio of means: quantiles over `RESAMPLES` resamples of the pairs.

    A resample with a mean denominator of 0 or less widens the interval at both ends.
    """
    counts = _resamples(len(numerator))
    above, below = counts @ numerator, counts @ denominator
    tail = (1 - CONFIDENCE) / 2
    ratio = np.divide(above, below, out=np.full(len(counts), np.nan), where=below > 0)
    # Order statistics, which are ratios that occurred, so that equal ratios give an interval of width 0.
    ordered = [np.sort(np.where(np.isnan(ratio), worst, ratio)) for worst in (-np.inf, np.inf)]
    k = int(tail * RESAMPLES)
    return float(ordered[0][k]), float(ordered[1][-1 - k])


@lru_cache(maxsize=8)
def _resamples(n: int) -> Floats:
    """Number of times that each of n chips is in each resample, shape (resamples, n)."""
    return np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)


def _worst(scores: Floats, group: Codes, higher: npt.NDArray[np.bool_]) -> Floats:
    chips = pd.Series(scores).groupby(group)
    ends = chips.agg(["min", "max"]).reindex(range(len(higher)))
    worst: Floats = np.where(higher, ends["min"], ends["max"])
    return worst


def _costs(chips: pd.DataFrame, group: Codes, size: int) -> dict[str, Any]:
    parameters, macs, seconds = CALIBRATION
    sources = {"extra_parameters": parameters, "extra_macs": macs, "images": "calibration.images", "seconds": seconds}
    out = {}
    for name, source in sources.items():
        values = chips[source].reset_index(drop=True) if source in chips else pd.Series(np.nan, range(len(chips)))
        by_group = values.groupby(group)
        found = (by_group.mean() if name == "seconds" else by_group.max()).reindex(range(size))
        out[name] = found.astype("float64" if name == "seconds" else "Int64").array
    return out
