"""A process forked after torch used threads: refused in one line; one forked before, or spawned, computes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from rramsweep.network import forking as forked

CASES = [
    ("os", "sweep", "parent", "after", True),
    ("os", "inspect", "parent", "after", True),
    ("multiprocessing", "simulate", "nobody", "after", False),
    # From here on what they do is imported before they fork.
    ("os", "sweep", "parent", "before", True),
    ("multiprocessing", "run", "parent", "before", True),
    ("multiprocessing", "simulate", "parent", "before", True),
    ("os", "sweep", "nobody", "before", False),
    ("os", "sweep", "child", "before", False),
]

# Each case in a process of its own, forked from one that has imported torch and computed nothing.
PROGRAM = """
import json
import multiprocessing
import os
import sys

import torch

torch.set_num_threads(2)
import rramsweep as rs


def case(how, what, who, loaded, refused):
    if who == "parent":
        compute()
    fork(how, globals()[what], who)


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


def fork(how, do, who):
    if how == "multiprocessing":
        process = multiprocessing.get_context("fork").Process(target=attempt, args=(do, who))
        process.start()
        process.join()
        return
    child = os.fork()
    if child == 0:
        attempt(do, who)
        os._exit(0)
    os.waitpid(child, 0)


def attempt(do, who):
    if who == "child":
        compute()
    try:
        do()
    except ValueError as error:
        print(error, flush=True)


def compute():
    torch.zeros(1 << 20).add_(1)


for i, given in enumerate(json.loads(sys.argv[1])):
    print("case", i, flush=True)
    if given[3] == "before":
        from rramsweep.cli import api, layer_report
        from rramsweep.network import simulator
    child = os.fork()
    if child == 0:
        case(*given)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        print("failed", status, flush=True)
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """Lines that each case printed."""
    command = [sys.executable, "-c", PROGRAM, json.dumps(CASES)]
    folder = tmp_path_factory.mktemp("forking")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=True)
    parts = done.stdout.split("case ")[1:]
    assert len(parts) == len(CASES), done
    return [part.splitlines()[1:] for part in parts]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks as Linux does")
@pytest.mark.parametrize("number", range(len(CASES)), ids=["-".join(case[:4]) for case in CASES])
def test_a_forked_process_computes_or_says_why_not(said, number):
    lines, refused = said[number], CASES[number][-1]
    assert len(lines) == 1, lines
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
