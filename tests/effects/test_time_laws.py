"""Relaxation and drift over time: closed forms (physics reference, 3.1, 3.2, 4, 12.11, 12.12), trajectories, heat."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rramsweep.crossbar.mapping import Differential
from rramsweep.crossbar.programming import LayerSpec
from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Stream
from rramsweep.effects import CmoRelaxation, Gaussian, HfOxRelaxation, LogTimeWalk, PowerLawDrift, hfox_relaxation
from rramsweep.effects.walk import BISECTIONS, BLOCK, wiener
from rramsweep.units import acceleration
from tests.laws import SIGMAS, Law, follows, moments_match, sample

OPEN = Device(0.0, 40.0, edge="none")
HOUR, DAY, TEN_YEARS = 3600.0, 86400.0, 3.15576e8

TABLE = json.loads(hfox_relaxation.TABLE.read_text())


def chip(effect, t_s, g_uS=20.0, n=200_000, seed=0, device=OPEN):
    """The cells of one chip at one time, float64."""
    g = torch.full((n,), g_uS)
    return effect(Cells(g, g, device, t_s), Stream(seed, ("layer", "p", "stage"))).double().numpy()


# --- closed forms ----------------------------------------------------------------------------------------------------


def power_law(nu_mean, nu_std, ratio, g=20.0):
    """12.11: exponents not clipped, lognormal."""
    log = math.log(ratio)
    mean, second = (
        math.exp(-nu_mean * log + (nu_std * log) ** 2 / 2),
        math.exp(-2 * nu_mean * log + 2 * (nu_std * log) ** 2),
    )
    return Law(
        f"power law {nu_mean} {nu_std} {ratio:g}",
        lambda k: PowerLawDrift(k * nu_mean, k * nu_std, clip_nu=False, t0_s=2.0),
        g,
        g,
        g * mean,
        g * math.sqrt(second - mean**2),
        stats.lognorm(nu_std * log, scale=g * math.exp(-nu_mean * log)).cdf,
        2.0 * ratio,
    )


def clipped_power_law(nu_mean, nu_std, ratio, g=20.0):
    """Exponents below 0 become 0: E = P(nu < 0) + exp(-mu L + s^2 L^2 / 2) P(N(mu - s^2 L, s) > 0), and 2 L for E2."""

    def moment(log):
        rest = math.exp(-nu_mean * log + (nu_std * log) ** 2 / 2)
        return stats.norm.cdf(-nu_mean / nu_std) + rest * stats.norm.cdf((nu_mean - nu_std**2 * log) / nu_std)

    mean = moment(math.log(ratio))
    sd = math.sqrt(moment(2 * math.log(ratio)) - mean**2)
    return Law(
        f"clipped power law {nu_mean} {nu_std} {ratio:g}",
        lambda k: PowerLawDrift(k * nu_mean, k * nu_std, t0_s=20.0),
        g,
        g,
        g * mean,
        g * sd,
        None,
        20.0 * ratio,
    )


def walk(mean, variance, s, g=20.0):
    """12.12: mean m s, variance b s."""
    centre, sd = g + mean * s, math.sqrt(variance * s)
    make = lambda k: LogTimeWalk(k * mean, k**2 * variance, t0_s=0.01)  # noqa: E731
    return Law(f"walk {mean} {variance} {s}", make, g, g, centre, sd, stats.norm(centre, sd).cdf, 0.01 * 10.0**s)


def cmo(t_s, mean, sd, g=20.0):
    """3.1: the four times of the reference, unrounded."""
    assert mean == pytest.approx(-0.08900206 * math.log(t_s), abs=0.005)
    assert sd == pytest.approx(0.04201137 * math.log(t_s) + 0.41183342, abs=0.005)
    mean, sd = g - 0.08900206 * math.log(t_s), 0.04201137 * math.log(t_s) + 0.41183342
    return Law(f"cmo {t_s:g}", CmoRelaxation, g, g, mean, sd, stats.norm(mean, sd).cdf, t_s)


def hfox(knot, time):
    """A cell at a knot of the table and a measured time: the mixture with the table's own numbers."""
    mean, sd, share, ratio, shift = (
        np.array(TABLE[name][time][knot]) for name in ("mean_uS", "sd_uS", "tail_share", "tail_ratio", "tail_shift")
    )
    core, core_sd, tail, tail_sd = hfox_relaxation.components(mean, sd, share, ratio, shift)
    g = TABLE["g_uS"][knot]

    def cdf(x):
        return (1 - share) * stats.norm.cdf(x, g + core, core_sd) + share * stats.norm.cdf(x, g + tail, tail_sd)

    t_s = TABLE["t_s"][time]
    return Law(f"hfox {g} uS {t_s:g} s", HfOxRelaxation, g, g, g + mean, sd, cdf, t_s)


