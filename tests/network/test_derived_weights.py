"""Networks that compute with what they made of a weight before the chip was there are refused; all others pass."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import rramsweep as rs
from rramsweep.network.analog import AnalogNetwork, analog_layers
from rramsweep.network.arrays import private_copy
from rramsweep.network.determinism import idle_weights
from rramsweep.network.validation import validate
from tests.network.test_architectures import DRIFTED, TABLE, settle

X = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Small(nn.Module):
    """Two analog layers; subclasses change how the second one works."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(256, 10)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))

    def features(self, x):
        return self.conv(x).relu().flatten(1)

    def forward(self, x):
        return self.fc(self.features(x))


class MadeInEval(Small):
    """A kernel made by train(False), kept as an attribute."""

    def train(self, mode=True):
        self.kernel = None if mode else (self.fc.weight * 2).detach()
        return super().train(mode)

    def forward(self, x):
        return F.linear(self.features(x), self.fc.weight * 2 if self.training else self.kernel)


class MadeInFirstForward(Small):
    def __init__(self):
        super().__init__()
        self.cache = {}

    def forward(self, x):
        if "kernel" not in self.cache:
            self.cache["kernel"] = F.normalize(self.fc.weight.detach(), dim=1)
        return F.linear(self.features(x), self.cache["kernel"])


class HiddenInABox(Small):
    """No attribute holds the kernel: only what is there before the first forward tells."""

    def __init__(self):
        super().__init__()

        class Box:
            kernel = None

        self.box = Box()

    def forward(self, x):
        if self.box.kernel is None:
            self.box.kernel = self.fc.weight.detach().clone()
        return F.linear(self.features(x), self.box.kernel)


class MadeByTheFactory(Small):
    """A kernel as a buffer, transposed, made once and for all."""

    def __init__(self):
        super().__init__()
        self.register_buffer("kernel", self.fc.weight.detach().t().clone())

    def forward(self, x):
        return self.features(x) @ self.kernel


class Standardised(nn.Linear):
    """Its own forward is called, with a kernel kept since eval()."""

    def train(self, mode=True):
        weight = self.weight.detach()
        self.kernel = (weight - weight.mean(1, keepdim=True)) / weight.std(1, keepdim=True)
        return super().train(mode)

    def forward(self, x):
        return F.linear(x, self.kernel, self.bias)


class StandardisedLayer(Small):
    def __init__(self):
        super().__init__()
        self.fc = Standardised(256, 10)


class SetInForward(Small):
    """Re-parameterised by hand: the weight is computed from others at every forward."""

    def __init__(self):
        super().__init__()
        self.v, self.g = nn.Parameter(self.fc.weight.detach().clone()), nn.Parameter(torch.ones(10, 1))

    def forward(self, x):
        with torch.no_grad():
            self.fc.weight.copy_(self.g * F.normalize(self.v, dim=1))
        return super().forward(x)


class SetInAHook(Small):
    def __init__(self):
        super().__init__()
        self.fc.register_buffer("source", self.fc.weight.detach().clone())

        def set_weight(module, args):
            module.weight.data.copy_(module.source)

        self.fc.register_forward_pre_hook(set_weight)


class FusedBranches(Small):
    """RepVGG: a 3x3 and a 1x1 branch become one kernel in eval mode."""

    def __init__(self):
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)

    def train(self, mode=True):
        self.kernel = (self.wide.weight + F.pad(self.narrow.weight, (1, 1, 1, 1))).detach()
        return super().train(mode)

    def forward(self, x):
        x = self.conv(x).relu()
        x = self.wide(x) + self.narrow(x) if self.training else F.conv2d(x, self.kernel, padding=1)
        return self.fc(x.relu().flatten(1))


class HeldElsewhere(Small):
    """The parameter is held a second time, where no chip's weight arrives."""

    def __init__(self):
        super().__init__()
        self.twin = [self.fc.weight]

    def forward(self, x):
        return F.linear(self.features(x), self.twin[0])


DERIVED = {
    MadeInEval: "fc",
    MadeInFirstForward: "fc",
    HiddenInABox: "fc",
    MadeByTheFactory: "fc",
    StandardisedLayer: "fc",
    SetInForward: "fc",
    SetInAHook: "fc",
    FusedBranches: "wide",
    HeldElsewhere: "fc",
}


