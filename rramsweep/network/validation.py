"""The helper function of PyRRAM-Sim's README, `validate`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rramsweep.arguments import brief, user_level
from rramsweep.datasets.inputs import AnyInputs, call, gathered, mapped, roles
from rramsweep.errors import ValidationError
from rramsweep.metrics.logits import scored
from rramsweep.models.eager import eager
from rramsweep.models.forward import one_tensor, register_selection
from rramsweep.network.determinism import idle_weights
from rramsweep.network.numerics import fixed_arithmetic
from rramsweep.network.simulator import ANALOG

# Number of inputs of the first batch with which the influence of a chip's weights is checked.
FEW = 4


@fixed_arithmetic()
@torch.inference_mode()
def validate(
    model: nn.Module,
    dataloader: Iterable[Any],
    criterion: nn.Module | None = None,  # noqa: ARG001
    device: torch.device | str = "cpu",
    output: str | int | None = None,
) -> float:
    """Top-1 accuracy of a model, in percent, as PyRRAM-Sim's README prints it.

    With the first batch for a model of `FastPyTorchRRAM`, each analog weight is changed in a copy, to check that the
    outputs depend on it.

    Args:
        model: takes a batch of inputs and returns (N, classes) logits, or (N, T, classes) for labels (N, T).
        dataloader: batches of inputs and integer labels: `(x, y)`, `(a, b, y)`, `({name: a}, y)`, or dicts with
            `labels`. Labels of -100 are not counted.
        criterion: accepted for compatibility with PyRRAM-Sim's call; not used.
        device: device to run on.
        output: key, attribute or index of the logits in the model's output: `"logits"`, 0.

    Raises:
        ValueError: not a network or device, batches that are not inputs and labels, outputs that are not logits for the
            labels, an empty dataloader, or a model that does not compute with the chip's weights.
    """
    model = _on(eager(model, "model"), device).eval()
    if not hasattr(dataloader, "__iter__"):
        raise ValidationError(
            "must give batches (inputs, labels)", "use a DataLoader", shown=brief(dataloader), parameter="dataloader"
        )
    handle = None if output is None else register_selection(model, output)
    try:
        n_correct, n_labels = _count(model, dataloader, torch.device(device))
    finally:
        if handle is not None:
            handle.remove()
    if n_labels == 0:
        raise ValueError("validate needs at least one image, got an empty dataloader: check the data set")
    return 100.0 * n_correct / n_labels


def _count(model: nn.Module, batches: Iterable[Any], device: torch.device) -> tuple[int, int]:
    """Number of correctly predicted labels, and of all labels."""
    names = getattr(model, ANALOG, ())
    n_correct = n_labels = 0
    for batch in batches:
        x, y = _parts(batch)
        if names:
            few = mapped(x[:FEW], lambda tensor: tensor.to(device))
            for note in idle_weights(model, names, few, type(model).__name__):
                warnings.warn(note, UserWarning, stacklevel=user_level())
            names = ()
            setattr(model, ANALOG, names)
        logits = one_tensor(call(model, mapped(x, lambda tensor: tensor.to(device))))
        if logits.ndim < 2 or y.shape != logits.shape[:-1]:
            raise ValueError(
                f"answers must be logits (N, classes) and labels (N,), got {tuple(logits.shape)} and {tuple(y.shape)}: "
                "choose a model and data that belong together"
            )
        rows, labels = scored(logits, y.to(device))
        n_correct += int((rows.argmax(dim=-1) == labels).sum())
        n_labels += labels.numel()
    return n_correct, n_labels


def _on(model: nn.Module, device: torch.device | str) -> nn.Module:
    try:
        return model.to(torch.device(device))
    except (RuntimeError, TypeError, AssertionError, ValueError, OverflowError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ValidationError(
            "must be a device of torch that is there", f"use 'cpu' ({reason})", shown=brief(device), parameter="device"
        ) from error


def _parts(batch: object) -> tuple[AnyInputs, Tensor]:
    """The inputs and the labels of a batch."""
    inputs: object = None
    labels: object = None
    if isinstance(batch, Mapping) and all(isinstance(key, str) for key in batch):
        names, target = roles(list(batch), None, None)
        inputs, labels = {name: batch[name] for name in names}, batch[target]
    elif isinstance(batch, tuple | list) and len(batch) >= 2:
        *given, labels = batch
        inputs = given[0] if len(given) == 1 else tuple(given)
    if isinstance(labels, Tensor) and isinstance(inputs, Tensor | Mapping | tuple | list):
        leaves = (
            inputs.values() if isinstance(inputs, Mapping) else (inputs if isinstance(inputs, tuple | list) else ())
        )
        if all(isinstance(leaf, Tensor) for leaf in leaves):
            return gathered(inputs), labels
    raise ValidationError(
        "must give batches (inputs, labels) of tensors",
        "wrap the data in torch.utils.data.TensorDataset",
        shown=brief(batch),
        parameter="dataloader",
    )
