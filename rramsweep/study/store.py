"""Facts on disk: one row a trial, whatever sweep asked for it, under whatever launcher it ran.

Rows live in fragments, so a kill at any moment leaves each of them whole or absent, and two sweeps may write to one
store at once: they never touch a file of each other's.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rramsweep.errors import Sentence, ValidationError
from rramsweep.files import remove_leftovers, temporary_name, write_atomic
from rramsweep.study.facts import ARRAY, FACTS, IMAGE_COUNTS, IMAGES, POINTS, scored
from rramsweep.study.folders import check_can_be_folder
from rramsweep.study.fragments import Fragments
from rramsweep.study.plan import Plan, Point
from rramsweep.study.records import Optional, read_record, whole

# 2: scores of any metric; before, all were top-1 accuracies. 3: facts carry the answers by image; a program of before
# would leave them out when it merges fragments.
SCHEME = 3

log = logging.getLogger(__name__)

Counts = npt.NDArray[np.int64]

_KINDS = {
    "facts": (FACTS.append(IMAGE_COUNTS), "if it held trials, they will be computed again"),
    "points": (
        POINTS,
        "if it held points, what `rramsweep explain` shows of them is written again with their next trials",
    ),
    "images": (
        IMAGES,
        f"if it held answers of trials of before scheme {SCHEME}, se_images of their points stays empty: another "
        "store=DIR computes them again",
    ),
}

# A fragment of few rows costs 470 B a row, one of many 24 B.
MANY_FRAGMENTS = 16

_SCHEME_FILE = "store.json"
_MARKER = {"scheme": whole(1, 10**9), "what": Optional(str)}


class Store:
    """A folder of fragments: `facts-*` (rows with their answers by image) and `points-*` (identity texts).

    A store of scheme 2 or older also has `images-*`, the answers by image of its rows.

    Args:
        root: the folder; it is made on the first write.

    Raises:
        ValueError: the folder was written by a newer version, or it or what it should lie in is no folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._fragments = {kind: Fragments(root, kind, *of) for kind, of in _KINDS.items()}
        self._known: set[str] | None = None  # points whose text is on disk, read at the first write
        check_can_be_folder(root, "the store", "choose another with store=DIR")
        self._scheme: int | None = None
        try:
            self._scheme = int(
                read_record(root / _SCHEME_FILE, _MARKER, "the scheme of its store", "remove it")["scheme"]
            )
        except (FileNotFoundError, NotADirectoryError):  # a folder of before its first write
            return
        if self._scheme > SCHEME:
            raise ValidationError(
                Sentence(f"the store must be of scheme {SCHEME} or older, {root} is of scheme {self._scheme}"),
                "update rramsweep or choose another with store=DIR",
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
            remove_leftovers(self.root)
            probe = temporary_name(self.root / "probe")
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
        # Facts last, and their answers in the same file: a trial counts as done only when all of it is on disk.
        self._fragments["facts"].add(_with_image_counts(pa.Table.from_pylist(list(rows), FACTS), images))

    def facts(self, point_ids: Iterable[str] | None = None) -> pa.Table:
        """Rows of these points (None: all), one per (point, seed); a success beats a failure."""
        table = scored(self._fragments["facts"].read(FACTS.names))
        if point_ids is not None:
            wanted = pa.array(sorted(set(point_ids)), pa.string())
            table = table.filter(pc.is_in(table["point_id"], value_set=wanted))
        # Of two successes the one that knows what the array draws: nulls come last.
        order = [("point_id", "ascending"), ("seed", "ascending"), ("status", "descending"), (ARRAY, "ascending")]
        table = table.sort_by(order)
        if table.num_rows < 2:
            return table
        # By arrow's own functions alone: on the way to numpy pyarrow imports pandas, which takes longer than the rest.
        earlier, later = table.slice(0, table.num_rows - 1), table.slice(1)
        differs = [pc.not_equal(earlier[name], later[name]) for name in ("point_id", "seed")]
        return pa.concat_tables([table.slice(0, 1), later.filter(pc.or_(*differs))])

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
        chosen = pa.array(list(wanted), pa.string())
        # Those of a fragment of their own last: a kill under scheme 2 may have left some whose chips were run again.
        tables = [table.filter(pc.is_in(table["point_id"], value_set=chosen)) for table in self._image_counts()]
        found: dict[str, dict[str, Any]] = {}
        for point_id, (seeds, n_correct) in _blocks(pa.concat_tables(tables), wanted).items():
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
            "failed": table["status"].to_pylist().count("failed"),
        }

    def compact(self) -> None:
        """Merge the fragments of each kind into one; safe beside running sweeps, which then read the merged one."""
        tables = {"facts": self._facts_with_image_counts, "points": self._texts, "images": self._old_images}
        for kind, table in tables.items():
            old = self._fragments[kind].paths()
            if len(old) > 1:
                self._fragments[kind].replace(old, table())

    def tidy(self) -> None:
        """Remove what killed writers left, and compact once there are many fragments, if the disk allows it.

        What has a fragment's name and is no file is set aside, also of kinds that a sweep did not have to read.
        Each fragment costs some 4 kB and a read of its own.
        """
        try:
            remove_leftovers(self.root)
        except OSError as error:
            log.warning("temporary files in %s stay there (%s)", self.root, error.strerror)
        for fragments in self._fragments.values():
            fragments.set_aside_others()
        if len(self._fragments["facts"].paths()) > MANY_FRAGMENTS:
            try:
                self.compact()
            except OSError as error:
                log.warning("the fragments of %s stay as they are, nothing is lost (%s)", self.root, error.strerror)

    def _texts(self) -> pa.Table:
        return pa.Table.from_pylist([{"point_id": i, "text": t} for i, t in self.points().items()], POINTS)

    def _image_counts(self) -> tuple[pa.Table, pa.Table]:
        """Answers by image as rows of `IMAGES`: those that facts carry, and those of fragments of their own."""
        table = self._fragments["facts"].read(["point_id", IMAGE_COUNTS.name])
        table = table.filter(pc.is_valid(table[IMAGE_COUNTS.name])).combine_chunks()
        blocks = pc.list_flatten(table[IMAGE_COUNTS.name])
        point_ids = table["point_id"].take(pc.list_parent_indices(table[IMAGE_COUNTS.name]))
        columns = [point_ids, *(pc.struct_field(blocks, name) for name in IMAGES.names[1:])]
        return pa.table(columns, names=IMAGES.names).cast(IMAGES), self._fragments["images"].read()

    def _facts_with_image_counts(self) -> pa.Table:
        return _with_image_counts(self.facts(), _unique(self._image_counts()[0]))

    def _old_images(self) -> pa.Table:
        return pa.Table.from_pylist(_unique(self._image_counts()[1]), IMAGES)


