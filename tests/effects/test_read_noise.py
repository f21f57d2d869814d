"""Read noise against closed forms, brute-force sampling of every cell at every read, and published numbers.

A closed form of an output's variance is the sum over cells of `(dy/dG)^2 var(G)`; the derivatives are autograd's, of
the layer's own forward through the mapping, so that they share nothing with the second product of the effects.
Tolerances are 4 standard errors, seeds are fixed.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn
from torch.func import functional_call

from rramsweep.crossbar.mapping import ConstantSum, Differential, Offset, Sliced
from rramsweep.crossbar.programming import LayerSpec, map_layer, program
from rramsweep.devices.device import Device
from rramsweep.devices.streams import Stream
from rramsweep.effects import (
    CMOReadNoise,
    Gaussian,
    Ideal,
    OneOverF,
    PCMReadNoise,
    RandomTelegraphNoise,
    RelativeDrift,
    Stuck,
    ThermalShotNoise,
    WhiteReadNoise,
)
from rramsweep.effects.one_over_f import growth
from rramsweep.models import lenet5
from rramsweep.network.analog import AnalogNetwork, analog_layers
from rramsweep.network.arrays import find_arrays
from rramsweep.units import seconds
from tests.laws import KS_FALSE_ALARM, SIGMAS, moments_match

DEVICE = Device(1.0, 100.0)
CMO = Device(9.0, 88.19)
PCM = Device(0.25, 25.0)
READS = 20_000
K_B, Q = 1.380649e-23, 1.602176634e-19

MAPPINGS = [m(scale=s) for m in (Differential, ConstantSum, Offset) for s in ("per_tensor", "per_channel")]
SLICED = [Sliced("differential", 2, 3), Sliced("constant_sum", 1, 4, "per_channel"), Sliced("offset", 2, 2)]
LAYERS = {
    "linear": (lambda: nn.Linear(7, 4), (7,)),
    "sequence": (lambda: nn.Linear(5, 3), (4, 5)),
    "conv": (lambda: nn.Conv2d(2, 3, 3, padding=1), (2, 4, 4)),
    "reflected": (lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), (2, 4, 4)),
    "depthwise": (lambda: nn.Conv1d(4, 8, 3, stride=2, groups=4), (4, 9)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=2), (4, 2, 2)),
}
# Strength -> effect, strength multiplying sigma; a device; seconds since programming.
NOISES = {
    "white": (lambda k: WhiteReadNoise(k * 0.02, k * 0.05), DEVICE, 0.0),
    "thermal and shot": (lambda k: ThermalShotNoise(k**2 * 1e9, 300.0, 0.2), DEVICE, 0.0),
    "random telegraph": (lambda k: RandomTelegraphNoise(0.3, k * 0.5, k * 0.03), DEVICE, 0.0),
    "1/f": (lambda k: OneOverF(k * 0.005, k * 0.01), DEVICE, 3600.0),
    "CMO/HfOx": (lambda k: CMOReadNoise(k * 0.0277316), CMO, 1.0),
    "PCM": (lambda k: PCMReadNoise(k * 0.0088, q_max=1.0), PCM, 1e4),
}


def mean_shift_uS(noise, g):
    return noise.tau * rtn_uS(noise, g) if isinstance(noise, RandomTelegraphNoise) else np.zeros_like(g)


def rtn_uS(noise, g):
    x = noise.a_uS + noise.b * g
    with np.errstate(divide="ignore"):
        return np.where(g > x, np.minimum(x / (g - x), noise.relative_max), noise.relative_max) * g


def cell_variance_uS2(noise, g, t_s, g_max):
    """Written from the formulas of the physics reference, in numpy; thermal and shot at an activation of 1."""
    if isinstance(noise, WhiteReadNoise):
        return (noise.alpha_ind * g_max) ** 2 + (noise.alpha_prop * g) ** 2
    if isinstance(noise, ThermalShotNoise):
        return thermal_uS2(noise, g) + shot_uS2(noise, g)
    if isinstance(noise, RandomTelegraphNoise):
        return noise.tau * (1 - noise.tau) * rtn_uS(noise, g) ** 2
    grown = np.log((t_s + noise.t_read_s) / (2 * noise.t_read_s))
    if isinstance(noise, OneOverF):
        return ((noise.alpha_ind * g_max) ** 2 + (noise.alpha_prop * g) ** 2) * grown
    if isinstance(noise, CMOReadNoise):
        return (noise.slope_uS * np.log10(g)) ** 2 * grown
    return (g * np.minimum(noise.q * (g / 25.0) ** -noise.exponent, noise.q_max)) ** 2 * grown


def thermal_uS2(noise, g):
    return 4 * K_B * noise.temperature_K * noise.bandwidth_Hz * g * 1e-6 / noise.v_read_V**2 * 1e12


def shot_uS2(noise, g):
    return 2 * Q * noise.bandwidth_Hz * g * 1e-6 / noise.v_read_V * 1e12


def network(kind, noise, device, mapping, t_s, bias=True):
    """A layer whose cells are off their targets, as an analog network; the programmed cells; an input."""
    torch.manual_seed(2)
    build, shape = LAYERS[kind]
    model = nn.Sequential(build()).eval()
    if not bias:
        model[0].bias = None
    spec = LayerSpec(device, mapping, Gaussian(0.05), drift=RelativeDrift(0.05), read_noise=noise)
    chip = AnalogNetwork(model, {"0": spec}, t_s)
    array = find_arrays(model)["0"]
    layer = program(map_layer("0", array.to_array(model[0].weight.detach()), spec), 3, t_s)
    return chip, model, array, layer, torch.randn(shape)


def reads(chip, x, n=READS, block=10_000):
    """`(n, outputs)` of one chip that reads x n times, block times a call."""
    with torch.inference_mode():
        net = chip.chip(3)
        return np.concatenate([net(x.expand(block, *x.shape)).flatten(1).double().numpy() for _ in range(n // block)])


def jacobians(model, array, layer, x):
    """`(y, {cell: dy/dG})` in float64, by autograd through mapping and forward; dy/dG is (outputs, cells)."""
    module = model[0].double()

    def output(g_uS):
        weight = layer.spec.mapping.weight(g_uS, layer.full_scale.double(), layer.spec.device)
        return functional_call(module, {"weight": array.from_array(weight)}, (x.double().unsqueeze(0),)).flatten()

    g_uS = {cell: g.double() for cell, g in layer.g_uS.items()}
    slopes = torch.autograd.functional.jacobian(
        lambda *g: output(dict(zip(g_uS, g, strict=True))), tuple(g_uS.values())
    )
    y = output(g_uS).detach()
    return y.numpy(), {cell: s.reshape(len(y), -1).numpy() for cell, s in zip(g_uS, slopes, strict=True)}


def closed_form(noise, model, array, layer, x, t_s):
    """Mean and variance of each output."""
    mean, slopes = jacobians(model, array, layer, x)
    mean, variance = mean.copy(), 0.0
    for cell, slope in slopes.items():
        g = layer.g_uS[cell].flatten().double().numpy()
        mean += slope @ mean_shift_uS(noise, g)
        if isinstance(noise, ThermalShotNoise):
            variance = variance + _thermal_shot(noise, model, array, layer, x, slope, g, cell)
        else:
            variance = variance + slope**2 @ cell_variance_uS2(noise, g, t_s, layer.spec.device.g_max_uS)
    return mean, variance


def _thermal_shot(noise, model, array, layer, x, slope, g, cell):
    # dy/dG is the gain times x, so gain^2 |x| is gain |dy/dG|. The thermal part is that of the output's whole bit line.
    full = layer.full_scale.expand(layer.target_uS["p"].shape)
    gain = layer.spec.mapping.gains(full, layer.spec.device)[cell].double()
    shot = np.abs(slope) * gain.flatten().numpy() @ shot_uS2(noise, g)
    line = (gain.flatten(1)[:, 0] ** 2).numpy() * thermal_uS2(noise, g.reshape(len(gain), -1)).sum(1)
    outputs = functional_call(
        model[0],
        {"weight": array.from_array(torch.zeros_like(gain)), "bias": torch.arange(len(gain)).double()},
        (x.double()[None],),
    )
    return shot + line[outputs.flatten().round().long().numpy()]


def follows(kind, make, device, mapping, t_s, strength=1.0):
    chip, model, array, layer, x = network(kind, make(strength), device, mapping, t_s)
    mean, variance = closed_form(make(1.0), model, array, layer, x, t_s)
    y = reads(chip, x)
    for i in range(0, len(mean), max(1, len(mean) // 5)):
        moments_match(y[:, i], mean[i], math.sqrt(variance[i]))
    # All outputs at once: each estimate of a variance is off by sqrt(2/n) of itself.
    assert abs(np.mean(y.var(0) / variance) - 1) < SIGMAS * math.sqrt(2 / READS / len(mean))


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("kind", LAYERS)
def test_mean_and_variance_follow_the_law_on_every_kind_of_layer(kind, name):
    make, device, t_s = NOISES[name]
    follows(kind, make, device, MAPPINGS[len(kind) % len(MAPPINGS)], t_s)


@pytest.mark.parametrize("mapping", MAPPINGS + SLICED, ids=lambda m: f"{type(m).__name__} {m.scale}")
@pytest.mark.parametrize("name", ["white", "thermal and shot", "random telegraph"])
def test_mean_and_variance_follow_the_law_under_every_mapping(mapping, name):
    make, device, t_s = NOISES[name]
    follows("transposed", make, device, mapping, t_s)


@pytest.mark.parametrize("name", NOISES)
def test_five_percent_more_strength_is_caught(name):
    make, device, t_s = NOISES[name]
    with pytest.raises(AssertionError):
        follows("linear", make, device, Differential(), t_s, strength=1.05)


def sampled(noise, layer, x, n, t_s):
    """Every cell drawn at every one of n reads, (n, outputs): what the second moment stands for."""
    rng = np.random.default_rng(5)
    weights = {}
    for cell, g in layer.g_uS.items():
        g = g.double().numpy()
        if isinstance(noise, RandomTelegraphNoise):
            weights[cell] = g + rtn_uS(noise, g) * (rng.random((n, *g.shape)) < noise.tau)
        elif isinstance(noise, ThermalShotNoise):
            current = thermal_uS2(noise, g) + shot_uS2(noise, g) * np.abs(x)
            with np.errstate(divide="ignore"):
                weights[cell] = g + np.sqrt(current) / np.abs(x) * rng.normal(size=(n, *g.shape))
        else:
            sigma = np.sqrt(cell_variance_uS2(noise, g, t_s, layer.spec.device.g_max_uS))
            weights[cell] = g + sigma * rng.normal(size=(n, *g.shape))
    w = layer.spec.mapping.weight(
        {c: torch.from_numpy(v) for c, v in weights.items()}, layer.full_scale.double(), layer.spec.device
    )
    return w.numpy() @ x


@pytest.mark.parametrize("mapping", [ConstantSum("per_channel"), Offset("per_tensor"), SLICED[0]], ids=repr)
@pytest.mark.parametrize("name", NOISES)
def test_agrees_with_drawing_every_cell_at_every_read(name, mapping):
    make, device, t_s = NOISES[name]
    chip, _, _, layer, x = network("linear", make(1.0), device, mapping, t_s, bias=False)
    ours, theirs = reads(chip, x), sampled(make(1.0), layer, x.double().numpy(), READS, t_s)
    for i in range(ours.shape[1]):
        moments_close(ours[:, i], theirs[:, i])


def moments_close(a, b):
    """Two samples of one law: means within 4 standard errors of their difference, variances too."""
    assert abs(a.mean() - b.mean()) < SIGMAS * math.sqrt((a.var() + b.var()) / len(a))
    kurtoses = [np.mean((s - s.mean()) ** 4) / s.var() ** 2 for s in (a, b)]
    assert abs(math.log(a.var() / b.var())) < SIGMAS * math.sqrt(sum(k - 1 for k in kurtoses) / len(a))


@pytest.mark.parametrize("name", NOISES)
def test_outputs_are_normal(name):
    make, device, t_s = NOISES[name]
    chip, model, array, layer, x = network("conv", make(1.0), device, Differential(), t_s)
    mean, variance = closed_form(make(1.0), model, array, layer, x, t_s)
    y = reads(chip, x, 20_000)
    for i in (0, 5, 40):  # in a corner, in the middle, in another channel
        p = stats.kstest((y[:, i] - mean[i]) / math.sqrt(variance[i]), stats.norm.cdf).pvalue
        assert p > KS_FALSE_ALARM


def test_telegraph_noise_of_many_cells_is_normal_and_of_few_is_not():
    # The limit that the law states: against drawn states a wide bit line passes, two cells do not.
    noise = RandomTelegraphNoise()
    for inputs, normal in ((512, True), (1, False)):
        torch.manual_seed(1)
        layer = map_layer("fc", torch.randn(1, inputs), LayerSpec(DEVICE, ConstantSum(), read_noise=noise))
        x = torch.rand(inputs) + 0.5
        y = one_layer_reads(noise, layer, x, 4000)[:, 0]
        states = sampled(noise, layer, x.double().numpy(), 4000, 0.0)[:, 0]
        moments_close(y, states)
        assert (stats.ks_2samp(y, states).pvalue > KS_FALSE_ALARM) == normal


def one_layer_reads(noise, layer, x, n):
    """n reads of x by a layer that stands alone."""
    y = noise(nn.functional.linear, x.expand(n, *x.shape), layer, Stream(1, ("fc", "read_noise", "0")))
    return y.double().numpy()


@pytest.mark.parametrize("name", NOISES)
def test_no_covariance_between_input_vectors_outputs_positions_and_calls(name):
    make, device, t_s = NOISES[name]
    chip, *_, x = network("conv", make(1.0), device, Differential("per_channel"), t_s)
    y = reads(chip, x, 20_000, block=1000)
    n, outputs = y.shape
    between_outputs = np.corrcoef(y.T)[np.triu_indices(outputs, 1)]
    assert np.abs(between_outputs).max() < stats.norm.isf(1e-4 / len(between_outputs)) / math.sqrt(n)
    z = (y - y.mean(0)) / y.std(0)
    for lag in (1, 2, 1000):  # the next input vectors of a call, and the same one of the next call
        correlation = float(np.mean(z[lag:] * z[:-lag]))
        assert abs(correlation) < SIGMAS / math.sqrt((n - lag) * outputs)


@pytest.mark.parametrize("noise", [WhiteReadNoise(0.05), ThermalShotNoise(1e9), RandomTelegraphNoise()], ids=repr)
def test_averaging_k_reads_divides_the_variance_by_k_and_leaves_the_error_of_programming(noise):
    chip, model, array, layer, x = network("linear", noise, DEVICE, Differential(), 0.0)
    mean, variance = closed_form(noise, model, array, layer, x, 0.0)
    for k in (4, 25):
        averaged = reads(chip, x).reshape(-1, k, len(mean)).mean(1)
        for i in range(len(mean)):
            moments_match(averaged[:, i], mean[i], math.sqrt(variance[i] / k))


SILENT = [
    WhiteReadNoise(),
    ThermalShotNoise(),
    ThermalShotNoise(0.0, 400.0),
    RandomTelegraphNoise(tau=0.0),
    RandomTelegraphNoise(a_uS=0.0, b=0.0),
    OneOverF(),
    CMOReadNoise(slope_uS=0.0),
    PCMReadNoise(q=0.0),
]


@pytest.mark.parametrize("noise", SILENT, ids=repr)
@torch.inference_mode()
def test_strength_zero_is_ideal_bit_for_bit(noise):
    device = {CMOReadNoise: CMO, PCMReadNoise: PCM}.get(type(noise), DEVICE)
    torch.manual_seed(0)
    model, x = lenet5().eval(), torch.randn(8, 1, 28, 28)
    names = analog_layers(model)
    ideal, zero = (
        AnalogNetwork(
            model, dict.fromkeys(names, LayerSpec(device, Differential(), Gaussian(0.03), read_noise=n)), 10.0
        )
        for n in (Ideal(), noise)
    )
    assert torch.equal(zero.chip(4)(x), ideal.chip(4)(x))
    assert torch.equal(zero.ideal()(x), ideal.ideal()(x))


def test_read_noise_leaves_the_cells_the_input_and_the_random_draws_of_other_stages_alone():
    quiet, _, _, layer, x = network("conv", Ideal(), DEVICE, Differential(), 0.0)
    before = {cell: g.clone() for cell, g in layer.g_uS.items()}, x.clone()
    for make, device, t_s in NOISES.values():
        held = replace(layer, spec=LayerSpec(device, Differential(), read_noise=make(1.0)), t_s=t_s)
        make(1.0)(nn.functional.conv2d, x[None], held, Stream(0))
    assert all(torch.equal(layer.g_uS[cell], g) for cell, g in before[0].items())
    assert torch.equal(x, before[1])
    noisy = network("conv", WhiteReadNoise(0.01), DEVICE, Differential(), 0.0)[0]
    assert torch.equal(noisy.chip(3)[0].weight, quiet.chip(3)[0].weight)


@pytest.mark.parametrize("name", NOISES)
def test_strengths_are_paired_and_a_chip_repeats_its_reads(name):
    make, device, t_s = NOISES[name]
    one, *_, x = network("conv", make(1.0), device, Differential(), t_s)
    two = network("conv", make(2.0), device, Differential(), t_s)[0]
    quiet = network("conv", Ideal(), device, Differential(), t_s)[0]
    a, b, y = reads(one, x, 500, 250), reads(two, x, 500, 250), reads(quiet, x, 1, 1)
    assert np.array_equal(a, reads(one, x, 500, 250))
    a, b = a - a.mean(0), b - b.mean(0)
    assert np.corrcoef(a.flatten(), b.flatten())[0, 1] > 0.999
    assert not np.allclose(reads(one, x, 1, 1), y)


# --- closed forms at drawn parameters --------------------------------------------------------------------------------

shares = st.floats(0.0, 0.2)


def sd_of_reads(noise, g_uS, x, device, mapping, t_s=0.0, n=20_000):
    """Reads of one weight, all of whose cells have conductance g_uS: `(reads, W's gain)`."""
    layer = map_layer("fc", torch.tensor([[0.5]]), LayerSpec(device, mapping, read_noise=noise))
    layer = replace(layer, g_uS={cell: torch.full_like(g, g_uS) for cell, g in layer.g_uS.items()}, t_s=t_s)
    return one_layer_reads(noise, layer, torch.tensor([x]), n)[:, 0], layer


@settings(derandomize=True, max_examples=15, deadline=None)
@given(shares, shares, st.floats(1.0, 100.0), st.floats(0.1, 3.0), st.sampled_from(MAPPINGS))
def test_white_noise_at_drawn_parameters(alpha_ind, alpha_prop, g_uS, x, mapping):
    if max(alpha_ind, alpha_prop) < 1e-4:
        alpha_ind = 0.01
    y, layer = sd_of_reads(WhiteReadNoise(alpha_ind, alpha_prop), g_uS, x, DEVICE, mapping)
    cells, gain = (1, 2 * 0.5 / 99) if isinstance(mapping, Offset) else (2, 0.5 / 99)
    sd = gain * x * math.sqrt(cells * ((alpha_ind * 100) ** 2 + (alpha_prop * g_uS) ** 2))
    moments_match(y, float(layer.weight()) * x, sd)


@settings(derandomize=True, max_examples=15, deadline=None)
@given(st.floats(1e5, 1e10), st.floats(4.0, 500.0), st.floats(0.05, 1.0), st.floats(-2.0, 2.0), st.floats(1.0, 100.0))
def test_thermal_and_shot_noise_at_drawn_parameters(bandwidth_Hz, temperature_K, v_V, x, g_uS):
    y, layer = sd_of_reads(ThermalShotNoise(bandwidth_Hz, temperature_K, v_V), g_uS, x, DEVICE, Differential())
    current_A2 = 2 * (4 * K_B * temperature_K * bandwidth_Hz + 2 * Q * abs(v_V * x) * bandwidth_Hz) * g_uS * 1e-6
    y_per_A = 0.5 / 99 / (v_V * 1e-6)
    sd = math.sqrt(current_A2) * y_per_A
    moments_match(y, float(layer.weight()) * x, sd)


@settings(derandomize=True, max_examples=15, deadline=None)
@given(st.floats(0.01, 0.99), st.floats(0.05, 1.0), st.floats(0.0, 0.05), st.floats(1.0, 100.0))
def test_telegraph_noise_at_drawn_parameters(tau, a_uS, b, g_uS):
    noise = RandomTelegraphNoise(tau, a_uS, b)
    y, layer = sd_of_reads(noise, g_uS, 1.5, DEVICE, Offset())
    step = float(rtn_uS(noise, np.array(g_uS)))
    gain = 2 * 0.5 / 99
    mean = float(layer.weight()) + gain * tau * step
    moments_match(y, 1.5 * mean, 1.5 * gain * step * math.sqrt(tau * (1 - tau)))


@settings(derandomize=True, max_examples=15, deadline=None)
@given(st.floats(1e-3, 0.1), st.floats(1e-9, 1e-3), st.floats(0.0, 10.0))
def test_one_over_f_noise_at_drawn_parameters(alpha_ind, t_read_s, decades):
    t_s = t_read_s * 10 ** (decades + 0.1)
    y, layer = sd_of_reads(OneOverF(alpha_ind, t_read_s=t_read_s), 50.0, 1.0, DEVICE, Differential(), t_s)
    grown = math.log(0.5 * (10 ** (decades + 0.1) + 1))
    moments_match(y, float(layer.weight()), math.sqrt(2 * grown) * alpha_ind * 100 * 0.5 / 99)


# --- published numbers -----------------------------------------------------------------------------------------------

# Of the physics reference: Johnson and shot current of one cell at 300 K and 0.2 V, and both as a share of G.
GOLDEN = {
    (1.0, 1e6): (1.2871591976131002e-10, 2.5315423235648265e-10, 0.0014199899063021537),
    (1.0, 1e8): (1.2871591976131003e-09, 2.5315423235648264e-09, 0.014199899063021541),
    (100.0, 1e6): (1.2871591976131003e-09, 2.5315423235648264e-09, 0.0001419989906302154),
    (100.0, 1e8): (1.2871591976131002e-08, 2.5315423235648263e-08, 0.001419989906302154),
}
RTN_GOLDEN = {
    1.0: 0.2014898474107894,
    3.0: 0.06033294454458699,
    10.0: 0.018454393612254042,
    30.0: 0.007089912987431517,
    100.0: 0.003172029958729503,
}


def exact_sd(noise, g_uS, x=1.0, device=DEVICE, t_s=0.0):
    """Standard deviation of a read in uS of one cell, without sampling: the read's normal draw is known."""
    full_scale = torch.tensor([[device.span_uS / 2]], dtype=torch.float64)  # a gain of 1 a uS
    layer = map_layer("fc", torch.tensor([[0.0]], dtype=torch.float64), LayerSpec(device, Offset(), read_noise=noise))
    g = torch.tensor([[g_uS]], dtype=torch.float64)
    layer = replace(layer, full_scale=full_scale, g_uS={"p": g}, t_s=t_s)
    x = torch.tensor([[x]], dtype=torch.float64)
    a, b = (noise(nn.functional.linear, x, layer, Stream(seed)) for seed in (1, 2))
    za, zb = (Stream(seed).normal((1, 1)).double() for seed in (1, 2))
    return float((a - b) / (za - zb))


