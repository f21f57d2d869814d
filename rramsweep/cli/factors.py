"""The factors of a sweep: axes whose levels cannot differ, and parameters held fixed that act beside them.

Both are decided by trial and not from lists of laws: a few cells are programmed and read under two specs, from the
same random streams, and compared.
"""

from __future__ import annotations

import math
import re
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from rramsweep.cli.catalog import CATALOG, TAGS
from rramsweep.crossbar.programming import LayerSpec, map_layer, program
from rramsweep.devices.streams import Stream
from rramsweep.groups import CELL_GROUPS, GROUPS, SETTERS, STAGES
from rramsweep.network.analog import AnalogNetwork
from rramsweep.simulation.components import fitting_text
from rramsweep.simulation.workbench import Workbench
from rramsweep.study.plan import Plan, Point
from rramsweep.units import in_words, unit_of

# The groups of what can go wrong with a cell and with its lines.
ERROR_GROUPS = (*STAGES, "read_noise", "wires", "iv", "dac", "adc")

# The shape of the weight that is programmed, and how many inputs it is read with.
_SHAPE = (32, 64)
_INPUTS = 4

# Combinations of the other axes at which the levels of one are compared, first and last among them.
_COMBINATIONS = 8
_SHOWN = 4

# A strength or a rate at which no few cells miss it.
_LARGE = 0.25

# Devices and mappings that differ by less than the first (of the largest value) differ in the last bits of a float
# alone, and by less than the second (of the norm) in the rounding of weights to fine levels alone.
_SAME = 1e-4
_FINE = 0.01

# How an option's comment says that a parameter counts under a value of another one only.
_READ_BY = re.compile(r"\bread by (\w+)=(\w+)")

Config = Mapping[str, Any]


def level_notes(points: Sequence[Point], swept: Sequence[str], workbench: Workbench) -> list[str]:
    """A sentence for each swept axis whose levels give the same chips, with the remedy.

    Args:
        points: of the plan.
        swept: the axes, by their columns.
        workbench: the one that built the points.
    """
    # A parameter that some options have, at one value, is no axis beside them.
    varied = {name for name in swept if len({repr(v) for p in points if (v := p.label(name)) is not None}) > 1}
    notes = _fitting_notes(points, swept)
    for axis in swept:
        if not _decides_cells(axis):
            continue
        others = [name for name in swept if name != axis and name in varied]
        combinations: dict[str, dict[str, Point]] = {}
        for point in points:
            levels = combinations.setdefault(repr([point.label(name) for name in others]), {})
            levels.setdefault(repr(point.label(axis)), point)
        tried = [list(levels.values()) for levels in _spread([c for c in combinations.values() if len(c) > 1])]
        note = _level_note(axis, tried, workbench) if tried else ""
        if note:
            where = " at every combination tried" if len(combinations) > 1 else ""
            values = list(dict.fromkeys(_shown(v, axis) for p in points if (v := p.label(axis)) is not None))
            named = ", ".join(values[:_SHOWN]) + (", ..." if len(values) > _SHOWN else "")
            notes.append(f"{axis} is swept over {len(values)} values ({named}), but {note.format(where=where)}")
    return notes


def inert(points: Sequence[Point], parameter: str, workbench: Workbench) -> str:
    """Reason why the levels of a parameter give the same chips, with the remedy; empty where they do not.

    Args:
        points: one for each level.
        parameter: the only thing that differs.
        workbench: the one that built the points.
    """
    if len({point.point_id for point in points}) == 1:
        return "no chip depends on it: leave it out"
    return _level_note(parameter, [points], workbench).format(where="") if _decides_cells(parameter) else ""


def _fitting_notes(points: Sequence[Point], swept: Sequence[str]) -> list[str]:
    """The note on swept inputs to fit on, where no point depends on them."""
    others = [name for name in swept if not f"{name}.".startswith("data.fitting.")]
    if len(others) == len(swept):
        return []
    ids: dict[str, set[str]] = {}  # of the points at each combination of the other axes
    for point in points:
        ids.setdefault(repr([point.label(name) for name in others]), set()).add(point.point_id)
    values = list(dict.fromkeys(fitting_text(point.config["data"]) for point in points))
    if len(values) < 2 or any(len(each) > 1 for each in ids.values()):
        return []
    named = ", ".join(values[:_SHOWN]) + (", ..." if len(values) > _SHOWN else "")
    return [
        f"data.fitting is swept over {len(values)} values ({named}), but each gives the same chips (none is fitted to "
        "inputs, or all to the same ones): give data.fitting one value"
    ]


