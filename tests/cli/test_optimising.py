"""Design searches with Optuna: refusals anywhere; where Hydra is 1.4 with its plugin, searches of small networks."""

from __future__ import annotations

import json
import sqlite3
from functools import cache
from importlib.metadata import version
from pathlib import Path

import hydra
import pytest
from hydra.types import RunMode

import rramsweep as rs
from rramsweep.cli import optimising
from rramsweep.cli.catalog import CONFIG_NAME
from rramsweep.cli.composing import loader
from rramsweep.cli.main import main
from rramsweep.cli.overrides import one_line
from rramsweep.reporting.report import load
from rramsweep.study.search import Search

try:
    PLUGIN = version("hydra-optuna-sweeper") if hydra.__version__.startswith("1.4") else ""
except ModuleNotFoundError:
    PLUGIN = ""
needs_optuna = pytest.mark.skipif(not PLUGIN, reason="hydra-optuna-sweeper on Hydra 1.4 is not installed")

NETWORK = ["model=digits_mlp", "data=digits", "data.limit=40", "chips=2", "programming=gaussian"]
LOSS = "metric=cross_entropy"
# Of the other axes of the experiment, so that fewer designs are composed.
ONE_LEVEL = ["mapping=differential,sliced", "mapping.scale=per_tensor", "mapping.percentile=99", "calibration=none"]
ALPHA = "programming.alpha_ind=0.05,0.2"
FRONT = [
    *("-m", "hydra/sweeper=optuna", *NETWORK, "adc=uniform", "tile=crossbar", "name=front"),
    *("objective=[accuracy_mean,adc.bits]", "hydra.sweeper.direction=[maximize,minimize]"),
    *("adc.bits=range(3,8)", "mapping=differential,sliced", "mapping.slices=2,4", "hydra.sweeper.verified=2"),
]
FOLDER = Path("outputs", "front", "study")


