"""What a chip is, and how it comes about: the spec of its layers and the order of the stages."""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from rramsweep.device import Cells, Device
from rramsweep.effects import Calibrated, Effect, Ideal, ReadEffect
from rramsweep.mapping import Mapping
from rramsweep.streams import Stream

# Once a chip, in the order of physics. Variation is what write-verify did not see of a cell, so it acts on whatever
# the errors of time left. Faults come last because a stuck cell ignores every other stage and the edge: whatever
# happened before is overwritten.
STAGES = ("programming", "relaxation", "drift", "variation", "faults")

# The errors that follow a write, in time.
_ERRORS = STAGES[:3]


@dataclass(frozen=True)
class LayerSpec:
    """What one layer of a chip is made of: a cell, a mapping and an effect for each stage.

    Raises:
        ValueError: effects that count the same error twice, or a fit that does not cover the device.
    """

    device: Device
    mapping: Mapping
    programming: Effect = field(default_factory=Ideal)
    relaxation: Effect = field(default_factory=Ideal)
    drift: Effect = field(default_factory=Ideal)
    variation: Effect = field(default_factory=Ideal)
    faults: Effect = field(default_factory=Ideal)
    read_noise: ReadEffect | Ideal = field(default_factory=Ideal)

    def __post_init__(self) -> None:
        _refuse_double_counting({stage: getattr(self, stage) for stage in _ERRORS})
        for effect in self._calibrated():
            effect.check(self.device)

    def notes(self, t_s: float) -> list[str]:
        """What the effects have to say of this device and this time."""
        return [note for effect in self._calibrated() for note in effect.notes(self.device, t_s)]

    def _calibrated(self) -> list[Calibrated]:
        effects = [getattr(self, slot) for slot in (*STAGES, "read_noise")]
        return [effect for effect in effects if isinstance(effect, Calibrated)]


def _refuse_double_counting(effects: Map[str, Effect]) -> None:
    before: list[str] = []  # stages whose error stands already
    covered_s = 0.0  # up to this time after the write, by a total
    for stage, effect in effects.items():
        if isinstance(effect, Ideal):
            continue
        name = type(effect).__name__
        if getattr(effect, "kind", "increment") == "total":
            if before:
                raise ValueError(
                    f"{stage}={name} is the total error against the target and must stand alone, but "
                    f"{' and '.join(before)} would be counted twice: set {' and '.join(f'{b}=ideal' for b in before)}"
                )
            covered_s = getattr(effect, "at_s", 0.0)
        elif covered_s > 0 and (stage == "relaxation" or hasattr(effect, "t0_s")):
            t0_s = getattr(effect, "t0_s", 0.0)
            if t0_s < covered_s:
                raise ValueError(
                    f"{stage}={name} must begin where {' and '.join(before)} ends, at t0_s >= {covered_s:g} s, but "
                    f"begins at {t0_s:g} s and would be counted twice: set {stage}=ideal or take a law from then on"
                )
        before.append(stage)


@dataclass(frozen=True, eq=False)
class ProgrammedLayer:
    """The cells of one layer: conductances are the state, the weight is a view of them.

    Args:
        name: the layer's name in the network, part of every random stream's name.
        spec: what the layer is made of.
        full_scale: W_max, as the mapping gave it for the digital weight; never derived again from noisy cells.
        target_uS: quantised target conductances, by cell name (`p`, `n`), each in the weight's shape.
        g_uS: conductances now, likewise.
    """

    name: str
    spec: LayerSpec
    full_scale: Tensor
    target_uS: Map[str, Tensor]
    g_uS: Map[str, Tensor]

    def weight(self) -> Tensor:
        """Effective weight of the conductances now, in the digital weight's shape and unit."""
        return self.spec.mapping.weight(self.g_uS, self.full_scale, self.spec.device)


def map_layer(name: str, weight: Tensor, spec: LayerSpec, parts: int = 1) -> ProgrammedLayer:
    """The ideal chip of one layer: mapped and quantised, before any stage. Draws nothing.

    Args:
        name: the layer's name in the network.
        weight: digital weight, any shape whose axis 0 counts outputs.
        spec: what the layer is made of.
        parts: matrices that stand below each other along axis 0 (gates, projections), each with a scale of its own.

    Raises:
        ValueError: the weight is not finite.
    """
    weight = weight.detach()
    if not weight.isfinite().all():
        raise ValueError(
            f"weights must be finite, but {name!r} holds NaN or infinity: repair the checkpoint or exclude the layer"
        )
    scales = [spec.mapping.full_scale(part).expand(len(part), *[-1] * (part.dim() - 1)) for part in weight.chunk(parts)]
    full_scale = torch.cat(scales) if parts > 1 else spec.mapping.full_scale(weight)
    targets = spec.mapping.targets(weight, full_scale, spec.device)
    target_uS = {cell: spec.device.quantise(g) for cell, g in targets.items()}
    return ProgrammedLayer(name, spec, full_scale, target_uS, target_uS)


def apply_stage(layer: ProgrammedLayer, stage: str, effect: Effect, seed: int, t_s: float = 0.0) -> ProgrammedLayer:
    """One stage of `STAGES` on every cell array of a layer, from the streams `(seed, layer, cell, stage)`."""
    spec = layer.spec
    if isinstance(effect, Ideal):
        return layer
    g_uS = {}
    for cell, now_uS in layer.g_uS.items():
        cells = Cells(now_uS, layer.target_uS[cell], spec.device, t_s)
        after_uS = effect(cells, Stream(seed, (layer.name, cell, stage)))
        g_uS[cell] = after_uS if stage == "faults" else spec.device.confine(after_uS)
    return replace(layer, g_uS=g_uS)


def program(layer: ProgrammedLayer, seed: int, t_s: float = 0.0) -> ProgrammedLayer:
    """Chip `seed`'s cells of a mapped layer at `t_s` seconds after programming: every stage in order."""
    for stage in STAGES:
        layer = apply_stage(layer, stage, getattr(layer.spec, stage), seed, t_s)
    return layer
