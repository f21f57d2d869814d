"""Specification of a memory cell: conductance window, programmable levels, edge policy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rramsweep.arguments import brief, check_fields
from rramsweep.errors import ValidationError, one_of

EDGES = ("clip", "positive", "none")

# The widest published RRAM windows end near 4 mS, the narrowest near 1 uS. A `g_max_uS` outside these bounds is far
# more likely a value in siemens or nanosiemens than a device.
PLAUSIBLE_G_MAX_US = (1e-2, 1e5)

# Finer levels than this are not distinguished by the 24 bits of a float32's significand.
MAX_LEVELS = 2**24


@dataclass(frozen=True)
class Device:
    """Conductance window of one cell, in microsiemens.

    Args:
        g_min_uS: lower end of the window (HRS), at least 0.
        g_max_uS: upper end of the window (LRS), above `g_min_uS`.
        step_uS: distance of neighbouring programmable levels, counted from `g_min_uS`; None is continuous.
        levels: number of equally spaced levels over the whole window, at least 2; not together with `step_uS`.
        edge: policy for conductances outside the window after each stage. `clip` confines it to the window
            (PyRRAM-Sim), `positive` only keeps it at or above 0, `none` leaves it (closed-form tests).

    Raises:
        ValueError: a bound is not finite, negative, reversed or looks like another unit; both `step_uS` and `levels`,
            or impossible ones; an unknown edge.
    """

    version: ClassVar[int] = 1

    g_min_uS: float
    g_max_uS: float
    step_uS: float | None = None
    levels: int | None = None
    edge: str = "clip"

    def __post_init__(self) -> None:
        check_fields(self, "device")
        low, high = self.g_min_uS, self.g_max_uS
        if math.isfinite(high) and not PLAUSIBLE_G_MAX_US[0] <= high <= PLAUSIBLE_G_MAX_US[1]:
            unit = "siemens" if high < 1 else "a finer unit"
            raise ValidationError(
                f"must lie in {PLAUSIBLE_G_MAX_US[0]:g}..{PLAUSIBLE_G_MAX_US[1]:g} uS",
                "give microsiemens (1e-4 S = 100 uS)",
                value=high,
                shown=f"{high:g}, which looks like {unit}",
                parameter="g_max_uS",
                slot="device",
            )
        if not (math.isfinite(low) and math.isfinite(high) and 0 <= low < high):
            raise ValidationError(
                "needs 0 <= g_min_uS < g_max_uS",
                "swap or correct them",
                value=(low, high),
                shown=f"g_min_uS={low}, g_max_uS={high}",
                slot="device",
            )
        if self.step_uS is not None and self.levels is not None:
            raise ValidationError(
                "takes step_uS or levels",
                "set one of them to null",
                value=(self.step_uS, self.levels),
                shown=f"step_uS={self.step_uS} and levels={self.levels}",
                slot="device",
            )
        finest = (high - low) / (MAX_LEVELS - 1)
        if self.step_uS is not None and not finest <= self.step_uS <= high - low:
            raise ValidationError(
                f"must lie in {finest:.3g}..{high - low:g} uS (the window, in at most 2**24 levels)",
                "use null for a continuous cell",
                value=self.step_uS,
                parameter="step_uS",
                slot="device",
            )
        if self.levels is not None and not 2 <= self.levels <= MAX_LEVELS:
            raise ValidationError(
                "must be at least 2 and at most 2**24",
                "use null for a continuous cell",
                value=self.levels,
                parameter="levels",
                slot="device",
            )
        one_of("edge", self.edge, EDGES)

    @property
    def span_uS(self) -> float:
        """D = g_max - g_min, the conductance that the largest weight of a one-sided pair spans."""
        return self.g_max_uS - self.g_min_uS

    @property
    def level_step_uS(self) -> float | None:
        """Distance of neighbouring levels; None is continuous."""
        return self.span_uS / (self.levels - 1) if self.levels else self.step_uS

    def quantise(self, g_uS: Tensor) -> Tensor:
        """Nearest programmable level of each target, inside the window; same shape as `g_uS`."""
        _check_tensor(g_uS)
        step = self.level_step_uS
        if step is None:
            return g_uS.clamp(self.g_min_uS, self.g_max_uS)
        top = math.floor(self.span_uS / step + 1e-6)
        level = (g_uS - self.g_min_uS).div_(step).round_().clamp_(0, top)
        return level.mul_(step).add_(self.g_min_uS).clamp_(max=self.g_max_uS)

    def confine_(self, g_uS: Tensor) -> Tensor:
        """Apply the edge policy in place, as after each stage."""
        _check_tensor(g_uS)
        if self.edge == "clip":
            return g_uS.clamp_(self.g_min_uS, self.g_max_uS)
        if self.edge == "positive":
            return g_uS.clamp_(min=0.0)
        return g_uS


def _check_tensor(g_uS: object) -> None:
    if not isinstance(g_uS, Tensor):
        remedy = "convert it with torch.as_tensor(...)"
        raise ValidationError("must be a torch tensor", remedy, value=g_uS, shown=brief(g_uS), parameter="g_uS")


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells that an effect acts on: those of one array of one layer (p or n).

    Axis 0 counts bit lines (outputs); the other axes together count word lines (inputs).

    Args:
        g_uS: present conductance, as left by the previous stage.
        target_uS: the quantised target conductance.
        device: the cell's window.
        t_s: seconds since programming.
    """

    g_uS: Tensor
    target_uS: Tensor
    device: Device
    t_s: float

    @property
    def lines(self) -> tuple[int, int]:
        """Numbers of bit lines and of word lines of the array."""
        return len(self.g_uS), self.g_uS[0].numel()
