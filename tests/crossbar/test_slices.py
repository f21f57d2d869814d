"""Bit slices: digits, their cells and scales, and what slices do behind errors, wires and reads."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import rramsweep as rs
from rramsweep.crossbar import Crossbar, Ideal, LayerSpec, Segments
from rramsweep.crossbar.mapping import (
    BASES,
    ConstantSum,
    Differential,
    Offset,
    Sliced,
    cell_gains,
    cell_names,
    is_paired,
    sign_of,
    slice_of,
)
from rramsweep.crossbar.programming import map_layer, program
from rramsweep.devices import Device
from rramsweep.devices.streams import Stream
from rramsweep.effects import Gaussian, Stuck, WhiteReadNoise
from rramsweep.identity import describe
from tests.crossbar.parts import cell_weights, slice_factors
from tests.laws import SIGMAS

OPEN = Device(1.0, 100.0, edge="none")
SIZES = [(1, 2), (1, 8), (2, 2), (2, 4), (2, 8), (3, 5), (4, 1), (8, 1), (8, 2), (1, 16)]
UNSLICED = [Differential(), ConstantSum("per_channel"), Offset()]


def weights(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def mapped(mapping, weight, device=OPEN, **parts):
    return map_layer("fc", weight, LayerSpec(device, mapping, **parts))


def integer(mapping, weight, full_scale):
    """k of a weight in Python's integers, with its sign; of an offset it counts from k0 - 1 below zero."""
    largest = 2**mapping.bits - 1 if mapping.base != "offset" else 2 ** (mapping.bits - 1) - 1
    w = (weight.double() / full_scale.double()).clamp(-1, 1)
    return [round(value) for value in (w * largest).flatten().tolist()], largest


