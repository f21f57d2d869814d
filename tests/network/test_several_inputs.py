"""Networks of two inputs, and of masked sequences: ideal chip, drift, read noise, folding, checks, every way to run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import rramsweep as rs
from rramsweep import FastPyTorchRRAM
from rramsweep.crossbar.mapping import Differential
from rramsweep.crossbar.programming import LayerSpec
from rramsweep.datasets import Data, Inputs
from rramsweep.datasets.inputs import call
from rramsweep.devices.device import Device
from rramsweep.effects import RelativeDrift, WhiteReadNoise
from rramsweep.metrics import CrossEntropy, Top1
from rramsweep.network.accelerator import Accelerator
from rramsweep.network.analog import AnalogNetwork, analog_layers
from rramsweep.network.batch_norm import Fold, find_folds, fold_batchnorm, safe_folds
from rramsweep.network.determinism import check_steady, idle_inputs, idle_weights
from rramsweep.network.inspection import inspect_layers
from rramsweep.network.partition import shares
from rramsweep.network.validation import validate
from rramsweep.simulation.execution import Execution
from rramsweep.simulation.passes import run_trials
from rramsweep.simulation.trial import Bench, evaluate, outputs

DEVICE, MAPPING = Device(1.0, 100.0), Differential()
DRIFTED = LayerSpec(DEVICE, MAPPING, drift=RelativeDrift(0.1))
NOISY = LayerSpec(DEVICE, MAPPING, read_noise=WhiteReadNoise(alpha_ind=0.05))


class TwoInputs(nn.Module):
    """A picture and a vector, with batch norms behind both branches; answers by name."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.side, self.side_norm = nn.Linear(5, 6), nn.BatchNorm1d(6)
        self.head = nn.Linear(10, 3)

    def forward(self, picture, vector, scale=1.0):
        a = self.norm(self.conv(picture)).relu().mean((2, 3))
        b = self.side_norm(self.side(vector)).relu()
        return self.head(torch.cat([a, b], 1)) * scale


class Masked(nn.Module):
    """The mean over those steps of an LSTM's sequence that a mask keeps."""

    def __init__(self):
        super().__init__()
        self.embed, self.lstm, self.head = nn.Embedding(9, 6), nn.LSTM(6, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, ids, mask):
        states = self.lstm(self.embed(ids))[0] * mask.unsqueeze(-1)
        return self.head(states.sum(1) / mask.sum(1, keepdim=True))


def two_inputs():
    torch.manual_seed(0)
    model, x = TwoInputs(), Inputs(kwargs={"picture": torch.randn(12, 1, 6, 6), "vector": torch.randn(12, 5)})
    for norm in (model.norm, model.side_norm):
        norm.momentum = 1.0
    with torch.no_grad():
        call(model.train(), x)
    return model.eval(), x


def by_position():
    model, x = two_inputs()
    return model, Inputs((x.kwargs["picture"], x.kwargs["vector"]))


def mixed():
    model, x = two_inputs()
    return model, Inputs((x.kwargs["picture"],), {"vector": x.kwargs["vector"]})


def masked():
    torch.manual_seed(0)
    ids = torch.randint(1, 9, (12, 7))
    mask = torch.arange(7) < torch.randint(2, 8, (12, 1))
    return Masked().eval(), Inputs(kwargs={"ids": ids * mask, "mask": mask})


CASES = pytest.mark.parametrize("case", [two_inputs, by_position, mixed, masked], ids=lambda case: case.__name__)


@CASES
@torch.no_grad()
def test_the_ideal_chip_is_the_network_and_drift_is_not(case):
    model, x = case()
    logits = call(model, x)
    network = AnalogNetwork(model, dict.fromkeys(analog_layers(model), DRIFTED), folds=safe_folds(model, x))
    torch.testing.assert_close(call(network.ideal(), x), logits, rtol=0, atol=1e-4)
    chip = call(network.chip(1), x).clone()
    torch.testing.assert_close(call(network.chip(1), x), chip, rtol=0, atol=1e-6)
    assert (chip - logits).abs().max() > 1e-2
    assert (call(network.chip(2), x) - chip).abs().max() > 1e-2


@CASES
def test_checks_and_counts_take_them(case):
    model, x = case()
    check_steady(model, x[:4], "net")
    names = analog_layers(model)
    assert idle_weights(model, names, x[:4], "net") == []
    assert idle_inputs(model, x[:4], "net") == []
    found = shares(model, names, x[:1])
    assert sum(share.macs for share in found if share.analog) > 0
    rows = inspect_layers(model, dict.fromkeys(names, DRIFTED), 0.0, x, [1])
    assert [row["layer"] for row in rows] == names
    assert rows[-1]["mvm_error"] > 0.01


