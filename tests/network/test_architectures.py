"""Any network goes on the array: the same five laws for a table of small architectures.

The table states for each network how many of its parameters are cells of an array and how many stay digital
(biases, normalisation, embeddings, free parameters), counted by hand. Networks are random: the laws do not ask for
a trained one. Batch norms take their statistics from the input, so that signals keep their size at every depth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torchvision.models import ConvNeXt
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from rramsweep import FastPyTorchRRAM
from rramsweep.crossbar.mapping import Differential
from rramsweep.crossbar.programming import LayerSpec
from rramsweep.datasets import digits
from rramsweep.devices.device import Device
from rramsweep.effects import RelativeDrift
from rramsweep.models import digits_cnn, digits_mlp, lenet5
from rramsweep.network.analog import AnalogNetwork, analog_layers

DRIFTED = LayerSpec(Device(1.0, 100.0), Differential(), drift=RelativeDrift(0.1))

# Of the largest logit. A weight goes to conductances and back in single precision, off by about 1e-7 of W_max; random
# deep networks amplify that, here up to 3e-5 (mobilenet_v2). The least that drift does is 2e-2 (hourglass).
TOLERANCE = 1e-4

# Of the largest logit, for the same weights elsewhere in memory: kernels add in another order by alignment.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Row:
    """One architecture.

    Args:
        make: the network, random weights.
        shape: of its input (standard normal), or a function that gives the input.
        analog: number of parameters on arrays.
        digital: number of parameters that are not. A computed weight counts as the plain one it becomes.
        reloads: whether the chip's state dict is one of the same class.
    """

    make: Callable[[], nn.Module]
    shape: tuple[int, ...] | Callable[[], Tensor]
    analog: int
    digital: int
    reloads: bool = True


class First(nn.Module):
    """The first of what a recurrent or attention layer gives."""

    def __init__(self, layer: nn.Module, n_inputs: int = 1):
        super().__init__()
        self.layer, self.n_inputs = layer, n_inputs

    def forward(self, x):
        return self.layer(*[x] * self.n_inputs)[0]


class Unrolled(nn.Module):
    """A recurrent cell, step by step over (N, T, F)."""

    def __init__(self, cell: nn.Module):
        super().__init__()
        self.cell = cell

    def forward(self, x):
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return state[0] if isinstance(state, tuple) else state


class Packed(nn.Module):
    """An LSTM on sequences of different lengths."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 6, batch_first=True)

    def forward(self, x):
        lengths = torch.arange(len(x)) % x.shape[1] + 1
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.lstm(packed)[0], batch_first=True)[0]


class RowsLSTM(nn.Module):
    """Reads a digit row by row and classifies it from the last state."""

    def __init__(self, batch_first: bool, **options: Any):
        super().__init__()
        self.batch_first = batch_first
        self.lstm = nn.LSTM(8, 16, batch_first=batch_first, **options)
        width = (self.lstm.proj_size or 16) * (2 if self.lstm.bidirectional else 1)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        states = self.lstm(x if self.batch_first else x.transpose(0, 1))[0]
        return self.head(states[:, -1] if self.batch_first else states[-1])


class RowsTransformer(nn.Module):
    """Attends between the rows of a digit."""

    def __init__(self, batch_first: bool, norm_first: bool):
        super().__init__()
        self.batch_first = batch_first
        self.embed, self.position = nn.Linear(8, 16), nn.Parameter(torch.randn(8, 16))
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=batch_first, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = self.embed(x) + self.position
        x = self.encoder(x) if self.batch_first else self.encoder(x.transpose(0, 1)).transpose(0, 1)
        return self.head(x.mean(1))


class Memory(nn.Module):
    """Attention whose keys and values have other widths than its queries."""

    def __init__(self):
        super().__init__()
        self.attn = nn.MultiheadAttention(8, 2, kdim=5, vdim=3, batch_first=True, add_bias_kv=True, add_zero_attn=True)

    def forward(self, x):
        return self.attn(x, x[..., :5], x[..., :3])[0]


class Translator(nn.Module):
    """Encoder and decoder."""

    def __init__(self):
        super().__init__()
        self.core = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)

    def forward(self, x):
        return self.core(x, x.flip(1))


class SamePadded(nn.Conv2d):
    """A subclass with a forward of its own."""

    def forward(self, x):
        return super().forward(nn.functional.pad(x, (1, 1, 1, 1)))


