"""The interval that holds at every number of chips: its recursion, its coverage, and when a group has none."""

import math

import numpy as np
import pandas as pd
import pytest

from rramsweep.analysis.comparison import compare
from rramsweep.analysis.frames import join
from rramsweep.analysis.summary import skewed, summarize
from rramsweep.intervals import betting_interval, betting_p_value, binomial_tail, is_skewed
from rramsweep.reporting.findings import doubtful
from tests.analysis.test_frames import facts, failed, ok, point


def capital(x, m):
    """Largest capital bet on a mean above m, value by value, as the paper writes it."""
    mean_sum, spread_sum, wealth, most = 0.5, 0.25, 1.0, 0.0
    for t, value in enumerate(x, 1):
        variance = spread_sum / t  # of the t - 1 values before and the fake one
        bet = math.sqrt(2 * math.log(2 / 0.05) / (variance * t * math.log(1 + t)))
        wealth *= 1 + min(bet, 0.5 / m) * (value - m)
        mean_sum += value
        spread_sum += (value - mean_sum / (t + 1)) ** 2
        most = max(most, wealth)
    return most


def dead(rng, shape):
    return np.where(rng.random(shape) < 0.1, 0.1, np.clip(0.9 + 0.02 * rng.standard_normal(shape), 0, 1))


@pytest.mark.parametrize("n", [1, 7, 40])
def test_an_end_is_where_the_capital_reaches_40(n):
    x = dead(np.random.default_rng(n), n)
    (low,), (high,) = betting_interval(x[None])
    for end, values in ((low, x), (1 - high, 1 - x)):
        if end > 0:
            assert capital(values, end) / 2 >= 20 * (1 - 1e-9)
        assert capital(values, end + 1e-6) / 2 < 20
    assert 0 <= low < x.mean() < high <= 1


def test_a_value_says_nothing_and_no_spread_says_what_the_bets_allow():
    """One bet wins at most 1 + sqrt(2 ln(40) / (ln(2) / 4)) = 7.5, which is no 40."""
    assert np.ravel(betting_interval(np.ones((1, 1)))).tolist() == [0, 1]
    (low,), (high,) = betting_interval(np.full((1, 500), 0.8))
    assert low < 0.8 < high
    assert high - low == pytest.approx(2 * math.log(40) / 500, rel=0.15)


def test_it_is_cut_by_more_values_and_never_widens():
    x = dead(np.random.default_rng(1), (20, 60))
    low, high = np.array([betting_interval(x[:, :n]) for n in range(1, 61)]).transpose(1, 0, 2)
    assert (np.diff(low, axis=0) >= 0).all()
    assert (np.diff(high, axis=0) <= 0).all()


@pytest.mark.parametrize("n", [10, 200])
def test_it_holds_the_mean_at_every_number_of_dead_and_living_chips_at_once(n):
    """The intersection up to n holds the mean where each of them does; misses are at most 5 %, by a binomial test."""
    x = dead(np.random.default_rng(2), (2000, n))
    low, high = betting_interval(x)
    missed = int(((low > 0.82) | (high < 0.82)).sum())
    assert binomial_tail(missed, len(x), 0.05) > 1e-3
    p = betting_p_value(x, 0.82)
    assert ((p <= 0.05) == ((low >= 0.82) | (high <= 0.82))).all()


@pytest.mark.parametrize("value", [-0.1, 1.2, math.nan])
def test_scores_outside_0_to_1_are_refused(value):
    with pytest.raises(ValueError, match=r"^interval=anytime needs scores in 0..1, got .*: take interval=t$"):
        betting_interval(np.array([[0.5, value]]))


# -- tables


def levels(*counts, first=0):
    """A point for each list of right images of 10, `None` a failed chip."""
    rows = []
    for i, chips in enumerate(counts):
        for seed, right in enumerate(chips, first):
            rows.append(failed(f"p{i}", seed) if right is None else ok(f"p{i}", seed, right))
    points = [point(f"p{i}", {"t_s": float(i)}) for i in range(len(counts))]
    return join(points, facts(*rows), ["t_s"])


FIRST = (9, 8, 9, 10, 2, 9, 8, 9)


def test_a_summary_takes_chips_in_the_order_of_their_seeds():
    (low,), (high,) = betting_interval(np.array([FIRST]) / 10)
    frame = levels(FIRST, FIRST[:3], first=5)
    for rows in (frame, frame.sample(frac=1, random_state=0)):
        table = summarize(rows, interval="anytime").sort_values("t_s")
        row = table.iloc[0]
        assert (row["score_low"], row["score_high"]) == (low, high) == (row["accuracy_low"], row["accuracy_high"])
        assert table["interval"].tolist() == ["anytime", "anytime"]
    assert table.attrs["interval"] == "anytime"


def test_the_sweeps_own_interval_is_the_summarys_and_t_is_the_default():
    frame = levels(FIRST)
    assert summarize(frame)["interval"].tolist() == ["t"]
    frame.attrs["interval"] = "anytime"
    assert summarize(frame)["interval"].tolist() == ["anytime"]
    assert summarize(frame, interval="t")["interval"].tolist() == ["t"]


