"""What a chip's array draws and the parts that it has, against sums over cells, pulses and tiles by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from rramsweep.crossbar import (
    ConstantSum,
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
from rramsweep.crossbar.cell_facts import tile_facts
from rramsweep.devices.device import Device
from rramsweep.effects import Gaussian, ThermalShotNoise, WhiteReadNoise
from rramsweep.network.analog import AnalogNetwork
from rramsweep.network.hardware import count_parts
from tests.network.tiled_reference import patches, programmed

DEVICE = Device(1.0, 100.0)
DAC = UniformDAC(bits=4, range="given", x_max=2.0)
LAYERS = {
    "linear": (nn.Linear(11, 5), (6, 11)),
    "convolution": (nn.Conv2d(3, 4, 3, stride=2, padding=1), (2, 3, 7, 7)),
    "groups": (nn.Conv2d(4, 6, 3, groups=2), (2, 4, 5, 5)),
    "transposed": (nn.ConvTranspose2d(2, 3, 3, stride=2), (2, 2, 4, 4)),
    "reflected": (nn.Conv1d(2, 3, 3, padding=1, padding_mode="reflect"), (3, 2, 8)),
}
MAPPINGS = {
    "differential": Differential(),
    "constant_sum": ConstantSum(),
    "offset": Offset(),
    "sliced": Sliced(bits_per_cell=2, slices=3),
    "sliced offset": Sliced(base="offset", bits_per_cell=1, slices=4),
    "copies": Differential(copies=3),
}


def spec(**parts):
    return LayerSpec(**{"device": DEVICE, "mapping": Differential(), "programming": Gaussian(alpha_ind=0.05), **parts})


def drawn(module, layer_spec, x, seed=3):
    """`array_uS` of a network of one layer."""
    network = AnalogNetwork(nn.Sequential(module).eval(), {"0": layer_spec})
    network.set_ranges(network.fit_ranges(x if network.fits_ranges else None))
    network.chip(seed)
    return network.array_uS([x[:1], x[1:]])


def inputs(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def codes(x, top, signed=True, x_max=2.0):
    low = -1.0 if signed else 0.0
    return np.rint(np.clip(np.asarray(x, dtype=np.float64) / x_max, low, 1.0) * top)


def by_hand(module, layer_spec, x, squares):
    """Sum of G u^2 over cells and vectors for one input, `squares` from patches (vectors, groups, inputs)."""
    layer = programmed(module, layer_spec, 3)
    groups = getattr(module, "groups", 1)
    on_line = sum(np.asarray(g.double().flatten(1)) for g in layer.g_uS.values())
    on_line = on_line.reshape(groups, -1, on_line.shape[1]).sum(1)
    return float((squares(patches(module, x)) * on_line).sum() / len(x))


@pytest.mark.parametrize("mapping", MAPPINGS.values(), ids=MAPPINGS)
@pytest.mark.parametrize("layer", ["linear", "convolution"])
def test_every_cell_of_a_mapping_draws(layer, mapping):
    module, shape = LAYERS[layer]
    layer_spec, x = spec(mapping=mapping, dac=DAC), inputs(*shape)
    due = by_hand(module, layer_spec, x, lambda v: (codes(v, 7) / 7) ** 2)
    assert drawn(module, layer_spec, x) == pytest.approx(due, rel=1e-5)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("adc", [Ideal(), UniformADC(bits=6, range="full")], ids=["ideal", "adc"])
def test_every_kind_of_layer_draws_what_its_vectors_do(layer, adc):
    module, shape = LAYERS[layer]
    layer_spec, x = spec(dac=DAC, adc=adc, tile=Crossbar(8, 3, rows_active=4)), inputs(*shape)
    due = by_hand(module, layer_spec, x, lambda v: (codes(v, 7) / 7) ** 2)
    assert drawn(module, layer_spec, x) == pytest.approx(due, rel=1e-5)


@pytest.mark.parametrize("accumulation", ["digital", "analog"])
@pytest.mark.parametrize("sign", ["signed", "unsigned"])
def test_bits_are_pulses_of_full_height(accumulation, sign):
    module, shape = LAYERS["convolution"]
    x = inputs(*shape) if sign == "signed" else inputs(*shape).abs()
    layer_spec = spec(dac=replace(DAC, accumulation=accumulation, sign=sign))
    ones = np.vectorize(lambda code: int(abs(code)).bit_count())
    top = 7 if sign == "signed" else 15
    due = by_hand(module, layer_spec, x, lambda v: ones(codes(v, top, sign == "signed")))
    assert drawn(module, layer_spec, x) == pytest.approx(due, rel=1e-5)


def test_each_vector_has_its_own_full_input_under_abs_max():
    module, shape = LAYERS["linear"]
    layer_spec, x = spec(dac=UniformDAC(bits=4, range="abs_max")), inputs(*shape)
    due = by_hand(module, layer_spec, x, lambda v: (codes(v / v.abs().amax(-1, keepdim=True), 7, x_max=1.0) / 7) ** 2)
    assert drawn(module, layer_spec, x) == pytest.approx(due, rel=1e-5)


def test_a_curve_of_the_cells_lowers_the_current_of_small_inputs():
    module, shape = LAYERS["linear"]
    layer_spec, x = spec(dac=DAC, iv=Sinh(v_read_V=0.5, v_0_V=0.25)), inputs(*shape)

    def squares(v):
        u = codes(v, 7) / 7
        return u * np.sinh(2 * u) / np.sinh(2)

    due = by_hand(module, layer_spec, x, squares)
    assert drawn(module, layer_spec, x) == pytest.approx(due, rel=1e-5)


@pytest.mark.parametrize("arrangement", ["separate", "interleaved"])
@pytest.mark.parametrize("layer", ["linear", "groups"])
def test_under_wires_the_drivers_sum_v_i_counts(layer, arrangement):
    module, shape = LAYERS[layer]
    tile, wires = Crossbar(8, 3, arrangement=arrangement), Segments(50.0, 80.0, 200.0)
    layer_spec = spec(dac=DAC, tile=tile, wires=wires)
    x = inputs(*shape)[:1]
    layer, vectors = programmed(module, layer_spec, 3), patches(module, x)[:9]
    u = torch.tensor(codes(vectors, 7) / 7)
    due = float(tile.power_uS(layer.g_uS, wires, 1.0, u, getattr(module, "groups", 1)).sum())
    network = AnalogNetwork(nn.Sequential(module).eval(), {"0": layer_spec})
    network.set_ranges(network.fit_ranges(None))
    network.chip(3)
    found = network.array_uS([x])
    ideal = drawn(module, replace(layer_spec, wires=Ideal()), torch.cat([x, x]))
    if len(patches(module, x)) <= 16:  # all vectors are solved
        assert found == pytest.approx(due, rel=1e-5)
    assert found < 0.99 * ideal


def test_measuring_changes_no_score_and_no_read():
    module, shape = LAYERS["linear"]
    layer_spec = spec(
        dac=DAC, adc=UniformADC(bits=6, range="full", offset_sigma_lsb=1), read_noise=WhiteReadNoise(0.05)
    )
    x, answers = inputs(*shape), []
    for measured in (False, True):
        network = AnalogNetwork(nn.Sequential(module).eval(), {"0": layer_spec})
        network.set_ranges(network.fit_ranges(None))
        answers.append(network.chip(3)(x))
        if measured:
            assert network.array_uS([x]) > 0
        answers[-1] = torch.cat([answers[-1], network.chip(4)(x)])
    assert torch.equal(*answers)


def test_steps_of_a_recurrent_layer_are_vectors_of_their_own():
    """Each of 5 steps drives the input weights, and all steps but the first the recurrent ones."""

    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.RNN(3, 4, batch_first=True)

        def forward(self, x):
            return self.rnn(x)[0][:, -1]

    torch.manual_seed(0)
    model, layer_spec, x = Last().eval(), spec(dac=replace(DAC, x_max=4.0)), inputs(2, 5, 3)
    names = ["rnn.weight_ih_l0", "rnn.weight_hh_l0"]
    network = AnalogNetwork(model, dict.fromkeys(names, layer_spec))
    network.set_ranges(network.fit_ranges(None))
    network.chip(0)
    both = network.array_uS([x])
    first = AnalogNetwork(model, {names[0]: layer_spec})
    first.set_ranges(first.fit_ranges(None))
    first.chip(0)
    layer = first._cells.layer(names[0], 0, 0.0)
    on_line = sum(np.asarray(g.double()) for g in layer.g_uS.values()).sum(0)
    due = float(((codes(x, 7, x_max=4.0) / 7) ** 2 * on_line).sum() / 2)
    assert first.array_uS([x]) == pytest.approx(due, rel=1e-5)
    assert both > due
    counts = count_parts(model, dict.fromkeys(names, layer_spec), x[:1])
    assert [layer.vectors for layer in counts.layers] == [5, 5]


def test_without_a_dac_there_is_no_voltage():
    module, shape = LAYERS["linear"]
    assert drawn(module, spec(adc=UniformADC(range="given", z_max=1.0)), inputs(*shape)) is None
    assert drawn(module, spec(), inputs(*shape)) is None


# --- counts

CIRCUITS = {
    "one array": {},
    "tiles": {"tile": Crossbar(8, 3)},
    "parts of rows": {"tile": Crossbar(8, 3, rows_active=3)},
    "interleaved": {"tile": Crossbar(8, 3, arrangement="interleaved")},
    "digital subtraction": {"tile": Crossbar(8, 3), "adc": UniformADC(bits=6, range="full", subtraction="digital")},
    "slices": {"tile": Crossbar(8, 3), "mapping": Sliced(bits_per_cell=2, slices=3)},
    "copies": {"tile": Crossbar(8, 3), "mapping": Offset(copies=4)},
}


@pytest.mark.parametrize("layer", ["linear", "convolution", "groups", "transposed"])
@pytest.mark.parametrize("parts", CIRCUITS.values(), ids=CIRCUITS)
def test_adcs_and_cells_are_those_that_inspect_counts(layer, parts):
    module, shape = LAYERS[layer]
    layer_spec = spec(**{"dac": DAC, "adc": UniformADC(bits=6, range="full"), **parts})
    (found,) = count_parts(nn.Sequential(module), {"0": layer_spec}, inputs(*shape)[:1]).layers
    layer = programmed(module, layer_spec, 0)
    assert sum(columns * count for columns, count in found.bit_lines) == tile_facts(layer)["adcs"]
    assert found.cells == sum(g.numel() for g in layer.g_uS.values())
    assert found.vectors == len(patches(module, inputs(*shape)[:1]))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({}, {"drivers": 22, "reads": 1, "converted": 5, "pulses": 1, "dac_bits": 4}),
        # 2 tiles of rows by 2 of columns, of each of two arrays
        ({"tile": Crossbar(8, 3)}, {"drivers": 44, "reads": 1, "converted": 10}),
        # 8 rows in parts of 3, 3 and 2, then 3 rows
        ({"tile": Crossbar(8, 3, rows_active=3)}, {"drivers": 44, "reads": 3, "converted": 20}),
        ({"mapping": Offset()}, {"drivers": 11, "converted": 5}),
        ({"mapping": Differential(copies=3)}, {"drivers": 66, "converted": 5}),
        ({"mapping": Sliced(bits_per_cell=2, slices=3)}, {"drivers": 66, "converted": 15}),
        ({"adc": UniformADC(bits=6, range="full", subtraction="digital")}, {"converted": 10}),
        ({"dac": replace(DAC, accumulation="digital")}, {"pulses": 3, "converted": 15, "dac_bits": 1}),
        ({"dac": replace(DAC, accumulation="analog")}, {"pulses": 3, "converted": 5, "dac_bits": 1}),
        ({"dac": replace(DAC, accumulation="digital", sign="unsigned")}, {"pulses": 4, "converted": 20}),
        ({"dac": Ideal(), "adc": UniformADC(range="given", z_max=1.0)}, {"dac_bits": None, "pulses": 1}),
        ({"adc": Ideal()}, {"adc_bits": None}),
    ],
)
def test_counts_by_hand(parts, expected):
    """11 inputs and 5 outputs."""
    layer_spec = spec(**{"dac": DAC, "adc": UniformADC(bits=6, range="full"), **parts})
    (found,) = count_parts(nn.Sequential(nn.Linear(11, 5)), {"0": layer_spec}, inputs(1, 11)).layers
    assert {name: getattr(found, name) for name in expected} == expected


def test_tied_layers_digital_layers_and_voltages_of_laws():
    first, second, last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 4)
    second.weight = first.weight
    noisy = spec(dac=DAC, read_noise=ThermalShotNoise(v_read_V=0.3))
    found = count_parts(nn.Sequential(first, second, last), {"0": noisy, "1": spec(dac=DAC)}, inputs(1, 6))
    assert [layer.shared for layer in found.layers] == [False, True]
    assert found.digital_macs == 24
    assert found.voltages_V == [0.3]
