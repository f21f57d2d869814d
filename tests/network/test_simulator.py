"""PyRRAM-Sim's README, to the letter; and the public class against closed forms and against the sweep."""

from __future__ import annotations

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import rramsweep as rs
from rramsweep import FastPyTorchRRAM, validate
from rramsweep.crossbar.mapping import ConstantSum
from rramsweep.datasets import digits
from rramsweep.effects import Stuck
from rramsweep.models import digits_mlp
from rramsweep.models.checkpoint import embedded_path, load_checkpoint
from tests.laws import moments_match

D = 99.0


@pytest.fixture
def net():
    model = digits_mlp()
    load_checkpoint(model, embedded_path("digits_mlp"))
    return model.eval()


def simulator(model, **more):
    return FastPyTorchRRAM(pretrained_model=model, G_min=1e-6, G_max=100e-6, **{"seed": 0, **more})


def constant(w: float, n: int = 200_000) -> nn.Linear:
    """A layer of n weights of value w, and one of 1 that fixes the scale."""
    layer = nn.Linear(n + 1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(w)
        layer.weight[0, -1] = 1.0
    return layer


def weights(sim) -> np.ndarray:
    return sim.get_noisy_model_for_inference().weight.detach().flatten()[:-1].double().numpy()


def test_the_readme_of_pyrram_sim_runs(net, capsys):
    my_model, criterion, device = net, nn.CrossEntropyLoss(), "cpu"
    data = digits("test")
    dataloader = DataLoader(TensorDataset(data.x, data.y), batch_size=64)

    # 1. Initialize the simulator with your model and hardware specs
    rram_sim = FastPyTorchRRAM(
        pretrained_model=my_model,
        G_min=1e-6,  # Minimum conductance (Siemens)
        G_max=100e-6,  # Maximum conductance (Siemens)
        differential=True,
    )

    # 2. Apply a one-time programming error to the ideal conductances
    prog_error_params = {"alpha_ind": 0.03, "fault_model": "state_independent"}
    rram_sim.apply_programming_error(**prog_error_params)

    # 3. Apply short-term conductance relaxation
    relax_params = {"alpha_ind": 0.07, "fault_model": "state_independent"}
    rram_sim.apply_conductance_relaxation(**relax_params)

    # 4. Apply long-term relative drift
    drift_params = {"relative_drift": 0.20}
    rram_sim.apply_relative_drift(**drift_params)

    # 5. Get the final noisy model and run inference
    final_noisy_model = rram_sim.get_noisy_model_for_inference()
    accuracy = validate(final_noisy_model, dataloader, criterion, device)

    print(f"Final accuracy after all non-idealities: {accuracy:.2f}%")
    assert isinstance(accuracy, float)
    assert 10 < accuracy < validate(my_model, dataloader, criterion, device) <= 100
    assert capsys.readouterr().out.startswith("Final accuracy")


def test_needs_torch_alone():
    code = """
import sys
for name in ("hydra", "omegaconf", "pandas", "scipy", "matplotlib", "pyarrow", "rich", "torchvision"):
    sys.modules[name] = None
from rramsweep import FastPyTorchRRAM, validate
import torch
sim = FastPyTorchRRAM(torch.nn.Linear(4, 2), 1e-6, 100e-6)
sim.apply_programming_error(alpha_ind=0.03)
sim.apply_relative_drift(0.2)
sim.get_noisy_model_for_inference()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_before_any_stage_it_is_the_quantised_ideal_chip(net):
    ideal = simulator(net, G_step=None).get_noisy_model_for_inference()
    stepped = simulator(net).get_noisy_model_for_inference()
    for name, weight in net.named_parameters():
        if name.endswith("bias"):
            assert torch.equal(ideal.get_parameter(name), weight)
            continue
        largest = float(weight.abs().max())
        torch.testing.assert_close(ideal.get_parameter(name), weight, rtol=0, atol=3e-6 * largest)
        # Half a step of 0.1 uS in a span of 99 uS
        error = (stepped.get_parameter(name) - weight).abs().max()
        assert 1e-5 * largest < error <= (0.05 / D + 3e-6) * largest


def test_returns_a_copy_of_the_callers_class_and_never_touches_the_original(net):
    before = copy.deepcopy(net.state_dict())
    net.train()
    sim = simulator(net)
    sim.apply_programming_error(alpha_ind=0.1)
    one, two = sim.get_noisy_model_for_inference(), sim.get_noisy_model_for_inference()
    assert type(one) is type(net)
    assert one is not two
    assert not one.training
    assert net.training
    assert all(torch.equal(two.state_dict()[k], v) for k, v in one.state_dict().items())
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


@pytest.mark.parametrize(
    "more", [{}, {"differential": False}, {"mapping": ConstantSum()}], ids=["pair", "offset", "sum"]
)
def test_the_same_numbers_as_the_sweep(net, workdir, more):
    mapping = "offset" if "differential" in more else "constant_sum" if "mapping" in more else "differential"
    point = ["model=digits_mlp", "data=digits", "technology=pyrram", "drift.relative_drift=0.2", "chips=3"]
    frame = rs.run(rs.compose([*point, f"mapping={mapping}", "faults=stuck"]))
    data = digits("test")
    for seed, accuracy in zip(frame.seed, frame.accuracy, strict=True):
        sim = simulator(net, seed=seed, faults=Stuck(0.0175, 0.0904), **more)
        sim.apply_programming_error(alpha_ind=0.03)
        sim.apply_conductance_relaxation(alpha_ind=0.07)
        sim.apply_relative_drift(0.2)
        loader = [(data.x[i : i + 250], data.y[i : i + 250]) for i in (0, 250)]
        assert validate(sim.get_noisy_model_for_inference(), loader) == pytest.approx(100 * accuracy, abs=1e-9)


@pytest.mark.parametrize("w", [0.0, 0.5, 1.0])
def test_chain_on_the_current_conductance_unclamped(w):
    # physics_golden.json, chain_prog_relax_drift_unclamped_sigma_w
    sim = simulator(constant(w), edge="none", G_step=None)
    sim.apply_programming_error(alpha_ind=0.03)
    sim.apply_conductance_relaxation(alpha_ind=0.07)
    sim.apply_relative_drift(0.20, reference="current")
    golden = {0.0: 0.1109824783419828, 0.5: 0.1507353671271911, 1.0: 0.23048902643512012}
    moments_match(weights(sim), w, golden[w])


@pytest.mark.parametrize(("w", "mean", "sd"), [(0.0, 0.0, 0.0684), (0.5, -0.036, 0.1374), (1.0, -0.135, 0.1366)])
def test_chain_clamped_after_each_stage(w, mean, sd):
    # Section 12.5, Monte Carlo of n = 4e5 given to three and four digits
    sim = simulator(constant(w))
    sim.apply_programming_error(alpha_ind=0.03)
    sim.apply_conductance_relaxation(alpha_ind=0.07)
    sim.apply_relative_drift(0.20, reference="current")
    x = weights(sim)
    assert x.mean() - w == pytest.approx(mean, abs=0.0015)
    assert x.std() == pytest.approx(sd, abs=0.001)


@pytest.mark.parametrize("w", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("mapping", ["pair", "sum", "offset"])
def test_relative_drift_by_mapping(w, mapping):
    # Section 12.4: r sqrt((1 + |w| D)^2 + 1) / D, r sqrt(2 mid^2 + w^2 D^2 / 2) / D, 2 r (mid + w D / 2) / D
    mid = 50.5
    sd = {
        "pair": 0.2 * np.hypot(1 + w * D, 1) / D,
        "sum": 0.2 * np.sqrt(2 * mid**2 + w**2 * D**2 / 2) / D,
        "offset": 2 * 0.2 * (mid + w * D / 2) / D,
    }[mapping]
    more = {"pair": {}, "sum": {"mapping": ConstantSum()}, "offset": {"differential": False}}[mapping]
    sim = simulator(constant(w), edge="none", G_step=None, **more)
    sim.apply_relative_drift(0.2)
    moments_match(weights(sim), w, sd)


@pytest.mark.parametrize(
    ("mapping", "reference", "expected"),
    [("pair", "current", 0.428), ("sum", "current", 0.738), ("pair", "target", 0.418), ("sum", "target", 0.736)],
)
def test_relative_mvm_error_of_the_three_defaults(mapping, reference, expected):
    # Section 12.9, clamped per stage: 1024 x 1024, w ~ N(0, 0.25^2) clipped, ReLU-Gaussian x; allow 3 %
    torch.manual_seed(0)
    layer = nn.Linear(1024, 1024, bias=False)
    with torch.no_grad():
        layer.weight.copy_((0.25 * torch.randn(1024, 1024)).clamp(-1, 1))
    sim = simulator(layer, mapping=ConstantSum() if mapping == "sum" else None)
    sim.apply_programming_error(alpha_ind=0.03)
    sim.apply_conductance_relaxation(alpha_ind=0.07)
    sim.apply_relative_drift(0.20, reference=reference)
    x = torch.randn(64, 1024).relu()
    with torch.no_grad():
        exact = layer(x)
        error = sim.get_noisy_model_for_inference()(x) - exact
    assert float(error.norm() / exact.norm()) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("w", [0.0, 0.25, 0.5, 1.0])
def test_stuck_cells_shrink_every_weight_alike(w):
    # Section 12.10 and physics_golden.json, stuck_lrs0.0175_hrs0.0904
    golden = {0.0: 0.18543866910652695, 0.25: 0.18054839898210118, 0.5: 0.2069786160452329, 1.0: 0.3153118932105164}
    sim = simulator(constant(w), G_step=None, faults=Stuck(0.0175, 0.0904))
    moments_match(weights(sim), (1 - 0.1079) * w, golden[w])


def test_stuck_cells_sit_at_their_value_after_the_whole_chain():
    sim = simulator(constant(0.5), faults=Stuck(0.02, 0.05, g_lrs_uS=500.0, g_hrs_uS=0.25))
    before = sim.conductances[""]["p"]
    stuck = (before.flatten() * 1e6).round(decimals=3)
    sim.apply_programming_error(alpha_ind=0.03)
    sim.apply_conductance_relaxation(alpha_ind=0.07)
    sim.apply_relative_drift(0.2)
    after = (sim.conductances[""]["p"].flatten() * 1e6).round(decimals=3)
    for value in (500.0, 0.25):
        assert torch.equal(stuck == value, after == value)
        assert int((after == value).sum()) > 1000
    assert float(after[(after != 500.0)].max()) <= 100.0


def test_error_laws_use_their_own_alpha(net):
    def chip(**arguments):
        sim = simulator(net, edge="none")
        sim.apply_programming_error(**arguments)
        return sim.conductances["fc1"]["p"]

    both = chip(alpha_ind=0.03, alpha_prop=0.1, fault_model="both") - chip()
    ind = chip(alpha_ind=0.03) - chip()
    prop = chip(alpha_prop=0.1, fault_model="state_proportional") - chip()
    torch.testing.assert_close(both.square(), ind.square() + prop.square(), rtol=1e-3, atol=1e-16)


def test_clamped_noise_stays_within_three_sigma():
    sim = simulator(constant(0.5), edge="none", G_step=None)
    sim.apply_programming_error(alpha_ind=0.03, clamp_noise=True)
    error = sim.conductances[""]["p"] * 1e6 - (1 + 0.5 * D)
    largest = float(error.flatten()[:-1].abs().max())
    assert largest == pytest.approx(9.0, abs=1e-3)
    # P(|z| > 3) = 0.0027 of 200,000: 540 +- 4 sqrt(540)
    assert abs(int((error.flatten()[:-1].abs() > 8.999).sum()) - 540) < 4 * np.sqrt(540)


def test_seeds(net):
    def chip(seed):
        sim = simulator(net, seed=seed)
        sim.apply_programming_error(alpha_ind=0.05)
        return sim, sim.get_noisy_model_for_inference().fc1.weight

    assert torch.equal(chip(3)[1], chip(3)[1])
    assert not torch.equal(chip(3)[1], chip(4)[1])
    torch.manual_seed(0)
    (one, w1), (two, w2) = chip(None), chip(None)
    assert one.seed != two.seed
    assert not torch.equal(w1, w2)
    assert torch.equal(chip(one.seed)[1], w1), "sim.seed names the chip"
    torch.manual_seed(0)
    assert chip(None)[0].seed == one.seed, "torch.manual_seed makes a user's script repeatable"


def test_reset_is_the_same_chip_and_another_seed_another(net):
    sim = simulator(net, seed=5)
    sim.apply_programming_error(alpha_ind=0.05)
    first = sim.get_noisy_model_for_inference().fc1.weight
    sim.reset()
    sim.apply_programming_error(alpha_ind=0.05)
    assert torch.equal(sim.get_noisy_model_for_inference().fc1.weight, first)
    sim.reset(seed=6)
    sim.apply_programming_error(alpha_ind=0.05)
    assert not torch.equal(sim.get_noisy_model_for_inference().fc1.weight, first)
    sim.reset(seed=None)
    assert sim.seed != 6


def test_stages_may_be_skipped_but_not_repeated_or_reversed(net):
    sim = simulator(net)
    sim.apply_relative_drift(0.1)
    for again in (sim.apply_relative_drift, sim.apply_programming_error, sim.apply_conductance_relaxation):
        with pytest.raises(ValueError, match=r"call reset\(\) for the same chip .*reset\(seed=...\) for another"):
            again(0.1)


def test_layers_can_be_left_digital(net):
    sim = simulator(net, exclude=["fc2"])
    sim.apply_programming_error(alpha_ind=0.1)
    noisy = sim.get_noisy_model_for_inference()
    assert torch.equal(noisy.fc2.weight, net.fc2.weight)
    assert not torch.equal(noisy.fc1.weight, net.fc1.weight)
    assert set(sim.conductances) == {"fc1"}


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda n: FastPyTorchRRAM(n, 1, 100), "looks like microsiemens"),
        (lambda n: FastPyTorchRRAM(n, 1e-12, 1e-10), "looks like another unit"),
        (lambda n: FastPyTorchRRAM(n, 100e-6, 1e-6), "G_min must be in siemens, at least 0 and below G_max"),
        (lambda n: FastPyTorchRRAM(n, float("nan"), 1e-4), "G_min must be in siemens, at least 0 and below G_max"),
        (lambda n: FastPyTorchRRAM(n, 1e-6, float("nan")), "must be in siemens"),
        (lambda n: FastPyTorchRRAM(nn.ReLU(), 1e-6, 1e-4), "at least one analog layer"),
        (lambda n: simulator(n, seed=-1), "seed must be an integer"),
        (lambda n: simulator(n, seed=1.5), "seed must be an integer"),
        (lambda n: simulator(n, exclude=["fc7"]), "'fc7' matches none"),
        (lambda n: simulator(n, mapping=ConstantSum(), differential=False), "both choose the mapping"),
        (lambda n: simulator(n).apply_programming_error(0.1, "gauss"), "fault_model must be one of"),
        (lambda n: simulator(n).apply_programming_error(0.1, "state_proportional"), "does not use alpha_ind"),
        (lambda n: simulator(n).apply_programming_error(alpha_prop=0.1), "does not use alpha_prop"),
        (lambda n: simulator(n).apply_programming_error(3), "must lie in 0..1"),
        (lambda n: simulator(n).apply_relative_drift(20), "for 20 % give 0.2"),
        (lambda n: simulator(n).apply_relative_drift(0.1, reference="goal"), "reference must be one of"),
        (lambda n: validate(n, []), "at least one image"),
    ],
)
def test_refuses(net, call, says):
    with pytest.raises(ValueError, match=says):
        call(net)


def test_refuses_a_weight_that_is_not_finite(net):
    with torch.no_grad():
        net.fc1.weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match="'fc1' holds NaN"):
        simulator(net)
