"""How each network of a plan is run: taken from the store, or measured once and kept there.

The store keeps it, because trials of one point are comparable to the last bit under one way of running alone: a sweep
that goes on next week, or under another launcher, must not measure anew.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from rramsweep.errors import ValidationError
from rramsweep.files import write_atomic
from rramsweep.simulation.execution import Execution, Wish
from rramsweep.simulation.passes import seconds_a_chip
from rramsweep.simulation.workbench import Workbench
from rramsweep.study.plan import Plan, Point
from rramsweep.study.records import Each, Optional, read_record, whole
from rramsweep.study.store import Store

EXECUTIONS_FILE = "executions.json"

# More than any machine has; beyond it is no measurement.
_COUNT = whole(1, 1_000_000)
EXECUTIONS = Each(
    {
        "batch_size": _COUNT,
        "memory_format": str,
        "threads": (None, _COUNT),
        "chips_per_pass": Optional(_COUNT),  # these two came later
        "chips_in_flight": Optional(_COUNT),
    }
)


def tuned(plan: Plan, store: Store, workbench: Workbench, keep: bool = True) -> Plan:
    """The plan with its setting `executions`, which the workbench uses from now on too.

    Args:
        plan: valid points.
        store: read, and written unless everything is there already.
        workbench: that built the points.
        keep: False writes nothing.

    Raises:
        OSError: the store cannot be written.
        ValueError: what the store holds of this is damaged.
    """
    workbench.wish = Wish.of(plan.settings)  # as the jobs of a launcher will see it
    path = store.root / EXECUTIONS_FILE
    known = _read(path)
    kinds: dict[str, Point] = {}
    for point in plan.points:
        kinds.setdefault(workbench.kind(point), point)
    new = {
        kind: dataclasses.asdict(workbench.measure(kinds[kind], seconds_a_chip)) for kind in kinds if kind not in known
    }
    if new and keep:
        # Another sweep may have measured meanwhile: what is there first counts.
        known = {**new, **_read(path)}
        write_atomic(path, json.dumps(known, indent=1).encode())
    known = {**new, **known}
    workbench.executions = {kind: known[kind] for kind in kinds}
    return replace(plan, settings=replace(plan.settings, executions=workbench.executions))


def _read(path: Path) -> dict[str, dict[str, Any]]:
    remedy = "remove it, and it is measured again"
    try:
        found = read_record(path, EXECUTIONS, "how networks are run, as rramsweep measured it", remedy)
        for kind, arguments in found.items():
            try:
                Execution(**arguments)
            except ValueError as error:
                allowed = f"must hold how networks are run, as rramsweep measured it, but of {kind} {error}"
                raise ValidationError(allowed, remedy, parameter=str(path)) from error
    except FileNotFoundError:
        return {}
    return cast("dict[str, dict[str, Any]]", found)
