"""Refused input as fields: the message is made of them, and what is learned on the way up is a field, not a text."""

from __future__ import annotations

import pickle

import pytest

from rramsweep.construct import build
from rramsweep.errors import NO_VALUE, Sentence, ValidationError, by_law, placed
from rramsweep.simulation.components import KINDS


def test_the_message_is_made_of_its_fields():
    error = ValidationError("must lie in 0..1", "give a fraction", value=2.0, parameter="relative_drift")
    assert str(error) == "relative_drift must lie in 0..1, got 2.0: give a fraction"
    assert str(error.inside("drift")) == "drift.relative_drift must lie in 0..1, got 2.0: give a fraction"
    assert (error.slot, error.parameter, error.value, error.name) == ("drift", "relative_drift", 2.0, error.name)


def test_the_innermost_slot_stays():
    error = ValidationError("must be one", "pick one", slot="analog.layers.late.drift", parameter="reference")
    assert error.inside("analog.layers.late").name == "analog.layers.late.drift.reference"
    assert error.inside("drift").name == "drift.reference"


def test_no_value_is_not_none():
    assert "got None" in str(ValidationError("must be given", "give it", value=None, parameter="path"))
    assert "got" not in str(ValidationError("must be given", "give it", parameter="path"))


def test_a_sentence_names_its_effect_as_far_as_it_is_known():
    note = by_law("{law} ends: set {law.dot}scale=true", "HfOxRelaxation")
    assert note == "HfOxRelaxation ends: set scale=true"
    assert note.placed("relaxation") == "relaxation=HfOxRelaxation ends: set relaxation.scale=true"
    assert note.placed("relaxation").chosen({"relaxation": "hfox", "drift": "x"}).startswith("relaxation=hfox ends")


def test_plain_text_of_a_users_effect_gets_its_name_and_keeps_its_braces():
    assert placed("beyond {1..2} uS", "drift", 1.0) == "drift=float: beyond {1..2} uS"


def test_an_error_survives_the_way_back_from_a_worker():
    remedy = by_law("take another device{devices}", "Table", devices="")
    error = ValidationError("must lie inside", remedy, slot="device", window_uS=(1.0, 2.0))
    again = pickle.loads(pickle.dumps(error)).naming(["generic"])
    assert again.value is NO_VALUE
    assert again.window_uS == (1.0, 2.0)
    assert str(again) == "device must lie inside: take another device (device=generic)"
    assert isinstance(again.remedy, Sentence)


def test_build_adds_where_and_keeps_the_fields():
    with pytest.raises(ValidationError) as caught:
        build(
            {"_target_": "rramsweep.effects.RelativeDrift", "relative_drift": -0.5},
            "analog.layers.late.drift",
            KINDS["drift"],
        )
    assert caught.value.name == "analog.layers.late.drift.relative_drift"
    assert caught.value.value == -0.5
