"""Scaling, normalisation and order of pixels and labels on the way to a `Data`."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

# Integers up to this value are rarely bytes.
_FEW_LEVELS = 32

# Images normalised by mean and standard deviation rarely leave -3..3, and reach 10 where a channel is nearly constant;
# bytes reach 255. The limit lies between the two.
_NORMALISED = 20.0


def normalise(images: Tensor, mean: list[float] | None, std: list[float] | None) -> Tensor:
    """`(images - mean) / std`, channel by channel.

    Args:
        images: shape `(N, C, H, W)`, floating point.
        mean: one number a channel, as the network was trained with; None subtracts nothing.
        std: likewise; None divides by nothing.

    Raises:
        ValueError: not one number a channel, or a `std` that is not above 0.
    """
    if mean is not None:
        images = images - _per_channel("mean", mean, images)
    if std is not None:
        images = images / _per_channel("std", std, images)
    return images


def unscaled(images: Tensor, remedy: str, used: Tensor | None = None) -> tuple[str, ...]:
    """Note on images of whole numbers above 1, or with values beyond any normalised ones; empty for others.

    Args:
        images: before mean and std.
        remedy: instruction for dividing, with `{full}` for the value of full brightness.
        used: images after mean and std, if these are known.
    """
    low, high = float(images.min()), float(images.max())
    most = max(-low, high)
    if not math.isfinite(most):
        return ()
    whole = high > 1 and torch.equal(images, images.round())
    if not whole and min(most, most if used is None else float(used.abs().max())) <= _NORMALISED:
        return ()
    # Bytes and 16-bit pixels; for a smaller scale, such as 0..16, the largest value is full brightness.
    least = _FEW_LEVELS if whole else _NORMALISED
    full = next((full for full in (255, 65535) if least < most <= full), most)
    kind = "whole numbers" if whole else "values"
    return (
        f"images hold {kind} in {low:g}..{high:g} and are used as they are: if the network was trained on 0..1, "
        f"{remedy.format(full=f'{full:g}')}",
    )


def by_turns(labels: ArrayLike, limit: int | None) -> NDArray[np.int64]:
    """Row numbers in an order that takes one image of each class in turn, each class in stored order.

    A prefix of this order is balanced until the rarest class runs out, whatever order the rows are stored in.

    Args:
        labels: shape `(N,)`, integers.
        limit: number of rows to take; None takes all.

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
