"""Accuracy of ResNet-20 that calibrations recover on chips, against the shares that are to be reproduced.

    python tests/benchmarks/bench_calibration.py                       # all conditions, 10 chips
    python tests/benchmarks/bench_calibration.py --chips 4 --only chain

CIFAR-10 (JPEG, quality 75) and the checkpoint of `RRAMSWEEP_SHARED_DATA`, by default `../shared/data` beside the
repository; without them it says so and ends. Of the 5,000 pictures 2,000 are scored and 500 others are the pool of
calibration images, disjoint by the hash of their bytes. Chips of all points are paired by their seeds. Prints for each
condition the table of `rramsweep.recovered`, and for each share to be reproduced whether it was met; asserts nothing.
A run goes on where the one before ended: its store is in `outputs/bench_calibration`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from pathlib import Path

import numpy as np

SHARED = Path(os.environ.get("RRAMSWEEP_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
CHECKPOINT = SHARED / "resnet_cifar10" / "resnet20-12fca82f.th"
PICTURES = SHARED / "cifar10_jpegq75_test5k.npz"
SCORED, POOL = 2000, 500

# The two errors of the measurements: relative drift alone, cells kept above 0; and three stages clipped at the window.
DRIFT = ["technology=drift_alone", "device.edge=positive"]
CHAIN = ["technology=pyrram", "drift.relative_drift=0.2", "drift.reference=current"]
MOMENTS = ["calibration=moments"]
DORA_1, DORA_4 = (["calibration=dora", f"calibration.rank={rank}"] for rank in (1, 4))
FEW = ["calibration.images=10"]
COPIES = [*MOMENTS, "mapping.copies=4"]
DEFAULTS = [
    [f"calibration={name}"] for name in ("moments", "affine", "low_rank", "dora", "batchnorm", "drift_compensation")
]

# All but batchnorm leave a chip without errors as it is.
EXACT = [method for method in DEFAULTS if method != ["calibration=batchnorm"]]
# 8-bit converters on tiles of 128 rows with wires, and read noise.
ARRAY = ["tile=crossbar", "wires=segments", "dac=uniform", "adc=uniform", "read_noise=white"]
RELAXING = ["technology=neurram_relaxing"]

# Condition -> its overrides; methods with the share that is to be recovered at least, None where there is none.
CONDITIONS: dict[str, tuple[list[str], list[tuple[list[str], float | None]]]] = {
    "drift 0.2": ([*DRIFT, "drift.relative_drift=0.2"], [(MOMENTS, 0.70), ([*DORA_1, *FEW], 0.78)]),
    "chain, per channel": (
        [*CHAIN, "mapping.scale=per_channel"],
        [(MOMENTS, 0.82), (DORA_1, 0.85), (COPIES, 0.95), (DORA_4, None)],
    ),
    "drift 0.3": ([*DRIFT, "drift.relative_drift=0.3"], [([*DORA_4, *FEW], 0.83), (DORA_4, 0.87)]),
    "drift 0.1": ([*DRIFT, "drift.relative_drift=0.1"], [(method, None) for method in DEFAULTS]),
    "chain, per tensor": (CHAIN, [(MOMENTS, None), (DORA_4, None)]),
    "noise-free": (
        ["technology=drift_alone", "drift.relative_drift=0", "device.step_uS=null"],
        [(method, None) for method in EXACT],
    ),
    "array parts, chain, per channel": (
        [*CHAIN, "mapping.scale=per_channel", *ARRAY],
        [(MOMENTS, None), (DORA_1, None)],
    ),
    # Cells refreshed at t_s are those of one second after the write: the accuracy that refreshing gives.
    "refreshed": ([*RELAXING, "t_s=1s"], [(DORA_1, None)]),
} | {
    f"relaxed for {t_s}": (
        [*RELAXING, f"t_s={t_s}"],
        [([*DORA_1, "calibration.at_s=1s"], None), (DORA_1, None)],
    )
    for t_s in ("1h", "1d", "1y")
}
COLUMNS = [
    "calibration",
    "mapping.copies",
    "images",
    "extra_parameters",
    "n",
    "lost_mean",
    "recovered_share",
    "share_low",
    "share_high",
]
COLUMNS += ["worst_baseline", "worst", "seconds"]


def split(folder: Path) -> tuple[Path, Path]:
    """Files of the scored pictures and of the pool, no picture in both."""
    data = np.load(PICTURES)
    hashes = [hashlib.sha256(picture.tobytes()).hexdigest() for picture in data["x"]]
    order = np.sort(np.unique(hashes, return_index=True)[1])
    parts = {"scored": order[:SCORED], "pool": order[SCORED : SCORED + POOL]}
    for name, rows in parts.items():
        np.savez(folder / f"{name}.npz", x=data["x"][rows], y=data["y"][rows].astype(np.int64))
    return folder / "scored.npz", folder / "pool.npz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chips", type=int, default=10)
    parser.add_argument("--only", default="", help="conditions whose names contain this")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no method is begun after so many")
    args = parser.parse_args()
    if not (CHECKPOINT.is_file() and PICTURES.is_file()):
        print(f"skipped: {CHECKPOINT} and {PICTURES} are needed")
        return
    from rramsweep.simulation.allocator import keep_memory

    keep_memory()
    import warnings

    import pandas as pd

    import rramsweep as rs

    warnings.filterwarnings("ignore", message="model.checkpoint")
    folder = Path("outputs/bench_calibration").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    scored, pool = split(folder)
    network = ["model=resnet20", f"model.checkpoint={CHECKPOINT}", "data=cifar10_jpeg", f"data.path={scored}"]
    network += [f"data.fitting={pool}", f"store={folder / 'store'}", f"chips={args.chips}"]

    def swept(*overrides: str) -> pd.DataFrame:
        return rs.sweep([*network, *overrides])

    started = time.monotonic()

    def late() -> bool:
        return time.monotonic() - started > 60 * args.minutes

    for name, (condition, methods) in CONDITIONS.items():
        if args.only not in name or late():
            continue
        none = swept(*condition)
        digital = 100 * none["digital_score"].iloc[0]
        mean, worst = 100 * none["score"].mean(), 100 * none["score"].min()
        print(f"\n{name}: digital {digital:.2f} %, not calibrated {mean:.2f} % (worst {worst:.2f}), {len(none)} chips")
        for method, least in methods:
            if late():
                break
            frame = pd.concat([none, swept(*condition, *method)], ignore_index=True)
            # What is lost is what one copy loses.
            table = rs.recovered(frame, ["calibration"], {"calibration": "none", "mapping.copies": 1})
            print(table[COLUMNS].round(4).to_string(index=False), flush=True)
            if least is not None:
                share = table["recovered_share"].item()
                print(
                    f"  {'met' if share >= least else 'MISSED'}: at least {100 * least:.0f} %, got {100 * share:.1f} %"
                )
            change = frame.pivot(index="seed", columns="calibration", values="score")
            change = 100 * change.drop(columns="none").sub(change["none"], axis=0)
            print(f"  change of the chip that gains least, points: {change.min().round(2).to_dict()}", flush=True)
    print(f"\n{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
