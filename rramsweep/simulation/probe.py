"""The fastest way to run a network here, found by a short measurement."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from rramsweep.datasets.inputs import AnyInputs, call
from rramsweep.network.accelerator import CPU, Accelerator
from rramsweep.network.numerics import fixed_arithmetic
from rramsweep.simulation.execution import BATCH, FORMATS, Execution, Wish, takes_channels_last
from rramsweep.simulation.stopwatch import copies, in_turn, seconds_an_input

# Batches are not made smaller than this.
SMALLEST = 16

# Seconds after which a search takes the best so far, which networks that are slow here reach. A batch to begin with
# that would take longer than its share is made smaller.
BUDGET_S = 6.0
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

# A search meets each way once, some in a busy moment of the machine. So those that cost at most this much more than the
# best of them, and no more than so many, are measured again, in turn, if that takes no longer than so many seconds.
NEAR = 1.4
FINALISTS = 3
ROUNDS = 3
FINAL_S = 2.5

# A trial up to so many seconds spends a part of them on programming and scoring: then trials are measured, not passes.
SHORT_S = 0.05


@fixed_arithmetic()
@torch.inference_mode()
def measure(
    model: nn.Module,
    x: AnyInputs,
    wish: Wish,
    accelerator: Accelerator = CPU,
    seconds_a_chip: Callable[[Execution], float] | None = None,
    budget_s: float = BUDGET_S,
) -> Execution:
    """The fastest way found to run a network: the memory format, batch sizes, the format again, then fewer threads.

    On a CPU then several chips at the same time on fewer threads each, where the network is small enough: threads
    inside one pass wait for each other at every layer. On a GPU chips a pass, doubled for as long as a chip gets
    cheaper and fits. (On a CPU a pass of several chips is slow: grouped convolutions took 1.5 times as long.)

    Each way runs a few batches a few times and is worth its fastest pass; the best of them then compete. Nothing is
    measured that is fixed.

    Args:
        model: in eval mode; its device, number and memory format are changed.
        x: inputs; at most as many as a batch are run at a time.
        wish: what is fixed.
        accelerator: where it is run.
        seconds_a_chip: what a chip takes from programming to its row, run in a given way; used where that is short.
        budget_s: soft limit of the search in seconds.

    Raises:
        ValueError: a fixed value is out of range, several chips a pass for a network that cannot be batched, or chips
            in flight on a GPU.
    """
    search = _Search(model, x, wish.start(len(x)), accelerator, time.perf_counter() + budget_s)
    before, formats = search.threads, wish.memory_format is None and takes_channels_last(x.shape, model.parameters())
    search.best.check_format(x.shape, model.parameters())
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
            flown = search.take(chips_in_flight=flights, patience=len(flights))
            if flown and wish.batch_size is None and search.is_short:  # else the gain is less than trying costs
                search.sizes()
        if wish.chips_per_pass is None and not accelerator.is_cpu:
            search.take(chips_per_pass=[2**n for n in range(1, DOUBLINGS + 1)], patience=PATIENCE)
        return search.final(seconds_a_chip)
    finally:
        torch.set_num_threads(before)


class _Search:
    """The best way so far, and what each that was tried costs."""

    def __init__(self, model: nn.Module, x: AnyInputs, best: Execution, accelerator: Accelerator, until: float) -> None:
        self.best, self.threads = best, torch.get_num_threads()
        self._model, self._x, self._accelerator, self._until = model, x, accelerator, until
        self._measured: dict[Execution, float] = {}
        self._took_s: dict[Execution, float] = {}
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
            # Passes tell less than chips gain in flight, whose programming and scoring are side by side as well.
            needed = 1.0 if name == "chips_in_flight" else GAIN
            gained = self._cost(candidate) < needed * self._cost(chosen)
            chosen, lost = (candidate, 0) if gained else (chosen, lost + 1)
        self.best = chosen
        return chosen != start

    def final(self, seconds_a_chip: Callable[[Execution], float] | None) -> Execution:
        """The best of those that came close, measured again; what the search found where that would take long."""
        if not self._measured:
            return self.best
        ranked = sorted(self._measured, key=self._measured.__getitem__)
        cost = self._measured[ranked[0]]
        ways = [self.best, *(w for w in ranked if w != self.best and self._measured[w] <= NEAR * cost)][:FINALISTS]
        # However its passes do: programming and scoring gain most in flight.
        ways += [w for w in ranked if w.chips_in_flight > 1 and w not in ways][:1]
        if len(ways) == 1:
            return self.best
        if seconds_a_chip is not None and self.is_short:
            found = in_turn(ways, seconds_a_chip, ROUNDS)
        else:
            rounds = min(ROUNDS, int(FINAL_S / sum(self._took_s[way] for way in ways)) - 1)
            found = in_turn(ways, self._seconds, rounds) if rounds > 1 else self._measured
        best = min(ways, key=found.__getitem__)
        return best if found[best] < GAIN * found[self.best] else self.best

    @property
    def is_short(self) -> bool:
        """Whether all inputs together take so little that programming and scoring count beside them."""
        return self._cost(self.best) * len(self._x) <= SHORT_S

    def _cost(self, execution: Execution) -> float:
        if execution not in self._measured:
            started = time.perf_counter()
            self._measured[execution] = self._seconds(execution)
            self._took_s[execution] = time.perf_counter() - started
        return self._measured[execution]

    def _seconds(self, execution: Execution) -> float:
        torch.set_num_threads(execution.threads or self.threads)
        return seconds_an_input(self._model, self._x, execution, self._accelerator)


def _sizes(start: int, n: int, factor: float) -> Iterator[int]:
    """Batch sizes from the next one up or down, to all inputs or few."""
    size = start
    while size < n if factor > 1 else size > min(SMALLEST, n):
        size = min(max(int(size * factor), min(SMALLEST, n)), n)
        yield size


def _is_slow(model: nn.Module, x: AnyInputs, accelerator: Accelerator) -> bool:
    """Whether the batch to begin with would take too large a part of the budget."""
    few = accelerator.take(x[:SMALLEST])
    started = time.perf_counter()
    call(model, few)
    accelerator.wait()
    return (time.perf_counter() - started) / len(few) * min(BATCH, len(x)) > SLOW_S


def _is_small(model: nn.Module) -> bool:
    return sum(p.numel() for p in model.parameters()) <= FLIGHT_PARAMETERS


def _check_batching(model: nn.Module, x: AnyInputs) -> None:
    try:
        call(copies(model, 2), x)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"chips_per_pass must be 1 for a network that torch.func.vmap cannot batch ({reason[:200]}): leave it out"
        ) from error