@pytest.mark.parametrize(("g_uS", "bandwidth_Hz"), GOLDEN)
def test_thermal_and_shot_currents_are_the_golden_ones(g_uS, bandwidth_Hz):
    johnson_A, shot_A, relative = GOLDEN[g_uS, bandwidth_Hz]
    noise = ThermalShotNoise(bandwidth_Hz)
    assert math.sqrt(noise.thermal_A2_per_S * g_uS * 1e-6) == pytest.approx(johnson_A, rel=1e-9)
    assert math.sqrt(noise.shot_A2_per_A * g_uS * 1e-6 * 0.2) == pytest.approx(shot_A, rel=1e-9)
    assert exact_sd(noise, g_uS) / g_uS == pytest.approx(relative, rel=1e-9)
    # Currents from conductances: the thermal one alone at x = 0.
    assert exact_sd(noise, g_uS, x=0.0) * 1e-6 * 0.2 == pytest.approx(johnson_A, rel=1e-9)


@pytest.mark.parametrize(("g_uS", "relative"), RTN_GOLDEN.items())
def test_telegraph_amplitudes_are_the_golden_ones(g_uS, relative):
    g = torch.tensor([g_uS], dtype=torch.float64)
    assert float(RandomTelegraphNoise().amplitude_uS(g)) / g_uS == pytest.approx(relative, rel=1e-9)
    assert exact_sd(RandomTelegraphNoise(), g_uS) == pytest.approx(relative * g_uS / 2, rel=1e-7)


