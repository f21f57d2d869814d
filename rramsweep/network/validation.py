"""The helper that PyRRAM-Sim's README calls beside its class."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from rramsweep.arguments import brief
from rramsweep.errors import ValidationError
from rramsweep.models.eager import eager
from rramsweep.network.determinism import idle_weights
from rramsweep.network.numerics import fixed_arithmetic
from rramsweep.network.simulator import ANALOG

# Inputs of the first batch with which the weights of a chip are looked for.
FEW = 4


@fixed_arithmetic()
@torch.inference_mode()
def validate(
    model: nn.Module,
    dataloader: Iterable[tuple[Tensor, Tensor]],
    criterion: nn.Module | None = None,  # noqa: ARG001
    device: torch.device | str = "cpu",
) -> float:
    """Top-1 accuracy of a model, in percent, as PyRRAM-Sim's README prints it.

    With the first batch of a model of `FastPyTorchRRAM`, each of its analog weights is changed in a copy, to see that
    the answers change.

    Args:
        model: takes a batch of inputs and gives (N, classes) logits.
        dataloader: batches of inputs and integer labels.
        criterion: taken for the sake of PyRRAM-Sim's call; accuracy needs none.
        device: where to run.

    Raises:
        ValueError: no network, no device, batches that are no pairs of tensors, answers that are no logits of the
            labels, an empty dataloader, or a model that does not compute with the chip's weights.
    """
    model = _on(eager(model, "model"), device).eval()
    names = getattr(model, ANALOG, ())
    if not hasattr(dataloader, "__iter__"):
        raise ValidationError(
            "must give batches (inputs, labels)", "use a DataLoader", shown=brief(dataloader), parameter="dataloader"
        )
    n_correct = n_images = 0
    for batch in dataloader:
        x, y = _pair(batch)
        if names:
            for note in idle_weights(model, names, x[:FEW].to(device), type(model).__name__):
                warnings.warn(note, UserWarning, stacklevel=2)
            names = ()
            setattr(model, ANALOG, names)
        logits = model(x.to(device))
        if not isinstance(logits, Tensor) or logits.ndim != 2 or y.shape != logits.shape[:1]:
            found = tuple(logits.shape) if isinstance(logits, Tensor) else brief(logits)
            raise ValueError(
                f"answers must be logits (N, classes) and labels (N,), got {found} and {tuple(y.shape)}: choose a "
                "model and data that belong together"
            )
        n_correct += int((logits.argmax(dim=1) == y.to(device)).sum())
        n_images += len(y)
    if n_images == 0:
        raise ValueError("validate needs at least one image, got an empty dataloader: check the data set")
    return 100.0 * n_correct / n_images


def _on(model: nn.Module, device: torch.device | str) -> nn.Module:
    try:
        return model.to(torch.device(device))
    except (RuntimeError, TypeError, AssertionError, ValueError, OverflowError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ValidationError(
            "must be a device of torch that is there", f"use 'cpu' ({reason})", shown=brief(device), parameter="device"
        ) from error


def _pair(batch: object) -> tuple[Tensor, Tensor]:
    if isinstance(batch, tuple | list) and len(batch) == 2 and all(isinstance(part, Tensor) for part in batch):
        return batch[0], batch[1]
    raise ValidationError(
        "must give batches (inputs, labels) of tensors",
        "wrap the data in torch.utils.data.TensorDataset",
        shown=brief(batch),
        parameter="dataloader",
    )
