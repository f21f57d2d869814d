"""Robustness: the score over one parameter or choice, on the Axes it is given. Fractions are drawn in percent."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from rramsweep.analysis.grouping import finished, need_facts, one_metric, span
from rramsweep.analysis.schema import TIME
from rramsweep.analysis.summary import allowed_drop, interval_words, summarize
from rramsweep.arguments import checked_arguments
from rramsweep.reporting.axis import data_at, has_places, label_of, name_places, whole_ticks
from rramsweep.reporting.curves import (
    crowded,
    draw_means,
    drawn,
    flat,
    name_curves,
    name_groups,
    of_what,
    placed,
    styles_of,
)
from rramsweep.reporting.style import REFERENCE_LINES, CurveStyle, axes_or_new, room, styled, write_caption
from rramsweep.reporting.time_axis import name_times, spread_times
from rramsweep.scale import Scale

# Column -> lowest and highest value that its source covers, and words for what lies beyond.
Ranges = Mapping[str, tuple[float, float, str]]
# The light band is all chips, until they are so many that order statistics bound the quantiles; see `summarize`.
BANDS = (("spread", "spread_low", "spread_high", 0.15), ("interval", "score_low", "score_high", 0.4))

# More dots than these lie upon each other.
_DOTS = 5000
# Of more dots than these a vector file holds a picture: each takes some hundred bytes.
_DENSE = 1000


def beyond_source(frame: pd.DataFrame) -> list[str]:
    """A sentence for each parameter of which some value lies outside what its source covers.

    None on times: of these the effects' own notes say more.
    """
    return [
        words
        for name, (low, high, words) in frame.attrs.get("source_ranges", {}).items()
        if name in frame
        and name != TIME
        and not pd.to_numeric(frame[name], errors="coerce").dropna().between(low, high).all()
    ]


@checked_arguments
@styled()
def plot_robustness(
    frame: pd.DataFrame,
    x: str,
    group: str | None = None,
    ax: Axes | None = None,
    yield_drop: float | None = None,
    *,
    source_range: Ranges | None = None,
    marker: str | None = None,
    order: Sequence[str] | None = None,
) -> Axes:
    """Draw the score over one parameter or choice: what survives on real chips.

    For each value of ``group`` (and of ``marker``): the mean over chips (curve), its 95 % interval (band), the
    5-95 % range of the chips (lighter band), every chip (dot), or of thousands one of so many. Means of several
    groups stand side by side, with capped bars for the interval and no range. Of more groups and names than can be told
    apart `curves.drawn` takes some, and the caption names the others. Dashed: the digital network and the ideal chip,
    one line where they agree. Dotted: the score from which a chip is good, where there is a ``yield_drop``. A positive
    ``x`` over two decades gets a logarithmic axis, that of ``t_s`` with time 0 apart; text and null or infinite values
    of a numeric ``x`` are categories: bars, no curve.

    Args:
        frame: a results frame of one metric with one point in each (x, group).
        x: a choice or parameter column.
        group: a choice or parameter column, or None for one curve.
        ax: where to draw; nothing else is touched. The legend stands above it, where a title would, and the
            caption below: ``layout="constrained"`` gives them room. Default: a new figure, one column wide.
        yield_drop: see `summarize`.
        source_range: ``{column: (lowest, highest, words)}``; what lies outside is shaded, the words say so. Default:
            what the effects of the sweep declare (``frame.attrs["source_ranges"]``).
        marker: another choice or parameter column beside ``group``: its values have markers and dashes of their own.
        order: names of the groups in the order of their colours, for plots that share them. Default: the frame's.

    Returns:
        The Axes. Its artists have a gid: ``mean:``, ``interval:``, ``spread:``, ``chips:`` before the group's
        name, ``digital``, ``ideal chip``, ``yield limit``, ``outside``, ``caption``, and ``label:`` before the name of
        a curve that has it at its end instead of in the legend. `rramsweep.caption` gives the caption's text.

    Raises:
        ValueError: what `summarize` refuses, a frame of several metrics, or one in which no chip finished.
    """
    return draw_robustness(frame, x, group, ax, yield_drop, source_range=source_range, marker=marker, order=order)


def draw_robustness(
    frame: pd.DataFrame,
    x: str,
    group: str | None,
    ax: Axes | None,
    yield_drop: float | None,
    *,
    source_range: Ranges | None = None,
    marker: str | None = None,
    order: Sequence[str] | None = None,
    mark: Callable[[Axes], Sequence[str]] | None = None,
) -> Axes:
    """Draw what `plot_robustness` does, and by ``mark`` more beside the curves, of which it returns the captions."""
    need_facts(frame)
    metric = one_metric(frame)
    keys = list(dict.fromkeys(name for name in (group, marker, x) if name is not None))
    chips = finished(frame, keys, free=group is None)
    yield_drop = allowed_drop(frame, yield_drop)
    table = summarize(frame, keys, yield_drop)
    ax = axes_or_new(ax, height=3.2)
    notes = [f"{table['n_failed'].sum()} failed chips are left out"] if table["n_failed"].any() else []
    table = table[table["n"] > 0]  # its index stays the number of the row
    table, left_out = drawn(table, x, group, marker)
    chips = chips[chips["summary_row"].isin(table.index)]
    spread_times(ax, x, table[x])
    table = table.assign(
        spread_low=table["q05_low"].fillna(table["score_min"]), spread_high=table["q95_high"].fillna(table["score_max"])
    )
    table = placed(table.assign(limit=limit_of(table, chips, metric, yield_drop)), x, group, ax, marker)
    styles = styles_of(table, group, marker, order)
    draw_means(ax, table, "score_mean", BANDS, metric.factor, styles=styles)
    every = -(-len(chips) // _DOTS)
    _draw_chips(ax, table, chips.iloc[::every], metric, styles)
    _draw_baselines(ax, table, metric, styles)
    ranges = frame.attrs.get("source_ranges", {}) if source_range is None else source_range
    if x in ranges:
        notes += _draw_outside(ax, table[x], ranges[x], _outside_name(x, source_range))
    notes += mark(ax) if mark else []
    if has_places(table, x, ax):
        name_places(ax, table, chips, x, room(ax))
    ax.set_xlabel(label_of(x))
    whole_ticks(ax, table[x])
    name_times(ax, x, table[x])
    ax.set_ylabel(metric.label)
    if marker is None:
        name_curves(ax, table, "score_mean", metric.factor, styles)
    name_groups(ax, table, styles, group, marker)
    write_caption(ax, [*_caption(table, chips, every), *notes], left_out)
    return ax


def limit_of(table: pd.DataFrame, chips: pd.DataFrame, metric: Scale, drop: float | None) -> Any:
    """The score from which a chip is good, NaN without a drop; of whole images where they are counted."""
    if drop is None:
        return table["digital_score"] * np.nan
    by_row = chips.groupby("summary_row")
    images, counted = by_row["n_images"].first().astype("float64"), by_row["n_correct"].count() > 0
    allowed = np.where(counted, np.floor(drop * images + 1e-9) / images, drop)
    return table["digital_score"] - allowed if metric.higher_is_better else table["digital_score"] + allowed


def _draw_chips(
    ax: Axes, table: pd.DataFrame, chips: pd.DataFrame, metric: Scale, styles: Mapping[str, CurveStyle]
) -> None:
    # The golden ratio fills a lane evenly, and the same way each time.
    jitter = 0.8 * ((chips.groupby("summary_row").cumcount() * 0.6180339887 + 0.5) % 1 - 0.5)
    middle, width = (table[name].reindex(chips["summary_row"]).to_numpy() for name in ("middle", "lane"))
    where = pd.Series(data_at(ax, middle + jitter.to_numpy() * width), chips.index)
    dense = len(chips) > _DENSE
    for name in dict.fromkeys(table["group"]):
        of_group = chips["summary_row"].isin(table.index[table["group"] == name])
        style: dict[str, Any] = {"color": styles[name].colour, "gid": f"chips:{name}", "zorder": 2}
        style |= {"s": 3, "alpha": 0.3, "linewidths": 0, "rasterized": dense}
        ax.scatter(where[of_group], metric.factor * chips.loc[of_group, "score"], **style)


def _draw_baselines(ax: Axes, table: pd.DataFrame, metric: Scale, styles: Mapping[str, CurveStyle]) -> None:
    every = list(dict.fromkeys(table["group"]))
    lines = [line for line in REFERENCE_LINES if table[line[0]].notna().any()]
    same = coincide(table)
    for column, words, grey, dashes in lines[:1] + lines[2:] if same else lines:
        # One line serves all groups that agree on it.
        shared = flat(table[column])
        for index, name in enumerate(every[:1] if shared else every):
            of_group = table if shared else table[table["group"] == name].sort_values("at", kind="stable")
            amount = metric.between(table[column].min(), table[column].max(), digits=1)
            label = f"{words}{', ideal chip' if same and words == 'digital' else ''} {amount}"
            colour = grey if shared else styles[name].colour
            style: dict[str, Any] = {"color": colour, "linestyle": dashes, "linewidth": 0.9, "zorder": 3}
            if not shared and index == 0:  # lines of all the groups' colours have one name, in the colour of none
                ax.add_line(Line2D([], [], label=label, **{**style, "color": grey}))
            style |= {"gid": words, "label": label if shared else "_nolegend_"}
            if flat(of_group[column]):
                ax.axhline(metric.factor * of_group[column].iloc[0], **style)
                continue
            for curve, part in of_group.groupby("curve"):
                value = metric.factor * part[column]
                if curve:
                    ax.plot(data_at(ax, part["at"]), value, **style)
                else:  # nothing lies between two categories
                    left, right = (data_at(ax, part["middle"] + side * part["lane"] / 2) for side in (-1, 1))
                    ax.hlines(value, left, right, **style)
                style["label"] = "_nolegend_"


def _outside_name(x: str, source_range: Ranges | None) -> str:
    return "extrapolated" if x == TIME and source_range is None else "outside the source's range"


def coincide(table: pd.DataFrame) -> bool:
    """True where digital network and ideal chip have one score in every row: then one line serves both."""
    digital, ideal = (table[name].to_numpy(dtype=np.float64) for name in ("digital_score", "ideal_score"))
    return bool(np.isclose(digital, ideal, rtol=0, atol=1e-12).all())


def _draw_outside(ax: Axes, values: "pd.Series[Any]", source: tuple[float, float, str], label: str) -> list[str]:
    """Shade what lies outside the source's range, and say so in words; nothing if all values lie in it."""
    v = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    low, high, words = source
    left, right = ax.set_xlim(ax.get_xlim())
    sides = [(left, low)] if (v < low).any() else []
    sides += [(high, right)] if (v > high).any() else []
    for side in sides:
        ax.axvspan(*side, color="#000000", alpha=0.07, linewidth=0, zorder=0, gid="outside", label=label)
        label = "_nolegend_"
    return [shaded(words)] if sides else []


def shaded(words: str) -> str:
    """Phrase of a caption on what lies outside a source's range."""
    return f"shaded: {words}"


def _caption(table: pd.DataFrame, chips: pd.DataFrame, every: int) -> list[str]:
    if table["n"].max() == 1:
        return [f"one chip {of_what(chips)}, so no interval"]
    over = f"mean with {interval_words(table)} over {span(table['n'])} chips {of_what(chips)}"
    return [over, *_spread_words(table), "dots: chips" if every == 1 else f"dots: one of {every} chips"]


def _spread_words(table: pd.DataFrame) -> list[str]:
    """Words on the second band, where it is drawn: of few chips it is the narrower one, a darker part of the first."""
    table = table[(table["n"] > 1) & ~(table["curve"] & crowded(table))]
    if table.empty:
        return []
    within = ((table["spread_low"] > table["score_low"]) | (table["spread_high"] < table["score_high"])).any()
    bounded = table["q05_low"].notna()
    band = "95 % bounds on the 5 and 95 % quantiles" if bounded.any() else "all chips"
    if bounded.any() and not bounded.all():
        band = f"all chips, of {table.loc[bounded, 'n'].min()} or more {band}"
    return [f"{band}: light, darker within the interval" if within else f"light band: {band}"]
