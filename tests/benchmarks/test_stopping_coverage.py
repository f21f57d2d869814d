"""How often `stopping=interval` at its default settings covers the true mean; prints the README's table.

Nominal 95 %. Metrics: normal; skewed (a chip loses a gamma-distributed share, skewness 2); few-valued (a chip loses
0, 1 or 2 of the images). The standard error of a cell of 20,000 sweeps is 0.2 points. At 0.26, between the last two
ratios, lies the worst case of the skewed metric: it is printed, and not asked to pass.
"""

from __future__ import annotations

import numpy as np
import pytest

from rramsweep.study.stopping import HALF_WIDTH, Interval

REPEATS = 20_000
RULE = Interval()
RATIOS = (0.1, 0.2, 0.4)  # half-width over sigma: about 410, 125 and 45 chips
WORST = 0.26


def normal(rng, n):
    return rng.standard_normal(n)


def skewed(rng, n):
    return 1 - rng.gamma(1.0, 1.0, n)


def few_valued(rng, n):
    loss = rng.choice([0.0, 1.0, 2.0], n, p=[0.6, 0.3, 0.1])
    return (0.5 - loss) / np.sqrt(0.45)


@pytest.mark.parametrize("metric", [normal, skewed, few_valued], ids=lambda f: f.__name__)
@pytest.mark.parametrize("ratio", [*RATIOS, WORST])
def test_coverage(metric, ratio):
    rng = np.random.default_rng(1)
    sigma = HALF_WIDTH / ratio
    covered, chips = 0, []
    for _ in range(REPEATS):
        x = 0.8 + sigma * metric(rng, RULE.max_chips)
        n, _ = RULE.decide(list(x), RULE.max_chips)
        # The claim is the interval that stands in the table: the t interval of the n chips that were kept.
        half = Interval.half_of(x[:n])
        covered += abs(x[:n].mean() - 0.8) <= half
        chips.append(n)
    share = covered / REPEATS
    print(f"\n| {metric.__name__} | {ratio} | {np.mean(chips):.0f} | {100 * share:.1f} |")
    assert share > 0.92 or ratio == WORST
