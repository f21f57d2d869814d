"""Corrections fold into weights, biases and batch norms exactly as they act behind the product."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from rramsweep import FastPyTorchRRAM
from rramsweep.calibration import DoRA, Moments
from rramsweep.crossbar.pieces import NetworkCells
from rramsweep.datasets.inputs import Inputs, call
from rramsweep.effects import WhiteReadNoise
from rramsweep.network.arrays import find_arrays, own_weights
from rramsweep.network.batch_norm import find_folds
from rramsweep.network.corrections import (
    Corrections,
    Installation,
    LayerCorrection,
    NormStatistics,
    correctable_layers,
)
from rramsweep.network.recording import POSITIONS, input_rows, product_rows
from tests.calibration.lab import DRIFTED, IDEAL, METHODS, POOL, TEST, net, network

CASES = [
    ("linear", nn.Linear(5, 6), torch.randn(4, 7, 5)),
    ("linear without bias", nn.Linear(5, 6, bias=False), torch.randn(4, 5)),
    ("grouped and strided", nn.Conv2d(4, 6, 3, 2, 1, groups=2), torch.randn(3, 4, 9, 9)),
    ("dilated and circular", nn.Conv2d(4, 6, 3, 1, "same", 2, padding_mode="circular"), torch.randn(3, 4, 9, 9)),
    ("one lone series", nn.Conv1d(4, 6, 3, 2, 1), torch.randn(4, 20)),
    ("volumes", nn.Conv3d(2, 6, 2), torch.randn(2, 2, 4, 5, 6)),
    ("transposed", nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2), torch.randn(3, 4, 9, 8)),
    ("transposed and dilated", nn.ConvTranspose1d(4, 6, 5, 3, 2, dilation=2), torch.randn(3, 4, 9)),
    ("depthwise", nn.Conv2d(6, 6, 3, groups=6), torch.randn(2, 6, 7, 7)),
]
IDS = [name.replace(" ", "_") for name, *_ in CASES]


def layer_of(module: nn.Module):
    return correctable_layers(module, find_arrays(module), [""])[0]


def random_correction(layer, rank: int = 2) -> LayerCorrection:
    rng = torch.Generator().manual_seed(3)
    (m, n), groups = layer.matrix_shape(), layer.array.matrices
    return LayerCorrection(
        scale=torch.rand(m * groups, generator=rng) + 0.5,
        offset=torch.randn(m * groups, generator=rng),
        left=torch.randn(groups, m, rank, generator=rng),
        right=torch.randn(groups, rank, n, generator=rng),
    )


@pytest.mark.parametrize(("module", "x"), [case[1:] for case in CASES], ids=IDS)
@torch.no_grad()
def test_rows_of_inputs_times_the_weight_are_the_rows_of_products(module, x):
    layer, y = layer_of(module), module(x)
    rows = input_rows(layer, x, y)
    weight = layer.array.to_array(layer.array.weight)
    matrices = weight.reshape(layer.array.matrices, -1, rows.shape[-1])
    products = (rows @ matrices.mT).movedim(0, 1).flatten(1)
    torch.testing.assert_close(products, product_rows(layer, y), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_rows_of_many_positions_are_evenly_spaced():
    module, x = nn.Conv2d(2, 3, 3, padding=1), torch.randn(30, 2, 32, 32)
    layer, y = layer_of(module), module(x)
    rows, products = input_rows(layer, x, y), product_rows(layer, y)
    assert rows.shape[1] == len(products) == POSITIONS
    torch.testing.assert_close(rows[0] @ module.weight.flatten(1).T, products, rtol=1e-4, atol=1e-5)
    every = (y - module.bias.view(-1, 1, 1)).movedim(1, -1).flatten(0, -2)
    assert torch.equal(products, every[torch.arange(POSITIONS) * len(every) // POSITIONS])


@pytest.mark.parametrize(("module", "x"), [case[1:] for case in CASES], ids=IDS)
@torch.no_grad()
def test_folding_is_acting_behind(module, x):
    layer, before = layer_of(module), module(x)
    weight, state = layer.array.weight.clone(), {name: p.clone() for name, p in module.named_parameters()}
    correction = random_correction(layer)
    corrections = Corrections({"": correction})
    behind = Installation(module, [layer])
    behind.install(corrections, fold=False)
    acting = module(x)
    behind.remove()
    assert torch.equal(module(x), before)
    folded = Installation(module, [layer])
    folded.install(corrections)
    torch.testing.assert_close(module(x), acting, rtol=1e-4, atol=1e-4)
    # The formula, written out: diag(scale) (W + B A), and the bias plus the offset.
    array = layer.array.to_array(weight)
    product = (correction.left @ correction.right).reshape(array.shape)
    expected = (array + product) * correction.scale.view(-1, *[1] * (array.dim() - 1))
    torch.testing.assert_close(layer.array.to_array(layer.array.weight), expected)
    bias = state.get("bias", torch.zeros(len(correction.offset)))
    torch.testing.assert_close(module.bias.detach(), bias + correction.offset)
    folded.remove()
    layer.array.weight.copy_(weight)
    assert {name: p.tolist() for name, p in module.named_parameters()} == {n: p.tolist() for n, p in state.items()}


@torch.no_grad()
def test_the_offset_of_a_layer_without_bias_goes_into_its_batch_norm():
    model = net()
    layers = {
        la.name: la for la in correctable_layers(model, find_arrays(model), ["stem"], find_folds(model, TEST[:2]))
    }
    corrections = Corrections({"stem": random_correction(layers["stem"])})
    installation = Installation(model, list(layers.values()))
    installation.install(corrections, fold=False)
    acting = model(TEST)
    installation.install(corrections)
    torch.testing.assert_close(model(TEST), acting, rtol=1e-3, atol=1e-4)
    assert model.stem.bias is None


@torch.no_grad()
def test_statistics_of_a_norm_come_and_go():
    model = net()
    before, state = model(TEST), {name: b.clone() for name, b in model.named_buffers()}
    installation = Installation(model, [])
    installation.install(Corrections(norms={"norm2": NormStatistics(torch.ones(8), torch.full((8,), 4.0))}))
    assert model.norm2.running_mean.tolist() == [1.0] * 8
    assert not torch.equal(model(TEST), before)
    installation.remove()
    assert all(torch.equal(b, state[name]) for name, b in model.named_buffers())
    assert torch.equal(model(TEST), before)


class Standardised(nn.Linear):
    """A layer that is more than a product of its weight."""

    def forward(self, x):
        return nn.functional.linear(x, self.weight - self.weight.mean(1, keepdim=True), self.bias)


@torch.no_grad()
def test_corrections_of_what_is_no_plain_product_act_behind_it():
    module, x = Standardised(5, 6), torch.randn(4, 5)
    layer, before = layer_of(module), module(x)
    correction = replace(random_correction(layer), left=None, right=None)
    Installation(module, [layer]).install(Corrections({"": correction}))
    expected = (before - module.bias) * correction.scale + module.bias + correction.offset
    torch.testing.assert_close(module(x), expected)


class Tied(nn.Module):
    """Two layers of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x).relu())


