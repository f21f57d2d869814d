"""A config file or a results folder is data: nothing that it names is run, whoever wrote it."""

from __future__ import annotations

import itertools
import json
import sys

import pytest
from omegaconf import OmegaConf

import rramsweep as rs
from rramsweep.cli import planning
from rramsweep.cli.main import main

DIGITS = ["model=digits_mlp", "data=digits", "data.limit=20", "chips=1"]
MKDIR = "{_target_: posix.mkdir, path: made}"


def refused(arguments, capsys, says):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    error = capsys.readouterr().err
    assert ended.value.code == 1, error
    assert error.count("\n") == 1, error
    assert says in error


def no_code_ran(workdir):
    return not list(workdir.rglob("made*")) and "antigravity" not in sys.modules


def lab(workdir, **files):
    """A folder of a user's own groups: `{group__option: text}`."""
    for name, text in files.items():
        path = workdir / "lab" / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return ["--config-dir", str(workdir / "lab")]


OWN = [
    ("model", "rramsweep.cli.api.sweep", "{overrides: [model=digits_mlp]}"),
    ("model", "rramsweep.sweep", "{overrides: [model=digits_mlp]}"),
    ("model", "rramsweep.models.train.main", "{}"),
    ("model", "rramsweep.models.load_checkpoint", "{path: made}"),
    ("data", "rramsweep.files.write_atomic", "{path: made, data: x}"),
    ("data", "rramsweep.reporting.report.write", "{folder: made}"),
    ("drift", "rramsweep.cli.main.main", "{argv: [--version]}"),
    ("device", "rramsweep.construct.import_name", "{name: antigravity, where: x}"),
    ("metric", "rramsweep.effects.Gaussian", "{}"),
    ("drift", "rramsweep.effects.WhiteReadNoise", "{}"),
    ("read_noise", "rramsweep.effects.RelativeDrift", "{}"),
    ("mapping", "rramsweep.effects.Ideal", "{}"),
    ("accelerator", "rramsweep.devices.device.Device", "{g_min_uS: 1, g_max_uS: 2}"),
]


@pytest.mark.parametrize(("group", "target", "arguments"), OWN)
def test_a_group_takes_what_it_is_for_and_no_other_code_of_this_package(workdir, capsys, group, target, arguments):
    node = {"_target_": target, **OmegaConf.to_container(OmegaConf.create(arguments))}
    option = OmegaConf.to_yaml(OmegaConf.create(node))
    base = [override for override in DIGITS if not override.startswith(f"{group}.")]
    refused([*lab(workdir, **{f"{group}__evil": option}), *base, f"{group}=evil"], capsys, f"{group}._target_ must be")
    assert no_code_ran(workdir)


@pytest.mark.parametrize("group", ["drift", "device", "read_noise", "faults"])
def test_a_rule_for_layers_takes_no_other_code_either(workdir, capsys, group):
    rule = f"analog: {{layers: {{late: {{match: '*', {group}: {MKDIR}}}}}}}"
    experiment = f"# @package _global_\n{rule}\n"
    command = [*lab(workdir, experiment__evil=experiment), *DIGITS, "experiment=evil"]
    refused(command, capsys, f"analog.layers.late.{group}._target_ must be")
    assert no_code_ran(workdir)


def test_an_argument_that_is_a_node_takes_none(workdir, capsys):
    option = "_target_: rramsweep.datasets.from_dataset\ndataset: {_target_: rramsweep.cli.api.sweep, overrides: []}\n"
    command = [*lab(workdir, data__evil=option), "model=digits_mlp", "chips=1", "data=evil"]
    refused(command, capsys, "data.dataset._target_ must be of a package of your own")


