"""Every device and technology of conf/ builds, and a fit refuses a device that it does not cover."""

from __future__ import annotations

import re

import pytest
import torch

from rramsweep.cli.catalog import conf_dir, read_yaml
from rramsweep.cli.composing import compose, container
from rramsweep.construct import build
from rramsweep.crossbar.programming import LayerSpec, map_layer, program
from rramsweep.groups import CELL_GROUPS
from rramsweep.simulation.components import KINDS

# Physics reference, section 9: every row with a window, in uS, and its levels.
WINDOWS = {
    "neurram": (1, 40, None),
    "levy_a": (0, 240, 32),
    "levy_b": (0, 128, 32),
    "ihp_hfo2": (50, 225, 8),
    "ibm_cmo_hfox": (9, 88.19, None),
    "tsinghua_mcnn": (1, 10, 32),
    "hpe_dpe": (100, 700, 180),
    "ta_hfo2_joksas": (43.6, 978, None),
    "siox_joksas": (0.525, 2.62, None),
    "nist_daffodil": (133, 233, 4),
    "intel_22nm": (9.8, 166.7, 2),
    "winbond_90nm": (1.11, 166.7, 4),
    "isaac": (0.5, 500, 4),
    "prime": (50, 1000, 16),
    "mnsim_default": (1, 100, 2),
    "rao2023": (50, 4144, 2048),
}
MEASURED = ["neurram", "ihp_hfo2", "ibm_cmo_hfox", "nist_daffodil"]


def options(group):
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def spec(overrides):
    config = container(compose(overrides))
    return LayerSpec(**{group: build(config[group], group, KINDS[group]) for group in CELL_GROUPS})


@pytest.mark.parametrize("name", WINDOWS)
def test_a_device_has_the_window_of_its_source(name):
    device = build(read_yaml(conf_dir() / "device" / f"{name}.yaml"), "device", KINDS["device"])
    assert (device.g_min_uS, device.g_max_uS, device.levels) == WINDOWS[name]


def test_every_device_is_in_the_table():
    assert set(options("device")) >= set(WINDOWS)


@pytest.mark.parametrize("name", options("device"))
def test_a_device_says_where_its_numbers_are_from(name):
    comments = re.findall(r"#.*", (conf_dir() / "device" / f"{name}.yaml").read_text())
    assert re.search(r"\[(R|R2|M|X|D)\b", " ".join(comments))


@pytest.mark.parametrize("name", options("technology"))
def test_a_technology_makes_a_chip(name):
    layer = map_layer("fc", torch.linspace(-1, 1, 400).reshape(20, 20), spec([f"technology={name}"]))
    for g_uS in program(layer, 0, t_s=1.0).g_uS.values():
        assert g_uS.isfinite().all()
        assert (g_uS >= 0).all()


@pytest.mark.parametrize("name", MEASURED)
def test_a_measured_technology_covers_its_own_device(name):
    config = container(compose([f"technology={name}"]))
    notes = spec([f"technology={name}"]).notes(t_s=config["t_s"])
    # Few levels, and laws of time just after programming, have a note that is not about the window.
    told = ("leaves the weights of an ideal chip", "does nothing at t_s=0", "has none of it")
    assert [note for note in notes if not any(text in note for text in told)] == []


@pytest.mark.parametrize("name", MEASURED)
def test_a_measured_technology_refuses_another_device(name):
    with pytest.raises(ValueError, match=r"what programming=Polynomial covers, .* got 1..100 uS: take another device"):
        spec([f"technology={name}", "device=generic"])


def test_what_is_not_the_device_may_be_changed():
    made = spec(["technology=ibm_cmo_hfox", "programming=cmo_hfox_2", "drift=relative", "mapping=offset"])
    assert made.programming.coefficients[0] == 0.01121854
    assert type(made.drift).__name__ == "RelativeDrift"
