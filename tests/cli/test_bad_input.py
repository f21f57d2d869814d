"""Bad input: one line with constraint, value and remedy, before any chip, exit 1, no traceback."""

from __future__ import annotations

import os
import pickle
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from rramsweep.cli.main import main
from tests.pictures import bytes_of, write_folder

DIGITS = ["model=digits_mlp", "data=digits"]
NPZ = ["model=digits_mlp", "data=npz"]
E = "rramsweep.effects"

NETS = """
import torch
from torch import nn
import os

def build(width=64):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

def build_nan():
    net = build()
    net[1].weight.data[0, 0] = float("nan")
    return net

def no_analog():
    return nn.Sequential(nn.Flatten(), nn.ReLU())

def not_a_network():
    return 3

def few_classes():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4))

def scripted():
    return torch.jit.script(build())

def exported():
    return torch.export.export(build(), (torch.zeros(2, 1, 8, 8),))
class Tuple(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 10)
    def forward(self, x):
        return self.fc(x.flatten(1)), x

class Asserts(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 10)
    def forward(self, x):
        assert x.shape[-1] == 32, "32 pixels"
        return self.fc(x.flatten(1))

class OwnWeightsOnly(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 10)
    def forward(self, x):
        if x.shape[0] > 1 and self.fc.weight.sum().item() != self.own:
            raise RuntimeError("another\\nnetwork")
        return self.fc(x.flatten(1))

def own_weights_only():
    net = OwnWeightsOnly()
    net.own = net.fc.weight.sum().item()
    return net

def regress():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 1))

def tokens():
    return nn.Sequential(nn.Embedding(8, 6), nn.Linear(6, 8))
"""

METRICS = """
from dataclasses import dataclass
import torch

class Plain:
    name, unit, higher_is_better, version = "plain", "", True, 1
    def __call__(self, outputs, targets):
        return 0.5

@dataclass(frozen=True)
class Base:
    name = "base"
    unit = ""
    higher_is_better = True
    version = 1
    def __call__(self, outputs, targets):
        return 0.5

class NoName(Base):
    name = ""

class NoDirection(Base):
    higher_is_better = "up"

class NoVersion(Base):
    version = None

class NaN(Base):
    def __call__(self, outputs, targets):
        return float("nan")

class Raises(Base):
    def __call__(self, outputs, targets):
        return outputs[99999, 0]

class Both(Base):
    def correct(self, outputs, targets):
        return targets == 0

@dataclass(frozen=True)
class Neither:
    name = "base"
    unit = "fraction"
    higher_is_better = True
    version = 1

class Shape(Neither):
    def correct(self, outputs, targets):
        return outputs > 0

class Lower(Neither):
    higher_is_better = False
    def correct(self, outputs, targets):
        return targets == targets

class Unit(Lower):
    higher_is_better = True
    unit = "images"
"""

SAMPLES = """
import torch
from torch.utils.data import Dataset

class Samples(Dataset):
    def __init__(self, kind="good"):
        self.kind = kind
    def __len__(self):
        return 20
    def __getitem__(self, i):
        size = 9 if self.kind == "sizes" and i == 3 else 8
        x = torch.zeros(1, size, size)
        if self.kind == "dict":
            return {"x": x, "target": i % 10}
        if self.kind == "text":
            return x, str(i)
        if self.kind == "missing":
            raise FileNotFoundError(f"{i}.png")
        return x, i % 10

def not_data():
    return [1, 2]

def several():
    return Samples(), Samples()
"""


TABLES = {
    "law": ["g_uS,mu_uS,sigma_uS", "1,0,2", "100,-1,3"],
    "timed": ["g_uS,t_s,mu_uS,sigma_uS", "1,1,0,2", "100,1,0,3", "1,100,-1,4", "100,100,-1,5"],
    "narrow": ["g_uS,mu_uS,sigma_uS", "10,0,2", "40,0,3"],
    "siemens": ["g_S,mu_S,sigma_S", "1e-6,0,2e-6", "1e-4,0,3e-6"],
    "gap": ["g_uS,t_s,mu_uS,sigma_uS", "1,1,0,2", "100,1,0,3", "1,100,-1,4"],
    "word": ["g_uS,mu_uS,sigma_uS", "1,0,two", "100,0,3"],
}


class Evil:
    def __reduce__(self):
        return (os.system, ("touch evil_was_here",))


