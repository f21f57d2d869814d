"""Error budgets from the overrides of one point: the rounds of a search over the store, tables, figure and words."""

from __future__ import annotations

import io
import math
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from rramsweep import limits
from rramsweep.analysis import frames
from rramsweep.analysis.budget import (
    NONE,
    Bracket,
    Search,
    budget_table,
    estimated_rank,
    passes_target,
    scaled,
    tolerated_rank,
)
from rramsweep.analysis.summary import good_chips, losses
from rramsweep.analysis.target import TARGET, Target
from rramsweep.arguments import checked_arguments, user_level
from rramsweep.cli import factors
from rramsweep.cli.budget_words import BUDGET, sorted_words, target_of
from rramsweep.cli.composing import allowed, choices, container, point_config, point_plan, refuse_axes
from rramsweep.cli.messages import CommandError
from rramsweep.cli.monitor import Monitor
from rramsweep.cli.one_point import new_folder, print_lines
from rramsweep.cli.overrides import check, one_line, refuse_flags, refuse_unheeded
from rramsweep.cli.planning import given_by, variants
from rramsweep.cli.signals import ended_by
from rramsweep.errors import Sentence, ValidationError
from rramsweep.files import write_atomic
from rramsweep.intervals import T
from rramsweep.reporting.budget_findings import HEADINGS, budget_findings, cells, target_words
from rramsweep.reporting.budget_plot import height_of, plot_budget
from rramsweep.reporting.report import save_figure
from rramsweep.reporting.style import caption
from rramsweep.reporting.terminal import show_table
from rramsweep.scale import Scale
from rramsweep.simulation.shard import Work, choose_executions, run_shard
from rramsweep.simulation.workbench import BASELINE_KEYS, Workbench
from rramsweep.study.plan import Plan, Point
from rramsweep.study.progress import ProgressFile
from rramsweep.study.stopping import Fixed
from rramsweep.study.store import Store, select

TABLE_FILE, PARQUET_FILE, LEVELS_FILE, FIGURE_FILE = "budget.csv", "budget.parquet", "levels.csv", "budget.png"

# Numbers of a text, without those in names (`fc1`).
_NUMBERS = re.compile(r"(?<![\w.])[0-9][0-9.]*(?:e[-+]?[0-9]+)?\b")

# Name of the search over the factor by which all parameters are scaled together.
_FACTOR = "factor"


@dataclass(frozen=True, eq=False)
class Request:
    """One budget, every point that it may need validated.

    Args:
        plan: of the point as configured, with the settings.
        workbench: the one that built the points.
        target: with its drop.
        brackets: by parameter.
        points: of each parameter, by level.
        words: overrides of the point as configured.
        draws: chips may differ.
        errors: parameters without a bracket that act, as `NAME=VALUE UNIT`.
    """

    plan: Plan
    workbench: Workbench
    target: Target
    brackets: Mapping[str, Bracket]
    points: Mapping[str, Mapping[float, Point]]
    words: Sequence[str]
    draws: bool
    errors: Sequence[str]

    @property
    def seeds(self) -> list[int]:
        """The chips; one where all are the same."""
        return list(self.plan.seeds[0]) if self.draws else list(self.plan.seeds[0][:1])

    @property
    def share(self) -> float:
        """Share of the chips that shall pass."""
        assert self.target.yield_ is not None  # `target_of` asks for it
        return self.target.yield_

    @property
    def rank(self) -> int:
        """Rank of the chip whose level bounds the target."""
        return tolerated_rank(len(self.seeds), self.share) if self.draws else 1

    @property
    def base(self) -> Point:
        """The point as configured."""
        return self.plan.points[0]

    @property
    def scale(self) -> Scale:
        """Name, unit and direction of the scores."""
        return Scale.of(self.base.params)

    @property
    def today(self) -> dict[str, float | None]:
        """Level of each parameter as configured; None where that is no number."""
        return {name: _level(self.base, name) for name in self.brackets}

    @property
    def notes(self) -> list[str]:
        """Sentences on the points."""
        one = "nothing is drawn at random, so every chip is the same one, and one stands for all"
        return [*_alike(self.workbench.notes), *([] if self.draws else [one])]


