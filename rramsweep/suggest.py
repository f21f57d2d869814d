"""Names that a mistyped one may have meant, in the words of every message that refuses it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# How many names a message suggests, and how many it lists where none is near.
SUGGESTED, LISTED = 3, 12

# Likeness of a name that is almost certainly meant, and how much less alike others may be to be named beside it.
CERTAIN, BESIDE = 0.8, 0.1


def nearest(name: str, known: Iterable[str], cutoff: float = 0.5) -> list[str]:
    """Names most like one, best first: those that it begins or ends after a dot, then those spelled alike.

    Where one is almost certainly meant, those that are much less like it are left out.

    Args:
        name: what was given.
        known: what there is.
        cutoff: how alike the spelling must be, 0..1 (`difflib`).
    """
    names = list(dict.fromkeys(known))
    last = [full for full in names if name and full.endswith(f".{name}")]
    if last:
        return last[:SUGGESTED]
    begun = [full for full in names if name and full.startswith(name)]
    alike = difflib.get_close_matches(name, names, n=SUGGESTED, cutoff=cutoff)
    ratio = {full: difflib.SequenceMatcher(None, full, name).ratio() for full in alike}
    best = max(ratio.values(), default=0.0)
    if best >= CERTAIN:
        alike = [full for full in alike if ratio[full] >= best - BESIDE]
    return list(dict.fromkeys([*begun, *alike]))[:SUGGESTED]


def suggest(name: str, known: Iterable[str], listed: int = LISTED) -> str:
    """`did you mean ...?` with the nearest names, or so many of them when none is near."""
    names = [n for n in known if n != "self"]
    near = nearest(name, names)
    if near:
        return f"did you mean {' or '.join(near)}?"
    if not names:
        return "it takes none"
    return f"it has {', '.join(names[:listed])}{', ...' if len(names) > listed else ''}"
