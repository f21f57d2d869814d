"""Schema of a results table: its columns, their types, and the rules of their values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from rramsweep.cost import COLUMNS
from rramsweep.groups import GROUPS
from rramsweep.scale import HIGHER, NAME, UNIT
from rramsweep.study import facts

# Costs of a chip, from its stored facts and the constants of its point.
COSTS = tuple(f"{name}{end}" for name in COLUMNS for end in ("", "_low", "_high"))
# The README.md of this folder explains them column by column.
FACTS: Mapping[str, pa.DataType] = MappingProxyType(
    {field.name: field.type for field in facts.FACTS} | dict.fromkeys(COSTS, pa.float64())
)
CHOICES = GROUPS
METRIC: Mapping[str, pa.DataType] = MappingProxyType({NAME: pa.string(), UNIT: pa.string(), HIGHER: pa.bool_()})
# Facts that only a metric of right and wrong inputs has, and those that only logits have.
COUNTED = ("n_correct", "n_lost", "n_gained", "accuracy", "digital_accuracy", "ideal_accuracy")
OF_LOGITS = ("agreement", "loss")
# Score of guessing, for metrics that count correct labels; absent in older stores.
CHANCE = "chance_accuracy"
# The way in which a trial was run; absent in older stores.
EXECUTION = ("batch_size", "memory_format", "threads", "accelerator", "wires_kernel")
# Shares of conversions outside their range; null without the converter.
CLIPPING = ("dac_clip_rate", "adc_clip_rate")
# What the calibration of a chip costs; null without one.
CALIBRATION = ("calibration.extra_parameters", "calibration.extra_macs", "calibration.seconds")
# Facts that older tables lack, because they were not kept then.
LATER = (CHANCE, "wires_kernel", *CLIPPING, *CALIBRATION, facts.ARRAY, *COSTS)
PARAMETER_TYPES = (pa.int64(), pa.float64(), pa.bool_(), pa.string())
STATUSES = ("ok", "failed")
# Column of what ended a point: `interval`, `cap`, or null while it goes on.
ENDED = "stopping.ended"
# Column of the time between programming and reading.
TIME = "t_s"


def to_arrow(frame: pd.DataFrame) -> pa.Table:
    """Convert a frame to an Arrow table of exactly the schema's types, after every check of `frames.check`."""
    _check_names(frame.columns)
    try:
        table = pa.Table.from_pandas(pd.DataFrame(dict(frame.items())), preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"a column must hold one kind of value, {'; '.join(map(str, error.args))}") from None
    return _checked(table, frame)


def check_table(table: pa.Table, frame: pd.DataFrame) -> None:
    """Check a frame by the Arrow table that it was made of, as `to_arrow` does.

    Raises:
        ValueError: what `frames.check` refuses.
    """
    _check_names(table.column_names)
    # NaN counts as null, as in pandas.
    columns = [pc.if_else(pc.is_nan(c), None, c) if pa.types.is_floating(c.type) else c for c in table.columns]
    _checked(pa.table(columns, table.column_names), frame)


def _check_names(names: Iterable[str]) -> None:
    names = pd.Index(names)
    if not names.is_unique:
        raise ValueError(f"column names must be unique, got {names[names.duplicated()][0]!r} twice: drop one")
    missing = [name for name in (*FACTS, *CHOICES, *METRIC) if name not in names]
    if missing:
        raise ValueError(f"a results frame lacks columns {', '.join(missing)}: make it with join() or read()")


def _checked(table: pa.Table, frame: pd.DataFrame) -> pa.Table:
    fields = [pa.field(field.name, _schema_type(field)) for field in table.schema]
    table = table.cast(pa.schema(fields, metadata=table.schema.metadata))
    _check_values(table, frame)
    return table


def check_outcomes(frame: pd.DataFrame) -> None:
    """Check that the facts of a results frame are those of trials: not edited, of their types, without contradiction.

    Rows may be missing, and a chip may occur in several, as after `pd.concat`.

    Raises:
        ValueError: names the column, the rule and a row that breaks it.
    """
    kinds = {name: kind for name, kind in {**FACTS, **METRIC}.items() if name in frame or name not in LATER}
    doubled = [name for name in kinds if isinstance(frame[name], pd.DataFrame)]
    if doubled:
        raise ValueError(f"column names must be unique, got {doubled[0]!r} twice: drop one")
    columns = {name: _outcome(name, frame[name], kind) for name, kind in kinds.items()}
    columns |= {name: pa.nulls(len(frame), FACTS[name]) for name in LATER if name not in columns}
    _check_values(pa.table(columns), None)


