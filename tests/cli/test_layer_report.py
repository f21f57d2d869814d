"""`rramsweep inspect` and `rs.inspect`: from overrides to table, files and words; and notes when a sweep begins."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest

import rramsweep as rs
from rramsweep.cli import layer_report
from rramsweep.cli.main import main
from rramsweep.network.analog import AnalogNetwork
from rramsweep.network.inspection import inspect_layers
from rramsweep.study.plan import Plan

POINT = ["model=digits_mlp", "data=digits"]
PYRRAM = [*POINT, "technology=pyrram"]


@dataclass(frozen=True)
class Later:
    """A law of time that says nothing of itself."""

    version: ClassVar[int] = 1
    t0_s: float = 1.0

    def __call__(self, cells, rng):
        return cells.g_uS


@dataclass(frozen=True)
class Told(Later):
    """One that was fitted, and does."""

    def check(self, device):
        return None

    def notes(self, device, t_s):
        return [NOTE]


NOTE = "the window was scaled by 2.5: take the device of the fit"
TOLD = f"programming=Told: {NOTE}"
AT_ZERO = "drift=Later is a law of time from t0_s=1.0 on, but is read at t_s=0"
LATER = [*POINT, "drift=ideal", f"drift._target_={__name__}.Later", "allow_targets=[tests]"]
BOTH = [*LATER, "programming=ideal", f"programming._target_={__name__}.Told"]


def test_a_config_and_its_overrides_give_the_same_rows(workdir):
    table = rs.inspect([*PYRRAM, "drift.relative_drift=0.2"])
    alone = rs.inspect(rs.compose([*PYRRAM, "drift.relative_drift=0.2"]))
    assert list(table["layer"]) == ["fc1", "fc2"]
    assert (table["chips"] == 5).all()
    pd.testing.assert_frame_equal(table, alone)
    assert not Path("outputs").exists()


def test_axes_are_columns_and_chips_and_inputs_can_be_given(workdir):
    table = rs.inspect([*PYRRAM, "drift.relative_drift=0,0.2", "mapping=differential,constant_sum", "chips=2"])
    assert list(table)[:2] == table.attrs["by"] == ["drift.relative_drift", "mapping"]
    assert len(table) == 8
    assert (table["chips"] == 2).all()
    assert table.groupby("mapping")["mvm_error"].mean().diff().iloc[-1] < 0  # the constant sum is the worse one
    one = rs.inspect([*PYRRAM, "chips=2"], chips=1, inputs=3)
    assert (one["chips"] == 1).all()
    assert rs.inspect([*PYRRAM, "seed=7,8"], inputs=3)["chips"].tolist() == [2, 2]


def test_a_law_of_the_ideal_chip_has_no_error(workdir):
    table = rs.inspect([*POINT, "drift=ideal", "device.step_uS=null"])
    assert (table["mvm_error"] < 1e-6).all()
    assert table.attrs["warnings"] == []


def test_pyrram_sims_defaults_are_warned_of(workdir):
    table = rs.inspect([*PYRRAM, "drift.relative_drift=0.2", "mapping=constant_sum"])
    (warning,) = table.attrs["warnings"]
    assert "relative MVM error of layer" in warning
    assert "PyRRAM-Sim's three stages, placeholders of no technology, give about that much [D]" in warning


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: rs.inspect("chips=3"), "inspect takes a list of overrides, got the string 'chips=3'"),
        (lambda: rs.inspect(POINT, chips=0), "chips must be at least 1, got 0"),
        (lambda: rs.inspect(POINT, inputs=0), "inputs must be at least 1, got 0"),
        (lambda: rs.inspect([*POINT, "drift.relative_drift=7"]), "relative_drift must lie in 0..1"),
    ],
)
def test_bad_calls_are_refused(workdir, call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_the_verb_prints_and_writes(workdir, capsys):
    main(["inspect", "-m", *PYRRAM, "drift.relative_drift=0,0.2", "faults=stuck", "chips=2"])
    out = capsys.readouterr().out
    assert "analog product of each layer against the digital one, mean of 2 chips" in out
    assert "stuck %" in out
    assert "saturated %" not in out  # nothing saturates
    assert "warning: the relative MVM error of layer" in out
    folder = Path(out.strip().rpartition("files: ")[2])
    assert {path.name for path in folder.iterdir()} == {"inspect.csv", "inspect.png"}
    table = pd.read_csv(folder / "inspect.csv")
    assert list(table["layer"]) == ["fc1", "fc2"] * 2
    assert "mvm_error" in table


ARRAY = [*POINT, "tile=crossbar", "tile.rows=32", "dac=uniform", "adc=uniform"]


@pytest.mark.parametrize(
    ("overrides", "cause", "shown"),
    [
        (PYRRAM, "relaxation", ["MVM error %", "mostly from"]),
        ([*ARRAY, "adc.bits=4"], "the ADC", ["tiles", "tile use", "ADCs", "LSB/step"]),
        ([*ARRAY, "dac.bits=2"], "the DAC", ["tiles"]),
        ([*POINT, "tile=crossbar", "wires=segments", "wires.word_line_ohm=20"], "wires", ["worst", "G_eff/G"]),
        ([*POINT, "drift=ideal", "device.step_uS=null"], "-", ["mostly from"]),
        # The widest table keeps the words whole.
        (
            [*ARRAY, "technology=pyrram", "wires=segments", "wires.word_line_ohm=1", "faults=stuck"],
            "stuck cells",
            ["stuck", "G_eff/G", "LSB/step"],
        ),
    ],
)
def test_the_terminal_names_the_largest_cause_of_each_layer(workdir, capsys, overrides, cause, shown):
    main(["inspect", *overrides, "chips=1"])
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(("warning", "files"))]
    layers = [line for line in lines if line.startswith("fc")]
    assert len(layers) == 2
    assert all(f"  {cause}  " in line for line in layers)
    heads = " ".join(" ".join(lines[1:-2]).split())
    assert all(word in heads for name in shown for word in name.split())
    if overrides == PYRRAM:
        assert not {"tiles", "ADCs", "LSB/step", "G_eff/G"} & set(heads.split())


def test_columns_of_the_array_are_in_the_file(workdir, capsys):
    wires = ["wires=segments", "wires.word_line_ohm=1", "wires.bit_line_ohm=1"]
    main(["inspect", *ARRAY, *wires, "adc.percentile=99", "chips=2"])
    folder = Path(capsys.readouterr().out.strip().rpartition("files: ")[2])
    table = pd.read_csv(folder / "inspect.csv")
    # 128 outputs of 64 inputs and 10 of 128 in pairs, tiles of 32 x 128.
    assert table["tiles"].tolist() == [4, 8]
    assert table["tile_use"].tolist() == pytest.approx([1, 10 / 128])
    assert table["adcs"].tolist() == [256, 40]
    assert table["g_eff_worst_corner"].str.contains("far from").all()
    assert table["g_eff_worst"].between(0.5, 0.999).all()
    assert (table["g_eff_worst"] < table["g_eff_mean"]).all()
    assert table["adc_clip_rate"].between(0.001, 0.03).all()
    assert (table[["by_dac", "by_adc", "by_wires", "lsb_over_weight_step"]] > 0).all().all()
    assert table["by_iv"].isna().all()


def test_inspect_reads_with_the_ranges_of_the_sweep(monkeypatch, workdir):
    used = []
    original = AnalogNetwork.set_ranges
    monkeypatch.setattr(AnalogNetwork, "set_ranges", lambda self, found: (used.append(found), original(self, found))[1])
    cfg = rs.compose([*ARRAY, "adc.per=tile", "dac.percentile=99.9"])
    rs.run(cfg)
    seen = []
    monkeypatch.setattr(
        layer_report, "inspect_layers", lambda *given: (seen.append(given[5]), inspect_layers(*given))[1]
    )
    rs.inspect(cfg, chips=1, inputs=5)
    (ranges,) = seen
    assert list(ranges) == list(used[0]) == ["fc1", "fc2"]
    for name, found in ranges.items():
        assert (found.x_max, found.signed) == (used[0][name].x_max, used[0][name].signed)
        assert found.z_max.equal(used[0][name].z_max)


def test_the_verbs_help_and_flags(workdir, capfd):
    main(["inspect", "--help"])
    assert "`rramsweep inspect [OVERRIDES]`" in capfd.readouterr().out
    with pytest.raises(SystemExit):
        main(["inspect", "--fast"])
    (line,) = capfd.readouterr().err.splitlines()
    assert line == "rramsweep: rramsweep inspect takes NAME=VALUE as a sweep does, but got --fast: leave it out"


def test_notes_of_effects_are_told_by_inspect(workdir):
    first, second = rs.inspect(BOTH, chips=1).attrs["warnings"]
    assert first == TOLD
    assert second.startswith(AT_ZERO)
    assert "like t_s=1h" in second
    assert rs.inspect([*BOTH, "t_s=1h"], chips=1).attrs["warnings"] == [TOLD]


def test_notes_are_told_once_when_a_sweep_begins_and_kept_in_its_plan(workdir, capsys):
    main(["-m", *BOTH, "t_s=0,1h", "chips=1", "name=later"])
    out = capsys.readouterr().out
    assert out.count(f"note: {TOLD}") == 1
    assert out.count(f"note: {AT_ZERO}") == 1
    (folder,) = Path("outputs/later").iterdir()
    notes = json.loads((folder / "plan.json").read_text())["settings"]["notes"]
    assert notes[0] == TOLD
    assert notes[1].startswith(AT_ZERO)
    assert Plan.load(folder / "plan.json").settings.notes == tuple(notes)
