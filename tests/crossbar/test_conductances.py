"""A chip's conductances come back from their file bit by bit; files of anything else are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from rramsweep import FastPyTorchRRAM
from rramsweep.crossbar.mapping import ConstantSum, Differential, Sliced
from rramsweep.effects import Stuck


def network(width: int = 6) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.Flatten(), nn.Linear(16, width))


def simulator(model=None, **more):
    more = {"G_min": 1e-6, "G_max": 100e-6, "seed": 0, **more}
    return FastPyTorchRRAM(model if model is not None else network(), **more)


def noisy(**more):
    sim = simulator(**more)
    sim.apply_programming_error(alpha_ind=0.03)
    sim.apply_relative_drift(0.2)
    return sim


def edited(path, change):
    """The file again, after `change(arrays, metadata)`."""
    with np.load(path) as file:
        arrays = dict(file)
    metadata = json.loads(str(arrays.pop("metadata")))
    change(arrays, metadata)
    np.savez(path, metadata=np.array(json.dumps(metadata)), **arrays)


@pytest.fixture
def path(tmp_path):
    where = tmp_path / "chip.npz"
    noisy().export_conductances(where)
    return where


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"differential": False},
        {"mapping": ConstantSum("per_channel")},
        {"mapping": Sliced(), "faults": Stuck(0.1, 0.1)},
        {"mapping": Sliced("offset", 1, 8)},
        {"faults": Stuck(0.1, 0.1)},
        {"G_min": 0.0, "edge": "positive"},
    ],
    ids=lambda more: "-".join(more) or "default",
)
def test_a_chip_comes_back_bit_by_bit_on_a_simulator_of_another_seed(tmp_path, more):
    sim, other = noisy(**more), simulator(**{**more, "seed": 1})
    sim.export_conductances(tmp_path / "chip.npz")
    other.import_conductances(tmp_path / "chip.npz")
    for name, cells in sim.conductances.items():
        for cell, g_S in cells.items():
            assert torch.equal(other.conductances[name][cell], g_S)
    expected = sim.get_noisy_model_for_inference().state_dict()
    for name, weight in other.get_noisy_model_for_inference().state_dict().items():
        assert torch.equal(weight, expected[name])


def test_a_layer_that_is_the_whole_network_has_a_file_too(tmp_path):
    sim = simulator(nn.Linear(5, 3))
    sim.apply_programming_error(alpha_ind=0.1)
    sim.export_conductances(tmp_path / "chip.npz")
    weight = sim.get_noisy_model_for_inference().weight
    sim.reset()
    sim.import_conductances(tmp_path / "chip.npz")
    assert torch.equal(sim.get_noisy_model_for_inference().weight, weight)


def test_the_file_says_names_shapes_and_units(path):
    with np.load(path, allow_pickle=False) as file:
        metadata = json.loads(str(file["metadata"]))
        assert {name: file[name].shape for name in file.files if name != "metadata"} == {
            "0/p": (4, 1, 3, 3),
            "0/n": (4, 1, 3, 3),
            "0/full_scale": (1, 1, 1, 1),
            "2/p": (6, 16),
            "2/n": (6, 16),
            "2/full_scale": (1, 1),
        }
        assert {file[name].dtype for name in file.files if name != "metadata"} == {np.dtype("float32")}
        assert 1.0 <= file["2/p"].min() <= file["2/p"].max() <= 100.0
    layer = {"cells": ["n", "p"], "g_min_uS": 1.0, "g_max_uS": 100.0}
    layers = {"0": {"shape": [4, 1, 3, 3], **layer}, "2": {"shape": [6, 16], **layer}}
    assert metadata == {"format": 1, "unit": "uS", "layers": layers}


def test_measured_conductances_give_the_weights_of_the_mapping_also_outside_the_window(path):
    g_uS = np.full((6, 16), 130.0)
    edited(path, lambda arrays, metadata: arrays.update({"2/p": g_uS, "2/n": np.full((6, 16), 20, dtype=np.int64)}))
    sim = simulator()
    sim.import_conductances(path)
    w_max = network()[2].weight.abs().max()
    weight = sim.get_noisy_model_for_inference()[2].weight
    torch.testing.assert_close(weight, (w_max * (130 - 20) / 99).expand(6, 16))


def test_no_stage_follows_an_import_and_reset_simulates_again(path):
    sim = simulator()
    sim.import_conductances(path)
    with pytest.raises(ValueError, match=r"drift was asked for after the import: call reset\(\)"):
        sim.apply_relative_drift(0.1)
    sim.reset()
    sim.apply_programming_error(alpha_ind=0.03)
    sim.apply_relative_drift(0.2)
    assert torch.equal(sim.conductances["2"]["p"], noisy().conductances["2"]["p"])


def put(name, value):
    return lambda arrays, metadata: arrays.update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays, metadata: metadata.update(format=2), "must have format 1, got 2"),
        (lambda arrays, metadata: metadata.update(unit="S"), "conductances in uS, got 'S'"),
        (lambda arrays, metadata: metadata["layers"].pop("2"), r"analog layers \['0', '2'\], got \['0'\]"),
        (lambda arrays, metadata: metadata.pop("layers"), "got None"),
        (lambda arrays, metadata: metadata["layers"]["2"].update(g_max_uS=50.0), "the same network, mapping and win"),
        (lambda arrays, metadata: arrays.pop("2/n"), r"lacks \['2/n'\] and has \[\]"),
        (put("2/x", np.ones(3)), r"has \['2/x'\]"),
        (put("2/p", np.ones((16, 6))), r"shape \(6, 16\), got float64 of shape \(16, 6\)"),
        (put("2/p", np.full((6, 16), 5e-5)), "in uS, but none in 2/p of .* is above 5e-05 .* siemens: multiply by 1e6"),
        (put("2/p", np.full((6, 16), "a")), "must hold 2/p as numbers"),
        (put("2/p", np.full((6, 16), np.nan)), "finite and at least 0, but 96 of 96 in 2/p"),
        (put("2/p", np.full((6, 16), -1e-300)), "finite and at least 0, but 96 of 96 in 2/p"),
        (put("2/p", np.full((6, 16), np.inf)), "finite and at least 0"),
        (put("2/p", np.full((6, 16), None)), "must be a file of exported conductances"),
        (put("2/full_scale", np.ones((1, 1))), "must have the W_max of the network"),
    ],
)
def test_a_wrong_file_is_refused_and_leaves_the_chip_as_it_was(path, change, message):
    edited(path, change)
    sim = noisy()
    before = sim.conductances["2"]["p"]
    with pytest.raises(ValueError, match=message) as error:
        sim.import_conductances(path)
    assert "\n" not in str(error.value)
    assert torch.equal(sim.conductances["2"]["p"], before)


@pytest.mark.parametrize("model", [network(width=7), network()[2]], ids=["shape", "names"])
def test_a_file_of_another_network_is_refused(path, model):
    with pytest.raises(ValueError, match="use the "):
        simulator(model).import_conductances(path)


def test_a_file_of_another_scale_is_refused(path):
    with pytest.raises(ValueError, match="W_max"):
        simulator(mapping=Differential("per_channel")).import_conductances(path)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 broken"])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "chip.npz").write_bytes(content)
    with pytest.raises(ValueError, match="must be a file of exported conductances"):
        simulator().import_conductances(tmp_path / "chip.npz")


def test_a_lone_array_is_refused(tmp_path):
    np.save(tmp_path / "chip.npy", np.ones(3))
    with pytest.raises(ValueError, match="must be a file of exported conductances"):
        simulator().import_conductances(tmp_path / "chip.npy")


# -- conductances in another unit, or of nothing

UNITS = {
    "nS": lambda g_uS: 1e3 * g_uS,
    "pS": lambda g_uS: 1e6 * g_uS,
    "mS": lambda g_uS: 1e-3 * g_uS,
    "S": lambda g_uS: 1e-6 * g_uS,
    "ohm": lambda g_uS: 1e6 / g_uS,
    "kOhm": lambda g_uS: 1e3 / g_uS,
    "MOhm": lambda g_uS: 1 / g_uS,
}


@pytest.mark.parametrize("window", [{}, {"G_min": 50e-6}, {"G_max": 20e-6}, {"G_min": 1e-3, "G_max": 3e-3}], ids=str)
@pytest.mark.parametrize("mapping", [Differential(), ConstantSum()], ids=lambda mapping: type(mapping).__name__)
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("layers", [["0", "2"], ["2"]], ids=["all", "one"])
def test_another_unit_is_refused(tmp_path, unit, mapping, window, layers):
    path = tmp_path / "chip.npz"
    noisy(mapping=mapping, **window).export_conductances(path)
    names = [f"{layer}/{cell}" for layer in layers for cell in "pn"]
    edited(path, lambda arrays, _: arrays.update({n: UNITS[unit](arrays[n].astype(float)) for n in names}))
    sim = simulator(mapping=mapping, **window)
    before = sim.conductances["2"]["p"]
    with pytest.raises(ValueError, match=r"conductances must (be|rise|lie).*: (convert|multiply)") as error:
        sim.import_conductances(path)
    assert "\n" not in str(error.value)
    assert torch.equal(sim.conductances["2"]["p"], before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g_uS: 0 * g_uS, "must not all be 0 where cells were to conduct, but 2/p .* targets of up to 99.7 uS"),
        (lambda g_uS: np.where(g_uS == g_uS.max(), 1e38, g_uS), r"at most 100000 uS, .* but 2/p .* holds 1e\+38"),
        (lambda g_uS: np.where(g_uS == g_uS.max(), 2e5, g_uS), r"at most 100000 uS"),
        (lambda g_uS: 1e3 * g_uS, "half of the cells in 2/p .* above 1e\\+03 times their targets, .* ends at 100 uS"),
    ],
)
def test_zeros_and_values_of_no_cell_are_refused(path, change, message):
    edited(path, lambda arrays, _: arrays.update({"2/p": change(arrays["2/p"].astype(float))}))
    with pytest.raises(ValueError, match=message):
        simulator().import_conductances(path)


def test_p_and_n_exchanged_are_refused(path):
    edited(path, lambda arrays, _: arrays.update({"2/p": arrays["2/n"], "2/n": arrays["2/p"]}))
    with pytest.raises(ValueError, match="of '2' in .* fall .*rank correlation -.*, or like p and n exchanged"):
        simulator().import_conductances(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda g_uS: np.where(np.arange(g_uS.size).reshape(g_uS.shape) % 3 == 0, 0.0, g_uS),  # a third is dead
        lambda g_uS: np.where(np.arange(g_uS.size).reshape(g_uS.shape) == 5, 5000.0, g_uS),  # a short
        lambda g_uS: 0.1 * g_uS,
        lambda g_uS: np.maximum(g_uS, 30.0),
        lambda g_uS: np.full_like(g_uS, 40.0),
    ],
    ids=["dead", "short", "faded", "risen", "flat"],
)
def test_a_measured_chip_that_is_merely_bad_is_taken(path, change):
    edited(path, lambda arrays, _: arrays.update({n: change(arrays[n].astype(float)) for n in ("2/p", "2/n")}))
    sim = simulator()
    sim.import_conductances(path)
    with np.load(path) as file:
        assert torch.equal(sim.conductances["2"]["p"], torch.from_numpy(file["2/p"]).float() * 1e-6)


def test_a_cell_array_whose_targets_are_all_0_may_be_0(tmp_path):
    layer = nn.Linear(5, 3, bias=False)
    with torch.no_grad():
        layer.weight.abs_()
    sim = simulator(layer, G_min=0.0)
    sim.export_conductances(tmp_path / "chip.npz")
    with np.load(tmp_path / "chip.npz") as file:
        assert not file["/n"].any() if "/n" in file.files else True
    sim.import_conductances(tmp_path / "chip.npz")


def test_a_file_that_is_not_there_is_refused_by_its_name(tmp_path):
    for path in (tmp_path / "nowhere.npz", tmp_path):
        with pytest.raises(ValueError, match="path must be an existing file of conductances, got .*: check it"):
            simulator().import_conductances(path)
