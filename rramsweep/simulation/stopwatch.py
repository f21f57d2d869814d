"""What it costs to run a network in some way, by a short measurement: seconds an input of one chip."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from rramsweep.datasets.inputs import AnyInputs
from rramsweep.network.accelerator import Accelerator, together
from rramsweep.network.parallel import workers
from rramsweep.simulation.execution import Execution
from rramsweep.simulation.trial import outputs

# Seconds for which a way is tried, and those of a pass that is tried: of as many batches as that takes, because the
# same one again and again would lie in the cache, which makes small batches look better than they are.
TRIED_S = 0.05
PASS_S = 0.02


def seconds_an_input(model: nn.Module, x: AnyInputs, execution: Execution, accelerator: Accelerator) -> float:
    """Of one chip; infinite where a pass does not fit into a GPU's memory, or several chips cannot be batched.

    Args:
        model: its memory format is changed.
        x: inputs, of which the first ones are taken.
        execution: how they are run.
        accelerator: where.
    """
    model.to(memory_format=execution.format)
    inputs = 1 if execution.chips_per_pass > 1 else 0

    def forward() -> float:
        started = time.perf_counter()
        outputs(run, batches, accelerator, inputs)
        accelerator.wait()
        return time.perf_counter() - started

    try:
        run = copies(model, execution.chips_per_pass)
        batches = execution.batches(x[: execution.batch_size])
        forward()  # the first pass pays for what later ones find in place
        batches = execution.batches(x[: math.ceil(PASS_S / max(forward(), 1e-6)) * execution.batch_size])
        if execution.chips_in_flight == 1:
            until = time.perf_counter() + TRIED_S
            seconds = forward()
            while time.perf_counter() < until:
                seconds = min(seconds, forward())
        else:
            seconds = _in_flight(forward, execution)
    except torch.OutOfMemoryError:
        return float("inf")
    except RuntimeError:
        if execution.chips_per_pass == 1:
            raise
        return float("inf")
    return seconds / sum(map(len, batches)) / execution.chips_per_pass


def in_turn(ways: Sequence[Execution], seconds: Callable[[Execution], float], rounds: int) -> dict[Execution, float]:
    """Median seconds of each way, tried in turn, so that a busy moment of the machine meets all alike.

    A round before these is not counted: it pays for what the others find in place.
    """
    found = [[seconds(way) for way in ways] for _ in range(1 + rounds)]
    return {way: statistics.median(times[1:]) for way, times in zip(ways, zip(*found, strict=True), strict=True)}


def copies(model: nn.Module, chips: int) -> Callable[..., Any]:
    """So many chips in one pass, with copies of one set of weights."""
    if chips == 1:
        return model
    return together(model, {n: p.expand(chips, *p.shape).clone() for n, p in model.named_parameters() if p.dim() > 1})


def _in_flight(forward: Callable[[], float], execution: Execution) -> float:
    """Seconds a pass where several threads run passes at the same time."""
    chips = execution.chips_in_flight

    def some(_: int) -> None:
        for _ in range(passes):
            forward()

    with workers(chips, execution.threads_each) as pool:
        passes = 1
        started = time.perf_counter()
        list(pool.map(some, range(chips)))  # a thread's first pass makes what later ones find in place
        passes = math.ceil(TRIED_S / max(time.perf_counter() - started, 1e-6))
        started = time.perf_counter()
        list(pool.map(some, range(chips)))
        return (time.perf_counter() - started) / (chips * passes)
