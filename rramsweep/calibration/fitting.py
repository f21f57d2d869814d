"""The fit of a chip: one pass in the network's order that corrects each layer before the next one sees its output."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from rramsweep.calibration.samples import LayerSamples
from rramsweep.datasets.inputs import AnyInputs, call
from rramsweep.errors import Sentence, ValidationError
from rramsweep.models.forward import one_tensor
from rramsweep.network.corrections import (
    NO_CORRECTIONS,
    CorrectableLayer,
    Corrections,
    LayerCorrection,
    NormStatistics,
    norms_of,
    split_call,
)
from rramsweep.network.recording import Recording, input_rows, product_rows
from rramsweep.suggest import suggest

if TYPE_CHECKING:
    from rramsweep.calibration.protocol import Calibration


def halves(x: AnyInputs) -> tuple[AnyInputs, AnyInputs]:
    """Split inputs into two halves: the gate fits to one and tests on the other."""
    return x[: len(x) // 2], x[len(x) // 2 :]


@torch.no_grad()
def fit_chip(
    method: Calibration, chip: nn.Module, recordings: Sequence[Recording], layers: Sequence[CorrectableLayer]
) -> Corrections:
    """Fit the corrections of a chip; nothing is drawn, and the network is as before afterwards.

    Args:
        method: fits each layer or batch norm.
        chip: the network with the chip's weights, without corrections.
        recordings: of the reference, on the inputs of `method.parts`.
        layers: those of the network that can be corrected.

    Returns:
        The corrections, or none if the gate rejects them.

    Raises:
        ValidationError: the method changed a weight of the chip, or a sample, in place.
    """
    before = versions(chip)
    whole, *parts = recordings
    corrections, _ = _Pass(method, chip, layers).run(whole)
    if parts and not _passes_gate(method, chip, layers, parts):
        corrections = NO_CORRECTIONS
    if versions(chip) != before:
        raise changed(method, "the chip's weights")
    return corrections


def _passes_gate(
    method: Calibration, chip: nn.Module, layers: Sequence[CorrectableLayer], parts: Sequence[Recording]
) -> bool:
    """True if corrections fitted to each part bring the outputs for the other part nearer to the reference's.

    The outputs must be nearer as they are, or up to one scale and shift common to all of them, which do not change the
    largest logit: with few inputs the scale is uncertain, and the right one may be far from the chip's.
    """
    plain, corrected = [], []
    for fitted, tested in zip(parts, reversed(parts), strict=True):
        plain.append(one_tensor(call(chip, tested.x)))
        corrections, _ = _Pass(method, chip, layers).run(fitted)
        corrected.append(_Pass(method, chip, layers, corrections).run(tested)[1])
    reference = [recording.outputs for recording in reversed(parts)]
    pairs = zip(_distances(plain, reference), _distances(corrected, reference), strict=True)
    return any(after < before for before, after in pairs)


def _distances(outputs: Sequence[Tensor], reference: Sequence[Tensor]) -> tuple[float, float]:
    """`sum (z - y)^2` and `1 - correlation(z, y)^2`, over outputs that are not masked (logits of -inf)."""
    y = torch.cat([part.flatten() for part in reference]).double()
    z = torch.cat([part.flatten() for part in outputs]).double()[y.isfinite()]
    y = y[y.isfinite()]
    distance = float((z - y).square().sum())
    y, z = y - y.mean(), z - z.mean()
    spread = float(y.square().sum() * z.square().sum())
    return distance, 1 - float((y * z).sum()) ** 2 / spread if spread > 0 else 1.0


class _Pass:
    """One forward pass of a chip with corrections after each layer, which are fitted in the same pass or given.

    Args:
        method: fits them.
        chip: the network.
        layers: those that can be corrected.
        given: corrections to apply; None fits new ones.
    """

    def __init__(
        self,
        method: Calibration,
        chip: nn.Module,
        layers: Sequence[CorrectableLayer],
        given: Corrections | None = None,
    ) -> None:
        self._method, self._chip, self._given = method, chip, given
        names = method_sites(method, chip, layers)
        self._layers = [layer for layer in layers if method.fits_layers and layer.name in names]
        self._norms = {n: m for n, m in norms_of(chip).items() if method.fits_norms and n in names}
        self._found: dict[str, LayerCorrection | None] = dict(given.layers) if given else {}
        self._statistics: dict[str, NormStatistics | None] = dict(given.norms) if given else {}
        self._rows: dict[str, int] = {}

    def run(self, reference: Recording) -> tuple[Corrections, Tensor]:
        """Corrections and corrected outputs for the inputs of a recording of the reference."""
        with ExitStack() as stack:
            for layer in self._layers:
                act = partial(self._layer, layer, reference)
                stack.callback(layer.module.register_forward_hook(act, with_kwargs=True, prepend=True).remove)
            for name, norm in self._norms.items():
                for buffer in _statistics_of(norm):
                    stack.callback(buffer.copy_, buffer.clone())
                measure = partial(self._norm, name)
                stack.callback(norm.register_forward_pre_hook(measure, with_kwargs=True).remove)
            outputs = one_tensor(call(self._chip, reference.x))
        if self._given is not None:
            return self._given, outputs
        n, folds = len(reference.x), {layer.name: layer.norm is not None for layer in self._layers}
        layers = {
            name: replace(c, positions=self._rows[name] // n, folds=folds[name])
            for name, c in self._found.items()
            if c is not None
        }
        return Corrections(layers, {name: s for name, s in self._statistics.items() if s is not None}), outputs

    def _layer(
        self,
        layer: CorrectableLayer,
        reference: Recording,
        _: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        y: Tensor,
    ) -> Tensor:
        if layer.name not in self._found and self._given is None:
            x, _rest, _named = split_call(args, kwargs)
            self._found[layer.name] = self._fitted(layer, reference, x, y)
        correction = self._found.get(layer.name)
        outputs = y.shape[-1 - layer.spatial]
        self._rows[layer.name] = self._rows.get(layer.name, 0) + y.numel() // outputs
        return y if correction is None else layer.corrected(correction, y, args, kwargs)

    def _fitted(self, layer: CorrectableLayer, reference: Recording, x: Tensor, y: Tensor) -> LayerCorrection | None:
        rows = product_rows(layer, y, reference.most)
        samples = LayerSamples(
            layer.name,
            rows,
            reference.products[layer.name],
            len(reference.x),
            layer.matrix_shape(),
            partial(input_rows, layer, x, y, reference.most),
        )
        versions = [x._version, rows._version, samples.target._version]
        correction = self._method.fit_layer(samples)
        if [x._version, rows._version, samples.target._version] != versions:
            raise changed(self._method, "its samples")
        if correction is None:
            return None
        if not isinstance(correction, LayerCorrection):
            raise _wrong(self._method, "fit_layer", LayerCorrection, correction)
        return replace(correction, outputs=rows.shape[1])

    def _norm(self, name: str, norm: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if name not in self._statistics and self._given is None:
            fitted = self._method.fit_norm(split_call(args, kwargs)[0])
            if not isinstance(fitted, NormStatistics | None):
                raise _wrong(self._method, "fit_norm", NormStatistics, fitted)
            self._statistics[name] = fitted
        statistics = self._statistics.get(name)
        if statistics is not None:
            mean, var = _statistics_of(norm)
            mean.copy_(statistics.mean)
            var.copy_(statistics.var)


def method_sites(method: Calibration, model: nn.Module, layers: Sequence[CorrectableLayer]) -> list[str]:
    """Names of the layers and batch norms that a method corrects, in the network's order.

    Raises:
        ValidationError: a pattern matches none, or the method cannot correct a layer.
    """
    names = [layer.name for layer in layers] if method.fits_layers else []
    names += list(norms_of(model)) if method.fits_norms else []
    found: set[str] = set()
    for pattern in method.layers:
        matched = fnmatch.filter(names, pattern)
        if not matched:
            raise ValidationError(
                f"must match {_kinds(method)}",
                suggest(pattern, names),
                value=pattern,
                parameter="layers",
            )
        found.update(matched)
    for layer in layers:
        if method.fits_layers and layer.name in found:
            method.check_layer(layer)
    return [name for name in names if name in found]


def _kinds(method: Calibration) -> str:
    kinds = ["layers on the array"] * method.fits_layers + ["batch norms"] * method.fits_norms
    return " or ".join(kinds)


def changed(method: object, what: str) -> ValidationError:
    """Error of a method that changed `what` in place."""
    remedy = "return new tensors (x * y for x.mul_(y))"
    return ValidationError(Sentence(f"calibration={type(method).__name__} must leave {what} alone"), remedy)


def _wrong(method: object, call: str, kind: type, made: object) -> ValidationError:
    must = f"calibration={type(method).__name__}: {call} must return {kind.__name__} or None"
    return ValidationError(Sentence(must), "correct it", shown=type(made).__name__)


def versions(model: nn.Module) -> list[int]:
    """Version counters of a model's parameters, which every in-place change raises."""
    return [parameter._version for parameter in model.parameters()]


def _statistics_of(norm: nn.Module) -> tuple[Tensor, Tensor]:
    return cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
