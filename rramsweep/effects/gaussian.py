"""Gaussian conductance error: PyRRAM-Sim's law for programming error and for relaxation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rramsweep.arguments import check_fields
from rramsweep.devices.device import Cells
from rramsweep.devices.streams import Stream
from rramsweep.effects.checks import clamped_normal, fraction, positive
from rramsweep.effects.protocol import EffectBase


@dataclass(frozen=True)
class Gaussian(EffectBase):
    """`G' = G + sigma(G) z`, `z ~ N(0, 1)` independent per cell; an increment on the present conductance.

    `sigma(G)^2 = (alpha_ind g_max)^2 + (alpha_prop G)^2`: state-independent and state-proportional error, whose
    variances add. Source: Xiao et al., CrossSim Inference manual v2.0, section 7.2.1 (generic devices);
    PyRRAM-Sim uses 0.03 (programming) and 0.07 (relaxation) of g_max as placeholders of a generic device.

    It is not a law of one technology: in measured filamentary RRAM sigma peaks at 20-45 % of g_max.

    Args:
        alpha_ind: sigma as a fraction of the device's g_max (not of the window), 0..1.
        alpha_prop: sigma as a fraction of the cell's present conductance, 0..1.
        z_max: clamps z to -z_max..z_max (PyRRAM-Sim's `clamp_noise` is 3); None does not clamp. Clamped draws lie at
            the ends, which reduces sigma slightly: by 1.3 % at 3.

    Raises:
        ValueError: a fraction is outside 0..1, or z_max is not above 0.
    """

    version: ClassVar[int] = 1
    cellwise: ClassVar[bool] = True

    alpha_ind: float = 0.0
    alpha_prop: float = 0.0
    z_max: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        positive("z_max", self.z_max)
        fraction("alpha_ind", self.alpha_ind, "of g_max")
        fraction("alpha_prop", self.alpha_prop, "of the cell's conductance")

    def __call__(self, cells: Cells, rng: Stream) -> Tensor:
        """Conductances (uS) with one normal error a cell; unchanged at strength 0."""
        if self.alpha_ind == 0 and self.alpha_prop == 0:
            return cells.g_uS
        return spread(clamped_normal(rng, cells.g_uS.shape, self.z_max), cells, self.alpha_ind, self.alpha_prop)


def spread(x: Tensor, cells: Cells, alpha_ind: float, alpha_prop: float) -> Tensor:
    """`G + sigma x` with the sigma of `Gaussian`, in place of x, whose draws have variance 1."""
    sigma_ind_uS = alpha_ind * cells.device.g_max_uS
    if alpha_prop == 0:
        return x.mul_(sigma_ind_uS).add_(cells.g_uS)
    sigma_prop_uS = cells.g_uS * alpha_prop
    if alpha_ind == 0:
        return x.mul_(sigma_prop_uS).add_(cells.g_uS)
    return x.mul_(sigma_prop_uS.square_().add_(sigma_ind_uS**2).sqrt_()).add_(cells.g_uS)
