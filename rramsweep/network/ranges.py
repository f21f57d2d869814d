"""Ranges of converters, fitted on inputs of the ideal chip with wires and without converters.

One design value for each layer, tile or column, the same for every chip, as a designer would set it before manufacture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from rramsweep.crossbar.converters import UniformADC, UniformDAC
from rramsweep.errors import ValidationError
from rramsweep.network.tiled_read import Observer, Ranges, TiledRead

# Number of inputs on which ranges are fitted, evenly spaced over the fitting data.
FITTING_INPUTS = 64

# Runs the fitting inputs through the network and calls the observer at each read.
Run = Callable[[Observer], None]


class NearestRank:
    """Percentile of |v| by nearest rank, row by row, over values that come in parts.

    The smallest |v| that at least `percentile` % of the values do not exceed. A first pass over the values finds their
    number and the largest one; a second pass keeps only the largest few.

    Args:
        percentile: above 0, at most 100.
    """

    def __init__(self, percentile: float) -> None:
        self._percentile, self._n = percentile, 0
        self._most: Tensor | None = None
        self._kept: Tensor | None = None

    @property
    def needs_ranks(self) -> bool:
        """True if a second pass is needed, because the largest value is not the result."""
        return self._percentile < 100

    @property
    def counted(self) -> bool:
        """True after the first values."""
        return self._n > 0

    def count(self, values: Tensor) -> None:
        """Add values, (rows, n), in the first pass."""
        self._n += values.shape[1]
        most = values.abs().amax(1)
        self._most = most if self._most is None else torch.maximum(self._most, most)

    def rank(self, values: Tensor) -> None:
        """Add the same values again, in the second pass."""
        kept = values.abs() if self._kept is None else torch.cat([self._kept, values.abs()], 1)
        above = self._n - max(1, math.ceil(self._percentile / 100 * self._n - 1e-9)) + 1
        self._kept = kept.topk(min(above, kept.shape[1]), 1).values

    def result(self) -> Tensor:
        """Percentile of each row, (rows,); 1 instead of 0 for rows without a signal."""
        found = self._most if self._kept is None else self._kept[:, -1]
        assert found is not None
        return torch.where(found > 0, found, 1.0)


def fit_ranges(reads: Mapping[str, TiledRead], run: Run | None) -> dict[str, Ranges]:
    """Find the ranges of every layer's converters.

    Args:
        reads: `{layer: its read}`, programmed with the ideal chip's cells.
        run: runs the fitting inputs through the ideal chip, see `Run`; None if nothing is fitted.

    Raises:
        ValidationError: a layer is not called.
    """
    ranges = {name: Ranges(x_max=_given(read), signed=_declared_sign(read)) for name, read in reads.items()}
    if run is not None:
        ranges = _fit_inputs(reads, run, ranges)
    found: dict[str, Tensor | None] = {name: _designed(read) for name, read in reads.items()}
    fitted = {name: read for name, read in reads.items() if _fits_sums(read)}
    if fitted:
        assert run is not None
        for name, read in reads.items():
            read.reprogram(ranges[name])
        found |= _fit_sums(fitted, run)
    return {name: Ranges(each.x_max, each.signed, found[name]) for name, each in ranges.items()}


def _given(read: TiledRead) -> float:
    dac = read.spec.dac
    return dac.x_max if isinstance(dac, UniformDAC) and dac.x_max is not None else 1.0


def _declared_sign(read: TiledRead) -> bool:
    return not (isinstance(read.spec.dac, UniformDAC) and read.spec.dac.sign == "unsigned")


def _fits_sums(read: TiledRead) -> bool:
    return isinstance(read.spec.adc, UniformADC) and read.spec.adc.range == "fitted"


def _fit_inputs(reads: Mapping[str, TiledRead], run: Run, ranges: Mapping[str, Ranges]) -> dict[str, Ranges]:
    ranks = {name: NearestRank(_percentile(read)) for name, read in reads.items()}
    negative: set[str] = set()

    def count(name: str, read: TiledRead, x: Tensor, *_: object) -> None:  # noqa: ARG001
        ranks[name].count(x.reshape(1, -1))
        if bool((x < 0).any()):
            negative.add(name)

    def rank(name: str, read: TiledRead, x: Tensor, *_: object) -> None:  # noqa: ARG001
        if ranks[name].needs_ranks:
            ranks[name].rank(x.reshape(1, -1))

    run(count)
    idle = [name for name, each in ranks.items() if not each.counted]
    if idle:
        raise ValidationError(
            "must be of layers that are called, but the network takes the weights of some without calling them",
            "exclude these layers, or give them ideal converters",
            parameter="a converter",
            shown=", ".join(idle[:3]),
        )
    if any(each.needs_ranks for each in ranks.values()):
        run(rank)
    found = {}
    for name, read in reads.items():
        dac, now = read.spec.dac, ranges[name]
        auto = dac.sign == "auto" and dac.range == "fitted" if isinstance(dac, UniformDAC) else read.spec.fitted
        x_max = float(ranks[name].result()) if isinstance(dac, UniformDAC) and dac.range == "fitted" else now.x_max
        found[name] = Ranges(x_max, name in negative if auto else now.signed)
    return found


def _percentile(read: TiledRead) -> float:
    dac = read.spec.dac
    return dac.percentile if isinstance(dac, UniformDAC) and dac.range == "fitted" else 100.0


def _fit_sums(reads: Mapping[str, TiledRead], run: Run) -> dict[str, Tensor]:
    """`z_max` of each layer, in a shape that broadcasts to (slices, tiles, outputs)."""
    ranks: dict[str, dict[tuple[int, int], NearestRank]] = {name: {} for name in reads}
    blocks = {name: read.column_blocks() for name, read in reads.items()}

    def shared(name: str, read: TiledRead, tile: int, z: Tensor) -> tuple[int, list[Tensor]]:
        """Tile of a range, and the sums that share the range, each (1, n) or (outputs, n)."""
        adc = read.spec.adc
        assert isinstance(adc, UniformADC)
        if adc.per == "layer":
            return 0, [z.reshape(1, -1)]
        if adc.per == "column":
            return tile, [z]
        return tile, [z[block].reshape(1, -1) for block in blocks[name]]

    def observer(take: Callable[[NearestRank, Tensor], None]) -> Observer:
        def observe(name: str, read: TiledRead, x: Tensor, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
            if name not in reads:
                return
            adc = read.spec.adc
            assert isinstance(adc, UniformADC)
            for number, tile, z in read.sums(x, *args, **kwargs):
                tile, parts = shared(name, read, tile, z)
                for block, part in enumerate(parts):
                    key = (number * read.tiles + tile, block)
                    take(ranks[name].setdefault(key, NearestRank(adc.percentile)), part)

        return observe

    run(observer(NearestRank.count))
    if any(rank.needs_ranks for each in ranks.values() for rank in each.values()):
        run(observer(NearestRank.rank))
    found = {}
    for name, read in reads.items():
        slices = 1 + max(row for row, _ in ranks[name]) // read.tiles
        z_max = torch.ones(slices, read.tiles, read.outputs, dtype=torch.float64)
        for (row, block), rank in ranks[name].items():
            number, tile = divmod(row, read.tiles)
            adc = read.spec.adc
            assert isinstance(adc, UniformADC)
            if adc.per == "layer":
                z_max[number] = rank.result()
            elif adc.per == "column":
                z_max[number, tile] = rank.result()
            else:
                z_max[number, tile, blocks[name][block]] = rank.result()
        found[name] = z_max
    return found


def _designed(read: TiledRead) -> Tensor | None:
    """Ranges that need no inputs, (1, tiles, 1); None without an ADC."""
    adc = read.spec.adc
    if not isinstance(adc, UniformADC):
        return None
    if adc.z_max is not None:
        return torch.full((1, 1, 1), adc.z_max, dtype=torch.float64)
    device = read.spec.device
    largest = device.g_max_uS / device.span_uS if adc.subtraction == "digital" else 1.0
    rows = torch.zeros(read.tiles, dtype=torch.float64)
    for driven, tile in read.reads:
        rows[tile] = max(float(rows[tile]), driven.stop - driven.start)
    rows = rows.amax(keepdim=True) if adc.per == "layer" else rows
    return (rows * largest).view(1, -1, 1)
