"""Converters in sweeps: identities, ranges of a point, clip rates, chips that are the same however they are run."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rramsweep as rs
from rramsweep.analysis import schema
from rramsweep.cli.composing import choices, compose, container
from rramsweep.cli.main import main
from rramsweep.datasets import digits
from rramsweep.network.analog import AnalogNetwork
from rramsweep.simulation import passes
from rramsweep.simulation.execution import ExecutionSettings
from rramsweep.simulation.workbench import Workbench

DIGITS = ["model=digits_mlp", "data=digits", "data.limit=60"]
CONVERTERS = ["tile=crossbar", "tile.rows=32", "dac=uniform", "adc=uniform", "adc.bits=6"]
MISMATCH = ["adc.offset_sigma_lsb=0.5", "adc.gain_sigma=0.05", "adc.output_noise_lsb=0.3"]
WAY = ["batch_size=25", "memory_format=contiguous", "threads=1"]
HERE = "tests.simulation.test_converter_sweeps"


def point_of(*overrides, workbench=None):
    cfg = compose([*DIGITS, *overrides])
    workbench = workbench or Workbench()
    return workbench.point(container(cfg), choices(cfg))


def facts(frame):
    return frame.drop(columns=[name for name in ("seconds",) if name in frame]).reset_index(drop=True)


# --- identity


@pytest.mark.parametrize(
    ("overrides", "fitted"),
    [
        ([], False),
        (["tile=crossbar"], False),
        (["adc=uniform"], True),
        (["dac=uniform"], True),
        (["adc=uniform", "adc.range=given", "adc.z_max=3"], False),
        (["dac=uniform", "dac.range=given", "dac.x_max=1"], False),
        (["dac=uniform", "dac.range=abs_max"], False),
        (["dac=uniform", "dac.range=abs_max", "adc=uniform", "adc.range=full"], False),
        (["dac=uniform", "dac.range=abs_max", "adc=uniform"], True),
        (["dac=uniform", "adc=uniform", "adc.range=full"], True),
        (["dac=uniform", "iv=sinh"], True),
        (["dac=uniform", "dac.range=given", "dac.x_max=1", "iv=sinh"], False),
        (
            [
                "adc=uniform",
                "+analog.layers.all.match=[fc1,fc2]",
                "+analog.layers.all.adc._target_=rramsweep.crossbar.Ideal",
            ],
            False,
        ),
        (["+analog.layers.one.match=fc1", "+analog.layers.one.adc._target_=rramsweep.crossbar.UniformADC"], True),
    ],
)
def test_a_point_names_its_fitting_inputs_where_a_range_is_fitted(overrides, fitted):
    lines = point_of(*overrides).text.splitlines()
    assert sum(line.startswith("fitting ") for line in lines) == fitted
    other = point_of(*overrides, "data.fitting={split: train, limit: 100}")
    assert (other.point_id != point_of(*overrides).point_id) == fitted
    # Without a split to fit on, what fits nothing goes on.
    if not fitted:
        assert point_of(*overrides, "data.fitting=null").point_id == other.point_id


def test_converters_are_of_the_identity_and_ideal_ones_are_not():
    plain = point_of()
    for group in ("dac", "adc", "iv", "tile", "fitting"):
        assert not any(line.startswith(f"{group} ") for line in plain.text.splitlines())
    assert point_of("dac=ideal", "adc=ideal", "iv=linear", "tile=none").text == plain.text
    ids = {
        point_of("adc=uniform", *more).point_id
        for more in ([], ["adc.bits=7"], ["adc.per=tile"], ["adc.percentile=99"], ["adc.gain_sigma=0.1"])
    }
    assert len(ids) == 5


# --- ranges of a point


@pytest.fixture
def given(monkeypatch):
    """Ranges that networks are given, and how often they were fitted."""
    taken, fits = [], []
    fit, put = AnalogNetwork.fit_ranges, AnalogNetwork.set_ranges

    def fit_ranges(network, x):
        found = fit(network, x)
        if "fc1" in found:  # not of a layer that the command looks at by itself
            fits.append(x)
        return found

    def set_ranges(network, ranges):
        if "fc1" in ranges:
            taken.append(ranges)
        put(network, ranges)

    monkeypatch.setattr(AnalogNetwork, "fit_ranges", fit_ranges)
    monkeypatch.setattr(AnalogNetwork, "set_ranges", set_ranges)
    return taken, fits


def numbers(ranges):
    return {name: (r.x_max, r.signed, r.z_max.tolist()) for name, r in ranges.items()}


def test_ranges_are_one_design_value_of_all_chips_and_effects(workdir, given):
    taken, fits = given
    levels = ["drift.relative_drift=0,0.2", "programming.alpha_ind=0,0.1", "data.limit=60,30"]
    rs.sweep([*DIGITS[:2], *levels, *CONVERTERS, "technology=pyrram", "adc.percentile=99", "chips=2", *WAY])
    assert len(taken) >= 8
    assert all(numbers(each) == numbers(taken[0]) for each in taken)
    assert all(len(x) == 64 for x in fits)
    assert len(fits) <= 2  # once for each of the scored sets
    # Of the training split, evenly spaced, by the network with its own weights.
    data = digits("train")
    chosen = torch.linspace(0, len(data) - 1, 64, dtype=torch.float64).round().long()
    assert torch.equal(fits[0], data.x[chosen])
    assert taken[0]["fc1"].x_max == float(data.x[chosen].max())


def test_ranges_follow_what_they_are_made_of(workdir, given):
    taken, _ = given
    base = [*DIGITS, *CONVERTERS, "chips=1", *WAY]
    for more in (
        [],
        ["data.fitting={split: train, limit: 40}"],
        ["tile.rows=16,8"],
        ["wires=segments", "wires.word_line_ohm=20", "wires.bit_line_ohm=20"],
    ):
        rs.sweep([*base, *more])
    found = [str(numbers(each)) for each in taken]
    assert len(set(found)) == 5


# --- chips


def spread(frame):
    return frame.sort_values("seed").reset_index(drop=True)[list(schema.FACTS)].drop(columns="seconds")


@pytest.mark.parametrize(
    "overrides",
    [
        [*CONVERTERS, *MISMATCH, "dac.accumulation=digital", "read_noise=white"],
        [*CONVERTERS, *MISMATCH, "mapping=sliced", "adc.subtraction=digital", "adc.per=column"],
    ],
)
def test_a_chip_is_the_same_alone_in_a_sweep_and_after_a_resume(workdir, overrides, monkeypatch):
    point = [*DIGITS, *overrides, *WAY, "technology=pyrram", "drift.relative_drift=0.1"]
    whole = spread(rs.sweep([*point, "seed=15", "chips=5", "store=a"]))
    alone = spread(rs.sweep([*point, "seed=17", "chips=1", "store=b"]))
    assert alone.iloc[0].equals(whole.iloc[2])
    calls = []
    trial = passes.run_trial
    monkeypatch.setattr(passes, "run_trial", lambda b, s: (calls.append(s), trial(b, s))[1])
    rs.sweep([*point, "seed=15", "chips=2", "store=c"])
    resumed = spread(rs.sweep([*point, "seed=15", "chips=5", "store=c"]))
    assert sorted(calls) == [15, 16, 17, 18, 19]
    assert resumed.equals(whole)
    monkeypatch.undo()
    monkeypatch.chdir(workdir)
    flown = spread(rs.sweep([*point, "seed=15", "chips=5", "store=d", "chips_in_flight=2"]))
    assert flown.equals(whole)
    assert whole["loss"].nunique() == 5


def test_levels_are_paired(workdir):
    """The same chip has the same mismatch at every level of another part."""
    base = [*DIGITS, *CONVERTERS, "adc.gain_sigma=0.3", "adc.bits=14", *WAY, "chips=6", "store=s"]
    frame = rs.sweep([*base, "drift.relative_drift=0,0.001"])
    losses = [each.sort_values("seed")["loss"].to_numpy() for _, each in frame.groupby("drift.relative_drift")]
    assert abs(losses[0] - losses[1]).max() < 0.1 * losses[0].std()


def test_several_chips_a_pass_are_noted_as_unused():
    workbench = Workbench(settings=ExecutionSettings(25, "contiguous", 1, chips_per_pass=2))
    point_of(*CONVERTERS, workbench=workbench)
    assert any("chips_per_pass=2 is not used where there is read noise or a converter" in n for n in workbench.notes)


# --- clip rates


def test_clip_rates_are_columns(workdir):
    base = [*DIGITS, "chips=2", *WAY]
    plain = rs.sweep([*base, "store=s"])
    assert plain["adc_clip_rate"].isna().all()
    assert plain["dac_clip_rate"].isna().all()
    full = rs.sweep([*base, *CONVERTERS, "adc.range=full", "store=s"])
    assert (full["adc_clip_rate"] == 0).all()
    some = rs.sweep([*base, *CONVERTERS, "adc.percentile=90", "dac.percentile=95", "store=s"])
    assert some["adc_clip_rate"].between(0.05, 0.2).all()
    assert some["dac_clip_rate"].between(0.0, 0.15).all()
    alone = rs.sweep([*base, "dac=uniform", "dac.range=given", "dac.x_max=0.5", "store=s"])
    assert alone["adc_clip_rate"].isna().all()
    assert alone["dac_clip_rate"].gt(0.05).all()


def test_of_the_fitting_inputs_the_rest_of_the_percentile_is_clipped():
    cfg = compose([*DIGITS[:2], "adc=uniform", "adc.percentile=95", "adc.per=column", "drift=ideal"])
    workbench = Workbench()
    bench = workbench.bench(workbench.point(container(cfg), choices(cfg)))
    data = workbench.fitting(workbench.point(container(cfg), choices(cfg))).spread(64)
    network = bench.network.chip(3)
    with torch.inference_mode():
        network(data.x)
    clipped = bench.network.clipped["fc1"]  # the next layer has inputs that this one has quantised
    share = 1 - -(-95 * 64 // 100) / 64  # by nearest rank, of each column
    assert clipped.adc / clipped.adc_all == pytest.approx(share, abs=0.002)


# --- refused


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x.flatten(1)).relu())[:, :10]


TIED = ["model=custom", f"model._target_={HERE}.Tied", "allow_targets=[tests]"]
RULE = "analog.layers.late"
NAMED = "must name inputs to fit the ranges of converters on, none of which is scored, got null: set data.fitting="


@pytest.mark.parametrize("flags", [["-m"]], ids=["multirun"])
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["adc=uniform", "data.fitting=null"], f"data.fitting {NAMED}"),
        (["dac=uniform", "data.fitting=null"], f"data.fitting {NAMED}"),
        (["adc=uniform", "data.fitting=test", "data.limit=null"], "data.fitting must name inputs that are not scored"),
        (["adc=uniform", "adc.bits=0"], "adc.bits must lie in 2..16 for adc.subtraction=array, got 0"),
        (["adc=uniform", "adc.bits=17"], "adc.bits must lie in 2..16 for adc.subtraction=array, got 17"),
        (["dac=uniform", "dac.bits=1"], "dac.bits must lie in 2..16 for dac.sign=auto, got 1: 1 bit needs dac.sign=u"),
        (["dac=uniform", "dac.sign=unsigned", "dac.bits=17"], "dac.bits must lie in 1..16 for dac.sign=unsigned"),
        (["adc=uniform", "adc.range=given"], "adc.z_max must be given for adc.range=given, and for no other"),
        (["adc=uniform", "adc.range=full"], "adc needs the largest input for range=full, got dac=ideal: set dac=uni"),
        (["iv=sinh"], "iv needs the largest input, to which v_read_V belongs, got dac=ideal: set dac=uniform"),
        (
            ["iv=sinh", "dac=uniform", "tile=crossbar", "wires=segments"],
            "iv needs wires without resistance: behind wires the voltage of a cell depends on all others, got wires=se",
        ),
        (
            ["tile=crossbar", "tile.arrangement=interleaved", "mapping=offset"],
            "tile.arrangement must be separate for a mapping without pairs of cells, got 'interleaved'",
        ),
        (
            ["tile=crossbar", "tile.arrangement=interleaved", "mapping=sliced", "mapping.base=offset"],
            "tile.arrangement must be separate for a mapping without pairs of cells, got 'interleaved'",
        ),
        (
            ["tile=crossbar", "wires=segments", "mapping=offset"],
            "wires needs pairs of cells: the reference of an offset is a number, not a column",
        ),
        (
            ["tile=crossbar", "wires=segments", "wires.word_line_ohm=-1"],
            "wires.word_line_ohm must be finite and at least 0, got -1.0",
        ),
        (
            ["tile=crossbar", "wires=segments", "wires.sense_ohm=inf"],
            "wires.sense_ohm must be finite and at least 0, got inf",
        ),
        (["wires=segments"], "wires needs a crossbar, whose size says how long wires are, got tile=none"),
        (["tile=crossbar", "tile.rows=1000000", "tile.fill=whole"], "tile.rows must lie in 1..8192, got 1000000"),
        (["tile=crossbar", "tile.columns=9000", "tile.fill=whole"], "tile.columns must lie in 1..8192, got 9000"),
        (["tile=crossbar", "tile.rows_active=200"], "tile.rows_active must lie in 1..tile.rows, got 200"),
        (
            ["adc=uniform", "adc.subtraction=digital", "tile=crossbar", "tile.arrangement=interleaved"],
            "adc.subtraction must be array where the cells of a pair share a bit line, got 'digital'",
        ),
        (
            ["adc=uniform", "adc.subtraction=digital", "mapping=offset"],
            "adc needs pairs of cells for subtraction=digital",
        ),
        # Of one layer's rule.
        (
            [
                "tile=crossbar",
                "mapping=offset",
                f"+{RULE}.match=fc2",
                f"+{RULE}.tile.arrangement=interleaved",
            ],
            "tile.arrangement must be separate for a mapping without pairs of cells, got 'interleaved'",
        ),
        (
            [
                "tile=crossbar",
                "adc=uniform",
                "adc.subtraction=digital",
                f"+{RULE}.match=fc2",
                f"+{RULE}.tile.arrangement=interleaved",
            ],
            "adc.subtraction must be array where the cells of a pair share a bit line, got 'digital'",
        ),
        # Two rules for one set of cells.
        (
            [*TIED, "tile=crossbar", f"+{RULE}.match=second", f"+{RULE}.tile.arrangement=interleaved"],
            "tile must be the same for layers that share a weight, whose cells are one, got others for first",
        ),
        (
            [*TIED, "tile=crossbar", "wires=segments", f"+{RULE}.match=first", f"+{RULE}.wires.sense_ohm=9"],
            "wires must be the same for layers that share a weight, whose cells are one, got others for first",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(workdir, capsys, monkeypatch, overrides, message, flags):
    monkeypatch.setattr(passes, "run_trial", lambda *_: pytest.fail("a chip ran"))
    with pytest.raises(SystemExit) as ended:
        main([*flags, *DIGITS, "chips=1", *overrides])
    error = capsys.readouterr().err
    assert ended.value.code == 1, error
    assert error.startswith(f"rramsweep: {message}"), error
    assert error.count("\n") == 1
    assert error.count(": ") >= 2  # with a remedy


def test_tied_layers_of_one_kind_of_crossbar_are_taken(workdir):
    rules = [f"+{RULE}.match=second", f"+{RULE}.adc.bits=4"]
    frame = rs.sweep([*DIGITS, *TIED, *CONVERTERS, *rules, "chips=1", *WAY])
    assert frame["status"].tolist() == ["ok"]


def test_one_bad_point_of_a_plan_is_refused_before_the_first_chip(workdir, capsys, monkeypatch):
    monkeypatch.setattr(passes, "run_trial", lambda *_: pytest.fail("a chip ran"))
    with pytest.raises(SystemExit):
        main(["-m", *DIGITS, "chips=1", "adc=uniform", "adc.bits=4,8,17"])
    assert "adc.bits must lie in 2..16" in capsys.readouterr().err
