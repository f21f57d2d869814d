"""What the command prints to: a terminal, a pipe or a log."""

from __future__ import annotations

import os
import re
import sys
from typing import IO, Any, cast

from rich.console import Console
from rich.table import Table

LOG_WIDTH = 140
_ANY_WIDTH = 10_000

# Blanks that fill a line up, before the codes that end a style.
_FILLING = re.compile(r"[ \t]+((?:\x1b\[[0-9;]*m)*)(?=\n)")


class _Trimmed:
    """Standard output as it is at the time, without the blanks to which rich fills the lines of a table up."""

    def write(self, text: str) -> int:
        return sys.stdout.write(_FILLING.sub(r"\1", text))

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stdout, name)


def console(quiet: bool = False) -> Console:
    """Standard output; a log or a pipe has no width of its own, and tables must not be cut there."""
    width = None if sys.stdout.isatty() else LOG_WIDTH
    return Console(file=cast("IO[str]", _Trimmed()), highlight=False, quiet=quiet, width=width, **plain())


def plain() -> dict[str, Any]:
    """Arguments of a console that prints no codes of colour and style where NO_COLOR asks for none; rich keeps bold."""
    return {"color_system": None} if os.environ.get("NO_COLOR") else {}


def show_table(table: Table, console: Console) -> None:
    """Print a table whose columns have override names; where it is wider than the screen, names break at their dots and
    blanks."""
    free = console.options.update(width=_ANY_WIDTH)
    if console.measure(table, options=free).maximum > console.width:
        for column in table.columns:
            column.header = re.sub(r"(?<=\w)(\.| )(?=[a-z])", lambda found: found[1].strip() + "\n", str(column.header))
    console.print(table)
