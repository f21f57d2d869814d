"""Nothing that a caller has set, and nothing that user code does, changes what a pass computes or how it ends."""

from __future__ import annotations

import contextlib
import sys
import threading
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

import rramsweep as rs
from rramsweep.app import main
from rramsweep.numerics import fixed_arithmetic
from rramsweep.validation import validate

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
    return ["model=custom", f"model._target_=tests.test_surroundings.{name}", "model.checkpoint=null"]


EXITS = {
    "factory": (custom("ExitsInInit"), "tests.test_surroundings.ExitsInInit must return or raise an error"),
    "forward": (
        custom("ExitsInForward"),
        "the forward of tests.*ExitsInForward must return or raise an error",
    ),
    "metric": (["metric=custom", "metric._target_=tests.test_surroundings.Exits"], "exits must return or raise"),
    "import": ([], "model._target_: importing exits_at_import.Net must return or raise an error"),
    "dataset": (
        ["data=dataset", "data.dataset._target_=tests.test_surroundings.Samples"],
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
    metric = ["metric=custom", "metric._target_=tests.test_surroundings.Writes", "allow_targets=[tests]"]
    found = rs.sweep([*SWEEP, *metric])
    for column in ("score", "loss", "digital_score", "ideal_score"):
        assert found[column].tolist() == pytest.approx(plain[column].tolist(), abs=1e-6)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_factory_that_sets_the_default_dtype_reaches_nothing_else(workdir):
    overrides = [*custom("SetsDtype"), "data=digits", "data.limit=50", "chips=2", "allow_targets=[tests]"]
    assert rs.sweep(overrides)["status"].tolist() == ["ok", "ok"]
    assert torch.get_default_dtype() == torch.float32
