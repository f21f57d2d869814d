"""Specification of a chip's layers, and their programming: the order of the stages."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from collections.abc import Mapping as Map
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import cast

import torch
from torch import Tensor

from rramsweep.arguments import check_fields, checked_arguments
from rramsweep.crossbar.consistency import (
    check_double_counting,
    quantisation_notes,
    retention_notes,
    run_check,
    slice_notes,
    time_notes,
)
from rramsweep.crossbar.converters import UniformADC, UniformDAC
from rramsweep.crossbar.current_voltage import Sinh
from rramsweep.crossbar.mapping import (
    Mapping,
    Offset,
    Sliced,
    averaged,
    cell_gains,
    cell_names,
    copied,
    copies_of,
    is_paired,
)
from rramsweep.crossbar.tile import Crossbar
from rramsweep.crossbar.wires import Segments
from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Chip, JoinedStream, Stream, stage_stream
from rramsweep.effects import Calibrated, Effect, Ideal, Noted, ReadEffect, Timed
from rramsweep.effects.protocol import declared
from rramsweep.errors import Sentence, ValidationError, placed
from rramsweep.groups import STAGES
from rramsweep.limits import MEMORY_SHARE
from rramsweep.npz import available_memory

# Stages after the write, in the order of time.
_ERRORS = STAGES[:3]


@dataclass(frozen=True)
class LayerSpec:
    """Specification of one layer of a chip: a device, a mapping, an effect for each stage, and its array.

    Raises:
        ValueError: effects that count the same error twice, a fit that does not cover the device, wires without a tile,
            with possibly negative conductances or for a mapping without pairs, or converters that do not fit each
            other or the mapping.
    """

    device: Device
    mapping: Mapping
    programming: Effect = field(default_factory=Ideal)
    relaxation: Effect = field(default_factory=Ideal)
    drift: Effect = field(default_factory=Ideal)
    variation: Effect = field(default_factory=Ideal)
    faults: Effect = field(default_factory=Ideal)
    read_noise: ReadEffect | Ideal = field(default_factory=Ideal)
    tile: Crossbar | Ideal = field(default_factory=Ideal)
    wires: Segments | Ideal = field(default_factory=Ideal)
    iv: Sinh | Ideal = field(default_factory=Ideal)
    dac: UniformDAC | Ideal = field(default_factory=Ideal)
    adc: UniformADC | Ideal = field(default_factory=Ideal)

    def __post_init__(self) -> None:
        check_fields(self)
        if not (hasattr(self.mapping, "gains") or hasattr(self.mapping, "gain")):
            raise ValidationError(
                "must have gains(full_scale, device)",
                "return |dW/dG| by name of cell, as rramsweep.crossbar.mapping.Differential does",
                shown=type(self.mapping).__name__,
                slot="mapping",
            )
        check_double_counting({stage: getattr(self, stage) for stage in _ERRORS})
        for slot, effect in self._effects().items():
            if hasattr(effect, "check") and isinstance(effect, Calibrated):  # isinstance with a protocol is slow
                run_check(slot, effect, partial(effect.check, self.device))
        self._check_array()
        self._check_converters()

    def _check_array(self) -> None:
        paired = isinstance(self.tile, Ideal) or is_paired(cell_names(self.mapping, self.device))
        if isinstance(self.tile, Crossbar):
            self.tile.check_pairs(paired)
        if not self.wired:
            return
        if isinstance(self.tile, Ideal):
            raise ValidationError(
                "needs a crossbar, whose size says how long wires are",
                "set tile=crossbar",
                shown="tile=none",
                slot="wires",
            )
        if not paired:
            choice = "mapping.base" if isinstance(self.mapping, Sliced) else "mapping"
            option = "offset" if isinstance(self.mapping, Offset | Sliced) else type(self.mapping).__name__
            raise ValidationError(
                "needs pairs of cells: the reference of an offset is a number, not a column with wires of its own",
                f"set {choice}=differential or constant_sum, or wires=ideal",
                shown=f"{choice}={option}",
                slot="wires",
            )
        if self.device.edge == "none":
            raise ValidationError(
                "needs conductances of at least 0",
                "set device.edge=clip or positive",
                shown="device.edge=none",
                slot="wires",
            )
        if self.tile.fill == "whole":  # a tile of used cells is no larger than its layer
            _check_memory(self.tile)

    def _check_converters(self) -> None:
        adc, dac = self.adc, self.dac
        if isinstance(self.iv, Sinh):
            if isinstance(dac, Ideal):
                raise ValidationError(
                    "needs the largest input, to which v_read_V belongs",
                    "set dac=uniform",
                    shown="dac=ideal",
                    slot="iv",
                )
            if self.wired:
                raise ValidationError(
                    "needs wires without resistance: behind wires the voltage of a cell depends on all others",
                    "set wires=ideal or iv=linear",
                    shown="wires=segments",
                    slot="iv",
                )
        if not isinstance(adc, UniformADC):
            return
        if adc.range == "full" and isinstance(dac, Ideal):
            raise ValidationError(
                "needs the largest input for range=full",
                "set dac=uniform, or adc.range=fitted",
                shown="dac=ideal",
                slot="adc",
            )
        if adc.bits == 1 and (isinstance(dac, Ideal) or dac.sign != "unsigned"):
            raise ValidationError(
                "must be at least 2 where sums may be negative",
                "set dac=uniform dac.sign=unsigned",
                value=adc.bits,
                parameter="bits",
                slot="adc",
            )
        interleaved = isinstance(self.tile, Crossbar) and self.tile.arrangement == "interleaved"
        if adc.subtraction == "digital" and interleaved:
            raise ValidationError(
                "must be array where the cells of a pair share a bit line",
                "set tile.arrangement=separate",
                value=adc.subtraction,
                parameter="subtraction",
                slot="adc",
            )
        if adc.subtraction == "digital" and not is_paired(cell_names(self.mapping, self.device)):
            raise ValidationError(
                "needs pairs of cells for subtraction=digital: the reference of an offset mapping is no column to read",
                "set adc.subtraction=array or mapping=differential",
                shown="a mapping of one cell a weight",
                slot="adc",
            )

    @property
    def draws(self) -> bool:
        """True where a part may draw at random."""
        return bool(self.drawn)

    @property
    def drawn(self) -> list[str]:
        """Stages whose streams may be drawn from: their parts are neither ideal nor declared silent.

        `read_noise` is all that is drawn at a read, the output noise of ADCs included; `adc` is their mismatch.
        """
        stages = [slot for slot, effect in self._effects().items() if not declared(effect, "silent")]
        if isinstance(self.adc, UniformADC):
            if self.adc.output_noise_lsb > 0 and "read_noise" not in stages:
                stages.append("read_noise")
            if self.adc.mismatched:
                stages.append("adc")
        return stages

    @property
    def converted(self) -> bool:
        """True where inputs or sums are changed at each read: by a converter, or by a curve of the cells."""
        return any(not isinstance(part, Ideal) for part in (self.iv, self.dac, self.adc))

    @property
    def fitted(self) -> bool:
        """True where a range is fitted on inputs."""
        return any(
            isinstance(part, UniformDAC | UniformADC) and part.range == "fitted" for part in (self.dac, self.adc)
        )

    @property
    def wired(self) -> bool:
        """True where wires have a resistance."""
        return isinstance(self.wires, Segments) and not self.wires.is_ideal

    @checked_arguments
    def check_time(self, t_s: float) -> None:
        """Check that every effect covers a time since programming.

        Raises:
            ValueError: see `Timed`.
        """
        for slot, effect in self._effects().items():
            if hasattr(effect, "check_time") and isinstance(effect, Timed):
                run_check(slot, effect, partial(effect.check_time, t_s))

    @property
    def has_unread_tile(self) -> bool:
        """True where nothing depends on the size of the tile: wires and ADCs are ideal."""
        return isinstance(self.tile, Crossbar) and not self.wired and isinstance(self.adc, Ideal)

    @property
    def noisy_read(self) -> bool:
        """True if a read has noise of the cells; read noise of strength zero does not count."""
        return not declared(self.read_noise, "silent")

    @property
    def wrapped(self) -> bool:
        """True where a read is not the plain product of input and effective weight."""
        return self.noisy_read or self.converted

    @checked_arguments
    def notes(self, t_s: float) -> list[Sentence]:
        """Notes on the effects on this device, with this mapping and at this time."""
        own = [
            placed(note, slot, effect)
            for slot, effect in self._effects().items()
            if hasattr(effect, "notes") and isinstance(effect, Noted)
            for note in effect.notes(self.device, t_s)
        ]
        errors = {stage: getattr(self, stage) for stage in _ERRORS}
        levels = quantisation_notes(self.mapping, self.device) + slice_notes(self.mapping, self.device)
        time = time_notes(self._effects(), t_s)
        return [*own, *retention_notes(errors, t_s), *levels, *time, *self._array_notes()]

    def _array_notes(self) -> list[Sentence]:
        if self.wired and self.noisy_read:
            return [
                Sentence(
                    "read noise under wires is scaled cell by cell with (G_eff/G)^2, which neglects what a noisy cell "
                    "sends through its neighbours"
                )
            ]
        return []

    def _effects(self) -> dict[str, object]:
        return {slot: getattr(self, slot) for slot in (*STAGES, "read_noise")}


@dataclass(frozen=True, eq=False)
class ProgrammedLayer:
    """The cells of one layer: conductances are the state, the weight is a view of them.

    Args:
        name: the layer's name in the network, part of every random stream's name.
        spec: specification of the layer.
        full_scale: W_max of the digital weight, as the mapping gave it; never derived from noisy cells.
        target_uS: quantised target conductances, by cell name (`p`, `n`; of slices `p_1`, ...), each in the weight's
            shape.
        g_uS: conductances now, likewise.
        t_s: seconds since programming at which the cells are read.
        groups: matrices that share no line of an array; axis 0 holds their outputs one after the other.
    """

    name: str
    spec: LayerSpec
    full_scale: Tensor
    target_uS: Map[str, Tensor]
    g_uS: Map[str, Tensor]
    t_s: float = 0.0
    groups: int = 1

    def to(self, device: torch.device) -> ProgrammedLayer:
        """Move the cells to the memory of a device; returns the same object if they are in it."""
        if self.full_scale.device == device:
            return self
        target_uS, g_uS = ({cell: g.to(device) for cell, g in cells.items()} for cells in (self.target_uS, self.g_uS))
        moved = replace(self, full_scale=self.full_scale.to(device), target_uS=target_uS, g_uS=g_uS)
        return self._keep_effective(moved, lambda g: g.to(device))

    def read_by(self, read_noise: ReadEffect | Ideal) -> ProgrammedLayer:
        """The same cells with another read noise."""
        return self._keep_effective(replace(self, spec=replace(self.spec, read_noise=read_noise)), lambda g: g)

    def only(self, cells: Collection[str], spec: LayerSpec, full_scale: Tensor) -> ProgrammedLayer:
        """Restrict the layer to some of its arrays of cells, read by the mapping of another spec."""
        part = self._restricted([cell for cell in self.g_uS if cell in cells], lambda g: g)
        return replace(part, spec=spec, full_scale=full_scale)._with_effective(part.effective_uS)

    def word_lines(self, inputs: slice) -> ProgrammedLayer:
        """Restrict the layer to some inputs; weights are then (outputs, inputs), in the order of the array."""
        part = self._restricted(self.g_uS, lambda g: g.flatten(1)[:, inputs])
        return replace(part, full_scale=self.full_scale.flatten(1))._with_effective(part.effective_uS)

    def _restricted(self, cells: Iterable[str], part: Callable[[Tensor], Tensor]) -> ProgrammedLayer:
        chosen = list(cells)
        restricted = replace(
            self,
            target_uS={cell: part(self.target_uS[cell]) for cell in chosen},
            g_uS={cell: part(self.g_uS[cell]) for cell in chosen},
        )
        return restricted._with_effective({cell: part(self.effective_uS[cell]) for cell in chosen})

    def _keep_effective(self, changed: ProgrammedLayer, part: Callable[[Tensor], Tensor]) -> ProgrammedLayer:
        """Keep effective conductances that are known already, since solving wires takes time."""
        known = vars(self).get("effective_uS")
        return changed if known is None else changed._with_effective({cell: part(g) for cell, g in known.items()})

    def _with_effective(self, effective_uS: Map[str, Tensor]) -> ProgrammedLayer:
        """Set known effective conductances, because the wires of a part alone would give others."""
        vars(self)["effective_uS"] = effective_uS
        return self

    def weight(self) -> Tensor:
        """Effective weight of the conductances now, wires included, in the digital weight's shape and unit."""
        return self.weight_of(self.effective_uS)

    def weight_of_cells(self) -> Tensor:
        """Weight that the present conductances represent, without wires."""
        return self.weight_of(self.g_uS)

    def weight_of(self, g_uS: Map[str, Tensor]) -> Tensor:
        """Weight that given conductances of the layer's cells represent."""
        mapping = self.spec.mapping
        return mapping.weight(averaged(g_uS, copies_of(mapping)), self.full_scale, self.spec.device)

    @cached_property
    def effective_uS(self) -> Map[str, Tensor]:
        """Conductances between drivers and outputs, by cell name: those of the cells where wires are ideal."""
        spec = self.spec
        if not (isinstance(spec.tile, Crossbar) and isinstance(spec.wires, Segments) and spec.wired):
            return self.g_uS
        found = spec.tile.effective_uS(self.g_uS, spec.wires, spec.device.g_min_uS, self.groups)
        return {cell: g_uS.to(self.g_uS[cell].dtype) for cell, g_uS in found.items()}

    @property
    def gains(self) -> Map[str, Tensor]:
        """|dW/dG| by name of cell array, in the order of the arrays; each broadcasts against the weight."""
        gains = cell_gains(self.spec.mapping, self.g_uS, self.full_scale, self.spec.device)
        return {cell: gains[cell] for cell in self.g_uS}

    @cached_property
    def transfer(self) -> Map[str, Tensor]:
        """`G_eff / G` of each cell, by cell name; 0 for a cell that does not conduct."""
        return {cell: torch.where(g_uS > 0, self.effective_uS[cell] / g_uS, 0.0) for cell, g_uS in self.g_uS.items()}


