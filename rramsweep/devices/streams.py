"""Random streams with names: the only place in the package that makes randomness.

A stream depends on its seed and its name, never on a parameter's value, on the order of work, on the batch of
chips or on a thread count. Switching one effect on therefore leaves every other draw unchanged, the levels of a sweep
are paired chip by chip, and chip 17 is the same chip alone, in a batch and after a resume.
"""

from __future__ import annotations

import hashlib
import threading
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from rramsweep.errors import ValidationError
from rramsweep.limits import SEED_LIMIT

# Part of every point's identity: raise it with every change that gives other chips.
STREAMS_VERSION = 1


CPU = torch.device("cpu")

# In the place of a layer, and of a cell, in the names of streams that all layers share.
SHARED = "*"

# Layout of torch's CPU generator state: initial seed (u64), left (i32), seeded (i32), next (u64), then the 624
# Mersenne words in one u64 each. `manual_seed` would fill them from 32 bits only, so seeds s and s + 2**32 would
# give the same chip; the words are filled from a hash of the whole name instead.
_WORDS = 624
_FIRST_WORD = 6  # in units of 32 bits; each word is followed by 32 zero bits


def _template() -> bytes:
    state = array("I", bytes(torch.Generator().get_state().tolist()))
    state[2:6] = array("I", [1, 1, 0, 0])  # left: the first draw twists the whole state; seeded; next
    state[_FIRST_WORD : _FIRST_WORD + 2 * _WORDS] = array("I", bytes(8 * _WORDS))
    return state.tobytes()


class _State(threading.local):
    """Generator state of a thread, filled anew for each stream: allocating one costs more than hashing a name."""

    def __init__(self) -> None:
        self.words = array("I", _template())
        self.bytes = torch.frombuffer(self.words, dtype=torch.uint8)  # the same memory


_state = _State()


@dataclass(frozen=True)
class Stream:
    """A named source of random numbers.

    A stream is a value, not a state: the same stream gives the same numbers at each draw. A law that needs several
    independent draws takes a `child` for each.

    Values are bit-identical under one vector instruction set of torch's CPU kernels (AVX2 and newer on x86-64);
    on other processors the last bits of a normal draw differ, as with torch's own generator. A GPU gives other draws.

    Args:
        seed: the chip, `0 <= seed < 2**63`.
        name: what the numbers are for, e.g. `("conv1", "p", "drift")`.
        device: device on which numbers are drawn.
        to: device to which the draws are moved; None leaves them.
        shared_seed: the chip of `shared`, where that is another one; see `Hybrid`.

    Raises:
        ValueError: the seed is out of range.
    """

    seed: int
    name: tuple[str, ...] = ()
    device: torch.device = CPU
    to: torch.device | None = None
    shared_seed: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.seed < SEED_LIMIT:
            raise ValueError(f"seed must lie in 0..2**63-1, got {self.seed}: use a non-negative integer")

    def child(self, *name: str) -> Stream:
        """An independent stream whose name continues this one's."""
        return Stream(self.seed, (*self.name, *name), self.device, self.to, self.shared_seed)

    def shared(self) -> Stream:
        """Stream of the same chip and stage that all layers and cell arrays share.

        For a quantity that is drawn once for the whole chip, such as a chip-to-chip gain; `(layer, cell, stage, ...)`
        becomes `("*", "*", stage, ...)`.
        """
        seed = self.seed if self.shared_seed is None else self.shared_seed
        return Stream(seed, (SHARED, SHARED, *self.name[2:]), self.device, self.to)

    def generator(self) -> torch.Generator:
        """New torch generator at the start of this stream."""
        key = repr((STREAMS_VERSION, self.seed, *self.name)).encode()
        if self.device.type != "cpu":  # a GPU's generator is counter-based: a seed of 64 bits is its whole state
            seed = int.from_bytes(hashlib.shake_128(key).digest(8), "little")
            return torch.Generator(self.device).manual_seed(seed)
        words = array("I", hashlib.shake_128(key).digest(4 * _WORDS))
        _state.words[_FIRST_WORD : _FIRST_WORD + 2 * _WORDS : 2] = words
        generator = torch.Generator()
        generator.set_state(_state.bytes)  # which copies it
        return generator

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal draws, float32, for a whole layer at once (values depend on the length)."""
        return self._moved(self._empty(shape).normal_(generator=self.generator()))

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Uniform draws in [0, 1), float32."""
        return self._moved(self._empty(shape).uniform_(generator=self.generator()))

    def _empty(self, shape: Sequence[int]) -> Tensor:
        return torch.empty(tuple(shape), device=self.device)

    def _moved(self, draws: Tensor) -> Tensor:
        return draws if self.to is None else draws.to(self.to)


