"""The command line end to end: what it leaves, and that every way to ask for a chip gives the same chip."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pandas as pd
import pytest

import rramsweep as rs
from rramsweep.analysis import frames, schema
from rramsweep.cli.main import main
from rramsweep.reporting import report
from rramsweep.study.plan import Plan

# Run in one way, so that sweeps of different stores agree to the last bit.
DIGITS = ["model=digits_mlp", "data=digits", "data.limit=100", "batch_size=50", "threads=1"]
LEVELS = "drift.relative_drift=0,0.2"
FACTS = [name for name in schema.FACTS if name != "seconds"]


def run(*arguments: str) -> Path:
    """Run the command in this process and return the folder it made."""
    before = set(Path("outputs").glob("*/20*"))
    main(list(arguments))
    (folder,) = set(Path("outputs").glob("*/20*")) - before
    return folder.absolute()


def facts(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[FACTS].sort_values(["point_id", "seed"]).reset_index(drop=True)


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(facts(one), facts(other), check_exact=True)


@pytest.fixture(scope="module")
def first_quickstart(tmp_path_factory):
    """The folder of one quickstart and what it printed: standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(tmp_path_factory.mktemp("quickstart"))
        folder = run("-m", "experiment=quickstart", "chips=3", "data.limit=100")
    return folder, out.getvalue(), err.getvalue()


@pytest.fixture
def quickstart(first_quickstart, workdir):
    """A copy of the quickstart's folder, with its store, for this test alone."""
    folder = first_quickstart[0]
    outputs = folder.parents[1]
    shutil.copytree(outputs, workdir / "outputs")
    return workdir / "outputs" / folder.relative_to(outputs)


def test_quickstart_leaves_plan_tables_figures_and_page(first_quickstart):
    folder, out, err = first_quickstart
    tables = {"plan.json", "run.json", "results.parquet", "summary.csv"}
    figures = {f"{name}.{form}" for name in ("robustness", "ecdf", "yield", "differences") for form in report.FORMATS}
    assert {p.name for p in folder.iterdir()} == tables | figures | {"report.html"}
    frame = frames.read(folder / "results.parquet")
    assert len(frame) == 36
    assert frame.attrs["swept"] == ["technology", "drift.relative_drift"]
    assert list(frame.columns[: len(schema.FACTS)]) == list(schema.FACTS)
    assert set(schema.CHOICES) <= set(frame.columns)
    assert frame["drift.relative_drift"].dtype == "float64"
    assert set(frame["technology"]) == {"drift_alone", "pyrram"}
    assert frame["device.g_max_uS"].unique().tolist() == [100.0]
    # Drift alone has no programming error, and says so with a null rather than a zero.
    assert frame.loc[frame.technology == "drift_alone", "programming.alpha_ind"].isna().all()
    summary = pd.read_csv(folder / "summary.csv")
    assert len(summary) == 12
    assert list(summary.columns[:3]) == ["technology", "drift.relative_drift", "n"]
    assert "digital" in out
    assert "ideal chip" in out
    assert "36/36 trials" in err
    assert str(folder) in out


def test_quickstart_without_drift_is_the_ideal_chip(quickstart):
    frame = rs.load(quickstart)
    ideal = frame[(frame.technology == "drift_alone") & (frame["drift.relative_drift"] == 0)]
    assert (ideal.accuracy == ideal.ideal_accuracy).all()
    assert ideal.accuracy.iloc[0] > 0.7, "LeNet-5 has learnt Fashion-MNIST"
    worst = frame[(frame.technology == "pyrram") & (frame["drift.relative_drift"] == 0.5)]
    assert worst.accuracy.mean() < ideal.accuracy.mean() - 0.05


