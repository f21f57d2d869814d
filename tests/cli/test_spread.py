"""`rramsweep spread`: hybrid chips, their shares against closed forms, and that they enter no other table."""

from __future__ import annotations

import sys

import matplotlib as mpl
import numpy as np
import pytest

import rramsweep as rs
from rramsweep.analysis.variance_shares import variance_shares
from rramsweep.cli import spread
from rramsweep.cli.main import main
from rramsweep.cli.planning import plan_of
from rramsweep.devices.streams import SHARED, Redraw
from rramsweep.errors import ValidationError
from rramsweep.reporting.report import results
from rramsweep.simulation import passes
from rramsweep.simulation.trial import run_trial
from rramsweep.study.plan import Plan
from rramsweep.study.store import Store

mpl.use("Agg")

DIGITS = ["model=digits_mlp", "data=digits", "data.limit=40", "threads=1", "metric=cross_entropy"]
TWO = [*DIGITS, "drift.relative_drift=0.3", "programming=gaussian", "programming.alpha_ind=0.05"]
POINTS = {
    "joined arrays": TWO,
    "arrays whole": [*TWO, "variation=mixed", "faults=stuck_anywhere"],
    "clustered faults": [*TWO, "faults=clusters"],
    "read noise": [*TWO, "read_noise=white"],
    "ADC": [*TWO, "adc=uniform", "adc.gain_sigma=0.05", "adc.output_noise_lsb=1", "data.fitting=train"],
    "calibration": [*TWO, "calibration=moments", "data.fitting=train", "calibration.images=16"],
}

LAB = """
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn


def one_weight():
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(1.0)
    return layer


@dataclass(frozen=True)
class Mean:
    version: ClassVar[int] = 1
    name: ClassVar[str] = "mean output"
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True

    def __call__(self, outputs, targets):
        return float(outputs.mean())
"""
# One weight of 1: the score is 1 + (e_programming + e_relaxation), its sigmas as 2 to 1.
LINEAR = [
    "model=custom",
    "model._target_=spreadlab.one_weight",
    "data=npz",
    "data.path=one.npz",
    "data.layout=any",
    "allow_targets=[spreadlab]",
    "device.edge=none",
    "device.step_uS=null",
    "programming=gaussian",
    "programming.alpha_ind=0.02",
    "relaxation=gaussian",
    "relaxation.alpha_ind=0.01",
    "drift=ideal",
    "threads=1",
    "chips_in_flight=1",
]


@pytest.fixture
def lab(workdir, monkeypatch):
    (workdir / "spreadlab.py").write_text(LAB)
    np.savez("one.npz", x=np.ones((2, 1), np.float32), y=np.ones((2, 1), np.float32))
    monkeypatch.syspath_prepend(str(workdir))
    yield
    sys.modules.pop("spreadlab", None)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("metric", "first", "total"),
    [
        (["metric=custom", "metric._target_=spreadlab.Mean"], (0.8, 0.2), (0.8, 0.2)),
        # (p + r)^2: of variances 4 and 1, first orders 16 and 1, and 8 together, of 25.
        (["metric=mse"], (0.64, 0.04), (0.96, 0.36)),
    ],
    ids=["linear score", "squared score"],
)
def test_shares_of_a_linear_layer_are_those_of_the_closed_form(lab, metric, first, total):
    table = rs.spread([*LINEAR, *metric, "chips=300"], by="stage")
    assert table["name"].tolist() == ["programming", "relaxation"]
    assert table["first_order"].to_numpy() == pytest.approx(first, abs=0.16)
    assert table["total"].to_numpy() == pytest.approx(total, abs=0.16)
    if first == total:  # two versions add up to the chip and its second, so that the sum of shares is 1
        assert table.attrs["interaction"] == pytest.approx(0, abs=0.05)
    else:
        assert table.attrs["interaction_low"] > 0


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("overrides", POINTS.values(), ids=POINTS)
def test_a_hybrid_has_the_streams_it_names_and_no_others(workdir, overrides):
    plan, workbench = plan_of([*overrides, "chips=1"], "rramsweep.spread")
    point = plan.points[0]
    stages, layers = workbench.streams(point)
    assert set(stages) >= {"programming", "drift"}
    assert len(stages) == 2 + (overrides is not TWO) + ("variation=mixed" in overrides) + ("adc=uniform" in overrides)

    def score(redraw, seed=3):
        bench = workbench.bench(point if redraw is None else workbench.redrawn(point, redraw), 1)
        return run_trial(bench, seed)[0]["score"]

    plain, second = score(None), score(None, Redraw().of(3).second)
    assert score(Redraw(stages=tuple(stages))) == second
    assert score(Redraw(layers=(*layers, SHARED))) == second
    assert score(Redraw(stages=("none",))) == score(Redraw(layers=("none",))) == plain
    scores = [score(Redraw(stages=(stage,))) for stage in stages] + [score(Redraw(layers=(name,))) for name in layers]
    assert len({plain, second, *scores}) == 2 + len(scores)
    together = "variation=mixed" in overrides or "calibration=moments" in overrides
    assert (score(Redraw(layers=(SHARED,))) != plain) == together
    assert score(Redraw(stages=("drift",), seed=2)) not in (plain, *scores)


