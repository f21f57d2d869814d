"""A whole sweep from its plan: baselines, launch, progress, and the report, whatever happens in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rramsweep.cli import catalog
from rramsweep.cli.monitor import Monitor
from rramsweep.cli.one_point import compute_missing
from rramsweep.cli.signals import ended_by, tables_come_first, workers_end_with_us
from rramsweep.reporting import report, terminal
from rramsweep.scale import Scale
from rramsweep.simulation import provenance
from rramsweep.simulation.passes import seconds_a_chip
from rramsweep.simulation.shard import Work, choose_executions, workbenches
from rramsweep.simulation.workbench import Workbench
from rramsweep.study.folders import check_apart, check_can_be_folder
from rramsweep.study.plan import Plan
from rramsweep.study.progress import ProgressFile
from rramsweep.study.stopping import Fixed
from rramsweep.study.store import Store, select

GO_ON = "run the same command to go on"

# Points of a plan that are listed before it is run; more are counted.
LISTED = 40


class Ending(Enum):
    """Ways in which a sweep ends."""

    DONE = "every trial is in the store"
    FAILED = "some trials failed"
    INTERRUPTED = "a signal ended it"
    LAUNCHER = "the launcher gave up"
    DISK = "the store took no more rows"
    UNREPORTED = "its tables and plots could not be written"


@dataclass(frozen=True)
class Outcome:
    """The ending of a sweep; what was computed is kept, and reported unless that is what failed.

    Args:
        ending: one of `Ending`.
        message: one line for the user; empty where all was done as asked.
        code: exit status of the command.
        cause: error of a launcher behind it.
    """

    ending: Ending = Ending.DONE
    message: str = ""
    code: int = 0
    cause: BaseException | None = None


class SweepError(Exception):
    """An outcome other than done, on its way through Hydra, which keeps no return value.

    Args:
        outcome: of the sweep.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome

    def __str__(self) -> str:
        return self.outcome.message


class LaunchError(RuntimeError):
    """The launcher itself gave up: a worker was killed, or the jobs could not be started."""


def execute_in_hydra(
    plan: Plan,
    workbench: Workbench,
    folder: Path,
    launch: Callable[[Path], None],
    console: Console | None = None,
) -> None:
    """Execute a plan within a function that Hydra calls.

    Raises:
        SweepError: the outcome is not that all was done.
    """
    outcome = execute(plan, workbench, folder, launch, console)
    if outcome.ending is not Ending.DONE:
        raise SweepError(outcome) from outcome.cause


def execute(
    plan: Plan,
    workbench: Workbench,
    folder: Path,
    launch: Callable[[Path], None],
    console: Console | None = None,
) -> Outcome:
    """Run what a plan still lacks and write its report.

    Args:
        plan: validated.
        workbench: the one that built the plan.
        folder: of this sweep; plan, tables and plots go there.
        launch: given the plan's path, runs every shard of it and returns when they are done.
        console: where to print; standard output by default.

    Returns:
        The ending, after the report was written.

    Raises:
        ValueError: the store or the folder cannot be written; nothing has run then.
    """
    console = console or terminal.console()
    store = Store(Path(plan.settings.store))
    notes = [*workbench.notes, *plan.settings.notes]
    if plan.settings.preview:
        choose_executions(plan, store, workbench, keep=False)
        _preview(plan, store, workbench, console)
        _print_notes(plan, notes, console)
        return Outcome()
    check_can_be_folder(folder, "the output folder", "choose another")
    check_apart(folder, store.root, "the output folder")
    n_todo = Work(plan, store, plan.settings.retry_failed).left()
    if n_todo:
        store.prepare()
        plan = choose_executions(plan, store, workbench)
    plan = replace(plan, settings=replace(plan.settings, notes=tuple(notes)))
    try:
        path = plan.save(folder)
        provenance.begin(path.parent, list(catalog.components(plan)))
    except OSError as error:
        raise ValueError(
            f"the output folder must be writable, {folder} is not ({error.strerror}): change it"
        ) from error
    fixed = isinstance(plan.settings.stopping, Fixed)
    stored = f", in the store already {plan.n_trials - n_todo}" if fixed else ", as many as each point needs"
    console.print(f"{plan.settings.name}: points {len(plan.points)}, trials {_trials(plan)}{stored}")
    _print_baselines(plan, workbench, console)
    _print_notes(plan, notes, console)
    with tables_come_first():
        stopped = None
        if n_todo:
            stopped = _launch(path, workbench, launch, n_todo, at_most=not fixed)
        else:
            console.print("every trial is in the store: nothing to compute")
        try:
            provenance.end(path.parent)
            frame = _report(path.parent, store, console, stopped, notes)
        except OSError as error:
            return _unreported(path.parent, store, plan, stopped, error)
    return _outcome(plan, store, frame, stopped)