@pytest.mark.parametrize(("bits", "slices"), [(2, 2), (1, 8), (4, 2), (3, 3)])
@pytest.mark.parametrize("base", BASES)
def test_digits_of_every_integer_are_exact(base, bits, slices):
    mapping, b = Sliced(base, bits, slices), 2**bits
    _, largest = integer(mapping, torch.ones(1), torch.ones(1))
    codes = list(range(-largest, largest + 1))
    layer = mapped(mapping, torch.tensor(codes) / largest)
    assert list(layer.target_uS) == cell_names(mapping, OPEN)
    for j, code in enumerate(codes):
        k = code + b**slices // 2 if base == "offset" else abs(code)
        for s in range(slices):
            digit = k // b ** (slices - 1 - s) % b
            p, n = ("p", "n") if s == 0 else (f"p_{s}", f"n_{s}")
            part = 99 * digit / (b - 1)
            expected = {p: 1 + part}
            if base == "differential":
                expected = {p: 1 + part * (code > 0), n: 1 + part * (code < 0)}
            elif base == "constant_sum":
                sign = (code > 0) - (code < 0)
                expected = {p: 50.5 + sign * part / 2, n: 50.5 - sign * part / 2}
            found = {cell: float(layer.target_uS[cell][j]) for cell in expected}
            assert found == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(layer.weight(), torch.tensor(codes) / largest, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", ["per_tensor", "per_channel"])
@pytest.mark.parametrize("w_max", ["max", "percentile"])
@pytest.mark.parametrize(("bits", "slices"), SIZES)
@pytest.mark.parametrize("base", BASES)
def test_the_ideal_chip_is_the_weight_in_its_bits(base, bits, slices, scale, w_max):
    weight = weights(40, 10, 3)  # so many that some lie near the middle between integers of 16 bits
    mapping = Sliced(base, bits, slices, scale, w_max, 95.0)
    for device in (OPEN, Device(50.0, 225.0), Device(1.0, 100.0, levels=2 ** (bits + 1) - 1)):
        layer = mapped(mapping, weight, device)
        k, largest = integer(mapping, weight, layer.full_scale)
        expected = torch.tensor(k).view_as(weight) / largest * layer.full_scale
        assert ((layer.weight() - expected) / layer.full_scale).abs().max() < 1e-6
        assert float(layer.weight().abs().max()) <= float(layer.full_scale.max()) * (1 + 1e-6)


@pytest.mark.parametrize(("bits", "slices"), SIZES)
@pytest.mark.parametrize("base", BASES)
def test_weight_zero_is_exact_on_the_ideal_chip(base, bits, slices):
    for device in (OPEN, Device(1.0, 100.0, levels=2 ** (bits + 1) - 1), Device(0.0, 40.0)):
        weight = mapped(Sliced(base, bits, slices), torch.tensor([-2.0, 0.0, 2.0]), device).weight()
        assert abs(float(weight[1])) < 2e-7
        assert weight.tolist() == pytest.approx([-2.0, 0.0, 2.0], abs=2e-6)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("scale", ["per_tensor", "per_channel"])
def test_one_slice_is_the_unsliced_pair_of_as_many_levels(bits, scale):
    weight = weights(30, 40)
    device = Device(1.0, 100.0, levels=2**bits)
    parts = {"programming": Gaussian(0.03), "faults": Stuck(0.05, 0.05)}
    sliced = program(mapped(Sliced("differential", bits, 1, scale), weight, device, **parts), 3)
    plain = program(mapped(Differential(scale), weight, device, **parts), 3)
    assert list(sliced.g_uS) == list(plain.g_uS)
    assert all(torch.equal(sliced.g_uS[cell], plain.g_uS[cell]) for cell in plain.g_uS)
    assert torch.equal(sliced.weight(), plain.weight())
    continuous = mapped(Sliced("differential", bits, 1, scale), weight, Device(1.0, 100.0))
    torch.testing.assert_close(continuous.weight(), mapped(Differential(scale), weight, device).weight())


def test_the_most_significant_slice_has_the_draws_of_an_unsliced_cell_and_each_slice_its_own():
    weight = weights(40, 50)

    def errors(mapping):
        layer = program(mapped(mapping, weight, programming=Gaussian(0.03)), 3)
        return {cell: g - layer.target_uS[cell] for cell, g in layer.g_uS.items()}

    plain, sliced = errors(Differential()), errors(Sliced("differential", 2, 3))
    for cell in ("p", "n"):
        torch.testing.assert_close(sliced[cell], plain[cell], rtol=0, atol=2e-5)
    rows = torch.stack([error.flatten() for error in sliced.values()])
    correlation = torch.corrcoef(rows) - torch.eye(len(rows))
    assert len(rows) == 6
    assert correlation.abs().max() < SIGMAS / math.sqrt(rows.shape[1])


@pytest.mark.parametrize(("bits", "slices"), [(2, 2), (1, 4), (4, 2)])
@pytest.mark.parametrize("base", BASES)
def test_the_error_of_a_weight_is_that_of_its_slices(base, bits, slices):
    weight, sigma_uS = weights(300, 200), 3.0
    layer = mapped(Sliced(base, bits, slices), weight, programming=Gaussian(sigma_uS / 100))
    error = (program(layer, 3).weight() - layer.weight()).double()
    b, k0 = 2**bits, 2 ** (bits * slices - 1)
    gains = [(b - 1) * b**s / (k0 - 1 if base == "offset" else b**slices - 1) for s in range(slices)]
    cells = 1 if base == "offset" else 2
    sd = sigma_uS / 99 * float(layer.full_scale) * math.sqrt(cells * sum(gain**2 for gain in gains))
    n = error.numel()
    assert abs(float(error.mean())) < SIGMAS * sd / math.sqrt(n)
    assert float(error.std()) == pytest.approx(sd, rel=SIGMAS / math.sqrt(2 * n))
    assert math.hypot(*(float(gain) for gain in layer.gains.values())) * sigma_uS == pytest.approx(sd, rel=1e-6)


@pytest.mark.parametrize(
    "mapping", [*UNSLICED, Sliced(), Sliced("constant_sum", 1, 5), Sliced("offset", 3, 2)], ids=repr
)
@pytest.mark.parametrize("device", [OPEN, Device(50.0, 225.0, levels=29), Device(0.0, 40.0, step_uS=0.3)], ids=repr)
def test_parts_of_the_arrays_add_up_to_the_weight(mapping, device):
    weight = weights(20, 6, 3)
    layer = program(mapped(mapping, weight, device, programming=Gaussian(0.05)), 3)
    parts = cell_weights(mapping, layer.g_uS, layer.full_scale, device)
    assert list(parts) == list(layer.g_uS)
    # A part is as large as the conductance, of which a pair takes the difference.
    rounding = 1e-6 * device.g_max_uS / device.span_uS
    assert ((sum(parts.values()) - layer.weight()) / layer.full_scale).abs().max() < rounding
    for cell, part in parts.items():
        assert part.shape == weight.shape
        if is_paired(parts):
            assert (part * sign_of(cell) >= 0).all() or device.edge == "none"
        moved = cell_weights(mapping, {**layer.g_uS, cell: layer.g_uS[cell] + 1}, layer.full_scale, device)
        torch.testing.assert_close(
            (moved[cell] - part).expand_as(weight),
            (sign_of(cell) * layer.gains[cell]).expand_as(weight),
            rtol=1e-3,
            atol=float(layer.full_scale.max()) * rounding,
        )


@pytest.mark.parametrize("mapping", [Sliced("offset", 2, 4), Offset()], ids=repr)
def test_arrays_without_pairs_stand_for_nothing_at_weight_zero(mapping):
    layer = mapped(mapping, torch.tensor([-1.0, 0.0, 1.0]))
    parts = cell_weights(mapping, layer.g_uS, layer.full_scale, OPEN)
    assert all(float(part[1]) == 0 for part in parts.values())


class OneGain:
    """A user's own mapping, as it was written before slices."""

    version = 1

    def full_scale(self, weight):
        return weight.abs().max()

    def targets(self, weight, full_scale, device):
        return Differential().targets(weight, full_scale, device)

    def weight(self, g_uS, full_scale, device):
        return Differential().weight(g_uS, full_scale, device)

    def gain(self, full_scale, device):
        return full_scale / device.span_uS


class NoGain(OneGain):
    gain = property()


def test_a_mapping_with_one_gain_for_all_cells_is_taken_as_it_is():
    weight = weights(6, 40)
    x = torch.ones(5, 40)
    noise = WhiteReadNoise(0.02)

    def read(mapping):
        layer = program(mapped(mapping, weight, programming=Gaussian(0.02), read_noise=noise), 1)
        return layer, noise(torch.nn.functional.linear, x, layer, Stream(1, ("fc", "read_noise")))

    (own, y), (plain, expected) = read(OneGain()), read(Differential())
    assert torch.equal(y, expected)
    assert list(cell_gains(own.spec.mapping, own.g_uS, own.full_scale, OPEN)) == ["p", "n"]
    assert slice_factors(own.spec.mapping) == (1.0,)
    parts = cell_weights(own.spec.mapping, own.g_uS, own.full_scale, OPEN)
    torch.testing.assert_close(parts["p"] + parts["n"], plain.weight(), rtol=0, atol=1e-6)


class OneCell(OneGain):
    def targets(self, weight, full_scale, device):
        return Offset().targets(weight, full_scale, device)

    def weight(self, g_uS, full_scale, device):
        return Offset().weight(g_uS, full_scale, device)


def test_a_mapping_of_ones_own_without_pairs_has_no_wires():
    with pytest.raises(ValueError, match=r"wires needs pairs of cells.*got mapping=OneCell: set mapping=differential"):
        LayerSpec(Device(1.0, 100.0), OneCell(), tile=Crossbar(), wires=Segments(1.0))
    assert LayerSpec(Device(1.0, 100.0), OneGain(), tile=Crossbar(), wires=Segments(1.0)).wired


def test_a_mapping_without_gains_is_refused():
    with pytest.raises(
        ValueError, match=r"mapping must have gains\(full_scale, device\), got NoGain: return \|dW/dG\|"
    ):
        LayerSpec(OPEN, NoGain())


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("bits", "slices"), SIZES)
def test_factors_of_slices_are_their_shares_of_a_weight(base, bits, slices):
    factors = slice_factors(Sliced(base, bits, slices))
    b = 2**bits
    assert factors == pytest.approx([(b - 1) * b**s / (b**slices - 1) for s in reversed(range(slices))], rel=1e-15)
    assert sum(factors) == pytest.approx(1, abs=1e-15)
    assert all(slice_factors(mapping) == (1.0,) for mapping in UNSLICED)


