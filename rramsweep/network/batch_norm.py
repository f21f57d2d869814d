"""Batch normalisation after a layer, folded into the layer: `s (W x + b) + h = (s W) x + (s b + h)`.

In eval mode batch norm is a scale `s = gamma / sqrt(var + eps)` and a shift `h = beta - s mean` of each channel. Folded
into weights that are *on the chip already*, it changes only rounding, not physics, and saves a pass over every
activation (`AnalogNetwork` does this). Folded into the weights *before* they are mapped, it changes the weights that
the conductances represent, which is a design choice of the chip (`fold_batchnorm`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from rramsweep.datasets.inputs import AnyInputs, call
from rramsweep.models.forward import one_tensor
from rramsweep.network.arrays import CONVOLUTIONS, TRANSPOSED, private_copy

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

# Attributes of a layer's output that code may read without using its numbers.
_METADATA = {
    "__get__",
    "__len__",
    "dim",
    "element_size",
    "is_contiguous",
    "is_floating_point",
    "numel",
    "size",
    "stride",
}


@dataclass(frozen=True)
class Fold:
    """A layer whose output is used by one batch norm and nothing else.

    Args:
        layer, norm: names of the two modules.
    """

    layer: str
    norm: str


@torch.no_grad()
def find_folds(model: nn.Module, x: AnyInputs) -> list[Fold]:
    """Find the layers whose output is used by a batch norm only, in one forward pass.

    These are plain `Linear` layers, convolutions and transposed convolutions with an unshared weight that are called
    once and followed by a plain batch norm with running statistics. Subclasses are skipped: their forward may do more.

    Args:
        model: in eval mode; it is called once.
        x: a few of its inputs.
    """
    names = {module: name for name, module in model.named_modules()}
    owners = Counter(id(p) for m in model.modules() for p in m._parameters.values() if p is not None)
    layers = [m for m in names if _is_plain_layer(m) and owners[id(m.weight)] == 1]
    norms = [m for m in names if type(m) in NORMS and m.running_mean is not None and not _has_hooks(m)]
    made: dict[nn.Module, list[Tensor]] = {m: [] for m in layers}
    taken: dict[nn.Module, list[Tensor]] = {m: [] for m in norms}
    handles = [m.register_forward_hook(lambda m, _, y: made[m].append(y)) for m in layers]
    handles += [m.register_forward_pre_hook(lambda m, args: taken[m].append(args[0])) for m in norms]
    uses = _Uses()
    try:
        with uses:
            results = call(model, x)
    finally:
        for handle in handles:
            handle.remove()
    uses.count(results)
    source = {id(y[0]): m for m, y in made.items() if len(y) == 1}
    folds = []
    for norm, inputs in taken.items():
        layer = source.get(id(inputs[0])) if len(inputs) == 1 else None
        if layer is not None and uses.of[id(inputs[0])] == 1 and _is_by_channel(layer, inputs[0]):
            folds.append(Fold(names[layer], names[norm]))
    return folds


def scale_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """`(s, h)` of a batch norm in eval mode, each of shape (channels,)."""
    mean, var = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    gamma, beta = cast("Tensor | None", norm.weight), cast("Tensor | None", norm.bias)
    scale = torch.rsqrt(var + cast(float, norm.eps))
    scale = scale if gamma is None else scale * gamma
    return scale, -scale * mean if beta is None else beta - scale * mean


@torch.no_grad()
def fuse(model: nn.Module, folds: Sequence[Fold]) -> dict[str, Tensor]:
    """Replace the norms of a private network by identities, and set the biases of their layers accordingly.

    Args:
        model: changed in place.
        folds: of `find_folds`.

    Returns:
        `{layer: s}`: the factor of each layer's weight along its outputs, shape (outputs,).
    """
    scales = {}
    for fold in folds:
        layer, norm = model.get_submodule(fold.layer), model.get_submodule(fold.norm)
        scale, shift = scale_and_shift(norm)
        bias = cast("Tensor | None", layer.bias)
        layer.bias = nn.Parameter(shift if bias is None else bias * scale + shift, requires_grad=False)
        norm.forward = _pass
        scales[fold.layer] = scale
    return scales


@torch.no_grad()
def multiply(layer: nn.Module, scale: Tensor) -> None:
    """Multiply a layer's weight in place along its outputs."""
    weight = cast(Tensor, layer.weight)
    if isinstance(layer, TRANSPOSED):  # (in, out / groups, ...), groups of outputs one after the other
        blocks = weight.view(layer.groups, -1, *weight.shape[1:])
        blocks.mul_(scale.view(layer.groups, 1, -1, *[1] * (weight.dim() - 2)))
    else:
        weight.mul_(scale.view(-1, *[1] * (weight.dim() - 1)))


