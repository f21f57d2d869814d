"""How a network is run is measured once, kept with the store, and changes no score beyond rounding."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import rramsweep as rs
from rramsweep.network.parallel import in_parallel
from rramsweep.simulation.execution import Execution, Wish
from rramsweep.simulation.probe import measure

POINT = ["model=digits_cnn", "data=digits", "data.limit=100", "drift.relative_drift=0.3"]


class Clock:
    """In the place of the module `time`: only networks move it, so no other work on the machine decides a test."""

    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("rramsweep.simulation.stopwatch.time", clock)
    return clock


class Costs(nn.Module):
    """A network that takes as long as it is told: `cost(inputs, is_channels_last, threads)` milliseconds a batch."""

    def __init__(self, clock, cost):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.clock, self.cost = clock, cost

    def forward(self, x):
        last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        self.clock.now += self.cost(len(x), last, torch.get_num_threads()) / 1000
        return x.flatten(1)


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (lambda n, last, threads: 3.0, (300, "contiguous")),  # a batch costs the same, so the more in it the better
        (lambda n, last, threads: 0.06 * n * (1 + n / 16), (16, "contiguous")),  # memory: small ones are better
        (lambda n, last, threads: (20.0 if last else 40.0) + 0.05 * max(0, n - 64) ** 2, (64, "channels_last")),
    ],
)
def test_the_fastest_way_is_found(clock, cost, expected):
    x = torch.zeros(300, 2, 3, 3)
    found = measure(Costs(clock, cost), x, Wish(threads=1))
    assert (found.batch_size, found.memory_format) == expected
    assert found.threads == 1


def test_one_thread_is_taken_where_more_are_in_each_others_way(clock):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        x = torch.zeros(32, 2, 3, 3)
        crowded = Costs(clock, lambda n, last, threads: 4.0 * threads)
        fixed = {"batch_size": 32, "memory_format": "contiguous"}
        assert measure(crowded, x, Wish(**fixed)) == Execution(32, "contiguous", 1)
        assert measure(crowded, x, Wish(**fixed, alone=False)) == Execution(32, "contiguous", None)
        assert measure(Costs(clock, lambda n, last, threads: 8.0 / threads), x, Wish(**fixed)).threads is None
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_what_is_fixed_is_not_measured(clock):
    def never(n, last, threads):
        raise AssertionError("a network that nothing is to be measured of was called")

    found = measure(Costs(clock, never), torch.zeros(9, 2, 3, 3), Wish(5, "channels_last", 2))
    assert found == Execution(5, "channels_last", 2)


def test_out_of_budget_the_best_so_far_is_taken(clock):
    slow = Costs(clock, lambda n, last, threads: 20.0)
    assert measure(slow, torch.zeros(2000, 2, 3, 3), Wish(threads=1), budget_s=0.0).batch_size == 64


def test_ways_of_running_agree_to_rounding(workdir):
    frames = []
    for ways in (["batch_size=7"], ["batch_size=100", "memory_format=channels_last"], ["threads=1"]):
        frames.append(rs.sweep([*POINT, "chips=3", f"store=s{len(frames)}", *ways]))
    assert frames[0]["batch_size"].tolist() == [7, 7, 7]
    assert frames[1]["memory_format"].tolist() == ["channels_last"] * 3
    assert frames[2]["threads"].tolist() == [1, 1, 1]
    for frame in frames[1:]:
        assert frame["point_id"].tolist() == frames[0]["point_id"].tolist()
        assert frame["loss"].tolist() == pytest.approx(frames[0]["loss"].tolist(), abs=1e-5)
        assert frame["digital_score"].tolist() == frames[0]["digital_score"].tolist()


def test_it_is_measured_once_a_store_and_kept_there(workdir, monkeypatch):
    rs.sweep([*POINT, "chips=2"])
    (kept,) = json.loads(Path("outputs/store/executions.json").read_text()).values()
    monkeypatch.setattr("rramsweep.simulation.workbench.measure", lambda *_: pytest.fail("measured again"))
    more = rs.sweep([*POINT, "chips=4"])
    assert more["batch_size"].tolist() == [kept["batch_size"]] * 4
    assert more["memory_format"].tolist() == [kept["memory_format"]] * 4


@pytest.mark.parametrize("text", ["{", "[]", '{"a": {"batch_size": 0}}', '{"a": {"batch": 3}}'])
def test_a_damaged_file_of_measurements_is_named(workdir, text):
    Path("outputs/store").mkdir(parents=True)
    Path("outputs/store/executions.json").write_text(text)
    with pytest.raises(ValueError, match=r"executions.json must hold how networks are run.*: remove it"):
        rs.sweep([*POINT, "chips=2"])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_each_layer_is_done_once_whatever_the_threads(threads, monkeypatch):
    monkeypatch.setattr("rramsweep.network.parallel.WORTH_IT", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        sizes = {str(i): i for i in range(20)}
        done: list[str] = []
        in_parallel(sizes, done.append)
        assert sorted(done) == sorted(sizes)
        assert torch.get_num_threads() == threads

        def fails(name: str) -> None:
            raise RuntimeError(name)

        with pytest.raises(RuntimeError):
            in_parallel(sizes, fails)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [((0,), "batch_size must be at least 1"), ((1, "nhwc"), "must be one of"), ((1, "contiguous", 0), "threads must")],
)
def test_refuses_ways_that_are_none(arguments, says):
    with pytest.raises(ValueError, match=says):
        Execution(*arguments)
