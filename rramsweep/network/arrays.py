"""The weights of a network that go on the array, and their order there: bit lines (outputs) first."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as Map
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from rramsweep.errors import ValidationError
from rramsweep.models.eager import deep_copy

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
ANALOG_TYPES = (nn.Linear, *CONVOLUTIONS, *TRANSPOSED, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)

# Gates of a recurrent layer are stacked in one weight, as query, key and value are in an attention.
GATES = {nn.LSTM: 4, nn.LSTMCell: 4, nn.GRU: 3, nn.GRUCell: 3}
PROJECTIONS = 3


_NETWORK = "a network"

# Module and name of transformers' own linear layer.
_TRANSPOSED_LINEAR = ("transformers.pytorch_utils", "Conv1D")

# Packages of layers with weights packed into integers; these derive from no analog class.
_QUANTISED = (
    "torch.ao.nn.quantized",
    "torch.nn.quantized",
    "torch.ao.nn.intrinsic.quantized",
    "torch.nn.intrinsic.quantized",
)


@dataclass(frozen=True, eq=False)
class WeightArray:
    """One weight of a network as cells of an array.

    Args:
        name: of the layer, followed by the parameter's name if the layer has several weights.
        module: the layer.
        parameter: name of the weight in it.
        parts: number of matrices stacked along axis 0 (gates, projections), each with a scale W_max of its own.
        groups: groups of a transposed convolution, whose weight (in, out/groups, ...) lies on the array as
            (out, in/groups, ...), or 1 for a linear layer that holds (in, out); None keeps the weight's own order.
        readable: True if the product is the layer's own forward, so that read noise can act on it. Fused kernels of
            recurrent layers and attention are not readable until they are unfolded.
    """

    name: str
    module: nn.Module
    parameter: str = "weight"
    parts: int = 1
    groups: int | None = None
    readable: bool = True

    @property
    def weight(self) -> Tensor:
        """The weight as the layer holds it."""
        return cast(Tensor, getattr(self.module, self.parameter))

    @property
    def matrices(self) -> int:
        """Number of matrices that share no line of an array: the groups of a convolution."""
        return cast(int, getattr(self.module, "groups", 1))

    @property
    def reordered(self) -> bool:
        """True where the array holds the weight's numbers in another order than the layer."""
        return self.groups is not None

    def to_array(self, weight: Tensor) -> Tensor:
        """A weight of the layer in the order of the array: (outputs, inputs of each, ...)."""
        if self.groups is None:
            return weight
        return weight.view(self.groups, -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1)

    def from_array(self, weight: Tensor) -> Tensor:
        """The inverse of `to_array`."""
        return self.to_array(weight)


class Unfolded(nn.Module):
    """A recurrent layer or attention whose weight products are calls of linear layers (`network.unfolding`).

    Attributes:
        products: an `nn.Linear` for each weight of the layer, by the name of the parameter. The layer keeps the weights
            as attributes of these names.
    """

    products: nn.ModuleDict

    def __getattr__(self, name: str) -> Any:
        products = self.__dict__.get("_modules", {}).get("products", {})
        return products[name].weight if name in products else super().__getattr__(name)


def find_arrays(model: nn.Module) -> dict[str, WeightArray]:
    """Every weight of a network that can go on an array, in the network's order.

    These are linear layers, including `Conv1D` of transformers, a linear layer with transposed weight; convolutions of
    one to three dimensions and their transposes; LSTM, GRU, RNN and their cells; attention; and subclasses of these.
    Embeddings, normalisation, biases and free parameters are not included.

    Raises:
        ValueError: a weight is computed by something other than `torch.nn.utils`, or missing before a first forward.
    """
    arrays = {}
    # Attention reads the weight of its output projection without calling it.
    fused = {id(m.out_proj) for m in model.modules() if isinstance(m, nn.MultiheadAttention)}
    unfolded = [module for module in model.modules() if isinstance(module, Unfolded)]
    fused -= {id(module._modules.get("out_proj")) for module in unfolded}
    inner = {id(product) for module in unfolded for product in module.products.values()}
    for name, module in model.named_modules():
        if id(module) in inner:
            continue
        for array in _arrays_of(name, module, id(module) not in fused):
            if isinstance(module._parameters.get(array.parameter), nn.UninitializedParameter):
                raise ValueError(
                    f"an analog layer must have its weight, that of {name!r} is not there before a first forward: "
                    "run the network once before"
                )
            arrays[array.name] = array
    return arrays


def _arrays_of(name: str, module: nn.Module, readable: bool) -> list[WeightArray]:
    prefix = f"{name}." if name else ""
    if isinstance(module, Unfolded):
        return [WeightArray(f"{prefix}{p}", product, parts=_parts(module, p)) for p, product in module.products.items()]
    if isinstance(module, nn.RNNBase | nn.RNNCellBase | nn.MultiheadAttention):
        names = [p for p in _weights(module) if "weight" in p]
        return [WeightArray(f"{prefix}{p}", module, p, _parts(module, p), readable=False) for p in names]
    if isinstance(module, TRANSPOSED):
        return [WeightArray(name, module, groups=module.groups)]
    if is_transposed_linear(module):
        return [WeightArray(name, module, groups=1)]
    if isinstance(module, (nn.Linear, *CONVOLUTIONS)):
        if "weight" not in _weights(module):
            raise ValueError(
                f"the weight of an analog layer must be a parameter, that of {name!r} is computed by something other "
                "than torch.nn.utils: make it a parameter or exclude the layer"
            )
        return [WeightArray(name, module, readable=readable)]
    return []


