"""Construction of objects from config nodes: the constructor's own signature is the schema.

A node is `{_target_: dotted.name, argument: value, ...}`. Its keys must be arguments of the target, its values must fit
the annotations, and the node's group must accept the target: a config names parts of a chip and runs no other code, of
this package or any other.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rramsweep.errors import Sentence, ValidationError, fraction_of, no_exit
from rramsweep.identity import OPTION
from rramsweep.suggest import nearest, suggest

OWN = "rramsweep"

# Packages that name the null part `Ideal`.
_IDEALS = (f"{OWN}.effects", f"{OWN}.crossbar")

# Modules that a YAML or a stored plan may still name by their path before the layout of 0.1.0 -> their path today.
FORMER = {
    "rramsweep.device": "rramsweep.devices",
    "rramsweep.mapping": "rramsweep.crossbar",
    "rramsweep.accelerator": "rramsweep.network",
    "rramsweep.stopping": "rramsweep.study.stopping",
}


@dataclass(frozen=True)
class Kind:
    """Targets that a config group accepts: a closed set of this package's names, and a check for a user's own.

    Args:
        package: module that exports the names.
        names: names of it that are accepted.
        check: called with the object that a target made and the target; raises ValueError if it is of another kind.
    """

    package: str
    names: tuple[str, ...]
    check: Callable[[Any, str], object] = lambda made, target: None  # noqa: ARG005

    def find(self, name: str) -> Any:
        """Object of one of this package's own names, `rramsweep.effects.Stuck`; None if it is not accepted.

        The module within the package may be named too, `rramsweep.effects.stuck.Stuck`; nothing else is imported.
        """
        module, _, last = name.rpartition(".")
        # `Ideal` is one class, whichever package names it.
        packages = (self.package, *_IDEALS) if last == "Ideal" else (self.package,)
        if last not in self.names or not inside(FORMER.get(module, module), packages):
            return None
        return getattr(importlib.import_module(self.package), last)

    def described(self, allow: Sequence[str] = ()) -> str:
        """Describe the accepted targets."""
        own = [f"a target of {self.package}"] if self.names else []
        users = [f"of {package!r}" for package in allow] or ["of a package of your own"]
        return " or ".join([*own, *users])

    def holds(self, found: object) -> bool:
        """True for an object that is one of this package's own targets of this kind."""
        package = importlib.import_module(self.package)
        return any(found is getattr(package, name) for name in self.names)


# An argument that is a node itself, such as the `Dataset` in `data=dataset`: a user's own alone.
PART = Kind("mylab.module", ())


def build(node: Mapping[str, Any], where: str, kind: Kind, allow: Sequence[str] = (), skip: Sequence[str] = ()) -> Any:
    """Call the node's target with the node's other keys; an argument that is a node itself is built first.

    Args:
        node: resolved plain data with a `_target_`.
        where: dotted name of the node, for messages.
        kind: accepted targets, and the check of the object that is made.
        allow: packages of a user's own that may be named in addition to this package.
        skip: keys of the node that are not arguments.

    Raises:
        ValueError: what `arguments` or the kind refuses, or what the target itself refuses, with `where` in front.
    """
    target, given = arguments(node, where, kind, allow, skip)
    for key, value in given.items():
        if isinstance(value, Mapping) and "_target_" in value:
            given[key] = build(value, f"{where}.{key}", PART, allow)
    made = call(target, given, where, str(node["_target_"]))
    kind.check(made, str(node["_target_"]))
    return made


def check_node(node: Mapping[str, Any], where: str, kind: Kind, allow: Sequence[str] = ()) -> None:
    """Check a node as `build` does, its targets and arguments, without calling anything.

    Raises:
        ValidationError: what `arguments` refuses of the node or of an argument that is a node itself.
    """
    for key, value in arguments(node, where, kind, allow)[1].items():
        if isinstance(value, Mapping) and "_target_" in value:
            check_node(value, f"{where}.{key}", PART, allow)


def call(target: Callable[..., Any], given: Mapping[str, Any], where: str, name: str) -> Any:
    """Call `target(**given)`; an error names the node.

    Raises:
        ValueError: the target refused its arguments, or ended the program.
    """
    try:
        with no_exit(name):
            return target(**given)
    except ValidationError as error:
        raise error.inside(where) from error.__cause__
    except ValueError as error:
        raise ValidationError(Sentence(f"{where}: {error}")) from error
    except Exception as error:
        raise ValidationError(
            Sentence(f"{where}: {name} must accept its arguments, but raised {error!r}"), "correct them"
        ) from error


