"""Hydra at the edge: where the configs are, and composing them.

Below this file nothing sees a DictConfig: a config becomes plain resolved data here, and objects in `workbench`.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

from hydra.core.config_loader import ConfigLoader
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from rramsweep import limits
from rramsweep.arguments import brief
from rramsweep.cli import hydra_adapter
from rramsweep.cli.catalog import CATALOG, CONFIG_NAME, conf_dir
from rramsweep.cli.hydra_adapter import parse
from rramsweep.cli.messages import no_option
from rramsweep.cli.overrides import as_hydra_takes_them
from rramsweep.cli.yaml_files import check_resolved
from rramsweep.construct import OWN, fit
from rramsweep.errors import Sentence, ValidationError
from rramsweep.groups import CELL_GROUPS, GROUPS, POINT_KEYS, SETTERS
from rramsweep.identity import OPTION
from rramsweep.simulation.execution import ExecutionSettings
from rramsweep.simulation.layer_rules import check_keys
from rramsweep.simulation.workbench import Workbench
from rramsweep.study.folders import OUTPUTS, check_name
from rramsweep.study.plan import Plan
from rramsweep.study.settings import SETTINGS, Settings
from rramsweep.study.stopping import Fixed

# Keys of a config that are of one job alone, and what they are where nobody gives them.
JOB_KEYS: dict[str, Any] = {"allow_targets": [], "plan": None, "shard": 0}

# Key of a config that a search alone reads.
OBJECTIVE = "objective"

# Flag of a config object for each package whose code was allowed in `compose`.
_FLAG = "rramsweep.allow_targets.{}"

# What conf/config.yaml names as the beginning of every output folder, and as the end of a sweep's.
FOLDER_RESOLVER, RUN_RESOLVER = "rramsweep.folder", "rramsweep.run"


class Abort(BaseException):
    """Carries an error past Hydra, which would print a line of its own for any `Exception`, or wrap it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def output_folder(name: Any, store: Any) -> str:
    """The folder of a sweep, from Hydra's interpolation; checked before Hydra makes it.

    Raises:
        Abort: carries the ValidationError of `check_name`.
    """
    try:
        check_name(str(name), str(store))
    except ValidationError as error:
        raise Abort(error) from None
    return f"{OUTPUTS}/{name}"


def run_folder(sweeper: Any, now: Any) -> str:
    """The last part of a sweep's folder: `study` of a search, which the same command goes on with, else the time."""
    return "study" if str(sweeper).endswith(".StudySweeper") else str(now)


# At import, because a worker resolves the folder before any other code of this package runs.
hydra_adapter.register_resolver(FOLDER_RESOLVER, output_folder)
hydra_adapter.register_resolver(RUN_RESOLVER, run_folder)


def loader() -> ConfigLoader:
    """A config loader over the package's own groups, independent of any running Hydra application."""
    return hydra_adapter.loader(conf_dir())


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """Compose the config of one point, as `rramsweep OVERRIDES...` does.

    Returns:
        The config without Hydra's own node, and with `choices`: the option chosen in each group.

    Raises:
        hydra.errors.HydraException: an unknown group, option or key, or a sweep.
    """
    if isinstance(overrides, str):
        raise ValueError(f"compose takes a list of overrides, got the string {overrides!r}: put it in brackets")
    cfg = point_config(overrides)
    refuse_axes(cfg.hydra.sweeper)
    # Code may be named in compose() as on the command line: checked here, where the overrides are still known.
    config = container(cfg)
    read_settings(config, overrides)
    return _composed(with_choices(cfg), allowed(config, overrides))


def refuse_objective(objective: Any) -> None:
    """Check that what makes no search has no objective, which it would leave unread.

    Raises:
        ValidationError: it has.
    """
    if objective is not None:
        raise ValidationError(
            "is of a search alone, and this is none",
            "search with rramsweep -m hydra/sweeper=optuna, or leave it out",
            value=str(objective),
            parameter=OBJECTIVE,
        )


def point_config(overrides: Sequence[str]) -> DictConfig:
    """Hydra's config of one point, its own node included.

    Raises:
        hydra.errors.HydraException: an unknown group, option or key.
    """
    words = as_hydra_takes_them(overrides, several=False)
    return loader().load_configuration(CONFIG_NAME, words, RunMode.RUN, from_shell=False)


def refuse_axes(sweeper: Any) -> None:
    """Check that an experiment has no axes where one point is wanted: they would silently be dropped.

    Raises:
        ValueError: names the axes and what to do.
    """
    params = sweeper.get("params")
    if params:
        raise ValueError(
            f"a single point has no axes, but this experiment sweeps {', '.join(params)}: run it with -m, or with "
            "rramsweep.sweep() from Python"
        )


