"""Checks of arguments against a signature's own annotations, before anything is done with them.

A wrong type would otherwise surface later as an unrelated error, or silently mean something else: any text is true.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from rramsweep.errors import ValidationError

P = ParamSpec("P")
R = TypeVar("R")

# Type -> its name in messages, and the remedy.
_WORDS: dict[Any, tuple[str, str]] = {
    bool: ("True or False", "give one of them, without quotes"),
    int: ("an integer", "give a whole number, without quotes"),
    float: ("a number", "give one, without quotes"),
    str: ("text", "put one name in quotes"),
}
_LONGEST = 60

# Parameters of type text that are paths, and may be given as such from Python.
_PATHS = ("path", "root")

# Types that functions check themselves, with better messages.
_ELSEWHERE = ("DataFrame", "Dataset", "Module")


def user_level() -> int:
    """`stacklevel` at which a warning of the calling function names the line of the user's that led to it."""
    frame, level, package = sys._getframe(1), 1, str(Path(__file__).parent)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        frame, level = frame.f_back, level + 1
    return level


def checked_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Check each argument of a call by its annotation; scalars of numpy become Python's.

    Annotations other than plain types, containers and protocols are left to the function, and so are data frames, data
    sets and networks.

    Raises:
        ValidationError: names the parameter, its type and the value.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        signature, hints = _signature(function)
        bound = signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            if name in hints:
                bound.arguments[name] = fitting(value, hints[name], name)
        return function(*bound.args, **bound.kwargs)

    return call


def check_fields(instance: Any, slot: str = "") -> None:
    """Check each field of a dataclass by its annotation, see `checked_arguments`; for `__post_init__`.

    Args:
        instance: the dataclass.
        slot: of a config, for messages.

    Raises:
        ValidationError: names the field, its type and the value.
    """
    kind: Callable[..., Any] = type(instance)
    hints = _hints(kind)
    for field in dataclasses.fields(instance):
        if not field.init:
            continue
        value = getattr(instance, field.name)
        fitted = fitting(value, hints[field.name], field.name, slot)
        if fitted is not value:
            object.__setattr__(instance, field.name, fitted)


def fitting(value: Any, hint: Any, name: str, slot: str = "") -> Any:
    """Check a value against an annotation and return it, as Python's own scalar where it is one of numpy.

    Raises:
        ValidationError: it is of another type.
    """
    options = _options(hint)
    scalar = _plain(value)
    if str in options and name in _PATHS and isinstance(value, os.PathLike):
        return os.fspath(value)
    for option in options:
        if _is(scalar, option):
            return int(scalar) if option is int else scalar
    kinds = " or ".join("None" if option is type(None) else _kind(option) for option in options)
    remedy = next((_WORDS[option][1] for option in options if option in _WORDS), f"give {_kind(options[0])}")
    if str in options and (name in _PATHS or _is_path(options)):
        remedy = "give a path, as text in quotes or as a pathlib.Path"
    raise ValidationError(f"must be {kinds}", remedy, value=value, shown=brief(value), parameter=name, slot=slot)


def brief(value: Any) -> str:
    """Show a value of any type in one short line, with its type."""
    kind = type(value).__name__
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if not isinstance(value, str | bytes | int | float | complex | list | tuple | dict | set):
        return f"{'an' if kind[0] in 'AEIOUaeiou' else 'a'} {kind}"
    text = " ".join(repr(value).split())
    return f"{text if len(text) <= _LONGEST else text[: _LONGEST - 4] + ' ...'} ({kind})"


@cache
def _signature(function: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, Any]]:
    return inspect.signature(function), _hints(function)


@cache
def _hints(of: Callable[..., Any]) -> dict[str, Any]:
    return typing.get_type_hints(of)


def _options(hint: Any) -> tuple[Any, ...]:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _is_path(options: tuple[Any, ...]) -> bool:
    kinds = [typing.get_origin(option) or option for option in options]
    return any(isinstance(kind, type) and issubclass(kind, os.PathLike) for kind in kinds)


def _plain(value: Any) -> Any:
    """Convert a scalar of numpy to Python's; recognised by its module, so that numpy need not be installed."""
    if type(value).__module__ == "numpy" and hasattr(value, "item") and not hasattr(value, "__len__"):
        return value.item()
    return value


def _is(value: Any, hint: Any) -> bool:
    if hint in (Any, object) or isinstance(hint, TypeVar):
        return True
    if hint is type(None) or hint is None:
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        whole = isinstance(value, float) and value.is_integer()
        return (isinstance(value, int) and not isinstance(value, bool)) or whole
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_is(value, option) for option in inner)
    if origin is None:
        return _is_instance(value, hint)
    if origin is tuple and Ellipsis in inner:
        return isinstance(value, tuple) and all(_is(one, inner[0]) for one in value)
    if origin is list:
        return isinstance(value, list | tuple) and all(_is(_plain(one), inner[0]) for one in value)
    if origin is tuple:
        return isinstance(value, tuple | list) and len(value) == len(inner) and all(map(_is, value, inner))
    if origin is Sequence and inner == (str,):
        # Text is a sequence of names too; a function that takes no single name checks that itself.
        return isinstance(value, str) or (_is_listed(value) and all(isinstance(one, str) for one in value))
    if origin is Sequence:
        return _is_listed(value) and all(_is(_plain(one), inner[0]) for one in value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            return inner[1] is Any  # the function checks the values itself
        return all(_is(k, inner[0]) and _is(v, inner[1]) for k, v in value.items())
    return _is_instance(value, origin)


def _is_listed(value: Any) -> bool:
    ordered = isinstance(value, Iterable) and hasattr(value, "__len__") and hasattr(value, "__getitem__")
    return ordered and not isinstance(value, str | bytes | Mapping) and not hasattr(value, "columns")


def _is_instance(value: Any, hint: Any) -> bool:
    if not isinstance(hint, type) or hint.__name__ in _ELSEWHERE:
        return True
    if not getattr(hint, "_is_protocol", False):
        return isinstance(value, hint)
    # A class has the members of a protocol too, but is not an instance.
    return not isinstance(value, type) and all(hasattr(value, name) for name in _members(hint))


@cache
def _members(protocol: type) -> frozenset[str]:
    """Names of what instances of a protocol must have."""
    # An effect needs the call alone: a user's own may omit its version.
    if "__call__" in vars(protocol):
        return frozenset({"__call__"})
    return frozenset({*typing.get_type_hints(protocol), *(name for name in vars(protocol) if not name.startswith("_"))})


def _kind(hint: Any) -> str:
    if hint in _WORDS:
        return _WORDS[hint][0]
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Sequence, list) or Ellipsis in inner:
        return f"a list of {'names' if inner == (str,) else f'{_plural(inner[0])}'}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a dict" if inner[1] is Any else f"a dict of {_plural(inner[1])}"
    if origin is tuple:
        return f"({', '.join(_kind(one) for one in inner)})"
    kind = getattr(origin or hint, "__name__", str(hint))
    return {"Path": "a path", "PathLike": "a path", "Axes": "an Axes of matplotlib"}.get(kind, f"an instance of {kind}")


def _plural(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return _kind(hint)
    return {int: "integers", float: "numbers", str: "names"}.get(hint, getattr(hint, "__name__", str(hint)))
