"""Every component of a config, built once: effects, networks, data, metrics, and texts that stand for them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from rramsweep import datasets, effects, metrics, models
from rramsweep.construct import OWN, Kind, arguments, build, fit
from rramsweep.crossbar import mapping
from rramsweep.datasets import Data, from_dataset
from rramsweep.devices.device import Device
from rramsweep.errors import ValidationError
from rramsweep.groups import STAGES
from rramsweep.identity import describe, flatten
from rramsweep.metrics.scoring import Metric, checked
from rramsweep.models.checkpoint import embedded_path, load_checkpoint, weights_digest
from rramsweep.models.eager import eager
from rramsweep.network.arrays import check_weights
from rramsweep.network.batch_norm import Fold, fold_batchnorm, safe_folds

# Inputs from which the batch norms behind layers are found, and whether a network is steady.
SAMPLE_INPUTS = 4

# How many channels pictures have.
CHANNELS = (1, 3)

T = TypeVar("T")


def _refuse(slot: str, made: Any, target: str, what: str, remedy: str) -> NoReturn:
    shown = f"{target}, which made {type(made).__name__}"
    raise ValidationError(f"must make {what}", remedy, value=target, shown=shown, slot=slot, parameter="_target_")


def _is_device(made: Any, target: str) -> None:
    if not isinstance(made, Device):
        _refuse("device", made, target, "a rramsweep.devices.device.Device", "return one")


def _is_mapping(made: Any, target: str) -> None:
    lacking = [name for name in ("full_scale", "targets", "weight") if not callable(getattr(made, name, None))]
    if lacking:
        what = f"a mapping with {', '.join(lacking)}"
        _refuse("mapping", made, target, what, "write it as rramsweep.crossbar.mapping.Differential is written")


def _is_effect(slot: str, *names: str) -> Callable[[Any, str], None]:
    """The check of a slot's effects: each is called with so many positional arguments."""

    def check(made: Any, target: str) -> None:
        try:
            if not isinstance(made, effects.Ideal):
                inspect.signature(made).bind(*names)
        except (TypeError, ValueError):
            what = f"an effect that is called as effect({', '.join(names)})"
            _refuse(slot, made, target, what, "write it as the laws of rramsweep.effects for this slot are written")

    return check


# What the target of each group may be: names of this package, and what a user's own must make.
KINDS: dict[str, Kind] = {
    "device": Kind("rramsweep.devices", ("Device",), _is_device),
    "mapping": Kind("rramsweep.crossbar", mapping.MAPPINGS, _is_mapping),
    **{stage: Kind("rramsweep.effects", effects.ONCE_A_CHIP, _is_effect(stage, "cells", "rng")) for stage in STAGES},
    "read_noise": Kind("rramsweep.effects", effects.EACH_READ, _is_effect("read_noise", "linear", "x", "layer", "rng")),
    "model": Kind("rramsweep.models", models.FACTORIES, lambda made, target: eager(made, f"what {target} returns")),
    "data": Kind("rramsweep.datasets", datasets.LOADERS),
    "metric": Kind("rramsweep.metrics", metrics.METRICS, checked),
    "accelerator": Kind("rramsweep.network", ("Accelerator",)),
}


