"""Rules of the `analog` part of a config: patterns of analog layers, and named rules that change their components.

Patterns become names here; no lower module sees a pattern.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import nn

from rramsweep.arguments import brief
from rramsweep.construct import fit
from rramsweep.groups import CELL_GROUPS
from rramsweep.network.analog import analog_layers, matching
from rramsweep.suggest import suggest


def layer_rules(model: nn.Module, analog: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """`{array name: rules that act on it}` of every weight on the array, in the network's order.

    Args:
        model: the network.
        analog: `include` and `exclude`, patterns or one of them, `fold_batchnorm`, and `layers`, named rules
            `{match, exclude, GROUP: node}`.

    Raises:
        ValueError: an unknown key, a pattern that matches no layer, an empty change, or no analog layer left.
    """
    check_keys(analog, ("include", "exclude", "fold_batchnorm", "layers"), "analog.")
    include, exclude = (_patterns(analog[key], f"analog.{key}") for key in ("include", "exclude"))
    names = analog_layers(model, include, exclude)
    acting: dict[str, tuple[str, ...]] = dict.fromkeys(names, ())
    rules = analog.get("layers") or {}
    if not isinstance(rules, Mapping):
        raise ValueError(f"analog.layers must hold named rules, got {rules!r}: give analog.layers.NAME.match=PATTERN")
    for label, rule in rules.items():
        where = f"analog.layers.{label}"
        if not isinstance(rule, Mapping) or "match" not in rule:
            raise ValueError(f"{where} needs a pattern of layer names, got {brief(rule)}: give {where}.match=PATTERN")
        check_keys(rule, ("match", "exclude", *CELL_GROUPS), f"{where}.")
        _check_changes(rule, where)
        matched = matching(names, _patterns(rule["match"], f"{where}.match"), f"{where}.match")
        if fit(rule.get("exclude", False), bool, f"{where}.exclude"):
            acting = {name: labels for name, labels in acting.items() if name not in matched}
        else:
            acting = {name: (*labels, label) if name in matched else labels for name, labels in acting.items()}
    if not acting:
        raise ValueError(
            f"at least one layer must be analog, but the rules {', '.join(rules)} of analog.layers exclude all of "
            f"{', '.join(names)}: exclude fewer"
        )
    return acting


def _patterns(value: Any, where: str) -> list[str]:
    """One pattern or several as a list; a number stands for a layer of a `Sequential`."""
    several = value if isinstance(value, list) else [value]
    named = [str(one) if isinstance(one, int) and not isinstance(one, bool) else one for one in several]
    return cast("list[str]", fit(named, list[str], where))


def changed(
    groups: Mapping[str, Mapping[str, Any]], analog: Mapping[str, Any], labels: Sequence[str]
) -> dict[str, Mapping[str, Any]]:
    """Apply the rules with these labels, one after the other, to a point's own nodes `{group: node}`.

    A rule's node with a `_target_` replaces the previous node; without one it changes the parameters that it names.
    """
    own = {group: groups[group] for group in CELL_GROUPS}
    for label in labels:
        for group, change in analog["layers"][label].items():
            if group in CELL_GROUPS:
                own[group] = change if "_target_" in change else {**own[group], **change}
    return own


def place(group: str, analog: Mapping[str, Any], labels: Sequence[str]) -> str:
    """Config path of the last change of a group's node: `analog.layers.LABEL.group`, or `group` itself."""
    last = next((label for label in reversed(labels) if group in analog["layers"][label]), None)
    return group if last is None else f"analog.layers.{last}.{group}"


def _check_changes(rule: Mapping[str, Any], where: str) -> None:
    for group, change in rule.items():
        if group in CELL_GROUPS and not isinstance(change, Mapping):
            raise ValueError(
                f"{where}.{group} must hold parameters, got {change!r}: give {where}.{group}.PARAMETER=VALUE, or "
                f"{where}.{group}._target_ for another law"
            )


def check_keys(config: Mapping[str, Any], known: Sequence[str], prefix: str = "") -> None:
    """Check that every key is a known one.

    Raises:
        ValueError: names the key and the nearest known ones.
    """
    for key in config:
        if key not in known:
            raise ValueError(f"{prefix}{key} is not a setting of rramsweep: {suggest(key, known)}")
