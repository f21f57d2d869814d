"""The answer's sentences, on frames whose every chip is known: bounds by closed form, words by what they claim."""

from dataclasses import replace

import pandas as pd
import pytest

from rramsweep.analysis.frames import join
from rramsweep.analysis.summary import summarize
from rramsweep.reporting import page
from rramsweep.reporting.findings import few_chips, findings
from rramsweep.reporting.request import chips_in_words, request, unfinished
from rramsweep.scale import HIGHER, NAME, UNIT
from rramsweep.study.plan import Plan, Point
from rramsweep.study.settings import Settings
from rramsweep.study.stopping import Interval
from tests.analysis.test_frames import facts, failed, ok, point

DRIFT = "drift.relative_drift"


def sweep(bad, chips=50, column=DRIFT, technology="alone", levels=(0.0, 0.1, 0.2), swept=None):
    """`bad` chips of each level lose 5 of 100 images, the others none."""
    points, rows = [], []
    for level, n_bad in zip(levels, bad, strict=True):
        name = f"{technology}{level}"
        points.append(point(name, {column: level}, technology=technology))
        rows += [ok(name, seed, 75 if seed < n_bad else 80, images=100, digital=80) for seed in range(chips)]
    return join(points, facts(*rows), [column] if swept is None else swept)


def said(frame, axes=(DRIFT,), drop=None):
    summary = summarize(frame, list(axes), drop)
    return findings(frame, summary, axes)


def test_the_share_named_is_the_lower_bound_rounded_down_and_never_the_share_seen():
    """No failure in 50 shows 0.05 ** (1 / 50) = 94.18 %; one shows 90.86 %, four 83 %."""
    (sentence,) = said(sweep([0, 1, 4])).sentences
    assert "drift.relative_drift up to 0.1: at least 90 % of chips stay at most 2 points below digital" in sentence
    assert "lower 95 % bound over 50 chips a level of this network on these 100 images" in sentence
    assert sentence.endswith("the next level, 0.2, shows at least 82 % (50 chips).")
    assert "100 %" not in sentence
    assert "at least 94 %" in said(sweep([0, 0, 0])).sentences[0]


def test_the_whole_axis_is_said_to_be_all_that_was_swept():
    (sentence,) = said(sweep([0, 0, 0])).sentences
    assert "up to 0.2" in sentence
    assert sentence.endswith("no further level was swept.")


def test_a_range_ends_at_the_first_level_that_fails_even_if_a_later_one_holds():
    (sentence,) = said(sweep([0, 10, 0])).sentences
    assert "drift.relative_drift = 0: at least 94 %" in sentence
    assert "up to" not in sentence


def test_no_range_is_claimed_where_the_first_level_fails():
    (sentence,) = said(sweep([40, 50, 50])).sentences
    assert "= 0, the best level: at least 11 % of chips stay at most 2 points below digital" in sentence
    assert "and a range needs 90 %" in sentence  # 10 of 50: 11.3 %
    assert "up to" not in sentence


def test_few_chips_claim_what_they_can_and_say_so():
    found = said(sweep([0, 0, 1], chips=5))
    assert "up to 0.1: at least 54 % of chips" in found.sentences[0]  # 0.05 ** (1 / 5)
    assert any("5 chips without a failure can show 54 % and no more; 29 show 90 %" in note for note in found.notes)


def test_few_chips_say_in_the_sentence_itself_why_the_share_is_another():
    (kept,) = said(sweep([0, 0, 1], chips=5)).sentences
    assert "of this network on these 100 images, the most that 5 chips can show)" in kept
    (lost,) = said(sweep([1, 5, 5], chips=5)).sentences
    assert "a range needs 54 %, the most that 5 chips can show." in lost
    assert "the most that" not in said(sweep([0, 0, 1], chips=29)).sentences[0]


@pytest.mark.parametrize(("chips", "few"), [(4, True), (5, False)])
def test_points_of_hardly_any_chips_are_warned_of(chips, few):
    note = "3 of 3 points have fewer than 5 chips: intervals over so few are too wide to tell much"
    summary = summarize(sweep([0, 0, 1], chips=chips), [DRIFT])
    assert any(note in one for one in few_chips(summary)) == few
    assert any(note in one for one in page._warnings(sweep([0, 0, 1], chips=chips), summary, None)) == few


def plan_of(frame, n, levels=(0.0, 0.1, 0.2), technologies=("alone", "other")):
    """A plan of n chips a point, of which the frame may have some."""
    kinds = [(technology, level) for technology in technologies for level in levels]
    points = [Point(f"{t}{x}", "", {"technology": t}, {DRIFT: x}, {"t_s": 0.0}) for t, x in kinds]
    return Plan(points, [list(range(n))] * len(points), ["technology", DRIFT], Settings(chips=n, seed=0))