@pytest.fixture
def files(workdir, monkeypatch):
    """A folder of everything that can be wrong, and a user's package."""
    (workdir / "badlab").mkdir()
    (workdir / "badlab" / "__init__.py").write_text("")
    (workdir / "badlab" / "nets.py").write_text(NETS)
    (workdir / "badlab" / "metrics.py").write_text(METRICS)
    (workdir / "badlab" / "sets.py").write_text(SAMPLES)
    monkeypatch.syspath_prepend(str(workdir))
    (workdir / "yaml" / "experiment").mkdir(parents=True)
    for key in ("drift", "model", "device", "metric", "accelerator", "analog", "t_s"):
        for i, value in enumerate(("3", "null", "x")):
            text = f"# @package _global_\n{key}: {value}\n"
            (workdir / "yaml" / "experiment" / f"{key}_{i}.yaml").write_text(text)
    rng = np.random.default_rng(0)
    x, y = rng.random((20, 1, 8, 8), dtype=np.float32), np.arange(20) % 10
    bad = x.copy()
    bad[3, 0, 0, 0] = np.nan
    inf = x.copy()
    inf[3, 0, 0, 0] = np.inf
    saves = {
        "good": {"x": x, "y": y},
        "no_y": {"x": x},
        "no_keys": {},
        "other_keys": {"images": x, "labels": y},
        "flat": {"x": x.reshape(20, 64), "y": y},
        "long": {"x": x, "y": y[:-1]},
        "grey": {"x": x[:, 0], "y": y},
        "last": {"x": np.moveaxis(x, 1, 3), "y": y},
        "last3": {"x": np.repeat(np.moveaxis(x, 1, 3), 3, axis=3), "y": y},
        "column": {"x": x, "y": y[:, None]},
        "one_hot": {"x": x, "y": np.eye(10)[y]},
        "number": {"x": x, "y": rng.random((20, 1), dtype=np.float32)},
        "empty": {"x": x[:0], "y": y[:0]},
        "float_y": {"x": x, "y": y.astype(float)},
        "text_x": {"x": np.array(["a"] * 20), "y": y},
        "negative": {"x": x, "y": y - 1},
        "nan": {"x": bad, "y": y},
        "inf": {"x": inf, "y": y},
        "classes": {"x": x, "y": y + 5},
        "numbers": {"x": x, "y": rng.random((20, 3), dtype=np.float32)},
        "numbers10": {"x": x, "y": rng.random((20, 10), dtype=np.float32)},
        "nan_y": {"x": x, "y": np.full(20, np.nan)},
        "bool_y": {"x": x, "y": y > 4},
        "four": {"x": x, "y": y % 4},
        "per_token": {"x": np.arange(40).reshape(20, 2) % 8, "y": np.arange(40).reshape(20, 2) % 8},
        "beyond": {"x": np.arange(40).reshape(20, 2), "y": np.arange(40).reshape(20, 2) % 8},
        "minus": {"x": np.arange(40).reshape(20, 2) - 1, "y": np.arange(40).reshape(20, 2) % 8},
        "wide": {"x": rng.random((20, 1, 9, 9), dtype=np.float32), "y": y},
        "objects": {"x": np.array([Evil()] * 20, dtype=object), "y": y},
    }
    for name, arrays in saves.items():
        np.savez(f"{name}.npz", **arrays)
    Path("cut.npz").write_bytes(Path("good.npz").read_bytes()[:200])
    Path("text.npz").write_text("hello")
    np.save("one.npy", x)
    Path("one.npy").rename("array.npz")
    sys.modules.pop("badlab", None)
    sys.modules.pop("badlab.nets", None)
    sys.modules.pop("badlab.metrics", None)
    sys.modules.pop("badlab.sets", None)
    from badlab.nets import build

    state = build().state_dict()
    torch.save(state, "net.pt")
    torch.save({k: v for k, v in state.items() if k != "3.bias"}, "lacks.pt")
    torch.save({**state, "4.weight": torch.ones(3)}, "more.pt")
    torch.save({**state, "1.weight": torch.ones(5, 5)}, "shape.pt")
    torch.save({**state, "1.weight": state["1.weight"] * float("inf")}, "inf.pt")
    torch.save([1, 2], "list.pt")
    Path("cut.pt").write_bytes(Path("net.pt").read_bytes()[:500])
    Path("text.pt").write_text("hello")
    with open("evil.pt", "wb") as file:
        pickle.dump(Evil(), file)
    with zipfile.ZipFile("scripted.pt", "w") as archive:  # by this entry TorchScript's loader knows its own files
        archive.writestr("scripted/constants.pkl", b"")
    Path("cut.safetensors").write_text("hello")
    for name, lines in TABLES.items():
        Path(f"{name}.csv").write_text("\n".join(lines))
    write_folder(workdir / "pets", {"cat": [bytes_of((40, 48, 3))], "dog": [bytes_of((50, 40))]})
    (workdir / "pets" / "readme.txt").write_text("")
    write_folder(workdir / "torn", {"cat": [bytes_of((40, 48, 3))]})
    (workdir / "torn" / "cat" / "1.png").write_text("hello")
    (workdir / "not_a_sweep").mkdir()
    (workdir / "bad_plan").mkdir()
    (workdir / "bad_plan" / "plan.json").write_text("{}")
    (workdir / "bad_table").mkdir()
    (workdir / "bad_table" / "results.parquet").write_text("not parquet")
    (workdir / "a_file").write_text("")
    return workdir


def custom(target, *more):
    return ["model=custom", f"model._target_=badlab.nets.{target}", "data=digits", "allow_targets=[badlab]", *more]


def checkpoint(name):
    return custom("build", f"model.checkpoint={name}")


def own_metric(name, *more):
    return [*DIGITS, "metric=custom", f"metric._target_=badlab.metrics.{name}", "allow_targets=[badlab]", *more]


def tokens(path, *more):
    named = ["model=custom", "model._target_=badlab.nets.tokens", "allow_targets=[badlab]", "data=npz"]
    return [*named, f"data.path={path}.npz", "data.layout=tokens", *more]


def torchvision(name, *more):
    return ["model=torchvision", f"model.name={name}", "model.checkpoint=null", *more]


def samples(kind, *more):
    named = ["data=dataset", "data.dataset._target_=badlab.sets.Samples", f"+data.dataset.kind={kind}"]
    return ["model=digits_mlp", *named, "allow_targets=[badlab]", *more]


def own_data(target, *more):
    return ["model=digits_mlp", "data=custom", f"data._target_=badlab.sets.{target}", "allow_targets=[badlab]", *more]


def table(name, *more, group="programming"):
    return [*DIGITS, f"{group}=table", f"{group}.path={name}", *more]


def folder(root, *more):
    return ["data=image_folder", f"data.root={root}", *more]


