"""The table of a design search, in the texts that terminal and page share: the front, as searched and confirmed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rramsweep.reporting.axis import text_of
from rramsweep.study.search import Search, SearchTrial


def search_table(search: Search) -> tuple[list[str], list[list[str]]]:
    """Column names and rows of the front: trial, parameters, each objective as searched and on fresh seeds."""
    front = search.front()
    params = list(dict.fromkeys(name for trial in front for name in trial.params))
    numbers = [text for name in search.objectives for text in (name, f"{name}, fresh seeds")]
    return ["trial", *params, *numbers], [_row(trial, params) for trial in front]


def search_words(search: Search) -> list[str]:
    """Sentences on a search for terminal and page."""
    front, several = search.front(), len(search.objectives) > 1
    if not front:
        return [f"No trial of {len(search.trials)} has finished"]
    failed = len(search.trials) - len(search.complete)
    goals = ", ".join(f"{d} {name}" for name, d in zip(search.objectives, search.directions, strict=True))
    counted = f"{len(search.complete)} trials{f', {failed} failed' if failed else ''}"
    found = f"{len(front)} designs on the front" if several else f"trial {front[0].number} is best"
    words = [f"{goals[0].upper()}{goals[1:]} over seeds {search.seeds}: {counted}, {found}"]
    luck = "A search favours what suits the chips it sees"
    if search.fresh_seeds:
        words.append(f"{luck}, which the numbers of fresh seeds {search.fresh_seeds} are free of: report those")
    else:
        words.append(f"{luck}: no design was run on fresh seeds yet")
    return words


def _row(trial: SearchTrial, params: list[str]) -> list[str]:
    values: list[Any] = [trial.params.get(name) for name in params]
    fresh: Sequence[float | None] = trial.fresh or [None] * len(trial.values)
    numbers = [text for pair in zip(trial.values, fresh, strict=True) for text in map(_number, pair)]
    return [str(trial.number), *("-" if value is None else text_of(value) for value in values), *numbers]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