def _with_image_counts(facts: pa.Table, images: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Facts with the answers by image of each point on its first row; of points without rows they are left out."""
    blocks: dict[str, list[dict[str, Any]]] = {}
    for row in images:
        blocks.setdefault(row["point_id"], []).append({"seeds": row["seeds"], "n_correct": row["n_correct"]})
    carried = [blocks.pop(point_id, None) for point_id in facts["point_id"].to_pylist()]
    return facts.append_column(IMAGE_COUNTS, pa.array(carried, IMAGE_COUNTS.type))


def _unique(images: pa.Table) -> list[dict[str, Any]]:
    # Blocks stay apart, so that a plan of fewer chips still finds whole ones.
    return list({(row["point_id"], *row["seeds"]): row for row in images.to_pylist()}.values())


def select(facts: pa.Table, plan: Plan) -> pa.Table:
    """Select the rows that a plan asks for: its points and exactly its seeds."""
    wanted: dict[str, set[int]] = {}
    for point, seeds in zip(plan.points, plan.seeds, strict=True):
        wanted.setdefault(point.point_id, set()).update(seeds)
    rows = zip(facts["point_id"].to_pylist(), facts["seed"].to_pylist(), strict=True)
    return facts.filter(pa.array([seed in wanted.get(point_id, ()) for point_id, seed in rows], pa.bool_()))


def _blocks(table: pa.Table, wanted: Mapping[str, set[int]]) -> dict[str, tuple[set[int], Counts]]:
    """The blocks of each point added up: `{point_id: (seeds, counts)}`; no chip counts twice."""
    found: dict[str, tuple[set[int], Counts]] = {}
    rows = zip(table["point_id"].to_pylist(), _arrays(table["seeds"]), _arrays(table["n_correct"]), strict=True)
    for point_id, seeds, counts in sorted(rows, key=lambda row: str(row[0])):
        block, (earlier, total) = set(seeds.tolist()), found.get(point_id, (set(), np.zeros(len(counts), np.int64)))
        if block.isdisjoint(earlier) and block <= wanted[point_id]:
            found[point_id] = earlier | block, total + counts
    return found


def _arrays(lists: pa.ChunkedArray) -> list[Counts]:
    """Each list of a column as an array, of one buffer."""
    values = pc.list_flatten(lists).to_numpy().astype(np.int64)
    return np.split(values, np.cumsum(pc.list_value_length(lists).to_numpy())[:-1]) if len(lists) else []
