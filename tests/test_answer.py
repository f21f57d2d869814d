"""The answer's sentences, on frames whose every chip is known: bounds by closed form, words by what they claim."""

import pandas as pd
import pytest

from rramsweep.answer import answer
from rramsweep.frames import join
from rramsweep.scores import HIGHER, NAME, UNIT
from rramsweep.summary import summarize
from tests.test_frames import facts, failed, ok, point

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
    return answer(frame, summary, axes)


def test_the_share_named_is_the_lower_bound_rounded_down_and_never_the_share_seen():
    """No failure in 50 shows 0.05 ** (1 / 50) = 94.18 %; one shows 90.86 %, four 83 %."""
    (sentence,) = said(sweep([0, 1, 4])).sentences
    assert "drift.relative_drift up to 0.1: at least 90 % of chips stay at most 2 points below digital" in sentence
    assert "lower 95 % bound over 50 chips a level of this network on these 100 images" in sentence
    assert sentence.endswith("the next level, 0.2, shows at least 82 %.")
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
    assert "already this first level is not shown to keep 90 % of chips" in sentence
    assert "it shows at least 11 %" in sentence  # 10 of 50: 11.3 %
    assert "up to" not in sentence


def test_few_chips_claim_what_they_can_and_say_so():
    found = said(sweep([0, 0, 1], chips=5))
    assert "up to 0.1: at least 54 % of chips" in found.sentences[0]  # 0.05 ** (1 / 5)
    assert any("5 chips without a failure can show 54 % and no more; 29 show 90 %" in note for note in found.notes)


def test_an_axis_on_which_less_is_worse_is_read_from_its_good_end():
    (sentence,) = said(sweep([50, 30, 0], column="device.levels", levels=(4.0, 8.0, 16.0)), ["device.levels"]).sentences
    assert "device.levels = 16: at least 94 %" in sentence
    assert "the next level, 8, shows at least" in sentence
    (sentence,) = said(sweep([50, 0, 0], column="device.levels", levels=(4.0, 8.0, 16.0)), ["device.levels"]).sentences
    assert "device.levels down to 8: at least" in sentence


def test_units_stand_behind_levels():
    (sentence,) = said(sweep([0, 0, 9], column="t_s", levels=(0.0, 10.0, 100.0)), ["t_s"]).sentences
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
    assert second.startswith("other, drift.relative_drift = 0: already")


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
