"""Resistance of the wires of a crossbar: the conductances that its cells have from the drivers to the outputs.

With linear cells a tile's product is `I = G_eff^T V`, and `G_eff` depends on the chip alone: it is computed once a
chip, exactly, and costs nothing at inference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from rramsweep.arguments import check_fields
from rramsweep.errors import ValidationError, one_of

DRIVES = ("left", "both")

# The march works in units of 100 uS and 10 kohm, so that numbers lie near 1.
_UNIT_US = 100.0
_UNIT_OHM = 1e6 / _UNIT_US

# Solutions grow by at most exp(sqrt(r_b G_max)) a row. They are reset to the identity once they may have grown by e^12,
# which costs 5 of the 16 digits of float64.
_GROWTH = 12.0

# Numbers that the march of a tile keeps for each of its cells and for each pair of its columns, and the largest total
# for tiles that are marched together, 32 MB: more brings no gain.
_A_CELL, _A_PAIR, _TOGETHER = 24, 6, 4_000_000

# Columns of a dense block: larger blocks need more multiplications, smaller ones more calls (8 to 64 were tried).
_BLOCK = 16


@dataclass(frozen=True)
class Segments:
    """Wires of equal segments between neighbouring cells, with a driver and a sense amplifier at their ends.

    Word line i is driven through `driver_ohm` and one segment, with a segment between neighbouring cells, and is open
    behind its last cell (`drive=left`) or driven alike from both ends (`drive=both`). Bit line j is open above its
    first cell, with a segment between cells and one more behind the last row, then `sense_ohm` into 0 V. Source of the
    circuit: badcrossbar (Joksas and Mehonic, SoftwareX 12, 100617, 2020) and CrossSim 3.1, which share it [R2].

    Exact to rounding for cells with a linear I-V curve, whatever the resistances. Capacitance, and cells that are
    selected by their gate (1T1R with the input at the gate), are not modelled.

    Args:
        word_line_ohm: resistance of a word line's segment, ohm.
        bit_line_ohm: resistance of a bit line's segment, ohm.
        driver_ohm: output resistance of a word line's driver, ohm.
        sense_ohm: input resistance of a bit line's sense amplifier, ohm.
        drive: `left` or `both` ends of a word line.

    Raises:
        ValidationError: a resistance is negative or not finite, or an unknown drive.
    """

    version: ClassVar[int] = 1

    word_line_ohm: float = 0.0
    bit_line_ohm: float = 0.0
    driver_ohm: float = 0.0
    sense_ohm: float = 0.0
    drive: str = "left"

    def __post_init__(self) -> None:
        check_fields(self, "wires")
        for name in ("word_line_ohm", "bit_line_ohm", "driver_ohm", "sense_ohm"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValidationError(
                    "must be finite and at least 0", "give ohms a segment", value=value, parameter=name, slot="wires"
                )
        one_of("drive", self.drive, DRIVES)

    @property
    def is_ideal(self) -> bool:
        """True where every resistance is 0."""
        return not any((self.word_line_ohm, self.bit_line_ohm, self.driver_ohm, self.sense_ohm))

    @staticmethod
    def memory_bytes(rows: int, columns: int) -> int:
        """Memory in bytes that the solution of one tile takes."""
        return 8 * (rows * columns * _A_CELL + columns**2 * _A_PAIR)

    def effective(self, g_uS: Tensor) -> Tensor:
        """Compute `G_eff` of crossbars, in uS: the current into output j of 1 V at input i, all else at 0 V.

        Args:
            g_uS: cells, (tiles, rows, columns), at least 0 and finite.

        Returns:
            Likewise, float64.

        Raises:
            ValidationError: a conductance is negative or not finite.
        """
        g = _checked(g_uS)
        if self.is_ideal:
            return g * _UNIT_US
        (f,) = self._march(g, (g,))
        return f.mul_(_UNIT_US)

    def effective_pair(self, p_uS: Tensor, n_uS: Tensor) -> tuple[Tensor, Tensor]:
        """Compute `G_eff` of both cells of pairs that share a bit line: `p` driven by +V, `n` by -V (interleaved).

        Each pair has two word lines, one a cell, and the bit line has one segment a pair. Output j carries
        `sum_i V_i (G_eff_p - G_eff_n)`.

        Args:
            p_uS: cells of the positive word lines, (tiles, rows, columns), at least 0 and finite.
            n_uS: cells of the negative ones, likewise.

        Returns:
            `G_eff` of `p` and of `n`, float64, uS.

        Raises:
            ValidationError: a conductance is negative or not finite.
        """
        p, n = _checked(p_uS), _checked(n_uS)
        if self.is_ideal:
            return p * _UNIT_US, n * _UNIT_US
        f_p, f_n = self._march(p + n, (p, n))
        return f_p.mul_(_UNIT_US), f_n.mul_(_UNIT_US)

    def power(self, word_lines: Sequence[Tensor], volts: Sequence[Tensor]) -> Tensor:
        """Compute the power that the drivers of crossbars deliver, sum of V I, in uW for volts.

        The sense amplifiers lie at 0 V and deliver none. With the potentials x of the bit-line nodes of row i, its
        driver delivers `V_i h_i (V_i - x)`; `_march` without its reciprocity, with the sources of each vector as a
        further column.

        Args:
            word_lines: cells of each of the word lines of a row, uS, (tiles, rows, columns); two where pairs are
                interleaved.
            volts: voltages of these word lines, (tiles, rows, vectors).

        Returns:
            (tiles, vectors), float64.

        Raises:
            ValidationError: a conductance is negative or not finite.
        """
        cells, drives = [_checked(g) for g in word_lines], [v.double() for v in volts]
        if self.is_ideal:
            parts = [torch.einsum("trv,tr->tv", v.square(), g.sum(2)) for g, v in zip(cells, drives, strict=True)]
            return torch.stack(parts).sum(0).mul_(_UNIT_US)
        word, first, segment, last, both = self._units
        tiles, rows, n = cells[0].shape
        restart = self._restart(torch.stack(cells).sum(0))
        lines = [_WordLines(g, word, first, both) for g in cells]
        vectors = drives[0].shape[2]
        # Bit-line potentials are X c + P: columns of X stand for the unknown potentials of the row begun with.
        x = torch.cat([_identity(cells[0]), cells[0].new_zeros(tiles, n, vectors)], 2)
        q = torch.zeros_like(x)
        power, linear = cells[0].new_zeros(tiles, vectors), cells[0].new_zeros(tiles, vectors, n)
        for i in range(rows):
            for line, drive in zip(lines, drives, strict=True):
                h, v = line.h[:, i], drive[:, i]
                from_nodes = torch.matmul(h[:, None], x)[:, 0]
                power += v * (h.sum(1, keepdim=True) * v - from_nodes[:, n:])
                linear += v[:, :, None] * from_nodes[:, None, :n]
                line.add_currents(i, x, q)
                q[:, :, n:] -= h[:, :, None] * v[:, None]
            x.add_(q, alpha=last if i == rows - 1 else segment)
            if (i + 1) % restart == 0 or i == rows - 1:
                own = x[:, :, n:].clone()
                linear, q_own = torch.linalg.solve(x[:, :, :n], torch.cat([linear, q[:, :, :n]], 1), left=False).split(
                    [vectors, n], 1
                )
                power += torch.einsum("tvn,tnv->tv", linear, own)
                q = torch.cat([q_own, q[:, :, n:] - torch.matmul(q_own, own)], 2)
                x = torch.cat([_identity(cells[0]), torch.zeros_like(own)], 2)
        return power.mul_(_UNIT_US)

    @property
    def _units(self) -> tuple[float, float, float, float, bool]:
        """Word line's segment, its first one, bit line's segment, its last one; whether both ends are driven."""
        word, first = self.word_line_ohm / _UNIT_OHM, (self.word_line_ohm + self.driver_ohm) / _UNIT_OHM
        segment, last = self.bit_line_ohm / _UNIT_OHM, (self.bit_line_ohm + self.sense_ohm) / _UNIT_OHM
        # An ideal source at one end leaves nothing to drive from the other.
        return word, first, segment, last, self.drive == "both" and first > 0

    def _restart(self, on_bit_line: Tensor) -> int:
        """Rows after which the solution is taken back to the identity."""
        rows = on_bit_line.shape[1]
        growth = math.sqrt(self.bit_line_ohm / _UNIT_OHM * float(on_bit_line.max()))
        return max(1, int(_GROWTH / growth)) if growth > _GROWTH / rows else rows

    def _march(self, on_bit_line: Tensor, word_lines: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """March along the bit lines from their open end, with the word lines eliminated in closed form.

        By reciprocity `G_eff[i, o]` is the current into grounded source i when output o is at 1 V. With the potentials
        X (columns, outputs) of a row of bit-line nodes and the currents Q below them,

            F_i = h_i X;  Q += A_i X;  X += r_b Q;    G_eff = F X^-1 behind the last row,

        `A_i` the conductance matrix of a row seen from its bit-line nodes, `h_i` the currents into them for 1 V at its
        source, all of them grounded. X grows by at most `exp(sqrt(r_b G_max))` a row and is reset to the identity
        before digits are lost.

        Args:
            on_bit_line: sum of the conductances of a bit-line node, (tiles, rows, columns), units of 100 uS.
            word_lines: conductances of each of the word lines of a row, likewise.

        Returns:
            F X^-1 of each of `word_lines`.
        """
        tiles, rows, columns = on_bit_line.shape
        together = max(1, _TOGETHER // (rows * columns * _A_CELL + columns**2 * _A_PAIR))
        if tiles > together:
            parts = zip(*(torch.split(g, together) for g in (on_bit_line, *word_lines)), strict=True)
            marched = [self._march(g, tuple(lines)) for g, *lines in parts]
            return tuple(torch.cat(f) for f in zip(*marched, strict=True))
        restart = self._restart(on_bit_line)
        word, first, segment, last, both = self._units
        march = compiled_march()
        if march is not None and on_bit_line.device.type == "cpu":
            stacked = torch.stack(word_lines, 1).numpy()
            compiled = np.stack([march(tile, (word, first, segment, last), both, restart) for tile in stacked])
            return torch.from_numpy(compiled).unbind(1)
        lines = [_WordLines(g, word, first, both) for g in word_lines]
        f = [g.new_zeros(g.shape) for g in word_lines]
        identity = _identity(on_bit_line)
        x, q = identity.clone(), torch.zeros_like(identity)
        for i in range(rows):
            for line, out in zip(lines, f, strict=True):
                torch.matmul(line.h[:, i, None], x, out=out[:, i, None])
                line.add_currents(i, x, q)
            x.add_(q, alpha=last if i == rows - 1 else segment)
            if (i + 1) % restart == 0 and i < rows - 1:
                done = torch.cat([q, *(out[:, : i + 1] for out in f)], 1)
                q, *parts = torch.linalg.solve(x, done, left=False).split([columns, *[i + 1] * len(f)], 1)
                for part, out in zip(parts, f, strict=True):
                    out[:, : i + 1] = part
                x, q = identity.clone(), q.clone()
        return tuple(torch.linalg.solve(x, torch.cat(f, 1), left=False).split(rows, 1))


def kernel_of(device: torch.device) -> str:
    """Name of the kernel that solves wires for cells in a device's memory: `numba` or `torch`."""
    return "numba" if device.type == "cpu" and compiled_march() is not None else "torch"


