"""How much of a network is analog, against counts by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from rramsweep.crossbar.mapping import Differential, Offset
from rramsweep.crossbar.programming import LayerSpec
from rramsweep.devices.device import Device
from rramsweep.models import digits_cnn, lenet5
from rramsweep.network.analog import analog_layers
from rramsweep.network.partition import LayerSize, describe_shares, layer_sizes, shares, stacked_weights

DEVICE = Device(2.0, 52.0)


def by_kind(model, x, names=None):
    found = shares(model.eval(), analog_layers(model) if names is None else names, x)
    return {(s.kind, s.analog): (s.layers, s.parameters, s.macs) for s in found}


def test_lenet5_by_hand():
    found = by_kind(lenet5(), torch.zeros(1, 1, 28, 28))
    assert found == {
        ("Conv2d", True): (2, 6 * 25 + 16 * 150, 6 * 28 * 28 * 25 + 16 * 10 * 10 * 150),
        ("Linear", True): (3, 400 * 120 + 120 * 84 + 84 * 10, 400 * 120 + 120 * 84 + 84 * 10),
        ("bias", False): (5, 6 + 16 + 120 + 84 + 10, 0),
    }
    assert sum(parameters for _, parameters, _ in found.values()) == 61_706


def test_what_is_excluded_is_digital():
    found = by_kind(lenet5(), torch.zeros(1, 1, 28, 28), ["fc1", "fc2"])
    assert found["Linear", False] == (1, 84 * 10 + 10, 84 * 10)
    assert found["Conv2d", False][1] == 6 * 25 + 6 + 16 * 150 + 16


def test_recurrent_layers_and_attention_by_hand():
    lstm = by_kind(nn.LSTM(8, 6, batch_first=True), torch.zeros(1, 5, 8))
    assert lstm["LSTM", True] == (1, 4 * 6 * (8 + 6), 5 * 4 * 6 * (8 + 6))
    layer = by_kind(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), torch.zeros(1, 5, 8))
    assert layer["MultiheadAttention", True] == (1, 3 * 8 * 8, 5 * 3 * 8 * 8)
    assert layer["NonDynamicallyQuantizableLinear", True] == (1, 8 * 8, 5 * 8 * 8)
    assert layer["Linear", True] == (2, 2 * 8 * 16, 5 * 2 * 8 * 16)
    assert layer["LayerNorm", False] == (2, 4 * 8, 2 * 5 * 8)


def test_transposed_grouped_and_tied():
    up = by_kind(nn.ConvTranspose2d(4, 6, 3, groups=2, stride=2), torch.zeros(1, 4, 5, 5))
    assert up["ConvTranspose2d", True] == (1, 4 * 3 * 9, 4 * 25 * 3 * 9)
    model = nn.Sequential(nn.Embedding(6, 6), nn.Linear(6, 6, bias=False))
    model[1].weight = model[0].weight
    tied = by_kind(model, torch.zeros(1, 3, dtype=torch.long))
    assert tied["Embedding", False][1:] == (36, 0)
    assert tied["Linear", True] == (1, 36, 3 * 36), "cells of its own beside the embedding"


def test_one_line_says_it_all():
    model = digits_cnn().eval()
    line = describe_shares(shares(model, analog_layers(model), torch.zeros(1, 1, 8, 8)))
    assert line.startswith("analog: 98.")
    assert "BatchNorm2d x 2 (" in line
    assert "% of multiplications" in line


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (digits_cnn(), torch.zeros(1, 1, 8, 8)),
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), torch.zeros(1, 5, 8)),
    ],
    ids=["convolutions", "attention"],
)
def test_multiplications_are_those_with_weights(model, x):
    """Q K^T and A V multiply activations: no share of a network's multiplications is said to count them."""
    line = describe_shares(shares(model.eval(), analog_layers(model), x))
    assert line.count("% of multiplications with weights") == line.count("% of multiplications")


def test_sizes_of_layers_by_hand():
    model, pair, single = lenet5().eval(), LayerSpec(DEVICE, Differential()), LayerSpec(DEVICE, Offset())
    names = analog_layers(model)
    sizes = layer_sizes(model, {name: single if name == "fc3" else pair for name in names}, torch.zeros(1, 1, 28, 28))
    assert sizes[0] == LayerSize(("conv1",), 2 * 6 * 25, 6 * 28 * 28 * 25)
    assert sizes[-1] == LayerSize(("fc3",), 84 * 10, 84 * 10)
    assert [size.layers for size in sizes] == [(name,) for name in names]
    analog = [s for s in shares(model, names, torch.zeros(1, 1, 28, 28)) if s.analog]
    assert sum(size.macs for size in sizes) == sum(s.macs for s in analog)


def test_tied_layers_are_one_entry_that_multiplies_twice():
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 4))
    model[1].weight = model[0].weight
    spec = LayerSpec(DEVICE, Differential())
    found = layer_sizes(model.eval(), dict.fromkeys("012", spec), torch.zeros(1, 6))
    assert found == [LayerSize(("0", "1"), 72, 72), LayerSize(("2",), 48, 24)]


class Experts(nn.Module):
    """Two experts, each a matrix of one parameter, as mixtures of experts hold them."""

    def __init__(self):
        super().__init__()
        self.gate, self.experts = nn.Linear(6, 2), nn.Parameter(torch.randn(2, 6, 4))

    def forward(self, x):
        return torch.einsum("ne,nf,efo->no", self.gate(x).softmax(1), x, self.experts)


def test_stacked_weights_are_noted_where_they_are_a_large_part():
    (note,) = stacked_weights(Experts())
    assert note.startswith(
        "77.4 % of the parameters are matrices stacked in one parameter of Experts, which is no layer"
    )
    assert stacked_weights(nn.Sequential(Experts(), nn.Linear(4, 200))) == []


def test_layers_of_three_axes_are_no_stacked_weights():
    normed = parametrizations.weight_norm(nn.Conv1d(3, 4, 3))
    for layer in (nn.Conv1d(3, 4, 3), nn.ConvTranspose1d(3, 4, 3), normed, nn.LSTM(3, 4), nn.MultiheadAttention(4, 2)):
        assert stacked_weights(nn.Sequential(layer)) == []
    assert stacked_weights(lenet5()) == []
