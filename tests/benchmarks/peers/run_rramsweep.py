"""Trials of rramsweep, as a sweep runs them: the engine's `run_trials` on a point of its configuration."""

from __future__ import annotations

import itertools
import math
import os
import statistics

from runner import CIFAR10, RESNET20, Prepared, serve
from torch import nn

import rramsweep
from rramsweep.cli.composing import choices, compose, container, point_plan
from rramsweep.datasets import Data
from rramsweep.simulation.passes import run_trials, seconds_a_chip

NETWORKS = {
    "mlp": ["model=digits_mlp", "data=digits", "data.split=all"],
    "cnn": ["model=digits_cnn", "data=digits", "data.split=all"],
    "lenet5": ["model=lenet5", "data=fashion_mnist"],
    "resnet20": [
        "model=resnet20",
        f"model.checkpoint={os.environ.get(RESNET20)}",
        "data=cifar10_jpeg",
        f"data.path={os.environ.get(CIFAR10)}",
        "data.limit=512",
    ],
}
# Three stages on both cells of every pair: programming 0.03, relaxation 0.07 (of g_max), relative drift 0.1.
CHIP = ["technology=pyrram", "drift.relative_drift=0.1"]


def prepare(network: str, model: nn.Module, data: Data) -> Prepared:
    config = compose([*NETWORKS[network], *CHIP])
    plan, _, workbench = point_plan(container(config), choices(config), [], "bench_peers")
    point = plan.points[0]
    bench = workbench.ready(point, workbench.execution(point))  # as the command does
    seeds = itertools.count()
    # As in a sweep, which starts the threads of chips in flight once a point, not once a chip.
    chips = max(4 * bench.execution.chips_in_flight, math.ceil(0.05 / seconds_a_chip(bench))) if bench.others else 1

    def trial() -> float:
        rows = [row for row, _ in run_trials(bench, list(itertools.islice(seeds, chips)))]
        for row in rows:
            if row["status"] != "ok":
                raise RuntimeError(row["error"])
        return statistics.mean(row["accuracy"] for row in rows)

    return Prepared(trial, bench.execution.batch_size, chips)


serve("rramsweep", rramsweep.__version__, "programming error, relaxation and relative drift of each cell", prepare)