def test_names_of_arrays_say_slice_and_sign():
    names = cell_names(Sliced("differential", 1, 12), OPEN)
    assert names[:4] == ["p", "n", "p_1", "n_1"]
    assert [slice_of(cell) for cell in names] == [k for k in range(12) for _ in "pn"]
    assert [sign_of(cell) for cell in names] == [1, -1] * 12
    assert is_paired(names)
    assert cell_names(Sliced("offset", 1, 3), OPEN) == ["p", "p_1", "p_2"]
    assert not is_paired(["p", "p_1", "p_2"])
    assert not is_paired(["p", "n", "p_1"])


@pytest.mark.parametrize("fill", ["used", "whole"])
@pytest.mark.parametrize("arrangement", ["separate", "interleaved"])
@pytest.mark.parametrize("base", ["differential", "constant_sum"])
def test_slices_with_wires_are_each_slice_marched_alone(base, arrangement, fill):
    wires, tile = Segments(5.0, 3.0, 40.0, 20.0), Crossbar(12, 7, fill, arrangement)
    mapping = Sliced(base, 2, 3)
    layer = program(mapped(mapping, weights(10, 16), Device(1.0, 100.0), tile=tile, wires=wires), 1)
    assert list(layer.effective_uS) == list(layer.g_uS)
    total = torch.zeros(10, 16)
    for k, factor in enumerate(slice_factors(mapping)):
        pair = {"p": layer.g_uS["p" if k == 0 else f"p_{k}"], "n": layer.g_uS["n" if k == 0 else f"n_{k}"]}
        alone = tile.effective_uS(pair, wires, 1.0)
        for cell, g_uS in alone.items():
            found = layer.effective_uS[cell if k == 0 else f"{cell}_{k}"]
            torch.testing.assert_close(found, g_uS.float(), rtol=1e-6, atol=0)
        total += ((alone["p"] - alone["n"]) / 99 * factor).float() * layer.full_scale
    torch.testing.assert_close(layer.weight(), total, rtol=0, atol=2e-6 * float(layer.full_scale))
    assert (layer.weight() - layer.weight_of_cells()).norm() > 1e-3 * layer.weight().norm()
    shuffled = dict(reversed(layer.g_uS.items()))
    effective = tile.effective_uS(shuffled, wires, 1.0)
    assert list(effective) == list(shuffled)
    assert all(torch.equal(effective[cell].float(), g_uS) for cell, g_uS in layer.effective_uS.items())


