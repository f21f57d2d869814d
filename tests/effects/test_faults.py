"""Patterns of stuck cells: exact rates everywhere on the array, correlations in closed form, disjoint, nested.

A pattern has a closed form for the covariance of two cells' states; from it follow the standard error of a rate, whose
cells are not independent, and the index of dispersion of a tile.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats

import rramsweep.effects.stuck_clusters as stuck_clusters
from rramsweep.crossbar.mapping import Differential
from rramsweep.crossbar.programming import LayerSpec, map_layer, program
from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Stream
from rramsweep.effects import Stuck, StuckClusters, StuckLines
from rramsweep.identity import describe
from tests.laws import KS_FALSE_ALARM, SIGMAS, moments_match

DEVICE = Device(1.0, 100.0)
DEFAULT = (0.0175, 0.0904)
HIGH = (0.2, 0.3)

PATTERNS = {
    "independent": lambda a, b, **more: Stuck(a, b, **more),
    "bit lines": lambda a, b, **more: StuckLines(a, b, lines="bit", **more),
    "word lines": lambda a, b, **more: StuckLines(a, b, lines="word", **more),
    "both lines": lambda a, b, **more: StuckLines(a, b, lines="both", **more),
    "clusters": lambda a, b, **more: StuckClusters(a, b, **more),
    "full discs": lambda a, b, **more: StuckClusters(a, b, radius_cells=1.5, fill=1.0, **more),
}
# Array and number of chips that give a rate within about 3 %.
SAMPLES = {
    "independent": ((600, 500), 2),
    "bit lines": ((20_000, 3), 5),
    "word lines": ((3, 20_000), 5),
    "both lines": ((150, 150), 200),
    "clusters": ((600, 500), 4),
    "full discs": ((600, 500), 4),
}
RADIUS_FILL = {"clusters": (2.0, 0.5), "full discs": (1.5, 1.0)}


def masks(pattern, p_lrs, p_hrs, shape, seed=0, make=None):
    # Values outside the window tell a stuck cell from any other.
    cells = Cells(torch.full(shape, 50.0), torch.full(shape, 50.0), DEVICE, 0.0)
    effect = (make or PATTERNS[pattern])(p_lrs, p_hrs, g_lrs_uS=500.0, g_hrs_uS=0.125)
    g = effect(cells, Stream(seed, ("fc", "p", "faults")))
    assert g.shape == shape
    lrs, hrs = g == 500.0, g == 0.125
    assert (lrs | hrs | (g == 50.0)).all()
    return lrs, hrs


def overlap(d, r):
    """Area that two discs of radius r share, their centres at distance d."""
    if d >= 2 * r:
        return 0.0
    return 2 * r**2 * math.acos(d / (2 * r)) - d / 2 * math.sqrt(4 * r**2 - d**2)


def covariance(pattern, p, other, hrs, di, dj):
    """Covariance of one state at two cells that differ by di bit lines and dj word lines; `other` state's rate."""
    if di == dj == 0:
        return p * (1 - p)
    if pattern == "independent":
        return 0.0
    if pattern == "bit lines":
        return p * (1 - p) if di == 0 else 0.0
    if pattern == "word lines":
        return p * (1 - p) if dj == 0 else 0.0
    if pattern == "both lines":
        q = 1 - math.sqrt(1 - p - other)
        a, h = p / (2 - q), other / (2 - q)
        if di == 0:
            return a + (1 - q) * a**2 - p**2
        return a * (1 - h) ** 2 + (1 - a) * a**2 - p**2 if dj == 0 else 0.0
    r, fill = RADIUS_FILL[pattern]
    # Both are free with (1 - p)^2 exp(lam fill^2 A(d)) = (1 - p)^(2 - k).
    k = fill * overlap(math.hypot(di, dj), r) / (math.pi * r**2)
    if not hrs:
        return (1 - p) ** (2 - k) - (1 - p) ** 2
    alone = p / (1 - other)
    both = 1 - 2 * (1 - alone) + (1 - alone) ** (2 - k)
    return both * (1 - other) ** (2 - k) - p**2


def cross_covariance(pattern, p_lrs, p_hrs, di, dj):
    """Covariance of LRS at one cell and HRS at another, in clusters: the process of LRS misses the one of HRS."""
    r, fill = RADIUS_FILL[pattern]
    k = fill * overlap(math.hypot(di, dj), r) / (math.pi * r**2)
    both = 0.0 if di == dj == 0 else p_hrs / (1 - p_lrs) * (1 - p_lrs - (1 - p_lrs) ** (2 - k))
    return both - p_lrs * p_hrs


