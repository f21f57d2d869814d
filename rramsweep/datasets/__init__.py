"""Real data to score chips on: embedded sets, a user's own, and the record `Data` that holds any set.

Scores of outputs on the data are in `metrics`.
"""

from rramsweep.datasets.archive import npz
from rramsweep.datasets.arrays import Data
from rramsweep.datasets.embedded import digits, fashion_mnist
from rramsweep.datasets.folder import image_folder
from rramsweep.datasets.inputs import Inputs
from rramsweep.datasets.samples import from_dataset
from rramsweep.datasets.torchvision_sets import cifar10, cifar100, fashion_mnist_full, mnist

__all__ = [
    "Data",
    "Inputs",
    "cifar10",
    "cifar100",
    "digits",
    "fashion_mnist",
    "fashion_mnist_full",
    "from_dataset",
    "image_folder",
    "mnist",
    "npz",
]

# The targets of `data=`: functions that return a `Data`.
LOADERS = tuple(name for name in __all__ if name not in ("Data", "Inputs"))
