"""Signals that end a command: SIGTERM and SIGHUP act as Ctrl-C does, and no worker outlives its command."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

# Ending a shell of a terminal, and some batch systems, send a signal twice at once: that is one request.
REPEAT_S = 2.0

# What a worker gets to put its finished trials into the store.
WORKERS_S = 5.0

# `HOST:PID` of the command, for its workers.
DRIVER = "RRAMSWEEP_DRIVER"
WATCH_S = 1.0

# Shell convention.
_OF_SIGNALS = 128

_PROC = Path("/proc")

_tables_pending = threading.Event()
_received: list[int] = []
_handlers: dict[int, Callable[[int, FrameType | None], None]] = {}
_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """SIGTERM or SIGHUP, raised where Ctrl-C would be.

    Args:
        signum: number of the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def ended_by(error: BaseException) -> tuple[str, int]:
    """An interrupt in words, and the exit status that a shell gives it."""
    signum = error.signum if isinstance(error, Stopped) else signal.SIGINT
    words = f"ended by {signal.Signals(signum).name}" if isinstance(error, Stopped) else "interrupted"
    return words, _OF_SIGNALS + signum


@contextmanager
def signals_as_interrupts() -> Iterator[None]:
    """Raise `Stopped` at SIGTERM and SIGHUP for the time being; a second one ends the process and its workers at once.

    Within `tables_come_first` a second one does nothing.
    Nothing changes outside the main thread, nor for a signal that is ignored (`nohup`) or has a handler already.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    replaced = [number for number in _SIGNALS if signal.getsignal(number) == signal.SIG_DFL]
    terminals = [descriptor for descriptor in (1, 2) if _is_terminal(descriptor)]
    excluded, first = _descendants(os.getpid()), list[float]()

    def stop(number: int, _: FrameType | None) -> None:
        if first and (_tables_pending.is_set() or time.monotonic() - first[0] < REPEAT_S):
            return
        if first:
            end_workers(excluded)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        first.append(time.monotonic())
        _received.append(number)
        _close_lost(terminals)
        raise Stopped(number)

    _received.clear()
    try:
        for number in replaced:
            _handlers[number] = stop
            signal.signal(number, stop)
        yield
    finally:
        for number in replaced:
            _handlers.pop(number, None)
            signal.signal(number, signal.SIG_DFL)


def as_received(interrupt: KeyboardInterrupt) -> KeyboardInterrupt:
    """The signal behind an interrupt, where a library has raised a plain one in its place."""
    return Stopped(_received[-1]) if _received and not isinstance(interrupt, Stopped) else interrupt


def take_handlers_back() -> None:
    """Install the handlers of `signals_as_interrupts` again, after a library has put its own in their place."""
    for number, handler in _handlers.items():
        signal.signal(number, handler)


@contextmanager
def tables_come_first() -> Iterator[None]:
    """Ignore a second signal from the first one until this is left, which the writing of tables must end.

    SIGKILL still ends the process, and its workers end once they miss it.
    """
    if _tables_pending.is_set():
        yield
        return
    _tables_pending.set()
    try:
        yield
    finally:
        _tables_pending.clear()


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def _close_lost(terminals: list[int]) -> None:
    """Lead output to a terminal that has been closed into nothing: a line to it is an error, and tables come first."""
    for descriptor in terminals:
        if not _is_terminal(descriptor):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, descriptor)
            os.close(null)


@contextmanager
def workers_end_with_us() -> Iterator[None]:
    """Name this process to the workers that are started within, and end them where this is left by an exception."""
    before, excluded = os.environ.get(DRIVER), _descendants(os.getpid())
    os.environ[DRIVER] = f"{socket.gethostname()}:{os.getpid()}"
    try:
        yield
    except BaseException as error:
        end_workers(excluded, error)
        raise
    finally:
        if before is None:
            del os.environ[DRIVER]
        else:
            os.environ[DRIVER] = before


def end_workers(excluded: set[int], error: BaseException | None = None) -> None:
    """End every process that this one started, and what those started.

    Args:
        excluded: process ids of those that are left alone.
        error: an interrupt gives them time to keep what they have finished. At Ctrl-C a terminal has told them as well.
    """
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        ray.shutdown()  # first: this process dies with Ray's own if one of them gets a signal
    workers = _descendants(os.getpid()) - excluded
    if isinstance(error, Stopped):
        # Those that compute: what only waits for a worker ends with it, and would print where it was.
        _send(workers - {int(status[1]) for pid in workers if (status := _status(pid)) is not None}, signal.SIGINT)
    until = time.monotonic() + WORKERS_S
    while isinstance(error, KeyboardInterrupt) and time.monotonic() < until and any(map(_runs, workers)):
        time.sleep(0.05)
    _send((workers | _descendants(os.getpid())) - excluded, signal.SIGKILL)


def _send(workers: set[int], number: int) -> None:
    for pid in workers:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):  # gone meanwhile, or of another user by now
            continue


def _descendants(root: int) -> set[int]:
    """Ids of children, their children, and so on, but for helpers that end by themselves; without /proc none."""
    children: dict[int, list[int]] = {}
    for folder in _PROC.glob("[0-9]*"):
        status = _status(int(folder.name))
        if status is not None and status[0] != "Z":
            children.setdefault(int(status[1]), []).append(int(folder.name))
    found: set[int] = set()
    left = [root]
    while left:
        new = children.get(left.pop(), [])
        left += new
        found.update(new)
    return {pid for pid in found if not _is_helper(pid)}


def _status(pid: int) -> list[str] | None:
    """State, parent and so on of a process, from /proc; None where there is none."""
    try:
        return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def _is_helper(pid: int) -> bool:
    # Python's and joblib's trackers remove what a killed process left of shared memory, and end by themselves.
    try:
        return b"resource_tracker" in (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return False


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    status = _status(pid)
    return status is None or status[0] != "Z"


_watching = threading.Event()


def end_with_driver() -> None:
    """Watch the command that started this worker, and interrupt this process once the command is gone.

    Nothing happens in the command itself, on another host, or where no command is named.
    """
    host, _, pid = os.environ.get(DRIVER, "").rpartition(":")
    if host != socket.gethostname() or int(pid) == os.getpid() or _watching.is_set():
        return
    _watching.set()

    def watch() -> None:
        while _runs(int(pid)):
            time.sleep(WATCH_S)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(WORKERS_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="rramsweep-driver", daemon=True).start()
