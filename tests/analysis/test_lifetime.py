"""Times to failure, against trajectories made by hand and Kaplan-Meier worked out on paper."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from rramsweep.analysis.frames import join
from rramsweep.analysis.lifetime import time_to_failure
from tests.analysis.test_frames import facts, failed, ok, point

# Of 10 images, digital 8 right; with the default yield_drop of 0.02 a good chip has 8.
G, B, F = 8, 7, None


def trajectories(*chips, times=(1.0, 10.0, 100.0), more=()):
    """One curve `a`, a chip for each row of counts at `times` (None: a failed trial, -1: not read)."""
    points, rows = [], []
    for name, curve in {"a": chips, **dict(more)}.items():
        points += [point(f"{name}{t}", {"t_s": t, "device.x": ord(name)}) for t in times]
        rows += [
            failed(f"{name}{t}", seed) if count is None else ok(f"{name}{t}", seed, count)
            for seed, counts in enumerate(curve)
            for t, count in zip(times, counts, strict=True)
            if count != -1
        ]
    return join(points, facts(*rows), ["t_s", *(["device.x"] if more else [])])


def test_the_median_life_by_hand():
    """Four chips fail at 1, 10, 10 and never: S is 0.75 at 1 s and 0.25 at 10 s."""
    row = time_to_failure(trajectories((B, B, B), (G, B, B), (G, B, G), (G, G, G))).iloc[0]
    assert (row["n"], row["n_censored"], row["last_s"], row["life_s"]) == (4, 1, 100.0, 10.0)


def test_a_share_at_the_target_is_not_below_it():
    frame = trajectories((G, B, B), (G, G, B))
    assert time_to_failure(frame, yield_target=0.5)["life_s"].item() == 100.0
    assert time_to_failure(frame, yield_target=0.51)["life_s"].item() == 10.0
    assert time_to_failure(frame, yield_target=1)["life_s"].item() == 10.0


def test_chips_that_never_fail_give_no_time():
    row = time_to_failure(trajectories((G, G, G), (G, G, G)), yield_target=1.0).iloc[0]
    assert row["n_censored"] == 2
    assert row[["life_s", "life_low_s", "life_high_s"]].isna().all()


def test_recovery_does_not_undo_a_failure():
    assert time_to_failure(trajectories((G, B, G)), yield_target=1)["life_s"].item() == 10.0


@pytest.mark.parametrize("gap", [F, -1])
def test_a_chip_that_was_not_read_is_censored_there_and_not_good_after(gap):
    """At 10 s two of three chips are watched, one fails: S = 1/2, at 100 s the other: 0. Counted as good: 2/3."""
    frame = trajectories((G, gap, G), (G, B, B), (G, G, B))
    assert time_to_failure(frame, yield_target=0.6)["life_s"].item() == 10.0
    assert time_to_failure(frame)["n_censored"].item() == 1


@pytest.mark.parametrize("gap", [F, -1])
def test_a_chip_that_was_not_read_at_first_does_not_count(gap):
    assert time_to_failure(trajectories((gap, G, G), (G, G, B)))["n"].item() == 1


def test_a_curve_for_each_other_column():
    table = time_to_failure(trajectories((G, B, B), more={"b": [(G, G, B)]}))
    assert table["device.x"].tolist() == [ord("a"), ord("b")]
    assert table["life_s"].tolist() == [10.0, 100.0]
    assert table.attrs == {"by": ["device.x"], "yield_target": 0.5, "yield_drop": 0.02}


def life(*chips, target, **given):
    return time_to_failure(trajectories(*chips, **given), yield_target=target).iloc[0]


@pytest.mark.parametrize(("n", "bound"), [(40, 0.0881), (5, 0.5218)])
def test_where_no_chip_is_left_the_upper_end_is_the_exact_bound_of_none_in_n(n, bound):
    """``1 - 0.025 ** (1 / n)``, as Clopper and Pearson have it; scipy's binomial test is the second opinion."""
    assert stats.binomtest(0, n).proportion_ci().high == pytest.approx(bound, abs=1e-4)
    dead = [(B, B, B)] * n
    assert life(*dead, target=bound + 1e-3)["life_high_s"] == 1.0
    assert np.isnan(life(*dead, target=bound - 1e-3)["life_high_s"])


def test_where_every_chip_is_left_the_lower_end_is_the_exact_bound_of_all_in_n():
    """5 chips show 0.025 ** (1 / 5) = 47.8 % and no more, so to keep 90 % they show no time at all, 40 show 91.2 %."""
    few, many = [(G, G, B)] * 5, [(G, G, B)] * 40
    assert np.isnan(life(*few, target=0.9)["life_low_s"])
    assert life(*few, target=0.9, times=(0.0, 1.0, 10.0))["life_low_s"] == 0
    assert life(*few, target=0.47)["life_low_s"] == 100.0
    assert life(*many, target=0.9)["life_low_s"] == 100.0


def test_chips_that_were_not_read_up_to_a_time_show_nothing_of_it():
    """Of 4 good chips at 1 s, 2 are read at 10 s and both fail: bound 1 - 0.025 ** (1 / 2) = 84.2 %, not 60.2 %."""
    half = [(G, B, B)] * 2 + [(G, -1, B)] * 2
    assert np.isnan(life(*half, target=0.8)["life_high_s"])
    assert life(*half, target=0.85)["life_high_s"] == 10.0