@pytest.mark.parametrize(
    ("noise", "g_uS", "device", "t", "sigma_uS"),
    [
        (CMOReadNoise(), 50.0, CMO, "1s", 0.1707),
        (CMOReadNoise(), 50.0, CMO, "10y", 0.2694),
        (CMOReadNoise(), 10.0, CMO, "1s", 0.0277316 * math.sqrt(math.log(5e5))),
        (PCMReadNoise(), 25.0, PCM, "1s", 0.0088 * 25 * math.sqrt(math.log(2e6))),
        (PCMReadNoise(), 5.0, PCM, "1s", 0.0088 * 5**0.65 * 5 * math.sqrt(math.log(2e6))),
        (PCMReadNoise(), 0.1, PCM, "1s", 0.2 * 0.1 * math.sqrt(math.log(2e6))),  # capped
        (PCMReadNoise(), 0.0, PCM, "1s", 0.0),
        # Scaled to a window of four times the conductance: k sigma(G / k).
        (
            PCMReadNoise(outside="scale"),
            20.0,
            Device(0, 100),
            "1s",
            4 * 0.0088 * 5**0.65 * 5 * math.sqrt(math.log(2e6)),
        ),
        # Pushed out of the fitted range: the law of the nearest end, never the logarithm of 0.
        (CMOReadNoise(outside="clamp"), 0.0, DEVICE, "1s", 0.0277316 * math.log10(8) * math.sqrt(math.log(5e5))),
    ],
)
def test_one_over_f_of_published_devices(noise, g_uS, device, t, sigma_uS):
    assert exact_sd(noise, g_uS, device=device, t_s=seconds(t)) == pytest.approx(sigma_uS, rel=3e-4, abs=1e-12)


