"""Chips in passes: as many at once as the execution says, and what to do where a pass does not succeed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from rramsweep.trial import Bench, facts, failure, outputs, run_trial, score

log = logging.getLogger(__name__)

Trial = tuple[dict[str, Any], Tensor | None]


def run_trials(bench: Bench, seeds: Sequence[int]) -> Iterator[Trial]:
    """`run_trial` of each seed in turn, several in one pass where the bench's execution says so.

    The rows are those of one chip after the other, but for rounding: a pass multiplies in another order. Networks with
    read noise run one chip at a time. A pass that does not fit into memory is halved, and so are the later ones; of one
    that fails otherwise each chip is run alone, so that only those that fail by themselves have failed rows.
    """
    chips = 1 if bench.network.reads else bench.execution.chips_per_pass
    left = list(seeds)
    while left:
        some = left[:chips]
        if len(some) == 1:
            yield run_trial(bench, some[0])
        else:
            try:
                done = _pass(bench, some)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()  # nothing without a GPU
                chips = len(some) // 2
                log.warning("%d chips in one pass do not fit into memory: going on with %d", len(some), chips)
                continue
            except Exception as error:  # anything that one user's effect or metric raises for one chip of many
                log.warning("a pass of %d chips failed (%s): each is run alone", len(some), failure(error)["error"])
                done = (run_trial(bench, seed) for seed in some)
            yield from done
        left = left[len(some) :]


def _pass(bench: Bench, seeds: Sequence[int]) -> Iterator[Trial]:
    started = time.perf_counter()
    network = bench.network
    answers = outputs(network.chips(seeds), bench.batches, network.accelerator, inputs=1)
    scored = [score(chip, bench.targets, bench.metric) for chip in answers]
    seconds = (time.perf_counter() - started) / len(seeds)
    return iter(
        [
            ({"point_id": bench.point_id, "seed": seed, **facts(bench, chip), "seconds": seconds}, chip.correct)
            for seed, chip in zip(seeds, scored, strict=True)
        ]
    )