class TiedLinears(nn.Module):
    """Two layers with one weight, each with its own bias."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x).relu())


class LanguageModel(nn.Module):
    """A head tied to the embedding: the head is cells, the embedding a table of exact numbers."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(12, 8), nn.Linear(8, 12, bias=False)
        self.body = nn.GRU(8, 8, batch_first=True)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.head(self.body(self.embedding(tokens))[0])


class Reused(nn.Module):
    """One layer called three times, and under two names."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.steps = nn.ModuleList([self.layer, self.layer])

    def forward(self, x):
        x = self.layer(x).tanh()
        for step in self.steps:
            x = step(x).tanh()
        return x


class Skipping(nn.Module):
    """An hourglass with a skip, in a ModuleDict."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleDict(
            {
                "down": nn.Conv2d(2, 4, 3, stride=2, padding=1),
                "norm": nn.GroupNorm(2, 4),
                "up": nn.ConvTranspose2d(4, 2, 4, stride=2, padding=1),
                "out": nn.Conv2d(4, 1, 1),
            }
        )

    def forward(self, x):
        low = self.parts["norm"](self.parts["down"](x)).relu()
        return self.parts["out"](torch.cat([x, self.parts["up"](low)], 1))


class WithDigitalParts(nn.Module):
    """Weights that are no matrix product of an input stay digital: embedding, bilinear form, scale."""

    def __init__(self):
        super().__init__()
        self.token, self.pair, self.scale = nn.Embedding(8, 4), nn.Bilinear(4, 4, 3), nn.Parameter(torch.ones(4))
        self.linear = nn.Linear(4, 4)

    def forward(self, tokens):
        x = self.token(tokens)
        return self.pair(self.linear(x) * self.scale, x)


def one(module: nn.Module) -> nn.Module:
    return nn.Sequential(module)


def pruned() -> nn.Module:
    return one(prune.l1_unstructured(nn.Conv2d(2, 4, 3), "weight", 0.5))


def hardened_lstm() -> nn.Module:
    """Weight norm on the recurrent weight, as regularised language models have it."""
    return First(parametrizations.weight_norm(nn.LSTM(8, 6, batch_first=True), "weight_hh_l0"))


def resnet18() -> nn.Module:
    return torchvision.models.resnet18()


def convnext_tiny() -> nn.Module:
    """ConvNeXt-T's depths at a sixth of its widths."""
    widths, depths = (16, 32, 64, 128), (3, 3, 9, 3)
    stages = [CNBlockConfig(w, n, d) for w, n, d in zip(widths, (*widths[1:], None), depths, strict=True)]
    return ConvNeXt(stages, num_classes=10)


def vit_b_16() -> nn.Module:
    """ViT-B/16's form at 2 layers of width 32."""
    model = VisionTransformer(64, 16, num_layers=2, num_heads=4, hidden_dim=32, mlp_dim=64, num_classes=10)
    nn.init.normal_(model.heads.head.weight)  # zero at the start of training: there would be no logits
    return model


def swin_t() -> nn.Module:
    """Swin-T's depths at a sixth of its width."""
    return SwinTransformer([4, 4], 16, [2, 2, 6, 2], [1, 2, 4, 8], window_size=[7, 7], num_classes=10)


def rows() -> Tensor:
    """Digits as sequences of 8 rows of 8 pixels."""
    return digits().x[:16].flatten(0, 1)


def tokens() -> Tensor:
    return torch.randint(8, (16, 5))


SEQUENCES = (6, 5, 8)
PICTURES = (4, 3, 64, 64)

