"""Config files as a person reads them: what YAML 1.1 would silently read as something else is refused.

Hydra loads a file wherever a group's option is chosen, so the check stands where it does: in the source of files.
"""

from __future__ import annotations

import os
import re
from typing import Any

import yaml
from hydra._internal.core_plugins.file_config_source import FileConfigSource as HydraFileSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from omegaconf._utils import get_yaml_loader

from rramsweep.errors import ValidationError

# The whole numbers that look like what they are; YAML has octal, hexadecimal, binary, base 60 and underscores too.
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")

_TAG = "tag:yaml.org,2002:"


class FileConfigSource(HydraFileSource):
    """Hydra's own source of files, which checks each before it is composed.

    It has the name of Hydra's, since Hydra takes one class a scheme, by name.
    """

    def load_config(self, config_path: str) -> ConfigResult:
        """Load a file that is there and passes `check_file`."""
        path = os.path.realpath(os.path.join(self.path, self._normalize_file_name(config_path)))
        if os.path.isfile(path):
            with open(path, encoding="utf-8") as file:
                check_file(file.read(), path)
        return super().load_config(config_path)


def use_checked_files() -> None:
    """Make every config file in this process pass `check_file`."""
    Plugins.instance()  # which registers Hydra's own first
    SourcesRegistry.instance().types[FileConfigSource.scheme()] = FileConfigSource


def check_file(text: str, path: str) -> None:
    """Refuse a config file that is no mapping, or has a number that reads otherwise than it looks.

    Args:
        text: its content.
        path: where it is, for messages.

    Raises:
        ValidationError: names the file, and of a number its key and what it would be read as.
        yaml.YAMLError: it is no YAML.
    """
    root = yaml.compose(text, Loader=get_yaml_loader())
    if root is None or (isinstance(root, yaml.ScalarNode) and root.tag == f"{_TAG}null"):
        return
    if not isinstance(root, yaml.MappingNode):
        kind = "a list" if isinstance(root, yaml.SequenceNode) else f"the value {root.value!r}"
        raise ValidationError(f"a config file must hold NAME: VALUE pairs, but {path} is {kind}", "write NAME: VALUE")
    _check_node(root, "", path, set())


def _check_node(node: yaml.Node, key: str, path: str, seen: set[int]) -> None:
    if id(node) in seen:  # an alias: its anchor has been checked
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            _check_node(value, f"{key}.{name.value}".lstrip(".") if isinstance(name.value, str) else key, path, seen)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            _check_node(value, f"{key}[{i}]", path, seen)
    elif _misread(node):
        number: Any = yaml.load(node.value, Loader=get_yaml_loader())
        raise ValidationError(
            f"must be written in decimal digits alone, got {node.value} in {path}, which would be read as {number}",
            f"write {number} if that is meant, or '{node.value}' in quotes for text",
            parameter=key,
        )


def _misread(node: yaml.Node) -> bool:
    if node.style is not None or not isinstance(node.value, str):
        return False
    if node.tag == f"{_TAG}int":
        return _WHOLE.fullmatch(node.value) is None
    return bool(node.tag == f"{_TAG}float" and set(node.value) & set("_:"))
