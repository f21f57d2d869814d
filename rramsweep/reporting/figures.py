"""Plots that suit a sweep, chosen by the columns that it varied: each a figure of one column of a journal."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.legend import Legend

from rramsweep.analysis.comparison import equal_to
from rramsweep.analysis.grouping import group_numbers, need_facts, resolve_by
from rramsweep.analysis.recovery import GROUP, has_recovered, recovered
from rramsweep.analysis.schema import ENDED, METRIC, TIME
from rramsweep.reporting.axis import is_number, joined_names, name_of, short_names
from rramsweep.reporting.difference_plot import plot_differences
from rramsweep.reporting.ecdf_plot import plot_ecdf
from rramsweep.reporting.heatmap_plot import plot_heatmap
from rramsweep.reporting.recovery_plot import plot_recovered
from rramsweep.reporting.robustness_plot import plot_robustness
from rramsweep.reporting.style import MARKERS, STYLE, PrintFigure, styled
from rramsweep.reporting.time_plot import plot_over_time
from rramsweep.reporting.yield_plot import plot_yield
from rramsweep.scale import Scale

# More panels than this in one figure are no longer read beside each other.
_PANELS = 3
# Facets of one plot share their axes, so that more of them are read beside each other.
_FACETS = 4
CAPTIONS = {
    "robustness": "The score over what was swept",
    "over_time": "The score over the time since programming",
    "heatmap": "The mean score of each pair of values, and where the yield falls below 90 %",
    "ecdf": "How the chips are distributed",
    "yield": "The share of good chips over the loss that a good chip may have",
    "differences": "How much each loses against the baseline, chip by chip",
    "recovered": "How much of what is lost each calibration recovers",
}


@dataclass(frozen=True)
class Choice:
    """A plot and the columns it is given; with ``panel``, one panel below the other for each value of that column.

    Panels with ``facets`` have one legend and one scale, so that they compare.
    """

    draw: Callable[..., Axes]
    columns: Mapping[str, Any]
    panel: str | None = None
    facets: bool = False


@dataclass(frozen=True)
class Arrangement:
    """Columns that tell curves over the main axis apart: by colour, by marker, by facet."""

    group: str | None = None
    marker: str | None = None
    facet: str | None = None


def figures_for(frame: pd.DataFrame) -> dict[str, PrintFigure]:
    """Draw the plots that suit a results frame, by what its sweep varied; see `choose`.

    Args:
        frame: a results frame, of one metric or several.

    Returns:
        Figures by name: `robustness`, `over_time`, `heatmap`, `ecdf`, `yield`, `recovered`, `differences`; with several
        metrics each name ends in the metric's, as in `ecdf-top-1-accuracy`. Empty where no chip finished.

    Raises:
        ValueError: not a results frame, or two points that no swept column tells apart.
    """
    need_facts(frame)
    swept = [name for name in resolve_by(frame, None) if name != ENDED and name not in METRIC]
    frame = frame.copy(deep=False)
    frame.attrs = {name: value for name, value in frame.attrs.items() if name != "images"}  # of which no plot shows any
    parts = [part for _, part in frame.groupby(list(METRIC), sort=False)]
    figures = {}
    for part in parts:
        if not (part["status"] == "ok").any():
            continue
        ending = "" if len(parts) == 1 else "-" + re.sub(r"[^\w.]+", "-", _words(part, parts)).strip("-")
        varied = [name for name in swept if part[name].nunique(dropna=False) > 1]
        arrangement, part = arranged(part, varied)
        for name, choice in choose(part, varied, arrangement).items():
            figures[name + ending] = _figure(part, choice)
    return figures


def caption_of(name: str) -> str:
    """Words on what a figure of `figures_for` shows."""
    plot, _, metric = name.partition("-")
    return CAPTIONS[plot] + (f" ({metric.replace('-', ' ')})" if metric else "")


def choose(frame: pd.DataFrame, swept: Sequence[str], by: Arrangement) -> dict[str, Choice]:
    """The plots for a frame of one metric, by the columns that vary in it.

    - any axis: robustness over `main_axis`, the others by colour, marker and facet as `arranged`
    - two values of ``t_s`` above 0: the score over time, instead of a robustness over ``t_s``
    - exactly two numeric axes and no other: a heat map
    - several chips a point: distribution and yield for each value of the main axis, a panel for each value of ``group``
      where there are at most three
    - several chips and a baseline with the same seeds: paired differences, to the first option of a choice that was
      swept beside one other axis, else to the lowest value of the main axis, the highest where scores are better
      there (bits, levels), or the first
    - chips without and with a calibration, and a loss beyond its interval: the share of it that is recovered
    """
    several = bool((frame["status"] == "ok").groupby(frame["point_id"]).sum().max() > 1)
    group, marker, facet = by.group, by.marker, by.facet
    if not swept:
        alone = {"ecdf": Choice(plot_ecdf, {}), "yield": Choice(plot_yield, {})}
        return alone if several else {}
    x, chosen = main_axis(frame, swept), {}
    # What is the same in every facet of a plot, beside the columns that one plot always has.
    shared: dict[str, Any] = {} if marker is None else {"marker": marker}
    if facet is not None and group is not None:
        shared["order"] = list(dict.fromkeys(short_names(frame[group], group)))
    timed = TIME in swept and frame.loc[frame[TIME] > 0, TIME].nunique() > 1
    if not timed or x != TIME:
        chosen["robustness"] = Choice(plot_robustness, {"x": x, "group": group, **shared}, facet, facets=True)
    if timed and (x == TIME or len(swept) == 2):
        columns = {"group": group, **shared} if x == TIME else {"group": x}
        chosen["over_time"] = Choice(plot_over_time, columns, facet, facets=True)
    if len(swept) == 2 and all(is_number(frame[name]) for name in swept):
        chosen["heatmap"] = Choice(plot_heatmap, {"x": x, "y": group})
    if (
        several
        and marker is None
        and facet is None
        and (group is None or frame[group].nunique(dropna=False) <= _PANELS)
    ):
        chosen["ecdf"] = Choice(plot_ecdf, {"group": x}, group)
        chosen["yield"] = Choice(plot_yield, {"group": x}, group)
    if marker is None and has_recovered(frame) and recovered(frame)["recovered_share"].notna().any():
        chosen["recovered"] = Choice(plot_recovered, {"x": x, "group": group}, facet, facets=True)
    of = group if group is not None and group in swept and not is_number(frame[group]) else x
    values = frame[of].dropna()
    baseline = {of: _good_end(frame, of) if is_number(values) else values.iloc[0]}
    if several and _paired(frame, baseline, [name for name in (facet, group, marker, x) if name is not None]):
        columns = {"baseline": baseline, "x": x, "group": group, **shared}
        chosen["differences"] = Choice(plot_differences, columns, facet, facets=True)
    return chosen


def main_axis(frame: pd.DataFrame, swept: Sequence[str]) -> str:
    """The column for the x axis: the numeric one with most levels, else the one with most."""
    numeric = [name for name in swept if is_number(frame[name])]
    return max(numeric or swept, key=lambda name: frame[name].nunique())


def arranged(frame: pd.DataFrame, swept: Sequence[str]) -> tuple[Arrangement, pd.DataFrame]:
    """The arrangement of the columns beside the main axis, and the frame with those that must share a place joined.

    Of two columns the one with fewer levels is the facet, of three the next one the marker; the one with most has the
    colours. More columns, and a facet of too many levels, are joined in words that name each parameter.
    """
    others = [name for name in swept if name != main_axis(frame, swept)] if swept else []
    if len(others) < 2:
        return Arrangement(others[0] if others else None), frame
    # What an option has no parameter for stands apart from its levels, and calibrations are compared with none: neither
    # has a facet or marker of its own.
    owners = {GROUP, *(name.partition(".")[0] for name in swept if "." in name)}
    free = [name for name in others if name not in owners and frame[name].notna().all()]
    few = sorted(free, key=lambda name: frame[name].nunique(dropna=False))
    facets = [name for name in few if frame[name].nunique(dropna=False) <= _FACETS]
    facet = facets[0] if facets else None
    few = [name for name in few if name != facet]
    rest = [name for name in others if name != facet]
    marks = [name for name in few if frame[name].nunique(dropna=False) <= len(MARKERS)]
    marker = marks[0] if len(rest) > 1 and facet and marks else None
    rest = [name for name in rest if name != marker]
    if len(rest) == 1:
        return Arrangement(rest[0], marker, facet), frame
    label = ", ".join(rest)
    number = group_numbers(frame, rest)
    first = frame.iloc[np.unique(number, return_index=True)[1]][rest].astype("object")
    texts = np.array(joined_names(first), dtype=object)
    return Arrangement(label, marker, facet), frame.assign(**{label: texts[number]})


def _good_end(frame: pd.DataFrame, axis: str) -> Any:
    """The lowest value of a numeric axis, or the highest where scores there are better by more than their noise."""
    done = frame.loc[frame["status"] == "ok"]
    low, high = (frame[axis].agg(end) for end in ("min", "max"))
    at_low, at_high = (done.loc[done[axis] == end, "score"] for end in (low, high))
    gain = at_high.mean() - at_low.mean()
    gain = gain if Scale.of(frame.iloc[0]).higher_is_better else -gain
    return high if gain > 2 * math.hypot(at_low.sem(), at_high.sem()) else low


def _words(part: pd.DataFrame, parts: Sequence[pd.DataFrame]) -> str:
    """The name of a part's metric, with its unit where another metric has the same name."""
    scale, names = Scale.of(part.iloc[0]), [Scale.of(other.iloc[0]).name for other in parts]
    return scale.name if names.count(scale.name) == 1 else f"{scale.name} {scale.unit}"


