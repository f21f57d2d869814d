"""The table of `inspect`: each layer's errors over a few chips, and warnings of implausible ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from rramsweep.scale import percent

LAYER = "layer"

# The one fact that is text and has no mean: it is taken from the chip with the smallest `g_eff_worst`.
CORNER = "g_eff_worst_corner"

# A limit of ours, not a measured one: PyRRAM-Sim's three placeholder stages give 0.418 (Gaussian weights, W_max = 4
# std) [D].
MVM_LIMIT = 0.40

# Column of each step's contribution to the error -> its name and the remedy.
STEPS = {
    "by_mapping": ("mapping and quantisation", "give the device more levels, or use mapping.scale=per_channel"),
    "by_programming": ("programming", "take the programming error of a measured device"),
    "by_relaxation": ("relaxation", "take the relaxation of a measured device or an earlier t_s"),
    "by_drift": ("drift", "take a smaller drift or an earlier t_s"),
    "by_variation": ("variation", "lower variation.sigma"),
    "by_faults": ("stuck cells", "lower the rates of faults"),
    "by_wires": ("wires", "take smaller tiles, or lower wires.word_line_ohm and wires.bit_line_ohm"),
    "by_dac": ("the DAC", "raise dac.bits, or dac.percentile where it clips (dac_clip_rate)"),
    "by_iv": ("the I-V curve", "lower iv.v_read_V, or apply inputs bit by bit with dac.accumulation=digital"),
    "by_read_noise": ("read noise", "lower read_noise"),
    "by_adc": (
        "the ADC",
        "raise adc.bits, take adc.per=column or adc.percentile=99, or drive fewer rows at once (tile.rows_active)",
    ),
}

# A step with at least this share of the sum of the steps' squares is named as a cause; if none has, the largest is.
CAUSE = 0.25

# Steps below this are the rounding of float32.
ROUNDING = 1e-5

# A percentile of W_max below 99 is rarely intended; 99.9 saturates one weight in a thousand.
SATURATED_LIMIT = 0.01

# Most of the cells that should hold a weight hold the end of the window.
PUSHED_LIMIT = 0.5


def layer_table(points: Sequence[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]]) -> pd.DataFrame:
    """One row a point and layer, means over the chips; `attrs["warnings"]` names implausible values.

    Args:
        points: for each point its labels (the swept columns) and the rows of `inspection.inspect_layers`.

    Returns:
        The labels' columns, `layer`, `chips`, the mean of every fact (`CORNER` is the worst chip's), and after the two
        errors their smallest and largest chip (`mvm_error_min`, `mvm_error_max`, `weight_error_min`,
        `weight_error_max`). `attrs["by"]` names the labels' columns.
    """
    tables = []
    for labels, rows in points:
        facts = pd.DataFrame(list(rows))
        facts = facts.astype(dict.fromkeys(facts.columns.difference([LAYER, "seed", CORNER]), "float64"))
        by_layer = facts.drop(columns=["seed", CORNER], errors="ignore").groupby(LAYER, sort=False)
        table = by_layer.mean()
        if CORNER in facts:
            corners = facts.sort_values("g_eff_worst", kind="stable").groupby(LAYER)[CORNER].first()
            table.insert(list(table).index("g_eff_worst") + 1, CORNER, corners)
        for error in ("mvm_error", "weight_error"):
            for end in ("max", "min"):
                table.insert(list(table).index(error) + 1, f"{error}_{end}", by_layer[error].agg(end))
        table.insert(0, "chips", by_layer.size())
        table = table.reset_index()
        for name in reversed(list(labels)):
            table.insert(0, name, pd.Series([labels[name]] * len(table), dtype="object").infer_objects())
        tables.append(table)
    whole = pd.concat(tables, ignore_index=True)
    whole.attrs["by"] = list(points[0][0])
    whole.attrs["warnings"] = warnings_of(whole)
    return whole


def warnings_of(table: pd.DataFrame) -> list[str]:
    """One sentence with its remedy for each kind of implausible row of a layer table, at its worst place."""
    by = table.attrs["by"]
    found = []
    # Layers whose products are not seen have only a weight error.
    error = table["mvm_error"].fillna(table["weight_error"])
    row = table.iloc[int(error.fillna(0.0).argmax())]
    if error.max() > MVM_LIMIT:
        found.append(
            f"the relative MVM error of {_where(row, by)} is {_percent(error.max())}, above {_percent(MVM_LIMIT)} "
            "(PyRRAM-Sim's three stages, placeholders of no technology, give about that much [D])"
            f"{_others(error > MVM_LIMIT)}{_causes(row)}; or use another mapping"
        )
    row = table.iloc[int(table["saturated_share"].argmax())]
    if row["saturated_share"] > SATURATED_LIMIT:
        found.append(
            f"{_percent(row['saturated_share'])} of the weights of {_where(row, by)} are larger than W_max and saturate"
            f"{_others(table['saturated_share'] > SATURATED_LIMIT)}: raise mapping.percentile or use mapping.w_max=max"
        )
    row = table.iloc[int(table["pushed_share"].argmax())]
    if row["pushed_share"] > PUSHED_LIMIT:
        found.append(
            f"{_percent(row['pushed_share'])} of the cells of {_where(row, by)} whose weights ask for a conductance "
            f"inside the window sit at its edge{_others(table['pushed_share'] > PUSHED_LIMIT)}: lower the errors, give "
            "the device finer levels, or use mapping.scale=per_channel"
        )
    return found


def cause_squares(row: pd.Series[Any]) -> pd.Series[float]:
    """Squared contribution of each step to the error of a row, by name; 0 for a step without one."""
    return row.reindex(list(STEPS)).astype("float64").fillna(0.0).pow(2)


def main_cause(row: pd.Series[Any]) -> str | None:
    """Name of the step that adds most to the error of a row; None where every step is rounding."""
    squares = cause_squares(row)
    return STEPS[str(squares.idxmax())][0] if squares.max() > ROUNDING**2 else None


def _causes(row: pd.Series[Any]) -> str:
    """Clause on the main causes of a row's error, the largest first, each with its own |dW| / |W|, and the remedies."""
    squares = cause_squares(row).sort_values(ascending=False, kind="stable")
    causes = [str(name) for name in squares.index if squares[name] >= CAUSE * squares.sum()] or [str(squares.index[0])]
    shares = " and ".join(f"{STEPS[name][0]} ({_percent(row[name])})" for name in causes)
    return f", and comes mostly from {shares}: {'; '.join(STEPS[name][1] for name in causes)}"


def _where(row: pd.Series[Any], by: Sequence[str]) -> str:
    return f"layer {row[LAYER]}{f' at {_place({name: row[name] for name in by})}' if by else ''}"


def _place(labels: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in labels.items())


def _others(over: pd.Series[bool]) -> str:
    return f" (so in {int(over.sum())} of {len(over)} rows)" if over.sum() > 1 else ""


def _percent(share: float) -> str:
    return f"{percent(share, significant=3)} %"
