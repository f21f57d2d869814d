"""Accuracy of a sweep in the words of a results section: mean, its interval, and how many chips are good."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from rramsweep.analysis.grouping import group_numbers, inputs_word, scales, span
from rramsweep.analysis.schema import CHOICES, METRIC, TIME
from rramsweep.analysis.summary import at_chance, interval_words
from rramsweep.reporting.axis import is_number, text_of
from rramsweep.scale import FRACTION, NAME, Scale, drop_for
from rramsweep.units import unit_of

# What each slot does to a chip, in words.
EFFECTS = {
    "programming": "programming error",
    "relaxation": "relaxation",
    "drift": "drift",
    "variation": "device variation",
    "faults": "stuck cells",
    "read_noise": "read noise",
}
TECHNOLOGY = "technology"
# More sentences than these are not read at a glance: then the best and the worst stand for all.
READABLE = 6
_DIGITS = 1

Row = dict[Hashable, Any]


@dataclass(frozen=True)
class Accuracy:
    """Sentences on the scores of a sweep.

    Args:
        baseline: on the digital network and, where it differs, the ideal chip.
        sentences: those that are read first.
        more: one for each combination, where these are more than `READABLE`; else empty.
        over: what mean and interval are over.
    """

    baseline: str
    sentences: list[str]
    over: str
    more: list[str] = field(default_factory=list)


def accuracy(
    frame: pd.DataFrame, summary: pd.DataFrame, axes: Sequence[str], targets: Mapping[str, str] | None = None
) -> Accuracy | None:
    """Describe the scores of a sweep; None where no chip has finished.

    Each combination of the axes has one sentence. Of a numeric axis (of several the one with most levels) it takes the
    last level that the source of the parameter covers, and where no source gives a range, both ends.

    Args:
        frame: results.
        summary: of `summarize`.
        axes: columns of ``summary`` that may tell its rows apart.
        targets: class that stands in the place of a slot's option, of each slot of which it was replaced.
    """
    done = frame[frame["status"] == "ok"]
    if done.empty:
        return None
    varied = [name for name in axes if summary[name].nunique(dropna=False) > 1]
    numeric = [name for name in varied if is_number(summary[name])]
    x = max(numeric, key=lambda name: summary[name].nunique()) if numeric else None
    keys = [name for name in varied if name != x]
    if len(scales(frame)) > 1:
        keys = [name for name in keys if name not in METRIC and name != "metric"] + [NAME]
    words = _Words(done, summary, keys, targets or {})
    rows = summary.assign(at_chance=at_chance(summary)).to_dict("records")
    groups: dict[int, list[Row]] = {}
    for group, row in zip(group_numbers(summary, keys).tolist(), rows, strict=True):
        groups.setdefault(group, []).append(row)
    chosen = [row for part in groups.values() for row in _levels(part, x, frame.attrs.get("source_ranges", {}))]
    sentences = words.sentences(chosen, x)
    counts, inputs = span(summary.loc[summary["n"] > 0, "n"]), f"{span(done['n_images'])} {inputs_word(frame)}"
    network = "this network" if done["model"].nunique() <= 1 else "its network"
    chips = "chip" if counts == "1" else "chips"
    over = f"Mean over {counts} {chips} of {network} on these {inputs}, with its {interval_words(summary)} over chips."
    if len(sentences) <= READABLE:
        return Accuracy(words.baseline(), sentences, over)
    return Accuracy(words.baseline(), words.extremes(chosen, x), over, sentences)


def _levels(part: Sequence[Row], x: str | None, ranges: dict[str, Sequence[Any]]) -> list[Row]:
    """Rows of one combination that stand for all of its levels."""
    along = sorted((row for row in part if x is not None and pd.notna(row[x])), key=lambda row: row[x])
    apart = [row for row in part if x is None or pd.isna(row[x])]
    if len(along) > 1 and x in ranges:
        low, high = ranges[x][:2]
        along = [row for row in along if low <= row[x] <= high][-1:] or along[:1]
    return [*apart, *(along if len(along) < 3 else (along[0], along[-1]))]


class _Words:
    """The words that all sentences of one sweep share."""

    def __init__(
        self, done: pd.DataFrame, summary: pd.DataFrame, keys: Sequence[str], targets: Mapping[str, str]
    ) -> None:
        self._subject = _subject(done, targets)
        shorts = [_short(key) for key in keys]
        self._names = {key: key if shorts.count(name) > 1 else name for key, name in zip(keys, shorts, strict=True)}
        self._keys, self._drop = keys, summary.attrs["yield_drop"]
        self._scales = scales(done)
        self._technologies = _technologies(done) if TECHNOLOGY in keys else {}
        self._baselines = done[[*METRIC, "model", "data", "digital_score", "ideal_score"]].drop_duplicates()

    def baseline(self) -> str:
        """`Digital 88.2 %, ideal chip 87.9 %.`, with a name before each of several networks, data sets or metrics."""
        several = [name for name in (NAME, "model", "data") if self._baselines[name].nunique() > 1]
        parts = []
        for _, part in self._baselines.groupby([*METRIC, "model", "data"], sort=False):
            scale = Scale.of(part.iloc[0])
            digital, ideal = (
                scale.between(part[name].min(), part[name].max(), _DIGITS) for name in ("digital_score", "ideal_score")
            )
            names = [str(part[name].iloc[0]) for name in several]
            parts.append(" ".join([*names, digital]) + ("" if ideal == digital else f", ideal chip {ideal}"))
        return f"Digital {'; '.join(parts)}."

    def sentences(self, rows: Sequence[Row], x: str | None) -> list[str]:
        """A sentence for each row; what the one before says of level and interval is not repeated."""
        found: list[str] = []
        place = ""
        for row in rows:
            where, level = self._where(row), _at(row, x)
            subject = where or ("" if found else self._subject)
            head = ", ".join(part for part in (subject, level if level != place or not where else "") if part)
            place = level
            found.append(f"{head[:1].upper()}{head[1:]}: {self._scores(row, first=not found)}.")
        return found

    def extremes(self, rows: Sequence[Row], x: str | None) -> list[str]:
        """Sentences on the best and the worst of many rows, of each metric."""
        found: list[str] = []
        for scale in self._scales:
            own = [row for row in rows if Scale.of(row) == scale and row["n"] > 0]
            ranked = sorted(own, key=lambda row: row["score_mean"], reverse=scale.higher_is_better)
            for name, row in (("Best", ranked[0]), ("Worst", ranked[-1])) if ranked else ():
                place = ", ".join(part for part in (self._where(row), _at(row, x)) if part)
                found.append(f"{name} of {len(own)}, {place}: {self._scores(row, first=not found)}.")
        return found

    def _where(self, row: Row) -> str:
        names: list[str] = []
        given: list[str] = []
        for key in self._keys:
            if key == TECHNOLOGY and row[key] in self._technologies:
                names.insert(0, self._technologies[row[key]])
            elif key == NAME:
                names.append(text_of(row[key]))
            elif key in CHOICES:
                names.append(f"{key.replace('_', ' ')} {text_of(row[key], key)}")
            elif bool(pd.isna(row[key])):
                given.append(f"without {key}")
            elif key == TIME:
                given.append(f"after {text_of(row[key], key)}")
            else:
                given.append(f"with {self._names[key]} {text_of(row[key], key)}")
        return ", ".join([*names, *given])

    def _scores(self, row: Row, *, first: bool) -> str:
        scale = Scale.of(row)
        if not row["n"] > 0:
            return "no chip finished"
        mean = scale.text(row["score_mean"], _DIGITS)
        if row["n"] == 1:
            text = f"{mean} (one chip, so no interval)"
        else:
            low, high = scale.number(row["score_low"], _DIGITS, "low"), scale.number(row["score_high"], _DIGITS, "high")
            text = f"{mean} ({'95 % interval ' if first else ''}{low}–{high})"
        own = self._baselines.loc[self._baselines[NAME] == scale.name, "digital_score"]
        if own.nunique() > 1:
            text += f" of digital {scale.text(row['digital_score'], _DIGITS)}"
        return text + self._good(row, scale, first=first)

    def _good(self, row: Row, scale: Scale, *, first: bool) -> str:
        share, n, drop = float(row["yield_share"]), int(row["n"]), drop_for([scale], self._drop)
        if math.isnan(share) or row["at_chance"] or drop is None:
            return ""
        good = round(share * n)
        count = f"all {n}" if good == n > 1 else f"no chip of {n}" if good == 0 else f"{good} of {n}"
        distance = f"{100 * drop:g} points" if scale.unit == FRACTION else f"{drop:g} {scale.distance}".rstrip()
        chips = "" if good == 0 else " chip" if n == 1 else " chips"
        return f", {count}{chips} within {distance} of digital" if first else f", {count}{chips}"


def _technologies(done: pd.DataFrame) -> dict[str, str]:
    """Each technology in words: its option's name, and the effects that not all of them have."""
    slots = [slot for slot in EFFECTS if slot in done]
    active = {
        str(option): {slot for slot in slots if not (part[slot].dropna() == "ideal").all()}
        for option, part in done.groupby(TECHNOLOGY, sort=False)
    }
    shared = set.intersection(*active.values())
    words = {}
    for option, has in active.items():
        more = [EFFECTS[slot] for slot in slots if slot in has - shared]
        name = option.replace("_", " ")
        words[option] = f"With {_listed(more)} ({option})" if more else f"{name[0].upper()}{name[1:]}"
    return words


def _subject(done: pd.DataFrame, targets: Mapping[str, str]) -> str:
    """Effects of the chips of a sweep with the option of each: `With drift (table)`; an own class by its name."""
    words = []
    for slot, effect in EFFECTS.items():
        options = [str(option) for option in done[slot].dropna().unique()] if slot in done else []
        if slot in targets:
            words.append(f"{effect} ({targets[slot]})")
        elif set(options) - {"ideal"}:
            words.append(f"{effect} ({options[0]})" if len(options) == 1 else effect)
    if bool(done.attrs.get("identical_chips", False)):
        return "Chips without a random error"
    return f"With {_listed(words)}" if words else "Chips without a device error"


def _short(name: str) -> str:
    """A parameter's own name, in words; whole where it has a unit."""
    return name.rpartition(".")[2].replace("_", " ") if unit_of(name) == "" else name


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _at(row: Row, x: str | None) -> str:
    if x is None:
        return ""
    if bool(pd.isna(row[x])):
        return f"without {x}"
    if x == TIME:
        return f"after {text_of(row[x], x)}"
    return f"at {_short(x)} {text_of(row[x], x)}"
