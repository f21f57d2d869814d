"""Variation: total variance, covariance of every pair of cells, what a column's sum makes of it."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from rramsweep.crossbar.mapping import Differential
from rramsweep.crossbar.programming import LayerSpec, map_layer, program
from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Stream
from rramsweep.effects import Variation
from tests.laws import KS_FALSE_ALARM, SIGMAS, Law, follows

DEVICE = Device(1.0, 100.0, edge="none")
SHAPE, CHIPS = (3, 4), 5000
SIGMA = 0.1

# shares: device, chip, column, gradient
SHARES = {
    "device": (1.0, 0.0, 0.0, 0.0),
    "chip": (0.0, 1.0, 0.0, 0.0),
    "column": (0.0, 0.0, 1.0, 0.0),
    "gradient": (0.0, 0.0, 0.0, 1.0),
    "mixed": (0.4, 0.1, 0.2, 0.3),
}


def effect(shares, sigma=SIGMA, of="conductance"):
    device, chip, column, gradient = shares
    return Variation(sigma, of, device, chip, column, gradient)


@functools.cache
def errors(law, g=None, chips=CHIPS, shape=SHAPE):
    """Errors (uS) of every cell of one array, one row a chip."""
    g = torch.full(shape, 50.0) if g is None else g
    cells = Cells(g, torch.full(g.shape, 90.0), DEVICE, 0.0)
    drawn = [law(cells, Stream(seed, ("fc", "p", "variation"))) for seed in range(chips)]
    assert all(d.shape == g.shape and d.dtype == torch.float32 for d in drawn[:1])
    return (torch.stack(drawn) - g).reshape(chips, -1).double().numpy()


def correlation(shares, one, other):
    """Closed form of two cells of one array of `SHAPE`."""
    device, chip, column, gradient = shares
    di, dj = one[0] - other[0], one[1] - other[1]
    smooth = (math.cos(math.pi * di / SHAPE[0]) + math.cos(math.pi * dj / SHAPE[1])) / 2
    return device * (one == other) + chip + column * (di == 0) + gradient * smooth


def obeys(law, shares, sigma=SIGMA):
    """Every variance and covariance within 4.5 standard errors (78 of them), every cell normal."""
    x = errors(law)
    where = [(i, j) for i in range(SHAPE[0]) for j in range(SHAPE[1])]
    rho = np.array([[correlation(shares, a, b) for b in where] for a in where])
    variance = (sigma * 50) ** 2
    tolerance = 4.5 * variance * np.sqrt((1 + rho**2) / CHIPS)
    assert (np.abs(x.mean(0)) < 4.5 * math.sqrt(variance / CHIPS)).all()
    assert (np.abs(x.T @ x / CHIPS - variance * rho) < tolerance).all(), "a covariance differs"
    for cell in x.T:
        assert stats.kstest(cell, stats.norm(0, sigma * 50).cdf).pvalue > KS_FALSE_ALARM


@pytest.mark.parametrize("kind", SHARES)
def test_every_cell_has_the_total_variance_and_every_pair_its_covariance(kind):
    # Corner, border and middle alike: the variance of the smooth part does not depend on the place.
    obeys(effect(SHARES[kind]), SHARES[kind])


@pytest.mark.parametrize(
    "mutant",
    [
        effect((0.4, 0.1, 0.2, 0.3), SIGMA * 1.05),
        effect((0.4, 0.2, 0.1, 0.3)),
        effect((0.4, 0.1, 0.3, 0.2)),
        effect((0.3, 0.1, 0.2, 0.4)),
    ],
    ids=["strength", "chip and column swapped", "column and gradient swapped", "device and gradient swapped"],
)
def test_the_bounds_catch_wrong_parts(mutant):
    with pytest.raises(AssertionError):
        obeys(mutant, SHARES["mixed"])


LAWS = [
    Law(f"of conductance, g={g}", lambda k: Variation(k * 0.1), g, 90.0, g, 0.1 * g, stats.norm(g, 0.1 * g).cdf)
    for g in (1.0, 50.0)
] + [
    Law(f"of g_max, g={g}", lambda k: Variation(k * 0.1, of="g_max"), g, 90.0, g, 10.0, stats.norm(g, 10.0).cdf)
    for g in (1.0, 50.0)
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_sigma_is_a_fraction_of_what_it_says(law):
    follows(law, law.make(1.0), DEVICE)
    with pytest.raises(AssertionError):
        follows(law, law.make(1.05), DEVICE)


@pytest.mark.parametrize("kind", SHARES)
def test_sigma_zero_is_ideal(kind):
    cells = Cells(torch.rand(5, 3, 2), torch.rand(5, 3, 2), DEVICE, 0.0)
    assert effect(SHARES[kind], 0.0)(cells, Stream(1)) is cells.g_uS


@pytest.mark.parametrize("kind", ["device", "column", "gradient", "mixed"])
def test_cells_of_one_level_do_not_share_a_draw(kind):
    # MNSIM draws once a level, for all cells that have it (section 13.8).
    x = errors(effect(SHARES[kind]), chips=1, shape=(40, 30))
    assert len(np.unique(x)) >= 40


def test_chip_term_is_common_to_layers_and_cells_and_nothing_else_is():
    shares, chips = (0.3, 0.5, 0.1, 0.1), 1500
    weight = torch.tensor([[1.0, -1.0], [0.5, -0.5]])
    layers = [map_layer(n, weight, LayerSpec(DEVICE, Differential(), variation=effect(shares))) for n in ("a", "b")]
    rows = []
    for seed in range(chips):
        a, b = (program(layer, seed).g_uS for layer in layers)
        rows.append([float(a["p"][0, 0]), float(a["n"][0, 0]), float(b["p"][0, 0])])
    found = np.corrcoef(np.array(rows).T)
    assert np.abs(found - np.where(np.eye(3), 1.0, shares[1])).max() < 4.5 / math.sqrt(chips)


def test_column_common_error_is_proportional_to_y_squared():
    # Section 8: Var(I) of a column's current I = sum G x: sigma^2 share_column I^2, where cells of their own give
    # sigma^2 share_device sum (G x)^2, and what is smooth along a column or common to a chip adds up likewise.
    g = torch.tensor([[90.0, 10.0, 40.0, 70.0], [20.0, 80.0, 30.0, 60.0], [50.0, 50.0, 50.0, 50.0]])
    x = torch.tensor([1.0, -0.5, 2.0, 0.25])
    chips = 2000
    terms, current = (g * x).double().numpy(), (g @ x).double().numpy()
    for kind, variance in (
        ("column", current**2),
        ("chip", current**2),
        ("device", (terms**2).sum(1)),
        ("mixed", None),
    ):
        if variance is None:
            along = [[correlation(SHARES[kind], (0, j), (0, k)) for k in range(4)] for j in range(4)]
            variance = np.einsum("ij,jk,ik->i", terms, np.array(along), terms)
        found = errors(effect(SHARES[kind]), g, chips).reshape(chips, *SHAPE) @ x.double().numpy()
        assert (np.abs(found.var(0) / (SIGMA**2 * variance) - 1) < SIGMAS * math.sqrt(2 / chips)).all()


def test_a_column_scale_removes_what_a_column_has_in_common():
    g = torch.rand(8, 30, generator=torch.Generator().manual_seed(0)) * 99 + 1
    after = Variation(0.2, share_column=1.0)(Cells(g, g, DEVICE, 0.0), Stream(0))
    scale = (after / g)[:, :1]
    assert not torch.allclose(scale, torch.ones(8, 1), atol=0.01)
    torch.testing.assert_close(after / scale, g)


def test_what_is_common_cancels_in_a_pair_where_it_is_a_fraction_of_g_max():
    weight = torch.tensor([[1.0, -0.3], [0.5, 0.0]])
    spec = LayerSpec(DEVICE, Differential(), variation=Variation(0.1, of="g_max", share_chip=1.0))
    layer = program(map_layer("fc", weight, spec), 3)
    assert not torch.allclose(layer.g_uS["p"], layer.target_uS["p"], atol=0.1)
    torch.testing.assert_close(layer.weight(), weight, atol=1e-5, rtol=0)


def test_gradient_is_smooth_and_turns_its_sign_from_corner_to_corner():
    x = errors(effect(SHARES["gradient"]), chips=300, shape=(60, 80)).reshape(300, 60, 80)
    step = max(np.abs(np.diff(x, axis=1)).max(), np.abs(np.diff(x, axis=2)).max())
    assert step < 4.5 * SIGMA * 50 * math.pi / 60
    assert np.corrcoef(x[:, 0, 0], x[:, -1, -1])[0, 1] < -0.98


def test_shares_and_sigma_scale_the_same_draws():
    g = torch.full((20, 30), 50.0)
    cells, rng = Cells(g, g, DEVICE, 0.0), Stream(2, ("fc", "p", "variation"))
    parts = {k: effect(SHARES[k])(cells, rng) - g for k in SHARES}
    mixed = sum(
        math.sqrt(share) * parts[k]
        for share, k in zip(SHARES["mixed"], ("device", "chip", "column", "gradient"), strict=True)
    )
    torch.testing.assert_close(parts["mixed"], mixed, atol=1e-4, rtol=0)
    torch.testing.assert_close(effect(SHARES["mixed"], 2 * SIGMA)(cells, rng) - g, 2 * mixed, atol=1e-4, rtol=0)
    left_out = Variation(SIGMA, share_chip=0.1, share_column=0.2, share_gradient=0.3)
    torch.testing.assert_close(left_out(cells, rng) - g, mixed, atol=1e-4, rtol=0)


def test_columns_are_outputs_of_a_convolution():
    g = torch.full((5, 4, 3, 3), 50.0)
    after = Variation(0.1, share_column=1.0)(Cells(g, g, DEVICE, 0.0), Stream(0)).flatten(1)
    assert torch.equal(after, after[:, :1].expand(5, 36))
    assert len(after[:, 0].unique()) == 5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Variation(1.5), "sigma must lie in 0..1"),
        (lambda: Variation(0.1, of="target"), "of must be one of conductance, g_max"),
        (lambda: Variation(0.1, share_chip=-0.1), "share_chip must lie in 0..1"),
        (lambda: Variation(0.1, share_chip=0.6, share_column=0.6), "must sum to 1, got share_chip 0.6"),
        (lambda: Variation(0.1, share_device=0.5, share_chip=0.4), "must sum to 1, got share_device 0.5"),
        (lambda: Variation(0.1, share_device=math.nan), "share_device must lie in 0..1"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
