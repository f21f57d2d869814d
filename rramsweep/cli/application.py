"""The Hydra application: a job, as each worker runs it, and the command that starts jobs. The only @hydra.main."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console

from rramsweep.cli.catalog import CONFIG_NAME, conf_dir
from rramsweep.cli.commands import see_users_packages
from rramsweep.cli.composing import (
    JOB_KEYS,
    OBJECTIVE,
    Abort,
    allowed,
    by_group,
    check_job_keys,
    check_setters,
    command_line,
    container,
    point_plan,
    refuse_axes,
    refuse_objective,
)
from rramsweep.cli.driver import SweepError, execute_in_hydra, run_plan_shard
from rramsweep.cli.hydra_adapter import BASIC_SWEEPER, check_command, parse, start
from rramsweep.cli.messages import CommandError, full_error
from rramsweep.cli.optimising import StudySweeper, check_plugin, evaluate
from rramsweep.cli.overrides import command_errors
from rramsweep.cli.planning import described, given_by
from rramsweep.cli.sweeper import PlanSweeper, register
from rramsweep.reporting import report, terminal
from rramsweep.simulation.workbench import Workbench
from rramsweep.study.plan import Plan


def run(arguments: Sequence[str]) -> None:
    """Run the point or the sweep that a command's overrides ask for.

    Args:
        arguments: the command line after the program's name, checked by `overrides.check`.

    Raises:
        CommandError: refused, or not finished as asked.
    """
    try:
        with command_errors():
            try:
                _start(arguments)
            except Abort as abort:
                raise abort.error from abort.error.__cause__
    except SweepError as ended:
        if full_error() and ended.outcome.cause is not None:
            raise
        raise CommandError(ended.outcome.message, ended.outcome.code) from ended


def _start(arguments: Sequence[str]) -> None:
    allow = _allowed(arguments)
    if "hydra/sweeper=optuna" in arguments:
        check_plugin()  # whose samplers Hydra would miss first
    check_command(arguments, conf_dir(), CONFIG_NAME, allow)
    register(PlanSweeper, StudySweeper)
    start(task, arguments, conf_dir(), CONFIG_NAME, allow)


def _allowed(arguments: Sequence[str]) -> list[str]:
    """The packages that a command line allows, before anything is composed."""
    packages: list[str] = []
    for override in arguments:
        if override.lstrip("+").startswith("allow_targets="):
            value = parse([override])[0].value()
            packages = [str(package) for package in value] if isinstance(value, list) else []
    return packages


def task(cfg: DictConfig) -> float | list[float] | None:
    """Run one shard of a plan if the job is given one, else one point; return the objectives of a trial of a search."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return _job(cfg)
    try:
        _job(cfg)
    except Exception as error:
        _remove_empty(Path(HydraConfig.get().runtime.output_dir))
        raise Abort(error) from error
    return None


def _job(cfg: DictConfig) -> float | list[float] | None:
    overrides, several = HydraConfig.get().overrides.task, HydraConfig.get().mode == RunMode.MULTIRUN
    check_job_keys({key: cfg[key] for key in JOB_KEYS}, overrides)
    if cfg.plan is not None:
        os.chdir(HydraConfig.get().runtime.cwd)  # a worker may start in another folder than the command
    allow = allowed({"allow_targets": list(cfg.allow_targets)}, overrides)
    if allow:
        see_users_packages()
    if cfg.plan is not None:
        run_plan_shard(Path(cfg.plan), cfg.shard, cfg.shards, allow)
    elif cfg.objective is not None and HydraConfig.get().sweeper.get("_target_") != BASIC_SWEEPER and several:
        plan, workbench = _plan_of_point(cfg)  # a trial of a search, which reports when it has ended
        return evaluate(plan, workbench, Path(HydraConfig.get().runtime.output_dir), container(cfg)[OBJECTIVE])
    elif several:
        # Hydra's own sweeper: this job is one point of a larger sweep, which reports as a whole afterwards.
        _one_point(cfg, terminal.console(quiet=True))
        report.write(HydraConfig.get().sweep.dir)  # of the jobs so far; the last one completes it
    else:
        _one_point(cfg, terminal.console())
    return None


def _remove_empty(folder: Path) -> None:
    """Take back the folder that Hydra makes before a run is looked at, and what is above it, where nothing is in it."""
    current = Path.cwd()
    for made in (folder, *folder.parents):
        if made == current or not made.is_relative_to(current):
            return
        try:
            made.rmdir()
        except OSError:  # something is in it
            return


def _plan_of_point(cfg: DictConfig) -> tuple[Plan, Workbench]:
    hydra_config = HydraConfig.get()
    overrides = list(hydra_config.overrides.task)
    config = container(cfg)
    if hydra_config.mode == RunMode.MULTIRUN:
        given = {override.split("=")[0] for override in overrides}
        if "seed" in given and "chips" not in given:
            config["chips"] = 1  # a swept seed has one chip a value, as in our own sweeper
    else:
        refuse_axes(hydra_config.sweeper)
    chosen = by_group(hydra_config.runtime.choices)
    check_setters(config, chosen)
    plan, workbench = point_plan(config, chosen, overrides, command_line(), allowed(config, overrides))
    return described(plan, given_by(overrides), workbench), workbench


def _one_point(cfg: DictConfig, console: Console) -> None:
    refuse_objective(cfg.objective)
    plan, workbench = _plan_of_point(cfg)
    shards = plan.settings.shards
    if shards > 1 and HydraConfig.get().mode == RunMode.RUN:
        raise ValueError(f"a single point runs in this process, got shards={shards}: add -m to split it")

    def launch(path: Path) -> None:
        run_plan_shard(path, 0, 1, workbench.allow)

    execute_in_hydra(plan, workbench, Path(HydraConfig.get().runtime.output_dir), launch, console)
