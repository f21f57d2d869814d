"""Settings of a fine-tuning: ranges, and seeds of chips that no sweep has."""

from __future__ import annotations

import math

import pytest

from rramsweep.limits import SEED_LIMIT
from rramsweep.training import FineTuning


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 0}, "finetune.epochs must be at least 1, got 0: give a larger integer"),
        ({"batch_size": -1}, "finetune.batch_size must be at least 1, got -1"),
        ({"chips": 0}, "finetune.chips must be at least 1, got 0"),
        ({"patience": 0}, "finetune.patience must be at least 1, got 0"),
        ({"epochs": 2.5}, "finetune.epochs must be an integer"),
        ({"seed": -1}, "finetune.seed must lie in 0..1048575, got -1"),
        ({"seed": 2**20}, "finetune.seed must lie in 0..1048575, got 1048576"),
        ({"lr": 0.0}, "finetune.lr must lie above 0 and up to 1, got 0.0: 0.001 is common for AdamW"),
        ({"lr": 1e30}, r"finetune.lr must lie above 0 and up to 1, got 1e\+30"),
        ({"lr": math.nan}, "finetune.lr must lie above 0 and up to 1, got nan"),
        ({"temperature": math.inf}, "finetune.temperature must be finite and above 0, got inf"),
        ({"weight_decay": -0.1}, "finetune.weight_decay must be finite and at least 0, got -0.1"),
        ({"output_noise": -0.1}, "finetune.output_noise must be finite and at least 0, got -0.1"),
        ({"distillation": 1.1}, r"finetune.distillation must lie in 0..1, got 1.1"),
        ({"held_out": 0.0}, "finetune.held_out must lie above 0 and below 1, got 0.0: 0.2 holds out one input in five"),
        ({"held_out": 1.0}, "finetune.held_out must lie above 0 and below 1, got 1.0"),
        ({"clip_sigma": 0.9}, "finetune.clip_sigma must be finite and at least 1, got 0.9: 2.5 to 4 are common"),
        ({"clip_percentile": 49.0}, r"finetune.clip_percentile must lie in 50..100, got 49.0: 99.5 clips one in 200"),
        ({"clip_percentile": 100.5}, r"finetune.clip_percentile must lie in 50..100, got 100.5"),
        ({"noise": "off"}, "finetune.noise must be one of chips, gaussian, none, got 'off': pick one"),
        ({"clip": "max"}, "finetune.clip must be one of none, sigma, percentile, got 'max': pick one"),
        ({"schedule": "step"}, "finetune.schedule must be one of cosine, constant, got 'step': pick one"),
        ({"noise": "none", "output_noise": 0.1}, "finetune.output_noise must be 0 for noise=none, got 0.1"),
    ],
    ids=str,
)
def test_refuses(given, message):
    with pytest.raises(ValueError, match=f"^{message}") as error:
        FineTuning(**given)
    assert "\n" not in str(error.value)


def test_chips_are_apart_from_each_other_and_from_those_of_sweeps():
    runs = [FineTuning(seed=seed, chips=1000) for seed in (0, 1, 2**20 - 1)]
    trained = {run.trained_chip(step) for run in runs for step in range(1000)}
    stopped = {seed for run in runs for seed in run.stopped_chips}
    assert len(trained) == len(stopped) == 3000
    assert not trained & stopped
    assert min(trained | stopped) > 10**18
    assert max(trained | stopped) < SEED_LIMIT


def test_cosine_falls_from_lr_to_zero_and_constant_stays():
    cosine, constant = FineTuning(lr=0.1), FineTuning(lr=0.1, schedule="constant")
    assert [cosine.rate(step, 4) for step in range(5)] == pytest.approx(
        [0.1, 0.1 * (1 + math.sqrt(0.5)) / 2, 0.05, 0.1 * (1 - math.sqrt(0.5)) / 2, 0.0]
    )
    assert {constant.rate(step, 4) for step in range(5)} == {0.1}
