"""A whole sweep from its plan: baselines, launch, progress, and the report, whatever happens in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rramsweep.cli import catalog
from rramsweep.cli.monitor import Monitor
from rramsweep.cli.preview import preview
from rramsweep.cli.signals import end_with_driver, ended_by, tables_come_first, workers_end_with_us
from rramsweep.reporting import report, terminal
from rramsweep.reporting.robustness_plot import SOURCE_RANGE, beyond_source
from rramsweep.scale import Scale
from rramsweep.simulation import provenance
from rramsweep.simulation.execution import ExecutionSettings
from rramsweep.simulation.shard import Work, choose_executions, run_shard, shard_of
from rramsweep.simulation.workbench import Workbench
from rramsweep.study.folders import check_apart, check_can_be_folder
from rramsweep.study.plan import Plan
from rramsweep.study.progress import ProgressFile
from rramsweep.study.stopping import Fixed
from rramsweep.study.store import Store, select

GO_ON = "run the same command to go on"

# The workbench of the sweep that runs in this process, by its plan's path: the first job here takes it over, with the
# data and the baselines it holds. Jobs in other processes, and later ones in this, build their own.
_at_hand: dict[Path, Workbench] = {}


class SweepError(RuntimeError):
    """A sweep that did not finish as asked, after its tables and plots were written.

    Args:
        message: one line for the user.
        code: exit status of the command.
    """

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class LaunchError(RuntimeError):
    """The launcher itself gave up: a worker was killed, or the jobs could not be started."""


def execute(
    plan: Plan,
    workbench: Workbench,
    folder: Path,
    launch: Callable[[Path], None],
    console: Console | None = None,
) -> None:
    """Run what a plan still lacks and write its report.

    Args:
        plan: validated.
        workbench: the one that built the plan.
        folder: of this sweep; plan, tables and plots go there.
        launch: given the plan's path, runs every shard of it and returns when they are done.
        console: where to print; standard output by default.

    Raises:
        ValueError: the store or the folder cannot be written; nothing has run then.
        SweepError: failed trials, a launcher that gave up or an interrupt; everything computed is kept and reported
            first.
    """
    console = console or terminal.console()
    store = Store(Path(plan.settings.store))
    asked = pd.DataFrame([{name: point.params.get(name) for name in SOURCE_RANGE} for point in plan.points])
    notes = [*workbench.notes, *plan.settings.notes, *beyond_source(asked)]
    if plan.settings.preview:
        choose_executions(plan, store, workbench, keep=False)
        preview(plan, store, workbench, plan.settings.shards, console)
        _print_notes(plan, notes, console)
        return
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
    folder = path.parent
    fixed = isinstance(plan.settings.stopping, Fixed)
    trials = str(plan.n_trials) if fixed else f"at most {plan.n_trials}"
    stored = f", in the store already {plan.n_trials - n_todo}" if fixed else ", as many as each point needs"
    console.print(f"{plan.settings.name}: points {len(plan.points)}, trials {trials}{stored}")
    _print_baselines(plan, workbench, console)
    _print_notes(plan, notes, console)
    stopped: BaseException | None = None
    with tables_come_first():
        try:
            if n_todo:
                ProgressFile.clear(folder)
                _at_hand[path.absolute()] = workbench
                with Monitor(folder, n_todo, at_most=not fixed), workers_end_with_us():
                    launch(path)
            else:
                console.print("every trial is in the store: nothing to compute")
        except (Exception, KeyboardInterrupt) as error:
            stopped = error
        finally:
            _at_hand.clear()
        try:
            provenance.end(folder)
            frame = _report(folder, store, console, stopped, notes)
        except OSError as error:
            raise _unreported(folder, store, plan, trials, stopped, error) from error
    done = f"{len(frame)} of {trials} trials"
    if isinstance(stopped, KeyboardInterrupt):
        words, code = ended_by(stopped)
        raise SweepError(f"{words}, with {done} kept: {GO_ON}", code)
    if isinstance(stopped, LaunchError):
        raise SweepError(f"{stopped}: {done} kept; {GO_ON}") from stopped.__cause__
    if isinstance(stopped, OSError):
        reason = stopped.strerror or str(stopped)
        raise SweepError(f"the sweep ended early ({reason}), with {done} kept in {store.root}: free it, then {GO_ON}")
    if stopped is not None:
        raise stopped
    failed = int((frame["status"] == "failed").sum())
    if failed:
        errors = frame.loc[frame["status"] == "failed", "error"].value_counts()
        raise SweepError(
            f"{failed} of {len(frame)} trials failed, most often with {errors.index[0]!r} ({errors.iloc[0]} times): "
            "see the error column; retry_failed=true runs them again"
        )


def _unreported(
    folder: Path, store: Store, plan: Plan, trials: str, stopped: BaseException | None, error: OSError
) -> SweepError:
    """What to say when tables cannot be written: a full disk may have stopped the sweep before, or that alone."""
    done = select(store.facts(p.point_id for p in plan.points), plan).num_rows
    code = ended_by(stopped)[1] if isinstance(stopped, KeyboardInterrupt) else 1
    early = "" if stopped is None else f" early ({getattr(stopped, 'strerror', None) or type(stopped).__name__})"
    return SweepError(
        f"the sweep ended{early} with {done} of {trials} trials kept in {store.root}, but its tables and plots cannot "
        f"be written to {folder} ({error.strerror}): free it or give another folder with hydra.sweep.dir=DIR, "
        f"then {GO_ON}",
        code,
    )


def run_plan_shard(path: Path, shard: int, shards: int, allow: list[str]) -> None:
    """One job of a launcher: the shard's missing trials, into the store that the plan names."""
    end_with_driver()
    plan = Plan.load(path)
    settings = plan.settings
    store = Store(Path(settings.store))
    work = Work(shard_of(plan, shard, shards), store, settings.retry_failed)
    workbench = _at_hand.pop(path.absolute(), None) or Workbench(
        allow, ExecutionSettings.of(settings), settings.executions
    )
    progress = ProgressFile(path.parent, shard)
    try:
        run_shard(work, store, workbench, progress)
    finally:
        progress.write()


def _report(
    folder: Path, store: Store, console: Console, stopped: BaseException | None, told: Sequence[str]
) -> pd.DataFrame:
    ProgressFile.clear(folder)
    ProgressFile.clear_beside(folder)
    if not isinstance(stopped, OSError):  # a disk that took no rows takes no merged ones
        store.tidy()
    frame, summary = report.write(folder)
    report.show(frame, summary, folder, console, told)
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
