"""Every component of a config, built once: effects, networks, data, metrics, and their texts in identities."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar, cast

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from rramsweep import calibration, cost, datasets, effects, metrics, models
from rramsweep.calibration import Calibration
from rramsweep.construct import OWN, Kind, arguments, build, check_node, fit, inside, resolve
from rramsweep.crossbar import Crossbar, Segments, Sinh, UniformADC, UniformDAC, mapping
from rramsweep.datasets import Data, from_dataset
from rramsweep.datasets.inputs import AnyInputs, Inputs, each_input, tensors
from rramsweep.devices.device import Device
from rramsweep.errors import ValidationError
from rramsweep.groups import STAGES
from rramsweep.identity import describe, flatten
from rramsweep.metrics.scoring import Metric, checked
from rramsweep.models.checkpoint import embedded_path, is_embedded, load_checkpoint, weights_digest
from rramsweep.models.eager import eager
from rramsweep.models.forward import FORWARD_KEYS, adapt, described
from rramsweep.models.pretrained import configuration_digest, transformers_model
from rramsweep.network.arrays import check_weights
from rramsweep.network.batch_norm import Fold, fold_batchnorm, safe_folds

# Number of inputs with which batch norms after layers are found, and reproducible outputs are checked.
SAMPLE_INPUTS = 4

# Key of a data node that is not an argument of its loader: the inputs on which parts of a chip are fitted.
FITTING = "fitting"

# Arguments that a text for `fitting` can replace; the first one that the loader has is taken.
TEXT_REPLACES = ("split", "path", "root")

# Numbers of channels of pictures.
CHANNELS = (1, 3)

T = TypeVar("T")


def _refuse(slot: str, made: Any, target: str, what: str, remedy: str) -> NoReturn:
    shown = f"{target}, which made {type(made).__name__}"
    raise ValidationError(f"must make {what}", remedy, value=target, shown=shown, slot=slot, parameter="_target_")


def _is_a(slot: str, kind: type) -> Callable[[Any, str], None]:
    """Make the check of a slot that accepts one class, and `Ideal` if that is among its names."""

    def check(made: Any, target: str) -> None:
        if not isinstance(made, kind | effects.Ideal):
            _refuse(slot, made, target, f"a {kind.__module__}.{kind.__qualname__}", "return one")

    return check


def _is_mapping(made: Any, target: str) -> None:
    missing = [name for name in ("full_scale", "targets", "weight") if not callable(getattr(made, name, None))]
    if missing:
        what = f"a mapping with {', '.join(missing)}"
        _refuse("mapping", made, target, what, "write it as rramsweep.crossbar.mapping.Differential is written")


def _is_effect(slot: str, *names: str) -> Callable[[Any, str], None]:
    """Make the check of a slot's effects, which must be callable with these positional arguments."""

    def check(made: Any, target: str) -> None:
        try:
            if not isinstance(made, effects.Ideal):
                inspect.signature(made).bind(*names)
        except (TypeError, ValueError):
            what = f"an effect that is called as effect({', '.join(names)})"
            _refuse(slot, made, target, what, "write it as the laws of rramsweep.effects for this slot are written")

    return check


# Accepted targets of each group: names of this package, and the check of the object that a user's own target makes.
KINDS: dict[str, Kind] = {
    "device": Kind("rramsweep.devices", ("Device",), _is_a("device", Device)),
    "mapping": Kind("rramsweep.crossbar", mapping.MAPPINGS, _is_mapping),
    **{stage: Kind("rramsweep.effects", effects.ONCE_A_CHIP, _is_effect(stage, "cells", "rng")) for stage in STAGES},
    "read_noise": Kind("rramsweep.effects", effects.EACH_READ, _is_effect("read_noise", "linear", "x", "layer", "rng")),
    "tile": Kind("rramsweep.crossbar", ("Crossbar", "Ideal"), _is_a("tile", Crossbar)),
    "wires": Kind("rramsweep.crossbar", ("Segments", "Ideal"), _is_a("wires", Segments)),
    "iv": Kind("rramsweep.crossbar", ("Sinh", "Ideal"), _is_a("iv", Sinh)),
    "dac": Kind("rramsweep.crossbar", ("UniformDAC", "Ideal"), _is_a("dac", UniformDAC)),
    "adc": Kind("rramsweep.crossbar", ("UniformADC", "Ideal"), _is_a("adc", UniformADC)),
    "calibration": Kind("rramsweep.calibration", calibration.METHODS, _is_a("calibration", Calibration)),
    "model": Kind("rramsweep.models", models.FACTORIES, lambda made, target: eager(made, f"what {target} returns")),
    "data": Kind("rramsweep.datasets", datasets.LOADERS),
    "metric": Kind("rramsweep.metrics", metrics.METRICS, checked),
    "accelerator": Kind("rramsweep.network", ("Accelerator",)),
    "cost": cost.KIND,
}


