"""Outputs that are rows of logits, one for each label, as of classifiers and language models."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rramsweep.datasets.arrays import IGNORED
from rramsweep.errors import ValidationError


def check_logits(name: str, outputs: Tensor, targets: Tensor, each: str) -> None:
    """Check that outputs are a row of logits for each label.

    Args:
        name: of the metric.
        outputs: of the network.
        targets: the data's `y`.
        each: `input` where an input has one label, `label` where it may have several.

    Raises:
        ValueError: y holds no labels or too many for an input, or outputs have another shape.
    """
    several = each == "input" and targets.dim() != 1
    if targets.dtype != torch.int64 or several or not are_logits(outputs, targets):
        raise ValueError(_refusal(name, outputs, targets, several))
    if each == "input" and int(targets.min()) == IGNORED:
        raise ValidationError(
            "must have a label for each input",
            "leave these inputs out",
            parameter=name,
            shown=f"{int((targets == IGNORED).sum())} of {len(targets)} labels that are to be ignored",
        )


def _refusal(name: str, outputs: Tensor, targets: Tensor, several: bool) -> str:
    shape, labels = tuple(targets.shape), targets.dtype == torch.int64
    if is_one_hot(targets) and outputs.shape == targets.shape:
        return (
            f"{name} must have labels as targets, got y of shape {shape}, rows of 0 with a single 1: save y.argmax(1), "
            "one label an input"
        )
    if shape[1:] == (1,) and outputs.dim() == 2 and (labels or outputs.shape[1] > 1):
        kind = "" if labels else " as int64, or choose metric=mse where y holds numbers"
        return f"{name} must have one label an input, got y of shape {shape}: save y[:, 0]{kind}"
    if not labels:
        return (
            f"{name} must have integer labels as targets, got y of {targets.dtype}: save y as int64, or choose "
            "metric=mse"
        )
    if several:
        return (
            f"{name} must have one label an input, got y of shape {shape}: choose metric=cross_entropy or "
            "metric=perplexity"
        )
    lowest, highest = int(targets.min()), int(targets.max())
    wanted = ", ".join(["N", *map(str, shape[1:]), f"classes >= {highest + 1}"])
    choose = "choose a network trained for these labels"
    # One logit too few for the highest label, and none of label 0.
    remedy = f"if the labels begin at 1, save y - 1, else {choose}" if lowest == 1 else choose
    return (
        f"a network must give ({wanted}) logits for labels up to {highest}, got shape {tuple(outputs.shape)}: {remedy}"
    )


def is_one_hot(targets: Tensor) -> bool:
    """True for one-hot targets: every row has a single 1 and zeros."""
    if targets.dim() != 2 or targets.shape[1] < 2:
        return False
    return bool(((targets == 0) | (targets == 1)).all() and (targets.sum(1) == 1).all())


def are_logits(outputs: Tensor, targets: Tensor) -> bool:
    """True for a row of logits for each label: outputs `(*y.shape, classes)`, more classes than any label."""
    return (
        targets.dtype == torch.int64
        and outputs.dim() == targets.dim() + 1
        and outputs.shape[:-1] == targets.shape
        and outputs.shape[-1] > int(targets.max())
    )


def scored(outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of outputs `(*shape, ...)` and labels `(*shape,)` that are scored; unchanged if none is ignored."""
    if labels.is_floating_point() or int(labels.min()) != IGNORED:
        return outputs, labels
    kept = labels != IGNORED
    return outputs[kept], labels[kept]


def check_masks(logits: Tensor, labels: Tensor) -> int:
    """Check that logits of -inf, which mask classes, leave at least one class.

    Args:
        logits: shape `(*shape, classes)`, without NaN or +inf.
        labels: shape `(*shape,)`.

    Returns:
        Number of labels whose own class is masked.

    Raises:
        ValidationError: every class of a row is masked.
    """
    if bool((logits.amax(dim=-1) == -math.inf).any()):
        raise ValidationError(
            "must leave a class to choose", "mask fewer classes", parameter="logits", shown="a row of -inf alone"
        )
    return int((logits.gather(-1, labels.unsqueeze(-1)) == -math.inf).sum())


def predicted(logits: Tensor) -> Tensor:
    """Class with the largest logit, the first of equal ones: `(*shape, classes)` to `(*shape,)`."""
    return logits.max(dim=-1).indices  # takes two thirds of the time of argmax


def cross_entropy(logits: Tensor, labels: Tensor) -> float:
    """Mean cross-entropy in nats of logits `(*shape, classes)` for labels of that shape."""
    own = logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    return float((logits.logsumexp(-1) - own).mean())  # half the time of torch's own, which keeps each class's part
