"""The processor that runs a chip's network, a CPU or a GPU with many chips in one pass, and its arithmetic."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from rramsweep.datasets.inputs import AnyInputs, mapped

# Type to which weights and activations are cast; None leaves them in the network's own.
PRECISIONS = {"float32": None, "tf32": None, "bfloat16": torch.bfloat16}

# The first NVIDIA GPUs that have tensor cores for TF32 and bfloat16 are of compute capability 8.0 (Ampere).
TENSOR_CORES = (8, 0)


@dataclass(frozen=True)
class Accelerator:
    """The processor on which networks are run and chips drawn.

    Written for NVIDIA and AMD GPUs through torch's `cuda`, and tested on the CPU with the same code for the batching of
    chips, the arithmetic and the halving of a pass that does not fit into memory.

    Args:
        device: `cpu`, `cuda` or `cuda:N`. Scores on a GPU agree with a CPU's to rounding.
        precision: `float32` (as the network is); `tf32` (products of 10-bit mantissas on a GPU's tensor cores);
            `bfloat16` (weights and activations of 7-bit mantissas, conductances stay float32). The last two change the
            point's identity, because their rounding is as large as a good device's noise.
        rng_device: `cpu` programs chips on the CPU, which gives exactly the chips of a CPU run; `cuda` programs them on
            the GPU, faster, with other draws from the same laws, which also changes the identity.

    Raises:
        ValueError: an unknown name, TF32 on a CPU, or draws on a GPU for networks that run on the CPU.
    """

    device: str = "cpu"
    precision: str = "float32"
    rng_device: str = "cpu"

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not re.fullmatch(r"cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"device must be cpu, cuda or cuda:N, got {self.device!r}: pick one")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}: pick one")
        if self.rng_device not in ("cpu", "cuda"):
            raise ValueError(f"rng_device must be cpu or cuda, got {self.rng_device!r}: pick one")
        if self.device == "cpu" and self.rng_device != "cpu":
            raise ValueError(f"rng_device must be cpu where device is, got {self.rng_device!r}: set both")
        if self.device == "cpu" and self.precision == "tf32":
            raise ValueError("precision=tf32 is of GPUs, got it with device=cpu: use float32")

    def check(self) -> None:
        """Check that torch sees the GPU.

        Raises:
            ValueError: states the GPUs that torch sees.
        """
        if self.is_cpu:
            return
        count = torch.cuda.device_count()
        if not torch.cuda.is_available() or (self.at.index or 0) >= count:
            raise ValueError(
                f"accelerator.device must be a GPU that torch sees, got {self.device!r} where it sees {count}: set "
                "accelerator=cpu, or run where there is one, with a torch that was built for it"
            )
        if self.precision != "float32" and torch.cuda.get_device_capability(self.at) < TENSOR_CORES:
            raise ValueError(
                f"accelerator.precision={self.precision} needs a GPU of compute capability 8.0, got "
                f"{torch.cuda.get_device_name(self.at)}: use float32"
            )

    @property
    def identity(self) -> list[str]:
        """Lines of a point's identity: settings that change numbers by more than rounding; none for the defaults."""
        lines = [] if self.precision == "float32" else [f"precision {self.precision}"]
        return lines if self.rng_device == "cpu" else [*lines, f"rng_device {self.rng_device}"]

    @property
    def is_cpu(self) -> bool:
        """True where networks run on the CPU."""
        return self.device == "cpu"

    @property
    def name(self) -> str:
        """`cpu`, or the name of the GPU."""
        return self.device if self.is_cpu else torch.cuda.get_device_name(self.at)

    @property
    def at(self) -> torch.device:
        """Device of networks and inputs."""
        return torch.device(self.device)

    @property
    def draws_at(self) -> torch.device:
        """Device on which cells are drawn."""
        return self.at if self.rng_device != "cpu" else torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype | None:
        """Number format that weights and activations are cast to, if any."""
        return PRECISIONS[self.precision]

    def take(self, x: AnyInputs) -> AnyInputs:
        """Move inputs to the device and cast them; token ids and masks keep their type."""
        return mapped(x, lambda tensor: tensor.to(self.at, self.dtype if tensor.is_floating_point() else None))

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """Allow TF32 inside only for precision=tf32; torch allows it in convolutions by default."""
        if self.is_cpu:
            yield
            return
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        before = matmul.allow_tf32, cudnn.allow_tf32
        try:
            matmul.allow_tf32 = cudnn.allow_tf32 = self.precision == "tf32"
            yield
        finally:
            matmul.allow_tf32, cudnn.allow_tf32 = before

    def free_bytes(self) -> int:
        """Memory of the GPU that is free."""
        return torch.cuda.mem_get_info(self.at)[0]


CPU = Accelerator()


def together(model: nn.Module, weights: Mapping[str, Tensor]) -> Callable[..., Tensor]:
    """A network with several sets of weights as one function: inputs (inputs, ...) to outputs (sets, inputs, ...).

    The function is called like the network.

    Args:
        model: shared by all sets except for these weights.
        weights: `{parameter: (sets, ...)}`.
    """

    def one(weights: dict[str, Tensor], args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> Tensor:
        output: Tensor = functional_call(model, weights, args, kwargs)
        return output

    batched = vmap(one, in_dims=(0, None, None))
    return lambda *args, **kwargs: batched(dict(weights), args, kwargs)
