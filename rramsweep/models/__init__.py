"""The embedded default networks, their trained weights, and loading weights from a file."""

from rramsweep.models.checkpoint import embedded_path, load_checkpoint
from rramsweep.models.networks import DigitsCNN, DigitsMLP, LeNet5, digits_cnn, digits_mlp, lenet5

__all__ = [
    "DigitsCNN",
    "DigitsMLP",
    "LeNet5",
    "digits_cnn",
    "digits_mlp",
    "embedded_path",
    "lenet5",
    "load_checkpoint",
]