TABLE = {
    "linear": Row(lambda: one(nn.Linear(8, 4)), (16, 8), 8 * 4, 4),
    "linear_sequence": Row(lambda: one(nn.Linear(8, 4, bias=False)), SEQUENCES, 8 * 4, 0),
    "digits_mlp": Row(digits_mlp, lambda: digits().x[:16], 64 * 128 + 128 * 10, 138),
    "digits_cnn": Row(digits_cnn, lambda: digits().x[:16], 6138 - 106, 2 * (16 + 32) + 10),
    "lenet5": Row(lenet5, (4, 1, 28, 28), 61_706 - 236, 6 + 16 + 120 + 84 + 10),
    "conv1d_circular": Row(
        lambda: one(nn.Conv1d(3, 4, 3, stride=2, dilation=2, padding=2, padding_mode="circular")),
        (4, 3, 16),
        4 * 3 * 3,
        4,
    ),
    "conv2d_grouped_reflect": Row(
        lambda: one(nn.Conv2d(4, 6, 3, groups=2, padding=1, padding_mode="reflect", bias=False)),
        (4, 4, 8, 8),
        6 * 2 * 9,
        0,
    ),
    "conv2d_depthwise_replicate": Row(
        lambda: one(nn.Conv2d(4, 8, 3, groups=4, padding=1, padding_mode="replicate")), (4, 4, 8, 8), 8 * 9, 8
    ),
    "conv2d_same_dilated": Row(
        lambda: one(nn.Conv2d(3, 4, (3, 5), padding="same", dilation=(2, 1))), (4, 3, 8, 8), 4 * 3 * 15, 4
    ),
    "conv3d_strided": Row(lambda: one(nn.Conv3d(2, 4, 3, stride=(1, 2, 1), padding=1)), (2, 2, 4, 6, 4), 4 * 2 * 27, 4),
    "conv3d_grouped_circular": Row(
        lambda: one(nn.Conv3d(4, 4, (1, 3, 3), groups=2, padding=(0, 1, 1), padding_mode="circular")),
        (2, 4, 3, 5, 5),
        4 * 2 * 9,
        4,
    ),
    "conv_transpose1d": Row(
        lambda: one(nn.ConvTranspose1d(3, 4, 4, stride=2, output_padding=1)), (4, 3, 7), 3 * 4 * 4, 4
    ),
    "conv_transpose2d_grouped": Row(
        lambda: one(nn.ConvTranspose2d(4, 6, 3, groups=2, stride=2, dilation=2)), (4, 4, 5, 5), 4 * 3 * 9, 6
    ),
    "conv_transpose3d_grouped": Row(
        lambda: one(nn.ConvTranspose3d(4, 6, (2, 3, 3), groups=2, bias=False)), (2, 4, 3, 3, 3), 4 * 3 * 18, 0
    ),
    "rnn": Row(lambda: First(nn.RNN(8, 6)), SEQUENCES, 6 * (8 + 6), 2 * 6),
    "rnn_relu_two_layers": Row(
        lambda: First(nn.RNN(8, 6, 2, "relu", bias=False)), SEQUENCES, 6 * (8 + 6) + 6 * (6 + 6), 0
    ),
    "gru": Row(lambda: First(nn.GRU(8, 6, batch_first=True)), SEQUENCES, 18 * (8 + 6), 2 * 18),
    "gru_bidirectional": Row(lambda: First(nn.GRU(8, 6, bidirectional=True)), SEQUENCES, 2 * 18 * (8 + 6), 2 * 2 * 18),
    "lstm": Row(lambda: First(nn.LSTM(8, 6)), SEQUENCES, 24 * (8 + 6), 2 * 24),
    "lstm_packed": Row(Packed, SEQUENCES, 24 * (8 + 6), 2 * 24),
    # Two directions; the second layer sees both projections of 4: weights (64, 8), (64, 4), (4, 16), then (64, 8), ...
    "lstm_projected": Row(
        lambda: First(nn.LSTM(8, 16, 2, bidirectional=True, proj_size=4)),
        SEQUENCES,
        2 * 2 * (64 * (8 + 4) + 4 * 16),
        2 * 2 * 2 * 64,
    ),
    "rnn_cell": Row(lambda: Unrolled(nn.RNNCell(8, 6)), SEQUENCES, 6 * (8 + 6), 2 * 6),
    "gru_cell": Row(lambda: Unrolled(nn.GRUCell(8, 6)), SEQUENCES, 18 * (8 + 6), 2 * 18),
    "lstm_cell": Row(lambda: Unrolled(nn.LSTMCell(8, 6)), SEQUENCES, 24 * (8 + 6), 2 * 24),
    "rows_lstm": Row(lambda: RowsLSTM(batch_first=False), rows, 64 * (8 + 16) + 160, 2 * 64 + 10),
    "rows_lstm_batch_first": Row(
        lambda: RowsLSTM(batch_first=True, bidirectional=True, proj_size=4),
        rows,
        2 * (64 * (8 + 4) + 4 * 16) + 8 * 10,
        2 * 2 * 64 + 10,
    ),
    "attention": Row(lambda: First(nn.MultiheadAttention(8, 2), 3), SEQUENCES, 4 * 64, 4 * 8),
    "attention_without_bias": Row(
        lambda: First(nn.MultiheadAttention(8, 2, bias=False, batch_first=True), 3), SEQUENCES, 4 * 64, 0
    ),
    # bias_k and bias_v are free parameters of 8 each.
    "attention_of_other_widths": Row(Memory, SEQUENCES, 8 * (8 + 5 + 3 + 8), 4 * 8 + 2 * 8),
    # A layer: attention 4 x 16 x 16, feed-forward 2 x 16 x 32; biases 64 + 48, two norms of 32; a position of 8 x 16.
    "rows_transformer": Row(
        lambda: RowsTransformer(batch_first=False, norm_first=True),
        rows,
        8 * 16 + 2 * 2048 + 160,
        16 + 128 + 2 * (64 + 48 + 64) + 10,
    ),
    "rows_transformer_batch_first": Row(
        lambda: RowsTransformer(batch_first=True, norm_first=False),
        rows,
        8 * 16 + 2 * 2048 + 160,
        16 + 128 + 2 * (64 + 48 + 64) + 10,
    ),
    # Three attentions of 4 x 64 and two feed-forwards of 2 x 8 x 16; seven norms of 16.
    "transformer": Row(Translator, SEQUENCES, 3 * 256 + 2 * 256, 3 * 32 + 2 * 24 + 7 * 16),
    "subclass": Row(lambda: one(SamePadded(2, 4, 3)), (4, 2, 6, 6), 4 * 2 * 9, 4),
    "hourglass": Row(Skipping, (4, 2, 8, 8), 4 * 2 * 9 + 4 * 2 * 16 + 4, 4 + 8 + 2 + 1),
    "reused": Row(Reused, (16, 8), 64, 8),
    "tied_linears": Row(TiedLinears, (16, 8), 64, 2 * 8),
    # The tied weight is there twice: as cells, and as the exact table of the embedding.
    "tied_embedding": Row(LanguageModel, tokens, 12 * 8 + 24 * (8 + 8), 12 * 8 + 2 * 24, reloads=False),
    "digital_parts": Row(WithDigitalParts, tokens, 16, 8 * 4 + (3 * 16 + 3) + 4 + 4),
    "weight_norm": Row(lambda: one(parametrizations.weight_norm(nn.Linear(8, 4))), (16, 8), 32, 4, reloads=False),
    "spectral_norm": Row(
        lambda: one(parametrizations.spectral_norm(nn.Conv2d(2, 4, 3))), (4, 2, 6, 6), 72, 4, reloads=False
    ),
    "orthogonal": Row(lambda: one(parametrizations.orthogonal(nn.Linear(8, 8))), (16, 8), 64, 8, reloads=False),
    "weight_norm_hook": Row(
        lambda: one(nn.utils.weight_norm(nn.ConvTranspose1d(3, 4, 4), dim=1)), (4, 3, 7), 48, 4, reloads=False
    ),
    "spectral_norm_hook": Row(lambda: one(nn.utils.spectral_norm(nn.Linear(8, 4))), (16, 8), 32, 4, reloads=False),
    "pruned": Row(pruned, (4, 2, 6, 6), 72, 4, reloads=False),
    "weight_norm_lstm": Row(hardened_lstm, SEQUENCES, 24 * (8 + 6), 2 * 24, reloads=False),
    # Totals are torchvision's own; digital are two a channel of batch norm and the biases.
    "resnet18": Row(resnet18, PICTURES, 11_689_512 - 10_600, 2 * 4800 + 1000),
    "mobilenet_v2": Row(lambda: torchvision.models.mobilenet_v2(), PICTURES, 3_504_872 - 35_112, 2 * 17_056 + 1000),
    # 9340 biases of squeeze and excitation.
    "efficientnet_b0": Row(
        lambda: torchvision.models.efficientnet_b0(), PICTURES, 5_288_548 - 52_356, 2 * 21_008 + 9340 + 1000
    ),
    "densenet121": Row(lambda: torchvision.models.densenet121(), PICTURES, 7_978_856 - 84_648, 2 * 41_824 + 1000),
    # A block of width w: 49 w + 8 w^2 on arrays; its biases, norm and scale 9 w. Between stages 4 w 2w; norm 2 w, bias.
    "convnext_tiny": Row(
        convnext_tiny,
        PICTURES,
        768
        + sum(n * (49 * w + 8 * w * w) for n, w in ((3, 16), (3, 32), (9, 64), (3, 128)))
        + 8 * (16**2 + 32**2 + 64**2)
        + 1280,
        16 + 32 + 9 * (3 * 16 + 3 * 32 + 9 * 64 + 3 * 128) + 4 * (16 + 32 + 64) + 256 + 10,
    ),
    # Patches 3 x 16 x 16 x 32, two layers of 4 x 32^2 + 2 x 32 x 64; class token and 17 positions of 32.
    "vit_b_16": Row(
        vit_b_16, PICTURES, 24_576 + 2 * (4096 + 4096) + 320, 32 + 18 * 32 + 2 * (128 + 96 + 128) + 64 + 10
    ),
    # A block of width d with h heads: 12 d^2 on arrays, 13 d and positions of 169 h not; merging 8 d^2, norm 8 d.
    "swin_t": Row(
        swin_t,
        PICTURES,
        768 + 12 * (2 * 16**2 + 2 * 32**2 + 6 * 64**2 + 2 * 128**2) + 8 * (16**2 + 32**2 + 64**2) + 1280,
        16
        + 32
        + 13 * (2 * 16 + 2 * 32 + 6 * 64 + 2 * 128)
        + 169 * (2 * 1 + 2 * 2 + 6 * 4 + 2 * 8)
        + 8 * (16 + 32 + 64)
        + 256
        + 10,
    ),
}


