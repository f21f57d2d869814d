"""Which share of a whole command's time goes into forward passes: from the start of Python to its end.

Counted is the time in which at least one pass runs: of chips and of the two baselines. The rest is imports, composing,
data, programming, tables, plots and the page. Prints what it measured; asserts no time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("RRAMSWEEP_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))

MEASURED = """
import gc
gc.disable()  # as the command does before it imports the same
import json, sys, threading, time

import rramsweep.cli.application
from rramsweep.simulation import passes, shard, trial
from rramsweep.__main__ import main

lock, running, since = threading.Lock(), 0, 0.0
spent = {"passes": 0.0}


def counted(call):
    def run(*args, **kwargs):
        global running, since
        with lock:
            running, since = running + 1, since if running else time.perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            with lock:
                running -= 1
                if not running:
                    spent["passes"] += time.perf_counter() - since
    return run


def timed(name, call):
    def run(*args, **kwargs):
        started = time.perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - started
    return run


trial.outputs = passes.outputs = counted(trial.outputs)
from rramsweep.cli import driver
from rramsweep.simulation import shard
shard.run_shard = timed("trials", shard.run_shard)
driver._print_baselines = timed("baselines", driver._print_baselines)
driver._report = timed("report", driver._report)
main()
print("SPENT", json.dumps(spent))
"""


def share(overrides, folder):
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "-m", *overrides], cwd=folder, capture_output=True, text=True
    )
    whole = time.perf_counter() - started
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("SPENT"))
    spent = json.loads(line.removeprefix("SPENT"))
    parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in spent.items() if name != "passes")
    print(
        f"\n{' '.join(overrides[-1:])}: {whole:.1f} s, {spent['passes'] / whole:.0%} of it in forward passes ({parts})"
    )


@pytest.mark.skipif(not (SHARED / "resnet_cifar10").is_dir(), reason="needs the development data")
@pytest.mark.parametrize("chips", [20, 100])
def test_resnet20_on_5000_pictures(tmp_path, chips):
    checkpoint = f"model.checkpoint={SHARED}/resnet_cifar10/resnet20-12fca82f.th"
    data = ["data=cifar10_jpeg", f"data.path={SHARED}/cifar10_jpegq75_test5k.npz"]
    share(
        ["model=resnet20", checkpoint, *data, "technology=pyrram", "drift.relative_drift=0.1", f"chips={chips}"],
        tmp_path,
    )


@pytest.mark.parametrize("chips", [20, 200, 2000])
def test_lenet(tmp_path, chips):
    share(["technology=pyrram", "drift.relative_drift=0.1", f"chips={chips}"], tmp_path)
