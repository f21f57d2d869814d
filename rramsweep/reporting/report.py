"""Tables and figures of one sweep, from its folder alone."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from matplotlib.figure import Figure
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rramsweep.analysis import frames
from rramsweep.analysis.costs import cost_of, unpriced
from rramsweep.analysis.grouping import inputs_word, resolve_by, scales
from rramsweep.analysis.schema import ENDED
from rramsweep.analysis.summary import at_chance, interval_words, summarize, tail_heading
from rramsweep.analysis.tables import tail_text
from rramsweep.arguments import checked_arguments
from rramsweep.files import write_atomic
from rramsweep.intervals import T
from rramsweep.reporting import page
from rramsweep.reporting.axis import text_of
from rramsweep.reporting.cost_table import COST, cost_table
from rramsweep.reporting.figures import caption_of, figures_for
from rramsweep.reporting.findings import doubtful, few_chips, findings, guessing, mixed_executions, unseen
from rramsweep.reporting.page import PAGE_FILE
from rramsweep.reporting.recovery_table import RECOVERED, Words, recovery_table
from rramsweep.reporting.refresh import refresh_words
from rramsweep.reporting.robustness_plot import beyond_source
from rramsweep.reporting.search_plot import CAPTIONS as SEARCH_CAPTIONS
from rramsweep.reporting.search_plot import search_figures
from rramsweep.reporting.search_table import search_table, search_words
from rramsweep.reporting.style import PrintFigure, caption_parts, styled
from rramsweep.reporting.terminal import show_table
from rramsweep.scale import FRACTION, Bound, Scale, percent
from rramsweep.study.plan import PLAN_FILE, RUN_FILE, Plan, merge
from rramsweep.study.runs import read_runs
from rramsweep.study.search import Search
from rramsweep.study.stopping import Fixed, in_order
from rramsweep.study.store import Store, select

RESULTS_FILE = "results.parquet"
SUMMARY_FILE = "summary.csv"
# Of each plot: for slides, for the page, for a paper.
FORMATS = ("png", "svg", "pdf")


@checked_arguments
def load(folder: str | Path) -> pd.DataFrame:
    """The results of a sweep's folder, one row a trial.

    Raises:
        ValueError: the folder is not there or is not a sweep's.
    """
    folder = _folder(folder)
    return _load(folder, _plan(folder))


def _folder(folder: str | Path) -> Path:
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"results are read from a sweep's folder, but {folder} is not a folder: check the path")
    return folder


def _load(folder: Path, plan: Plan | None) -> pd.DataFrame:
    stored = folder / RESULTS_FILE
    try:
        n_kept = frames.count(stored)
    except FileNotFoundError:
        if plan is None:
            raise ValueError(
                f"a sweep's folder holds {PLAN_FILE} or {RESULTS_FILE}, {folder} has neither: check it"
            ) from None
        n_kept = 0
    if plan is None:
        return frames.read(stored)
    frame = results(plan, Store(Path(plan.settings.store)))
    # The folder may have travelled without its store: what it holds itself is then the fuller account.
    if n_kept <= len(frame):
        return frame
    kept = frames.read(stored)
    for name in ("source_ranges", "identical_chips"):
        kept.attrs.setdefault(name, frame.attrs[name])
    return kept


def results(plan: Plan, store: Store) -> pd.DataFrame:
    """The rows that a plan asks for and the store has, joined with the plan.

    With a stopping rule these are each point's first n chips, n by the rule, and the column `stopping.ended` says
    what ended the point: `interval`, `cap`, or null while it goes on.
    """
    facts, rule = store.facts(p.point_id for p in plan.points), plan.settings.stopping
    params: list[Mapping[str, Any]] = [point.params for point in plan.points]
    if not isinstance(rule, Fixed):
        ended = ends(plan, facts)
        params = [{**own, ENDED: end[1] if end else None} for own, end in zip(params, ended, strict=True)]
        n = [len(seeds) if end is None else end[0] for seeds, end in zip(plan.seeds, ended, strict=True)]
        plan = replace(plan, seeds=[seeds[:k] for seeds, k in zip(plan.seeds, n, strict=True)])
    points = [
        {"point_id": point.point_id, "choices": point.choices, "params": own, "cost": cost_of(point)}
        for point, own in zip(plan.points, params, strict=True)
    ]
    frame = frames.join(points, select(facts, plan), plan.swept)
    frame.attrs["yield_drop"] = plan.settings.yield_drop
    frame.attrs["interval"] = plan.settings.interval
    frame.attrs["identical_chips"] = plan.settings.identical_chips
    frame.attrs["images"] = frames.ImageCounts(store.images(plan))
    frame.attrs["source_ranges"] = {name: list(source) for name, source in plan.settings.source_ranges.items()}
    return frame


def ends(plan: Plan, facts: pa.Table) -> list[tuple[int, str] | None]:
    """End of each point of a plan, `(n, why)`: its first n chips count, ended by that; None if it goes on.

    Args:
        plan: the points and their seeds.
        facts: rows of these points.
    """
    known: dict[str, dict[int, float | None]] = {}
    for point_id, seed, score in zip(*(facts[c].to_pylist() for c in ("point_id", "seed", "score")), strict=True):
        known.setdefault(point_id, {})[seed] = score
    return [
        plan.settings.ended(in_order(known.get(point.point_id, {}), seeds), len(seeds))
        for point, seeds in zip(plan.points, plan.seeds, strict=True)
    ]


def write(folder: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write a sweep's `results.parquet`, `summary.csv`, plots of `figures_for` as PNG, SVG, PDF, and `report.html`.

    Returns:
        The results and their summary.

    Raises:
        ValueError: the folder is not a sweep's.
    """
    folder = _folder(folder)
    plan = _plan(folder)
    frame = _load(folder, plan)
    frames.write(frame, folder / RESULTS_FILE)
    summary = _summary(frame)
    write_atomic(folder / SUMMARY_FILE, frames.csv(summary))
    search = Search.load(folder)
    # A search varies many parameters at once, which no curve over one of them shows.
    figures = figures_for(frame) if search is None else search_figures(search)
    titles = {name: caption_of(name) if search is None else SEARCH_CAPTIONS[name] for name in figures}
    pictures = [_save_picture(figure, folder, name, titles[name]) for name, figure in figures.items()]
    found = findings(frame, summary, [name for name in summary.attrs["by"] if name != ENDED], plan)
    if search is not None:
        found = replace(found, headline=f"{'. '.join(search_words(search))}.")
    html = page.render(frame, summary, found, plan, _runs(folder), pictures, search)
    write_atomic(folder / PAGE_FILE, html.encode())
    return frame, summary


