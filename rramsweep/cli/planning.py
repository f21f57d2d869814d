"""The plan of a sweep, composed fast: every point that Hydra's own sweeper would make, in its order.

Hydra's own sweeper composes every point twice, at 120-190 ms of CPU a point. Here Hydra composes once for each
combination of options (and of whatever else is not a plain scalar), and swept scalars are set in place.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    Override,
    OverrideType,
    RangeSweep,
    Transformer,
    ValueType,
)
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from rramsweep import limits
from rramsweep.cli import factors
from rramsweep.cli.catalog import CONFIG_NAME
from rramsweep.cli.composing import allowed, choices, container, kept, point_config, read_settings, refuse_objective
from rramsweep.cli.composing import loader as own_loader
from rramsweep.cli.hydra_adapter import parse
from rramsweep.cli.messages import no_name
from rramsweep.cli.overrides import as_hydra_takes_them, check, missing_key
from rramsweep.construct import fit
from rramsweep.errors import ValidationError
from rramsweep.groups import GROUPS, POINT_KEYS
from rramsweep.identity import flatten
from rramsweep.simulation.execution import ExecutionSettings
from rramsweep.simulation.workbench import Workbench
from rramsweep.study import stopping
from rramsweep.study.plan import Plan, Point, merge
from rramsweep.study.settings import Settings


@dataclass(frozen=True)
class Axis:
    """The values of one key, each as an override; one value where the key is not swept."""

    values: Sequence[Override]
    is_swept: bool = False


def plan_of(overrides: Sequence[str], command: str, inputs: int | None = None) -> tuple[Plan, Workbench]:
    """The plan of `rramsweep -m OVERRIDES...`; arguments and errors as of `compose_plan`."""
    if isinstance(overrides, str):
        name = command.rpartition(".")[2]
        raise ValueError(f"{name} takes a list of overrides, got the string {overrides!r}: put it in brackets")
    config_loader = own_loader()
    check(overrides)
    overrides = as_hydra_takes_them(overrides)
    master = config_loader.load_configuration(CONFIG_NAME, list(overrides), RunMode.MULTIRUN, from_shell=False)
    params = {str(k): str(v) for k, v in (master.hydra.sweeper.params or {}).items()}
    return compose_plan(config_loader, master, params, overrides, command, inputs)


def compose_plan(
    loader: ConfigLoader,
    master: DictConfig,
    params: Mapping[str, str],
    arguments: Sequence[str],
    command: str,
    inputs: int | None = None,
) -> tuple[Plan, Workbench]:
    """Compose and validate every point of a sweep.

    Args:
        loader: Hydra's config loader.
        master: the config of the multirun itself.
        params: swept axes of an experiment; an argument of the same key replaces them.
        arguments: the command line's overrides.
        command: kept in the plan, to be repeated.
        inputs: see `Workbench`.

    Raises:
        ValueError: an axis that is no axis, `chips` beside a swept seed, or any point that refuses its parameters.
    """
    refuse_objective(master.get("objective"))
    given = parse([*(f"{k}={v}" for k, v in params.items()), *arguments], loader)
    _check_size_before(given, master)
    axes = _axes(given)
    swept = [key for key, axis in axes.items() if axis.is_swept]
    for key in swept:
        check_axis(key)
    seeds = _seed_axis(axes)
    n_points = math.prod(len(axis.values) for axis in axes.values())
    _check_size(n_points, len(seeds) if seeds is not None else _most_chips(master))
    resolved = resolve_all(loader, master, axes)
    first = next(resolved)
    settings = read_settings(first[0], arguments)
    if first[0]["plan"] is not None:
        raise ValidationError("is of one job of a sweep", "leave -m out", value=first[0]["plan"], parameter="plan")
    if seeds is None:
        seeds = settings.seeds()
    workbench = Workbench(allowed(first[0], arguments), ExecutionSettings.of(settings), inputs=inputs)
    points = workbench.points(itertools.chain([first], resolved))
    settings.check_units(point.params for point in points)
    columns = _columns([key for key in swept if key != "seed"], axes, points)
    plan = merge([Plan(points, [seeds] * len(points), columns, kept(settings, command))])
    plan = described(plan, _given(axes), workbench)
    if settings.shards > plan.n_trials:
        raise ValueError(
            f"shards must be at most the number of trials, got {settings.shards} for {plan.n_trials}: lower shards or "
            "ask for more chips"
        )
    return plan, workbench


def described(plan: Plan, given: Iterable[str], workbench: Workbench) -> Plan:
    """A plan with what its axes and the values that nobody gave have to say, in its settings.

    Args:
        plan: validated.
        given: names of what was swept or typed.
        workbench: the one that built its points.
    """
    identical = bool(plan.points) and not any(workbench.draws(point) for point in plan.points)
    plan = replace(plan, settings=replace(plan.settings, identical_chips=identical))
    held = factors.held_fixed(plan.points, [*given, *plan.swept], workbench)
    notes = factors.level_notes(plan.points, plan.swept, workbench)
    notes += factors.company_notes(plan.points, plan.swept, held, workbench)
    notes += factors.draw_notes(plan)
    settings = replace(
        plan.settings,
        notes=(*plan.settings.notes, *notes),
        held_fixed=tuple(held.values()),
        source_ranges=workbench.source_ranges,
    )
    return replace(plan, settings=settings)


def given_by(overrides: Sequence[str]) -> list[str]:
    """Names of the parameters that the overrides of one point give."""
    return _given(_axes(parse(overrides)))


def resolve_all(
    loader: ConfigLoader, master: DictConfig, axes: Mapping[str, Axis]
) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """Every combination of the axes as `(resolved plain config, choices)`, the last axis fastest.

    The order and the results are those of Hydra's basic sweeper, but for a parameter that only some of the options
    swept beside it have: it applies to those, and the others come once, not once a value. What two configs have in
    common is one object in both.

    Raises:
        HydraException: Hydra's own, of a parameter that no combination has too.
    """
    keys = list(axes)
    first = {key: axis.values[0] for key, axis in axes.items()}
    in_place = [key for key in keys if _is_set_in_place(key, axes)]
    composed: dict[tuple[str | None, ...], _Composed] = {}
    refused: dict[str, HydraException] = {}
    others = [key for key in keys if key not in in_place]
    for combination in itertools.product(*(axis.values for axis in axes.values())):
        chosen = dict(zip(keys, combination, strict=True))
        rest = tuple(chosen[key].input_line for key in others)
        if rest not in composed:
            is_master = not composed and _is_first(master, axes, in_place)
            cfg, missing = (master, {}) if is_master else compose_point(loader, master, chosen)
            composed[rest] = _Composed(cfg, [key for key in in_place if key not in missing], list(missing))
            refused = missing if len(composed) == 1 else {k: e for k, e in refused.items() if k in missing}
        base = composed[rest]
        if all(chosen[key] is first[key] for key in base.left_out):
            yield base.resolved(chosen), base.choices
    for error in refused.values():
        raise error


def _is_first(master: DictConfig, axes: Mapping[str, Axis], in_place: Sequence[str]) -> bool:
    """True where the multirun's own config is that of the first combination, but for values that are set in place.

    Composing is most of what a small sweep takes before its first chip.
    """
    lines = [str(line) for line in master.hydra.overrides.task]
    heads = {line.partition("=")[0] for line in lines}
    return (
        len(heads) == len(lines) == len(axes)
        and all(key in heads if key in in_place else axis.values[0].input_line in lines for key, axis in axes.items())
        and all(_has(master, key) for key in in_place)  # else Hydra refuses it when it composes
        and "???" not in master.hydra.runtime.choices.values()  # an option that a multirun may leave to its points
        and not _interpolates(master)  # to the swept text
    )


def variants(
    words: Sequence[str], first: Mapping[str, float]
) -> Callable[[Mapping[str, float]], tuple[dict[str, Any], dict[str, str]]]:
    """Composer of the overrides of one point under changes of some parameters, as `(resolved config, choices)`.

    Args:
        words: overrides of one point.
        first: a change, `{dotted name of a parameter: value}`; all others are of the same names.

    Raises:
        HydraException: Hydra's own, of a parameter that no option chosen has.
    """
    lines = [f"{name}={value}" for name, value in first.items()]
    cfg = point_config([*words, *lines])
    composed, overrides = _Composed(cfg, list(first), ()), dict(zip(first, parse(lines), strict=True))

    def at(change: Mapping[str, float]) -> tuple[dict[str, Any], dict[str, str]]:
        values = {name: _element(overrides[name], f"{name}={value}", value) for name, value in change.items()}
        return composed.resolved(values), composed.choices

    return at


def _has(config: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(config, DictConfig) or part not in config:
            return False
        config = config._get_node(part)
    return True


class _Composed:
    """A config as Hydra composed it, and what it becomes under each value of the keys that are set in place.

    Args:
        cfg: of Hydra.
        keys: dotted names that are set in place.
        left_out: names that its options do not have.
    """

    def __init__(self, cfg: DictConfig, keys: Sequence[str], left_out: Sequence[str]) -> None:
        self._cfg, self.choices, self.left_out = cfg, choices(cfg), left_out
        self._plain = None if _interpolates(cfg) else container(cfg)
        self._keys = {root: list(each) for root, each in itertools.groupby(sorted(keys), lambda k: k.split(".")[0])}
        self._nodes: dict[tuple[str | None, ...], Any] = {}

    def resolved(self, chosen: Mapping[str, Override]) -> dict[str, Any]:
        """The plain config under the chosen values."""
        if self._plain is None:  # a value may decide others
            for key in itertools.chain.from_iterable(self._keys.values()):
                OmegaConf.update(self._cfg, key, chosen[key].value(), merge=True)
            return container(self._cfg)
        config = dict(self._plain)
        for root, keys in self._keys.items():
            values = (root, *[chosen[key].input_line for key in keys])
            if values not in self._nodes:
                self._nodes[values] = _with(self._plain, {key: chosen[key].value() for key in keys})[root]
            config[root] = self._nodes[values]
        return config


def compose_point(
    loader: ConfigLoader, master: DictConfig, chosen: Mapping[str, Override]
) -> tuple[DictConfig, dict[str, HydraException]]:
    """Hydra's config of a combination, and the parameters left out since its options have none of that name."""
    left_out: dict[str, HydraException] = {}
    while True:
        try:
            lines = [str(override.input_line) for key, override in chosen.items() if key not in left_out]
            return loader.load_sweep_config(master, lines), left_out
        except HydraException as error:
            key = missing_key(error) or ""
            if key in left_out or key not in chosen or key.split(".")[0] not in POINT_KEYS:
                raise
            left_out[key] = error


