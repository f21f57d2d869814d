"""FastPyTorchRRAM with converters: the numbers of a sweep with the same seed and parts."""

import pytest
import torch
from torch import nn

from rramsweep import FastPyTorchRRAM
from rramsweep.calibration import Moments
from rramsweep.crossbar import Crossbar, Differential, LayerSpec, Segments, Sinh, UniformADC, UniformDAC
from rramsweep.devices.device import Device
from rramsweep.devices.streams import Stream
from rramsweep.effects import Gaussian, RelativeDrift
from rramsweep.errors import ValidationError
from rramsweep.network.analog import AnalogNetwork, analog_layers


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10)).eval()


def inputs(name, n=80):
    return Stream(0, (name,)).normal((n, 3, 8, 8))


PARTS = {
    "converters": {"dac": UniformDAC(6), "adc": UniformADC(6, offset_sigma_lsb=0.5, gain_sigma=0.02)},
    "over wires": {"wires": Segments(2.0, 2.0), "dac": UniformDAC(8), "adc": UniformADC(5, percentile=99.0)},
    "a curve": {"dac": UniformDAC(8), "iv": Sinh(0.2, 0.1)},
}


@pytest.mark.parametrize("parts", PARTS)
@torch.inference_mode()
def test_its_chip_is_that_of_a_sweep(parts):
    model, x, fitting = network(), inputs("x"), inputs("fitting")
    given = {"tile": Crossbar(64, 64), **PARTS[parts]}
    simulator = FastPyTorchRRAM(model, 1e-6, 100e-6, seed=3, fitting=fitting, **given)
    simulator.apply_programming_error(0.03)
    simulator.apply_relative_drift(0.1)
    spec = LayerSpec(
        Device(1.0, 100.0, 0.1), Differential(), programming=Gaussian(0.03), drift=RelativeDrift(0.1), **given
    )
    whole = AnalogNetwork(model, dict.fromkeys(analog_layers(model), spec))
    chosen = torch.linspace(0, len(fitting) - 1, 64, dtype=torch.float64).round().long()
    whole.set_ranges(whole.fit_ranges(fitting[chosen]))
    expected = whole.chip(3)(x).clone()
    noisy = simulator.get_noisy_model_for_inference()
    torch.testing.assert_close(noisy(x), expected, rtol=0, atol=0)
    torch.testing.assert_close(simulator.get_noisy_model_for_inference()(x), expected, rtol=0, atol=0)
    assert set(noisy.state_dict()) == set(model.state_dict())
    plain = FastPyTorchRRAM(model, 1e-6, 100e-6, seed=3).get_noisy_model_for_inference()(x)
    assert float((plain - expected).norm() / plain.norm()) > 0.01


def test_fitted_ranges_need_inputs_and_given_ones_do_not():
    with pytest.raises(ValidationError, match=r"fitting must hold inputs to fit the ranges of converters on"):
        FastPyTorchRRAM(network(), 1e-6, 100e-6, adc=UniformADC())
    given = {"dac": UniformDAC(8, "given", 4.0), "adc": UniformADC(8, "given", 10.0)}
    FastPyTorchRRAM(network(), 1e-6, 100e-6, **given).get_noisy_model_for_inference()(inputs("x"))


def test_chips_with_converters_are_calibrated_in_sweeps_alone():
    simulator = FastPyTorchRRAM(network(), 1e-6, 100e-6, adc=UniformADC(8), fitting=inputs("fitting"))
    with pytest.raises(ValidationError, match=r"calibrate is not there for chips with converters"):
        simulator.calibrate(inputs("other"), Moments())
