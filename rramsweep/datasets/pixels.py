"""What loaders do to pixels and labels on the way to a `Data`."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor


def normalise(images: Tensor, mean: list[float] | None, std: list[float] | None) -> Tensor:
    """`(images - mean) / std`, channel by channel.

    Args:
        images: shape `(N, C, H, W)`, floating point.
        mean, std: one number a channel, as the network was trained with; None leaves them out.

    Raises:
        ValueError: not one number a channel, or a `std` that is not above 0.
    """
    if mean is not None:
        images = images - _per_channel("mean", mean, images)
    if std is not None:
        images = images / _per_channel("std", std, images)
    return images


def by_turns(labels: ArrayLike, limit: int | None) -> NDArray[np.int64]:
    """Row numbers that take an image of each class in turn, each class in stored order.

    A prefix of this order is balanced until the rarest class runs out, whatever order the rows are stored in.

    Args:
        labels: shape `(N,)`, integers.
        limit: how many rows to take; None takes all.

    Raises:
        ValueError: a limit outside `1..N`.
    """
    labels = np.asarray(labels)
    if limit is not None and not 1 <= limit <= len(labels):
        raise ValueError(f"limit must be in 1..{len(labels)}, got {limit}: use null (None) for all images")
    grouped = np.argsort(labels, kind="stable")
    first_of_class = np.searchsorted(labels[grouped], labels[grouped])
    turn = np.empty_like(grouped)
    turn[grouped] = np.arange(len(labels)) - first_of_class
    return np.lexsort((labels, turn))[:limit]


def _per_channel(name: str, values: list[float], images: Tensor) -> Tensor:
    if len(values) != images.shape[1]:
        raise ValueError(
            f"data.{name} must give one number a channel, {images.shape[1]} in all, got {values}: "
            "give what the network was trained with"
        )
    if name == "std" and min(values) <= 0:
        raise ValueError(f"data.std must be above 0, got {values}: give what the network was trained with")
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)
