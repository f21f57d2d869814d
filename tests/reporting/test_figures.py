"""The plots beside robustness, read back from their artists, and which of them a sweep gets. Never fonts or pixels."""

from __future__ import annotations

import re

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats

import rramsweep as rs
from rramsweep.analysis.frames import join
from rramsweep.analysis.schema import CHOICES, COUNTED
from rramsweep.intervals import ecdf_band, wilson
from rramsweep.reporting.axis import joined_names, legend_title
from rramsweep.reporting.figures import Arrangement, arranged, choose, figures_for
from rramsweep.reporting.style import COLOURS, STYLE, PrintFigure, axes_or_new, legend_above, styled
from rramsweep.units import in_words
from tests.analysis.test_frames import facts, failed, ok, point
from tests.reporting.test_plots import DRIFT, bars, caption, gid, legend, line, sweep

STEP = "device.step_uS"
TIMES = [0.0, 1.0, 3600.0, 86400.0]


def grid(rows=(1.0, 5.0), columns=(0.0, 0.1, 0.2), chips=(0, 1), more=()):
    """Two chips a point; 9 and 8 of 10 right at the first point, one fewer for each step right or up."""
    points, done = [], []
    for j, y in enumerate(rows):
        for i, x in enumerate(columns):
            name = f"p{j}{i}"
            points.append(point(name, {DRIFT: x, STEP: y, **dict(more)}))
            done += [ok(name, seed, 9 - seed - i - j, digital=9) for seed in chips]
    return join(points, facts(*done), [DRIFT, STEP])


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


def stair(ax, name):
    (artist,) = gid(ax, name)
    return list(artist.get_xdata(orig=True)), pytest.approx(list(artist.get_ydata(orig=True)))


def has_band(ax, name, x, low, high):
    """Whether a band of steps reaches from low to high at x, to a hundredth."""
    (artist,) = gid(ax, name)
    probes = [low - 0.01, low + 0.01, high - 0.01, high + 0.01]
    return [artist.get_paths()[0].contains_point((x, y)) for y in probes] == [False, True, True, False]


# -- heat map


def test_a_heat_map_holds_the_means_with_numbers_ascending(ax):
    frame = grid(rows=(5.0, 1.0), columns=(0.2, 0.0, 0.1))
    assert rs.plot_heatmap(frame, DRIFT, STEP, ax) is ax
    (mesh,) = gid(ax, "score")
    # 5.0 was swept first and has one more right than 1.0, 0.2 one more than 0.0
    assert mesh.get_array().tolist() == [pytest.approx([65, 55, 75]), pytest.approx([75, 65, 85])]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "0.1", "0.2"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["1", "5"]
    assert ax.get_ylabel() == "device.step (µS)"
    # Two chips 10 points apart: std / sqrt(2) = 5 points. Rounded up, as half an interval is an upper bound.
    half = np.ceil(10 * stats.t.ppf(0.975, 1) * 10 / 2) / 10
    assert {text.get_text() for text in gid(ax, "mean")} == {f"{m}.0\n±{half:.1f}" for m in (55, 65, 75, 85)}
    assert "mean over 2 chips of this network on these 10 images" in caption(ax)
    assert f"at most ±{half:.1f}" in caption(ax)


def test_a_heat_maps_half_width_is_that_of_the_interval_before_it_is_cut(ax):
    frame = grid()
    frame["score"] = np.where(frame["seed"] == 0, 1.0, 0.9)
    counted = ["n_correct", "n_lost", "n_gained", "accuracy", "digital_accuracy", "ideal_accuracy"]
    frame[counted] = frame[counted].mask(frame["seed"] >= 0)  # free scores, that need no whole images
    rs.plot_heatmap(frame, DRIFT, STEP, ax, yield_drop=0.1)
    half = np.ceil(10 * stats.t.ppf(0.975, 1) * 10 / 2) / 10
    assert {text.get_text() for text in gid(ax, "mean")} == {f"95.0\n±{half:.1f}"}


def test_the_yields_contour_lies_where_the_yield_is_interpolated(ax):
    """Yields 1, 0.5, 0 from left to right in both rows: 0.75 is halfway between the first two."""
    frame = grid()
    frame.loc[frame[STEP] == 5.0, ["n_correct", "n_lost", "accuracy", "score"]] = frame.loc[
        frame[STEP] == 1.0, ["n_correct", "n_lost", "accuracy", "score"]
    ].to_numpy()
    rs.plot_heatmap(frame, DRIFT, STEP, ax, yield_drop=0.1, yield_level=0.75)
    (contour,) = gid(ax, "yield_share")
    (path,) = [one for one in contour.get_paths() if len(one.vertices)]
    assert path.vertices[:, 0] == pytest.approx([0.5] * len(path.vertices))
    low, high = (wilson(1, 2)[1], wilson(2, 2)[1])
    (upper,) = gid(ax, "yield_high")  # from `high` of 2 in 2 over that of 1 in 2 to that of 0 in 2, wherever 0.75 is
    x = upper.get_paths()[0].vertices[:, 0]
    last = wilson(0, 2)[1]
    assert high == 1
    assert x == pytest.approx([1 + (low - 0.75) / (low - last)] * len(x))
    assert gid(ax, "yield_low") == []  # no two chips can show 75 %
    assert "no point's lower end of the yield's 95 % interval reaches 75 %" in caption(ax)


