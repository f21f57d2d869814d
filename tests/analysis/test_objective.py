"""Objectives of a search: any column of numbers, in its own direction, with a value."""

from __future__ import annotations

import pytest

import rramsweep as rs
from rramsweep.analysis.objective import Objective, _own_direction, objectives_of, values_of
from rramsweep.errors import ValidationError
from rramsweep.scale import Scale

ACCURACY = Scale("top-1 accuracy", "fraction", True)
LOSS = Scale("mse", "", False)


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    store = f"store={tmp_path_factory.mktemp('store')}"
    overrides = ["model=digits_mlp", "data=digits", "data.limit=50", "chips=3", "adc=uniform", "adc.bits=6"]
    return rs.sweep([*overrides, "programming=gaussian", store])


@pytest.mark.parametrize(
    ("name", "scale", "direction"),
    [
        ("accuracy_mean", ACCURACY, "maximize"),
        ("accuracy", ACCURACY, "maximize"),
        ("yield_bound", ACCURACY, "maximize"),
        ("score_mean", ACCURACY, "maximize"),
        ("score_mean", LOSS, "minimize"),
        ("q05", LOSS, "minimize"),
        ("score_std", ACCURACY, "minimize"),
        ("loss", ACCURACY, "minimize"),
        ("adc_clip_rate", ACCURACY, "minimize"),
        ("calibration.extra_macs", ACCURACY, "minimize"),
        ("cost.energy_pJ_high", ACCURACY, "minimize"),
    ],
)
def test_a_column_has_its_own_direction(frame, name, scale, direction):
    assert objectives_of([name], None, frame, scale) == [Objective(name, direction)]
    assert objectives_of([name], [direction], frame.iloc[:0], scale) == [Objective(name, direction)]
    other = {"maximize": "minimize", "minimize": "maximize"}[direction]
    with pytest.raises(ValidationError, match=rf"must be {direction} for objective={name}, of which .* got '{other}'"):
        objectives_of([name], [other], frame, scale)


def test_a_parameter_is_an_objective_in_the_direction_given(frame):
    wanted = [Objective("accuracy_mean", "maximize"), Objective("adc.bits", "minimize")]
    assert objectives_of(["accuracy_mean", "adc.bits"], ["maximize", "minimize"], frame, ACCURACY) == wanted
    with pytest.raises(ValidationError, match=r"objective=adc\.bits is a column of which only you know"):
        objectives_of(["accuracy_mean", "adc.bits"], None, frame, ACCURACY)


@pytest.mark.parametrize(
    ("names", "directions", "message"),
    [
        (
            ["acuracy_mean"],
            None,
            "objective must be a column of numbers .*: did you mean accuracy_mean?",
        ),
        (["cost.energy_uJ"], None, "objective must be a column of numbers .* got 'cost.energy_uJ'"),
        (["adc"], None, "objective must be a column of numbers"),
        (["metric.higher_is_better"], None, "objective must be a column of numbers"),
        (["seed"], None, "objective must be a column of numbers"),
        ([], None, "objective must name one column or several different ones"),
        (["loss", "loss"], None, "objective must name one column or several different ones"),
        (["loss"], ["minimize", "minimize"], "direction must be minimize or maximize for each of the 1 objectives"),
        (["loss"], ["down"], "direction must be minimize or maximize for each of the 1 objectives"),
    ],
)
def test_what_is_no_objective_is_refused(frame, names, directions, message):
    with pytest.raises(ValidationError, match=message):
        objectives_of(names, directions, frame, ACCURACY)


def test_values_are_those_of_the_summary_and_means_over_chips(frame):
    summary = rs.summarize(frame, []).iloc[0]
    wanted = [summary["accuracy_mean"], summary["yield_bound"], frame["loss"].mean(), 6]
    assert values_of(["accuracy_mean", "yield_bound", "loss", "adc.bits"], frame) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("name", ["calibration.extra_macs", "dac_clip_rate", "q05_low"])
def test_a_column_without_a_value_is_refused(frame, name):
    with pytest.raises(ValidationError, match=rf"objective={name} must have a finite value at every point, got none"):
        values_of(["accuracy_mean", name], frame)


@pytest.mark.parametrize("name", ["cost.technology_nm", "cost.t_read_s", "calibration.rank", "score_skewness"])
def test_a_parameter_has_no_direction_of_its_own(name):
    assert _own_direction(name, ACCURACY) is None
