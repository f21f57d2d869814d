"""The read of a layer through converters against loops in float64, layer by layer and for every kind of layer.

Sums in single precision round otherwise than the reference: at most 1e-4 of the codes differ, each by one step. Where
sums are whole numbers every code is equal, ties included.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import transformers
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
from rramsweep.crossbar.converters import quantise
from rramsweep.devices.device import Device
from rramsweep.devices.streams import Stream
from rramsweep.effects import Gaussian, WhiteReadNoise
from rramsweep.network.analog import AnalogNetwork, analog_layers
from rramsweep.network.arrays import find_arrays
from rramsweep.network.batch_norm import find_folds
from rramsweep.network.products import Direct, Patches, product
from rramsweep.network.tiled_read import Ranges, TiledRead
from tests.laws import SIGMAS, moments_match
from tests.network import test_architectures as architectures
from tests.network.tiled_reference import by_vector, patches, programmed, read

DEVICE = Device(1.0, 100.0)
DIGITAL_DEVICE = Device(0.0, 100.0)
CODES_THAT_DIFFER = 1e-4


def spec(**parts):
    # Cells that an edge confines have sums that are exact ties, which single precision rounds either way.
    device = DEVICE if "wires" in parts else replace(DEVICE, edge="none")
    return LayerSpec(**{"device": device, "mapping": Differential(), **parts})


def chip_of(module, layer_spec, fit, seed=3):
    analog = AnalogNetwork(nn.Sequential(module).eval(), {"0": layer_spec})
    ranges = analog.fit_ranges(fit)
    analog.set_ranges(ranges)
    return analog, analog.chip(seed), ranges["0"]


def check(module, found, expected):
    """Outputs of a layer are the reference's but for at most 1e-4 of the codes, which are off by one step."""
    bias = 0.0 if module.bias is None else module.bias.detach().double()
    off = (by_vector(module, found) - bias - expected.y).abs()
    assert off.shape == expected.y.shape
    flipped = off > (0.2 * expected.step).clamp(min=expected.rounding)
    # A few at least: inputs of few bits drive the same rows at several places.
    assert flipped.sum() <= max(4, CODES_THAT_DIFFER * max(expected.conversions, off.numel()))
    assert (off <= 1.01 * expected.largest_step + expected.rounding).all()


def inputs(*shape, positive=False, seed=1):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return x.abs() if positive else x


class Padded(nn.Conv2d):
    """Pads by itself."""

    def forward(self, x):
        return super().forward(nn.functional.pad(x, (1, 2, 0, 1)))


LAYERS = {
    "linear": (lambda: nn.Linear(50, 12), (64, 50)),
    "linear of one output": (lambda: nn.Linear(21, 1, bias=False), (64, 21)),
    "sequence": (lambda: nn.Linear(37, 9), (8, 5, 37)),
    "conv1d": (lambda: nn.Conv1d(6, 8, 5, stride=2, padding=2, dilation=2), (4, 6, 23)),
    "conv1d same": (lambda: nn.Conv1d(5, 6, 4, padding="same"), (4, 5, 12)),
    "conv2d": (lambda: nn.Conv2d(5, 8, (3, 4), stride=(2, 1), padding=(1, 2), bias=False), (2, 5, 9, 8)),
    "conv2d of one tap": (lambda: nn.Conv2d(40, 8, 1, stride=2), (3, 40, 6, 6)),
    "conv2d dilated": (lambda: nn.Conv2d(4, 6, 3, dilation=2, padding="same"), (2, 4, 7, 7)),
    "conv2d grouped": (lambda: nn.Conv2d(8, 12, 3, groups=2, padding=1), (2, 8, 6, 6)),
    "conv2d depthwise": (lambda: nn.Conv2d(6, 12, 5, groups=6, padding=2), (3, 6, 7, 7)),
    "conv2d reflected": (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (2, 4, 6, 6)),
    "conv2d grouped circular": (
        lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2, stride=2, padding_mode="circular"),
        (3, 4, 7, 7),
    ),
    "conv3d": (lambda: nn.Conv3d(2, 5, (2, 3, 3), stride=(1, 2, 1), padding=1), (2, 2, 4, 5, 5)),
    "conv3d depthwise": (lambda: nn.Conv3d(3, 3, (3, 3, 2), groups=3), (2, 3, 5, 5, 4)),
    "transposed 1d": (
        lambda: nn.ConvTranspose1d(6, 5, 4, stride=3, padding=1, output_padding=2, dilation=1),
        (6, 6, 9),
    ),
    "transposed 2d": (
        lambda: nn.ConvTranspose2d(6, 8, 3, stride=2, padding=1, dilation=2, groups=2, bias=False),
        (2, 6, 5, 4),
    ),
    "transposed 3d": (lambda: nn.ConvTranspose3d(4, 6, 2, stride=(1, 2, 1), groups=2), (2, 4, 3, 3, 3)),
}

