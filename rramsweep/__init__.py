"""How much accuracy survives on real RRAM compute-in-memory chips, and what would have to improve?

Names load on first use: importing the package is fast, sets nothing, and needs torch for the simulator alone.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "FastPyTorchRRAM": "rramsweep.simulator",
    "validate": "rramsweep.validation",
    "compose": "rramsweep.api",
    "run": "rramsweep.api",
    "sweep": "rramsweep.api",
    "inspect": "rramsweep.layer_report",
    "load": "rramsweep.report",
    "summarize": "rramsweep.summary",
    "compare": "rramsweep.comparison",
    "time_to_failure": "rramsweep.lifetime",
    "plot_robustness": "rramsweep.plots",
    "plot_heatmap": "rramsweep.heatmap_plot",
    "plot_ecdf": "rramsweep.ecdf_plot",
    "plot_yield": "rramsweep.yield_plot",
    "plot_over_time": "rramsweep.time_plot",
    "plot_differences": "rramsweep.difference_plot",
    "figures_for": "rramsweep.figures",
    "plot_inspect": "rramsweep.layer_plot",
    "Device": "rramsweep.device",
    "LayerSpec": "rramsweep.chip",
    "AnalogNetwork": "rramsweep.analog",
    "analog_layers": "rramsweep.analog",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rramsweep' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
