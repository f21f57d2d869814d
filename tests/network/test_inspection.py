"""The facts of `inspect` against closed forms, against the network's own products, and layer by layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

from rramsweep.crossbar.mapping import ConstantSum, Differential, Offset
from rramsweep.crossbar.programming import LayerSpec
from rramsweep.devices.device import Device
from rramsweep.effects import Gaussian, Ideal, RelativeDrift, Stuck, WhiteReadNoise
from rramsweep.network.analog import AnalogNetwork, analog_layers
from rramsweep.network.inspection import Moments, inspect_layers

OPEN, CLIP = Device(1.0, 100.0, edge="none"), Device(1.0, 100.0)
SEED_SIGMA = 0.076157731058639085  # of g_max: programming 0.03 and relaxation 0.07, added in quadrature
STAGES = {"programming": Gaussian(0.03), "relaxation": Gaussian(0.07)}
N = 512


@pytest.fixture(autouse=True)
def same_draws():
    torch.manual_seed(0)


def spec(device=CLIP, mapping=None, **effects):
    return LayerSpec(device, mapping or Differential(), **effects)


def rows_of(model, layer_spec, x, chips=1, t_s=0.0):
    specs = layer_spec if isinstance(layer_spec, dict) else dict.fromkeys(analog_layers(model), layer_spec)
    return inspect_layers(model.eval(), specs, t_s, x, range(chips))


def of_weight(weight, layer_spec, chips=1, x=None):
    """Facts of one linear layer, means over chips."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight.data = weight
    x = torch.randn(64, weight.shape[1], generator=torch.Generator().manual_seed(2)) if x is None else x
    rows = rows_of(layer, layer_spec, x, chips)
    known = [key for key, value in rows[0].items() if isinstance(value, float)]
    return {key: sum(row[key] for row in rows) / chips for key in known}


@pytest.fixture(scope="module")
def gaussian_layer():
    """Section 12.9: 1024 x 1024 weights of std 0.25 clipped at W_max = 1, rectified normal inputs."""
    generator = torch.Generator().manual_seed(1)
    weight = (0.25 * torch.randn(1024, 1024, generator=generator)).clamp(-1, 1)
    return weight, torch.randn(64, 1024, generator=generator).relu()


@pytest.mark.parametrize(
    ("layer_spec", "epsilon"),
    [
        (spec(OPEN, programming=Gaussian(SEED_SIGMA)), 0.434),
        (spec(CLIP, programming=Gaussian(SEED_SIGMA)), 0.360),
        (spec(CLIP, ConstantSum(), programming=Gaussian(SEED_SIGMA)), 0.441),
        (spec(CLIP, **STAGES, drift=RelativeDrift(0.2, "current")), 0.428),
        (spec(CLIP, ConstantSum(), **STAGES, drift=RelativeDrift(0.2, "current")), 0.738),
        (spec(CLIP, **STAGES, drift=RelativeDrift(0.2)), 0.418),
        (spec(CLIP, ConstantSum(), **STAGES, drift=RelativeDrift(0.2)), 0.736),
        # Section 12.4: proportional drift alone, by mapping.
        (spec(OPEN, drift=RelativeDrift(0.2)), 0.207),
        (spec(OPEN, ConstantSum(), drift=RelativeDrift(0.2)), 0.594),
        (spec(OPEN, Offset(), drift=RelativeDrift(0.2)), 0.849),
    ],
)
def test_the_relative_mvm_error_is_the_one_of_the_physics_reference(gaussian_layer, layer_spec, epsilon):
    weight, x = gaussian_layer
    # Rectified inputs lift all outputs by their sum of weights, which is noise of this one layer: 3 % in the source.
    assert of_weight(weight, layer_spec, 2, x)["mvm_error"] == pytest.approx(epsilon, rel=0.03)


def test_white_inputs_see_the_weight_error(gaussian_layer):
    weight, _ = gaussian_layer
    facts = of_weight(weight, spec(OPEN, drift=RelativeDrift(0.2)), 1, torch.randn(256, 1024))
    assert facts["mvm_error"] == pytest.approx(facts["weight_error"], rel=0.02)
    assert facts["weight_error"] == pytest.approx(0.2067, rel=0.01)  # physics_golden.json, one_sided_exact


