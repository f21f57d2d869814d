"""Null effect of every slot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rramsweep.devices.device import Cells
from rramsweep.devices.streams import Stream
from rramsweep.effects.protocol import EffectBase


@dataclass(frozen=True)
class Ideal(EffectBase):
    """No effect.

    It fits every slot, draws nothing, and is left out of a point's identity. `crossbar` and `network` skip it;
    called as a once-a-chip stage it returns the cells' conductances unchanged.
    """

    version: ClassVar[int] = 1
    cellwise: ClassVar[bool] = True
    silent: ClassVar[bool] = True

    def __call__(self, cells: Cells, rng: Stream) -> Tensor:  # noqa: ARG002
        """Conductances of the cells, unchanged."""
        return cells.g_uS
