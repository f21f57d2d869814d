"""The plot of one crossbar: what its wires take from each cell, on the Axes it is given."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rramsweep.arguments import checked_arguments
from rramsweep.errors import ValidationError
from rramsweep.reporting.style import axes_or_new, styled, write_caption

WORD_LINE = "word_line"


@checked_arguments
@styled()
def plot_tile(drop: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the relative drop `1 - G_eff / G` of every cell of a tile, in percent.

    Word lines run from their drivers at the left, bit lines down to their sense amplifiers at the bottom, as in the
    circuit of `rramsweep.crossbar.Segments`.

    Args:
        drop: from `rramsweep.tile_drop`.
        ax: where to draw; nothing else is touched. Default: a new figure, one column wide.

    Returns:
        The Axes. Its artists have a gid: ``drop``, ``caption``.

    Raises:
        ValidationError: the frame is not from `tile_drop`.
    """
    if drop.index.name != WORD_LINE or "layer" not in drop.attrs:
        raise ValidationError(
            "must be the frame of rramsweep.tile_drop", "call tile_drop first", shown="another", parameter="drop"
        )
    ax = axes_or_new(ax)
    percent = 100 * drop.to_numpy(dtype=float)
    mesh = ax.imshow(percent, aspect="auto", interpolation="nearest", origin="upper")
    mesh.set_gid("drop")
    ax.set_xlabel("bit line, from the drivers")
    ax.set_ylabel("word line, down to the sense")
    bar = ax.figure.colorbar(mesh, cax=ax.inset_axes((1.03, 0, 0.04, 1)))
    bar.set_label(r"drop $1 - G_\mathrm{eff}/G$ (%)")
    bar.outline.set_visible(False)
    row, column = divmod(int(np.nanargmax(percent)), percent.shape[1])
    place = f"{drop.index.tolist()[row]}, {drop.columns.tolist()[column]}"
    of = f"cells {drop.attrs['cell']} of {drop.attrs['layer']}, tile {drop.attrs['tile']}, chip {drop.attrs['seed']}"
    write_caption(ax, [of, f"mean {np.nanmean(percent):.2g} %, largest {percent[row, column]:.2g} % at cell ({place})"])
    return ax
