"""Which layers are analog and what each is made of, from the `analog` part of a config: patterns and named rules.

Rules become one config a layer here; nothing below sees a pattern.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from rramsweep.analog import analog_layers, matching
from rramsweep.build import fit, suggest
from rramsweep.chip import STAGES

# The groups that decide a chip, one for each field of a `LayerSpec`.
CELL_GROUPS = ("device", "mapping", *STAGES, "read_noise")


def layer_nodes(
    model: nn.Module, analog: Mapping[str, Any], groups: Mapping[str, Any]
) -> dict[str, Mapping[str, Mapping[str, Any]]]:
    """`{array name: {group: config node}}` of every weight on the array, in the network's order.

    Args:
        model: the network.
        analog: `include` and `exclude`, lists of patterns, and `layers`, named rules `{match, exclude, GROUP: node}`.
            A rule's node with a `_target_` takes the place of the point's own; without one it changes the parameters
            it names. Rules act in their order, each on what the ones before left.
        groups: the point's own node of each group.

    Raises:
        ValueError: an unknown key, a pattern that matches no layer, or nothing left to be analog.
    """
    check_keys(analog, ("include", "exclude", "layers"), "analog.")
    include, exclude = (fit(analog[key], list[str], f"analog.{key}") for key in ("include", "exclude"))
    names = analog_layers(model, include, exclude)
    nodes: dict[str, Mapping[str, Mapping[str, Any]]] = dict.fromkeys(names, groups)
    rules = analog.get("layers") or {}
    if not isinstance(rules, Mapping):
        raise ValueError(f"analog.layers must hold named rules, got {rules!r}: give +analog.layers.NAME.match=PATTERN")
    for label, rule in rules.items():
        where = f"analog.layers.{label}"
        if not isinstance(rule, Mapping) or "match" not in rule:
            raise ValueError(f"{where} needs a pattern of layer names, got {rule!r}: give {where}.match=PATTERN")
        check_keys(rule, ("match", "exclude", *CELL_GROUPS), f"{where}.")
        patterns = (
            [rule["match"]] if isinstance(rule["match"], str) else fit(rule["match"], list[str], f"{where}.match")
        )
        matched = matching(names, patterns, f"{where}.match")
        if fit(rule.get("exclude", False), bool, f"{where}.exclude"):
            nodes = {name: node for name, node in nodes.items() if name not in matched}
            continue
        changed = [group for group in rule if group in CELL_GROUPS]
        for name in matched & nodes.keys():
            own = nodes[name]
            nodes[name] = {**own, **{g: _changed(own[g], rule[g], f"{where}.{g}") for g in changed}}
    if not nodes:
        raise ValueError(
            f"at least one layer must be analog, but the rules {', '.join(rules)} of analog.layers exclude all of "
            f"{', '.join(names)}: exclude fewer"
        )
    return nodes


def _changed(node: Mapping[str, Any], change: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(change, Mapping):
        raise ValueError(
            f"{where} must hold parameters, got {change!r}: give {where}.PARAMETER=VALUE, or {where}._target_ for "
            "another law"
        )
    return change if "_target_" in change else {**node, **change}


def check_keys(config: Mapping[str, Any], known: Sequence[str], prefix: str = "") -> None:
    """Refuse keys that nothing reads.

    Raises:
        ValueError: names the key and the nearest known ones.
    """
    for key in config:
        if key not in known:
            raise ValueError(f"{prefix}{key} is not a setting of rramsweep: {suggest(key, known)}")
