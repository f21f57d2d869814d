"""CPU seconds of the tables' own work at a size of many sweeps. Prints what it measured; asserts no time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from rramsweep import compare, summarize
from rramsweep.analysis.anytime import betting_interval
from rramsweep.analysis.frames import join
from rramsweep.analysis.schema import FACTS
from tests.analysis.test_comparison import DRIFT
from tests.analysis.test_frames import ok, point
from tests.analysis.test_summary_statistics import with_images

POINTS, CHIPS = 10_000, 10


def timed(name: str, work: Callable[[], Any]) -> Any:
    start = time.process_time()
    result = work()
    print(f"{name}: {time.process_time() - start:.2f} s of CPU")
    return result


def test_tables_of_10_000_points():
    ids = [f"{i:020x}" for i in range(POINTS)]
    row = ok("", 0, 800, images=1000, digital=800)
    columns = {name: pa.array([value] * (POINTS * CHIPS), FACTS[name]) for name, value in row.items()}
    columns |= {"point_id": pa.array(np.repeat(ids, CHIPS)), "seed": pa.array(np.tile(np.arange(CHIPS), POINTS))}
    points = [point(one, {"t_s": float(i // 10), DRIFT: i % 10 / 10}) for i, one in enumerate(ids)]
    print(f"\n{POINTS:,} points of {CHIPS} chips")
    frame: pd.DataFrame = timed("join", lambda: join(points, pa.table(columns), ["t_s", DRIFT]))
    with_images(frame, **{name: (CHIPS, str([10] * 800 + [0] * 200)) for name in ids})
    assert len(timed("summarize, with counts of 1,000 images as text", lambda: summarize(frame))) == POINTS
    assert len(timed("compare", lambda: compare(frame, {DRIFT: 0.0}))) == POINTS


def test_anytime_intervals_of_1_000_points():
    rng = np.random.default_rng(3)
    x = np.where(rng.random((1000, 500)) < 0.1, 0.1, 0.9)
    timed("\n1,000 points of 500 chips, betting interval", lambda: betting_interval(x))