def test_an_unfinished_sweep_says_so_first_and_of_what_it_has_nothing():
    """50 + 16 chips of one technology of two, at two levels of three: 66 of 300."""
    frame = sweep([0, 0, 0])
    frame = frame[(frame[DRIFT] == 0.0) | ((frame[DRIFT] == 0.1) & (frame["seed"] < 16))]
    frame.loc[frame[DRIFT] == 0.1, ["n_correct", "n_lost", "accuracy", "score"]] = [70, 10, 0.7, 0.7]
    frame.attrs["swept"] = ["technology", DRIFT]
    summary = summarize(frame, ["technology", DRIFT])
    found = findings(frame, summary, ["technology", DRIFT], plan_of(frame, 50))
    assert found.unfinished == "unfinished: 66 of 300 trials; no chip yet at technology other, drift.relative_drift 0.2"
    assert found.sentences[0].startswith("alone, drift.relative_drift = 0: at least 94 %")
    assert "over 50 chips of this network" in found.sentences[0]
    assert found.sentences[0].endswith("the next level, 0.1, shows at least 0 % (16 chips).")
    rows = request(frame, summary, plan_of(frame, 50))
    assert (rows["swept technology"], rows["swept drift.relative_drift"]) == ("2: alone, other", "3: 0, 0.1, 0.2")
    assert rows["trials"] == "66 finished of 300"


def test_levels_that_did_not_run_are_no_levels_that_were_not_swept():
    frame = sweep([0, 0], levels=(0.0, 0.1))
    found = findings(frame, summarize(frame, [DRIFT]), [DRIFT], plan_of(frame, 50, technologies=["alone"]))
    assert found.sentences[0].endswith("no chip of a further level has run yet.")
    whole = sweep([0, 0, 0])
    done = findings(whole, summarize(whole, [DRIFT]), [DRIFT], plan_of(whole, 50, technologies=["alone"]))
    assert done.unfinished == ""
    assert done.sentences[0].endswith("no further level was swept.")


def test_a_stopping_rule_is_told_in_words_and_its_open_points_are_unfinished():
    frame = sweep([0, 0, 0]).assign(**{"stopping.ended": ["interval"] * 149 + [None]})
    plan = plan_of(frame, 200, technologies=["alone"])
    metric = {name: frame[name].iloc[0] for name in (NAME, UNIT, HIGHER)}
    points = [replace(point, params={**point.params, **metric}) for point in plan.points]
    plan = replace(plan, points=points, settings=Settings(chips=100, stopping=Interval(0.01, max_chips=200)))
    assert chips_in_words(plan) == (
        "30 to 200, until the 95 % t interval of the mean is at most 1 percentage point either side; looked at after "
        "30 and every 50 more"
    )
    assert unfinished(frame, plan) == ""  # three points, and each has ended
    left = frame.assign(**{"stopping.ended": frame["stopping.ended"].where(frame[DRIFT] < 0.2)})
    assert unfinished(left, plan) == "unfinished: 150 of at most 600 trials"


def test_an_axis_on_which_less_is_worse_is_read_from_its_good_end():
    (sentence,) = said(sweep([50, 30, 0], column="device.levels", levels=(4.0, 8.0, 16.0)), ["device.levels"]).sentences
    assert "device.levels = 16: at least 94 %" in sentence
    assert "the next level, 8, shows at least" in sentence
    (sentence,) = said(sweep([50, 0, 0], column="device.levels", levels=(4.0, 8.0, 16.0)), ["device.levels"]).sentences
    assert "device.levels down to 8: at least" in sentence


def test_units_stand_behind_levels():
    _, sentence = said(sweep([0, 0, 9], column="t_s", levels=(0.0, 10.0, 100.0)), ["t_s"]).sentences
    assert "t_s up to 10 s" in sentence


def test_nothing_swept_has_one_sentence_without_a_range():
    (sentence,) = said(sweep([1], levels=(0.1,), swept=[]), []).sentences
    assert sentence.startswith("The point asked for: at least 90 % of chips")
    assert "up to" not in sentence
    assert "level" not in sentence


def both(bad_alone, bad_other):
    """Two technologies over three levels."""
    parts = [sweep(bad_alone), sweep(bad_other, technology="other")]
    frame = pd.concat(parts, ignore_index=True)
    frame.attrs["swept"] = ["technology", DRIFT]
    return frame