def _axes(overrides: Sequence[Override]) -> dict[str, Axis]:
    # As Hydra's basic sweeper: a later override of a key replaces an earlier one, in the earlier one's place.
    axes: dict[str, Axis] = {}
    for override in overrides:
        key = override.get_key_element()
        if override.is_sweep_override():
            if not override.is_discrete_sweep():
                raise ValueError(f"{key} must be swept over listed values, got {override.input_line}: list them")
            axes[key] = Axis(axis_values(override), True)
        elif override.is_delete():
            axes[key] = Axis(parse([f"~{key.lstrip('~')}"]))
        else:
            axes[key] = Axis(parse([f"{key}={override.get_value_element_as_str()}"]))
    return axes


def axis_values(override: Override) -> list[Override]:
    """The values of a swept override, each as an override; a range is only counted up to the limit on trials."""
    key, swept = override.get_key_element(), override.value()
    if isinstance(swept, RangeSweep):  # counted before they are written out
        limits.TRIALS.check(_least_values(swept, key), "trials", remedy=f"sweep {key} over fewer values")
    values = [_element(override, f"{key}={Transformer.str(value)}", value) for value in override.sweep_iterator()]
    if not values:
        remedy = "correct the pattern" if isinstance(swept, Glob) else "correct its ends"
        raise ValidationError("must be swept over at least one value", remedy, value=override.input_line, parameter=key)
    return values


