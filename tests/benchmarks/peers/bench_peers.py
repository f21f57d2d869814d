"""Seconds of one chip, programmed and evaluated, in rramsweep and its peers, as a ratio to the digital forward pass.

    make bench-peers

Each tool runs in an environment and a process of its own. They take turns, one network of one tool at a time, so that
what else the machine does meets all of them; a ratio is of two times measured next to each other in one process. All
have the same threads and the same allocator settings. Writes `peers.csv`, `peers.md` and `peers.png`; a tool that
cannot be had is named in the table, and the others run.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib
from plot_peers import draw
from runner import ANSWER, CIFAR10, RESNET20

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
# Tool -> its environment's interpreter and its runner.
TOOLS = {
    "rramsweep": (Path(sys.executable), "run_rramsweep.py"),
    "aihwkit": (ROOT / ".venv-aihwkit/bin/python", "run_aihwkit.py"),
    "aihwkit-lightning": (ROOT / ".venv-lightning/bin/python", "run_lightning.py"),
}
NETWORKS = {
    "mlp": "MLP 64-128-10, 1797 digits",
    "cnn": "small CNN, 1797 digits",
    "lenet5": "LeNet-5, 1000 Fashion-MNIST",
    "resnet20": "ResNet-20, 512 CIFAR-10 (JPEG)",
}
# By default glibc gives every large buffer back to the kernel and pays for it with page faults at the next: never map
# one by itself, never trim the heap. It shortens the digital forward, and the peers' many copies more.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(2**26)}
# Idle threads of the tool before spin for a few milliseconds.
PAUSE_S = 0.05


class Tool:
    """A tool's process, asked one question at a time.

    Raises:
        RuntimeError: it does not start, or ends; says why.
    """

    def __init__(self, name: str, threads: int, log: Path) -> None:
        python, script = TOOLS[name]
        self.name, self._log = name, log
        if not python.exists():
            raise RuntimeError(f"no environment {python.parents[1].name}: the lines of make above say why")
        counts = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        environment = {**os.environ, **ALLOCATOR, **counts, "PYTHONPATH": str(ROOT)}
        with log.open("w") as err:
            self._process = subprocess.Popen(
                [python, HERE / script], env=environment, stdin=-1, stdout=-1, stderr=err, text=True, bufsize=1
            )
        self.about = self._answer()

    def ask(self, verb: str, network: str) -> dict[str, Any]:
        """The answer to `prepare` or `run`; `error` in it says what the tool raised, or how it ended."""
        try:
            print(verb, network, file=self._process.stdin, flush=True)
            return self._answer()
        except (RuntimeError, BrokenPipeError) as error:
            return {"error": str(error)}

    def close(self) -> None:
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                return json.loads(line.removeprefix(ANSWER))
        last = (self._log.read_text().strip().splitlines() or ["without a word"])[-1]
        raise RuntimeError(f"ended with code {self._process.wait()}: {last}")


def measure(tools: list[Tool], networks: list[str], rounds: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of the table, and what went wrong in words."""
    rows: list[dict[str, Any]] = []
    wrong = []
    for network in networks:
        prepared = {tool: tool.ask("prepare", network) for tool in tools}
        took: dict[Tool, list[dict[str, Any]]] = {tool: [] for tool in tools if "error" not in prepared[tool]}
        for _ in range(rounds):
            for tool, times in took.items():
                time.sleep(PAUSE_S)
                times.append(tool.ask("run", network))
        for tool in tools:
            errors = [answer["error"] for answer in (prepared[tool], *took.get(tool, ())) if "error" in answer]
            if errors:
                wrong.append(f"{tool.name} on {NETWORKS[network]}: {errors[0]}")
                took.pop(tool, None)
        for tool, times in took.items():
            rows.append({"network": NETWORKS[network], **tool.about, **prepared[tool], **summary(times)})
            print(f"{rows[-1]['network']:32} {tool.name:18} {rows[-1]['ratio']:.2f} of the fastest digital forward")
    return rows, wrong