def _trials(plan: Plan) -> str:
    return f"{'' if isinstance(plan.settings.stopping, Fixed) else 'at most '}{plan.n_trials}"


def _launch(
    path: Path, workbench: Workbench, launch: Callable[[Path], None], n_todo: int, at_most: bool
) -> BaseException | None:
    """Run every shard of a plan's path, and return what ended that early."""
    ProgressFile.clear(path.parent)
    workbenches[path.absolute()] = workbench
    try:
        with Monitor(path.parent, n_todo, at_most), workers_end_with_us():
            launch(path)
    except (Exception, KeyboardInterrupt) as error:
        return error
    finally:
        workbenches.clear()
    return None


def _outcome(plan: Plan, store: Store, frame: pd.DataFrame, stopped: BaseException | None) -> Outcome:
    """The ending of a sweep whose tables were written.

    Raises:
        BaseException: what stopped the sweep is no ending but an error of the program.
    """
    done = f"{len(frame)} of {_trials(plan)} trials"
    match stopped:
        case KeyboardInterrupt():
            words, code = ended_by(stopped)
            return Outcome(Ending.INTERRUPTED, f"{words}, with {done} kept: {GO_ON}", code)
        case LaunchError():
            return Outcome(Ending.LAUNCHER, f"{stopped}: {done} kept; {GO_ON}", 1, stopped.__cause__)
        case OSError():
            early = f"the sweep ended early ({stopped.strerror or stopped})"
            return Outcome(Ending.DISK, f"{early}, with {done} kept in {store.root}: free it, then {GO_ON}", 1)
        case BaseException():
            raise stopped
    failed = int((frame["status"] == "failed").sum())
    if not failed:
        return Outcome()
    errors = frame.loc[frame["status"] == "failed", "error"].value_counts()
    most = f"most often with {errors.index[0]!r} ({errors.iloc[0]} times)"
    remedy = "see the error column; retry_failed=true runs them again"
    return Outcome(Ending.FAILED, f"{failed} of {len(frame)} trials failed, {most}: {remedy}", 1)


def _unreported(folder: Path, store: Store, plan: Plan, stopped: BaseException | None, error: OSError) -> Outcome:
    """The ending where tables cannot be written: a full disk may have stopped the sweep before, or that alone."""
    done = select(store.facts(p.point_id for p in plan.points), plan).num_rows
    code = ended_by(stopped)[1] if isinstance(stopped, KeyboardInterrupt) else 1
    early = "" if stopped is None else f" early ({getattr(stopped, 'strerror', None) or type(stopped).__name__})"
    return Outcome(
        Ending.UNREPORTED,
        f"the sweep ended{early} with {done} of {_trials(plan)} trials kept in {store.root}, but its tables and plots "
        f"cannot be written to {folder} ({error.strerror}): free it or give another folder with hydra.sweep.dir=DIR, "
        f"then {GO_ON}",
        code,
    )


def compute(plan: Plan, workbench: Workbench) -> pd.DataFrame:
    """Run what a plan lacks, in this process, and return its rows.

    Raises:
        ValueError: the store cannot be written.
    """
    store = Store(Path(plan.settings.store))
    compute_missing(plan, store, workbench)
    return report.results(plan, store)