def _element(swept: Override, line: str, value: object) -> Override:
    """One value of a swept override; numbers, which read as they are written, are not parsed again."""
    if isinstance(value, int | float):
        return replace(swept, value_type=ValueType.ELEMENT, _value=value, input_line=line)
    return cast(Override, parse([line])[0])


def _check_size(n_points: int, chips: int) -> None:
    """Check the number of points, and that of their chips together."""
    limits.POINTS.check(n_points, "points", remedy="sweep over fewer values")
    fewer = f"ask for fewer chips{f' or fewer than {n_points:,} points' if n_points > 1 else ''}"
    limits.TRIALS.check(n_points * chips, "trials", remedy=fewer)


def _check_size_before(overrides: Sequence[Override], master: DictConfig) -> None:
    """Check the size of a sweep by what its axes have at least, before their values are written out."""
    least: dict[str, int] = {}
    for override in overrides:
        swept, key = override.value(), override.get_key_element()
        least[key] = len(swept.list) if isinstance(swept, ChoiceSweep) else 1
        if isinstance(swept, RangeSweep):
            least[key] = _least_values(swept, key)
    chips = least.pop("seed") if least.get("seed", 1) > 1 else _most_chips(master)
    _check_size(math.prod(least.values()), chips)


def _least_values(swept: RangeSweep, key: str) -> int:
    """Number of values of a range, or one less where its step is a fraction.

    Raises:
        ValidationError: the range has no end.
    """
    ends = (swept.start or 0, swept.stop if swept.stop is not None else math.inf, swept.step)
    if not all(map(math.isfinite, ends)) or swept.step == 0:
        raise ValidationError(
            "must be swept over a range of finite ends, with a step other than 0",
            f"give {key}=range(FIRST,BEYOND,STEP), or list the values",
            shown=f"range({','.join(f'{end:g}' for end in ends)})",
            parameter=key,
        )
    return max(1, int((ends[1] - ends[0]) / swept.step))


