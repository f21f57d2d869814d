"""The ResNets of He et al. for 32x32 pictures: ResNet-20, -32, -44 and -56."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut without parameters: `conv1 bn1 conv2 bn2`.

    Where the picture shrinks, the shortcut takes every second pixel and has zeros for the new channels (option A of
    the paper). The paper does not say where the zeros go: here half of them come before the old channels and half
    after, as in the training of the published weights.
    """

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(
            channels_in, channels, kernel_size=3, stride=stride, padding=1, bias=False, dtype=torch.float32
        )
        self.bn1 = nn.BatchNorm2d(channels, dtype=torch.float32)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False, dtype=torch.float32)
        self.bn2 = nn.BatchNorm2d(channels, dtype=torch.float32)
        self.stride = stride
        self.zeros = (channels - channels_in) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Activations after the block, (N, channels, H, W)."""
        shortcut = x
        if self.zeros:
            shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.zeros, self.zeros))
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class CifarResNet(nn.Module):
    """A ResNet of `depth = 6 n + 2` weighted layers: `conv1 bn1 layer1 layer2 layer3 linear`.

    `forward` maps `(N, 3, 32, 32)` to logits `(N, num_classes)`: a 3x3 convolution to 16 channels, three stages of n
    blocks with 16, 32 and 64 channels, the mean over the picture, a linear layer. Names and arithmetic are those of
    akamaster/pytorch_resnet_cifar10, whose published weights load.

    Args:
        depth: 20, 32, 44, 56, ...
        num_classes: number of logits.

    Raises:
        ValueError: another depth, or no classes.

    Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016, section 4.2. It is *not*
    the ResNet-18 family of its section 4.1 (`model=torchvision`), which is designed for pictures of 224 pixels.
    """

    def __init__(self, depth: int, num_classes: int = 10) -> None:
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth must be 6 n + 2 with n >= 1, got {depth}: take 20, 32, 44 or 56")
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}: give the number of classes")
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, kernel_size=3, padding=1, bias=False, dtype=torch.float32)
        self.bn1 = nn.BatchNorm2d(16, dtype=torch.float32)
        self.layer1 = _stage(16, 16, blocks)
        self.layer2 = _stage(16, 32, blocks)
        self.layer3 = _stage(32, 64, blocks)
        self.linear = nn.Linear(64, num_classes, dtype=torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, 3, 32, 32)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def _stage(channels_in: int, channels: int, blocks: int) -> nn.Sequential:
    first = BasicBlock(channels_in, channels, stride=1 if channels == channels_in else 2)
    return nn.Sequential(first, *(BasicBlock(channels, channels, stride=1) for _ in range(blocks - 1)))


def resnet20(num_classes: int = 10) -> CifarResNet:
    """ResNet-20 for 32x32 pictures, 0.27 million parameters at ten classes, untrained: see `CifarResNet`."""
    return CifarResNet(20, num_classes)


def resnet32(num_classes: int = 10) -> CifarResNet:
    """ResNet-32 for 32x32 pictures, 0.46 million parameters at ten classes, untrained: see `CifarResNet`."""
    return CifarResNet(32, num_classes)


def resnet44(num_classes: int = 10) -> CifarResNet:
    """ResNet-44 for 32x32 pictures, 0.66 million parameters at ten classes, untrained: see `CifarResNet`."""
    return CifarResNet(44, num_classes)


def resnet56(num_classes: int = 10) -> CifarResNet:
    """ResNet-56 for 32x32 pictures, 0.85 million parameters at ten classes, untrained: see `CifarResNet`."""
    return CifarResNet(56, num_classes)
