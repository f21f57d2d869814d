"""The script that measures a GPU, in its small form on a CPU."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_part_runs_where_there_is_no_gpu(capsys):
    main = runpy.run_path(str(SCRIPT))["main"]
    assert main(["--device", "cpu", "--small"]) == 0
    printed = capsys.readouterr().out
    for part in (
        "the same chips on both",
        "programming one chip",
        "number formats",
        "where memory ends",
        "chips a second",
    ):
        assert part in printed
    assert "2 a pass: 0 inputs" in printed
