"""One memory cell: its conductance window, measured tables of it, and named random streams.

What an error does to a cell is in `effects`; how weights become cells is in `crossbar`.
"""

from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Stream

__all__ = ["Cells", "Device", "Stream"]
