"""Messages of one line: words of a command that name what is not there, and errors with what caused them.

Names are looked up in the catalog alone, before Hydra and torch are imported. What the catalog cannot judge is left to
Hydra, whose own errors `overrides.explain` puts into the same words.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib.machinery import PathFinder
from pathlib import Path

from rramsweep.cli.catalog import CATALOG, LAUNCHER, Catalog
from rramsweep.errors import Sentence, ValidationError
from rramsweep.groups import CELL_GROUPS, GROUPS, POINT_KEYS, SETTERS
from rramsweep.study.folders import check_can_be_folder
from rramsweep.suggest import nearest, suggest

FULL_ERROR = "HYDRA_FULL_ERROR"

OVERRIDE_FORM = "an override is NAME=VALUE without blanks"

# Verb, and the group of the settings that it alone has.
TRAINING = "finetune"

# Beginning of the names of a target: as in `analysis.target`, which needs numpy.
_TARGET = "target"

# Devices that a message names.
DEVICES = 2

SWEEPS = ("-m", "--multirun")
_PLAIN_FLAGS = (*SWEEPS, "-r", "--run")

_OVERRIDE = re.compile(r"([a-z_][\w./]*)=(.*)", re.ASCII | re.IGNORECASE | re.DOTALL)
# Values that are surely read as they look: names and numbers, a plain list or text in quotes, and several of them.
_VALUE = r"[-+]?[\w./][\w./:-]*"
_LIST = rf"{_VALUE}(,{_VALUE})*"
_ONE_VALUE = re.compile(rf"{_VALUE}|\[({_LIST})?\]|'[^'\\]*'", re.ASCII)
_SEVERAL = re.compile(rf"{_VALUE},{_LIST}|choice\({_LIST}\)|range\([-+.0-9]+(,[-+.0-9]+){{1,2}}\)", re.ASCII)
_NAME = re.compile(r"[-+]?\w[\w.-]*", re.ASCII)
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]{,99})")
_DECIMAL = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?(e[-+]?[0-9]+)?|inf|nan)", re.ASCII | re.IGNORECASE)
_WORDS: Mapping[str, bool | None] = {"null": None, "true": True, "false": False}

# Beginnings of Hydra's own names that add no option and no axis.
_HARMLESS = (LAUNCHER, "hydra.launcher.", "hydra.run.", "hydra.sweep.", "hydra.job.")

# Packages of plugins that add no option and no axis: a user's own may.
_PLUGINS = {
    *("hydra_joblib_launcher", "hydra_submitit_launcher", "hydra_ray_launcher", "hydra_optuna_sweeper", "__pycache__"),
}


# How alike a name must be to be taken for a misspelling where any other is taken too (`difflib`).
ALMOST = 0.85


class CommandError(Exception):
    """A command that did not end as asked.

    Args:
        line: for the user.
        code: exit status.
    """

    def __init__(self, line: str, code: int = 1) -> None:
        super().__init__(line)
        self.code = code


def full_error() -> bool:
    """True where the user wants tracebacks instead of one line."""
    return os.environ.get(FULL_ERROR, "0") not in ("", "0")


def explain(error: BaseException) -> str:
    """The message of an error and of what caused it, folded to one line."""
    parts: list[str] = []
    for cause in causes(error):
        if isinstance(cause, ValidationError):
            with_devices(cause)
        if isinstance(cause, FileExistsError | NotADirectoryError) and isinstance(cause.filename, str):
            try:  # a folder that Hydra could not make
                check_can_be_folder(Path(cause.filename), "what is written to", "choose another folder")
            except ValidationError as taken:
                return str(taken)
        text = " ".join(str(cause).split())
        # What an OSError adds to its reason is a number, and often a temporary name.
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else text
        if text and not any(reason in part for part in parts):
            parts.append(text)
    return ": ".join(parts) or type(error).__name__


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def with_devices(error: ValidationError) -> ValidationError:
    """An error that asks for another device, with the names of those that the law covers, widest first."""
    return error if error.window_uS is None else error.naming(CATALOG.devices(*error.window_uS)[:DEVICES])


def no_option(group: str, name: str, catalog: Catalog = CATALOG) -> ValidationError:
    """Refusal of an option that a group does not have, with the nearest."""
    return ValidationError(Sentence(f"{group} has no option {name!r}"), suggest(name, catalog.option_names(group)))


def no_name(key: str, what: str = "set", catalog: Catalog = CATALOG) -> ValidationError:
    """Refusal of a name that is not there to be `what`: whose parameter it is, or what may have been meant."""
    group = key.split(".")[0]
    owners = catalog.parameters(group) if "." in key else {}
    unknown_key = f"{key} is not there to be {what}"
    if key in owners:
        others = " or ".join(f"{group}={option}" for option in owners[key])
        return ValidationError(Sentence(f"{unknown_key}, because it is a parameter of {others}"), "choose that too")
    if owners:
        if group == "model":
            near = nearest(key, owners, ALMOST)
            guess = f", or did you mean {' or '.join(near)}?" if near else ""
            return ValidationError(Sentence(unknown_key), f"write +{key}=VALUE for an argument of the network{guess}")
        # Of the names alone, because the group's is most of both.
        names = [owner.partition(".")[2] for owner in owners]
        if group not in CELL_GROUPS or get_close_matches(key.partition(".")[2], names, 1, ALMOST):
            return ValidationError(Sentence(unknown_key), suggest(key, owners))
        return ValidationError(
            Sentence(unknown_key), f"{suggest(key, owners)} Write +{key}=VALUE for an argument of a class of your own"
        )
    roots = [*GROUPS, *catalog.settings()]
    every = [*roots, *(name for group in (*POINT_KEYS, "stopping") for name in catalog.parameters(group))]
    return ValidationError(Sentence(unknown_key), suggest(key, every if nearest(key, every) else roots))


def check_option(group: str, value: object, catalog: Catalog = CATALOG) -> None:
    """Check that the value of a group can be the name of an option.

    Raises:
        ValidationError: null, a number, a list of other values than text, or a path.
    """
    if value is None or (isinstance(value, list) and not all(isinstance(one, str) for one in value)):
        known = ", ".join(catalog.option_names(group))
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
    parameter = catalog.first_parameter(group)
    also = (
        f"; a value of its parameter is written {parameter}={value}"
        if parameter and not isinstance(value, bool)
        else ""
    )
    given = str(value).lower() if isinstance(value, bool) else str(value)
    remedy = f"{suggest(given, catalog.option_names(group))}{also}"
    raise ValidationError(Sentence(f"{group} has no option {given}"), remedy)


def of_training(word: str) -> bool:
    """True for an override of the settings of `rramsweep finetune`."""
    return re.split(r"[.=@]", word.lstrip("+~"), maxsplit=1)[0] == TRAINING


def refuse_training(words: Sequence[str]) -> None:
    """Check that no setting of a fine-tuning is given to what trains nothing.

    Raises:
        ValidationError: names it.
    """
    for i in positions(words):
        if of_training(words[i]):
            raise ValidationError(
                Sentence(f"settings of {TRAINING} are of `rramsweep {TRAINING}` and rs.{TRAINING} alone"),
                "leave it out, or train with it and sweep over model.checkpoint",
                value=words[i],
            )


def refuse_target(words: Sequence[str]) -> None:
    """Check that no target is given to what holds no chip to one.

    Args:
        words: of the command, without those of a target that it takes.

    Raises:
        ValidationError: names it.
    """
    for i in positions(words):
        if re.split(r"[.=@]", words[i].lstrip("+~"), maxsplit=1)[0] == _TARGET:
            raise ValidationError(
                Sentence("a target is of `rramsweep budget` and `rramsweep sensitivity` alone"),
                "leave it out, or give yield_drop=DROP for the yield of a sweep",
                value=words[i],
            )


def positions(words: Sequence[str]) -> Iterator[int]:
    """Places of the words that are overrides: flags, and what follows one of Hydra's, are left to Hydra."""
    for i, word in enumerate(words):
        before = words[i - 1] if i else ""
        if not word.startswith("-") and (not before.startswith("-") or before in _PLAIN_FLAGS):
            yield i


