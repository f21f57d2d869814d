"""Sweeps of more than a plot can show: it draws what can be told apart and names the rest; tables stay whole."""

from __future__ import annotations

import copy
import html
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import rramsweep as rs
from rramsweep.analysis.frames import ImageCounts
from rramsweep.analysis.summary import summarize
from rramsweep.reporting import page, report
from rramsweep.reporting.figures import figures_for
from rramsweep.reporting.findings import findings
from rramsweep.reporting.style import MOST_COLOURS, MOST_NAMES, MOST_SHADES, evenly
from rramsweep.reporting.terminal import show_table
from tests.reporting.test_plots import DRIFT, caption, legend, sweep

LEVELS = [i / 1000 for i in range(100)]
NAMES = [f"t{i}" for i in range(100)]
ROOM = {"better": 200, "images": 300, "digital": 250}


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


def shown(ax, what):
    """Names of the groups that have an artist of this kind."""
    return [gid.partition(":")[2] for a in ax.get_children() if (gid := str(a.get_gid())).startswith(f"{what}:")]


@pytest.mark.parametrize(
    ("n", "most", "places"),
    [(0, 3, []), (1, 3, [0]), (3, 3, [0, 1, 2]), (4, 3, [0, 2, 3]), (9, 3, [0, 4, 8]), (100, 4, [0, 33, 66, 99])],
)
def test_places_are_even_from_the_first_to_the_last(n, most, places):
    assert evenly(n, most) == places


@pytest.mark.parametrize("n", [MOST_SHADES, MOST_SHADES + 1, 3000])
def test_no_place_is_taken_twice(n):
    places = evenly(n, MOST_SHADES)
    assert len(set(places)) == MOST_SHADES
    assert np.diff(places).max() - np.diff(places).min() <= 1


@pytest.mark.parametrize(("draw", "what"), [(rs.plot_ecdf, "ecdf"), (rs.plot_yield, "yield")])
def test_stairs_of_many_numbers_are_those_of_even_levels(ax, draw, what):
    draw(sweep(LEVELS[::-1], ["one"], **ROOM), DRIFT, ax)  # swept downwards, drawn ascending
    drawn = shown(ax, what)
    assert drawn == [f"{LEVELS[i]:g}" for i in evenly(100, MOST_SHADES)]
    assert "left out, evenly: 94 of 100 values of drift.relative_drift (0.001, 0.002, 0.003, ..., 0.098)" in caption(ax)


@pytest.mark.parametrize(("draw", "what"), [(rs.plot_ecdf, "ecdf"), (rs.plot_yield, "yield")])
def test_stairs_of_many_names_are_12(ax, draw, what):
    draw(sweep([0.1], NAMES, **ROOM), "technology", ax)
    assert shown(ax, what) == [NAMES[i] for i in evenly(100, MOST_COLOURS)]
    assert "left out, evenly: 88 of 100 values of technology (t1, t2, t3, ..., t98)" in caption(ax)


@pytest.mark.parametrize(
    "draw", [rs.plot_robustness, lambda *a, ax: rs.plot_differences(a[0], {DRIFT: 0.0}, *a[1:], ax)]
)
def test_curves_of_many_groups_are_12(ax, draw):
    draw(sweep([0.0, 0.1, 0.2], NAMES, **ROOM), DRIFT, "technology", ax=ax)
    assert shown(ax, "mean") == [NAMES[i] for i in evenly(100, MOST_COLOURS)]
    assert "left out, evenly: 88 of 100 values of technology (t1, t2, t3, ..., t98)" in caption(ax)


def test_groups_that_are_numbers_are_taken_in_ascending_order_and_titled_once(ax):
    frame = pd.concat(
        [sweep([0.0, 1.0], [f"t{level}"], "t_s", **ROOM).assign(**{DRIFT: level}) for level in LEVELS[::-1]]
    )
    rs.plot_robustness(frame, "t_s", DRIFT, ax)
    assert set(shown(ax, "mean")) == {f"{DRIFT} = {LEVELS[i]:g}" for i in evenly(100, MOST_COLOURS)}
    assert ax.get_legend().get_title().get_text() == DRIFT
    assert set(legend(ax)[:12]) == {f"{LEVELS[i]:g}" for i in evenly(100, MOST_COLOURS)}


def test_names_along_the_axis_are_16_and_each_drawn_chip_is_of_one_of_them(ax):
    rs.plot_robustness(sweep([0.1], NAMES, **ROOM), "technology", ax=ax)
    assert [label.get_text() for label in ax.get_xticklabels()] == [NAMES[i] for i in evenly(100, MOST_NAMES)]
    (dots,) = [artist for artist in ax.get_children() if artist.get_gid() == "chips:mean"]
    assert len(dots.get_offsets()) == 3 * MOST_NAMES
    assert "left out, evenly: 84 of 100 values of technology" in caption(ax)


