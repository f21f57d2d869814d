"""The objects of a point's resolved config, each distinct component built once.

The only place where config nodes meet the simulator: nothing below sees a node, nothing above sees a tensor.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ParamSpec, TypeVar

from torch import Tensor, nn

from rramsweep.construct import OWN
from rramsweep.crossbar.programming import LayerSpec
from rramsweep.datasets import Data
from rramsweep.devices.streams import STREAMS_VERSION
from rramsweep.errors import ValidationError, no_exit
from rramsweep.groups import CELL_GROUPS, GROUPS, POINT_KEYS
from rramsweep.identity import describe, identify
from rramsweep.intervals import ALPHA, binomial_tail
from rramsweep.metrics.scoring import chance_accuracy, identity, scale_of
from rramsweep.network.accelerator import Accelerator
from rramsweep.network.analog import AnalogNetwork
from rramsweep.network.arrays import private_copy
from rramsweep.network.batch_norm import fused
from rramsweep.network.determinism import check_steady, idle_weights
from rramsweep.network.forking import refuse_after_fork
from rramsweep.network.numerics import fixed_arithmetic
from rramsweep.network.partition import describe_shares, shares
from rramsweep.scale import chance_words
from rramsweep.simulation.components import SAMPLE_INPUTS, Components, folds_batchnorm, not_accepted, untrained
from rramsweep.simulation.execution import BATCH, Execution, ExecutionSettings, choose
from rramsweep.simulation.layer_rules import changed, layer_rules, place
from rramsweep.simulation.trial import Bench, Evaluation, evaluate
from rramsweep.study.plan import Point
from rramsweep.units import seconds

# Those of the ideal chip.
BASELINE_KEYS = ("model", "data", "metric", "device", "mapping", "analog", "accelerator")

DEFAULT = ExecutionSettings()

P = ParamSpec("P")
R = TypeVar("R")


def _prepared(method: Callable[P, R]) -> Callable[P, R]:
    """Run a method as a fresh process would, and user code in it without a way out of the command."""
    return no_exit("a network, data set, metric or effect")(fixed_arithmetic()(method))


class Workbench:
    """Builds points and benches, and keeps what they share: networks, data, baselines.

    Args:
        allow: packages that a `_target_` may name beside rramsweep.
        settings: the part that is fixed of how networks are run; never part of a point.
        executions: `{kind: arguments of Execution}`, chosen before; see `kind`.
        inputs: so many inputs of the data at most (points are then others than a sweep's); None takes all.

    Raises:
        ValidationError: this process was forked after torch had used threads.
    """

    def __init__(
        self,
        allow: Sequence[str] = (),
        settings: ExecutionSettings = DEFAULT,
        executions: Mapping[str, Mapping[str, Any]] | None = None,
        inputs: int | None = None,
    ) -> None:
        refuse_after_fork()
        self.allow = list(allow)
        self._parts = Components(allow, inputs)
        self.settings = settings
        self.executions: dict[str, Mapping[str, Any]] = dict(executions or {})
        self._notes: dict[str, None] = {}
        self._at_chance: dict[str, None] = {}

    @_prepared
    def point(self, config: Mapping[str, Any], choices: Mapping[str, str]) -> Point:
        """The point of a resolved config.

        Args:
            config: plain nested data with at least `POINT_KEYS`.
            choices: `{group: option}` as chosen.

        Raises:
            ValueError: any component refuses its parameters (see `build`), the network cannot answer the data, or the
                metric cannot score the answers.
        """
        node = _node(config)
        network, weights = self._parts.network(node["model"])
        self._notes |= dict.fromkeys(untrained(node["model"]))
        self._notes |= dict.fromkeys(self._parts.data(node["data"]).notes)
        specs = self._specs(node, choices)
        if (self.settings.chips_per_pass or 1) > 1 and any(spec.noisy_read for spec in specs.values()):
            unused = f"chips_per_pass={self.settings.chips_per_pass} is not used where there is read noise"
            self._notes[f"{unused}, which is drawn anew for each chip and call: these run one chip at a time"] = None
        accelerator = self._accelerator(node)
        accelerator.check()
        self.settings.check_format(self._parts.data(node["data"]).x.shape, network.parameters())
        self._notes |= dict.fromkeys(self._idle(node, list(specs)))
        digital = self._digital(node)  # what does not fit together is refused while nothing has run yet
        self._note_chance(node, choices, digital)
        point_id, text = identify(
            [
                f"streams v{STREAMS_VERSION}",
                f"metric {identity(self._parts.metric(node['metric']))}",
                f"network {weights}",
                f"data {self._parts.digest(node['data'])}",
                f"t_s {describe(node['t_s'])}",
                f"layers {describe(list(specs))}",
                *(["fold_batchnorm v1"] if folds_batchnorm(node) else []),
                *self._spec_lines(node),
                *accelerator.identity,
            ]
        )
        params = {k: v for key in POINT_KEYS for k, v in self._parts.flat(key, node[key]).items()}
        params |= scale_of(self._parts.metric(node["metric"])).columns
        return Point(point_id, text, {g: str(choices[g]) for g in GROUPS}, params, node)

    def bench(self, point: Point, chips: int | None = None) -> Bench:
        """A point made ready for its trials.

        Args:
            point: a point that was planned.
            chips: at most so many chips are run with it; None is any number.

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
        return self.ready(point, self.execution(point), chips)

    @_prepared
    def ready(self, point: Point, execution: Execution, chips: int | None = None) -> Bench:
        """`bench`, to be run in a given way, of a point that was built here."""
        node, in_flight = point.config, execution.chips_in_flight
        data, metric = self._parts.data(node["data"]), self._parts.metric(node["metric"])
        network, *others = (
            AnalogNetwork(
                self._parts.folded(node),
                self._specs(node, point.choices),
                node["t_s"],
                self._parts.folds(node),
                execution.format,
                self._accelerator(node),
            )
            for _ in range(in_flight if chips is None else max(1, min(chips, in_flight)))
        )
        batches = self._parts.keep("batches", [node["data"], repr(execution)], lambda: execution.batches(data.x))
        network.check_reads(batches[0][:1])
        digital = self._digital(node)
        ideal: float = self._parts.keep(
            "ideal",
            [*(node[key] for key in BASELINE_KEYS), repr(execution)],
            lambda: self._ideal(network, batches, node),
        )
        chance = self._chance(node)
        return Bench(point.point_id, network, batches, data.y, metric, digital, ideal, execution, others, chance)

    def kind(self, point: Point) -> str:
        """Text of all that decides how a point's network is run: the network's shape and that of its inputs."""
        node = point.config
        model = {key: value for key, value in node["model"].items() if key != "checkpoint"}
        shape = list(self._parts.data(node["data"]).x.shape)
        where = repr(self._accelerator(node))
        return json.dumps([model, folds_batchnorm(node), shape, self.settings.key, where], sort_keys=True)

    @_prepared
    def execution(self, point: Point) -> Execution:
        """The way to run a point's network: as it was before, else as the rule says."""
        kind, node = self.kind(point), point.config
        if kind not in self.executions:
            model, x = fused(self._parts.folded(node), self._parts.folds(node)), self._parts.data(node["data"]).x
            self.executions[kind] = asdict(choose(model, x, self.settings, self._accelerator(node)))
        return Execution(**self.executions[kind])

    def _accelerator(self, node: Mapping[str, Any]) -> Accelerator:
        found: Accelerator = self._parts.component("accelerator", node["accelerator"])
        return found

    @_prepared
    def shares(self, point: Point) -> str:
        """One line on the parts of a point's network that are analog and those that stay digital."""
        node = point.config

        def count() -> str:
            model = private_copy(self._parts.folded(node))
            return describe_shares(shares(model, self._rules(node), self._parts.data(node["data"]).x[:1]))

        return self._parts.keep("shares", [node["model"], node["data"], list(self._rules(node))], count)

    @_prepared
    def parts(self, point: Point) -> tuple[nn.Module, dict[str, LayerSpec], Data]:
        """A point's network (not to be changed), the spec of each weight on the array, and the data."""
        node = point.config
        return self._parts.folded(node), self._specs(node, point.choices), self._parts.data(node["data"])

    def specs(self, node: Mapping[str, Any]) -> dict[str, LayerSpec]:
        """Specs of each weight on the array under a point's config or a change of it; takes no notes.

        Raises:
            ValueError: an effect refuses its parameters, the device or the time.
        """
        rules = self._rules(node)
        specs: dict[tuple[str, ...], LayerSpec] = {}
        for labels in dict.fromkeys(rules.values()):
            specs[labels] = LayerSpec(**self._cell_parts(node, labels))
            specs[labels].check_time(node["t_s"])
        return {name: specs[labels] for name, labels in rules.items()}

    @property
    def notes(self) -> list[str]:
        """Notes on the networks, devices and times of the points so far, each sentence once.

        A network at chance level comes first: of such a one no chip says anything.
        """
        return list(dict.fromkeys([*self._at_chance, *self._parts.notes, *self._notes]))

    def _specs(self, node: Mapping[str, Any], choices: Mapping[str, str]) -> dict[str, LayerSpec]:
        """Specs of every weight on the array, their notes taken; layers under the same rules share one."""
        rules = self._rules(node)
        specs = {labels: self._spec(node, labels, choices) for labels in dict.fromkeys(rules.values())}
        return {name: specs[labels] for name, labels in rules.items()}

    def _spec(self, node: Mapping[str, Any], labels: Sequence[str], choices: Mapping[str, str]) -> LayerSpec:
        groups = changed(node, node["analog"], labels)
        # The option that a user typed names a law in messages; a class of the user's own keeps its name.
        options = {
            group: choices[group]
            for group in CELL_GROUPS
            if groups[group] is node[group] and str(groups[group].get("_target_")).startswith(f"{OWN}.")
        }
        parts = self._cell_parts(node, labels)
        try:
            spec = LayerSpec(**parts)
            spec.check_time(node["t_s"])
        except ValidationError as error:
            raise error.chosen(options) from None
        self._notes |= dict.fromkeys(str(note.chosen(options)) for note in spec.notes(node["t_s"]))
        return spec

    def _cell_parts(self, node: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Any]:
        groups = changed(node, node["analog"], labels)
        return {g: self._parts.component(g, groups[g], place(g, node["analog"], labels)) for g in CELL_GROUPS}

    def _rules(self, node: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
        keys = [node["model"], node["analog"]]
        return self._parts.keep(
            "rules", keys, lambda: layer_rules(self._parts.network(node["model"])[0], node["analog"])
        )

    def _idle(self, node: Mapping[str, Any], names: Sequence[str]) -> list[str]:
        """Notes on analog weights that play no part; refuses those that do, but not as a chip has them."""
        target = str(node["model"]["_target_"])

        def find() -> list[str]:
            model, x = self._parts.folded(node), self._parts.data(node["data"]).x[:SAMPLE_INPUTS]
            try:
                with no_exit(f"the forward of {target}"):
                    return idle_weights(model, names, x, target)
            except ValueError:
                raise
            except Exception as error:
                raise ValueError(not_accepted(error, node, x)) from None

        return self._parts.keep("idle", [node["model"], node["data"], folds_batchnorm(node), list(names)], find)

    def _digital(self, node: Mapping[str, Any]) -> Evaluation:
        def run() -> Evaluation:
            model, data = self._parts.network(node["model"])[0], self._parts.data(node["data"])
            try:
                with no_exit(f"the forward of {node['model']['_target_']}"):
                    check_steady(model, data.x[:SAMPLE_INPUTS], str(node["model"]["_target_"]))
                # Not as the chips are run, so that it is the same however that is.
                batches = Execution(self.settings.batch_size or BATCH).batches(data.x)
                return evaluate(model, batches, data.y, self._parts.metric(node["metric"]))
            except ValueError:
                raise
            except Exception as error:  # a user's forward may raise anything: an embedding IndexError, many an assert
                raise ValueError(not_accepted(error, node, data.x)) from None

        return self._parts.keep("digital", [node["model"], node["data"], node["metric"]], run)

    def _chance(self, node: Mapping[str, Any]) -> float | None:
        """The accuracy that guessing has on a point's data, if its metric counts right labels."""
        keys = [node["data"], node["metric"]]
        return self._parts.keep(
            "chance",
            keys,
            lambda: chance_accuracy(self._parts.metric(node["metric"]), self._parts.data(node["data"]).y),
        )

    def _note_chance(self, node: Mapping[str, Any], choices: Mapping[str, str], digital: Evaluation) -> None:
        chance = self._chance(node)
        if chance is None or digital.correct is None:
            return
        n_correct, n = int(digital.correct.sum()), len(digital.correct)
        if binomial_tail(n_correct, n, chance) > ALPHA:
            self._at_chance[chance_words(f"{choices['model']} on {choices['data']}", n_correct, n, chance)] = None

    def _ideal(self, network: AnalogNetwork, batches: Sequence[Tensor], node: Mapping[str, Any]) -> float:
        try:
            targets, metric = self._parts.data(node["data"]).y, self._parts.metric(node["metric"])
            return evaluate(network.ideal(), batches, targets, metric, network.accelerator).score
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
        base = {group: self._parts.text(group, node[group]) for group in CELL_GROUPS}
        lines = [f"{group} {text}" for group, text in base.items() if not text.startswith("Ideal v")]
        rules = self._rules(node)
        differ: dict[tuple[str, ...], list[str]] = {}
        for labels in set(rules.values()) - {()}:
            own = changed(node, node["analog"], labels)
            texts = {group: self._parts.text(group, own[group]) for group in CELL_GROUPS}
            differ[labels] = [f"{group} {text}" for group, text in texts.items() if text != base[group]]
        return lines + [f"layer {name} {line}" for name, labels in rules.items() for line in differ.get(labels, [])]


def _node(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a resolved config that makes a point.

    Raises:
        ValidationError: a key is missing, a group is no map of parameters, or the time is none.
    """
    node: dict[str, Any] = {}
    for key in POINT_KEYS:
        if key not in config:
            raise ValidationError("is missing", f"leave ~{key} out", parameter=key)
        value = config[key]
        if key == "t_s":
            node[key] = seconds(value)
        elif isinstance(value, Mapping):
            node[key] = value
        else:
            remedy = "give analog.NAME=VALUE" if key == "analog" else f"choose {key}=OPTION or set {key}.NAME=VALUE"
            shown = "null" if value is None else f"{value!r}"
            raise ValidationError("must hold named parameters", remedy, value=value, shown=shown, slot=key)
    return node