HYDRA = {
    "callbacks": f"callbacks: {{evil: {MKDIR}}}",
    "a handler": "job_logging: {version: 1, handlers: {evil: {(): posix.mkdir, path: made}}, root: {handlers: [evil]}}",
    "a class": "hydra_logging: {version: 1, handlers: {evil: {class: posix.mkdir, path: made}}}",
    "an external": "job_logging: {version: 1, formatters: {evil: {format: x, validate: 'ext://antigravity.fly'}}}",
    "a file": "job_logging: {version: 1, handlers: {evil: {class: logging.FileHandler, filename: made.log}}}",
    "a parameter": f"sweeper: {{params: {MKDIR}}}",
    "a sweeper": f"sweeper: {MKDIR}",
    "a nested sweeper": f"sweeper: {{extra: {MKDIR}}}",
    "a launcher": f"launcher: {MKDIR}",
    "within a launcher": f"launcher: {{ray: {{init: {MKDIR}}}}}",
    "the environment": "job: {env_set: {PYTHONPATH: made}}",
    "a call elsewhere": f"help: {{template: {MKDIR}}}",
    "allow_targets of an axis": "sweeper: {params: {allow_targets: '[posix]'}}",
    "a plan of an axis": "sweeper: {params: {plan: made.json}}",
}


@pytest.mark.parametrize("flags", [[], ["-m"]], ids=["single", "multirun"])
@pytest.mark.parametrize("node", HYDRA.values(), ids=HYDRA)
def test_hydras_own_node_runs_nothing_that_a_file_names(workdir, capsys, node, flags):
    files = lab(workdir, experiment__evil=f"# @package _global_\nhydra:\n  {node}\n")
    refused([*flags, *files, *DIGITS, "experiment=evil"], capsys, "hydra.")
    assert no_code_ran(workdir)


def test_code_on_the_command_line_needs_allow_targets_too(workdir, capsys):
    refused(
        [*DIGITS, "+hydra.callbacks.evil._target_=posix.mkdir", "+hydra.callbacks.evil.path=made"], capsys, "hydra."
    )
    assert no_code_ran(workdir)


def test_a_callback_of_an_allowed_package_runs(workdir, capsys):
    (workdir / "notelab.py").write_text(
        "import pathlib\nfrom hydra.experimental.callback import Callback\n"
        "class Note(Callback):\n    def on_job_end(self, **_):\n        pathlib.Path('noted').touch()\n"
    )
    callback = "+hydra.callbacks.note._target_=notelab.Note"
    main([*DIGITS, callback, "allow_targets=[notelab]"])
    assert (workdir / "noted").exists()


@pytest.mark.parametrize("group", ["experiment", "technology", "drift", "model"])
@pytest.mark.parametrize("flags", [[], ["-m"], ["plan", "-m"]], ids=" ".join)
def test_an_option_is_a_name_and_no_path(workdir, capsys, group, flags):
    callbacks = f"# @package _global_\nhydra: {{callbacks: {{a: {MKDIR}}}}}\n"
    lab(workdir, **{f"{group}__evil": callbacks})
    way = f"{'../' * 12}{workdir}/lab/{group}/evil".replace("//", "/")
    for option in (way, f"[{way}]", f"{workdir}/lab/{group}/evil"):
        refused([*flags, *DIGITS, f"{group}={option}"], capsys, f"{group} must be the name of an option")
    refused(["-m", *DIGITS, f"{group}={way},{way}2"], capsys, f"{group} must be the name of an option")
    assert no_code_ran(workdir)


@pytest.mark.parametrize("value", ["3", "'${name}'", "{params: 3}", "{params: [1]}", "[]"])
@pytest.mark.parametrize("slot", ["sweeper", "callbacks", "job_logging", "launcher"])
def test_hydras_node_of_another_kind_is_one_line(workdir, capsys, slot, value):
    files = lab(workdir, experiment__evil=f"# @package _global_\nhydra: {{{slot}: {value}}}\n")
    with pytest.raises(SystemExit) as ended:
        main([*files, *DIGITS, "experiment=evil"])
    error = capsys.readouterr().err
    assert ended.value.code == 1
    assert error.count("\n") == 1
    assert "Traceback" not in error


