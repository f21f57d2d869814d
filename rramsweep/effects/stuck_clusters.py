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

# The least share of a disc's cells that fail: below, a cluster is hardly one.
FILL_MIN = 0.2

# Cluster centres a cell, at most. Denser, clusters merge until nothing is left of them, and work goes with their
# number: at the default rates the law costs 1.7 times the stages before it, close to this bound 3.3 times.
CENTRES_MAX = 0.15

# Stretches of cells looked at together, at most: they stay in the processor's cache.
_BLOCK = 65536


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

    Valid while there are at most 0.15 parents a cell, `-ln(1 - p) <= 0.15 f pi r^2` with p of both kinds (0.61 by
    default): denser, no clusters are left to tell apart, and `Stuck` is the law.

    Args:
        p_stuck_lrs, p_stuck_hrs: rates of stuck *cells*, as in `Stuck`.
        g_lrs_uS, g_hrs_uS: where stuck cells sit, as in `Stuck`.
        distribution, cv_lrs, cv_hrs: their spread from cell to cell, as in `Stuck`.
        radius_cells: radius of a cluster in cell pitches, 1 to 100.
        fill: share of the cells of a cluster's disc that fail, 0.2..1.

    Raises:
        ValueError: a radius or fill out of range, clusters too dense, and what `Stuck` refuses.
    """

    version: ClassVar[int] = 2

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
        rates = [p for p in (self.p_stuck_lrs, self._p_hrs) if p < 1]  # a full array needs no clusters
        centres = sum(-math.log1p(-p) for p in rates) / self._size
        if centres > CENTRES_MAX:
            raise ValueError(
                f"clusters must have at most {CENTRES_MAX:g} centres a cell to be clusters, but rates of "
                f"{self.p_stuck_lrs:g} + {self.p_stuck_hrs:g} in clusters of {self._size:.3g} cells need "
                f"{centres:.2g}: lower the rates, raise radius_cells or fill, or use faults=stuck"
            )

    def __call__(self, cells: Cells, rng: Stream) -> Tensor:
        if self.p_stuck_lrs == 0 and self.p_stuck_hrs == 0:
            return cells.g_uS
        lrs = self._stuck(self.p_stuck_lrs, cells.lines, rng.child("lrs"))
        hrs = self._stuck(self._p_hrs, cells.lines, rng.child("hrs")).masked_fill_(lrs, False)
        return stick(self, cells, lrs.view(cells.g_uS.shape), hrs.view(cells.g_uS.shape), rng)

    def notes(self, device: Device, t_s: float) -> Sequence[str]:  # noqa: ARG002
        """Stuck conductances outside the window."""
        return stuck_notes(self, device)

    def _stuck(self, p: float, lines: tuple[int, int], rng: Stream) -> Tensor:
        """One process over the array: bool of shape (bit lines, word lines)."""
        if p in (0, 1):
            return torch.full(lines, bool(p))
        parents = self._parents(p, lines, rng)
        # A cell near n parents is offspring of none of them with probability (1 - fill)^n.
        n = torch.arange(int(parents.max()) + 1, dtype=torch.float64)
        offspring = 1 - (1 - self.fill) ** n
        return rng.child("cells").uniform(lines) < offspring.float().index_select(0, parents.view(-1)).view(lines)

    def _parents(self, p: float, lines: tuple[int, int], rng: Stream) -> Tensor:
        """How many parents each cell has within a radius: int32, (bit lines, word lines)."""
        radius, (bit_lines, word_lines) = self.radius_cells, lines
        # Cells sit at whole numbers; a parent further out than a radius reaches none.
        height, width = bit_lines - 1 + 2 * radius, word_lines - 1 + 2 * radius
        clusters = height * width / self._size  # if they tiled the plane
        expected = -math.log1p(-p) * clusters
        reach = math.floor(2 * radius)  # a disc holds at most reach + 1 cells of a line
        # Drawn at a time: enough for p about 0.2, and nothing of p itself, so that rates have their draws in common.
        block, arrived = max(1, min(_BLOCK // (reach + 1), 8 + int(clusters / 4))), 0.0
        # Where along a bit line a disc begins (+1) and has ended (-1), with room for discs beyond the border.
        ends = torch.zeros(bit_lines + 2 * reach, word_lines + 2 * reach + 1, dtype=torch.int32)
        for number in itertools.count():
            u = rng.child(str(number)).uniform((3, block))
            # The expected number of parents is the time at which a queue of unit rate is cut off: nested in p.
            arrivals = arrived - u[0].double().neg_().log1p_().cumsum(0)
            n = int((arrivals <= expected).sum())
            self._add(ends, u[1, :n] * height + (reach - radius), u[2, :n] * width + (reach - radius), reach + 1)
            if n < block:
                break
            arrived = float(arrivals[-1])
        return ends[reach : reach + bit_lines].cumsum(1, dtype=torch.int32)[:, reach : reach + word_lines].contiguous()

    def _add(self, ends: Tensor, y: Tensor, x: Tensor, rows: int) -> None:
        """Mark the discs around parents at bit line y, word line x (n,): on each bit line a stretch of cells."""
        bit = (y - self.radius_cells).ceil_() + torch.arange(rows).unsqueeze(1)
        half = (bit - y).square_().neg_().add_(self.radius_cells**2)
        meets = (half >= 0).to(torch.int32).view(-1)
        half.clamp_(min=0.0).sqrt_()
        line = bit.int() * ends.shape[1]
        # A stretch between two neighbouring cells begins where it has ended, and cancels.
        begin, end = (x - half).ceil_().int().add_(line), (x + half).floor_().add_(1).int().add_(line)
        ends.view(-1).index_add_(0, begin.view(-1), meets).index_add_(0, end.view(-1), meets, alpha=-1)

    @property
    def _p_hrs(self) -> float:
        """Rate of the HRS process: of the cells that are not stuck at LRS."""
        free = 1 - self.p_stuck_lrs
        return self.p_stuck_hrs / free if self.p_stuck_hrs < free else float(self.p_stuck_hrs > 0)

    @property
    def _size(self) -> float:
        """Cells of a cluster on average."""
        return self.fill * math.pi * self.radius_cells**2
