"""Chips at the same time have the rows of one after the other."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
import torch
from torch import nn

import rramsweep as rs
from rramsweep.cli.composing import choices, container
from rramsweep.network.accelerator import Accelerator
from rramsweep.simulation import passes, probe
from rramsweep.simulation.execution import Execution, Wish
from rramsweep.simulation.probe import measure
from rramsweep.simulation.trial import run_trial
from rramsweep.simulation.workbench import Workbench

POINT = ["model=digits_cnn", "data=digits", "data.limit=60", "technology=pyrram", "drift.relative_drift=0.2"]
FIXED = ["batch_size=25", "memory_format=contiguous", "threads=1"]
X = torch.zeros(32, 2, 3, 3)


def bench(*overrides, chips=2):
    cfg = rs.compose([*POINT, *overrides])
    workbench = Workbench(wish=Wish(25, "contiguous", 1, chips_in_flight=chips))
    return workbench.bench(workbench.point(container(cfg), choices(cfg)))


def without_seconds(trials):
    return [({name: v for name, v in row.items() if name != "seconds"}, right.tolist()) for row, right in trials]


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("overrides", [[], ["read_noise=white"], ["faults=stuck", "variation=column"]])
def test_rows_are_those_of_one_chip_after_the_other(overrides):
    ready, seeds = bench(*overrides, chips=3), [5, 1, 9, 2, 8, 3, 7, 4, 6, 0, 11]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = [run_trial(ready, seed) for seed in seeds]
    finally:
        torch.set_num_threads(before)
    assert without_seconds(passes.run_trials(ready, seeds)) == without_seconds(alone)
    assert torch.get_num_threads() == before


def test_a_sweep_has_the_same_rows_either_way(workdir):
    alone = rs.sweep([*POINT, *FIXED, "chips=7", "store=a"])
    flown = rs.sweep([*POINT, *FIXED, "chips=7", "store=b", "chips_in_flight=2"])
    assert flown.drop(columns="seconds").equals(alone.drop(columns="seconds"))


def test_chips_run_at_the_same_time(monkeypatch):
    both = threading.Barrier(2, timeout=60)  # breaks, and fails the trials, if one waits for the other to end

    def together(ready, seed):
        both.wait()
        return run_trial(ready, seed)

    monkeypatch.setattr(passes, "run_trial", together)
    assert [row["status"] for row, _ in passes.run_trials(bench(), range(6))] == ["ok"] * 6


def test_one_bad_chip_fails_alone(monkeypatch):
    ready = bench()

    class Breaks:
        def __call__(self, cells, rng):
            if rng.normal((1,)).item() > 1.5:
                raise RuntimeError("bad cell")
            return cells.g_uS

    for network in (ready.network, *ready.others):
        specs = {name: replace(spec, drift=Breaks()) for name, spec in network._cells._specs.items()}
        network._cells._specs, network._cells._together = specs, {}
        network._cells._kept = {}
    rows = [row for row, _ in passes.run_trials(ready, range(40))]
    assert [row["seed"] for row in rows] == list(range(40))
    assert {row["status"] for row in rows} == {"ok", "failed"}
    assert {row["error"] for row in rows if row["status"] == "failed"} == {"RuntimeError: bad cell"}


def test_what_ends_a_sweep_ends_its_chips_in_flight(monkeypatch):
    ready, ran = bench(), []

    def slow(ready, seed):
        ran.append(seed)
        time.sleep(0.02)
        return run_trial(ready, seed)

    monkeypatch.setattr(passes, "run_trial", slow)
    trials = passes.run_trials(ready, range(1000))
    assert next(trials)[0]["seed"] == 0
    trials.close()  # as an interrupt does
    n = len(ran)
    assert n < 12
    time.sleep(0.1)
    assert len(ran) == n


class Timed:
    """In the place of the probe's clock: what each way costs, as told."""

    def __init__(self, monkeypatch, cost):
        self.tried = []

        def seconds(model, x, execution, accelerator):
            self.tried.append(execution)
            return cost(execution)

        monkeypatch.setattr(probe, "seconds_an_input", seconds)


def test_chips_fly_where_that_is_faster(monkeypatch, two_threads):
    net = nn.Conv2d(2, 2, 1)
    Timed(monkeypatch, lambda e: 1.0 / (1.9 if e.chips_in_flight == 2 else 1.6 if e.threads is None else 1.0))
    assert measure(net, X, Wish(16, "contiguous")) == Execution(16, "contiguous", 1, 1, 2)
    Timed(monkeypatch, lambda e: 1.0 / (1.5 if e.chips_in_flight == 2 else 1.6 if e.threads is None else 1.0))
    assert measure(net, X, Wish(16, "contiguous")) == Execution(16, "contiguous", None, 1, 1)


