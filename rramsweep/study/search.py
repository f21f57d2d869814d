"""The record of a design search as plain data: its trials, the front, and the front again on fresh seeds.

It is written from Optuna's storage, so that tables and plots need neither Optuna nor its storage.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rramsweep.errors import ValidationError
from rramsweep.files import read_regular, write_atomic

SEARCH_FILE = "study.json"

COMPLETE, FAILED = "complete", "failed"


@dataclass(frozen=True)
class SearchTrial:
    """One design that a search tried.

    Args:
        number: in the study, from 0.
        state: `complete` or `failed`.
        params: swept parameters by override name.
        values: of the objectives, empty of a failed trial.
        fresh: the same on seeds that the search did not use, empty where it was not run on any.
    """

    number: int
    state: str
    params: Mapping[str, Any]
    values: Sequence[float] = ()
    fresh: Sequence[float] = ()


@dataclass(frozen=True)
class Search:
    """A search so far.

    Args:
        objectives: columns that are made best.
        directions: `minimize` or `maximize` of each.
        seeds: first and last of the search, in words.
        fresh_seeds: the same of the run that confirms its front, empty before.
        trials: in the study's order.
        importances: `{objective: {parameter: share}}`; empty where too few trials tell.
    """

    objectives: Sequence[str]
    directions: Sequence[str]
    seeds: str
    fresh_seeds: str = ""
    trials: Sequence[SearchTrial] = ()
    importances: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def complete(self) -> list[SearchTrial]:
        """Trials with values."""
        return [trial for trial in self.trials if trial.state == COMPLETE]

    def front(self) -> list[SearchTrial]:
        """Trials that no other one is better than in every objective, best of the first objective first.

        Of trials with equal values the first one stands for all.
        """
        keys: dict[tuple[float, ...], SearchTrial] = {}
        for trial in self.complete:
            keys.setdefault(self.losses(trial.values), trial)
        kept = [key for key in keys if not any(other != key and _covers(other, key) for other in keys)]
        return [keys[key] for key in sorted(kept)]

    def losses(self, values: Sequence[float]) -> tuple[float, ...]:
        """Values with the sign that makes less better."""
        return tuple(-v if d == "maximize" else v for v, d in zip(values, self.directions, strict=True))

    def save(self, folder: Path) -> None:
        """Write `study.json` into the folder of the search."""
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / SEARCH_FILE, json.dumps(asdict(self), indent=1).encode())

    @staticmethod
    def load(folder: Path) -> Search | None:
        """The record of a folder, None where it has none.

        Raises:
            ValidationError: the file is not such a record.
        """
        path = folder / SEARCH_FILE
        if not path.is_file():
            return None
        try:
            document = json.loads(read_regular(path).decode())
            trials = [SearchTrial(**trial) for trial in document.pop("trials")]
            search = Search(**document, trials=trials)
            for trial in search.complete:
                for values in (trial.values, trial.fresh or trial.values):
                    search.losses([float(value) for value in values])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValidationError(
                f"must be the record of a search, but {path} is not ({error})", "run the command again"
            ) from error
        return search


def _covers(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True))
