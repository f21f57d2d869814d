"""The plan of a sweep as plain data: points, seeds, and the identity of a point as readable text.

Nothing here imports torch or Hydra: a plan is a JSON file that a worker, a notebook or a colleague can read.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rramsweep import limits
from rramsweep.construct import fit
from rramsweep.errors import ValidationError
from rramsweep.files import read_regular, write_atomic
from rramsweep.groups import ADDED, GROUPS
from rramsweep.identity import digest
from rramsweep.scale import SCALE_COLUMNS
from rramsweep.study.settings import Settings

PLAN_SCHEME = 2  # of plan.json; 2: a point names its metric

PLAN_FILE = "plan.json"
# Machine and versions of each run; the plan itself is the same whenever the command is.
RUN_FILE = "run.json"


@dataclass(frozen=True)
class Point:
    """One operating point: everything that decides a chip's numbers but its seed.

    Args:
        point_id: hash of `text`.
        text: the identity as readable text, see `identify`.
        choices: `{config group: option}`, labels only.
        params: `{dotted override name: scalar}`, the parameter columns of the table.
        config: the resolved config of the point, nested plain data, from which a worker builds it.
        counts: of the parts of its network, `cost.NetworkCounts` as plain data; None where no cost is asked for.
    """

    point_id: str
    text: str
    choices: Mapping[str, str]
    params: Mapping[str, Any]
    config: Mapping[str, Any]
    counts: Mapping[str, Any] | None = None

    @property
    def draws_power(self) -> bool:
        """True where its trials measure what the array draws: a cost is asked for, and every layer has a DAC."""
        return self.counts is not None and all(layer.get("dac_bits") is not None for layer in self.counts["layers"])

    def label(self, name: str) -> Any:
        """A parameter, or the option of a group; None where the point has neither."""
        return self.params[name] if name in self.params else self.choices.get(name)


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
    settings: Settings = field(default_factory=Settings)

    @property
    def n_trials(self) -> int:
        """Number of trials, over all points and seeds."""
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
        keys: dict[int, str] = {}  # by id: points share the objects, which are held by them meanwhile

        def shared(value: Any) -> str:
            if id(value) not in keys:
                key = keys[id(value)] = digest(json.dumps(value, sort_keys=True))
                parts.setdefault(key, value)
            return keys[id(value)]

        points = [
            {
                "point_id": p.point_id,
                "text": p.text,
                "choices": shared(p.choices),
                "params": dict(p.params),
                "config": {name: shared(node) for name, node in p.config.items()},
                "seeds": _ranges(seeds),
                **({} if p.counts is None else {"counts": shared(p.counts)}),
            }
            for p, seeds in zip(self.points, self.seeds, strict=True)
        ]
        document = {
            "scheme": PLAN_SCHEME,
            "swept": list(self.swept),
            "settings": self.settings.document(),
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
                if read_regular(path) != data:
                    continue
            return path
        raise AssertionError("unreachable: there is always a next name")

    @staticmethod
    def load(path: Path) -> Plan:
        """Read `plan.json`: plain data, each value checked by its type; nothing that it names is imported or built.

        Raises:
            ValueError: no such file, not a plan, a plan of another scheme, or one of more trials than `limits.TRIALS`.
        """
        if not path.is_file():
            raise ValueError(f"a sweep folder holds {PLAN_FILE}, but {path} is not there: name a sweep's folder")
        try:
            document = json.loads(read_regular(path).decode("utf-8"))
        except (ValueError, RecursionError, OSError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
            raise _not_a_plan(path, repr(error)) from error
        try:
            return _read(_map(document, "plan"), path)
        except limits.LimitError:
            raise
        except ValidationError as error:
            raise _not_a_plan(path, str(error)) from error


def _not_a_plan(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"{PLAN_FILE} must be a plan written by rramsweep, but {path} is not ({reason}): run the sweep again"
    )


def _read(document: Mapping[str, Any], path: Path) -> Plan:
    scheme = fit(document.get("scheme"), int, "scheme")
    if scheme != PLAN_SCHEME:
        remedy = "update rramsweep" if scheme > PLAN_SCHEME else "run its command again, its chips are kept"
        raise ValueError(f"a plan must be of scheme {PLAN_SCHEME}, {path} is of scheme {scheme}: {remedy}")
    parts = _map(document.get("parts"), "parts")
    points, ranges = [], []
    for i, entry in enumerate(_list(document.get("points"), "points")):
        where = f"points[{i}]"
        point = _map(entry, where)
        points.append(_point(point, parts, where))
        ranges.append([_range(pair, f"{where}.seeds") for pair in _list(point.get("seeds"), f"{where}.seeds")])
    limits.TRIALS.check(
        sum(each.stop - each.start for each_point in ranges for each in each_point), "trials", remedy="ask for fewer"
    )
    seeds = [list(itertools.chain.from_iterable(each)) for each in ranges]
    for i, each in enumerate(seeds):
        if any(a >= b for a, b in itertools.pairwise(each)):
            raise ValidationError("must ascend", "run the sweep again", parameter=f"points[{i}].seeds")
    swept = fit(document.get("swept"), list[str], "swept")
    return Plan(points, seeds, swept, Settings.read(document.get("settings")))


def _point(entry: Mapping[str, Any], parts: Mapping[str, Any], where: str) -> Point:
    choices = _map(_part(entry.get("choices"), parts, f"{where}.choices"), f"{where}.choices")
    if set(choices) - set(GROUPS):
        raise ValidationError("must be of config groups", "run the sweep again", parameter=f"{where}.choices")
    params = _map(entry.get("params"), f"{where}.params")
    for name, value in params.items():
        whole = isinstance(value, int) and not -(2**63) <= value < 2**63
        if whole or not (value is None or isinstance(value, bool | int | float | str)):
            raise ValidationError("must be a scalar", "run the sweep again", parameter=f"{where}.params.{name}")
    for name, kind in SCALE_COLUMNS.items():
        fit(params.get(name), kind, f"{where}.params.{name}")
    config = {
        name: _part(key, parts, f"{where}.config.{name}") for name, key in _map(entry.get("config"), where).items()
    }
    config |= {group: node for group, (_, node) in ADDED.items() if node is not None and group not in config}
    choices = {**choices, **{group: option for group, (option, _) in ADDED.items() if group not in choices}}
    for name, node in config.items():
        if name == "t_s":
            fit(node, float, f"{where}.config.t_s")
        else:
            _map(node, f"{where}.config.{name}")
    counts = None
    if entry.get("counts") is not None:
        counts = _map(_part(entry["counts"], parts, f"{where}.counts"), f"{where}.counts")
        for layer in _list(counts.get("layers"), f"{where}.counts.layers"):
            _map(layer, f"{where}.counts.layers")
    if "t_s" not in config:
        raise ValidationError("is missing", "run the sweep again", parameter=f"{where}.config.t_s")
    return Point(
        fit(entry.get("point_id"), str, f"{where}.point_id"),
        fit(entry.get("text"), str, f"{where}.text"),
        {group: fit(option, str, f"{where}.choices.{group}") for group, option in choices.items()},
        params,
        config,
        counts,
    )


def _part(key: object, parts: Mapping[str, Any], where: str) -> Any:
    if not isinstance(key, str) or key not in parts:
        raise ValidationError("must name one of the parts", "run the sweep again", value=key, parameter=where)
    return parts[key]


def _range(pair: object, where: str) -> range:
    if not (
        isinstance(pair, list)
        and len(pair) == 2
        and all(isinstance(end, int) and not isinstance(end, bool) for end in pair)
        and 0 <= pair[0] < pair[1] <= limits.SEED_LIMIT
    ):
        raise ValidationError("must be pairs of first and stop", "run the sweep again", value=pair, parameter=where)
    return range(*pair)


def _map(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValidationError("must be a map", "run the sweep again", shown=type(value).__name__, parameter=where)
    return value


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValidationError("must be a list", "run the sweep again", shown=type(value).__name__, parameter=where)
    return value


def merge(plans: Sequence[Plan]) -> Plan:
    """One plan of several: entries that differ in nothing but their seeds become one.

    Two entries may share a `point_id` and differ in labels (the same physics reached by two names): both stay,
    so that no curve of a plot goes missing. Their chips are the same chips, run once.
    """
    points: list[Point] = []
    seeds: list[Sequence[int]] = []
    places: dict[str, int] = {}  # by id; by id and labels where it has several
    swept: dict[str, None] = {}
    for plan in plans:
        swept.update(dict.fromkeys(plan.swept))
        for point, wanted in zip(plan.points, plan.seeds, strict=True):
            key = point.point_id
            if key in places and _labels(points[places[key]]) != _labels(point):
                key = f"{key} {_labels(point)}"
            if key not in places:
                places[key] = len(points)
                points.append(point)
                seeds.append(wanted if isinstance(wanted, range) else sorted(wanted))
            else:
                seeds[places[key]] = sorted({*seeds[places[key]], *wanted})
    settings = plans[0].settings if plans else Settings()
    settings = replace(settings, identical_chips=bool(plans) and all(plan.settings.identical_chips for plan in plans))
    return Plan(points, seeds, list(swept), settings)


def _labels(point: Point) -> str:
    """Text of what may differ between two points of one id; 1, 1.0 and true do."""
    return json.dumps([dict(point.choices), dict(point.params)], sort_keys=True)


def _ranges(seeds: Sequence[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for seed in seeds:
        if ranges and ranges[-1][1] == seed:
            ranges[-1] = (ranges[-1][0], seed + 1)
        else:
            ranges.append((seed, seed + 1))
    return ranges
