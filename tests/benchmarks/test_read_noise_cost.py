"""A forward pass with read noise against one without, one thread, interleaved. Prints what it measured."""

from __future__ import annotations

import statistics
import time

import pytest
import torch

from rramsweep.crossbar.mapping import Differential
from rramsweep.crossbar.programming import LayerSpec
from rramsweep.devices.device import Device
from rramsweep.effects import CMOReadNoise, Ideal, RandomTelegraphNoise, ThermalShotNoise, WhiteReadNoise
from rramsweep.models import digits_mlp, lenet5, resnet20
from rramsweep.network.analog import AnalogNetwork, analog_layers

ROUNDS = 15
DEVICE = Device(9.0, 88.19)
NOISES = [Ideal(), WhiteReadNoise(0.01), ThermalShotNoise(1e7), RandomTelegraphNoise(), CMOReadNoise()]


@pytest.mark.parametrize(
    ("make", "shape"),
    [(digits_mlp, (250, 1, 8, 8)), (lenet5, (250, 1, 28, 28)), (resnet20, (50, 3, 32, 32))],
    ids=lambda v: getattr(v, "__name__", ""),
)
@torch.inference_mode()
def test_cost_of_read_noise(make, shape):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model, x = make().eval(), torch.randn(shape)
        names = analog_layers(model)
        specs = [LayerSpec(DEVICE, Differential(), read_noise=noise) for noise in NOISES]
        chips = [AnalogNetwork(model, dict.fromkeys(names, spec), t_s=1.0).chip(0) for spec in specs]
        seconds = [[timed(chip, x) for chip in chips] for _ in range(ROUNDS)]
    finally:
        torch.set_num_threads(threads)
    plain, *noisy = (statistics.median(times) for times in zip(*seconds, strict=True))
    print(f"\n{make.__name__}, {len(x)} inputs: {1e3 * plain:.1f} ms without read noise")
    for noise, taken in zip(NOISES[1:], noisy, strict=True):
        print(f"  {type(noise).__name__}: {taken / plain:.2f} times that")


def timed(chip, x):
    start = time.process_time()
    chip(x)
    return time.process_time() - start
