"""Two points compared chip by chip, over chips *of this network on these images*.

A chip is its seed, and its draws do not depend on a parameter's value: chip 7 at drift 0.1 is chip 7 at drift 0, only
drifted. What two points share then cancels in their difference, so that far fewer chips resolve it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rramsweep.analysis.anytime import anytime_interval, t_kinds
from rramsweep.analysis.grouping import group_numbers, grouped, need_facts, resolve_by
from rramsweep.analysis.schema import METRIC
from rramsweep.analysis.summary import chosen_interval, moments
from rramsweep.arguments import brief, checked_arguments
from rramsweep.errors import one_of
from rramsweep.intervals import ALPHA, ANYTIME, Codes, Floats, holm, t_p_value
from rramsweep.scale import FRACTION, HIGHER, UNIT, Scale
from rramsweep.suggest import nearest

# Corrections for many comparisons, the default first.
HOLM = "holm"
CORRECTIONS = ("none", HOLM)


@checked_arguments
def compare(
    frame: pd.DataFrame,
    baseline: Mapping[str, Any],
    by: Sequence[str] | None = None,
    interval: str | None = None,
    correction: str = "none",
) -> pd.DataFrame:
    """Compare each group with its baseline, chip by chip on common seeds; a group is one combination of ``by``.

    Args:
        frame: a results frame. Rows with status ``ok`` count.
        baseline: values of columns that make a group the baseline, ``None`` for a null. Columns of ``by`` that it does
            not name are matched group by group: ``{"drift.relative_drift": 0.0}`` compares each technology with its
            own drift 0, ``{"technology": "drift_alone", "drift.relative_drift": 0.0}`` every group with this one.
            A number may differ by 1e-12 of itself, as steps of 0.1 do.
        by: columns that distinguish the groups, see `summarize`; those of ``baseline`` are added.
        interval: of the mean difference, ``t`` or ``anytime``, as in `summarize`.
        correction: of the many comparisons, ``none`` or ``holm``. Each interval holds for itself either way.

    Returns:
        One row a group in order of appearance, as in `summarize`; that of a baseline compares it with itself. The
        columns are ``by``, then, with ``d = score here - score of the same seed at the baseline`` in the metric's unit
        (of accuracies a fraction, negative where accuracy is lost), all over the ``n`` common chips

        - ``n``: seeds that are ``ok`` both here and at the baseline
        - ``difference_mean``, ``difference_low``, ``difference_high``: mean of d and its paired 95 % t interval
          ``mean -+ t(0.975, n - 1) * std(d) / sqrt(n)``; equal where all d agree, null bounds for one chip;
          of fractions cut at -1 and 1. With ``anytime`` the betting interval of d in -1..1 in the order of the seeds
        - ``difference_std``: of d, ddof 1, null for one chip
        - ``worse_share``: share of chips that are worse than at the baseline in the metric's direction; accuracies are
          compared in whole images
        - ``correlation``: Pearson correlation of the two scores; null where either has no spread, and for one chip
        - ``chips_saved``: how many times fewer chips the pairing needs than two sets of chips of their own for an
          interval of the same width, ``(var(here) + var(baseline)) / var(d)``. About ``1 / (1 - correlation)`` at
          equal variances, so 1 means that none are saved; inf where d has no spread but a score has, null where
          neither has, and for one chip
        - ``interval``: which of the two it is, or why there is none, ``absent: ...``: no chip of the group or of its
          baseline may have failed for an anytime interval, and no seed be missing between the first and the last

        and with ``correction="holm"``

        - ``p_value``: two-sided, of the mean of d being 0: of Student's t (`intervals.t_p_value`), or with ``anytime``
          valid at every number of chips (`intervals.betting_p_value`); null without an interval and at a baseline
        - ``p_value_holm``: Holm's adjustment over the table's p-values (`intervals.holm`)
        - ``differs_holm``: True where that is at most 0.05; with at least 95 % no group that equals its baseline is
          called different, however many there are

        ``attrs`` hold ``by``, ``baseline``, ``interval`` and ``correction``. The t interval takes the mean of d as
        normal, which it nearly is from some 30 chips, unless a few of them lose nearly everything.

    Raises:
        ValueError: a column that is not there or a value that no row has (with the nearest), an empty baseline, an
            ``interval`` that the metric cannot have, a ``correction`` that is none, a group that holds more than one
            point, has no baseline, has one of another metric, or has no finished seed in common with it.
    """
    need_facts(frame)
    check_baseline(frame, baseline)
    interval = chosen_interval(frame, interval)
    one_of("correction", correction, CORRECTIONS)
    given = resolve_by(frame, list(baseline))
    keys = resolve_by(frame, [*resolve_by(frame, by), *given])
    chips, group, heads = grouped(frame, keys)
    base = _baselines(heads, baseline, keys)
    first = chips.iloc[np.unique(group, return_index=True)[1]]
    higher, most = _directions(first, base), np.where(first[UNIT] == FRACTION, 1.0, np.inf)
    ok = (chips["status"] == "ok").to_numpy(dtype=bool)
    failed = np.bincount(group[~ok], minlength=len(heads))
    chips, group = chips.loc[ok], group[ok]
    seed, seeds = pd.factorize(chips["seed"])
    partner = pd.Index(group * len(seeds) + seed).get_indexer(base[group] * len(seeds) + seed)
    paired = np.flatnonzero(partner >= 0)
    partner = partner[paired]
    n = np.bincount(group[paired], minlength=len(heads))
    if not n.all():
        raise ValueError(_unpaired(chips["seed"].to_numpy(), group, base, heads, int(n.argmin())))
    d = _differences(chips, paired, partner)
    scores = chips["score"].to_numpy(dtype=np.float64)
    columns = _statistics(scores[paired], scores[partner], d, group[paired], n, higher, most)
    p_value = t_p_value(columns["difference_mean"], columns["difference_std"] / np.sqrt(n), n)
    is_base = base == np.arange(len(base))
    if interval == ANYTIME:
        common = chips["seed"].to_numpy()[paired]
        ends = anytime_interval(d, common, group[paired], failed + failed[base], -1.0, 1.0)
        # A group differs from itself by 0, which no chip needs to show.
        low, high = (np.where(is_base, 0.0 * ends[end], ends[end]) for end in ("low", "high"))
        columns |= {"difference_low": low, "difference_high": high, "interval": ends["interval"]}
        p_value = ends["p_value"]
    if correction == HOLM:
        columns |= _decisions(np.where(is_base, np.nan, p_value))
    out = heads.assign(n=n, **columns)
    out.attrs = {"by": keys, "baseline": dict(baseline), "interval": interval, "correction": correction}
    return out


def _decisions(p: Floats) -> dict[str, npt.NDArray[Any]]:
    adjusted = holm(p)
    return {"p_value": p, "p_value_holm": adjusted, "differs_holm": adjusted <= ALPHA}


def check_baseline(frame: pd.DataFrame, baseline: Any) -> None:
    """Check that a baseline is a `{column: value}` with at least one column.

    Raises:
        ValueError: says what to write.
    """
    if isinstance(baseline, Mapping) and baseline:
        return
    name = baseline if isinstance(baseline, str) and baseline in frame else "drift.relative_drift"
    value = _plain(frame[name].dropna().iloc[0]) if name in frame and frame[name].notna().any() else 0.0
    raise ValueError(
        f"baseline must be a dict {{column: value}} of at least one column, got "
        f"{repr(baseline) if isinstance(baseline, str | Mapping) else brief(baseline)}: write "
        f"{{{name!r}: {value!r}}}, say"
    )


def _directions(first: pd.DataFrame, base: Codes) -> npt.NDArray[np.bool_]:
    """Direction of each group's metric, True where higher is better, from the group's first chips.

    Raises:
        ValueError: a group has another metric than its baseline.
    """
    other = (first[list(METRIC)].to_numpy() != first[list(METRIC)].to_numpy()[base]).any(axis=1)
    if other.any():
        worst = int(other.argmax())
        own, other_label = (Scale.of(first.iloc[i].to_dict()).label for i in (worst, int(base[worst])))
        raise ValueError(
            f"a group and its baseline must have one metric, got {own} against {other_label}: leave metric out of "
            "baseline, or filter the frame"
        )
    return first[HIGHER].to_numpy(dtype=bool)


def _differences(chips: pd.DataFrame, paired: Codes, partner: Codes) -> Floats:
    """Score of each paired row minus that of its partner at the baseline.

    Counts stay integers until the last division, so that equal differences are equal numbers and their spread is
    exactly 0.
    """
    scores = chips["score"].to_numpy(dtype=np.float64)
    right, images = (chips[name].to_numpy(dtype=np.int64, na_value=0) for name in ("n_correct", "n_images"))
    counted = chips["n_correct"].notna().to_numpy(dtype=bool)
    whole = np.lcm(images[paired], images[partner])
    gain = right[paired] * (whole // images[paired]) - right[partner] * (whole // images[partner])
    d: Floats = np.where(counted[paired] & counted[partner], gain / whole, scores[paired] - scores[partner])
    return d


def _statistics(
    score: Floats, baseline: Floats, d: Floats, group: Codes, n: Codes, higher: npt.NDArray[np.bool_], most: Floats
) -> dict[str, npt.NDArray[Any]]:
    difference, x, y = moments(d, group, n, -most, most), moments(score, group, n), moments(baseline, group, n)
    centred = (score - x["mean"][group]) * (baseline - y["mean"][group])
    covariance = np.bincount(group, weights=centred, minlength=len(n)) / np.maximum(n - 1, 1)
    spread = x["std"] * y["std"]
    variances, variance = x["std"] ** 2 + y["std"] ** 2, difference["std"] ** 2
    saved = np.where(variances > 0, np.inf, np.nan)
    worse = np.where(higher[group], d < 0, d > 0)
    return {
        **{f"difference_{name}": difference[name] for name in ("mean", "low", "high", "std")},
        "worse_share": np.bincount(group, weights=worse, minlength=len(n)) / n,
        "correlation": np.clip(_ratio(covariance, spread, np.full(len(n), np.nan)), -1, 1),
        "chips_saved": _ratio(variances, variance, saved),
        "interval": t_kinds(n),
    }


def _ratio(a: Floats, b: Floats, otherwise: Floats) -> Floats:
    """``a / b`` where ``b`` is above 0, else ``otherwise``."""
    return np.divide(a, b, out=otherwise, where=b > 0)


def _baselines(heads: pd.DataFrame, baseline: Mapping[str, Any], keys: Sequence[str]) -> Codes:
    """Number of each group's baseline group.

    Raises:
        ValueError: a value that no row has, values that no row has together, or a group without a baseline.
    """
    is_base = np.ones(len(heads), dtype=bool)
    for name, value in baseline.items():
        has = equal_to(heads[name], value)
        if not has.any():
            near = _nearest(list(dict.fromkeys(heads[name].dropna())), value)
            near += ["None"] if heads[name].isna().any() else []
            remedy = f"the nearest are {', '.join(near)}" if near else "the frame has no row"
            raise ValueError(f"baseline must be a value that some row has, got {name}={value!r}: {remedy}")
        is_base &= has
    free = [name for name in keys if name not in baseline]
    match = group_numbers(heads, free)
    first = np.full(match.max() + 1, -1)
    first[match[is_base][::-1]] = np.flatnonzero(is_base)[::-1]  # of two that differ in the 13th digit, the first
    base = first[match]
    if (base < 0).any():
        row = heads.iloc[int((base < 0).argmax())]
        wanted = ", ".join(f"{name}={value!r}" for name, value in baseline.items())
        condition = f" with {_where(row, free)}" if free else ""
        matched = heads.loc[match == match[(base < 0).argmax()], list(baseline)]
        values = list(dict.fromkeys(_where(other, list(baseline)) for _, other in matched.iterrows()))
        raise ValueError(
            f"each group must have a baseline, but no row{condition} has {wanted}, only {_first_few(values)}: "
            + ("sweep it, name more columns in baseline, or filter the frame" if free else "take one of these")
        )
    return base


def equal_to(values: "pd.Series[Any]", value: Any) -> npt.NDArray[np.bool_]:
    """Mask of the rows that equal ``value``: exactly or, if no row does, to 12 digits, as in a point's identity."""
    if not pd.api.types.is_scalar(value):
        return np.zeros(len(values), dtype=bool)
    if pd.isna(value):
        return values.isna().to_numpy(dtype=bool)
    exact = (values.eq(value) & values.notna()).to_numpy(dtype=bool)
    if exact.any() or not _is_number(value):
        return exact
    close = [_is_number(one) and abs(one - value) <= 1e-12 * abs(value) for one in values]
    return np.array(close, dtype=bool)


