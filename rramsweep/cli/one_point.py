"""Parts of the commands that study one point: settings they take, trials that the store lacks, folder and words."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from rramsweep.cli.monitor import Monitor
from rramsweep.errors import ValidationError
from rramsweep.intervals import T
from rramsweep.simulation.shard import Work, choose_executions, run_shard
from rramsweep.simulation.workbench import Workbench
from rramsweep.study.folders import OUTPUTS, check_can_be_folder
from rramsweep.study.plan import Plan
from rramsweep.study.progress import ProgressFile
from rramsweep.study.settings import Settings
from rramsweep.study.stopping import Fixed
from rramsweep.study.store import Store


def check_settings(settings: Settings, command: str, intervals: str) -> None:
    """Check that a point's chips are fixed beforehand and that no other interval is asked for than the command has.

    Args:
        settings: of the point.
        command: its name.
        intervals: kind of interval that it has, such as `bootstrap`.

    Raises:
        ValidationError: names the setting.
    """
    if not isinstance(settings.stopping, Fixed):
        raise ValidationError(
            f"must be fixed, since {command} takes the same chips throughout",
            "leave it out and give chips=N",
            shown="another rule",
            parameter="stopping",
        )
    if settings.interval != T:
        raise ValidationError(
            f"must be left at {T}, since {command} has {intervals} intervals alone",
            "leave it out",
            value=settings.interval,
            parameter="interval",
        )


def compute_missing(plan: Plan, store: Store, workbench: Workbench, *, shown: bool = False) -> None:
    """Compute the trials of a plan that the store lacks.

    Args:
        plan: validated.
        store: receives the rows, also of a run that is interrupted.
        workbench: the one that built the points.
        shown: with a progress bar.

    Raises:
        OSError: the store cannot take the rows.
    """
    work = Work(plan, store, plan.settings.retry_failed)
    if not (left := work.left()):
        return
    store.prepare()
    choose_executions(plan, store, workbench)
    if not shown:
        run_shard(work, store, workbench)
        return
    with TemporaryDirectory() as made, Monitor(Path(made), left):
        progress = ProgressFile(Path(made), 0)
        try:
            run_shard(work, store, workbench, progress)
        finally:
            progress.write()


def new_folder(name: str, command: str) -> Path:
    """A folder for the files of one run of a command, `outputs/<name>/<command>/<date>_<time>`, not made yet.

    Raises:
        ValidationError: something else is in its way.
    """
    root = Path(OUTPUTS) / name / command
    check_can_be_folder(root, f"the folder of name={name}", "give another name")
    time = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    folder, number = root / time, 2
    while folder.exists():
        folder, number = root / f"{time}.{number}", number + 1
    return folder


def print_lines(console: Console, *lines: str) -> None:
    """Print sentences, each as one line however narrow the screen is."""
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)
