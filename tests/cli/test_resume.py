"""Sweeps that never lose a row: kills, interrupts, full and read-only disks, two at once, more chips later."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

import rramsweep as rs
from rramsweep.analysis import schema
from rramsweep.cli.main import main
from rramsweep.simulation import shard
from rramsweep.study.store import Store
from tests.forked import Command

SWEEP = [
    "model=digits_cnn",
    "data=digits",
    "batch_size=250",
    "memory_format=contiguous",
    "threads=1",
    "technology=drift_alone,pyrram",
    "drift.relative_drift=0,0.3",
]
METRICS = [name for name in schema.FACTS if name != "seconds"]

pytestmark = pytest.mark.waits


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Equal in every metric column, bit for bit."""
    pd.testing.assert_frame_equal(one[METRICS], other[METRICS], check_exact=True)


def flush_soon() -> None:
    """Let the short runs of a test keep something."""
    shard.FLUSH_S = 0.1


def wait_for_rows(store: Path, process: Command, most_s: float = 60.0) -> None:
    """Until the store holds more facts than now, or the process has ended."""
    before, until = len(list(store.glob("facts-*"))), time.monotonic() + most_s
    while time.monotonic() < until and len(list(store.glob("facts-*"))) <= before and process.poll() is None:
        time.sleep(0.02)


def killed(kills: int, signal_: int, longest_s: float, seed: int, *overrides: str) -> list[int]:
    """Run a command again and again, and kill each at a random moment; their exit codes."""
    rng, codes = random.Random(seed), []
    for kill in range(kills):
        process = Command(overrides, before=flush_soon)
        # Not at once: Python drops an interrupt that comes while a process is still setting itself up after the fork.
        time.sleep(0.2)
        if kill % 2:  # on a busy machine all moments might fall into the start of a sweep
            wait_for_rows(Path("s"), process)
            time.sleep(rng.uniform(0, longest_s / 10))
        else:
            time.sleep(rng.uniform(0, longest_s))
        if process.poll() is None:
            os.kill(process.pid, signal_)
        codes.append(process.wait(60))
    return codes


@pytest.mark.slow
def test_twenty_kills_at_random_moments_lose_nothing(workdir):
    codes = killed(20, signal.SIGKILL, 1.5, 7, "-m", *SWEEP, "chips=240", "store=s")
    assert codes.count(-9) >= 10, "the kills must come while the sweep runs"
    assert Store(Path("s")).facts().num_rows > 0
    for path in Path("s").glob("*.tmp"):
        path.unlink()  # what a kill left half-written is under a temporary name only
    resumed = rs.sweep([*SWEEP, "chips=240", "store=s"])
    same(resumed, rs.sweep([*SWEEP, "chips=240", "store=fresh"]))
    assert not list(Path("s").glob("*.damaged"))


@pytest.mark.slow
def test_an_interrupt_reports_what_there_is_and_exits_130(workdir):
    codes = killed(3, signal.SIGINT, 6.0, 1, "-m", *SWEEP, "chips=2000", "store=s")
    assert 130 in codes
    folders = sorted(Path("outputs/sweep").iterdir())
    longest = max((rs.load(folder) for folder in folders if (folder / "results.parquet").exists()), key=len)
    assert len(longest) > 0


def test_more_chips_and_finer_levels_compute_only_what_is_missing(workdir, monkeypatch):
    from rramsweep.simulation import passes

    calls = []
    trial = passes.run_trial
    monkeypatch.setattr(passes, "run_trial", lambda b, s: (calls.append((b.point_id, s)), trial(b, s))[1])
    levels = ["model=digits_mlp", "data=digits", "data.limit=50", "threads=1"]
    rs.sweep([*levels, "drift.relative_drift=0.1,0.2", "chips=4"])
    assert len(calls) == 8
    rs.sweep([*levels, "drift.relative_drift=0.1,0.2", "chips=6"])
    assert len(calls) == 12
    rs.sweep([*levels, "drift.relative_drift=0.1,0.15,0.2", "chips=6"])
    assert len(calls) == 18
    assert len(set(calls)) == 18
    frame = rs.sweep([*levels, "drift.relative_drift=0.1,0.2", "chips=3", "seed=1"])
    assert len(calls) == 18
    assert frame.seed.tolist() == [1, 2, 3] * 2


