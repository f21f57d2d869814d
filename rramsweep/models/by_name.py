"""Networks of torchvision and timm by name, untrained: weights come from a file, as `model.checkpoint`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn

from rramsweep.errors import install
from rramsweep.suggest import suggest

# Arguments that make the collections fetch or read weights themselves.
WEIGHT_ARGUMENTS = ("weights", "weights_backbone", "pretrained", "checkpoint_path")


def torchvision_model(name: str, num_classes: int | None = None, **arguments: Any) -> nn.Module:
    """A classification network of torchvision, untrained.

    torchvision's published weight files load as `model.checkpoint`, including older ones with their former names. The
    weights of GoogLeNet and Inception v3 need `+model.transform_input=true`.

    Args:
        name: as `torchvision.models.list_models(module=torchvision.models)` lists it, e.g. `resnet18`, `vit_b_16`.
        num_classes: number of logits; None takes torchvision's 1000.
        arguments: passed on to the network, e.g. `width_mult` of `mobilenet_v2`.

    Raises:
        ValueError: no such network (with the nearest names), or an argument that would fetch weights.
    """
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(
            f"model.name must be a classification network of torchvision, got {name!r}: {suggest(name, known)}"
        )
    network = cast(nn.Module, models.get_model(name, **_passed_on(num_classes, arguments)))
    if isinstance(network, models.DenseNet):
        network.register_load_state_dict_pre_hook(_rename_dense_layers)
    return network


def timm_model(name: str, num_classes: int | None = None, **arguments: Any) -> nn.Module:
    """A network of timm (PyTorch Image Models, Wightman), untrained; needs the extra `rramsweep[timm]`.

    Args:
        name: as `timm.list_models()` lists it, e.g. `resnet18`; a tag after the dot (`resnet18.a1_in1k`) names weights
            and is only a label.
        num_classes: number of logits; None takes the network's own default.
        arguments: passed on to the network.

    Raises:
        ValueError: timm is not installed, no such network (with the nearest names), or an argument that would fetch
            weights.
    """
    try:
        import timm
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise ValueError(f"model=timm needs timm, which is not installed: {install('timm')}") from None
    known = timm.list_models()
    architecture = name.split(".")[0]
    if architecture not in known:
        raise ValueError(f"model.name must be a network of timm, got {name!r}: {suggest(architecture, known)}")
    network: nn.Module = timm.create_model(name, pretrained=False, **_passed_on(num_classes, arguments))
    return network


def _passed_on(num_classes: int | None, arguments: Mapping[str, Any]) -> dict[str, Any]:
    for key in WEIGHT_ARGUMENTS:
        if key in arguments:
            raise ValueError(
                f"weights must come from a local file, got model.{key}={arguments[key]!r}: give the file as "
                "model.checkpoint=PATH"
            )
    return dict(arguments) if num_classes is None else {**arguments, "num_classes": num_classes}


def _rename_dense_layers(_: nn.Module, state: dict[str, Tensor], *__: Any) -> None:
    # The published files have norm.1 for norm1, which torchvision renames when it fetches them itself.
    for name in list(state):
        new = re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", name)
        if new != name:
            state[new] = state.pop(name)
