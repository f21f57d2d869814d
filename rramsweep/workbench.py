"""From a point's resolved config to objects, each distinct component built once.

The only place where config nodes meet the simulator: nothing below sees a node, nothing above sees a tensor.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.data import Dataset

from rramsweep.analog import AnalogNetwork
from rramsweep.arrays import private_copy
from rramsweep.build import arguments, build
from rramsweep.chip import LayerSpec
from rramsweep.clock import seconds
from rramsweep.datasets import Data, from_dataset
from rramsweep.inspection import notes_of
from rramsweep.layers import CELL_GROUPS, changed, layer_rules
from rramsweep.metrics import Metric, checked, identity, scale_of
from rramsweep.models.checkpoint import embedded_path, load_checkpoint, weights_digest
from rramsweep.models.eager import eager
from rramsweep.plan import GROUPS, Point, describe, flatten, identify
from rramsweep.shares import describe_shares, shares
from rramsweep.streams import STREAMS_VERSION
from rramsweep.trial import Answers, Bench, evaluate

# Keys of a config that are part of a point.
POINT_KEYS = (*CELL_GROUPS, "analog", "model", "data", "metric", "t_s")

T = TypeVar("T")


class Workbench:
    """Builds points and benches, and keeps what they share: networks, data, baselines.

    Args:
        allow: packages that a `_target_` may name beside rramsweep.
        batch_size: images a forward pass; part of the execution plan, not of a point.
        inputs: so many inputs of the data at most (points are then others than a sweep's); None takes all.
    """

    def __init__(self, allow: Sequence[str] = (), batch_size: int = 250, inputs: int | None = None) -> None:
        self._allow = tuple(allow)
        self._batch_size = batch_size
        self._inputs = inputs
        self._kept: dict[str, Any] = {}
        self._notes: dict[str, None] = {}

    def point(self, config: Mapping[str, Any], choices: Mapping[str, str]) -> Point:
        """The point of a resolved config.

        Args:
            config: plain nested data with at least `POINT_KEYS`.
            choices: `{group: option}` as chosen.

        Raises:
            ValueError: any component refuses its parameters (see `build`), the network cannot answer the data, or the
                metric cannot score the answers.
        """
        node = {key: config[key] for key in POINT_KEYS}
        node["t_s"] = seconds(node["t_s"])
        _, weights = self._network(node["model"])
        specs = self._specs(node)
        for spec in {id(spec): spec for spec in specs.values()}.values():
            self._notes |= dict.fromkeys(notes_of(spec, node["t_s"]))
        self._digital(node)  # what does not fit together is refused while nothing has run yet
        point_id, text = identify(
            [
                f"streams v{STREAMS_VERSION}",
                f"metric {identity(self._metric(node['metric']))}",
                f"network {weights}",
                f"data {self._digest(node['data'])}",
                f"t_s {describe(node['t_s'])}",
                f"layers {describe(list(specs))}",
                *self._spec_lines(node),
            ]
        )
        params = {k: v for key in POINT_KEYS for k, v in self._flat(key, node[key]).items()}
        params |= scale_of(self._metric(node["metric"])).columns
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
        data, metric = self._data(node["data"]), self._metric(node["metric"])
        network = AnalogNetwork(model, self._specs(node), node["t_s"])
        network.check_reads(data.x[:1])
        digital = self._digital(node)
        ideal: float = self._keep(
            "ideal",
            [node[key] for key in ("model", "data", "metric", "device", "mapping", "analog")],
            lambda: self._ideal(network, node),
        )
        return Bench(point.point_id, network, data, metric, digital, ideal, self._batch_size)

    def shares(self, point: Point) -> str:
        """One line on what of a point's network is analog and what stays digital."""
        node = point.config

        def count() -> str:
            model = private_copy(self._network(node["model"])[0])
            return describe_shares(shares(model, self._rules(node), self._data(node["data"]).x[:1]))

        return self._keep("shares", [node["model"], node["data"], list(self._rules(node))], count)

    def parts(self, point: Point) -> tuple[nn.Module, dict[str, LayerSpec], Data]:
        """A point's network (not to be changed), what each weight on the array is made of, and the data."""
        node = point.config
        return self._network(node["model"])[0], self._specs(node), self._data(node["data"])

    @property
    def notes(self) -> list[str]:
        """What effects have to say of the devices and times of the points so far, each sentence once."""
        return list(self._notes)

    def _specs(self, node: Mapping[str, Any]) -> dict[str, LayerSpec]:
        """What every weight on the array is made of; layers under the same rules share one."""
        rules = self._rules(node)
        specs = {labels: self._spec(changed(node, node["analog"], labels)) for labels in set(rules.values())}
        return {name: specs[labels] for name, labels in rules.items()}

    def _spec(self, groups: Mapping[str, Any]) -> LayerSpec:
        return LayerSpec(**{group: self._component(group, groups[group]) for group in CELL_GROUPS})

    def _rules(self, node: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
        keys = [node["model"], node["analog"]]
        return self._keep("rules", keys, lambda: layer_rules(self._network(node["model"])[0], node["analog"]))

    def _digital(self, node: Mapping[str, Any]) -> Answers:
        def run() -> Answers:
            model, data = self._network(node["model"])[0], self._data(node["data"])
            try:
                return evaluate(model, data, self._metric(node["metric"]), self._batch_size)
            except ValueError:
                raise
            except Exception as error:  # a user's forward may raise anything: an embedding IndexError, many an assert
                reason = (str(error).splitlines() or [repr(error)])[0]
                raise ValueError(
                    f"the network must accept the data's inputs, but model {node['model']['_target_']} on inputs of "
                    f"shape {tuple(data.x.shape[1:])} says {reason!r}: choose a model and data that belong "
                    "together"
                ) from None

        return self._keep("digital", [node["model"], node["data"], node["metric"]], run)

    def _ideal(self, network: AnalogNetwork, node: Mapping[str, Any]) -> float:
        try:
            data, metric = self._data(node["data"]), self._metric(node["metric"])
            return evaluate(network.ideal(), data, metric, self._batch_size).score
        except ValueError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(
                f"the network must answer with the weights of the ideal chip as it does with its own, but model "
                f"{node['model']['_target_']} says {reason!r}: correct its forward"
            ) from error

    def _spec_lines(self, node: Mapping[str, Any]) -> list[str]:
        # Ideal slots are left out, so that an effect group added later changes no identity of today.
        base = {group: self._text(group, node[group]) for group in CELL_GROUPS}
        lines = [f"{group} {text}" for group, text in base.items() if not text.startswith("Ideal v")]
        rules = self._rules(node)
        differ: dict[tuple[str, ...], list[str]] = {}
        for labels in set(rules.values()) - {()}:
            own = changed(node, node["analog"], labels)
            texts = {group: self._text(group, own[group]) for group in CELL_GROUPS}
            differ[labels] = [f"{group} {text}" for group, text in texts.items() if text != base[group]]
        return lines + [f"layer {name} {line}" for name, labels in rules.items() for line in differ.get(labels, [])]

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
        return model.eval(), f"{describe(given)} sha256 {weights_digest(model)}"

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
                    f"data._target_ must return a torch Dataset or rramsweep.datasets.Data, {node['_target_']} "
                    f"returned {type(data).__name__}: wrap x and y in Data"
                )
            return data if self._inputs is None else data.spread(self._inputs)

        return self._keep("data", node, load)

    def _metric(self, node: Mapping[str, Any]) -> Metric:
        return self._keep("metric", node, lambda: checked(build(node, "metric", self._allow), str(node["_target_"])))

    def _digest(self, node: Mapping[str, Any]) -> str:
        return self._keep("digest", node, lambda: self._data(node).digest())

    def _keep(self, kind: str, node: Any, make: Callable[[], T]) -> T:
        key = f"{kind} {json.dumps(node, sort_keys=True)}"
        if key not in self._kept:
            self._kept[key] = make()
        kept: T = self._kept[key]
        return kept