def _paired(frame: pd.DataFrame, baseline: Mapping[str, Any], keys: Sequence[str]) -> bool:
    """True where every point has a seed that finished both in it and at its baseline."""
    done = frame.loc[frame["status"] == "ok", [*keys, "seed"]]
    ((name, value),) = baseline.items()
    free = [key for key in keys if key != name]
    pairs = done.merge(done.loc[equal_to(done[name], value), [*free, "seed"]], on=[*free, "seed"])
    return len(pairs[list(keys)].drop_duplicates()) == len(frame[list(keys)].drop_duplicates())


@styled()
def _figure(frame: pd.DataFrame, choice: Choice) -> PrintFigure:
    panels = [(None, frame)] if choice.panel is None else list(frame.groupby(choice.panel, sort=False, dropna=False))
    width, height = STYLE["figure.figsize"]
    facets = choice.facets and len(panels) > 1
    tall = height + (len(panels) - 1) * (0.62 if facets else 1.0) * height
    figure = PrintFigure(figsize=(width, tall), layout="constrained")
    FigureCanvasAgg(figure)
    share: dict[str, Any] = {"sharey": True} if facets else {}
    for (value, part), ax in zip(panels, figure.subplots(len(panels), squeeze=False, **share)[:, 0], strict=True):
        if not (part["status"] == "ok").any():
            ax.set_axis_off()
            continue
        choice.draw(part, **choice.columns, ax=ax)
        legend = ax.get_legend()
        if facets:
            name = f"{choice.panel}: {short_names([value])[0]}"
            ax.add_artist(Legend(ax, [], [], title=name, loc="best", **_STRIP)).set_gid("facet")
        elif choice.panel is not None and legend is not None:
            legend.set_title(f"{name_of(value, choice.panel)}: {legend.get_title().get_text()}")
    if facets:
        _share(figure)
    return figure


# The name of a facet, where curves leave room for it.
_STRIP: dict[str, Any] = {"frameon": False, "title_fontproperties": {"size": 7, "weight": "bold"}}


def _share(figure: PrintFigure) -> None:
    """Leave one of what all facets of a figure have: the legend of the most names, and the labels of the axes."""
    drawn = [ax for ax in figure.axes if ax.axison]
    legends = [legend for ax in drawn if (legend := ax.get_legend()) is not None]
    names = [[text.get_text() for text in legend.get_texts()] for legend in legends]
    for legend, own in zip(legends[1:], names[1:], strict=True):
        if set(own) <= set(names[0]):
            legend.remove()
    for ax in drawn[:-1]:
        if ax.get_xlabel() == drawn[-1].get_xlabel():
            ax.set_xlabel("")
    # One label for all facets has the height of the figure: each facet's own may be longer than the facet is high.
    label = drawn[0].get_ylabel()
    if all(ax.get_ylabel() == label for ax in drawn):
        for ax in drawn:
            ax.set_ylabel("")
        figure.supylabel(label, fontsize=STYLE["axes.labelsize"])
