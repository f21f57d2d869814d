"""Layers that cost the most: one point with other sets of layers on the array, their chips, table and words."""

from __future__ import annotations

import glob
import shlex
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.errors import HydraException
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from rramsweep import limits
from rramsweep.analysis import frames
from rramsweep.analysis.layer_table import LAYER
from rramsweep.analysis.sensitivity import ALL, ALONE, WITHOUT, by_variant, fewest_digital, judged, sensitivities
from rramsweep.analysis.target import Target, split_target
from rramsweep.arguments import checked_arguments, user_level
from rramsweep.cli.api import refuse_unheeded_settings
from rramsweep.cli.composing import allowed, choices, compose, container, point_plan
from rramsweep.cli.hydra_adapter import parse
from rramsweep.cli.messages import CommandError
from rramsweep.cli.one_point import check_settings, compute_missing, new_folder, print_lines
from rramsweep.cli.overrides import check, one_line, refuse_flags, refuse_unheeded
from rramsweep.cli.signals import ended_by
from rramsweep.errors import Sentence, ValidationError
from rramsweep.files import write_atomic
from rramsweep.reporting.curves import of_what
from rramsweep.reporting.report import results, save_figure
from rramsweep.reporting.sensitivity_plot import height_for, plot_sensitivity
from rramsweep.reporting.style import caption
from rramsweep.reporting.terminal import show_table
from rramsweep.scale import Bound, Scale, percent
from rramsweep.study.plan import Plan, Point
from rramsweep.study.settings import Settings
from rramsweep.study.store import Store

SENSITIVITY = "sensitivity"
TABLE_FILE, STEPS_FILE, FIGURE_FILE = "sensitivity.csv", "digital_layers.csv", "sensitivity.png"

# Named rule of the layers that a variant leaves digital, where rules stand beside it.
_RULE = "digital"

# Between the names of layers that share one weight.
_TIED = "+"

_EXCLUDE, _SEED = "analog.exclude=", "seed="
_ENDS: tuple[Bound, ...] = ("low", "high")


