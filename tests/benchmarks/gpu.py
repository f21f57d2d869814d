"""Everything that a GPU is asked for, in one command of under six minutes: equal rows, speed, number formats, memory.

    python tests/benchmarks/gpu.py                      # on the first GPU
    python tests/benchmarks/gpu.py --device cpu --small # the same code where there is none, in a minute

Prints a table a part; ends with status 1 where rows of the CPU and the GPU differ by more than rounding, or a chip was
lost where memory ended.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import rramsweep as rs
from rramsweep.cli.composing import choices, container
from rramsweep.network.accelerator import Accelerator
from rramsweep.simulation.workbench import Workbench

CHIP = ["technology=pyrram", "drift.relative_drift=0.1"]
SECONDS = 330  # what is not measured until then is left out, by name

# An input whose two best logits lie this close may count on one machine and not on another.
CLOSE_INPUTS = 2


@dataclass(frozen=True)
class Network:
    """A network with random or packaged weights, and inputs of its size.

    Args:
        name: for the tables.
        overrides: that choose both.
        passes: chips a pass that are tried.
    """

    name: str
    overrides: list[str]
    passes: tuple[int, ...]


class Bench:
    """The parts of the script, over one device.

    Args:
        device: `cpu`, `cuda` or `cuda:N`.
        small: few chips of few networks.
        folder: for data and stores.
    """

    def __init__(self, device: str, small: bool, folder: Path) -> None:
        self.device, self.small, self.folder = device, small, folder
        self.gpu = device != "cpu"
        self.until = time.monotonic() + SECONDS
        self.failures: list[str] = []
        self._stores = 0

    def networks(self) -> list[Network]:
        """LeNet-5, ResNet-20 and ResNet-18, each on pictures of its own size."""
        if self.small:
            return [Network("LeNet-5", ["data.limit=50"], (1, 2))]
        return [
            Network("LeNet-5", ["data.limit=1000"], (1, 4, 16, 64, 256, 1024)),
            Network("ResNet-20", self._pictures("resnet20", 512, 32), (1, 4, 16, 64, 256)),
            Network("ResNet-18", [*self._pictures("resnet18", 128, 224)], (1, 2, 4, 8, 16, 32)),
        ]

    def _pictures(self, name: str, n: int, side: int) -> list[str]:
        path = self.folder / f"{name}.npz"
        x = np.random.default_rng(0).standard_normal((n, 3, side, side), dtype=np.float32)
        np.savez(path, x=x, y=np.arange(n) % 10)
        model = (
            ["model=resnet20"]
            if name == "resnet20"
            else ["model=torchvision", f"model.name={name}", "model.num_classes=10"]
        )
        return [*model, "model.checkpoint=null", "data=npz", f"data.path={path}"]

    def accelerator(self, precision: str = "float32", draws: str = "cpu") -> list[str]:
        """Overrides that choose the device."""
        if not self.gpu:
            return ["accelerator=cpu", f"accelerator.precision={precision}"]
        return [
            "accelerator=cuda",
            f"accelerator.device={self.device}",
            f"accelerator.precision={precision}",
            f"accelerator.rng_device={draws}",
        ]

    def sweep(self, overrides: list[str], chips: int, a_pass: int) -> pd.DataFrame:
        """Chips of one point in a store of its own, so that none is found there."""
        self._stores += 1
        store = self.folder / f"store{self._stores}"
        return rs.sweep(
            [*overrides, *CHIP, f"chips={chips}", f"chips_per_pass={a_pass}", f"store={store}", "threads=null"]
        )

    def rate(self, overrides: list[str], a_pass: int) -> float:
        """Chips a second, of a second pass of them: the first pays for what later ones find in place."""
        frame = self.sweep(overrides, 2 * a_pass if a_pass > 1 else 4, a_pass)
        if (frame["status"] != "ok").any():
            self.failures.append(f"{overrides[0]}: {frame['error'].dropna().iloc[0]}")
            return float("nan")
        return 1 / float(frame["seconds"].iloc[len(frame) // 2 :].mean())

    def left(self, part: str) -> bool:
        """True while there is time; names what is left out."""
        if time.monotonic() < self.until:
            return True
        print(f"  left out, no time: {part}")
        return False

    def rows(self) -> None:
        """Rows of the CPU and of the device, of the same chips drawn on the CPU."""
        print("\nthe same chips on both: largest difference of a row")
        for network in self.networks():
            overrides = network.overrides
            if network.name == "ResNet-18":
                overrides = [*overrides, "data.limit=16"]
            chips = 2 if self.small else 4
            cpu = self.sweep([*overrides, "accelerator=cpu"], chips, 1)
            for a_pass in (1, chips):
                found = self.sweep([*overrides, *self.accelerator()], chips, a_pass)
                inputs = int((found["n_correct"] - cpu["n_correct"]).abs().max())
                loss = float((found["loss"] - cpu["loss"]).abs().max())
                same = bool((found["point_id"] == cpu["point_id"]).all())
                print(f"  {network.name:10} {a_pass:3} a pass: {inputs} inputs, loss {loss:.1e}, same point {same}")
                if inputs > CLOSE_INPUTS or not loss < 1e-3 * float(cpu["loss"].max()) or not same:
                    self.failures.append(f"{network.name}: rows differ from the CPU's")

    def passes(self) -> None:
        """Chips a second by chips a pass, drawn on the CPU and on the device."""
        for draws in ("cpu", "cuda") if self.gpu else ("cpu",):
            print(f"\nchips a second by chips a pass, drawn on {draws}; peak memory in MB")
            for network in self.networks():
                best = 0.0
                for a_pass in network.passes:
                    if not self.left(f"{network.name}, {a_pass} chips a pass, drawn on {draws}"):
                        return
                    self._forget_memory()
                    rate = self.rate([*network.overrides, *self.accelerator(draws=draws)], a_pass)
                    print(f"  {network.name:10} {a_pass:5} {rate:10.1f} {self._peak_mb():8.0f}")
                    if rate < 0.7 * best:
                        break
                    best = max(best, rate)

    def programming(self) -> None:
        """Seconds that a chip takes to be programmed, drawn on the CPU and on the device."""
        print("\nprogramming one chip, ms")
        for network in self.networks():
            cfg = rs.compose([*network.overrides, *CHIP])
            workbench = Workbench()
            model, specs, _ = workbench.parts(workbench.point(container(cfg), choices(cfg)))
            for draws in ("cpu", "cuda") if self.gpu else ("cpu",):
                accelerator = Accelerator(self.device, rng_device=draws)
                analog = rs.AnalogNetwork(model, specs, accelerator=accelerator)
                analog.chip(0)
                self._wait()
                started, n = time.perf_counter(), 5
                for seed in range(n):
                    analog.chip(seed)
                self._wait()
                print(f"  {network.name:10} drawn on {draws:4} {(time.perf_counter() - started) / n * 1e3:8.2f}")

    def formats(self) -> None:
        """Accuracy and speed of the number formats."""
        print("\nnumber formats: mean accuracy of the same chips, chips a second")
        network = self.networks()[0]
        for precision in ("float32", "tf32", "bfloat16") if self.gpu else ("float32", "bfloat16"):
            frame = self.sweep(
                [*network.overrides, *self.accelerator(precision)], 4 if self.small else 64, network.passes[-1]
            )
            print(f"  {precision:9} {frame['accuracy'].mean():.4f} {1 / frame['seconds'].iloc[-1]:10.1f}")

    def memory_ends(self) -> None:
        """A pass that does not fit is halved, and no chip is lost."""
        if not self.gpu:
            print("\nwhere memory ends: needs a GPU")
            return
        print("\nwhere memory ends: 8 GB, 4,096 chips of LeNet-5 a pass")
        at = torch.device(self.device)
        whole = torch.cuda.get_device_properties(at).total_memory
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(min(1.0, 8e9 / whole), at)
        try:
            network = self.networks()[0]
            frame = self.sweep([*network.overrides, *self.accelerator(draws="cuda")], 5000, 4096)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, at)
        ok = int((frame["status"] == "ok").sum())
        print(f"  {ok} of {len(frame)} chips, {1 / frame['seconds'].mean():.1f} a second")
        if ok != 5000:
            self.failures.append("chips were lost where memory ended")

    def _wait(self) -> None:
        if self.gpu:
            torch.cuda.synchronize(self.device)

    def _forget_memory(self) -> None:
        if self.gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def _peak_mb(self) -> float:
        if self.gpu:
            return torch.cuda.max_memory_allocated() / 1e6
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main(arguments: list[str] | None = None) -> int:
    """Measure every part and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cpu, cuda or cuda:N")
    parser.add_argument("--small", action="store_true", help="few chips of one network")
    given = parser.parse_args(arguments)
    started = time.monotonic()
    if given.device == "cpu":
        print(f"cpu, {torch.get_num_threads()} threads, torch {torch.__version__}")
    else:
        properties = torch.cuda.get_device_properties(torch.device(given.device))
        print(f"{properties.name}, {properties.total_memory / 1e9:.0f} GB, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        bench = Bench(given.device, given.small, Path(folder))
        for part in (bench.rows, bench.programming, bench.formats, bench.memory_ends, bench.passes):
            if bench.left(part.__name__):
                part()
    for failure in bench.failures:
        print(f"FAILED: {failure}")
    print(f"\n{time.monotonic() - started:.0f} s")
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(main())
