"""Overrides as Hydra reads them: refusals that Hydra would word in its own terms, before and after it composes."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra.core.override_parser.types import ValueType
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from rramsweep.cli import hydra_adapter, messages
from rramsweep.cli.catalog import CATALOG, CONFIG_NAME, EXTRAS, LAUNCHER, conf_dir
from rramsweep.cli.hydra_adapter import parse
from rramsweep.cli.messages import CommandError, causes, check_option, no_name, no_option, positions, with_devices
from rramsweep.errors import Sentence, ValidationError, install

# What is set for a command as a whole -> what to do instead from Python.
_UNHEEDED = {
    "preview": "run rramsweep plan with these overrides to see what a sweep would do",
    "plan": "leave it out, since it is set for the jobs of a launcher",
    "shard": "leave it out, since it is set for the jobs of a launcher",
    "shards": "run it as rramsweep -m to split it over jobs",
    "objective": "search as rramsweep -m hydra/sweeper=optuna",
}
_AS_BY_DEFAULT = {"preview": False, "plan": None, "shard": 0, "shards": 1, "objective": None}
_LAYER_RULES = "analog.layers."
# No group has so many options: what follows in a range is refused as its first value is.
_FEW = 1000


@contextmanager
def one_line() -> Iterator[None]:
    """Turn what is refused within it into the ValueError of one line that the command line prints.

    Raises:
        ValueError: Hydra or OmegaConf refused, or a law the device.
    """
    try:
        yield
    except ValidationError as error:
        raise with_devices(error) from error.__cause__
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(explain(error)) from error


@contextmanager
def command_errors() -> Iterator[None]:
    """Turn what is refused within it into the error that ends a command; leave it alone where tracebacks are wanted.

    Raises:
        CommandError: anything was refused, by Hydra or by this package.
    """
    try:
        yield
    except (ValueError, OSError, HydraException, OmegaConfBaseException, YAMLError) as error:
        if messages.full_error():
            raise
        raise CommandError(explain(error)) from error


def explain(error: BaseException) -> str:
    """The message of an error and of what caused it, folded to one line; Hydra's own errors get the nearest name."""
    ours = (refusal for cause in causes(error) if (refusal := _in_our_words(cause)) is not None)
    return str(next(ours, None) or messages.explain(error))


def missing_key(error: BaseException) -> str | None:
    """The dotted key that an override names and no config has; None of any other error."""
    for cause in causes(error):
        if isinstance(cause, ConfigAttributeError | ConfigKeyError):
            return str(cause.full_key)
    return None


def _in_our_words(cause: BaseException) -> ValidationError | None:
    """Refusal of what Hydra and OmegaConf say in fields; None of anything else."""
    if isinstance(cause, MissingConfigException) and cause.missing_cfg_file:
        group, _, option = cause.missing_cfg_file.rpartition("/")
        if group == LAUNCHER and option in EXTRAS:
            return ValidationError(
                Sentence(f"the launcher {option} must be installed to be chosen, but its plugin is not"),
                install(EXTRAS[option]),
            )
        return no_option(group, option) if group else None
    if isinstance(cause, MissingMandatoryValue):
        return ValidationError(Sentence(f"{cause.full_key} has no default"), f"give {cause.full_key}=VALUE")
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        return no_name(str(cause.full_key))
    return None


def check(words: Sequence[str], single: str = "", trains: bool = False) -> None:
    """Check that words are overrides, and that no number stands where a group's option belongs.

    Args:
        words: flags and what follows one of Hydra's are left to Hydra.
        single: of one point, where values to sweep over are refused too: how several are swept.
        trains: they may be settings of a fine-tuning.

    Raises:
        ValueError: names the word and how to write it.
    """
    messages.refuse_torn(words)
    if not trains:
        messages.refuse_training(words)
    messages.refuse_target(words)
    for word in (words[i] for i in positions(words)):
        try:
            (override,) = parse([word])
        except HydraException:
            raise ValidationError(
                Sentence(messages.OVERRIDE_FORM), _quoting(word), shown=f"{word!r}, which cannot be read"
            ) from None
        _check_numbers(word)
        if override.is_sweep_override():
            if single:
                raise ValueError(
                    f"a single point takes one value, got {word}: {single}, or put them in brackets where the "
                    "parameter is a list"
                )
            if override.value_type != ValueType.GLOB_CHOICE_SWEEP and CATALOG.is_group(override.key_or_group):
                for value in itertools.islice(override.sweep_iterator(), _FEW):
                    check_option(override.key_or_group, value)
        elif not override.is_delete() and CATALOG.is_group(override.key_or_group):
            check_option(override.key_or_group, override.value())


