"""The harness that every method goes through: exact on a chip without errors, paired, silent, and of the right sign."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rramsweep import calibration
from rramsweep.calibration import BatchNorm
from rramsweep.devices.streams import Stream
from rramsweep.network.corrections import Corrections
from tests.calibration.lab import FADED, IDEAL, METHODS, POOL, TEST, distance, net, network


@pytest.fixture(params=METHODS)
def method(request):
    return METHODS[request.param]


def test_every_method_goes_through_the_harness():
    kinds = {type(method).__name__ for method in METHODS.values()}
    assert kinds >= set(calibration.METHODS) - {"Ideal"}


@torch.no_grad()
def test_a_chip_without_errors_keeps_the_digital_outputs(method):
    model = net()
    if not isinstance(method, BatchNorm):  # whose statistics are those of few inputs: its gate keeps them away
        method = replace(method, gate=False)
    digital = model(TEST)
    chip = network(model, IDEAL, method).chip(3)(TEST)
    torch.testing.assert_close(chip, digital, rtol=0, atol=2e-5 * float(digital.abs().max()))


@torch.no_grad()
def test_chips_do_not_depend_on_their_order(method):
    model = net()
    one, other = network(model, FADED, method), network(model, FADED, method)
    first = [one.chip(1)(TEST), one.chip(2)(TEST), one.chip(1)(TEST)]
    one.ideal()
    second = [one.chip(2)(TEST), other.chip(2)(TEST), other.chip(1)(TEST)]
    assert torch.equal(first[0], first[2])
    assert torch.equal(first[0], second[2])
    assert torch.equal(first[1], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], first[1])


@torch.no_grad()
def test_digital_and_ideal_outputs_are_those_of_before_a_calibrated_chip(method):
    model = net()
    analog = network(model, FADED, replace(method, gate=False))
    before = analog.digital()(TEST), analog.ideal()(TEST)
    analog.chip(5)
    assert torch.equal(analog.digital()(TEST), before[0])
    assert torch.equal(analog.ideal()(TEST), before[1])


def test_nothing_is_drawn_beyond_the_named_stream(method, monkeypatch):
    names = set()
    generator = Stream.generator

    def recorded(stream):
        names.add((stream.seed, *stream.name))
        return generator(stream)

    monkeypatch.setattr(Stream, "generator", recorded)
    model, state = net(), torch.get_rng_state()
    state = torch.get_rng_state()
    network(model, FADED, None).chip(3)
    plain = set(names)
    network(model, FADED, replace(method, seed=11)).chip(3)
    assert names - plain == {(11, "calibration", "3")}
    assert torch.equal(torch.get_rng_state(), state)


@torch.no_grad()
def test_the_correction_is_of_the_right_sign(method):
    model = net()
    method = replace(method, gate=False)
    analog = network(model, FADED, method)
    plain = distance(network(model, FADED, None).chip(0), model)
    corrected = distance(analog.chip(0), model)
    assert corrected < 0.6 * plain
    corrections = analog.calibrated.corrections
    analog.programmed(0, 0.0)
    analog._installation.install(mirrored(corrections, model))
    assert distance(analog._model, model) > 1.1 * plain


def mirrored(corrections: Corrections, model) -> Corrections:
    """The corrections with every number on the other side of no correction."""

    def other(layer):
        parts = {"scale": None if layer.scale is None else 2 - layer.scale}
        parts |= {name: None if getattr(layer, name) is None else -getattr(layer, name) for name in ("offset", "left")}
        return replace(layer, **parts)

    norms = {}
    for name, statistics in corrections.norms.items():
        norm = model.get_submodule(name)
        var = norm.running_var**2 / statistics.var
        norms[name] = replace(statistics, mean=2 * norm.running_mean - statistics.mean, var=var)
    return Corrections({name: other(layer) for name, layer in corrections.layers.items()}, norms)


def test_inputs_and_cells_vary_apart(method):
    """One chip under two seeds of calibration has other inputs and the same cells; another chip has both."""
    from rramsweep.calibration.chips import ChipCalibration

    drawn = ChipCalibration(method, POOL).inputs(3)
    assert len(drawn) == method.images
    assert len(drawn.flatten(1).unique(dim=0)) == method.images
    assert torch.equal(ChipCalibration(method, POOL).inputs(3), drawn)
    assert not torch.equal(ChipCalibration(replace(method, seed=1), POOL).inputs(3), drawn)
    assert not torch.equal(ChipCalibration(method, POOL).inputs(4), drawn)
    cells = [network(net(), FADED, replace(method, seed=seed)).programmed(3, 0.0)(TEST) for seed in (0, 1)]
    assert torch.equal(*cells)


def test_costs_are_counted(method):
    analog = network(net(), FADED, replace(method, gate=False))
    analog.chip(0)
    found = analog.calibrated.corrections
    # (group, outputs, inputs, positions, batch norm) of each layer.
    shapes = {
        "stem": (1, 8, 27, 64, True),
        "grouped": (2, 4, 36, 64, True),
        "down": (1, 12, 72, 16, True),
        "hidden": (1, 16, 12, 1, False),
        "head": (1, 6, 16, 1, False),
    }
    parameters = macs = 0
    for name, (groups, m, n, positions, folds) in shapes.items():
        layer = found.layers.get(name)
        if layer is None:
            continue
        rank = 0 if layer.left is None else 2
        parameters += groups * rank * (m + n)
        macs += groups * rank * (m + n) * positions
        if not folds:
            parameters += sum(0 if part is None else part.numel() for part in (layer.scale, layer.offset))
            macs += groups * m * positions
    assert (found.extra_parameters, found.extra_macs) == (parameters, macs)
    assert analog.calibrated.seconds > 0
