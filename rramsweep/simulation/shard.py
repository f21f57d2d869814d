"""The work of one shard: running the trials of a plan that the store lacks, and storing their rows."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rramsweep.files import write_atomic
from rramsweep.simulation.execution import ExecutionSettings
from rramsweep.simulation.passes import run_trials
from rramsweep.simulation.trial import failure
from rramsweep.simulation.workbench import Workbench
from rramsweep.study.executions import EXECUTIONS_FILE, read_executions
from rramsweep.study.facts import ARRAY
from rramsweep.study.plan import Plan, Point
from rramsweep.study.progress import ProgressFile, Tally
from rramsweep.study.stopping import Fixed, in_order
from rramsweep.study.store import Store

# A kill loses at most this much work. A shorter time makes more and smaller fragments, and thus more bytes a row.
FLUSH_S = 2.0

# Number of points per shard from which whole points are handed out; with fewer, the chips of a point are split.
POINTS_PER_SHARD = 4


# The workbench of the sweep that runs in this process, by its plan's path: whoever runs the sweep puts it here, and the
# first shard takes it over, with the data and the baselines it holds. Shards in other processes, and later ones in
# this, build their own.
workbenches: dict[Path, Workbench] = {}


def shard_of(plan: Plan, shard: int, shards: int) -> Plan:
    """Part `shard` of `shards` of a plan; the parts are disjoint and together are the whole plan.

    The split depends on the plan only, never on the contents of the store, so that shards that start at different times
    do not overlap. A point with a stopping rule that depends on its chips is not split.

    Raises:
        ValueError: the shard does not exist.
    """
    if not 0 <= shard < shards:
        raise ValueError(f"shard must lie in 0..{shards - 1}, got {shard}: give shard below shards")
    if shards == 1:
        return plan
    if len(plan.points) >= POINTS_PER_SHARD * shards or not isinstance(plan.settings.stopping, Fixed):
        kept = range(shard, len(plan.points), shards)
        return replace(plan, points=[plan.points[i] for i in kept], seeds=[plan.seeds[i] for i in kept])
    # Rotating the split from point to point balances the remainders.
    seeds = [list(s)[(shard + i) % shards :: shards] for i, s in enumerate(plan.seeds)]
    return replace(plan, seeds=seeds)


def choose_executions(plan: Plan, store: Store, workbench: Workbench, keep: bool = True) -> Plan:
    """Decide the way to run each network of a plan: that recorded in the store, else that of the rule.

    Args:
        plan: valid points.
        store: read, and written unless it already holds everything.
        workbench: builder of the points, which runs them in these ways from now on.
        keep: False writes nothing.

    Returns:
        The plan with its setting `executions`.

    Raises:
        OSError: the store cannot be written.
        ValidationError: the store's file is damaged.
    """
    workbench.settings = ExecutionSettings.of(plan.settings)  # as in the jobs of a launcher
    path = store.root / EXECUTIONS_FILE
    known = read_executions(path)
    kinds: dict[str, Point] = {}
    for point in plan.points:
        kinds.setdefault(workbench.kind(point), point)
    workbench.executions = {kind: known[kind] for kind in kinds if kind in known}
    for point in kinds.values():
        workbench.execution(point)
    if keep and not kinds.keys() <= known.keys():
        known = {**workbench.executions, **read_executions(path)}  # another sweep may have written meanwhile
        write_atomic(path, json.dumps(known, indent=1).encode())
        workbench.executions = {kind: known[kind] for kind in kinds}
    return replace(plan, settings=replace(plan.settings, executions=workbench.executions))


class Work:
    """The trials that a plan still lacks, handed out point by point and batch by batch.

    Args:
        plan: the points, and at most these seeds of each.
        store: stored rows are not run again, failed ones neither unless `retry_failed`.
        retry_failed: run failed trials again.
    """

    def __init__(self, plan: Plan, store: Store, retry_failed: bool = False) -> None:
        self._plan, self._settings = plan, plan.settings
        self._known: dict[str, dict[int, float | None]] = {}
        # A plan may have a point with and without a cost: the chips of both are run once, with it.
        self._powered = {p.point_id: p for p in plan.points if p.draws_power}
        table = store.facts(p.point_id for p in plan.points)
        columns = (table[c].to_pylist() for c in ("point_id", "seed", "status", "score", ARRAY))
        for point_id, seed, status, score, array_uS in zip(*columns, strict=True):
            if status == "ok" and array_uS is None and point_id in self._powered:
                continue  # run before a cost was asked for: what its array draws takes the chip
            if status == "ok" or not retry_failed:
                self._known.setdefault(point_id, {})[seed] = score

    def __iter__(self) -> Iterator[tuple[Point, list[int]]]:
        for point, seeds in zip(self._plan.points, self._plan.seeds, strict=True):
            while batch := self._batch(point, seeds):
                yield self._powered.get(point.point_id, point), batch

    def left(self) -> int:
        """Largest number of trials that the plan lacks; a stopping rule may need fewer."""
        left = 0
        counted: dict[str, set[int]] = {}
        for point, seeds in zip(self._plan.points, self._plan.seeds, strict=True):
            if self._batch(point, seeds):
                new = set(seeds) - set(self._known.get(point.point_id, {})) - counted.get(point.point_id, set())
                counted.setdefault(point.point_id, set()).update(new)
                left += len(new)
        return left

    def stored(self, point: Point, seeds: Sequence[int]) -> int:
        """Number of these seeds that need no run."""
        return len(set(seeds) & self._known.get(point.point_id, {}).keys())

    def observe(self, row: Mapping[str, Any]) -> None:
        """Record a finished trial."""
        self._known.setdefault(row["point_id"], {})[row["seed"]] = row.get("score")

    def _batch(self, point: Point, seeds: Sequence[int]) -> list[int]:
        known = self._known.get(point.point_id, {})
        first = in_order(known, seeds)
        if self._settings.ended(first, len(seeds)) is not None:
            return []
        upto = self._settings.stopping.next_check(len(first), len(seeds))
        return [s for s in seeds[:upto] if s not in known]


def run_shard(
    work: Work,
    store: Store,
    workbench: Workbench,
    report: Callable[[Tally], None] = lambda _: None,
) -> Tally:
    """Run trials and store every row, whatever ends the loop.

    Args:
        work: the trials to run.
        store: receives the rows, every `FLUSH_S` seconds and at the end.
        workbench: builds each point.
        report: called with the tally after each trial.

    Raises:
        OSError: the store cannot take the rows.
    """
    tally = Tally()
    batch = Batch()
    flushed = time.monotonic()
    threads_before = torch.get_num_threads()
    try:
        for point, seeds in work:
            for row, correct in _trials(point, seeds, workbench):
                batch.add(point, row, correct)
                work.observe(row)
                tally.ok += row["status"] == "ok"
                tally.failed += row["status"] != "ok"
                report(tally)
                if time.monotonic() - flushed > FLUSH_S:
                    batch.flush(store)
                    flushed = time.monotonic()
    finally:
        torch.set_num_threads(threads_before)
        batch.flush(store)
    return tally


def run_plan_shard(path: Path, shard: int, shards: int, allow: list[str]) -> None:
    """Run the trials of one shard that the store lacks, into the store that the plan names.

    Args:
        path: of the plan; the shard's progress goes beside it.
        shard: number of the part.
        shards: number of parts.
        allow: packages whose classes a point may name.

    Raises:
        ValueError: the plan cannot be read, or the shard does not exist.
        OSError: the store cannot take the rows.
    """
    plan = Plan.load(path)
    settings = plan.settings
    store = Store(Path(settings.store))
    work = Work(shard_of(plan, shard, shards), store, settings.retry_failed)
    fixed = ExecutionSettings.of(settings)
    workbench = workbenches.pop(path.absolute(), None) or Workbench(allow, fixed, settings.executions)
    progress = ProgressFile(path.parent, shard)
    try:
        run_shard(work, store, workbench, progress)
    finally:
        progress.write()


class Batch:
    """Finished trials on their way to the store."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._points: dict[str, Point] = {}
        self._seeds: dict[str, list[int]] = {}
        self._correct: dict[str, Tensor] = {}

    def add(self, point: Point, row: dict[str, Any], correct: Tensor | None) -> None:
        """Add one trial: its row, and the mask of correctly answered inputs, if the metric counts them."""
        self._rows.append(row)
        self._points[point.point_id] = point
        if correct is not None:
            self._seeds.setdefault(point.point_id, []).append(row["seed"])
            before = self._correct.get(point.point_id)
            self._correct[point.point_id] = correct.int() if before is None else before.add_(correct)

    def flush(self, store: Store) -> None:
        """Write everything to the store and start an empty batch; rows that cannot be written are kept."""
        if self._rows:
            images = [
                {"point_id": point_id, "seeds": seeds, "n_correct": self._correct[point_id].tolist()}
                for point_id, seeds in self._seeds.items()
            ]
            store.add(self._rows, self._points.values(), images)
            self._clear()


def _trials(point: Point, seeds: Sequence[int], workbench: Workbench) -> Iterator[tuple[dict[str, Any], Tensor | None]]:
    try:
        bench = workbench.bench(point, len(seeds))
        bench.execution.use_threads()
    except Exception as error:
        for seed in seeds:
            yield {"point_id": point.point_id, "seed": seed, **failure(error)}, None
        return
    yield from run_trials(bench, seeds)
