"""The command line: sorts out what is asked for, and imports Hydra and torch only for a command that needs them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NoReturn

from yaml import YAMLError

from rramsweep import __version__
from rramsweep.cli.catalog import CONFIG_NAME, conf_dir, with_folder
from rramsweep.cli.commands import VERBS, end_imports, see_users_packages
from rramsweep.cli.help import show_help
from rramsweep.cli.messages import SWEEPS, CommandError, check_names, explain, full_error, refuse_torn
from rramsweep.cli.signals import ended_by, signals_as_interrupts
from rramsweep.groups import GROUPS
from rramsweep.reporting import terminal
from rramsweep.suggest import suggest

_CONFIG_DIR = ("--config-dir", "-cd")
_COMPLETIONS = ("-sc", "--shell-completion")


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the command `rramsweep`; exits non-zero with one line on what went wrong."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with signals_as_interrupts():
            _command(arguments)
    except KeyboardInterrupt as error:
        _end(*ended_by(error))
    except CommandError as error:
        _end(str(error), error.code)
    except (ValueError, OSError, YAMLError) as error:
        if full_error():
            raise
        _end(explain(error), 1)


def _end(line: str, code: int) -> NoReturn:
    print(f"rramsweep: {line}", file=sys.stderr)
    sys.exit(code)


def _command(arguments: Sequence[str]) -> None:
    """Do what the arguments of the command line ask for."""
    verb = arguments[0] if arguments else ""
    if any(argument.startswith("allow_targets=") for argument in arguments):
        see_users_packages()  # a sweep composes its points before any job begins
    if "--version" in arguments:
        others = ", ".join(f"{name} {version(name)}" for name in ("hydra-core", "torch"))
        print(f"rramsweep {__version__} ({others})")
    elif not arguments or (verb not in VERBS and {"-h", "--help"} & set(arguments)):
        show_help(VERBS, terminal.console(), with_folder(_config_dir(arguments)))
    elif verb in VERBS:
        VERBS[verb](arguments[1:], terminal.console())
    elif set(_COMPLETIONS) & set(arguments):
        _complete(arguments)
    elif verb == "plan":
        # A single run would make its folder before it is asked what to do.
        _run([*arguments[1:], "preview=true", *([] if "-m" in arguments else ["hydra.run.dir=."])])
    elif verb and "=" not in verb and not verb.startswith(("-", "+", "~")):
        if verb in GROUPS or "." in verb or " " in verb:
            refuse_torn(arguments)  # a name, of which a blank may have torn off the value
        raise ValueError(
            f"a command begins with -m, NAME=VALUE or one of plan, {', '.join(VERBS)}, got {verb!r}: "
            f"{suggest(verb, ('plan', *VERBS))}"
        )
    else:
        _run(arguments)


def _config_dir(arguments: Sequence[str]) -> str | None:
    """Folder of a user's own groups that a command names."""
    for word, value in zip(arguments, [*arguments, None][1:], strict=True):
        if word in _CONFIG_DIR:
            return value
        if word.startswith("--config-dir="):
            return word.partition("=")[2]
    return None


def _run(arguments: Sequence[str]) -> None:
    if set(arguments) <= set(SWEEPS):
        raise ValueError(
            "-m sweeps over values, but none is given: write rramsweep -m NAME=V1,V2 or rramsweep -m "
            "experiment=quickstart"
        )
    # Hydra's parser takes a flag between two overrides for the end of them.
    arguments = [*(one for one in arguments if one in SWEEPS), *(one for one in arguments if one not in SWEEPS)]
    check_names(arguments)
    # Here and not above: first Hydra's parser, then torch and the rest, which take seconds that most mistakes, and the
    # verbs, do without.
    from rramsweep.cli.overrides import as_hydra_takes_them, check, command_errors

    several = set(SWEEPS) & set(arguments) or any(argument.startswith("hydra.mode=") for argument in arguments)
    with command_errors():
        check(arguments, single="" if several else "add -m to sweep over them")
        arguments = as_hydra_takes_them(arguments, bool(several))
    from rramsweep.cli import application

    end_imports()
    application.run(arguments)


def _complete(arguments: Sequence[str]) -> None:
    """Let Hydra answer a shell that completes a command: by the folder of configs alone, so without torch."""
    from rramsweep.cli.hydra_adapter import start
    from rramsweep.cli.overrides import command_errors

    with command_errors():
        start(lambda cfg: None, arguments, conf_dir(), CONFIG_NAME, ())  # noqa: ARG005