def refuse_torn(words: Sequence[str]) -> None:
    """Check that no blank has torn the value off a word.

    Raises:
        ValidationError: names the words and how to write them.
    """
    for i in positions(words):
        if (torn := _torn(words[i:])) is not None:
            raise ValidationError(Sentence(OVERRIDE_FORM), f"write {torn[1]}", shown=torn[0])


def _torn(words: Sequence[str]) -> tuple[str, str] | None:
    """The words that a blank tore apart, from the first on, and how they are written; None where none did."""
    word, *rest = words
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


def check_names(words: Sequence[str], catalog: Catalog = CATALOG) -> None:
    """Check that the options, parameters and settings that a command names exist.

    Nothing is refused that Hydra might accept: words of another form than NAME=VALUE, flags, and names of Hydra's that
    bring options or axes along leave the whole command to Hydra; so does a plugin that is not known here.

    Args:
        words: the command line after the program's name.
        catalog: everything that the command can choose from.

    Raises:
        ValidationError: torn words, an unknown option, parameter or setting.
    """
    refuse_torn(words)
    refuse_training(words)
    refuse_target(words)
    given = _given(words)
    if given is None or _has_unknown_plugin():
        return
    swept = [key for key, text in given.items() if _SEVERAL.fullmatch(text)]
    if "experiment" in swept or (swept and not set(words) & set(SWEEPS)):
        return  # refused for that
    chosen = {key: _names(text) for key, text in given.items() if catalog.is_group(key)}
    for group, names in chosen.items():
        for value in map(_literal, names or ()):
            check_option(group, value, catalog)
            if isinstance(value, str) and group != LAUNCHER and value not in catalog.option_names(group):
                raise no_option(group, value, catalog)
    roots = catalog.roots()
    for key in (key for key, text in given.items() if key in swept or _ONE_VALUE.fullmatch(text)):
        root, _, name = key.partition(".")
        if root not in roots and "/" not in key:
            raise no_name(key, "swept", catalog) if key in swept else no_name(root, "set", catalog)
        if name.isidentifier() and not name.startswith("_") and not _may_have(root, name, chosen, catalog):
            raise no_name(key, "set", catalog)


