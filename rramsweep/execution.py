"""How fast a network is run here: inputs a forward pass, memory format, threads; measured once, then kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}

# What a probe begins with, and what is used where nothing is measured: 64 images kept ResNet-20's activations in the
# cache of the processors tried, and a network of one matrix product loses little.
BATCH = 64
SMALLEST = 16

# Seconds after which a probe takes the best so far, and those spent on each candidate.
BUDGET_S = 2.0
CANDIDATE_S = 0.05

# A candidate must be this much faster than the one before, so that noise alone changes nothing.
GAIN = 0.97


@dataclass(frozen=True)
class Execution:
    """One way to run a network. Scores are bit-identical under one way, and agree to rounding under all.

    Args:
        batch_size: inputs a forward pass.
        memory_format: `contiguous` or `channels_last` (images innermost by channel, for convolutions).
        threads: torch threads; None leaves torch's own choice.

    Raises:
        ValueError: a value out of range.
    """

    batch_size: int = BATCH
    memory_format: str = "contiguous"
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}: give a larger integer")
        if self.memory_format not in FORMATS:
            raise ValueError(
                f"memory_format must be one of {', '.join(FORMATS)}, got {self.memory_format!r}: pick one or null"
            )

    @property
    def format(self) -> torch.memory_format:
        """torch's own name of the memory format."""
        return FORMATS[self.memory_format]

    def use_threads(self) -> None:
        """Set torch's threads, if this says how many."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)

    def batches(self, x: Tensor) -> tuple[Tensor, ...]:
        """Inputs as they are run; a copy is made where the memory format asks for one."""
        return torch.split(x.contiguous(memory_format=self.format), self.batch_size)


@dataclass(frozen=True)
class Wish:
    """What a user fixes of an `Execution`; None is to be measured.

    Args:
        batch_size, memory_format: see `Execution`.
        threads: likewise.
        alone: whether the sweep has this machine's cores to itself in one process, so that threads may be chosen.
    """

    batch_size: int | None = None
    memory_format: str | None = None
    threads: int | None = None
    alone: bool = True

    def start(self, n: int = BATCH) -> Execution:
        """What is fixed, and for the rest what needs no measurement; n is the number of inputs there are.

        Raises:
            ValueError: a fixed value is out of range.
        """
        batch_size = min(BATCH, max(n, 1)) if self.batch_size is None else self.batch_size
        return Execution(batch_size, self.memory_format or "contiguous", self.threads)


@torch.inference_mode()
def measure(model: nn.Module, x: Tensor, wish: Wish, budget_s: float = BUDGET_S) -> Execution:
    """The fastest way found to run a network: batch sizes first, then the memory format, then fewer threads.

    Each candidate runs a batch a few times and is worth its fastest. Nothing is measured that is fixed.

    Args:
        model: in eval mode; its memory format is changed.
        x: inputs; at most as many as a batch are run at a time.
        wish: what is fixed.
        budget_s: soft limit in seconds.

    Raises:
        ValueError: a fixed value is out of range.
    """
    until = time.perf_counter() + budget_s
    best = wish.start(len(x))
    before = torch.get_num_threads()
    measured: dict[Execution, float] = {}

    def cost(execution: Execution) -> float:
        if execution not in measured:
            torch.set_num_threads(execution.threads or before)
            measured[execution] = _seconds_an_input(model, x, execution)
        return measured[execution]

    def faster(candidates: list[Execution]) -> Execution:
        chosen = best
        for candidate in candidates:
            if time.perf_counter() > until:
                break
            if cost(candidate) < GAIN * cost(chosen):
                chosen = candidate
        return chosen

    try:
        if wish.batch_size is None:
            best = _best_batch(best, len(x), cost, until)
        if wish.memory_format is None and _has_images(model, x):
            sizes = [best.batch_size] if wish.batch_size else [best.batch_size, best.batch_size // 2]
            best = faster([Execution(size, "channels_last", best.threads) for size in sizes if size >= SMALLEST])
        if wish.threads is None and wish.alone and before > 1:
            best = faster([Execution(best.batch_size, best.memory_format, 1)])
    finally:
        torch.set_num_threads(before)
    return best


def _best_batch(start: Execution, n: int, cost: Callable[[Execution], float], until: float) -> Execution:
    best = start
    for factor in (2.0, 0.5):  # larger ones first; smaller ones only where these brought nothing
        size = start.batch_size
        while time.perf_counter() < until:
            size = min(int(size * factor), n)
            candidate = Execution(size, start.memory_format, start.threads)
            if size < min(SMALLEST, n) or candidate == best or cost(candidate) > GAIN * cost(best):
                break
            best = candidate
        if best != start:
            break
    return best


def _has_images(model: nn.Module, x: Tensor) -> bool:
    return x.dim() == 4 and any(p.dim() == 4 for p in model.parameters())


def _seconds_an_input(model: nn.Module, x: Tensor, execution: Execution) -> float:
    model.to(memory_format=execution.format)
    batch = execution.batches(x[: execution.batch_size])[0]
    model(batch)  # the first pass pays for what later ones find in place
    seconds, until = float("inf"), time.perf_counter() + CANDIDATE_S
    while seconds == float("inf") or time.perf_counter() < until:
        started = time.perf_counter()
        model(batch)
        seconds = min(seconds, time.perf_counter() - started)
    return seconds / len(batch)
