"""A network on the array: which layers are analog, and the network with one chip's weights in it."""

from __future__ import annotations

import fnmatch
import math
import time
from collections.abc import Callable, Sequence
from collections.abc import Mapping as Map
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from rramsweep.arguments import checked_arguments
from rramsweep.crossbar.pieces import WHOLE, NetworkCells
from rramsweep.crossbar.programming import LayerSpec, ProgrammedLayer, program
from rramsweep.crossbar.wires import kernel_of
from rramsweep.datasets.inputs import AnyInputs, call
from rramsweep.devices.streams import Chip, Redraw, stage_stream
from rramsweep.effects import Ideal
from rramsweep.errors import ValidationError
from rramsweep.groups import STAGES
from rramsweep.models.eager import eager
from rramsweep.network.accelerator import CPU, Accelerator, together
from rramsweep.network.arrays import ANALOG_TYPES, WeightArray, find_arrays, own_weights, private_copy
from rramsweep.network.batch_norm import Fold, fuse, multiply
from rramsweep.network.corrections import Corrections, Installation, correctable_layers
from rramsweep.network.parallel import in_parallel
from rramsweep.network.products import NO_READ_NOISE
from rramsweep.network.ranges import fit_ranges
from rramsweep.network.read_slot import ReadSlot
from rramsweep.network.tiled_read import Clipped, Observer, Ranges, TiledRead
from rramsweep.network.unfolding import pad_nested, unfold
from rramsweep.suggest import nearest

# Fitting inputs per pass, few because all partial sums of a wide convolution are held in memory.
FITTING_BATCH = 16


@checked_arguments
def analog_layers(model: nn.Module, include: Sequence[str] = ("*",), exclude: Sequence[str] = ()) -> list[str]:
    """Names of the weights that go on the array, in the network's order (see `arrays.find_arrays`).

    Args:
        model: any PyTorch network.
        include: shell patterns of layer names (`*`, `?`, `[...]`) that may be analog.
        exclude: patterns of those that stay digital nevertheless.

    Raises:
        ValueError: the network has no such layer, a pattern matches none, or none is left.
    """
    include, exclude = patterns(include, "include"), patterns(exclude, "exclude")
    names = list(find_arrays(eager(model, "model")))
    if not names:
        kinds = ", ".join(kind.__name__ for kind in ANALOG_TYPES)
        raise ValueError(
            f"a network needs at least one analog layer ({kinds}), but {type(model).__name__} has none: "
            "use a network that has"
        )
    kept = matching(names, include, "analog.include") - matching(names, exclude, "analog.exclude")
    if not kept:
        raise ValueError(
            f"at least one layer must be analog, but include={list(include)} and exclude={list(exclude)} leave none "
            f"of {', '.join(names)}: exclude fewer"
        )
    return [name for name in names if name in kept]


def patterns(given: Sequence[str], name: str) -> Sequence[str]:
    """Check that patterns of layers are a list; a text would be taken letter by letter.

    Raises:
        ValidationError: a text.
    """
    if isinstance(given, str):
        raise ValidationError("must be a list of patterns", f"write [{given!r}]", value=given, parameter=name)
    return given


def matching(names: Sequence[str], patterns: Sequence[str], where: str) -> set[str]:
    """The names that any of the patterns matches.

    Raises:
        ValueError: a pattern matches none; lists the nearest names.
    """
    found: set[str] = set()
    for pattern in patterns:
        matches = fnmatch.filter(names, pattern)
        if not matches:
            within = any(name.startswith(f"{pattern}.") for name in names)  # a recurrent layer has several arrays
            near = [f"{pattern}.*"] if within else nearest(pattern, names, cutoff=0.3) or list(names[:6])
            raise ValueError(
                f"{where} must match analog layers, but {pattern!r} matches none: did you mean {', '.join(near)}?"
            )
        found.update(matches)
    return found


@dataclass(frozen=True, eq=False)
class Calibrated:
    """Corrections of a chip, and the duration of their fit in seconds."""

    corrections: Corrections
    seconds: float


def check_tied(arrays: Map[str, WeightArray], specs: Map[str, LayerSpec]) -> None:
    """Check that layers with tied weights, which share one set of cells, have the same cells and crossbars.

    Args:
        arrays: of the network, by name.
        specs: `{array name: LayerSpec}`.

    Raises:
        ValidationError: names two layers whose parts differ, apart from those that act at a read.
    """
    first: dict[int, str] = {}
    for name, spec in specs.items():
        carrier = first.setdefault(id(arrays[name].weight), name)
        for slot in ("device", "mapping", *STAGES, "tile", "wires"):
            if getattr(specs[carrier], slot) != getattr(spec, slot):
                raise ValidationError(
                    "must be the same for layers that share a weight, whose cells are one",
                    "give both the same rule",
                    shown=f"others for {carrier} and {name}",
                    slot=slot,
                )