@pytest.mark.parametrize("mapping", [Differential(), ConstantSum(), Offset()], ids=lambda m: type(m).__name__)
def test_an_ideal_chip_has_no_error(gaussian_layer, mapping):
    facts = of_weight(gaussian_layer[0], spec(CLIP, mapping))
    assert facts["mvm_error"] < 1e-6
    assert facts["weight_error"] < 1e-6
    assert abs(facts["mvm_bias"]) < 1e-6
    assert facts["mvm_slope"] == pytest.approx(1, abs=1e-6)
    assert facts["mvm_correlation"] == pytest.approx(1, abs=1e-6)
    assert facts["stuck_share"] == facts["saturated_share"] == facts["pushed_share"] == 0


def test_levels_alone_cost_a_uniform_error(gaussian_layer):
    facts = of_weight(gaussian_layer[0], spec(Device(1.0, 100.0, levels=65)))
    # One cell of a pair holds the weight, in steps of 1/64; the other is exact.
    assert facts["weight_error"] == pytest.approx(1 / 64 / math.sqrt(12) / 0.25, rel=0.02)


def test_moments_tell_slope_offset_and_correlation():
    y = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    moments = Moments()
    moments.add(y[:1000], 2 * y[:1000] + 0.5)
    moments.add(y[1000:], 2 * y[1000:] + 0.5)
    facts = moments.facts()
    assert facts["mvm_slope"] == pytest.approx(2, rel=1e-6)
    assert facts["mvm_bias"] == pytest.approx(float((y + 0.5).mean() / y.square().mean().sqrt()), rel=1e-4)
    assert facts["mvm_correlation"] == pytest.approx(1, rel=1e-6)
    assert facts["mvm_error"] == pytest.approx(float((y + 0.5).norm() / y.norm()), rel=1e-5)
    assert Moments().facts() == dict.fromkeys(facts)
    dead = Moments()
    dead.add(torch.zeros(5), torch.zeros(5))
    assert dead.facts() == dict.fromkeys(facts)


def test_stuck_cells_shrink_every_weight_alike_and_are_counted(gaussian_layer):
    # Section 12.10: E[w'] = (1 - p) w exactly; a pair is stuck if either cell is. Tolerances 4 sigma.
    low, high = 0.0904, 0.0175
    facts = of_weight(gaussian_layer[0], spec(CLIP, faults=Stuck(high, low)))
    n, p = 1024**2, low + high
    pairs = 1 - (1 - p) ** 2
    assert facts["stuck_share"] == pytest.approx(pairs, abs=4 * math.sqrt(pairs * (1 - pairs) / n))
    assert facts["mvm_slope"] == pytest.approx(1 - p, abs=0.01)


def test_stuck_cells_are_those_that_ignore_what_stood_before():
    # Where they sit plays no part: here in the middle of the window, where the errors leave other cells too.
    facts = of_weight(torch.randn(N, N), spec(CLIP, faults=Stuck(0.0, 0.2, g_hrs_uS=50.0), **STAGES))
    pairs = 1 - 0.8**2
    assert facts["stuck_share"] == pytest.approx(pairs, abs=4 * math.sqrt(pairs * (1 - pairs) / N**2))


def test_cells_at_an_edge_and_those_that_were_pushed_there(gaussian_layer):
    weight, _ = gaussian_layer
    sigma_uS = 20.0
    facts = of_weight(weight, spec(CLIP, programming=Gaussian(0.2)))
    g = 1 + 99 * weight.abs()

    def beyond(g):
        phi = torch.distributions.Normal(0, 1).cdf
        return phi((1 - g) / sigma_uS) + 1 - phi((100 - g) / sigma_uS)

    inside = (weight.abs() > 1e-6) & (weight.abs() < 1 - 1e-6)
    assert facts["pushed_share"] == pytest.approx(float(beyond(g[inside]).mean()), abs=0.002)
    both = (beyond(g).mean() + beyond(torch.ones(1))) / 2
    assert facts["edge_share"] == pytest.approx(float(both), abs=0.002)


def test_a_level_too_coarse_pushes_weights_to_the_edge():
    weight = torch.rand(50, 50) * 0.1
    weight[0, 0] = 1.0
    facts = of_weight(weight, spec(Device(1.0, 100.0, levels=3)))
    assert facts["pushed_share"] == 1.0


