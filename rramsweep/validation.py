"""The helper that PyRRAM-Sim's README calls beside its class."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from rramsweep.numerics import fixed_arithmetic
from rramsweep.simulator import ANALOG
from rramsweep.steadiness import idle_weights

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
        ValueError: the dataloader is empty, or the model does not compute with the chip's weights.
    """
    model = model.to(device).eval()
    names = getattr(model, ANALOG, ())
    n_correct = n_images = 0
    for x, y in dataloader:
        if names:
            for note in idle_weights(model, names, x[:FEW].to(device), type(model).__name__):
                warnings.warn(note, UserWarning, stacklevel=2)
            names = ()
            setattr(model, ANALOG, names)
        n_correct += int((model(x.to(device)).argmax(dim=1) == y.to(device)).sum())
        n_images += len(y)
    if n_images == 0:
        raise ValueError("validate needs at least one image, got an empty dataloader: check the data set")
    return 100.0 * n_correct / n_images
