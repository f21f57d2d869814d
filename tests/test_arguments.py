"""Whatever is given to a public name in the place of an argument is refused in one line, by the argument's name."""

from __future__ import annotations

import copy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

import rramsweep as rs
from rramsweep.arguments import checked_arguments
from rramsweep.crossbar.mapping import Differential
from rramsweep.datasets import Data, digits, npz
from rramsweep.effects import Gaussian, OneOverF, PowerLawDrift, RelativeDrift, Stuck, Table
from tests.analysis.test_frames import sweep
from tests.analysis.test_recovery import two

DRIFT = "drift.relative_drift"
OVERRIDES = ["model=digits_mlp", "data=digits", "data.limit=10", "chips=2"]


def over_time() -> pd.DataFrame:
    frame = sweep([0.0, 0.1])
    parts = [frame.assign(t_s=t_s, point_id=frame["point_id"] + str(t_s)) for t_s in (1.0, 3600.0)]
    both = pd.concat(parts, ignore_index=True)
    both.attrs["swept"] = ["t_s", DRIFT]
    return both


NET = nn.Sequential(nn.Linear(4, 3))
DEVICE = rs.Device(1.0, 100.0)
SPEC = rs.LayerSpec(DEVICE, Differential())
FRAME, TIMES = sweep([0.0, 0.1, 0.2]), over_time()
BATCHES = [(torch.rand(2, 4), torch.tensor([0, 1]))]


def simulator() -> rs.FastPyTorchRRAM:
    return rs.FastPyTorchRRAM(NET, 1e-6, 1e-4, seed=0)


def network() -> rs.AnalogNetwork:
    return rs.AnalogNetwork(NET, {"0": SPEC})


