"""What the processes that `bench_peers.py` starts have in common: networks, data, digital forwards, the conversation.

Each tool runs in its own environment, where rramsweep is not installed but found on the path: of it, only the networks,
their weights and the data are used there, which need torch and numpy alone.

The conversation: a line `prepare NETWORK` or `run NETWORK` on standard input, one answer on standard output, JSON
behind `ANSWER`; tools print lines of their own there.
"""

from __future__ import annotations

import copy
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from rramsweep.datasets import Data, digits, fashion_mnist, npz
from rramsweep.models import digits_cnn, digits_mlp, embedded_path, lenet5, load_checkpoint, resnet20

ANSWER = "answer "
RESNET20, CIFAR10 = "RRAMSWEEP_RESNET20", "RRAMSWEEP_CIFAR10"
# As in conf/data/cifar10_jpeg.yaml.
CIFAR10_JPEG = {
    "layout": "NHWC",
    "scale": 255.0,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "n_classes": 10,
    "limit": 512,
}
# Trials and forwards of one `run`, in turn: so many, or what fits into a second.
REPEATS, ENOUGH_S = 5, 1.0
CHIPS = 5  # for the mean accuracy, which shows that a tool runs the same network


@dataclass(frozen=True)
class Prepared:
    """A network made ready in one tool.

    Args:
        trial: programs new chips, evaluates each on all images and returns their mean accuracy.
        batch: images a forward pass.
        chips: how many `trial` does, where a tool runs several at the same time; times are divided by it.
    """

    trial: Callable[[], float]
    batch: int
    chips: int = 1


def load(network: str) -> tuple[nn.Module, Data]:
    """A trained network and the images it is run on."""
    if network == "resnet20":
        model, weights, data = resnet20(), os.environ[RESNET20], npz(os.environ[CIFAR10], **CIFAR10_JPEG)
    else:
        factory, data = {
            "mlp": (digits_mlp, digits("all")),
            "cnn": (digits_cnn, digits("all")),
            "lenet5": (lenet5, fashion_mnist("test")),
        }[network]
        model, weights = factory(), str(embedded_path(factory.__name__))
    load_checkpoint(model, weights)
    return model.eval().requires_grad_(False), data


@torch.inference_mode()
def logits(model: nn.Module, x: Tensor, batch: int) -> Tensor:
    """The network's answers, `batch` images a forward pass."""
    return torch.cat([model(part) for part in x.split(batch)])


def accuracy(model: nn.Module, data: Data, batch: int) -> float:
    """Share of images whose label has the largest logit."""
    return float((logits(model, data.x, batch).argmax(1) == data.y).float().mean())


def batches(n_images: int) -> list[int]:
    """Batch sizes worth trying: activations of a small batch stay in the cache, a large one costs fewer calls."""
    return sorted({min(size, n_images) for size in (32, 64, 128, 256, n_images)})


def seconds(call: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def fastest(calls: dict[Any, Callable[[], object]], repeats: int = 3) -> Any:
    """The key of the fastest of some calls, by the shortest of several runs in turn."""
    took = [{key: seconds(call) for key, call in calls.items()} for _ in range(repeats)]
    return min(calls, key=lambda key: min(each[key] for each in took))


def fastest_batch(evaluate: Callable[[int], object], n_images: int) -> int:
    """The batch size with which an evaluation takes the least time."""
    return fastest({batch: lambda batch=batch: evaluate(batch) for batch in batches(n_images)})


def fastest_forward(model: nn.Module, data: Data) -> tuple[str, Callable[[], Tensor]]:
    """The fastest digital forward found by trying what one would by hand, and what it is.

    Batch size, channels-last or not, batch normalisation fused into the convolution before it or not.
    """
    calls = {}
    nets = {"": model}
    if any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        nets["fused, "] = fuse(model)
    for (how, net), layout in itertools.product(nets.items(), (torch.contiguous_format, torch.channels_last)):
        net = copy.deepcopy(net).to(memory_format=layout)
        x = data.x.contiguous(memory_format=layout)
        for batch in batches(len(data)):
            name = f"{how}{'channels last, ' if layout is torch.channels_last else ''}batch {batch}"
            calls[name] = lambda net=net, x=x, batch=batch: logits(net, x, batch)
    best = fastest(calls)
    return best, calls[best]


def serve(tool: str, version: str, setting: str, prepare: Callable[[str, nn.Module, Data], Prepared]) -> None:
    """Answer questions until standard input ends.

    Args:
        tool: its name.
        version: of the tool.
        setting: in a few words, what a chip of it is.
        prepare: makes a network ready, from the network's name, its digital module and the images.
    """
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    calls: dict[str, dict[str, tuple[Callable[[], object], int]]] = {}

    def ready(network: str) -> dict[str, Any]:
        model, data = load(network)
        how, forward = fastest_forward(model, data)
        prepared = prepare(network, model, data)
        calls[network] = {
            "plain": (lambda: logits(model, data.x, len(data)), 1),
            "fastest": (forward, 1),
            "trial": (prepared.trial, prepared.chips),
        }
        chips = [prepared.trial() for _ in range(CHIPS)]
        return {
            "images": len(data),
            "digital_accuracy": accuracy(model, data, len(data)),
            "chip_accuracy": statistics.mean(chips),
            "batch": prepared.batch,
            "fastest_forward": how,
        }

    def run(network: str) -> dict[str, float]:
        took: list[dict[str, float]] = []
        while len(took) < REPEATS and sum(sum(each.values()) for each in took) < ENOUGH_S:
            took.append({name: seconds(call) / times for name, (call, times) in calls[network].items()})
        return {f"{name}_s": statistics.median(each[name] for each in took) for name in calls[network]}

    said: dict[str, Any] = {"tool": tool, "version": version, "torch": torch.__version__, "setting": setting}
    print(ANSWER + json.dumps(said), flush=True)
    for line in sys.stdin:
        verb, network = line.split()
        try:
            said = ready(network) if verb == "prepare" else run(network)
        except Exception as error:  # whatever a tool raises on a network is what the table says of it
            said = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        print(ANSWER + json.dumps(said), flush=True)
