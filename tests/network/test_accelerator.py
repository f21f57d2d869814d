"""Chips in one pass, other arithmetic, GPUs: with the CPU in a GPU's place, since the code is the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rramsweep as rs
from rramsweep.cli.composing import choices, container
from rramsweep.crossbar.mapping import ConstantSum, Differential, Offset, Sliced
from rramsweep.crossbar.programming import LayerSpec, ProgrammedLayer, apply_stage, map_layer
from rramsweep.devices.device import Device
from rramsweep.devices.streams import Stream
from rramsweep.effects import RelativeDrift
from rramsweep.network.accelerator import Accelerator
from rramsweep.simulation import passes
from rramsweep.simulation.execution import Execution, ExecutionSettings, choose
from rramsweep.simulation.trial import run_trial
from rramsweep.simulation.workbench import Workbench
from tests.effects import test_faults, test_laws, test_programming, test_time_laws, test_variation
from tests.laws import Law

POINT = ["model=digits_cnn", "data=digits", "data.limit=60", "technology=pyrram", "drift.relative_drift=0.2"]
LAWS = [
    *(law for table in (test_laws, test_programming, test_time_laws, test_variation) for law in table.LAWS),
    *(
        Law(name, lambda _, make=make: make(0.1, 0.1), 20.0, 20.0, 0.0, 0.0)
        for name, make in test_faults.PATTERNS.items()
    ),
]
FIXED = ["batch_size=50", "memory_format=contiguous", "threads=1"]


def bench(*overrides, chips=1):
    cfg = rs.compose([*POINT, *overrides])
    workbench = Workbench(settings=ExecutionSettings(25, "contiguous", 1, chips))
    return workbench.bench(workbench.point(container(cfg), choices(cfg)))


@pytest.mark.parametrize("network", [[], ["model=digits_mlp"], ["analog.exclude=[conv1]"]])
def test_chips_in_one_pass_are_the_chips_one_by_one(network):
    one = bench(*network)
    together = one.network.chips([3, 8, 4])(one.batches[0])
    for outputs, seed in zip(together, [3, 8, 4], strict=True):
        torch.testing.assert_close(outputs, one.network.chip(seed)(one.batches[0]), atol=1e-5, rtol=1e-5)


def test_tied_weights_are_one_set_of_cells_in_a_pass_too():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    net[2].weight = net[0].weight
    spec = LayerSpec(Device(0.0, 100.0), Differential(), drift=RelativeDrift(0.3))
    network = rs.AnalogNetwork(net, {"0": spec, "2": spec})
    x = torch.randn(5, 6)
    for outputs, seed in zip(network.chips([1, 2])(x), [1, 2], strict=True):
        torch.testing.assert_close(outputs, network.chip(seed)(x), atol=1e-6, rtol=1e-5)


def test_a_sweep_in_passes_has_the_rows_of_one_chip_after_the_other(workdir):
    ways = [*POINT, *FIXED, "chips=7"]
    alone = rs.sweep([*ways, "store=a"])
    passed = rs.sweep([*ways, "store=b", "chips_per_pass=3"])
    assert passed["point_id"].tolist() == alone["point_id"].tolist()
    assert passed["seed"].tolist() == alone["seed"].tolist()
    assert passed["loss"].tolist() == pytest.approx(alone["loss"].tolist(), abs=1e-5)
    assert passed["n_correct"].tolist() == alone["n_correct"].tolist()


def test_read_noise_is_drawn_chip_by_chip(workdir):
    ways = [*POINT, *FIXED, "read_noise=white", "chips=4"]
    alone = rs.sweep([*ways, "store=a"])
    passed = rs.sweep([*ways, "store=b", "chips_per_pass=4"])
    assert passed["loss"].tolist() == alone["loss"].tolist()


def test_a_pass_that_does_not_fit_is_halved_and_no_row_is_lost(monkeypatch, caplog):
    ready = bench(chips=8)
    chips, tried = ready.network.chips, []

    def small_memory(seeds):
        tried.append(len(seeds))
        if len(seeds) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return chips(seeds)

    monkeypatch.setattr(ready.network, "chips", small_memory)
    rows = [row for row, _ in passes.run_trials(ready, range(9))]
    assert [row["seed"] for row in rows] == list(range(9))
    assert {row["status"] for row in rows} == {"ok"}
    assert tried == [8, 4, 2, 2, 2, 2]  # and the ninth alone
    assert "do not fit into memory" in caplog.text


def test_one_bad_chip_of_a_pass_fails_alone(monkeypatch):
    ready = bench(chips=4)
    write = ready.network._write

    def broken(name, weight, *args, **kwargs):
        write(name, weight * (float("nan") if bad(weight) else 1), *args, **kwargs)

    weights = {seed: ready.network.chip(seed).state_dict()["fc.weight"].clone() for seed in range(4)}
    bad = lambda w: w.shape == weights[2].shape and torch.equal(w, weights[2])  # noqa: E731
    monkeypatch.setattr(ready.network, "_write", broken)
    rows = [row for row, _ in passes.run_trials(ready, range(4))]
    assert [row["status"] for row in rows] == ["ok", "ok", "failed", "ok"]
    assert rows[0]["loss"] == run_trial(ready, 0)[0]["loss"]


class Gpu(Accelerator):
    """A GPU with so much free memory to the rule, a CPU to torch."""

    is_cpu = False
    free = 1 << 30

    def free_bytes(self):
        return self.free


def test_a_network_that_cannot_be_batched_is_refused_before_any_chip():
    net, x = nn.LSTM(4, 5).eval(), torch.zeros(3, 2, 4)
    with pytest.raises(ValueError, match=r"chips_per_pass must be 1 for a network that torch.func.vmap cannot batch"):
        choose(net, x, ExecutionSettings(1, "contiguous", 1, chips_per_pass=2))
    assert choose(net, x, ExecutionSettings(), Gpu()).chips_per_pass == 1


@pytest.mark.parametrize(("free", "found"), [(0, 1), (9_407, 1), (9_408, 2), (40_000, 8), (1 << 40, 2048)])
def test_chips_a_pass_fit_into_the_free_memory(monkeypatch, free, found):
    monkeypatch.setattr(Gpu, "free", free)  # of it half; a chip counts as 4 * 576 of activations and 2 * 24 of weights
    best = choose(nn.Conv2d(2, 2, 1), torch.zeros(8, 2, 3, 3), ExecutionSettings(8, threads=1), Gpu())
    assert best == Execution(8, "contiguous", 1, found)


def test_a_batch_on_a_gpu_is_bounded_by_memory_not_by_a_cache(monkeypatch):
    monkeypatch.setattr("rramsweep.simulation.execution.BATCH_BYTES", 4096)
    settings = ExecutionSettings(chips_per_pass=1)
    assert choose(nn.Conv2d(2, 2, 1), torch.zeros(200, 2, 3, 3), settings, Gpu()).batch_size == 32


def test_bfloat16_is_another_point_and_costs_what_its_mantissa_costs():
    exact, rounded = bench("drift.relative_drift=0"), bench("drift.relative_drift=0", "accelerator.precision=bfloat16")
    assert exact.point_id != rounded.point_id
    a, b = exact.network.ideal(), rounded.network.ideal()
    assert {p.dtype for p in b.parameters()} == {torch.bfloat16}
    x = exact.batches[0]
    with torch.inference_mode():
        far = (b(x.bfloat16()).float() - a(x)).norm() / a(x).norm()
    assert 2**-12 < far < 2**-5  # eight bits a number, in four layers
    assert run_trial(rounded, 1)[0]["loss"] == pytest.approx(run_trial(exact, 1)[0]["loss"], rel=0.05)


def test_read_noise_in_bfloat16_runs():
    row, _ = run_trial(bench("read_noise=white", "accelerator.precision=bfloat16"), 1)
    assert row["status"] == "ok", row["error"]


def test_a_stream_that_goes_elsewhere_draws_the_same(monkeypatch):
    here = Stream(5, ("a", "p", "drift"))
    there = Stream(5, ("a", "p", "drift"), to=torch.device("meta"))
    assert there.child("x").to == there.shared().to == there.to
    assert there.normal((4,)).device.type == "meta"
    assert torch.equal(Stream(5, ("a", "p", "drift"), to=torch.device("cpu")).normal((4,)), here.normal((4,)))


@pytest.mark.parametrize("mapping", [Differential(), ConstantSum(), Offset(), Sliced(), Sliced("offset")])
def test_cells_are_mapped_where_the_weights_are(mapping, monkeypatch):
    spec = LayerSpec(Device(0.0, 100.0, step_uS=1.0), mapping)
    weight, w_max = torch.empty(4, 6, device="meta"), torch.empty((), device="meta")
    layer = map_layer("fc", weight, spec, w_max=w_max)
    assert {g.device.type for g in layer.target_uS.values()} == {"meta"}
    assert layer.weight().device.type == "meta"


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_every_effect_computes_where_its_cells_are(law, monkeypatch):
    """On torch's device `meta`, which has shapes and no numbers: tensors of the CPU beside its own are refused."""
    monkeypatch.setattr(Stream, "generator", lambda _: None)
    target = torch.full((4, 6), law.target_uS, device="meta")
    device = Device(0.0, 40.0) if "HfOx" in repr(law.make(1.0)) else Device(1.0, 100.0)
    layer = ProgrammedLayer("fc", LayerSpec(device, Differential()), target, {"p": target}, {"p": target})
    try:
        after = apply_stage(layer, "drift", law.make(1.0), seed=1, t_s=law.t_s)
    except (RuntimeError, NotImplementedError) as error:
        if "not on the expected device" in str(error) or "meta" not in str(error):
            raise
        pytest.skip("the law decides by a number of a cell, of which there are none here")
    assert after.g_uS["p"].device.type == "meta"


