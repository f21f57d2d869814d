"""A process forked after torch used threads: refused in one line; one forked before, or spawned, computes."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from rramsweep.network import forking as forked

PROGRAM = """
import multiprocessing
import os
import sys

import torch

torch.set_num_threads(2)
import rramsweep as rs

if sys.argv[4] == "before":
    from rramsweep.cli import api, layer_report
    from rramsweep.network import simulator

SWEEP = ["model=digits_mlp", "data=digits", "data.limit=50", "chips=2", "drift.relative_drift=0.2", "batch_size=50"]


def sweep():
    print(len(rs.sweep([*SWEEP, f"store=s{os.getpid()}"])), flush=True)


def run():
    print(len(rs.run(rs.compose([*SWEEP, f"store=s{os.getpid()}"]))), flush=True)


def inspect():
    print(len(rs.inspect(SWEEP)) and 2, flush=True)


def simulate():
    rs.FastPyTorchRRAM(torch.nn.Linear(400, 400), 1e-6, 1e-4, seed=0)
    print(2, flush=True)


def fork(do):
    if sys.argv[1] == "multiprocessing":
        process = multiprocessing.get_context("fork").Process(target=attempt, args=(do,))
        process.start()
        process.join()
        return
    child = os.fork()
    if child == 0:
        attempt(do)
        os._exit(0)
    os.waitpid(child, 0)


def attempt(do):
    if sys.argv[3] == "child":
        compute()
    try:
        do()
    except ValueError as error:
        print(error, flush=True)


def compute():
    torch.zeros(1 << 20).add_(1)


if sys.argv[3] == "parent":
    compute()
fork(globals()[sys.argv[2]])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks as Linux does")
@pytest.mark.parametrize(
    ("how", "what", "who", "loaded", "refused"),
    [
        ("os", "sweep", "parent", "before", True),
        ("os", "sweep", "parent", "after", True),
        ("multiprocessing", "run", "parent", "before", True),
        ("os", "inspect", "parent", "after", True),
        ("multiprocessing", "simulate", "parent", "before", True),
        ("os", "sweep", "nobody", "before", False),
        ("multiprocessing", "simulate", "nobody", "after", False),
        ("os", "sweep", "child", "before", False),
    ],
)
def test_a_forked_process_computes_or_says_why_not(workdir, how, what, who, loaded, refused):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how, what, who, loaded], capture_output=True, text=True, timeout=120, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 1, done
    if refused:
        assert lines[0].startswith("torch must have its threads to compute, but this process was forked from one")
        assert lines[0].endswith("get_context('spawn'), or fork before anything is computed")
    else:
        assert lines == ["2"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks as Linux does")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_trial_that_raises_is_no_success(error, monkeypatch):
    def fail(*_):
        raise error("no threads")

    monkeypatch.setattr(torch, "set_num_threads", fail)
    assert not forked._can_compute()


def test_the_trial_is_soon_over():
    assert forked.TRIAL_S <= 2
