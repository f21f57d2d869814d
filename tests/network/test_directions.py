"""Scores of any metric in summaries, comparisons, stopping and plots: the better end is where the metric says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from rramsweep.analysis.comparison import compare
from rramsweep.analysis.frames import check, join, read, write
from rramsweep.analysis.schema import COUNTED, FACTS, OF_LOGITS
from rramsweep.analysis.summary import summarize
from rramsweep.reporting.robustness_plot import plot_robustness
from rramsweep.scale import Scale
from rramsweep.study.stopping import Interval
from tests.analysis.test_frames import facts, failed, ok, point

DRIFT = "drift.relative_drift"
MSE = Scale("mean squared error", "K^2", False)
MINUS = Scale("minus mean squared error", "K^2", True)
SCORES = st.lists(st.floats(0.01, 100), min_size=2, max_size=80)


def scored(cells, metric=MSE, digital=1.0):
    """A point for each `drift: scores` (None: a failed chip) of one metric that counts nothing."""
    points, rows = [], []
    for i, (drift, scores) in enumerate(cells.items()):
        points.append(point(f"{metric.name}{i}", {DRIFT: drift} | metric.columns, metric="custom"))
        for seed, score in enumerate(scores):
            name = f"{metric.name}{i}"
            row = failed(name, seed) if score is None else ok(name, seed, 8)
            if score is not None:
                row |= dict.fromkeys((*COUNTED, *OF_LOGITS))
                row |= {"score": score, "digital_score": digital, "ideal_score": digital}
            rows.append(row)
    return join(points, facts(*rows), [DRIFT])


def mirrored(cells, digital=1.0):
    return scored({k: [-s for s in v] for k, v in cells.items()}, MINUS, -digital)


# -- the table


def test_a_row_that_counts_nothing_is_a_row(tmp_path):
    frame = scored({0.1: [2.0, None, 1.5]})
    assert check(frame) is frame
    write(frame, tmp_path / "r.parquet")
    pd.testing.assert_frame_equal(read(tmp_path / "r.parquet"), frame)
    assert frame[[*COUNTED, *OF_LOGITS]].isna().all().all()


def test_counts_come_all_together_or_not_at_all():
    frame = scored({0.1: [2.0, 1.5]})
    frame.loc[1, "n_correct"] = 3
    with pytest.raises(ValueError, match="n_lost must not be null in a row of right and wrong inputs"):
        check(frame)


def test_frames_of_two_metrics_concatenate_and_are_never_pooled():
    both = pd.concat([scored({0.1: [2.0, 1.5]}), mirrored({0.1: [2.0, 1.5]})], ignore_index=True)
    check(both)
    with pytest.raises(ValueError, match="which differ in metric.name: add it to by"):
        summarize(both, [DRIFT])
    table = summarize(both, ["metric.name"])
    assert table["score_mean"].tolist() == [1.75, -1.75]
    both.attrs.clear()
    assert summarize(both).attrs["by"] == ["metric.name", "metric.higher_is_better"]
    with pytest.raises(ValueError, match=r"a plot must be of one metric, got mean squared error \(K²\), minus"):
        plot_robustness(both, DRIFT, "metric.name", ax=Figure().subplots())


# -- summaries


def test_three_chips_by_hand():
    """Errors 2, 1, 3 against a digital 1: two are at most 1 above it, and none of the accuracies is there."""
    row = summarize(scored({0.1: [2.0, 1.0, 3.0]}), yield_drop=1.0).iloc[0]
    assert row[["score_mean", "score_std", "score_min", "score_max"]].tolist() == [2, 1, 1, 3]
    assert row["score_high"] == pytest.approx(2 + 4.302652730 / np.sqrt(3))
    assert row["se_chips"] == pytest.approx(1 / np.sqrt(3))
    assert row[["q05", "q50", "q95"]].tolist() == pytest.approx([1.1, 2, 2.9])
    assert row["yield_share"] == pytest.approx(2 / 3)
    assert row[["digital_score", "ideal_score"]].tolist() == [1, 1]
    accuracies = [name for name in row.index if "accuracy" in name]
    assert len(accuracies) == 8
    assert row[[*accuracies, "se_images"]].isna().all()
    assert row[list(MSE.columns)].tolist() == list(MSE.columns.values())


def test_accuracies_stand_under_both_names():
    frame = join([point("a")], facts(*(ok("a", s, n) for s, n in enumerate((8, 7, 9)))), [])
    row = summarize(frame).iloc[0]
    for name in ("mean", "low", "high", "std", "min"):
        assert row[f"accuracy_{name}"] == row[f"score_{name}"]
    assert row["digital_accuracy"] == row["digital_score"] == 0.8


def test_without_a_drop_only_a_fraction_has_a_yield():
    yields = ["yield_share", "yield_low", "yield_high", "yield_bound"]
    frame = scored({0.1: [2.0, 1.0]})
    assert summarize(frame)[yields].isna().all().all()
    assert summarize(frame).attrs["yield_drop"] is None
    share = scored({0.1: [0.79, 0.77]}, Scale("F1", "fraction", True), digital=0.8)
    table = summarize(share)
    assert (table["yield_share"].tolist(), table.attrs["yield_drop"]) == ([0.5], 0.02)
    mixed = summarize(pd.concat([frame, share], ignore_index=True), ["metric.name"])
    assert mixed["yield_share"].tolist() == pytest.approx([np.nan, 0.5], nan_ok=True)
    with pytest.raises(ValueError, match="yield_drop must be in the unit of one metric"):
        summarize(pd.concat([frame, share], ignore_index=True), ["metric.name"], yield_drop=0.1)
    frame.attrs["yield_drop"] = 0.5
    assert summarize(frame)["yield_share"].tolist() == [0.5]


def test_a_chip_exactly_at_the_drop_is_good():
    assert summarize(scored({0.1: [1.1 + 2.2]}, digital=1.1), yield_drop=2.2)["yield_share"].tolist() == [1]
    assert summarize(scored({0.1: [0.3]}, digital=0.1), yield_drop=0.2)["yield_share"].tolist() == [1]


@settings(max_examples=30)
@given(SCORES, st.floats(0, 10))
def test_errors_and_minus_errors_tell_the_same(scores, drop):
    one = summarize(scored({0.1: scores}), yield_drop=drop).iloc[0]
    other = summarize(mirrored({0.1: scores}), yield_drop=drop).iloc[0]
    for name in ("n", "yield_share", "yield_low", "yield_high", "yield_bound", "score_std", "se_chips"):
        assert one[name] == pytest.approx(other[name])
    for name, mirror in (
        *(("score_mean", "score_mean"), ("score_low", "score_high"), ("score_min", "score_max")),
        *(("q05", "q95"), ("q25", "q75"), ("q50", "q50"), ("q95", "q05")),
        *(("q50_low", "q50_high"), ("q05_low", "q95_high"), ("q95_high", "q05_low"), ("tail", "tail")),
    ):
        assert one[name] == pytest.approx(-other[mirror], nan_ok=True), name


@settings(max_examples=20)
@given(SCORES, st.floats(0, 10), st.floats(0, 10))
def test_a_larger_drop_or_a_worse_digital_network_never_lowers_the_yield(scores, drop, more):
    def share(digital, allowed):
        return summarize(scored({0.1: scores}, digital=digital), yield_drop=allowed)["yield_share"].iloc[0]

    assert share(1.0, drop) <= share(1.0, drop + more)
    assert share(1.0, drop) <= share(1.0 + more, drop)


def test_the_upper_tails_bound_is_the_worst_of_59_chips_and_the_second_of_93():
    errors = np.random.default_rng(0).permutation(93) + 1.0
    for n, rank in ((58, None), (59, 1), (92, 1), (93, 2)):
        row = summarize(scored({0.1: errors[:n].tolist()})).iloc[0]
        assert row["q95_high"] == (np.sort(errors[:n])[-rank] if rank else pytest.approx(np.nan, nan_ok=True))


# -- comparisons


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=2, max_size=30))
def test_worse_is_where_the_metric_says(pairs):
    cells = {0.0: [a for a, _ in pairs], 0.1: [b for _, b in pairs]}
    one = compare(scored(cells), {DRIFT: 0.0}).iloc[1]
    other = compare(mirrored(cells), {DRIFT: 0.0}).iloc[1]
    assert one["worse_share"] == other["worse_share"] == np.mean([b > a for a, b in pairs])
    assert one["difference_mean"] == pytest.approx(np.mean([b - a for a, b in pairs]), abs=1e-9)
    assert one["difference_mean"] == pytest.approx(-other["difference_mean"])
    assert one["difference_low"] == pytest.approx(-other["difference_high"], nan_ok=True)
    assert one["correlation"] == pytest.approx(other["correlation"], nan_ok=True)


def test_a_cell_and_a_baseline_of_other_metrics_are_refused():
    both = pd.concat([scored({0.1: [2.0, 1.5]}), mirrored({0.1: [2.0, 1.5]})], ignore_index=True)
    message = r"must have one metric, got minus mean squared error \(K²\) against mean squared error \(K²\)"
    with pytest.raises(ValueError, match=message):
        compare(both, {"metric.name": MSE.name})
    assert compare(both, {DRIFT: 0.1}, ["metric.name"])["difference_mean"].tolist() == [0, 0]


# -- enough chips


def test_the_half_width_is_in_the_metrics_unit():
    rule = Interval(half_width=10.0, min_chips=10, max_chips=60, batch=5)
    x = list(500 + 20 * np.random.default_rng(3).standard_normal(60))
    small = Interval(half_width=0.01, min_chips=10, max_chips=60, batch=5)
    assert rule.decide(x, 60) == small.decide([value / 1000 for value in x], 60)
    assert rule.decide(x, 60)[1] == "interval"
    assert rule.decide(x, 60) == rule.decide([-value for value in x], 60)


def test_a_half_width_that_was_not_given_is_half_a_point():
    x = list(0.8 + 0.02 * np.random.default_rng(3).standard_normal(300))
    given, default = (Interval(width, 10, 300, 5) for width in (0.005, None))
    assert default.decide(x, 300) == given.decide(x, 300)
    default.check([Scale("a", "fraction", True)])
    with pytest.raises(ValueError, match="half_width must be given in the metric's unit, got none for mean squared"):
        default.check([MSE])
    given.check([MSE, MINUS])
    with pytest.raises(ValueError, match="half_width must be in the unit of one metric"):
        given.check([MSE, Scale("a", "fraction", True)])


# -- plots


def gid(ax, name):
    (artist,) = [artist for artist in ax.get_children() if artist.get_gid() == name]
    return artist


def test_errors_are_drawn_in_their_unit_with_the_limit_above():
    frame = scored({0.0: [1.0, 1.5, 2.0], 0.1: [2.0, 3.0, 4.0]})
    ax = plot_robustness(frame, DRIFT, ax=Figure(layout="constrained").subplots(), yield_drop=0.25)
    assert ax.get_ylabel() == "mean squared error (K²)"
    assert list(gid(ax, "mean:mean").get_ydata()) == [1.5, 3.0]
    assert list(gid(ax, "digital").get_ydata()) == [1, 1]
    assert list(gid(ax, "yield limit").get_ydata()) == [1.25, 1.25]
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert {"digital, ideal chip 1.000 K²", "yield limit 1.250 K²"} <= set(words)
    assert "on these 10 inputs" in gid(ax, "caption").get_text().replace("\n", " ")
    mirror = plot_robustness(
        mirrored({0.0: [1.0, 1.5, 2.0]}), DRIFT, ax=Figure(layout="constrained").subplots(), yield_drop=0.25
    )
    assert list(gid(mirror, "yield limit").get_ydata()) == [-1.25, -1.25]


def test_without_a_drop_there_is_no_limit_and_tiny_scores_are_told_apart():
    frame = scored({0.0: [1e-9, 2e-9], 0.1: [2e-9, 3e-9]}, digital=1e-9)
    frame["ideal_score"] = np.where(frame[DRIFT] == 0, 1e-9, 2e-9)
    ax = plot_robustness(frame, DRIFT, ax=Figure(layout="constrained").subplots())
    assert not [artist for artist in ax.get_children() if artist.get_gid() == "yield limit"]
    assert list(gid(ax, "ideal chip").get_ydata()) == [1e-9, 2e-9]


def test_every_fact_has_its_place():
    assert set(COUNTED) | set(OF_LOGITS) < set(FACTS)
