"""The way to run a network follows one rule, is kept with the store, and changes no score beyond rounding."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import rramsweep as rs
from rramsweep.cli.composing import choices, container
from rramsweep.cli.main import main
from rramsweep.network.accelerator import Accelerator
from rramsweep.network.parallel import in_parallel
from rramsweep.simulation.execution import (
    BATCH_BYTES,
    CACHE_BYTES,
    IN_FLIGHT_PARAMETERS,
    LARGEST_PASS,
    Execution,
    ExecutionSettings,
    batch_size,
    chips_in_flight,
    chips_per_pass,
    choose,
    largest_activation,
)
from rramsweep.simulation.workbench import Workbench

POINT = ["model=digits_cnn", "data=digits", "data.limit=100", "drift.relative_drift=0.3"]


MIB = 1 << 20


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("activation", "n", "chips", "size"),
    [
        (512, 1797, 2, 1797),  # the MLP on digits: all inputs are a megabyte
        (4096, 1797, 2, 1024),  # the small CNN
        (18_816, 1000, 2, 128),  # LeNet-5: 222 inputs would fit, so the power of two below
        (65_536, 512, 2, 64),  # ResNet-20: 4 MiB exactly
        (32_768, 512, 2, 128),
        (32_769, 512, 2, 64),
        (3_211_264, 64, 1, 64),  # ResNet-18 at 224 px: no fewer than 64, though one input fills the cache
        (3_211_264, 64, 2, 32),  # of two chips at the same time, which share 256 MiB
        (3_211_264, 64, 64, 1),  # no less than the cache
        (4 * MIB, 64, 1, 64),  # 256 MiB exactly
        (5 * MIB, 64, 1, 32),
        (200 * MIB, 64, 1, 1),
        (300 * MIB, 64, 1, 1),
        (1, 10**9, 1, CACHE_BYTES),
        (512, 3, 1, 3),
        (512, 0, 1, 1),
    ],
)
def test_a_batch_fits_the_cache(activation, n, chips, size):
    assert batch_size(activation, n, chips) == size


def test_a_batch_on_a_gpu_fills_more_memory():
    assert batch_size(65_536, 10_000, cache=BATCH_BYTES) == 4096
    assert batch_size(3_211_264, 10_000, cache=BATCH_BYTES) == 64


@pytest.mark.parametrize(
    ("parameters", "cores", "chips"),
    [(9_610, 2, 2), (9_610, 16, 16), (9_610, 1, 1), (IN_FLIGHT_PARAMETERS, 2, 2), (IN_FLIGHT_PARAMETERS + 1, 2, 1)],
)
def test_one_chip_a_core_of_a_small_network(parameters, cores, chips):
    assert chips_in_flight(parameters, cores) == chips


@pytest.mark.parametrize(
    ("weights", "activation", "free", "chips"),
    [
        (1 * MIB, 2 * MIB, 80 * MIB, 4),  # 10 MiB a chip, of 40
        (1 * MIB, 2 * MIB, 79 * MIB, 2),
        (1 * MIB, 2 * MIB, 10 * MIB, 1),
        (1 * MIB, 2 * MIB, 0, 1),
        (4, 4, 80 * 1024 * MIB, LARGEST_PASS),
    ],
)
def test_chips_a_pass_take_half_of_the_free_memory(weights, activation, free, chips):
    assert chips_per_pass(weights, activation, free) == chips


class Functional(nn.Module):
    """A network whose largest activation no module returns."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(7, 3))

    def forward(self, x):
        return (x @ self.weight.t()).repeat(1, 10).sum(1, keepdim=True)


@pytest.mark.parametrize(
    ("net", "shape", "nbytes"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(18, 50), nn.ReLU(), nn.Linear(50, 5)), (2, 2, 3, 3), 4 * 50),
        (nn.Conv2d(2, 8, 1), (2, 2, 5, 5), 4 * 8 * 25),
        (nn.Conv2d(2, 8, 1), (1, 2, 5, 5), 4 * 8 * 25),
        (nn.LSTM(3, 6, batch_first=True), (2, 4, 3), 4 * 4 * 6),
        (Functional(), (2, 3), 4 * 70),
    ],
)
def test_the_largest_activation_is_that_of_one_input(net, shape, nbytes):
    assert largest_activation(net, torch.zeros(shape)) == nbytes


