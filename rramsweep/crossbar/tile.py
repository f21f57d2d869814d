"""Tiles: a layer's weight matrix cut into physical crossbars, and the effective conductances under their wires."""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from rramsweep.arguments import check_fields
from rramsweep.crossbar.mapping import is_paired, sign_of
from rramsweep.crossbar.wires import Segments
from rramsweep.errors import ValidationError, one_of

FILLS = ("used", "whole")
ARRANGEMENTS = ("separate", "interleaved")

# The largest published crossbar has 1,024 lines; a matrix of potentials of 8,192 columns takes half a GB.
MOST_LINES = 8192


@dataclass(frozen=True)
class Crossbar:
    """A physical crossbar: at most `rows` word lines (inputs) by `columns` bit lines (outputs).

    A layer's matrix (outputs x inputs, a convolution as `weight.flatten(1)` in (c, kh, kw) order) is cut into tiles of
    `rows` inputs by `columns` outputs; the last ones take the remainder. Each group of a grouped convolution has tiles
    of its own. Used rows lie next to the sense amplifiers and used columns next to the drivers, where wires disturb
    least. Partial sums of tiles are added digitally and exactly. Word lines that are not driven are held at 0 V: the
    wires' effect on the others is as with all lines driven, and only the sums that an ADC reads are smaller.

    Args:
        rows: word lines.
        columns: bit lines.
        fill: `used`, wires end where the used cells end; `whole`, the rest of the tile exists, with cells at g_min.
        arrangement: of the two cells of a pair: `separate`, in two crossbars, subtracted behind them; `interleaved`, on
            two word lines of one crossbar, driven by +V and -V, which share the bit line (rows / 2 inputs a tile).
        rows_active: word lines that are driven at once; None drives all. Read by an ADC alone.

    Raises:
        ValidationError: a count outside 1..8192, more driven rows than there are, an odd number of either for
            `interleaved`, or an unknown word.
    """

    version: ClassVar[int] = 1

    rows: int = 128
    columns: int = 128
    fill: str = "used"
    arrangement: str = "separate"
    rows_active: int | None = field(default=None, metadata={"added": True})

    def __post_init__(self) -> None:
        check_fields(self, "tile")
        for name, most in (("rows", MOST_LINES), ("columns", MOST_LINES), ("rows_active", self.rows)):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= most:
                within = "1..tile.rows" if name == "rows_active" else f"1..{most}"
                raise ValidationError(
                    f"must lie in {within}", "give the lines of one crossbar", value=value, parameter=name, slot="tile"
                )
        one_of("fill", self.fill, FILLS)
        one_of("arrangement", self.arrangement, ARRANGEMENTS)
        for name in ("rows", "rows_active"):
            if self.arrangement == "interleaved" and (getattr(self, name) or 0) % 2:
                raise ValidationError(
                    "must be even for arrangement=interleaved, where a pair takes two word lines",
                    "give one row more",
                    value=getattr(self, name),
                    parameter=name,
                    slot="tile",
                )

    @property
    def inputs(self) -> int:
        """Inputs that a tile takes."""
        return self.rows // 2 if self.arrangement == "interleaved" else self.rows

    def reads(self, inputs: int) -> list[tuple[slice, int]]:
        """Ranges of inputs that are read at once, each with the number of its tile along the inputs.

        Args:
            inputs: of each output of a layer.
        """
        lines = self.rows if self.rows_active is None else self.rows_active
        step = lines // 2 if self.arrangement == "interleaved" else lines
        return [
            (slice(first, min(first + step, begin + self.inputs, inputs)), tile)
            for tile, begin in enumerate(range(0, inputs, self.inputs))
            for first in range(begin, min(begin + self.inputs, inputs), step)
        ]

    def counts(self, outputs: int, inputs: int, groups: int = 1) -> tuple[int, int, int]:
        """Tiles of a weight: `(groups, tiles along the inputs, tiles along the outputs)`, of each array of cells.

        Args:
            outputs: of the layer, all groups together.
            inputs: of each output.
            groups: matrices on the diagonal.
        """
        return groups, -(-inputs // self.inputs), -(-(outputs // groups) // self.columns)

    def place(self, output: int, input_: int, outputs: int, inputs: int) -> tuple[int, int, int, int]:
        """Position of a cell in its tile: `(row, column, rows, columns)`, from the open end and from the drivers.

        Interleaved pairs count as one row.

        Args:
            output: of the cell, in its group.
            input_: of the cell.
            outputs: of a group.
            inputs: of each output.
        """
        row, column = input_ % self.inputs, output % self.columns
        rows = min(self.inputs, inputs - input_ + row)
        columns = min(self.columns, outputs - output + column)
        if self.fill == "used":
            return row, column, rows, columns
        return row + self.inputs - rows, column, self.inputs, self.columns

    def check_pairs(self, paired: bool) -> None:
        """Check that the arrangement suits a mapping.

        Args:
            paired: the mapping has pairs of cells.

        Raises:
            ValidationError: the arrangement puts pairs on one bit line, and the mapping has none.
        """
        if self.arrangement == "interleaved" and not paired:
            raise ValidationError(
                "must be separate for a mapping without pairs of cells",
                "set tile.arrangement=separate, or mapping=differential (of slices: mapping.base=differential)",
                value=self.arrangement,
                parameter="arrangement",
                slot="tile",
            )

    def effective_uS(
        self, g_uS: Map[str, Tensor], wires: Segments, g_min_uS: float, groups: int = 1
    ) -> dict[str, Tensor]:
        """Compute the conductances that a layer's cells have between drivers and outputs.

        Args:
            g_uS: arrays of cells by name (`p`, `n`; of slices `p_1`, ...), each (outputs, inputs of each output, ...).
            wires: of each tile.
            g_min_uS: of the cells that fill a tile.
            groups: matrices that share no line; axis 0 holds their outputs one after the other.

        Returns:
            Likewise, float64.

        Raises:
            ValidationError: a conductance is negative or not finite, or the arrangement needs pairs and there are none.
        """
        self.check_pairs(is_paired(g_uS))
        names = sorted(g_uS, key=lambda cell: (cell[1:], -sign_of(cell)))  # puts the cells of a pair side by side
        shape = g_uS[names[0]].shape
        # (cells, groups, rows, columns): inputs are word lines.
        matrices = torch.stack([g_uS[name].flatten(1) for name in names]).double()
        cells = matrices.view(len(names), groups, -1, matrices.shape[2]).mT
        found = torch.empty_like(cells)
        for places in self._alike(*cells.shape[2:]).values():
            # (cells, groups x tiles, rows, columns)
            tiles = torch.stack([cells[:, :, rows, columns] for rows, columns in places], 2).flatten(1, 2)
            marched = self._march(tiles, wires, g_min_uS).view(len(names), groups, len(places), *tiles.shape[2:])
            for i, (rows, columns) in enumerate(places):
                found[:, :, rows, columns] = marched[:, :, i]
        effective = {name: g.mT.flatten(0, 1).reshape(shape) for name, g in zip(names, found, strict=True)}
        return {name: effective[name] for name in g_uS}

    def power_uS(
        self, g_uS: Map[str, Tensor], wires: Segments, g_min_uS: float, vectors: Tensor, groups: int = 1
    ) -> Tensor:
        """Compute the power of a layer's crossbars for input vectors, in uS: uW for a full input of 1 V.

        Args:
            g_uS: see `effective_uS`.
            wires: likewise.
            g_min_uS: likewise.
            vectors: inputs relative to a full one, (vectors, groups, inputs).
            groups: see `effective_uS`.

        Returns:
            (vectors,), float64, of all tiles; rows that are not driven at once are added up.

        Raises:
            ValidationError: see `effective_uS`.
        """
        self.check_pairs(is_paired(g_uS))
        names = sorted(g_uS, key=lambda cell: (cell[1:], -sign_of(cell)))
        matrices = torch.stack([g_uS[name].flatten(1) for name in names]).double()
        cells = matrices.view(len(names), groups, -1, matrices.shape[2]).mT
        drive = vectors.to(cells).permute(1, 2, 0)  # (groups, inputs, vectors)
        # One after the other, so that each vector is as many as a tile has parts that are driven by themselves.
        parts: dict[int, list[slice]] = {}
        for rows, tile in self.reads(cells.shape[2]):
            parts.setdefault(tile, []).append(rows)
        total = drive.new_zeros(len(vectors))
        for number in range(max(map(len, parts.values()))):
            driven = torch.zeros_like(drive)
            for of_tile in parts.values():
                if number < len(of_tile):
                    driven[:, of_tile[number]] = drive[:, of_tile[number]]
            for places in self._alike(*cells.shape[2:]).values():
                tiles = torch.stack([cells[:, :, rows, columns] for rows, columns in places], 2).flatten(1, 2)
                volts = torch.stack([driven[:, rows] for rows, _ in places], 1).flatten(0, 1)
                total += self._power(tiles, wires, g_min_uS, volts).sum(0)
        return total

    def _power(self, cells: Tensor, wires: Segments, g_min_uS: float, volts: Tensor) -> Tensor:
        """Power of tiles of one size, (cells, tiles, rows, columns), for voltages (tiles, rows, vectors)."""
        padded = self._filled(cells, g_min_uS)
        volts = pad(volts, (0, 0, padded.shape[2] - cells.shape[2], 0))
        if self.arrangement == "interleaved":
            p, n = padded[0::2], padded[1::2]
            both = volts.repeat(len(p), 1, 1)
            return wires.power((p.flatten(0, 1), n.flatten(0, 1)), (both, -both))
        return wires.power((padded.flatten(0, 1),), (volts.repeat(len(cells), 1, 1),))

    def _filled(self, cells: Tensor, g_min_uS: float) -> Tensor:
        """Cells with those of the rest of their tile where it is there, (cells, tiles, rows, columns)."""
        rows, columns = cells.shape[2:]
        if self.fill == "used":
            return cells
        return pad(cells, (0, self.columns - columns, self.inputs - rows, 0), value=g_min_uS)

    def _alike(self, inputs: int, outputs: int) -> dict[tuple[int, int], list[tuple[slice, slice]]]:
        """Slices `(rows, columns)` of a matrix's tiles by size: tiles of one size are marched together."""
        found: dict[tuple[int, int], list[tuple[slice, slice]]] = {}
        for row in range(0, inputs, self.inputs):
            for column in range(0, outputs, self.columns):
                rows, columns = min(self.inputs, inputs - row), min(self.columns, outputs - column)
                found.setdefault((rows, columns), []).append((slice(row, row + rows), slice(column, column + columns)))
        return found

    def _march(self, cells: Tensor, wires: Segments, g_min_uS: float) -> Tensor:
        """Effective conductances of tiles of one size, (cells, tiles, rows, columns)."""
        rows, columns = cells.shape[2:]
        cells = self._filled(cells, g_min_uS)
        if self.arrangement == "interleaved":
            p, n = wires.effective_pair(cells[0::2].flatten(0, 1), cells[1::2].flatten(0, 1))
            found = torch.stack((p.view_as(cells[0::2]), n.view_as(cells[1::2])), 1).flatten(0, 1)
        else:
            found = wires.effective(cells.flatten(0, 1)).view_as(cells)
        return found[:, :, found.shape[2] - rows :, :columns].contiguous()
