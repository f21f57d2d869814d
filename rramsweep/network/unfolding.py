"""Unfolding of layers that torch runs in fused kernels into their weight products, so that each can be read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rramsweep.errors import ValidationError
from rramsweep.network.arrays import Unfolded, find_arrays
from rramsweep.network.products import NO_READ_NOISE

State = tuple[Tensor, ...]


def unfold(model: nn.Module, names: Collection[str]) -> None:
    """Replace every weight product of the layers that hold these arrays by a call of an `nn.Linear`, in place.

    The linear layers share the parameters of the fused ones, so that tied weights stay tied; `find_arrays` gives the
    same arrays with the same names, now readable. Gates, softmax and the two products of an attention between
    activations (Q K^T, A V) stay digital, and outputs equal torch's own to rounding. Dropout is left out (eval mode).

    Args:
        model: a private copy.
        names: of its arrays; those that are readable already are left alone.

    Raises:
        ValidationError: a subclass with a forward of its own.
    """
    check_unfolding(model, names)
    arrays = find_arrays(model)
    for holder in dict.fromkeys(_holders(model, names).values()):
        _convert(holder, [array.parameter for array in arrays.values() if array.module is holder])


def check_unfolding(model: nn.Module, names: Iterable[str]) -> None:
    """Check that `unfold` can make these arrays readable; arguments and errors as there."""
    holders = _holders(model, names)
    refused = [name for name, holder in holders.items() if _torch_kind(holder) is None]
    if refused:
        raise ValidationError(
            "must have torch's own forward for its products to be read",
            f"give it {NO_READ_NOISE}, or exclude it",
            parameter="a recurrent layer or attention",
            shown=", ".join(f"{name} of {type(holders[name]).__name__}" for name in refused[:3])
            + (", ..." if len(refused) > 3 else ""),
        )


def unfoldable(model: nn.Module, names: Iterable[str]) -> list[str]:
    """Those of these arrays that become readable by unfolding their layers."""
    return [name for name, holder in _holders(model, names).items() if _torch_kind(holder) is not None]


def _holders(model: nn.Module, names: Iterable[str]) -> dict[str, nn.Module]:
    """The layer that holds each array, for arrays that are not readable."""
    arrays = find_arrays(model)
    attentions: dict[nn.Module, nn.Module] = {
        m.out_proj: m for m in model.modules() if isinstance(m, nn.MultiheadAttention)
    }
    fused = {name: arrays[name].module for name in names if not arrays[name].readable}
    return {name: attentions.get(module, module) for name, module in fused.items()}


def _torch_kind(layer: nn.Module) -> type[nn.Module] | None:
    """The class of torch whose forward a layer runs, None if it runs one of its own."""
    own = "forward" in vars(layer)
    return None if own else next((kind for kind in _KINDS if type(layer).forward is kind.forward), None)


def _convert(layer: nn.Module, parameters: Sequence[str]) -> None:
    """Change the class of a layer in place, so that its hooks and attributes, and references to it, stay valid."""
    kind = _torch_kind(layer)
    assert kind is not None
    own = layer._parameters
    products = {name: _linear(own.pop(name), own.get(name.replace("weight", "bias"))) for name in parameters}
    layer.add_module("products", nn.ModuleDict(products))
    if isinstance(layer, nn.MultiheadAttention):
        # A separate one: torch's kernel calls no hook of the output projection.
        projection = layer.out_proj._parameters
        layer.add_module("out_proj", _linear(projection["weight"], projection["bias"]))
        # torch's transformer layers would otherwise bypass the forward.
        layer.register_forward_pre_hook(_no_change)
    layer.__class__ = type(type(layer).__name__, (_KINDS[kind], type(layer)), {})
    layer.train(layer.training)


def _linear(weight: nn.Parameter | None, bias: nn.Parameter | None) -> nn.Linear:
    """A linear layer with given parameters, without drawing any."""
    assert weight is not None
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    made.weight = weight
    made.register_parameter("bias", bias)
    return made


def _no_change(module: nn.Module, args: tuple[Any, ...]) -> None:  # noqa: ARG001
    return None


def _lstm(x: Tensor, h: Tensor, state: State) -> State:
    i, f, g, o = (x + h).chunk(4, -1)
    c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _gru(x: Tensor, h: Tensor, state: State) -> State:
    (x_r, x_z, x_n), (h_r, h_z, h_n) = x.chunk(3, -1), h.chunk(3, -1)
    n = (x_n + (x_r + h_r).sigmoid() * h_n).tanh()
    return (n + (x_z + h_z).sigmoid() * (state[0] - n),)


def _rnn_tanh(x: Tensor, h: Tensor, state: State) -> State:  # noqa: ARG001
    return ((x + h).tanh(),)


def _rnn_relu(x: Tensor, h: Tensor, state: State) -> State:  # noqa: ARG001
    return ((x + h).relu(),)


# Kernel of torch -> next state, from `W_ih x + b_ih`, `W_hh h + b_hh` and the previous state.
_STEPS = {"lstm": _lstm, "gru": _gru, "rnn_tanh": _rnn_tanh, "rnn_relu": _rnn_relu}
Step = Callable[[Tensor, Tensor, State], State]


class _Kernels(TorchFunctionMode):
    """Intercept the one call of a fused kernel in torch's own forward of a recurrent layer, with its arguments."""

    def __init__(self, layer: _Recurrent) -> None:
        super().__init__()
        self._layer = layer

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        step = _STEPS.get(getattr(func, "__name__", "").removesuffix("_cell"))
        return func(*args, **(kwargs or {})) if step is None else self._layer.kernel(step, args)


