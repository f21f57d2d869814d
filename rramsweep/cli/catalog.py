"""Groups, options, parameters and settings to choose from, as YAML files and the source of their targets state them.

Files are read by pyyaml and docstrings by `ast`: nothing is composed and no target is imported, so that `--help`,
`list` and the message on a mistyped name wait for neither Hydra nor torch.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from rramsweep.construct import FORMER, OWN, inside
from rramsweep.errors import ValidationError
from rramsweep.groups import CELL_GROUPS, GROUPS, SETTERS
from rramsweep.suggest import suggest
from rramsweep.units import unit_of

if TYPE_CHECKING:  # a plan brings numpy
    from rramsweep.study.plan import Plan, Point

CONFIG_NAME = "config"

# In the order in which one asks; a folder of conf/ that is not named here comes last.
MEANINGS = {
    "experiment": "a whole sweep: a question with its axes",
    "technology": "a named combination of device and effects",
    "macro": "a published array circuit: tile, mapping and converters",
    "device": "conductance window, levels, edge of the cell",
    "mapping": "how a weight becomes cells, and the weight scale",
    "programming": "error of the write",
    "relaxation": "what a cell loses right after the write",
    "drift": "what it loses later",
    "variation": "what write-verify does not see of a cell",
    "faults": "cells that do not follow",
    "read_noise": "new at every read",
    "tile": "size of the crossbars that a layer is cut into",
    "wires": "resistance of the lines of a crossbar",
    "iv": "current-voltage curve of the cells",
    "dac": "converters that drive the word lines",
    "adc": "converters that read the bit lines",
    "calibration": "digital corrections of each chip, fitted to a few inputs",
    "model": "the network and its weights",
    "data": "the inputs",
    "metric": "what scores a chip",
    "cost": "energy, area and latency of an inference, from published constants",
    "accelerator": "what computes: the CPU or a GPU",
    "stopping": "how many chips a point gets",
    "hydra/launcher": "where a sweep's shards run",
    "finetune": "settings of `rramsweep finetune`, which trains the network on chips; no sweep takes them",
}

LAUNCHER = "hydra/launcher"
# Hydra's name of a launcher that comes with a plugin -> the extra that installs it.
EXTRAS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm", "ray": "ray"}

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

# Where the axes of an experiment stand.
_AXES = "hydra.sweeper.params."

# Keys of the primary config that are of one job of a sweep, or of Hydra.
_NOT_SETTINGS = ("defaults", "hydra", "plan", "shard")

# Classes of this package that do nothing, whichever group they stand in.
_NULL_CLASSES = ("Ideal", "NoCost")

_PACKAGE = Path(__file__).resolve().parents[1]


# Reads numbers as OmegaConf does, 1e-3 too, which YAML 1.1 takes for text.
_LOADER: Any = type("Loader", (getattr(yaml, "CSafeLoader", yaml.SafeLoader),), {})
_LOADER.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def conf_dir() -> Path:
    """Folder of config groups: inside an installed package, beside it in a clone."""
    inside_package = _PACKAGE / "conf"
    return inside_package if inside_package.is_dir() else _PACKAGE.parent / "conf"


def read_yaml(path: Path) -> dict[str, Any]:
    """Keys of one config file as they stand in it, nothing resolved."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER) or {}


@dataclass(frozen=True)
class Parameter:
    """One parameter of an option: its name below the group, its default as the YAML has it, and the comment."""

    name: str
    default: str
    comment: str

    @property
    def unit(self) -> str:
        """The unit that the name's ending says, else nothing."""
        return unit_of(self.name)


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


