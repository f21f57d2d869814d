"""Several chips at once, in one pass or concurrently, and the handling of passes that fail."""

from __future__ import annotations

import logging
import math
import queue
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rramsweep.errors import no_exit
from rramsweep.network.numerics import fixed_arithmetic
from rramsweep.network.parallel import workers
from rramsweep.simulation.trial import Bench, facts, failure, outputs, run_trial, score

log = logging.getLogger(__name__)

# Columns of a row that are times.
SECONDS = ("seconds", "calibration.seconds")

# Number of chips that are run to time one, and smallest total time in seconds.
TIMED, TIMED_S = 3, 0.05

Trial = tuple[dict[str, Any], Tensor | None]


def run_trials(bench: Bench, seeds: Sequence[int]) -> Iterator[Trial]:
    """Run the chip of each seed, in order; several at a time if the bench's execution says so.

    Chips in flight give exactly the rows of chips run one after the other on as many threads. Those of a shared pass
    agree to rounding, because it multiplies in another order; networks with read noise or a calibration are never run
    so. A pass that does not fit into memory is halved, and so are later ones. If a pass fails otherwise, each of its
    chips is run alone, so that only chips that fail by themselves have failed rows.
    """
    if bench.others:
        yield from _in_flight(bench, seeds)
        return
    chips = 1 if bench.network.reads or bench.network.calibrates else bench.execution.chips_per_pass
    left = list(seeds)
    while left:
        group = left[:chips]
        if len(group) == 1:
            yield run_trial(bench, group[0])
        else:
            try:
                done = _pass(bench, group)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()  # without effect on a CPU
                chips = len(group) // 2
                log.warning("%d chips in one pass do not fit into memory: going on with %d", len(group), chips)
                continue
            except Exception as error:  # a user's effect or metric may raise anything for one chip of many
                log.warning("a pass of %d chips failed (%s): each is run alone", len(group), failure(error)["error"])
                done = (run_trial(bench, seed) for seed in group)
            yield from done
        left = left[len(group) :]


def seconds_a_chip(bench: Bench) -> float:
    """Seconds that a chip takes from programming to its row, measured on a few of a point's chips; nothing is stored.

    The first call for a bench takes longer, because it fills caches that later ones use.
    """
    execution, before = bench.execution, torch.get_num_threads()
    chips = max(TIMED, execution.chips_per_pass, 2 * execution.chips_in_flight)

    def timed(chips: int) -> float:
        started = time.perf_counter()
        deque(run_trials(bench, range(chips)), maxlen=0)
        return (time.perf_counter() - started) / chips

    try:
        execution.use_threads()
        seconds = timed(chips)
        return timed(math.ceil(TIMED_S / seconds)) if chips * seconds < TIMED_S else seconds
    finally:
        torch.set_num_threads(before)


def _in_flight(bench: Bench, seeds: Sequence[int]) -> Iterator[Trial]:
    chips = 1 + len(bench.others)
    idle: queue.SimpleQueue[Bench] = queue.SimpleQueue()
    for network in (bench.network, *bench.others):
        idle.put(replace(bench, network=network))

    def run(seed: int) -> Trial:
        own = idle.get()
        try:
            row, correct = run_trial(own, seed)
        finally:
            idle.put(own)
        # Chips run concurrently, so each counts with its share of the elapsed time.
        return {**row, **{name: row[name] / chips for name in SECONDS if name in row}}, correct

    running: deque[Future[Trial]] = deque()
    with workers(chips, bench.execution.threads_per_chip) as pool:
        try:
            for seed in seeds:
                running.append(pool.submit(run, seed))
                if len(running) > 2 * chips:  # enough queued chips that no thread is idle
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for each in running:
                each.cancel()


@fixed_arithmetic()
def _pass(bench: Bench, seeds: Sequence[int]) -> Iterator[Trial]:
    started = time.perf_counter()
    network = bench.network
    with no_exit("an effect of the chip"):
        chips = network.chips(seeds)
    answers = outputs(chips, bench.batches, network.accelerator, inputs=1)
    scored = [score(chip, bench.targets, bench.metric) for chip in answers]
    seconds = (time.perf_counter() - started) / len(seeds)
    return iter(
        [
            ({"point_id": bench.point_id, "seed": seed, **facts(bench, chip), "seconds": seconds}, chip.correct)
            for seed, chip in zip(seeds, scored, strict=True)
        ]
    )
