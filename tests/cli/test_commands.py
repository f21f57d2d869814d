"""The verbs that run no chip: plan, store, explain."""

from __future__ import annotations

from pathlib import Path

import pytest

import rramsweep as rs
from rramsweep.cli.main import main
from rramsweep.study.store import Store

POINT = ["model=digits_mlp", "data=digits", "data.limit=50"]


def test_plan_lists_and_estimates_and_keeps_nothing(workdir, capsys):
    rs.sweep([*POINT, "drift.relative_drift=0.1", "chips=3"])
    main(["plan", "-m", *POINT, "drift.relative_drift=0.1,0.2", "chips=5"])
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()[2:4]]
    assert [(r[0], r[2], r[3]) for r in rows] == [("0.1", "5", "3"), ("0.2", "5", "0")]
    assert "trials 10, to compute 7" in out
    assert "nothing was kept" in out
    assert Store(Path("outputs/store")).facts().num_rows == 3
    assert [p.name for p in Path("outputs").iterdir()] == ["store"]


def test_plan_of_one_point(workdir, capsys):
    main(["plan", *POINT, "chips=5"])
    assert "points 1, trials 5, to compute 5" in capsys.readouterr().out
    assert not Path("outputs").exists()


def test_plan_with_a_stopping_rule_says_at_most(workdir, capsys):
    main(["plan", *POINT, "stopping=interval", "stopping.max_chips=80"])
    assert "trials at most 80, to compute at most 80" in capsys.readouterr().out


def test_store_shows_size_and_compacts(workdir, capsys):
    for chips in (1, 2, 3):
        rs.sweep([*POINT, "drift.relative_drift=0.1,0.2", f"chips={chips}"])
    main(["store"])
    assert "2 points, 6 trials, 0 failed; " in capsys.readouterr().out
    main(["store", "outputs/store", "--compact"])
    assert "6 trials, 0 failed; 2 fragments" in capsys.readouterr().out


def test_explain_prints_the_text_that_was_hashed(workdir, capsys):
    from rramsweep.identity import digest

    frame = rs.sweep([*POINT, "drift.relative_drift=0.1", "chips=1"])
    point_id = frame.point_id.iloc[0]
    main(["explain", point_id[:8]])
    out = capsys.readouterr().out
    head, text = out.rstrip("\n").split("\n", 1)
    assert point_id in head
    assert digest(text) == point_id
    assert "relative_drift=0.1" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["explain"], "POINT_ID"),
        (["explain", "zzz", "s"], "no point of s begins with 'zzz'"),
        (["explain", "a", "nowhere"], "there is none at nowhere"),
        (["explain", "", "s"], "no point of s begins with ''"),
        (
            ["stor"],
            "budget, sensitivity, spread, finetune, list, report, store, explain, got 'stor': did you mean store",
        ),
        (["store", "nowhere"], "there is none at nowhere"),
        (["store", "--pack"], "--pack"),
        (["plan", "-m", "drift.relative_drift=0.1,7"], "must lie in 0..1"),
    ],
)
def test_bad_calls_are_one_line(workdir, capfd, arguments, says):
    Store(Path("s")).prepare()
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert says in line
