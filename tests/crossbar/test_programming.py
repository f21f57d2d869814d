"""A chip of one layer against the closed forms of the physics reference, section 12, and the rules of a chip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rramsweep.crossbar.mapping import Differential
from rramsweep.crossbar.programming import LayerSpec, apply_stage, map_layer, program
from rramsweep.devices.device import Device
from rramsweep.effects import Gaussian, HfOxRelaxation, RelativeDrift
from rramsweep.groups import STAGES
from tests.laws import moments_match

D = 99.0
OPEN = Device(1.0, 100.0, edge="none")
CLIP = Device(1.0, 100.0, step_uS=0.1)
N = 200_000
README = {"programming": Gaussian(0.03), "relaxation": Gaussian(0.07)}


def layer_of(w: float, device: Device = OPEN, **effects):
    """N weights of value w, and one of 1 that fixes the scale."""
    weight = torch.full((N + 1,), w)
    weight[-1] = 1.0
    return map_layer("fc", weight, LayerSpec(device, Differential(), **effects))


def weights_of(layer, seed=0):
    return program(layer, seed).weight()[:-1].double().numpy()


@pytest.mark.parametrize("w", [0.0, 0.1, 0.5, 1.0, -0.5])
@pytest.mark.parametrize("alpha", [0.03, 0.07])
def test_independent_error_gives_sqrt2_sigma_over_d(w, alpha):
    x = weights_of(layer_of(w, programming=Gaussian(alpha)))
    moments_match(x, w, np.sqrt(2) * alpha * 100 / D)


@pytest.mark.parametrize(("w", "sd"), [(0.0, 0.00285700), (0.1, 0.0221127), (0.5, 0.1020402), (1.0, 0.2020303)])
def test_relative_drift_of_a_one_sided_pair(w, sd):
    # physics_golden.json, prop_drift_0.2_sigma_w, one_sided
    moments_match(weights_of(layer_of(w, drift=RelativeDrift(0.2))), w, sd)


@pytest.mark.parametrize("w", [0.0, 0.5, 1.0])
def test_the_chain_on_the_target_unclamped(w):
    # Section 12.5: sigma_w = sqrt(2 sigma_a^2 + r^2 (Gp^2 + Gn^2)) / D, sigma_a^2 = 3^2 + 7^2
    gp, gn = 1 + w * D, 1.0
    sd = np.sqrt(2 * (9 + 49) + 0.04 * (gp**2 + gn**2)) / D
    assert sd == pytest.approx({0.0: 0.10883, 0.5: 0.14916, 1.0: 0.22946}[w], abs=6e-6)
    moments_match(weights_of(layer_of(w, drift=RelativeDrift(0.2), **README)), w, sd)


@pytest.mark.parametrize(
    ("g", "s", "mean", "sd"),
    [
        # physics_golden.json, clamp_moments_uS
        (1.0, 3.0, 2.196826841204298, 1.751458110310647),
        (1.0, 7.0, 3.792595962810029, 4.086735590724842),
        (50.5, 7.0, 50.5, 6.999999999989443),
        (100.0, 3.0, 98.8031731587957, 1.7514581103106723),
        (100.0, 7.0, 97.20740403718997, 4.086735590724705),
    ],
)
def test_clipping_censors_at_the_window(g, s, mean, sd):
    layer = layer_of((g - 1) / D, Device(1.0, 100.0), programming=Gaussian(s / 100))
    moments_match(program(layer, 0).g_uS["p"][:-1].double().numpy(), mean, sd)


@pytest.mark.parametrize(("device", "expected"), [(OPEN, 0.435), (Device(1.0, 100.0), 0.360)])
def test_relative_mvm_error_of_a_whole_layer(device, expected):
    # Section 12.9: 1024 x 1024, w ~ N(0, 0.25^2) clipped at 1, ReLU-Gaussian input, additive 7.616 uS; allow 3 %
    torch.manual_seed(0)
    weight = (0.25 * torch.randn(1024, 1024)).clamp(-1, 1)
    x = torch.randn(1024, 64).relu()
    layer = map_layer("fc", weight, LayerSpec(device, Differential(), Gaussian(0.0761577)))
    error = program(layer, 1).weight() @ x - weight @ x
    assert float(error.norm() / (weight @ x).norm()) == pytest.approx(expected, rel=0.03)


def test_draws_are_frozen_and_linear_in_strength():
    weight = torch.randn(64, 64)

    def chip(r):
        return program(map_layer("fc", weight, LayerSpec(OPEN, Differential(), drift=RelativeDrift(r))), 7).weight()

    zero = chip(0.0)
    # Each weight is a difference of conductances near 100 uS in float32, hence 1e-5 of the largest weight.
    tolerance = 1e-5 * float(weight.abs().max())
    torch.testing.assert_close(chip(0.3) - zero, 3 * (chip(0.1) - zero), rtol=0, atol=tolerance)
    assert (chip(0.1) - zero).abs().max() > 100 * tolerance


def test_one_effect_leaves_the_draws_of_the_others_alone():
    weight = torch.randn(50, 40)

    def chip(**effects):
        return program(map_layer("fc", weight, LayerSpec(OPEN, Differential(), **effects)), 3).weight()

    both = chip(drift=RelativeDrift(0.1), **README)
    without = chip(**README)
    alone = chip(drift=RelativeDrift(0.1))
    torch.testing.assert_close(both - without, alone - chip(), rtol=0, atol=2e-5)


def test_cells_stages_layers_and_seeds_are_uncorrelated():
    weight = torch.full((N,), 0.5)
    spec = LayerSpec(OPEN, Differential(), Gaussian(0.03), Gaussian(0.03), RelativeDrift(0.1))

    def errors(name, seed, **kept):
        only = LayerSpec(OPEN, Differential(), **{stage: getattr(spec, stage) for stage in kept})
        layer = program(map_layer(name, weight, only), seed)
        return {cell: (g - layer.target_uS[cell]).numpy() for cell, g in layer.g_uS.items()}

    base = errors("a", 5, programming=1)
    pairs = {
        "p and n": (base["p"], base["n"]),
        "stages": (base["p"], errors("a", 5, relaxation=1)["p"]),
        "layers": (base["p"], errors("b", 5, programming=1)["p"]),
        "seeds": (base["p"], errors("a", 6, programming=1)["p"]),
        "seeds 2^32 apart": (base["p"], errors("a", 5 + 2**32, programming=1)["p"]),
    }
    for what, (a, b) in pairs.items():
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(N), what
        assert abs(stats.spearmanr(a, b).statistic) < 4 / np.sqrt(N), what


WEIGHTS = st.one_of(st.just(0.0), st.floats(1e-6, 3), st.floats(-3, -1e-6))


@given(st.lists(WEIGHTS, min_size=1, max_size=40))
def test_mapping_and_back_is_exact_to_rounding(values):
    weight = torch.tensor(values)
    layer = map_layer("fc", weight, LayerSpec(OPEN, Differential()))
    torch.testing.assert_close(layer.weight(), weight, rtol=0, atol=3e-6 * float(weight.abs().max()))


def test_targets_lie_in_the_window_and_weight_zero_is_balanced():
    # The README of PyRRAM-Sim scales with g_max, which gives 100.5 uS and 0.5 uS for a weight of one.
    layer = map_layer("fc", torch.tensor([-1.0, 0.0, 1.0]), LayerSpec(CLIP, Differential()))
    assert layer.target_uS["p"].tolist() == [1.0, 1.0, 100.0]
    assert layer.target_uS["n"].tolist() == [100.0, 1.0, 1.0]


def test_swapping_the_pair_negates_the_weight():
    weight = torch.randn(30, 20)
    spec = LayerSpec(CLIP, Differential())
    assert torch.equal(map_layer("fc", weight, spec).weight(), -map_layer("fc", -weight, spec).weight())


def test_an_all_zero_layer_stays_zero_whatever_its_cells_do():
    layer = program(map_layer("fc", torch.zeros(20, 20), LayerSpec(CLIP, Differential(), **README)), 1)
    assert torch.count_nonzero(layer.weight()) == 0


def test_strength_zero_and_ideal_are_the_same_chip():
    weight = torch.randn(30, 20)
    zero = LayerSpec(CLIP, Differential(), Gaussian(), Gaussian(), RelativeDrift())
    ideal = map_layer("fc", weight, LayerSpec(CLIP, Differential()))
    assert torch.equal(program(map_layer("fc", weight, zero), 4).weight(), ideal.weight())
    assert program(ideal, 4) is ideal


class InPlace:
    version = 1

    def __init__(self, what):
        self.what = what

    def __call__(self, cells, rng):
        return getattr(cells, self.what).mul_(1.5)


@pytest.mark.parametrize("what", ["g_uS", "target_uS"])
def test_an_effect_that_changes_its_cells_in_place_is_refused(what):
    """The next chip would begin from what this one left."""
    layer = map_layer("fc", torch.randn(3, 4), LayerSpec(CLIP, Differential(), drift=InPlace(what)))
    with pytest.raises(ValueError, match="drift=InPlace changes them in place"):
        program(layer, 0)


class Mark:
    """A stage that adds a power of ten, so that a sum tells which stages ran; and its own name to a list."""

    version = 1

    def __init__(self, amount, seen):
        self.amount, self.seen = amount, seen

    def __call__(self, cells, rng):
        self.seen.append((rng.name, float(cells.g_uS[0]), float(cells.target_uS[0]), cells.t_s))
        return cells.g_uS + self.amount


def test_every_stage_runs_once_in_order_on_what_the_stage_before_left():
    seen = []
    marks = {stage: Mark(10.0 ** -(i + 1), seen) for i, stage in enumerate(STAGES)}
    layer = map_layer("fc", torch.tensor([0.0, 1.0]), LayerSpec(OPEN, Differential(), **marks))
    program(layer, 0, t_s=60.0)
    p = [entry for entry in seen if entry[0][1] == "p"]
    assert [entry[0] for entry in p] == [("fc", "p", stage) for stage in STAGES]
    np.testing.assert_allclose([entry[1] for entry in p], [1.0, 1.1, 1.11, 1.111, 1.1111], rtol=1e-6)
    assert all(entry[2:] == (1.0, 60.0) for entry in p)


def test_the_edge_acts_after_each_stage_but_faults():
    seen = []
    marks = {stage: Mark(200.0, seen) for stage in STAGES}
    layer = program(map_layer("fc", torch.tensor([0.0, 1.0]), LayerSpec(CLIP, Differential(), **marks)), 0)
    assert [entry[1] for entry in seen if entry[0][1] == "p"] == [1.0, 100.0, 100.0, 100.0, 100.0]
    assert layer.g_uS["p"].tolist() == [300.0, 300.0], "a stuck value may lie outside the window"


def test_stage_by_stage_is_the_whole_program():
    spec = LayerSpec(CLIP, Differential(), drift=RelativeDrift(0.2), **README)
    layer = map_layer("fc", torch.randn(40, 30), spec)
    one = layer
    for stage in STAGES:
        one = apply_stage(one, stage, getattr(spec, stage), 9)
    assert torch.equal(one.weight(), program(layer, 9).weight())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_refuses_a_weight_that_is_not_finite(bad):
    with pytest.raises(ValueError, match="'fc' holds NaN or infinity"):
        map_layer("fc", torch.tensor([1.0, bad]), LayerSpec(CLIP, Differential()))


@dataclass(frozen=True)
class Total:
    """A total error against the target, read `at_s` after the write."""

    version = 1
    kind = "total"
    at_s: float = 0.0

    def __call__(self, cells, rng):
        return cells.target_uS


@dataclass(frozen=True)
class Late:
    """An increment that is a law of time."""

    version = 1
    kind = "increment"
    t0_s: float = 0.0

    def __call__(self, cells, rng):
        return cells.g_uS


@pytest.mark.parametrize(
    ("effects", "message"),
    [
        ({"programming": Gaussian(0.03), "relaxation": Total()}, "relaxation=Total is the total error .* programming"),
        ({"programming": Total(), "drift": Total()}, "drift=Total is the total error .* set programming=ideal"),
        ({"programming": Total(1.0), "relaxation": Late(0.01)}, "must begin where programming ends, at t0_s >= 1 s"),
        ({"programming": Total(1.0), "relaxation": Gaussian(0.07)}, "begins at 0 s and would be counted twice"),
        ({"relaxation": HfOxRelaxation(), "drift": Late(1e6)}, "holds all later times"),
        ({"relaxation": HfOxRelaxation(scale=True), "drift": RelativeDrift(0.1)}, "=RelativeDrift .* drift incl"),
        ({"relaxation": Total(float("inf")), "drift": RelativeDrift(0.1)}, "counted twice: set drift=ideal"),
        ({"relaxation": Total(float("inf")), "drift": Late(1.0)}, "drift=Late must begin where relaxation ends"),
    ],
)
def test_an_error_is_never_counted_twice(effects, message):
    with pytest.raises(ValueError, match=message):
        LayerSpec(Device(1.0, 100.0), Differential(), **effects)


@pytest.mark.parametrize(
    "effects",
    [
        {"programming": Total(), "relaxation": Gaussian(0.07), "drift": RelativeDrift(0.1)},
        {"programming": Total(1.0), "drift": RelativeDrift(0.1)},
        {"programming": Total(1.0), "drift": Late(1.0)},
        {"relaxation": Total(float("inf")), "variation": Gaussian(0.01), "drift": RelativeDrift(0.0)},
        {"relaxation": HfOxRelaxation(scale=True), "drift": RelativeDrift(0.0)},
    ],
)
def test_errors_that_follow_each_other_stack(effects):
    LayerSpec(Device(1.0, 100.0), Differential(), **effects)
