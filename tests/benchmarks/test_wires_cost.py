"""What wires cost a chip: a trial with wires over the same trial without, interleaved, in torch and compiled.

Prints medians; asserts no time.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import pytest

import rramsweep as rs
from rramsweep.cli.composing import choices, container
from rramsweep.crossbar import wires
from rramsweep.simulation.passes import run_trials
from rramsweep.simulation.workbench import Workbench

SHARED = Path(os.environ.get("RRAMSWEEP_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
NETWORKS = {
    "LeNet-5, 1,000 images": ["data.limit=1000"],
    "ResNet-20, 512 images": [
        "model=resnet20",
        f"model.checkpoint={SHARED}/resnet_cifar10/resnet20-12fca82f.th",
        "data=cifar10_jpeg",
        f"data.path={SHARED}/cifar10_jpegq75_test5k.npz",
        "data.limit=512",
    ],
}
WIRES = ["tile=crossbar", "wires=segments"]
ROUNDS = 9


def bench_of(overrides):
    cfg = rs.compose([*overrides, "technology=pyrram", "drift.relative_drift=0.1"])
    workbench = Workbench()
    return workbench.bench(workbench.point(container(cfg), choices(cfg)))


@pytest.mark.parametrize("network", NETWORKS)
def test_trial_with_wires_over_a_trial_without(network, monkeypatch):
    if "ResNet" in network and not (SHARED / "resnet_cifar10").is_dir():
        pytest.skip("needs the development data")
    plain, wired = bench_of(NETWORKS[network]), bench_of([*NETWORKS[network], *WIRES])
    compiled = wires.compiled_march()
    runs = {"plain": (plain, compiled), "torch": (wired, None)} | ({"numba": (wired, compiled)} if compiled else {})
    times = {name: [] for name in runs}
    for i in range(ROUNDS + 1):
        for name, (bench, kernel) in runs.items():
            monkeypatch.setattr(wires, "compiled_march", lambda kernel=kernel: kernel)
            started = time.perf_counter()
            (row,) = (row for row, _ in run_trials(bench, [i]))
            assert row["status"] == "ok", row["error"]
            if i:
                times[name].append(time.perf_counter() - started)
    median = {name: statistics.median(values) for name, values in times.items()}
    print(f"\n{network}: without wires {median['plain']:.4f} s")
    for name in list(runs)[1:]:
        print(f"  128x128, 1 ohm, {name}: {median[name]:.4f} s, {median[name] / median['plain']:.2f} times")
