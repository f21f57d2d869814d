"""The table of `inspect`, its warnings, and what its plot draws."""

from __future__ import annotations

import itertools

import pandas as pd
import pytest
from matplotlib.figure import Figure

from rramsweep.analysis.layer_table import STEPS, layer_table, main_cause
from rramsweep.reporting.layer_plot import plot_inspect
from rramsweep.reporting.style import COLOURS


def row(layer, seed, error, weight_error=0.2, **facts):
    base = {"layer": layer, "seed": seed, "mvm_error": error, "weight_error": weight_error}
    shares = {"edge_share": 0.4, "pushed_share": 0.1, "stuck_share": 0.0, "saturated_share": 0.0}
    steps = dict.fromkeys(STEPS, 0.0) | {"by_relaxation": 0.3, "by_drift": 0.2}
    return {**base, **shares, **steps, "window_used": 0.5, "w_max_over_std": 4.0, **facts}


def two_points():
    low = [row("fc1", 0, 0.10), row("fc2", 0, None, 0.30), row("fc1", 1, 0.20), row("fc2", 1, None, 0.50)]
    high = [row("fc1", 0, 0.60), row("fc2", 0, None), row("fc1", 1, 0.80), row("fc2", 1, None)]
    labels = [{"drift.relative_drift": 0.1, "mapping": "differential"}, {"drift.relative_drift": 0.2, "mapping": "x"}]
    return layer_table([(labels[0], low), (labels[1], high)])


def test_one_row_a_point_and_layer_with_means_and_ends_over_chips():
    table = two_points()
    assert list(table)[:7] == [
        "drift.relative_drift",
        "mapping",
        "layer",
        "chips",
        "mvm_error",
        "mvm_error_min",
        "mvm_error_max",
    ]
    assert list(table["layer"]) == ["fc1", "fc2"] * 2  # the network's order
    assert list(table["drift.relative_drift"]) == [0.1, 0.1, 0.2, 0.2]
    first = table.iloc[0]
    assert (first["mvm_error"], first["mvm_error_min"], first["mvm_error_max"]) == pytest.approx((0.15, 0.1, 0.2))
    assert first["chips"] == 2
    assert table["mvm_error"].isna().tolist() == [False, True, False, True]
    assert table.iloc[1][["weight_error", "weight_error_min", "weight_error_max"]].tolist() == pytest.approx(
        [0.4, 0.3, 0.5]
    )


def sentence(*rows, labels=None):
    found = layer_table([(labels or {}, list(rows))]).attrs["warnings"]
    assert all("\n" not in text and ": " in text for text in found)
    return found


def test_a_sensible_setting_has_no_warning():
    assert sentence(row("a", 0, 0.4), row("a", 1, 0.4)) == []