# Runs one round: the plan of what is wanted, and the trials that the store lacks.
Round = Callable[[Plan, Store, Work], None]


@checked_arguments
def budget(overrides: Sequence[str]) -> pd.DataFrame:
    """Find the level of each parameter that a share of the chips tolerates, as `rramsweep budget` does.

    The chips of all levels are the same seeds. Trials are kept in the store, so that a second call computes nothing.

    Args:
        overrides: of one point, with `target.yield=SHARE`, `target.drop=DROP` where 0.02 of an accuracy is not meant,
            and one or more `PARAMETER=LOW..HIGH`.

    Returns:
        A row for each parameter, see `rramsweep.analysis.budget.budget_table`. `attrs` hold `findings` (the sentences
        of the command), `target_yield`, `target_drop`, `digital_score`, `levels` (`{parameter: {seed: level}}`, null
        where a chip fails at the harmless end), `violations` (`{parameter: [seed, ...]}`), `errors` (parameters without
        a bracket that act), and `joint`: null, or where no parameter alone reaches the target `factor`, `status`,
        `levels`, `peak` and `passing_peak` of all of them scaled together.

    Raises:
        ValueError: a target or bracket that is none, a parameter that nothing reads, too few chips for the target, or
            what `compose` refuses; all before the first chip. Or a chip that failed.
    """
    with one_line():
        request = _request(overrides)
    for note in request.notes:
        warnings.warn(note, UserWarning, stacklevel=user_level())

    def silent(_plan: Plan, store: Store, work: Work) -> None:
        run_shard(work, store, request.workbench)

    return _searched(request, silent)


def run(arguments: Sequence[str], console: Console) -> None:
    """Do what `rramsweep budget` is asked for.

    Raises:
        CommandError: ended by a signal; what was computed is kept.
    """
    request = _request(arguments)
    folder = new_folder(request.plan.settings.name, BUDGET)
    n, chips = len(request.brackets), len(request.seeds)
    counts = f"{n} parameter{'s' * (n > 1)} over {chips} chip{'s' * (chips > 1)}"
    print_lines(console, f"{request.plan.settings.name}: {BUDGET} of {counts}")
    held = factors.held_fixed([request.base], [*given_by(request.words), *request.brackets], request.workbench)
    if held:
        print_lines(console, f"held fixed: {', '.join(held.values())}")
    for note in request.notes:
        print_lines(console, f"note: {note}")
    rounds = 0
    kept = 0

    def shown(plan: Plan, store: Store, work: Work) -> None:
        nonlocal rounds, kept
        rounds += 1
        left = work.left()
        print_lines(console, f"round {rounds}: points {len(plan.points)}, trials {plan.n_trials}, to compute {left}")
        with tempfile.TemporaryDirectory() as made:  # nothing is left of a budget that is ended but its trials
            progress = ProgressFile(Path(made), 0)
            try:
                with Monitor(Path(made), left):
                    try:
                        run_shard(work, store, request.workbench, progress)
                    finally:
                        progress.write()
            finally:
                kept += ProgressFile.total(Path(made)).done

    try:
        table = _searched(request, shown)
        if not rounds:
            print_lines(console, "every trial is in the store: nothing to compute")
    except KeyboardInterrupt as error:
        words, code = ended_by(error)
        raise CommandError(
            f"{words}, with {kept} new trials kept in {request.plan.settings.store}: run the same command to go on",
            code,
        ) from error
    Store(Path(request.plan.settings.store)).tidy()
    write(table, folder)
    show(table, folder, console)


