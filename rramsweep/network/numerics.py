"""Global state of torch that changes computed numbers, and that a caller may have set for other work.

A chip's score must not depend on it, because the identity of a point does not contain the caller's state.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch

from rramsweep.errors import ValidationError

# Device types with an autocast mode of their own, on any machine.
AUTOCAST_TYPES = ("cpu", "cuda", "xpu", "mps", "hpu", "mtia", "xla", "ipu", "maia", "privateuseone")

# A denormal number of float32, which becomes 0 where denormals are flushed.
_DENORMAL = 1e-40


@contextmanager
def fixed_arithmetic() -> Iterator[None]:
    """Compute as in a fresh process; the caller's settings are restored afterwards.

    Autocast is off for every type of device, the default dtype is float32, the default device is the CPU, float32
    products on the CPU have full precision, denormals are kept, and inference mode and grad mode are torch's defaults.
    Autocast, default device and the two modes are set for the entering thread; the others for the process, until the
    last of several threads leaves. Also usable as a decorator. A generator must not `yield` inside, because its
    consumer would then run with these settings.
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
            torch.set_default_dtype(torch.float32)  # a factory that ran inside may have changed it

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                torch.set_default_dtype(self._dtype)
                self._restore()

    def _lower(self) -> None:
        """Forbid products of reduced precision, which `set_float32_matmul_precision` and its successors allow."""
        operations: list[Any] = [getattr(torch.backends.mkldnn, name, None) for name in ("matmul", "conv", "rnn")]
        self._precisions = [
            (operation, operation.fp32_precision)
            for operation in operations
            if getattr(operation, "fp32_precision", "none") not in ("none", "ieee")
        ]
        for operation, _ in self._precisions:
            operation.fp32_precision = "ieee"
        if operations[0] is None:  # before torch 2.9 only the older switch exists
            self._matmul = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("highest")

    def _restore(self) -> None:
        for operation, before in self._precisions:
            operation.fp32_precision = "none"  # inherits the setting for all operations, if it was inherited before
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
    """Private functions of torch, as there is no public way to suspend a default device.

    Returns:
        None if this version of torch lacks them and the default device is the CPU, so that nothing must be suspended.

    Raises:
        ValidationError: this version lacks them, and another default device is set.
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
    """Suspend the default device of this thread.

    A device context of the CPU would not be equivalent: inside any such context torch uses other kernels for attention.
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