def test_each_combination_of_other_axes_has_its_own_sentence():
    first, second = said(both([0, 0, 9], [30, 40, 50]), ["technology", DRIFT]).sentences
    assert first.startswith("alone, drift.relative_drift up to 0.1:")
    assert second.startswith("other, drift.relative_drift = 0, the best level: at least 28 %")


def test_combinations_without_any_range_share_one_sentence():
    frame = pd.concat([sweep([20, 40, 50], technology=f"t{i}") for i in range(3)], ignore_index=True)
    (sentence,) = said(pd.concat([frame, sweep([50, 50, 50], technology="t3")]), ["technology", DRIFT]).sentences
    start = "No range of drift.relative_drift can be given for 4 combinations (t0; t1; t2; t3): at the best level"
    assert sentence.startswith(start)
    assert "at least 0 to 47 % of chips stay at most 2 points below digital" in sentence  # 30 of 50: 47.3 %
    assert sentence.endswith("and a range needs 90 %.")


def test_doubtful_intervals_are_counted_among_the_warnings():
    frame = sweep([0, 1, 0])
    summary = summarize(frame, [DRIFT])
    assert any(text.startswith("The t interval is doubtful at 1 of 3") for text in page._warnings(frame, summary, None))
    assert not any("doubtful" in note for note in findings(frame, summary, [DRIFT]).notes)


@pytest.mark.parametrize(("bad", "words"), [(0, "stays"), (1, "does not stay")])
def test_identical_chips_are_one_chip_and_bound_no_share(bad, words):
    frame = sweep([50 * bad], levels=(0.1,), swept=[])
    frame.attrs["identical_chips"] = True
    found = said(frame, [])
    assert found.sentences == [
        f"The point asked for: every chip is the same one, and it {words} at most 2 points below digital in top-1 "
        "accuracy of this network on these 100 images."
    ]
    assert found.notes == ["Other weights, or other images, are another question: no interval here answers it."]
    both = sweep([0, 0, 50])
    both.attrs["identical_chips"] = True
    (sentence,) = said(both).sentences
    assert "every chip of a level is the same one; at 0, 0.1 it stays at most 2 points below digital" in sentence


def test_categories_alone_have_a_sentence_each():
    frame = both([0, 0, 0], [30, 40, 50])
    found = said(frame[frame[DRIFT] == 0.1], ["technology"]).sentences
    assert [sentence.split(":")[0] for sentence in found] == ["alone", "other"]
    assert "at least 94 %" in found[0]
    assert "at least 11 %" in found[1]


def test_many_combinations_are_counted_before_they_are_told():
    frame = pd.concat([sweep([0, 9, 9], technology=f"t{i}") for i in range(9)], ignore_index=True)
    found = said(frame, ["technology", DRIFT])
    assert len(found.sentences) == 9
    assert found.headline == "9 of 27 points are each shown to keep at least 90 % of chips good."
    assert said(sweep([0, 0, 0])).headline == ""


def test_failed_trials_are_no_chips_and_are_said():
    points = [point("a", {DRIFT: 0.0}), point("b", {DRIFT: 0.1})]
    rows = [ok("a", seed, 80, images=100, digital=80) for seed in range(30)] + [failed("b", 0)]
    found = said(join(points, facts(*rows), [DRIFT]))
    assert found.sentences[0].endswith("the next level, 0.1, shows nothing: no chip finished.")
    assert any(note.startswith("1 failed trial is left out") for note in found.notes)


def test_no_finished_chip_answers_nothing():
    found = said(join([point("a", {DRIFT: 0.0})], facts(failed("a", 0)), [DRIFT]))
    assert found.sentences == ["No chip has finished: there is no answer yet."]


@pytest.mark.parametrize(("chips", "words"), [(50, "at most"), (1, "one chip, which carries no interval")])
def test_a_metric_without_a_yield_is_bounded_at_the_bad_end_of_its_mean(chips, words):
    frame = sweep([0, 10, 20], chips=chips)
    frame[NAME], frame[UNIT], frame[HIGHER] = "cross entropy", "nat", False
    counted = ["n_correct", "n_lost", "n_gained", "accuracy", "digital_accuracy", "ideal_accuracy"]
    frame[counted] = frame[counted].mask(frame["seed"] >= 0)
    (sentence,) = said(frame).sentences
    assert words in sentence
    assert "yield" not in sentence
    assert "points below" not in sentence
    assert "nat" in sentence
    assert any("yield_drop=VALUE" in note for note in said(frame).notes)


def test_an_axis_is_not_turned_round_by_the_noise_of_its_means():
    (sentence,) = said(sweep([2, 2, 1])).sentences  # the last mean is higher, well within the intervals
    assert "drift.relative_drift up to" in sentence or "drift.relative_drift = 0, the best level:" in sentence
    assert "down to" not in sentence
