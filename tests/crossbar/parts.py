"""Parts of a weight that single arrays of cells stand for, and the factors of slices, by their closed forms."""

from __future__ import annotations

from collections.abc import Mapping as Map

import torch
from torch import Tensor

from rramsweep.crossbar.mapping import Mapping, Sliced, cell_gains, is_paired, original, sign_of
from rramsweep.devices.device import Device


def cell_weights(mapping: Mapping, g_uS: Map[str, Tensor], full_scale: Tensor, device: Device) -> dict[str, Tensor]:
    """Part of the weight that each array of cells stands for; the sum over the arrays is `mapping.weight`.

    `gain G`, negative for `n` cells. Of a mapping without pairs, `gain (G - G_0)`, G_0 the conductance of weight 0.

    Args:
        mapping: of the cells.
        g_uS: conductances by name of array.
        full_scale: W_max, broadcasts against the weight.
        device: the cell.
    """
    gains = cell_gains(mapping, g_uS, full_scale, device)
    if is_paired(g_uS):
        return {cell: (sign_of(cell) * gains[cell]) * g for cell, g in g_uS.items()}
    zero_uS = mapping.targets(torch.zeros_like(next(iter(g_uS.values()))), full_scale, device)
    return {cell: (g - zero_uS[original(cell)]).mul_(gains[cell]) for cell, g in g_uS.items()}


def slice_factors(mapping: Mapping) -> tuple[float, ...]:
    """Part of each slice in a weight, `(B-1) B^s / K` from the most significant slice down; (1.0,) without slices."""
    if not isinstance(mapping, Sliced):
        return (1.0,)
    return tuple(mapping.top * 2**shift / (2**mapping.bits - 1) for shift in mapping._shifts)
