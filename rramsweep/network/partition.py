"""The analog and the digital part of a network, counted in parameters and multiplications."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.rnn import PackedSequence

from rramsweep.crossbar.programming import LayerSpec, map_layer
from rramsweep.datasets.inputs import AnyInputs, call
from rramsweep.network.arrays import (
    CONVOLUTIONS,
    TRANSPOSED,
    find_arrays,
    is_transposed_linear,
    own_weights,
    private_copy,
)
from rramsweep.scale import percent as shown_percent

BIAS = "bias"

# Share of a network's parameters from which a note mentions stacked weights.
LARGE_SHARE = 0.1

NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True)
class Share:
    """All of a network's weights of one kind.

    Args:
        kind: class of the layers; `bias` for the biases of layers whose weights are analog.
        analog: True if they are on the array.
        layers: number of layers.
        parameters: number of parameters; tied ones count once (an analog layer tied to a digital one has cells in
            addition to the digital numbers, so both count).
        macs: multiply-accumulates with them, for one input; none for the look-up of an embedding.
    """

    kind: str
    analog: bool
    layers: int
    parameters: int
    macs: int


@dataclass(frozen=True)
class LayerSize:
    """One weight on the array.

    Args:
        layers: names of its arrays: one, or several if the weight is tied.
        cells: number of cells that hold it, in all slices and copies.
        macs: multiply-accumulates with it, for one input.
    """

    layers: tuple[str, ...]
    cells: int
    macs: int


@torch.inference_mode()
def layer_sizes(model: nn.Module, specs: Map[str, LayerSpec], x: AnyInputs) -> list[LayerSize]:
    """Sizes of the weights on the array, in the network's order.

    Args:
        model: any PyTorch network; it is copied.
        specs: `{array name: LayerSpec}` for every weight on the array.
        x: one input with its batch axis; MACs are counted in its forward pass.
    """
    private = private_copy(model)
    macs = _count_macs(private, x)
    arrays = find_arrays(private)
    carriers = own_weights(arrays, specs)
    found = []
    for name, array in carriers.items():
        tied = tuple(other for other in specs if arrays[other].weight is array.weight)
        mapped = map_layer(name, array.to_array(array.weight), specs[name], array.parts, groups=array.matrices)
        cells = sum(target_uS.numel() for target_uS in mapped.target_uS.values())
        modules = [(id(arrays[other].module), arrays[other].parameter) for other in tied]
        found.append(LayerSize(tied, cells, sum(macs.get(key, 0) for key in modules)))
    return found


@torch.inference_mode()
def shares(model: nn.Module, names: Iterable[str], x: AnyInputs) -> list[Share]:
    """The parts of a network by kind, analog ones first, then by decreasing size.

    Args:
        model: in eval mode, with plain parameters (`arrays.private_copy`).
        names: of the arrays that are analog.
        x: one input with its batch axis; MACs are counted in its forward pass.
    """
    arrays = find_arrays(model)
    on_array = {(id(arrays[n].module), arrays[n].parameter) for n in names}
    owners = {owner for owner, _ in on_array}
    macs = _count_macs(model, x)
    seen: set[tuple[int, bool]] = set()
    kinds: dict[tuple[str, bool], list[tuple[int, int, int]]] = {}
    for module in model.modules():
        for parameter, value in module._parameters.items():
            if value is None:
                continue
            analog = (id(module), parameter) in on_array
            beside = id(module) in owners and not analog and parameter.startswith("bias")
            kind = BIAS if beside else type(module).__name__
            size = 0 if (id(value), analog) in seen else value.numel()
            seen.add((id(value), analog))
            entry = (id(module), size, macs.get((id(module), parameter), 0))
            kinds.setdefault((kind, analog), []).append(entry)
    found = [
        Share(kind, analog, len({e[0] for e in entries}), sum(e[1] for e in entries), sum(e[2] for e in entries))
        for (kind, analog), entries in kinds.items()
    ]
    return sorted(found, key=lambda share: (not share.analog, -share.macs, -share.parameters))


def stacked_weights(model: nn.Module) -> list[str]:
    """Note on matrices stacked in one parameter, such as experts, if they are a large part of a network.

    They belong to no layer, so they stay digital, and `shares` does not count their multiplications.
    """
    layers = {id(array.module) for array in find_arrays(model).values()}
    sizes: dict[str, int] = {}
    for module in model.modules():
        if id(module) in layers or isinstance(module, ParametrizationList):
            continue
        for value in module._parameters.values():
            if value is not None and value.dim() == 3 and min(value.shape) > 1:
                sizes[type(module).__name__] = sizes.get(type(module).__name__, 0) + value.numel()
    share = sum(sizes.values()) / max(sum(parameter.numel() for parameter in model.parameters()), 1)
    if share < LARGE_SHARE:
        return []
    return [
        f"{shown_percent(share, significant=3)} % of the parameters are matrices stacked in one parameter of "
        f"{', '.join(sizes)}, which is no layer of PyTorch's: they stay digital and exact, and their multiplications "
        "are not counted"
    ]


def describe_shares(found: list[Share]) -> str:
    """Describe in one line the analog share and the digital layers.

    Multiplications are those with a weight. Products of two activations, such as Q K^T and A V of an attention, belong
    to no weight: they stay digital and are not counted.
    """
    parameters, macs = sum(s.parameters for s in found), sum(s.macs for s in found)

    def percent(some: list[Share]) -> str:
        counts = (sum(s.parameters for s in some) / parameters, sum(s.macs for s in some) / max(macs, 1))
        of_parameters, of_macs = (shown_percent(share, significant=3) for share in counts)
        return f"{of_parameters} % of parameters, {of_macs} % of multiplications with weights"

    analog = [s for s in found if s.analog]
    digital = [f"{s.kind}{f' x {s.layers}' if s.kind != BIAS else ''} ({percent([s])})" for s in found if not s.analog]
    return f"analog: {percent(analog)}; digital: {', '.join(digital) or 'nothing'}"


@torch.inference_mode()
def vectors_an_input(model: nn.Module, names: Iterable[str], x: AnyInputs) -> dict[str, float]:
    """Vectors that each array multiplies for one input of a network: positions of a convolution, steps, tokens.

    Args and model: see `shares`.
    """
    arrays = find_arrays(model)
    positions: dict[int, int] = {}

    def count(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
        positions[id(module)] = positions.get(id(module), 0) + output.numel() // cast(int, module.out_channels)

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, TRANSPOSED)]
    try:
        macs = _count_macs(model, x)
    finally:
        for hook in hooks:
            hook.remove()
    return {
        name: (
            positions.get(id(array.module), 0)
            if isinstance(array.module, TRANSPOSED)
            else macs.get((id(array.module), array.parameter), 0) / array.weight.numel()
        )
        for name, array in arrays.items()
        if name in set(names)
    }


def _count_macs(model: nn.Module, x: AnyInputs) -> dict[tuple[int, str], int]:
    macs: dict[tuple[int, str], int] = {}

    def count(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        for parameter, n in _macs(module, args, kwargs, output):
            key = (id(module), parameter)
            macs[key] = macs.get(key, 0) + n
        if isinstance(module, nn.MultiheadAttention):
            # Attention multiplies with its output projection without calling it.
            key = (id(module.out_proj), "weight")
            macs[key] = macs.get(key, 0) + output[0].numel() * module.embed_dim

    hooks = [module.register_forward_hook(count, with_kwargs=True) for module in model.modules()]
    try:
        call(model, x)
    finally:
        for hook in hooks:
            hook.remove()
    return macs


def _macs(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> list[tuple[str, int]]:
    """`(parameter, multiplications)` of one call of a layer."""
    if isinstance(module, nn.Linear):
        return [("weight", output.numel() * module.in_features)]
    if is_transposed_linear(module):
        return [("weight", output.numel() * len(cast(Tensor, module.weight)))]
    if isinstance(module, CONVOLUTIONS):
        return [("weight", output.numel() * module.weight[0].numel())]
    if isinstance(module, TRANSPOSED):
        return [("weight", args[0].numel() * module.weight[0].numel())]
    if isinstance(module, NORMS) and module.weight is not None:
        return [("weight", output.numel())]
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        data = args[0].data if isinstance(args[0], PackedSequence) else args[0]
        steps = data.numel() // module.input_size
        return [(n, steps * p.numel()) for n, p in module._parameters.items() if p is not None and "weight" in n]
    if isinstance(module, nn.MultiheadAttention):
        q, k, v = (*args, *(kwargs[n] for n in ("query", "key", "value") if n in kwargs))[:3]
        tokens = {"q_proj_weight": q, "k_proj_weight": k, "v_proj_weight": v}
        if module._parameters["in_proj_weight"] is not None:
            return [("in_proj_weight", module.embed_dim * sum(t.numel() for t in tokens.values()))]
        return [(name, t.numel() * module.embed_dim) for name, t in tokens.items()]
    return []
