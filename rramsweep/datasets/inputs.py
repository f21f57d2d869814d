"""The inputs of networks that take several tensors: by position, by name, or both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rramsweep.errors import Sentence, ValidationError

# Usual names of the labels among named arrays; the first that exists is used.
LABELS = ("y", "labels", "label")


@dataclass(frozen=True, eq=False)
class Inputs:
    """Several tensors of one length, as a forward takes them; the first axis of each counts the inputs.

    A network of one tensor takes that tensor itself. `AnyInputs` is either: both have a length, slices, `split`,
    `clone` and `contiguous`, and the functions of this module treat them alike.

    Args:
        args: by position.
        kwargs: by the name of the forward's argument.

    Raises:
        ValidationError: no tensor, one without an axis of inputs, or tensors of different lengths.
    """

    args: tuple[Tensor, ...] = ()
    kwargs: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        found = tensors(self)
        for name, tensor in found.items():
            if not isinstance(tensor, Tensor) or tensor.dim() < 1:
                shown = f"shape {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
                raise ValidationError("must be a tensor of shape (N, ...)", "unsqueeze it", parameter=name, shown=shown)
        if len({len(tensor) for tensor in found.values()}) != 1:
            lengths = ", ".join(f"{name} {len(tensor)}" for name, tensor in found.items()) or "none"
            raise ValidationError(
                Sentence(f"input tensors must be equally long, got {lengths}"), "give one row an input in each"
            )

    def __len__(self) -> int:
        """Number of inputs."""
        return len(next(iter(tensors(self).values())))

    def __getitem__(self, rows: slice | Tensor) -> Inputs:
        """Some of the inputs."""
        return self.mapped(lambda tensor: tensor[rows])

    @property
    def shape(self) -> torch.Size:
        """`(N,)`, the common part of the tensors' shapes."""
        return torch.Size((len(self),))

    def split(self, size: int) -> tuple[Inputs, ...]:
        """Batches of `size` inputs; the last one may be smaller."""
        return tuple(self[start : start + size] for start in range(0, len(self), size))

    def clone(self) -> Inputs:
        """A copy of every tensor."""
        return self.mapped(torch.clone)

    def contiguous(self, *, memory_format: torch.memory_format = torch.contiguous_format) -> Inputs:
        """Every tensor in a memory format; tensors in another format are copied."""
        return self.mapped(lambda tensor: tensor.contiguous(memory_format=memory_format))

    def replaced(self, one: Tensor, other: Tensor) -> Inputs:
        """The inputs with one tensor replaced by another."""
        return self.mapped(lambda tensor: other if tensor is one else tensor)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """The inputs with a function applied to each tensor."""
        return Inputs(tuple(map(change, self.args)), {name: change(tensor) for name, tensor in self.kwargs.items()})


AnyInputs = Tensor | Inputs


def gathered(found: object) -> AnyInputs:
    """Convert inputs of any accepted form: a tensor, tensors in a tuple or list, a dict of tensors, `Inputs`.

    Raises:
        ValidationError: none of these.
    """
    if isinstance(found, Tensor | Inputs):
        return found
    if isinstance(found, Mapping) and all(isinstance(name, str) for name in found):
        return Inputs(kwargs=dict(found))
    if isinstance(found, tuple | list):
        return found[0] if len(found) == 1 and isinstance(found[0], Tensor) else Inputs(tuple(found))
    raise ValidationError(
        "must be a tensor, a tuple of tensors or a dict of tensors",
        "give one",
        parameter="x",
        shown=type(found).__name__,
    )


def roles(names: Sequence[str], inputs: Sequence[str] | None, labels: str | None) -> tuple[list[str], str]:
    """Separate the inputs among several named arrays from the labels.

    Args:
        names: of all arrays.
        inputs: names of the inputs as given; None takes all but the labels.
        labels: name of the labels as given; None takes the first of `LABELS` that exists.

    Returns:
        Names of the inputs, and the name of the labels.

    Raises:
        ValidationError: a name does not exist, the labels are an input too, or no input is left.
    """
    target = labels if labels is not None else next((name for name in LABELS if name in names), LABELS[0])
    chosen = [name for name in names if name != target] if inputs is None else list(inputs)
    if labels is None and target not in names:
        raise ValidationError(
            Sentence(f"named arrays must hold labels, as y, labels or label, got {', '.join(names) or 'none'}"),
            "name their array with data.labels",
        )
    for parameter, name in [("labels", target), *(("inputs", name) for name in chosen)]:
        if name not in names:
            raise ValidationError(
                f"must be of the arrays {', '.join(names) or '(none)'}",
                f"name them with data.{parameter}",
                parameter=parameter,
                value=name,
            )
    if target in chosen or not chosen or len(set(chosen)) < len(chosen):
        raise ValidationError(
            f"must name at least one array beside the labels {target!r}, each once",
            "name the arguments of the network's forward",
            parameter="inputs",
            value=chosen,
        )
    return chosen, target


def tensors(x: AnyInputs) -> dict[str, Tensor]:
    """The tensors of inputs by name: `x` for a single one, `x[0]`, `x[1]` by position, else the argument's name."""
    if isinstance(x, Tensor):
        return {"x": x}
    return {**{f"x[{i}]": tensor for i, tensor in enumerate(x.args)}, **x.kwargs}


def mapped(x: AnyInputs, change: Callable[[Tensor], Tensor]) -> AnyInputs:
    """The inputs with a function applied to each tensor."""
    return change(x) if isinstance(x, Tensor) else x.mapped(change)


def call(network: Callable[..., Any], x: AnyInputs) -> Any:
    """The output of a network, or of any function with a network's arguments."""
    return network(x) if isinstance(x, Tensor) else network(*x.args, **x.kwargs)


def same(one: AnyInputs, other: AnyInputs) -> bool:
    """True if every tensor of two inputs of one kind has the same numbers."""
    return all(torch.equal(a, b) for a, b in zip(tensors(one).values(), tensors(other).values(), strict=True))


def sizes(x: AnyInputs) -> list[int] | dict[str, list[int]]:
    """Shapes as plain data: that of a single tensor, else a dict by name."""
    if isinstance(x, Tensor):
        return list(x.shape)
    return {name: list(tensor.shape) for name, tensor in tensors(x).items()}


def each_input(x: AnyInputs) -> str:
    """The shape of one input in words, by name where there are several tensors."""
    if isinstance(x, Tensor):
        return f"shape {tuple(x.shape[1:])}"
    return "shapes " + ", ".join(f"{name} {tuple(tensor.shape[1:])}" for name, tensor in tensors(x).items())
