"""A job, as each worker runs it: a shard of a plan, one point of a sweep, or one trial of a search.

What a report is made of, matplotlib among it, is imported where a job reports: a shard, which is the job of most
workers, starts sooner without.
"""

from __future__ import annotations

import os
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console

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
from rramsweep.cli.hydra_adapter import BASIC_SWEEPER
from rramsweep.cli.planning import described, given_by
from rramsweep.cli.signals import end_with_driver
from rramsweep.reporting import terminal
from rramsweep.simulation.shard import run_plan_shard
from rramsweep.simulation.workbench import Workbench
from rramsweep.study.plan import Plan


def run(cfg: DictConfig) -> float | list[float] | None:
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
        end_with_driver()
        run_plan_shard(Path(cfg.plan), cfg.shard, cfg.shards, allow)
    elif cfg.objective is not None and HydraConfig.get().sweeper.get("_target_") != BASIC_SWEEPER and several:
        from rramsweep.cli.optimising import evaluate

        end_with_driver()
        plan, workbench = _plan_of_point(cfg)  # a trial of a search, which reports when it has ended
        return evaluate(plan, workbench, Path(HydraConfig.get().runtime.output_dir), container(cfg)[OBJECTIVE])
    elif several:
        from rramsweep.reporting import report

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
    from rramsweep.cli.driver import execute_in_hydra

    refuse_objective(cfg.objective)
    plan, workbench = _plan_of_point(cfg)
    shards = plan.settings.shards
    if shards > 1 and HydraConfig.get().mode == RunMode.RUN:
        raise ValueError(f"a single point runs in this process, got shards={shards}: add -m to split it")

    def launch(path: Path) -> None:
        end_with_driver()  # of a worker, where Hydra's own sweeper hands out points
        run_plan_shard(path, 0, 1, workbench.allow)

    execute_in_hydra(plan, workbench, Path(HydraConfig.get().runtime.output_dir), launch, console)