@cache
def compiled_march() -> Callable[..., Any] | None:
    """The march compiled by numba, None if numba is not installed (extra `fast`); both kernels agree to rounding."""
    try:  # only when wires are solved: numba takes as long to import as pandas
        from rramsweep.crossbar.compiled_march import march
    except ImportError:
        return None
    return march


class _WordLines:
    """Word lines of crossbars, eliminated: `A = diag(d) - diag(d) E diag(d)`, `E[j, k] = phi[min] psi[max] / W`.

    phi and psi solve the word line's ladder from its left end and from its right end; all terms are positive, so
    nothing cancels.
    """

    def __init__(self, g: Tensor, segment: float, first: float, both: bool) -> None:
        phi, psi = torch.empty_like(g), torch.empty_like(g)
        columns = g.shape[2]
        p, s = torch.full_like(g[..., 0], first), torch.ones_like(g[..., 0])
        for j in range(columns):
            phi[..., j] = p
            s = s.addcmul(g[..., j], p)
            p = p.add(s, alpha=segment)
        q, t = torch.full_like(p, first if both else 1.0), torch.full_like(p, 1.0 if both else 0.0)
        for j in reversed(range(columns)):
            psi[..., j] = q
            t = t.addcmul(g[..., j], q)
            q = q.add(t, alpha=segment if j else first)
        w = q.unsqueeze(2)
        self.h = g * ((psi + phi) if both else psi) / w
        self._blocks = _Semiseparable(g, g * phi, g * psi / w) if segment or first else None
        self._g = g

    def add_currents(self, i: int, x: Tensor, q: Tensor) -> None:
        """Add `A_i x` to `q`: the currents of row i out of its bit-line nodes at potentials x."""
        if self._blocks is None:
            q.addcmul_(self._g[:, i, :, None], x)
        else:
            self._blocks.add_product(i, x, q)


