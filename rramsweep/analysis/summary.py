"""Statistics of the results table: one row a group, over chips *of this network on these images*.

The chip is the unit of replication: every interval is over chips, and a group that would pool two points, and with them
perhaps two metrics, is refused.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rramsweep.analysis.anytime import anytime_interval, t_kinds
from rramsweep.analysis.grouping import grouped, need_facts, resolve_by, scales
from rramsweep.analysis.random_effects import over_networks
from rramsweep.analysis.schema import CHANCE, COSTS, METRIC
from rramsweep.analysis.tables import BOUNDS, Summary
from rramsweep.arguments import checked_arguments
from rramsweep.errors import ValidationError
from rramsweep.intervals import (
    ALPHA,
    ANYTIME,
    CONFIDENCE,
    Codes,
    Floats,
    T,
    binomial_tail,
    check_interval,
    crossed_errors,
    is_skewed,
    lower_rank,
    share_bound,
    t_interval,
    wilson,
)
from rramsweep.scale import FRACTION, HIGHER, UNIT, YIELD_DROP, drop_for
from rramsweep.study.facts import ACCURACY_OF

QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
# What a summary repeats of a score under the old names where the score is an accuracy.
AS_ACCURACY = {f"score_{name}": f"accuracy_{name}" for name in ("mean", "low", "high", "std", "min")}
# What `tail` holds: the worst chip, or from 59 chips on the bound on the quantile of the bad side.
WORST = "worst chip"
BASELINES = {score: accuracy for score, accuracy in ACCURACY_OF.items() if score != "score"}


@checked_arguments
def summarize(
    frame: pd.DataFrame,
    by: Sequence[str] | None = None,
    yield_drop: float | None = None,
    interval: str | None = None,
    over: str | None = None,
) -> pd.DataFrame:
    """Summarize the chips of each group, a group being one combination of the values in ``by``.

    Args:
        frame: a results frame. Rows with status ``ok`` count; the others only show in ``n_failed``.
        by: columns that tell the groups apart; a null is a value of its own. Default: the columns that the
            sweep varied (``frame.attrs["swept"]``), or without those, every choice and parameter that varies.
        yield_drop: how much worse than the digital network a good chip may be, in the metric's unit. Default: what the
            sweep was asked for (``frame.attrs["yield_drop"]``), or 0.02 for a fraction; other metrics have none.
        interval: of the mean, ``t`` or ``anytime``, which holds at every number of chips under any stopping, for
            scores in 0..1 (`intervals.betting_interval`). Default: what the sweep was asked for
            (``frame.attrs["interval"]``), or ``t``.
        over: a column that tells networks apart, such as ``model.checkpoint``: each group then holds several networks,
            and its spread is split (`random_effects.components`), in a table of its own; ``by`` is without it.

    Returns:
        One row a group in order of appearance. Scores are in the metric's unit, accuracies fractions. ``low``,
        ``high``, ``min``, ``max`` and quantiles are of the numbers, whichever direction is good: the bad side is the
        low one where higher is better and the high one where lower is. The columns are ``by``, then

        - ``n``, ``n_failed``: chips that finished, chips that did not
        - ``accuracy_mean``, ``accuracy_low``, ``accuracy_high``, ``accuracy_std``, ``accuracy_min``: those of
          ``score_`` where the metric counts right and wrong inputs; null elsewhere
        - ``score_mean``, ``score_low``, ``score_high``: mean and its 95 % t interval over chips,
          ``mean -+ t(0.975, n - 1) * std / sqrt(n)``; equal where all chips agree, null bounds for one chip; of a
          fraction cut at 0 and 1, which costs no coverage. With ``anytime`` the ends of that interval
        - ``interval``: which of the two it is, or why there is none, ``absent: ...``: one chip has no t interval, and a
          group with a failed chip or a missing seed no anytime interval
        - ``score_std``: ddof 1, null for one chip
        - ``score_min``, ``score_max``: the smallest and largest of the n chips
        - ``score_skewness``: of the chips, ``m3 / m2^1.5``, 0 where they all agree; see `skewed`
        - ``se_chips``: standard error over other chips on these images, ``std / sqrt(n)``; null for one chip
        - ``se_images``: over another test set of this size, read by these chips (`intervals.crossed_errors`)
        - ``q05 q25 q50 q75 q95``: quantiles of these chips, linearly interpolated. Of few chips ``q05`` is no estimate
          of the law's 5 % quantile: on average it lies at the ``(1 + 0.05 (n - 1)) / (n + 1)`` quantile, 20, 13, 9 and
          7 % for 5, 10, 20 and 50 chips
        - ``q50_low``, ``q50_high``: two-sided 95 % interval of the median, the r-th smallest and r-th largest chip,
          whatever the distribution (`intervals.lower_rank`); null below 6 chips
        - ``q05_low``, ``q95_high``: one-sided lower 95 % bound on the 5 % quantile and upper one on the 95 % quantile,
          the r-th smallest and r-th largest chip; the extreme one from 59 chips, null below
        - ``tail``, ``tail_name``: the bad end of the chips as table and page show it, and what it is: ``worst chip``
          (``score_min``, or ``score_max`` where lower is better) below 59 chips, from there on ``q05 bound``
          (``q05_low``) or ``q95 bound`` (``q95_high``)
        - ``digital_accuracy``, ``ideal_accuracy``, ``digital_score``, ``ideal_score``: the two baselines
        - ``chance_accuracy``: of the best single answer to every input, the most frequent label; ``chance_p``: how
          probable so many right inputs as the digital network's are by that chance (`intervals.binomial_tail`). Above
          0.05 the network is at chance level, and its yield says nothing. Null where the metric counts no right
          labels, and for chips of older stores
        - ``yield_share``, ``yield_low``, ``yield_high``: share of good chips and its two-sided 95 % Wilson interval.
          Good is ``n_correct >= n_digital - floor(yield_drop * n_images + 1e-9)``, in whole images, or for a metric
          that counts none, a score at most ``yield_drop`` worse than ``digital_score`` in the metric's direction; null
          without a ``yield_drop``
        - ``yield_bound``: one-sided lower 95 % bound on the yield, exact (`intervals.share_bound`); what n chips
          without a failure can claim, ``0.05 ** (1 / n)``, about ``1 - 3 / n``
        - ``cost.energy_pJ``, ``cost.area_um2``, ``cost.latency_us``, each with ``_low`` and ``_high``: of an inference,
          means over chips; only where a cost was asked for
        - ``metric.name``, ``metric.unit``, ``metric.higher_is_better``: what the scores are, unless in ``by``

        A group without a finished chip has ``n = 0`` and nulls. A chip that stands in a group twice, under two
        names of the same point, counts once.

        ``se_images`` needs the right chips of each image: ``frame.attrs["images"]``, ``{point_id: {"n_chips": int,
        "n_correct": [one count an image]}}``, the list as such or as its JSON text (pandas copies every list of
        ``attrs`` whenever a column is read, and a text never). It is null where these are absent or of other chips
        than the group's, so a frame of which rows were dropped has none.

        With ``over``: one row a group with ``by``, ``networks``, ``n`` (seeds that finished in every network; others
        are left out), ``score_mean``, ``score_low``, ``score_high`` (95 % interval over other such networks and other
        chips, null for fewer than five networks), ``std_networks``, ``std_chips`` (within a network), ``std_images``
        (of an accuracy over test sets of this size, by its binomial count), ``network_min``, ``network_max`` (means of
        the worst and best network, in numbers) and the ``metric.`` columns. ``attrs["notes"]`` say what the numbers
        hold for, and where an estimate of a variance below 0 is shown as 0.

    Raises:
        ValueError: a column that is not there (with the nearest names), an ``interval`` that the metric cannot have, a
            ``yield_drop`` that is none in the metric's unit or meets several units, or a group that holds more than one
            point, with the columns that would tell these apart.
    """
    need_facts(frame)
    if over is not None:
        if yield_drop is not None:
            raise ValidationError("is not used with over", "leave it out", value=yield_drop, parameter="yield_drop")
        if interval not in (None, T):
            raise ValidationError("must be t with over", "leave it out", value=interval, parameter="interval")
        resolve_by(frame, [over])
        return over_networks(frame, resolve_by(frame, by), over)
    yield_drop = allowed_drop(frame, yield_drop)
    interval = chosen_interval(frame, interval)
    keys = resolve_by(frame, by)
    per_image = frame.attrs.get("images") or {}
    frame, group, heads = grouped(frame, keys)
    ok = (frame["status"] == "ok").to_numpy(dtype=bool)
    size, first = len(heads), np.unique(group, return_index=True)[1]
    done, n = frame.loc[ok], np.bincount(group[ok], minlength=len(heads))
    scores = done["score"].to_numpy(dtype=np.float64)
    metrics = frame.iloc[first][list(METRIC)].reset_index(drop=True)
    drop = np.where(metrics[UNIT] == FRACTION, YIELD_DROP, np.nan) if yield_drop is None else np.full(size, yield_drop)
    higher = metrics[HIGHER].to_numpy(dtype=bool)
    n_counted = np.bincount(group[ok], weights=done["n_correct"].notna(), minlength=size)
    counted = (n_counted == n) & (n > 0)

    n_failed = np.bincount(group[~ok], minlength=size)
    chips = _chips(scores, group[ok], n, metrics[UNIT] == FRACTION)
    if interval == ANYTIME:
        ends = anytime_interval(scores, done["seed"].to_numpy(), group[ok], n_failed, 0.0, 1.0)
        chips |= {"score_low": ends["low"], "score_high": ends["high"], "interval": ends["interval"]}
    columns: dict[str, Any] = {"n": n, "n_failed": n_failed}
    columns |= {alias: np.where(counted, chips[name], np.nan) for name, alias in AS_ACCURACY.items()}
    columns |= chips
    right = np.bincount(group[ok], weights=_whole(done, "n_correct"), minlength=size).astype(np.int64)
    columns["se_images"] = _se_images(per_image, frame["point_id"].to_numpy()[first], scores, group[ok], right)
    columns |= _quantiles(scores, group[ok], n)
    columns |= _tail(columns, higher)
    baselines = done[list(BASELINES)].groupby(group[ok]).first().reindex(range(size)).to_numpy(dtype=np.float64)
    columns |= dict(zip(BASELINES.values(), np.where(counted[:, None], baselines, np.nan).T, strict=True))
    columns |= dict(zip(BASELINES, baselines.T, strict=True))
    columns |= _chance(done, group[ok], size)
    good = good_chips(done, drop[group[ok]], higher[group[ok]])
    columns |= _yield(np.bincount(group[ok], weights=good, minlength=size).astype(np.int64), n, ~np.isnan(drop))
    columns |= _costs(done, group[ok], size)
    columns |= {name: metrics[name] for name in METRIC if name not in keys}
    out = Summary(heads.assign(**columns))
    out.attrs = {"by": keys, "yield_drop": yield_drop, "interval": interval}
    return out


def tail_heading(summary: pd.DataFrame) -> str:
    """Heading of a column of ``tail``: its name where all rows have one name, else ``tail``; see `tables.tail_text`."""
    names = summary["tail_name"].dropna().unique()
    return str(names[0]) if len(names) == 1 else "tail"


def at_chance(summary: pd.DataFrame) -> "pd.Series[bool]":
    """Rows whose digital network is not significantly better than one answer to every input."""
    return summary["chance_p"] > ALPHA


def skewed(summary: pd.DataFrame) -> "pd.Series[bool]":
    """Rows whose t interval is doubtful, for their chips are too skewed for their number; see `intervals.is_skewed`."""
    return (summary["interval"] == T) & is_skewed(summary["score_skewness"], summary["n"])


def interval_words(table: pd.DataFrame) -> str:
    """Kind of the intervals of a table of `summarize` or `compare`, in words."""
    return f"{100 * CONFIDENCE:g} % {table.attrs['interval']} interval"


def chosen_interval(frame: pd.DataFrame, interval: str | None) -> str:
    """Kind of interval: as given, else the sweep's own, else t; checked by `check_interval`."""
    chosen = frame.attrs.get("interval", T) if interval is None else interval
    check_interval(scales(frame), chosen)
    return str(chosen)