@pytest.mark.parametrize("mapping", [Sliced("differential", 2, 3), Sliced("constant_sum", 1, 4)], ids=repr)
def test_read_noise_of_a_sliced_cell_reaches_the_output_through_its_wires(mapping):
    noise = WhiteReadNoise(alpha_ind=0.02)
    parts = {"tile": Crossbar(16, 8), "wires": Segments(20.0, 10.0, 100.0, 50.0), "read_noise": noise}
    layer = mapped(mapping, weights(8, 16), Device(1.0, 100.0), **parts)
    x = torch.zeros(20_000, 16)
    x[:, 5] = 1.0
    y = noise(torch.nn.functional.linear, x, layer, Stream(1, ("fc", "read_noise", "0"))).double()
    factors = slice_factors(mapping)
    variance = sum(
        (factors[slice_of(cell)] * layer.effective_uS[cell] / g_uS).square()[:, 5] for cell, g_uS in layer.g_uS.items()
    )
    sd = 2.0 / 99 * float(layer.full_scale) * variance.double().sqrt()
    torch.testing.assert_close(y.std(0), sd, rtol=SIGMAS / (2 * len(x)) ** 0.5, atol=0)


@pytest.mark.parametrize(
    ("overrides", "cells"),
    [
        (["mapping=differential"], 2),
        (["mapping=offset"], 1),
        (["mapping=sliced", "mapping.slices=3"], 6),
        (["mapping=sliced", "mapping.slices=3", "mapping.base=offset"], 3),
    ],
)
def test_every_slice_counts_as_cells(overrides, cells, workdir):
    table = rs.inspect(["model=digits_mlp", "data=digits", "chips=1", *overrides])
    sizes = [module.weight.numel() for module in rs.models.digits_mlp().modules() if hasattr(module, "weight")]
    assert table["n_cells"].tolist() == [cells * size for size in sizes]


