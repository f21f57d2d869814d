"""One self-contained page of a sweep: the answer, what was asked, figures, the table, sources, what went wrong."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from rramsweep.analysis.grouping import inputs_word
from rramsweep.analysis.schema import METRIC
from rramsweep.analysis.summary import at_chance, interval_words, tail_heading, tail_text
from rramsweep.intervals import T
from rramsweep.reporting.axis import text_of
from rramsweep.reporting.cost_table import COST, cost_table
from rramsweep.reporting.findings import Findings, mixed_executions
from rramsweep.reporting.recovery_table import RECOVERED, Words, recovery_table
from rramsweep.reporting.request import request
from rramsweep.reporting.robustness_plot import beyond_source
from rramsweep.reporting.search_table import search_table
from rramsweep.reporting.style import LeftOut
from rramsweep.scale import Bound, Scale, percent
from rramsweep.study.plan import Plan
from rramsweep.study.search import Search

PAGE_FILE = "report.html"
TEMPLATE = "report.html.j2"

# What an option says of itself when its number is none that a source gives.
_PLACEHOLDER = "placeholder"
_FROM_MEMORY = "[M"
# How an option's comment says that a parameter counts under a value of another one only.
_READ_BY = re.compile(r"\bread by (\w+)=(\w+)")
_ERRORS_SHOWN = 20
# Shares of a row, and which of them is a bound.
_SHARES: Mapping[str, Bound | None] = {"yield_bound": "low", "yield_share": None}
_TAIL = (
    "the worst chip; from 59 chips on the one-sided 95 % bound on the quantile that 5 % of chips lie beyond (q05_low, "
    "q95_high)"
)

Row = dict[str, Any]


def render(
    frame: pd.DataFrame,
    summary: pd.DataFrame,
    found: Findings,
    plan: Plan | None,
    runs: Sequence[Mapping[str, Any]],
    pictures: Mapping[str, bytes],
    left_out: Mapping[str, Sequence[LeftOut]] | None = None,
    search: Search | None = None,
) -> str:
    """The page as HTML, in one piece: images are data in it, and it asks no network for anything.

    Args:
        frame: results.
        summary: of `summarize`, ``attrs["by"]`` names the columns that tell its rows apart.
        found: its findings.
        plan: of the sweep; None where the folder has none.
        runs: what `run.json` holds, earliest first; empty for a folder of before there was one.
        pictures: caption -> PNG, in the order in which they are shown.
        left_out: caption -> what the picture does not draw.
        search: that chose the points, if one did.
    """
    used = _components(runs)
    return _template().render(
        name=plan.settings.name if plan else "results",
        found=found,
        request=request(frame, summary, plan),
        command=plan.settings.command if plan else None,
        baselines=_baselines(frame, summary.attrs["by"]),
        pictures={name: base64.b64encode(png).decode() for name, png in pictures.items()},
        left_out=left_out or {},
        recovery=_beside(recovery_table(frame), RECOVERED),
        cost=_beside(cost_table(summary), COST),
        search=_search(search),
        head=_head(summary),
        rows=_rows(summary),
        components=[c for c in used if c["option"] != "ideal"],
        ideal=[c["group"] for c in used if c["option"] == "ideal"],
        chosen={c["group"] for c in used if c["option"] != "ideal"},
        tags={tag: meaning for c in used for tag, meaning in c["tags"].items()},
        failures=_failures(frame),
        errors_shown=_ERRORS_SHOWN,
        warnings=_warnings(frame, summary, plan, used),
        runs=[{**run, "took": _took(run)} for run in runs],
        chip_seconds=float(frame["seconds"].sum()),
        ways=_ways(frame),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("rramsweep.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE)


def _baselines(frame: pd.DataFrame, by: Sequence[str]) -> dict[str, Any]:
    groups = ["model", "data", "device", "mapping"]
    axes = [name for name in by if name.split(".")[0] in (*groups, "analog") and name not in groups]
    keys = [*groups, *axes, *METRIC, "n_images"]
    done = frame[frame["status"] == "ok"]
    rows = done[[*keys, "digital_score", "ideal_score"]].drop_duplicates([*keys, "ideal_score"])
    shown = []
    for _, row in rows.iterrows():
        scale = Scale.of(row)
        scores = [scale.text(row[name]) for name in ("digital_score", "ideal_score")]
        shown.append([text_of(row[name]) for name in (*groups, *axes)] + [scale.name, str(row["n_images"]), *scores])
    return {
        "head": [*groups, *axes, "metric", inputs_word(frame) if len(frame) else "inputs", "digital", "ideal chip"],
        "rows": shown,
    }


def _beside(found: tuple[list[str], list[list[str]]] | None, words: Words) -> dict[str, Any] | None:
    if found is None:
        return None
    by, rows = found
    return {"words": words.below, "head": [*by, *words.numbers], "rows": rows, "names": len(by)}


def _search(search: Search | None) -> dict[str, Any] | None:
    if search is None:
        return None
    head, rows = search_table(search)
    return {"head": head, "rows": rows}


def _head(summary: pd.DataFrame) -> list[dict[str, str]]:
    by = [{"name": name, "hint": "axis"} for name in summary.attrs["by"]]
    metrics = summary[list(METRIC)].drop_duplicates() if len(summary) else summary.head(0)
    unit = Scale.of(metrics.iloc[0]) if len(metrics) == 1 else None
    mean = f"{unit.mean_name} ({unit.shown_unit})".removesuffix(" ()") if unit else "mean score"
    interval = f"end of the {interval_words(summary)} of the mean"
    return [
        *by,
        {"name": "chips", "hint": "chips that finished"},
        {"name": "failed", "hint": "trials that did not"},
        {"name": mean, "hint": "mean over chips"},
        {"name": "from", "hint": f"lower {interval}"},
        {"name": "to", "hint": f"upper {interval}"},
        {"name": tail_heading(summary), "hint": _TAIL},
        {"name": "yield at least, %", "hint": "one-sided lower 95 % bound on the share of good chips (yield_bound)"},
        {"name": "yield seen, %", "hint": "share of good chips among these (yield_share)"},
    ]


def _rows(summary: pd.DataFrame) -> list[list[dict[str, Any]]]:
    by, tail = summary.attrs["by"], tail_heading(summary)
    rows = zip(at_chance(summary), summary.iterrows(), strict=True)
    return [_row(row, by, tail, known=not guessed) for guessed, (_, row) in rows]


def _row(row: Any, by: Sequence[str], tail: str, known: bool) -> list[dict[str, Any]]:
    scale = Scale.of(row)
    scores: list[tuple[str, Bound | None]] = [("score_mean", None), ("score_low", "low"), ("score_high", "high")]
    shares: list[tuple[float, Bound | None]] = [
        (row[name] if known else math.nan, bound) for name, bound in _SHARES.items()
    ]
    return [
        *(
            {"text": text_of(row[name], name), "key": _key(row[name]), "number": not isinstance(row[name], str)}
            for name in by
        ),
        *({"text": f"{row[name]:.0f}", "key": int(row[name]), "number": True} for name in ("n", "n_failed")),
        *(
            {"text": scale.number(row[name], bound=bound), "key": _key(row[name]), "number": True}
            for name, bound in scores
        ),
        {"text": tail_text(row, tail), "key": _key(row["tail"]), "number": True},
        *({"text": percent(value, 1, bound), "key": _key(value), "number": True} for value, bound in shares),
    ]


def _key(value: Any) -> Any:
    """Sort key of a column: empty for a null, which comes last either way."""
    return "" if pd.isna(value) else value


def _failures(frame: pd.DataFrame) -> list[dict[str, Any]]:
    failed = frame[frame["status"] == "failed"]
    groups = failed.groupby("error", sort=False, dropna=False)
    rows = [
        {"error": str(error), "n": len(part), "points": part["point_id"].nunique(), "seed": int(part["seed"].min())}
        for error, part in groups
    ]
    return sorted(rows, key=lambda row: -row["n"])


def _warnings(frame: pd.DataFrame, summary: pd.DataFrame, plan: Plan | None, used: Iterable[Row]) -> list[str]:
    beyond = beyond_source(frame)
    warnings = [note for note in (plan.settings.notes if plan else []) if note not in beyond]
    warnings += [f"{note[0].upper()}{note[1:]}." for note in mixed_executions(frame)]
    missing = plan.n_trials - len(frame) if plan else 0
    ended = summary.get("stopping.ended")
    if ended is None and missing > 0:
        warnings.append(
            f"{missing} of {plan.n_trials if plan else 0} trials are missing: run the same command to go on."
        )
    if ended is not None:
        capped, going = int((ended == "cap").sum()), int(ended.isna().sum())
        if capped:
            warnings.append(
                f"{capped} of {len(ended)} points ended at the cap of chips, with a wider interval than asked."
            )
        if going:
            warnings.append(f"{going} of {len(ended)} points have not ended: run the same command to go on.")
        taken = (
            "the intervals take" if summary.attrs["interval"] == T else "intervals of other numbers than the mean take"
        )
        warnings.append(f"The number of chips followed a stopping rule; {taken} it as fixed, which costs coverage.")
    warnings += [f"{words[0].upper()}{words[1:]}." for words in beyond]
    for c in used:
        about = " ".join([c["meaning"], *c["source"]])
        if _unsourced(about):
            warnings.append(f"{c['group']}={c['option']} holds placeholders: {about}")
        values = {p["name"]: p["values"] for p in c["parameters"]}
        for p in c["parameters"]:
            if _unsourced(p["comment"]) and _is_read(p["comment"], c["group"], values):
                warnings.append(f"{p['name']} = {', '.join(p['values'])} is a placeholder: {p['comment']}")
    return list(dict.fromkeys(warnings))


def _unsourced(comment: str) -> bool:
    return _PLACEHOLDER in comment.lower() or _FROM_MEMORY in comment


def _is_read(comment: str, group: str, values: Mapping[str, Sequence[str]]) -> bool:
    """True unless a parameter says what it is `read by`, and no point has that."""
    reader = _READ_BY.search(comment)
    return reader is None or reader[2] in values.get(f"{group}.{reader[1]}", [reader[2]])


def _components(runs: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Components of all runs, the latest account of each with the values of all; jobs of one sweep have one each."""
    found: dict[tuple[str, str], Row] = {}
    for c in (c for run in runs for c in run["components"]):
        earlier = found.get((c["group"], c["option"]), {"parameters": []})["parameters"]
        values = {p["name"]: p["values"] for p in earlier}
        parameters = [
            {**p, "values": list(dict.fromkeys([*values.get(p["name"], []), *p["values"]]))} for p in c["parameters"]
        ]
        found[c["group"], c["option"]] = {**c, "parameters": parameters}
    return list(found.values())


def _took(run: Mapping[str, Any]) -> str:
    if run["ended"] is None:
        return "did not end by itself"
    seconds = (datetime.fromisoformat(run["ended"]) - datetime.fromisoformat(run["started"])).total_seconds()
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _ways(frame: pd.DataFrame) -> list[str]:
    """Ways in which trials were run, each once: part of what makes their scores repeatable to the last bit."""
    rows = frame[["batch_size", "memory_format", "threads"]].drop_duplicates().dropna()
    return [f"batch_size={b} memory_format={m} threads={t}" for b, m, t in rows.itertuples(index=False)]
