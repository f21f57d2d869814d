"""Fragments: whole or absent, noticed when damaged, one row a trial."""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rramsweep.files import NotRegularError, read_regular, temporary_name
from rramsweep.study.facts import FACTS, IMAGES
from rramsweep.study.fragments import Fragments
from rramsweep.study.plan import Plan, Point
from rramsweep.study.progress import ProgressFile, Tally
from rramsweep.study.store import Store, select


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

from rramsweep.study.facts import FACTS
from rramsweep.study.fragments import Fragments

before = len(os.listdir("/proc/self/task"))
assert Fragments(Path(sys.argv[1]), "facts", FACTS, "").read().num_rows == 8
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
    (store.root / "store.json").write_text(json.dumps({"scheme": 4}))
    with pytest.raises(ValueError, match="scheme 4"):
        Store(store.root)


def test_refuses_a_broken_marker(store):
    (store.root / "store.json").write_text("{")
    with pytest.raises(ValueError, match="must hold the scheme of its store, but it is no JSON .*: remove it"):
        Store(store.root)


def test_refuses_a_file_for_a_folder(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        Store(tmp_path / "f")


def test_refuses_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(ValueError, match="must lie in a folder, but .* is a file: remove it, or choose another"):
        Store(tmp_path / "f" / "store").prepare()


def irregular(path, kind):
    if kind == "link":
        path.symlink_to(path.parent / "nowhere")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "link to a FIFO":
        os.mkfifo(path.parent / "pipe")
        path.symlink_to(path.parent / "pipe")
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener, pytest.MonkeyPatch.context() as patch:
            patch.chdir(path.parent)  # an address is at most 108 bytes long
            listener.bind(path.name)
    else:
        path.mkdir()


KINDS = ["link", "loop", "link to a FIFO", "FIFO", "device", "socket", "folder"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of", ["facts", "points", "images"])
def test_what_is_no_regular_file_is_set_aside(store, kind, of, caplog):
    store.add([fact("a", 0)], [point()])
    stray = store.root / f"{of}-{'0' * 32}.parquet"
    irregular(stray, kind)
    assert store.size()["fragments"] == 2
    assert keys(store.facts()) == [("a", 0)]
    assert store.images(Plan([point()], [[0]])) == {}
    assert store.points() == {"a": "text of a"}
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"{stray} is a ")
    assert f"is set aside as {stray.stem}.damaged; " in line
    assert not os.path.lexists(stray)


@pytest.mark.parametrize("kind", KINDS)
def test_a_regular_file_is_read_and_nothing_else(tmp_path, kind):
    irregular(tmp_path / "x", kind)
    with pytest.raises(NotRegularError, match=r"x is (a|a link that leads) \w+, not a regular file: move it away"):
        read_regular(tmp_path / "x")
    (tmp_path / "y").write_bytes(b"bytes")
    (tmp_path / "z").symlink_to("y")
    assert read_regular(tmp_path / "z") == b"bytes"
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "nothing")


def test_a_name_that_is_listed_but_never_opens_ends_the_reading(store, monkeypatch, caplog):
    store.add([fact("a", 0)], [point()])

    def vanishes(path):
        if path.name.startswith("facts-"):
            raise FileNotFoundError(2, "No such file or directory")
        return path.read_bytes()

    monkeypatch.setattr("rramsweep.study.fragments.read_regular", vanishes)
    assert store.facts().num_rows == 0
    assert (
        "is listed but cannot be opened and is ignored; if it held trials, they will be computed again" in caplog.text
    )


def test_a_fragment_of_other_columns_is_set_aside(store, caplog):
    store.add([fact("a", 0)], [point()])
    buffer = io.BytesIO()
    pq.write_table(pa.table({"point_id": ["a"], "seed": ["no number"]}), buffer)
    for data in (buffer.getvalue(), b"no parquet"):
        (store.root / f"facts-{hashlib.sha256(data).hexdigest()[:32]}.parquet").write_bytes(data)
    assert keys(store.facts()) == [("a", 0)]
    assert len(list(store.root.glob("*.damaged"))) == 2
    assert "holds other columns than a fragment" in caplog.text


