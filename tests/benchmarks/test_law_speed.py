"""How much every law of conf/ slows the chain of three stages, in nanoseconds a cell on one thread.

A law of programming, relaxation or drift takes the place of that stage; variation and faults come on top. Read noise
is no stage of the chain: there the cost of one read of an array by one input vector stands beside the chain's.
"""

from __future__ import annotations

import time

import pytest
import torch
from torch.nn.functional import linear

from rramsweep.crossbar.mapping import Differential
from rramsweep.crossbar.programming import LayerSpec, map_layer
from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Stream
from rramsweep.effects import Gaussian, Ideal, RelativeDrift, StuckClusters
from tests.presets import OPTIONS, device_of, law_of

SIDE = 1000
N = SIDE**2
ROUNDS = 20
CHAIN = {"programming": Gaussian(0.03), "relaxation": Gaussian(0.07), "drift": RelativeDrift(0.1)}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def nanoseconds(chain, device, target, t_s=3600.0):
    start = time.thread_time()
    g = target
    for stage, effect in chain.items():
        g = device.confine_(effect(Cells(g, target, device, t_s), Stream(0, ("layer", "p", stage))))
    return (time.thread_time() - start) / N * 1e9


def fastest(chains, device):
    target = torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    target = target.mul_(device.span_uS).add_(device.g_min_uS)
    pairs = [[nanoseconds(chain, device, target) for chain in chains] for _ in range(ROUNDS)]
    return [min(times) for times in zip(*pairs, strict=True)]


def told(name, slowed, plain):
    print(f"\n{name}: {slowed:.1f} ns a cell against {plain:.1f}, {slowed / plain:.2f} times")
    assert slowed < 3 * plain


@pytest.mark.parametrize(("group", "option"), [o for o in OPTIONS if o[0] != "read_noise"])
def test_a_law_slows_the_chain_by_less_than_3(group, option, tmp_path):
    law = law_of(group, option, tmp_path)
    assert not isinstance(law, Ideal)
    plain, slowed = fastest([CHAIN, {**CHAIN, group: law}], device_of(law))
    told(f"{group}={option}", slowed, plain)


@pytest.mark.parametrize("distribution", ["fixed", "normal", "uniform", "lognormal"])
@pytest.mark.parametrize(
    ("rates", "radius", "fill"),
    [
        ((0.0175, 0.0904), 1.0, 0.3),
        ((0.1, 0.1), 2.0, 0.25),
        ((0.0175, 0.0904), 30.0, 0.2),
        # Near the bound on their number, where clusters cost most.
        ((0.2, 0.17), 1.0, 1.0),
        ((0.3, 0.25), 2.0, 0.5),
        ((0.6, 0.0), 2.0, 0.5),
        ((0.5, 0.34), 2.0, 1.0),
        ((0.6, 0.24), 4.0, 0.5),
        ((0.5, 0.485), 8.0, 0.6),
        ((0.5, 0.499999), 75.0, 0.2),
    ],
)
def test_clusters_of_every_kind_slow_it_by_less_than_3(rates, radius, fill, distribution):
    spread = {} if distribution == "fixed" else {"distribution": distribution, "cv_lrs": 0.2, "cv_hrs": 0.3}
    law = StuckClusters(*rates, radius_cells=radius, fill=fill, **spread)
    plain, slowed = fastest([CHAIN, {**CHAIN, "faults": law}], Device(1.0, 100.0))
    told(f"clusters {rates} {radius} {fill} {distribution}", slowed, plain)


@pytest.mark.parametrize("option", [option for group, option in OPTIONS if group == "read_noise"])
def test_a_noisy_read_of_an_array_costs_less_than_3_chains(option, tmp_path):
    noise = law_of("read_noise", option, tmp_path)
    device = device_of(noise)
    weight = torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    layer = map_layer("fc", weight, LayerSpec(device, Differential(), read_noise=noise))
    target, x = layer.target_uS["p"], torch.rand(1, SIDE)
    chain, noisy, quiet = [], [], []
    for _ in range(ROUNDS):
        chain.append(nanoseconds(CHAIN, device, target))
        for read, times in ((lambda: noise(linear, x, layer, Stream(0)), noisy), (lambda: linear(x, weight), quiet)):
            start = time.thread_time()
            read()
            times.append((time.thread_time() - start) / N * 1e9)
    told(f"read_noise={option}, first read (without noise {min(quiet):.2f})", min(noisy) + min(chain), min(chain))