SECOND_LINES = {
    "by interpolation": "hydra: {job: {name: \"x\\ntouch made\"}, launcher: {comment: '${hydra.job.name}'}}",
    "of the job": 'hydra: {job: {name: "x\\ntouch made"}}',
    "of the folder": 'hydra: {sweep: {dir: "x\\ntouch made"}}',
    "of another setting": "analog: {include: [\"x\\ny\"]}\nhydra: {launcher: {comment: '${analog.include[0]}'}}",
}


@pytest.mark.parametrize("text", SECOND_LINES.values(), ids=SECOND_LINES)
@pytest.mark.parametrize("launcher", ["slurm", "submitit_slurm"])
def test_no_word_of_a_file_ends_a_line_of_a_script(workdir, capsys, text, launcher):
    pytest.importorskip("submitit")
    head = f"# @package _global_\ndefaults: [override /hydra/launcher: {launcher}]\n"
    files = lab(workdir, experiment__evil=head + text)
    refused(["-m", *files, *DIGITS, "experiment=evil"], capsys, "must be printable text")


def test_typing_a_launcher_does_not_let_a_file_fill_it(workdir, capsys):
    pytest.importorskip("submitit")
    option = "defaults: [slurm, _self_]\nsetup: ['touch made']\n"
    files = lab(workdir, hydra__launcher__mine=option)
    more = ["hydra/launcher=mine", "hydra.launcher.partition=gpu"]
    refused(["-m", *files, *DIGITS, *more], capsys, "hydra.launcher.setup.0")


LAUNCHERS = {
    "setup": ("slurm", "setup: ['touch made']"),
    "setup beside ours": ("slurm", "setup: ['export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK', 'touch made']"),
    "python": ("slurm", "python: ./made"),
    "an option of sbatch": ("slurm", "additional_parameters: {wrap: touch made}"),
    "a second line": ("slurm", 'comment: "x\\ntouch made"'),
    "environment": ("ray_local", "ray: {init: {runtime_env: {py_executable: ./made}}}"),
    "remote environment": ("ray_local", "ray: {remote: {runtime_env: {working_dir: made}}}"),
}


@pytest.mark.parametrize(("preset", "line"), LAUNCHERS.values(), ids=LAUNCHERS)
def test_shell_lines_of_a_launcher_come_from_the_command_line(workdir, capsys, preset, line):
    pytest.importorskip({"slurm": "submitit", "ray_local": "ray"}[preset])
    option = f"defaults: [{preset}, _self_]\n{line}\n"
    refused(
        ["-m", *lab(workdir, hydra__launcher__mine=option), *DIGITS, "hydra/launcher=mine"], capsys, "hydra.launcher"
    )


def test_a_launcher_preset_of_ones_own_may_set_what_starts_nothing(workdir):
    pytest.importorskip("joblib")
    option = "defaults: [workers, _self_]\nn_jobs: 1\nverbose: 0\n"
    main(["-m", *lab(workdir, hydra__launcher__mine=option), *DIGITS, "shards=1", "hydra/launcher=mine"])
    assert len(rs.load(next((workdir / "outputs" / "sweep").iterdir()))) == 1


@pytest.mark.parametrize("line", ["plan: made.json", "allow_targets: [posix]", "shard: 3"])
def test_what_belongs_to_the_command_line_is_refused_in_a_file(workdir, capsys, line):
    files = lab(workdir, experiment__evil=f"# @package _global_\n{line}\n")
    refused([*files, *DIGITS, "experiment=evil"], capsys, "must come from the command line")


@pytest.mark.parametrize("package", ["rramsweep", "rramsweep.cli.api", "", "a b"])
def test_only_packages_of_ones_own_can_be_allowed(workdir, capsys, package):
    refused([*DIGITS, f"allow_targets=['{package}']"], capsys, "allow_targets must hold")


def test_a_search_path_imports_no_package(workdir, capsys):
    text = "defaults: [config, _self_]\nhydra: {searchpath: ['pkg://antigravity']}\n"
    (workdir / "lab").mkdir()
    (workdir / "lab" / "mine.yaml").write_text(text)
    files = ["--config-dir", "lab", "--config-name", "mine"]
    refused([*files, *DIGITS], capsys, "hydra.searchpath may import no package")
    assert no_code_ran(workdir)


