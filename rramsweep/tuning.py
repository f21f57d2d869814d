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

from rramsweep.execution import Execution, Wish
from rramsweep.files import write_atomic
from rramsweep.passes import seconds_a_chip
from rramsweep.plan import Plan, Point
from rramsweep.store import Store
from rramsweep.workbench import Workbench

EXECUTIONS_FILE = "executions.json"


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
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_bytes())
        for arguments in found.values():
            Execution(**arguments)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} must hold how networks are run, as rramsweep measured it, but does not ({error}): remove it, and "
            "it is measured again"
        ) from error
    return cast("dict[str, dict[str, Any]]", found)
