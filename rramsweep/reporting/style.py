"""One styles for all plots: what `rramsweep.mplstyle` says, and what stands around the data.

The style holds while a plot is drawn and no longer: rcParams are afterwards what they were.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

STYLE = mpl.rc_params_from_file(Path(__file__).with_name("rramsweep.mplstyle"), use_default_template=False)
COLOURS: tuple[str, ...] = tuple(STYLE["axes.prop_cycle"].by_key()["color"])
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1.5, 1.5, 1.5)))
# Column of the table -> what its line is called, its grey, its dashes.
REFERENCE_LINES = (
    ("digital_score", "digital", "#000000", (0, (6, 2))),
    ("ideal_score", "ideal chip", "#777777", (0, (2, 1.2))),
    ("limit", "yield limit", "#777777", (0, (1, 2))),
)


# More colours with their marks or dashes, more shades, and more names on an axis cannot be told apart in one column of
# a journal.
MOST_COLOURS, MOST_SHADES, MOST_NAMES = 12, 6, 16
# Share of `room` that names beside each other may fill: letters are up to a sixth wider, and a layout narrows the Axes.
_BESIDE = 0.8
# Of more left out than these a caption names the first ones and the last.
_NAMED = 3


@dataclass(frozen=True)
class LeftOut:
    """Values of a column that a plot does not draw because more could not be told apart.

    Args:
        column: of the table.
        names: of the values left out, in the plot's order.
        n: values that there are.
    """

    column: str
    names: Sequence[str]
    n: int

    @property
    def words(self) -> str:
        """Their number and names, for a caption."""
        more = len(self.names) > _NAMED + 1
        names = [*self.names[:_NAMED], "...", self.names[-1]] if more else self.names
        return f"left out, evenly: {len(self.names)} of {self.n} values of {self.column} ({', '.join(names)})"


def evenly(n: int, most: int) -> list[int]:
    """Places of at most ``most`` of n things in a row, evenly spaced from the first to the last."""
    return [int(place) for place in np.linspace(0, n - 1, min(n, most)).round()]


class PrintFigure(Figure):
    """A figure that is saved at the style's 300 dpi unless told another; on a screen and in a notebook it is as any.

    ``left_out`` is what its captions say is not drawn.
    """

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self.left_out: list[LeftOut] = []

    def savefig(self, fname: Any, **given: Any) -> None:
        """`Figure.savefig`; a ``dpi`` of the user's rcParams goes before the style's."""
        if mpl.rcParams["savefig.dpi"] == "figure":
            given.setdefault("dpi", STYLE["savefig.dpi"])
        super().savefig(fname, **given)


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the style; also a decorator.

    The settings of the style alone are restored, not all as `rc_context` does: the backend of a notebook, which loads
    with the first figure, turns `interactive` on, and without that no later figure is shown.
    """
    before = {name: mpl.rcParams[name] for name in STYLE}
    mpl.rcParams.update(STYLE)
    try:
        yield
    finally:
        mpl.rcParams.update(before)


def axes_or_new(ax: Axes | None, height: float = 3.0) -> Axes:
    """The Axes given, in the style's ticks and frame; else those of a new figure, one column wide."""
    if ax is None:
        import matplotlib.pyplot as plt

        size = (STYLE["figure.figsize"][0], height)
        ax = plt.subplots(figsize=size, layout="constrained", FigureClass=PrintFigure)[1]
    rc = mpl.rcParams
    ax.tick_params(labelsize=rc["xtick.labelsize"], width=rc["xtick.major.width"], length=rc["xtick.major.size"])
    for label in (ax.xaxis.label, ax.yaxis.label):  # made with the Axes, in the size of its maker
        label.set_fontsize(rc["axes.labelsize"])
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def colour_of(index: int) -> str:
    """Colour of the group with this number."""
    return COLOURS[index % len(COLOURS)]


