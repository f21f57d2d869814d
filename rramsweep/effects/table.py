"""Law from a user's file: mean shift and spread over conductance and, optionally, time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from rramsweep.arguments import check_fields
from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Stream
from rramsweep.devices.tables import Array, Grid, read_grid
from rramsweep.effects.checks import not_negative
from rramsweep.effects.coverage import Coverage
from rramsweep.effects.protocol import KINDS, EffectBase
from rramsweep.errors import Sentence, ValidationError, by_law, one_of

# Number of equal steps of conductance from which the search for a cell's two neighbouring rows starts.
STEPS = 256

# Cells that are processed at a time, so that intermediate results of a large layer stay in cache.
CHUNK = 2**15


@dataclass(frozen=True)
class Table(EffectBase):
    """`G' = G_ref + strength (mu(G_ref, t) + sigma(G_ref, t) z)`, `z ~ N(0, 1)`, drawn once a cell.

    mu and sigma come from a CSV or `.npz` file with g_uS, mu_uS, sigma_uS and, for a law of time, t_s (read by
    `rramsweep.devices.tables`): linear in G and in log t. For a `total` table G_ref is the (quantised) target, for an
    `increment` table the conductance that the previous stage left. With `outside=scale` and `k = g_max` over the
    table's largest conductance, mu and sigma are k times those at `G_ref / k`.

    Times outside the table are refused; with `outside=clamp` the nearest end is used. An increment over times has not
    begun at `t_s <= t0_s` and leaves cells unchanged. Source: the user's own; a point's identity contains the numbers
    of the file, not its path.

    It is not heavy-tailed, whatever was measured. As a cell has a single draw, its errors at several times are fully
    correlated: the spread at each time is right, but the path of a cell is smoother than measured.

    Args:
        path: the file, relative to the working directory of the command.
        delimiter: of the columns of a CSV: `comma`, `semicolon` or `tab`.
        decimal: mark of its numbers: `point` or `comma`.
        kind: `total`, the error against the target, or `increment`, a change of the present conductance.
        at_s: for a total without times: seconds after the write at which it was read.
        t0_s: for an increment: seconds after the write from which it counts.
        outside: rule outside the table: `refuse`, `clamp` or `scale`, see `Coverage`.
        strength: multiplies mu and sigma; 1 is as measured, 0 no change.

    Raises:
        ValueError: what `read_grid` and `Coverage` refuse, an unknown kind, a time that does not belong to the kind, or
            a negative time or strength.
    """

    version: ClassVar[int] = 1
    cellwise: ClassVar[bool] = True

    path: str = field(repr=False, compare=False)
    kind: str = "increment"
    at_s: float = 0.0
    t0_s: float = 0.0
    outside: str = "refuse"
    strength: float = 1.0
    delimiter: str = field(default="comma", repr=False, compare=False)
    decimal: str = field(default="point", repr=False, compare=False)
    sha256: str = field(init=False)
    grid: Grid = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_fields(self)
        one_of("kind", self.kind, KINDS)
        for name in ("at_s", "t0_s", "strength"):
            not_negative(name, getattr(self, name))
        grid = read_grid(self.path, self.delimiter, self.decimal)
        object.__setattr__(self, "grid", grid)
        object.__setattr__(self, "sha256", grid.digest())
        self.coverage  # noqa: B018 - checks `outside`
        if self.kind == "increment" and self.at_s:
            raise ValueError(f"at_s belongs to kind=total, got at_s={self.at_s:g} of an increment: give t0_s")
        if self.kind == "total" and self.t0_s:
            raise ValueError(f"t0_s belongs to kind=increment, got t0_s={self.t0_s:g} of a total: give at_s")
        if self.kind == "total" and grid.t_s is not None:
            if self.at_s:
                raise ValueError(f"at_s belongs to a table without times, got at_s={self.at_s:g}: leave it at 0")
            # A law of time covers all times: no other law of time may follow.
            object.__setattr__(self, "at_s", math.inf)

    @cached_property
    def coverage(self) -> Coverage:
        """Conductances of the table, and the rule outside of them."""
        return Coverage("Table", float(self.grid.g_uS[0]), float(self.grid.g_uS[-1]), self.outside)

    @cached_property
    def _intervals(self) -> _Intervals:
        return _Intervals(self.grid.g_uS)

    def __call__(self, cells: Cells, rng: Stream) -> Tensor:
        """Conductances (uS) with the table's shift and spread at `cells.t_s`; unchanged at strength 0."""
        if self.strength == 0 or not self._begun(cells.t_s):
            return cells.g_uS
        self.check_time(cells.t_s)
        reference_uS = cells.target_uS if self.kind == "total" else cells.g_uS
        coverage, gain = self.coverage, self.strength * self.coverage.factor(cells.device)
        mu, sigma = (_Lines(self.grid.g_uS, gain * law) for law in self.grid.at(cells.t_s))
        error = rng.normal(reference_uS.shape)
        cuts = list(range(CHUNK, error.numel(), CHUNK))
        for z, now_uS in zip(*(g.flatten().tensor_split(cuts) for g in (error, reference_uS)), strict=True):
            g_uS = coverage.equivalent(now_uS, cells.device)
            interval, above_uS = self._intervals.of(g_uS)
            z.mul_(sigma.at(interval, above_uS)).add_(mu.at(interval, above_uS)).add_(now_uS)
        return error

    def check(self, device: Device) -> None:
        """Check that the window lies in the table, see `Coverage.check`."""
        self.coverage.check(device)

    def check_time(self, t_s: float) -> None:
        """Check that a time lies in the table; with `outside=clamp` every time does.

        Raises:
            ValueError: states the table's times, the time and the remedy.
        """
        times = self.grid.t_s
        if times is None or self.outside == "clamp" or not self._begun(t_s) or times[0] <= t_s <= times[-1]:
            return
        raise ValidationError(
            by_law(f"{{law}}: t_s must lie in the times of the table, {times[0]:g}..{times[-1]:g} s", self),
            by_law("set it there, or set {law.dot}outside=clamp for the law of the nearest end", self),
            value=t_s,
            shown=f"{t_s:g} s",
        )

    def notes(self, device: Device, t_s: float) -> Sequence[Sentence]:
        """Notes on a scaled or clamped law, and on a chip that is read before the error was measured."""
        notes, times = list(self.coverage.notes(device)), self.grid.t_s
        if not self._begun(t_s):
            text = f"{{law}} counts from {self.t0_s:g} s, so at {t_s:g} s nothing has happened yet: give t_s"
            notes.append(by_law(text, self))
        elif times is not None and not times[0] <= t_s <= times[-1]:
            text = f"{{law}} covers {times[0]:g}..{times[-1]:g} s, so a chip at {t_s:g} s gets the nearest end"
            notes.append(by_law(text, self))
        if times is None and self.kind == "total" and t_s < self.at_s:
            text = f"{{law}} is the error at {self.at_s:g} s, so a chip read at {t_s:g} s has too much of it"
            notes.append(by_law(text, self))
        return notes

    def _begun(self, t_s: float) -> bool:
        return self.kind == "total" or self.grid.t_s is None or t_s > self.t0_s


