"""Array files are data from outside: what their headers claim is compared with the memory before it is taken."""

from __future__ import annotations

import ast
import io
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import rramsweep as rs
from rramsweep import FastPyTorchRRAM, npz
from rramsweep.datasets import npz as data_of
from rramsweep.devices.tables import read_grid
from rramsweep.errors import ValidationError

HUGE = (10**6, 10**6)


def header(shape, dtype="<f4") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def archive(path, **members):
    """A zip of such members, bytes as they are and arrays as numpy writes them."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, member in members.items():
            if not isinstance(member, bytes):
                buffer = io.BytesIO()
                np.save(buffer, member)
                member = buffer.getvalue()
            file.writestr(f"{name}.npy", member)
    return path


def read_data(path, big):
    data_of(str(archive(path / "data.npz", x=big, y=np.zeros(2, dtype=int))))


def read_table(path, big):
    read_grid(str(archive(path / "law.npz", g_uS=np.array([1.0, 2.0]), mu_uS=big, sigma_uS=np.zeros(2))))


def read_chip(path, big):
    simulator = FastPyTorchRRAM(nn.Linear(3, 2), 1e-6, 1e-4, seed=0)
    simulator.export_conductances(path / "chip.npz")
    with np.load(path / "chip.npz") as file:
        arrays = dict(file)
    members = {**arrays, next(name for name in arrays if name.endswith("p")): big}
    with zipfile.ZipFile(path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as file:
        for name, member in members.items():
            buffer = io.BytesIO()
            np.save(buffer, member) if not isinstance(member, bytes) else buffer.write(member)
            file.writestr(f"{name}.npy", buffer.getvalue())
    simulator.import_conductances(path / "bomb.npz")


READERS = [read_data, read_table, read_chip]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("shape", "dtype"), [(HUGE, "<f4"), ((10**13,), "|u1"), ((2**62, 2**62), "<f8"), (HUGE, "<U9")]
)
def test_an_array_larger_than_memory_is_refused_by_its_header(tmp_path, read, shape, dtype):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    padded = header(shape, dtype) + bytes(1000)
    # The claim is weighed even where the member holds no such numbers.
    with pytest.raises(ValidationError, match=r"must fit into 80 % of the memory available, .* GB, but .* needs"):
        read(tmp_path, padded)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kB"


@pytest.mark.parametrize("read", READERS)
def test_the_limit_is_said_with_both_sizes_and_the_array(tmp_path, read, monkeypatch):
    monkeypatch.setattr(npz, "available_memory", lambda: 10_000)
    with pytest.raises(
        ValidationError,
        match=r"must fit into 80 % of the memory available, 1e-05 GB, but .*\.npz needs .* GB \(.* is float64 of shape "
        r"\(50, 50\)\): save fewer rows",
    ) as error:
        read(tmp_path, np.ones((50, 50)))
    assert "\n" not in str(error.value)


def test_what_just_fits_is_read_and_what_does_not_is_the_sum(tmp_path, monkeypatch):
    path = archive(tmp_path / "two.npz", a=np.ones(100), b=np.ones(100))
    monkeypatch.setattr(npz, "available_memory", lambda: 2000)
    assert sorted(npz.read_arrays(path)) == ["a", "b"]
    monkeypatch.setattr(npz, "available_memory", lambda: 1999)
    with pytest.raises(ValidationError, match="must fit"):
        npz.read_arrays(path)
    assert list(npz.read_arrays(path, ["b"])) == ["b"]


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (header((2,)) + bytes(10**6), "unpacks to 1000000 bytes where its header says 8"),
        (header((2,)) + bytes(4), "unpacks to 4 bytes where its header says 8"),
        (b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + bytes(100), "header of x has 2147483648 bytes"),
        (b"\x93NUMPY\x01\x00" + (500).to_bytes(2, "little") + b"{", "a header is cut off"),
        (b"\x93NUMPY\x09\x00" + bytes(100), "unknown format 9.0"),
        (b"\x93NUM", "x is no array"),
        (b"", "x is no array"),
        (bytes(10**6), "x is no array"),
        (header((-1,)) + bytes(4), r"x has the shape \(-1,\)"),
        (b"\x93NUMPY\x01\x00" + (4).to_bytes(2, "little") + b"{'a'", "header of x cannot be read"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else None,
)
def test_a_member_that_is_not_what_its_header_says_is_damaged(tmp_path, member, message):
    path = archive(tmp_path / "data.npz", x=member, y=np.zeros(2, dtype=int))
    with pytest.raises(
        ValueError, match=f"data.path must be a whole .npz file, .* cannot be read .*{message}.*save it"
    ):
        data_of(str(path))


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">i2", "|u1", "<i8"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_those_that_numpy_reads_in_this_machines_byte_order(tmp_path, dtype, order, save):
    array = np.asarray(np.arange(12).reshape(3, 4), dtype=dtype, order=order)
    save(tmp_path / "a.npz", a=array, b=np.array(3.5), text=np.array("name"))
    found = npz.read_arrays(tmp_path / "a.npz")
    assert list(found) == npz.array_names(tmp_path / "a.npz") == ["a", "b", "text"]
    assert np.array_equal(found["a"], array)
    assert found["a"].dtype.isnative
    assert (found["b"], found["text"]) == (3.5, "name")


def test_a_table_of_text_larger_than_memory_is_refused(tmp_path, monkeypatch):
    (tmp_path / "law.csv").write_text("g_uS,mu_uS,sigma_uS\n" + "1,0,1\n" * 100)
    monkeypatch.setattr(npz, "available_memory", lambda: 100)
    with pytest.raises(ValidationError, match="must fit into 80 %"):
        read_grid(str(tmp_path / "law.csv"))


def test_the_memory_available_is_that_of_this_machine():
    assert 10**7 < npz.available_memory() < 10**14


def test_a_file_too_large_is_refused_in_a_sentence_without_a_slot(tmp_path, monkeypatch):
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 1, 8, 8)), y=np.arange(4))
    monkeypatch.setenv("RRAMSWEEP_MAX_MEMORY_SHARE", "1e-12")
    with pytest.raises(ValueError, match="^a file must fit into 1e-10 % of the memory available"):
        rs.sweep(["model=digits_mlp", "data=npz", f"data.path={tmp_path}/d.npz", "chips=2"])


def test_a_constraint_that_names_its_own_subject_is_a_sentence():
    """The constraint of an error begins with a verb; a sentence of its own gets no slot in front."""
    for path in sorted(Path(rs.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ValidationError" and node.args:
                text = ast.unparse(node.args[0])
                first = text.removeprefix("f")[1:].split()[0]
                if text[0] in "f'\"" and text.removeprefix("f")[0] in "'\"":
                    assert first not in {"a", "an", "the", "each", "every", "no", "all", "conductances"}, (path, text)
