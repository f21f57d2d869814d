"""Inputs and targets held completely in memory, checked once so that later code need not check again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rramsweep.arguments import check_fields
from rramsweep.datasets.inputs import AnyInputs, Inputs, gathered, tensors
from rramsweep.errors import ValidationError

# The label of inputs that are not scored, as in torch's losses.
IGNORED = -100


@dataclass(frozen=True, eq=False)
class Data:
    """Inputs and targets that a network is scored on: labelled images, token sequences, measured numbers.

    Args:
        x: inputs, shape `(N, ...)`: floating point and finite, already normalised as the network expects, e.g. images
            `(N, C, H, W)`; or `int64` token ids, e.g. `(N, T)`. Of a network with several inputs `Inputs`, or a dict
            by the forward's argument names, or a tuple by position; masks may be `bool`.
        y: labels, `int64`, each in `0..n_classes-1`, shape `(N,)`, or `(N, ...)` for several an input, e.g. `(N, T)`
            tokens, where -100 is a label that is not scored; or numbers to be predicted, floating point and finite,
            shape `(N, ...)`.
        name: name of the inputs in plots and tables, e.g. `"Fashion-MNIST (test)"`.
        n_classes: number of classes of the task, whether or not each occurs in `y`; None where y holds numbers.
        notes: facts about the reading of the data that a user should know, one sentence each; shown before a sweep.

    Raises:
        ValueError: if any of the above does not hold; states the constraint, the value and the remedy.

    The metric decides which of these kinds y may be, and refuses the others before any chip.

    This is *not* a `torch.utils.data.Dataset`: a Monte Carlo chip is scored on the same inputs in the same
    order every time, so there is nothing to shuffle, and nothing to load twice. Sequences are padded to one length. Two
    `Data` are compared by `digest()`, never by `==`.
    """

    x: AnyInputs
    y: Tensor
    name: str
    n_classes: int | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.x, Mapping | tuple | list):
            object.__setattr__(self, "x", gathered(self.x))
        check_fields(self)
        for what, tensor in (("x", self.x), ("y", self.y)):
            if len(tensor.shape) < 1:
                raise ValueError(f"{what} must have the shape (N, ...), got {tuple(tensor.shape)}: unsqueeze it")
        if len(self.x) != len(self.y):
            raise ValueError(
                f"x and y must be equally long, got {len(self.x)} inputs and {len(self.y)} targets: pair them"
            )
        for what, tensor in {**tensors(self.x), "y": self.y}.items():
            if tensor.numel() < 1:
                raise ValueError(
                    f"{what} must hold at least one value, got shape {tuple(tensor.shape)}: check the split and limit"
                )
        self._check_x()
        self._check_y()

    def _check_x(self) -> None:
        several = isinstance(self.x, Inputs)
        for name, x in tensors(self.x).items():
            if not x.is_floating_point() and x.dtype != torch.int64 and not (several and x.dtype == torch.bool):
                raise ValueError(
                    f"{name} must be floating point or int64 token ids{', or a bool mask' if several else ''}, got "
                    f"{x.dtype}: scale and normalise it, e.g. {name}.float() / 255"
                )
            if x.is_floating_point():
                _check_finite(name, x, "check the normalisation")
            elif not several and int(x.min()) < 0:  # one of several tensors may hold other integers, e.g. distances
                raise ValueError(f"token ids must be at least 0, got {int(x.min())} in x: number them from 0")

    def _check_y(self) -> None:
        y, n_classes = self.y, self.n_classes
        if y.is_floating_point():
            if n_classes is not None:
                raise ValueError(
                    f"n_classes belongs to integer labels, got {n_classes} beside y of {y.dtype}: convert labels with "
                    "y.long(), or leave n_classes out"
                )
            _check_finite("y", y, "leave such rows out")
            return
        if y.dtype != torch.int64:
            raise ValueError(
                f"y must hold labels as torch.int64 or numbers as floating point, got {y.dtype}: convert it with "
                "y.long()"
            )
        if n_classes is None or n_classes < 1:
            raise ValueError(f"n_classes must be at least 1, got {n_classes}: give the number of classes")
        scored = y[y != IGNORED] if int(y.min()) == IGNORED else y
        if not len(scored):
            raise ValidationError(
                "must hold at least one label that is scored", "check ignore_index", parameter="y", shown=f"{IGNORED}s"
            )
        low, high = int(scored.min()), int(scored.max())
        if low < 0 or high >= n_classes:
            unscored = f", or set ignore_index={low} where that label is not scored" if low < 0 else ""
            raise ValueError(
                f"labels must be in 0..{n_classes - 1}, got {low}..{high}: renumber y or change n_classes{unscored}"
            )

    def __len__(self) -> int:
        """Number of inputs."""
        return len(self.y)

    @staticmethod
    def count_classes(y: Tensor) -> int | None:
        """The largest label plus one, None where y holds numbers."""
        return None if y.is_floating_point() else max(int(y.max()) + 1, 1)

    def take(self, limit: int | None) -> Data:
        """The first `limit` inputs in stored order: all of them for `None`.

        The embedded sets are stored interleaved by class (0, 1, .., 9, 0, 1, ..), so that a prefix of them is
        balanced to one image per class. A set in another order is *not* reordered here: the images that a limit
        keeps must depend on the stored order only.

        Raises:
            ValueError: if `limit` is not in `1..N`. More than N is refused rather than cut, since a result
                on fewer images has a wider interval than its label says.
        """
        if limit is None:
            return self
        if not 1 <= limit <= len(self):
            raise ValueError(f"limit must be in 1..{len(self)}, got {limit}: use null (None) for all")
        return Data(self.x[:limit], self.y[:limit], self.name, self.n_classes, self.notes)

    def spread(self, most: int) -> Data:
        """At most `most` inputs, evenly spaced over the stored order, where a sample of them is enough."""
        if len(self) <= most:
            return self
        chosen = torch.linspace(0, len(self) - 1, most, dtype=torch.float64).round().long()
        return Data(self.x[chosen], self.y[chosen], self.name, self.n_classes, self.notes)

    def digest(self) -> str:
        """Hex SHA-256 of dtype, shape and bytes of `x` and `y`: the same text on every machine.

        Several input tensors are hashed with their names, those by position first, the others in the order of their
        names. `name`, `n_classes` and `notes` are left out: they change the labels of a result, not its numbers.
        """
        return _digest([*_ordered(self.x), ("", self.y)])

    def inputs_digest(self) -> str:
        """`digest` of `x` alone."""
        return _digest(_ordered(self.x))

    def without(self, others: AnyInputs) -> Data | None:
        """The inputs that equal none of `others`, in their order; None if no input is left.

        Two inputs are equal where every tensor has the same name, type, shape and bytes in both.
        """
        known = set(_each_digest(others))
        rows = [row for row, each in enumerate(_each_digest(self.x)) if each not in known]
        if len(rows) == len(self):
            return self
        return Data(self.x[torch.tensor(rows)], self.y[rows], self.name, self.n_classes, self.notes) if rows else None


def ignoring(y: Tensor, ignore_index: int) -> Tensor:
    """Replace a data set's own `ignore_index` in the targets by `IGNORED`, which `Data` and metrics use."""
    if y.is_floating_point() or ignore_index == IGNORED:
        return y
    return y.masked_fill(y == ignore_index, IGNORED)


