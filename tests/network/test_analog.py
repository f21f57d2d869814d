"""A network on the array: ideal equals digital, the caller's model is left alone, and the read slot."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.utils.prune
from torch import nn

from rramsweep.crossbar.mapping import Differential
from rramsweep.crossbar.programming import LayerSpec
from rramsweep.devices.device import Device
from rramsweep.effects import Gaussian, Ideal, RelativeDrift
from rramsweep.models import digits_cnn, digits_mlp, lenet5
from rramsweep.network.analog import AnalogNetwork, analog_layers

UNLIMITED = Device(1.0, 100.0)
NOISY = LayerSpec(UNLIMITED, Differential(), Gaussian(0.03), Gaussian(0.07), RelativeDrift(0.2))
SHAPES = {lenet5: (1, 28, 28), digits_cnn: (1, 8, 8), digits_mlp: (1, 8, 8)}


def on_array(model, spec):
    return AnalogNetwork(model, dict.fromkeys(analog_layers(model), spec))


@pytest.fixture(params=SHAPES, ids=lambda f: f.__name__)
def network(request):
    torch.manual_seed(0)
    return request.param().eval(), torch.randn(32, *SHAPES[request.param])


@torch.inference_mode()
def test_ideal_chip_gives_the_digital_logits(network):
    model, x = network
    digital = model(x)
    analog = on_array(model, LayerSpec(UNLIMITED, Differential()))
    assert torch.equal(analog.digital()(x), digital)
    tolerance = 1e-5 * float(digital.abs().max())
    torch.testing.assert_close(analog.ideal()(x), digital, rtol=0, atol=tolerance)
    torch.testing.assert_close(analog.chip(3)(x), digital, rtol=0, atol=tolerance)


@torch.inference_mode()
def test_chips_differ_by_seed_and_come_back(network):
    model, x = network
    analog = on_array(model, NOISY)
    one = analog.chip(1)(x)
    assert not torch.allclose(one, analog.chip(2)(x))
    analog.ideal()
    assert torch.equal(analog.chip(1)(x), one)
    assert torch.equal(on_array(model, NOISY).chip(1)(x), one)


def test_the_callers_model_is_left_alone(network):
    model, x = network
    model.train()
    before = copy.deepcopy(model.state_dict())
    analog = on_array(model, NOISY)
    analog.chip(1)(x)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


def test_every_linear_and_convolution_is_analog_and_nothing_else():
    model = digits_cnn()
    kinds = {type(model.get_submodule(name)) for name in analog_layers(model)}
    assert kinds == {nn.Linear, nn.Conv2d}
    assert len(analog_layers(lenet5())) == 5


def test_refuses_a_network_without_analog_layers():
    with pytest.raises(ValueError, match="at least one analog layer"):
        analog_layers(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)))


class Padded(nn.Conv2d):
    """A subclass whose own forward pads, as EfficientNet's "same" convolutions do."""

    def forward(self, x):
        return super().forward(nn.functional.pad(x, (1, 1, 1, 1)))


class Plain:
    """Read noise that adds nothing: the slot must then be invisible."""

    version = 1

    def __call__(self, linear, x, layer, rng):
        return linear(x, layer.weight())


class White:
    """Output noise, to see that every read is new."""

    version = 1

    def __call__(self, linear, x, layer, rng):
        y = linear(x, layer.weight())
        return y + rng.normal(y.shape)


