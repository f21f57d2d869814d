"""Names that are not there: refused from the catalog alone, in the words of a command that Hydra has composed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rramsweep.cli.catalog import CATALOG
from rramsweep.cli.main import main
from rramsweep.cli.messages import TRAINING, check_names
from rramsweep.cli.overrides import check
from rramsweep.errors import ValidationError

EVERY = [(group, option) for group in CATALOG.groups() if group != TRAINING for option in CATALOG.options(group)]

REFUSED = {
    # an option
    "device=x": "device has no option 'x': it has generic, hpe_dpe",
    "drift=relatve": "drift has no option 'relatve': did you mean relative?",
    "model=resnet": "model has no option 'resnet': did you mean resnet",
    "experiment=quickstrat": "experiment has no option 'quickstrat': did you mean quickstart?",
    "technology=pyram": "technology has no option 'pyram': did you mean pyrram?",
    "stopping=intervall": "stopping has no option 'intervall': did you mean interval?",
    "accelerator=gpu": "accelerator has no option 'gpu': did you mean cpu?",
    "-m device=generic,genric": "device has no option 'genric': did you mean generic?",
    "drift=0.1": "drift has no option 0.1: it has .*; a value of its parameter is written drift.relative_drift=0.1",
    "drift=1e-3": "written drift.relative_drift=0.001",
    "drift=1": "written drift.relative_drift=1",
    "drift=nan": "drift has no option nan",
    "drift=true": "drift has no option true",
    "drift=null": "drift must be the name of an option, got null: pick one of ideal, log_time",
    "-m drift=0,0.1": "drift has no option 0: ",
    "hydra/launcher=3": "hydra/launcher has no option 3",
    # a parameter
    "drift.relative_drft=1": "drift.relative_drft is not there to be set: did you mean drift.relative_drift?",
    "-m drift.relative_drft=0,1": "drift.relative_drft is not there to be set: did you mean drift.relative_drift?",
    "drift.nu_mean=1": "not there to be set, because it is a parameter of drift=power_law: choose that too",
    "stopping.half_width=0.1": "because it is a parameter of stopping=interval: choose that too",
    "device=neurram drift=ideal drift.relative_drift=0": "is a parameter of drift=relative: choose that too",
    "technology=drift_alone programming.alpha_ind=0.1": "is a parameter of programming=gaussian",
    "-m technology=drift_alone,custom programming.alpha_ind=0.1": "is a parameter of programming=gaussian",
    "-m drift=ideal,relative drift.nu_mean=1": "is a parameter of drift=power_law",
    "-m experiment=quickstart drift.relativ=1": "drift.relativ is not there to be set: did you mean",
    "-m drift.relative_drft=range(0,1,0.5)": "did you mean drift.relative_drift?",
    "-m drft=choice(1,2)": "drft is not there to be swept: did you mean drift?",
    "data.path=/tmp/x.npz": "because it is a parameter of data=cifar10_jpeg or data=npz",
    "model.width=64": "model.width is not there to be set: write .model.width=VALUE for an argument of the network",
    "data.limt=50": "data.limt is not there to be set: did you mean data.limit?",
    "device.g_max=[1,2]": "device.g_max is not there to be set: did you mean device.g_max_uS?",
    "metric.name='x'": "metric.name is not there to be set",
    # a target
    "target.yield=0.9": "`rramsweep sensitivity` alone, got 'target.yield=0.9': leave it out, or give yield_drop",
    "-m target.drop=0,0.1": "a target is of `rramsweep budget` and .* alone, got 'target.drop=0,0.1'",
    "+target.drop=0.1": "a target is of `rramsweep budget` and .* alone, got '.target.drop=0.1'",
    "target=0.1": "a target is of `rramsweep budget` and .* alone, got 'target=0.1'",
    # a setting
    "chip=3": "chip is not there to be set: did you mean chips?",
    "modle=x": "modle is not there to be set: did you mean model?",
    "drft.relative_drift=1": "drft is not there to be set: did you mean drift?",
    "-m drft.relative_drift=0,1": "drft.relative_drift is not there to be swept: did you mean drift.relative_drift?",
    "-m drft=1,2": "drft is not there to be swept: did you mean drift?",
    "-m drft=1": "drft is not there to be set: did you mean drift?",
    "foo=[1,2]": "foo is not there to be set: it has technology, macro, device",
    # torn words
    "drift.relative_drift 0.1": "without blanks, got drift.relative_drift 0.1: write drift.relative_drift=0.1",
    "-m drift.relative_drift=0, 0.1": "write drift.relative_drift=0,0.1",
    "drift.relative_drift = 0.1": "write drift.relative_drift=0.1",
}

# What Hydra takes, or refuses for another reason, so that it is left to it.
LEFT = [
    "chips=3",
    "t_s=1h",
    "analog.layers.late.match=fc*",
    "analog.nowhere=1",
    "+model.width=64 model=custom model._target_=mylab.nets.build allow_targets=[mylab]",
    "~experiment",
    "+drift.relative_drft=1",
    "device=own --config-dir conf",
    "-cd conf device=own",
    "--config-name other devic=x",
    "hydra.searchpath=[file://conf] device=own",
    "hydra/launcher=mylauncher",
    "hydra/launcher=joblib hydra.launcher.n_jobs=2",
    "hydra/sweeper=basic devic=x",
    "-m hydra.sweeper.params.drift=log_time drift.nu=0.1",
    "-m drift=power_law,log_time drift.nu_mean=choice(0.1)",
    "-m drift=glob(*) drift.nu_mean=choice(0.1)",
    "-m drift=choice(power_law,ideal) drift.nu_mean=0.1",
    "-m devic=choice(a(b,2)",
    "data.path=a(b).npz",
    "devic=[a,b",
    "devic=a$b",
    "drift=./x",
    "-m drift=ideal,a/b drift.nu_mean=1",
    "device='generic'",
    "device=$HOME",
    "-m technology=pyrram,drift_alone programming.alpha_ind=0.1",
    "technology=pyrram programming.alpha_ind=0.1",
    "technology=neurram programming.coefficients=[1,2]",
    "-m experiment=stuck_faults faults.p_stuck_lrs=0.1",
    "-m technology=choice(pyrram) programming.alpha_ind=0.1",
    "drift.relative_drift=0,0.1 devic=x",
    "drift=ideal drift=relative drift.nu=1",
    "drift=",
    "-m experiment=quickstart,nothing",
    "--cfg job devic=x",
]


@pytest.mark.parametrize(("command", "says"), REFUSED.items(), ids=REFUSED)
def test_the_catalog_says_what_a_composed_command_would_say(workdir, capfd, monkeypatch, command, says):
    words = command.split()
    with pytest.raises(ValidationError, match=says) as by_catalog:
        check_names(words)
    monkeypatch.setattr("rramsweep.cli.main.check_names", lambda words: None)
    monkeypatch.setattr("rramsweep.cli.main.refuse_torn", check)
    with pytest.raises(SystemExit):
        main(words)
    (by_hydra,) = capfd.readouterr().err.splitlines()
    assert by_hydra == f"rramsweep: {by_catalog.value}"


@pytest.mark.parametrize("command", LEFT)
def test_what_the_catalog_cannot_judge_is_left_to_hydra(command):
    check_names(command.split())


@pytest.mark.parametrize(("group", "option"), EVERY, ids=lambda v: getattr(v, "name", v))
def test_every_option_and_parameter_there_is_may_be_given(group, option):
    check_names([f"{group}={option.name}"])
    check_names(["-m", f"{group}={option.name},{CATALOG.option_names(group)[0]}"])
    for parameter in option.parameters:
        name = (
            parameter.name if group in ("experiment", "technology") else f"{group.replace('/', '.')}.{parameter.name}"
        )
        check_names([f"{group}={option.name}", f"{name}='0'"])
        check_names(["-m", f"{group}=choice({option.name})", f"{name}=choice(0,1)"])
    for chosen in option.sets:
        setter, _, name = chosen.partition("=")
        for key in CATALOG.keys(setter, name) if not setter.startswith("hydra") else ():
            check_names([f"{group}={option.name}", f"{setter}.{key}=0"])


@pytest.mark.parametrize("setting", [*CATALOG.settings(), "plan", "shard"])
def test_every_setting_may_be_given(setting):
    check_names([f"{setting}='1'"])


def test_options_of_a_users_plugin_are_left_to_hydra(tmp_path):
    plugin = tmp_path / "hydra_plugins" / "mylab_configs"
    plugin.mkdir(parents=True)
    code = "from rramsweep.cli.messages import check_names; check_names(['device=ours'])"
    run = [sys.executable, "-c", code]
    with_it = f"import sys; sys.path.append({str(tmp_path)!r}); {code}"
    assert subprocess.run(run, capture_output=True, text=True).stderr.count("device has no option 'ours'") == 1
    subprocess.run([sys.executable, "-c", with_it], check=True)


def test_a_users_options_on_a_folder_of_configs_are_composed(workdir, capsys):
    Path("own/drift").mkdir(parents=True)
    Path("own/drift/mine.yaml").write_text("_target_: rramsweep.effects.RelativeDrift\nrelative_drift: 0.1\n")
    main(["plan", "-cd", "own", "model=digits_mlp", "data=digits", "drift=mine", "chips=1"])
    assert "trials 1, to compute 1" in capsys.readouterr().out


def test_an_argument_of_a_class_of_ones_own_is_given_with_a_plus():
    remedy = r"did you mean .*\? Write \+programming.sigma=VALUE for an argument of a class of your own$"
    with pytest.raises(ValidationError, match=remedy):
        check_names(["programming.sigma=0.1"])
    with pytest.raises(ValidationError, match=r"did you mean drift.relative_drift\?$"):
        check_names(["drift.relative_drft=0.1"])
