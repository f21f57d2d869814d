"""Which names someone may have meant: every message that refuses one says so, and in the same words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# How many names a message suggests, and how many it lists where none is near.
SUGGESTED, LISTED = 3, 12


def nearest(name: str, known: Iterable[str], cutoff: float = 0.5) -> list[str]:
    """The names most like one, best first: those that it begins or ends after a dot, then those spelled alike.

    Args:
        name: what was given.
        known: what there is.
        cutoff: how alike the spelling must be, 0..1 (`difflib`).
    """
    names = list(dict.fromkeys(known))
    whole_part = [full for full in names if name and (full.startswith(name) or full.endswith(f".{name}"))]
    alike = difflib.get_close_matches(name, names, n=SUGGESTED, cutoff=cutoff)
    return list(dict.fromkeys([*whole_part, *alike]))[:SUGGESTED]


def suggest(name: str, known: Iterable[str]) -> str:
    """`did you mean ...?` with the nearest names, or all of them when none is near."""
    names = [n for n in known if n != "self"]
    near = nearest(name, names)
    if near:
        return f"did you mean {' or '.join(near)}?"
    if not names:
        return "it takes none"
    return f"it has {', '.join(names[:LISTED])}{', ...' if len(names) > LISTED else ''}"
