"""One chip at one point: one row of facts, as a plain dict."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from rramsweep.datasets.inputs import AnyInputs, call
from rramsweep.errors import ValidationError, no_exit
from rramsweep.metrics.logits import are_logits, check_masks, cross_entropy, predicted, scored
from rramsweep.metrics.scoring import Metric, Share
from rramsweep.models.forward import one_tensor
from rramsweep.network.accelerator import CPU, Accelerator
from rramsweep.network.analog import AnalogNetwork
from rramsweep.network.numerics import fixed_arithmetic
from rramsweep.simulation.execution import Execution
from rramsweep.study.facts import ARRAY


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The outputs of one network for every input, scored.

    Args:
        score: the metric's value.
        correct: mask of correctly answered inputs, bool, shape (N,); None if the metric does not count them.
        predictions: class with the largest logit for each label, int64, in the shape of y, or flat over the scored
            labels if some are not scored; None if outputs are not logits.
        loss: mean cross-entropy in nats; None likewise, and if the class of a label is masked.
    """

    score: float
    correct: Tensor | None
    predictions: Tensor | None
    loss: float | None


@dataclass(frozen=True, eq=False)
class Bench:
    """Everything that the trials of a point need: the network on its array, the data, and the two baselines.

    Args:
        point_id: the point that the rows belong to.
        network: the analog network.
        batches: the inputs in batches.
        targets: labels or values that outputs are scored against.
        metric: scores the outputs.
        digital: of the network with its own weights.
        ideal_score: of the chip that is mapped and quantised with every effect ideal.
        execution: how the network is run.
        others: the same network again, for each further chip that is run at the same time.
        chance: largest share of inputs that one answer to all of them gets right, see `metrics.chance_accuracy`.
        powered: inputs on which it is measured what the array draws; none where no cost is asked for.
    """

    point_id: str
    network: AnalogNetwork
    batches: Sequence[AnyInputs]
    targets: Tensor
    metric: Metric
    digital: Evaluation
    ideal_score: float
    execution: Execution
    others: Sequence[AnalogNetwork] = ()
    chance: float | None = None
    powered: Sequence[AnyInputs] = ()


def evaluate(
    model: nn.Module, batches: Sequence[AnyInputs], targets: Tensor, metric: Metric, accelerator: Accelerator = CPU
) -> Evaluation:
    """Run every input through a network.

    Raises:
        ValueError: the outputs are not one finite tensor, or not what the metric can score on this data.
    """
    return score(outputs(model, batches, accelerator), targets, metric)


@fixed_arithmetic()
@torch.inference_mode()
def outputs(
    network: Callable[..., object], batches: Sequence[AnyInputs], accelerator: Accelerator, inputs: int = 0
) -> Tensor:
    """Outputs of a network, or of several in one pass, for all inputs, as a tensor on the CPU.

    Args:
        network: called with inputs on the accelerator.
        batches: the inputs.
        accelerator: processor that runs it.
        inputs: axis of the outputs that counts inputs.

    Raises:
        ValueError: the outputs are not one tensor.
    """
    with accelerator.arithmetic(), no_exit("the network's forward"):
        parts = [one_tensor(call(network, accelerator.take(x))) for x in batches]
    forms = {(*part.shape[:inputs], *part.shape[inputs + 1 :]) for part in parts}
    if len(forms) > 1:
        raise ValidationError(
            "must have one shape for each input",
            "let the network answer for the padding too, or pool over the sequence",
            parameter="outputs",
            shown=f"{min(forms)} and {max(forms)} in different batches",
        )
    answers = torch.cat(parts, dim=inputs)
    return answers if accelerator == CPU else answers.float().cpu()


def score(outputs: Tensor, targets: Tensor, metric: Metric) -> Evaluation:
    """Score outputs.

    Raises:
        ValueError: outputs or score are not finite, or the metric refuses them.
    """
    if outputs.is_complex():
        raise ValidationError(
            "must be real numbers", "return their size or real part", parameter="outputs", value=outputs.dtype
        )
    low, high = map(float, outputs.aminmax() if outputs.numel() else (0.0, 0.0))
    # Minimum and maximum are NaN if any output is, and take a fifth of the time of testing each output. Logits of -inf
    # mask classes.
    bad = math.isnan(high) or high == math.inf or not (math.isfinite(low) or are_logits(outputs, targets))
    if bad:
        raise ValueError("outputs must be finite, but this network gives NaN or infinity: check weights and data")
    masked = 0 if math.isfinite(low) else check_masks(*scored(outputs, targets))
    correct, value = _scored(outputs, targets, metric)
    if not math.isfinite(value):
        if masked:
            raise ValidationError(
                f"must be finite, but is infinite where the class of a label is masked (logit of -inf), as that of "
                f"{masked} of {targets.numel()} labels",
                "do not mask the classes of labels, leave such inputs out, or choose metric=top1",
                parameter=metric.name,
                value=value,
            )
        raise ValueError(f"{metric.name} must be finite, got {value}: check weights and data")
    if not are_logits(outputs, targets):
        return Evaluation(value, correct, None, None)
    # The table holds finite numbers only, and a masked label has an infinite loss.
    logits, labels = scored(outputs, targets)
    return Evaluation(value, correct, predicted(logits), None if masked else cross_entropy(logits, labels))


