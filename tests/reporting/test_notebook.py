"""Frames in a notebook: the columns that are read, and the whole page in a frame of its own."""

import html
import re
import sys

import pandas as pd
import pytest

import rramsweep as rs
from rramsweep.errors import ValidationError
from tests.reporting.test_plots import DRIFT, sweep


def test_a_results_frame_shows_what_was_swept_and_the_score():
    frame = sweep([0.1, 0.2])
    text = frame._repr_html_()
    assert isinstance(frame, pd.DataFrame)
    assert "12 trials of 4 points, 0 failed" in text
    assert [name in text for name in (f"<th>{DRIFT}</th>", "<th>technology</th>", "<th>score</th>", "n_lost")] == [
        True,
        True,
        True,
        False,
    ]
    few = frame[frame["technology"] == "one"]
    assert "6 trials of 2 points" in few._repr_html_(), "a filtered frame is one as well"


def test_a_summary_shows_bounds_rounded_toward_caution():
    text = rs.summarize(sweep([0.1], ["one"], better=1), [DRIFT])._repr_html_()
    heads = ["chips", "mean", "95 % low", "95 % high", "bad end", "yield %"]
    assert all(f"<th>{name}</th>" in text for name in heads)
    assert all(f"<td>{cell}</td>" in text for cell in ("90.00 %", "65.15", "100.00", "80.00 worst chip", "100"))


@pytest.mark.parametrize(
    "of", [lambda f: f.describe(), lambda f: f[["seed"]], lambda f: rs.summarize(f, ["technology", DRIFT])[["n"]]]
)
def test_what_only_descends_from_a_frame_is_shown_as_pandas_does(of):
    part = of(sweep([0.1]))
    assert part._repr_html_() == pd.DataFrame(part)._repr_html_()


def test_names_in_a_frame_are_text():
    frame = sweep([0.1]).assign(technology="<b>evil</b>")
    assert "<b>evil" not in frame._repr_html_()


def test_the_page_is_put_into_the_notebook(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    assert rs.show(sweep([0.1, 0.2]), height=500) is None
    (embedded,) = shown
    text = embedded._repr_html_()
    assert text.startswith("<iframe srcdoc=")
    assert "height: 500px" in text
    page = html.unescape(text[text.index('"') + 1 : text.index('" sandbox')])
    assert page == embedded.html
    assert page.count("<figure") == 4
    assert re.search(r"Digital (<[^>]*>)?80.0 %", page)


def test_without_ipython_it_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(ValidationError, match=r"rs.show must have IPython .*: pip install ipython"):
        rs.show(sweep([0.1]))
