"""Screens of `rramsweep --help` and `rramsweep list`, made of the catalog and the docstrings of the verbs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rramsweep.cli.catalog import CATALOG, MEANINGS, TAGS, Catalog, Parameter
from rramsweep.groups import CELL_GROUPS

# Columns of a default on the screen; longer ones (lists of numbers) go on below.
MOST_OF_A_DEFAULT = 20

# Options of a group that shares its line with the next one.
FEW_OPTIONS = 2

_TITLE = "rramsweep: how much accuracy a PyTorch network keeps on resistive-memory (RRAM) compute-in-memory chips"

_USES = (
    ("NAME=VALUE ...", "one point: 50 chips of the network, one row each"),
    ("-m NAME=V1,V2 ...", "a sweep over comma-separated values: table, summary and plot in outputs/"),
    ("plan [-m] ...", "the points of that command, what is stored of them, how long the rest takes; runs nothing"),
)

_TO_COPY = (
    "rramsweep -m experiment=quickstart",
    "rramsweep -m technology=pyrram drift.relative_drift=0,0.1,0.2 chips=100",
    "rramsweep inspect technology=pyrram mapping=differential,constant_sum",
    "rramsweep report outputs/quickstart/DATE_TIME",
)

_LAST = (
    "Settings beside the groups: chips, seed, t_s (1h, 10y, ...), analog.include, analog.exclude, yield_drop, store, "
    "shards, threads.\n`rramsweep VERB --help` says more of a verb, --hydra-help lists Hydra's own flags, "
    "HYDRA_FULL_ERROR=1 shows tracebacks."
)


def show_help(verbs: Mapping[str, Callable[..., None]], console: Console, catalog: Catalog = CATALOG) -> None:
    """Print the uses of the command, its verbs, commands to copy, and the groups with their options.

    Args:
        verbs: by name; the first line of each docstring is `CALL`: MEANING.
        console: where to print.
        catalog: of the groups.
    """
    console.print(Text(_TITLE, style="bold"))
    uses = _table()
    uses.add_column(no_wrap=True)
    for call, meaning in (*_USES, *map(_use_of, verbs.values())):
        uses.add_row(Text(f"  rramsweep {call}"), Text(meaning))
    console.print(uses)
    console.print(Text("to copy", style="bold"))
    for command in _TO_COPY:
        console.print(Text(f"  {command}"), soft_wrap=True)
    console.print(Text("groups", style="bold"))
    show_groups(console, catalog)
    console.print(Text(_LAST))


def show_groups(console: Console, catalog: Catalog = CATALOG) -> None:
    """Print every group with its options, the default first; short groups that follow each other share a line."""
    default = catalog.defaults()
    table = _table()
    table.add_column("group", no_wrap=True, style="bold")
    table.add_column("options")
    rows: list[tuple[str, list[str], bool]] = []
    for group, names in catalog.groups().items():
        first = [name for name in names if name == default.get(group)]
        options = ", ".join([*(f"{n}*" for n in first), *(n for n in names if n not in first)])
        short = len(names) <= FEW_OPTIONS
        if short and rows and rows[-1][2]:
            rows[-1][1].append(f"{group}: {options}")
        else:
            rows.append((group, [options], short))
    for group, parts, _ in rows:
        table.add_row(Text(group), Text("   ".join(parts)))
    console.print(table)
    console.print("* the default. GROUP=OPTION chooses; `rramsweep list GROUP` says what each option is.", markup=False)


def show_group(group: str, console: Console, catalog: Catalog = CATALOG) -> None:
    """Print every option of a group: meaning, equation, parameters, source, tags.

    Raises:
        ValidationError: there is no such group.
    """
    found, default = catalog.options(group), catalog.defaults().get(group)
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
            console.print(Padding(_parameter_table(option.parameters), (0, 0, 0, 4)))
    used = [tag for tag in TAGS if any(tag in option.tags() for option in found)]
    if used:
        console.print(Text("\n" + "; ".join(f"[{tag}] {TAGS[tag]}" for tag in used)))


def _use_of(verb: Callable[..., None]) -> tuple[str, str]:
    """Call and meaning of a verb, from the first line of its docstring."""
    call, _, meaning = (verb.__doc__ or "").strip().partition("\n")[0].partition("`: ")
    return call.removeprefix("`rramsweep "), meaning.rstrip(".").replace("`", "")


def _parameter_table(parameters: list[Parameter]) -> Table:
    table = _table()
    # The comment gives way: a name that breaks is no name to copy.
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", max_width=MOST_OF_A_DEFAULT)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for p in parameters:
        table.add_row(Text(p.name), Text(p.default), Text(p.unit), Text(p.comment))
    return table


def _table() -> Table:
    return Table(box=None, pad_edge=False, show_header=False, padding=(0, 1))
