"""What `rramsweep.crossbar.programming` and `rramsweep.network.analog` ask of an effect."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor

from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Stream
from rramsweep.errors import Sentence

# linear(x, W): the layer's own forward on input x with weights W and no bias.
Linear = Callable[[Tensor, Tensor], Tensor]


class Effect(Protocol):
    """A stage that acts once a chip: programming, relaxation, drift or faults.

    `version` is part of every point's identity: raise it when the law gives other conductances.

    A law is an `increment` on the conductance that stands, or the `total` error against the target. Which of the two
    stands in an attribute `kind`; an effect without one is an increment. A total that was measured some time after
    the write has that time as `at_s` (infinity: it is a law of time and contains all of it), and an increment that
    is a law of time the time from which it counts as `t0_s`, and as `until_s` that up to which it holds the drift too;
    `chip.LayerSpec` refuses what would count twice. An effect of strength zero that stands in a slot by default says
    so by an attribute `silent`, and counts for nothing.

    A law that takes each cell by itself, and draws from each of its streams once, one number a cell, says so by
    `cellwise = True`. It may then be given the cells of several arrays end to end, or a part of one: faster, and the
    same chip. An effect without it sees whole arrays.
    """

    version: ClassVar[int]

    def __call__(self, cells: Cells, rng: Stream) -> Tensor:
        """Conductances (uS) after the stage, as a new tensor of the same shape; `cells` is left alone."""


@runtime_checkable
class Noted(Protocol):
    """An effect with something to say of how it is used."""

    def notes(self, device: Device, t_s: float) -> Sequence[str | Sentence]:
        """What a user should know of this use, one sentence each: a scaled window, an extrapolated time.

        Plain text gets the effect's name in front; `errors.by_law` puts it where the sentence wants it.
        """


@runtime_checkable
class Timed(Protocol):
    """An effect that is a law of time with times that it does not know."""

    def check_time(self, t_s: float) -> None:
        """Refuse a time since programming that the law does not cover.

        Raises:
            ValueError: states the times that it covers, the one asked for and the remedy.
        """


@runtime_checkable
class Calibrated(Noted, Protocol):
    """An effect that was fitted to measurements, and knows where they end."""

    def check(self, device: Device) -> None:
        """Refuse a device that the measurements do not cover.

        Raises:
            ValueError: states the calibrated range, the device's window and the remedy.
        """


class ReadEffect(Protocol):
    """A stage that acts at every read: it wraps the analog product of one layer.

    An effect whose strength is zero says so by an attribute `silent`: its layers are then read as under `Ideal`, bit
    for bit. An effect without one is never silent.
    """

    version: ClassVar[int]

    def __call__(self, linear: Linear, x: Tensor, layer: Any, rng: Stream) -> Tensor:
        """The layer's output before its digital bias; `layer` is the `chip.ProgrammedLayer` that is read."""
