"""Checks that a network's outputs are reproducible, and that they depend on the weights that a chip changes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from rramsweep.datasets.inputs import AnyInputs, call, mapped, same, tensors
from rramsweep.errors import ValidationError
from rramsweep.network.arrays import WeightArray, find_arrays, own_weights, private_copy
from rramsweep.network.batch_norm import alike

# Outputs count as changed if they differ by this factor more than in a repetition without any change.
NOISE = 4.0


@torch.inference_mode()
def check_steady(model: nn.Module, x: AnyInputs, name: str) -> None:
    """Check that the outputs of a network depend on its weights and on each input alone.

    Args:
        model: in eval mode, returning one tensor; other networks are refused where they are evaluated.
        x: inputs; a few are enough. They are not changed.
        name: of the network, for messages.

    Raises:
        ValueError: it changes its input, or its outputs differ in a repetition, in other batches or in a copy of it.
    """
    given, x = x, x.clone()
    answers, half = call(model, x), len(x) // 2
    if not same(x, given):
        raise ValidationError(
            "must leave its input as it is, but changes it in place, for every chip that comes after",
            "begin its forward with x = x.clone(), or set inplace=False in its first layer",
            parameter=f"network {name}",
        )
    if not isinstance(answers, Tensor) or (answers.isnan() | (answers == math.inf)).any():
        return
    answers = answers.clone()  # some networks keep the returned tensor and write into it
    if not alike(call(model, x), answers):
        raise ValueError(
            f"a network must give the same answers each time in eval mode, but {name} does not: let dropout and other "
            "draws depend on self.training, and leave no count or state behind in forward"
        )
    if half and not _in_halves(model, x, answers):
        raise ValueError(
            f"a network must answer each input by itself, but the answers of {name} depend on what else is in the "
            "batch: give batch norms running statistics, and keep inputs along the first axis"
        )
    copied = private_copy(model)
    cause: Exception | None = None
    try:
        if alike(call(copied, x), answers):
            return
    except Exception as error:  # a forward may raise anything if the copy lacks a part of the original
        cause = error
    raise ValueError(
        f"a network must answer alike as a copy of itself, but {name} does not: a hook or closure of it holds a module "
        "or a container of the original; let it use the module that it is given"
    ) from cause


def _in_halves(model: nn.Module, x: AnyInputs, answers: Tensor) -> bool:
    """True if the two halves of the inputs, run separately, give the same outputs."""
    half = len(x) // 2
    parts = [call(model, x[:half]), call(model, x[half:])]
    return parts[0].shape[1:] == parts[1].shape[1:] and alike(torch.cat(parts), answers)


@torch.inference_mode()
def idle_inputs(model: nn.Module, x: AnyInputs, name: str) -> list[str]:
    """Notes on input tensors without influence on the outputs, such as a misspelt one in a forward's `**kwargs`.

    Args:
        model: in eval mode, returning one tensor; other networks get no note.
        x: inputs; a few are enough.
        name: of the network, for messages.
    """
    if isinstance(x, Tensor):
        return []
    answers = call(model, x)
    if not isinstance(answers, Tensor):
        return []
    answers = answers.clone()
    idle = []
    for key, tensor in tensors(x).items():
        others = _others(tensor) if tensor.is_floating_point() else _other_integers(tensor)
        if not any(_differs(model, x.replaced(tensor, other), answers) for other in others):
            idle.append(key)
    if not idle:
        return []
    return [
        f"the answers of {name} do not change with the input {', '.join(idle)}: check the names of its forward's "
        "arguments, or leave out what is unused with data.inputs=[...]"
    ]


def _differs(model: nn.Module, x: AnyInputs, answers: Tensor) -> bool:
    """True if the inputs give other outputs, or an error."""
    try:
        return not torch.equal(call(model, x), answers)
    except Exception:  # a forward that refuses a value depends on it
        return True


def _other_integers(tensor: Tensor) -> Iterator[Tensor]:
    """Other values for token ids, types, positions or a mask: existing values, or 0 and 1."""
    yield tensor.flip(list(range(tensor.dim())))
    yield tensor * (torch.arange(tensor.shape[-1]) >= tensor.shape[-1] // 2)
    yield (tensor == 0).to(tensor.dtype)


def idle_weights(model: nn.Module, names: Sequence[str], x: AnyInputs, name: str) -> list[str]:
    """Notes on analog weights without influence on a network's outputs, found by changing each of them.

    Weights are changed as by a chip: in place, in a private copy in eval mode that has run before. A network may not
    react because it computes with a tensor that it derived from the weight earlier (a fused or normalised kernel made
    by `train(False)` or in the first forward). It would then give every chip the digital network's score.

    Args:
        model: in eval mode, best before its first forward; it is copied.
        names: of the analog weights.
        x: inputs; a few are enough, and the first of them shows the influence of most weights.
        name: of the network, for messages.

    Raises:
        ValidationError: names a weight that the forward sets itself, or that the network, for all or some outputs of
            its layer, replaces by a derived tensor; or the inputs have an influence, but no weight has.
    """
    network = _Network(private_copy(model), names)
    if not network.compare_on(x[:1]):
        return []
    # Several passes see most weights at once; the others take one each.
    effective, in_part = network.effective()
    used = effective & _with_gradient(model, names, x[:1])
    unseen = [each for each in network.arrays if each not in used and not network.sees(each, quick=True)]
    if unseen or in_part:
        network.compare_on(x)
        unseen = [each for each in unseen if not network.sees(each)]
    doubtful = [each for each in network.arrays if each in unseen or each in in_part]
    network.record(doubtful)
    for each in doubtful:
        why = network.bypassed(each)
        if each in unseen:
            why = network.overwritten(each) or why or _derived(model, names, each, x) or network.substitute(each)
        if why:
            raise ValidationError(
                f"must compute with the weight of {each!r} as a chip has it, but answers alike whatever "
                f"{'it is' if each in unseen else 'a part of it is'}: {why}",
                f"derive in forward what it computes with, or leave the layer digital with analog.exclude=[{each}]",
                parameter=f"network {name}",
            )
    if not unseen:
        return []
    if len(unseen) == len(network.arrays) and network.idle_elsewhere():
        raise ValidationError(
            "must compute with its analog weights, but answers alike whatever all of them are",
            "let its forward use its own layers, not a copy of them, or choose others with analog.include",
            parameter=f"network {name}",
        )
    listed = ", ".join(unseen[:6]) + (", ..." if len(unseen) > 6 else "")
    return [
        f"the answers of {name} do not change with the weight of {listed}, which a chip changes without effect: "
        f"analog.exclude=[{','.join(unseen[:6])}] leaves out what is unused"
    ]


class _Network:
    """A private network, and its outputs when one of its weights is changed."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        self._model = model
        self._calls: dict[nn.Module, Any] = {}  # arguments of the first call of each layer
        self.arrays = own_weights(find_arrays(model), names)

    @torch.inference_mode()
    def compare_on(self, x: AnyInputs) -> bool:
        """Use these inputs from now on.

        Returns:
            True if the outputs can be compared.
        """
        self._x = x
        try:
            first = call(self._model, x.clone())
        except ValidationError:
            raise
        except ValueError as error:  # the network's own error, not one of this package
            raise RuntimeError(str(error)) from error
        if not isinstance(first, Tensor):
            return False
        self._answers = first.clone()
        # The difference without any change, from a nondeterministic network or kernels that sum in another order.
        self._noise = max(_distance(call(self._model, x.clone()), self._answers) for _ in range(2))
        return True

    @torch.inference_mode()
    def effective(self) -> tuple[set[str], set[str]]:
        """Weights that change their own layer's output, and those of them that leave some of its channels unchanged.

        Found in one pass with all weights changed.
        """
        own = {name: array.weight.clone() for name, array in self.arrays.items()}
        layers: dict[nn.Module, list[str]] = {}
        for name, array in self.arrays.items():
            layers.setdefault(array.module, []).append(name)
            array.weight.copy_(_near(array.weight))
        found: set[str] = set()
        in_part: set[str] = set()

        def compare(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            for name in layers[module]:
                array = self.arrays[name]
                other = array.weight.clone()
                array.weight.copy_(own[name])
                moved = _moved(module.forward(*args, **kwargs), output, array)
                if moved.any():
                    found.add(name)
                    if not moved.all():
                        in_part.add(name)
                array.weight.copy_(other)

        hooks = [module.register_forward_hook(compare, with_kwargs=True) for module in layers]
        self._answer()
        for hook in hooks:
            hook.remove()
        for name, array in self.arrays.items():
            array.weight.copy_(own[name])
        return found, in_part

    @torch.inference_mode()
    def sees(self, name: str, quick: bool = False) -> bool:
        """True if the outputs change with a weight; `quick` tries fewer changes."""
        weight = self.arrays[name].weight
        return any(self._changed(weight, other) for other in _others(weight.clone(), quick))

    @torch.inference_mode()
    def idle_elsewhere(self) -> bool:
        """True if other inputs change the outputs, and no weight does with them either.

        The given inputs may be all zero, and the outputs of a dead network never change.
        """
        x, follows = self._x, False
        for other in _other_inputs(x):
            if _distance(call(self._model, other.clone()), self._answers) <= NOISE * self._noise:
                continue
            self.compare_on(other)
            seen = any(self.sees(name, quick=True) for name in self.arrays)
            self.compare_on(x)
            if seen:
                return False
            follows = True
        return follows

    @torch.inference_mode()
    def overwritten(self, name: str) -> str:
        """The reason, if the forward overwrites a weight."""
        array = self.arrays[name]
        own, other = array.weight.clone(), next(_others(array.weight))
        array.weight.copy_(other)
        self._answer()
        kept = torch.equal(array.weight, other)
        array.weight.copy_(own)
        return "" if kept else "its forward sets that weight itself"

    @torch.inference_mode()
    def record(self, names: Sequence[str]) -> None:
        """Keep the arguments of the first call of the layers of these weights."""
        self._calls = {}

        def keep(module: nn.Module, args: Any, kwargs: Any) -> None:
            if module not in self._calls:
                self._calls[module] = _cloned((args, kwargs))

        modules = {self.arrays[name].module for name in names}
        hooks = [module.register_forward_pre_hook(keep, with_kwargs=True) for module in modules]
        if hooks:
            self._answer()
        for hook in hooks:
            hook.remove()

    @torch.inference_mode()
    def bypassed(self, name: str) -> str:
        """The reason, if outputs of a weight's layer matter and depend on the layer's input, but not on the weight.

        A layer with several weights is treated as one: some of them (the recurrent ones of a single step) may not
        contribute.
        """
        array = self.arrays[name]
        if array.module not in self._calls:
            return ""
        stuck = self._stuck(array, self._calls[array.module])
        if stuck is None or not stuck.any() or not self._counts(array, stuck):
            return ""
        outputs = "its layer" if stuck.all() else f"its layer, in {int(stuck.sum())} of {len(stuck)} outputs,"
        return f"{outputs} computes with something made of that weight before"

    def _stuck(self, array: WeightArray, call: Any) -> Tensor | None:
        """Channels of a layer's output that depend on its input, but not on its weights.

        The layer's other tensors and its input are changed too, because a gate of zero, a mask or a dead unit may hide
        a weight.
        """
        module = array.module
        weights = [each.weight for each in self.arrays.values() if each.module is module]
        held = tree_leaves([list(vars(part).values()) for part in module.modules()])
        others = [each for each in held if isinstance(each, Tensor) and not any(each is weight for weight in weights)]
        inputs = [tree_map(lambda leaf: next(_others(leaf)) if _is_float(leaf) else leaf, call), call]

        def output(inner: Any) -> Any:
            args, kwargs = _cloned(inner)
            return _cloned(module(*args, **kwargs))

        try:
            outputs = [output(inner) for inner in inputs]
            stuck = _moved(outputs[0], outputs[1], array)
            if any(not _differ(outputs[1], leaf) for leaf in tree_leaves(call) if _is_float(leaf)):
                return None  # a layer that is switched off returns its input
            for setting in range(3):
                with _changed_to(others, setting):
                    for inner in inputs:
                        own = output(inner)
                        for change in range(1, 5):
                            if not stuck.any():
                                return stuck
                            with _changed_to(weights, change):
                                stuck &= ~_moved(own, output(inner), array)
        except Exception:  # a forward that checks its weights or inputs depends on them
            return None
        return stuck

    def _counts(self, array: WeightArray, channels: Tensor) -> bool:
        """True if the outputs change with these channels of a layer's output."""

        def replace(_: nn.Module, __: Any, output: Any, change: int) -> Any:
            def other(leaf: Any) -> Any:
                if not _is_float(leaf):
                    return leaf
                return torch.where(_shaped(channels, leaf, array), _other(leaf, change), leaf)

            return tree_map(other, output)

        for change in range(1, 5):
            hook = array.module.register_forward_hook(partial(replace, change=change))
            answer = self._answer()
            hook.remove()
            if answer is None or _distance(answer, self._answers) > NOISE * self._noise:
                return True
        return False

    @torch.inference_mode()
    def substitute(self, name: str) -> str:
        """The reason, if the outputs change with a kept tensor of the weight's shape, probably derived from it."""
        weight = self.arrays[name].weight
        for holder, tensor in self._tensors(self.arrays[name].module):
            of_its_form = tensor.dim() > 1 and (
                tensor.numel() == weight.numel() or sorted(tensor.shape[:2]) == sorted(weight.shape[:2])
            )
            if of_its_form and any(self._changed(tensor, other) for other in _others(tensor.clone())):
                return f"it computes with {holder!r}, made of that weight before"
        return ""

    def _tensors(self, module: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """Tensors other than analog weights: all of a module and its parents, and plain attributes of other modules."""
        weights = {id(array.weight) for array in find_arrays(self._model).values()}
        for name, other in self._model.named_modules():
            around = any(inner is module for inner in other.modules())
            for attribute, value in vars(other).items():
                if attribute == "_modules" or (attribute in ("_parameters", "_buffers") and not around):
                    continue
                parts = value.items() if attribute in ("_parameters", "_buffers") else [(attribute, value)]
                for part, held in parts:
                    for tensor in tree_leaves(held):
                        if isinstance(tensor, Tensor) and id(tensor) not in weights:
                            yield ".".join(p for p in (name, part) if p), tensor

    def _changed(self, tensor: Tensor, other: Tensor) -> bool:
        """True if the outputs change with another value of a tensor; the old value is restored."""
        own = tensor.clone()
        tensor.copy_(other)
        answer = self._answer()
        tensor.copy_(own)
        return answer is None or _distance(answer, self._answers) > NOISE * self._noise

    def _answer(self) -> Any:
        """Output of the network, None if its forward raises an error."""
        try:
            return call(self._model, self._x.clone())
        except Exception:  # a forward that checks its weights depends on them
            return None


def _with_gradient(model: nn.Module, names: Sequence[str], x: AnyInputs) -> set[str]:
    """Weights with a nonzero gradient of the outputs, from one pass; none if torch cannot differentiate."""
    network = private_copy(model)
    arrays = own_weights(find_arrays(network), names)
    weights = [array.weight.requires_grad_() for array in arrays.values()]
    try:
        with torch.no_grad():
            call(network, x.clone())  # lets a first forward make the tensors that it keeps, without a gradient
        with torch.enable_grad():
            answers = call(network, x.clone())
            total = (answers * _near(torch.ones_like(answers))).masked_fill(answers.isinf(), 0.0).sum()
            slopes = torch.autograd.grad(total, weights, allow_unused=True)
    except Exception:  # a forward may contain operations without gradient: then each weight is changed alone
        return set()
    pairs = zip(arrays, slopes, strict=True)
    return {name for name, slope in pairs if slope is not None and slope.isfinite().all() and slope.any()}


@torch.inference_mode()
def _derived(model: nn.Module, names: Sequence[str], name: str, x: AnyInputs) -> str:
    """The reason, if a weight has an influence only when set before the network enters eval mode and runs."""

    def answer(other: Tensor | None) -> Any:
        fresh = private_copy(model)
        if other is not None:
            own_weights(find_arrays(fresh), names)[name].weight.copy_(other)
        return call(fresh.train().eval(), x.clone())

    try:
        own = answer(None)
        weight = own_weights(find_arrays(private_copy(model)), names)[name].weight
        if any(_distance(answer(other), own) > NOISE * _distance(answer(None), own) for other in _others(weight, True)):
            return "it computes with what it made of that weight in eval() or in its first forward"
    except Exception:  # a forward that refuses such a weight does not show which tensor it uses
        return ""
    return ""


def _others(tensor: Tensor, quick: bool = False) -> Iterator[Tensor]:
    """Other values of a tensor: a few that no normalisation, sign or dead unit can hide all at once."""
    if not tensor.is_floating_point():
        yield tensor.flip(list(range(tensor.dim())))
        yield -tensor if tensor.dtype != torch.bool else ~tensor
        return
    rng = torch.Generator().manual_seed(0)
    size = float(tensor.float().square().mean().sqrt())
    size = size if 0 < size < math.inf else 1.0

    def draw() -> Tensor:
        return torch.randn(tensor.shape, generator=rng).to(tensor)

    yield 2 * size * draw()
    yield -1.5 * tensor + 0.01 * size
    if not quick:
        yield tensor + 0.3 * size * draw()
        yield 100 * size * draw()


def _other_inputs(x: AnyInputs) -> Iterator[AnyInputs]:
    """Other inputs: in another order, and with other values unless they are token ids."""
    yield mapped(x, lambda tensor: tensor.flip(0))
    if any(tensor.is_floating_point() for tensor in tensors(x).values()):
        pairs = {id(tensor): list(_others(tensor, True)) for tensor in tensors(x).values() if _is_float(tensor)}
        yield mapped(x, lambda tensor: pairs[id(tensor)][0] if id(tensor) in pairs else tensor)
        yield mapped(x, lambda tensor: pairs[id(tensor)][1] if id(tensor) in pairs else tensor)


def _near(tensor: Tensor) -> Tensor:
    """Another value of a tensor, of similar magnitude."""
    *_, near, _ = _others(tensor)
    return near


def _other(tensor: Tensor, change: int) -> Tensor:
    """The value of a tensor after one of its changes, counted from 1; integers have two."""
    others = list(_others(tensor))
    return others[(change - 1) % len(others)]


@contextmanager
def _changed_to(tensors: Sequence[Tensor], change: int) -> Iterator[None]:
    """Set tensors to another value within a block; `change` 0 leaves their own."""
    own = [tensor.clone() for tensor in tensors] if change else []
    try:
        if change:
            for tensor in tensors:
                tensor.copy_(_other(tensor, change))
        yield
    finally:
        for tensor, value in zip(tensors, own, strict=False):
            tensor.copy_(value)


def _is_float(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


def _cloned(values: Any) -> Any:
    return tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, values)


def _axis(output: Any, array: WeightArray) -> int | None:
    """Axis of a layer's output with one entry for each row of its array, None without one."""
    if not isinstance(output, Tensor) or isinstance(array.module, nn.RNNBase | nn.RNNCellBase | nn.MultiheadAttention):
        return None
    axis = output.dim() - array.weight.dim() + 1
    return axis if axis >= 0 and output.shape[axis] == len(array.to_array(array.weight)) else None


def _shaped(channels: Tensor, output: Tensor, array: WeightArray) -> Tensor:
    """Reshape channels from `_moved` so that they broadcast against the output."""
    axis = _axis(output, array)
    channels = channels.to(output.device)
    return channels if axis is None else channels.view(-1, *[1] * (output.dim() - axis - 1))


def _moved(a: Any, b: Any, array: WeightArray) -> Tensor:
    """Channels in which two outputs of a layer differ; a single entry if its outputs do not match rows of the array."""
    axis = _axis(a, array)
    if axis is None or a.shape != b.shape:
        return torch.tensor([_differ(a, b)])
    moved: Tensor = (a != b) & a.isfinite() & b.isfinite()
    return moved.movedim(axis, 0).flatten(1).any(1).cpu()


def _differ(a: Any, b: Any) -> bool:
    """True if two outputs of a layer differ in any number or in their structure."""
    ones, others = tree_leaves(a), tree_leaves(b)
    if [getattr(one, "shape", None) for one in ones] != [getattr(other, "shape", None) for other in others]:
        return True
    return any(
        isinstance(one, Tensor) and bool(((one != other) & one.isfinite() & other.isfinite()).any())
        for one, other in zip(ones, others, strict=True)
    )


def _distance(a: Any, b: Tensor) -> float:
    """Largest difference of two outputs, infinite if they cannot be compared."""
    if not isinstance(a, Tensor) or a.shape != b.shape:
        return math.inf
    largest = float((a - b).abs().masked_fill(a == b, 0.0).max()) if a.numel() else 0.0
    return math.inf if math.isnan(largest) else largest
