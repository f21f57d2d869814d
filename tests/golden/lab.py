"""Code of a user's own, as it stood when the identities beside it were written down: not to be changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """A network with weights that no generator decides."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.hidden = nn.Linear(64, width)
        self.head = nn.Linear(width, 10)
        with torch.no_grad():
            for parameter in self.parameters():
                n = parameter.numel()
                parameter.copy_(torch.arange(n).mul(37).remainder(101).sub(50).div(500).view(parameter.shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(x.flatten(1)).relu())


@dataclass(frozen=True)
class Fade:
    """Every conductance falls to a share of itself."""

    version: ClassVar[int] = 3
    cellwise: ClassVar[bool] = True

    share: float = 0.9

    def __call__(self, cells, rng):
        return cells.g_uS * self.share


@dataclass(frozen=True)
class Margin:
    """Mean distance of the two best answers."""

    version: ClassVar[int] = 2
    name: ClassVar[str] = "margin"
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True

    power: float = 1.0

    def __call__(self, outputs: Tensor, targets: Tensor) -> float:
        best = outputs.topk(2).values
        return float((best[:, 0] - best[:, 1]).double().pow(self.power).mean())