def _check_memory(tile: Crossbar) -> None:
    """Check that the wires of a whole tile can be solved in the memory of this machine."""
    needed, free = Segments.memory_bytes(tile.inputs, tile.columns), available_memory()
    if needed > MEMORY_SHARE.value * free:
        raise ValidationError(
            f"must be solved within {100 * MEMORY_SHARE.value:g} % of the memory available, {free / 1e9:.3g} GB",
            "take smaller tiles or tile.fill=used",
            shown=f"{tile.rows} x {tile.columns} lines, which take {needed / 1e9:.3g} GB",
            slot="tile",
        )


def full_scale(name: str, weight: Tensor, spec: LayerSpec, parts: int = 1) -> Tensor:
    """W_max of one layer as its mapping takes it; broadcasts against the weight. Arguments and errors: `map_layer`."""
    weight = weight.detach()
    if not weight.isfinite().all():
        raise ValueError(
            f"weights must be finite, but {name!r} holds NaN or infinity: repair the checkpoint or exclude the layer"
        )
    if parts == 1:
        return spec.mapping.full_scale(weight)
    return torch.cat(
        [spec.mapping.full_scale(part).expand(len(part), *[-1] * (part.dim() - 1)) for part in weight.chunk(parts)]
    )


def map_layer(
    name: str, weight: Tensor, spec: LayerSpec, parts: int = 1, w_max: Tensor | None = None, groups: int = 1
) -> ProgrammedLayer:
    """Map and quantise one layer: its ideal chip, before any stage. Draws nothing.

    Args:
        name: the layer's name in the network.
        weight: digital weight, any shape whose axis 0 counts outputs.
        spec: specification of the layer.
        parts: number of matrices stacked along axis 0 (gates, projections), each with a scale of its own.
        w_max: `full_scale` of these arguments, where it is known already.
        groups: see `ProgrammedLayer`.

    Raises:
        ValueError: the weight is not finite.
    """
    weight = weight.detach()
    w_max = full_scale(name, weight, spec, parts) if w_max is None else w_max
    targets = spec.mapping.targets(weight, w_max, spec.device)
    target_uS = {cell: spec.device.quantise(targets.pop(cell)) for cell in list(targets)}
    target_uS = copied(target_uS, copies_of(spec.mapping))
    return ProgrammedLayer(name, spec, w_max, target_uS, target_uS, groups=groups)


