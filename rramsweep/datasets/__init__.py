"""Real images to score chips on: embedded ones, and the record that any other set is put in."""

from rramsweep.datasets.arrays import Data
from rramsweep.datasets.embedded import digits, fashion_mnist

__all__ = ["Data", "digits", "fashion_mnist"]
