"""What `rramsweep.chip` and `rramsweep.analog` ask of an effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from torch import Tensor

from rramsweep.device import Cells
from rramsweep.streams import Stream

# linear(x, W): the layer's own forward on input x with weights W and no bias.
Linear = Callable[[Tensor, Tensor], Tensor]


class Effect(Protocol):
    """A stage that acts once a chip: programming, relaxation, drift or faults.

    `version` is part of every point's identity: raise it when the law gives other conductances.
    """

    version: ClassVar[int]

    def __call__(self, cells: Cells, rng: Stream) -> Tensor:
        """Conductances (uS) after the stage, as a new tensor of the same shape; `cells` is left alone."""


class ReadEffect(Protocol):
    """A stage that acts at every read: it wraps the analog product of one layer."""

    version: ClassVar[int]

    def __call__(self, linear: Linear, x: Tensor, layer: Any, rng: Stream) -> Tensor:
        """The layer's output before its digital bias; `layer` is the `chip.ProgrammedLayer` that is read."""
