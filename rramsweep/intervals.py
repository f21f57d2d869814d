"""Intervals and standard errors as pure functions of counts and arrays: no table, no column names.

The chip is the unit of replication: unless a function says otherwise, an interval is over chips *of this network on
these images*.
"""

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import scipy  # loads scipy.special on first use: reading a store does without

from rramsweep.errors import Sentence, ValidationError, one_of
from rramsweep.scale import FRACTION, Scale

CONFIDENCE = 0.95

# Significance level of tests: a result is attributed to chance if its p-value exceeds this.
ALPHA = 0.05

# Kinds of interval of a mean, the default first.
T, ANYTIME = "t", "anytime"
INTERVALS = (T, ANYTIME)

# Largest share of the capital that a bet risks against any mean, and steps of the bisection for an end: 2**-32.
_MOST_BET, _BISECTIONS = 0.5, 32

# Quantile of the standard normal for a two-sided 95 % interval.
_Z = 1.959963984540054

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


def check_interval(metrics: Iterable[Scale], interval: str) -> None:
    """Check that a kind of interval is one that scores of these metrics can have.

    Raises:
        ValidationError: no such kind, or `anytime` for scores that are no fractions, whose range is not 0..1.
    """
    one_of("interval", interval, INTERVALS)
    unbounded = [scale.label for scale in metrics if scale.unit != FRACTION]
    if interval == ANYTIME and unbounded:
        raise ValidationError(
            f"must be {T} for scores whose range is not 0..1 ({', '.join(unbounded)})",
            f"take interval={T}, or a metric that is a fraction",
            value=interval,
            parameter="interval",
        )


def t_interval(
    mean: Floats, sem: Floats, n: Codes, least: float | Floats = -np.inf, most: float | Floats = np.inf
) -> tuple[Floats, Floats]:
    """Two-sided 95 % t interval of means: ``mean`` twice where ``sem`` is 0 and n > 1, NaN where n < 2.

    The interval is cut to ``least``..``most``, outside which no mean can lie. That does not change its coverage.
    """
    half = np.where(n > 1, t_quantile(n) * sem, np.nan)
    return np.clip(mean - half, least, most), np.clip(mean + half, least, most)


def t_quantile(n: npt.ArrayLike) -> Floats:
    """Half-width of the 95 % interval of a mean of n values, in standard errors: ``t(0.975, n - 1)``."""
    return np.asarray(scipy.special.stdtrit(np.maximum(np.asarray(n) - 1, 1), (1 + CONFIDENCE) / 2))


