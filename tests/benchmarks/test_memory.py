"""Largest memory of a sweep, of few chips and of many. Prints what it measured; asserts no size.

While trials run only a seed and an accuracy a trial are kept; the table of all rows is made once, at the end.
"""

from __future__ import annotations

import subprocess
import sys

CHIPS = (100, 2_000, 10_000, 40_000)
SWEEP = ["model=digits_mlp", "data=digits", "data.limit=100", "drift.relative_drift=0.1,0.3", "threads=1"]

MEASURED = """
import resource
import sys

from rramsweep import driver
from rramsweep.app import main

report = driver._report


def say():
    print("PEAK", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def measured_report(*arguments):
    say()
    return report(*arguments)


driver._report = measured_report
main(sys.argv[1:])
say()
"""


def test_memory_of_a_sweep(tmp_path):
    print("\ndigits_mlp, 2 points: peak resident memory when the last trial is done, and after the report")
    for chips in CHIPS:
        command = [sys.executable, "-c", MEASURED, "-m", *SWEEP, f"chips={chips}", f"store=s{chips}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        trials, whole = (float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("PEAK"))
        print(f"  {2 * chips} trials: {trials:.0f} MB, {whole:.0f} MB")
