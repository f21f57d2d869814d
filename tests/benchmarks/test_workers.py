"""Chips per second of two joblib workers against one, a thread each. Prints what it measured; asserts no time."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import rramsweep as rs

CHIPS = 800
SWEEP = ["technology=pyrram", "drift.relative_drift=0.2", f"chips={CHIPS}", "shards=2", "threads=1"]


def test_two_workers_against_one(tmp_path):
    computing, launching = {}, {}
    for workers in (1, 2):
        name = f"workers_{workers}"
        launcher = ["hydra/launcher=workers", f"hydra.launcher.n_jobs={workers}"]
        command = [sys.executable, "-m", "rramsweep", "-m", *SWEEP, *launcher, f"store={name}", f"name={name}"]
        done = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        # The plan is written before the workers start, the table after they have ended.
        began = first_seen(tmp_path / "outputs" / name, "plan.json", done)
        _, err = done.communicate()
        assert done.returncode == 0, err
        (folder,) = (tmp_path / "outputs" / name).iterdir()
        launching[workers] = CHIPS / ((folder / "results.parquet").stat().st_mtime - began)
        computing[workers] = workers / rs.load(folder)["seconds"].mean()
    print(f"\nLeNet-5, {CHIPS} chips, one thread a worker: chips per second of 1 and of 2 workers")
    for what, rate in (("while computing", computing), ("with the start of the workers", launching)):
        print(f"  {what}: {rate[1]:.1f} and {rate[2]:.1f}, ratio {rate[2] / rate[1]:.2f}")


def first_seen(folder: Path, name: str, process: subprocess.Popen[str]) -> float:
    """Time of writing of a file, once it is there."""
    while True:
        for path in folder.glob(f"*/{name}"):
            return path.stat().st_mtime
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
