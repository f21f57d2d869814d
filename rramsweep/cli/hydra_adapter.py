"""Composing configs by Hydra, and what of Hydra's own node a YAML file may set: the only file on Hydra's internals.

Hydra runs what its node names: callbacks, logging handlers, launchers with shell lines. It does so while it composes,
so a command is composed here first, by the same files and overrides, and checked before Hydra itself begins.
"""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any, cast

import hydra
import hydra.conf
from hydra import version
from hydra._internal import config_loader_impl, defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from rramsweep.cli.messages import FULL_ERROR
from rramsweep.cli.yaml_files import check_file, check_resolved
from rramsweep.construct import inside
from rramsweep.errors import ValidationError

HYDRA_VERSION_BASE = "1.3"

# Sweepers that a config may name, and launchers.
BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
SWEEPERS = tuple(f"hydra_plugins.rramsweep_sweeper.{name}" for name in ("PlanSweeper", "StudySweeper"))
SWEEPERS += (BASIC_SWEEPER,)
LAUNCHERS = (
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher",
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher",
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher",
    "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher",
)

# Keys that hold a number or a word of a launcher or of logging, and start nothing: a YAML may set them.
_PLAIN = {
    # joblib
    *("n_jobs", "backend", "prefer", "require", "verbose", "timeout", "pre_dispatch", "batch_size", "temp_folder"),
    *("max_nbytes", "mmap_mode"),
    # submitit and sbatch
    *("submitit_folder", "timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes", "name"),
    *("stderr_to_stdout", "partition", "qos", "comment", "constraint", "exclude", "gres", "cpus_per_gpu"),
    *("gpus_per_task", "mem_per_gpu", "mem_per_cpu", "account", "signal_delay_s", "max_num_timeout"),
    "array_parallelism",
    # ray.init and ray.remote
    *("address", "num_cpus", "num_gpus", "object_store_memory", "include_dashboard", "log_to_driver", "local_mode"),
    *("logging_level", "namespace", "ignore_reinit_error", "memory", "max_retries", "max_calls"),
    # logging
    *("version", "level", "format", "datefmt", "handlers", "propagate", "disable_existing_loggers"),
}

# Keys that name what Hydra, or Python's logging, calls.
_CALLS = ("_target_", "()", "class", "_call_", "_args_", "_partial_")

_LOGGING = ("hydra_logging", "job_logging")

# What a launcher writes into the script of a job, line by line.
_IN_SCRIPTS = ("hydra.launcher", "hydra.job.name", "hydra.sweep.dir", "hydra.sweep.subdir")


# What Hydra made of a file, and the text that it made it of: a process composes the same files again for every sweep.
# As a pickle, of which a copy is made in a fourth of the time of `copy.deepcopy`.
_READ: dict[tuple[str, str, str], tuple[bytes, bytes]] = {}


class _Repository(ConfigRepository):
    """Hydra's repository, whose files are checked before they are read, and parsed again only once they change."""

    def load_config(self, config_path: str) -> ConfigResult | None:
        source = self._find_object_source(config_path=config_path, object_type=ObjectType.CONFIG)
        if source is None or source.scheme() not in ("file", "pkg"):
            return super().load_config(config_path)
        text = b""  # of a package's file, which does not change
        if source.scheme() == "file":
            path = Path(source.path) / source._normalize_file_name(config_path)
            check_file(path)
            text = path.read_bytes()
        key = (source.provider, source.path, config_path)
        known = _READ.get(key)
        if known is None or known[0] != text:
            known = _READ[key] = text, pickle.dumps(super().load_config(config_path))
        # A copy, because Hydra merges its nodes into the config that it returns.
        return cast("ConfigResult | None", pickle.loads(known[1]))

    def __deepcopy__(self, memo: dict[int, Any]) -> _Repository:
        """A repository of the same sources: Hydra copies it for every composition, and may then give it others."""
        return copy.copy(self)


