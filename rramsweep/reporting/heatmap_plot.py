"""Heat map: the mean score over two swept columns, and where the yield falls below a share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.patheffects as effects
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from rramsweep.analysis.grouping import finished, need_facts, one_metric, span
from rramsweep.analysis.summary import allowed_drop, interval_words, summarize
from rramsweep.arguments import checked_arguments
from rramsweep.intervals import Floats, T, t_interval
from rramsweep.reporting.axis import is_number, label_of, name_of
from rramsweep.reporting.curves import of_what
from rramsweep.reporting.style import axes_or_new, legend_above, styled, write_caption
from rramsweep.scale import Bound, Scale

# A contour's line, and those of its interval's ends.
CONTOURS: tuple[tuple[str, Any, float], ...] = (
    ("yield_share", "-", 1.3),
    ("yield_low", (0, (4, 1.5)), 0.8),
    ("yield_high", (0, (1, 1)), 0.8),
)
# Points that two short numbers above each other need.
_TEXT_WIDTH, _TEXT_HEIGHT = 19.0, 15.0


@checked_arguments
@styled()
def plot_heatmap(
    frame: pd.DataFrame,
    x: str,
    y: str,
    ax: Axes | None = None,
    yield_drop: float | None = None,
    *,
    yield_level: float = 0.9,
) -> Axes:
    """Draw the mean score of each (x, y) as a colour, light is good, with the contour of a yield.

    Values stand at even distances, numbers in ascending order. Where the cells are large enough each holds its mean
    and the half width of its 95 % interval. Between numbers, a solid line is where the yield is ``yield_level``,
    dashed and dotted ones where the lower and the upper end of its 95 % Wilson interval are, each interpolated linearly
    between the centres of cells: what lies on the light side of the dashed line has that yield.

    Args:
        frame: a results frame of one metric with one point in each (x, y).
        x: a choice or parameter column, from left to right.
        y: another one, upwards.
        ax: where to draw, as in `plot_robustness`; the colour bar is an inset at its right.
        yield_drop: see `summarize`.
        yield_level: share of good chips of the contour, above 0 and below 1.

    Returns:
        The Axes. Its artists have a gid: ``score``, ``mean`` (texts), ``yield_share``, ``yield_low``, ``yield_high``
        (contours), ``caption``.

    Raises:
        ValueError: what `plot_robustness` refuses, ``x`` and ``y`` one column, or ``yield_level`` outside (0, 1).
    """
    need_facts(frame)
    metric = one_metric(frame)
    if x == y:
        raise ValueError(f"a heat map needs two columns, got {x} twice: give another y")
    if not 0 < yield_level < 1:
        raise ValueError(f"yield_level must lie between 0 and 1, a share of chips, got {yield_level}: 0.9 is 90 %")
    chips = finished(frame, [y, x], free=False)
    yield_drop = allowed_drop(frame, yield_drop)
    table = summarize(frame, [y, x], yield_drop)
    ax = axes_or_new(ax)
    (column, across), (row, upwards) = (_places(table[name]) for name in (x, y))

    def grid(values: Any) -> Floats:
        out = np.full((len(upwards), len(across)), np.nan)
        out[row, column] = values
        return out

    mean = grid(metric.factor * table["score_mean"])
    colours = mpl.colormaps[mpl.rcParams["image.cmap"] + ("" if metric.higher_is_better else "_r")]
    mesh = ax.pcolormesh(np.arange(len(across) + 1) - 0.5, np.arange(len(upwards) + 1) - 0.5, mean, cmap=colours)
    mesh.set_gid("score")
    half = grid(metric.factor * _half_width(table))
    box = ax.get_window_extent()
    points = 72 / ax.figure.dpi
    fits = box.width * points >= _TEXT_WIDTH * len(across) and box.height * points >= _TEXT_HEIGHT * len(upwards)
    if fits:
        _write_means(ax, mesh, mean, half, metric)
    parts = [f"mean over {span(table.loc[table['n'] > 0, 'n'])} chips {of_what(chips)}"]
    if is_number(table[x]) and is_number(table[y]) and min(mean.shape) > 1 and yield_drop is not None:
        _draw_contours(ax, {name: grid(table[name]) for name, _, _ in CONTOURS}, yield_level)
        if not (table["yield_low"] >= yield_level).any():
            parts.append(f"no point's lower end of the yield's 95 % interval reaches {100 * yield_level:g} %")
    _name_axes(ax, x, y, across, upwards)
    bar = ax.figure.colorbar(mesh, cax=ax.inset_axes((1.03, 0, 0.04, 1)))
    bar.set_label(metric.label)
    bar.outline.set_visible(False)
    legend_above(ax)
    if np.isfinite(half).any():
        most = metric.number(np.nanmax(half) / metric.factor, digits=1, bound="high")
        parts.insert(1, f"{'±: half the ' if fits else ''}{interval_words(table)}, at most ±{most}")
    if np.isnan(mean).any():
        parts.append("white: no chip")
    write_caption(ax, parts)
    return ax


def _half_width(table: pd.DataFrame) -> Floats:
    if table.attrs["interval"] == T:
        # As it was before it was cut at 0 and 1: what is cut has no one half width.
        return t_interval(np.zeros(len(table)), table["se_chips"].to_numpy(), table["n"].to_numpy())[1]
    return np.asarray((table["score_high"] - table["score_low"]) / 2)


def _places(values: pd.Series[Any]) -> tuple[Any, list[Any]]:
    """The place of each value and the values in order: numbers ascend, null last; names as they appear."""
    code, found = pd.factorize(values, sort=is_number(values), use_na_sentinel=False)
    return code, list(found)


def _write_means(ax: Axes, mesh: Any, mean: Floats, half: Floats, metric: Scale) -> None:
    shown = mesh.cmap(mesh.norm(mean))[..., :3] @ (0.299, 0.587, 0.114)  # luma of ITU-R BT.601
    for (row, column), value in np.ndenumerate(mean):
        if np.isnan(value):
            continue
        ends: tuple[tuple[Any, Bound | None], ...] = ((value, None), (half[row, column], "high"))
        lines = [metric.number(float(v) / metric.factor, digits=1, bound=bound) for v, bound in ends]
        text = lines[0] if lines[1] == "-" else f"{lines[0]}\n±{lines[1]}"
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": mpl.rcParams["legend.fontsize"]}
        # In the cell's own colour, wide enough that a contour ends beside the digits and goes on behind them.
        style["path_effects"] = [effects.withStroke(linewidth=3, foreground=mesh.cmap(mesh.norm(value)))]
        ax.text(column, row, text, color="black" if shown[row, column] > 0.5 else "white", gid="mean", **style)


def _draw_contours(ax: Axes, shares: dict[str, Floats], level: float) -> None:
    words = {"yield_share": f"yield {100 * level:g} %", "yield_low": "lower end of its 95 % interval"}
    words["yield_high"] = "upper end of its 95 % interval"
    for name, dashes, width in CONTOURS:
        share = shares[name]
        if not np.nanmin(share) < level <= np.nanmax(share):
            continue
        lines = ax.contour(share, levels=[level], colors="#D55E00", linestyles=[dashes], linewidths=width)
        lines.set(gid=name, path_effects=[effects.withStroke(linewidth=width + 1.2, foreground="white")])
        ax.add_line(Line2D([], [], color="#D55E00", linestyle=dashes, linewidth=width, label=words[name]))


def _name_axes(ax: Axes, x: str, y: str, across: Sequence[Any], upwards: Sequence[Any]) -> None:
    for axis, name, values, most in ((ax.xaxis, x, across, 8), (ax.yaxis, y, upwards, 12)):
        step = -(-len(values) // most)
        names = [name_of(value) for value in values[::step]]
        axis.set_ticks(np.arange(0, len(values), step), names)
        axis.set_label_text(label_of(name))
    if max(len(name_of(value)) for value in across) * len(across) > 55:
        ax.tick_params(axis="x", labelrotation=30)
    ax.tick_params(length=0)
