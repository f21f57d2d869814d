"""Counts of the parts of a network on its arrays: plain numbers that no constant of a cost changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from rramsweep.construct import fit, fitted
from rramsweep.errors import ValidationError


@dataclass(frozen=True)
class LayerCounts:
    """Parts of one layer, and how often an inference uses them.

    Args:
        layer: name of the layer.
        vectors: input vectors that its arrays multiply in an inference: the positions of a convolution, the steps of a
            recurrent layer.
        cells: cells of all arrays; 0 of a layer whose weight is tied to one before it, which has them.
        drivers: word lines of all arrays that a DAC drives for a vector, one by one.
        dac_bits: bits of the levels that a DAC gives in one pulse: 1 where inputs come bit by bit; None without one.
        pulses: pulses of a word line for a vector.
        adc_bits: bits of a conversion; None without an ADC.
        reads: parts of a tile's rows that are driven one after the other.
        conversions: of a bit line for a vector and read: the pulses where each is converted, else 1.
        bit_lines: `[(columns, count), ...]`, bit lines that are read of each array of a tile, and how many such arrays.
        converted: conversions for a vector, all bit lines together.
        shared: the cells, DACs and ADCs are those of another layer.
    """

    layer: str
    vectors: float
    cells: int
    drivers: int
    dac_bits: int | None
    pulses: int
    adc_bits: int | None
    reads: int
    conversions: int
    bit_lines: Sequence[tuple[int, int]]
    converted: int
    shared: bool = False

    @property
    def is_complete(self) -> bool:
        """True where it has converters, without which there is neither a voltage nor a conversion to count."""
        return self.dac_bits is not None and self.adc_bits is not None


@dataclass(frozen=True)
class NetworkCounts:
    """Parts of a network and their use in an inference.

    Args:
        layers: on the array.
        digital_macs: multiply-accumulates of an inference with weights that stay digital.
        voltages_V: voltages of a full input that laws of the point say.
    """

    layers: Sequence[LayerCounts]
    digital_macs: int = 0
    voltages_V: Sequence[float] = ()

    @property
    def incomplete(self) -> list[str]:
        """Layers without a DAC or an ADC."""
        return [each.layer for each in self.layers if not each.is_complete]

    def document(self) -> dict[str, Any]:
        """Plain data, as a plan keeps it."""
        return {**asdict(self), "voltages_V": list(self.voltages_V)}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> NetworkCounts:
        """Inverse of `document`.

        Raises:
            ValidationError: it is none.
        """
        try:
            layers = []
            for entry in document["layers"]:
                given = {each.name: entry[each.name] for each in fields(LayerCounts)}
                given["bit_lines"] = [(int(columns), int(count)) for columns, count in entry["bit_lines"]]
                layers.append(LayerCounts(**fitted(LayerCounts, given, "counts.layers")))
            macs = fit(document["digital_macs"], int, "digital_macs")
            return cls(layers, macs, fit(document["voltages_V"], list[float], "voltages_V"))
        except (KeyError, TypeError, ValueError) as error:
            raise ValidationError(
                "must be counts of layers", "run the sweep again", shown=repr(error), parameter="counts"
            ) from error