def test_point_ids_of_cpu_runs_name_no_accelerator():
    assert Accelerator().identity == []
    assert Accelerator("cuda:1").identity == []  # the CPU's chips, answers equal to rounding
    assert Accelerator("cuda", "tf32", "cuda").identity == ["precision tf32", "rng_device cuda"]


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_tf32_is_on_where_it_is_asked_for_alone(precision):
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with Accelerator("cuda", precision).arithmetic():
        assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == (precision == "tf32")
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"device": "gpu"}, r"device must be cpu, cuda or cuda:N, got 'gpu'"),
        ({"precision": "fp16"}, r"precision must be one of float32, tf32, bfloat16, got 'fp16'"),
        ({"precision": "tf32"}, r"precision=tf32 is of GPUs"),
        ({"rng_device": "mps"}, r"rng_device must be cpu or cuda"),
        ({"rng_device": "cuda"}, r"rng_device must be cpu where device is"),
    ],
)
def test_what_makes_no_sense_is_refused(given, says):
    with pytest.raises(ValueError, match=says):
        Accelerator(**given)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_here_is_refused_before_any_chip():
    with pytest.raises(ValueError, match=r"accelerator.device must be a GPU that torch sees, got 'cuda'"):
        bench("accelerator=cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("chips", [1, 5])
def test_a_gpu_gives_the_rows_of_a_cpu(workdir, chips):
    ways = [*POINT, "batch_size=50", "memory_format=contiguous", "chips=5"]
    cpu, gpu = rs.sweep([*ways, "store=a"]), rs.sweep([*ways, "store=b", "accelerator=cuda", f"chips_per_pass={chips}"])
    assert gpu["point_id"].tolist() == cpu["point_id"].tolist()
    assert gpu["loss"].tolist() == pytest.approx(cpu["loss"].tolist(), abs=1e-4)
    drawn = rs.sweep([*ways, "store=c", "accelerator=cuda", "accelerator.rng_device=cuda"])
    assert not set(drawn["point_id"]) & set(cpu["point_id"])
    assert abs(drawn["accuracy"].mean() - cpu["accuracy"].mean()) < 0.2
