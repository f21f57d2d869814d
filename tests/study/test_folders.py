"""The folder of a sweep: by its name alone, under outputs/, apart from the store, and made only once it is right."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from rramsweep.cli.main import main
from rramsweep.cli.sweeper import quoted
from rramsweep.errors import ValidationError
from rramsweep.study.folders import check_apart, check_name

SWEEP = ["model=digits_mlp", "data=digits", "data.limit=20", "chips=1", "drift.relative_drift=0.2"]

BAD = {
    "../x": "without '..'",
    "a/../../x": "without '..'",
    "..": "without '..'",
    ".": "without '..'",
    "./a": "without '..'",
    "a.": "without '..'",
    "a./b": "without '..'",
    " a": "a blank or dot at its end",
    "a ": "a blank or dot at its end",
    "a /b": "a blank or dot at its end",
    "": "neither empty nor absolute",
    "/x": "neither empty nor absolute",
    "a//b": "nor has an empty part",
    "a/": "nor has an empty part",
    "~": "~ at its beginning",
    "~root/x": "~ at its beginning",
    "..\\x": "without a backslash",
    "a\0b": "of printable characters",
    "a\nb": "of printable characters",
    "a\x1b[2Jb": "of printable characters",
    "a\u202eb": "of printable characters",
    "a\u200b": "of printable characters",
    "\ud800": "of printable characters",
    "x" * 256: "of at most 255 bytes a part",
    "é" * 128: "of at most 255 bytes a part",
}


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_is_no_folder_of_its_own_is_refused(name):
    with pytest.raises(
        ValidationError, match="^name must be a folder name under outputs/ .*: give a plain name$"
    ) as bad:
        check_name(name, "outputs/store")
    assert BAD[name] in str(bad.value)
    assert (bad.value.parameter, bad.value.value) == ("name", name)


@pytest.mark.parametrize("name", ["sweep", "a b", "2026/réram", "..a", "a..b", ".a", "store2", "store_a/x"])
def test_a_plain_name_is_taken(workdir, name):
    check_name(name, "outputs/store")


@pytest.mark.parametrize(
    ("name", "store"),
    [
        ("store", "outputs/store"),
        ("store/x", "outputs/store"),
        ("a", "outputs/a/store"),
        ("a", "outputs"),
        ("a", "."),
        ("a", "outputs/b/../a"),
        ("a", "link"),
    ],
)
def test_a_folder_that_is_the_stores_is_refused(workdir, name, store):
    Path("link").symlink_to("outputs/a")
    with pytest.raises(
        ValidationError, match=f"^name={name} and store={store} must be folders apart, .*: give another"
    ):
        check_name(name, store)
    check_apart(Path("outputs/other"), Path("outputs/store"), "name=other")


@pytest.mark.parametrize("mode", [[], ["-m"], ["-m", "hydra/sweeper=basic"]])
@pytest.mark.parametrize("name", ["../x", "a/../../x", "/tmp/rramsweep_no_folder", "~", "a//b", "a\nb", "a.", "store"])
def test_a_command_refuses_it_in_one_line_and_makes_nothing(workdir, capfd, mode, name):
    here = workdir / "inside"
    here.mkdir()
    os.chdir(here)
    with pytest.raises(SystemExit) as exit_:
        main([*mode, *SWEEP, f"name={quoted(name)}"])
    assert exit_.value.code == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("rramsweep: name")
    assert "must be folders apart" in line if name == "store" else "name must be a folder name under outputs/" in line
    assert [path.name for path in workdir.rglob("*")] == ["inside"]
    assert not Path("/tmp/rramsweep_no_folder").exists()


def test_a_name_from_a_yaml_is_refused_as_well(workdir, capfd):
    Path("own").mkdir()
    Path("own/mine.yaml").write_text("defaults: [config, _self_]\nname: ../x\n")
    with pytest.raises(SystemExit):
        main(["--config-dir", "own", "--config-name", "mine", *SWEEP])
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("rramsweep: name must be a folder name under outputs/ without '..'")
    assert sorted(path.name for path in workdir.rglob("*")) == ["mine.yaml", "own"]


@pytest.mark.parametrize("mode", [["hydra.run.dir=outputs/store/x"], ["-m", "hydra.sweep.dir=outputs/store"]])
def test_a_folder_given_to_hydra_is_not_the_stores_either(workdir, capfd, mode):
    with pytest.raises(SystemExit):
        main([*mode, *SWEEP])
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("rramsweep: the output folder and store=")
    assert not list(workdir.iterdir())


@pytest.mark.parametrize("mode", [[], ["-m"]])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "name=link/x",
            "the folder of name=link/x must lie in a folder, but outputs/link is a link that leads nowhere",
        ),
        ("name=link", "the folder of name=link must be a folder, but outputs/link is a link that leads nowhere"),
        ("name=file/x", "the folder of name=file/x must lie in a folder, but outputs/file is a file"),
        ("hydra.{}.dir=outputs/link/x", "must .* a folder, but outputs/link is a link that leads nowhere"),
    ],
)
def test_a_folder_that_cannot_be_made_is_refused_in_one_line(workdir, capsys, mode, given, message):
    Path("outputs").mkdir()
    Path("outputs/link").symlink_to("nowhere")
    Path("outputs/file").write_text("x")
    with pytest.raises(SystemExit):
        main([*mode, *SWEEP, given.format("sweep" if mode else "run")])
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(f"rramsweep: .*{message}: remove it, or", line), line
