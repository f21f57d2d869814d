"""Findings of a sweep in sentences that its chips carry: lower bounds on the yield, never point estimates."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rramsweep.analysis.anytime import EMPTY, FAILED, MISSING
from rramsweep.analysis.costs import unpriced
from rramsweep.analysis.grouping import group_numbers, inputs_word, scales, span
from rramsweep.analysis.schema import CHANCE, EXECUTION, TIME
from rramsweep.analysis.summary import at_chance, interval_words, skewed
from rramsweep.intervals import ALPHA, CONFIDENCE, binomial_tail, unseen_share
from rramsweep.reporting.axis import is_number, name_of, text_of
from rramsweep.reporting.refresh import refresh_words
from rramsweep.reporting.request import planned, unfinished
from rramsweep.scale import FRACTION, NAME, UNIT, Bound, Scale, chance_words, drop_for, percent
from rramsweep.study.plan import Plan
from rramsweep.units import unit_of

# The share of good chips that a level must be shown to keep, for a range to go on beyond it: a choice, and said so.
GOAL = 0.9
# A t interval over fewer chips than these is wider than 1.4 standard deviations either side: no more than a hint.
FEW = 5
# Column of rows whose digital network is at chance level.
_GUESSED = "guessed"
# More sentences than these are no answer that anyone reads; a count then stands before them.
READABLE = 8

Row = dict[Hashable, Any]


@dataclass(frozen=True)
class Findings:
    """Findings in words.

    Args:
        sentences: one for each combination of the axes that is not the range itself.
        notes: what a reader must know to take them as they are meant.
        headline: how many points keep what they must, where there are more than `READABLE` sentences; else empty.
        unfinished: that the sweep has not run to its end, which comes before the sentences; empty where it has.
        guessing: networks at chance level, which come before all else; see `guessing`.
    """

    sentences: list[str]
    notes: list[str]
    headline: str = ""
    unfinished: str = ""
    guessing: Sequence[str] = ()


def findings(frame: pd.DataFrame, summary: pd.DataFrame, axes: Sequence[str], plan: Plan | None = None) -> Findings:
    """Find what a sweep shows.

    With a numeric axis (of several the one with most levels) each combination of the others has a sentence on how far
    it goes: levels are taken in order, from the end where the mean score is better, until the first whose
    `yield_bound` is below `GOAL`, or, with fewer chips than can show that, until the first with a chip that is not
    good. The share named is the smallest bound of the range. Without a numeric axis each row has its sentence, and
    where the metric has no yield, the sentence names the bad end of the mean's interval.

    Args:
        frame: results.
        summary: of `summarize`.
        axes: columns of ``summary`` that may tell its rows apart.
        plan: what was asked; None takes what ``frame`` has for all of it.
    """
    pending = unfinished(frame, plan)
    if not (frame["status"] == "ok").any():
        return Findings(["No chip has finished: there is no answer yet."], [], unfinished=pending)
    metrics = scales(frame)
    # What will vary once the sweep is complete is named already while one value of it has run.
    levels = {name: planned(plan, name) for name in axes} if plan and pending else {}
    varied = [name for name in axes if summary[name].nunique(dropna=False) > 1 or len(levels.get(name, [])) > 1]
    numeric = [name for name in varied if is_number(summary[name])]
    x = max(numeric, key=lambda name: summary[name].nunique()) if numeric else None
    keys = [name for name in varied if name != x]
    if len(metrics) > 1 and not any(name.split(".")[0] == "metric" for name in keys):
        keys.append(NAME)
    more = x is not None and len(levels.get(x, [])) > summary[x].nunique(dropna=False)
    chips = _Words(frame, summary, "no chip of a further level has run yet" if more else "no further level was swept")
    # Plain data: frames of one row each would take a minute for thousands of rows.
    rows = summary.assign(**{_GUESSED: at_chance(summary)}).to_dict("records")
    groups: dict[int, list[Row]] = {}
    for group, row in zip(group_numbers(summary, keys).tolist(), rows, strict=True):
        groups.setdefault(group, []).append(row)
    sentences: list[str] = []
    failing: dict[str, list[tuple[list[str], list[Row]]]] = {}  # by metric: combinations of which no level suffices
    for part in groups.values():
        where = [name_of(part[0][key], "" if key == NAME else key) for key in keys]
        along = [row for row in part if x is not None and pd.notna(row[x])]
        for row in part:
            if x is None or pd.isna(row[x]):
                absent = [f"{x} = none"] if x else []
                sentences.append(chips.sentence([*where, *absent], [row], None))
        if along:
            ordered = sorted(along, key=lambda row: row[x])
            if chips.fails(ordered):
                failing.setdefault(str(ordered[0][NAME]), []).append((where, ordered))
            else:
                sentences.append(chips.sentence(where, ordered, x))
    for parts in failing.values():
        alone = len(parts) == 1
        sentences.append(chips.sentence(*parts[0], x) if alone else chips.without_range(parts, str(x)))
    identical = bool(frame.attrs.get("identical_chips", False))
    headline = _headline(summary, identical=identical) if len(sentences) > READABLE else ""
    sentences = [*refresh_words(frame, summary), *sentences]
    return Findings(sentences, _notes(frame, summary, x is not None), headline, pending, guessing(frame))


def guessing(frame: pd.DataFrame) -> list[str]:
    """A sentence for each digital network of a results frame that is at chance level."""
    done = frame[(frame["status"] == "ok") & frame["n_correct"].notna()]
    if CHANCE not in done:  # a frame of an older version
        return []
    done = done[done[CHANCE].notna()]
    right = done["n_correct"] + done["n_lost"] - done["n_gained"]
    p = binomial_tail(*(column.to_numpy(dtype=np.float64) for column in (right, done["n_images"], done[CHANCE])))
    found = done.assign(right=right)[p > ALPHA]
    columns = ["model", "data", "right", "n_images", CHANCE]
    rows = found[columns].drop_duplicates().itertuples(index=False)
    return [
        chance_words(f"{model} on {data}", int(n_right), int(n), float(chance))
        for model, data, n_right, n, chance in rows
    ]


def unseen(summary: pd.DataFrame) -> list[str]:
    """A sentence on how many bad chips there may be that the chips of a sweep do not show, however many are good.

    None where no yield is shown: of a metric without one, and of networks at chance level.
    """
    counts = sorted({int(n) for n in summary.loc[_has_yield(summary), "n"] if n > 0})
    if not counts:
        return []
    few, many = counts[0], counts[-1]
    most = [f"{percent(float(unseen_share(n)), 1, 'high')} %" for n in (few, many)]
    good = "it were" if few == 1 else f"all {few} were"
    sentence = f"{_count(few)} cannot see rare failures: even if {good} good, up to {most[0]} of all chips may be bad"
    if few < many:
        sentence += f"; if all {many} were, up to {most[1]}"
    return [f"{sentence} (exact one-sided {100 * CONFIDENCE:g} % bound, for many chips n about 3/n)"]


def _has_yield(summary: pd.DataFrame) -> pd.Series[bool]:
    return summary["yield_bound"].notna() & ~at_chance(summary)


def mixed_executions(frame: pd.DataFrame) -> list[str]:
    """Name the columns by which chips of one point were run differently; none where each point was run in one way."""
    ways = frame.loc[frame["status"] == "ok", ["point_id", *EXECUTION]].drop_duplicates()
    mixed = ways[ways.duplicated("point_id", keep=False)]
    if mixed.empty:
        return []
    points = mixed["point_id"].nunique()
    columns = [name for name in EXECUTION if (mixed.groupby("point_id")[name].nunique(dropna=False) > 1).any()]
    return [
        f"chips of {points} point{'s' * (points > 1)} were run in more than one way ({', '.join(columns)}): their "
        "scores are comparable to rounding, not to the last bit"
    ]


def few_chips(summary: pd.DataFrame) -> list[str]:
    """A sentence where points have so few chips that an interval over them says little; else none."""
    few = int(summary["n"].between(1, FEW - 1).sum())
    if not few:
        return []
    have = "the point has" if len(summary) == 1 else f"{few} of {len(summary)} points have"
    return [f"{have} fewer than {FEW} chips: intervals over so few are too wide to tell much, sweep more chips"]


def doubtful(summary: pd.DataFrame) -> list[str]:
    """Sentences where intervals of means are not to be relied on, or are absent; none where all is well."""
    sentences = []
    rows = summary[skewed(summary)]
    if len(rows):
        most = rows.iloc[int(rows["score_skewness"].abs().to_numpy().argmax())]
        which = "the point" if len(summary) == 1 else f"{len(rows)} of {len(summary)} points"
        bounded = (rows[UNIT] == FRACTION).all()
        other = ", or interval=anytime, which is wider" if bounded else ""
        sentences.append(
            f"the t interval is doubtful at {which}: the chips are too skewed for their number (skewness "
            f"{most['score_skewness']:.1f} over {_count(int(most['n']))}), as where a few lose far more than "
            f"others; rely on yield and quantiles, take more chips{other}"
        )
    absent = summary[summary["interval"].isin([FAILED, MISSING, EMPTY])]["interval"]
    for reason in absent.drop_duplicates():
        which = "the point" if len(summary) == 1 else f"{(absent == reason).sum()} of {len(summary)} points"
        remedy = {FAILED: "run them again with retry_failed=true", MISSING: "keep every seed, failed ones too"}
        sentences.append(
            f"the anytime interval is absent at {which}: {reason.removeprefix('absent: ')}; "
            f"{remedy.get(reason, 'look at the chips by seed')}"
        )
    return sentences


class _Words:
    """The words that all sentences of one sweep share."""

    def __init__(self, frame: pd.DataFrame, summary: pd.DataFrame, at_end: str) -> None:
        self._at_end = at_end
        network = "this network" if frame["model"].nunique() <= 1 else "its network"
        self._identical = bool(frame.attrs.get("identical_chips", False))
        self._of = f"of {network} on these {span(frame['n_images'])} {inputs_word(frame)}"
        self._drop, self._interval = summary.attrs["yield_drop"], interval_words(summary)

    def sentence(self, where: Sequence[str], rows: Sequence[Row], x: str | None) -> str:
        """One sentence on rows that differ in ``x`` alone, sorted by it, or on one row."""
        scale = Scale.of(rows[0])
        done = [row for row in rows if row["n"] > 0]
        if not done:
            return f"{_joined([*where, _at(x, rows[0])])}: no chip finished."
        rows, falling = _best_first(rows)
        guessed = [row for row in rows if row[_GUESSED]]
        if guessed:
            others = [row for row in rows if not row[_GUESSED]]
            levels = ", ".join(_value(x, row) for row in guessed) if x else ""
            place = "" if x is None else f"{x} = {levels}" if others else f"every {x}"
            none = f"{_joined([*where, place])}: no yield, for the digital network itself is at chance level."
            return f"{none} {self.sentence(where, others, x)}" if others else none
        if all(math.isnan(row["yield_bound"]) for row in rows):
            return self._mean(where, done, x, scale)
        if self._identical:
            return self._alike(where, done, x, scale)
        return self._range(where, rows, x, scale, "down to" if falling else "up to")

    def fails(self, rows: Sequence[Row]) -> bool:
        """True where not even the best of several levels is shown to keep its share of chips good."""
        known = any(row["n"] > 0 for row in rows) and not any(row[_GUESSED] for row in rows)
        if self._identical or not known or all(math.isnan(row["yield_bound"]) for row in rows):
            return False
        best = _best_first(rows)[0][0]
        return bool(best["n"] > 0) and not _keeps_goal(best["n"], best["yield_bound"])

    def without_range(self, parts: Sequence[tuple[Sequence[str], Sequence[Row]]], x: str) -> str:
        """One sentence on combinations that all `fails` is true of."""
        best = [_best_first(rows)[0][0] for _, rows in parts]
        low, high = (_at_least(end(float(row["yield_bound"]) for row in best)) for end in (min, max))
        shares = low if low == high else f"{low} to {high}"
        names = "; ".join(_joined(where) for where, _ in parts)
        fewest = min(best, key=lambda row: float(row["n"]))
        return (
            f"No range of {x} can be given for {len(parts)} combinations ({names}): at the best level of each, at "
            f"least {shares} % of chips stay {self._keeps(Scale.of(best[0]))} ({self._over(best)}), and a range "
            f"needs {_at_least(_goal(fewest['n']))} %{_most(fewest)}."
        )

    def _alike(self, where: Sequence[str], rows: Sequence[Row], x: str | None, scale: Scale) -> str:
        """One sentence on levels of which each has one chip, however many times it was run."""
        good = [row for row in rows if row["yield_share"] == 1]
        keeps = f"{self._keeps(scale)} {self._of}"
        if x is None:
            stays = "stays" if good else "does not stay"
            return f"{_joined(where)}: every chip is the same one, and it {stays} {keeps}."
        held = ", ".join(_value(x, row) for row in good) or "no level"
        return f"{_joined([*where, x])}: every chip of a level is the same one; at {held} it stays {keeps}."

    def _range(self, where: Sequence[str], rows: Sequence[Row], x: str | None, scale: Scale, until: str) -> str:
        k = next((i for i, row in enumerate(rows) if not _keeps_goal(row["n"], row["yield_bound"])), len(rows))
        carried = rows[: max(k, 1)]
        last = carried[-1]
        place = _at(x, last) if len(carried) == 1 else f"{x} {until} {_value(x, last)}"
        level = _joined([*where, place])
        if last["n"] == 0:
            return f"{level}: no chip finished."
        if k == 0 and x is not None:
            bound = f"at least {_at_least(last['yield_bound'])} % of chips stay {self._keeps(scale)}"
            goal = f"{_at_least(_goal(last['n']))} %{_most(last)}"
            return f"{level}, the best level: {bound} ({self._over(carried)}), and a range needs {goal}."
        least = min(carried, key=lambda row: float(row["yield_bound"]))
        bound = f"{level}: at least {_at_least(least['yield_bound'])} % of chips stay {self._keeps(scale)}"
        bound = f"{bound} ({self._over(carried)}{_most(least) if k else ''})"
        if x is None:
            return f"{bound}."
        if k == len(rows):
            return f"{bound}; {self._at_end}."
        after = rows[k]
        over = f" ({_count(int(after['n']))})" if after["n"] else ""
        return f"{bound}; the next level, {_value(x, after)}, {self._shows(after)}{over}."

    def _keeps(self, scale: Scale) -> str:
        drop = drop_for([scale], self._drop)  # each metric's own where several were swept
        assert drop is not None, "a metric with a bound on its yield has a drop"
        loss = f"{100 * drop:g} points" if scale.unit == FRACTION else f"{drop:g} {scale.distance}".rstrip()
        return f"at most {loss} {'below' if scale.higher_is_better else 'above'} digital in {scale.name}"

    def _over(self, rows: Sequence[Row]) -> str:
        each = " a level" if len(rows) > 1 else ""
        return f"lower {100 * CONFIDENCE:g} % bound over {_chips(rows)}{each} {self._of}"

    @staticmethod
    def _shows(row: Row) -> str:
        return (
            f"shows at least {_at_least(row['yield_bound'])} %" if row["n"] > 0 else "shows nothing: no chip finished"
        )

    def _mean(self, where: Sequence[str], rows: Sequence[Row], x: str | None, scale: Scale) -> str:
        bad, worst = ("score_low", "at least") if scale.higher_is_better else ("score_high", "at most")
        side: Bound = "low" if scale.higher_is_better else "high"
        means = []
        for row in (rows[0], rows[-1]) if len(rows) > 1 else rows:
            place = _at(x, row)
            end = scale.text(row[bad], bound=side)
            none = "one chip, which carries no interval" if row["n"] < 2 else "no interval"
            text = none if math.isnan(row[bad]) else f"{worst} {end}"
            means.append(f"{text}{f' at {place}' if place else ''}")
        return (
            f"{_joined([*where, scale.mean_name])}: {', '.join(means)}; digital "
            f"{scale.text(rows[0]['digital_score'])} (bad end of the {self._interval} over "
            f"{_chips(rows)} {self._of})."
        )


def _headline(summary: pd.DataFrame, *, identical: bool) -> str:
    if identical:
        good = int((summary["yield_share"] == 1).sum())
        return f"The one chip of each point is good at {good} of {len(summary)} points."
    if summary["yield_bound"].isna().all():
        return f"{len(summary)} points, of a metric without a yield."
    known = summary[~at_chance(summary)]
    kept = sum(map(_keeps_goal, known["n"], known["yield_bound"]))
    fewest = summary.iloc[int(summary["n"].to_numpy().argmin())]
    least = f"{_at_least(_goal(fewest['n']))} % of chips good{_most(fewest)}"
    return f"{kept} of {len(summary)} points are each shown to keep at least {least}."


def _notes(frame: pd.DataFrame, summary: pd.DataFrame, ranges: bool) -> list[str]:
    identical = bool(frame.attrs.get("identical_chips", False))
    notes = [] if identical else [f"{words[0].upper()}{words[1:]}." for words in unseen(summary)]
    bounds = summary[_has_yield(summary)]
    if len(bounds) and not identical:
        notes.append(
            "Bounds, not estimates: the one-sided exact (Clopper-Pearson) lower bound on the share of good chips, "
            "rounded down. Each sentence holds at this confidence for itself, not all of them at once."
        )
        few = int(bounds["n"].min())
        needed = math.ceil(math.log(1 - CONFIDENCE) / math.log(GOAL))
        if few < needed:
            notes.append(
                f"{_count(few)} without a failure can show {_at_least(_goal(few))} % "
                f"and no more; {needed} show {_at_least(GOAL)} %."
            )
        if ranges:
            notes.append(
                f"A range ends before the first level that is not shown to keep {_at_least(GOAL)} % of chips good (or "
                "what so few chips can show at most); that share is a choice made here. Levels are taken in order, so "
                "that the whole range keeps it at this confidence; the share named is the smallest bound of the range."
            )
    if summary["yield_bound"].isna().any():
        notes.append(
            "Without yield_drop=VALUE, how much worse than digital a good chip may be, this metric has no yield: only "
            "the mean can be bounded."
        )
    notes += [f"{words[0].upper()}{words[1:]}." for words in unpriced(frame)]
    failed = int((frame["status"] == "failed").sum())
    if failed:
        notes.append(f"{failed} failed {'trial is' if failed == 1 else 'trials are'} left out of every number.")
    notes.append("Other weights, or other images, are another question: no interval here answers it.")
    return notes


def _best_first(rows: Sequence[Row]) -> tuple[Sequence[Row], bool]:
    """Rows sorted by a level, from the end where the mean score is better, and whether that turned them."""
    done = [row for row in rows if row["n"] > 0]
    worse, better = (done[0], done[-1]) if Scale.of(done[0]).higher_is_better else (done[-1], done[0])
    falling = _above(better, worse)  # by noise alone, means of levels that do nothing differ as well
    return (rows[::-1] if falling else rows), falling


def _above(one: Row, other: Row) -> bool:
    """True where a mean lies above another, and outside of their intervals where there are any."""
    low, high = one["score_low"], other["score_high"]
    return bool(one["score_mean"] > other["score_mean"] and not low <= high)


def _goal(n: float) -> float:
    """Share that n chips must show for a range to go on: `GOAL`, or the most so few can show where that is less."""
    return min(GOAL, (1 - CONFIDENCE) ** (1 / n)) if n > 0 else GOAL


def _keeps_goal(n: float, bound: float) -> bool:
    return n > 0 and bound >= _goal(n) - 1e-12


def _most(row: Any) -> str:
    """Words on a `_goal` below `GOAL`, where so few chips cannot show more."""
    return f", the most that {_count(int(row['n']))} can show" if row["n"] > 0 and _goal(row["n"]) < GOAL else ""


def _at_least(share: float) -> str:
    return percent(share, bound="low")


def _value(x: str | None, row: Any) -> str:
    unit = unit_of(x) if x and x != TIME else ""
    return f"{text_of(row[x], x or '')} {unit}".rstrip()


def _at(x: str | None, row: Any) -> str:
    return f"{x} = {_value(x, row)}" if x else ""


def _chips(rows: Sequence[Row]) -> str:
    low, high = (int(end(row["n"] for row in rows)) for end in (min, max))
    return f"{low}–{high} chips" if low < high else _count(low)


def _count(n: int) -> str:
    return f"{n} {'chip' if n == 1 else 'chips'}"


def _joined(parts: Sequence[str]) -> str:
    words = ", ".join(part for part in parts if part)
    return words or "The point asked for"
