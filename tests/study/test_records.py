"""The JSON files of a results folder, damaged in every field: one line with file and remedy, never a traceback."""

from __future__ import annotations

import copy
import json
import logging
import os
from pathlib import Path

import pytest

import rramsweep as rs
from rramsweep.cli.main import main
from rramsweep.errors import ValidationError
from rramsweep.reporting import report
from rramsweep.study.executions import read_executions
from rramsweep.study.records import Each, Optional, mismatch, read_record
from rramsweep.study.store import Store

SWEEP = ["model=digits_mlp", "data=digits", "data.limit=50", "chips=2", "drift.relative_drift=0.2", "store=s"]

WRONG = [None, True, -1, 1.5, 10**30, float("nan"), float("inf"), "text", "\ud800", "1", [], {}, [[[]]], {"a": {}}]
GONE = object()

# Files that are damaged as a whole.
BROKEN = {
    "empty": b"",
    "half": b'[{"started": ',
    "no UTF-8": b'["\xff\xfe"]',
    "UTF-16": "{}".encode("utf-16"),
    "deep": b"[" * 200_000,
    "digits": b"1" * 10_000,
    "binary": bytes(range(256)),
    "null": b"null",
    "text": b'"text"',
    "number": b"3",
}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A folder in which a sweep ran."""
    folder = tmp_path_factory.mktemp("swept")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(["-m", *SWEEP])
    return folder


def places(value, path=()):
    """Every place in a document, the document itself among them."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, part in children:
        yield from places(part, (*path, key))


def put(document, path, value):
    document = copy.deepcopy(document)
    if not path:
        return value
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    if value is GONE:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return document


def damaged(document):
    """The document with each wrong value at each place, but for changes that leave it well formed."""
    for path in places(document):
        for value in [*WRONG, GONE] if path else WRONG:
            yield path, value, put(document, path, value)


def one_line(error):
    assert "\n" not in str(error)
    return str(error)


def refusal(read, path):
    """Why a file is refused; empty where it is not."""
    try:
        read(path)
    except ValidationError as error:
        return one_line(error)
    return ""


def test_each_damaged_field_of_store_json_is_named(swept, tmp_path):
    path = tmp_path / "store.json"
    document = json.loads((swept / "s" / "store.json").read_bytes())
    fine = 0
    for _, _, bad in damaged(document):
        path.write_text(json.dumps(bad))
        refused = refusal(Store, tmp_path)
        if refused:
            assert refused.startswith(f"{path} must hold the scheme of its store, but "), bad
            assert refused.endswith(": remove it")
        else:
            fine += 1
            assert isinstance(bad, dict)
            assert bad["scheme"] == document["scheme"]
            assert isinstance(bad.get("what", ""), str)
    assert fine == 3  # another text, a text of digits, and no text


def test_each_damaged_field_of_executions_json_is_named(swept, tmp_path):
    path = tmp_path / "executions.json"
    document = json.loads((swept / "s" / "executions.json").read_bytes())
    fine = []
    for where, value, bad in damaged(document):
        path.write_text(json.dumps(bad))
        refused = refusal(read_executions, path)
        if refused:
            assert refused.startswith(f"{path} must hold how networks are run"), bad
            assert refused.endswith(": remove it, and it is chosen again")
        else:
            fine.append((where[1:], "missing" if value is GONE else value))
    assert fine == [
        ((), {}),  # nothing chosen so far
        ((), "missing"),
        (("threads",), None),
        (("chips_per_pass",), "missing"),
        (("chips_in_flight",), "missing"),
    ]


def test_each_damaged_field_of_run_json_is_a_warning_and_the_report_is_written(swept, caplog, monkeypatch):
    monkeypatch.chdir(swept)
    (folder,) = Path("outputs/sweep").iterdir()
    path = folder / "run.json"
    whole = path.read_bytes()
    fine = 0
    try:
        for _, _, bad in damaged(json.loads(whole)):
            path.write_text(json.dumps(bad))
            caplog.clear()
            runs = report._runs(folder)
            if runs or bad == []:
                assert not caplog.records
                fine += 1
                continue
            (record,) = caplog.records
            assert record.levelno == logging.WARNING
            assert one_line(record.getMessage()).startswith(f"{path} must hold the runs of a sweep, but ")
            assert "remove it" in record.getMessage()
        assert fine > 10  # one text for another
        path.write_text("{}")
        report.write(folder)
        assert "Not recorded: this sweep ran before" in (folder / "report.html").read_text()
    finally:
        path.write_bytes(whole)
        report.write(folder)