CALLS = {
    "validate": (rs.validate, {"model": NET, "dataloader": BATCHES, "device": "cpu"}),
    "compose": (rs.compose, {"overrides": []}),
    "run": (rs.run, {"cfg": None}),
    "sweep": (rs.sweep, {"overrides": None}),
    "inspect": (rs.inspect, {"what": OVERRIDES, "chips": 1, "inputs": 4}),
    "budget": (rs.budget, {"overrides": None}),
    "finetune": (rs.finetune, {"what": None, "settings": rs.FineTuning(epochs=1, chips=2)}),
    "FineTuning": (rs.FineTuning, {"noise": "chips", "epochs": 1, "lr": 0.1, "patience": None, "held_out": 0.2}),
    "load": (rs.load, {"folder": "nowhere"}),
    "summarize": (rs.summarize, {"frame": FRAME, "by": [DRIFT], "yield_drop": 0.02}),
    "compare": (rs.compare, {"frame": FRAME, "baseline": {DRIFT: 0.0}, "by": [DRIFT]}),
    "recovered": (rs.recovered, {"frame": FRAME, "by": [DRIFT], "baseline": {DRIFT: 0.0}}),
    "time_to_failure": (rs.time_to_failure, {"frame": TIMES, "by": [DRIFT], "yield_target": 0.5, "yield_drop": 0.02}),
    "plot_robustness": (
        rs.plot_robustness,
        {"frame": FRAME, "x": DRIFT, "group": None, "ax": None, "yield_drop": 0.02, "source_range": {}},
    ),
    "plot_heatmap": (rs.plot_heatmap, {"frame": TIMES, "x": DRIFT, "y": "t_s", "ax": None, "yield_level": 0.9}),
    "plot_ecdf": (rs.plot_ecdf, {"frame": FRAME, "group": DRIFT, "ax": None, "yield_drop": 0.02}),
    "plot_yield": (rs.plot_yield, {"frame": FRAME, "group": DRIFT, "ax": None, "yield_drop": 0.02, "up_to": 0.1}),
    "plot_over_time": (rs.plot_over_time, {"frame": TIMES, "group": DRIFT, "ax": None, "yield_drop": 0.02}),
    "plot_differences": (
        rs.plot_differences,
        {"frame": FRAME, "baseline": {DRIFT: 0.0}, "x": DRIFT, "group": None, "ax": None},
    ),
    "plot_recovered": (
        rs.plot_recovered,
        {"frame": two([20, 24, 40], [5, 6, 9]), "x": "calibration", "group": None, "ax": None},
    ),
    "figures_for": (rs.figures_for, {"frame": FRAME}),
    "plot_inspect": (rs.plot_inspect, {"table": None, "ax": None}),
    "plot_budget": (rs.plot_budget, {"table": None, "ax": None}),
    "Device": (rs.Device, {"g_min_uS": 1.0, "g_max_uS": 100.0, "step_uS": None, "levels": None, "edge": "clip"}),
    "Device.quantise": (DEVICE.quantise, {"g_uS": torch.ones(2)}),
    "Device.confine_": (DEVICE.confine_, {"g_uS": torch.ones(2)}),
    "LayerSpec": (rs.LayerSpec, {"device": DEVICE, "mapping": Differential(), "drift": RelativeDrift(0.1)}),
    "LayerSpec.notes": (SPEC.notes, {"t_s": 0.0}),
    "AnalogNetwork": (rs.AnalogNetwork, {"model": NET, "specs": {"0": SPEC}, "t_s": 0.0, "folds": ()}),
    "AnalogNetwork.chip": (lambda seed: network().chip(seed), {"seed": 0}),
    "AnalogNetwork.chips": (lambda seeds: network().chips(seeds), {"seeds": [0, 1]}),
    "analog_layers": (rs.analog_layers, {"model": NET, "include": ["*"], "exclude": []}),
    "FastPyTorchRRAM": (
        rs.FastPyTorchRRAM,
        {
            "pretrained_model": NET,
            "G_min": 1e-6,
            "G_max": 1e-4,
            "differential": True,
            "mapping": None,
            "G_step": 1e-7,
            "levels": None,
            "edge": "clip",
            "faults": None,
            "include": ["*"],
            "exclude": [],
            "seed": 0,
        },
    ),
    "reset": (lambda **given: simulator().reset(**given), {"seed": 1}),
    "apply_programming_error": (
        lambda **given: simulator().apply_programming_error(**given),
        {"alpha_ind": 0.1, "fault_model": "both", "alpha_prop": 0.1, "clamp_noise": True},
    ),
    "apply_conductance_relaxation": (
        lambda **given: simulator().apply_conductance_relaxation(**given),
        {"alpha_ind": 0.1, "fault_model": "both", "alpha_prop": 0.1, "clamp_noise": True},
    ),
    "apply_relative_drift": (
        lambda **given: simulator().apply_relative_drift(**given),
        {"relative_drift": 0.1, "reference": "target", "clamp_noise": True},
    ),
    "export_conductances": (lambda **given: simulator().export_conductances(**given), {"path": "chip.npz"}),
    "import_conductances": (lambda **given: simulator().import_conductances(**given), {"path": "nowhere.npz"}),
    "Stuck": (Stuck, {"p_stuck_lrs": 0.1, "p_stuck_hrs": 0.1, "g_lrs_uS": None, "cv_lrs": 0.0}),
    "Gaussian": (Gaussian, {"alpha_ind": 0.1, "alpha_prop": 0.1, "z_max": None}),
    "OneOverF": (OneOverF, {"t_read_s": 1e-7}),
    "PowerLawDrift": (PowerLawDrift, {"nu_mean": 0.1, "t0_s": 1.0, "temperature_K": None}),
    "Table": (Table, {"path": "nowhere.csv", "kind": "total"}),
    "Differential": (Differential, {"scale": "per_tensor", "w_max": "max", "percentile": 99.0}),
    "Data": (Data, {"x": torch.rand(2, 1, 2, 2), "y": torch.tensor([0, 1]), "name": "two", "n_classes": 2}),
    "digits": (digits, {"split": "test", "limit": 10}),
    "npz": (npz, {"path": "nowhere.npz", "layout": "NCHW", "scale": 1.0, "mean": None, "limit": None}),
}
WRONG = [
    None,
    "no",
    "",
    3,
    -1,
    2.5,
    float("nan"),
    float("inf"),
    True,
    [],
    [3],
    ["nope"],
    [["a"]],
    (),
    {},
    {"nope": 1},
    {3: 4},
    pd.DataFrame(),
    FRAME.drop(columns=["score"]),
    FRAME.drop(columns=["model"]),
    FRAME[:0],
    FRAME.assign(score="x"),
    FRAME.assign(seed="x"),
    FRAME.assign(status=3),
    Path("/nowhere"),
    np.array([1.0, 2.0]),
    np.array(["a"]),
    torch.rand(2),
    object(),
    nn.ReLU(),
    nn.Linear,
    b"x",
    10**30,
    range(3),
    lambda: 1,
    1j,
    np.float32(0.1),
    np.bool_(True),
    DEVICE,
    SPEC,
]
# What has no call that works without a sweep, or writes.
ONLY_WRONG = (
    *("run", "sweep", "budget", "finetune", "load", "plot_inspect", "plot_budget"),
    *("export_conductances", "import_conductances", "npz", "Table"),
)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(workdir):
    yield
    plt.close("all")


