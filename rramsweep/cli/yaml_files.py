"""YAML files as a config takes them: refused, by file and line, before anything is made of them.

A YAML of a few lines can name each line twice in the next one and so claim more memory than there is; a date, a tag or
a repeated key would be read as something else than was meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from rramsweep import limits
from rramsweep.errors import ValidationError

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_CORE = "tag:yaml.org,2002:"
_TAGS = {f"{_CORE}{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null", "merge")}

# The whole numbers that look like what they are.
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")

# `${a.b}`, `${.b}` or `${resolver:argument}` without another one inside.
_INTERPOLATION = re.compile(r"\$\{([^${}]*)\}")


def check_file(path: Path) -> None:
    """Check that a YAML file is a map of plain values.

    Raises:
        ValidationError: not UTF-8 text, larger than `limits.CONFIG_MB` itself or with its aliases written out, no YAML,
            a repeated key, a tag of another language, or no map.
    """
    data = path.read_bytes()
    limits.CONFIG_MB.check(len(data) / 1e6, str(path), " MB", "give a smaller file")
    try:
        text = data.decode("utf-8")
        # Hydra reads with Python's loader, which takes fewer tabs than libyaml's does.
        node = yaml.compose(text, Loader=yaml.SafeLoader if "\t" in text else _LOADER)
        if node is None or node.tag == f"{_CORE}null":
            return
        if not isinstance(node, yaml.MappingNode):
            kind = "a list" if isinstance(node, yaml.SequenceNode) else f"the value {node.value!r}"
            raise ValidationError("must hold NAME: VALUE pairs", "write NAME: VALUE", shown=kind, parameter=str(path))
        limits.CONFIG_MB.check(_written_out(node, path) / 1e6, str(path), " MB with its aliases", "write fewer aliases")
    except UnicodeDecodeError as error:
        raise ValidationError("must be UTF-8 text", "save it as such", parameter=str(path)) from error
    except yaml.MarkedYAMLError as error:
        where = f"{path}, line {error.problem_mark.line + 1}" if error.problem_mark else str(path)
        if _is_tab(text, error.problem_mark):
            allowed, remedy = "must be YAML, which takes no tabs, but has one", "write blanks in its place"
        else:
            allowed, remedy = f"must be YAML, but {error.problem}", "correct the line"
        raise ValidationError(allowed, remedy, parameter=where) from error
    except (yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValidationError(f"must be YAML, but {reason}", "correct it", parameter=str(path)) from error


def _is_tab(text: str, mark: Any) -> bool:
    """True where a loader stopped at a tab, or at a line that a tab indents: each loader reports it differently."""
    if mark is None:
        return False
    line = (re.split(r"\r\n|[\r\n\x85\u2028\u2029]", text)[mark.line :] or [""])[0]
    return line[mark.column : mark.column + 1] == "\t" or "\t" in line[: len(line) - len(line.lstrip())]


def _refused(path: Path, node: yaml.Node, allowed: str, remedy: str) -> ValidationError:
    return ValidationError(allowed, remedy, parameter=f"{path}, line {node.start_mark.line + 1}")


def _written_out(root: yaml.Node, path: Path) -> int:
    """Characters of a document in which each alias is replaced by what it stands for."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, key: str = "") -> int:
        known = sizes.get(id(node))
        if known is not None:
            return known
        sizes[id(node)] = 0  # an alias within what it stands for
        if node.tag not in _TAGS:
            kind = node.tag.removeprefix(_CORE)
            raise _refused(path, node, f"must hold plain values, got one of the type {kind}", "put text in quotes")
        if isinstance(node, yaml.ScalarNode) and _misread(node):
            number = yaml.load(node.value, Loader=_LOADER)
            raise ValidationError(
                f"must be written in decimal digits alone, got {node.value} in {path}, which would be read as {number}",
                f"write {number} if that is meant, or '{node.value}' in quotes for text",
                parameter=key,
            )
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for name, _ in node.value:
                if isinstance(name, yaml.ScalarNode) and name.tag != f"{_CORE}merge":
                    if name.value in seen:
                        raise _refused(path, name, f"has the key {name.value!r} twice in one map", "leave one")
                    seen.add(name.value)
            total = sum(size(name) + size(value, _joined(key, name)) for name, value in node.value)
        elif isinstance(node, yaml.SequenceNode):
            total = sum(size(value, f"{key}[{i}]") for i, value in enumerate(node.value))
        else:
            total = len(node.value)
        sizes[id(node)] = total + 2
        return total + 2

    return size(root)


def _joined(key: str, name: yaml.Node) -> str:
    return f"{key}.{name.value}".lstrip(".") if isinstance(name, yaml.ScalarNode) else key


def _misread(node: yaml.ScalarNode) -> bool:
    """True where YAML 1.1 reads a number otherwise than it looks: octal, hexadecimal, binary, base 60, underscores."""
    if node.style:  # in quotes, or a block
        return False
    if node.tag == f"{_CORE}int":
        return _WHOLE.fullmatch(node.value) is None
    return bool(node.tag == f"{_CORE}float" and set(node.value) & set("_:"))


def check_resolved(raw: Mapping[str, Any]) -> None:
    """Check that a config stays within `limits.CONFIG_MB` once its interpolations are resolved.

    Args:
        raw: the config, nested plain data, with interpolations as text.

    Raises:
        ValidationError: states the size.
    """
    sizes: dict[tuple[str, ...], int] = {}

    def size(node: Any, path: tuple[str, ...]) -> int:
        if path in sizes:
            return sizes[path]
        sizes[path] = 0  # a cycle, which OmegaConf refuses itself
        if isinstance(node, Mapping):
            total = sum(len(str(key)) + size(value, (*path, str(key))) for key, value in node.items())
        elif isinstance(node, list):
            total = sum(size(value, (*path, str(i))) for i, value in enumerate(node))
        elif isinstance(node, str):
            total = len(node) + sum(size(_at(raw, target), target) for target in _targets(node, path))
        else:
            total = 1
        sizes[path] = total
        return total

    try:
        total = size(raw, ())
    except RecursionError as error:
        raise ValidationError("must be nested less deeply", "write it flatter", parameter="the config") from error
    limits.CONFIG_MB.check(total / 1e6, "the resolved config", " MB", "use fewer interpolations")


def _targets(text: str, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Paths of the nodes that a text's interpolations stand for."""
    while match := _INTERPOLATION.search(text):
        text = f"{text[: match.start()]}{text[match.end() :]}"
        # A resolver may take its arguments for keys, as oc.select does.
        for reference in map(str.strip, match[1].rpartition(":")[2].split(",")):
            up = len(reference) - len(reference.lstrip("."))
            names = tuple(part for part in re.split(r"[.\[\]]", reference) if part)
            if names:
                yield (*path[: len(path) - up], *names) if up else names


def _at(raw: Any, path: tuple[str, ...]) -> Any:
    node = raw
    for name in path:
        if isinstance(node, Mapping):
            node = node.get(name)
        elif isinstance(node, list) and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
        else:
            return None
    return node
