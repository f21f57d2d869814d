"""What a chip's parts have to say of each other: cells that stand still, few levels, stuck values, options by name."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import nn

from rramsweep.cli.catalog import conf_dir, read_yaml
from rramsweep.cli.composing import choices, compose, container, point_plan
from rramsweep.construct import build
from rramsweep.crossbar.consistency import ideal_error
from rramsweep.crossbar.mapping import ConstantSum, Differential, Offset, Sliced
from rramsweep.crossbar.programming import LayerSpec
from rramsweep.devices.device import Device
from rramsweep.effects import (
    Gaussian,
    HfOxRelaxation,
    LogTimeWalk,
    Polynomial,
    RelativeDrift,
    Stuck,
    StuckClusters,
    StuckLines,
    WhiteReadNoise,
)
from rramsweep.network.inspection import inspect_layers
from rramsweep.simulation.components import KINDS

DEVICE = Device(1.0, 40.0)
AT_1_S = Polynomial([1.0], 0, 40, at_s=1.0)
DIGITS = ["model=digits_mlp", "data=digits", "data.limit=20"]


def notes(t_s=0.0, device=DEVICE, mapping=None, **effects):
    return LayerSpec(device, mapping or Differential(), **effects).notes(t_s)


@pytest.mark.parametrize("t_s", [1.5, 3600.0])
def test_cells_that_nothing_moves_after_their_table_are_told(t_s):
    (note,) = notes(t_s, programming=AT_1_S, drift=RelativeDrift(0.0))
    assert note.startswith("programming=Polynomial is the error at 1 s after the write")
    assert f"read at {t_s:g} s is that of 1 s" in note


@pytest.mark.parametrize(
    "effects",
    [
        {"programming": AT_1_S, "drift": LogTimeWalk(-0.3, 1.0)},
        {"programming": AT_1_S, "drift": RelativeDrift(0.1)},
        {"programming": Gaussian(0.03)},
        {},
    ],
    ids=["log time", "relative", "an increment", "nothing"],
)
def test_where_something_moves_them_or_nothing_was_timed_there_is_no_such_note(effects):
    assert not [note for note in notes(3600.0, **effects) if "stand still" in note]


def test_neurram_is_read_when_its_table_was():
    config = container(compose(["technology=neurram"]))
    assert config["t_s"] == 1.0 == config["programming"]["at_s"]
    assert container(compose(["technology=neurram", "t_s=1h"]))["t_s"] == "1h"


@pytest.mark.parametrize("levels", [5, 9, 17, 65])
@pytest.mark.parametrize(("mapping", "factor"), [(Differential(), 1), (ConstantSum(), 2), (Offset(), 2)])
def test_the_error_of_levels_is_that_of_a_uniform_quantiser(levels, mapping, factor):
    # 4 standard deviations over L - 1 steps: step / sqrt(12), while steps are not wider than a standard deviation
    step = factor * 4 / (levels - 1)
    if step < 1.5:
        assert ideal_error(mapping, Device(1.0, 40.0, levels=levels)) == pytest.approx(step / math.sqrt(12), rel=0.1)
    assert ideal_error(mapping, DEVICE) < 1e-6


@pytest.mark.parametrize(
    ("mapping", "device", "words"),
    [
        (Sliced("differential", 2, 4), Device(1.0, 40.0, levels=4), None),
        (Sliced("differential", 2, 4), Device(1.0, 40.0, levels=7), None),
        (Sliced("differential", 2, 4), Device(1.0, 40.0), None),
        (Sliced("differential", 2, 4), Device(1.0, 100.0, step_uS=0.1), None),
        (Sliced("constant_sum", 2, 4), Device(1.0, 40.0, levels=7), None),
        (Sliced("differential", 2, 4), Device(1.0, 40.0, levels=3), "4 values, but the 3 levels of device=Device"),
        (Sliced("offset", 2, 4), Device(1.0, 40.0, levels=8), "digit is off by up to 0.14 of a step, a weight"),
        (Sliced("offset", 2, 4), Device(1.0, 40.0, levels=8), "by up to 12 steps of its 8 bits"),
        (Sliced("constant_sum", 2, 4), Device(1.0, 40.0, levels=8), "take device.step_uS=null device.levels=7, or no"),
        (Sliced("differential", 3, 2), Device(1.0, 100.0, step_uS=2.0), "steps of 2 uS of device=Device do not hold"),
    ],
    ids=repr,
)
def test_levels_that_do_not_hold_the_digits_of_slices_are_noted(mapping, device, words):
    found = [note for note in notes(device=device, mapping=mapping) if "do not hold" in note]
    assert len(found) == (words is not None)
    assert all(note.startswith("mapping=Sliced writes digits of ") and words in note for note in found)


def test_few_bits_of_slices_are_noted_on_continuous_cells():
    (note,) = notes(mapping=Sliced("differential", 1, 2))
    assert "device=Device of continuous conductances under mapping=Sliced of 2 bits leaves the weights" in note
    assert note.endswith("or more mapping.slices or mapping.bits_per_cell on levels that hold them")
    assert not notes(mapping=Sliced("differential", 1, 4))


@pytest.mark.parametrize("path", sorted((conf_dir() / "device").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_device_of_few_levels_is_told_and_says_so_in_its_file(path):
    device = build(read_yaml(path), "device", KINDS["device"])
    few = device.levels is not None and device.levels <= 4
    found = [note for note in notes(device=device) if "leaves the weights of an ideal chip" in note]
    assert bool(found) == few
    assert all(note.startswith("device=Device of") and " under mapping=Differential " in note for note in found)
    assert ("So few levels" in path.read_text()) == few


@pytest.mark.parametrize(
    ("relaxation", "remedy"),
    [
        (Gaussian(0.07), "begin with an error of the write alone, as technology=neurram_relaxing does"),
        (LogTimeWalk(-0.3, 1.0, t0_s=0.5), "let it begin then with relaxation.t0_s"),
    ],
)
def test_what_would_count_twice_is_told_with_a_remedy_that_is_there(relaxation, remedy):
    with pytest.raises(ValueError, match=f"set relaxation=ideal, or {remedy}$"):
        LayerSpec(DEVICE, Differential(), programming=AT_1_S, relaxation=relaxation)


@pytest.mark.parametrize("make", [Stuck, StuckLines, StuckClusters])
def test_stuck_values_outside_the_window_are_told(make):
    (note,) = notes(faults=make(0.01, 0.01, g_lrs_uS=500.0, g_hrs_uS=0.5))
    assert f"faults={make.__name__} has g_lrs_uS=500 and g_hrs_uS=0.5 outside the window of 1..40 uS" in note
    assert not notes(faults=make(0.01, 0.01, g_lrs_uS=40.0, g_hrs_uS=20.0))
    assert not notes(faults=make(0.0, 0.01, g_lrs_uS=500.0))


@pytest.mark.parametrize(
    ("law", "device", "told"),
    [
        (LogTimeWalk(-0.3, 2.13), Device(1.0, 100.0), "mean_uS_per_decade=-0.3 and variance_uS2_per_decade=2.13 of"),
        (LogTimeWalk(0.0, 2.13), Device(1.0, 100.0), "variance_uS2_per_decade=2.13 of"),
        (LogTimeWalk(-0.1, 1.0), Device(1.0, 100.0), None),
        (LogTimeWalk(-0.3, 2.13), DEVICE, None),
    ],
)
def test_measured_rates_in_another_window_are_told(law, device, told):
    found = [note for note in notes(3600.0, device, drift=law) if "not scaled" in note]
    assert len(found) == (told is not None)
    assert all(told in note for note in found)


def plan_of(*overrides):
    cfg = compose([*DIGITS, *overrides])
    return point_plan(container(cfg), choices(cfg), [], "rramsweep.run", [])[1].notes


BEYOND = "relative drift above 0.2 lies outside the range its source gives"


@pytest.mark.parametrize(("drift", "found"), [(0.0, []), (0.2, []), (0.21, [BEYOND]), (1.0, [BEYOND])])
def test_a_drift_that_its_source_does_not_cover_is_noted(drift, found):
    assert notes(drift=RelativeDrift(drift)) == found
    assert plan_of(f"drift.relative_drift={drift}") == found


def test_what_sources_cover_is_known_by_the_names_of_columns():
    cfg = compose([*DIGITS, "+analog.layers.late={match: fc2, drift: {relative_drift: 0.3}}"])
    workbench = point_plan(container(cfg), choices(cfg), [], "rramsweep.run", [])[1]
    source = (0.0, 0.2, BEYOND)
    assert workbench.source_ranges == {
        "drift.relative_drift": source,
        "analog.layers.late.drift.relative_drift": source,
    }
    assert workbench.notes == [BEYOND]


def test_a_note_names_the_option_that_a_user_types():
    assert plan_of("device=neurram", "relaxation=hfox")[0].startswith("relaxation=hfox does nothing at t_s=0")
    (note,) = plan_of("technology=neurram", "t_s=1h")
    assert note.startswith("programming=wan2022_aihwkit is the error at 1 s")


def test_what_is_refused_names_the_option_that_a_user_types():
    for overrides, message in (
        (["relaxation=hfox"], "relaxation=hfox was measured in 0..40 uS"),
        (
            ["device=neurram", "relaxation=hfox", "drift.relative_drift=0.1"],
            "drift=relative must begin where relaxation ends, but that holds all later times, its drift included",
        ),
        (["device=neurram", "relaxation=hfox", "t_s=1ms"], "relaxation=hfox covers t_s = 0 and from 0.01 s on"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            plan_of(*overrides)


def test_a_rule_for_a_layer_with_a_law_of_its_own_names_the_class():
    rule = "{match: fc1, programming: {_target_: rramsweep.effects.Polynomial, coefficients: [1.0], g_low_uS: 1, "
    found = plan_of(f"+analog.layers.first={rule}g_high_uS: 100, at_s: 1}}}}")
    assert [note.split(" is ")[0] for note in found] == ["programming=Polynomial"]


def test_the_steps_of_a_chip_are_told_apart():
    torch.manual_seed(0)
    layer = nn.Linear(400, 400, bias=False)
    spec = LayerSpec(
        Device(1.0, 100.0, levels=33, edge="none"),
        Differential(),
        programming=Gaussian(0.03),
        relaxation=Gaussian(0.07),
        read_noise=WhiteReadNoise(0.02),
    )
    (row,) = inspect_layers(layer, {"": spec}, 0.0, torch.randn(64, 400), [0])
    w = layer.weight.detach()
    unit = float(w.abs().max()) * math.sqrt(w.numel()) / float(w.norm())  # W_max over the rms of the weights
    expected = {
        "by_mapping": unit / 32 / math.sqrt(12),
        "by_programming": unit * math.sqrt(2) * 3 / 99,
        "by_relaxation": unit * math.sqrt(2) * 7 / 99,
        "by_read_noise": unit * math.sqrt(2) * 2 / 99,
    }
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=0.03), name
    assert row["by_drift"] == row["by_variation"] == row["by_faults"] == 0
    squares = sum(row[name] ** 2 for name in expected if name != "by_read_noise")
    assert row["weight_error"] == pytest.approx(math.sqrt(squares), rel=0.02)
    assert row["mvm_error"] == pytest.approx(math.sqrt(squares + row["by_read_noise"] ** 2), rel=0.03)


def test_relative_drift_of_zero_may_stand_beside_any_law():
    LayerSpec(DEVICE, Differential(), relaxation=HfOxRelaxation(), drift=RelativeDrift(0.0))
