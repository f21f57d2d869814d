"""Every effect against its closed form (physics reference, sections 2.1 and 4), and the harness against mutations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from rramsweep.device import Cells, Device
from rramsweep.effects import Gaussian, Ideal, RelativeDrift, Stuck
from rramsweep.streams import Stream
from tests.laws import Law, follows

DEVICE = Device(1.0, 100.0, edge="none")


def _normal(name, make, g, target, sd):
    return Law(name, make, g, target, g, sd, stats.norm(g, sd).cdf)


def _clamped(c):
    return math.sqrt(1 - 2 * c * stats.norm.pdf(c) + 2 * (c * c - 1) * stats.norm.sf(c))


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
    # Two atoms besides the cells that are not stuck: mean and variance of a three-point law
    *(
        Law(
            f"stuck {p_l} {p_h}",
            lambda k, a=p_l, b=p_h: Stuck(k * a, k * b),
            40.0,
            40.0,
            p_l * 100 + p_h * 1 + (1 - p_l - p_h) * 40,
            math.sqrt(
                p_l * 100**2 + p_h * 1 + (1 - p_l - p_h) * 40**2 - (p_l * 100 + p_h * 1 + (1 - p_l - p_h) * 40) ** 2
            ),
        )
        for p_l, p_h in ((0.1, 0.05), (0.05, 0.3))
    ),
]
STRENGTH_ZERO = [Gaussian(), RelativeDrift(), RelativeDrift(reference="current"), Gaussian(z_max=3.0), Stuck()]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_follows_its_law(law):
    follows(law, law.make(1.0), DEVICE)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_harness_catches_five_percent_more_strength(law):
    with pytest.raises(AssertionError):
        follows(law, law.make(1.05), DEVICE)


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
