"""The relaxation law of HfOx cells against the measured cells, fitted on half of them and tested on the other half.

Two splits. In the balanced one the halves have like means and variances (see `fit_relaxation.balanced`), and the
package's table is fitted on it: every stated tolerance must hold, so this tests the form of the law. In the plain one
cells of even index are fitted and those of odd index tested, blind to what they did: there a tolerance is the stated
one or three standard errors of the difference of the two halves, whichever is larger, because those halves of the
data differ by up to 26 % in a standard deviation.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Stream
from rramsweep.effects import HfOxRelaxation, hfox_relaxation
from tests import bin_relaxation as binning
from tests import fit_relaxation as fitting

SHARED = Path(os.environ.get("RRAMSWEEP_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
DATA = SHARED / "relaxation_hfox_40uS.npz"

DEVICE = Device(0.0, 40.0, edge="none")
CHIPS = 20  # simulated chips a measured cell, so that the law's own sampling error does not count

MEAN_US, SD, SHARE, CORRELATION = 0.25, 0.12, 1.5, 0.1


@pytest.fixture(scope="module")
def cells():
    """First readings, changes, and which cells are fitted in the balanced split."""
    if not DATA.is_file():
        pytest.skip(f"{DATA} is not there")
    g_uS, change_uS = fitting.read(DATA)
    return g_uS, change_uS, fitting.balanced(g_uS, change_uS)


def simulate(g_uS, seed=0):
    """Changes of CHIPS chips (cells, times), each of whose cells begins where a measured one was first read."""
    now = torch.from_numpy(np.tile(g_uS, CHIPS)).float()
    stream = Stream(seed, ("cells", "p", "relaxation"))
    law = HfOxRelaxation()
    times = [law(Cells(now, now, DEVICE, t), stream) - now for t in fitting.TIMES_S]
    return torch.stack(times, dim=1).double().numpy()


def by_bin(g_uS, x, statistic):
    """(bins, ...) of a statistic of the changes (cells, times) in each conductance bin."""
    where = fitting.bins(g_uS)
    return np.array([statistic(x[where == k]) for k in range(fitting.BINS)])


def shares(x):
    """Share beyond 3 robust sigma at each time."""
    return [fitting.beyond(column)[0] for column in x.T]


def correlations(x):
    return [np.corrcoef(x.T)[pair] for pair in fitting.PAIRS]


def errors(x, statistic, n=100):
    """Standard errors by bootstrap."""
    rng = np.random.default_rng(0)
    return np.std([statistic(x[rng.integers(0, len(x), len(x))]) for _ in range(n)], axis=0)


@pytest.fixture(scope="module")
def halves(cells):
    """What was measured on the tested half of the balanced split, and what is simulated for it."""
    g_uS, change_uS, fitted = cells
    g_uS, measured = g_uS[~fitted], change_uS[~fitted]
    return g_uS, measured, np.tile(g_uS, CHIPS), simulate(g_uS)


def test_mean_of_each_bin_and_time_is_within_a_quarter_microsiemens(halves):
    g, measured, gs, simulated = halves
    difference = by_bin(gs, simulated, lambda x: x.mean(axis=0)) - by_bin(g, measured, lambda x: x.mean(axis=0))
    assert np.abs(difference).max() < MEAN_US, difference.round(2)


def test_standard_deviation_of_each_bin_and_time_is_within_12_percent(halves):
    g, measured, gs, simulated = halves
    ratio = by_bin(gs, simulated, lambda x: x.std(axis=0)) / by_bin(g, measured, lambda x: x.std(axis=0))
    assert np.abs(ratio - 1).max() < SD, ratio.round(2)


def test_share_beyond_3_robust_sigma_of_each_bin_and_time_is_within_a_factor_of_1_5(halves):
    g, measured, gs, simulated = halves
    ratio = by_bin(gs, simulated, shares) / by_bin(g, measured, shares)
    assert ratio.max() < SHARE, ratio.round(2)
    assert ratio.min() > 1 / SHARE, ratio.round(2)


def test_correlation_between_times_is_within_a_tenth(halves):
    g, measured, gs, simulated = halves
    assert correlations(simulated) == pytest.approx(correlations(measured), abs=CORRELATION)
    difference = np.abs(by_bin(gs, simulated, correlations) - by_bin(g, measured, correlations))
    error = by_bin(g, measured, lambda x: errors(x, correlations))
    assert (difference < np.maximum(CORRELATION, 3 * error))[1:].all(), difference.round(2)
    # Below 5 uS jumps at 10 ms and at 1 s are less often of the same cells than the law has it: 0.33 for 0.16.
    assert difference[0].max() < 2 * CORRELATION, difference.round(2)


def test_far_tails_are_those_measured(halves):
    # Pooled over the bins, so that there are cells enough: beyond 4 and 6 robust sigma, at each time.
    g, measured, gs, simulated = halves
    weight = np.bincount(fitting.bins(g)) / len(g)

    def pooled(where, x):
        of_bins = by_bin(where, x, lambda part: [fitting.beyond(column)[1:] for column in part.T])
        return np.tensordot(weight, of_bins, 1)

    ratio = pooled(gs, simulated) / pooled(g, measured)
    assert ratio[:, 0].max() < SHARE, ratio.round(2)
    assert ratio[:, 0].min() > 1 / SHARE, ratio.round(2)
    assert ratio[:, 1].max() < 2, ratio.round(2)
    assert ratio[:, 1].min() > 1 / 2, ratio.round(2)


def test_the_table_of_the_package_is_this_fit(cells):
    g_uS, change_uS, fitted = cells
    fresh = fitting.fit(g_uS[fitted], change_uS[fitted])
    kept = json.loads(hfox_relaxation.TABLE.read_text())
    assert fresh["source"] == kept["source"]
    for name in ("t_s", "g_uS", "mean_uS", "sd_uS"):
        assert np.allclose(fresh[name], kept[name], atol=2e-4)
    for name in ("tail_share", "tail_ratio", "tail_shift", "persistent_share", "links"):
        assert np.allclose(fresh[name], kept[name], rtol=0.02, atol=0.02)


@pytest.fixture
def plain_table(cells, tmp_path, monkeypatch):
    """The law with a table that was fitted on the cells of even index, for one test."""
    g_uS, change_uS, _ = cells
    path = tmp_path / "table.json"
    path.write_text(json.dumps(fitting.fit(g_uS[::2], change_uS[::2])))

    def forget():
        for cache in (hfox_relaxation._table, hfox_relaxation._lookup):
            cache.cache_clear()

    monkeypatch.setattr(hfox_relaxation, "TABLE", path)
    forget()
    yield
    monkeypatch.undo()
    forget()


def test_a_law_fitted_on_even_cells_tells_the_odd_ones(cells, plain_table):
    g_uS, change_uS, _ = cells
    g, measured = g_uS[1::2], change_uS[1::2]
    gs, simulated = np.tile(g, CHIPS), simulate(g)
    checks = {
        "mean": (lambda x: x.mean(axis=0), MEAN_US),
        "log sd": (lambda x: np.log(x.std(axis=0)), np.log(1 + SD)),
        "log share": (lambda x: np.log(shares(x)), np.log(SHARE)),
        "correlation": (correlations, CORRELATION),
    }
    for name, (statistic, tolerance) in checks.items():
        difference = np.abs(by_bin(gs, simulated, statistic) - by_bin(g, measured, statistic))
        of_halves = [by_bin(g_uS[k::2], change_uS[k::2], lambda x, of=statistic: errors(x, of)) for k in (0, 1)]
        error = np.hypot(*of_halves)
        print(name, (difference > tolerance).sum(), "of", difference.size, "outside", tolerance, difference.max())
        assert (difference < np.maximum(tolerance, 3 * error)).all(), (name, difference.round(2))
        # Three of ten such checks may miss the bare tolerance by the chance of the tested cells alone.
        assert (difference < tolerance).mean() > 0.7, (name, difference.round(2))


def test_the_binned_table_of_the_notebook_is_that_of_the_cells(cells):
    g_uS, change_uS, _ = cells
    assert binning.TABLE.read_text(encoding="utf-8") == binning.text(g_uS, change_uS)


def test_the_binned_table_holds_closed_forms():
    """Two cells in each bin, two above the last, that move by +-1 uS; all but the first pair 1 more."""
    g_uS = np.repeat([*np.arange(1.25, 40, 2.5), 64.25], 2)
    sign = np.tile([1.0, -1.0], 17)
    change_uS = np.stack([sign, 2 * sign, -sign, 3 + sign], axis=1) + (g_uS > 2.5)[:, None]
    table = {(quantity, at, t_s): value for quantity, at, t_s, value in binning.rows(g_uS, change_uS)}
    assert [table["cells", at, 0.0] for at in (1.0, 3.5, 64.0)] == [2, 2, 2]
    assert (table["mean_uS", 0.0, 0.01], table["mean_uS", 2.5, 0.01], table["mean_uS", 37.5, 1e5]) == (0, 1, 4)
    assert (table["sd_uS", 37.5, 0.1], table["sd_uS", 0.0, 1e5]) == (2, 1)
    assert (table["beyond", 1, 0.01], table["beyond", 3, 1e5]) == (16 / 34, 17 / 34)
    assert table["correlation", 0.1, 0.01] > 0 > table["correlation", 1.0, 0.01]


def test_the_binned_table_is_small_and_has_its_licence_beside_it():
    assert binning.TABLE.stat().st_size < 50_000
    assert binning.TABLE.read_text(encoding="utf-8").startswith(binning.HEAD)
    licence = binning.TABLE.with_name("LICENSE").read_text(encoding="utf-8")
    assert "Copyright (c) 2021 Akash Levy" in licence
    assert binning.TABLE.name in licence