# --- traps -----------------------------------------------------------------------------------------------------------


def test_trap_13_10_the_logarithm_of_time_is_natural_and_that_of_conductance_has_base_ten():
    assert growth(1.0, 1e-6) == pytest.approx(math.log(1.000001 / 2e-6))
    ratio = exact_sd(CMOReadNoise(), 80.0, device=CMO, t_s=1.0) / exact_sd(CMOReadNoise(), 10.0, device=CMO, t_s=1.0)
    assert ratio == pytest.approx(math.log10(80.0))


@pytest.mark.parametrize("t_s", [0.0, 1e-9, 1e-6])
@pytest.mark.parametrize("noise", [OneOverF(0.1), CMOReadNoise()], ids=repr)
def test_trap_before_the_first_read_the_growth_is_zero_and_not_a_root_of_a_negative_number(noise, t_s):
    device = CMO if isinstance(noise, CMOReadNoise) else DEVICE
    assert growth(t_s, 1e-6) == 0
    assert exact_sd(noise, 50.0, device=device, t_s=t_s) == 0
    assert any("has none of it" in note for note in LayerSpec(device, Differential(), read_noise=noise).notes(t_s))
    assert not LayerSpec(device, Differential(), read_noise=noise).notes(1.0)


def test_trap_the_telegraph_formula_is_singular_at_low_conductance():
    g = torch.tensor([-5.0, 0.0, 0.01, 0.166, 0.16645, 0.17, 0.2, 0.33, 0.34, 1.0])
    step = RandomTelegraphNoise().amplitude_uS(g)
    assert (step >= 0).all()
    assert (step <= g.clamp(min=0)).all(), "a trap at most doubles the conductance"
    assert (step[:2] == 0).all()
    relative = (step / g)[2:]
    assert (relative.diff() <= 1e-6).all(), "the amplitude grows towards low conductance and saturates there"


