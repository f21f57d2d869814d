"""One chip at one point: one row of facts, as a plain dict."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rramsweep.analog import AnalogNetwork
from rramsweep.datasets import Data


@dataclass(frozen=True, eq=False)
class Answers:
    """What one network says of every image.

    Args:
        predictions: class with the largest logit, int64, shape (N,).
        correct: whether it is the label, bool, shape (N,).
        loss: mean cross-entropy in nats.
    """

    predictions: Tensor
    correct: Tensor
    loss: float

    @property
    def accuracy(self) -> float:
        return int(self.correct.sum()) / len(self.correct)


@dataclass(frozen=True, eq=False)
class Bench:
    """One point made ready: the network on its array, the data, and the two baselines.

    Args:
        point_id: the point that the rows belong to.
        network: the analog network.
        data: the images and labels.
        digital: answers of the network with its own weights.
        ideal_accuracy: of the chip that is mapped and quantised with every effect ideal.
        batch_size: images a forward pass.
    """

    point_id: str
    network: AnalogNetwork
    data: Data
    digital: Answers
    ideal_accuracy: float
    batch_size: int


@torch.inference_mode()
def evaluate(model: nn.Module, data: Data, batch_size: int) -> Answers:
    """Run every image through a network.

    Raises:
        ValueError: the logits are not one finite row of class scores an image, or too few for the labels.
    """
    logits = torch.cat([model(x) for x in torch.split(data.x, batch_size)])
    if logits.dim() != 2 or logits.shape[1] < data.n_classes:
        raise ValueError(
            f"a network must give (N, classes >= {data.n_classes}) logits for {data.name}, got shape "
            f"{tuple(logits.shape)}: choose a network trained for these labels"
        )
    if not logits.isfinite().all():
        raise ValueError("logits must be finite, but this network gives NaN or infinity: check weights and data")
    predictions = logits.argmax(dim=1)
    loss = float(functional.cross_entropy(logits, data.y))
    return Answers(predictions, predictions == data.y, loss)


def run_trial(bench: Bench, seed: int) -> tuple[dict[str, Any], Tensor | None]:
    """Program chip `seed`, evaluate it, and return the row of `store.FACTS` and which images it gets right.

    A trial that raises becomes a row with status `failed` and the error in one line: one bad chip never takes
    the rest of a sweep with it. Interrupts pass through.
    """
    started = time.perf_counter()
    row: dict[str, Any] = {"point_id": bench.point_id, "seed": seed}
    try:
        chip = evaluate(bench.network.chip(seed), bench.data, bench.batch_size)
    except Exception as error:
        return {**row, **failure(error), "seconds": time.perf_counter() - started}, None
    digital = bench.digital
    row |= {
        "status": "ok",
        "error": None,
        "n_images": len(chip.correct),
        "n_correct": int(chip.correct.sum()),
        "n_lost": int((digital.correct & ~chip.correct).sum()),
        "n_gained": int((~digital.correct & chip.correct).sum()),
        "accuracy": chip.accuracy,
        "digital_accuracy": digital.accuracy,
        "ideal_accuracy": bench.ideal_accuracy,
        "agreement": int((digital.predictions == chip.predictions).sum()) / len(chip.predictions),
        "loss": chip.loss,
        "seconds": time.perf_counter() - started,
    }
    return row, chip.correct


def failure(error: Exception) -> dict[str, Any]:
    """`status` and `error` of a trial that raised, the message folded to one line."""
    return {"status": "failed", "error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