LAWS = [
    power_law(0.05, 0.02, 1e4),
    power_law(0.1, 0.05, 1e6),
    clipped_power_law(0.1, 0.05, 1e4),
    clipped_power_law(0.02, 0.05, 1e3),
    *(walk(-0.3, 2.13, s) for s in (0.1, 1.0, 6.4771, 10.0, 17.3)),
    cmo(1.0, 0.0, 0.41),
    cmo(HOUR, -0.73, 0.76),
    cmo(DAY, -1.01, 0.89),
    cmo(TEN_YEARS, -1.74, 1.23),
    *(hfox(knot, time) for knot in (0, 3, 5, 9) for time in range(4)),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_follows_its_law(law):
    follows(law, law.make(1.0), OPEN)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_harness_catches_five_percent_more_strength(law):
    with pytest.raises(AssertionError):
        follows(law, law.make(1.05), OPEN)


@pytest.mark.parametrize("law", [power_law(0.1, 0.05, 1e4), walk(-0.3, 2.13, 5.0)], ids=lambda law: law.name)
def test_harness_catches_the_wrong_sign(law):
    with pytest.raises(AssertionError):
        follows(law, law.make(-1.0) if law.name.startswith("walk") else PowerLawDrift(-0.1, 0.05, False, 2.0), OPEN)


def test_power_law_has_the_golden_numbers():
    for (mean, sd, ratio), golden in {
        (0.05, 0.02, 1e4): (0.64175, 0.11923),
        (0.1, 0.05, 1e6): (0.31887, 0.24935),
    }.items():
        law = power_law(mean, sd, ratio, g=1.0)
        assert (law.mean_uS, law.sd_uS) == pytest.approx(golden, abs=1e-5)


@settings(max_examples=25)
@given(
    mean=st.floats(-2, 2),
    variance=st.floats(0.01, 20),
    t0_s=st.floats(1e-3, 1e3),
    s=st.floats(0.01, 14),
    g=st.floats(0.1, 100),
)
def test_walk_has_its_moments_for_any_parameters(mean, variance, t0_s, s, g):
    x = chip(LogTimeWalk(mean, variance, t0_s), t0_s * 10**s, g, n=20_000)
    moments_match(x, g + mean * s, math.sqrt(variance * s))


@settings(max_examples=25)
@given(
    nu_mean=st.floats(0, 0.2),
    nu_std=st.floats(1e-3, 0.08),
    t0_s=st.floats(1e-3, 1e3),
    ratio=st.floats(1.5, 1e5),
    g=st.floats(0.1, 100),
    clip=st.booleans(),
)
def test_power_law_has_its_moments_for_any_parameters(nu_mean, nu_std, t0_s, ratio, g, clip):
    law = (clipped_power_law if clip else power_law)(nu_mean, nu_std, ratio, g)
    x = chip(PowerLawDrift(nu_mean, nu_std, clip, t0_s), t0_s * ratio, g, n=20_000)
    moments_match(x, law.mean_uS, law.sd_uS)


@settings(max_examples=15)
@given(t_s=st.floats(1.0, 1e9), strength=st.floats(0.1, 3), g=st.floats(1, 90))
def test_cmo_has_its_moments_at_any_time(t_s, strength, g):
    x = chip(CmoRelaxation(strength), t_s, g, n=20_000)
    log = math.log(t_s)
    moments_match(x, g - strength * 0.08900206 * log, strength * (0.04201137 * log + 0.41183342))


@settings(max_examples=15)
@given(log_t=st.floats(-2, 8), g=st.floats(0, 45))
def test_hfox_has_its_mean_and_sigma_at_any_conductance_and_time(log_t, g):
    # mu and sigma^2 linear in log t between the measured times and on with the last slope, then linear in G.
    at = np.log10(TABLE["t_s"])
    k = min(max(int(np.searchsorted(at, log_t, side="right")) - 1, 0), 2)
    f = (log_t - at[k]) / (at[k + 1] - at[k])
    mean_uS, sd_uS = np.array(TABLE["mean_uS"]), np.array(TABLE["sd_uS"])
    on_grid = round(min(g, 40.0) * 25) / 25
    mean = np.interp(on_grid, TABLE["g_uS"], (1 - f) * mean_uS[k] + f * mean_uS[k + 1])
    sd = np.interp(on_grid, TABLE["g_uS"], np.sqrt((1 - f) * sd_uS[k] ** 2 + f * sd_uS[k + 1] ** 2))
    moments_match(chip(HfOxRelaxation(), 10**log_t, g, n=50_000) - g, mean, sd)


def test_hfox_grows_from_10_ms_to_10_years():
    # Physics reference, 3.2: sigma about 4.8 uS and mu about -3.1 uS at 17.5 uS after 10 years, extrapolated.
    x = chip(HfOxRelaxation(), TEN_YEARS, 17.5) - 17.5
    assert x.std() == pytest.approx(4.8, rel=0.05)
    assert x.mean() == pytest.approx(-3.1, abs=0.25)


# --- nothing where nothing is asked for ------------------------------------------------------------------------------

IDEAL = [
    (PowerLawDrift(), DAY),
    (PowerLawDrift(0.1, 0.05), 0.0),
    (PowerLawDrift(0.1, 0.05, t0_s=20.0), 20.0),
    (LogTimeWalk(), DAY),
    (LogTimeWalk(-0.3, 2.13), 0.0),
    (LogTimeWalk(-0.3, 2.13, t0_s=1.0), 1.0),
    (CmoRelaxation(), 0.0),
    (CmoRelaxation(strength=0.0), DAY),
    (HfOxRelaxation(), 0.0),
    (HfOxRelaxation(strength=0.0), DAY),
]


@pytest.mark.parametrize(("effect", "t_s"), IDEAL, ids=lambda v: repr(v))
def test_no_strength_and_no_time_are_ideal_bit_for_bit(effect, t_s):
    g = torch.rand(1000) * 40
    assert torch.equal(effect(Cells(g, g.flip(0), OPEN, t_s), Stream(1, ("a", "p", "drift"))), g)


def test_a_walk_without_variance_is_its_mean():
    assert chip(LogTimeWalk(-0.5, 0.0), 1e4) == pytest.approx(18.0)


# --- a chip over times is a trajectory -------------------------------------------------------------------------------


def covariance(a, b):
    return sum(weight * b.get(draw, 0.0) for draw, weight in a.items())


@settings(max_examples=300)
@given(first=st.floats(0, 25), further=st.floats(0, 5) | st.floats(0, 0.4))
def test_wiener_has_the_covariance_of_a_wiener_process(first, further):
    s, t = first, first + further
    assert covariance(wiener(t), wiener(t)) == pytest.approx(t, abs=1e-12)
    width = BLOCK / 2**BISECTIONS
    excess = covariance(wiener(s), wiener(t)) - s
    if s // width == t // width:
        assert -1e-9 < excess < width / 8 + 1e-9
    else:
        assert excess == pytest.approx(0, abs=1e-9)


def test_increments_of_the_walk_are_independent_and_grow_with_log_time():
    law, times = LogTimeWalk(-0.3, 2.13), (10.0, HOUR, DAY, TEN_YEARS)
    x = np.stack([chip(law, t) for t in times])
    steps = np.diff(x, axis=0)
    for step, (t1, t2) in zip(steps, itertools.pairwise(times), strict=True):
        s = math.log10(t2 / t1)
        moments_match(step, -0.3 * s, math.sqrt(2.13 * s))
    limit = SIGMAS / math.sqrt(x.shape[1])
    assert np.abs(np.corrcoef(np.vstack([x[:1], steps])) - np.eye(4)).max() < limit
    for i in range(3):
        assert np.corrcoef(x[i], x[3])[0, 1] == pytest.approx(x[i].std() / x[3].std(), abs=2 * limit)


def test_cmo_correlates_as_the_ratio_of_its_spreads():
    x = np.stack([chip(CmoRelaxation(), t) for t in (1.0, HOUR, TEN_YEARS)])
    r = np.corrcoef(x)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert r[i, j] == pytest.approx(x[i].std() / x[j].std(), abs=2 * SIGMAS / math.sqrt(x.shape[1]))


def test_exponents_of_the_power_law_are_frozen():
    law = PowerLawDrift(0.05, 0.02, t0_s=1.0)
    one, two = chip(law, 10.0, n=2000) / 20, chip(law, 100.0, n=2000) / 20
    assert two == pytest.approx(one**2, rel=1e-5)


@pytest.mark.parametrize(("i", "j"), [(i, j) for i in range(4) for j in range(i + 1, 4)])
def test_hfox_draws_correlate_as_the_table_says(i, j):
    a, b = (hfox_relaxation.draws(TABLE["t_s"][k]) for k in (i, j))
    expected = TABLE["persistent_share"] * math.prod(TABLE["links"][i:j])
    assert covariance(a, b) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=100)
