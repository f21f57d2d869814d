"""A config file says what a person reads in it, or is refused."""

from __future__ import annotations

import re

import pytest
import yaml

import rramsweep as rs
from rramsweep.cli.main import main
from rramsweep.cli.yaml_files import check_file as check_path


def check_file(text, tmp_path):
    (tmp_path / "my.yaml").write_text(text)
    check_path(tmp_path / "my.yaml")


POINT = ["model=digits_mlp", "data=digits", "data.limit=10"]

MISREAD = [
    ("010", "8"),
    ("0x10", "16"),
    ("0b11", "3"),
    ("1:30", "90"),
    ("1:30:00", "5400"),
    ("1_0", "10"),
    ("-1_000", "-1000"),
    ("1_0.5", "10.5"),
    ("1:30.5", "90.5"),
]
MEANT = ["0", "-3", "+3", "10", "1.5", ".5", "1e-3", "1.0E+3", "-.inf", "'010'", '"1_0"', "1h", "a_b", "null", "true"]


@pytest.mark.parametrize(("written", "read"), MISREAD)
@pytest.mark.parametrize("text", ["chips: {}", "a:\n  chips: {}", "a: [1, {{chips: {}}}]"])
def test_a_number_that_reads_otherwise_is_refused_with_what_it_reads_as(text, written, read, tmp_path):
    with pytest.raises(
        ValueError,
        match=rf"chips must be written in decimal digits alone, got {re.escape(written)} in .*, .* read as {read}:",
    ) as error:
        check_file(text.format(written), tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("written", MEANT)
def test_what_reads_as_it_looks_is_left_alone(written, tmp_path):
    check_file(f"chips: {written}\nlist: [{written}]", tmp_path)


@pytest.mark.parametrize("text", ["", "# nothing\n", "~", "{}", "null\n"])
def test_an_empty_file_is_left_alone(text, tmp_path):
    check_file(text, tmp_path)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("- chips\n- 3", "a list"), ("[]", "a list"), ("chips", "the value 'chips'"), ("3", "the value '3'")],
)
def test_a_file_that_is_no_mapping_is_refused(text, kind, tmp_path):
    with pytest.raises(ValueError, match=rf"my.yaml must hold NAME: VALUE pairs, got {re.escape(kind)}: write"):
        check_file(text, tmp_path)


@pytest.fixture
def own(workdir):
    for group in ("experiment", "drift"):
        (workdir / "own" / group).mkdir(parents=True)
    return workdir / "own"


FILES = [
    ("experiment", "# @package _global_\nchips: 010\n", "chips must be written .* read as 8"),
    ("experiment", "# @package _global_\nt_s: 1:30\n", "t_s must be written .* read as 90"),
    ("experiment", "# @package _global_\n- chips\n", "my.yaml must hold NAME: VALUE pairs, got a list"),
    ("experiment", "nonsense", "my.yaml must hold NAME: VALUE pairs, got the value 'nonsense'"),
    ("drift", "_target_: rramsweep.effects.RelativeDrift\nrelative_drift: 1_0\n", "relative_drift must .* read as 10"),
    ("drift", "- 0.1\n", "my.yaml must hold NAME: VALUE pairs, got a list"),
]


@pytest.mark.parametrize(("group", "text", "message"), FILES)
def test_a_users_file_is_refused_by_name_from_python_and_from_the_command_line(own, capsys, group, text, message):
    (own / group / "my.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        rs.sweep([*POINT, f"hydra.searchpath=[file://{own}]", f"{group}=my"])
    for more in (["-m"], []):
        with pytest.raises(SystemExit):
            main(["--config-dir", str(own), *more, *POINT, f"{group}=my"])
        captured = capsys.readouterr()
        assert captured.err.startswith("rramsweep: ")
        assert captured.err.count("\n") == 1
        assert "my.yaml" in captured.err


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("chips=1_0", "chips must be written without underscores, got 1_0, which would be read as 10: write 10 if"),
        ("t_s=0,1_0", "t_s must be written without underscores, got 1_0"),
        ("seed=range(0,1_0)", "seed must be written without underscores, got 1_0"),
        ("name=2024_01", "name must be written without underscores, got 2024_01"),
        ("+drift={relative_drift:0.0_1}", "must be written without underscores, got 0.0_1"),
    ],
)
def test_a_number_with_underscores_on_the_command_line_is_refused(workdir, word, message):
    with pytest.raises(ValueError, match=message):
        rs.sweep([*POINT, word])


@pytest.mark.parametrize("word", ["name=run_1", "name='2024_01'", "name=a_1_2"])
def test_a_name_with_underscores_is_no_number(workdir, word):
    assert rs.compose([*POINT, word]).name == word.partition("=")[2].strip("'")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a:\n\tb: 1", 2),
        ("a:\n  b: 1\n\tc: 2", 3),
        ("a:\n  b: 1\n \tc: 2", 3),
        ("\ta: 1", 1),
        ("a: [1,\n\t2]", 2),
        ("a: |\n\tx", 2),
        ("a:\t1", 1),
        ("-\ta: 1", 1),
    ],
)
@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
def test_a_tab_is_named_as_such(text, line, loader, tmp_path, monkeypatch):
    monkeypatch.setattr("rramsweep.cli.yaml_files._LOADER", getattr(yaml, loader))
    with pytest.raises(
        ValueError, match=rf", line {line} must be YAML, which takes no tabs, but has one: write blanks"
    ):
        check_file(text, tmp_path)


def test_a_tab_in_text_or_a_comment_is_no_mistake(tmp_path):
    check_file("a: 'x\ty'  # b\tc\nd: 1", tmp_path)
    with pytest.raises(ValueError, match="must be YAML, but .*: correct the line"):
        check_file("a: 'x\ty'\nb: @c", tmp_path)
