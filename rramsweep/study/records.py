"""Small JSON files of a results folder, read as data: checked by type against a closed description.

A description is a type (`str`, `int`, `float`, `bool`, None), a tuple of descriptions of which one must hold, a list
`[each]`, a dict `{key: description}` of exactly these keys, `Each(description)` for a dict of any keys, or a function
that takes the value and returns what is wrong with it, empty if nothing is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rramsweep.errors import ValidationError
from rramsweep.files import read_regular

_NAMES = {str: "text", int: "an integer", float: "a number", bool: "true or false", type(None): "null"}
_SHOWN = 60


@dataclass(frozen=True)
class Each:
    """A dict of any keys, all of whose values follow one description."""

    value: Any


@dataclass(frozen=True)
class Optional:
    """A key of a dict that may be missing."""

    value: Any


def whole(low: int, high: int) -> Callable[[Any], str]:
    """The description of an integer in `low..high`."""
    return lambda value: "" if type(value) is int and low <= value <= high else f"an integer in {low}..{high}"


def time(value: Any) -> str:
    """The description of a date and time with its offset from UTC, as `datetime.isoformat` writes them."""
    try:
        zone = datetime.fromisoformat(value).utcoffset()
    except (TypeError, ValueError):
        zone = None
    return "" if zone is not None else "a date and time with its offset from UTC"


def read_record(path: Path, form: Any, holds: str, remedy: str) -> Any:
    """Read a JSON file and check it against its description.

    Args:
        path: of the file.
        form: its description.
        holds: completes "FILE must hold ...".
        remedy: what a user can do where it does not.

    Raises:
        FileNotFoundError, NotADirectoryError: no such file.
        ValidationError: names the file, the value that is wrong, and the remedy.
    """
    try:
        value = json.loads(read_regular(path).decode("utf-8"), parse_constant=_no_constant)
        wrong = mismatch(value, form)
    except UnicodeDecodeError:
        wrong = "it is no text in UTF-8"
    except json.JSONDecodeError as error:
        wrong = f"it is no JSON ({error})" if error.doc else "it is empty"
    except ValueError as error:  # a constant of JavaScript, an integer of thousands of digits
        wrong = f"it is no JSON ({error})"
    except RecursionError:
        wrong = "it is nested too deeply"
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        remedy = "make it readable" if isinstance(error, PermissionError) else remedy
        wrong = f"it cannot be read ({error.strerror})"
    if wrong:
        raise ValidationError(f"must hold {holds}, but {wrong}", remedy, parameter=str(path))
    return value


def mismatch(value: Any, form: Any, where: str = "it") -> str:
    """The first place in which a value does not follow its description; empty if it does."""
    if isinstance(form, dict):
        if not isinstance(value, dict):
            return _must(where, "an object", value)
        missing = [key for key, of in form.items() if key not in value and not isinstance(of, Optional)]
        unknown = [key for key in value if key not in form]
        if missing or unknown:
            return f"{where} {f'has no {missing[0]}' if missing else f'has an unknown {_text(unknown[0])}'}"
        parts = [
            (value[key], of.value if isinstance(of, Optional) else of, key) for key, of in form.items() if key in value
        ]
        return next((wrong for part, of, key in parts if (wrong := mismatch(part, of, _inside(where, key)))), "")
    if isinstance(form, Each):
        if not isinstance(value, dict):
            return _must(where, "an object", value)
        found = (
            mismatch(key, str, f"a key of {where}") or mismatch(part, form.value, _inside(where, key))
            for key, part in value.items()
        )
        return next(filter(None, found), "")
    if isinstance(form, list):
        if not isinstance(value, list):
            return _must(where, "a list", value)
        found = (mismatch(part, form[0], f"{'' if where == 'it' else where}[{i}]") for i, part in enumerate(value))
        return next(filter(None, found), "")
    if isinstance(form, tuple):
        wrongs = [mismatch(value, part, where) for part in form]
        return "" if "" in wrongs else wrongs[0]
    if not isinstance(form, type) and callable(form):
        return _must(where, wrong, value) if (wrong := form(value)) else ""
    return _scalar(value, type(None) if form is None else form, where)


def _scalar(value: Any, form: type, where: str) -> str:
    if form is float and type(value) in (int, float):
        try:
            return "" if math.isfinite(float(value)) else _must(where, "a finite number", value)
        except OverflowError:
            return _must(where, "a finite number", value)
    if type(value) is not form:
        return _must(where, _NAMES[form], value)
    if form is str:
        try:
            str(value).encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which no file can be written with
            return _must(where, "text of whole characters", value)
    return ""


def _must(where: str, what: str, value: Any) -> str:
    return f"{where} is {_text(value)}, not {what}"


def _text(value: Any) -> str:
    text = ascii(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _inside(where: str, key: str) -> str:
    shown = key if key.isidentifier() and key.isascii() else f"[{_text(key)}]"
    return shown if where == "it" else f"{where}{'' if shown.startswith('[') else '.'}{shown}"


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
