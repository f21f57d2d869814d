"""Scores in the words of a results section: mean, interval and good chips, of the level that a source covers."""

import re

import pandas as pd
import pytest

from rramsweep.analysis.frames import join
from rramsweep.analysis.schema import COUNTED
from rramsweep.analysis.summary import summarize
from rramsweep.reporting.accuracy import accuracy
from tests.analysis.test_frames import facts, failed, ok, point
from tests.reporting.test_plots import DRIFT, sweep


def said(frame, by=None):
    summary = summarize(frame, by)
    return accuracy(frame, summary, summary.attrs["by"])


def test_the_level_is_the_last_that_the_source_covers_and_its_interval_is_rounded_outwards():
    found = said(sweep([0.0, 0.2, 0.5], ["one"], better=80, images=100, digital=88))
    assert found.baseline == "Digital 88.0 %."
    (sentence,) = found.sentences  # 87, 86 and 88 of 100: 87 +- 2.484
    assert sentence == (
        "With drift (relative), at relative drift 0.2: 87.0 % (95 % interval 84.5–89.5), all 3 chips within 2 points "
        "of digital."
    )
    assert found.over == "Mean over 3 chips of this network on these 100 images, with its 95 % t interval over chips."


def test_without_a_range_both_ends_are_said():
    found = said(sweep([1.0, 2.0, 3.0], ["one"], column="device.step_uS"))
    assert [sentence.split(":")[0] for sentence in found.sentences] == [
        "With drift (relative), at device.step_uS 1",
        "At device.step_uS 3",
    ]
    found = said(sweep([1.0, 86400.0], ["one"], column="t_s"))
    assert [sentence.split(":")[0] for sentence in found.sentences] == ["With drift (relative), after 1 s", "After 1 d"]


@pytest.mark.parametrize(
    ("right", "words"),
    [
        ((88, 87, 86), "all 3 chips"),
        ((88, 85, 84), "1 of 3 chips"),
        ((80, 81, 82), "no chip of 3"),
        ((88,), "1 of 1 chip"),
    ],
)
def test_good_chips_are_counted(right, words):
    rows = [ok("a", seed, count, images=100, digital=88) for seed, count in enumerate(right)]
    (sentence,) = said(join([point("a")], facts(*rows), [])).sentences
    assert sentence.startswith("With drift (relative): ")
    assert sentence.endswith(f"{words} within 2 points of digital.")
    assert ("one chip, so no interval" in sentence) == (len(right) == 1)


def test_a_technology_is_named_by_the_effects_that_it_adds():
    drift = {"drift": "relative"}
    points = [
        point("a", technology="drift_alone", programming="ideal", relaxation="ideal", **drift),
        point("b", technology="pyrram", programming="gaussian", relaxation="gaussian", **drift),
    ]
    rows = [ok(name, seed, 8 - seed) for name in "ab" for seed in (0, 1)]
    found = said(join(points, facts(*rows), ["technology"]))
    assert [re.split(r"[:]", text)[0] for text in found.sentences] == [
        "Drift alone",
        "With programming error and relaxation (pyrram)",
    ]
    assert "95 % interval" not in found.sentences[1]


def test_many_combinations_are_said_by_the_best_and_the_worst():
    names = [f"t{i}" for i in range(8)]
    found = said(sweep([0.1], names, better=20, images=40, digital=30), ["technology"])
    assert [text.split(":")[0] for text in found.sentences] == ["Best of 8, T0", "Worst of 8, T7"]
    assert len(found.more) == 8


def test_the_ideal_chip_is_said_where_it_differs():
    frame = sweep([0.1], ["one", "two"])
    for right, text in ((0.7, "70.0 %"), (frame["technology"].map({"one": 0.7, "two": 0.75}), "70.0–75.0 %")):
        frame["ideal_score"] = frame["ideal_accuracy"] = right
        assert said(frame).baseline == f"Digital 80.0 %, ideal chip {text}."


def test_digital_scores_of_several_weights_are_said_from_the_least_to_the_largest():
    one, two = (sweep([0.1], ["one"], digital=digital) for digital in (9, 8))
    two["point_id"] = "other" + two["point_id"]
    frame = pd.concat([one, two], ignore_index=True)
    frame["model.checkpoint"] = ["a.pt"] * len(one) + ["b.pt"] * len(two)
    assert said(frame, ["model.checkpoint"]).baseline == "Digital 80.0–90.0 %."


def test_several_networks_have_a_digital_score_each():
    one, two = (sweep([0.1], ["one"], digital=digital) for digital in (8, 9))
    two["model"], two["point_id"] = "other", "other" + two["point_id"]
    frame = pd.concat([one, two], ignore_index=True)
    found = said(frame, ["model"])
    assert found.baseline == "Digital lenet5 80.0 %; other 90.0 %."
    assert ["of digital 80.0 %" in found.sentences[0], "of digital 90.0 %" in found.sentences[1]] == [True, True]


def test_a_metric_without_a_yield_counts_no_chips():
    frame = sweep([0.1], ["one"])
    frame[list(COUNTED)] = None
    frame["score"] = [0.8, 0.7, 0.9]
    frame["metric.name"], frame["metric.unit"], frame["metric.higher_is_better"] = "loss", "nat", False
    (sentence,) = said(frame).sentences
    assert sentence == "With drift (relative): 0.8000 nat (95 % interval 0.5515–1.049)."


def test_no_finished_chip_has_no_score():
    frame = join([point("a")], facts(failed("a", 0)), [])
    assert said(frame) is None


@pytest.mark.parametrize(
    ("choices", "targets", "subject"),
    [
        ({"drift": "table"}, {}, "With drift (table)"),
        ({"drift": "ideal"}, {"programming": "Laplace"}, "With programming error (Laplace)"),
        ({"drift": "relative", "faults": "stuck"}, {}, "With drift (relative) and stuck cells (stuck)"),
        ({"drift": "ideal"}, {}, "Chips without a device error"),
    ],
)
def test_the_first_sentence_names_the_effects_of_the_chips(choices, targets, subject):
    frame = join([point("a", **choices)], facts(ok("a", 0, 8), ok("a", 1, 7)), [])
    summary = summarize(frame)
    (sentence,) = accuracy(frame, summary, [], targets).sentences
    assert sentence.startswith(f"{subject}: ")
    frame.attrs["identical_chips"] = True
    assert accuracy(frame, summary, []).sentences[0].startswith("Chips without a random error: ")


def test_combinations_are_named_by_subject_then_parameters_then_level():
    settings = [("differential", 0.1), ("offset", 0.1), ("offset", None)]
    points = [
        point(f"{mapping}{alpha}{drift}", {"programming.alpha_prop": alpha, DRIFT: drift}, mapping=mapping)
        for mapping, alpha in settings
        for drift in (0.1, 0.2, 0.3)
    ]
    rows = [ok(each["point_id"], seed, 8 - seed) for each in points for seed in (0, 1)]
    frame = join(points, facts(*rows), ["mapping", "programming.alpha_prop", DRIFT])
    frame.attrs["source_ranges"] = {DRIFT: [0.0, 0.2, "beyond"]}
    assert [sentence.split(":")[0] for sentence in said(frame).sentences] == [
        "Mapping differential, with alpha prop 0.1, at relative drift 0.2",
        "Mapping offset, with alpha prop 0.1",
        "Mapping offset, without programming.alpha_prop",
    ]
