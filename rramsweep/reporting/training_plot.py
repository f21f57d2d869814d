"""The plot of a fine-tuning: scores of the digital network and of chips over epochs, on the Axes it is given."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from rramsweep.reporting.style import axes_or_new, colour_of, legend_above, styled, write_caption
from rramsweep.scale import Scale


@styled()
def plot_training(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the digital score and the mean of the chips with its 95 % interval over the epochs, and mark the best one.

    Args:
        table: of `rramsweep.finetune`.
        ax: where to draw; nothing else is touched. Default: a new figure, one column wide.

    Returns:
        The Axes. Its artists have a gid: ``digital``, ``chips``, ``interval``, ``best``, ``caption``.
    """
    ax = axes_or_new(ax)
    scale: Scale = table.attrs["scale"]
    epochs, factor = table["epoch"], scale.factor
    ax.plot(epochs, factor * table["digital_score"], color="#000000", dashes=(6, 2), label="digital", gid="digital")
    low, high = factor * table["chip_low"], factor * table["chip_high"]
    ax.fill_between(epochs, low, high, color=colour_of(0), alpha=0.2, linewidth=0, gid="interval")
    ax.plot(epochs, factor * table["chip_score"], color=colour_of(0), marker="o", label="chips", gid="chips")
    best = table[table["best"]]
    ax.plot(
        best["epoch"],
        factor * best["chip_score"],
        linestyle="none",
        marker="o",
        markersize=8,
        markerfacecolor="none",
        color=colour_of(1),
        label="kept",
        gid="best",
    )
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("epoch")
    ax.set_ylabel(f"{scale.name}{f' ({scale.shown_unit})' if scale.shown_unit else ''}")
    legend_above(ax, ncols=3)
    n = int(table["chips"].max())
    held_out, seconds = table.attrs["held_out"], float(table["seconds"].sum())
    parts = [f"{held_out} held-out inputs", f"mean of {n} chips that were not trained on"]
    write_caption(ax, [*parts, *(["band: 95 % interval over chips"] if n > 1 else []), f"{seconds:.0f} s"])
    return ax