def test_a_heat_map_of_many_cells_has_no_texts_and_says_the_widest_interval(ax):
    frame = pd.concat([grid(rows=(float(j),)) for j in range(40)], ignore_index=True)
    frame["point_id"] += frame[STEP].astype(str)
    frame[list(COUNTED)] = pd.NA  # a score that is no count of right inputs
    frame.loc[frame["seed"] == 1, "score"] = frame["score"] - 0.001 * (frame[STEP] == 7.0)
    rs.plot_heatmap(frame, DRIFT, STEP, ax)
    assert gid(ax, "mean") == []
    assert f"95 % t interval, at most ±{stats.t.ppf(0.975, 1) * 10.1 / 2:.1f}" in caption(ax)


def test_a_heat_map_of_an_error_is_light_where_it_is_small_and_leaves_out_what_failed(ax):
    frame = grid()
    frame = frame[~((frame[STEP] == 5.0) & (frame[DRIFT] == 0.2))]
    frame["metric.higher_is_better"] = False
    rs.plot_heatmap(frame, DRIFT, STEP, ax)
    (mesh,) = gid(ax, "score")
    luma = [sum(mesh.cmap(mesh.norm(value))[:3]) for value in (60, 80)]
    assert luma[0] > luma[1]
    assert np.isnan(np.ma.filled(mesh.get_array(), np.nan)[1, 2])
    assert caption(ax).endswith("white: no chip")


# -- distribution and yield


def test_every_chip_is_a_step_of_the_distribution(ax):
    frame = sweep([0.1, 0.0], ["one"])
    assert rs.plot_ecdf(frame, DRIFT, ax) is ax
    assert stair(ax, "ecdf:0.1") == ([70, 70, 80, 90], [0, 100 / 3, 200 / 3, 100])
    assert stair(ax, "ecdf:0") == ([60, 60, 70, 80], [0, 100 / 3, 200 / 3, 100])
    assert not [artist for artist in ax.collections if str(artist.get_gid()).startswith("chips:")], "no dots"
    low, high = (100 * end[0] for end in ecdf_band(np.array([1 / 3]), 3))
    assert has_band(ax, "band:0.1", 75, low, high)
    assert legend(ax)[:2] == ["0", "0.1"]  # ascending, though swept the other way
    assert [gid(ax, name)[0].get_xdata()[0] for name in ("digital", "yield limit")] == [80, 80]
    assert "3 chips of this network on these 10 images, each a step" in caption(ax)


def test_the_distributions_band_is_dvoretzkys():
    """sqrt(ln(40) / (2 * 50)) = 0.19206; 2,000 samples of 50 leave it in at most 5 %, and 3.5 sigma is 1.7 %."""
    low, high = ecdf_band(np.array([0.0, 0.5, 1.0]), 50)
    assert (high[0], low[1], low[2]) == pytest.approx((0.19206, 0.30794, 0.80794), abs=1e-5)
    assert (low[0], high[2]) == (0, 1)
    x = np.sort(np.random.default_rng(0).random((2000, 50)), axis=1)
    above, below = np.arange(1, 51) / 50 - x, x - np.arange(50) / 50
    left = (np.maximum(above, below).max(axis=1) > high[0]).mean()
    assert 0.02 < left < 0.05 + 0.017


def test_names_have_colours_numbers_shades_and_all_differ_in_grey_too(ax):
    frame = sweep([0.0, 0.1])
    rs.plot_ecdf(frame[frame[DRIFT] == 0.0], "technology", ax)
    one, two = gid(ax, "ecdf:one")[0], gid(ax, "ecdf:two")[0]
    assert (one.get_color(), two.get_color()) == COLOURS[:2]
    assert one.is_dashed() != two.is_dashed()
    ax = rs.plot_yield(
        sweep(np.arange(20) / 100, ["one"], better=30, images=50, digital=40), DRIFT, Figure().subplots()
    )
    stairs = [gid(ax, f"yield:{i / 100:g}")[0] for i in (0, 4, 8, 11, 15, 19)]
    assert not any(stair.is_dashed() for stair in stairs)
    shades = [stair.get_color() for stair in stairs]
    luma = [sum(mpl.colors.to_rgb(shade)) for shade in shades]
    assert luma == sorted(luma)
    assert np.diff(luma).min() > 0.05, "neighbours can be told apart"
    assert len([name for name in legend(ax) if "yield_drop" not in name]) == 6
    assert {"0", "0.19"} <= set(legend(ax))
    assert "left out, evenly: 14 of 20 values" in caption(ax)