class Components:
    """Builds the components of configs and keeps them; a node is the resolved plain data of one, or of a point.

    Args:
        allow: packages that a `_target_` may name beside rramsweep.
        inputs: so many inputs of each data set at most; None takes all.
    """

    def __init__(self, allow: Sequence[str] = (), inputs: int | None = None) -> None:
        self._allow = tuple(allow)
        self._inputs = inputs
        self._kept: dict[str, Any] = {}
        self.notes: dict[str, None] = {}  # on how checkpoints were read

    def keep(self, kind: str, node: Any, make: Callable[[], T]) -> T:
        """The object of this kind for this node, made now if it is the first time."""
        key = f"{kind} {json.dumps(node, sort_keys=True)}"
        if key not in self._kept:
            self._kept[key] = make()
        kept: T = self._kept[key]
        return kept

    def text(self, group: str, node: Mapping[str, Any]) -> str:
        """A cell component as it stands in a point's identity."""
        return self.keep(f"text {group}", node, lambda: describe(self.component(group, node)))

    def flat(self, key: str, node: Any) -> Mapping[str, Any]:
        """The parameters of a node under their override names."""

        # The arguments as the constructor takes them, so that 1 and 1.0 are one label as they are one point.
        def typed() -> Mapping[str, Any]:
            if not isinstance(node, Mapping) or "_target_" not in node:
                return flatten({key: node})
            given = arguments(node, key, KINDS[key], self._allow, skip=("checkpoint",))[1]
            return flatten({key: {**node, **given}})

        return self.keep(f"flat {key}", node, typed)

    def component(self, group: str, node: Mapping[str, Any], where: str | None = None) -> Any:
        """The object of a cell group; messages name the group, or where the node stands."""
        return self.keep(group, node, lambda: build(node, where or group, KINDS[group], self._allow))

    def folded(self, node: Mapping[str, Any]) -> nn.Module:
        """The network that is mapped: as it is, or with its batch norms folded."""
        model = self.network(node["model"])[0]
        if not folds_batchnorm(node):
            return model
        x = self.data(node["data"]).x[:SAMPLE_INPUTS]
        return self.keep("folded", [node["model"], node["data"]], lambda: fold_batchnorm(model, x))

    def folds(self, node: Mapping[str, Any]) -> list[Fold]:
        """The batch norms that can be taken into the weights of chips."""
        key = [node["model"], node["data"], folds_batchnorm(node)]
        return self.keep("folds", key, lambda: safe_folds(self.folded(node), self.data(node["data"]).x[:SAMPLE_INPUTS]))

    def network(self, node: Mapping[str, Any]) -> tuple[nn.Module, str]:
        """A network with its weights, and the text that stands for both."""
        return self.keep("model", node, lambda: self._load_network(node))

    def _load_network(self, node: Mapping[str, Any]) -> tuple[nn.Module, str]:
        # The factory may draw random weights and set buffers; the caller's generator is none of its business.
        # Seeded, because a worker must build the same network that the driver gave a point to.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = build(node, "model", KINDS["model"], self._allow, skip=("checkpoint",))
        check_weights(model)
        checkpoint = node.get("checkpoint")
        if checkpoint is not None:
            factory = str(node["_target_"]).rsplit(".", 1)[-1]
            path = embedded_path(factory) if checkpoint == "embedded" else checkpoint
            self.notes |= dict.fromkeys(load_checkpoint(model, path))
        # Arguments that leave every weight alone may still change what the network does with them.
        given = {key: value for key, value in node.items() if key != "checkpoint"}
        for name, tensor in model.named_parameters():
            if tensor.is_floating_point() and tensor.dtype != torch.float32:
                raise ValueError(
                    f"weights must be float32, as inputs are, but {name} is {str(tensor.dtype).removeprefix('torch.')}:"
                    " return model.float(); bfloat16 is accelerator.precision"
                )
            if isinstance(tensor, nn.UninitializedParameter):
                raise ValueError(
                    f"a network must have its weights, but {name} is not there before a first forward (a lazy module): "
                    "run the network once in its factory"
                )
            if not tensor.isfinite().all():
                raise ValueError(f"weights must be finite, but {name} holds NaN or infinity: train or load it again")
        return model.eval(), f"{describe(given)} sha256 {weights_digest(model)}"

    def data(self, node: Mapping[str, Any]) -> Data:
        """The inputs and targets of a data node."""

        def load() -> Data:
            # A Dataset may draw at random; seeded for the same reasons as a network.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                data = build(node, "data", KINDS["data"], self._allow)
                if isinstance(data, Dataset):
                    data = from_dataset(data)
            if not isinstance(data, Data):
                raise ValueError(
                    f"data._target_ must return a torch Dataset or rramsweep.datasets.Data, {node['_target_']} "
                    f"returned {type(data).__name__}: wrap x and y in Data"
                )
            return data if self._inputs is None else data.spread(self._inputs)

        return self.keep("data", node, load)

    def metric(self, node: Mapping[str, Any]) -> Metric:
        """The metric of a metric node."""
        metric: Metric = self.keep("metric", node, lambda: build(node, "metric", KINDS["metric"], self._allow))
        return metric

    def digest(self, node: Mapping[str, Any]) -> str:
        """Text of a data node in a point's identity."""
        return self.keep("digest", node, lambda: self.data(node).digest())


def untrained(node: Mapping[str, Any]) -> list[str]:
    """Notes on a model node without a checkpoint, whose network has the weights that its factory gave it."""
    if node.get("checkpoint") is not None:
        return []
    target = str(node["_target_"])
    weights = (
        "the network's weights are untrained, and its scores say nothing of a trained one"
        if target.startswith(f"{OWN}.")
        else f"the network's weights are those that {target} makes, untrained unless it loads trained ones itself"
    )
    return [f"model.checkpoint=null: {weights}: give model.checkpoint=FILE"]


def not_accepted(error: Exception, node: Mapping[str, Any], x: Tensor) -> str:
    """The message on a network whose forward raised on the inputs of a point's data."""
    reason = (str(error).splitlines() or [repr(error)])[0]
    remedy = "choose a model and data that belong together"
    in_file = str(node["data"].get("_target_")) == f"{OWN}.datasets.npz"
    if x.is_floating_point() and x.dim() == 3:
        remedy += "; images need an axis of channels, x[:, None], or layout=NHW in an .npz"
    elif x.is_floating_point() and x.dim() == 4 and x.shape[3] in CHANNELS and x.shape[1] not in CHANNELS:
        remedy = "its last axis looks like channels, which come before the pixels: "
        remedy += "set data.layout=NHWC" if in_file else "give x.permute(0, 3, 1, 2)"
    return (
        f"the network must accept the data's inputs, but model {node['model']['_target_']} on inputs of shape "
        f"{tuple(x.shape[1:])} says {reason!r}: {remedy}"
    )


def folds_batchnorm(node: Mapping[str, Any]) -> bool:
    """Tell whether a point folds batch norms before mapping."""
    return cast(bool, fit(node["analog"].get("fold_batchnorm", False), bool, "analog.fold_batchnorm"))
