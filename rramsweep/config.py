"""Hydra at the edge: where the configs are, and composing them.

Below this file nothing sees a DictConfig: a config becomes plain resolved data here, and objects in `workbench`.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from rramsweep.errors import ValidationError
from rramsweep.folders import OUTPUTS, check_name
from rramsweep.plan import GROUPS, Plan
from rramsweep.settings import Settings
from rramsweep.workbench import Workbench

CONFIG_NAME = "config"
HYDRA_VERSION_BASE = "1.3"

# What conf/config.yaml names as the beginning of every output folder.
FOLDER_RESOLVER = "rramsweep.folder"


class Abort(BaseException):
    """Carries an error past Hydra, which would print a line of its own for any `Exception`, or wrap it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def output_folder(name: Any, store: Any) -> str:
    """The folder of a sweep, from Hydra's interpolation: looked at before Hydra makes it.

    Raises:
        Abort: carries the ValidationError of `check_name`.
    """
    try:
        check_name(str(name), str(store))
    except ValidationError as error:
        raise Abort(error) from None
    return f"{OUTPUTS}/{name}"


# At import, because a worker resolves the folder before any other code of this package runs.
OmegaConf.register_new_resolver(FOLDER_RESOLVER, output_folder, replace=True)


def conf_dir() -> Path:
    """The folder of config groups: inside an installed package, beside it in a clone."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys of one config file as they stand there, nothing resolved."""
    return cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.load(path)))


def loader() -> ConfigLoader:
    """A config loader over the package's own groups, independent of any running Hydra application."""
    setup_globals()
    if version.getbase() is None:
        version.setbase(HYDRA_VERSION_BASE)
    return ConfigLoaderImpl(config_search_path=create_config_search_path(str(conf_dir())))


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """Compose the config of one point, as `rramsweep OVERRIDES...` does.

    Returns:
        The config without Hydra's own node, and with `choices`: the option chosen in each group.

    Raises:
        hydra.errors.HydraException: an unknown group, option or key, or a sweep.
    """
    if isinstance(overrides, str):
        raise ValueError(f"compose takes a list of overrides, got the string {overrides!r}: put it in brackets")
    cfg = loader().load_configuration(CONFIG_NAME, list(overrides), RunMode.RUN, from_shell=False)
    refuse_axes(cfg.hydra.sweeper)
    # Code may be named in compose() as on the command line: checked here, where the overrides are still known.
    Settings.of(container(cfg), overrides)
    return with_choices(cfg)


def refuse_axes(sweeper: Any) -> None:
    """Refuse an experiment that sweeps where one point is asked for: its axes would silently be dropped.

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
    return cast("dict[str, Any]", OmegaConf.to_container(masked, resolve=True, throw_on_missing=True))


def choices(cfg: DictConfig) -> dict[str, str]:
    """The option chosen in each config group, from Hydra's node or from what `compose` kept."""
    chosen = cfg.hydra.runtime.choices if "hydra" in cfg else cfg.get("choices")
    if chosen is None:
        raise ValueError("a config must name its choices, but this one has none: make it with rramsweep.compose()")
    return by_group(chosen)


def by_group(chosen: Mapping[str, Any]) -> dict[str, str]:
    """Of all choices that Hydra knows, those of a point's groups."""
    return {group: str(chosen[group]) for group in GROUPS}


def point_plan(
    config: Mapping[str, Any], chosen: Mapping[str, str], overrides: Iterable[str], command: str
) -> tuple[Plan, Settings, Workbench]:
    """The plan of a single point: its seeds are `seed .. seed + chips - 1`.

    Args:
        config: plain resolved data, from `container`.
        chosen: the option of each group, from `choices`.
        overrides: what was given on the command line or to `compose`.
        command: kept in the plan, to be repeated.

    Raises:
        ValueError: see `Settings.of` and `Workbench.point`.
    """
    settings = Settings.of(config, overrides)
    workbench = settings.workbench()
    point = workbench.point(config, chosen)
    settings.check_units([point])
    axes = [o.get_key_element().lstrip("+") for o in parse(list(overrides)) if not o.is_delete()]
    columns = [name for name in dict.fromkeys(axes) if name in {**point.choices, **point.params}]
    return Plan([point], [settings.seeds()], columns, plan_settings(settings, command)), settings, workbench


def plan_settings(settings: Settings, command: str) -> dict[str, Any]:
    """What a plan keeps of the settings: enough to go on from its folder alone."""
    left_out = ("store", "allow_targets", "plan", "shard")
    return {
        **{f.name: getattr(settings, f.name) for f in fields(Settings) if f.name not in left_out},
        "store": str(Path(settings.store).absolute()),
        "command": command,
    }


def command_line() -> str:
    """The command as it was given, to be repeated."""
    return shlex.join(["rramsweep", *sys.argv[1:]])


def parse(overrides: Sequence[str], config_loader: ConfigLoader | None = None) -> list[Any]:
    """Overrides as Hydra's parser reads them."""
    return list(OverridesParser.create(config_loader=config_loader).parse_overrides(list(overrides)))
