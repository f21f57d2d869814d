"""What a sweep asks for, as plain data: points, seeds, and the identity of a point as readable text.

Nothing here imports torch or Hydra: a plan is a JSON file that a worker, a notebook or a colleague can read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rramsweep.files import write_atomic

# Of the text that a point_id hashes, and of plan.json.
SCHEME = 1
PLAN_SCHEME = 2  # 2: a point names its metric

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

# Numbers that agree to this many digits are one number: 0.1 + 0.2 and 0.3 name the same point.
DIGITS = ".12g"


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


def identify(lines: Iterable[str]) -> tuple[str, str]:
    """`(point_id, text)` of a point, from the lines that describe it."""
    text = "\n".join([f"rramsweep point, scheme {SCHEME}", *lines])
    return digest(text), text


def digest(text: str) -> str:
    """Twenty hex digits of SHA-256: 80 bits, so a billion points collide with probability below 1e-6."""
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def describe(value: Any) -> str:
    """A frozen object as text that does not depend on how its numbers were written.

    1 and 1.0, 0.15 and 0.15000000000000002 read the same (12 significant digits); a dataclass carries its
    `version`, so that a changed law is another point, and leaves out what its `repr` leaves out, such as a path. A
    field whose metadata say `added` came after points were stored: at its default, which leaves the law as it was, it
    is left out and they keep their ids.
    """
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int | float):
        return format(float(value) + 0.0, DIGITS)
    if isinstance(value, str):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(describe(v) for v in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{k}: {describe(value[k])}' for k in sorted(value))}}}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = sorted(
            f.name
            for f in dataclasses.fields(value)
            if f.repr and not (f.metadata.get("added") and getattr(value, f.name) == f.default)
        )
        arguments = ", ".join(f"{name}={describe(getattr(value, name))}" for name in fields)
        kind = type(value)
        name = (
            kind.__qualname__ if kind.__module__.startswith("rramsweep.") else f"{kind.__module__}.{kind.__qualname__}"
        )
        return f"{name} v{getattr(value, 'version', 0)}({arguments})"
    raise ValueError(
        f"a point is described by numbers, text, lists, maps and dataclasses, got {type(value).__name__}: "
        "make it a frozen dataclass"
    )


def flatten(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested config as `{dotted override name: scalar}`; `_target_` is left out, lists become JSON text."""
    flat: dict[str, Any] = {}
    for key, value in node.items():
        name = f"{prefix}{key}"
        if key == "_target_":
            continue
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{name}."))
        else:
            value = json.dumps(value) if isinstance(value, list) else value
            flat[name] = float(format(value, DIGITS)) if isinstance(value, float) else value
    return flat


def _ranges(seeds: Sequence[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for seed in seeds:
        if ranges and ranges[-1][1] == seed:
            ranges[-1] = (ranges[-1][0], seed + 1)
        else:
            ranges.append((seed, seed + 1))
    return ranges