def is_skewed(skewness: npt.ArrayLike, n: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """True where the t interval of a mean is doubtful: the sample is too skewed for its size.

    Cochran's rule (Sampling Techniques, 3rd ed., 1977, 2.15): a nominal 95 % interval is wrong at most 6 % of the time
    where ``n > 25 G1^2``, G1 the skewness. It is taken with the skewness of the sample, which of few normal values is
    large by chance: one within two of its standard errors under normality, ``sqrt(6 (n - 2) / ((n + 1) (n + 3)))``
    (Fisher), carries no information. An outlier is a skewness as well. What no chip has shown yet no rule sees.

    Args:
        skewness: of the sample, ``m3 / m2^1.5``; NaN is not skewed.
        n: its size.
    """
    g, n = np.abs(np.asarray(skewness, dtype=np.float64)), np.asarray(n, dtype=np.float64)
    error = np.sqrt(6 * np.maximum(n - 2, 0) / ((n + 1) * (n + 3)))
    return np.asarray((n < 25 * g**2) & (g > 2 * error))


def betting_interval(values: Floats) -> tuple[Floats, Floats]:
    """95 % confidence sequence of means of values in [0, 1], after the last value of each row.

    It holds at every sample size at once, so a row may end by any rule that knows its values. Of values in order,
    ``x_1 .. x_n``, of any law with mean m, one bets on the mean being above and one on it being below. With c = 1/2::

        mu_t = (1/2 + sum_{i<=t} x_i) / (t + 1)             var_t = (1/4 + sum_{i<=t} (x_i - mu_i)^2) / (t + 1)
        bet_t = sqrt(2 ln(2 / 0.05) / (var_{t-1} t ln(1 + t)))                                  (var_0 = 1/4)
        K+_t(m) = prod_{i<=t} (1 + min(bet_i, c / m) (x_i - m))
        K-_t(m) = prod_{i<=t} (1 - min(bet_i, c / (1 - m)) (x_i - m))

    and m is out as soon as ``max(K+, K-) / 2`` reaches 1 / 0.05: at the true mean both are martingales that begin at 1,
    so by Ville's inequality that ever happens with a probability of at most 5 %. K+ falls and K- rises with m, so what
    remains is an interval, whose ends are found by bisection and rounded outward. The intersection over all t up to n
    is taken. An empty one, low above high, says that the values are no draws of one mean.

    Source: Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, J. R. Stat. Soc. B 86, 1
    (2024): hedged capital (theorem 3) with the predictable plug-in bets, theta = c = 1/2.

    Args:
        values: one sequence a row, of at least one value.

    Raises:
        ValidationError: a value outside [0, 1].
    """
    _check_unit(values)
    return _lower_end(values), 1 - _lower_end(1 - values)


def betting_p_value(values: Floats, mean: float) -> Floats:
    """P-value of each row's mean being ``mean``, valid at every sample size: 1 over the most capital ever held.

    It is at most 0.05 where the row's `betting_interval` does not hold ``mean``.

    Raises:
        ValidationError: a value outside [0, 1].
    """
    _check_unit(values)
    means = np.full(len(values), mean)
    most = np.maximum(_log_capital(values, means, _bets(values)), _log_capital(1 - values, 1 - means, _bets(values)))
    return np.asarray(np.minimum(1.0, 2 * np.exp(-most)))


def _check_unit(values: Floats) -> None:
    outside = ~((values >= 0) & (values <= 1))
    if outside.any():
        raise ValidationError(
            Sentence("interval=anytime needs scores in 0..1"), "take interval=t", shown=f"{values[outside][0]:g}"
        )


def _bets(values: Floats) -> Floats:
    t = np.arange(1, values.shape[1] + 1)
    mean = (0.5 + np.cumsum(values, axis=1)) / (t + 1)
    variance = (0.25 + np.cumsum((values - mean) ** 2, axis=1)) / (t + 1)
    before = np.concatenate([np.full((len(values), 1), 0.25), variance[:, :-1]], axis=1)
    bets: Floats = np.sqrt(2 * np.log(2 / (1 - CONFIDENCE)) / (before * t * np.log1p(t)))
    return bets


def _log_capital(values: Floats, mean: Floats, bets: Floats) -> Floats:
    """Largest log K+ that each row ever reaches against its mean."""
    mean = mean[:, None]
    gain = np.log1p(np.minimum(bets, _MOST_BET / mean) * (values - mean))
    return np.asarray(np.cumsum(gain, axis=1).max(axis=1))


def _lower_end(values: Floats) -> Floats:
    low, high, bets = np.zeros(len(values)), np.ones(len(values)), _bets(values)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        out = _log_capital(values, middle, bets) >= np.log(2 / (1 - CONFIDENCE))
        low, high = np.where(out, middle, low), np.where(out, high, middle)
    return low


def t_p_value(mean: Floats, sem: Floats, n: Codes) -> Floats:
    """Two-sided p-value of a mean being 0, by Student's t; NaN where n < 2.

    Where no value differs from another (``sem`` is 0) it is that of the sign test, ``2 ** (1 - n)``: a spread that few
    values have not shown is not known to be none.
    """
    df = np.maximum(n - 1, 1)
    statistic = np.divide(np.abs(mean), sem, out=np.zeros(len(n)), where=sem > 0)
    p = np.where(sem > 0, 2 * scipy.special.stdtr(df, -statistic), np.where(mean == 0, 1.0, 2.0 ** (1.0 - n)))
    return np.where(n > 1, p, np.nan)


def holm(p: npt.ArrayLike) -> Floats:
    """Holm's adjusted p-values along the last axis: tests at or below a level there have that family-wise error.

    With the m p-values in ascending order, the k-th (k from 1) becomes the largest ``(m - i + 1) p_i`` over i <= k, at
    most 1; whatever the dependence of the tests (Holm, Scand. J. Statist. 6, 65, 1979). NaN is no test.
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, axis=-1)  # NaN comes last
    ascending = np.take_along_axis(p, order, axis=-1)
    left = (~np.isnan(p)).sum(axis=-1, keepdims=True) - np.arange(p.shape[-1])
    adjusted = np.minimum(np.maximum.accumulate(ascending * left, axis=-1), 1.0)
    out = np.empty_like(p)
    np.put_along_axis(out, order, np.where(np.isnan(ascending), np.nan, adjusted), axis=-1)
    return out


@lru_cache(maxsize=4096)
def wilson(successes: int, n: int) -> tuple[float, float]:
    """Two-sided 95 % Wilson interval of a share; NaN where n is 0.

    All shares p with ``|successes / n - p| <= z sqrt(p (1 - p) / n)``, z = 1.96 (Wilson, J. Am. Stat. Assoc. 22, 209,
    1927).
    """
    if n == 0:
        return np.nan, np.nan
    share, z2 = successes / n, _Z**2 / n
    middle, half = share + z2 / 2, math.sqrt(z2 * (share * (1 - share) + z2 / 4))
    low = 0.0 if successes == 0 else (middle - half) / (1 + z2)
    return low, 1.0 if successes == n else (middle + half) / (1 + z2)


def share_bound(successes: Codes, n: Codes) -> Floats:
    """One-sided lower 95 % bound on a share, exact (Clopper and Pearson, Biometrika 26, 404, 1934).

    The share p at which ``P(Binomial(n, p) >= successes) = 0.05``, a quantile of Beta(successes, n - successes + 1).
    With no failure in n it is ``0.05 ** (1 / n)``, about ``1 - 3 / n`` (0.05 is exp(-3.0)); it is 0 without a success
    and NaN where n is 0. It is one-sided, with all 5 % below it, so it is not an end of a two-sided interval.
    """
    some = np.maximum(successes, 1)
    bound = scipy.special.betaincinv(some, np.maximum(n - some, 0) + 1, 1 - CONFIDENCE)
    return np.where(n == 0, np.nan, np.where(successes == 0, 0.0, bound))


def unseen_share(n: npt.ArrayLike) -> Floats:
    """One-sided upper 95 % bound on the share of bad chips where all of n are good: ``1 - 0.05 ** (1 / n)``.

    The exact form of the rule of three, ``3 / n`` (Hanley and Lippman-Hand, JAMA 249, 1743, 1983): the share that n
    chips can miss. 1 where n is 0.
    """
    n = np.asarray(n, dtype=np.float64)
    return np.where(n > 0, -np.expm1(np.log(1 - CONFIDENCE) / np.maximum(n, 1)), 1.0)


def binomial_tail(successes: npt.ArrayLike, n: npt.ArrayLike, share: npt.ArrayLike) -> Floats:
    """P(Binomial(n, share) >= successes), the p-value of the exact one-sided test; NaN where ``share`` is."""
    k, n, share = np.asarray(successes), np.asarray(n), np.asarray(share, dtype=np.float64)
    tail = scipy.special.betainc(np.maximum(k, 1), np.maximum(n - k, 0) + 1, share)
    return np.where(np.isnan(share), np.nan, np.where(k <= 0, 1.0, np.where(k > n, 0.0, tail)))


def all_or_none(n: Codes) -> tuple[Floats, Floats]:
    """Ends of the exact two-sided 95 % interval of a share: the upper one where none of n has it, the lower where all.

    ``1 - 0.025 ** (1 / n)`` and ``0.025 ** (1 / n)`` of Clopper and Pearson (Biometrika 26, 404, 1934); the other ends
    are 0 and 1. With n = 0 they are 1 and 0: nothing is known.
    """
    low = np.where(n > 0, ((1 - CONFIDENCE) / 2) ** (1 / np.maximum(n, 1)), 0.0)
    return 1 - low, low


def ecdf_band(share: Floats, n: int) -> tuple[Floats, Floats]:
    """95 % band of a whole distribution about the empirical one of n values, ``F -+ sqrt(ln(2 / 0.05) / (2 n))``.

    Dvoretzky, Kiefer and Wolfowitz with Massart's constant (Annals of Probability 18, 1269, 1990): whatever the
    distribution, it lies within the band everywhere at once with at least 95 % probability. For a single value `wilson`
    is narrower. Cut to 0..1.
    """
    half = np.sqrt(np.log(2 / (1 - CONFIDENCE)) / (2 * n))
    return np.clip(share - half, 0, 1), np.clip(share + half, 0, 1)


def lower_rank(n: Codes, quantile: float, alpha: float) -> Codes:
    """Rank r (1 the smallest of n) of an order statistic that lies at or below a quantile; 0 where n is too small.

    ``X_(r)`` exceeds the quantile only if fewer than r of n values lie at or below it, so whatever the distribution,
    ``P(X_(r) > x_q) <= P(Binomial(n, q) <= r - 1)``. The rank is the largest at which that is at most ``alpha``
    (David and Nagaraja, Order Statistics, 3rd ed., 7.1). Ties, as among discrete values, only raise the coverage.
    """
    n = np.maximum(n, 1)
    # Continued to real k, P(B <= k) = alpha at one k. The smallest integer from there on is r: at r - 1, below it, all
    # is under alpha still.
    rank = np.ceil(scipy.special.bdtrik(alpha, n, quantile))
    return np.asarray(np.maximum(rank, 0)).astype(np.int64)


def crossed_errors(correct_per_image: npt.ArrayLike, n_chips: int, chip_accuracy: npt.ArrayLike) -> tuple[float, float]:
    """Standard errors of the grand mean accuracy, over other chips and over another test set.

    Every chip c reads every image i, ``Y_ci`` is 1 where it is right: a crossed design, with the two-way model
    ``Y_ci = mu + a_c + b_i + e_ci`` (chip, image, and what is left: images that only some chips get wrong), of
    variances ``va``, ``vb``, ``ve``. With n chips, N images and the mean squares ``MS_chip``, ``MS_image``::

        se_chips^2  = MS_chip  / (n N) = var_c(accuracy of chip c) / n            estimates (va + ve / N) / n
        se_images^2 = MS_image / (n N) = var_i(share of chips right on i) / N     estimates (vb + ve / n) / N

    (variances of ddof 1): the first over n other chips on *these images*, the second over N other images read by
    *these chips*. Both are unbiased if chips, and images, are independent draws, each from one population; neither
    needs normal, additive or equally spread effects, so outcomes of 0 and 1 are fine. Over other chips *and* other
    images the variance is ``se_chips^2 + se_images^2 - MS_e / (n N)``, since both include ``ve / (n N)`` of the rest;
    ``hypot(se_chips, se_images)`` is therefore slightly too large, which is the safe side. (Scheffe, The Analysis
    of Variance, 1959, 7.4: ``MS_e`` follows, the total sum of squares of 0s and 1s being ``n N m (1 - m)``.)

    Neither covers other networks: repeated training is a third source of variation, which these counts do not contain.

    Args:
        correct_per_image: for each image, the number of chips that get it right.
        n_chips: the chips that were counted.
        chip_accuracy: of each of these chips, as a fraction.

    Returns:
        ``(se_chips, se_images)``, fractions; 0 where nothing varies, NaN for one chip, or for one image.

    Raises:
        ValueError: no image, not one accuracy a chip, counts outside 0..n_chips, or counts and accuracies that do not
            add up to the same number of right answers.
    """
    counts, accuracy = np.asarray(correct_per_image, dtype=np.int64), np.asarray(chip_accuracy, dtype=np.float64)
    if len(accuracy) != n_chips or n_chips < 1:
        raise ValueError(f"chip_accuracy must be one a chip, got {len(accuracy)} for {n_chips}: count the same chips")
    if len(counts) < 1 or counts.min() < 0 or counts.max() > n_chips:
        got = f"{counts.min()}..{counts.max()}" if len(counts) else "no image"
        raise ValueError(f"correct_per_image must lie in 0..n_chips = {n_chips}, got {got}: count the images again")
    right = accuracy.sum() * len(counts)
    if abs(right - counts.sum()) > 1e-6 * n_chips * len(counts):  # shares may have passed through 32-bit floats
        raise ValueError(
            f"correct_per_image must add up to the right answers of the chips, got {counts.sum()} and {right:.1f}: "
            "count the same chips"
        )
    return _standard_error(accuracy), _standard_error(counts) / n_chips


def _standard_error(values: Codes | Floats) -> float:
    if len(values) < 2:
        return np.nan
    # Rounding makes the mean of equal numbers another number, with a spread of 1e-17.
    return 0.0 if values.min() == values.max() else float(np.std(values, ddof=1) / np.sqrt(len(values)))