@pytest.mark.parametrize("draw", [rs.plot_ecdf, rs.plot_yield])
def test_levels_that_are_drawn_are_all_named_and_times_by_the_clock(ax, draw):
    times = [0.0, 1.0, 10.0, 60.0, 600.0, 3600.0, 21600.0, 86400.0, 604800.0, 31557600.0]
    draw(sweep(times, ["one"], column="t_s", better=20, images=40, digital=30), "t_s", ax)
    assert legend(ax)[:6] == ["0 s", "10 s", "10 min", "1 h", "1 d", "1 y"]
    assert "4 of 10 values of t_s (1 s, 1 min, 6 h, 7 d)" in caption(ax)
    assert ax.get_legend().get_title().get_text() == "t_s"


def test_the_yield_at_every_threshold_is_that_of_the_summary(ax):
    frame = sweep([0.0, 0.1], ["one"])
    assert rs.plot_yield(frame, DRIFT, ax, yield_drop=0.1, up_to=0.3) is ax
    x, share = stair(ax, "yield:0.1")
    for drop in (0.0, 0.05, 0.1, 0.15, 0.2, 0.3):
        row = rs.summarize(frame, [DRIFT], drop).set_index(DRIFT).loc[0.1]
        step = np.searchsorted(np.asarray(x), 100 * drop + 1e-9, side="right") - 1
        assert share.expected[step] == pytest.approx(100 * row["yield_share"])
        if drop < 0.2:
            assert has_band(ax, "band:0.1", 100 * drop + 1, 100 * row["yield_low"], 100 * row["yield_high"])
    assert gid(ax, "yield_drop")[0].get_xdata()[0] == 10
    assert "yield_drop: 10 points" in legend(ax)
    assert ax.get_xlim()[1] == 30
    assert ax.get_xlabel().endswith("(percentage points)")


def test_the_yield_of_a_score_in_its_unit_counts_in_its_direction(ax):
    frame = sweep([0.0], ["one"])
    frame[["n_correct", "n_lost", "n_gained"]] = None
    frame[["accuracy", "digital_accuracy", "ideal_accuracy"]] = np.nan
    frame["metric.name"], frame["metric.unit"], frame["metric.higher_is_better"] = "loss", "nat", False
    frame["score"], frame["digital_score"] = [1.5, 1.0, 2.0], 1.0
    rs.plot_yield(frame, None, ax)
    assert stair(ax, "yield:chips") == ([0, 0.5, 1.0], [100 / 3, 200 / 3, 100])
    assert ax.get_xlabel().endswith("(nat)")
    assert gid(ax, "yield_drop") == []
    assert ax.get_legend() is None


# -- time


def test_time_is_logarithmic_with_a_clocks_marks_and_zero_apart(ax):
    frame = sweep(TIMES, ["one"], column="t_s")
    assert rs.plot_over_time(frame, None, ax) is ax
    assert ax.get_xscale() == "log"
    curve, alone = sorted((list(a.get_xdata()) for a in gid(ax, "mean:mean")), key=len, reverse=True)
    assert curve == pytest.approx([1, 3600, 86400])
    assert 0 < alone[0] < 0.5
    names = [label.get_text() for label in ax.get_xticklabels()]
    assert names == ["0", "1 s", "1 min", "1 h", "1 d"]
    assert ax.get_xticks().tolist() == pytest.approx([alone[0], 1, 60, 3600, 86400])
    assert "t_s" in ax.get_xlabel()
    assert len(gid(ax, "interval:mean")) == 2


def test_times_between_two_marks_keep_powers_of_ten_in_seconds(ax):
    rs.plot_over_time(sweep([100.0, 900.0], ["one"], column="t_s"), None, ax)
    assert (ax.get_xscale(), ax.get_xlabel()) == ("log", "t (s)")


# -- differences


def test_differences_are_those_of_compare_and_the_baseline_is_a_line(ax):
    frame = sweep([0.0, 0.1, 0.2])
    changed = ["n_correct", "n_lost", "n_gained", "accuracy", "score"]
    frame.loc[(frame[DRIFT] == 0.2) & (frame["seed"] == 0), changed] = [1, 7, 0, 0.1, 0.1]
    assert rs.plot_differences(frame, {DRIFT: 0.0}, DRIFT, "technology", ax) is ax
    places = []
    table = rs.compare(frame, {DRIFT: 0.0}, ["technology", DRIFT]).set_index(["technology", DRIFT])
    for name in ("one", "two"):
        where, means = line(ax, f"mean:{name}")
        assert where == pytest.approx([0.1, 0.2], abs=0.003)
        assert means == (100 * table.loc[name, "difference_mean"][1:]).tolist()
        places.append(where[1])
        row = table.loc[(name, 0.2)]
        assert bars(ax, f"interval:{name}")[1] == pytest.approx(
            (where[1], 100 * row["difference_low"], 100 * row["difference_high"])
        )
    assert places[0] < places[1], "side by side"
    assert gid(ax, "baseline")[0].get_ydata()[0] == 0
    assert legend(ax) == ["one", "two", f"baseline: {DRIFT} = 0"]
    assert f"baseline: {DRIFT} = 0; " in caption(ax).replace("\n", " ")
    assert ax.get_ylabel() == "change in top-1 accuracy\n(percentage points)"
    assert caption(ax).endswith("below 0 is worse")