def _scored(outputs: Tensor, targets: Tensor, metric: Metric) -> tuple[Tensor | None, float]:
    """Mask of correctly answered inputs, if the metric counts them, and the score."""
    if type(metric).__module__ != Metric.__module__:  # a user's own may write into its arguments
        outputs, targets = outputs.clone(), targets.clone()
    try:
        with no_exit(metric.name):
            if callable(metric):  # a `Number`; isinstance with the protocol takes longer than a small network
                return None, float(metric(outputs, targets))
            correct = cast(Share, metric).correct(outputs, targets)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"{metric.name} must score the answers, but raised {error!r}: correct the metric") from error
    if correct.shape != targets.shape[:1] or correct.dtype != torch.bool:
        raise ValueError(
            f"{metric.name} must say of each input whether it is right, bool of shape ({len(targets)},), got "
            f"{correct.dtype} of shape {tuple(correct.shape)}: correct the metric"
        )
    return correct, int(correct.sum()) / len(correct)


@fixed_arithmetic()
def run_trial(bench: Bench, seed: int) -> tuple[dict[str, Any], Tensor | None]:
    """Program chip `seed`, evaluate it, and return the row of `facts.FACTS` and the mask of correctly answered inputs.

    A trial that raises an error becomes a row with status `failed` and the error in one line, so that one bad chip does
    not end a sweep. Interrupts pass through.
    """
    started = time.perf_counter()
    row: dict[str, Any] = {"point_id": bench.point_id, "seed": seed}
    try:
        with no_exit("an effect of the chip"):
            network = bench.network.chip(seed)
        chip = evaluate(network, bench.batches, bench.targets, bench.metric, bench.network.accelerator)
        found = facts(bench, chip)
        if bench.powered:  # behind the facts, some of which are of the last reads
            found[ARRAY] = bench.network.array_uS(bench.powered)
    except Exception as error:
        return {**row, **failure(error), "seconds": time.perf_counter() - started}, None
    return {**row, **found, "seconds": time.perf_counter() - started}, chip.correct


def facts(bench: Bench, chip: Evaluation) -> dict[str, Any]:
    """The columns of a row that come from a chip's evaluation."""
    digital = bench.digital
    row: dict[str, Any] = {
        "status": "ok",
        "error": None,
        "n_images": len(bench.targets),
        "score": chip.score,
        "digital_score": digital.score,
        "ideal_score": bench.ideal_score,
        "loss": chip.loss,
        "batch_size": bench.execution.batch_size,
        "memory_format": bench.execution.memory_format,
        "threads": torch.get_num_threads(),
        "accelerator": bench.network.accelerator.name,
        "wires_kernel": bench.network.wires_kernel,
        **clip_rates(bench.network),
    }
    if bench.network.calibrated is not None:
        corrections = bench.network.calibrated.corrections
        row |= {
            "calibration.extra_parameters": corrections.extra_parameters,
            "calibration.extra_macs": corrections.extra_macs,
            "calibration.seconds": bench.network.calibrated.seconds,
        }
    if chip.predictions is not None and digital.predictions is not None:
        row["agreement"] = int((digital.predictions == chip.predictions).sum()) / chip.predictions.numel()
    if chip.correct is not None and digital.correct is not None:
        n_correct, n_digital = int(chip.correct.sum()), int(digital.correct.sum())
        row |= {
            "n_correct": n_correct,
            "n_lost": int((digital.correct & ~chip.correct).sum()),
            "n_gained": int((~digital.correct & chip.correct).sum()),
            "accuracy": n_correct / len(bench.targets),
            "digital_accuracy": n_digital / len(bench.targets),
            "ideal_accuracy": bench.ideal_score,
            "chance_accuracy": bench.chance,
        }
    return row


def clip_rates(network: AnalogNetwork) -> dict[str, float | None]:
    """`dac_clip_rate` and `adc_clip_rate` of the chip that ran last, over all layers."""
    counts = network.clipped.values()
    dac, adc = sum(each.dac_all for each in counts), sum(each.adc_all for each in counts)
    return {
        "dac_clip_rate": sum(each.dac for each in counts) / dac if dac else None,
        "adc_clip_rate": sum(each.adc for each in counts) / adc if adc else None,
    }


def failure(error: Exception) -> dict[str, Any]:
    """`status` and `error` of a failed trial, with the message on one line."""
    return {"status": "failed", "error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
