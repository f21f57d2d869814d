"""Facts on disk: one row a trial, in Parquet fragments that are never changed once written.

A fragment is written under a temporary name, flushed to the disk and renamed to the hash of its bytes. It is
therefore whole or absent, whenever the process is killed; one that was truncated or edited afterwards no longer
carries its own name, is set aside with a message, and its trials count as missing. Two sweeps may write to one
store at once: they never touch a file of each other's.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rramsweep.files import write_atomic
from rramsweep.plan import Plan, Point

log = logging.getLogger(__name__)

SCHEME = 1

FACTS = pa.schema(
    [
        pa.field("point_id", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # ok or failed
        pa.field("error", pa.string()),  # null unless the trial failed
        pa.field("n_images", pa.int64()),
        pa.field("n_correct", pa.int64()),
        pa.field("n_lost", pa.int64()),  # digital right, chip wrong
        pa.field("n_gained", pa.int64()),  # digital wrong, chip right
        pa.field("accuracy", pa.float64()),  # n_correct / n_images
        pa.field("digital_accuracy", pa.float64()),  # of the network with its own weights
        pa.field("ideal_accuracy", pa.float64()),  # mapped and quantised, every effect ideal
        pa.field("agreement", pa.float64()),  # share of images where chip and digital predict the same class
        pa.field("loss", pa.float64()),
        pa.field("seconds", pa.float64()),
    ]
)

POINTS = pa.schema([pa.field("point_id", pa.string(), nullable=False), pa.field("text", pa.string())])

_SCHEME_FILE = "store.json"


class Store:
    """A folder of fragments: `facts-<hash>.parquet` (rows) and `points-<hash>.parquet` (identity texts).

    Args:
        root: the folder; it is made on the first write.

    Raises:
        ValueError: the folder was written by a newer version, or is a file.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: set[str] | None = None  # points whose text is on disk, read at the first write
        if root.exists() and not root.is_dir():
            raise ValueError(f"the store must be a folder, but {root} is a file: choose another with store=DIR")
        marker = root / _SCHEME_FILE
        if marker.is_file():
            try:
                scheme = int(json.loads(marker.read_text(encoding="utf-8"))["scheme"])
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{marker} must name the store's scheme, but cannot be read ({error}): restore it or remove it"
                ) from error
            if scheme > SCHEME:
                raise ValueError(
                    f"the store must be of scheme {SCHEME} or older, {root} is of scheme {scheme}: "
                    "update rramsweep or choose another with store=DIR"
                )

    def prepare(self) -> None:
        """Make the folder and prove that it can be written.

        Raises:
            ValueError: it cannot be.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            marker = json.dumps({"scheme": SCHEME, "what": "rramsweep facts"}).encode()
            if not (self.root / _SCHEME_FILE).exists():
                write_atomic(self.root / _SCHEME_FILE, marker)
            probe = self.root / f".probe-{os.getpid()}"
            probe.write_bytes(marker)
            probe.unlink()
        except OSError as error:
            raise ValueError(
                f"the store must be writable, but {self.root} is not ({error.strerror}): "
                "free it or choose another with store=DIR"
            ) from error

    def add(self, rows: Sequence[dict[str, Any]], points: Iterable[Point]) -> None:
        """Write rows and the texts of their points, durable when this returns.

        Raises:
            OSError: the disk is full or gone; nothing half-written stays under a fragment's name.
        """
        if self._known is None:
            self._known = set(self.points())
        new = {p.point_id: p.text for p in points if p.point_id not in self._known}
        if new:
            texts = [{"point_id": point_id, "text": text} for point_id, text in new.items()]
            self._add("points", pa.Table.from_pylist(texts, POINTS))
            self._known.update(new)
        self._add("facts", pa.Table.from_pylist(list(rows), FACTS))

    def facts(self, point_ids: Iterable[str] | None = None) -> pa.Table:
        """Rows of these points (None: all), one per (point, seed); a success beats a failure."""
        table = self._read("facts", FACTS)
        if point_ids is not None:
            wanted = pa.array(sorted(set(point_ids)), pa.string())
            table = table.filter(pc.is_in(table["point_id"], value_set=wanted))
        table = table.sort_by([("point_id", "ascending"), ("seed", "ascending"), ("status", "descending")])
        if table.num_rows < 2:
            return table
        codes = table["point_id"].combine_chunks().dictionary_encode().indices.to_numpy()
        seeds = table["seed"].to_numpy()
        first = np.ones(table.num_rows, dtype=bool)
        first[1:] = (codes[1:] != codes[:-1]) | (seeds[1:] != seeds[:-1])
        return table.filter(pa.array(first))

    def points(self) -> dict[str, str]:
        """`{point_id: identity text}` of every point that has rows."""
        table = self._read("points", POINTS)
        return dict(zip(table["point_id"].to_pylist(), table["text"].to_pylist(), strict=True))

    def select(self, plan: Plan) -> pa.Table:
        """The rows that a plan asks for and the store has: its points and exactly its seeds."""
        table = self.facts(p.point_id for p in plan.points)
        wanted: dict[str, set[int]] = {}
        for point, seeds in zip(plan.points, plan.seeds, strict=True):
            wanted.setdefault(point.point_id, set()).update(seeds)
        ids, seeds_ = table["point_id"].to_pylist(), table["seed"].to_pylist()
        return table.filter(pa.array([s in wanted[i] for i, s in zip(ids, seeds_, strict=True)], pa.bool_()))

    def _add(self, kind: str, table: pa.Table) -> None:
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        data = buffer.getvalue()
        write_atomic(self.root / f"{kind}-{_name(data)}.parquet", data)

    def _read(self, kind: str, schema: pa.Schema) -> pa.Table:
        tables = []
        for path in sorted(self.root.glob(f"{kind}-*.parquet")):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue  # another sweep has compacted the store between the listing and now
            if path.stem != f"{kind}-{_name(data)}":
                self._set_aside(path)
                continue
            tables.append(pq.read_table(io.BytesIO(data), schema=schema))
        return pa.concat_tables(tables) if tables else schema.empty_table()

    def _set_aside(self, path: Path) -> None:
        log.warning("%s was damaged and is set aside; its trials will be computed again", path)
        try:
            path.rename(path.with_suffix(".damaged"))
        except OSError as error:
            log.warning("it could not be renamed (%s) and is ignored", error.strerror)


def _name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