def held_fixed(points: Sequence[Point], given: Iterable[str], workbench: Workbench) -> dict[str, str]:
    """Parameters of errors that act at values which nobody gave: `{name: NAME=VALUE UNIT [TAG]}`.

    Args:
        points: of the plan.
        given: names of the parameters that were swept or typed.
        workbench: the one that built the points.

    Returns:
        Numbers and switches alone; several values of one name, which options bring, are one text.
    """
    given = set(given)
    held: dict[str, dict[str, dict[str, None]]] = {}
    for (name, option, setters, value), ends in _defaults(points, given).items():
        if any(_acts(points[i], name, workbench) for i in ends):
            text = " ".join(word for word in (f"{name}={_shown(value)}", unit_of(name)) if word)
            tags = held.setdefault(name, {}).setdefault(text, {})
            tags |= dict.fromkeys(_tags(name, value, option, setters))
    return {
        name: ", ".join(f"{text} [{', '.join(tags)}]" if tags else text for text, tags in texts.items())
        for name, texts in held.items()
    }


def draw_notes(plan: Plan) -> list[str]:
    """A sentence where several chips are asked of points that are all without a draw."""
    if not plan.settings.identical_chips or max(map(len, plan.seeds), default=0) < 2:
        return []
    return ["nothing is drawn at random, so every chip of a point is the same one: chips=1 is enough"]


def _defaults(points: Sequence[Point], given: set[str]) -> dict[tuple[str, str, tuple[str, ...], Any], tuple[int, int]]:
    """First and last point of each `(name, option, setters, value)` of an error's number or switch nobody gave."""
    found: dict[tuple[str, str, tuple[str, ...], Any], tuple[int, int]] = {}
    for group in ERROR_GROUPS:
        nodes: dict[tuple[tuple[str, ...], str, int], tuple[int, int]] = {}  # by id, for points of a plan share nodes
        for i, point in enumerate(points):
            node = (tuple(point.choices[setter] for setter in SETTERS), point.choices[group], id(point.config[group]))
            nodes[node] = (nodes[node][0] if node in nodes else i, i)
        for (setters, option, _), ends in nodes.items():
            for name, value in points[ends[0]].params.items():
                if name.partition(".")[0] == group and name not in given and _is_strength(name, value):
                    both = (*found.get((name, option, setters, value), ends), *ends)
                    found[name, option, setters, value] = (min(both), max(both))
    # What takes several values under one option follows an axis: a config derives it from what is swept.
    values = Counter((name, option, setters) for name, option, setters, _ in found)
    return {key: ends for key, ends in found.items() if values[key[:3]] == 1}


def company_notes(
    points: Sequence[Point], swept: Sequence[str], held: Iterable[str], workbench: Workbench
) -> list[str]:
    """A sentence for each swept parameter beside one of the same option that acts by itself at every level.

    Args:
        points: of the plan.
        swept: the axes, by their columns.
        held: names of the parameters that are held fixed and act, of `held_fixed`.
        workbench: the one that built the points.
    """
    notes: dict[str, None] = {}
    held = list(held)
    for axis in swept:
        group = axis.partition(".")[0]
        if group not in ERROR_GROUPS:
            continue
        for name in (name for name in held if name.startswith(f"{group}.")):
            both = [point for point in points if is_number(point.params.get(axis)) and name in point.params]
            ends = both[:1] + both[-1:]
            levels = {float(point.params[axis]) for point in both}
            largest = max(map(abs, levels), default=0.0)
            if len(levels) > 1 and any(_acts_alone(point, axis, largest, name, workbench) for point in ends):
                values = dict.fromkeys(_shown(point.params[name]) for point in both)
                notes[
                    f"{axis} is swept, but {name}={' or '.join(values)} acts at every level: set {name}=0 to see "
                    f"{axis} alone"
                ] = None
    return list(notes)


