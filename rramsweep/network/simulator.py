"""PyRRAM-Sim's interface to programmed chips: one chip, stage by stage, in siemens. Needs only torch."""

from __future__ import annotations

import json
from collections.abc import Mapping as Map
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from rramsweep.arguments import brief, checked_arguments
from rramsweep.crossbar import conductances
from rramsweep.crossbar.converters import UniformADC, UniformDAC
from rramsweep.crossbar.current_voltage import Sinh
from rramsweep.crossbar.mapping import Differential, Mapping, Offset
from rramsweep.crossbar.programming import LayerSpec, ProgrammedLayer, apply_stage, map_layer
from rramsweep.crossbar.tile import Crossbar
from rramsweep.crossbar.wires import Segments
from rramsweep.datasets.arrays import Data
from rramsweep.datasets.inputs import Inputs
from rramsweep.datasets.samples import from_dataset
from rramsweep.devices.device import Device
from rramsweep.effects import Effect, Gaussian, Ideal, RelativeDrift
from rramsweep.errors import ValidationError
from rramsweep.groups import STAGES
from rramsweep.limits import SEED_LIMIT
from rramsweep.models.eager import eager
from rramsweep.network.analog import AnalogNetwork, analog_layers
from rramsweep.network.arrays import WeightArray, check_weights, find_arrays, own_weights, private_copy
from rramsweep.network.batch_norm import Fold, find_folds
from rramsweep.network.corrections import (
    NO_CORRECTIONS,
    Corrections,
    Installation,
    Method,
    correctable_layers,
    from_arrays,
    to_arrays,
)
from rramsweep.network.forking import refuse_after_fork
from rramsweep.network.numerics import fixed_arithmetic
from rramsweep.network.ranges import FITTING_INPUTS
from rramsweep.network.recording import record

FAULT_MODELS = ("state_independent", "state_proportional", "both")

# Published values of G_max lie well inside; a value outside is in another unit.
PLAUSIBLE_G_MAX_S = (1e-8, 0.1)

# Upstream's clamp_noise: normal draws beyond three standard deviations are set to three.
CLAMP = 3.0

_KEEP = object()

# Entry of a file in addition to corrections: the batch norm that follows each layer, by name, as JSON.
_FOLDS = "folds"

# Attribute of a noisy model with the names of its analog weights, which `validate` checks with its first batch.
ANALOG = "_analog_weights"