class _Intervals:
    """Interval of a table in which a conductance lies, and its distance above the lower row.

    As exact as a binary search and several times faster: the search starts at the interval of the conductance's step,
    one of `STEPS` equal ones, and goes up by the largest number of rows that any step holds.
    """

    def __init__(self, rows_uS: Array) -> None:
        self._rows_uS = torch.from_numpy(rows_uS).float()
        self._low_uS, self._steps_per_uS = float(rows_uS[0]), STEPS / float(rows_uS[-1] - rows_uS[0])
        first = np.searchsorted(rows_uS[1:-1], np.linspace(rows_uS[0], rows_uS[-1], STEPS + 1), side="right")
        self._first, self._most = torch.from_numpy(first[:-1]).int(), int(np.diff(first).max())
        self._upper_uS = torch.from_numpy(np.append(rows_uS[1:-1], np.inf)).float()

    def of(self, g_uS: Tensor) -> tuple[Tensor, Tensor]:
        step = (g_uS - self._low_uS).mul_(self._steps_per_uS).int().clamp_(max=STEPS - 1)
        # index_select, as below, because indexing with a tensor is seven times slower.
        first, upper_uS, rows_uS = (row.to(g_uS.device) for row in (self._first, self._upper_uS, self._rows_uS))
        interval = first.index_select(0, step)
        for _ in range(self._most):
            interval += g_uS >= upper_uS.index_select(0, interval)
        return interval, g_uS - rows_uS.index_select(0, interval)


class _Lines:
    """Linear interpolation between the rows of a table."""

    def __init__(self, rows_uS: Array, law_uS: Array) -> None:
        slope = np.diff(law_uS) / np.diff(rows_uS)
        self._slope = torch.from_numpy(slope).float()
        self._law_uS = torch.from_numpy(law_uS).float()

    def at(self, interval: Tensor, above_uS: Tensor) -> Tensor:
        slope = self._slope.to(interval.device).index_select(0, interval)
        return slope.mul_(above_uS).add_(self._law_uS.to(interval.device).index_select(0, interval))
