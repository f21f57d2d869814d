"""`rramsweep list` and `--help`: what there is to choose from, as the YAML files and docstrings say it."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from rramsweep.cli.catalog import CATALOG, Catalog, Parameter, conf_dir, read_yaml
from rramsweep.cli.commands import VERBS
from rramsweep.cli.help import show_group, show_help
from rramsweep.cli.main import main
from rramsweep.construct import import_name
from rramsweep.groups import GROUPS

EVERY = [(group, option) for group in CATALOG.groups() for option in CATALOG.options(group)]


@pytest.fixture
def conf(tmp_path):
    """A folder of configs of our own."""
    (tmp_path / "drift").mkdir()

    def write(name, text):
        (tmp_path / "drift" / f"{name}.yaml").write_text(text)
        return Catalog((tmp_path,))

    return write


def test_every_group_is_listed_with_its_options():
    found = CATALOG.groups()
    assert set(GROUPS) | {"experiment", "accelerator", "stopping", "hydra/launcher", "finetune"} == set(found)
    assert next(iter(found)) == "experiment"
    for group, names in found.items():
        assert names == sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


@pytest.mark.parametrize(("group", "option"), EVERY, ids=lambda v: getattr(v, "name", v))
def test_every_option_has_a_meaning_and_every_parameter_of_its_yaml(group, option):
    assert option.meaning
    document = read_yaml(conf_dir() / group / f"{option.name}.yaml") or {}
    names = [key for key in document if key not in ("_target_", "defaults", "hydra")]
    shown = {p.name.split(".")[0] for p in option.parameters}
    assert set(names) <= shown
    target = str(document.get("_target_", ""))
    assert bool(option.equation) == target.startswith("rramsweep.")


def test_an_option_is_read_whole(conf):
    catalog = conf(
        "law",
        "# @package _global_\n"
        "# What the law is [X].\n"
        "# Source: someone, 2020 [R: table 1]; the rest [M].\n"
        "defaults:\n"
        "  - override /device: generic\n"
        "  - _self_\n"
        "_target_: rramsweep.effects.RelativeDrift\n"
        "sigma_uS: 1.5 # of a cell [R2]\n"
        "mark: '#1'   # a colour, not a comment\n"
        "\n"
        "# why this one\n"
        "t0_s: 1e-3\n"
        "inner:\n"
        "  deep_K: [1, 2] # two of them\n"
        "hydra:\n"
        "  sweeper:\n"
        "    params:\n"
        "      drift.x: 1,2\n",
    )
    (option,) = catalog.options("drift")
    assert (option.name, option.meaning) == ("law", "What the law is [X].")
    assert option.source == ["Source: someone, 2020 [R: table 1]; the rest [M]."]
    assert option.equation.startswith("`G' = G + relative_drift G_ref z`")
    assert option.sets == ["device=generic"]
    assert option.tags() == ["R", "R2", "M", "X"]
    assert option.parameters == [
        Parameter("sigma_uS", "1.5", "of a cell [R2]"),
        Parameter("mark", "'#1'", "a colour, not a comment"),
        Parameter("t0_s", "1e-3", "why this one"),
        Parameter("inner.deep_K", "[1, 2]", "two of them"),
        Parameter("drift.x", "1,2", ""),
    ]
    assert [p.unit for p in option.parameters] == ["µS", "", "s", "K", ""]


def test_an_option_that_begins_with_another_has_its_parameters_too(conf):
    conf("base", "# Base.\n_target_: rramsweep.effects.Ideal\na: 1 # first\nb: 2 # second\n")
    catalog = conf("more", "# More.\ndefaults:\n  - base\n  - _self_\nb: 3\n")
    base, more = catalog.options("drift")
    assert [(p.name, p.default) for p in more.parameters] == [("a", "1"), ("b", "3")]
    assert [p.comment for p in more.parameters] == ["first", "second"]
    assert more.equation == base.equation != ""


def test_a_users_folder_stands_beside_the_packages_own(conf, tmp_path):
    conf("relative", "# Mine.\n_target_: nowhere.at_all.Law\nown_strength: 1 # of it\n")
    conf("own", "# My own.\n_target_: nowhere.at_all.Law\n")
    both = Catalog((tmp_path, conf_dir()))
    assert both.option_names("drift") == sorted([*CATALOG.option_names("drift"), "own"])
    assert {option.name: option.meaning for option in both.options("drift")}["relative"] == "Mine."
    assert both.parameters("drift")["drift.own_strength"] == ["relative"]
    assert "drift.relative_drift" not in both.parameters("drift")
    assert both.defaults() == CATALOG.defaults()


@pytest.mark.parametrize(("group", "option"), EVERY, ids=lambda v: getattr(v, "name", v))
def test_a_docstring_read_from_source_is_that_of_the_imported_target(group, option):
    target = read_yaml(conf_dir() / group / f"{option.name}.yaml").get("_target_", "")
    if target.startswith("rramsweep."):
        imported = import_name(target, group).__doc__
        assert option.equation == " ".join(imported.strip().partition("\n\n")[0].split())


@pytest.mark.parametrize("path", sorted(conf_dir().rglob("*.yaml")), ids=lambda path: path.stem)
def test_a_file_is_read_as_omegaconf_reads_it(path):
    assert read_yaml(path) == (OmegaConf.to_container(OmegaConf.load(path)) or {})


@pytest.mark.parametrize("text", ["1e-3", "-1E5", "1.5e3", ".5e-2", "1.e4", "1_000", "0.5", "1e", "e5", "1e5x", "1h"])
def test_a_number_is_read_as_omegaconf_reads_it(text, tmp_path):
    path = tmp_path / "number.yaml"
    path.write_text(f"a: {text}\n")
    assert read_yaml(path) == OmegaConf.to_container(OmegaConf.load(path))


def test_a_target_that_is_not_ours_is_not_imported(conf):
    (option,) = conf("mine", "# Mine.\n_target_: nowhere.at_all.Law\n").options("drift")
    assert option.equation == ""


def printed(show, *arguments, width=100, **settings):
    console = Console(width=width, highlight=False, record=True, file=io.StringIO(), **settings)
    show(*arguments, console)
    return console.export_text(styles=bool(settings))


def test_a_group_shows_meaning_law_parameters_source_and_tags(capsys):
    main(["list", "drift"])
    out = " ".join(capsys.readouterr().out.split())
    assert "drift=relative (default) Relative drift sigma / G_target: arXiv:2504.03763" in out
    assert "law: `G' = G + relative_drift G_ref z`" in out
    assert "relative_drift 0.0 sigma as a fraction of the reference conductance" in out
    assert "[R2] second-hand" in out


def test_list_without_a_group_is_one_screen(capsys):
    main(["list"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 30
    assert any(line.startswith("device ") and "generic*" in line for line in lines)


@pytest.mark.parametrize(
    ("group", "says"),
    [
        ("drfit", "'drfit' is not a group of options: did you mean drift?"),
        ("foo", "metric, cost, accelerator, stopping, hydra/launcher"),
        ("drift=relative", "got 'drift=relative': write rramsweep list drift"),
        ("drfit=relative", "'drfit' is not a group of options: did you mean drift?"),
        ("relative", "'relative' is not a group of options: did you mean relaxation"),
        ("../conf/drift", "is not a group of options"),
    ],
)
def test_a_mistyped_group_gets_the_nearest(group, says, capfd):
    with pytest.raises(SystemExit) as exit_:
        main(["list", group])
    assert exit_.value.code == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert says in line


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["-m", "--help"], ["plan", "--help"]])
def test_help_is_one_screen(arguments, capsys):
    main(arguments)
    out = capsys.readouterr().out
    assert len(out.splitlines()) <= 45
    for verb in (*VERBS, "plan"):
        assert re.search(rf"^  rramsweep {verb}\b", out, re.MULTILINE), verb
    for group, names in CATALOG.groups().items():
        assert group in out
        assert all(name in out for name in names)
    assert out.count("\n  rramsweep ") >= 5 + len(VERBS)
    assert "--hydra-help" in out


def test_the_commands_to_copy_name_what_there_is():
    text = printed(show_help, VERBS)
    for group, option in re.findall(r" (experiment|technology|model|data)=(\w+)", text):
        assert option in CATALOG.groups()[group]


def test_no_color_is_no_code_at_all(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("TERM", "xterm")
    for verb in (["--help"], ["list", "drift"]):
        monkeypatch.delenv("NO_COLOR", raising=False)
        main(verb)
        assert "\x1b[1m" in capsys.readouterr().out
        monkeypatch.setenv("NO_COLOR", "1")
        main(verb)
        assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["list"], ["list", "drift"], ["list", "device"], ["--help"]])
def test_no_line_is_filled_up_with_blanks(arguments, capsys):
    main(arguments)
    assert all(line == line.rstrip() for line in capsys.readouterr().out.splitlines())


def test_what_all_options_share_is_told_once(capsys):
    main(["list", "device"])
    out = capsys.readouterr().out
    assert out.count("Conductance window of one cell") == 1
    assert "law:" not in out


def test_names_and_defaults_stay_whole_on_eighty_columns():
    lines = printed(show_group, "drift", width=80).splitlines()
    assert all(len(line) <= 80 for line in lines)
    (row,) = [line for line in lines if "variance_uS2_per_decade" in line]
    assert row.split()[:5] == ["variance_uS2_per_decade", "2.13", "µS²", "a", "decade"]


def test_hydras_own_help_stays():
    # In a process of its own: Hydra leaves a log handler behind that writes to what was standard output then.
    command = [sys.executable, "-m", "rramsweep", "--hydra-help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "--hydra-help" in done.stdout


@pytest.mark.parametrize("words", [["list", "device"], ["list"], ["--help"]])
def test_a_folder_of_groups_of_ones_own_is_listed_with_the_packages(tmp_path, capsys, words):
    (tmp_path / "device").mkdir()
    own = "# A cell of ours, measured last week.\n_target_: rramsweep.devices.Device\ng_min_uS: 2\ng_max_uS: 20\n"
    (tmp_path / "device/ours.yaml").write_text(own)
    main([*words, "--config-dir", str(tmp_path)])
    listed = capsys.readouterr().out
    assert "ours" in listed
    assert "neurram" in listed
    if words == ["list", "device"]:
        assert "A cell of ours, measured last week." in listed
    with pytest.raises(SystemExit):
        main([*words, "--config-dir", str(tmp_path / "nowhere")])
    assert "--config-dir must be a folder of config groups" in capsys.readouterr().err
