"""What `rramsweep list` prints of the catalogue."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rramsweep.cli.catalog import MEANINGS, TAGS, Parameter, chosen, groups, options
from rramsweep.groups import CELL_GROUPS

# Columns of a default on the screen; longer ones (lists of numbers) go on below.
MOST_OF_A_DEFAULT = 20


def show_groups(console: Console) -> None:
    """Print every group with its options, the default first."""
    default = chosen()
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 1))
    table.add_column("group", no_wrap=True, style="bold")
    table.add_column("options")
    for group, names in groups().items():
        first = [name for name in names if name == default.get(group)]
        table.add_row(Text(group), Text(", ".join([*(f"{n}*" for n in first), *(n for n in names if n not in first)])))
    console.print(table)
    console.print("* the default. GROUP=OPTION chooses; `rramsweep list GROUP` says what each option is.", markup=False)


def show_group(group: str, console: Console) -> None:
    """Print every option of a group: meaning, equation, parameters, source, tags."""
    found, default = options(group), chosen().get(group)
    meaning = MEANINGS.get(group)
    console.print(Text(f"{group}{f': {meaning}' if meaning else ''}"), soft_wrap=True)
    equations = {option.equation for option in found}
    shared = equations.pop() if len(equations) == 1 and len(found) > 1 else ""
    if shared:  # once, not at each option
        console.print(Text(shared))
    for option in found:
        head = Text(f"\n{group}={option.name}{' (default)' if option.name == default else ''}", style="bold")
        console.print(head, soft_wrap=True)
        lines = [" ".join([option.meaning, *option.source])]  # broken as the screen is wide, not as the file
        if option.equation and option.equation not in (option.meaning, shared):
            lines.append(f"{'law: ' if group in CELL_GROUPS else ''}{option.equation}")
        if option.sets:
            lines.append(f"sets {', '.join(option.sets)}")
        for line in lines:
            console.print(Padding(Text(line), (0, 0, 0, 2)))
        if option.parameters:
            console.print(Padding(_table(option.parameters), (0, 0, 0, 4)))
    used = [tag for tag in TAGS if any(tag in option.tags() for option in found)]
    if used:
        console.print(Text("\n" + "; ".join(f"[{tag}] {TAGS[tag]}" for tag in used)))


def _table(parameters: list[Parameter]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 1))
    # The comment gives way: a name that breaks is no name to copy.
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", max_width=MOST_OF_A_DEFAULT)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for p in parameters:
        table.add_row(Text(p.name), Text(p.default), Text(p.unit), Text(p.comment))
    return table