class Variants:
    """One point with other sets of its layers on the array, each chip of which is computed once and kept in the store.

    Args:
        overrides: of one point, without a target.

    Raises:
        ValidationError: several points, settings that are not heeded, or fewer than two layers to tell apart.
    """

    def __init__(self, overrides: Sequence[str]) -> None:
        refuse_flags(overrides, "sensitivity", "sensitivity takes one point")
        check(overrides, single="sensitivity is of one point, run it for each value")
        refuse_unheeded(overrides, "sensitivity computes every trial in this process")
        cfg = compose(overrides)
        config = container(cfg)
        allow = allowed(config, overrides)
        plan, self.workbench = point_plan(config, choices(cfg), overrides, "rramsweep.sensitivity", allow)
        refuse_unheeded_settings(plan)
        self.settings: Settings = plan.settings
        check_settings(self.settings, SENSITIVITY, "paired t")
        self.point, self.overrides = plan.points[0], list(overrides)
        self.notes = list(self.workbench.notes)
        self.sizes = {_TIED.join(size.layers): size for size in self.workbench.sizes(self.point)}
        if len(self.sizes) < 2:
            raise ValidationError(
                Sentence("a sensitivity by layer needs at least two weights on the array (tied layers share one)"),
                "use a network with more layers, or exclude fewer",
                shown=" and ".join(self.sizes),
            )
        self._points: dict[frozenset[str], Point] = {frozenset(): self.point}
        # (point_id, seed) -> error of each trial that failed.
        self.failed: dict[tuple[str, int], str] = {}

    @property
    def scale(self) -> Scale:
        """Name, unit and direction of the scores."""
        return Scale.of(self.point.params)

    @property
    def failure(self) -> str:
        """Sentence on the trials that failed."""
        return (
            f"{len(self.failed)} trials failed, the first with {next(iter(self.failed.values()))!r}, and are left out: "
            "retry_failed=true runs them again"
        )

    @property
    def sets(self) -> dict[str, frozenset[str]]:
        """`{variant: layers that are digital}` of the table: all on the array, each alone, all but each."""
        every = frozenset(self.sizes)
        alone = {f"{ALONE}{layer}": every - {layer} for layer in self.sizes}
        return {ALL: frozenset(), **alone, **{f"{WITHOUT}{layer}": frozenset({layer}) for layer in self.sizes}}

    def point_of(self, digital: Iterable[str]) -> Point:
        """The point with these layers digital."""
        key = frozenset(digital)
        if key not in self._points:
            analog = self.point.config["analog"]
            config = {**self.point.config, "analog": {**analog, **self._change(key)}}
            self._points[key] = self.workbench.point(config, self.point.choices)
        return self._points[key]

    def _change(self, digital: Iterable[str]) -> dict[str, Any]:
        """Keys of `analog` that leave these layers digital, beside those that the point has."""
        analog, patterns = self.point.config["analog"], self._patterns(digital)
        rules = analog.get("layers") or {}
        if not rules:
            return {"exclude": [*analog["exclude"], *patterns]}
        # A rule of excluded layers alone would be refused, as one that matches nothing: a last rule excludes them.
        return {"layers": {**rules, self._rule(rules): {"match": patterns, "exclude": True}}}

    def _patterns(self, digital: Iterable[str]) -> list[str]:
        chosen = set(digital)
        return [glob.escape(name) for label, size in self.sizes.items() if label in chosen for name in size.layers]

    @staticmethod
    def _rule(rules: Mapping[str, Any]) -> str:
        return next(name for i in range(len(rules) + 1) if (name := f"{_RULE}{i or ''}") not in rules)

    def override(self, digital: Iterable[str]) -> str:
        """The override that leaves these layers digital; empty for none."""
        chosen = list(digital)
        if not chosen:
            return ""
        change = self._change(chosen)
        if "exclude" in change:
            return f"{_EXCLUDE}[{_listed(change['exclude'])}]"
        name = list(change["layers"])[-1]
        return f"+analog.layers.{name}={{match:[{_listed(self._patterns(chosen))}],exclude:true}}"

    def command(self, digital: Iterable[str], seed: int) -> str:
        """The command that runs the point with these layers digital, on as many chips from a seed on."""
        new = [word for word in (self.override(digital), f"{_SEED}{seed}") if word]
        replaced = tuple(name for name in (_EXCLUDE, _SEED) if any(word.startswith(name) for word in new))
        words = [word for word in self.overrides if not word.lstrip("+").startswith(replaced)]
        return shlex.join(["rramsweep", *words, *new])

    def chips(self, sets: Sequence[Iterable[str]], seeds: Sequence[int], *, shown: bool = False) -> pd.DataFrame:
        """The chips of these sets of digital layers, those that the store lacks computed.

        Args:
            sets: of layers that are digital.
            seeds: of the chips.
            shown: with a progress bar.
        """
        points = list({point.point_id: point for point in map(self.point_of, sets)}.values())
        limits.TRIALS.check(len(points) * len(seeds), "trials", remedy="ask for fewer chips")
        plan = Plan(points, [seeds] * len(points), (), self.settings)
        store = Store(Path(self.settings.store))
        compute_missing(plan, store, self.workbench, shown=shown)
        frame = results(plan, store)
        bad = frame[frame["status"] == "failed"]
        self.failed |= dict(zip(zip(bad["point_id"], bad["seed"], strict=True), bad["error"], strict=True))
        return frame


def _listed(patterns: Iterable[str]) -> str:
    """Patterns as the elements of a list in an override, in quotes where they would be read as anything else."""

    def element(pattern: str) -> str:
        try:
            plain = parse([f"{_EXCLUDE}[{pattern}]"])[0].value() == [pattern]
        except HydraException:
            plain = False
        return pattern if plain else "'" + pattern.replace("'", "\\'") + "'"

    return ",".join(map(element, patterns))


