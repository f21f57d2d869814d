"""The results table: one row a trial (one chip at one point), as pandas in memory and Parquet on disk.

A row holds the facts of the trial (``FACTS``), the option chosen in each config group (``CHOICES``), what its
score is (``METRIC``), and every parameter of its point under its dotted override name
(``drift.relative_drift``, ``t_s``), null where the chosen option has none of that name. In pandas, integers
that may be null are ``Int64``, booleans ``boolean``, and a null float is NaN, whatever a column happens to
hold, so two sweeps always concatenate.
``frame.attrs["swept"]`` names the columns that the sweep varied, and survives the file.
"""

import io
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from csv import QUOTE_MINIMAL, QUOTE_NONNUMERIC
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rramsweep.analysis.costs import with_costs
from rramsweep.analysis.schema import CHOICES, EXECUTION, FACTS, LATER, METRIC, PARAMETER_TYPES, check_table, to_arrow
from rramsweep.analysis.tables import Results
from rramsweep.cost import ChipCost
from rramsweep.files import read_regular, write_atomic
from rramsweep.groups import ADDED
from rramsweep.study.facts import FACTS as STORED

T = TypeVar("T")

# Under this key pandas itself keeps `attrs`, so that a plain pd.read_parquet finds `swept` too.
_ATTRS_KEY = b"PANDAS_ATTRS"

# With these a spreadsheet takes a cell for a formula; a number may begin with a sign.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|-|[+-]?(inf|nan)")

# Bytes of answers by image that a results file carries at most: 12 points of 1,000 images are 50 kB.
IMAGES_KEPT = 1_000_000


class ImageCounts(dict[str, Mapping[str, Any]]):
    """Right chips of each image, ``{point_id: {"n_chips": int, "n_correct": ...}}``, for ``attrs["images"]``.

    pandas copies a frame's ``attrs`` deeply whenever it derives a frame or a column from another. An instance is never
    changed, so that its copy is the instance itself.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> "ImageCounts":
        return self


def check(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``frame`` itself if it follows the schema.

    Raises:
        ValueError: a column is missing, doubled or of another type; a status is unknown; a chip occurs twice;
            an ``ok`` row lacks a fact (``OF_LOGITS``, ``EXECUTION``, ``LATER``, and all of ``COUNTED`` together, may
            be null) or a ``failed`` row has one (``seconds`` may); counts, shares and scores contradict each other.
    """
    to_arrow(frame)
    return frame


def join(points: Sequence[Mapping[str, Any]], facts: pa.Table, swept: Sequence[str]) -> pd.DataFrame:
    """Join a plan with facts: the facts of each point, in the order of ``points``, then by seed.

    Args:
        points: ``{"point_id": str, "choices": {group: option}, "params": {dotted name: scalar or None}}``, the
            columns of ``METRIC`` among the parameters, and under ``"cost"`` a `ChipCost` where there is one.
            Points of one id under two names (other choices or parameters) each get its facts. A parameter
            that is an integer here and a float there becomes float64, any other mixture text.
        facts: the columns of ``study.facts.FACTS``, restricted to the wanted (point_id, seed); others are left behind.
        swept: the columns that the sweep varied, kept in ``attrs["swept"]``.

    Raises:
        ValueError: facts of a point that ``points`` lacks, a group outside ``CHOICES``, a parameter that is
            not a scalar or has the name of another column, or what `check` refuses.
    """
    labels, costs = _labels(points)
    missing = [name for name in STORED.names if name not in facts.column_names]
    if missing:
        raise ValueError(f"facts need all columns of schema.FACTS, missing {', '.join(missing)}: add them")
    facts = facts.select(STORED.names).cast(pa.schema((field.name, field.type) for field in STORED))
    entry_point, ids = pd.factorize(labels["point_id"].to_numpy())
    place = pc.index_in(facts["point_id"], value_set=pa.array(ids, pa.string()))
    if place.null_count:
        stray = facts["point_id"].filter(pc.is_null(place))[0].as_py()
        raise ValueError(f"facts must be of the plan's points, got point_id {stray!r}: select by point first")
    in_order = np.lexsort((facts["seed"].to_numpy(), place.to_numpy()))
    held = np.bincount(place.to_numpy(), minlength=len(ids))
    first = np.cumsum(held) - held
    # Entry e takes the run of `held` sorted facts that begins at `first`.
    length = held[entry_point]
    entry = np.repeat(np.arange(len(entry_point)), length)
    within = np.arange(len(entry)) - np.repeat(np.cumsum(length) - length, length)
    facts, labels = facts.take(in_order[first[entry_point[entry]] + within]), labels.take(entry)
    facts = with_costs(facts, [costs[i] for i in entry])
    columns = dict(zip(labels.column_names[1:], labels.columns[1:], strict=True))
    table = pa.table(dict(zip(facts.column_names, facts.columns, strict=True)) | columns)
    frame = _to_pandas(table)
    frame.attrs["swept"] = list(swept)
    check_table(table, frame)
    return frame


