"""Range of conductances of a fit or table, and the rule for devices outside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from rramsweep.devices.device import Device
from rramsweep.errors import Sentence, ValidationError, by_law, one_of

OUTSIDE = ("refuse", "clamp", "scale")

# Ends that agree to this relative tolerance are equal: 88.19 may have been computed as 88.19000000000001.
CLOSE = 1e-9


@dataclass(frozen=True)
class Coverage:
    """The range of conductances that a law was measured in, `low_uS..high_uS`, and the rule outside of it.

    `refuse`: a device's window must lie inside. `clamp`: beyond an end, the law of that end applies. `scale`: with
    `k = g_max / high`, the law at G is k times that measured at `G / k`, as for a cell with k times the area; the
    window's low end must then be at least `k low`, since scaling keeps the ratio of the two ends.

    Under all three, cells that earlier stages pushed out of the window get the law of the nearest end.

    Args:
        law: name of the effect, for messages.
        low_uS, high_uS: ends of the measured range.
        outside: one of `OUTSIDE`.

    Raises:
        ValueError: not `0 <= low < high`, or an unknown `outside`.
    """

    law: str
    low_uS: float
    high_uS: float
    outside: str

    def __post_init__(self) -> None:
        if not 0 <= self.low_uS < self.high_uS < math.inf:
            raise ValueError(
                f"a measured range needs 0 <= low < high in uS, got {self.low_uS}..{self.high_uS}: swap or correct them"
            )
        one_of("outside", self.outside, OUTSIDE)

    def factor(self, device: Device) -> float:
        """k, the factor from the measured range to the device's window: 1 unless `outside` is `scale`."""
        return device.g_max_uS / self.high_uS if self.outside == "scale" else 1.0

    def check(self, device: Device) -> None:
        """Check that the law covers a device's window.

        Raises:
            ValueError: states the range, the window and the remedy.
        """
        if self.outside == "clamp":
            return
        k = self.factor(device)
        low, high = k * self.low_uS, k * self.high_uS
        if low <= device.g_min_uS * (1 + CLOSE) and device.g_max_uS <= high * (1 + CLOSE):
            return
        scaled = self.outside == "scale"
        other = "raise device.g_min_uS" if scaled else "take another device{devices} or law, set {law.dot}outside=scale"
        remedy = f"{other}, or set {{law.dot}}outside=clamp"
        after = f" after scaling by {k:.4g}" if scaled else ""
        raise ValidationError(
            by_law(f"a device's window must lie in what {{law}} covers, {low:.4g}..{high:.4g} uS{after}", self.law),
            by_law(remedy, self.law, devices=""),
            value=(device.g_min_uS, device.g_max_uS),
            shown=f"{device.g_min_uS:g}..{device.g_max_uS:g} uS",
            window_uS=None if scaled else (low, high),
        )

    def notes(self, device: Device) -> Sequence[Sentence]:
        """Note on a device whose law is scaled or clamped."""
        k = self.factor(device)
        if abs(k - 1) > CLOSE:
            return [
                by_law(
                    f"{{law}} covers {self.low_uS:g}..{self.high_uS:g} uS and is scaled by {k:.4g} to a window that "
                    f"ends at {device.g_max_uS:g} uS",
                    self.law,
                )
            ]
        beyond = []
        if device.g_min_uS < self.low_uS * (1 - CLOSE):
            beyond.append(f"below {self.low_uS:g} uS")
        if device.g_max_uS > self.high_uS * (1 + CLOSE):
            beyond.append(f"above {self.high_uS:g} uS")
        if not beyond:
            return []
        return [
            by_law(
                f"{{law}} was not measured {' and '.join(beyond)}, where a window of "
                f"{device.g_min_uS:g}..{device.g_max_uS:g} uS gets the law of the nearest end",
                self.law,
            )
        ]

    def equivalent(self, g_uS: Tensor, device: Device) -> Tensor:
        """Conductances in the measured range that have the law of the given ones: divided by k and clamped."""
        k = self.factor(device)
        return (g_uS if k == 1 else g_uS / k).clamp(self.low_uS, self.high_uS)
