"""The forward of a network as a sweep calls it: with constant arguments, and with one tensor as output."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from rramsweep.errors import Sentence, ValidationError
from rramsweep.suggest import nearest, suggest

# Similarity (`difflib`) from which a name counts as a misspelling of another.
ALMOST = 0.85

# Keys of a model's config for its forward; a factory's own argument of the same name takes precedence.
FORWARD_KEYS = ("output", "forward")


@dataclass(frozen=True)
class ConstantArguments:
    """Forward pre-hook that adds constant arguments to every call.

    Args:
        values: `{argument: value}`.
    """

    values: Mapping[str, Any]

    def __call__(
        self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """See `nn.Module.register_forward_pre_hook`.

        Raises:
            ValidationError: the data contain one of the arguments, too.
        """
        twice = [name for name in kwargs if name in self.values]
        if twice:
            raise ValidationError(
                "must not be an array of the data too",
                f"leave one of them out, e.g. with ~model.forward.{twice[0]}",
                parameter=f"forward.{twice[0]}",
                slot="model",
            )
        return args, {**kwargs, **self.values}


@dataclass(frozen=True)
class OutputSelection:
    """Forward hook that selects one tensor of a network's output.

    Args:
        key: as of `select`.
    """

    key: str | int

    def __call__(self, _: nn.Module, __: tuple[Any, ...], output: Any) -> Tensor:
        """See `nn.Module.register_forward_hook`."""
        return select(output, self.key)


def described(node: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a model's config that decides its numbers besides the weights, without keys that change nothing."""
    return {
        key: value
        for key, value in node.items()
        if key != "checkpoint" and not (key in FORWARD_KEYS and value in (None, {}))
    }


def adapt(model: nn.Module, output: object = None, forward: object = None) -> None:
    """Make a network return one tensor of its output and take constant arguments, in place.

    Args:
        model: gets hooks, which its copies keep.
        output: key, attribute or index of the tensor, as of `select`; None leaves the output as it is.
        forward: `{argument: value}` of the forward; None or empty adds none.

    Raises:
        ValidationError: `output` is not a name or index, or `forward` is not a map or names no argument of the forward.
    """
    if forward:
        register_constants(model, forward)
    if output is not None:
        register_selection(model, output)


def register_selection(model: nn.Module, key: object) -> RemovableHandle:
    """Make a network return one tensor of its output until the handle is removed.

    Raises:
        ValidationError: the key is not a name or index.
    """
    if isinstance(key, bool) or not isinstance(key, str | int) or key == "":
        raise ValidationError(
            "must be a key, an attribute or an index of what the network returns",
            "give model.output=logits, say, or null",
            parameter="output",
            slot="model",
            value=key,
        )
    return model.register_forward_hook(OutputSelection(key))


def register_constants(model: nn.Module, values: object) -> None:
    """Add constant arguments to every call of a network.

    Raises:
        ValidationError: they are not a map of names, or one is not an argument of the forward.
    """
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise ValidationError(
            "must hold named arguments of the network's forward",
            "give +model.forward.NAME=VALUE",
            parameter="forward",
            slot="model",
            value=values,
        )
    kinds = inspect.signature(model.forward).parameters
    named = [name for name, each in kinds.items() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    for name in values:
        # In a forward with **kwargs, a name that is almost an argument's is a misspelling.
        if name not in named and (len(named) == len(kinds) or nearest(name, named, ALMOST)):
            raise ValidationError(
                f"must be an argument of {type(model).__name__}.forward",
                suggest(name, named),
                parameter=f"forward.{name}",
                slot="model",
            )
    model.register_forward_pre_hook(ConstantArguments(dict(values)), with_kwargs=True)


def select(output: object, key: str | int) -> Tensor:
    """The tensor of an output under a key, an attribute or an index.

    Args:
        output: a dict, tuple, list, named tuple or any object with attributes, nested or not.
        key: `logits`, `1`, or several of these with dots between: `hidden_states.-1`.

    Raises:
        ValidationError: there is none, or it is not a tensor; lists the existing ones.
    """
    found, parts = output, [key]
    if isinstance(key, str) and not (isinstance(output, Mapping) and key in output):
        parts = list(key.split("."))
    for part in parts:
        inner = _part(found, part)
        if inner is None:
            break
        found = inner
    else:
        if isinstance(found, Tensor):
            return found
    names = _names(output)
    what = f"{type(output).__name__}{' with ' + ', '.join(names) if names else ''}"
    raise ValidationError(
        "must be a tensor of what the network returns",
        f"it returns {what}: {f'choose one with model.output={names[0]}' if names else 'leave model.output null'}",
        parameter="output",
        slot="model",
        value=key,
    )


def one_tensor(output: object) -> Tensor:
    """Return the output of a network if it is one tensor.

    Raises:
        ValidationError: it is not; lists the tensors that can be selected.
    """
    if isinstance(output, Tensor):
        return output
    names = _names(output)
    kind = type(output).__name__
    if not names:
        raise ValidationError(
            Sentence(f"a network must return one tensor, this one returns {kind}"),
            "wrap it in a module that returns what is scored",
        )
    raise ValidationError(
        Sentence(f"a network must return one tensor, this one returns {kind} with {', '.join(names)}"),
        f"choose one with model.output={'logits' if 'logits' in names else names[0]}",
    )


def _part(output: object, key: str | int) -> Any:
    """One step of `select`, None if nothing is found."""
    keys = [key, int(key)] if isinstance(key, str) and key.removeprefix("-").isdigit() else [key]
    if isinstance(output, Mapping | tuple | list):
        indexed: Any = output
        for each in keys:
            try:
                return indexed[each]
            except (KeyError, IndexError, TypeError):
                continue
    return getattr(output, key, None) if isinstance(key, str) else None


def _names(output: object) -> list[str]:
    """Names under which `select` finds tensors in an output."""
    if isinstance(output, Mapping):
        items = [(str(name), value) for name, value in output.items()]
    elif isinstance(output, tuple | list):
        names = getattr(output, "_fields", range(len(output)))
        items = [(str(name), value) for name, value in zip(names, output, strict=True)]
    elif hasattr(output, "__dict__"):
        items = [(name, value) for name, value in vars(output).items() if not name.startswith("_")]
    else:
        return []
    found = []
    for name, value in items:
        if isinstance(value, Tensor):
            found.append(name)
        elif isinstance(value, Mapping | tuple | list):
            found += [f"{name}.{inner}" for inner in _names(value)]
    return found
