"""Every effect against its closed form (physics reference, sections 2.1 and 4), and the harness against mutations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from rramsweep.device import Cells, Device
from rramsweep.effects import Gaussian, Ideal, RelativeDrift
from rramsweep.streams import Stream
from tests.laws import Law, follows

DEVICE = Device(1.0, 100.0, edge="none")


def _normal(name, make, g, target, sd):
    return Law(name, make, g, target, g, sd, stats.norm(g, sd).cdf)


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
]
STRENGTH_ZERO = [Gaussian(), RelativeDrift()]


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
