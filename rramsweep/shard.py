"""A plan, less what the store has, becomes trials, becomes rows in the store: the work of one shard."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from rramsweep.plan import Plan, Point
from rramsweep.store import Store
from rramsweep.trial import failure, run_trial
from rramsweep.workbench import Workbench

# At most this much work is lost to a kill. Shorter makes more and smaller fragments, hence more bytes a row.
FLUSH_S = 2.0

# With this many points a shard, whole points are handed out; with fewer, the chips of a point are split.
POINTS_PER_SHARD = 4


@dataclass
class Tally:
    """Trials a shard has finished, by outcome."""

    ok: int = 0
    failed: int = 0

    @property
    def done(self) -> int:
        return self.ok + self.failed


def shard_of(plan: Plan, shard: int, shards: int) -> Plan:
    """Shard `shard` of `shards`: disjoint parts of a plan that together are the whole.

    The split depends on the plan alone, never on what the store holds, so that shards which start at different
    times still do not overlap.

    Raises:
        ValueError: the shard does not exist.
    """
    if not 0 <= shard < shards:
        raise ValueError(f"shard must lie in 0..{shards - 1}, got {shard}: give shard below shards")
    if shards == 1:
        return plan
    if len(plan.points) >= POINTS_PER_SHARD * shards:
        kept = range(shard, len(plan.points), shards)
        return replace(plan, points=[plan.points[i] for i in kept], seeds=[plan.seeds[i] for i in kept])
    # Turning the split from point to point evens out what the number of chips leaves over.
    seeds = [list(s)[(shard + i) % shards :: shards] for i, s in enumerate(plan.seeds)]
    return replace(plan, seeds=seeds)


def missing(plan: Plan, store: Store, retry_failed: bool = False) -> list[tuple[Point, list[int]]]:
    """For each point of a plan the seeds that the store has no row for (or, on request, only a failed one)."""
    have: dict[str, set[int]] = {}
    table = store.facts(p.point_id for p in plan.points)
    columns = (table[c].to_pylist() for c in ("point_id", "seed", "status"))
    for point_id, seed, status in zip(*columns, strict=True):
        if status == "ok" or not retry_failed:
            have.setdefault(point_id, set()).add(seed)
    todo: list[tuple[Point, list[int]]] = []
    for point, seeds in zip(plan.points, plan.seeds, strict=True):
        taken = have.setdefault(point.point_id, set())
        left = [s for s in seeds if s not in taken]
        taken.update(left)  # the same physics under two labels is computed once
        if left:
            todo.append((point, left))
    return todo


def run_shard(
    todo: Sequence[tuple[Point, Sequence[int]]],
    store: Store,
    workbench: Workbench,
    report: Callable[[Tally], None] = lambda _: None,
    threads: int | None = None,
) -> Tally:
    """Run trials and keep every row, whatever ends the loop.

    Args:
        todo: points with the seeds to run, as `missing` gives them.
        store: where rows go, every `FLUSH_S` seconds and at the end.
        workbench: builds each point.
        report: told the tally after each trial.
        threads: torch threads while the trials run; None leaves torch's own choice.

    Raises:
        OSError: the store cannot take the rows.
    """
    tally = Tally()
    rows: list[dict[str, Any]] = []
    points: dict[str, Point] = {}
    flushed = time.monotonic()

    def flush() -> None:
        nonlocal flushed
        if rows:
            store.add(rows, points.values())
            rows.clear()
            points.clear()
        flushed = time.monotonic()

    threads_before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        for point, seeds in todo:
            for row in _rows(point, seeds, workbench):
                rows.append(row)
                points[point.point_id] = point
                tally.ok += row["status"] == "ok"
                tally.failed += row["status"] != "ok"
                report(tally)
                if time.monotonic() - flushed > FLUSH_S:
                    flush()
    finally:
        torch.set_num_threads(threads_before)
        flush()
    return tally


def _rows(point: Point, seeds: Sequence[int], workbench: Workbench) -> Any:
    try:
        bench = workbench.bench(point)
    except Exception as error:
        for seed in seeds:
            yield {"point_id": point.point_id, "seed": seed, **failure(error)}
        return
    for seed in seeds:
        yield run_trial(bench, seed)


class ProgressFile:
    """A shard's tally in a file of the sweep's folder, so that the driver can watch under any launcher."""

    def __init__(self, folder: Path, shard: int, every_s: float = 0.25) -> None:
        self._path = folder / f".progress-{shard}.json"
        self._every_s = every_s
        self._written = 0.0
        self._tally = Tally()

    def __call__(self, tally: Tally) -> None:
        self._tally = tally
        now = time.monotonic()
        if now - self._written < self._every_s:
            return
        self.write()

    def write(self) -> None:
        """Write the last tally now."""
        tally, self._written = self._tally, time.monotonic()
        temporary = self._path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps({"ok": tally.ok, "failed": tally.failed}), encoding="utf-8")
        temporary.replace(self._path)

    @staticmethod
    def total(folder: Path) -> Tally:
        """The tallies of all shards that have reported so far."""
        tally = Tally()
        for path in folder.glob(".progress-*.json"):
            try:
                counts = json.loads(path.read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue
            tally.ok += counts["ok"]
            tally.failed += counts["failed"]
        return tally

    @staticmethod
    def clear(folder: Path) -> None:
        """Remove what earlier runs left."""
        for path in folder.glob(".progress-*"):
            path.unlink(missing_ok=True)
