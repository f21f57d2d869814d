"""Run a sweep again and again in forked children and kill each at a random moment; helper of test_resume.

Usage: python killed.py KILLS SIGNAL LONGEST_S SEED OVERRIDE...

Imports are paid once and children are forked before torch has started a thread, so that twenty kills take seconds.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path


def wait_for_rows(store: Path, child: int, most_s: float = 60.0) -> None:
    """Until the store holds more facts than now, or the child has ended."""
    before, until = len(list(store.glob("facts-*"))), time.monotonic() + most_s
    while time.monotonic() < until and len(list(store.glob("facts-*"))) <= before:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.02)


def main() -> None:
    kills, signal_name, longest_s, seed = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    overrides = sys.argv[5:]
    from rramsweep.cli.main import main as command
    from rramsweep.simulation import shard

    shard.FLUSH_S = 0.1  # so that the short runs of a test keep something
    rng = random.Random(seed)
    (store,) = (Path(o.removeprefix("store=")) for o in overrides if o.startswith("store="))
    for kill in range(kills):
        child = os.fork()
        if child == 0:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            try:
                command(overrides)
            except SystemExit as stop:
                os._exit(int(stop.code or 0))
            os._exit(0)
        # Not at once: Python drops an interrupt that comes while a child is still setting itself up after the fork.
        time.sleep(0.2)
        if kill % 2:  # on a busy machine all moments might fall into the start of a sweep
            wait_for_rows(store, child)
            time.sleep(rng.uniform(0, longest_s / 10))
        else:
            time.sleep(rng.uniform(0, longest_s))
        os.kill(child, getattr(signal, signal_name))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
