"""What there is to choose from: groups, options, parameters, read from the YAML files and the laws' docstrings."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from rramsweep.cli.composing import CONFIG_NAME, conf_dir, read_yaml
from rramsweep.construct import OWN, import_name
from rramsweep.groups import CELL_GROUPS, GROUPS
from rramsweep.reporting.axis import UNITS
from rramsweep.study.plan import Plan
from rramsweep.suggest import suggest

# In the order in which one asks; a folder of conf/ that is not named here comes last.
MEANINGS = {
    "experiment": "a whole sweep: a question with its axes",
    "technology": "a named combination of device and effects",
    "device": "conductance window, levels, edge of the cell",
    "mapping": "how a weight becomes cells, and the weight scale",
    "programming": "error of the write",
    "relaxation": "what a cell loses right after the write",
    "drift": "what it loses later",
    "variation": "what write-verify does not see of a cell",
    "faults": "cells that do not follow",
    "read_noise": "new at every read",
    "model": "the network and its weights",
    "data": "the inputs",
    "metric": "what scores a chip",
    "accelerator": "what computes: the CPU or a GPU",
    "stopping": "how many chips a point gets",
    "hydra/launcher": "where a sweep's shards run",
}

TAGS = {
    "R": "read in the source itself",
    "R2": "second-hand, read in notes about the source",
    "M": "from memory, unverified: a placeholder",
    "X": "fitted to public measured data",
    "D": "derived, and checked by simulation",
}
_TAG = re.compile(rf"\[({'|'.join(TAGS)})(?::[^\]]*)?\]")

# Keys that are no parameters.
_NOT_PARAMETERS = ("_target_", "defaults", "hydra")


@dataclass(frozen=True)
class Parameter:
    """One parameter of an option: its name below the group, its default as the YAML has it, and the comment."""

    name: str
    default: str
    comment: str

    @property
    def unit(self) -> str:
        """The unit that the name's ending says, else nothing."""
        return next((unit for ending, unit in UNITS.items() if self.name.endswith(ending)), "")


@dataclass(frozen=True)
class Option:
    """One option of a group.

    Args:
        name: of the option.
        meaning: first line of the YAML's own comment.
        source: the comment's other lines.
        equation: first paragraph of the target's docstring; empty where there is none to read.
        sets: options of other groups that it chooses, `group=option`.
        parameters: in the YAML's order.
    """

    name: str
    meaning: str
    source: list[str]
    equation: str = ""
    sets: list[str] = field(default_factory=list)
    parameters: list[Parameter] = field(default_factory=list)

    def tags(self) -> list[str]:
        """The tags of physics (`TAGS`) that its comments carry."""
        text = " ".join([self.meaning, *self.source, *(p.comment for p in self.parameters)])
        return [tag for tag in TAGS if tag in _TAG.findall(text)]


def groups() -> dict[str, list[str]]:
    """`{group: options}` of everything in the folder of configs."""
    found = {}
    for folder in (*conf_dir().iterdir(), conf_dir() / "hydra" / "launcher"):
        options = sorted(path.stem for path in folder.glob("*.yaml")) if folder.is_dir() else []
        if options:
            found[folder.relative_to(conf_dir()).as_posix()] = options
    order = list(MEANINGS)
    return {g: found[g] for g in sorted(found, key=lambda g: (order.index(g) if g in order else len(order), g))}


def options(group: str) -> list[Option]:
    """Every option of a group.

    Raises:
        ValueError: there is no such group; names the nearest.
    """
    known = groups()
    if group not in known:
        raise ValueError(f"{group!r} is not a group of options: {suggest(group, known, len(known))}")
    return [_option(conf_dir() / group / f"{name}.yaml") for name in known[group]]


def option(group: str, name: str) -> Option | None:
    """One option of a group, or None where the package has no file of it: it is a user's own."""
    path = conf_dir() / group / f"{name}.yaml"
    return _option(path) if path.is_file() else None


def chosen() -> dict[str, str]:
    """The option that each group has by default."""
    entries = read_yaml(conf_dir() / f"{CONFIG_NAME}.yaml")["defaults"]
    return {group: option for entry in entries if isinstance(entry, dict) for group, option in entry.items() if option}


