"""How much a law of time slows the chain of three stages, in nanoseconds a cell on one thread."""

from __future__ import annotations

import time

import pytest
import torch

from rramsweep.device import Cells, Device
from rramsweep.effects import CmoRelaxation, Gaussian, HfOxRelaxation, LogTimeWalk, PowerLawDrift, RelativeDrift
from rramsweep.streams import Stream

N = 1_000_000
DEVICE = Device(0.0, 40.0)
CHAIN = {"programming": Gaussian(0.03), "relaxation": Gaussian(0.07), "drift": RelativeDrift(0.1)}
LAWS = [
    ("relaxation", HfOxRelaxation(), 0.01),
    ("relaxation", HfOxRelaxation(), 3600.0),
    ("relaxation", CmoRelaxation(), 3600.0),
    ("drift", PowerLawDrift(0.1, 0.05), 3600.0),
    ("drift", LogTimeWalk(-0.3, 2.1), 3600.0),
]


def nanoseconds(chain, t_s, target):
    start = time.thread_time()
    g = target
    for stage, effect in chain.items():
        g = DEVICE.confine_(effect(Cells(g, target, DEVICE, t_s), Stream(0, ("layer", "p", stage))))
    return (time.thread_time() - start) / N * 1e9


@pytest.mark.parametrize(("stage", "law", "t_s"), LAWS, ids=lambda v: type(v).__name__ if hasattr(v, "version") else v)
def test_a_law_slows_the_chain_by_less_than_3(stage, law, t_s):
    target = torch.rand(N, generator=torch.Generator().manual_seed(0)) * 40
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        pairs = [(nanoseconds(CHAIN, t_s, target), nanoseconds({**CHAIN, stage: law}, t_s, target)) for _ in range(30)]
    finally:
        torch.set_num_threads(threads)
    plain, slowed = (min(times) for times in zip(*pairs, strict=True))
    print(
        f"\n{type(law).__name__} at {t_s:g} s: {slowed:.1f} ns a cell against {plain:.1f}, {slowed / plain:.2f} times"
    )
    assert slowed < 3 * plain
