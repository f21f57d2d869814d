"""Plots of the results table, each on the Axes it is given.

Fractions are drawn in percent, other scores in their unit. Sizes suit one column of a journal (89 mm). Every
property is passed to its artist, so neither rcParams nor pyplot's current figure change.
"""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rramsweep.axis import data_at, label_of, name_of, name_places, positions
from rramsweep.cells import cells, inputs_word, need_facts, scales
from rramsweep.scores import Scale
from rramsweep.summary import allowed_drop, summarize

Ranges = Mapping[str, tuple[float, float, str]]
# Column -> lowest and highest value that its source covers, and words for what lies beyond.
SOURCE_RANGE: Ranges = {
    "drift.relative_drift": (0, 0.2, "relative drift above 0.2 lies outside the range its source gives")
}
# Okabe and Ito's colour-blind-safe palette without its yellow, which print loses on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
BASELINES = (
    ("digital_score", "digital", "#000000", (0, (6, 2))),
    ("ideal_score", "ideal chip", "#777777", (0, (2, 1.2))),
    ("limit", "yield limit", "#777777", (0, (1, 2))),
)
_SMALL, _TEXT = 6.0, 7.0  # points


def plot_robustness(
    frame: pd.DataFrame,
    x: str,
    group: str | None = None,
    ax: Axes | None = None,
    yield_drop: float | None = None,
    *,
    source_range: Ranges = SOURCE_RANGE,
) -> Axes:
    """Draw the score over one parameter or choice: what survives on real chips.

    For each value of ``group``: the mean over chips (curve), its 95 % t interval (band), the 5-95 % range of
    the chips (lighter band), every chip (dot). Dashed: the digital network and the ideal chip. Dotted: the
    score from which a chip is good, where there is a ``yield_drop``. A positive ``x`` over two decades gets a
    logarithmic axis; text and null or infinite values of a numeric ``x`` are categories: bars, no curve.

    Args:
        frame: a results frame of one metric with one point in each (x, group).
        x: a choice or parameter column.
        group: a choice or parameter column, or None for one curve.
        ax: where to draw; nothing else is touched. The legend stands above it, where a title would, and the
            caption below: ``layout="constrained"`` gives them room. Default: a new figure, one column wide.
        yield_drop: see `summarize`.
        source_range: ``{column: (lowest, highest, words)}``; what lies outside is shaded, the words say so.

    Returns:
        The Axes. Its artists have a gid: ``mean:``, ``interval:``, ``spread:``, ``chips:`` before the group's
        name, ``digital``, ``ideal chip``, ``yield limit``, ``outside``, ``caption``.

    Raises:
        ValueError: what `summarize` refuses, a frame of several metrics, or one in which no chip finished.
    """
    need_facts(frame)
    metric = _one_metric(frame)
    keys = list(dict.fromkeys(name for name in (group, x) if name is not None))
    yield_drop = allowed_drop(frame, yield_drop)
    table = summarize(frame, keys, yield_drop)
    chips, cell, _ = cells(frame, keys)
    chips = chips.assign(cell=cell)[chips["status"] == "ok"]
    if chips.empty:
        raise ValueError("a plot needs a chip with status ok, got none: see the frame's error column")
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.subplots(figsize=(89 / 25.4, 3.2), layout="constrained")[1]
    notes = [f"{table['n_failed'].sum()} failed chips are left out"] if table["n_failed"].any() else []
    table = table[table["n"] > 0]  # its index stays the number of the cell
    table = table.assign(
        group="mean" if group is None else [name_of(value, group) for value in table[group]],
        limit=_limit(table, chips, metric, yield_drop),
        **positions(table[x], ax),
    )
    every = list(dict.fromkeys(table["group"]))
    lane = table["lane"] / len(every)
    shift = lane * (table["group"].map(every.index) - (len(every) - 1) / 2)
    # On a curve only the dots step aside, so that the mean stands at its value of x.
    table["where"] = data_at(ax, table["at"] + shift.where(~table["curve"], 0.0))
    # The golden ratio fills a lane evenly, and the same way each time.
    jitter = 0.8 * ((chips.groupby("cell").cumcount() * 0.6180339887 + 0.5) % 1 - 0.5)
    middle, width = (part.reindex(chips["cell"]).to_numpy() for part in (table["at"] + shift, lane))
    chips["where"] = data_at(ax, middle + jitter.to_numpy() * width)
    for index, name in enumerate(every):
        mine = table[table["group"] == name].sort_values("at", kind="stable")
        colour, dots = COLOURS[index % len(COLOURS)], chips[chips["cell"].isin(mine.index)]
        style: dict[str, Any] = {"color": colour, "gid": f"chips:{name}", "zorder": 2}
        ax.scatter(dots["where"], metric.factor * dots["score"], s=3, alpha=0.3, linewidths=0, **style)
        marker = MARKERS[(index + index // len(COLOURS)) % len(MARKERS)]
        for _, part in mine.groupby("curve"):
            _draw_means(ax, part, metric, name, colour, marker, width=min(8.0, 20.0 / len(every)))
    _draw_baselines(ax, table, metric, every)
    if x in source_range:
        notes += _draw_outside(ax, table[x], source_range[x])
    # How many small letters fit beside each other under the Axes: they are about half as wide as high.
    room = max(20, int(ax.get_window_extent().width / ax.figure.dpi * 72 / (0.5 * _SMALL)))
    if not table["curve"].all():
        name_places(ax, table, chips, x, room)
    _write(ax, x, metric, textwrap.fill(_caption(table, chips, notes), room))
    return ax


def _one_metric(frame: pd.DataFrame) -> Scale:
    metrics = scales(frame)
    if len(metrics) > 1:
        names = ", ".join(metric.label for metric in metrics)
        raise ValueError(f"a plot must be of one metric, got {names}: filter the frame")
    return metrics[0] if metrics else Scale("score", "", True)


def _limit(table: pd.DataFrame, chips: pd.DataFrame, metric: Scale, drop: float | None) -> Any:
    """The score from which a chip is good, NaN without a drop; of whole images where they are counted."""
    if drop is None:
        return table["digital_score"] * np.nan
    by_cell = chips.groupby("cell")
    images, counted = by_cell["n_images"].first().astype("float64"), by_cell["n_correct"].count() > 0
    allowed = np.where(counted, np.floor(drop * images + 1e-9) / images, drop)
    return table["digital_score"] - allowed if metric.higher_is_better else table["digital_score"] + allowed


def _draw_means(ax: Axes, part: pd.DataFrame, metric: Scale, name: str, colour: str, marker: str, width: float) -> None:
    """Means with both ranges of the cells of one group: joined on a curve, alone as categories."""
    curve, factor = bool(part["curve"].iloc[0]), metric.factor
    style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.2}
    style |= {"linestyle": "-" if curve else "none", "markeredgecolor": "white", "markeredgewidth": 0.4}
    ax.plot(part["where"], factor * part["score_mean"], zorder=4, gid=f"mean:{name}", label=name, **style)
    bands = (("spread", "q05", "q95", 0.15), ("interval", "score_low", "score_high", 0.4))
    for what, low, high, alpha in bands:
        style = {"color": colour, "alpha": alpha, "zorder": 1, "gid": f"{what}:{name}"}
        if curve:
            ax.fill_between(part["where"], factor * part[low], factor * part[high], linewidth=0, **style)
        else:
            ax.vlines(part["where"], factor * part[low], factor * part[high], linewidth=width, **style)


def _draw_baselines(ax: Axes, table: pd.DataFrame, metric: Scale, every: list[str]) -> None:
    for column, words, grey, dashes in BASELINES:
        if table[column].isna().all():
            continue
        # One line serves all groups that agree on it.
        shared = _flat(table[column])
        for index, name in enumerate(every[:1] if shared else every):
            mine = table if shared else table[table["group"] == name].sort_values("at", kind="stable")
            value = metric.factor * mine[column].to_numpy()
            low, high = (metric.text(end, digits=1) for end in (table[column].min(), table[column].max()))
            amount = high if shared else f"{low.removesuffix(' %')}–{high}"
            label = f"{words} {amount}" if index == 0 else "_nolegend_"
            colour = grey if shared else COLOURS[index % len(COLOURS)]
            style: dict[str, Any] = {"color": colour, "linestyle": dashes, "linewidth": 0.9, "zorder": 3}
            style |= {"gid": words, "label": label}
            if _flat(mine[column]):
                ax.axhline(value[0], **style)
            else:
                ax.plot(data_at(ax, mine["at"]), value, **style)


def _flat(values: "pd.Series[Any]") -> bool:
    return bool(np.ptp(values) <= 1e-9 * np.abs(values).max())


def _draw_outside(ax: Axes, values: "pd.Series[Any]", source: tuple[float, float, str]) -> list[str]:
    """Shade what lies outside the source's range, and say so in words; nothing if all values lie in it."""
    v = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    low, high, words = source
    left, right = ax.set_xlim(ax.get_xlim())
    sides = [(left, low)] if (v < low).any() else []
    sides += [(high, right)] if (v > high).any() else []
    for side, label in zip(sides, ("outside the source's range", "_nolegend_"), strict=False):
        ax.axvspan(*side, color="#000000", alpha=0.07, linewidth=0, zorder=0, gid="outside", label=label)
    return [f"shaded: {words}"] if sides else []


def _caption(table: pd.DataFrame, chips: pd.DataFrame, notes: list[str]) -> str:
    def span(values: "pd.Series[Any]") -> str:
        return f"{values.min()}" if values.nunique() == 1 else f"{values.min()}–{values.max()}"

    network = "this network" if chips["model"].nunique() <= 1 else "each network"
    of = f"of {network} on these {span(chips['n_images'])} {inputs_word(chips)}"
    if table["n"].max() == 1:
        return "; ".join([f"one chip {of}, so no interval", *notes])
    over = f"mean with 95 % t interval over {span(table['n'])} chips {of}"
    return "; ".join([over, "light band: 5–95 % of chips", "dots: chips", *notes])


def _write(ax: Axes, x: str, metric: Scale, caption: str) -> None:
    ax.set_xlabel(label_of(x), fontsize=_TEXT)
    ax.set_ylabel(metric.label, fontsize=_TEXT)
    ax.tick_params(labelsize=_SMALL, width=0.6, length=3)
    ax.spines[["top", "right"]].set_visible(False)
    # A group with bars and a curve has two handles of one name; the curve is the later.
    handles = {handle.get_label(): handle for handle in ax.get_legend_handles_labels()[0]}
    style: dict[str, Any] = {"fontsize": _SMALL, "frameon": False, "ncols": 2, "handlelength": 2.4}
    style |= {"borderaxespad": 0.2, "columnspacing": 1.2, "labelspacing": 0.3}
    ax.legend(handles=list(handles.values()), loc="lower left", bbox_to_anchor=(0, 1), **style)
    # Hung on the axis label, which knows how tall the tick labels are.
    below = (ax.transAxes, ax.xaxis.label)
    style = {"textcoords": "offset points", "fontsize": _SMALL, "color": "#444444", "va": "top", "ha": "left"}
    ax.annotate(caption, (0, 0), xytext=(0, -3), xycoords=below, gid="caption", **style)
