"""Shares of the variance between chips against closed forms, and where there is none to split."""

from __future__ import annotations

import numpy as np
import pytest

from rramsweep.analysis.variance_shares import FEWEST, Part, has_spread, variance_shares

# Name -> score of two independent standard normal stages, first orders and totals in closed form.
LAWS = {
    "additive": (lambda a, b: 2 * a + b, (0.8, 0.2), (0.8, 0.2)),
    "one of them only scales the other": (lambda a, b: a * b, (0, 0), (1, 1)),
    "additive with interaction": (lambda a, b: a + b + a * b, (1 / 3, 1 / 3), (2 / 3, 2 / 3)),
    "one without weight": (lambda a, b: a + 0 * b, (1, 0), (1, 0)),
    "far from 0": (lambda a, b: 1e6 + a + b, (0.5, 0.5), (0.5, 0.5)),
}


def split(f, n, seed=0):
    a, b, a2, b2 = np.random.default_rng(seed).standard_normal((4, n))
    parts = [Part("stage", "a", f(a2, b), f(a, b2)), Part("stage", "b", f(a, b2), f(a2, b))]
    return variance_shares(f(a, b), parts)


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_shares_are_those_of_the_closed_form(law):
    f, first, total = law
    table = split(f, 2_000)
    assert table["first_order"].to_numpy() == pytest.approx(first, abs=0.07)
    assert table["total"].to_numpy() == pytest.approx(total, abs=0.07)
    assert table.attrs["interaction"] == pytest.approx(1 - sum(first), abs=0.1)
    for estimate, low, high in (("first_order", "first_order_low", "first_order_high"), ("total", "low", "high")):
        assert (table[low] <= table[estimate]).all()
        assert (table[estimate] <= table[high]).all()
    assert (table["first_order"] <= table["high"]).all()
    assert (table["chips"] == 2_000).all()


def test_shares_without_weight_are_exactly_none_and_sole_ones_all():
    table = split(lambda a, b: a + 0 * b, 30).set_index("name")
    assert table.loc["b", "total"] == 0
    assert table.loc["a", "first_order"] == 1
    alone = variance_shares(np.arange(30.0), [Part("stage", "a", None)])
    assert alone[["first_order", "total"]].iloc[0].tolist() == [1, 1]
    assert alone[["first_order_low", "first_order_high", "low", "high"]].isna().all(axis=None), "it is no estimate"


@pytest.mark.parametrize(("n", "least"), [(FEWEST, 0.82), (50, 0.88)])
def test_intervals_cover_about_what_they_say(n, least):
    truth = np.array([0.8, 0.2])
    tables = [split(LAWS["additive"][0], n, seed) for seed in range(100)]
    for low, high in (("first_order_low", "first_order_high"), ("low", "high")):
        covered = [(t[low].to_numpy() <= truth) & (truth <= t[high].to_numpy()) for t in tables]
        assert np.mean(covered) > least


@pytest.mark.parametrize(
    "scores",
    [np.full(5, 0.9), np.array([0.9]), np.full(4, np.nan), np.array([0.9, np.nan]), 0.1 + np.arange(3) * 1e-16],
)
def test_chips_that_agree_have_no_shares(scores):
    assert not has_spread(scores)
    table = variance_shares(scores, [Part("stage", name, scores, scores) for name in ("a", "b")])
    assert table[["first_order", "total", "low", "high"]].isna().all(axis=None)


def test_failed_chips_are_left_out_and_few_have_no_interval():
    scores = np.array([0.1, 0.5, 0.3, np.nan, 0.2])
    redrawn = np.array([0.1, np.nan, 0.3, 0.4, 0.2])
    table = variance_shares(scores, [Part("layer", "fc1", redrawn)])
    assert table["chips"].tolist() == [3]
    assert table["total"].tolist() == [0]
    assert table[["low", "high", "first_order"]].isna().all(axis=None)