def test_weights_beyond_the_percentile_saturate():
    facts = of_weight(torch.randn(100, 100), spec(CLIP, Differential(w_max="percentile", percentile=90)))
    assert facts["saturated_share"] == pytest.approx(0.1)
    assert of_weight(torch.randn(100, 100), spec(CLIP))["saturated_share"] == 0


def test_the_used_part_of_the_window_and_the_largest_weight():
    weight = torch.linspace(-1, 1, 10_001).reshape(1, -1)
    facts = of_weight(weight, spec(CLIP))
    assert facts["window_used"] == pytest.approx(0.98, abs=1e-3)
    assert facts["w_max_over_std"] == pytest.approx(math.sqrt(3), rel=1e-3)
    weight[0, 0] = -10.0  # one outlier takes the window from all others
    assert of_weight(weight, spec(CLIP))["window_used"] == pytest.approx(0.098, abs=1e-3)


def test_a_layer_of_zeros_has_nulls_and_no_warning():
    (row,) = rows_of(nn.Linear(4, 4).requires_grad_(False), spec(CLIP), torch.zeros(3, 4))
    assert row["mvm_error"] is row["mvm_slope"] is None
    layer = nn.Linear(4, 4, bias=False)
    nn.init.zeros_(layer.weight)
    (row,) = rows_of(layer, spec(CLIP, **STAGES), torch.ones(3, 4))
    assert row["weight_error"] is row["w_max_over_std"] is row["mvm_error"] is None


class Padded(nn.Conv2d):
    def forward(self, input):
        return super().forward(nn.functional.pad(input, (1, 1, 1, 1), value=1.0))


@dataclass(frozen=True)
class White:
    version: ClassVar[int] = 1

    def __call__(self, linear, x, layer, rng):
        y = linear(x, layer.weight())
        return y + 0.3 * rng.normal(y.shape)


@pytest.mark.parametrize("noise", [Ideal(), White()], ids=["quiet", "read_noise"])
@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(6, 5),
        nn.Conv2d(6, 8, 3, groups=2),
        nn.Conv1d(6, 4, 2, bias=False),
        nn.ConvTranspose2d(6, 4, 3, stride=2, groups=2),
        Padded(6, 4, 3),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_the_product_is_the_one_that_a_trial_reads(layer, noise):
    shape = {nn.Linear: (16, 6), nn.Conv1d: (16, 6, 9)}.get(type(layer), (16, 6, 7, 7))
    x = torch.randn(shape)
    layer_spec = spec(CLIP, **STAGES, read_noise=noise)
    model = nn.Sequential(layer).eval()
    (row,) = rows_of(model, layer_spec, x)
    network = AnalogNetwork(model, {"0": layer_spec})
    with torch.inference_mode():
        bias = 0 if layer.bias is None else layer.bias.view(-1, *[1] * (len(shape) - 2))
        y = network.digital()(x).clone() - bias
        z = network.chip(0)(x) - bias
    assert row["mvm_error"] == pytest.approx(float((z - y).norm() / y.norm()), rel=1e-4)
    assert row["mvm_correlation"] == pytest.approx(
        float(torch.corrcoef(torch.stack([y.flatten(), z.flatten()]))[0, 1]), rel=1e-4
    )


def test_a_layer_gets_the_inputs_of_the_digital_network():
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    first, second = rows_of(model, {"0": spec(CLIP, **STAGES), "2": spec(CLIP)}, torch.randn(10, 8))
    assert first["mvm_error"] > 0.05
    assert second["mvm_error"] < 1e-6


class Odd(nn.Module):
    """A layer called twice, one called by keyword, one whose weight is used without a call, and a recurrent one."""

    def __init__(self):
        super().__init__()
        self.twice, self.named, self.unread = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.lstm = nn.LSTM(6, 6, batch_first=True)

    def forward(self, x):
        x = self.named(input=self.twice(self.twice(x)))
        return self.lstm((x @ self.unread.weight).unsqueeze(1))[0][:, 0]


