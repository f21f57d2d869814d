"""Copies of a weight: independent cells whose mean counts."""

import math

import pytest
import torch

from rramsweep.crossbar import ConstantSum, Crossbar, Differential, LayerSpec, Offset, Segments, Sliced, UniformADC
from rramsweep.crossbar.mapping import cell_names, copies_of, is_paired, original, slice_of
from rramsweep.crossbar.programming import map_layer, program
from rramsweep.devices.device import Device
from rramsweep.devices.streams import Stream
from rramsweep.effects import Gaussian, RandomTelegraphNoise, WhiteReadNoise
from rramsweep.effects.reads import weight_variance
from rramsweep.errors import ValidationError
from rramsweep.network.analog import AnalogNetwork
from tests.crossbar.parts import cell_weights

OPEN = Device(1.0, 100.0, edge="none")
MAPPINGS = {
    "differential": Differential,
    "constant_sum": ConstantSum,
    "offset": Offset,
    "sliced": lambda copies: Sliced("differential", 2, 3, copies=copies),
    "sliced offset": lambda copies: Sliced("offset", 2, 3, copies=copies),
}


def weight(outputs=64, inputs=80):
    return Stream(0, ("weight",)).normal((outputs, inputs))


def made(mapping, copies, sigma=0.0, seed=0, **parts):
    spec = LayerSpec(OPEN, MAPPINGS[mapping](copies=copies), programming=Gaussian(sigma), **parts)
    return program(map_layer("layer", weight(), spec), seed)


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_the_ideal_chip_is_that_of_one_copy(mapping):
    torch.testing.assert_close(made(mapping, 4).weight(), made(mapping, 1).weight(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("copies", [2, 4])
def test_the_variance_of_the_weight_falls_with_the_copies(mapping, copies):
    """Independent errors of sigma each: var(mean) = var / M, within 6 standard errors of a variance."""
    ideal = made(mapping, 1).weight()
    one = (made(mapping, 1, 0.05).weight() - ideal).var()
    several = (made(mapping, copies, 0.05).weight() - ideal).var()
    n = ideal.numel()
    assert float(several * copies / one) == pytest.approx(1, abs=6 * math.sqrt(4 / n))


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_the_first_copy_has_the_draws_of_a_single_one_and_each_has_its_own(mapping):
    one, several = made(mapping, 1, 0.05), made(mapping, 3, 0.05)
    assert list(several.g_uS) == cell_names(several.spec.mapping, OPEN)
    assert len(several.g_uS) == 3 * len(one.g_uS)
    for cell, g_uS in several.g_uS.items():
        if cell in one.g_uS:
            assert torch.equal(g_uS, one.g_uS[cell])
        else:
            assert torch.equal(several.target_uS[cell], one.target_uS[original(cell)])
            errors = g_uS - several.target_uS[cell], one.g_uS[original(cell)] - one.target_uS[original(cell)]
            assert abs(float(torch.corrcoef(torch.stack([e.flatten() for e in errors]))[0, 1])) < 6 / math.sqrt(5120)


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_the_parts_of_all_arrays_add_up_to_the_weight(mapping):
    layer = made(mapping, 3, 0.05)
    parts = cell_weights(layer.spec.mapping, layer.g_uS, layer.full_scale, OPEN)
    torch.testing.assert_close(sum(parts.values()), layer.weight(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("mapping", ["differential", "sliced"])
def test_read_noise_of_copies_is_averaged(mapping):
    one, several = made(mapping, 1), made(mapping, 4)
    variance = [weight_variance(x, [torch.ones_like(g) for g in x.g_uS.values()]) for x in (one, several)]
    torch.testing.assert_close((4 * variance[1]).broadcast_to(variance[0].shape), variance[0], rtol=1e-5, atol=0)


def test_random_telegraph_noise_of_copies_shifts_the_mean_weight_as_that_of_one():
    noise = RandomTelegraphNoise(a_uS=0.2, b=0.01, relative_max=0.5, tau=0.5)
    x = torch.eye(80)

    def read(copies, seed):
        layer = made("differential", copies, read_noise=noise)
        return noise(torch.nn.functional.linear, x, layer, Stream(seed, ("read",)))

    means = [torch.stack([read(copies, seed) for seed in range(40)]).mean(0) for copies in (1, 8)]
    assert float((means[0] - means[1]).abs().mean()) < 0.02 * float(means[0].abs().mean())


@pytest.mark.parametrize("arrangement", ["separate", "interleaved"])
def test_each_copy_has_wires_of_its_own(arrangement):
    tile, wires = Crossbar(32, 32, arrangement=arrangement), Segments(5.0, 5.0)
    spec = LayerSpec(Device(1.0, 100.0), Differential(copies=2), tile=tile, wires=wires, programming=Gaussian(0.05))
    layer = program(map_layer("layer", weight(), spec), 0)
    for names in (("p", "n"), ("p2", "n2")):
        alone = tile.effective_uS({"p": layer.g_uS[names[0]], "n": layer.g_uS[names[1]]}, wires, 1.0)
        for cell, name in zip("pn", names, strict=True):
            torch.testing.assert_close(layer.effective_uS[name], alone[cell].float(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("mapping", ["differential", "sliced"])
@pytest.mark.parametrize("subtraction", ["array", "digital"])
@pytest.mark.parametrize("noise", [False, True])
def test_a_fine_adc_reads_the_mean_of_the_copies(mapping, subtraction, noise):
    linear = torch.nn.Linear(80, 64)
    adc = UniformADC(16, subtraction=subtraction)
    parts = {"read_noise": WhiteReadNoise(1e-7)} if noise else {}
    spec = LayerSpec(Device(1.0, 100.0), MAPPINGS[mapping](copies=3), adc=adc, tile=Crossbar(32, 32), **parts)
    x = Stream(0, ("x",)).normal((50, 80))
    network = AnalogNetwork(torch.nn.Sequential(linear), {"0": spec})
    network.set_ranges(network.fit_ranges(x))
    y, digital = network.chip(0)(x), linear(x)
    # Of slices, weights are rounded to 6 bits.
    assert float((y - digital).norm() / digital.norm()) < (0.03 if mapping == "sliced" else 1e-3)


def test_names_of_copies():
    names = cell_names(Sliced("differential", 1, 2, copies=2), OPEN)
    assert names == ["p", "n", "p_1", "n_1", "p2", "n2", "p2_1", "n2_1"]
    assert [slice_of(name) for name in names] == [0, 0, 1, 1] * 2
    assert [original(name) for name in names] == ["p", "n", "p_1", "n_1"] * 2
    assert is_paired(names)
    assert not is_paired(names[:-1])
    assert copies_of(Offset(copies=5)) == 5


@pytest.mark.parametrize("copies", [0, 65])
def test_a_number_of_copies_out_of_range_is_refused(copies):
    with pytest.raises(ValidationError, match=r"mapping\.copies must lie in 1\.\.64, got"):
        Differential(copies=copies)
