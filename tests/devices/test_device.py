"""The window, its levels, and what its edge does."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rramsweep.devices.device import Device


@given(
    low=st.floats(0, 50),
    span=st.floats(1, 500),
    step=st.floats(0.01, 1),
    where=st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=50),
)
def test_quantising_is_idempotent_inside_the_window_and_half_a_step_near(low, span, step, where):
    device = Device(low, low + span, step_uS=step)
    g = torch.tensor([low + span * w for w in where])
    level = device.quantise(g)
    inside = g.clamp(device.g_min_uS, device.g_max_uS)
    rounding = 4e-6 * device.g_max_uS
    assert level.min() >= device.g_min_uS
    assert level.max() <= device.g_max_uS
    # A window that is no whole number of steps ends at its last level.
    assert (level - inside).abs().max() <= max(step / 2, span % step) + rounding
    torch.testing.assert_close(device.quantise(level), level, rtol=0, atol=rounding)


def test_pyrram_window_has_991_levels():
    device = Device(1.0, 100.0, step_uS=0.1)
    levels = device.quantise(torch.linspace(1, 100, 200_001)).unique()
    assert len(levels) == 991
    assert levels[0] == 1.0
    assert levels[-1] == 100.0


@pytest.mark.parametrize("levels", [2, 9, 32])
def test_levels_are_equally_spaced_and_reach_both_ends(levels):
    device = Device(50.0, 225.0, levels=levels)
    found = device.quantise(torch.linspace(50, 225, 100_001)).unique()
    torch.testing.assert_close(found, torch.linspace(50, 225, levels))


def test_a_continuous_cell_keeps_its_target():
    g = torch.rand(1000) * 99 + 1
    assert torch.equal(Device(1.0, 100.0).quantise(g), g.clamp(1, 100))


@pytest.mark.parametrize(
    ("edge", "expected"),
    [("clip", [1.0, 1.0, 50.0, 100.0]), ("positive", [0.0, 0.5, 50.0, 120.0]), ("none", None)],
)
def test_edge(edge, expected):
    g = torch.tensor([-3.0, 0.5, 50.0, 120.0])
    expected = g.clone() if expected is None else torch.tensor(expected)
    assert Device(1.0, 100.0, edge=edge).confine_(g) is g
    assert torch.equal(g, expected)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"g_min_uS": 100, "g_max_uS": 1}, "g_min_uS < g_max_uS"),
        ({"g_min_uS": 5, "g_max_uS": 5}, "g_min_uS < g_max_uS"),
        ({"g_min_uS": -1, "g_max_uS": 5}, "g_min_uS < g_max_uS"),
        ({"g_min_uS": 1, "g_max_uS": float("nan")}, "g_min_uS < g_max_uS"),
        ({"g_min_uS": 1, "g_max_uS": float("inf")}, "g_min_uS < g_max_uS"),
        ({"g_min_uS": 1e-6, "g_max_uS": 1e-4}, "looks like siemens"),
        ({"g_min_uS": 1e3, "g_max_uS": 1e6}, "looks like a finer unit"),
        ({"g_min_uS": 1, "g_max_uS": 100, "step_uS": 0.0}, "step_uS must lie in"),
        ({"g_min_uS": 1, "g_max_uS": 100, "step_uS": 100.0}, "step_uS must lie in"),
        ({"g_min_uS": 1, "g_max_uS": 100, "levels": 1}, "levels must be at least 2"),
        ({"g_min_uS": 1, "g_max_uS": 100, "levels": 4, "step_uS": 1.0}, "step_uS or levels"),
        ({"g_min_uS": 1, "g_max_uS": 100, "edge": "reflect"}, "edge must be one of"),
    ],
)
def test_refuses(arguments, says):
    with pytest.raises(ValueError, match=says):
        Device(**arguments)