def test_a_group_has_one_colour_in_differences_and_in_robustness(ax):
    frame = sweep([0.0, 0.1], ["a", "b", "c"])
    rs.plot_differences(frame, {"technology": "a"}, DRIFT, "technology", ax)
    of_group = {name: gid(ax, f"mean:{name}")[0].get_color() for name in ("b", "c")}
    other = Figure().subplots()
    rs.plot_robustness(frame, DRIFT, "technology", other)
    assert of_group == {name: gid(other, f"mean:{name}")[0].get_color() for name in ("b", "c")}


def test_differences_of_a_choice_are_bars(ax):
    frame = sweep([0.0], ["a", "b", "c"])
    rs.plot_differences(frame, {"technology": "b"}, "technology", ax=ax)
    assert bars(ax, "interval:mean") == [pytest.approx((0, 10, 10)), pytest.approx((1, -10, -10))]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "c"]


# -- refusals and manners


def test_differences_over_times_have_the_axis_of_times(ax):
    frame = sweep(TIMES, ["a"], column="t_s", better=1)
    rs.plot_differences(frame, {"t_s": 0.0}, "t_s", "technology", ax)
    assert ax.get_xscale() == "log"
    where, means = line(ax, "mean:a")
    assert where == pytest.approx(TIMES[1:])
    assert means == [-10, -20, -30]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1 s", "1 min", "1 h", "1 d"]
    assert "baseline: t_s = 0 s" in caption(ax)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda f: rs.plot_heatmap(f, DRIFT, DRIFT), "a heat map needs two columns, got drift.relative_drift twice"),
        (lambda f: rs.plot_heatmap(f, DRIFT, "technology", yield_level=90), "yield_level must lie between 0 and 1"),
        (lambda f: rs.plot_heatmap(f, DRIFT, "tecnology"), "did you mean technology"),
        (lambda f: rs.plot_ecdf(f, DRIFT), "holds 2, which differ in technology"),
        (lambda f: rs.plot_yield(f, "technology"), r"differ in drift.relative_drift: filter the frame, frame\[frame\["),
        (
            lambda f: rs.plot_ecdf(f),
            r"differ in technology, drift.relative_drift: give group='drift.relative_drift' and filter the frame, "
            r"frame\[frame\['technology'\] == ",
        ),
        (lambda f: rs.plot_heatmap(f, "mapping", "technology"), r"drift.relative_drift: filter the frame, frame\["),
        (lambda f: rs.plot_differences(f, "drift", DRIFT, "technology"), r"baseline must be a dict .*'drift'"),
        (lambda f: rs.plot_ecdf(f, "score"), "by takes choices and parameters, got 'score', an outcome"),
        (lambda f: rs.plot_yield(f, "drift.relative"), "did you mean drift.relative_drift"),
        (lambda f: rs.plot_yield(f, "technology", up_to=0), "up_to must lie above 0"),
        (lambda f: rs.plot_over_time(f), "columns must be in the frame, got 't_s'"),
        (lambda f: rs.plot_over_time(f.assign(t_s=1.0)), "two values of t_s above 0, got 1: sweep t_s"),
        (lambda f: rs.plot_differences(f, {DRIFT: 0.0}, "technology"), "baseline must be of technology, .* got drift"),
        (lambda f: rs.plot_differences(f, {DRIFT: 0.5}, DRIFT, "technology"), "the nearest are"),
        (lambda f: rs.plot_ecdf(3), "must be a DataFrame"),
    ],
)
def test_bad_columns_are_refused_in_one_line_and_leave_no_figure(draw, message):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    with pytest.raises(ValueError, match=message) as caught:
        draw(sweep([0.0, 0.1]))
    assert "\n" not in str(caught.value)
    assert plt.get_fignums() == before


@pytest.mark.parametrize("length", [4, 36])
def test_a_legend_is_no_wider_than_a_column_of_a_journal(length):
    ax = Figure(STYLE["figure.figsize"], layout="constrained").subplots()
    rs.plot_robustness(sweep([0.0, 0.1], [letter * length for letter in "nou"]), DRIFT, "technology", ax)
    ax.figure.draw_without_rendering()
    assert ax.get_legend().get_window_extent().x1 <= ax.figure.bbox.x1
    assert ax.get_window_extent().width > 0.75 * ax.figure.bbox.width


def test_the_style_holds_while_a_plot_is_drawn_and_no_longer():
    settings = dict(mpl.rcParams)
    user = {"axes.prop_cycle": mpl.cycler(color=["red"]), "lines.linewidth": 9, "legend.fontsize": 30}
    with mpl.rc_context(user):
        ax = rs.plot_differences(sweep([0.0, 0.1]), {DRIFT: 0.0}, DRIFT, "technology", Figure().subplots())
        assert mpl.rcParams["lines.linewidth"] == 9
    assert gid(ax, "mean:one")[0].get_linewidth() == STYLE["lines.linewidth"]
    assert ax.get_legend().get_texts()[0].get_fontsize() == STYLE["legend.fontsize"]
    assert dict(mpl.rcParams) == settings


