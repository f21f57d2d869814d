"""What converters cost a chip: a trial with a DAC and an ADC over the same trial without, interleaved.

Prints medians and quartiles; asserts no time. Run alone in a process, with torch's memory kept as a sweep keeps it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SHARED = Path(os.environ.get("RRAMSWEEP_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
RESNET20 = SHARED / "resnet_cifar10" / "resnet20-12fca82f.th"
PICTURES = SHARED / "cifar10_jpegq75_test5k.npz"
NETWORKS = {
    "LeNet-5, 1,000 images": ["data.limit=1000"],
    "ResNet-20, 512 images": [
        "model=resnet20",
        f"model.checkpoint={RESNET20}",
        "data=cifar10_jpeg",
        f"data.path={PICTURES}",
        "data.limit=512",
        f"data.fitting={PICTURES}",
    ],
    "ResNet-18, 32 images at 224 px": [
        "model=torchvision",
        "model.name=resnet18",
        "model.checkpoint=null",
        "data=npz",
        "data.path=224.npz",
        "data.fitting=fit.npz",
        "metric=agreement",
    ],
}
CONVERTERS = ["tile=crossbar", "dac=uniform", "adc=uniform"]
PARTS = {
    "DAC + ADC, 8 bits, 128 rows": CONVERTERS,
    "bit-serial, 7 bits": [*CONVERTERS, "dac.bits=7", "dac.accumulation=digital"],
}
ROUNDS = 9

MODEL = """
import json, sys, time
from rramsweep.simulation.allocator import keep_memory
keep_memory()
import torch
import rramsweep as rs
from rramsweep.cli.composing import choices, container
from rramsweep.simulation.passes import run_trials
from rramsweep.simulation.workbench import Workbench

def bench_of(overrides):
    cfg = rs.compose([*overrides, "technology=pyrram", "drift.relative_drift=0.1"])
    workbench = Workbench()
    return workbench.bench(workbench.point(container(cfg), choices(cfg)))

network, parts, rounds = json.loads(sys.argv[1])
benches = {"plain": bench_of(network)} | {name: bench_of([*network, *part]) for name, part in parts.items()}
times = {name: [] for name in benches}
for i in range(rounds + 1):
    for name, bench in benches.items():
        bench.execution.use_threads()
        chips = 1 + len(bench.others)
        started = time.perf_counter()
        rows = [row for row, _ in run_trials(bench, range(i * chips, (i + 1) * chips))]
        seconds = (time.perf_counter() - started) / chips
        assert all(row["status"] == "ok" for row in rows), rows[0]["error"]
        if i:
            times[name].append(seconds)
print(json.dumps(times))
"""


@pytest.mark.parametrize("network", NETWORKS)
def test_trial_with_converters_over_a_trial_without(network, tmp_path):
    if "ResNet-20" in network and not RESNET20.is_file():
        pytest.skip("needs the development data")
    if "ResNet-18" in network:
        rng = np.random.default_rng(0)
        for name in ("224", "fit"):
            x, y = rng.normal(size=(32, 3, 224, 224)).astype(np.float32), rng.integers(0, 1000, 32)
            np.savez(tmp_path / f"{name}.npz", x=x, y=y)
    parts = PARTS if "ResNet-18" not in network else dict(list(PARTS.items())[:1])
    given = json.dumps([NETWORKS[network], parts, ROUNDS])
    done = subprocess.run([sys.executable, "-c", MODEL, given], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    times = {name: np.array(values) for name, values in json.loads(done.stdout.splitlines()[-1]).items()}
    print(f"\n{network}: without converters {np.median(times['plain']):.4f} s a chip")
    for name in parts:
        low, mid, high = np.quantile(times[name] / times["plain"], [0.25, 0.5, 0.75])
        print(f"  {name}: {np.median(times[name]):.4f} s, {mid:.2f} times ({low:.2f}..{high:.2f})")
