"""Suggestions for a mistyped name, in one form for all error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Number of names that a message suggests, and that it lists if none is near.
SUGGESTED, LISTED = 3, 12

# Similarity of a name that is almost certainly meant, and the largest difference to it of others named beside it.
CERTAIN, BESIDE = 0.8, 0.1


def nearest(name: str, known: Iterable[str], cutoff: float = 0.5) -> list[str]:
    """Names nearest to one, best first: those that end in it after a dot, else those that begin with it or look alike.

    If one is almost certainly meant, much less similar ones are left out.

    Args:
        name: the mistyped name.
        known: existing names.
        cutoff: least similarity of spelling, 0..1 (`difflib`).
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
    """`did you mean ...?` with the nearest names, or the first `listed` of all if none is near."""
    names = [n for n in known if n != "self"]
    near = nearest(name, names)
    if near:
        return f"did you mean {' or '.join(near)}?"
    if not names:
        return "it takes none"
    return f"it has {', '.join(names[:listed])}{', ...' if len(names) > listed else ''}"
