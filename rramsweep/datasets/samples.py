"""Any torch `Dataset` or `DataLoader` of a user, read once into tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import DataLoader, Dataset, IterableDataset

from rramsweep.arguments import checked_arguments
from rramsweep.datasets.arrays import IGNORED, Data, ignoring
from rramsweep.datasets.inputs import AnyInputs, Inputs, roles
from rramsweep.datasets.pixels import unscaled
from rramsweep.errors import ValidationError, no_exit
from rramsweep.npz import native

_END = object()

# Key of labels that come next to a dict, not in it.
_BESIDE = ""

# One sample: `(argument of the forward or its position, tensor)` of each input, and the targets.
Sample = tuple[dict[str | int, Tensor], Tensor]


@checked_arguments
def from_dataset(
    dataset: Dataset[Any] | DataLoader[Any],
    limit: int | None = None,
    n_classes: int | None = None,
    name: str | None = None,
    inputs: list[str] | None = None,
    labels: str | None = None,
    padding: Mapping[str, float] | None = None,
    ignore_index: int = IGNORED,
) -> Data:
    """The samples of a torch `Dataset`, each read once, in the dataset's own order.

    A sample is `(x, y)`; for a network with several inputs it is `(a, b, y)` or `((a, b), y)`, by position, or
    `({name: a}, y)` or one dict that includes the labels, by the names of the forward's arguments. A `DataLoader` gives
    batches of them.

    Tensors are passed on unchanged, so they must be in the form that the network takes: end the dataset's transform
    with `ToTensor()` and `Normalize(...)`. Arrays and numbers become tensors. A random transform is applied once, so
    that every chip reads the same inputs. As in `Data`, integers in y are labels and floating-point numbers in y are to
    be predicted; integers in x are token ids.

    Args:
        dataset: map-style (`len(dataset)`, `dataset[i]`) or iterable and finite; or a `DataLoader`.
        limit: number of samples to read, from the first on; None reads all.
        n_classes: of labels; None takes the largest label plus one.
        name: name of the samples in plots; None takes the dataset's class name.
        inputs: keys of a dict that go to the forward; None takes all but the labels.
        labels: key of the targets in a dict; None takes `y`, `labels` or `label`.
        padding: for sequences of different lengths, which are padded at their end to the longest: the value by input,
            0 for those not named, such as masks; labels get -100, which is not scored. None refuses them.
        ignore_index: value of labels that are not scored.

    Raises:
        ValueError: not a torch Dataset, a sample that cannot be read or has no tensors and labels, samples of different
            shapes or types, a limit outside `1..N`, or what `Data` refuses.
    """
    if not isinstance(dataset, Dataset | DataLoader):
        raise ValueError(
            f"data.dataset must be a torch.utils.data.Dataset, got {type(dataset).__name__}: name a Dataset class, or "
            "a function that returns a Dataset"
        )
    source = dataset.dataset if isinstance(dataset, DataLoader) else dataset
    title = name or type(source).__name__
    # At least one, so that a limit of 0 is refused below like any other limit that is out of range.
    most = None if limit is None else max(limit, 1)
    samples = list(_read(dataset, title, most, partial(_sample, inputs=inputs, labels=labels)))
    if not samples:
        raise ValueError(f"a Dataset must hold at least one sample, got none from {title}: check its files and split")
    keys = list(samples[0][0])
    for number, (found, _) in enumerate(samples):
        if list(found) != keys:
            raise ValidationError(
                "must have the same inputs in each",
                "complete them in the Dataset",
                parameter="samples",
                shown=f"{', '.join(map(str, keys))} in sample 0 and {', '.join(map(str, found))} in sample {number}",
            )
    unknown = [each for each in padding or {} if each not in keys and not (each == "x" and keys == [0])]
    if unknown:
        raise ValidationError(
            f"must name inputs, {', '.join(map(str, keys))}", "correct it", parameter="padding", value=unknown[0]
        )
    columns: dict[str | int, Tensor] = {}
    for key in keys:
        role = "x" if keys == [0] else f"x[{key}]" if isinstance(key, int) else key
        fill = None if padding is None else padding.get(role, 0)
        columns[key] = _stack([x[key] for x, _ in samples], role, fill)
    targets = [y for _, y in samples]
    padded = padding is not None and not targets[0].is_floating_point()  # numbers to predict have no value to ignore
    y = ignoring(_stack(targets, "y", IGNORED if padded else None), ignore_index)
    if not y.is_floating_point() and y.dtype != torch.bool:
        y = y.long()
    x = _inputs(columns)
    n_classes = n_classes if n_classes is not None else Data.count_classes(y)
    # Channels first, as ToTensor gives them: inputs other than pictures may well hold integers.
    picture = isinstance(x, Tensor) and x.is_floating_point() and x.ndim == 4 and x.shape[1] in (1, 3)
    how = "divide by {full} in the Dataset, as torchvision.transforms.ToTensor() does"
    notes = unscaled(x, how) if isinstance(x, Tensor) and picture else ()
    return Data(x, y, title, n_classes, notes).take(limit)


def _inputs(columns: Mapping[str | int, Tensor]) -> AnyInputs:
    if list(columns) == [0]:
        return columns[0]
    whole = {key: x.long() if x.dtype in (torch.int8, torch.int16, torch.int32) else x for key, x in columns.items()}
    args = tuple(x for key, x in whole.items() if isinstance(key, int))
    return Inputs(args, {key: x for key, x in whole.items() if isinstance(key, str)})


def _read(
    dataset: Dataset[Any] | DataLoader[Any], title: str, most: int | None, read: Callable[[Any, int], Sample]
) -> Iterator[Sample]:
    done = 0
    try:
        if isinstance(dataset, DataLoader):
            source: Iterator[Any] = islice(_unbatched(dataset), most)
        elif isinstance(dataset, IterableDataset):
            source = islice(dataset, most)
        else:
            source = (dataset[i] for i in range(len(dataset))[:most])  # type: ignore[arg-type]
        while True:
            with no_exit(f"Dataset {title}"):
                sample = next(source, _END)
            if sample is _END:
                return
            yield read(sample, done)
            done += 1
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(
            f"a Dataset must give its samples, but {title} raised {error!r} after {done} of them: correct it"
        ) from error


def _unbatched(batches: Iterable[Any]) -> Iterator[Any]:
    """Split batches, in which every leaf is a tensor with an axis of samples, into samples."""
    for batch in batches:
        if isinstance(batch, Tensor):
            yield from batch
        elif isinstance(batch, Mapping):
            columns = [list(_unbatched([value])) for value in batch.values()]
            yield from (dict(zip(batch, row, strict=True)) for row in zip(*columns, strict=True))
        elif isinstance(batch, tuple | list):
            yield from zip(*(list(_unbatched([part])) for part in batch), strict=True)
        else:
            raise ValidationError(
                "must hold tensors alone",
                "leave the rest out in its collate_fn",
                parameter="a batch",
                shown=repr(batch),
            )


def _sample(sample: Any, number: int, inputs: Sequence[str] | None, labels: str | None) -> Sample:
    """Convert a sample of any form that `from_dataset` accepts."""
    if isinstance(sample, Mapping) and all(isinstance(key, str) for key in sample):
        names, target = roles(list(sample), inputs, labels)
        return {name: _tensor(sample[name], name, number) for name in names}, _tensor(sample[target], target, number)
    if not isinstance(sample, tuple | list) or len(sample) < 2 or _is_index(sample):
        size = f" of {len(sample)}" if isinstance(sample, tuple | list) else ""
        raise ValueError(
            f"a sample must be a pair (x, y), got a {type(sample).__name__}{size} as sample {number}: wrap the Dataset "
            "in one that returns x and y alone; of several inputs (a, b, y), or a dict with labels"
        )
    *given, y = sample
    first = given[0]
    if len(given) == 1 and isinstance(first, Mapping):
        names, _ = roles([*first, _BESIDE], inputs, _BESIDE)
        return {name: _tensor(first[name], str(name), number) for name in names}, _tensor(y, "y", number)
    if inputs is not None:
        raise ValidationError(
            "names keys of a dict", "leave it out, or return dicts", slot="data", parameter="inputs", value=inputs
        )
    if len(given) == 1 and isinstance(first, tuple | list) and all(isinstance(part, Tensor) for part in first):
        given = list(first)
    lone = len(given) == 1
    return {i: _tensor(x, "x" if lone else f"x[{i}]", number) for i, x in enumerate(given)}, _tensor(y, "y", number)


def _is_index(sample: Sequence[Any]) -> bool:
    """True for a triple that is more likely `(x, y, index)` or `(x, y, path)` than two inputs and a label."""

    def is_single(part: Any) -> bool:
        if isinstance(part, Tensor | np.ndarray):
            return part.ndim == 0 and not torch.as_tensor(part).is_floating_point()
        return not isinstance(part, list | tuple | Mapping | float | np.floating)

    return len(sample) > 2 and all(map(is_single, sample[1:]))


def _tensor(value: Any, role: str, number: int) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, list) and value and all(isinstance(each, int | float) for each in value):
        value = np.asarray(value)
    kinds = "fiu" if role in ("x", "y") else "fiub"  # one of several inputs may be a mask
    numeric = isinstance(value, np.ndarray | np.generic) and value.dtype.kind in kinds
    if numeric or (isinstance(value, int | float) and not isinstance(value, bool)):
        return torch.as_tensor(native(value) if isinstance(value, np.ndarray | np.generic) else value)
    raise ValueError(
        f"a sample must be a pair of tensors, but {role} of sample {number} is a {type(value).__name__}: convert it in "
        "the Dataset, a picture with torchvision.transforms.ToTensor()"
    )


def _stack(tensors: list[Tensor], role: str, fill: float | None) -> Tensor:
    """Stack tensors of one shape and type; with a `fill`, shorter ones are padded with it along their first axis."""
    first = tensors[0]
    longest = max((len(tensor) for tensor in tensors if tensor.dim()), default=0)
    for number, tensor in enumerate(tensors):
        ragged = fill is not None and tensor.dim() == first.dim() > 0 and tensor.shape[1:] == first.shape[1:]
        if (tensor.shape != first.shape and not ragged) or tensor.dtype != first.dtype:
            padding = f", or pad sequences with data=dataset and data.padding={{{role}: 0}}"
            raise ValueError(
                f"samples must have one shape and type, got {role} {tuple(first.shape)} {first.dtype} in sample 0 and "
                f"{tuple(tensor.shape)} {tensor.dtype} in sample {number}: resize, pad or convert them in the Dataset"
                f"{padding if fill is None and tensor.dim() == 1 and role != 'y' else ''}"
            )
    if fill is None:
        return torch.stack(tensors)
    if not first.is_floating_point() and fill != int(fill):
        raise ValidationError("must be a whole number", "correct it", parameter=f"padding.{role}", value=fill)
    ends = [[0, 0] * (tensor.dim() - 1) + [0, longest - len(tensor)] if tensor.dim() else [] for tensor in tensors]
    whole = [pad(x, end, value=fill) if any(end) else x for x, end in zip(tensors, ends, strict=True)]
    return torch.stack(whole)
