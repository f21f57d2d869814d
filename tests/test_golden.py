"""Identities, stores and sweep folders of earlier versions: found, reported and gone on with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import rramsweep as rs
from rramsweep.cli.main import main
from rramsweep.cli.planning import plan_of
from rramsweep.simulation import passes

GOLDEN = Path(__file__).parent / "golden"
IDENTITIES = json.loads((GOLDEN / "identities.json").read_text())
SWEEPS = {"golden": 24, "until": 20}
KEYS = ["point_id", "seed"]


@pytest.mark.parametrize("name", IDENTITIES["cases"])
def test_a_point_keeps_its_identity(name, workdir):
    labels = np.arange(20) % 10
    np.savez("mine.npz", x=np.zeros((20, 1, 28, 28), dtype=np.float32), y=labels)
    np.savez("numbers.npz", x=np.zeros((20, 1, 28, 28), dtype=np.float32), y=np.zeros((20, 10)))
    Path("law.csv").write_text("g_uS,mu_uS,sigma_uS\n1,0,2\n100,-1,3\n")
    case = IDENTITIES["cases"][name]
    experiment = case["overrides"][0].startswith("experiment=")
    plan = plan_of([*case["overrides"], *([] if experiment else ["chips=1"])], "test")[0]
    wanted = [(i, "\n".join(IDENTITIES["lines"][n] for n in numbers)) for i, numbers in case["points"]]
    assert [(point.point_id, point.text) for point in plan.points] == wanted


@pytest.fixture
def folder(request, workdir):
    """A sweep's folder beside its store, as it was left."""
    shutil.copytree(GOLDEN / "store", workdir / "outputs" / "store")
    shutil.copytree(GOLDEN / "sweeps" / request.param, workdir / "outputs" / request.param / "then")
    return Path("outputs") / request.param / "then"


def overrides_of(folder):
    command = json.loads((folder / "plan.json").read_text())["settings"]["command"]
    return command.removeprefix("rramsweep ").split()


@pytest.mark.parametrize("folder", SWEEPS, indirect=True)
def test_a_folder_is_read_and_reported(folder, capsys):
    kept = pd.read_parquet(folder / "results.parquet")
    frame = rs.load(folder)
    assert len(frame) == len(kept)
    common = [name for name in kept.columns if name in frame]
    assert set(kept.columns) <= set(frame.columns)
    left, right = (table[common].reset_index(drop=True).astype(object) for table in (frame, kept))
    pd.testing.assert_frame_equal(left.where(left.notna(), None), right.where(right.notna(), None))
    shutil.rmtree("outputs/store")
    assert len(rs.load(folder)) == len(kept), "a folder that has travelled without its store"
    main(["report", str(folder)])
    page, out = (folder / "report.html").read_text(), capsys.readouterr().out
    assert f"files: {folder}" in out
    beyond = "elative drift above 0.2 lies outside the range its source gives"
    assert page.count(beyond) == out.count(beyond) == (frame["drift.relative_drift"].max() > 0.2)


@pytest.mark.parametrize("folder", SWEEPS, indirect=True)
def test_the_same_command_finds_every_row(folder, capsys, monkeypatch):
    monkeypatch.setattr(passes, "run_trials", None)  # nothing may be computed
    before = {path.name for path in Path("outputs/store").iterdir()}
    main(overrides_of(folder))
    assert "every trial is in the store: nothing to compute" in capsys.readouterr().out
    assert {path.name for path in Path("outputs/store").iterdir()} == before
    (new,) = {path.parent for path in folder.parents[0].glob("*/plan.json")} - {folder}
    assert rs.load(new)[KEYS].equals(rs.load(folder)[KEYS])


@pytest.mark.parametrize("folder", ["golden"], indirect=True)
def test_a_sweep_goes_on_and_its_chips_are_the_same_chips(folder, capsys):
    then = rs.load(folder).set_index(KEYS)
    more = [word.replace("chips=6", "chips=8") for word in overrides_of(folder)[1:]]
    frame = rs.sweep(more)
    assert len(frame) == 4 * 8
    now = rs.sweep([*more, "store=outputs/fresh"]).set_index(KEYS).loc[then.index]
    assert (now["n_correct"] - then["n_correct"]).abs().max() <= 1, "images between two classes, on other processors"
    assert (now["n_correct"] == then["n_correct"]).mean() > 0.9


@pytest.mark.parametrize("folder", ["golden"], indirect=True)
def test_how_a_network_was_run_is_kept(folder, monkeypatch):
    monkeypatch.setattr("rramsweep.simulation.workbench.choose", None)  # chosen then, and not anew
    frame = rs.sweep([word.replace("chips=6", "chips=7") for word in overrides_of(folder)[1:]])
    assert set(frame["batch_size"]) == {40}


OLD_TARGETS = [
    ("device", "rramsweep.devices.device.Device"),
    ("mapping", "rramsweep.crossbar.mapping.Differential"),
    ("mapping", "rramsweep.crossbar.mapping.Offset"),
    ("drift", "rramsweep.effects.RelativeDrift"),
    ("drift", "rramsweep.effects.relative_drift.RelativeDrift"),
    ("faults", "rramsweep.effects.stuck.Stuck"),
    ("read_noise", "rramsweep.effects.white_read_noise.WhiteReadNoise"),
    ("model", "rramsweep.models.digits_mlp"),
    ("data", "rramsweep.datasets.digits"),
    ("data", "rramsweep.datasets.embedded.digits"),
    ("metric", "rramsweep.metrics.Top1"),
    ("accelerator", "rramsweep.network.accelerator.Accelerator"),
    ("stopping", "rramsweep.stopping.Fixed"),
    ("stopping", "rramsweep.stopping.Interval"),
]


@pytest.mark.parametrize(("group", "target"), OLD_TARGETS, ids=lambda name: name)
def test_a_users_yaml_may_name_a_target_as_before(group, target, workdir):
    extra = {"device": ["device=generic"], "mapping": ["mapping=differential"]}.get(group, [])
    if target.endswith(".Offset"):
        extra = ["mapping=offset"]
    if group in ("faults", "read_noise"):
        extra = [f"{group}={'stuck' if group == 'faults' else 'white'}"]
    if target.endswith(".Interval"):
        extra = ["stopping=interval"]
    chips = [] if target.endswith(".Interval") else ["chips=1"]
    base = ["model=digits_mlp", "data=digits", *chips]
    point = plan_of([*base, *extra], "test")[0].points[0]
    assert plan_of([*base, *extra, f"{group}._target_={target}"], "test")[0].points[0].point_id == point.point_id
