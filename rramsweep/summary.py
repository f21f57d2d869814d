"""Statistics of the results table: one row a cell, over chips *of this network on these images*.

The chip is the unit of replication: every interval is over chips, and a cell that would pool two points is
refused.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rramsweep.frames import FACTS
from rramsweep.intervals import CONFIDENCE, Codes, Floats, crossed_errors, lower_rank, share_bound, t_interval, wilson

YIELD_DROP = 0.02
QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}


def summarize(frame: pd.DataFrame, by: Sequence[str] | None = None, yield_drop: float | None = None) -> pd.DataFrame:
    """Summarize the chips of each cell, a cell being one combination of the values in ``by``.

    Args:
        frame: a results frame. Rows with status ``ok`` count; the others only show in ``n_failed``.
        by: columns that tell the cells apart; a null is a value of its own. Default: the columns that the
            sweep varied (``frame.attrs["swept"]``), or without those, every choice and parameter that varies.
        yield_drop: accuracy that a good chip may lose against the digital network, as a fraction of 1. Default: what
            the sweep was asked for (``frame.attrs["yield_drop"]``), or 0.02.

    Returns:
        One row a cell in order of appearance. Accuracies are fractions. The columns are ``by``, then

        - ``n``, ``n_failed``: chips that finished, chips that did not
        - ``accuracy_mean``, ``accuracy_low``, ``accuracy_high``: mean and its 95 % t interval over chips,
          ``mean -+ t(0.975, n - 1) * std / sqrt(n)``; equal where all chips agree, null bounds for one chip
        - ``accuracy_std``: ddof 1, null for one chip
        - ``accuracy_min``: the worst of the n chips
        - ``se_chips``: standard error over other chips on these images, ``std / sqrt(n)``; null for one chip
        - ``se_images``: over another test set of this size, read by these chips (`intervals.crossed_errors`)
        - ``q05 q25 q50 q75 q95``: quantiles of the chips, linearly interpolated
        - ``q50_low``, ``q50_high``: two-sided 95 % interval of the median, the r-th worst and r-th best chip, whatever
          the distribution (`intervals.lower_rank`); null below 6 chips
        - ``q05_low``: one-sided lower 95 % bound on the 5 % quantile, the r-th worst chip; the worst one from 59 chips,
          null below
        - ``digital_accuracy``, ``ideal_accuracy``: the two baselines
        - ``yield_share``, ``yield_low``, ``yield_high``: share of chips with
          ``n_correct >= n_digital - floor(yield_drop * n_images + 1e-9)``, and its two-sided 95 % Wilson interval
        - ``yield_bound``: one-sided lower 95 % bound on the yield, exact (`intervals.share_bound`); what n chips
          without a failure can claim, ``0.05 ** (1 / n)``, about ``1 - 3 / n``

        A cell without a finished chip has ``n = 0`` and nulls. A chip that stands in a cell twice, under two
        names of the same point, counts once.

        ``se_images`` needs the right chips of each image: ``frame.attrs["images"]``, ``{point_id: {"n_chips": int,
        "n_correct": [one count an image]}}``, the list as such or as its JSON text (pandas copies every list of
        ``attrs`` whenever a column is read, and a text never). It is null where these are absent or of other chips
        than the cell's, so a frame of which rows were dropped has none.

    Raises:
        ValueError: a column that is not there (with the nearest names), ``yield_drop`` outside [0, 1], or a
            cell that holds more than one point, with the columns that would tell these apart.
    """
    yield_drop = allowed_drop(frame, yield_drop)
    if not 0 <= yield_drop <= 1:
        raise ValueError(f"yield_drop must lie in [0, 1], got {yield_drop}: write 0.02 for two points")
    need_facts(frame)
    keys = resolve_by(frame, by)
    frame, per_image = without_images(frame)
    frame, cell, heads = cells(frame, keys)
    ok = (frame["status"] == "ok").to_numpy(dtype=bool)
    size = len(heads)
    done = frame.loc[ok]
    n = np.bincount(cell[ok], minlength=size)

    accuracy = done["accuracy"].to_numpy(dtype=np.float64)
    correct, lost, gained, images = (
        done[name].to_numpy(dtype=np.int64) for name in ("n_correct", "n_lost", "n_gained", "n_images")
    )
    allowed = np.floor(yield_drop * images + 1e-9).astype(np.int64)
    good = correct >= correct + lost - gained - allowed

    columns: dict[str, Any] = {"n": n, "n_failed": np.bincount(cell[~ok], minlength=size)}
    columns |= _chips(accuracy, cell[ok], n)
    first = np.unique(cell, return_index=True)[1]
    right = np.bincount(cell[ok], weights=correct, minlength=size).astype(np.int64)
    columns["se_images"] = _se_images(per_image, frame["point_id"].to_numpy()[first], accuracy, cell[ok], right)
    columns |= _quantiles(accuracy, cell[ok], n)
    baselines = done[["digital_accuracy", "ideal_accuracy"]].groupby(cell[ok]).first().reindex(range(size))
    columns |= {str(name): baselines[name].to_numpy(dtype=np.float64) for name in baselines}
    columns |= _yield(np.bincount(cell[ok], weights=good, minlength=size).astype(np.int64), n)
    out = heads.assign(**columns)
    out.attrs = {"by": keys, "yield_drop": yield_drop}
    return out


def need_facts(frame: pd.DataFrame) -> None:
    """Refuse a frame that lacks columns of the schema.

    Raises:
        ValueError: it does.
    """
    needed = [name for name in FACTS if name not in frame.columns]
    if needed:
        raise ValueError(f"a results frame lacks columns {', '.join(needed)}: make it with join() or read()")


def allowed_drop(frame: pd.DataFrame, yield_drop: float | None) -> float:
    """The drop that a good chip may have: the one given, else the sweep's own, else the default of a run."""
    return float(frame.attrs.get("yield_drop", YIELD_DROP)) if yield_drop is None else yield_drop


