"""Units at the end of names, and times in seconds: their text forms, decades, and thermal acceleration."""

from __future__ import annotations

import math
import re

# A year of 365.25 days, as astronomers count.
UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "y": 365.25 * 86400.0}

# Units that are read in addition; times are shown in days.
_READ_S = {**UNITS_S, "w": 7 * 86400.0}

# Ending of the name of a parameter or column -> its unit.
NAME_UNITS = {
    "_uS_per_decade": "µS a decade",
    "_uS2_per_decade": "µS² a decade",
    "_uS": "µS",
    "_per_s": "1/s",
    "_s": "s",
    "_us": "µs",
    "_pJ": "pJ",
    "_um2": "µm²",
    "_nm": "nm",
    "_K": "K",
    "_V": "V",
    "_eV": "eV",
    "_Hz": "Hz",
    "_ohm": "Ω",
}

BOLTZMANN_EV_K = 8.617333e-5

# Below, degrees Celsius are far more likely than a chip so cold; above, millielectronvolts than such a barrier.
_COLDEST_K = 173.15
_HIGHEST_EV = 10.0

_TEXT = re.compile(r"\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([a-z]+)\s*")


def unit_of(name: str) -> str:
    """Unit at the end of a parameter's name; empty if there is none."""
    return next((unit for ending, unit in NAME_UNITS.items() if name.endswith(ending)), "")


def seconds(value: object, name: str = "t_s") -> float:
    """Parse a time in seconds from a number or from a text such as `10ms`, `1h`, `1d`, `10y`.

    Args:
        value: seconds, or a number and one of the units us, ms, s, min, h, d, w, y.
        name: of the setting, for messages.

    Raises:
        ValueError: negative, not finite, or not a time.
    """
    number: float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
    elif isinstance(value, str) and (match := _TEXT.fullmatch(value)) and match[2] in _READ_S:
        try:
            number = float(match[1]) * _READ_S[match[2]]
        except ValueError:
            number = None
    if number is None or not 0 <= number < math.inf:
        raise ValueError(
            f"{name} must be a time in seconds >= 0, got {value!r}: give seconds since programming, or a number with "
            f"one of {', '.join(_READ_S)}, like 1h"
        )
    return number


def in_words(t_s: float) -> str:
    """Format a time in the largest unit that it reaches: 5400 s is `1.5 h`; `seconds` parses the result."""
    if t_s == 0:
        return "0 s"
    unit = next((name for name, size in reversed(UNITS_S.items()) if t_s >= size * (1 - 1e-9)), "us")
    return f"{t_s / UNITS_S[unit]:.6g} {unit}"


def acceleration(
    temperature_K: float | None, activation_energy_eV: float | None, reference_temperature_K: float
) -> float:
    """Acceleration of time at a temperature, `exp[(E_a / k_B) (1/T0 - 1/T)]` (Arrhenius); 1 without a temperature.

    Args:
        temperature_K: T; None is the reference temperature.
        activation_energy_eV: E_a of the process. There is no default: published values for oxide RRAM span 0.38
            to 1.55 eV [R2], a factor of 12 to 2.4e4 between 25 and 85 degrees Celsius.
        reference_temperature_K: T0, at which the law's other numbers hold.

    Raises:
        ValueError: a temperature without an activation energy, or a value that looks like another unit.
    """
    for name, kelvin in (("temperature_K", temperature_K), ("reference_temperature_K", reference_temperature_K)):
        if kelvin is not None and not _COLDEST_K <= kelvin < math.inf:
            raise ValueError(
                f"{name} must be finite and at least {_COLDEST_K:g} K, got {kelvin:g}: give kelvin, degrees Celsius "
                "plus 273.15"
            )
    if activation_energy_eV is not None and not 0 < activation_energy_eV <= _HIGHEST_EV:
        raise ValueError(
            f"activation_energy_eV must lie above 0 and be at most {_HIGHEST_EV:g} eV, got {activation_energy_eV:g}: "
            "give electronvolts"
        )
    if temperature_K is None:
        return 1.0
    if activation_energy_eV is None:
        raise ValueError(
            f"activation_energy_eV must be given with a temperature, got null with temperature_K={temperature_K:g}: "
            "give the E_a of your device, it decides by how many decades time runs faster"
        )
    exponent = activation_energy_eV / BOLTZMANN_EV_K * (1 / reference_temperature_K - 1 / temperature_K)
    return math.exp(exponent)


def decades(t_s: float, t0_s: float) -> float:
    """Decades of time since t0, `log10(t / t0)`; 0 up to t0. 0 s means just after programming."""
    return math.log10(t_s / t0_s) if t_s > t0_s else 0.0
