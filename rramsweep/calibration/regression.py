"""Ridge reduced-rank regression of a layer's output error on its own inputs, in closed form from second moments."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rramsweep.calibration.protocol import Calibration
from rramsweep.calibration.samples import LayerSamples
from rramsweep.errors import ValidationError
from rramsweep.network.corrections import CorrectableLayer

# Images at which `ridge` is lambda itself.
RIDGE_IMAGES = 10


@dataclass(frozen=True, kw_only=True)
class RankedCalibration(Calibration):
    """A method with a low-rank part.

    Args:
        rank: of the low-rank part of each layer.
        ridge: the penalty is `lambda = ridge x 10 / images` of the mean square of a layer's inputs; 0 is none.

    Raises:
        ValidationError: a rank below 1, or a ridge below 0.
    """

    rank: int = 4
    ridge: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank < 1:
            raise ValidationError("must be at least 1", "give a larger integer", value=self.rank, parameter="rank")
        if not self.ridge >= 0:
            raise ValidationError("must be at least 0", "give a larger number", value=self.ridge, parameter="ridge")

    def check_layer(self, layer: CorrectableLayer) -> None:
        """Check that a layer is a product of its input, of a matrix of that rank.

        Raises:
            ValidationError: it is not.
        """
        if not layer.is_plain:
            raise ValidationError(
                f"needs layers whose forward is the product alone, but {layer.name!r} is a "
                f"{type(layer.module).__name__}, which may do more",
                "leave it out of calibration.layers, or set calibration=moments",
                slot="calibration",
            )
        outputs, inputs = layer.matrix_shape()
        if self.rank > min(outputs, inputs):
            raise ValidationError(
                f"must be at most {min(outputs, inputs)}, the rank of {layer.name!r} ({outputs} x {inputs})",
                f"set calibration.rank={min(outputs, inputs)}, or leave the layer out of calibration.layers",
                value=self.rank,
                parameter="rank",
                slot="calibration",
            )


@dataclass(eq=False)
class SecondMoments:
    """Centred second moments of a layer's samples: of inputs X, products Y and targets T, a group at a time.

    Products are in single precision, because they take most of a fit's time; systems are solved in double precision.
    With fewer rows than inputs, X is expressed in a basis of its rows (`Q` of `X' = Q R`), which contains the solution.

    Args:
        samples: of the layer.
        ridge: lambda, of the mean diagonal of `X' X`.
    """

    samples: LayerSamples
    ridge: float

    def __post_init__(self) -> None:
        x = self.samples.x
        self.x_mean = x.mean(1)
        x = x - self.x_mean[:, None]
        mean_square = x.square().double().sum(1).mean(-1)
        self.basis: Tensor | None = None
        if x.shape[1] < x.shape[2]:
            self.basis, factor = torch.linalg.qr(x.mT)
            x, self.x_mean = factor.mT, (self.x_mean[:, None] @ self.basis).squeeze(1)
        y, target = (self._by_group(rows) for rows in (self.samples.y, self.samples.target))
        self.y_mean, self.target_mean = y.mean(1), target.mean(1)
        y, target = y - self.y_mean[:, None], target - self.target_mean[:, None]
        missing = target - y
        self.xx = (x.mT @ x).double()
        # The moment of the difference: a difference of two large moments would leave rounding where nothing is missing.
        self.mx = (missing.mT @ x).double()
        self.yx = (y.mT @ x).double()
        self.yy, self.my = (y * y).double().sum(1), (missing * y).double().sum(1)
        # A layer whose inputs are all zero has nothing to regress on.
        floor = torch.where(mean_square > 0, self.ridge * mean_square, 1.0)
        penalised = self.xx + torch.diag_embed(floor[:, None].expand(-1, x.shape[-1]))
        self.factor, singular = torch.linalg.cholesky_ex(penalised)
        if singular.any():
            raise ValidationError(
                f"must be above 0 where inputs of a layer do not vary by themselves, as those of {self.samples.name}",
                "set calibration.ridge=0.3",
                value=self.ridge,
                parameter="ridge",
                slot="calibration",
            )

    def low_rank(self, scale: Tensor, rank: int) -> tuple[Tensor, Tensor]:
        """`(B, A)` of rank r that minimise `|T - scale (Y + B A X)|^2 + penalty |scale B A|^2`; A in the basis.

        Args:
            scale: of each output, shape (groups, outputs of each).
            rank: r.
        """
        residual = self.mx + (1 - scale)[..., None] * self.yx
        full = torch.cholesky_solve(residual.mT, self.factor).mT
        explained = full @ residual.mT
        _, vectors = torch.linalg.eigh((explained + explained.mT) / 2)
        left = vectors[..., -rank:]
        return left / scale[..., None], left.mT @ full

    def right(self, right: Tensor) -> Tensor:
        """A in the order of the inputs."""
        return right if self.basis is None else right @ self.basis.double().mT

    def scale(self, low_rank: Tensor) -> Tensor:
        """Least squares of T on `Z = Y + B A X`, a number an output; 1 where Z does not vary."""
        of_x = low_rank @ self.xx
        added = (low_rank * of_x).sum(-1) + 2 * (low_rank * self.yx).sum(-1)
        zz = self.yy + added
        # T = Y + M, so cov(T, Z) - var(Z) is what remains of M.
        rest = self.my - added + (low_rank * (self.yx + self.mx)).sum(-1)
        return torch.where(zz > 0, 1 + rest / zz, 1.0)

    def offset(self, scale: Tensor, low_rank: Tensor) -> Tensor:
        """Difference of means that is left, of all outputs."""
        shift = (low_rank @ self.x_mean.double()[..., None]).squeeze(-1)
        return (self.target_mean - scale * (self.y_mean + shift)).flatten()

    def _by_group(self, rows: Tensor) -> Tensor:
        return rows.reshape(len(rows), len(self.x_mean), -1).movedim(1, 0)


def penalty(method: RankedCalibration, samples: LayerSamples) -> float:
    """Ridge penalty lambda; it falls with images rather than rows, as positions of one image are correlated."""
    return method.ridge * RIDGE_IMAGES / samples.images
