"""Digital corrections of one chip: the record that a calibration fits, and how it acts on the chip's network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Mapping as Map
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rramsweep.datasets.inputs import AnyInputs
from rramsweep.errors import Sentence, ValidationError
from rramsweep.network.arrays import CONVOLUTIONS, TRANSPOSED, WeightArray, find_arrays, is_transposed_linear
from rramsweep.network.batch_norm import NORMS, Fold
from rramsweep.network.products import product


@dataclass(frozen=True, eq=False)
class LayerCorrection:
    """Correction of one layer's product: `scale (W x + B A x) + offset`, before the layer's own bias.

    Args:
        scale: of each output, shape (outputs,), or (1,) for the whole layer; None is 1.
        offset: of each output, shape (outputs,); None is 0.
        left: B, shape (groups, outputs of each, rank); None without a low-rank part.
        right: A, shape (groups, rank, inputs of each), inputs in the order of the array.
        outputs: of the layer.
        positions: output positions per input of the network, over all calls of the layer.
        folds: a batch norm follows, whose scale and shift absorb those of the correction.
    """

    scale: Tensor | None = None
    offset: Tensor | None = None
    left: Tensor | None = None
    right: Tensor | None = None
    outputs: int = 0
    positions: int = 0
    folds: bool = False

    @property
    def extra_parameters(self) -> int:
        """Digital parameters that the layer does not have without the correction."""
        by_channel = () if self.folds else (self.scale, self.offset)
        return sum(part.numel() for part in (self.left, self.right, *by_channel) if part is not None)

    @property
    def extra_macs(self) -> int:
        """Digital multiply-accumulates that the correction adds for one input of the network."""
        low_rank = sum(part.numel() for part in (self.left, self.right) if part is not None)
        by_channel = not self.folds and (self.scale is not None or self.offset is not None)
        return self.positions * (low_rank + (self.outputs if by_channel else 0))

    def low_rank(self, weight: Tensor) -> Tensor | None:
        """`B A` in the shape of a weight in the array's order; None without a low-rank part."""
        if self.left is None or self.right is None:
            return None
        return (self.left @ self.right).reshape(weight.shape)

    def weight(self, weight: Tensor) -> Tensor:
        """Effective weight `diag(scale) (W + B A)`, in the array's order."""
        low_rank = self.low_rank(weight)
        weight = weight if low_rank is None else weight + low_rank
        return weight if self.scale is None else weight * self.scale.view(-1, *[1] * (weight.dim() - 1))

    def act(self, y: Tensor, low_rank: Tensor | None, spatial: int) -> Tensor:
        """Correct a layer's product digitally.

        Args:
            y: the product, without bias.
            low_rank: `B A x`, or None.
            spatial: number of axes after that of the outputs.
        """
        y = y if low_rank is None else y + low_rank
        behind = [1] * spatial
        y = y if self.scale is None else y * self.scale.to(y).view(-1, *behind)
        return y if self.offset is None else y + self.offset.to(y).view(-1, *behind)


@dataclass(frozen=True, eq=False)
class NormStatistics:
    """New running statistics of a batch norm, each of shape (channels,), which replace the old ones."""

    mean: Tensor
    var: Tensor


@dataclass(frozen=True, eq=False)
class Corrections:
    """Digital corrections of one chip.

    Args:
        layers: `{layer: correction}`.
        norms: `{batch norm: statistics}`.
    """

    layers: Map[str, LayerCorrection] = field(default_factory=dict)
    norms: Map[str, NormStatistics] = field(default_factory=dict)

    @property
    def extra_parameters(self) -> int:
        """Digital parameters that the network does not have without the corrections."""
        return sum(layer.extra_parameters for layer in self.layers.values())

    @property
    def extra_macs(self) -> int:
        """Digital multiply-accumulates that the corrections add for one input."""
        return sum(layer.extra_macs for layer in self.layers.values())


NO_CORRECTIONS = Corrections()


