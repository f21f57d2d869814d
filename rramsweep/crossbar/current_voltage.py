"""Nonlinear current-voltage curve of the cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rramsweep.arguments import check_fields
from rramsweep.errors import ValidationError


@dataclass(frozen=True)
class Sinh:
    """Cells whose current grows as `I = G V_read f(V) / f(V_read)`, `f(V) = sinh(V / v_0)`, all with one v_0.

    Conductances are those at `v_read_V`, so that a full input gives the same current as a linear cell, and a smaller
    one less: `x <- x_max f(x V_read / x_max) / f(V_read)` before the product. Inputs of one bit, and bit-serial ones,
    are 0 or full, so the curve does not change them. With wire resistance the voltage of a cell depends on all others;
    that is not modelled and therefore refused.

    The hyperbolic sine is the usual form of hopping conduction [M]; v_0 differs by technology and state, and one for
    all cells is a simplification.

    Args:
        v_read_V: voltage of a full input, above 0.
        v_0_V: voltage scale of the curve, above 0; small is nonlinear.

    Raises:
        ValidationError: a voltage is not finite or not above 0, or their ratio exceeds 80, shortly before sinh
            overflows.
    """

    version: ClassVar[int] = 1

    v_read_V: float = 0.2
    v_0_V: float = 0.25

    def __post_init__(self) -> None:
        check_fields(self, "iv")
        for name in ("v_read_V", "v_0_V"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValidationError(
                    "must be finite and above 0", "give volts", value=getattr(self, name), parameter=name, slot="iv"
                )
        if self.v_read_V / self.v_0_V > 80:
            raise ValidationError(
                "must be at most 80 times v_0_V",
                "raise iv.v_0_V",
                value=self.v_read_V,
                parameter="v_read_V",
                slot="iv",
            )

    def input(self, u: Tensor) -> Tensor:
        """Input of a linear cell that gives the current of this one at input `u`, relative to a full input, -1..1."""
        ratio = self.v_read_V / self.v_0_V
        if ratio < 1e-4:  # the curve differs from a line by ratio^2 / 6: less than rounding
            return u
        return (u * ratio).sinh_().div_(math.sinh(ratio))
