"""Mistakes that calibrations are known for, each a test."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from rramsweep.calibration import BatchNorm, DoRA, LayerSamples, LowRank, Moments
from rramsweep.calibration.chips import ChipCalibration
from rramsweep.crossbar.mapping import Differential
from rramsweep.crossbar.programming import LayerSpec
from rramsweep.devices.device import Device
from rramsweep.devices.streams import Stream
from rramsweep.effects import PowerLawDrift, WhiteReadNoise
from rramsweep.network.analog import AnalogNetwork, analog_layers
from rramsweep.network.corrections import norms_of
from tests.calibration.lab import DRIFTED, FADED, IDEAL, METHODS, POOL, TEST, UNLIMITED, Fade, distance, net, network


def corrected_inputs(analog: AnalogNetwork, model: nn.Module, x) -> dict[str, torch.Tensor]:
    """The inputs of each batch norm of a network."""
    seen = {}
    handles = [
        norm.register_forward_pre_hook(lambda _, args, name=name: seen.__setitem__(name, args[0]))
        for name, norm in norms_of(model).items()
    ]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return seen


@torch.no_grad()
def test_statistics_are_measured_behind_norms_that_have_their_new_ones():
    """In one pass with the old normalisation upstream they would be those of other inputs."""
    method = BatchNorm(images=40, gate=False)
    analog = network(net(), FADED, method)
    chip = analog.chip(2)
    seen = corrected_inputs(analog, chip, ChipCalibration(method, POOL).inputs(2))
    for name, norm in norms_of(chip).items():
        channels = seen[name].movedim(1, 0).flatten(1)
        torch.testing.assert_close(norm.running_mean, channels.mean(1), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var, channels.var(1), rtol=1e-4, atol=1e-5)


def test_nothing_of_the_old_statistics_stays():
    """Momentum 0.1 and one batch would keep nine tenths of them."""
    x = torch.randn(30, 4, 5, 5) * 3 + 2
    norm = nn.BatchNorm2d(4, momentum=None)
    norm.train()(x)
    fitted = BatchNorm().fit_norm(x)
    torch.testing.assert_close(fitted.mean.float(), norm.running_mean)
    torch.testing.assert_close(fitted.var.float(), norm.running_var)


@torch.no_grad()
def test_batch_norm_recalibration_with_few_images_harms_a_perfect_chip_and_moments_do_not():
    model = net()
    few = {"images": 10, "gate": False}
    assert distance(network(model, IDEAL, BatchNorm(**few)).chip(0), model) > 0.01
    assert distance(network(model, IDEAL, Moments(**few)).chip(0), model) < 1e-9


@pytest.mark.parametrize("method", [Moments(), DoRA(rank=2)], ids=lambda m: type(m).__name__)
@torch.no_grad()
def test_layers_are_fitted_on_the_chips_own_inputs_with_earlier_ones_corrected(method):
    """On the digital network's inputs each would be right by itself, and their sequence wrong."""
    seen = {}

    class Spy(type(method)):
        def fit_layer(self, samples):
            seen[samples.name] = samples
            return super().fit_layer(samples)

    spy = Spy(**{**vars(method), "images": 40, "gate": False})
    analog = network(net(), FADED, spy)
    chip = analog.chip(4)
    shown = {}
    for name in seen:
        module = chip.get_submodule(name)
        module.register_forward_hook(lambda _, args, __, name=name: shown.__setitem__(name, args[0]))
    chip(ChipCalibration(spy, POOL).inputs(4))
    for name in ("down", "hidden", "head"):
        x = shown[name] if name != "down" else nn.functional.unfold(shown[name], 3, padding=1, stride=2).mT
        torch.testing.assert_close(seen[name].x[0], x.flatten(0, -2), rtol=1e-3, atol=1e-4)


def samples(rows: int, images: int, n: int = 64, m: int = 10) -> LayerSamples:
    rng = torch.Generator().manual_seed(0)
    w, error = (size * torch.randn(m, n, generator=rng) / n**0.5 for size in (1.0, 0.5))
    decaying = torch.randn(n, n, generator=rng) / torch.arange(1, n + 1)[:, None]
    x = torch.randn(rows, n, generator=rng) @ decaying + 0.05 * torch.randn(rows, n, generator=rng)
    elsewhere = 0.3 * torch.randn(rows, m, generator=rng)  # what errors of layers before leave, of no use here
    return LayerSamples("fc", x @ (w + error).T, x @ w.T + elsewhere, images, (m, n), lambda: x[None])


@pytest.mark.parametrize("method", [LowRank(rank=4), DoRA(rank=4)], ids=lambda m: type(m).__name__)
def test_ten_images_of_a_wide_layer_need_a_ridge(method):
    """Without one, ten samples of 64 inputs are fitted exactly, and others are worse than before."""
    seen, every = samples(10, 10), samples(4000, 4000)

    def left(ridge: float) -> float:
        fitted = replace(method, ridge=ridge).fit_layer(seen)
        y = fitted.act(every.y, every.x[0] @ (fitted.left @ fitted.right)[0].T, 0)
        return float((y - every.target).square().sum() / (every.y - every.target).square().sum())

    assert left(0.3) < 1
    assert left(0.3) < left(1e-5)


