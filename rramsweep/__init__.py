"""Monte Carlo simulation of trained PyTorch networks on RRAM compute-in-memory chips: the accuracy that survives.

Weights are mapped to memory cells, the errors of many chips are drawn, and each chip is scored. `sweep`, or the command
`rramsweep -m`, runs chips over swept parameters and returns a table; `summarize`, `compare` and the functions
`plot_...` evaluate it. `FastPyTorchRRAM` is a single chip, stage by stage, with PyRRAM-Sim's method names.

    import rramsweep as rs

    drift = "drift.relative_drift"
    frame = rs.sweep(["model=digits_cnn", "data=digits", f"{drift}=0,0.1,0.2", "chips=60"])
    ax = rs.plot_robustness(frame, x=drift)

Public names load on first use, so importing the package is fast and has no side effects; torch is needed by the
simulator only.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_MODULES = {
    "FastPyTorchRRAM": "rramsweep.network.simulator",
    "validate": "rramsweep.network.validation",
    "compose": "rramsweep.cli.api",
    "run": "rramsweep.cli.api",
    "sweep": "rramsweep.cli.api",
    "inspect": "rramsweep.cli.layer_report",
    "sensitivity": "rramsweep.cli.sensitivity",
    "finetune": "rramsweep.cli.fine_tuning",
    "FineTuning": "rramsweep.training",
    "spread": "rramsweep.cli.spread",
    "budget": "rramsweep.cli.budgeting",
    "load": "rramsweep.reporting.report",
    "summarize": "rramsweep.analysis.summary",
    "compare": "rramsweep.analysis.comparison",
    "rank": "rramsweep.analysis.ranking",
    "time_to_failure": "rramsweep.analysis.lifetime",
    "recovered": "rramsweep.analysis.recovery",
    "plot_robustness": "rramsweep.reporting.robustness_plot",
    "plot_heatmap": "rramsweep.reporting.heatmap_plot",
    "plot_ecdf": "rramsweep.reporting.ecdf_plot",
    "plot_yield": "rramsweep.reporting.yield_plot",
    "plot_over_time": "rramsweep.reporting.time_plot",
    "plot_differences": "rramsweep.reporting.difference_plot",
    "plot_recovered": "rramsweep.reporting.recovery_plot",
    "plot_spread": "rramsweep.reporting.spread_plot",
    "plot_budget": "rramsweep.reporting.budget_plot",
    "figures_for": "rramsweep.reporting.figures",
    "caption": "rramsweep.reporting.style",
    "show": "rramsweep.reporting.notebook",
    "plot_inspect": "rramsweep.reporting.layer_plot",
    "plot_sensitivity": "rramsweep.reporting.sensitivity_plot",
    "tile_drop": "rramsweep.cli.layer_report",
    "plot_tile": "rramsweep.reporting.tile_plot",
    "Device": "rramsweep.devices.device",
    "LayerSpec": "rramsweep.crossbar.programming",
    "AnalogNetwork": "rramsweep.network.analog",
    "analog_layers": "rramsweep.network.analog",
}

__all__ = [*_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'rramsweep' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
