"""Calibration as a group of a sweep: points, rows, and what is refused before any chip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

import rramsweep as rs
from rramsweep import FastPyTorchRRAM
from rramsweep.analysis.schema import CALIBRATION
from rramsweep.calibration import BatchNorm, Calibration, DoRA, DriftCompensation, LayerCorrection, LowRank, Moments
from rramsweep.calibration.checks import check_calibration
from rramsweep.errors import ValidationError
from rramsweep.groups import ADDED
from rramsweep.network.analog import analog_layers
from rramsweep.simulation.workbench import Workbench
from tests.calibration.lab import POOL, TEST, distance, net

DIGITS = ["model=digits_cnn", "data=digits", "technology=drift_alone", "drift.relative_drift=0.3"]
TIMES = ("seconds", "calibration.seconds")


def point(*overrides: str, allow: tuple[str, ...] = ()):
    from rramsweep.cli.composing import choices, compose, container

    cfg = compose([*DIGITS, *overrides])
    workbench = Workbench(allow)
    return workbench.point(container(cfg), choices(cfg)), workbench


def test_no_calibration_leaves_text_and_id_as_they_were(workdir):
    made, _ = point()
    assert "calibration" not in made.text
    assert made.choices["calibration"] == "none"
    assert ADDED["calibration"] == ("none", {"_target_": "rramsweep.calibration.Ideal"})


@pytest.mark.parametrize(
    "override",
    [
        "calibration.images=20",
        "calibration.seed=1",
        "calibration.gate=false",
        "calibration.layers=[conv1]",
        "calibration.rank=2",
        "calibration.ridge=0.1",
        "calibration=low_rank",
    ],
)
def test_the_method_and_its_inputs_are_part_of_a_point(override, workdir):
    (plain, _), (other, _) = point("calibration=dora"), point("calibration=dora", override)
    assert plain.point_id != other.point_id
    digest = rs.datasets.digits("train").inputs_digest()
    assert f"fitting {digest}" in plain.text
    assert "calibration DoRA v1(at_s=None, gate=True, images=50, layers=['*'], rank=4, ridge=0.3, seed=0)" in plain.text


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("sweep"))
        overrides = [*DIGITS, "calibration=none,moments,dora", "chips=3"]
        first = rs.sweep([*overrides, "store=one"])
        again = rs.sweep([*overrides, "store=other", "chips_in_flight=2"])
        passes = rs.sweep([*overrides, "store=third", "chips_per_pass=2", "chips_in_flight=1"])
        resumed = rs.sweep([*overrides, "store=one"])
    return first, again, resumed, passes


def test_rows_are_the_same_when_they_are_computed_again(swept):
    first, again, resumed, passes = (frame.drop(columns=[*TIMES, "threads"]) for frame in swept)
    assert first.equals(again)
    assert first.equals(resumed)
    calibrated = first["calibration"] != "none"  # which are never several in one pass
    assert first[calibrated].equals(passes[calibrated])


def test_rows_say_what_a_calibration_costs(swept):
    frame = swept[0].set_index("calibration")
    none, moments, dora = (frame.loc[name] for name in ("none", "moments", "dora"))
    assert none[list(CALIBRATION)].isna().all(axis=None)
    # Batch norms take scale and offset of both convolutions; the linear layer has 10 outputs.
    assert moments["calibration.extra_parameters"].tolist() == [20] * 3
    assert moments["calibration.extra_macs"].tolist() == [10] * 3
    assert (dora["calibration.extra_parameters"] > 1000).all()
    assert (moments["calibration.seconds"] < moments["seconds"]).all()
    assert none["accuracy"].mean() + 0.02 < moments["accuracy"].mean() <= dora["accuracy"].mean()


def test_tables_of_before_are_read(swept, tmp_path):
    from rramsweep.analysis import frames

    frame = swept[0].query("calibration == 'none'")
    frames.write(frame.copy(), tmp_path / "new.parquet")
    import pyarrow.parquet as pq

    table = pq.read_table(tmp_path / "new.parquet")
    pq.write_table(table.drop_columns([*CALIBRATION, "calibration"]), tmp_path / "old.parquet")
    old = frames.read(tmp_path / "old.parquet")
    assert old["calibration"].tolist() == ["none"] * 3
    assert old[list(CALIBRATION)].isna().all(axis=None)


@dataclass(frozen=True, kw_only=True)
class Half(Calibration):
    """A user's own: half of the way to the digital mean."""

    version: ClassVar[int] = 4

    share: float = 0.5

    def fit_layer(self, samples):
        return LayerCorrection(offset=self.share * (samples.target - samples.y).mean(0))


@dataclass(frozen=True, kw_only=True)
class Doubling(Calibration):
    """A user's own that changes what it is given."""

    def fit_layer(self, samples):
        samples.y.mul_(2)