def test_trap_a_bandwidth_in_hertz_is_not_ten_times_itself():
    # A copy of PytorX's law writes 100 MHz as 100*10e6.
    assert exact_sd(ThermalShotNoise(100 * 10e6), 1.0) == pytest.approx(math.sqrt(10) * 0.0142, rel=1e-3)
    assert exact_sd(ThermalShotNoise(100e6), 1.0) == pytest.approx(0.0142, rel=1e-3)


def test_trap_read_noise_is_of_g_max_not_of_the_window():
    assert exact_sd(WhiteReadNoise(0.01), 50.0, device=Device(40.0, 100.0)) == pytest.approx(1.0)


def test_thermal_noise_is_there_without_input_and_does_not_ask_for_the_padding():
    noise = ThermalShotNoise(1e9)
    chip, model, array, layer, x = network("conv", noise, DEVICE, Differential(), 0.0)
    y = reads(chip, torch.zeros_like(x), 20_000)
    variance = closed_form(noise, model, array, layer, torch.zeros_like(x), 0.0)[1]
    assert np.allclose(variance.reshape(3, -1), variance.reshape(3, -1)[:, :1])  # corners see whole bit lines too
    assert abs(np.mean(y.var(0) / variance) - 1) < SIGMAS * math.sqrt(2 / 20_000 / len(variance))


