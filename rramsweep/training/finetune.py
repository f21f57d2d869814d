"""The training loop: a new chip at each step, stopped by the scores of chips that were not trained on."""

from __future__ import annotations

import copy
import io
import math
import pickle
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rramsweep.crossbar.programming import LayerSpec
from rramsweep.datasets.arrays import IGNORED, Data
from rramsweep.datasets.inputs import AnyInputs, call
from rramsweep.devices.streams import Stream
from rramsweep.errors import Sentence, ValidationError, no_exit
from rramsweep.files import read_regular, write_atomic
from rramsweep.metrics.logits import are_logits
from rramsweep.metrics.scoring import Metric, Share, against, compares
from rramsweep.models.checkpoint import load_checkpoint
from rramsweep.models.eager import deep_copy
from rramsweep.models.forward import one_tensor
from rramsweep.network.accelerator import CPU, Accelerator
from rramsweep.network.analog import AnalogNetwork
from rramsweep.network.arrays import private_copy
from rramsweep.network.batch_norm import find_folds, fold_batchnorm
from rramsweep.network.numerics import fixed_arithmetic
from rramsweep.network.ranges import FITTING_INPUTS
from rramsweep.training.chip_network import ChipNetwork
from rramsweep.training.settings import FineTuning

CHECKPOINT_FILE, WEIGHTS_FILE = "checkpoint.pt", "weights.pt"

# Raise it when the same settings give other weights; a run of an older version is then not continued.
VERSION = 1

# Inputs per forward pass without training, and inputs with which the batch norms after layers are found.
BATCH, SAMPLE_INPUTS = 64, 4


@dataclass(frozen=True, eq=False)
class Task:
    """The parts of a point that a fine-tuning needs.

    Args:
        model: the network with its weights; not changed.
        specs: `{array name: LayerSpec}` for every weight on the array.
        t_s: seconds since programming at which chips are read.
        data: inputs and targets for training and stopping, none of which a sweep scores.
        metric: of the scores.
        folds_batchnorm: True folds batch norms into the weights before mapping.
        accelerator: processor on which networks run.
    """

    model: nn.Module
    specs: dict[str, LayerSpec]
    t_s: float
    data: Data
    metric: Metric
    folds_batchnorm: bool = False
    accelerator: Accelerator = CPU

    @property
    def loss_name(self) -> str:
        """Name of the training loss, which depends on the targets and not on the metric."""
        return "mean squared error" if self.data.y.is_floating_point() else "cross-entropy"


@dataclass(frozen=True)
class Epoch:
    """Scores after an epoch, over the held-out inputs; epoch 0 is the given network.

    Args:
        epoch, steps: passes over the training inputs, and steps so far.
        loss: mean training loss of the epoch; None for epoch 0.
        digital: score of the digital network.
        chips: scores of chips that were not trained on.
        seconds: training and scoring of this epoch.
    """

    epoch: int
    steps: int
    loss: float | None
    digital: float
    chips: tuple[float, ...]
    seconds: float

    @property
    def chip_mean(self) -> float:
        """Mean score of the chips."""
        return math.fsum(self.chips) / len(self.chips)