def test_a_config_from_a_file_may_not_allow_itself_code(workdir):
    composed = rs.compose([*DIGITS, "allow_targets=[posix]"])
    (workdir / "c.yaml").write_text(OmegaConf.to_yaml(composed))
    for call in (rs.run, rs.inspect):
        with pytest.raises(ValueError, match=r"allow_targets must come from compose\(\)"):
            call(OmegaConf.load("c.yaml"))
    assert len(rs.run(composed)) == 1


def plan_of_a_sweep(workdir):
    main([*DIGITS])
    (path,) = (workdir / "outputs" / "sweep").glob("*/plan.json")
    return path, json.loads(path.read_text())


STOPPING = [
    {
        "_target_": "rramsweep.cli.api.sweep",
        "overrides": ["model=custom", "model._target_=posix.mkdir", "+model.path=made"],
    },
    {"_target_": "posix.mkdir", "path": "made"},
    {"_target_": "rramsweep.stopping.Fixed", "x": {"_target_": "posix.mkdir", "path": "made"}},
    {"_target_": "rramsweep.study.stopping.read", "node": {}},
    {"_target_": ["posix.mkdir"]},
    "posix.mkdir",
    None,
]


@pytest.mark.parametrize("stopping", STOPPING, ids=str)
def test_opening_a_folder_builds_nothing(workdir, capsys, stopping):
    path, document = plan_of_a_sweep(workdir)
    capsys.readouterr()
    document["settings"]["stopping"] = stopping
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="plan.json must be a plan"):
        rs.load(path.parent)
    refused(["report", str(path.parent)], capsys, "plan.json must be a plan")
    refused([f"plan={path}", "shard=0"], capsys, "plan.json must be a plan")
    assert no_code_ran(workdir)


def test_a_plan_names_targets_that_opening_it_does_not_build(workdir, capsys):
    path, document = plan_of_a_sweep(workdir)
    key = document["points"][0]["config"]["drift"]
    document["parts"][key] = {"_target_": "posix.mkdir", "path": "made"}
    path.write_text(json.dumps(document))
    assert len(rs.load(path.parent)) == 1
    main(["report", str(path.parent)])
    main([f"plan={path}"])  # a worker: its point refuses, one failed row at most
    assert no_code_ran(workdir)


def _everywhere(document, path=()):
    yield path
    children = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else []
    )
    for key, child in children:
        yield from _everywhere(child, (*path, key))


def _refusal(folder):
    """The message with which a folder is refused, empty where it can be read all the same."""
    try:
        rs.load(folder)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("wrong", [None, 3.5, "x", [], {}, [[1]], -1], ids=str)
def test_a_plan_that_is_damaged_anywhere_is_named_in_one_line(workdir, wrong):
    path, document = plan_of_a_sweep(workdir)
    document["parts"] = {key: document["parts"][key] for key in sorted(document["parts"])}
    text = json.dumps(document)
    tried = 0
    for where in _everywhere(document):
        if where[:1] == ("parts",) and len(where) > 2:
            continue  # what a worker checks when it builds the point
        damaged = json.loads(text)
        node = damaged
        for key in where[:-1]:
            node = node[key]
        if where:
            node[where[-1]] = wrong
        else:
            damaged = wrong
        path.write_text(json.dumps(damaged))
        message = _refusal(path.parent)
        assert "\n" not in message
        tried += bool(message)
    assert tried > 20, "many a field is checked"


