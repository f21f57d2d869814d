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
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rramsweep import store
from rramsweep.files import write_atomic
from rramsweep.plan import GROUPS
from rramsweep.scores import HIGHER, NAME, UNIT

# What each of them means stands in the README, column by column.
FACTS: Mapping[str, pa.DataType] = MappingProxyType({field.name: field.type for field in store.FACTS})
CHOICES = GROUPS
METRIC: Mapping[str, pa.DataType] = MappingProxyType({NAME: pa.string(), UNIT: pa.string(), HIGHER: pa.bool_()})
# Facts that only a metric of right and wrong inputs has, and those that only logits have.
COUNTED = ("n_correct", "n_lost", "n_gained", "accuracy", "digital_accuracy", "ideal_accuracy")
OF_LOGITS = ("agreement", "loss")
# How a trial was run, which older stores do not know.
EXECUTION = ("batch_size", "memory_format", "threads", "accelerator")
PARAMETER_TYPES = (pa.int64(), pa.float64(), pa.bool_(), pa.string())
STATUSES = ("ok", "failed")
# Column of what ended a point: `interval`, `cap`, or null while it goes on.
ENDED = "stopping.ended"

# Under this key pandas itself keeps `attrs`, so that a plain pd.read_parquet finds `swept` too.
_ATTRS_KEY = b"PANDAS_ATTRS"

# Bytes of answers by image that a results file carries at most: 12 points of 1,000 images are 50 kB.
IMAGES_KEPT = 1_000_000


def check(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``frame`` itself if it follows the schema.

    Raises:
        ValueError: a column is missing, doubled or of another type; a status is unknown; a chip stands twice;
            an ``ok`` row lacks a fact (``OF_LOGITS``, ``EXECUTION``, and all of ``COUNTED`` together, may be null) or a
            ``failed`` row has one (``seconds`` may); counts, shares and scores contradict each other.
    """
    _checked(frame)
    return frame


def join(points: Sequence[Mapping[str, Any]], facts: pa.Table, swept: Sequence[str]) -> pd.DataFrame:
    """Join a plan with facts: the facts of each point, in the order of ``points``, then by seed.

    Args:
        points: ``{"point_id": str, "choices": {group: option}, "params": {dotted name: scalar or None}}``, the
            columns of ``METRIC`` among the parameters.
            Points of one id under two names (other choices or parameters) each get its facts. A parameter
            that is an integer here and a float there becomes float64, any other mixture text.
        facts: the columns of ``FACTS``, restricted to the wanted (point_id, seed); others are left behind.
        swept: the columns that the sweep varied, kept in ``attrs["swept"]``.

    Raises:
        ValueError: facts of a point that ``points`` lacks, a group outside ``CHOICES``, a parameter that is
            no scalar or has the name of another column, or what `check` refuses.
    """
    labels = _labels(points)
    missing = [name for name in FACTS if name not in facts.column_names]
    if missing:
        raise ValueError(f"facts need all columns of frames.FACTS, missing {', '.join(missing)}: add them")
    facts = facts.select(list(FACTS)).cast(pa.schema(FACTS.items()))
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
    columns = dict(zip(labels.column_names[1:], labels.columns[1:], strict=True))
    frame = _to_pandas(pa.table(dict(zip(facts.column_names, facts.columns, strict=True)) | columns))
    frame.attrs["swept"] = list(swept)
    return check(frame)


def write(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Check ``frame`` and write it, with its ``attrs``, as Parquet; no reader ever sees half a file.

    Raises:
        ValueError: what `check` refuses.
        TypeError: ``attrs`` that JSON cannot hold.
    """
    attrs = json.dumps({key: value for key, value in frame.attrs.items() if key != "images" or _small(value)}).encode()
    table = _checked(frame)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _ATTRS_KEY: attrs})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_atomic(Path(path), buffer.getvalue())


def _small(images: Mapping[str, Mapping[str, Any]]) -> bool:
    # Answers by image travel with the table of an ordinary sweep; those of thousands of points stay in the store.
    return sum(len(counts["n_correct"]) for counts in images.values()) <= IMAGES_KEPT


