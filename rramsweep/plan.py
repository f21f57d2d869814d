"""What a sweep asks for, as plain data: points, seeds, and the identity of a point as readable text.

Nothing here imports torch or Hydra: a plan is a JSON file that a worker, a notebook or a colleague can read.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rramsweep.files import write_atomic
from rramsweep.identity import digest

PLAN_SCHEME = 2  # of plan.json; 2: a point names its metric

PLAN_FILE = "plan.json"
# What each run of the plan was made with; the plan itself is the same whenever the same is asked for.
RUN_FILE = "run.json"

# Config groups of a point, in the order of the table's columns. `technology` only sets the others.
GROUPS = (
    "technology",
    "device",
    "mapping",
    "programming",
    "relaxation",
    "drift",
    "variation",
    "faults",
    "read_noise",
    "model",
    "data",
    "metric",
)


@dataclass(frozen=True)
class Point:
    """One operating point: everything that decides a chip's numbers but its seed.

    Args:
        point_id: hash of `text`.
        text: the identity as readable text, see `identify`.
        choices: `{config group: option}`, labels only.
        params: `{dotted override name: scalar}`, the parameter columns of the table.
        config: the resolved config of the point, nested plain data, from which a worker builds it.
    """

    point_id: str
    text: str
    choices: Mapping[str, str]
    params: Mapping[str, Any]
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """The trials of a sweep: for each point, the seeds that are asked for.

    Args:
        points: in the order of the sweep.
        seeds: for each point its seeds, ascending.
        swept: override names that vary, in the order given; the columns a summary groups by.
        settings: how the sweep was asked for (chips, store, command, yield_drop, ...), never part of a point.
    """

    points: Sequence[Point]
    seeds: Sequence[Sequence[int]]
    swept: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_trials(self) -> int:
        return sum(len(seeds) for seeds in self.seeds)

    def save(self, folder: Path) -> Path:
        """Write `plan.json` into a folder of its own; configs that points share are written once.

        A folder that holds another plan (two commands that began in the same second) is left to it: this one goes
        into the same name with `_2`, `_3`, ... behind it.

        Returns:
            The path of the file.

        Raises:
            OSError: the folder cannot be made or written.
        """
        parts: dict[str, Any] = {}

        def shared(value: Any) -> str:
            key = digest(json.dumps(value, sort_keys=True))
            parts.setdefault(key, value)
            return key

        points = [
            {
                "point_id": p.point_id,
                "text": p.text,
                "choices": shared(dict(p.choices)),
                "params": dict(p.params),
                "config": {name: shared(node) for name, node in p.config.items()},
                "seeds": _ranges(seeds),
            }
            for p, seeds in zip(self.points, self.seeds, strict=True)
        ]
        document = {
            "scheme": PLAN_SCHEME,
            "swept": list(self.swept),
            "settings": dict(self.settings),
            "parts": parts,
            "points": points,
        }
        data = json.dumps(document, indent=1).encode()
        for n in itertools.count(1):
            path = (folder if n == 1 else Path(f"{folder}_{n}")) / PLAN_FILE
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                write_atomic(path, data, exclusive=True)
            except FileExistsError:
                if path.read_bytes() != data:
                    continue
            return path
        raise AssertionError("unreachable: there is always a next name")

    @staticmethod
    def load(path: Path) -> Plan:
        """Read `plan.json`.

        Raises:
            ValueError: no such file, not a plan, or a plan of another scheme.
        """
        if not path.is_file():
            raise ValueError(f"a sweep folder holds {PLAN_FILE}, but {path} is not there: name a sweep's folder")
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            scheme, parts = document["scheme"], document["parts"]
            if scheme != PLAN_SCHEME:
                remedy = "update rramsweep" if scheme > PLAN_SCHEME else "run its command again, its chips are kept"
                raise ValueError(f"a plan must be of scheme {PLAN_SCHEME}, {path} is of scheme {scheme}: {remedy}")
            points = [
                Point(
                    p["point_id"],
                    p["text"],
                    parts[p["choices"]],
                    p["params"],
                    {name: parts[key] for name, key in p["config"].items()},
                )
                for p in document["points"]
            ]
            seeds = [[s for first, stop in p["seeds"] for s in range(first, stop)] for p in document["points"]]
            return Plan(points, seeds, document["swept"], document["settings"])
        except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{PLAN_FILE} must be a plan written by rramsweep, but {path} is not ({error!r}): run the sweep again"
            ) from error


def merge(plans: Sequence[Plan]) -> Plan:
    """One plan of several: entries that differ in nothing but their seeds become one.

    Two entries may share a `point_id` and differ in labels (the same physics reached by two names): both stay,
    so that no curve of a plot goes missing. Their chips are the same chips, run once.
    """
    points: dict[str, Point] = {}
    seeds: dict[str, set[int]] = {}
    swept: dict[str, None] = {}
    for plan in plans:
        swept.update(dict.fromkeys(plan.swept))
        for point, wanted in zip(plan.points, plan.seeds, strict=True):
            label = json.dumps([point.point_id, dict(point.choices), dict(point.params)], sort_keys=True)
            points.setdefault(label, point)
            seeds.setdefault(label, set()).update(wanted)
    settings = plans[0].settings if plans else {}
    return Plan(list(points.values()), [sorted(s) for s in seeds.values()], list(swept), settings)


def _ranges(seeds: Sequence[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for seed in seeds:
        if ranges and ranges[-1][1] == seed:
            ranges[-1] = (ranges[-1][0], seed + 1)
        else:
            ranges.append((seed, seed + 1))
    return ranges