class _Recurrent(Unfolded):
    """Common part of a recurrent layer and its cell: torch's forward handles shapes, packing and initial states."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with _Kernels(self):
            return super().forward(*args, **kwargs)

    def kernel(self, step: Step, args: Sequence[Any]) -> Any:
        """Compute the result of torch's kernel for its arguments."""
        raise NotImplementedError


class _UnfoldedCell(_Recurrent):
    def kernel(self, step: Step, args: Sequence[Any]) -> Any:
        x, hx = args[:2]
        state = _states(hx)
        new = step(self.products["weight_ih"](x), self.products["weight_hh"](state[0]), state)
        return new[0] if isinstance(hx, Tensor) else new


class _UnfoldedSequence(_Recurrent):
    """LSTM, GRU or RNN: one product with the inputs for each layer and direction, and one with the state each step."""

    num_layers: int
    bidirectional: bool
    batch_first: bool

    def kernel(self, step: Step, args: Sequence[Any]) -> State:
        # (x, hx, weights, biases?, ...), or of a packed sequence (x, batch sizes, hx, weights, biases?, ...).
        packed = not isinstance(args[3], bool)
        x, initial = args[0], _states(args[2] if packed else args[1])
        if packed:
            sizes = args[1].tolist()
        else:
            x = x.transpose(0, 1) if self.batch_first else x
            shape = x.shape[:2]
            x, sizes = x.flatten(0, 1), [shape[1]] * shape[0]
        finals: list[State] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in ("", "_reverse")[: 1 + self.bidirectional]:
                state = tuple(each[len(finals)] for each in initial)
                y, final = self._run(step, f"_l{layer}{direction}", x, sizes, state)
                outputs.append(y)
                finals.append(final)
            x = torch.cat(outputs, -1)
        if not packed:
            x = x.view(*shape, x.shape[-1])
            x = x.transpose(0, 1) if self.batch_first else x
        return (x, *(torch.stack(each) for each in zip(*finals, strict=True)))

    def _run(self, step: Step, suffix: str, x: Tensor, sizes: list[int], state: State) -> tuple[Tensor, State]:
        """Run one layer in one direction over the steps in x; `sizes` are the numbers of sequences in each step.

        Returns:
            The outputs, in the order of x, and each sequence's state after its own last step.
        """
        inputs = self.products[f"weight_ih{suffix}"](x).split(sizes)
        outputs = [*inputs]
        steps = range(len(sizes))
        for t in reversed(steps) if suffix.endswith("reverse") else steps:
            n = sizes[t]
            now = tuple(each[:n] for each in state)
            new = step(inputs[t], self.products[f"weight_hh{suffix}"](now[0]), now)
            if f"weight_hr{suffix}" in self.products:
                new = (self.products[f"weight_hr{suffix}"](new[0]), *new[1:])
            outputs[t] = new[0]
            # Sequences that have ended (or, backwards, not yet begun) keep their state.
            state = tuple(torch.cat([a, b[n:]]) if n < len(b) else a for a, b in zip(new, state, strict=True))
        return torch.cat(outputs), state


def _states(hx: Tensor | Sequence[Tensor]) -> State:
    return (hx,) if isinstance(hx, Tensor) else tuple(hx)


