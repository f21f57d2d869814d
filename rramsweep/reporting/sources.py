"""BibTeX of the sources that options cite in their comments, as far as `sources.bib` knows them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("sources.bib")
# As in README.md.
_ITSELF = """@software{rramsweep,
  title   = {rramsweep: Monte Carlo sweeps of neural networks on RRAM compute-in-memory chips},
  author  = {{rramsweep contributors}},
  version = {VERSION},
  year    = {2026},
  license = {Apache-2.0}
}"""
_CITED = re.compile(r",\n  cited = \{(.*)\}$", re.MULTILINE)


def bibtex(texts: Iterable[str], version: str) -> str:
    """Entries of rramsweep itself and of every source that one of the texts cites, in the file's order.

    Args:
        texts: comments of options, as `Wan et al., Nature 608, 2022`.
        version: of rramsweep.
    """
    every = "\n".join(" ".join(text.split()) for text in texts)
    found = [entry for cited, entry in _entries() if cited.search(every)]
    return "\n\n".join([_ITSELF.replace("VERSION", version), *found]) + "\n"


def cites(text: str) -> Iterator[tuple[int, int]]:
    """Places, first and behind the last letter, at which a text cites a source of the file."""
    for cited, _ in _entries():
        for match in cited.finditer(text):
            yield match.span()


@cache
def _entries() -> list[tuple[re.Pattern[str], str]]:
    blocks = (block.strip() for block in _FILE.read_text(encoding="utf-8").split("\n\n"))
    entries = []
    for block in blocks:
        if block.startswith("@"):
            (cited,) = _CITED.findall(block)
            entries.append((re.compile(cited), _CITED.sub("", block)))
    return entries
