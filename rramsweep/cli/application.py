"""The command that starts jobs, with Hydra. The only @hydra.main."""

from __future__ import annotations

from collections.abc import Sequence

from rramsweep.cli.catalog import CONFIG_NAME, conf_dir
from rramsweep.cli.composing import Abort
from rramsweep.cli.driver import SweepError
from rramsweep.cli.hydra_adapter import check_command, parse, start
from rramsweep.cli.messages import CommandError, full_error
from rramsweep.cli.optimising import StudySweeper, check_plugin
from rramsweep.cli.overrides import command_errors
from rramsweep.cli.sweeper import PlanSweeper, register
from rramsweep.cli.worker import task


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