class Choice:
    """The search for a small set of digital layers.

    Args:
        variants: of the point.
        target: to be met.
        limit: largest loss in the metric's unit.
        table: sensitivities of the layers.
        shown: see `Variants.chips`.
        report: called with each step as it is measured.
    """

    def __init__(
        self,
        variants: Variants,
        target: Target,
        limit: float,
        table: pd.DataFrame,
        *,
        shown: bool = False,
        report: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self._variants, self._target, self._limit, self._table = variants, target, limit, table.set_index(LAYER)
        self._shown, self._report = shown, report
        self._steps: dict[tuple[frozenset[str], int], dict[str, Any]] = {}
        self._seeds = variants.settings.seeds()
        # As many chips that no step was chosen on.
        self._fresh = range(self._seeds.stop, self._seeds.stop + len(self._seeds))

    @property
    def steps(self) -> pd.DataFrame:
        """A row for each set of digital layers that was measured, in order; see `_measure`."""
        return pd.DataFrame(list(self._steps.values()))

    def find(self) -> dict[str, Any]:
        """Choose on the chips of the table, and verify on fresh ones.

        Returns:
            The step on fresh chips, with `override`.

        Raises:
            ValidationError: no set short of all reaches the target, or a chip failed.
        """
        every = list(self._table.index)
        each = {layer: self._judged([one for one in every if one != layer], self._seeds) for layer in every}
        alone = [layer for layer, outcome in each.items() if outcome["met"]]
        chosen = fewest_digital(every, alone, lambda digital: bool(self._measure(digital, self._seeds)["met"]))
        if chosen is None:
            raise self._unreachable(each)
        return {**self._measure(chosen, self._fresh), "override": self._variants.override(chosen)}

    def _judged(self, digital: Sequence[str], seeds: range) -> dict[str, Any]:
        return judged(self._variants.chips([digital], seeds, shown=self._shown), self._target, self._limit)

    def _measure(self, digital: Sequence[str], seeds: range) -> dict[str, Any]:
        """Hold a set of digital layers to the target.

        Returns:
            `digital`; `seed_first`, `seed_last`; `fresh`, False for the chips that the choice is made on; the columns
            of `judged`; and `cells_share` and `macs_share` that leave the array.
        """
        key = (frozenset(digital), seeds.start)
        if key not in self._steps:
            shares = self._table.loc[list(digital), ["cells_share", "macs_share"]].sum()
            chips = {"seed_first": seeds[0], "seed_last": seeds[-1], "fresh": seeds == self._fresh}
            self._steps[key] = {"digital": list(digital), **chips, **self._judged(digital, seeds)}
            self._steps[key] |= {str(name): float(share) for name, share in shares.items()}
            if self._report is not None:
                self._report(self._steps[key])
        return self._steps[key]

    def _unreachable(self, alone: Mapping[str, Mapping[str, Any]]) -> ValidationError:
        """Refusal of a target that no layer meets alone on the array, with what decides it of the nearest one."""
        scale, by_yield = self._variants.scale, self._target.yield_ is not None

        def missed(layer: str) -> tuple[float, float]:
            outcome = alone[layer]
            return (-outcome["yield_bound"] if by_yield else outcome["loss_high"], outcome["loss_mean"])

        best = min(alone, key=missed)
        outcome = f"has a {_yield(alone[best])}" if by_yield else f"loses {_loss(alone[best], 'loss', scale)}"
        remedy = "give a larger target.drop, lower the errors of the cells, or give more chips"
        return ValidationError(
            Sentence(
                f"a target must be one that a set of digital layers short of all meets, but even {best} alone on "
                f"the array {outcome} over chips {_span(self._seeds)}, against a target of "
                f"{self._target.words(self._limit, scale)}"
            ),
            remedy.replace(", lower", ", a smaller target.yield, lower") if by_yield else remedy,
        )


@checked_arguments
def sensitivity(overrides: Sequence[str]) -> pd.DataFrame:
    """Measure which layers of a network cost the most on the array, as `rramsweep sensitivity` does.

    Each layer alone on the array against the digital network, and all layers but it against all of them, on the same
    chips: a layer's conductances depend on seed and layer alone, so they are the same whichever others are on the
    array. Chips are kept in the store, and a second call computes nothing.

    Args:
        overrides: of one point. `target.drop=0.02`, `target.yield=0.9` or both ask for a small set of layers to leave
            digital, see `analysis.target.Target`.

    Returns:
        A row a layer, the most sensitive first: the columns of `analysis.sensitivity.sensitivities`; `plot_sensitivity`
        draws it. With a target, `attrs["digital_layers"]` is the set that was chosen, as measured on fresh chips
        (`seed + chips` onwards): `digital`, `met`, `loss_mean`, `macs_share`, `override`, ...; and `attrs["steps"]`
        lists the sets that were measured on the way.

    Raises:
        ValueError: several points, fewer than two layers, a target that no set of layers meets, a target and a chip
            that failed, or what `sweep` refuses.
    """
    if isinstance(overrides, str):
        raise ValueError(f"sensitivity takes a list of overrides, got the string {overrides!r}: put it in brackets")
    with one_line():
        words, target = split_target(overrides)
        variants = Variants(words)
        limit = _limit(variants, target)
    for note in variants.notes:
        warnings.warn(note, UserWarning, stacklevel=user_level())
    table = _table(variants)
    if target is not None:
        choice = Choice(variants, target, limit, table)
        chosen = choice.find()
        table.attrs |= {"digital_layers": chosen, "steps": choice.steps.to_dict("records")}
    if variants.failed:
        warnings.warn(variants.failure, UserWarning, stacklevel=user_level())
    return table


def run(arguments: Sequence[str], target: Target | None, console: Console) -> None:
    """Do what `rramsweep sensitivity` is asked for.

    Args:
        arguments: overrides of one point.
        target: of the set of digital layers; None chooses none.
        console: where to print.

    Raises:
        CommandError: ended by a signal, or some trials failed; every finished chip is kept.
    """
    variants = Variants(arguments)
    limit, settings = _limit(variants, target), variants.settings
    folder = new_folder(settings.name, SENSITIVITY)
    print_lines(
        console,
        f"{settings.name}: {len(variants.sizes)} layers of {variants.point.choices['model']}, each alone on the array "
        f"and each alone digital, on the same {settings.chips} chips ({_span(settings.seeds())})",
        *(f"note: {note}" for note in variants.notes),
    )
    try:
        table = _table(variants, shown=True)
        write(table, folder)
        show(table, console)
        if target is not None:
            _choose(variants, target, limit, table, folder, console)
    except KeyboardInterrupt as error:
        words, code = ended_by(error)
        raise CommandError(f"{words}, with every finished chip kept: run the same command to go on", code) from error
    finally:
        if folder.exists():
            print_lines(console, f"files: {folder}")
    if variants.failed:
        raise CommandError(variants.failure)


def _limit(variants: Variants, target: Target | None) -> float:
    """Largest loss that a target allows; checks that the chips can show it."""
    if target is None:
        return 0.0
    settings = variants.settings
    target.check_chips(settings.chips)
    replace(settings, seed=settings.seed + settings.chips)  # refuses fresh chips beyond the last seed
    return target.limit(variants.scale, settings.yield_drop)


def _table(point: Variants, *, shown: bool = False) -> pd.DataFrame:
    """Sensitivities of the layers of a point."""
    sets = point.sets
    rows = point.chips(list(sets.values()), point.settings.seeds(), shown=shown)
    ids = {name: point.point_of(digital).point_id for name, digital in sets.items()}
    for name, point_id in ids.items():
        own = rows[rows["point_id"] == point_id]
        if not (own["status"] == "ok").any():
            raise ValidationError(
                Sentence(f"each set of layers must have a finished chip, but with {name} on the array all failed"),
                "correct the cause, then retry_failed=true runs them again",
                value=own["error"].iloc[0],
            )
    table = sensitivities(
        by_variant(rows, ids), {layer: (size.cells, size.macs) for layer, size in point.sizes.items()}
    )
    table.attrs = {"of": of_what(rows[rows["status"] == "ok"])}
    return table


def _choose(
    variants: Variants, target: Target, limit: float, table: pd.DataFrame, folder: Path, console: Console
) -> None:
    """Choose layers to leave digital, print each step and the result, and write `digital_layers.csv`."""
    scale = variants.scale

    def show_step(step: Mapping[str, Any]) -> None:
        which = "fresh chips" if step["fresh"] else "chips"
        print_lines(
            console,
            f"{which} {step['seed_first']}..{step['seed_last']}, digital: {', '.join(step['digital']) or 'none'}: "
            f"{_outcome(step, target, scale)}",
        )

    print_lines(console, f"target: {target.words(limit, scale)}")
    choice = Choice(variants, target, limit, table, shown=True, report=show_step)
    try:
        found = choice.find()
    finally:
        steps = choice.steps
        if len(steps):
            steps["digital"] = steps["digital"].map(" ".join)
            write_atomic(folder / STEPS_FILE, frames.csv(steps))
    digital = found["digital"]
    if not digital:
        print_lines(console, "no layer needs to be digital: all of them on the array meet the target")
    else:
        cells, macs = (percent(found[name], significant=3) for name in ("cells_share", "macs_share"))
        print_lines(
            console,
            f"leave digital: {', '.join(digital)} ({len(digital)} of {len(table)} layers, by {found['override']}); "
            f"{macs} % of the multiplications with weights on the array leave it, and {cells} % of its cells",
        )
    confirmed = "confirm it" if found["met"] else "do not confirm it: give more chips, or a smaller target.drop"
    print_lines(
        console,
        f"the choice was made on chips {_span(variants.settings.seeds())}; as many fresh ones, "
        f"{found['seed_first']}..{found['seed_last']}, {confirmed}",
        f"run it on these: {variants.command(digital, found['seed_first'])}",
    )


def write(table: pd.DataFrame, folder: Path) -> None:
    """Write `sensitivity.csv` and `sensitivity.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / TABLE_FILE, frames.csv(table))
    figure = Figure(figsize=(3.5, height_for(table, caption=True)), layout="constrained")
    FigureCanvasAgg(figure)
    caption(plot_sensitivity(table, figure.subplots()), draw=True)
    save_figure(figure, folder / FIGURE_FILE)


def show(table: pd.DataFrame, console: Console) -> None:
    """Print the table, and what all layers cost together."""
    first = table.iloc[0]
    scale = Scale.of(first)
    unit = f" ({scale.distance})" if scale.distance else ""
    printed = Table(
        title=f"loss of {scale.name}{unit}, mean with 95 % t interval over {first['all_n']} chips {table.attrs['of']}",
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 1),
    )
    printed.add_column(LAYER, overflow="fold")
    for name in ("alone on the array", "interval", "gain if digital", "interval", "cells %", "multiplications %"):
        printed.add_column(name, justify="right", no_wrap=True)
    for _, row in table.iterrows():
        texts = (text for prefix in ("alone", "gain") for text in _texts(row, prefix, scale))
        shares = (percent(row[f"{of}_share"], 1) for of in ("cells", "macs"))
        printed.add_row(row[LAYER], *texts, *shares)
    show_table(printed, console)
    total = scale.number(table["alone_mean"].sum())
    print_lines(
        console,
        "rows are in the order of the mean of loss alone and gain; shares are of all cells, and of all multiplications "
        "with weights, that are on the array",
        f"digital {scale.text(first['digital_score'])}; all layers together lose {_loss(first, 'all', scale)}, the "
        f"losses of each alone add up to {total}",
    )
    if not ((table["alone_low"] > 0) | (table["gain_low"] > 0)).any():
        print_lines(console, "no layer's loss is above 0 beyond its interval: more chips may tell the layers apart")


def _texts(row: Any, prefix: str, scale: Scale) -> tuple[str, str]:
    """A mean and its interval, rounded toward caution."""
    low, high = (scale.number(row[f"{prefix}_{end}"], bound=end) for end in _ENDS)
    return scale.number(row[f"{prefix}_mean"]), "-" if low == "-" else f"{low}..{high}"


def _loss(row: Any, prefix: str, scale: Scale) -> str:
    mean, interval = _texts(row, prefix, scale)
    return f"{mean}{'' if interval == '-' else f' ({interval})'} {scale.distance}".rstrip()


def _outcome(step: Mapping[str, Any], target: Target, scale: Scale) -> str:
    """A step in words."""
    share = "" if target.yield_ is None else f", {_yield(step)}"
    return f"loses {_loss(step, 'loss', scale)}{share}: {'met' if step['met'] else 'not met'}"


def _yield(step: Mapping[str, Any]) -> str:
    return f"yield of {percent(step['good_share'])} % (at least {percent(step['yield_bound'], 1, 'low')} %)"


def _span(seeds: range) -> str:
    return f"{seeds[0]}..{seeds[-1]}"
