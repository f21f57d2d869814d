"""What a chip is, and how it comes about: the spec of its layers and the order of the stages."""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass, field, replace

from torch import Tensor

from rramsweep.device import Cells, Device
from rramsweep.effects import Effect, Ideal, ReadEffect
from rramsweep.mapping import Mapping
from rramsweep.streams import Stream

# Once a chip, in the order of physics. Faults come last because a stuck cell ignores every other stage and the
# edge: whatever happened before is overwritten.
STAGES = ("programming", "relaxation", "drift", "faults")


@dataclass(frozen=True)
class LayerSpec:
    """What one layer of a chip is made of: a cell, a mapping and an effect for each stage."""

    device: Device
    mapping: Mapping
    programming: Effect = field(default_factory=Ideal)
    relaxation: Effect = field(default_factory=Ideal)
    drift: Effect = field(default_factory=Ideal)
    faults: Effect = field(default_factory=Ideal)
    read_noise: ReadEffect | Ideal = field(default_factory=Ideal)


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


def map_layer(name: str, weight: Tensor, spec: LayerSpec, channel_axis: int = 0) -> ProgrammedLayer:
    """The ideal chip of one layer: mapped and quantised, before any stage. Draws nothing.

    Args:
        name: the layer's name in the network.
        weight: digital weight, any shape.
        spec: what the layer is made of.
        channel_axis: the axis of the weight that counts output channels, for a scale per channel.

    Raises:
        ValueError: the weight is not finite.
    """
    weight = weight.detach()
    if not weight.isfinite().all():
        raise ValueError(
            f"weights must be finite, but {name!r} holds NaN or infinity: repair the checkpoint or exclude the layer"
        )
    full_scale = spec.mapping.full_scale(weight, channel_axis)
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