@dataclass(frozen=True, eq=False)
class Case:
    """A row's network as the user holds it (training, one parameter frozen), on the array, and what chip 1 gives."""

    row: Row
    x: Tensor
    model: nn.Module
    logits: Tensor
    before: dict[str, Tensor]
    analog: AnalogNetwork
    chip_logits: Tensor

    def close(self, logits: Tensor, expected: Tensor, of_largest: float) -> None:
        torch.testing.assert_close(logits, expected, rtol=0, atol=of_largest * float(self.logits.abs().max()))


def settle(model: nn.Module, x: Tensor) -> None:
    """Batch norms take their statistics from the input."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    if norms:
        with torch.no_grad():
            model.train()(x)


@pytest.fixture(scope="module", params=TABLE)
def case(request):
    row = TABLE[request.param]
    torch.manual_seed(0)
    model = row.make()
    x = row.shape() if callable(row.shape) else torch.randn(row.shape)
    settle(model, x)
    model.eval()
    with torch.no_grad():
        logits = model(x)
    model.train()
    next(model.parameters()).requires_grad_(False)
    before = {name: value.detach().clone() for name, value in model.state_dict().items()}
    analog = AnalogNetwork(model, dict.fromkeys(analog_layers(model), DRIFTED))
    with torch.no_grad():
        return Case(row, x, model, logits, before, analog, analog.chip(1)(x))


@torch.no_grad()
def test_the_ideal_chip_reproduces_the_logits(case):
    assert case.logits.abs().max() > 0
    case.close(case.analog.digital()(case.x), case.logits, ROUNDING)
    case.close(case.analog.ideal()(case.x), case.logits, TOLERANCE)


@torch.no_grad()
def test_a_seed_is_a_chip(case):
    other = case.analog.chip(2)(case.x)
    again = case.analog.chip(1)(case.x)
    case.close(again, case.chip_logits, ROUNDING)
    for different in (other, case.logits):
        assert (again - different).abs().max() > 10 * TOLERANCE * case.logits.abs().max()


@torch.no_grad()
def test_the_parameters_on_arrays_are_those_of_the_table(case):
    """Those are analog that drift changes, whatever the names say."""
    exact = {name: value.clone() for name, value in case.analog.digital().named_parameters()}
    counts = {True: 0, False: 0}
    for name, value in case.analog.chip(1).named_parameters():
        counts[not torch.equal(value, exact[name])] += value.numel()
    assert counts == {True: case.row.analog, False: case.row.digital}


@torch.no_grad()
def test_the_original_is_untouched(case):
    after = case.model.state_dict()
    assert list(after) == list(case.before)
    assert all(torch.equal(after[name], value) for name, value in case.before.items())
    assert all(module.training for module in case.model.modules())
    frozen, *others = case.model.parameters()
    assert not frozen.requires_grad
    assert all(p.requires_grad for p in others)
    case.close(case.model.eval()(case.x), case.logits, ROUNDING)
    case.model.train()


@torch.no_grad()
def test_a_chip_is_a_state_dict_of_the_users_own_class(case):
    chip = FastPyTorchRRAM(case.model, 1e-6, 100e-6, G_step=None, seed=1)
    chip.apply_relative_drift(0.1)
    noisy = chip.get_noisy_model_for_inference()
    case.close(noisy(case.x), case.chip_logits, ROUNDING)  # the sweep's chip of the same seed
    if case.row.reloads:
        fresh = case.row.make().eval()
        fresh.load_state_dict(noisy.state_dict(), strict=True)
        case.close(fresh(case.x), case.chip_logits, ROUNDING)
