"""Declarations of an effect: their defaults, who makes them, and the misspelt ones that are refused."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, fields
from typing import ClassVar

import pytest
import torch

import rramsweep as rs
from rramsweep.crossbar.mapping import Differential
from rramsweep.crossbar.programming import LayerSpec, map_layer, program
from rramsweep.devices.device import Device
from rramsweep.effects import (
    CmoRelaxation,
    EffectBase,
    Gaussian,
    HfOxRelaxation,
    Ideal,
    LogTimeWalk,
    OneOverF,
    Polynomial,
    RandomTelegraphNoise,
    RelativeDrift,
    Stuck,
    StuckClusters,
    StuckLines,
    Table,
    Variation,
    WhiteReadNoise,
    WriteVerify,
)
from rramsweep.effects.protocol import KINDS, declared, is_cellwise
from rramsweep.errors import ValidationError
from rramsweep.identity import describe
from tests.presets import OPTIONS, law_of

YEAR_S = 31_557_600.0
DEFAULTS = {
    "kind": "increment",
    "cellwise": False,
    "silent": False,
    "at_s": 0.0,
    "t0_s": None,
    "until_s": 0.0,
    "measured_until_s": float("inf"),
    "source_range": {},
}


class Plain:
    """An effect of a user's own without the base."""

    version = 1

    def __call__(self, cells, rng):
        return cells.g_uS + rng.normal(cells.g_uS.shape)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_law_declares_itself_and_nothing_of_it_enters_its_identity(group, option, tmp_path):
    law = law_of(group, option, tmp_path)
    assert isinstance(law, EffectBase)
    assert type(law).version >= 1
    assert declared(law, "kind") in KINDS
    parameters = {f.name for f in fields(law)}
    for name in DEFAULTS.keys() - parameters:
        assert f"{name}=" not in repr(law)
        assert f"{name}=" not in describe(law)


@pytest.mark.parametrize(
    ("law", "declarations"),
    [
        (Ideal(), {"cellwise": True, "silent": True}),
        (Gaussian(0.03), {"cellwise": True}),
        (Stuck(0.1), {"cellwise": True}),
        (StuckLines(0.1), {}),
        (StuckClusters(0.01), {}),
        (Variation(0.1), {}),
        (RelativeDrift(0.1), {"cellwise": True}),
        (RelativeDrift(0.0), {"cellwise": True, "silent": True}),
        (WriteVerify(1.0), {"cellwise": True, "kind": "total"}),
        (Polynomial([1.0], 0, 40, at_s=1.0), {"cellwise": True, "kind": "total", "at_s": 1.0}),
        (LogTimeWalk(t0_s=5.0), {"cellwise": True, "t0_s": 5.0}),
        (HfOxRelaxation(), {"cellwise": True, "t0_s": 0.0, "until_s": math.inf, "measured_until_s": 1e5}),
        (CmoRelaxation(), {"cellwise": True, "t0_s": 0.0, "until_s": math.inf, "measured_until_s": 10 * YEAR_S}),
        (WhiteReadNoise(0.1), {}),
        (WhiteReadNoise(), {"silent": True}),
        (OneOverF(), {"silent": True}),
        (RandomTelegraphNoise(tau=0.0), {"silent": True}),
        (Plain(), {}),
    ],
    ids=lambda value: type(value).__name__ if callable(value) else repr(value),
)
def test_what_is_not_declared_has_the_default(law, declarations):
    found = {name: declared(law, name) for name in DEFAULTS if name != "source_range"}
    assert found == {name: value for name, value in (DEFAULTS | declarations).items() if name != "source_range"}
    assert is_cellwise(law) == found["cellwise"]


def test_a_table_declares_by_its_parameters(tmp_path):
    (tmp_path / "law.csv").write_text("g_uS,mu_uS,sigma_uS\n1,0,2\n100,-1,3\n")
    table = Table(str(tmp_path / "law.csv"), kind="total", at_s=2.0)
    assert (declared(table, "kind"), declared(table, "at_s"), declared(table, "t0_s")) == ("total", 2.0, 0.0)


MISSPELT = {
    "celwise": "cellwise",
    "Cellwise": "cellwise",
    "cell_wise": "cellwise",
    "cellwize": "cellwise",
    "Silent": "silent",
    "sillent": "silent",
    "silence": "silent",
    "kinds": "kind",
    "Kind": "kind",
    "t0": "t0_s",
    "T0_s": "t0_s",
    "t0s": "t0_s",
    "at": "at_s",
    "until": "until_s",
    "untill_s": "until_s",
    "verison": "version",
    "source_ranges": "source_range",
    "check_times": "check_time",
    "note": "notes",
}


@pytest.mark.parametrize("base", [EffectBase, Gaussian], ids=lambda base: base.__name__)
@pytest.mark.parametrize("name", MISSPELT)
def test_a_misspelt_declaration_is_refused_when_the_class_is_made(name, base):
    message = f"Mine.{name} is no declaration of an effect: did you mean {MISSPELT[name]}? "
    for body in (
        {name: True},
        {name: True, "__annotations__": {name: "ClassVar[bool]"}},
        {name: True, "__annotations__": {name: ClassVar[bool]}},
        {name: property(lambda self: True)},
        {name: lambda self: True},
    ):
        with pytest.raises(ValidationError, match=f"^{re.escape(message)}"):
            type("Mine", (base,), body)


