"""The verbs of the command line beside a sweep itself, from `inspect` to `explain`.

Each verb imports what it needs when it is called, since torch, pandas and Hydra take seconds that another does without.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Sequence
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console

from rramsweep.cli import help as screens
from rramsweep.cli.catalog import with_folder
from rramsweep.cli.messages import SWEEPS, check_names, of_training

if TYPE_CHECKING:
    from rramsweep.study.store import Store

DEFAULT_STORE = "outputs/store"


def end_imports() -> None:
    """Look for garbage again where `__main__` has stopped that, but not among what was imported up to here."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def see_users_packages() -> None:
    """Find a package in the folder where the command is called, as `python -m` does and a console script does not."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{self.prog} takes {self.format_usage().partition(self.prog)[2].strip()}, but {message}")


def inspect_verb(arguments: Sequence[str], console: Console) -> None:
    """`rramsweep inspect [OVERRIDES]`: what a few chips do to each layer, before any accuracy.

    Takes what `rramsweep -m` takes; `chips=N` looks at N chips, 5 without it. Prints a row a layer and what makes
    little sense; writes inspect.csv and inspect.png.
    """
    overrides = [argument for argument in arguments if argument not in SWEEPS]
    if not _are_overrides(overrides, inspect_verb, console):
        return
    check_names(["-m", *overrides])
    from rramsweep.cli import layer_report
    from rramsweep.cli.overrides import command_errors

    end_imports()
    with command_errors():
        table = layer_report.inspect(overrides)
        folder = layer_report.new_folder()
        layer_report.write(table, folder)
    layer_report.show(table, folder, console)


def budget_verb(arguments: Sequence[str], console: Console) -> None:
    """`rramsweep budget NAME=LOW..HIGH`: the level of each parameter that a share of the chips tolerates.

    Takes what `rramsweep` takes for one point, a bracket for each parameter, target.yield=SHARE of chips that shall
    pass, and target.drop=DROP, how much worse than digital these may score (0.02 of an accuracy without it). Bisects
    chip by chip on common seeds, all else as configured; writes budget.csv, budget.parquet, levels.csv and budget.png.
    Ended early, the same command goes on.
    """
    if not _are_overrides(arguments, budget_verb, console):
        return
    from rramsweep.cli.budget_words import names_alone

    check_names(names_alone(arguments))
    from rramsweep.cli import budgeting
    from rramsweep.cli.overrides import command_errors

    end_imports()
    with command_errors():
        budgeting.run(arguments, console)


def sensitivity_verb(arguments: Sequence[str], console: Console) -> None:
    """`rramsweep sensitivity [OVERRIDES]`: which layers cost the most, and which to leave digital for a target.

    Takes what `rramsweep` takes for one point. Each layer alone on the array, and all but each, on the same chips;
    prints a row a layer, writes sensitivity.csv and sensitivity.png. target.drop=0.02 (mean loss of accuracy against
    digital) or target.yield=0.9 (share of chips that lose at most target.drop) chooses a small set of layers to leave
    digital, and verifies it on fresh chips. Chips are kept in the store: the same command goes on where it was ended.
    """
    from rramsweep.analysis.target import split_target

    words, target = split_target(arguments)
    if not _are_overrides(words, sensitivity_verb, console):
        return
    check_names(words)
    from rramsweep.cli import sensitivity
    from rramsweep.cli.overrides import command_errors

    end_imports()
    with command_errors():
        sensitivity.run(words, target, console)


def finetune_verb(arguments: Sequence[str], console: Console) -> None:
    """`rramsweep finetune [OVERRIDES]`: trains the network on chips of one point, a new one each step.

    Takes what `rramsweep` takes for one point, and finetune.NAME=VALUE (`rramsweep list finetune`). Trains on the
    inputs that data.fitting names; writes weights.pt, finetune.csv and finetune.png, and says how to sweep with the
    weights. Ended early, the same command goes on after the last whole epoch.
    """
    if not _are_overrides(arguments, finetune_verb, console):
        return
    check_names([argument for argument in arguments if not of_training(argument)])
    from rramsweep.cli import fine_tuning
    from rramsweep.cli.overrides import command_errors

    end_imports()
    with command_errors():
        fine_tuning.run(arguments, console)


def spread_verb(arguments: Sequence[str], console: Console) -> None:
    """`rramsweep spread [OVERRIDES]`: which stages and layers the spread between chips comes from.

    Takes what `rramsweep` takes for one point; by=stage or by=layer leaves the other out. Runs each chip again with the
    random draws of one stage, of all stages but one, or of one layer drawn again. Prints shares of the variance of the
    score; writes spread.csv and a figure for each. Ended early, the same command goes on.
    """
    if not _are_overrides(arguments, spread_verb, console):
        return
    check_names([argument for argument in arguments if not argument.startswith("by=")])
    from rramsweep.cli import spread
    from rramsweep.cli.overrides import command_errors

    end_imports()
    with command_errors():
        spread.run(arguments, console)


def _are_overrides(arguments: Sequence[str], verb: Callable[..., None], console: Console) -> bool:
    """Print the help of a verb and return False where it is asked for; refuse other flags."""
    if {"-h", "--help"} & set(arguments):
        console.print(cleandoc(verb.__doc__ or ""), markup=False)
        return False
    flags = [argument for argument in arguments if argument.startswith("-")]
    if flags:
        name = verb.__name__.removesuffix("_verb")
        raise ValueError(f"rramsweep {name} takes NAME=VALUE as a sweep does, but got {flags[0]}: leave it out")
    return True


def list_verb(arguments: Sequence[str], console: Console) -> None:
    """`rramsweep list [GROUP]`: the groups with their options; of a group every option with parameters and source."""
    parser = _Parser("rramsweep list", description=list_verb.__doc__)
    parser.add_argument("group", nargs="?", metavar="GROUP", help="such as device, drift or technology")
    parser.add_argument("--config-dir", "-cd", metavar="DIR", help="with the groups of a folder of your own")
    given = parser.parse_args(arguments)
    group, catalog = given.group, with_folder(given.config_dir)
    if group is None:
        screens.show_groups(console, catalog)
    else:
        name = group.partition("=")[0]
        if name != group and name in catalog.groups():
            raise ValueError(f"a group is listed with all of its options, got {group!r}: write rramsweep list {name}")
        screens.show_group(name, console, catalog)


def report_verb(arguments: Sequence[str], console: Console) -> None:
    """`rramsweep report DIR`: tables, plots and report.html again, from a sweep's folder alone."""
    parser = _Parser("rramsweep report", description=report_verb.__doc__)
    parser.add_argument("folder", metavar="DIR", help="a sweep's folder, outputs/<name>/<date>_<time>")
    folder = Path(parser.parse_args(arguments).folder)
    from rramsweep.reporting import report

    end_imports()
    report.show(*report.write(folder), folder, console)