def write(table: pd.DataFrame, folder: Path) -> None:
    """Write `budget.csv` and `.parquet`, the chips' own levels as `levels.csv`, and `budget.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / TABLE_FILE, frames.csv(table))
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    write_atomic(folder / PARQUET_FILE, buffer.getvalue())
    levels = pd.DataFrame(table.attrs["levels"]).rename_axis("seed").reset_index()
    write_atomic(folder / LEVELS_FILE, frames.csv(levels))
    figure = Figure(figsize=(3.5, height_of(table)), layout="constrained")
    FigureCanvasAgg(figure)
    caption(plot_budget(table, figure.subplots()), draw=True)
    save_figure(figure, folder / FIGURE_FILE)


def show(table: pd.DataFrame, folder: Path, console: Console) -> None:
    """Print the findings, the table, and where the files are."""
    first, *others = table.attrs["findings"]
    print_lines(console, first)
    printed = Table(title=target_words(table), title_justify="left", box=None, pad_edge=False, padding=(0, 1))
    for i, name in enumerate(HEADINGS):
        printed.add_column(name, overflow="fold", justify="right" if i else "left")
    for row in cells(table):
        printed.add_row(*row)
    show_table(printed, console)
    for sentence in others:
        print_lines(console, sentence)
    print_lines(console, f"files: {folder}")


def _request(words: Sequence[str]) -> Request:
    if isinstance(words, str):
        raise ValueError(f"{BUDGET} takes a list of overrides, got the string {words!r}: put it in brackets")
    refuse_flags(words, BUDGET, f"{BUDGET} takes one point with brackets PARAMETER=LOW..HIGH")
    given, ends, rest = sorted_words(words)
    target = target_of(given)
    check(rest, single=f"{BUDGET} takes a bracket, PARAMETER=LOW..HIGH")
    refuse_unheeded(rest, f"{BUDGET} computes every trial in this process")
    cfg = point_config(rest)
    refuse_axes(cfg.hydra.sweeper)
    config = container(cfg)
    chosen = choices(cfg)
    if chosen["cost"] != "none":
        raise ValidationError(
            "must be none, since a budget is of scores alone", "give cost=none", value=chosen["cost"], slot="cost"
        )
    plan, workbench = point_plan(config, chosen, rest, "rramsweep.budget", allowed(config, rest))
    settings = plan.settings
    if settings.interval != T:
        raise ValidationError(
            f"must be {T}, since a budget has no interval of a mean: its bound on the yield is exact",
            f"give interval={T} or leave it out",
            value=settings.interval,
            parameter="interval",
        )
    if not isinstance(settings.stopping, Fixed):
        raise ValidationError(
            "must be fixed, since every level takes the same chips", "leave it out and give chips=N", slot="stopping"
        )
    target = replace(target, drop=target.limit(Scale.of(plan.points[0].params), settings.yield_drop))
    brackets, points = {}, {}
    for name, texts in ends.items():
        brackets[name], points[name] = _levels(name, texts, rest, workbench)
        _check_holds(brackets[name], _level(plan.points[0], name))
    everything = [plan.points[0], *(point for levels in points.values() for point in levels.values())]
    limits.POINTS.check(len(everything), "points", remedy="give fewer brackets")
    settings.check_units(point.params for point in everything)
    extremes = [
        everything[0],
        *(point for levels in points.values() for point in list(levels.values())[:: len(levels) - 1]),
    ]
    draws = any(map(workbench.draws, extremes))
    if draws:
        target.check_chips(len(plan.seeds[0]))
    choose_executions(plan, Store(Path(settings.store)), workbench, keep=False)
    _check_met_by_ideal(target, plan.points[0], brackets, workbench)
    errors = list(factors.held_fixed([plan.points[0]], brackets, workbench).values())
    return Request(plan, workbench, target, brackets, points, rest, draws, errors)


def _check_holds(bracket: Bracket, today: float | None) -> None:
    """Check that a bracket holds the level as configured, beyond which a search would say nothing of it.

    Raises:
        ValidationError: says the bracket that does.
    """
    if today is not None and not bracket.low <= today <= bracket.high:
        raise ValidationError(
            f"must have a bracket that holds today's {today:.12g}",
            f"give {bracket.parameter}={min(bracket.low, today):.12g}..{max(bracket.high, today):.12g}",
            shown=f"{bracket.low:.12g}..{bracket.high:.12g}",
            parameter=bracket.parameter,
        )


def _alike(notes: Iterable[str]) -> list[str]:
    """Notes of which those that differ in their numbers alone, as levels of one parameter bring them, are one."""
    found: dict[str, list[str]] = {}
    for note in notes:
        found.setdefault(_NUMBERS.sub("#", note), []).append(note)
    return [
        first + (f" (and {len(more)} more such note{'s' * (len(more) > 1)}, with other numbers)" if more else "")
        for first, *more in found.values()
    ]


def _levels(
    name: str, texts: tuple[str, str], words: Sequence[str], workbench: Workbench
) -> tuple[Bracket, dict[float, Point]]:
    """The bracket of a parameter, and the point of each of its levels.

    Raises:
        ValueError: no such parameter, one that takes no number or refuses a level, or one that changes no chip.
    """
    low, high = (int(text) if re.fullmatch(r"[-+]?[0-9]+", text) else float(text) for text in texts)
    if not low < high:
        raise ValidationError(
            Sentence(f"a bracket must have LOW below HIGH, as {name}=LOW..HIGH"),
            "exchange its ends" if high < low else "give another end",
            shown=f"{texts[0]}..{texts[1]}",
        )
    at = variants(words, {name: low})
    ends = workbench.points(at({name: level}) for level in (low, high))
    if not all(factors.is_number(point.params.get(name)) for point in ends):
        raise ValidationError("must be a parameter that takes a number", "bracket another", parameter=name)
    # In a rule of some layers a number has the type of its text, in its group that of the constructor.
    typed = [name, name.split(".", 3)[-1]] if name.startswith("analog.layers.") else [name]
    known = next(own for own in reversed(typed) if own in ends[0].params)
    bracket = Bracket(name, low, high, whole=all(isinstance(point.params[known], int) for point in ends))
    points = workbench.points(at({name: level}) for level in bracket.levels)
    reason = factors.inert([*points[:: max(1, len(points) // 4)], points[-1]], name, workbench)
    if reason:
        raise ValidationError(
            Sentence(f"{name} must change the chips to have a budget, but from {texts[0]} to {texts[1]} {reason}")
        )
    return bracket, dict(zip(bracket.levels, points, strict=True))


def _check_met_by_ideal(target: Target, point: Point, brackets: Iterable[str], workbench: Workbench) -> None:
    """Check that a chip without any error passes, unless a bracket is of what it consists of."""
    if any(name.partition(".")[0] in BASELINE_KEYS for name in brackets):
        return
    bench, scale = workbench.bench(point), Scale.of(point.params)
    lost = bench.digital.score - bench.ideal_score
    lost = lost if scale.higher_is_better else -lost
    assert target.drop is not None
    if lost > target.drop + 1e-9 * (1 + abs(bench.digital.score)):
        raise ValidationError(
            f"must be met by some level, but a chip without errors loses {scale.number(lost, bound='high')} "
            f"{scale.distance} by its device and mapping alone".replace("  ", " ").rstrip(),
            "allow more, or choose another device or mapping",
            value=target.drop,
            slot=TARGET,
            parameter="drop",
        )


def _searched(request: Request, execute: Round) -> pd.DataFrame:
    """Search all brackets at once, then the factor where no parameter alone reaches the target."""
    runner = _Runner(request, execute)
    n, rank, today = len(request.seeds), request.rank, request.today
    searches = {name: Search(bracket, request.seeds) for name, bracket in request.brackets.items()}
    now = runner.outcomes([(request.base, request.seeds)])[request.base.point_id]
    passing = sum(good for good, _ in now.values())
    for name, search in searches.items():
        if (level := today[name]) is not None:
            for seed, (good, loss) in now.items():
                search.observe(level, seed, good, loss)
    runner.search(searches, request.points)
    table = budget_table(searches, today, passing, rank, estimated_rank(n, request.share))
    joint = None
    reached = [passes_target(n, most, rank) for most in table["passing_peak"]]
    if len(table) > 1 and (table["status"] == NONE).all() and not (passes_target(n, passing, rank) or any(reached)):
        joint = _joint(request, searches, runner)
    target = request.target
    table.attrs = {
        "target_yield": request.share,
        "target_drop": target.drop,
        "digital_score": runner.digital_score,
        **{str(name): value for name, value in request.scale.columns.items()},
        "rank": rank,
        "levels": {
            name: {seed: search.tolerance(seed)[0] for seed in search.seeds} for name, search in searches.items()
        },
        "violations": {name: found for name, search in searches.items() if (found := search.violations())},
        "errors": list(request.errors),
        "joint": joint,
    }
    table.attrs["findings"] = budget_findings(table)
    return table


def _joint(request: Request, searches: Mapping[str, Search], runner: _Runner) -> dict[str, object]:
    """The factor by which all errors are scaled together so that the target is reached."""
    today = {name: level for name, level in request.today.items() if level is not None}

    def levels_at(factor: float) -> dict[str, float]:
        return {n: scaled(request.brackets[n], level, searches[n].helps, factor) for n, level in today.items()}

    today = {name: level for name, level in today.items() if levels_at(0.0)[name] != level}
    if not today:
        return {"factor": None, "status": NONE, "levels": {}, "peak": None, "passing_peak": 0}
    factor = Bracket(_FACTOR, 0.0, 1.0)
    at = variants(request.words, levels_at(1.0))
    points = dict(
        zip(factor.levels, request.workbench.points(at(levels_at(level)) for level in factor.levels), strict=True)
    )
    search = Search(factor, request.seeds, helps=False)
    runner.search({_FACTOR: search}, {_FACTOR: points})
    status, level = search.ordered(request.rank)
    peak, passing = search.peak
    levels = levels_at(peak if level is None else level)
    return {"factor": level, "status": status, "levels": levels, "peak": peak, "passing_peak": passing}


class _Runner:
    """Computes the chips of rounds through the store.

    Args:
        request: what is searched.
        execute: runs what a round lacks.
    """

    def __init__(self, request: Request, execute: Round) -> None:
        self._request, self._execute = request, execute
        self._store = Store(Path(request.plan.settings.store))
        self.digital_score = math.nan

    def search(self, searches: Mapping[str, Search], points: Mapping[str, Mapping[float, Point]]) -> None:
        """Go on until every chip's level is known."""
        while wanted := [
            (name, level, seeds) for name, search in searches.items() for level, seeds in search.wanted().items()
        ]:
            found = self.outcomes([(points[name][level], seeds) for name, level, seeds in wanted])
            for name, level, seeds in wanted:
                outcomes = found[points[name][level].point_id]
                for seed in seeds:
                    searches[name].observe(level, seed, *outcomes[seed])

    def outcomes(self, wanted: Sequence[tuple[Point, Sequence[int]]]) -> dict[str, dict[int, tuple[bool, float]]]:
        """`{point_id: {seed: (passes, loss)}}` of one round.

        Raises:
            ValueError: a chip failed, or the store cannot be written.
        """
        request = self._request
        plan = Plan([point for point, _ in wanted], [seeds for _, seeds in wanted], (), request.plan.settings)
        work = Work(plan, self._store, plan.settings.retry_failed)
        if work.left():
            self._store.prepare()
            plan = choose_executions(plan, self._store, request.workbench)
            self._execute(plan, self._store, work)
        frame = select(self._store.facts(point.point_id for point in plan.points), plan).to_pandas()
        failed = frame[frame["status"] == "failed"]
        if len(failed):
            raise ValueError(
                f"a budget needs every chip, but {len(failed)} of {len(frame)} trials failed, most often with "
                f"{failed['error'].value_counts().index[0]!r}: correct it, then add retry_failed=true"
            )
        assert request.target.drop is not None
        higher = request.scale.higher_is_better
        good = good_chips(frame, np.full(len(frame), request.target.drop), higher)
        loss = losses(frame, higher)
        self.digital_score = float(frame["digital_score"].iloc[0])
        found: dict[str, dict[int, tuple[bool, float]]] = {}
        for point_id, seed, passes, lost in zip(frame["point_id"], frame["seed"], good, loss, strict=True):
            found.setdefault(point_id, {})[int(seed)] = (bool(passes), float(lost))
        return found


def _level(point: Point, name: str) -> float | None:
    value = point.params.get(name)
    return value if factors.is_number(value) else None
