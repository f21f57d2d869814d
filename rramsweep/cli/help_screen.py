"""What `rramsweep --help` prints: one screen, made of what there is."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rramsweep.cli.commands import VERBS
from rramsweep.cli.listing import show_groups

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
    "rramsweep list device",
    "rramsweep report outputs/quickstart/DATE_TIME",
)

_LAST = (
    "Settings beside the groups: chips, seed, t_s (1h, 10y, ...), analog.include, analog.exclude, yield_drop, store, "
    "shards, threads.\n`rramsweep VERB --help` says more of a verb, --hydra-help lists Hydra's own flags, "
    "HYDRA_FULL_ERROR=1 shows tracebacks."
)


def show_help(console: Console) -> None:
    """Print what the command does, its verbs, five commands to copy, and the groups with their options."""
    console.print(Text(_TITLE, style="bold"))
    uses = Table(box=None, pad_edge=False, show_header=False, padding=(0, 1))
    uses.add_column(no_wrap=True)
    for call, meaning in (*_USES, *map(_of_verb, VERBS)):
        uses.add_row(Text(f"  rramsweep {call}"), Text(meaning))
    console.print(uses)
    console.print(Text("to copy", style="bold"))
    for command in _TO_COPY:
        console.print(Text(f"  {command}"), soft_wrap=True)
    console.print(Text("groups", style="bold"))
    show_groups(console)
    console.print(Text(_LAST))


def _of_verb(name: str) -> tuple[str, str]:
    """A verb's call and meaning, from the first line of its docstring."""
    call, _, meaning = (VERBS[name].__doc__ or "").strip().partition("\n")[0].partition("`: ")
    return call.removeprefix("`rramsweep "), meaning.rstrip(".").replace("`", "")
