"""Programming of a whole chip in pieces of a size that suits the processor.

A law that acts on each cell independently (`cellwise`) can be given any cells. The arrays of small layers are therefore
joined, which saves calls, and large ones are cut into pieces, which saves memory. Each array keeps its own streams, so
the chip is that of `programming.program`, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from collections.abc import Mapping as Map
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from rramsweep.crossbar.mapping import cell_names
from rramsweep.crossbar.programming import LayerSpec, ProgrammedLayer, full_scale, map_layer, program, program_cells
from rramsweep.devices.streams import Chip, JoinedStream, Stream, stage_stream
from rramsweep.effects.protocol import is_cellwise
from rramsweep.groups import STAGES

# Largest number of cells of joined layers: their targets, conductances and draws take 0.8 MB.
PIECE = 65_536

# Weights in a piece of a large layer: some 3 MB of cells and draws. Two threads that program two layers wait for Python
# between short operations: with pieces of half the size they took a fifth longer. With pieces four times as large they
# took a tenth less time, and additional memory as large as the weights of ResNet-18.
CUT = 131_072

# Largest number of pairs of cells (8 bytes each) for which a layer's targets are kept, because mapping it anew for each
# chip would cost more time than the memory is worth; and the largest number for all such layers together.
SMALL, SMALL_IN_ALL = 100_000, 1_000_000

# torch draws normals sixteen at a time: a cut anywhere else would change the draws after it.
DRAWN = 16

# Receives the weights of a layer, or of its bit lines `rows`, in the array's orientation.
Write = Callable[[str, Tensor, slice], None]

WHOLE = slice(None)


class NetworkCells:
    """The cells of a network's layers: mapped once or for each chip, programmed for any.

    Args:
        weights: `{layer: digital weight}` in the array's orientation, in the memory in which cells are programmed.
        specs: `{layer: LayerSpec}`.
        parts: `{layer: number of stacked matrices}`, see `programming.map_layer`.
        whole: layers that are programmed alone and in one piece, because their cells are needed or their weight is
            stored in another orientation than the array's.
        groups: `{layer: matrices that share no line of an array}` where that is not 1, see `programming.map_layer`.

    Raises:
        ValueError: a weight is not finite.
    """

    def __init__(
        self,
        weights: Map[str, Tensor],
        specs: Map[str, LayerSpec],
        parts: Map[str, int],
        whole: Collection[str] = (),
        groups: Map[str, int] | None = None,
    ) -> None:
        self._weights, self._specs, self._groups_of, self._whole = weights, specs, groups or {}, whole
        self._w_max = {name: full_scale(name, w, specs[name], parts[name]) for name, w in weights.items()}
        self._kept: dict[str, ProgrammedLayer] = {}
        left = SMALL_IN_ALL
        for name, weight in weights.items():
            n = weight.numel() * -(-len(cell_names(specs[name].mapping, specs[name].device)) // 2)
            if n <= min(SMALL, left):
                left -= n
                self._kept[name] = self._map(name)
        # Layers that are programmed together, by the name of the first, with the targets of all concatenated.
        self._together: dict[str, tuple[list[ProgrammedLayer], Tensor]] = {}
        for layers in self._groups():
            target_uS = torch.cat([g.flatten() for layer in layers for g in layer.target_uS.values()])
            self._together[layers[0].name] = _views(layers, target_uS, ideal=True), target_uS
        for layers, _ in self._together.values():
            self._kept |= {layer.name: layer for layer in layers}

    @cached_property
    def units(self) -> dict[str, int]:
        """Names of the independent units of programming, with the number of weights of each."""
        grouped = {x.name: first for first, (layers, _) in self._together.items() for x in layers}
        sizes: dict[str, int] = {}
        for name, weight in self._weights.items():
            unit = grouped.get(name, name)
            sizes[unit] = sizes.get(unit, 0) + weight.numel()
        return sizes

    def ideal(self, name: str) -> ProgrammedLayer:
        """Layer of the ideal chip: mapped and quantised."""
        return self._kept.get(name) or self._map(name)

    def layer(self, name: str, seed: Chip, t_s: float) -> ProgrammedLayer:
        """Program all cells of a layer of chip `seed`."""
        return program(self.ideal(name), seed, t_s)

    def program(self, unit: str, seed: Chip, t_s: float, write: Write) -> None:
        """Program one of `units` on chip `seed` and write its weights."""
        if unit in self._together:
            self._joined(unit, seed, t_s, write)
        elif unit in self._kept or not self._is_cellwise(unit):
            write(unit, self.layer(unit, seed, t_s).weight(), WHOLE)
        else:
            self._in_pieces(unit, seed, t_s, write)

    def _joined(self, unit: str, seed: Chip, t_s: float, write: Write) -> None:
        layers, target_uS = self._together[unit]
        arrays = [(x.name, cell, g.numel()) for x in layers for cell, g in x.target_uS.items()]

        def stream(stage: str) -> JoinedStream:
            return JoinedStream([(stage_stream(seed, (name, cell, stage), stage), n) for name, cell, n in arrays])

        g_uS = program_cells(layers[0].spec, target_uS, target_uS, t_s, stream)
        for layer in _views(layers, g_uS):
            write(layer.name, layer.weight(), WHOLE)

    def _in_pieces(self, name: str, seed: Chip, t_s: float, write: Write) -> None:
        spec, weight, w_max = self._specs[name], self._weights[name], self._w_max[name]
        generators: dict[Stream, torch.Generator] = {}  # each continues where the previous piece ended
        for rows in cuts(weight):
            piece = map_layer(name, weight[rows], spec, w_max=w_max[rows] if len(w_max) > 1 else w_max)
            g_uS = {}
            for cell, target_uS in piece.target_uS.items():

                def stream(stage: str, cell: str = cell, n: int = target_uS.numel()) -> JoinedStream:
                    return JoinedStream([(stage_stream(seed, (name, cell, stage), stage), n)], generators)

                g_uS[cell] = program_cells(spec, target_uS, target_uS, t_s, stream)
            write(name, replace(piece, g_uS=g_uS).weight(), rows)

    def _map(self, name: str) -> ProgrammedLayer:
        groups = self._groups_of.get(name, 1)
        return map_layer(name, self._weights[name], self._specs[name], w_max=self._w_max[name], groups=groups)

    def _is_cellwise(self, name: str) -> bool:
        """True if a layer may be joined with others or cut: its laws are cellwise, and no wires couple its cells."""
        spec = self._specs[name]
        cellwise = not spec.wired and all(is_cellwise(getattr(spec, stage)) for stage in STAGES)
        return cellwise and name not in self._whole and self._weights[name].device.type == "cpu"

    def _groups(self) -> Iterator[list[ProgrammedLayer]]:
        """Groups of kept layers with one spec, each group as large as a piece."""
        open_: dict[int, list[ProgrammedLayer]] = {}
        for name, layer in self._kept.items():
            if not self._is_cellwise(name):
                continue
            group = open_.setdefault(id(layer.spec), [])
            if group and sum(_n_cells(each) for each in [*group, layer]) > PIECE:
                yield open_.pop(id(layer.spec))
                group = open_.setdefault(id(layer.spec), [])
            group.append(layer)
        yield from open_.values()


def cuts(weight: Tensor) -> Iterator[slice]:
    """Cut an array into pieces of rows with the draws of the whole: each begins at a multiple of torch's block."""
    rows, row = len(weight), weight[0].numel()
    least = DRAWN // math.gcd(row, DRAWN)
    step = max(least, CUT // row // least * least)
    begin = 0
    while begin < rows:
        end = begin + step
        if (rows - end) * row < DRAWN:  # too short to be drawn like the rest
            end = rows
        yield slice(begin, end)
        begin = end


def _views(layers: list[ProgrammedLayer], g_uS: Tensor, ideal: bool = False) -> list[ProgrammedLayer]:
    """Layers as views of concatenated conductances, which on an ideal chip are also the targets."""
    parts = iter(torch.split(g_uS, [g.numel() for layer in layers for g in layer.target_uS.values()]))
    found = []
    for layer in layers:
        cells = {cell: next(parts).view(g.shape) for cell, g in layer.target_uS.items()}
        found.append(replace(layer, g_uS=cells, target_uS=cells if ideal else layer.target_uS))
    return found


def _n_cells(layer: ProgrammedLayer) -> int:
    return sum(g.numel() for g in layer.target_uS.values())