def test_a_call_computes_each_version_of_a_chip_once_and_goes_on(workdir, monkeypatch):
    calls, trial = [], passes.run_trial

    def counted(bench, seed):
        if len(calls) == 10:
            raise KeyboardInterrupt
        calls.append((bench.point_id, seed))
        return trial(bench, seed)

    monkeypatch.setattr(passes, "run_trial", counted)
    with pytest.raises(SystemExit) as ended:
        main(["spread", *TWO, "chips=3", "chips_in_flight=1"])
    assert ended.value.code == 130
    monkeypatch.setattr(
        passes, "run_trial", lambda bench, seed: (calls.append((bench.point_id, seed)), trial(bench, seed))[1]
    )
    # The chip, each of two stages redrawn (all but one is the other), two layers, and what all layers share.
    table = rs.spread([*TWO, "chips=3"])
    assert len(calls) == len(set(calls)) == 3 * 6
    assert rs.spread([*TWO, "chips=3"]).equals(table)
    rs.sweep([*TWO, "chips=3"])
    rs.spread([*TWO, "chips=3"], by="layer")
    assert len(calls) == 3 * 6
    assert table["name"].tolist() == ["programming", "drift", "fc1", "fc2"]


@pytest.mark.parametrize(("name", "under"), [([], "sweep"), (["name=lab"], "lab"), (["name=a/b"], "a/b")])
def test_the_command_prints_the_table_and_writes_its_files(workdir, capsys, name, under):
    main(["spread", *TWO, "chips=3", "by=stage", *name])
    out = capsys.readouterr().out
    assert "3 chips, each in 3 versions: 9 trials, in the store already 0" in out
    assert "a share explains spread between chips, not loss of accuracy" in out
    assert "fewer than 20 chips: no intervals, and shares are rough" in out
    (folder,) = (workdir / "outputs" / under / "spread").iterdir()
    assert {path.name for path in folder.iterdir()} == {"spread.csv", "spread_stage.png"}


def test_hybrid_chips_enter_no_other_table(workdir):
    plan, workbench = plan_of([*TWO, "chips=2"], "rramsweep.spread")
    table = rs.spread([*TWO, "chips=2"], by="stage")
    hybrid = workbench.redrawn(plan.points[0], Redraw(stages=("drift",)))
    assert "\nredraw Redraw v0(layers=[], seed=1, stages=['drift'])" in hybrid.text
    assert hybrid.point_id != plan.points[0].point_id
    frame = results(
        Plan([plan.points[0], hybrid], [plan.seeds[0]] * 2, (), plan.settings), Store(workdir / "outputs/store")
    )
    assert len(frame) == 4
    message = (
        r"rows must be of chips of one draw, .*, got 2 rows with redraw\.stages: leave them out, frame\[frame\['redraw"
    )
    for refuses in (
        lambda: rs.summarize(frame),
        lambda: rs.summarize(frame, by="point_id"),
        lambda: rs.compare(frame, {"point_id": plan.points[0].point_id}),
        lambda: rs.plot_robustness(frame, x="drift.relative_drift"),
        lambda: rs.plot_ecdf(frame),
        lambda: rs.figures_for(frame),
    ):
        with pytest.raises(ValidationError, match=message):
            refuses()
    assert rs.summarize(frame[frame["redraw.stages"].isna()])["n"].tolist() == [2]
    assert table.attrs["metric.name"] == "cross-entropy"


@pytest.mark.parametrize("words", [["redraw.seed=1"], ["+redraw.stages=[drift]"], ["+redraw={stages: [drift]}"]])
def test_a_redraw_is_no_override(workdir, words):
    with pytest.raises(ValueError, match="redraw"):
        rs.sweep([*DIGITS, "chips=2", *words])


REFUSED = {
    "a target": (["target.yield=0.9"], "a target is of `rramsweep budget` and `rramsweep sensitivity` alone, got"),
    "two points": (["drift.relative_drift=0.1,0.2", "chips=3"], "spread takes one point, run it for each value"),
    "one chip": (["chips=1"], "chips must be at least 2, since one chip has no spread, got 1: give 50"),
    "no draws": (["drift.relative_drift=0", "chips=3"], "no effect of this point draws at random: add one"),
    "another rule": (
        ["stopping=interval", "stopping.half_width=0.01"],
        "stopping must be fixed, since spread takes the same chips throughout, got another rule",
    ),
    "another interval": (
        ["metric=top1", "interval=anytime"],
        "interval must be left at t, since spread has bootstrap intervals alone, got 'anytime': leave it out",
    ),
    "shards": (["shards=2"], "shards"),
    "a typo": (["drift.relative=0.1"], "drift.relative"),
}


