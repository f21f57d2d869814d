"""Clustered faults: a Neyman-Scott process of parents and offspring."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rramsweep.arguments import check_fields
from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Stream
from rramsweep.effects.protocol import EffectBase
from rramsweep.effects.stuck_values import check_stuck, spread_draws, stick_, stuck_notes
from rramsweep.errors import Sentence

# Radii in cell pitches: below, neighbours hardly share a disc; above, a cluster is wider than most arrays.
RADII = (1.0, 100.0)

# Smallest share of failing cells in a disc; with a smaller one there is hardly a cluster.
FILL_MIN = 0.2

# Largest number of cluster centres per cell. Denser clusters merge until none can be distinguished, and the work grows
# with their number: at the default rates the law takes 0.9 times as long as the three stages before it, close to this
# bound 1.3 times, and 1.9 times where stuck values are spread (tests/benchmarks/test_law_speed.py).
CENTRES_MAX = 0.15

# From this radius on the bound falls as 1 / radius, because a wider disc crosses more bit lines, each of which is work.
WIDE_CELLS = 2.0

# Approximate number of cells in a band of bit lines; bands are processed one by one, so that their cells stay in cache.
_BAND = 131072

# Largest number of a band's parents that are drawn at once.
_BLOCK = 2048

# Additional weight of a parent of LRS: one sum then holds the numbers of LRS parents and of all parents, exactly below
# 4096 of each.
_LRS = 4096.0

# Number of parents that leaves no cell free: with draws of 24 bits it is 75 at the smallest fill.
_ALL = 100.0


@dataclass(frozen=True)
class StuckClusters(EffectBase):
    """Stuck cells in clusters; each cell is stuck at LRS and HRS at exactly the given rates, at the border too.

    A Matern cluster process, for LRS and HRS each: parents are a Poisson process of `lam` a cell, in the plane of bit
    lines and word lines and up to a radius beyond its border; every cell within `r = radius_cells` of a parent becomes
    its offspring with probability `f = fill`, independent of the others, and offspring is stuck. After this thinning a
    cell has a Poisson number of parents with mean `lam f pi r^2`, so it is free with probability `exp(-lam f pi r^2)`,
    and

        lam = -ln(1 - p) / (f pi r^2)

    makes p exact. A cluster has `f pi r^2` cells on average (6.3 by default). Two cells at distance d are both free
    with probability `(1 - p)^2 exp(lam f^2 A(d))`, A the overlap of two discs of radius r at distance d. This gives the
    covariance of stuck cells and the index of dispersion of a tile. Where clusters overlap, LRS wins, and the HRS
    process has the rate `p_stuck_hrs / (1 - p_stuck_lrs)`, so that the sets are disjoint and p_stuck_hrs is exact.

    One uniform draw u a cell decides for all of its parents: a cell with n parents is the offspring of none with
    probability `(1 - f)^n`. It is stuck if `u < 1 - (1 - f)^n` with its n parents of both kinds, and at LRS if that
    holds with its parents of LRS alone.

    The sets are nested: a higher rate keeps all parents of a lower one, and with them all of their stuck cells. The LRS
    set does not depend on p_stuck_hrs; the HRS set grows with p_stuck_hrs, the union of both with either rate.

    Source of the process: J. Neyman and E. L. Scott, J. R. Stat. Soc. B 20(1) 1-29 (1958) [M], in Matern's form [M];
    clustered defects of memories are common knowledge in yield modelling, but radius and fill are placeholders, not
    measured. p and n cells are in separate arrays: a cluster hits one of them.

    Valid while there are at most 0.15 parents a cell, beyond a radius of 2 cells at most `0.3 / r`:
    `-ln(1 - p) <= 0.15 f pi r^2` with p of both kinds (0.61 by default), or `<= 0.3 f pi r`. Denser clusters cannot be
    distinguished; use `Stuck` instead.

    Args:
        p_stuck_lrs, p_stuck_hrs: rates of stuck *cells*, as in `Stuck`.
        g_lrs_uS, g_hrs_uS: where stuck cells sit, as in `Stuck`.
        distribution, cv_lrs, cv_hrs: their spread from cell to cell, as in `Stuck`.
        radius_cells: radius of a cluster in cell pitches, 1 to 100.
        fill: share of the cells of a cluster's disc that fail, 0.2..1.

    Raises:
        ValueError: a radius or fill out of range, clusters too dense, and what `Stuck` refuses.
    """

    version: ClassVar[int] = 3

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
        check_fields(self)
        check_stuck(self)
        for name, value, (low, high), remedy in (
            ("radius_cells", self.radius_cells, RADII, "faults=stuck has single cells"),
            ("fill", self.fill, (FILL_MIN, 1.0), "a smaller radius_cells has smaller clusters"),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name} must lie in {low:g}..{high:g}, got {value}: {remedy}")
        rates = [p for p in (self.p_stuck_lrs, self._p_hrs) if p < 1]  # a full array needs no clusters
        centres = sum(-math.log1p(-p) for p in rates) / self._size
        most = CENTRES_MAX * min(1.0, WIDE_CELLS / self.radius_cells)
        if centres > most:
            raise ValueError(
                f"clusters of radius {self.radius_cells:g} must have at most {most:.2g} centres a cell to be clusters, "
                f"but rates of {self.p_stuck_lrs:g} + {self.p_stuck_hrs:g} in clusters of {self._size:.3g} cells need "
                f"{centres:.2g}: lower the rates, raise radius_cells or fill, or use faults=stuck"
            )

    def __call__(self, cells: Cells, rng: Stream) -> Tensor:
        """Conductances (uS) with the offspring of each cluster stuck."""
        if self.p_stuck_lrs == 0 and self.p_stuck_hrs == 0:
            return cells.g_uS
        now_uS = cells.g_uS.reshape(cells.lines)
        uniform, spread = rng.child("cells").uniform(cells.lines), spread_draws(self, cells.lines, rng)
        each = 1 / math.log1p(-self.fill) if self.fill < 1 else 0.0
        start = 0
        for parents in self._parents(cells.lines, rng):
            band = slice(start, start := start + len(parents))
            # A cell near n parents is free where (1 - fill)^n <= 1 - u, that is n <= log(1 - u) / log(1 - fill).
            free = uniform[band].neg_().add_(1).log_().mul_(each)
            lrs = (parents / _LRS).floor_()
            stuck = parents.sub_(lrs, alpha=_LRS).gt_(free)
            lrs.gt_(free)
            # The memory of the draws is reused for the conductances: new pages cost more than the arithmetic.
            after_uS = uniform[band].copy_(now_uS[band])
            stick_(self, cells.device, after_uS, lrs, stuck, None if spread is None else spread[band])
        return uniform.view(cells.g_uS.shape)

    def notes(self, device: Device, t_s: float) -> Sequence[Sentence]:  # noqa: ARG002
        """Note on stuck conductances outside the window."""
        return stuck_notes(self, device)

    def _parents(self, lines: tuple[int, int], rng: Stream) -> Iterator[Tensor]:
        """Number of parents within a radius of each cell, LRS parents counted as 1 + `_LRS`, band by band.

        A parent belongs to the band of bit lines in which its disc begins; the disc crosses up to `rows` bit lines from
        there. The first band begins `rows` bit lines before the array.
        """
        bit_lines, word_lines = lines
        rows = math.ceil(2 * self.radius_cells)
        span, width = bit_lines + rows, word_lines - 1 + 2 * self.radius_cells
        height = math.ceil(span / math.ceil(span * width / _BAND))
        bands = math.ceil(span / height)
        clusters = height * width / self._size  # of a band, if they tiled it
        rates = (self.p_stuck_lrs, self._p_hrs)
        # The number of parents decides tensor sizes, so it is drawn on the CPU, wherever the cells are.
        quantiles = Stream(rng.seed, (*rng.name, "number")).uniform((2, bands)).tolist()
        numbers = [
            _poisson(-math.log1p(-p) * clusters if p < 1 else 0.0, us) for p, us in zip(rates, quantiles, strict=True)
        ]
        # Blocks do not depend on the rates, so that all rates share their draws.
        block = min(_BLOCK, 512 + int(clusters / 4))
        drawn = [_drawn(n, block, rng.child(kind)) for kind, n in zip(("lrs", "hrs"), numbers, strict=True)]
        everywhere = sum(_ALL * weight for p, weight in zip(rates, (1 + _LRS, 1.0), strict=True) if p == 1)
        # Positions along a bit line at which discs begin (+) and have ended (-).
        ends = torch.zeros(rows, word_lines + 1)
        for band in range(bands):
            ends = torch.cat((ends, torch.zeros(height, word_lines + 1)))
            n_lrs, n_hrs = (n[band] for n in numbers)
            if n_lrs + n_hrs > 0:
                parts = [
                    places[band, :, : max(0, n - i * block)]
                    for n, kind in zip((n_lrs, n_hrs), drawn, strict=True)
                    for i, places in enumerate(kind)
                ]
                y, x = torch.cat(parts, 1)
                weights = torch.ones(n_lrs + n_hrs)
                weights[:n_lrs] += _LRS
                self._mark(ends, y.mul_(height), x.mul_(width).sub_(self.radius_cells), weights)
            first = band * height - rows
            done = ends[max(0, -first) : min(height, bit_lines - first)]
            if len(done):
                parents = done.cumsum_(1)[:, :word_lines]
                yield parents.add_(everywhere) if everywhere else parents
            ends = ends[height:]

    def _mark(self, ends: Tensor, y: Tensor, x: Tensor, weights: Tensor) -> None:
        """Mark discs that begin at bit line y around word line x (n,): on each bit line from x - half to x + half."""
        rows, length = math.ceil(2 * self.radius_cells), ends.shape[1]
        row = torch.arange(rows, dtype=torch.int32).unsqueeze(1)
        first = y.ceil()
        line = first.int().mul_(length) + row * length
        half = torch.rsub((first.sub_(y) + (row - self.radius_cells)).square_(), self.radius_cells**2)
        half.relu_().sqrt_()
        weights = torch.cat([weights] * rows)
        # An interval between two neighbouring cells begins where it ends, and cancels.
        for side, sign in ((x - half, 1), (half.add_(x), -1)):
            cell = side.ceil_().clamp_(0, length - 1).int().add_(line)
            ends.view(-1).index_add_(0, cell.view(-1), weights, alpha=sign)

    @property
    def _p_hrs(self) -> float:
        """Rate of the HRS process among cells that are not stuck at LRS."""
        free = 1 - self.p_stuck_lrs
        return self.p_stuck_hrs / free if self.p_stuck_hrs < free else float(self.p_stuck_hrs > 0)

    @property
    def _size(self) -> float:
        """Mean number of cells in a cluster."""
        return self.fill * math.pi * self.radius_cells**2


def _poisson(mean: float, quantiles: Sequence[float]) -> list[int]:
    """Quantiles of a Poisson distribution, which grow with the mean; probabilities are the middles of 24-bit steps."""
    from scipy.special import pdtrik  # imported late, because it takes half a second

    return [math.ceil(pdtrik(u, mean)) if u > math.exp(-mean) else 0 for u in (u + 2**-25 for u in quantiles)]


def _drawn(numbers: Sequence[int], block: int, rng: Stream) -> list[Tensor]:
    """Positions in the unit square for each band, at least as many as it needs: blocks of (bands, 2, block)."""
    return [rng.child(str(i)).uniform((len(numbers), 2, block)) for i in range(math.ceil(max(numbers) / block))]