@given(first=st.floats(-2, 9), second=st.floats(-2, 9))
def test_hfox_draws_have_unit_variance_and_persist_the_less_the_later(first, second):
    early, late = (hfox_relaxation.draws(10 ** min(t, 8.4)) for t in sorted((first, second)))
    assert covariance(early, early) == pytest.approx(1)
    assert len(early) <= 4
    if 10 ** abs(first - second) > 1 + 1e-9:
        assert 0 < covariance(early, late) <= TABLE["persistent_share"] + 1e-9


def test_hfox_is_neither_independent_draws_nor_one_scaled_draw():
    # 0.36 between 1 s and 1e5 s was measured over all conductances.
    g = torch.from_numpy(np.random.default_rng(0).uniform(0, 40, 200_000)).float()
    stream = Stream(3, ("layer", "p", "relaxation"))
    one, late = ((HfOxRelaxation()(Cells(g, g, OPEN, t), stream) - g).double().numpy() for t in (1.0, 1e5))
    assert np.corrcoef(one, late)[0, 1] == pytest.approx(0.36, abs=0.05)


@pytest.mark.parametrize(
    "effect", [PowerLawDrift(0.1, 0.05), LogTimeWalk(-0.3, 2.13), CmoRelaxation(), HfOxRelaxation()], ids=repr
)
def test_a_chip_does_not_depend_on_what_other_times_were_asked(effect):
    # Nor is drift drawn again at every read.
    alone = chip(effect, DAY, n=5000)
    for t in (TEN_YEARS, 1.0, HOUR):
        chip(effect, t, n=5000)
    assert np.array_equal(chip(effect, DAY, n=5000), alone)
    assert not np.array_equal(chip(effect, DAY, n=5000, seed=1), alone)


