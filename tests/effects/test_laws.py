"""Every effect against its closed form (physics reference, sections 2.1, 4, 5, 8), and the harness against mutations.

A new effect adds its closed form to `LAWS`; `test_every_effect_has_a_law` fails while it has none here or in a table of
its topic's own file.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rramsweep import effects
from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Stream
from rramsweep.effects import Gaussian, GaussianTail, Ideal, RelativeDrift, Stuck, Variation
from tests.effects import test_faults, test_programming, test_read_noise, test_table, test_time_laws, test_variation
from tests.laws import Law, follows

DEVICE = Device(1.0, 100.0, edge="none")


def _normal(name, make, g, target, sd):
    return Law(name, make, g, target, g, sd, stats.norm(g, sd).cdf)


def _clamped(c):
    return math.sqrt(1 - 2 * c * stats.norm.pdf(c) + 2 * (c * c - 1) * stats.norm.sf(c))


def _tail(ind, prop, share, ratio, g):
    sd = math.hypot(ind * 100, prop * g)
    core = sd / math.sqrt(1 - share + share * ratio**2)

    def cdf(x):
        return (1 - share) * stats.norm.cdf(x, g, core) + share * stats.norm.cdf(x, g, ratio * core)

    return Law(
        f"tail {share} {ratio} g={g}", lambda k: GaussianTail(k * ind, k * prop, share, ratio), g, 90.0, g, sd, cdf
    )


def _stuck(p_lrs, p_hrs, g, cv_lrs=0.0, cv_hrs=0.0):
    """12.10 a cell: a mixture of cells at g_max, at g_min, each with its spread, and of those that are not stuck."""
    parts = ((p_lrs, 100.0, cv_lrs), (p_hrs, 1.0, cv_hrs), (1 - p_lrs - p_hrs, g, 0.0))
    mean = sum(p * at for p, at, _ in parts)
    second = sum(p * at**2 * (1 + cv**2) for p, at, cv in parts)

    def make(k):
        return Stuck(k * p_lrs, k * p_hrs, distribution="lognormal", cv_lrs=cv_lrs, cv_hrs=cv_hrs)

    return Law(f"stuck {p_lrs} {p_hrs}", make, g, g, mean, math.sqrt(second - mean**2))


LAWS = [
    *(
        _normal(f"gaussian ind {a} g={g}", lambda k, a=a: Gaussian(alpha_ind=k * a), g, g, a * 100.0)
        for a in (0.03, 0.07)
        for g in (1.0, 50.0)
    ),
    *(
        # g now differs from the target: the error is proportional to the conductance now
        _normal(f"gaussian prop {a} g={g}", lambda k, a=a: Gaussian(alpha_prop=k * a), g, 90.0, a * g)
        for a in (0.05, 0.2)
        for g in (10.0, 80.0)
    ),
    _normal(
        "gaussian both",
        lambda k: Gaussian(alpha_ind=k * 0.03, alpha_prop=k * 0.1),
        40.0,
        40.0,
        np.hypot(3.0, 4.0),
    ),
    *(
        # g now differs from the target: drift is relative to the target
        _normal(f"relative drift {r} target={t}", lambda k, r=r: RelativeDrift(k * r), 30.0, t, r * t)
        for r in (0.1, 0.2, 0.5)
        for t in (1.0, 60.0)
    ),
    _normal("relative drift on the current", lambda k: RelativeDrift(k * 0.2, reference="current"), 30.0, 60.0, 6.0),
    # A clamped normal: E z^2 = 1 - 2 c phi(c) + 2 (c^2 - 1) Phi(-c)
    *(
        Law(f"gaussian clamped at {c}", lambda k, c=c: Gaussian(k * 0.05, z_max=c), 50.0, 50.0, 50.0, 5.0 * _clamped(c))
        for c in (1.0, 3.0)
    ),
    Law("drift clamped at 3", lambda k: RelativeDrift(k * 0.1, z_max=3.0), 50.0, 40.0, 50.0, 4.0 * _clamped(3.0)),
    *(_tail(0.03, 0.0, share, ratio, 40.0) for share, ratio in ((0.134, 3.62), (0.088, 3.07), (0.0, 5.0), (1.0, 2.0))),
    _tail(0.03, 0.2, 0.134, 3.62, 30.0),
    *(_stuck(p_l, p_h, 40.0) for p_l, p_h in ((0.1, 0.05), (0.05, 0.3))),
]
STRENGTH_ZERO = [
    Gaussian(),
    RelativeDrift(),
    RelativeDrift(reference="current"),
    Gaussian(z_max=3.0),
    Stuck(),
    GaussianTail(),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_follows_its_law(law):
    follows(law, law.make(1.0), DEVICE)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_harness_catches_five_percent_more_strength(law):
    with pytest.raises(AssertionError):
        follows(law, law.make(1.05), DEVICE)


@pytest.mark.parametrize(
    ("law", "mutant"),
    [
        (_stuck(0.1, 0.05, 40.0), Stuck(0.05, 0.1)),  # swapped rates
        (_tail(0.03, 0.0, 0.134, 3.62, 40.0), Gaussian(0.03)),
        (_tail(0.03, 0.0, 0.134, 3.62, 40.0), GaussianTail(0.03, 0.0, 0.134, 2.5)),
        (_stuck(0.05, 0.3, 40.0), Stuck(0.05, 0.3 * 0.95)),  # LRS overwrites HRS
        (_stuck(0.05, 0.3, 40.0), Stuck(0.05**2, 0.3**2)),
        (_normal("target", None, 30.0, 60.0, 12.0), RelativeDrift(0.2, reference="current")),
        (_normal("current", None, 30.0, 60.0, 6.0), RelativeDrift(0.2)),
        (_normal("of g_max", None, 30.0, 60.0, 3.0), Gaussian(alpha_prop=0.03)),
        (_normal("of G", None, 30.0, 60.0, 0.9), Gaussian(alpha_ind=0.03)),
    ],
    ids=[
        "swapped",
        "no tail",
        "a narrower tail",
        "overlapping",
        "squared",
        "current for target",
        "target for current",
        "G for g_max",
        "g_max for G",
    ],
)
def test_harness_catches_another_law(law, mutant):
    with pytest.raises(AssertionError):
        follows(law, mutant, DEVICE)


@settings(max_examples=15)
@given(ind=st.floats(0, 0.3), prop=st.floats(0, 0.5), g=st.floats(1, 100), target=st.floats(1, 100))
def test_any_gaussian_follows_its_law(ind, prop, g, target):
    sd = math.hypot(ind * 100, prop * g)
    if sd > 1e-3 * g:  # else float32 rounds the error itself
        effect = Gaussian(ind, prop)
        follows(_normal("any", lambda k: effect, g, target, sd), effect, DEVICE)


@settings(max_examples=15)
@given(
    ind=st.floats(0.01, 0.3), prop=st.floats(0, 0.5), share=st.floats(0, 1), ratio=st.floats(1, 6), g=st.floats(1, 99)
)
def test_any_tail_follows_its_law(ind, prop, share, ratio, g):
    law = _tail(ind, prop, share, ratio, g)
    follows(law, law.make(1.0), DEVICE)


def test_without_a_tail_it_is_gaussian_draw_by_draw():
    g = torch.rand(1000) * 99 + 1
    cells, rng = Cells(g, g.flip(0), DEVICE, 0.0), Stream(1, ("a", "p", "relaxation"))
    for tail in ((0.0, 3.0), (0.5, 1.0)):
        torch.testing.assert_close(GaussianTail(0.03, 0.1, *tail)(cells, rng), Gaussian(0.03, 0.1)(cells, rng))


@pytest.mark.parametrize(
    ("tail", "measured"),
    [((0.134, 3.62), (0.0495, 0.025, 0.0078)), ((0.088, 3.07), (0.029, 0.0125, 0.0031))],
    ids=["1 s", "1e5 s"],
)
def test_the_tail_is_that_of_measured_cells(tail, measured):
    # Physics reference, 3.2: shares beyond 3, 4, 6 robust sigma, to 15 % (the fit has two numbers for three).
    g = torch.full((2_000_000,), 50.0)
    x = (GaussianTail(0.05, 0.0, *tail)(Cells(g, g, DEVICE, 0.0), Stream(0)) - g).double().numpy()
    low, high = np.quantile(x, stats.norm.cdf([-1.0, 1.0]))
    assert 0.56 < (high - low) / 2 / x.std() < 0.87
    for sigmas, share in zip((3, 4, 6), measured, strict=True):
        found = float((np.abs(x) > sigmas * (high - low) / 2).mean())
        assert found == pytest.approx(share, rel=0.15)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianTail(1.5), "alpha_ind must lie in 0..1"),
        (lambda: GaussianTail(0.1, tail_share=-0.1), "tail_share must lie in 0..1"),
        (lambda: GaussianTail(0.1, tail_ratio=0.5), "tail_ratio must be finite and at least 1, got 0.5"),
    ],
)
def test_a_tail_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@settings(max_examples=15)
@given(r=st.floats(0.01, 1), now=st.floats(1, 100), target=st.floats(1, 100), of=st.sampled_from(["target", "current"]))
def test_any_relative_drift_follows_its_law(r, now, target, of):
    effect = RelativeDrift(r, reference=of)
    sd = r * (target if of == "target" else now)
    follows(_normal("any", lambda k: effect, now, target, sd), effect, DEVICE)


@settings(max_examples=15)
@given(
    p_lrs=st.floats(0, 0.5),
    p_hrs=st.floats(0.01, 0.5),
    g=st.floats(5, 95),
    cv_lrs=st.floats(0, 1),
    cv_hrs=st.floats(0, 1),
)
def test_any_stuck_cells_follow_their_law(p_lrs, p_hrs, g, cv_lrs, cv_hrs):
    law = _stuck(p_lrs, p_hrs, g, cv_lrs, cv_hrs)
    follows(law, law.make(1.0), DEVICE)


@settings(max_examples=15)
@given(sigma=st.floats(0.01, 0.5), g=st.floats(1, 100), of=st.sampled_from(["conductance", "g_max"]))
def test_any_variation_from_device_to_device_follows_its_law(sigma, g, of):
    effect = Variation(sigma, of)
    follows(_normal("any", lambda k: effect, g, g, sigma * (g if of == "conductance" else 100.0)), effect, DEVICE)


def test_every_effect_has_a_law():
    tables = (LAWS, test_programming.LAWS, test_time_laws.LAWS, test_variation.LAWS)
    proven = {type(law.make(1.0)) for table in tables for law in table}
    proven |= {type(make(0.1, 0.1)) for make in test_faults.PATTERNS.values()}
    proven |= {type(make(1.0)) for make, *_ in test_read_noise.NOISES.values()}
    proven |= {effects.Table, Ideal}  # from a file: test_table has its laws; nothing to prove
    assert test_table.test_a_table_follows_its_law
    public = {getattr(effects, name) for name in effects.__all__}
    laws = {found for found in public if hasattr(found, "version") and not getattr(found, "_is_protocol", False)}
    assert laws == proven


@pytest.mark.parametrize("effect", STRENGTH_ZERO, ids=repr)
def test_zero_strength_is_ideal_bit_for_bit(effect):
    g = torch.rand(1000) * 99 + 1
    cells = Cells(g, g.flip(0), DEVICE, 0.0)
    rng = Stream(1, ("a", "p", "drift"))
    assert torch.equal(effect(cells, rng), Ideal()(cells, rng))


@pytest.mark.parametrize("bad", [-0.1, 1.01, 7.0, float("nan"), float("inf")])
@pytest.mark.parametrize(
    "make",
    [lambda v: Gaussian(alpha_ind=v), lambda v: Gaussian(alpha_prop=v), RelativeDrift],
    ids=["alpha_ind", "alpha_prop", "relative_drift"],
)
def test_refuses_what_is_no_fraction(make, bad):
    with pytest.raises(ValueError, match="must lie in 0..1"):
        make(bad)


def test_a_percentage_is_told_its_fraction():
    with pytest.raises(ValueError, match=r"for 20 % give 0\.2"):
        RelativeDrift(20.0)
