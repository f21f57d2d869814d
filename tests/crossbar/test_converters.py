"""Converters by themselves: the quantiser bit by bit, the curve of cells, what is read at once, and what is refused."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from rramsweep.crossbar import (
    Crossbar,
    Differential,
    Ideal,
    LayerSpec,
    Offset,
    Segments,
    Sinh,
    Sliced,
    UniformADC,
    UniformDAC,
)
from rramsweep.crossbar.converters import levels_of, quantise
from rramsweep.crossbar.tile import MOST_LINES
from rramsweep.devices import Device
from rramsweep.errors import ValidationError

BITS = range(1, 17)


def half_to_even(value: Fraction) -> int:
    return round(value)  # of a fraction Python rounds exactly, ties to the even integer


def stepwise(v, low, high, levels):
    """The operations of the quantiser one after the other, each rounded to single precision by numpy."""
    s = np.float32((levels - 1) / (high - low))
    v = np.clip(v.astype(np.float32), np.float32(low), np.float32(high)) - np.float32(low)
    return np.rint(v * s) / s + np.float32(low)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("signed", [True, False])
def test_ties_go_to_the_even_code(bits, signed):
    """In a range whose step is 1, all numbers are exact: every code, every tie, and what lies outside."""
    levels = 2**bits - 1 if signed else 2**bits
    assert levels_of(bits, signed) == levels
    if levels < 2:
        return
    low, high = (-(levels - 1) // 2, (levels - 1) // 2) if signed else (0, levels - 1)
    chosen = range(2 * low - 5, 2 * high + 6) if bits < 10 else [*range(2 * low - 5, 2 * low + 2000), *range(-999, 999)]
    halves = [Fraction(i, 2) for i in chosen]
    found = quantise(torch.tensor([float(v) for v in halves]), low, high, levels)
    codes = [half_to_even(min(max(v, low), high) - low) for v in halves]
    assert (found - low).tolist() == codes
    assert set(codes) <= set(range(levels))
    if bits < 10:
        assert set(codes) == set(range(levels))
    ties = [code for v, code in zip(halves, codes, strict=True) if low < v < high and v.denominator == 2]
    assert len(ties) > min(levels // 4, 1000)
    assert all(code % 2 == 0 for code in ties)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("high", [1.0, 0.1, 3.7, 1e-4, 12345.0])
@pytest.mark.parametrize("signed", [True, False])
def test_the_quantiser_is_its_operations_bit_by_bit(bits, high, signed):
    levels = levels_of(bits, signed)
    if levels < 2:
        return
    low = -high if signed else 0.0
    rng = np.random.default_rng(bits)
    v = np.concatenate(
        [
            rng.normal(0, high, 5000),
            rng.uniform(low, high, 5000),
            low + np.arange(0, min(2 * levels, 4000)) / 2 * (high - low) / (levels - 1),
            [low, high, 0.0, 2 * low, 2 * high, math.inf, -math.inf],
        ]
    ).astype(np.float32)
    before = torch.from_numpy(v.copy())
    found = quantise(before, low, high, levels)
    assert np.array_equal(found.numpy(), stepwise(v, low, high, levels))
    assert np.array_equal(before.numpy(), v)
    assert found.min() >= np.float32(low)
    assert len(found.unique()) <= levels
    # Both ends and zero are levels.
    for level in (low, 0.0, high):
        exact = quantise(torch.tensor([level], dtype=torch.float64), low, high, levels)
        assert float(exact) == pytest.approx(level, abs=1e-12 * high)


def test_codes_of_any_value_are_within_half_a_step():
    v = torch.linspace(-1, 1, 100_001, dtype=torch.float64)
    for bits in range(2, 17):
        step = 2 / (levels_of(bits, True) - 1)
        assert (quantise(v, -1.0, 1.0, levels_of(bits, True)) - v).abs().max() <= step / 2 * (1 + 1e-9)


# --- the curve


@pytest.mark.parametrize(("v_read", "v_0"), [(0.2, 0.25), (1.0, 0.1), (0.3, 0.02), (4.0, 0.05), (1e-3, 1.0)])
def test_the_curve_is_the_ratio_of_two_currents(v_read, v_0):
    u = torch.linspace(-1, 1, 201, dtype=torch.float64)
    expected = [math.sinh(float(each) * v_read / v_0) / math.sinh(v_read / v_0) for each in u]
    found = Sinh(v_read, v_0).input(u)
    assert found.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-30)
    single = Sinh(v_read, v_0).input(u.float()).double()
    assert single.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-30)
    assert u[0] == -1


@pytest.mark.parametrize("ratio", [80.0, 79.9, 1.0, 1e-3, 1.01e-4, 0.99e-4, 1e-8, 1e-30, 1e-44, 1e-300])
def test_the_curve_is_finite_odd_and_no_larger_than_its_input(ratio):
    u = torch.arange(-100, 101) / 100
    found = Sinh(ratio, 1.0).input(u.clone())
    assert found.isfinite().all()
    assert (found.abs() <= u.abs() + 1e-5).all()
    assert torch.equal(found, -found.flip(0))
    assert float(found[-1]) == pytest.approx(1.0, abs=1e-5)
    if ratio < 1e-3:
        torch.testing.assert_close(found, u, rtol=1e-6, atol=0)


# --- what is read at once


@pytest.mark.parametrize("arrangement", ["separate", "interleaved"])
@pytest.mark.parametrize("rows", [2, 8, 128])
@pytest.mark.parametrize("active", [None, 2, 6, 8])
@pytest.mark.parametrize("inputs", [1, 3, 8, 25, 300])
def test_every_input_is_driven_once_and_in_its_tile(arrangement, rows, active, inputs):
    if (active or 0) > rows:
        return
    tile = Crossbar(rows, 4, arrangement=arrangement, rows_active=active)
    lines = 2 if arrangement == "interleaved" else 1
    reads = tile.reads(inputs)
    driven = [i for read, _ in reads for i in range(read.start, read.stop)]
    assert driven == list(range(inputs))
    for read, number in reads:
        assert 0 < (read.stop - read.start) * lines <= (active or rows)
        assert {i * lines // rows for i in range(read.start, read.stop)} == {number}
    # None is split that need not be.
    per_tile = [min(rows // lines, inputs - first) for first in range(0, inputs, rows // lines)]
    assert len(reads) == sum(-(-n * lines // (active or rows)) for n in per_tile)
    assert reads[-1][1] + 1 == tile.counts(4, inputs)[1]


# --- refused


def spec(**parts):
    return LayerSpec(**{"device": Device(1.0, 100.0), "mapping": Differential(), **parts})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UniformDAC(0), "dac.bits must lie in 2..16 for dac.sign=auto, got 0: 8 is common"),
        (lambda: UniformDAC(1), "dac.bits must lie in 2..16 for dac.sign=auto, got 1: 1 bit needs dac.sign=unsigned"),
        (lambda: UniformDAC(1, sign="signed"), "dac.bits must lie in 2..16 for dac.sign=signed, got 1: 1 bit needs"),
        (lambda: UniformDAC(17), "dac.bits must lie in 2..16 for dac.sign=auto, got 17: 8 is common"),
        (lambda: UniformDAC(0, sign="unsigned"), "dac.bits must lie in 1..16 for dac.sign=unsigned, got 0"),
        (lambda: UniformDAC(17, sign="unsigned"), "dac.bits must lie in 1..16 for dac.sign=unsigned, got 17"),
        (lambda: UniformDAC(-3, sign="signed"), "dac.bits must lie in 2..16 for dac.sign=signed, got -3"),
        (lambda: UniformDAC(range="full"), "range must be one of fitted, given, abs_max, got 'full'"),
        (lambda: UniformDAC(sign="both"), "sign must be one of auto, signed, unsigned, got 'both'"),
        (lambda: UniformDAC(accumulation="bits"), "accumulation must be one of none, digital, analog, got 'bits'"),
        (lambda: UniformDAC(range="given"), "dac.x_max must be given for dac.range=given, and for no other, got"),
        (lambda: UniformDAC(x_max=2.0), "dac.x_max must be given for dac.range=given, and for no other, got x_max=2.0"),
        (lambda: UniformDAC(range="given", x_max=0.0), "dac.x_max must be finite and above 0, got 0.0"),
        (lambda: UniformDAC(range="given", x_max=-1.0), "dac.x_max must be finite and above 0, got -1.0"),
        (lambda: UniformDAC(range="given", x_max=math.inf), "dac.x_max must be finite and above 0, got inf"),
        (lambda: UniformDAC(range="given", x_max=math.nan), "dac.x_max must be finite and above 0, got nan"),
        (lambda: UniformDAC(percentile=0.0), "dac.percentile must lie above 0 and up to 100, got 0.0"),
        (lambda: UniformDAC(percentile=100.1), "dac.percentile must lie above 0 and up to 100, got 100.1"),
        (lambda: UniformDAC(percentile=math.nan), "dac.percentile must lie above 0 and up to 100, got nan"),
        (lambda: UniformADC(0), "adc.bits must lie in 2..16 for adc.subtraction=array, got 0"),
        (lambda: UniformADC(1), "adc.bits must lie in 2..16 for adc.subtraction=array, got 1: 1 bit needs"),
        (lambda: UniformADC(17), "adc.bits must lie in 2..16 for adc.subtraction=array, got 17"),
        (lambda: UniformADC(0, subtraction="digital"), "adc.bits must lie in 1..16 for adc.subtraction=digital, got 0"),
        (lambda: UniformADC(17, subtraction="digital"), "adc.bits must lie in 1..16 for adc.subtraction=digital"),
        (lambda: UniformADC(range="abs_max"), "range must be one of fitted, given, full, got 'abs_max'"),
        (lambda: UniformADC(per="row"), "per must be one of layer, tile, column, got 'row'"),
        (lambda: UniformADC(subtraction="analog"), "subtraction must be one of array, digital, got 'analog'"),
        (lambda: UniformADC(range="given"), "adc.z_max must be given for adc.range=given, and for no other"),
        (lambda: UniformADC(range="full", z_max=1.0), "adc.z_max must be given for adc.range=given, and for no other"),
        (lambda: UniformADC(range="given", z_max=-0.5), "adc.z_max must be finite and above 0, got -0.5"),
        (lambda: UniformADC(percentile=-1.0), "adc.percentile must lie above 0 and up to 100, got -1.0"),
        (lambda: UniformADC(offset_sigma_lsb=-0.1), "adc.offset_sigma_lsb must be finite and at least 0, got -0.1"),
        (lambda: UniformADC(gain_sigma=math.inf), "adc.gain_sigma must be finite and at least 0, got inf"),
        (lambda: UniformADC(output_noise_lsb=math.nan), "adc.output_noise_lsb must be finite and at least 0, got nan"),
        (lambda: Sinh(0.0), "iv.v_read_V must be finite and above 0, got 0.0: give volts"),
        (lambda: Sinh(-0.2), "iv.v_read_V must be finite and above 0, got -0.2"),
        (lambda: Sinh(v_0_V=math.inf), "iv.v_0_V must be finite and above 0, got inf"),
        (lambda: Sinh(v_0_V=math.nan), "iv.v_0_V must be finite and above 0, got nan"),
        (lambda: Sinh(8.1, 0.1), "iv.v_read_V must be at most 80 times v_0_V, got 8.1: raise iv.v_0_V"),
        (lambda: Crossbar(8, rows_active=9), "tile.rows_active must lie in 1..tile.rows, got 9"),
        (lambda: Crossbar(8, rows_active=0), "tile.rows_active must lie in 1..tile.rows, got 0"),
        (
            lambda: Crossbar(MOST_LINES + 1, fill="whole"),
            f"tile.rows must lie in 1..{MOST_LINES}, got {MOST_LINES + 1}",
        ),
        (lambda: Crossbar(8, MOST_LINES + 1), f"tile.columns must lie in 1..{MOST_LINES}, got {MOST_LINES + 1}"),
        (
            lambda: Crossbar(8, rows_active=3, arrangement="interleaved"),
            "tile.rows_active must be even for arrangement=interleaved, where a pair takes two word lines, got 3",
        ),
        (
            lambda: spec(iv=Sinh()),
            "iv needs the largest input, to which v_read_V belongs, got dac=ideal: set dac=uniform",
        ),
        (
            lambda: spec(iv=Sinh(), dac=UniformDAC(), tile=Crossbar(), wires=Segments(1.0, 1.0)),
            "iv needs wires without resistance: behind wires the voltage of a cell depends on all others, got wires=",
        ),
        (
            lambda: spec(adc=UniformADC(range="full")),
            "adc needs the largest input for range=full, got dac=ideal: set dac=uniform, or adc.range=fitted",
        ),
        (
            lambda: spec(adc=UniformADC(1, subtraction="digital")),
            "adc.bits must be at least 2 where sums may be negative, got 1: set dac=uniform dac.sign=unsigned",
        ),
        (
            lambda: spec(adc=UniformADC(1, subtraction="digital"), dac=UniformDAC()),
            "adc.bits must be at least 2 where sums may be negative, got 1",
        ),
        (
            lambda: spec(adc=UniformADC(subtraction="digital"), tile=Crossbar(arrangement="interleaved")),
            "adc.subtraction must be array where the cells of a pair share a bit line, got 'digital'",
        ),
        (
            lambda: spec(adc=UniformADC(subtraction="digital"), mapping=Offset()),
            "adc needs pairs of cells for subtraction=digital: the reference of an offset mapping is no column to read",
        ),
        (
            lambda: spec(adc=UniformADC(subtraction="digital"), mapping=Sliced("offset")),
            "adc needs pairs of cells for subtraction=digital",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(make, message):
    with pytest.raises(ValidationError) as refused:
        make()
    text = str(refused.value)
    assert text.startswith(message)
    assert "\n" not in text
    assert refused.value.remedy


@pytest.mark.parametrize(
    "parts",
    [
        {"adc": UniformADC(1, subtraction="digital"), "dac": UniformDAC(1, sign="unsigned")},
        {"adc": UniformADC(16), "dac": UniformDAC(16)},
        {"adc": UniformADC(2), "dac": UniformDAC(2, sign="signed")},
        {"iv": Sinh(8.0, 0.1), "dac": UniformDAC(), "tile": Crossbar(), "wires": Segments()},
        {"adc": UniformADC(range="full"), "dac": UniformDAC(range="abs_max"), "mapping": Sliced("offset")},
        {"adc": UniformADC(), "tile": Ideal()},
    ],
)
def test_what_fits_is_taken(parts):
    found = spec(**parts)
    assert found.converted
    assert found.wrapped
    assert found.fitted == any(getattr(part, "range", "") == "fitted" for part in (found.adc, found.dac))


def test_an_adc_draws_where_it_has_a_mismatch_or_noise():
    assert not spec(adc=UniformADC(), dac=UniformDAC()).draws
    for name in ("offset_sigma_lsb", "gain_sigma", "output_noise_lsb"):
        assert spec(adc=UniformADC(**{name: 0.1})).draws
