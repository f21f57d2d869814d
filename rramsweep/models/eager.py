"""What a network must be for a chip's weights to be put in its layers."""

from __future__ import annotations

import torch
from torch import fx, nn
from torch.export import ExportedProgram

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


def _is_exported(found: object) -> bool:
    if isinstance(found, fx.GraphModule):  # ExportedProgram.module(); a traced network keeps its layers and is welcome
        return any(isinstance(node.target, torch._ops.OpOverload) for node in found.graph.nodes)
    return isinstance(found, ExportedProgram)
