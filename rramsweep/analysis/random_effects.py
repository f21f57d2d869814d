"""The spread of scores split into networks, chips and images: a two-way random-effects model, by moments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rramsweep.analysis.grouping import group_numbers, grouped, inputs_word
from rramsweep.analysis.schema import METRIC
from rramsweep.errors import ValidationError
from rramsweep.intervals import Codes, Floats, t_interval
from rramsweep.scale import FRACTION, UNIT

# Networks from which on an interval over networks is given: fewer say too little of how networks spread.
FEWEST = 5


@dataclass(frozen=True)
class Components:
    """Mean and standard deviations of scores of J networks on the same n chips, and what the mean is known to.

    Args:
        mean: over all.
        se: standard error of the mean over other networks and other chips; NaN for one network.
        df: its degrees of freedom.
        networks: standard deviation between networks, of their mean over chips; NaN for one chip, where it cannot be
            told from theirs.
        chips: between chips of one network; NaN likewise.
        below: variance between networks as estimated, where that is below 0 and `networks` is therefore 0; else None.
    """

    mean: float
    se: float
    df: float
    networks: float
    chips: float
    below: float | None = None


def components(scores: Floats) -> Components:
    """Split scores, shape (J networks, n chips), column c being chip c of every network.

    The model is ``Y_jc = mu + a_j + s_c + e_jc`` with independent effects of networks (variance ``va``), of the draws
    that all networks share in chip c (``vs``), and of what is left (``ve``). With mean squares ``MS_network``,
    ``MS_chip`` and ``MS_e`` of the balanced layout without replication (Searle, Casella and McCulloch, Variance
    Components, 1992, 4.7)::

        va = (MS_network - MS_e) / n        vs + ve = (MS_chip + (J - 1) MS_e) / J
        var(mean) = (MS_network + max(MS_chip - MS_e, 0)) / (n J)

    ``vs + ve`` is the variance between chips within a network, as one-way analysis has it. One-way analysis would take
    it from ``MS_network`` too, and so lose ``vs / n`` of ``va``: draws that are shared do not tell networks apart. The
    degrees of freedom are Satterthwaite's.
    """
    n_networks, n = scores.shape
    mean = float(scores.mean())
    if n_networks < 2:
        return Components(mean, np.nan, np.nan, np.nan, np.nan)
    by_network, by_chip = scores.mean(axis=1), scores.mean(axis=0)
    ms_network = n * float(_variance(by_network))
    if n < 2:
        return Components(mean, np.sqrt(ms_network / n_networks), n_networks - 1.0, np.nan, np.nan)
    ms_chip = n_networks * float(_variance(by_chip))
    rest = scores - by_network[:, None] - by_chip + mean
    # Rounding leaves differences of 1e-17 where there are none.
    rest = np.where(np.abs(rest) > 1e-12 * np.abs(scores).max(), rest, 0.0)
    df_e = (n_networks - 1) * (n - 1)
    ms_e = float((rest**2).sum()) / df_e
    shared = max(ms_chip - ms_e, 0.0)
    df = n_networks - 1.0
    if shared > 0:
        squares = ms_network**2 / df + ms_chip**2 / (n - 1) + ms_e**2 / df_e
        df = max((ms_network + shared) ** 2 / squares, 1.0)
    between = (ms_network - ms_e) / n
    return Components(
        mean,
        np.sqrt((ms_network + shared) / (n * n_networks)),
        df,
        np.sqrt(max(between, 0.0)),
        np.sqrt((ms_chip + (n_networks - 1) * ms_e) / n_networks),
        between if between < 0 else None,
    )


def _variance(values: Floats) -> float:
    """Variance (ddof 1), exactly 0 where all values agree to rounding."""
    if np.ptp(values) <= 1e-12 * np.abs(values).max():
        return 0.0
    return float(values.var(ddof=1))


def over_networks(frame: pd.DataFrame, keys: Sequence[str], over: str) -> pd.DataFrame:
    """Summarize groups of several networks, one row a group; see `summarize`.

    Args:
        frame: a results frame that was checked.
        keys: columns that tell groups apart.
        over: column that tells the networks of a group apart.

    Raises:
        ValueError: a column that is none of networks, a group of one network or without a finished chip that all its
            networks have, or one that holds two points of a network.
    """
    if over != "model" and not over.startswith("model."):
        raise ValidationError(
            "must be a column of the network, since its values are taken as a sample of many",
            "give model.checkpoint, and other columns in by",
            value=over,
            parameter="over",
        )
    keys = [name for name in keys if name != over]
    chips, cell, heads = grouped(frame, [*keys, over])
    group = group_numbers(heads, keys)[cell]
    rows, notes = [], []
    for number in range(int(group.max()) + 1 if len(group) else 0):
        own = chips[group == number]
        where = ", ".join(f"{name}={own[name].iloc[0]}" for name in keys) or "the frame"
        row, about = _row(own, cell[group == number], where, over)
        rows.append({name: own[name].iloc[0] for name in keys} | row)
        notes += about
    table = pd.DataFrame(rows)
    fewest = int(table["networks"].min()) if len(table) else 0
    table.attrs = {"by": keys, "over": over, "notes": [*_meaning(fewest, over, inputs_word(frame)), *notes]}
    return table


def _row(chips: pd.DataFrame, network: Codes, where: str, over: str) -> tuple[dict[str, Any], list[str]]:
    """Numbers of one group, and notes on it."""
    done = chips.assign(network=network)[(chips["status"] == "ok").to_numpy(dtype=bool)]
    n_networks = len(np.unique(network))
    if n_networks < 2:
        raise ValidationError(
            f"must tell at least two networks apart, but {where} has one",
            "sweep model.checkpoint=a.pt,b.pt,..., or leave over out",
            shown=f"{over}={chips[over].iloc[0]}",
            parameter="over",
        )
    _check_networks(chips, network, where, over)
    scores = done.pivot(index="network", columns="seed", values="score").reindex(np.unique(network))
    common = scores.dropna(axis=1)
    if common.empty:
        raise ValidationError(
            f"must tell networks apart that have finished seeds in common, but those of {where} have none",
            "sweep them with one seed and one number of chips",
            value=over,
            parameter="over",
        )
    found = components(common.to_numpy(dtype=np.float64))
    metric = {name: chips[name].iloc[0] for name in METRIC}
    ends = (0.0, 1.0) if metric[UNIT] == FRACTION else ()
    low = high = np.nan
    if n_networks >= FEWEST:
        bounds = t_interval(np.array([found.mean]), np.array([found.se]), np.array([found.df + 1]), *ends)
        low, high = (float(bound[0]) for bound in bounds)
    means = common.mean(axis=1)
    row = {
        "networks": n_networks,
        "n": common.shape[1],
        "score_mean": found.mean,
        "score_low": low,
        "score_high": high,
        "std_networks": found.networks,
        "std_chips": found.chips,
        "std_images": _image_spread(done[done["seed"].isin(common.columns)]),
        "network_min": float(means.min()),
        "network_max": float(means.max()),
        **metric,
    }
    notes = []
    if found.below is not None:
        notes.append(
            f"{where}: networks differ less than their chips explain (variance {found.below:.2g}): std_networks is "
            "shown as 0"
        )
    left_out = len(chips) - common.size
    if left_out:
        notes.append(f"{where}: {left_out} chips are left out, whose seed is not finished in every network")
    return row, notes


def _check_networks(chips: pd.DataFrame, network: Codes, where: str, over: str) -> None:
    """Check that the networks of a group are scored by one metric, and are not the same weights twice.

    Raises:
        ValidationError: says which are.
    """
    names = chips["metric.name"].unique()
    if len(names) > 1:
        raise ValidationError(
            f"must tell networks of one metric apart, but those of {where} have {', '.join(map(str, names))}",
            "add metric to by, or filter the frame",
            parameter="over",
        )
    first = chips.iloc[np.unique(network, return_index=True)[1]]
    same = first[first["point_id"].duplicated(keep=False)]
    if len(same):
        raise ValidationError(
            f"must tell networks of different weights apart, but these are the same: "
            f"{', '.join(str(value) for value in same[over].head(2))}",
            "leave one out",
            parameter="over",
        )


def _image_spread(chips: pd.DataFrame) -> float:
    """Standard deviation of an accuracy over sets of its number of images; NaN for other scores and one image.

    ``sqrt(mean of p (1 - p) / (N - 1))``, whose square is unbiased for the binomial variance ``p (1 - p) / N``.
    """
    n = chips["n_images"].to_numpy(dtype=np.float64)
    if chips["n_correct"].isna().any() or (n < 2).any():
        return np.nan
    share = chips["n_correct"].to_numpy(dtype=np.float64) / n
    return float(np.sqrt((share * (1 - share) / (n - 1)).mean()))


def _meaning(fewest: int, over: str, inputs: str) -> list[str]:
    """Sentences on what the numbers hold for."""
    model = (
        f"model: score = mean + network + chip + rest, networks ({over}) and chips drawn at random; a seed has the "
        f"same draws in every network; all read the same {inputs}, so std_images is not contained in the other two"
    )
    if fewest >= FEWEST:
        return [
            model,
            "the interval is over other networks of the kind that these are a random sample of, and over other chips, "
            f"on these {inputs}",
        ]
    return [
        model,
        f"fewer than {FEWEST} networks do not say how networks spread: no interval, and the numbers hold for these "
        f"networks on these {inputs}",
    ]
