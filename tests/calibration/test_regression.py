"""Reduced-rank regression: the minimum of what it says it minimises, in either basis."""

from __future__ import annotations

import pytest
import torch

from rramsweep.calibration import DoRA, LayerSamples, LowRank
from rramsweep.calibration.regression import SecondMoments

RIDGE, RANK = 0.2, 2


def samples(rows: int, n: int, groups: int = 1, m: int = 5) -> LayerSamples:
    rng = torch.Generator().manual_seed(rows)
    x = torch.randn(groups, rows, n, generator=rng) + 0.5
    y, target = (torch.randn(rows, m * groups, generator=rng) for _ in range(2))
    return LayerSamples("fc", y, target, rows, (m, n), lambda: x)


CASES = [(40, 8, 1), (12, 30, 1), (40, 6, 3), (7, 20, 2)]


@pytest.mark.parametrize(("rows", "n", "groups"), CASES)
def test_the_low_rank_part_is_the_minimum(rows, n, groups):
    given = samples(rows, n, groups)
    moments = SecondMoments(given, RIDGE)
    scale = torch.rand(groups, 5, generator=torch.Generator().manual_seed(1)).double() * 3 + 0.2
    left, right = moments.low_rank(scale, RANK)
    right = moments.right(right)
    assert left.shape == (groups, 5, RANK)
    assert right.shape == (groups, RANK, n)
    x = given.x.double() - given.x.double().mean(1, keepdim=True)
    penalty = RIDGE * x.square().sum(1).mean(-1)
    y, target = (
        (part.double() - part.double().mean(0)).reshape(rows, groups, 5).movedim(1, 0)
        for part in (given.y, given.target)
    )

    def objective(left, right):
        low_rank = left @ right
        left_over = target - scale[:, None] * (y + x @ low_rank.mT)
        weighted = scale[..., None] * low_rank
        return left_over.square().sum((1, 2)) + penalty * weighted.square().sum((1, 2))

    least = objective(left, right)
    rng = torch.Generator().manual_seed(2)
    for size in (1e-3, 1e-2, 0.1, 1.0):
        for _ in range(20):
            other = [part + size * torch.randn(part.shape, generator=rng) for part in (left, right)]
            assert (objective(*other) > least).all()
    # The exact minimum: the ridge solution of full rank, less the directions that rank r leaves out.
    exact = []
    for g in range(groups):
        inverse = torch.linalg.inv(x[g].T @ x[g] + penalty[g] * torch.eye(n))
        full = (target[g] - scale[g] * y[g]).T @ x[g] @ inverse
        directions = torch.linalg.eigh(full @ x[g].T @ (target[g] - scale[g] * y[g])).eigenvectors[:, -RANK:]
        exact.append(directions @ directions.T @ full / scale[g][:, None])
    torch.testing.assert_close(left @ right, torch.stack(exact), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("rows", "n", "groups"), CASES)
def test_the_magnitude_is_least_squares(rows, n, groups):
    given = samples(rows, n, groups)
    moments = SecondMoments(given, RIDGE)
    left, right = moments.low_rank(torch.ones(groups, 5, dtype=torch.float64), RANK)
    scale, right_of_inputs = moments.scale(left @ right), moments.right(right)
    added = (given.x.double() @ (left @ right_of_inputs).mT).movedim(0, 1).reshape(rows, -1)
    z, target = given.y.double() + added, given.target.double()
    z0, target0 = z - z.mean(0), target - target.mean(0)
    expected = (z0 * target0).sum(0) / z0.square().sum(0)
    torch.testing.assert_close(scale.flatten(), expected, rtol=1e-3, atol=1e-4)
    offset = moments.offset(scale, left @ right)
    torch.testing.assert_close(offset, target.mean(0) - expected * z.mean(0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", [LowRank(rank=2), DoRA(rank=2)], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize(("rows", "n", "groups"), CASES)
def test_nothing_missing_gives_no_correction(method, rows, n, groups):
    given = samples(rows, n, groups)
    fitted = method.fit_layer(LayerSamples("fc", given.y, given.y.clone(), rows, (5, n), lambda: given.x))
    assert (fitted.left @ fitted.right).abs().max() == 0
    torch.testing.assert_close(fitted.offset, torch.zeros(5 * groups), rtol=0, atol=1e-6)
    if fitted.scale is not None:
        torch.testing.assert_close(fitted.scale, torch.ones(5 * groups))


@pytest.mark.parametrize("method", [LowRank(rank=2), DoRA(rank=2)], ids=lambda m: type(m).__name__)
def test_inputs_that_are_all_alike_give_no_matrix(method):
    given = samples(20, 6)
    same = torch.ones(1, 20, 6)
    fitted = method.fit_layer(LayerSamples("fc", given.y, given.target, 20, (5, 6), lambda: same))
    assert (fitted.left @ fitted.right).abs().max() < 1e-5
    assert fitted.offset.isfinite().all()
