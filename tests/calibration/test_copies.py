"""Calibration of chips whose weights are means of several cells (`mapping.copies`)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rramsweep.crossbar.mapping import ConstantSum, Differential, Offset, Sliced
from rramsweep.crossbar.programming import LayerSpec
from rramsweep.devices.device import Device
from rramsweep.effects import Gaussian, RelativeDrift, WhiteReadNoise
from tests.calibration.lab import METHODS, TEST, UNLIMITED, distance, net, network

MAPPINGS = {
    "differential": Differential(copies=3),
    "constant_sum": ConstantSum(copies=2),
    "offset": Offset(copies=2),
    "sliced": Sliced("differential", 2, 4, copies=2),
}


@pytest.mark.parametrize("mapping", ["differential", "sliced"])
@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("batchnorm", "custom")])
@torch.no_grad()
def test_copies_without_errors_keep_the_digital_outputs(name, mapping):
    """Slices round to levels: what the level step leaves is no more than before."""
    model, method = net(), replace(METHODS[name], gate=False)
    spec = LayerSpec(UNLIMITED, MAPPINGS[mapping])
    left = distance(network(model, spec, None).chip(3), model)
    assert distance(network(model, spec, method).chip(3), model) <= left + 1e-9


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("name", ["moments", "low_rank", "dora"])
@torch.no_grad()
def test_corrections_fold_into_the_mean_of_the_copies(name, mapping):
    """Effective weights are `diag(scale) (W + B A)` of the weight that is the mean of the copies."""
    model, method = net(), replace(METHODS[name], gate=False)
    spec = LayerSpec(UNLIMITED, MAPPINGS[mapping], drift=RelativeDrift(0.2))
    analog = network(model, spec, method)
    calibrated = {name: weight.clone() for name, weight in analog.chip(2).named_parameters()}
    corrections = analog.calibrated.corrections
    plain = dict(analog.programmed(2, 0.0).named_parameters())
    assert len(corrections.layers) == 5
    for layer, correction in corrections.layers.items():
        folded = correction.weight(plain[f"{layer}.weight"])
        torch.testing.assert_close(calibrated[f"{layer}.weight"], folded, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_behind_a_read_the_mean_of_the_copies_is_corrected_as_in_weights():
    model, method = net(), replace(METHODS["dora"], gate=False)
    spec = LayerSpec(UNLIMITED, MAPPINGS["differential"], drift=RelativeDrift(0.2))
    quiet = replace(spec, read_noise=WhiteReadNoise(1e-7))
    folded, behind = network(model, spec, method).chip(0)(TEST), network(model, quiet, method).chip(0)(TEST)
    torch.testing.assert_close(behind, folded, rtol=0, atol=1e-3 * float(folded.abs().max()))


@torch.no_grad()
def test_copies_average_errors_out_but_not_a_bias_which_calibration_takes_back():
    """Errors cut off at the window shift every cell one way: four copies keep that shift, a fitted scale does not."""
    model = net()

    def left(method, copies, edge="clip"):
        device = Device(1.0, 100.0, edge=edge)
        spec = LayerSpec(device, Differential(copies=copies), programming=Gaussian(0.2), relaxation=Gaussian(0.2))
        return sum(distance(network(model, spec, method).chip(seed), model) for seed in range(3)) / 3

    moments = METHODS["moments"]
    # Without a window's edge the error of the outputs falls with the copies.
    assert left(None, 4, edge="none") < 0.5 * left(None, 1, edge="none")
    assert left(None, 4) > 2 * left(None, 4, edge="none")
    assert left(moments, 4) < 0.5 * left(None, 4)
    assert left(moments, 4) < 0.7 * left(moments, 1)