@torch.no_grad()
def test_each_of_two_tied_layers_has_a_correction_of_its_own():
    model, x = Tied(), torch.randn(4, 6)
    arrays = find_arrays(model)
    own_weights(arrays, ["a", "b"])
    a, b = correctable_layers(model, arrays, ["a", "b"])
    one, other = random_correction(a), replace(random_correction(b), scale=torch.full((6,), 2.0))

    def corrected(x, layer, correction):
        weight = correction.weight(layer.array.weight)
        return nn.functional.linear(x, weight, layer.bias + correction.offset)

    expected = corrected(corrected(x, a, one).relu(), b, other)
    Installation(model, [a, b]).install(Corrections({"a": one, "b": other}))
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)


class Twice(nn.Module):
    """Two inputs, one of them by name, and a layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(8, 8), nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x, other):
        hidden = self.a(x).relu() + self.b(input=other)
        return self.out(self.a(hidden).relu())


@pytest.mark.parametrize("method", [Moments(images=40), DoRA(images=40, rank=2)], ids=lambda m: type(m).__name__)
@torch.no_grad()
def test_several_inputs_and_a_layer_that_is_called_twice(method):
    torch.manual_seed(0)
    model, x = Twice().eval(), Inputs((torch.randn(60, 8),), {"other": torch.randn(60, 6)})
    digital = call(model, x)
    torch.testing.assert_close(call(network(model, IDEAL, method, x).chip(0), x), digital, rtol=0, atol=1e-5)
    analog = network(model, DRIFTED, method, x)
    corrected, plain = call(analog.chip(0), x), call(analog.programmed(0, 0.0), x)
    assert (corrected - digital).square().sum() < 0.9 * (plain - digital).square().sum()
    assert analog.calibrated.corrections.layers["a"].positions == 2


@pytest.mark.parametrize("method", [Moments(images=40, gate=False), DoRA(images=40, rank=2, gate=False)])
@torch.no_grad()
def test_read_noise_that_is_hardly_there_changes_hardly_anything(method):
    """The same corrections, once in effective weights and once behind the read."""
    model = net()
    quiet = replace(DRIFTED, read_noise=WhiteReadNoise(1e-7))
    folded, behind = network(model, DRIFTED, method).chip(0)(TEST), network(model, quiet, method).chip(0)(TEST)
    torch.testing.assert_close(behind, folded, rtol=0, atol=1e-3 * float(folded.abs().max()))


@pytest.mark.parametrize("spec", [DRIFTED, replace(DRIFTED, read_noise=WhiteReadNoise(0.01))], ids=["plain", "read"])
@pytest.mark.parametrize(("at_s", "times"), [(None, 1), (2.0, 1), (1.0, 2)])
@torch.no_grad()
def test_a_chip_that_is_read_when_it_is_fitted_is_programmed_once(monkeypatch, spec, at_s, times):
    programmed = []
    for name in ("program", "layer"):
        own = getattr(NetworkCells, name)
        counted = lambda self, unit, seed, *given, own=own: programmed.append(seed) or own(self, unit, seed, *given)  # noqa: E731
        monkeypatch.setattr(NetworkCells, name, counted)
    model, method = net(), Moments(images=40, at_s=at_s)
    analog = network(model, spec, method, t_s=2.0)
    first, again = (analog.chip(1)(TEST) for _ in range(2))
    assert len(programmed) == 2 * times * len(analog._cells.units)
    assert torch.equal(first, again), "no correction is folded into corrected weights"
    monkeypatch.undo()
    afresh = network(model, spec, method, t_s=2.0)
    torch.testing.assert_close(afresh.programmed(1, 2.0)(TEST), analog.programmed(1, 2.0)(TEST), rtol=0, atol=0)
    assert torch.equal(afresh.chip(1)(TEST), first)


def test_corrections_leave_conductances_and_the_callers_network_alone():
    model = net()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    analog = network(model, DRIFTED, METHODS["dora"])
    analog.chip(0)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("key", [key for key in METHODS if key != "drift_compensation_programmed"])
def test_a_file_holds_the_corrections_of_its_chip(tmp_path, key):
    chip = FastPyTorchRRAM(net(), 1e-6, 100e-6, G_step=None, seed=3)
    chip.apply_relative_drift(0.2)
    chip.calibrate(POOL[:40], METHODS[key])
    fitted = chip.get_noisy_model_for_inference()
    chip.export_conductances(tmp_path / "chip.npz")
    other = FastPyTorchRRAM(net(), 1e-6, 100e-6, G_step=None, seed=4)
    other.import_conductances(tmp_path / "chip.npz")
    assert (other.corrections.extra_parameters, other.corrections.extra_macs) == (
        chip.corrections.extra_parameters,
        chip.corrections.extra_macs,
    )
    read, expected = other.get_noisy_model_for_inference().state_dict(), fitted.state_dict()
    assert list(read) == list(expected)
    assert all(torch.equal(read[name], tensor) for name, tensor in expected.items())
    other.reset()
    assert other.corrections.layers == {}


@pytest.mark.parametrize(
    ("entry", "array"),
    [
        ("stem/scale", np.ones(7, np.float32)),
        ("stem/left", np.ones((1, 8, 2), np.float32)),
        ("stem/offset", np.full(8, np.nan, np.float32)),
        ("norm1/scale", np.ones(8, np.float32)),
        ("elsewhere/scale", np.ones(8, np.float32)),
    ],
)
def test_corrections_of_another_network_are_refused(tmp_path, entry, array):
    chip = FastPyTorchRRAM(net(), 1e-6, 100e-6, seed=3)
    chip.calibrate(POOL[:40], Moments(gate=False))
    path = tmp_path / "chip.npz"
    chip.export_conductances(path)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | {f".corrections/{entry}": array})
    before = chip.conductances
    with pytest.raises(
        ValueError, match=f"of this network's layers .*{entry.split('/')[0]}.* are not: use the file of"
    ):
        chip.import_conductances(path)
    assert chip.conductances.keys() == before.keys()
    chip.apply_programming_error(0.01)  # the chip is as it was: nothing was imported