@pytest.mark.parametrize("name", sorted(set(CALLS) - set(ONLY_WRONG)))
def test_the_calls_of_this_file_are_right(name):
    function, given = CALLS[name]
    function(**given)


def refusal(function, given):
    """What a call is refused with, None where it works; an error of another type is what these tests are about."""
    try:
        function(**given)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("name", "parameter"), [(name, parameter) for name, (_, given) in CALLS.items() for parameter in given]
)
def test_a_wrong_argument_is_refused_in_one_line_or_works(name, parameter):
    function, given = CALLS[name]
    messages = [message for value in WRONG if (message := refusal(function, {**given, parameter: value})) is not None]
    assert [message for message in messages if "\n" in message or ": " not in message] == []
    assert len(messages) >= 12, "of these values most fit no argument"


@pytest.mark.parametrize("value", ["no", "False", 0, None, np.array([True])], ids=repr)
def test_a_switch_is_true_or_false(value):
    with pytest.raises(ValueError, match=r"differential must be True or False, got .*: give one of them"):
        rs.FastPyTorchRRAM(NET, 1e-6, 1e-4, differential=value)
    with pytest.raises(ValueError, match="clamp_noise must be True or False"):
        simulator().apply_relative_drift(0.1, clamp_noise=value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"G_min": -1e-6}, "G_min must be in siemens, at least 0 and below G_max=0.0001, got -1e-06: 1 uS is 1e-6"),
        ({"G_min": "1e-6"}, r"G_min must be a number, got '1e-6' \(str\): give one, without quotes"),
        ({"G_step": 0.1}, "G_step must be in siemens, above 0 and at most G_max - G_min = 9.9e-05, got 0.1: 0.1 uS is"),
        ({"G_step": -1e-7}, "G_step must be in siemens"),
        ({"G_step": float("nan")}, "G_step must be in siemens"),
        ({"levels": True, "G_step": None}, r"levels must be an integer or None, got True \(bool\)"),
        ({"include": "*"}, r"include must be a list of patterns, got '\*': write \['\*'\]"),
        (
            {"faults": Stuck},
            "faults must be an instance of Effect or None, got the class Stuck: give an instance of Eff",
        ),
        ({"mapping": "offset"}, "mapping must be an instance of Mapping or None, got 'offset'"),
        ({"seed": 2**63}, r"seed must be an integer of at least 0 or None, and below 2\*\*63, got 9223372036854775808"),
    ],
)
def test_an_argument_of_the_simulator_is_refused_by_its_own_name(given, message):
    with pytest.raises(ValueError, match=message):
        rs.FastPyTorchRRAM(NET, **{"G_min": 1e-6, "G_max": 1e-4, **given})


def test_scalars_of_numpy_and_whole_floats_are_numbers():
    assert rs.Device(np.float64(1), np.int64(100), None, np.int64(16)) == rs.Device(1.0, 100, None, 16)
    assert isinstance(rs.Device(1.0, 100.0, None, 16.0).levels, int)
    table = rs.summarize(FRAME, FRAME.columns[FRAME.columns == DRIFT], np.float32(0.25))
    assert table.attrs["yield_drop"] == 0.25


def test_names_and_docstrings_of_checked_functions_are_their_own():
    @checked_arguments
    def add(a: int, b: int = 1) -> int:
        """Add."""
        return a + b

    assert (add.__name__, add.__doc__, add(1), add(a=1, b=2)) == ("add", "Add.", 2, 3)
    with pytest.raises(TypeError, match="missing a required argument: 'a'"):
        add()


# -- facts of a table that no trial has found


def edited(column, value, rows=slice(0, 1)):
    frame = FRAME.copy()
    frame.loc[frame.index[rows], column] = value
    return frame