def test_a_batch_in_half_precision_is_twice_as_large():
    x = torch.zeros(10**5, 64)
    sizes = [
        choose(nn.Linear(64, 512), x, ExecutionSettings(), Accelerator(precision=precision)).batch_size
        for precision in ("float32", "bfloat16")
    ]
    assert sizes == [2048, 4096]


@pytest.mark.parametrize(
    ("net", "shape", "memory_format"),
    [
        (nn.Conv2d(2, 2, 1), (9, 2, 3, 3), "channels_last"),
        (nn.Sequential(nn.Flatten(), nn.Linear(18, 5)), (9, 2, 3, 3), "contiguous"),
        (nn.Conv1d(2, 2, 1), (9, 2, 3), "contiguous"),
        (nn.Conv3d(2, 2, 1), (9, 2, 3, 3, 3), "contiguous"),
    ],
)
def test_convolutions_over_two_axes_run_channels_last(net, shape, memory_format):
    assert choose(net, torch.zeros(shape), ExecutionSettings()).memory_format == memory_format


NET = nn.Conv2d(2, 2, 1)
X = torch.zeros(32, 2, 3, 3)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (ExecutionSettings(), Execution(32, "channels_last", 1, 1, 2)),
        (ExecutionSettings(5), Execution(5, "channels_last", 1, 1, 2)),
        (ExecutionSettings(memory_format="contiguous"), Execution(32, "contiguous", 1, 1, 2)),
        (ExecutionSettings(threads=2), Execution(32, "channels_last", 2, 1, 1)),
        (ExecutionSettings(one_process=False), Execution(32, "channels_last", None, 1, 1)),
        (ExecutionSettings(chips_in_flight=1), Execution(32, "channels_last", None, 1, 1)),
        (ExecutionSettings(chips_in_flight=3), Execution(32, "channels_last", None, 1, 3)),
        (ExecutionSettings(chips_per_pass=2), Execution(32, "channels_last", None, 2, 1)),
        (ExecutionSettings(5, "contiguous", 1, 1, 4), Execution(5, "contiguous", 1, 1, 4)),
    ],
)
def test_what_is_fixed_is_taken_as_it_is(settings, expected, two_threads):
    assert choose(NET, X, settings) == expected
    assert torch.get_num_threads() == 2


def test_large_networks_run_one_chip_at_a_time_unless_fixed(monkeypatch, two_threads):
    monkeypatch.setattr("rramsweep.simulation.execution.IN_FLIGHT_PARAMETERS", 5)
    assert choose(NET, X, ExecutionSettings()) == Execution(32, "channels_last", None, 1, 1)
    fixed = choose(NET, X, ExecutionSettings(chips_in_flight=2))
    assert (fixed.chips_in_flight, fixed.threads, fixed.threads_per_chip) == (2, None, 1)


def test_a_fixed_batch_runs_no_input():
    class Never(nn.Module):
        def forward(self, x):
            raise AssertionError("nothing is to be found out by a forward")

    assert choose(Never(), torch.zeros(9, 3), ExecutionSettings(5)).batch_size == 5


def test_ways_of_running_agree_to_rounding(workdir):
    frames = []
    for ways in (["batch_size=7"], ["batch_size=100", "memory_format=channels_last"], ["threads=1"]):
        frames.append(rs.sweep([*POINT, "chips=3", f"store=s{len(frames)}", *ways]))
    assert frames[0]["batch_size"].tolist() == [7, 7, 7]
    assert frames[1]["memory_format"].tolist() == ["channels_last"] * 3
    assert frames[2]["threads"].tolist() == [1, 1, 1]
    for frame in frames[1:]:
        assert frame["point_id"].tolist() == frames[0]["point_id"].tolist()
        assert frame["loss"].tolist() == pytest.approx(frames[0]["loss"].tolist(), abs=1e-5)
        assert frame["digital_score"].tolist() == frames[0]["digital_score"].tolist()


