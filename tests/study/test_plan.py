"""Identity of a point, and a plan as a file."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from rramsweep.devices.device import Device
from rramsweep.effects import RelativeDrift
from rramsweep.groups import ADDED
from rramsweep.identity import describe, digest, flatten, identify
from rramsweep.scale import FRACTION, Scale
from rramsweep.study.plan import PLAN_FILE, Plan, Point, merge
from rramsweep.study.settings import Settings


def point(name="a", **params):
    scale = Scale("top-1 accuracy", FRACTION, True).columns
    nodes = {group: node for group, (_, node) in ADDED.items() if node is not None}
    config = {"drift": {"_target_": "x", **params}, "t_s": 0.0, **nodes}
    choices = {"drift": name, **{group: option for group, (option, _) in ADDED.items()}}
    return Point(digest(name), f"text {name}", choices, {**params, **scale}, config)


@pytest.mark.parametrize(
    ("one", "same"),
    [
        (1, 1.0),
        (0.3, 0.1 + 0.2),
        (0.15, 0.15000000000000002),
        (0.0, -0.0),
        ({"a": 1, "b": 2}, {"b": 2.0, "a": 1.0}),
        ((1, 2), [1.0, 2.0]),
        (Device(1, 100), Device(1.0, 100.0)),
        (RelativeDrift(0.1 + 0.2), RelativeDrift(0.3)),
    ],
)
def test_numbers_are_described_by_value(one, same):
    assert describe(one) == describe(same)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.15, 0.1500001),
        (True, 1),
        (None, 0),
        ("1", 1),
        (Device(1, 100), Device(1, 100, levels=4)),
        (RelativeDrift(0.1), RelativeDrift(0.2)),
    ],
)
def test_what_differs_is_described_differently(one, other):
    assert describe(one) != describe(other)


def test_a_new_version_of_an_effect_is_another_point():
    @dataclass(frozen=True)
    class Law:
        version: ClassVar[int] = 1
        strength: float = 0.1

    before = describe(Law())
    Law.version = 2
    assert describe(Law()) != before


def test_identity_is_a_hash_of_readable_text():
    point_id, text = identify(["drift RelativeDrift v1(relative_drift=0.1)"])
    assert point_id == digest(text)
    assert "relative_drift=0.1" in text
    assert identify(["drift RelativeDrift v1(relative_drift=0.2)"])[0] != point_id


def test_only_plain_values_can_be_described():
    with pytest.raises(ValueError, match="frozen dataclass"):
        describe(object())


def test_flatten_names_parameters_as_overrides_do():
    node = {"drift": {"_target_": "x", "relative_drift": 0.1 + 0.2, "layers": {"late": {"r": 1}}, "list": [1, 2]}}
    assert flatten(node) == {"drift.relative_drift": 0.3, "drift.layers.late.r": 1, "drift.list": "[1, 2]"}


def test_a_plan_survives_its_file(tmp_path):
    plan = Plan([point("a", r=0.1), point("b", r=None)], [[0, 1, 2, 7], [5]], ["drift.r"], Settings(store="x", chips=4))
    path = plan.save(tmp_path / "new")
    again = Plan.load(path)
    assert again == plan
    assert plan.n_trials == 5
    assert path.name == PLAN_FILE


def test_groups_that_a_plan_of_before_lacks_are_ideal(tmp_path):
    new = point("a", r=0.1)
    old = replace(new, choices={"drift": "a"}, config={key: new.config[key] for key in ("drift", "t_s")})
    assert Plan.load(Plan([old], [[0]]).save(tmp_path)).points == [new]


def test_a_plan_keeps_what_sources_cover_and_an_older_plan_has_that_of_then(tmp_path):
    ranges = {"drift.r": (0.0, 0.2, "r above 0.2 lies outside"), "late.drift.r": (1.5, float("inf"), "another")}
    path = Plan([point("a", r=0.1)], [[0]], [], Settings(source_ranges=ranges)).save(tmp_path)
    assert Plan.load(path).settings.source_ranges == ranges
    document = json.loads(path.read_text())
    document["settings"]["source_ranges"] = {"drift.r": [0.0, "much", "words"]}
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"settings.source_ranges must be a dict of \(a number, a number, text\)"):
        Plan.load(path)
    del document["settings"]["source_ranges"]
    path.write_text(json.dumps(document))
    then = {f"drift.{name}": source for name, source in RelativeDrift.source_range.items()}
    assert Plan.load(path).settings.source_ranges == then


def test_shared_configs_are_written_once(tmp_path):
    points = [
        Point(digest(str(i)), "t", {}, {"i": i}, {"model": {"_target_": "net", "pad": "x" * 100}}) for i in range(9)
    ]
    text = Plan(points, [[0]] * 9).save(tmp_path).read_text()
    assert text.count("x" * 100) == 1


def test_merging_joins_the_seeds_of_one_point():
    one, two = Plan([point()], [[3, 4]], ["drift.r"], Settings(store="s")), Plan([point()], [[1, 3]], ["drift.r"])
    merged = merge([one, two])
    assert list(merged.seeds) == [[1, 3, 4]]
    assert merged.settings == Settings(store="s")


def test_one_point_under_two_labels_keeps_both():
    a = point("a", r=0.1)
    b = Point(a.point_id, a.text, {"drift": "alias"}, a.params, a.config)
    merged = merge([Plan([a], [[0]]), Plan([b], [[0]])])
    assert [p.choices["drift"] for p in merged.points] == ["a", "alias"]


def test_labels_that_only_their_types_tell_apart_are_several_points():
    a = point("a")
    points = [Point(a.point_id, a.text, a.choices, {"drift.r": value}, a.config) for value in (1, 1.0, True, 1, True)]
    merged = merge([Plan(points, [range(3), range(3), [7], [5, 6], range(2)])])
    assert [(repr(p.label("drift.r")), list(s)) for p, s in zip(merged.points, merged.seeds, strict=True)] == [
        ("1", [0, 1, 2, 5, 6]),
        ("1.0", [0, 1, 2]),
        ("True", [0, 1, 7]),
    ]


def test_a_label_is_a_parameter_or_an_option():
    a = point("a", r=0.1, nothing=None)
    assert [a.label(name) for name in ("r", "nothing", "drift", "other")] == [0.1, None, "a", None]


def test_equal_configs_are_one_part_whether_they_are_one_object_or_not(tmp_path):
    node = {"_target_": "net", "size": 1}
    nodes = [node, node, dict(node), {"size": 1, "_target_": "net"}, {"_target_": "net", "size": 1.0}]
    points = [Point(digest(str(i)), "t", {}, {"i": i}, {"model": each}) for i, each in enumerate(nodes)]
    document = json.loads(Plan(points, [[0]] * 5).save(tmp_path).read_text())
    used = [entry["config"]["model"] for entry in document["points"]]
    assert len(set(used[:4])) == 1
    assert [document["parts"][key] for key in used] == nodes
    assert isinstance(document["parts"][used[4]]["size"], float)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "is not there"),
        ("not json", "must be a plan"),
        ("[1]", "must be a plan"),
        (json.dumps({"scheme": 99, "parts": {}}), "newer|scheme 99"),
        (json.dumps({"scheme": 1, "parts": {}}), "is of scheme 1: run its command again"),
        (json.dumps({"scheme": 2, "parts": {}}), "must be a plan"),
    ],
)
def test_refuses_a_file_that_is_no_plan(tmp_path, content, says):
    path = tmp_path / PLAN_FILE
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=says):
        Plan.load(path)
