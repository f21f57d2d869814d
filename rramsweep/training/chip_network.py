"""A network that runs one chip after the other under autograd, while its digital weights are trained."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from rramsweep.crossbar.converters import UniformDAC
from rramsweep.crossbar.programming import LayerSpec, ProgrammedLayer, map_layer, program
from rramsweep.datasets.inputs import AnyInputs, call
from rramsweep.devices.streams import Stream
from rramsweep.errors import ValidationError
from rramsweep.models.eager import deep_copy
from rramsweep.network.accelerator import CPU, Accelerator
from rramsweep.network.arrays import WeightArray, find_arrays, private_copy
from rramsweep.network.batch_norm import Fold, scale_and_shift
from rramsweep.network.products import without_hooks
from rramsweep.network.read_slot import ReadSlot
from rramsweep.network.tiled_read import Ranges
from rramsweep.network.unfolding import pad_nested, unfold


class StraightThrough(torch.autograd.Function):
    """Values of one tensor with the gradient of another: `apply(value, through)`."""

    @staticmethod
    def forward(ctx: FunctionCtx, value: Tensor, through: Tensor) -> Tensor:  # noqa: ARG004
        """A copy of `value`, on the device and in the type of `through`."""
        return value.to(through).clone()

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[None, Tensor]:  # noqa: ARG004
        """Pass the gradient to `through` unchanged."""
        return None, gradients[0]


class ChipLayer:
    """Forward of a layer with a chip's weight in it, under autograd.

    If the layer has converters or read noise, its output equals that of a sweep's `ReadSlot`, bit for bit. The gradient
    is that of the plain product of the chip's weight and the input: it passes straight through rounding and read noise,
    and is zero for inputs beyond the range of the DAC.

    Args:
        array: the layer.
        carrier: the array whose cells are read; another one than the layer's own if weights are tied.
        spec: of the layer.
    """

    def __init__(self, array: WeightArray, carrier: str, spec: LayerSpec) -> None:
        self.array, self.carrier, self.spec = array, carrier, spec
        self.weight: Tensor | None = None  # None uses the digital weight
        self._output_noise, self._calls, self._reads = 0.0, 0, False
        self._scale: Tensor | None = None
        self._ranges = Ranges()
        self._plain = without_hooks(array.module)
        self._slot = ReadSlot(array, carrier, spec) if spec.wrapped else None
        array.module.forward = self
        # torch's transformer layers bypass the forward of their layers unless there is a hook.
        array.module.register_forward_pre_hook(_no_change)

    def set_ranges(self, ranges: Ranges) -> None:
        """Set the ranges of the layer's converters, from the next chip on."""
        self._ranges = ranges
        if self._slot is not None:
            self._slot.set_ranges(ranges)

    def digital(self) -> None:
        """Use the digital weight from now on."""
        self.weight = None

    def begin(
        self,
        weight: Tensor,
        output_noise: float,
        rng: Stream,
        cells: ProgrammedLayer | None = None,
        scale: Tensor | None = None,
    ) -> None:
        """Use another weight from now on.

        Args:
            weight: in the order of the layer.
            output_noise: standard deviation of an error of the output, as a fraction of its rms.
            rng: stream of this chip and layer.
            cells: cells for the layer's converters and read noise; None leaves these out.
            scale: weight of the cells over weight of the layer, by output; None for 1.
        """
        self.weight, self._output_noise, self._rng, self._calls = weight, output_noise, rng, 0
        self._reads, self._scale = self._slot is not None and cells is not None, None
        if self._slot is not None and cells is not None:
            if scale is not None:
                self._scale = scale.flatten().view(-1, *[1] * (self.array.weight.dim() - 2))
            if self.carrier != self.array.name:  # each tied layer has its own read noise
                cells = cells.read_by(self.spec.read_noise)
            with torch.no_grad():
                self._slot.read(cells, rng.child("read_noise"), rng.seed)

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Output of the layer with the weight set last, digital or a chip's."""
        if self.weight is None:
            return cast(Tensor, self._plain.forward(x, *args, **kwargs))
        seen, dac = x, self.spec.dac
        if self._reads and isinstance(dac, UniformDAC) and dac.range != "abs_max":
            seen = x.clamp(-self._ranges.x_max if self._ranges.signed else 0.0, self._ranges.x_max)
        y: Tensor = functional_call(self._plain, {self.array.parameter: self.weight}, (seen, *args), kwargs)
        if self._reads:
            y = StraightThrough.apply(self._read(x, *args, **kwargs), y)
        if self._output_noise > 0:
            sd = self._output_noise * y.detach().square().mean().sqrt()
            y = y + sd * self._rng.child("output_noise", str(self._calls)).normal(y.shape).to(y)
            self._calls += 1
        return y

    @torch.no_grad()
    def _read(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Output of the layer in one read of its cells."""
        assert self._slot is not None
        y = self._slot(x, *args, **kwargs)
        if self._scale is None:
            return y
        bias = cast("Tensor | None", self.array.module.bias)
        if bias is None:
            return y / self._scale
        bias = bias.view(-1, *[1] * (self.array.weight.dim() - 2))
        return (y - bias) / self._scale + bias


class ChipNetwork:
    """A copy of a network whose digital weights are trained on chips.

    A chip is programmed from the present weights with exactly the mapping, stages, streams and wires of a sweep: chip
    `seed` of these weights is that of a sweep over them. The forward uses the chip's weights; gradients pass straight
    through all laws to the digital weights (Hinton 2012, Bengio et al. 2013): `dW_chip / dW = 1`, and 0 for weights
    beyond W_max, which the window cuts off. This is

    - exact for errors that do not depend on the target (`Gaussian` with alpha_prop=0, `WriteVerify`, ...) while the
      edge does not act, and, averaged over levels, for mapping and quantisation;
    - an approximation of `dW_chip / dW = 1 + delta`, a factor of mean 1, for proportional errors (`RelativeDrift`,
      `Lognormal`, alpha_prop, `PowerLawDrift`, variation, wires);
    - an approximation without the slope for tables and fits whose error depends on the target by a curve;
    - the gradient of other chips for an edge that clips and for stuck cells, where the derivative on this chip is 0.

    W_max is treated as a constant. The gradient is the same for every law, so that no law, packaged or a user's own,
    must be differentiable. The network is in eval mode without dropout, as in a sweep, except for batch norms within
    `batch_statistics`.

    Args:
        model: any network; it is copied.
        specs: `{array name: LayerSpec}` for every weight on the array.
        t_s: seconds since programming at which a chip is read.
        folds: batch norms that are folded into the weights before mapping (`analog.fold_batchnorm`).
        accelerator: processor on which the network runs and its chips are drawn.

    Raises:
        ValidationError: a weight that is computed (weight norm, pruning), or none to train.
    """

    def __init__(
        self,
        model: nn.Module,
        specs: Mapping[str, LayerSpec],
        t_s: float = 0.0,
        folds: Sequence[Fold] = (),
        accelerator: Accelerator = CPU,
    ) -> None:
        self._specs, self._t_s, self._accelerator = specs, t_s, accelerator
        self.model = deep_copy(model).eval().to(accelerator.at)
        if (plain := private_copy(model).state_dict().keys()) != (own := self.model.state_dict().keys()):
            raise ValidationError(
                "must be parameters of their own to be trained",
                "remove the parametrisation first, as by torch.nn.utils.parametrize.remove_parametrizations",
                parameter="weights",
                shown=f"computed ones ({', '.join(sorted(own - plain)[:2])})",
            )
        # Uses the names of the caller's network, from before layers of fused kernels are unfolded.
        self._state: dict[str, Tensor] = dict(self.model.state_dict(keep_vars=True))
        self.parameters = [p for p in self.model.parameters() if p.requires_grad and p.is_floating_point()]
        if not self.parameters:
            raise ValidationError(
                "must have a weight to train",
                "leave requires_grad true in its factory",
                parameter="a network",
                shown=f"{type(model).__name__}, all of whose weights are frozen",
            )
        self._batch_norms = [m for m in self.model.modules() if isinstance(m, BatchNorm)]
        norms = {fold.layer: self.model.get_submodule(fold.norm) for fold in folds}
        fused = [name for name in specs if not find_arrays(self.model)[name].readable]
        if fused:
            unfold(self.model, fused)
            pad_nested(self.model)
        arrays = find_arrays(self.model)
        # Each tied layer is read through a slot of its own, from the cells of the layer that carries them.
        carrier: dict[int, str] = {}
        for name in specs:
            carrier.setdefault(id(arrays[name].weight), name)
        self._carriers = {name: arrays[name] for name in carrier.values()}
        self._norms = {name: norms[name] for name in self._carriers if name in norms}
        self.layers = {name: ChipLayer(arrays[name], carrier[id(arrays[name].weight)], specs[name]) for name in specs}

    @property
    def has_batch_norms(self) -> bool:
        """True where training takes statistics of batches."""
        return bool(self._batch_norms)

    def state(self) -> dict[str, Tensor]:
        """Copy of the state dict, with the names of the caller's network."""
        return {name: tensor.detach().clone() for name, tensor in self._state.items()}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load the weights of a `state`."""
        for name, tensor in self._state.items():
            tensor.copy_(state[name])

    def set_ranges(self, ranges: Mapping[str, Ranges]) -> None:
        """Set the ranges of converters, `{layer: Ranges}`."""
        for name, found in ranges.items():
            self.layers[name].set_ranges(found)

    @contextmanager
    def batch_statistics(self) -> Iterator[None]:
        """Use batch norms as in ordinary training: with the statistics of the batch, of which a running mean is kept.

        A running mean over steps is a mean over chips, whose variances are not the digital network's. With the
        statistics of the digital network instead, the accuracy of ResNet-20 fell to 20 %, digital and on chips, within
        three epochs.
        """
        for norm in self._batch_norms:
            norm.train()
        try:
            yield
        finally:
            for norm in self._batch_norms:
                norm.eval()

    @torch.no_grad()
    def fit_statistics(self, batches: Iterable[AnyInputs]) -> None:
        """Give batch norms the statistics of the digital network: means over batches of their means and variances.

        Args:
            batches: inputs.
        """
        kept = [norm for norm in self._batch_norms if norm.track_running_stats]
        momenta = [norm.momentum for norm in kept]
        for norm in kept:
            norm.reset_running_stats()
            norm.momentum = None  # a mean over all batches, not one that forgets
        with self.batch_statistics():
            for x in batches if kept else ():
                call(self.digital(), self._accelerator.take(x))
        for norm, momentum in zip(kept, momenta, strict=True):
            norm.momentum = momentum

    def digital(self) -> nn.Module:
        """The network with its own weights."""
        for layer in self.layers.values():
            layer.digital()
        return self.model

    def chip(self, seed: int, output_noise: float = 0.0) -> nn.Module:
        """The network on chip `seed`, programmed from the present weights.

        Args:
            seed: the chip.
            output_noise: standard deviation of an error of every analog output, as a fraction of its rms.
        """
        for name, array in self._carriers.items():
            own, scale = array.to_array(array.weight), self._scale(name)
            with torch.no_grad():
                layer = self._programmed(name, own if scale is None else own * scale, seed)
                value, limit = layer.weight().to(own.device), layer.full_scale.to(own.device)
                layer = layer.to(own.device)
            if scale is not None:
                value, limit = value / scale, limit / scale.abs()
            # Not by clamp, which would halve the gradient of the weight that equals W_max.
            used: Tensor = StraightThrough.apply(value, torch.where(own.abs() <= limit, own, own.detach()))
            for reader, each in self.layers.items():
                if each.carrier == name:
                    rng = Stream(seed, (reader,), self._accelerator.draws_at, own.device)
                    each.begin(each.array.from_array(used), output_noise, rng, layer, scale)
        return self.model

    def gaussian(self, seed: int, output_noise: float = 0.0) -> nn.Module:
        """The network with a normal error in each weight, with the rms of chip `seed`'s errors in that layer."""
        self.chip(seed)
        for name, array in self._carriers.items():
            own, chip = array.weight, self.layers[name].weight
            assert chip is not None
            rms = (chip.detach() - own.detach()).square().mean().sqrt()
            noisy = own + rms * Stream(seed, (name, "gaussian")).normal(own.shape).to(own)
            for reader, each in self.layers.items():
                if each.carrier == name:
                    each.begin(noisy, output_noise, Stream(seed, (reader,)))
        return self.model

    @torch.no_grad()
    def clip(self, kind: str, value: float) -> None:
        """Confine the weights on the array, layer by layer, in the order and scale of the mapping.

        Args:
            kind: `sigma` or `percentile`.
            value: standard deviations, or percents.
        """
        for name, array in self._carriers.items():
            weight = array.to_array(array.weight)
            scale = self._scale(name)
            mapped = weight if scale is None else weight * scale
            if kind == "sigma":
                limit = value * mapped.std(correction=0)
            else:
                size = mapped.abs().flatten()
                limit = size.kthvalue(max(1, math.ceil(value / 100 * size.numel() - 1e-9))).values
            mapped = mapped.clamp(-limit, limit)
            array.weight.copy_(array.from_array(mapped if scale is None else mapped / scale))

    def _programmed(self, name: str, weight: Tensor, seed: int) -> ProgrammedLayer:
        array, spec = self._carriers[name], self._specs[name]
        ideal = map_layer(name, weight.to(self._accelerator.draws_at), spec, array.parts, groups=array.matrices)
        return program(ideal, seed, self._t_s)

    def _scale(self, name: str) -> Tensor | None:
        """Scale of the batch norm that is mapped with a weight, shaped to broadcast against it; 1 where it is 0."""
        if name not in self._norms:
            return None
        scale = scale_and_shift(self._norms[name])[0].detach()
        return torch.where(scale == 0, 1.0, scale).view(-1, *[1] * (self._carriers[name].weight.dim() - 1))


def _no_change(module: nn.Module, args: tuple[Any, ...]) -> None:  # noqa: ARG001
    return None
