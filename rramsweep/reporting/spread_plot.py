"""The plot of where the spread between chips comes from, on the Axes it is given."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rramsweep.analysis.variance_shares import FIRST_ORDER, LAYER, STAGE, TOTAL
from rramsweep.arguments import checked_arguments
from rramsweep.errors import ValidationError, one_of
from rramsweep.reporting.style import MOST_NAMES, axes_or_new, colour_of, legend_above, styled, write_caption

# What the bars are of.
_ALONE, _TOTAL = "first order (alone)", "total (with interactions)"


@checked_arguments
@styled()
def plot_spread(table: pd.DataFrame, part: str = STAGE, ax: Axes | None = None) -> Axes:
    """Draw the shares of stages, or of layers, in the variance of the score between chips.

    Args:
        table: from `rramsweep.spread`.
        part: `stage`, with first order and total, or `layer`, with the total.
        ax: where to draw; nothing else is touched. Default: a new figure, one column wide.

    Returns:
        The Axes. Its artists have a gid: ``first_order``, ``total``, ``caption``.

    Raises:
        ValidationError: not such a table, no rows of this part, or no shares since the chips agree.
    """
    if "part" not in table or "score_std" not in table.attrs:
        raise ValidationError("must be the frame of rramsweep.spread", "call spread first", shown="another")
    one_of("part", part, (STAGE, LAYER))
    rows = table[(table["part"] == part) & table["total"].notna()]
    if rows.empty:
        raise ValidationError(
            f"must hold shares of a {part}", "spread it, with chips that differ", shown="none", parameter="table"
        )
    ax = axes_or_new(ax)
    n = len(rows)
    if n > MOST_NAMES:  # the largest ones, in the order of the network
        rows = rows.loc[np.sort(rows["total"].nlargest(MOST_NAMES).index)]
    at = np.arange(len(rows), dtype=float)
    drawn = [(_ALONE, FIRST_ORDER), (_TOTAL, TOTAL)] if part == STAGE else [(_TOTAL, TOTAL)]
    height = 0.8 / len(drawn)
    for i, (label, (name, low, high)) in enumerate(drawn):
        share, place = 100 * rows[name].to_numpy(dtype=float), at + (i - (len(drawn) - 1) / 2) * height
        colour = colour_of(int(label == _TOTAL))  # the same beside first orders and without them
        bars = ax.barh(place, share, height, color=colour, alpha=0.75, linewidth=0, label=label)
        for bar in bars:
            bar.set_gid(name)
        ax.hlines(place, 100 * rows[low], 100 * rows[high], color="#000000", linewidth=1.0)
    ax.set_yticks(at, [str(name) if name != "*" else "all layers" for name in rows["name"]])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.axvline(0, color="#777777", linewidth=0.8, zorder=1)
    ax.set_xlabel("share of the variance between chips (%)")
    legend_above(ax)
    caption = ["explains spread between chips, not loss of accuracy", f"{rows['chips'].max()} chips"]
    if len(rows) > 1:
        caption.append("totals overlap and may add up to more than 100 %")
    elif n == 1:
        caption.append(f"the only {part} that draws: 100 % by definition")
    if rows["low"].notna().any():
        caption.append("lines: 95 % bootstrap intervals")
    if n > len(rows):
        caption.append(f"the {len(rows)} largest of {n}")
    write_caption(ax, caption)
    return ax
