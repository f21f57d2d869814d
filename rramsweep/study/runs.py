"""The runs of a sweep's folder, `run.json`: which machine, versions and options each of them had.

It is provenance, from which no number is made: one that is damaged is named in a warning and stops nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rramsweep.errors import ValidationError
from rramsweep.files import write_atomic
from rramsweep.study.plan import RUN_FILE
from rramsweep.study.records import Each, Optional, read_record, time

log = logging.getLogger(__name__)

_PARAMETER = {"name": str, "values": [str], "unit": str, "comment": str}
_COMPONENT = {
    "group": str,
    "option": str,
    "target": str,
    "meaning": str,
    "source": [str],
    "equation": str,
    "sets": [str],
    "tags": Each(str),
    "parameters": [_PARAMETER],
    "replaced": Optional(bool),
    "null": Optional(bool),
}
RUNS = [{"started": time, "ended": (None, time), "machine": Each(str), "components": [_COMPONENT]}]


def read_runs(folder: Path) -> list[dict[str, Any]]:
    """The runs of a folder, in the order in which they began; none where its file is missing or damaged.

    A damaged file is named in a warning, and left as it is.
    """
    path = folder / RUN_FILE
    remedy = "the report leaves out machine and options; remove it, and the next run in its folder writes a new one"
    try:
        runs: list[dict[str, Any]] = read_record(path, RUNS, "the runs of a sweep", remedy)
    except FileNotFoundError:
        return []
    except ValidationError as error:
        log.warning("%s", error)
        return []
    return runs


def write_runs(folder: Path, runs: Sequence[Mapping[str, Any]]) -> None:
    """Write the runs of a folder.

    Raises:
        OSError: the folder cannot be written.
    """
    write_atomic(folder / RUN_FILE, json.dumps(runs, indent=1).encode())