def states(p_lrs, p_hrs):
    return (p_lrs, p_hrs, False), (p_hrs, p_lrs, True)


def count_variance(pattern, p, other, hrs, shape):
    """Variance of the number of cells of an array in one state."""
    reach = {"independent": (0, 0), "bit lines": (0, shape[1]), "word lines": (shape[0], 0), "both lines": shape}
    rows, columns = (min(r, n - 1) for r, n in zip(reach.get(pattern, (5, 5)), shape, strict=True))
    if pattern == "both lines":
        pairs = [(0, dj) for dj in range(-columns, columns + 1)] + [(di, 0) for di in range(-rows, rows + 1) if di]
    else:
        pairs = [(i, j) for i in range(-rows, rows + 1) for j in range(-columns, columns + 1)]
    return sum(
        (shape[0] - abs(i)) * (shape[1] - abs(j)) * covariance(pattern, p, other, hrs, abs(i), abs(j)) for i, j in pairs
    )


def rates_are_exact(pattern, p_lrs, p_hrs, make=None):
    """Both rates within 4 standard errors, pooled over chips, with the correlation of the cells."""
    shape, chips = SAMPLES[pattern]
    counts = np.array([[int(m.sum()) for m in masks(pattern, p_lrs, p_hrs, shape, s, make)] for s in range(chips)])
    for found, (p, other, hrs) in zip(counts.mean(0), states(p_lrs, p_hrs), strict=True):
        error = math.sqrt(count_variance(pattern, p, other, hrs, shape) / chips)
        assert abs(found - p * math.prod(shape)) < SIGMAS * error + 1e-9, f"{pattern}: rate of {found} is not {p}"


@pytest.mark.parametrize("rates", [DEFAULT, HIGH, (0.05, 0.0), (0.0, 0.05), (0.4, 0.6)], ids=str)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_rates_of_cells_are_exact(pattern, rates):
    rates_are_exact(pattern, *rates)


@pytest.mark.parametrize(
    "mutation",
    [
        lambda make: lambda a, b, **more: make(1.05 * a, 1.05 * b, **more),
        lambda make: lambda a, b, **more: make(a, 1.05 * b, **more),
        lambda make: lambda a, b, **more: make(b, a, **more),  # swapped
        lambda make: lambda a, b, **more: make(a**2, b**2, **more),  # NeuroSim's squared rate
        lambda make: lambda a, b, **more: make(a, b * (1 - a), **more),  # MemTorch: LRS overwrites HRS
    ],
    ids=["strength", "strength of hrs", "swapped", "squared", "overlapping"],
)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_bounds_catch_wrong_rates(pattern, mutation):
    with pytest.raises(AssertionError, match="rate of"):
        rates_are_exact(pattern, *HIGH, make=mutation(PATTERNS[pattern]))


def cells_and_pairs_are_exact(pattern, make=None):
    # Corners and borders included: parents of clusters stand beyond the border too.
    shape, chips = (4, 6), 2000
    drawn = [masks(pattern, *HIGH, shape, seed, make) for seed in range(chips)]
    where = [(i, j) for i in range(shape[0]) for j in range(shape[1])]

    def follow(products, covariances):
        expected = np.array([[covariances(abs(a - c), abs(b - d)) for c, d in where] for a, b in where])
        return (np.abs(products.mean(0) - expected) < 5 * products.std(0) / math.sqrt(chips) + 1e-12).all()

    off = []
    for state, (p, other, hrs) in enumerate(states(*HIGH)):
        off.append(torch.stack([d[state] for d in drawn]).reshape(chips, -1).double().numpy() - p)
        assert (np.abs(off[-1].mean(0)) < 4.5 * math.sqrt(p * (1 - p) / chips)).all()
        assert follow(off[-1][:, :, None] * off[-1][:, None, :], partial(covariance, pattern, p, other, hrs))
    if pattern in RADIUS_FILL:
        assert follow(off[0][:, :, None] * off[1][:, None, :], partial(cross_covariance, pattern, *HIGH))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_cell_of_a_small_array_has_the_rate_and_every_pair_the_covariance(pattern):
    cells_and_pairs_are_exact(pattern)


@pytest.fixture
def small_bands(monkeypatch):
    """Parents drawn in many bands, of two bit lines each in an array of (4, 6), and in many blocks."""
    monkeypatch.setattr(stuck_clusters, "_BAND", 16)
    monkeypatch.setattr(stuck_clusters, "_BLOCK", 2)


