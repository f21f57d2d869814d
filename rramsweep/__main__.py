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
    # What the imports make, 600,000 objects, lives as long as the process. To look for garbage among them takes a
    # second of a command, most of it when all is said and the user waits for the prompt. `end_imports` enables it.
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
