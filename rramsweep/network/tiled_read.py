"""The read of one layer through converters: DAC, products of the tiles, read noise, ADC, digital sum.

What a chip fixes (weights, ranges, mismatch) is folded into the weights of each tile once a chip, so that a read is a
product, a rounding and a sum for each tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from rramsweep.crossbar.converters import UniformADC, UniformDAC, levels_of
from rramsweep.crossbar.current_voltage import Sinh
from rramsweep.crossbar.mapping import Sliced, cell_gains, is_paired, sign_of, slice_of
from rramsweep.crossbar.programming import LayerSpec, ProgrammedLayer
from rramsweep.crossbar.tile import Crossbar
from rramsweep.devices.device import Device
from rramsweep.devices.streams import Stream
from rramsweep.effects import Ideal
from rramsweep.network.arrays import CONVOLUTIONS, TRANSPOSED, WeightArray

# Forward of a layer with a weight as it lies on the array and without its bias.
Product = Callable[..., Tensor]

# Cells hold digits where they differ by no more than the rounding of float32.
_WHOLE = 1e-4

# Of an ADC's range: a sum that lies at its end may be rounded beyond.
_ROUNDING = 1e-5

_CONVOLVE: dict[int, Callable[..., Tensor]] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


@dataclass(frozen=True, eq=False)
class Ranges:
    """Ranges of a layer's converters: design values, the same for every chip.

    Args:
        x_max: largest input that the DAC gives, in the unit of the layer's inputs; 1 without one.
        signed: True where inputs may be negative.
        z_max: largest partial sum that an ADC reads, (slices, tiles along the inputs, outputs) or what broadcasts to
            it, in units of one cell at full weight and full input.
    """

    x_max: float = 1.0
    signed: bool = True
    z_max: Tensor | None = None


@dataclass
class Clipped:
    """Conversions outside their range, and all of them, in the first read of a layer on a chip."""

    dac: int = 0
    dac_all: int = 0
    adc: int = 0
    adc_all: int = 0


@dataclass(frozen=True)
class Current:
    """Current of a bit line's cells, in the place of a mapping: `W = W_max sum of +-(G - G_0) / (g_max - g_min)`.

    Args:
        subtracted: n cells drive the line with the other sign; otherwise all add.
        zero_uS: conductance that is subtracted from each cell, without a cell of its own.
    """

    version: ClassVar[int] = 1

    subtracted: bool = True
    zero_uS: float = 0.0

    def full_scale(self, weight: Tensor) -> Tensor:
        return weight.abs().amax()

    def targets(self, weight: Tensor, full_scale: Tensor, device: Device) -> dict[str, Tensor]:
        g_uS = weight * (device.span_uS / full_scale)
        return {"p": g_uS.clamp(min=0.0) + self.zero_uS, "n": g_uS.neg().clamp(min=0.0) + self.zero_uS}

    def weight(self, g_uS: Mapping[str, Tensor], full_scale: Tensor, device: Device) -> Tensor:
        currents = [(sign_of(cell) if self.subtracted else 1) * (g - self.zero_uS) for cell, g in g_uS.items()]
        return reduce(Tensor.add, currents) * self.gain(full_scale, device)

    def gain(self, full_scale: Tensor, device: Device) -> Tensor:
        return full_scale / device.span_uS


@dataclass(frozen=True, eq=False)
class BitLines:
    """Sums that are read by ADCs of their own: of one slice, both cells of its pairs or one of them.

    Args:
        slice: of the weight, the most significant first.
        factor: of a sum in the layer's output, with the sign of the cells.
        weight: (outputs, inputs of each), in units of one cell at full weight.
        layer: the cells.
    """

    slice: int
    factor: float
    weight: Tensor
    layer: ProgrammedLayer


class Direct:
    """Products of some inputs of a plain linear layer or convolution: the input's channels are cut, not unfolded.

    Args:
        array: the layer.
    """

    def __init__(self, array: WeightArray) -> None:
        self._module, self._weight, self._groups = array.module, array.weight, array.matrices
        self._axes = array.weight.dim() - 2
        self._taps = self._weight[0, 0].numel() if self._axes else 1

    @staticmethod
    def takes(module: nn.Module) -> bool:
        """True for layers whose forward is known: no subclass, and zeros as padding."""
        return type(module) is nn.Linear or (type(module) in CONVOLUTIONS and module.padding_mode == "zeros")

    def take(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """Inputs as `product` takes them."""
        return x

    def weight(self, weight: Tensor, rows: slice) -> Tensor:
        """Weight (outputs, rows) as `product` takes it: taps of other rows of the channels that it touches are 0."""
        if not self._axes:
            return weight.contiguous()
        channels = self._channels(rows)
        whole = weight.new_zeros(len(weight), (channels.stop - channels.start) * self._taps)
        first = rows.start - channels.start * self._taps
        whole[:, first : first + weight.shape[1]] = weight
        shaped = whole.view(len(weight), -1, *self._weight.shape[2:])
        last = self._axes == 2 and self._weight.is_contiguous(memory_format=torch.channels_last)
        return shaped.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None, rows: slice) -> Tensor:
        """Sums over the rows of every output, plus a bias."""
        if not self._axes:
            return functional.linear(x[..., rows], weight, bias)
        module, channels = self._module, self._channels(rows)
        if self._groups == 1:
            x = x[:, channels]
        elif channels != slice(0, self._weight.shape[1]):
            x = x.view(len(x), self._groups, -1, *x.shape[2:])[:, :, channels].flatten(1, 2)
        convolve = _CONVOLVE[self._axes]
        return convolve(x, weight, bias, module.stride, module.padding, module.dilation, self._groups)

    def by_output(self, values: Tensor) -> Tensor:
        """A number for each output, to broadcast against `product`."""
        return values.view(-1, *[1] * self._axes)

    def outputs_first(self, y: Tensor) -> Tensor:
        """Sums as (outputs, all else)."""
        return y.movedim(1 if self._axes else -1, 0).flatten(1)

    def result(self, y: Tensor) -> Tensor:
        """Sums as the layer's own forward gives them."""
        return y

    def _channels(self, rows: slice) -> slice:
        return slice(rows.start // self._taps, -(-rows.stop // self._taps))


class Patches:
    """Products of some inputs of any layer that is linear in its input, which is unfolded into vectors.

    The vectors come from the layer's own forward with weights that each pass one input on, so that a subclass which
    pads or reshapes keeps doing so. A forward that is not torch's own may count on its number of outputs: inputs are
    passed on so many at a time.

    Args:
        array: the layer.
        product: its forward.
    """

    def __init__(self, array: WeightArray, product: Product) -> None:
        weight = array.to_array(array.weight)
        self._product, self._groups, self._shape = product, array.matrices, weight.shape
        self._axes = weight.dim() - 2
        self._inputs = inputs = weight[0].numel()
        plain = type(array.module) in (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)
        each = inputs if plain else len(weight) // self._groups
        one_hot = torch.eye(-(-inputs // each) * each, inputs, dtype=weight.dtype, device=weight.device)
        self._one_hot = [
            some.repeat(self._groups, 1).view(-1, *weight.shape[1:]) for some in torch.split(one_hot, each)
        ]

    def take(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Vectors (..., groups, inputs of each output)."""
        parts = []
        for one_hot in self._one_hot:
            y = self._product(x, one_hot.to(x.dtype), *args, **kwargs).movedim(-1 - self._axes, -1)
            parts.append(y.reshape(*y.shape[:-1], self._groups, -1))
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)[..., : self._inputs]

    def weight(self, weight: Tensor, rows: slice) -> Tensor:  # noqa: ARG002
        """Weight (outputs, rows) as `product` takes it: (groups, rows, outputs of each)."""
        return weight.view(self._groups, -1, weight.shape[1]).mT.contiguous()

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None, rows: slice) -> Tensor:
        """Sums over the rows of every output, (..., outputs), plus a bias."""
        y = torch.matmul(x[..., rows].unsqueeze(-2), weight).flatten(-3)
        return y if bias is None else y.add_(bias)

    def by_output(self, values: Tensor) -> Tensor:
        """A number for each output, to broadcast against `product`."""
        return values

    def outputs_first(self, y: Tensor) -> Tensor:
        """Sums as (outputs, all else)."""
        return y.movedim(-1, 0).flatten(1)

    def result(self, y: Tensor) -> Tensor:
        """Sums as the layer's own forward gives them."""
        return y.movedim(-1, -1 - self._axes)


@dataclass(frozen=True, eq=False)
class _Read:
    """One conversion of the bit lines of a row of tiles.

    Args:
        lines: what is read.
        rows: inputs that are driven.
        to_code: codes a unit of the sum, (outputs,).
        bias: added to a code, likewise.
        weight: as the form of the product takes it, of a sum in codes or in units of `whole`.
        whole: codes a unit of sums that are whole numbers: folded into weights, it would round exact ties.
        factor: of a code in the total of the layer.
        cells: of these rows, for laws of read noise.
    """

    lines: BitLines
    rows: slice
    tile: int
    to_code: Tensor
    bias: Tensor | None
    weight: Tensor
    whole: Tensor | None
    factor: Tensor | float
    cells: ProgrammedLayer | None


class TiledRead:
    """Products of one layer through its converters.

    With the input u behind the DAC, relative to x_max, each output before its digital bias is

        y = W_max x_max sum over slices s and tiles t of f_s ADC(sum over rows i of t of u_i w_si)

    Args:
        array: the layer.
        product: forward of the layer.
        spec: of the layer.
    """

    def __init__(self, array: WeightArray, product: Product, spec: LayerSpec) -> None:
        weight = array.to_array(array.weight)
        self.spec, self.clipped = spec, Clipped()
        self.outputs, self.inputs, self.groups = len(weight), weight[0].numel(), array.matrices
        tile = spec.tile if isinstance(spec.tile, Crossbar) else None
        self.reads = [(slice(0, self.inputs), 0)] if tile is None else tile.reads(self.inputs)
        self.columns = self.outputs // self.groups if tile is None else tile.columns
        self._product, self._axes = product, weight.dim() - 2
        self._dac = spec.dac if isinstance(spec.dac, UniformDAC) else None
        self._adc = spec.adc if isinstance(spec.adc, UniformADC) else None
        self._per_vector = self._dac is not None and self._dac.range == "abs_max"
        # Bits that are added on the bit line without noise give the sum of the whole input.
        accumulation = "none" if self._dac is None else self._dac.accumulation
        self._analog = accumulation == "analog"
        self._by_bits = accumulation != "none" if spec.noisy_read else accumulation == "digital"
        # No sum is looked at on the way, and no vector or bit has a read of its own.
        self._whole = self._adc is None and not self._per_vector and not (self._by_bits and spec.noisy_read)
        self._by_bits = self._by_bits and not self._whole
        direct = Direct.takes(array.module) and not spec.noisy_read and not self._per_vector
        self.form: Direct | Patches = Direct(array) if direct else Patches(array, product)
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
        """What ADCs read: differences of pairs, or each of their cells."""
        w_max = torch.where(layer.full_scale == 0, 1.0, layer.full_scale).flatten(1)
        together = self._adc is None or self._adc.subtraction == "array"
        if together and not isinstance(layer.spec.mapping, Sliced):
            return [BitLines(0, 1.0, layer.weight().flatten(1) / w_max, layer)]
        mapping, device = layer.spec.mapping, layer.spec.device
        one, zero = torch.ones(1), mapping.targets(torch.zeros(1), torch.ones(1), device)
        gains = cell_gains(mapping, layer.g_uS, one, device)
        paired = is_paired(layer.g_uS)
        read: dict[tuple[int, int], list[str]] = {}  # cells of the lines of each ADC, by slice and sign
        for cell in layer.g_uS:
            read.setdefault((slice_of(cell), 0 if together else sign_of(cell)), []).append(cell)
        found = []
        for (number, sign), cells in read.items():
            current = Current(together, 0.0 if paired else zero[cells[0]].item())
            line = replace(layer.only(cells), spec=replace(layer.spec, mapping=current))
            factor = gains[cells[0]].item() * device.span_uS * (sign or 1)
            found.append(BitLines(number, factor, line.weight().flatten(1) / w_max, line))
        return found

    def program(self, layer: ProgrammedLayer, ranges: Ranges, seed: int | None, scale: Tensor | None = None) -> None:
        """Take a chip's cells, and fold all that is fixed for it into the weights of its tiles.

        Args:
            layer: cells of the layer.
            ranges: of its converters.
            seed: the chip, whose ADCs have a mismatch; None for none.
            scale: of each output behind the ADC, (outputs,), that of a batch norm.
        """
        self._take(ranges)
        self._layer, self.clipped = layer, Clipped()
        behind = torch.ones(self.outputs, device=layer.full_scale.device) if scale is None else scale
        if self._whole:
            # Laws of read noise take the weights from the cells, and have no batch norm folded.
            folded = behind.view(-1, *[1] * (self._axes + 1)) * (self._unit * ranges.x_max)
            self._weight = layer.weight() * folded
            return
        w_max = layer.full_scale.flatten(1).expand(self.outputs, -1)[:, 0]
        lines = self.bit_lines(layer)
        lsb = self._lsb(lines, w_max)
        gain, offset = self._mismatch(layer.name, seed, lsb)
        common = lsb[0, 0, 0].item()
        constant = torch.zeros_like(w_max)
        self._plan = []
        for number, line in enumerate(lines):
            for rows, tile in self.reads:
                to_code = (1 + gain[number, tile]) / lsb[number, tile]
                bias = None if self._adc is None else (offset[number, tile] + self._middle).to(w_max)
                factor = line.factor * lsb[number, tile] / common
                constant -= factor * self._middle
                digits, top = self._digits(line)
                if digits is None:
                    weight, whole = line.weight[:, rows] * (to_code * self._unit).to(w_max).unsqueeze(1), None
                else:
                    weight = digits[:, rows]
                    whole = self.form.by_output((to_code * (self._unit / top)).to(w_max))
                same = bool((factor == factor[0]).all())
                each = factor[0].item() if same else self.form.by_output(factor.to(w_max))
                cells = line.layer.word_lines(rows) if self.spec.noisy_read else None
                shaped = self.form.weight(weight, rows)
                self._plan.append(_Read(line, rows, tile, to_code.to(w_max), bias, shaped, whole, each, cells))
        scales = w_max * (ranges.x_max * common) * behind
        self._scale, self._constant = self.form.by_output(scales), self.form.by_output(constant * scales)
        self._w_max = torch.where(w_max == 0, 1.0, w_max)

    def reprogram(self, ranges: Ranges) -> None:
        """Take other ranges for the same cells, without mismatch."""
        self.program(self._layer, ranges, None)

    def __call__(self, x: Tensor, rng: Stream, *args: Any, **kwargs: Any) -> Tensor:
        """Read the layer, without its digital bias.

        Args:
            x: input of its forward.
            rng: stream of this read.
            args, kwargs: the rest of its arguments.
        """
        counts = self.clipped.dac_all == self.clipped.adc_all == 0
        if self._whole:
            return self._read_whole(x, rng, counts, *args, **kwargs)
        alone = x.dim() == self._axes + 1  # without a batch axis
        vectors = self.form.take(x.unsqueeze(0) if alone else x, *args, **kwargs)
        # Bits lie along the batch, of which fewer inputs are read at once.
        size = -(-len(vectors) // self._cycles) if self._by_bits else len(vectors)
        parts = [
            self._converted(part, rng.child(str(i)), counts)
            for i, part in enumerate(torch.split(vectors, max(1, size)))
        ]
        y = self.form.result(parts[0] if len(parts) == 1 else torch.cat(parts))
        return y.squeeze(0) if alone else y

    def sums(self, x: Tensor, *args: Any, **kwargs: Any) -> Iterator[tuple[int, int, Tensor]]:
        """Partial sums before their ADC, unquantised: `(slice, tile, (outputs, all else))`.

        They are in units of one cell at full weight and full input. Bits of a bit-serial input are those of its codes;
        added on the bit line, they are the input.
        """
        vectors = self.form.take(x.unsqueeze(0) if x.dim() == self._axes + 1 else x, *args, **kwargs)
        x_max = self._largest(vectors)
        apart = self._by_bits and not self._analog
        drive = self._bits(self._codes(vectors, x_max)) if apart else self._curved(vectors / x_max)
        for read in self._plan:
            weight = self.form.weight(read.lines.weight[:, read.rows], read.rows)
            yield (
                read.lines.slice,
                read.tile,
                self.form.outputs_first(self.form.product(drive, weight, None, read.rows)),
            )

    def _take(self, ranges: Ranges) -> None:
        """Set what follows from ranges alone."""
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
        # Of what drives a line, relative to a full input.
        quantised = self._dac is not None and not self._by_bits and self._curve is None
        self._unit = 1.0 / self._code_max if quantised else 1.0

    def _digits(self, line: BitLines) -> tuple[Tensor | None, int]:
        """Digits of cells without an error, and the largest digit; None where sums are no whole numbers."""
        mapping = self._layer.spec.mapping
        codes = self._dac is not None and self._curve is None and not self.spec.noisy_read
        if not isinstance(mapping, Sliced) or self._adc is None or not codes:
            return None, 1
        scaled = line.weight * mapping.top
        digits = scaled.round()
        return (digits if bool((scaled - digits).abs().max() < _WHOLE) else None), mapping.top

    def _lsb(self, lines: list[BitLines], like: Tensor) -> Tensor:
        """LSB of the ADCs, (lines, tiles, outputs), float64 for ties to stay exact; 1 without one."""
        shape = (len(lines), self.tiles, self.outputs)
        if self._adc is None or self._ranges.z_max is None:
            return like.new_ones(shape, dtype=torch.float64)
        z_max = self._ranges.z_max.to(like.device, torch.float64)
        by_line = z_max[[line.slice for line in lines]] if len(z_max) > 1 else z_max
        return (by_line / (self._middle or self._top)).expand(shape)

    def _mismatch(self, name: str, seed: int | None, lsb: Tensor) -> tuple[Tensor, Tensor]:
        """Relative gain error and offset in LSB of each ADC, shaped as `lsb`."""
        adc = self._adc
        if adc is None or seed is None or not adc.mismatched:
            return torch.zeros_like(lsb), torch.zeros_like(lsb)
        stream = Stream(seed, (name, "adc"))
        gain = stream.child("gain").normal(lsb.shape).to(lsb) * adc.gain_sigma
        return gain, stream.child("offset").normal(lsb.shape).to(lsb) * adc.offset_sigma_lsb

    def _read_whole(self, x: Tensor, rng: Stream, counts: bool, *args: Any, **kwargs: Any) -> Tensor:
        def linear(x: Tensor, weight: Tensor) -> Tensor:
            return self._product(x, weight.to(x.dtype), *args, **kwargs)

        x_max = self._ranges.x_max
        drive = self._drive(x, x_max, counts)
        if not self.spec.noisy_read:
            return linear(drive, self._weight)
        return self._noise(linear, drive if self._dac is None else drive.mul_(self._unit * x_max), self._layer, rng)

    def _converted(self, x: Tensor, rng: Stream, counts: bool) -> Tensor:
        """Sums of vectors, or of what stands for them, behind their ADCs."""
        x_max = self._largest(x)
        drive = self._drive(x, x_max, counts)
        if self._by_bits:
            drive = self._bits(drive)
        total: Tensor | None = None
        for number, read in enumerate(self._plan):
            z = self._sum(read, drive, rng.child(str(number)))
            if self._by_bits and self._analog:
                z = self._joined(z)
            if self._adc is not None:
                self._convert_(z, rng.child(str(number), "output_noise"), counts)
            if total is None:
                total = z if isinstance(read.factor, float) and read.factor == 1.0 else z.mul_(read.factor)
            elif isinstance(read.factor, float):
                total.add_(z, alpha=read.factor)
            else:
                total.addcmul_(z, read.factor)
        assert total is not None
        if self._by_bits and not self._analog:
            total = self._joined(total)
        y = total.mul_(self._scale).add_(self._constant)
        if isinstance(x_max, Tensor):  # each vector has a range of its own
            y.mul_(x_max.expand(*x_max.shape[:-1], self.outputs // self.groups).flatten(-2))
        return y

    def _sum(self, read: _Read, drive: Tensor, rng: Stream) -> Tensor:
        """Sums of one read in codes, before they are rounded."""
        if read.cells is None and read.whole is None:
            return self.form.product(drive, read.weight, read.bias, read.rows)
        if read.cells is None:
            assert read.whole is not None
            assert read.bias is not None
            z = self.form.product(drive, read.weight, None, read.rows)
            return z.mul_(read.whole).add_(self.form.by_output(read.bias))

        def linear(x: Tensor, weight: Tensor) -> Tensor:
            return self.form.product(x, self.form.weight(weight.to(x.dtype), read.rows), None, slice(None))

        x_max = self._ranges.x_max
        z = self._noise(linear, drive[..., read.rows] * (self._unit * x_max), read.cells, rng)
        z = z.mul_(read.to_code / (self._w_max * x_max))
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
            beyond = _ROUNDING * self._top
            self.clipped.adc += int(((z < -beyond) | (z > self._top + beyond)).sum())
            self.clipped.adc_all += z.numel()
        z.round_().clamp_(0.0, self._top)

    def _largest(self, x: Tensor) -> Tensor | float:
        """Range of the DAC for these inputs; of each vector (..., groups, 1) where it is its own."""
        if not self._per_vector:
            return self._ranges.x_max
        x_max = x.abs().amax(-1, keepdim=True)
        return x_max.where(x_max > 0, 1.0)

    def _drive(self, x: Tensor, x_max: Tensor | float, counts: bool) -> Tensor:
        """What drives the word lines, in units of `_unit` of a full input."""
        if self._dac is None:
            return x
        if counts:
            below = 0.0 if not self._signed else -x_max
            self.clipped.dac += int(((x < below) | (x > x_max)).sum())
            self.clipped.dac_all += x.numel()
        codes = self._codes(x, x_max)
        return codes if self._by_bits else self._curved(codes, self._code_max)

    def _codes(self, x: Tensor, x_max: Tensor | float) -> Tensor:
        """Codes of the DAC, -code_max .. code_max or 0 .. code_max; the rounding of `converters.quantise`."""
        high: Any = x_max  # torch clamps between two tensors or two numbers
        scale = self._code_max / high
        if not self._signed:
            return x.clamp(high * 0.0, high).mul_(scale).round_()
        return x.clamp(-high, high).add_(high).mul_(scale).round_().sub_(self._code_max)

    def _curved(self, u: Tensor, full: float = 1.0) -> Tensor:
        """Inputs of linear cells that give the current of cells with the curve of `iv`; `full` is a full input."""
        return u if self._curve is None else self._curve.input((u / full).clamp_(-1.0, 1.0))

    def _bits(self, codes: Tensor) -> Tensor:
        """Bits of codes with their sign, the least significant first, one after the other along the batch."""
        size = codes.abs().to(torch.int32)
        sign = codes.sign()
        return torch.cat([((size >> bit) & 1).to(codes.dtype).mul_(sign) for bit in range(self._cycles)])

    def _joined(self, z: Tensor) -> Tensor:
        """Sum of the reads of all bits, each by its weight."""
        bits = z.view(self._cycles, -1, *z.shape[1:])
        total = bits[0].mul(1 / self._code_max)
        for bit in range(1, self._cycles):
            total.add_(bits[bit], alpha=2.0**bit / self._code_max)
        return total
