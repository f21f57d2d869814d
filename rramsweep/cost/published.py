"""Cost of an inference by published constants, as intervals over their sources."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from rramsweep.arguments import check_fields
from rramsweep.construct import OWN, Kind, inside
from rramsweep.cost import adc_fit
from rramsweep.cost.adc_fit import AREA_BY_NM, ENERGY_BY_NM
from rramsweep.cost.counts import LayerCounts, NetworkCounts
from rramsweep.cost.interval import Interval, total
from rramsweep.errors import ValidationError

# Columns of a results table, each with `_low` and `_high` behind it.
COLUMNS = ("cost.energy_pJ", "cost.area_um2", "cost.latency_us")

# Bits of the entries of `isaac_adc_pJ` and `isaac_adc_um2`, from the first one on, and those of its published ADC.
_ISAAC_FIRST_BITS, _ISAAC_BITS = 4, 8
_FORMS_BITS = 4

# Technologies of the sources.
_ISAAC_NM, _NEURRAM_NM, _HOROWITZ_NM = 32.0, 130.0, 45.0

# Technologies to which constants are carried: about those of the converters in the survey [M].
_FINEST_NM, _COARSEST_NM = 7.0, 350.0


@dataclass(frozen=True)
class NoCost:
    """No cost is computed."""

    version: ClassVar[int] = 1


@dataclass(frozen=True)
class ChipCost:
    """Costs of the chips of a point: what differs between them enters the energy alone.

    Args:
        array_pJ_per_uS: energy of the array for each uS of `cost.array_uS`.
        converters_pJ: energy of DACs, ADCs, digital adds and digital MACs.
        mac_pJ: energy of a digital multiply-accumulate.
        area_um2: of cells and converters.
        latency_us: of an inference.
    """

    array_pJ_per_uS: float
    converters_pJ: Interval
    mac_pJ: Interval
    area_um2: Interval
    latency_us: Interval

    def energy_pJ(self, array_uS: float, extra_macs: int = 0) -> Interval:
        """Energy of an inference on one chip.

        Args:
            array_uS: the chip's `cost.array_uS`.
            extra_macs: of its calibration.
        """
        array = array_uS * self.array_pJ_per_uS
        return Interval(array, array) + self.converters_pJ + self.mac_pJ * extra_macs


@dataclass(frozen=True)
class Published:
    """Energy, area and latency of an inference by published constants, from the lowest to the highest.

    `E = V_read^2 t_read sum over pulses of sum_ij G_ij u_i^2`, of the chip's conductances and its inputs u relative to
    a full one, plus the drives of the DACs, the conversions with a shift-add each, and digital multiply-accumulates.

    A constant of another technology is carried to `technology_nm` by the exponents of the ADC fit, `T^1.880` of an
    energy and `T^1.556` of an area. What is not counted stands in rramsweep/cost/README.md.

    Args:
        t_read_s: duration of a pulse.
        v_read_V: voltage of a full input.
        columns_per_adc: bit lines that share an ADC, one after the other.
        samples_per_s: conversions a second of one ADC, at most 1e10.
        technology_nm: of the circuits.
        isaac_adc_pJ: of a conversion, of 4, 5, ... bits.
        isaac_adc_um2: of an ADC, likewise.
        forms_adc_pJ: of a conversion of 4 bits.
        forms_adc_um2: of that ADC.
        dac_pJ: of a pulse of a 1-bit DAC that lasts `dac_pulse_s`.
        dac_pulse_s: its duration.
        dac_um2: of it.
        isaac_shift_add_pJ: of a 16-bit shift-add.
        neurram_shift_add_pJ: of an 8-bit shift-add.
        mac_int8_pJ: of a multiply-accumulate of 8-bit integers.
        mac_float32_pJ: of one of single precision.
        cell_low_F2: area of a cell at least, in squares of `technology_nm`.
        cell_high_F2: at most.

    Raises:
        ValidationError: a number that is not finite or not above 0, a rate outside the ADC fit, tables of different
            lengths or without an entry of 8 bits, or bounds of a cell in the wrong order.
    """

    version: ClassVar[int] = 1

    t_read_s: float
    v_read_V: float
    columns_per_adc: int
    samples_per_s: float
    technology_nm: float
    isaac_adc_pJ: list[float]
    isaac_adc_um2: list[float]
    forms_adc_pJ: float
    forms_adc_um2: float
    dac_pJ: float
    dac_pulse_s: float
    dac_um2: float
    isaac_shift_add_pJ: float
    neurram_shift_add_pJ: float
    mac_int8_pJ: float
    mac_float32_pJ: float
    cell_low_F2: float
    cell_high_F2: float

    def __post_init__(self) -> None:
        check_fields(self, "cost")
        for name, value in vars(self).items():
            for number in value if isinstance(value, list) else [value]:
                if not 0 < number < math.inf:
                    raise ValidationError(
                        "must be finite and above 0", "correct it", value=number, parameter=name, slot="cost"
                    )
        adc_fit.energy_pJ(_ISAAC_BITS, self.technology_nm, self.samples_per_s)
        if not _FINEST_NM <= self.technology_nm <= _COARSEST_NM:
            raise ValidationError(
                f"must lie in {_FINEST_NM:g}..{_COARSEST_NM:g} nm, about the range of the ADCs that were fitted",
                "give that of the circuits around the array",
                value=self.technology_nm,
                parameter="technology_nm",
                slot="cost",
            )
        fewest = _ISAAC_BITS - _ISAAC_FIRST_BITS + 1
        if not len(self.isaac_adc_pJ) == len(self.isaac_adc_um2) >= fewest:
            raise ValidationError(
                f"must have as many entries as isaac_adc_um2, at least {fewest}: of {_ISAAC_FIRST_BITS}, "
                f"{_ISAAC_FIRST_BITS + 1}, ... bits",
                "give both tables",
                shown=f"{len(self.isaac_adc_pJ)} and {len(self.isaac_adc_um2)}",
                parameter="isaac_adc_pJ",
                slot="cost",
            )
        if self.cell_high_F2 < self.cell_low_F2:
            raise ValidationError(
                "must be at least cost.cell_low_F2",
                "swap them",
                value=self.cell_high_F2,
                parameter="cell_high_F2",
                slot="cost",
            )

    def check(self, counts: NetworkCounts) -> None:
        """Check that the sources cover the converters of a network, and that its voltage is one.

        Raises:
            ValidationError: an ADC of fewer than 4 bits, or a law of the point that has another read voltage.
        """
        for layer in counts.layers:
            if layer.adc_bits is not None:
                adc_fit.check_bits(layer.adc_bits)
        for volts in counts.voltages_V:
            if math.isclose(volts, self.v_read_V):
                continue
            raise ValidationError(
                f"must be the v_read_V of iv and read_noise, {volts:g}",
                f"set cost.v_read_V={volts:g}, or theirs",
                value=self.v_read_V,
                parameter="v_read_V",
                slot="cost",
            )

    def chip_cost(self, counts: NetworkCounts) -> ChipCost | None:
        """Costs of the chips of a network; None where a layer has no DAC or no ADC.

        Raises:
            ValidationError: see `check`.
        """
        self.check(counts)
        if counts.incomplete:
            return None
        return ChipCost(
            self.v_read_V**2 * self.t_read_s * 1e6,  # uS V^2 s is 1e-6 J, that is 1e6 pJ
            total(self.parts_pJ(counts).values()),
            self.mac_pJ(),
            total(self._area_um2(layer) for layer in counts.layers if not layer.shared),
            total(self._latency_us(layer) for layer in counts.layers),
        )

    def parts_pJ(self, counts: NetworkCounts) -> Mapping[str, Interval]:
        """Energy of an inference by part, without that of the array: `dac`, `adc`, `shift_add` and `digital_macs`."""
        self.check(counts)
        whole = [layer for layer in counts.layers if layer.is_complete]
        return {
            "dac": total(
                self.dac_pulse_pJ(layer.dac_bits) * (layer.vectors * layer.drivers * layer.pulses)
                for layer in whole
                if layer.dac_bits is not None
            ),
            "adc": total(
                self.conversion_pJ(layer.adc_bits) * (layer.vectors * layer.converted)
                for layer in whole
                if layer.adc_bits is not None
            ),
            "shift_add": self.shift_add_pJ() * sum(layer.vectors * layer.converted for layer in whole),
            "digital_macs": self.mac_pJ() * counts.digital_macs,
        }

    def conversion_pJ(self, bits: int) -> Interval:
        """Energy of one conversion: of the fit, of ISAAC's ADC in both of its scalings, and of FORMS' at its bits."""
        carried = self._carried(ENERGY_BY_NM, _ISAAC_NM)
        published = self._published(bits, self.isaac_adc_pJ, self.forms_adc_pJ)
        return Interval.over(
            [adc_fit.energy_pJ(bits, self.technology_nm, self.samples_per_s), *(carried * each for each in published)]
        )

    def adc_um2(self, bits: int) -> Interval:
        """Area of one ADC; sources as of `conversion_pJ`."""
        carried = self._carried(AREA_BY_NM, _ISAAC_NM)
        published = self._published(bits, self.isaac_adc_um2, self.forms_adc_um2)
        return Interval.over(
            [adc_fit.area_um2(bits, self.technology_nm, self.samples_per_s), *(carried * each for each in published)]
        )

    def dac_pulse_pJ(self, bits: int) -> Interval:
        """Energy of a pulse of a DAC.

        Between one in proportion to the duration of the pulse and one that a pulse of any duration takes; of several
        bits between that of one 1-bit DAC and of one for each bit, an assumption, since no such DAC is cited.
        """
        duration = self.t_read_s / self.dac_pulse_s
        one = Interval(min(1.0, duration), max(1.0, duration)) * (self.dac_pJ * self._carried(ENERGY_BY_NM, _ISAAC_NM))
        return Interval(one.low, bits * one.high)

    def shift_add_pJ(self) -> Interval:
        """Energy of the shift-add behind a conversion."""
        return Interval.over(
            [
                self.isaac_shift_add_pJ * self._carried(ENERGY_BY_NM, _ISAAC_NM),
                self.neurram_shift_add_pJ * self._carried(ENERGY_BY_NM, _NEURRAM_NM),
            ]
        )

    def mac_pJ(self) -> Interval:
        """Energy of a digital multiply-accumulate, from 8-bit integers to single precision."""
        carried = self._carried(ENERGY_BY_NM, _HOROWITZ_NM)
        return Interval.over([self.mac_int8_pJ * carried, self.mac_float32_pJ * carried])

    def adcs(self, layer: LayerCounts) -> int:
        """Number of ADCs of a layer: `columns_per_adc` bit lines of one array share one."""
        return sum(-(-columns // self.columns_per_adc) * count for columns, count in layer.bit_lines)

    def _area_um2(self, layer: LayerCounts) -> Interval:
        assert layer.adc_bits is not None
        assert layer.dac_bits is not None
        dac = self.dac_um2 * self._carried(AREA_BY_NM, _ISAAC_NM)
        square = self.technology_nm**2 * 1e-6
        return (
            self.adc_um2(layer.adc_bits) * self.adcs(layer)
            + Interval(1.0, layer.dac_bits) * (dac * layer.drivers)
            + Interval(self.cell_low_F2, self.cell_high_F2) * (square * layer.cells)
        )

    def _latency_us(self, layer: LayerCounts) -> Interval:
        """Time of a layer: pulse and conversions overlap at best, and follow each other at worst."""
        slots = max(min(columns, self.columns_per_adc) for columns, _ in layer.bit_lines)
        convert_s = slots / self.samples_per_s
        drive_s = self.t_read_s * layer.pulses / layer.conversions
        each = Interval(max(drive_s, convert_s), drive_s + convert_s)
        return each * (layer.vectors * layer.reads * layer.conversions * 1e6)

    def _published(self, bits: int, isaac: list[float], forms: float) -> list[float]:
        """Values of ISAAC's ADC by its table and by 2^bits, and of FORMS' where it has these bits; at 32 nm."""
        entry = bits - _ISAAC_FIRST_BITS
        found = [isaac[_ISAAC_BITS - _ISAAC_FIRST_BITS] * 2.0 ** (bits - _ISAAC_BITS)]
        found += [isaac[entry]] if entry < len(isaac) else []
        return [*found, forms] if bits == _FORMS_BITS else found

    def _carried(self, exponent: float, from_nm: float) -> float:
        return float((self.technology_nm / from_nm) ** exponent)


def _own(made: object, target: str) -> None:  # noqa: ARG001
    # A report applies the cost to a plan that it reads, which must run nobody's code.
    if not inside(target, (OWN,)):
        raise ValidationError(
            "must be rramsweep.cost.Published or NoCost",
            "give constants of your own as parameters of cost=published",
            value=target,
            slot="cost",
            parameter="_target_",
        )


# What `cost=` may be.
KIND = Kind("rramsweep.cost", ("Published", "NoCost"), _own)
