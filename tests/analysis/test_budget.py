"""Decisions of an error budget on plain data: ranks, rounds, monotonicity, direction, margins, joint scaling."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from rramsweep.analysis.budget import (
    BEYOND,
    NONE,
    STEPS,
    WITHIN,
    Bracket,
    Search,
    budget_table,
    estimated_rank,
    passes_target,
    scaled,
    size,
    tolerated_rank,
)
from rramsweep.analysis.target import Target, split_target
from rramsweep.errors import ValidationError
from rramsweep.intervals import share_bound

DRIFT = Bracket("drift.relative_drift", 0.0, 0.5)
BITS = Bracket("adc.bits", 4, 10, whole=True)


def searched(bracket, passes, seeds, helps=None, today=None):
    """A finished search over chips that pass where `passes(seed, level)` is true, and its rounds."""
    search, rounds = Search(bracket, seeds, helps), 0
    sign = -1 if helps or bracket is BITS else 1
    if today is not None:
        for seed in seeds:
            search.observe(today, seed, passes(seed, today), sign * today)
    while wanted := search.wanted():
        rounds += 1
        for level, chips in wanted.items():
            for seed in chips:
                search.observe(level, seed, passes(seed, level), sign * level)
    return search, rounds


@pytest.mark.parametrize("target", [0.5, 0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [1, 5, 14, 28, 29, 45, 46, 50, 59, 100, 299])
def test_the_rank_is_the_largest_whose_binomial_tail_is_at_most_five_percent(n, target):
    """`P(X_(r) > q)`, q the quantile that a share 1 - target lies below: fewer than r of n chips below it."""
    share = 1 - target
    tails = np.cumsum([0.0] + [math.comb(n, k) * share**k * target ** (n - k) for k in range(n)])
    assert tolerated_rank(n, target) == max(r for r in range(n + 1) if tails[r] <= 0.05)


@pytest.mark.parametrize(("target", "n"), [(0.9, 29), (0.5, 5), (0.8, 14), (0.95, 59), (0.99, 299), (0.999, 2995)])
def test_so_many_chips_are_the_fewest(target, n):
    assert Target(yield_=target).least_chips == n
    assert target**n <= 0.05 < target ** (n - 1)


@pytest.mark.parametrize("n", [29, 50, 200])
def test_a_target_is_met_where_the_exact_bound_on_the_yield_is(n):
    for passing in range(n + 1):
        bound = float(share_bound(np.array(passing), np.array(n)))
        assert passes_target(n, passing, tolerated_rank(n, 0.9)) == (bound >= 0.9)


def test_the_estimate_is_a_level_that_the_share_of_these_chips_tolerates():
    assert [estimated_rank(n, 0.9) for n in (10, 29, 50, 100)] == [2, 3, 6, 11]


def test_a_bracket_has_64_steps_or_every_integer():
    assert len(DRIFT.levels) == STEPS + 1
    assert DRIFT.levels[:3] == (0.0, 0.0078125, 0.015625)
    assert DRIFT.resolution == 0.0078125
    assert Bracket("a.b", 0, 0.3).levels[-1] == 0.3
    assert BITS.levels == (4, 5, 6, 7, 8, 9, 10)
    assert BITS.resolution == 1
    wide = Bracket("tile.rows", 1, 1000, whole=True)
    assert len(wide.levels) == STEPS + 1
    assert all(isinstance(level, int) for level in wide.levels)


@pytest.mark.parametrize(
    "bracket", [DRIFT, Bracket("a.b", 0.01, 10.0), BITS, Bracket("tile.rows", 1, 1000, whole=True)]
)
@pytest.mark.parametrize("helps", [False, True])
def test_each_chip_is_bracketed_by_neighbours_of_the_grid(bracket, helps):
    rng = np.random.default_rng(0)
    true = dict(enumerate(rng.uniform(bracket.low, bracket.high, 40)))

    def passes(seed, level):
        return level >= true[seed] if helps else level <= true[seed]

    search, rounds = searched(bracket, passes, list(true), helps)
    assert rounds <= 6
    levels = bracket.levels
    for seed, threshold in true.items():
        good, bad = search.tolerance(seed)
        between = [level for level in levels if min(good, bad) < level < max(good, bad)]
        assert not between
        assert min(good, bad) <= threshold <= max(good, bad)
    assert search.violations() == []


def test_a_search_tries_no_chip_twice_and_few_levels_of_each():
    tried = []

    def passes(seed, level):
        tried.append((seed, level))
        return level <= 0.1 + 0.01 * seed

    searched(DRIFT, passes, range(30))
    assert len(tried) == len(set(tried)) == 30 * 9


def test_levels_found_are_below_the_true_quantile_in_95_percent_of_studies():
    """Chips of known tolerances, log-normal with a few dead ones: the exact binomial test rejects no coverage below."""
    rng, target, studies, n = np.random.default_rng(1), 0.9, 1500, 50
    rank, covered = tolerated_rank(n, target), 0
    dead = 0.03
    quantile = float(scipy.stats.lognorm.ppf((1 - target - dead) / (1 - dead), 0.5, scale=0.2))
    tolerances = np.where(rng.random((studies, n)) < dead, -1.0, 0.2 * np.exp(0.5 * rng.standard_normal((studies, n))))
    levels = np.array(DRIFT.levels)
    for study in tolerances:
        found = np.sort(np.searchsorted(levels, study, side="right") - 1)[rank - 1]
        covered += found < 0 or levels[found] <= quantile
    assert scipy.stats.binomtest(covered, studies, 0.95, alternative="less").pvalue > 0.01
    one = tolerances[0]
    search, _ = searched(DRIFT, lambda seed, level: level <= one[seed], range(n))
    index = np.sort(np.searchsorted(levels, one, side="right") - 1)[rank - 1]
    assert search.ordered(rank)[1] == (None if index < 0 else levels[index])


def test_what_lies_at_an_end_is_said():
    search, rounds = searched(DRIFT, lambda seed, level: seed > 1, range(5))
    assert rounds == 2
    assert search.tolerance(0) == (None, 0.0)
    assert search.tolerance(4) == (0.5, None)
    assert [search.ordered(rank) for rank in (1, 2, 3)] == [(NONE, None), (NONE, None), (BEYOND, 0.5)]


def ends(bracket, low, high):
    """A search of which the losses at both ends are known."""
    search = Search(bracket, range(len(low)))
    for level, losses in ((bracket.low, low), (bracket.high, high)):
        for seed, loss in enumerate(losses):
            search.observe(level, seed, loss < 0.5, loss)
    return search


@pytest.mark.parametrize(
    ("bracket", "better", "worse", "helps"),
    [
        (DRIFT, 0, 29, False),
        (Bracket("device.g_max_uS", 1, 9), 29, 0, True),
        (Bracket("device.g_max_uS", 1, 9), 5, 0, True),  # 1 in 32
        (BITS, 29, 0, True),
        (Bracket("tile.rows", 16, 128, True), 0, 29, False),
        (DRIFT, 19, 10, False),  # what a chip at chance level shows: 1 in 15
        (DRIFT, 20, 9, True),
        (DRIFT, 4, 0, False),
        (BITS, 0, 4, True),
        (DRIFT, 0, 0, False),
        (BITS, 0, 0, True),
    ],
)
def test_the_direction_is_found_by_a_sign_test_at_the_ends(bracket, better, worse, helps):
    low = [0.9] * better + [0.1] * worse + [0.3]
    search = ends(bracket, low, [1 - loss for loss in low[:-1]] + [0.3])
    assert search.helps is helps
    assert search.ends == ((bracket.high, bracket.low) if helps else (bracket.low, bracket.high))


@pytest.mark.parametrize(
    ("window", "today", "level"),
    [
        ((0.2, 0.3), None, 0.1953125),  # the quarter at 0.25 fails, the next passes: the first failure counts
        ((-1.0, 0.1), None, None),  # fails at the harmless end already
        ((0.03, 0.05), 0.04, 0.0234375),  # seen because today's level lies inside
    ],
)
def test_a_chip_that_passes_beyond_a_failure_is_reported_and_the_first_failure_counts(window, today, level):
    low, high = window

    def passes(seed, at):
        return at <= 0.45 if seed else at <= 0.45 and not low < at < high

    search, _ = searched(DRIFT, passes, [0, 1], helps=False, today=today)
    assert search.violations() == [0]
    if level is None:
        assert search.tolerance(0) == (None, 0.0)
        assert search.peak == (0.125, 2)
        return
    assert search.tolerance(0)[0] == level
    assert search.tolerance(1)[0] == 0.4453125


def test_todays_level_counts_only_inside_the_bracket():
    search, _ = searched(Bracket("a.b", 0.1, 0.5), lambda seed, level: level < 0.08, [0], helps=False, today=0.05)
    assert search.ordered(1) == (NONE, None)
    search, _ = searched(DRIFT, lambda seed, level: level <= 0.1, [0], helps=False, today=0.1)
    assert search.ordered(1) == (WITHIN, 0.1)


@pytest.mark.parametrize(
    ("parameter", "level", "helps", "expected"),
    [
        ("drift.relative_drift", 0.1, False, 0.1),
        ("adc.bits", 8, True, 2.0**-8),
        ("device.levels", 17, True, 1 / 16),
        ("device.levels", 1, True, None),
        ("mapping.copies", 4, True, None),
        ("a.b", -1.0, False, None),
    ],
)
def test_the_size_of_an_error(parameter, level, helps, expected):
    assert size(parameter, level, helps) == expected


@pytest.mark.parametrize(
    ("bracket", "today", "helps", "factor", "expected"),
    [
        (DRIFT, 0.2, False, 0.25, 0.05),
        (DRIFT, 0.2, False, 0.0, 0.0),
        (DRIFT, 0.2, False, 1.0, 0.2),
        (Bracket("a.b", 0.1, 0.5), 0.2, False, 0.1, 0.1),  # no better than the harmless end
        (Bracket("a.b", 0.3, 0.5), 0.2, False, 0.5, 0.2),  # nor worse than today
        (BITS, 6, True, 0.5, 7),
        (BITS, 6, True, 0.49, 8),  # an LSB of at most the factor
        (BITS, 6, True, 0.01, 10),
        (BITS, 6, True, 0.0, 10),
        (Bracket("device.levels", 2, 100, True), 17, True, 0.5, 33),
        (Bracket("mapping.copies", 1, 8, True), 2, True, 0.5, 2),  # of unknown law: stays
    ],
)
def test_errors_scaled_by_a_factor(bracket, today, helps, factor, expected):
    assert scaled(bracket, today, helps, factor) == expected


@pytest.mark.parametrize("parameter", ["adc.bits", "device.levels", "mapping.copies", "device.g_max_uS", "a.rows"])
@pytest.mark.parametrize("helps", [True, False])
def test_an_error_is_scaled_exactly_where_its_size_is_known(parameter, helps):
    known = size(parameter, 8, helps) is not None
    assert (scaled(Bracket(parameter, 2, 99, True), 8, helps, 0.5) != 8) is known


@pytest.mark.parametrize("level", [0.25, 0.5, 0.75, 1 / 64])
@pytest.mark.parametrize("dead", [1, 10, 30])
def test_chips_that_pass_strictly_inside_alone_are_found(level, dead):
    """Of 30 chips so many fail at the harmless end; at the quarters and next to that end the others are tried too."""
    bracket = Bracket("mapping.percentile", 0.0, 1.0)

    def passes(seed, at):
        return abs(at - level) < 0.01 or (seed >= dead and at < level)

    search, rounds = searched(bracket, passes, range(30), helps=False)
    assert rounds <= 7
    assert search.peak == (level, 30)
    assert search.violations() == list(range(dead))
    assert search.ordered(1) == (NONE, None)
    (row,) = budget_table({"mapping.percentile": search}, {"mapping.percentile": 0.9}, 0, 1, 4).to_dict("records")
    assert (row["peak"], row["passing_peak"], row["violations"]) == (level, 30, dead)
    assert math.isnan(row["margin"])


def test_few_levels_are_computed_of_chips_that_pass_nowhere():
    tried = []

    def passes(seed, at):
        tried.append((seed, at))
        return False

    search, rounds = searched(DRIFT, passes, range(30), helps=False)
    assert rounds == 2
    assert len(tried) == len(set(tried)) == 30 * 6
    assert search.peak == (0.0, 0)
    assert search.violations() == []


def test_rows_that_reach_the_target_stand_before_those_that_do_not():
    def row(name, passes, helps=False):
        return searched(Bracket(name, 0.0, 1.0), lambda _, level: passes(level), range(10), helps)[0]

    searches = {
        "a.never": row("a.never", lambda _: False),
        "a.inside": row("a.inside", lambda level: level == 0.5),
        "device.g_max_uS": row("device.g_max_uS", lambda level: level > 0.5, helps=True),
        "a.alone": row("a.alone", lambda level: level < 0.5),
    }
    table = budget_table(searches, dict.fromkeys(searches, 0.8), 0, 1, 2)
    assert list(table["parameter"]) == ["a.alone", "device.g_max_uS", "a.inside", "a.never"]
    assert list(table["margin"].isna()) == [False, True, True, False]
    assert "reached" not in table


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["target.yield=0.9", "target.yield=0.5"], "target.yield must be given once, got 0.9 and 0.5: leave one out"),
        (["+target.drop=0.1", "a=1", "target.drop=0.1"], "target.drop must be given once, got 0.1 and 0.1: leave one"),
    ],
)
def test_a_part_of_a_target_is_given_once(words, message):
    with pytest.raises(ValidationError) as error:
        split_target(words)
    assert message in str(error.value)


def table_of(tolerances, today, passing_today, rank=1):
    """Budget of parameters `a.x`, of which chips 0..9 tolerate so much each."""
    searches = {
        name: searched(Bracket(name, 0.0, 1.0), lambda s, level, t=t: level <= t[s], range(10), False)[0]
        for name, t in tolerances.items()
    }
    return budget_table(searches, today, passing_today, rank, 2)


def test_rows_are_sorted_by_what_to_improve_first():
    half, quarter = [0.5] * 10, [0.25] * 10
    met = table_of({"a.x": half, "a.y": quarter}, {"a.x": 0.1, "a.y": 0.1}, 10)
    assert list(met["parameter"]) == ["a.y", "a.x"]
    assert list(met["margin"]) == [2.5, 5.0]
    none, most = [-1.0] * 10, [-1.0] * 2 + [1.0] * 8
    missed = table_of(
        {"a.none": none, "a.x": half, "a.most": most, "a.y": quarter},
        dict.fromkeys(["a.none", "a.x", "a.most", "a.y"], 0.8),
        0,
    )
    assert list(missed["parameter"]) == ["a.x", "a.y", "a.most", "a.none"]
    assert list(missed["status"]) == [WITHIN, WITHIN, NONE, NONE]
    assert list(missed["passing_best"]) == [10, 10, 8, 0]
    assert list(missed["margin"]) == [0.625, 0.3125, 0.0, 0.0]


@pytest.mark.parametrize(("today", "margin"), [(0.0, math.inf), (None, math.nan), (0.25, 2.0), (1.0, 0.5)])
def test_the_margin_is_the_tolerated_error_over_that_of_today(today, margin):
    table = table_of({"a.x": [0.5] * 10}, {"a.x": today}, 10)
    np.testing.assert_equal(table["margin"][0], margin)
