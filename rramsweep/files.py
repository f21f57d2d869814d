"""Atomic writing of files, by renaming a temporary file, and reading of regular files only."""

from __future__ import annotations

import os
import re
import secrets
import socket
import stat
import time
from pathlib import Path

# A temporary file is renamed within seconds of its last byte. The writer of an older one has ended, unless it is a
# process on this machine that still runs.
LEFTOVER_S = 3600.0

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9-]")
# `.NAME.HOST.PID.TOKEN.tmp`; before there were hosts and tokens `.NAME.PID.tmp`.
_TEMPORARY = re.compile(r"\..+?(?:\.(?P<host>[A-Za-z0-9-]+)\.(?P<pid>\d+)\.[0-9a-f]{16}|\.\d+)\.tmp")


class NotRegularError(OSError):
    """Error for a path that is not a regular file: a folder, a FIFO, a socket, a device, or a dangling link."""

    def __init__(self, path: Path, kind: str) -> None:
        super().__init__(path, kind)
        self.kind = kind
        self.strerror = f"{path} is {kind}, not a regular file: move it away"

    def __str__(self) -> str:
        return str(self.strerror)


def read_regular(path: Path) -> bytes:
    """Read the bytes of a regular file or of the target of a link; never wait for a FIFO.

    Raises:
        FileNotFoundError: nothing has this name.
        NotRegularError: something else has it.
        OSError: it cannot be read.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO without a writer would block for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        try:
            check_regular(path)
        except FileNotFoundError:
            raise error from None
        raise
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise NotRegularError(path, _kind(mode))
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def check_regular(path: Path) -> None:
    """Check that a path is a regular file or a link to one, without opening it.

    Raises:
        FileNotFoundError: nothing has this name.
        NotRegularError: something else has it.
    """
    if stat.S_ISLNK(path.lstat().st_mode) and not path.exists():
        raise NotRegularError(path, "a link that leads nowhere")
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise NotRegularError(path, _kind(mode))


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def temporary_name(path: Path) -> Path:
    """Hidden name beside a path that no other process on any host uses."""
    host = _NOT_IN_NAMES.sub("-", socket.gethostname())[:32] or "host"
    return path.with_name(f".{path.name}.{host}.{os.getpid()}.{secrets.token_hex(8)}.tmp")


def remove_leftovers(folder: Path, older_than_s: float = LEFTOVER_S) -> None:
    """Remove temporary files of writers that were killed.

    Args:
        folder: where they are; its subfolders are left alone.
        older_than_s: younger ones may be in use on another host, whose processes cannot be seen from here.

    Raises:
        OSError: one of them cannot be removed.
    """
    host = temporary_name(Path("x")).name.split(".")[2]
    for path in folder.glob(".*.tmp"):
        named = _TEMPORARY.fullmatch(path.name)
        if named is None or (named["host"] == host and _is_running(int(named["pid"]))):
            continue
        remove_if_old(path, older_than_s)


def remove_if_old(path: Path, older_than_s: float = LEFTOVER_S) -> None:
    """Remove a file that was last written longer ago than this, unless another process has already removed it.

    Raises:
        OSError: it cannot be removed.
    """
    try:
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and time.time() - status.st_mtime > older_than_s:
            path.unlink()
    except FileNotFoundError:
        return


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        return True
    return True


def write_atomic(path: Path, data: bytes, exclusive: bool = False) -> None:
    """Write a file atomically, so that neither a reader nor a kill leaves half of it; it is durable on return.

    Args:
        path: of the file.
        data: its bytes.
        exclusive: never replace an existing file.

    Raises:
        FileExistsError: `exclusive`, and the file exists.
        OSError: the disk is full or the folder cannot be written; no temporary file remains.
    """
    temporary = temporary_name(path)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if exclusive:
            os.link(temporary, path)
        else:
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
