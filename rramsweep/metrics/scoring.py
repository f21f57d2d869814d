"""The metric of a point: the score of a network's outputs, with a unit and a direction.

A metric is a frozen dataclass that is called with the outputs for all inputs and the targets `y` of the data. Either it
returns a number (`Number`), or it marks the inputs that are answered correctly (`Share`). Their share is then the
score, and a table can also count lost and gained inputs and split the standard error into chips and test set. A metric
that compares a chip with the digital network has a field `digital`, which a sweep fills in (`against`). Labels of -100
are not scored.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from rramsweep.errors import ValidationError
from rramsweep.identity import describe
from rramsweep.metrics.logits import check_logits, cross_entropy, is_one_hot, predicted, scored
from rramsweep.scale import FRACTION, Scale


class Metric(Protocol):
    """Attributes common to both kinds of metrics, `Number` and `Share`.

    `version` is part of every point's identity: raise it when the same outputs get another score.
    """

    @property
    def version(self) -> int:
        """Version of the metric, part of every point's identity."""

    @property
    def name(self) -> str:
        """Name of the metric, as tables and axes show it."""

    @property
    def unit(self) -> str:
        """`fraction` (shown in percent), a unit as axes show it, or empty for a pure number."""

    @property
    def higher_is_better(self) -> bool:
        """True where a larger score is better."""


@runtime_checkable
class Number(Metric, Protocol):
    """A metric that is any number: a loss, an error."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> float:
        """The score of `outputs` (N, ...) for the data's `y`, finite; ValueError where they do not fit each other."""


@runtime_checkable
class Share(Metric, Protocol):
    """A metric that is the share of inputs answered correctly; higher is better.

    A metric that accepts several labels an answer, as `Top5`, gives their number in an attribute `guesses` (default 1).
    """

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """True for each input that is right, bool, shape (N,); the score is its mean. ValueError as in `Number`."""


@dataclass(frozen=True)
class Top1:
    """Top-1 accuracy: share of images whose largest logit is the label's, the first of equal ones.

    `outputs` (N, classes), labels (N,).
    """

    version: ClassVar[int] = 1
    name: ClassVar[str] = "top-1 accuracy"
    unit: ClassVar[str] = FRACTION
    higher_is_better: ClassVar[bool] = True

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """See `Share`."""
        check_logits(self.name, outputs, targets, each="input")
        return predicted(outputs) == targets


@dataclass(frozen=True)
class Top5:
    """Top-5 accuracy: share of images whose label is among the five largest logits, the first of equal ones.

    Equal logits are ranked by class number, as in `Top1`, so that a dead chip with equal logits for all classes is
    right by chance and not always. `outputs` (N, classes > 5), labels (N,).
    """

    version: ClassVar[int] = 1
    name: ClassVar[str] = "top-5 accuracy"
    guesses: ClassVar[int] = 5
    unit: ClassVar[str] = FRACTION
    higher_is_better: ClassVar[bool] = True

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """See `Share`."""
        check_logits(self.name, outputs, targets, each="input")
        classes = outputs.shape[1]
        if classes <= 5:
            raise ValueError(f"top-5 accuracy must choose among more than 5 classes, got {classes}: use metric=top1")
        own = outputs.gather(1, targets[:, None])
        before = torch.arange(classes, device=outputs.device) < targets[:, None]
        rank = ((outputs > own) | ((outputs == own) & before)).sum(dim=1)
        return (rank < 5) & (own > -math.inf).squeeze(1)  # a masked class is not an answer


@dataclass(frozen=True)
class CrossEntropy:
    """Mean cross-entropy, `-mean(log softmax(outputs)[label])`, the usual loss of classifiers.

    `outputs` (N, classes) for labels (N,), or (N, T, classes) for labels (N, T). All labels have equal weight, except
    for those of -100, which are left out.
    """

    version: ClassVar[int] = 1
    name: ClassVar[str] = "cross-entropy"
    unit: ClassVar[str] = "nat"
    higher_is_better: ClassVar[bool] = False

    def __call__(self, outputs: Tensor, targets: Tensor) -> float:
        """Mean cross-entropy in nats over the scored labels."""
        check_logits(self.name, outputs, targets, each="label")
        return cross_entropy(*scored(outputs, targets))