NOISY = Gaussian(0.02)
SEPARATE = Crossbar(16, 5)
PARTS = {
    "adc alone": {"tile": SEPARATE, "adc": UniformADC(7)},
    "adc without tiles": {"adc": UniformADC(6)},
    "dac alone": {"dac": UniformDAC(6)},
    "both": {"tile": SEPARATE, "dac": UniformDAC(6), "adc": UniformADC(8)},
    "per tile, percentile": {
        "tile": SEPARATE,
        "dac": UniformDAC(6, percentile=98.0),
        "adc": UniformADC(6, per="tile", percentile=95.0),
    },
    "per column": {"tile": Crossbar(20, 3), "dac": UniformDAC(5), "adc": UniformADC(8, per="column")},
    "full": {"tile": Crossbar(16, 4), "dac": UniformDAC(8), "adc": UniformADC(8, range="full", per="tile")},
    "given": {
        "tile": Crossbar(13, 4),
        "dac": UniformDAC(7, range="given", x_max=1.7),
        "adc": UniformADC(7, range="given", z_max=2.1),
    },
    "few rows at once": {
        "tile": Crossbar(16, 4, rows_active=6),
        "dac": UniformDAC(6),
        "adc": UniformADC(7, per="tile"),
    },
    "digital": {"tile": SEPARATE, "dac": UniformDAC(6), "adc": UniformADC(8, subtraction="digital")},
    "digital per column": {"tile": SEPARATE, "adc": UniformADC(7, subtraction="digital", per="column")},
    "interleaved": {
        "tile": Crossbar(16, 4, arrangement="interleaved", rows_active=6),
        "dac": UniformDAC(6),
        "adc": UniformADC(7),
    },
    "per vector": {"tile": SEPARATE, "dac": UniformDAC(6, range="abs_max"), "adc": UniformADC(8)},
    "bit-serial": {"tile": SEPARATE, "dac": UniformDAC(5, accumulation="digital"), "adc": UniformADC(6)},
    "bits added on the line": {"tile": SEPARATE, "dac": UniformDAC(5, accumulation="analog"), "adc": UniformADC(7)},
    "offset": {"mapping": Offset(), "tile": SEPARATE, "dac": UniformDAC(6), "adc": UniformADC(7)},
    "per channel": {
        "mapping": ConstantSum("per_channel"),
        "tile": SEPARATE,
        "dac": UniformDAC(6),
        "adc": UniformADC(7, per="tile"),
    },
    "slices": {
        "mapping": Sliced("differential", 2, 3),
        "tile": SEPARATE,
        "dac": UniformDAC(6),
        "adc": UniformADC(7, per="tile"),
    },
    "slices of an offset": {
        "mapping": Sliced("offset", 2, 2, "per_channel"),
        "tile": SEPARATE,
        "dac": UniformDAC(5, accumulation="digital"),
        "adc": UniformADC(7),
    },
    "slices read apart": {
        "mapping": Sliced("constant_sum", 3, 2),
        "tile": SEPARATE,
        "dac": UniformDAC(6),
        "adc": UniformADC(8, subtraction="digital", per="column"),
    },
    "wires": {
        "tile": SEPARATE,
        "wires": Segments(20.0, 10.0, 50.0, 30.0),
        "dac": UniformDAC(6),
        "adc": UniformADC(7, per="tile"),
    },
    "wires, digital": {
        "tile": SEPARATE,
        "wires": Segments(20.0, 10.0),
        "dac": UniformDAC(6),
        "adc": UniformADC(7, subtraction="digital"),
    },
    "wires of interleaved slices": {
        "mapping": Sliced("differential", 2, 2),
        "tile": Crossbar(16, 5, "whole", "interleaved"),
        "wires": Segments(20.0, 10.0),
        "dac": UniformDAC(6),
        "adc": UniformADC(7),
    },
    "curve": {"tile": SEPARATE, "iv": Sinh(0.3, 0.2), "dac": UniformDAC(6), "adc": UniformADC(7, range="full")},
    "curve alone": {"tile": SEPARATE, "iv": Sinh(0.3, 0.1), "dac": UniformDAC(7)},
}


@pytest.fixture(scope="module", params=LAYERS)
def layer(request):
    make, shape = LAYERS[request.param]
    torch.manual_seed(5)
    return make().eval(), shape


@pytest.mark.parametrize("part", PARTS)
@torch.inference_mode()
def test_a_layer_is_read_as_the_loops_read_it(layer, part):
    module, shape = layer
    x = inputs(*shape)
    layer_spec = spec(programming=NOISY, **PARTS[part])
    analog, chip, ranges = chip_of(module, layer_spec, inputs(*shape, seed=2))
    found = chip(x)
    expected = read(module, programmed(module, layer_spec, 3), ranges, x)
    check(module, found, expected)
    if layer_spec.adc != Ideal():
        rate = analog.clipped["0"]
        assert rate.adc_all == expected.conversions
        assert abs(rate.adc - expected.clipped) <= max(1, 1e-4 * expected.conversions)
        # Not the outputs of a plain layer.
        assert (by_vector(module, found) - by_vector(module, module(x))).abs().max() > 0.3 * expected.step.min()


@pytest.mark.parametrize("part", ["both", "digital", "few rows at once", "bit-serial", "slices", "full"])
@torch.inference_mode()
def test_positive_inputs_are_unsigned(part):
    module = nn.Conv2d(5, 8, 3, padding=1).eval()
    x = inputs(4, 5, 8, 8, positive=True)
    layer_spec = spec(programming=NOISY, **PARTS[part])
    analog, chip, ranges = chip_of(module, layer_spec, x)
    assert not ranges.signed
    check(module, chip(x), read(module, programmed(module, layer_spec, 3), ranges, x))
    del analog


@pytest.mark.parametrize(
    ("bits", "parts"),
    [
        (1, {"adc": UniformADC(1, subtraction="digital")}),
        (1, {"adc": UniformADC(6)}),
        (1, {}),
        (2, {"adc": UniformADC(1, subtraction="digital")}),
        (16, {"adc": UniformADC(8)}),
    ],
)
@pytest.mark.parametrize("accumulation", ["none", "digital", "analog"])
@torch.inference_mode()
def test_unsigned_inputs_of_any_bits(bits, parts, accumulation):
    module = nn.Linear(40, 6).eval()
    x = inputs(200, 40, positive=True)
    layer_spec = spec(tile=SEPARATE, dac=UniformDAC(bits, sign="unsigned", accumulation=accumulation), **parts)
    _, chip, ranges = chip_of(module, layer_spec, x)
    check(module, chip(x), read(module, programmed(module, layer_spec, 3), ranges, x))


@torch.inference_mode()
def test_negative_inputs_of_an_unsigned_dac_are_zero():
    module, x = nn.Linear(20, 6).eval(), inputs(30, 20)
    layer_spec = spec(dac=UniformDAC(5, sign="unsigned"), adc=UniformADC(8))
    _, chip, _ = chip_of(module, layer_spec, x)
    assert torch.equal(chip(x), chip(x.clamp(min=0)))


@pytest.mark.parametrize("name", ["linear", "conv2d", "conv2d grouped", "conv3d"])
@pytest.mark.parametrize("part", ["both", "slices", "bit-serial", "digital", "per column"])
@torch.inference_mode()
def test_both_forms_of_the_product_agree(name, part):
    make, shape = LAYERS[name]
    module, x = make().eval(), inputs(*shape)
    layer_spec = spec(programming=NOISY, **PARTS[part])
    _, _, ranges = chip_of(module, layer_spec, x)
    array = find_arrays(nn.Sequential(module))["0"]
    cells = programmed(module, layer_spec, 3)
    found = []
    for form in (Direct(array), Patches(array, product(array))):
        tiled = TiledRead(array, product(array), layer_spec)
        tiled.form = form
        tiled.program(cells, ranges, 3)
        found.append(by_vector(module, tiled(x, Stream(0))))
    off = (found[0] - found[1]).abs()
    expected = read(module, cells, ranges, x)
    assert (off > 0.2 * expected.step).sum() <= math.ceil(CODES_THAT_DIFFER * expected.conversions)