def _decides_cells(axis: str) -> bool:
    """True where an axis acts through cells and their reads alone, unlike networks, data and the choice of layers."""
    parts = axis.split(".")
    if parts[:2] == ["analog", "layers"]:
        return len(parts) > 3 and parts[3] in CELL_GROUPS
    return parts[0] in (*SETTERS, "t_s", *CELL_GROUPS)


def _spread(combinations: Sequence[Any]) -> list[Any]:
    last = len(combinations) - 1
    n = min(_COMBINATIONS, len(combinations))
    return [combinations[round(i * last / max(n - 1, 1))] for i in range(n)]


def _level_note(axis: str, tried: Sequence[Sequence[Point]], workbench: Workbench) -> str:
    """The note on an axis whose levels are the same at each combination; empty where they are not."""
    of_device = _group(axis) in ("device", "mapping", "technology")
    of_device = of_device and not axis.endswith(("device.levels", "device.step_uS"))  # which are about that rounding
    rounded = False
    for points in tried:
        configs = [point.config for point in points]
        same = _same(configs, workbench)
        if not same and of_device and _same_but_for_rounding(configs, workbench):
            same = rounded = True
        if not same or _differs_elsewhere(axis, configs, workbench, rounded):
            return ""
    configs = [point.config for point in tried[0]]
    part = "mapping" if _group(axis) == "mapping" else "device"
    if rounded:
        return (
            f"no error depends on the {part}{{where}}, and chips differ by the "
            "rounding of weights to levels alone: add an error, such as programming=gaussian, or leave the axis out"
        )
    if axis == "t_s":
        later = [{**config, "t_s": 1e8} for config in configs[:1]]
        if not _same([configs[0], *later], workbench):
            return "no law of time acts between them{where}: sweep times after those at which the laws begin"
        return (
            "nothing depends on it{where} (no law of time in relaxation, drift or read_noise): add one, such as "
            "drift=power_law or relaxation=hfox, or give t_s one value"
        )
    return f"each gives the same cells{{where}}: {_remedy(axis, tried[0][0], configs, workbench)}"


def _remedy(axis: str, point: Point, configs: Sequence[Config], workbench: Workbench) -> str:
    parent, _, leaf = axis.rpartition(".")
    if not parent:
        if axis in ("device", "mapping", *SETTERS):
            return "choose options that differ, or add an error, such as programming=gaussian"
        return f"none of them acts at these parameters, so give {axis} a strength or leave the axis out"
    option = CATALOG.option(parent, point.choices[parent]) if parent in GROUPS else None
    comment = next((p.comment for p in option.parameters if p.name == leaf), "") if option else ""
    if reader := _READ_BY.search(comment):
        return f"it is read by {parent}.{reader[1]}={reader[2]} alone, so set that or leave the axis out"
    # A rule of a layer changes some parameters of the group and leaves the others.
    node = {**(_at(configs[0], _group(axis)) or {}), **_at(configs[0], parent)}
    for name, value in node.items():
        if name == leaf or not (value is None or (is_number(value) and value == 0)):
            continue
        larger = [_with(config, {f"{parent}.{name}": _LARGE}) for config in configs]
        if not _same(larger, workbench, unknown=True):
            shown = "null" if value is None else _shown(value)
            return f"it acts where {parent}.{name} is not {shown}, so set that or leave the axis out"
    if _group(axis) in ("device", "mapping"):
        return "add an error that depends on it, such as programming=gaussian, or leave the axis out"
    return "it does nothing beside the other parameters as they are, so change one of them or leave the axis out"


def _differs_elsewhere(axis: str, configs: Sequence[Config], workbench: Workbench, rounded: bool) -> bool:
    """True where levels that a few cells do not tell apart differ in rare cells, or at larger strengths.

    Errors that are there are made larger, those of strength zero stay away; a numeric axis is tried far off as well.
    """
    same = _same_but_for_rounding if rounded else _same
    contexts = [{}, *_contexts(configs, t_s=axis == "t_s")]
    value: Any = None if axis == "t_s" or axis in GROUPS else _at(configs[0], axis)
    for context in contexts:
        varied = [_with(config, _fitting(config, context)) for config in configs]
        if context and not same(varied, workbench, unknown=True):
            return True
        if is_number(value):
            far = [_with(varied[0], {axis: other}) for other in (0.0, _LARGE, 1.0, value / 2, 2 * value, 10 * value)]
            if any(not same([varied[0], other], workbench, unknown=True) for other in far):
                return True
    return False


