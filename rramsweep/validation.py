"""The helper that PyRRAM-Sim's README calls beside its class."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.inference_mode()
def validate(
    model: nn.Module,
    dataloader: Iterable[tuple[Tensor, Tensor]],
    criterion: nn.Module | None = None,  # noqa: ARG001
    device: torch.device | str = "cpu",
) -> float:
    """Top-1 accuracy of a model, in percent, as PyRRAM-Sim's README prints it.

    Args:
        model: takes a batch of inputs and gives (N, classes) logits.
        dataloader: batches of inputs and integer labels.
        criterion: taken for the sake of PyRRAM-Sim's call; accuracy needs none.
        device: where to run.

    Raises:
        ValueError: the dataloader is empty.
    """
    model = model.to(device).eval()
    n_correct = n_images = 0
    for x, y in dataloader:
        n_correct += int((model(x.to(device)).argmax(dim=1) == y.to(device)).sum())
        n_images += len(y)
    if n_images == 0:
        raise ValueError("validate needs at least one image, got an empty dataloader: check the data set")
    return 100.0 * n_correct / n_images