class _Loader(ConfigLoaderImpl):
    """Hydra's loader over checked files; `hydra.searchpath` of a file imports no package.

    Args:
        config_search_path: where files are.
        allow: packages of a user's own.
    """

    def __init__(self, config_search_path: Any, allow: Sequence[str] = ()) -> None:
        super().__init__(config_search_path)
        self.repository = _Repository(config_search_path)
        self._allow = tuple(allow)

    def load_configuration(self, *args: Any, **kwargs: Any) -> DictConfig:
        """Hydra's, quicker."""
        with _without_unused_maps():
            return super().load_configuration(*args, **kwargs)

    def _process_config_searchpath(
        self, config_name: str | None, parsed_overrides: list[Override], repo: CachingConfigRepository
    ) -> None:
        loaded = repo.load_config(config_path=config_name) if config_name is not None else None
        in_file = OmegaConf.select(loaded.config, "hydra.searchpath") if loaded is not None else None
        typed = [o.value() for o in parsed_overrides if o.get_key_element() == "hydra.searchpath"]
        for entry in [entry for entries in (in_file, *typed) if isinstance(entries, Sequence) for entry in entries]:
            package = str(entry).removeprefix("pkg://")
            if str(entry).startswith("pkg://") and not inside(package, ("hydra", "hydra_plugins", *self._allow)):
                raise ValidationError(
                    "may import no package",
                    f"give a folder as file://DIR, or allow it with allow_targets=[{package.split('.')[0]}]",
                    value=str(entry),
                    slot="hydra.searchpath",
                )
        super()._process_config_searchpath(config_name, parsed_overrides, repo)


def loader(conf_dir: Path, allow: Sequence[str] = ()) -> ConfigLoaderImpl:
    """A config loader over a folder of groups, independent of any running Hydra application."""
    setup_globals()
    if version.getbase() is None:
        version.setbase(HYDRA_VERSION_BASE)
    return _Loader(create_config_search_path(str(conf_dir)), allow)


def start(
    task: Callable[[DictConfig], object],
    arguments: Sequence[str],
    conf_dir: Path,
    config_name: str,
    allow: Sequence[str],
) -> None:
    """Hand a command to Hydra; what goes wrong is raised, where Hydra by itself would print a traceback and exit.

    Args:
        task: runs one job.
        arguments: the command line after the program's name.
        conf_dir: folder of the primary config.
        config_name: of the primary config.
        allow: packages of a user's own.
    """
    argv, full = sys.argv, os.environ.get(FULL_ERROR)
    sys.argv = [argv[0], *arguments]
    os.environ[FULL_ERROR] = "1"
    try:
        # No file of the package sets Hydra's mode.
        unset = _is_of_the_package(get_args_parser().parse_args(list(arguments)))
        with _files_read_once(), _without_unused_maps(), _mode_unasked() if unset else nullcontext():
            hydra.main(config_path=str(conf_dir), config_name=config_name, **_main_options(allow))(task)()
    finally:
        sys.argv = argv
        if full is None:
            del os.environ[FULL_ERROR]
        else:
            os.environ[FULL_ERROR] = full


@contextmanager
def _replaced(owner: Any, name: str, own: Any, value: Any) -> Iterator[None]:
    """Replace something of Hydra's for a while, and put its own back, whatever is there by then."""
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, own)


def _files_read_once() -> AbstractContextManager[None]:
    """Let Hydra's own loader take files as `_Repository` does: it composes a command and each job of a sweep."""
    return _replaced(config_loader_impl, ConfigRepository.__name__, ConfigRepository, _Repository)


# Hydra 1.3 describes all options chosen so far after each file, for defaults whose names hold an interpolation.
_MAP = "_create_interpolation_map"
_create_map: Callable[..., DictConfig] | None = getattr(defaults_list, _MAP, None)


def _without_unused_maps() -> AbstractContextManager[None]:
    """Let Hydra 1.3 describe chosen options only where a default has an interpolation: a third of a composition."""
    create = _create_map
    if create is None:
        return nullcontext()

    def create_if_used(overrides: Any, defaults: Sequence[Any], self_added: bool) -> DictConfig:
        if any(not each.is_self() and each.is_interpolation() for each in defaults):
            return create(overrides, defaults, self_added)
        return OmegaConf.create({})

    return _replaced(defaults_list, _MAP, create, create_if_used)


_get_mode = Hydra.get_mode


def _mode_unasked() -> AbstractContextManager[None]:
    """Let Hydra not compose a command for `hydra.mode` alone, where nothing can set it."""
    return _replaced(Hydra, _get_mode.__name__, _get_mode, lambda *args, **kwargs: None)  # noqa: ARG005


def _is_of_the_package(parsed: Namespace) -> bool:
    """True for a command that composes files of the package alone and gives nothing of Hydra's own node.

    Args:
        parsed: by Hydra's own parser of arguments.
    """
    own = parsed.config_dir is None and parsed.config_path is None and parsed.config_name is None
    return own and not any(re.match(r"[+~]*hydra\b", override) for override in parsed.overrides)


