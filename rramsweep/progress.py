"""How far the shards of a sweep are: a tally each, in a file that the driver can watch under any launcher."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Tally:
    """Trials a shard has finished, by outcome."""

    ok: int = 0
    failed: int = 0

    @property
    def done(self) -> int:
        return self.ok + self.failed


class ProgressFile:
    """A shard's tally in a file of the sweep's folder, so that the driver can watch under any launcher."""

    def __init__(self, folder: Path, shard: int, every_s: float = 0.25) -> None:
        self._path = folder / f".progress-{shard}.json"
        self._every_s = every_s
        self._written = 0.0
        self._tally = Tally()

    def __call__(self, tally: Tally) -> None:
        self._tally = tally
        now = time.monotonic()
        if now - self._written < self._every_s:
            return
        self.write()

    def write(self) -> None:
        """Write the last tally now."""
        tally, self._written = self._tally, time.monotonic()
        temporary = self._path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps({"ok": tally.ok, "failed": tally.failed}), encoding="utf-8")
        temporary.replace(self._path)

    @staticmethod
    def total(folder: Path) -> Tally:
        """The tallies of all shards that have reported so far."""
        tally = Tally()
        for path in folder.glob(".progress-*.json"):
            try:
                counts = json.loads(path.read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue
            tally.ok += counts["ok"]
            tally.failed += counts["failed"]
        return tally

    @staticmethod
    def clear(folder: Path) -> None:
        """Remove what earlier runs left."""
        for path in folder.glob(".progress-*"):
            path.unlink(missing_ok=True)
