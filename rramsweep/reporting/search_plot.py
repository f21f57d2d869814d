"""Plots of a design search: its history, which parameters matter, and the front, confirmed on fresh seeds."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ticker import MaxNLocator

from rramsweep.reporting.axis import label_of, whole_ticks
from rramsweep.reporting.style import STYLE, PrintFigure, axes_or_new, colour_of, legend_above, styled, write_caption
from rramsweep.study.search import COMPLETE, Search

CAPTIONS = {
    "history": "What the search found, trial by trial",
    "importances": "Which parameters decide whether a design is among the best tenth (PED-ANOVA)",
    "front": "The front of the search, and the same designs on chips that it did not see",
}
# More panels than this in one figure are no longer read.
_PANELS = 3
# How values on fresh seeds look.
_FRESH: dict[str, Any] = {
    **{"label": "on fresh seeds", "gid": "fresh", "linestyle": "none"},
    **{"marker": "s", "markersize": 6, "markerfacecolor": "none"},
}


def search_figures(search: Search) -> dict[str, PrintFigure]:
    """Draw a search: `history`, `importances` where trials tell any, `front` of several objectives.

    Args:
        search: with or without trials; without complete ones there is nothing to draw.
    """
    if not search.complete:
        return {}
    names = list(search.objectives)
    figures = {"history": _panels(len(names))}
    for i, ax in enumerate(figures["history"].axes):
        plot_history(search, names[i], ax)
    known = [name for name in names if search.importances.get(name)]
    if known:
        figures["importances"] = _panels(len(known))
        for ax, name in zip(figures["importances"].axes, known, strict=False):
            plot_importances(search, name, ax)
    pairs = list(itertools.combinations(names, 2))
    if pairs:
        figures["front"] = _panels(len(pairs))
        for ax, (y, x) in zip(figures["front"].axes, pairs, strict=False):
            plot_front(search, x, y, ax)
    return figures


@styled()
def _panels(n: int) -> PrintFigure:
    n = min(n, _PANELS)
    width, height = STYLE["figure.figsize"]
    figure = PrintFigure(figsize=(width, height * n), layout="constrained")
    FigureCanvasAgg(figure)
    figure.subplots(n, squeeze=False)
    return figure


@styled()
def plot_history(search: Search, objective: str, ax: Axes | None = None) -> Axes:
    """Draw an objective over the number of the trial, and the best value so far.

    Args:
        search: with complete trials.
        objective: one of its columns.
        ax: where to draw; default a new figure.

    Returns:
        The Axes. Its artists have a gid: ``trials``, ``best``, ``fresh``, ``caption``.
    """
    ax = axes_or_new(ax)
    i = list(search.objectives).index(objective)
    trials = search.complete
    number, value = [trial.number for trial in trials], np.array([trial.values[i] for trial in trials])
    best = (np.maximum if search.directions[i] == "maximize" else np.minimum).accumulate(value)
    ax.plot(number, value, linestyle="none", marker="o", color=colour_of(0), label="trial", gid="trials")
    ax.step(number, best, where="post", color="#000000", linewidth=0.9, label="best so far", gid="best")
    again = [trial for trial in trials if trial.fresh]
    if again:
        at, fresh = [trial.number for trial in again], [trial.fresh[i] for trial in again]
        ax.plot(at, fresh, **_FRESH, color=colour_of(1))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("trial")
    ax.set_ylabel(label_of(objective))
    legend_above(ax, ncols=3)
    failed = len(search.trials) - len(trials)
    parts = [f"{search.directions[i]} {objective} over seeds {search.seeds}"]
    write_caption(ax, [*parts, *([f"{failed} failed trials are not drawn"] if failed else [])])
    return ax


@styled()
def plot_importances(search: Search, objective: str, ax: Axes | None = None) -> Axes:
    """Draw the share of each parameter in what makes a design one of the best for an objective.

    Args:
        search: whose ``importances`` hold the objective.
        objective: one of its columns.
        ax: where to draw; default a new figure.

    Returns:
        The Axes. Its bars are containers; the caption has the gid ``caption``.
    """
    ax = axes_or_new(ax)
    shares = dict(sorted(search.importances[objective].items(), key=lambda item: item[1]))
    ax.barh(list(shares), [100 * share for share in shares.values()], color=colour_of(0), height=0.6)
    ax.set_xlim(0, 100)
    ax.set_xlabel(f"importance for {objective} (%)")
    what = "share of a parameter in what tells the best tenth of trials from all (PED-ANOVA); shares sum to 100 %"
    write_caption(ax, [what, f"{len(search.complete)} trials, no interval"])
    return ax


@styled()
def plot_front(search: Search, x: str, y: str, ax: Axes | None = None) -> Axes:
    """Draw all trials over two objectives, the front among them, and its designs on fresh seeds.

    Args:
        search: with complete trials.
        x: one of its columns.
        y: another one.
        ax: where to draw; default a new figure.

    Returns:
        The Axes. Its artists have a gid: ``trials``, ``front``, ``fresh``, ``moved``, ``caption``.
    """
    ax = axes_or_new(ax)
    names = list(search.objectives)
    i, j = names.index(x), names.index(y)
    front = search.front()
    others = np.array([(trial.values[i], trial.values[j]) for trial in search.complete])
    ax.plot(*others.T, linestyle="none", marker="o", color="#bbbbbb", markersize=3, label="trial", gid="trials")
    best = np.array(sorted((trial.values[i], trial.values[j]) for trial in front))
    line = "-" if len(names) == 2 else "none"
    ax.plot(*best.T, linestyle=line, linewidth=0.8, marker="o", color=colour_of(0), label="front", gid="front")
    again = {trial.number: trial for trial in search.trials if trial.state == COMPLETE and trial.fresh}
    if again:
        fresh = np.array([(trial.fresh[i], trial.fresh[j]) for trial in again.values()])
        for trial in again.values():
            ends = np.array([(t[i], t[j]) for t in (trial.values, trial.fresh)]).T
            ax.plot(*ends, color=colour_of(1), linewidth=0.6, gid="moved")
        ax.plot(*fresh.T, **_FRESH, color=colour_of(1))
    whole_ticks(ax, pd.Series(others[:, 0]))
    ax.set_xlabel(f"{label_of(x)}, {search.directions[i]}")
    ax.set_ylabel(f"{label_of(y)}, {search.directions[j]}")
    legend_above(ax, ncols=3)
    left = len(front) - len(again)
    parts = [f"searched on seeds {search.seeds}"]
    parts += [f"fresh seeds {search.fresh_seeds}"] if again else []
    parts += [f"{left} designs of the front not run again"] if again and left > 0 else []
    parts += [f"front over {len(names)} objectives"] if len(names) > 2 else []
    write_caption(ax, parts)
    return ax