@torch.inference_mode()
def test_a_read_effect_that_adds_nothing_is_invisible():
    torch.manual_seed(0)
    model = nn.Sequential(Padded(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2, bias=False), nn.Flatten())
    model.append(nn.Linear(4 * 36, 5)).eval()
    x = torch.randn(6, 2, 8, 8)
    quiet = on_array(model, NOISY).chip(5)(x)
    through = on_array(
        model,
        LayerSpec(UNLIMITED, Differential(), *[NOISY.programming, NOISY.relaxation, NOISY.drift], read_noise=Plain()),
    )
    torch.testing.assert_close(through.chip(5)(x), quiet, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(through.digital()(x), model(x))


@torch.inference_mode()
def test_hooks_of_the_users_own_act_once_beside_the_read_slot():
    model = nn.Sequential(nn.Linear(10, 4)).eval()
    model[0].register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    model[0].register_forward_hook(lambda module, args, output: 2 * output)
    analog = on_array(model, LayerSpec(UNLIMITED, Differential(), read_noise=Plain()))
    x = torch.randn(6, 10)
    torch.testing.assert_close(analog.chip(1)(x), model(x))


@torch.inference_mode()
def test_every_read_draws_anew_and_a_chip_repeats_them():
    model = nn.Sequential(nn.Linear(10, 4)).eval()
    analog = on_array(model, LayerSpec(UNLIMITED, Differential(), read_noise=White()))
    x = torch.randn(100, 10)
    chip = analog.chip(1)
    first, second = chip(x), chip(x)
    assert abs(torch.corrcoef(torch.stack([(first - second).flatten(), (first - model(x)).flatten()]))[0, 1]) < 0.9
    assert not torch.allclose(first, second)
    again = analog.chip(1)
    assert torch.equal(again(x), first)
    assert torch.equal(again(x), second)
    assert isinstance(LayerSpec(UNLIMITED, Differential()).read_noise, Ideal)


def pruned(module):
    return nn.utils.prune.l1_unstructured(module, "weight", 2)


class Tied(nn.Module):
    """Two analog layers and a digital embedding that share one weight."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(6, 6)
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.first.weight = self.second.weight = self.embedding.weight

    def forward(self, x):
        return self.second(self.first(self.embedding(x)))


@torch.inference_mode()
def test_tied_layers_are_one_set_of_cells_and_a_tied_embedding_stays_exact():
    model = Tied().eval()
    chip = on_array(model, NOISY).chip(1)
    assert chip.first.weight is chip.second.weight
    assert not torch.equal(chip.first.weight, model.first.weight)
    assert torch.equal(chip.embedding.weight, model.embedding.weight)
    # The draws are those of the first layer's name.
    alone = nn.ModuleDict({"first": nn.Linear(6, 6)}).eval()
    alone["first"].weight = nn.Parameter(model.first.weight.detach().clone())
    assert torch.equal(on_array(alone, NOISY).chip(1)["first"].weight, chip.first.weight)


@pytest.mark.parametrize(
    "computed",
    [
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        pruned,
    ],
)
@torch.no_grad()
def test_a_computed_weight_goes_on_the_array_and_the_original_keeps_computing_it(computed):
    model = nn.Sequential(computed(nn.Linear(6, 4)), nn.Linear(4, 2)).eval()
    x = torch.randn(8, 6)
    digital, before = model(x), {name: value.clone() for name, value in model.state_dict().items()}
    torch.testing.assert_close(on_array(model, LayerSpec(UNLIMITED, Differential())).ideal()(x), digital)
    assert not torch.allclose(on_array(model, NOISY).chip(1)(x), digital)
    assert torch.equal(model(x), digital)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


class Computed(nn.Linear):
    """A weight that nothing of torch.nn.utils computes."""

    def __init__(self):
        super().__init__(4, 4)
        self.factor = nn.Parameter(self.weight.detach())
        del self.weight

    @property
    def weight(self):
        return self.factor * 2


def test_a_weight_that_cannot_be_set_is_refused_rather_than_left_digital():
    with pytest.raises(ValueError, match="is computed by something other than"):
        analog_layers(nn.Sequential(Computed()))


class Encoder(nn.Module):
    """torch's transformer layer, which takes weights past the forward of their layers where it can."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x):
        return self.layer(x)


def test_read_noise_reaches_the_layers_of_a_transformer_and_its_attention():
    model, x = Encoder().eval(), torch.randn(4, 5, 8)
    whole = on_array(model, LayerSpec(UNLIMITED, Differential(), read_noise=White()))
    whole.check_reads(x)
    with torch.inference_mode():
        torch.testing.assert_close(whole.digital()(x), model(x), rtol=1e-5, atol=1e-5)
        assert not torch.allclose(whole.chip(1)(x), whole.digital()(x))
    quiet, noisy = LayerSpec(UNLIMITED, Differential()), LayerSpec(UNLIMITED, Differential(), read_noise=White())
    specs = {name: noisy if "linear" in name else quiet for name in analog_layers(model)}
    network = AnalogNetwork(model, specs)
    network.check_reads(x)
    with torch.inference_mode():
        assert not torch.allclose(network.chip(1)(x), network.digital()(x))


class Unread(nn.Module):
    """Uses a layer's weight without calling the layer."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 6)

    def forward(self, x):
        return x @ self.head.weight.T


def test_read_noise_that_would_go_unnoticed_is_refused():
    network = on_array(Unread().eval(), LayerSpec(UNLIMITED, Differential(), read_noise=White()))
    with pytest.raises(ValueError, match="takes the weight of head without calling it"):
        network.check_reads(torch.randn(2, 6))