def put(path, kind):
    if kind == "a FIFO":
        os.mkfifo(path)
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))
    elif kind == "a folder":
        path.mkdir()
    else:
        path.symlink_to("nowhere")


@pytest.mark.parametrize("kind", ["a FIFO", "a socket", "a folder", "a link that leads nowhere"])
@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("facts", "if it held trials, they will be computed again"),
        ("points", "if it held points, what `rramsweep explain` shows of them is written again with their next trials"),
        ("images", "if it held answers of trials of before scheme 3, se_images of their points stays empty: another"),
    ],
)
def test_what_is_no_file_is_set_aside_by_what_is_known(store, caplog, monkeypatch, name, loss, kind):
    store.add([fact("a", 0)], [point()])
    monkeypatch.chdir(store.root)  # the name of a socket is short
    put(Path(f"{name}-s.parquet"), kind)
    store.tidy()
    assert f"{name}-s.parquet is {kind} and is set aside as {name}-s.damaged; {loss}" in caplog.text
    caplog.clear()
    store.tidy()
    assert not caplog.text
    assert keys(store.facts()) == [("a", 0)]


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("link", "the store must be a folder, but link is a link that leads nowhere: remove it, or choose another"),
        ("link/a/b", "the store must lie in a folder, but link is a link that leads nowhere: remove it, or choose"),
        ("file", "the store must be a folder, but file is a file: remove it, or choose another with store=DIR"),
        ("file/a", "the store must lie in a folder, but file is a file: remove it, or choose another"),
    ],
)
def test_a_store_that_cannot_be_a_folder_is_refused(tmp_path, monkeypatch, root, message):
    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to("nowhere")
    Path("file").write_text("x")
    with pytest.raises(ValueError, match=f"^{message}"):
        Store(Path(root))


def block(seeds, point_id="a"):
    return {"point_id": point_id, "seeds": list(seeds), "n_correct": [len(seeds), 0, 1]}


KILLED = """
import os
import sys
from pathlib import Path

from rramsweep.study import fragments
from rramsweep.study.store import Store
from tests.study.test_store import block, fact, point

write, left = fragments.write_atomic, int(sys.argv[2])


def killed(*arguments):
    global left
    if left == 0:
        os._exit(9)
    left -= 1
    write(*arguments)


fragments.write_atomic = killed
store = Store(Path(sys.argv[1]))
store.prepare()
store.add([fact("a", 0), fact("a", 1)], [point()], [block([0, 1])])
"""


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_kill_between_two_writes_leaves_rows_and_answers_by_image_or_neither(tmp_path, writes):
    root = tmp_path / "s"
    done = subprocess.run([sys.executable, "-c", KILLED, str(root), str(writes)], cwd=Path(__file__).parents[2])
    assert done.returncode == (9 if writes < 2 else 0)
    rerun = Store(root)
    plan = Plan([point()], [range(6)])
    assert (rerun.facts().num_rows > 0) == bool(rerun.images(plan)) == (writes == 2)
    if writes < 2:
        rerun.add([fact("a", s) for s in range(6)], [point()], [block(range(6))])
        assert rerun.images(plan)["a"] == {"n_chips": 6, "n_correct": "[6, 0, 1]"}


def old(store, kind, rows, schema):
    """A fragment as scheme 2 wrote it."""
    Fragments(store.root, kind, schema, "").add(pa.Table.from_pylist(rows, schema))


def test_a_store_of_scheme_2_is_read_and_its_orphaned_answers_hide_none(store):
    old(store, "facts", [fact("a", 8), fact("a", 9)], FACTS)
    old(store, "images", [block([8, 9]), block([0, 1, 2])], IMAGES)  # chips 0..2 were killed before their facts
    (store.root / "store.json").write_text('{"scheme": 2}')
    store = Store(store.root)
    store.prepare()
    assert json.loads((store.root / "store.json").read_text())["scheme"] == 3
    store.add([fact("a", s) for s in range(8)], [point()], [block(range(8))])
    everything = Plan([point()], [range(10)])
    for _ in range(2):
        assert keys(store.facts()) == [("a", s) for s in range(10)]
        assert store.images(everything)["a"] == {"n_chips": 10, "n_correct": "[10, 0, 2]"}
        assert store.images(Plan([point()], [range(8)]))["a"]["n_chips"] == 8
        store.compact()


