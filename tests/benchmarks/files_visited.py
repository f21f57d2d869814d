"""Files of the package that a sweep visits before its first trial: `python tests/benchmarks/files_visited.py`.

Counted are calls of functions (not the imports) between the command line and the first chip: distinct files, and how
often a file is entered again that had been left. A store that exists already, and networks measured before, shorten it;
so the sweep runs in an empty folder.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import chdir
from pathlib import Path
from types import FrameType
from typing import Any

import rramsweep
import rramsweep.cli.application  # before the count begins: imports are not counted
from rramsweep.cli.main import main

PACKAGE = Path(rramsweep.__file__).parent
FIRST_TRIAL = ("passes.py", "run_trials")
COMMAND = ["-m", "model=digits_mlp", "data=digits", "chips=2", "drift.relative_drift=0.1,0.2"]


class FirstTrialError(BaseException):
    """Ends the command where the count ends."""


def visits(command: list[str]) -> list[str]:
    """Files in the order in which they are entered, each as often as it is entered from another."""
    entered: list[str] = []

    def profile(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        path = Path(code.co_filename)
        if event != "call" or code.co_name == "<module>" or not path.is_relative_to(PACKAGE):
            return
        name = str(path.relative_to(PACKAGE))
        if not entered or entered[-1] != name:
            entered.append(name)
        if (path.name, code.co_name) == FIRST_TRIAL:
            sys.setprofile(None)
            raise FirstTrialError

    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        sys.setprofile(profile)
        try:
            main(command)
        except FirstTrialError:
            pass
        finally:
            sys.setprofile(None)
    return entered


if __name__ == "__main__":
    seen = visits(COMMAND)
    files = dict.fromkeys(seen)
    print(f"{len(files)} files visited before the first trial, {len(seen) - len(files)} returns to one already left")
    print("\n".join(files))
