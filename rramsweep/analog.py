"""A network on the array: which layers are analog, and the network with one chip's weights in it."""

from __future__ import annotations

import copy
import difflib
import fnmatch
from collections.abc import Iterable, Sequence
from collections.abc import Mapping as Map
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from rramsweep.chip import LayerSpec, ProgrammedLayer, map_layer, program
from rramsweep.effects import Ideal
from rramsweep.streams import Stream

ANALOG_TYPES = (nn.Linear, nn.Conv2d)


def analog_layers(model: nn.Module, include: Sequence[str] = ("*",), exclude: Sequence[str] = ()) -> list[str]:
    """Names of the layers whose weights go on the array, in the network's order.

    Args:
        model: any PyTorch network.
        include: shell patterns of layer names (`*`, `?`, `[...]`) that may be analog.
        exclude: patterns of those that stay digital all the same.

    Raises:
        ValueError: the network has no such layer, a pattern matches none, or none is left.
    """
    names = [name for name, module in model.named_modules() if isinstance(module, ANALOG_TYPES)]
    if not names:
        kinds = ", ".join(kind.__name__ for kind in ANALOG_TYPES)
        raise ValueError(
            f"a network needs at least one analog layer ({kinds}), but {type(model).__name__} has none: "
            "use a network that has"
        )
    for name in names:
        if "weight" not in model.get_submodule(name)._parameters:
            raise ValueError(
                f"the weight of an analog layer must be a plain parameter, that of {name!r} is computed (weight norm, "
                "pruning, a parametrization): make it permanent with torch.nn.utils before"
            )
    kept = _matching(names, include, "include") - _matching(names, exclude, "exclude")
    if not kept:
        raise ValueError(
            f"at least one layer must be analog, but include={list(include)} and exclude={list(exclude)} leave none "
            f"of {', '.join(names)}: exclude fewer"
        )
    return [name for name in names if name in kept]


def channel_axis(module: nn.Module) -> int:
    """The axis of a weight that counts output channels: 0 for `Linear` (out, in) and `Conv2d` (out, in, ...)."""
    if isinstance(module, ANALOG_TYPES):
        return 0
    raise ValueError(f"an analog layer must be one of {ANALOG_TYPES}, got {type(module).__name__}: exclude it")


def _matching(names: Sequence[str], patterns: Sequence[str], role: str) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        matches = fnmatch.filter(names, pattern)
        if not matches:
            near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.3) or list(names[:6])
            raise ValueError(
                f"analog.{role} must match analog layers, but {pattern!r} matches none: did you mean {', '.join(near)}?"
            )
        found.update(matches)
    return found


def own_weights(model: nn.Module, names: Iterable[str]) -> dict[str, nn.Module]:
    """Take the weights of analog layers apart from what else shares them, in place.

    Layers whose weights are tied are one set of cells: the first of them carries it, the others go on sharing its
    parameter. A tied module that stays digital (an embedding) keeps the old parameter, and with it exact weights.

    Returns:
        `{name: module}` of the layers that carry cells.
    """
    modules: dict[str, nn.Module] = {}
    taken: dict[int, nn.Parameter] = {}
    for name in names:
        module = model.get_submodule(name)
        old = analog_weight(module)
        if id(old) not in taken:
            taken[id(old)] = nn.Parameter(old.detach().clone(), requires_grad=old.requires_grad)
            modules[name] = module
        module.weight = taken[id(old)]
    return modules


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
        self._modules = own_weights(self._model, specs)
        self._digital = {name: analog_weight(module).clone() for name, module in self._modules.items()}
        specs = {name: specs[name] for name in self._modules}
        self._mapped = {
            name: map_layer(name, self._digital[name], spec, channel_axis(self._modules[name]))
            for name, spec in specs.items()
        }
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
            analog_weight(module).copy_(layer.weight())
            if name in self._slots:
                self._slots[name].read(layer, Stream(seed, (name, "read_noise")))
        return self._model

    def _with(self, weights: Map[str, Tensor]) -> nn.Module:
        for name, weight in weights.items():
            analog_weight(self._modules[name]).copy_(weight)
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
        self._spatial = analog_weight(module).dim() - 2
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


def analog_weight(module: nn.Module) -> Tensor:
    """The weight of an analog layer."""
    return cast(Tensor, module.weight)