@dataclass(eq=False)
class Progress:
    """State of a run between two epochs, from which a killed run can continue, since every stream has a name."""

    epochs: list[Epoch] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    optimizer: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write all of it atomically."""
        buffer = io.BytesIO()
        torch.save({**vars(self), "epochs": [asdict(each) for each in self.epochs]}, buffer)
        write_atomic(path, buffer.getvalue())

    @staticmethod
    def read(path: Path) -> Progress:
        """Read what `write` wrote, as data: no pickle that could run code.

        Raises:
            ValidationError: the file is damaged.
        """
        try:
            loaded = torch.load(io.BytesIO(read_regular(path)), weights_only=True)
            return Progress(**{**loaded, "epochs": [Epoch(**each) for each in loaded["epochs"]]})
        except (RuntimeError, pickle.UnpicklingError, EOFError, TypeError, KeyError, ValueError):
            raise ValidationError(
                Sentence(f"{path} must be a complete checkpoint of a fine-tuning, but cannot be read"),
                f"remove {path.parent} to begin again",
            ) from None  # torch's own words are several sentences on its format


@no_exit("a network's forward, a metric or an effect")
@fixed_arithmetic()
def finetune(
    task: Task,
    settings: FineTuning,
    folder: Path,
    on_step: Callable[[int, int], None] = lambda step, steps: None,  # noqa: ARG005
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,  # noqa: ARG005
) -> Progress:
    """Fine-tune a network and write its best weights as `weights.pt`; continue an earlier call that was interrupted.

    Each step programs a new chip from the present weights, runs a batch on it, and updates the digital weights (for the
    gradients see `ChipNetwork`). The loss is cross-entropy for labels and mean squared error for numbers, whatever the
    metric, which need not be differentiable. With a teacher the loss is `(1 - d) loss + d T^2 KL(teacher || student)`,
    both softened by the temperature T; for numbers the mean squared difference replaces the divergence. A fixed part of
    the inputs is held out: after each epoch, chips that are never trained on are scored on it, and the weights of the
    epoch with the best mean are kept, whatever `noise` the steps had.

    Batch norms use the statistics of each batch, and thus of one chip, and keep a running mean, with which chips are
    scored. The digital network is scored with what `batch_norm` keeps: with the mean over chips, or with statistics of
    its own, which a calibration needs as its reference.

    Training is deterministic for a given number of threads: the order of epoch e and the chip of step k have their own
    named streams, so that only weights, optimiser and scores must be kept between two epochs.

    Args:
        task: the point.
        settings: of the training.
        folder: for the checkpoint of each epoch and the weights.
        on_step: called with the number of finished steps and the total.
        on_epoch: called with each epoch, including those of an earlier call.

    Raises:
        ValidationError: what `check_task` refuses, or a loss that is not finite.
    """
    check_task(task, settings)
    with task.accelerator.arithmetic():
        train, held_out = split(task.data, settings.held_out)
        network = _network(task)
        optimizer = torch.optim.AdamW(network.parameters, lr=settings.lr, weight_decay=settings.weight_decay)
        teacher = _outputs(network.digital(), train.x, task.accelerator)
        metric = task.metric
        if compares(metric):  # with the given network
            metric = against(metric, _outputs(network.digital(), held_out.x, task.accelerator))
        steps = -(-len(train) // settings.batch_size)

        def score(epoch: int, loss: float | None, started: float) -> tuple[Epoch, dict[str, Tensor]]:
            """Scores after an epoch, and the weights that are kept if it is the best."""
            _fit_ranges(task, network)
            chips = [_score(network.chip(seed), held_out, metric, task.accelerator) for seed in settings.stopped_chips]
            trained = network.state()
            if settings.batch_norm == "digital" and epoch > 0:
                network.fit_statistics(train.x[rows] for rows in torch.arange(len(train)).tensor_split(steps))
            digital, kept = _score(network.digital(), held_out, metric, task.accelerator), network.state()
            network.load(trained)
            return Epoch(epoch, epoch * steps, loss, digital, tuple(chips), time.perf_counter() - started), kept

        started = time.perf_counter()
        if (folder / CHECKPOINT_FILE).exists():
            progress = Progress.read(folder / CHECKPOINT_FILE)
            network.load(progress.weights)
            if progress.optimizer:
                optimizer.load_state_dict(progress.optimizer)
            _fit_ranges(task, network)
        else:
            first, given = score(0, None, started)
            progress = Progress([first], given, given)
        for epoch in progress.epochs:
            on_epoch(epoch)
        while len(progress.epochs) <= settings.epochs and not _is_over(progress, settings):
            started, number = time.perf_counter(), len(progress.epochs)
            losses = []
            order = torch.randperm(len(train), generator=_stream(settings, "order", str(number)).generator())
            for i, rows in enumerate(order.tensor_split(steps)):  # none has one input, without statistics
                step = (number - 1) * steps + i
                for group in optimizer.param_groups:
                    group["lr"] = settings.rate(step, steps * settings.epochs)
                with network.batch_statistics():
                    outputs = one_tensor(call(_running(network, settings, step), task.accelerator.take(train.x[rows])))
                loss = _loss(outputs, train.y[rows], teacher[rows], settings)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                if settings.clip != "none":
                    value = settings.clip_sigma if settings.clip == "sigma" else settings.clip_percentile
                    network.clip(settings.clip, value)
                if not all(each.isfinite().all() for each in (loss, *network.parameters)):
                    raise ValidationError(
                        Sentence(f"the loss and all weights must stay finite, but one is not at step {step + 1}"),
                        "lower finetune.lr, or train on less noise first",
                    )
                losses.append(float(loss.detach()))
                on_step(step + 1, steps * settings.epochs)
            epoch, kept = score(number, math.fsum(losses) / len(losses), started)
            progress.epochs.append(epoch)
            progress.weights, progress.optimizer = network.state(), copy.deepcopy(optimizer.state_dict())
            if _is_better(epoch, progress.epochs[progress.best_epoch], task.metric):
                progress.best, progress.best_epoch = kept, number
            progress.write(folder / CHECKPOINT_FILE)
            on_epoch(progress.epochs[-1])
        _write_weights(task.model, progress.best, folder / WEIGHTS_FILE)
        return progress


def check_task(task: Task, settings: FineTuning) -> None:
    """Check that the network can be trained on the inputs and targets, without programming a chip.

    Raises:
        ValidationError: a part without inputs, one label for all inputs, logits that do not fit the labels, numbers of
            another shape, batches of one input for a network with batch norms, or what `ChipNetwork` refuses.
    """
    split(task.data, settings.held_out)
    network = _network(task)
    if network.has_batch_norms and settings.batch_size == 1:
        raise ValidationError(
            "must be at least 2 for a network with batch norms",
            "one input has no variance: give more",
            value=1,
            slot="finetune",
            parameter="batch_size",
        )
    y = task.data.y
    labels = y[y != IGNORED] if not y.is_floating_point() else y
    if not y.is_floating_point() and bool((labels == labels[0]).all()):
        raise ValidationError(
            "must have labels to train on, of two classes at least",
            "name inputs with their labels",
            slot="data",
            parameter="fitting",
            shown=f"{len(labels):,} labels that are all {int(labels[0])}",
        )
    outputs = _outputs(network.digital(), task.data.x[:SAMPLE_INPUTS], task.accelerator)
    rows = y[:SAMPLE_INPUTS]
    if y.is_floating_point():
        fits, wanted = outputs.shape == rows.shape, f"outputs of shape {('N', *y.shape[1:])}".replace("'", "")
    else:
        fits, wanted = are_logits(outputs, rows) and outputs.shape[-1] > int(labels.max()), "a logit for each label"
    if not fits:
        raise ValidationError(
            f"must give {wanted} to be trained by {task.loss_name}",
            "choose data.fitting and a model that belong together",
            parameter="a network",
            shown=f"{tuple(outputs.shape)} for targets {tuple(rows.shape)} of {y.dtype}",
        )


def split(data: Data, held_out: float) -> tuple[Data, Data]:
    """Split inputs into a part for training and a part for stopping, the same for every seed.

    Raises:
        ValidationError: one part has no input.
    """
    n = round(held_out * len(data))
    if not 0 < n < len(data):
        raise ValidationError(
            "must leave an input to train on and one to stop on",
            "name more inputs by data.fitting, or give another share",
            value=held_out,
            shown=f"{held_out} of {len(data)}",
            slot="finetune",
            parameter="held_out",
        )
    order = torch.randperm(len(data), generator=Stream(0, ("finetune", "held_out")).generator())
    parts = [order[n:].sort().values, order[:n].sort().values]
    train, stop = (Data(data.x[rows], data.y[rows], data.name, data.n_classes) for rows in parts)
    return train, stop


def _network(task: Task) -> ChipNetwork:
    sample = task.data.x[:SAMPLE_INPUTS]
    folds = find_folds(private_copy(task.model), sample) if task.folds_batchnorm else []
    return ChipNetwork(task.model, task.specs, task.t_s, folds, task.accelerator)


def _running(network: ChipNetwork, settings: FineTuning, step: int) -> nn.Module:
    """The network of a training step: on a chip, with normal errors, or digital."""
    if settings.noise == "none":
        return network.digital()
    run = network.chip if settings.noise == "chips" else network.gaussian
    return run(settings.trained_chip(step), settings.output_noise)


def _fit_ranges(task: Task, network: ChipNetwork) -> None:
    """Fit the ranges of converters to the present weights, on the inputs that a sweep would use."""
    if not any(spec.converted for spec in task.specs.values()):
        return
    model = deep_copy(task.model)
    model.load_state_dict(network.state())
    if task.folds_batchnorm:
        model = fold_batchnorm(model, task.data.x[:SAMPLE_INPUTS])
    plain = AnalogNetwork(model, task.specs, task.t_s, accelerator=task.accelerator)
    network.set_ranges(plain.fit_ranges(task.data.spread(FITTING_INPUTS).x if plain.fits_ranges else None))


def _loss(outputs: Tensor, targets: Tensor, teacher: Tensor, settings: FineTuning) -> Tensor:
    targets, teacher = targets.to(outputs.device), teacher.to(outputs)
    part, temperature = settings.distillation, settings.temperature
    if targets.is_floating_point():
        loss = F.mse_loss(outputs, targets.to(outputs))
        return loss if part == 0 else (1 - part) * loss + part * F.mse_loss(outputs, teacher)
    logits, labels = outputs.flatten(0, -2), targets.flatten()
    loss = F.cross_entropy(logits, labels, ignore_index=IGNORED)
    if part == 0:
        return loss
    scored = labels != IGNORED
    soft, wanted = ((each[scored] / temperature).log_softmax(1) for each in (logits, teacher.flatten(0, -2)))
    divergence = F.kl_div(soft, wanted, reduction="batchmean", log_target=True)
    return (1 - part) * loss + part * temperature**2 * divergence


@torch.no_grad()
def _outputs(network: Callable[..., object], x: AnyInputs, accelerator: Accelerator) -> Tensor:
    return torch.cat([one_tensor(call(network, accelerator.take(part))).cpu() for part in x.split(BATCH)])


def _score(network: nn.Module, data: Data, metric: Metric, accelerator: Accelerator) -> float:
    outputs = _outputs(network, data.x, accelerator)
    if callable(metric):
        return float(metric(outputs, data.y))
    return float(cast(Share, metric).correct(outputs, data.y).double().mean())


def _is_better(one: Epoch, other: Epoch, metric: Metric) -> bool:
    return one.chip_mean > other.chip_mean if metric.higher_is_better else one.chip_mean < other.chip_mean


def _is_over(progress: Progress, settings: FineTuning) -> bool:
    """True after `patience` epochs without improvement."""
    return settings.patience is not None and len(progress.epochs) - 1 - progress.best_epoch >= settings.patience


def _stream(settings: FineTuning, *name: str) -> Stream:
    return Stream(settings.seed, ("finetune", *name))


def _write_weights(model: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Write a state dict, and check it by loading it like a sweep."""
    buffer = io.BytesIO()
    torch.save({name: tensor.cpu() for name, tensor in state.items()}, buffer)
    write_atomic(path, buffer.getvalue())
    copied = deep_copy(model)
    load_checkpoint(copied, path)
    loaded = copied.state_dict()
    assert all(torch.equal(loaded[name].cpu(), tensor.cpu()) for name, tensor in state.items())
