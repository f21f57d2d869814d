"""Output of the command: a terminal, a pipe or a log."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Sequence
from typing import IO, Any, cast

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

LOG_WIDTH = 140
_GAP = "  "
# A column is not made narrower than this many letters to fit the screen.
_NARROWEST = 8

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
    """Print a table of texts, with headings that break at dots and blanks where it is wider than the screen.

    Line by line, since rich takes five seconds to lay out the cells of 3,000 rows.
    """
    heads = [str(column.header) for column in table.columns]
    texts = [[str(cell) for cell in column.cells] for column in table.columns]
    most = [max(map(cell_len, column), default=0) for column in texts]
    widths = [max(cell_len(head), width) for head, width in zip(heads, most, strict=True)]
    if _total(widths) > console.width:
        heads = [re.sub(r"(?<=\w)(\.| )(?=[a-z])", lambda found: found[1].strip() + "\n", head) for head in heads]
        parts = [max(map(cell_len, head.split("\n"))) for head in heads]
        widths = [max(pair) for pair in zip(parts, most, strict=True)]
        tall = max(head.count("\n") for head in heads)
        heads = ["\n" * (tall - head.count("\n")) + head for head in heads]
        wrapping = [i for i, column in enumerate(table.columns) if not column.no_wrap]
        for least in (parts, [0] * len(parts)):  # headings as long as texts can give way
            while _total(widths) > console.width and (
                wide := [i for i in wrapping if widths[i] > max(least[i], _NARROWEST)]
            ):
                widths[max(wide, key=widths.__getitem__)] -= 1
    right = [column.justify == "right" for column in table.columns]

    def lines(row: Sequence[str]) -> list[str]:
        cells = [_wrapped(text, width, console) for text, width in zip(row, widths, strict=True)]
        return [
            _GAP.join(map(_filled, line, widths, right)).rstrip()
            for line in itertools.zip_longest(*cells, fillvalue="")
        ]

    if isinstance(table.title, str):
        console.print(Text.from_markup(table.title), style="table.title")
    console.print(Text("\n".join(lines(heads))), style="table.header", soft_wrap=True)
    console.out("\n".join(line for row in zip(*texts, strict=True) for line in lines(row)), highlight=False)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _wrapped(text: str, width: int, console: Console) -> list[str]:
    if "\n" not in text and cell_len(text) <= width:
        return [text]
    return [line.plain.rstrip() for line in Text(text).wrap(console, width, overflow="fold")]


def _filled(text: str, width: int, right: bool) -> str:
    blanks = " " * (width - cell_len(text))
    return blanks + text if right else text + blanks