def resolve_by(frame: pd.DataFrame, by: Sequence[str] | None) -> list[str]:
    """The columns that tell cells apart; see `summarize`.

    Raises:
        ValueError: a name that is no column, or a fact that is an outcome of the trial.
    """
    conditions = [str(name) for name in frame.columns if name not in FACTS]
    if by is None and "swept" in frame.attrs:
        # A swept seed is the chip itself, and a swept machine setting has no column.
        return [name for name in frame.attrs["swept"] if name in conditions]
    if by is None:
        return [name for name in conditions if frame[name].nunique(dropna=False) > 1]
    names = [by] if isinstance(by, str) else list(dict.fromkeys(by))
    allowed = ["point_id", "seed", *conditions]
    for name in names:
        if name in FACTS and name not in allowed:
            raise ValueError(f"by takes choices and parameters, got {name!r}, an outcome: drop it")
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, n=3, cutoff=0.5)
            near += [full for full in allowed if full.rpartition(".")[2] == name and full not in near]
            remedy = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(conditions)}"
            raise ValueError(f"columns must be in the frame, got {name!r}: {remedy}")
    return names


def cells(frame: pd.DataFrame, keys: Sequence[str]) -> tuple[pd.DataFrame, Codes, pd.DataFrame]:
    """Sort chips into cells: the rows without repeated chips, the cell number of each, the cells' ``keys``.

    Cells are numbered in order of appearance.

    Raises:
        ValueError: a cell holds more than one point.
    """
    code = np.zeros(len(frame), dtype=np.int64)
    for name in keys:
        level, levels = pd.factorize(frame[name], use_na_sentinel=False)
        # Renumbered each time, so that many columns cannot overflow.
        code = pd.factorize(code * max(len(levels), 1) + level)[0].astype(np.int64)
    rows = pd.DataFrame({"cell": code, "point": frame["point_id"].to_numpy(), "seed": frame["seed"].to_numpy()})
    first = np.unique(code, return_index=True)[1]
    held = np.bincount(rows[["cell", "point"]].drop_duplicates()["cell"], minlength=len(first))
    if (held > 1).any():
        worst = int((held > 1).argmax())
        raise ValueError(_pooled(frame.loc[code == worst], keys, int(held[worst])))
    once = ~rows.duplicated().to_numpy()
    return frame.loc[once], code[once], frame.iloc[first][list(keys)].reset_index(drop=True)