def _contexts(configs: Sequence[Config], t_s: bool) -> Iterator[dict[str, float]]:
    """Changes of the numbers other than zero that configs have beside each other, one option or rule at a time."""
    nodes: dict[str, dict[str, float]] = {}
    for config in configs:
        groups = {group: config[group] for group in ("mapping", *ERROR_GROUPS)}
        for label, rule in (config["analog"].get("layers") or {}).items():
            groups |= {f"analog.layers.{label}.{group}": rule[group] for group in ERROR_GROUPS if group in rule}
        for place, node in groups.items():
            numbers = {f"{place}.{key}": value for key, value in node.items() if is_number(value) and value != 0}
            nodes[place] = numbers | nodes.get(place, {})
    for numbers in nodes.values():
        larger = {name: math.copysign(_LARGE, value) for name, value in numbers.items() if abs(value) < _LARGE}
        yield larger
        yield from ({name: changed} for name, changed in larger.items() if len(larger) > 1)
        if not t_s:  # which would move where laws begin
            yield from ({name: value / 2} for name, value in numbers.items())


def _fitting(config: Config, changes: Mapping[str, float]) -> dict[str, float]:
    """The changes among these whose parameters a config has."""
    return {name: v for name, v in changes.items() if is_number(_at(config, name)) and _at(config, name) != 0}


def _acts(point: Point, name: str, workbench: Workbench) -> bool:
    """True where a parameter other than zero moves cells or reads."""
    config, value = point.config, _at(point.config, name)
    if isinstance(value, bool):
        return not _same([config, _with(config, {name: False})], workbench, unknown=True)
    without = _with(config, {name: 0.0})
    large = _with(config, {name: math.copysign(max(abs(value), _LARGE), value)})
    for others in ((without, large), (without, config)):
        chips = [_chip(other, workbench) for other in others]
        if None not in chips:
            return not _equal(chips)
    # Zero is refused: a time, a ratio, a range. It acts if another one is another chip.
    return any(not _same([config, _with(config, {name: f * value})], workbench, unknown=True) for f in (2.0, 0.5))


def _acts_alone(point: Point, axis: str, largest: float, name: str, workbench: Workbench) -> bool:
    """True where each of two parameters of a point acts while the other one is zero."""
    value = _at(point.config, name)
    if not is_number(value):
        return False
    nothing = _chip(_with(point.config, {axis: 0.0, name: 0.0}), workbench)
    held = _chip(_with(point.config, {axis: 0.0, name: math.copysign(max(abs(value), _LARGE), value)}), workbench)
    swept = _chip(_with(point.config, {axis: max(largest, _LARGE), name: 0.0}), workbench)
    if nothing is None or held is None or swept is None:
        return False
    return not _equal([nothing, held]) and not _equal([nothing, swept])


# Cells and reads of each layer's spec, in the network's order.
Chip = dict[str, Tensor]


def _same(configs: Sequence[Config], workbench: Workbench, unknown: bool = False) -> bool:
    """True where configs give the same cells and reads, bit for bit; `unknown` where one of them is refused."""
    first = _chip(configs[0], workbench)
    if first is None:
        return unknown
    for config in configs[1:]:
        other = _chip(config, workbench)
        if other is None:
            return unknown
        if not _equal([first, other]):
            return False
    return True


def _equal(chips: Sequence[Chip | None]) -> bool:
    first, *others = (chip or {} for chip in chips)
    return all(
        list(first) == list(other) and all(torch.equal(first[name], other[name]) for name in first) for other in others
    )


