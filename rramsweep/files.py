"""Files that are whole or absent: written beside their place and renamed into it."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomic(path: Path, data: bytes, exclusive: bool = False) -> None:
    """Write a file so that no reader, and no kill, ever sees half of it; durable when this returns.

    Args:
        path: where it goes.
        data: its bytes.
        exclusive: refuse to replace a file that is there.

    Raises:
        FileExistsError: `exclusive`, and the file is there.
        OSError: the disk is full or the folder cannot be written; nothing stays behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
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
