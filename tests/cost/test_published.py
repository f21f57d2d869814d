"""Costs against the numbers that their sources print, and against sums by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import yaml

from rramsweep.cli.catalog import conf_dir, read_yaml
from rramsweep.construct import build
from rramsweep.cost import KIND, Interval, LayerCounts, NetworkCounts, Published, adc_fit
from rramsweep.errors import ValidationError

NODE = read_yaml(conf_dir() / "cost" / "published.yaml")
ISAAC = {"samples_per_s": 1.2e9, "columns_per_adc": 128}
# One in-situ multiply-accumulate unit of ISAAC for one bit of its inputs: 8 crossbars of 128 x 128 with an ADC each.
IMA = LayerCounts(
    layer="ima",
    vectors=1,
    cells=8 * 128 * 128,
    drivers=8 * 128,
    dac_bits=1,
    pulses=1,
    adc_bits=8,
    reads=1,
    conversions=1,
    bit_lines=[(128, 8)],
    converted=8 * 128,
)
CYCLE_S = 128 / 1.2e9


def published(**changes):
    return build({**NODE, **changes}, "cost", KIND)


@pytest.mark.parametrize(("nm", "energy"), [(32, 1.71), (130, 23.9)])
def test_the_adc_fit_gives_the_printed_energies(nm, energy):
    assert adc_fit.energy_pJ(8, nm, 1e7) == pytest.approx(energy, rel=3e-3)


def test_the_adc_fit_gives_the_printed_area():
    assert adc_fit.area_um2(8, 32, 1e7) == pytest.approx(2598, rel=1e-3)


def test_the_adc_fit_depends_on_the_rate_only_where_speed_is_the_limit():
    assert adc_fit.energy_pJ(8, 32, 1e6) == adc_fit.energy_pJ(8, 32, 1e7)
    # 2.8719 ln(10) dB more for ten times the rate.
    ratio = adc_fit.energy_pJ(12, 32, 1e10) / adc_fit.energy_pJ(12, 32, 1e9)
    assert ratio == pytest.approx(10 ** (0.28719 * math.log(10)), rel=1e-9)


@pytest.mark.parametrize(
    ("bits", "low", "high"),
    [(4, 0.104, 0.924), (5, 0.208, 0.99), (8, 1.667, 1.714), (10, 2.38, 6.67)],
)
def test_a_conversion_ranges_over_the_sources_of_its_bits(bits, low, high):
    """Four bits: 0.10 pJ of ISAAC's ADC by 2^bits, FORMS 0.226, ISAAC's table 0.79, the fit 0.92."""
    found = published(samples_per_s=1e7).conversion_pJ(bits)
    assert (found.low, found.high) == pytest.approx((low, high), rel=3e-3)


@pytest.mark.parametrize("bits", range(4, 11))
def test_isaacs_table_lies_inside_every_interval(bits):
    table = dict(zip(range(4, 11), [0.79, 0.99, 1.20, 1.42, 1.667, 1.97, 2.38], strict=True))
    found = published().conversion_pJ(bits)
    assert found.low <= table[bits] <= found.high
    area = published().adc_um2(bits)
    assert area.low < area.high


def test_isaacs_own_sums():
    """16 mW of ADCs, 4 mW of DACs and 0.2 mW of shift-adds over the 107 ns of a bit; 0.0096 and 0.00017 mm2."""
    cost = published(**ISAAC)
    parts = published(**ISAAC, t_read_s=CYCLE_S).parts_pJ(NetworkCounts([IMA]))
    assert parts["adc"].low == pytest.approx(16e-3 * CYCLE_S * 1e12, rel=1e-3)
    assert (parts["dac"].low, parts["dac"].high) == pytest.approx([4e-3 * CYCLE_S * 1e12] * 2, rel=1e-3)
    assert parts["shift_add"].high == pytest.approx(0.2e-3 * CYCLE_S * 1e12, rel=0.01)
    assert cost.adcs(IMA) * cost.adc_um2(8).low == pytest.approx(9600)
    assert IMA.drivers * cost.dac_um2 == pytest.approx(170, rel=0.01)
    chip = cost.chip_cost(NetworkCounts([IMA]))
    assert chip.latency_us.low == pytest.approx(CYCLE_S * 1e6)
    assert chip.latency_us.high == pytest.approx((CYCLE_S + 1e-8) * 1e6)
    assert chip.area_um2.low == pytest.approx(9600 + 1024 * 0.166 + 4 * 0.032**2 * 8 * 128 * 128)


def test_energy_by_hand():
    """Three pulses of 1 mS at 0.5 V over 1 us are 750 pJ; extra MACs at 0.1 to 2 pJ."""
    cost = published(t_read_s=1e-6, v_read_V=0.5, technology_nm=45, mac_int8_pJ=0.1, mac_float32_pJ=2.0)
    counts = NetworkCounts([IMA], digital_macs=1000)
    chip = cost.chip_cost(counts)
    without = sum(part.low for part in cost.parts_pJ(counts).values())
    found = chip.energy_pJ(array_uS=3000.0, extra_macs=500)
    assert found.low == pytest.approx(750 + without + 50)
    assert cost.parts_pJ(counts)["digital_macs"] == Interval(pytest.approx(100), pytest.approx(2000))
    assert found.middle == pytest.approx(math.sqrt(found.low * found.high))
    assert found.low < found.middle < found.high


@pytest.mark.parametrize(
    ("changes", "pulses_s", "conversions"),
    [
        ({"pulses": 7, "conversions": 7}, 1e-8, 7),  # converted at each bit
        ({"pulses": 7, "conversions": 1}, 7e-8, 1),  # once for all bits
        ({"reads": 4}, 1e-8, 4),  # a quarter of the rows at a time
        ({"vectors": 100}, 1e-8, 100),  # positions of a convolution
    ],
)
def test_latency_by_hand(changes, pulses_s, conversions):
    chip = published(**ISAAC).chip_cost(NetworkCounts([replace(IMA, **changes)]))
    assert chip.latency_us.low == pytest.approx(max(CYCLE_S, pulses_s) * conversions * 1e6)
    assert chip.latency_us.high == pytest.approx((CYCLE_S + pulses_s) * conversions * 1e6)


@pytest.mark.parametrize(("columns_per_adc", "adcs"), [(1, 2 * 128 + 3 * 44), (8, 2 * 16 + 3 * 6), (1000, 5)])
def test_adcs_are_shared_within_an_array(columns_per_adc, adcs):
    layer = replace(IMA, bit_lines=[(128, 2), (44, 3)])
    assert published(columns_per_adc=columns_per_adc).adcs(layer) == adcs


def test_tied_layers_have_one_set_of_cells_and_work_of_their_own():
    twice = published().chip_cost(NetworkCounts([IMA, replace(IMA, layer="tied", cells=0, shared=True)]))
    once = published().chip_cost(NetworkCounts([IMA]))
    assert twice.area_um2 == once.area_um2
    assert twice.latency_us.low == pytest.approx(2 * once.latency_us.low)


def test_constants_are_carried_to_another_technology_by_the_fit():
    assert published(technology_nm=64).dac_pulse_pJ(1).high == pytest.approx(0.417 * 2**1.880037)
    assert published(technology_nm=130).shift_add_pJ().low == pytest.approx(0.1), "NeuRRAM's own"


def test_a_layer_without_a_converter_has_no_cost():
    for part in ("dac_bits", "adc_bits"):
        counts = NetworkCounts([IMA, replace(IMA, layer="fc", **{part: None})])
        assert published().chip_cost(counts) is None
        assert counts.incomplete == ["fc"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples_per_s": 2e10}, r"cost.samples_per_s must lie above 0 and up to 1e10, .*, got 20000000000.0"),
        ({"samples_per_s": 0}, r"cost.samples_per_s must be finite and above 0, got 0"),
        ({"t_read_s": -1e-9}, r"cost.t_read_s must be finite and above 0, got -1e-09"),
        ({"columns_per_adc": 0}, r"cost.columns_per_adc must be finite and above 0, got 0"),
        ({"columns_per_adc": 2.5}, r"cost.columns_per_adc must be int, got 2.5"),
        ({"technology_nm": math.inf}, r"cost.technology_nm must be finite"),
        ({"isaac_adc_pJ": [1.0]}, r"cost.isaac_adc_pJ must have as many entries as isaac_adc_um2, .*, got 1 and 7"),
        ({"isaac_adc_pJ": [0.0] * 7}, r"cost.isaac_adc_pJ must be finite and above 0, got 0"),
        ({"cell_high_F2": 1}, r"cost.cell_high_F2 must be at least cost.cell_low_F2, got 1"),
        ({"t_reed_s": 1}, r"cost.t_reed_s is not a parameter of cost: did you mean t_read_s"),
        ({"_target_": "rramsweep.cost.LayerCounts"}, r"cost._target_ must be a target of rramsweep.cost"),
    ],
)
def test_bad_constants_are_refused_in_one_line(changes, message):
    with pytest.raises(ValidationError, match=message) as error:
        published(**changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("bits", [2, 3])
def test_an_adc_below_the_fit_is_refused(bits):
    with pytest.raises(ValidationError, match=rf"adc.bits must be at least 4 for cost=published, .*, got {bits}"):
        published().check(NetworkCounts([replace(IMA, adc_bits=bits)]))


def test_the_voltage_is_that_of_the_points_laws():
    published(v_read_V=0.3).check(NetworkCounts([IMA], voltages_V=[0.3]))
    with pytest.raises(ValidationError, match=r"cost.v_read_V must be the v_read_V of iv and read_noise, 0.3, got 0.2"):
        published().check(NetworkCounts([IMA], voltages_V=[0.3]))


def test_counts_go_through_a_plan_and_damaged_ones_are_refused():
    counts = NetworkCounts([IMA, replace(IMA, dac_bits=None)], 12, [0.2])
    assert NetworkCounts.read(yaml.safe_load(yaml.safe_dump(counts.document()))).document() == counts.document()
    wrong = {**counts.document(), "layers": [{**counts.document()["layers"][0], "vectors": "many"}]}
    for damaged in ({}, {"layers": [{}], "digital_macs": 0}, {"layers": 3}, wrong):
        with pytest.raises(ValidationError, match="counts must be counts of layers"):
            NetworkCounts.read(damaged)


def test_every_constant_has_its_source_in_the_yaml():
    lines = (conf_dir() / "cost" / "published.yaml").read_text().splitlines()
    for line in lines[5:]:
        choice = line.startswith("technology_nm")
        assert choice or any(f"[{tag}]" in line for tag in ("R2", "M", "D")), line
    assert all(
        licence in "\n".join(lines[1:3])
        for licence in ("hwcomponents-adc (MIT)", "hwcomponents-library (MIT)", "BSD-3")
    )
    assert isinstance(published(), Published)


@pytest.mark.parametrize(
    ("t_read_s", "low", "high"), [(1.067e-8, 0.0417, 0.417), (1.067e-7, 0.417, 0.417), (1.067e-6, 0.417, 4.17)]
)
def test_a_drive_takes_its_published_energy_or_goes_with_its_duration(t_read_s, low, high):
    cost = published(t_read_s=t_read_s)
    assert (cost.dac_pulse_pJ(1).low, cost.dac_pulse_pJ(1).high) == pytest.approx((low, high))
    assert (cost.dac_pulse_pJ(8).low, cost.dac_pulse_pJ(8).high) == pytest.approx((low, 8 * high))


@pytest.mark.parametrize("nm", [2, 500])
def test_a_technology_outside_the_fitted_ones_is_refused(nm):
    with pytest.raises(ValidationError, match=r"cost.technology_nm must lie in 7..350 nm.*got"):
        published(technology_nm=nm)
