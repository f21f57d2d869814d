"""The table of what calibrations recover and cost, in the texts that terminal and page share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rramsweep.analysis.recovery import RESAMPLES, has_recovered, recovered
from rramsweep.analysis.schema import ENDED
from rramsweep.reporting.axis import text_of
from rramsweep.scale import Bound, Scale, percent


@dataclass(frozen=True)
class Words:
    """Words about a table beside the summary.

    Args:
        title: of the table in the terminal, and on the page.
        below: what its numbers are.
        numbers: their names, behind the columns that tell rows apart.
    """

    title: str
    below: str
    numbers: Sequence[str]


RECOVERED = Words(
    "what calibration recovers of the score lost without it, and what that costs",
    f"recovered: ratio of means over the chips of both, its interval from {RESAMPLES:,} paired resamples; only where "
    "the loss exceeds its interval; MACs an input of the network",
    ("n", "lost", "recovered %", "interval", "worst before", "worst chip", "parameters", "MACs", "images"),
)

_ENDS: tuple[Bound, ...] = ("low", "high")


def recovery_table(frame: pd.DataFrame) -> tuple[list[str], list[list[str]]] | None:
    """Names of the columns that tell rows apart, and the rows' texts, those of `RECOVERED.numbers` last.

    Args:
        frame: a results frame.

    Returns:
        None where the frame does not hold chips both without and with a calibration.
    """
    if not has_recovered(frame):
        return None
    table = recovered(frame)
    by = [name for name in table.attrs["by"] if name != ENDED]
    return by, [[*_values(row, by), *_numbers(row)] for row in table.to_dict("records")]


def _values(row: dict[Any, Any], by: Sequence[str]) -> list[str]:
    return ["-" if pd.isna(row[name]) else text_of(row[name], name) for name in by]


def _numbers(row: dict[Any, Any]) -> list[str]:
    scale = Scale.of(row)
    known = not math.isnan(row["recovered_share"])
    low, high = (percent(row[f"share_{end}"], bound=end) for end in _ENDS)
    return [
        f"{row['n']:.0f}",
        scale.number(row["lost_mean"]),
        percent(row["recovered_share"]) if known else "-",
        f"{low}..{high}" if known else row["reason"],
        scale.number(row["worst_baseline"]),
        scale.number(row["worst"]),
        *("-" if pd.isna(row[name]) else f"{row[name]:,}" for name in ("extra_parameters", "extra_macs", "images")),
    ]