@torch.no_grad()
def test_batch_norms_fold():
    model, x = two_inputs()
    folds = [Fold("conv", "norm"), Fold("side", "side_norm")]
    assert find_folds(model, x) == safe_folds(model, x) == folds
    torch.testing.assert_close(call(fold_batchnorm(model, x), x), call(model, x), rtol=0, atol=1e-5)


@torch.no_grad()
def test_read_noise_acts_on_every_layer_that_is_called():
    model, x = two_inputs()
    network = AnalogNetwork(model, dict.fromkeys(analog_layers(model), NOISY))
    network.check_reads(x[:1])
    assert (call(network.chip(1), x) - call(network.ideal(), x)).abs().max() > 1e-3
    unread = AnalogNetwork(Unused().eval(), {"fc": NOISY})
    with pytest.raises(ValueError, match="takes the weight of fc without calling it"):
        unread.check_reads(Inputs((torch.rand(2, 3), torch.rand(2, 3))))


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, a, b):
        return (a + b) @ self.fc.weight.T


class Adds(nn.Module):
    """Writes into its second input."""

    def forward(self, a, b):
        return a.flatten(1) + b.add_(1)


class Mixes(nn.Module):
    """Looks at the whole batch of its second input."""

    def forward(self, a, b):
        return a + b.mean(0)


class Ignores(nn.Module):
    def forward(self, a, **others):
        return a * 2


class Draws(nn.Module):
    def forward(self, a, b):
        return a + torch.rand_like(b)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (Adds, "must leave its input as it is"),
        (Mixes, "must answer each input by itself"),
        (Draws, "must give the same answers each time"),
    ],
)
def test_a_network_that_is_not_steady_in_any_input_is_refused(make, says):
    with pytest.raises(ValueError, match=rf"network .*{says}|{says}"):
        check_steady(make(), Inputs(kwargs={"a": torch.rand(4, 3), "b": torch.rand(4, 3)}), "net")


@pytest.mark.parametrize(
    "b",
    [
        torch.rand(4, 3),
        torch.ones(4, 3),
        torch.zeros(4, 3),
        torch.ones(4, 3).long(),
        torch.zeros(4, 3, dtype=torch.bool),
    ],
)
def test_an_input_that_plays_no_part_is_named(b):
    class Multiplies(nn.Module):
        def forward(self, a, b):
            return a + 2 * b

    x = Inputs(kwargs={"a": torch.rand(4, 3), "b": b})
    assert idle_inputs(Multiplies(), x, "net") == []
    (note,) = idle_inputs(Ignores(), x, "net")
    assert note.startswith("the answers of net do not change with the input b: check the names")
    assert idle_inputs(Ignores(), torch.rand(4, 3), "net") == []


@pytest.mark.parametrize("accelerator", [Accelerator(), Accelerator(precision="bfloat16")], ids=lambda a: a.precision)
@torch.no_grad()
def test_several_chips_in_one_pass(accelerator):
    model, x = two_inputs()
    network = AnalogNetwork(model, dict.fromkeys(analog_layers(model), DRIFTED), accelerator=accelerator)
    batches = Execution(5).batches(x)
    assert [len(batch) for batch in batches] == [5, 5, 2]
    alone = [outputs(network.chip(seed), batches, accelerator) for seed in (3, 5)]
    both = outputs(network.chips([3, 5]), batches, accelerator, inputs=1)
    torch.testing.assert_close(both, torch.stack(alone), rtol=0, atol=1e-5 if accelerator.dtype is None else 5e-2)


def test_masks_and_ids_keep_their_type_where_numbers_do_not():
    _, x = masked()
    taken = Accelerator(precision="bfloat16").take(Inputs((torch.rand(12, 2),), x.kwargs))
    assert [taken.args[0].dtype, taken.kwargs["ids"].dtype, taken.kwargs["mask"].dtype] == [
        torch.bfloat16,
        torch.int64,
        torch.bool,
    ]


