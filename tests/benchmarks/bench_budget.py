"""Seconds of an error budget of ten parameters of LeNet-5, which shall stay below 300 on two cores.

    python tests/benchmarks/bench_budget.py                # 29 chips, the fewest for a yield of 0.9
    python tests/benchmarks/bench_budget.py --chips 50

Packaged weights, the packaged Fashion-MNIST images, wires, DACs and ADCs in every layer. The store is new and goes into
a temporary folder. Prints rounds, findings and table as `rramsweep budget` does, then trials, seconds and CPU seconds;
the same command again shows what a budget costs that is in the store already. Asserts nothing.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

CONFIG = [
    "model=lenet5",
    "data=fashion_mnist",
    "programming=gaussian",
    "programming.alpha_ind=0.005",
    "relaxation=gaussian",
    "relaxation.alpha_ind=0.01",
    "drift.relative_drift=0.02",
    "faults=stuck",
    "faults.p_stuck_lrs=0.0005",
    "faults.p_stuck_hrs=0.002",
    "tile=crossbar",
    "wires=segments",
    "wires.word_line_ohm=0.1",
    "wires.bit_line_ohm=0.1",
    "dac=uniform",
    "adc=uniform",
    "adc.gain_sigma=0.01",
]
BRACKETS = [
    "programming.alpha_ind=0..0.1",
    "relaxation.alpha_ind=0..0.1",
    "drift.relative_drift=0..0.5",
    "faults.p_stuck_lrs=0..0.02",
    "faults.p_stuck_hrs=0..0.1",
    "wires.word_line_ohm=0.01..10",
    "wires.bit_line_ohm=0.01..10",
    "dac.bits=3..10",
    "adc.bits=4..12",
    "adc.gain_sigma=0..0.2",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chips", type=int, default=29)
    args = parser.parse_args()
    from rramsweep.cli.budgeting import run
    from rramsweep.reporting import terminal
    from rramsweep.study.store import Store

    words = [*CONFIG, *BRACKETS, "target.yield=0.9", f"chips={args.chips}", "name=bench_budget"]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for label in ("new store", "everything stored"):
            started, cpu = time.perf_counter(), time.process_time()
            run(words, terminal.console())
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
            size = Store(Path("outputs/store")).size()
            print(
                f"{label}: {len(BRACKETS)} parameters, {args.chips} chips, {size['points']} points, {size['trials']} "
                f"trials, {seconds:.1f} s, {cpu:.1f} CPU s on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
            )


if __name__ == "__main__":
    main()
