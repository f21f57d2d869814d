"""Anytime intervals of the chips of groups: which groups have one, in the order of their seeds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from rramsweep.intervals import ANYTIME, Codes, Floats, T, betting_interval, betting_p_value

# Why a group has no interval, in the place of its kind.
ALONE = "absent: one chip"
FAILED, MISSING = "absent: a chip failed", "absent: a seed is missing"
EMPTY = "absent: the chips are no draws of one law"


def t_kinds(n: Codes) -> npt.NDArray[Any]:
    """Kind of interval of each group, `t`, or why it has none; None without a chip."""
    kinds = np.where(n > 1, T, ALONE).astype(object)
    kinds[n == 0] = None
    return kinds


def anytime_interval(
    values: Floats, seed: Codes, group: Codes, failed: Codes, least: float, most: float
) -> dict[str, npt.NDArray[Any]]:
    """Ends of each group's `intervals.betting_interval`, its p-value of a mean of 0, and its kind or why it has none.

    The order is that of the seeds, fixed before any chip is run. A group is left out where a chip failed, for that may
    depend on what it would have scored, and where a seed between its first and last is missing, as after failed rows
    were dropped.

    Args:
        values: of the finished chips, each between ``least`` and ``most``.
        seed: of each.
        group: number of each one's group.
        failed: failed chips of each group.
        least: the smallest value there can be.
        most: the largest.

    Returns:
        ``low``, ``high``, ``p_value`` and ``interval``.

    Raises:
        ValidationError: a value outside of its range.
    """
    n = np.bincount(group, minlength=len(failed))
    low, high, p_value = (np.full(len(n), np.nan) for _ in range(3))
    kind = np.where(failed > 0, FAILED, ANYTIME).astype(object)
    order = np.lexsort((seed, group))
    first, last = _ends(seed[order], n)
    kind[(kind == ANYTIME) & (last - first + 1 != n)] = MISSING
    scaled = (values[order] - least) / (most - least)
    for rows, sequences in _by_size(scaled, n, kind == ANYTIME):
        low[rows], high[rows] = (least + (most - least) * end for end in betting_interval(sequences))
        p_value[rows] = betting_p_value(sequences, -least / (most - least)) if least < 0 < most else np.nan
    empty = low > high
    low[empty], high[empty], kind[empty] = np.nan, np.nan, EMPTY
    return {"low": low, "high": high, "p_value": p_value, "interval": kind}


def _ends(seed: Codes, n: Codes) -> tuple[Codes, Codes]:
    """First and last seed of each group, 0 where it has none, of seeds in order."""
    stop = np.cumsum(n)
    seed = np.append(seed, 0)
    return np.where(n > 0, seed[stop - n], 0), np.where(n > 0, seed[stop - 1], 0)


def _by_size(values: Floats, n: Codes, chosen: npt.NDArray[np.bool_]) -> Iterator[tuple[Codes, Floats]]:
    """Groups of one size at a time, and their values as a matrix: nothing is padded."""
    start = np.cumsum(n) - n
    for size in np.unique(n[chosen]):
        rows = np.flatnonzero(chosen & (n == size))
        yield rows, values[start[rows][:, None] + np.arange(size)]