def test_a_sweep_of_slices_is_paired_and_its_parameters_are_columns(workdir):
    frame = rs.sweep(
        [
            *("model=digits_mlp", "data=digits", "chips=2", "drift=ideal", "programming=gaussian"),
            *("programming.alpha_ind=0.05", "mapping=sliced", "mapping.slices=1,4", "mapping.bits_per_cell=2"),
        ]
    )
    assert (frame["status"] == "ok").all()
    means = frame.groupby("mapping.slices")["n_correct"].mean()
    assert means[4] > means[1]  # 8 bits against 2


def test_the_identity_of_a_point_reads_every_parameter():
    assert describe(Sliced("offset", 2, 4)) == (
        "Sliced v1(base='offset', bits_per_cell=2, percentile=99.9, scale='per_tensor', slices=4, w_max='max')"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bits_per_cell": 0}, "mapping.bits_per_cell must lie in 1..8, got 0"),
        ({"bits_per_cell": 9, "slices": 1}, "mapping.bits_per_cell must lie in 1..8, got 9"),
        ({"slices": 0}, "mapping.slices must lie in 1..16, got 0"),
        ({"slices": 17, "bits_per_cell": 1}, "mapping.slices must lie in 1..16, got 17"),
        (
            {"slices": 3, "bits_per_cell": 6},
            r"mapping needs 1..16 bits a weight for base=differential, got bits_per_cell=6 times slices=3: take fewer",
        ),
        (
            {"base": "offset", "slices": 1, "bits_per_cell": 1},
            r"mapping needs 2..16 bits a weight for base=offset, got bits_per_cell=1 times slices=1: take more slices",
        ),
        ({"base": "sliced"}, "base must be one of differential, constant_sum, offset, got 'sliced'"),
        ({"scale": "per_row"}, "mapping.scale must be one of"),
        ({"w_max": "rms"}, "mapping.w_max must be one of"),
        ({"percentile": 0.0}, "percentile must lie above 0"),
        ({"slices": 2.5}, "mapping.slices must be an integer, got 2.5"),
        ({"bits_per_cell": "two"}, "mapping.bits_per_cell must be an integer, got 'two'"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        Sliced(**arguments)
    assert "\n" not in str(error.value)


def test_a_percentile_of_zero_is_refused():
    weight = torch.zeros(1000)
    weight[0] = 1.0
    with pytest.raises(ValueError, match="must leave a weight above 0"):
        mapped(Sliced(w_max="percentile", percentile=99.0), weight)


def test_an_array_of_cells_that_a_tile_does_not_have_is_named(workdir):
    point = ["model=digits_mlp", "data=digits", "mapping=sliced", "mapping.slices=2", "tile=crossbar", "wires=segments"]
    drop = rs.tile_drop([*point, "wires.word_line_ohm=5"], "fc1", cell="n_1")
    assert drop.attrs["cell"] == "n_1"
    assert float(drop.max().max()) > 0
    with pytest.raises(ValueError, match=r"cell must name an array of cells, got 'p_2': give p or n or p_1 or n_1"):
        rs.tile_drop([*point, "wires.word_line_ohm=5"], "fc1", cell="p_2")


def test_stuck_slices_move_a_weight_by_their_share():
    layer = mapped(Sliced("differential", 2, 2), torch.tensor([[1.0, 0.0]]), faults=Ideal())
    stuck = replace(layer, g_uS={**layer.g_uS, "n_1": torch.full((1, 2), 100.0)})
    torch.testing.assert_close(layer.weight() - stuck.weight(), torch.full((1, 2), 3 / 15), rtol=0, atol=1e-6)
