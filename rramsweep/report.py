"""Tables and figures of one sweep, from its folder alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from rramsweep import frames
from rramsweep.plan import PLAN_FILE, Plan, merge
from rramsweep.plots import plot_robustness
from rramsweep.store import Store
from rramsweep.summary import summarize

RESULTS_FILE = "results.parquet"
SUMMARY_FILE = "summary.csv"
FIGURE_FILE = "robustness.png"
LOG_WIDTH = 140


def load(folder: str | Path) -> pd.DataFrame:
    """The results of a sweep's folder, one row a trial.

    Raises:
        ValueError: the folder is not there or is not a sweep's.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"results are read from a sweep's folder, but {folder} is not a folder: check the path")
    plan, stored = _plan(folder), folder / RESULTS_FILE
    kept = frames.read(stored) if stored.is_file() else None
    if plan is None:
        if kept is None:
            raise ValueError(f"a sweep's folder holds {PLAN_FILE} or {RESULTS_FILE}, {folder} has neither: check it")
        return kept
    facts = Store(Path(plan.settings["store"])).select(plan)
    frame = frames.join([asdict(point) for point in plan.points], facts, plan.swept)
    frame.attrs["yield_drop"] = plan.settings["yield_drop"]
    if plan.swept:
        # A job of Hydra's basic sweeper cannot tell a swept override from a fixed one; what varies was swept.
        frame.attrs["swept"] = [name for name in plan.swept if _varies(plan, name)]
    # The folder may have travelled without its store: what it holds itself is then the fuller account.
    return kept if kept is not None and len(kept) > len(frame) else frame


def write(folder: str | Path) -> pd.DataFrame:
    """Write `results.parquet`, `summary.csv` and `robustness.png` of a sweep's folder, and return the results.

    Raises:
        ValueError: the folder is not a sweep's.
    """
    folder = Path(folder)
    frame = load(folder)
    yield_drop = float(frame.attrs.get("yield_drop", 0.02))
    frames.write(frame, folder / RESULTS_FILE)
    summary = summarize(frame, yield_drop=yield_drop)
    summary.to_csv(folder / SUMMARY_FILE, index=False)
    axes = summary.attrs["by"]
    if axes and (frame["status"] == "ok").any():
        figure = Figure(figsize=(5.6, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        x, group, labelled = _axes(frame, axes)
        plot_robustness(labelled, x=x, group=group, ax=figure.add_subplot(), yield_drop=yield_drop)
        figure.savefig(folder / FIGURE_FILE, dpi=200)
    return frame


def console(quiet: bool = False) -> Console:
    """Standard output; a log or a pipe has no width of its own, and tables must not be cut there."""
    return Console(highlight=False, quiet=quiet, width=None if sys.stdout.isatty() else LOG_WIDTH)


def show(frame: pd.DataFrame, folder: Path, yield_drop: float, console: Console) -> None:
    """Print the summary, and where the files are."""
    summary = summarize(frame, yield_drop=yield_drop)
    by = summary.attrs["by"]
    n_images = frame["n_images"].max()
    table = Table(
        title=f"accuracy: mean and 95 % t interval over chips of this network on these {n_images} images",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for name in (*by, "n", "accuracy %", "95 % interval", "std", "q05", "yield", "95 % Wilson"):
        table.add_column(name, justify="left" if name in by else "right")
    for _, row in summary.iterrows():
        table.add_row(
            *("-" if pd.isna(row[name]) else str(row[name]) for name in by),
            f"{row['n']:.0f}",
            _percent(row["accuracy_mean"]),
            f"{_percent(row['accuracy_low'])} .. {_percent(row['accuracy_high'])}",
            _percent(row["accuracy_std"]),
            _percent(row["q05"]),
            _percent(row["yield_share"], 0),
            f"{_percent(row['yield_low'], 0)} .. {_percent(row['yield_high'], 0)}",
        )
    console.print(table)
    console.print(
        f"yield: share of chips that lose at most {100 * yield_drop:g} % of the images against digital",
        soft_wrap=True,
    )
    console.print(f"files: {folder}", soft_wrap=True, markup=False)


def _plan(folder: Path) -> Plan | None:
    # Hydra's basic sweeper runs each point as a job of its own, which leaves its plan in its own folder.
    paths = [folder / PLAN_FILE] if (folder / PLAN_FILE).is_file() else sorted(folder.glob(f"jobs/*/{PLAN_FILE}"))
    return merge([Plan.load(path) for path in paths]) if paths else None


def _varies(plan: Plan, name: str) -> bool:
    values = {repr({**p.choices, **p.params}.get(name)) for p in plan.points}
    return len(values) > 1


def _axes(frame: pd.DataFrame, swept: Sequence[str]) -> tuple[str, str | None, pd.DataFrame]:
    """The x axis (the numeric axis with most levels), the column that tells curves apart, and the frame with it."""
    numeric = [name for name in swept if pd.api.types.is_numeric_dtype(frame[name].dtype)]
    x = max(numeric or swept, key=lambda name: frame[name].nunique())
    others = [name for name in swept if name != x]
    if len(others) < 2:
        return x, others[0] if others else None, frame
    label = ", ".join(others)
    text = frame[others].astype("object").map(lambda v: "-" if pd.isna(v) else str(v))
    return x, label, frame.assign(**{label: text.agg(", ".join, axis=1)})


def _percent(value: float, digits: int = 2) -> str:
    return "-" if pd.isna(value) else f"{100 * value:.{digits}f}"
