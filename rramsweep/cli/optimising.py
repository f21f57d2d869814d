"""Design searches: Optuna's Hydra plugin over points of this package, each a job that returns its objectives.

The plugin samples and loops. What is checked before, kept in the store, repeated and confirmed after it is here, the
only module that knows Optuna; it is imported when a search begins. Tables and plots read `study.json`.
"""

from __future__ import annotations

import copy
import importlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import IntervalSweep, Override, ValueType
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from rramsweep.analysis import frames
from rramsweep.analysis.objective import Objective, objectives_of, values_of
from rramsweep.analysis.schema import CALIBRATION, COUNTED
from rramsweep.cli.composing import OBJECTIVE, allowed, choices, container, read_settings
from rramsweep.cli.driver import GO_ON, Ending, LaunchError, Outcome, SweepError, compute, compute_in
from rramsweep.cli.hydra_adapter import parse
from rramsweep.cli.overrides import explain
from rramsweep.cli.planning import axis_values, check_axis, compose_point
from rramsweep.cli.signals import ended_by, tables_come_first, workers_end_with_us
from rramsweep.cli.sweeper import check_backend, launch_jobs, refuse_unknown
from rramsweep.construct import fit
from rramsweep.errors import Sentence, ValidationError, install
from rramsweep.groups import POINT_KEYS
from rramsweep.metrics.scoring import Share
from rramsweep.reporting import report, terminal
from rramsweep.scale import Scale, drop_for
from rramsweep.simulation.execution import ExecutionSettings
from rramsweep.simulation.workbench import Workbench
from rramsweep.study.facts import FACTS
from rramsweep.study.folders import check_apart, check_can_be_folder
from rramsweep.study.plan import PLAN_FILE, Plan, Point, merge
from rramsweep.study.search import COMPLETE, FAILED, Search, SearchTrial
from rramsweep.study.settings import Settings
from rramsweep.study.store import Store

PLUGIN, PLUGIN_SINCE = "hydra-optuna-sweeper", (1, 4)
PLUGIN_CLASS = ("hydra_plugins.hydra_optuna_sweeper.optuna_sweeper", "OptunaSweeper")

STORAGE_FILE = "study.db"

# Attributes of a study and of a trial in Optuna's storage.
IDENTITY, REPEATS = "rramsweep", "rramsweep.repeats"

# Fewer trials say nothing of which parameters matter.
FEWEST_FOR_IMPORTANCES = 10

# Columns that have values only where a group is chosen, by their beginning.
_OF_GROUPS = {"cost.": "cost", "dac_clip": "dac", "adc_clip": "adc", **dict.fromkeys(CALIBRATION, "calibration")}


def objective_names(value: Any) -> list[str]:
    """The names in the setting `objective`, empty where it is not given."""
    names = fit([value] if isinstance(value, str) else value, list[str] | None, "objective")
    return list(names or [])


def evaluate(plan: Plan, workbench: Workbench, folder: Path, objective: Any) -> float | list[float]:
    """Run the chips of a trial's point that the store lacks, and return its objectives.

    Args:
        plan: of the one point.
        workbench: the one that built it.
        folder: of the job.
        objective: the setting.

    Raises:
        ValueError: a chip failed, or an objective has no value.
    """
    frame = compute_in(folder, plan, workbench)
    failed = frame[frame["status"] == "failed"]
    if len(failed):
        raise ValueError(f"{len(failed)} of {len(frame)} chips failed, the first with {failed['error'].iloc[0]!r}")
    values = values_of(objective_names(objective), frame)
    return values[0] if len(values) == 1 else values


@dataclass(frozen=True)
class _Space:
    """Space of a search: overrides of all its trials, those that are swept among them.

    Args:
        overrides: by key, in the order given; of each key the last one.
        swept: values that are checked before the first trial, by key.
    """

    overrides: Mapping[str, Override]
    swept: Mapping[str, Sequence[Override]]

    @staticmethod
    def of(lines: Sequence[str], loader: ConfigLoader) -> _Space:
        overrides: dict[str, Override] = {}
        for override in parse(lines, loader):
            overrides[override.get_key_element()] = override
        swept = {key: _checked(key, each) for key, each in overrides.items() if each.is_sweep_override()}
        if not swept:
            raise ValidationError(
                Sentence("a search must have parameters to choose"), "give some as NAME=V1,V2 or NAME=range(LOW,HIGH)"
            )
        return _Space(overrides, swept)

    def texts(self) -> dict[str, str]:
        """Swept keys with their values as given."""
        return {key: _text(self.overrides[key]) for key in self.swept}

    def lines(self) -> list[str]:
        """Overrides for the plugin, which knows no glob."""
        return [
            f"{key}=choice({','.join(_text(each) for each in self.swept[key])})"
            if key in self.swept and override.value_type == ValueType.GLOB_CHOICE_SWEEP
            else str(override.input_line)
            for key, override in self.overrides.items()
        ]

    def examples(self) -> Iterator[dict[str, Override]]:
        """The first value of every key, then each other value of each, one at a time."""
        first = {key: self.swept[key][0] if key in self.swept else each for key, each in self.overrides.items()}
        yield first
        for key, values in self.swept.items():
            for value in values[1:]:
                yield {**first, key: value}