def test_merged_fragments_keep_every_block_of_answers(store):
    for seeds in ([0, 1], [2], [0, 1, 2], [0, 1]):
        store.add([fact("a", s) for s in seeds], [point()], [block(seeds)])
    store.add([fact("b", 0, "failed", error="x")], [point("b")])
    before = {n: store.images(Plan([point()], [range(n)])) for n in range(1, 4)}
    assert [found.get("a", {}).get("n_chips") for found in before.values()] == [None, 2, 3]
    store.compact()
    assert store.size()["fragments"] == 2
    assert {n: store.images(Plan([point()], [range(n)])) for n in range(1, 4)} == before
    assert store.facts()["status"].to_pylist() == ["ok"] * 3 + ["failed"]


def test_temporary_names_differ_between_hosts_processes_and_calls(tmp_path, monkeypatch):
    names = set()
    for host in ("one", "two.domain", "x" * 300):
        monkeypatch.setattr("socket.gethostname", lambda host=host: host)
        for pid in (1, 2):
            monkeypatch.setattr("os.getpid", lambda pid=pid: pid)
            names |= {temporary_name(tmp_path / "a.json").name for _ in range(5)}
    assert len(names) == 30
    assert max(map(len, names)) < 150
    assert all(name.startswith(".a.json.") and name.endswith(".tmp") for name in names)


def aged(path, hours):
    path.write_bytes(b"half")
    os.utime(path, (time.time() - 3600 * hours,) * 2)
    return path


def test_left_over_temporary_files_are_removed_and_those_in_use_are_not(store, monkeypatch):
    own = temporary_name(store.root / "facts-1.parquet").name
    dead = subprocess.Popen(["true"])
    dead.wait()
    names = {
        "killed": own.replace(f".{os.getpid()}.", f".{dead.pid}."),
        "other host": own.replace(own.split(".")[3], "elsewhere"),
        "old form": ".facts-1.parquet.123.tmp",
    }
    gone = [aged(store.root / name, hours=2) for name in names.values()]
    kept = [
        aged(store.root / own, hours=2),  # of this process, which runs
        aged(store.root / ".notes.tmp", hours=2),
        aged(store.root / names["other host"].replace("elsewhere", "other"), hours=0.5),
    ]
    store.tidy()
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in kept)
    again = aged(store.root / names["killed"], hours=2)
    store.prepare()
    assert not again.exists()


def test_progress_files_of_killed_sweeps_are_removed(tmp_path):
    folders = [tmp_path / name for name in ("now", "killed", "running", "no_sweep")]
    for folder in folders:
        folder.mkdir()
        if folder.name != "no_sweep":
            (folder / "plan.json").write_text("{}")
    old, young, foreign = (
        aged(folder / ".progress-0.json", hours) for folder, hours in zip(folders[1:], (2, 0, 2), strict=True)
    )
    temporary = aged(folders[1] / ".plan.json.1.tmp", 2)
    ProgressFile.clear_beside(folders[0])
    assert [path.exists() for path in (old, young, foreign, temporary)] == [False, True, True, False]


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"ok": 1}', b'{"ok": "1", "failed": 0}', b"\xff", b"[" * 10**5])
def test_a_damaged_progress_file_counts_nothing(tmp_path, text):
    (tmp_path / ".progress-0.json").write_bytes(b'{"ok": 2, "failed": 1}')
    (tmp_path / ".progress-1.json").write_bytes(text)
    os.mkfifo(tmp_path / ".progress-2.json")
    assert ProgressFile.total(tmp_path) == Tally(2, 1)
    ProgressFile.clear(tmp_path)
    assert not list(tmp_path.iterdir())
