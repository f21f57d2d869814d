"""A chip's conductances come back from their file bit by bit; files of anything else are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from rramsweep import FastPyTorchRRAM
from rramsweep.effects import Stuck
from rramsweep.mapping import ConstantSum, Differential


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
