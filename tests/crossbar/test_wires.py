"""Wires against a nodal solve of the whole circuit that is written here, and against identities."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest
import scipy.sparse as sparse
import torch
from scipy.sparse.linalg import splu

from rramsweep.crossbar import wires
from rramsweep.crossbar.wires import Segments

FULL_SCALE = 1e-10  # of the largest conductance


@pytest.fixture(autouse=True, params=["torch", "numba"])
def kernel(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(wires, "compiled_march", lambda: None)
    elif wires.compiled_march() is None:
        pytest.skip("numba is not installed")
    return request.param


def nodal(segments, *arrays):
    """G_eff of each array by Kirchhoff's current law at every node, arrays share the nodes of the bit lines."""
    return solved(segments, arrays[0].shape, *(tuple(array.flatten().tolist()) for array in arrays))


@cache
def solved(segments, shape, *flat):
    """Kept, because both kernels are compared with it."""
    arrays = [np.reshape(array, shape) for array in flat]
    rows, columns = shape
    resistors = []
    for k, i in itertools.product(range(len(arrays)), range(rows)):
        word = [("word", k, i, j) for j in range(columns)]
        resistors.append((("in", k, i), word[0], segments.driver_ohm + segments.word_line_ohm))
        resistors += [(a, b, segments.word_line_ohm) for a, b in itertools.pairwise(word)]
        if segments.drive == "both":
            resistors.append((("in", k, i), word[-1], segments.driver_ohm + segments.word_line_ohm))
    for j in range(columns):
        bit = [("bit", i, j) for i in range(rows)]
        resistors += [(a, b, segments.bit_line_ohm) for a, b in itertools.pairwise(bit)]
        resistors.append((bit[-1], ("out", j), segments.bit_line_ohm + segments.sense_ohm))
    # Nodes that 0 ohm joins are one node; a terminal keeps its name.
    joined = {}

    def node(name):
        while name in joined:
            name = joined[name]
        return name

    for a, b, ohm in resistors:
        a, b = node(a), node(b)
        if ohm == 0 and a != b:
            a, b = (b, a) if a[0] in ("in", "out") else (a, b)
            joined[a] = b
    siemens = [(node(a), node(b), 1 / ohm) for a, b, ohm in resistors if ohm]
    for (k, g_uS), i, j in itertools.product(enumerate(arrays), range(rows), range(columns)):
        if g_uS[i, j]:
            siemens.append((node(("word", k, i, j)), node(("bit", i, j)), float(g_uS[i, j]) * 1e-6))
    free = {n for a, b, _ in siemens for n in (a, b) if n[0] not in ("in", "out")}
    index = {n: at for at, n in enumerate(sorted(free))}
    sources = {("in", k, i): k * rows + i for k in range(len(arrays)) for i in range(rows)}
    entries, currents = [], np.zeros((len(free), len(sources)))
    for a, b, g in [*siemens, *((b, a, g) for a, b, g in siemens)]:
        if a in index:
            entries.append((index[a], index[a], g))
            if b in index:
                entries.append((index[a], index[b], -g))
            elif b in sources:
                currents[index[a], sources[b]] += g
    potentials = {name: np.eye(len(sources))[at] for name, at in sources.items()}
    if free:
        row, column, g = zip(*entries, strict=True)
        found = splu(sparse.csc_matrix((g, (row, column)), shape=(len(free), len(free)))).solve(currents)
        potentials |= {name: found[at] for name, at in index.items()}
    found = np.zeros((len(sources), columns))
    for a, b, g in [*siemens, *((b, a, g) for a, b, g in siemens)]:
        if b[0] == "out":
            found[:, b[1]] += g * potentials.get(a, np.zeros(len(sources)))
    return np.split(found * 1e6, len(arrays))


def cells(rows, columns, low=1.0, high=100.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.empty(rows, columns, dtype=torch.float64).uniform_(low, high, generator=generator)


WIRES = {
    "rows only": Segments(word_line_ohm=2.0),
    "columns only": Segments(bit_line_ohm=2.0),
    "both": Segments(1.0, 1.5),
    "driver": Segments(driver_ohm=100.0),
    "sense": Segments(sense_ohm=100.0),
    "driver and sense": Segments(1.0, 2.0, 300.0, 50.0),
    "both ends": Segments(3.0, 1.0, drive="both"),
    "both ends with drivers": Segments(3.0, 1.0, 200.0, 10.0, "both"),
    "both ends, drivers alone": Segments(driver_ohm=200.0, drive="both"),
    "both ends, no word line": Segments(bit_line_ohm=3.0, drive="both"),
    "ten ohm": Segments(10.0, 10.0),
}


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (5, 33), (40, 7), (64, 64), (13, 70)])
@pytest.mark.parametrize("name", WIRES)
def test_effective_conductances_solve_the_circuit(name, shape):
    g = cells(*shape)
    (expected,) = nodal(WIRES[name], g)
    assert abs(WIRES[name].effective(g[None])[0].numpy() - expected).max() <= FULL_SCALE * 100


