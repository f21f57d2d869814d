"""Provenance of a run, written while it runs: machine, versions, and each option's comments.

It is a file of its own, because the plan of a sweep is reproducible and this record is not.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rramsweep.study.runs import read_runs, write_runs

_CPUINFO = Path("/proc/cpuinfo")
_PACKAGES = ("rramsweep", "torch", "numpy", "hydra-core")


def begin(folder: Path, components: Sequence[Mapping[str, Any]]) -> None:
    """Add a run to the folder's `run.json`; a sweep that is continued in its folder has several.

    A damaged file is replaced, after a warning.

    Args:
        folder: of the sweep.
        components: description of each option of its plan, from `catalog.components`.

    Raises:
        OSError: the folder cannot be written.
    """
    run = {"started": _now(), "ended": None, "machine": machine(), "components": list(components)}
    write_runs(folder, [*read_runs(folder), run])


def end(folder: Path) -> None:
    """Record the end of the folder's last run; a file that was lost or damaged since it began is not touched.

    Raises:
        OSError: the folder cannot be written.
    """
    runs = read_runs(folder)
    if runs:
        write_runs(folder, [*runs[:-1], {**runs[-1], "ended": _now()}])


def machine() -> dict[str, str]:
    """Versions, processor and system of this process, without names of the machine or its user."""
    facts = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not installed as a package"
    facts["processor"] = _processor()
    facts["cores"] = str(os.cpu_count())
    facts["system"] = f"{platform.system()} {platform.machine()}"
    return facts


def _processor() -> str:
    if _CPUINFO.is_file():
        for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
