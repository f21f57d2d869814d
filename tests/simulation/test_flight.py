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
from rramsweep.simulation import passes
from rramsweep.simulation.execution import Execution, ExecutionSettings, choose
from rramsweep.simulation.trial import run_trial
from rramsweep.simulation.workbench import Workbench

POINT = ["model=digits_cnn", "data=digits", "data.limit=60", "technology=pyrram", "drift.relative_drift=0.2"]
FIXED = ["batch_size=25", "memory_format=contiguous", "threads=1"]


def bench(*overrides, chips=2):
    cfg = rs.compose([*POINT, *overrides])
    workbench = Workbench(settings=ExecutionSettings(25, "contiguous", 1, chips_in_flight=chips))
    return workbench.bench(workbench.point(container(cfg), choices(cfg)))


def without_seconds(trials):
    return [({name: v for name, v in row.items() if name != "seconds"}, right.tolist()) for row, right in trials]


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


def test_no_more_networks_are_built_than_there_are_chips(workdir, monkeypatch):
    ready, built = Workbench.ready, []

    def counted(workbench, *arguments):
        bench = ready(workbench, *arguments)
        built.append(1 + len(bench.others))
        return bench

    monkeypatch.setattr(Workbench, "ready", counted)
    ways = [*POINT, "batch_size=25", "memory_format=contiguous", "threads=1", "chips_in_flight=3"]
    frames = [rs.sweep([*ways, f"chips={chips}", f"store=s{chips}"]) for chips in (1, 2, 5)]
    assert built == [1, 2, 3]
    for frame in frames[:2]:
        assert frame["loss"].tolist() == frames[2]["loss"].tolist()[: len(frame)]


def test_what_makes_no_sense_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"got chips_per_pass=2 and chips_in_flight=2: set one of them to 1"):
        Execution(chips_per_pass=2, chips_in_flight=2)
    with pytest.raises(ValueError, match=r"chips_in_flight must be at least 1, got 0"):
        Execution(chips_in_flight=0)

    class Gpu(Accelerator):
        is_cpu = False

    with pytest.raises(ValueError, match=r"chips_in_flight is of CPUs, got 2 .*: give chips_per_pass"):
        choose(nn.Linear(2, 2), torch.zeros(3, 2), ExecutionSettings(chips_in_flight=2), Gpu())