# -- what a sweep gets


def chosen(frame, *swept):
    arrangement, frame = arranged(frame, swept)
    return {name: dict(choice.columns) for name, choice in choose(frame, swept, arrangement).items()}


def test_one_numeric_axis_gets_robustness_distribution_yield_and_differences():
    assert chosen(sweep([0.2, 0.0], ["one"]), DRIFT) == {
        "robustness": {"x": DRIFT, "group": None},
        "ecdf": {"group": DRIFT},
        "yield": {"group": DRIFT},
        "differences": {"baseline": {DRIFT: 0.0}, "x": DRIFT, "group": None},
    }


def test_a_choice_beside_it_is_the_baseline_and_the_panels():
    found = chosen(sweep([0.0, 0.1, 0.2]), "technology", DRIFT)
    assert found["robustness"] == {"x": DRIFT, "group": "technology"}
    assert found["differences"] == {"baseline": {"technology": "one"}, "x": DRIFT, "group": "technology"}
    many = chosen(sweep([0.0, 0.1], [f"t{i}" for i in range(4)], better=5, images=40), "technology", DRIFT)
    assert "ecdf" not in many


def test_two_numeric_axes_get_a_heat_map():
    found = chosen(grid(), STEP, DRIFT)
    assert found["heatmap"] == {"x": DRIFT, "y": STEP}
    assert "heatmap" not in chosen(sweep([0.0, 0.1]), "technology", DRIFT)


def test_time_gets_a_logarithmic_axis():
    found = chosen(sweep(TIMES, column="t_s"), "technology", "t_s")
    assert found["over_time"] == {"group": "technology"}
    assert "robustness" not in found
    assert "over_time" not in chosen(sweep([0.0, 1.0], column="t_s"), "technology", "t_s")


def test_one_chip_a_point_has_no_interval_so_only_its_curve():
    frame = sweep([0.0, 0.1])
    assert list(chosen(frame[frame["seed"] == 0], "technology", DRIFT)) == ["robustness"]


def test_one_point_gets_its_distribution():
    assert list(chosen(sweep([0.0], ["one"]))) == ["ecdf", "yield"]


def test_no_differences_where_a_cell_has_no_chip_in_common_with_its_baseline():
    frame = sweep([0.0, 0.1], ["one"])
    apart = frame[(frame["seed"] == 0) == (frame[DRIFT] == 0.0)]
    assert list(chosen(apart, DRIFT)) == ["robustness", "ecdf", "yield"]


def test_figures_are_drawn_one_column_wide_with_a_panel_for_each_choice():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    frame = sweep([0.0, 0.1, 0.2])
    found = figures_for(frame)
    assert list(found) == ["robustness", "ecdf", "yield", "differences"]
    assert [figure.get_figwidth() for figure in found.values()] == pytest.approx([89 / 25.4] * 4)
    assert [len(figure.axes) for figure in found.values()] == [1, 2, 2, 1]
    titles = [ax.get_legend().get_title().get_text().split(":")[0] for ax in found["ecdf"].axes]
    assert titles == ["one", "two"]
    assert plt.get_fignums() == before


def test_figures_of_several_metrics_are_told_apart_by_name():
    one, other = grid(), grid()
    other["point_id"] = "other" + other["point_id"]
    other["metric.name"] = "top-5 accuracy"
    frame = pd.concat([one, other], ignore_index=True)
    frame.attrs["swept"] = [DRIFT, STEP, "metric"]
    names = ["robustness", "heatmap", "ecdf", "yield", "differences"]
    assert list(figures_for(frame)) == [f"{name}-top-{k}-accuracy" for k in (1, 5) for name in names]


def axes_of(**levels):
    """Two chips at each combination of the levels, one fewer right for each step along an axis."""
    points, rows = [], []
    for place in np.ndindex(*map(len, levels.values())):
        values = {name: own[i] for (name, own), i in zip(levels.items(), place, strict=True)}
        choices = {name: value for name, value in values.items() if name in CHOICES}
        params = {name.replace("__", "."): value for name, value in values.items() if name not in CHOICES}
        name = "p" + "_".join(map(str, place))
        points.append(point(name, params, **choices))
        rows += [ok(name, seed, 28 - seed - sum(place), images=40, digital=30) for seed in (0, 1)]
    return join(points, facts(*rows), [name.replace("__", ".") for name in levels])


DRIFTS, STEPS = {"drift__relative_drift": [0.0, 0.1, 0.2]}, {"device__step_uS": [1.0, 5.0]}