@pytest.mark.parametrize("n", [5, 40])
@pytest.mark.parametrize("target", [0.5, 0.9])
@pytest.mark.parametrize("pace", [0.02, 0.2, 1.5])
def test_both_ends_cover_where_chips_fail_between_two_times(n, target, pace):
    """Exponential lives of mean 1 read at times from ``pace`` on, coarse enough that all or none may be left.

    Each end is to be beyond the true time in at most 2.5 %; Greenwood's log-log ends, between S = 0 and 1, are
    approximate, and 5 % are allowed, with three standard errors of 200 experiments: 9.6 %.
    """
    rng, times = np.random.default_rng(1), pace * np.array([0.0, 1.0, 2.0, 4.0])
    true = next(iter(times[np.exp(-times) < target]), np.inf)
    table = time_to_failure(_experiments(rng.exponential(size=(200, n)), times), yield_target=target)
    early = int((table["life_low_s"].fillna(np.inf) > true).sum())
    late = int((table["life_high_s"].fillna(np.inf) < true).sum())
    assert len(table) == 200
    assert max(early, late) / 200 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def test_what_fails_at_the_first_time_has_no_lower_end_unless_that_is_0():
    dead = [(B, B, B)] * 5
    assert np.isnan(time_to_failure(trajectories(*dead)).iloc[0]["life_low_s"])
    assert time_to_failure(trajectories(*dead, times=(0.0, 1.0, 10.0))).iloc[0]["life_low_s"] == 0


def test_another_yield_drop_counts_other_chips_as_good():
    assert time_to_failure(trajectories((G, B, B)), yield_drop=0.1)["n_censored"].item() == 1


def test_the_interval_covers_the_true_median():
    """Exponential lives, 40 chips read at 20 times until past the median, 100 experiments.

    Greenwood's log-log interval is to hold 95 %; three standard errors of 100 draws are 6.5 points.
    """
    rng, times = np.random.default_rng(0), np.linspace(0.1, 2.0, 20)
    median = np.log(2)
    first_after = times[np.searchsorted(times, median)]
    table = time_to_failure(_experiments(rng.exponential(size=(100, 40)), times))
    held = (table["life_low_s"] <= first_after) & (first_after <= table["life_high_s"].fillna(np.inf))
    assert len(table) == 100
    assert held.mean() > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 100)


def _experiments(lives, times):
    """A frame with a curve for each row of lives: each is computed by itself, and one frame is read once."""
    good = (times[:, None] < lives[:, None]).ravel()
    right = np.where(good, G, B)
    one = trajectories(*[[G] * len(times)] * lives.shape[1], times=tuple(times), more={"b": ()})
    frame = pd.concat([one] * len(lives), ignore_index=True)
    number = np.repeat(np.arange(len(lives)), len(one))
    frame["point_id"] += pd.Series(number).astype(str)
    changed = {"device.x": number, "n_correct": right, "n_lost": 8 - right, "score": right / 10, "accuracy": right / 10}
    frame = frame.assign(**changed)
    frame.attrs = one.attrs
    return frame


def test_the_curve_is_kaplan_and_meiers():
    """Freireich's leukaemia remissions (6-MP arm, weeks): the textbook median is 23; 9 of 21 relapsed."""
    weeks = [6, 6, 6, 7, 10, 13, 16, 22, 23]
    watched = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    times = sorted({0.0, *map(float, weeks), *map(float, watched)})
    rows = [[G if t < w else B for t in times] for w in weeks] + [[G if t <= w else -1 for t in times] for w in watched]
    row = time_to_failure(trajectories(*rows, times=times)).iloc[0]
    assert (row["n"], row["n_censored"], row["life_s"]) == (21, 12, 23.0)
    assert row["life_low_s"] == 13.0
    assert np.isnan(row["life_high_s"])
    assert stats.ecdf(stats.CensoredData.right_censored([*weeks, *watched], [0] * 9 + [1] * 12)).sf.evaluate(
        23
    ) == pytest.approx(0.4482, abs=1e-4)


@pytest.mark.parametrize(
    ("frame", "given", "says"),
    [
        (trajectories((G, B, B)), {"yield_target": 0}, r"yield_target must lie above 0 .* got 0: 0.9"),
        (trajectories((G, B, B)), {"yield_target": 1.5}, r"got 1.5"),
        (trajectories((G,), times=(1.0,)), {}, r"two or more times, got fewer: sweep t_s"),
        (trajectories((G, B, B)), {"by": ["t"]}, r"got 't'"),
        (trajectories((G, B, B), more={"b": [(G, G, B)]}), {"by": []}, r"holds 2, which differ in device.x"),
        (
            trajectories((G, B, B)).assign(**{"metric.unit": "nat"}),
            {},
            r"accuracy \(nat\) has no yield of its own",
        ),
    ],
)
def test_bad_input_is_refused(frame, given, says):
    with pytest.raises(ValueError, match=says):
        time_to_failure(frame, **given)