def test_report_makes_the_tables_again_from_the_folder_alone(quickstart, tmp_path, capsys):
    folder = quickstart
    before = rs.load(folder)
    summary = (folder / "summary.csv").read_bytes()
    (folder / "summary.csv").unlink()
    (folder / "robustness.svg").unlink()
    main(["report", str(folder)])
    assert (folder / "summary.csv").read_bytes() == summary
    assert (folder / "robustness.svg").stat().st_size > 10_000
    away = tmp_path / "away"
    folder.rename(away)
    Path("outputs/store").rename(tmp_path / "gone")
    main(["report", str(away)])
    pd.testing.assert_frame_equal(rs.load(away), before)
    assert (away / "summary.csv").read_bytes() == summary


def test_a_second_run_computes_nothing(workdir, capsys):
    first = run("-m", *DIGITS, LEVELS, "chips=4", "name=a")
    capsys.readouterr()
    second = run("-m", *DIGITS, LEVELS, "chips=4", "name=b")
    assert "nothing to compute" in capsys.readouterr().out
    pd.testing.assert_frame_equal(rs.load(first), rs.load(second))


def test_more_stored_than_asked_reports_what_is_asked(workdir):
    run(*DIGITS, "drift.relative_drift=0.2", "chips=8", "name=a")
    frame = rs.load(run(*DIGITS, "drift.relative_drift=0.2", "seed=2", "chips=3", "name=b"))
    assert frame.seed.tolist() == [2, 3, 4]


def test_every_way_to_ask_gives_the_same_rows(workdir):
    """Our sweeper, Hydra's own, the seed as an axis, a single point, shards, `run` and `sweep` from Python."""
    ways = {
        "ours": lambda: rs.load(run("-m", *DIGITS, LEVELS, "chips=2", "store=s1", "name=n1")),
        "hydra": lambda: rs.load(run("-m", "hydra/sweeper=basic", *DIGITS, LEVELS, "chips=2", "store=s2", "name=n2")),
        "axis": lambda: rs.load(run("-m", *DIGITS, LEVELS, "seed=range(0,2)", "store=s3", "name=n3")),
        "hydra axis": lambda: rs.load(
            run("-m", "hydra/sweeper=basic", *DIGITS, LEVELS, "seed=range(0,2)", "store=s8", "name=n8")
        ),
        "shards": lambda: rs.load(run("-m", *DIGITS, LEVELS, "chips=2", "shards=3", "store=s4", "name=n4")),
        "sweep": lambda: rs.sweep([*DIGITS, LEVELS, "chips=2", "store=s5"]),
        "run": lambda: pd.concat(
            rs.run(rs.compose([*DIGITS, f"drift.relative_drift={r}", "chips=2", "store=s6"])) for r in (0, 0.2)
        ),
        "one by one": lambda: pd.concat(
            rs.run(rs.compose([*DIGITS, f"drift.relative_drift={r}", "chips=1", f"seed={s}", f"store=s7{r}{s}"]))
            for r in (0, 0.2)
            for s in (1, 0)
        ),
    }
    frames_ = {name: make() for name, make in ways.items()}
    for name, frame in frames_.items():
        assert len(frame) == 4, name
        same(frame, frames_["ours"])
    assert frames_["hydra"].attrs["swept"] == ["drift.relative_drift"]