def test_three_axes_are_a_curve_for_each_value_of_the_second_and_a_facet_for_each_of_the_third():
    frame = axes_of(**DRIFTS, mapping=["a", "b", "c"], **STEPS)
    found = figures_for(frame)
    assert list(found) == ["robustness", "differences"]
    one, two = found["robustness"].axes
    names = [gid(ax, "facet")[0].get_title().get_text() for ax in (one, two)]
    assert names == ["device.step_uS: 1", "device.step_uS: 5"]
    assert legend(one)[:3] == ["a", "b", "c"]
    assert line(one, "mean:b")[1] == [100 * right / 40 for right in (26.5, 25.5, 24.5)]
    assert line(two, "mean:b")[1] == [100 * right / 40 for right in (25.5, 24.5, 23.5)]
    assert one.get_ylim() == two.get_ylim()
    assert (one.get_xlabel(), two.get_legend()) == ("", None)
    assert one.get_legend().get_title().get_text() == "mapping"


@pytest.mark.parametrize(("facets", "steps"), [(2, [1.0, 5.0]), (3, [1.0, 2.0, 5.0, 10.0])])
@pytest.mark.parametrize("metric", ["top-1 accuracy", "agreement of the answers with those of the digital network"])
def test_words_of_facets_do_not_overlap_and_stay_in_the_figure(facets, steps, metric):
    frame = axes_of(**DRIFTS, mapping=["a", "b", "c", "d", "e"], device__step_uS=steps)
    for figure in figures_for(frame.assign(**{"metric.name": metric})).values():
        figure.draw_without_rendering()
        labels = [figure.get_supylabel(), *(ax.get_ylabel() for ax in figure.axes)]
        assert [bool(label) for label in labels] == [True] + facets * [False]
        assert len(figure.axes) == facets
        box = figure._supylabel.get_window_extent()
        assert figure.bbox.padded(1).containsy(box.y0)
        assert figure.bbox.padded(1).containsy(box.y1)


@pytest.mark.parametrize(
    "names", [["embedded", "embedded_clipped", "embedded_noise_aware"], ["W" * 12] * 2, list("abc")]
)
def test_a_legend_stays_in_the_figure_and_leaves_the_axes_their_width(names):
    figure = PrintFigure(figsize=(3.5, 3.0), layout="constrained")
    with styled():
        ax = axes_or_new(figure.subplots())
        for name in names:
            ax.plot([0, 100], label=name)
        ax.set_ylabel("chips at or below (%)")
        legend_above(ax, "model.checkpoint", 3)
        figure.draw_without_rendering()
    assert ax.get_legend().get_window_extent().x1 <= figure.bbox.x1 + 1
    assert ax.get_window_extent().width > 0.8 * figure.bbox.width


def test_a_parameter_that_tells_curves_apart_is_the_title_of_the_legend_in_facets_too():
    frame = axes_of(**DRIFTS, mapping=["a", "b"], a__b=[0, 1])
    assert arranged(frame, [DRIFT, "mapping", "a.b"])[0] == Arrangement("a.b", None, "mapping")
    for figure in figures_for(frame).values():
        legend_ = figure.axes[0].get_legend()
        assert legend_.get_title().get_text() == "a.b"
        assert [text.get_text() for text in legend_.get_texts()][:2] == ["0", "1"]


def test_a_group_has_one_colour_in_every_facet_though_another_is_missing_in_one():
    frame = axes_of(**DRIFTS, mapping=["a", "b", "c"], **STEPS)
    frame = frame[~((frame[STEP] == 5.0) & (frame["mapping"] == "a"))]
    one, two = figures_for(frame)["robustness"].axes
    for name in "bc":
        assert gid(one, f"mean:{name}")[0].get_color() == gid(two, f"mean:{name}")[0].get_color()


def test_four_axes_have_colours_markers_and_facets_each_under_its_title():
    frame = axes_of(**DRIFTS, mapping=["a", "b", "c"], technology=["x", "y"], **STEPS)
    arrangement, _ = arranged(frame, [DRIFT, "mapping", "technology", STEP])
    assert arrangement == Arrangement("mapping", STEP, "technology")
    one, _ = figures_for(frame)["robustness"].axes
    assert [name for name in legend(one) if name.strip()][:7] == ["mapping", "a", "b", "c", STEP, "1", "5"]
    look = {name: gid(one, f"mean:{name}")[0] for name in (f"{m}, {STEP} = {s}" for m in "abc" for s in (1, 5))}
    assert [len({of(curve) for curve in look.values()}) for of in (Line2D.get_color, Line2D.get_marker)] == [3, 2]
    places = [curve.get_xdata()[1] for curve in look.values()]
    assert len(set(places)) == 6, "side by side"
    for name, curve in look.items():
        assert [bar[0] for bar in bars(one, f"interval:{name}")] == pytest.approx(list(curve.get_xdata()))
        assert len(gid(one, f"caps:{name}")) == 2


def test_more_columns_are_joined_by_values_that_name_their_parameters():
    more = {"a__b": [0, 1], "c__d": [0, 1, 2]}
    frame = axes_of(**DRIFTS, **STEPS, mapping=["a", "b"], **more)
    arrangement, wide = arranged(frame, [DRIFT, STEP, "mapping", "a.b", "c.d"])
    texts = set(wide[arrangement.group])
    assert not any(part.strip().replace(".", "").isdigit() for text in texts for part in text.split(","))
    assert any("c.d = 2" in text for text in texts)


