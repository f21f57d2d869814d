"""Facts on disk: one row a trial, whatever sweep asked for it, under whatever launcher it ran.

Rows live in fragments (`rramsweep.fragments`), so a kill at any moment leaves each of them whole or absent, and two
sweeps may write to one store at once: they never touch a file of each other's.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rramsweep.facts import FACTS, IMAGES, POINTS, scored
from rramsweep.files import write_atomic
from rramsweep.fragments import Fragments
from rramsweep.plan import Plan, Point

SCHEME = 2  # 2: scores of any metric; before, all were top-1 accuracies

log = logging.getLogger(__name__)

_KINDS = {"facts": FACTS, "points": POINTS, "images": IMAGES}

# A fragment of few rows costs 470 B a row, one of many 24 B.
MANY_FRAGMENTS = 16

_SCHEME_FILE = "store.json"


class Store:
    """A folder of fragments: `facts-*` (rows), `points-*` (identity texts) and `images-*` (answers by image).

    Args:
        root: the folder; it is made on the first write.

    Raises:
        ValueError: the folder was written by a newer version, or is a file.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._fragments = {kind: Fragments(root, kind, schema) for kind, schema in _KINDS.items()}
        self._known: set[str] | None = None  # points whose text is on disk, read at the first write
        if root.exists() and not root.is_dir():
            raise ValueError(f"the store must be a folder, but {root} is a file: choose another with store=DIR")
        self._scheme: int | None = None
        marker = root / _SCHEME_FILE
        if marker.is_file():
            try:
                self._scheme = int(json.loads(marker.read_text(encoding="utf-8"))["scheme"])
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f'{marker} must name the scheme of its store, {{"scheme": {SCHEME}}}, but does not: remove it'
                ) from error
            if self._scheme > SCHEME:
                raise ValueError(
                    f"the store must be of scheme {SCHEME} or older, {root} is of scheme {self._scheme}: "
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
            if self._scheme != SCHEME:  # an older program must not read what this one writes
                write_atomic(self.root / _SCHEME_FILE, marker)
                self._scheme = SCHEME
            probe = self.root / f".probe-{os.getpid()}"
            try:
                probe.write_bytes(marker)
            finally:
                probe.unlink(missing_ok=True)
        except OSError as error:
            raise ValueError(
                f"the store must be writable, but {self.root} is not ({error.strerror}): "
                "free it or choose another with store=DIR"
            ) from error

    def add(
        self, rows: Sequence[dict[str, Any]], points: Iterable[Point], images: Sequence[dict[str, Any]] = ()
    ) -> None:
        """Write rows, the texts of their points and the answers by image, durable when this returns.

        Args:
            rows: of `facts.FACTS`.
            points: those that the rows belong to.
            images: of `facts.IMAGES`.

        Raises:
            OSError: the disk is full or gone; nothing half-written stays under a fragment's name.
        """
        if self._known is None:
            self._known = set(self.points())
        new = {p.point_id: p.text for p in points if p.point_id not in self._known}
        if new:
            texts = [{"point_id": point_id, "text": text} for point_id, text in new.items()]
            self._fragments["points"].add(pa.Table.from_pylist(texts, POINTS))
            self._known.update(new)
        # Facts last: a trial counts as done only when everything that belongs to it is on disk.
        if images:
            self._fragments["images"].add(pa.Table.from_pylist(list(images), IMAGES))
        self._fragments["facts"].add(pa.Table.from_pylist(list(rows), FACTS))

    def facts(self, point_ids: Iterable[str] | None = None) -> pa.Table:
        """Rows of these points (None: all), one per (point, seed); a success beats a failure."""
        table = scored(self._fragments["facts"].read())
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
        table = self._fragments["points"].read()
        return dict(zip(table["point_id"].to_pylist(), table["text"].to_pylist(), strict=True))

    def images(self, plan: Plan) -> dict[str, dict[str, Any]]:
        """`{point_id: {"n_chips": int, "n_correct": JSON list of the chips that get each image right}}`.

        Of a plan's points. As text, because pandas copies a frame's attrs, and every list in them, on each column read.

        Counted over whole stored blocks of chips that the plan asks for: where it asks for part of a block, that
        block is left out, so that `n_chips` may be smaller than the plan's chips.
        """
        wanted = {p.point_id: set(s) for p, s in zip(plan.points, plan.seeds, strict=True)}
        table = self._fragments["images"].read()
        table = table.filter(pc.is_in(table["point_id"], value_set=pa.array(list(wanted), pa.string())))
        found: dict[str, dict[str, Any]] = {}
        for point_id, (seeds, n_correct) in _blocks(table, wanted).items():
            found[point_id] = {"n_chips": len(seeds), "n_correct": json.dumps(n_correct.tolist())}
        return found

    def size(self) -> dict[str, int]:
        """Bytes and fragments on disk, points, trials and failures."""
        paths = [path for fragments in self._fragments.values() for path in fragments.paths()]
        table = self.facts()
        return {
            "bytes": sum(path.stat().st_size for path in paths),
            "fragments": len(paths),
            "points": len(self.points()),
            "trials": table.num_rows,
            "failed": pc.sum(pc.equal(table["status"], "failed")).as_py() or 0,
        }

    def compact(self) -> None:
        """Merge the fragments of each kind into one; safe beside running sweeps, which then read the merged one."""
        tables = {"facts": self.facts, "points": self._texts, "images": self._unique_images}
        for kind, table in tables.items():
            old = self._fragments[kind].paths()
            if len(old) > 1:
                self._fragments[kind].replace(old, table())

    def tidy(self) -> None:
        """Compact once there are many fragments, if the disk allows it: each costs some 4 kB and a read of its own."""
        if len(self._fragments["facts"].paths()) > MANY_FRAGMENTS:
            try:
                self.compact()
            except OSError as error:
                log.warning("the fragments of %s stay as they are, nothing is lost (%s)", self.root, error.strerror)

    def _texts(self) -> pa.Table:
        return pa.Table.from_pylist([{"point_id": i, "text": t} for i, t in self.points().items()], POINTS)

    def _unique_images(self) -> pa.Table:
        # Blocks stay apart, so that a plan of fewer chips still finds whole ones.
        rows = {(row["point_id"], *row["seeds"]): row for row in self._fragments["images"].read().to_pylist()}
        return pa.Table.from_pylist(list(rows.values()), IMAGES)


def select(facts: pa.Table, plan: Plan) -> pa.Table:
    """Of these rows those that a plan asks for: its points and exactly its seeds."""
    wanted: dict[str, set[int]] = {}
    for point, seeds in zip(plan.points, plan.seeds, strict=True):
        wanted.setdefault(point.point_id, set()).update(seeds)
    rows = zip(facts["point_id"].to_pylist(), facts["seed"].to_pylist(), strict=True)
    return facts.filter(pa.array([seed in wanted.get(point_id, ()) for point_id, seed in rows], pa.bool_()))


def _blocks(
    table: pa.Table, wanted: Mapping[str, set[int]] | None
) -> dict[str, tuple[list[int], np.ndarray[Any, Any]]]:
    """The blocks of each point added up: `{point_id: (seeds, counts)}`; no chip counts twice."""
    found: dict[str, tuple[list[int], np.ndarray[Any, Any]]] = {}
    for row in table.sort_by([("point_id", "ascending")]).to_pylist():
        seeds, counts = set(row["seeds"]), np.array(row["n_correct"], dtype=np.int64)
        before, total = found.get(row["point_id"], ([], np.zeros_like(counts)))
        if seeds.isdisjoint(before) and (wanted is None or seeds <= wanted[row["point_id"]]):
            found[row["point_id"]] = ([*before, *row["seeds"]], total + counts)
    return found
