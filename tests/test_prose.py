"""Words of the code: first lines of docstrings, and names that are terms of the field."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import rramsweep

ROOT = Path(rramsweep.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# A first line is an imperative or a noun phrase.
QUESTION = re.compile(r"(What|Whether|How|Of|Which|Where|When|Who|Why|Refuse)\b")
DIALECT = {"told", "said", "asked", "mine", "home", "there", "here", "look", "lay", "lacking", "meant", "heard"}


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


def test_the_rules_see_what_they_forbid():
    text = 'def f(asked_uS):\n    """Whether it is so."""\n    home = asked_uS.told\n    return home\n'
    assert questions(text) == ["Whether it is so."]
    assert dialect(text) == {"asked_uS", "home", "told"}
    assert dialect("hereby = theory = layer.relay") == set()
