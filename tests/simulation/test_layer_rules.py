"""Rules by layer: which layer gets what, in which order, and what a rule may not say."""

from __future__ import annotations

import pytest

from rramsweep.cli.composing import choices, compose, container
from rramsweep.groups import CELL_GROUPS
from rramsweep.models import lenet5
from rramsweep.simulation.layer_rules import changed, layer_rules
from rramsweep.simulation.workbench import Workbench

GROUPS = {group: {"_target_": "rramsweep.effects.Ideal"} for group in CELL_GROUPS}
GROUPS["drift"] = {"_target_": "rramsweep.effects.RelativeDrift", "relative_drift": 0.1, "reference": "target"}
ALL = ["conv1", "conv2", "fc1", "fc2", "fc3"]


def nodes(layers, include=("*",), exclude=()):
    analog = {"include": list(include), "exclude": list(exclude), "layers": layers}
    return {name: changed(GROUPS, analog, labels) for name, labels in layer_rules(lenet5(), analog).items()}


def drifts(layers):
    return {name: node["drift"].get("relative_drift") for name, node in nodes(layers).items()}


def test_without_rules_every_layer_is_the_points_own():
    assert nodes({}) == dict.fromkeys(ALL, GROUPS)


def test_a_rule_changes_the_parameters_it_names_of_the_layers_it_matches():
    found = nodes({"late": {"match": "fc*", "drift": {"relative_drift": 0.3}}})
    assert found["fc2"]["drift"] == {**GROUPS["drift"], "relative_drift": 0.3}
    assert {**found["fc2"], "drift": None} == {**GROUPS, "drift": None}
    assert found["conv1"] == GROUPS


def test_a_rule_with_a_target_takes_the_place_of_the_points_own():
    ideal = {"_target_": "rramsweep.effects.Ideal"}
    assert nodes({"exact": {"match": "fc3", "drift": ideal}})["fc3"]["drift"] == ideal


def test_rules_act_in_their_order():
    rules = {
        "fc": {"match": ["fc*"], "drift": {"relative_drift": 0.3}},
        "last": {"match": "fc3", "drift": {"relative_drift": 0.5}},
        "first": {"match": "conv1", "exclude": True},
    }
    assert drifts(rules) == {"conv2": 0.1, "fc1": 0.3, "fc2": 0.3, "fc3": 0.5}


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ({"late": {"match": "fcc*"}}, r"analog.layers.late.match must match analog layers.* did you mean fc"),
        ({"late": {"drift": {}}}, r"analog.layers.late needs a pattern of layer names"),
        ({"late": {"match": "fc1", "drfit": {}}}, r"analog.layers.late.drfit is not a setting .* did you mean drift"),
        ({"late": {"match": "fc1", "drift": 0.3}}, r"analog.layers.late.drift must hold parameters, got 0.3"),
        ({"late": {"match": "fc1", "exclude": "yes"}}, r"analog.layers.late.exclude must be bool"),
        ({"none": {"match": "*", "exclude": True}}, r"at least one layer must be analog, but the rules none"),
        ([1], r"analog.layers must hold named rules"),
    ],
)
def test_refuses_a_rule(layers, says):
    with pytest.raises(ValueError, match=says):
        nodes(layers)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            "drift.relative_drft=0.3",
            r"late.drift.relative_drft is not a parameter of analog.layers.late.drift: did",
        ),
        ("drift.relative_drift=-1", r"late.drift.relative_drift must lie"),
        ("read_noise._target_=Ideal", r"late.read_noise._target_ must be a dotted name, got 'Ideal': .*effects.Ideal"),
    ],
)
def test_a_mistake_in_a_rule_is_told_of_that_rule(change, says):
    rules = ["+analog.layers.early.match=fc*", "+analog.layers.early.drift.relative_drift=0.1"]
    with pytest.raises(ValueError, match=rf"^analog.layers.{says}"):
        point(*rules, "+analog.layers.late.match=fc1", f"+analog.layers.late.{change}")


def point(*overrides):
    cfg = compose(["model=digits_mlp", "data=digits", *overrides])
    return Workbench().point(container(cfg), choices(cfg))


def test_a_rule_is_part_of_a_point_only_where_it_changes_a_layer():
    plain = point("drift.relative_drift=0.2")
    rule = "+analog.layers.late.match=fc2"
    assert point("drift.relative_drift=0.2", rule, "+analog.layers.late.drift.relative_drift=0.2").point_id == (
        plain.point_id
    )
    other = point("drift.relative_drift=0.2", rule, "+analog.layers.late.drift.relative_drift=0.1")
    assert other.point_id != plain.point_id
    assert "layer fc2 drift RelativeDrift" in other.text
    assert other.params["analog.layers.late.drift.relative_drift"] == 0.1
    with pytest.raises(ValueError, match=r"relative_drift must lie in 0..1"):
        point(rule, "+analog.layers.late.drift.relative_drift=2.0")
