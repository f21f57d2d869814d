"""Live progress of a sweep under any launcher: a thread that watches the shards' progress files."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rramsweep.reporting.terminal import plain
from rramsweep.study.progress import ProgressFile, Tally

# A terminal is redrawn often; a log gets a line now and then.
TERMINAL_S = 0.2
LOG_S = 10.0


class Monitor:
    """Context manager: a progress bar on a terminal, plain lines elsewhere, both on standard error.

    Args:
        folder: the sweep's folder.
        total: trials that this run has to compute.
        at_most: a stopping rule may end it before.
    """

    def __init__(self, folder: Path, total: int, at_most: bool = False) -> None:
        self._folder, self._total, self._at_most = folder, total, at_most
        self._stop = threading.Event()
        self._console = Console(stderr=True, highlight=False, **plain())
        self._thread = threading.Thread(target=self._watch, name="rramsweep-progress", daemon=True)
        self._started = 0.0

    def __enter__(self) -> Monitor:
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        if self._console.is_terminal:
            self._bar()
        else:
            self._lines()

    def _bar(self) -> None:
        columns = (
            TextColumn("trials"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failed]}"),
        )
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task("trials", total=self._total, rate="", failed="")
            more = True
            while more:
                more = not self._stop.wait(TERMINAL_S)
                tally = ProgressFile.total(self._folder)
                failed = f"{tally.failed} failed" if tally.failed else ""
                progress.update(task, completed=tally.done, rate=self._rate(tally), failed=failed)

    def _lines(self) -> None:
        while not self._stop.wait(LOG_S):
            tally = ProgressFile.total(self._folder)
            elapsed = time.monotonic() - self._started
            seconds = elapsed / tally.done * (self._total - tally.done) if tally.done else None
            most = "at most " if self._at_most else ""
            self._line(tally, "" if seconds is None else f", {most}{seconds:.0f} s left")
        self._line(ProgressFile.total(self._folder))

    def _line(self, tally: Tally, left: str = "") -> None:
        failed = f", {tally.failed} failed" if tally.failed else ""
        print(
            f"{tally.done}{' of at most ' if self._at_most else '/'}{self._total} trials, "
            f"{self._rate(tally)}{left}{failed}",
            file=sys.stderr,
            flush=True,
        )

    def _rate(self, tally: Tally) -> str:
        return f"{tally.done / max(time.monotonic() - self._started, 1e-9):.1f} chips/s"
