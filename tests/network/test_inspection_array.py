"""Facts of `inspect` on tiles, wires and converters against closed forms, and its products against those of a trial."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from rramsweep.crossbar.converters import UniformADC, UniformDAC, levels_of, quantise
from rramsweep.crossbar.current_voltage import Sinh
from rramsweep.crossbar.mapping import ConstantSum, Differential, Offset, Sliced
from rramsweep.crossbar.programming import LayerSpec
from rramsweep.crossbar.tile import Crossbar
from rramsweep.crossbar.wires import Segments
from rramsweep.devices.device import Device
from rramsweep.effects import Gaussian, WhiteReadNoise
from rramsweep.errors import ValidationError
from rramsweep.network.analog import AnalogNetwork, analog_layers
from rramsweep.network.inspection import inspect_layers, tile_drop

DEVICE, LEVELS = Device(1.0, 100.0), Device(1.0, 100.0, levels=16)
DAC, ADC = UniformDAC(bits=6), UniformADC(bits=6)
WIRES = Segments(word_line_ohm=2.0, bit_line_ohm=2.0)
CONVERTER_FACTS = ("by_dac", "by_iv", "by_adc", "lsb_over_weight_step", "dac_clip_rate", "adc_clip_rate", "adcs")
TILE_FACTS = ("tiles", "tile_use", "g_eff_mean", "g_eff_worst", "g_eff_worst_corner")


@pytest.fixture(autouse=True)
def same_draws():
    torch.manual_seed(0)


def spec(device=DEVICE, mapping=None, **parts):
    return LayerSpec(device, mapping or Differential(), **parts)


def facts_of(model, layer_spec, x, fitting=None):
    """The rows of a network on chip 0, with ranges fitted on its inputs, or on others."""
    model = nn.Sequential(model).eval()
    specs = dict.fromkeys(analog_layers(model), layer_spec)
    network = AnalogNetwork(model, specs)
    ranges = network.fit_ranges(x if fitting is None else fitting) if network.converts else {}
    rows = inspect_layers(model, specs, 0.0, x, [0], ranges)
    return rows if len(rows) > 1 else rows[0]


def relative(z, before, y):
    return float(((z - before).norm() / y.norm()).detach())


def test_what_is_ideal_has_no_facts_of_the_array():
    row = facts_of(nn.Linear(6, 4), spec(programming=Gaussian(0.03)), torch.randn(8, 6))
    assert {name: row[name] for name in (*CONVERTER_FACTS, *TILE_FACTS)} == dict.fromkeys(
        (*CONVERTER_FACTS, *TILE_FACTS)
    )
    tiled = facts_of(nn.Linear(6, 4), spec(tile=Crossbar(), dac=DAC), torch.randn(8, 6))
    known = {name for name in (*CONVERTER_FACTS, *TILE_FACTS) if tiled[name] is not None}
    assert known == {"tiles", "tile_use", "by_dac", "dac_clip_rate"}


@pytest.mark.parametrize("accumulation", ["none", "digital", "analog"])
@pytest.mark.parametrize("sign", ["signed", "unsigned"])
@pytest.mark.parametrize("layer", [nn.Linear(40, 30), nn.Conv2d(3, 4, 3)], ids=lambda layer: type(layer).__name__)
def test_a_dac_alone_adds_the_error_of_its_quantised_inputs(layer, sign, accumulation):
    x = 2 * torch.rand(20, 40) - 0.5 if isinstance(layer, nn.Linear) else 2 * torch.rand(20, 3, 6, 6) - 0.5
    dac = UniformDAC(4, "given", 1.2, sign, accumulation=accumulation)
    row = facts_of(layer, spec(dac=dac), x)
    low = 0.0 if sign == "unsigned" else -1.2
    with torch.no_grad():
        bias = layer.bias.view(-1, *[1] * (x.dim() - 2))
        y, z = layer(x) - bias, layer(quantise(x, low, 1.2, levels_of(4, sign == "signed"))) - bias
    assert row["by_dac"] == pytest.approx(relative(z, y, y), rel=1e-4)
    assert row["mvm_error"] == pytest.approx(row["by_dac"], rel=1e-4)
    # Over all inputs, of which a pass takes fewer.
    assert row["dac_clip_rate"] == pytest.approx(float(((x < low) | (x > 1.2)).double().mean()), rel=1e-9)
    assert row["adc_clip_rate"] is row["by_adc"] is row["by_iv"] is None


@pytest.mark.parametrize(
    ("tile", "reads"),
    [({}, [40]), ({"tile": Crossbar(16, 8)}, [16, 16, 8]), ({"tile": Crossbar(32, 8, rows_active=20)}, [20, 12, 8])],
    ids=["none", "tiles", "rows_active"],
)
@pytest.mark.parametrize("subtraction", ["array", "digital"])
def test_an_adc_alone_adds_the_error_of_its_quantised_sums(tile, reads, subtraction):
    layer, x = nn.Linear(40, 30, bias=False), torch.randn(20, 40)
    row = facts_of(layer, spec(adc=UniformADC(5, "given", 1.5, subtraction=subtraction), **tile), x)
    weight = layer.weight.detach()
    w_max = weight.abs().max()
    lines = [weight / w_max]
    if subtraction == "digital":  # each cell of a pair, with the g_min that both have
        lines = [(1 / 99 + (sign * weight).clamp(min=0) / w_max) * sign for sign in (1, -1)]
    z, clipped, n = torch.zeros(20, 30), 0, 0
    for line in lines:
        for part, rows in zip(x.split(reads, 1), line.split(reads, 1), strict=True):
            sums = part @ rows.T
            z += w_max * quantise(sums, -1.5, 1.5, 31)
            clipped, n = clipped + int((sums.abs() > 1.5 + 0.05).sum()), n + sums.numel()
    y = x @ weight.T
    assert row["by_adc"] == pytest.approx(relative(z, y, y), rel=1e-3)
    assert row["mvm_error"] == pytest.approx(row["by_adc"], rel=1e-3)
    # A sum counts as clipped from half an LSB outside the range on, where it is rounded to a code that is not there,
    # or from its end on.
    assert clipped / n <= row["adc_clip_rate"] <= clipped / n + 0.06
    assert row["by_dac"] is row["dac_clip_rate"] is None


def test_the_curve_of_the_cells_is_a_cause_of_its_own():
    layer, x = nn.Linear(40, 30, bias=False), torch.rand(20, 40)
    iv, dac = Sinh(0.4, 0.25), UniformDAC(8, "given", 1.0, "unsigned")
    row = facts_of(layer, spec(dac=dac, iv=iv), x)
    y = layer(x).detach()
    u = quantise(x, 0, 1, 256)
    assert row["by_iv"] == pytest.approx(relative(layer(iv.input(u)), layer(u), y), rel=1e-4)
    assert row["by_dac"] < 0.01 < row["by_iv"]


def test_squares_of_the_causes_add_up():
    layer, x = nn.Linear(256, 200), torch.randn(64, 256)
    parts = {"programming": Gaussian(0.02), "read_noise": WhiteReadNoise(0.02)}
    row = facts_of(layer, spec(tile=Crossbar(64, 64), dac=DAC, adc=ADC, **parts), x)
    causes = [row[name] for name in ("by_programming", "by_dac", "by_adc", "by_read_noise")]
    assert min(causes) > 0.01
    assert row["mvm_error"] == pytest.approx(math.sqrt(sum(cause**2 for cause in causes)), rel=0.05)


def test_mismatch_and_noise_of_adcs_are_theirs():
    layer, x = nn.Linear(64, 50), torch.randn(32, 64)
    noise = {"dac": DAC, "read_noise": WhiteReadNoise(0.02)}
    bad = UniformADC(6, offset_sigma_lsb=3.0, gain_sigma=0.1, output_noise_lsb=2.0)
    good, row = (facts_of(layer, spec(**noise, adc=adc), x) for adc in (ADC, bad))
    assert row["by_read_noise"] == pytest.approx(good["by_read_noise"], rel=1e-5)
    assert row["by_adc"] > 5 * good["by_adc"]


@pytest.mark.parametrize(
    "parts",
    [
        {"dac": DAC},
        {"dac": UniformDAC(range="abs_max")},
        {"dac": UniformDAC(accumulation="digital"), "adc": ADC},
        {"adc": UniformADC(6, per="column", percentile=99.0, subtraction="digital")},
        {"dac": DAC, "adc": UniformADC(6, "full", offset_sigma_lsb=0.5, gain_sigma=0.02, output_noise_lsb=0.3)},
        {"dac": DAC, "iv": Sinh(), "adc": ADC, "read_noise": WhiteReadNoise(0.02)},
        {"dac": DAC, "adc": ADC, "read_noise": WhiteReadNoise(0.02), "wires": WIRES},
    ],
    ids=["dac", "abs_max", "serial", "adc", "mismatch", "curve", "wires"],
)
@pytest.mark.parametrize(
    "layer", [nn.Linear(30, 20), nn.Conv2d(6, 8, 3, groups=2)], ids=lambda layer: type(layer).__name__
)
def test_the_product_is_the_one_that_a_trial_reads(layer, parts):
    x = torch.randn(16, 30) if isinstance(layer, nn.Linear) else torch.randn(16, 6, 7, 7)
    layer_spec = spec(tile=Crossbar(16, 8), programming=Gaussian(0.03), **parts)
    row, network = facts_of(layer, layer_spec, x), AnalogNetwork(nn.Sequential(layer), {"0": layer_spec})
    network.set_ranges(network.fit_ranges(x))
    with torch.inference_mode():
        bias = layer.bias.view(-1, *[1] * (x.dim() - 2))
        y, z = network.digital()(x).clone() - bias, network.chip(0)(x) - bias
    assert row["mvm_error"] == pytest.approx(relative(z, y, y), rel=1e-5)
    clipped = network.clipped["0"]
    for name, some, of in (("dac", clipped.dac, clipped.dac_all), ("adc", clipped.adc, clipped.adc_all)):
        assert row[f"{name}_clip_rate"] == (some / of if of else None)


def test_products_of_recurrent_layers_are_read_through_their_converters():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.attn = nn.GRU(6, 4, batch_first=True), nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x):
            y = self.gru(x)[0]
            return self.attn(y, y, y, need_weights=False)[0]

    rows = facts_of(Recurrent(), spec(dac=DAC, adc=ADC), torch.randn(10, 5, 6))
    assert len(rows) == 4
    for row in rows:
        assert 0.005 < row["by_dac"] < 0.2
        assert 0.005 < row["by_adc"] < 0.2
        assert row["mvm_error"] == pytest.approx(math.hypot(row["by_dac"], row["by_adc"]), rel=0.3)


def test_ranges_are_those_that_were_given():
    x = torch.randn(8, 6)
    narrow, wide = (facts_of(nn.Linear(6, 4), spec(dac=DAC), x, x * times) for times in (0.1, 1))
    assert narrow["dac_clip_rate"] > 0.5
    assert wide["dac_clip_rate"] == 0
    with pytest.raises(ValidationError, match=r"must have a range of each layer with converters, got none of 0: give "):
        inspect_layers(nn.Sequential(nn.Linear(6, 4)), {"0": spec(dac=DAC)}, 0.0, x, [0])


SLICED = Sliced(bits_per_cell=2, slices=3)


@pytest.mark.parametrize(
    ("layer", "mapping", "tile", "adc", "tiles", "cells", "adcs"),
    [
        # 3 x 1 tiles of two arrays.
        (nn.Linear(300, 70), Differential(), Crossbar(), ADC, 6, 2 * 300 * 70, 3 * 70),
        (nn.Linear(300, 70), Offset(), Crossbar(), ADC, 3, 300 * 70, 3 * 70),
        (nn.Linear(300, 70), Differential(), Crossbar(128, 32), ADC, 18, 2 * 300 * 70, 3 * 70),
        # 64 inputs a tile, both cells in it.
        (nn.Linear(300, 70), Differential(), Crossbar(arrangement="interleaved"), ADC, 5, 2 * 300 * 70, 5 * 70),
        (nn.Linear(300, 70), SLICED, Crossbar(), ADC, 18, 6 * 300 * 70, 3 * 3 * 70),
        (nn.Linear(300, 70), Differential(), Crossbar(), UniformADC(subtraction="digital"), 6, 42_000, 2 * 3 * 70),
        (nn.Linear(300, 70), SLICED, Crossbar(), UniformADC(subtraction="digital"), 18, 126_000, 2 * 3 * 3 * 70),
        # Driven in parts: more conversions, not more ADCs.
        (nn.Linear(300, 70), Differential(), Crossbar(rows_active=16), ADC, 6, 42_000, 3 * 70),
        (nn.Conv2d(20, 40, 3), Differential(), Crossbar(), ADC, 4, 2 * 180 * 40, 2 * 40),
        (nn.Conv2d(20, 40, 3, groups=4), Differential(), Crossbar(), ADC, 8, 2 * 45 * 40, 40),
        (nn.Conv2d(40, 40, 3, groups=40), Differential(), Crossbar(), ADC, 80, 2 * 9 * 40, 40),
        (nn.Conv1d(6, 8, 3), ConstantSum(), Crossbar(8, 8), ADC, 6, 2 * 18 * 8, 3 * 8),
    ],
)
def test_tiles_their_use_and_adcs_are_counted_as_they_lie(layer, mapping, tile, adc, tiles, cells, adcs):
    x = torch.randn(2, 300) if isinstance(layer, nn.Linear) else torch.randn(2, layer.in_channels, 5, 5)
    row = facts_of(layer, spec(mapping=mapping, tile=tile, adc=adc), x[..., 0] if isinstance(layer, nn.Conv1d) else x)
    assert (row["tiles"], row["adcs"]) == (tiles, adcs)
    assert row["n_cells"] == cells
    assert row["tile_use"] == pytest.approx(cells / (tiles * tile.rows * tile.columns))


def test_adcs_without_tiles_are_one_for_each_output():
    row = facts_of(nn.Linear(300, 70), spec(adc=UniformADC(subtraction="digital")), torch.randn(2, 300))
    assert (row["adcs"], row["tiles"], row["tile_use"]) == (140, None, None)


def uniform_layer(outputs=24, inputs=24):
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.ones_(layer.weight)
    return layer


@pytest.mark.parametrize(
    ("tile", "wires", "corner"),
    [
        (Crossbar(64, 64), Segments(1.0, 1.0), "far from driver and sense"),
        (Crossbar(24, 24, arrangement="interleaved"), Segments(1.0, 1.0), "far from driver and sense"),
        # Tiles of a cut layer.
        (Crossbar(10, 7), Segments(1.0, 1.0), "far from driver and sense"),
        (Crossbar(64, 64), Segments(1.0, 0.0, sense_ohm=1.0), "far from driver and sense"),
        # The columns in the middle are the farthest from two drivers.
        (Crossbar(64, 64), Segments(5.0, 1.0, drive="both"), "far from driver and sense"),
        (Crossbar(64, 64), Segments(0.0, 1.0), "near driver, far from sense"),
        # Used cells lie next to both in a larger tile.
        (Crossbar(64, 64, fill="whole"), Segments(1.0, 1.0), "near driver and sense"),
        (Crossbar(64, 24, fill="whole"), Segments(1.0, 1.0), "far from driver, near sense"),
    ],
)
def test_the_worst_cell_of_a_uniform_tile_is_the_one_that_the_circuit_says(tile, wires, corner):
    layer_spec, layer = spec(tile=tile, wires=wires), uniform_layer()
    row = facts_of(layer, layer_spec, torch.randn(4, 24))
    assert row["g_eff_worst_corner"] == corner
    model = nn.Sequential(layer)
    drops = torch.cat([t.flatten() for cell in "pn" for t in tile_drop(model, layer_spec, "0", 0.0, 0, cell)])
    assert row["g_eff_worst"] == pytest.approx(1 - float(drops.max()), rel=1e-6)
    assert row["g_eff_mean"] == pytest.approx(1 - float(drops.mean()), rel=1e-6)


@pytest.mark.parametrize(
    ("groups", "output", "corner"),
    [
        (1, 31, "far from driver and sense"),
        (4, 31, "far from driver and sense"),
        (4, 24, "near driver, far from sense"),
        (1, 0, "near driver, far from sense"),
    ],
)
def test_the_worst_cell_is_found_in_its_tile_and_group(groups, output, corner):
    layer = nn.Conv1d(32, 32, 1, groups=groups, bias=False)
    nn.init.constant_(layer.weight, 0.001)
    with torch.no_grad():
        layer.weight[output] = 1.0  # the one bit line with much current
    row = facts_of(layer, spec(tile=Crossbar(32, 32), wires=Segments(0.1, 5.0)), torch.randn(4, 32, 5))
    assert row["g_eff_worst_corner"] == corner


def test_cells_that_do_not_conduct_have_no_share():
    device = Device(0.0, 100.0)
    row = facts_of(uniform_layer(), spec(device, tile=Crossbar(), wires=WIRES), torch.randn(4, 24))
    alone = facts_of(uniform_layer(), spec(tile=Crossbar(), wires=WIRES), torch.randn(4, 24))
    assert row["g_eff_worst"] == pytest.approx(alone["g_eff_worst"], rel=1e-3)  # that of p; n rests at 0 uS
    zeros = uniform_layer()
    nn.init.zeros_(zeros.weight)
    row = facts_of(zeros, spec(device, tile=Crossbar(), wires=WIRES), torch.randn(4, 24))
    assert row["g_eff_mean"] is row["g_eff_worst"] is row["g_eff_worst_corner"] is None


UNSIGNED = UniformDAC(sign="unsigned")


@pytest.mark.parametrize(
    ("parts", "ratio"),
    [
        # 64 rows at full input over 31 codes of either sign; a step is 1/15 of a full cell.
        ({"dac": DAC, "adc": UniformADC(6, "full")}, 64 / 31 * 15),
        ({"dac": DAC, "adc": UniformADC(8, "full")}, 64 / 127 * 15),
        ({"dac": DAC, "adc": UniformADC(6, "full"), "mapping": ConstantSum()}, 64 / 31 * 15),
        # One cell a weight: a level is two of fifteen steps from -1 to 1.
        ({"dac": DAC, "adc": UniformADC(6, "full"), "mapping": Offset()}, 64 / 31 * 15 / 2),
        ({"dac": DAC, "adc": UniformADC(6, "full"), "mapping": Sliced(bits_per_cell=4, slices=2)}, 64 / 31 * 15),
        # Each cell of a pair by itself, from 0 to g_max.
        ({"dac": UNSIGNED, "adc": UniformADC(6, "full", subtraction="digital")}, 64 * 100 / 99 / 63 * 15),
        ({"dac": DAC, "adc": UniformADC(6, "full"), "rows_active": 16}, 16 / 31 * 15),
        # 64 and 36 rows.
        ({"dac": DAC, "adc": UniformADC(6, "full", per="tile")}, (64 + 36) / 2 / 31 * 15),
        ({"adc": UniformADC(6, "given", 3.1)}, 3.1 / 31 * 15),
        ({"dac": DAC, "adc": UniformADC(6, "full"), "device": DEVICE}, None),
        ({"dac": DAC, "adc": UniformADC(6, "full"), "device": Device(1.0, 100.0, step_uS=9.9)}, 64 / 31 * 10),
    ],
)
def test_the_lsb_is_told_in_steps_of_the_weight(parts, ratio):
    tile = Crossbar(64, 32, rows_active=parts.pop("rows_active", None))
    row = facts_of(nn.Linear(100, 50), spec(**{"device": LEVELS, "tile": tile} | parts), torch.rand(4, 100))
    assert row["lsb_over_weight_step"] == (None if ratio is None else pytest.approx(ratio, rel=1e-5))
