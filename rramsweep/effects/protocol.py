"""Interfaces of an effect: the call of its slot, its declarations, and optional checks and notes."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field
from types import MemberDescriptorType
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor

from rramsweep.arguments import fitting
from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Stream
from rramsweep.errors import Sentence, ValidationError, one_of

# linear(x, W): the layer's own forward on input x with weights W and no bias.
Linear = Callable[[Tensor, Tensor], Tensor]

# An increment acts on the present conductance; a total is the whole error against the target.
KINDS = ("total", "increment")

# Declaration -> its type. Those of the second map may depend on parameters.
_FIXED: Mapping[str, Any] = {
    "version": int,
    "cellwise": bool,
    "until_s": float,
    "measured_until_s": float,
    "source_range": Mapping[str, tuple[float, float, str]],
}
_VARIABLE: Mapping[str, Any] = {"kind": str, "at_s": float, "t0_s": float | None, "silent": bool}
_METHODS = ("notes", "check", "check_time")

# Similarity (`difflib`) from which a name counts as a misspelt declaration; parameters have names of many kinds.
_LIKE, _LIKE_PARAMETER = 0.7, 0.85


class EffectBase:
    """Declarations of an effect, with their default values.

    A subclass declares by class variables, `cellwise: ClassVar[bool] = True`, which do not enter the identity of a
    point. `kind`, `at_s`, `t0_s` and `silent` may also be parameters with a default or, if they depend on parameters,
    properties. A misspelt declaration or one of another type is refused when the class is defined. A user's effect need
    not derive from this base: the defaults then hold for every attribute that it lacks.

    Attributes:
        version: part of every point's identity; raise it when the law gives other conductances.
        cellwise: the law takes each cell by itself and draws from each of its streams once, one number a cell. It may
            then be given the cells of several arrays end to end, or a part of one: faster, and the same chip. A
            subclass with a call of its own is not cellwise unless it declares so again.
        until_s: of an increment that is a law of time: the time up to which it contains the drift too.
        measured_until_s: last time at which what the law is fitted to was measured; later ones are shaded in plots.
        source_range: `{parameter: (low, high, note)}` that the source covers; a value outside is noted and shaded.
        kind: one of `KINDS`.
        at_s: for a total: the time after the write at which it was measured; infinity for a law of time, which covers
            all times.
        t0_s: for an increment that is a law of time: the time after the write at which it begins; None for others.
        silent: True for zero strength: nothing is drawn, and the effect does not count beside another one.

    Raises:
        ValidationError: names the declaration of the subclass and the nearest known one.
    """

    version: ClassVar[int]
    cellwise: ClassVar[bool] = False
    until_s: ClassVar[float] = 0.0
    measured_until_s: ClassVar[float] = math.inf
    source_range: ClassVar[Mapping[str, tuple[float, float, str]]] = {}

    # Properties, because type checkers accept both class variables and dataclass fields as overrides.
    @property
    def kind(self) -> str:
        """Reference of the error, one of `KINDS`."""
        return "increment"

    @property
    def at_s(self) -> float:
        """Time in seconds after the write at which a total error was measured."""
        return 0.0

    @property
    def t0_s(self) -> float | None:
        """Time in seconds after the write from which a law of time counts; None for other laws."""
        return None

    @property
    def silent(self) -> bool:
        """True where the effect has no strength."""
        return False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        hints = inspect.get_annotations(cls)
        parameters = {name for name, hint in hints.items() if "ClassVar" not in str(hint)}
        for name in dict.fromkeys([*hints, *vars(cls)]):
            if name in _FIXED or name in _VARIABLE:
                _check_declaration(cls, name, name in parameters)
            elif name not in _METHODS and not name.startswith("_"):
                _check_spelling(cls, name, _LIKE_PARAMETER if name in parameters else _LIKE)


_DEFAULTS = EffectBase()


def declared(effect: object, name: str) -> Any:
    """Declaration of an effect, or the default if an effect without `EffectBase` has no such attribute."""
    return getattr(effect, name, getattr(_DEFAULTS, name))


def is_cellwise(effect: Any) -> bool:
    """True where the class that defines the effect's call, or one derived from it, declares `cellwise`."""
    owner = next(kind for kind in type(effect).__mro__ if "__call__" in vars(kind) or "cellwise" in vars(kind))
    return "cellwise" in vars(owner) and bool(effect.cellwise)


