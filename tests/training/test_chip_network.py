"""The network that runs chips under autograd: the chips of a sweep, with gradients straight through their errors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import rramsweep as rs
from rramsweep.crossbar import Crossbar, Segments, UniformADC, UniformDAC
from rramsweep.crossbar.mapping import ConstantSum, Differential, Offset, Sliced
from rramsweep.effects import Gaussian, RelativeDrift, Stuck, WhiteReadNoise
from rramsweep.network.batch_norm import find_folds, fold_batchnorm
from rramsweep.network.tiled_read import Ranges
from rramsweep.training.chip_network import ChipNetwork

DEVICE = rs.Device(1.0, 100.0, step_uS=0.1)
IDEAL = rs.Device(1.0, 100.0)
NOISY = rs.LayerSpec(
    DEVICE, Differential(), programming=Gaussian(0.03), relaxation=Gaussian(0.07), drift=RelativeDrift(0.2)
)
GIVEN = {"dac": UniformDAC(range="given", x_max=2.0), "adc": UniformADC(range="given", z_max=1.0)}
SPECS = {
    "three stages": NOISY,
    "constant sum": replace(NOISY, mapping=ConstantSum()),
    "offset, per channel": replace(NOISY, mapping=Offset(scale="per_channel")),
    "sliced": replace(NOISY, mapping=Sliced()),
    "stuck": replace(NOISY, faults=Stuck(p_stuck_lrs=0.05)),
    "wires": replace(NOISY, tile=Crossbar(rows=8, columns=8), wires=Segments(word_line_ohm=5.0, bit_line_ohm=5.0)),
    "read noise": replace(NOISY, read_noise=WhiteReadNoise(0.01)),
    "converters": replace(NOISY, tile=Crossbar(rows=8, columns=8), **GIVEN),
}


class Pictures(nn.Module):
    """Convolutions of each kind, a batch norm and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3, padding=1, groups=2), nn.BatchNorm2d(4)
        self.back, self.fc = nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2), nn.Linear(6, 3)
        self.norm.weight.data = torch.tensor([0.1, 1.0, 5.0, -3.0])
        self.norm.running_mean.uniform_(-1, 1)
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.back(self.norm(self.conv(x)).relu()).mean((2, 3)))


