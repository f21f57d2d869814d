"""Mapping of weights to cells, their programming in the order of the stages, tiles, wires, converters, files.

The laws of single stages are in `effects`; which layers of a network go on the array is in `network`.
"""

from rramsweep.crossbar.converters import UniformADC, UniformDAC
from rramsweep.crossbar.current_voltage import Sinh
from rramsweep.crossbar.mapping import ConstantSum, Differential, Offset, Sliced
from rramsweep.crossbar.programming import LayerSpec, ProgrammedLayer
from rramsweep.crossbar.tile import Crossbar
from rramsweep.crossbar.wires import Segments
from rramsweep.effects import Ideal

__all__ = [
    "ConstantSum",
    "Crossbar",
    "Differential",
    "Ideal",
    "LayerSpec",
    "Offset",
    "ProgrammedLayer",
    "Segments",
    "Sinh",
    "Sliced",
    "UniformADC",
    "UniformDAC",
]
