"""Commands that answer without what takes seconds to import: Hydra, OmegaConf, torch, pandas, matplotlib."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rramsweep.study.plan import Point
from rramsweep.study.store import Store

HEAVY = ("hydra", "omegaconf", "torch", "pandas", "matplotlib", "scipy.special", "pyarrow", "numpy")

RUN = f"""
import json, sys
from rramsweep.__main__ import main
try:
    main()
except SystemExit as end:
    code = end.code
else:
    code = 0
print(json.dumps([code, [name for name in {HEAVY} if name in sys.modules]]))
"""


def run(*words: str, **environment: str) -> tuple[int, list[str], str]:
    """Exit status of a command, what of `HEAVY` it imported, and what it printed."""
    command = [sys.executable, "-c", RUN, *words]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    *printed, last = done.stdout.splitlines()
    status, imported = json.loads(last)
    return status, imported, "\n".join(printed) + done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--help"], "to copy"),
        ([], "to copy"),
        (["plan", "--help"], "to copy"),
        (["--version"], "torch"),
        (["list"], "the default"),
        *((["list", group], f"{group}=") for group in ("device", "drift", "model", "hydra/launcher", "experiment")),
        (["inspect", "--help"], "rramsweep inspect"),
        (["report", "--help"], "a sweep's folder"),
        (["store", "--help"], "--compact"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_the_catalog_answers_imports_nothing_heavy(words, says):
    status, imported, printed = run(*words)
    assert (status, imported) == (0, [])
    assert says in printed


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["list", "drfit"], "did you mean drift?"),
        (["stor"], "did you mean store?"),
        (["store", "nowhere"], "there is none at nowhere"),
        (["explain", "abc", "nowhere"], "there is none at nowhere"),
        (["-m"], "-m sweeps over values"),
        (["device=x"], "device has no option 'x'"),
        (["-m", "device=generic,x"], "device has no option 'x'"),
        (["drift=0.1"], "a value of its parameter is written drift.relative_drift=0.1"),
        (["drift.relative_drft=0.1"], "did you mean drift.relative_drift?"),
        (["-m", "experiment=quickstart", "drift.relative_drft=0,0.1"], "did you mean drift.relative_drift?"),
        (["plan", "-m", "chip=3"], "did you mean chips or"),
        (["inspect", "technology=pyram"], "did you mean pyrram?"),
        (["drift.nu_mean=0.1"], "a parameter of drift=power_law"),
        (["drift.relative_drift", "0.1"], "write drift.relative_drift=0.1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistyped_name_is_refused_before_anything_heavy_is_imported(words, says):
    status, imported, printed = run(*words)
    assert (status, imported) == (1, [])
    (line,) = printed.splitlines()
    assert line.startswith("rramsweep: ")
    assert says in line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["drift.relative_drift=0,0.1"], "a single point takes one value"),
        (["model.checkpoint=a(b"], "close its brackets"),
        (["chips=1_000"], "would be read as 1000"),
        (["-m", "drift=choice(ideal,0.1)"], "drift has no option 0.1"),
        (["device=/tmp/x"], "the name alone"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_words_that_hydra_cannot_take_are_refused_before_torch_is_imported(words, says):
    status, imported, printed = run(*words)
    assert status == 1
    assert set(imported) <= {"hydra", "omegaconf", "numpy"}
    (line,) = printed.splitlines()
    assert says in line


@pytest.mark.parametrize("words", [["store"], ["explain", "abc"]], ids=" ".join)
def test_a_store_is_read_by_pyarrow_alone(workdir, words):
    store = Store(Path("outputs/store"))
    store.prepare()
    rows = [{"point_id": "abc", "seed": seed, "status": status} for seed in (0, 1) for status in ("failed", "ok")]
    for row in rows:  # a fragment each
        store.add([row], [Point("abc", "what was hashed", {}, {}, {})])
    status, imported, printed = run(*words)
    assert status == 0
    assert set(imported) <= {"pyarrow", "numpy"}
    assert ("1 points, 2 trials, 0 failed; " if words == ["store"] else "what was hashed") in printed


def test_a_shell_completes_without_torch(workdir):
    line = "rramsweep -m drift.rela"
    status, imported, printed = run("-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
    assert status == 0
    assert set(imported) <= {"hydra", "omegaconf", "numpy"}
    assert printed.split() == ["drift.relative_drift="]
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("rramsweep model=resnet", {f"model=resnet{n}" for n in (20, 32, 44, 56)}),
        ("rramsweep experiment=quick", {"experiment=quickstart"}),
        ("rramsweep -m technology=pyrram programming.alpha_i", {"programming.alpha_ind="}),
        ("rramsweep technology=nowhere programming.alpha_i", set()),
    ],
)
def test_a_shell_completes_options_and_parameters(workdir, line, completed):
    status, _, printed = run("-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
    assert (status, set(printed.split())) == (0, completed)


def test_a_report_imports_no_torch_and_no_hydra():
    status, imported, printed = run("report", "nowhere")
    assert status == 1
    assert not {"torch", "hydra", "omegaconf"} & set(imported)
    assert "nowhere is not a folder" in printed