@pytest.mark.parametrize(("name", "meant"), [("celwise", "cellwise"), ("cell_wise", "cellwise"), ("Silent", "silent")])
def test_a_misspelt_declaration_is_refused_as_a_parameter_too(name, meant):
    with pytest.raises(ValidationError, match=f"did you mean {meant}\\?"):
        type("Mine", (EffectBase,), {name: True, "__annotations__": {name: "bool"}})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("cellwise", "yes", "Mine.cellwise must be True or False, got 'yes' (str)"),
        ("cellwise", 1, "Mine.cellwise must be True or False, got 1 (int)"),
        ("silent", 0, "Mine.silent must be True or False"),
        ("version", "1", "Mine.version must be an integer"),
        ("kind", "totals", "Mine.kind must be one of total, increment, got 'totals': pick one"),
        ("t0_s", "1h", "Mine.t0_s must be a number or None, got '1h'"),
        ("at_s", -1.0, "Mine.at_s must be a time of at least 0 in seconds, got -1.0"),
        ("until_s", math.nan, "Mine.until_s must be a time of at least 0 in seconds, got nan"),
        ("cellwise", property(lambda self: True), "Mine.cellwise must be a class variable with a value"),
        ("source_range", {"relativ_drift": (0.0, 0.2, "words")}, "Mine.source_range must name parameters, got "),
    ],
)
def test_a_declaration_of_another_type_is_refused(name, value, message):
    with pytest.raises(ValidationError, match=f"^{re.escape(message)}"):
        type("Mine", (RelativeDrift,), {name: value})


@pytest.mark.parametrize("name", ["version", "cellwise", "until_s", "source_range"])
def test_what_no_parameter_decides_cannot_be_one(name):
    with pytest.raises(ValidationError, match=f"^Mine.{name} must be a class variable with a value: annotate it as"):
        type("Mine", (EffectBase,), {name: True, "__annotations__": {name: "bool"}})


@pytest.mark.parametrize("more", [{}, {"t0_s": field()}], ids=["bare", "field"])
def test_a_parameter_that_declares_needs_a_default_of_its_own(more):
    with pytest.raises(ValidationError, match=r"^Mine.t0_s must have a default"):
        type("Mine", (EffectBase,), {**more, "__annotations__": {"t0_s": "float"}})


@pytest.mark.parametrize("slots", [False, True])
def test_declarations_may_be_parameters_and_properties(slots):
    @dataclass(frozen=True, slots=slots)
    class Mine(EffectBase):
        version: ClassVar[int] = 1
        tau_s: float = 1.0
        t0_s: float = field(default=2.0, metadata={"added": True})
        kind: str = "increment"
        strength: float = 1.0

        @property
        def silent(self):
            return self.strength == 0

        def __call__(self, cells, rng):
            return cells.g_uS

    assert [declared(Mine(strength=k), "silent") for k in (0, 1)] == [True, False]
    assert (declared(Mine(t0_s=7.0), "t0_s"), declared(Mine(), "t0_s")) == (7.0, 2.0)
    assert repr(Mine()).endswith("Mine(tau_s=1.0, t0_s=2.0, kind='increment', strength=1.0)")


class Offset:
    def __call__(self, cells, rng):
        return cells.g_uS


class Overrides(Gaussian):
    def __call__(self, cells, rng):
        return super().__call__(cells, rng)


class OverridesAndDeclares(Overrides):
    cellwise: ClassVar[bool] = True

    def __call__(self, cells, rng):
        return super().__call__(cells, rng)


class Inherits(Gaussian):
    pass


class Declines(Gaussian):
    cellwise: ClassVar[bool] = False


class MixedIn(Offset, Gaussian):
    pass


class PlainAndCellwise(Plain):
    cellwise = True


class PlainByProperty(Plain):
    @property
    def cellwise(self):
        return False


@pytest.mark.parametrize(
    ("law", "expected"),
    [
        (Inherits(0.1), True),
        (Overrides(0.1), False),
        (OverridesAndDeclares(0.1), True),
        (type("Later", (OverridesAndDeclares,), {})(0.1), True),
        (type("Again", (OverridesAndDeclares,), {"__call__": Plain.__call__})(0.1), False),
        (Declines(0.1), False),
        (MixedIn(0.1), False),
        (Plain(), False),
        (PlainAndCellwise(), True),
        (PlainByProperty(), False),
        (type("Overrides", (PlainAndCellwise,), {"__call__": Plain.__call__})(), False),
    ],
    ids=lambda law: type(law).__name__,
)
def test_a_call_of_its_own_is_cellwise_only_where_it_is_declared_anew(law, expected):
    assert is_cellwise(law) == expected


def test_an_effect_without_the_base_is_accepted_and_its_attributes_count():
    layer = map_layer("a", torch.eye(8), LayerSpec(Device(1.0, 100.0), Differential(), drift=Plain()))
    assert not torch.equal(program(layer, 1).weight(), layer.weight())
    total = type("Total", (Plain,), {"kind": "total"})()
    with pytest.raises(ValueError, match="drift=Total is the total error against the target and must stand alone"):
        LayerSpec(Device(1.0, 100.0), Differential(), programming=Gaussian(0.1), drift=total)
    noise = type("Quiet", (Plain,), {"silent": True})()
    assert not LayerSpec(Device(1.0, 100.0), Differential(), read_noise=noise).noisy_read


@dataclass(frozen=True)
class Unversioned:
    """A law of a user's own that lacks a version."""

    shift_uS: float = 0.0

    def __call__(self, cells, rng):
        return cells.g_uS + self.shift_uS


def test_a_law_without_a_version_is_noted(workdir):
    law = f"programming._target_={__name__}.Unversioned"
    with pytest.warns(UserWarning, match=r"programming: .*Unversioned has no version, so the store goes on answering"):
        rs.sweep(["model=digits_mlp", "data=digits", "data.limit=20", law, f"allow_targets=[{__name__.split('.')[0]}]"])