@pytest.mark.parametrize("name", ["conv1d", "conv2d", "conv2d grouped", "conv2d reflected", "conv3d", "transposed 2d"])
@torch.inference_mode()
def test_an_input_without_a_batch_is_a_batch_of_one(name):
    make, shape = LAYERS[name]
    module, x = make().eval(), inputs(1, *shape[1:])
    for part in ("both", "bit-serial", "dac alone"):
        _, chip, _ = chip_of(module, spec(programming=NOISY, **PARTS[part]), inputs(*shape))
        assert torch.equal(chip(x[0]), chip(x)[0])
        alone = AnalogNetwork(nn.Sequential(module).eval(), {"0": spec(**PARTS[part])})
        torch.testing.assert_close(alone.fit_ranges(x[0])["0"].x_max, alone.fit_ranges(x)["0"].x_max)


@torch.inference_mode()
def test_a_vector_alone_is_a_batch_of_one():
    module, x = nn.Linear(20, 4).eval(), inputs(1, 20)
    for part in ("both", "bit-serial", "per vector", "dac alone"):
        _, chip, _ = chip_of(module, spec(**PARTS[part]), x)
        assert torch.equal(chip(x[0]), chip(x)[0])


class Reshaped(nn.Linear):
    """Counts on its number of outputs."""

    def forward(self, x):
        return super().forward(x).view(-1, self.out_features)


class ReshapedConv(nn.Conv2d):
    def forward(self, x):
        y = super().forward(x)
        return y.view(len(x), self.out_channels, *y.shape[2:])


@pytest.mark.parametrize(
    ("make", "plain", "pad", "shape"),
    [
        (lambda: Padded(4, 6, 3), lambda: nn.Conv2d(4, 6, 3), (1, 2, 0, 1), (3, 4, 6, 6)),
        (lambda: Padded(4, 6, 3, groups=2), lambda: nn.Conv2d(4, 6, 3, groups=2), (1, 2, 0, 1), (3, 4, 6, 6)),
        (lambda: Reshaped(30, 7), lambda: nn.Linear(30, 7), (), (60, 30)),
        (lambda: Reshaped(7, 30), lambda: nn.Linear(7, 30), (), (60, 7)),
        (lambda: ReshapedConv(4, 6, 3, groups=2), lambda: nn.Conv2d(4, 6, 3, groups=2), (), (3, 4, 6, 6)),
        (lambda: ReshapedConv(4, 4, 3, groups=4), lambda: nn.Conv2d(4, 4, 3, groups=4), (), (3, 4, 6, 6)),
        (lambda: transformers.pytorch_utils.Conv1D(5, 33), lambda: nn.Linear(33, 5), (), (4, 10, 33)),
        (lambda: transformers.pytorch_utils.Conv1D(33, 5), lambda: nn.Linear(5, 33), (), (4, 10, 5)),
    ],
)
@pytest.mark.parametrize("part", ["both", "per vector", "bit-serial", "slices"])
@torch.inference_mode()
def test_layers_with_a_forward_of_their_own(make, plain, pad, shape, part):
    torch.manual_seed(2)
    module, twin = make().eval(), plain().eval()
    weight = module.weight.T if type(module).__name__ == "Conv1D" else module.weight
    twin.weight.copy_(weight)
    twin.bias.copy_(module.bias)
    x = inputs(*shape)
    layer_spec = spec(programming=NOISY, **PARTS[part])
    _, chip, ranges = chip_of(module, layer_spec, x)
    padded = nn.functional.pad(x, pad) if pad else x
    check(twin, chip(x), read(twin, programmed(twin, layer_spec, 3), ranges, padded))


def test_a_forward_that_changes_its_weight_is_refused():
    class Scaled(nn.Linear):
        def forward(self, x):
            return nn.functional.linear(x, self.weight * 0.1, self.bias)

    module, x = Scaled(6, 4), inputs(5, 6)
    _, chip, _ = chip_of(module, spec(adc=UniformADC(8)), x)
    with pytest.raises(ValueError, match=r"read noise and converters need a layer whose forward .* '0' \(Scaled\)"):
        chip(x)


def test_a_layer_of_zeros_gives_its_bias():
    module = nn.Linear(20, 4)
    nn.init.zeros_(module.weight)
    x = inputs(30, 20)
    for part in ("both", "slices", "digital", "per vector", "bit-serial"):
        analog, chip, ranges = chip_of(module, spec(programming=NOISY, **PARTS[part]), x)
        with torch.inference_mode():
            assert torch.equal(chip(x), module.bias.expand(30, 4))
        assert ranges.z_max is not None
        del analog


def test_batch_norms_fold_behind_the_adc():
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.ConvTranspose2d(8, 6, 2, groups=2), nn.BatchNorm2d(6)
    )
    x = inputs(16, 3, 8, 8)
    net.train()(x)
    for norm in (net[1], net[4]):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    net.eval()
    folds = find_folds(net, x)
    assert len(folds) == 2
    for part in ("both", "dac alone", "slices", "per vector", "bit-serial", "digital per column"):
        layer_spec = spec(programming=NOISY, **PARTS[part])
        for name in ("0", "3"):  # one layer at a time: one code that differs would spread
            plain, folded = (AnalogNetwork(net, {name: layer_spec}, folds=each) for each in ((), folds))
            ranges = plain.fit_ranges(x)
            for analog in (plain, folded):
                analog.set_ranges(ranges)
            again = folded.fit_ranges(x)[name]
            with torch.inference_mode():
                assert again.x_max == pytest.approx(ranges[name].x_max, rel=1e-5)
                if ranges[name].z_max is not None:
                    torch.testing.assert_close(again.z_max, ranges[name].z_max, rtol=1e-4, atol=1e-6)
                found, expected = folded.chip(3)(x), plain.chip(3)(x)
            off = (found - expected).abs() > 1e-4 * expected.abs().max()
            assert off.float().mean() < 2e-3


# --- whole numbers


def whole_numbers(module, mapping, seed):
    """Give a layer weights that are exact integers of a mapping's slices, the largest one included."""
    largest = 2 ** (mapping.bits - 1) - 1 if mapping.base == "offset" else 2**mapping.bits - 1
    draw = torch.randint(-largest, largest + 1, module.weight.shape, generator=torch.Generator().manual_seed(seed))
    draw.flatten()[0] = largest
    with torch.no_grad():
        module.weight.copy_(draw / largest)
    return draw, largest