class AnalogNetwork:
    """A private copy of a network whose analog layers take the weights of one chip at a time.

    The caller's model is never changed, and must not be changed while this is in use: its weights are read for every
    chip, so that only two sets of weights are held in memory, however many chips. Biases, normalisation and everything
    else stay digital and exact. `digital`, `ideal` and `chip` return the same module, valid until the next such call.

    Args:
        model: any PyTorch network; it is copied and put in eval mode.
        specs: `{array name: LayerSpec}` for every weight on the array.
        t_s: seconds since programming at which a chip is read.
        folds: batch norms that are folded into the weights after programming (`batch_norm.find_folds`), for layers with
            converters after the ADC. Those of layers with read noise are not folded: the noise acts before them.
        memory_format: of the copy's weights; `torch.channels_last` asks for inputs of the same format.
        accelerator: where the copy runs, and where its chips are drawn.
        calibrate: fits the corrections of a chip, which `chip` then applies; called with this network and the seed.
            Batch norms are then not folded, because the chip is fitted before them.
        redraw: streams of each chip that are drawn again; None for none.

    Raises:
        ValueError: read noise for a recurrent layer or attention with a forward of its own, a weight that is not
            finite, or tied layers on different crossbars.
    """

    @checked_arguments
    def __init__(
        self,
        model: nn.Module,
        specs: Map[str, LayerSpec],
        t_s: float = 0.0,
        folds: Sequence[Fold] = (),
        memory_format: torch.memory_format = torch.contiguous_format,
        accelerator: Accelerator = CPU,
        calibrate: Callable[[AnalogNetwork, Chip], Corrections] | None = None,
        redraw: Redraw | None = None,
    ) -> None:
        self.t_s, self.accelerator, self._calibrate, self._redraw = t_s, accelerator, calibrate, redraw
        self.specs = specs
        self._model = private_copy(eager(model, "model")).requires_grad_(False)
        arrays = find_arrays(self._model)
        unknown = [name for name in specs if name not in arrays]
        if unknown:
            known = ", ".join(list(arrays)[:6]) or "none"
            raise ValidationError(
                f"must be of weights on the array, {known}",
                "use analog_layers(model)",
                value=unknown[0],
                parameter="specs",
            )
        check_tied(arrays, specs)
        read = [name for name in specs if specs[name].wrapped]
        if read:
            unfold(self._model, read)
            pad_nested(self._model)
            arrays = find_arrays(self._model)
        own = find_arrays(model)
        self._arrays = own_weights(arrays, specs)
        draws_at = accelerator.draws_at
        self._digital = {n: array.to_array(_weight_of(own[n], array)).to(draws_at) for n, array in self._arrays.items()}
        noisy = [name for name in specs if specs[name].noisy_read]
        self.layers = correctable_layers(self._model, arrays, list(specs), folds) if calibrate else []
        self._scales = fuse(self._model, [f for f in folds if f.layer not in noisy and calibrate is None])
        for name in self._scales.keys() - self._arrays.keys():
            multiply(self._model.get_submodule(name), self._scales[name])
        self._scales = {name: scale.to(draws_at) for name, scale in self._scales.items()}
        self._model.to(accelerator.at, accelerator.dtype).to(memory_format=memory_format)
        # Each tied layer is read through a slot of its own, from the cells of the layer that carries them.
        carrier = {id(array.weight): name for name, array in self._arrays.items()}
        self._slots = {
            name: ReadSlot(arrays[name], carrier[id(arrays[name].weight)], specs[name], self._scale_behind(name))
            for name in read
        }
        self._read = {slot.carrier for slot in self._slots.values()}
        reordered = {name for name, array in self._arrays.items() if array.reordered}
        parts = {name: array.parts for name, array in self._arrays.items()}
        groups = {name: array.matrices for name, array in self._arrays.items()}
        self._cells = NetworkCells(self._digital, specs, parts, self._read | reordered, groups)
        self._installation = Installation(self._model, self.layers, list(self._slots))
        self.calibrated: Calibrated | None = None
        # Seed and time of the chip whose weights the model holds now, and its cells where reads need them.
        self._held: tuple[Chip, float, dict[str, ProgrammedLayer]] | None = None

    def digital(self) -> nn.Module:
        """The network with its own weights."""
        return self._with(self._digital.__getitem__)

    def ideal(self) -> nn.Module:
        """The network on the ideal chip: mapped and quantised, every effect and all wires ideal."""
        return self._with(lambda name: self._cells.ideal(name).weight_of_cells())

    @checked_arguments
    def chip(self, seed: int) -> nn.Module:
        """The network on chip `seed`, calibrated if there is a method; layers with read noise use the read slot."""
        chip = self._drawn(seed)
        if self._calibrate is None:
            return self.programmed(chip, self.t_s)
        started = time.perf_counter()
        corrections = self._calibrate(self, chip)
        seconds = time.perf_counter() - started
        self.programmed(chip, self.t_s)
        self._held = None
        self._installation.install(corrections)
        self.calibrated = Calibrated(corrections, seconds)
        return self._model

    def _drawn(self, seed: int) -> Chip:
        return seed if self._redraw is None else self._redraw.of(seed)

    def programmed(self, seed: Chip, t_s: float, purpose: tuple[str, ...] = ()) -> nn.Module:
        """The network on chip `seed` read at a time, without corrections.

        Args:
            seed: the chip.
            t_s: seconds since programming.
            purpose: part of the names of the reads' streams; empty for the reads of `chip`.
        """
        self._installation.remove()
        held, self._held = self._held, None
        if held is None or held[:2] != (seed, t_s):
            kept: dict[str, ProgrammedLayer] = {}

            def put(unit: str) -> None:
                if unit in self._read:
                    kept[unit] = self._cells.layer(unit, seed, t_s)
                    self._write(unit, kept[unit].weight())
                else:
                    self._cells.program(unit, seed, t_s, self._write)

            in_parallel(self._cells.units, put)
            held = seed, t_s, kept
        self._read_from(held[2], seed, purpose)
        if self.calibrates:
            self._held = held
        return self._model

    def holding(self, layers: Map[str, ProgrammedLayer], seed: int) -> nn.Module:
        """The network on a chip with given cells, such as measured ones; `seed` is used for its reads only.

        Args:
            layers: of every weight on the array.
            seed: the chip, for mismatch and noise of reads.
        """
        self._with(lambda name: layers[name].weight())
        self._read_from(layers, seed)
        return self._model

    def _read_from(self, layers: Map[str, ProgrammedLayer], seed: Chip, purpose: tuple[str, ...] = ()) -> None:
        for name, slot in self._slots.items():
            layer = layers[slot.carrier]
            if name != slot.carrier:
                layer = layer.read_by(self.specs[name].read_noise)
            device = self.accelerator.at
            stream_name, draws_at = (name, "read_noise", *purpose), self.accelerator.draws_at
            stream = stage_stream(seed, stream_name, "read_noise", draws_at, device)
            slot.read(layer.to(device), stream, seed)

    def written(self, seed: Chip) -> nn.Module:
        """The network on chip `seed` right after the write: without relaxation, drift and read noise."""

        def weight(name: str) -> Tensor:
            spec = replace(self.specs[name], relaxation=Ideal(), drift=Ideal())
            return program(replace(self._cells.ideal(name), spec=spec), seed).weight()

        return self._with(weight)

    @property
    def calibrates(self) -> bool:
        """True if each chip is calibrated. Chips are then run one at a time, because each has its own network."""
        return self._calibrate is not None

    @property
    def converts(self) -> bool:
        """True where a layer has a converter."""
        return bool(self._tiled)

    @property
    def _tiled(self) -> dict[str, TiledRead]:
        """Reads of the layers with converters."""
        return {name: slot.tiled for name, slot in self._slots.items() if slot.tiled is not None}

    @property
    def fits_ranges(self) -> bool:
        """True where a range of a converter is fitted on inputs."""
        return any(slot.spec.fitted for slot in self._slots.values())

    @torch.inference_mode()
    def fit_ranges(self, x: AnyInputs | None) -> dict[str, Ranges]:
        """Find the ranges of all converters, see `ranges.fit_ranges`.

        Args:
            x: batch of inputs on which ranges are fitted; None if no range is fitted.
        """
        reads = self._tiled
        self._with(lambda name: self._cells.ideal(name).weight())
        for name, read in reads.items():
            read.program(self._cells.ideal(self._slots[name].carrier).to(self.accelerator.at), Ranges(), None)

        def run(observe: Observer) -> None:
            try:
                for slot in self._slots.values():
                    slot.observe(observe)
                for part in () if x is None else x.split(FITTING_BATCH):
                    call(self._model, self.accelerator.take(part))
            finally:
                for slot in self._slots.values():
                    slot.observe(None)

        return fit_ranges(reads, None if x is None else run)

    def set_ranges(self, ranges: Map[str, Ranges]) -> None:
        """Set the ranges of converters, `{layer: Ranges}`, for the chips that follow."""
        for name, found in ranges.items():
            self._slots[name].set_ranges(found)

    @property
    def wires_kernel(self) -> str | None:
        """The kernel that solves wires, None where all are ideal."""
        return kernel_of(self.accelerator.draws_at) if any(spec.wired for spec in self.specs.values()) else None

    @property
    def clipped(self) -> dict[str, Clipped]:
        """Conversions outside their range on the present chip, by layer with converters, in each layer's first read."""
        return {name: read.clipped for name, read in self._tiled.items()}

    @torch.inference_mode()
    def array_uS(self, batches: Sequence[AnyInputs]) -> float | None:
        """Power that the cells of the chip of now draw for one input, summed over vectors and pulses.

        `sum over pulses of sum_ij G_ij u_i^2` in uS, the mean over some inputs that run through the chip once more; see
        `TiledRead.array_uS`. None where a layer has no DAC.

        Args:
            batches: of the network's inputs.
        """
        reads = self._tiled
        if any(name not in reads or isinstance(spec.dac, Ideal) for name, spec in self.specs.items()):
            return None
        drawn: list[float] = []

        def take(name: str, read: TiledRead, x: Tensor, args: tuple[object, ...], kwargs: dict[str, object]) -> None:  # noqa: ARG001
            drawn.append(read.array_uS(x, *args, **kwargs) or 0.0)

        try:
            for slot in self._slots.values():
                slot.watch(take)
            for x in batches:
                call(self._model, self.accelerator.take(x))
        finally:
            for slot in self._slots.values():
                slot.watch(None)
        return math.fsum(drawn) / sum(map(len, batches))

    def _scale_behind(self, name: str) -> Tensor | None:
        scale = self._scales.get(name)
        return None if scale is None else scale.to(self.accelerator.at)

    @property
    def reads(self) -> bool:
        """True if a layer has read noise or converters. Chips are then run one at a time, each read separately."""
        return bool(self._slots)

    @checked_arguments
    def chips(self, seeds: Sequence[int]) -> Callable[..., Tensor]:
        """Chips as one function: inputs (inputs, ...) to outputs (chips, inputs, ...); not for read noise."""
        names = {id(p): name for name, p in self._model.named_parameters()}
        stacks = {n: array.weight.new_empty((len(seeds), *array.weight.shape)) for n, array in self._arrays.items()}

        def fill(unit: str) -> None:
            for i, seed in enumerate(seeds):
                self._cells.program(unit, self._drawn(seed), self.t_s, partial(self._write, stacks=stacks, chip=i))

        in_parallel(self._cells.units, fill)
        return together(self._model, {names[id(self._arrays[n].weight)]: stack for n, stack in stacks.items()})

    @torch.no_grad()
    def _write(
        self, name: str, weight: Tensor, rows: slice = WHOLE, stacks: Map[str, Tensor] | None = None, chip: int = 0
    ) -> None:
        """Write a weight, or rows of it, from the array's order into the model or into the stack of several chips."""
        array = self._arrays[name]
        into = array.weight if stacks is None else stacks[name][chip]
        if name in self._scales:
            weight = weight * self._scales[name][rows].view(-1, *[1] * (weight.dim() - 1))
        if array.reordered:
            into.copy_(array.from_array(weight))
        else:
            into[rows].copy_(weight)

    @torch.inference_mode()
    def check_reads(self, x: AnyInputs) -> None:
        """Check that every layer with read noise is called: direct use of its weight would bypass the noise.

        Args:
            x: a batch of the network's inputs; one is enough.

        Raises:
            ValueError: names the layers.
        """
        if not self._slots:
            return
        call(self.programmed(0, self.t_s), self.accelerator.take(x))
        unread = [name for name, slot in self._slots.items() if slot.reads == 0]
        if unread:
            raise ValueError(
                f"read noise and converters need layers that are called, but the network takes the weight of "
                f"{', '.join(unread[:3])} without calling it: exclude it, or give it {NO_READ_NOISE}"
            )

    def _with(self, weight: Callable[[str], Tensor]) -> nn.Module:
        self._installation.remove()
        self._held = None
        sizes = {name: array.weight.numel() for name, array in self._arrays.items()}
        in_parallel(sizes, lambda name: self._write(name, weight(name)))
        for slot in self._slots.values():
            slot.read(None, None)
        return self._model


def _weight_of(own: WeightArray, private: WeightArray) -> Tensor:
    """A layer's digital weight: the caller's own parameter, or the copy's if the weight is computed."""
    parameter = own.module._parameters.get(own.parameter)
    same = parameter is not None and torch.equal(parameter.detach(), private.weight.detach())
    return parameter.detach() if parameter is not None and same else private.weight.detach().clone()