def _save_picture(figure: PrintFigure, folder: Path, name: str, title: str) -> page.Picture:
    """Save a figure of `figures_for` in each of `FORMATS`, for the page."""
    with styled():  # laid out once: each format would do it again, and with "none" draw twice
        figure.draw_without_rendering()
        figure.set_layout_engine(None)
    saved = {form: save_figure(figure, folder / f"{name}.{form}") for form in FORMATS}
    parts = list(dict.fromkeys(part for ax in figure.axes for part in caption_parts(ax)))
    return page.Picture(title, saved["svg"], parts, [f"{name}.{form}" for form in FORMATS], figure.left_out)


def save_figure(fig: Figure, path: str | Path) -> bytes:
    """Save at the style's 300 dpi, or as PDF or SVG in which text stays text; the file's ending chooses.

    Returns:
        What the file holds.
    """
    buffer = io.BytesIO()
    with styled():
        fig.savefig(buffer, format=Path(path).suffix.lstrip(".") or "png")
    write_atomic(Path(path), buffer.getvalue())
    return buffer.getvalue()


def show(
    frame: pd.DataFrame, summary: pd.DataFrame, folder: Path, console: Console, printed: Sequence[str] = ()
) -> None:
    """Print the summary, in 80 columns where the values allow it, notes not ``printed`` yet, and where the files are.

    That a network is at chance level comes before all else, ``printed`` or not, and its chips show no yield.
    """
    if len(frame) == 0:
        console.print(f"no trial has finished yet; plan and tables: {folder}", soft_wrap=True, markup=False)
        return
    for sentence in guessing(frame):
        console.print(f"note: {sentence}", soft_wrap=True, markup=False)
    if (search := Search.load(folder)) is not None:
        _show_search(search, folder, console)
        return
    by, metrics = summary.attrs["by"], scales(frame)
    one = metrics[0] if len(metrics) == 1 else None
    kind = "95 % interval" if summary.attrs["interval"] == T else interval_words(summary)
    table = Table(
        title=f"{escape(one.label) if one else 'scores'}: mean with {kind} over chips of this network on these "
        f"{frame['n_images'].max()} {inputs_word(frame)}",
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 1),
    )
    # Where a network and its data lie is in the page; as columns they would leave the numbers no room.
    constant = [name for name in by if summary[name].nunique(dropna=False) == 1]
    lines = [
        f"{name} = {text_of(summary[name].iloc[0], name)}"
        for name in constant
        if os.sep not in str(summary[name].iloc[0])
    ]
    if lines:
        console.print("\n".join(lines), soft_wrap=True, markup=False, highlight=False)
    by = [name for name in by if name not in constant]
    for name in by:
        table.add_column(name, overflow="fold")
    tail, identical = tail_heading(summary), frame.attrs.get("identical_chips", False)
    for name in ("n", "mean", "interval", tail, "yield %", "interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for guessed, (_, row) in zip(at_chance(summary), summary.iterrows(), strict=True):
        metric = Scale.of(row)
        ends: list[tuple[str, Bound]] = [("low", "low"), ("high", "high")]
        share, *bounds = (percent(row["yield_share"]), *(percent(row[f"yield_{end}"], bound=of) for end, of in ends))
        table.add_row(
            *("-" if pd.isna(row[name]) else text_of(row[name], name) for name in by),
            f"{row['n']:.0f}",
            metric.number(row["score_mean"]) if one else metric.text(row["score_mean"]),
            "..".join(metric.number(row[f"score_{end}"], bound=of) for end, of in ends),
            tail_text(row, tail),
            "-" if guessed else share,
            "-" if guessed or identical else "..".join(bounds),
        )
    show_table(table, console)
    console.print(_yield_words(metrics, summary.attrs["yield_drop"], identical=identical), markup=False)
    for sentence in [*refresh_words(frame, summary), *([] if identical else unseen(summary))]:
        console.print(sentence, markup=False)
    _show_beside(recovery_table(frame), RECOVERED, console)
    _show_beside(cost_table(summary), COST, console)
    beyond = [note for note in beyond_source(frame) if note not in printed]
    few = [] if identical else few_chips(summary)
    for note in [*few, *doubtful(summary), *mixed_executions(frame), *unpriced(frame), *beyond]:
        console.print(f"note: {note}", markup=False)
    console.print(f"files: {folder}", soft_wrap=True, markup=False)


def _show_search(search: Search, folder: Path, console: Console) -> None:
    """Print the front of a search in the place of a row for each of its designs."""
    head, rows = search_table(search)
    table = Table(title="the best designs", title_justify="left", box=None, pad_edge=False, padding=(0, 1))
    for name in head:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row)
    if rows:
        show_table(table, console)
    for sentence in search_words(search):
        console.print(sentence, markup=False)
    console.print(f"files: {folder}", soft_wrap=True, markup=False)