@dataclass(frozen=True, eq=False)
class CorrectableLayer:
    """A layer on the array whose product can be corrected.

    Args:
        array: its weight.
        linear: `linear(x, W)`, its forward with another weight and no bias, see `read_noise.product`.
        norm: the batch norm that alone uses its output; None without one.
    """

    array: WeightArray
    linear: Callable[..., Tensor]
    norm: nn.Module | None = None

    @property
    def name(self) -> str:
        """Name of the layer's weight array."""
        return self.array.name

    @property
    def module(self) -> nn.Module:
        """Module of the layer."""
        return self.array.module

    @property
    def bias(self) -> Tensor | None:
        """The layer's own digital bias."""
        return cast("Tensor | None", getattr(self.module, "bias", None))

    @property
    def spatial(self) -> int:
        """Number of axes of the layer's output after the axis of outputs."""
        return self.array.weight.dim() - 2

    @property
    def is_plain(self) -> bool:
        """True if the layer's forward is the product with the weight and nothing else."""
        kind = type(self.module)
        plain = kind in (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)
        return plain or (is_transposed_linear(self.module) and kind.__qualname__ == "Conv1D")

    def matrix_shape(self) -> tuple[int, int]:
        """`(outputs, inputs)` of the matrix of each group."""
        shape = self.array.to_array(self.array.weight).shape
        return shape[0] // self.array.matrices, shape[1:].numel()

    def fits(self, parts: Map[str, Tensor]) -> bool:
        """True if the tensors of a `LayerCorrection` have the shapes of this layer."""
        (m, n), groups = self.matrix_shape(), self.array.matrices
        shapes = {key: tuple(part.shape) for key, part in parts.items()}
        rank = (shapes.get("left") or (0, 0, 0))[-1]
        return (
            shapes.get("scale", (1,)) in ((1,), (m * groups,))
            and shapes.get("offset", (m * groups,)) == (m * groups,)
            and ("left" in shapes) == ("right" in shapes)
            and shapes.get("left", (groups, m, rank)) == (groups, m, rank)
            and shapes.get("right", (groups, rank, n)) == (groups, rank, n)
        )

    def without_bias(self, y: Tensor) -> Tensor:
        """Subtract the bias from the layer's output."""
        return y if self.bias is None else y - self.bias.view(-1, *[1] * self.spatial)

    def with_bias(self, y: Tensor) -> Tensor:
        """Add the bias to a product."""
        return y if self.bias is None else y + self.bias.view(-1, *[1] * self.spatial)

    def corrected(self, correction: LayerCorrection, y: Tensor, args: Sequence[Any], kwargs: Map[str, Any]) -> Tensor:
        """Output of a call with a correction applied.

        Args:
            correction: of this layer.
            y: the output.
            args: positional arguments of the call.
            kwargs: keyword arguments of the call.
        """
        weight = correction.low_rank(self.array.to_array(self.array.weight))
        low_rank = None
        if weight is not None:
            x, rest, named = split_call(args, kwargs)
            low_rank = self.linear(x, weight.to(y), *rest, **named)
        return self.with_bias(correction.act(self.without_bias(y), low_rank, self.spatial))


def split_call(args: Sequence[Any], kwargs: Map[str, Any]) -> tuple[Tensor, Sequence[Any], dict[str, Any]]:
    """The input of a layer's call, and its other arguments."""
    if args:
        return args[0], args[1:], dict(kwargs)
    named = dict(kwargs)
    return named.pop("input" if "input" in named else next(iter(named))), (), named


class Method(Protocol):
    """Interface of a calibration for `FastPyTorchRRAM`; the methods of `rramsweep.calibration` implement it."""

    def parts(self, x: AnyInputs) -> list[AnyInputs]:
        """The sets of inputs whose digital outputs the method needs: all inputs, and parts if it holds some out."""

    def calibrate(self, chip: nn.Module, recordings: Sequence[Any], layers: Sequence[CorrectableLayer]) -> Corrections:
        """Fit the corrections of a chip; see `recording.record`."""


def correctable_layers(
    model: nn.Module, arrays: Map[str, WeightArray], names: Sequence[str], folds: Sequence[Fold] = ()
) -> list[CorrectableLayer]:
    """The layers of a network whose products can be corrected, in its order: those outside fused kernels.

    Args:
        model: the network.
        arrays: of the network, before a forward is replaced (`read_noise.ReadSlot`).
        names: of those that are analog.
        folds: layers whose output only a batch norm uses (`batch_norm.find_folds`).
    """
    norms = {fold.layer: model.get_submodule(fold.norm) for fold in folds}
    return [CorrectableLayer(arrays[n], product(arrays[n]), norms.get(n)) for n in names if arrays[n].readable]


def norms_of(model: nn.Module) -> dict[str, nn.Module]:
    """Batch norms with running statistics, by name."""
    return {n: m for n, m in model.named_modules() if isinstance(m, NORMS) and m.running_mean is not None}


# Fields of the records that are tensors.
_OF_LAYERS, _OF_NORMS = ("scale", "offset", "left", "right"), ("mean", "var")


