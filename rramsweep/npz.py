"""Arrays from `.npz` files, whose headers are compared with the memory before anything is unpacked."""

from __future__ import annotations

import io
import lzma
import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from rramsweep.errors import Sentence, ValidationError
from rramsweep.limits import MEMORY_SHARE

# numpy's own limit on the length of a header, which it compares only after it has read all of it.
MAX_HEADER = 10_000

# Memory that is assumed where the system does not report it.
UNKNOWN_MEMORY = 8 * 2**30

_MAGIC = b"\x93NUMPY"


def holds_one_array(path: str | PathLike[str]) -> bool:
    """True for a file of `np.save`, which holds a single array and is not an archive."""
    with open(path, "rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def array_names(path: str | PathLike[str]) -> list[str]:
    """Names of the arrays in a file.

    Raises:
        zipfile.BadZipFile: the file is not an archive, or damaged.
        OSError: it cannot be read.
    """
    with zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def read_arrays(path: str | PathLike[str], names: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
    """Read arrays of a file, in the byte order of this machine.

    Args:
        path: the file.
        names: those to read; None reads all.

    Raises:
        ValidationError: according to their headers, they would fill more than `limits.MEMORY_SHARE` of the available
            memory.
        ValueError: an array of objects, which would have to be unpickled.
        zipfile.BadZipFile: the file is damaged, holds something else than arrays, or unpacks to another size than its
            headers say.
        OSError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            wanted = {name: members[name] for name in (members if names is None else names)}
            headers = {name: _read_header(archive, name, info) for name, info in wanted.items()}
            largest = max(headers, key=lambda name: headers[name].size, default=None)
            if largest is not None:
                total = sum(header.size for header in headers.values())
                check_memory(total, path, f"{largest} is {headers[largest].words}")
            for name, header in headers.items():
                if header.unpacked != header.size and not header.objects:
                    raise zipfile.BadZipFile(
                        f"{name} unpacks to {header.unpacked} bytes where its header says {header.size}"
                    )
            arrays = {}
            for name, info in wanted.items():
                with archive.open(info) as member:
                    arrays[name] = native(npy.read_array(member, allow_pickle=False))
            return arrays
    except (zlib.error, lzma.LZMAError, struct.error, RuntimeError, NotImplementedError) as error:
        raise zipfile.BadZipFile(str(error)) from None


def check_memory(size: int, path: str | PathLike[str], largest: str) -> None:
    """Check that the contents of a file fill at most `limits.MEMORY_SHARE` of the memory available.

    Args:
        size: bytes of the contents.
        path: the file, for the message.
        largest: description of the largest part, for the message.

    Raises:
        ValidationError: names both sizes.
    """
    free = available_memory()
    share = MEMORY_SHARE.value
    if size > share * free:
        raise ValidationError(
            Sentence(
                f"a file must fit into {100 * share:g} % of the memory available, {_gigabytes(free)}, but "
                f"{os.fspath(path)} needs {_gigabytes(size)} ({largest})"
            ),
            "save fewer rows or narrower numbers, run where there is more memory, or raise the limit with the "
            f"environment variable {MEMORY_SHARE.variable}",
        )


def available_memory() -> int:
    """Bytes that this process can still allocate: those of the machine, or of its control group if that has less."""
    free = [_machine_memory()]
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        values = [_integer(Path(limit)), _integer(Path(used))]
        if values[0] is not None and values[1] is not None:
            free.append(max(values[0] - values[1], 0))
    return min(free)


def _machine_memory() -> int:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pages, size = (os.sysconf_names.get(name) for name in ("SC_PHYS_PAGES", "SC_PAGE_SIZE"))
        if pages is not None and size is not None:
            return os.sysconf(pages) * os.sysconf(size)
    return UNKNOWN_MEMORY


def _integer(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


@dataclass(frozen=True)
class _Header:
    """Header of an array: bytes that it announces, bytes that follow it, and whether these are pickled objects."""

    size: int
    unpacked: int
    objects: bool
    words: str


def _read_header(archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> _Header:
    with archive.open(info) as member:
        if member.read(len(_MAGIC)) != _MAGIC:
            raise zipfile.BadZipFile(f"{name} is no array")
        version = (_exactly(member, 1)[0], _exactly(member, 1)[0])
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise zipfile.BadZipFile(f"{name} has the unknown format {version[0]}.{version[1]}")
        width = 2 if version == (1, 0) else 4
        prefix = _exactly(member, width)
        length = int.from_bytes(prefix, "little")
        if length > MAX_HEADER:
            raise zipfile.BadZipFile(f"the header of {name} has {length} bytes")
        header = io.BytesIO(prefix + _exactly(member, length))
    try:
        # Version 3 differs from 2 in the header's encoding only, which matters for names of fields.
        shape, _, dtype = (npy.read_array_header_1_0 if width == 2 else npy.read_array_header_2_0)(header)
    except (ValueError, SyntaxError, TypeError, tokenize.TokenError) as error:
        raise zipfile.BadZipFile(f"the header of {name} cannot be read ({error})") from None
    if any(n < 0 for n in shape):
        raise zipfile.BadZipFile(f"{name} has the shape {shape}")
    size = math.prod(shape) * dtype.itemsize
    unpacked = info.file_size - len(_MAGIC) - 2 - width - length
    return _Header(size, unpacked, dtype.hasobject, f"{dtype} of shape {shape}")


def _exactly(member: IO[bytes], n: int) -> bytes:
    data = member.read(n)
    if len(data) != n:
        raise zipfile.BadZipFile("a header is cut off")
    return data


def native(array: NDArray[Any] | np.generic) -> NDArray[Any]:
    """Convert numbers to a format that torch accepts: the byte order of this machine, at most float64."""
    array = np.asarray(array)
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB"