@pytest.mark.parametrize("pattern", RADIUS_FILL)
def test_bands_of_bit_lines_leave_no_seam(pattern, small_bands):
    cells_and_pairs_are_exact(pattern)


@pytest.mark.parametrize("pattern", RADIUS_FILL)
def test_the_bounds_catch_bands_that_are_alike(pattern, small_bands, monkeypatch):
    drawn = stuck_clusters._drawn
    monkeypatch.setattr(stuck_clusters, "_drawn", lambda *args: [d[:1].expand_as(d) for d in drawn(*args)])
    with pytest.raises(AssertionError):
        cells_and_pairs_are_exact(pattern)


@pytest.mark.parametrize("radius", [1.0, 1.3, 2.0, 2.5, 7.7, 30.0])
def test_a_disc_holds_the_cells_within_its_radius(radius):
    (bit_lines, word_lines), rows = (20, 30), math.ceil(2 * radius)
    u = Stream(0).uniform((2, 300))
    y, x = u[0] * (bit_lines - 1 + rows), u[1] * (word_lines - 1 + 2 * radius) - radius
    ends = torch.zeros(bit_lines - 1 + 2 * rows, word_lines + 1)
    StuckClusters(radius_cells=radius)._mark(ends, y, x, torch.ones(300))
    found = ends.cumsum(1)[rows : rows + bit_lines, :word_lines]
    i, j = torch.arange(bit_lines).view(-1, 1, 1), torch.arange(word_lines).view(-1, 1)
    away = torch.hypot(i + rows - y.double() - radius, j - x.double())
    assert ((away < radius - 1e-4).sum(2) <= found).all()
    assert (found <= (away < radius + 1e-4).sum(2)).all()
    assert found.sum() > 0


@pytest.mark.parametrize("mean", [1e-9, 0.3, 20.0, 4000.0])
def test_numbers_of_parents_are_poisson_and_grow_with_the_mean(mean):
    u = np.array([0.0, 0.1, 0.5, 0.999, 1 - 2**-24])
    numbers = stuck_clusters._poisson(mean, u)
    assert numbers == stats.poisson.ppf(u + 2**-25, mean).tolist()
    assert all(a <= b for a, b in zip(numbers, stuck_clusters._poisson(1.01 * mean, u), strict=True))
    assert stuck_clusters._poisson(0.0, u) == [0] * len(u)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_index_of_dispersion_of_a_tile(pattern):
    # Section 5: variance / mean of the counts per tile says how bad a pattern is at one and the same rate.
    k, chips = 8, 40
    expected = {
        "independent": lambda p: 1 - p,
        "bit lines": lambda p: k * (1 - p),
        "word lines": lambda p: k * (1 - p),
    }
    for state, (p, other, hrs) in enumerate(states(*HIGH)):
        index = count_variance(pattern, p, other, hrs, (k, k)) / (k**2 * p)
        if pattern in expected:
            assert index == pytest.approx(expected[pattern](p))
        else:
            assert index > 2
        found = []
        for seed in range(chips):
            tiles = masks(pattern, *HIGH, (96, 96), seed)[state].float().view(12, k, 12, k).sum((1, 3))
            found.append(float((tiles - k**2 * p).square().mean()) / (k**2 * p))
        assert abs(np.mean(found) - index) < SIGMAS * np.std(found, ddof=1) / math.sqrt(chips)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_cell_is_stuck_twice_and_a_sum_of_1_leaves_none(pattern):
    # MemTorch draws the two sets independently, so that one overwrites the other (section 13.8).
    lrs, hrs = masks(pattern, 0.4, 0.6, (300, 200))
    assert (lrs ^ hrs).all()
    assert masks(pattern, 1.0, 0.0, (300, 200))[0].all()
    assert masks(pattern, 0.0, 1.0, (300, 200))[1].all()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_stuck_cells_are_nested_in_those_of_a_higher_rate(pattern):
    shape = (300, 200)
    few = masks(pattern, 0.05, 0.1, shape)
    for rates in ((0.05, 0.3), (0.3, 0.1), (0.3, 0.3), (0.3, 0.7)):
        many = masks(pattern, *rates, shape)
        assert ((few[0] | few[1]) <= (many[0] | many[1])).all()


@pytest.mark.parametrize("pattern", [p for p in PATTERNS if p != "both lines"])
def test_a_set_grows_with_its_own_rate_and_lrs_does_not_move_with_that_of_hrs(pattern):
    few, more = masks(pattern, 0.05, 0.1, (300, 200)), masks(pattern, 0.05, 0.4, (300, 200))
    assert (few[1] <= more[1]).all()
    assert torch.equal(few[0], more[0])
    assert (few[0] <= masks(pattern, 0.2, 0.1, (300, 200))[0]).all()
    assert torch.equal(few[0], masks(pattern, 0.05, 0.95, (300, 200))[0])


