"""Closed forms of whole cells, pairs and stages (physics reference, section 12) at parameters drawn by hypothesis.

Moments within 4 standard errors of 200,000 weights (`laws.moments_match`); examples are the same in every run.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from rramsweep.crossbar.mapping import ConstantSum, Differential, Offset
from rramsweep.crossbar.programming import LayerSpec, map_layer, program
from rramsweep.devices.device import Device
from rramsweep.effects import Gaussian, PowerLawDrift, RelativeDrift, Stuck
from tests.laws import N, moments_match

G_MIN, G_MAX = 1.0, 100.0
D = G_MAX - G_MIN
MID = (G_MIN + G_MAX) / 2
OPEN = Device(G_MIN, G_MAX, edge="none")


def programmed(w, device=OPEN, mapping=None, t_s=0.0, **effects):
    """N weights of value w, and one of 1 that fixes the scale, on a chip."""
    weight = torch.full((N + 1,), w)
    weight[-1] = 1.0
    return program(map_layer("fc", weight, LayerSpec(device, mapping or Differential(), **effects)), 3, t_s)


def weights_of(layer):
    return layer.weight()[:-1].double().numpy()


def targets(kind, w):
    """Conductances of a weight's cells, and what a cell's error is multiplied by in the weight."""
    if kind is Differential:
        return [G_MIN + max(w, 0) * D, G_MIN + max(-w, 0) * D], 1 / D
    if kind is ConstantSum:
        return [MID + w * D / 2, MID - w * D / 2], 1 / D
    return [MID + w * D / 2], 2 / D


@pytest.mark.parametrize("kind", [Differential, ConstantSum, Offset])
@settings(max_examples=8)
@given(w=st.floats(-1, 1), write=st.floats(0.01, 0.1), relax=st.floats(0, 0.1), r=st.floats(0, 0.5))
def test_stages_compose_to_their_weight_error(kind, w, write, relax, r):
    # 12.1, 12.4, 12.5: a cell has sigma_a^2 + r^2 (g^2 + sigma_a^2) after proportional drift of what stands
    sigma2 = (write**2 + relax**2) * G_MAX**2
    cells, per_cell = targets(kind, w)
    sd = per_cell * math.sqrt(sum(sigma2 + r**2 * (g**2 + sigma2) for g in cells))
    effects = {"programming": Gaussian(write), "relaxation": Gaussian(relax)}
    layer = programmed(w, mapping=kind(), drift=RelativeDrift(r, "current"), **effects)
    moments_match(weights_of(layer), w, sd)


@settings(max_examples=15)
@given(g=st.floats(G_MIN, G_MAX), s=st.floats(0.5, 30))
def test_a_clipped_cell_has_the_moments_of_a_censored_normal(g, s):
    # 12.2: the first two moments of X ~ N(g, s^2) piled up at L and U
    a, b = (G_MIN - g) / s, (G_MAX - g) / s
    below, above, inside = stats.norm.cdf(a), stats.norm.sf(b), stats.norm.cdf(b) - stats.norm.cdf(a)
    pa, pb = stats.norm.pdf(a), stats.norm.pdf(b)
    mean = G_MIN * below + G_MAX * above + g * inside + s * (pa - pb)
    second = G_MIN**2 * below + G_MAX**2 * above + (g**2 + s**2) * inside + 2 * g * s * (pa - pb)
    second += s**2 * (a * pa - b * pb)
    layer = programmed((g - G_MIN) / D, Device(G_MIN, G_MAX), programming=Gaussian(s / G_MAX))
    moments_match(layer.g_uS["p"][:-1].double().numpy(), mean, math.sqrt(second - mean**2))


@settings(max_examples=10)
@given(w=st.floats(-1, 1), p_lrs=st.floats(0.01, 0.3), p_hrs=st.floats(0.01, 0.3))
def test_stuck_pairs_shrink_the_mean_weight_by_their_rate(w, p_lrs, p_hrs):
    # 12.10: E w' = (1 - p) w exactly, for cells stuck at the edges of the window
    free = 1 - p_lrs - p_hrs
    variance = 0.0
    for g in targets(Differential, w)[0]:
        mean = free * g + p_hrs * G_MIN + p_lrs * G_MAX
        variance += free * g**2 + p_hrs * G_MIN**2 + p_lrs * G_MAX**2 - mean**2
    layer = programmed(w, faults=Stuck(p_lrs, p_hrs))
    moments_match(weights_of(layer), free * w, math.sqrt(variance) / D)


@settings(max_examples=12)
@given(nu=st.floats(0, 0.2), spread=st.floats(0.005, 0.05), decades=st.floats(0.5, 6), g=st.floats(5, 100))
def test_power_law_drift_is_lognormal_at_any_time(nu, spread, decades, g):
    # 12.11, unclipped
    log_t = decades * math.log(10)
    assume(spread * log_t < 0.5)  # beyond, a sample's own fourth moment is no guide
    layer = programmed((g - G_MIN) / D, t_s=20.0 * 10**decades, drift=PowerLawDrift(nu, spread, False, 20.0))
    mean = g * math.exp(-nu * log_t + (spread * log_t) ** 2 / 2)
    second = g**2 * math.exp(-2 * nu * log_t + 2 * (spread * log_t) ** 2)
    moments_match(layer.g_uS["p"][:-1].double().numpy(), mean, math.sqrt(second - mean**2))


@settings(max_examples=8)
@given(w=st.floats(-1, 1), write=st.floats(0.02, 0.1))
def test_the_moments_refuse_five_percent_more(w, write):
    x = weights_of(programmed(w, programming=Gaussian(1.05 * write)))
    with pytest.raises(AssertionError):
        moments_match(x, w, np.sqrt(2) * write * G_MAX / D)
