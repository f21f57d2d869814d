"""Networks whose answers hang on more than their weights and each input are refused, with the reason."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import rramsweep as rs
from rramsweep.network.determinism import check_steady
from rramsweep.simulation.execution import ExecutionSettings


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 10)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.linspace(-1, 1, p.numel()).view(p.shape).roll(p.numel() // 3))

    def out(self, x):
        return self.fc(torch.relu(x).mean((2, 3)))

    def forward(self, x):
        return self.out(self.norm(self.conv(x)))


class Draws(Small):
    def forward(self, x):
        return super().forward(F.dropout(x, 0.5, training=True))


class Counts(Small):
    def __init__(self):
        super().__init__()
        self.register_buffer("n", torch.zeros(()))

    def forward(self, x):
        self.n += 1
        return super().forward(x) * self.n


class BatchStatistics(Small):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)


class Looks(Small):
    """Reads what a hook has put into a dict of its own: a copy's hook fills the original's."""

    def __init__(self):
        super().__init__()
        self.seen = {}
        self.conv.register_forward_hook(lambda module, args, y: self.seen.__setitem__("y", y))

    def forward(self, x):
        self.conv(x)
        return self.out(self.norm(self.seen["y"]))


class Hooked(Small):
    def __init__(self):
        super().__init__()
        self.conv.register_forward_hook(lambda module, args, y: y.relu())


CASES = [
    (Draws, "same answers each time"),
    (Counts, "same answers each time"),
    (BatchStatistics, "each input by itself"),
    (Looks, "as a copy of itself"),
]


@pytest.mark.parametrize(("make", "says"), CASES)
def test_a_network_that_is_not_steady_is_refused(make, says):
    with pytest.raises(ValueError, match=rf"a network must .*{says}.*my\.net"):
        check_steady(make().eval(), torch.rand(9, 1, 8, 8), "my.net")


@pytest.mark.parametrize("make", [Small, Hooked])
@pytest.mark.parametrize("inputs", [1, 2, 9])
def test_others_pass(make, inputs):
    net = make().eval()
    check_steady(net, torch.rand(inputs, 1, 8, 8), "my.net")


def test_training_mode_draws_are_none_in_eval_mode():
    check_steady(nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 3)).eval(), torch.rand(9, 1, 8, 8), "n")


def test_it_is_asked_before_any_chip(workdir):
    with pytest.raises(
        ValueError, match="same answers each time in eval mode, but tests.network.test_determinism.Draws"
    ):
        rs.sweep(custom("Draws"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("double", r"weights must be float32, as inputs are, but conv.weight is float64: return model.float\(\)"),
        ("half", r"weights must be float32, as inputs are, but conv.weight is bfloat16"),
        ("lazy", r"but 1.weight is not there before a first forward \(a lazy module\): run the network once"),
    ],
)
def test_weights_that_no_input_fits_are_refused(workdir, name, says):
    with pytest.raises(ValueError, match=says):
        rs.sweep(custom(name))


def test_channels_last_is_of_images_and_two_axes(workdir):
    assert rs.sweep([*custom("deep"), "batch_size=50"])["status"].tolist() == ["ok"] * 2  # the rule leaves it out
    with pytest.raises(ValueError, match=r"memory_format=channels_last is of images .*: use contiguous or null"):
        rs.sweep([*custom("deep"), "memory_format=channels_last"])
    with pytest.raises(ValueError, match=r"got inputs of shape \(9,\)"):
        ExecutionSettings(4, "channels_last").check_format((3, 9), Small().parameters())
    ExecutionSettings(4, "channels_last").check_format((3, 1, 8, 8), Small().parameters())


def custom(name):
    target = f"model._target_=tests.network.test_determinism.{name}"
    return [
        "model=custom",
        target,
        "model.checkpoint=null",
        "allow_targets=[tests]",
        "data=digits",
        "data.limit=50",
        "chips=2",
    ]


def double():
    return Small().double()


def half():
    return Small().bfloat16()


def lazy():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))


def deep():
    return nn.Sequential(nn.Unflatten(1, (1, 1)), nn.Conv3d(1, 2, (1, 3, 3)), nn.Flatten(), nn.Linear(72, 10))
