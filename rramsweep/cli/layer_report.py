"""Seeing the physics before accuracy: from overrides to the table of every layer, its figure, and words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from rramsweep.analysis import frames
from rramsweep.analysis.layer_table import LAYER, layer_table, main_cause
from rramsweep.arguments import checked_arguments
from rramsweep.cli.composing import choices, composed_allowed, container
from rramsweep.cli.hydra_adapter import parse
from rramsweep.cli.overrides import check, one_line, refuse_flags, refuse_unheeded
from rramsweep.cli.planning import plan_of
from rramsweep.errors import ValidationError
from rramsweep.files import write_atomic
from rramsweep.network import inspection
from rramsweep.network.inspection import inspect_layers
from rramsweep.reporting.layer_plot import plot_inspect
from rramsweep.reporting.report import save_figure
from rramsweep.reporting.terminal import show_table
from rramsweep.scale import percent
from rramsweep.simulation.execution import ExecutionSettings
from rramsweep.simulation.workbench import Workbench
from rramsweep.study.plan import Plan
from rramsweep.study.settings import Settings
from rramsweep.suggest import suggest

# Enough for an error that is the same on every chip but for a few percent, and for seconds.
CHIPS = 5
INPUTS = 64

TABLE_FILE = "inspect.csv"
FIGURE_FILE = "inspect.png"

# Column -> its short name and its format (`share` is in percent).
_SHOWN = {
    "mvm_error": ("MVM error %", "share"),
    "mvm_bias": ("bias %", "share"),
    "mvm_slope": ("slope", ".3f"),
    "mvm_correlation": ("corr.", ".3f"),
    "weight_error": ("|dW|/|W| %", "share"),
    "edge_share": ("at edge %", "share"),
    "window_used": ("window %", "share"),
    "w_max_over_std": ("max/std", ".3f"),
    "stuck_share": ("stuck %", "share"),
    "saturated_share": ("saturated %", "share"),
    "tiles": ("tiles", ",.0f"),
    "tile_use": ("tile use %", "share"),
    "g_eff_worst": ("G_eff/G worst", ".3f"),
    "adcs": ("ADCs", ",.0f"),
    "lsb_over_weight_step": ("LSB/step", ".3g"),
    "dac_clip_rate": ("DAC clips %", "share"),
    "adc_clip_rate": ("ADC clips %", "share"),
}
# Left out where it is zero or null in every row.
_IF_ANY = list(_SHOWN)[list(_SHOWN).index("stuck_share") :]


@checked_arguments
def inspect(what: DictConfig | Sequence[str], *, chips: int | None = None, inputs: int = INPUTS) -> pd.DataFrame:
    """Measure what a handful of chips do to each layer of a network, in seconds, before any accuracy.

    Args:
        what: a config from `compose`, or the overrides of a sweep, as `sweep` takes them.
        chips: how many chips of each point, from `seed` on; None is `chips=` of the overrides, else 5.
        inputs: how many inputs of the data run through the network, evenly spaced over it.

    Returns:
        A row for each point and layer; columns as in `layer_table` and `inspection.inspect_layers`. What makes
        little sense is in `attrs["warnings"]`, one sentence with its remedy each.

    Raises:
        ValueError: chips or inputs below 1, or what `compose` and `sweep` refuse.
    """
    for name, value in (("chips", chips), ("inputs", inputs)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}: give a larger integer")
    plan, workbench = _plan(what, "inspect", inputs)
    if chips is None and not isinstance(what, DictConfig):
        given = any(override.get_key_element() == "chips" for override in parse(what))
        chips = plan.settings.chips if given else None
    seeds = plan.seeds[0][: CHIPS if chips is None else chips]
    seen = []
    for point in plan.points:
        model, specs, data = workbench.parts(point)
        rows = inspect_layers(model, specs, point.config["t_s"], data.x, seeds, workbench.ranges(point))
        labels = {**point.choices, **point.params}
        seen.append(({name: labels.get(name) for name in plan.swept}, rows))
    table = layer_table(seen)
    table.attrs["warnings"] = [*table.attrs["warnings"], *workbench.notes]
    return table


@checked_arguments
def tile_drop(what: DictConfig | Sequence[str], layer: str, *, tile: int = 0, cell: str = "p") -> pd.DataFrame:
    """Compute what wires take from each cell of a tile: the relative drop `1 - G_eff / G`.

    Args:
        what: a config from `compose`, or the overrides of one point; its chip is the first one, `seed`.
        layer: name of the layer, as `inspect` has it.
        tile: number of the tile: groups one after the other, then along the inputs, then along the outputs.
        cell: array of cells, `p` or `n`, of slices below the most significant one `p_1`, `n_1`, ...

    Returns:
        A row for each word line from the top, a column for each bit line from the drivers; NaN for a cell of 0 uS.
        `plot_tile` draws it. `attrs` holds `layer`, `tile`, `cell` and `seed`.

    Raises:
        ValueError: no such layer, tile or array of cells, wires without resistance, several points, or what `compose`
            refuses.
    """
    plan, workbench = _plan(what, "tile_drop", INPUTS)
    if len(plan.points) > 1:
        raise ValidationError("must be one point", "give each axis one value", shown=f"{len(plan.points)} points")
    point, seed = plan.points[0], plan.seeds[0][0]
    model, specs, _ = workbench.parts(point)
    if layer not in specs:
        raise ValidationError("must be an analog layer", suggest(layer, specs), value=layer, parameter="layer")
    if not specs[layer].wired:
        raise ValidationError(
            "must have wires with a resistance", "add tile=crossbar wires=segments", value=layer, parameter="layer"
        )
    tiles = inspection.tile_drop(model, specs[layer], layer, point.config["t_s"], seed, cell)
    if not 0 <= tile < len(tiles):
        raise ValidationError(
            f"must lie in 0..{len(tiles) - 1}, the tiles of {layer}", "correct it", value=tile, parameter="tile"
        )
    drop = tiles[tile].numpy()
    frame = pd.DataFrame(drop, pd.RangeIndex(len(drop), name="word_line"))
    frame.columns.name = "bit_line"
    frame.attrs |= {"layer": layer, "tile": tile, "cell": cell, "seed": seed}
    return frame


def _plan(what: DictConfig | Sequence[str], call: str, inputs: int) -> tuple[Plan, Workbench]:
    """The plan of a config or of overrides that a function of this module takes, and the workbench that built it."""
    if isinstance(what, DictConfig):
        allow = composed_allowed(what)
        config = container(what)
        settings = Settings.of(config)
        workbench = Workbench(allow, ExecutionSettings.of(settings), inputs=inputs)
        return Plan([workbench.point(config, choices(what))], [settings.seeds()], (), settings), workbench
    with one_line():
        if not isinstance(what, str):
            refuse_flags(what, call, f"{call} takes one point")
            check(what)
            refuse_unheeded(what, f"{call} programs a few chips in this process")
        return plan_of(what, f"rramsweep.{call}", inputs)


def write(table: pd.DataFrame, folder: Path) -> None:
    """Write `inspect.csv` and `inspect.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / TABLE_FILE, frames.csv(table))
    n_layers = table[LAYER].nunique()
    figure = Figure(figsize=(min(12.0, max(3.5, 0.35 * n_layers)), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    plot_inspect(table, figure.subplots())
    save_figure(figure, folder / FIGURE_FILE)


def new_folder() -> Path:
    """Folder for the files of the next inspection."""
    return Path("outputs") / "inspect" / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"


def show(table: pd.DataFrame, folder: Path, console: Console) -> None:
    """Print the table, what makes little sense, and where the files are."""
    by = table.attrs["by"]
    shown = {name: of for name, of in _SHOWN.items() if name not in _IF_ANY or (table[name] > 0).any()}
    printed = Table(
        title=f"analog product of each layer against the digital one, mean of {table['chips'].max()} chips",
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 1),
    )
    for name in (*by, LAYER):
        printed.add_column(name, overflow="fold")
    printed.add_column(shown["mvm_error"][0], justify="right")
    printed.add_column("mostly from", no_wrap=True)
    for short, _ in list(shown.values())[1:]:
        printed.add_column(short, justify="right")
    for _, row in table.iterrows():
        error, *cells = [_text(row[name], form) for name, (_, form) in shown.items()]
        printed.add_row(*(str(row[name]) for name in by), str(row[LAYER]), error, main_cause(row) or "-", *cells)
    show_table(printed, console)
    for sentence in table.attrs["warnings"]:
        console.print(f"warning: {sentence}", soft_wrap=True, markup=False)
    console.print(f"files: {folder}", soft_wrap=True, markup=False)


def _text(value: Any, form: str) -> str:
    if pd.isna(value):
        return "-"
    return percent(value, 1) if form == "share" else format(value, form)