class _UnfoldedAttention(Unfolded):
    """Attention: one call of the stacked projections for each distinct tensor of query, key and value, or one each."""

    num_heads: int
    batch_first: bool
    add_zero_attn: bool
    in_proj_bias: Tensor | None
    bias_k: Tensor | None
    bias_v: Tensor | None
    out_proj: nn.Linear

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend, with the arguments and results of `nn.MultiheadAttention`."""
        batched = query.dim() == 3
        q, k, v = self._projected(query, key, value)
        if not batched:
            q, k, v = (each.unsqueeze(0) for each in (q, k, v))
        elif not self.batch_first:
            q, k, v = (each.transpose(0, 1) for each in (q, k, v))
        if self.bias_k is not None and self.bias_v is not None:
            k, v = (torch.cat([a, b.expand(len(a), 1, -1)], 1) for a, b in ((k, self.bias_k), (v, self.bias_v)))
        if self.add_zero_attn:
            k, v = (F.pad(each, (0, 0, 0, 1)) for each in (k, v))
        # torch uses the hint instead of the mask if it needs the mask for nothing else.
        causal = is_causal and attn_mask is not None and key_padding_mask is None and not need_weights
        mask = None if causal else self._mask(attn_mask, key_padding_mask, q, k)
        q, k, v = (each.reshape(*each.shape[:2], self.num_heads, -1).transpose(1, 2) for each in (q, k, v))
        weights = None
        if need_weights:
            scores = q * q.shape[-1] ** -0.5 @ k.mT
            weights = (scores if mask is None else scores + mask).softmax(-1)
            y = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
            weights = weights if batched else weights.squeeze(0)
        else:
            y = F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal)
        y = y.transpose(1, 2).flatten(2)
        if not batched:
            y = y.squeeze(0)
        elif not self.batch_first:
            y = y.transpose(0, 1)
        return self.out_proj(y), weights

    def _projected(self, *inputs: Tensor) -> list[Tensor]:
        """Query, key and value after their projections, each in the layout of its input."""
        if "in_proj_weight" in self.products:  # stacked, with the stacked bias
            stacked = {id(x): x for x in inputs}
            products = {each: self.products["in_proj_weight"](x).chunk(3, -1) for each, x in stacked.items()}
            return [products[id(x)][i] for i, x in enumerate(inputs)]
        found = [self.products[f"{i}_proj_weight"](x) for i, x in zip("qkv", inputs, strict=True)]
        if self.in_proj_bias is None:
            return found
        return [y + bias for y, bias in zip(found, self.in_proj_bias.chunk(3), strict=True)]

    def _mask(self, mask: Tensor | None, padding: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
        """Sum of both masks, to be added to scores (inputs, heads, queries, keys); appended keys are not masked."""
        shaped = []
        if mask is not None:
            shaped.append(mask if mask.dim() == 2 else mask.reshape(len(q), self.num_heads, *mask.shape[1:]))
        if padding is not None:
            shaped.append(padding.view(len(q), 1, 1, -1))
        summed = sum((_additive(each, q.dtype) for each in shaped), start=torch.zeros((), dtype=q.dtype).to(q))
        return F.pad(summed, (0, k.shape[1] - summed.shape[-1])) if shaped else None


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask in additive form: -inf where a boolean mask hides a key."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask, -torch.inf) if mask.dtype == torch.bool else mask


_KINDS: dict[type[nn.Module], type[Unfolded]] = {
    **dict.fromkeys((nn.LSTM, nn.GRU, nn.RNN), _UnfoldedSequence),
    **dict.fromkeys((nn.LSTMCell, nn.GRUCell, nn.RNNCell), _UnfoldedCell),
    nn.MultiheadAttention: _UnfoldedAttention,
}


def pad_nested(model: nn.Module) -> None:
    """Make the layers of transformer encoders run on padded sequences where torch passes nested ones, in place.

    Given a padding mask, `nn.TransformerEncoder` drops the padding and gives its layers nested tensors, which only its
    own fused path can multiply. Outputs at padded positions are zero behind these layers in both cases.
    """
    layers: list[nn.Module] = [m for m in model.modules() if isinstance(m, nn.TransformerEncoderLayer)]
    for layer in layers:
        layer.forward = _Padded(layer.forward)


class _Padded:
    """Forward of an encoder layer on padded tensors."""

    def __init__(self, forward: Callable[..., Tensor]) -> None:
        self._forward = forward

    def __call__(self, src: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not src.is_nested:
            return self._forward(src, *args, **kwargs)
        lengths = [len(each) for each in src.unbind()]
        x = src.to_padded_tensor(0.0)
        padding = torch.arange(x.shape[1]) >= torch.tensor(lengths).unsqueeze(1)
        y = self._forward(x, src_key_padding_mask=padding.to(x.device))
        return torch.nested.as_nested_tensor([each[:n] for each, n in zip(y, lengths, strict=True)])
