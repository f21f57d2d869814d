"""Errors and notes as fields, from which a message is made where it is shown.

An effect knows neither its slot nor the option that a user chose for it. The module that knows adds them as fields; no
module rewrites the text of another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any


class Missing(Enum):
    """Placeholder for a value that is not shown, because None is one."""

    VALUE = "no value"


NO_VALUE = Missing.VALUE

_PERCENT = re.compile(r"\s*(\d*\.?\d+) ?%\s*")


@dataclass(frozen=True)
class EffectName:
    """The name of an effect in a sentence: its class, then `slot=Class`, then `slot=option`, as much as is known.

    Args:
        type: name of the class.
        slot: config group of the effect, empty while unknown.
        option: option of that group that a user chose, empty while unknown or where the class is the user's own.
    """

    type: str
    slot: str = ""
    option: str = ""

    @property
    def dot(self) -> str:
        """Beginning of the override name of a parameter of the effect, `relaxation.`."""
        return f"{self.slot}." if self.slot else ""

    def __str__(self) -> str:
        return f"{self.slot}={self.option or self.type}" if self.slot else self.type


class Sentence(str):
    """Text that names effects by placeholders: `{law} begins at 1 s: set {law.dot}t0_s=10`.

    It is a plain `str`, and is formatted again once slot and option of an effect are known.

    Args:
        text: a `str.format` template; used unchanged without names.
        names: the effect, or plain words, for each placeholder.
    """

    __slots__ = ("names", "text")

    text: str
    names: Mapping[str, EffectName | str]

    def __new__(cls, text: str, names: Mapping[str, EffectName | str] | None = None) -> Sentence:
        """Fill in the names; template and names are kept as attributes."""
        sentence = super().__new__(cls, text.format_map(names) if names else text)
        sentence.text, sentence.names = text, dict(names or {})
        return sentence

    def __getnewargs__(self) -> tuple[str, Mapping[str, EffectName | str]]:  # type: ignore[override]
        return self.text, self.names

    def placed(self, slot: str) -> Sentence:
        """The sentence with the slot of every effect that has none yet."""
        return self._renamed(lambda name: name if name.slot else replace(name, slot=slot))

    def chosen(self, options: Mapping[str, str]) -> Sentence:
        """The sentence with the option that was chosen for each slot, `{slot: option}`."""
        return self._renamed(lambda name: replace(name, option=options.get(name.slot, name.option)))

    def _renamed(self, rename: Callable[[EffectName], EffectName]) -> Sentence:
        names = {key: rename(name) if isinstance(name, EffectName) else name for key, name in self.names.items()}
        return Sentence(self.text, names)


def by_law(text: str, law: object, **words: str) -> Sentence:
    """Sentence of an effect about itself; `{law}` in the text is its name, `{law.dot}` the prefix of its parameters."""
    return Sentence(text, {"law": EffectName(law if isinstance(law, str) else type(law).__name__), **words})


def placed(note: str | Sentence, slot: str, effect: object) -> Sentence:
    """Note of the effect in a slot as a sentence; plain text, as from a user's own effect, gets the name in front."""
    if isinstance(note, Sentence):
        return note.placed(slot)
    name = EffectName(type(effect).__name__, slot)
    return Sentence(f"{{law}}: {note.replace('{', '{{').replace('}', '}}')}", {"law": name})