def write(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Check ``frame`` and write it, with its ``attrs``, as Parquet; no reader ever sees an incomplete file.

    Raises:
        ValueError: what `check` refuses.
        TypeError: ``attrs`` that JSON cannot hold.
    """
    attrs = json.dumps({key: value for key, value in frame.attrs.items() if key != "images" or _small(value)}).encode()
    table = to_arrow(frame)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _ATTRS_KEY: attrs})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_atomic(Path(path), buffer.getvalue())


def csv(frame: pd.DataFrame) -> bytes:
    """Write a table as CSV in which no spreadsheet takes text for a formula: such a cell begins with an apostrophe.

    Numbers stay numbers, negative ones too, whether the frame holds them as numbers or as text.
    """
    texts = {
        name: frame[name].map(_no_formula)
        for name in frame.columns
        if not (pd.api.types.is_numeric_dtype(frame[name]) or pd.api.types.is_bool_dtype(frame[name]))
    }
    shown = frame.assign(**texts).rename(columns=_no_formula)
    # Python's writer quotes a line feed but not a carriage return, which readers also take for the end of a row.
    broken = any("\r" in str(cell) for name in texts for cell in frame[name])
    return shown.to_csv(index=False, quoting=QUOTE_NONNUMERIC if broken else QUOTE_MINIMAL).encode()


def _no_formula(cell: Any) -> Any:
    formula = isinstance(cell, str) and cell.startswith(_FORMULA) and not _NUMBER.fullmatch(cell)
    return f"'{cell}" if formula else cell


def _small(images: Mapping[str, Mapping[str, Any]]) -> bool:
    # Answers by image travel with the table of an ordinary sweep; those of thousands of points stay in the store.
    return sum(len(counts["n_correct"]) for counts in images.values()) <= IMAGES_KEPT


def read(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read and check what `write` wrote, ``attrs`` included.

    Raises:
        OSError: no such file, or no regular one.
        ValueError: not a Parquet file, or what `check` refuses.
    """
    # In this thread alone, as a fragment of the store is.
    table = _parquet(path, lambda file: file.read(use_threads=False))
    for name in (*EXECUTION, *LATER):
        if name not in table.column_names:
            table = table.append_column(pa.field(name, FACTS[name]), pa.nulls(len(table), FACTS[name]))
    for group, (option, _) in ADDED.items():
        if group not in table.column_names:
            table = table.append_column(group, pa.array([option] * len(table), pa.string()))
    frame = _to_pandas(table)
    attrs = json.loads((table.schema.metadata or {}).get(_ATTRS_KEY, b"{}"))
    images = attrs.get("images")
    frame.attrs = attrs | ({"images": ImageCounts(images)} if isinstance(images, dict) else {})
    return check(frame)  # not by the file's own table: other programs may have written other types, which pandas takes


def count(path: str | os.PathLike[str]) -> int:
    """Count the rows of a file that `write` wrote, from the file's footer.

    Raises:
        OSError: no such file, or no regular one.
        ValueError: not a Parquet file.
    """
    return _parquet(path, lambda file: int(file.metadata.num_rows))


def _parquet(path: str | os.PathLike[str], take: Callable[[pq.ParquetFile], T]) -> T:
    try:
        return take(pq.ParquetFile(pa.BufferReader(read_regular(Path(path)))))
    except pa.ArrowInvalid as error:
        raise ValueError(f"{os.fspath(path)} must be a Parquet file, but {error}: make it again") from None


def _labels(points: Sequence[Mapping[str, Any]]) -> tuple[pa.Table, list[ChipCost | None]]:
    """One row for each distinct point: point_id, the choices, the parameters in order of appearance; and its cost."""
    seen: dict[str, list[Any]] = {}
    rows = []
    for point in points:
        label, known = (point["choices"], point["params"]), seen.setdefault(point["point_id"], [])
        if label not in known:
            known.append(label)
            rows.append(point)
    unknown = {group for row in rows for group in row["choices"]} - set(CHOICES)
    if unknown:
        raise ValueError(f"choices must be of schema.CHOICES, got {sorted(unknown)}: add them there")
    columns = {"point_id": pa.array([row["point_id"] for row in rows], pa.string())}
    for group in CHOICES:
        columns[group] = pa.array([row["choices"].get(group) for row in rows], pa.string())
    for name, kind in METRIC.items():
        columns[name] = pa.array([row["params"].get(name) for row in rows], kind)
    for name in dict.fromkeys(name for row in rows for name in row["params"] if name not in METRIC):
        if name in columns or name in FACTS:
            raise ValueError(f"a parameter needs a name of its own, got {name!r}, another column: rename it")
        columns[name] = _parameter(name, [row["params"].get(name) for row in rows])
    return pa.table(columns), [row.get("cost") for row in rows]


def _parameter(name: str, values: list[Any]) -> pa.Array:
    try:
        column = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # mixed kinds: a column of text loses no row
        column = pa.array([None if value is None else str(value) for value in values], pa.string())
    if column.type not in (*PARAMETER_TYPES, pa.null()):
        raise ValueError(f"parameter {name} must be number, bool, text or null, got {column.type}: flatten it")
    return column.cast(pa.float64()) if pa.types.is_null(column.type) else column


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get, ignore_metadata=True)
    return Results(frame.astype({"seed": "int64"}) if "seed" in frame and not frame["seed"].hasnans else frame)
