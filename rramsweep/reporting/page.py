"""One self-contained page of a sweep: scores, figures, bounds, the request, the table, sources, what went wrong."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from rramsweep import __version__
from rramsweep.analysis.grouping import inputs_word
from rramsweep.analysis.schema import ENDED, METRIC
from rramsweep.analysis.summary import at_chance, interval_words, tail_heading
from rramsweep.analysis.tables import tail_text
from rramsweep.intervals import T
from rramsweep.reporting.accuracy import accuracy
from rramsweep.reporting.axis import text_of
from rramsweep.reporting.cost_table import COST, cost_table
from rramsweep.reporting.equation import mathml
from rramsweep.reporting.findings import Findings, doubtful, few_chips, mixed_executions
from rramsweep.reporting.recovery_table import RECOVERED, Words, recovery_table
from rramsweep.reporting.request import planned, request
from rramsweep.reporting.robustness_plot import beyond_source, shaded
from rramsweep.reporting.search_table import search_table
from rramsweep.reporting.sources import bibtex
from rramsweep.reporting.style import LeftOut
from rramsweep.reporting.vector import inline
from rramsweep.scale import Bound, Scale, percent
from rramsweep.study.plan import Plan
from rramsweep.study.search import Search

PAGE_FILE = "report.html"
TEMPLATE, STYLE, SCRIPT = "report.html.j2", "report.css", "report.js"

# What an option says of itself when its number is none that a source gives.
_PLACEHOLDER = "placeholder"
_FROM_MEMORY = "[M"
# How an option's comment says that a parameter counts under a value of another one only.
_READ_BY = re.compile(r"\bread by (\w+)=(\w+)")
_ERRORS_SHOWN = 20
# How a parameter of a rule for some layers begins.
_RULE = "analog.layers."
# What a line of a sentence does not break: `86.2–87.0`, `88.2 %`, `top-1`.
# Of a path no part: it has no unit, and breaks where it must.
_UNBROKEN = re.compile(
    r"((?<![\w/-])\d[\d.,]*\d(?:–[\d.]+)?(?: %)?(?![\w/-])|\b\d(?: %)|(?<![\w/-])[A-Za-z]+-\d+\b(?![\w/-]))"
)
_SHARES = ("yield_bound", "yield_share")
_TAIL = (
    "the worst chip; from 59 chips on the one-sided 95 % bound on the quantile that 5 % of chips lie beyond (q05_low, "
    "q95_high)"
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Args:
        title: a phrase on what it shows.
        svg: the SVG file.
        caption: phrases of its plots' captions.
        files: names of the files beside the page that hold it.
        left_out: values that it does not draw.
    """

    title: str
    svg: bytes
    caption: Sequence[str] = ()
    files: Sequence[str] = ()
    left_out: Sequence[LeftOut] = ()


