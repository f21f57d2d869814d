"""Networks, chips and images apart: moments by hand, simulated normal scores, and what is not a network."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import rramsweep as rs
from rramsweep.analysis.frames import join
from rramsweep.analysis.random_effects import components
from rramsweep.errors import ValidationError
from rramsweep.intervals import t_interval
from tests.analysis.test_frames import facts, failed, ok, point

OVER = "model.checkpoint"


def networks(counts, images=100, names=None, drift=None):
    """A frame with a network a row and a chip a column of right images; None is a failed chip."""
    names = names or [f"{chr(97 + i)}.pt" for i in range(len(counts))]
    params = {} if drift is None else {"drift.relative_drift": drift}
    points = [point(f"{name}{drift}", {OVER: name, **params}) for name in names]
    rows = [
        failed(p["point_id"], s) if k is None else ok(p["point_id"], s, k, images=images, digital=images)
        for p, own in zip(points, counts, strict=True)
        for s, k in enumerate(own)
    ]
    return join(points, facts(*rows), [OVER])


def drawn(rng, shape, network=0.0, shared=0.0, rest=0.0):
    a, s, e = rng.standard_normal(shape[0]), rng.standard_normal(shape[1]), rng.standard_normal(shape)
    return network * a[:, None] + shared * s + rest * e


def test_components_by_hand():
    """Means of networks 2, 4, of chips 2, 4; rest -+0.5: MS 4, 4 and 1; var(mean) = (4 + 4 - 1) / 4."""
    found = components(np.array([[1.5, 2.5], [2.5, 5.5]]))
    assert found.mean == 3
    assert found.networks == pytest.approx(np.sqrt((4 - 1) / 2))
    assert found.chips == pytest.approx(np.sqrt((4 + 1) / 2))
    assert found.se == pytest.approx(np.sqrt(7 / 4))
    assert found.df == pytest.approx(7**2 / (16 + 16 + 1))
    assert found.below is None


@pytest.mark.parametrize(
    "sizes",
    [{"network": 2, "rest": 1}, {"network": 1, "shared": 2, "rest": 1}, {"shared": 1, "rest": 0.3}, {"rest": 1}],
)
def test_variances_are_unbiased_whether_chips_share_draws_or_not(sizes):
    rng = np.random.default_rng(0)
    found = [components(drawn(rng, (6, 8), **sizes)) for _ in range(1500)]
    signed = [each.networks**2 if each.below is None else each.below for each in found]
    network, shared, rest = (sizes.get(name, 0) ** 2 for name in ("network", "shared", "rest"))
    for values, truth in ((signed, network), ([each.chips**2 for each in found], shared + rest)):
        assert abs(np.mean(values) - truth) < 4 * np.std(values) / np.sqrt(len(values))


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((5, 20), {"network": 1, "rest": 1}),
        ((5, 20), {"network": 0.2, "shared": 1, "rest": 0.3}),
        ((10, 5), {"network": 1, "shared": 2, "rest": 1}),
        ((8, 1), {"network": 1, "rest": 1}),
    ],
)
def test_the_interval_over_networks_covers_at_least_what_it_says(shape, sizes):
    rng, reps = np.random.default_rng(1), 1500
    found = [components(drawn(rng, shape, **sizes)) for _ in range(reps)]
    mean, se, df = (np.array([getattr(each, name) for each in found]) for name in ("mean", "se", "df"))
    low, high = t_interval(mean, se, df + 1)
    covered = int(((low <= 0) & (high >= 0)).sum())
    # Exact binomial: fewer would be rarer than 1e-4 at 94 %, the coverage that Satterthwaite's approximation keeps.
    assert covered >= stats.binom.ppf(1e-4, reps, 0.94)
    assert covered <= reps * 0.99


def test_equal_chips_and_equal_networks_have_exactly_no_spread():
    found = components(np.array([[0.1, 0.3, 0.7]] * 6))
    assert (found.networks, found.below) == (0, None)
    assert found.chips == pytest.approx(np.std([0.1, 0.3, 0.7], ddof=1))
    found = components(np.repeat([[0.1], [0.3], [0.7]], 4, axis=1))
    assert found.chips == 0
    assert found.networks == pytest.approx(np.std([0.1, 0.3, 0.7], ddof=1))


def test_a_summary_over_networks_splits_the_spread():
    counts = np.random.default_rng(2).integers(60, 95, (6, 4))
    frame = networks(counts.tolist())
    table = rs.summarize(frame, over=OVER)
    row, found = table.iloc[0], components(counts / 100)
    assert row[["networks", "n"]].tolist() == [6, 4]
    assert row["score_mean"] == pytest.approx(counts.mean() / 100)
    assert row["std_networks"] == pytest.approx(found.networks)
    assert row["std_chips"] == pytest.approx(found.chips)
    share = counts / 100
    assert row["std_images"] == pytest.approx(np.sqrt((share * (1 - share) / 99).mean()))
    half = stats.t.ppf(0.975, found.df) * found.se
    assert row["score_low"] == pytest.approx(found.mean - half)
    assert row["score_high"] == pytest.approx(min(found.mean + half, 1))
    assert row[["network_min", "network_max"]].tolist() == [
        pytest.approx(end) for end in (share.mean(axis=1).min(), share.mean(axis=1).max())
    ]
    model, holds, *_ = table.attrs["notes"]
    assert "a seed has the same draws in every network" in model
    assert "over other networks of the kind that these are a random sample of, and over other chips" in holds
    # Without over as it was: a row a network.
    assert len(rs.summarize(frame)) == 6


def test_fewer_than_five_networks_have_no_interval():
    table = rs.summarize(networks([[80, 82], [90, 91], [70, 75], [60, 66]]), over=OVER)
    assert table[["score_low", "score_high"]].isna().all(axis=None)
    assert "fewer than 5 networks do not say how networks spread: no interval" in table.attrs["notes"][1]
    assert table["std_networks"].iloc[0] > 0


def test_a_variance_below_zero_is_shown_as_zero_and_said():
    table = rs.summarize(networks([[70, 90], [90, 70], [80, 80]]), over=OVER)
    assert table["std_networks"].tolist() == [0]
    assert (
        "networks differ less than their chips explain (variance -0.01): std_networks is shown as 0"
        in (table.attrs["notes"][-1])
    )


def test_only_seeds_that_finished_in_every_network_count():
    table = rs.summarize(networks([[80, None, 70], [90, 91, 75]]), over=OVER)
    assert table["n"].tolist() == [2]
    assert table["score_mean"].tolist() == [pytest.approx((80 + 70 + 90 + 75) / 400)]
    assert "2 chips are left out, whose seed is not finished in every network" in table.attrs["notes"][-1]


def test_one_chip_tells_networks_from_no_chips():
    table = rs.summarize(networks([[80], [90], [70], [60], [85]]), over=OVER)
    assert table[["std_networks", "std_chips"]].isna().all(axis=None)
    assert table["score_low"].notna().all()


REFUSED = {
    "not a network": (
        {"over": "drift.relative_drift"},
        "over must be a column of the network, .*, got 'drift.relative",
    ),
    "no column": ({"over": "model.chekpoint"}, "did you mean model.checkpoint"),
    "a yield": ({"over": OVER, "yield_drop": 0.1}, "yield_drop is not used with over"),
}


@pytest.mark.parametrize(("given", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_network_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        rs.summarize(networks([[80, 70], [90, 75]], drift=0.1), **given)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (
            networks([[80, 70]]),
            "over must tell at least two networks apart, but the frame has one, got model.checkpoint=a",
        ),
        (
            networks([[80, None], [None, 75]]),
            "networks apart that have finished seeds in common, but those of the frame",
        ),
    ],
    ids=["one network", "no common seed"],
)
def test_networks_that_cannot_be_compared_are_refused(frame, message):
    with pytest.raises(ValidationError, match=message):
        rs.summarize(frame, over=OVER)


def test_the_same_weights_twice_are_no_two_networks():
    points = [point("one", {OVER: name}) for name in ("a.pt", "copy.pt")]
    frame = join(points, facts(ok("one", 0, 8), ok("one", 1, 7)), [OVER])
    with pytest.raises(ValidationError, match=r"different weights apart, but these are the same: a.pt, copy.pt"):
        rs.summarize(frame, over=OVER)


def test_two_points_of_a_network_are_not_pooled():
    frame = pd.concat([networks([[80, 70], [90, 75]], drift=level) for level in (0.1, 0.2)])
    with pytest.raises(ValueError, match="a group of chips must hold one point"):
        rs.summarize(frame, by=[], over=OVER)
    table = rs.summarize(frame, by="drift.relative_drift", over=OVER)
    assert table["drift.relative_drift"].tolist() == [0.1, 0.2]
    assert table["networks"].tolist() == [2, 2]
