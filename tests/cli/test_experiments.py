"""Every experiment of conf/experiment/ runs, in a fast form: two chips of the smallest network, few images."""

from __future__ import annotations

import re

import pytest

import rramsweep as rs
from rramsweep.cli.catalog import conf_dir
from rramsweep.cli.planning import plan_of

EXPERIMENTS = sorted(path.stem for path in (conf_dir() / "experiment").glob("*.yaml"))
# Weights and pictures of this one are not in the package; test_collections.py runs it on files of the same form.
WITH_FILES = ["resnet20_cifar10"]
# A search is no list of points: test_optimising.py checks this one.
SEARCHES = ["design_search"]
FAST = ["model=digits_mlp", "data=digits", "data.limit=50", "chips=2"]
# Networks that it compares are weights of one.
OWN_NETWORK = {"noise_aware_training": ["data.limit=20", "chips=2", "calibration.images=choice(10)"]}


def header(name):
    text = (conf_dir() / "experiment" / f"{name}.yaml").read_text().splitlines()
    return [line.removeprefix("# ") for line in text if line.startswith("# ") and "@package" not in line]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_a_question_with_its_command(name):
    question, command = header(name)[:2]
    assert question.endswith("?")
    assert re.match(rf"  rramsweep -m experiment={name}\b", command)


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name not in [*WITH_FILES, *SEARCHES]])
def test_an_experiment_runs(name, workdir):
    plan = plan_of([f"experiment={name}"], "test")[0]
    frame = rs.sweep([f"experiment={name}", *OWN_NETWORK.get(name, FAST)])
    assert (frame["status"] == "ok").all()
    assert len(frame) == 2 * len(plan.points)
    summary = rs.summarize(frame)
    assert len(summary) == len(plan.points)
    assert frame.attrs["swept"]


def test_the_readme_example_is_the_last_point():
    last = plan_of(["experiment=pyrram_readme"], "test")[0].points[-1]
    assert [last.choices[stage] for stage in ("programming", "relaxation", "drift")] == ["gaussian"] * 2 + ["relative"]
    wanted = {"programming.alpha_ind": 0.03, "relaxation.alpha_ind": 0.07, "drift.relative_drift": 0.2}
    wanted |= {"device.g_min_uS": 1.0, "device.g_max_uS": 100.0}
    assert {name: last.params[name] for name in wanted} == wanted


def test_the_time_of_a_refresh_follows_from_its_experiment(workdir):
    frame = rs.sweep(["experiment=refresh_interval", *FAST, "chips=5", "data.limit=100"])
    table = rs.time_to_failure(frame, yield_target=0.9)
    assert table["mapping.scale"].tolist() == ["per_tensor", "per_channel"]
    assert (table["n"] == 5).all()


def test_the_experiments_of_calibration_say_what_is_recovered(workdir):
    frame = rs.sweep(["experiment=recalibration_interval", *FAST, "chips=3", "t_s=1s,1h"])
    table = rs.recovered(frame)
    assert table[["calibration.at_s", "t_s"]].fillna(0).to_numpy().tolist() == [[0, 1], [0, 3600], [1, 1], [1, 3600]]
    # Fitted and read at one second is fitted afresh, and no chip of another time is its baseline.
    afresh, kept = table.iloc[0], table.iloc[2]
    assert afresh[["lost_mean", "recovered_mean"]].equals(kept[["lost_mean", "recovered_mean"]])
    frame = rs.sweep(["experiment=calibration_images", *FAST, "calibration.images=choice(10,20)"])
    assert rs.recovered(frame)["images"].tolist() == [10, 20] * 3
