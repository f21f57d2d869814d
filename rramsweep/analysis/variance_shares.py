"""Shares of the spread between chips, over chips *of this network on these images*: Jansen's estimators.

A chip's score is a function of independent groups of random draws (those of a stage, or of a layer). With f the score
of a chip and f' that of the same chip with some of its draws drawn again, half the mean square of ``f - f'`` is the
variance that these draws cause given all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd

from rramsweep.intervals import CONFIDENCE, Floats

STAGE, LAYER = "stage", "layer"

# Names of an estimate and of the ends of its interval.
FIRST_ORDER = ("first_order", "first_order_low", "first_order_high")
TOTAL = ("total", "low", "high")
INTERACTION = ("interaction", "interaction_low", "interaction_high")

# Bootstrap resamples of the chips, and the seed of their draw.
RESAMPLES, SEED = 2_000, 0
# Chips from which on an interval is given: see the README for its coverage.
FEWEST = 20

# A spread below this share of the scores is rounding of the arithmetic.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Part:
    """One stage or layer, with the scores of each chip under two redraws.

    Args:
        kind: `stage` or `layer`.
        name: of it.
        redrawn: scores with its draws drawn again, NaN for chips that failed; None where there are no other draws, so
            that all of the variance is its own.
        kept: scores with all other draws drawn again; None where no first order is asked for.
    """

    kind: str
    name: str
    redrawn: Floats | None
    kept: Floats | None = None


def variance_shares(scores: Floats, parts: Sequence[Part]) -> pd.DataFrame:
    """Estimate the share of each part in the variance of the score over chips, alone and with its interactions.

    With A a chip, f its score, and V the variance of f over chips::

        total(S)       = E[(f(A) - f(A with S redrawn))^2] / (2 V)
        first_order(S) = 1 - E[(f(A) - f(A with all but S redrawn))^2] / (2 V)

    (Jansen, Comput. Phys. Commun. 117, 35, 1999.) V is taken from both members of each pair, which are chips of one
    distribution, about their common mean (Janon et al., ESAIM Probab. Stat. 18, 342, 2014): ``mean((f^2 + f'^2) / 2) -
    m^2 + s_m^2 / n`` with m the mean of the pairs' means and ``s_m^2`` the variance (ddof 1) of these.

    Estimates and bounds are cut at 0 and 1. The first order of a part of little weight is known worse than its total,
    which it cannot exceed, and is cut at the total's upper bound too.

    Args:
        scores: of the chips as they are, one a seed; NaN for a chip that failed.
        parts: the groups of draws, their scores in the same order.

    Returns:
        One row a part. The columns are

        - ``part``, ``name``: `stage` or `layer`, and which
        - ``first_order``, ``first_order_low``, ``first_order_high``: share of the variance that is left when all else
          is averaged out; NaN of layers. First orders add up to at most 1, what is missing acts in combinations alone
        - ``total``, ``low``, ``high``: share that is lost when these draws are frozen, all interactions included;
          totals add up to at least 1
        - ``chips``: pairs of finished chips

        Intervals are 2.5 and 97.5 % quantiles over `RESAMPLES` resamples of the chips (seed 0), NaN below `FEWEST`
        chips and of a part that has all of the variance by definition. Shares are NaN where `has_spread` is false.
        ``attrs`` hold ``interaction``, ``interaction_low`` and ``interaction_high``: 1 less the sum of the first orders
        of the stages, cut at 0.
    """
    rows = []
    first_orders: list[_Share | None] = []
    usable = has_spread(scores)

    def share(second: Floats | None, complement: bool = False, most: float = 1.0) -> _Share | None:
        return None if second is None or not usable else _Share.of(scores, second, complement, most)

    for part in parts:
        if part.redrawn is None:
            whole, both = 1.0 if usable else np.nan, scores
            shares = dict.fromkeys((*FIRST_ORDER, *TOTAL), np.nan) | {TOTAL[0]: whole}
            if part.kind == STAGE:
                shares[FIRST_ORDER[0]] = whole
        else:
            total = _interval(*TOTAL, share(part.redrawn))
            first_order = share(part.kept, True, float(np.fmin(1.0, total["high"])))
            shares, both = _interval(*FIRST_ORDER, first_order) | total, scores + part.redrawn
            if part.kind == STAGE:
                first_orders.append(first_order)
        rows.append({"part": part.kind, "name": part.name, **shares, "chips": int(np.isfinite(both).sum())})
    table = pd.DataFrame(rows)
    if first_orders:
        table.attrs |= _interval(*INTERACTION, *first_orders, rest=True)
    return table


def has_spread(scores: Floats) -> bool:
    """True where at least two chips finished and their scores differ by more than the rounding of arithmetic."""
    done = scores[~np.isnan(scores)]
    if len(done) < 2:
        return False
    return bool(np.ptp(done) > _ROUNDING * np.abs(done).max())


@dataclass(frozen=True, eq=False)
class _Share:
    """A share, from the scores of chips and of the same chips with some draws drawn again; NaN where either failed.

    Args:
        first, second: the two scores of each chip.
        complement: 1 less what was drawn again.
        most: where it is cut, as at 0.
    """

    first: Floats
    second: Floats
    complement: bool
    most: float

    @staticmethod
    def of(first: Floats, second: Floats, complement: bool, most: float) -> _Share:
        # About 0, so that squares do not cancel.
        middle = np.nanmean(first)
        return _Share(first - middle, second - middle, complement, most)

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        return ~np.isnan(self.first + self.second)

    def values(self, counts: Floats) -> Floats:
        """The share of each resample of the chips, (resamples, chips); NaN where the variance is none."""
        x, y, counts = self.first[self.known], self.second[self.known], counts[:, self.known]
        n = counts.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            half_square, square, mean = (counts @ z / n for z in ((x - y) ** 2 / 2, (x**2 + y**2) / 2, (x + y) / 2))
            of_means = (counts @ ((x + y) / 2) ** 2 / n - mean**2) / (n - 1)
            variance = square - mean**2 + of_means
            share = np.where((n > 1) & (variance > 0), half_square / variance, np.nan)
        return np.asarray(np.clip(1 - share if self.complement else share, 0.0, self.most))


def _interval(name: str, low: str, high: str, *shares: _Share | None, rest: bool = False) -> dict[str, float]:
    """A sum of shares, or what it leaves of 1, with its bootstrap interval over the same resamples of the chips."""
    known = [each for each in shares if each is not None]
    if len(known) < len(shares):
        return dict.fromkeys((name, low, high), np.nan)
    n = len(known[0].first)

    def value(counts: Floats) -> Floats:
        total = np.array([each.values(counts) for each in known]).sum(axis=0)
        return np.maximum(1 - total, 0.0) if rest else np.asarray(total)

    found = {name: float(value(np.ones((1, n)))[0]), low: np.nan, high: np.nan}
    if min(each.known.sum() for each in known) >= FEWEST:
        resampled = value(_resamples(n))
        resampled = resampled[~np.isnan(resampled)]
        if len(resampled):
            tail = (1 - CONFIDENCE) / 2
            found[low], found[high] = (float(q) for q in np.quantile(resampled, (tail, 1 - tail)))
    return found


@lru_cache(maxsize=4)
def _resamples(n: int) -> Floats:
    """Number of times that each of n chips is in each resample, shape (resamples, n)."""
    return np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)
