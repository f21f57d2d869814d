"""Facts about a layer's weights, cells and tiles on one chip, and the error that each step from weight to chip adds."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from rramsweep.crossbar.converters import UniformADC
from rramsweep.crossbar.mapping import slice_of
from rramsweep.crossbar.programming import ProgrammedLayer, apply_stage
from rramsweep.crossbar.tile import Crossbar
from rramsweep.crossbar.wires import Segments
from rramsweep.devices.device import Device
from rramsweep.effects import Ideal
from rramsweep.groups import STAGES

# A conductance within this fraction of the window from an edge is at the edge: a thousandth of the finest level in use.
AT_EDGE = 1e-6

# The used part of the window lies between these quantiles of the target conductances.
USED = (0.01, 0.99)


def program_by_steps(
    layer: ProgrammedLayer, weight: Tensor, seed: int, t_s: float
) -> tuple[ProgrammedLayer, dict[str, float | None]]:
    """Program a layer stage by stage, with the |dW| / |W| of mapping and quantisation and of each stage.

    Args:
        layer: mapped and quantised.
        weight: the digital weight.
        seed: the chip.
        t_s: seconds since programming.

    Returns:
        The programmed layer, and `by_mapping`, `by_programming`, ..., `by_faults`, `by_wires` (null where
        all weights are zero).
    """
    size, before = float(weight.norm()), layer.weight_of_cells()
    steps = {"by_mapping": ratio(float((before - weight).norm()), size)}
    for stage in STAGES:
        layer = apply_stage(layer, stage, getattr(layer.spec, stage), seed, t_s)
        after = layer.weight_of_cells()
        steps[f"by_{stage}"] = ratio(float((after - before).norm()), size)
        before = after
    steps["by_wires"] = ratio(float((layer.weight() - before).norm()), size)
    return replace(layer, t_s=t_s), steps


def weight_facts(weight: Tensor, layer: ProgrammedLayer) -> dict[str, float | None]:
    """Facts about a layer's weights and targets, the same on every chip."""
    size = weight.abs()
    targets = torch.cat([g.flatten() for g in layer.target_uS.values()])
    low, high = (float(targets.kthvalue(max(1, math.ceil(q * len(targets)))).values) for q in USED)
    return {
        "window_used": (high - low) / layer.spec.device.span_uS,
        "w_max_over_std": ratio(float(size.max()), float(weight.std(correction=0))),
        "n_cells": float(len(targets)),
        "saturated_share": float((size > layer.full_scale * (1 + 1e-6)).float().mean()),
    }


def cell_facts(weight: Tensor, layer: ProgrammedLayer, seed: int, t_s: float) -> dict[str, float | None]:
    """Shares of a layer's cells on one chip that are at an edge, were pushed there, and are stuck."""
    device, mapping = layer.spec.device, layer.spec.mapping
    edge, inside = [], []
    for cell, requested_uS in mapping.targets(weight, layer.full_scale, device).items():
        edge.append(_at_edge(layer.g_uS[cell], device))
        inside.append(~_at_edge(requested_uS, device))
    at_edge, requested_inside = torch.stack(edge), torch.stack(inside)
    n_inside = int(requested_inside.sum())
    return {
        "edge_share": float(at_edge.float().mean()),
        "pushed_share": int((at_edge & requested_inside).sum()) / n_inside if n_inside else 0.0,
        "stuck_share": _stuck_share(layer, seed, t_s),
    }


def tile_facts(layer: ProgrammedLayer) -> dict[str, float | None]:
    """Tiles of a layer, the share of their cells that hold a weight, and its ADCs; the same on every chip."""
    tile, adc = layer.spec.tile, layer.spec.adc
    cells = next(iter(layer.g_uS.values())).flatten(1)
    outputs, inputs = cells.shape
    tiles = use = adcs = None
    along_inputs = 1
    if isinstance(tile, Crossbar):
        groups, along_inputs, along_outputs = tile.counts(outputs, inputs, layer.groups)
        arrays = len(layer.g_uS) // (2 if tile.arrangement == "interleaved" else 1)
        tiles = float(groups * along_inputs * along_outputs * arrays)
        use = cells.numel() * len(layer.g_uS) / (tiles * tile.rows * tile.columns)
    if isinstance(adc, UniformADC):
        slices = len({slice_of(cell) for cell in layer.g_uS})
        adcs = float(outputs * along_inputs * slices * (2 if adc.subtraction == "digital" else 1))
    return {"tiles": tiles, "tile_use": use, "adcs": adcs}


def wire_facts(layer: ProgrammedLayer) -> dict[str, float | str | None]:
    """Mean and smallest `G_eff / G` of the conducting cells, and the corner of the tile in which the smallest lies.

    Null where wires are ideal, or no cell conducts.
    """
    if not layer.spec.wired or not any(bool((g_uS > 0).any()) for g_uS in layer.g_uS.values()):
        return {"g_eff_mean": None, "g_eff_worst": None, "g_eff_worst_corner": None}
    conducts = torch.stack([g_uS.flatten(1) > 0 for g_uS in layer.g_uS.values()])
    transfer = torch.stack([layer.transfer[cell].flatten(1) for cell in layer.g_uS])
    at = int(torch.where(conducts, transfer, math.inf).argmin())
    return {
        "g_eff_mean": float(transfer[conducts].double().mean()),
        "g_eff_worst": float(transfer.flatten()[at]),
        "g_eff_worst_corner": _corner(layer, *divmod(at % transfer[0].numel(), transfer.shape[2])),
    }


def _corner(layer: ProgrammedLayer, output: int, input_: int) -> str:
    """Corner of its tile in which a cell lies."""
    tile, wires = layer.spec.tile, layer.spec.wires
    assert isinstance(tile, Crossbar)
    assert isinstance(wires, Segments)
    outputs, inputs = layer.target_uS["p"].flatten(1).shape
    row, column, rows, columns = tile.place(output % (outputs // layer.groups), input_, outputs // layer.groups, inputs)
    from_driver, most = column, columns - 1
    if wires.drive == "both":
        from_driver, most = min(column, columns - 1 - column), (columns - 1) // 2
    far = {"driver": from_driver > most / 2, "sense": rows - 1 - row > (rows - 1) / 2}
    if far["driver"] == far["sense"]:
        return f"{'far from' if far['driver'] else 'near'} driver and sense"
    return ", ".join(f"{'far from' if is_far else 'near'} {end}" for end, is_far in far.items())


def _stuck_share(layer: ProgrammedLayer, seed: int, t_s: float) -> float:
    """Share of weights with a stuck cell: one that ends at the same conductance wherever it started."""
    faults, device = layer.spec.faults, layer.spec.device
    if isinstance(faults, Ideal):
        return 0.0
    ends = []
    for before_uS in (device.g_min_uS + 0.25 * device.span_uS, device.g_min_uS + 0.75 * device.span_uS):
        cells = {cell: torch.full_like(g_uS, before_uS) for cell, g_uS in layer.g_uS.items()}
        ends.append(apply_stage(replace(layer, g_uS=cells), "faults", faults, seed, t_s).g_uS)
    stuck = torch.stack([ends[0][cell] == ends[1][cell] for cell in layer.g_uS])
    return float(stuck.any(0).float().mean())


def _at_edge(g_uS: Tensor, device: Device) -> Tensor:
    near = AT_EDGE * device.span_uS
    return (g_uS <= device.g_min_uS + near) | (g_uS >= device.g_max_uS - near)


def ratio(value: float, of: float) -> float | None:
    """A quotient, null where the divisor is 0."""
    return value / of if of > 0 else None
