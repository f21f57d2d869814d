"""Enough chips, and not more: where a point stops, and that nothing but its own chips decides."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.text import Text
from scipy import stats

import rramsweep as rs
from rramsweep.intervals import betting_interval
from rramsweep.study.settings import Settings
from rramsweep.study.stopping import Fixed, Interval

RULE = Interval(half_width=0.01, min_chips=10, max_chips=60, batch=5)


def by_definition(x, rule):
    """The first boundary whose interval is narrow, written out."""
    for n in [*range(rule.min_chips, rule.max_chips, rule.batch), rule.max_chips]:
        low, high = stats.t.interval(0.95, n - 1, np.mean(x[:n]), stats.sem(x[:n]))
        if (high - low) / 2 <= rule.half_width:
            return n, "interval"
    return rule.max_chips, "cap"


@pytest.mark.parametrize("spread", [0.005, 0.015, 0.03, 0.045, 0.2])
def test_stops_at_the_first_boundary_that_is_narrow_enough(spread):
    x = list(0.8 + spread * np.random.default_rng(3).standard_normal(60))
    assert RULE.decide(x, 60) == by_definition(x, RULE)


def test_what_comes_later_changes_nothing():
    x = list(0.8 + 0.02 * np.random.default_rng(3).standard_normal(60))
    n, _ = RULE.decide(x, 60)
    assert n < 60
    assert RULE.decide(x[:n], 60) == (n, "interval")
    assert RULE.decide([*x[:n], *[0.0] * (60 - n)], 60) == (n, "interval")
    assert RULE.decide(x[: n - 1], 60) is None


def test_looks_are_batch_boundaries_up_to_the_cap():
    looks = [0]
    while looks[-1] < 60:
        looks.append(RULE.next_check(looks[-1], 60))
    assert looks == [0, *range(10, 65, 5)]
    assert RULE.next_check(12, 60) == 15
    assert RULE.next_check(0, 7) == 7


def test_chips_that_all_agree_stop_no_sooner_than_twice_the_least():
    assert RULE.decide([0.8] * 15, 60) is None
    assert RULE.decide([0.8] * 20, 60) == (20, "interval")


def test_failed_chips_count_as_chips_but_not_as_values():
    x = list(0.8 + 0.001 * np.random.default_rng(3).standard_normal(60))
    x[3] = None
    assert RULE.decide(x, 60) == (10, "interval")
    assert RULE.decide([None] * 60, 60) == (60, "cap")


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.2])
def test_with_the_anytime_interval_it_stops_where_that_is_narrow_enough(spread):
    rule = Interval(half_width=0.1, min_chips=10, max_chips=150, batch=7)
    x = list(np.clip(0.8 + spread * np.random.default_rng(3).standard_normal(150), 0, 1))
    narrow = [np.ptp(betting_interval(np.array([x[:n]]))) <= 0.2 for n in range(1, 151)]
    expected = next(((n, "interval") for n in [*range(10, 150, 7), 150] if narrow[n - 1]), (150, "cap"))
    assert rule.decide(x, 150, "anytime") == expected
    n, _ = expected
    assert rule.decide(x[:n], 150, "anytime") == expected
    assert rule.decide(x[: n - 1], 150, "anytime") is None
    assert rule.decide([*x[:n], None, *x[n + 1 :]], 150, "anytime") == expected
    assert rule.decide([*x[: n - 1], None, *x[n:]], 150, "anytime") == (150, "cap")


def test_fixed_takes_all():
    assert Fixed().decide([0.5] * 9, 10) is None
    assert Fixed().decide([0.5] * 10, 10) == (10, "fixed")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"half_width": 0.0}, "half_width must lie above 0"),
        ({"half_width": -1.0}, "half_width must lie above 0"),
        ({"half_width": float("nan")}, "half_width must lie above 0"),
        ({"min_chips": 1}, "min_chips must be at least 2"),
        ({"min_chips": 50, "max_chips": 40}, "min_chips must not exceed max_chips"),
        ({"batch": 0}, "batch must be at least 1"),
    ],
)
def test_refuses(arguments, says):
    with pytest.raises(ValueError, match=says):
        Interval(**arguments)


SWEEP = ["model=digits_mlp", "data=digits", "data.limit=100", "drift.relative_drift=0.1,0.5"]
STOP = ["stopping=interval", "stopping.min_chips=4", "stopping.max_chips=24", "stopping.batch=4"]
WIDTH = "stopping.half_width=0.01"


def test_a_sweep_stops_each_point_by_itself_whatever_else_is_stored(workdir):
    frame = rs.sweep([*SWEEP, *STOP, WIDTH, "store=a"])
    n = frame.groupby("drift.relative_drift").size()
    assert n[0.1] < n[0.5]
    for level, mine in frame.groupby("drift.relative_drift"):
        expected = Interval(0.01, 4, 24, 4).decide([*mine.accuracy, *[0.0] * 24], 24)
        assert (len(mine), mine["stopping.ended"].iloc[0]) == expected, level
    # A store with more chips, in shards or all at once, gives the same rows.
    rs.sweep([*SWEEP, "chips=24", "store=b"])
    same = rs.sweep([*SWEEP, *STOP, WIDTH, "store=b"])
    assert same[["point_id", "seed", "accuracy"]].equals(frame[["point_id", "seed", "accuracy"]])


def test_a_point_at_the_cap_says_so(workdir, capsys):
    from rramsweep.cli.main import main

    main(["-m", *SWEEP[:-1], "drift.relative_drift=0.4,0.5", *STOP, "stopping.half_width=0.0001"])
    folder = next((workdir / "outputs" / "sweep").iterdir())
    frame = rs.load(folder)
    assert (frame["stopping.ended"] == "cap").all()
    assert "cap" in capsys.readouterr().out
    assert "cap" in (folder / "summary.csv").read_text()


def test_the_kind_of_interval_is_the_sweeps_and_part_of_no_point(workdir, capsys):
    from rramsweep.cli.main import main

    stop = ["stopping=interval", "stopping.min_chips=4", "stopping.max_chips=60", "stopping.half_width=0.2"]
    main(["-m", *SWEEP[:-1], "drift.relative_drift=0.4,0.5", *stop, "stopping.batch=4", "interval=anytime"])
    assert "mean with 95 % anytime interval over chips" in capsys.readouterr().out
    folder = next((workdir / "outputs" / "sweep").iterdir())
    frame, page = rs.load(folder), (folder / "report.html").read_text()
    summary = rs.summarize(frame)
    assert set(summary["interval"]) == {"anytime"}
    assert ((summary["score_high"] - summary["score_low"]) / 2 <= 0.2).all()
    assert "until the 95 % anytime interval of the mean is at most 20 percentage points either side" in page
    assert "intervals of other numbers than the mean take it as fixed" in page
    assert "anytime" in (folder / "summary.csv").read_text()
    figure = rs.plot_robustness(frame, "drift.relative_drift").figure
    assert any("mean with 95 % anytime interval over" in text.get_text() for text in figure.findobj(Text))
    same = rs.sweep([*SWEEP[:-1], "drift.relative_drift=0.4,0.5", f"chips={summary['n'].max()}"])
    assert same["point_id"].unique().tolist() == frame["point_id"].unique().tolist()
    assert set(rs.summarize(same)["interval"]) == {"t"}


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["interval=wilson"], "interval must be one of t, anytime, got 'wilson': pick one"),
        (["interval=anytime", "metric=cross_entropy"], "interval must be t for scores whose range is not 0..1"),
        (["interval=t,anytime"], "an axis must be a config group"),
    ],
)
def test_a_kind_of_interval_that_cannot_be_is_refused_before_any_chip(workdir, overrides, says):
    with pytest.raises(ValueError, match=f"^{says}") as caught:
        rs.sweep([*SWEEP, *overrides])
    assert "\n" not in str(caught.value)
    assert not (workdir / "outputs").exists()


def test_settings_of_before_there_was_a_choice_have_the_t_interval():
    document = Settings(interval="anytime").document()
    assert Settings.read(document).interval == "anytime"
    del document["interval"]
    assert Settings.read(document) == Settings()


def test_shards_keep_a_point_whole(workdir):
    from rramsweep.cli.main import main

    main(["-m", *SWEEP, *STOP, WIDTH, "shards=2", "store=a"])
    sharded = rs.load(next((workdir / "outputs" / "sweep").iterdir()))
    same = rs.sweep([*SWEEP, *STOP, WIDTH, "store=b"])
    assert sharded[["point_id", "seed", "accuracy"]].equals(same[["point_id", "seed", "accuracy"]])
