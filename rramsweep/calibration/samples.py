"""Samples of one layer of a chip, to which a method is fitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor


@dataclass(frozen=True, eq=False)
class LayerSamples:
    """Products of a chip's layer on the calibration inputs, with every layer before it corrected already.

    Args:
        name: of the layer.
        y: the chip's products, shape (rows, outputs): evenly spaced output positions, at most `recording.POSITIONS`.
        target: products of the reference at the same positions, likewise.
        images: number of inputs that the rows come from.
        shape: `(outputs, inputs)` of the matrix of each group.
        input_rows: makes `x`.
    """

    name: str
    y: Tensor
    target: Tensor
    images: int
    shape: tuple[int, int]
    input_rows: Callable[[], Tensor]

    @cached_property
    def x(self) -> Tensor:
        """The chip's own inputs that `y` are products of, shape (groups, rows, inputs of each)."""
        return self.input_rows()