def render(
    frame: pd.DataFrame,
    summary: pd.DataFrame,
    found: Findings,
    plan: Plan | None,
    runs: Sequence[Mapping[str, Any]],
    pictures: Sequence[Picture] = (),
    search: Search | None = None,
) -> str:
    """Render the page as HTML, in one piece: figures are in it, and it asks no network for anything.

    Args:
        frame: results.
        summary: of `summarize`, ``attrs["by"]`` names the columns that tell its rows apart.
        found: its findings.
        plan: of the sweep; None where the folder has none.
        runs: what `run.json` holds, earliest first; empty for a folder of before there was one.
        pictures: in the order in which they are shown, the first one beside the scores.
        search: that chose the points, if one did.
    """
    used = _components(runs)
    shown = summary.copy()
    if frame.attrs.get("identical_chips", False):  # one chip, run several times, bounds no share
        shown["yield_bound"] = math.nan
    columns = {
        "scores": None
        if search is not None
        else accuracy(frame, summary, [name for name in summary.attrs["by"] if name != ENDED], _replaced(used)),
        "search": _search(search),
        "baselines": _baselines(frame, summary.attrs["by"]),
        "recovery": _beside(recovery_table(frame), RECOVERED),
        "cost": _beside(cost_table(summary), COST),
        "rows": _rows(shown),
        "failures": _failures(frame),
        "notes": _source_notes(used),
        "layers": _layers(plan),
    }
    script = _environment().get_template(SCRIPT).render()
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            name=plan.settings.name if plan else "results",
            found=found,
            request=request(frame, summary, plan),
            command=plan.settings.command if plan else None,
            pictures=[_shown(picture, i, beyond_source(frame)) for i, picture in enumerate(pictures)],
            contents=_contents(columns, len(pictures)),
            head=_head(shown),
            n_axes=len(summary.attrs["by"]),
            beside=list(dict.fromkeys(name for picture in pictures for name in picture.files)),
            components=[c for c in used if not _is_null(c)],
            ideal=[c["group"] for c in used if _is_null(c)],
            chosen={c["group"] for c in used if not _is_null(c)},
            tags={tag: meaning for c in used for tag, meaning in c["tags"].items()},
            bibtex=_bibtex(used, runs),
            errors_shown=_ERRORS_SHOWN,
            warnings=_warnings(frame, summary, plan),
            runs=[{**run, "took": _took(run)} for run in runs],
            chip_seconds=float(frame["seconds"].sum()),
            ways=_ways(frame),
            style=Markup(_environment().get_template(STYLE).render()),
            script=Markup(script),
            script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
            **columns,
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("rramsweep.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"mathml": mathml, "breakable": _breakable, "foldable": _foldable}
    environment.filters |= {"prose": _prose, "clock": _clock}
    return environment


def _breakable(command: str) -> Markup:
    """A command that may wrap behind a comma, and within no word."""
    return escape(command).replace(",", Markup(",<wbr>"))


def _foldable(name: str) -> Markup:
    """A column's name that may wrap at its dots and underscores."""
    return Markup("<wbr>").join(re.split(r"(?<=[._])", name))


def _prose(sentence: str) -> Markup:
    """A sentence in which no number is parted from its unit, and no name such as top-1 within."""
    whole = Markup('<span class="name">{}</span>').format
    return Markup("").join(whole(part) if i % 2 else escape(part) for i, part in enumerate(_UNBROKEN.split(sentence)))


def _clock(time: str) -> str:
    """A moment as people write it, from ISO 8601: `2026-11-28 16:50 UTC`."""
    moment = datetime.fromisoformat(time)
    return f"{moment:%Y-%m-%d %H:%M} {moment.tzname() or ''}".rstrip()


def _shown(picture: Picture, number: int, warned: Sequence[str]) -> dict[str, Any]:
    """A figure for the template, without what the warnings say as well."""
    svg = Markup(inline(picture.svg, f"f{number}-", picture.title))
    return {
        "title": picture.title,
        "svg": svg,
        "caption": "; ".join(part for part in picture.caption if part not in map(shaded, warned)),
        "left_out": picture.left_out,
    }


def _contents(parts: Mapping[str, Any], n_pictures: int) -> list[tuple[str, str]]:
    """Anchor and title of each section that the page has."""
    sections = [
        ("bounds", "Bounds", parts["scores"]),
        ("asked", "Request", True),
        ("baselines", "Baselines", parts["baselines"]["rows"]),
        ("figures", "Figures", n_pictures > 1),
        ("search", "The search", parts["search"]),
        ("recovered", "Recovery", parts["recovery"]),
        ("cost", "Cost", parts["cost"]),
        ("summary", "Summary", parts["rows"]),
        ("layers", "Layers", parts["layers"]),
        ("components", "Devices and effects", True),
        ("failed", "Failed trials", parts["failures"]),
        ("warnings", "Warnings", True),
        ("notes", "Notes on sources", parts["notes"]),
        ("machine", "Machine", True),
    ]
    return [(anchor, title) for anchor, title, present in sections if present]


def _layers(plan: Plan | None) -> dict[str, Any] | None:
    """Rules by which layers differ, and the command that measures each layer; None where all layers are alike."""
    names = dict.fromkeys(name for point in (plan.points if plan else ()) for name in point.params)
    rules = [name.removeprefix(_RULE).partition(".") for name in names if name.startswith(_RULE)]
    if plan is None or not rules:
        return None
    values = [", ".join(text_of(value) for value in planned(plan, f"{_RULE}{of}.{name}")) for of, _, name in rules]
    rows = [[of, name, text] for (of, _, name), text in zip(rules, values, strict=True)]
    return {"rows": rows, "command": plan.settings.command.replace("rramsweep -m ", "rramsweep inspect ", 1)}


def _bibtex(used: Iterable[Row], runs: Sequence[Mapping[str, Any]]) -> str:
    texts = [" ".join([c["meaning"], *c["source"], *(p["comment"] for p in c["parameters"])]) for c in used]
    return bibtex(texts, runs[-1]["machine"].get("rramsweep", __version__) if runs else __version__)


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
        "names": len(groups) + len(axes) + 1,
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
    return [{"name": c.name, "hint": c.hint, "column": c.column} for c in _columns(summary)]


@dataclass(frozen=True)
class _Column:
    """A column of the table of points: its heading, a hint, its column of the summary, and how a bound is rounded."""

    name: str
    hint: str
    column: str
    bound: Bound | None = None


def _columns(summary: pd.DataFrame) -> list[_Column]:
    """The columns of which some row has a value, an axis always, and failed trials where there are any."""
    metrics = summary[list(METRIC)].drop_duplicates() if len(summary) else summary.head(0)
    unit = Scale.of(metrics.iloc[0]) if len(metrics) == 1 else None
    mean = f"{unit.mean_name} ({unit.shown_unit})".removesuffix(" ()") if unit else "mean score"
    interval = f"end of the {interval_words(summary)} of the mean"
    found = [
        _Column("chips", "chips that finished", "n"),
        _Column("failed", "trials that did not", "n_failed"),
        _Column(mean, "mean over chips", "score_mean"),
        _Column("95 % low", f"lower {interval}", "score_low", "low"),
        _Column("95 % high", f"upper {interval}", "score_high", "high"),
        _Column(tail_heading(summary), _TAIL, "tail"),
        _Column("yield at least, %", "one-sided lower 95 % bound on the share of good chips", "yield_bound", "low"),
        _Column("yield seen, %", "share of good chips among these", "yield_share"),
    ]
    known = summary.assign(n_failed=summary["n_failed"].replace(0, None))
    known.loc[at_chance(summary).to_numpy(), list(_SHARES)] = math.nan
    axes = [_Column(name, "axis", name) for name in summary.attrs["by"]]
    return axes + [c for c in found if c.column == "n" or known[c.column].notna().any()]


def _rows(summary: pd.DataFrame) -> list[list[dict[str, Any]]]:
    columns, tail, axes = _columns(summary), tail_heading(summary), len(summary.attrs["by"])
    rows = zip(at_chance(summary), summary.iterrows(), strict=True)
    return [
        [_axis_cell(row, c.column) for c in columns[:axes]]
        + [_cell(row, c, tail, known=not guessed) for c in columns[axes:]]
        for guessed, (_, row) in rows
    ]


def _axis_cell(row: Any, name: str) -> dict[str, Any]:
    return {"text": text_of(row[name], name), "key": _key(row[name]), "number": not isinstance(row[name], str)}


def _cell(row: Any, column: _Column, tail: str, known: bool) -> dict[str, Any]:
    value = row[column.column] if known or column.column not in _SHARES else math.nan
    if column.column in ("n", "n_failed"):
        return {"text": f"{value:.0f}", "key": int(value), "number": True}
    if column.column in _SHARES:
        text = percent(value, 1, column.bound)
    elif column.column == "tail":
        text = tail_text(row, tail)
    else:
        text = Scale.of(row).number(value, bound=column.bound)
    return {"text": text, "key": _key(value), "number": True}


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


def _warnings(frame: pd.DataFrame, summary: pd.DataFrame, plan: Plan | None) -> list[str]:
    beyond = beyond_source(frame)
    identical = frame.attrs.get("identical_chips", False)
    unsure = [*([] if identical else few_chips(summary)), *doubtful(summary)]
    warnings = [note for note in (plan.settings.notes if plan else []) if note not in beyond]
    warnings += [f"{note[0].upper()}{note[1:]}." for note in [*unsure, *mixed_executions(frame)]]
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
    return list(dict.fromkeys(warnings))


def _source_notes(used: Iterable[Row]) -> list[str]:
    """Sentences on what no source gives."""
    notes = []
    for c in used:
        if _unsourced(" ".join([c["meaning"], *c["source"]])):
            notes.append(f"{c['group']}={c['option']} holds placeholders.")
        values = {p["name"]: p["values"] for p in c["parameters"]}
        notes += [
            f"{p['name']} = {', '.join(p['values'])} is a placeholder."
            for p in c["parameters"]
            if _unsourced(p["comment"]) and _is_read(p["comment"], c["group"], values)
        ]
    return list(dict.fromkeys(notes))


def _unsourced(comment: str) -> bool:
    return _PLACEHOLDER in comment.lower() or _FROM_MEMORY in comment


def _is_read(comment: str, group: str, values: Mapping[str, Sequence[str]]) -> bool:
    """True unless a parameter says what it is `read by`, and no point has that."""
    reader = _READ_BY.search(comment)
    return reader is None or reader[2] in values.get(f"{group}.{reader[1]}", [reader[2]])


def _components(runs: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Components of all runs, the latest account of each with the values of all; jobs of one sweep have one each."""
    found: dict[tuple[str, str, str], Row] = {}
    for c in (c for run in runs for c in run["components"]):
        key = (c["group"], c["option"], c["target"])
        earlier = found.get(key, {"parameters": []})["parameters"]
        values = {p["name"]: p["values"] for p in earlier}
        parameters = [
            {**p, "values": list(dict.fromkeys([*values.get(p["name"], []), *p["values"]]))} for p in c["parameters"]
        ]
        found[key] = {"replaced": False, **c, "parameters": parameters}
    for c in found.values():  # what no point gives says nothing
        c["parameters"] = [p for p in c["parameters"] if p["values"] != ["null"]]
    return list(found.values())


def _is_null(c: Row) -> bool:
    """True for an option that does nothing; records of before they said so have the law of `effects.Ideal`."""
    return bool(c.get("null", c["equation"].startswith("No effect.")))


def _replaced(used: Iterable[Row]) -> dict[str, str]:
    """Class that stands in the place of an option, of each group of which an option was replaced."""
    classes: dict[str, dict[str, None]] = {}
    for c in used:
        if c["replaced"]:
            classes.setdefault(c["group"], {})[c["target"].rpartition(".")[2]] = None
    return {group: " or ".join(names) for group, names in classes.items()}


def _took(run: Mapping[str, Any]) -> str:
    if run["ended"] is None:
        return "did not end by itself"
    seconds = (datetime.fromisoformat(run["ended"]) - datetime.fromisoformat(run["started"])).total_seconds()
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _ways(frame: pd.DataFrame) -> list[str]:
    """Ways in which trials were run, each once: part of what makes their scores repeatable to the last bit."""
    rows = frame[["batch_size", "memory_format", "threads"]].drop_duplicates().dropna()
    return [f"batch_size={b} memory_format={m} threads={t}" for b, m, t in rows.itertuples(index=False)]