def read(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read and check what `write` wrote, ``attrs`` included.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a Parquet file, or what `check` refuses.
    """
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{os.fspath(path)} must be a Parquet file, but {error}: make it again") from None
    for name in EXECUTION:
        if name not in table.column_names and "point_id" in table.column_names:
            table = table.append_column(pa.field(name, FACTS[name]), pa.nulls(len(table), FACTS[name]))
    frame = _to_pandas(table)
    frame.attrs = json.loads((table.schema.metadata or {}).get(_ATTRS_KEY, b"{}"))
    return check(frame)


def _labels(points: Sequence[Mapping[str, Any]]) -> pa.Table:
    """One row for each distinct point: point_id, the choices, the parameters in order of appearance."""
    seen: dict[str, list[Any]] = {}
    rows = []
    for point in points:
        label, known = (point["choices"], point["params"]), seen.setdefault(point["point_id"], [])
        if label not in known:
            known.append(label)
            rows.append(point)
    unknown = {group for row in rows for group in row["choices"]} - set(CHOICES)
    if unknown:
        raise ValueError(f"choices must be of frames.CHOICES, got {sorted(unknown)}: add them there")
    columns = {"point_id": pa.array([row["point_id"] for row in rows], pa.string())}
    for group in CHOICES:
        columns[group] = pa.array([row["choices"].get(group) for row in rows], pa.string())
    for name, kind in METRIC.items():
        columns[name] = pa.array([row["params"].get(name) for row in rows], kind)
    for name in dict.fromkeys(name for row in rows for name in row["params"] if name not in METRIC):
        if name in columns or name in FACTS:
            raise ValueError(f"a parameter needs a name of its own, got {name!r}, another column: rename it")
        columns[name] = _parameter(name, [row["params"].get(name) for row in rows])
    return pa.table(columns)


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
    return frame.astype({"seed": "int64"}) if "seed" in frame and not frame["seed"].hasnans else frame


def _checked(frame: pd.DataFrame) -> pa.Table:
    """The frame as an Arrow table of exactly the schema's types, after every rule of `check`."""
    if not frame.columns.is_unique:
        doubled = frame.columns[frame.columns.duplicated()][0]
        raise ValueError(f"column names must be unique, got {doubled!r} twice: drop one")
    missing = [name for name in (*FACTS, *CHOICES, *METRIC) if name not in frame.columns]
    if missing:
        raise ValueError(f"a results frame lacks columns {', '.join(missing)}: make it with join() or read()")
    try:
        table = pa.Table.from_pandas(pd.DataFrame(dict(frame.items())), preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"a column must hold one kind of value, {'; '.join(map(str, error.args))}") from None
    fields = [pa.field(field.name, _schema_type(field)) for field in table.schema]
    table = table.cast(pa.schema(fields, metadata=table.schema.metadata))
    _check_values(table, frame)
    return table


def _schema_type(field: pa.Field) -> pa.DataType:
    name, kind = field.name, field.type
    if pa.types.is_dictionary(kind):  # a pandas category of names is as good as the names
        kind = kind.value_type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        kind = pa.string()
    fixed = {**FACTS, **METRIC, **dict.fromkeys(CHOICES, pa.string())}
    allowed = (fixed[name],) if name in fixed else PARAMETER_TYPES
    if pa.types.is_null(kind):  # nothing in the column tells its type
        return allowed[0] if len(allowed) == 1 else pa.float64()
    if kind not in allowed:
        dtypes = {"int64": "Int64", "double": "float64", "bool": "boolean", "string": "str"}
        names = [dtypes[str(one)] for one in allowed]
        raise ValueError(f"column {name} must be {' or '.join(names)}, got {kind}: use astype({names[0]!r})")
    return kind


def _check_values(table: pa.Table, frame: pd.DataFrame) -> None:
    value = {name: table[name].to_numpy() for name in (*FACTS, *METRIC)}
    null = {name: table[name].is_null().to_numpy() for name in (*FACTS, *METRIC)}
    ok = value["status"] == "ok"

    def refuse(bad: np.ndarray[Any, Any], column: str, rule: str, remedy: str) -> None:
        if bad.any():
            row, rows = int(bad.argmax()), int(bad.sum())
            where = f"point_id {value['point_id'][row]!r}, seed {value['seed'][row]}, one of {rows} such rows"
            raise ValueError(f"{column} must {rule}, got {table[column][row].as_py()!r} ({where}): {remedy}")

    for name in ("point_id", "seed", "status", *METRIC):
        refuse(null[name], name, "not be null", "fill it in or drop the row")
    unknown = ~ok & (value["status"] != "failed")
    refuse(unknown, "status", f"be one of {', '.join(STATUSES)}", "mark the row as one of them")
    twice = frame.duplicated(["point_id", "seed"], keep=False).to_numpy(copy=True)
    # Under another name (choices, parameters) the same chip may stand here again.
    same = [name for name in frame.columns if name in ("point_id", "seed") or name not in FACTS]
    twice[twice] = frame.loc[twice, same].duplicated().to_numpy()
    refuse(twice, "seed", "occur once in a point", "one chip is one row, so drop the repeated ones")
    counted = ok & ~np.logical_and.reduce([null[name] for name in COUNTED])
    for name in list(FACTS)[4:]:
        needed = counted if name in COUNTED else ok
        if name not in (*OF_LOGITS, *EXECUTION):
            what = "a row of right and wrong inputs" if name in COUNTED else "an ok row"
            refuse(needed & null[name], name, f"not be null in {what}", "mark the row failed")
        if name != "seconds":  # a trial takes its time before it fails
            refuse(~ok & ~null[name], name, "be null in a failed row", "set it null or mark the row ok")
    for name in ("accuracy", "digital_accuracy", "ideal_accuracy", "agreement"):
        outside = (value[name] < 0) | (value[name] > 1)
        refuse(outside, name, "lie in [0, 1]", "it is a fraction, so divide a percentage by 100")
    n, correct, lost, gained = (value[name] for name in ("n_images", "n_correct", "n_lost", "n_gained"))
    recount = "count the images again"
    refuse(n < 1, "n_images", "be at least 1", recount)
    refuse((correct < 0) | (correct > n), "n_correct", "lie in 0..n_images", recount)
    refuse((lost < 0) | (lost > n - correct), "n_lost", "lie in 0..n_images - n_correct", recount)
    refuse((gained < 0) | (gained > correct), "n_gained", "lie in 0..n_correct", recount)
    # Shares may have passed through 32-bit floats, hence no equality.
    digital = correct + lost - gained
    refuse(np.abs(value["accuracy"] * n - correct) > 1e-6 * n, "accuracy", "be n_correct / n_images", recount)
    off = np.abs(value["digital_accuracy"] * n - digital) > 1e-6 * n
    refuse(off, "digital_accuracy", "be (n_correct + n_lost - n_gained) / n_images", recount)
    for name, accuracy in store.ACCURACY_OF.items():
        refuse(np.abs(value[name] - value[accuracy]) > 1e-6, name, f"be {accuracy} where there is one", recount)