def test_a_curve_of_many_numbers_stays_whole_without_marks(ax):
    levels = [i / 10000 for i in range(2000)]
    frame = pd.concat([sweep(levels, ["one"], better=2500, images=3000, digital=2900)])
    rs.plot_robustness(frame, DRIFT, ax=ax)
    (curve,) = [artist for artist in ax.get_lines() if artist.get_gid() == "mean:mean"]
    assert len(curve.get_xdata()) == 2000
    assert curve.get_marker() == ""
    (dots,) = [artist for artist in ax.get_children() if artist.get_gid() == "chips:mean"]
    assert len(dots.get_offsets()) == 3000
    assert "dots: one of 2 chips" in caption(ax)
    assert "left out" not in caption(ax)


def test_what_can_be_told_apart_is_drawn_whole(ax):
    rs.plot_robustness(sweep([0.0, 0.1], NAMES[:MOST_COLOURS], **ROOM), DRIFT, "technology", ax)
    assert shown(ax, "mean") == NAMES[:MOST_COLOURS]
    assert "left out" not in caption(ax)


def test_the_page_names_all_that_a_figure_leaves_out_and_keeps_every_row():
    frame = sweep([0.1], NAMES, **ROOM)
    summary = summarize(frame, ["technology"])
    figures = figures_for(frame)
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg" width="1pt" height="1pt"/>'
    pictures = [page.Picture(name, drawing, left_out=figure.left_out) for name, figure in figures.items()]
    text = page.render(frame, summary, findings(frame, summary, ["technology"]), None, [], pictures)
    for name, most in (("ecdf", MOST_COLOURS), ("robustness", MOST_NAMES)):
        (figure,) = re.findall(rf'<figure><div class="card"><svg [^>]*aria-label="{name}".*?</figure>', text, re.DOTALL)
        (listed,) = re.findall(r"left out</summary>(.*?)</details>", figure)
        rest = [value for i, value in enumerate(NAMES) if i not in evenly(100, most)]
        assert html.unescape(listed).split(", ") == rest
        assert f"{len(rest)} of 100 values of technology left out" in figure
    body = text[text.index('<table id="points">') :]
    assert re.findall(r'data-key="(t\d+)"', body) == NAMES


# -- the table of the terminal


def printed(table, width):
    console = Console(file=io.StringIO(), width=width)
    show_table(table, console)
    return console.file.getvalue().splitlines()


def table_of(columns, rows):
    table = Table(title="a title")
    for name, right in columns.items():
        table.add_column(name, justify="right" if right else "left", no_wrap=right)
    for row in rows:
        table.add_row(*row)
    return table


def test_the_terminal_prints_every_row_of_a_long_table():
    frame = sweep([0.1], NAMES, **ROOM)
    console = Console(file=io.StringIO(), width=100)
    report.show(frame, summarize(frame, ["technology"]), Path("folder"), console)
    lines = console.file.getvalue().splitlines()
    assert [line.split()[0] for line in lines if re.match(r"t\d+ ", line)] == NAMES


def test_columns_are_as_wide_as_their_longest_text():
    lines = printed(table_of({"name": False, "n": True}, [["a", "1"], ["[red]b", "100"], ["字", "20"]]), 40)
    assert lines == ["a title", "name      n", "a         1", "[red]b  100", "字       20"]


def test_headings_break_and_texts_wrap_where_the_screen_is_narrow():
    table = table_of({"drift.relative_drift": False, "model": False, "n": True}, [["0.1", "long " * 6, "3"]])
    lines = printed(table, 30)
    assert lines[:3] == ["a title", "drift.", "relative_drift  model        n"]
    assert lines[3].split() == ["0.1", "long", "long", "3"]
    assert {line.strip() for line in lines[4:]} == {"long long"}
    assert all(len(line) <= 30 for line in lines)


# -- counts by image


def test_counts_by_image_are_not_copied_with_a_frame():
    frame = sweep([0.0, 0.1])
    frame.attrs["images"] = ImageCounts({"one0": {"n_chips": 3, "n_correct": [1, 2]}})
    assert frame[frame["seed"] > 0].attrs["images"] is frame.attrs["images"]
    assert copy.deepcopy(frame).attrs["images"] == {"one0": {"n_chips": 3, "n_correct": [1, 2]}}
