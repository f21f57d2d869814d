"""Chips per second against chips a pass, on a GPU, with chips drawn on the CPU and on the GPU.

Skipped where there is none; `RRAMSWEEP_ACCELERATOR=cpu` measures passes on a CPU, where one chip at a time is fastest.
Prints what it measured; asserts no time.
"""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import torch

import rramsweep as rs
from rramsweep.cli.composing import choices, container
from rramsweep.simulation.execution import ExecutionSettings
from rramsweep.simulation.passes import run_trials
from rramsweep.simulation.workbench import Workbench

ACCELERATOR = os.environ.get("RRAMSWEEP_ACCELERATOR", "cuda")
NETWORKS = {
    "lenet5": ["data.limit=1000"],
    "digits_cnn": ["model=digits_cnn", "data=digits", "data.split=all"],
    "digits_mlp": ["model=digits_mlp", "data=digits", "data.split=all"],
    "resnet20": ["model=resnet20", "model.checkpoint=null", "data=cifar10_jpeg", "data.path=x.npz"],
}
AT_LEAST_S = 2.0
PASSES = [2**n for n in range(11)]

pytestmark = pytest.mark.skipif(ACCELERATOR == "cuda" and not torch.cuda.is_available(), reason="needs a GPU")


def chips_per_second(overrides, chips):
    cfg = rs.compose([*overrides, "technology=pyrram", "drift.relative_drift=0.1", f"accelerator={ACCELERATOR}"])
    workbench = Workbench(settings=ExecutionSettings(chips_per_pass=chips))
    point = workbench.point(container(cfg), choices(cfg))
    bench = workbench.ready(point, workbench.execution(point))
    list(run_trials(bench, range(chips)))  # the first pass pays for what later ones find in place
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < AT_LEAST_S:
        rows = [row for row, _ in run_trials(bench, range(done, done + chips))]
        assert {row["status"] for row in rows} == {"ok"}, rows[0]["error"]
        done += chips
    return done / (time.perf_counter() - started)


@pytest.mark.parametrize("draws", ["cpu", "cuda"] if ACCELERATOR == "cuda" else ["cpu"])
@pytest.mark.parametrize("network", NETWORKS)
def test_chips_a_pass(network, draws, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if network == "resnet20":
        pictures = torch.randint(0, 256, (512, 32, 32, 3), generator=torch.Generator().manual_seed(0)).byte().numpy()
        np.savez("x.npz", x=pictures, y=np.arange(512) % 10)
    print(f"\n{network}, chips drawn on {draws}: chips per second by chips a pass")
    most = 0.0
    for chips in PASSES:
        rate = chips_per_second([*NETWORKS[network], f"accelerator.rng_device={draws}"], chips)
        print(f"  {chips:5} {rate:10.1f}")
        if rate < 0.7 * most:
            break
        most = max(most, rate)