@dataclass(frozen=True, kw_only=True)
class Wild(Calibration):
    """A user's own that returns something else."""

    def fit_layer(self, samples):
        return samples.y


class Reaching(Half):
    """A user's own that changes a weight of the chip, which it must have got hold of elsewhere."""

    weights: ClassVar[list] = []

    def fit_layer(self, samples):
        self.weights[0].mul_(2)


class Around(Half):
    """A user's own that changes the chip outside of the fit of a layer."""

    def calibrate(self, chip, recordings, layers):
        next(chip.parameters()).zero_()
        return super().calibrate(chip, recordings, layers)


class Nothing(Calibration):
    """A user's own that fits nothing."""


def test_a_method_that_changes_the_chip_around_its_fit_fails_its_trials(workdir):
    target = "calibration._target_=tests.calibration.test_sweeps.Around"
    frame = rs.sweep([*DIGITS, "calibration=custom", target, "allow_targets=[tests]", "chips=1"])
    assert frame["status"].tolist() == ["failed"]
    assert "calibration=Around must leave the chip's weights alone" in frame["error"].iloc[0]


def test_a_time_of_the_fit_has_units(workdir):
    made, _ = point("calibration=moments", "calibration.at_s=1h", "t_s=1d")
    assert made.params["calibration.at_s"] == 3600


CUSTOM = ["calibration=custom", "calibration._target_=tests.calibration.test_sweeps.Half", "allow_targets=[tests]"]


def test_a_users_own_method_is_swept(workdir):
    frame = rs.sweep([*DIGITS, *CUSTOM, "+calibration.share=0.25,0.5", "chips=1"])
    assert frame["status"].tolist() == ["ok"] * 2
    assert frame["calibration.share"].tolist() == [0.25, 0.5]
    made, _ = point(*CUSTOM, allow=("tests",))
    assert "tests.calibration.test_sweeps.Half v4(" in made.text


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Doubling(), "calibration=Doubling must leave its samples alone: return new tensors"),
        (Wild(), "calibration=Wild: fit_layer must return LayerCorrection or None, got Tensor: correct it"),
        (Reaching(), "calibration=Reaching must leave the chip's weights alone: return new tensors"),
    ],
    ids=lambda m: type(m).__name__ if isinstance(m, Calibration) else "",
)
@torch.no_grad()
def test_a_method_must_not_change_the_chip(method, message):
    from rramsweep.network.arrays import find_arrays
    from rramsweep.network.corrections import correctable_layers
    from rramsweep.network.recording import record

    model = net()
    Reaching.weights[:] = [model.stem.weight]
    layers = correctable_layers(model, find_arrays(model), analog_layers(model))
    recordings = record(model, layers, method.parts(POOL[:8]))
    with pytest.raises(ValidationError, match=message):
        method.calibrate(model, recordings, layers)


