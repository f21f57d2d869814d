"""The page of a results frame in a notebook."""

from __future__ import annotations

import importlib
import io
from html import escape

import pandas as pd
from matplotlib.figure import Figure

from rramsweep.analysis.grouping import need_facts
from rramsweep.analysis.schema import ENDED
from rramsweep.analysis.summary import summarize
from rramsweep.arguments import checked_arguments
from rramsweep.errors import ValidationError
from rramsweep.reporting import page
from rramsweep.reporting.figures import caption_of, figures_for
from rramsweep.reporting.findings import findings
from rramsweep.reporting.style import caption_parts, styled


class Embedded:
    """A page as a notebook embeds it: in a frame of its own, whose style and script stay there.

    Args:
        html: of the page.
        height: of the frame, in pixels.
    """

    def __init__(self, html: str, height: int) -> None:
        self.html, self._height = html, height

    def _repr_html_(self) -> str:
        sandbox = "allow-scripts allow-downloads allow-modals"
        style = f"width: 100%; height: {self._height}px; border: 0"
        return f'<iframe srcdoc="{escape(self.html)}" sandbox="{sandbox}" style="{style}"></iframe>'


@checked_arguments
def show(frame: pd.DataFrame, *, height: int = 700) -> None:
    """Show the page of a results frame in a notebook: scores, figures, bounds and the summary.

    The page of a sweep's folder, `report.html`, also has its command, sources and machine.

    Args:
        frame: a results frame, whole or filtered.
        height: of the page, in pixels.

    Raises:
        ValidationError: IPython is not installed.
        ValueError: not a results frame.
    """
    need_facts(frame)
    try:
        notebook = importlib.import_module("IPython.display")
    except ImportError:
        remedy = "pip install ipython, or open the report.html of the sweep's folder"
        raise ValidationError("must have IPython to draw in a notebook", remedy, parameter="rs.show") from None
    summary = summarize(frame)
    pictures = [_picture(name, figure) for name, figure in figures_for(frame).items()]
    found = findings(frame, summary, [name for name in summary.attrs["by"] if name != ENDED])
    notebook.display(Embedded(page.render(frame, summary, found, None, (), pictures), height))


def _picture(name: str, figure: Figure) -> page.Picture:
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format="svg")
    parts = list(dict.fromkeys(part for ax in figure.axes for part in caption_parts(ax)))
    return page.Picture(caption_of(name), buffer.getvalue(), parts)
