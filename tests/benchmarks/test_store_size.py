"""Bytes a row and time to load of 100,000 trials, as a sweep leaves them. Prints what it measured; asserts no time.

The rows go through the code of a sweep, `run_shard`, with trials made up on the spot and a clock that runs at the speed
of LeNet-5 on one core: the fragments are those that such a sweep flushes every two seconds in its hour and a half.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from rramsweep.analysis.schema import FACTS
from rramsweep.identity import digest
from rramsweep.simulation import shard
from rramsweep.study.plan import Plan, Point
from rramsweep.study.settings import Settings
from rramsweep.study.stopping import Fixed
from rramsweep.study.store import Store

TRIALS, N_IMAGES = 100_000, 1000
CHIPS_PER_S = 18.0


class Clock:
    """In the place of the module `time`: moves with each trial."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


def made_up(clock: Clock, chips_per_s: float):
    """In the place of `run_trials`: numbers as scattered as real ones, since what repeats would compress."""
    rng = np.random.default_rng(0)
    right = torch.from_numpy(rng.beta(2.0, 0.5, N_IMAGES))
    digital = right > 0.4
    generator = torch.Generator().manual_seed(0)

    def run_trial(point_id: str, seed: int):
        clock.now += 1 / chips_per_s
        correct = torch.rand(N_IMAGES, generator=generator) < right
        n_correct = int(correct.sum())
        row = dict.fromkeys(FACTS)
        row |= {"point_id": point_id, "seed": seed, "status": "ok", "n_images": N_IMAGES, "n_correct": n_correct}
        row |= {"n_lost": int((digital & ~correct).sum()), "n_gained": int((~digital & correct).sum())}
        row |= {"accuracy": n_correct / N_IMAGES, "digital_accuracy": int(digital.sum()) / N_IMAGES}
        row |= {"ideal_accuracy": 0.882, "agreement": int(rng.integers(500, 1000)) / N_IMAGES}
        row |= {"loss": float(rng.normal(1, 0.1)), "seconds": float(rng.normal(0.055, 0.003))}
        return row, correct

    return run_trial


class Bench:
    """In the place of the workbench: a point is its name."""

    def bench(self, point: Point) -> str:
        return point.point_id


@pytest.mark.parametrize("points", [100, 2000])
def test_a_hundred_thousand_trials(tmp_path, monkeypatch, points):
    clock = Clock()
    monkeypatch.setattr(shard, "time", clock)
    trial = made_up(clock, CHIPS_PER_S)
    monkeypatch.setattr(shard, "run_trials", lambda point_id, seeds: (trial(point_id, seed) for seed in seeds))
    text = "rramsweep point, scheme 1\n" + "a line of an effect with its parameters, a=0.1, b=0.2\n" * 12
    texts = [f"{text}{i}" for i in range(points)]
    plan = Plan(
        [Point(digest(t), t, {}, {}, {}) for t in texts],
        [range(TRIALS // points)] * points,
        settings=Settings(stopping=Fixed()),
    )
    store = Store(tmp_path / "store")
    store.prepare()
    shard.run_shard(shard.Work(plan, store), store, Bench())
    print(f"\n{TRIALS} trials of {points} points, {N_IMAGES} images:")
    report(store, "as flushed")
    store.tidy()
    report(store, "after the compaction that ends every sweep")


def report(store: Store, when: str) -> None:
    started = time.perf_counter()
    assert Store(store.root).facts().num_rows == TRIALS
    loading = time.perf_counter() - started
    size = store.size()
    parts = {
        kind: sum(p.stat().st_size for p in store.root.glob(f"{kind}-*")) for kind in ("facts", "images", "points")
    }
    each = ", ".join(f"{kind} {n / TRIALS:.1f}" for kind, n in parts.items())
    print(
        f"  {when}: {size['fragments']} fragments, {size['bytes'] / TRIALS:.1f} bytes a row ({each}); "
        f"loads in {loading:.2f} s"
    )