def apply_stage(layer: ProgrammedLayer, stage: str, effect: Effect, seed: Chip, t_s: float = 0.0) -> ProgrammedLayer:
    """Apply one of `STAGES` to every cell array of a layer, with the streams `(seed, layer, cell, stage)`."""
    if isinstance(effect, Ideal):
        return layer
    g_uS = {}
    for cell, now_uS in layer.g_uS.items():
        cells = Cells(now_uS, layer.target_uS[cell], layer.spec.device, t_s)
        stream = stage_stream(seed, (layer.name, cell, stage), stage, now_uS.device)
        g_uS[cell] = _run_stage(stage, effect, cells, stream)
    return replace(layer, g_uS=g_uS)


def program(layer: ProgrammedLayer, seed: Chip, t_s: float = 0.0) -> ProgrammedLayer:
    """Program chip `seed`'s cells of a mapped layer, at `t_s` seconds after programming: every stage in order."""
    g_uS = dict(layer.g_uS)
    # One array of cells after the other, so that fewer of them are in memory at once.
    for cell, now_uS in g_uS.items():

        def stream(stage: str, cell: str = cell, device: torch.device = now_uS.device) -> Stream:
            return stage_stream(seed, (layer.name, cell, stage), stage, device)

        g_uS[cell] = program_cells(layer.spec, layer.target_uS[cell], now_uS, t_s, stream)
    unmoved = layer.t_s == t_s and all(g_uS[cell] is layer.g_uS[cell] for cell in g_uS)
    return layer if unmoved else replace(layer, g_uS=g_uS, t_s=t_s)


