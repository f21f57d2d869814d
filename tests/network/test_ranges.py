"""Fitted ranges: nearest rank of what the ideal chip gives, one design value for all chips."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

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
from rramsweep.devices import Device
from rramsweep.effects import Gaussian, RelativeDrift, WhiteReadNoise
from rramsweep.network.analog import FITTING_BATCH, AnalogNetwork
from rramsweep.network.ranges import NearestRank
from tests.network.tiled_reference import bit_lines, nearest_rank, patches, programmed, sums

DEVICE = Device(1.0, 100.0)
TILE = Crossbar(12, 5)


def spec(**parts):
    return LayerSpec(**{"device": DEVICE, "mapping": Differential(), **parts})


def inputs(*shape, positive=False, seed=1):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return x.abs() if positive else x


class Net(nn.Module):
    """A convolution, and a layer that is called twice."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.conv, self.fc = nn.Conv2d(3, 8, 3, stride=2, groups=1), nn.Linear(32, 32)
        self.seen: list[torch.Tensor] = []

    def forward(self, x):
        x = self.conv(x).relu().flatten(1)
        y = self.fc(x).tanh()
        self.seen += [x, y]
        return self.fc(y)


X = inputs(37, 3, 5, 5)


def fit(layer_spec, x=X, net=None, **kwargs):
    net = (net or Net()).eval()
    return AnalogNetwork(net, {"conv": layer_spec, "fc": layer_spec}, **kwargs).fit_ranges(x)


