"""A small network with every kind of layer that calibration meets, its inputs, and chips with an error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from rramsweep.calibration import (
    Affine,
    BatchNorm,
    Calibration,
    DoRA,
    DriftCompensation,
    LayerCorrection,
    LowRank,
    Moments,
)
from rramsweep.calibration.chips import ChipCalibration
from rramsweep.crossbar.mapping import Differential
from rramsweep.crossbar.programming import LayerSpec
from rramsweep.devices.device import Device
from rramsweep.effects import RelativeDrift
from rramsweep.network.analog import AnalogNetwork, analog_layers
from rramsweep.network.batch_norm import safe_folds

UNLIMITED = Device(1.0, 100.0)
IDEAL = LayerSpec(UNLIMITED, Differential())


@dataclass(frozen=True)
class Fade:
    """Cells lose a share of their distance from g_min, and each another share by chance."""

    version: ClassVar[int] = 1

    share: float = 0.3
    spread: float = 0.1

    def __call__(self, cells, rng):
        low = cells.device.g_min_uS
        return low + (cells.g_uS - low) * (1 - self.share + self.spread * rng.normal(cells.g_uS.shape))


FADED = LayerSpec(UNLIMITED, Differential(), drift=Fade())
DRIFTED = LayerSpec(UNLIMITED, Differential(), drift=RelativeDrift(0.2))


class Net(nn.Module):
    """Convolutions with batch norms, one grouped, one strided, a shortcut, and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2, bias=False)
        self.norm2 = nn.BatchNorm2d(8)
        self.down = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.norm3 = nn.BatchNorm2d(12)
        self.hidden = nn.Linear(12, 16)
        self.head = nn.Linear(16, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.stem(x)).relu()
        x = (x + self.norm2(self.grouped(x))).relu()
        x = self.norm3(self.down(x)).relu()
        return self.head(self.hidden(x.mean((2, 3))).relu())


def net() -> Net:
    """A network whose batch norms have the statistics of its inputs, as after training."""
    torch.manual_seed(0)
    made = Net()
    for norm in (made.norm1, made.norm2, made.norm3):
        norm.momentum = None
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.3, 0.3)
    made.train()
    with torch.no_grad():
        made(inputs(512, seed=7))
    return made.eval().requires_grad_(False)


def inputs(n: int, seed: int = 0) -> Tensor:
    """Pictures with structure: a few patterns, mixed."""
    rng = torch.Generator().manual_seed(seed)
    patterns = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(99))
    mixed = torch.einsum("np,pchw->nchw", torch.randn(n, 5, generator=rng), patterns)
    return mixed + 0.3 * torch.randn(n, 3, 8, 8, generator=rng) + 0.2


POOL = inputs(200, seed=1)
TEST = inputs(128, seed=2)


@dataclass(frozen=True, kw_only=True)
class MedianScale(Calibration):
    """A method of a user's own."""

    version: ClassVar[int] = 1

    def fit_layer(self, samples):
        ratio = samples.target.abs().median(0).values / samples.y.abs().median(0).values
        return LayerCorrection(torch.where(ratio.isfinite(), ratio, 1.0))


METHODS: dict[str, Calibration] = {
    "moments": Moments(images=40),
    "affine": Affine(images=40),
    "low_rank": LowRank(images=40, rank=2),
    "dora": DoRA(images=40, rank=2),
    "batchnorm": BatchNorm(images=40),
    "drift_compensation": DriftCompensation(images=40),
    "drift_compensation_per_column": DriftCompensation(images=40, scope="per_column"),
    "drift_compensation_programmed": DriftCompensation(images=40, reference="programmed"),
    "custom": MedianScale(images=40),
}


def network(
    model: nn.Module, spec: LayerSpec, method: Calibration | None, pool: Tensor = POOL, **kwargs
) -> AnalogNetwork:
    """A network on chips of one spec, calibrated by a method."""
    specs = dict.fromkeys(analog_layers(model), spec)
    calibrate = None if method is None else ChipCalibration(method, pool)
    return AnalogNetwork(model, specs, folds=safe_folds(model, pool[:4]), calibrate=calibrate, **kwargs)


@torch.no_grad()
def distance(model: nn.Module, reference: nn.Module, x: Tensor = TEST) -> float:
    """Squared difference of outputs, of what the reference's vary by."""
    y = reference(x)
    return float((model(x) - y).square().sum() / (y - y.mean(0)).square().sum())
