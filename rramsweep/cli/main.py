"""The command line; the only file with @hydra.main."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from yaml import YAMLError

from rramsweep import __version__
from rramsweep.cli.commands import VERBS
from rramsweep.cli.composing import (
    CONFIG_NAME,
    JOB_KEYS,
    Abort,
    allowed,
    by_group,
    check_job_keys,
    command_line,
    conf_dir,
    container,
    parse,
    point_plan,
    refuse_axes,
)
from rramsweep.cli.driver import SweepEnded, execute_in_hydra, run_plan_shard
from rramsweep.cli.help_screen import show_help
from rramsweep.cli.hydra_adapter import check_command, main_options
from rramsweep.cli.messages import explain
from rramsweep.cli.overrides import check
from rramsweep.cli.planning import described, given_by
from rramsweep.cli.signals import ended_by, signals_as_interrupts
from rramsweep.cli.sweeper import register
from rramsweep.groups import GROUPS
from rramsweep.reporting import report, terminal
from rramsweep.suggest import suggest

FULL_ERROR = "HYDRA_FULL_ERROR"


def task(cfg: DictConfig) -> None:
    """Run one shard of a plan if the job is given one, else one point."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        _job(cfg)
        return
    try:
        _job(cfg)
    except Exception as error:
        _remove_empty(Path(HydraConfig.get().runtime.output_dir))
        raise Abort(error) from error


def _job(cfg: DictConfig) -> None:
    overrides = HydraConfig.get().overrides.task
    check_job_keys({key: cfg[key] for key in JOB_KEYS}, overrides)
    if cfg.plan is not None:
        os.chdir(HydraConfig.get().runtime.cwd)  # a worker may start in another folder than the command
    allow = allowed({"allow_targets": list(cfg.allow_targets)}, overrides)
    if allow:
        _see_users_packages()
    if cfg.plan is not None:
        run_plan_shard(Path(cfg.plan), cfg.shard, cfg.shards, allow)
    elif HydraConfig.get().mode == RunMode.MULTIRUN:
        # Hydra's own sweeper: this job is one point of a larger sweep, which reports as a whole afterwards.
        _one_point(cfg, terminal.console(quiet=True))
        report.write(HydraConfig.get().sweep.dir)  # of the jobs so far; the last one completes it
    else:
        _one_point(cfg, terminal.console())


def _remove_empty(folder: Path) -> None:
    """Take back the folder that Hydra makes before a run is looked at, and what is above it, where nothing is in it."""
    here = Path.cwd()
    for made in (folder, *folder.parents):
        if made == here or not made.is_relative_to(here):
            return
        try:
            made.rmdir()
        except OSError:  # something is in it
            return


def _see_users_packages() -> None:
    # Unlike `python -m`, a console script does not see a package in the folder where it is called.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def _one_point(cfg: DictConfig, console: Console) -> None:
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
    plan, workbench = point_plan(config, chosen, overrides, command_line(), allowed(config, overrides))
    plan = described(plan, given_by(overrides), workbench)
    shards = plan.settings.shards
    if shards > 1 and hydra_config.mode == RunMode.RUN:
        raise ValueError(f"a single point runs in this process, got shards={shards}: add -m to split it")

    def launch(path: Path) -> None:
        run_plan_shard(path, 0, 1, workbench.allow)

    execute_in_hydra(plan, workbench, Path(hydra_config.runtime.output_dir), launch, console)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the command `rramsweep`; exits non-zero with one line on what went wrong."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    full = os.environ.get(FULL_ERROR, "0") not in ("", "0")
    try:
        with signals_as_interrupts():
            _command(arguments)
    except SweepEnded as ended:
        if full and ended.outcome.cause is not None:
            raise
        print(f"rramsweep: {ended.outcome.message}", file=sys.stderr)
        sys.exit(ended.outcome.code)
    except KeyboardInterrupt as error:
        words, code = ended_by(error)
        print(f"rramsweep: {words}", file=sys.stderr)
        sys.exit(code)
    except (ValueError, OSError, HydraException, OmegaConfBaseException, YAMLError) as error:
        if full:
            raise
        print(f"rramsweep: {explain(error)}", file=sys.stderr)
        sys.exit(1)


def _allowed(arguments: Sequence[str]) -> list[str]:
    """The packages that a command line allows, before anything is composed."""
    packages: list[str] = []
    for override in arguments:
        if override.lstrip("+").startswith("allow_targets="):
            value = parse([override])[0].value()
            packages = [str(package) for package in value] if isinstance(value, list) else []
    return packages


def _command(arguments: Sequence[str]) -> None:
    """Do what the arguments of the command line ask for."""
    try:
        verb = arguments[0] if arguments else ""
        if any(argument.startswith("allow_targets=") for argument in arguments):
            _see_users_packages()  # a sweep composes its points before any job begins
        if "--version" in arguments:
            others = ", ".join(f"{name} {version(name)}" for name in ("hydra-core", "torch"))
            print(f"rramsweep {__version__} ({others})")
        elif not arguments or (verb not in VERBS and {"-h", "--help"} & set(arguments)):
            show_help(terminal.console())
        elif verb in VERBS:
            VERBS[verb](arguments[1:], terminal.console())
        elif verb == "plan":
            # A single run would make its folder before it is asked what to do.
            _hydra([*arguments[1:], "preview=true", *([] if "-m" in arguments else ["hydra.run.dir=."])])
        elif verb and "=" not in verb and not verb.startswith(("-", "+", "~")):
            if verb in GROUPS or "." in verb or " " in verb:
                check(arguments)  # a name, of which a blank may have torn off the value
            raise ValueError(
                f"a command begins with -m, NAME=VALUE or one of plan, {', '.join(VERBS)}, got {verb!r}: "
                f"{suggest(verb, ('plan', *VERBS))}"
            )
        else:
            _hydra(arguments)
    except Abort as abort:
        raise abort.error from abort.error.__cause__


def _hydra(arguments: Sequence[str]) -> None:
    if set(arguments) <= {"-m", "--multirun"}:
        raise ValueError(
            "-m sweeps over values, but none is given: write rramsweep -m NAME=V1,V2 or rramsweep -m "
            "experiment=quickstart"
        )
    several = {"-m", "--multirun"} & set(arguments) or any(a.startswith("hydra.mode=") for a in arguments)
    check(arguments, single="" if several else "add -m to sweep over them")
    allow = _allowed(arguments)
    check_command(arguments, conf_dir(), CONFIG_NAME, allow)
    register()
    argv, full = sys.argv, os.environ.get(FULL_ERROR)
    sys.argv = [argv[0], *arguments]
    # Hydra prints a shortened traceback of its own unless told to raise; `main` makes one line of the cause.
    os.environ[FULL_ERROR] = "1"
    try:
        hydra.main(config_path=str(conf_dir()), config_name=CONFIG_NAME, **main_options(allow))(task)()
    finally:
        sys.argv = argv
        if full is None:
            del os.environ[FULL_ERROR]
        else:
            os.environ[FULL_ERROR] = full
