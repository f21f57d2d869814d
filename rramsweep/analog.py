"""A network on the array: which layers are analog, and the network with one chip's weights in it."""

from __future__ import annotations

import copy
from collections.abc import Mapping as Map
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from rramsweep.chip import LayerSpec, ProgrammedLayer, map_layer, program
from rramsweep.effects import Ideal
from rramsweep.streams import Stream

ANALOG_TYPES = (nn.Linear, nn.Conv2d)


def analog_layers(model: nn.Module) -> list[str]:
    """Names of the layers whose weights go on the array, in the network's order.

    Raises:
        ValueError: the network has none.
    """
    names = [name for name, module in model.named_modules() if isinstance(module, ANALOG_TYPES)]
    if not names:
        kinds = ", ".join(kind.__name__ for kind in ANALOG_TYPES)
        raise ValueError(
            f"a network needs at least one analog layer ({kinds}), but {type(model).__name__} has none: "
            "use a network that has"
        )
    return names


class AnalogNetwork:
    """A private copy of a network whose analog layers take the weights of one chip at a time.

    The caller's model is never changed. Biases, normalisation and everything else stay digital and exact.
    `digital`, `ideal` and `chip` each return the same module, ready to be called until the next of them.

    Args:
        model: any PyTorch network; it is copied and put in eval mode.
        specs: `{layer name: LayerSpec}` for every analog layer.
        t_s: seconds since programming at which a chip is read.
    """

    def __init__(self, model: nn.Module, specs: Map[str, LayerSpec], t_s: float = 0.0) -> None:
        self.t_s = t_s
        self._model = copy.deepcopy(model).eval().requires_grad_(False)
        self._modules = {name: self._model.get_submodule(name) for name in specs}
        self._digital = {name: _weight(module).clone() for name, module in self._modules.items()}
        self._mapped = {name: map_layer(name, self._digital[name], spec) for name, spec in specs.items()}
        self._slots = {
            name: ReadSlot(self._modules[name])
            for name, spec in specs.items()
            if not isinstance(spec.read_noise, Ideal)
        }

    def digital(self) -> nn.Module:
        """The network with its own weights."""
        return self._with(self._digital)

    def ideal(self) -> nn.Module:
        """The network on the ideal chip: mapped and quantised, every effect ideal."""
        return self._with({name: layer.weight() for name, layer in self._mapped.items()})

    def chip(self, seed: int) -> nn.Module:
        """The network on chip `seed`; its layers with read noise go through the read slot."""
        for name, module in self._modules.items():
            layer = program(self._mapped[name], seed, self.t_s)
            _weight(module).copy_(layer.weight())
            if name in self._slots:
                self._slots[name].read(layer, Stream(seed, (name, "read_noise")))
        return self._model

    def _with(self, weights: Map[str, Tensor]) -> nn.Module:
        for name, weight in weights.items():
            _weight(self._modules[name]).copy_(weight)
        for slot in self._slots.values():
            slot.read(None, None)
        return self._model


class ReadSlot:
    """Stands in for a layer's forward, so that read noise can wrap its analog product.

    The effect gets `linear(x, W)`: the layer's own forward with other weights and no bias, so that a subclass
    that pads or reshapes keeps doing so. The digital bias is added behind it. Every call of the layer is a read
    of its own, with a random stream of its own.
    """

    def __init__(self, module: nn.Module) -> None:
        # A copy without the replaced forward: functional_call on the module itself would come back here.
        self._plain = copy.copy(module)
        self._bias = cast("Tensor | None", module.bias)
        self._spatial = _weight(module).dim() - 2
        self._layer: ProgrammedLayer | None = None
        self._rng: Stream | None = None
        self._reads = 0
        module.forward = self

    def read(self, layer: ProgrammedLayer | None, rng: Stream | None) -> None:
        """From now on read this layer; None reads the module's weights as they are."""
        self._layer, self._rng, self._reads = layer, rng, 0

    def __call__(self, x: Tensor) -> Tensor:
        if self._layer is None or self._rng is None:
            return cast(Tensor, self._plain(x))
        noise = self._layer.spec.read_noise
        assert not isinstance(noise, Ideal)
        y = noise(self._linear, x, self._layer, self._rng.child(str(self._reads)))
        self._reads += 1
        return y if self._bias is None else y + self._bias.view(-1, *[1] * self._spatial)

    def _linear(self, x: Tensor, weight: Tensor) -> Tensor:
        swapped = {"weight": weight}
        if self._bias is not None:
            swapped["bias"] = torch.zeros_like(self._bias)
        return cast(Tensor, functional_call(self._plain, swapped, (x,)))


def _weight(module: nn.Module) -> Tensor:
    return cast(Tensor, module.weight)