def store_verb(arguments: Sequence[str], console: Console) -> None:
    """`rramsweep store`: what the store holds; `--compact` merges its fragments."""
    parser = _Parser("rramsweep store", description=store_verb.__doc__)
    parser.add_argument("store", nargs="?", default=DEFAULT_STORE, metavar="DIR", help=f"default {DEFAULT_STORE}")
    parser.add_argument("--compact", action="store_true", help="merge the fragments of each kind into one")
    given = parser.parse_args(arguments)
    store = _existing(given.store)
    if given.compact:
        store.prepare()
        store.compact()
    size = store.size()
    each = f", {size['bytes'] / size['trials']:.0f} bytes a trial" if size["trials"] else ""
    console.print(
        f"{store.root}: {size['points']} points, {size['trials']} trials, {size['failed']} failed; "
        f"{size['fragments']} fragments, {size['bytes'] / 1e6:.2f} MB{each}",
        soft_wrap=True,
    )


def explain_verb(arguments: Sequence[str], console: Console) -> None:
    """`rramsweep explain POINT_ID`: the text whose hash a point_id is."""
    parser = _Parser("rramsweep explain", description=explain_verb.__doc__)
    parser.add_argument("point_id", metavar="POINT_ID", help="from the results table; its beginning will do")
    parser.add_argument("store", nargs="?", default=DEFAULT_STORE, metavar="DIR", help=f"default {DEFAULT_STORE}")
    given = parser.parse_args(arguments)
    texts = _existing(given.store).points()
    found = [point_id for point_id in texts if point_id.startswith(given.point_id)]
    if len(found) != 1:
        what = "no point" if not found else f"{len(found)} points"
        begin = "begin" if found else "begins"
        raise ValueError(
            f"a POINT_ID must be the beginning of one point's, but {what} of {given.store} {begin} with "
            f"{given.point_id!r}: copy it from the point_id column; "
            "a point is in the store from its first chip on"
        )
    console.print(f"point_id {found[0]} is the hash of:", texts[found[0]], sep="\n", markup=False, soft_wrap=True)


def _existing(folder: str) -> Store:
    if not Path(folder).is_dir():
        raise ValueError(f"a store must be a folder, but there is none at {folder}: give the store's path")
    from rramsweep.study.store import Store

    end_imports()
    return Store(Path(folder))


VERBS: dict[str, Callable[[Sequence[str], Console], None]] = {
    "inspect": inspect_verb,
    "budget": budget_verb,
    "sensitivity": sensitivity_verb,
    "spread": spread_verb,
    "finetune": finetune_verb,
    "list": list_verb,
    "report": report_verb,
    "store": store_verb,
    "explain": explain_verb,
}