BOMBS = {
    "chips": ["chips=1000000000000"],
    "a range of seeds": ["-m", "seed=range(0,1000000000000)"],
    "a range of values": ["-m", "drift.relative_drift=range(0,1,0.000000001)"],
    "points times chips": ["-m", "chips=100000", "drift.relative_drift=range(0,1,0.001)"],
    "a stopping rule": ["stopping=interval", "stopping.max_chips=1000000000000"],
    "levels": ["-m", "drift.relative_drift=range(0,1,0.0000005)"],
    "levels times chips": ["-m", "chips=100", "drift.relative_drift=range(0,1,0.000001)"],
    "levels times a stopping rule": ["-m", "stopping=interval", "drift.relative_drift=range(0,1,0.00001)"],
    "threads": ["threads=1000000"],
    "chips in flight": ["chips_in_flight=100000"],
    "chips a pass": ["chips_per_pass=100000"],
}


@pytest.mark.parametrize("arguments", BOMBS.values(), ids=BOMBS)
def test_what_would_take_all_memory_or_time_is_refused_first(workdir, capsys, arguments):
    flags = [a for a in arguments if a == "-m"]
    rest = [a for a in arguments if a != "-m"]
    base = DIGITS[:3] if any(a.startswith(("chips=", "seed=", "stopping")) for a in rest) else DIGITS
    refused([*flags, *base, *rest], capsys, "RRAMSWEEP_MAX_")


@pytest.mark.parametrize("name", ["levels", "levels times chips", "a range of values", "a range of seeds"])
def test_no_value_is_written_out_before_their_number_is_refused(workdir, capsys, monkeypatch, name):
    monkeypatch.setattr(planning, "axis_values", lambda override: pytest.fail("written out"))
    refused([*BOMBS[name][:1], *DIGITS[:3], *BOMBS[name][1:]], capsys, "RRAMSWEEP_MAX_")


@pytest.mark.parametrize("given", ["range(0,inf,1)", "range(0,1,0)", "range(0,1,nan)", "range(-inf,0)"])
def test_a_range_without_an_end_is_refused_in_one_line(workdir, capsys, given):
    refused(
        ["-m", *DIGITS[:3], f"drift.relative_drift={given}"], capsys, "range of finite ends, with a step other than 0"
    )


def test_a_plan_of_a_trillion_seeds_is_refused_when_it_is_opened(workdir, monkeypatch):
    path, document = plan_of_a_sweep(workdir)
    document["points"][0]["seeds"] = [[0, 1_000_000_000_000]]
    path.write_text(json.dumps(document))
    with pytest.raises(
        ValueError, match="^trials must be at most 10,000,000, got 1,000,000,000,000: .*RRAMSWEEP_MAX_TRIALS"
    ):
        rs.load(path.parent)


def test_a_limit_is_raised_by_the_environment_alone(workdir, monkeypatch):
    monkeypatch.setenv("RRAMSWEEP_MAX_TRIALS", "2")
    with pytest.raises(ValueError, match="trials must be at most 2, got 3"):
        rs.sweep([*DIGITS[:3], "chips=3"])
    monkeypatch.setenv("RRAMSWEEP_MAX_TRIALS", "3")
    assert len(rs.sweep([*DIGITS[:3], "chips=3"])) == 3
    monkeypatch.setenv("RRAMSWEEP_MAX_TRIALS", "many")
    with pytest.raises(ValueError, match="RRAMSWEEP_MAX_TRIALS must be a number above 0, got 'many'"):
        rs.sweep([*DIGITS[:3], "chips=3"])


