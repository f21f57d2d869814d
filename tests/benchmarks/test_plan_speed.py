"""How long a sweep of 10,000 points waits for its first chip. Prints what it measured; asserts no time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rramsweep.cli.main import main
from rramsweep.simulation import shard

LEVELS = ",".join(str(round(0.005 * i, 4)) for i in range(100))


class FirstChip(BaseException):
    """Ends the run when the first chip is about to begin."""


@pytest.mark.parametrize("network", [["model=digits_mlp", "data=digits"], []], ids=["digits_mlp", "lenet5"])
def test_ten_thousand_points(tmp_path, monkeypatch, network):
    monkeypatch.chdir(tmp_path)
    marks = {}
    save = shard.Plan.save

    def timed_save(plan, folder):
        marks["validated"] = time.perf_counter()
        return save(plan, folder)

    def first(bench, seed):
        marks["first chip"] = time.perf_counter()
        raise FirstChip

    monkeypatch.setattr(shard.Plan, "save", timed_save)
    monkeypatch.setattr(shard, "run_trial", first)
    start = time.perf_counter()
    axes = [f"drift.relative_drift={LEVELS}", f"programming.alpha_ind={LEVELS}"]
    with pytest.raises(FirstChip):
        main(["-m", *network, "technology=pyrram", *axes, "chips=10"])
    (plan,) = Path("outputs/sweep").glob("*/plan.json")
    print(f"\n10,000 points: plan of {plan.stat().st_size / 1e6:.1f} MB")
    for what, when in marks.items():
        print(f"  {what} after {when - start:.1f} s")
