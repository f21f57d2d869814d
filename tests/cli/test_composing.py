"""Every YAML composes and builds, says where its numbers come from, and settings are checked."""

from __future__ import annotations

import inspect
import subprocess
import sys

import numpy as np
import pytest
import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

import rramsweep as rs
from rramsweep.cli import hydra_adapter
from rramsweep.cli.catalog import conf_dir
from rramsweep.cli.composing import allowed, choices, compose, container, loader, read_settings
from rramsweep.cli.main import main as command
from rramsweep.cli.overrides import as_hydra_takes_them, one_line
from rramsweep.cli.planning import plan_of
from rramsweep.construct import import_name
from rramsweep.groups import CELL_GROUPS, GROUPS
from rramsweep.models.forward import FORWARD_KEYS
from rramsweep.simulation.workbench import Workbench
from tests.pictures import bytes_of, write_cifar, write_folder, write_mnist

YAMLS = sorted(p for p in conf_dir().rglob("*.yaml") if p.parent.name != "sweeper")
OPTIONS = [(p.parent.name, p.stem) for p in YAMLS if p.parent.name in GROUPS]
BUILT = [o for o in OPTIONS if o[0] in (*CELL_GROUPS, "model", "data", "metric") and o[1] != "custom"]
UNTRAINED = "model.checkpoint=null"
COLOUR = ["data=npz", "data.path=colour.npz", "data.layout=NHWC"]
# Options that need something beside them.
OPEN_OPTIONS: dict[tuple[str, str], list[str]] = {
    ("relaxation", "hfox"): ["device.g_max_uS=40"],
    ("relaxation", "cmo_hfox"): ["device.g_min_uS=9", "device.g_max_uS=90"],
    ("model", "digits_cnn"): ["data=digits"],
    ("model", "digits_mlp"): ["data=digits"],
    ("data", "digits"): ["model=digits_cnn"],
    ("data", "npz"): ["data.path=mine.npz"],
    ("programming", "milo2021"): ["device=ihp_hfo2"],
    ("programming", "wan2022"): ["device.g_max_uS=39.2"],
    ("programming", "wan2022_aihwkit"): ["device=neurram"],
    ("programming", "cmo_hfox_0p2"): ["device=ibm_cmo_hfox"],
    ("programming", "cmo_hfox_2"): ["device=ibm_cmo_hfox"],
    ("programming", "yousuf2025"): ["device=nist_daffodil"],
    ("programming", "pcm_joshi2020"): ["device.g_min_uS=0.25", "device.g_max_uS=25", "device.step_uS=null"],
    **{(group, "table"): [f"{group}.path=law.csv"] for group in ("programming", "relaxation", "drift")},
    ("read_noise", "cmo_hfox"): ["device.g_min_uS=9", "device.g_max_uS=88.19"],
    ("read_noise", "pcm"): ["device.g_min_uS=0.25", "device.g_max_uS=25"],
    ("wires", "segments"): ["tile=crossbar"],
    ("iv", "sinh"): ["dac=uniform"],
    ("calibration", "batchnorm"): ["model=digits_cnn", "data=digits"],
    ("calibration", "custom"): ["calibration._target_=rramsweep.calibration.Moments"],
    ("model", "custom"): ["model._target_=rramsweep.models.lenet5"],
    ("metric", "custom"): ["metric._target_=rramsweep.metrics.Top5"],
    ("metric", "mse"): ["data=npz", "data.path=numbers.npz"],
    **{("model", f"resnet{depth}"): [UNTRAINED, *COLOUR] for depth in (20, 32, 44, 56)},
    ("model", "torchvision"): [UNTRAINED, "model.name=resnet18", "model.num_classes=10", *COLOUR],
    ("model", "timm"): [UNTRAINED, "model.name=resnet18", "model.num_classes=10", *COLOUR],
    ("model", "transformers"): ["model.path=my-vit", "model.class_name=AutoModelForImageClassification"],
    ("data", "mnist"): ["data.root=sets"],
    ("data", "fashion_mnist_full"): ["data.root=sets"],
    ("data", "cifar10"): ["model=resnet20", UNTRAINED, "data.root=sets"],
    ("data", "cifar100"): ["model=resnet20", UNTRAINED, "model.num_classes=100", "data.root=sets"],
    ("data", "cifar10_jpeg"): ["model=resnet20", UNTRAINED, "data.path=colour.npz"],
    ("data", "image_folder"): ["model=resnet20", UNTRAINED, "data.root=pets", "data.resize=40", "data.crop=32"],
    ("data", "custom"): ["data._target_=tests.pictures.dataset", "allow_targets=[tests]"],
    ("data", "dataset"): ["data.dataset._target_=tests.pictures.dataset", "allow_targets=[tests]"],
}


