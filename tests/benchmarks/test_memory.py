"""Largest memory of a sweep, of few chips and of many. Prints what it measured; asserts no size.

While trials run only a seed and an accuracy a trial are kept; the table of all rows is made once, at the end.
"""

from __future__ import annotations

import subprocess
import sys

CHIPS = (100, 2_000, 10_000, 40_000)
SWEEP = ["model=digits_mlp", "data=digits", "data.limit=100", "drift.relative_drift=0.1,0.3", "threads=1"]

MEASURED = """
import resource
import sys

from rramsweep.cli import driver
from rramsweep.cli.main import main

report = driver._report


def say():
    print("PEAK", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def measured_report(*arguments):
    say()
    return report(*arguments)


driver._report = measured_report
main(sys.argv[1:])
say()
"""


def test_memory_of_a_sweep(tmp_path):
    print("\ndigits_mlp, 2 points: peak resident memory when the last trial is done, and after the report")
    for chips in CHIPS:
        command = [sys.executable, "-c", MEASURED, "-m", *SWEEP, f"chips={chips}", f"store=s{chips}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        trials, whole = (float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("PEAK"))
        print(f"  {2 * chips} trials: {trials:.0f} MB, {whole:.0f} MB")


OF_WEIGHTS = """
import resource
import sys

import torch
import torchvision
from torch import nn

from rramsweep.network.analog import AnalogNetwork, analog_layers
from rramsweep.crossbar.programming import LayerSpec
from rramsweep.devices.device import Device
from rramsweep.effects import Gaussian, RelativeDrift
from rramsweep.crossbar.mapping import Differential

torch.set_num_threads(int(sys.argv[2]))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
networks = {
    "mlp": (lambda: nn.Sequential(*[nn.Linear(2048, 2048) for _ in range(8)]), (1, 2048)),
    "resnet18": (torchvision.models.resnet18, (1, 3, 64, 64)),
}
make, shape = networks[sys.argv[1]]
small = nn.Linear(2, 2)
AnalogNetwork(small, {"": LayerSpec(Device(1.0, 100.0), Differential())}).chip(0)(torch.zeros(1, 2))
before = peak()
model = make().eval()
specs = dict.fromkeys(
    analog_layers(model),
    LayerSpec(Device(1.0, 100.0, 0.1), Differential(), Gaussian(0.03), Gaussian(0.07), RelativeDrift(0.1)),
)
network = AnalogNetwork(model, specs)
x = torch.zeros(shape)
with torch.inference_mode():
    for seed in range(4):
        network.chip(seed)(x)
        print("PEAK", (peak() - before) / sum(p.numel() * 4 for p in model.parameters()))
"""


def test_memory_of_the_weights():
    print("\nlargest memory of four chips, the network's own weights included, over the weights")
    for network in ("mlp", "resnet18"):
        for threads in ("1", "2"):
            command = [sys.executable, "-c", OF_WEIGHTS, network, threads]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            peaks = [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("PEAK")]
            print(f"  {network}, {threads} threads: {', '.join(f'{peak:.2f}' for peak in peaks)}")
