"""Noise-aware fine-tuning from the overrides of a sweep: its folder, progress, table, figure, and what comes next."""

from __future__ import annotations

import json
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from rramsweep.analysis import frames
from rramsweep.arguments import checked_arguments, user_level
from rramsweep.cli.composing import (
    allowed,
    choices,
    composed_allowed,
    container,
    point_config,
    point_plan,
    refuse_axes,
)
from rramsweep.cli.messages import TRAINING, CommandError, of_training
from rramsweep.cli.overrides import check, one_line, refuse_flags, refuse_unheeded
from rramsweep.cli.signals import ended_by
from rramsweep.construct import Kind, build
from rramsweep.errors import Sentence, ValidationError
from rramsweep.files import read_regular, write_atomic
from rramsweep.intervals import t_interval
from rramsweep.network.batch_norm import NORMS
from rramsweep.reporting.report import save_figure
from rramsweep.reporting.terminal import plain
from rramsweep.reporting.training_plot import plot_training
from rramsweep.scale import FRACTION, Scale
from rramsweep.simulation.components import folds_batchnorm
from rramsweep.simulation.workbench import Workbench
from rramsweep.study.folders import OUTPUTS, check_can_be_folder
from rramsweep.study.plan import Plan, Point
from rramsweep.study.settings import Settings
from rramsweep.training.finetune import CHECKPOINT_FILE, VERSION, WEIGHTS_FILE, Epoch, Task, check_task, split
from rramsweep.training.finetune import finetune as train
from rramsweep.training.settings import FineTuning

SETTINGS_FILE, TABLE_FILE, FIGURE_FILE = "settings.json", "finetune.csv", "finetune.png"

_KIND = Kind("rramsweep.training", ("FineTuning",))

# Of settings.json what makes a run the same as another.
_IDENTITY = ("version", "point_id", "data", TRAINING)


@dataclass(frozen=True, eq=False)
class Run:
    """One fine-tuning, made ready.

    Args:
        point: what is trained.
        workbench: the one that built it.
        settings: of the sweep that the config is of.
        training: of the fine-tuning.
        words: overrides that a sweep over the same point takes.
    """

    point: Point
    workbench: Workbench
    settings: Settings
    training: FineTuning
    words: Sequence[str]

    @property
    def notes(self) -> list[str]:
        """Notes on the point, and on a part of it that training leaves out."""
        notes, option = [*self.workbench.notes], self.point.choices["calibration"]
        network = self.workbench.network(self.point)
        if self.training.noise != "none" and not {*self.workbench.streams(self.point)[0]} - {"calibration"}:
            notes.append("nothing is drawn at random, so every step meets the same chip: choose a technology or effect")
        if option != "none":
            notes.append(f"calibration={option} takes no part in training, where chips are scored without it")
        if self.training.batch_norm == "digital" and any(isinstance(each, NORMS) for each in network.modules()):
            notes.append(
                "the weights that are written hold batch-norm statistics of the digital network, for chips that are "
                "calibrated to it; chips are scored here with statistics of chips, which suit those that are not"
            )
        return notes

    @property
    def scale(self) -> Scale:
        """Name, unit and direction of the scores."""
        return Scale.of(self.point.params)

    def task(self) -> Task:
        """The point as the loop takes it.

        Raises:
            ValidationError: there are no inputs to train on, or what `check_task` refuses.
        """
        point, workbench = self.point, self.workbench
        data = workbench.fitting(point)
        if data is None:
            raise ValidationError(
                "must name labelled inputs to train on, none of which is scored",
                "set data.fitting=SPLIT or PATH",
                value=None,
                shown="null",
                slot="data",
                parameter="fitting",
            )
        accelerator = workbench.accelerator(point)
        if accelerator.precision != "float32":
            raise ValidationError(
                "must be float32 to train in",
                "leave it out here and sweep with it",
                value=accelerator.precision,
                slot="accelerator",
                parameter="precision",
            )
        specs, model = workbench.specs(point.config), workbench.network(point)
        t_s, metric = point.config["t_s"], workbench.metric(point)
        task = Task(model, specs, t_s, data, metric, folds_batchnorm(point.config), accelerator)
        check_task(task, self.training)
        return task


