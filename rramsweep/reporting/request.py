"""What a sweep was asked for, from its plan, and what of it is still missing."""

from __future__ import annotations

from typing import Any

import pandas as pd

from rramsweep.analysis.grouping import inputs_word, scales
from rramsweep.analysis.schema import ENDED
from rramsweep.reporting.axis import text_of
from rramsweep.scale import FRACTION, Scale, drop_for
from rramsweep.study.plan import Plan
from rramsweep.study.stopping import HALF_WIDTH, Fixed, Interval
from rramsweep.units import in_words

# Of more values than these the page names the first ones, and how many there are.
_VALUES_SHOWN = 40


def planned(plan: Plan, name: str) -> list[Any]:
    """The values of a choice or parameter over the points of a plan, each once, in its order."""
    return list(dict.fromkeys({**point.choices, **point.params}.get(name) for point in plan.points))


def unfinished(frame: pd.DataFrame, plan: Plan | None) -> str:
    """That a sweep has not run to its end, how far it is and what it has nothing of yet; empty where it has ended."""
    if plan is None:
        return ""
    if isinstance(plan.settings.stopping, Fixed):
        left, most = plan.n_trials > len(frame), ""
    else:
        ended = set(frame.loc[frame[ENDED].notna(), "point_id"]) if ENDED in frame else set()
        left, most = not ended.issuperset(point.point_id for point in plan.points), "at most "
    if not left:
        return ""
    done = frame[frame["status"] == "ok"]
    missing = []
    for name in plan.swept:
        there = {text_of(value, name) for value in done[name].unique()} if name in done else set()
        absent = [text for value in planned(plan, name) if (text := text_of(value, name)) not in there]
        # A value that no chip has yet is worth a word, all of them are not: then there is no answer.
        if name in done and there and absent:
            missing.append(f"{name} {_some(absent)}")
    told = f"; no chip yet at {', '.join(missing)}" if missing else ""
    return f"unfinished: {len(frame)} of {most}{plan.n_trials} trials{told}"


def asked(frame: pd.DataFrame, summary: pd.DataFrame, plan: Plan | None) -> dict[str, str]:
    """What was asked, by name: axes with all their values, points, chips, trials, and what holds for all of them."""
    told = {}
    for name in summary.attrs["by"]:
        if name == ENDED:
            continue
        values = planned(plan, name) if plan else list(summary[name].drop_duplicates()) if name in summary else []
        told[f"axis {name}"] = f"{len(values)}: {_some([text_of(value, name) for value in values])}"
    told = told or {"axes": "none, one point"}
    done = int((frame["status"] == "ok").sum())
    if plan is None:
        return {**told, "trials": f"{done} finished"}
    told["points"] = str(len(plan.points))
    told["chips a point"] = chips_in_words(plan)
    most = "" if isinstance(plan.settings.stopping, Fixed) else "at most "
    told["trials"] = f"{done} finished of {most}{plan.n_trials}"
    told["first seed"] = str(plan.settings.seed)
    if len(frame):
        counts = sorted(frame["n_images"].dropna().unique())
        told[f"{inputs_word(frame)} a chip"] = ", ".join(str(count) for count in counts)
    drops = {metric.name: drop_for([metric], summary.attrs["yield_drop"]) for metric in scales(frame)}
    words = {name: "none" if drop is None else f"{drop:g}" for name, drop in drops.items()}
    told["yield_drop"] = ", ".join(words.values() if len(words) == 1 else (f"{words[name]} ({name})" for name in words))
    times = {point.config["t_s"] for point in plan.points}
    told["t_s"] = ", ".join(in_words(time) for time in times) if len(times) < 5 else f"{len(times)} times"
    if plan.settings.held_fixed:
        told["held fixed"] = ", ".join(plan.settings.held_fixed)
    analog = {
        k: v for p in plan.points for k, v in p.params.items() if k.startswith("analog.") and v not in ("[]", None)
    }
    return told | {name: str(value) for name, value in analog.items() if value not in ('["*"]', False)}


def chips_in_words(plan: Plan) -> str:
    """How many chips a point gets: a number, or what a stopping rule waits for."""
    rule = plan.settings.stopping
    if not isinstance(rule, Interval):
        return str(plan.settings.chips)
    half = HALF_WIDTH if rule.half_width is None else rule.half_width
    units = {(scale.unit, scale.distance) for scale in (Scale.of(point.params) for point in plan.points)}
    ((unit, distance),) = units if len(units) == 1 else [("", "")]
    points = distance.removesuffix("s") if 100 * half == 1 else distance
    width = f"{100 * half:g} {points}" if unit == FRACTION else f"{half:g} {distance}".rstrip()
    return (
        f"{rule.min_chips} to {rule.max_chips}, until the 95 % t interval of the mean is at most {width} either side; "
        f"looked at after {rule.min_chips} and every {rule.batch} more"
    )


def _some(texts: list[str]) -> str:
    return ", ".join(texts[:_VALUES_SHOWN]) + (", ..." if len(texts) > _VALUES_SHOWN else "")
