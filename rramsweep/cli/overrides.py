"""The words of a command as they were typed: mistakes that Hydra's parser answers in its own terms, told in ours."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Sequence

from hydra.core.override_parser.types import ValueType
from hydra.errors import HydraException

from rramsweep.cli.composing import conf_dir, launcher_of, parse
from rramsweep.cli.vocabulary import first_parameter, options
from rramsweep.errors import Sentence, ValidationError
from rramsweep.suggest import suggest

# What is set for a command as a whole -> what to do instead from Python.
_UNHEEDED = {
    "preview": "run rramsweep plan with these overrides to see what a sweep would do",
    "plan": "leave it out, since it is set for the jobs of a launcher",
    "shard": "leave it out, since it is set for the jobs of a launcher",
    "shards": "run it as rramsweep -m to split it over jobs",
}
_AS_BY_DEFAULT = {"preview": False, "plan": None, "shard": 0, "shards": 1}
# No group has so many options: what follows in a range is refused as its first value is.
_FEW = 1000

_FORM = "an override is NAME=VALUE without blanks"


def check(words: Sequence[str], single: str = "") -> None:
    """Refuse words that are no overrides, and a number where a group's option belongs.

    Args:
        words: flags and what follows one of Hydra's are left to Hydra.
        single: of one point, where values to sweep over are refused too: how several are swept.

    Raises:
        ValueError: names the word and how to write it.
    """
    for i, word in enumerate(words):
        before = words[i - 1] if i else ""
        if word.startswith("-") or (before.startswith("-") and before not in ("-m", "--multirun", "-r", "--run")):
            continue
        split = _split(words, i)
        if split is not None:
            raise ValueError(f"{_FORM}, got {split[0]}: write {split[1]}")
        try:
            (override,) = parse([word])
        except HydraException:
            raise ValueError(f"{_FORM}, got {word!r}, which cannot be read: {_quoting(word)}") from None
        _check_numbers(word)
        if override.is_sweep_override():
            if single:
                raise ValueError(
                    f"a single point takes one value, got {word}: {single}, or put them in brackets where the "
                    "parameter is a list"
                )
            if override.value_type != ValueType.GLOB_CHOICE_SWEEP and _is_group(override.key_or_group):
                for value in itertools.islice(override.sweep_iterator(), _FEW):
                    _check_option(override.key_or_group, value)
        elif not override.is_delete():
            _check_option(override.key_or_group, override.value())


def refuse_flags(words: Sequence[str], call: str, instead: str) -> None:
    """Refuse flags of the command line in a call from Python, which takes overrides alone.

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
    """Refuse overrides of how a command is run, which a call from Python would leave unheeded.

    Args:
        overrides: as they were given.
        instead: what the call does, for the message: `rs.sweep computes every trial in this process`.

    Raises:
        ValidationError: names the override and what to do.
    """
    for override in parse(list(overrides)):
        key = override.get_key_element().lstrip("+~")
        if key == "experiment" and (launcher := launcher_of(overrides)) != "basic":
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
    """Refuse a bare number with underscores, which Hydra's grammar reads without them.

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


def _split(words: Sequence[str], i: int) -> tuple[str, str] | None:
    """The words that a blank tore apart, from the i-th on, and how they are written; None where none did."""
    word, rest = words[i], list(words[i + 1 :])
    if word.startswith("~"):
        return None
    torn = [word]
    if "=" in word:
        while torn[-1].endswith(("=", ",")) and rest and "=" not in rest[0]:
            torn.append(rest.pop(0))
        return (" ".join(torn), "".join(torn)) if len(torn) > 1 else None
    name, _, value = word.partition(" ")
    value = value.strip()
    while rest and "=" not in rest[0].lstrip("=") and (not value.strip("=") or value.endswith(",")):
        torn.append(rest.pop(0))
        value += torn[-1]
    return " ".join(torn), f"{name}={value.lstrip('= ') or 'VALUE'}"


def _quoting(word: str) -> str:
    name, _, value = word.partition("=")
    quoted = f"{name}='{value}'"
    if any(value.count(one) != value.count(other) for one, other in ("[]", "{}", "()")) or set(value) & set("'\""):
        return "close its brackets and quotes"
    return f"put its value in quotes, {_for_shell(quoted)}"


def _for_shell(text: str) -> str:
    return f'"{text}"' if not set(text) & set('"$`\\!') else shlex.quote(text)


def _is_group(key: str) -> bool:
    return (conf_dir() / key).is_dir() and key != "hydra"


def _check_option(group: str, value: object) -> None:
    if not _is_group(group):
        return
    if value is None or (isinstance(value, list) and not all(isinstance(one, str) for one in value)):
        known = ", ".join(options(group))
        shown = "null" if value is None else str(value)
        raise ValidationError("must be the name of an option", f"pick one of {known}", shown=shown, slot=group)
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, str) and (one.startswith(("/", "~")) or ".." in one.split("/")):
            raise ValidationError(
                "must be the name of an option",
                "give the folder with --config-dir, and the name alone",
                value=one,
                slot=group,
            )
    if not isinstance(value, bool | int | float):
        return
    parameter = first_parameter(group)
    also = (
        f"; a value of its parameter is written {parameter}={value}"
        if parameter and not isinstance(value, bool)
        else ""
    )
    given = str(value).lower() if isinstance(value, bool) else str(value)
    raise ValueError(f"{group} has no option {given}: {suggest(given, options(group))}{also}")
