"""Stuck cells: rates within binomial bounds, disjoint, nested, and unmoved by each other."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Stream
from rramsweep.effects import Stuck

N = 1_000_000
DEVICE = Device(1.0, 100.0)
RATES = [(0.0175, 0.0904), (0.3, 0.0), (0.0, 0.001), (0.5, 0.5), (1e-5, 1e-5)]


def masks(p_lrs, p_hrs, seed=0):
    # Values outside the window tell a stuck cell from any other.
    cells = Cells(torch.full((N,), 50.0), torch.full((N,), 50.0), DEVICE, 0.0)
    g = Stuck(p_lrs, p_hrs, g_lrs_uS=500.0, g_hrs_uS=0.125)(cells, Stream(seed, ("fc", "p", "faults")))
    assert set(g.unique().tolist()) <= {500.0, 0.125, 50.0}
    return g == 500.0, g == 0.125


@pytest.mark.parametrize(("p_lrs", "p_hrs"), RATES)
def test_counts_are_binomial(p_lrs, p_hrs):
    for mask, p in zip(masks(p_lrs, p_hrs), (p_lrs, p_hrs), strict=True):
        low, high = stats.binom.interval(1 - 6e-5, N, p) if p else (0, 0)
        assert low <= int(mask.sum()) <= high


@pytest.mark.parametrize("factor", [1.05, 0.95])
def test_the_bounds_catch_five_percent(factor):
    low, high = stats.binom.interval(1 - 6e-5, N, 0.0904)
    assert not low <= int(masks(0.0175, 0.0904 * factor)[1].sum()) <= high


@pytest.mark.parametrize(("p_lrs", "p_hrs"), RATES)
def test_no_cell_is_stuck_twice(p_lrs, p_hrs):
    lrs, hrs = masks(p_lrs, p_hrs)
    assert not (lrs & hrs).any()


def test_a_set_is_nested_in_that_of_a_higher_rate():
    few, many = masks(0.01, 0.02), masks(0.05, 0.10)
    assert (few[0] <= many[0]).all()
    assert (few[1] <= many[1]).all()


def test_neither_set_moves_when_the_others_rate_changes():
    assert torch.equal(masks(0.0, 0.09)[1], masks(0.6, 0.09)[1])
    assert torch.equal(masks(0.05, 0.0)[0], masks(0.05, 0.7)[0])


def test_other_chips_have_other_faults():
    assert not torch.equal(masks(0.05, 0.05)[0], masks(0.05, 0.05, seed=1)[0])


def test_without_values_cells_stick_at_the_ends_of_the_window():
    cells = Cells(torch.full((1000,), 50.0), torch.full((1000,), 50.0), DEVICE, 0.0)
    assert Stuck(1.0, 0.0)(cells, Stream(0)).unique().tolist() == [100.0]
    assert Stuck(0.0, 1.0)(cells, Stream(0)).unique().tolist() == [1.0]
    assert Stuck(0.5, 0.5)(cells, Stream(0)).unique().tolist() == [1.0, 100.0]
    assert Stuck()(cells, Stream(0)) is cells.g_uS
