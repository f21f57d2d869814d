"""Recurrent layers and attention unfolded into their products: torch's own outputs, the same arrays, and read noise."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence
from torch.utils._pytree import tree_leaves

from rramsweep.crossbar.mapping import Differential
from rramsweep.crossbar.programming import LayerSpec
from rramsweep.devices.device import Device
from rramsweep.effects import WhiteReadNoise
from rramsweep.errors import ValidationError
from rramsweep.network.analog import AnalogNetwork, analog_layers
from rramsweep.network.arrays import find_arrays, own_weights, private_copy
from rramsweep.network.inspection import inspect_layers
from rramsweep.network.unfolding import unfold, unfoldable

DEVICE = Device(1.0, 100.0)
QUIET = LayerSpec(DEVICE, Differential())
NOISY = LayerSpec(DEVICE, Differential(), read_noise=WhiteReadNoise(0.02))


@pytest.fixture(autouse=True)
def same_draws():
    torch.manual_seed(0)


def sequences(*lengths, width=5):
    return [torch.randn(n, width) for n in lengths]


# Recurrent layers of 5 inputs and 6 units: `{name: (layer, arguments of a call)}`.
RECURRENT = {
    "lstm": (lambda: nn.LSTM(5, 6), lambda: (torch.randn(7, 3, 5),)),
    "lstm of two layers": (lambda: nn.LSTM(5, 6, 2, batch_first=True, dropout=0.5), lambda: (torch.randn(3, 7, 5),)),
    "lstm both ways": (lambda: nn.LSTM(5, 6, 2, bidirectional=True), lambda: (torch.randn(7, 3, 5),)),
    "lstm projected": (
        lambda: nn.LSTM(5, 6, 2, proj_size=4, bidirectional=True, batch_first=True),
        lambda: (torch.randn(3, 7, 5),),
    ),
    "lstm projected, with states": (
        lambda: nn.LSTM(5, 6, proj_size=4, bias=False),
        lambda: (torch.randn(7, 3, 5), (torch.randn(1, 3, 4), torch.randn(1, 3, 6))),
    ),
    "lstm without bias": (lambda: nn.LSTM(5, 6, bias=False), lambda: (torch.randn(7, 3, 5),)),
    "lstm with states": (
        lambda: nn.LSTM(5, 6, 2, bidirectional=True),
        lambda: (torch.randn(7, 3, 5), (torch.randn(4, 3, 6), torch.randn(4, 3, 6))),
    ),
    "lstm with a list of states": (
        lambda: nn.LSTM(5, 6),
        lambda: (torch.randn(7, 3, 5), [torch.randn(1, 3, 6), torch.randn(1, 3, 6)]),
    ),
    "lstm unbatched": (lambda: nn.LSTM(5, 6, 2, batch_first=True), lambda: (torch.randn(7, 5),)),
    "lstm unbatched, with states": (
        lambda: nn.LSTM(5, 6),
        lambda: (torch.randn(7, 5), (torch.randn(1, 6), torch.randn(1, 6))),
    ),
    "lstm of one step": (lambda: nn.LSTM(5, 6), lambda: (torch.randn(1, 3, 5),)),
    "lstm packed": (
        lambda: nn.LSTM(5, 6, 2, bidirectional=True),
        lambda: (pack_sequence(sequences(7, 4, 4, 1)),),
    ),
    "lstm packed, unsorted, with states": (
        lambda: nn.LSTM(5, 6, bidirectional=True, proj_size=4),
        lambda: (
            pack_sequence(sequences(2, 7, 1, 4), enforce_sorted=False),
            (torch.randn(2, 4, 4), torch.randn(2, 4, 6)),
        ),
    ),
    "lstm packed, padded": (
        lambda: nn.LSTM(5, 6, 2, batch_first=True),
        lambda: (pack_padded_sequence(torch.randn(3, 7, 5), torch.tensor([7, 5, 5]), batch_first=True),),
    ),
    "gru": (lambda: nn.GRU(5, 6), lambda: (torch.randn(7, 3, 5),)),
    "gru with states": (
        lambda: nn.GRU(5, 6, 2, bidirectional=True, batch_first=True),
        lambda: (torch.randn(3, 7, 5), torch.randn(4, 3, 6)),
    ),
    "gru without bias": (lambda: nn.GRU(5, 6, 2, bias=False, dropout=0.3), lambda: (torch.randn(7, 3, 5),)),
    "gru unbatched, with states": (lambda: nn.GRU(5, 6), lambda: (torch.randn(7, 5), torch.randn(1, 6))),
    "gru packed": (
        lambda: nn.GRU(5, 6, bidirectional=True),
        lambda: (pack_sequence(sequences(2, 7, 4), enforce_sorted=False), torch.randn(2, 3, 6)),
    ),
    "rnn": (lambda: nn.RNN(5, 6, 2), lambda: (torch.randn(7, 3, 5),)),
    "rnn relu": (
        lambda: nn.RNN(5, 6, nonlinearity="relu", bidirectional=True, batch_first=True),
        lambda: (torch.randn(3, 7, 5), torch.randn(2, 3, 6)),
    ),
    "rnn relu packed, without bias": (
        lambda: nn.RNN(5, 6, 2, "relu", bias=False),
        lambda: (pack_sequence(sequences(7, 2)),),
    ),
    "rnn unbatched": (lambda: nn.RNN(5, 6), lambda: (torch.randn(7, 5),)),
    "lstm cell": (lambda: nn.LSTMCell(5, 6), lambda: (torch.randn(3, 5),)),
    "lstm cell with states": (
        lambda: nn.LSTMCell(5, 6, bias=False),
        lambda: (torch.randn(3, 5), (torch.randn(3, 6), torch.randn(3, 6))),
    ),
    "lstm cell unbatched": (
        lambda: nn.LSTMCell(5, 6),
        lambda: (torch.randn(5), (torch.randn(6), torch.randn(6))),
    ),
    "gru cell": (lambda: nn.GRUCell(5, 6), lambda: (torch.randn(3, 5), torch.randn(3, 6))),
    "gru cell unbatched": (lambda: nn.GRUCell(5, 6, bias=False), lambda: (torch.randn(5),)),
    "rnn cell": (lambda: nn.RNNCell(5, 6), lambda: (torch.randn(3, 5), torch.randn(3, 6))),
    "rnn cell relu unbatched": (lambda: nn.RNNCell(5, 6, nonlinearity="relu"), lambda: (torch.randn(5),)),
}

PADDING = torch.zeros(2, 6, dtype=torch.bool)
PADDING[1, 4:] = True
CAUSAL = nn.Transformer.generate_square_subsequent_mask(6)


def itself(x, **kwargs):
    return (x, x, x), kwargs


def across(*shape, **kwargs):
    """Query of 5 positions, memory of 6 that is both key and value."""
    memory = torch.randn(shape[1])
    return (torch.randn(shape[0]), memory, memory), kwargs


# Attention of width 8 and 2 heads: `{name: (options, arguments of a call)}`.
ATTENTION = {
    "self": ({}, lambda: itself(torch.randn(6, 2, 8))),
    "self, batch first": ({"batch_first": True}, lambda: itself(torch.randn(2, 6, 8))),
    "self, without weights": ({"batch_first": True}, lambda: itself(torch.randn(2, 6, 8), need_weights=False)),
    "self, each head": ({"batch_first": True}, lambda: itself(torch.randn(2, 6, 8), average_attn_weights=False)),
    "self, without bias": ({"bias": False}, lambda: itself(torch.randn(6, 2, 8))),
    "self, one head": ({"num_heads": 1, "batch_first": True}, lambda: itself(torch.randn(2, 6, 8))),
    "unbatched": ({"batch_first": True}, lambda: itself(torch.randn(6, 8))),
    "unbatched, padded": (
        {},
        lambda: itself(torch.randn(6, 8), key_padding_mask=PADDING[1], average_attn_weights=False),
    ),
    "unbatched, masked a head": ({}, lambda: itself(torch.randn(6, 8), attn_mask=torch.randn(2, 6, 6))),
    "padded": ({"batch_first": True}, lambda: itself(torch.randn(2, 6, 8), key_padding_mask=PADDING)),
    "padded by numbers": ({}, lambda: itself(torch.randn(6, 2, 8), key_padding_mask=torch.randn(2, 6))),
    "masked": ({"batch_first": True}, lambda: itself(torch.randn(2, 6, 8), attn_mask=CAUSAL)),
    "masked, boolean": (
        {},
        lambda: itself(torch.randn(6, 2, 8), attn_mask=CAUSAL.isinf(), need_weights=False),
    ),
    "masked each": ({}, lambda: itself(torch.randn(6, 2, 8), attn_mask=torch.randn(4, 6, 6))),
    "masked and padded": (
        {"batch_first": True},
        lambda: itself(torch.randn(2, 6, 8), attn_mask=CAUSAL.isinf(), key_padding_mask=PADDING, need_weights=False),
    ),
    "causal": (
        {"batch_first": True},
        lambda: itself(torch.randn(2, 6, 8), attn_mask=CAUSAL, is_causal=True, need_weights=False),
    ),
    "causal, with weights": ({}, lambda: itself(torch.randn(6, 2, 8), attn_mask=CAUSAL, is_causal=True)),
    "causal, with a bias": (
        {"add_bias_kv": True},
        lambda: itself(torch.randn(6, 2, 8), attn_mask=CAUSAL, is_causal=True, need_weights=False),
    ),
    "across": ({}, lambda: across((5, 2, 8), (6, 2, 8))),
    "across, batch first": ({"batch_first": True}, lambda: across((2, 5, 8), (2, 6, 8), need_weights=False)),
    "across, three inputs": (
        {"bias": False},
        lambda: ((torch.randn(5, 2, 8), torch.randn(6, 2, 8), torch.randn(6, 2, 8)), {}),
    ),
    "across, unbatched": ({}, lambda: across((5, 8), (6, 8))),
    "key is query": (
        {},
        lambda: ((x := torch.randn(6, 2, 8), x, torch.randn(6, 2, 8)), {}),
    ),
    "bias of key and value": (
        {"add_bias_kv": True},
        lambda: itself(torch.randn(6, 2, 8), attn_mask=CAUSAL, key_padding_mask=PADDING.float()),
    ),
    "zero attention": (
        {"add_zero_attn": True, "batch_first": True},
        lambda: itself(torch.randn(2, 6, 8), key_padding_mask=PADDING),
    ),
    "both, without weights": (
        {"add_bias_kv": True, "add_zero_attn": True},
        lambda: across((5, 2, 8), (6, 2, 8), key_padding_mask=PADDING, need_weights=False),
    ),
    "other widths": (
        {"kdim": 5, "vdim": 3, "batch_first": True},
        lambda: ((torch.randn(2, 4, 8), torch.randn(2, 6, 5), torch.randn(2, 6, 3)), {}),
    ),
    "other widths, both, without bias": (
        {"kdim": 5, "vdim": 3, "bias": False, "add_bias_kv": True, "add_zero_attn": True},
        lambda: ((torch.randn(4, 2, 8), torch.randn(6, 2, 5), torch.randn(6, 2, 3)), {"key_padding_mask": PADDING}),
    ),
    "dropout": ({"dropout": 0.5}, lambda: itself(torch.randn(6, 2, 8))),
}


def unfolded(model):
    made = private_copy(model)
    unfold(made, list(find_arrays(made)))
    return made


@torch.no_grad()
def agree(model, args, kwargs):
    """One model and it unfolded give the same, and each product is a call of a linear layer."""
    model = model.eval()
    random = [p for name, p in model.named_parameters() if "bias" in name]
    for parameter in random:  # those of attention are zero at the start
        parameter.normal_()
    made, before = unfolded(model), {name: array.parts for name, array in find_arrays(model).items()}
    after = find_arrays(made)
    assert {name: array.parts for name, array in after.items()} == before
    assert list(after) == list(before)
    called = set()
    for name, array in after.items():
        assert array.readable
        assert type(array.module) is nn.Linear
        assert array.parameter == "weight"
        array.module.register_forward_hook(lambda *_, name=name: called.add(name))
    expected, found = model(*args, **kwargs), made(*args, **kwargs)
    assert type(found) is type(expected)
    for a, b in zip(tree_leaves(found), tree_leaves(expected), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert called == set(before)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("name", RECURRENT)
def test_a_recurrent_layer_gives_what_torch_gives(name):
    make, arguments = RECURRENT[name]
    agree(make(), arguments(), {})


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_gives_what_torch_gives(name):
    options, arguments = ATTENTION[name]
    args, kwargs = arguments()
    agree(nn.MultiheadAttention(8, **{"num_heads": 2, **options}), args, kwargs)


@pytest.mark.parametrize(
    ("kdim", "alone", "across"),
    [
        (8, {"in_proj_weight": 1, "out_proj": 1}, {"in_proj_weight": 2, "out_proj": 1}),
        (5, None, dict.fromkeys(("q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj"), 1)),
    ],
)
def test_the_stacked_product_is_called_once_for_each_distinct_input(kdim, alone, across):
    model, calls = unfolded(nn.MultiheadAttention(8, 2, kdim=kdim, vdim=kdim)), Counter()
    for name, array in find_arrays(model).items():
        array.module.register_forward_hook(lambda *_, name=name: calls.update([name]))
    query, memory = torch.randn(4, 2, 8), torch.randn(6, 2, kdim)
    model(query, memory, memory)
    assert calls == across
    if alone:
        calls.clear()
        model(query, query, query)
        assert calls == alone


class Net(nn.Module):
    """Layers of every kind in a network, one used twice, with states that a method of a subclass makes."""

    def __init__(self):
        super().__init__()
        self.lstm, self.cell = Stateful(5, 6, batch_first=True), nn.GRUCell(6, 8)
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True)
        self.steps = [self.cell]  # held beside the modules, too

    def forward(self, x):
        states = self.lstm(x, self.lstm.first(len(x)))[0]
        h = None
        made = []
        for t in range(states.shape[1]):
            h = self.steps[0](states[:, t], h)
            made.append(h)
        y = torch.stack(made, 1)
        return (y + self.attn(y, y, y)[0]).mean(1)


class Stateful(nn.LSTM):
    """A subclass without a forward of its own."""

    def first(self, n):
        assert isinstance(self, nn.LSTM)
        zeros = self.weight_hh_l0.new_zeros(self.num_layers, n, self.hidden_size)
        return zeros + 0.5, zeros


def test_a_network_of_them_keeps_its_arrays_and_its_answers():
    model, x = Net().eval(), torch.randn(3, 7, 5)
    made = unfolded(model)
    assert list(find_arrays(made)) == [
        "lstm.weight_ih_l0",
        "lstm.weight_hh_l0",
        "cell.weight_ih",
        "cell.weight_hh",
        "attn.in_proj_weight",
        "attn.out_proj",
    ]
    torch.testing.assert_close(made(x), model(x), rtol=1e-5, atol=1e-5)
    assert isinstance(made.lstm, Stateful)
    again = copy.deepcopy(made)
    assert torch.equal(again(x), made(x))
    assert find_arrays(made)["attn.in_proj_weight"].weight is made.attn.in_proj_weight
    half = made.to(torch.bfloat16)(x.to(torch.bfloat16))
    torch.testing.assert_close(half.float(), model(x), rtol=0.05, atol=0.05)


def test_a_lone_layer_is_unfolded_in_place_and_draws_nothing():
    model, x = private_copy(nn.GRU(5, 6)), torch.randn(7, 3, 5)
    expected, hooked = model(x)[0], []
    model.register_forward_hook(lambda *_: hooked.append(True))
    state, weight = torch.get_rng_state(), model.weight_hh_l0
    unfold(model, ["weight_hh_l0"])
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(model(x)[0], expected)
    assert hooked
    assert find_arrays(model)["weight_hh_l0"].weight is weight


def test_what_is_readable_and_what_is_not_asked_for_is_left_alone():
    model = private_copy(nn.ModuleDict({"a": nn.LSTM(5, 6), "b": nn.LSTM(5, 6), "head": nn.Linear(6, 2)}))
    unfold(model, ["head", "b.weight_ih_l0"])
    assert type(model["a"]) is nn.LSTM
    assert [name for name, array in find_arrays(model).items() if array.readable] == [
        "b.weight_ih_l0",
        "b.weight_hh_l0",
        "head",
    ]
    assert unfoldable(model, list(find_arrays(model))) == ["a.weight_ih_l0", "a.weight_hh_l0"]


def test_tied_weights_stay_tied():
    model = nn.ModuleDict({"a": nn.LSTM(6, 6), "b": nn.LSTM(6, 6), "head": nn.Linear(6, 24)})
    model["b"].weight_hh_l0 = model["a"].weight_hh_l0
    model["head"].weight = model["b"].weight_ih_l0
    made = private_copy(model)
    unfold(made, ["b.weight_hh_l0"])
    carriers = own_weights(find_arrays(made), list(find_arrays(made)))
    assert list(carriers) == ["a.weight_ih_l0", "a.weight_hh_l0", "b.weight_ih_l0"]
    assert made["head"].weight is made["b"].weight_ih_l0
    assert made["b"].weight_hh_l0 is made["a"].weight_hh_l0
    assert made["b"].weight_hh_l0 is not model["b"].weight_hh_l0


class Dropping(nn.LSTM):
    def forward(self, x, hx=None):
        return super().forward(x * 0.9, hx)


class Leaky(nn.GRUCell):
    def forward(self, x, hx=None):
        return 0.9 * super().forward(x, hx)


class Biased(nn.MultiheadAttention):
    def forward(self, *args, **kwargs):
        return super().forward(*args, **kwargs)


def patched():
    layer = nn.RNN(8, 8)
    layer.forward = lambda x: nn.RNN.forward(layer, x)
    return layer


OWN = {
    "lstm": (lambda: Dropping(8, 8), "weight_ih_l0 of Dropping, l.weight_hh_l0 of Dropping"),
    "cell": (lambda: Leaky(8, 8), "weight_ih of Leaky, l.weight_hh of Leaky"),
    "attention": (lambda: Biased(8, 2), "in_proj_weight of Biased, l.out_proj of Biased"),
    "instance": (patched, "weight_ih_l0 of RNN, l.weight_hh_l0 of RNN"),
    "base": (lambda: nn.RNNBase("LSTM", 8, 8, 2), "weight_ih_l0 of RNNBase, .*, ..."),
}


@pytest.mark.parametrize("name", OWN)
def test_a_layer_with_a_forward_of_its_own_is_refused_by_name(name):
    make, shown = OWN[name]
    model = nn.ModuleDict({"l": make(), "head": nn.Linear(8, 2)})
    message = rf"must have torch's own forward .*, got l\.{shown}: give it no read noise .*, or exclude it"
    with pytest.raises(ValidationError, match=message):
        AnalogNetwork(model, dict.fromkeys(analog_layers(model), NOISY))
    with pytest.raises(ValidationError, match=message):
        unfold(private_copy(model), list(find_arrays(model)))
    AnalogNetwork(model, {name: NOISY if name == "head" else QUIET for name in analog_layers(model)})


@torch.inference_mode()
@pytest.mark.parametrize("acting", ["lstm.weight_hh_l0", "cell.weight_ih", "attn.in_proj_weight", "attn.out_proj", "*"])
def test_read_noise_acts_on_the_arrays_that_have_it_and_weak_noise_is_none(acting):
    model, x = Net().eval(), torch.randn(3, 7, 5)
    expected = model(x)

    def network(noise):
        noisy = LayerSpec(DEVICE, Differential(), read_noise=noise)
        specs = {name: noisy if acting in (name, "*") else QUIET for name in analog_layers(model)}
        return AnalogNetwork(model, specs)

    weak, strong = network(WhiteReadNoise(1e-9)), network(WhiteReadNoise(0.02))
    for found in (weak.digital(), weak.ideal(), weak.chip(3), strong.ideal()):
        torch.testing.assert_close(found(x), expected, rtol=1e-4, atol=1e-5)
    strong.check_reads(x)
    one = strong.chip(3)(x)
    assert (one - expected).abs().max() > 3e-4
    assert torch.equal(strong.chip(3)(x), one)
    assert not torch.equal(strong.chip(4)(x), one)


@torch.inference_mode()
def test_each_step_is_a_read_of_its_own():
    model, x = nn.ModuleList([nn.LSTM(5, 6, 2, batch_first=True)]), torch.randn(3, 7, 5)
    network = AnalogNetwork(model, dict.fromkeys(analog_layers(model), NOISY))
    network.chip(0)[0](x)
    reads = {name: slot.reads for name, slot in network._slots.items()}
    assert reads == {"0.weight_ih_l0": 1, "0.weight_hh_l0": 7, "0.weight_ih_l1": 1, "0.weight_hh_l1": 7}
    # The same input at each step is read with other noise.
    same = torch.ones(1, 7, 5)
    gates = find_arrays(network.chip(0))["0.weight_ih_l0"].module(same)
    assert len(gates[0].unique(dim=0)) == 7


@torch.inference_mode()
def test_an_encoder_layer_calls_its_attention_though_it_could_take_its_weights():
    model, x, called = unfolded(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)), torch.randn(2, 6, 8), []
    for name in ("self_attn.in_proj_weight", "self_attn.out_proj"):
        product = find_arrays(model)[name].module  # without a hook, which alone would change its way
        product.forward = lambda x, name=name, forward=product.forward: called.append(name) or forward(x)
    model(x)
    assert called == ["self_attn.in_proj_weight", "self_attn.out_proj"]


@torch.inference_mode()
@pytest.mark.parametrize("state", [False, True])
def test_noise_of_a_relu_step_has_the_variance_of_the_law(state):
    """One step of an RNN is `relu(W_ih x + W_hh h + b)`, the sum itself where b is large: variances add up.

    White noise of every cell: var(y_o) = (2 gain_o^2 sigma_uS^2) |x|^2, gain = W_max / (g_max - g_min), two cells.
    """
    n = 4000
    layer = nn.RNN(5, 6, nonlinearity="relu")
    layer.bias_ih_l0.data.fill_(100.0)
    x, h = torch.randn(5), torch.randn(6) if state else torch.zeros(6)
    network = AnalogNetwork(layer, dict.fromkeys(analog_layers(layer), NOISY))
    inputs, states = x.expand(1, n, 5).contiguous(), h.expand(1, n, 6).contiguous()
    y = network.chip(0)(inputs, states)[0][0].double()
    expected = network.ideal()(inputs, states)[0][0, 0].double()
    sigma_uS = 0.02 * DEVICE.g_max_uS
    gains = [
        float(w.abs().max()) / (DEVICE.g_max_uS - DEVICE.g_min_uS) for w in (layer.weight_ih_l0, layer.weight_hh_l0)
    ]
    due = sum(2 * (gain * sigma_uS) ** 2 * float(v.square().sum()) for gain, v in zip(gains, (x, h), strict=True))
    # Variances of n normal draws scatter by sqrt(2 / n), means by sigma / sqrt(n).
    assert float((y.var(0) / due - 1).abs().max()) < 5 * (2 / n) ** 0.5
    assert float((y.mean(0) - expected).abs().max()) < 5 * (due / n) ** 0.5


@torch.inference_mode()
def test_noise_of_gates_has_the_full_scale_of_each_gate():
    """The first step of an LSTM: each gate of the stacked product has a W_max of its own."""
    n = 4000
    layer = nn.LSTM(5, 6, bias=False)
    for i, gate in enumerate(layer.weight_ih_l0.data.chunk(4)):
        gate.mul_(10.0**i)
    network = AnalogNetwork(layer, dict.fromkeys(analog_layers(layer), NOISY))
    chip, x = network.chip(0), torch.randn(5)
    y = find_arrays(chip)["weight_ih_l0"].module(x.expand(n, 5)).double()
    sigma = 0.02 * DEVICE.g_max_uS / (DEVICE.g_max_uS - DEVICE.g_min_uS)
    for gate, weight in zip(y.chunk(4, 1), layer.weight_ih_l0.chunk(4), strict=True):
        due = 2 * (sigma * float(weight.abs().max())) ** 2 * float(x.square().sum())
        assert float((gate.var(0) / due - 1).abs().max()) < 5 * (2 / n) ** 0.5


class Encoder(nn.Module):
    """torch's encoder, which drops padding and multiplies past the forward of its layers where it can."""

    def __init__(self, padded, norm_first=False):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first)
        nested = padded and not norm_first
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested)
        self.padded = padded

    def forward(self, x):
        mask = PADDING.repeat(len(x) // 2, 1) if self.padded else None
        return self.encoder(x, src_key_padding_mask=mask).mean(1)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x):
        return self.layer(x, x.flip(1), tgt_mask=CAUSAL, tgt_is_causal=True).mean(1)


