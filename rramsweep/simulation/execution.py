"""The way to run a network: inputs a forward pass, memory format, threads, chips at once; `choose` is the rule.

On a CPU a batch has as many inputs as keep its largest activation within `CACHE_BYTES`, convolutions over two axes run
channels last, and for a network of up to `IN_FLIGHT_PARAMETERS` parameters one chip per core runs at the same time,
each on one thread. On a GPU a batch fills `BATCH_BYTES`, and as many chips share a pass as fit into half of the free
memory. Settings that a user fixes are not changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rramsweep.datasets.inputs import AnyInputs, call
from rramsweep.network.accelerator import CPU, Accelerator, together
from rramsweep.network.numerics import fixed_arithmetic
from rramsweep.study.executions import FORMATS
from rramsweep.study.settings import Settings

# Inputs per pass of the digital baseline, which does not depend on the way in which chips are run.
BATCH = 64

# Bytes of a batch's largest activation. With 1 MiB of L2 per core and 32 MiB of L3, half or twice as much changes the
# time by up to 5 %, depending on the network. With fewer inputs than SMALLEST, the threads of a pass wait for each
# other too often, so SMALLEST is used as long as the batches of all chips at the same time stay within BATCH_BYTES.
CACHE_BYTES = 4 << 20
BATCH_BYTES = 256 << 20
SMALLEST = 64

# Parameters of the largest network of which, by default, several chips are in memory at once: each chip in flight has
# its own weights, which must be small compared with the 300 MB of torch itself.
IN_FLIGHT_PARAMETERS = 4_000_000

# Largest number of chips in a pass: 2,048 copies of even a small network fill a GPU's cores.
LARGEST_PASS = 2048

# Inputs that are run to measure the size of activations: two, since a network may squeeze an axis of length one.
SAMPLE = 2


@dataclass(frozen=True)
class Execution:
    """One way to run a network. Scores are bit-identical under one way, and agree to rounding under all.

    Args:
        batch_size: inputs a forward pass.
        memory_format: `contiguous` or `channels_last` (images innermost by channel, for convolutions).
        threads: torch threads; None leaves torch's own choice.
        chips_per_pass: chips that are run as one batch (`accelerator.together`), each with its own weights.
        chips_in_flight: chips that are run at the same time, each on its own `threads` threads.

    Raises:
        ValueError: a value out of range.
    """

    batch_size: int = BATCH
    memory_format: str = "contiguous"
    threads: int | None = None
    chips_per_pass: int = 1
    chips_in_flight: int = 1

    def __post_init__(self) -> None:
        for name in ("batch_size", "threads", "chips_per_pass", "chips_in_flight"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}: give a larger integer")
        if self.chips_per_pass > 1 < self.chips_in_flight:
            raise ValueError(
                f"chips are run in passes or at the same time, got chips_per_pass={self.chips_per_pass} and "
                f"chips_in_flight={self.chips_in_flight}: set one of them to 1"
            )
        if self.memory_format not in FORMATS:
            raise ValueError(
                f"memory_format must be one of {', '.join(FORMATS)}, got {self.memory_format!r}: pick one or null"
            )

    @property
    def format(self) -> torch.memory_format:
        """The memory format as torch names it."""
        return torch.channels_last if self.memory_format == "channels_last" else torch.contiguous_format

    @property
    def threads_per_chip(self) -> int:
        """Torch threads of each chip in flight: as fixed, or an equal part of all threads."""
        return self.threads or max(1, torch.get_num_threads() // self.chips_in_flight)

    def use_threads(self) -> None:
        """Set the number of torch's threads, if `threads` is given."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)

    def batches(self, x: AnyInputs) -> Sequence[AnyInputs]:
        """Inputs in batches; copied only if the memory format requires it."""
        return x.contiguous(memory_format=self.format).split(self.batch_size)


