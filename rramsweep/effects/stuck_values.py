"""Conductances of stuck cells, shared by the patterns of faults."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Stream
from rramsweep.effects.checks import fraction
from rramsweep.errors import Sentence, by_law, one_of

# Largest standard deviation, as a fraction of the mean, at which stuck conductances stay at or above 0.
CV_MAX = {"normal": 1 / 3, "uniform": 1 / math.sqrt(3), "lognormal": math.inf}


class StuckCells(Protocol):
    """Parameters common to all patterns of stuck cells; see `rramsweep.effects.Stuck`."""

    @property
    def p_stuck_lrs(self) -> float:
        """Rate of cells stuck at LRS."""

    @property
    def p_stuck_hrs(self) -> float:
        """Rate of cells stuck at HRS."""

    @property
    def g_lrs_uS(self) -> float | None:
        """Mean conductance of a cell stuck at LRS; None is g_max."""

    @property
    def g_hrs_uS(self) -> float | None:
        """Mean conductance of a cell stuck at HRS; None is g_min."""

    @property
    def distribution(self) -> str:
        """Distribution of stuck conductances: `normal`, `uniform` or `lognormal`."""

    @property
    def cv_lrs(self) -> float:
        """Standard deviation over mean of conductances stuck at LRS."""

    @property
    def cv_hrs(self) -> float:
        """Standard deviation over mean of conductances stuck at HRS."""


def check_stuck(law: StuckCells) -> None:
    """Check the rates and the conductances of stuck cells.

    Raises:
        ValueError: a rate outside 0..1, rates that sum to more than 1, a value that is negative or not finite, an
            unknown distribution, a spread that reaches below 0.
    """
    fraction("p_stuck_lrs", law.p_stuck_lrs, "of the cells")
    fraction("p_stuck_hrs", law.p_stuck_hrs, "of the cells")
    if law.p_stuck_lrs + law.p_stuck_hrs > 1:
        raise ValueError(
            f"p_stuck_lrs + p_stuck_hrs must be at most 1, got {law.p_stuck_lrs} + {law.p_stuck_hrs}: lower one"
        )
    for name, g_uS in (("g_lrs_uS", law.g_lrs_uS), ("g_hrs_uS", law.g_hrs_uS)):
        if g_uS is not None and not 0 <= g_uS < math.inf:
            raise ValueError(f"{name} must be a conductance >= 0 in uS, got {g_uS}: use null for the window's end")
    one_of("distribution", law.distribution, tuple(CV_MAX))
    for name, cv in (("cv_lrs", law.cv_lrs), ("cv_hrs", law.cv_hrs)):
        highest = CV_MAX[law.distribution]
        if not (0 <= cv <= highest and math.isfinite(cv)):
            raise ValueError(
                f"{name} must lie in 0..{highest:.3g} for a {law.distribution} distribution of stuck values, got "
                f"{cv}: 0 fixes them, and lognormal takes any"
            )


def stuck_notes(law: StuckCells, device: Device) -> list[Sentence]:
    """Note on stuck conductances outside the window."""
    outside = [
        f"{name}={g_uS:g}"
        for name, p, g_uS in (
            ("g_lrs_uS", law.p_stuck_lrs, law.g_lrs_uS),
            ("g_hrs_uS", law.p_stuck_hrs, law.g_hrs_uS),
        )
        if p > 0 and g_uS is not None and not device.g_min_uS <= g_uS <= device.g_max_uS
    ]
    if not outside:
        return []
    return [
        by_law(
            f"{{law}} has {' and '.join(outside)} outside the window of {device.g_min_uS:g}..{device.g_max_uS:g} uS: "
            "right where it was measured beside this window, else give null or values of your device",
            law,
        )
    ]


def stick(law: StuckCells, cells: Cells, lrs: Tensor, hrs: Tensor, rng: Stream) -> Tensor:
    """Return conductances (uS) with the cells of two masks stuck.

    Args:
        law: conductances of stuck cells.
        cells: the array before.
        lrs: mask of the cells stuck at LRS, bool, in the array's shape.
        hrs: mask of those stuck at HRS, likewise.
        rng: its child draws the spread, one number a cell whatever the rates.
    """
    stuck_uS = cells.g_uS.clone()
    stick_(law, cells.device, stuck_uS, lrs, hrs, spread_draws(law, stuck_uS.shape, rng))
    return stuck_uS


def spread_draws(law: StuckCells, shape: Sequence[int], rng: Stream) -> Tensor | None:
    """Draw each cell's place in the distribution of stuck conductances, whatever the rates; None without spread."""
    if law.cv_lrs == law.cv_hrs == 0:
        return None
    rng = rng.child("value")
    return rng.uniform(shape) if law.distribution == "uniform" else rng.normal(shape)


def stick_(law: StuckCells, device: Device, g_uS: Tensor, lrs: Tensor, hrs: Tensor, draws: Tensor | None) -> None:
    """Set the cells of two masks (bool, or 0 and 1) to stuck conductances, in place; LRS wins where both are set."""
    for mask, cv, given_uS, end_uS in (
        (hrs, law.cv_hrs, law.g_hrs_uS, device.g_min_uS),
        (lrs, law.cv_lrs, law.g_lrs_uS, device.g_max_uS),
    ):
        stuck_uS = g_uS.new_full((), end_uS if given_uS is None else given_uS)
        if draws is not None and cv > 0:
            stuck_uS = _factors(law.distribution, cv, draws).mul_(stuck_uS)
        # Exact for masks of 0 and 1, and, unlike a masked fill, equally fast for many and few stuck cells.
        g_uS.lerp_(stuck_uS, mask.to(g_uS.dtype))


def _factors(distribution: str, cv: float, draws: Tensor) -> Tensor:
    """Factors of mean 1 and standard deviation `cv`."""
    if distribution == "uniform":
        return (draws - 0.5).mul_(cv * math.sqrt(12)).add_(1)
    if distribution == "normal":
        # Clamped symmetrically, so that the mean stays 1 with 0 as the lower end.
        return draws.clamp(-1 / cv, 1 / cv).mul_(cv).add_(1)
    s = math.sqrt(math.log1p(cv**2))
    return (s * draws).sub_(s**2 / 2).exp_()