def refused(capsys, *arguments):
    """The one line that a refused command prints."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 1
    out, err = capsys.readouterr()
    line = err.replace("Error executing job with overrides", "")  # of Hydra's own sweeper, before the error
    assert err.count("\n") == 1 + (line != err), err
    return err, out


def states(path):
    return [state for (state,) in sqlite3.connect(path).execute("select state from trials order by number")]


@pytest.mark.parametrize(
    ("hydra_core", "plugin", "optuna"),
    [("1.3.8", "", ""), ("1.3.8", "1.2.0", "2.10.1"), ("1.4.0rc3", "1.2.0", "5.0.0"), ("1.4.0rc3", "", "5.0.0")],
)
@pytest.mark.parametrize("how", [["hydra/sweeper=optuna", "objective=accuracy_mean"], ["experiment=design_search"]])
def test_a_plugin_of_another_hydra_is_refused_by_name(workdir, capsys, monkeypatch, how, hydra_core, plugin, optuna):
    installed = {"hydra-core": hydra_core, "hydra-optuna-sweeper": plugin, "optuna": optuna}

    def found(package):
        if not installed[package]:
            raise optimising.PackageNotFoundError(package)
        return installed[package]

    monkeypatch.setattr(optimising, "version", found)
    err, out = refused(capsys, "-m", *how, *NETWORK, ALPHA)
    assert f"hydra-core {hydra_core}, hydra-optuna-sweeper {plugin or 'not installed'}" in err
    assert "[optuna]'" in err
    assert not out
    assert not list(workdir.rglob("*.*")), "nothing was begun"


@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", *NETWORK, ALPHA, "objective=accuracy_mean"],
        ["-m", "hydra/sweeper=basic", *NETWORK, ALPHA, "objective=accuracy_mean"],
        [*NETWORK, "objective=accuracy_mean"],
        ["-m", "experiment=design_search", "hydra/sweeper=rramsweep"],
    ],
)
def test_an_objective_is_refused_where_nothing_reads_it(workdir, capsys, arguments):
    err, _ = refused(capsys, *arguments)
    reason = "objective is of a search alone, and this is none"
    assert reason in err or "hydra.sweeper.direction is no setting of this sweeper" in err
    assert not (workdir / "outputs" / "store").exists()


@pytest.mark.parametrize("call", [rs.sweep, rs.compose])
def test_an_objective_is_refused_from_python(workdir, call):
    with pytest.raises(ValueError, match="objective .*search.* rramsweep -m hydra/sweeper=optuna"):
        call([*NETWORK, "objective=accuracy_mean"])
    with pytest.raises(ValueError, match=r"objective is of a search alone|a single point has no axes"):
        call(["experiment=design_search"])


def checked(*overrides):
    """A search as the sweeper checks it, without Hydra's start and Optuna."""
    config_loader = loader()
    given = [one for one in overrides if not one.startswith("hydra.sweeper.")]
    master = config_loader.load_configuration(CONFIG_NAME, given, RunMode.MULTIRUN, from_shell=False)
    direction = [one.partition("=")[2] for one in overrides if one.startswith("hydra.sweeper.direction=")]
    direction = direction or master.hydra.sweeper.get("direction")
    params = [f"{key}={value}" for key, value in (master.hydra.sweeper.params or {}).items()]
    with one_line():
        return optimising.checked(config_loader, master, [*params, *given], direction)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([ALPHA], "objective must be given for hydra/sweeper=optuna: give objective=accuracy_mean"),
        (["objective=loss"], "a search must have parameters to choose: give some as NAME=V1,V2"),
        ([ALPHA, "objective=acuracy_mean"], "objective must be a column of numbers .*did you mean accuracy_mean"),
        ([ALPHA, "objective=accuracy_mean", "hydra.sweeper.direction=minimize"], "direction must be maximize for obj"),
        ([ALPHA, "objective=score_mean", LOSS, "hydra.sweeper.direction=maximize"], "direction must be minimize for"),
        ([ALPHA, "objective=accuracy_mean", LOSS], "right inputs, and metric=cross_entropy does not: take score_mean"),
        (
            [ALPHA, "objective=n_lost", LOSS],
            "objective=n_lost is of metrics that count right .*take score_mean",
        ),
        ([ALPHA, "objective=yield_bound", LOSS], "objective=yield_bound needs a limit .*give yield_drop=VALUE"),
        ([ALPHA, "objective=[loss,calibration.extra_macs]"], "extra_macs has no value where calibration=none: choose"),
        ([ALPHA, "objective=adc_clip_rate", "adc=ideal,uniform"], "adc_clip_rate has no value where adc=ideal: choose"),
        (
            [ALPHA, "objective=loss", "metric=top1,cross_entropy"],
            "metric must be one metric in a search, got top-1",
        ),
        (["seed=0,1", "objective=loss"], "seed does not belong to a design: give seed and chips"),
        (["chips=2,3", "objective=loss"], "an axis must be a config group, a parameter of one, t_s or seed, got chips"),
        (["programming.alpha_ind=interval(0.1,2)", "objective=loss"], "alpha_ind must lie in 0..1 .* got 2.0"),
        (["programming.alpha_ind=0.1,0.2,-1", "objective=loss"], "alpha_ind must lie in 0..1 .* got -1.0"),
        (["programming.alpha=0.1,0.2", "objective=loss"], "programming.alpha is not there to be set: did you mean"),
        (["mapping=differential,ofset", "objective=loss"], "mapping has no option 'ofset': did you mean offset"),
        ([ALPHA, "objective=loss", "shards=2"], "shards is of a sweep, whose points are known before, got 2: leave"),
        ([ALPHA, "objective=loss", "preview=true"], "preview is of a sweep, whose points are known before"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused_before_any_chip(workdir, arguments, message):
    with pytest.raises(ValueError, match=message):
        checked(*NETWORK, *arguments)


def test_the_experiment_is_a_search():
    objectives = checked("experiment=design_search", *NETWORK[:3], *ONE_LEVEL).objectives
    assert {objective.name: objective.direction for objective in objectives} == {
        "accuracy_mean": "maximize",
        "cost.energy_pJ": "minimize",
        "cost.area_um2": "minimize",
    }


def test_a_range_is_checked_at_its_ends_and_a_glob_is_a_choice():
    space = checked(*NETWORK, "mapping=glob(*set)", "programming.alpha_ind=range(0.1,0.5,0.1)", "objective=loss").space
    assert [str(one.input_line) for one in space.swept["programming.alpha_ind"]] == [
        f"programming.alpha_ind={alpha}" for alpha in (0.1, 0.4)
    ]
    assert "mapping=choice(offset)" in space.lines()


@cache
def first_study(*given):
    return checked(*given).identity()


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("adc.bits=range(3,9)", "space adc.bits range(3,8) instead of range(3,9)"),
        ("data.limit=30", "data.limit 40 instead of 30"),
        ("chips=3", "seeds 0..1 instead of 0..2"),
        ("objective=score_mean", "objective ['accuracy_mean'] instead of ['score_mean']"),
        ("yield_drop=0.1", "yield_drop None instead of 0.1"),
    ],
)
def test_what_makes_another_study_is_named(change, difference):
    given = [*NETWORK, "adc=uniform", "adc.bits=range(3,8)", "objective=accuracy_mean", "mapping=differential"]
    theirs = first_study(*given)
    assert not optimising._difference(theirs, theirs)
    name = change.partition("=")[0]
    ours = checked(*(one for one in given if not one.startswith(f"{name}=")), change).identity()
    assert optimising._difference(theirs, ours) == difference


