"""Times as people write them."""

from __future__ import annotations

import pytest

from rramsweep.units import in_words, seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [(0, 0.0), (1.5, 1.5), ("10ms", 0.01), ("1h", 3600.0), ("1d", 86400.0), ("10y", 3.15576e8), ("1e5s", 1e5)],
)
def test_seconds_of_a_text(text, expected):
    assert seconds(text) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("t_s", "words"),
    [
        (0.0, "0 s"),
        (1e-9, "0.001 us"),
        (0.01, "10 ms"),
        (1.0, "1 s"),
        (90.0, "1.5 min"),
        (86400.0, "1 d"),
        (604800.0, "7 d"),
        (3.15576e8, "10 y"),
    ],
)
def test_words_of_a_time_are_read_back(t_s, words):
    assert in_words(t_s) == words
    assert seconds(words) == pytest.approx(t_s, rel=1e-5)


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), True, None, "1 fortnight", "h", "1.2.3h", "-1h", [1]])
def test_refuses_what_is_no_time(bad):
    with pytest.raises(ValueError, match="must be a time in seconds"):
        seconds(bad)
