"""Time until the first chip of a sweep of 10,000 points, and CPU and memory of plans of up to 100,000.

Prints what it measured and asserts no time: CPU seconds compare between machines by `python -c 'import hydra'` beside.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rramsweep.cli.main import main
from rramsweep.simulation import shard

LEVELS = ",".join(str(round(0.005 * i, 4)) for i in range(100))


class FirstChip(BaseException):
    """Ends the run when the first chip is about to begin."""


@pytest.mark.parametrize("network", [["model=digits_mlp", "data=digits"], []], ids=["digits_mlp", "lenet5"])
def test_ten_thousand_points(tmp_path, monkeypatch, network):
    monkeypatch.chdir(tmp_path)
    marks = {}
    save = shard.Plan.save

    def timed_save(plan, folder):
        marks["validated"] = time.perf_counter()
        return save(plan, folder)

    def first(bench, seed):
        marks["first chip"] = time.perf_counter()
        raise FirstChip

    monkeypatch.setattr(shard.Plan, "save", timed_save)
    monkeypatch.setattr(shard, "run_trial", first)
    start = time.perf_counter()
    axes = [f"drift.relative_drift={LEVELS}", f"programming.alpha_ind={LEVELS}"]
    with pytest.raises(FirstChip):
        main(["-m", *network, "technology=pyrram", *axes, "chips=10"])
    (plan,) = Path("outputs/sweep").glob("*/plan.json")
    print(f"\n10,000 points: plan of {plan.stat().st_size / 1e6:.1f} MB")
    for what, when in marks.items():
        print(f"  {what} after {when - start:.1f} s")


def cpu_s(command, cwd):
    """CPU seconds of a command, from the resources that the system counts for it."""
    process = subprocess.Popen([sys.executable, *command], cwd=cwd, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, command
    return used.ru_utime + used.ru_stime


def axes(n_drift, n_programming):
    return [
        f"{name}={','.join(str(round(0.15 * i / n, 8)) for i in range(n))}"
        for name, n in (("drift.relative_drift", n_drift), ("programming.alpha_ind", n_programming))
    ]


SMALL = ["model=digits_mlp", "data=digits", "technology=pyrram", "chips=10"]

MEMORY = """
import resource, sys
from rramsweep.cli.planning import plan_of

n, *arguments = sys.argv[1:]
plan_of(arguments[:-2], "one point, for all that is loaded once")
before_kB = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
plan, _ = plan_of(arguments, "test")
assert len(plan.points) == int(n)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kB) / int(n))
"""


def test_cpu_seconds_of_a_plan(tmp_path):
    print()
    for n_drift, n_programming in ((10, 10), (100, 100), (250, 400)):
        hydra_s = cpu_s(["-c", "import hydra"], tmp_path)
        plan_s = cpu_s(["-m", "rramsweep", "plan", "-m", *SMALL, *axes(n_drift, n_programming)], tmp_path)
        print(f"  {n_drift * n_programming:>7,} points {plan_s:6.1f} CPU s, import hydra {hydra_s:.2f} CPU s")


def test_memory_of_a_plan_grows_by_less_than_five_kilobytes_a_point(tmp_path):
    arguments = ["100000", *SMALL, *axes(250, 400)]
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    print(f"\n100,000 points: {float(done.stdout):.2f} kB a point")
    assert 0 < float(done.stdout) < 5
