"""Products of a network's layers on a few inputs, as rows of numbers, and the corresponding inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from rramsweep.datasets.inputs import AnyInputs, call
from rramsweep.models.forward import one_tensor
from rramsweep.network.arrays import CONVOLUTIONS, TRANSPOSED
from rramsweep.network.corrections import CorrectableLayer

# Largest number of output positions kept for a layer, over all inputs and evenly spaced. It bounds memory and time:
# 16,384 rows of 512 outputs take 34 MB.
POSITIONS = 16_384


@dataclass(frozen=True, eq=False)
class Recording:
    """The products of one network on some inputs.

    Args:
        x: the inputs.
        products: `{layer: rows}` of the first call of each layer, see `product_rows`.
        outputs: of the network.
        most: largest number of rows of a layer.
    """

    x: AnyInputs
    products: Mapping[str, Tensor]
    outputs: Tensor
    most: int


def record(model: nn.Module, layers: Sequence[CorrectableLayer], parts: Sequence[AnyInputs]) -> list[Recording]:
    """Record the products of layers on inputs, and on parts of them, each in one batch.

    Args:
        model: the network.
        layers: those that can be corrected.
        parts: all inputs first; the others keep proportionally fewer rows: two halves cost as much as the whole.
    """
    return [_record(model, layers, x, max(1, POSITIONS * len(x) // len(parts[0]))) for x in parts]


@torch.no_grad()
def _record(model: nn.Module, layers: Sequence[CorrectableLayer], x: AnyInputs, most: int) -> Recording:
    products: dict[str, Tensor] = {}

    def keep(layer: CorrectableLayer, _: nn.Module, __: tuple[Any, ...], ___: dict[str, Any], y: Tensor) -> None:
        if layer.name not in products:
            products[layer.name] = product_rows(layer, y, most)

    with ExitStack() as hooks:
        for layer in layers:
            hook = layer.module.register_forward_hook(partial(keep, layer), with_kwargs=True, prepend=True)
            hooks.callback(hook.remove)
        outputs = one_tensor(call(model, x))
    return Recording(x, products, outputs, most)


def product_rows(layer: CorrectableLayer, y: Tensor, most: int = POSITIONS) -> Tensor:
    """The products in a layer's output: at most `most` rows, float32, shape (rows, outputs)."""
    rows = layer.without_bias(y).movedim(-1 - layer.spatial, -1)
    chosen = _chosen(rows.shape[:-1], most, rows.device)
    return (rows.flatten(0, -2) if chosen is None else rows[chosen]).float()


def input_rows(layer: CorrectableLayer, x: Tensor, y: Tensor, most: int = POSITIONS) -> Tensor:
    """The inputs of `product_rows`: float32, shape (groups, rows, inputs of each).

    Args:
        layer: a plain one.
        x: its input.
        y: its output.
        most: largest number of rows.
    """
    module, spatial = layer.module, layer.spatial
    if not isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)):
        chosen = _chosen(x.shape[:-1], most, x.device)
        return (x.flatten(0, -2) if chosen is None else x[chosen]).float()[None]
    lone = x.dim() == spatial + 1
    x, size = (x[None] if lone else x), y.shape[-spatial:]
    dilation, kernel = module.dilation, layer.array.weight.shape[2:]
    if isinstance(module, TRANSPOSED):
        windows = _windows(_spread(module, x, size), kernel, dilation, [1] * spatial).flip(tuple(range(-spatial, 0)))
    else:
        mode = cast(str, module.padding_mode)
        around = module._reversed_padding_repeated_twice
        x = pad(x, around, mode="constant" if mode == "zeros" else mode)
        windows = _windows(x, kernel, dilation, module.stride)
    windows = windows.movedim(1, 1 + spatial)  # (inputs, positions ..., channels, kernel ...)
    chosen = _chosen(windows.shape[1 : 1 + spatial] if lone else windows.shape[: 1 + spatial], most, x.device)
    rows = windows[0] if lone else windows
    picked = windows.flatten(0, spatial) if chosen is None else rows[chosen]
    return picked.float().reshape(len(picked), layer.array.matrices, -1).movedim(1, 0)


def _chosen(shape: Sequence[int], most: int, device: torch.device) -> tuple[Tensor, ...] | None:
    """Indices of evenly spaced rows among those of a shape; None takes all."""
    rows = torch.Size(shape).numel()
    if rows <= most:
        return None
    flat = torch.arange(most, device=device) * rows // most
    return torch.unravel_index(flat, tuple(shape))


def _windows(x: Tensor, kernel: Sequence[int], dilation: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Windows of a padded input as a view, (inputs, channels, positions ..., kernel ...)."""
    for axis, (k, d, s) in enumerate(zip(kernel, dilation, stride, strict=True), 2):
        x = x.unfold(axis, d * (k - 1) + 1, s)[..., ::d]
    return x


def _spread(module: nn.Module, x: Tensor, size: Sequence[int]) -> Tensor:
    """Convert the input of a transposed convolution to that of a convolution of stride 1: zeros between and around."""
    stride, dilation, kernel, padding = (
        cast("tuple[int, ...]", getattr(module, name)) for name in ("stride", "dilation", "kernel_size", "padding")
    )
    between = x.new_zeros(*x.shape[:2], *((n - 1) * s + 1 for n, s in zip(x.shape[2:], stride, strict=True)))
    between[(slice(None), slice(None), *(slice(None, None, s) for s in stride))] = x
    around: list[int] = []
    for length, n, k, d, p in zip(between.shape[2:], size, kernel, dilation, padding, strict=True):
        low = d * (k - 1) - p
        around = [low, n + d * (k - 1) - length - low, *around]
    return pad(between, around)
