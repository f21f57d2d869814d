"""Names that someone may have meant."""

from __future__ import annotations

import pytest

from rramsweep.suggest import nearest, suggest

TECHNOLOGIES = ["custom", "ibm_cmo_hfox", "ihp_hfo2", "neurram", "neurram_relaxing", "pyrram"]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("ibm", ["ibm_cmo_hfox"]),
        ("neurram_", ["neurram_relaxing", "neurram"]),
        ("pyram", ["pyrram"]),
        ("xyz", []),
        ("", []),
    ],
)
def test_what_begins_like_it_comes_before_what_is_spelled_alike(name, near):
    assert nearest(name, TECHNOLOGIES) == near


def test_the_last_part_of_a_column_finds_it():
    assert nearest("relative_drift", ["drift.relative_drift", "seed"])[0] == "drift.relative_drift"


def test_beside_a_name_that_is_nearly_certain_no_guess_is_told():
    drift = ["drift.at_s", "drift.reference", "drift.relative_drift", "drift.temperature_K"]
    assert suggest("drift.relative_drft", drift) == "did you mean drift.relative_drift?"
    assert nearest("relative_drift", [*drift, "drift", "relaxation"]) == ["drift.relative_drift"]


def test_where_none_is_near_all_are_told():
    assert suggest("xyz", TECHNOLOGIES[:2]) == "it has custom, ibm_cmo_hfox"
    assert suggest("xyz", ["self"]) == "it takes none"
    assert suggest("ibm", TECHNOLOGIES) == "did you mean ibm_cmo_hfox?"
