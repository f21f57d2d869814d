"""Settings that every test shares."""

from __future__ import annotations

import gc
import importlib

import pytest
from hypothesis import settings

# The command imports these once it needs them. Were that within a test that has replaced a function, they would keep
# the replacement.
for module in ("application", "budgeting", "fine_tuning", "layer_report", "sensitivity", "spread"):
    importlib.import_module(f"rramsweep.cli.{module}")

# Figures take longer than the sweep of a test: one test writes each in all forms, the others for the page alone.
report = importlib.import_module("rramsweep.reporting.report")
FORMATS, report.FORMATS = report.FORMATS, ("svg",)

# Timings on a shared machine say nothing, and a run must not fail on luck: examples are the same every time.
settings.register_profile("rramsweep", deadline=None, derandomize=True)
settings.load_profile("rramsweep")


def pytest_collection_finish():
    """Keep what is imported by now out of every later garbage collection: nothing of it goes before the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """An empty current folder: everything a run writes lands under it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