def test_python_m_is_the_command(workdir):
    command = [sys.executable, "-m", "rramsweep", *DIGITS, "chips=2", "drift.relative_drift=0.2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "baselines" in done.stdout
    (folder,) = Path("outputs/sweep").iterdir()
    same(rs.load(folder), rs.run(rs.compose([*DIGITS, "chips=2", "drift.relative_drift=0.2", "store=other"])))


def test_a_users_package_beside_the_command_is_found_in_a_sweep(workdir):
    Path("mylab").mkdir()
    Path("mylab/nets.py").write_text(
        "from torch import nn\n\n\ndef build(width=8):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))\n"
    )
    command = [Path(sys.executable).parent / "rramsweep", "-m", "model=custom", "model._target_=mylab.nets.build"]
    command += ["data=digits", "data.limit=50", "drift.relative_drift=0,0.1", "chips=2", "allow_targets=[mylab]"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (folder,) = Path("outputs/sweep").iterdir()
    assert len(rs.load(folder)) == 4


def test_a_failing_point_leaves_the_others_alone(workdir, monkeypatch, capsys):
    from rramsweep.simulation import trial

    evaluate = trial.evaluate

    def fails_sometimes(*given):
        fails_sometimes.calls += 1
        if fails_sometimes.calls in (5, 6):
            raise RuntimeError("the chip\ncaught fire")
        return evaluate(*given)

    fails_sometimes.calls = 0
    monkeypatch.setattr(trial, "evaluate", fails_sometimes)
    with pytest.raises(SystemExit) as exit_:
        run("-m", *DIGITS, LEVELS, "chips=4")
    assert exit_.value.code == 1
    printed = capsys.readouterr()
    assert "2 of 8 trials failed" in printed.err
    assert "Traceback" not in printed.err
    (folder,) = Path("outputs/sweep").iterdir()
    frame = rs.load(folder)
    assert frame.status.value_counts().to_dict() == {"ok": 6, "failed": 2}
    assert frame.error.dropna().unique().tolist() == ["RuntimeError: the chip caught fire"]
    assert frame.loc[frame.status == "failed", "accuracy"].isna().all()
    # A rerun keeps the failures as they are; retry_failed runs them, and only them.
    with pytest.raises(SystemExit):
        run("-m", *DIGITS, LEVELS, "chips=4", "name=again")
    calls = fails_sometimes.calls
    retried = rs.load(run("-m", *DIGITS, LEVELS, "chips=4", "retry_failed=true", "name=retry"))
    assert fails_sometimes.calls == calls + 2
    assert (retried.status == "ok").all()
    same(retried, rs.sweep([*DIGITS, LEVELS, "chips=4", "store=fresh"]))


def test_an_interrupt_keeps_what_is_done_reports_it_and_can_be_resumed(workdir, monkeypatch, capsys):
    from rramsweep.simulation import passes

    trial = passes.run_trial

    def interrupted(bench, seed):
        if seed == 3:
            raise KeyboardInterrupt
        return trial(bench, seed)

    monkeypatch.setattr(passes, "run_trial", interrupted)
    with pytest.raises(SystemExit) as exit_:
        run("-m", *DIGITS, LEVELS, "chips=5")
    assert exit_.value.code == 130
    assert "interrupted, with 3 of 10 trials kept: run the same command to go on" in capsys.readouterr().err
    (folder,) = Path("outputs/sweep").iterdir()
    assert rs.load(folder).seed.tolist() == [0, 1, 2]
    assert (folder / "summary.csv").exists()
    monkeypatch.setattr(passes, "run_trial", trial)
    same(rs.load(run("-m", *DIGITS, LEVELS, "chips=5", "name=on")), rs.sweep([*DIGITS, LEVELS, "chips=5", "store=f"]))


def test_two_commands_of_one_second_have_a_folder_each(workdir):
    fixed = "hydra.sweep.dir=outputs/same"
    main(["-m", *DIGITS, "drift.relative_drift=0.1", "chips=2", fixed])
    main(["-m", *DIGITS, "drift.relative_drift=0.4", "chips=2", fixed])
    levels = [rs.load(f"outputs/{name}")["drift.relative_drift"].unique().tolist() for name in ("same", "same_2")]
    assert levels == [[0.1], [0.4]]


def test_the_sweeps_own_yield_drop_is_the_summarys(workdir):
    frame = rs.sweep([*DIGITS, "drift.relative_drift=0.3,0.5", "chips=6", "yield_drop=1.0"])
    assert (rs.summarize(frame)["yield_share"] == 1.0).all()
    assert rs.summarize(frame, yield_drop=0.0)["yield_share"].min() < 1.0


def test_threads_are_those_asked_for_and_put_back(workdir, monkeypatch):
    import torch

    from rramsweep.simulation import passes

    trial, seen = passes.run_trial, []
    monkeypatch.setattr(passes, "run_trial", lambda b, s: (seen.append(torch.get_num_threads()), trial(b, s))[1])
    before = torch.get_num_threads()
    rs.sweep([*DIGITS, "chips=1", "threads=1"])
    assert seen == [1]
    assert torch.get_num_threads() == before


def test_a_sweep_in_this_process_evaluates_its_baselines_once(workdir, monkeypatch):
    from rramsweep.simulation import trial, workbench

    seen = []
    for name in ("outputs", "evaluate"):  # of the digital network, which metrics compare with, and of the ideal chip
        run_all = getattr(trial, name)
        monkeypatch.setattr(workbench, name, lambda *a, run_all=run_all: (seen.append(1), run_all(*a))[1])
    rs.sweep([*DIGITS, "chips=2"])
    assert len(seen) == 2, "digital, ideal"
    assert len(rs.sweep([*DIGITS, "chips=4"])) == 4


def test_what_else_to_know_is_told_in_the_terminal(workdir, capsys):
    run("-m", *DIGITS, "chips=1", "drift.relative_drift=0.1,0.3")
    out, beyond = capsys.readouterr().out, "relative drift above 0.2 lies outside the range its source gives"
    assert out.count(f"note: {beyond}") == 1
    assert out.index(beyond) < out.index("yield:"), "when the sweep begins"
    (path,) = Path("outputs/sweep").glob("*/plan.json")
    assert Plan.load(path).settings.notes == (beyond,)
    source = [0.0, 0.2, beyond]
    assert rs.load(path.parent).attrs["source_ranges"] == {"drift.relative_drift": source}
    assert frames.read(path.with_name("results.parquet")).attrs["source_ranges"] == {"drift.relative_drift": source}
    main(["report", str(path.parent)])
    assert f"note: {beyond}" in capsys.readouterr().out
    assert path.with_name("report.html").read_text().count("lies outside the range its source gives") == 1
    run(*DIGITS, "chips=2", "read_noise=white", "chips_per_pass=2")
    assert "note: chips_per_pass=2 is not used where there is read noise" in capsys.readouterr().out
    run(*DIGITS, "chips=5", "chips_per_pass=2", "drift.relative_drift=0.1")
    assert "note:" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "note"),
    [
        (["model=digits_mlp", "model.checkpoint=null"], "the network's weights are untrained"),
        (["model=custom", "model._target_=rramsweep.models.digits_mlp"], "the network's weights are untrained"),
        (
            ["model=custom", "model._target_=tests.pictures.network", "allow_targets=[tests]"],
            "the network's weights are those that tests.pictures.network makes, untrained unless it loads trained ones",
        ),
        (["model=digits_mlp"], None),
    ],
)
def test_weights_that_no_file_gave_are_noted(workdir, capsys, arguments, note):
    folder = run(*arguments, "data=digits", "data.limit=20", "chips=1")
    out = capsys.readouterr().out
    kept = json.loads((folder / "plan.json").read_text())["settings"]["notes"]
    if note is None:
        assert kept == []
        return
    assert f"note: model.checkpoint=null: {note}" in out
    assert out.count("model.checkpoint=FILE") == 1
    chance, *kept = kept  # an untrained network guesses, which is said first
    assert "is at chance level before any chip" in chance
    assert [told.startswith(f"model.checkpoint=null: {note}") for told in kept] == [True]
    assert kept[0].partition(", ")[0].replace("'", "&#39;") in (folder / "report.html").read_text()


