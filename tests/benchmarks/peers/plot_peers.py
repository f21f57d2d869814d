"""The plot of `bench_peers.py`: ratios over networks, a marker a tool."""

from __future__ import annotations

import textwrap
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from rramsweep.reporting.style import COLOURS, MARKERS


def draw(rows: list[dict[str, Any]], caption: str) -> Figure:
    """Median ratio and its quartiles on a logarithmic axis; 1 is the fastest digital forward itself."""
    tools = list(dict.fromkeys(row["tool"] for row in rows))
    networks = list(dict.fromkeys(row["network"] for row in rows))
    figure = Figure(figsize=(5.2, 1.6 + 0.5 * len(networks)), layout="constrained")
    ax = figure.add_subplot()
    for lane, tool in enumerate(tools):
        own = [row for row in rows if row["tool"] == tool]
        ax.errorbar(
            [row["ratio"] for row in own],
            [networks.index(row["network"]) + 0.22 * (lane - (len(tools) - 1) / 2) for row in own],
            xerr=[
                [row["ratio"] - row["ratio_q25"] for row in own],
                [row["ratio_q75"] - row["ratio"] for row in own],
            ],
            fmt=MARKERS[lane],
            color=COLOURS[lane],
            capsize=2,
            label=f"{tool} {own[0]['version']}, torch {own[0]['torch']}",
        )
    ax.axvline(1, color="#777777", linestyle="--", linewidth=0.8)
    ax.set_xscale("log")
    for format_of in (ax.xaxis.set_major_formatter, ax.xaxis.set_minor_formatter):
        format_of(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "125" else ""))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_yticks(range(len(networks)), networks)
    ax.set_ylim(len(networks) - 0.5, -0.5)
    ax.set_xlabel("trial / fastest digital forward pass")
    ax.grid(axis="x", which="both", linewidth=0.3)
    figure.legend(loc="outside upper center", fontsize="small")
    figure.supxlabel(textwrap.fill(caption, 95), fontsize=6)
    return figure
