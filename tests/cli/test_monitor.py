"""Progress as a log sees it: plain lines, from the files of the shards."""

from __future__ import annotations

import re
import time

import pytest

from rramsweep.cli import monitor
from rramsweep.cli.monitor import Monitor
from rramsweep.study.progress import ProgressFile, Tally


def lines(folder, capsys, tallies, **more):
    for shard, tally in enumerate(tallies):
        ProgressFile(folder, shard, every_s=0.0)(tally)
    seen = ""
    with Monitor(folder, 10, **more):
        while "left" not in seen:
            time.sleep(0.01)
            seen = capsys.readouterr().err
    return seen.splitlines()[0], capsys.readouterr().err.splitlines()[-1]


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(monitor, "LOG_S", 0.02)


def test_lines_add_up_the_shards_and_end_without_a_time_left(tmp_path, capsys):
    going, last = lines(tmp_path, capsys, [Tally(ok=3), Tally(ok=1, failed=1)])
    assert re.fullmatch(r"5/10 trials, [\d.]+ chips/s, \d+ s left, 1 failed", going)
    assert re.fullmatch(r"5/10 trials, [\d.]+ chips/s, 1 failed", last)


def test_a_stopping_rule_may_end_before(tmp_path, capsys):
    going, last = lines(tmp_path, capsys, [Tally(ok=4)], at_most=True)
    assert re.fullmatch(r"4 of at most 10 trials, [\d.]+ chips/s, at most \d+ s left", going)
    assert re.fullmatch(r"4 of at most 10 trials, [\d.]+ chips/s", last)