@needs_optuna
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("hydra.sweeper.n_trials=0", "hydra.sweeper.n_trials must be at least 1, got 0: give a larger integer"),
        ("hydra.sweeper.max_failure_rate=2", "hydra.sweeper.max_failure_rate must lie in 0..1, got 2: give a share"),
        ("hydra.sweeper.storage=nodb://x", "storage must be a storage that Optuna can use, got 'nodb://x'"),
        (
            "+hydra.sweeper.custom_search_space=os.system",
            "hydra.sweeper.custom_search_space is no setting of this",
        ),
    ],
)
def test_settings_of_a_search_are_refused_in_one_line(workdir, capsys, given, message):
    err, _ = refused(capsys, "-m", "hydra/sweeper=optuna", *NETWORK, ALPHA, "objective=loss", given)
    assert message in err
    assert not list(workdir.rglob("facts-*"))


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    """A finished search of two objectives, in a folder of its own."""
    folder = tmp_path_factory.mktemp("front")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main([*FRONT, "hydra.sweeper.n_trials=10"])
    return folder


@needs_optuna
def test_a_search_keeps_its_trials_and_confirms_its_front(front):
    assert states(front / FOLDER / "study.db") == ["COMPLETE"] * 10
    search = Search.load(front / FOLDER)
    assert [trial.number for trial in search.trials] == list(range(10))
    assert search.directions == ["maximize", "minimize"]
    assert (search.seeds, search.fresh_seeds) == ("0..1", "2..3")
    assert {name for trial in search.trials for name in trial.params} == {"adc.bits", "mapping", "mapping.slices"}
    assert all(("mapping.slices" in t.params) == (t.params["mapping"] == "sliced") for t in search.trials)
    again = [trial for trial in search.trials if trial.fresh]
    assert {trial.number for trial in again} <= {trial.number for trial in search.front()}
    assert 1 <= len(again) <= 2
    assert set(search.importances["adc.bits"]) == {"adc.bits", "mapping", "mapping.slices"}
    assert sum(search.importances["adc.bits"].values()) == pytest.approx(1)
    for name in ("history.svg", "front.svg", "importances.svg", "report.html", "results.parquet"):
        assert (front / FOLDER / name).stat().st_size > 0
    assert "on seeds that it did not see" in (front / FOLDER / "report.html").read_text()


@needs_optuna
def test_values_are_those_of_the_chips_in_the_table_and_of_a_sweep(front, monkeypatch):
    monkeypatch.chdir(front)
    search, frame = Search.load(FOLDER), load(FOLDER)
    for trial in search.trials:
        rows = frame[frame["adc.bits"] == trial.params["adc.bits"]]
        rows = rows[rows["mapping"] == trial.params["mapping"]]
        if "mapping.slices" in trial.params:
            rows = rows[rows["mapping.slices"] == trial.params["mapping.slices"]]
        assert rows["seed"].tolist() == [0, 1]
        assert trial.values == pytest.approx([rows["accuracy"].mean(), trial.params["adc.bits"]])
    best = next(trial for trial in search.trials if trial.fresh)
    swept = [f"{name}={value}" for name, value in best.params.items()]
    fixed = [*NETWORK, "adc=uniform", "tile=crossbar"]
    fresh = rs.sweep([*fixed, *swept, "seed=2"])
    assert best.fresh[0] == pytest.approx(fresh["accuracy"].mean())
    assert set(fresh["seed"]) == {2, 3}


@needs_optuna
def test_the_storage_of_another_study_is_refused(front, monkeypatch, capsys):
    monkeypatch.chdir(front)
    err, out = refused(capsys, *(one for one in FRONT if not one.startswith("adc.bits=")), "adc.bits=range(3,9)")
    wanted = "study.db must hold the study of this search, but holds one of space adc.bits "
    wanted += "range(3,8) instead of range(3,9)"
    assert f"{wanted}: give another name=NAME, hydra.sweeper.storage=FILE or hydra.sweeper.study_name=NAME" in err
    assert "trial" not in out


@needs_optuna
def test_what_a_kill_left_is_run_again_and_a_failed_trial_ends_the_search(workdir, capsys):
    bits = ["mapping=sliced", "mapping.bits_per_cell=4,8", "mapping.slices=1,4", "device.step_uS=null"]
    search = ["-m", "hydra/sweeper=optuna", *NETWORK, *bits, "objective=loss", "hydra.sweeper.storage=own.db"]
    search += ["hydra/sweeper/sampler=grid", "hydra.sweeper.verified=0"]
    with pytest.raises(SystemExit):
        main([*search, "hydra.sweeper.n_trials=4"])
    err = capsys.readouterr().err
    assert "got bits_per_cell=8 times slices=4" in err
    assert "add hydra.sweeper.max_failure_rate=1 to go on without it" in err
    ended = states("own.db")
    assert ended[-1] == "FAIL"
    assert ended.count("FAIL") == 1
    database = sqlite3.connect("own.db")
    database.execute("insert into trials (number, study_id, state) values (?, 1, 'RUNNING')", [len(ended)])
    database.commit()
    main([*search, f"hydra.sweeper.n_trials={len(ended) + 1}", "hydra.sweeper.max_failure_rate=1"])
    assert states("own.db")[len(ended)] == "FAIL", "the one that a kill left"
    assert len(states("own.db")) == len(ended) + 2
    record = json.loads(Path("outputs/sweep/study/study.json").read_text())
    assert [trial["number"] for trial in record["trials"]] == [*range(len(ended)), len(ended) + 1]