class FastPyTorchRRAM:
    """One RRAM chip of a trained network, with PyRRAM-Sim's method names.

    Conductances are the state between calls; weights are derived from them once, in
    `get_noisy_model_for_inference`. The caller's model is never changed. The numbers are those of a sweep with the
    same seed and settings.

    Args:
        pretrained_model: any PyTorch network with linear, convolution, recurrent or attention layers.
        G_min, G_max: conductance window in siemens.
        differential: True is the one-sided pair `W = Gp - Gn`; False is one cell against a reference at mid-window.
        mapping: another mapping of `rramsweep.crossbar.mapping`, instead of `differential`.
        G_step: distance of programmable levels in siemens, counted from G_min; None is continuous.
        levels: number of equally spaced levels, instead of G_step.
        edge: policy at the window's edge after each stage: `clip`, `positive` or `none`.
        faults: stuck cells, e.g. `rramsweep.effects.Stuck(0.0175, 0.0904)`; they ignore every stage.
        tile: size and arrangement of the crossbars, e.g. `rramsweep.crossbar.Crossbar(128, 128)`.
        wires: resistances of wires, e.g. `rramsweep.crossbar.Segments(1.0, 1.0)`; they act on the model that
            `get_noisy_model_for_inference` returns, not on `conductances`.
        iv: current-voltage curve of the cells, e.g. `rramsweep.crossbar.Sinh(0.2, 0.25)`; acts likewise.
        dac, adc: converters, e.g. `rramsweep.crossbar.UniformDAC(8)` and `UniformADC(8)`; they act likewise.
        fitting: inputs on which ranges of converters are fitted and which are not scored: a tensor with a batch axis,
            `Inputs`, or a `Dataset` or `DataLoader`, whose labels are ignored. 64 evenly spaced ones are used. Required
            if a range is fitted.
        include, exclude: shell patterns of the layers that go on the array.
        seed: the chip; None draws one from torch's global generator. `seed` holds it afterwards.

    Raises:
        ValueError: a window in another unit, reversed or not finite; a compiled or exported network; no analog layer; a
            weight that is not finite.
    """

    @checked_arguments
    @fixed_arithmetic()
    def __init__(
        self,
        pretrained_model: nn.Module,
        G_min: float,
        G_max: float,
        differential: bool = True,
        *,
        mapping: Mapping | None = None,
        G_step: float | None = 0.1e-6,
        levels: int | None = None,
        edge: str = "clip",
        faults: Effect | None = None,
        tile: Crossbar | None = None,
        wires: Segments | None = None,
        iv: Sinh | None = None,
        dac: UniformDAC | None = None,
        adc: UniformADC | None = None,
        fitting: Dataset[Any] | DataLoader[Any] | Tensor | Inputs | None = None,
        include: Sequence[str] = ("*",),
        exclude: Sequence[str] = (),
        seed: int | None = None,
    ) -> None:
        refuse_after_fork()
        if not PLAUSIBLE_G_MAX_S[0] <= G_max <= PLAUSIBLE_G_MAX_S[1]:
            unit = "microsiemens" if G_max > PLAUSIBLE_G_MAX_S[1] else "another unit"
            raise ValueError(
                f"G_max must be in siemens, {PLAUSIBLE_G_MAX_S[0]:g}..{PLAUSIBLE_G_MAX_S[1]:g}, got {G_max:g}, which "
                f"looks like {unit}: 100 uS is 100e-6"
            )
        if not 0 <= G_min < G_max:
            raise ValidationError(
                f"must be in siemens, at least 0 and below G_max={G_max:g}",
                "1 uS is 1e-6",
                value=G_min,
                parameter="G_min",
            )
        if mapping is not None and not differential:
            raise ValueError("mapping and differential=False both choose the mapping: give one of them")
        if G_step is not None and not 0 < G_step <= G_max - G_min:
            raise ValidationError(
                f"must be in siemens, above 0 and at most G_max - G_min = {G_max - G_min:g}",
                "0.1 uS is 0.1e-6, and None is continuous",
                value=G_step,
                parameter="G_step",
            )
        step_uS = None if G_step is None or levels is not None else _microsiemens(G_step)
        device = Device(_microsiemens(G_min), _microsiemens(G_max), step_uS, levels, edge)
        mapping = mapping or (Differential() if differential else Offset())
        spec = LayerSpec(
            device,
            mapping,
            tile=tile or Ideal(),
            wires=wires or Ideal(),
            iv=iv or Ideal(),
            dac=dac or Ideal(),
            adc=adc or Ideal(),
        )
        if spec.fitted and fitting is None:
            raise ValidationError(
                "must hold inputs to fit the ranges of converters on",
                "give fitting=INPUTS, or ranges by range='given'",
                value=None,
                parameter="fitting",
            )
        self._faults = faults or Ideal()
        self._model = eager(pretrained_model, "pretrained_model")
        check_weights(self._model)
        self._names = analog_layers(pretrained_model, include, exclude)
        self._mapped = {}
        self._converted: AnalogNetwork | None = None
        if spec.converted:
            self._converted = AnalogNetwork(self._model, dict.fromkeys(self._names, spec))
            self._ranges = self._converted.fit_ranges(_spread(fitting) if spec.fitted else None)
        for name, array in own_weights(find_arrays(private_copy(pretrained_model)), self._names).items():
            weight = array.to_array(array.weight).cpu()
            self._mapped[name] = map_layer(name, weight, spec, array.parts, groups=array.matrices)
        self.reset(seed)

    @fixed_arithmetic()
    def reset(self, seed: int | object | None = _KEEP) -> None:
        """Go back to the quantised ideal chip: the same chip without an argument, another one with `seed`.

        Args:
            seed: the new chip; None draws one from torch's global generator.
        """
        if seed is None:
            seed = int(torch.randint(2**63 - 1, ()))
        if seed is not _KEEP:
            if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < SEED_LIMIT:
                raise ValueError(
                    f"seed must be an integer of at least 0 or None, and below 2**63, got {brief(seed)}: give one"
                )
            self.seed = seed
        self._layers: dict[str, ProgrammedLayer] = dict(self._mapped)
        self._done: list[str] = []
        self._imported = False
        self.corrections, self._folds = NO_CORRECTIONS, list[Fold]()

    @checked_arguments
    def apply_programming_error(
        self,
        alpha_ind: float = 0.0,
        fault_model: str = "state_independent",
        alpha_prop: float = 0.0,
        clamp_noise: bool = False,
    ) -> None:
        """Apply the error of the one-time write: `G' = G + sigma z`.

        Args:
            alpha_ind: sigma as a fraction of G_max, for `state_independent` and `both`.
            fault_model: the law of the error: `state_independent`, `state_proportional` or `both` (variances add).
            alpha_prop: sigma as a fraction of the present conductance, for `state_proportional` and `both`.
            clamp_noise: clamp z at 3 standard deviations.

        Raises:
            ValueError: a fraction outside 0..1, one that the law does not use, or a stage out of order.
        """
        self._apply("programming", _gaussian(alpha_ind, fault_model, alpha_prop, clamp_noise))

    @checked_arguments
    def apply_conductance_relaxation(
        self,
        alpha_ind: float = 0.0,
        fault_model: str = "state_independent",
        alpha_prop: float = 0.0,
        clamp_noise: bool = False,
    ) -> None:
        """Apply the loss shortly after the write; arguments and errors as in `apply_programming_error`."""
        self._apply("relaxation", _gaussian(alpha_ind, fault_model, alpha_prop, clamp_noise))

    @checked_arguments
    def apply_relative_drift(self, relative_drift: float, reference: str = "target", clamp_noise: bool = False) -> None:
        """Apply long-term drift: `G' = G + relative_drift G_ref z`, drawn once a cell.

        Args:
            relative_drift: sigma / G_ref; arXiv:2504.03763 as quoted by PyRRAM-Sim gives below 0.20.
            reference: `target`, the quantised target conductance, or `current`, the result of the previous stage.
            clamp_noise: clamp z at 3 standard deviations.

        Raises:
            ValueError: a fraction outside 0..1, an unknown reference, or a stage out of order.
        """
        self._apply("drift", RelativeDrift(relative_drift, reference, CLAMP if clamp_noise else None))

    @fixed_arithmetic()
    def get_noisy_model_for_inference(self) -> nn.Module:
        """The network with the chip's weights: a deep copy of the caller's, in eval mode, on the same device.

        Its state dict loads into the caller's own class, with two exceptions. Layers whose weight is computed (weight
        norm, pruning) hold the chip's weight as a plain parameter. Where a digital embedding was tied to an analog
        layer, the two now hold different numbers, and a class that ties them again uses one for both. Converters are
        not part of a state dict, and split recurrent layers and attention into their products.

        This is the only place where conductances become weights. Two calls give equal models. Corrections of
        `calibrate` are in its weights, biases and batch norms; those of layers that are more than a product are hooks.
        """
        if self._converted is not None:
            network = AnalogNetwork(self._model, self._converted.specs)
            network.set_ranges(self._ranges)
            model = network.holding({name: self._stuck(name) for name in self._layers}, self.seed)
            setattr(model, ANALOG, tuple(self._names))
            return model
        model = private_copy(self._model)
        arrays = find_arrays(model)
        carriers = own_weights(arrays, self._names)
        layers = correctable_layers(model, arrays, self._names, self._folds)
        self._write(carriers)
        Installation(model, layers).install(self.corrections)
        setattr(model, ANALOG, tuple(self._names))
        return model

    @checked_arguments
    @fixed_arithmetic()
    def calibrate(self, loader: Dataset[Any] | DataLoader[Any] | Tensor | Inputs, method: Method) -> Corrections:
        """Fit digital corrections to the present chip; conductances do not change.

        They act in `get_noisy_model_for_inference` until the next stage, import or `reset`. The returned record gives
        their cost: `extra_parameters`, `extra_macs`.

        Args:
            loader: inputs that are not scored, all of which are used: a `DataLoader` or `Dataset`, whose labels are
                ignored, or the inputs themselves.
            method: e.g. `rramsweep.calibration.Moments()`; its `images`, `seed` and `at_s` are not used.

        Returns:
            The corrections; none if the method's gate rejects them.

        Raises:
            ValueError: inputs of another kind, too few of them for the method, or a network that it cannot correct.
        """
        if self._converted is not None:
            raise ValidationError(
                "is not there for chips with converters",
                "calibrate them in a sweep, by calibration=METHOD",
                parameter="calibrate",
            )
        if getattr(method, "reference", "digital") != "digital":
            raise ValidationError(
                "must be the digital network for one chip in Python",
                "calibrate in a sweep for another, by calibration=drift_compensation",
                value=getattr(method, "reference", None),
                parameter="reference",
            )
        x = loader if isinstance(loader, Tensor | Inputs) else from_dataset(loader).x
        model = private_copy(self._model)
        arrays = find_arrays(model)
        carriers = own_weights(arrays, self._names)
        self._folds = find_folds(model, x[:1])
        layers = correctable_layers(model, arrays, self._names, self._folds)
        recordings = record(model, layers, method.parts(x))
        self._write(carriers)
        self.corrections = method.calibrate(model, recordings, layers)
        return self.corrections

    @torch.no_grad()
    def _write(self, carriers: Map[str, WeightArray]) -> None:
        for name, array in carriers.items():
            array.weight.copy_(array.from_array(self._stuck(name).weight()))

    @property
    @fixed_arithmetic()
    def conductances(self) -> dict[str, dict[str, Tensor]]:
        """Present conductances in siemens: `{layer: {cell: tensor}}`, stuck cells included.

        Tensors have the weight's shape, for a transposed convolution (out, in/groups, ...).
        """
        return {name: {cell: g_uS * 1e-6 for cell, g_uS in self._stuck(name).g_uS.items()} for name in self._layers}

    @checked_arguments
    @fixed_arithmetic()
    def export_conductances(self, path: str | PathLike[str]) -> None:
        """Write the present conductances, stuck cells included, to `.npz` (`rramsweep.crossbar.conductances.save`).

        The corrections of `calibrate` are included.

        Raises:
            ValueError: the path names no file.
            OSError: the file cannot be written.
        """
        if not Path(path).name or Path(path).is_dir():
            raise ValidationError("must name a file", "give chip.npz, say", value=str(path), parameter="path")
        beside = to_arrays(self.corrections)
        if beside:
            beside[_FOLDS] = np.array(json.dumps({fold.layer: fold.norm for fold in self._folds}))
        conductances.save(path, {name: self._stuck(name) for name in self._layers}, beside)

    @checked_arguments
    @fixed_arithmetic()
    def import_conductances(self, path: str | PathLike[str]) -> None:
        """Replace the chip's state by the conductances of a file, e.g. those measured on a real chip.

        They are taken as complete: a file does not say which errors it already contains, so no stage may follow, and
        `faults` are not applied. Digital corrections in the file act again. `reset()` goes back to the simulated chip.

        Args:
            path: an `.npz` that `export_conductances` wrote for this network, device and mapping, or one of the same
                form with measured arrays in uS (`rramsweep.crossbar.conductances.load`).

        Raises:
            ValueError: no such file, or one that does not fit the network, or is damaged; the chip is then unchanged.
            OSError: the file cannot be read.
        """
        if not Path(path).is_file():
            raise ValidationError(
                "must be an existing file of conductances", "check it", value=str(path), parameter="path"
            )
        layers = conductances.load(path, self._mapped)
        self.corrections, self._folds = self._imported_corrections(path)
        self._layers, self._imported = layers, True

    def _imported_corrections(self, path: str | PathLike[str]) -> tuple[Corrections, list[Fold]]:
        beside = conductances.load_corrections(path)
        if not beside:
            return NO_CORRECTIONS, []
        modules, arrays = dict(self._model.named_modules()), find_arrays(self._model)
        folds = json.loads(str(beside.pop(_FOLDS, "{}")))
        known = [Fold(layer, norm) for layer, norm in folds.items() if layer in arrays and norm in modules]
        layers = correctable_layers(self._model, arrays, self._names, known)
        return from_arrays(beside, layers, self._model), known

    def _stuck(self, name: str) -> ProgrammedLayer:
        if self._imported:
            return self._layers[name]
        # Faults override all stages, so they are applied when conductances are read, not to the state.
        return apply_stage(self._layers[name], "faults", self._faults, self.seed)

    @fixed_arithmetic()
    def _apply(self, stage: str, effect: Effect) -> None:
        if self._imported:
            raise ValueError(
                f"imported conductances hold every error of their chip, but {stage} was asked for after the import: "
                "call reset() to simulate one"
            )
        for past in self._done:
            if STAGES.index(past) >= STAGES.index(stage):
                raise ValueError(
                    f"stages run once and in the order {', '.join(STAGES[:3])}, but {stage} was asked for after "
                    f"{past}: call reset() for the same chip from the start, or reset(seed=...) for another"
                )
        self._layers = {name: apply_stage(layer, stage, effect, self.seed) for name, layer in self._layers.items()}
        self._done.append(stage)
        self.corrections = NO_CORRECTIONS