def test_chips_in_flight_and_in_passes_have_the_rows_of_one_after_the_other():
    model, x = two_inputs()
    y = torch.arange(12) % 3
    specs = dict.fromkeys(analog_layers(model), DRIFTED)

    def rows(execution):
        networks = [AnalogNetwork(model, specs) for _ in range(execution.chips_in_flight)]
        batches = execution.batches(x)
        digital = evaluate(model, batches, y, Top1())
        bench = Bench("p", networks[0], batches, y, Top1(), digital, digital.score, execution, networks[1:])
        return [(row["status"], row["n_correct"], round(row["loss"], 5)) for row, _ in run_trials(bench, range(5))]

    exact = rows(Execution(5))
    assert {status for status, _, _ in exact} == {"ok"}
    assert rows(Execution(5, chips_in_flight=2)) == exact
    assert rows(Execution(12, chips_per_pass=3)) == exact


@torch.no_grad()
def test_outputs_of_another_length_in_each_batch_are_refused():
    class Trims(nn.Module):
        def forward(self, ids, mask):
            return torch.zeros(len(ids), int(mask.sum(1).max()), 3)

    _, x = masked()
    with pytest.raises(ValueError, match=r"outputs must have one shape for each input, got \(\d, 3\) and \(7, 3\) in"):
        outputs(Trims(), x.split(1), Accelerator())


@torch.no_grad()
def test_ignored_labels_are_left_out_of_loss_and_agreement():
    """Of a row: only labels that are scored count, and rows of the others may be anything."""
    logits, labels = torch.randn(4, 3, 5), torch.randint(0, 5, (4, 3))
    labels[:, 1:] = -100
    other = logits.clone()
    other[:, 1:] = torch.randn(4, 2, 5)
    scores = [evaluate(Given(each), [torch.zeros(4, 1)], labels, CrossEntropy()) for each in (logits, other)]
    assert scores[0].score == scores[1].score == scores[0].loss
    assert torch.equal(scores[0].predictions, scores[1].predictions)


class Given(nn.Module):
    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, x):
        return self.logits


def test_the_class_of_pyrram_sim_and_its_validation():
    model, x = two_inputs()
    chip = FastPyTorchRRAM(model, 1e-6, 100e-6, seed=3)
    noisy = chip.get_noisy_model_for_inference()
    y = call(noisy, x).argmax(1)
    picture, vector = x.kwargs.values()
    for batch in [(picture, vector, y), ((picture, vector), y), [x.kwargs, y], {**x.kwargs, "labels": y}]:
        assert validate(noisy, [batch]) == 100
    for batch in [(picture, "text", y), {"picture": picture}, (picture,), y, ({"picture": 1}, y)]:
        with pytest.raises(ValueError, match=r"dataloader must give batches|named arrays must hold labels"):
            validate(noisy, [batch])


LAB = """
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset
from tests.network.test_several_inputs import masked, two_inputs

def build(wrap=False):
    return Wrapped(two_inputs()[0]) if wrap else two_inputs()[0]

def build_masked():
    return masked()[0]

class Wrapped(torch.nn.Module):
    def __init__(self, core):
        super().__init__()
        self.core = core
    def forward(self, picture, vector, scale=1.0):
        return {"hidden": vector, "scores": self.core(picture, vector, scale)}

class Dicts(Dataset):
    def __len__(self):
        return 12
    def __getitem__(self, i):
        x = two_inputs()[1].kwargs
        return {"picture": x["picture"][i], "vector": x["vector"][i], "labels": i % 3}

def tuples():
    x = two_inputs()[1].kwargs
    return TensorDataset(x["picture"], x["vector"], torch.arange(12) % 3)

def loader():
    return DataLoader(Dicts(), batch_size=5)

class Ragged(Dataset):
    def __len__(self):
        return 12
    def __getitem__(self, i):
        x = masked()[1].kwargs
        n = int(x["mask"][i].sum())
        return {"ids": x["ids"][i, :n], "mask": x["mask"][i, :n], "labels": i % 3}
"""


@pytest.fixture
def lab(workdir, monkeypatch):
    Path("inputlab.py").write_text(LAB)
    monkeypatch.syspath_prepend(str(workdir))
    _, x = two_inputs()
    np.savez("both.npz", **{name: tensor.numpy() for name, tensor in x.kwargs.items()}, y=np.arange(12) % 3)
    _, x = masked()
    np.savez("masked.npz", **{name: tensor.numpy() for name, tensor in x.kwargs.items()}, y=np.arange(12) % 3)
    yield workdir
    sys.modules.pop("inputlab", None)


MODEL = ["model=custom", "model._target_=inputlab.build", "allow_targets=[inputlab]", "chips=2", "batch_size=12"]
DATA = {
    "npz": ["data=npz", "data.path=both.npz"],
    "dicts": ["data=custom", "data._target_=inputlab.Dicts"],
    "tuples": ["data=custom", "data._target_=inputlab.tuples"],
    "nested": ["data=dataset", "data.dataset._target_=inputlab.Dicts", "data.inputs=[picture,vector]"],
    "loader": ["data=custom", "data._target_=inputlab.loader"],
}


