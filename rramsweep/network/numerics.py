"""State of torch that decides how numbers are computed, and that a caller may have set for work of their own.

A chip's score must not depend on it: rows are kept under a point that says nothing of the caller's surroundings.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch

from rramsweep.errors import ValidationError

# Device types that have an autocast mode of their own, on whatever machine.
AUTOCAST_TYPES = ("cpu", "cuda", "xpu", "mps", "hpu", "mtia", "xla", "ipu", "maia", "privateuseone")

# The smallest numbers of float32: 0 where denormals are flushed.
_DENORMAL = 1e-40


@contextmanager
def fixed_arithmetic() -> Iterator[None]:
    """Compute as a fresh process would: the caller's settings are set aside and come back afterwards.

    Autocast is off for every type of device, the default dtype float32, the default device the CPU, float32 products
    on the CPU have all their bits, denormals are kept, and the inference mode and the grad mode are torch's default.
    The first, third and last are of the thread that enters; the others of the process, and last until the last of
    several threads leaves. Also a decorator. A generator must not hold it over a `yield`, which would leave its
    consumer in it.
    """
    with ExitStack() as stack:
        stack.enter_context(_process)
        for kind in AUTOCAST_TYPES:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        modes = _modes()
        if modes is not None and modes.all():
            stack.enter_context(_without_default_device(modes))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if not torch.is_grad_enabled():
            stack.enter_context(torch.enable_grad())
        if float(torch.tensor(_DENORMAL, dtype=torch.float32) * 1) == 0 and torch.set_flush_denormal(False):
            stack.callback(torch.set_flush_denormal, True)
        yield


class _Process:
    """Settings of the whole process, held for as long as any thread is inside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._dtype = torch.float32
        self._precisions: list[tuple[Any, str]] = []
        self._matmul: str | None = None

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._dtype = torch.get_default_dtype()
                self._lower()
            torch.set_default_dtype(torch.float32)  # a factory that ran in here may have changed it

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                torch.set_default_dtype(self._dtype)
                self._restore()

    def _lower(self) -> None:
        """Forbid products of fewer bits, which `set_float32_matmul_precision` and its successors allow."""
        operations: list[Any] = [getattr(torch.backends.mkldnn, name, None) for name in ("matmul", "conv", "rnn")]
        self._precisions = [
            (operation, operation.fp32_precision)
            for operation in operations
            if getattr(operation, "fp32_precision", "none") not in ("none", "ieee")
        ]
        for operation, _ in self._precisions:
            operation.fp32_precision = "ieee"
        if operations[0] is None:  # before torch 2.9 there is the older switch alone
            self._matmul = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("highest")

    def _restore(self) -> None:
        for operation, before in self._precisions:
            operation.fp32_precision = "none"  # takes what holds for all operations, if that is what was there
            if operation.fp32_precision != before:
                operation.fp32_precision = before
        if self._matmul is not None:
            torch.set_float32_matmul_precision(self._matmul)
        self._precisions, self._matmul = [], None


_process = _Process()


class _Modes(NamedTuple):
    """Functions of torch on its stack of modes, a default device among them."""

    all: Callable[[], list[Any]]
    pop: Callable[[], Any]
    push: Callable[[Any], None]
    device: type


def _modes() -> _Modes | None:
    """The functions, which torch does not publish: there is no public way to set a default device aside.

    Returns:
        None where this version of torch lacks them, and the default device is the CPU: nothing must be set aside.

    Raises:
        ValidationError: it lacks them, and there is another default device.
    """
    try:
        from torch import overrides
        from torch.utils._device import DeviceContext

        return _Modes(
            overrides._get_current_function_mode_stack, overrides._pop_mode, overrides._push_mode, DeviceContext
        )
    except (ImportError, AttributeError) as error:
        default = torch.tensor(0.0).device
        if default.type == "cpu":
            return None
        raise ValidationError(
            f"must be the CPU with torch {torch.__version__}, in which no other can be set aside",
            "call torch.set_default_device('cpu') before, or leave the block of `with torch.device(...)`",
            parameter="torch's default device",
            value=default,
        ) from error


@contextmanager
def _without_default_device(modes: _Modes) -> Iterator[None]:
    """No default device in this thread.

    A device context of the CPU in its place would not do: while there is any, torch takes other kernels for attention.
    """
    before = [modes.pop() for _ in modes.all()]
    others = [mode for mode in before if not isinstance(mode, modes.device)]
    for mode in reversed(others):
        modes.push(mode)
    try:
        yield
    finally:
        for _ in others:
            modes.pop()
        for mode in reversed(before):
            modes.push(mode)
