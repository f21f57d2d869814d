"""Options that may be the best one, over chips *of this network on these images*."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rramsweep.analysis.grouping import grouped, need_facts, resolve_by, scales
from rramsweep.arguments import checked_arguments
from rramsweep.errors import Sentence, ValidationError
from rramsweep.intervals import ALPHA, Floats, holm, t_p_value

# Bootstrap resamples of the chips, how many are held at once, and the seed of their draw.
RESAMPLES, _AT_ONCE, SEED = 4_000, 500, 0
# Means closer than this share of the largest score are equal: rounding of sums.
_EQUAL = 1e-12


@checked_arguments
def rank(frame: pd.DataFrame, by: Sequence[str] | None = None) -> pd.DataFrame:
    """Rank options by their mean score, and find those that may be the best: a 95 % confidence set.

    An option is a group of chips, one combination of ``by``. Each is tested against every other one by a one-sided
    paired t test of "the other one is better", over the chips of common seeds; the option leaves the set where one of
    its tests is significant at 5 % after Holm's correction over the tests of this option. The best option has only true
    null hypotheses, so it stays in the set with at least 95 %; of several equally good ones each does.

    Args:
        frame: a results frame of one metric in which every option has the same seeds, all finished.
        by: columns that tell the options apart, see `summarize`.

    Returns:
        One row an option, the best mean first in the metric's direction. The columns are ``by``, then

        - ``n``: chips, the same ones of every option
        - ``score_mean``: mean over chips, in the metric's unit
        - ``p_value_holm``: the smallest p-value of the option's tests, Holm-adjusted: how compatible the chips are with
          no other option being better
        - ``may_be_best``: True where that is above 0.05; these rows are the confidence set
        - ``share_of_bootstrap_resamples_won``: share of 4,000 resamples of the chips (seed 0), the same chips of every
          option, in which the option has the best mean; equal ones share a win. It describes these chips and is no
          probability of being the best

        ``attrs`` hold ``by``. The t tests take mean differences as normal, which a few chips that lose nearly
        everything spoil (`intervals.is_skewed`); where two options differ by the same on every chip, the p-value is
        that of the sign test, ``2 ** -n``.

    Raises:
        ValueError: one option or one chip, options without the same seeds, a failed chip, several metrics, a column
            that is not there, or a group that holds more than one point.
    """
    need_facts(frame)
    metrics = scales(frame)
    if len(metrics) > 1:
        raise ValidationError(
            Sentence("rank needs scores of one metric"),
            "filter the frame",
            shown=", ".join(scale.label for scale in metrics),
        )
    keys = resolve_by(frame, by)
    chips, group, heads = grouped(frame, keys)
    scores = _paired(chips, group, heads)
    better = scores if metrics[0].higher_is_better else -scores
    p = best_p_values(better)
    columns: dict[str, Any] = {"n": scores.shape[1], "score_mean": scores.mean(axis=1), "p_value_holm": p}
    columns |= {"may_be_best": p > ALPHA, "share_of_bootstrap_resamples_won": _won(better)}
    order = np.argsort(-better.mean(axis=1), kind="stable")
    out = heads.assign(**columns).iloc[order].reset_index(drop=True)
    out.attrs = {"by": keys}
    return out


def _paired(chips: pd.DataFrame, group: npt.NDArray[np.int64], heads: pd.DataFrame) -> Floats:
    """Scores, one row an option and one column a seed.

    Raises:
        ValidationError: see `rank`.
    """
    if len(heads) < 2:
        raise ValidationError(
            Sentence("rank needs at least 2 options"),
            "sweep another value, or name its column in by",
            shown=str(len(heads)),
        )
    failed = (chips["status"] != "ok").to_numpy(dtype=bool)
    if failed.any():
        seeds = sorted(chips.loc[failed, "seed"].unique().tolist())
        raise ValidationError(
            Sentence("rank needs every chip finished"),
            "run them again with retry_failed=true, or leave their seeds out of every option",
            shown=f"{failed.sum()} failed of seed {', '.join(map(str, seeds[:5]))}{', ...' if len(seeds) > 5 else ''}",
        )
    table = chips.assign(option=group).pivot(index="option", columns="seed", values="score")
    if table.isna().to_numpy().any():
        seed = table.columns[table.isna().any()][0]
        lacks = heads.iloc[int(table[seed].isna().to_numpy().argmax())]
        where = ", ".join(f"{name}={lacks[name]}" for name in heads.columns)
        raise ValidationError(
            Sentence("rank needs the same seeds of every option"),
            "sweep all with the same seed and chips, or filter the frame",
            shown=f"no seed {seed} of {where}",
        )
    if table.shape[1] < 2:
        raise ValidationError(Sentence("rank needs at least 2 chips an option"), "sweep more chips", shown="1")
    return table.to_numpy(dtype=np.float64)


def best_p_values(better: Floats) -> Floats:
    """Smallest Holm-adjusted p-value of each row's one-sided tests against every other row."""
    n = np.full(len(better) - 1, better.shape[1])
    smallest = np.empty(len(better))
    for i, own in enumerate(better):
        d = np.delete(better, i, axis=0) - own
        flat = np.ptp(d, axis=1) <= _EQUAL * np.abs(better).max()
        mean = np.where(np.abs(d.mean(axis=1)) <= _EQUAL * np.abs(better).max(), 0.0, d.mean(axis=1))
        two_sided = t_p_value(mean, np.where(flat, 0.0, d.std(axis=1, ddof=1) / np.sqrt(n)), n)
        smallest[i] = holm(np.where(mean > 0, two_sided / 2, 1 - two_sided / 2)).min()
    return smallest


def _won(better: Floats) -> Floats:
    rng, n = np.random.default_rng(SEED), better.shape[1]
    won = np.zeros(len(better))
    for _ in range(RESAMPLES // _AT_ONCE):
        means = rng.multinomial(n, np.full(n, 1 / n), size=_AT_ONCE) @ better.T / n
        best = means >= means.max(axis=1, keepdims=True) - _EQUAL * np.abs(better).max()
        won += (best / best.sum(axis=1, keepdims=True)).sum(axis=0)
    return won / RESAMPLES