def test_a_negative_input_has_the_noise_of_a_positive_one():
    for noise in (WhiteReadNoise(0.1, 0.1), ThermalShotNoise(1e8), RandomTelegraphNoise()):
        assert exact_sd(noise, 20.0, x=-0.7) == pytest.approx(exact_sd(noise, 20.0, x=0.7))
    shot = [exact_sd(ThermalShotNoise(1e8, 0.0), 20.0, x=x) for x in (0.25, 1.0)]
    assert shot[1] == pytest.approx(2 * shot[0])  # variance in proportion to |x|


def test_a_stuck_cell_has_read_noise():
    spec = LayerSpec(DEVICE, Differential(), faults=Stuck(1.0, 0.0), read_noise=WhiteReadNoise(alpha_prop=0.01))
    layer = program(map_layer("fc", torch.tensor([[0.5]]), spec), 1)
    y = one_layer_reads(spec.read_noise, layer, torch.ones(1), READS)[:, 0]
    moments_match(y, 0.0, 0.5 / 99 * math.sqrt(2) * 1.0)


def test_tied_layers_may_be_read_with_different_noise():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.first(x), self.second(x)

    specs = {
        n: LayerSpec(DEVICE, Differential(), read_noise=r)
        for n, r in (("first", Ideal()), ("second", WhiteReadNoise(0.1)))
    }
    with torch.inference_mode():
        first, second = AnalogNetwork(Tied(), specs).chip(1)(torch.ones(6))
    assert not torch.allclose(first, second)