def _text(override: Override) -> str:
    return str(override.input_line).partition("=")[2]


def _checked(key: str, override: Override) -> list[Override]:
    """Values of an axis that are checked before the first trial: both ends of a range, all of a list.

    Raises:
        ValidationError: an axis that does not belong to a design.
    """
    check_axis(key)
    if key == "seed":
        raise ValidationError(
            "does not belong to a design", "give seed and chips: every design gets the same chips", parameter="seed"
        )
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [cast(Override, parse([f"{key}={end}"])[0]) for end in (value.start, value.end)]
    values = axis_values(override)
    return [values[0], values[-1]] if override.is_range_sweep() else values


class StudySweeper(Sweeper):
    """Sweeper of `hydra/sweeper=optuna`: checks a search, has Optuna's plugin run it, and confirms what it found.

    Args:
        sampler: config of the plugin's sampler.
        direction: of the objectives; None takes each one's own.
        storage: file or URL; None is a file in the folder of the search.
        study_name: within the storage.
        n_trials: of the study in all.
        n_jobs: trials at once.
        max_failure_rate: share of trials at once that may fail.
        verified: designs of the front that are run again on fresh seeds.
        params: swept axes of an experiment; an argument of the same key replaces them.
        unknown: what is no setting of a search, to be refused.
    """

    def __init__(
        self,
        sampler: DictConfig,
        direction: Any = None,
        storage: str | None = None,
        study_name: str = "rramsweep",
        n_trials: int = 20,
        n_jobs: int = 1,
        max_failure_rate: float = 0.0,
        verified: int = 10,
        params: Mapping[str, str] | None = None,
        **unknown: Any,
    ) -> None:
        self._unknown = unknown
        self._sampler, self._direction, self._params = sampler, direction, dict(params or {})
        self._storage, self._study_name = storage, study_name
        self._n_trials, self._n_jobs, self._verified = n_trials, n_jobs, verified
        self._max_failure_rate = max_failure_rate

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra hands over."""
        self._context, self._task, self._config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> None:
        """Check the whole search, then run it trial by trial and report it."""
        check_plugin()
        refuse_unknown(self._unknown)
        self._check_numbers()
        loader, config = self._context.config_loader, self._config
        folder = Path(str(config.hydra.sweep.dir))
        check_backend(str(config.hydra.runtime.choices["hydra/launcher"]))
        arguments = [*(f"{key}={value}" for key, value in self._params.items()), *arguments]
        found = checked(loader, config, arguments, self._directions())
        space, objectives, settings, workbench = found.space, found.objectives, found.settings, found.workbench
        store = Store(Path(settings.store).absolute())
        check_can_be_folder(folder, "the output folder", "choose another")
        check_apart(folder, store.root, "the output folder")
        store.prepare()
        folder.mkdir(parents=True, exist_ok=True)
        study = self._study(folder, found.identity())
        console = terminal.console()
        for note in workbench.notes:
            console.print(f"note: {note}", soft_wrap=True, markup=False)
        before = len(_counted(study))
        console.print(
            f"{settings.name}: {self._n_trials} trials, in the study already {before}; "
            f"{', '.join(f'{o.direction} {o.name}' for o in objectives)} over {len(settings.seeds())} chips each"
        )
        with tables_come_first():
            outcome = self._search(study, space, objectives, loader, console)
            search = _record(study, folder, objectives, settings)
            if outcome.ending is Ending.DONE and self._verified:
                try:
                    search = _confirmed(search, folder, settings, workbench, self._verified)
                except KeyboardInterrupt as error:
                    outcome = _interrupted(error, study)
            search.save(folder)
            store.tidy()
            if any(folder.glob(f"jobs/*/{PLAN_FILE}")):
                frame, summary = report.write(folder)
                report.show(frame, summary, folder, console)
        if outcome.ending is not Ending.DONE:
            raise SweepError(outcome) from outcome.cause

    def _check_numbers(self) -> None:
        for name, value, low in (
            ("n_trials", self._n_trials, 1),
            ("n_jobs", self._n_jobs, 1),
            ("verified", self._verified, 0),
        ):
            if fit(value, int, f"hydra.sweeper.{name}") < low:
                raise ValidationError(
                    f"must be at least {low}", "give a larger integer", value=value, parameter=f"hydra.sweeper.{name}"
                )
        if not 0 <= fit(self._max_failure_rate, float, "hydra.sweeper.max_failure_rate") <= 1:
            raise ValidationError(
                "must lie in 0..1",
                "give a share",
                value=self._max_failure_rate,
                parameter="hydra.sweeper.max_failure_rate",
            )

    def _directions(self) -> list[str] | None:
        given = OmegaConf.to_container(self._direction) if OmegaConf.is_list(self._direction) else self._direction
        if given is None:
            return None
        return [str(one) for one in given] if isinstance(given, list) else [str(given)]

    def _study(self, folder: Path, identity: Mapping[str, Any]) -> Any:
        """The study in its storage, new or continued.

        Raises:
            ValidationError: the storage cannot be used, or holds another study of this name.
        """
        optuna = importlib.import_module("optuna")
        errors = importlib.import_module("sqlalchemy.exc")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        where = self._storage or str(folder / STORAGE_FILE)
        url = where if "://" in where else f"sqlite:///{Path(where).absolute()}"
        try:
            study = optuna.create_study(
                study_name=self._study_name,
                storage=url,
                directions=identity["directions"],
                load_if_exists=True,
            )
            attributes = study.user_attrs
        except (errors.SQLAlchemyError, optuna.exceptions.OptunaError, ImportError, ValueError, RuntimeError) as error:
            raise ValidationError(
                "must be a storage that Optuna can use",
                "give another file or URL",
                value=where,
                parameter="hydra.sweeper.storage",
            ) from error
        self._url = url
        if IDENTITY not in attributes and not study.trials:
            study.set_user_attr(IDENTITY, json.dumps(identity))
            return study
        difference = _difference(json.loads(attributes.get(IDENTITY, "{}")), identity)
        if difference:
            raise ValidationError(
                Sentence(f"{where} must hold the study of this search, but holds one of {difference}"),
                "give another name=NAME, hydra.sweeper.storage=FILE or hydra.sweeper.study_name=NAME",
            )
        for trial in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
            # What a kill left unfinished is run again, from the chips that the store has of it.
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            if trial.params:
                study.enqueue_trial(trial.params, user_attrs={REPEATS: trial.number})
        return study

    def _search(
        self, study: Any, space: _Space, objectives: Sequence[Objective], loader: ConfigLoader, console: Console
    ) -> Outcome:
        """Have the plugin run the trials that the study lacks."""
        counted = _counted(study)
        left = self._n_trials - len(counted)
        if left <= 0:
            return Outcome()
        sampler = copy.deepcopy(self._sampler)
        OmegaConf.set_readonly(sampler, False)
        if sampler.get("seed") is not None:
            sampler.seed += len(study.trials)  # else a run that goes on would draw what it drew before
        plugin = getattr(importlib.import_module(PLUGIN_CLASS[0]), PLUGIN_CLASS[1])(
            sampler=sampler,
            direction=[objective.direction for objective in objectives],
            storage=self._url,
            study_name=self._study_name,
            n_trials=left,
            n_jobs=self._n_jobs,
            max_failure_rate=self._max_failure_rate,
            custom_search_space=None,
            params=None,
        )
        plugin.setup(hydra_context=self._context, task_function=self._task, config=self._config)
        search = plugin.sweeper
        search.launcher = _Jobs(search.launcher, self, loader, [objective.name for objective in objectives], console)
        search.job_idx = next(
            (trial.number for trial in study.trials if trial.state.name == "WAITING"), len(study.trials)
        )
        try:
            with workers_end_with_us():
                plugin.sweep(space.lines())
        except KeyboardInterrupt as error:
            return _interrupted(error, study)
        except LaunchError as error:
            return Outcome(Ending.LAUNCHER, f"{error}; {GO_ON}", 1, error.__cause__)
        except _TrialError as error:
            study.tell(error.number, state=_state("FAIL"))
            return Outcome(Ending.FAILED, str(error), 1, error.__cause__)
        return Outcome()

    def own_overrides(self, job: Sequence[str], loader: ConfigLoader) -> list[str]:
        """Overrides of a trial without those that its options have no parameter for, as in a sweep."""
        chosen = {override.get_key_element(): override for override in parse(list(job), loader)}
        left_out = compose_point(loader, self._config, chosen)[1]
        kept = [str(override.input_line) for key, override in chosen.items() if key not in left_out]
        # Torch would give every worker a thread a core, and workers of one machine would fight over them.
        beside = self._n_jobs > 1 and self._config.hydra.runtime.choices["hydra/launcher"] != "basic"
        return [*kept, "threads=1"] if beside and self._config.threads is None else kept

    @property
    def goes_on(self) -> bool:
        """True where a failed trial does not end the search."""
        return self._max_failure_rate > 0


class _TrialError(Exception):
    """A trial that ends the search.

    Args:
        number: of the trial.
        error: of its job.
    """

    def __init__(self, number: int, error: BaseException) -> None:
        remedy = "leave such values out, or add hydra.sweeper.max_failure_rate=1 to go on without it"
        super().__init__(f"trial {number} failed ({explain(error)}): {remedy}")
        self.number = number


class _Jobs(Launcher):
    """The launcher of a search: its jobs say in one line each how they ended.

    Args:
        launcher: runs them.
        sweeper: of the search.
        loader: Hydra's.
        names: of the objectives.
        console: where to print.
    """

    def __init__(
        self, launcher: Launcher, sweeper: StudySweeper, loader: ConfigLoader, names: Sequence[str], console: Console
    ) -> None:
        self._launcher, self._sweeper, self._loader = launcher, sweeper, loader
        self._names, self._console = names, console

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """The inner launcher is set up already."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        jobs = [self._sweeper.own_overrides(job, self._loader) for job in job_overrides]
        done = launch_jobs(self._launcher, jobs, initial_job_idx)
        for number, job in enumerate(done, initial_job_idx):
            if job.status == JobStatus.FAILED:  # `return_value` would print a line before it raises
                error = job._return_value
                if not self._sweeper.goes_on:
                    raise _TrialError(number, error) from error
                self._console.print(f"trial {number} failed: {explain(error)}", soft_wrap=True, markup=False)
                job.status, job.return_value = JobStatus.COMPLETED, None  # which the plugin takes for a failure
                continue
            values = job.return_value if isinstance(job.return_value, list) else [job.return_value]
            shown = ", ".join(f"{name} {value:.4g}" for name, value in zip(self._names, values, strict=True))
            self._console.print(f"trial {number}: {shown}", soft_wrap=True, markup=False)
        return done


