"""The read of one layer through converters: DAC, products of the tiles, read noise, ADC, digital sum.

Everything that is fixed for a chip (weights, ranges, mismatch) is folded into the weights of each tile once a chip, so
that a read is a product, a rounding and a sum for each tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from functools import reduce
from typing import Any, ClassVar

import torch
from torch import Tensor

from rramsweep.crossbar.converters import UniformADC, UniformDAC, codes, levels_of
from rramsweep.crossbar.current_voltage import Sinh
from rramsweep.crossbar.mapping import Sliced, cell_gains, copies_of, is_paired, sign_of, slice_of
from rramsweep.crossbar.programming import LayerSpec, ProgrammedLayer
from rramsweep.crossbar.tile import Crossbar
from rramsweep.crossbar.wires import Segments
from rramsweep.devices.device import Device
from rramsweep.devices.streams import Chip, Stream, stage_stream
from rramsweep.effects import Ideal
from rramsweep.network.arrays import WeightArray
from rramsweep.network.products import Direct, Patches, Product

# Number of conversions of a layer and chip among which those outside the range are counted.
COUNTED = 65_536

# Vectors whose power is solved along the wires, for each layer and chip.
POWERED = 16

# Tolerance within which cells hold digits exactly: the rounding of float32.
_DIGIT_ERROR = 1e-4

# Tolerance relative to an ADC's range: a sum at its end may be rounded beyond it.
_ROUNDING = 1e-5


@dataclass(frozen=True, eq=False)
class Ranges:
    """Ranges of a layer's converters: design values, the same for every chip.

    Args:
        x_max: largest output of the DAC, in the unit of the layer's inputs; 1 without a DAC.
        signed: True if inputs may be negative.
        z_max: largest partial sum that an ADC reads, in a shape that broadcasts to (slices, tiles along the inputs,
            outputs), in units of one cell at full weight and full input.
    """

    x_max: float = 1.0
    signed: bool = True
    z_max: Tensor | None = None


@dataclass
class Clipped:
    """Numbers of conversions outside their range and of all conversions, in the first read of a layer on a chip."""

    dac: int = 0
    dac_all: int = 0
    adc: int = 0
    adc_all: int = 0

    def __add__(self, other: Clipped) -> Clipped:
        return Clipped(*map(sum, zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Current:
    """Current of a bit line's cells as a mapping: `W = W_max sum of +-(G - G_0) / (g_max - g_min)`.

    Args:
        subtracted: n cells drive the line with the other sign; otherwise all add.
        zero_uS: conductance that is subtracted from each cell digitally, without a reference cell.
    """

    version: ClassVar[int] = 1

    subtracted: bool = True
    zero_uS: float = 0.0

    def full_scale(self, weight: Tensor) -> Tensor:
        """Largest |W| of the whole weight."""
        return weight.abs().amax()

    def targets(self, weight: Tensor, full_scale: Tensor, device: Device) -> dict[str, Tensor]:
        """Conductances (uS) of both cells of each weight."""
        g_uS = weight * (device.span_uS / full_scale)
        return {"p": g_uS.clamp(min=0.0) + self.zero_uS, "n": g_uS.neg().clamp(min=0.0) + self.zero_uS}

    def weight(self, g_uS: Mapping[str, Tensor], full_scale: Tensor, device: Device) -> Tensor:
        """Weight that a sum of currents represents."""
        currents = [(sign_of(cell) if self.subtracted else 1) * (g - self.zero_uS) for cell, g in g_uS.items()]
        return reduce(Tensor.add, currents) * self.gain(full_scale, device)

    def gain(self, full_scale: Tensor, device: Device) -> Tensor:
        """|dW/dG| of every cell."""
        return full_scale / device.span_uS


@dataclass(frozen=True, eq=False)
class BitLines:
    """Sums that share a set of ADCs: those of one slice, from both cells of its pairs or one of them.

    Args:
        slice: number of the weight's slice, the most significant first.
        factor: factor of a sum in the layer's output, with the sign of the cells.
        weight: (outputs, inputs of each), in units of one cell at full weight.
        layer: the cells.
    """

    slice: int
    factor: float
    weight: Tensor
    layer: ProgrammedLayer


@dataclass(frozen=True, eq=False)
class _Read:
    """One conversion of the bit lines of a row of tiles, for some rows.

    Args:
        lines: the bit lines that are read.
        to_code: codes per unit of the sum, (outputs,).
        bias: added to a code, likewise.
        weight: in the form of the product, for a sum in codes or in digits.
        per_digit: codes per unit of integer sums; folded into the weights, it would round exact ties.
        factor: of a code in the total of the layer.
        cells: of these rows, for laws of read noise.
    """

    lines: BitLines
    tile: int
    to_code: Tensor
    bias: Tensor | None
    weight: Tensor
    per_digit: Tensor | None
    factor: Tensor | float
    cells: ProgrammedLayer | None


class TiledRead:
    """Products of one layer through its converters.

    With the input u after the DAC, relative to x_max, each output before its digital bias is

        y = W_max x_max sum over slices s and tiles t of f_s ADC(sum over rows i of t of u_i w_si)

    Args:
        array: the layer.
        product: forward of the layer.
        spec: of the layer.
        converts: False leaves out the conversion by ADCs, so that their sums can be compared in the same read.
    """

    def __init__(self, array: WeightArray, product: Product, spec: LayerSpec, converts: bool = True) -> None:
        weight = array.to_array(array.weight)
        self.spec, self.clipped, self._converts = spec, Clipped(), converts
        self.outputs, self.inputs, self.groups = len(weight), weight[0].numel(), array.matrices
        tile = spec.tile if isinstance(spec.tile, Crossbar) else None
        self.reads = [(slice(0, self.inputs), 0)] if tile is None else tile.reads(self.inputs)
        self.columns = self.outputs // self.groups if tile is None else tile.columns
        self._array, self._product, self._axes = array, product, weight.dim() - 2
        self._dac = spec.dac if isinstance(spec.dac, UniformDAC) else None
        self._adc = spec.adc if isinstance(spec.adc, UniformADC) else None
        self._per_vector = self._dac is not None and self._dac.range == "abs_max"
        # Bits that are added on the bit line without noise equal the sum of the whole input.
        accumulation = "none" if self._dac is None else self._dac.accumulation
        self._analog = accumulation == "analog"
        self._by_bits = accumulation != "none" if spec.noisy_read else accumulation == "digital"
        # No partial sum is converted, and no vector or bit is read separately.
        self._undivided = self._adc is None and not self._per_vector and not (self._by_bits and spec.noisy_read)
        self._by_bits = self._by_bits and not self._undivided
        direct = Direct.takes(array.module) and not spec.noisy_read and not self._per_vector
        self.form: Direct | Patches = Direct(array) if direct else Patches(array, product)
        self._top_digit = spec.mapping.top if isinstance(spec.mapping, Sliced) else 1
        self._plan: list[tuple[slice, list[_Read]]] = []
        self._bias: Tensor | None = None
        self._take(Ranges())

    @property
    def tiles(self) -> int:
        """Tiles along the inputs."""
        return self.reads[-1][1] + 1

    def column_blocks(self) -> list[slice]:
        """Outputs of each tile along the outputs, group by group."""
        each = self.outputs // self.groups
        return [
            slice(group * each + first, group * each + min(first + self.columns, each))
            for group in range(self.groups)
            for first in range(0, each, self.columns)
        ]

    def bit_lines(self, layer: ProgrammedLayer) -> list[BitLines]:
        """Sums that ADCs read: differences of pairs, or each of their cells."""
        w_max = torch.where(layer.full_scale == 0, 1.0, layer.full_scale).flatten(1)
        together = self._adc is None or self._adc.subtraction == "array"
        if together and not isinstance(layer.spec.mapping, Sliced):
            return [BitLines(0, 1.0, layer.weight().flatten(1) / w_max, layer)]
        mapping, device = layer.spec.mapping, layer.spec.device
        one, zero = torch.ones(1), mapping.targets(torch.zeros(1, 1), torch.ones(1, 1), device)
        gains = cell_gains(mapping, layer.g_uS, one, device)
        paired = is_paired(layer.g_uS)
        read: dict[tuple[int, int], list[str]] = {}  # cells of the lines of each ADC, by slice and sign
        for cell in layer.g_uS:
            read.setdefault((slice_of(cell), 0 if together else sign_of(cell)), []).append(cell)
        found = []
        for (number, sign), cells in read.items():
            current = Current(together, 0.0 if paired else zero[cells[0]].item())
            # A weight is the mean of its copies, so each copy represents its fraction of W_max.
            copies = copies_of(mapping)
            line = layer.only(cells, replace(layer.spec, mapping=current), layer.full_scale / copies)
            factor = gains[cells[0]].item() * copies * device.span_uS * (sign or 1)
            found.append(BitLines(number, factor, line.weight().flatten(1) / w_max, line))
        return found

    def program(
        self,
        layer: ProgrammedLayer,
        ranges: Ranges,
        seed: Chip | None,
        scale: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> None:
        """Set a chip's cells, and fold everything that is fixed for the chip into the weights of its tiles.

        Args:
            layer: cells of the layer.
            ranges: of its converters.
            seed: the chip, for the mismatch of its ADCs; None for no mismatch.
            scale: of each output after the ADC, (outputs,), from a batch norm.
            bias: digital bias, (outputs,), that is added last.
        """
        self._take(ranges)
        self._layer, self.clipped = layer, Clipped()
        self._wires_share: float | None = None
        behind = torch.ones(self.outputs, device=layer.full_scale.device) if scale is None else scale
        if self._undivided:
            # Laws of read noise take the weights from the cells, so no batch norm is folded.
            folded = behind.view(-1, *[1] * (self._axes + 1)) * (self._unit * ranges.x_max)
            self._weight = layer.weight() * folded
            self._bias = None if bias is None else bias.view(-1, *[1] * self._axes)
            return
        w_max = layer.full_scale.flatten(1).expand(self.outputs, -1)[:, 0]
        lines = self.bit_lines(layer)
        self._lsbs = lsb = self._lsb(lines, w_max)
        gain, offset = self._mismatch(layer.name, seed, lsb)
        common = lsb[0, 0, 0].item()
        factors = torch.stack([line.factor * lsb[number] / common for number, line in enumerate(lines)])
        same = bool((factors == factors[..., :1]).all())
        digits = [self._digits(line) for line in lines]
        self._plan = []
        for rows, tile in self.reads:
            reads = []
            for number, line in enumerate(lines):
                to_code = (1 + gain[number, tile]) / lsb[number, tile]
                offsets = None if self._adc is None else (offset[number, tile] + self._middle).to(w_max)
                per_digit, values = None, digits[number]
                if values is None:
                    weight = line.weight[:, rows] * (to_code * self._unit).to(w_max).unsqueeze(1)
                else:
                    weight = values[:, rows]
                    per_digit = self.form.by_output((to_code * (self._unit / self._top_digit)).to(w_max))
                factor = factors[number, tile]
                each = factor[0].item() if same else self.form.by_output(factor.to(w_max))
                cells = line.layer.word_lines(rows) if self.spec.noisy_read else None
                shaped = self.form.weight(weight, rows)
                reads.append(_Read(line, tile, to_code.to(w_max), offsets, shaped, per_digit, each, cells))
            self._plan.append((rows, reads))
        scales = w_max * (ranges.x_max * common) * behind
        per_tile = torch.bincount(torch.tensor([tile for _, tile in self.reads])).to(factors)
        middles = (factors * per_tile.view(1, -1, 1)).sum((0, 1)).to(w_max) * self._middle
        # A vector with a range of its own is scaled by it before the bias is added.
        self._bias = None if bias is None or not self._per_vector else self.form.by_output(bias)
        added = 0.0 if bias is None or self._per_vector else bias
        self._scale, self._constant = self.form.by_output(scales), self.form.by_output(added - middles * scales)
        self._w_max = torch.where(w_max == 0, 1.0, w_max)

    def reprogram(self, ranges: Ranges) -> None:
        """Set other ranges for the same cells, without mismatch."""
        self.program(self._layer, ranges, None)

    def __call__(self, x: Tensor, rng: Stream, *args: Any, **kwargs: Any) -> Tensor:
        """Read the layer.

        Args:
            x: input of its forward.
            rng: stream of this read.
            *args: further positional arguments.
            **kwargs: keyword arguments.
        """
        counts = self.clipped.dac_all == self.clipped.adc_all == 0
        if self._undivided:
            return self._read_undivided(x, rng, counts, *args, **kwargs)
        alone = x.dim() == self._axes + 1  # without a batch axis
        vectors = self.form.take(x.unsqueeze(0) if alone else x, *args, **kwargs)
        # Bits are stacked along the batch axis, so fewer inputs are read at once.
        size = -(-len(vectors) // self._cycles) if self._by_bits else len(vectors)
        split = torch.split(vectors, max(1, size))
        parts = [self._converted(part, rng.child(str(i)), counts) for i, part in enumerate(split)]
        y = self.form.result(parts[0] if len(parts) == 1 else torch.cat(parts))
        return y.squeeze(0) if alone else y

    def sums(self, x: Tensor, *args: Any, **kwargs: Any) -> Iterator[tuple[int, int, Tensor]]:
        """Partial sums before their ADC, unquantised: `(slice, tile, (outputs, all other axes))`.

        They are in units of one cell at full weight and full input. Bits of a bit-serial input are those of its codes;
        added on the bit line, they equal the input.
        """
        vectors = self.form.take(x.unsqueeze(0) if x.dim() == self._axes + 1 else x, *args, **kwargs)
        x_max = self._largest(vectors)
        apart = self._by_bits and not self._analog
        drive = self._bits(self._codes(vectors, x_max)) if apart else self._curved(vectors / x_max)
        for rows, reads in self._plan:
            part = self.form.cut(drive, rows)
            for read in reads:
                if apart and read.per_digit is not None:  # exact, as in the read
                    z = self.form.product(part, read.weight, None).double() / self._top_digit
                else:
                    z = self.form.product(part, self.form.weight(read.lines.weight[:, rows], rows), None)
                yield read.lines.slice, read.tile, self.form.outputs_first(z)

    def array_uS(self, x: Tensor, *args: Any, **kwargs: Any) -> float | None:
        """Power that the chip's cells draw from a read, summed over its vectors and pulses.

        `sum over pulses of sum_ij G_ij u_i^2` in uS, with inputs u relative to a full one: uW for a full input of 1 V.
        Of cells with a curve f the current is `G f(u)`. Under wires it is scaled by the `sum V I` of the drivers over
        the `sum G V^2` of some vectors, evenly spaced over those of the chip's first read that drives a line.

        Args:
            x: input of the layer.
            *args: further positional arguments of its forward.
            **kwargs: keyword arguments of its forward.

        Returns:
            None without a DAC, whose full input sets the scale of voltages.
        """
        if self._dac is None:
            return None
        alone = x.dim() == self._axes + 1
        x = (x.unsqueeze(0) if alone else x).float()
        vectors = self.form.take(x, *args, **kwargs)
        squares = self._pulses(vectors, squared=True)
        by_line = torch.stack([g.flatten(1) for g in self._layer.g_uS.values()]).double().sum(0)
        by_line = by_line.view(self.groups, -1, self.inputs).sum(1)
        weight = self.form.weight(by_line.to(squares), slice(0, self.inputs))
        drawn = float(self.form.product(squares, weight, None).double().sum())
        if self._wires_share is None and drawn > 0:
            self._wires_share = self._share_under_wires(x, by_line, *args, **kwargs) if self.spec.wired else 1.0
        return drawn * (self._wires_share or 0.0)

    def _share_under_wires(self, x: Tensor, by_line: Tensor, *args: Any, **kwargs: Any) -> float | None:
        """`sum V I` over `sum G V^2` of some vectors; None where all of them are zero."""
        tile, wires, layer = self.spec.tile, self.spec.wires, self._layer
        assert isinstance(tile, Crossbar)
        assert isinstance(wires, Segments)
        vectors = Patches(self._array, self._product).take(x, *args, **kwargs)
        pulses = self._pulses(vectors).reshape(-1, self.groups, self.inputs).double()
        pulses = pulses[pulses.flatten(1).any(1)]
        if not len(pulses):
            return None
        some = pulses[torch.linspace(0, len(pulses) - 1, min(POWERED, len(pulses)), device=x.device).long()]
        power = tile.power_uS(layer.g_uS, wires, self.spec.device.g_min_uS, some, self.groups).sum()
        return float(power / (some.square() * by_line).sum())

    def _pulses(self, vectors: Tensor, squared: bool = False) -> Tensor:
        """Drive of each pulse relative to a full one, bits one after the other along the batch.

        Args:
            vectors: as the form of the product takes them.
            squared: voltage times current of a cell of unit conductance in its place.
        """
        drive = self._codes(vectors, self._largest(vectors))
        assert self._dac is not None
        if self._dac.serial:
            bits = self._bits(drive)
            return bits.square() if squared else bits
        u = drive / self._code_max
        return u * self._curved(u.clone()) if squared else u

    @property
    def lsb_over_level(self) -> float | None:
        """Mean LSB of the ADCs, in levels of a cell at full input.

        A level adds its part of the conductance window to a sum. None without an ADC, or for a device without levels.
        """
        step_uS = self.spec.device.level_step_uS
        if self._adc is None or step_uS is None:
            return None
        line = self._plan[0][1][0].lines.layer
        # Copies share a weight: in `Current` through its W_max, in other mappings through their gains.
        w_max = torch.ones(1) / (copies_of(self.spec.mapping) if isinstance(line.spec.mapping, Current) else 1)
        (gain, *_) = cell_gains(line.spec.mapping, line.g_uS, w_max, line.spec.device).values()
        return float(self._lsbs.double().mean()) / (gain.item() * step_uS)

    def _take(self, ranges: Ranges) -> None:
        """Set the attributes that depend on ranges alone."""
        self._ranges = ranges
        self._signed = ranges.signed and not (self._dac is not None and self._dac.sign == "unsigned")
        self._signed_sums = self._adc is None or self._adc.subtraction == "array" or self._signed
        self._top = 0.0 if self._adc is None else float(levels_of(self._adc.bits, self._signed_sums) - 1)
        self._middle = self._top / 2 if self._signed_sums else 0.0
        self._cycles, self._code_max = 1, 1.0
        if self._dac is not None:
            self._cycles = self._dac.bits - 1 if self._signed else self._dac.bits
            self._code_max = float(2**self._cycles - 1)
        # Inputs of one bit, and bits one after the other, are 0 or full.
        curved = self._dac is not None and self._code_max > 1 and not self._dac.serial
        self._curve = self.spec.iv if curved and isinstance(self.spec.iv, Sinh) else None
        # Unit of the drive of a line, relative to a full input.
        quantised = self._dac is not None and not self._by_bits and self._curve is None
        self._unit = 1.0 / self._code_max if quantised else 1.0

    def _digits(self, line: BitLines) -> Tensor | None:
        """Digits of cells without an error; None if sums are not integers."""
        coded = self._dac is not None and self._curve is None and not self.spec.noisy_read
        if not isinstance(self.spec.mapping, Sliced) or self._adc is None or not coded:
            return None
        scaled = line.weight * self._top_digit
        digits = scaled.round()
        return digits if bool((scaled - digits).abs().max() < _DIGIT_ERROR) else None

    def _lsb(self, lines: list[BitLines], like: Tensor) -> Tensor:
        """LSB of the ADCs, (lines, tiles, outputs), in float64 so that ties stay exact; 1 without an ADC."""
        shape = (len(lines), self.tiles, self.outputs)
        if self._adc is None or self._ranges.z_max is None:
            return like.new_ones(shape, dtype=torch.float64)
        z_max = self._ranges.z_max.to(like.device, torch.float64)
        by_line = z_max[[line.slice for line in lines]] if len(z_max) > 1 else z_max
        return (by_line / (self._middle or self._top)).expand(shape)

    def _mismatch(self, name: str, seed: Chip | None, lsb: Tensor) -> tuple[Tensor, Tensor]:
        """Relative gain error and offset in LSB of each ADC, shaped as `lsb`."""
        adc = self._adc
        if adc is None or seed is None or not (adc.mismatched and self._converts):
            return torch.zeros_like(lsb), torch.zeros_like(lsb)
        stream = stage_stream(seed, (name, "adc"), "adc")
        gain = stream.child("gain").normal(lsb.shape).to(lsb) * adc.gain_sigma
        return gain, stream.child("offset").normal(lsb.shape).to(lsb) * adc.offset_sigma_lsb

    def _read_undivided(self, x: Tensor, rng: Stream, counts: bool, *args: Any, **kwargs: Any) -> Tensor:
        def linear(x: Tensor, weight: Tensor) -> Tensor:
            return self._product(x, weight.to(x.dtype), *args, **kwargs)

        x_max = self._ranges.x_max
        drive = self._drive(x, x_max, counts)
        if self.spec.noisy_read:
            # Laws with a read voltage define it for an input of 1, which after a DAC is a full input.
            y = self._noise(linear, drive if self._dac is None else drive.mul_(self._unit), self._layer, rng)
            y = y if self._dac is None else y.mul_(x_max)
        else:
            y = linear(drive, self._weight)
        return y if self._bias is None else y + self._bias

    def _converted(self, x: Tensor, rng: Stream, counts: bool) -> Tensor:
        """Sums of vectors, in the form of the product, after their ADCs."""
        x_max = self._largest(x)
        total: Tensor | None = None
        number = 0
        for rows, reads in self._plan:
            # Converted for these rows only: a slice of converted inputs would be copied once more by the product.
            drive = self._drive(self.form.cut(x, rows), x_max, counts)
            drive = self._bits(drive) if self._by_bits else drive
            for read in reads:
                z = self._sum(read, drive, rng.child(str(number)))
                if self._by_bits and self._analog:
                    z = self._joined(z)
                if self._adc is not None and self._converts:
                    self._convert_(z, rng.child(str(number), "output_noise"), counts)
                if total is None:
                    total = z if isinstance(read.factor, float) and read.factor == 1.0 else z.mul_(read.factor)
                elif isinstance(read.factor, float):
                    total.add_(z, alpha=read.factor)
                else:
                    total.addcmul_(z, read.factor)
                number += 1
        assert total is not None
        if self._by_bits and not self._analog:
            total = self._joined(total)
        y = torch.addcmul(self._constant, total, self._scale, out=total)
        if isinstance(x_max, Tensor):  # each vector has a range of its own
            y.mul_(x_max.expand(*x_max.shape[:-1], self.outputs // self.groups).flatten(-2))
        return y if self._bias is None else y.add_(self._bias)

    def _sum(self, read: _Read, drive: Tensor, rng: Stream) -> Tensor:
        """Sums of one read in codes, before they are rounded."""
        if read.cells is None and read.per_digit is None:
            return self.form.product(drive, read.weight, read.bias)
        if read.cells is None:
            assert read.per_digit is not None
            assert read.bias is not None
            z = self.form.product(drive, read.weight, None)
            return z.mul_(read.per_digit).add_(self.form.by_output(read.bias))

        def linear(x: Tensor, weight: Tensor) -> Tensor:
            return self.form.product(x, self.form.weight(weight.to(x.dtype), slice(None)), None)

        z = self._noise(linear, drive * self._unit, read.cells, rng).mul_(read.to_code / self._w_max)
        return z if read.bias is None else z.add_(read.bias)

    def _noise(self, linear: Product, x: Tensor, layer: ProgrammedLayer, rng: Stream) -> Tensor:
        noise = self.spec.read_noise
        assert not isinstance(noise, Ideal)
        return noise(linear, x, layer, rng).to(x.dtype)

    def _convert_(self, z: Tensor, rng: Stream, counts: bool) -> None:
        """Round sums in place to codes 0 .. levels - 1."""
        assert self._adc is not None
        if self._adc.output_noise_lsb > 0:
            z.add_(rng.normal(z.shape).to(z), alpha=self._adc.output_noise_lsb)
        if counts:
            some, beyond = _first(z), _ROUNDING * self._top
            self.clipped.adc += int(((some < -beyond) | (some > self._top + beyond)).sum())
            self.clipped.adc_all += some.numel()
        z.round_().clamp_(0.0, self._top)

    def _largest(self, x: Tensor) -> Tensor | float:
        """Range of the DAC for these inputs; (..., groups, 1) if each vector has its own."""
        if not self._per_vector:
            return self._ranges.x_max
        x_max = x.abs().amax(-1, keepdim=True)
        return x_max.where(x_max > 0, 1.0)

    def _drive(self, x: Tensor, x_max: Tensor | float, counts: bool) -> Tensor:
        """Drive of the word lines, in units of `_unit` of a full input."""
        if self._dac is None:
            return x
        if counts:
            some = _first(x)
            most = x_max if isinstance(x_max, float) else x_max[: len(some)]
            self.clipped.dac += int(((some < (-most if self._signed else 0.0)) | (some > most)).sum())
            self.clipped.dac_all += some.numel()
        coded = self._codes(x, x_max)
        return coded if self._by_bits else self._curved(coded, self._code_max)

    def _codes(self, x: Tensor, x_max: Tensor | float) -> Tensor:
        """Codes of the DAC, -code_max .. code_max or 0 .. code_max."""
        if not self._signed:
            low = 0.0 if isinstance(x_max, float) else torch.zeros_like(x_max)
            return codes(x, low, x_max, int(self._code_max) + 1)
        return codes(x, -x_max, x_max, 2 * int(self._code_max) + 1).sub_(self._code_max)

    def _curved(self, u: Tensor, full: float = 1.0) -> Tensor:
        """Inputs of linear cells that give the current of cells with the curve of `iv`; `full` is a full input."""
        return u if self._curve is None else self._curve.input((u / full).clamp_(-1.0, 1.0))

    def _bits(self, inputs: Tensor) -> Tensor:
        """Signed bits of codes, the least significant first, stacked along the batch axis."""
        size = inputs.abs().to(torch.uint8 if self._cycles <= 8 else torch.int32)
        places = torch.arange(self._cycles, dtype=size.dtype, device=size.device).view(-1, *[1] * inputs.dim())
        bits = ((size.unsqueeze(0) >> places) & 1).to(inputs.dtype)
        return (bits.mul_(inputs.sign()) if self._signed else bits).flatten(0, 1)

    def _joined(self, z: Tensor) -> Tensor:
        """Sum of the reads of all bits, weighted by significance."""
        bits = z.view(self._cycles, -1, *z.shape[1:])
        total = bits[0].mul(1 / self._code_max)
        for bit in range(1, self._cycles):
            total.add_(bits[bit], alpha=2.0**bit / self._code_max)
        return total


def _first(x: Tensor) -> Tensor:
    """The first inputs, in which conversions are counted: enough for a share, and few enough to take no time."""
    return x[: max(1, COUNTED * len(x) // max(1, x.numel()))]


# Called with the name of a layer, its read, and the arguments of its forward.
Observer = Callable[[str, TiledRead, Tensor, tuple[object, ...], dict[str, object]], None]