def _same_but_for_rounding(configs: Sequence[Config], workbench: Workbench, unknown: bool = False) -> bool:
    """True where configs give the same weights and reads but for the rounding of weights to fine levels."""
    smooth, stepped = ([_chip(config, workbench, stepless=s) for config in configs] for s in (True, False))
    for (first, *others), close in ((smooth, _close), (stepped, _near)):
        if first is None or None in others:
            return unknown
        for other in others:
            assert other is not None
            if list(first) != list(other) or not all(close(first[name], other[name]) for name in first):
                return False
    return True


def _close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= _SAME * a.abs().max())


def _near(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).norm() <= _FINE * a.norm())


def _chip(config: Config, workbench: Workbench, stepless: bool = False) -> Chip | None:
    """A few cells under each spec of a config, programmed and read; None where it is refused or cannot be tried."""
    try:
        specs = workbench.specs(config)
        read: dict[int, Tensor] = {}
        for spec in specs.values():
            if id(spec) not in read:
                read[id(spec)] = _programmed(spec, float(config["t_s"]), stepless)
        return {name: read[id(spec)] for name, spec in specs.items()}
    except Exception:  # a user's own law may raise anything on cells that are not its network's: nothing is claimed
        return None


def _programmed(spec: LayerSpec, t_s: float, stepless: bool) -> Tensor:
    if stepless:
        spec = replace(spec, device=replace(spec.device, step_uS=None, levels=None))
    layer = nn.Linear(_SHAPE[1], _SHAPE[0], bias=False)
    layer.weight = nn.Parameter(_weight(), requires_grad=False)
    network, x = AnalogNetwork(nn.Sequential(OrderedDict(probe=layer)), {"probe": spec}, t_s), _inputs()
    network.set_ranges(network.fit_ranges(x))
    y: Tensor = network.chip(0)(x)
    weight = program(map_layer("probe", _weight(), spec), 0, t_s).weight()
    return torch.cat([weight.flatten(), y.flatten()])


@cache
def _inputs() -> Tensor:
    return Stream(0, ("probe", "input")).normal((_INPUTS, _SHAPE[1]))


@cache
def _weight() -> Tensor:
    """Normal weights whose outputs span different ranges, as scales for each channel tell apart."""
    w = Stream(0, ("probe", "weight")).normal(_SHAPE)
    return w * torch.linspace(0.3, 1.0, _SHAPE[0]).view(-1, 1)


def _group(axis: str) -> str:
    parts = axis.split(".")
    return parts[3] if parts[:2] == ["analog", "layers"] else parts[0]


def _at(config: Config, name: str) -> Any:
    node: Any = config
    for part in name.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _with(config: Config, changes: Mapping[str, Any]) -> Config:
    """A copy with dotted names set; what does not change is shared."""
    for name, value in changes.items():
        head, _, rest = name.partition(".")
        config = {**config, head: _with(config[head], {rest: value}) if rest else value}
    return config


def is_number(value: object) -> TypeGuard[float]:
    """True for a number that is no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_strength(name: str, value: object) -> bool:
    neutral = 100 if name.endswith(".percentile") else 0  # 100 % of the values clips none
    return value is True or (is_number(value) and value != neutral)


def _shown(value: Any, axis: str = "") -> str:
    if axis == "t_s":
        return in_words(float(value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _tags(name: str, value: Any, option: str, setters: Sequence[str]) -> list[str]:
    """Tags of the comment behind a value, `R2` or `placeholder`: the parameter's own, else those of its option."""
    group, _, short = name.partition(".")
    for source, known_as in (
        *((CATALOG.option(setter, chosen), name) for setter, chosen in zip(SETTERS, setters, strict=True)),
        (CATALOG.option(group, option), short),
    ):
        known = next((p for p in source.parameters if p.name == known_as), None) if source else None
        if source is None or known is None:
            continue
        if known.default != _shown(value) and not _reads_as(known.default, value):
            return []  # set by an experiment or a config of the user's own
        for comment in (known.comment, " ".join([source.meaning, *source.source])):
            if "placeholder" in comment.lower():
                return ["placeholder"]
            if tags := [tag for tag in TAGS if re.search(rf"\[{tag}\b", comment)]:
                return tags
        return []
    return []


def _reads_as(text: str, value: Any) -> bool:
    try:
        return float(text) == float(value)
    except ValueError:
        return False