def _nearest(values: list[Any], value: Any) -> list[str]:
    if _is_number(value) and all(_is_number(one) for one in values):
        return [repr(_plain(one)) for one in sorted(values, key=lambda one: abs(one - value))[:3]]
    text = {str(_plain(one)): repr(_plain(one)) for one in values}
    return [text[name] for name in nearest(str(value), text) or list(text)[:3]]


def _unpaired(seed: Codes, group: Codes, base: Codes, heads: pd.DataFrame, worst: int) -> str:
    def held(number: int) -> str:
        own = np.unique(seed[group == number])
        return f"{len(own)} ({own[0]} to {own[-1]})" if len(own) else "none"

    where = _where(heads.iloc[worst], list(heads.columns))
    return (
        f"a group and its baseline must have finished seeds in common, but {where} has {held(worst)} and its "
        f"baseline {held(int(base[worst]))}: sweep both with the same seed, or filter the frame"
    )


def _where(row: "pd.Series[Any]", names: Sequence[str]) -> str:
    return ", ".join(f"{name}={None if pd.isna(row[name]) else _plain(row[name])!r}" for name in names)


def _first_few(texts: list[str]) -> str:
    return "; ".join(texts[:3]) + (f" and {len(texts) - 3} more" if len(texts) > 3 else "")


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not (isinstance(value, bool) or pd.isna(value))