def _ordered(x: AnyInputs) -> list[tuple[str, Tensor]]:
    """Tensors with their names (empty for a single tensor): those by position first, then the others by name."""
    return [("", x)] if isinstance(x, Tensor) else sorted(tensors(x).items(), key=_by_position)


def _digest(named: Iterable[tuple[str, Tensor]]) -> str:
    h = hashlib.sha256()
    for name, tensor in named:
        array = tensor.detach().cpu().contiguous()
        h.update(f"{name}{array.dtype}{tuple(array.shape)}".encode())
        # Through a uint8 view, since numpy has no bfloat16.
        h.update(array.view(torch.uint8).numpy().tobytes())
    return h.hexdigest()


def _each_digest(x: AnyInputs) -> list[bytes]:
    """Digest of each input over all its tensors."""
    hashes = [hashlib.sha256() for _ in range(len(x))]
    for name, tensor in _ordered(x):
        array = tensor.detach().cpu().contiguous()
        kind = f"{name}{array.dtype}{tuple(array.shape[1:])}".encode()
        for h, row in zip(hashes, array.reshape(len(array), -1).view(torch.uint8).numpy(), strict=True):
            h.update(kind)
            h.update(row)
    return [h.digest() for h in hashes]


def _by_position(item: tuple[str, Tensor]) -> tuple[bool, int, str]:
    """Sort key of `inputs.tensors`: `x[2]` before `x[10]` before `attention_mask`."""
    name = item[0]
    positional = name.startswith("x[")
    return not positional, len(name) if positional else 0, name


def _check_finite(name: str, tensor: Tensor, remedy: str) -> None:
    finite = torch.isfinite(tensor)
    if not finite.all():
        raise ValueError(f"{name} must be finite, got {int((~finite).sum())} NaN or infinite values: {remedy}")
