"""What was built for a node is found again by its value, and by nothing less."""

from __future__ import annotations

import itertools

import pytest

from rramsweep.simulation.components import Components

RELATIVE = {"_target_": "rramsweep.effects.RelativeDrift", "relative_drift": 0.1}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (RELATIVE, dict(RELATIVE), True),
        (RELATIVE, dict(reversed(RELATIVE.items())), True),
        (RELATIVE, {**RELATIVE, "relative_drift": 0.2}, False),
        ({"x": 1}, {"x": 1.0}, False),
        ({"x": 1}, {"x": True}, False),
        ({"x": 0.0}, {"x": -0.0}, False),
        ("1", 1, False),
        ([1, 2], [2, 1], False),
        (None, False, False),
    ],
)
def test_nodes_of_one_value_are_one_node(one, other, same):
    parts = Components()
    made = itertools.count()
    first = parts.keep("kind", lambda: next(made), one)
    assert (parts.keep("kind", lambda: next(made), other) == first) is same
    assert parts.keep("kind", lambda: next(made), one) == first
    assert (parts.share(one) is parts.share(other)) is same
    assert parts.keep("another kind", lambda: next(made), one) != first


def test_nodes_that_are_gone_are_not_mistaken_for_new_ones_in_their_memory():
    parts = Components()
    for i in range(1000):
        assert parts.keep("kind", lambda i=i: i, {"x": i}) == i
        assert parts.keep("kind", lambda: -1, {"x": i}) == i


def test_one_effect_is_built_for_all_that_ask_for_it():
    parts = Components()
    assert parts.component("drift", RELATIVE) is parts.component("drift", dict(RELATIVE))
    assert parts.component("drift", RELATIVE) != parts.component("drift", {**RELATIVE, "relative_drift": 0.2})