def _show_beside(found: tuple[list[str], list[list[str]]] | None, words: Words, console: Console) -> None:
    """Print a table beside the summary, where there is one: names of the columns that tell rows apart, and the rows."""
    if found is None:
        return
    by, rows = found
    table = Table(title=words.title, title_justify="left", box=None, pad_edge=False, padding=(0, 1))
    for name in by:
        table.add_column(name, overflow="fold")
    for name in words.numbers:
        table.add_column(name, justify="right", no_wrap=name != "interval")
    for row in rows:
        table.add_row(*row)
    show_table(table, console)
    console.print(words.below, markup=False)


def _yield_words(metrics: Sequence[Scale], drop: float | None, *, identical: bool) -> str:
    if drop is None:
        names = ", ".join(metric.label for metric in metrics if metric.unit != FRACTION)
        alone = "" if len(metrics) == 1 else "sweep it alone and "
        return f"yield of {names}: {alone}give yield_drop=VALUE, how much worse than digital a good chip may be"
    good = []
    for metric in metrics:
        distance = f"{100 * drop:g} points" if metric.unit == FRACTION else f"{drop:g} {metric.distance}".rstrip()
        good.append(f"{metric.name} at most {distance} {'below' if metric.higher_is_better else 'above'} digital")
    articles = (f"{'an' if each[0] in 'aeiou' else 'a'} {each}" for each in good)
    kind = "every chip of a point is the same one, so there is no interval" if identical else "Wilson interval"
    return f"yield: chips with {' or '.join(articles)}; {kind}"


def _summary(frame: pd.DataFrame) -> pd.DataFrame:
    # What ended a point belongs beside its n; it is one value a point, so it splits no row.
    ended = [ENDED] if ENDED in frame else []
    return summarize(frame, [*resolve_by(frame, None), *ended])


def _plan(folder: Path) -> Plan | None:
    # Hydra's basic sweeper runs each point as a job of its own, which leaves its plan in its own folder.
    paths = [folder / PLAN_FILE] if (folder / PLAN_FILE).is_file() else sorted(folder.glob(f"jobs/*/{PLAN_FILE}"))
    if len(paths) < 2:
        return Plan.load(paths[0]) if paths else None
    plan = merge([Plan.load(path) for path in paths])
    # One such job cannot tell a swept override from a fixed one; of all of them, what varies was swept.
    return replace(plan, swept=[name for name in plan.swept if _varies(plan, name)])


def _runs(folder: Path) -> list[dict[str, Any]]:
    """Records of the runs of a sweep, earliest first."""
    folders = [folder] if os.path.lexists(folder / RUN_FILE) else sorted(folder.glob("jobs/*"))
    runs = (run for each in folders for run in read_runs(each))
    return sorted(runs, key=lambda run: datetime.fromisoformat(run["started"]))


def _varies(plan: Plan, name: str) -> bool:
    values = {repr({**p.choices, **p.params}.get(name)) for p in plan.points}
    return len(values) > 1