@pytest.mark.parametrize("path", YAMLS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_yaml_says_what_it_is_and_where_it_comes_from(path):
    comments = [line for line in path.read_text().splitlines() if line.startswith("#") and "@package" not in line]
    assert comments, f"{path} needs a comment that names its source"


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids="/".join)
def test_every_option_composes_and_builds(group, option, workdir, monkeypatch):
    if option == "timm":
        pytest.importorskip("timm", reason="needs the extra timm")
    if option == "transformers":
        transformers = pytest.importorskip("transformers", reason="needs the extra transformers")
        size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
        config = transformers.ViTConfig(image_size=28, patch_size=7, num_channels=1, num_labels=10, **size)
        transformers.ViTForImageClassification(config).save_pretrained("my-vit")
    labels = np.arange(20) % 10
    np.savez("mine.npz", x=np.zeros((20, 1, 28, 28), dtype=np.float32), y=labels)
    (workdir / "law.csv").write_text("g_uS,mu_uS,sigma_uS\n1,0,2\n100,-1,3\n")
    np.savez("numbers.npz", x=np.zeros((20, 1, 28, 28), dtype=np.float32), y=np.zeros((20, 10)))
    np.savez("colour.npz", x=bytes_of((20, 32, 32, 3)), y=labels)
    if "data.root=sets" in OPEN_OPTIONS.get((group, option), []):
        for kind in ("MNIST", "FashionMNIST"):
            write_mnist(workdir / "sets", kind, bytes_of((20, 28, 28)), labels)
        for kind in ("CIFAR10", "CIFAR100"):
            write_cifar(workdir / "sets", kind, bytes_of((20, 32, 32, 3)), labels, monkeypatch)
    write_folder(workdir / "pets", {"cat": [bytes_of((40, 48, 3))], "dog": [bytes_of((50, 40))]})
    cfg = compose([f"{group}={option}", *OPEN_OPTIONS.get((group, option), [])])
    assert choices(cfg)[group] == option
    Workbench(["tests"]).point(container(cfg), choices(cfg))