def test_layers_out_of_the_ordinary():
    torch.manual_seed(0)
    model, x = Odd().eval(), torch.randn(12, 6)
    rows = {row["layer"]: row for row in rows_of(model, spec(CLIP, **STAGES), x)}
    assert list(rows) == ["twice", "named", "unread", "lstm.weight_ih_l0", "lstm.weight_hh_l0"]
    # The only step of the recurrent layer begins with a state of zeros.
    for name in ("unread", "lstm.weight_hh_l0"):
        assert rows[name]["mvm_error"] is rows[name]["mvm_bias"] is rows[name]["mvm_correlation"] is None
        assert 0.05 < rows[name]["weight_error"] < 1
    for name in ("twice", "named", "lstm.weight_ih_l0"):
        assert 0.05 < rows[name]["mvm_error"] < 1
    # Both calls of the layer count.
    network = AnalogNetwork(model, {"twice": spec(CLIP, **STAGES)})
    with torch.inference_mode():
        clean = model.twice.weight.clone()
        both = torch.cat([x, model.twice(x)])
        error = both @ (network.chip(0).twice.weight - clean).T
    assert rows["twice"]["mvm_error"] == pytest.approx(float(error.norm() / (both @ clean.T).norm()), rel=1e-4)


class Recurrent(nn.Module):
    """A recurrent layer and attention, with others before, between and behind."""

    def __init__(self, lstm):
        super().__init__()
        self.first, self.lstm, self.between = nn.Linear(6, 5), lstm, nn.Linear(4, 8)
        self.attn, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        y = self.between(self.lstm(self.first(x))[0])
        return self.head(self.attn(y, y, y, need_weights=False)[0]).mean(1)


class Wrapped(nn.GRU):
    def forward(self, x):
        return super().forward(x)


def test_products_of_recurrent_layers_and_attention_are_those_of_the_digital_network():
    x, model = torch.randn(10, 7, 6), Recurrent(nn.GRU(5, 4, batch_first=True))
    rows = {row["layer"]: row for row in rows_of(model, spec(CLIP, **STAGES), x)}
    with torch.inference_mode():
        chip = AnalogNetwork(model, dict.fromkeys(rows, spec(CLIP, **STAGES))).chip(0)
        first = model.first(x)
        states = model.lstm(first)[0]
        before = torch.cat([torch.zeros(10, 1, 4), states[:, :-1]], 1)
        inputs = {"weight_ih_l0": first, "weight_hh_l0": before, "in_proj_weight": model.between(states)}
        for name, v in inputs.items():
            layer = f"attn.{name}" if name == "in_proj_weight" else f"lstm.{name}"
            clean, own = model.get_parameter(layer), chip.get_parameter(layer)
            error = (v @ (own - clean).T).norm() / (v @ clean.T).norm()
            assert rows[layer]["mvm_error"] == pytest.approx(float(error), rel=1e-4)
    assert 0.05 < rows["attn.out_proj"]["mvm_error"] < 1


def test_unfolded_layers_change_no_number_of_another():
    x, layer_spec = torch.randn(10, 7, 6), spec(CLIP, **STAGES, read_noise=WhiteReadNoise(0.02))
    model, wrapped = Recurrent(nn.GRU(5, 4, batch_first=True)), Recurrent(Wrapped(5, 4, batch_first=True))
    wrapped.load_state_dict(model.state_dict())
    rows, others = ({row["layer"]: row for row in rows_of(net, layer_spec, x)} for net in (model, wrapped))
    assert list(others) == list(rows)
    assert all(0.01 < row["by_read_noise"] < row["mvm_error"] for row in rows.values())
    for name in ("first", "between", "head"):
        assert others[name] == rows[name]
    # Of a forward of its own the weights alone are told.
    for name in ("lstm.weight_ih_l0", "lstm.weight_hh_l0"):
        assert others[name]["mvm_error"] is others[name]["by_read_noise"] is None
        assert others[name]["weight_error"] == rows[name]["weight_error"]


def test_the_callers_model_is_left_alone():
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))
    before, x = {k: v.clone() for k, v in model.state_dict().items()}, torch.randn(4, 6)
    rows_of(model, spec(CLIP, **STAGES), x, chips=2)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_chips_differ_and_come_back():
    model, x = nn.Linear(20, 20), torch.randn(8, 20)
    first = rows_of(model, spec(CLIP, **STAGES), x, chips=3)
    assert first == rows_of(model, spec(CLIP, **STAGES), x, chips=3)
    assert len({row["mvm_error"] for row in first}) == 3
    assert [row["seed"] for row in first] == [0, 1, 2]
