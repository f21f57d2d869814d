"""From a point's resolved config to objects, each distinct component built once.

The only place where config nodes meet the simulator: nothing below sees a node, nothing above sees a tensor.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.data import Dataset

from rramsweep.analog import AnalogNetwork, analog_layers
from rramsweep.build import arguments, build, fit, suggest
from rramsweep.chip import LayerSpec
from rramsweep.datasets import Data, from_dataset
from rramsweep.models.checkpoint import embedded_path, load_checkpoint
from rramsweep.models.eager import eager
from rramsweep.plan import GROUPS, Point, describe, flatten, identify
from rramsweep.streams import STREAMS_VERSION
from rramsweep.trial import Answers, Bench, evaluate

# The groups that decide a chip, one for each field of a `LayerSpec`.
CELL_GROUPS = ("device", "mapping", "programming", "relaxation", "drift", "faults", "read_noise")

# Keys of a config that are part of a point.
POINT_KEYS = (*CELL_GROUPS, "analog", "model", "data", "t_s")

METRIC = "top-1 accuracy v1"

T = TypeVar("T")


class Workbench:
    """Builds points and benches, and keeps what they share: networks, data, baselines.

    Args:
        allow: packages that a `_target_` may name beside rramsweep.
        batch_size: images a forward pass; part of the execution plan, not of a point.
    """

    def __init__(self, allow: Sequence[str] = (), batch_size: int = 250) -> None:
        self._allow = tuple(allow)
        self._batch_size = batch_size
        self._kept: dict[str, Any] = {}

    def point(self, config: Mapping[str, Any], choices: Mapping[str, str]) -> Point:
        """The point of a resolved config.

        Args:
            config: plain nested data with at least `POINT_KEYS`.
            choices: `{group: option}` as chosen.

        Raises:
            ValueError: any component refuses its parameters (see `build`), or the network cannot answer the data.
        """
        node = {key: config[key] for key in POINT_KEYS}
        t_s = node["t_s"]
        if isinstance(t_s, bool) or not isinstance(t_s, int | float) or not 0 <= t_s < math.inf:
            raise ValueError(f"t_s must be a time in seconds >= 0, got {t_s!r}: give seconds since programming")
        node["t_s"] = float(t_s)
        _, weights = self._network(node["model"])
        layers = self._layers(node)
        self._digital(node)  # what does not fit together is refused while nothing has run yet
        point_id, text = identify(
            [
                f"streams v{STREAMS_VERSION}",
                f"metric {METRIC}",
                f"network {weights}",
                f"data {self._digest(node['data'])}",
                f"t_s {describe(node['t_s'])}",
                f"layers {describe(layers)}",
                *self._spec_lines(node),
            ]
        )
        params = {k: v for key in POINT_KEYS for k, v in self._flat(key, node[key]).items()}
        return Point(point_id, text, {g: str(choices[g]) for g in GROUPS}, params, node)

    def bench(self, point: Point) -> Bench:
        """A point made ready for its trials.

        Raises:
            ValueError: network and data do not fit each other, a weight is not finite, or the point is no longer
                what it was when it was planned.
        """
        node = point.config
        if self.point(node, point.choices).point_id != point.point_id:
            raise ValueError(
                f"a point must be built as it was planned, but {point.point_id} now has other weights, images or "
                "effects: plan the sweep again"
            )
        model, _ = self._network(node["model"])
        data = self._data(node["data"])
        spec = self._spec(node)
        network = AnalogNetwork(model, dict.fromkeys(self._layers(node), spec), node["t_s"])
        digital = self._digital(node)
        ideal: float = self._keep(
            "ideal",
            [node[key] for key in ("model", "data", "device", "mapping", "analog")],
            lambda: evaluate(network.ideal(), data, self._batch_size).accuracy,
        )
        return Bench(point.point_id, network, data, digital, ideal, self._batch_size)

    def _layers(self, node: Mapping[str, Any]) -> list[str]:
        def find() -> list[str]:
            check_keys(node["analog"], ("include", "exclude"), "analog.")
            patterns = {key: fit(value, list[str], f"analog.{key}") for key, value in node["analog"].items()}
            return analog_layers(self._network(node["model"])[0], **patterns)

        return self._keep("layers", [node["model"], node["analog"]], find)

    def _digital(self, node: Mapping[str, Any]) -> Answers:
        def run() -> Answers:
            model, data = self._network(node["model"])[0], self._data(node["data"])
            try:
                return evaluate(model, data, self._batch_size)
            except RuntimeError as error:
                reason = str(error).splitlines()[0]
                raise ValueError(
                    f"the network must accept the data's images, but model {node['model']['_target_']} on images of "
                    f"shape {tuple(data.x.shape[1:])} says {reason!r}: choose a model and data that belong together"
                ) from None

        return self._keep("digital", [node["model"], node["data"]], run)

    def _spec(self, node: Mapping[str, Any]) -> LayerSpec:
        return LayerSpec(**{group: self._component(group, node[group]) for group in CELL_GROUPS})

    def _spec_lines(self, node: Mapping[str, Any]) -> list[str]:
        # Ideal slots are left out, so that an effect group added later changes no identity of today.
        lines = (f"{group} {self._text(group, node[group])}" for group in CELL_GROUPS)
        return [line for line in lines if not line.split(" ", 1)[1].startswith("Ideal v")]

    def _text(self, group: str, node: Mapping[str, Any]) -> str:
        return self._keep(f"text {group}", node, lambda: describe(self._component(group, node)))

    def _flat(self, key: str, node: Any) -> Mapping[str, Any]:
        # The arguments as the constructor takes them, so that 1 and 1.0 are one label as they are one point.
        def typed() -> Mapping[str, Any]:
            if not isinstance(node, Mapping) or "_target_" not in node:
                return flatten({key: node})
            given = arguments(node, key, self._allow, skip=("checkpoint",))[1]
            return flatten({key: {**node, **given}})

        return self._keep(f"flat {key}", node, typed)

    def _component(self, group: str, node: Mapping[str, Any]) -> Any:
        return self._keep(group, node, lambda: build(node, group, self._allow))

    def _network(self, node: Mapping[str, Any]) -> tuple[nn.Module, str]:
        return self._keep("model", node, lambda: self._load_network(node))

    def _load_network(self, node: Mapping[str, Any]) -> tuple[nn.Module, str]:
        # The factory may draw random weights and set buffers; the caller's generator is none of its business.
        # Seeded, because a worker must build the same network that the driver gave a point to.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = eager(build(node, "model", self._allow, skip=("checkpoint",)), f"what {node['_target_']} returns")
        checkpoint = node.get("checkpoint")
        if checkpoint is not None:
            factory = str(node["_target_"]).rsplit(".", 1)[-1]
            load_checkpoint(model, embedded_path(factory) if checkpoint == "embedded" else checkpoint)
        # Arguments that leave every weight alone may still change what the network does with them.
        given = {key: value for key, value in node.items() if key != "checkpoint"}
        for name, tensor in model.named_parameters():
            if not tensor.isfinite().all():
                raise ValueError(f"weights must be finite, but {name} holds NaN or infinity: train or load it again")
        return model.eval(), f"{describe(given)} sha256 {_weights_digest(model)}"

    def _data(self, node: Mapping[str, Any]) -> Data:
        def load() -> Data:
            # A Dataset may draw at random; seeded for the same reasons as a network.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                data = build(node, "data", self._allow)
                if isinstance(data, Dataset):
                    data = from_dataset(data)
            if not isinstance(data, Data):
                raise ValueError(
                    f"data._target_ must return a torch Dataset or rramsweep.datasets.Data, {node['_target_']} returned "
                    f"{type(data).__name__}: wrap x and y in Data"
                )
            return data

        return self._keep("data", node, load)

    def _digest(self, node: Mapping[str, Any]) -> str:
        return self._keep("digest", node, lambda: self._data(node).digest())

    def _keep(self, kind: str, node: Any, make: Callable[[], T]) -> T:
        key = f"{kind} {json.dumps(node, sort_keys=True)}"
        if key not in self._kept:
            self._kept[key] = make()
        kept: T = self._kept[key]
        return kept


def check_keys(config: Mapping[str, Any], known: Sequence[str], prefix: str = "") -> None:
    """Refuse keys that nothing reads.

    Raises:
        ValueError: names the key and the nearest known ones.
    """
    for key in config:
        if key not in known:
            raise ValueError(f"{prefix}{key} is not a setting of rramsweep: {suggest(key, known)}")


def _weights_digest(model: nn.Module) -> str:
    sha = hashlib.sha256(f"{type(model).__module__}.{type(model).__qualname__}".encode())
    tensors = {**dict(model.named_buffers()), **model.state_dict()}
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        sha.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()[:32]
