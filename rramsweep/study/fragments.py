"""Parquet fragments of one kind in a folder: whole or absent, named by their bytes, never changed once written."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rramsweep.files import NotRegularError, check_regular, read_regular, write_atomic

log = logging.getLogger(__name__)


class Fragments:
    """The files `<kind>-<hash of their bytes>.parquet` of a folder, read as one table.

    A fragment that was truncated or edited after it was written no longer carries its own name, and what is no regular
    file is none: both are set aside with a message, and what they held is missing.

    Args:
        root: the folder.
        kind: beginning of the files' names.
        schema: of every fragment.
        loss: what a fragment that is set aside means for a user, for the message.
    """

    def __init__(self, root: Path, kind: str, schema: pa.Schema, loss: str) -> None:
        self._root, self._kind, self._schema, self._loss = root, kind, schema, loss

    def paths(self) -> list[Path]:
        """The files there are."""
        return [path for path in self._names() if path.is_file()]

    def add(self, table: pa.Table) -> Path:
        """Write a fragment, durable when this returns.

        Raises:
            OSError: the disk is full or gone; nothing half-written stays under a fragment's name.
        """
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        data = buffer.getvalue()
        path = self._root / f"{self._name(data)}.parquet"
        write_atomic(path, data)
        return path

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """These columns (None: all) of all rows of all whole fragments."""
        schema = self._schema if columns is None else pa.schema([self._schema.field(name) for name in columns])
        gone: set[Path] = set()
        while True:
            tables, missed = [], set()
            for path in self._names():
                try:
                    table = self._read(path, schema)
                except FileNotFoundError:
                    missed.add(path)
                else:
                    tables += [] if table is None else [table]
            # Another process has merged fragments between the listing and now: their rows are in a new file. A name
            # that is listed time and again but cannot be opened is none of those.
            if missed <= gone:
                for path in sorted(missed):
                    log.warning("%s is listed but cannot be opened and is ignored; %s", path, self._loss)
                return pa.concat_tables(tables) if tables else pa.Table.from_batches([], schema)
            gone |= missed

    def set_aside_others(self) -> None:
        """Set aside what has a fragment's name and is no regular file, without reading any fragment."""
        for path in self._names():
            try:
                check_regular(path)
            except NotRegularError as error:
                self._set_aside(path, f"is {error.kind}")
            except FileNotFoundError:  # merged meanwhile by another process
                continue

    def replace(self, old: list[Path], table: pa.Table) -> None:
        """Put one fragment in the place of several; written before they go, so that a kill loses nothing."""
        new = self.add(table)
        for path in old:
            if path != new:
                path.unlink(missing_ok=True)

    def _names(self) -> list[Path]:
        return sorted(self._root.glob(f"{self._kind}-*.parquet"))

    def _read(self, path: Path, schema: pa.Schema) -> pa.Table | None:
        try:
            data = read_regular(path)
        except NotRegularError as error:
            self._set_aside(path, f"is {error.kind}")
            return None
        if path.stem != self._name(data):
            self._set_aside(path, "was damaged")
            return None
        try:
            file = pq.ParquetFile(pa.BufferReader(data))
            have = [name for name in schema.names if name in file.schema_arrow.names]
            # In this thread alone: one of Arrow's own that still holds Python's bytes when the interpreter ends takes
            # the process down with it, exit 134.
            return _whole(file.read(columns=have, use_threads=False), schema)
        except (pa.ArrowException, OSError) as error:
            self._set_aside(path, f"holds other columns than a fragment ({' '.join(str(error).split())})")
            return None

    def _set_aside(self, path: Path, why: str) -> None:
        aside = path.with_suffix(".damaged")
        log.warning("%s %s and is set aside as %s; %s", path, why, aside.name, self._loss)
        try:
            path.rename(aside)
        except OSError as error:
            log.warning("it could not be renamed (%s) and is ignored", error.strerror)

    def _name(self, data: bytes) -> str:
        return f"{self._kind}-{hashlib.sha256(data).hexdigest()[:32]}"


def _whole(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The schema's columns; one that an older scheme did not have is null."""
    have = set(table.column_names)
    columns = [table[f.name] if f.name in have else pa.nulls(len(table), f.type) for f in schema]
    return pa.table(columns, names=schema.names).cast(schema)
