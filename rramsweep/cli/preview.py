"""What a sweep would do: its points, what the store has of them, and how long the rest takes. Keeps no chip."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from rramsweep.reporting.terminal import show_table
from rramsweep.simulation.passes import seconds_a_chip
from rramsweep.simulation.shard import Work
from rramsweep.simulation.workbench import Workbench
from rramsweep.study.plan import Plan
from rramsweep.study.stopping import Fixed
from rramsweep.study.store import Store

# A list of more points than this is cut in print; the plan itself is not.
SHOWN = 40


def preview(plan: Plan, store: Store, workbench: Workbench, shards: int, console: Console) -> None:
    """Print a plan's points with what is stored, and an estimate of the time from a short probe."""
    work = Work(plan, store, plan.settings.retry_failed)
    table = Table(box=None, pad_edge=False, title="plan", title_justify="left")
    known = {name for point in plan.points for name in (*point.choices, *point.params)}
    names = [name for name in plan.swept if name in known]
    for name in (*names, "point_id", "chips", "stored"):
        table.add_column(name, overflow="fold")
    for point, seeds in list(zip(plan.points, plan.seeds, strict=True))[:SHOWN]:
        values = {**point.choices, **point.params}
        have = work.stored(point, seeds)
        table.add_row(*(str(values.get(name, "-")) for name in names), point.point_id, str(len(seeds)), str(have))
    show_table(table, console)
    if len(plan.points) > SHOWN:
        console.print(f"... and {len(plan.points) - SHOWN} more points")
    left = work.left()
    most = "" if isinstance(plan.settings.stopping, Fixed) else "at most "
    console.print(f"points {len(plan.points)}, trials {most}{plan.n_trials}, to compute {most}{left}")
    if left:
        seconds = _seconds_a_trial(plan, workbench)
        total = left * seconds / shards
        console.print(
            f"about {most}{_duration(total)}: {1000 * seconds:.0f} ms a trial, measured on a few chips of each "
            f"network, {shards} shard{'s' * (shards > 1)}; nothing was kept"
        )


def _seconds_a_trial(plan: Plan, workbench: Workbench) -> float:
    """Mean over the plan's points, each with the time of the first point of its network and data."""
    measured: dict[str, float] = {}
    total = 0.0
    for point in plan.points:
        kind = repr((point.config["model"], point.config["data"]))
        if kind not in measured:
            bench = workbench.bench(point)
            seconds_a_chip(bench)
            measured[kind] = seconds_a_chip(bench)
        total += measured[kind]
    return total / len(plan.points)


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
