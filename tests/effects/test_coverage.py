"""Where a fit ends: refused, clamped or scaled, and said so. With the traps that other tools fell into."""

from __future__ import annotations

import pytest
import torch

from rramsweep.cli.composing import compose
from rramsweep.crossbar.mapping import Differential
from rramsweep.crossbar.programming import LayerSpec
from rramsweep.devices.device import Device
from rramsweep.effects import Gaussian, Polynomial, Table
from tests.effects.test_programming import preset, sigma_of
from tests.laws import moments_match, sample

GENERIC = Device(1.0, 100.0, edge="none")
COEFFICIENTS = [1.0, 0.1]


def fit(outside="refuse", low=10.0, high=50.0, **more):
    return Polynomial(COEFFICIENTS, low, high, outside=outside, **more)


@pytest.mark.parametrize("device", [Device(10.0, 50.0), Device(20.0, 30.0), Device(10 - 1e-10, 50 + 1e-10)])
@pytest.mark.parametrize("outside", ["refuse", "clamp"])
def test_a_window_inside_is_taken_as_it_is(device, outside):
    effect = fit(outside)
    effect.check(device)
    assert not effect.notes(device, 0.0)
    assert sigma_of(effect, 25.0, device) == pytest.approx(3.5, rel=1e-5)


@pytest.mark.parametrize("device", [Device(9.0, 50.0), Device(10.0, 51.0), Device(0.0, 100.0), Device(60.0, 70.0)])
def test_a_window_outside_is_refused(device):
    remedy = "set programming.outside=scale, or set programming.outside=clamp$"
    with pytest.raises(ValueError, match=f"programming=Polynomial covers, 10..50 uS, .*{remedy}"):
        LayerSpec(device, Differential(), fit())


def test_clamped_the_nearest_end_holds_and_is_told():
    effect = fit("clamp")
    spec = LayerSpec(GENERIC, Differential(), effect)
    assert sigma_of(effect, 1.0) == pytest.approx(2.0, rel=1e-5)
    assert sigma_of(effect, 90.0) == pytest.approx(6.0, rel=1e-5)
    assert spec.notes(0.0) == [
        "programming=Polynomial was not measured below 10 uS and above 50 uS, where a window of 1..100 uS gets the law "
        "of the nearest end"
    ]


def test_scaled_it_says_by_what_factor():
    device = Device(20.0, 100.0, edge="none")
    effect = fit("scale")
    spec = LayerSpec(device, Differential(), effect)
    assert spec.notes(0.0) == [
        "programming=Polynomial covers 10..50 uS and is scaled by 2 to a window that ends at 100 uS"
    ]
    assert not effect.notes(Device(10.0, 50.0), 0.0)


def test_scaling_keeps_the_ratio_of_the_ends():
    with pytest.raises(
        ValueError, match=r"covers, 20..100 uS after scaling by 2, got 1..100 uS: raise device.g_min_uS"
    ):
        fit("scale").check(GENERIC)


@pytest.mark.parametrize("g_max_uS", [4.0, 40.0, 100.0, 1000.0])
def test_trap_13_6_a_fit_in_uS_is_rescaled_from_its_reference(g_max_uS):
    # AIHWKit's Wan model leaves the polynomial of 40 uS as it is at another g_max.
    k = g_max_uS / 40.0
    effect = preset("wan2022_aihwkit", outside="scale")
    device = Device(0.0, g_max_uS, edge="none")
    for g in (0.1, 0.5, 1.0):
        here, there = sigma_of(effect, g * g_max_uS, device), sigma_of(effect, g * 40.0, Device(0.0, 40.0, edge="none"))
        assert here == pytest.approx(k * there, rel=1e-4)
    x = sample(effect, g_max_uS / 2, g_max_uS / 2, device)
    moments_match(x, g_max_uS / 2, k * 2.0226)


def test_trap_13_7_an_unknown_acceptance_is_refused():
    # AIHWKit's CMO model falls back to 0.2 % where the acceptance is no key of it.
    with pytest.raises(Exception, match="cmo_hfox_1"):
        compose(["programming=cmo_hfox_1", "device=ibm_cmo_hfox"])
    with pytest.raises(Exception, match="cmo_hfox"):
        compose(["programming=cmo_hfox", "device=ibm_cmo_hfox"])
    ratio = sigma_of(preset("cmo_hfox_2"), 50.0) / sigma_of(preset("cmo_hfox_0p2"), 50.0)
    assert 10 < ratio < 11


def test_trap_13_10_alpha_ind_is_a_fraction_of_g_max_not_of_the_window():
    moments_match(sample(Gaussian(0.03), 60.0, 60.0, Device(50.0, 225.0, edge="none")), 60.0, 0.03 * 225)


@pytest.mark.parametrize("relaxation", [Gaussian(0.07), fit()])
def test_trap_13_10_an_error_at_one_second_contains_what_came_before(relaxation):
    # CrossSim's and NeuRRAM's tables are total errors, PyRRAM-Sim's stages are increments.
    device = Device(1.0, 39.0)
    with pytest.raises(ValueError, match="counted twice"):
        LayerSpec(device, Differential(), preset("wan2022"), relaxation)
    LayerSpec(Device(50.0, 225.0), Differential(), preset("milo2021"), Gaussian(0.07))


def test_a_chip_read_before_the_error_was_measured_is_told():
    effect = preset("wan2022")
    device = Device(1.0, 39.0)
    assert effect.notes(device, 0.0) == ["Polynomial is the error at 1 s, so a chip read at 0 s has too much of it"]
    assert not effect.notes(device, 1.0)
    assert not preset("milo2021").notes(Device(50.0, 225.0), 0.0)


def test_cells_beyond_the_window_get_the_law_of_its_end(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("g_uS,mu_uS,sigma_uS\n1,0,1\n100,0,2\n")
    assert sigma_of(Table(str(path)), 130.0) == pytest.approx(2.0, rel=1e-4)
    assert sigma_of(Table(str(path)), -5.0) == pytest.approx(1.0, rel=1e-4)
    assert torch.isfinite(torch.tensor(sigma_of(fit("clamp"), 0.0)))
