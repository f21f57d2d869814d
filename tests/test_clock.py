"""Times as people write them."""

from __future__ import annotations

import pytest

from rramsweep.clock import seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [(0, 0.0), (1.5, 1.5), ("10ms", 0.01), ("1h", 3600.0), ("1d", 86400.0), ("10y", 3.15576e8), ("1e5s", 1e5)],
)
def test_seconds_of_a_text(text, expected):
    assert seconds(text) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), True, None, "1 fortnight", "h", "1.2.3h", "-1h", [1]])
def test_refuses_what_is_no_time(bad):
    with pytest.raises(ValueError, match="must be a time in seconds"):
        seconds(bad)
