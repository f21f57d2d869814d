"""Nothing that a caller has set, and nothing that user code does, changes what a pass computes or how it ends."""

from __future__ import annotations

import contextlib
import sys
import threading
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn, overrides

import rramsweep as rs
from rramsweep.cli.main import main
from rramsweep.models import digits_cnn, digits_mlp, embedded_path, lenet5, load_checkpoint, resnet20
from rramsweep.network.numerics import fixed_arithmetic
from rramsweep.network.validation import validate

SWEEP = ["model=digits_mlp", "data=digits", "data.limit=50", "chips=3", "drift=relative", "drift.relative_drift=0.2"]
NUMBERS = ["point_id", "seed", "status", "score", "loss", "digital_score", "ideal_score"]


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextlib.contextmanager
def matmul_precision(precision):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


SURROUNDINGS = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "default device": lambda: default_device("meta"),
    "default device cpu": lambda: default_device("cpu"),
    "device context": lambda: torch.device("meta"),
    "matmul precision": lambda: matmul_precision("medium"),
    "no grad": torch.no_grad,
    "inference mode": torch.inference_mode,
}


def state():
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_autocast_enabled("cpu"),
        torch.is_inference_mode_enabled(),
        torch.is_grad_enabled(),
        torch.get_float32_matmul_precision(),
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("plain"))
        return rs.sweep(SWEEP)[NUMBERS]


@pytest.mark.parametrize("around", SURROUNDINGS)
@pytest.mark.parametrize("flight", [1, 2])
def test_a_sweep_computes_as_in_a_fresh_process(around, flight, plain, workdir):
    with SURROUNDINGS[around]():
        before = state()
        found = rs.sweep([*SWEEP, f"chips_in_flight={flight}", "batch_size=64", "threads=1"])[NUMBERS]
        assert state() == before
    exact = ["point_id", "seed", "status", "score", "digital_score", "ideal_score"]
    assert found[exact].equals(plain[exact])
    assert (found["loss"] - plain["loss"]).abs().max() < 1e-6  # another batch size adds in another order


@pytest.mark.parametrize("around", SURROUNDINGS)
def test_one_chip_and_inspection_likewise(around, workdir):
    def numbers():
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        chip = rs.FastPyTorchRRAM(net, 1e-6, 100e-6, differential=False, seed=3)
        chip.apply_programming_error(0.05)
        noisy = chip.get_noisy_model_for_inference()
        return net, noisy, chip.conductances["1"]["p"]

    torch.manual_seed(0)
    with fixed_arithmetic():
        net, noisy, g = numbers()
        x, y = torch.rand(20, 1, 8, 8), torch.arange(20) % 10
    expected = validate(noisy, [(x, y)])
    table = rs.inspect(SWEEP, chips=1, inputs=8)
    with SURROUNDINGS[around]():
        chip = rs.FastPyTorchRRAM(net, 1e-6, 100e-6, differential=False, seed=3)
        chip.apply_programming_error(0.05)
        again = chip.get_noisy_model_for_inference()
        assert torch.equal(chip.conductances["1"][next(iter(chip.conductances["1"]))], g)
        assert torch.equal(again[1].weight, noisy[1].weight)
        assert validate(again, [(x, y)]) == expected
        assert rs.inspect(SWEEP, chips=1, inputs=8).equals(table)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("make", [digits_mlp, digits_cnn, lenet5, resnet20])
def test_packaged_networks_are_float32_and_alike_whatever_the_default_dtype(make, dtype):
    torch.manual_seed(0)
    plain = make().state_dict()
    with default_dtype(dtype):
        torch.manual_seed(0)
        found = make().state_dict()
    assert all(torch.equal(value, plain[name]) and value.dtype == plain[name].dtype for name, value in found.items())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_one_chip_example_runs_whatever_the_default_dtype(dtype):
    def example():
        net = digits_mlp()
        load_checkpoint(net, embedded_path("digits_mlp"))
        chip = rs.FastPyTorchRRAM(net, 1e-6, 100e-6, seed=42)
        chip.apply_relative_drift(0.3)
        data = rs.datasets.digits(limit=50)
        return validate(chip.get_noisy_model_for_inference(), [(data.x, data.y)])

    expected = example()
    with default_dtype(dtype):
        assert example() == expected


@pytest.mark.parametrize("name", ["_pop_mode", "_push_mode", "_get_current_function_mode_stack"])
def test_a_torch_without_its_private_functions_serves_but_for_a_default_device(name, monkeypatch):
    monkeypatch.delattr(overrides, name)
    with fixed_arithmetic():
        assert torch.tensor(1.0).dtype == torch.float32
    # torch itself uses them to set a default device, so that the device of a new tensor stands for one.
    monkeypatch.setattr(torch, "tensor", lambda *_: torch.empty(0, device="meta"))
    says = r"torch's default device must be the CPU with torch .*, got meta: call torch.set_default_device\('cpu'\)"
    with pytest.raises(rs.errors.ValidationError, match=says), fixed_arithmetic():
        pass