@pytest.mark.parametrize(("group", "option"), BUILT, ids="/".join)
def test_a_yaml_has_the_keys_its_target_takes_and_no_others(group, option):
    node = yaml.safe_load((conf_dir() / group / f"{option}.yaml").read_text())
    parameters = inspect.signature(import_name(node["_target_"], group)).parameters.values()
    taken = {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
    assert set(node) - {"_target_", "checkpoint", "fitting", *FORWARD_KEYS} == taken, (
        "every parameter is in the YAML, so that it can be overridden"
    )


@pytest.mark.parametrize("path", sorted((conf_dir() / "experiment").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_experiment_composes(path):
    master = loader().load_configuration("config", [f"experiment={path.stem}"], _multirun(), from_shell=False)
    assert master.name == path.stem
    assert f"experiment={path.stem}" in path.read_text(), "its first comment gives the command"


def _multirun():
    from hydra.types import RunMode

    return RunMode.MULTIRUN


def test_defaults_compose_to_drift_of_strength_zero():
    config = container(compose())
    assert config["drift"]["_target_"] == "rramsweep.effects.RelativeDrift"
    assert config["drift"]["relative_drift"] == 0
    assert "hydra" not in config


@pytest.mark.parametrize(
    ("overrides", "error", "says"),
    [
        (["chips=0"], ValueError, "chips must be at least 1"),
        (["chips=2.5"], ValueError, "chips must be int"),
        (["seed=-1"], ValueError, "seed must be at least 0"),
        (["threads=0"], ValueError, "threads must be at least 1"),
        (["name=../x"], ValueError, "name must be a folder name"),
        (["+chip=3"], ValueError, "chip is not a setting of rramsweep: did you mean chips"),
        (["drift.relative=0.1"], HydraException, "Could not override 'drift.relative'"),
        (["drift=relativ"], HydraException, "Could not find 'drift/relativ'"),
        (["drift.relative_drift=0.1,0.2"], HydraException, "Ambiguous value|requires --multirun"),
    ],
)
def test_refuses_settings(overrides, error, says):
    with pytest.raises(error, match=says):
        compose(overrides)


def test_code_may_not_allow_itself_from_a_yaml(tmp_path):
    config = container(compose(["allow_targets=[mylab]"]))
    with pytest.raises(ValueError, match="must come from the command line"):
        read_settings(config, ["chips=3"])
    with pytest.raises(ValueError, match="must come from the command line"):
        allowed(config, ["chips=3"])
    assert allowed(config, ["allow_targets=[mylab]"]) == ["mylab"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["relaxation=hfx"], "^relaxation has no option 'hfx': did you mean hfox"),
        (["drift.relative=0.1"], "^drift.relative is not there to be set"),
        (["relaxtion=hfox"], "relaxtion"),
    ],
)
def test_what_hydra_refuses_is_one_line_in_python(workdir, overrides, message):
    for call in (rs.compose, rs.sweep, rs.inspect):
        with pytest.raises(ValueError, match=message) as caught:
            call(overrides)
        assert "\n" not in str(caught.value)


INTERPOLATED = """
defaults:
  - config
  - pairs@_global_: ${programming}_with_${device}
  - override programming: write_verify
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mine", []),
        ("mine", ["device=neurram", "pairs@_global_=other"]),
        ("config", ["technology=pyrram", "chips=3", "drift.relative_drift=0.1,0.2"]),
    ],
)
def test_a_config_is_composed_as_hydra_composes_it(tmp_path, name, words):
    (tmp_path / "pairs").mkdir()
    (tmp_path / "mine.yaml").write_text(INTERPOLATED)
    for i, option in enumerate(["write_verify_with_generic", "write_verify_with_neurram", "other"]):
        (tmp_path / "pairs" / f"{option}.yaml").write_text(f"t_s: {i + 1}")
    path = create_config_search_path(str(conf_dir()))
    path.prepend("mine", f"file://{tmp_path}", SearchPathQuery("schema", None))
    own, hydras = (
        OmegaConf.to_container(each(path).load_configuration(name, words, RunMode.MULTIRUN), resolve=False)
        for each in (hydra_adapter._Loader, ConfigLoaderImpl)
    )
    assert own == hydras
    if name == "mine":
        assert own["t_s"] == (1 if not words else 3)


@pytest.mark.skipif(hydra_adapter._restricts_calls(), reason="Hydra 1.4 composes by other functions")
@pytest.mark.parametrize(("words", "modes"), [([], [RunMode.RUN]), (["-m"], [RunMode.MULTIRUN] * 2)])
def test_a_command_and_its_job_are_composed_once(workdir, monkeypatch, words, modes):
    composed, load, get_mode = [], ConfigLoaderImpl.load_configuration, Hydra.get_mode

    def counted(*args, **given):
        config = load(*args, **given)
        composed.append(config.hydra.mode)
        return config

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", counted)
    command([*words, "model=digits_mlp", "data=digits", "data.limit=10", "chips=1"])
    assert composed == modes
    assert Hydra.get_mode is get_mode


@pytest.mark.parametrize("words", [["hydra.mode=MULTIRUN"], ["--config-dir=."], ["--config-name=mine"], ["+hydra.x=1"]])
def test_what_may_set_hydras_mode_is_asked_for_it(words):
    assert not hydra_adapter._is_of_the_package(get_args_parser().parse_args(words))


def test_no_file_of_the_package_sets_hydras_mode():
    assert not [path for path in YAMLS if "mode" in (yaml.safe_load(path.read_text()) or {}).get("hydra", {})]


def test_notes_of_effects_are_warnings_in_python(workdir):
    cfg = compose(["model=digits_mlp", "data=digits", "data.limit=20", "chips=1", "drift=log_time"])
    with pytest.warns(UserWarning, match="does nothing at t_s=0"):
        rs.run(cfg)


APP = """
import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

import rramsweep as rs


@hydra.main(config_path=None, config_name=None, version_base="1.3")
def app(cfg):
    print(OmegaConf.to_yaml(rs.compose(OVERRIDES)))
    frame = rs.sweep([*OVERRIDES, "drift.relative_drift=0,0.1"])
    print("OWN", cfg.mine, HydraConfig.get().job.name, list(HydraConfig.get().overrides.task), len(frame))


app()
"""


@pytest.mark.parametrize("flags", [[], ["-m"]], ids=["single", "multirun"])
def test_an_app_of_ones_own_on_hydra_composes_and_sweeps_inside_its_task(workdir, flags):
    overrides = ["model=digits_mlp", "data=digits", "data.limit=20", "chips=1", "batch_size=20", "threads=1"]
    (workdir / "app.py").write_text(f"OVERRIDES = {overrides}\n{APP}")
    command = [sys.executable, "-W", "ignore", "app.py", *flags, "+mine=3"]
    done = subprocess.run(command, cwd=workdir, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert OmegaConf.to_yaml(rs.compose(overrides)) in done.stdout
    assert done.stdout.splitlines()[-1] == "OWN 3 app ['+mine=3'] 2", "the app's own config is as it was"


@pytest.mark.parametrize(
    ("words", "rewritten"),
    [
        ("calibration=none,moments calibration.images=10", "calibration.images=choice(10)"),
        ("calibration=none,dora calibration.layers=[a,b]", "calibration.layers=choice([a,b])"),
        ("experiment=calibration_methods calibration.images=10", "calibration.images=choice(10)"),
        ("wires=ideal,segments wires.word_line_ohm=2.5", "wires.word_line_ohm=choice(2.5)"),
        ("analog.layers.a.match=fc1 analog.layers.a.device=neurram", "++analog.layers.a.device=neurram"),
        # The default has it, or nothing is swept, or it is swept already.
        ("drift=ideal,relative drift.relative_drift=0.1", "drift.relative_drift=0.1"),
        ("calibration=moments calibration.images=10", "calibration.images=10"),
        ("calibration=none,dora calibration.rank=1,2", "calibration.rank=1,2"),
    ],
)
def test_a_parameter_of_some_swept_options_is_set_for_those_alone(words, rewritten):
    *first, last = words.split()
    *_, taken = as_hydra_takes_them(["-m", *first, last])
    assert taken == rewritten


def test_one_value_of_some_swept_options_is_planned_as_hydra_takes_them(workdir):
    def points(*calibration: str) -> list[str]:
        words = ["model=digits_mlp", "data=digits", *calibration, "chips=1"]
        return [point.point_id for point in plan_of(words, "rramsweep.sweep")[0].points]

    both = points("calibration=none,moments", "calibration.images=10")
    assert both == points("calibration=none") + points("calibration=moments", "calibration.images=10")
    with pytest.raises(ValueError, match="calibration.rank is not there"), one_line():
        points("calibration=none,moments", "calibration.rank=2")


def test_a_rule_takes_an_option_by_its_name(workdir):
    def point(*rule: str) -> str:
        cfg = rs.compose(["model=digits_mlp", "data=digits", "analog.layers.a.match=fc1", *rule])
        return Workbench().point(container(cfg), choices(cfg)).point_id

    by_name = point("analog.layers.a.device=neurram", "analog.layers.a.programming=gaussian")
    node = {**yaml.safe_load((conf_dir() / "device/neurram.yaml").read_text())}
    by_value = [f"+analog.layers.a.device.{key}={'null' if value is None else value}" for key, value in node.items()]
    gaussian = yaml.safe_load((conf_dir() / "programming/gaussian.yaml").read_text())
    by_value += [f"+analog.layers.a.programming.{key}={value}" for key, value in gaussian.items()]
    assert by_name == point(*(word.replace("=None", "=null") for word in by_value)) != point()
    with pytest.raises(ValueError, match="device has no option 'neuram': did you mean neurram"), one_line():
        point("analog.layers.a.device=neuram")


def test_a_swept_option_of_a_rule_is_one_column_with_its_name(workdir):
    rule = ["analog.layers.a.match=fc1", "analog.layers.a.device=neurram,levy_a", "programming=gaussian"]
    plan, _ = plan_of(["model=digits_mlp", "data=digits", *rule, "chips=1"], "rramsweep.sweep")
    assert plan.swept == ["analog.layers.a.device"]
    assert [point.label("analog.layers.a.device") for point in plan.points] == ["neurram", "levy_a"]
    assert plan.points[0].params["analog.layers.a.device.g_max_uS"] == 40
    assert "_option_" not in plan.points[0].text