FACTS = [
    (edited("score", np.nan), "score must not be null in an ok row, got None .* one of 1 such rows"),
    (edited("score", np.inf), "score must be finite, got inf"),
    (edited("digital_score", -np.inf), "digital_score must be finite, got -inf"),
    (edited("n_images", 0), "n_images must be at least 1, got 0"),
    (edited("accuracy", 0.95), "accuracy must be n_correct / n_images, got 0.95"),
    (edited(["accuracy", "score"], 95.0), r"accuracy must lie in \[0, 1\], got 95.0 .* divide a percentage by 100"),
    (edited("score", 0.1), "score must be accuracy where there is one, got 0.1"),
    (edited("n_correct", 11), r"n_correct must lie in 0..n_images, got 11"),
    (edited("n_lost", -1), "n_lost must lie in 0..n_images - n_correct"),
    (edited("status", "fine"), "status must be one of ok, failed, got 'fine'"),
    (edited("status", "failed"), "n_images must be null in a failed row"),
    (FRAME.assign(score=FRAME["score"].astype(str)), "column score must hold numbers, got text"),
    (FRAME.assign(n_correct=7.5), "column n_correct must hold whole numbers"),
    (pd.concat([FRAME, FRAME["score"]], axis=1), "column names must be unique, got 'score' twice"),
    (FRAME.assign(t_s="1h"), "column t_s must hold seconds"),
]
READERS = {
    "summarize": lambda frame: rs.summarize(frame, [DRIFT]),
    "compare": lambda frame: rs.compare(frame, {DRIFT: 0.0}),
    "time_to_failure": rs.time_to_failure,
    "recovered": lambda frame: rs.recovered(frame, [DRIFT], {DRIFT: 0.0}),
    "plot_ecdf": lambda frame: rs.plot_ecdf(frame, DRIFT),
    "plot_robustness": lambda frame: rs.plot_robustness(frame, DRIFT),
    "figures_for": rs.figures_for,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("frame", "message"), FACTS, ids=[message[:40] for _, message in FACTS])
def test_facts_that_no_trial_has_found_are_refused(frame, message, reader):
    with pytest.raises(ValueError, match=message) as error:
        READERS[reader](frame)
    assert "\n" not in str(error.value)


def test_rows_may_be_missing_and_chips_may_stand_twice():
    twice = pd.concat([FRAME, FRAME], ignore_index=True)
    assert rs.summarize(twice, [DRIFT])["n"].tolist() == rs.summarize(FRAME, [DRIFT])["n"].tolist() == [3, 3, 3]
    assert rs.summarize(FRAME[FRAME["seed"] < 2], [DRIFT])["n"].tolist() == [2, 2, 2]
    floats = FRAME.astype({"n_images": "float64", "n_correct": "float64", "status": "category"})
    assert rs.summarize(floats, [DRIFT])["score_mean"].equals(rs.summarize(FRAME, [DRIFT])["score_mean"])


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        ({"swept": DRIFT}, r"attrs\['swept'\] must be a list of column names, got 'drift.relative_drift'"),
        ({"swept": [3]}, r"attrs\['swept'\] must be a list of column names"),
        ({"yield_drop": "0.1"}, r"attrs\['yield_drop'\] must be a number or None, got '0.1'"),
        ({"images": 3}, r"attrs\['images'\] must be a dict"),
        ({"source_ranges": {DRIFT: 0.2}}, r"attrs\['source_ranges'\] must be a dict of \(a number, a number, text\)"),
    ],
)
def test_what_a_frame_carries_is_what_a_sweep_left(attrs, message):
    frame = FRAME.copy()
    frame.attrs |= attrs
    with pytest.raises(ValueError, match=message):
        rs.summarize(frame)


# -- configs and overrides that a call would leave unheeded


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("preview=true", "preview is of the command line alone, while .*, got True: run rramsweep plan with these"),
        ("plan=plan.json", "plan is of the command line alone, .* got 'plan.json': leave it out"),
        ("shard=2", "shard is of the command line alone"),
        ("shards=3", "shards is of the command line alone, .*: run it as rramsweep -m to split it over jobs"),
        (
            "hydra/launcher=joblib",
            "hydra/launcher is .*, got 'joblib': run it as rramsweep -m ... hydra/launcher=jobli",
        ),
        ("hydra/launcher=workers", "hydra/launcher is of the command line alone"),
        ("hydra/sweeper=basic", "hydra/sweeper is of the command line alone"),
        ("hydra.run.dir=there", "hydra.run.dir is of the command line alone"),
        ("++preview=true", "preview is of the command line alone"),
    ],
)
@pytest.mark.parametrize("call", [rs.sweep, rs.compose, rs.inspect, rs.finetune], ids=lambda call: call.__name__)
def test_an_override_that_a_call_would_not_heed_is_refused(call, override, message):
    with pytest.raises(ValueError, match=message):
        call([*OVERRIDES, override])


