"""The table of what an inference costs, in the texts that terminal and page share."""

from __future__ import annotations

from typing import Any

import pandas as pd

from rramsweep.analysis.schema import ENDED
from rramsweep.cost import COLUMNS
from rramsweep.reporting.axis import text_of
from rramsweep.reporting.recovery_table import Words

COST = Words(
    "cost of an inference by published constants",
    "lowest..highest of the sources, and their geometric mean; memories, routers and control are not counted "
    "(rramsweep/cost/README.md)",
    tuple(name.removeprefix("cost.").replace("_", " ") for name in COLUMNS),
)


def cost_table(summary: pd.DataFrame) -> tuple[list[str], list[list[str]]] | None:
    """Names of the columns that tell rows apart, and the rows' texts, those of `COST.numbers` last.

    Args:
        summary: of a results frame.

    Returns:
        None where no chip has a cost.
    """
    if not any(name in summary for name in COLUMNS):
        return None
    by = [name for name in summary.attrs["by"] if name != ENDED]
    rows = []
    for row in summary.to_dict("records"):
        values = ["-" if pd.isna(row[name]) else text_of(row[name], name) for name in by]
        rows.append([*values, *(_text(row, name) for name in COLUMNS)])
    return by, rows


def _text(row: dict[Any, Any], name: str) -> str:
    numbers = [row.get(f"{name}{end}", float("nan")) for end in ("", "_low", "_high")]
    if any(pd.isna(number) for number in numbers):
        return "-"
    middle, low, high = (f"{float(f'{number:.3g}'):,g}" for number in numbers)
    return f"{middle} ({low}..{high})"