@pytest.mark.parametrize("pattern", RADIUS_FILL)
def test_clusters_of_many_bands_and_blocks_are_nested(pattern, monkeypatch):
    monkeypatch.setattr(stuck_clusters, "_BAND", 5000)
    monkeypatch.setattr(stuck_clusters, "_BLOCK", 20)
    test_stuck_cells_are_nested_in_those_of_a_higher_rate(pattern)
    test_a_set_grows_with_its_own_rate_and_lrs_does_not_move_with_that_of_hrs(pattern)


@pytest.mark.parametrize("lines", ["bit", "word", "both"])
def test_lines_are_outputs_and_inputs_of_a_convolution(lines):
    lrs, _ = masks("", 0.1, 0.0, (40, 6, 3, 3), make=lambda a, b, **more: StuckLines(a, b, lines=lines, **more))
    lrs = lrs.flatten(1)
    bit, word = lrs.all(1), lrs.all(0)
    assert bit.any() == (lines != "word")
    assert word.any() == (lines != "bit")
    assert torch.equal(lrs, bit.unsqueeze(1) | word)


def test_clusters_lie_on_outputs_and_inputs_of_a_convolution():
    assert torch.equal(masks("clusters", *HIGH, (40, 6, 3, 3))[0].flatten(1), masks("clusters", *HIGH, (40, 54))[0]), (
        "inputs of all positions of the kernel are word lines, side by side"
    )


@pytest.mark.parametrize("pattern", PATTERNS)
def test_other_chips_and_arrays_have_other_faults(pattern):
    cells = Cells(torch.full((300, 200), 50.0), torch.full((300, 200), 50.0), DEVICE, 0.0)
    effect = PATTERNS[pattern](*HIGH)
    first = effect(cells, Stream(0, ("fc", "p", "faults")))
    for stream in (Stream(1, ("fc", "p", "faults")), Stream(0, ("fc", "n", "faults"))):
        assert not torch.equal(first, effect(cells, stream))
    assert torch.equal(first, effect(cells, Stream(0, ("fc", "p", "faults"))))
    assert (cells.g_uS == 50).all()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_rate_zero_is_ideal(pattern):
    cells = Cells(torch.rand(9, 5), torch.rand(9, 5), DEVICE, 0.0)
    assert PATTERNS[pattern](0.0, 0.0, cv_lrs=0.2)(cells, Stream(0)) is cells.g_uS


@pytest.mark.parametrize("pattern", PATTERNS)
def test_mean_weight_depends_on_the_rate_alone(pattern):
    # Section 12.10: E[w'] = (1 - p) w exactly for a one-sided pair, whatever the pattern.
    weight = torch.full((30, 20), 0.5)
    weight[0, 0] = 1.0  # W_max
    layer = map_layer("fc", weight, LayerSpec(DEVICE, Differential(), faults=PATTERNS[pattern](*DEFAULT)))
    means = np.array([float(program(layer, seed).weight()[1:].mean()) for seed in range(200)])
    assert abs(means.mean() - 0.5 * (1 - sum(DEFAULT))) < SIGMAS * means.std(ddof=1) / math.sqrt(len(means))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_stuck_values_may_lie_outside_the_window(pattern):
    # Stuck-high at about 500 and stuck-low at about 10 uS beside a window of 133-233 uS (section 5).
    faults = PATTERNS[pattern](*HIGH, g_lrs_uS=500.0, g_hrs_uS=10.0)
    spec = LayerSpec(Device(133.0, 233.0, edge="clip"), Differential(), faults=faults)
    g = program(map_layer("fc", torch.ones(200, 100), spec), 0).g_uS["p"]
    assert g.unique().tolist() == [10.0, 233.0, 500.0]


def spread(distribution, g, cv):
    if distribution == "uniform":
        return stats.uniform(g * (1 - math.sqrt(3) * cv), 2 * math.sqrt(3) * cv * g)
    if distribution == "normal":
        return stats.norm(g, cv * g)
    s = math.sqrt(math.log1p(cv**2))
    return stats.lognorm(s, scale=g * math.exp(-(s**2) / 2))