# --- heat ------------------------------------------------------------------------------------------------------------

ROOM, HOT = 298.15, 358.15


@pytest.mark.parametrize(
    ("energy", "golden"),
    [(0.5, 26.05560167782704), (1.0, 678.8943787935831), (1.2, 2501.2819856425344), (1.5, 17689.001515161435)],
)
def test_arrhenius_factor_from_25_to_85_degrees(energy, golden):
    assert acceleration(HOT, energy, ROOM) == pytest.approx(golden, rel=1e-9)
    assert acceleration(ROOM, energy, HOT) == pytest.approx(1 / golden, rel=1e-9)
    assert acceleration(ROOM, energy, ROOM) == 1
    assert acceleration(None, energy, ROOM) == 1


@pytest.mark.parametrize("law", [PowerLawDrift, LogTimeWalk])
def test_a_hot_hour_is_so_many_cool_hours(law):
    hot = law(0.1, 0.05, t0_s=1.0, temperature_K=HOT, activation_energy_eV=1.0, reference_temperature_K=ROOM)
    cool = law(0.1, 0.05, t0_s=1.0)
    later = HOUR * acceleration(HOT, 1.0, ROOM)
    assert chip(hot, HOUR, n=1000) == pytest.approx(chip(cool, later, n=1000), rel=1e-6)
    assert not np.allclose(chip(hot, HOUR, n=1000), chip(cool, HOUR, n=1000))


