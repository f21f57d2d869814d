"""Noise of a layer's output computed from the noise of its cells, shared by the laws of read noise."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from itertools import groupby
from typing import Any

from torch import Tensor

from rramsweep.devices.streams import Stream

# A variance is a sum of squares: a value below 0 by more than this fraction of the largest is not rounding.
_ROUNDING = 1e-3


def weight_variance(layer: Any, cells_uS2: Iterable[Tensor]) -> Tensor:
    """Variance of each weight at one read: `var_W = sum over the weight's cells of (dW/dG)^2 var_G`.

    Args:
        layer: the `crossbar.ProgrammedLayer` that is read.
        cells_uS2: variance (uS^2) of each of the layer's arrays of cells, in a new tensor, which is overwritten.

    Returns:
        In the shape of the weight on the array. Cells are independent; the reference of `mapping=offset` is not a cell
        and adds nothing.
    """
    if layer.spec.wired:  # a cell's noise at the output, without the currents through its neighbours
        transfers = layer.transfer.values()
        cells_uS2 = [variance.mul_(transfer**2) for variance, transfer in zip(cells_uS2, transfers, strict=True)]
    # Arrays with equal gain, such as both of a pair, are added first: one multiplication a slice.
    by_gain = groupby(zip(layer.gains.values(), cells_uS2, strict=True), key=lambda cell: id(cell[0]))
    slices = (list(cells) for _, cells in by_gain)
    return reduce(Tensor.add_, (reduce(Tensor.add_, (v for _, v in s)).mul_(s[0][0] ** 2) for s in slices))


def per_output(per_weight: Tensor) -> Tensor:
    """Sum over all cells of each bit line, shaped to broadcast against the layer's output."""
    return per_weight.flatten(1).sum(1).view(-1, *[1] * (per_weight.dim() - 2))


def normal_read(y: Tensor, variance: Tensor, rng: Stream) -> Tensor:
    """`y + sqrt(variance) z` with an independent draw for every input vector, output and output position.

    Args:
        y: result of a noise-free read, any shape.
        variance: of y, in the same shape and the squared unit; in a new tensor, which is overwritten.
        rng: the stream of this read.

    The variance is right for a forward that is a product with padding, reshaping or repetition. A forward that scales
    its output by s would scale the variance by s instead of s^2; `network.products.check_product` refuses it.

    Raises:
        ValueError: a variance is negative, so the layer's forward is not a plain product.
    """
    if variance.numel():
        low, high = (float(v) for v in variance.aminmax())
        if low < -_ROUNDING * high:
            raise ValueError(
                "read noise needs a layer whose forward is a product of its input and its weight, but one changes its "
                "weight first (weight standardisation): give it no read noise, by a rule of analog.layers"
            )
    sd = variance.clamp_(min=0).sqrt_()
    return rng.normal(y.shape).to(y).mul_(sd).add_(y)
