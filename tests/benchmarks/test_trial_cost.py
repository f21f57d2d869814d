"""What one chip costs, programmed and evaluated, against the digital network: medians of interleaved runs, as ratios.

Prints, for each network: the plain forward in one batch, the fastest forward that a search by hand finds (batch norms
fused, every batch size, both memory formats), and one trial of three stages, each over the fastest. Asserts no time.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SHARED = Path(os.environ.get("RRAMSWEEP_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
RESNET20 = [
    f"model.checkpoint={SHARED}/resnet_cifar10/resnet20-12fca82f.th",
    f"data.path={SHARED}/cifar10_jpegq75_test5k.npz",
]
DIGITS = ["data=digits", "data.split=all", "technology=pyrram", "drift.relative_drift=0.1"]
ROUNDS = 15

# In a process of its own, because the allocator is set up where a process starts.
SCRIPT = """
import json, sys, time
from rramsweep.allocator import keep_memory
keep_memory()
import torch
import rramsweep as rs
from rramsweep.arrays import private_copy
from rramsweep.config import choices, container
from rramsweep.execution import Execution, Wish
from rramsweep.fusing import fused, safe_folds
from rramsweep.trial import run_trial
from rramsweep.workbench import Workbench

overrides, rounds = json.loads(sys.argv[1]), int(sys.argv[2])
cfg = rs.compose(overrides)
bench_ = Workbench(wish=Wish())
point = bench_.point(container(cfg), choices(cfg))
execution = bench_.measure(point)
bench_.executions = {bench_.kind(point): vars(execution)}
bench = bench_.bench(point)
model, _, data = bench_.parts(point)
plain = private_copy(model)

def seconds(run):
    started = time.perf_counter()
    run()
    return time.perf_counter() - started

def forward(network, batches):
    with torch.inference_mode():
        torch.cat([network(x) for x in batches])

folds = safe_folds(plain, data.x[:4])
hand = []
for name in ("contiguous", "channels_last") if data.x.dim() == 4 else ("contiguous",):
    network = fused(model, folds).to(memory_format=Execution(1, name).format)
    for size in (8, 16, 32, 64, 128, 256, 512, 1024, 2048):
        if size < 2 * len(data.x):
            batches = Execution(size, name).batches(data.x)
            forward(network, batches)
            best = min(seconds(lambda: forward(network, batches)) for _ in range(3))
            hand.append((best, size, name, network, batches))
_, size, name, fastest, batches = min(hand, key=lambda one: one[0])
runs = {
    "plain": lambda: forward(plain, [data.x]),
    "fastest": lambda: forward(fastest, batches),
    "trial": lambda: run_trial(bench, 1),
    "program": lambda: bench.network.chip(1),
}
times = {key: [] for key in runs}
for i in range(rounds + 1):
    for key, run in runs.items():
        taken = seconds(run)
        if i:
            times[key].append(taken)
print(json.dumps({"times": times, "hand": [size, name], "ours": vars(execution), "threads": torch.get_num_threads()}))
"""


def cost(overrides: list[str], rounds: int = ROUNDS) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(overrides), str(rounds)], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    median = {key: statistics.median(values) for key, values in found["times"].items()}
    over = {key: median[key] / median["fastest"] for key in median}
    print(
        f"\n{overrides[0]}: plain {median['plain']:.4f} s; fastest by hand {median['fastest']:.4f} s {found['hand']}; "
        f"trial {median['trial']:.4f} s {list(found['ours'].values())}, of it programming {median['program']:.4f} s\n"
        f"  trial / fastest {over['trial']:.2f}, trial / plain {median['trial'] / median['plain']:.2f}, "
        f"plain / fastest {over['plain']:.2f}, {found['threads']} threads"
    )


def test_lenet():
    cost(["technology=pyrram", "data.limit=1000"])


def test_mlp():
    cost(["model=digits_mlp", *DIGITS], rounds=60)


def test_small_cnn():
    cost(["model=digits_cnn", *DIGITS], rounds=60)


@pytest.mark.skipif(not (SHARED / "resnet_cifar10").is_dir(), reason="needs the development data")
def test_resnet20():
    cost(["model=resnet20", "data=cifar10_jpeg", "data.limit=512", "technology=pyrram", *RESNET20])


def test_resnet18_at_224_px(tmp_path):
    x = np.random.default_rng(0).normal(size=(64, 3, 224, 224)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x, y=np.arange(64) % 10)
    network = ["model=torchvision", "model.name=resnet18", "+model.num_classes=10", "model.checkpoint=null"]
    cost([*network, "data=npz", f"data.path={tmp_path}/x.npz", "data.layout=any", "technology=pyrram"], rounds=5)
