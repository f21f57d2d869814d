"""The words of an error budget: its target, its brackets, and the overrides of the point; without torch or Hydra."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rramsweep.analysis.target import TARGET, Target, split_target
from rramsweep.cli.catalog import CATALOG
from rramsweep.cli.messages import no_name
from rramsweep.errors import Sentence, ValidationError
from rramsweep.groups import POINT_KEYS

BUDGET = "budget"

_NUMBER = r"[-+]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_BRACKET = re.compile(rf"\+{{0,2}}([A-Za-z_][\w.]*)=({_NUMBER})\.\.(?!\.)({_NUMBER})", re.ASCII)
# What is meant as a bracket: two dots in a value that is no path.
_ALMOST = re.compile(r"[^=]+=[^/\\]*\.\.[^/\\]*")
# Of which the last dot may be one of three, or begin the number.
_THREE_DOTS = re.compile(rf"([^=]+)=({_NUMBER})\.\.\.([0-9]+)")
_EXAMPLE = "as in drift.relative_drift=0..0.5"
_FORM = "a bracket is PARAMETER=LOW..HIGH, two numbers in the parameter's unit"

# Keys of a point that decide a chip of a given network.
_OF_CHIPS = tuple(key for key in POINT_KEYS if key not in ("model", "data", "metric", "accelerator"))


def names_alone(words: Sequence[str]) -> list[str]:
    """The words with targets left out and each bracket as its low end, in which names can be looked up.

    Raises:
        ValidationError: a target or bracket that is not written as one.
    """
    target, brackets, rest = sorted_words(words)
    target_of(target)
    return [*rest, *(f"{name}={low}" for name, (low, _) in brackets.items())]


def sorted_words(words: Sequence[str]) -> tuple[list[str], dict[str, tuple[str, str]], list[str]]:
    """Words of the target, the ends of the brackets as texts, and the overrides of the point.

    Raises:
        ValidationError: none, or one that is not written as a bracket, is of no parameter of the chips, or comes twice.
    """
    target, rest = [], []
    brackets: dict[str, tuple[str, str]] = {}
    for word in words:
        if word.lstrip("+~").startswith(f"{TARGET}."):
            target.append(word)
        elif match := _BRACKET.fullmatch(word):
            name, low, high = match.groups()
            if name in brackets:
                raise ValidationError(
                    "must have one bracket",
                    "leave one out",
                    shown=f"{'..'.join(brackets[name])} and {low}..{high}",
                    parameter=name,
                )
            root = name.partition(".")[0]
            if CATALOG.is_group(name):
                raise ValidationError(
                    Sentence(f"a bracket must be of a parameter of {name}"), f"write {name}.NAME=LOW..HIGH", value=word
                )
            if root not in CATALOG.roots():
                raise no_name(name)
            if root not in _OF_CHIPS:
                raise ValidationError(
                    Sentence("a bracket must be of a parameter of the chips, which is then searched"),
                    f"give {name} one value",
                    value=word,
                )
            brackets[name] = (low, high)
        elif _ALMOST.fullmatch(word):
            dots = _THREE_DOTS.fullmatch(word)
            remedy = "write {0}={1}..{2} or {0}={1}..0.{2}".format(*dots.groups()) if dots else _EXAMPLE
            raise ValidationError(Sentence(_FORM), remedy, value=word)
        else:
            rest.append(word)
    if not brackets:
        raise ValidationError(
            Sentence("a budget is of one or more parameters, each with a bracket"), "add PARAMETER=LOW..HIGH"
        )
    return target, brackets, rest


def target_of(words: Sequence[str]) -> Target:
    """The target that the words beginning with `target.` give, a yield among it.

    Raises:
        ValidationError: an unknown name, a value out of its range, or no yield.
    """
    _, target = split_target(words)
    if target is None or target.yield_ is None:
        raise ValidationError(
            "must be given, the share of chips that shall pass",
            f"add {TARGET}.yield=0.9",
            slot=TARGET,
            parameter="yield",
        )
    return target