def with_choices(cfg: DictConfig) -> DictConfig:
    """A config with Hydra's node replaced by `choices`."""
    chosen = choices(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
        cfg.choices = chosen
    return cfg


def container(cfg: DictConfig) -> dict[str, Any]:
    """A config as plain resolved data, without Hydra's node."""
    keys = [str(key) for key in cfg if key != "hydra"]
    masked = OmegaConf.masked_copy(cfg, keys)
    OmegaConf.set_struct(masked, False)
    masked._set_parent(cfg._get_parent())
    # With Hydra's node, to which an interpolation may lead too.
    check_resolved(cast("dict[str, Any]", OmegaConf.to_container(cfg, resolve=False)))
    config = cast("dict[str, Any]", OmegaConf.to_container(masked, resolve=True, throw_on_missing=True))
    chosen = cfg.hydra.runtime.choices if "hydra" in cfg else cfg.get("choices")
    if chosen is not None:
        check_setters(config, chosen)
    analog = config.get("analog")
    if isinstance(analog, dict) and isinstance(analog.get("layers"), dict):
        config["analog"] = {**analog, "layers": {label: _rule(rule) for label, rule in analog["layers"].items()}}
    return config


def _rule(rule: Any) -> Any:
    """A rule of some layers, in which an option of the package stands for its node: `device: neurram`."""
    if not isinstance(rule, dict):
        return rule
    nodes = {}
    for group, option in rule.items():
        if group in CELL_GROUPS and isinstance(option, str):
            if CATALOG.option(group, option) is None:
                raise no_option(group, option)
            nodes[group] = {**CATALOG.node(group, option), OPTION: option}
    return {**rule, **nodes}


def check_setters(config: Mapping[str, Any], chosen: Mapping[str, Any]) -> None:
    """Check that no parameter of a technology or macro is left to an option which has none of that name.

    Raises:
        ValidationError: another option is chosen than the one whose parameters it sets; says how to take them away.
    """
    for setter in SETTERS:
        preset = str(chosen.get(setter))
        for group, names in _set_by(setter, preset).items():
            known = _parameters(group, str(chosen.get(group)))
            left = [] if known is None else [name for name in names if name in config[group] and name not in known]
            if left:
                away = " ".join(f"'~{group}.{name}'" for name in left)
                raise ValidationError(
                    Sentence(f"{setter}={preset} sets {group}.{left[0]}, which {group}={chosen[group]} does not have"),
                    f"leave out {group}={chosen[group]}, or write {away} beside it",
                )


@cache
def _set_by(setter: str, preset: str) -> dict[str, list[str]]:
    """Parameters that a preset of the package sets, of the groups whose option it chooses."""
    option = CATALOG.option(setter, preset)
    if option is None:
        return {}
    groups = [one.partition("=")[0] for one in option.sets]
    names = [p.name.partition(".") for p in option.parameters]
    return {group: [name for parent, _, name in names if parent == group] for group in groups}


@cache
def _parameters(group: str, option: str) -> frozenset[str] | None:
    """Names of the parameters of an option of the package, None for another."""
    return None if CATALOG.option(group, option) is None else frozenset(CATALOG.keys(group, option))


def choices(cfg: DictConfig) -> dict[str, str]:
    """The option chosen in each config group, from Hydra's node or from what `compose` kept."""
    chosen = cfg.hydra.runtime.choices if "hydra" in cfg else cfg.get("choices")
    if chosen is None:
        raise ValueError("a config must name its choices, but this one has none: make it with rramsweep.compose()")
    return by_group(chosen)


def by_group(chosen: Mapping[str, Any]) -> dict[str, str]:
    """Choices of a point's groups, among all that Hydra knows."""
    return {group: str(chosen[group]) for group in GROUPS}


def allowed(config: Mapping[str, Any], overrides: Iterable[str]) -> list[str]:
    """The packages of a user's own whose code a config may name.

    Args:
        config: plain resolved data.
        overrides: what was given on the command line or to `compose`; only there code may be allowed.

    Raises:
        ValidationError: `allow_targets` comes from a YAML file, is no list of package names, or names this package.
    """
    packages = cast("list[str]", fit(config["allow_targets"], list[str], "allow_targets"))
    if packages and "allow_targets" not in _keys(overrides):
        raise ValidationError(
            "must come from the command line or compose()",
            "give it there: a config that allows itself to run code allows anything",
            value=packages,
            shown=f"{packages} from a YAML file",
            parameter="allow_targets",
        )
    for package in packages:
        if not all(part.isidentifier() for part in package.split(".")):
            raise ValidationError(
                "must hold names of packages",
                "give one as in allow_targets=[mylab]",
                value=package,
                slot="allow_targets",
            )
        if package.split(".")[0] == OWN:
            raise ValidationError(
                "must hold packages of your own",
                f"{OWN}'s own parts are named as its groups take them",
                value=package,
                slot="allow_targets",
            )
    return packages


def composed_allowed(cfg: DictConfig) -> list[str]:
    """The packages whose code a config may name that `compose` made; none of a config from anywhere else.

    Raises:
        ValidationError: the config allows packages that `compose` did not.
    """
    _check_composed(cfg)
    wanted = [str(package) for package in cfg.allow_targets]
    for package in wanted:
        if not cfg._get_flag(_FLAG.format(package)):
            raise ValidationError(
                "must come from compose()",
                f"allow it there, compose([..., 'allow_targets=[{package}]']): no file may allow itself to run code",
                value=package,
                slot="allow_targets",
            )
    return wanted


def _check_composed(cfg: DictConfig) -> None:
    """Check that a config has everything that `compose` gives, each of its kind."""
    maps = [key for key in (*POINT_KEYS, "stopping", "choices") if key != "t_s"]
    missing = [key for key in (*maps, "t_s", *SETTINGS, *JOB_KEYS) if key not in cfg]
    if missing:
        raise ValidationError(
            Sentence(
                f"a config must come from compose(), but this one lacks {', '.join(missing[:3])}"
                f"{', ...' if len(missing) > 3 else ''}"
            ),
            "make it with rramsweep.compose([...])",
        )
    for key in maps:
        if not isinstance(cfg[key], DictConfig):
            raise ValidationError(
                "must hold parameters by name",
                f"choose {key}=OPTION in compose()",
                shown=brief(cfg[key]),
                parameter=key,
            )
    if not isinstance(cfg.allow_targets, ListConfig):
        raise ValidationError(
            "must be a list of packages",
            "give allow_targets=[PACKAGE] to compose()",
            shown=brief(cfg.allow_targets),
            parameter="allow_targets",
        )


def _composed(cfg: DictConfig, packages: Iterable[str]) -> DictConfig:
    # A flag of the object, which no YAML can set and `OmegaConf.save` does not write.
    for package in packages:
        cfg._set_flag(_FLAG.format(package), True)
    return cfg


def read_settings(config: Mapping[str, Any], overrides: Iterable[str]) -> Settings:
    """The settings of a resolved config.

    Args:
        config: plain nested data.
        overrides: what was given on the command line or to `compose`.

    Raises:
        ValueError: an unknown key, a wrong type or range, or `chips` beside a rule that decides itself.
    """
    check_keys(config, [*GROUPS, *POINT_KEYS, *SETTINGS, *JOB_KEYS, OBJECTIVE, "experiment", "choices"])
    check_job_keys(config, overrides)
    settings = Settings.of(config)
    check_name(settings.name, settings.store)
    ExecutionSettings.of(settings)  # refuses what does not go together
    if "chips" in _keys(overrides) and not isinstance(settings.stopping, Fixed):
        raise ValueError(
            f"chips belongs to stopping=fixed, got {settings.chips} beside a rule that decides itself: leave it "
            "out, or give stopping.min_chips and stopping.max_chips"
        )
    return settings


def check_job_keys(config: Mapping[str, Any], overrides: Iterable[str]) -> None:
    """Check that no YAML file names the plan that is run, or packages whose code may be.

    Raises:
        ValidationError: names the key.
    """
    given = _keys(overrides)
    for key, default in JOB_KEYS.items():
        if config[key] != default and key not in given:
            raise ValidationError(
                "must come from the command line", "take it out of the YAML file", value=config[key], parameter=key
            )


def _keys(overrides: Iterable[str]) -> set[str]:
    return {override.lstrip("+").split("=", 1)[0] for override in overrides}


def point_plan(
    config: Mapping[str, Any], chosen: Mapping[str, str], overrides: Iterable[str], command: str, allow: Sequence[str]
) -> tuple[Plan, Workbench]:
    """The plan of a single point: its seeds are `seed .. seed + chips - 1`.

    Args:
        config: plain resolved data, from `container`.
        chosen: the option of each group, from `choices`.
        overrides: what was given on the command line or to `compose`.
        command: kept in the plan, to be repeated.
        allow: packages of a user's own that the config may name.

    Raises:
        ValueError: see `read_settings` and `Workbench.point`.
    """
    settings = read_settings(config, overrides)
    limits.TRIALS.check(len(settings.seeds()), "trials", remedy="ask for fewer chips")
    workbench = Workbench(allow, ExecutionSettings.of(settings))
    point = workbench.point(config, chosen)
    settings.check_units([point.params])
    axes = [o.get_key_element().lstrip("+") for o in parse(list(overrides)) if not o.is_delete()]
    columns = [name for name in dict.fromkeys(axes) if name in {**point.choices, **point.params}]
    return Plan([point], [settings.seeds()], columns, kept(settings, command)), workbench


def kept(settings: Settings, command: str) -> Settings:
    """The settings as a plan keeps them: enough to go on from its folder alone."""
    return replace(settings, store=str(Path(settings.store).absolute()), command=command)


def command_line() -> str:
    """The command as it was given, to be repeated."""
    return shlex.join(["rramsweep", *sys.argv[1:]])
