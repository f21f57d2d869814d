"""The embedded default networks: small enough that hundreds of chips an hour fit on a laptop.

Each is a plain `nn.Module` whose layers have names, since device rules, random streams and tables refer to a layer by
its name. They take no arguments and do not load weights: see `rramsweep.models.checkpoint`. All are float32, as the
data and weights that ship with them, whatever the default dtype.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LeNet5(nn.Module):
    """LeNet-5 for 28x28 images, 61,706 parameters: `conv1 conv2 fc1 fc2 fc3`.

    `forward` maps `(N, 1, 28, 28)` to logits `(N, 10)`.

    The layer sizes are those of LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
    recognition", Proc. IEEE 86(11), 1998; padding 2 replaces their 32x32 frame. As is now usual, it has ReLU instead of
    tanh, max-pooling instead of trained subsampling, a full `conv2` instead of their partial connection table, and a
    linear output instead of radial basis units.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, kernel_size=5, padding=2, dtype=torch.float32)
        self.conv2 = nn.Conv2d(6, 16, kernel_size=5, dtype=torch.float32)
        self.fc1 = nn.Linear(16 * 5 * 5, 120, dtype=torch.float32)
        self.fc2 = nn.Linear(120, 84, dtype=torch.float32)
        self.fc3 = nn.Linear(84, 10, dtype=torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10) of images (N, 1, 28, 28)."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        x = F.relu(self.fc2(x))
        logits: Tensor = self.fc3(x)
        return logits


class DigitsCNN(nn.Module):
    """Two convolutions with batch normalisation for 8x8 digits, 6,138 parameters: `conv1 bn1 conv2 bn2 fc`.

    `forward` maps `(N, 1, 8, 8)` to logits `(N, 10)`.

    Sized for these data, not taken from a paper. It exists so that the defaults include batch normalisation, which
    stays digital while the convolution before it is on the array.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, kernel_size=3, padding=1, bias=False, dtype=torch.float32)
        self.bn1 = nn.BatchNorm2d(16, dtype=torch.float32)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, padding=1, bias=False, dtype=torch.float32)
        self.bn2 = nn.BatchNorm2d(32, dtype=torch.float32)
        self.fc = nn.Linear(32 * 2 * 2, 10, dtype=torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10) of images (N, 1, 8, 8)."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        logits: Tensor = self.fc(x.flatten(1))
        return logits


class DigitsMLP(nn.Module):
    """A 64-128-10 perceptron with ReLU for 8x8 digits, 9,610 parameters: `fc1 fc2`.

    `forward` maps `(N, 1, 8, 8)`, or anything that flattens to `(N, 64)`, to logits `(N, 10)`.

    Sized for these data, not taken from a paper: a network so small that a whole sweep takes seconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(64, 128, dtype=torch.float32)
        self.fc2 = nn.Linear(128, 10, dtype=torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10) of images (N, 1, 8, 8)."""
        logits: Tensor = self.fc2(F.relu(self.fc1(x.flatten(1))))
        return logits


def lenet5() -> nn.Module:
    """A fresh, untrained `LeNet5`: its weights come from torch's global generator."""
    return LeNet5()


def digits_cnn() -> nn.Module:
    """A fresh, untrained `DigitsCNN`: its weights come from torch's global generator."""
    return DigitsCNN()


def digits_mlp() -> nn.Module:
    """A fresh, untrained `DigitsMLP`: its weights come from torch's global generator."""
    return DigitsMLP()