def _check_declaration(law: type, name: str, is_parameter: bool) -> None:
    place, value = f"{law.__name__}.{name}", vars(law).get(name, MISSING)
    if isinstance(value, Field):
        value = value.default
    if is_parameter or isinstance(value, property):
        if name in _FIXED:
            remedy = f"annotate it as ClassVar, or take another name for what is no {name}"
            raise ValidationError("must be a class variable with a value", remedy, parameter=place)
        # Without a default of its own, the dataclass would take the property of the base as default.
        if value is MISSING:
            raise ValidationError("must have a default", "give one as in NAME: TYPE = DEFAULT", parameter=place)
    if value is MISSING or isinstance(value, property | MemberDescriptorType):
        return
    fitting(value, {**_FIXED, **_VARIABLE}[name], place)
    if name == "kind":
        one_of(place, value, KINDS)
    elif name.endswith("_s") and value is not None and not value >= 0:
        raise ValidationError("must be a time of at least 0 in seconds", "correct it", value=value, parameter=place)
    elif name == "source_range":
        for parameter in value:
            if not any(parameter in inspect.get_annotations(kind) for kind in law.__mro__):
                raise ValidationError("must name parameters", "correct it", value=parameter, parameter=place)


def _check_spelling(law: type, name: str, cutoff: float) -> None:
    known = {_plain(each): each for each in (*_FIXED, *_VARIABLE, *_METHODS)}
    near = difflib.get_close_matches(_plain(name), known, n=1, cutoff=cutoff)
    if near:
        remedy = f"did you mean {known[near[0]]}? Otherwise take a name less like it"
        raise ValidationError(Sentence(f"{law.__name__}.{name} is no declaration of an effect"), remedy)


def _plain(name: str) -> str:
    return name.replace("_", "").casefold()


class Effect(Protocol):
    """A stage that acts once a chip: programming, relaxation, drift, variation or faults.

    `EffectBase` lists the declarations of an effect, from which `crossbar.LayerSpec` refuses combinations that would
    count an error twice.
    """

    version: ClassVar[int]

    def __call__(self, cells: Cells, rng: Stream) -> Tensor:
        """Conductances (uS) after the stage, as a new tensor of the same shape; `cells` is left alone."""


@runtime_checkable
class Noted(Protocol):
    """An effect with notes on how it is used."""

    def notes(self, device: Device, t_s: float) -> Sequence[str | Sentence]:
        """Notes for the user, one sentence each: a scaled window, an extrapolated time.

        Plain text gets the effect's name in front; with `errors.by_law` the name can stand anywhere in the sentence.
        """


@runtime_checkable
class Timed(Protocol):
    """An effect that is a law of time and does not cover all times."""

    def check_time(self, t_s: float) -> None:
        """Check that the law covers a time since programming.

        Raises:
            ValueError: states the times that it covers, the given one and the remedy.
        """


@runtime_checkable
class Calibrated(Noted, Protocol):
    """An effect that was fitted to measurements in a range of conductances."""

    def check(self, device: Device) -> None:
        """Check that the measurements cover a device.

        Raises:
            ValueError: states the calibrated range, the device's window and the remedy.
        """


class ReadEffect(Protocol):
    """A stage that acts at every read: it wraps the analog product of one layer.

    The layers of an effect that is `silent` are read as under `Ideal`, bit for bit.
    """

    version: ClassVar[int]

    def __call__(self, linear: Linear, x: Tensor, layer: Any, rng: Stream) -> Tensor:
        """Output of the layer before its digital bias; `layer` is the `crossbar.ProgrammedLayer` that is read."""
