"""What a network, a checkpoint or an array is refused for is what is wrong with it; what can be converted is."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import nn

import rramsweep as rs
from rramsweep.datasets import from_dataset, npz
from rramsweep.metrics.scoring import CrossEntropy, MeanSquaredError, Perplexity, Top1, Top5
from rramsweep.network.arrays import private_copy
from rramsweep.network.determinism import check_steady
from rramsweep.simulation.trial import score


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.fc = nn.Linear(64, 16), nn.Linear(16, 10)

    def forward(self, x):
        return self.fc(self.body(x.flatten(1)).relu())


class Locked(Base):
    def __init__(self):
        super().__init__()
        self.body.lock = threading.Lock()


class Logs(Base):
    def __init__(self):
        super().__init__()
        self.log = {"file": open(__file__)}  # noqa: SIM115


class Generates(Base):
    def __init__(self):
        super().__init__()
        self.numbers = (i for i in range(3))


class Subtracts(Base):
    def forward(self, x):
        x -= 0.5
        return super().forward(x)


def clamps():
    return nn.Sequential(nn.Hardtanh(0.2, 0.5, inplace=True), nn.Flatten(), nn.Linear(64, 10))


def writes_by_view():
    class Net(Base):
        def forward(self, x):
            x[:, :, 0] = 0.0
            return super().forward(x)

    return Net()


class Masks(Base):
    """Only the first six classes can be chosen."""

    def forward(self, x):
        mask = torch.zeros(10)
        mask[6:] = -torch.inf
        return super().forward(x) + mask


def quantised():
    return torch.ao.quantization.quantize_dynamic(Base(), {nn.Linear}, dtype=torch.qint8)


def partly_quantised():
    net = Base()
    net.fc = torch.ao.nn.quantized.dynamic.Linear(16, 10)
    return net


def quantised_buffer():
    net = Base()
    net.register_buffer("table", torch.quantize_per_tensor(torch.rand(4), 0.1, 0, torch.qint8))
    return net


def complex_layer():
    net = Base()
    net.fc = nn.Linear(16, 10, dtype=torch.complex64)
    return net


def integer_layer():
    net = Base()
    net.fc.weight = nn.Parameter(torch.zeros(10, 16, dtype=torch.int8), requires_grad=False)
    return net


def sparse_layer():
    net = Base()
    net.fc.weight = nn.Parameter(net.fc.weight.detach().to_sparse())
    return net


def meta():
    with torch.device("meta"):
        return Base()


def meta_buffer():
    net = Base()
    net.register_buffer("scale", torch.ones(3, device="meta"))
    return net


class Spectral(Base):
    """A digital part of complex numbers is no reason to refuse a network."""

    def __init__(self):
        super().__init__()
        self.filter = nn.Parameter(torch.ones(9, dtype=torch.complex64))

    def forward(self, x):
        return self.fc(torch.fft.irfft(torch.fft.rfft(self.body(x.flatten(1))) * self.filter))


class ComplexAnswers(Base):
    def forward(self, x):
        return torch.complex(super().forward(x), torch.zeros(len(x), 10))


NETWORKS = {
    "Locked": "must be copied .*, but Python cannot copy its attribute 'body.lock' .TypeError: .*'_thread.lock",
    "Logs": "cannot copy its attribute 'log' .TypeError: cannot pickle '_io.TextIOWrapper'",
    "Generates": "cannot copy its attribute 'numbers' .TypeError: cannot pickle 'generator'",
    "Subtracts": "must leave its input as it is, but changes it in place",
    "clamps": "must leave its input as it is, but changes it in place",
    "writes_by_view": "must leave its input as it is, but changes it in place",
    "quantised": r"must have float32 weights, got the quantised layer 'body' \(torch.ao.nn.quantized.dynamic",
    "partly_quantised": "must have float32 weights, got the quantised layer 'fc'",
    "quantised_buffer": "must have float32 weights, got quantised table",
    "complex_layer": "must be real, dense numbers .*, got complex numbers .torch.complex64, .* in fc",
    "integer_layer": "got integer numbers .torch.int8, .* in fc",
    "sparse_layer": "got sparse numbers .* in fc",
    "meta": "must have its weights, got body.weight on the meta device",
    "meta_buffer": "must have its weights, got scale on the meta device",
    "ComplexAnswers": "outputs must be real numbers, got torch.complex64",
}


def config(name, *more):
    target = f"model._target_=tests.simulation.test_right_reason.{name}"
    data = ["data=digits", "data.limit=50", "chips=2", "allow_targets=[tests]"]
    return ["model=custom", target, "model.checkpoint=null", *data, *more]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_refused_for_what_is_wrong_with_it(name, workdir):
    with pytest.raises(ValueError, match=NETWORKS[name]) as caught:
        rs.sweep(config(name))
    assert "\n" not in str(caught.value)
    assert not (workdir / "outputs" / "store").exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["quantised", "complex_layer", "meta", "Locked"])
def test_one_chip_likewise(name):
    with pytest.raises(ValueError, match=NETWORKS[name]):
        rs.FastPyTorchRRAM(globals()[name](), 1e-6, 100e-6)


@pytest.mark.filterwarnings("ignore")
def test_a_complex_digital_part_passes(workdir):
    assert rs.sweep(config("Spectral"))["status"].tolist() == ["ok"] * 2


def test_the_data_stay_as_they_are_where_a_network_changes_its_input():
    x = torch.rand(4, 1, 8, 8)
    before = x.clone()
    with pytest.raises(ValueError, match=r"network my\.net must leave its input as it is.*x = x\.clone\(\)"):
        check_steady(Subtracts().eval(), x, "my.net")
    assert torch.equal(x, before)


def test_tensors_with_a_history_are_copied_wherever_they_are_held():
    net = Base()
    net.kept = {"kernels": [net.fc.weight * 2]}
    assert torch.equal(private_copy(net).kept["kernels"][0], net.fc.weight * 2)


ARRAYS = [np.dtype(code) for code in (">f4", ">f8", "<f8", ">f2", np.longdouble, ">i2", ">u4", "u2")]


@pytest.mark.parametrize("dtype", ARRAYS, ids=str)
def test_arrays_of_any_byte_order_and_length_are_read(dtype, tmp_path):
    x, y = np.arange(32).reshape(2, 1, 4, 4), np.array([0, 1])
    np.savez(tmp_path / "a.npz", x=x.astype(dtype), y=y.astype(dtype))
    data = npz(str(tmp_path / "a.npz"))
    assert data.x.dtype == torch.float32
    assert data.x.tolist() == x.tolist()
    assert data.y.tolist() == [0, 1]


@pytest.mark.parametrize("dtype", ARRAYS[:5], ids=str)
def test_samples_of_any_byte_order_and_length_are_read(dtype):
    class Samples(torch.utils.data.Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, i):
            return np.full((1, 2, 2), i + 0.5, dtype), np.array([i], ">i4")[0]

    data = from_dataset(Samples())
    assert data.x[:, 0, 0, 0].tolist() == [0.5, 1.5]
    assert data.y.tolist() == [0, 1]


LOGITS = torch.tensor([[2.0, 1.0, -torch.inf, 0.0, 0.5, 0.1, 0.2], [-torch.inf, 3.0, 1.0, 0.0, -1.0, 0.3, 0.4]])


def test_masked_classes_are_never_chosen_and_take_no_probability():
    labels = torch.tensor([0, 2])
    assert score(LOGITS, labels, Top1()).correct.tolist() == [True, False]
    assert score(LOGITS, labels, Top5()).correct.tolist() == [True, True]
    kept = [LOGITS[0][[0, 1, 3, 4, 5, 6]], LOGITS[1][1:]]
    expected = -sum(float(row.log_softmax(0)[i]) for row, i in zip(kept, (0, 1), strict=True)) / 2
    assert score(LOGITS, labels, CrossEntropy()).score == pytest.approx(expected, rel=1e-6)
    assert score(LOGITS, labels, Top1()).loss == pytest.approx(expected, rel=1e-6)
    few = torch.full((1, 7), -torch.inf).index_fill(1, torch.tensor([5]), 1.0)
    assert score(few, torch.tensor([0]), Top5()).correct.tolist() == [False]  # masked, though among the first of equals


@pytest.mark.parametrize("metric", [CrossEntropy(), Perplexity()])
def test_a_label_whose_class_is_masked_has_an_infinite_loss(metric):
    labels = torch.tensor([2, 1])
    with pytest.raises(ValueError, match=r"infinite where the class of a label is masked .*that of 1 of 2 labels"):
        score(LOGITS, labels, metric)
    answers = score(LOGITS, labels, Top1())
    assert (answers.correct.tolist(), answers.loss) == ([False, True], None)


@pytest.mark.parametrize(
    ("outputs", "metric", "says"),
    [
        (torch.full((2, 7), -torch.inf), Top1(), "logits must leave a class to choose, got a row of -inf alone"),
        (-LOGITS, Top1(), "outputs must be finite"),
        (LOGITS * torch.nan, Top1(), "outputs must be finite"),
    ],
)
def test_other_infinities_are_refused(outputs, metric, says):
    with pytest.raises(ValueError, match=says):
        score(outputs, torch.tensor([0, 1]), metric)
    with pytest.raises(ValueError, match="outputs must be finite"):
        score(LOGITS, torch.rand(2, 7), MeanSquaredError())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_sweep_of_a_network_that_masks_classes(workdir):
    table = rs.sweep(config("Masks"))
    assert table["status"].tolist() == ["ok"] * 2
    assert table["loss"].isna().all()
    with pytest.raises(ValueError, match="cross-entropy must be finite, but is infinite where"):
        rs.sweep(config("Masks", "metric=cross_entropy"))


def test_the_prefix_of_a_checkpoint_is_noted(workdir):
    torch.save({f"model.{name}": value for name, value in Base().state_dict().items()}, "w.pt")
    overrides = [o for o in config("Base") if not o.startswith("model.checkpoint")]
    with pytest.warns(
        UserWarning, match=r"model.checkpoint: the prefix 'model\.' was removed from every name in w\.pt"
    ):
        rs.sweep([*overrides, "model.checkpoint=w.pt"])
