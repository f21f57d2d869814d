"""The objects of a point's resolved config, each distinct component built once.

The only place where config nodes meet the simulator: no lower module sees a node, no higher one a tensor.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, ParamSpec, TypeVar

from torch import Tensor, nn

from rramsweep.calibration import Calibration
from rramsweep.calibration.checks import check_calibration
from rramsweep.calibration.chips import ChipCalibration
from rramsweep.construct import OWN, fit
from rramsweep.cost import NetworkCounts, Published
from rramsweep.crossbar import UniformDAC
from rramsweep.crossbar.programming import LayerSpec
from rramsweep.datasets import Data
from rramsweep.datasets.inputs import AnyInputs, sizes
from rramsweep.devices.streams import STREAMS_VERSION, Redraw
from rramsweep.effects import Ideal
from rramsweep.effects.protocol import declared
from rramsweep.errors import ValidationError, no_exit
from rramsweep.groups import CELL_GROUPS, GROUPS, POINT_KEYS, REDRAW, STAGES
from rramsweep.identity import describe, identify
from rramsweep.intervals import ALPHA, binomial_tail
from rramsweep.metrics.scoring import Metric, against, chance_accuracy, compares, identity, scale_of
from rramsweep.models.forward import described
from rramsweep.network.accelerator import CPU, Accelerator
from rramsweep.network.analog import AnalogNetwork, check_tied
from rramsweep.network.arrays import find_arrays, private_copy
from rramsweep.network.batch_norm import fused
from rramsweep.network.determinism import check_steady, idle_inputs, idle_weights
from rramsweep.network.forking import refuse_after_fork
from rramsweep.network.hardware import count_parts
from rramsweep.network.numerics import fixed_arithmetic
from rramsweep.network.partition import LayerSize, describe_shares, layer_sizes, shares, stacked_weights
from rramsweep.network.ranges import FITTING_INPUTS
from rramsweep.network.tiled_read import Ranges
from rramsweep.network.unfolding import check_unfolding
from rramsweep.scale import chance_words
from rramsweep.simulation.components import SAMPLE_INPUTS, Components, folds_batchnorm, not_accepted, untrained
from rramsweep.simulation.execution import BATCH, Execution, ExecutionSettings, choose
from rramsweep.simulation.layer_rules import changed, layer_rules, place
from rramsweep.simulation.trial import Bench, Evaluation, evaluate, outputs, score
from rramsweep.study.plan import Point
from rramsweep.units import seconds

# Effects of the ideal chip.
BASELINE_KEYS = ("model", "data", "metric", "device", "mapping", "analog", "accelerator")

DEFAULT = ExecutionSettings()

P = ParamSpec("P")
R = TypeVar("R")


def _prepared(method: Callable[P, R]) -> Callable[P, R]:
    """Run a method with the arithmetic of a fresh process, and turn exits by user code in it into errors."""
    return no_exit("a network, data set, metric or effect")(fixed_arithmetic()(method))


class Workbench:
    """Builds points and benches, and keeps what they share: networks, data, baselines.

    Args:
        allow: packages that a `_target_` may name in addition to rramsweep.
        settings: fixed settings for running networks; never part of a point.
        executions: `{kind: arguments of Execution}`, chosen earlier; see `kind`.
        inputs: largest number of inputs of the data (points then differ from a sweep's); None takes all.

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
        # Parameter of the points so far -> (low, high, note), the range that its source covers.
        self.source_ranges: dict[str, tuple[float, float, str]] = {}
        self._at_chance: dict[str, None] = {}

    @_prepared
    def point(self, config: Mapping[str, Any], choices: Mapping[str, str]) -> Point:
        """The point of a resolved config.

        Args:
            config: plain nested data with at least `POINT_KEYS`.
            choices: `{group: option}` as chosen.

        Raises:
            ValueError: a component refuses its parameters (see `build`), the network cannot run on the data, or the
                metric cannot score the outputs.
        """
        return self._point(config, choices)

    @_prepared
    def points(self, configs: Iterable[tuple[Mapping[str, Any], Mapping[str, str]]]) -> list[Point]:
        """The points of many resolved configs with their choices; see `point`."""
        return [self._point(config, choices) for config, choices in configs]

    def _point(self, config: Mapping[str, Any], choices: Mapping[str, str]) -> Point:
        parts = self._parts
        node = {key: parts.share(value) for key, value in _node(config).items()}
        choices = parts.keep("choices", lambda: {group: str(choices[group]) for group in GROUPS}, choices)
        model, data, metric, analog = (node[key] for key in ("model", "data", "metric", "analog"))
        parts.keep("loaded", lambda: self._load(node), model, data)
        specs = self._specs(node, choices)
        method = self._method(node)
        if (self.settings.chips_per_pass or 1) > 1:
            unused = f"chips_per_pass={self.settings.chips_per_pass} is not used where"
            if any(spec.wrapped for spec in specs.values()):
                self._notes[f"{unused} there is read noise or a converter: these run one chip at a time"] = None
            if method is not None:
                self._notes[f"{unused} chips are calibrated, each by itself: these run one chip at a time"] = None
        # Components that do not fit together are refused before anything runs.
        fit = partial(self._check_fit, node, choices, list(specs))
        parts.keep("fit", fit, model, data, metric, analog, node["accelerator"], choices)
        if method is not None:
            self._check_calibration(node, method, specs)
        point_id, text = identify(
            [
                *parts.keep("inputs", lambda: self._input_lines(node), model, data, metric),
                f"t_s {describe(node['t_s'])}",
                *parts.keep("layers", lambda: self._layer_lines(node), model, analog),
                *self._spec_lines(node),
                *self._fitting_lines(node, specs),
                *([] if method is None else self._calibration_lines(node)),
                *self._accelerator(node).identity,
                *([f"{REDRAW} {describe(_redraw(node))}"] if REDRAW in node else []),
            ]
        )
        params: dict[str, Any] = {}
        for key in node:
            params |= parts.flat(key, node[key])
        params |= parts.keep("scale", lambda: scale_of(parts.metric(metric)).columns, metric)
        return Point(point_id, text, choices, params, node, self._counts(node, specs))

    def _counts(self, node: Mapping[str, Any], specs: Mapping[str, LayerSpec]) -> Mapping[str, Any] | None:
        """Counts of a point's parts as plain data, checked against the sources of its cost; None without a cost."""
        cost = self._parts.component("cost", node["cost"])
        if not isinstance(cost, Published):
            return None

        def count() -> NetworkCounts:
            model = private_copy(self._parts.folded(node))
            return count_parts(model, specs, self._parts.data(node["data"]).x[:1], self._signs(node, specs))

        keys = [node[key] for key in ("model", "data", "analog", *(g for g in CELL_GROUPS if g not in STAGES))]
        counts = self._parts.keep("counts", count, *keys)
        cost.check(counts)
        if counts.incomplete:
            named = f"{', '.join(counts.incomplete[:3])}{', ...' if len(counts.incomplete) > 3 else ''}"
            self._notes[
                f"cost=published has no source for ideal converters, so points with dac=ideal or adc=ideal ({named}) "
                "have no cost: set dac=uniform adc=uniform"
            ] = None
        return self._parts.keep("counts document", counts.document, *keys)

    def _signs(self, node: Mapping[str, Any], specs: Mapping[str, LayerSpec]) -> Mapping[str, bool]:
        """Layers whose inputs come bit by bit with a sign that is fitted, and what the fit finds."""
        fitted = {
            name: spec
            for name, spec in specs.items()
            if isinstance(spec.dac, UniformDAC) and spec.dac.serial and spec.dac.sign == "auto"
        }
        if not any(spec.dac.range == "fitted" for spec in fitted.values() if isinstance(spec.dac, UniformDAC)):
            return {}
        # A network of its own: the ranges of chips are fitted as chips are run, which is not settled yet.
        network = AnalogNetwork(self._parts.folded(node), specs, node["t_s"], self._parts.folds(node))
        found = network.fit_ranges(self._fitting_inputs(node))
        return {name: found[name].signed for name in fitted}

    def _load(self, node: Mapping[str, Any]) -> None:
        """Build network and data, and collect their notes."""
        network, _ = self._parts.network(node["model"])
        self._notes |= dict.fromkeys([*untrained(node["model"]), *stacked_weights(network)])
        self._parts.fitting_node(node["data"])
        self._notes |= dict.fromkeys(self._parts.data(node["data"]).notes)

    def _check_fit(self, node: Mapping[str, Any], choices: Mapping[str, str], names: Sequence[str]) -> None:
        """Check that machine, network, data and metric fit each other, and collect their notes."""
        self._accelerator(node).check()
        network, _ = self._parts.network(node["model"])
        self.settings.check_format(self._parts.data(node["data"]).x.shape, network.parameters())
        self._notes |= dict.fromkeys(self._idle(node, names))
        self._note_chance(node, choices, self._digital(node))

    def _method(self, node: Mapping[str, Any]) -> Calibration | None:
        """The calibration of a point's chips; None without one."""
        method = self._parts.component("calibration", node["calibration"])
        return method if isinstance(method, Calibration) else None

    def _check_calibration(self, node: Mapping[str, Any], method: Calibration, specs: Mapping[str, LayerSpec]) -> None:
        """Check that a calibration fits network, data and time, and collect its notes."""
        if method.at_s is not None:
            for spec in {id(spec): spec for spec in specs.values()}.values():
                spec.check_time(method.at_s)

        def check() -> list[str]:
            found = self._parts.fitting(node["data"])
            model, x = self._parts.folded(node), self._parts.data(node["data"]).x[:1]
            pool = None if found is None else len(found.x)
            return check_calibration(method, model, list(specs), x, pool, node["t_s"], unfolded)

        unfolded = [name for name, spec in specs.items() if spec.wrapped]
        keys = (node["calibration"], node["model"], node["data"], node["analog"], node["t_s"], unfolded)
        self._notes |= dict.fromkeys(self._parts.keep("calibration fit", check, *keys))

    def _calibration_lines(self, node: Mapping[str, Any]) -> list[str]:
        text = self._parts.text("calibration", node["calibration"])
        return [f"calibration {text}", f"fitting {self._parts.fitting_digest(node['data'])}"]

    def _input_lines(self, node: Mapping[str, Any]) -> list[str]:
        return [
            f"streams v{STREAMS_VERSION}",
            f"metric {identity(self._parts.metric(node['metric']))}",
            f"network {self._parts.network(node['model'])[1]}",
            f"data {self._parts.digest(node['data'])}",
        ]

    def _layer_lines(self, node: Mapping[str, Any]) -> list[str]:
        names = f"layers {describe(list(self._rules(node)))}"
        return [names, "fold_batchnorm v1"] if folds_batchnorm(node) else [names]

    def bench(self, point: Point, chips: int | None = None) -> Bench:
        """Prepare a point for its trials.

        Args:
            point: a planned point.
            chips: largest number of chips that will be run; None is any number.

        Raises:
            ValueError: network and data do not fit each other, a weight is not finite, or the point has changed since
                it was planned.
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
        """`bench` for a given way to run, of a point that was built here."""
        node, in_flight = point.config, execution.chips_in_flight
        data, metric = self._parts.data(node["data"]), self._against_digital(node)
        specs = self._specs(node, point.choices)
        count = in_flight if chips is None else max(1, min(chips, in_flight))
        network, *others = (self._network(node, specs, execution) for _ in range(count))
        ranges = self._ranges(network, node)
        for each in (network, *others):
            each.set_ranges(ranges)
        batches = self._parts.keep("batches", lambda: execution.batches(data.x), node["data"], repr(execution))
        network.check_reads(batches[0][:1])
        digital = self._digital(node)
        ideal: float = self._parts.keep(
            "ideal",
            lambda: self._ideal(network, batches, node),
            *(node[key] for key in BASELINE_KEYS),
            repr(execution),
            network.calibrates,  # batch norms are then not folded into the weights, which changes rounding
        )
        chance = self._chance(node)
        powered = execution.batches(data.spread(FITTING_INPUTS).x) if point.draws_power else ()
        return Bench(
            point.point_id, network, batches, data.y, metric, digital, ideal, execution, others, chance, powered
        )

    def _network(self, node: Mapping[str, Any], specs: Mapping[str, LayerSpec], execution: Execution) -> AnalogNetwork:
        folded, folds, accelerator = self._parts.folded(node), self._parts.folds(node), self._accelerator(node)
        method = self._method(node)
        pool = None if method is None else self._parts.fitting(node["data"])
        calibrate = ChipCalibration(method, pool.x) if method is not None and pool is not None else None
        redraw = _redraw(node)
        return AnalogNetwork(folded, specs, node["t_s"], folds, execution.format, accelerator, calibrate, redraw)

    def kind(self, point: Point) -> str:
        """Text of everything that decides the way to run a point's network: its shape and that of its inputs."""
        node, key = point.config, self.settings.key

        def text() -> str:
            model, shape = described(node["model"]), sizes(self._parts.data(node["data"]).x)
            accelerator = repr(self._accelerator(node))
            return json.dumps([model, folds_batchnorm(node), shape, key, accelerator], sort_keys=True)

        return self._parts.keep("kind", text, *(node[k] for k in ("model", "data", "analog", "accelerator")), key)

    @_prepared
    def execution(self, point: Point) -> Execution:
        """The way to run a point's network: that chosen earlier, else that of the rule."""
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

        return self._parts.keep("shares", count, node["model"], node["data"], list(self._rules(node)))

    @_prepared
    def sizes(self, point: Point) -> list[LayerSize]:
        """Cells and multiplications of each weight of a point's network that is on the array."""
        model, specs, data = self.parts(point)
        return layer_sizes(model, specs, data.x[:1])

    @_prepared
    def draws(self, point: Point) -> bool:
        """True if the chips of a point may differ, by random draws or by the inputs that they are fitted to."""
        return bool(self._drawn(point))

    @_prepared
    def streams(self, point: Point) -> tuple[list[str], dict[str, list[str]]]:
        """Stages and layers of the streams that a point's chips may draw from.

        Returns:
            The stages, in the order of physics, and each layer with cells of its own, with the names of all that share
            these cells.
        """
        layers: dict[str, list[str]] = {}
        specs, arrays = self._specs(point.config, point.choices), find_arrays(self._parts.folded(point.config))
        first: dict[int, str] = {}
        for name, spec in specs.items():
            if spec.draws:
                layers.setdefault(first.setdefault(id(arrays[name].weight), name), []).append(name)
        return self._drawn(point), layers

    @_prepared
    def redrawn(self, point: Point, redraw: Redraw) -> Point:
        """The point of a point's chips with some streams drawn again."""
        node = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(redraw).items()}
        return self._point({**point.config, REDRAW: node}, point.choices)

    def _drawn(self, point: Point) -> list[str]:
        """Stages that may draw at random; `calibration` draws the inputs that each chip is fitted to."""
        drawn = {stage for spec in self._specs(point.config, point.choices).values() for stage in spec.drawn}
        calibrated = ["calibration"] if self._method(point.config) is not None else []
        return [stage for stage in (*STAGES, "adc", "read_noise") if stage in drawn] + calibrated

    @_prepared
    def parts(self, point: Point) -> tuple[nn.Module, dict[str, LayerSpec], Data]:
        """A point's network (not to be changed), the spec of each weight on the array, and the data."""
        node = point.config
        return self._parts.folded(node), self._specs(node, point.choices), self._parts.data(node["data"])

    @_prepared
    def ranges(self, point: Point) -> Mapping[str, Ranges]:
        """Ranges of the converters of a point's layers, those of its chips."""
        node, specs = point.config, self._specs(point.config, point.choices)
        if not any(spec.converted for spec in specs.values()):
            return {}
        return self._ranges(self._network(node, specs, self.execution(point)), node)

    @_prepared
    def fitting(self, point: Point) -> Data | None:
        """The inputs on which parts of a point's chips are fitted, none of them scored; None if it names none."""
        return self._parts.fitting(point.config["data"])

    @_prepared
    def network(self, point: Point) -> nn.Module:
        """A point's network with the weights of its checkpoint, batch norms not folded (not to be changed)."""
        return self._parts.network(point.config["model"])[0]

    @_prepared
    def metric(self, point: Point) -> Metric:
        """A point's metric."""
        return self._parts.metric(point.config["metric"])

    def accelerator(self, point: Point) -> Accelerator:
        """Machine on which a point's networks run."""
        return self._accelerator(point.config)

    def specs(self, node: Mapping[str, Any]) -> dict[str, LayerSpec]:
        """Specs of each weight on the array for a point's config or a variant of it; collects no notes.

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

        Networks at chance level come first, because their chips carry no information.
        """
        return list(dict.fromkeys([*self._at_chance, *self._parts.notes, *self._notes]))

    def _specs(self, node: Mapping[str, Any], choices: Mapping[str, str]) -> dict[str, LayerSpec]:
        """Specs of every weight on the array, with their notes collected; layers with the same rules share one."""
        rules = self._rules(node)
        specs = {labels: self._spec(node, labels, choices) for labels in dict.fromkeys(rules.values())}
        found = {name: specs[labels] for name, labels in rules.items()}
        model = node["model"]
        if len(specs) > 1:
            check_tied(find_arrays(self._parts.network(model)[0]), found)
        read = [name for name, spec in found.items() if spec.wrapped]
        if read:
            self._parts.keep("readable", lambda: check_unfolding(self._parts.network(model)[0], read), model, read)
        unread = [spec for spec in specs.values() if spec.has_unread_tile]
        if unread and all(spec.has_unread_tile or isinstance(spec.tile, Ideal) for spec in specs.values()):
            self._notes["where wires and ADCs are ideal, the size of a tile changes no score"] = None
        return found

    def _spec(self, node: Mapping[str, Any], labels: Sequence[str], choices: Mapping[str, str]) -> LayerSpec:
        groups = self._groups(node, labels)
        # Messages name a law by the option that a user typed, and a user's own class by its name.
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
        for group, part in parts.items():
            slot = place(group, node["analog"], labels)
            self.source_ranges |= {f"{slot}.{name}": source for name, source in declared(part, "source_range").items()}
            self._note_measured(slot, declared(part, "measured_until_s"))
            if not hasattr(part, "version"):
                self._notes[
                    f"{slot}: {type(part).__module__}.{type(part).__qualname__} has no version, so the store goes on "
                    "answering with its chips when its code changes: give it version: ClassVar[int] = 1, and raise that"
                ] = None
        return spec

    def _note_measured(self, slot: str, last_s: float) -> None:
        """Keep the earliest of the times that effects were measured until, as the range of the time of reading."""
        if last_s < self.source_ranges.get("t_s", (0.0, math.inf, ""))[1]:
            note = f"times beyond {last_s:g} s, the last at which {slot} was measured, are extrapolated"
            self.source_ranges["t_s"] = (0.0, last_s, note)

    def _cell_parts(self, node: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Any]:
        groups = self._groups(node, labels)
        return {g: self._parts.component(g, groups[g], place(g, node["analog"], labels)) for g in CELL_GROUPS}

    def _groups(self, node: Mapping[str, Any], labels: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """The nodes of the cell groups for layers to which the rules with these labels apply."""
        if not labels:
            return node
        return {g: self._parts.share(own) for g, own in changed(node, node["analog"], labels).items()}

    def _rules(self, node: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
        model, analog = node["model"], node["analog"]
        return self._parts.keep("rules", lambda: layer_rules(self._parts.network(model)[0], analog), model, analog)

    def _idle(self, node: Mapping[str, Any], names: Sequence[str]) -> list[str]:
        """Notes on analog weights without influence; weights that the network does not use directly are refused."""
        target = str(node["model"]["_target_"])

        def find() -> list[str]:
            model, x = self._parts.folded(node), self._parts.data(node["data"]).x[:SAMPLE_INPUTS]
            try:
                with no_exit(f"the forward of {target}"):
                    return [*idle_weights(model, names, x, target), *idle_inputs(model, x, target)]
            except ValueError:
                raise
            except Exception as error:
                raise ValueError(not_accepted(error, node, x)) from None

        return self._parts.keep("idle", find, node["model"], node["data"], folds_batchnorm(node), names)

    def _digital(self, node: Mapping[str, Any]) -> Evaluation:
        metric = self._parts.metric(node["metric"])

        def run() -> Evaluation:
            return score(self._digital_outputs(node), self._parts.data(node["data"]).y, metric)

        return self._parts.keep("digital", run, node["model"], node["data"], node["metric"])

    def _against_digital(self, node: Mapping[str, Any]) -> Metric:
        """A point's metric, with the digital network's outputs if it compares with them."""
        metric = self._parts.metric(node["metric"])
        if not compares(metric):
            return metric

        def prepared() -> Metric:
            return against(metric, self._digital_outputs(node))

        return self._parts.keep("against digital", prepared, node["model"], node["data"], node["metric"])

    def _digital_outputs(self, node: Mapping[str, Any]) -> Tensor:
        model, data = self._parts.network(node["model"])[0], self._parts.data(node["data"])
        try:
            with no_exit(f"the forward of {node['model']['_target_']}"):
                check_steady(model, data.x[:SAMPLE_INPUTS], str(node["model"]["_target_"]))
            # Run in a fixed way, so that the result does not depend on the way in which chips are run.
            batches = Execution(self.settings.batch_size or BATCH).batches(data.x)
            return outputs(model, batches, CPU)
        except ValueError:
            raise
        except Exception as error:  # a user's forward may raise anything, an embedding an IndexError, others assertions
            raise ValueError(not_accepted(error, node, data.x)) from None

    def _chance(self, node: Mapping[str, Any]) -> float | None:
        """The accuracy of guessing on a point's data, if its metric counts correct labels."""

        def find() -> float | None:
            return chance_accuracy(self._parts.metric(node["metric"]), self._parts.data(node["data"]).y)

        return self._parts.keep("chance", find, node["data"], node["metric"])

    def _note_chance(self, node: Mapping[str, Any], choices: Mapping[str, str], digital: Evaluation) -> None:
        chance = self._chance(node)
        if chance is None or digital.correct is None:
            return
        n_correct, n = int(digital.correct.sum()), len(digital.correct)
        if binomial_tail(n_correct, n, chance) > ALPHA:
            self._at_chance[chance_words(f"{choices['model']} on {choices['data']}", n_correct, n, chance)] = None

    def _ranges(self, network: AnalogNetwork, node: Mapping[str, Any]) -> Mapping[str, Ranges]:
        """Ranges of a point's converters, which depend on its cells, array and inputs, but not on its effects."""

        def find() -> Mapping[str, Ranges]:
            inputs = self._fitting_inputs(node) if network.fits_ranges else None
            return network.fit_ranges(inputs)

        keys = ("model", "data", "analog", "accelerator", *(g for g in CELL_GROUPS if g not in STAGES))
        return self._parts.keep("ranges", find, *(node[key] for key in keys)) if network.converts else {}

    def _fitting_inputs(self, node: Mapping[str, Any]) -> AnyInputs:
        data = self._parts.fitting(node["data"])
        if data is None:
            raise ValidationError(
                "must name inputs to fit the ranges of converters on, none of which is scored",
                "set data.fitting=SPLIT or PATH, or give ranges by dac.range=given and adc.range=given",
                shown="null",
                slot="data",
                parameter="fitting",
            )
        return data.spread(FITTING_INPUTS).x

    def _ideal(self, network: AnalogNetwork, batches: Sequence[AnyInputs], node: Mapping[str, Any]) -> float:
        try:
            targets, metric = self._parts.data(node["data"]).y, self._against_digital(node)
            return evaluate(network.ideal(), batches, targets, metric, network.accelerator).score
        except ValueError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(
                f"the network must answer with the weights of the ideal chip as it does with its own, but model "
                f"{node['model']['_target_']} says {reason!r}: correct its forward"
            ) from error

    def _fitting_lines(self, node: Mapping[str, Any], specs: Mapping[str, LayerSpec]) -> list[str]:
        """Lines of a point's identity on the inputs that parts of its chips are fitted on."""
        if not any(spec.fitted for spec in specs.values()):
            return []
        self._fitting_inputs(node)
        return [f"fitting {self._parts.fitting_digest(node['data'])} {FITTING_INPUTS} inputs"]

    def _spec_lines(self, node: Mapping[str, Any]) -> list[str]:
        # Ideal slots are left out, so that an effect group added later changes no existing identity.
        base = {group: self._parts.text(group, node[group]) for group in CELL_GROUPS}
        lines = [f"{group} {text}" for group, text in base.items() if not text.startswith("Ideal v")]
        rules = self._rules(node)
        differ: dict[tuple[str, ...], list[str]] = {}
        for labels in set(rules.values()) - {()}:
            own = self._groups(node, labels)
            texts = {group: self._parts.text(group, own[group]) for group in CELL_GROUPS}
            differ[labels] = [f"{group} {text}" for group, text in texts.items() if text != base[group]]
        return lines + [f"layer {name} {line}" for name, labels in rules.items() for line in differ.get(labels, [])]


def _node(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a resolved config that makes a point.

    Raises:
        ValidationError: a key is missing, a group is not a map of parameters, or the time is invalid.
    """
    node: dict[str, Any] = {}
    for key in (*POINT_KEYS, *([REDRAW] if REDRAW in config else [])):
        if key not in config:
            raise ValidationError("is missing", f"leave ~{key} out", parameter=key)
        value = config[key]
        if key == "t_s":
            node[key] = seconds(value)
        elif key == "calibration" and isinstance(value, Mapping) and isinstance(value.get("at_s"), str):
            node[key] = {**value, "at_s": seconds(value["at_s"])}
        elif isinstance(value, Mapping):
            node[key] = value
        else:
            remedy = "give analog.NAME=VALUE" if key == "analog" else f"choose {key}=OPTION or set {key}.NAME=VALUE"
            shown = "null" if value is None else f"{value!r}"
            raise ValidationError("must hold named parameters", remedy, value=value, shown=shown, slot=key)
    return node


def _redraw(node: Mapping[str, Any]) -> Redraw | None:
    """Streams that a point's chips have drawn again; None for chips of one draw.

    Raises:
        ValidationError: not what `Workbench.redrawn` writes.
    """
    if REDRAW not in node:
        return None
    given = fit(node[REDRAW], dict[str, Any], REDRAW)
    stages, layers = (tuple(fit(given.get(name), list[str], f"{REDRAW}.{name}")) for name in ("stages", "layers"))
    return Redraw(stages, layers, fit(given.get("seed"), int, f"{REDRAW}.seed"))