def _option(path: Path) -> Option:
    text = path.read_text(encoding="utf-8")
    comment = [line for line in _header(text) if not line.startswith("@package")]
    meaning, *source = comment or [""]
    document = read_yaml(path) or {}
    parameters: dict[str, Parameter] = {}
    sets, equation = [], _equation(document.get("_target_"))
    for entry in document.get("defaults", []):
        if isinstance(entry, dict):
            sets += [f"{key.removeprefix('override ').strip().lstrip('/')}={value}" for key, value in entry.items()]
        elif (path.parent / f"{entry}.yaml").is_file():  # the option that this one begins with
            base = _option(path.parent / f"{entry}.yaml")
            parameters |= {p.name: p for p in base.parameters}
            sets, equation = [*sets, *base.sets], equation or base.equation
    for p in _parameters(text):
        known = parameters.get(p.name, p)
        parameters[p.name] = replace(p, comment=p.comment or known.comment)
    return Option(path.stem, meaning, source, equation, sets, list(parameters.values()))


def _header(text: str) -> list[str]:
    """The comment with which a YAML file begins, without its `#`."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("#").strip())
    return lines


def _parameters(text: str) -> Iterator[Parameter]:
    lines = text.splitlines()
    root = yaml.compose(text)
    if not isinstance(root, yaml.MappingNode):
        return
    header = len(_header(text))
    for name, key, value in _leaves(root):
        end = value.end_mark
        behind = lines[end.line][end.column :] if end.line < len(lines) else ""
        # A comment of its own stands above the key, unless it is the file's.
        above: list[str] = []
        for line in reversed(lines[header : key.start_mark.line]):
            if not line.strip().startswith("#"):
                break
            above.insert(0, line.strip().lstrip("#").strip())
        comment = behind.strip().lstrip("#").strip() if behind.strip().startswith("#") else ""
        default = text[value.start_mark.index : end.index].strip()
        yield Parameter(name, " ".join(default.split()), " ".join([*above, comment]).strip())


def _leaves(node: yaml.MappingNode, prefix: str = "") -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    """`(dotted name, key, value)` of every value that is no mapping of its own."""
    for key, value in node.value:
        if not prefix and key.value in _NOT_PARAMETERS and not (key.value == "hydra" and _axes(value)):
            continue
        if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
            yield from _leaves(value, f"{prefix}{key.value}.")
        else:
            yield f"{prefix}{key.value}".removeprefix("hydra.sweeper.params."), key, value


def _axes(node: Any) -> bool:
    return isinstance(node, yaml.MappingNode) and any(key.value == "sweeper" for key, _ in node.value)


def _equation(target: Any) -> str:
    if not isinstance(target, str) or not target.startswith("rramsweep."):
        return ""  # a user's own, not known before it is chosen
    return " ".join((import_name(target, "list").__doc__ or "").strip().partition("\n\n")[0].split())


def components(plan: Plan) -> Iterator[dict[str, Any]]:
    """Facts on every option that the plan's points choose: law, source, tags, and the values that were asked for."""
    for group in GROUPS:
        for name in dict.fromkeys(point.choices[group] for point in plan.points if group in point.choices):
            if (group, name) == ("technology", "custom"):  # sets nothing
                continue
            points = [point for point in plan.points if point.choices.get(group) == name]
            target = str(points[0].config.get(group, {}).get("_target_", ""))
            found = option(group, name)
            chosen = Option(name, "", [], _docstring(target)) if found is None else found
            # The docstring of a network or a metric is of its class; what the option makes of it is its meaning.
            equation = chosen.equation if group in CELL_GROUPS or not chosen.meaning else ""
            known = {parameter.name: parameter for parameter in chosen.parameters}
            prefix = f"{group}."
            names = dict.fromkeys(key for point in points for key in point.params if key.startswith(prefix))
            yield {
                "group": group,
                "option": name,
                "target": target if not target.startswith(f"{OWN}.") else "",
                "meaning": chosen.meaning,
                "source": chosen.source,
                "equation": equation.replace("`", ""),
                "sets": chosen.sets,
                "tags": {tag: TAGS[tag] for tag in chosen.tags()},
                "parameters": [
                    {
                        "name": key,
                        "values": list(dict.fromkeys(_value_text(point.params.get(key)) for point in points)),
                        "unit": Parameter(key, "", "").unit,
                        "comment": known[short].comment if (short := key.removeprefix(prefix)) in known else "",
                    }
                    for key in names
                ],
            }


def _docstring(target: str) -> str:
    """First paragraph of a user's own class or function, which the plan has imported."""
    module, _, name = target.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    doc = found.__doc__ if found is not None else None
    return " ".join((doc or "").strip().partition("\n\n")[0].split())


def _value_text(value: Any) -> str:
    return "null" if value is None else str(value)