CASES = [
    # names
    (["drfit=relative"], r"drfit .*did you mean drift"),
    (["relative_drift=0.1"], r"relative_drift is not there to be set: did you mean drift.relative_drift\?$"),
    (["-m", "relative_drift=0,0.1"], r"relative_drift is not there to be swept: did you mean drift.relative_drift\?$"),
    (["drift.relative_drft=0.1"], r"drift.relative_drft is not there to be set: did you mean drift.relative_drift\?$"),
    (
        ["-m", "drift=ideal,log_time", "drift.nu_mean=0.1"],
        r"parameter of drift=power_law: choose that too$",
    ),
    (
        ["-m", *DIGITS, "drift=power_law,log_time", "drift.relative_drift=0.1,0.2"],
        r"a parameter of drift=relative: choose that too",
    ),
    (["drift=1.5"], r"drift has no option 1.5: it has ideal, .*; a value .* is written drift.relative_drift=1.5$"),
    (["programming=true"], r"programming has no option true: it has .*gaussian"),
    # what is no option and no map of parameters
    (["drift=null"], r"drift must be the name of an option, got null: pick one of ideal, log_time, .*table$"),
    (["model=null"], r"model must be the name of an option, got null: pick one of custom, "),
    (["-m", "drift=null,relative"], r"drift must be the name of an option, got null: pick one of ideal"),
    (["drift=[1]"], r"drift must be the name of an option, got \[1\]: pick one of ideal"),
    (["-m", "drift=[1],[2]"], r"drift must be the name of an option, got \[1\]: pick one of ideal"),
    ([*DIGITS, "analog=3"], r"analog must hold named parameters, got 3: give analog.NAME=VALUE$"),
    ([*DIGITS, "analog=null"], r"analog must hold named parameters, got null: give analog.NAME=VALUE$"),
    ([*DIGITS, "~analog"], r"analog is missing: leave ~analog out$"),
    ([*DIGITS, "~t_s"], r"t_s is missing: leave ~t_s out$"),
    ([*DIGITS, "t_s=[1,2]"], r"t_s must be a time in seconds >= 0, got \[1, 2\]"),
    ([*DIGITS, "t_s={a:1}"], r"t_s must be a time in seconds >= 0, got \{'a': 1\}"),
    ([*DIGITS, "analog.layers=3"], r"analog.layers must hold named rules, got 3"),
    ([*DIGITS, "+analog.layers.late=3"], r"analog.layers.late needs a pattern of layer names, got 3"),
    (
        [*DIGITS, "+analog.layers.late.match=fc1", "+analog.layers.late.drift=3"],
        r"analog.layers.late.drift must hold parameters, got 3",
    ),
    ([*DIGITS, "drift.relative_drift={a:1}"], r"drift.relative_drift must be float, got \{'a': 1\}"),
    *(
        (["--config-dir", "yaml", *DIGITS, f"experiment={key}_{i}"], says)
        for key, i, says in (
            *(
                (
                    key,
                    i,
                    rf"{key} must hold named parameters, got {shown}: choose {key}=OPTION or set {key}.NAME=VALUE$",
                )
                for key in ("drift", "model", "device", "metric", "accelerator")
                for i, shown in enumerate(("3", "null", "'x'"))
            ),
            ("analog", 0, r"analog must hold named parameters, got 3: give analog.NAME=VALUE$"),
            ("t_s", 2, r"t_s must be .*, got 'x'"),
        )
    ),
    (
        ["-m", *DIGITS, "drift=ideal", f"drift._target_={E}.LogTimeWalk,{E}.PowerLawDrift"],
        r"drift._target_ must vary an option or a parameter, which are columns of the table, got values",
    ),
    # how overrides are written
    (["-m"], r"write rramsweep -m NAME=V1,V2 or rramsweep -m experiment=quickstart$"),
    (["drift.relative_drift", "0.1"], r"NAME=VALUE without blanks, got .*: write drift.relative_drift=0.1$"),
    (["drift.relative_drift 0.2"], r"NAME=VALUE without blanks, got .*: write drift.relative_drift=0.2$"),
    (["-m", "drift.relative_drift", "=", "0.1"], r"without blanks, got .*: write drift.relative_drift=0.1$"),
    (["-m", "drift.relative_drift=0,0.1,", "0.2"], r"without blanks, .*: write drift.relative_drift=0,0.1,0.2$"),
    (["chips=", "3"], r"without blanks, got chips= 3: write chips=3$"),
    (["inspect", "chips", "3"], r"without blanks, got chips 3: write chips=3$"),
    (["analog.exclude=[fc1"], r"got 'analog.exclude=\[fc1', which cannot be read: close its brackets and quotes$"),
    (["data.path=a(b).npz"], r"""cannot be read: put its value in quotes, "data.path='a\(b\).npz'"$"""),
    (["drift=relativ"], r"drift has no option 'relativ': did you mean relative"),
    (["technology=pyram"], r"did you mean pyrram"),
    (["experiment=quikstart"], r"did you mean quickstart"),
    (["drift.relativ_drift=0.1"], r"drift.relativ_drift .*did you mean drift.relative_drift"),
    (["device.gmax_uS=10"], r"did you mean device.g_max_uS"),
    (["chip=3"], r"chip .*did you mean chips"),
    (["+chip=3"], r"chip is not a setting .*did you mean chips"),
    (["+drift.sigma=3"], r"drift.sigma is not a parameter of drift"),
    (["+analog.includ=[a]"], r"analog.includ is not a setting .*did you mean include"),
    (["programming.alpha_ind=0.1"], r"programming.alpha_ind .* a parameter of programming=gaussian"),
    (["stopping.half_width=0.1"], r"stopping.half_width .* a parameter of stopping=interval: choose that too"),
    (["stopping=interval", "stopping.half_wide=0.1"], r"half_wide is not there .*did you mean stopping.half_width"),
    (["stopping=interval", "stopping.half_width=0"], r"half_width must lie above 0 and be finite, got 0"),
    (["stopping=interval", "stopping.min_chips=50", "stopping.max_chips=40"], r"min_chips must not exceed max_chips"),
    ([*DIGITS, "chips=5", "shards=2"], r"a single point runs in this process, got shards=2: add -m to split it"),
    (["drift"], r"drift"),
    (["-m", "technology=pyrram,pyram"], r"did you mean pyrram"),
    # types
    (["drift.relative_drift=much"], r"drift.relative_drift must be float, got 'much'"),
    (["drift.relative_drift=true"], r"drift.relative_drift must be float, got True"),
    (["drift.relative_drift=null"], r"drift.relative_drift must be float, got None"),
    (["drift.relative_drift=[0.1]"], r"drift.relative_drift must be float"),
    (["chips=many"], r"chips must be int, got 'many'"),
    (["chips=2.5"], r"chips must be int, got 2.5"),
    (["seed=abc"], r"seed must be int"),
    (["retry_failed=3"], r"retry_failed must be bool"),
    (["device.levels=2.5", "device.step_uS=null"], r"device.levels must be int or null, got 2.5"),
    (["t_s=soon"], r"t_s must be a time in seconds"),
    (["analog.exclude=true"], r"analog.exclude\[0\] must be str, got True"),
    (["drift.relative_drift=0.1,0.2"], r"takes one value, got drift.relative_drift=0.1,0.2: add -m"),
    # values out of range
    (["chips=0"], r"chips must be at least 1, got 0"),
    (["seed=-1"], r"seed must be at least 0, got -1"),
    (["seed=9223372036854775807"], r"seed \+ chips must stay below"),
    (["t_s=-1"], r"t_s must be a time in seconds >= 0, got -1"),
    (["yield_drop=2"], r"yield_drop must lie in 0..1"),
    (["batch_size=0"], r"batch_size must be at least 1"),
    (["chips_per_pass=0"], r"chips_per_pass must be at least 1"),
    (["accelerator.precision=fp16"], r"accelerator: precision must be one of float32, tf32, bfloat16, got 'fp16'"),
    (["threads=0"], r"threads must be at least 1"),
    (["memory_format=nhwc"], r"memory_format must be one of contiguous, channels_last, got 'nhwc'"),
    (["analog.fold_batchnorm=3"], r"analog.fold_batchnorm must be bool, got 3"),
    (
        ["chips=5", "stopping=interval", "stopping.half_width=0.1"],
        r"chips belongs to stopping=fixed, got 5",
    ),
    (["shards=0"], r"shards must be at least 1"),
    (["drift.relative_drift=-0.1"], r"relative_drift must lie in 0..1"),
    (["drift.relative_drift=20"], r"for 20 % give 0.2"),
    (["drift.relative_drift=10%"], r"must be float, got '10%' \(str\): give a fraction, 0.1$"),
    (["drift.relative_drift=1.2.3%"], r"must be float, got '1.2.3%' \(str\): correct the value$"),
    (["drift.relative_drift=nan"], r"relative_drift must lie in 0..1"),
    (["drift.relative_drift=inf"], r"relative_drift must lie in 0..1"),
    (["drift.reference=goal"], r"reference must be one of target, current"),
    (["drift.z_max=0"], r"z_max must lie above 0"),
    # laws of time
    (
        ["relaxation=hfox"],
        r"measured in 0..40 uS, got a window of 1..100 uS: take a device inside \(device=neurram or .*\) or set "
        r"relaxation.scale=true$",
    ),
    (["relaxation=hfox", "relaxation.scale=true", "t_s=1ms"], r"from 0.01 s on, got 0.001 s"),
    (["-m", *DIGITS, "relaxation=hfox", "device.g_max_uS=40", "t_s=1d,20y"], r"until 100000 s .*beyond_10y=true"),
    (["relaxation=cmo_hfox"], r"fitted in 8..90 uS, .* inside \(device=ibm_cmo_hfox\) or set relaxation.scale=true"),
    (["relaxation=cmo_hfox", "relaxation.strength=-1"], r"strength must be finite and at least 0, got -1"),
    (["drift=power_law", "drift.t0_s=0"], r"t0_s must be a time above 0 in seconds, got 0"),
    (["drift=power_law", "drift.nu_std=-0.1"], r"nu_std must be finite and at least 0, got -0.1"),
    (["drift=log_time", "drift.variance_uS2_per_decade=-1"], r"variance_uS2_per_decade must be finite and at least 0"),
    (["drift=log_time", "drift.temperature_K=358"], r"activation_energy_eV must be given with a temperature"),
    (["drift=log_time", "drift.temperature_K=85", "drift.activation_energy_eV=1"], r"got 85: give kelvin"),
    (["technology=pyrram", "programming.alpha_ind=3"], r"alpha_ind must lie in 0..1"),
    (["faults=stuck", "faults.p_stuck_lrs=0.6", "faults.p_stuck_hrs=0.6"], r"must be at most 1, got 0.6 \+ 0.6"),
    (["faults=stuck", "faults.p_stuck_lrs=-0.1"], r"p_stuck_lrs must lie in 0..1"),
    (["faults=stuck", "faults.g_lrs_uS=-5"], r"g_lrs_uS must be a conductance >= 0"),
    (["read_noise=white", "read_noise.alpha_ind=1.5"], r"alpha_ind must lie in 0..1"),
    (["read_noise=thermal_shot", "read_noise.v_read_V=0"], r"v_read_V must lie above 0"),
    (["read_noise=thermal_shot", "read_noise.temperature_K=-27"], r"temperature_K must be finite and at least 0"),
    (["read_noise=rtn", "read_noise.tau=50"], r"for 50 % give 0.5"),
    (["read_noise=one_over_f", "read_noise.t_read_s=0"], r"t_read_s must lie above 0"),
    (["read_noise=cmo_hfox"], r"what read_noise=cmo_hfox covers, 8..90 uS, got 1..100 uS"),
    (
        ["faults=stuck", "faults.distribution=beta"],
        r"distribution must be one of normal, uniform, lognormal, got 'beta'",
    ),
    (["faults=stuck", "faults.cv_lrs=0.5"], r"cv_lrs must lie in 0..0.333 for a normal distribution .* got 0.5"),
    (["faults=stuck_anywhere", "faults.cv_hrs=-0.1"], r"cv_hrs must lie in 0..0.577"),
    (["faults=lines", "faults.lines=row"], r"lines must be one of bit, word, both, got 'row'"),
    (["faults=lines", "faults.p_stuck_hrs=0.99"], r"must be at most 1, got 0.0175 \+ 0.99"),
    (["faults=clusters", "faults.radius_cells=0"], r"radius_cells must lie in 1..100, got 0"),
    (["faults=clusters", "faults.fill=1.5"], r"fill must lie in 0.2..1, got 1.5"),
    (["faults=clusters", "faults.p_stuck_sa0=0.1"], r"p_stuck_sa0"),
    (["variation=mixed", "variation.sigma=5"], r"sigma must lie in 0..1 .* for 5 % give 0.05"),
    (["variation=mixed", "variation.of=target"], r"of must be one of conductance, g_max, got 'target'"),
    (["variation=mixed", "variation.share_chip=0.9"], r"shares of a variance must sum to 1, got .* = 1.4"),
    (["variation=mixed", "variation.share_device=0.5"], r"must sum to 1, got .* = 1.25: use share_device=null"),
    (["variation=mixed", "variation.share_column=-1"], r"share_column must lie in 0..1"),
    (["device.g_min_uS=100"], r"g_min_uS < g_max_uS"),
    (["device.g_min_uS=500"], r"g_min_uS < g_max_uS"),
    (["device.g_max_uS=1e-4", "device.g_min_uS=1e-6"], r"looks like siemens"),
    (["device.g_max_uS=1e8"], r"looks like a finer unit"),
    (["device.g_max_uS=nan"], r"g_min_uS < g_max_uS"),
    (["device.edge=bounce"], r"edge must be one of clip"),
    (["device.levels=16"], r"step_uS or levels"),
    (["mapping.scale=per_row"], r"scale must be one of per_tensor, per_channel"),
    (["mapping.w_max=rms"], r"w_max must be one of max, percentile"),
    (["mapping.percentile=0"], r"percentile must lie above 0"),
    (["-m", *DIGITS, "drift.relative_drift=0.1,0.2,1.5"], r"relative_drift must lie in 0..1"),
    (["-m", *DIGITS, "device.g_min_uS=1,10,1000"], r"g_min_uS < g_max_uS"),
    (["-m", *DIGITS, "seed=0,1", "chips=5"], r"a swept seed has one chip a value"),
    (["-m", *DIGITS, "seed=-1,0"], r"seed must be an integer"),
    (["-m", *DIGITS, "chips=1,2"], r"an axis must be a config group"),
    (["-m", *DIGITS, "store=a,b"], r"an axis must be a config group"),
    # layers
    (["analog.exclude=[fc9]"], r"'fc9' matches none: did you mean fc"),
    (["analog.include=[cnov*]"], r"'cnov\*' matches none: did you mean conv"),
    (["analog.exclude=['*']"], r"leave none"),
    # networks
    (custom("build_nan"), r"weights must be finite.*1"),
    (custom("no_analog"), r"at least one analog layer"),
    (custom("not_a_network"), r"what badlab.nets.not_a_network returns must be a torch.nn.Module, got int"),
    (
        custom("scripted"),
        r"must be a network of Python layers, got a TorchScript module, compiled: give the network in",
    ),
    (custom("exported"), r"must be a network of Python layers, got an exported program: give the network in Python"),
    (custom("few_classes"), r"logits for .*got shape"),
    (custom("Asserts"), r"must accept the data's inputs, .* of shape \(1, 8, 8\) says '32 pixels'"),
    (
        custom("own_weights_only"),
        r"the weights of the ideal chip as it does with its own, .* says 'another network': correct its forward$",
    ),
    (["plan", *custom("own_weights_only")], r"the weights of the ideal chip"),
    (custom("Tuple"), r"must return one tensor, this one returns tuple"),
    (
        custom("build", "model._target_=badlab.net.build"),
        r"'badlab.net.build' is not there: there is no module badlab.net: did you mean badlab.nets",
    ),
    (custom("bild"), r"badlab.nets.bild' is not there: did you mean build"),
    (custom("build", "+model.widht=3"), r"model.widht is not a parameter of model: did you mean width"),
    (custom("build", "+model.width=a"), r"model"),
    (custom("os.system"), r"comes from 'posix'"),
    (custom("torch.load"), r"comes from 'torch"),
    (["model=custom", "model._target_=badlab.nets.build", "data=digits"], r"allow_targets=\[badlab\]"),
    (["model=custom", "model._target_=os.system"], r"model._target_ must be a target of rramsweep.models"),
    (
        ["model=custom", "model._target_=rramsweep.simulation.trial.torch.load"],
        r"model._target_ must be a target of rramsweep.models or of a package",
    ),
    (["model=custom"], r"model._target_ has no default"),
    (["drift._target_=os.system"], r"drift._target_ must be a target of rramsweep.effects"),
    (["drift._target_=rramsweep.effects.Gauss"], r"did you mean Gaussian"),
    (custom("build", "model._target_=nolab.nets.build", "allow_targets=[nolab]"), r"no package 'nolab'"),
    (["model=digits_mlp"], r"must accept the data's inputs"),
    # networks of the collections
    (["model=resnet21"], r"model has no option 'resnet21': did you mean .*resnet20"),
    (["model=resnet20"], r"model.checkpoint has no default: give model.checkpoint=VALUE"),
    (["model=resnet20", "model.checkpoint=embedded"], r"embedded weights exist for .*, got 'resnet20'"),
    (["model=resnet20", "model.checkpoint=null", "model.num_classes=0"], r"num_classes must be at least 1, got 0"),
    (["model=resnet20", "model.checkpoint=null", "model.num_classes=many"], r"model.num_classes must be int"),
    (["model=resnet20", "model.checkpoint=net.pt"], r"checkpoint must name exactly the model's weights"),
    (["model=resnet20", "model.checkpoint=null"], r"must accept the data's inputs"),
    (["model=torchvision"], r"model.name has no default"),
    (torchvision("resnet19"), r"classification network of torchvision, got 'resnet19': did you mean resnet18"),
    (torchvision("ResNet"), r"classification network of torchvision, got 'ResNet'"),
    (torchvision("resnet18", "+model.weights=DEFAULT"), r"local file, got model.weights='DEFAULT': .*model.checkpoint"),
    (torchvision("resnet18", "+model.depth=3"), r"must accept its arguments, but raised TypeError.*depth"),
    (torchvision("resnet18", "model.checkpoint=net.pt"), r"checkpoint must name exactly the model's weights"),
    (["model=timm", "model.name=resnet19", "model.checkpoint=null"], r"rramsweep\[timm\]|did you mean resnet18"),
    # checkpoints
    (checkpoint("scripted.pt"), r"must hold weights alone, got a TorchScript module in scripted.pt, .*torch.jit.load"),
    (checkpoint("cut.safetensors"), r"rramsweep\[timm\]|complete safetensors file, got cut.safetensors"),
    (checkpoint("nowhere.pt"), r"nowhere.pt"),
    (checkpoint("cut.pt"), r"cut.pt"),
    (checkpoint("text.pt"), r"text.pt"),
    (checkpoint("evil.pt"), r"evil.pt"),
    (checkpoint("list.pt"), r"list.pt"),
    (checkpoint("lacks.pt"), r"3.bias"),
    (checkpoint("more.pt"), r"4.weight"),
    (checkpoint("shape.pt"), r"1.weight"),
    (checkpoint("inf.pt"), r"1.weight"),
    (checkpoint("embedded"), r"embedded weights exist for"),
    # data
    (["data=npz"], r"data.path has no default"),
    ([*NPZ, "data.path=nowhere.npz"], r"existing .npz file, got nowhere.npz"),
    ([*NPZ, "data.path=cut.npz"], r"whole .npz file"),
    ([*NPZ, "data.path=text.npz"], r"text.npz"),
    ([*NPZ, "data.path=array.npz"], r"holds one array"),
    ([*NPZ, "data.path=no_y.npz"], r"lacks y but has x"),
    ([*NPZ, "data.path=no_keys.npz"], r"lacks x and y"),
    (
        [*NPZ, "data.path=other_keys.npz"],
        r"of shapes images \(1, 8, 8\) says .*unexpected keyword argument 'images'.*: name arrays as",
    ),
    ([*NPZ, "data.path=flat.npz"], r"x must have 4 axes \(NCHW\), got shape \(20, 64\) .*: set data.layout=any for"),
    (
        [*NPZ, "data.path=grey.npz"],
        r"got shape \(20, 8, 8\) in grey.npz: set data.layout=NHW for images of one channel",
    ),
    ([*NPZ, "data.path=good.npz", "data.layout=NHW"], r"set data.layout=NCHW or NHWC for images"),
    (["model=lenet5", "data=npz", "data.path=last.npz"], r"last axis looks like channels, .*: set data.layout=NHWC$"),
    (["model=lenet5", "data=npz", "data.path=last3.npz"], r"last axis looks like channels, .*: set data.layout=NHWC$"),
    ([*NPZ, "data.path=column.npz"], r"one label an input, got y of shape \(20, 1\): save y\[:, 0\]$"),
    ([*NPZ, "data.path=column.npz", "metric=perplexity"], r"got y of shape \(20, 1\): save y\[:, 0\]$"),
    ([*NPZ, "data.path=one_hot.npz"], r"got y of shape \(20, 10\), rows of 0 with a single 1: save y.argmax\(1\)"),
    ([*NPZ, "data.path=one_hot.npz", "metric=cross_entropy"], r"a single 1: save y.argmax\(1\)"),
    ([*NPZ, "data.path=number.npz"], r"save y\[:, 0\] as int64, or choose metric=mse where y holds numbers$"),
    ([*NPZ, "data.path=long.npz"], r"20 inputs and 19 targets"),
    ([*NPZ, "data.path=empty.npz"], r"y must hold at least one value"),
    ([*NPZ, "data.path=float_y.npz"], r"top-1 accuracy must have integer labels as targets, got y of torch.float32"),
    ([*NPZ, "data.path=numbers.npz", "data.n_classes=3"], r"n_classes belongs to integer labels, got 3"),
    ([*NPZ, "data.path=nan_y.npz", "metric=mse"], r"y must be finite, got 20 NaN"),
    ([*NPZ, "data.path=bool_y.npz"], r"y must hold integer labels or floating-point numbers, got dtype bool"),
    ([*NPZ, "data.path=good.npz", "data.layout=tokens"], r"tokens must be integers, got x of dtype float32"),
    (tokens("per_token", "data.scale=2"), r"tokens are ids and have no scale"),
    (tokens("minus", "metric=perplexity"), r"token ids must be at least 0, got -1"),
    (tokens("beyond", "metric=perplexity"), r"must accept the data's inputs, .*index out of range"),
    ([*NPZ, "data.path=good.npz", "data.layout=any", "data.mean=[0]"], r"one number a channel of images"),
    ([*NPZ, "data.path=text_x.npz"], r"x must hold numbers"),
    ([*NPZ, "data.path=negative.npz"], r"labels must be in"),
    ([*NPZ, "data.path=nan.npz"], r"x must be finite"),
    ([*NPZ, "data.path=inf.npz"], r"x must be finite"),
    ([*NPZ, "data.path=objects.npz"], r"pickled objects"),
    ([*NPZ, "data.path=classes.npz"], r"classes >= 15"),
    ([*NPZ, "data.path=wide.npz"], r"must accept the data's inputs"),
    ([*NPZ, "data.path=good.npz", "data.layout=CHW"], r"layout must be one of"),
    ([*NPZ, "data.path=good.npz", "data.scale=0"], r"scale must lie above 0"),
    ([*NPZ, "data.path=good.npz", "data.mean=[0,0,0]"], r"data.mean must give one number a channel"),
    ([*NPZ, "data.path=good.npz", "data.std=[0]"], r"data.std must be above 0"),
    ([*NPZ, "data.path=good.npz", "data.limit=50"], r"limit must be in 1..20, got 50"),
    ([*DIGITS, "data.limit=0"], r"limit must be in"),
    ([*DIGITS, "data.split=validation"], r"split must be"),
    # metrics
    (["metric=top2"], r"metric has no option 'top2': did you mean top"),
    (["metric=custom"], r"metric._target_ has no default"),
    (["metric.k=3"], r"metric.k"),
    (["metric._target_=os.system"], r"metric._target_ must be a target of rramsweep.metrics"),
    (["metric._target_=rramsweep.metrics.Top2"], r"did you mean Top"),
    ([*DIGITS, "metric=mse"], r"mean squared error must have numbers as targets, got labels"),
    ([*NPZ, "data.path=numbers.npz", "metric=mse"], r"outputs of y's shape, got \(20, 10\) for \(20, 3\): reshape y"),
    ([*NPZ, "data.path=numbers.npz", "metric=perplexity"], r"perplexity must have integer labels as targets"),
    ([*NPZ, "data.path=numbers.npz", "metric=mse", "metric.target_unit=3"], r"metric.target_unit must be str, got 3"),
    (
        custom("few_classes", "data=npz", "data.path=four.npz", "metric=top5"),
        r"more than 5 classes, got 4: use metric=top1",
    ),
    (tokens("per_token"), r"top-1 accuracy must have one label an input, got y of shape \(20, 2\): choose"),
    (tokens("per_token", "data.n_classes=7", "metric=perplexity"), r"labels must be in 0..6, got 0..7"),
    (
        custom("build", "data=npz", "data.path=per_token.npz", "data.layout=any", "metric=perplexity"),
        r"accept the data's",
    ),
    (own_metric("Plain"), r"must be a frozen dataclass, badlab.metrics.Plain made Plain"),
    (own_metric("NoName"), r"a metric must have a name \(str\), badlab.metrics.NoName has ''"),
    (own_metric("NoDirection"), r"must have a higher_is_better \(bool\), .* has 'up'"),
    (own_metric("NoVersion"), r"must have a version \(int\), .* has None"),
    (own_metric("NaN"), r"base must be finite, got nan"),
    (own_metric("Raises"), r"base must score the answers, but raised IndexError"),
    (own_metric("Both"), r"must be either a number, .* or the share of right inputs, .* badlab.metrics.Both has both"),
    (own_metric("Neither"), r"badlab.metrics.Neither has neither"),
    (
        own_metric("Shape"),
        r"base must say of each input .* bool of shape \(350,\), got torch.bool of shape \(350, 10\)",
    ),
    (own_metric("Lower"), r"must be a fraction of which more is better, but badlab.metrics.Lower says fraction, lower"),
    (own_metric("Unit"), r"must be a fraction of which more is better, but badlab.metrics.Unit says images, higher"),
    ([*DIGITS, "metric=cross_entropy", "yield_drop=-1"], r"yield_drop must be a finite number >= 0"),
    ([*DIGITS, "metric=cross_entropy", "yield_drop=inf"], r"yield_drop must be a finite number >= 0"),
    ([*DIGITS, "yield_drop=nan"], r"yield_drop must lie in 0..1"),
    (["-m", *DIGITS, "metric=top1,perplexity", "yield_drop=0.1"], r"yield_drop must be in the unit of one metric"),
    (
        [*DIGITS, "metric=cross_entropy", "stopping=interval"],
        r"half_width must be given in the metric's unit, got none",
    ),
    ([*DIGITS, "stopping=interval", "stopping.half_width=1"], r"half_width must lie below 1 for top-1 accuracy"),
    (
        ["-m", *DIGITS, "metric=top1,perplexity", "stopping=interval", "stopping.half_width=0.1"],
        r"half_width must be in the unit of one metric",
    ),
    # laws of programming, and devices that they do not cover
    (["programming=milo"], r"programming has no option 'milo': did you mean milo2021"),
    (["programming=cmo_hfox"], r"programming has no option 'cmo_hfox': did you mean .*cmo_hfox_2"),
    (["device=neuram"], r"device has no option 'neuram': did you mean neurram"),
    (["technology=ibm"], r"technology has no option 'ibm': did you mean ibm_cmo_hfox"),
    (["technology=ibm_cmo"], r"technology has no option 'ibm_cmo': did you mean ibm_cmo_hfox"),
    (
        [*DIGITS, "programming=wan2022"],
        r"what programming=wan2022 covers, 0..39.26 uS, got 1..100 uS: .*set programming.outside=scale",
    ),
    (
        [*DIGITS, "programming=milo2021", "programming.outside=scale"],
        r"22.22..100 uS after scaling by 0.4444, got 1..100",
    ),
    (
        [*DIGITS, "technology=ibm_cmo_hfox", "device=hpe_dpe"],
        r"=cmo_hfox_0p2 covers, 8..90 uS, got 100..700",
    ),
    ([*DIGITS, "technology=neurram", "relaxation=gaussian"], r"relaxation=gaussian must begin where programming ends"),
    (
        [*DIGITS, "device=neurram", "relaxation=hfox", "drift.relative_drift=0.1"],
        r"drift=relative must begin where relaxation ends, but that holds all later times",
    ),
    (["relaxation=gaussian_tail", "relaxation.tail_ratio=0.5"], r"tail_ratio must be finite and at least 1, got 0.5"),
    (["faults=clusters", "faults.p_stuck_hrs=0.7"], r"at most 0.15 centres a cell to be clusters"),
    (["programming=milo2021", "programming.outside=widen"], r"outside must be one of refuse, clamp, scale"),
    (["programming=milo2021", "programming.coefficients=3"], r"programming.coefficients must be a list of float"),
    (["programming=milo2021", "programming.coefficients=[]"], r"coefficients must be finite numbers c0, c1, ..., got"),
    (["programming=milo2021", "programming.coefficients=[a]"], r"programming.coefficients\[0\] must be float, got 'a'"),
    (
        ["programming=milo2021", "programming.coefficients=[1,-1]"],
        r"sigma must not be negative in 50..225 uS, got -224",
    ),
    (["programming=milo2021", "programming.g_low_uS=300"], r"needs 0 <= low < high in uS, got 300.*225"),
    (["programming=milo2021", "programming.strength=-1"], r"strength must be finite and at least 0, got -1"),
    (["programming=write_verify", "programming.window_uS=1"], r"window_uS=1.0 and window_fraction=0.002: set one of"),
    (["programming=write_verify", "programming.window_fraction=2"], r"window_fraction must lie in 0..1 .* give 0.02"),
    (["programming=write_verify", "programming.parent_sigma=0"], r"parent_sigma must lie above 0 .*, got 0"),
    (["programming=lognormal", "programming.preserve=mode"], r"preserve must be one of mean, median, got 'mode'"),
    (["programming=lognormal", "programming.sigma_ln=nan"], r"sigma_ln must be finite and at least 0, got nan"),
    (["programming=inverse_proportional", "programming.alpha_inv=2"], r"alpha_inv must lie in 0..1"),
    ([*DIGITS, "programming=inverse_proportional", "device=levy_a"], r"begins above 0, got g_min_uS=0"),
    # a user's own law
    *(([f"{group}=table"], rf"{group}.path has no default") for group in ("programming", "relaxation", "drift")),
    (table("nowhere.csv"), r"programming: path must name an existing table, got nowhere.csv"),
    (table("law.txt"), r"must name a .csv or .npz table, got law.txt"),
    (table("cut.npz"), r"an .npz must be whole, .*cut.npz"),
    (table("good.npz"), r"must have the arrays g_uS, mu_uS, sigma_uS and may have t_s, but lacks g_uS"),
    (table("siemens.csv"), r"lacks g_uS, mu_uS, sigma_uS: it has g_S, mu_S, sigma_S"),
    (table("gap.csv"), r"one row for each conductance and time, g_uS=100, t_s=100 has 0"),
    (table("word.csv"), r"a row must hold numbers, row 1 has 1; 0; two"),
    (table("narrow.csv"), r"what programming=table covers, 10..40 uS, got 1..100 uS"),
    (table("law.csv", "programming.kind=sum"), r"kind must be one of total, increment, got 'sum'"),
    (table("law.csv", "relaxation=table", "relaxation.path=law.csv", "relaxation.kind=total"), r"must stand alone"),
    (table("timed.csv", "relaxation.kind=total", group="relaxation"), r"t_s must lie in the times .*, got 0 s"),
    (table("timed.csv", "t_s=1d", group="relaxation"), r"times of the table, 1..100 s, got 86400 s: .*outside=clamp"),
    # sets from local folders
    *(([f"data={name}"], r"data.root has no default") for name in ("mnist", "cifar10", "image_folder")),
    (["data=mnist", "data.root=nowhere"], r"data.root must hold MNIST in MNIST/raw, but nowhere lacks it"),
    (["data=fashion_mnist_full", "data.root=pets"], r"data.root must hold Fashion-MNIST in .*, but pets lacks it"),
    (["data=cifar10", "data.root=nowhere"], r"data.root must hold CIFAR-10 in cifar-10-batches-py"),
    (["data=cifar100", "data.root=nowhere"], r"CIFAR-100 in cifar-100-python, .*data.download=true"),
    (["data=cifar10", "data.root=nowhere", "data.split=all"], r"split must be one of train, test"),
    (["data=cifar10", "data.root=nowhere", "data.mean=0.5"], r"data.mean must be a list of float"),
    (["data=cifar10", "data.root=nowhere", "data.download=maybe"], r"data.download must be bool"),
    (["data=cifar10_jpeg"], r"data.path has no default"),
    (folder("nowhere"), r"folder with one folder of pictures a class, got nowhere"),
    (folder("pets/cat"), r"Couldn't find any class folder"),
    (folder("torn", "data.resize=40", "data.crop=32"), r"pictures must be readable, but torn/cat/1.png is not"),
    (folder("pets", "data.resize=null", "data.crop=null"), r"pictures must have one size.*: set data.crop"),
    (folder("pets", "data.crop=300"), r"data.crop must be at most data.resize, got 300 > 256"),
    (folder("pets", "data.resize=null"), r"data.crop must fit every picture, got 224 for 48 x 40 pixels"),
    (folder("pets", "data.interpolation=sharp"), r"data.interpolation must be one of bilinear"),
    (folder("pets", "data.limit=3"), r"limit must be in 1..2, got 3"),
    (folder("pets", "data.mean=[0.5]"), r"data.mean must give one number a channel, 3 in all"),
    # a user's Dataset
    (["data=custom"], r"data._target_ has no default"),
    (["data=dataset"], r"data.dataset._target_ has no default"),
    (["data=custom", "data._target_=badlab.sets.Samples"], r"allow_targets=\[badlab\]"),
    (
        ["data=dataset", "data.dataset._target_=badlab.sets.Samples"],
        r"data.dataset._target_ must be of a package",
    ),
    (samples("good", "data.dataset._target_=os.system"), r"data.dataset._target_ must be of 'badlab'"),
    (samples("good", "data.dataset._target_=badlab.sets.Sample"), r"is not there: did you mean Samples"),
    (samples("good", "+data.dataset.size=3"), r"data.dataset.size is not a parameter of data.dataset: it has kind"),
    (samples("good", "data.limit=21"), r"limit must be in 1..20, got 21"),
    (samples("good", "data.n_classes=5"), r"labels must be in 0..4, got 0..9"),
    (samples("sizes"), r"one shape and type, got x \(1, 8, 8\) .* \(1, 9, 9\) .* in sample 3: resize, pad"),
    (
        samples("dict"),
        r"named arrays must hold labels, as y, labels or label, got x, target: name their array with data\.labels",
    ),
    (samples("text"), r"y of sample 0 is a str"),
    (samples("missing"), r"Samples raised FileNotFoundError\('0.png'\) after 0 of them"),
    ([*samples("good")[1:], "model=lenet5"], r"must accept the data's inputs"),
    (own_data("not_data"), r"must return a torch Dataset or rramsweep.datasets.Data, .* returned list"),
    (own_data("several"), r"must return a torch Dataset or rramsweep.datasets.Data, .* returned tuple"),
    (own_data("Samples", "+data.kind=sizes"), r"one shape and type"),
    (samples("good", "data.dataset=3"), r"data.dataset"),
    # folders
    (["report"], r"report takes .* required: DIR"),
    (["report", "nowhere"], r"nowhere is not a folder"),
    (["report", "not_a_sweep"], r"has neither"),
    (["report", "bad_plan"], r"must be a plan"),
    (["report", "bad_table"], r"must be a Parquet file"),
    ([*DIGITS, "store=a_file"], r"the store must be a folder"),
    ([*DIGITS, "store=a_file/store"], r"must lie in a folder, but .*a_file is a file: remove it"),
    ([*DIGITS, "hydra.run.dir=a_file/run"], r"a_file"),
    ([*DIGITS, "name=../../x"], r"name must be a folder name"),
]