def as_hydra_takes_them(words: Sequence[str], several: bool = True) -> list[str]:
    """Rewrite overrides of which Hydra asks for more than a user need know.

    - A rule of some layers is new, which Hydra wants to be told: `analog.layers.NAME...` becomes `++analog.layers...`.
    - Hydra sets what is not swept before it chooses among swept options, so that `calibration=none,moments
      calibration.images=10` is refused by the default; as `choice(10)` it is set for the options that have it.

    Args:
        words: checked by `check`.
        several: they are swept.
    """
    at = set(positions(words))
    words = [f"++{word}" if i in at and word.startswith(_LAYER_RULES) else word for i, word in enumerate(words)]
    if not several:
        return words
    parsed = {i: parse([word])[0] for i, word in enumerate(words) if i in at}
    swept = {override.key_or_group for override in parsed.values() if override.is_sweep_override()}
    for override in parsed.values():
        if override.key_or_group == "experiment" and isinstance(experiment := override.value(), str):
            swept |= {*CATALOG.axes(experiment)}
    defaults = CATALOG.defaults()
    for i, override in parsed.items():
        key = override.get_key_element()
        group = key.partition(".")[0]
        if override.is_sweep_override() or override.is_delete() or group not in swept or group not in defaults:
            continue
        if key in CATALOG.parameters(group) and key.partition(".")[2] not in CATALOG.keys(group, defaults[group]):
            words[i] = f"{key}=choice({override.get_value_element_as_str()})"
    return words


def refuse_flags(words: Sequence[str], call: str, instead: str) -> None:
    """Check that a call from Python has overrides alone, no flags of the command line.

    Args:
        words: as they were given.
        call: the function's name, for the message.
        instead: how it does without `-m`.

    Raises:
        ValidationError: names the flag and what to do.
    """
    for word in words:
        if word.startswith("-"):
            several = word in ("-m", "--multirun")
            raise ValidationError(
                Sentence(f"{call} must be given overrides NAME=VALUE alone, not flags of the command line"),
                f"leave it out, {instead}" if several else "leave it out, or run the command rramsweep with it",
                value=word,
            )


def refuse_unheeded(overrides: Sequence[str], instead: str) -> None:
    """Check that a call from Python has no overrides of how a command is run, which it would leave unheeded.

    Args:
        overrides: as they were given.
        instead: what the call does, for the message: `rs.sweep computes every trial in this process`.

    Raises:
        ValidationError: names the override and what to do.
    """
    for override in parse(list(overrides)):
        key = override.get_key_element().lstrip("+~")
        if key == "experiment" and (launcher := _launcher(overrides)) != "basic":
            raise ValidationError(
                f"chooses the launcher {launcher}, while {instead}",
                "add hydra/launcher=basic, or run it as rramsweep -m",
                parameter=override.input_line or key,
            )
        value = None if override.is_delete() or override.is_sweep_override() else override.value()
        remedy = _UNHEEDED.get(key)
        if re.split(r"[./]", key)[0] == "hydra":
            remedy = f"run it as rramsweep -m ... {override.input_line}"
            if key == "hydra.searchpath" or (key == "hydra/launcher" and value == "basic"):
                continue
        elif remedy is None or (key in _AS_BY_DEFAULT and value == _AS_BY_DEFAULT[key]):
            continue
        raise ValidationError(f"is of the command line alone, while {instead}", remedy, value=value, parameter=key)


def _check_numbers(word: str) -> None:
    """Check that no bare number has underscores, which Hydra's grammar leaves out.

    Raises:
        ValidationError: names the number and what it would be read as.
    """
    name, _, value = word.partition("=")
    for token in [] if set(value) & set("'\"\\$") else re.split(r"[\s,:=\[\](){}]+", value):
        if re.fullmatch(r"[-+]?[0-9][0-9_.]*([eE][-+]?[0-9_]+)?", token) and "_" in token:
            plain = token.replace("_", "")
            raise ValidationError(
                f"must be written without underscores, got {token}, which would be read as {plain}",
                f"write {plain} if that is meant, or \"'{token}'\" for text",
                parameter=name.lstrip("+"),
            )


def _quoting(word: str) -> str:
    name, _, value = word.partition("=")
    quoted = f"{name}='{value}'"
    if any(value.count(one) != value.count(other) for one, other in ("[]", "{}", "()")) or set(value) & set("'\""):
        return "close its brackets and quotes"
    return f"put its value in quotes, {_for_shell(quoted)}"


def _for_shell(text: str) -> str:
    return f'"{text}"' if not set(text) & set('"$`\\!') else shlex.quote(text)


def _launcher(overrides: Sequence[str]) -> str:
    """The launcher that a sweep would hand its jobs to, by overrides or by an experiment's file."""
    loader = hydra_adapter.loader(conf_dir())
    cfg = loader.load_configuration(CONFIG_NAME, list(overrides), RunMode.MULTIRUN, from_shell=False)
    return str(cfg.hydra.runtime.choices[LAUNCHER])
