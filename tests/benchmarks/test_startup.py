"""CPU seconds of commands that answer from the catalog, a store or the folder of configs. Prints; asserts no time.

Beside each stands its ratio to `import hydra`, measured in turns with it, so that runs on different machines compare.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys

import pytest

import rramsweep as rs

ROUNDS = 7
LINE = "rramsweep -m drift.rela"

COMMANDS = {
    "--help": ["--help"],
    "--version": ["--version"],
    "list": ["list"],
    "list device": ["list", "device"],
    "explain": ["explain", ""],
    "store": ["store"],
    "completion": ["-sc", "query=bash"],
    "unknown option": ["device=x"],
    "unknown parameter": ["-m", "drift.relative_drft=0,0.1"],
    "unknown setting": ["chip=3"],
    "mistyped verb": ["stor"],
    "refused by Hydra": ["+chips=3"],
}


def cpu_seconds(command: list[str]) -> float:
    """User and system time of a process and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "COMP_LINE": LINE, "COMP_POINT": str(len(LINE)), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *command], capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


@pytest.fixture
def store(workdir):
    rs.sweep(["model=digits_mlp", "data=digits", "data.limit=50", "chips=2"])


def test_seconds_until_an_answer(store):
    spent: dict[str, list[float]] = {name: [] for name in ("import hydra", *COMMANDS)}
    for _ in range(ROUNDS):
        for name, words in COMMANDS.items():
            spent["import hydra"].append(cpu_seconds(["-c", "import hydra"]))
            spent[name].append(cpu_seconds(["-m", "rramsweep", *words]))
    reference = statistics.median(spent["import hydra"])
    print(f"\n{'':20}median CPU s   / import hydra   all CPU s")
    for name, seconds in spent.items():
        median = statistics.median(seconds)
        shown = " ".join(f"{second:.3f}" for second in seconds[:ROUNDS])
        print(f"{name:20}{median:12.3f}{median / reference:17.2f}   {shown}")
