"""Any torch `Dataset` of a user, read once into tensors."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from rramsweep.arguments import checked_arguments
from rramsweep.datasets.arrays import Data
from rramsweep.datasets.pixels import unscaled
from rramsweep.errors import no_exit
from rramsweep.npz import native

_END = object()


@checked_arguments
def from_dataset(
    dataset: Dataset[Any], limit: int | None = None, n_classes: int | None = None, name: str | None = None
) -> Data:
    """The samples `(x, y)` of a torch `Dataset`, each read once, in the dataset's own order.

    Tensors are passed on as the samples hold them, so they must be what the network takes: end the dataset's
    transform with `ToTensor()` and `Normalize(...)`. Arrays and numbers become tensors. A transform that draws at
    random is drawn once, so that every chip reads the same inputs. As in `Data`, integers in y are labels and
    floating-point numbers in y are to be predicted; integers in x are token ids.

    Args:
        dataset: map-style (`len(dataset)`, `dataset[i]`) or iterable and finite.
        limit: read the first so many samples; None reads all.
        n_classes: of labels; None takes the largest label plus one.
        name: what the samples are, for plots; None takes the dataset's class name.

    Raises:
        ValueError: not a torch Dataset, a sample that cannot be read or is no pair of tensors, samples of different
            shapes or types, a limit outside `1..N`, or what `Data` refuses.
    """
    if not isinstance(dataset, Dataset):
        raise ValueError(
            f"data.dataset must be a torch.utils.data.Dataset, got {type(dataset).__name__}: name a Dataset class, or "
            "a function that returns a Dataset"
        )
    title = name or type(dataset).__name__
    # At least one, so that a limit of 0 is refused below like any other that is out of range.
    samples = list(_read(dataset, title, None if limit is None else max(limit, 1)))
    if not samples:
        raise ValueError(f"a Dataset must hold at least one sample, got none from {title}: check its files and split")
    x = _stack([x for x, _ in samples], "x")
    y = _stack([y for _, y in samples], "y")
    if not y.is_floating_point() and y.dtype != torch.bool:
        y = y.long()
    if n_classes is None and not y.is_floating_point():
        n_classes = int(y.max()) + 1
    # Channels first, as ToTensor gives them: what is no picture may well hold whole numbers.
    picture = x.is_floating_point() and x.ndim == 4 and x.shape[1] in (1, 3)
    notes = unscaled(x, "divide by {full} in the Dataset, as torchvision.transforms.ToTensor() does") if picture else ()
    return Data(x, y, title, n_classes, notes).take(limit)


def _read(dataset: Dataset[Any], title: str, most: int | None) -> Iterator[tuple[Tensor, Tensor]]:
    done = 0
    try:
        if isinstance(dataset, IterableDataset):
            source: Iterator[Any] = islice(dataset, most)
        else:
            source = (dataset[i] for i in range(len(dataset))[:most])  # type: ignore[arg-type]
        while True:
            with no_exit(f"Dataset {title}"):
                sample = next(source, _END)
            if sample is _END:
                return
            yield _pair(sample, done)
            done += 1
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(
            f"a Dataset must give its samples, but {title} raised {error!r} after {done} of them: correct it"
        ) from error


def _pair(sample: Any, number: int) -> tuple[Tensor, Tensor]:
    if not isinstance(sample, tuple | list) or len(sample) != 2:
        size = f" of {len(sample)}" if isinstance(sample, tuple | list) else ""
        raise ValueError(
            f"a sample must be a pair (x, y), got a {type(sample).__name__}{size} as sample {number}: wrap the Dataset "
            "in one that returns x and y alone"
        )
    return _tensor(sample[0], "x", number), _tensor(sample[1], "y", number)


def _tensor(value: Any, role: str, number: int) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    numeric = isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "fiu"
    if numeric or (isinstance(value, int | float) and not isinstance(value, bool)):
        return torch.as_tensor(native(value) if isinstance(value, np.ndarray | np.generic) else value)
    raise ValueError(
        f"a sample must be a pair of tensors, but {role} of sample {number} is a {type(value).__name__}: convert it in "
        "the Dataset, a picture with torchvision.transforms.ToTensor()"
    )


def _stack(tensors: list[Tensor], role: str) -> Tensor:
    first = tensors[0]
    for number, tensor in enumerate(tensors):
        if tensor.shape != first.shape or tensor.dtype != first.dtype:
            raise ValueError(
                f"samples must have one shape and type, got {role} {tuple(first.shape)} {first.dtype} in sample 0 and "
                f"{tuple(tensor.shape)} {tensor.dtype} in sample {number}: resize, pad or convert them in the Dataset"
            )
    return torch.stack(tensors)