def check_plugin() -> None:
    """Check that Optuna and the plugin that takes it are installed.

    Raises:
        ValidationError: names what is installed, and what to install.
    """
    remedy = f"{install('optuna')}, which brings the next Hydra, or leave hydra/sweeper=optuna out"
    found = {}
    for package in ("hydra-core", PLUGIN, "optuna"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = ""
    old = [name for name in ("hydra-core", PLUGIN) if found[name] and _release(found[name]) < PLUGIN_SINCE]
    if old or not all(found.values()):
        shown = ", ".join(f"{name} {each or 'not installed'}" for name, each in found.items())
        since = ".".join(map(str, PLUGIN_SINCE))
        raise ValidationError(
            Sentence(
                f"hydra/sweeper=optuna must have {PLUGIN} {since} on Hydra {since}, since that of Hydra 1.3 takes no "
                "Optuna from 3 on"
            ),
            remedy,
            shown=shown,
        )


def _release(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())


@dataclass(frozen=True)
class Checked:
    """A search whose first designs were built, and whose objectives they have.

    Args:
        space: what is tried.
        objectives: what is made best.
        point: the first design.
        settings: of every trial.
        workbench: the one that built the designs.
    """

    space: _Space
    objectives: Sequence[Objective]
    point: Point
    settings: Settings
    workbench: Workbench

    def identity(self) -> dict[str, Any]:
        """Everything that two runs of one study have in common, as JSON has it."""
        seeds = self.settings.seeds()
        document = {
            "objective": [objective.name for objective in self.objectives],
            "directions": [objective.direction for objective in self.objectives],
            "space": self.space.texts(),
            "seeds": f"{seeds[0]}..{seeds[-1]}",
            "stopping": str(self.settings.stopping),
            "yield_drop": self.settings.yield_drop,
            "choices": dict(self.point.choices),
            "params": dict(self.point.params),
            "network, data or version": self.point.point_id,
        }
        return cast("dict[str, Any]", json.loads(json.dumps(document)))


def checked(
    loader: ConfigLoader, config: DictConfig, arguments: Sequence[str], directions: Sequence[str] | None
) -> Checked:
    """Check a search before its first trial.

    Args:
        loader: Hydra's.
        config: of the multirun itself.
        arguments: overrides of every trial, swept ones among them.
        directions: of the objectives as given; None takes each one's own.

    Raises:
        ValueError: any design refuses its parameters, a setting that a search does not take, or an objective that its
            designs do not have.
        HydraException: a parameter that no design has.
    """
    space = _Space.of(arguments, loader)
    configs, refused = [], None
    for chosen in space.examples():
        cfg, missing = compose_point(loader, config, chosen)
        configs.append((container(cfg), choices(cfg)))
        refused = missing if refused is None else {key: each for key, each in refused.items() if key in missing}
    for error in (refused or {}).values():
        raise error
    first = configs[0][0]
    settings = read_settings(first, arguments)
    for name, default, remedy in (
        ("shards", 1, "leave it out: hydra.sweeper.n_jobs says how many trials run at once"),
        ("preview", False, "run the search, which chooses its points as it goes on"),
    ):
        if getattr(settings, name) != default:
            raise ValidationError(
                "is of a sweep, whose points are known before", remedy, value=getattr(settings, name), parameter=name
            )
    workbench = Workbench(allowed(first, arguments), ExecutionSettings.of(settings))
    points = workbench.points(configs)
    settings.check_units(point.params for point in points)
    objectives = _objectives(objective_names(first[OBJECTIVE]), directions, points, settings, workbench)
    return Checked(space, objectives, points[0], settings, workbench)


def _objectives(
    names: Sequence[str],
    directions: Sequence[str] | None,
    points: Sequence[Point],
    settings: Settings,
    workbench: Workbench,
) -> list[Objective]:
    """The objectives of a search.

    Raises:
        ValidationError: none is given, one that the search's metric or options do not have, or a direction that is not
            the column's.
    """
    if not names:
        raise ValidationError(
            "must be given for hydra/sweeper=optuna",
            "give objective=accuracy_mean, or a list of columns for a front",
            parameter="objective",
        )
    scales = list(dict.fromkeys(Scale.of(point.params) for point in points))
    if len(scales) > 1:
        raise ValidationError(
            "must be one metric in a search",
            "leave it out of what is swept",
            shown=", ".join(s.name for s in scales),
            parameter="metric",
        )
    labels = [{"point_id": p.point_id, "choices": p.choices, "params": p.params} for p in points]
    frame = frames.join(labels, pa.Table.from_pylist([], FACTS), [])
    objectives = objectives_of(names, directions, frame, scales[0])
    counts = isinstance(workbench.metric(points[0]), Share)
    for name in names:
        if not counts and name.startswith((*COUNTED, "accuracy_")):
            raise ValidationError(
                Sentence(
                    f"objective={name} is of metrics that count right inputs, and metric={points[0].choices['metric']} "
                    "does not"
                ),
                f"take {name.replace('accuracy', 'score')}" if name.startswith("accuracy") else "take score_mean",
            )
        if name.startswith("yield_") and drop_for(scales, settings.yield_drop) is None:
            raise ValidationError(
                Sentence(f"objective={name} needs a limit that makes a chip good, which {scales[0].label} has none of"),
                "give yield_drop=VALUE, how much worse than digital a good chip may be",
            )
        group = next((group for begin, group in _OF_GROUPS.items() if name.startswith(begin)), None)
        without = {p.choices[group] for p in points if group in p.choices} & {"none", "ideal"} if group else set()
        if without:
            raise ValidationError(
                Sentence(f"objective={name} has no value where {group}={min(without)}"),
                f"choose another {group}, or another objective",
            )
    return objectives


def _difference(theirs: Mapping[str, Any], ours: Mapping[str, Any], prefix: str = "") -> str:
    """The first thing in which two identities differ, in words; empty where they do not."""
    for key in dict.fromkeys([*ours, *theirs]):
        one, other = theirs.get(key), ours.get(key)
        if one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            return _difference(one, other, "" if key in ("choices", "params") else f"{key} ")
        return f"{prefix}{key} {one} instead of {other}"
    return ""


def _state(name: str) -> Any:
    return importlib.import_module("optuna").trial.TrialState[name]


def _counted(study: Any) -> list[Any]:
    """Trials of a study that ended, without those that a kill ended and that are repeated."""
    trials = study.get_trials(deepcopy=False)
    repeated = {trial.user_attrs[REPEATS] for trial in trials if REPEATS in trial.user_attrs}
    tried = (trial for trial in trials if trial.state.is_finished() and trial.params)
    return [trial for trial in tried if trial.number not in repeated]


def _record(study: Any, folder: Path, objectives: Sequence[Objective], settings: Settings) -> Search:
    """The record of a study, without what is run again.

    Args:
        study: of Optuna.
        folder: of the search, with a plan for each of its jobs.
        objectives: of the search.
        settings: of the search.
    """
    trials = []
    for trial in _counted(study):
        state, values = (COMPLETE, trial.values) if trial.state == _state("COMPLETE") else (FAILED, ())
        trials.append(
            SearchTrial(trial.number, state, _in_effect(trial.params, _plan_file(folder, trial.number)), values)
        )
    seeds = settings.seeds()
    importances = {o.name: _importances(study, i, o) for i, o in enumerate(objectives)}
    names, directions = [o.name for o in objectives], [o.direction for o in objectives]
    return Search(names, directions, f"{seeds[0]}..{seeds[-1]}", "", trials, importances)


def _plan_file(folder: Path, number: int) -> Path:
    return folder / "jobs" / str(number) / PLAN_FILE


def _in_effect(params: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Parameters of a trial without those that its options do not have."""
    names = {key.lstrip("+"): value for key, value in params.items()}
    if not path.is_file():  # refused before it had a plan
        return names
    (point,) = Plan.load(path).points
    had = {**point.choices, **point.params}
    return {name: value for name, value in names.items() if name in had or name.split(".")[0] not in POINT_KEYS}


def _importances(study: Any, place: int, objective: Objective) -> dict[str, float]:
    """Share of each parameter by PED-ANOVA, the one of Optuna's evaluators that takes no scikit-learn."""
    values = [trial.values[place] for trial in _counted(study) if trial.values]
    if len(values) < FEWEST_FOR_IMPORTANCES or len(set(values)) == 1:
        return {}
    importance = importlib.import_module("optuna.importance")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says of every target that less is better, which this one heeds
        shares = importance.get_param_importances(
            study,
            evaluator=importance.PedAnovaImportanceEvaluator(),
            target=lambda trial: objective.sign * trial.values[place],
        )
    return {name: float(share) for name, share in shares.items()}


def _interrupted(error: KeyboardInterrupt, study: Any) -> Outcome:
    words, code = ended_by(error)
    return Outcome(Ending.INTERRUPTED, f"{words}, with {len(study.trials)} trials begun, all kept: {GO_ON}", code)


def _confirmed(search: Search, folder: Path, settings: Settings, workbench: Workbench, most: int) -> Search:
    """A search whose front was run again on as many seeds, the next ones after those of the search.

    Args:
        search: without fresh values.
        folder: of the search.
        settings: of the search.
        workbench: builds the points.
        most: designs that are run again, the best ones of the first objective and every so many after them.
    """
    front = search.front()
    if not front:
        return search
    step = -(-len(front) // most)
    plans = {trial.number: Plan.load(_plan_file(folder, trial.number)) for trial in front[::step]}
    n, seeds = len(settings.seeds()), settings.seeds()
    fresh = range(seeds[-1] + 1, seeds[-1] + 1 + n)
    settings = replace(settings, seed=fresh[0])
    plans = {number: replace(plan, seeds=[fresh], settings=settings) for number, plan in plans.items()}
    frame = compute(merge(list(plans.values())), workbench)
    values = {}
    for number, plan in plans.items():
        rows = frame[frame["point_id"] == plan.points[0].point_id]
        rows.attrs = {**frame.attrs, "swept": []}
        values[number] = values_of(search.objectives, rows)
    trials = [replace(trial, fresh=values.get(trial.number, ())) for trial in search.trials]
    return replace(search, trials=trials, fresh_seeds=f"{fresh[0]}..{fresh[-1]}")
