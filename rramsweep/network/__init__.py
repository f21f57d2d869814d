"""A PyTorch network on the array: its analog layers, one chip's weights in them, reads, batch norms, inspection.

Cells are programmed in `crossbar`; many chips at many points are run in `simulation`.
"""

from rramsweep.network.accelerator import Accelerator
from rramsweep.network.analog import AnalogNetwork, analog_layers
from rramsweep.network.simulator import FastPyTorchRRAM
from rramsweep.network.validation import validate

__all__ = ["Accelerator", "AnalogNetwork", "FastPyTorchRRAM", "analog_layers", "validate"]
