"""The settings of a run that are no part of a point: how many chips, where they go, how they are run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from rramsweep.build import build, fit
from rramsweep.execution import Wish
from rramsweep.layers import check_keys
from rramsweep.plan import GROUPS, Point
from rramsweep.scores import Scale, drop_for
from rramsweep.stopping import Fixed, Stopping
from rramsweep.streams import SEED_LIMIT
from rramsweep.workbench import POINT_KEYS, Workbench


@dataclass(frozen=True)
class Settings:
    """The top-level settings that are not part of a point.

    Raises:
        ValueError: a setting out of its range.
    """

    name: str
    seed: int
    chips: int
    stopping: dict[str, Any]
    yield_drop: float | None
    store: str
    batch_size: int | None
    memory_format: str | None
    threads: int | None
    chips_per_pass: int | None
    chips_in_flight: int | None
    shards: int
    retry_failed: bool
    allow_targets: list[str]
    plan: str | None
    shard: int
    preview: bool

    def __post_init__(self) -> None:
        for name, low in (
            ("chips", 1),
            ("shards", 1),
            ("seed", 0),
            ("shard", 0),
        ):
            value = getattr(self, name)
            if value is not None and value < low:
                raise ValueError(f"{name} must be at least {low}, got {value}: give a larger integer")
        self.wish().start()
        if self.seed + self.chips > SEED_LIMIT:
            raise ValueError(f"seed + chips must stay below 2**63, got {self.seed} + {self.chips}: lower one")
        if not self.name or Path(self.name).is_absolute() or ".." in Path(self.name).parts:
            raise ValueError(f"name must be a folder name under outputs/, got {self.name!r}: give a plain name")

    @staticmethod
    def of(config: Mapping[str, Any], overrides: Iterable[str]) -> Settings:
        """The settings of a resolved config.

        Args:
            config: plain nested data.
            overrides: what was given on the command line or to `compose`; only there code may be allowed.

        Raises:
            ValueError: an unknown key, a wrong type or range, or `allow_targets` set by a YAML file.
        """
        names = [f.name for f in fields(Settings)]
        check_keys(config, [*GROUPS, *POINT_KEYS, *names, "experiment", "choices"])
        hints = get_type_hints(Settings)
        settings = Settings(**{name: fit(config[name], hints[name], name) for name in names})
        given = {o.lstrip("+").split("=", 1)[0] for o in overrides}
        if "chips" in given and not isinstance(settings._rule(), Fixed):
            raise ValueError(
                f"chips belongs to stopping=fixed, got {settings.chips} beside a rule that decides itself: leave it "
                "out, or give stopping.min_chips and stopping.max_chips"
            )
        if settings.allow_targets and "allow_targets" not in given:
            raise ValueError(
                f"allow_targets must come from the command line or compose(), got {settings.allow_targets} from a "
                "YAML file: a config that allows itself to run code allows anything; give it on the command line"
            )
        return settings

    def seeds(self) -> range:
        """The seeds that a point may get: all of them, unless its stopping rule has enough before."""
        return range(self.seed, self.seed + self._rule().cap(self.chips))

    def check_units(self, points: Iterable[Point]) -> None:
        """Refuse distances that make no sense in the unit of the points' metrics.

        Raises:
            ValueError: `yield_drop` or `stopping.half_width` out of range, missing, or for several units at once.
        """
        metrics = list(dict.fromkeys(Scale.of(point.params) for point in points))
        drop_for(metrics, self.yield_drop)
        self._rule().check(metrics)

    def _rule(self) -> Stopping:
        rule: Stopping = build(self.stopping, "stopping")
        return rule

    def wish(self) -> Wish:
        """What is fixed of how networks are run."""
        return Wish.of(vars(self))

    def workbench(self, inputs: int | None = None) -> Workbench:
        """A workbench for this run, that looks at so many inputs at most."""
        return Workbench(self.allow_targets, self.wish(), inputs=inputs)
