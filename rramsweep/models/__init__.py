"""The embedded default networks, networks of torchvision, timm and transformers, and loading of weights from a file.

Layers on the array, and a chip's weights in them, are in `network`.
"""

from rramsweep.models.by_name import timm_model, torchvision_model
from rramsweep.models.checkpoint import embedded_path, load_checkpoint
from rramsweep.models.networks import DigitsCNN, DigitsMLP, LeNet5, digits_cnn, digits_mlp, lenet5
from rramsweep.models.pretrained import transformers_model
from rramsweep.models.resnet_cifar import CifarResNet, resnet20, resnet32, resnet44, resnet56

__all__ = [
    "CifarResNet",
    "DigitsCNN",
    "DigitsMLP",
    "LeNet5",
    "digits_cnn",
    "digits_mlp",
    "embedded_path",
    "lenet5",
    "load_checkpoint",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "timm_model",
    "torchvision_model",
    "transformers_model",
]

# The targets of `model=`: functions that return a network.
FACTORIES = (
    "digits_cnn",
    "digits_mlp",
    "lenet5",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "timm_model",
    "torchvision_model",
    "transformers_model",
    "CifarResNet",
    "DigitsCNN",
    "DigitsMLP",
    "LeNet5",
)
