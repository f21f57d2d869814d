"""Bins the measured HfOx relaxation: `python -m tests.bin_relaxation DATA.npz` writes the table of notebook 05 again.

One statistic of all cells a row, with its place in `at`: `cells`, their number by first reading (`at`: lower edge of a
bin of 0.5 uS); `mean_uS` and `sd_uS` of the change until `t_s` (`at`: lower edge of a bin of 2.5 uS of the first
reading, the last one open); `beyond`, the share of cells that moved by more than `at` uS; `correlation` of the changes
until `t_s` and until the time `at`. The data are those of `fit_relaxation`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.fit_relaxation import PAIRS, TIMES_S, Array, read

TABLE = Path(__file__).parents[1] / "notebooks" / "data" / "relaxation_hfox_40uS_binned.csv"

NARROW_US, WIDE_US, BINS = 0.5, 2.5, 16

HEAD = (
    "# Binned by tests/bin_relaxation.py, which says what the columns are, from the readings of technology C (HfOx) of "
    "A. Levy,\n# RRAM-Relaxation-Master-Model. MIT licence, (c) 2021 Akash Levy: see LICENSE beside this file.\n"
    "quantity,at,t_s,value\n"
)


def rows(g_uS: Array, change_uS: Array) -> Iterator[tuple[str, float, float, float]]:
    """Quantity, place, time and value, from first readings (cells,) and changes (cells, times)."""
    places, counts = np.unique(g_uS // NARROW_US, return_counts=True)
    for place, count in zip(places, counts, strict=True):
        yield "cells", place * NARROW_US, 0.0, count
    where = np.minimum(g_uS // WIDE_US, BINS - 1)
    for j, t_s in enumerate(TIMES_S):
        change = change_uS[:, j]
        for k in range(BINS):
            yield "mean_uS", k * WIDE_US, t_s, change[where == k].mean()
            yield "sd_uS", k * WIDE_US, t_s, change[where == k].std()
        for distance in range(21):
            yield "beyond", distance, t_s, (np.abs(change) > distance).mean()
    for i, j in PAIRS:
        yield "correlation", TIMES_S[j], TIMES_S[i], np.corrcoef(change_uS[:, i], change_uS[:, j])[0, 1]


def text(g_uS: Array, change_uS: Array) -> str:
    """The table as CSV, values of five digits."""
    return HEAD + "".join(f"{q},{at:g},{t_s:g},{value:.5g}\n" for q, at, t_s, value in rows(g_uS, change_uS))


if __name__ == "__main__":
    TABLE.write_text(text(*read(Path(sys.argv[1]))), encoding="utf-8")
