"""Metrics against closed forms and numbers worked out by hand; their identity; what one answer becomes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
import yaml
from scipy.special import log_softmax

from rramsweep.cli.catalog import conf_dir
from rramsweep.construct import build
from rramsweep.metrics.scoring import (
    Agreement,
    CosineSimilarity,
    CrossEntropy,
    MeanSquaredError,
    Perplexity,
    Top1,
    Top5,
    against,
    checked,
    compares,
    identity,
    scale_of,
)
from rramsweep.scale import Scale, drop_for
from rramsweep.simulation.components import KINDS
from rramsweep.simulation.trial import score

METRICS = [Top1(), Top5(), CrossEntropy(), Perplexity(), MeanSquaredError(), Agreement(), CosineSimilarity()]


def logits(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def labels(*shape, classes, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).integers(classes, size=shape))


# -- values


def test_top1_by_hand():
    outputs = torch.tensor([[0.1, 0.9, 0.0], [0.5, 0.4, 0.3], [1.0, 1.0, 0.0], [0.0, 2.0, 2.0]])
    targets = torch.tensor([1, 2, 0, 2])
    assert Top1().correct(outputs, targets).tolist() == [True, False, True, False]  # equal logits: the first
    assert score(outputs, targets, Top1()).score == 0.5


def test_top5_is_the_first_five_of_a_stable_sort():
    outputs, targets = (logits(500, 12) * 2).round() / 2, labels(500, classes=12)  # half of all logits have an equal
    best = np.argsort(-outputs.numpy(), axis=1, kind="stable")[:, :5]
    right = (best == targets.numpy()[:, None]).any(axis=1)
    assert Top5().correct(outputs, targets).tolist() == right.tolist()
    assert score(outputs, targets, Top5()).score == right.mean()
    best1 = np.argsort(-outputs.numpy(), axis=1, kind="stable")[:, 0]
    assert Top1().correct(outputs, targets).tolist() == (best1 == targets.numpy()).tolist()


def test_a_dead_chip_is_right_by_chance():
    targets = torch.arange(1000) % 10
    assert score(torch.zeros(1000, 10), targets, Top1()).score == 0.1
    assert score(torch.zeros(1000, 10), targets, Top5()).score == 0.5


@pytest.mark.parametrize("shape", [(40,), (10, 7)])
def test_cross_entropy_and_perplexity_in_closed_form(shape):
    outputs, targets = logits(*shape, 6), labels(*shape, classes=6)
    log_p = log_softmax(outputs.numpy().astype(np.float64), axis=-1)
    expected = -np.take_along_axis(log_p, targets.numpy()[..., None], axis=-1).mean()
    assert CrossEntropy()(outputs, targets) == pytest.approx(expected, rel=1e-6)
    assert Perplexity()(outputs, targets) == pytest.approx(math.exp(expected), rel=1e-6)


def test_a_network_that_knows_nothing_is_as_perplexed_as_there_are_tokens():
    outputs, targets = torch.zeros(5, 8, 50), labels(5, 8, classes=50)
    assert CrossEntropy()(outputs, targets) == pytest.approx(math.log(50), rel=1e-6)
    assert Perplexity()(outputs, targets) == pytest.approx(50, rel=1e-5)


@pytest.mark.parametrize("shape", [(30,), (30, 3), (30, 4, 2)])
def test_mean_squared_error_in_closed_form(shape):
    outputs, targets = logits(*shape), logits(*shape, seed=2)
    expected = ((outputs.numpy().astype(np.float64) - targets.numpy()) ** 2).mean()
    assert MeanSquaredError()(outputs, targets) == pytest.approx(expected, rel=1e-12)
    assert MeanSquaredError()(targets, targets) == 0


def test_mean_squared_error_does_not_broadcast():
    with pytest.raises(ValueError, match=r"outputs of y's shape, got \(4, 1\) for \(4,\): reshape y"):
        MeanSquaredError()(torch.zeros(4, 1), torch.zeros(4))


@pytest.mark.parametrize("metric", [Top1(), Top5()])
@pytest.mark.parametrize(
    ("outputs", "targets", "message"),
    [
        (torch.zeros(3, 10), torch.zeros(3), "must have integer labels as targets, got y of torch.float32"),
        (torch.zeros(3, 2, 10), torch.zeros(3, 2, dtype=torch.int64), r"one label an input, got y of shape \(3, 2\)"),
        (
            torch.zeros(3, 9),
            torch.tensor([0, 1, 9]),
            r"\(N, classes >= 10\) logits for labels up to 9, got",
        ),
        (torch.zeros(3), torch.tensor([0, 1, 9]), r"logits for labels up to 9, got shape \(3,\)"),
        (
            torch.zeros(3, 10),
            torch.tensor([1, 2, 10]),
            r"up to 10, got shape \(3, 10\): if the labels begin at 1, save y",
        ),
        (torch.zeros(3, 9), torch.tensor([0, 2, 10]), r"got shape \(3, 9\): choose a network trained for these"),
        (torch.zeros(3, 10, 4), torch.tensor([0, 1, 9]), r"got shape \(3, 10, 4\)"),
        (torch.zeros(2, 10), torch.tensor([0, 1, 9]), r"got shape \(2, 10\)"),
    ],
)
def test_accuracies_refuse_what_they_cannot_count(metric, outputs, targets, message):
    with pytest.raises(ValueError, match=message) as caught:
        metric.correct(outputs, targets)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("metric", [CrossEntropy(), Perplexity()])
@pytest.mark.parametrize(
    ("outputs", "targets", "message"),
    [
        (torch.zeros(3, 10), torch.zeros(3, 10), "integer labels as targets"),
        (torch.zeros(3, 10, 7), torch.zeros(3, 7, dtype=torch.int64), r"\(N, 7, classes >= 1\) logits"),
        (torch.zeros(3, 7, 4), torch.full((3, 7), 4), r"\(N, 7, classes >= 5\) logits for labels up to 4, got shape"),
    ],
)
def test_losses_refuse_what_is_no_row_of_logits_a_label(metric, outputs, targets, message):
    with pytest.raises(ValueError, match=message):
        metric(outputs, targets)


# -- what a metric is


def test_the_options_are_the_metrics_with_unit_and_direction():
    found = {}
    for path in (conf_dir() / "metric").glob("*.yaml"):
        if path.stem != "custom":
            metric = checked(build(yaml.safe_load(path.read_text()), "metric", KINDS["metric"]), path.stem)
            found[path.stem] = (scale_of(metric).label, metric.unit, metric.higher_is_better)
    assert found == {
        "top1": ("top-1 accuracy (%)", "fraction", True),
        "top5": ("top-5 accuracy (%)", "fraction", True),
        "cross_entropy": ("cross-entropy (nat)", "nat", False),
        "perplexity": ("perplexity", "", False),
        "mse": ("mean squared error (target²)", "target^2", False),
        "agreement": ("agreement with the digital class (%)", "fraction", True),
        "cosine": ("cosine similarity to the digital output", "", True),
    }


@pytest.mark.parametrize(("of", "unit"), [("K", "K^2"), ("m/s", "(m/s)^2"), ("", "")])
def test_a_squared_error_has_the_square_of_the_targets_unit(of, unit):
    assert MeanSquaredError(of).unit == unit


def test_identity_says_all_that_tells_metrics_apart():
    assert identity(Top1()) == "top-1 accuracy v1"  # what points were called before there was another metric
    lines = [identity(metric) for metric in (*METRICS, MeanSquaredError("K"), Mine(), Mine(2.0), Flipped(), Other())]
    assert len(set(lines)) == len(lines)
    assert all("\n" not in line for line in lines)
    assert identity(MeanSquaredError("K")) == (
        "mean squared error v1, K^2, lower is better, MeanSquaredError v1(target_unit='K')"
    )


@dataclass(frozen=True)
class Mine:
    order: float = 1.0
    version: ClassVar[int] = 1
    name: ClassVar[str] = "mine"
    unit: ClassVar[str] = "m"
    higher_is_better: ClassVar[bool] = False

    def __call__(self, outputs, targets):
        return (outputs - targets).abs().pow(self.order).mean()


@dataclass(frozen=True)
class Flipped(Mine):
    higher_is_better: ClassVar[bool] = True


@dataclass(frozen=True)
class Other(Mine):
    version: ClassVar[int] = 2


# -- what one answer becomes


def test_an_answer_of_classes_has_everything():
    outputs, targets = logits(20, 7), labels(20, classes=7)
    for metric in (Top1(), Top5()):
        answers = score(outputs, targets, metric)
        assert answers.score == int(metric.correct(outputs, targets).sum()) / 20
        assert torch.equal(answers.predictions, outputs.argmax(1))
        assert answers.loss == CrossEntropy()(outputs, targets)


def test_a_loss_counts_nothing_and_numbers_are_no_classes():
    outputs, targets = logits(20, 4, 7), labels(20, 4, classes=7)
    answers = score(outputs, targets, Perplexity())
    assert answers.correct is None
    assert answers.predictions.shape == (20, 4)
    assert answers.score == pytest.approx(math.exp(answers.loss))
    answers = score(logits(20, 3), logits(20, 3, seed=5), MeanSquaredError())
    assert (answers.correct, answers.predictions, answers.loss) == (None, None, None)


def test_a_score_may_be_a_tensor_of_one_number():
    answers = score(torch.ones(4, 2), torch.zeros(4, 2), Mine())
    assert answers.score == 1.0
    assert type(answers.score) is float


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_outputs_that_are_no_numbers_are_refused(bad):
    for metric, targets in ((MeanSquaredError(), torch.zeros(4, 3)), (Top1(), torch.zeros(4, dtype=torch.int64))):
        outputs = torch.zeros(4, 3)
        outputs[2, 1] = bad
        with pytest.raises(ValueError, match="outputs must be finite"):
            score(outputs, targets, metric)


def test_a_perplexity_beyond_all_numbers_is_refused():
    outputs = torch.zeros(4, 3)
    outputs[:, 0] = 1e4
    with pytest.raises(ValueError, match="perplexity must score the answers, but raised OverflowError"):
        score(outputs, torch.ones(4, dtype=torch.int64), Perplexity())


# -- scores in words


def test_scores_are_written_in_percent_or_in_their_unit():
    percent, nat, bare = Scale("a", "fraction", True), Scale("l", "nat", False), Scale("p", "", False)
    assert [scale.text(0.12345) for scale in (percent, nat, bare)] == ["12.35 %", "0.1235 nat", "0.1235"]
    assert [scale.number(0.12) for scale in (percent, nat)] == ["12.00", "0.1200"]
    assert [scale.number(math.nan) for scale in (percent, nat)] == ["-", "-"]
    assert Scale.of(percent.columns) == percent


def test_a_square_is_written_as_one_and_a_mean_of_means_says_mean_once():
    error = Scale("mean squared error", "(m/s)^2", False)
    assert (error.label, error.distance) == ("mean squared error ((m/s)²)", "(m/s)²")
    assert error.text(0.25) == "0.2500 (m/s)²"
    assert error.mean_name == "mean squared error, over chips"
    assert Scale("perplexity", "", False).mean_name == "mean perplexity"


def test_a_drop_is_a_distance_in_one_unit():
    percent, nat, other = Scale("a", "fraction", True), Scale("l", "nat", False), Scale("p", "", False)
    assert drop_for([percent], None) == drop_for([], None) == 0.02
    assert drop_for([nat], None) is drop_for([percent, nat], None) is None
    assert drop_for([nat], 3.0) == 3.0
    assert drop_for([nat, Scale("k", "nat", False)], 3.0) == 3.0
    for metrics, drop, message in (
        ([percent], 2.0, "0..1"),
        ([percent], math.nan, "0..1"),
        ([nat], -1.0, "finite number >= 0"),
        ([other], math.nan, "finite number >= 0"),
        ([percent, nat], 0.1, r"unit of one metric, got 0.1 for a \(%\), l \(nat\)"),
    ):
        with pytest.raises(ValueError, match=message):
            drop_for(metrics, drop)


# -- ignored labels, and the digital network as the reference


def ignoring(targets, share=0.3):
    """Labels of which some are not scored, and which are."""
    kept = torch.rand(targets.shape, generator=torch.Generator().manual_seed(4)) > share
    return targets.masked_fill(~kept, -100), kept


@pytest.mark.parametrize("metric", [CrossEntropy(), Perplexity()])
@pytest.mark.parametrize("shape", [(40,), (10, 7), (6, 3, 2)])
def test_ignored_labels_are_left_out_of_the_mean(metric, shape):
    outputs, whole = logits(*shape, 6), labels(*shape, classes=6)
    targets, kept = ignoring(whole)
    assert 0 < int(kept.sum()) < kept.numel()
    assert metric(outputs, targets) == metric(outputs[kept], whole[kept])
    expected = torch.nn.functional.cross_entropy(outputs.movedim(-1, 1), targets, ignore_index=-100)
    assert CrossEntropy()(outputs, targets) == pytest.approx(float(expected), rel=1e-6)
    answers = score(outputs, targets, metric)
    assert answers.loss == pytest.approx(float(expected), rel=1e-6)
    assert torch.equal(answers.predictions, outputs.argmax(-1)[kept])


def test_masked_classes_of_ignored_labels_do_not_count():
    outputs = torch.tensor([[[0.0, -math.inf, 1.0], [2.0, 1.0, 0.0]]])
    assert score(outputs, torch.tensor([[-100, 0]]), CrossEntropy()).score == pytest.approx(0.4076, abs=1e-4)
    with pytest.raises(ValueError, match=r"masked .*as that of 1 of 2 labels"):
        score(outputs, torch.tensor([[1, -100]]), CrossEntropy())


@pytest.mark.parametrize("metric", [Top1(), Top5()])
def test_an_input_without_a_label_is_neither_right_nor_wrong(metric):
    with pytest.raises(ValueError, match=r"must have a label for each input, got 2 of 3 labels that are to be ignored"):
        score(torch.zeros(3, 10), torch.tensor([-100, 4, -100]), metric)


@pytest.mark.parametrize(("shape", "several"), [((40,), False), ((10, 7), True)])
def test_agreement_is_the_share_of_equal_classes(shape, several):
    digital, outputs = logits(*shape, 6), logits(*shape, 6, seed=5)
    equal = (digital.argmax(-1) == outputs.argmax(-1)).double()
    metric = against(Agreement(), digital)
    assert score(outputs, labels(*shape, classes=6), metric).score == float(equal.mean())
    assert score(digital, labels(*shape, classes=6), Agreement()).score == 1.0
    targets, kept = ignoring(labels(*shape, classes=6))
    assert score(outputs, targets, metric).score == pytest.approx(float(equal[kept].mean()), rel=1e-12)
    beside = torch.zeros(shape[0], 3)  # what is no label of a prediction plays no part
    assert score(outputs, beside, metric).score == float(equal.mean())
    assert score(outputs, beside, metric).correct is None


@pytest.mark.parametrize("shape", [(9, 5), (4, 3, 5)])
def test_cosine_similarity_in_closed_form(shape):
    digital, outputs = logits(*shape), logits(*shape, seed=3)
    a, b = digital.numpy().astype(np.float64), outputs.numpy().astype(np.float64)
    cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    metric = against(CosineSimilarity(), digital)
    nothing = torch.zeros(shape[0])
    assert metric(outputs, nothing) == pytest.approx(cosine.mean(), rel=1e-12)
    assert metric(3 * digital, nothing) == pytest.approx(1, rel=1e-6)
    assert metric(-digital, nothing) == pytest.approx(-1, rel=1e-6)
    assert CosineSimilarity()(outputs, nothing) == pytest.approx(1, rel=1e-12)
    turned = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert against(CosineSimilarity(), turned)(turned.flip(1), torch.zeros(2)) == 0
    assert metric(torch.zeros(shape), nothing) == 0, "a dead chip points nowhere"


@pytest.mark.parametrize("metric", [Agreement(), CosineSimilarity()])
def test_metrics_against_the_digital_network_compare_like_with_like(metric):
    filled = against(metric, torch.zeros(4, 3))
    assert metric.digital is None, "the metric of a config is not changed"
    assert filled == metric
    assert identity(filled) == identity(metric)
    assert compares(metric)
    assert not compares(Top1())
    with pytest.raises(
        ValueError, match=r"digital network's shape, \(4, 3\), got \(4, 2\): correct the network's forw"
    ):
        filled(torch.zeros(4, 2), torch.zeros(4))
    with pytest.raises(ValueError, match=rf"{metric.name} must have .*, got outputs of shape \(4,\): choose metric="):
        metric(torch.zeros(4), torch.zeros(4))


def test_the_identity_of_metrics_against_the_digital_network_is_frozen():
    assert identity(Agreement()) == ("agreement with the digital class v1, fraction, higher is better, Agreement v1()")
    assert identity(CosineSimilarity()) == (
        "cosine similarity to the digital output v1, no unit, higher is better, CosineSimilarity v1()"
    )