@pytest.mark.parametrize(("words", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_split_is_refused(workdir, words, message):
    with pytest.raises(ValueError, match=message):
        rs.spread([*DIGITS, *words])


def test_a_part_that_is_none_is_refused(workdir, capsys):
    with pytest.raises(ValidationError, match="by must be one of stage, layer, got 'stages'"):
        rs.spread(TWO, by="stages")
    with pytest.raises(SystemExit):
        main(["spread", *TWO, "by=layers"])
    assert "by must be one of stage, layer, got 'layers'" in capsys.readouterr().err


@pytest.mark.parametrize("given", [["by=layer", "by=stage"], ["by=stage", "by=stage"]])
def test_by_is_given_once(workdir, capsys, given):
    with pytest.raises(SystemExit):
        main(["spread", *TWO, *given])
    assert f"by must be given once, got {given[0]} and {given[1]}: leave one out" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("chips", [10, 20])
def test_the_only_stage_and_the_only_layer_have_all_by_definition(lab, chips):
    linear = [word for word in LINEAR if not word.startswith("relaxation")]
    table = rs.spread([*linear, "metric=mse", f"chips={chips}"])
    assert table["part"].tolist() == ["stage", "layer"]
    assert table["total"].tolist() == [1, 1]
    assert table["first_order"].iloc[0] == 1
    assert table[["first_order_low", "first_order_high", "low", "high"]].isna().all(axis=None)
    notes = " ".join(table.attrs["notes"])
    assert "one stage and one layer alone draws at random: its share is 100 % by definition" in notes
    assert "no intervals" not in notes, "nothing is rough about a share by definition"


def test_one_stage_of_several_layers_is_alone_of_its_kind(workdir):
    table = rs.spread([*DIGITS, "programming=gaussian", "drift=ideal", "chips=3"])
    assert table.set_index("name").loc["programming", ["first_order", "total"]].tolist() == [1, 1]
    assert any("one stage alone draws at random: its share is 100 % by definition" in n for n in table.attrs["notes"])
    assert any("no intervals" in note for note in table.attrs["notes"]), "of the layers"


def test_files_have_their_caption_and_a_users_axes_none(workdir, monkeypatch):
    saved = {}
    monkeypatch.setattr(spread, "save_figure", lambda figure, path: saved.update({path.name: figure}))
    main(["spread", *TWO, "chips=3"])
    assert sorted(saved) == ["spread_layer.png", "spread_stage.png"]
    for figure in saved.values():
        (ax,) = figure.axes
        (shown,) = [artist for artist in ax.get_children() if artist.get_gid() == "caption"]
        assert shown.get_visible()
        assert "totals overlap and may add up to more than 100 %" in " ".join(shown.get_text().split())
        assert "total (with interactions)" in [text.get_text() for text in ax.get_legend().get_texts()]
    (hidden,) = [a for a in rs.plot_spread(rs.spread([*TWO, "chips=3"])).get_children() if a.get_gid() == "caption"]
    assert not hidden.get_visible()


def test_chips_that_agree_are_said_to(workdir):
    agreeing = ["model=digits_mlp", "data=digits", "data.limit=5", "drift.relative_drift=1e-6", "chips=3"]
    table = rs.spread(agreeing, by="stage")
    assert (
        "all chips agree, 100.00 % top-1 accuracy over 3 chips of this network on these 5 inputs: there is no "
        in (table.attrs["notes"][0])
    )
    with pytest.raises(ValidationError, match="table must hold shares of a stage, got none"):
        rs.plot_spread(table)


def test_the_plot_draws_the_table(workdir):
    table = rs.spread([*TWO, "chips=3"])
    for part, gids in (("stage", ("first_order", "total")), ("layer", ("total",))):
        rows = table[table["part"] == part]
        ax = rs.plot_spread(table, part)
        for gid in gids:
            bars = [bar.get_width() for bar in ax.patches if bar.get_gid() == gid]
            assert bars == pytest.approx(100 * rows[gid].to_numpy())
        assert [label.get_text() for label in ax.get_yticklabels()] == rows["name"].tolist()
    for wrong in (table.drop(columns="part"), variance_shares(np.ones(2), [])):
        with pytest.raises(ValidationError, match="must be the frame of rramsweep.spread"):
            rs.plot_spread(wrong)