@pytest.mark.parametrize("method", [LowRank(rank=2), DoRA(rank=2)], ids=lambda m: type(m).__name__)
def test_the_penalty_falls_with_images_not_with_rows(method):
    """Positions of one image say much the same."""
    few, many = samples(200, 10), samples(200, 100)
    same = replace(method, ridge=10 * method.ridge).fit_layer(many)
    torch.testing.assert_close(method.fit_layer(few).right, same.right)
    assert not torch.allclose(method.fit_layer(few).right, method.fit_layer(many).right)


@torch.no_grad()
def test_read_noise_attenuates_what_is_fitted_on_what_the_chip_shows():
    """Errors in variables: the fit is on what the chip shows, so its magnitude falls with noise of the read."""
    model = net()
    noisy = replace(IDEAL, read_noise=WhiteReadNoise(0.3))
    analog = network(model, noisy, replace(METHODS["affine"], gate=False))
    analog.chip(0)
    assert all(float(c.scale.mean()) < 0.95 for n, c in analog.calibrated.corrections.layers.items() if n != "stem")


def test_reads_of_the_fit_have_streams_of_their_own(monkeypatch):
    names, generator = [], Stream.generator
    monkeypatch.setattr(Stream, "generator", lambda stream: names.append(stream.name) or generator(stream))
    noisy = replace(DRIFTED, read_noise=WhiteReadNoise(0.02))
    chip = network(net(), noisy, METHODS["moments"]).chip(1)
    of_fit = {name for name in names if "read_noise" in name}
    names.clear()
    with torch.no_grad():
        chip(TEST)
    assert of_fit
    assert names
    assert of_fit.isdisjoint(names)
    assert all("calibration" in name for name in of_fit)


@torch.no_grad()
def test_reads_of_the_fit_leave_those_of_the_chip_as_they_were():
    model, noisy = net(), replace(DRIFTED, read_noise=WhiteReadNoise(0.02))
    plain = network(model, noisy, None).chip(1)(TEST)
    kept = replace(METHODS["moments"], images=40)
    analog = AnalogNetwork(
        model, dict.fromkeys(analog_layers(model), noisy), calibrate=lambda network, seed: _nothing(network, seed, kept)
    )
    torch.testing.assert_close(analog.chip(1)(TEST), plain, rtol=0, atol=1e-4)


def _nothing(analog, seed, method):
    from rramsweep.network.corrections import NO_CORRECTIONS

    ChipCalibration(method, POOL)(analog, seed)
    return NO_CORRECTIONS


POWER = LayerSpec(Device(1.0, 100.0), Differential(), drift=PowerLawDrift(nu_mean=0.06, nu_std=0.02, t0_s=1.0))


@torch.no_grad()
def test_a_chip_fitted_early_is_read_later_with_the_same_draws():
    model, later = net(), 3e7
    early = Moments(images=40, at_s=1.0, gate=False)
    fresh = Moments(images=40, gate=False)
    analog = network(model, POWER, early, t_s=later)
    fitted_at_once = network(model, POWER, fresh, t_s=1.0)
    fitted_at_once.chip(3)
    chip = analog.chip(3)
    for name, layer in analog.calibrated.corrections.layers.items():
        assert torch.equal(layer.scale, fitted_at_once.calibrated.corrections.layers[name].scale)
    at_year = network(model, POWER, fresh, t_s=later).chip(3)
    plain = network(model, POWER, None, t_s=later).chip(3)
    assert distance(at_year, model) < 0.5 * distance(chip, model)
    torch.testing.assert_close(distance(chip, model), distance(plain, model), rtol=0.5, atol=0)


@torch.no_grad()
def test_the_gate_keeps_a_good_chip_and_corrects_a_bad_one():
    model = net()
    good, bad = network(model, IDEAL, BatchNorm(images=10)), network(model, FADED, BatchNorm(images=40))
    good.chip(0)
    bad.chip(0)
    assert not good.calibrated.corrections.norms
    assert len(bad.calibrated.corrections.norms) == 3


def test_a_programmed_reference_is_the_chip_before_it_faded():
    """Errors of the write stay: the scale takes back what was lost since, not what was wrong from the start."""
    model = net()
    wrong = LayerSpec(
        UNLIMITED, Differential(), programming=Fade(share=0.5, spread=0.0), drift=Fade(share=0.2, spread=0.0)
    )
    found = {}
    for reference in ("digital", "programmed"):
        method = replace(METHODS["drift_compensation"], reference=reference, layers=["stem"], gate=False)
        analog = network(model, wrong, method)
        analog.chip(0)
        found[reference] = float(analog.calibrated.corrections.layers["stem"].scale)
    assert found == pytest.approx({"digital": 1 / 0.4, "programmed": 1 / 0.8}, rel=1e-4)