def _most_chips(master: DictConfig) -> int:
    """Chips that a point of a sweep may get, before any point is composed."""
    rule = stopping.read(OmegaConf.to_container(master.stopping, resolve=True))
    return rule.cap(fit(master.chips, int, "chips"))


def check_axis(key: str) -> None:
    """Check that a key can be swept.

    Raises:
        ValueError: it is a setting, or nothing that there is.
    """
    root = key.lstrip("+").split(".")[0]
    known = (*GROUPS, *POINT_KEYS, "seed")
    if root not in (*known, *(field.name for field in fields(Settings)), "experiment", "hydra"):
        raise no_name(key.lstrip("+"), "swept")
    if root not in known:
        raise ValueError(
            f"an axis must be a config group, a parameter of one, t_s or seed, got {key}: give {key} one value"
        )


def _given(axes: Mapping[str, Axis]) -> list[str]:
    """Names of what the axes give, those inside of maps too."""
    names: dict[str, None] = {}
    for key, axis in axes.items():
        names[key.lstrip("+~")] = None
        for value in (override.value() for override in axis.values):
            if isinstance(value, Mapping):
                names |= dict.fromkeys(flatten(_plain(value), f"{key.lstrip('+')}."))
    return list(names)


def _plain(value: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): _plain(inner) if isinstance(inner, Mapping) else inner for key, inner in value.items()}


def _columns(keys: Sequence[str], axes: Mapping[str, Axis], points: Sequence[Point]) -> list[str]:
    """The columns that the axes vary: of an axis over maps, each parameter that differs.

    Raises:
        ValidationError: an axis varies what is no column, so that its points would have one name.
    """
    columns: dict[str, None] = {}
    for key in keys:
        name = key.lstrip("+")
        maps = any(isinstance(override.value(), Mapping) for override in axes[key].values)
        if not maps and (name in GROUPS or any(name in point.params for point in points)):
            columns[name] = None
            continue
        inner = dict.fromkeys(n for point in points for n in point.params if n.startswith(f"{name}."))
        columns |= dict.fromkeys(n for n in inner if len({repr(point.params.get(n)) for point in points}) > 1)
    named: dict[str, Point] = {}
    for point in points:
        other = named.setdefault(repr([point.label(name) for name in columns]), point)
        if other.point_id != point.point_id:
            blind = [key.lstrip("+") for key in keys if key.lstrip("+") not in columns]
            raise ValidationError(
                "must vary an option or a parameter, which are columns of the table",
                "make each value an option of its group, or run a sweep for each",
                shown="values whose points no column tells apart",
                parameter=" and ".join(blind or (key.lstrip("+") for key in keys)),
            )
    return list(columns)


def _seed_axis(axes: dict[str, Axis]) -> Sequence[int] | None:
    """Take a swept seed off the axes: its values, or None if seed is not swept."""
    if "seed" not in axes or not axes["seed"].is_swept:
        return None
    one = Axis(parse(["chips=1"]))
    chips = axes.get("chips", one).values[0]
    if chips.value() != 1:
        raise ValueError(
            f"a swept seed has one chip a value, got {chips.input_line} beside it: leave chips out or set chips=1"
        )
    seeds: list[Any] = [override.value() for override in axes["seed"].values]
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < limits.SEED_LIMIT:
            raise ValueError(f"seed must be an integer in 0..2**63-1, got {seed}: use seed=range(0,100)")
    axes["seed"], axes["chips"] = Axis(axes["seed"].values[:1]), one
    return sorted(set(seeds))


def _is_set_in_place(key: str, axes: Mapping[str, Axis]) -> bool:
    """True where a key's values may be set in a composed config: plain scalars, and no other key overlaps it."""
    root = key.split(".")[0]
    if root not in POINT_KEYS or ("." not in key and key != "t_s"):
        return False
    if any(other != key and f"{other}.".startswith(f"{key}.") for other in axes):
        return False
    if any(other != key and "." in other and f"{key}.".startswith(f"{other.lstrip('+~')}.") for other in axes):
        return False
    return all(
        o.type == OverrideType.CHANGE
        and (o.value() is None or isinstance(o.value(), bool | int | float | str))
        and "${" not in str(o.value())
        for o in axes[key].values
    )


def _interpolates(cfg: DictConfig) -> bool:
    raw = OmegaConf.to_container(OmegaConf.masked_copy(cfg, [str(k) for k in cfg if k != "hydra"]), resolve=False)
    return "${" in json.dumps(raw)


def _with(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with dotted keys set; only the branches that change are copied."""
    changed = dict(config)
    for root in {key.split(".")[0] for key in changes}:
        changed[root] = copy.deepcopy(config[root])
    for key, value in changes.items():
        *parents, leaf = key.split(".")
        node = changed
        for parent in parents:
            node = cast("dict[str, Any]", node[parent])
        node[leaf] = value
    return changed
