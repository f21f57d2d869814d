"""Read noise of layers with a forward of their own: right where that is a product, else refused by name."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rramsweep.crossbar.mapping import Differential
from rramsweep.crossbar.programming import LayerSpec
from rramsweep.devices.device import Device
from rramsweep.effects import WhiteReadNoise
from rramsweep.network.analog import AnalogNetwork, analog_layers
from rramsweep.network.inspection import inspect_layers

SPEC = LayerSpec(Device(1.0, 100.0), Differential(), read_noise=WhiteReadNoise(0.1))


class Scaled(nn.Linear):
    def forward(self, x):
        return F.linear(x, self.weight * 0.01, self.bias)


class Centred(nn.Linear):
    def forward(self, x):
        return F.linear(x, self.weight - self.weight.mean(), self.bias)


class Standardised(nn.Conv2d):
    def forward(self, x):
        w = self.weight
        w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
        return self._conv_forward(x, w, self.bias)


class Twice(nn.Linear):
    """A cell that two inputs meet is read twice, and its noise is the same both times."""

    def forward(self, x):
        return F.linear(x, self.weight) + F.linear(x.roll(1, -1), self.weight) + self.bias


class There(nn.Linear):
    """Scaled and scaled back: a product all the same."""

    def forward(self, x):
        return F.linear(x * 1e-3, self.weight) * 1e3 + self.bias


class ByHand(nn.Linear):
    def forward(self, x):
        return x @ self.weight.T + self.bias


class Same(nn.Conv2d):
    """Pads by itself, as networks ported from TensorFlow do."""

    def forward(self, x):
        return super().forward(F.pad(x, (0, 1, 0, 1)))


class Halved(nn.ConvTranspose2d):
    def forward(self, x, output_size=None):
        return super().forward(x / 2, output_size)


def network(layer):
    torch.manual_seed(0)
    net = nn.Sequential(layer(), nn.Flatten(), nn.LazyLinear(3)).eval()
    net(X)
    return net, AnalogNetwork(net, dict.fromkeys(analog_layers(net), SPEC))


X = torch.rand(5, 2, 6, 6, generator=torch.Generator().manual_seed(1))

REFUSED = [
    lambda: Scaled(6, 4),
    lambda: Centred(6, 4),
    lambda: Standardised(2, 4, 3),
    lambda: Twice(6, 4),
    lambda: Halved(2, 4, 3, groups=2),
]


@pytest.mark.parametrize("layer", REFUSED)
def test_a_layer_that_changes_its_weight_is_refused_by_name(layer):
    net, analog = network(layer)
    kind = type(net[0]).__name__
    with pytest.raises(ValueError, match=rf"a product of its input and its weight, but '0' \({kind}\) changes"):
        analog.check_reads(X[:1])
    specs = dict.fromkeys(analog_layers(net), SPEC)
    with pytest.raises(ValueError, match=rf"but '0' \({kind}\) changes its weight first"):
        inspect_layers(net, specs, 0.0, X, [0])


@pytest.mark.parametrize("layer", [There, ByHand])
def test_what_is_a_product_has_the_noise_of_one(layer):
    plain, own = (network(lambda kind=kind: kind(6, 4)) for kind in (nn.Linear, layer))
    for _, analog in (plain, own):
        analog.check_reads(X[:1])
    with torch.inference_mode():
        a, b = (analog.chip(3)(X) for _, analog in (plain, own))
    assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", [lambda: Same(2, 4, 2), lambda: Same(2, 4, 3, groups=2, stride=2, bias=False)])
def test_a_layer_that_pads_is_read(layer):
    _, analog = network(layer)
    analog.check_reads(X[:1])
    with torch.inference_mode():
        assert not torch.equal(analog.chip(0)(X), analog.chip(1)(X))
