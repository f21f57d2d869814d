"""Identity of a point: a readable text of everything that decides a chip's numbers, and its hash."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

SCHEME = 1  # of the text that a point_id hashes

# Key of a node that names the option which it is of, where a rule of some layers chose it by name.
OPTION = "_option_"

# Numbers that agree to this many digits are one number: 0.1 + 0.2 and 0.3 name the same point.
DIGITS = ".12g"


def identify(lines: Iterable[str]) -> tuple[str, str]:
    """`(point_id, text)` of a point, from the lines that describe it."""
    text = "\n".join([f"rramsweep point, scheme {SCHEME}", *lines])
    return digest(text), text


def digest(text: str) -> str:
    """Twenty hex digits of SHA-256: 80 bits, so a billion points collide with probability below 1e-6."""
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def describe(value: Any) -> str:
    """Describe a frozen object as text that does not depend on how its numbers were written.

    1 and 1.0, 0.15 and 0.15000000000000002 give the same text (12 significant digits). A dataclass adds its `version`,
    so that a changed law is another point, and omits what its `repr` omits, such as a path. A field whose metadata
    say `added` came after points had been stored: it is omitted at its default, which leaves the law unchanged, so
    that these points keep their ids.
    """
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int | float):
        return format(float(value) + 0.0, DIGITS)
    if isinstance(value, str):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(describe(v) for v in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{k}: {describe(value[k])}' for k in sorted(value))}}}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = sorted(
            f.name
            for f in dataclasses.fields(value)
            if f.repr and not (f.metadata.get("added") and getattr(value, f.name) == f.default)
        )
        arguments = ", ".join(f"{name}={describe(getattr(value, name))}" for name in fields)
        kind = type(value)
        name = (
            kind.__qualname__ if kind.__module__.startswith("rramsweep.") else f"{kind.__module__}.{kind.__qualname__}"
        )
        return f"{name} v{getattr(value, 'version', 0)}({arguments})"
    raise ValueError(
        f"a point is described by numbers, text, lists, maps and dataclasses, got {type(value).__name__}: "
        "make it a frozen dataclass"
    )


def flatten(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten a nested config to `{dotted override name: scalar}` without `_target_`; lists become JSON text.

    A node that names its `OPTION` is that name too, under the node's own.
    """
    flat: dict[str, Any] = {}
    for key, value in node.items():
        name = f"{prefix}{key}"
        if key == "_target_":
            continue
        if key == OPTION:
            flat[prefix.removesuffix(".")] = value
            continue
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{name}."))
        else:
            value = json.dumps(value) if isinstance(value, list) else value
            flat[name] = float(format(value, DIGITS)) if isinstance(value, float) else value
    return flat