def _given(words: Sequence[str]) -> dict[str, str] | None:
    """Values by name, as text; None where one is not of the form NAME=VALUE, comes twice, or may add names."""
    given: dict[str, str] = {}
    for word in words:
        if word in _PLAIN_FLAGS:
            continue
        match = _OVERRIDE.fullmatch(word)
        if match is None or match[1] in given:
            return None
        if match[1].startswith("hydra") and not match[1].startswith(_HARMLESS):
            return None
        given[match[1]] = match[2]
    return given


def _has_unknown_plugin() -> bool:
    found = PathFinder.find_spec("hydra_plugins")
    folders = found.submodule_search_locations if found is not None else None
    return any(path.name not in _PLUGINS for folder in folders or () for path in Path(folder).glob("*"))


def _names(text: str) -> list[str] | None:
    """The values of a group; None where it is not plain which options they are."""
    names = text.split(",")
    return names if all(map(_NAME.fullmatch, names)) else None


def _literal(text: str) -> object:
    """A plain value as Hydra reads it."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _WHOLE.fullmatch(text):
        return int(text)
    is_number = _DECIMAL.fullmatch(text) and not re.fullmatch("[-+]?0[0-9]+", text)
    return float(text) if is_number else text


def _may_have(group: str, name: str, chosen: Mapping[str, Sequence[str] | None], catalog: Catalog) -> bool:
    """True if one of the options that a command may choose in a group has a parameter.

    Args:
        group: config group of the parameter.
        name: of the parameter below the group.
        chosen: the options that the command names by group, None where they are not known.
        catalog: everything that the command can choose from.
    """
    if group in (*SETTERS, "experiment", "hydra") or not catalog.is_group(group):
        return True
    setters = [
        option
        for setter in (*SETTERS, "experiment")
        for each in chosen.get(setter) or ()
        if (option := catalog.option(setter, each)) is not None
    ]
    if any(parameter.name == f"{group}.{name}" for option in setters for parameter in option.parameters):
        return True
    owners = catalog.parameters(group).get(f"{group}.{name}", [])
    names = chosen.get(group)
    unknown = any(chosen.get(setter, ()) is None for setter in SETTERS)
    if names is None and (group in chosen or "experiment" in chosen or unknown):
        return bool(owners)  # which option it will be is not known here
    if names is None:
        default = catalog.defaults().get(group, "")
        names = [dict(one.split("=", 1) for one in o.sets).get(group, default) for o in setters] or [default]
    return any(option in owners for option in names)