@dataclass(frozen=True)
class Perplexity:
    """`exp` of the mean cross-entropy of a label (token): the number of equally likely choices left.

    Shapes as in `CrossEntropy`. The mean over chips is dominated by the worst of them; `CrossEntropy`, its logarithm,
    has the narrower interval.
    """

    version: ClassVar[int] = 1
    name: ClassVar[str] = "perplexity"
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = False

    def __call__(self, outputs: Tensor, targets: Tensor) -> float:
        """Perplexity over the scored labels."""
        check_logits(self.name, outputs, targets, each="label")
        return math.exp(cross_entropy(*scored(outputs, targets)))


@dataclass(frozen=True)
class MeanSquaredError:
    """`mean((outputs - y)^2)` over inputs and components, in double precision.

    `outputs` and `y`, floating point, have one shape; nothing is broadcast.

    Args:
        target_unit: y's unit, e.g. `degC`, for tables and axes; empty for pure numbers.
    """

    target_unit: str = "target"
    version: ClassVar[int] = 1
    name: ClassVar[str] = "mean squared error"
    higher_is_better: ClassVar[bool] = False

    @property
    def unit(self) -> str:
        """The square of `target_unit`."""
        if not self.target_unit:
            return ""
        return f"{self.target_unit}^2" if self.target_unit.isalnum() else f"({self.target_unit})^2"

    def __call__(self, outputs: Tensor, targets: Tensor) -> float:
        """Mean squared error over all components."""
        if not targets.is_floating_point():
            raise ValueError(
                f"{self.name} must have numbers as targets, got labels (y of {targets.dtype}): save y as float32, or "
                "choose metric=top1"
            )
        if outputs.shape != targets.shape:
            raise ValueError(
                f"{self.name} must have outputs of y's shape, got {tuple(outputs.shape)} for {tuple(targets.shape)}: "
                "reshape y as the network answers"
            )
        return float((outputs.double() - targets.double()).square().mean())


@dataclass(frozen=True)
class Agreement:
    """Share of labels for which a chip predicts the class that the digital network predicts, right or wrong.

    `outputs` (N, ..., classes). If the data have one label for each prediction, those of -100 are left out; otherwise
    labels are ignored.
    """

    digital: Tensor | None = field(default=None, init=False, repr=False, compare=False)
    version: ClassVar[int] = 1
    name: ClassVar[str] = "agreement with the digital class"
    unit: ClassVar[str] = FRACTION
    higher_is_better: ClassVar[bool] = True

    def __call__(self, outputs: Tensor, targets: Tensor) -> float:
        """Share of predictions that agree with the digital network's."""
        own, digital = _compared(self.name, outputs, self.digital, targets)
        if own.dim() < 2 or own.shape[-1] < 2:
            raise ValidationError(
                "must have a row of logits for each prediction",
                "choose metric=cosine or metric=mse",
                parameter=self.name,
                shown=f"outputs of shape {tuple(outputs.shape)}",
            )
        return float((predicted(own) == predicted(digital)).double().mean())


@dataclass(frozen=True)
class CosineSimilarity:
    """Mean cosine of the angle between a chip's output vectors and the digital network's, `a.b / (|a| |b|)`.

    The score lies in -1..1. `outputs` (N, ..., features), such as embeddings. Labels as in `Agreement`: for sequences
    (N, T, features), labels (N, T) of -100 leave out the padding.
    """

    digital: Tensor | None = field(default=None, init=False, repr=False, compare=False)
    version: ClassVar[int] = 1
    name: ClassVar[str] = "cosine similarity to the digital output"
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True

    def __call__(self, outputs: Tensor, targets: Tensor) -> float:
        """Mean cosine similarity to the digital network's output vectors."""
        own, digital = _compared(self.name, outputs, self.digital, targets)
        if own.dim() < 2 or own.shape[-1] < 2:
            raise ValidationError(
                "must have vectors to compare",
                "choose metric=mse",
                parameter=self.name,
                shown=f"outputs of shape {tuple(outputs.shape)}",
            )
        return float(cosine_similarity(own.double(), digital.double(), dim=-1).mean())