def test_two_sweeps_at_once_on_one_store(workdir):
    for process in [Command(["-m", *SWEEP, f"chips={n}", "store=s", f"name=n{n}"]) for n in (20, 30)]:
        _, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
    tables = {chips: rs.load(next(Path(f"outputs/n{chips}").iterdir())) for chips in (20, 30)}
    assert {chips: len(t) for chips, t in tables.items()} == {20: 80, 30: 120}
    same(tables[30], rs.sweep([*SWEEP, "chips=30", "store=fresh"]))


def test_a_damaged_fragment_is_computed_again(workdir, caplog):
    point = ["model=digits_mlp", "data=digits", "drift.relative_drift=0.2", "chips=5", "store=s"]
    before = rs.sweep(point)
    (victim,) = Path("s").glob("facts-*.parquet")
    victim.write_bytes(victim.read_bytes()[:-100])
    same(rs.sweep(point), before)
    assert "set aside" in caplog.text


def test_compaction_beside_a_reader_loses_nothing(workdir):
    point = ["model=digits_mlp", "data=digits", "data.limit=50", "drift.relative_drift=0.2", "store=s"]
    for chips in range(1, 12):
        rs.sweep([*point, f"chips={chips}"])
    store = Store(Path("s"))
    before = store.facts()
    seen, stop = [], threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.append(Store(Path("s")).facts().num_rows)

    reader = threading.Thread(target=read)
    reader.start()
    main(["store", "s", "--compact"])
    stop.set()
    reader.join()
    assert set(seen) == {11}
    assert store.facts().equals(before)
    assert store.size()["fragments"] == 2
    # Blocks of chips stay whole, so that fewer chips still find theirs.
    assert rs.sweep([*point, "chips=4"]).attrs["images"]


def mounted(folder: Path, options: str) -> None:
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]).returncode:
        pytest.skip("needs the right to mount a tmpfs")


@pytest.fixture
def small_disk(workdir):
    disk = workdir / "disk"
    mounted(disk, "size=64k")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_stops_with_one_line_and_keeps_what_was_written(small_disk, workdir, monkeypatch, capfd):
    monkeypatch.setattr(shard, "FLUSH_S", 0.05)
    arguments = ["-m", *SWEEP, "chips=100", "store=disk/store"]
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 1
    err = [line for line in capfd.readouterr().err.splitlines() if "trials," not in line]
    kept = Store(small_disk / "store").facts()
    assert kept.num_rows > 0
    assert err == [
        f"rramsweep: the sweep ended early (No space left on device), with {kept.num_rows} of 400 trials kept in "
        f"{workdir}/disk/store: free it, then run the same command to go on"
    ]
    assert not list(small_disk.glob("store/*.tmp"))
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    same(rs.sweep([*arguments[1:]]), rs.sweep([*SWEEP, "chips=100", "store=fresh"]))


def test_a_disk_that_is_full_already_is_refused_and_left_clean(small_disk, workdir, capfd):
    point = ["model=digits_mlp", "data=digits", "data.limit=50", "drift.relative_drift=0.2", "store=disk/store"]
    rs.sweep([*point, "chips=3"])
    with pytest.raises(OSError, match="No space"):
        (small_disk / "fill").write_bytes(bytes(2**17))
    capfd.readouterr()
    with pytest.raises(SystemExit):
        main([*point, "chips=4"])
    assert capfd.readouterr().err == (
        f"rramsweep: the store must be writable, but {workdir}/disk/store is not (No space left on device): "
        "free it or choose another with store=DIR\n"
    )
    assert not list(small_disk.glob("store/.*"))


def test_tables_that_cannot_be_written_lose_no_trial(workdir, monkeypatch, capfd):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rramsweep.reporting.report.frames.write", full)
    with pytest.raises(SystemExit) as exit_:
        main(["-m", *SWEEP, "chips=2", "store=s"])
    assert exit_.value.code == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "trials," not in line]
    (folder,) = Path("outputs/sweep").iterdir()
    assert line == (
        f"rramsweep: the sweep ended with 8 of 8 trials kept in {workdir}/s, but its tables and plots cannot be "
        f"written to {folder.absolute()} (No space left on device): free it or give another folder with "
        "hydra.sweep.dir=DIR, then run the same command to go on"
    )
    assert Store(Path("s")).facts().num_rows == 8


def test_a_read_only_store_is_read_but_refused_for_writing(small_disk, workdir, capfd):
    point = ["model=digits_mlp", "data=digits", "data.limit=50", "drift.relative_drift=0.2", "store=disk/store"]
    before = rs.sweep([*point, "chips=3"])
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    same(rs.sweep([*point, "chips=3"]), before)
    capfd.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main([*point, "chips=4"])
    assert exit_.value.code == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "the store must be writable" in line
