"""Request of a sweep, from its plan, and the part of it that is still missing."""

from __future__ import annotations

from typing import Any

import pandas as pd

from rramsweep.analysis.grouping import inputs_word, scales
from rramsweep.analysis.schema import ENDED
from rramsweep.intervals import T
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
    """Sentence on how far a sweep is that has not run to its end, and on values without a chip; empty where it has."""
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
        present = {text_of(value, name) for value in done[name].unique()} if name in done else set()
        absent = [text for value in planned(plan, name) if (text := text_of(value, name)) not in present]
        # A value that no chip has yet is worth a word, all of them are not: then there is no answer.
        if name in done and present and absent:
            missing.append(f"{name} {_first_few(absent)}")
    gaps = f"; no chip yet at {', '.join(missing)}" if missing else ""
    return f"unfinished: {len(frame)} of {most}{plan.n_trials} trials{gaps}"


def request(frame: pd.DataFrame, summary: pd.DataFrame, plan: Plan | None) -> dict[str, str]:
    """Request by name: axes with all their values, points, chips, trials, and what holds for all of them."""
    entries: dict[str, str] = {}
    for name in summary.attrs["by"]:
        if name == ENDED:
            continue
        values = planned(plan, name) if plan else list(summary[name].drop_duplicates()) if name in summary else []
        texts = _first_few([text_of(value, name) for value in values])
        entries |= {f"swept {name}": f"{len(values)}: {texts}"} if len(values) > 1 else {name: texts}
    if not any(name.startswith("swept ") for name in entries):
        entries = {"swept": "nothing, one point", **entries}
    done = int((frame["status"] == "ok").sum())
    if plan is None:
        return {**entries, "trials": f"{done} finished"}
    entries["points"] = str(len(plan.points))
    entries["chips a point"] = chips_in_words(plan)
    most = "" if isinstance(plan.settings.stopping, Fixed) else "at most "
    entries["trials"] = f"{done} finished of {most}{plan.n_trials}"
    entries["first seed"] = str(plan.settings.seed)
    if len(frame):
        counts = sorted(frame["n_images"].dropna().unique())
        entries[f"{inputs_word(frame)} a chip"] = ", ".join(str(count) for count in counts)
    drops = {metric.name: drop_for([metric], summary.attrs["yield_drop"]) for metric in scales(frame)}
    words = {name: "none" if drop is None else f"{drop:g}" for name, drop in drops.items()}
    entries["yield_drop"] = ", ".join(
        words.values() if len(words) == 1 else (f"{words[name]} ({name})" for name in words)
    )
    if plan.settings.interval != T:
        entries["interval"] = plan.settings.interval
    times = {point.config["t_s"] for point in plan.points}
    entries["t_s"] = ", ".join(in_words(time) for time in times) if len(times) < 5 else f"{len(times)} times"
    if plan.settings.held_fixed:
        entries["held fixed"] = ", ".join(plan.settings.held_fixed)
    analog = {
        k: v for p in plan.points for k, v in p.params.items() if k.startswith("analog.") and v not in ("[]", None)
    }
    return entries | {name: str(value) for name, value in analog.items() if value not in ('["*"]', False)}


def chips_in_words(plan: Plan) -> str:
    """Number of chips a point gets, or what a stopping rule waits for."""
    rule = plan.settings.stopping
    if not isinstance(rule, Interval):
        return str(plan.settings.chips)
    half = HALF_WIDTH if rule.half_width is None else rule.half_width
    units = {(scale.unit, scale.distance) for scale in (Scale.of(point.params) for point in plan.points)}
    ((unit, distance),) = units if len(units) == 1 else [("", "")]
    points = distance.removesuffix("s") if 100 * half == 1 else distance
    width = f"{100 * half:g} {points}" if unit == FRACTION else f"{half:g} {distance}".rstrip()
    return (
        f"{rule.min_chips} to {rule.max_chips}, until the 95 % {plan.settings.interval} interval of the mean is at "
        f"most {width} either side; "
        f"looked at after {rule.min_chips} and every {rule.batch} more"
    )


def _first_few(texts: list[str]) -> str:
    return ", ".join(texts[:_VALUES_SHOWN]) + (", ..." if len(texts) > _VALUES_SHOWN else "")