@pytest.mark.parametrize("how", BROKEN)
def test_a_file_that_is_damaged_as_a_whole_is_named(swept, tmp_path, how, caplog):
    for name, read in (
        ("store.json", Store),
        ("executions.json", lambda folder: read_executions(folder / "executions.json")),
    ):
        (tmp_path / name).write_bytes(BROKEN[how])
        with pytest.raises(ValidationError, match=rf"{name} must hold .*, but .*: remove it") as refused:
            read(tmp_path)
        one_line(refused.value)
    (tmp_path / "run.json").write_bytes(BROKEN[how])
    assert report._runs(tmp_path) == []
    (record,) = caplog.records
    assert one_line(record.getMessage()).startswith(f"{tmp_path}/run.json must hold the runs of a sweep, but ")


def test_what_is_no_regular_file_is_named_and_never_waited_for(tmp_path, caplog):
    for name in ("store.json", "executions.json", "run.json"):
        os.mkfifo(tmp_path / name)
    for read in (Store, lambda folder: read_executions(folder / "executions.json")):
        with pytest.raises(ValidationError, match=r"cannot be read \(.*json is a FIFO, not a regular file"):
            read(tmp_path)
    assert report._runs(tmp_path) == []
    (tmp_path / "results.parquet").symlink_to("nowhere")
    with pytest.raises(OSError, match="a link that leads nowhere, not a regular file"):
        rs.load(tmp_path)


def test_a_sweep_goes_on_in_a_folder_whose_run_json_is_damaged(workdir, caplog):
    fixed = "hydra.sweep.dir=outputs/same"
    main(["-m", *SWEEP])
    main(["-m", *SWEEP, fixed])
    Path("outputs/same/run.json").write_text("{}")
    main(["-m", *SWEEP, fixed])
    (record,) = caplog.records
    assert "run.json must hold the runs of a sweep, but it is {}, not a list" in record.getMessage()
    assert len(json.loads(Path("outputs/same/run.json").read_bytes())) == 1


@pytest.mark.parametrize("name", ["store.json", "executions.json"])
def test_a_command_says_it_in_one_line(workdir, capfd, name):
    main([*SWEEP])
    (Path("s") / name).write_text("[1]")
    capfd.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main([*SWEEP, "chips=3"])
    assert exit_.value.code == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("rramsweep: ")
    assert f"{name} must hold " in line
    assert "but it is [1], not an object: remove it" in line


@pytest.mark.parametrize(
    ("value", "form", "wrong"),
    [
        ({"a": 1}, {"a": int}, ""),
        ({"a": True}, {"a": int}, "a is true, not an integer"),
        ({"a": 1}, {"a": bool}, "a is 1, not true or false"),
        ({"a": 1}, {"a": float}, ""),
        (
            {"a": 10**400},
            {"a": float},
            f"a is 1{'0' * 59}..., not a finite number",
        ),
        ({}, {"a": Optional(int)}, ""),
        ({}, {"a": int}, "it has no a"),
        ({"a": 1, "b": 2}, {"a": int}, "it has an unknown 'b'"),
        ({"a": {"b c": [1, None]}}, {"a": Each([int])}, "a['b c'][1] is null, not an integer"),
        ([{"a": "x"}], [{"a": (None, int)}], "[0].a is 'x', not null"),
        ("\ud800", str, "it is '\\ud800', not text of whole characters"),
    ],
)
def test_the_first_wrong_place_is_named(value, form, wrong):
    found = mismatch(value, form)
    assert found.startswith(wrong)
    assert bool(found) == bool(wrong)


def test_constants_that_are_no_json_are_refused(tmp_path):
    (tmp_path / "x").write_text('{"a": NaN}')
    with pytest.raises(
        ValidationError, match=r"x must hold it, but it is no JSON \(NaN is no number of JSON\): remove"
    ):
        read_record(tmp_path / "x", {"a": float}, "it", "remove")