def parse(overrides: Sequence[str], config_loader: ConfigLoader | None = None) -> list[Any]:
    """Overrides as Hydra's parser reads them."""
    return list(OverridesParser.create(config_loader=config_loader).parse_overrides(list(overrides)))


def _main_options(allow: Sequence[str]) -> dict[str, Any]:
    """Arguments of `hydra.main` that differ by its version: from 1.4 on, what its own instantiation may call.

    Args:
        allow: packages of a user's own.
    """
    if not _restricts_calls():
        return {"version_base": HYDRA_VERSION_BASE}
    # Hydra refuses other names in words of its own, before `composing.allowed` does.
    named = [package for package in allow if all(part.isidentifier() for part in package.split("."))]
    return {"execution_whitelist": [*SWEEPERS, *LAUNCHERS, *(f"{package}.*" for package in named)]}


def config_for_jobs(config: DictConfig, config_loader: ConfigLoader) -> DictConfig:
    """The config of a sweep, as jobs that compose the defaults may find it.

    From 1.4 on Hydra refuses a job whose launcher or sweeper is set otherwise than the sweep's, as it is where an
    experiment sets them: here they are those that a job composes.
    """
    if not _restricts_calls():
        return config
    overrides = list(config.hydra.overrides.hydra)
    job = config_loader.load_configuration(config.hydra.job.config_name, overrides, RunMode.MULTIRUN, from_shell=False)
    config = copy.deepcopy(config)
    with read_write(config.hydra), open_dict(config.hydra):
        for node in ("launcher", "sweeper"):
            config.hydra[node] = job.hydra[node]
            config.hydra.runtime.choices[f"hydra/{node}"] = job.hydra.runtime.choices[f"hydra/{node}"]
    return config


def _restricts_calls() -> bool:
    """True from Hydra 1.4 on, which restricts what its own instantiation may call."""
    return "execution_whitelist" in inspect.signature(hydra.main).parameters


def register_resolver(name: str, resolver: Callable[..., Any]) -> None:
    """Register an OmegaConf resolver; again is the same.

    `register_resolver` is the name from OmegaConf 2.4 on, and before was another, older function.
    """
    takes_replace = "replace" in inspect.signature(OmegaConf.register_resolver).parameters
    register: Callable[..., None] = OmegaConf.register_resolver if takes_replace else OmegaConf.register_new_resolver
    register(name, resolver, replace=True)


def check_command(arguments: Sequence[str], conf_dir: Path, config_name: str, allow: Sequence[str]) -> None:
    """Check that no YAML file of a command has Hydra run something that is not shipped.

    Args:
        arguments: the command line after the program's name.
        conf_dir: the package's own folder of groups.
        config_name: of the primary config, unless the command names another.
        allow: packages that the command line allows by `allow_targets`.

    Raises:
        ValidationError: a damaged YAML, or callbacks, logging, a launcher's shell lines, or any target below `hydra`
            that neither this package nor its launchers ship.
        HydraException: the config does not compose.
    """
    parsed = get_args_parser().parse_args(list(arguments))
    if getattr(parsed, "experimental_rerun", None):
        raise ValidationError(
            "is not taken, because it runs what a pickle holds", "repeat the command", parameter="--experimental-rerun"
        )
    overrides = list(parsed.overrides)
    if parsed.shell_completion or _is_of_the_package(parsed):
        return  # no file but the package's own: `overrides.check` refuses options from elsewhere
    folder = Path(parsed.config_path) if parsed.config_path is not None else conf_dir
    composing = loader(folder.absolute(), allow)
    if parsed.config_dir is not None:
        path = composing.config_search_path
        path.prepend("command-line", f"file://{Path(parsed.config_dir).absolute()}", SearchPathQuery("schema", None))
        composing = _Loader(path, allow)
    config = composing.load_configuration(
        parsed.config_name or config_name, overrides, RunMode.MULTIRUN, from_shell=False, validate_sweep_overrides=False
    )
    whole = cast("dict[str, Any]", OmegaConf.to_container(config, resolve=False))
    check_resolved(whole)
    check_node(whole["hydra"], _typed(overrides), allow, conf_dir)
    for leaf, _ in _leaves(whole["hydra"], "hydra"):
        if inside(leaf, _IN_SCRIPTS):
            _check_printable(config, leaf)


def _typed(overrides: Sequence[str]) -> dict[str, Any]:
    """Leaves that the command line gives below `hydra`, by path."""
    given: dict[str, Any] = {}
    for override in parse(overrides):
        if not override.is_delete() and not override.is_sweep_override():
            given |= dict(_leaves(override.value(), override.get_key_element().lstrip("+")))
    return given