def _compared(name: str, outputs: Tensor, digital: Tensor | None, targets: Tensor) -> tuple[Tensor, Tensor]:
    """A chip's outputs and the digital network's, without those of labels that are not scored."""
    if digital is None:  # the digital network itself
        digital = outputs
    if outputs.shape != digital.shape:
        raise ValidationError(
            f"must have outputs of the digital network's shape, {tuple(digital.shape)}",
            "correct the network's forward",
            parameter=name,
            shown=str(tuple(outputs.shape)),
        )
    if targets.dtype != torch.int64 or targets.shape != outputs.shape[:-1]:
        return outputs, digital
    return scored(outputs, targets)[0], scored(digital, targets)[0]


def compares(metric: Metric) -> bool:
    """True for a metric that compares a chip with the digital network, by a field `digital`."""
    return any(each.name == "digital" for each in dataclasses.fields(cast(Any, metric)))


def against(metric: Metric, digital: Tensor) -> Metric:
    """Fill the digital network's outputs into the field `digital` of a metric for which `compares` is true."""
    filled = copy.copy(metric)
    object.__setattr__(filled, "digital", digital)
    return filled


# The targets of `metric=`.
METRICS = ("Top1", "Top5", "CrossEntropy", "MeanSquaredError", "Perplexity", "Agreement", "CosineSimilarity")


def scale_of(metric: Metric) -> Scale:
    """Name, unit and direction of a metric, as tables and plots show them."""
    return Scale(metric.name, metric.unit, metric.higher_is_better)


def chance_accuracy(metric: Metric, targets: Tensor) -> float | None:
    """Largest accuracy of one answer to all inputs: the share of the most frequent label, of five for `Top5`.

    None if the metric does not count correct inputs, or if the targets are not labels.
    """
    if callable(metric) or not len(targets) or (targets.is_floating_point() and not is_one_hot(targets)):
        return None
    counts = torch.unique(targets, dim=0, return_counts=True)[1].sort(descending=True).values
    return int(counts[: getattr(metric, "guesses", 1)].sum()) / len(targets)


def identity(metric: Metric) -> str:
    """A metric as a line of a point's identity: name and version, and for a user's own metric all of its fields."""
    known = f"{metric.name} v{metric.version}"
    if type(metric).__module__ == __name__ and not dataclasses.fields(cast(Any, metric)):
        return known
    return f"{known}, {scale_of(metric).words}, {describe(metric)}"


def checked(metric: Any, target: str) -> Metric:
    """Return `metric` itself if it is a valid metric.

    Args:
        metric: the object that a `_target_` made.
        target: name of the target, for messages.

    Raises:
        ValueError: it is not a dataclass, lacks an attribute, or is not exactly one of `Number` and `Share`.
    """
    remedy = "write it as rramsweep.metrics.MeanSquaredError is written"
    if not dataclasses.is_dataclass(metric) or isinstance(metric, type):
        raise ValueError(f"a metric must be a frozen dataclass, {target} made {type(metric).__name__}: {remedy}")
    for name, kind in (("name", str), ("unit", str), ("higher_is_better", bool), ("version", int)):
        value = getattr(metric, name, None)
        if not isinstance(value, kind) or (name == "name" and not value):
            raise ValueError(f"a metric must have a {name} ({kind.__name__}), {target} has {value!r}: {remedy}")
    number, share = callable(metric), hasattr(metric, "correct")
    if number == share:
        raise ValueError(
            f"a metric must be either a number, by __call__, or the share of right inputs, by correct, {target} has "
            f"{'both' if number else 'neither'}: leave one"
        )
    found = cast(Metric, metric)
    if share and (not found.higher_is_better or found.unit != FRACTION):
        raise ValueError(
            f"a share of right inputs must be a {FRACTION} of which more is better, but {target} says "
            f"{scale_of(found).words}: correct it"
        )
    return found
