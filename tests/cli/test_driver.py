"""A sweep ends with one outcome, after what was computed is reported; the command makes its exit status of it."""

from __future__ import annotations

import errno
import pickle
import signal
from pathlib import Path

import pytest

import rramsweep as rs
from rramsweep.cli import driver
from rramsweep.cli.composing import choices, container, point_plan
from rramsweep.cli.driver import Ending, LaunchError, Outcome, SweepError, execute, execute_in_hydra
from rramsweep.cli.main import main
from rramsweep.cli.signals import Stopped
from rramsweep.simulation.shard import run_plan_shard, workbenches

POINT = ["model=digits_mlp", "data=digits", "data.limit=20", "batch_size=20", "threads=1"]
FULL = OSError(errno.ENOSPC, "No space left on device")
CAUSE = RuntimeError("worker killed")


def launch_error():
    error = LaunchError("the launcher gave up (RuntimeError: worker killed)")
    error.__cause__ = CAUSE
    return error


def plan_of(chips=2):
    cfg = rs.compose([*POINT, f"chips={chips}"])
    return point_plan(container(cfg), choices(cfg), [], "test", [])


def launching(error=None, chips=1):
    """A launcher that runs so many of the two chips, and then raises."""

    def launch(path):
        run_plan_shard(path, 0, 2 // chips, [])
        if error is not None:
            raise error

    return launch


GO_ON = "run the same command to go on"
ENDINGS = [
    (None, Ending.DONE, "", 0, None),
    (KeyboardInterrupt(), Ending.INTERRUPTED, f"interrupted, with 1 of 2 trials kept: {GO_ON}", 130, None),
    (
        Stopped(signal.SIGTERM),
        Ending.INTERRUPTED,
        f"ended by SIGTERM, with 1 of 2 trials kept: {GO_ON}",
        143,
        None,
    ),
    (
        launch_error(),
        Ending.LAUNCHER,
        f"the launcher gave up (RuntimeError: worker killed): 1 of 2 trials kept; {GO_ON}",
        1,
        CAUSE,
    ),
    (
        FULL,
        Ending.DISK,
        f"the sweep ended early (No space left on device), with 1 of 2 trials kept in STORE: free it, then {GO_ON}",
        1,
        None,
    ),
]


@pytest.mark.parametrize(("error", "ending", "message", "code", "cause"), ENDINGS)
def test_what_ends_a_sweep_is_its_outcome_after_the_report(workdir, error, ending, message, code, cause):
    plan, workbench = plan_of()
    launch = launching(error, chips=2 if error is None else 1)
    outcome = execute(plan, workbench, Path("outputs/x"), launch)
    message = message.replace("STORE", str(Path("outputs/store").absolute()))
    assert outcome == Outcome(ending, message, code, cause)
    assert len(rs.load("outputs/x")) == (2 if error is None else 1)
    assert Path("outputs/x/report.html").is_file()
    assert workbenches == {}


@pytest.mark.parametrize(("error", "code"), [(None, 1), (KeyboardInterrupt(), 130), (Stopped(signal.SIGHUP), 129)])
def test_tables_that_cannot_be_written_are_an_outcome_too(workdir, monkeypatch, error, code):
    def full(*_):
        raise FULL

    monkeypatch.setattr(driver.report, "write", full)
    plan, workbench = plan_of()
    outcome = execute(plan, workbench, Path("outputs/x"), launching(error))
    assert (outcome.ending, outcome.code) == (Ending.UNREPORTED, code)
    assert outcome.message.startswith(f"the sweep ended{'' if error is None else f' early ({type(error).__name__})'} ")
    assert "with 1 of 2 trials kept in" in outcome.message
    assert "cannot be written to outputs/x (No space left on device): free it" in outcome.message


def test_failed_trials_are_counted_with_their_commonest_error(workdir, monkeypatch):
    def fails(bench, seed):
        error = "bad cell" if seed else "bad line"
        return {"point_id": bench.point_id, "seed": seed, "status": "failed", "error": error, "seconds": 0.1}, None

    monkeypatch.setattr("rramsweep.simulation.passes.run_trial", fails)
    plan, workbench = plan_of(chips=3)
    outcome = execute(plan, workbench, Path("outputs/x"), lambda path: run_plan_shard(path, 0, 1, []))
    says = "3 of 3 trials failed, most often with 'bad cell' (2 times): see the error column; retry_failed=true runs"
    assert outcome == Outcome(Ending.FAILED, f"{says} them again", 1)


def test_an_error_of_the_program_is_no_outcome(workdir):
    plan, workbench = plan_of()
    with pytest.raises(ZeroDivisionError):
        execute(plan, workbench, Path("outputs/x"), launching(ZeroDivisionError()))
    assert len(rs.load("outputs/x")) == 1


def test_within_hydra_an_outcome_travels_as_an_exception_also_from_another_process(workdir):
    plan, workbench = plan_of()
    execute_in_hydra(plan, workbench, Path("outputs/done"), launching(chips=2))
    plan, workbench = plan_of(chips=4)
    with pytest.raises(SweepError, match="the launcher gave up") as ended:
        execute_in_hydra(plan, workbench, Path("outputs/x"), launching(launch_error()))
    assert ended.value.__cause__ is CAUSE
    sent = pickle.loads(pickle.dumps(SweepError(Outcome(Ending.DISK, "full", 1))))
    assert (str(sent), sent.outcome) == ("full", Outcome(Ending.DISK, "full", 1))


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("cause", [None, CAUSE])
def test_the_command_exits_as_the_outcome_says(workdir, monkeypatch, capfd, cause, full):
    monkeypatch.setattr(driver, "execute", lambda *_: Outcome(Ending.LAUNCHER, "it gave up", 7, cause))
    monkeypatch.setenv("HYDRA_FULL_ERROR", str(int(full)))
    with pytest.raises(SweepError if full and cause else SystemExit) as ended:
        main(["-m", *POINT, "chips=1"])
    if not (full and cause):
        assert ended.value.code == 7
        assert capfd.readouterr().err.splitlines()[-1] == "rramsweep: it gave up"
