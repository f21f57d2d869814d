"""Splitting the spread between chips: hybrid chips by redrawing streams, their trials, table, figures and words.

The hybrids of a point are points of their own, kept in the store, of which no other table takes any.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from rramsweep import limits
from rramsweep.analysis import frames
from rramsweep.analysis.schema import METRIC
from rramsweep.analysis.variance_shares import (
    FEWEST,
    FIRST_ORDER,
    INTERACTION,
    LAYER,
    STAGE,
    TOTAL,
    Part,
    has_spread,
    variance_shares,
)
from rramsweep.arguments import checked_arguments, user_level
from rramsweep.cli.api import refuse_unheeded_settings
from rramsweep.cli.messages import CommandError
from rramsweep.cli.one_point import check_settings, compute_missing, new_folder, print_lines
from rramsweep.cli.overrides import check, one_line, refuse_flags, refuse_unheeded
from rramsweep.cli.planning import plan_of
from rramsweep.cli.signals import ended_by
from rramsweep.devices.streams import SHARED, Redraw
from rramsweep.errors import Sentence, ValidationError, one_of
from rramsweep.files import write_atomic
from rramsweep.intervals import Floats
from rramsweep.reporting.report import results, save_figure
from rramsweep.reporting.spread_plot import plot_spread
from rramsweep.reporting.style import caption
from rramsweep.reporting.terminal import show_table
from rramsweep.scale import Scale, percent
from rramsweep.simulation.shard import Work
from rramsweep.simulation.workbench import Workbench
from rramsweep.study.plan import Plan, Point
from rramsweep.study.store import Store

SPREAD = "spread"
TABLE_FILE, FIGURE_FILE = "spread.csv", "spread_{}.png"

# What the table may split the spread by.
PARTS = (STAGE, LAYER)

_BY = "by="

# The row of draws that all layers share.
_SHARED_WORDS = "all layers together"

# Scores that differ by so few images are mostly rounded to whole ones.
_FEW_IMAGES = 3


@dataclass(frozen=True, eq=False)
class Design:
    """The trials that split the spread of one point's chips.

    Args:
        plan: of the point itself, then of its hybrids.
        workbench: the one that built them.
        parts: kind and name of each part, with the point that redraws it (None: there is nothing else) and the one that
            keeps it alone (None: no first order).
    """

    plan: Plan
    workbench: Workbench
    parts: Sequence[tuple[str, str, Point | None, Point | None]]


@checked_arguments
def spread(overrides: Sequence[str], *, by: str | None = None) -> pd.DataFrame:
    """Split the variance of the score over chips into shares of stages and layers, as `rramsweep spread` does.

    Each chip is run again with the random streams of one stage, of all stages but one, or of one layer taken from a
    second chip. Trials are kept in the store, so that a second call computes nothing; these hybrid chips enter no other
    table.

    Args:
        overrides: of one point, as `sweep` takes them; `chips=50` has an interval of about +-0.2 for shares near 0.5.
        by: `stage` or `layer` alone; None is both.

    Returns:
        One row a part, see `rramsweep.analysis.variance_shares`; the layer `*` stands for draws that all layers share.
        `attrs` hold `score_mean`, `score_std` and `notes`: what the shares are of, and what to take care of.

    Raises:
        ValueError: several points, fewer than two chips, chips that cannot differ, or what `sweep` refuses.
    """
    with one_line():
        if not isinstance(overrides, str):
            refuse_flags(overrides, "spread", "it takes one point")
        design = _design(overrides, by)
    for note in [*design.workbench.notes, *design.plan.settings.notes]:
        warnings.warn(note, UserWarning, stacklevel=user_level())
    store = Store(Path(design.plan.settings.store))
    compute_missing(design.plan, store, design.workbench)
    return _table(design, store)


def run(arguments: Sequence[str], console: Console) -> None:
    """Do what `rramsweep spread` is asked for.

    Raises:
        CommandError: ended by a signal; trials that were finished are kept.
    """
    given = [argument for argument in arguments if argument.startswith(_BY)]
    if len(given) > 1:
        raise ValidationError("must be given once", "leave one out", shown=" and ".join(given), parameter="by")
    by = given[0].removeprefix(_BY) if given else None
    design = _design([each for each in arguments if each not in given], by)
    plan = design.plan
    folder = new_folder(plan.settings.name, SPREAD)
    store = Store(Path(plan.settings.store))
    left = Work(plan, store, plan.settings.retry_failed).left()
    n_chips, n_points = len(plan.seeds[0]), len(plan.points)
    print_lines(
        console,
        f"{n_chips} chips, each in {n_points} versions: {plan.n_trials} trials, in the store already "
        f"{plan.n_trials - left}",
        *(f"note: {note}" for note in [*design.workbench.notes, *plan.settings.notes]),
    )
    try:
        compute_missing(plan, store, design.workbench, shown=True)
    except KeyboardInterrupt as error:
        words, code = ended_by(error)
        kept = plan.n_trials - Work(plan, store).left()
        line = f"{words}, with {kept} of {plan.n_trials} trials kept: run the same command to go on"
        raise CommandError(line, code) from error
    table = _table(design, store)
    _write(table, folder)
    _show(table, console)
    print_lines(console, f"files: {folder}")


def _design(words: Sequence[str], by: str | None) -> Design:
    if by is not None:
        one_of("by", by, PARTS)
    if not isinstance(words, str):
        check(words, single="spread takes one point, run it for each value")
        refuse_unheeded(words, "spread computes every trial in this process")
    plan, workbench = plan_of(words, "rramsweep.spread")
    _check(plan)
    point, seeds = plan.points[0], plan.seeds[0]
    stages, layers = workbench.streams(point)
    if not stages:
        raise ValidationError(
            Sentence("chips must differ for their spread to be split, but no effect of this point draws at random"),
            "add one, as programming=gaussian or drift.relative_drift=0.1",
        )
    parts: list[tuple[str, str, Point | None, Point | None]] = []
    if by in (None, STAGE):
        for stage in stages:
            others = tuple(other for other in stages if other != stage)
            pair = [workbench.redrawn(point, Redraw(stages=some)) for some in ((stage,), others)] if others else None
            parts.append((STAGE, stage, *(pair or (None, None))))
    if by in (None, LAYER):
        names = {SHARED: [SHARED], **layers}
        parts += [(LAYER, n, workbench.redrawn(point, Redraw(layers=tuple(own))), None) for n, own in names.items()]
    hybrids = {each.point_id: each for _, _, *pair in parts for each in pair if each is not None}
    limits.TRIALS.check((1 + len(hybrids)) * len(seeds), "trials", remedy="ask for fewer chips, or by=stage")
    points = [point, *hybrids.values()]
    return Design(Plan(points, [seeds] * len(points), (), plan.settings), workbench, parts)


def _check(plan: Plan) -> None:
    """Check that a plan is of one point, and of as many chips as its settings say.

    Raises:
        ValidationError: says what is not.
    """
    settings = plan.settings
    if len(plan.points) > 1:
        raise ValidationError("must be one point", "give each axis one value", shown=f"{len(plan.points)} points")
    check_settings(settings, SPREAD, "bootstrap")
    if settings.chips < 2:
        raise ValidationError(
            "must be at least 2, since one chip has no spread", "give 50", value=settings.chips, parameter="chips"
        )
    refuse_unheeded_settings(plan)


def _table(design: Design, store: Store) -> pd.DataFrame:
    point, seeds = design.plan.points[0], list(design.plan.seeds[0])
    frame = results(design.plan, store)
    done = frame[frame["status"] == "ok"]
    by_point = {str(point_id): rows.set_index("seed")["score"] for point_id, rows in done.groupby("point_id")}

    def of(each: Point | None) -> Floats | None:
        if each is None:
            return None
        empty = pd.Series(dtype="float64")
        return by_point.get(each.point_id, empty).reindex(seeds).to_numpy(dtype=np.float64)

    scores = of(point)
    assert scores is not None
    parts = [Part(kind, name, of(redrawn), of(kept)) for kind, name, redrawn, kept in design.parts]
    # Draws that all layers share are rare: where none changes a score there are none.
    parts = [p for p in parts if p.name != SHARED or p.redrawn is None or not _agree(scores, p.redrawn)]
    if len(layers := [p for p in parts if p.kind == LAYER]) == 1:
        parts = [replace(p, redrawn=None) if p is layers[0] else p for p in parts]
    table = variance_shares(scores, parts)
    finished = scores[~np.isnan(scores)]
    mean, std = (float(finished.mean()) if len(finished) else np.nan), np.nan
    if len(finished) > 1:
        std = float(finished.std(ddof=1)) if np.ptp(finished) > 0 else 0.0
    table.attrs |= {"score_mean": mean, "score_std": std, **{name: point.params[name] for name in METRIC}}
    table.attrs["notes"] = _notes(table, scores, done, len(frame) - len(done))
    return table


def _agree(first: Floats, second: Floats) -> bool:
    known = np.isfinite(first + second)
    return bool((first[known] == second[known]).all())


def _notes(table: pd.DataFrame, scores: Floats, done: pd.DataFrame, n_failed: int) -> list[str]:
    """Sentences on what the shares are of, the first ones for every reader."""
    attrs, scale = table.attrs, Scale.of(table.attrs)
    finished = scores[~np.isnan(scores)]
    inputs = f"{done['n_images'].max()} inputs" if len(done) else "inputs"
    of_what = f"{scale.name} over {len(finished)} chips of this network on these {inputs}"
    if not len(finished):
        return [f"no chip finished ({n_failed} trials failed): see the error column of a sweep of this point"]
    if not has_spread(scores):
        return [f"all chips agree, {scale.text(float(finished[0]))} {of_what}: there is no spread to split"]
    spread = scale.number(attrs["score_std"])
    notes = [
        f"{of_what}: mean {scale.text(attrs['score_mean'])}, standard deviation {spread} {scale.distance}".rstrip(),
        "a share explains spread between chips, not loss of accuracy: what costs every chip the same has no share",
    ]
    share, low, high = (attrs.get(name, np.nan) for name in INTERACTION)
    if not np.isnan(share):
        interval = "" if np.isnan(low) else f" ({percent(low, bound='low')}..{percent(high, bound='high')})"
        notes.append(f"in combinations of stages alone: {percent(share)} %{interval}, 100 % less the first orders")
    counted = done["n_correct"].notna().all() and done["n_images"].nunique() == 1
    if counted and round(np.ptp(finished) * done["n_images"].iloc[0]) <= _FEW_IMAGES:
        notes.append(
            f"scores differ by at most {_FEW_IMAGES} images, and shares are mostly of their rounding to whole ones: "
            "take more images, or metric=cross_entropy"
        )
    sole = [part for part in PARTS if (table["part"] == part).sum() == 1]
    if sole:
        which = " and ".join(f"one {part}" for part in sole)
        notes.append(f"{which} alone draws at random: its share is 100 % by definition, no estimate with an interval")
    if table["chips"].min() < FEWEST and len(sole) < table["part"].nunique():
        notes.append(f"fewer than {FEWEST} chips: no intervals, and shares are rough")
    if n_failed:
        notes.append(f"{n_failed} trials failed: chips of which a version failed are left out of its row")
    return notes


def _write(table: pd.DataFrame, folder: Path) -> None:
    """Write `spread.csv` and a figure for each kind of part."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / TABLE_FILE, frames.csv(table))
    if table["total"].isna().all():
        return
    for part in dict.fromkeys(table["part"]):
        figure = Figure(figsize=(3.5, 3.0), layout="constrained")
        FigureCanvasAgg(figure)
        caption(plot_spread(table, part, figure.subplots()), draw=True)
        save_figure(figure, folder / FIGURE_FILE.format(part))


def _show(table: pd.DataFrame, console: Console) -> None:
    printed = Table(
        title="shares of the variance of the score between chips, in percent, with 95 % bootstrap intervals",
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 1),
    )
    for name in ("part", "name"):
        printed.add_column(name, overflow="fold")
    for name in ("first order", "interval", "total", "interval", "chips"):
        printed.add_column(name, justify="right", no_wrap=True)
    for row in table.to_dict("records"):
        numbers: list[str] = []
        for share, low, high in (FIRST_ORDER, TOTAL):
            ends = f"{percent(row[low], bound='low')}..{percent(row[high], bound='high')}"
            numbers += [percent(row[share]), "-" if np.isnan(row[low]) else ends]
        printed.add_row(
            row["part"], _SHARED_WORDS if row["name"] == SHARED else row["name"], *numbers, str(row["chips"])
        )
    show_table(printed, console)
    print_lines(console, *table.attrs["notes"])