def allowed_drop(frame: pd.DataFrame, yield_drop: float | None) -> float | None:
    """Largest loss of a good chip: as given, else the sweep's own, else what `drop_for` says."""
    return drop_for(scales(frame), frame.attrs.get("yield_drop") if yield_drop is None else yield_drop)


def good_chips(chips: pd.DataFrame, drop: Floats, higher: Any) -> Any:
    """Mask of the finished chips that are at most ``drop`` worse than digital; see `summarize`."""
    score, digital = (chips[name].to_numpy(dtype=np.float64) for name in ("score", "digital_score"))
    worse = np.where(higher, digital - score, score - digital)
    good = worse <= drop + 1e-9 * (drop + np.abs(digital))
    counted = chips["n_correct"].notna().to_numpy(dtype=bool)
    lost, gained, images = (_whole(chips, name) for name in ("n_lost", "n_gained", "n_images"))
    allowed = np.floor(np.nan_to_num(drop) * images + 1e-9)
    return np.where(counted, lost - gained <= allowed, good)


def losses(chips: pd.DataFrame, higher: Any) -> Floats:
    """Loss of each finished chip against digital, in the metric's unit; below 0 where it is better."""
    score, digital = (chips[name].to_numpy(dtype=np.float64) for name in ("score", "digital_score"))
    lost, gained, images = (_whole(chips, name) for name in ("n_lost", "n_gained", "n_images"))
    counted = chips["n_correct"].notna().to_numpy(dtype=bool)
    # Of whole numbers, so that equal losses are equal numbers.
    worse: Floats = np.where(counted, (lost - gained) / images, np.where(higher, digital - score, score - digital))
    return worse


