"""How each network of a plan is run: taken from the store, or measured once and kept there.

The store keeps it, because trials of one point are comparable to the last bit under one way of running alone: a sweep
that goes on next week, or under another launcher, must not measure anew.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from rramsweep.execution import Wish
from rramsweep.files import write_atomic
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
    """
    workbench.wish = wish_of(plan.settings)  # as the jobs of a launcher will see it
    path = store.root / EXECUTIONS_FILE
    known = _read(path)
    kinds: dict[str, Point] = {}
    for point in plan.points:
        kinds.setdefault(workbench.kind(point), point)
    new = {kind: dataclasses.asdict(workbench.measure(kinds[kind])) for kind in kinds if kind not in known}
    if new and keep:
        # Another sweep may have measured meanwhile: what is there first counts.
        known = {**new, **_read(path)}
        write_atomic(path, json.dumps(known, indent=1).encode())
    known = {**new, **known}
    workbench.executions = {kind: known[kind] for kind in kinds}
    return replace(plan, settings={**plan.settings, "executions": workbench.executions})


def _read(path: Path) -> dict[str, dict[str, Any]]:
    return cast("dict[str, dict[str, Any]]", json.loads(path.read_bytes())) if path.exists() else {}


def wish_of(settings: Mapping[str, Any]) -> Wish:
    """What a plan's settings fix of how networks are run."""
    names = ("batch_size", "memory_format", "threads", "chips_per_pass")
    return Wish(alone=settings["shards"] == 1, **{name: settings.get(name) for name in names})
