"""Clustered faults: a Neyman-Scott process of parents and offspring."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rramsweep.device import Cells, Device
from rramsweep.effects.stuck_values import check_stuck, stick, stuck_notes
from rramsweep.streams import Stream

# Radii in cell pitches: below, neighbours hardly share a disc; above, a cluster is wider than most arrays.
RADII = (1.0, 100.0)

# The least share of a disc's cells that fail: work per cell grows as 1 / fill.
FILL_MIN = 0.2

# Random numbers drawn at a time, at most: bounds memory.
_BLOCK = 16384


@dataclass(frozen=True)
class StuckClusters:
    """Stuck cells in clusters; each cell is stuck at LRS and HRS at exactly the given rates, at the border too.

    A Matern cluster process, for LRS and HRS each: parents are a Poisson process of `lam` a cell, in the plane of bit
    lines and word lines and up to a radius beyond its border; every cell at most `r = radius_cells` from a parent
    becomes its offspring with probability `f = fill`, independent of the others, and offspring is stuck. A cell has
    `f pi r^2` parents per unit of `lam`, thinned, so it is not stuck with `exp(-lam f pi r^2)` (Poisson void
    probability), and

        lam = -ln(1 - p) / (f pi r^2)

    makes p exact. A cluster has `f pi r^2` cells on average (6.3 by default). Two cells at distance d are both free
    with `(1 - p)^2 exp(lam f^2 A(d))`, A the overlap of two discs of radius r at distance d: the covariance of stuck
    cells and from it the index of dispersion of a tile. Where clusters meet, LRS wins, and the HRS process has the
    rate `p_stuck_hrs / (1 - p_stuck_lrs)`, so that the sets are disjoint and p_stuck_hrs is exact.

    Nested: the parents of a rate are among those of a higher one, with the same offspring. The LRS set does not move
    with p_stuck_hrs; the HRS set grows with p_stuck_hrs, and stuck cells together with either rate.

    Source of the process: J. Neyman and E. L. Scott, J. R. Stat. Soc. B 20(1) 1-29 (1958) [M], in Matern's form [M];
    that defects of memories come in clusters is common knowledge of yield modelling, but radius and fill are
    placeholders of no measurement. p and n cells are arrays of their own: a cluster hits one of them.

    Args:
        p_stuck_lrs, p_stuck_hrs: rates of stuck *cells*, as in `Stuck`.
        g_lrs_uS, g_hrs_uS: where stuck cells sit, as in `Stuck`.
        distribution, cv_lrs, cv_hrs: their spread from cell to cell, as in `Stuck`.
        radius_cells: radius of a cluster in cell pitches, 1 to 100.
        fill: share of the cells of a cluster's disc that fail, 0.2..1.

    Raises:
        ValueError: a radius or fill out of range, and what `Stuck` refuses.
    """

    version: ClassVar[int] = 1

    p_stuck_lrs: float = 0.0
    p_stuck_hrs: float = 0.0
    g_lrs_uS: float | None = None
    g_hrs_uS: float | None = None
    distribution: str = "normal"
    cv_lrs: float = 0.0
    cv_hrs: float = 0.0
    radius_cells: float = 2.0
    fill: float = 0.5

    def __post_init__(self) -> None:
        check_stuck(self)
        for name, value, (low, high), remedy in (
            ("radius_cells", self.radius_cells, RADII, "faults=stuck has single cells"),
            ("fill", self.fill, (FILL_MIN, 1.0), "a smaller radius_cells has smaller clusters"),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name} must lie in {low:g}..{high:g}, got {value}: {remedy}")

    def __call__(self, cells: Cells, rng: Stream) -> Tensor:
        if self.p_stuck_lrs == 0 and self.p_stuck_hrs == 0:
            return cells.g_uS
        lrs = self._stuck(self.p_stuck_lrs, cells.lines, rng.child("lrs"))
        free = 1 - self.p_stuck_lrs
        p_hrs = self.p_stuck_hrs / free if self.p_stuck_hrs < free else 1.0
        hrs = self._stuck(p_hrs, cells.lines, rng.child("hrs")).masked_fill_(lrs, False)
        return stick(self, cells, lrs.view(cells.g_uS.shape), hrs.view(cells.g_uS.shape), rng)

    def notes(self, device: Device, t_s: float) -> Sequence[str]:  # noqa: ARG002
        """Stuck conductances outside the window."""
        return stuck_notes(self, device)

    def _stuck(self, p: float, lines: tuple[int, int], rng: Stream) -> Tensor:
        """One process over the array: bool of shape (bit lines, word lines)."""
        if p in (0, 1):
            return torch.full(lines, bool(p))
        radius, (bit_lines, word_lines) = self.radius_cells, lines
        # Cells sit at whole numbers; a parent further out than a radius reaches none.
        height, width = bit_lines - 1 + 2 * radius, word_lines - 1 + 2 * radius
        clusters = height * width / (self.fill * math.pi * radius**2)  # if they tiled the plane
        expected = -math.log1p(-p) * clusters
        reach = math.floor(2 * radius)  # a disc holds at most reach + 1 cells of a line
        row = 3 + (reach + 1) ** 2  # a parent's numbers: its gap in the queue, where it is, its offspring
        # Drawn at a time: enough for p about 0.2, and nothing of p itself, so that rates have their draws in common.
        parents, arrived = max(1, min(_BLOCK // row, 8 + int(clusters / 4))), 0.0
        stuck = torch.zeros(bit_lines + 2 * reach, word_lines + 2 * reach, dtype=torch.bool)
        for block in itertools.count():
            u = rng.child(str(block)).uniform((parents, row))
            # The expected number of parents is the time at which a queue of unit rate is cut off: nested in p.
            arrivals = arrived - u[:, 0].double().neg_().log1p_().cumsum(0)
            n = int((arrivals <= expected).sum())
            y, x = u[:n, 1] * height + (reach - radius), u[:n, 2] * width + (reach - radius)
            self._hit(stuck, y, x, u[:n, 3:].view(n, reach + 1, reach + 1))
            if n < parents:
                break
            arrived = float(arrivals[-1])
        return stuck[reach : reach + bit_lines, reach : reach + word_lines].contiguous()

    def _hit(self, stuck: Tensor, y: Tensor, x: Tensor, u: Tensor) -> None:
        steps = torch.arange(u.shape[-1])
        bit, word = ((at - self.radius_cells).ceil_() for at in (y, x))  # the first cell of a disc
        dy, dx = (first.sub(at).unsqueeze(1) + steps for first, at in ((bit, y), (word, x)))
        distance = dy.square_().unsqueeze(2) + dx.square_().unsqueeze(1)
        first = bit.long() * stuck.shape[1] + word.long()
        cell = first.view(-1, 1, 1) + (steps.unsqueeze(1) * stuck.shape[1] + steps)
        stuck.view(-1).index_fill_(0, cell[(distance <= self.radius_cells**2) & (u < self.fill)], True)
