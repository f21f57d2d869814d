"""What one chip costs, programmed and evaluated, against the digital network: medians of interleaved runs, as ratios.

Prints, for each network: the plain forward in one batch, as an ordinary Python process runs it and with the allocator
told to keep memory; the fastest forward that a search by hand finds (batch norms fused, every batch size, both memory
formats); and over each a trial of three stages, as a sweep runs its chips (several at the same time if the network
is small: their time over their number), and one chip alone. Asserts no time.
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

# Each in a process of its own, because the allocator is set up where a process starts.
MODEL = """
import json, sys, time
if sys.argv[2] == "ours":
    from rramsweep.simulation.allocator import keep_memory
    keep_memory()
import torch
import rramsweep as rs
from rramsweep.network.arrays import private_copy
from rramsweep.cli.composing import choices, container
from rramsweep.simulation.execution import Execution, ExecutionSettings
from rramsweep.network.batch_norm import fused, safe_folds
from rramsweep.simulation.passes import run_trials
from rramsweep.simulation.workbench import Workbench

cfg = rs.compose(json.loads(sys.argv[1]))

def made(**fixed):
    workbench = Workbench(settings=ExecutionSettings(**fixed))
    return workbench, workbench.point(container(cfg), choices(cfg))

workbench, point = made()
model, _, data = workbench.parts(point)
plain = private_copy(model)

def seconds(run):
    started = time.perf_counter()
    run()
    return time.perf_counter() - started

def forward(network, batches):
    with torch.inference_mode():
        torch.cat([network(x) for x in batches])

def answer(runs):
    # A line in asks for a run by its name, a line out says its seconds, without those of waking up.
    for line in sys.stdin:
        run, times = runs[line.strip()]
        run()
        print(seconds(run) / times, flush=True)
"""

ORDINARY = (
    MODEL
    + """
answer({"ordinary": (lambda: forward(plain, [data.x]), 1)})
"""
)

OURS = (
    MODEL
    + """
def ready(workbench, point):
    return workbench.ready(point, workbench.execution(point))

bench, alone = ready(workbench, point), ready(*made(chips_in_flight=1))
trial = seconds(lambda: list(run_trials(alone, [0])))
chips = 50 if trial < 0.05 else 4 * bench.execution.chips_in_flight if bench.others else 1
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
found = {"hand": [size, name], "ours": vars(bench.execution), "threads": torch.get_num_threads()}
print(json.dumps(found), flush=True)
answer({
    "plain": (lambda: forward(plain, [data.x]), 1),
    "fastest": (lambda: forward(fastest, batches), 1),
    "trial": (lambda: list(run_trials(bench, range(chips))), chips),
    "alone": (lambda: list(run_trials(alone, [1])), 1),
    "program": (lambda: alone.network.chip(1), 1),
})
"""
)


def process(script: str, overrides: list[str], kind: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, json.dumps(overrides), kind]
    # Its memory as any process has it, whatever the one that runs the benchmarks has set for its children.
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)


def ask(answering: subprocess.Popen[str], run: str) -> float:
    assert answering.stdin is not None
    assert answering.stdout is not None
    print(run, file=answering.stdin, flush=True)
    return float(answering.stdout.readline())


def cost(overrides: list[str], rounds: int = ROUNDS) -> None:
    with process(OURS, overrides, "ours") as ours, process(ORDINARY, overrides, "ordinary") as ordinary:
        assert ours.stdout is not None
        found = json.loads(ours.stdout.readline())
        runs = {"ordinary": ordinary, "plain": ours, "fastest": ours, "trial": ours, "alone": ours, "program": ours}
        times: dict[str, list[float]] = {run: [] for run in runs}
        for i in range(rounds + 1):
            for run, answering in runs.items():
                taken = ask(answering, run)
                if i:
                    times[run].append(taken)
        ours.communicate()
        ordinary.communicate()
    median = {run: statistics.median(values) for run, values in times.items()}
    trial = median["trial"]
    print(
        f"\n{overrides[0]}: plain {median['ordinary']:.4f} s, keeping memory {median['plain']:.4f} s; fastest by hand "
        f"{median['fastest']:.4f} s {found['hand']}; trial {trial:.4f} s {found['ours']}, a chip alone "
        f"{median['alone']:.4f} s, of it programming {median['program']:.4f} s\n"
        f"  trial / fastest {trial / median['fastest']:.2f}, trial / plain {trial / median['ordinary']:.2f}, "
        f"keeping memory {trial / median['plain']:.2f}; alone / fastest {median['alone'] / median['fastest']:.2f}; "
        f"{found['threads']} threads"
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