def test_two_laws_with_a_parameter_of_one_of_them_are_one_table(workdir, capsys):
    folder = run("-m", *DIGITS, "chips=2", "t_s=1h", "drift=relative,power_law", "drift.relative_drift=0.1,0.2")
    assert "drift      drift.relative_drift  n " in capsys.readouterr().out
    summary = pd.read_csv(folder / "summary.csv")
    assert summary["drift"].tolist() == ["relative", "relative", "power_law"]
    assert summary["drift.relative_drift"].fillna(-1).tolist() == [0.1, 0.2, -1]
    assert summary["n"].tolist() == [2, 2, 2]
    main(["plan", "-m", *DIGITS, "chips=2", "t_s=1h", "drift=power_law,relative", "drift.relative_drift=0.1,0.2"])
    assert "drift      drift.relative_drift  point_id " in capsys.readouterr().out


def test_names_in_a_table_that_is_too_wide_break_at_their_dots(workdir, capsys, monkeypatch):
    folder = run("-m", *DIGITS, "chips=1", LEVELS, "mapping=offset", "mapping.percentile=99,98", "t_s=0,1")
    capsys.readouterr()
    monkeypatch.setattr("rramsweep.reporting.terminal.LOG_WIDTH", 80)
    main(["report", str(folder)])
    lines = capsys.readouterr().out.splitlines()
    head = next(i for i, line in enumerate(lines) if "mapping." in line)
    assert lines[head].split()[:2] == ["drift.", "mapping."]
    assert lines[head + 1].split()[:3] == ["relative_drift", "percentile", "t_s"]
    assert all(len(line) <= 80 and line == line.rstrip() for line in lines if "files:" not in line)


