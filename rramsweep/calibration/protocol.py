"""Interface of a calibration method: its inputs and reference, and the fit of a layer or a batch norm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from rramsweep.arguments import check_fields
from rramsweep.calibration.fitting import fit_chip, halves
from rramsweep.calibration.samples import LayerSamples
from rramsweep.datasets.inputs import AnyInputs
from rramsweep.errors import ValidationError
from rramsweep.limits import SEED_LIMIT
from rramsweep.network.corrections import CorrectableLayer, Corrections, LayerCorrection, NormStatistics
from rramsweep.network.recording import Recording

# References of a fit: the network with its own weights, and the chip right after the write.
DIGITAL, PROGRAMMED = "digital", "programmed"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Common base of the calibration methods. A subclass fits layers, batch norms, or both.

    Args:
        images: inputs that each chip is fitted to, drawn for it from the inputs of `data.fitting`; without labels.
        seed: of that draw; the same chip with another seed gets other inputs.
        at_s: seconds since programming at which the chip is fitted; None is `t_s`, at which it is read.
        layers: patterns of the layers, or batch norms, that are corrected.
        gate: apply the corrections of a chip only if those fitted to one half of its inputs bring its outputs nearer to
            the reference on the other half, and the other way round.

    Raises:
        ValidationError: a number is out of range.
    """

    version: ClassVar[int] = 1

    images: int = 50
    seed: int = 0
    at_s: float | None = None
    layers: list[str] = field(default_factory=lambda: ["*"])
    gate: bool = True

    def __post_init__(self) -> None:
        check_fields(self)
        least = 2 if self.gate else 1
        if self.images < least:
            why = f"must be at least {least}{', half of which the gate holds out' if self.gate else ''}"
            remedy = "give more, or set calibration.gate=false" if self.images == 1 else "give more"
            raise ValidationError(why, remedy, value=self.images, parameter="images")
        if not 0 <= self.seed < SEED_LIMIT:
            raise ValidationError("must lie in 0..2**63-1", "give a larger one", value=self.seed, parameter="seed")
        if self.at_s is not None and not self.at_s >= 0:
            raise ValidationError(
                "must be null or a time of at least 0 in seconds", "correct it", value=self.at_s, parameter="at_s"
            )

    def fit_layer(self, samples: LayerSamples) -> LayerCorrection | None:  # noqa: ARG002
        """Fit one layer of the chip; None leaves it uncorrected."""
        return None

    def fit_norm(self, x: Tensor) -> NormStatistics | None:  # noqa: ARG002
        """Fit one batch norm to its input, shape (inputs, channels, ...); None leaves it uncorrected."""
        return None

    # A property, because a type checker lets fields of a dataclass take its place.
    @property
    def reference(self) -> str:
        """Network that the chip's outputs are compared with: `digital` or `programmed`."""
        return DIGITAL

    @property
    def fits_layers(self) -> bool:
        """True where the method fits layers."""
        return type(self).fit_layer is not Calibration.fit_layer

    @property
    def fits_norms(self) -> bool:
        """True where the method fits batch norms."""
        return type(self).fit_norm is not Calibration.fit_norm

    def check_layer(self, layer: CorrectableLayer) -> None:
        """Check that the method can correct a layer.

        Raises:
            ValidationError: it cannot.
        """

    def parts(self, x: AnyInputs) -> list[AnyInputs]:
        """The inputs whose reference products are needed: all of them, and the halves of the gate."""
        return [x, *halves(x)] if self.gate else [x]

    def calibrate(
        self, chip: nn.Module, recordings: Sequence[Recording], layers: Sequence[CorrectableLayer]
    ) -> Corrections:
        """Fit the corrections of a chip, layer by layer in the network's order; see `fitting.fit_chip`."""
        return fit_chip(self, chip, recordings, layers)