@pytest.mark.parametrize("n", [1, 2, 7, 100, 1000, 1003])
@pytest.mark.parametrize("percentile", [0.05, 1.0, 50.0, 90.0, 99.0, 99.9, 100.0])
def test_nearest_rank_is_that_of_the_sorted_values(n, percentile):
    values = inputs(3, n).double()
    rank = NearestRank(percentile)
    assert not rank.counted
    parts = [each for each in values.tensor_split([n // 3, n // 2], 1) if each.shape[1]]
    for each in parts:
        rank.count(each)
    assert rank.counted
    if rank.needs_ranks:
        for each in parts:
            rank.rank(each)
    expected = np.sort(np.abs(values.numpy()), 1)[:, math.ceil(Fraction(str(percentile)) / 100 * n) - 1]
    assert rank.result().tolist() == expected.tolist()


def test_ranks_of_ties_and_of_zeros():
    rank = NearestRank(50.0)
    values = torch.tensor([[0.0, 0.0, 0.0, 5.0], [2.0, -2.0, 2.0, -2.0], [0.0, 0.0, 0.0, 0.0]])
    rank.count(values)
    rank.rank(values)
    assert rank.result().tolist() == [1.0, 2.0, 1.0]


@pytest.mark.parametrize("percentile", [100.0, 98.0, 60.0])
@torch.inference_mode()
def test_inputs_are_ranked_over_all_calls_of_a_layer(percentile):
    net = Net().eval()
    net(X)
    seen = torch.cat([each.flatten() for each in net.seen])
    ranges = fit(spec(dac=UniformDAC(percentile=percentile)))
    assert ranges["conv"].x_max == pytest.approx(nearest_rank(X, percentile), rel=1e-6)
    assert ranges["fc"].x_max == pytest.approx(nearest_rank(seen, percentile), rel=1e-5)
    assert ranges["conv"].signed
    assert ranges["fc"].signed  # of the second call alone
    assert len(X) > 2 * FITTING_BATCH


@pytest.mark.parametrize(
    ("dac", "positive", "signed"),
    [
        (UniformDAC(), True, False),
        (UniformDAC(), False, True),
        (UniformDAC(sign="signed"), True, True),
        (UniformDAC(sign="unsigned"), False, False),
        (UniformDAC(range="given", x_max=2.0), True, True),
        (UniformDAC(range="abs_max"), True, True),
        (UniformDAC(range="abs_max", sign="unsigned"), False, False),
        (Ideal(), True, False),
        (Ideal(), False, True),
    ],
)
@torch.inference_mode()
def test_the_sign_of_inputs(dac, positive, signed):
    x = inputs(30, 3, 5, 5, positive=positive)
    ranges = fit(spec(dac=dac, adc=UniformADC(subtraction="digital")), x)
    assert ranges["conv"].signed == signed


@torch.inference_mode()
def test_without_a_dac_the_sign_is_fitted_where_the_range_is():
    """Whether another layer's range is fitted says nothing of this one."""
    x = inputs(30, 3, 5, 5, positive=True)
    given = spec(adc=UniformADC(range="given", z_max=3.0, subtraction="digital"))
    net = Net().eval()
    alone = AnalogNetwork(net, {"conv": given}).fit_ranges(None)["conv"]
    beside = AnalogNetwork(net, {"conv": given, "fc": spec(adc=UniformADC())}).fit_ranges(x)["conv"]
    assert alone.signed
    assert beside.signed


PARTS = {
    "differential": {"mapping": Differential(), "dac": UniformDAC(7)},
    "without a dac": {"mapping": Offset()},
    "rows": {"tile": Crossbar(12, 5, rows_active=5), "dac": UniformDAC(7, percentile=95.0)},
    "digital": {"dac": UniformDAC(7), "adc": {"subtraction": "digital"}},
    "slices": {"mapping": Sliced("differential", 2, 2), "dac": UniformDAC(7)},
    "slices of an offset, digital sign": {"mapping": Sliced("offset", 2, 2, "per_channel"), "dac": UniformDAC(7)},
    "slices apart": {"mapping": Sliced("constant_sum", 2, 2), "adc": {"subtraction": "digital"}},
    "wires": {"wires": Segments(20.0, 10.0), "dac": UniformDAC(7)},
    "given inputs": {"dac": UniformDAC(7, "given", 1.3)},
    "curve": {"dac": UniformDAC(7), "iv": Sinh(0.3, 0.1)},
    "bits": {"dac": UniformDAC(7, accumulation="digital")},
    "bits on the line": {"dac": UniformDAC(7, accumulation="analog")},
    "bits on a noisy line": {"dac": UniformDAC(7, accumulation="analog"), "read_noise": WhiteReadNoise(0.02)},
    "bits behind noise": {"dac": UniformDAC(7, accumulation="digital"), "read_noise": WhiteReadNoise(0.02)},
    "per vector": {"dac": UniformDAC(7, range="abs_max")},
}


def recorded(name, module, x, layer_spec, ranges):
    """Sums of the ideal chip with wires before their ADC, `{(slice, tile): (outputs, n)}`, inputs not quantised."""
    layer = programmed(module, layer_spec, 0, name)
    dac, v = layer_spec.dac, patches(module, x)
    drive = [v]
    if dac != Ideal():
        x_max = ranges.x_max
        if dac.range == "abs_max":
            x_max = v.abs().amax(-1, keepdim=True)
            x_max = x_max.where(x_max > 0, 1.0)
        drive = [v / x_max]
        if dac.accumulation == "digital":
            full = 2 ** (dac.bits - 1) - 1 if ranges.signed else 2**dac.bits - 1
            codes = torch.round((v.clamp(-x_max if ranges.signed else 0.0, x_max)) * full / x_max)
            size, many = codes.abs().long(), dac.bits - 1 if ranges.signed else dac.bits
            drive = [((size >> b) & 1) * codes.sign() for b in range(many)]
    if layer_spec.iv != Ideal():
        r = layer_spec.iv.v_read_V / layer_spec.iv.v_0_V
        drive = [torch.sinh(each.clamp(-1, 1) * r) / math.sinh(r) for each in drive]
    found: dict[tuple[int, int], list[torch.Tensor]] = {}
    for s, _, weight in bit_lines(layer):
        for each in drive:
            for tile, z in sums(layer_spec, weight, each, 1):
                found.setdefault((s, tile), []).append(z.T)
    return {key: torch.cat(each, 1) for key, each in found.items()}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("per", ["layer", "tile", "column"])
@pytest.mark.parametrize("percentile", [100.0, 97.0])
@torch.inference_mode()
def test_sums_are_ranked_by_what_shares_a_range(part, per, percentile):
    parts = {"tile": TILE, **PARTS[part]}
    adc = UniformADC(8, per=per, percentile=percentile, **parts.pop("adc", {}))
    layer_spec = spec(adc=adc, **parts)
    net = Net().eval()
    ranges = fit(layer_spec, net=net)["conv"]
    z = recorded("conv", net.conv, X, layer_spec, ranges)
    slices, tiles = 1 + max(s for s, _ in z), 3
    assert {tile for _, tile in z} == set(range(tiles))
    found = ranges.z_max.expand(slices, tiles, 8)
    for s in range(slices):
        of_slice = torch.cat([z[s, tile] for tile in range(tiles)], 1)
        for tile in range(tiles):
            for first in range(0, 8, 5):
                columns = range(first, min(first + 5, 8))
                for column in columns:
                    values = {
                        "layer": of_slice,
                        "tile": z[s, tile][list(columns)],
                        "column": z[s, tile][column],
                    }[per]
                    # Where bits make few sums, those beside the rank lie apart: rounding may choose either.
                    near = [nearest_rank(values, min(100.0, percentile + e)) for e in (-0.02, 0.0, 0.02)]
                    assert any(float(found[s, tile, column]) == pytest.approx(each, rel=2e-5) for each in near)


@torch.inference_mode()
def test_groups_have_tiles_of_their_own():
    module = nn.Sequential(nn.Conv2d(4, 12, 3, groups=2)).eval()
    x = inputs(20, 4, 6, 6)
    layer_spec = spec(tile=Crossbar(10, 4), adc=UniformADC(per="tile"))
    z_max = AnalogNetwork(module, {"0": layer_spec}).fit_ranges(x)["0"].z_max
    assert z_max.shape == (1, 2, 12)
    z = dict(sums(layer_spec, *matrix_and_patches(module[0], layer_spec, x), 2))
    for tile in range(2):
        for columns in (range(0, 4), range(4, 6), range(6, 10), range(10, 12)):
            expected = float(z[tile][:, list(columns)].abs().max())
            assert z_max[0, tile, list(columns)].tolist() == pytest.approx([expected] * len(columns), rel=1e-5)
    assert len(z_max.unique()) == 8


def matrix_and_patches(module, layer_spec, x):
    ((_, _, weight),) = bit_lines(programmed(module, layer_spec, 0))
    return weight, patches(module, x)


@pytest.mark.parametrize(
    ("adc", "tile", "expected"),
    [
        (UniformADC(range="full"), Ideal(), [27.0]),
        (UniformADC(range="full"), TILE, [12.0]),
        (UniformADC(range="full", per="tile"), TILE, [12.0, 12.0, 3.0]),
        (UniformADC(range="full", per="column"), Crossbar(12, 5, rows_active=7), [7.0, 7.0, 3.0]),
        (UniformADC(range="full", per="tile"), Crossbar(12, 5, arrangement="interleaved"), [6.0] * 4 + [3.0]),
        (UniformADC(range="full", subtraction="digital"), TILE, [12.0 * 100 / 99]),
        (UniformADC(range="given", z_max=0.7), TILE, [0.7]),
    ],
)
def test_designed_ranges_need_no_inputs(adc, tile, expected):
    layer_spec = spec(dac=UniformDAC(range="given", x_max=2.0), adc=adc, tile=tile)
    assert not layer_spec.fitted
    net = Net().eval()
    analog = AnalogNetwork(net, {"conv": layer_spec})
    assert not analog.fits_ranges
    ranges = analog.fit_ranges(None)["conv"]
    assert (ranges.x_max, ranges.signed) == (2.0, True)
    assert ranges.z_max.flatten().tolist() == pytest.approx(expected)
    assert not net.seen


def equal(one, other):
    return all(
        a.x_max == b.x_max and a.signed == b.signed and torch.equal(a.z_max, b.z_max)
        for a, b in zip(one.values(), other.values(), strict=True)
    )


@torch.inference_mode()
def test_ranges_are_those_of_the_ideal_chip_with_wires():
    parts = {"tile": TILE, "dac": UniformDAC(6, percentile=99.0), "adc": UniformADC(7, per="tile", percentile=99.0)}
    plain = fit(spec(**parts))
    for effects in (
        {"programming": Gaussian(0.2)},
        {"drift": RelativeDrift(0.5)},
        {"read_noise": WhiteReadNoise(0.01)},
        {"adc": UniformADC(4, per="tile", percentile=99.0, offset_sigma_lsb=3.0, gain_sigma=0.2, output_noise_lsb=1.0)},
        {"dac": UniformDAC(3, percentile=99.0)},
    ):
        found = fit(spec(**{**parts, **effects}), t_s=0.0)
        for name, ranges in found.items():
            assert ranges.x_max == pytest.approx(plain[name].x_max, rel=1e-6)
            torch.testing.assert_close(ranges.z_max, plain[name].z_max, rtol=1e-5, atol=0)
    wired = fit(spec(wires=Segments(30.0, 30.0), **parts))
    assert (wired["conv"].z_max < plain["conv"].z_max).all()
    assert wired["fc"].x_max < plain["fc"].x_max
    other = fit(spec(**parts), inputs(37, 3, 5, 5, seed=9))
    assert not equal(other, plain)


@torch.inference_mode()
def test_a_fit_leaves_no_trace():
    """It is the same before and after a chip, and the chip the same before and after it."""
    layer_spec = spec(tile=TILE, programming=Gaussian(0.1), dac=UniformDAC(6), adc=UniformADC(7))
    analog = AnalogNetwork(Net().eval(), {"conv": layer_spec, "fc": layer_spec})
    ranges = analog.fit_ranges(X)
    analog.set_ranges(ranges)
    y = analog.chip(5)(X).clone()
    assert equal(analog.fit_ranges(X), ranges)
    assert torch.equal(analog.chip(5)(X), y)
    analog.chip(6)
    assert equal(analog.fit_ranges(X), ranges)
    torch.testing.assert_close(analog.ideal()(X), Net().eval()(X), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_nothing_to_read_has_range_one():
    net = Net().eval()
    nn.init.zeros_(net.conv.weight)
    nn.init.zeros_(net.conv.bias)
    nn.init.zeros_(net.fc.weight)
    nn.init.zeros_(net.fc.bias)
    for per in ("layer", "tile", "column"):
        for percentile in (100.0, 99.0):
            adc = UniformADC(per=per, percentile=percentile)
            ranges = fit(spec(tile=TILE, dac=UniformDAC(percentile=percentile), adc=adc), net=net)
            assert ranges["fc"].x_max == 1.0
            assert not ranges["fc"].signed
            for each in ranges.values():
                assert (each.z_max == 1.0).all()
    net = Net().eval()
    nn.init.zeros_(net.conv.weight[3])
    z_max = fit(spec(tile=TILE, adc=UniformADC(per="column")), net=net)["conv"].z_max
    assert (z_max[..., 3] == 1.0).all()
    assert (z_max[..., [0, 1, 2, 4, 5, 6, 7]] != 1.0).all()


@torch.inference_mode()
def test_tied_layers_have_ranges_of_their_own():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(self.first(x).relu() * 10)

    x = inputs(40, 8)
    net = Tied().eval()
    layer_spec = spec(dac=UniformDAC(16), adc=UniformADC(16, gain_sigma=0.1))
    analog = AnalogNetwork(net, dict.fromkeys(("first", "second"), layer_spec))
    ranges = analog.fit_ranges(x)
    assert ranges["first"].x_max == pytest.approx(float(x.abs().max()))
    assert ranges["second"].x_max == pytest.approx(float(net.first(x).relu().max() * 10), rel=1e-5)
    assert ranges["first"].signed
    assert not ranges["second"].signed
