"""Commands in processes of their own whose imports are paid once: forked from one that has computed nothing.

Otherwise a command of a test takes three times as long to import as to run. What is tested at the start of a process,
and what a command does there, has a process started anew.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

pytest.importorskip("multiprocessing.forkserver", reason="forks")
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["rramsweep.cli.application", "rramsweep.reporting.report", "tests.forked"])


def _nothing() -> None:
    return None


class Command:
    """`rramsweep ARGUMENTS...` in a forked process and a group of its own, with the methods of `subprocess.Popen`.

    Args:
        arguments: of the command line.
        cwd: the folder that it runs in.
        environment: of the process, in the place of this one's.
        before: called in the process first; a function of a module.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        before: Callable[[], None] = _nothing,
    ) -> None:
        self.args = ["rramsweep", *arguments]
        self._files = [Path(tempfile.mkstemp()[1]) for _ in range(2)]
        given = (list(arguments), cwd or Path.cwd(), dict(environment or os.environ), before, self._files)
        self._process = FORKS.Process(target=_run, args=given, daemon=False)
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Standard output and standard error, once the process has ended."""
        self.wait(timeout)
        out, err = (file.read_text() for file in self._files)
        for file in self._files:
            file.unlink()
        return out, err


def _run(
    arguments: list[str], cwd: Path, environment: dict[str, str], before: Callable[[], None], files: list[Path]
) -> None:
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment, DRIVER_PID=str(os.getpid()))
    for number, path in enumerate([os.devnull, *files]):
        opened = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = ["rramsweep", *arguments]
    sys.path.insert(0, str(cwd))
    from rramsweep.__main__ import main
    from rramsweep.reporting import report

    report.FORMATS = ("svg",)  # the page needs no other
    before()
    try:
        main()
    finally:
        # As Python ends a process, which one of multiprocessing does not.
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
