"""Energy, area and latency of an inference, as intervals over published constants.

Plain arithmetic on counts of a network's layers and on what a chip's array draws, which `network` finds; no torch, no
pandas. The model, its sources and what it leaves out stand in the README.md of this folder.
"""

from rramsweep.cost.counts import LayerCounts, NetworkCounts
from rramsweep.cost.interval import Interval
from rramsweep.cost.published import COLUMNS, KIND, ChipCost, NoCost, Published

__all__ = ["COLUMNS", "KIND", "ChipCost", "Interval", "LayerCounts", "NetworkCounts", "NoCost", "Published"]