@dataclass(frozen=True)
class Catalog:
    """Everything to choose from in folders of config groups.

    Args:
        folders: where two have an option of one name, the first one's counts, as on Hydra's search path. The last one
            holds the primary config.
    """

    folders: tuple[Path, ...]

    def groups(self) -> dict[str, list[str]]:
        """`{group: options}` of everything in the folders."""
        found: dict[str, set[str]] = {}
        for root in self.folders:
            for folder in (*root.iterdir(), root / LAUNCHER):
                group = folder.relative_to(root).as_posix()
                if options := self._files(group):
                    found[group] = options
        order = list(MEANINGS)
        ranked = sorted(found, key=lambda group: (order.index(group) if group in order else len(order), group))
        return {group: sorted(found[group]) for group in ranked}

    def is_group(self, name: str) -> bool:
        """True for the name of a group, one of Hydra's that the folders add to among them."""
        return name != "hydra" and any((folder / name).is_dir() for folder in self.folders)

    def option_names(self, group: str) -> list[str]:
        """Options of a group, those of Hydra's own launchers among them."""
        others = ("basic", *EXTRAS) if group == LAUNCHER else ()
        return sorted({*self._files(group), *others})

    def options(self, group: str) -> list[Option]:
        """Every option of a group.

        Raises:
            ValidationError: there is no such group; names the nearest.
        """
        known = self.groups()
        if group not in known:
            raise ValidationError(f"{group!r} is not a group of options", suggest(group, known, len(known)))
        return [option for name in known[group] if (option := self.option(group, name)) is not None]

    def option(self, group: str, name: str) -> Option | None:
        """One option of a group, or None where the folders have no file of it: it is a user's own."""
        path = self._path(group, name)
        if path is None:
            return None
        text = path.read_text(encoding="utf-8")
        meaning, *source = [line for line in _header(text) if not line.startswith("@package")] or [""]
        document = read_yaml(path)
        sets, equation = [], _docstring(document.get("_target_"))
        parameters: dict[str, Parameter] = {}
        for entry in document.get("defaults", []):
            if isinstance(entry, dict):
                sets += [f"{key.removeprefix('override ').strip().lstrip('/')}={value}" for key, value in entry.items()]
            elif (base := self.option(group, entry)) is not None:  # the option that this one begins with
                parameters |= {p.name: p for p in base.parameters}
                sets, equation = [*sets, *base.sets], equation or base.equation
        for p in _parameters(text):
            known = parameters.get(p.name, p)
            parameters[p.name] = replace(p, comment=p.comment or known.comment)
        return Option(name, meaning, source, equation, sets, list(parameters.values()))

    def defaults(self) -> dict[str, str]:
        """Option that each group has by default."""
        entries = self._primary()["defaults"]
        chosen = [item for entry in entries if isinstance(entry, dict) for item in entry.items()]
        return {group: option for group, option in chosen if option}

    def axes(self, experiment: str) -> list[str]:
        """Names that an experiment sweeps over."""
        sweeper = (self._document("experiment", experiment).get("hydra") or {}).get("sweeper") or {}
        return list(sweeper.get("params") or {})

    def settings(self) -> list[str]:
        """Names that are set beside the groups."""
        return [*(key for key in self._primary() if key not in _NOT_SETTINGS), "experiment"]

    def roots(self) -> set[str]:
        """First parts of every name that a config can have: groups, keys of the primary config, and of experiments."""
        roots = {*self._primary(), *(group.partition("/")[0] for group in self.groups())}
        for group in (*SETTERS, "experiment"):
            roots.update(key for name in self._files(group) for key in self._document(group, name))
        return roots - {"defaults"}

    def parameters(self, group: str) -> dict[str, list[str]]:
        """Parameters of a group under their override names, and the options that have each; a setter has none."""
        if group in SETTERS:
            return {}
        owners: dict[str, list[str]] = {}
        for name in sorted(self._files(group)):
            for key in self.keys(group, name):
                owners.setdefault(f"{group}.{key}", []).append(name)
        return owners

    def keys(self, group: str, name: str) -> list[str]:
        """Names of an option's parameters below the group, those of the options that it begins with first."""
        document = self._document(group, name)
        bases = [entry for entry in document.get("defaults", []) if isinstance(entry, str) and entry != "_self_"]
        inherited = [key for base in bases if base != name for key in self.keys(group, base)]
        return list(dict.fromkeys([*inherited, *(key for key in document if key not in _NOT_PARAMETERS)]))

    def node(self, group: str, name: str) -> dict[str, Any]:
        """Config node of an option, with what the options that it begins with set."""
        document = self._document(group, name)
        bases = [entry for entry in document.get("defaults", []) if isinstance(entry, str) and entry != "_self_"]
        inherited = [self.node(group, base) for base in bases if base != name]
        own = {key: value for key, value in document.items() if key != "defaults"}
        return {key: value for node in (*inherited, own) for key, value in node.items()}

    def first_parameter(self, group: str) -> str | None:
        """Override name of the first parameter of the group's default option, None where that has none."""
        default = self.defaults().get(group, "")
        return next((f"{group}.{key}" for key in self.keys(group, default)), None)

    def devices(self, low_uS: float, high_uS: float) -> list[str]:
        """Devices whose conductance window lies within a range, the widest window first."""
        windows = {name: self._document("device", name) for name in sorted(self._files("device"))}
        spans = {
            name: node["g_max_uS"] - node["g_min_uS"]
            for name, node in windows.items()
            if low_uS <= node["g_min_uS"] and node["g_max_uS"] <= high_uS
        }
        return sorted(spans, key=lambda name: -spans[name])

    def _files(self, group: str) -> set[str]:
        return {path.stem for folder in self.folders for path in (folder / group).glob("*.yaml")}

    def _path(self, group: str, name: str) -> Path | None:
        paths = (folder / group / f"{name}.yaml" for folder in self.folders)
        return next((path for path in paths if path.is_file()), None)

    def _document(self, group: str, name: str) -> dict[str, Any]:
        path = self._path(group, name)
        return {} if path is None else read_yaml(path)

    def _primary(self) -> dict[str, Any]:
        return read_yaml(self.folders[-1] / f"{CONFIG_NAME}.yaml")


# Everything that the package ships.
CATALOG = Catalog((conf_dir(),))


