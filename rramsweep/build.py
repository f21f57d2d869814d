"""From a config node to an object: the constructor's own signature is the schema.

A node is `{_target_: dotted.name, argument: value, ...}`. Its keys must be arguments of the target, its values
must fit the annotations, and what the name resolves to must live in an allowed package: a config is code.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rramsweep.errors import Sentence, ValidationError, no_exit
from rramsweep.names import suggest

OWN = "rramsweep"

_PERCENT = re.compile(r"\d*\.?\d+ ?%")


def build(node: Mapping[str, Any], where: str, allow: Sequence[str] = (), skip: Sequence[str] = ()) -> Any:
    """Call the node's target with the node's other keys; an argument that is a node itself is built first.

    Args:
        node: resolved plain data with a `_target_`.
        where: dotted name of the node, for messages.
        allow: packages allowed beside rramsweep itself.
        skip: keys of the node that are not arguments.

    Raises:
        ValueError: what `arguments` refuses, or what the target itself refuses, with `where` in front.
    """
    target, given = arguments(node, where, allow, skip)
    for key, value in given.items():
        if isinstance(value, Mapping) and "_target_" in value:
            given[key] = build(value, f"{where}.{key}", allow)
    try:
        with no_exit(str(node["_target_"])):
            return target(**given)
    except ValidationError as error:
        raise error.inside(where) from error.__cause__
    except ValueError as error:
        raise ValidationError(Sentence(f"{where}: {error}")) from error
    except Exception as error:
        name = node["_target_"]
        raise ValueError(f"{where}: {name} must accept its arguments, but raised {error!r}: correct them") from error


def arguments(
    node: Mapping[str, Any], where: str, allow: Sequence[str] = (), skip: Sequence[str] = ()
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The node's target and its arguments, each of the type that the target's annotation asks for.

    Raises:
        ValueError: no, unknown or forbidden target; unknown or missing argument; a value that does not fit.
    """
    target = resolve(node.get("_target_"), where, allow)
    given = {key: value for key, value in node.items() if key != "_target_" and key not in skip}
    parameters = inspect.signature(target).parameters
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    for key in given:
        if key not in parameters and not open_ended:
            raise ValueError(f"{where}.{key} is not a parameter of {where}: {suggest(key, parameters)}")
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    lacking = [
        name
        for name, p in parameters.items()
        if p.default is inspect.Parameter.empty and p.kind in named and name not in given
    ]
    if lacking:
        raise ValueError(f"{where} needs {', '.join(lacking)}: give {where}.{lacking[0]}=VALUE")
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    return target, {key: fit(value, hints.get(key, Any), f"{where}.{key}") for key, value in given.items()}


def resolve(name: Any, where: str, allow: Sequence[str] = ()) -> Any:
    """The callable that a dotted name stands for, if it lives in an allowed package.

    The name's own beginning is checked before anything is imported, and the module of what it resolves to
    afterwards: `rramsweep.trial.torch.load` begins well and is refused all the same.

    Raises:
        ValueError: not a name, not allowed, not found, or not callable.
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"{where} needs a _target_, got {name!r}: give {where}._target_=package.factory")
    if "." not in name:
        raise ValueError(
            f"{where}._target_ must be a dotted name, got {name!r}: give its package as well, as in "
            "rramsweep.effects.Ideal"
        )
    allowed = (OWN, *allow)
    remedy = f"allow its package with allow_targets=[{name.split('.')[0]}] on the command line"
    if not _inside(name, allowed):
        raise ValueError(f"{where}._target_ must lie in {_list(allowed)}, got {name!r}: {remedy}")
    found = _import(name, where)
    home = getattr(found, "__module__", None)
    if not callable(found) or not isinstance(home, str):
        raise ValueError(
            f"{where}._target_ must name a class or function, {name!r} is {type(found).__name__}: name one"
        )
    if not _inside(home, allowed):
        raise ValueError(f"{where}._target_ must lie in {_list(allowed)}, but {name!r} comes from {home!r}: {remedy}")
    return found


def fit(value: Any, hint: Any, where: str) -> Any:
    """`value` as the annotation asks: an int becomes a float where one is meant; nothing else is bent.

    Raises:
        ValueError: the value is of another type.
    """
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    plain = [o for o in options if o is not type(None)]
    for option in plain:
        if typing.get_origin(option) is list and isinstance(value, list):
            (item,) = typing.get_args(option)
            return [fit(entry, item, f"{where}[{i}]") for i, entry in enumerate(value)]
        if option is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if option is int and not isinstance(value, bool):
            if isinstance(value, int):
                return value
            if isinstance(value, float) and value.is_integer():
                return int(value)
        if option in (bool, str) and isinstance(value, option):
            return value
        if option not in (float, int, bool, str) and typing.get_origin(option) is not list:
            return value
    wanted = " or ".join(_kind(option) for option in options)
    remedy = "correct the value"
    if isinstance(value, str) and float in plain and _PERCENT.fullmatch(value):
        remedy = f"give a fraction, {float(value.rstrip('% ')) / 100:g}"
    raise ValueError(f"{where} must be {wanted}, got {value!r} ({type(value).__name__}): {remedy}")


def _kind(option: Any) -> str:
    if typing.get_origin(option) is list:
        return f"a list of {_kind(typing.get_args(option)[0])}, [one,two]"
    return "null" if option is type(None) else getattr(option, "__name__", str(option))


def _import(name: str, where: str) -> Any:
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        module = ".".join(parts[:cut])
        try:
            with no_exit(f"{where}._target_: importing {name}"):
                found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
                continue
            raise ValueError(
                f"{where}._target_ {name!r} cannot be imported ({error}): install what it needs"
            ) from error
        for i, attribute in enumerate(parts[cut:], cut):
            if not hasattr(found, attribute):
                raise ValueError(f"{where}._target_ {name!r} is not there: {_instead(found, parts, i)}")
            found = getattr(found, attribute)
        return found
    raise ValueError(f"{where}._target_ {name!r} is not there: no package {parts[0]!r} can be imported")


def _instead(found: Any, parts: Sequence[str], i: int) -> str:
    """What there is in place of the i-th part of a name: in a package its modules too, imported or not."""
    public = [n for n in vars(found) if not n.startswith("_")] if hasattr(found, "__dict__") else []
    if not isinstance(found, types.ModuleType) or i == len(parts) - 1:
        return suggest(parts[i], public)
    home = ".".join(parts[:i])
    modules = [module.name for module in pkgutil.iter_modules(getattr(found, "__path__", None) or [])]
    there = suggest(parts[i], dict.fromkeys([*modules, *public])) if modules or public else "it holds none"
    near = there.replace("did you mean ", f"did you mean {home}.").replace(" or ", f" or {home}.")
    return f"there is no module {home}.{parts[i]}: {near}"


def _inside(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _list(packages: Sequence[str]) -> str:
    return " or ".join(repr(p) for p in packages)
