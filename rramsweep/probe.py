"""The fastest way to run a network here, found by a short measurement."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rramsweep.accelerator import CPU, Accelerator, together
from rramsweep.execution import BATCH, FORMATS, Execution, Wish
from rramsweep.parallel import workers

# Batches are not made smaller than this.
SMALLEST = 16

# Seconds after which a probe takes the best so far, which networks that are slow here reach, and those spent on each
# candidate. A batch to begin with that would take longer than its share is made smaller.
BUDGET_S = 6.0
CANDIDATE_S = 0.05
SLOW_S = 0.5

# A candidate must be this much faster than the one before, so that noise alone changes nothing.
GAIN = 0.97

# Chips a pass are tried up to two to this power: 2,048 copies of even a small network fill a GPU's cores.
DOUBLINGS = 11

# So many batch sizes in a row without a gain end the search in their direction, once a pass takes so many seconds: a
# larger one costs time, and memory. Shorter ones are all tried, because a single measurement may be off.
PATIENCE = 2
LONG_S = 0.2

# Parameters of the largest network of which several chips are in memory at once without being asked for: each in
# flight holds weights of its own, which must not matter beside the 300 MB of torch itself.
FLIGHT_PARAMETERS = 4_000_000

# Chips in flight are timed over passes of so many seconds, beside which starting them in their threads is short.
ROUND_S = 0.05


@torch.inference_mode()
def measure(
    model: nn.Module, x: Tensor, wish: Wish, accelerator: Accelerator = CPU, budget_s: float = BUDGET_S
) -> Execution:
    """The fastest way found to run a network: the memory format, batch sizes, the format again, then fewer threads.

    On a CPU then several chips at the same time on fewer threads each, where the network is small enough: threads
    inside one pass wait for each other at every layer. On a GPU chips a pass, doubled for as long as a chip gets
    cheaper and fits. (On a CPU a pass of several chips is slow: grouped convolutions took 1.5 times as long.)

    Each candidate runs a batch a few times and is worth its fastest. Nothing is measured that is fixed.

    Args:
        model: in eval mode; its device, number and memory format are changed.
        x: inputs; at most as many as a batch are run at a time.
        wish: what is fixed.
        accelerator: where it is run.
        budget_s: soft limit in seconds.

    Raises:
        ValueError: a fixed value is out of range, several chips a pass for a network that cannot be batched, or chips
            in flight on a GPU.
    """
    search = _Search(model, x, wish.start(len(x)), accelerator, time.perf_counter() + budget_s)
    before, formats = search.threads, wish.memory_format is None and _has_images(model, x)
    if search.best.chips_per_pass > 1:
        _check_batching(model, accelerator.take(x[:1]))
    if search.best.chips_in_flight > 1 and not accelerator.is_cpu:
        raise ValueError(
            f"chips_in_flight is of CPUs, got {search.best.chips_in_flight} with accelerator.device="
            f"{accelerator.device}: give chips_per_pass, which a GPU runs at once"
        )
    try:
        if wish.batch_size is None and _is_slow(model, x, accelerator):
            search.best = replace(search.best, batch_size=min(SMALLEST, search.best.batch_size))
        if formats:
            search.formats()
        if wish.batch_size is None and search.sizes() and formats:
            search.formats()
        free = wish.threads is None and wish.alone and before > 1 and accelerator.is_cpu
        if free and search.best.chips_in_flight == 1:
            search.take(threads=[1])
        if free and wish.chips_in_flight is None and search.best.chips_per_pass == 1 and _is_small(model):
            flights = [n for n in range(2, before + 1) if before % n == 0]
            if search.take(chips_in_flight=flights, patience=len(flights)) and wish.batch_size is None:
                search.sizes()
        if wish.chips_per_pass is None and not accelerator.is_cpu:
            search.take(chips_per_pass=[2**n for n in range(1, DOUBLINGS + 1)], patience=PATIENCE)
    finally:
        torch.set_num_threads(before)
    return search.best


class _Search:
    """The best way so far, and what each that was tried costs."""

    def __init__(self, model: nn.Module, x: Tensor, best: Execution, accelerator: Accelerator, until: float) -> None:
        self.best, self.threads = best, torch.get_num_threads()
        self._model, self._x, self._accelerator, self._until = model, x, accelerator, until
        self._measured: dict[Execution, float] = {}
        model.to(accelerator.at, accelerator.dtype)

    def formats(self) -> bool:
        """Try the other memory formats; whether one is better."""
        return self.take(memory_format=[name for name in FORMATS if name != self.best.memory_format])

    def sizes(self) -> bool:
        """Try larger batches, and smaller ones only where those bring nothing; whether one is better."""
        n = len(self._x)
        larger, smaller = (list(_sizes(self.best.batch_size, n, factor)) for factor in (2.0, 0.5))
        return self.take(batch_size=larger, patience=PATIENCE) or self.take(batch_size=smaller)

    def take(self, patience: int = 1, **changes: Iterable[int] | Iterable[str]) -> bool:
        """Try values of one argument of `Execution` in order and take the best; whether it is another than before."""
        ((name, values),) = changes.items()
        start, chosen, lost = self.best, self.best, 0
        for value in values:
            change: dict[str, Any] = {name: value}
            if name == "chips_in_flight":
                change["threads"] = max(1, self.threads // change[name])
            candidate = replace(start, **change)
            long = self._cost(chosen) * candidate.chips_per_pass * candidate.batch_size > LONG_S
            if (lost >= patience and long) or time.perf_counter() > self._until:
                break
            if self._cost(candidate) == float("inf") > self._cost(chosen):  # it does not fit, nor will larger ones
                break
            gained = self._cost(candidate) < GAIN * self._cost(chosen)
            chosen, lost = (candidate, 0) if gained else (chosen, lost + 1)
        self.best = chosen
        return chosen != start

    def _cost(self, execution: Execution) -> float:
        if execution not in self._measured:
            torch.set_num_threads(execution.threads or self.threads)
            self._measured[execution] = _seconds_an_input(self._model, self._x, execution, self._accelerator)
        return self._measured[execution]


def _sizes(start: int, n: int, factor: float) -> Iterator[int]:
    """Batch sizes from the next one up or down, to all inputs or few."""
    size = start
    while size < n if factor > 1 else size > min(SMALLEST, n):
        size = min(max(int(size * factor), min(SMALLEST, n)), n)
        yield size


def _is_slow(model: nn.Module, x: Tensor, accelerator: Accelerator) -> bool:
    """Whether the batch to begin with would take too large a part of the budget."""
    few = accelerator.take(x[:SMALLEST])
    started = time.perf_counter()
    model(few)
    accelerator.wait()
    return (time.perf_counter() - started) / len(few) * min(BATCH, len(x)) > SLOW_S


def _is_small(model: nn.Module) -> bool:
    return sum(p.numel() for p in model.parameters()) <= FLIGHT_PARAMETERS


def _has_images(model: nn.Module, x: Tensor) -> bool:
    return x.dim() == 4 and any(p.dim() == 4 for p in model.parameters())


def _check_batching(model: nn.Module, x: Tensor) -> None:
    try:
        _copies(model, 2)(x)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"chips_per_pass must be 1 for a network that torch.func.vmap cannot batch ({reason[:200]}): leave it out"
        ) from error


def _copies(model: nn.Module, chips: int) -> Callable[[Tensor], Tensor]:
    """So many chips in one pass, with copies of one set of weights: for clocks."""
    if chips == 1:
        return model
    return together(model, {n: p.expand(chips, *p.shape).clone() for n, p in model.named_parameters() if p.dim() > 1})


def _seconds_an_input(model: nn.Module, x: Tensor, execution: Execution, accelerator: Accelerator) -> float:
    """Of one chip; infinite where a pass does not fit into a GPU's memory, or several chips cannot be batched."""
    model.to(memory_format=execution.format)
    batch = execution.batches(x[: execution.batch_size])[0]

    def forward() -> float:
        started = time.perf_counter()
        run(accelerator.take(batch))
        accelerator.wait()
        return time.perf_counter() - started

    try:
        run = _copies(model, execution.chips_per_pass)
        forward()  # the first pass pays for what later ones find in place
        once = forward if execution.chips_in_flight == 1 else partial(_in_flight, forward, execution)
        seconds = once()
        until = time.perf_counter() + CANDIDATE_S
        while time.perf_counter() < until:
            seconds = min(seconds, once())
    except torch.OutOfMemoryError:
        return float("inf")
    except RuntimeError:
        if execution.chips_per_pass == 1:
            raise
        return float("inf")
    return seconds / len(batch) / execution.chips_per_pass


def _in_flight(forward: Callable[[], float], execution: Execution) -> float:
    """Seconds a pass where several threads run passes at the same time."""
    chips = execution.chips_in_flight

    def some(_: int) -> None:
        with torch.inference_mode():  # which each thread enters for itself
            for _ in range(passes):
                forward()

    with workers(chips, execution.threads_each) as pool:
        passes = 1
        list(pool.map(some, range(chips)))  # a thread's first pass makes what later ones find in place
        passes = max(1, math.ceil(ROUND_S / max(forward(), 1e-6)))
        started = time.perf_counter()
        list(pool.map(some, range(chips)))
        return (time.perf_counter() - started) / (chips * passes)
