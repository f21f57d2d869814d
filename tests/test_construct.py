"""From a config node to an object: types, names, and what code a config may name."""

from __future__ import annotations

import pytest

from rramsweep.construct import build, fit, resolve
from rramsweep.devices.device import Device
from rramsweep.simulation.components import KINDS


def test_builds_with_the_constructors_types():
    device = build(
        {"_target_": "rramsweep.devices.device.Device", "g_min_uS": 1, "g_max_uS": 100, "levels": 16.0},
        "device",
        KINDS["device"],
    )
    assert device == Device(1.0, 100.0, levels=16)
    assert isinstance(device.g_min_uS, float)
    assert isinstance(device.levels, int)


@pytest.mark.parametrize(
    ("node", "says"),
    [
        ({}, "device needs a _target_"),
        ({"_target_": "rramsweep.devices.device.Device", "g_min_uS": 1}, "device needs g_max_uS"),
        ({"_target_": "rramsweep.devices.device.Device", "g_min": 1}, "device.g_min is not .* did you mean g_min_uS"),
        (
            {"_target_": "rramsweep.devices.device.Device", "g_min_uS": "low", "g_max_uS": 2},
            "device.g_min_uS must be float, got 'low'",
        ),
        (
            {"_target_": "rramsweep.devices.device.Device", "g_min_uS": 1, "g_max_uS": 9, "levels": 2.5},
            "device.levels must be int or null, got 2.5",
        ),
        (
            {"_target_": "rramsweep.devices.device.Device", "g_min_uS": True, "g_max_uS": 2},
            "g_min_uS must be float, got True",
        ),
        (
            {"_target_": "rramsweep.devices.device.Device", "g_min_uS": 9, "g_max_uS": 2},
            "^device needs 0 <= g_min_uS",
        ),
    ],
)
def test_refuses(node, says):
    with pytest.raises(ValueError, match=says):
        build(node, "device", KINDS["device"])


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "torch.load",
        "subprocess.run",
        "rramsweepx.device.Device",
        "rramsweep.simulation.trial.torch.load",
        "rramsweep.construct.importlib.import_module",
        "rramsweep.study.store.os.system",
        "rramsweep.models.checkpoint.torch.hub.load",
    ],
)
def test_code_outside_the_allowed_packages_is_refused(name):
    with pytest.raises(ValueError, match=r"model._target_ must be a target of rramsweep.models"):
        resolve(name, "model", KINDS["model"])


def test_an_allowed_package_opens_itself_alone():
    assert resolve("collections.OrderedDict", "model", KINDS["model"], ["collections"])
    with pytest.raises(ValueError, match="comes from 'sys'"):
        resolve("collections._sys.exit", "model", KINDS["model"], ["collections"])


@pytest.mark.parametrize(
    "name", ["rramsweep.devices.device.Devise", "rramsweep.no.such", "rramsweep.devices.device.EDGES"]
)
def test_a_name_that_is_not_there_or_cannot_be_called(name):
    with pytest.raises(ValueError, match="must be a target of rramsweep.devices or of a package"):
        resolve(name, "device", KINDS["device"])


def test_a_near_name_is_suggested():
    with pytest.raises(ValueError, match="did you mean Device"):
        resolve("rramsweep.devices.device.Devise", "device", KINDS["device"])


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [(1, float, 1.0), (2.0, int, 2), (None, float | None, None), ([1], list[int], [1]), ("x", str, "x")],
)
def test_fit(value, hint, expected):
    fitted = fit(value, hint, "here")
    assert fitted == expected
    assert type(fitted) is type(expected)


@pytest.mark.parametrize(("value", "hint"), [(None, float), ("1", float), (1, bool), (True, int), (0.5, int), (3, str)])
def test_fit_bends_nothing_else(value, hint):
    with pytest.raises(ValueError, match="here must be"):
        fit(value, hint, "here")
