"""Costs in sweeps: columns beside the scores, of which no chip and no identity knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import rramsweep as rs
from rramsweep.analysis.costs import cost_of
from rramsweep.analysis.schema import COSTS
from rramsweep.cli.composing import choices, compose, container
from rramsweep.cli.main import main
from rramsweep.cost import COLUMNS
from rramsweep.network.analog import AnalogNetwork
from rramsweep.simulation import passes
from rramsweep.simulation.workbench import Workbench
from rramsweep.study.facts import ARRAY
from rramsweep.study.store import Store

DIGITS = ["model=digits_mlp", "data=digits", "data.limit=40", "data.fitting=train", "chips=2", "programming=gaussian"]
CIRCUIT = ["tile=crossbar", "tile.rows=32", "dac=uniform", "adc=uniform", "adc.bits=6"]
ENERGY, AREA, LATENCY = COLUMNS


def ends(frame, name):
    return [frame[f"{name}{end}"].to_numpy() for end in ("_low", "", "_high")]


def test_costs_are_columns_of_chips_and_no_part_of_a_point(workdir, monkeypatch):
    without = rs.sweep([*DIGITS, *CIRCUIT])
    assert without[[ARRAY, *COSTS]].isna().all(axis=None)
    priced = rs.sweep([*DIGITS, *CIRCUIT, "cost=published"])
    assert priced["point_id"].tolist() == without["point_id"].tolist()
    assert priced["score"].tolist() == without["score"].tolist()
    assert priced[ARRAY].nunique() == 2, "each chip has conductances of its own"
    for name in COLUMNS:
        low, middle, high = ends(priced, name)
        assert (low < middle).all()
        assert (middle < high).all()
        assert middle == pytest.approx((low * high) ** 0.5)
    assert priced[AREA].nunique() == priced[LATENCY].nunique() == 1
    # Other constants, and no cost again: nothing is computed.
    monkeypatch.setattr(passes, "run_trial", None)
    swept = rs.sweep([*DIGITS, *CIRCUIT, "cost=published", "cost.t_read_s=1e-9,1e-7", "cost.columns_per_adc=8"])
    assert set(swept["point_id"]) == set(without["point_id"])
    added = swept[ENERGY + "_high"].to_numpy()  # in which the drives of the DACs do not depend on the time
    # 99 ns more of V^2 times the power of each chip, in pJ
    assert added[2:] - added[:2] == pytest.approx(0.2**2 * 99e-9 * 1e6 * priced[ARRAY].to_numpy())
    assert (swept[AREA + "_high"] > priced[AREA + "_high"].iloc[0]).all(), "16 times the ADCs"
    assert rs.sweep([*DIGITS, *CIRCUIT])[ENERGY].isna().all()
    summary = rs.summarize(swept)
    assert summary[ENERGY].tolist() == pytest.approx(swept.groupby("cost.t_read_s")[ENERGY].mean().tolist())


def test_a_folder_shows_what_an_inference_costs_or_why_it_has_none(workdir, capsys, monkeypatch):
    """As if the store were of before costs were there: its rows do not know what the arrays drew."""
    with monkeypatch.context() as before:
        before.setattr(AnalogNetwork, "array_uS", lambda self, batches: None)
        main(["-m", *DIGITS, *CIRCUIT, "cost=none,published"])
    out = capsys.readouterr().out
    (path,) = Path("outputs/sweep").glob("*/plan.json")
    folder, plan = path.parent, json.loads(path.read_text())
    (counts,) = (plan["parts"][point["counts"]] for point in plan["points"] if "counts" in point)
    assert {layer["adc_bits"] for layer in counts["layers"]} == {6}
    frame = rs.load(folder)
    assert frame[ENERGY].isna().all()
    assert frame[AREA].notna().tolist() == [False, False, True, True]
    assert "cost of an inference by published constants" in out
    page = (folder / "report.html").read_text()
    assert "What an inference costs" in page
    for text in (out, page):
        assert f"2 chips have no {ENERGY}: the store has these trials from before a cost was asked for" in text
    assert AREA in (folder / "summary.csv").read_text().splitlines()[0]
    again = rs.sweep([*DIGITS, *CIRCUIT, "cost=none,published"])
    assert again[ENERGY].notna().tolist() == [False, False, True, True]
    assert len(Store(Path("outputs/store")).facts()) == 2, "one row a chip, the one that knows more"


@pytest.mark.parametrize("given", [[], ["dac=uniform"], ["adc=uniform", "adc.bits=6"]], ids=["none", "dac", "adc"])
def test_ideal_converters_have_no_cost_and_say_so(workdir, given):
    workbench, cfg = Workbench(), compose([*DIGITS, *given, "cost=published"])
    point = workbench.point(container(cfg), choices(cfg))
    assert cost_of(point) is None
    (note,) = (note for note in workbench.notes if "cost" in note)
    assert note == (
        "cost=published has no source for ideal converters, so points with dac=ideal or adc=ideal (fc1, fc2) have no "
        "cost: set dac=uniform adc=uniform"
    )


def test_corrections_cost_their_macs(workdir):
    plain = rs.sweep([*DIGITS, *CIRCUIT, "cost=published"])
    moments = rs.sweep([*DIGITS, *CIRCUIT, "cost=published", "calibration=moments"])
    # Corrections of layers move the inputs of those behind them, and with them what the array draws.
    array = (moments[ARRAY] - plain[ARRAY]) * 0.2**2 * 1e-8 * 1e6
    macs = 0.23 * (32 / 45) ** 1.880037 * moments["calibration.extra_macs"].astype(float)
    assert (moments["calibration.extra_macs"] > 0).all()
    more = moments[f"{ENERGY}_low"] - plain[f"{ENERGY}_low"]
    assert more.to_numpy() == pytest.approx((array + macs).to_numpy())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["adc.bits=3"], "adc.bits must be at least 4 for cost=published, below which the ADC fit rises again, got 3"),
        (["cost.samples_per_s=1e11"], "cost.samples_per_s must lie above 0 and up to 1e10, the range of the ADC fit"),
        (["iv=sinh", "iv.v_read_V=0.4"], "cost.v_read_V must be the v_read_V of iv and read_noise, 0.4, got 0.2"),
        (["cost.t_read=1e-9"], "t_read"),
        (["cost=publishd"], "publishd"),
        (["+cost._target_=mine.Cost", "allow_targets=[mine]"], "cost"),
    ],
)
def test_bad_costs_are_refused_in_one_line_before_any_chip(workdir, overrides, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        rs.sweep([*DIGITS, *CIRCUIT, "cost=published", *overrides])
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not Path("outputs").exists()


def test_signs_that_are_fitted_decide_the_pulses(workdir):
    """Images are never negative, so 4 bits take 4 pulses; behind the ReLU too."""
    serial = [*DIGITS, *CIRCUIT, "cost=published", "dac.bits=4", "dac.accumulation=digital"]
    for sign, pulses in (("auto", 4), ("signed", 3), ("unsigned", 4)):
        cfg = compose([*serial, f"dac.sign={sign}"])
        point = Workbench().point(container(cfg), choices(cfg))
        assert {layer["pulses"] for layer in point.counts["layers"]} == {pulses}


def test_list_cost_shows_each_constant_with_its_source(capsys):
    main(["list", "cost"])
    out = " ".join(capsys.readouterr().out.split())
    for text in (
        "cost=none (default)",
        "hwcomponents-adc (MIT)",
        "BSD-3",
        "Shafiee et al., ISCA 2016",
        "t_read_s",
        "[R2]",
    ):
        assert text in out