class Own(nn.Linear):
    """A layer with a forward of its own, in the place of `fc`; subclasses say where their kernel comes from."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            self.weight.copy_(0.3 * torch.randn(self.weight.shape, generator=generator))
        self.keep(self.weight.detach().clone())

    def keep(self, kernel):
        pass

    def kernel(self):
        return self.weight

    def forward(self, x):
        return F.linear(x, self.kernel(), self.bias)


class AsNumpy(Own):
    def keep(self, kernel):
        self.held = kernel.numpy()

    def kernel(self):
        return torch.from_numpy(self.held)


class AsFloats(Own):
    def keep(self, kernel):
        self.held = kernel.tolist()

    def kernel(self):
        return torch.tensor(self.held)


class InAClosure(Own):
    def keep(self, kernel):
        self.kernel = lambda: kernel


class InAnObject(Own):
    def keep(self, kernel):
        class Box:
            pass

        self.box = Box()
        self.box.held = kernel

    def kernel(self):
        return self.box.held


KEPT = {}


class InTheModule(Own):
    def keep(self, kernel):
        KEPT["kernel"] = kernel

    def kernel(self):
        return KEPT["kernel"]


class Cached(Own):
    @functools.cached_property
    def made(self):
        return self.weight.detach() * 2

    def kernel(self):
        return self.made


class Factorised(Own):
    """No tensor of it has the weight's form."""

    def keep(self, kernel):
        self.u, self.s, self.v = torch.linalg.svd(kernel, full_matrices=False)

    def kernel(self):
        return (self.u * self.s) @ self.v


class Quantised(Own):
    def keep(self, kernel):
        self.register_buffer("codes", (kernel * 50).round().to(torch.int8))

    def kernel(self):
        return self.codes / 50


class Rows(Own):
    """The first rows are kept, the others are the weight's."""

    def __init__(self, *sizes, rows=5):
        self.rows = rows
        super().__init__(*sizes)

    def keep(self, kernel):
        self.held = kernel.numpy()[: self.rows]

    def kernel(self):
        return torch.cat([torch.from_numpy(self.held), self.weight[self.rows :]])


class Filters(nn.Conv2d):
    def __init__(self):
        super().__init__(1, 4, 3, padding=1)
        self.held = self.weight.detach()[2:].tolist()

    def forward(self, x):
        return F.conv2d(x, torch.cat([self.weight[:2], torch.tensor(self.held)]), self.bias, padding=1)


def with_layer(layer, name="fc"):
    net = Small()
    setattr(net, name, layer)
    return net


class CopyInAList(Small):
    def __init__(self):
        super().__init__()
        self.copies = [copy.deepcopy(nn.Sequential(self.conv, nn.ReLU(), nn.Flatten(), self.fc))]

    def forward(self, x):
        return self.copies[0](x)


class CopyInATuple(CopyInAList):
    def __init__(self):
        super().__init__()
        self.copies = tuple(self.copies)


class GateInside(Own):
    """Its own gate of zero hides the weight, not a kernel made of it."""

    def keep(self, kernel):
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return x[:, :10] + self.gate * super().forward(x)


class DeadRows(Own):
    """Some units are dead on these inputs, behind the layer's own ReLU."""

    def keep(self, kernel):
        with torch.no_grad():
            self.bias[:5] = -1e5

    def forward(self, x):
        return super().forward(x).relu()


class MaskedRows(Own):
    def keep(self, kernel):
        self.register_buffer("mask", (torch.arange(10) > 3)[:, None])

    def kernel(self):
        return self.weight * self.mask


class SwitchedOff(Own):
    def forward(self, x):
        return x


class ZeroRows(Own):
    """Only some rows are computed."""

    def forward(self, x):
        return F.pad(F.linear(x, self.weight[:6], self.bias[:6]), (0, 4))


