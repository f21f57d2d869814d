"""The first import of a launcher's worker: its job, with no search for garbage among what stays to the end.

Such a search takes a tenth of the time in which a worker starts.
"""

from __future__ import annotations

import gc

_COLLECTS = gc.isenabled()
gc.disable()

from omegaconf import DictConfig  # noqa: E402

from rramsweep.cli import job  # noqa: E402

if _COLLECTS:  # else this is the command, where `commands.end_imports` does it
    gc.enable()


def task(cfg: DictConfig) -> float | list[float] | None:
    """Run one job, and return the objectives of a trial of a search."""
    return job.run(cfg)
