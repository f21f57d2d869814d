"""State-proportional drift: the law of PyRRAM-Sim's README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rramsweep.arguments import check_fields
from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Stream
from rramsweep.effects.checks import clamped_normal, fraction, positive, source_notes
from rramsweep.effects.protocol import EffectBase
from rramsweep.errors import Sentence, one_of

REFERENCES = ("target", "current")


@dataclass(frozen=True)
class RelativeDrift(EffectBase):
    """`G' = G + relative_drift G_ref z`, `z ~ N(0, 1)`, drawn once a cell and frozen for the chip's life.

    G_ref is the (quantised) target conductance: relative drift = sigma / G_t. Source: Dong et al., "Efficient
    Calibration for RRAM-based In-Memory Computing using DoRA", arXiv:2504.03763, as quoted by PyRRAM-Sim's README [R2],
    which gives typical values below 0.20 [R2]; larger values are an extrapolation.

    It is not a law of time (`t_s` has no influence), and differs from measured filamentary RRAM, where sigma falls
    toward g_max. It describes the drift over a device's life by one number, so it is refused together with a law that
    already contains the drift at all later times (`HfOxRelaxation`, `CmoRelaxation`, a total over times).

    Args:
        relative_drift: sigma as a fraction of G_ref, 0..1.
        reference: `target`, or `current` for the conductance that the previous stage left (PyRRAM-Sim's code). The
            standard deviations differ by a factor of sqrt(1 + sigma_a^2 / G_t^2), sigma_a the error so far.
        z_max: clamps z to -z_max..z_max; None does not clamp.

    Raises:
        ValueError: the fraction is outside 0..1, an unknown reference, or z_max is not above 0.
    """

    version: ClassVar[int] = 1
    cellwise: ClassVar[bool] = True
    source_range: ClassVar[Mapping[str, tuple[float, float, str]]] = {
        "relative_drift": (0.0, 0.2, "relative drift above 0.2 lies outside the range its source gives")
    }

    relative_drift: float = 0.0
    reference: str = "target"
    z_max: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        positive("z_max", self.z_max)
        fraction("relative_drift", self.relative_drift, "of the reference conductance")
        one_of("reference", self.reference, REFERENCES)

    @property
    def silent(self) -> bool:
        """True for a strength of zero, the default of `drift`, which is allowed with any other law."""
        return self.relative_drift == 0

    def __call__(self, cells: Cells, rng: Stream) -> Tensor:
        """Conductances (uS) with one normal error a cell; unchanged at strength 0."""
        if self.silent:
            return cells.g_uS
        z = clamped_normal(rng, cells.g_uS.shape, self.z_max)
        reference_uS = cells.target_uS if self.reference == "target" else cells.g_uS
        return z.mul_(self.relative_drift).mul_(reference_uS).add_(cells.g_uS)

    def notes(self, device: Device, t_s: float) -> Sequence[Sentence]:  # noqa: ARG002
        """Note on a drift that the source does not cover."""
        return source_notes(self)
