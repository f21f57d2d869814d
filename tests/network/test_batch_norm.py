"""Batch norms are found where they follow one layer alone, and taking them in changes rounding only."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rramsweep as rs
from rramsweep.crossbar.mapping import Differential
from rramsweep.crossbar.programming import LayerSpec
from rramsweep.devices.device import Device
from rramsweep.effects import Gaussian
from rramsweep.models.resnet_cifar import resnet20
from rramsweep.network.analog import AnalogNetwork, analog_layers
from rramsweep.network.batch_norm import Fold, find_folds, fold_batchnorm, safe_folds

NOISY = LayerSpec(Device(1.0, 100.0), Differential(), programming=Gaussian(0.05))


def trained_like(model: nn.Module) -> nn.Module:
    """Batch norms whose four tensors all matter, as after training."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if module.track_running_stats:
                module.running_mean.normal_(0.0, 0.3, generator=generator)
                module.running_var.uniform_(0.3, 3.0, generator=generator)
            if module.affine:
                module.weight.data.uniform_(-1.5, 1.5, generator=generator)
                module.bias.data.normal_(0.0, 0.3, generator=generator)
    return model.eval()


class Twice(nn.Module):
    """What batch norm must not be folded for: its layer's output is used, or the module called, a second time."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.conv, self.bn = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(x)
        if self.kind == "residual":
            return self.bn(y) + y
        if self.kind == "returned":
            return torch.cat([self.bn(y), y])
        if self.kind == "layer twice":
            return self.bn(self.conv(y))
        if self.kind == "norm twice":
            return self.bn(self.bn(y))
        if self.kind == "in place":
            return self.bn(y.relu_())
        if self.kind == "view":
            return self.bn(y) + y.mean()
        assert self.kind == "once"
        return self.bn(y) if y.dim() == 4 else y


@pytest.mark.parametrize(
    ("kind", "folds"),
    [
        ("once", [Fold("conv", "bn")]),
        *((kind, []) for kind in ("residual", "returned", "layer twice", "norm twice", "in place", "view")),
    ],
)
def test_only_a_layer_whose_output_goes_nowhere_else_is_found(kind, folds):
    model = trained_like(Twice(kind))
    assert find_folds(model, torch.randn(2, 3, 8, 8)) == folds


@pytest.mark.parametrize(
    ("model", "shape", "n_folds"),
    [
        (nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)), (5,), 1),
        (nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(7)), (7, 5), 0),  # normalises positions, not outputs
        (nn.Sequential(nn.Conv1d(3, 6, 3, groups=3), nn.BatchNorm1d(6)), (3, 9), 1),
        (nn.Sequential(nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False)), (4, 7, 7), 1),
        (nn.Sequential(nn.ConvTranspose2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)), (4, 5, 5), 1),
        (nn.Sequential(nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3)), (2, 4, 4, 4), 1),
        (nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)), (2, 4, 4), 0),
        (nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)), (2, 4, 4), 0),
        (resnet20(), (3, 32, 32), 19),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_chips_answer_the_same_with_their_batch_norms_taken_in(model, shape, n_folds):
    model = trained_like(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(4, *shape)
    folds = safe_folds(model, x)
    assert len(folds) == n_folds
    specs = dict.fromkeys(analog_layers(model), NOISY)
    plain, fused = AnalogNetwork(model, specs), AnalogNetwork(model, specs, folds=folds)
    for a, b in ((plain.chip(3), fused.chip(3)), (plain.ideal(), fused.ideal()), (plain.digital(), fused.digital())):
        with torch.inference_mode():
            torch.testing.assert_close(b(x), a(x), rtol=1e-4, atol=2e-5 * float(a(x).abs().max()))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_digital_layer_takes_its_batch_norm_in_too():
    model = trained_like(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2)))
    x = torch.randn(2, 3, 4, 4)
    network = AnalogNetwork(model, {"3": NOISY}, folds=find_folds(model, x))
    with torch.inference_mode():
        torch.testing.assert_close(network.digital()(x), model(x))


def test_weights_of_tied_layers_and_layers_with_hooks_are_left_alone():
    tied = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1))
    tied[2].weight = tied[0].weight
    assert find_folds(trained_like(tied), torch.randn(2, 3, 4, 4)) == []
    hooked = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    hooked[0].register_forward_hook(lambda module, args, y: 2 * y)
    assert find_folds(trained_like(hooked), torch.randn(2, 3, 4, 4)) == []


class LooksAtItsWeights(Twice):
    def forward(self, x):
        return self.bn(self.conv(x)) * self.bn.running_mean.sum() * self.conv.weight.sum()


def test_a_forward_that_looks_at_its_own_weights_is_not_fused_and_not_folded():
    model = trained_like(LooksAtItsWeights("once"))
    x = torch.randn(2, 3, 4, 4)
    assert find_folds(model, x) != []
    assert safe_folds(model, x) == []
    with pytest.raises(ValueError, match="leave analog.fold_batchnorm false"):
        fold_batchnorm(model, x)


def test_folded_before_mapping_the_chip_stores_the_product():
    """W_max is that of `s W`, and no batch norm is left."""
    model = trained_like(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    x = torch.randn(4, 3, 5, 5)
    folded = fold_batchnorm(model, x)
    scale = model[1].weight * torch.rsqrt(model[1].running_var + model[1].eps)
    torch.testing.assert_close(folded[0].weight, model[0].weight * scale.view(-1, 1, 1, 1))
    assert isinstance(folded[1], nn.Identity)
    with torch.inference_mode():
        torch.testing.assert_close(folded(x), model(x), rtol=1e-4, atol=1e-5)
    assert isinstance(model[1], nn.BatchNorm2d)


def test_folding_is_another_point_of_the_same_digital_network(workdir):
    point = ["model=digits_cnn", "data=digits", "data.limit=50", "drift.relative_drift=0.3"]
    table = rs.sweep([*point, "analog.fold_batchnorm=false,true", "chips=2"])
    assert table["point_id"].nunique() == 2
    assert table["digital_accuracy"].nunique() == 1
    assert table.loc[~table["analog.fold_batchnorm"], "loss"].iloc[0] != table["loss"].iloc[2]
    assert table["point_id"].iloc[0] == rs.run(rs.compose([*point, "chips=1"]))["point_id"].iloc[0]