@pytest.mark.parametrize("law", [PowerLawDrift, LogTimeWalk])
def test_an_activation_energy_is_never_assumed(law):
    with pytest.raises(ValueError, match="activation_energy_eV must be given with a temperature"):
        law(0.1, 0.05, temperature_K=HOT)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((85.0, 1.0, 298.15), "temperature_K must be finite and at least 173.15 K, got 85: give kelvin, degrees Cel"),
        ((358.0, 1.0, float("nan")), "reference_temperature_K must be finite"),
        ((float("inf"), 1.0, 298.15), "temperature_K must be finite"),
        ((358.0, 0.0, 298.15), "activation_energy_eV must lie above 0"),
        ((358.0, 1100.0, 298.15), "at most 10 eV, got 1100: give electronvolts"),
    ],
)
def test_refuses_what_is_no_temperature(arguments, message):
    with pytest.raises(ValueError, match=message):
        acceleration(*arguments)


# --- where the measurements end --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("law", "device"),
    [(HfOxRelaxation, Device(1, 41)), (CmoRelaxation, Device(1, 90)), (CmoRelaxation, Device(9, 100))],
)
def test_another_window_is_refused_unless_scaled(law, device):
    with pytest.raises(ValueError, match=r"got a window of .* set relaxation.scale=true"):
        LayerSpec(device, Differential(), relaxation=law())
    (note,) = LayerSpec(device, Differential(), relaxation=law(scale=True)).notes(HOUR)
    assert f"factor of {device.g_max_uS / (40 if law is HfOxRelaxation else 90):.3g}" in note


def test_scaled_laws_are_the_same_law_in_units_of_g_max():
    twice = Device(0.0, 80.0, edge="none")
    scaled = chip(HfOxRelaxation(scale=True), HOUR, 24.0, device=twice)
    assert np.array_equal(scaled, 2 * chip(HfOxRelaxation(), HOUR, 12.0))
    twice = Device(0.0, 180.0, edge="none")
    change = chip(CmoRelaxation(scale=True), HOUR, 24.0, device=twice) - 24
    assert np.allclose(change, 2 * (chip(CmoRelaxation(), HOUR, 12.0) - 12), atol=1e-4)


def test_scaling_to_the_own_window_changes_nothing():
    assert np.array_equal(chip(HfOxRelaxation(scale=True), HOUR), chip(HfOxRelaxation(), HOUR))


@pytest.mark.parametrize(
    ("law", "t_s", "message"),
    [
        (HfOxRelaxation(), 0.005, "from 0.01 s on, got 0.005 s"),
        (HfOxRelaxation(), 4e8, r"goes on to 10 years, got 4e\+08 s: .*beyond_10y=true"),
        (CmoRelaxation(), 0.5, "from 1 s on, got 0.5 s"),
    ],
)
def test_times_that_a_law_does_not_know_are_refused(law, t_s, message):
    spec = LayerSpec(Device(9.0, 40.0), Differential(), relaxation=law)
    with pytest.raises(ValueError, match=message):
        spec.check_time(t_s)
    with pytest.raises(ValueError, match=message):
        chip(law, t_s)


def test_beyond_ten_years_one_has_to_ask():
    late = chip(HfOxRelaxation(beyond_10y=True), 1e9)
    assert late.std() > chip(HfOxRelaxation(), TEN_YEARS).std()


@pytest.mark.parametrize(
    ("law", "t_s", "note"),
    [
        (HfOxRelaxation(), 1e5, None),
        (HfOxRelaxation(), DAY * 365, "extrapolated over 2.5 decades, it was measured until 100000 s"),
        (HfOxRelaxation(), 0.0, "does nothing at t_s=0"),
        (CmoRelaxation(), 0.0, "does nothing at t_s=0"),
        (CmoRelaxation(), 4e8, "beyond 10 years, is an extrapolation"),
        (LogTimeWalk(-0.3, 2.0, t0_s=10.0), 5.0, "begins at t0_s=10 s, so it does nothing at t_s=5 s"),
        (LogTimeWalk(-0.3, 2.0), 5.0, None),
        (PowerLawDrift(0.1, temperature_K=HOT, activation_energy_eV=1.0), 50.0, "679 times as fast"),
    ],
)
def test_notes_say_what_is_odd(law, t_s, note):
    slot = "drift" if isinstance(law, LogTimeWalk | PowerLawDrift) else "relaxation"
    notes = LayerSpec(Device(9.0, 40.0), Differential(), **{slot: law}).notes(t_s)
    assert [note in text for text in notes] == ([] if note is None else [True])