@dataclass(frozen=True)
class Redraw:
    """Streams of a chip that are drawn again: those of some stages in some layers.

    Args:
        stages: whose streams are drawn again; empty takes every stage.
        layers: likewise; `SHARED` are the streams that all layers share.
        seed: number of the second draw; another number is another one.

    Raises:
        ValidationError: the number is negative.
    """

    stages: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.seed < SEED_LIMIT:
            raise ValidationError(
                "must lie in 0..2**63-1", "give another", value=self.seed, parameter="seed", slot="redraw"
            )

    def takes(self, layer: str, stage: str) -> bool:
        """True where the streams of a layer and stage are drawn again."""
        return (not self.stages or stage in self.stages) and (not self.layers or layer in self.layers)

    def of(self, seed: int) -> Hybrid:
        """Chip `seed` with these streams drawn again."""
        return Hybrid(seed, _second_seed(seed, self.seed), self)


@dataclass(frozen=True)
class Hybrid:
    """A chip whose streams are those of one chip but for some, which are those of another.

    Args:
        seed: the chip.
        second: the chip that the redrawn streams are of.
        redraw: which they are.
    """

    seed: int
    second: int
    redraw: Redraw

    def seed_of(self, layer: str, stage: str) -> int:
        """Chip of the streams of a layer and stage."""
        return self.second if self.redraw.takes(layer, stage) else self.seed


# A chip is its seed, but where some of its streams are drawn again.
Chip = int | Hybrid


def seed_of(chip: Chip, layer: str, stage: str) -> int:
    """Seed of the streams of a chip's layer and stage."""
    return chip.seed_of(layer, stage) if isinstance(chip, Hybrid) else chip


def stage_stream(
    chip: Chip, name: tuple[str, ...], stage: str, device: torch.device = CPU, to: torch.device | None = None
) -> Stream:
    """Stream of a chip's stage, by its name, which begins with the layer; other arguments as of `Stream`."""
    if not isinstance(chip, Hybrid):
        return Stream(chip, name, device, to)
    return Stream(chip.seed_of(name[0], stage), name, device, to, chip.seed_of(SHARED, stage))


@cache
def _second_seed(seed: int, number: int) -> int:
    """Chip that a chip's streams are drawn again from: by a hash, so that it is none of a sweep's, however many."""
    key = repr((STREAMS_VERSION, "redraw", number, seed)).encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "little") % SEED_LIMIT


class JoinedStream:
    """Streams of several joined arrays of cells as one, with the draws of a `Stream`.

    Args:
        parts: each array's stream, and the number of cells of the array or of its piece.
        generators: generators of arrays in pieces, kept from one piece to the next; None for whole arrays.
    """

    def __init__(
        self, parts: Sequence[tuple[Stream, int]], generators: dict[Stream, torch.Generator] | None = None
    ) -> None:
        self._parts, self._generators = parts, generators

    def child(self, *name: str) -> JoinedStream:
        """Child stream of each array, as `Stream.child`."""
        return JoinedStream([(stream.child(*name), n) for stream, n in self._parts], self._generators)

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal draws, float32, each array's from its own stream."""
        return self._drawn(shape, Tensor.normal_)

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Uniform draws in [0, 1), likewise."""
        return self._drawn(shape, Tensor.uniform_)

    def _drawn(self, shape: Sequence[int], draw: Callable[..., Tensor]) -> Tensor:
        draws = torch.empty(tuple(shape))
        for (stream, _), part in zip(
            self._parts, torch.split(draws.view(-1), [n for _, n in self._parts]), strict=True
        ):
            draw(part, generator=self._generator(stream))
        return draws

    def _generator(self, stream: Stream) -> torch.Generator:
        if self._generators is None:
            return stream.generator()
        if stream not in self._generators:
            self._generators[stream] = stream.generator()
        return self._generators[stream]