def test_settings_of_the_process_last_until_the_last_thread_leaves():
    inside, leave = threading.Event(), threading.Event()

    def hold():
        with fixed_arithmetic():
            inside.set()
            leave.wait(10)

    with default_dtype(torch.float64):
        thread = threading.Thread(target=hold)
        thread.start()
        inside.wait(10)
        with fixed_arithmetic():
            assert torch.ones(1).dtype == torch.float32
        assert torch.get_default_dtype() == torch.float32
        leave.set()
        thread.join()
        assert torch.get_default_dtype() == torch.float64


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        return self.fc(x.flatten(1))


class SetsDtype(Base):
    """A factory that leaves torch's default dtype behind."""

    def __init__(self):
        super().__init__()
        torch.set_default_dtype(torch.float64)


class ExitsInInit(Base):
    def __init__(self):
        sys.exit(0)


class ExitsInForward(Base):
    def forward(self, x):
        raise SystemExit


class ExitsOnAChip(Base):
    def __init__(self):
        super().__init__()
        self.own = None

    def forward(self, x):
        total = float(self.fc.weight.sum())
        self.own = total if self.own is None else self.own
        if total != self.own and len(x) > 4:
            sys.exit(0)
        return super().forward(x)


@dataclass(frozen=True)
class Exits:
    version: ClassVar[int] = 1
    name: ClassVar[str] = "exits"
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True

    def __call__(self, outputs, targets):
        sys.exit(0)


@dataclass(frozen=True)
class Writes:
    """Writes into its outputs and targets, and hides it from torch."""

    version: ClassVar[int] = 1
    name: ClassVar[str] = "writes"
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = True

    def correct(self, outputs, targets):
        right = outputs.argmax(1) == targets
        targets.numpy()[:] = 0
        outputs.fill_(0.0)
        return right


class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return 20

    def __getitem__(self, i):
        sys.exit(0)


def custom(name):
    return ["model=custom", f"model._target_=tests.simulation.test_surroundings.{name}", "model.checkpoint=null"]


EXITS = {
    "factory": (custom("ExitsInInit"), "tests.simulation.test_surroundings.ExitsInInit must return or raise an error"),
    "forward": (
        custom("ExitsInForward"),
        "the forward of tests.*ExitsInForward must return or raise an error",
    ),
    "metric": (
        ["metric=custom", "metric._target_=tests.simulation.test_surroundings.Exits"],
        "exits must return or raise",
    ),
    "import": ([], "model._target_: importing exits_at_import.Net must return or raise an error"),
    "dataset": (
        ["data=dataset", "data.dataset._target_=tests.simulation.test_surroundings.Samples"],
        "Dataset Samples must return or raise an error",
    ),
}


@pytest.mark.parametrize("where", EXITS)
def test_user_code_that_exits_is_refused(where, workdir, capsys, monkeypatch):
    overrides, says = EXITS[where]
    if where == "import":
        (workdir / "exits_at_import.py").write_text("import sys\nsys.exit(0)\n")
        monkeypatch.syspath_prepend(workdir)
        overrides = ["model=custom", "model._target_=exits_at_import.Net", "model.checkpoint=null"]
    data = [] if where == "dataset" else ["data=digits", "data.limit=50"]
    model = [] if any(o.startswith("model=") for o in overrides) else ["model=digits_mlp"]
    with pytest.raises(SystemExit) as ended:
        main(["-m", *model, *data, *overrides, "chips=2", "allow_targets=[tests,exits_at_import]"])
    error = capsys.readouterr().err
    assert ended.value.code == 1
    assert len(error.splitlines()) == 1
    with pytest.raises(ValueError, match=says):
        rs.sweep([*model, *data, *overrides, "chips=2", "allow_targets=[tests,exits_at_import]"])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("flight", [1, 2])
def test_a_chip_on_which_user_code_exits_is_a_failed_row(flight, workdir):
    overrides = [*custom("ExitsOnAChip"), "data=digits", "data.limit=50", "chips=3", "allow_targets=[tests]"]
    table = rs.sweep([*overrides, f"chips_in_flight={flight}", "batch_size=50", "threads=1"])
    assert table["status"].tolist() == ["failed"] * 3
    assert table["error"].str.contains("the network's forward must return or raise an error, got sys.exit").all()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_metric_that_writes_into_what_it_is_given_changes_nothing(workdir, plain):
    metric = ["metric=custom", "metric._target_=tests.simulation.test_surroundings.Writes", "allow_targets=[tests]"]
    found = rs.sweep([*SWEEP, *metric])
    for column in ("score", "loss", "digital_score", "ideal_score"):
        assert found[column].tolist() == pytest.approx(plain[column].tolist(), abs=1e-6)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_factory_that_sets_the_default_dtype_reaches_nothing_else(workdir):
    overrides = [*custom("SetsDtype"), "data=digits", "data.limit=50", "chips=2", "allow_targets=[tests]"]
    assert rs.sweep(overrides)["status"].tolist() == ["ok", "ok"]
    assert torch.get_default_dtype() == torch.float32
