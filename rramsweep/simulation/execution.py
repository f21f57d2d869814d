"""How a network is run here: inputs a forward pass, memory format, threads, chips at once. `probe` measures which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from rramsweep.datasets.inputs import AnyInputs
from rramsweep.study.settings import Settings

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}

# What a probe begins with, and what is used where nothing is measured: 64 images kept ResNet-20's activations in the
# cache of the processors tried, and a network of one matrix product loses little.
BATCH = 64


def takes_channels_last(shape: Sequence[int], weights: Iterable[Tensor]) -> bool:
    """Whether inputs are images and weights those of convolutions over two axes; torch refuses weights of five axes."""
    axes = {weight.dim() for weight in weights}
    return len(shape) == 4 and 4 in axes and 5 not in axes


@dataclass(frozen=True)
class Execution:
    """One way to run a network. Scores are bit-identical under one way, and agree to rounding under all.

    Args:
        batch_size: inputs a forward pass.
        memory_format: `contiguous` or `channels_last` (images innermost by channel, for convolutions).
        threads: torch threads; None leaves torch's own choice.
        chips_per_pass: chips that are run as one batch (`accelerator.together`), each with its own weights.
        chips_in_flight: chips that are run at the same time, each on `threads` threads of its own.

    Raises:
        ValueError: a value out of range.
    """

    batch_size: int = BATCH
    memory_format: str = "contiguous"
    threads: int | None = None
    chips_per_pass: int = 1
    chips_in_flight: int = 1

    def __post_init__(self) -> None:
        for name in ("batch_size", "threads", "chips_per_pass", "chips_in_flight"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}: give a larger integer")
        if self.chips_per_pass > 1 < self.chips_in_flight:
            raise ValueError(
                f"chips are run in passes or at the same time, got chips_per_pass={self.chips_per_pass} and "
                f"chips_in_flight={self.chips_in_flight}: set one of them to 1"
            )
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

    def check_format(self, shape: Sequence[int], weights: Iterable[Tensor]) -> None:
        """Refuse a memory format that inputs of this shape, or these weights, cannot have.

        Raises:
            ValueError: states both.
        """
        if self.memory_format == "channels_last" and not takes_channels_last(shape, weights):
            raise ValueError(
                "memory_format=channels_last is of images (N, C, H, W) and convolutions over two axes, got inputs of "
                f"shape {tuple(shape[1:])} or weights of another number of axes: use contiguous or null"
            )

    @property
    def threads_each(self) -> int:
        """Torch threads of each of the chips in flight: as told, or a share of those there are."""
        return self.threads or max(1, torch.get_num_threads() // self.chips_in_flight)

    def batches(self, x: AnyInputs) -> Sequence[AnyInputs]:
        """Inputs as they are run; a copy is made where the memory format asks for one."""
        return x.contiguous(memory_format=self.format).split(self.batch_size)


@dataclass(frozen=True)
class Wish:
    """What a user fixes of an `Execution`; None is to be measured.

    Args:
        batch_size, memory_format: see `Execution`.
        threads, chips_per_pass, chips_in_flight: likewise.
        alone: whether the sweep has this machine's cores to itself in one process, so that threads may be chosen.
    """

    batch_size: int | None = None
    memory_format: str | None = None
    threads: int | None = None
    chips_per_pass: int | None = None
    chips_in_flight: int | None = None
    alone: bool = True

    @staticmethod
    def of(settings: Settings) -> Wish:
        """What a sweep's settings fix."""
        names = [each.name for each in fields(Wish) if each.name != "alone"]
        return Wish(alone=settings.shards == 1, **{name: getattr(settings, name) for name in names})

    def start(self, n: int = BATCH) -> Execution:
        """What is fixed, and for the rest what needs no measurement; n is the number of inputs there are.

        Raises:
            ValueError: a fixed value is out of range.
        """
        batch_size = min(BATCH, max(n, 1)) if self.batch_size is None else self.batch_size
        chips = {n: 1 if (k := getattr(self, n)) is None else k for n in ("chips_per_pass", "chips_in_flight")}
        return Execution(batch_size, self.memory_format or "contiguous", self.threads, **chips)