@pytest.mark.parametrize("shape", [(1, 1), (9, 8), (5, 33), (48, 40)])
@pytest.mark.parametrize("name", WIRES)
def test_interleaved_pairs_solve_the_circuit_of_both_word_lines(name, shape):
    p, n = cells(*shape), cells(*shape, seed=1)
    for found, expected in zip(WIRES[name].effective_pair(p[None], n[None]), nodal(WIRES[name], p, n), strict=True):
        assert abs(found[0].numpy() - expected).max() <= FULL_SCALE * 100


@pytest.mark.parametrize(("low", "high"), [(1.0, 100.0), (1.0, 4.0), (500.0, 4000.0)])
@pytest.mark.parametrize("ohm", [0.1, 10.0])
def test_large_tiles_keep_their_digits(ohm, low, high):
    segments, g = Segments(ohm, ohm, 50.0, 10.0), cells(128, 96, low, high)
    (expected,) = nodal(segments, g)
    assert abs(segments.effective(g[None])[0].numpy() - expected).max() <= FULL_SCALE * high


def test_a_tile_of_256_keeps_its_digits():
    segments, g = Segments(2.0, 2.0), cells(256, 256)
    (expected,) = nodal(segments, g)
    assert abs(segments.effective(g[None])[0].numpy() - expected).max() <= FULL_SCALE * 100


@pytest.mark.parametrize("name", WIRES)
def test_open_cells_are_solved_and_open_lines_carry_nothing(name):
    g = cells(20, 12)
    g[torch.rand(g.shape, generator=torch.Generator().manual_seed(2)) < 0.4] = 0.0
    g[7], g[:, 3] = 0.0, 0.0
    found = WIRES[name].effective(g[None])[0]
    (expected,) = nodal(WIRES[name], g)
    assert abs(found.numpy() - expected).max() <= FULL_SCALE * 100
    assert (found[7] == 0).all()  # others conduct through their neighbours
    assert (found[:, 3] == 0).all()


@pytest.mark.parametrize("name", [name for name in WIRES if "ends" not in name])
def test_a_crossbar_is_its_own_mirror_with_word_and_bit_lines_exchanged(name):
    segments, g = WIRES[name], cells(30, 50)
    mirror = Segments(segments.bit_line_ohm, segments.word_line_ohm, segments.sense_ohm, segments.driver_ohm)
    found = mirror.effective(g.flip(0, 1).T[None])[0].T.flip(0, 1)
    torch.testing.assert_close(segments.effective(g[None])[0], found, rtol=0, atol=1e-14 * 100 * 30)


@pytest.mark.parametrize("name", WIRES)
def test_tiles_of_a_batch_are_those_alone_and_ideal_wires_are_none(name):
    g = torch.stack([cells(20, 40, seed=seed) for seed in range(3)])
    for tile, alone in zip(WIRES[name].effective(g), g, strict=True):
        torch.testing.assert_close(tile, WIRES[name].effective(alone[None])[0], rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(Segments().effective(g), g, rtol=1e-15, atol=0)


@pytest.mark.parametrize("name", [name for name in WIRES if "both ends" not in name])
def test_rows_above_and_columns_behind_without_cells_change_nothing(name):
    g = cells(20, 12)
    padded = torch.nn.functional.pad(g, (0, 5, 7, 0))
    found = WIRES[name].effective(padded[None])[0]
    torch.testing.assert_close(found[7:, :12], WIRES[name].effective(g[None])[0], rtol=1e-13, atol=1e-13)
    assert (found[:7] == 0).all()
    assert (found[:, 12:] == 0).all()


def test_one_cell_is_a_series_of_resistances():
    segments = Segments(1.0, 2.0, 30.0, 40.0)
    found = segments.effective(torch.full((1, 1, 1), 100.0))
    assert float(found) == pytest.approx(1e6 / (1e4 + 1.0 + 2.0 + 30.0 + 40.0), rel=1e-14)


@pytest.mark.parametrize("value", [-0.5, float("inf"), float("nan")])
@pytest.mark.parametrize("name", ["word_line_ohm", "bit_line_ohm", "driver_ohm", "sense_ohm"])
def test_resistances_are_finite_and_at_least_0(name, value):
    with pytest.raises(ValueError, match=rf"wires.{name} must be (finite|a number)"):
        Segments(**{name: value})


def test_an_unknown_drive_is_refused():
    with pytest.raises(ValueError, match=r"drive must be one of left, both, got 'right'"):
        Segments(1.0, drive="right")


@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan")])
def test_conductances_are_finite_and_at_least_0(value):
    g = cells(4, 4)
    g[1, 2] = value
    with pytest.raises(ValueError, match=r"must be given conductances that are finite and at least 0"):
        Segments(1.0).effective(g[None])
