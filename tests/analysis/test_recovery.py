"""Shares of the lost score that calibrations recover, on frames whose every chip is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import rramsweep as rs
from rramsweep.analysis.frames import join
from rramsweep.analysis.recovery import ALONE, SMALL, UNPAIRED, has_recovered, ratio_interval, recovered
from tests.analysis.test_frames import facts, failed, ok, point

IMAGES, DIGITAL = 100, 90


def frame_of(points, swept=("calibration",)):
    """A point for each `(calibration, params): losses`, its seeds counted from 0; None is a failed chip."""
    made, rows = [], []
    for i, ((method, params), lost) in enumerate(points):
        made.append(point(f"p{i}", dict(params), calibration=method))
        for seed, loss in enumerate(lost):
            row = failed(f"p{i}", seed) if loss is None else ok(f"p{i}", seed, DIGITAL - loss, IMAGES, DIGITAL)
            if loss is not None and method != "none":
                row |= {"calibration.extra_parameters": 10 + seed, "calibration.extra_macs": 100}
                row |= {"calibration.seconds": 0.5 + seed}
            rows.append(row)
    return join(made, facts(*rows), list(swept))


def two(none, moments, images=50):
    return frame_of([(("none", {}), none), (("moments", {"calibration.images": images}), moments)])


# -- numbers


def test_equal_chips_have_an_interval_of_no_width():
    row = recovered(two([20, 20, 20], [5, 5, 5])).iloc[0]
    assert row[["n", "lost_mean", "recovered_mean"]].tolist() == pytest.approx([3, 0.2, 0.15])
    assert row[["recovered_share", "share_low", "share_high"]].tolist() == pytest.approx([0.75] * 3)
    assert pd.isna(row["reason"])


def test_a_constant_share_of_unequal_losses_has_an_interval_of_no_width():
    """Half of 10, 30 and 20: the ratio of any resample is a half, whatever chips are in it."""
    row = recovered(two([10, 30, 20, 24], [5, 15, 10, 12])).iloc[0]
    assert row[["recovered_share", "share_low", "share_high"]].tolist() == pytest.approx([0.5] * 3)
    assert row["lost_low"] < row["lost_mean"] == pytest.approx(0.21)


def test_it_is_a_ratio_of_means_and_no_mean_of_ratios():
    """1 of 2 and 36 of 38 recovered: 37/40 of both; the mean of 1/2 and 36/38 would be 0.72."""
    row = recovered(two([2, 38] * 4, [1, 2] * 4)).iloc[0]
    assert row["recovered_share"] == pytest.approx(37 / 40)


def test_the_interval_of_two_pairs_is_that_of_either_pair():
    """Resamples of two chips are one of them twice in a quarter of all each: far more than 2.5 %."""
    assert ratio_interval(np.array([1.0, 6.0]), np.array([2.0, 8.0])) == (0.5, 0.75)


def test_the_interval_is_that_of_many_resamples_by_hand():
    rng = np.random.default_rng(3)
    lost = rng.normal(0.2, 0.05, 12)
    gain = 0.7 * lost + rng.normal(0, 0.02, 12)
    draws = np.random.default_rng(9).integers(0, 12, (200_000, 12))
    by_hand = np.quantile(gain[draws].mean(1) / lost[draws].mean(1), [0.025, 0.975])
    assert ratio_interval(gain, lost) == pytest.approx(tuple(by_hand), abs=0.004)


def test_pairing_is_by_seed():
    """The same losses in another order of chips give the same share, and a wider interval."""
    none = [10, 15, 30, 40]
    paired, mixed = (recovered(two(none, after)).iloc[0] for after in ([5, 8, 15, 20], [20, 15, 8, 5]))
    assert paired["recovered_share"] == pytest.approx(mixed["recovered_share"])
    assert mixed["share_high"] - mixed["share_low"] > 5 * (paired["share_high"] - paired["share_low"])


@pytest.mark.parametrize("n", [10, 30])
def test_the_interval_covers(n):
    """About the coverage that the docstring states, over 400 data sets."""
    rng, hits = np.random.default_rng(n), 0
    for _ in range(400):
        lost = rng.normal(0.1, 0.04, n)
        low, high = ratio_interval(0.8 * lost + rng.normal(0, 0.01, n), lost)
        hits += low <= 0.8 <= high
    assert 0.86 < hits / 400 <= 0.98


def test_only_chips_that_finished_on_both_sides_count():
    row = recovered(two([20, None, 20, 22], [10, 10, None, 11])).iloc[0]
    assert row["n"] == 2
    assert row["recovered_share"] == pytest.approx(0.5)
    assert row["extra_parameters"] == 13


def test_costs_and_worst_chips():
    row = recovered(two([20, 24, 40], [5, 5, 9])).iloc[0]
    assert row[["extra_parameters", "extra_macs", "images"]].tolist() == [12, 100, 50]
    assert row["seconds"] == pytest.approx(1.5)
    assert row[["worst_baseline", "worst"]].tolist() == pytest.approx([0.50, 0.81])


def test_the_worst_chip_of_an_error_is_the_largest():
    frame = two([20, 24, 40], [5, 5, 9])
    frame = frame.assign(**{"metric.name": "error", "metric.unit": "", "metric.higher_is_better": False})
    counted = ["n_correct", "n_lost", "n_gained", "accuracy", "digital_accuracy", "ideal_accuracy"]
    frame = frame.assign(**{name: pd.array([None] * len(frame), dtype=frame[name].dtype) for name in counted})
    frame = frame.assign(score=1 - frame["score"], digital_score=1 - frame["digital_score"])
    frame.attrs["swept"] = ["calibration"]
    row = recovered(frame).iloc[0]
    assert row[["worst_baseline", "worst"]].tolist() == pytest.approx([0.50, 0.19])
    assert row["recovered_share"] == pytest.approx(1 - 19 / 84)


# -- no share


@pytest.mark.parametrize(
    ("none", "moments", "reason"),
    [
        ([0, 1, -1, 0], [0, 0, 0, 0], SMALL),
        ([0, 40], [0, 1], SMALL),
        ([-5, -5, -4], [0, 0, 0], SMALL),
        ([0, 0, 0], [0, 0, 0], SMALL),
        ([20], [5], ALONE),
        ([20, None], [None, 5], UNPAIRED),
    ],
)
def test_of_nothing_lost_no_share_is_recovered(none, moments, reason):
    row = recovered(two(none, moments)).iloc[0]
    assert row[["recovered_share", "share_low", "share_high"]].isna().all()
    assert row["reason"] == reason


# -- groups


def grid():
    """Drift 0.1 and 0.3, each without and with two methods, one of them with two numbers of images."""
    points = []
    for drift, lost in ((0.1, [12, 12, 12]), (0.3, [40, 44, 48])):
        level = {"drift.relative_drift": drift}
        points += [(("none", level), lost)]
        points += [
            (("moments", {**level, "calibration.images": n}), [x // k for x in lost]) for n, k in ((10, 2), (50, 4))
        ]
    return frame_of(points, ("calibration", "drift.relative_drift", "calibration.images"))


def test_parameters_of_the_method_are_not_matched_and_all_others_are():
    table = recovered(grid())
    assert table["drift.relative_drift"].tolist() == [0.1, 0.1, 0.3, 0.3]
    assert table["calibration.images"].tolist() == [10, 50, 10, 50]
    assert table["lost_mean"].tolist() == pytest.approx([0.12, 0.12, 0.44, 0.44])
    assert table["recovered_share"].tolist() == pytest.approx([0.5, 0.75, 0.5, 0.75])


def test_another_baseline_may_name_more_columns():
    rows = [(("none", {"mapping.copies": 1}), [20, 20]), (("none", {"mapping.copies": 4}), [10, 10])]
    rows += [(("moments", {"mapping.copies": 4, "calibration.images": 9}), [4, 4])]
    frame = frame_of(rows, ("calibration", "mapping.copies"))
    assert recovered(frame)["recovered_share"].tolist() == pytest.approx([0.6])
    table = recovered(frame, baseline={"calibration": "none", "mapping.copies": 1})
    assert table["recovered_share"].tolist() == pytest.approx([0.5, 0.8])
    assert table.attrs["baseline"] == {"calibration": "none", "mapping.copies": 1}


def test_a_level_whose_baseline_has_not_run_has_a_reason():
    frame = grid()
    table = recovered(frame[~((frame["calibration"] == "none") & (frame["drift.relative_drift"] == 0.3))])
    assert table["reason"].fillna("").tolist() == ["", "", UNPAIRED, UNPAIRED]
    assert table["n"].tolist() == [3, 3, 0, 0]


@pytest.mark.parametrize(
    ("frame", "arguments", "message"),
    [
        (
            grid().query("calibration != 'none'"),
            {},
            "recovered needs rows of its baseline calibration='none', got none",
        ),
        (grid().query("calibration == 'none'"), {}, "recovered needs rows beside its baseline calibration='none'"),
        (grid(), {"baseline": {}}, "baseline must be a dict"),
        (
            grid(),
            {"baseline": {"calibration": "moments"}},
            "must be one group of each condition, but calibration='moments'",
        ),
        (grid(), {"by": ["calibration"]}, "a group of chips must hold one point"),
        (grid(), {"by": ["calibratoin"]}, "columns must be in the frame, got 'calibratoin'"),
    ],
)
def test_refusals(frame, arguments, message):
    with pytest.raises(ValueError, match=message) as refused:
        rs.recovered(frame, **arguments)
    assert "\n" not in str(refused.value)


def test_frames_that_hold_both():
    frame = grid()
    assert has_recovered(frame)
    assert not has_recovered(frame[frame["calibration"] == "none"])
    assert not has_recovered(frame[frame["calibration"] != "none"])
    assert not has_recovered(pd.concat([frame[frame["calibration"] == "none"], two([None], [None])]))