def fused(model: nn.Module, folds: Sequence[Fold]) -> nn.Module:
    """A private copy of a network with these batch norms folded into the weights of their layers."""
    copied = private_copy(model)
    for name, scale in fuse(copied, folds).items():
        multiply(copied.get_submodule(name), scale)
    return copied


def fold_batchnorm(model: nn.Module, x: AnyInputs) -> nn.Module:
    """Copy a network and fold each batch norm into the layer before it, where that is exact.

    The chip then stores `s W` instead of `W`: other conductances, another full scale W_max, and no normalisation after
    the array. Norms of other layers are kept; `find_folds` documents the conditions.

    Args:
        model: any network; not changed. It is copied in eval mode.
        x: a batch of its inputs; a few are enough.

    Raises:
        ValueError: the copy gives other outputs than the network on `x` (a forward that reads its own weights).
    """
    folds = find_folds(private_copy(model), x)
    folded = fused(model, folds)
    for fold in folds:  # identities, so that no normalisation is counted as digital work
        parent, _, leaf = fold.norm.rpartition(".")
        setattr(folded.get_submodule(parent), leaf, nn.Identity())
    cause: Exception | None = None
    try:
        if agrees(folded, private_copy(model), x):
            return folded
    except Exception as error:  # a forward may read attributes of a batch norm that no longer exist
        cause = error
    raise ValueError(
        f"analog.fold_batchnorm must leave what a network computes as it is, but {type(model).__name__} answers "
        "otherwise with its batch norms folded: leave analog.fold_batchnorm false"
    ) from cause


def safe_folds(model: nn.Module, x: AnyInputs) -> list[Fold]:
    """`find_folds`, or none if folding changes the outputs on `x`. The network is not changed."""
    plain = private_copy(model)
    folds = find_folds(plain, x)
    return folds if agrees(fused(model, folds), plain, x) else []


@torch.no_grad()
def agrees(one: Callable[..., Any], other: Callable[..., Any], x: AnyInputs, tolerance: float = 1e-3) -> bool:
    """True if two networks give equal outputs, to `tolerance` of the largest output."""
    return alike(one_tensor(call(one, x)), one_tensor(call(other, x)), tolerance)


def alike(a: Tensor, b: Tensor, tolerance: float = 1e-3) -> bool:
    """True if two outputs differ by at most `tolerance` of the largest of b, which allows for the order of sums."""
    if a.shape != b.shape:
        return False
    if not b.isfinite().all():  # masked logits must be -inf at the same places in both
        masks = a.isinf() & (a == b)
        a, b = a.masked_fill(masks, 0.0), b.masked_fill(masks, 0.0)
    return bool((a - b).abs().max() <= tolerance * b.abs().max())


class _Uses(TorchFunctionMode):
    """Counts how often each tensor is an argument of an operation."""

    def __init__(self) -> None:
        super().__init__()
        self.of: Counter[int] = Counter()
        self._kept: list[Tensor] = []  # an id is unique only while its tensor exists

    def count(self, values: object) -> None:
        for value in tree_leaves(values):
            if isinstance(value, Tensor):
                self.of[id(value)] += 1
                self._kept.append(value)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) or getattr(func, "__name__", "") not in _METADATA:
            self.count((args, kwargs))
        return result


def _is_plain_layer(module: nn.Module) -> bool:
    return type(module) in (nn.Linear, *CONVOLUTIONS, *TRANSPOSED) and not _has_hooks(module)


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def _is_by_channel(layer: nn.Module, y: Tensor) -> bool:
    # A batch norm has channels along axis 1. Outputs lie there for a Linear without axes in between, and for a
    # convolution with a batch axis.
    return y.dim() == cast(Tensor, layer.weight).dim()


def _pass(x: Tensor) -> Tensor:
    return x