class ValidationError(ValueError):
    """Refused input: `PARAMETER must ALLOWED, got VALUE: REMEDY` in one line, each part a field.

    Args:
        allowed: the constraint, beginning with its verb: `must lie in 0..1`. A whole sentence if there is neither
            `parameter` nor `slot`.
        remedy: instruction to the user; empty if `allowed` is the whole message of a user's own effect.
        value: what was given, or `NO_VALUE`.
        parameter: name of the refused parameter within its slot, empty for the slot as a whole.
        slot: dotted override name of the part of a config, `drift` or `analog.layers.late.drift`; filled in by a
            caller if the part itself does not know it.
        shown: the value as the message shows it; by default text in quotes, other types as `str`.
        window_uS: `(low, high)` in which a device's window must lie, if another device would be accepted; the remedy is
            then a sentence, with the names of such devices for `{devices}`.
    """

    def __init__(
        self,
        allowed: str | Sentence,
        remedy: str | Sentence = "",
        *,
        value: Any = NO_VALUE,
        parameter: str = "",
        slot: str = "",
        shown: str | None = None,
        window_uS: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        self.allowed, self.remedy, self.value, self.parameter, self.slot = allowed, remedy, value, parameter, slot
        self.shown, self.window_uS = shown, window_uS

    def placed(self, slot: str) -> ValidationError:
        """This error, with the slot of the effects that its sentences name."""
        self.allowed, self.remedy = (
            part.placed(slot) if isinstance(part, Sentence) else part for part in (self.allowed, self.remedy)
        )
        return self

    def chosen(self, options: Mapping[str, str]) -> ValidationError:
        """This error, with the option that was chosen for each slot."""
        self.allowed, self.remedy = (
            part.chosen(options) if isinstance(part, Sentence) else part for part in (self.allowed, self.remedy)
        )
        return self

    def naming(self, devices: Sequence[str]) -> ValidationError:
        """This error, with the names of devices that would be accepted in its remedy."""
        if devices and isinstance(self.remedy, Sentence):
            named = f" ({' or '.join(f'device={name}' for name in devices)})"
            self.remedy = Sentence(self.remedy.text, {**self.remedy.names, "devices": named})
        return self

    def inside(self, slot: str) -> ValidationError:
        """This error with its slot set, unless its own slot already lies within this one."""
        if not f"{self.slot}.".startswith(f"{slot}."):
            self.slot = slot
        return self

    @property
    def name(self) -> str:
        """Override name of what was refused: `drift.relative_drift`, `drift`, or empty."""
        return ".".join(part for part in (self.slot, self.parameter) if part)

    def __str__(self) -> str:
        # A sentence already names its subject.
        head = self.allowed if isinstance(self.allowed, Sentence) else f"{self.name} {self.allowed}".lstrip()
        if self.value is not NO_VALUE or self.shown is not None:
            head = f"{head}, got {show(self.value) if self.shown is None else self.shown}"
        return f"{head}: {self.remedy}" if self.remedy else head

    def __reduce__(self) -> tuple[Any, ...]:
        # Workers send errors back by pickle, which would call the constructor with `args`.
        return _rebuilt, (type(self), dict(vars(self)))


def _rebuilt(kind: type[ValidationError], state: Mapping[str, Any]) -> ValidationError:
    error = kind.__new__(kind)
    error.__dict__.update(state)
    return error


@contextmanager
def no_exit(what: str) -> Iterator[None]:
    """Turn an exit by user code into an error: `sys.exit(0)` would end a command as if it had succeeded.

    Args:
        what: the code inside, as the subject of the message.

    Raises:
        ValidationError: `SystemExit` was raised, which `except Exception` does not catch.
    """
    try:
        yield
    except SystemExit as error:
        raise ValidationError(
            Sentence(f"{what} must return or raise an error"),
            "remove the call, or guard a script's own with if __name__ == '__main__'",
            shown=f"sys.exit({'' if error.code is None else repr(error.code)})",
        ) from error


def show(value: Any) -> str:
    """A value as messages show it: text in quotes, all else as `str`."""
    return repr(value) if isinstance(value, str) else str(value)


def fraction_of(text: str) -> float | None:
    """Fraction that a text such as `10%` means, None if it is not a percentage."""
    match = _PERCENT.fullmatch(text)
    return None if match is None else float(match[1]) / 100


def one_of(parameter: str, value: str, known: Sequence[str]) -> None:
    """Check that a value is one of the known ones.

    Raises:
        ValidationError: lists them.
    """
    if value not in known:
        raise ValidationError(f"must be one of {', '.join(known)}", "pick one", value=value, parameter=parameter)


def install(extra: str) -> str:
    """Command that installs an extra of this package, from a clone or a wheel, as the package itself was installed."""
    clone = Path(__file__).parents[1]
    editable = (clone / "pyproject.toml").is_file()
    return f"pip install -e '{clone}[{extra}]'" if editable else f"pip install 'rramsweep[{extra}]'"