class _Semiseparable:
    """Products with `A = diag(d) - E'`, `E'[j, k] = a[min] b[max]`, by blocks: dense inside, rank one between.

    A block of columns needs its own rows of x, the sum of `a x` over all columns before it, and that of `b x` over all
    columns after it: one product with two more rows.
    """

    def __init__(self, d: Tensor, a: Tensor, b: Tensor) -> None:
        tiles, rows, columns = d.shape
        self._size = size = min(_BLOCK, columns)
        self._n = n = math.ceil(columns / size)
        self._pad = pad = n * size - columns
        # A row of all tiles is contiguous, because it is multiplied at once.
        d, a, b = (torch.nn.functional.pad(v, (0, pad)).view(tiles, rows, n, size).transpose(0, 1) for v in (d, a, b))
        upper = torch.ones(size, size, dtype=torch.bool, device=d.device).triu()
        inside = torch.where(upper, a[..., :, None] * b[..., None, :], b[..., :, None] * a[..., None, :])
        inside = torch.diag_embed(d).sub_(inside)
        if n > 1:  # after the block's own columns, the factors of the sums before and after it
            inside = torch.cat([inside, -b[..., None], -a[..., None]], -1)
        self._blocks, self._sums = inside.flatten(1, 2), torch.stack([a, b], -2).flatten(1, 2)

    def add_product(self, i: int, x: Tensor, q: Tensor) -> None:
        tiles, columns, outputs = x.shape
        if self._n == 1:
            q.baddbmm_(self._blocks[i], x)
            return
        if self._pad:
            x = torch.nn.functional.pad(x, (0, 0, 0, self._pad))
        x = x.view(tiles * self._n, self._size, outputs)
        sums = torch.bmm(self._sums[i], x).view(tiles, self._n, 2, outputs)
        beyond = torch.zeros_like(sums)
        torch.cumsum(sums[:, :-1, 0], 1, out=beyond[:, 1:, 0])
        beyond[:, :-1, 1] = sums[:, 1:, 1].flip(1).cumsum(1).flip(1)
        product = torch.bmm(self._blocks[i], torch.cat([x, beyond.flatten(0, 1)], 1))
        q.add_(product.view(tiles, self._n * self._size, outputs)[:, :columns])


def _identity(cells: Tensor) -> Tensor:
    """Identity matrix of the columns of each tile."""
    tiles, _, columns = cells.shape
    return torch.eye(columns, dtype=cells.dtype, device=cells.device).expand(tiles, -1, -1)


def _checked(g_uS: Tensor) -> Tensor:
    """Check conductances and convert them to the units of the march."""
    if not bool((g_uS >= 0).all()) or not bool(g_uS.isfinite().all()):
        raise ValidationError(
            "must be given conductances that are finite and at least 0",
            "set device.edge=clip or positive",
            value=float(g_uS.min()),
            slot="wires",
        )
    return g_uS.double() / _UNIT_US
