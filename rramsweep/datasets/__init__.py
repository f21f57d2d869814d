"""Real data to score chips on: embedded ones, a user's own, and the record that any set is put in."""

from rramsweep.datasets.archive import npz
from rramsweep.datasets.arrays import Data
from rramsweep.datasets.embedded import digits, fashion_mnist

__all__ = ["Data", "digits", "fashion_mnist", "npz"]