@pytest.mark.parametrize(
    "make",
    [lambda: Encoder(False), lambda: Encoder(True), lambda: Encoder(True, True), Decoder],
    ids=["encoder", "padded", "norm first", "decoder"],
)
@pytest.mark.parametrize("acting", ["attn", "linear", ""])
@torch.inference_mode()
def test_attention_and_layers_of_transformers_are_read(make, acting):
    model, x = make().eval(), torch.randn(4, 6, 8)
    expected = model(x)
    specs = {name: NOISY if acting in name else QUIET for name in analog_layers(model)}
    network = AnalogNetwork(model, specs)
    network.check_reads(x)
    assert all(slot.reads > 0 for slot in network._slots.values())
    assert {name for name in specs if acting in name} == set(network._slots)
    torch.testing.assert_close(network.digital()(x), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(network.chip(1)(x), expected, rtol=1e-2)
    rows = inspect_layers(model, specs, 0.0, x, [0])
    assert all(row["mvm_error"] is not None for row in rows)


def test_the_weight_alone_is_no_read():
    class Taking(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(6, 6)

        def forward(self, x):
            return x @ self.lstm.weight_ih_l0.T

    model = Taking()
    network = AnalogNetwork(model, dict.fromkeys(analog_layers(model), NOISY))
    with pytest.raises(ValueError, match=r"takes the weight of lstm.weight_ih_l0, lstm.weight_hh_l0 without calling"):
        network.check_reads(torch.randn(2, 6))
