"""Requirements on a network for a chip's weights to be put in its layers."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.utils._pytree import tree_leaves

from rramsweep.errors import ValidationError

_REMEDY = "give the network in Python that it was made from, and its weights as a state dict"


def eager(found: object, where: str) -> nn.Module:
    """Return `found` if it is a network whose layers are Python modules.

    A compiled or exported network is a program: its convolutions and products are instructions over flat tensors, so
    there is no layer to map or to run with other weights.

    Args:
        found: object that a factory returned or a caller gave.
        where: its name in messages.

    Raises:
        ValueError: it is not an `nn.Module`, or a TorchScript module, or a program of `torch.export`.
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
    if isinstance(found, fx.GraphModule):  # ExportedProgram.module(); a traced network keeps its layers and is accepted
        return any(isinstance(node.target, torch._ops.OpOverload) for node in found.graph.nodes)
    return isinstance(found, ExportedProgram)


def deep_copy(model: nn.Module) -> nn.Module:
    """Copy a network deeply, in its present mode.

    Raises:
        ValidationError: names the attribute that Python cannot copy.
    """
    # Weights that a hook computes are not leaves of the graph, and torch refuses to deep-copy them.
    kept = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in tree_leaves(vars(module))
        if isinstance(value, Tensor) and not value.is_leaf
    }
    try:
        copied: nn.Module = copy.deepcopy(model, dict(kept))
    except Exception as error:  # a user's attribute may raise anything
        name = _not_copied(model, kept)
        where = f"its attribute {name!r}" if name else "it"
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValidationError(
            f"must be copied for its chips, but Python cannot copy {where} ({reason})",
            "open files and make locks where they are used, or give the attribute's class a __deepcopy__",
            parameter=f"a network ({type(model).__name__})",
        ) from error
    return copied


def _not_copied(model: nn.Module, kept: Mapping[int, Tensor]) -> str:
    """Name of the first attribute of a network that cannot be copied, empty if each can be copied alone."""
    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            if attribute == "_modules":
                continue
            try:
                copy.deepcopy(value, dict(kept))
            except Exception:  # the error of the whole network again
                return ".".join(part for part in (name, attribute) if part)
    return ""