class Standardised(nn.Conv2d):
    """Takes the mean out of its weight at every call, as weight-standardised networks do."""

    def forward(self, x):
        return nn.functional.conv2d(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias)


def test_a_layer_that_changes_its_weight_first_is_refused_rather_than_given_a_wrong_variance():
    spec = LayerSpec(DEVICE, Differential(), read_noise=WhiteReadNoise(0.0, 0.1))
    chip = AnalogNetwork(nn.Sequential(Standardised(2, 3, 3)), {"0": spec}).chip(0)
    with pytest.raises(ValueError, match="whose forward is a product of its input and its weight"):
        chip(torch.randn(4, 2, 6, 6))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: WhiteReadNoise(alpha_ind=2.0), r"alpha_ind must lie in 0..1 .*for 2 % give 0.02"),
        (lambda: WhiteReadNoise(alpha_prop=float("nan")), "alpha_prop must lie in 0..1"),
        (lambda: ThermalShotNoise(bandwidth_Hz=-1.0), "bandwidth_Hz must be finite and at least 0"),
        (lambda: ThermalShotNoise(bandwidth_Hz=float("inf")), "bandwidth_Hz must be finite"),
        (lambda: ThermalShotNoise(temperature_K=-300.0), "temperature_K must be finite and at least 0"),
        (lambda: ThermalShotNoise(v_read_V=0.0), "v_read_V must lie above 0 and be finite, got 0.0: give"),
        (lambda: RandomTelegraphNoise(tau=1.5), "tau must lie in 0..1"),
        (lambda: RandomTelegraphNoise(a_uS=-0.1), "a_uS must be finite and at least 0"),
        (lambda: RandomTelegraphNoise(b=1.5), "b must lie in 0..1"),
        (lambda: RandomTelegraphNoise(relative_max=0.0), "relative_max must lie above 0"),
        (lambda: OneOverF(alpha_ind=-0.1), "alpha_ind must lie in 0..1"),
        (lambda: OneOverF(t_read_s=0.0), "t_read_s must lie above 0"),
        (lambda: CMOReadNoise(slope_uS=float("nan")), "slope_uS must be finite"),
        (lambda: CMOReadNoise(outside="ignore"), "outside must be one of refuse, clamp, scale"),
        (lambda: PCMReadNoise(q_max=20.0), "q_max must lie in 0..1 .*for 20 % give 0.2"),
        (lambda: LayerSpec(DEVICE, Differential(), read_noise=CMOReadNoise()), "CMOReadNoise covers, 8..90 uS"),
        (lambda: LayerSpec(DEVICE, Differential(), read_noise=PCMReadNoise()), "PCMReadNoise covers, 0..25 uS"),
    ],
)
def test_refuses(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_a_scaled_fit_says_by_how_much():
    noise = PCMReadNoise(outside="scale")
    assert any("scaled by 4" in note for note in LayerSpec(DEVICE, Differential(), read_noise=noise).notes(1.0))
