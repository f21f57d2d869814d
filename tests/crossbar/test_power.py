"""Power of crossbars, sum of V I of their drivers, against a nodal solution of the whole circuit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rramsweep.crossbar import Crossbar, Segments


def nodal_power(lines, volts, wires):
    """Sum of V I by Kirchhoff's laws at every node; `lines` (k, rows, columns) uS, `volts` (k, rows)."""
    k, rows, columns = lines.shape
    big = 1e12  # S, for a resistance of 0
    conductance = [big if r == 0 else 1 / r for r in (wires.word_line_ohm, wires.bit_line_ohm)]
    first = wires.word_line_ohm + wires.driver_ohm
    last = wires.bit_line_ohm + wires.sense_ohm
    g_first, g_last = (big if r == 0 else 1 / r for r in (first, last))

    def word(line, i, j):
        return (line * rows + i) * columns + j

    def bit(i, j):
        return k * rows * columns + i * columns + j

    n = (k + 1) * rows * columns
    y, source = np.zeros((n, n)), np.zeros(n)
    drives = []

    def join(a, b, g):
        y[a, a] += g
        y[b, b] += g
        y[a, b] -= g
        y[b, a] -= g

    for line in range(k):
        for i in range(rows):
            for j in range(columns):
                join(word(line, i, j), bit(i, j), lines[line, i, j] * 1e-6)
                if j + 1 < columns:
                    join(word(line, i, j), word(line, i, j + 1), conductance[0])
            for j in (0, columns - 1) if wires.drive == "both" else (0,):
                y[word(line, i, j), word(line, i, j)] += g_first
                source[word(line, i, j)] += g_first * volts[line, i]
                drives.append((word(line, i, j), volts[line, i]))
    for j in range(columns):
        for i in range(rows - 1):
            join(bit(i, j), bit(i + 1, j), conductance[1])
        y[bit(rows - 1, j), bit(rows - 1, j)] += g_last
    potential = np.linalg.solve(y, source)
    return 1e6 * sum(v * g_first * (v - potential[node]) for node, v in drives)


WIRES = {
    "segments": Segments(2.0, 3.0),
    "driver and sense": Segments(1.0, 1.5, 40.0, 25.0),
    "both ends": Segments(4.0, 2.0, 30.0, drive="both"),
    "strong": Segments(300.0, 500.0, 100.0, 50.0),
}


@pytest.mark.parametrize("lines", [1, 2])
@pytest.mark.parametrize("wires", WIRES.values(), ids=WIRES)
def test_power_is_that_of_the_whole_circuit(wires, lines):
    rng = np.random.default_rng(0)
    cells, volts = rng.uniform(1, 100, (lines, 3, 9, 5)), rng.uniform(-0.3, 0.3, (lines, 3, 9, 4))
    found = wires.power([torch.tensor(g) for g in cells], [torch.tensor(v) for v in volts])
    for tile in range(3):
        for vector in range(4):
            due = nodal_power(cells[:, tile], volts[:, tile, :, vector], wires)
            assert float(found[tile, vector]) == pytest.approx(due, rel=1e-9)


def test_power_without_resistance_is_sum_g_v2_and_wires_lie_between_that_and_g_eff():
    """By Rayleigh resistances lower the power of given voltages; currents between lines come on top of G_eff V^2."""
    g, v = torch.rand(2, 12, 6, dtype=torch.float64) * 90 + 10, torch.rand(2, 12, 3, dtype=torch.float64)
    bound = torch.einsum("trc,trv->tv", g, v.square())
    assert torch.allclose(Segments().power([g], [v]), bound)
    wires = Segments(20.0, 30.0)
    found = wires.power([g], [v])
    assert (found < bound).all()
    assert (found > torch.einsum("trc,trv->tv", wires.effective(g), v.square())).all()
    alike = torch.full_like(v, 0.2)
    sums = torch.einsum("trc,trv->tv", wires.effective(g), alike.square())
    assert torch.allclose(wires.power([g], [alike]), sums, rtol=1e-10), "no current between lines of one voltage"


@pytest.mark.parametrize("arrangement", ["separate", "interleaved"])
@pytest.mark.parametrize("rows_active", [None, 4])
def test_a_layers_power_is_the_sum_over_its_tiles(arrangement, rows_active):
    tile, wires = Crossbar(8, 3, arrangement=arrangement, rows_active=rows_active), Segments(5.0, 7.0, 10.0)
    rng = np.random.default_rng(1)
    p, n, x = rng.uniform(1, 100, (2, 5, 10)), rng.uniform(1, 100, (2, 5, 10)), rng.uniform(-1, 1, (2, 10))
    g = {"p": torch.tensor(p.reshape(10, 10)), "n": torch.tensor(n.reshape(10, 10))}
    found = tile.power_uS(g, wires, 1.0, torch.tensor(x)[None].repeat(2, 1, 1), groups=2)
    due = 0.0
    for group in range(2):
        for rows, number in tile.reads(10):
            held = slice(number * tile.inputs, min((number + 1) * tile.inputs, 10))
            driven = np.zeros(10)
            driven[rows] = x[group, rows]
            for columns in (slice(0, 3), slice(3, 5)):
                cells = np.stack([m[group, columns, held].T for m in (p, n)])
                if arrangement == "interleaved":
                    due += nodal_power(cells, np.stack([driven[held], -driven[held]]), wires)
                else:
                    due += sum(nodal_power(c[None], driven[held][None], wires) for c in cells)
    assert found.tolist() == pytest.approx([due, due], rel=1e-9)