def summary(times: list[dict[str, float]]) -> dict[str, float]:
    """Medians over the rounds; ratios are formed within a round."""
    ratios = [each["trial_s"] / each["fastest_s"] for each in times]
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return {
        "rounds": len(times),
        **{key: statistics.median(each[key] for each in times) for key in ("trial_s", "fastest_s", "plain_s")},
        "ratio": statistics.median(ratios),
        "ratio_q25": low,
        "ratio_q75": high,
        "ratio_to_plain": statistics.median(each["trial_s"] / each["plain_s"] for each in times),
    }


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def markdown(rows: list[dict[str, Any]], notes: list[str], caption: str) -> str:
    """The table for a README, with what it is above it and what each tool did below it."""
    head = (
        "network",
        "tool",
        "trial / fastest digital",
        "25-75 %",
        "trial / plain digital",
        "trial",
        "fastest digital",
    )
    lines = [caption, "", f"| {' | '.join(head)} |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        cells = (
            row["network"],
            row["tool"],
            f"{row['ratio']:.2f}",
            f"{row['ratio_q25']:.2f}-{row['ratio_q75']:.2f}",
            f"{row['ratio_to_plain']:.2f}",
            f"{1e3 * row['trial_s']:.2f} ms",
            f"{1e3 * row['fastest_s']:.2f} ms ({row['fastest_forward']})",
        )
        lines.append(f"| {' | '.join(cells)} |")
    about = {row["tool"]: f"- {row['tool']} {row['version']}, torch {row['torch']}: {row['setting']}" for row in rows}
    return "\n".join([*lines, "", *about.values(), *(f"- {note}" for note in notes), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each tool has its turn on each network")
    parser.add_argument("--threads", type=int, default=2, help="threads of every tool")
    parser.add_argument("--resnet20", default=os.environ.get(RESNET20), help=f"weights; default ${RESNET20}")
    parser.add_argument("--cifar10", default=os.environ.get(CIFAR10), help=f"pictures, an .npz; default ${CIFAR10}")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS))
    parser.add_argument("--out", type=Path, default=Path("outputs/peers"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    notes: list[str] = []
    networks = list(options.networks)
    if options.resnet20 and options.cifar10:
        os.environ[RESNET20] = str(Path(options.resnet20).resolve())
        os.environ[CIFAR10] = str(Path(options.cifar10).resolve())
    elif "resnet20" in networks:
        networks.remove("resnet20")
        notes.append(f"{NETWORKS['resnet20']}: not run, ${RESNET20} and ${CIFAR10} name its files")

    tools = []
    for name in options.tools:
        try:
            tools.append(Tool(name, options.threads, options.out / f"{name}.log"))
        except RuntimeError as error:
            notes.append(f"{name}: not run, {error}")
    rows, wrong = measure(tools, networks, options.rounds)
    for tool in tools:
        tool.close()

    if not rows:
        sys.exit("\n".join(["nothing was measured:", *notes, *wrong]))
    machine = {"date": f"{datetime.date.today()}", "processor": processor(), "threads": options.threads}
    caption = (
        f"One chip programmed and evaluated, over the digital forward pass of the same network in the same process. "
        f"{machine['date']}, {machine['processor']}, threads: {machine['threads']}, medians of {options.rounds} rounds."
    )
    text = markdown(rows, [*notes, *wrong], caption)
    (options.out / "peers.md").write_text(text)
    with (options.out / "peers.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], *machine])
        writer.writeheader()
        writer.writerows({**row, **machine} for row in rows)
    matplotlib.use("Agg")
    draw(rows, caption).savefig(options.out / "peers.png", dpi=200)
    print(f"\n{text}\n{options.out}/peers.csv, peers.md, peers.png")


if __name__ == "__main__":
    main()