def is_transposed_linear(module: nn.Module) -> bool:
    """True for the linear layers of GPT-2 and similar, `x W + b` with W (in, out), by name: no import is needed."""
    return any((kind.__module__, kind.__qualname__) == _TRANSPOSED_LINEAR for kind in type(module).__mro__)


def _parts(module: nn.Module, parameter: str) -> int:
    if isinstance(module, nn.MultiheadAttention):
        return PROJECTIONS if parameter == "in_proj_weight" else 1
    if parameter.startswith("weight_hr"):  # the projection of an LSTM's state has no gates
        return 1
    return next((gates for kind, gates in GATES.items() if isinstance(module, kind)), 1)


def _weights(module: nn.Module) -> list[str]:
    """Names of a module's own parameters in their order, including those computed by `torch.nn.utils`."""
    names = [name for name, value in module._parameters.items() if value is not None]
    names += [name for name in getattr(module, "parametrizations", {}) if name not in names]
    names += [name for name, _ in _hooks(module) if name not in names]
    order = getattr(module, "_flat_weights_names", names)
    return [name for name in names if name in order] if isinstance(module, nn.RNNBase) else names


def _hooks(module: nn.Module) -> list[tuple[str, object]]:
    """`(parameter, hook)` of weights computed by hooks: older weight norm and spectral norm, and pruning."""
    hooks = module._forward_pre_hooks.values()
    found: list[tuple[str, object]] = [(h.name, h) for h in hooks if isinstance(h, WeightNorm | SpectralNorm)]
    return found + [(h._tensor_name, h) for h in hooks if isinstance(h, prune.BasePruningMethod)]


def private_copy(model: nn.Module) -> nn.Module:
    """Copy a network deeply, in eval mode and with every computed weight (weight norm, ...) as a plain parameter.

    The state dict of such a layer then holds `weight` instead of the tensors that it was computed from.
    """
    private = deep_copy(model).eval()
    with torch.no_grad():
        for module in list(private.modules()):
            _make_plain(module)
    return private


def _make_plain(module: nn.Module) -> None:
    if parametrize.is_parametrized(module):
        # torch's own remove_parametrizations deletes the weight from the class, which the original shares.
        weights = {name: getattr(module, name) for name in cast(nn.ModuleDict, module.parametrizations)}
        module.__class__ = type(module).__bases__[0]
        del module.parametrizations
        for name, weight in weights.items():
            module.register_parameter(name, nn.Parameter(weight.detach().clone()))
    for name, hook in _hooks(module):
        if isinstance(hook, WeightNorm):
            remove_weight_norm(module, name)
        elif isinstance(hook, SpectralNorm):
            remove_spectral_norm(module, name)
        else:
            prune.remove(module, name)  # type: ignore[no-untyped-call]


def own_weights(arrays: Map[str, WeightArray], names: Iterable[str]) -> dict[str, WeightArray]:
    """Separate the weights of analog layers from digital modules that share them, in place.

    Layers with tied weights have one set of cells: the first of them carries it, the others keep sharing its
    parameter. A tied module that stays digital (an embedding) keeps the old parameter and thus exact weights.

    Args:
        arrays: of a `private_copy`, by `find_arrays`.
        names: of those that are analog.

    Returns:
        `{name: array}` of those that carry cells.
    """
    carriers: dict[str, WeightArray] = {}
    taken: dict[int, nn.Parameter] = {}
    for name in names:
        array = arrays[name]
        old = array.weight
        if id(old) not in taken:
            taken[id(old)] = nn.Parameter(old.detach().clone(), requires_grad=old.requires_grad)
            carriers[name] = array
        setattr(array.module, array.parameter, taken[id(old)])
    return carriers


def check_weights(model: nn.Module) -> None:
    """Check that a network's tensors have values, and that analog weights can become conductances.

    A digital part may be complex, as in spectral convolutions and rotary embeddings.

    Raises:
        ValidationError: a quantised layer or tensor; a tensor on the meta device; an analog weight that is complex,
            an integer or sparse.
    """
    for name, module in model.named_modules():
        kind = type(module)
        if kind.__module__.startswith(_QUANTISED):
            raise ValidationError(
                "must have float32 weights",
                "give the float network that it was made from",
                parameter=_NETWORK,
                shown=f"the quantised layer {name!r} ({kind.__module__}.{kind.__name__})",
            )
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if isinstance(tensor, nn.UninitializedParameter | nn.UninitializedBuffer):
            continue
        if tensor.is_quantized:
            raise ValidationError(
                "must have float32 weights",
                "give the float network that it was made from, or dequantize() it",
                parameter=_NETWORK,
                shown=f"quantised {name} ({tensor.dtype})",
            )
        if tensor.is_meta:
            raise ValidationError(
                "must have its weights",
                "make it on the CPU, or load its weights with load_state_dict(state, assign=True)",
                parameter=_NETWORK,
                shown=f"{name} on the meta device, where tensors have no values",
            )
    if any(isinstance(parameter, nn.UninitializedParameter) for parameter in model.parameters()):
        return
    for name, array in find_arrays(model).items():
        parameter = array.module._parameters.get(array.parameter)
        if parameter is None:  # computed from parameters that are checked above
            continue
        if not parameter.is_floating_point() or parameter.layout != torch.strided:
            kind_of = "complex" if parameter.is_complex() else "sparse" if parameter.is_floating_point() else "integer"
            raise ValidationError(
                "must be real, dense numbers to become conductances",
                "give a network of real, dense weights",
                parameter="an analog weight",
                shown=f"{kind_of} numbers ({parameter.dtype}, {parameter.layout}) in {name}",
            )
