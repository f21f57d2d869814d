"""The settings of a sweep beside its points: chips, stopping rule, store, and what is fixed of how it is run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_type_hints

from rramsweep import limits
from rramsweep.arguments import fitting
from rramsweep.construct import fit
from rramsweep.errors import Sentence, ValidationError, one_of
from rramsweep.intervals import INTERVALS, T, check_interval
from rramsweep.scale import Scale, drop_for
from rramsweep.study import stopping
from rramsweep.study.executions import LARGEST_BATCH, wrong_executions
from rramsweep.study.stopping import Fixed, Stopping
from rramsweep.suggest import suggest

# Source ranges of a plan of before there were any in it: what plots knew by themselves then.
FORMER_RANGES = {"drift.relative_drift": (0.0, 0.2, "relative drift above 0.2 lies outside the range its source gives")}


@dataclass(frozen=True)
class Settings:
    """Settings that a plan keeps, never part of a point.

    Args:
        name: folder of the sweep under `outputs/`.
        seed, chips: the chips of a point are `seed .. seed + chips - 1`.
        stopping: rule that decides how many of them count.
        interval: kind of interval that a mean has, of `intervals.INTERVALS`.
        yield_drop: how much worse than digital a good chip may be, in the metric's unit; None: 0.02 of accuracies.
        store: folder of the facts.
        batch_size, memory_format, threads, chips_per_pass, chips_in_flight: what is fixed of how networks are run;
            None follows the rule of `simulation.execution`.
        shards: jobs for the launcher.
        retry_failed: whether failed trials are run again.
        preview: whether the plan is shown and nothing is run.
        command: command that asks for the same again.
        notes: sentences for the user on the plan's points.
        identical_chips: whether nothing is drawn at random, so that all chips of a point are the same one.
        held_fixed: parameters that act at values which nobody gave, each as `NAME=VALUE UNIT [TAG]`.
        source_ranges: `{parameter: (low, high, note)}` that the sources of the effects cover.
        executions: `{kind of network: arguments of Execution}`, as chosen; see `study.executions`.

    Raises:
        ValidationError: a value out of its range.
    """

    name: str = "sweep"
    seed: int = 0
    chips: int = 50
    stopping: Stopping = field(default_factory=Fixed)
    interval: str = T
    yield_drop: float | None = None
    store: str = "outputs/store"
    batch_size: int | None = None
    memory_format: str | None = None
    threads: int | None = None
    chips_per_pass: int | None = None
    chips_in_flight: int | None = None
    shards: int = 1
    retry_failed: bool = False
    preview: bool = False
    command: str = ""
    notes: tuple[str, ...] = ()
    identical_chips: bool = False
    held_fixed: tuple[str, ...] = ()
    source_ranges: Mapping[str, tuple[float, float, str]] = field(default_factory=dict)
    executions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of("interval", self.interval, INTERVALS)
        for name, low in (
            ("seed", 0),
            *((name, 1) for name in ("chips", "batch_size", "threads", "chips_per_pass", "chips_in_flight", "shards")),
        ):
            value = getattr(self, name)
            if value is not None and value < low:
                raise ValidationError(f"must be at least {low}", "give a larger integer", value=value, parameter=name)
        if (self.batch_size or 1) > LARGEST_BATCH:
            raise ValidationError(
                "must be at most 2**31 - 1", "give a smaller integer", value=self.batch_size, parameter="batch_size"
            )
        for name in ("threads", "chips_per_pass", "chips_in_flight"):
            limits.PARALLEL.check(getattr(self, name) or 1, name)
        if self.seed + self.stopping.cap(self.chips) > limits.SEED_LIMIT:
            raise ValidationError(
                Sentence("seed + chips must stay below 2**63"),
                "lower one",
                shown=f"{self.seed} + {self.stopping.cap(self.chips)}",
            )

    @staticmethod
    def of(config: Mapping[str, Any]) -> Settings:
        """The settings of a resolved config, which has a key for each but those that only a plan has.

        Raises:
            ValidationError: a wrong type or range.
        """
        hints = get_type_hints(Settings)
        names = [f.name for f in fields(Settings) if f.name in config and f.name not in ("stopping", *_OF_PLANS)]
        plain = {name: fit(config[name], hints[name], name) for name in names}
        return Settings(**plain, stopping=stopping.read(config["stopping"]))

    def document(self) -> dict[str, Any]:
        """The settings as plain data for JSON."""
        plain = {f.name: getattr(self, f.name) for f in fields(Settings)}
        executions = {kind: dict(way) for kind, way in self.executions.items()}
        return {
            **plain,
            "stopping": stopping.document(self.stopping),
            "notes": list(self.notes),
            "held_fixed": list(self.held_fixed),
            "source_ranges": {name: list(source) for name, source in self.source_ranges.items()},
            "executions": executions,
        }

    @staticmethod
    def read(document: Any) -> Settings:
        """The settings that `document` made; nothing is built but these, and each value is checked by its type.

        Raises:
            ValidationError: names the setting that is missing, unknown or of another type.
        """
        if not isinstance(document, Mapping):
            raise ValidationError("must be a map", "run the sweep again", value=document, parameter="settings")
        names = {f.name for f in fields(Settings)}
        for key in document:
            if key not in names:
                raise ValidationError(
                    "is no setting", f"{suggest(str(key), names)} Or update rramsweep", parameter=f"settings.{key}"
                )
        missing = sorted(names - set(document) - {*_OF_PLANS, *_LATER})
        if missing:
            raise ValidationError("is missing", "run the sweep again", parameter=f"settings.{missing[0]}")
        try:
            notes = fit(document.get("notes", []), list[str], "notes")
            held = fit(document.get("held_fixed", []), list[str], "held_fixed")
            ranges = _source_ranges(document.get("source_ranges", FORMER_RANGES))
            executions = _executions(document.get("executions", {}))
            identical = fit(document.get("identical_chips", False), bool, "identical_chips")
            command = fit(document.get("command", ""), str, "command")
            kept = Settings.of(document)
        except ValidationError as error:
            error.slot = ".".join(part for part in ("settings", error.slot) if part)
            raise
        return replace(
            kept,
            notes=tuple(notes),
            identical_chips=identical,
            held_fixed=tuple(held),
            source_ranges=ranges,
            executions=executions,
            command=command,
        )

    def seeds(self) -> range:
        """Seeds that a point may get: all of them, unless its stopping rule has enough before."""
        return range(self.seed, self.seed + self.stopping.cap(self.chips))

    def check_units(self, params: Iterable[Mapping[str, Any]]) -> None:
        """Check that distances make sense in the unit of the points' metrics.

        Args:
            params: parameter columns of the points.

        Raises:
            ValueError: `yield_drop` or `stopping.half_width` out of range, missing, or for several units at once, or an
                `interval` that scores of a metric cannot have.
        """
        metrics = list(dict.fromkeys(Scale.of(columns) for columns in params))
        drop_for(metrics, self.yield_drop)
        check_interval(metrics, self.interval)
        self.stopping.check(metrics)

    def ended(self, scores: Sequence[float | None], cap: int) -> tuple[int, str] | None:
        """`(n, why)` once the first n chips of a point are enough, else None; see `Stopping.decide`."""
        return self.stopping.decide(scores, cap, self.interval)


# What only a plan has, and a config does not.
_OF_PLANS = ("command", "notes", "identical_chips", "held_fixed", "source_ranges", "executions")

# What a plan of before there was any choice of it lacks: the default holds.
_LATER = ("interval",)

# Keys of a config that are settings.
SETTINGS = tuple(f.name for f in fields(Settings) if f.name not in _OF_PLANS)


def _source_ranges(document: Any) -> dict[str, tuple[float, float, str]]:
    hint = Mapping[str, tuple[float, float, str]]
    return {name: (low, high, note) for name, (low, high, note) in fitting(document, hint, "source_ranges").items()}


def _executions(document: Any) -> dict[str, dict[str, Any]]:
    if wrong := wrong_executions(document, "executions"):
        raise ValidationError(Sentence(f"settings must hold how networks are run, but {wrong}"), "run the sweep again")
    return {str(kind): dict(way) for kind, way in document.items()}