def test_of_what_is_not_whole_there_is_no_interval_and_the_reason_is_stated():
    whole, hole = FIRST, (*FIRST[:3], None, *FIRST[3:])
    frame = levels(whole, hole)
    table = summarize(frame, interval="anytime")
    assert table["interval"].tolist() == ["anytime", "absent: a chip failed"]
    assert table.loc[1, ["score_low", "score_high", "accuracy_low", "accuracy_high"]].isna().all()
    assert table.loc[1, "score_mean"] == table.loc[0, "score_mean"]
    says = "the anytime interval is absent at 1 of 2 points: a chip failed; run them again with retry_failed=true"
    assert doubtful(table) == [says]
    # Dropping the failed row does not make the sequence whole.
    dropped = frame[frame["status"] == "ok"]
    assert summarize(dropped, interval="anytime")["interval"].tolist() == ["anytime", "absent: a seed is missing"]
    assert summarize(frame)["interval"].tolist() == ["t", "t"]
    few = summarize(levels((9,), (None,)))["interval"]
    assert few[0] == "absent: one chip"
    assert few.isna().tolist() == [False, True]


def test_chips_of_two_laws_have_no_interval():
    table = summarize(levels((0,) * 60 + (10,) * 400), interval="anytime")
    assert table["interval"].tolist() == ["absent: the chips are no draws of one law"]
    assert table[["score_low", "score_high"]].isna().all(axis=None)


def test_a_paired_difference_is_scaled_from_minus_1_to_1():
    here = (8, 8, 7, 9, 9, 9, 6, 9)
    d = (np.array(here) - FIRST) / 10
    (low,), (high,) = betting_interval((d[None] + 1) / 2)
    table = compare(levels(FIRST, here, (None, *here[1:])), {"t_s": 0.0}, interval="anytime", correction="holm")
    assert table.loc[1, "difference_low"] == pytest.approx(2 * low - 1)
    assert table.loc[1, "difference_high"] == pytest.approx(2 * high - 1)
    assert table["interval"].tolist() == ["anytime", "anytime", "absent: a chip failed"]
    assert table.loc[1, "p_value"] == pytest.approx(betting_p_value((d[None] + 1) / 2, 0.5)[0])
    assert table["p_value"].isna().tolist() == [True, False, True]
    assert table.loc[0, ["difference_low", "difference_high"]].tolist() == [0, 0]  # a baseline against itself


@pytest.mark.parametrize("call", [summarize, lambda frame, **kind: compare(frame, {"t_s": 0.0}, **kind)])
@pytest.mark.parametrize(
    ("unit", "interval", "says"),
    [
        (
            "nat",
            "anytime",
            r"^interval must be t for scores whose range is not 0..1 \(.*\(nat\)\), got 'anytime': take",
        ),
        ("fraction", "wilson", r"^interval must be one of t, anytime, got 'wilson': pick one$"),
        ("fraction", 3, r"^interval must be text"),
    ],
)
def test_an_interval_that_scores_cannot_have_is_refused(call, unit, interval, says):
    frame = levels(FIRST, FIRST)
    with pytest.raises(ValueError, match=says):
        call(frame.assign(**{"metric.unit": unit}), interval=interval)


# -- where t is doubtful


@pytest.mark.parametrize(
    ("skewness", "n", "is_doubtful"),
    [
        (0.6, 10, False),  # what ten normal chips show by chance
        (2.67, 10, True),  # one of ten dead
        (-2.67, 50, True),  # n > 25 G1^2 asks for 178
        (2.67, 200, False),
        (1.3, 50, False),
        (1.5, 50, True),
        (math.nan, 1, False),
        (0.0, 2, False),
    ],
)
def test_cochrans_rule(skewness, n, is_doubtful):
    assert bool(is_skewed(skewness, n)) is is_doubtful


def test_one_sentence_says_where_the_t_interval_is_doubtful():
    """Nine chips of 9 and one of 0: m3 / m2^1.5 of one outlier in ten is (10 - 2) / sqrt(10 - 1)."""
    table = summarize(levels((9,) * 9 + (0,), (9, 8, 10, 9, 8, 9, 10, 8, 9, 9)))
    assert table.loc[0, "score_skewness"] == pytest.approx(-8 / 3)
    assert skewed(table).tolist() == [True, False]
    (sentence,) = doubtful(table)
    assert sentence.startswith(
        "the t interval is doubtful at 1 of 2 points: the chips are too skewed for their number "
    )
    assert "(skewness -2.7 over 10 chips)" in sentence
    assert sentence.endswith("rely on yield and quantiles, take more chips, or interval=anytime, which is wider")
    anytime = summarize(levels((9,) * 9 + (0,)), interval="anytime")
    assert doubtful(anytime) == []
    assert isinstance(skewed(anytime), pd.Series)