def test_one_busy_moment_decides_nothing(monkeypatch, two_threads):
    """The fastest way is met first while the machine does something else, which triples what it costs."""
    met = set()

    def cost(e):
        busy = e.batch_size == 32 and e not in met
        met.add(e)
        return (3.0 if busy else 1.0) * (1.0 if e.batch_size == 32 else 1.3) / 1e3

    Timed(monkeypatch, cost)
    assert measure(nn.Conv2d(2, 2, 1), X, Wish(memory_format="contiguous", chips_in_flight=1)).batch_size != 32
    met.clear()
    monkeypatch.setattr(probe, "NEAR", 3.1)  # as far as the busy moment went
    assert measure(nn.Conv2d(2, 2, 1), X, Wish(memory_format="contiguous", chips_in_flight=1)).batch_size == 32


def test_short_ways_are_judged_by_whole_trials(monkeypatch, two_threads):
    """Passes alone are a third slower in flight; with programming and scoring beside them, trials are faster."""
    asked = []

    def trial(e):
        asked.append(e)
        return 1.0 if e.chips_in_flight == 2 else 1.2

    wish = Wish(16, "contiguous")
    for seconds, chips in ((0.001, 2), (0.1, 1)):  # an input; 32 of them are short, and not
        Timed(monkeypatch, lambda e, s=seconds: s * (1.0 if e.chips_in_flight == 1 and e.threads is None else 1.3))
        asked.clear()
        assert measure(nn.Conv2d(2, 2, 1), X, wish, seconds_a_chip=trial).chips_in_flight == chips
        assert bool(asked) == (chips == 2)


def test_a_chip_is_timed_as_it_is_run_and_not_kept(monkeypatch):
    ready, ran, before = bench(), [], torch.get_num_threads()

    def slow(ready, seed):
        ran.append(torch.get_num_threads())
        time.sleep(0.02)
        return run_trial(ready, seed)

    monkeypatch.setattr(passes, "run_trial", slow)
    assert passes.seconds_a_chip(ready) >= 0.01  # two at the same time
    assert set(ran) == {1}
    assert torch.get_num_threads() == before


def test_batches_are_chosen_anew_for_chips_in_flight(monkeypatch, two_threads):
    best = {1: 32, 2: 16}
    for ms, batch_size in ((1, 16), (10, 32)):  # only where all inputs take less than 50 ms
        Timed(
            monkeypatch,
            lambda e, ms=ms: ms * (1 + abs(e.batch_size - best[e.chips_in_flight]) / 100) / e.chips_in_flight / 1e3,
        )
        found = measure(nn.Conv2d(2, 2, 1), X, Wish(memory_format="contiguous"))
        assert (found.batch_size, found.chips_in_flight) == (batch_size, 2)


@pytest.mark.parametrize(
    "wish", [Wish(16, "contiguous", 1), Wish(16, "contiguous", alone=False), Wish(16, "contiguous", chips_in_flight=1)]
)
def test_chips_do_not_fly_where_threads_are_others_or_fixed(monkeypatch, two_threads, wish):
    timed = Timed(monkeypatch, lambda e: 1.0 / e.chips_in_flight)
    assert measure(nn.Conv2d(2, 2, 1), X, wish).chips_in_flight == 1
    assert all(e.chips_in_flight == 1 for e in timed.tried)


def test_large_networks_fly_only_where_asked_to(monkeypatch, two_threads):
    monkeypatch.setattr(probe, "FLIGHT_PARAMETERS", 5)
    Timed(monkeypatch, lambda e: 1.0 / e.chips_in_flight)
    assert measure(nn.Conv2d(2, 2, 1), X, Wish(16, "contiguous")).chips_in_flight == 1
    asked = measure(nn.Conv2d(2, 2, 1), X, Wish(16, "contiguous", chips_in_flight=2))
    assert (asked.chips_in_flight, asked.threads, asked.threads_each) == (2, None, 1)


def test_a_real_probe_times_passes_at_the_same_time(two_threads):
    found = measure(nn.Sequential(nn.Flatten(), nn.Linear(18, 5)), X, Wish(memory_format="contiguous"))
    assert found.chips_in_flight in (1, 2)
    assert torch.get_num_threads() == 2


def test_what_makes_no_sense_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"got chips_per_pass=2 and chips_in_flight=2: set one of them to 1"):
        Execution(chips_per_pass=2, chips_in_flight=2)
    with pytest.raises(ValueError, match=r"chips_in_flight must be at least 1, got 0"):
        Execution(chips_in_flight=0)

    class Gpu(Accelerator):
        is_cpu = False

    with pytest.raises(ValueError, match=r"chips_in_flight is of CPUs, got 2 .*: give chips_per_pass"):
        measure(nn.Linear(2, 2), torch.zeros(3, 2), Wish(chips_in_flight=2), Gpu())