def test_a_store_keeps_the_way_and_a_sweep_goes_on_in_it(workdir, monkeypatch):
    rs.sweep([*POINT, "chips=2"])
    path = Path("outputs/store/executions.json")
    ((kind, kept),) = json.loads(path.read_text()).items()
    cfg = rs.compose(POINT)
    workbench = Workbench()
    assert kept == vars(workbench.execution(workbench.point(container(cfg), choices(cfg))))
    monkeypatch.setattr("rramsweep.simulation.workbench.choose", lambda *_: pytest.fail("chosen again"))
    way = {"batch_size": 30, "memory_format": "contiguous", "threads": 1}  # as an older version may have kept it
    path.write_text(json.dumps({kind: way}))
    more = rs.sweep([*POINT, "chips=4"])
    assert more["batch_size"].tolist() == [kept["batch_size"]] * 2 + [30] * 2
    assert more["memory_format"].tolist() == [kept["memory_format"]] * 2 + ["contiguous"] * 2
    assert json.loads(path.read_text()) == {kind: way}


@pytest.mark.parametrize(
    ("first", "then", "columns"),
    [
        (["batch_size=50"], ["batch_size=50"], None),
        (["batch_size=50"], ["batch_size=20"], "batch_size"),
        (["batch_size=50"], ["batch_size=20", "memory_format=contiguous"], "batch_size, memory_format"),
        (["threads=1"], ["threads=2"], "threads"),
    ],
)
def test_a_report_says_where_a_point_was_run_in_more_than_one_way(workdir, capsys, first, then, columns):
    fixed = ["-m", *POINT, "drift.relative_drift=0.1,0.2", "hydra.sweep.dir=outputs/here"]
    main([*fixed, "chips=1", *first])
    says = "were run in more than one way"
    assert says not in capsys.readouterr().out + Path("outputs/here/report.html").read_text()
    main([*fixed, "chips=2", *then])
    printed, page = " ".join(capsys.readouterr().out.split()), Path("outputs/here_2/report.html").read_text()
    if columns is None:
        assert says not in printed + page
    else:
        sentence = f"hips of 2 points {says} ({columns}): their scores are comparable to rounding, not to the last bit"
        assert f"note: c{sentence}" in printed
        assert f"C{sentence}." in " ".join(page.split())


def test_the_way_of_the_first_sweep_counts_where_two_began_together(workdir, monkeypatch):
    rs.sweep([*POINT, "chips=1"])
    path = Path("outputs/store/executions.json")
    first = path.read_text().replace('"batch_size": 100', '"batch_size": 40')
    path.unlink()

    def meanwhile(*arguments):
        path.write_text(first)
        return choose(*arguments)

    monkeypatch.setattr("rramsweep.simulation.workbench.choose", meanwhile)
    assert rs.sweep([*POINT, "chips=2"])["batch_size"].tolist() == [100, 40]


@pytest.mark.parametrize("batch_size", [1_000_001, 2**31 - 1])
def test_a_batch_that_a_user_may_fix_is_kept_and_read_again(workdir, batch_size):
    fixed = [*POINT, f"batch_size={batch_size}"]
    rs.sweep([*fixed, "chips=1"])
    assert rs.sweep([*fixed, "chips=2"])["batch_size"].tolist() == [batch_size] * 2


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"a": {"batch_size": 0}}',
        '{"a": {"batch": 3}}',
        '{"a": {"batch_size": 2147483648, "memory_format": "contiguous", "threads": 1}}',
        '{"a": {"batch_size": 1, "memory_format": "nhwc", "threads": 1}}',
        '{"a": {"batch_size": 1, "memory_format": "contiguous", "threads": 1, "chips_per_pass": 2, '
        '"chips_in_flight": 2}}',
    ],
)
def test_a_damaged_file_of_ways_is_named(workdir, text):
    Path("outputs/store").mkdir(parents=True)
    Path("outputs/store/executions.json").write_text(text)
    with pytest.raises(ValueError, match=r"executions.json must hold how networks are run.*: remove it"):
        rs.sweep([*POINT, "chips=2"])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_each_layer_is_done_once_whatever_the_threads(threads, monkeypatch):
    monkeypatch.setattr("rramsweep.network.parallel.WORTH_IT", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        sizes = {str(i): i for i in range(20)}
        done: list[str] = []
        in_parallel(sizes, done.append)
        assert sorted(done) == sorted(sizes)
        assert torch.get_num_threads() == threads

        def fails(name: str) -> None:
            raise RuntimeError(name)

        with pytest.raises(RuntimeError):
            in_parallel(sizes, fails)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [((0,), "batch_size must be at least 1"), ((1, "nhwc"), "must be one of"), ((1, "contiguous", 0), "threads must")],
)
def test_refuses_ways_that_are_none(arguments, says):
    with pytest.raises(ValueError, match=says):
        Execution(*arguments)
