"""The march of `wires` compiled by numba, for one tile at a time: the same sums in another order.

Imported if numba is installed (extra `fast`); results agree with those of torch to rounding.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]


def march(g: Array, segments: tuple[float, float, float, float], both: bool, restart: int) -> Array:
    """Compute `F X^-1` of the word lines of one tile.

    Args:
        g: conductances of the word lines, (lines of a row, rows, columns).
        segments: resistances of a word line's segment, of its first segment with the driver, of a bit line's segment
            and of its last one with the sense amplifier; in units of 1 / those of g.
        both: word lines are driven from both ends.
        restart: rows after which the solution is reset to the identity.

    Returns:
        In the shape of g.
    """
    lines, rows, n = g.shape
    g, f = np.ascontiguousarray(g), np.zeros(g.shape)
    x, q = np.eye(n), np.zeros((n, n))
    for begin in range(0, rows, restart):
        end = min(begin + restart, rows)
        _rows(g, f, x, q, begin, end, *segments, both)
        done = np.concatenate([q, *f[:, :end]])
        solved = np.linalg.solve(x.T, done.T).T
        f[:, :end] = solved[n:].reshape(lines, end, n)
        x, q = np.eye(n), np.ascontiguousarray(solved[:n])
    return f


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "arcp"})  # type: ignore[untyped-decorator]
def _rows(
    g: Array,
    f: Array,
    x: Array,
    q: Array,
    begin: int,
    end: int,
    word: float,
    first: float,
    bit: float,
    last: float,
    both: bool,
) -> None:
    """March along some rows: `f`, potentials `x` and currents `q` are changed in place."""
    lines, rows, n = g.shape
    above = np.empty((n, n))
    phi, psi, total = np.empty(n), np.empty(n), np.empty(n)
    for i in range(begin, end):
        down = last if i == rows - 1 else bit
        for k in range(lines):
            d = g[k, i]
            p, s = first, 1.0
            for j in range(n):
                phi[j] = p
                s += d[j] * p
                p += word * s
            v, t = (first, 1.0) if both else (1.0, 0.0)
            for j in range(n - 1, -1, -1):
                psi[j] = v
                t += d[j] * v
                v += t * (word if j else first)
            out = f[k, i]
            total[:] = 0.0
            for j in range(n - 1, -1, -1):
                a, h = psi[j] * d[j], d[j] * ((psi[j] + phi[j]) if both else psi[j]) / v
                for o in range(n):
                    above[j, o] = total[o]
                    total[o] += a * x[j, o]
                    out[o] += h * x[j, o]
            total[:] = 0.0
            move = down if k == lines - 1 else 0.0  # only after the currents of all lines are known
            for j in range(n):
                a, b, c = phi[j] * d[j], d[j] * psi[j] / v, d[j] * phi[j] / v
                e = d[j]
                for o in range(n):
                    total[o] += a * x[j, o]
                    q[j, o] += e * x[j, o] - b * total[o] - c * above[j, o]
                    x[j, o] += move * q[j, o]
