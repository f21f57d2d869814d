"""Layers that cost the most: loss with one layer alone on the array, and gain where it leaves, chip by chip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rramsweep.analysis.comparison import compare
from rramsweep.analysis.layer_table import LAYER
from rramsweep.analysis.schema import METRIC
from rramsweep.analysis.summary import good_chips, losses, moments
from rramsweep.analysis.target import Target
from rramsweep.errors import Sentence, ValidationError
from rramsweep.intervals import share_bound
from rramsweep.scale import HIGHER

# Column of a frame that says which layers are on the array, and its values; of one layer `ALONE` and `WITHOUT` with the
# layer's name behind.
ON_ARRAY = "on_array"
DIGITAL, ALL, ALONE, WITHOUT = "none", "all", "only ", "all but "

_ENDS = ("mean", "low", "high")


def by_variant(chips: pd.DataFrame, points: Mapping[str, str]) -> pd.DataFrame:
    """The chips of each variant of a network, `{variant: point_id}`, and the digital network beside them.

    Args:
        chips: a results frame; a point may be several variants.
        points: by their `ON_ARRAY`.

    Returns:
        The rows with the column `ON_ARRAY`. Those of `DIGITAL` hold the digital network's score for each seed, taken
        from the rows of the chips.
    """
    parts = [chips[chips["point_id"] == point_id].assign(**{ON_ARRAY: name}) for name, point_id in points.items()]
    one = chips[chips["status"] == "ok"].drop_duplicates("seed").copy()
    one["n_correct"] += one["n_lost"] - one["n_gained"]
    one[["n_lost", "n_gained"]] *= 0
    for score in ("score", "accuracy"):
        one[score] = one[f"digital_{score}"]
    parts.append(one.assign(**{ON_ARRAY: DIGITAL, "point_id": DIGITAL}))
    frame = pd.concat(parts, ignore_index=True)
    frame.attrs = {}
    return frame


def sensitivities(chips: pd.DataFrame, sizes: Mapping[str, tuple[int, int]]) -> pd.DataFrame:
    """One row a layer, the most sensitive first, from the chips of `by_variant`.

    Args:
        chips: from `by_variant`, with `ALL`, and `ALONE` and `WITHOUT` of each layer.
        sizes: cells and multiply-accumulates of each layer.

    Returns:
        The columns, all losses in the metric's unit and positive where the score is worse

        - ``layer``
        - ``alone_n``; ``alone_mean``, ``alone_low``, ``alone_high``: loss against digital with this layer alone on the
          array, with its 95 % t interval over chips (`compare`)
        - ``gain_n``; ``gain_mean``, ``gain_low``, ``gain_high``: how much better the same chips are where this layer
          alone is digital, and its paired interval
        - ``sensitivity``: mean of ``alone_mean`` and ``gain_mean``, the layer's first and its last marginal loss. It
          orders the rows: on an array with few errors the former dominates, with many the latter
        - ``cells``, ``cells_share``, ``macs``, ``macs_share``: cells and multiply-accumulates (with weights, of one
          input), and their shares of all those on the array, which add up to 1
        - ``all_n``; ``all_mean``, ``all_low``, ``all_high``: loss of all layers together, in each row
        - ``digital_score`` and the ``metric.`` columns

    Raises:
        ValueError: no chip of a variant finished.
    """
    metric = chips.iloc[0]
    against_digital, against_all = (
        _worse(compare(chips, {ON_ARRAY: baseline}, [ON_ARRAY]), metric[HIGHER]) for baseline in (DIGITAL, ALL)
    )
    total = np.array(list(sizes.values()), dtype=np.float64).sum(0)
    rows = []
    for layer, (cells, macs) in sizes.items():
        alone, gain = against_digital[ALONE + layer], against_all[WITHOUT + layer]
        row: dict[str, Any] = {LAYER: layer, "alone_n": alone["n"]}
        row |= {f"alone_{end}": alone[end] for end in _ENDS}
        # A gain is a negative loss, so the ends of its interval swap.
        row |= {"gain_n": gain["n"], "gain_mean": 0.0 - gain["mean"]}
        row |= {"gain_low": 0.0 - gain["high"], "gain_high": 0.0 - gain["low"]}
        row["sensitivity"] = (row["alone_mean"] + row["gain_mean"]) / 2
        shares = (size / whole if whole else np.nan for size, whole in zip((cells, macs), total, strict=True))
        row |= dict(zip(("cells", "macs", "cells_share", "macs_share"), (cells, macs, *shares), strict=True))
        rows.append(row)
    whole_chip = against_digital[ALL]
    table = pd.DataFrame(rows).assign(
        all_n=whole_chip["n"],
        **{f"all_{end}": whole_chip[end] for end in _ENDS},
        digital_score=chips.loc[chips[ON_ARRAY] == DIGITAL, "score"].iloc[0],
        **{name: metric[name] for name in METRIC},
    )
    return table.sort_values("sensitivity", ascending=False, kind="stable", ignore_index=True)


def _worse(compared: pd.DataFrame, higher: bool) -> dict[str, dict[str, Any]]:
    """Differences of `compare` as losses: `{variant: {n, mean, low, high}}`."""
    ends = {"mean": "mean", "low": "high", "high": "low"} if higher else dict(zip(_ENDS, _ENDS, strict=True))
    sign = -1.0 if higher else 1.0
    return {
        str(row[ON_ARRAY]): {
            "n": int(row["n"]),
            **{end: sign * row[f"difference_{of}"] + 0.0 for end, of in ends.items()},  # + 0.0: no negative zero
        }
        for row in compared.to_dict("records")
    }


def judged(chips: pd.DataFrame, target: Target, limit: float) -> dict[str, Any]:
    """Hold the chips of one point to a target, each of which must have finished: a chip that failed is not good.

    Args:
        chips: rows of a results frame, of one point.
        target: a share of good chips, or a mean loss.
        limit: largest loss, from `Target.limit`.

    Returns:
        `n`; `loss_mean`, `loss_low`, `loss_high` with the 95 % t interval; `good_share` and `yield_bound`, its exact
        lower 95 % bound; and `met`.

    Raises:
        ValidationError: a chip failed.
    """
    bad = chips[chips["status"] != "ok"]
    if len(bad):
        raise ValidationError(
            Sentence(
                f"every chip that is held to a target must finish, but {len(bad)} of {len(chips)} failed, most often "
                f"with {bad['error'].value_counts().index[0]!r}"
            ),
            "correct the cause, then add retry_failed=true",
        )
    ok = chips.drop_duplicates("seed")
    n, group = np.array([len(ok)]), np.zeros(len(ok), dtype=np.int64)
    higher = ok[HIGHER].to_numpy(dtype=bool)
    loss = {end: float(moments(losses(ok, higher), group, n)[end][0]) for end in _ENDS}
    good = np.array([good_chips(ok, np.full(len(ok), limit), higher).sum()], dtype=np.int64)
    bound = float(share_bound(good, n)[0])
    # Losses in whole images are compared with a typed limit, so a difference in the last bits does not count.
    met = loss["high"] <= limit * (1 + 1e-9) if target.yield_ is None else bound >= target.yield_
    return {
        "n": len(ok),
        **{f"loss_{end}": value for end, value in loss.items()},
        "good_share": float(good[0] / len(ok)),
        "yield_bound": bound,
        "met": bool(met),
    }


def fewest_digital(
    order: Sequence[str], alone: Sequence[str], meets: Callable[[Sequence[str]], bool]
) -> list[str] | None:
    """Choose a small set of layers to leave digital: greedy in the order of a table, each step measured.

    Layers leave the array one after the other, the most sensitive first, until the target is met; then each of them
    goes back if the target is still met with it. The set need not be the smallest of all, which would take a
    measurement of every set.

    Args:
        order: the layers, the most sensitive first.
        alone: layers that meet the target when alone on the array.
        meets: measures a set of digital layers; True if the target is met.

    Returns:
        The layers, in their order; None if no set short of all layers meets the target, as when no layer alone does.
    """
    if not alone:
        return None
    last = next(layer for layer in reversed(order) if layer in alone)
    steps = [list(order[:k]) for k in range(len(order))] + [[layer for layer in order if layer != last]]
    chosen = next((step for step in steps if meets(step)), None)
    if chosen is None:
        return None
    for layer in reversed(chosen):
        fewer = [other for other in chosen if other != layer]
        if meets(fewer):
            chosen = fewer
    return chosen