def compute_in(folder: Path, plan: Plan, workbench: Workbench) -> pd.DataFrame:
    """Run a plan as `compute` does, and keep the plan in a folder, from which a report finds it.

    Raises:
        ValueError: the store cannot be written.
    """
    path = plan.save(folder)
    provenance.begin(path.parent, list(catalog.components(plan)))
    frame = compute(plan, workbench)
    provenance.end(path.parent)
    return frame


def _report(
    folder: Path, store: Store, console: Console, stopped: BaseException | None, printed: Sequence[str]
) -> pd.DataFrame:
    ProgressFile.clear(folder)
    ProgressFile.clear_beside(folder)
    if not isinstance(stopped, OSError):  # a disk that took no rows takes no merged ones
        store.tidy()
    frame, summary = report.write(folder)
    report.show(frame, summary, folder, console, printed)
    return frame


def _print_notes(plan: Plan, notes: Sequence[str], console: Console) -> None:
    if plan.settings.held_fixed:
        console.print(f"held fixed: {', '.join(plan.settings.held_fixed)}", soft_wrap=True, markup=False)
    for note in notes:
        console.print(f"note: {note}", soft_wrap=True, markup=False)


def _print_baselines(plan: Plan, workbench: Workbench, console: Console) -> None:
    """Digital and ideal-chip score of each network, data set, metric, device and mapping of the plan."""
    groups = ("model", "data", "device", "mapping", "metric")
    names = list(dict.fromkeys(Scale.of(point.params).name for point in plan.points))
    title = f"baselines before any effect, {escape(names[0]) if len(names) == 1 else 'by metric'}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    shown = groups if len(names) > 1 else groups[:-1]
    swept = [name for name in plan.swept if "." in name and name.split(".")[0] in groups]
    for column in (*shown, *swept, "inputs", "digital", "ideal chip"):
        table.add_column(column)
    seen = set()
    for point in plan.points:
        kind = tuple(repr(point.config[key]) for key in groups)
        if kind in seen:
            continue
        seen.add(kind)
        bench, scale = workbench.bench(point), Scale.of(point.params)
        scores = [scale.text(score) for score in (bench.digital.score, bench.ideal_score)]
        values = ("-" if point.params.get(name) is None else str(point.params[name]) for name in swept)
        table.add_row(*(point.choices[key] for key in shown), *values, str(len(bench.targets)), *scores)
    terminal.show_table(table, console)
    # Once for each network and choice of layers, not for each point.
    networks = {repr([p.config[key] for key in ("model", "data", "analog")]): p for p in plan.points}
    for line in dict.fromkeys(f"{p.choices['model']}: {workbench.shares(p)}" for p in networks.values()):
        console.print(line)


def _preview(plan: Plan, store: Store, workbench: Workbench, console: Console) -> None:
    """Print a plan's points with what is stored, and an estimate of the time by a few chips, which are not kept."""
    work, shards = Work(plan, store, plan.settings.retry_failed), plan.settings.shards
    table = Table(box=None, pad_edge=False, title="plan", title_justify="left")
    known = {name for point in plan.points for name in (*point.choices, *point.params)}
    names = [name for name in plan.swept if name in known]
    for name in (*names, "point_id", "chips", "stored"):
        table.add_column(name, overflow="fold")
    for point, seeds in list(zip(plan.points, plan.seeds, strict=True))[:LISTED]:
        values = {**point.choices, **point.params}
        stored = work.stored(point, seeds)
        table.add_row(*(str(values.get(name, "-")) for name in names), point.point_id, str(len(seeds)), str(stored))
    terminal.show_table(table, console)
    if len(plan.points) > LISTED:
        console.print(f"... and {len(plan.points) - LISTED} more points")
    left = work.left()
    most = "" if isinstance(plan.settings.stopping, Fixed) else "at most "
    console.print(f"points {len(plan.points)}, trials {_trials(plan)}, to compute {most}{left}")
    if left:
        seconds = _seconds_a_trial(plan, workbench)
        console.print(
            f"about {most}{_duration(left * seconds / shards)}: {1000 * seconds:.0f} ms a trial, measured on a few "
            f"chips of each network, {shards} shard{'s' * (shards > 1)}; nothing was kept"
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
