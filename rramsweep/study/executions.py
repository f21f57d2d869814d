"""Ways to run networks, as plain data: one for each kind of network, in a store's `executions.json` and in a plan.

They are kept because trials of one point are comparable to the last bit under one way of running alone: a sweep that
goes on on another machine, under another launcher, or with a later rule, runs as it began.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from rramsweep.errors import ValidationError
from rramsweep.study.records import Each, Optional, mismatch, read_record, whole

EXECUTIONS_FILE = "executions.json"

FORMATS = ("contiguous", "channels_last")

# torch splits inputs by a signed integer; no set of inputs has more.
LARGEST_BATCH = 2**31 - 1

_COUNT = whole(1, LARGEST_BATCH)


def _format(value: Any) -> str:
    return "" if value in FORMATS else " or ".join(FORMATS)


# `{kind of network: arguments of simulation.execution.Execution}`.
EXECUTIONS = Each(
    {
        "batch_size": _COUNT,
        "memory_format": _format,
        "threads": (None, _COUNT),
        "chips_per_pass": Optional(_COUNT),  # these two came later
        "chips_in_flight": Optional(_COUNT),
    }
)


def wrong_executions(document: Any, where: str = "it") -> str:
    """First place in which plain data does not say how networks are run; empty if it does."""
    wrong = mismatch(document, EXECUTIONS, where)
    if wrong:
        return wrong
    both = [k for k, way in document.items() if way.get("chips_per_pass", 1) > 1 < way.get("chips_in_flight", 1)]
    return f"{where} has both chips_per_pass and chips_in_flight above 1 for {both[0]}" if both else ""


def read_executions(path: Path) -> dict[str, Mapping[str, Any]]:
    """Read a store's file; empty where there is none.

    Raises:
        ValidationError: names the file and the first value that is wrong.
    """
    holds, remedy = "how networks are run, as rramsweep chose it", "remove it, and it is chosen again"
    try:
        document = read_record(path, EXECUTIONS, holds, remedy)
    except FileNotFoundError:
        return {}
    if wrong := wrong_executions(document):
        raise ValidationError(f"must hold {holds}, but {wrong}", remedy, parameter=str(path))
    return cast("dict[str, Mapping[str, Any]]", document)
