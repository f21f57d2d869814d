"""Tiles: how a matrix is cut, and that each piece has wires of its own."""

from __future__ import annotations

import pytest
import torch

from rramsweep.crossbar.tile import Crossbar
from rramsweep.crossbar.wires import Segments

WIRES = Segments(2.0, 3.0, 40.0, 5.0)


def weights(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 99 + 1


def alone(matrix, wires=WIRES):
    """G_eff of one crossbar that holds all of a matrix (outputs, inputs)."""
    return wires.effective(matrix.mT[None])[0].mT


@pytest.mark.parametrize(
    ("rows", "columns", "counts"),
    [(128, 128, (1, 5, 1)), (576, 64, (1, 1, 1)), (100, 30, (1, 6, 3)), (8192, 8192, (1, 1, 1)), (1, 1, (1, 576, 64))],
)
def test_a_matrix_is_cut_into_full_tiles_and_the_rest(rows, columns, counts):
    assert Crossbar(rows, columns).counts(64, 576) == counts


def test_pairs_on_one_crossbar_take_two_word_lines_and_groups_tiles_of_their_own():
    assert Crossbar(128, 128, arrangement="interleaved").counts(64, 576) == (1, 9, 1)
    assert Crossbar(128, 128).counts(64, 9, groups=64) == (64, 1, 1)


def test_each_tile_has_the_wires_of_its_own_cells():
    g = weights(40, 10, 3, 3)
    found = Crossbar(32, 16).effective_uS({"p": g}, WIRES, 1.0)["p"].flatten(1)
    flat = g.flatten(1)
    for rows in (slice(0, 32), slice(32, 64), slice(64, 90)):
        for columns in (slice(0, 16), slice(16, 32), slice(32, 40)):
            torch.testing.assert_close(found[columns, rows], alone(flat[columns, rows]), rtol=1e-12, atol=0)


def test_tiles_of_groups_share_no_line():
    g = weights(24, 9)
    found = Crossbar(128, 128).effective_uS({"p": g}, WIRES, 1.0, groups=3)["p"]
    for group in range(3):
        outputs = slice(8 * group, 8 * group + 8)
        torch.testing.assert_close(found[outputs], alone(g[outputs]), rtol=1e-12, atol=0)


def test_cells_beyond_the_used_ones_load_a_whole_tile():
    g = weights(5, 7)
    tile = torch.full(
        (16, 12), 2.0, dtype=torch.float64
    )  # inputs, outputs: used rows at the sense, columns at the driver
    tile[9:, :5] = g.mT
    found = Crossbar(16, 12, fill="whole").effective_uS({"p": g}, WIRES, 2.0)["p"]
    torch.testing.assert_close(found, WIRES.effective(tile[None])[0, 9:, :5].mT, rtol=1e-13, atol=0)
    used = Crossbar(16, 12).effective_uS({"p": g}, WIRES, 2.0)["p"]
    torch.testing.assert_close(used, alone(g), rtol=1e-13, atol=0)
    assert (found < used).all()  # they draw current from every line


def test_separate_arrays_do_not_know_of_each_other_and_interleaved_pairs_share_bit_lines():
    p, n = weights(6, 8), weights(6, 8, seed=1)
    apart = Crossbar(16, 16).effective_uS({"p": p, "n": n}, WIRES, 1.0)
    torch.testing.assert_close(apart["p"], alone(p), rtol=1e-13, atol=0)
    torch.testing.assert_close(apart["n"], alone(n), rtol=1e-13, atol=0)
    paired = Crossbar(16, 16, arrangement="interleaved").effective_uS({"p": p, "n": n}, WIRES, 1.0)
    for found, expected in zip(paired.values(), WIRES.effective_pair(p.mT[None], n.mT[None]), strict=True):
        torch.testing.assert_close(found, expected[0].mT, rtol=1e-13, atol=0)


def test_many_tiles_are_marched_in_batches_with_the_same_result(monkeypatch):
    g = weights(60, 90)
    whole = Crossbar(20, 20).effective_uS({"p": g, "n": g}, WIRES, 1.0)["p"]
    monkeypatch.setattr("rramsweep.crossbar.wires._TOGETHER", 30_000)
    torch.testing.assert_close(Crossbar(20, 20).effective_uS({"p": g, "n": g}, WIRES, 1.0)["n"], whole)


@pytest.mark.parametrize("name", ["rows", "columns"])
@pytest.mark.parametrize("value", [0, -1, 8193])
def test_lines_are_of_one_crossbar(name, value):
    with pytest.raises(ValueError, match=rf"tile.{name} must lie in 1..8192, got {value}: give the lines"):
        Crossbar(**{name: value})


def test_bad_words_and_odd_pairs_are_refused():
    with pytest.raises(ValueError, match=r"tile.rows must be even for arrangement=interleaved"):
        Crossbar(rows=33, arrangement="interleaved")
    with pytest.raises(ValueError, match=r"fill must be one of used, whole"):
        Crossbar(fill="all")
    with pytest.raises(ValueError, match=r"arrangement must be one of separate, interleaved"):
        Crossbar(arrangement="mixed")
