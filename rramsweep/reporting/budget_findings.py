"""The findings of an error budget in words, and its table in the texts that the terminal shows."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import pandas as pd

from rramsweep.analysis.budget import BEYOND, NONE, passes_target
from rramsweep.scale import FRACTION, Scale, percent, rounded
from rramsweep.units import unit_of

# Of more chips or parameters a sentence names the first ones.
_NAMED = 4

Row = Mapping[Hashable, Any]

# Of the columns of `cells`.
HEADINGS = ("parameter", "today", "tolerated", "estimate", "margin", "at best", "bracket", "step")


def level_text(parameter: str, level: float) -> str:
    """A level with its unit; `-` where it is none."""
    return "-" if math.isnan(level) else " ".join(part for part in (f"{level:.8g}", unit_of(parameter)) if part)


def tolerated_text(row: Row) -> str:
    """The tolerated level of a row as far as it is known: `0.12`, `at least 0.5`, `not even 0`."""
    helps = row["larger"] == "helps"
    if row["status"] == NONE:
        return f"not even {level_text(row['parameter'], row['high'] if helps else row['low'])}"
    bound = "at most " if helps else "at least "
    return f"{bound if row['status'] == BEYOND else ''}{level_text(row['parameter'], row['tolerated'])}"


def target_words(table: pd.DataFrame) -> str:
    """The target in words, for the title of the table and the caption of the plot."""
    attrs = table.attrs
    scale, drop = Scale.of(attrs), attrs["target_drop"]
    distance = f"{100 * drop:g} points" if scale.unit == FRACTION else f"{drop:g} {scale.distance}".rstrip()
    side = "below" if scale.higher_is_better else "above"
    return (
        f"{percent(attrs['target_yield'], significant=4)} % of chips, at 95 % confidence, with {scale.name} at most "
        f"{distance} {side} digital ({scale.text(attrs['digital_score'])})"
    )


def cells(table: pd.DataFrame) -> list[list[str]]:
    """Texts of each row of a budget, under `HEADINGS`."""
    rows = []
    for row in table.to_dict("records"):
        name = str(row["parameter"])
        rows.append(
            [
                name,
                level_text(name, row["today"]),
                tolerated_text(row),
                level_text(name, row["estimate"]),
                _margin(row),
                f"{row['passing_best']}/{row['n']}",
                f"{row['low']:g}..{row['high']:g}",
                f"{row['resolution']:g}",
            ]
        )
    return rows


def budget_findings(table: pd.DataFrame) -> list[str]:
    """The sentences on a budget: first whether the target is met, then what a reader must know of the table.

    Args:
        table: of `rramsweep.analysis.budget.budget_table`, with the attrs of `rramsweep.budget` but the findings.
    """
    n, passing, rank = int(table["n"].iloc[0]), int(table["passing_today"].iloc[0]), table.attrs["rank"]
    target = f"the target of {percent(table.attrs['target_yield'], significant=4)} %"
    head = f"{passing} of {n} chips pass as configured"
    rows = table.to_dict("records")
    alone = [row for row in rows if row["status"] != NONE]
    # Of these the harmless end is not the best level.
    peaks = [row for row in rows if row["status"] == NONE and passes_target(n, row["passing_peak"], rank)]
    ways = [f"{row['parameter']} at {tolerated_text(row)} {_now(row)}" for row in alone]
    inside = [f"{row['parameter']} is not monotonic: {_at_peak(row)}, so sweep it about that level" for row in peaks]
    if passes_target(n, passing, rank):
        first = next(iter(alone or rows))
        of = f"{first['parameter']}:" if math.isnan(first["margin"]) else f"least room has {first['parameter']},"
        least = f"{of} tolerated {tolerated_text(first)} {_now(first)}"
        sentences = ["; ".join([f"{target} is met: {head}", *inside, *([least] if first not in peaks else [])])]
    elif alone:
        one = "one parameter alone reaches it" if len(ways) == 1 else f"any of {len(ways)} parameters reaches it alone"
        sentences = ["; ".join([f"{target} is not met ({head}), but {one}: {_listed(ways)}", *inside])]
    elif peaks:
        sentences = [f"{target} is not met ({head}), but some level reaches it: {'; '.join(inside)}"]
    else:
        sentences = [_none_alone(table, target, head)]
    tried = table[table["violations"] > 0]
    for row in tried.to_dict("records"):
        name, seeds = row["parameter"], table.attrs["violations"][row["parameter"]]
        sentences.append(
            f"not monotonic: {len(seeds)} of {n} chips pass at a level of {name} that is worse than one they fail at "
            f"(seed {_listed(map(str, seeds))}); for these the first level that they fail at counts"
            + (f"; {_at_peak(row)}, more than at its harmless end" if row["passing_peak"] > row["passing_best"] else "")
        )
    sentences.append(
        f"tolerated: the level of chip {rank} from the worst of {n}, all else as configured, each parameter by itself; "
        "estimate: what the share of these very chips tolerates; margin: tolerated over today, of LSBs for bits, - "
        "where not known; at best: chips that pass with this parameter alone at its harmless end"
    )
    return sentences


def _none_alone(table: pd.DataFrame, target: str, head: str) -> str:
    joint = table.attrs["joint"]
    if joint is None:
        row = table.to_dict("records")[0]
        limits = "something else limits"
        if row["passing_peak"] > row["passing_best"]:
            limits = "it is not monotonic: sweep it about that level, or something else limits"
        return (
            f"{row['parameter']} alone does not reach {target} ({head}) at any level that was tried: at best "
            f"{_at_peak(row)}, so {limits}, {_others(table)}"
        )
    begin = f"no single parameter reaches {target} with the others as they are ({head})"
    if not joint["levels"]:
        return f"{begin}, and none has an error today that could be scaled, so something else limits, {_others(table)}"
    now = table.set_index("parameter")["today"]
    levels = ", ".join(
        f"{name} {level_text(name, now[name])} -> {level_text(name, float(level))}"
        for name, level in joint["levels"].items()
    )
    if joint["factor"] is None:
        passing, n = joint["passing_peak"], table["n"].iloc[0]
        at = f"{passing} of {n} chips pass with errors of {joint['peak']:.4g} times today's"
        if passes_target(n, passing, table.attrs["rank"]):
            return f"{begin}, but all together do though they are not monotonic: {at}, so sweep about {levels}"
        return f"{begin}, nor do all {len(table)} together: at best {at}, so something else limits, {_others(table)}"
    return f"{begin}, but all together do with errors of {float(joint['factor']):.4g} times today's: {levels}"


def _at_peak(row: Row) -> str:
    """Number of chips that pass at the best level that was tried: `30 of 30 chips pass at 99`."""
    return f"{row['passing_peak']} of {row['n']} chips pass at {level_text(row['parameter'], row['peak'])}"


def _others(table: pd.DataFrame) -> str:
    """The errors that a budget has no bracket of, and what to do about them."""
    errors = table.attrs["errors"]
    if not errors:
        return "though no other error acts: choose another device, mapping or network"
    return f"perhaps what stays as it is: {_listed(errors)}; give a bracket to {'it' if len(errors) == 1 else 'these'}"


def _margin(row: Row) -> str:
    margin = float(row["margin"])
    if math.isnan(margin):
        return "-"
    if math.isinf(margin):
        return "no error today"
    least = ">=" if row["status"] == BEYOND else ""
    return f"{least}{float(rounded(margin, significant=3, bound='low')):g}x"


def _now(row: Row) -> str:
    return f"(today {level_text(row['parameter'], row['today'])})"


def _listed(texts: Iterable[str]) -> str:
    names = list(texts)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