def _check_printable(config: DictConfig, path: str) -> None:
    """Check that a resolved value of a launcher ends no line of the script it is written into."""
    try:
        value = OmegaConf.select(config, path)
    except OmegaConfBaseException:  # known only when a job begins, as its number is
        return
    if isinstance(value, str) and not value.isprintable():
        raise ValidationError("must be printable text", "leave control characters out", value=value, slot=path)


def check_node(node: Mapping[str, Any], typed: Mapping[str, Any], allow: Sequence[str], conf_dir: Path) -> None:
    """Check that Hydra's own node runs no code that is not shipped.

    Args:
        node: plain unresolved data.
        typed: leaves that the command line gives, by path.
        allow: packages of a user's own.
        conf_dir: the package's own folder of groups.
    """
    for slot in ("sweeper", "launcher", "job", "callbacks", *_LOGGING):
        if not isinstance(node.get(slot) or {}, dict):
            raise ValidationError("must hold named values", "take it out", value=node[slot], parameter=f"hydra.{slot}")
    params = node["sweeper"].get("params") or {}
    if not isinstance(params, dict):
        raise ValidationError("must hold NAME: VALUES", "take it out", value=params, parameter="hydra.sweeper.params")
    for slot, taken in (("sweeper", SWEEPERS), ("launcher", LAUNCHERS)):
        target = (node.get(slot) or {}).get("_target_")
        if target not in taken and not inside(str(target), allow):
            raise ValidationError(
                f"must be a {slot} that rramsweep ships",
                f"take hydra/{slot} as rramsweep list shows it, or allow its package with allow_targets",
                value=target,
                slot=f"hydra.{slot}",
                parameter="_target_",
            )
    for key in params:
        if str(key).lstrip("+~").split(".")[0] in ("allow_targets", "plan", "shard", "hydra"):
            raise ValidationError(
                "must come from the command line",
                "take it out of the YAML file",
                slot="hydra.sweeper.params",
                parameter=str(key),
            )
    shipped = _shipped(conf_dir)
    for path, value in _leaves(node, "hydra"):
        parts = path.split(".")
        slot, key = parts[1], parts[-1]
        call = next((part for part in parts if part in _CALLS), "")
        if path in ("hydra.sweeper._target_", "hydra.launcher._target_") or (call and inside(str(value), allow)):
            continue
        guarded = slot in ("callbacks", "launcher", *_LOGGING) or path.startswith("hydra.job.env_set.")
        if not guarded and not call:
            continue
        if any(tree.get(path, _ABSENT) == value for tree in shipped):
            continue
        if not call and slot != "callbacks":
            plain = key in _PLAIN or (key.isdigit() and parts[-2] in _PLAIN)
            if typed.get(path, _ABSENT) == value or (plain and slot != "job" and str(value).isprintable()):
                continue
        what = "code" if call or slot == "callbacks" else "something"
        remedy = (
            "give it on the command line"
            if slot in ("launcher", "job") and not call
            else "take it out, or name its package with allow_targets=[PACKAGE] on the command line"
        )
        raise ValidationError(f"would run {what} that rramsweep does not ship", remedy, value=value, parameter=path)


_ABSENT = object()


@cache
def _shipped(conf_dir: Path) -> list[dict[str, Any]]:
    """Leaves of every launcher and way of logging that Hydra, its plugins and this package ship, by path."""
    Plugins.instance()  # plugins store their launchers' configs when they are found
    folders = (conf_dir / "hydra", Path(hydra.conf.__file__).parent / "hydra")
    trees = [
        (group, OmegaConf.load(path))
        for group in (*_LOGGING, "launcher", "sweeper")
        for folder in folders
        for path in sorted((folder / group).glob("*.yaml"))
    ]
    stored = ConfigStore.instance().repo.get("hydra", {})
    trees += [("launcher", each.node) for each in stored.get("launcher", {}).values()]
    samplers = stored.get("sweeper", {}).get("sampler", {})
    trees += [("sweeper.sampler", each.node) for each in samplers.values()]
    return [dict(_leaves(OmegaConf.to_container(tree, resolve=False), f"hydra.{group}")) for group, tree in trees]


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}")
    elif isinstance(node, list) and node:
        for i, value in enumerate(node):
            yield from _leaves(value, f"{path}.{i}")
    elif node not in (None, {}, []):
        yield path, node
