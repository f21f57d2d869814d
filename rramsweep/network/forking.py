"""Detection of a process that was forked after torch used threads: they no longer exist, and torch waits for ever."""

from __future__ import annotations

import os
import signal
import time

import torch

from rramsweep.errors import Sentence, ValidationError

# The trial operation takes a millisecond. A process that takes this long is waiting for threads that do not exist.
TRIAL_S = 2.0

# Linux's flag of a process that was forked and runs no program of its own, PF_FORKNOEXEC.
_FORKED_ONLY = 0x40

_forks: set[int] = set()  # process ids of forks that this module saw, for systems without /proc
_sound: set[int] = set()


def _note() -> None:
    _forks.add(os.getpid())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note)


def refuse_after_fork() -> None:
    """Check that the process was not forked when torch had threads.

    There is no record of this, so a child process tries to compute, and hangs instead of this one. A process that has
    run torch since it was forked has threads of its own and passes without a trial.

    Raises:
        ValidationError: says how to start the process instead.
    """
    pid = os.getpid()
    if pid in _sound or not _was_forked():
        return
    if not _has_own_threads() and not _can_compute():
        raise ValidationError(
            Sentence(
                "torch must have its threads to compute, but this process was forked from one that had used them, and "
                "would wait for ever"
            ),
            "start it with multiprocessing.get_context('spawn'), or fork before anything is computed",
        )
    _sound.add(pid)


def _was_forked() -> bool:
    """True in a process that was forked, before or after this module was loaded."""
    try:
        with open("/proc/self/stat", encoding="utf-8", errors="replace") as stat:
            return bool(int(stat.read().rpartition(")")[2].split()[6]) & _FORKED_ONLY)
    except OSError:
        return os.getpid() in _forks


def _has_own_threads() -> bool:
    """True if a thread of this process waits inside torch's threading library; no such thread survives a fork."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            spans = [
                [int(end, 16) for end in line.split()[0].split("-")]
                for line in maps
                if any(name in line for name in ("libgomp", "libiomp", "libomp"))
            ]
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/syscall", encoding="utf-8") as file:
                where = file.read().split()[-1]
            if where.startswith("0x") and any(low <= int(where, 16) < high for low, high in spans):
                return True
    except OSError:  # no /proc, or a kernel that does not say
        return False
    return False


def _can_compute() -> bool:
    """Run one operation on two threads in a fork of this process; False where it fails, or has not ended in time."""
    child = os.fork()
    if child == 0:
        failed = 1
        try:
            torch.set_num_threads(max(2, torch.get_num_threads()))
            torch.zeros(1 << 20).add_(1)
            matrix = torch.zeros(256, 256)
            torch.mm(matrix, matrix)
            failed = 0
        finally:  # the child must not continue with the caller's code, whatever was raised
            os._exit(failed)
    until = time.monotonic() + TRIAL_S
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False
