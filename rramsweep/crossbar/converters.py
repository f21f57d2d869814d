"""Converters at the edge of a crossbar: DACs that drive its word lines, ADCs that read its bit lines.

Numbers at a converter are relative: an input to the DAC's largest output, a partial sum to that of one cell at full
weight and full input. Ranges are design values of a layer, the same for every chip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from rramsweep.arguments import check_fields
from rramsweep.errors import ValidationError, one_of

MOST_BITS = 16

DAC_RANGES = ("fitted", "given", "abs_max")
SIGNS = ("auto", "signed", "unsigned")
ACCUMULATIONS = ("none", "digital", "analog")

ADC_RANGES = ("fitted", "given", "full")
SHARED_BY = ("layer", "tile", "column")
SUBTRACTIONS = ("array", "digital")


def codes(v: Tensor, low: Any, high: Any, levels: int) -> Tensor:
    """Codes 0 .. levels - 1 of the nearest of equally spaced levels: `round((clamp(v, low, high) - low) s)`.

    `s = (levels - 1) / (high - low)`, ties to the even code. In this order of operations it is bit-equal to CrossSim's
    quantiser [R2]; `round(v / step)` differs on exact ties.

    Args:
        v: values, any shape.
        low: lower end of the range, a number or a tensor that broadcasts against `v`.
        high: upper end, above `low`, likewise.
        levels: at least 2.
    """
    inside = v.clamp(low, high)
    if not (isinstance(low, float) and low == 0):
        inside.sub_(low)
    return inside.mul_((levels - 1) / (high - low)).round_()


def quantise(v: Tensor, low: float, high: float, levels: int) -> Tensor:
    """Round to the nearest of equally spaced levels: `codes / s + low`. Arguments: see `codes`."""
    return codes(v, low, high, levels).div_((levels - 1) / (high - low)).add_(low)


def levels_of(bits: int, signed: bool) -> int:
    """Levels of a uniform converter: `2^bits - 1` around 0 if signed, so that 0 is one of them, else `2^bits`."""
    return (1 << bits) - 1 if signed else 1 << bits


@dataclass(frozen=True)
class UniformDAC:
    """Uniform quantisation of a layer's inputs, before its crossbars.

    `x' = quantise(x, -x_max, x_max, 2^bits - 1)` if signed, `quantise(x, 0, x_max, 2^bits)` if not. All word lines of a
    layer have the same range. With `accumulation` other than `none` inputs are applied bit by bit, sign times
    magnitude, the least significant bit first: `bits` cycles if unsigned, `bits - 1` if signed.

    DACs have no errors besides quantisation and range: offset, nonlinearity and noise are not modelled.

    Args:
        bits: 1..16 unsigned, 2..16 signed.
        range: `fitted`, x_max is the `percentile` of |x| over the fitting inputs in the ideal chip; `given`, x_max as
            given; `abs_max`, the largest |x| of each input vector, as AIHWKit's noise management by abs-max.
        x_max: for `range=given`, in the unit of the layer's inputs.
        sign: `signed`, `unsigned`, or `auto`: signed where a fitting input is negative, and always for ranges that are
            not fitted.
        percentile: of |x| by nearest rank; 100 is the largest. Read by `range=fitted` alone.
        accumulation: `none`, inputs are levels of voltage; `digital`, bit by bit with a conversion for each, added
            after the ADC; `analog`, bit by bit and added on the bit line, with one conversion for all.

    Raises:
        ValidationError: a number outside its range, an unknown word, or an x_max that is missing or not used.
    """

    version: ClassVar[int] = 1

    bits: int = 8
    range: str = "fitted"
    x_max: float | None = None
    sign: str = "auto"
    percentile: float = 100.0
    accumulation: str = "none"

    def __post_init__(self) -> None:
        check_fields(self, "dac")
        one_of("range", self.range, DAC_RANGES)
        one_of("sign", self.sign, SIGNS)
        one_of("accumulation", self.accumulation, ACCUMULATIONS)
        fewest = 1 if self.sign == "unsigned" else 2
        if not fewest <= self.bits <= MOST_BITS:
            raise ValidationError(
                f"must lie in {fewest}..{MOST_BITS} for dac.sign={self.sign}",
                "1 bit needs dac.sign=unsigned" if self.bits == 1 else "8 is common",
                value=self.bits,
                parameter="bits",
                slot="dac",
            )
        _check_percentile("dac", self.percentile)
        _check_given("dac", "x_max", self.x_max, self.range)

    @property
    def serial(self) -> bool:
        """True where inputs are applied bit by bit."""
        return self.accumulation != "none"


@dataclass(frozen=True)
class UniformADC:
    """Uniform quantisation of the partial sums of a layer's crossbars, one ADC for each bit line of a tile.

    The sum `z` of a bit line over the word lines driven at once, in units of one cell at full weight and full input,
    is read as `quantise(z (1 + gain) + offset + noise, -z_max, z_max, 2^bits - 1)`; codes are added digitally and
    exactly over tiles, slices and cycles, then scaled. With `subtraction=digital` the two cells of a pair are read by
    separate ADCs, from 0 to z_max with `2^bits` levels if inputs are unsigned, and subtracted digitally.

    Nonlinearity (INL, DNL) of an ADC is not modelled, nor is its sharing between bit lines: columns that share one
    would share its mismatch.

    Args:
        bits: 1..16; 2..16 where sums are signed, which they are with `subtraction=array` or signed inputs.
        range: `fitted`, z_max is the `percentile` of |z| over the fitting inputs on the ideal chip, with wires and
            without converters; `given`, z_max as given; `full`, the largest sum that the driven rows of a tile can
            give.
        z_max: for `range=given`. Without a DAC the unit of an input is the layer's own. A full weight of
            `mapping=offset` is half the window, from the reference to its end.
        per: what shares a range: the `layer`, a `tile` or a `column` (bit line of a tile). Each slice of a weight has
            ranges of its own.
        percentile: of |z| by nearest rank; 100 is the largest. Read by `range=fitted` alone.
        subtraction: of the two cells of a pair: in the `array`, or `digital`.
        offset_sigma_lsb: standard deviation of an ADC's offset, in LSB; drawn once for each ADC and chip.
        gain_sigma: standard deviation of its relative gain error, likewise.
        output_noise_lsb: standard deviation of the noise of each conversion, in LSB.

    Raises:
        ValidationError: a number outside its range, an unknown word, or a z_max that is missing or not used.
    """

    version: ClassVar[int] = 1

    bits: int = 8
    range: str = "fitted"
    z_max: float | None = None
    per: str = "layer"
    percentile: float = 100.0
    subtraction: str = "array"
    offset_sigma_lsb: float = 0.0
    gain_sigma: float = 0.0
    output_noise_lsb: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, "adc")
        one_of("range", self.range, ADC_RANGES)
        one_of("per", self.per, SHARED_BY)
        one_of("subtraction", self.subtraction, SUBTRACTIONS)
        fewest = 2 if self.subtraction == "array" else 1
        if not fewest <= self.bits <= MOST_BITS:
            raise ValidationError(
                f"must lie in {fewest}..{MOST_BITS} for adc.subtraction={self.subtraction}",
                "1 bit needs adc.subtraction=digital and unsigned inputs" if self.bits == 1 else "8 is common",
                value=self.bits,
                parameter="bits",
                slot="adc",
            )
        _check_percentile("adc", self.percentile)
        _check_given("adc", "z_max", self.z_max, self.range)
        for name in ("offset_sigma_lsb", "gain_sigma", "output_noise_lsb"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValidationError(
                    "must be finite and at least 0",
                    "give a standard deviation",
                    value=getattr(self, name),
                    parameter=name,
                    slot="adc",
                )

    @property
    def mismatched(self) -> bool:
        """True where ADCs differ from each other."""
        return self.offset_sigma_lsb > 0 or self.gain_sigma > 0


def _check_percentile(slot: str, percentile: float) -> None:
    if not 0 < percentile <= 100:
        raise ValidationError(
            "must lie above 0 and up to 100",
            "100 is the largest value, 99.9 clips one in a thousand",
            value=percentile,
            parameter="percentile",
            slot=slot,
        )


def _check_given(slot: str, name: str, value: float | None, range_: str) -> None:
    if (range_ == "given") == (value is None):
        raise ValidationError(
            f"must be given for {slot}.range=given, and for no other",
            f"set {slot}.{name}=NUMBER" if value is None else f"set {slot}.range=given",
            shown=f"{name}={value} with range={range_}",
            parameter=name,
            slot=slot,
        )
    if value is not None and not 0 < value < math.inf:
        raise ValidationError(
            "must be finite and above 0", "give the end of the range", value=value, parameter=name, slot=slot
        )
