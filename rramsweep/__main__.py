"""Start of the command's process: settings that must precede torch, and nothing else."""

from __future__ import annotations

import gc
import os
import sys

from rramsweep.cli.signals import ended_by, signals_as_interrupts
from rramsweep.simulation.allocator import keep_memory


def main() -> None:
    """Entry point of `rramsweep` and of `python -m rramsweep`."""
    # Idle OpenMP threads spin by default. Beside other work on the same cores that made a sweep 8 times slower;
    # on a free machine sleeping costs nothing measurable. The user's own setting wins.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_memory()
    # The 600,000 objects that the imports make live as long as the process. Searching them for garbage would take a
    # second of a command, mostly at its end, while the user waits for the prompt. `end_imports` enables collection.
    gc.disable()
    try:
        with signals_as_interrupts():
            from rramsweep.cli.main import main as command

            command()
    except KeyboardInterrupt as error:  # also while the imports, which take seconds, are still running
        words, code = ended_by(error)
        print(f"rramsweep: {words}", file=sys.stderr)
        sys.exit(code)
    finally:
        gc.freeze()


if __name__ == "__main__":
    main()