class Recurrent(nn.Module):
    """A network whose weights are all in a fused kernel but for its head, which may stay digital."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 5, batch_first=True), nn.Linear(5, 4)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Shifted(nn.Linear):
    """A layer that may be more than a product."""


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Shifted(8, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.second(self.first(x))


SERIES, ROWS = torch.randn(1, 6, 8), torch.randn(1, 8)
REFUSED = [
    (Moments(), Deep(), ROWS, None, 0.0, "calibration needs inputs to fit on: set data.fitting="),
    (Moments(), Deep(), ROWS, 20, 0.0, "calibration.images must be at most the 20 inputs of data.fitting, got 50: "),
    (
        Moments(at_s=2.0),
        Deep(),
        ROWS,
        99,
        1.0,
        "calibration.at_s must be at most t_s=1, when the chip is read, got 2.0",
    ),
    (
        Moments(layers=["third"]),
        Deep(),
        ROWS,
        99,
        0.0,
        "layers on the array, got 'third': it has first, second",
    ),
    (BatchNorm(), Deep(), ROWS, 99, 0.0, "calibration needs batch norms with running statistics, but Deep has none: "),
    (
        BatchNorm(layers=["stem"]),
        net(),
        TEST[:1],
        99,
        0.0,
        "must match batch norms, got 'stem': it has norm1, norm2, norm3",
    ),
    (DoRA(), Deep(), ROWS, 99, 0.0, "needs layers whose forward is the product alone, but 'first' is a Shifted"),
    (
        LowRank(rank=5, layers=["second"]),
        *(Deep(), ROWS, 99, 0.0),
        "calibration.rank must be at most 4, the rank of 'second' (4 x 8), got 5: set calibration.rank=4",
    ),
    (
        LowRank(rank=2, ridge=0.0, images=10, layers=["second"]),
        *(Deep(), ROWS, 99, 0.0),
        "calibration.images must be at least 16, half of which the gate holds out, without a ridge, because 'second' "
        "has 8 inputs and 1 output position an image, got 10: set calibration.images=16 or calibration.ridge=0.3",
    ),
    (
        DoRA(rank=4, images=3, gate=False, layers=["second"]),
        *(Deep(), ROWS, 99, 0.0),
        "calibration.images must be at least 4, for rank 4, because 'second' has 8 inputs and 1 output position",
    ),
]


@pytest.mark.parametrize(("method", "model", "x", "pool", "t_s", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_does_not_fit_is_refused_in_one_line(method, model, x, pool, t_s, message):
    with pytest.raises(ValidationError) as refused:
        check_calibration(method, model.eval(), analog_layers(model), x, pool, t_s)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith("calibration")


def test_fused_kernels_are_left_alone_and_named():
    model = Recurrent().eval()
    notes = check_calibration(Moments(), model, analog_layers(model), SERIES, 99, 0.0)
    assert notes == [
        "calibration leaves lstm.weight_ih_l0, lstm.weight_hh_l0 as they are: they run in fused kernels (recurrent "
        "layers, attention)"
    ]
    with pytest.raises(
        ValidationError, match="calibration needs layers whose products are seen, but lstm.weight_ih_l0"
    ):
        check_calibration(Moments(), model, analog_layers(model, exclude=["head"]), SERIES, 99, 0.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"images": 0, "gate": False}, "images must be at least 1, got 0: give more"),
        ({"images": 1}, "images must be at least 2, half of which the gate holds out, got 1: give more, or set"),
        ({"seed": -1}, "seed must lie in 0..2\\*\\*63-1, got -1"),
        ({"at_s": -1.0}, "at_s must be null or a time of at least 0 in seconds, got -1.0"),
        ({"rank": 0}, "rank must be at least 1, got 0"),
        ({"ridge": -0.1}, "ridge must be at least 0, got -0.1"),
        ({"ridge": float("nan")}, "ridge must be at least 0, got nan"),
        ({"layers": "*"}, "layers must be a list of names, got '\\*'"),
    ],
)
def test_fields_out_of_range_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        DoRA(**fields)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["calibration=moments", "calibration.at_s=10"], "calibration.at_s must be at most t_s=0"),
        (["calibration=dora", "calibration.rank=11"], "calibration.rank must be at most 9, the rank of 'conv1'"),
        (["calibration=moments", "calibration.layers=[conv9]"], "calibration.layers must match layers on the array"),
        (["calibration=moments", "calibration.images=5000"], "calibration.images must be at most the 1447 inputs"),
        (["calibration=moments", "calibration.reference=digital"], "calibration.reference"),
        (["calibration=custom", "calibration._target_=torch.nn.Linear"], "calibration"),
        (
            [
                "calibration=custom",
                "calibration._target_=tests.calibration.test_sweeps.Nothing",
                "allow_targets=[tests]",
            ],
            "calibration must fit layers or batch norms, got Nothing: define fit_layer or fit_norm",
        ),
        (["calibration._target_=rramsweep.effects.Gaussian"], "calibration"),
    ],
)
def test_a_config_is_refused_before_any_chip(overrides, message, workdir):
    with pytest.raises(ValueError, match=message) as refused:
        rs.sweep([*DIGITS, *overrides, "chips=1"])
    assert "\n" not in str(refused.value)


@torch.no_grad()
def test_the_simulator_of_one_chip_takes_a_method():
    model = net()
    sim = FastPyTorchRRAM(model, 1e-6, 100e-6, seed=3)
    sim.apply_relative_drift(0.2)
    conductances = sim.conductances["stem"]["p"]
    plain = sim.get_noisy_model_for_inference()
    data = torch.utils.data.TensorDataset(POOL[:50], torch.zeros(50, dtype=torch.int64))
    found = sim.calibrate(torch.utils.data.DataLoader(data, batch_size=8), DoRA(rank=2))
    assert found.extra_parameters > 0
    with pytest.raises(ValidationError, match="reference must be the digital network for one chip in Python"):
        sim.calibrate(POOL[:8], DriftCompensation(reference="programmed"))
    calibrated = sim.get_noisy_model_for_inference()
    assert distance(calibrated, model) < 0.5 * distance(plain, model)
    assert torch.equal(sim.conductances["stem"]["p"], conductances)
    net().load_state_dict(calibrated.state_dict())
    assert torch.equal(sim.get_noisy_model_for_inference()(TEST), calibrated(TEST))
    sim.reset()
    sim.apply_relative_drift(0.2)
    assert torch.equal(sim.get_noisy_model_for_inference()(TEST), plain(TEST))
