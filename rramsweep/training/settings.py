"""Settings of a fine-tuning: plain numbers, checked, without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rramsweep.arguments import check_fields
from rramsweep.errors import ValidationError, one_of

NOISES = ("chips", "gaussian", "none")
CLIPS = ("none", "sigma", "percentile")
SCHEDULES = ("cosine", "constant")
STATISTICS = ("chips", "digital")

# A run with seed s trains on chips from TRAINED_CHIPS + s 2^40 on and scores those from STOPPED_CHIPS + s 2^40 on. No
# run has 2^40 steps, and a sweep's chips lie below both unless its own seed is set above 10^18.
TRAINED_CHIPS, STOPPED_CHIPS, RUN = 2**62, 2**61, 2**40
MOST_SEEDS = 2**20


@dataclass(frozen=True)
class FineTuning:
    """Settings of a fine-tuning.

    Args:
        noise: `chips`, each step runs a new chip of the point; `gaussian`, each step adds to every weight on the array
            a normal error of the rms that the step's chip has in that layer; `none`, ordinary training, the control.
        epochs: passes over the training inputs, at least 1.
        batch_size: inputs per step, and thus per chip.
        lr: largest learning rate of AdamW, above 0 and up to 1.
        schedule: `cosine`, from `lr` to 0 over all steps; or `constant`.
        weight_decay: decoupled weight decay of AdamW: a weight shrinks by the fraction `lr weight_decay` each step.
        clip: weights on the array are confined after each step, layer by layer: `none`; `sigma`, to `clip_sigma`
            standard deviations; `percentile`, to the |W| that `clip_percentile` % of them do not exceed.
        clip_sigma: at least 1, read by `clip=sigma` alone.
        clip_percentile: 50..100, read by `clip=percentile` alone.
        output_noise: standard deviation of a normal error of every analog layer's output, as a fraction of the rms of
            that output in the batch; drawn for every number.
        batch_norm: statistics of the batch norms in the weights that are kept: `chips`, the running mean over the chips
            of the steps, for chips that are used as programmed; `digital`, those of the digital network over the
            training inputs, for chips that are calibrated to it; None is `digital` for a point with a calibration.
        distillation: weight of the teacher's part in the loss, 0..1; the teacher is the given digital network.
        temperature: of the softmax of teacher and student.
        held_out: share of the inputs that is never trained on and decides when to stop, above 0 and below 1.
        chips: chips, none of them trained on, whose mean score over the held-out inputs picks the best epoch.
        patience: epochs without improvement after which training ends; None runs all epochs.
        seed: seed of the order of inputs and of all chips, 0..2^20-1.

    Raises:
        ValidationError: an unknown word, or a number out of its range.
    """

    noise: str = "chips"
    epochs: int = 20
    batch_size: int = 64
    lr: float = 1e-3
    schedule: str = "cosine"
    weight_decay: float = 0.0
    clip: str = "sigma"
    clip_sigma: float = 2.5
    clip_percentile: float = 99.5
    output_noise: float = 0.0
    batch_norm: str | None = None
    distillation: float = 0.5
    temperature: float = 2.0
    held_out: float = 0.2
    chips: int = 8
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self, "finetune")
        words = {"noise": NOISES, "schedule": SCHEDULES, "clip": CLIPS}
        if self.batch_norm is not None:
            words["batch_norm"] = STATISTICS
        for name, known in words.items():
            try:
                one_of(name, getattr(self, name), known)
            except ValidationError as error:
                raise error.inside("finetune") from None
        for name in ("epochs", "batch_size", "chips", "patience"):
            value = getattr(self, name)
            self._check(name, value is None or value >= 1, "must be at least 1", "give a larger integer")
        self._check("seed", 0 <= self.seed < MOST_SEEDS, f"must lie in 0..{MOST_SEEDS - 1}", "0 is the default")
        self._check("lr", 0 < self.lr <= 1, "must lie above 0 and up to 1", "0.001 is common for AdamW")
        self._check("temperature", 0 < self.temperature < math.inf, "must be finite and above 0", "2 is the default")
        for name in ("weight_decay", "output_noise"):
            value = getattr(self, name)
            self._check(name, 0 <= value < math.inf, "must be finite and at least 0", "0 leaves it out")
        self._check("distillation", 0 <= self.distillation <= 1, "must lie in 0..1", "0 leaves the teacher out")
        self._check(
            "held_out", 0 < self.held_out < 1, "must lie above 0 and below 1", "0.2 holds out one input in five"
        )
        self._check(
            "clip_sigma", 1 <= self.clip_sigma < math.inf, "must be finite and at least 1", "2.5 to 4 are common"
        )
        self._check(
            "clip_percentile", 50 <= self.clip_percentile <= 100, "must lie in 50..100", "99.5 clips one in 200 weights"
        )
        if self.noise == "none":
            self._check("output_noise", self.output_noise == 0, "must be 0 for noise=none", "set finetune.noise=chips")

    def trained_chip(self, step: int) -> int:
        """Seed of the chip in a step."""
        return TRAINED_CHIPS + self.seed * RUN + step

    @property
    def stopped_chips(self) -> range:
        """Seeds of the chips that are scored after each epoch."""
        first = STOPPED_CHIPS + self.seed * RUN
        return range(first, first + self.chips)

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of step `step` out of `steps`."""
        return self.lr if self.schedule == "constant" else self.lr * (1 + math.cos(math.pi * step / steps)) / 2

    def _check(self, name: str, holds: bool, allowed: str, remedy: str) -> None:
        if not holds:
            raise ValidationError(allowed, remedy, value=getattr(self, name), parameter=name, slot="finetune")