class Components:
    """Builds and caches the components of configs; a node is the resolved plain data of a component or of a point.

    Args:
        allow: packages that a `_target_` may name in addition to rramsweep.
        inputs: largest number of inputs of each data set; None takes all.
    """

    def __init__(self, allow: Sequence[str] = (), inputs: int | None = None) -> None:
        self._allow = tuple(allow)
        self._inputs = inputs
        self._kept: dict[tuple[object, ...], Any] = {}
        self._nodes: dict[str, Any] = {}  # the shared node of each text
        self._shared: dict[int, Any] = {}  # the same by id, which is unique while they are held here
        self.notes: dict[str, None] = {}  # on the reading of checkpoints and of inputs to fit on

    def share(self, node: T) -> T:
        """Return the first node with this value, which represents all equal ones and must not be changed any more."""
        if id(node) in self._shared:
            return node
        shared: T = self._nodes.setdefault(json.dumps(node, sort_keys=True), node)
        self._shared[id(shared)] = shared
        return shared

    def keep(self, kind: str, make: Callable[[], T], *nodes: Any) -> T:
        """Return the result of `make` for nodes with these values; it is called the first time only."""
        key = (kind, *[id(node) if id(node) in self._shared else id(self.share(node)) for node in nodes])
        if key not in self._kept:
            self._kept[key] = make()
        kept: T = self._kept[key]
        return kept

    def text(self, group: str, node: Mapping[str, Any]) -> str:
        """Text of a cell component in a point's identity."""
        return self.keep(f"text {group}", lambda: describe(self.component(group, node)), node)

    def flat(self, key: str, node: Any) -> Mapping[str, Any]:
        """The parameters of a node under their override names."""

        # Arguments after conversion to the constructor's types: 1 and 1.0 are one label, as they are one point.
        def typed() -> Mapping[str, Any]:
            if not isinstance(node, Mapping) or "_target_" not in node:
                return flatten({key: node})
            given = arguments(node, key, KINDS[key], self._allow, skip=self._not_arguments(key, node))[1]
            return flatten({key: {**node, **given}})

        return self.keep(f"flat {key}", typed, node)

    def _not_arguments(self, group: str, node: Mapping[str, Any]) -> list[str]:
        """Keys of a model or data node that do not go to its factory."""
        if group != "model":
            return [FITTING] if group == "data" else []
        factory = inspect.signature(resolve(node.get("_target_"), "model", KINDS["model"], self._allow)).parameters
        own = [key for key in FORWARD_KEYS if key not in factory or node.get(key) in (None, {})]
        return ["checkpoint", *own]

    def component(self, group: str, node: Mapping[str, Any], where: str | None = None) -> Any:
        """The object of a cell group; messages name the group or the node's place."""
        return self.keep(group, lambda: build(node, where or group, KINDS[group], self._allow), node)

    def folded(self, node: Mapping[str, Any]) -> nn.Module:
        """The network that is mapped: unchanged, or with its batch norms folded."""
        model = self.network(node["model"])[0]
        if not folds_batchnorm(node):
            return model
        x = self.data(node["data"]).x[:SAMPLE_INPUTS]
        return self.keep("folded", lambda: fold_batchnorm(model, x), node["model"], node["data"])

    def folds(self, node: Mapping[str, Any]) -> list[Fold]:
        """The batch norms that can be folded into the weights of chips."""

        def find() -> list[Fold]:
            return safe_folds(self.folded(node), self.data(node["data"]).x[:SAMPLE_INPUTS])

        return self.keep("folds", find, node["model"], node["data"], folds_batchnorm(node))

    def network(self, node: Mapping[str, Any]) -> tuple[nn.Module, str]:
        """A network with its weights, and the text of both in identities."""
        return self.keep("model", lambda: self._load_network(node), node)

    def _load_network(self, node: Mapping[str, Any]) -> tuple[nn.Module, str]:
        # The factory may draw random weights and set buffers; it must not touch the caller's generator. It is seeded,
        # because a worker must build the same network as the driver.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            skip = self._not_arguments("model", node)
            model = build(node, "model", KINDS["model"], self._allow, skip=skip)
        check_weights(model)
        checkpoint = node.get("checkpoint")
        if checkpoint is not None:
            factory = str(node["_target_"]).rsplit(".", 1)[-1]
            path = embedded_path(factory, checkpoint) if is_embedded(str(checkpoint)) else checkpoint
            self.notes |= dict.fromkeys(load_checkpoint(model, path))
        adapt(model, *(node.get(key) if key in skip else None for key in FORWARD_KEYS))
        # Arguments that change no weight may still change the network's computation.
        given = described(node)
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
        if is_of_transformers(node):  # a folder's weights and configuration count, wherever it lies
            given = {key: value for key, value in given.items() if key not in ("path", "local_files_only")}
            given["configuration"] = configuration_digest(model)
        return model.eval(), f"{describe(given)} sha256 {weights_digest(model)}"

    def data(self, node: Mapping[str, Any]) -> Data:
        """The inputs and targets of a data node."""

        def load() -> Data:
            data = self._load_data(scored, "data")
            return data if self._inputs is None else data.spread(self._inputs)

        scored = self._scored(node)
        return self.keep("data", load, scored)

    def _scored(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        """The part of a data node that makes the scored inputs."""
        return self.keep("scored", lambda: self.share({k: v for k, v in node.items() if k != FITTING}), node)

    def _load_data(self, node: Mapping[str, Any], where: str) -> Data:
        # A Dataset may draw at random; seeded for the same reasons as a network.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            data = build(node, where, KINDS["data"], self._allow)
            if isinstance(data, Dataset | DataLoader):
                data = from_dataset(data)
        if not isinstance(data, Data):
            raise ValueError(
                f"{where}._target_ must return a torch Dataset or rramsweep.datasets.Data, {node['_target_']} "
                f"returned {type(data).__name__}: wrap x and y in Data"
            )
        return data

    def fitting_node(self, node: Mapping[str, Any]) -> dict[str, Any] | None:
        """The data node that `data.fitting` names, None if it is null; checked without loading anything.

        Args:
            node: of the data.

        Raises:
            ValidationError: it is not a text or mapping, or names other arguments than the loader's.
        """
        return self.keep("fitting node", lambda: self._find_fitting_node(node), node)

    def _find_fitting_node(self, node: Mapping[str, Any]) -> dict[str, Any] | None:
        given, scored = node.get(FITTING), self._scored(node)
        if given is None:
            return None
        check_node(scored, "data", KINDS["data"], self._allow)
        target = str(scored["_target_"])
        parameters = inspect.signature(resolve(target, "data", KINDS["data"], self._allow)).parameters
        if FITTING in parameters:
            raise ValidationError(
                f"is not passed to a loader, but {target} takes it",
                "rename its argument",
                slot="data",
                parameter=FITTING,
            )
        if isinstance(given, str) and given:
            replaced = [name for name in TEXT_REPLACES if name in parameters or name in scored]
            if not replaced:
                raise ValidationError(
                    f"must be a mapping of arguments, since {target} has no split, path or root",
                    "give data.fitting={ARGUMENT: VALUE}",
                    value=given,
                    slot="data",
                    parameter=FITTING,
                )
            given = {replaced[0]: given}
        if not isinstance(given, Mapping):
            raise ValidationError(
                "must be null, a text or a mapping of the loader's arguments",
                "name a split or a path, such as data.fitting=train",
                value=given,
                shown=f"{given!r} ({type(given).__name__})",
                slot="data",
                parameter=FITTING,
            )
        # A limit applies to the scored inputs only.
        found = _replaced({key: value for key, value in scored.items() if key != "limit"}, given)
        check_node(found, f"data.{FITTING}", KINDS["data"], self._allow)
        return found

    def fitting(self, node: Mapping[str, Any]) -> Data | None:
        """The inputs on which parts of a chip are fitted: those that `data.fitting` names, without scored ones.

        They are loaded on first use, in the order of their loader and regardless of `inputs`.

        Args:
            node: of the data.

        Returns:
            The inputs, or None if `data.fitting` is null.

        Raises:
            ValidationError: what `fitting_node` or the loader refuses, or all of them are scored, or they are of
                another kind than the scored ones.
        """
        return self.keep(FITTING, lambda: self._load_fitting(node), node)

    def _load_fitting(self, node: Mapping[str, Any]) -> Data | None:
        fitting_node = self.fitting_node(node)
        if fitting_node is None:
            return None
        found = self._load_data(fitting_node, f"data.{FITTING}")
        # With a sample of the scored inputs only, the other scored ones must be left out, too.
        scored = self.data(node) if self._inputs is None else self._load_data(self._scored(node), "data")
        if _forms(found.x) != _forms(scored.x):
            raise ValidationError(
                "must name inputs of the tensors, types and axes that are scored",
                "name a part of the same data",
                shown=f"{_forms(found.x)} where {_forms(scored.x)} is scored",
                slot="data",
                parameter=FITTING,
            )
        given = fitting_text(node)
        left = found.without(scored.x)
        if left is None:
            raise ValidationError(
                "must name inputs that are not scored",
                "name another split, path or Dataset",
                value=node[FITTING],
                shown=f"{given}, whose {len(found):,} inputs all are",
                slot="data",
                parameter=FITTING,
            )
        self.notes |= dict.fromkeys(found.notes)
        if len(left) < len(found):
            n = len(found) - len(left)
            which = "1 is scored and" if n == 1 else f"{n:,} are scored and"
            self.notes[f"data.{FITTING}={given}: of {len(found):,} inputs {which} left out"] = None
        return left

    def fitting_digest(self, node: Mapping[str, Any]) -> str | None:
        """Text of the inputs of `fitting` in the identity of a point whose chips depend on them."""
        found = self.fitting(node)
        return None if found is None else self.keep("fitting digest", found.inputs_digest, node)

    def metric(self, node: Mapping[str, Any]) -> Metric:
        """The metric of a metric node."""
        metric: Metric = self.keep("metric", lambda: build(node, "metric", KINDS["metric"], self._allow), node)
        return metric

    def digest(self, node: Mapping[str, Any]) -> str:
        """Text of a data node in a point's identity."""
        return self.keep("digest", lambda: self.data(node).digest(), self._scored(node))


def fitting_text(node: Mapping[str, Any]) -> str:
    """The `fitting` of a data node in the form of an override."""
    return json.dumps(node.get(FITTING)).replace('"', "")


def _replaced(node: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Replace arguments of a node, also in nested nodes; a given node with a `_target_` replaces the whole node."""
    if "_target_" in given:
        return dict(given)
    changed = dict(node)
    for key, value in given.items():
        old = node.get(key)
        if isinstance(old, Mapping) and "_target_" in old and isinstance(value, Mapping):
            value = _replaced(old, value)
        changed[key] = value
    return changed


def _forms(x: AnyInputs) -> str:
    """Names, types and numbers of axes of tensors, in words."""
    forms = {name: (str(tensor.dtype).removeprefix("torch."), tensor.dim()) for name, tensor in tensors(x).items()}
    return ", ".join(f"{name} of {kind} with {axes} axes" for name, (kind, axes) in sorted(forms.items()))


def is_of_transformers(node: Mapping[str, Any]) -> bool:
    """True for a network of transformers, which its folder describes."""
    target = str(node["_target_"])
    return inside(target, (f"{OWN}.models",)) and target.endswith(f".{transformers_model.__name__}")


def untrained(node: Mapping[str, Any]) -> list[str]:
    """Notes on a model node without a checkpoint, whose network keeps the weights of its factory."""
    if node.get("checkpoint") is not None or (is_of_transformers(node) and node.get("pretrained", True)):
        return []
    target = str(node["_target_"])
    weights = (
        "the network's weights are untrained, and its scores say nothing of a trained one"
        if target.startswith(f"{OWN}.")
        else f"the network's weights are those that {target} makes, untrained unless it loads trained ones itself"
    )
    return [f"model.checkpoint=null: {weights}: give model.checkpoint=FILE"]


def not_accepted(error: Exception, node: Mapping[str, Any], x: AnyInputs) -> str:
    """Message for a network whose forward raised an error on the inputs of a point's data."""
    reason = (str(error).splitlines() or [repr(error)])[0]
    remedy = "choose a model and data that belong together"
    in_file = str(node["data"].get("_target_")) == f"{OWN}.datasets.npz"
    if isinstance(x, Inputs):
        remedy = (
            "name arrays as the arguments of its forward, x where it takes one, or choose some by data.inputs=[...]"
        )
    elif x.is_floating_point() and x.dim() == 3:
        remedy += "; images need an axis of channels, x[:, None], or layout=NHW in an .npz"
    elif x.is_floating_point() and x.dim() == 4 and x.shape[3] in CHANNELS and x.shape[1] not in CHANNELS:
        remedy = "its last axis looks like channels, which come before the pixels: "
        remedy += "set data.layout=NHWC" if in_file else "give x.permute(0, 3, 1, 2)"
    return (
        f"the network must accept the data's inputs, but model {node['model']['_target_']} on inputs of "
        f"{each_input(x)} says {reason!r}: {remedy}"
    )


def folds_batchnorm(node: Mapping[str, Any]) -> bool:
    """True if a point folds batch norms before mapping."""
    return cast(bool, fit(node["analog"].get("fold_batchnorm", False), bool, "analog.fold_batchnorm"))
