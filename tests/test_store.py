"""Fragments: whole or absent, noticed when damaged, one row a trial."""

from __future__ import annotations

import json
import subprocess
import sys

import pyarrow as pa
import pytest

from rramsweep.facts import FACTS
from rramsweep.plan import Plan, Point
from rramsweep.store import Store, select


def fact(point_id="a", seed=0, status="ok", **changes):
    row = dict.fromkeys(FACTS.names)
    row |= {"point_id": point_id, "seed": seed, "status": status, "seconds": 0.1}
    if status == "ok":
        row |= {"score": 0.8, "digital_score": 0.9, "ideal_score": 0.9}
        row |= {"n_images": 10, "n_correct": 8, "n_lost": 1, "n_gained": 0, "accuracy": 0.8}
        row |= {"digital_accuracy": 0.9, "ideal_accuracy": 0.9, "agreement": 0.9, "loss": 0.3}
    return {**row, **changes}


def point(point_id="a"):
    return Point(point_id, f"text of {point_id}", {}, {}, {})


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    store.prepare()
    return store


def keys(table: pa.Table):
    return list(zip(table["point_id"].to_pylist(), table["seed"].to_pylist(), strict=True))


def test_rows_come_back_sorted_with_their_texts(store):
    store.add([fact("b", 1), fact("a", 2)], [point("b"), point("a")])
    store.add([fact("a", 1)], [point("a")])
    assert keys(store.facts()) == [("a", 1), ("a", 2), ("b", 1)]
    assert keys(store.facts(["b"])) == [("b", 1)]
    assert store.points() == {"a": "text of a", "b": "text of b"}
    assert store.facts().schema == FACTS


def test_an_empty_or_absent_store_has_no_rows(store, tmp_path):
    assert store.facts().num_rows == 0
    assert Store(tmp_path / "nowhere").facts().num_rows == 0


def test_one_row_a_trial_and_success_beats_failure(store):
    store.add([fact("a", 1, "failed", error="ValueError: x")], [point()])
    store.add([fact("a", 1)], [point()])
    store.add([fact("a", 1)], [point()])
    table = store.facts()
    assert keys(table) == [("a", 1)]
    assert table["status"].to_pylist() == ["ok"]


def test_exactly_the_seeds_that_are_asked_for(store):
    store.add([fact("a", s) for s in range(80)] + [fact("b", 0)], [point("a"), point("b")])
    table = select(store.facts(), Plan([point("a")], [range(10, 60)]))
    assert keys(table) == [("a", s) for s in range(10, 60)]


@pytest.mark.parametrize("damage", [lambda b: b[:-10], lambda b: b[:40] + b"X" + b[41:], lambda b: b""])
def test_a_damaged_fragment_is_set_aside_with_a_message(store, damage, caplog):
    store.add([fact("a", 0)], [point()])
    store.add([fact("a", 1)], [point()])
    victim = sorted(store.root.glob("facts-*.parquet"))[0]
    victim.write_bytes(damage(victim.read_bytes()))
    assert store.facts().num_rows == 1
    assert "damaged" in caplog.text
    assert victim.with_suffix(".damaged").exists()
    assert not victim.exists()


def test_a_failed_write_leaves_nothing_under_a_fragments_name(store, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rramsweep.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.add([fact()], [point()])
    assert [p.name for p in store.root.iterdir()] == ["store.json"]


READ = """
import os
import sys
from pathlib import Path

from rramsweep.facts import FACTS
from rramsweep.fragments import Fragments

before = len(os.listdir("/proc/self/task"))
assert Fragments(Path(sys.argv[1]), "facts", FACTS).read().num_rows == 8
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
def test_reading_leaves_no_thread_that_could_outlive_the_interpreter(store):
    for seed in range(8):
        store.add([fact("a", seed)], [point()])
    done = subprocess.run([sys.executable, "-c", READ, str(store.root)], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


def test_fragments_that_cannot_be_merged_are_left_and_told(store, monkeypatch, caplog):
    for seed in range(20):
        store.add([fact("a", seed)], [point()])

    def full(descriptor):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("rramsweep.files.os.fsync", full)
    store.tidy()
    assert "stay as they are, nothing is lost (Read-only file system)" in caplog.text
    assert store.facts().num_rows == 20


def test_refuses_a_store_of_a_newer_scheme(store):
    (store.root / "store.json").write_text(json.dumps({"scheme": 3}))
    with pytest.raises(ValueError, match="scheme 3"):
        Store(store.root)


def test_refuses_a_broken_marker(store):
    (store.root / "store.json").write_text("{")
    with pytest.raises(ValueError, match="must name the scheme of its store"):
        Store(store.root)


def test_refuses_a_file_for_a_folder(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        Store(tmp_path / "f")


def test_refuses_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(ValueError, match="must be writable"):
        Store(tmp_path / "f" / "store").prepare()