@dataclass(frozen=True)
class Total:
    """A table of total errors, as those of NeuRRAM at 1 s."""

    version = 1
    kind = "total"
    at_s: float = 1.0

    def __call__(self, cells, rng):
        return cells.target_uS


@pytest.mark.parametrize("law", [HfOxRelaxation(), CmoRelaxation()], ids=repr)
def test_a_total_at_1_s_holds_its_relaxation(law):
    with pytest.raises(ValueError, match="would be counted twice"):
        LayerSpec(Device(9.0, 40.0), Differential(), programming=Total(), relaxation=law)
    LayerSpec(Device(9.0, 40.0), Differential(), programming=Gaussian(0.01), relaxation=law)


@pytest.mark.parametrize("law", [LogTimeWalk(0, 1.0, t0_s=0.5), PowerLawDrift(0.1, t0_s=0.5)], ids=repr)
def test_a_drift_begins_where_a_total_ends(law):
    with pytest.raises(ValueError, match="t0_s >= 1 s, but begins at 0.5 s"):
        LayerSpec(Device(9.0, 40.0), Differential(), programming=Total(), drift=law)
    LayerSpec(Device(9.0, 40.0), Differential(), programming=Total(0.5), drift=law)


# --- traps seen elsewhere --------------------------------------------------------------------------------------------


def test_trap_13_10_the_logarithm_of_cmo_is_natural():
    assert chip(CmoRelaxation(), DAY).mean() - 20 == pytest.approx(-0.0890 * math.log(DAY), abs=0.01)
    assert abs(chip(CmoRelaxation(), DAY).mean() - 20 + 0.0890 * math.log10(DAY)) > 0.5


def test_trap_13_8_an_exponent_means_nothing_without_its_t0():
    assert chip(PowerLawDrift(0.1, t0_s=1e-12), 1.0, n=1)[0] / 20 == pytest.approx(0.063, abs=2e-4)
    assert PowerLawDrift().t0_s == 20.0


@pytest.mark.parametrize(
    "effect", [PowerLawDrift(0.1, 0.02), LogTimeWalk(-0.3, 2.13), CmoRelaxation(), HfOxRelaxation()], ids=repr
)
def test_trap_13_9_every_cell_drifts(effect):
    assert (chip(effect, DAY) != 20).mean() > 0.9999


def test_trap_drift_does_not_replace_the_programming_error():
    written = torch.linspace(1, 39, 1000)
    target = torch.full((1000,), 20.0)
    for effect in (LogTimeWalk(-0.3, 2.13), CmoRelaxation(), HfOxRelaxation(), PowerLawDrift(0.01, 0.001)):
        after = effect(Cells(written, target, OPEN, DAY), Stream(0, ("a", "p", "drift")))
        assert np.corrcoef(after, written)[0, 1] > 0.9


def test_a_new_table_is_a_new_law():
    # The version is part of a point's identity, the table is not: raise HfOxRelaxation.version together with this.
    digest = hashlib.sha256(json.dumps(TABLE, sort_keys=True).encode()).hexdigest()[:12]
    assert (HfOxRelaxation.version, digest) == (1, "08d2dc8b0cef")


def test_sampling_leaves_shapes_and_inputs_alone():
    assert sample(HfOxRelaxation(), 10.0, 20.0, OPEN, HOUR).shape == (200_000,)
    g = torch.rand(3, 4, 5, 5) * 40
    for effect in (HfOxRelaxation(), CmoRelaxation(), LogTimeWalk(0, 1.0), PowerLawDrift(0.1, 0.01)):
        assert effect(Cells(g, g, OPEN, HOUR), Stream(0)).shape == g.shape


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
@pytest.mark.parametrize(
    "make",
    [
        lambda v: PowerLawDrift(0.1, v),
        lambda v: PowerLawDrift(0.1, 0.05, t0_s=v),
        lambda v: LogTimeWalk(0.0, v),
        lambda v: LogTimeWalk(0.0, 1.0, t0_s=v),
        CmoRelaxation,
        HfOxRelaxation,
    ],
    ids=["nu_std", "power t0_s", "variance", "walk t0_s", "cmo strength", "hfox strength"],
)
def test_refuses_what_is_no_number_for_it(make, bad):
    with pytest.raises(ValueError, match=f"got {bad}"):
        make(bad)
