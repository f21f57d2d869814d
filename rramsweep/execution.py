"""How fast a network is run here: inputs a forward pass, memory format, threads; measured once, then kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from rramsweep.accelerator import CPU, Accelerator, together

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}

# What a probe begins with, and what is used where nothing is measured: 64 images kept ResNet-20's activations in the
# cache of the processors tried, and a network of one matrix product loses little.
BATCH = 64
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


@dataclass(frozen=True)
class Execution:
    """One way to run a network. Scores are bit-identical under one way, and agree to rounding under all.

    Args:
        batch_size: inputs a forward pass.
        memory_format: `contiguous` or `channels_last` (images innermost by channel, for convolutions).
        threads: torch threads; None leaves torch's own choice.
        chips_per_pass: chips that are run as one batch (`accelerator.together`), each with its own weights.

    Raises:
        ValueError: a value out of range.
    """

    batch_size: int = BATCH
    memory_format: str = "contiguous"
    threads: int | None = None
    chips_per_pass: int = 1

    def __post_init__(self) -> None:
        for name in ("batch_size", "threads", "chips_per_pass"):
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
        threads, chips_per_pass: likewise.
        alone: whether the sweep has this machine's cores to itself in one process, so that threads may be chosen.
    """

    batch_size: int | None = None
    memory_format: str | None = None
    threads: int | None = None
    chips_per_pass: int | None = None
    alone: bool = True

    def start(self, n: int = BATCH) -> Execution:
        """What is fixed, and for the rest what needs no measurement; n is the number of inputs there are.

        Raises:
            ValueError: a fixed value is out of range.
        """
        batch_size = min(BATCH, max(n, 1)) if self.batch_size is None else self.batch_size
        chips = 1 if self.chips_per_pass is None else self.chips_per_pass
        return Execution(batch_size, self.memory_format or "contiguous", self.threads, chips)


@torch.inference_mode()
def measure(
    model: nn.Module, x: Tensor, wish: Wish, accelerator: Accelerator = CPU, budget_s: float = BUDGET_S
) -> Execution:
    """The fastest way found to run a network: the memory format, batch sizes, the format again, then fewer threads.

    On a GPU also chips a pass, doubled for as long as a chip gets cheaper and fits. (On a CPU one at a time is fastest:
    grouped convolutions of several chips took 1.5 times as long.)

    Each candidate runs a batch a few times and is worth its fastest. Nothing is measured that is fixed.

    Args:
        model: in eval mode; its device, number and memory format are changed.
        x: inputs; at most as many as a batch are run at a time.
        wish: what is fixed.
        accelerator: where it is run.
        budget_s: soft limit in seconds.

    Raises:
        ValueError: a fixed value is out of range, or several chips a pass for a network that cannot be batched.
    """
    until = time.perf_counter() + budget_s
    best = wish.start(len(x))
    before = torch.get_num_threads()
    measured: dict[Execution, float] = {}
    model.to(accelerator.at, accelerator.dtype)

    def cost(execution: Execution) -> float:
        if execution not in measured:
            torch.set_num_threads(execution.threads or before)
            measured[execution] = _seconds_an_input(model, x, execution, accelerator)
        return measured[execution]

    def faster(candidates: Iterable[Execution], patience: int = 1) -> Execution:
        chosen, lost = best, 0
        for candidate in candidates:
            long = cost(chosen) * candidate.chips_per_pass * candidate.batch_size > LONG_S
            if (lost >= patience and long) or time.perf_counter() > until:
                break
            if cost(candidate) == float("inf") > cost(chosen):  # it does not fit, nor will larger ones
                break
            gained = cost(candidate) < GAIN * cost(chosen)
            chosen, lost = (candidate, 0) if gained else (chosen, lost + 1)
        return chosen

    def in_formats() -> Execution:
        return faster([replace(best, memory_format=name) for name in FORMATS if name != best.memory_format])

    if best.chips_per_pass > 1:
        _check_batching(model, accelerator.take(x[:1]))
    formats = wish.memory_format is None and _has_images(model, x)
    try:
        if wish.batch_size is None and _is_slow(model, x, accelerator):
            best = replace(best, batch_size=min(SMALLEST, best.batch_size))
        if formats:
            best = in_formats()
        if wish.batch_size is None:
            before_sizes = best
            best = faster(_sizes(best, len(x), 2.0), PATIENCE)
            if best == before_sizes:  # smaller ones only where larger ones brought nothing
                best = faster(_sizes(best, len(x), 0.5))
            if formats and best != before_sizes:
                best = in_formats()
        if wish.threads is None and wish.alone and before > 1 and accelerator.is_cpu:
            best = faster([replace(best, threads=1)])
        if wish.chips_per_pass is None and not accelerator.is_cpu:
            best = faster((replace(best, chips_per_pass=2**n) for n in range(1, DOUBLINGS + 1)), PATIENCE)
    finally:
        torch.set_num_threads(before)
    return best


def _sizes(start: Execution, n: int, factor: float) -> Iterator[Execution]:
    """Batch sizes from the next one up or down, to all inputs or few."""
    size = start.batch_size
    while size < n if factor > 1 else size > min(SMALLEST, n):
        size = min(max(int(size * factor), min(SMALLEST, n)), n)
        yield replace(start, batch_size=size)


def _is_slow(model: nn.Module, x: Tensor, accelerator: Accelerator) -> bool:
    """Whether the batch to begin with would take too large a part of the budget."""
    few = accelerator.take(x[:SMALLEST])
    started = time.perf_counter()
    model(few)
    accelerator.wait()
    return (time.perf_counter() - started) / len(few) * min(BATCH, len(x)) > SLOW_S


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
    seconds = float("inf")
    try:
        run = _copies(model, execution.chips_per_pass)
        run(accelerator.take(batch))  # the first pass pays for what later ones find in place
        accelerator.wait()
        until = time.perf_counter() + CANDIDATE_S
        while seconds == float("inf") or time.perf_counter() < until:
            started = time.perf_counter()
            run(accelerator.take(batch))
            accelerator.wait()
            seconds = min(seconds, time.perf_counter() - started)
    except torch.OutOfMemoryError:
        return float("inf")
    except RuntimeError:
        if execution.chips_per_pass == 1:
            raise
        return float("inf")
    return seconds / len(batch) / execution.chips_per_pass
