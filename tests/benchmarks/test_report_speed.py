"""CPU seconds, memory and bytes of `rramsweep report` on large sweeps. Prints what it measured; asserts no time.

The folders are made up: one composed point, its parameters varied, and scores drawn at random. What varies in a sweep
decides what is drawn of it, so 3,000 points come in several shapes. Seconds are of user and system together, beside
those of `import hydra` on the same machine in the same minute.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rramsweep.cli.planning import plan_of
from rramsweep.identity import digest
from rramsweep.study.facts import FACTS
from rramsweep.study.plan import Plan
from rramsweep.study.store import Store

DRIFT, PROGRAMMING, STUCK = "drift.relative_drift", "programming.alpha_ind", "faults.p_stuck_lrs"
N_IMAGES, BLOCK = 1000, 50  # chips of one pass, whose answers by image are kept together


def levels(n: int) -> list[float]:
    return [round(0.2 * i / n, 9) for i in range(n)]


def names(n: int) -> list[str]:
    return [f"option_{i}" for i in range(n)]


TIMES = [0.0, *np.logspace(0, 8, 59).round(3).tolist()]

# axes, chips a point
SWEEPS = {
    "250 points, 50 x 5": ({DRIFT: levels(50), PROGRAMMING: levels(5)}, 20),
    "250 points, one axis": ({DRIFT: levels(250)}, 20),
    "3,000 points, one axis": ({DRIFT: levels(3000)}, 10),
    "3,000 points, 60 x 50": ({DRIFT: levels(60), PROGRAMMING: levels(50)}, 10),
    "3,000 points, 1,500 x 2": ({DRIFT: levels(1500), PROGRAMMING: levels(2)}, 10),
    "3,000 points, 15 x 20 x 10": ({DRIFT: levels(15), PROGRAMMING: levels(20), STUCK: levels(10)}, 10),
    "3,000 points, 60 times x 50": ({"t_s": TIMES, DRIFT: levels(50)}, 10),
    "3,000 points, 3,000 names": ({"technology": names(3000)}, 10),
    "3,000 points, 50 names x 60": ({"technology": names(50), DRIFT: levels(60)}, 10),
    "3,000 points, 3,000 names x 1 chip": ({"technology": names(3000)}, 1),
    "200,000 rows of 2,001 points, 69 x 29": ({DRIFT: levels(69), PROGRAMMING: levels(29)}, 100),
    "200,000 rows of 2,001 points, one axis": ({DRIFT: levels(2001)}, 100),
}


def make(folder: Path, axes: dict[str, list[object]], chips: int) -> Path:
    """A sweep's folder and its store, as a sweep over these axes leaves them."""
    settings = [f"store={folder / 'store'}", f"chips={chips}"]
    template = plan_of(["model=digits_mlp", "data=digits", "technology=pyrram", *settings], "benchmark")[0]
    first = template.points[0]
    points = []
    for values in itertools.product(*axes.values()):
        labels = dict(zip(axes, values, strict=True))
        text = f"{first.text}\n{labels}"
        choices = {**first.choices, **{name: value for name, value in labels.items() if name in first.choices}}
        params = {**first.params, **{name: value for name, value in labels.items() if name not in first.choices}}
        points.append(replace(first, point_id=digest(text), text=text, choices=choices, params=params))
    plan = Plan(points, [range(chips)] * len(points), list(axes), template.settings)
    store = Store(folder / "store")
    store.prepare()
    rng = np.random.default_rng(0)
    rows, images = [], []
    for number, point in enumerate(points):
        quality = 0.95 - 0.3 * number / len(points)
        for start in range(0, chips, BLOCK):
            seeds = list(range(start, min(start + BLOCK, chips)))
            right = rng.random((len(seeds), N_IMAGES)) < quality
            images.append({"point_id": point.point_id, "seeds": seeds, "n_correct": right.sum(axis=0).tolist()})
            rows += [row(point.point_id, seed, int(n)) for seed, n in zip(seeds, right.sum(axis=1), strict=True)]
    store.add(rows, points, images)
    return plan.save(folder / "sweep").parent


def row(point_id: str, seed: int, right: int) -> dict[str, object]:
    digital, facts = 960, dict.fromkeys(FACTS.names)
    facts |= {"point_id": point_id, "seed": seed, "status": "ok", "n_images": N_IMAGES, "n_correct": right}
    facts |= {"n_lost": max(digital - right, 0), "n_gained": max(right - digital, 0), "chance_accuracy": 0.1}
    for score, accuracy, n in (("score", "accuracy", right), ("digital_score", "digital_accuracy", digital)):
        facts |= {score: n / N_IMAGES, accuracy: n / N_IMAGES}
    facts |= {"ideal_score": digital / N_IMAGES, "ideal_accuracy": digital / N_IMAGES, "agreement": 0.9, "loss": 0.5}
    way = {"batch_size": 350, "memory_format": "contiguous", "threads": 1, "accelerator": "cpu"}
    return facts | way | {"seconds": 0.01}


def measured(*command: str) -> tuple[float, float]:
    """CPU seconds and peak MB of a process of its own."""
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


@pytest.mark.parametrize("sweep", SWEEPS)
def test_report(tmp_path, sweep):
    folder = make(tmp_path, *SWEEPS[sweep])
    hydra = measured("-c", "import hydra")[0]
    seconds, megabytes = measured("-m", "rramsweep", "report", str(folder))
    page = (folder / "report.html").stat().st_size / 1e6
    print(f"\n{sweep}: {seconds:.1f} s CPU (import hydra {hydra:.2f} s), {megabytes:.0f} MB, page of {page:.1f} MB")
    for picture in sorted(folder.glob("*.png")):
        print(f"  {picture.name}: {picture.stat().st_size / 1e3:.0f} kB")
