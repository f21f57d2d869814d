"""Counts of the cells and converters of a network on its arrays, for its cost."""

from __future__ import annotations

from collections.abc import Mapping as Map

from torch import nn

from rramsweep.cost import LayerCounts, NetworkCounts
from rramsweep.crossbar.converters import UniformADC, UniformDAC
from rramsweep.crossbar.current_voltage import Sinh
from rramsweep.crossbar.mapping import cell_names, slice_of
from rramsweep.crossbar.programming import LayerSpec
from rramsweep.crossbar.tile import Crossbar
from rramsweep.datasets.inputs import AnyInputs
from rramsweep.effects import ThermalShotNoise
from rramsweep.network.arrays import WeightArray, find_arrays
from rramsweep.network.partition import shares, vectors_an_input


def count_parts(
    model: nn.Module, specs: Map[str, LayerSpec], x: AnyInputs, signed: Map[str, bool] | None = None
) -> NetworkCounts:
    """Count the parts of a network on its arrays, and their use in an inference.

    Args:
        model: in eval mode, with plain parameters (`arrays.private_copy`).
        specs: `{array name: LayerSpec}` for every weight on the array.
        x: one input with its batch axis.
        signed: layers whose inputs may be negative; where a layer is missing, as its DAC says, `auto` is signed.
    """
    arrays, vectors = find_arrays(model), vectors_an_input(model, specs, x)
    seen: set[int] = set()
    layers = []
    for name, spec in specs.items():
        carrier = id(arrays[name].weight)
        is_signed = (signed or {}).get(name, _declared_sign(spec))
        layers.append(_layer(arrays[name], spec, vectors[name], is_signed, carrier in seen))
        seen.add(carrier)
    laws = [law for spec in specs.values() for law in (spec.iv, spec.read_noise)]
    voltages = {law.v_read_V for law in laws if isinstance(law, Sinh | ThermalShotNoise)}
    digital = sum(share.macs for share in shares(model, specs, x) if not share.analog)
    return NetworkCounts(layers, digital, sorted(voltages))


def _declared_sign(spec: LayerSpec) -> bool:
    return not (isinstance(spec.dac, UniformDAC) and spec.dac.sign == "unsigned")


def _layer(array: WeightArray, spec: LayerSpec, vectors: float, signed: bool, shared: bool) -> LayerCounts:
    weight = array.to_array(array.weight)
    outputs, inputs, groups = len(weight), weight[0].numel(), array.matrices
    cells = cell_names(spec.mapping, spec.device)
    dac, adc = spec.dac, spec.adc
    # Without tiles a layer is one array, and each group of a convolution one of its own.
    tile = spec.tile if isinstance(spec.tile, Crossbar) else None
    each = outputs // groups
    columns = each if tile is None else min(tile.columns, each)
    full, rest = divmod(each, columns)
    reads = [(slice(0, inputs), 0)] if tile is None else tile.reads(inputs)
    along_inputs = reads[-1][1] + 1
    parts = max(sum(number == t for _, number in reads) for t in range(along_inputs))
    bits, pulses, conversions = None, 1, 1
    if isinstance(dac, UniformDAC):
        bits = 1 if dac.serial else dac.bits
        pulses = dac.bits - signed if dac.serial else 1
        conversions = pulses if dac.accumulation == "digital" else 1
    # Currents of copies are added before an ADC, and so are those of a pair unless they are subtracted behind it.
    slices = len({slice_of(cell) for cell in cells})
    lines = slices * (2 if isinstance(adc, UniformADC) and adc.subtraction == "digital" else 1)
    arrays = groups * along_inputs * lines
    return LayerCounts(
        layer=array.name,
        vectors=vectors,
        cells=weight.numel() * len(cells),
        drivers=inputs * groups * len(cells) * (full + (rest > 0)),
        dac_bits=bits,
        pulses=pulses,
        adc_bits=adc.bits if isinstance(adc, UniformADC) else None,
        reads=parts,
        conversions=conversions,
        bit_lines=[(columns, full * arrays), *([(rest, arrays)] if rest else [])],
        converted=outputs * lines * len(reads) * conversions,
        shared=shared,
    )