@checked_arguments
def finetune(what: DictConfig | Sequence[str], settings: FineTuning | None = None) -> pd.DataFrame:
    """Fine-tune a network on chips of one point, a new chip each step, as `rramsweep finetune` does.

    What is trained, with which gradients, and what is held out: see `rramsweep.training.finetune.finetune`. Files go to
    `outputs/NAME/finetune/<date>_<time>/`; the same call again goes on where an earlier one was ended, or returns its
    table.

    Args:
        what: a config from `compose`, or the overrides of one point; these may hold `finetune.NAME=VALUE`.
        settings: of the training, in the place of such overrides.

    Returns:
        A row for each epoch, scored on the held-out inputs: `digital_score`, `chip_score` with its 95 % interval over
        `chips` chips that were not trained on, `loss`, `seconds`, and `best` for the epoch that is kept. `attrs` holds
        `weights`, the path that `model.checkpoint=` takes, and `folder`.

    Raises:
        ValueError: several points, no inputs or labels to train on, or what `compose` refuses.
    """
    with one_line():
        run = _of_config(what, settings) if isinstance(what, DictConfig) else _of_overrides(what, settings)
        task = run.task()
        for note in run.notes:
            warnings.warn(note, UserWarning, stacklevel=user_level())
        folder = _folder(run, task)
        return _trained(run, task, folder)


