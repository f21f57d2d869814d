"""Parquet fragments of one kind in a folder: whole or absent, named by their bytes, never changed once written."""

from __future__ import annotations

import hashlib
import io
import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rramsweep.files import write_atomic

log = logging.getLogger(__name__)


class Fragments:
    """The files `<kind>-<hash of their bytes>.parquet` of a folder, read as one table.

    A fragment that was truncated or edited after it was written no longer carries its own name: it is set aside
    with a message, and what it held is missing.

    Args:
        root: the folder.
        kind: beginning of the files' names.
        schema: of every fragment.
    """

    def __init__(self, root: Path, kind: str, schema: pa.Schema) -> None:
        self._root, self._kind, self._schema = root, kind, schema

    def paths(self) -> list[Path]:
        """The files there are."""
        return sorted(self._root.glob(f"{self._kind}-*.parquet"))

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

    def read(self) -> pa.Table:
        """All rows of all whole fragments."""
        while True:
            try:
                tables = [table for path in self.paths() if (table := self._read(path)) is not None]
            except FileNotFoundError:
                # Another process has merged fragments between the listing and now: their rows are in a new file.
                continue
            return pa.concat_tables(tables) if tables else self._schema.empty_table()

    def replace(self, old: list[Path], table: pa.Table) -> None:
        """Put one fragment in the place of several; written before they go, so that a kill loses nothing."""
        new = self.add(table)
        for path in old:
            if path != new:
                path.unlink(missing_ok=True)

    def _read(self, path: Path) -> pa.Table | None:
        data = path.read_bytes()
        if path.stem == self._name(data):
            # In this thread alone: one of Arrow's own that still holds Python's bytes when the interpreter ends takes
            # the process down with it, exit 134.
            return self._whole(pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False))
        log.warning("%s was damaged and is set aside; its trials will be computed again", path)
        try:
            path.rename(path.with_suffix(".damaged"))
        except OSError as error:
            log.warning("it could not be renamed (%s) and is ignored", error.strerror)
        return None

    def _whole(self, table: pa.Table) -> pa.Table:
        """The schema's columns; one that an older scheme did not have is null."""
        have = set(table.column_names)
        columns = [table[f.name] if f.name in have else pa.nulls(len(table), f.type) for f in self._schema]
        return pa.table(columns, names=self._schema.names).cast(self._schema)

    def _name(self, data: bytes) -> str:
        return f"{self._kind}-{hashlib.sha256(data).hexdigest()[:32]}"
