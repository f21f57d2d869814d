"""`rramsweep budget` and `rs.budget`: agreement with a fine sweep, the store, refusals, files and words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import rramsweep as rs
from rramsweep.analysis.budget import Bracket, Search, budget_table, tolerated_rank
from rramsweep.cli import budgeting
from rramsweep.cli.main import main
from rramsweep.cli.overrides import one_line
from rramsweep.reporting.budget_findings import budget_findings
from rramsweep.scale import Scale
from rramsweep.simulation import passes, shard
from rramsweep.simulation.trial import failure
from rramsweep.study.store import Store

POINT = ["model=digits_mlp", "data=digits", "data.limit=100"]
DEAD = ["programming=gaussian", "programming.alpha_ind=0.3"]
DRIFT = "drift.relative_drift=0..0.5"
# The fewest chips for a yield of one half.
HALF = ["target.yield=0.5", "chips=5"]


@pytest.mark.filterwarnings("ignore")
def test_the_budget_agrees_with_a_fine_sweep_of_the_same_chips(workdir):
    point = ["model=digits_cnn", "data=digits", "chips=29"]
    table = rs.budget([*point, "target.yield=0.9", DRIFT])
    (row,) = table.to_dict("records")
    # All levels about it, on all chips, most of which the bisection did not try there.
    levels = [row["tolerated"] + k * row["resolution"] for k in range(-2, 3)]
    frame = rs.sweep([*point, f"drift.relative_drift={','.join(map(str, levels))}"])
    good = frame["digital_score"] - frame["score"] <= 0.02 + 1e-9
    failing = (~good).groupby(frame["drift.relative_drift"]).sum()
    rank = tolerated_rank(29, 0.9)
    met = failing[failing < rank].index.max()
    assert rank == 1
    assert failing.loc[row["tolerated"]] < rank
    assert abs(met - row["tolerated"]) <= row["resolution"]
    assert (row["larger"], row["status"], row["today"], row["n"]) == ("hurts", "within", 0.0, 29)


@pytest.mark.filterwarnings("ignore")
def test_a_second_call_computes_nothing_and_gives_the_same(workdir, monkeypatch):
    first = rs.budget([*POINT, *HALF, DRIFT])
    n = Store(Path("outputs/store")).size()["trials"]
    # Of five chips today, which is the harmless end, the other end, quarters, and four halvings; two pass at both ends.
    assert n == 5 * 5 + 3 * 4
    monkeypatch.setattr(budgeting, "run_shard", None)
    second = rs.budget([*POINT, *HALF, DRIFT])
    pd.testing.assert_frame_equal(first, second)
    assert first.attrs == second.attrs


@pytest.mark.filterwarnings("ignore")
def test_a_budget_that_was_interrupted_goes_on_by_the_same_command(workdir, monkeypatch, capfd):
    words = ["budget", *POINT, *HALF, DRIFT]
    rounds = []

    def interrupted(work, *rest):
        rounds.append(work.left())
        if len(rounds) == 3:
            raise KeyboardInterrupt
        return shard.run_shard(work, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(budgeting, "run_shard", interrupted)
        with pytest.raises(SystemExit) as end:
            main(words)
    assert end.value.code == 130
    out, err = capfd.readouterr()
    assert "interrupted, with 10 new trials kept in " in err
    assert err.strip().endswith("run the same command to go on")
    assert not Path("outputs/sweep").exists()
    main(words)
    out = capfd.readouterr().out
    assert "round 1: points 3, trials 15, to compute 15" in out
    assert Store(Path("outputs/store")).size()["trials"] == 5 * 5 + 3 * 4
    (folder,) = Path("outputs/sweep/budget").iterdir()
    assert {path.name for path in folder.iterdir()} == {"budget.csv", "budget.parquet", "levels.csv", "budget.png"}
    table = pd.read_parquet(folder / "budget.parquet")
    assert table.attrs["findings"][0] in out
    texts = pd.read_csv(folder / "budget.csv").fillna({"unit": ""})
    pd.testing.assert_frame_equal(texts, table, check_dtype=False)
    levels = pd.read_csv(folder / "levels.csv")
    assert list(levels["seed"]) == [0, 1, 2, 3, 4]
    assert levels["drift.relative_drift"].min() == table["tolerated"][0]


@pytest.mark.filterwarnings("ignore")
def test_bits_step_and_help_and_their_margin_is_of_lsbs(workdir):
    table = rs.budget([*POINT, *HALF, "tile=crossbar", "adc=uniform", "programming=gaussian", "adc.bits=2..8"])
    (row,) = table.to_dict("records")
    assert (row["larger"], row["resolution"], row["today"]) == ("helps", 1.0, 8.0)
    assert row["tolerated"] in range(3, 8)
    assert row["margin"] == 2.0 ** (8 - row["tolerated"])


@pytest.mark.filterwarnings("ignore")
def test_where_none_reaches_the_target_alone_the_first_sentence_says_what_all_do_together(workdir):
    point = [*POINT, *HALF, *DEAD, "relaxation=gaussian", "relaxation.alpha_ind=0.2"]
    table = rs.budget([*point, "relaxation.alpha_ind=0..0.2", "programming.alpha_ind=0..0.3"])
    joint, first = table.attrs["joint"], table.attrs["findings"][0]
    assert set(table["status"]) == {"none"}
    assert first.startswith("no single parameter reaches the target of 50 % with the others as they are (0 of 5")
    assert f"all together do with errors of {joint['factor']:.4g} times today's" in first
    assert 0 < joint["factor"] < 1
    assert joint["levels"]["programming.alpha_ind"] == pytest.approx(0.3 * joint["factor"])
    assert joint["levels"]["relaxation.alpha_ind"] == pytest.approx(0.2 * joint["factor"])
    frame = rs.sweep(
        [*POINT, *DEAD, "relaxation=gaussian", "chips=5", *(f"{k}={v}" for k, v in joint["levels"].items())]
    )
    assert (frame["digital_score"] - frame["score"] <= 0.02 + 1e-9).all()


@pytest.mark.filterwarnings("ignore")
def test_a_lower_score_may_be_better(workdir):
    point = [*POINT, *HALF, "metric=cross_entropy", "target.drop=0.1"]
    table = rs.budget([*point, DRIFT])
    level = table["tolerated"][0]
    frame = rs.sweep([*POINT, "metric=cross_entropy", "chips=5", f"drift.relative_drift={level},{level + 0.0078125}"])
    worst = (frame["score"] - frame["digital_score"]).groupby(frame["drift.relative_drift"]).max()
    assert (worst <= 0.1).tolist() == [True, False]
    assert "at most 0.1 nat above digital" in budgeting.target_words(table)


def test_chips_that_are_all_the_same_are_one(workdir):
    point = [*POINT, "tile=crossbar", "adc=uniform"]
    with pytest.warns(UserWarning, match="nothing is drawn at random"):
        table = rs.budget([*point, "target.yield=0.9", "adc.bits=2..8"])
    assert table["n"].tolist() == [1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([DRIFT], "target.yield must be given, the share of chips that shall pass: add target.yield=0.9"),
        (["target.yield=0.9"], "a budget is of one or more parameters, each with a bracket: add PARAMETER=LOW..HIGH"),
        (["target.yield=1", DRIFT], "target.yield must lie between 0 and 1, both excluded"),
        (["target.yield=0", DRIFT], "target.yield must lie between 0 and 1, both excluded"),
        (["target.yield=90%", DRIFT], "target.yield must be one number, got '90%': give target.yield=0.9"),
        (
            ["target.yeild=0.9", DRIFT],
            "target.yeild is not a setting of a target, got 'target.yeild=0.9': did you mean",
        ),
        ([*HALF, "target.drop=-1", DRIFT], "target.drop must be a finite number >= 0"),
        ([*HALF, "target.drop=2", DRIFT], "target.drop must be at most 1 for top-1 accuracy"),
        ([*HALF, "metric=cross_entropy", DRIFT], "target.drop must be given for cross-entropy (nat)"),
        (
            [*HALF, "drift.relative_drift=0.5..0"],
            "LOW below HIGH, as drift.relative_drift=LOW..HIGH, got 0.5..0: exchange",
        ),
        ([*HALF, "drift.relative_drift=0.5..0.5"], "got 0.5..0.5: give another end"),
        ([*HALF, "drift.relative_drift=0..1.5"], "drift.relative_drift must lie in 0..1"),
        ([*HALF, "drift.relative_drift=0..high"], "a bracket is PARAMETER=LOW..HIGH, two numbers"),
        ([*HALF, "t_s=1h..1d"], "a bracket is PARAMETER=LOW..HIGH, two numbers"),
        (
            [*HALF, "drift.relative_drift=0.4..0.5"],
            "drift.relative_drift must have a bracket that holds today's 0, got 0.4..0.5: give "
            "drift.relative_drift=0..0.5",
        ),
        (
            [*HALF, "drift.relative_drift=0.2", "drift.relative_drift=0..0.1"],
            "holds today's 0.2, got 0..0.1: give drift.relative_drift=0..0.2",
        ),
        ([*HALF, "tile=crossbar", "adc=uniform", "adc.bits=9..12"], "holds today's 8, got 9..12: give adc.bits=8..12"),
        (
            [*HALF, "drift.relative_drift=0...5"],
            "got 'drift.relative_drift=0...5': write drift.relative_drift=0..5 or drift.relative_drift=0..0.5",
        ),
        ([*HALF, "drift.relative_drift=.1...5"], "write drift.relative_drift=.1..5 or drift.relative_drift=.1..0.5"),
        ([*HALF, "drift.relative_drift=0....5"], "a bracket is PARAMETER=LOW..HIGH, two numbers"),
        ([*HALF, "target.yield=0.9", DRIFT], "target.yield must be given once, got 0.5 and 0.9: leave one out"),
        ([*HALF, "+target.yield=0.9", DRIFT], "target.yield must be given once, got 0.5 and 0.9: leave one out"),
        ([*HALF, "interval=anytime", DRIFT], "interval must be t, since a budget has no interval of a mean"),
        ([*HALF, "cost=published", DRIFT], "cost must be none, since a budget is of scores alone, got 'published'"),
        ([*HALF, DRIFT, DRIFT], "drift.relative_drift must have one bracket, got 0..0.5 and 0..0.5: leave one out"),
        ([*HALF, "drift.relative_drift=0,0.1", DRIFT], "budget takes a bracket, PARAMETER=LOW..HIGH"),
        ([*HALF, "drift=ideal", DRIFT], "drift.relative_drift is not there to be set, because it is a parameter of"),
        ([*HALF, "wires.word_line_ohm=0..10"], "because it is a parameter of wires=segments: choose that too"),
        ([*HALF, "drift.relative_drfit=0..0.5"], "did you mean drift.relative_drift?"),
        ([*HALF, "foo.bar=0..1"], "foo.bar is not there to be set"),
        ([*HALF, "adc=4..10"], "a bracket must be of a parameter of adc, got 'adc=4..10': write adc.NAME=LOW..HIGH"),
        ([*HALF, "chips=5..9", DRIFT], "a bracket must be of a parameter of the chips, which is then searched"),
        ([*HALF, "data.limit=5..9", DRIFT], "got 'data.limit=5..9': give data.limit one value"),
        ([*HALF, "mapping.percentile=90..99"], "mapping.percentile must change the chips to have a budget"),
        ([*HALF, "t_s=0..1e6"], "nothing depends on it (no law of time in relaxation, drift or read_noise)"),
        ([*HALF, "tile=crossbar", "adc=uniform", "adc.bits=4.5..8"], "adc.bits must be int, got 4.5"),
        ([*HALF, "tile=crossbar", "adc=uniform", "adc.bits=4..40"], "adc.bits must lie in 2..16"),
        (
            ["target.yield=0.9", "chips=28", DRIFT],
            "chips must be at least 29 to show a yield of 0.9 at 95 %, got 28",
        ),
        ([*HALF, "device.levels=2", "device.step_uS=null", DRIFT], "target.drop must be met by some level"),
        ([*HALF[:1], "stopping=interval", DRIFT], "stopping must be fixed"),
        ([*HALF, "shards=2", DRIFT], "shards is of the command line alone, while budget computes every trial"),
        ([*HALF, "-m", DRIFT], "budget must be given overrides NAME=VALUE alone"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_refused_before_any_chip(workdir, monkeypatch, words, message):
    monkeypatch.setattr(budgeting, "run_shard", None)
    with pytest.raises(ValueError) as error:  # noqa: PT011
        rs.budget([*POINT, *words])
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not Path("outputs").exists()


def test_the_command_refuses_in_one_line(workdir, capfd):
    with pytest.raises(SystemExit) as end:
        main(["budget", *POINT, "target.yield=0.9", "drift.relative_drfit=0..0.5"])
    assert end.value.code == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith("did you mean drift.relative_drift?")


@pytest.mark.filterwarnings("ignore")
def test_a_failed_chip_ends_the_budget_in_one_line(workdir, monkeypatch):
    def failed(bench, seed):
        return {"point_id": bench.point_id, "seed": seed, **failure(RuntimeError("boom"))}, None

    monkeypatch.setattr(passes, "run_trial", failed)
    with pytest.raises(
        ValueError, match=r"every chip, but 5 of 5 trials failed, most often with .*boom.*retry_failed=true"
    ):
        rs.budget([*POINT, *HALF, "programming=gaussian", DRIFT])


@pytest.mark.filterwarnings("ignore")
def test_a_single_parameter_that_does_not_suffice_says_so(workdir):
    table = rs.budget([*POINT, *HALF, *DEAD, DRIFT])
    assert table.attrs["joint"] is None
    first = table.attrs["findings"][0]
    assert first.startswith("drift.relative_drift alone does not reach the target of 50 % (0 of 5")
    assert "at any level that was tried: at best 0 of 5 chips pass at 0, so something else limits" in first
    assert first.endswith("perhaps what stays as it is: programming.alpha_ind=0.3; give a bracket to it")
    assert np.isnan(table["tolerated"][0])
    assert table["margin"][0] == 0


@pytest.mark.filterwarnings("ignore")
def test_where_not_even_all_together_suffice_what_stays_is_named(workdir):
    table = rs.budget([*POINT, *HALF, *DEAD, DRIFT, "device.g_max_uS=50..150"])
    first = table.attrs["findings"][0]
    assert first.startswith("no single parameter reaches the target of 50 %")
    assert first.endswith(
        "so something else limits, perhaps what stays as it is: programming.alpha_ind=0.3; give a bracket to it"
    )
    assert " 0 0 " not in first


def searches_of(**passes):
    """A finished budget of ten chips, all passing where `passes(level)` is true, and none as configured."""
    searches = {}
    for name, good in passes.items():
        search = searches[f"a.{name}"] = Search(Bracket(f"a.{name}", 0.0, 1.0), range(10), helps=False)
        while wanted := search.wanted():
            for level, chips in wanted.items():
                for seed in chips:
                    search.observe(level, seed, good(level), level)
    return searches


def findings_of(searches, today, passing, joint=None):
    table = budget_table(searches, dict.fromkeys(searches, today), passing, 1, 2)
    violations = {name: search.violations() for name, search in searches.items()}
    table.attrs = {"rank": 1, "target_yield": 0.7, "violations": violations, "joint": joint, "errors": []}
    return budget_findings(table)


@pytest.mark.parametrize("passing", [0, 10])
@pytest.mark.parametrize("level", [0.25, 0.5, 0.75, 1 / 64])
def test_a_level_inside_that_reaches_the_target_is_in_the_first_sentence(level, passing):
    first, second, *_ = findings_of(searches_of(x=lambda at: at == level), 0.9, passing)
    assert f"a.x is not monotonic: 10 of 10 chips pass at {level:.8g}, so sweep it about that level" in first
    assert first.startswith("the target of 70 % is met" if passing else "the target of 70 % is not met")
    assert "does not reach" not in first
    assert "not even" not in first
    assert second.startswith("not monotonic: 10 of 10 chips pass at a level of a.x that is worse than one they fail at")
    assert second.endswith(f"; 10 of 10 chips pass at {level:.8g}, more than at its harmless end")


def test_all_together_may_be_not_monotonic_either():
    joint = {"factor": None, "levels": {"a.x": 0.4, "a.y": 0.4}, "peak": 0.5, "passing_peak": 10}
    first, *_ = findings_of(searches_of(x=lambda _: False, y=lambda _: False), 0.8, 0, joint)
    assert first.endswith(
        "but all together do though they are not monotonic: 10 of 10 chips pass with errors of 0.5 times today's, so "
        "sweep about a.x 0.8 -> 0.4, a.y 0.8 -> 0.4"
    )


@pytest.mark.filterwarnings("ignore")
def test_notes_that_differ_in_numbers_alone_are_one(workdir):
    words = [*POINT, *HALF, "device.step_uS=null", "device.levels=2..64", "programming=gaussian"]
    with one_line():
        notes = budgeting._request(words).notes
    (note,) = [note for note in notes if "levels under mapping" in note]
    assert note.startswith("device=generic of 2 levels")
    assert note.endswith(" (and 4 more such notes, with other numbers)")
    assert budgeting._alike(["fc1 at 2", "fc2 at 2", "fc1 at 3.5e-3"]) == [
        "fc1 at 2 (and 1 more such note, with other numbers)",
        "fc2 at 2",
    ]


def test_the_figure_that_the_command_writes_shows_its_caption(workdir, monkeypatch):
    drawn = []
    monkeypatch.setattr(budgeting, "save_figure", lambda figure, _: drawn.extend(figure.axes[0].texts))
    table = plotted(levels={"adc.bits": {0: 6}})
    budgeting.write(table, Path("out"))
    (text,) = [text for text in drawn if text.get_gid() == "caption"]
    assert text.get_visible()
    words = " ".join(text.get_text().split())
    assert all(part in words for part in ("90 % of chips", "at 95 % confidence", "29 chips"))
    ax = rs.plot_budget(table, Figure().subplots())
    assert not any(text.get_visible() for text in ax.texts if text.get_gid() == "caption")


def plotted(**changes):
    """A table of a bits parameter within, one that is tolerated at its end, and one of which nothing is tolerated."""
    table = pd.DataFrame(
        {
            "parameter": ["adc.bits", "drift.relative_drift", "wires.word_line_ohm"],
            "low": [4.0, 0.0, 0.0],
            "high": [12.0, 0.5, 10.0],
            "larger": ["helps", "hurts", "hurts"],
            "today": [10.0, 0.1, 2.5],
            "tolerated": [6.0, 0.5, np.nan],
            "status": ["within", "beyond", "none"],
            "n": 29,
            "violations": [0, 0, 2],
        }
    )
    target = {"target_yield": 0.9, "target_drop": 0.02, "digital_score": 0.98, "joint": None}
    table.attrs = target | Scale("top-1 accuracy", "fraction", True).columns | changes
    return table


def test_bars_are_places_in_the_bracket_from_its_harmless_end():
    ax = rs.plot_budget(plotted(), Figure().subplots())
    bars = {bar.get_gid(): bar for bar in ax.patches}
    widths = {gid: bar.get_width() for gid, bar in bars.items()}
    assert widths == {
        "today:adc.bits": 25.0,
        "tolerated:adc.bits": 75.0,
        "today:drift.relative_drift": 20.0,
        "tolerated:drift.relative_drift": 100.0,
        "today:wires.word_line_ohm": 25.0,
        "tolerated:wires.word_line_ohm": 0.0,
    }
    assert [gid for gid, bar in bars.items() if bar.get_hatch()] == ["tolerated:drift.relative_drift"]
    texts = [text.get_text() for text in ax.texts]
    assert {"6", "at least 0.5", "not even 0 Ω", "2.5 Ω"} <= set(texts)
    (caption,) = [" ".join(text.get_text().split()) for text in ax.texts if text.get_gid() == "caption"]
    assert "90 % of chips, at 95 % confidence, with top-1 accuracy at most 2 points below digital (98.00 %)" in caption
    assert "chips not monotonic: 2" in caption


def test_levels_of_all_together_are_drawn_beside():
    joint = {"factor": 0.5, "status": "within", "levels": {"adc.bits": 11, "drift.relative_drift": 0.05}}
    ax = rs.plot_budget(plotted(joint=joint), Figure().subplots())
    widths = {bar.get_gid(): bar.get_width() for bar in ax.patches if bar.get_gid().startswith("together")}
    expected = {"adc.bits": 12.5, "drift.relative_drift": 10.0, "wires.word_line_ohm": 25.0}
    assert widths == {f"together:{name}": width for name, width in expected.items()}


def test_another_table_is_no_budget():
    with pytest.raises(ValueError, match=r"takes the table of rs\.budget, got another: give that one"):
        rs.plot_budget(pd.DataFrame({"tolerated": [1.0]}))


@pytest.mark.filterwarnings("ignore")
def test_a_rule_of_some_layers_steps_as_its_group_does(workdir):
    words = [*POINT, *HALF, "+analog.layers.late.match=fc2", "+analog.layers.late.drift.relative_drift=0..1"]
    table = rs.budget(words)
    assert table["resolution"].tolist() == [1 / 64]
    assert table["today"].isna().all()


def test_a_rule_of_some_layers_needs_no_plus_in_a_budget_either(workdir):
    rule = ["analog.layers.a.match=fc1", "analog.layers.a.drift=ideal"]
    plain, added, without = (
        rs.budget([*POINT, *HALF, DRIFT, *words]) for words in (rule, [f"++{word}" for word in rule], [])
    )
    assert plain["tolerated"].item() == added["tolerated"].item()
    assert plain.attrs["levels"] == added.attrs["levels"]
    assert plain.attrs["levels"] != without.attrs["levels"]