class Adapted(nn.Linear):
    """LoRA: eval() merges the adapter into the weight, train() takes it out."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        generator = torch.Generator().manual_seed(2)
        self.a = nn.Parameter(0.2 * torch.randn(2, sizes[0], generator=generator))
        self.b = nn.Parameter(0.2 * torch.randn(sizes[1], 2, generator=generator))
        self.merged = False

    def train(self, mode=True):
        if mode == self.merged:
            self.weight.data += (-1 if mode else 1) * (self.b @ self.a).detach()
            self.merged = not mode
        return super().train(mode)

    def forward(self, x):
        y = super().forward(x)
        return y if self.merged else y + x @ self.a.t() @ self.b.t()


class WithAdapter(Small):
    def __init__(self):
        super().__init__()
        self.fc = Adapted(256, 10)


class Parametrised(Small):
    def __init__(self):
        super().__init__()
        parametrizations.weight_norm(self.fc)


class CachedParametrisation(Parametrised):
    def forward(self, x):
        with parametrize.cached():
            return super().forward(x)


class VersionedCache(Small):
    """A cache that sees a change of its weight by the version of the tensor."""

    def forward(self, x):
        version = self.fc.weight._version
        if getattr(self, "version", None) != version:
            self.version, self.kernel = version, self.fc.weight.detach() * 2
        return F.linear(self.features(x), self.kernel)


class Attention(Small):
    def __init__(self):
        super().__init__()
        self.rows, self.core = nn.Linear(8, 8), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.fc = nn.Linear(8, 10)

    def forward(self, x):
        return self.fc(self.core(self.rows(self.conv(x)[:, 0])).mean(1))


SOUND = [Small, WithAdapter, Parametrised, CachedParametrisation, VersionedCache, Attention]


class UnusedHead(Small):
    def __init__(self):
        super().__init__()
        self.aux = nn.Linear(256, 10)


class DroppedHead(UnusedHead):
    def forward(self, x):
        self.aux(self.features(x))
        return super().forward(x)


class BranchOff(UnusedHead):
    def forward(self, x):
        return super().forward(x) + 0.0 * self.aux(self.features(x))


class DeadUnits(UnusedHead):
    """The input of a layer is zero on all inputs."""

    def forward(self, x):
        return super().forward(x) + self.aux((self.features(x) - 1e6).relu())


class DeadNetwork(UnusedHead):
    """All units of the first layer are dead, so that the answers are constant."""

    def __init__(self):
        super().__init__()
        del self.aux
        nn.init.constant_(self.conv.bias, -1e6)


class OneStep(Small):
    """A recurrent layer over a single step: its recurrent weight meets a state of zeros."""

    def __init__(self):
        super().__init__()
        self.aux = nn.GRU(10, 10, batch_first=True)

    def forward(self, x):
        return self.aux(super().forward(x)[:, None])[0][:, 0]


IDLE = {UnusedHead: "aux", DroppedHead: "aux", BranchOff: "aux", DeadUnits: "aux", OneStep: "aux.weight_hh_l0"}


def look(net, x=X):
    return idle_weights(net, analog_layers(net), x, "my.net")


# Nothing tells a kernel in an object of its own from an unused layer once it has been made.
@pytest.mark.parametrize(
    ("make", "ran"), [(make, ran) for make in DERIVED for ran in (False, True) if not (ran and make is HiddenInABox)]
)
def test_a_weight_that_no_chip_changes_is_refused(make, ran):
    net = make().eval()
    if ran:
        net(X)
    says = rf"network my.net must compute with the weight of '{DERIVED[make]}' as a chip has it.*: derive in forward"
    with pytest.raises(rs.errors.ValidationError, match=says):
        look(net)


@pytest.mark.parametrize("ran", [False, True])
@pytest.mark.parametrize(
    "layer", [AsNumpy, AsFloats, InAClosure, InAnObject, InTheModule, Cached, Factorised, Quantised]
)
def test_whatever_holds_the_kernel_of_a_layer_it_is_refused(layer, ran):
    net = with_layer(layer(256, 10)).eval()
    if ran:
        net(X)
    says = "weight of 'fc' as a chip has it, but answers alike whatever it is: its layer computes with something made"
    with pytest.raises(rs.errors.ValidationError, match=says):
        look(net)


@pytest.mark.parametrize(
    ("net", "name", "outputs"),
    [
        (lambda: with_layer(Rows(256, 10)), "fc", "5 of 10"),
        (lambda: with_layer(Rows(256, 10, rows=1)), "fc", "1 of 10"),
        (lambda: with_layer(Filters(), "conv"), "conv", "2 of 4"),
    ],
)
def test_a_kept_part_of_a_kernel_is_refused(net, name, outputs):
    says = f"weight of '{name}' as a chip has it, but answers alike whatever a part of it is: its layer, in {outputs} "
    with pytest.raises(rs.errors.ValidationError, match=f"{says}outputs, computes with something made of that weight"):
        look(net().eval())


@pytest.mark.parametrize("make", [CopyInAList, CopyInATuple])
def test_a_network_that_computes_with_a_copy_of_itself_is_refused(make):
    with pytest.raises(rs.errors.ValidationError, match="must compute with its analog weights, but answers alike"):
        look(make().eval())


@pytest.mark.parametrize("layer", [Own, DeadRows, MaskedRows, ZeroRows])
def test_a_part_that_is_dead_or_masked_passes(layer):
    assert look(with_layer(layer(256, 10)).eval()) == []


@pytest.mark.parametrize(("layer", "sizes"), [(GateInside, (256, 10)), (SwitchedOff, (256, 256))])
def test_a_layer_without_effect_of_its_own_is_noted(layer, sizes):
    (note,) = look(with_layer(layer(*sizes)).eval())
    assert "weight of fc, which" in note


def test_a_dead_network_is_noted():
    (note,) = look(DeadNetwork().eval())
    assert "weight of conv, fc, which" in note


@pytest.mark.parametrize("make", SOUND)
def test_sound_networks_pass_and_are_left_alone(make):
    net = make().eval()
    before, expected = {k: v.clone() for k, v in net.state_dict().items()}, net(X)
    state = torch.get_rng_state()
    assert look(net) == []
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    torch.testing.assert_close(net(X), expected)


@pytest.mark.parametrize("make", IDLE)
def test_a_weight_without_a_part_is_noted(make):
    (note,) = look(make().eval())
    assert note.startswith(f"the answers of my.net do not change with the weight of {IDLE[make]}, which")
    assert note.endswith(f"analog.exclude=[{IDLE[make]}] leaves out what is unused")


@pytest.mark.parametrize("name", TABLE)
def test_every_architecture_passes(name):
    row = TABLE[name]
    torch.manual_seed(0)
    net = row.make()
    x = row.shape() if callable(row.shape) else torch.randn(row.shape)
    settle(net, x)
    notes = look(net.eval(), x[:4])
    # The last step of the reverse direction is its first, whose state is zero.
    unused = ["lstm.weight_hh_l0_reverse"] if name == "rows_lstm_batch_first" else []
    assert [f"weight of {each}, which" in note for each, note in zip(unused, notes, strict=True)] == [True] * len(
        unused
    )


@pytest.mark.parametrize("training", [False, True])
def test_an_adapter_merged_by_eval_is_on_the_chip(training):
    net = WithAdapter().eval()
    with torch.no_grad():
        expected, merged = net(X), net.fc.weight.clone()
        assert not torch.allclose(merged, net.train().fc.weight)
        net.train(training)
        analog = AnalogNetwork(net, dict.fromkeys(analog_layers(net), DRIFTED))
        torch.testing.assert_close(analog.digital()(X), expected)
        torch.testing.assert_close(analog.ideal()(X), expected, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(analog.chip(1)(X), expected, rtol=1e-2)
        torch.testing.assert_close(private_copy(net).fc.weight, merged)


def config(name):
    target = f"model._target_=tests.network.test_derived_weights.{name}"
    data = ["data=digits", "data.limit=50", "chips=3", "drift=relative", "drift.relative_drift=0.3"]
    return ["model=custom", target, "model.checkpoint=null", "allow_targets=[tests]", *data]


def test_a_sweep_refuses_before_any_chip_and_notes_what_is_unused(workdir):
    with pytest.raises(ValueError, match=r"FusedBranches must compute with the weight of 'wide'"):
        rs.sweep(config("FusedBranches"))
    assert not (workdir / "outputs" / "store").exists()
    with pytest.warns(UserWarning, match="do not change with the weight of aux"):
        rs.sweep(config("UnusedHead"))
    table = rs.sweep(config("WithAdapter"))
    assert (table["loss"].nunique(), set(table["status"])) == (3, {"ok"})


def test_one_chip_is_looked_at_with_the_first_batch():
    loader = [(X, torch.zeros(6, dtype=torch.long))] * 2

    def chip(net):
        found = rs.FastPyTorchRRAM(net, 1e-6, 100e-6, seed=1)
        found.apply_relative_drift(0.1)
        return found.get_noisy_model_for_inference()

    with pytest.raises(ValueError, match="network MadeInEval must compute with the weight of 'fc'"):
        validate(chip(MadeInEval()), loader)
    with pytest.warns(UserWarning, match="weight of aux"):
        validate(chip(UnusedHead()), loader)
    noisy = chip(WithAdapter())
    kept = {name: value.clone() for name, value in noisy.state_dict().items()}
    assert 0 <= validate(noisy, loader) <= 100
    assert all(torch.equal(value, kept[name]) for name, value in noisy.state_dict().items())
