"""What a run was made with, written down while it runs: machine, versions, and what each option says of itself.

A file beside the plan: the plan is the same whenever the same is asked for, and this never is.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rramsweep import catalogue
from rramsweep.build import OWN
from rramsweep.catalogue import Option, Parameter
from rramsweep.groups import CELL_GROUPS, GROUPS
from rramsweep.plan import Plan
from rramsweep.runs import read_runs, write_runs

_CPUINFO = Path("/proc/cpuinfo")
_PACKAGES = ("rramsweep", "torch", "numpy", "hydra-core")


def begin(plan: Plan, folder: Path) -> None:
    """Add a run to the folder's `run.json`; a sweep that goes on in its folder has several.

    A damaged file is replaced, after a warning.

    Raises:
        OSError: the folder cannot be written.
    """
    run = {"started": _now(), "ended": None, "machine": machine(), "components": list(components(plan))}
    write_runs(folder, [*read_runs(folder), run])


def end(folder: Path) -> None:
    """Write down when the folder's last run ended; a file that was lost or damaged since it began is left alone.

    Raises:
        OSError: the folder cannot be written.
    """
    runs = read_runs(folder)
    if runs:
        write_runs(folder, [*runs[:-1], {**runs[-1], "ended": _now()}])


def machine() -> dict[str, str]:
    """Versions, processor and system of this process; nothing that names the machine or its user."""
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


def components(plan: Plan) -> Iterator[dict[str, Any]]:
    """Every option that the plan's points choose: its law, its source, its tags, and the values that were asked for."""
    for group in GROUPS:
        for name in dict.fromkeys(point.choices[group] for point in plan.points if group in point.choices):
            if (group, name) == ("technology", "custom"):  # sets nothing
                continue
            points = [point for point in plan.points if point.choices.get(group) == name]
            target = str(points[0].config.get(group, {}).get("_target_", ""))
            option = catalogue.option(group, name)
            if option is None:
                option = Option(name, "", [], _docstring(target))
            # The docstring of a network or a metric is of its class; what the option makes of it is its meaning.
            equation = option.equation if group in CELL_GROUPS or not option.meaning else ""
            known = {parameter.name: parameter for parameter in option.parameters}
            prefix = f"{group}."
            names = dict.fromkeys(key for point in points for key in point.params if key.startswith(prefix))
            yield {
                "group": group,
                "option": name,
                "target": target if not target.startswith(f"{OWN}.") else "",
                "meaning": option.meaning,
                "source": option.source,
                "equation": equation.replace("`", ""),
                "sets": option.sets,
                "tags": {tag: catalogue.TAGS[tag] for tag in option.tags()},
                "parameters": [
                    {
                        "name": key,
                        "values": list(dict.fromkeys(_text(point.params.get(key)) for point in points)),
                        "unit": Parameter(key, "", "").unit,
                        "comment": known[short].comment if (short := key.removeprefix(prefix)) in known else "",
                    }
                    for key in names
                ],
            }


def _docstring(target: str) -> str:
    """First paragraph of a user's own class or function, which the plan has imported."""
    module, _, name = target.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    doc = found.__doc__ if found is not None else None
    return " ".join((doc or "").strip().partition("\n\n")[0].split())


def _text(value: Any) -> str:
    return "null" if value is None else str(value)


def _processor() -> str:
    if _CPUINFO.is_file():
        for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