def to_arrays(corrections: Corrections) -> dict[str, NDArray[Any]]:
    """Convert corrections to named arrays for a file.

    `LAYER/scale`, `LAYER/offset`, `LAYER/left` and `LAYER/right` if they exist, `LAYER/counts` (outputs, positions, 1
    if a batch norm absorbs scale and offset), `NORM/mean` and `NORM/var`.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for name, layer in corrections.layers.items():
        parts = {key: getattr(layer, key) for key in _OF_LAYERS}
        arrays |= {f"{name}/{key}": part.detach().cpu().numpy() for key, part in parts.items() if part is not None}
        arrays[f"{name}/counts"] = np.array([layer.outputs, layer.positions, int(layer.folds)])
    for name, norm in corrections.norms.items():
        arrays |= {f"{name}/{key}": getattr(norm, key).detach().cpu().numpy() for key in _OF_NORMS}
    return arrays


def from_arrays(arrays: Map[str, NDArray[Any]], layers: Sequence[CorrectableLayer], model: nn.Module) -> Corrections:
    """Convert the arrays of `to_arrays` back to corrections.

    Args:
        arrays: of a file.
        layers: those of the network that can be corrected.
        model: the network.

    Raises:
        ValidationError: they are not corrections of this network.
    """
    parts: dict[str, dict[str, NDArray[Any]]] = {}
    for key, array in arrays.items():
        name, _, part = key.rpartition("/")
        parts.setdefault(name, {})[part] = array
    by_name, norms = {layer.name: layer for layer in layers}, norms_of(model)
    corrected, statistics = {}, {}
    for name, found in parts.items():
        tensors = {part: torch.from_numpy(array) for part, array in found.items() if part != "counts"}
        if name in norms and set(found) == set(_OF_NORMS):
            fits = all(tensor.shape == cast(Tensor, norms[name].running_mean).shape for tensor in tensors.values())
            statistics[name] = NormStatistics(**tensors)
        elif fits := name in by_name and {"counts"} <= set(found) <= {"counts", *_OF_LAYERS}:
            fits = found["counts"].shape == (3,) and by_name[name].fits(tensors)
            if fits:
                outputs, positions, folds = found["counts"].tolist()
                corrected[name] = LayerCorrection(
                    **tensors, outputs=int(outputs), positions=int(positions), folds=bool(folds)
                )
        if not fits or not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
            raise ValidationError(
                Sentence(
                    "corrections must be finite and of this network's layers and batch norms, but those of "
                    f"{name!r} are not"
                ),
                "use the file of the same network, include and exclude",
            )
    return Corrections(corrected, statistics)


class Installation:
    """Installs corrections in a network and removes them.

    Args:
        model: the network that holds the chip's weights; it is changed in place.
        layers: those of its layers that can be corrected.
        behind: names of layers whose corrections must act after the product, because it is not a product with an
            effective weight (read noise, converters). Those of subclasses and of tied weights always do.
    """

    def __init__(self, model: nn.Module, layers: Sequence[CorrectableLayer], behind: Sequence[str] = ()) -> None:
        self._model, self._layers = model, {layer.name: layer for layer in layers}
        owners = Counter(id(array.weight) for array in find_arrays(model).values())
        self._folds = {
            name
            for name, layer in self._layers.items()
            if layer.is_plain and owners[id(layer.array.weight)] == 1 and name not in behind
        }
        self._undo = ExitStack()

    @torch.no_grad()
    def install(self, corrections: Corrections, fold: bool = True) -> None:
        """Install corrections in place of previous ones; weights must be the chip's own.

        Args:
            corrections: of the chip.
            fold: fold them into effective weights and biases where that is exact. These stay until the next chip's
                weights are written; everything else is undone by `remove`.
        """
        self.remove()
        for name, statistics in corrections.norms.items():
            norm = self._model.get_submodule(name)
            self._replace(cast(Tensor, norm.running_mean), statistics.mean)
            self._replace(cast(Tensor, norm.running_var), statistics.var)
        for name, correction in corrections.layers.items():
            layer = self._layers[name]
            if fold and name in self._folds:
                self._fold(layer, correction)
            else:
                hook = layer.module.register_forward_hook(
                    partial(_behind, layer, correction), with_kwargs=True, prepend=True
                )
                self._undo.callback(hook.remove)

    def remove(self) -> None:
        """Restore biases and statistics, and remove corrections after products."""
        self._undo.close()

    def _fold(self, layer: CorrectableLayer, correction: LayerCorrection) -> None:
        array, module = layer.array, layer.module
        array.weight.copy_(array.from_array(correction.weight(array.to_array(array.weight))))
        if correction.offset is None:
            return
        before, offset = module._parameters.get("bias"), correction.offset.to(array.weight)
        if before is None and layer.norm is not None:
            mean = cast(Tensor, layer.norm.running_mean)
            self._replace(mean, mean - offset)
        else:
            module.bias = nn.Parameter(offset if before is None else before + offset, requires_grad=False)
            self._undo.callback(setattr, module, "bias", before)

    def _replace(self, buffer: Tensor, value: Tensor) -> None:
        self._undo.callback(_copy, buffer, buffer.clone())
        buffer.copy_(value)


@torch.no_grad()
def _copy(into: Tensor, value: Tensor) -> None:
    into.copy_(value)


def _behind(
    layer: CorrectableLayer,
    correction: LayerCorrection,
    _: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    y: Tensor,
) -> Tensor:
    return layer.corrected(correction, y, args, kwargs)
