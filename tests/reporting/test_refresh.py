"""The sentence on times to failure, on chips whose every loss is known, against `time_to_failure`."""

import io

import pandas as pd
import pytest
from rich.console import Console

import rramsweep as rs
from rramsweep.analysis.summary import summarize
from rramsweep.reporting import report
from rramsweep.reporting.findings import findings
from rramsweep.reporting.refresh import refresh_words
from rramsweep.scale import HIGHER, NAME, UNIT
from tests.reporting.test_findings import sweep

LEVELS = (0.0, 1.0, 3600.0, 86400.0)


def worn(bad, levels=LEVELS, **more):
    return sweep(bad, column="t_s", levels=levels, swept=["technology", "t_s"], **more)


def words(frame):
    return refresh_words(frame, summarize(frame, ["technology", "t_s"]))


@pytest.mark.parametrize(
    ("bad", "levels", "chips", "life"),
    [
        ((0, 0, 10, 50), LEVELS, 50, "1 h (1 h)"),
        ((0, 6, 9, 50), LEVELS, 50, "1 s (1 s to 1 d)"),
        ((0, 0, 0, 0), LEVELS, 50, "after 1 d (after 1 d)"),
        ((0, 0, 0, 0), LEVELS, 10, "after 1 d (0 s to after 1 d)"),
        ((0, 0, 0), LEVELS[1:], 10, "after 1 d (before 1 s to after 1 d)"),
        ((0, 0, 0), LEVELS[1:], 50, "after 1 d (after 1 d)"),
        ((50, 50, 50), LEVELS[1:], 50, "1 s (before 1 s to 1 s)"),
    ],
)
def test_a_curves_life_its_interval_and_what_lies_beyond_the_times(bad, levels, chips, life):
    frame = worn(bad, levels, chips=chips)
    (sentence,) = words(frame)
    assert f"interval: {life}. Refresh earlier" in sentence
    found = rs.time_to_failure(frame, ["technology"], 0.9).iloc[0]
    assert pd.isna(found["life_s"]) is life.startswith("after")


def test_each_curve_is_named_with_yield_and_metric():
    frame = pd.concat([worn((0, 0, 10, 50)), worn((0, 50, 50, 50), technology="worse")], ignore_index=True)
    frame.attrs = worn((0, 0, 10, 50)).attrs
    (sentence,) = words(frame)
    assert "fewer than 90 % of chips are still good (top-1 accuracy at most 2 points below digital)" in sentence
    assert "95 % interval: alone: 1 h (1 h); worse: 1 s (1 s)." in sentence


def test_of_many_curves_the_shortest_and_the_longest_life_are_named():
    bad = [(0, 0, 10, 50), *[(0, 0, 50, 50)] * 8, (0, 0, 0, 50), (0, 50, 50, 50)]
    parts = [worn(each, technology=f"t{i}", chips=50) for i, each in enumerate(bad)]
    frame = pd.concat(parts, ignore_index=True)
    frame.attrs = parts[0].attrs
    (sentence,) = words(frame)
    assert "shortest and longest of 11: t10: 1 s (1 s); t9: 1 d (1 d)." in sentence


def test_no_sentence_without_times_a_yield_or_one_metric():
    frame = worn((0, 0, 10, 50))
    assert words(frame[frame["t_s"] == 0.0]) == []
    assert words(frame.assign(**{NAME: "loss", UNIT: "nat", HIGHER: False})) == []
    other = frame.assign(**{NAME: "other", "point_id": frame["point_id"] + "x"})
    both = pd.concat([frame, other], ignore_index=True)
    both.attrs = frame.attrs
    assert refresh_words(both, summarize(both, ["technology", "t_s", NAME])) == []


def test_terminal_and_findings_have_the_sentence(tmp_path):
    frame = worn((0, 0, 10, 50))
    summary = summarize(frame, ["technology", "t_s"])
    (sentence,) = words(frame)
    assert findings(frame, summary, ["technology", "t_s"]).sentences[0] == sentence
    out = io.StringIO()
    report.show(frame, summary, tmp_path, Console(file=out, width=1000))
    assert sentence in out.getvalue()