def _gaussian(alpha_ind: float, fault_model: str, alpha_prop: float, clamp_noise: bool) -> Gaussian:
    if fault_model not in FAULT_MODELS:
        raise ValueError(f"fault_model must be one of {', '.join(FAULT_MODELS)}, got {fault_model!r}: pick one")
    for name, value, law in (
        ("alpha_prop", alpha_prop, "state_independent"),
        ("alpha_ind", alpha_ind, "state_proportional"),
    ):
        if fault_model == law and value != 0:
            raise ValueError(f"fault_model={law!r} does not use {name}, got {value}: leave it out or use 'both'")
    return Gaussian(alpha_ind, alpha_prop, CLAMP if clamp_noise else None)


def _spread(fitting: Dataset[Any] | DataLoader[Any] | Tensor | Inputs | None) -> Tensor | Inputs:
    """Inputs for ranges, evenly spaced over all, as in a sweep."""
    assert fitting is not None
    x = fitting if isinstance(fitting, Tensor | Inputs) else from_dataset(fitting).x
    return Data(x, torch.zeros(len(x), dtype=torch.long), "fitting", 1).spread(FITTING_INPUTS).x


def _microsiemens(siemens: float) -> float:
    # 0.1e-6 * 1e6 is 0.09999999999999999; the sweep's config says 0.1, and both must be the same device.
    return float(format(siemens * 1e6, ".12g"))