def moments(
    values: Floats, group: Codes, n: Codes, least: float | Floats = -np.inf, most: float | Floats = np.inf
) -> dict[str, Floats]:
    """Mean, standard deviation (ddof 1) and 95 % t interval of each group's values, by name; ``n`` counts them.

    The interval is cut at ``least`` and ``most``, see `intervals.t_interval`.
    """
    stat = pd.Series(values).groupby(group).agg(["mean", "std", "sem", "min", "max"]).reindex(range(len(n)))
    # Rounding makes the mean of equal numbers another number, with a spread of 1e-17.
    flat = (stat["min"] == stat["max"]).to_numpy()
    mean = np.where(flat, stat["min"], stat["mean"])
    std, sem = (np.where(flat & (n > 1), 0.0, stat[name]) for name in ("std", "sem"))
    low, high = t_interval(mean, sem, n, least, most)
    ends = {name: stat[name].to_numpy() for name in ("min", "max")}
    return {"mean": mean, "low": low, "high": high, "std": std, "sem": sem, **ends}


def _chips(scores: Floats, group: Codes, n: Codes, share: Any) -> dict[str, Any]:
    stat = moments(scores, group, n, np.where(share, 0.0, -np.inf), np.where(share, 1.0, np.inf))
    out: dict[str, Any] = {f"score_{name}": stat[name] for name in ("mean", "low", "high")}
    out |= {"interval": t_kinds(n), **{f"score_{name}": stat[name] for name in ("std", "min", "max")}}
    return out | {"score_skewness": _skewness(scores, stat["mean"], group, n), "se_chips": stat["sem"]}