def arguments(
    node: Mapping[str, Any], where: str, kind: Kind, allow: Sequence[str] = (), skip: Sequence[str] = ()
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Target and arguments of a node, each of the type in the target's annotation.

    Raises:
        ValueError: no, unknown or forbidden target; unknown or missing argument; a value that does not fit.
    """
    target = resolve(node.get("_target_"), where, kind, allow)
    given = {key: value for key, value in node.items() if key not in ("_target_", OPTION, *skip)}
    return target, fitted(target, given, where)


def fitted(target: Callable[..., Any], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Arguments of a call, each of the type in the target's annotation.

    Raises:
        ValidationError: an unknown or missing argument, or a value that does not fit.
    """
    parameters = inspect.signature(target).parameters
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    for key in given:
        if key not in parameters and not open_ended:
            raise ValidationError(
                f"is not a parameter of {where}", suggest(str(key), parameters), slot=where, parameter=str(key)
            )
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    missing = [
        name
        for name, p in parameters.items()
        if p.default is inspect.Parameter.empty and p.kind in named and name not in given
    ]
    if missing:
        raise ValidationError(f"needs {', '.join(missing)}", f"give {where}.{missing[0]}=VALUE", slot=where)
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    return {key: fit(value, hints.get(key, Any), f"{where}.{key}") for key, value in given.items()}


def resolve(name: Any, where: str, kind: Kind, allow: Sequence[str] = ()) -> Any:
    """Import the callable of a dotted name, if the group accepts it.

    From this package a group accepts the names of its kind and nothing else: commands, loaders and writers are not
    parts of a chip. From a package in `allow` it accepts any callable that is defined there; the beginning of the name
    is checked before anything is imported, and the module of the resolved object afterwards.

    Raises:
        ValidationError: not a name, not accepted, not found, or not callable.
    """
    parameter = "_target_"
    if not isinstance(name, str) or not name:
        raise ValidationError(
            "needs a _target_", f"give {where}._target_=package.factory", value=name, shown=repr(name), slot=where
        )
    if "." not in name:
        raise ValidationError(
            "must be a dotted name",
            f"give its package as well, as in {kind.package}.{(*kind.names, 'Class')[0]}",
            value=name,
            slot=where,
            parameter=parameter,
        )
    if inside(name, (OWN,)):
        found = kind.find(name)
        if found is None:
            raise ValidationError(
                f"must be {kind.described()}",
                suggest(name.rpartition(".")[2], kind.names),
                value=name,
                slot=where,
                parameter=parameter,
            )
        return found
    remedy = f"allow its package with allow_targets=[{name.split('.')[0]}] on the command line"
    taken = kind.described(allow)
    if not inside(name, allow):
        raise ValidationError(f"must be {taken}", remedy, value=name, slot=where, parameter=parameter)
    found = import_name(name, where)
    module = getattr(found, "__module__", None)
    if not callable(found) or not isinstance(module, str):
        raise ValidationError(
            "must name a class or function",
            "name one",
            value=name,
            shown=f"{name!r}, which is {type(found).__name__}",
            slot=where,
            parameter=parameter,
        )
    if inside(module, (OWN,)):
        if not kind.holds(found):
            raise ValidationError(
                f"must be {taken}",
                f"{OWN}'s own names are taken as {kind.package}.NAME",
                value=name,
                shown=f"{name!r}, which comes from {module!r}",
                slot=where,
                parameter=parameter,
            )
    elif not inside(module, allow):
        raise ValidationError(
            f"must be {taken}",
            remedy,
            value=name,
            shown=f"{name!r}, which comes from {module!r}",
            slot=where,
            parameter=parameter,
        )
    return found


def fit(value: Any, hint: Any, where: str) -> Any:
    """Convert a value to the type of an annotation: an int to a float and back where exact, nothing else.

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
    if isinstance(value, str) and float in plain and (share := fraction_of(value)) is not None:
        remedy = f"give a fraction, {share:g}"
    raise ValidationError(
        f"must be {wanted}", remedy, value=value, shown=f"{value!r} ({type(value).__name__})", slot=where
    )


def _kind(option: Any) -> str:
    if typing.get_origin(option) is list:
        return f"a list of {_kind(typing.get_args(option)[0])}, [one,two]"
    return "null" if option is type(None) else getattr(option, "__name__", str(option))


def import_name(name: str, where: str) -> Any:
    """Import the object of a dotted name, of any type.

    Raises:
        ValidationError: it does not exist, or its module cannot be imported.
    """
    module, _, last = name.rpartition(".")
    parts = f"{FORMER.get(module, module)}.{last}".split(".")
    for cut in range(len(parts), 0, -1):
        module = ".".join(parts[:cut])
        try:
            with no_exit(f"{where}._target_: importing {name}"):
                found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
                continue
            raise ValidationError(
                f"{name!r} cannot be imported ({error})", "install what it needs", slot=where, parameter="_target_"
            ) from error
        except ValidationError as error:
            raise error.inside(f"{where}._target_") from error.__cause__
        except Exception as error:  # a user's module may raise anything while it is imported
            raise ValidationError(
                f"{name!r} cannot be imported ({error!r})", "correct it", slot=where, parameter="_target_"
            ) from error
        for i, attribute in enumerate(parts[cut:], cut):
            if not hasattr(found, attribute):
                raise ValidationError(
                    f"{name!r} is not there", _alternatives(found, parts, i), slot=where, parameter="_target_"
                )
            found = getattr(found, attribute)
        return found
    remedy = f"no package {parts[0]!r} can be imported"
    raise ValidationError(f"{name!r} is not there", remedy, slot=where, parameter="_target_")


def _alternatives(found: Any, parts: Sequence[str], i: int) -> str:
    """Suggestion for the i-th part of a name that does not exist: in a package its modules too, imported or not."""
    public = [n for n in vars(found) if not n.startswith("_")] if hasattr(found, "__dict__") else []
    if not isinstance(found, types.ModuleType) or i == len(parts) - 1:
        return suggest(parts[i], public)
    package = ".".join(parts[:i])
    modules = [module.name for module in pkgutil.iter_modules(getattr(found, "__path__", None) or [])]
    names = list(dict.fromkeys([*modules, *public]))
    near = [f"{package}.{name}" for name in nearest(parts[i], names)]
    remedy = f"did you mean {' or '.join(near)}?" if near else suggest(parts[i], names) if names else "it holds none"
    return f"there is no module {package}.{parts[i]}: {remedy}"


def inside(name: str, packages: Sequence[str]) -> bool:
    """True where a dotted name lies in one of the packages, or is one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)
