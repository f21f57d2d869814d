"""The words of a command as they were typed: mistakes that Hydra's parser answers in its own terms, told in ours."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Sequence

from hydra.core.override_parser.types import ValueType
from hydra.errors import HydraException

from rramsweep.config import conf_dir, parse
from rramsweep.errors import ValidationError
from rramsweep.names import suggest
from rramsweep.vocabulary import first_parameter, options

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