def with_folder(folder: str | None) -> Catalog:
    """The catalog with a user's own folder of config groups before it, as of `--config-dir`.

    Raises:
        ValidationError: there is no such folder.
    """
    if folder is None:
        return CATALOG
    if not Path(folder).is_dir():
        raise ValidationError("must be a folder of config groups", "check it", value=folder, parameter="--config-dir")
    return Catalog((Path(folder), *CATALOG.folders))


def _header(text: str) -> list[str]:
    """Lines of the comment with which a YAML file begins, without their `#`."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("#").strip())
    return lines


def _parameters(text: str) -> Iterator[Parameter]:
    lines = text.splitlines()
    root = yaml.compose(text, Loader=_LOADER)
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
        if not prefix and key.value in _NOT_PARAMETERS and not (key.value == "hydra" and _has_axes(value)):
            continue
        if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
            yield from _leaves(value, f"{prefix}{key.value}.")
        else:
            yield f"{prefix}{key.value}".removeprefix(_AXES), key, value


def _has_axes(node: Any) -> bool:
    return isinstance(node, yaml.MappingNode) and any(key.value == "sweeper" for key, _ in node.value)


def _docstring(target: Any) -> str:
    """First paragraph of the docstring of a target of this package, read from its source.

    Empty for a user's own, which is not known before it is chosen.
    """
    if not isinstance(target, str) or not inside(target, (OWN,)):
        return ""
    module, _, name = target.rpartition(".")
    return _first_paragraph(_defined(FORMER.get(module, module), name))


def _first_paragraph(docstring: str | None) -> str:
    return " ".join((docstring or "").strip().partition("\n\n")[0].split())


@cache
def _source(module: str) -> ast.Module:
    path = _PACKAGE.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8") if file.is_file() else "")


def _defined(module: str, name: str) -> str | None:
    """Docstring of a class or function where it is defined: in a module, or in the one that it imports it from."""
    for node in _source(module).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return ast.get_docstring(node, clean=False)
        if isinstance(node, ast.ImportFrom) and node.module and inside(node.module, (OWN,)):
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return _defined(node.module, alias.name)
    return None


def components(plan: Plan) -> Iterator[dict[str, Any]]:
    """Facts on every option that the plan's points choose: law, source, tags, and the values that were asked for.

    An option whose `_target_` was replaced is a component of its own, with the docstring of what stands in its place.
    """
    for group in GROUPS:
        chosen: dict[tuple[str, str], list[Point]] = {}
        for point in plan.points:
            if group in point.choices:
                target = str(point.config.get(group, {}).get("_target_", ""))
                chosen.setdefault((point.choices[group], target), []).append(point)
        for (name, target), points in chosen.items():
            if group in SETTERS and CATALOG.defaults()[group] == name:  # sets nothing
                continue
            known_option = CATALOG.option(group, name)
            original = str(CATALOG.node(group, name).get("_target_", target))
            replaced = known_option is not None and _current(target) != _current(original)
            if known_option is None or replaced:
                option = Option(name, "", [], _first_paragraph(_imported(target)))
            else:
                option = known_option
            # The docstring of a network or a metric is of its class; what the option makes of it is its meaning.
            equation = option.equation if group in CELL_GROUPS or not option.meaning else ""
            comments = {parameter.name: parameter.comment for parameter in option.parameters}
            if option is not known_option:
                comments |= _argument_comments(_imported(target))
            prefix = f"{group}."
            names = dict.fromkeys(key for point in points for key in point.params if key.startswith(prefix))
            yield {
                "group": group,
                "option": name,
                "target": target if replaced or not inside(target, (OWN,)) else "",
                "replaced": replaced,
                "null": inside(target, (OWN,)) and target.rpartition(".")[2] in _NULL_CLASSES,
                "meaning": option.meaning,
                "source": option.source,
                "equation": equation,
                "sets": option.sets,
                "tags": {tag: TAGS[tag] for tag in option.tags()},
                "parameters": [
                    {
                        "name": key,
                        "values": list(dict.fromkeys(_value_text(point.params.get(key)) for point in points)),
                        "unit": unit_of(key),
                        "comment": comments.get(key.removeprefix(prefix), ""),
                    }
                    for key in names
                ],
            }


def _current(target: str) -> str:
    """A target under the module that its class is in today."""
    module, _, name = target.rpartition(".")
    return f"{FORMER.get(module, module)}.{name}"


def _imported(target: str) -> str:
    """Docstring of a class or function that the plan has imported, as of a user's own; empty where it has none."""
    module, _, name = _current(target).rpartition(".")
    return inspect.cleandoc(getattr(getattr(sys.modules.get(module), name, None), "__doc__", None) or "")


def _argument_comments(docstring: str) -> dict[str, str]:
    """Comments on parameters from the section `Args:` of a docstring in Google style."""
    section = docstring.partition("\nArgs:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^    (\w+)[^:\n]*:((?:.*(?:\n      .*)*))", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def _value_text(value: Any) -> str:
    return "null" if value is None else str(value)
