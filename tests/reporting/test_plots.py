"""What is drawn, read back from the artists: positions, bands, dots, baselines, words. Never fonts or pixels."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import colors
from matplotlib.figure import Figure

import rramsweep as rs
from rramsweep.analysis.frames import join
from rramsweep.effects import RelativeDrift
from rramsweep.reporting.difference_plot import plot_differences
from rramsweep.reporting.report import save_figure
from rramsweep.reporting.robustness_plot import plot_robustness
from rramsweep.reporting.style import COLOURS, STYLE, styled
from tests.analysis.test_frames import facts, failed, ok, point

DRIFT = "drift.relative_drift"
RIGHT = (8, 7, 9)  # of 10 images, at the first level; one less at each further level
HALF = 100 * 0.2484137712  # of the t interval of three chips with std 0.1, in percent


def sweep(levels, technologies=("one", "two"), column=DRIFT, better=0, **more):
    """Three chips a point; level i of technology j has i + j images fewer right."""
    points, rows = [], []
    for j, technology in enumerate(technologies):
        for i, level in enumerate(levels):
            name = f"{technology}{i}"
            params = {} if level is None else {column: level}
            choices = {"technology": technology} | ({"drift": "ideal"} if level is None else {})
            points.append(point(name, params, **choices))
            rows += [ok(name, seed, count + better - i - j, **more) for seed, count in enumerate(RIGHT)]
    frame = join(points, facts(*rows), ["technology", column])
    frame.attrs["source_ranges"] = {f"drift.{name}": list(ends) for name, ends in RelativeDrift.source_range.items()}
    return frame


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


def gid(ax, name):
    return [artist for artist in ax.get_children() if artist.get_gid() == name]


def line(ax, name):
    (artist,) = gid(ax, name)
    return list(artist.get_xdata()), pytest.approx(list(artist.get_ydata()))


def band(ax, name):
    """{x: (low, high)} of a filled band."""
    (artist,) = gid(ax, name)
    corners = artist.get_paths()[0].vertices
    return {x: (corners[corners[:, 0] == x, 1].min(), corners[corners[:, 0] == x, 1].max()) for x in {*corners[:, 0]}}


def bars(ax, name):
    """[(x, low, high)] of bars."""
    (artist,) = gid(ax, name)
    return [(s[0, 0], s[0, 1], s[1, 1]) for s in artist.get_segments()]


def caption(ax):
    (artist,) = gid(ax, "caption")
    return " ".join(artist.get_text().split())


def legend(ax):
    """Names of what is drawn: those at the ends of curves, then those of the legend."""
    ends = [text.get_text() for text in ax.texts if str(text.get_gid()).startswith("label:")]
    shown = ax.get_legend()
    return ends + ([text.get_text() for text in shown.get_texts()] if shown is not None else [])


# -- the curve


def test_mean_interval_and_spread_stand_at_their_values(ax):
    frame = sweep([0.0, 0.1, 0.2])
    one, two = (frame[frame["technology"] == name] for name in ("one", "two"))
    assert line(plot_robustness(one, DRIFT, "technology", Figure().subplots()), "mean:one") == (
        [0.0, 0.1, 0.2],
        [80, 70, 60],
    )
    assert plot_robustness(two, DRIFT, "technology", ax=ax) is ax
    assert line(ax, "mean:two") == ([0.0, 0.1, 0.2], [70, 60, 50])
    for x, mean in zip([0.0, 0.1, 0.2], [70, 60, 50], strict=True):
        assert band(ax, "interval:two")[x] == pytest.approx((mean - HALF, mean + HALF))
        assert band(ax, "spread:two")[x] == pytest.approx((mean - 10, mean + 10))


def test_levels_are_sorted_along_the_curve(ax):
    plot_robustness(sweep([0.2, 0.0, 0.1], ["one"]), DRIFT, ax=ax)
    assert line(ax, "mean:mean") == ([0.0, 0.1, 0.2], [70, 60, 80])


def test_every_finished_chip_is_a_dot_beside_its_level(ax):
    frame = sweep([0.0, 0.1])
    plot_robustness(frame, DRIFT, "technology", ax=ax)
    for name in ("one", "two"):
        (artist,) = gid(ax, f"chips:{name}")
        where, accuracy = np.asarray(artist.get_offsets()).T
        mine = frame[frame["technology"] == name]
        assert accuracy == pytest.approx(100 * mine["accuracy"])
        assert np.abs(where - mine[DRIFT]).max() < 0.05 * 0.1
        assert len(set(where)) == 6
        assert artist.get_alpha() < 0.5


def test_the_same_frame_draws_the_same_dots():
    offsets = []
    for _ in range(2):
        ax = plot_robustness(sweep([0.0, 0.1]), DRIFT, "technology", ax=Figure().subplots())
        offsets.append(np.asarray(gid(ax, "chips:two")[0].get_offsets()))
    assert np.array_equal(*offsets)


def test_groups_differ_in_colour_and_marker(ax):
    names = [f"t{i}" for i in range(9)]
    plot_robustness(sweep([0.0, 0.1], names, better=20, images=40, digital=30), DRIFT, "technology", ax=ax)
    looks = [(gid(ax, f"mean:{n}")[0].get_color(), gid(ax, f"mean:{n}")[0].get_marker()) for n in names]
    assert len(set(looks)) == 9
    assert [colour for colour, _ in looks[:7]] == list(COLOURS)
    assert legend(ax)[:9] == names


def test_failed_chips_are_left_out_and_counted(ax):
    points = [point("a", {DRIFT: 0.0}), point("b", {DRIFT: 0.1}), point("c", {DRIFT: 0.2})]
    rows = [ok("a", 0, 8), ok("a", 1, 7), ok("b", 0, 6), failed("b", 1), failed("c", 0)]
    plot_robustness(join(points, facts(*rows), [DRIFT]), DRIFT, ax=ax)
    assert line(ax, "mean:mean") == ([0.0, 0.1], [75, 60])
    assert len(gid(ax, "chips:mean")[0].get_offsets()) == 3
    assert "over 1–2 chips" in caption(ax)
    assert caption(ax).endswith("2 failed chips are left out")


def test_two_decades_get_a_logarithmic_axis_and_less_do_not():
    for levels, scale in (([1.0, 10.0, 1e4], "log"), ([1.0, 10.0], "linear"), ([0.0, 1e4], "linear")):
        ax = plot_robustness(sweep(levels, ["one"], column="t_s"), "t_s", "technology", ax=Figure().subplots())
        assert ax.get_xscale() == scale
        where = np.asarray(gid(ax, "chips:one")[0].get_offsets())[:3, 0]
        assert np.abs(where - levels[0]).max() < 0.3 * (levels[1] - levels[0])
        assert line(ax, "mean:one")[0] == pytest.approx(levels)


def test_times_over_decades_have_a_logarithmic_axis_with_0_apart_and_marks_of_a_clock(ax):
    times = [0.0, 1.0, 3600.0, 86400.0]
    plot_robustness(sweep(times, ["one"], column="t_s", better=1), "t_s", ax=ax)
    assert ax.get_xscale() == "log"
    aside, curve = gid(ax, "mean:mean")
    assert curve.get_xdata() == pytest.approx(times[1:])
    assert 0 < aside.get_xdata()[0] < 1
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0", "1 s", "1 min", "1 h", "1 d"]
    assert ax.get_xlabel() == "time since programming, t_s"


def test_the_axes_own_scale_is_kept(ax):
    ax.set_xscale("symlog")
    plot_robustness(sweep([0.0, 1.0, 1e4], ["one"], column="t_s"), "t_s", "technology", ax=ax)
    assert ax.get_xscale() == "symlog"
    assert line(ax, "mean:one")[0] == pytest.approx([0, 1, 1e4])


# -- categories


def test_text_is_drawn_as_even_categories(ax):
    frame = sweep(["offset", "differential", "sum"], column="mapping.kind")
    plot_robustness(frame, "mapping.kind", "technology", ax=ax)
    assert list(ax.get_xticks()) == [0, 1, 2]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["offset", "differential", "sum"]
    assert gid(ax, "mean:one")[0].get_linestyle() == "None"
    x, y = line(ax, "mean:one")
    assert x == pytest.approx([-0.125, 0.875, 1.875])
    assert y == [80, 70, 60]
    assert line(ax, "mean:two")[0] == pytest.approx([0.125, 1.125, 2.125])
    assert bars(ax, "interval:one")[1] == pytest.approx((0.875, 70 - HALF, 70 + HALF))
    assert bars(ax, "spread:one")[1] == pytest.approx((0.875, 60, 80))


def test_a_choice_and_a_bool_are_categories():
    frame = sweep([0.1])
    ax = plot_robustness(frame, "technology", ax=Figure().subplots())
    assert line(ax, "mean:mean") == ([0, 1], [80, 70])
    frame["device.flag"] = (frame["technology"] == "one").astype("boolean")
    ax = plot_robustness(frame, "device.flag", ax=Figure().subplots())
    assert [label.get_text() for label in ax.get_xticklabels()] == ["True", "False"]


def test_null_stands_apart_under_the_name_of_its_option(ax):
    plot_robustness(sweep([None, 0.1, 0.2, 0.3], ["one"]), DRIFT, ax=ax)
    aside, curve = gid(ax, "mean:mean")
    assert curve.get_xdata() == pytest.approx([0.1, 0.2, 0.3])
    assert curve.get_ydata() == pytest.approx([70, 60, 50])
    assert aside.get_xdata() == pytest.approx([0.1 - 0.15 * 0.2])
    assert aside.get_ydata() == pytest.approx([80])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["ideal", "0.1", "0.2", "0.3"]
    assert len(gid(ax, "chips:mean")[0].get_offsets()) == 12
    assert [type(artist).__name__ for artist in gid(ax, "interval:mean")] == [
        "LineCollection",
        "FillBetweenPolyCollection",
    ]
    (handle,) = [h for h in ax.get_legend().legend_handles if h.get_label() == "mean"]
    assert handle.get_linestyle() == "-"


def test_null_of_a_parameter_without_a_group_is_called_none(ax):
    plot_robustness(sweep([None, 1.0, 2.0], ["one"], column="t_s"), "t_s", ax=ax)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["none", "1", "2"]


def test_infinity_stands_at_the_right(ax):
    plot_robustness(sweep([4.0, 8.0, float("inf")], ["one"], column="device.levels"), "device.levels", ax=ax)
    aside, curve = gid(ax, "mean:mean")
    assert curve.get_xdata() == pytest.approx([4, 8])
    assert aside.get_xdata() == pytest.approx([8.6])
    assert ax.get_xticklabels()[-1].get_text() == "inf"


def test_a_single_level_is_a_bar_at_its_value(ax):
    plot_robustness(sweep([0.3], ["one"]), DRIFT, ax=ax)
    assert bars(ax, "interval:mean") == [pytest.approx((0.3, 80 - HALF, 100))]  # no accuracy is above
    assert gid(ax, "outside")[0].get_x() == 0.2


def test_long_names_are_turned_and_short_ones_are_not():
    for names, angle in ((["a" * 50, "b", "c"], 30), (["a" * 30, "b", "c"], 0)):
        ax = plot_robustness(sweep(names, column="a.kind"), "a.kind", "technology", ax=Figure().subplots())
        assert {label.get_rotation() for label in ax.get_xticklabels()} == {angle}


# -- baselines and range


def test_baselines_that_all_share_are_one_line_each_with_its_value(ax):
    frame = sweep([0.0, 0.1])
    frame["ideal_accuracy"] = frame["ideal_score"] = 0.79
    plot_robustness(frame, DRIFT, "technology", ax=ax)
    assert [line(ax, name)[1] for name in ("digital", "ideal chip", "yield limit")] == [[80] * 2, [79] * 2, [80] * 2]
    assert legend(ax) == ["one", "two", "digital 80.0 %", "ideal chip 79.0 %", "yield limit 80.0 %"]
    assert all(gid(ax, name)[0].is_dashed() for name in ("digital", "ideal chip"))


@pytest.mark.parametrize(("drop", "limit"), [(0.1, 70), (0.19, 70), (0.2, 60)])
def test_the_yield_limit_counts_whole_images(ax, drop, limit):
    """Of 10 images, a drop of 0.19 allows one."""
    plot_robustness(sweep([0.0, 0.1]), DRIFT, "technology", ax=ax, yield_drop=drop)
    assert line(ax, "yield limit")[1] == [limit] * 2


def test_a_baseline_of_its_own_is_drawn_in_the_groups_colour(ax):
    frame = sweep([0.0, 0.1])
    frame["ideal_accuracy"] = frame["ideal_score"] = (
        frame["technology"].map({"one": 0.79, "two": 0.75}).astype("float64")
    )
    plot_robustness(frame, DRIFT, "technology", ax=ax)
    first, second = gid(ax, "ideal chip")
    assert (first.get_ydata()[0], second.get_ydata()[0]) == pytest.approx((79, 75))
    assert (first.get_color(), second.get_color()) == COLOURS[:2]
    assert "ideal chip 75.0–79.0 %" in legend(ax)
    (named,) = [h for h in ax.get_legend().legend_handles if h.get_label().startswith("ideal")]
    assert named.get_color() == "#777777"  # of no group
    assert len(gid(ax, "digital")) == 1


def test_a_baseline_that_depends_on_x_follows_it(ax):
    frame = sweep([0.1, 0.0], ["one"])
    frame["ideal_accuracy"] = frame["ideal_score"] = 0.8 - frame[DRIFT] / 2
    plot_robustness(frame, DRIFT, ax=ax)
    assert line(ax, "ideal chip") == ([0.0, 0.1], [80, 75])
    assert "ideal chip 75.0–80.0 %" in legend(ax)


def test_baselines_of_categories_stand_alone(ax):
    """Nothing lies between two technologies: a stroke as wide as the place of each, and no line that joins them."""
    frame = sweep([0.0])
    frame["ideal_accuracy"] = frame["ideal_score"] = frame["technology"].map({"one": 0.79, "two": 0.4}).astype(float)
    plot_robustness(frame, "technology", ax=ax)
    (strokes,) = gid(ax, "ideal chip")
    one, two = strokes.get_segments()
    assert [one[:, 1].tolist(), two[:, 1].tolist()] == [[79, 79], [40, 40]]
    assert one[0, 0] < 0 < one[1, 0] < two[0, 0] < 1 < two[1, 0]
    assert "ideal chip 40.0–79.0 %" in legend(ax)


def test_what_lies_outside_the_sources_range_is_shaded_and_said(ax):
    plot_robustness(sweep([0.0, 0.2, 0.4], ["one"]), DRIFT, ax=ax)
    (patch,) = gid(ax, "outside")
    assert patch.get_x() == 0.2
    assert patch.get_x() + patch.get_width() == pytest.approx(ax.get_xlim()[1])
    assert ax.get_xlim()[1] > 0.4
    assert "relative drift above 0.2 lies outside the range its source gives" in caption(ax)
    assert "outside the source's range" in legend(ax)


def test_nothing_is_shaded_inside_the_range_or_without_one():
    for frame, x in ((sweep([None, 0.0, 0.2]), DRIFT), (sweep([0.0, 0.9], column="t_s"), "t_s")):
        ax = plot_robustness(frame, x, "technology", ax=Figure().subplots())
        assert gid(ax, "outside") == []
        assert "outside" not in caption(ax)


def test_another_range_can_be_given(ax):
    frame = sweep([0.0, 1.0, 5.0], ["one"], column="t_s")
    plot_robustness(frame, "t_s", ax=ax, source_range={"t_s": (0.5, 4.0, "measured from 0.5 to 4 s")})
    low, high = gid(ax, "outside")
    assert low.get_x() + low.get_width() == pytest.approx(0.5)
    assert low.get_x() == pytest.approx(ax.get_xlim()[0])
    assert high.get_x() == 4.0
    assert legend(ax).count("outside the source's range") == 1
    assert caption(ax).endswith("shaded: measured from 0.5 to 4 s")


# -- words


@pytest.mark.parametrize(
    ("column", "label"),
    [
        (DRIFT, r"relative drift $\sigma\,/\,G_\mathrm{target}$"),
        ("device.g_max_uS", "device.g_max (µS)"),
        ("t_s", "t (s)"),
        ("read_noise.temperature_K", "read_noise.temperature (K)"),
        ("read_noise.read_V", "read_noise.read (V)"),
        ("programming.alpha_ind", r"programming.alpha_ind (of $G_\mathrm{max}$)"),
        ("device.levels", "device.levels"),
        ("faults.p_stuck_lrs", "share of cells stuck at LRS, p_stuck_lrs"),
        ("faults.p_stuck_hrs", "share of cells stuck at HRS, p_stuck_hrs"),
    ],
)
def test_axis_labels_carry_units(ax, column, label):
    plot_robustness(sweep([1.0, 2.0], column=column), column, "technology", ax=ax)
    assert ax.get_xlabel() == label
    assert ax.get_ylabel() == "top-1 accuracy (%)"


@pytest.mark.parametrize("draw", ["robustness", "differences"])
@pytest.mark.parametrize(("levels", "whole"), [([3, 4, 5, 6], True), ([1, 2, 4], True), ([3.0, 4.0, 5.5, 6.0], False)])
def test_whole_numbers_have_no_ticks_between_them(ax, draw, levels, whole):
    frame = sweep(levels, column="adc.bits")
    if draw == "robustness":
        plot_robustness(frame, "adc.bits", "technology", ax=ax)
    else:
        plot_differences(frame, {"adc.bits": levels[0]}, "adc.bits", "technology", ax=ax)
    ticks = ax.get_xticks()
    assert len(ticks) > 1
    assert bool((ticks % 1 == 0).all()) == whole


def test_the_caption_says_what_the_interval_is_over(ax):
    plot_robustness(sweep([0.0, 0.1], ["one"]), DRIFT, "technology", ax=ax)
    assert caption(ax) == (
        "mean with 95 % t interval over 3 chips of this network on these 10 images; "
        "all chips: light, darker within the interval; dots: chips"
    )


def test_the_caption_calls_the_range_light_only_where_it_is_the_wider_one(ax):
    """Of 3 chips the t interval is +-25 points and the range +-10; of 12 chips it is +-6 of +-10 or so."""
    points, rows = [point("a", {DRIFT: 0.0}), point("b", {DRIFT: 0.1})], []
    for name in "ab":
        rows += [ok(name, seed, 7 + seed % 3) for seed in range(12)]
    plot_robustness(join(points, facts(*rows), [DRIFT]), DRIFT, ax=ax)
    assert "; light band: all chips; dots" in caption(ax)


@pytest.mark.parametrize("names", ["ab", "abc", "abcd"])
def test_curves_of_several_groups_have_bars_beside_their_means_and_no_bands(ax, names):
    plot_robustness(sweep([0.0, 0.1], list(names), images=40, digital=30, better=20), DRIFT, "technology", ax=ax)
    for j, name in enumerate(names):
        means, half = 100 * np.array([28 - j, 27 - j]) / 40, HALF / 4
        found = bars(ax, f"interval:{name}")
        assert [bar[1:] for bar in found] == [pytest.approx((mean - half, mean + half)) for mean in means]
        assert [bar[0] for bar in found] == pytest.approx([0.0, 0.1], abs=0.005)
        assert gid(ax, f"spread:{name}") == []
    assert len({bars(ax, f"interval:{name}")[0][0] for name in names}) == len(names)
    assert "all chips" not in caption(ax)


def test_the_caption_of_single_chips_and_of_two_networks():
    frame = sweep([0.0, 0.1])
    ax = plot_robustness(frame[frame["seed"] == 0], DRIFT, "technology", ax=Figure().subplots())
    assert caption(ax) == "one chip of this network on these 10 images, so no interval"
    frame["model"] = frame["technology"]
    ax = plot_robustness(frame, DRIFT, "model", ax=Figure().subplots())
    assert "of each network on these 10 images" in caption(ax)


def test_a_parameter_as_group_is_named_with_its_value(ax):
    plot_robustness(sweep([None, 0.1, 0.30000000000000004]), "technology", DRIFT, ax=ax)
    assert ax.get_legend().get_title().get_text() == DRIFT
    assert legend(ax)[:3] == ["none", "0.1", "0.3"]
    assert len(gid(ax, f"mean:{DRIFT} = none")[0].get_xdata()) == 2


def test_words_do_not_overlap_and_stay_on_the_page():
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    fig = Figure(figsize=(89 / 25.4, 3.2), layout="constrained")
    FigureCanvasAgg(fig)
    ax = plot_robustness(sweep([None, 0.1, 0.3, 0.5]), DRIFT, "technology", ax=fig.subplots())
    fig.draw_without_rendering()
    assert "mean with 95 % t interval" in rs.caption(ax, draw=True)
    fig.draw_without_rendering()
    boxes = [ax.get_legend(), ax.patch, ax.xaxis.label, gid(ax, "caption")[0], *ax.get_xticklabels()]
    boxes = [box.get_window_extent() for box in boxes]
    for i, box in enumerate(boxes):
        assert not any(box.padded(-0.5).overlaps(other.padded(-0.5)) for other in boxes[i + 1 :])
        assert fig.bbox.padded(1).containsx(box.x0)
        assert fig.bbox.padded(1).containsx(box.x1)
        assert fig.bbox.padded(1).containsy(box.y0)
        assert fig.bbox.padded(1).containsy(box.y1)


# -- refusals and manners


def test_refusals_surface_and_leave_no_figure():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    frame = sweep([0.0, 0.1])
    with pytest.raises(ValueError, match="holds 2, which differ in technology: give group='technology', or filter"):
        plot_robustness(frame, DRIFT)
    with pytest.raises(ValueError, match="did you mean technology"):
        plot_robustness(frame, DRIFT, "tecnology")
    with pytest.raises(ValueError, match="yield_drop"):
        plot_robustness(frame, DRIFT, "technology", yield_drop=2)
    none = join([point("a", {DRIFT: 0.1})], facts(failed("a", 0)), [])
    with pytest.raises(ValueError, match="needs a chip with status ok"):
        plot_robustness(none, DRIFT)
    assert plt.get_fignums() == before


def test_only_the_given_axes_are_touched(tmp_path):
    import matplotlib.pyplot as plt

    settings, figures = dict(mpl.rcParams), plt.get_fignums()
    fig = Figure()
    mine, other = fig.subplots(1, 2)
    before = [len(other.get_children()), other.get_xlim(), other.get_ylim(), fig.get_size_inches().tolist()]
    frame = sweep([0.0, 0.1])
    copy = frame.copy(deep=True)
    plot_robustness(frame, DRIFT, "technology", ax=mine)
    save_figure(fig, tmp_path / "plot.png")
    save_figure(fig, tmp_path / "plot.pdf")
    after = [len(other.get_children()), other.get_xlim(), other.get_ylim(), fig.get_size_inches().tolist()]
    assert after == before
    assert frame.equals(copy)
    assert frame.columns.tolist() == copy.columns.tolist()
    assert (dict(mpl.rcParams), plt.get_fignums()) == (settings, figures)
    assert (tmp_path / "plot.png").read_bytes()[:4] == b"\x89PNG"
    assert b"/CIDFontType2" in (tmp_path / "plot.pdf").read_bytes()


def test_the_users_style_does_not_change_the_curves_colours():
    with mpl.rc_context({"axes.prop_cycle": mpl.cycler(color=["red"]), "lines.linewidth": 9}):
        ax = plot_robustness(sweep([0.0, 0.1]), DRIFT, "technology", ax=Figure().subplots())
    curve = gid(ax, "mean:one")[0]
    assert (curve.get_color(), curve.get_linewidth()) == (COLOURS[0], 1.2)
    assert colors.to_hex(gid(ax, "chips:two")[0].get_facecolor()[0]) == COLOURS[1].lower()


@pytest.mark.parametrize("setting", ["interactive", "figure.facecolor", "toolbar"])
def test_settings_of_a_backend_that_loads_with_the_first_figure_stay(setting):
    value = {"interactive": True, "figure.facecolor": "red", "toolbar": "None"}[setting]
    outside = dict(mpl.rcParams)
    with mpl.rc_context():
        with styled():
            assert mpl.rcParams["axes.labelsize"] == STYLE["axes.labelsize"] != outside["axes.labelsize"]
            mpl.rcParams[setting] = value
        assert mpl.rcParams[setting] == value
        assert mpl.rcParams["axes.labelsize"] == outside["axes.labelsize"]


def test_a_figure_of_ours_is_saved_for_print_and_shown_as_any(tmp_path):
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    ax = plot_robustness(sweep([0.0, 0.1]), DRIFT, "technology")
    try:
        assert ax.figure.dpi == mpl.rcParams["figure.dpi"]
        for name, given, dpi in (("a", {}, 300), ("b", {"dpi": 50}, 50)):
            ax.figure.savefig(tmp_path / f"{name}.png", **given)
            assert plt.imread(tmp_path / f"{name}.png").shape[1] == int(89 / 25.4 * dpi)
        with mpl.rc_context({"savefig.dpi": 80}):
            ax.figure.savefig(tmp_path / "c.png")
        assert plt.imread(tmp_path / "c.png").shape[1] == int(89 / 25.4 * 80)
    finally:
        plt.close(ax.figure)


def test_letters_are_of_one_size_on_axes_of_any_maker(ax):
    plot_robustness(sweep([0.0, 0.1]), DRIFT, "technology", ax=ax)
    assert {ax.xaxis.label.get_fontsize(), ax.yaxis.label.get_fontsize()} == {7}


def test_without_axes_a_column_wide_figure_is_made():
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    ax = plot_robustness(sweep([0.0, 0.1]), DRIFT, "technology")
    try:
        assert ax.figure.get_size_inches()[0] == pytest.approx(89 / 25.4)
        assert ax.figure.number in plt.get_fignums()
    finally:
        plt.close(ax.figure)