@pytest.mark.parametrize("draw", ["robustness", "differences"])
def test_no_two_curves_of_one_colour_look_alike(ax, draw):
    frame = sweep(np.arange(70) / 100, [f"t{i}" for i in range(10)], better=100, images=200, digital=110)
    if draw == "robustness":
        rs.plot_robustness(frame, DRIFT, "technology", ax)
    else:
        rs.plot_differences(frame, {DRIFT: 0.0}, DRIFT, "technology", ax)
    curves = [gid(ax, f"mean:t{i}")[0] for i in range(10)]
    assert {curve.get_marker() for curve in curves} == {""}, "too many points for markers"
    assert len({(curve.get_color(), curve.is_dashed()) for curve in curves}) == 10


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (['["c1"]', '["c1", "c2"]', "[]"], ["c1", "c1, c2", "none"]),
        (["/data/a/one.pt", "/data/a/two.pt"], ["one", "two"]),
        (["/data/a/net.pt", "/data/b/net.pt"], ["/data/a/net.pt", "/data/b/net.pt"]),
        (["[not json", "plain"], ["[not json", "plain"]),
    ],
)
def test_lists_and_files_have_short_names_on_axis_and_in_legend(values, names):
    frame = axes_of(**DRIFTS, analog__analog=values)
    ax = rs.plot_robustness(frame[frame[DRIFT] == 0.0], "analog.analog", ax=Figure().subplots())
    assert [label.get_text() for label in ax.get_xticklabels()] == names
    ax = rs.plot_robustness(frame.assign(model=frame["analog.analog"]), DRIFT, "model", ax=Figure().subplots())
    assert set(names) <= set(legend(ax))


def test_chips_that_all_agree_are_a_diamond_and_no_wall(ax):
    frame = sweep([0.0, 0.1], ["one"])
    frame.loc[frame[DRIFT] == 0.0, ["n_correct", "n_lost", "n_gained", "accuracy", "score"]] = [8, 0, 0, 0.8, 0.8]
    rs.plot_ecdf(frame, DRIFT, ax)
    assert gid(ax, "ecdf:0") == []
    assert gid(ax, "alike:0")[0].get_xdata().tolist() == [80]
    assert legend(ax)[0] == "0"
    assert "all chips alike" in legend(ax), "the diamond"
    assert caption(ax).endswith("diamond: all chips have this score")


@pytest.mark.parametrize("draw", [rs.plot_ecdf, rs.plot_yield])
def test_bands_of_many_levels_are_in_the_caption(ax, draw):
    draw(sweep(np.arange(4) / 10, ["one"]), DRIFT, ax)
    assert not [artist for artist in ax.collections if str(artist.get_gid()).startswith("band:")]
    assert re.search(r"not drawn: the .*at most ±\d+ points", caption(ax))


def test_the_yields_axis_ends_where_curves_have_risen(ax):
    frame = axes_of(drift__relative_drift=[0.0, 0.1, 0.9])  # 28, 27, 26 of 40 and one less: 5, 7.5, 10 points and 2.5
    rs.plot_yield(frame, DRIFT, ax, yield_drop=0.02)
    assert ax.get_xlim()[1] == pytest.approx(12.5)
    rs.plot_yield(frame, DRIFT, other := Figure().subplots(), yield_drop=0.06)
    assert other.get_xlim()[1] == pytest.approx(12.5)


@pytest.mark.parametrize("drop", [0.1, 0.2, 0.5])
def test_the_yields_threshold_is_never_on_the_edge(ax, drop):
    rs.plot_yield(axes_of(drift__relative_drift=[0.0, 0.1]), DRIFT, ax, yield_drop=drop)  # at most 10 points are lost
    assert ax.get_xlim()[1] == pytest.approx(200 * drop)
    assert stair(ax, "yield:0.1")[0][-1] >= 200 * drop - 1e-9, "the stair goes on to the edge"


def test_a_null_is_called_what_it_means_and_left_out_where_an_option_has_no_such_parameter():
    rows = pd.DataFrame(
        {
            "calibration": ["none", "dora", "dora", "dora"],
            "calibration.at_s": [None, None, 1.0, 86400.0],
            "t_s": [1.0, 60.0, 60.0, 60.0],
        }
    )
    assert joined_names(rows[["calibration", "calibration.at_s"]]) == [
        "none",
        "dora, fitted at t_s",
        "dora, fitted at 1 s",
        "dora, fitted at 1 d",
    ]
    assert joined_names(rows[["calibration.at_s", "t_s"]])[0] == "fitted at t_s, t_s = 1 s"
    tiles = pd.DataFrame({"tile": ["none", "crossbar"], "tile.rows": [None, 64.0]})
    assert joined_names(tiles) == ["none", "crossbar, tile.rows = 64"]