@pytest.mark.parametrize(
    ("rows", "says", "remedy"),
    [
        ([row("a", 0, 0.42), row("b", 0, 0.3)], "the relative MVM error of layer a is 42 %", "measured device"),
        (
            [row("a", 0, 0.42)],
            r"mostly from relaxation \(30 %\) and drift \(20 %\): take",
            "smaller drift",
        ),
        (
            [row("a", 0, 0.42, by_mapping=0.9)],
            r"mostly from mapping and quantisation \(90 %\): give",
            "more levels",
        ),
        ([row("a", 0, 0.42, by_faults=0.9)], r"from stuck cells \(90 %\): lower the rates", "rates of faults"),
        ([row("a", 0, 0.42, by_read_noise=2.0)], r"from read noise \(200 %\)", "lower read_noise"),
        ([row("a", 0, 0.42, by_wires=0.9)], r"from wires \(90 %\)", "smaller tiles"),
        ([row("a", 0, 0.42, by_dac=0.9)], r"from the DAC \(90 %\): raise dac.bits", "dac.percentile"),
        ([row("a", 0, 0.42, by_iv=0.9)], r"from the I-V curve \(90 %\)", "lower iv.v_read_V"),
        ([row("a", 0, 0.42, by_adc=0.9)], r"from the ADC \(90 %\): raise adc.bits", "adc.per=column"),
        ([row("a", 0, 0.42, by_adc=0.9)], "drive fewer rows", "tile.rows_active"),
        ([row("a", 0, None, 0.6)], "the relative MVM error of layer a is 60 %", "measured device"),
        ([row("a", 0, 0.5), row("b", 0, 0.6)], "layer b is 60 %, above 40 % .* in 2 of 2 rows", "measured device"),
        ([row("a", 0, 0.1, saturated_share=0.05)], "5 % of the weights of layer a", "raise mapping.percentile"),
        ([row("a", 0, 0.1, pushed_share=0.7)], "70 % of the cells of layer a", "finer levels"),
        ([row("a", 0, 0.1), row("b", 0, 0.1, pushed_share=0.51)], "cells of layer b", "per_channel"),
    ],
)
def test_what_makes_little_sense_is_one_sentence_with_its_remedy(rows, says, remedy):
    (text,) = sentence(*rows)
    assert pd.Series([text]).str.contains(says, regex=True).all(), text
    assert remedy in text


def test_a_warning_names_the_worst_point():
    (text,) = two_points().attrs["warnings"]
    assert "layer fc1 at drift.relative_drift=0.2 mapping=x is 70 %" in text


@pytest.mark.parametrize("step", STEPS)
def test_the_step_that_adds_most_is_the_main_cause(step):
    ideal = dict.fromkeys(("by_dac", "by_iv", "by_adc"))
    table = layer_table([({}, [row("a", 0, 0.42, **ideal | {step: 0.5}), row("a", 1, 0.42, **ideal | {step: 0.7})])])
    assert main_cause(table.iloc[0]) == STEPS[step][0]


def test_an_ideal_layer_has_no_cause():
    rounding = dict.fromkeys(STEPS, 1e-7) | {"by_adc": None}
    assert main_cause(layer_table([({}, [row("a", 0, 1e-7, **rounding)])]).iloc[0]) is None


def test_the_corner_is_that_of_the_worst_chip_and_null_without_wires():
    def chips(layer, *worst):
        found = zip(worst, ("near", "far", "near"), strict=False)
        return [row(layer, i, 0.1, g_eff_worst=g, g_eff_worst_corner=g and c) for i, (g, c) in enumerate(found)]

    table = layer_table([({}, [*chips("a", 0.9, 0.7, 0.8), *chips("b", None, None), *chips("c", 0.6, 0.9)])])
    assert table["g_eff_worst"].tolist() == pytest.approx([0.8, float("nan"), 0.75], nan_ok=True)
    assert table["g_eff_worst_corner"].fillna("-").tolist() == ["far", "-", "near"]


def artists(ax, gid):
    (found,) = [artist for artist in ax.get_children() if artist.get_gid() == gid]
    return found


def test_the_plot_shows_mean_and_range_of_every_layer_on_the_axes_it_is_given():
    ax = Figure().subplots()
    assert plot_inspect(two_points(), ax) is ax
    points = artists(ax, "mvm:0.1, differential")
    assert list(points.get_xdata()) == pytest.approx([-0.2])
    assert list(points.get_ydata()) == pytest.approx([15.0])
    open_marker = artists(ax, "weights:0.1, differential")
    assert list(open_marker.get_ydata()) == pytest.approx([40.0])
    assert list(open_marker.get_xdata()) == pytest.approx([1 - 0.2])
    assert open_marker.get_markerfacecolor() == "white"
    assert points.get_color() == "#000000"  # over the columns
    ranges = [a for a in ax.get_children() if a.get_gid() == "range:0.1, differential"]
    ends = [tuple(segment[:, 1]) for line in ranges for segment in line.get_segments()]
    assert ends == [pytest.approx((10, 20)), pytest.approx((30, 50))]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["fc1", "fc2"]
    assert {"0.1, differential", "0.2, x", "drift"} <= {t.get_text() for t in ax.get_legend().get_texts()}
    assert ax.get_ylim()[0] == 0
    assert ax.get_ylabel() == "relative MVM error, open: weight error (%)"
    assert ax.get_xlabel() == "layer"
    told = " ".join(artists(ax, "caption").get_text().split())
    assert f"marker: mean of {two_points()['chips'].max()} chips, bar: from the smallest to the largest" in told


