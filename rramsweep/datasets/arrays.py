"""A labelled set of images held whole in memory, checked once so that nothing after it has to check again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Data:
    """Images and labels that a network is scored on.

    Args:
        x: images, shape `(N, C, H, W)`, floating point and finite, already normalised as the network expects.
        y: labels, shape `(N,)`, `int64`, each in `0..n_classes-1`.
        name: what the images are, as plots and tables show it, e.g. `"Fashion-MNIST (test)"`.
        n_classes: number of classes of the task, whether or not each occurs in `y`.

    Raises:
        ValueError: if any of the above does not hold; the text says which, what was found, and what to do.

    This is *not* a `torch.utils.data.Dataset`: a Monte Carlo chip is scored on the same images in the same
    order every time, so there is nothing to shuffle, and nothing to load twice. Two `Data` are compared by
    `digest()`, never by `==`.
    """

    x: Tensor
    y: Tensor
    name: str
    n_classes: int

    def __post_init__(self) -> None:
        x, y = self.x, self.y
        if self.n_classes < 1:
            raise ValueError(f"n_classes must be at least 1, got {self.n_classes}: give the number of classes")
        if not x.is_floating_point():
            raise ValueError(f"x must be floating point, got {x.dtype}: scale and normalise it, e.g. x.float() / 255")
        if x.ndim != 4:
            raise ValueError(f"x must have the shape (N, C, H, W), got {tuple(x.shape)}: reshape or unsqueeze it")
        if y.dtype != torch.int64:
            raise ValueError(f"y must hold integer labels as torch.int64, got {y.dtype}: convert it with y.long()")
        if y.ndim != 1:
            raise ValueError(f"y must have the shape (N,), got {tuple(y.shape)}: give one label per image")
        if len(x) != len(y):
            raise ValueError(f"x and y must be equally long, got {len(x)} images and {len(y)} labels: pair them")
        if len(x) < 1:
            raise ValueError("x must hold at least one image, got 0: check the split and the limit")
        finite = torch.isfinite(x)
        if not finite.all():
            bad = int((~finite).sum())
            raise ValueError(f"x must be finite, got {bad} NaN or infinite values: check the normalisation")
        low, high = int(y.min()), int(y.max())
        if low < 0 or high >= self.n_classes:
            raise ValueError(
                f"labels must be in 0..{self.n_classes - 1}, got {low}..{high}: renumber y or change n_classes"
            )

    def __len__(self) -> int:
        """Number of images."""
        return len(self.y)

    def take(self, limit: int | None) -> Data:
        """The first `limit` images in stored order: all of them for `None`.

        The embedded sets are stored interleaved by class (0, 1, .., 9, 0, 1, ..), so that a prefix of them is
        balanced to one image per class. A set in another order is *not* reordered here: which images a limit
        keeps must not depend on anything but the stored order.

        Raises:
            ValueError: if `limit` is not in `1..N`. More than N is refused rather than cut, since a result
                on fewer images than were asked for has wider error than its label says.
        """
        if limit is None:
            return self
        if not 1 <= limit <= len(self):
            raise ValueError(f"limit must be in 1..{len(self)}, got {limit}: use null (None) for all images")
        return Data(self.x[:limit], self.y[:limit], self.name, self.n_classes)

    def digest(self) -> str:
        """Hex SHA-256 of dtype, shape and bytes of `x` and `y`: the same text on every machine.

        `name` and `n_classes` are left out: they change how a result is labelled, not what is computed.
        """
        h = hashlib.sha256()
        for tensor in (self.x, self.y):
            array = tensor.detach().cpu().contiguous()
            h.update(f"{array.dtype}{tuple(array.shape)}".encode())
            # Through a uint8 view, since numpy has no bfloat16.
            h.update(array.view(torch.uint8).numpy().tobytes())
        return h.hexdigest()