def test_the_version_is_the_packages(capsys):
    main(["--version"])
    assert capsys.readouterr().out.startswith(f"rramsweep {rs.__version__} (hydra-core 1.")


def test_nothing_asked_for_is_answered_with_the_help(workdir, capsys):
    main([])
    assert "to copy" in capsys.readouterr().out
    assert not Path("outputs").exists()


def test_what_is_swept_where_one_point_is_wanted_is_told_in_pythons_words(workdir):
    with pytest.raises(
        ValueError, match=r"takes one value, got drift.relative_drift=0,0.1: rs.sweep\(\[...\]\) sweeps"
    ):
        rs.compose([*DIGITS, "drift.relative_drift=0,0.1"])
    with pytest.raises(ValueError, match=r"take a device inside \(device=neurram or device=tsinghua_mcnn\) or set"):
        rs.run(rs.compose([*DIGITS, "relaxation=hfox"]))


def test_the_terminal_tells_times_by_the_clock_and_rows_apart(workdir, capsys):
    swept = ["mapping.scale=per_tensor,per_channel", "t_s=0,1d", "relaxation=hfox", "relaxation.scale=true"]
    run("-m", *DIGITS, "chips=1", "drift=ideal", *swept)
    lines = capsys.readouterr().out.splitlines()
    baselines = [line for line in lines if line.startswith("digits_mlp ")]
    assert [[scale in line for scale in ("per_tensor", "per_channel")] for line in baselines] == [[1, 0], [0, 1]]
    assert sum(line.startswith("per_") and " 1 d " in line for line in lines) == 2


@pytest.mark.parametrize("call", [lambda: rs.sweep("chips=1"), lambda: rs.compose("chips=1"), lambda: rs.run({})])
def test_python_calls_say_what_they_take(workdir, call):
    with pytest.raises(ValueError, match="takes a"):
        call()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["drift.relative_drift=7"], "must lie in 0..1"),
        (["-m", "drift.relative_drift=0,7"], "must lie in 0..1"),
        (["-m", "seed=0,1", "chips=3"], "a swept seed has one chip a value"),
        (["report", "nowhere"], "is not a folder"),
        (["report"], "rramsweep report takes .* required: DIR"),
        (["chips=0"], "chips must be at least 1"),
        (["experiment=quickstart"], "run it with -m"),
    ],
)
def test_bad_input_is_one_line(workdir, capfd, arguments, says):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 1
    err = capfd.readouterr().err
    lines = [line for line in err.splitlines() if line.strip() and "trials," not in line]
    assert len(lines) == 1, err
    assert pd.Series(lines).str.contains(says).all(), err
    assert "Traceback" not in err


def test_the_plan_says_how_to_repeat_it(quickstart):
    settings = json.loads((quickstart / "plan.json").read_text())["settings"]
    assert settings["command"].startswith("rramsweep ")
    assert settings["chips"] == 3


def test_the_flag_of_a_sweep_may_stand_between_overrides(workdir, capsys):
    main(["model=digits_mlp", "-m", "data=digits", "data.limit=20", "drift.relative_drift=0,0.1", "chips=1"])
    assert "points 2, trials 2" in capsys.readouterr().out
