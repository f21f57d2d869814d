"""Normal draws that form one trajectory over time: sums of named draws whose weights depend on time only.

The times at which a chip is read, and their order, have no influence: each draw has a name, and a time gives the weight
of each. The squared weights sum to the variance, so the law at every single time is exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

from torch import Tensor

from rramsweep.devices.streams import Stream

# Length of the blocks from which a Wiener process is built, and number of bisections of each.
BLOCK = 10.0
BISECTIONS = 5


def combine(rng: Stream, shape: Sequence[int], weights: Mapping[str, float]) -> Tensor:
    """`sum_k weights[k] xi_k` with `xi_k ~ N(0, 1)` from the child stream `k`, independent per cell; at least one."""
    (first, weight), *others = weights.items()
    total = rng.child(first).normal(shape).mul_(weight)
    for name, other in others:
        total.add_(rng.child(name).normal(shape), alpha=other)
    return total


@lru_cache(maxsize=256)
def wiener(s: float) -> Mapping[str, float]:
    """Weights of a Wiener process at `s`: Var = s, and increments over disjoint intervals are independent.

    Blocks of 10 are drawn one after the other and bisected five times by Brownian bridges (Levy's construction), down
    to cells of 0.3125; one more bridge draw, shared by the whole cell, leads to any point inside. The covariance of two
    points is therefore exactly min(s1, s2), unless they lie in the same cell, where it is larger by at most an eighth
    of the cell's width.

    Args:
        s: at least 0; 7 draws below 10, one more for each further 10.
    """
    block, rest = divmod(s, BLOCK)
    name = f"block {block:.0f}"
    start = {f"block {b}": math.sqrt(BLOCK) for b in range(int(block))}
    left, right, width = start, {**start, name: math.sqrt(BLOCK)}, BLOCK
    where = 0
    for level in range(1, BISECTIONS + 1):
        width /= 2
        middle = {**_between(left, right, 0.5), f"{name} level {level} draw {where}": math.sqrt(width / 2)}
        where = 2 * where + (rest >= width)
        if rest >= width:
            left, rest = middle, rest - width
        else:
            right = middle
    f = rest / width
    point = {**_between(left, right, f), f"{name} cell {where}": math.sqrt(f * (1 - f) * width)}
    return {draw: weight for draw, weight in point.items() if weight != 0}


def _between(left: Mapping[str, float], right: Mapping[str, float], f: float) -> dict[str, float]:
    return {k: (1 - f) * left.get(k, 0.0) + f * right.get(k, 0.0) for k in {**left, **right}}