def spread_follows(effect, distribution):
    cells = Cells(torch.full((500, 400), 50.0), torch.full((500, 400), 50.0), DEVICE, 0.0)
    g = effect(cells, Stream(0, ("fc", "p", "faults"))).double().numpy().ravel()
    lrs, hrs = g[g > 100], g[g < 20]
    for x, (mean, cv) in ((lrs, (500.0, 0.2)), (hrs, (4.0, 0.15))):
        moments_match(x, mean, cv * mean)
        assert stats.kstest(x, spread(distribution, mean, cv).cdf).pvalue > KS_FALSE_ALARM


@pytest.mark.parametrize("distribution", ["normal", "uniform", "lognormal"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_stuck_values_are_spread_as_stated(pattern, distribution):
    def effect(strength):
        more = {"cv_lrs": strength * 0.2, "cv_hrs": strength * 0.15}
        return PATTERNS[pattern](0.3, 0.3, g_lrs_uS=500.0, g_hrs_uS=4.0, distribution=distribution, **more)

    spread_follows(effect(1.0), distribution)
    with pytest.raises(AssertionError):
        spread_follows(effect(1.05), distribution)


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_the_widest_spread_stays_above_0_and_keeps_its_mean(distribution):
    widest = {"normal": 1 / 3, "uniform": 1 / math.sqrt(3)}[distribution]
    cells = Cells(torch.full((1000, 1000), 50.0), torch.full((1000, 1000), 50.0), DEVICE, 0.0)
    g = Stuck(1.0, 0.0, distribution=distribution, cv_lrs=widest)(cells, Stream(0)).double().numpy()
    assert g.min() >= 0
    assert abs(g.mean() - 100) < SIGMAS * g.std() / 1000
    assert 0.98 < g.std() / (100 * widest) < 1.002


def test_spread_moves_no_cell_in_or_out():
    cells = Cells(torch.full((300, 200), 50.0), torch.full((300, 200), 50.0), DEVICE, 0.0)
    fixed, wide = (Stuck(*HIGH, cv_lrs=cv, cv_hrs=cv)(cells, Stream(3)) for cv in (0.0, 0.1))
    assert torch.equal(fixed == 50, wide == 50)


def test_a_stuck_cell_without_spread_is_the_point_that_it_was():
    # The spread came later: at 0 neither the chip nor its identity may change.
    assert describe(Stuck(*DEFAULT)) == (
        "Stuck v1(g_hrs_uS=None, g_lrs_uS=None, p_stuck_hrs=0.0904, p_stuck_lrs=0.0175)"
    )
    assert "cv_lrs=0.1" in describe(Stuck(*DEFAULT, cv_lrs=0.1))
    cells = Cells(torch.full((300, 200), 50.0), torch.full((300, 200), 50.0), DEVICE, 0.0)
    u = Stream(5, ("fc", "p", "faults")).uniform((300, 200))
    expected = torch.where(u >= 1 - 0.0904, 1.0, torch.where(u < 0.0175, 100.0, cells.g_uS))
    assert torch.equal(Stuck(*DEFAULT)(cells, Stream(5, ("fc", "p", "faults"))), expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StuckLines(0.6, 0.6), "must be at most 1, got 0.6"),
        (lambda: StuckClusters(-0.1, 0.0), "p_stuck_lrs must lie in 0..1"),
        (lambda: Stuck(0.1, 0.1, distribution="beta"), "distribution must be one of normal, uniform, lognormal"),
        (lambda: Stuck(0.1, 0.1, cv_lrs=0.4), "cv_lrs must lie in 0..0.333 for a normal"),
        (lambda: Stuck(0.1, 0.1, cv_hrs=0.6, distribution="uniform"), "cv_hrs must lie in 0..0.577"),
        (lambda: Stuck(0.1, 0.1, cv_hrs=math.inf, distribution="lognormal"), "cv_hrs must lie in 0..inf"),
        (lambda: StuckLines(0.1, 0.1, lines="row"), "lines must be one of bit, word, both"),
        (lambda: StuckClusters(0.1, 0.1, radius_cells=0.2), "radius_cells must lie in 1..100"),
        (lambda: StuckClusters(0.4, 0.3), "at most 0.15 centres a cell .* clusters of 6.28 cells need 0.19: lower"),
        (lambda: StuckClusters(0.5, 0.4, radius_cells=4.0), "radius 4 must have at most 0.075 centres .* need 0.092"),
        (lambda: StuckClusters(0.1, 0.1, radius_cells=1.0, fill=0.2), "0.628 cells need 0.36: .* or use faults=stuck"),
        (lambda: StuckClusters(0.1, 0.1, fill=0.0), "fill must lie in 0.2..1"),
        (lambda: StuckClusters(0.1, 0.1, fill=math.nan), "fill must lie in 0.2..1"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