def test_a_sweep_takes_them_in_every_form(lab):
    drift = "drift.relative_drift=0,0.2"
    frames = {name: rs.sweep([*MODEL, *words, drift, f"name={name}"]) for name, words in DATA.items()}
    for name, frame in frames.items():
        assert (frame["status"] == "ok").all(), name
        np.testing.assert_array_equal(frame["loss"], frames["npz"]["loss"])
    ids = {name: tuple(frame["point_id"]) for name, frame in frames.items()}
    assert ids["npz"] == ids["dicts"] == ids["nested"] == ids["loader"]
    assert ids["npz"] != ids["tuples"], "positions and names are two calls"


def test_an_output_by_name_and_a_constant_argument(lab):
    plain = rs.sweep([*MODEL, *DATA["npz"], "name=plain"])
    wrapped = [*MODEL, "+model.wrap=true", *DATA["npz"]]
    with pytest.raises(ValueError, match=r"returns dict with hidden, scores: choose one with model\.output=hidden"):
        rs.sweep(wrapped)
    chosen = rs.sweep([*wrapped, "model.output=scores", "name=chosen"])
    assert (chosen["agreement"] == plain["agreement"]).all()
    np.testing.assert_array_equal(chosen["digital_score"], plain["digital_score"])
    scaled = rs.sweep([*wrapped, "model.output=scores", "+model.forward.scale=0.5", "name=scaled"])
    assert (scaled["loss"] != chosen["loss"]).all()
    assert (scaled["model.forward.scale"] == 0.5).all()


def test_padded_sequences_are_those_of_the_padded_arrays(lab):
    model = [*MODEL, "model._target_=inputlab.build_masked"]
    ragged = ["data=dataset", "data.dataset._target_=inputlab.Ragged"]
    whole = rs.sweep([*model, "data=npz", "data.path=masked.npz", "name=whole"])
    padded = rs.sweep([*model, *ragged, "data.padding={ids: 0}", "name=padded"])
    np.testing.assert_array_equal(whole["loss"], padded["loss"])
    assert whole["point_id"].tolist() == padded["point_id"].tolist()
    with pytest.raises(
        ValueError, match=r"one shape and type, got ids .*or pad sequences with data=dataset and data\.padding={ids: 0}"
    ):
        rs.sweep([*model, *ragged])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["data.inputs=[picture]"], r"on inputs of shapes picture \(1, 6, 6\) says .*missing 1 required positional"),
        (["data.labels=vector", "metric=mse"], r"on inputs of shapes picture .*, y \(\) says .*unexpected keyword arg"),
        (["data.path=masked.npz"], r"unexpected keyword argument .*: name arrays as the arguments of its forward"),
        (["+model.forward.vector=1"], r"model\.forward\.vector must not be an array of the data too"),
        (["+model.forward.gain=1"], r"model\.forward\.gain must be an argument of TwoInputs\.forward"),
        (["model.output=logits"], r"model\.output must be a tensor .*: it returns Tensor: leave model\.output null"),
        (["metric=agreement", "model.output=[a]"], r"model\.output must be a key, an attribute or an index"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(lab, changes, says):
    with pytest.raises(ValueError, match=says) as caught:
        rs.sweep([*MODEL, *DATA["npz"], *changes])
    assert "\n" not in str(caught.value)


def test_an_argument_of_a_factory_that_is_called_output_stays_its_own(lab):
    Path("inputlab.py").write_text(LAB + "\ndef sized(output=3):\n    return torch.nn.Linear(4, output)\n")
    np.savez("vectors.npz", x=np.random.default_rng(0).random((9, 4)).astype(np.float32), y=np.arange(9) % 3)
    words = [*MODEL, "model._target_=inputlab.sized", "data=npz", "data.path=vectors.npz", "data.layout=any"]
    assert rs.sweep([*words, "name=three"])["status"].tolist() == ["ok"] * 2
    assert rs.sweep([*words, "model.output=5", "name=five"])["model.output"].tolist() == [5, 5]


def test_data_of_one_tensor_are_as_they_were():
    data = Data(torch.rand(3, 2), torch.tensor([0, 1, 0]), "plain", 2)
    assert isinstance(data.x, torch.Tensor)
    batches = Execution(2).batches(data.x)
    assert all(isinstance(batch, torch.Tensor) for batch in batches)
