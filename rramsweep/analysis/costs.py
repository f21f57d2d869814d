"""Costs of chips as columns: the constants of a plan's points applied to what the store holds of their trials."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa

from rramsweep.analysis.schema import COSTS
from rramsweep.construct import build
from rramsweep.cost import COLUMNS, KIND, ChipCost, Interval, NetworkCounts, Published
from rramsweep.study.facts import ARRAY
from rramsweep.study.plan import Point

# Facts that a cost takes.
_TAKEN = ("status", ARRAY, "calibration.extra_macs")


def cost_of(point: Point) -> ChipCost | None:
    """Cost of a point's chips; None where none is asked for, or a layer has no converters.

    Raises:
        ValueError: the plan holds constants or counts that are none.
    """
    if point.counts is None:
        return None
    cost = build(point.config["cost"], "cost", KIND)
    return cost.chip_cost(NetworkCounts.read(point.counts)) if isinstance(cost, Published) else None


def with_costs(facts: pa.Table, costs: Sequence[ChipCost | None]) -> pa.Table:
    """Facts with the columns of `COSTS`, the cost of each row; null of a failed trial.

    The energy is null too where the store does not know what the array of the chip drew.
    """
    columns: dict[str, list[float | None]] = {name: [None] * len(facts) for name in COSTS}

    def put(row: int, name: str, interval: Interval) -> None:
        for end, value in (("", interval.middle), ("_low", interval.low), ("_high", interval.high)):
            columns[f"{name}{end}"][row] = value

    if any(cost is not None for cost in costs):
        energy, area, latency = COLUMNS
        for row, (cost, status, array_uS, macs) in enumerate(
            zip(costs, *(facts[name].to_pylist() for name in _TAKEN), strict=True)
        ):
            if cost is None or status != "ok":
                continue
            put(row, area, cost.area_um2)
            put(row, latency, cost.latency_us)
            if array_uS is not None:
                put(row, energy, cost.energy_pJ(array_uS, macs or 0))
    for name, values in columns.items():
        facts = facts.append_column(name, pa.array(values, pa.float64()))
    return facts


def unpriced(frame: pd.DataFrame) -> list[str]:
    """Note on chips with an area and without an energy: what their arrays drew was not measured when they ran."""
    energy, area, _ = COLUMNS
    if area not in frame or energy not in frame:
        return []
    n = int((frame[area].notna() & frame[energy].isna()).sum())
    if not n:
        return []
    chips = "1 chip has" if n == 1 else f"{n:,} chips have"
    return [
        f"{chips} no {energy}: the store has these trials from before a cost was asked for, without what the array "
        "drew; run the sweep again, which runs these chips again"
    ]
