"""Every notebook runs from top to bottom, and none is committed with outputs."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))

# Names, modules and folder as in a kernel of its own.
BEGIN = """
%reset -f
import sys
for name, module in list(sys.modules.items()):
    place = getattr(module, "__file__", None) or "".join(getattr(module, "__path__", []))
    if place.startswith("{folders}"):
        del sys.modules[name]
del name, module, place, sys
%cd -q {folder}
"""


@pytest.fixture(scope="module")
def kernel():
    """One process for all notebooks, whose imports would take longer than what they compute."""
    manager = AsyncKernelManager()
    yield manager
    if manager.has_kernel:
        asyncio.run(manager.shutdown_kernel(now=True))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs(path, kernel, workdir):
    """With fewer chips and inputs a point where it has many: those make its figures smoother, and run no other line.

    Four chips can show no yield of one half, which takes five: a notebook with such a target sets both in one line.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = re.sub(r"\bchips=\d\d+", "chips=4", cell.source)
        cell.source = re.sub(r"\bdata.limit=\d\d\d+", "data.limit=100", cell.source)
        cell.source = re.sub(r"^CHIPS, YIELD = .*", "CHIPS, YIELD = 5, 0.5", cell.source, flags=re.MULTILINE)
    shutil.copytree(path.parent / "data", workdir / "data")
    notebook.cells.insert(0, nbformat.v4.new_code_cell(BEGIN.format(folder=workdir, folders=workdir.parent)))
    NotebookClient(notebook, kernel, timeout=300).execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_committed_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


def test_there_are_notebooks():
    assert NOTEBOOKS
