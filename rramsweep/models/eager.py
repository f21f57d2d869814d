"""What a network must be for a chip's weights to be put in its layers."""

from __future__ import annotations

from itertools import chain

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from rramsweep.arrays import find_arrays
from rramsweep.errors import ValidationError

_NETWORK = "a network"

# Packages of layers whose weights are packed integers; they derive from no analog class.
_QUANTISED = (
    "torch.ao.nn.quantized",
    "torch.nn.quantized",
    "torch.ao.nn.intrinsic.quantized",
    "torch.nn.intrinsic.quantized",
)

_REMEDY = "give the network in Python that it was made from, and its weights as a state dict"


def eager(found: object, where: str) -> nn.Module:
    """`found`, if it is a network whose layers are modules of Python.

    A compiled or exported network is a program: its convolutions and products are instructions over flat tensors, so
    there is no layer to map, and nothing that runs a layer with other weights.

    Args:
        found: what a factory returned, or a caller gave.
        where: what it is called in messages.

    Raises:
        ValueError: it is no `nn.Module`, a TorchScript module, or a program of `torch.export`.
    """
    if isinstance(found, torch.jit.ScriptModule):
        raise ValueError(f"{where} must be a network of Python layers, got a TorchScript module, compiled: {_REMEDY}")
    if _is_exported(found):
        raise ValueError(f"{where} must be a network of Python layers, got an exported program: {_REMEDY}")
    if not isinstance(found, nn.Module):
        raise ValueError(
            f"{where} must be a torch.nn.Module, got {type(found).__name__}: name a factory or class of a network"
        )
    return found


def check_weights(model: nn.Module) -> None:
    """Refuse a network whose numbers cannot become conductances, or are not there.

    A digital part may be complex, as spectral convolutions and rotary embeddings are.

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
        if parameter is None:  # computed, from parameters that are looked at above
            continue
        if not parameter.is_floating_point() or parameter.layout != torch.strided:
            kind_of = "complex" if parameter.is_complex() else "sparse" if parameter.is_floating_point() else "integer"
            raise ValidationError(
                "must be real, dense numbers to become conductances",
                "give a network of real, dense weights",
                parameter="an analog weight",
                shown=f"{kind_of} numbers ({parameter.dtype}, {parameter.layout}) in {name}",
            )


def _is_exported(found: object) -> bool:
    if isinstance(found, fx.GraphModule):  # ExportedProgram.module(); a traced network keeps its layers and is welcome
        return any(isinstance(node.target, torch._ops.OpOverload) for node in found.graph.nodes)
    return isinstance(found, ExportedProgram)
