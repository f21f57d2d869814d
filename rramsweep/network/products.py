"""Products of one layer with other weights than its own, by its own forward and for a part of its inputs."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from rramsweep.network.arrays import CONVOLUTIONS, TRANSPOSED, WeightArray

# Forward of a layer with a weight in the array's order and without its bias.
Product = Callable[..., Tensor]

# Settings that exempt a layer from read noise and converters, for messages.
NO_READ_NOISE = (
    "no read noise (+analog.layers.NAME.match='LAYER' +analog.layers.NAME.read_noise._target_=rramsweep.effects.Ideal) "
    "and ideal converters (likewise dac and adc, by rramsweep.crossbar.Ideal)"
)

# Relative tolerance of sums of squares in single precision.
_SAME = 1e-3

_CONVOLVE: dict[int, Callable[..., Tensor]] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def product(array: WeightArray) -> Callable[..., Tensor]:
    """`linear(x, W, ...)`: a layer's own forward with other weights, as on the array, and no bias."""
    plain, bias = without_hooks(array.module), cast("Tensor | None", array.module.bias)

    def linear(x: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        swapped = {array.parameter: array.from_array(weight)}
        if bias is not None:
            swapped["bias"] = bias.new_zeros(len(weight))
        return cast(Tensor, functional_call(plain, swapped, (x, *args), kwargs))

    return linear


@torch.inference_mode(False)
@torch.enable_grad()
def check_product(array: WeightArray, linear: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> None:
    """Check that a subclass multiplies each weight, unchanged, by one input, as laws of read noise assume.

    These laws compute the variance of an output by the layer's own forward of x^2, which is right if the output is a
    sum of weights times inputs: then `sum over the weights of (dy / dw)^2` is that forward with weights of 1. It is
    wrong if a forward scales the weight or subtracts its mean (weight standardisation, equalised learning rates).

    Args:
        array: the layer.
        linear: its `product`.
        x: input that it is called with.
        *args: further positional arguments of the call.
        **kwargs: keyword arguments of the call.

    Raises:
        ValueError: names the layer.
    """
    if type(array.module) in (nn.Linear, *CONVOLUTIONS, *TRANSPOSED):
        return
    x = x.detach().clone()
    tolerance = _SAME + 16 * torch.finfo(x.dtype).eps
    weight = array.to_array(array.weight.detach().clone()).requires_grad_()
    y, due = linear(x, weight, *args, **kwargs), linear(x.square(), torch.ones_like(weight), *args, **kwargs)
    # The outputs with the most inputs: padding may leave others without any.
    for i in due.detach().flatten().topk(min(3, due.numel())).indices.tolist():
        (slope,) = torch.autograd.grad(y.flatten()[i], weight, retain_graph=True, allow_unused=True)
        found = 0.0 if slope is None else float(slope.square().sum())
        if abs(found - float(due.flatten()[i])) > tolerance * abs(float(due.flatten()[i])):
            raise ValueError(
                "read noise and converters need a layer whose forward is a product of its input and its weight, but "
                f"{array.name!r} ({type(array.module).__name__}) changes its weight first: give it {NO_READ_NOISE}, "
                "or exclude it"
            )


def without_hooks(module: nn.Module) -> nn.Module:
    """A shallow copy without hooks, to be called inside a layer's forward or hook, so that hooks act only once."""
    plain = copy.copy(module)
    plain._forward_hooks, plain._forward_pre_hooks = OrderedDict(), OrderedDict()
    return plain


class Direct:
    """Products of a part of the inputs of a plain linear layer or convolution, by slicing the input's channels.

    Args:
        array: the layer.
    """

    def __init__(self, array: WeightArray) -> None:
        self._module, self._weight, self._groups = array.module, array.weight, array.matrices
        self._axes = array.weight.dim() - 2
        self._taps = self._weight[0, 0].numel() if self._axes else 1

    @staticmethod
    def takes(module: nn.Module) -> bool:
        """True for layers with torch's own forward and zero padding."""
        return type(module) is nn.Linear or (type(module) in CONVOLUTIONS and module.padding_mode == "zeros")

    def take(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """Inputs in the form that `cut` and `product` take."""
        return x

    def weight(self, weight: Tensor, rows: slice) -> Tensor:
        """Weight (outputs, rows) in the form of `product`: other taps of the same channels are 0."""
        if not self._axes:
            return weight.contiguous()
        channels = self._channels(rows)
        whole = weight.new_zeros(len(weight), (channels.stop - channels.start) * self._taps)
        first = rows.start - channels.start * self._taps
        whole[:, first : first + weight.shape[1]] = weight
        shaped = whole.view(len(weight), -1, *self._weight.shape[2:])
        # By the strides, since one channel is contiguous in both formats; `to` sets strides, `contiguous` does not.
        last = self._axes == 2 and self._weight.is_contiguous(memory_format=torch.channels_last)
        last = last and self._weight.stride(1) == 1
        return shaped.to(memory_format=torch.channels_last if last else torch.contiguous_format)

    def cut(self, x: Tensor, rows: slice) -> Tensor:
        """Inputs of some rows, including the other taps of their channels."""
        if not self._axes:
            return x[..., rows]
        channels = self._channels(rows)
        if channels == slice(0, self._weight.shape[1]):
            return x
        if self._groups == 1:
            return x[:, channels]
        return x.view(len(x), self._groups, -1, *x.shape[2:])[:, :, channels].flatten(1, 2)

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Sums of every output over the inputs of `cut`, plus a bias."""
        if not self._axes:
            return functional.linear(x, weight, bias)
        module, convolve = self._module, _CONVOLVE[self._axes]
        return convolve(x, weight, bias, module.stride, module.padding, module.dilation, self._groups)

    def by_output(self, values: Tensor) -> Tensor:
        """A number for each output, to broadcast against `product`."""
        return values.view(-1, *[1] * self._axes)

    def outputs_first(self, y: Tensor) -> Tensor:
        """Sums as (outputs, all else)."""
        return y.movedim(1 if self._axes else -1, 0).flatten(1)

    def result(self, y: Tensor) -> Tensor:
        """Sums as the layer's own forward gives them."""
        return y

    def _channels(self, rows: slice) -> slice:
        return slice(rows.start // self._taps, -(-rows.stop // self._taps))


class Patches:
    """Products of a part of the inputs of any layer that is linear in its input, by unfolding it into vectors.

    The vectors come from the layer's own forward with weights that each select one input, so that a subclass's padding
    or reshaping is kept. A forward that is not torch's own may depend on its number of outputs, so as many inputs are
    selected at a time.

    Args:
        array: the layer.
        product: its forward.
    """

    def __init__(self, array: WeightArray, product: Product) -> None:
        weight = array.to_array(array.weight)
        self._product, self._groups, self._shape = product, array.matrices, weight.shape
        self._axes = weight.dim() - 2
        self._inputs = inputs = weight[0].numel()
        plain = type(array.module) in (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)
        each = inputs if plain else len(weight) // self._groups
        one_hot = torch.eye(-(-inputs // each) * each, inputs, dtype=weight.dtype, device=weight.device)
        self._one_hot = [
            some.repeat(self._groups, 1).view(-1, *weight.shape[1:]) for some in torch.split(one_hot, each)
        ]

    def take(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Vectors (..., groups, inputs of each output)."""
        parts = []
        for one_hot in self._one_hot:
            y = self._product(x, one_hot.to(x.dtype), *args, **kwargs).movedim(-1 - self._axes, -1)
            parts.append(y.reshape(*y.shape[:-1], self._groups, -1))
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)[..., : self._inputs]

    def weight(self, weight: Tensor, rows: slice) -> Tensor:  # noqa: ARG002
        """Weight (outputs, rows) in the form of `product`: (groups, rows, outputs of each)."""
        return weight.view(self._groups, -1, weight.shape[1]).mT.contiguous()

    def cut(self, x: Tensor, rows: slice) -> Tensor:
        """Inputs of some rows."""
        return x[..., rows]

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Sums of every output over the inputs of `cut`, (..., outputs), plus a bias."""
        y = torch.matmul(x.unsqueeze(-2), weight).flatten(-3)
        return y if bias is None else y.add_(bias)

    def by_output(self, values: Tensor) -> Tensor:
        """A number for each output, to broadcast against `product`."""
        return values

    def outputs_first(self, y: Tensor) -> Tensor:
        """Sums as (outputs, all else)."""
        return y.movedim(-1, 0).flatten(1)

    def result(self, y: Tensor) -> Tensor:
        """Sums as the layer's own forward gives them."""
        return y.movedim(-1, -1 - self._axes)