@dataclass(frozen=True)
class ExecutionSettings:
    """The part of an `Execution` that a user fixes; None follows the rule.

    Args:
        batch_size, memory_format: see `Execution`.
        threads, chips_per_pass, chips_in_flight: likewise.
        one_process: True if the sweep uses this machine's cores in a single process, so that the rule may set threads.

    Raises:
        ValueError: a value out of range.
    """

    batch_size: int | None = None
    memory_format: str | None = None
    threads: int | None = None
    chips_per_pass: int | None = None
    chips_in_flight: int | None = None
    one_process: bool = True

    def __post_init__(self) -> None:
        Execution(**self._fixed())

    @staticmethod
    def of(settings: Settings) -> ExecutionSettings:
        """The part of an execution that a sweep's settings fix."""
        names = [each.name for each in fields(ExecutionSettings) if each.name != "one_process"]
        return ExecutionSettings(one_process=settings.shards == 1, **{name: getattr(settings, name) for name in names})

    @property
    def key(self) -> str:
        """Text of the settings in `executions.json`; it must not change, or stores would not find their entries."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "one_process"}
        return f"Wish({', '.join(f'{name}={value!r}' for name, value in values.items())}, alone={self.one_process!r})"

    def check_format(self, shape: Sequence[int], weights: Iterable[Tensor]) -> None:
        """Check that inputs of this shape, and these weights, can have the memory format.

        Raises:
            ValueError: states the shapes.
        """
        if self.memory_format == "channels_last" and not takes_channels_last(shape, weights):
            raise ValueError(
                "memory_format=channels_last is of images (N, C, H, W) and convolutions over two axes, got inputs of "
                f"shape {tuple(shape[1:])} or weights of another number of axes: use contiguous or null"
            )

    def completed(self, **chosen: Any) -> Execution:
        """Complete the fixed settings with chosen ones."""
        return Execution(**{**chosen, **self._fixed()})

    def _fixed(self) -> dict[str, Any]:
        values = {each.name: getattr(self, each.name) for each in fields(Execution)}
        return {name: value for name, value in values.items() if value is not None}


def takes_channels_last(shape: Sequence[int], weights: Iterable[Tensor]) -> bool:
    """True if inputs are images and convolutions are over two axes; torch refuses channels last for weights of five."""
    axes = {weight.dim() for weight in weights}
    return len(shape) == 4 and 4 in axes and 5 not in axes


@fixed_arithmetic()
@torch.inference_mode()
def choose(model: nn.Module, x: AnyInputs, settings: ExecutionSettings, accelerator: Accelerator = CPU) -> Execution:
    """Choose the way to run a network: fixed settings, completed by the rule.

    Args:
        model: in eval mode; its device and number format are changed.
        x: inputs, of which the first few are run.
        settings: the part that a user fixes.
        accelerator: processor that runs it.

    Raises:
        ValueError: several chips per pass for a network that cannot be batched, chips in flight on a GPU, or channels
            last for a network without convolutions over two axes.
    """
    model.to(accelerator.at, accelerator.dtype)
    settings.check_format(x.shape, model.parameters())
    sample = accelerator.take(x[:SAMPLE])
    if (settings.chips_per_pass or 1) > 1 and (reason := _batching_error(model, sample)):
        raise ValueError(
            f"chips_per_pass must be 1 for a network that torch.func.vmap cannot batch ({reason[:200]}): leave it out"
        )
    if (settings.chips_in_flight or 1) > 1 and not accelerator.is_cpu:
        raise ValueError(
            f"chips_in_flight is of CPUs, got {settings.chips_in_flight} with accelerator.device="
            f"{accelerator.device}: give chips_per_pass, which a GPU runs at once"
        )
    return (_on_cpu if accelerator.is_cpu else _on_gpu)(model, x, sample, settings, accelerator)


def _on_cpu(
    model: nn.Module, x: AnyInputs, sample: AnyInputs, settings: ExecutionSettings, _: Accelerator
) -> Execution:
    chosen: dict[str, Any] = {}
    if takes_channels_last(x.shape, model.parameters()):
        chosen["memory_format"] = "channels_last"
    settled = settings.threads is not None or settings.chips_in_flight is not None or (settings.chips_per_pass or 1) > 1
    if settings.one_process and not settled:
        chips = chips_in_flight(sum(p.numel() for p in model.parameters()), torch.get_num_threads())
        chosen |= {"chips_in_flight": chips, "threads": 1} if chips > 1 else {}
    if settings.batch_size is None:
        execution = settings.completed(**chosen)
        at_once = execution.chips_in_flight * execution.chips_per_pass
        chosen["batch_size"] = batch_size(largest_activation(model, sample), len(x), at_once)
    return settings.completed(**chosen)


def _on_gpu(
    model: nn.Module, x: AnyInputs, sample: AnyInputs, settings: ExecutionSettings, accelerator: Accelerator
) -> Execution:
    # Contiguous: channels last has not been measured for the grouped convolutions of a pass with several chips.
    activation = largest_activation(model, sample)
    size = settings.batch_size or batch_size(activation, len(x), cache=BATCH_BYTES)
    chips = 1
    if settings.chips_per_pass is None and not _batching_error(model, sample):
        weights = sum(p.nbytes for p in model.parameters())
        chips = chips_per_pass(weights, activation * min(size, len(x)), accelerator.free_bytes())
    return settings.completed(batch_size=size, chips_per_pass=chips)


def batch_size(activation: int, n: int, chips: int = 1, cache: int | None = None) -> int:
    """Inputs per forward pass: a power of two, or all inputs if these are fewer.

    Args:
        activation: bytes of the largest activation of one input.
        n: number of inputs.
        chips: chips that are run at the same time.
        cache: bytes of a batch's largest activation; None is CACHE_BYTES.
    """
    size = max((cache or CACHE_BYTES) // activation, min(SMALLEST, BATCH_BYTES // chips // activation), 1)
    return min(_power_of_two(size), max(n, 1))


def chips_in_flight(parameters: int, cores: int) -> int:
    """Chips that are run at the same time on a CPU: one per core, if the network is small enough for as many copies."""
    return cores if parameters <= IN_FLIGHT_PARAMETERS else 1


def chips_per_pass(weights: int, activation: int, free: int) -> int:
    """Chips in one batch on a GPU: a power of two that takes at most half of the free memory.

    Args:
        weights: bytes of one chip's weights, held twice while they are stacked.
        activation: bytes of a batch's largest activation of one chip; four of them are assumed for an operation's
            inputs, outputs and workspace and for residual branches.
        free: bytes of free memory.
    """
    return min(_power_of_two(max(free // 2 // (2 * weights + 4 * activation), 1)), LARGEST_PASS)


def largest_activation(model: nn.Module, x: AnyInputs) -> int:
    """Bytes per input of the largest tensor that any operation of a forward makes."""
    seen = _LargestTensor()
    with seen:
        call(model, x)
    return max(seen.nbytes // len(x), 1)


class _LargestTensor(TorchFunctionMode):
    """Records the bytes of the largest tensor that a function of torch returns while active."""

    nbytes = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        tensors = [each for each in (made if isinstance(made, tuple | list) else [made]) if isinstance(each, Tensor)]
        self.nbytes = max([self.nbytes, *(each.nbytes for each in tensors)])
        return made


def _power_of_two(value: int) -> int:
    """Largest power of two up to a value of at least 1."""
    return 1 << (value.bit_length() - 1)


def _batching_error(model: nn.Module, x: AnyInputs) -> str:
    """The reason why several chips of a network cannot be run as one batch; empty if they can."""
    weights = {name: p.expand(2, *p.shape).clone() for name, p in model.named_parameters() if p.dim() > 1}
    try:
        call(together(model, weights), x)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        return " ".join(str(error).split())
    return ""
