"""Conductance error whose spread grows as conductance falls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rramsweep.arguments import check_fields
from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Stream
from rramsweep.effects.checks import fraction
from rramsweep.effects.protocol import EffectBase
from rramsweep.errors import Sentence, ValidationError, by_law


@dataclass(frozen=True)
class InverseProportional(EffectBase):
    """`G' = G + alpha_inv (g_max^2 / G_t) z`, `z ~ N(0, 1)` per cell: `sigma(G)` is proportional to `1 / G`.

    Source: CrossSim's inverse-proportional generic device [R: `generic_device.py`], where G is in units of g_max.
    An increment on the present conductance.

    It is not the level deviation of OxRAM theory, whose error *of the resistance* is proportional to resistance
    (Sci. Rep. 2018, s41598-018-35838-x [R: abstract]): to first order that is an error proportional to conductance.
    Over an on/off ratio of r the spread grows by a factor of r, so that for large r it soon exceeds the window.

    Args:
        alpha_inv: sigma as a fraction of g_max for a cell at g_max, 0..1.

    Raises:
        ValueError: the fraction is outside 0..1; from `check`, a window that begins at 0.
    """

    version: ClassVar[int] = 1
    cellwise: ClassVar[bool] = True

    alpha_inv: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        fraction("alpha_inv", self.alpha_inv, "of g_max, for a cell at g_max")

    def __call__(self, cells: Cells, rng: Stream) -> Tensor:
        """Conductances (uS) with one normal error a cell; unchanged at strength 0."""
        if self.alpha_inv == 0:
            return cells.g_uS
        z = rng.normal(cells.g_uS.shape)
        return z.mul_(self.alpha_inv * cells.device.g_max_uS**2).div_(cells.target_uS).add_(cells.g_uS)

    def check(self, device: Device) -> None:
        """Check that the law has a value in the whole window.

        Raises:
            ValueError: the window begins at 0.
        """
        if device.g_min_uS == 0:
            raise ValidationError(
                by_law(
                    "{law}, an error in inverse proportion to conductance, needs a window that begins above 0", self
                ),
                "raise device.g_min_uS",
                shown="g_min_uS=0",
            )

    def notes(self, device: Device, t_s: float) -> Sequence[Sentence]:  # noqa: ARG002
        """Note on a spread at the window's low end that exceeds the window itself."""
        sigma_uS = self.alpha_inv * device.g_max_uS**2 / device.g_min_uS
        if sigma_uS <= device.span_uS:
            return []
        return [
            by_law(
                f"{{law}} has sigma {sigma_uS:.4g} uS at {device.g_min_uS:g} uS, more than the whole window of "
                f"{device.span_uS:g} uS",
                self,
            )
        ]