def run(arguments: Sequence[str], console: Console) -> None:
    """Do what `rramsweep finetune` is asked for.

    Raises:
        CommandError: ended by a signal; what was trained is kept.
    """
    run = _of_overrides(arguments, None)
    task, training, scale = run.task(), run.training, run.scale
    folder = _folder(run, task)
    train_on, held_out = split(task.data, training.held_out)
    console.print(
        f"{run.settings.name}: training {run.point.choices['model']} by {task.loss_name} on {len(train_on):,} inputs "
        f"of {task.data.name}, noise={training.noise}; scores: {scale.name} of {len(held_out):,} held-out inputs, "
        f"digital and mean of {training.chips} chips that are not trained on",
        soft_wrap=True,
        markup=False,
    )
    for note in run.notes:
        console.print(f"note: {note}", soft_wrap=True, markup=False)
    epochs: list[Epoch] = []

    def show(epoch: Epoch) -> None:
        epochs.append(epoch)
        row = _table([epoch], scale).iloc[0]
        loss = "" if epoch.loss is None else f"loss {epoch.loss:.4f}, "
        console.print(
            f"epoch {epoch.epoch}/{training.epochs}: {loss}digital {scale.text(epoch.digital)}, "
            f"chips {_interval(row, scale)}, {epoch.seconds:.1f} s",
            soft_wrap=True,
            markup=False,
        )

    try:
        with _bar(training.epochs * -(-len(train_on) // training.batch_size)) as on_step:
            table = _trained(run, task, folder, on_step, show)
    except KeyboardInterrupt as error:
        words, code = ended_by(error)
        kept = f"{max(0, len(epochs) - 1)} of {training.epochs} epochs kept in {folder}"
        raise CommandError(f"{words}, with {kept}: run the same command to go on", code) from error
    first, best = table.iloc[0], table[table["best"]].iloc[0]
    console.print(
        f"kept: epoch {best['epoch']}, chips {_interval(best, scale)} after {_interval(first, scale)} before, digital "
        f"{scale.text(best['digital_score'])} after {scale.text(first['digital_score'])}; "
        f"{table['seconds'].sum():.0f} s",
        soft_wrap=True,
        markup=False,
    )
    console.print(f"files: {folder}", soft_wrap=True, markup=False)
    console.print(f"sweep with it: {_sweep(run, folder)}", soft_wrap=True, markup=False)


def _of_config(cfg: DictConfig, settings: FineTuning | None) -> Run:
    allow = composed_allowed(cfg)
    config, chosen = container(cfg), choices(cfg)
    plan, workbench = point_plan(config, chosen, ["allow_targets=[]"], "rramsweep.finetune", allow)
    return _made(plan, workbench, settings or FineTuning(), ())


def _of_overrides(words: Sequence[str], settings: FineTuning | None) -> Run:
    if isinstance(words, str):
        raise ValueError(f"{TRAINING} takes a list of overrides, got the string {words!r}: put it in brackets")
    refuse_flags(words, TRAINING, f"{TRAINING} takes one point")
    check(words, single=f"{TRAINING} trains on one point, run it for each value", trains=True)
    refuse_unheeded(words, f"{TRAINING} trains one network in this process")
    own = [word for word in words if of_training(word)]
    if own and settings is not None:
        raise ValidationError(
            Sentence("settings must be given by overrides or as FineTuning, not both"), "leave one out", shown=own[0]
        )
    # An option is added, since no sweep has this group.
    added = [f"+{word.lstrip('+')}" if "=" in word and "." not in word.partition("=")[0] else word for word in own]
    if not any(word.lstrip("+").startswith(f"{TRAINING}=") for word in own):
        added = [f"+{TRAINING}=default", *added]
    rest = [word for word in words if not of_training(word)]
    cfg = point_config([*added, *rest])
    refuse_axes(cfg.hydra.sweeper)
    config = container(cfg)
    node = config.pop(TRAINING)
    training = settings or build(node, TRAINING, _KIND)
    plan, workbench = point_plan(config, choices(cfg), rest, "rramsweep.finetune", allowed(config, rest))
    return _made(plan, workbench, training, rest)


def _made(plan: Plan, workbench: Workbench, training: FineTuning, words: Sequence[str]) -> Run:
    """The run of a plan's point, with the batch-norm statistics that its chips need where none are chosen."""
    point = plan.points[0]
    if training.batch_norm is None:
        kept = "chips" if point.choices["calibration"] == "none" else "digital"
        training = replace(training, batch_norm=kept)
    return Run(point, workbench, plan.settings, training, words)


def _trained(
    run: Run,
    task: Task,
    folder: Path,
    on_step: Callable[[int, int], None] = lambda step, steps: None,  # noqa: ARG005
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,  # noqa: ARG005
) -> pd.DataFrame:
    """Train, and write the report."""
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(run.settings.threads or threads)
        progress = train(task, run.training, folder, on_step, on_epoch)
    finally:
        torch.set_num_threads(threads)
    table = _table(progress.epochs, run.scale)
    table["best"] = table["epoch"] == progress.best_epoch
    held_out = len(split(task.data, run.training.held_out)[1])
    table.attrs = {"scale": run.scale, "held_out": held_out}
    figure = Figure(figsize=(3.5, 3.0), layout="constrained")
    FigureCanvasAgg(figure)
    plot_training(table, figure.subplots())
    save_figure(figure, folder / FIGURE_FILE)
    table.attrs = {"weights": str(folder / WEIGHTS_FILE), "folder": str(folder), "held_out": held_out}
    write_atomic(folder / TABLE_FILE, frames.csv(table))
    return table


def _table(epochs: Sequence[Epoch], scale: Scale) -> pd.DataFrame:
    scores = [np.array(each.chips) for each in epochs]
    n = np.array([len(each) for each in scores])
    mean = np.array([each.chip_mean for each in epochs])
    sem = np.array([each.std(ddof=1) / np.sqrt(len(each)) if len(each) > 1 else np.nan for each in scores])
    low, high = t_interval(mean, sem, n, *((0.0, 1.0) if scale.unit == FRACTION else ()))
    return pd.DataFrame(
        {
            "epoch": [each.epoch for each in epochs],
            "steps": [each.steps for each in epochs],
            "loss": [each.loss for each in epochs],
            "digital_score": [each.digital for each in epochs],
            "chip_score": mean,
            "chip_low": low,
            "chip_high": high,
            "chips": n,
            "seconds": [each.seconds for each in epochs],
        }
    )


def _interval(row: Any, scale: Scale) -> str:
    mean = scale.text(row["chip_score"])
    if row["chips"] < 2:
        return mean
    return f"{mean} ({scale.number(row['chip_low'], bound='low')}..{scale.number(row['chip_high'], bound='high')})"


def _folder(run: Run, task: Task) -> Path:
    """The folder of a run of these settings, or a new one where there is none.

    Raises:
        ValidationError: a run of other settings was not finished under this name.
    """
    root = Path(OUTPUTS) / run.settings.name / TRAINING
    check_can_be_folder(root, f"the folder of name={run.settings.name}", "give another name")
    document = {
        "version": VERSION,
        "point_id": run.point.point_id,
        "data": task.data.digest(),
        TRAINING: asdict(run.training),
        "choices": dict(run.point.choices),
        "params": {name: value for name, value in run.point.params.items() if isinstance(value, str | int | float)},
        "threads": run.settings.threads or torch.get_num_threads(),
        "torch": torch.__version__,
        "weights_for": list(run.words),
    }
    document = json.loads(json.dumps(document))
    for path in sorted(root.glob(f"*/{SETTINGS_FILE}")):
        other = json.loads(read_regular(path))
        other[TRAINING] = {"batch_norm": "chips", **other.get(TRAINING, {})}  # of a run before it could be chosen
        if all(other.get(key) == document[key] for key in _IDENTITY):
            return path.parent
        if (path.parent / CHECKPOINT_FILE).exists() and not (path.parent / WEIGHTS_FILE).exists():
            raise ValidationError(
                Sentence(
                    f"a run of name={run.settings.name} must be finished before another begins, but {path.parent} was "
                    f"ended early and differs ({', '.join(_differences(other, document)[:3])})"
                ),
                f"repeat its settings to go on, give another name=NAME, or remove {path.parent}",
            )
    folder = root / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    number = 2
    while folder.exists():
        folder = folder.with_name(f"{folder.name.partition('.')[0]}.{number}")
        number += 1
    folder.mkdir(parents=True)
    write_atomic(folder / SETTINGS_FILE, json.dumps(document, indent=1).encode())
    return folder


def _differences(other: Mapping[str, Any], document: Mapping[str, Any]) -> list[str]:
    """Settings in which two runs differ, with the value of the other and that of this one."""
    found = []
    for part in (TRAINING, "params", "choices"):
        one, two = other.get(part, {}), document[part]
        prefix = f"{TRAINING}." if part == TRAINING else ""
        names = [name for name in {**one, **two} if one.get(name) != two.get(name)]
        found += [f"{prefix}{name} {one.get(name)}, now {two.get(name)}" for name in names]
    return found or ["other weights, inputs or version"]


def _sweep(run: Run, folder: Path) -> str:
    """Command that compares the network with its trained weights and as it came, on the chips of the same point."""
    key = "model.checkpoint"
    before = run.point.config["model"].get("checkpoint")
    paths = ["null" if before is None else _quoted(str(before)), _quoted(str(folder / WEIGHTS_FILE))]
    words = [word for word in run.words if word.lstrip("+").partition("=")[0] != key]
    return shlex.join(["rramsweep", "-m", *words, f"{key}={','.join(paths)}"])


def _quoted(path: str) -> str:
    """A path as the value of an override."""
    return path if re.fullmatch(r"[\w./-]+", path) else "'" + path.replace("'", "\\'") + "'"


@contextmanager
def _bar(steps: int) -> Iterator[Callable[[int, int], None]]:
    """A bar of the steps on a terminal; a log has a line an epoch without it."""
    if not sys.stderr.isatty():
        yield lambda step, steps: None  # noqa: ARG005
        return
    columns = (TextColumn("steps"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True, **plain()), transient=True) as bar:
        task = bar.add_task("steps", total=steps)
        yield lambda step, steps: bar.update(task, completed=step)  # noqa: ARG005
