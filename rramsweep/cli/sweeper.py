"""The Hydra sweeper: has a whole plan composed (`planning`) and hands shards of it to any Hydra launcher."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from rramsweep.cli.composing import command_line
from rramsweep.cli.driver import LaunchError, execute_in_hydra
from rramsweep.cli.hydra_adapter import config_for_jobs
from rramsweep.cli.planning import compose_plan
from rramsweep.cli.signals import as_received, take_handlers_back
from rramsweep.errors import ValidationError

# Bytes of Ray's object store where a preset names none, as its launcher takes: rows go through files.
RAY_STORE_BYTES = 78_643_200

# Hydra accepts plugins from the namespace package `hydra_plugins` only.
PLUGIN_MODULE = "hydra_plugins.rramsweep_sweeper"

# What the plugin of each launcher imports only when it launches: its own option, and the preset over it.
BACKENDS = {
    **dict.fromkeys(("joblib", "workers"), "joblib"),
    **dict.fromkeys(("submitit_local", "submitit_slurm", "slurm", "slurm_local"), "submitit"),
    **dict.fromkeys(("ray", "ray_local", "ray_cluster"), "ray"),
}


class PlanSweeper(Sweeper):
    """Plan, launch shards, report. `params` are swept axes of an experiment, as in Hydra's basic sweeper."""

    def __init__(self, params: Mapping[str, str] | None = None, **unknown: Any) -> None:
        self._params, self._unknown = dict(params or {}), unknown
        self._context: HydraContext | None = None
        self._config: DictConfig | None = None
        self._task: TaskFunction | None = None
        self._launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra hands over, and instantiate the launcher."""
        self._context, self._config, self._task = hydra_context, config, task_function
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Plan and validate the whole sweep, then hand its shards to the launcher."""
        context, config, task, launcher = self._context, self._config, self._task, self._launcher
        assert context is not None
        assert config is not None
        assert task is not None
        assert launcher is not None
        refuse_unknown(self._unknown)
        folder = Path(str(config.hydra.sweep.dir))  # refused here, before any network is built
        check_backend(str(config.hydra.runtime.choices["hydra/launcher"]))
        plan, workbench = compose_plan(context.config_loader, config, self._params, arguments, command_line())
        settings = plan.settings
        beside = settings.shards > 1 and config.hydra.runtime.choices["hydra/launcher"] != "basic"
        if beside and settings.threads is None:
            # Torch would give every worker a thread a core, and workers of one machine would fight over them.
            plan = replace(plan, settings=replace(settings, threads=1))

        def launch(path: Path) -> None:
            path = path.absolute()  # a worker may start in another folder
            fixed = [f"plan={quoted(str(path))}", f"shards={settings.shards}"]
            # A job composes the defaults, whose own folder would be another than this sweep's.
            fixed += [f"hydra.sweep.dir={quoted(str(path.parent))}", "hydra.sweep.subdir=."]
            if workbench.allow:
                fixed.append(f"allow_targets=[{','.join(map(quoted, workbench.allow))}]")
            job_config = config_for_jobs(config, context.config_loader)
            launcher.setup(hydra_context=context, task_function=task, config=job_config)
            jobs = [[*fixed, f"shard={shard}"] for shard in range(settings.shards)]
            for job in launch_jobs(launcher, jobs):
                if job.status == JobStatus.FAILED:  # `return_value` would print a line before it raises
                    raise job._return_value

        execute_in_hydra(plan, workbench, folder, launch)


def refuse_unknown(settings: Mapping[str, Any]) -> None:
    """Check that a sweeper was given no setting that it does not have.

    Raises:
        ValidationError: names the first one.
    """
    for name, value in settings.items():
        raise ValidationError(
            "is no setting of this sweeper", "leave it out", value=str(value), parameter=f"hydra.sweeper.{name}"
        )


def check_backend(launcher: str) -> None:
    """Check that the package behind a launcher's plugin can be imported, before anything runs."""
    package = BACKENDS.get(launcher)
    if package is None:
        return
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise ValueError(
            f"the launcher {launcher} needs the package {package}, which cannot be imported ({error}): "
            f"pip install --force-reinstall {package}"
        ) from error


def launch_jobs(launcher: Launcher, jobs: Sequence[Sequence[str]], first: int = 0) -> Sequence[JobReturn]:
    """Launch jobs, numbered from `first` on.

    Raises:
        LaunchError: the launcher gave up.
        KeyboardInterrupt: as the command received it.
    """
    try:
        _start_ray(launcher)
        return launcher.launch(jobs, initial_job_idx=first)
    except KeyboardInterrupt as error:
        raise as_received(error) from None
    except Exception as error:
        # Each launcher has its own words, of many lines, for a worker that was killed or a queue that is not there.
        cause = getattr(error, "cause", None) or error
        text = textwrap.shorten(" ".join(str(cause).split()), 200, placeholder=" ...")
        raise LaunchError(f"the launcher gave up ({type(cause).__name__}: {text})") from error


def _start_ray(launcher: Launcher) -> None:
    """Start Ray before its launcher would, to take back the signals that it takes when it starts.

    With Ray's own handler a SIGTERM would end the command on the spot, in Ray's C++, before any table is written.
    """
    settings = getattr(launcher, "ray_cfg", None)
    if settings is None:
        return
    plugin = importlib.import_module("hydra_plugins.hydra_ray_launcher._launcher_util")
    init = OmegaConf.create(OmegaConf.to_container(settings.init, resolve=True))  # that of Hydra 1.4 is read-only
    init.setdefault("object_store_memory", RAY_STORE_BYTES)
    plugin.start_ray(init)
    take_handlers_back()


def register(*sweepers: type[Sweeper]) -> None:
    """Make sweepers known to Hydra under the names that conf/hydra/sweeper/ gives."""
    parent, name = PLUGIN_MODULE.split(".")
    try:
        package = importlib.import_module(parent)
    except ModuleNotFoundError:  # no other plugin is installed, so there is no such namespace yet
        package = ModuleType(parent)
        package.__path__ = []
        sys.modules[parent] = package
    sys.modules[PLUGIN_MODULE] = sys.modules[__name__]
    setattr(package, name, sys.modules[__name__])
    for sweeper in sweepers:
        sweeper.__module__ = PLUGIN_MODULE
        setattr(sys.modules[PLUGIN_MODULE], sweeper.__name__, sweeper)  # those of other modules too
        Plugins.instance().register(sweeper)


def quoted(text: str) -> str:
    """A string as one quoted value of Hydra's override grammar."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