def marker_of(index: int) -> str:
    """Marker of the group: with its colour it is unique among 49."""
    return MARKERS[(index + index // len(COLOURS)) % len(MARKERS)]


def dashes_of(index: int) -> Any:
    """Dashes of the group's line, so that lines without markers differ in grey too."""
    return DASHES[index % len(DASHES)]


def shades(n: int) -> list[str]:
    """Colours of n ordered levels, dark to light; the lightest still shows on white."""
    return [to_hex(mpl.colormaps[mpl.rcParams["image.cmap"]](at)) for at in np.linspace(0.0, 0.85, max(n, 2))][:n]


@dataclass(frozen=True)
class CurveStyle:
    """Colour, marker and dashes of one curve."""

    colour: str
    marker: str
    dashes: Any = "-"


def style_of(index: int) -> CurveStyle:
    """Style of the group: from the eighth on, whose colour is taken, its line has dashes too."""
    return CurveStyle(colour_of(index), marker_of(index), DASHES[index // len(COLOURS) % len(DASHES)])


def legend_above(ax: Axes, title: str | None = None, ncols: int = 2, apart: Collection[str] = ()) -> None:
    """A legend where a title would stand, each name once: of several artists of one name the last is shown.

    In ``ncols`` columns, or in fewer where these are wider than the Axes: a wider legend would make it narrow. Names of
    curves set ``apart`` have the first column to themselves where that is not wider.
    A parameter that several names begin with becomes the title.
    """
    handles = {str(handle.get_label()): handle for handle in ax.get_legend_handles_labels()[0]}
    if handles:
        names = sorted(handles, key=lambda name: name not in apart) if apart else list(handles)
        handles = {name: handles[name] for name in names}
        parameters = Counter(name.partition(" = ")[0] for name in names if " = " in name)
        for parameter, times in parameters.items():
            if title is None and times > 1:
                title, names = parameter, [name.removeprefix(f"{parameter} = ") for name in names]
        shown: list[Artist] = list(handles.values())
        first, others = names[: len(apart)], names[len(apart) :]
        if first and others and (tall := max(len(first), len(others))) < len(names):
            blank = Line2D([], [], linestyle="none")
            both = [[*part, *[" "] * (tall - len(part))] for part in (first, others)]
            if _width([*both[0], *both[1]], 2) <= room(ax):
                artists = iter(shown)
                # The first column gets the odd one; more blanks at the end have no place to fill.
                names = [*both[0], *both[1]][: 2 * tall - (both[1][-1] == " ")]
                shown = [blank if name == " " else next(artists) for name in names]
        fitting = [n for n in range(ncols, 1, -1) if _width(names, n) <= _BESIDE * room(ax)]
        style: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "alignment": "left"}
        ax.legend(shown, names, title=title, ncols=fitting[0] if fitting else 1, **style)


def legend_sections(ax: Axes, sections: Sequence[tuple[str, Sequence[Artist]]]) -> None:
    """A legend above the Axes whose columns are sections, each under its title; one below the other if too wide."""
    blank = Line2D([], [], linestyle="none", label=" ")
    columns = [
        [Line2D([], [], linestyle="none", label=title or " "), *handles] for title, handles in sections if handles
    ]
    tall = max(map(len, columns))
    wide = sum(max(len(str(handle.get_label())) for handle in column) + 7 for column in columns)
    beside = wide <= room(ax)
    handles = [handle for column in columns for handle in [*column, *[blank] * (tall - len(column) if beside else 0)]]
    style: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "alignment": "left"}
    ax.legend(handles=handles, ncols=len(columns) if beside else 1, **style)


def _width(names: Sequence[str], n: int) -> int:
    """Letters across a legend of n columns, which fill one after the other; a line and gaps take seven beside each."""
    per, more = divmod(len(names), n)
    ends = np.cumsum([0] + [per + (i < more) for i in range(n)])
    columns = [names[low:high] for low, high in pairwise(ends)]
    return sum(max(map(len, column), default=0) + 7 for column in columns if column)


def columns_for(names: Sequence[str]) -> int:
    """Number of names of a legend that fit beside each other in one column of a journal."""
    longest = max(map(len, names), default=0)
    return 5 if longest < 6 else 3 if longest < 16 else 2 if longest < 36 else 1


def room(ax: Axes) -> int:
    """Number of small letters that fit beside each other under the Axes: they are about half as wide as high."""
    width = ax.get_window_extent().width / ax.figure.dpi * 72
    return max(20, int(width / (0.5 * mpl.rcParams["legend.fontsize"])))


class Caption(Annotation):
    """A caption below an Axes, drawn only when asked for; see `caption`.

    ``parts`` are its phrases, without what a plot leaves out.
    """

    parts: Sequence[str] = ()


def write_caption(ax: Axes, parts: Sequence[str], left_out: Sequence[LeftOut] = (), letters: int | None = None) -> None:
    """Keep the caption of a plot with its Axes, for `caption`, wrapped at `letters`, by default at `room`."""
    if isinstance(ax.figure, PrintFigure):
        ax.figure.left_out.extend(left_out)
    # Hung on the axis label, which knows how tall the tick labels are.
    style: dict[str, Any] = {"fontsize": mpl.rcParams["legend.fontsize"], "color": "#444444", "va": "top", "ha": "left"}
    style |= {"textcoords": "offset points", "xycoords": (ax.transAxes, ax.xaxis.label), "gid": "caption"}
    every = "; ".join([*parts, *(left.words for left in left_out)])
    kept = Caption(textwrap.fill(every, letters or room(ax)), (0, 0), xytext=(0, -3), annotation_clip=False, **style)
    kept.parts = tuple(parts)
    kept.set_visible(False)
    kept.set_clip_on(False)  # else a layout takes it for what the Axes cut off
    ax.add_artist(kept)


def caption(ax: Axes, *, draw: bool = False) -> str:
    """Caption of a plot of this package: what is drawn, over how many chips, and what is left out.

    Args:
        ax: the Axes that a plot returned.
        draw: also draw it below the Axes, for a figure that stands without a text around it.

    Returns:
        The caption in one line; empty for Axes without one.
    """
    kept = [artist for artist in ax.get_children() if isinstance(artist, Caption)]
    for artist in kept:
        artist.set_visible(artist.get_visible() or draw)
    return "; ".join(" ".join(artist.get_text().split()) for artist in kept)


def caption_parts(ax: Axes) -> list[str]:
    """Phrases of a plot's caption, without what it leaves out."""
    return [part for artist in ax.get_children() if isinstance(artist, Caption) for part in artist.parts]