def moments(values: Floats, cell: Codes, n: Codes) -> dict[str, Floats]:
    """Mean, standard deviation (ddof 1) and 95 % t interval of each cell's values, by name; ``n`` counts them."""
    stat = pd.Series(values).groupby(cell).agg(["mean", "std", "sem", "min", "max"]).reindex(range(len(n)))
    # Rounding makes the mean of equal numbers another number, with a spread of 1e-17.
    flat = (stat["min"] == stat["max"]).to_numpy()
    mean = np.where(flat, stat["min"], stat["mean"])
    std, sem = (np.where(flat & (n > 1), 0.0, stat[name]) for name in ("std", "sem"))
    low, high = t_interval(mean, sem, n)
    return {"mean": mean, "low": low, "high": high, "std": std, "sem": sem, "min": stat["min"].to_numpy()}


def _chips(accuracy: Floats, cell: Codes, n: Codes) -> dict[str, Floats]:
    stat = moments(accuracy, cell, n)
    out = {f"accuracy_{name}": stat[name] for name in ("mean", "low", "high", "std", "min")}
    return out | {"se_chips": stat["sem"]}


def _quantiles(accuracy: Floats, cell: Codes, n: Codes) -> dict[str, Floats]:
    chips = pd.Series(accuracy).groupby(cell)
    levels = {name: chips.quantile(q).reindex(range(len(n))) for name, q in QUANTILES.items()}
    out: dict[str, Floats] = {name: np.asarray(level, dtype=np.float64) for name, level in levels.items()}
    ordered, start = accuracy[np.lexsort((accuracy, cell))], np.cumsum(n) - n
    alpha = 1 - CONFIDENCE
    worst, tail = lower_rank(n, 0.5, alpha / 2), lower_rank(n, 0.05, alpha)
    best = np.where(worst > 0, n + 1 - worst, 0)
    for name, rank in (("q50_low", worst), ("q50_high", best), ("q05_low", tail)):
        bound = np.full(len(n), np.nan)
        bound[rank > 0] = ordered[(start + rank - 1)[rank > 0]]
        out[name] = bound
    return out


def without_images(frame: pd.DataFrame) -> tuple[pd.DataFrame, Mapping[str, Any]]:
    """The frame without the counts per image, which pandas would copy each time a column is read, and these."""
    images: Mapping[str, Any] = frame.attrs.get("images") or {}
    if images:
        frame = frame.copy(deep=False)
        frame.attrs = {name: value for name, value in frame.attrs.items() if name != "images"}
    return frame, images


def _se_images(images: Mapping[str, Any], ids: Any, accuracy: Floats, cell: Codes, right: Codes) -> Floats:
    out = np.full(len(ids), np.nan)
    if not images:
        return out
    chips = np.split(accuracy[np.argsort(cell, kind="stable")], np.cumsum(np.bincount(cell, minlength=len(ids)))[:-1])
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


def _yield(good: Codes, n: Codes) -> dict[str, Floats]:
    share = np.divide(good, n, out=np.full(len(n), np.nan), where=n > 0)
    bounds = np.array([wilson(int(k), int(m)) for k, m in zip(good, n, strict=True)]).reshape(-1, 2)
    wilsons = {"yield_low": bounds[:, 0], "yield_high": bounds[:, 1]}
    return {"yield_share": share, **wilsons, "yield_bound": share_bound(good, n)}


def _pooled(rows: pd.DataFrame, keys: Sequence[str], held: int) -> str:
    where = ", ".join(f"{name}={rows[name].iloc[0]}" for name in keys) or "of the whole frame"
    differ = [str(name) for name in rows.columns if name not in FACTS and rows[name].nunique(dropna=False) > 1]
    if differ:
        remedy = f"which differ in {', '.join(differ)}: add one to by, or filter the frame"
    else:
        remedy = "which no column tells apart (other weights, images or code): add point_id to by"
    return f"a cell must hold one point, cell {where} holds {held}, {remedy}"