def one_line(err: str) -> str:
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1, err
    assert lines[0].startswith("rramsweep: "), err
    assert "Traceback" not in err
    return lines[0]


@pytest.mark.parametrize(("arguments", "says"), CASES, ids=[" ".join(a) for a, _ in CASES])
def test_one_line_before_any_chip(files, capfd, monkeypatch, arguments, says):
    def no_chip(*_):
        raise AssertionError("a chip was begun")

    monkeypatch.setattr("rramsweep.simulation.passes.run_trial", no_chip)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 1
    line = one_line(capfd.readouterr().err)
    assert re.search(says, line), line
    assert not Path("evil_was_here").exists()
    assert not list(Path().glob("outputs/store/facts-*")), "nothing was computed"
    assert all(any(folder.iterdir()) for folder in Path().glob("outputs/sweep/*")), "no empty folder is left"


def test_there_are_at_least_sixty_cases():
    assert len(CASES) >= 60
    assert len({" ".join(a) for a, _ in CASES}) == len(CASES)


def test_the_good_neighbours_of_the_bad_cases_run(files, capfd):
    main([*NPZ, "data.path=good.npz", "chips=1"])
    main(custom("build", "model.checkpoint=net.pt", "+model.width=64", "chips=1"))
    main(samples("good", "chips=1"))
    main(table("narrow.csv", "programming.outside=clamp", "chips=1"))
    main(table("timed.csv", "t_s=1min", "chips=1", group="relaxation"))
    main(own_data("Samples", "chips=1"))
    main(folder("pets", *torchvision("resnet18", "model.num_classes=2"), "data.resize=40", "data.crop=32", "chips=1"))
    assert "Traceback" not in capfd.readouterr().err


def test_the_remedies_of_bad_input_run_as_they_are_told(files, capfd):
    main([*NPZ, "data.path=grey.npz", "data.layout=NHW", "chips=1"])
    main([*NPZ, "data.path=last.npz", "data.layout=NHWC", "chips=1"])
    with np.load("one_hot.npz") as saved:
        np.savez("labels.npz", x=saved["x"], y=saved["y"].argmax(1))
    main([*NPZ, "data.path=labels.npz", "chips=1"])
    main([*NPZ, "data.path=number.npz", "metric=mse", *custom("regress")[:2], "allow_targets=[badlab]", "chips=1"])
    main(["-m", *DIGITS, "drift=power_law,log_time", "drift.nu_mean=0.1", "chips=1"])
    for device in ("neurram", "tsinghua_mcnn"):
        main([*DIGITS, "relaxation=hfox", f"device={device}", "chips=1"])
    assert "Traceback" not in capfd.readouterr().err


def test_full_error_shows_the_traceback(files, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ValueError, match="chips must be at least 1"):
        main(["chips=0"])


def test_full_error_is_left_as_it_was(files, monkeypatch):
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with pytest.raises(SystemExit):
        main(["chips=0"])
    assert "HYDRA_FULL_ERROR" not in os.environ
