"""Settings that every test shares."""

from __future__ import annotations

import gc
import importlib

import pytest
from hypothesis import settings

# Timings on a shared machine say nothing, and a run must not fail on luck: examples are the same every time.
settings.register_profile("rramsweep", deadline=None, derandomize=True)
settings.load_profile("rramsweep")


def pytest_configure(config):
    """Import what the command does once it needs it; not in the process of pytest-xdist that only hands tests out.

    Were that within a test that has replaced a function, the module would keep the replacement.
    """
    if getattr(config.option, "numprocesses", None):
        return
    # What is imported lives to the end: no search for garbage among it meanwhile takes a sixth of the time.
    gc.disable()
    for module in ("application", "budgeting", "fine_tuning", "layer_report", "sensitivity", "spread"):
        importlib.import_module(f"rramsweep.cli.{module}")
    # Figures take longer than the sweep of a test: one test writes each in all forms, the others for the page alone.
    importlib.import_module("rramsweep.reporting.report").FORMATS = ("svg",)


def pytest_collection_modifyitems(items):
    """Run first the tests that wait for other processes, while there is much else to run beside them."""
    items.sort(key=lambda item: item.get_closest_marker("waits") is None)


def pytest_collection_finish():
    """Keep what is imported by now out of every later garbage collection: nothing of it goes before the end."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """An empty current folder: everything a run writes lands under it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
