"""The read slot: where read noise and converters wrap the analog product of a layer."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from rramsweep.crossbar.programming import LayerSpec, ProgrammedLayer
from rramsweep.devices.streams import Chip, Stream
from rramsweep.effects import Ideal
from rramsweep.network.arrays import WeightArray
from rramsweep.network.products import check_product, product, without_hooks
from rramsweep.network.tiled_read import Observer, Ranges, TiledRead


class ReadSlot:
    """Replaces a layer's forward, so that read noise and converters can wrap its analog product.

    They get `linear(x, W)`: the layer's own forward with other weights (in the array's order) and no bias, so that a
    subclass's padding or reshaping is kept. The digital bias is added afterwards. Every call of the layer is a separate
    read with its own random stream. The computation of a subclass is checked in its first read (`check_product`).

    Args:
        array: the layer.
        carrier: the array whose cells are read; another one than the layer's own if weights are tied.
        spec: of the layer.
        scale: of each output after its converters, from a batch norm; None for none.
    """

    def __init__(self, array: WeightArray, carrier: str, spec: LayerSpec, scale: Tensor | None = None) -> None:
        module = array.module
        self.carrier, self.name, self.spec = carrier, array.name, spec
        self.reads = 0
        # Copies without the replaced forward: a call of the module itself would recurse.
        self._array, self._checked, self._scale = array, False, scale
        self._plain = without_hooks(module)
        self._product = product(array)
        self._bias = cast("Tensor | None", module.bias)
        self._spatial = array.weight.dim() - 2
        self._layer: ProgrammedLayer | None = None
        self._rng: Stream | None = None
        self._observe: Observer | None = None
        self.tiled = TiledRead(array, self._product, spec) if spec.converted else None
        self._ranges = Ranges()
        module.forward = self
        # torch's transformer layers bypass the forward of their layers unless there is a hook.
        module.register_forward_pre_hook(_seen)

    def read(self, layer: ProgrammedLayer | None, rng: Stream | None, seed: Chip | None = None) -> None:
        """Read these cells from now on; None uses the module's own weights.

        Args:
            layer: cells of a chip.
            rng: stream of its reads.
            seed: the chip, for the mismatch of its ADCs.
        """
        self._layer, self._rng, self.reads, self._observe = layer, rng, 0, None
        if layer is not None and self.tiled is not None:
            self.tiled.program(layer, self._ranges, seed, self._scale, self._bias)

    def observe(self, observe: Observer | None) -> None:
        """Call `observe` at each read from now on, with the module's own weights; None ends that."""
        self.read(None, None)
        self._observe = observe

    def watch(self, observe: Observer | None) -> None:
        """Show each read to `observe` from now on, and read the chip as before; None shows none."""
        self._observe = observe

    def set_ranges(self, ranges: Ranges) -> None:
        """Set the ranges of the layer's converters, from the next chip on."""
        self._ranges = ranges

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Run the layer's forward: digital, or as a read of the chip's cells."""
        if self._observe is not None and self.tiled is not None:
            self._observe(self.name, self.tiled, x, args, kwargs)
        if self._layer is None or self._rng is None:
            return cast(Tensor, self._plain.forward(x, *args, **kwargs))
        if not self._checked:
            check_product(self._array, self._product, x, *args, **kwargs)
            self._checked = True
        rng = self._rng.child(str(self.reads))
        if self.tiled is None:
            noise = self.spec.read_noise
            assert not isinstance(noise, Ideal)

            def linear(x: Tensor, weight: Tensor) -> Tensor:
                return self._product(x, weight.to(x.dtype), *args, **kwargs)

            y = noise(linear, x, self._layer, rng).to(x.dtype)
            y = y if self._bias is None else y + self._bias.view(-1, *[1] * self._spatial)
        else:
            y = self.tiled(x, rng, *args, **kwargs)
        self.reads += 1
        return y


def _seen(module: nn.Module, args: tuple[Any, ...]) -> None:  # noqa: ARG001
    return None