def test_names_of_curves_have_the_first_column_of_a_legend_where_both_fit(ax):
    frame = sweep(TIMES, ["aa", "bb"], column="t_s", better=1)
    frame.attrs["source_ranges"] = {"t_s": [0.0, 7200.0, "times beyond 7200 s are extrapolated"]}
    rs.plot_over_time(frame, "technology", ax, yield_drop=0.1)
    assert legend(ax)[:4] == ["aa", "bb", " ", " "]
    assert {"extrapolated", "refresh: yield below 90 %"} <= set(legend(ax)[4:])
    assert len(legend(ax)) == 8, "four lines, not six"


def test_the_caption_is_a_text_and_drawn_only_when_asked(ax):
    rs.plot_ecdf(sweep([0.1]), "technology", ax)
    (kept,) = gid(ax, "caption")
    assert not kept.get_visible()
    assert rs.caption(ax) == caption(ax)
    assert not kept.get_visible()
    assert rs.caption(ax, draw=True) == caption(ax)
    assert kept.get_visible()
    assert rs.caption(Figure().subplots()) == ""


def test_digital_and_ideal_chip_are_one_line_where_they_agree(ax):
    frame = sweep([0.0, 0.1], ["one"])
    for draw, at in ((rs.plot_robustness, (frame, DRIFT)), (rs.plot_ecdf, (frame, DRIFT))):
        ax = draw(*at, ax=Figure().subplots())
        assert "digital, ideal chip 80.0 %" in legend(ax)
        assert (len(gid(ax, "digital")), len(gid(ax, "ideal chip"))) == (1, 0)


def test_names_stand_at_the_ends_of_curves_where_there_is_room():
    apart, close = (axes_of(**DRIFTS, mapping=names) for names in (["a", "b"], ["a", "b" * 30]))
    ax = rs.plot_robustness(apart, DRIFT, "mapping", Figure().subplots())
    assert [text.get_text() for text in ax.texts if str(text.get_gid()).startswith("label:")] == ["a", "b"]
    assert not {"a", "b"} & {text.get_text() for text in ax.get_legend().get_texts()}
    ax = rs.plot_robustness(close, DRIFT, "mapping", Figure().subplots())
    assert "b" * 30 in [text.get_text() for text in ax.get_legend().get_texts()]


def test_extrapolated_times_are_shaded_and_the_refresh_marked(ax):
    frame = sweep(TIMES, ["one"], column="t_s")
    frame.attrs["source_ranges"] = {"t_s": [0.0, 7200.0, "times beyond 7200 s are extrapolated"]}
    rs.plot_over_time(frame, None, ax, yield_drop=0.1)
    assert gid(ax, "outside")[0].get_x() == 7200
    assert {"extrapolated", "refresh: yield below 90 %"} <= set(legend(ax))
    assert "times beyond 7200 s are extrapolated" in caption(ax)
    life = rs.time_to_failure(frame, [], 0.9, 0.1)["life_s"].iloc[0]
    assert gid(ax, "refresh:mean")[0].get_offsets()[0, 0] == life > 0
    assert f"triangle: first time at which the yield is below 90 %, {in_words(life)}" in caption(ax)


def test_the_captions_triangles_have_the_names_of_their_curves(ax):
    frame = sweep(TIMES, ["one", "two"], column="t_s", better=1)
    rs.plot_over_time(frame, "technology", ax, yield_drop=0.2)
    lives = rs.time_to_failure(frame, ["technology"], 0.9, 0.2).set_index("technology")["life_s"]
    assert lives["one"] > lives["two"] > 0
    assert f"below 90 %, {in_words(lives['one'])} (one), {in_words(lives['two'])} (two)" in caption(ax)


@pytest.mark.parametrize(
    ("group", "room", "title"),
    [
        (None, 40, None),
        ("adc.bits", 40, None),
        ("mapping, drift", 40, None),
        ("mapping, mapping.scale", 40, "mapping, mapping.scale"),
        ("adc.per, adc.percentile", 20, "adc.per,\nadc.percentile"),
        ("tile.rows, adc.range", 4, "tile.rows,\nadc.range"),
    ],
)
def test_a_legend_of_joined_columns_names_them(group, room, title):
    assert legend_title(group, room) == title


def test_no_figures_where_no_chip_finished():
    assert figures_for(join([point("a", {DRIFT: 0.1})], facts(failed("a", 0)), [DRIFT])) == {}


def test_differences_are_to_the_end_of_an_axis_at_which_scores_are_better():
    def axis(better_at_high):
        levels, rows = (4.0, 8.0), []
        for level in levels:
            base = 70 if (level == 8.0) != better_at_high else 80
            rows += [ok(f"b{level}", seed, base + seed % 2, images=100, digital=81) for seed in range(6)]
        return join([point(f"b{level}", {"adc.bits": level}) for level in levels], facts(*rows), ["adc.bits"])

    for better_at_high, baseline in ((True, 8.0), (False, 4.0)):
        chosen = choose(axis(better_at_high), ["adc.bits"], Arrangement())
        assert chosen["differences"].columns["baseline"] == {"adc.bits": baseline}