def _aliases(levels):
    lines = ["a0: &a0 [" + ", ".join(["xxxxxxxxxx"] * 9) + "]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines)


def _interpolations(levels):
    lines = ["a0: xxxxxxxxxx", *(f"a{i}: '{9 * f'${{faults.a{i - 1}}}'}'" for i in range(1, levels))]
    return "\n".join(["_target_: rramsweep.effects.Ideal", *lines])


def _lists(levels):
    lines = ["a0: [x, x]"]
    for i in range(1, levels):
        before = f'"${{..a{i - 1}}}"'
        lines.append(f"a{i}: [{', '.join([before] * 9)}]")
    return "\n".join(["_target_: rramsweep.effects.Ideal", *lines])


def _selected(levels):
    lines = ["a0: xxxxxxxxxx"]
    for i in range(1, levels):
        before = f"${{oc.select:faults.a{i - 1},x}}"
        lines.append(f"a{i}: '{before * 9}'")
    return "\n".join(["_target_: rramsweep.effects.Ideal", *lines])


YAMLS = {
    "an interpolation bomb by a resolver": (_selected(12), "RRAMSWEEP_MAX_CONFIG_MB"),
    "an alias bomb": (_aliases(12), "RRAMSWEEP_MAX_CONFIG_MB"),
    "an interpolation bomb": (_interpolations(12), "RRAMSWEEP_MAX_CONFIG_MB"),
    "an interpolation bomb of lists": (_lists(12), "RRAMSWEEP_MAX_CONFIG_MB"),
    "a tab": ("_target_: rramsweep.effects.Ideal\n\tx: 3\n", "line 2 must be YAML"),
    "a repeated key": ("_target_: a.b\n_target_: c.d\n", "line 2 has the key '_target_' twice"),
    "a tag of Python": ("_target_: !!python/name:os.system\n", "line 1 must hold plain values"),
    "an object of Python": ("x: !!python/object/apply:os.mkdir [made]\n", "line 1 must hold plain values"),
    "a date": ("_target_: a.b\nday: 2026-01-01\n", "line 2 must hold plain values, got one of the type timestamp"),
    "binary": ("x: !!binary aGVsbG8=\n", "line 1 must hold plain values, got one of the type binary"),
    "a list": ("- _target_: a.b\n", "must hold NAME: VALUE pairs"),
    "a word": ("ideal\n", "must hold NAME: VALUE pairs"),
    "an open bracket": ("x: [1, 2\n", "must be YAML"),
    "depth": ("x: " + "[" * 3000 + "]" * 3000 + "\n", "must be"),
    "control characters": ("x: '\x01'\n", "must be YAML"),
}


@pytest.mark.parametrize(("text", "says"), YAMLS.values(), ids=YAMLS)
def test_a_damaged_yaml_is_named_by_file_and_line(workdir, capsys, text, says):
    refused([*lab(workdir, faults__evil=text), *DIGITS, "faults=evil"], capsys, says)
    assert no_code_ran(workdir)


def test_an_interpolation_bomb_in_hydras_node(workdir, capsys):
    chain = ["app_name", "header", "footer", "template"]
    lines = [f"app_name: {'x' * 1000}"]
    for before, name in itertools.pairwise(chain):
        link = f"${{hydra.help.{before}}}"
        lines.append(f"{name}: '{link * 30}'")
    node = "\n    ".join(lines)
    text = f"# @package _global_\nhydra:\n  sweep: {{dir: '${{hydra.help.template}}'}}\n  help:\n    {node}\n"
    files = lab(workdir, experiment__evil=text)
    refused(["-m", *files, *DIGITS, "experiment=evil"], capsys, "RRAMSWEEP_MAX_CONFIG_MB")


def test_numbers_of_a_plan_beyond_64_bits_are_refused(workdir):
    path, document = plan_of_a_sweep(workdir)
    document["points"][0]["params"]["data.limit"] = 10**30
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="plan.json must be a plan"):
        rs.load(path.parent)


def test_a_yaml_that_is_not_text_is_named(workdir, capsys):
    files = lab(workdir, faults__evil="")
    (workdir / "lab" / "faults" / "evil.yaml").write_bytes(bytes(range(128, 256)))
    refused([*files, *DIGITS, "faults=evil"], capsys, "evil.yaml must be UTF-8 text")


def test_a_group_of_ones_own_still_works(workdir):
    option = "# a rate of my own\n_target_: rramsweep.effects.Stuck\np_stuck_lrs: 0.1\n"
    frame_of = [*lab(workdir, faults__mine=option), *DIGITS, "faults=mine"]
    main(frame_of)
    (folder,) = (workdir / "outputs" / "sweep").iterdir()
    assert rs.load(folder)["faults"].tolist() == ["mine"]