def _outcome(name: str, values: pd.Series[Any], kind: pa.DataType) -> pa.Array:
    """Convert a column of facts to the schema's type; any numeric type is accepted for a number."""
    try:
        column = pa.Array.from_pandas(values)
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if pa.types.is_dictionary(column.type):  # a category of names is as good as the names
            column = column.dictionary_decode()
        if pa.types.is_null(column.type) or _family(column.type) == _family(kind):
            return column.cast(kind)
        found = "text" if _family(column.type) == "text" else str(column.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
        found = " ".join(str(error).split())
    word = {"int64": "whole numbers", "double": "numbers", "bool": "True and False"}.get(str(kind), "text")
    raise ValueError(
        f"column {name} must hold {word}, got {found}: take the frame from rs.run(), rs.sweep() or rs.load()"
    )


def _family(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "number"
    texts = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return "text" if texts else str(kind)


def _schema_type(field: pa.Field) -> pa.DataType:
    name, kind = field.name, field.type
    if pa.types.is_dictionary(kind):  # a pandas category of names is as good as the names
        kind = kind.value_type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        kind = pa.string()
    fixed = {**FACTS, **METRIC, **dict.fromkeys(CHOICES, pa.string())}
    allowed = (fixed[name],) if name in fixed else PARAMETER_TYPES
    if pa.types.is_null(kind):  # an empty column has no type of its own
        return allowed[0] if len(allowed) == 1 else pa.float64()
    if kind not in allowed:
        dtypes = {"int64": "Int64", "double": "float64", "bool": "boolean", "string": "str"}
        names = [dtypes[str(one)] for one in allowed]
        raise ValueError(f"column {name} must be {' or '.join(names)}, got {kind}: use astype({names[0]!r})")
    return kind


def _check_values(table: pa.Table, frame: pd.DataFrame | None) -> None:
    value = {name: table[name].to_numpy() for name, kind in FACTS.items() if kind != pa.string()}
    null = {name: table[name].is_null().to_numpy() for name in (*FACTS, *METRIC)}
    ok, has_failed = (pc.fill_null(pc.equal(table["status"], status), False).to_numpy() for status in STATUSES)

    def refuse(bad: np.ndarray[Any, Any], column: str, rule: str, remedy: str) -> None:
        if bad.any():
            row, rows = int(bad.argmax()), int(bad.sum())
            point_id, seed = (table[name][row].as_py() for name in ("point_id", "seed"))
            where = f"point_id {point_id!r}, seed {seed}, one of {rows} such rows"
            raise ValueError(f"{column} must {rule}, got {table[column][row].as_py()!r} ({where}): {remedy}")

    for name in ("point_id", "seed", "status", *METRIC):
        refuse(null[name], name, "not be null", "fill it in or drop the row")
    refuse(~ok & ~has_failed, "status", f"be one of {', '.join(STATUSES)}", "mark the row as one of them")
    if frame is not None:
        twice = frame.duplicated(["point_id", "seed"], keep=False).to_numpy(copy=True)
        # The same chip may occur again under another name (choices, parameters).
        same = [name for name in frame.columns if name in ("point_id", "seed") or name not in FACTS]
        twice[twice] = frame.loc[twice, same].duplicated().to_numpy()
        refuse(twice, "seed", "occur once in a point", "one chip is one row, so drop the repeated ones")
    counted = ok & ~np.logical_and.reduce([null[name] for name in COUNTED])
    for name in list(FACTS)[4:]:
        needed = counted if name in COUNTED else ok
        if name not in (*OF_LOGITS, *EXECUTION, *LATER):
            what = "a row of right and wrong inputs" if name in COUNTED else "an ok row"
            refuse(needed & null[name], name, f"not be null in {what}", "mark the row failed")
        if name != "seconds":  # a trial takes its time before it fails
            refuse(~ok & ~null[name], name, "be null in a failed row", "set it null or mark the row ok")
    for name in facts.ACCURACY_OF:
        infinite = ~null[name] & np.isinf(np.asarray(value[name], dtype=np.float64))
        refuse(infinite, name, "be finite", "mark the row failed")
    for name in ("accuracy", "digital_accuracy", "ideal_accuracy", CHANCE, "agreement", *CLIPPING):
        outside = (value[name] < 0) | (value[name] > 1)
        refuse(outside, name, "lie in [0, 1]", "it is a fraction, so divide a percentage by 100")
    for name in (facts.ARRAY, *COSTS):
        refuse(~null[name] & ~(value[name] >= 0), name, "be at least 0", "join the plan again")
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
    for name, accuracy in facts.ACCURACY_OF.items():
        refuse(np.abs(value[name] - value[accuracy]) > 1e-6, name, f"be {accuracy} where there is one", recount)