def _skewness(scores: Floats, mean: Floats, group: Codes, n: Codes) -> Floats:
    off = scores - mean[group]
    second, third = (np.bincount(group, weights=off**k, minlength=len(n)) / np.maximum(n, 1) for k in (2, 3))
    cubed = second**1.5
    return np.where(n > 2, np.divide(third, cubed, out=np.zeros(len(n)), where=cubed > 0), np.nan)


def _quantiles(scores: Floats, group: Codes, n: Codes) -> dict[str, Floats]:
    chips = pd.Series(scores).groupby(group)
    levels = {name: chips.quantile(q).reindex(range(len(n))) for name, q in QUANTILES.items()}
    out: dict[str, Floats] = {name: np.asarray(level, dtype=np.float64) for name, level in levels.items()}
    ordered, start = scores[np.lexsort((scores, group))], np.cumsum(n) - n
    alpha = 1 - CONFIDENCE
    half, tail = lower_rank(n, 0.5, alpha / 2), lower_rank(n, 0.05, alpha)
    ranks = {"q50_low": half, "q50_high": _from_above(half, n), "q05_low": tail, "q95_high": _from_above(tail, n)}
    for name, rank in ranks.items():
        bound = np.full(len(n), np.nan)
        bound[rank > 0] = ordered[(start + rank - 1)[rank > 0]]
        out[name] = bound
    return out


