"""Progress of the shards of a sweep: a tally each, in a file that the driver can watch under any launcher."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from rramsweep.files import read_regular, remove_if_old, remove_leftovers, temporary_name
from rramsweep.study.plan import PLAN_FILE

log = logging.getLogger(__name__)


@dataclass
class Tally:
    """Trials a shard has finished, by outcome."""

    ok: int = 0
    failed: int = 0

    @property
    def done(self) -> int:
        """Number of finished trials."""
        return self.ok + self.failed


class ProgressFile:
    """A shard's tally in a file of the sweep's folder, so that the driver can watch under any launcher."""

    def __init__(self, folder: Path, shard: int, every_s: float = 0.25) -> None:
        self._path = folder / f".progress-{shard}.json"
        self._every_s = every_s
        self._written = 0.0
        self._tally = Tally()

    def __call__(self, tally: Tally) -> None:
        """Write the tally, at most once every `every_s` seconds."""
        self._tally = tally
        now = time.monotonic()
        if now - self._written < self._every_s:
            return
        self.write()

    def write(self) -> None:
        """Write the last tally now."""
        tally, self._written = self._tally, time.monotonic()
        temporary = temporary_name(self._path)
        temporary.write_text(json.dumps({"ok": tally.ok, "failed": tally.failed}), encoding="utf-8")
        temporary.replace(self._path)

    @staticmethod
    def total(folder: Path) -> Tally:
        """The tallies of all shards that have reported so far."""
        tally = Tally()
        for path in folder.glob(".progress-*.json"):
            ok, failed = _counts(path)
            tally.ok += ok
            tally.failed += failed
        return tally

    @staticmethod
    def clear(folder: Path) -> None:
        """Remove what earlier runs left, whoever wrote it; what is no file of a shard is left alone."""
        for pattern in (".progress-*", "..progress-*.tmp"):
            for path in folder.glob(pattern):
                if path.is_symlink() or not path.is_dir():
                    path.unlink(missing_ok=True)

    @staticmethod
    def clear_beside(folder: Path) -> None:
        """Remove what killed sweeps left in the folders beside this one, once it is too old to be in use."""
        for plan in folder.parent.glob(f"*/{PLAN_FILE}"):  # the folders of sweeps, and no others
            try:
                remove_leftovers(plan.parent)
                for path in plan.parent.glob(".progress-*.json"):
                    remove_if_old(path)
            except OSError as error:
                log.warning("temporary files in %s stay there (%s)", plan.parent, error.strerror)


def _counts(path: Path) -> tuple[int, int]:
    """Trials that went well and trials that failed; none of a file that is no tally.

    Such a file is not worth a word: its shard writes it anew four times a second, and it is for the eye alone.
    """
    try:
        counts = json.loads(read_regular(path))
        ok, failed = counts["ok"], counts["failed"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return 0, 0
    return (ok, failed) if type(ok) is type(failed) is int and min(ok, failed) >= 0 else (0, 0)
