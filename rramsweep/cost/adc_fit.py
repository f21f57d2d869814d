"""Energy and area of an ADC as good as the best measured ones, by a published fit.

Source: hwcomponents-adc (MIT; Andrulis et al., arXiv:2404.06553), fitted to Murmann's ADC performance survey (BSD-3).
"""

from __future__ import annotations

import math

from rramsweep.errors import ValidationError

# Below 4 bits the fit of the energy rises again; above 10 GS/s an ADC there is no data.
FEWEST_BITS, MOST_SAMPLES_PER_S = 4, 1e10

# Exponents of the technology in energy and area.
ENERGY_BY_NM, _AREA_BY_NM, _AREA_BY_PJ = 1.880037, 0.993279, 0.299124
AREA_BY_NM = _AREA_BY_NM + _AREA_BY_PJ * ENERGY_BY_NM


def energy_pJ(bits: int, technology_nm: float, samples_per_s: float) -> float:
    """Energy of a conversion, pJ.

    `SNDR = 6.0206 b + 1.7609`, `FoM = min(213.7807 - 2.87190 ln f, 128.3068 + 3.22052 ceil(b))`,
    `E = 1/2 10^((SNDR - FoM)/10) exp(26.04962 + 1.880037 ln T - 2.829126 ln b - 1.470202)`.

    Args:
        bits: at least 4.
        technology_nm: T.
        samples_per_s: f, conversions a second of one ADC, at most 1e10.

    Raises:
        ValidationError: bits or rate outside the range of the fit.
    """
    check_bits(bits)
    if not 0 < samples_per_s <= MOST_SAMPLES_PER_S:
        raise ValidationError(
            "must lie above 0 and up to 1e10, the range of the ADC fit",
            "give the conversions a second of one ADC",
            value=samples_per_s,
            parameter="samples_per_s",
            slot="cost",
        )
    sndr_dB = 6.0206 * bits + 1.7609
    fom_dB = min(213.7807 - 2.87190 * math.log(samples_per_s), 128.3068 + 3.22052 * math.ceil(bits))
    in_technology = 26.04962 + ENERGY_BY_NM * math.log(technology_nm) - 2.829126 * math.log(bits) - 1.470202
    return float(0.5 * 10 ** ((sndr_dB - fom_dB) / 10) * math.exp(in_technology))


def area_um2(bits: int, technology_nm: float, samples_per_s: float) -> float:
    """Area of an ADC, um2: `exp(1.346192 + 0.993279 ln T + 0.180715 ln f + 0.299124 ln E_pJ)`; see `energy_pJ`."""
    energy = energy_pJ(bits, technology_nm, samples_per_s)
    return math.exp(
        1.346192
        + _AREA_BY_NM * math.log(technology_nm)
        + 0.180715 * math.log(samples_per_s)
        + _AREA_BY_PJ * math.log(energy)
    )


def check_bits(bits: int) -> None:
    """Check that the fit covers a converter.

    Raises:
        ValidationError: fewer than 4 bits.
    """
    if bits < FEWEST_BITS:
        raise ValidationError(
            f"must be at least {FEWEST_BITS} for cost=published, below which the ADC fit rises again",
            f"set adc.bits={FEWEST_BITS} or more, or cost=none",
            value=bits,
            parameter="bits",
            slot="adc",
        )