def _tail(columns: Mapping[str, Any], higher: npt.NDArray[np.bool_]) -> dict[str, Any]:
    bound = np.where(higher, columns["q05_low"], columns["q95_high"])
    worst = np.where(higher, columns["score_min"], columns["score_max"])
    bounded, known = ~np.isnan(bound), ~np.isnan(worst)
    names = np.where(bounded, np.where(higher, BOUNDS["q05_low"], BOUNDS["q95_high"]), WORST).astype(object)
    names[~known] = None
    return {"tail": np.where(bounded, bound, worst), "tail_name": names}


def _chance(done: pd.DataFrame, group: Codes, size: int) -> dict[str, Floats]:
    """Chance level of each group's data and its p-value; NaN in frames of older versions, which lack the column."""
    names = ("n_correct", "n_lost", "n_gained", "n_images", CHANCE)
    facts = {
        name: done[name].to_numpy(dtype=np.float64, na_value=np.nan) if name in done else np.full(len(done), np.nan)
        for name in names
    }
    first = pd.DataFrame(facts).dropna().groupby(pd.Series(group)).first().reindex(range(size))
    digital = first["n_correct"] + first["n_lost"] - first["n_gained"]
    chance, n = (first[name].to_numpy() for name in (CHANCE, "n_images"))
    return {"chance_accuracy": chance, "chance_p": binomial_tail(digital.to_numpy(), n, chance)}


def _costs(done: pd.DataFrame, group: Codes, size: int) -> dict[str, Floats]:
    """Mean of each cost over the chips that have it; no column where none has."""
    known = [name for name in COSTS if name in done and done[name].notna().any()]
    means = done[known].astype(np.float64).groupby(group).mean().reindex(range(size))
    return {name: means[name].to_numpy() for name in known}


def _from_above(rank: Codes, n: Codes) -> Codes:
    return np.where(rank > 0, n + 1 - rank, 0)


def _whole(chips: pd.DataFrame, name: str) -> Codes:
    """A count as integers, 0 where there is none."""
    return chips[name].to_numpy(dtype=np.int64, na_value=0)


def _se_images(images: Mapping[str, Any], ids: Any, scores: Floats, group: Codes, right: Codes) -> Floats:
    out = np.full(len(ids), np.nan)
    if not images:
        return out
    chips = np.split(scores[np.argsort(group, kind="stable")], np.cumsum(np.bincount(group, minlength=len(ids)))[:-1])
    for i, point_id in enumerate(ids):
        entry = images.get(point_id)
        if entry is None or len(chips[i]) == 0:
            continue
        try:
            n_chips, counts = int(entry["n_chips"]), entry["n_correct"]
            counts = np.asarray(json.loads(counts) if isinstance(counts, str) else counts, dtype=np.int64)
        except (KeyError, TypeError, ValueError) as error:
            what = "must hold n_chips and n_correct, one count an image"
            raise ValueError(f"attrs['images'][{point_id!r}] {what}, but {error!r}: load the frame again") from None
        if n_chips == len(chips[i]) and counts.sum() == right[i]:  # else they are of other chips
            out[i] = crossed_errors(counts, n_chips, chips[i])[1]
    return out


def _yield(good: Codes, n: Codes, known: Any) -> dict[str, Floats]:
    share = np.divide(good, n, out=np.full(len(n), np.nan), where=n > 0)
    bounds = np.array([wilson(int(k), int(m)) for k, m in zip(good, n, strict=True)]).reshape(-1, 2)
    columns = {"yield_share": share, "yield_low": bounds[:, 0], "yield_high": bounds[:, 1]}
    columns["yield_bound"] = share_bound(good, n)
    return {name: np.where(known, column, np.nan) for name, column in columns.items()}