def test_one_point_has_a_legend_of_causes_and_many_layers_no_more_names_than_fit():
    table = layer_table([({}, [row(f"layer{i}", 0, 0.1) for i in range(60)])])
    ax = Figure().subplots()
    plot_inspect(table, ax)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["relaxation", "drift"]
    assert len(ax.get_xticks()) == 20
    assert len(artists(ax, "mvm:").get_xdata()) == 60
    assert ax.get_ylabel() == "relative MVM error (%)"


def test_one_point_has_a_column_for_each_layer_with_the_part_of_each_cause():
    steps = {"by_relaxation": 0.0, "by_drift": 0.0, "by_wires": 0.03, "by_adc": 0.04}
    rows = [row("a", 0, 0.06, **steps), row("b", 0, None, 0.5, **steps | {"by_wires": 0.0, "by_dac": 0.006})]
    ax = Figure().subplots()
    plot_inspect(layer_table([({}, rows)]), ax)
    bars = {}
    for bar in ax.patches:
        bars.setdefault(bar.get_gid(), []).append(bar)
    heights = {gid: [bar.get_height() for bar in found] for gid, found in bars.items()}
    dac = 50 * 0.006**2 / (0.04**2 + 0.006**2)
    assert list(heights) == ["cause:by_adc", "cause:by_wires", "cause:others"]
    assert heights["cause:by_adc"] == pytest.approx([6 * 16 / 25, 50 - dac])
    assert heights["cause:by_wires"] == pytest.approx([6 * 9 / 25, 0])
    assert heights["cause:others"] == pytest.approx([0, dac])
    assert bars["cause:others"][0].get_y() == pytest.approx(6)  # each on top of the one before
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["the ADC", "wires", "others"]
    assert ax.get_legend().get_title().get_text() == "error from"
    assert artists(ax, "mvm:").get_color() == "#000000"
    assert "colours: parts of the steps" in " ".join(artists(ax, "caption").get_text().split())


@pytest.mark.parametrize(("dac", "shown"), [(0.002, False), (0.006, True)])
def test_a_step_too_small_to_be_seen_is_not_in_the_legend(dac, shown):
    steps = dict.fromkeys(STEPS, 0.0) | {"by_adc": 0.04, "by_dac": dac}
    ax = Figure().subplots()
    plot_inspect(layer_table([({}, [row("a", 0, 0.06, **steps)])]), ax)
    assert ("others" in {text.get_text() for text in ax.get_legend().get_texts()}) is shown


@pytest.mark.parametrize(("points", "columns"), [(4, True), (5, False)])
def test_columns_of_few_points_stand_side_by_side_and_those_of_many_are_left_out(points, columns):
    table = layer_table([({"drift.relative_drift": i / 10}, [row("fc", 0, 0.1)]) for i in range(points)])
    ax = Figure().subplots()
    plot_inspect(table, ax)
    assert bool(ax.patches) is columns
    ends = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches if bar.get_y() == 0)
    assert all(right <= left + 1e-9 for (_, right), (left, _) in itertools.pairwise(ends))
    markers = {artist.get_color() for artist in ax.get_lines()}
    assert markers == ({"#000000"} if columns else set(COLOURS[:5]))


def test_another_frame_is_refused():
    with pytest.raises(ValueError, match="takes the table of rramsweep.inspect, got another frame: call inspect"):
        plot_inspect(pd.DataFrame({"layer": ["a"]}))
