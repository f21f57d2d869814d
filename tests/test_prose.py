"""Words of the code: first lines of docstrings, and names that are terms of the field."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import rramsweep

ROOT = Path(rramsweep.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# A first line is an imperative or a noun phrase.
QUESTION = re.compile(r"(What|Whether|How|Of|Which|Where|When|Who|Why|Refuse)\b")
DIALECT = {"told", "said", "asked", "mine", "home", "there", "here", "look", "lay", "lacking", "meant", "heard"}

# Phrases that read as translated, in docstrings, comments and messages.
INVERTED = re.compile(
    r"\b(to be had|(is|are) told|told (of|in)|tells (what|which|how|whether|that|nothing)|seldom|in print|goes with"
    r"|plays? (a|no) part|(is|are) no part|so many as|of one's own|as it stands|asked for at|(behind|below) each other"
    r"|(it is|they are) now|gone on with|(takes?|taken) (off|away)|puts? back)\b"
)


def first_lines(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (doc := ast.get_docstring(node)):
            yield doc.partition("\n")[0]


def identifiers(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name


def prose(text: str) -> Iterator[str]:
    """Texts and comments, each on one line."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield " ".join(node.value.split())
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def inverted(text: str) -> list[str]:
    return [found[0] for words in prose(text) for found in INVERTED.finditer(words)]


def questions(text: str) -> list[str]:
    return [line for line in first_lines(ast.parse(text)) if QUESTION.match(line)]


def dialect(text: str) -> set[str]:
    return {name for name in identifiers(ast.parse(text)) if DIALECT & set(name.strip("_").split("_"))}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_docstrings_open_with_an_imperative_or_a_noun_phrase(path):
    assert questions(path.read_text()) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_identifier_is_dialect(path):
    assert dialect(path.read_text()) == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_phrase_reads_as_translated(path):
    assert inverted(path.read_text()) == []


def test_the_rules_see_what_they_forbid():
    text = 'def f(asked_uS):\n    """Whether it is so."""\n    home = asked_uS.told\n    return home\n'
    assert questions(text) == ["Whether it is so."]
    assert dialect(text) == {"asked_uS", "home", "told"}
    assert dialect("hereby = theory = layer.relay") == set()
    text = 'def f():\n    """A fact that is told\n    of all."""\n    # It is seldom so.\n    return f"goes with {f}"\n'
    assert sorted(inverted(text)) == ["goes with", "is told", "seldom"]
    assert inverted('"""Two prefixes that can be told apart."""') == []