def test_an_experiment_that_chooses_a_launcher_is_refused_from_python_unless_overridden(workdir):
    (workdir / "own" / "experiment").mkdir(parents=True)
    text = "# @package _global_\ndefaults:\n  - override /hydra/launcher: workers\n"
    (workdir / "own" / "experiment" / "away.yaml").write_text(text)
    given = [*OVERRIDES, f"hydra.searchpath=[file://{workdir}/own]", "experiment=away"]
    with pytest.raises(ValueError, match="experiment=away chooses the launcher workers, while sweep .*launcher=basic"):
        rs.sweep(given)
    assert len(rs.sweep([*given, "hydra/launcher=basic", "shards=1", "preview=false"])) == 2


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("allow_targets", None, "allow_targets must be a list of packages, got None"),
        ("allow_targets", "os", "allow_targets must be a list of packages, got 'os'"),
        ("device", 3, "device must hold parameters by name, got 3 .*: choose device=OPTION"),
        ("analog", None, "analog must hold parameters by name, got None"),
        ("model", [1], "model must hold parameters by name"),
        ("choices", "x", "choices must hold parameters by name"),
        ("chips", "x", "chips must be int, got 'x'"),
    ],
)
def test_a_config_that_was_edited_is_refused_by_the_key(key, value, message):
    cfg = copy.deepcopy(rs.compose(OVERRIDES))
    OmegaConf.update(cfg, key, value, merge=False)
    for call in (rs.run, rs.inspect, rs.finetune):
        with pytest.raises(ValueError, match=message):
            call(cfg)


def test_a_config_from_elsewhere_is_refused():
    for call in (rs.run, rs.inspect, rs.finetune):
        with pytest.raises(
            ValueError, match=r"a config must come from compose\(\), but this one lacks device, mapping"
        ):
            call(OmegaConf.create({"chips": 3}))


@pytest.mark.parametrize("key", ["preview", "shards"])
def test_a_setting_that_run_would_not_heed_is_refused(key):
    cfg = rs.compose(OVERRIDES)
    cfg[key] = {"preview": True, "shards": 3}[key]
    with pytest.raises(ValueError, match=f"{key} is of the command line alone"):
        rs.run(cfg)


@pytest.mark.parametrize("call", [rs.load])
@pytest.mark.parametrize("value", [3, None, 2.5])
def test_a_folder_that_is_none_is_asked_for_as_a_path(call, value):
    with pytest.raises(
        ValueError, match="^folder must be text or a path, got .*: give a path, as text in quotes or as"
    ):
        call(value)


@pytest.mark.parametrize("call", [rs.sweep, rs.compose, rs.inspect, rs.finetune])
@pytest.mark.parametrize("flag", ["-m", "--multirun", "--cfg", "--config-dir=x", "-h"])
def test_a_flag_of_the_command_line_is_not_taken_from_python(call, flag):
    with pytest.raises(
        ValueError,
        match=f"^{call.__name__} must be given overrides NAME=VALUE alone, not flags .*, got '{flag}': leave it out",
    ) as error:
        call([flag, "model=digits_mlp"])
    assert "\n" not in str(error.value)
    assert ("not needed from Python" in str(error.value)) == (call is rs.sweep and flag in ("-m", "--multirun"))


@pytest.mark.parametrize(
    ("overrides", "remedy"),
    [
        (["chips=100000000"], "got 100,000,000: ask for fewer chips, or raise the limit"),
        (
            ["chips=10000000", "drift=relative", "drift.relative_drift=0.1,0.2"],
            "fewer chips or fewer than 2 points, or",
        ),
    ],
)
def test_too_many_trials_ask_for_fewer_points_only_where_there_are_several(overrides, remedy):
    with pytest.raises(ValueError, match=f"^trials must be at most 10,000,000, .*{remedy}"):
        rs.sweep(["model=digits_mlp", "data=digits", *overrides])


def test_a_warning_names_the_line_of_the_user(workdir):
    with pytest.warns(UserWarning, match="outside the range its source gives") as caught:
        rs.sweep(["model=digits_mlp", "data=digits", "data.limit=20", "drift.relative_drift=0.3", "chips=1"])
    assert {warning.filename for warning in caught} == {__file__}