def program_cells(
    spec: LayerSpec, target_uS: Tensor, g_uS: Tensor, t_s: float, stream: Callable[[str], Stream | JoinedStream]
) -> Tensor:
    """Apply every stage in order to some cells of one spec.

    Args:
        spec: specification of their layers.
        target_uS: quantised targets.
        g_uS: conductances before.
        t_s: seconds since programming.
        stream: stream of a stage.
    """
    for stage in STAGES:
        effect = getattr(spec, stage)
        if not isinstance(effect, Ideal):
            g_uS = _run_stage(stage, effect, Cells(g_uS, target_uS, spec.device, t_s), stream(stage))
    return g_uS


def _run_stage(stage: str, effect: Effect, cells: Cells, stream: Stream | JoinedStream) -> Tensor:
    """Apply one stage and the edge to some cells."""
    versions = _versions(cells)
    device = cells.g_uS.device
    with device if device.type != "cpu" else nullcontext():  # for tensors that an effect makes without a device
        after_uS = effect(cells, cast(Stream, stream))
    if _versions(cells) != versions:  # the next chip would start from the changed cells
        raise ValueError(
            f"an effect must leave its cells alone, but {stage}={type(effect).__name__} changes them in "
            "place: return a new tensor (x * y for x.mul_(y))"
        )
    # In place, to save memory: an effect returns a new tensor, or the old one, which already lies inside the window.
    return after_uS if stage == "faults" or after_uS is cells.g_uS else cells.device.confine_(after_uS)


def _versions(cells: Cells) -> list[int]:
    """Version counters of the cells' tensors, which in-place changes raise; none in inference mode."""
    return [g._version for g in (cells.g_uS, cells.target_uS) if not g.is_inference()]