class Sequences(nn.Module):
    """Fused kernels and a tied weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(11, 8), nn.LSTM(8, 8, batch_first=True)
        self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.lstm(self.embedding(x))
        return self.head(self.attention(y, y, y, need_weights=False)[0].mean(1))


def pictures() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return Pictures().eval(), torch.randn(5, 2, 6, 6)


def sequences() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return Sequences().eval(), torch.randint(0, 11, (5, 7))


def linear(*rows: list[float]) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    layer.weight.data = torch.tensor(rows)
    return layer


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("made", [pictures, sequences])
def test_chip_is_that_of_a_sweep_and_has_a_gradient_for_every_weight(made, spec):
    model, x = made()
    specs = dict.fromkeys(rs.analog_layers(model), spec)
    network = ChipNetwork(model, specs)
    ranges = {name: Ranges(2.0, True, torch.ones(1, 1, 1)) for name in specs} if spec.converted else {}
    network.set_ranges(ranges)
    sweep = rs.AnalogNetwork(model, specs)
    sweep.set_ranges(ranges)
    for seed in (3, 4):
        y = network.chip(seed)(x)
        with torch.inference_mode():
            torch.testing.assert_close(y.detach(), sweep.chip(seed)(x), rtol=1e-5, atol=1e-5)
    y.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None, "the caller's network is left alone"
        gradient = dict(network.model.named_parameters()).get(name)
        assert gradient is None or gradient.grad is not None, name
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters)
    digital = network.digital()(x)
    torch.testing.assert_close(digital, model(x))


@pytest.mark.parametrize(
    "extra", [{}, GIVEN, {"read_noise": WhiteReadNoise(0.01)}], ids=["plain", "converters", "noise"]
)
def test_folded_batch_norms_are_mapped_with_the_weights(extra):
    model, x = pictures()
    spec = replace(NOISY, **extra)
    names = ["conv", "fc"]
    network = ChipNetwork(model, dict.fromkeys(names, spec), folds=find_folds(model, x))
    sweep = rs.AnalogNetwork(fold_batchnorm(model, x), dict.fromkeys(names, spec))
    ranges = {name: Ranges(2.0, True, torch.ones(1, 1, 1)) for name in names} if spec.converted else {}
    network.set_ranges(ranges)
    sweep.set_ranges(ranges)
    with torch.inference_mode():
        torch.testing.assert_close(network.chip(5)(x), sweep.chip(5)(x), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(ChipNetwork(model, dict.fromkeys(names, spec)).chip(5)(x), sweep.chip(5)(x), atol=1e-3)


def test_gradient_goes_straight_through_the_chip_to_the_digital_weight():
    layer, x = linear([0.5, -1.0, 0.25], [0.1, 0.0, 2.0]), torch.tensor([[1.0, -2.0, 3.0]])
    network = ChipNetwork(layer, {"": NOISY})
    y = network.chip(7)(x)
    wanted = torch.tensor([[2.0, -1.0]])
    (gradient,) = torch.autograd.grad((y * wanted).sum(), network.parameters)
    # Of y = W_chip x by W, with dW_chip / dW = 1: the outer product, whatever the chip is.
    assert torch.equal(gradient, wanted.T @ x)
    assert not torch.allclose(y, layer(x)), "the forward has the weight of the chip"


def test_gradient_of_the_input_has_the_weight_of_the_chip():
    layer, x = linear([0.5, -1.0, 0.25]), torch.tensor([[1.0, -2.0, 3.0]], requires_grad=True)
    network, chip = ChipNetwork(layer, {"": NOISY}), rs.AnalogNetwork(layer, {"": NOISY})
    (gradient,) = torch.autograd.grad(network.chip(7)(x).sum(), x)
    assert torch.equal(gradient, chip.chip(7).weight.detach())


def test_weights_that_the_window_cuts_off_get_no_gradient():
    layer = linear([0.1, -0.2, 0.3, 0.4, -5.0, 6.0])
    spec = replace(NOISY, mapping=Differential(w_max="percentile", percentile=70.0))
    network = ChipNetwork(layer, {"": spec})
    (gradient,) = torch.autograd.grad(network.chip(0)(torch.ones(1, 6)).sum(), network.parameters)
    assert gradient.tolist() == [[1.0, 1.0, 1.0, 1.0, 1.0, 0.0]]


def test_weights_that_the_window_cuts_off_are_told_apart_as_they_are_mapped():
    model = nn.Sequential(linear([0.1], [0.2], [0.3], [0.4], [5.0], [6.0]), nn.BatchNorm1d(6)).eval()
    model[1].weight.data = torch.tensor([90.0, 1.0, 1.0, 1.0, 1.0, 0.001])  # the first is the largest on the array
    spec = replace(NOISY, mapping=Differential(w_max="percentile", percentile=70.0))
    network = ChipNetwork(model, {"0": spec}, folds=find_folds(model, torch.ones(2, 1)))
    network.chip(0)(torch.ones(2, 1)).sum().backward()
    gradient = network.parameters[0].grad.flatten()
    assert (gradient != 0).tolist() == [False, True, True, True, True, True]


def test_inputs_beyond_the_range_of_a_dac_get_no_gradient():
    layer, spec = linear([0.5, -1.0, 0.25]), rs.LayerSpec(IDEAL, Differential(), **GIVEN)
    network = ChipNetwork(layer, {"": spec})
    network.set_ranges({"": Ranges(2.0, True, torch.full((1, 1, 1), 2.0))})
    x = torch.tensor([[1.0, -2.5, 3.0]], requires_grad=True)
    y = network.chip(0)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    y = y.detach()
    assert gradient.tolist() == [[0.5, 0.0, 0.0]]
    # Value of the read: -2.5 and 3 are clipped to 2, and the sum is rounded to a code.
    assert abs(float(y) - (0.5 * 1 + 1.0 * 2 + 0.25 * 2)) < 0.02
    assert float(y) != 0.5 * 1 + 1.0 * 2 + 0.25 * 2


def test_gaussian_arm_has_the_rms_error_of_the_chip_in_each_layer():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 50), nn.ReLU(), nn.Linear(50, 60))
    network = ChipNetwork(model, dict.fromkeys(["0", "2"], NOISY))
    errors = {}
    for kind in ("chip", "gaussian"):
        getattr(network, kind)(3)
        errors[kind] = {n: (layer.weight - layer.array.weight).detach() for n, layer in network.layers.items()}
    for name in ("0", "2"):
        chip, gaussian = errors["chip"][name], errors["gaussian"][name]
        assert float(gaussian.square().mean() / chip.square().mean()) == pytest.approx(1, abs=0.1)
        assert not torch.allclose(chip, gaussian)
    network.gaussian(3)(torch.ones(1, 40)).sum().backward()
    assert all(p.grad is not None for p in network.parameters)


def test_output_noise_is_a_share_of_the_output():
    torch.manual_seed(0)
    layer, x = nn.Linear(30, 400), torch.randn(64, 30)
    network = ChipNetwork(layer, {"": rs.LayerSpec(IDEAL, Differential())})
    y, noisy = network.chip(0)(x), network.chip(0, output_noise=0.1)(x)
    share = float((noisy - y).detach().square().mean().sqrt() / y.detach().square().mean().sqrt())
    assert share == pytest.approx(0.1, rel=0.02)
    assert torch.equal(noisy, network.chip(0, output_noise=0.1)(x)), "its stream is that of the chip"
    assert not torch.equal(noisy, network.chip(1, output_noise=0.1)(x))


@pytest.mark.parametrize(("kind", "value", "limit"), [("sigma", 1.0, None), ("percentile", 80.0, 4.0)])
def test_clip_confines_the_weights_on_the_array_alone(kind, value, limit):
    model = nn.Sequential(linear([1.0, -2.0, 3.0, 4.0, -9.0]), linear([100.0]))
    network = ChipNetwork(model, {"0": NOISY})
    network.clip(kind, value)
    state, before = network.state(), model[0].weight.detach()
    limit = float(before.std(correction=0)) if limit is None else limit
    assert torch.equal(state["0.weight"], before.clamp(-limit, limit))
    assert state["1.weight"].tolist() == [[100.0]]


def test_state_has_the_names_of_the_network_and_loads_into_it():
    for model, x in (pictures(), sequences()):
        network = ChipNetwork(model, dict.fromkeys(rs.analog_layers(model), NOISY))
        assert list(network.state()) == list(model.state_dict())
        with torch.no_grad():
            for parameter in network.parameters:
                parameter.mul_(1.5)
        y = network.digital()(x)
        assert not torch.allclose(model(x), y)
        model.load_state_dict(network.state())
        torch.testing.assert_close(model(x), y)


def test_batch_norms_take_the_statistics_of_a_batch_where_it_is_trained_alone():
    model, x = pictures()
    network = ChipNetwork(model, dict.fromkeys(rs.analog_layers(model), NOISY))
    network.chip(0)(x)
    assert torch.equal(network.state()["norm.running_mean"], model.norm.running_mean)
    with network.batch_statistics():
        network.chip(0)(x).sum().backward()
    chip = rs.AnalogNetwork(model, dict.fromkeys(rs.analog_layers(model), NOISY)).chip(0)
    with torch.no_grad():
        mean = chip.conv(x).mean((0, 2, 3))
    torch.testing.assert_close(network.state()["norm.running_mean"], 0.9 * model.norm.running_mean + 0.1 * mean)
    assert network.model.norm.weight.grad is not None
    assert not any(module.training for module in network.model.modules())


@dataclass(frozen=True)
class Steps:
    """An effect of a user's own that no autograd passes."""

    version = 1

    def __call__(self, cells, rng):
        return (cells.g_uS / 7).round() * 7


def test_law_need_not_be_differentiable():
    layer, x = linear([0.5, -1.0, 0.25]), torch.tensor([[1.0, -2.0, 3.0]])
    network = ChipNetwork(layer, {"": rs.LayerSpec(DEVICE, Differential(), drift=Steps())})
    (gradient,) = torch.autograd.grad(network.chip(0)(x).sum(), network.parameters)
    assert torch.equal(gradient, x)


def test_computed_and_frozen_weights_are_refused():
    with pytest.raises(ValueError, match=r"^weights must be parameters .* got computed ones .*: remove the param"):
        ChipNetwork(parametrizations.weight_norm(nn.Linear(2, 2)), {"": NOISY})
    with pytest.raises(ValueError, match=r"^a network must have a weight to train, got Linear, all of whose"):
        ChipNetwork(nn.Linear(2, 2).requires_grad_(False), {"": NOISY})