def integer_slices(mapping, k):
    """Digits of integers, slice by slice, in the units that a bit line adds."""
    base = 2**mapping.bits_per_cell
    found = []
    for s in range(mapping.slices):
        digit = base ** (mapping.slices - 1 - s)
        if mapping.base == "offset":
            middle = base**mapping.slices // 2
            found.append(((k + middle) // digit % base - (base // 2 if s == 0 else 0), digit))
        else:
            found.append((k.sign() * (k.abs() // digit % base), digit))
    return found


def half_to_even(numerator):
    """`numerator / 2` to the nearest integer, ties to the even one, in integers."""
    down = numerator.div(2, rounding_mode="floor")
    return down + (numerator.remainder(2) == 1).long() * (down.remainder(2) == 1).long()


@pytest.mark.parametrize("base", ["differential", "constant_sum", "offset"])
@pytest.mark.parametrize(("cell_bits", "slices"), [(2, 2), (1, 4), (3, 1), (4, 2)])
@pytest.mark.parametrize("accumulation", ["none", "digital"])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("conv", [False, True], ids=["linear", "conv"])
@torch.inference_mode()
def test_codes_of_whole_numbers_are_exact(base, cell_bits, slices, accumulation, signed, conv):
    """One LSB is two units of the sum: half of all sums are ties."""
    mapping = Sliced(base, cell_bits, slices)
    module = nn.Conv2d(6, 8, 3, bias=False) if conv else nn.Linear(54, 16, bias=False)
    k, largest = whole_numbers(module, mapping, seed=1)
    bits, adc_bits, rows = 5, 7, 20
    full = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    generator = torch.Generator().manual_seed(2)
    shape = (20, 6, 5, 5) if conv else (100, 54)
    x = torch.randint(-full if signed else 0, full + 1, shape, generator=generator)
    top_digit, middle = 2**cell_bits - 1, 2 ** (adc_bits - 1) - 1
    units = top_digit if accumulation == "digital" else top_digit * full  # of the sum of one cell and input, both full
    dac = UniformDAC(bits, "given", float(full), "signed" if signed else "unsigned", accumulation=accumulation)
    layer_spec = spec(
        mapping=mapping,
        tile=Crossbar(rows, 5),
        dac=dac,
        adc=UniformADC(adc_bits, "given", 2 * middle / units),
    )
    _, chip, _ = chip_of(module, layer_spec, None)
    vectors = patches(module, x)[:, 0].long()
    matrix = k.flatten(1)
    cycles = [(1, vectors)]
    if accumulation == "digital":
        size, many = vectors.abs(), bits - 1 if signed else bits
        cycles = [(2**b, ((size >> b) & 1) * vectors.sign()) for b in range(many)]
    expected, ties, conversions = 0, 0, 0
    for digits, value in integer_slices(mapping, matrix):
        for weight, drive in cycles:
            for first in range(0, 54, rows):
                z = drive[:, first : first + rows] @ digits[:, first : first + rows].T
                codes = half_to_even(z + 2 * middle).clamp(0, 2 * middle) - middle
                expected = expected + weight * value * codes
                ties += int((z % 2).sum())
                conversions += z.numel()
    assert ties > 0.25 * conversions
    # Each code stands for two units of 1 / full of the input and 1 / largest of the weight.
    found = by_vector(module, chip(x.float())) * (largest / 2)
    codes = found.round()
    torch.testing.assert_close(found, codes, rtol=0, atol=0.05)
    assert torch.equal(codes.long(), expected)


@pytest.mark.parametrize("x_max", [1.0, 0.1, 3.3, 127.0, 1e-3, 7e5])
@pytest.mark.parametrize("bits", [2, 3, 8, 12])
@pytest.mark.parametrize("sign", ["signed", "unsigned"])
@torch.inference_mode()
def test_the_codes_of_a_dac_are_those_of_the_quantiser(x_max, bits, sign):
    levels = 2**bits - 1 if sign == "signed" else 2**bits
    low = -x_max if sign == "signed" else 0.0
    steps = torch.arange(-2, 2 * levels + 2) / 2 / (levels - 1)  # levels and what lies half between
    x = torch.cat([low + steps * (x_max - low), inputs(4000) * x_max])
    module = nn.Linear(1, 1, bias=False)
    nn.init.ones_(module.weight)
    array = find_arrays(nn.Sequential(module))["0"]
    layer_spec = spec(dac=UniformDAC(bits, "given", x_max, sign), device=DIGITAL_DEVICE)
    tiled = TiledRead(array, product(array), layer_spec)
    ranges = Ranges(x_max, sign == "signed")
    tiled.program(programmed(module, layer_spec, 0), ranges, 0)
    step = (x_max - low) / (levels - 1)
    found = ((tiled(x[:, None], Stream(0))[:, 0].double() - low) / step).round()
    expected = ((quantise(x, low, x_max, levels).double() - low) / step).round()
    assert torch.equal(found, expected)


# --- slices, bits and their identities


@pytest.mark.parametrize("base", ["differential", "constant_sum", "offset"])
@torch.inference_mode()
def test_slices_behind_fine_adcs_are_the_unsliced_product(base):
    mapping = Sliced(base, 2, 3)
    module, x = nn.Linear(40, 10).eval(), inputs(64, 40)
    whole_numbers(module, mapping, seed=0)
    unsliced = Offset() if base == "offset" else Differential()
    dac = UniformDAC(8)
    for adc, tolerance in ((UniformADC(16, "full"), 1e-3), (Ideal(), 1e-6)):
        found = [
            chip_of(module, spec(mapping=each, tile=SEPARATE, dac=dac, adc=adc), x)[1](x).clone()
            for each in (mapping, unsliced)
        ]
        torch.testing.assert_close(found[0], found[1], rtol=0, atol=tolerance * float(found[1].abs().max()))


@pytest.mark.parametrize("sign", ["signed", "unsigned"])
@torch.inference_mode()
def test_bits_one_after_the_other_are_the_product_of_all(sign):
    module, x = nn.Conv2d(4, 6, 3), inputs(4, 4, 6, 6, positive=sign == "unsigned")
    found = {}
    for accumulation in ("none", "digital", "analog"):
        for bits in (16, 6, None):
            parts = {"tile": SEPARATE, "dac": UniformDAC(6, sign=sign, accumulation=accumulation)}
            adc = Ideal() if bits is None else UniformADC(bits, "full")
            found[accumulation, bits] = chip_of(module, spec(programming=NOISY, adc=adc, **parts), x)[1](x).clone()
    for bits in (16, 6, None):
        assert torch.equal(found["analog", bits], found["none", bits])
    close = {"rtol": 0, "atol": 1e-3 * float(found["none", 16].abs().max())}
    torch.testing.assert_close(found["digital", 16], found["none", 16], **close)
    assert torch.equal(found["digital", None], found["none", None])
    assert (found["digital", 6] - found["none", 6]).abs().max() > close["atol"]


@torch.inference_mode()
def test_each_slice_has_ranges_of_its_own():
    mapping = Sliced("differential", 2, 3)
    module, x = nn.Linear(40, 10), inputs(64, 40)
    with torch.no_grad():
        module.weight.copy_(inputs(10, 40, seed=3) ** 3)  # few large weights: the first slice is mostly 0
    _, _, ranges = chip_of(module, spec(mapping=mapping, tile=SEPARATE, dac=UniformDAC(8), adc=UniformADC(8)), x)
    assert len(ranges.z_max) == 3
    assert len(set(ranges.z_max[:, 0, 0].tolist())) == 3


# --- the whole network


IDEAL_PARTS = {
    "adc": {"adc": UniformADC(16)},
    "adc per column, digital": {"adc": UniformADC(16, per="column", subtraction="digital")},
    "dac and adc": {"dac": UniformDAC(16), "adc": UniformADC(16, per="tile")},
}
# Of the largest logit: 16 bits are 1.5e-5 of the largest sum, and random deep networks amplify errors some 100 times.
TOLERANCE_16_BITS = 3e-2
# torchvision's shifted windows take the weights of their attention without calling its layers.
UNCALLED = {"swin_t": ["*.attn.*"]}
LARGE = {"densenet121", "efficientnet_b0", "mobilenet_v2", "resnet18", "convnext_tiny", "swin_t"}


@pytest.mark.parametrize("name", architectures.TABLE)
@torch.inference_mode()
def test_fine_converters_over_tiles_reproduce_the_digital_network(name):
    row = architectures.TABLE[name]
    torch.manual_seed(0)
    model = row.make()
    x = row.shape() if callable(row.shape) else torch.randn(row.shape)
    architectures.settle(model, x)
    model.eval()
    logits = model(x)
    parts = ["adc"] if name in LARGE else list(IDEAL_PARTS)
    for part in parts:
        layer_spec = spec(tile=Crossbar(64, 48), **IDEAL_PARTS[part])
        analog = AnalogNetwork(model, dict.fromkeys(analog_layers(model, exclude=UNCALLED.get(name, ())), layer_spec))
        analog.set_ranges(analog.fit_ranges(x))
        analog.check_reads(x[:1])
        off = float((analog.chip(0)(x) - logits).abs().max() / logits.abs().max())
        assert off < TOLERANCE_16_BITS, part


@pytest.mark.parametrize("adc", [UniformADC(8), UniformADC(8, "given", 1.0)])
@torch.inference_mode()
def test_a_layer_that_is_not_called_is_refused_by_name(adc):
    row = architectures.TABLE["swin_t"]
    model, x = row.make().eval(), torch.randn(row.shape)
    analog = AnalogNetwork(model, dict.fromkeys(analog_layers(model), spec(adc=adc)))

    def ready():
        analog.set_ranges(analog.fit_ranges(x[:1] if adc.range == "fitted" else None))
        analog.check_reads(x[:1])

    with pytest.raises(ValueError, match=r"(?s)call.*features\.1\.0\.attn\.qkv.*: exclude"):
        ready()


@pytest.mark.parametrize(
    "parts",
    [
        lambda bits: {"dac": UniformDAC(bits)},
        lambda bits: {"tile": SEPARATE, "adc": UniformADC(bits, per="tile")},
        lambda bits: {"tile": SEPARATE, "dac": UniformDAC(bits), "adc": UniformADC(bits, subtraction="digital")},
        lambda bits: {"tile": SEPARATE, "dac": UniformDAC(bits, accumulation="digital"), "adc": UniformADC(bits)},
    ],
    ids=["dac", "adc", "both", "bit-serial"],
)
@torch.inference_mode()
def test_the_error_halves_with_each_bit(parts):
    torch.manual_seed(0)
    module, x = nn.Linear(100, 40), inputs(200, 100)
    exact = module(x)
    errors = [(chip_of(module, spec(**parts(bits)), x)[1](x) - exact).norm().log2() for bits in range(4, 11)]
    slope = torch.tensor(errors).diff().mean()
    assert abs(float(slope) + 1) < 0.1
    assert max(abs(float(step) + 1) for step in torch.tensor(errors).diff()) < 0.25


@pytest.mark.parametrize("part", ["both", "slices", "bit-serial", "per vector", "digital"])
@torch.inference_mode()
def test_inputs_are_read_each_by_itself(part):
    """Codes that differ between batches are those of other kernels, at most 1e-4 of them."""
    module, x = nn.Conv2d(5, 8, 3), inputs(40, 5, 9, 9)
    layer_spec = spec(programming=NOISY, **PARTS[part])
    _, chip, ranges = chip_of(module, layer_spec, x)
    whole = chip(x).clone()
    parts = torch.cat([chip(each) for each in x.split(7)])
    expected = read(module, programmed(module, layer_spec, 3), ranges, x)
    off = by_vector(module, whole - parts).abs() > 0.2 * expected.step
    assert off.sum() <= math.ceil(CODES_THAT_DIFFER * expected.conversions)
    assert torch.equal(chip(x), whole)


# --- clip rates


@torch.inference_mode()
def test_clip_rates_are_counted_in_the_first_read():
    module, x = nn.Linear(30, 6), inputs(100, 30)
    layer_spec = spec(tile=Crossbar(10), dac=UniformDAC(8, "given", 1.0), adc=UniformADC(8, "given", 0.5, "tile"))
    analog, chip, ranges = chip_of(module, layer_spec, x)
    chip(x)
    expected = read(module, programmed(module, layer_spec, 3), ranges, x)
    first = replace(analog.clipped["0"])
    assert (first.dac, first.dac_all) == (int((x.abs() > 1).sum()), x.numel())
    assert (first.adc, first.adc_all) == (expected.clipped, expected.conversions)
    assert first.adc > 100
    chip(x * 5)
    assert analog.clipped["0"] == first
    analog.chip(4)(x[:10] * 0)
    assert (analog.clipped["0"].dac, analog.clipped["0"].adc, analog.clipped["0"].dac_all) == (0, 0, 300)


@pytest.mark.parametrize(
    ("mapping", "adc", "lines"),
    [
        (Differential(), UniformADC(8, "full"), 1),
        (Offset(), UniformADC(8, "full", per="tile"), 1),
        (ConstantSum(), UniformADC(8, "full", subtraction="digital"), 2),
        (Sliced("offset", 2, 3), UniformADC(8, "full"), 3),
        (Sliced("differential", 2, 3), UniformADC(8, "given", 16.2, subtraction="digital"), 6),
    ],
)
@pytest.mark.parametrize("accumulation", ["none", "digital", "analog"])
@torch.inference_mode()
def test_nothing_is_clipped_where_ranges_cover_all(mapping, adc, lines, accumulation):
    module, x = nn.Linear(50, 6), inputs(100, 50)
    nn.init.constant_(module.weight, 0.7)  # every cell at its end, and so are all inputs of one vector
    x[0], x[1] = x.abs().max(), -x.abs().max()
    layer_spec = spec(tile=Crossbar(16), dac=UniformDAC(6, accumulation=accumulation), adc=adc, mapping=mapping)
    analog, chip, _ = chip_of(module, layer_spec, x)
    chip(x)
    assert (analog.clipped["0"].dac, analog.clipped["0"].adc) == (0, 0)
    assert analog.clipped["0"].adc_all == 100 * 6 * 4 * lines * (5 if accumulation == "digital" else 1)


@pytest.mark.parametrize("per", ["layer", "tile", "column"])
@pytest.mark.parametrize("percentile", [90.0, 99.0, 100.0])
@torch.inference_mode()
def test_a_percentile_clips_the_rest_of_the_fitting_inputs(per, percentile):
    module, x = nn.Linear(64, 8), inputs(500, 64)
    layer_spec = spec(tile=Crossbar(16, 4), adc=UniformADC(8, per=per, percentile=percentile))
    analog, chip, _ = chip_of(module, layer_spec, x)
    chip(x)
    found = analog.clipped["0"]
    assert found.adc_all == 500 * 8 * 4
    # A sum at the very end of the range may be rounded beyond it.
    ranges = {"layer": 1, "tile": 8, "column": 32}[per]
    assert abs(found.adc - (1 - percentile / 100) * found.adc_all) <= ranges
    dac = spec(dac=UniformDAC(8, percentile=percentile))
    analog, chip, _ = chip_of(module, dac, x)
    chip(x)
    assert abs(analog.clipped["0"].dac - (1 - percentile / 100) * x.numel()) <= 1


# --- mismatch of ADCs and noise of conversions


def units(part, adc, seed=3, tiles=12, outputs=150, slices=1, **changes):
    """Response of each ADC, (slices, tiles, outputs): its own rows are driven, and its own slice holds a digit."""
    rows, bits_per_cell = 4, 2
    mapping = Sliced("differential", bits_per_cell, slices) if slices > 1 else Differential()
    found = []
    for s in range(slices):
        module = nn.Linear(rows * tiles, outputs + 1, bias=False)
        with torch.no_grad():
            digit = 3 * 4 ** (slices - 1 - s) / (4**slices - 1) if slices > 1 else 0.5
            module.weight.fill_(digit)
            module.weight[-1, -1] = 1.0  # which sets the scale
        parts = {"mapping": mapping, "device": DIGITAL_DEVICE, "tile": Crossbar(rows, 64), "adc": adc, **changes}
        _, chip, _ = chip_of(module, spec(**parts), None, seed)
        x = torch.zeros(tiles, tiles, rows)
        if part == "gain":
            x[range(tiles), range(tiles)] = 1.0
        with torch.inference_mode():
            y = chip(x.flatten(1))[:, :outputs].double()
        found.append(y / (digit * rows) - 1 if part == "gain" else y)
    return torch.stack(found)


FINE = {"range": "given", "z_max": 8.0}


@torch.inference_mode()
def test_gain_errors_have_their_law_and_are_each_units_own():
    adc = UniformADC(16, gain_sigma=0.02, **FINE)
    chips = torch.stack([units("gain", adc, seed, slices=3) for seed in (1, 2)])
    step = 8.0 / 32767 / 2  # of a sum of two cells at least
    moments_match(chips.flatten().numpy(), 0.0, (0.02**2 + (step / math.sqrt(12)) ** 2) ** 0.5)
    flat = chips.flatten(1)
    many = flat.shape[1]
    assert many == 3 * 12 * 150
    assert abs(torch.corrcoef(flat)[0, 1]) < SIGMAS / many**0.5
    for axis in (1, 2, 3):  # neighbours along slices, tiles and outputs have nothing in common
        one, other = (chips.narrow(axis, i, chips.shape[axis] - 1).flatten() for i in (0, 1))
        assert abs(torch.corrcoef(torch.stack([one, other]))[0, 1]) < SIGMAS / len(one) ** 0.5
    assert torch.equal(units("gain", adc, 1, slices=3), chips[0])


@torch.inference_mode()
def test_offsets_have_their_law_and_are_each_units_own():
    adc = UniformADC(16, offset_sigma_lsb=40.0, **FINE)
    lsb = 8.0 / 32767
    chips = torch.stack([units("offset", adc, seed, tiles=1, outputs=4000)[0, 0] / lsb for seed in (1, 2)])
    moments_match(chips.flatten().numpy(), 0.0, (40.0**2 + 1 / 12) ** 0.5)
    assert abs(torch.corrcoef(chips)[0, 1]) < SIGMAS / 4000**0.5
    assert (chips - chips.round()).abs().max() < 0.02  # whole LSB


@torch.inference_mode()
def test_every_unit_of_a_layer_differs_from_every_other():
    adc = UniformADC(16, gain_sigma=0.5, **FINE)
    module = nn.Linear(12, 10)
    for parts, lines in (
        ({"mapping": Differential()}, 1),
        ({"mapping": Sliced("differential", 2, 3)}, 3),
        ({"mapping": Sliced("differential", 2, 3), "adc": replace(adc, subtraction="digital")}, 6),
        ({"adc": replace(adc, subtraction="digital")}, 2),
    ):
        layer_spec = spec(**{"tile": Crossbar(4, 3), "adc": adc, **parts})
        array = find_arrays(nn.Sequential(module))["0"]
        tiled = TiledRead(array, product(array), layer_spec)
        tiled.program(programmed(module, layer_spec, 1), Ranges(z_max=torch.ones(1, 1, 1)), 1)
        first = tiled._plan[0][1][0].to_code[0]
        gains = torch.stack([each.to_code / first for _, reads in tiled._plan for each in reads])
        assert gains.numel() == lines * 3 * 10
        assert len(gains.flatten().unique()) == gains.numel()


@torch.inference_mode()
def test_gain_and_offset_of_a_unit_have_nothing_in_common():
    module = nn.Linear(40, 200)
    layer_spec = spec(tile=Crossbar(4), adc=UniformADC(16, gain_sigma=0.1, offset_sigma_lsb=5.0, **FINE))
    array = find_arrays(nn.Sequential(module))["0"]
    tiled = TiledRead(array, product(array), layer_spec)
    tiled.program(programmed(module, layer_spec, 1), Ranges(z_max=torch.ones(1, 1, 1)), 1)
    reads = [each for _, together in tiled._plan for each in together]
    gain, offset = (torch.cat([getattr(each, name) for each in reads]) for name in ("to_code", "bias"))
    assert abs(torch.corrcoef(torch.stack([gain, offset]))[0, 1]) < SIGMAS / 2000**0.5


@torch.inference_mode()
def test_mismatch_is_frozen_and_paired_over_other_parameters():
    x = inputs(20, 48)
    adc = UniformADC(8, "given", 3.0, offset_sigma_lsb=5.0, gain_sigma=0.05)
    module = nn.Linear(48, 10)
    analog, chip, _ = chip_of(module, spec(tile=Crossbar(16), adc=adc), None, 7)
    first = chip(x).clone()
    assert torch.equal(chip(x), first)
    torch.testing.assert_close(torch.cat([chip(each) for each in x.split(1)]), first)
    assert not torch.equal(analog.chip(8)(x), first)
    assert torch.equal(analog.chip(7)(x), first)
    gains = [
        units("gain", replace(UniformADC(16, gain_sigma=0.05, **FINE), **change), 7, **parts)
        for change, parts in (
            ({}, {}),
            ({"bits": 15}, {}),
            ({"z_max": 7.0}, {}),
            ({"offset_sigma_lsb": 1e-3}, {}),
            ({}, {"dac": UniformDAC(12, "given", 1.0)}),
            ({}, {"programming": Gaussian(1e-7)}),
        )
    ]
    for other in gains[1:]:
        torch.testing.assert_close(other, gains[0], rtol=0, atol=1e-3)
    twice = units("gain", UniformADC(16, gain_sigma=0.1, **FINE), 7)
    torch.testing.assert_close(twice, 2 * gains[0], rtol=0, atol=1e-3)


@pytest.mark.parametrize("part", ["both", "slices", "digital", "bit-serial", "dac alone"])
@torch.inference_mode()
def test_no_strength_is_no_mismatch(part):
    module, x = nn.Linear(50, 6), inputs(40, 50)
    parts = dict(PARTS[part])
    plain = chip_of(module, spec(**parts), x)[1](x).clone()
    if "adc" in parts:
        parts["adc"] = replace(parts["adc"], offset_sigma_lsb=0.0, gain_sigma=0.0, output_noise_lsb=0.0)
    assert torch.equal(chip_of(module, spec(**parts), x, 9)[1](x), plain)


@pytest.mark.parametrize("part", ["gain_sigma", "offset_sigma_lsb"])
@torch.inference_mode()
def test_mismatch_acts_before_the_rounding(part):
    module, x = nn.Linear(50, 6), inputs(400, 50)
    layer_spec = spec(tile=Crossbar(16), adc=UniformADC(6, "given", 4.0, **{part: 0.3}))
    array = find_arrays(nn.Sequential(module))["0"]
    tiled = TiledRead(array, product(array), layer_spec)
    tiled.program(programmed(module, layer_spec, 3), Ranges(z_max=torch.full((1, 1, 1), 4.0)), 3)
    to_code = torch.stack([each.to_code for _, reads in tiled._plan for each in reads])[None].double()
    gain = to_code * (4.0 / 31) - 1
    offset = torch.stack([each.bias for _, reads in tiled._plan for each in reads])[None].double() - 31
    assert (gain if part == "gain_sigma" else offset).std() > 0.1
    ranges = Ranges(z_max=torch.full((1, 1, 1), 4.0))
    expected = read(module, programmed(module, layer_spec, 3), ranges, x, gain, offset)
    analog = AnalogNetwork(nn.Sequential(module), {"0": layer_spec})
    analog.set_ranges({"0": ranges})
    check(module, analog.chip(3)(x), expected)


@pytest.mark.parametrize(
    ("tile", "conversions"), [(Crossbar(64), 1), (Crossbar(8), 4), (Crossbar(16, rows_active=4), 8)]
)
@torch.inference_mode()
def test_output_noise_is_drawn_for_each_conversion(tile, conversions):
    adc = UniformADC(12, "given", 2.0, output_noise_lsb=30.0)
    module = nn.Linear(32, 5, bias=False)
    _, chip, _ = chip_of(module, spec(tile=tile, adc=adc), None)
    x = torch.zeros(4000, 32)
    y = chip(x).clone()
    lsb = 2.0 / 2047 * float(module.weight.abs().max())
    moments_match((y / lsb).double().numpy().ravel(), 0.0, (conversions * (30.0**2 + 1 / 12)) ** 0.5)
    again = chip(x)
    assert abs(torch.corrcoef(torch.stack([y.flatten(), again.flatten()]))[0, 1]) < SIGMAS / y.numel() ** 0.5
    _, same, _ = chip_of(module, spec(tile=tile, adc=adc), None)
    assert torch.equal(same(x), y)


@torch.inference_mode()
def test_output_noise_of_bits_is_drawn_in_each_cycle():
    module, x = nn.Linear(32, 5, bias=False), torch.zeros(4000, 32)
    lsb = 2.0 / 2047 * float(module.weight.abs().max())
    for accumulation, factor in (("digital", sum(4**b for b in range(5)) / 31**2), ("analog", 1.0), ("none", 1.0)):
        dac = UniformDAC(5, "given", 1.0, "unsigned", accumulation=accumulation)
        adc = UniformADC(12, "given", 2.0, output_noise_lsb=30.0)
        _, chip, _ = chip_of(module, spec(dac=dac, adc=adc), None)
        moments_match((chip(x) / lsb).double().numpy().ravel(), 0.0, (factor * (30.0**2 + 1 / 12)) ** 0.5)


# --- the curve of the cells


@pytest.mark.parametrize("part", ["none", "tiles"])
@pytest.mark.parametrize(
    "dac",
    [
        UniformDAC(1, sign="unsigned"),
        UniformDAC(2),
        UniformDAC(2, sign="signed", range="abs_max"),
        UniformDAC(6, accumulation="digital"),
        UniformDAC(6, accumulation="analog"),
        UniformDAC(5, sign="unsigned", accumulation="analog"),
    ],
)
@torch.inference_mode()
def test_inputs_of_one_bit_see_no_curve(part, dac):
    module, x = nn.Linear(50, 6), inputs(100, 50, positive=dac.sign == "unsigned")
    for adc in (Ideal(), UniformADC(7)):
        parts = {"dac": dac, "adc": adc, "tile": SEPARATE if part == "tiles" else Ideal()}
        linear = chip_of(module, spec(**parts), x)[1](x).clone()
        for iv in (Sinh(0.2, 0.05), Sinh(0.2, 0.0031), Sinh(0.7, 0.3)):
            assert torch.equal(chip_of(module, spec(iv=iv, **parts), x)[1](x), linear)


@torch.inference_mode()
def test_a_curve_of_a_wide_scale_is_a_line():
    module, x = nn.Linear(50, 6), inputs(100, 50)
    linear = chip_of(module, spec(dac=UniformDAC(8)), x)[1](x).clone()
    for v_0 in (1e2, 1e6, 1e30, 1e45, 1e300):
        found = chip_of(module, spec(dac=UniformDAC(8), iv=Sinh(0.2, v_0)), x)[1](x)
        torch.testing.assert_close(found, linear, rtol=1e-5, atol=1e-6)


@torch.inference_mode()
def test_a_curve_acts_behind_the_range_of_the_dac():
    """A full input keeps its current, half of one has less, and what is beyond the range counts as full."""
    module = nn.Linear(1, 1, bias=False)
    nn.init.ones_(module.weight)
    iv = Sinh(0.4, 0.1)
    layer_spec = spec(dac=UniformDAC(16, "given", 2.0), iv=iv)
    _, chip, _ = chip_of(module, layer_spec, None)
    x = torch.tensor([[2.0], [1.0], [-1.0], [0.0], [9.0]])
    u = [1.0, 0.5, -0.5, 0.0, 1.0]
    expected = [2 * math.sinh(each * 4.0) / math.sinh(4.0) for each in u]
    assert chip(x)[:, 0].tolist() == pytest.approx(expected, rel=1e-3, abs=1e-6)


# --- read noise in front of the ADC


def read_variance(layer_spec, x, reads=4000, seed=0, outputs=6):
    module = nn.Linear(x.shape[-1], outputs, bias=False)
    with torch.no_grad():
        module.weight.copy_(inputs(outputs, x.shape[-1], seed=4).clamp(-2, 2))
    analog = AnalogNetwork(nn.Sequential(module), {"0": layer_spec})
    analog.set_ranges(analog.fit_ranges(torch.cat([x[None], -x[None]])))
    return module, analog.chip(seed)(x.expand(reads, -1)).double()


@pytest.mark.parametrize("tile", [Ideal(), Crossbar(64), Crossbar(8, 4), Crossbar(16, rows_active=4)])
@pytest.mark.parametrize("subtraction", ["array", "digital", None])
@torch.inference_mode()
def test_read_noise_adds_up_over_tiles_before_their_adcs(tile, subtraction):
    """Both cells of each input add `(alpha g_max)^2` to the variance, in each tile by a draw of its own."""
    adc = Ideal() if subtraction is None else UniformADC(16, "given", 40.0, subtraction=subtraction)
    noise = WhiteReadNoise(alpha_ind=0.02)
    x = torch.ones(32)
    module, y = read_variance(spec(tile=tile, adc=adc, read_noise=noise), x)
    w_max = float(module.weight.abs().max())
    sigma = 0.02 * 100.0 * w_max / 99.0 * (2 * 32) ** 0.5
    moments_match(((y - y.mean(0)) * (len(y) / (len(y) - 1)) ** 0.5).flatten().numpy(), 0.0, sigma)
    torch.testing.assert_close(y.mean(0), module(x).double(), rtol=0, atol=5 * sigma / 4000**0.5)
    assert torch.corrcoef(y.T).fill_diagonal_(0).abs().max() < 5 / 4000**0.5


@pytest.mark.parametrize(("accumulation", "cycles"), [("none", 1), ("digital", 5), ("analog", 5)])
@pytest.mark.parametrize("adc", [Ideal(), UniformADC(16, "given", 40.0), UniformADC(16)])
@torch.inference_mode()
def test_each_bit_is_read_with_noise_of_its_own(accumulation, cycles, adc):
    noise = WhiteReadNoise(alpha_ind=0.02)
    dac = UniformDAC(5, "given", 1.0, "unsigned", accumulation=accumulation)
    module, y = read_variance(spec(tile=Crossbar(16), dac=dac, adc=adc, read_noise=noise), torch.ones(32))
    share = sum(4**b for b in range(cycles)) / (2**cycles - 1) ** 2
    sigma = 0.02 * 100.0 * float(module.weight.abs().max()) / 99.0 * (2 * 32 * share) ** 0.5
    if adc == UniformADC(16):  # noise beyond a fitted range is clipped
        assert y.std(0).max() < 1.1 * sigma
    else:
        moments_match((y - y.mean(0)).flatten().numpy(), 0.0, sigma)


@torch.inference_mode()
def test_noise_of_slices_is_that_of_their_cells():
    noise, mapping = WhiteReadNoise(alpha_ind=0.01), Sliced("differential", 2, 2)
    adc = UniformADC(16, "given", 40.0)
    module, y = read_variance(spec(tile=Crossbar(16), mapping=mapping, adc=adc, read_noise=noise), torch.ones(32))
    gain = (3 / 15) ** 2 + (12 / 15) ** 2  # of the squares of what a slice is worth
    sigma = 0.01 * 100.0 * float(module.weight.abs().max()) / 99.0 * (2 * 32 * gain) ** 0.5
    moments_match((y - y.mean(0)).flatten().numpy(), 0.0, sigma)


@pytest.mark.parametrize("part", ["both", "slices", "digital", "per vector", "bit-serial", "bits added on the line"])
@torch.inference_mode()
def test_faint_noise_leaves_the_read_as_it_is(part):
    """Noise takes another way through the code: without strength to speak of, codes are those of the reference."""
    module, x = nn.Conv2d(5, 8, 3, padding=1), inputs(3, 5, 8, 8)
    layer_spec = spec(programming=NOISY, read_noise=WhiteReadNoise(alpha_ind=1e-9), **PARTS[part])
    _, chip, ranges = chip_of(module, layer_spec, x)
    check(module, chip(x), read(module, programmed(module, layer_spec, 3), ranges, x))
