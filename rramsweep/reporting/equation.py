"""Equations of docstrings as MathML: plain text in backticks, as `G' = G + sigma(G) z`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from markupsafe import Markup, escape

_GREEK = {
    "alpha": "α", "delta": "δ", "mu": "μ", "nu": "ν", "sigma": "σ", "tau": "τ",
}  # fmt: skip
_FUNCTIONS = ("cos", "exp", "ln", "log", "log10", "max", "mean", "min", "sinh", "softmax")
_OPERATORS = {"-": "−", "*": "·", "...": "…"}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?(?:e-?\d+)?)|(?P<name>[A-Za-z]\w*)(?P<prime>'?)|(?P<sign>\.\.\.|[-+*/=~|,()^<>:]))"
)
_SPAN = re.compile(r"`([^`]+)`")


def mathml(text: str) -> Markup:
    """A text with its backticked equations as MathML; a backticked span that is no equation is code."""
    pieces = [Markup() if not piece else _rendered(piece) if i % 2 else escape(piece)
              for i, piece in enumerate(_SPAN.split(text))]  # fmt: skip
    return Markup("").join(pieces)


def _rendered(span: str) -> Markup:
    tokens = list(_tokens(span))
    if tokens and None not in tokens and any(kind == "sign" or len(name) < 3 for kind, name in filter(None, tokens)):
        nodes, rest = _row([token for token in tokens if token], "")
        if not rest:
            return Markup(f"<math><mrow>{nodes}</mrow></math>")
    return Markup("<code>{}</code>").format(span)


def _tokens(span: str) -> Iterator[tuple[str, str] | None]:
    """Kind and text of each token, None at what no equation has."""
    at = 0
    while at < len(span.rstrip()):
        match = _TOKEN.match(span, at)
        if match is None:
            yield None
            return
        at = match.end()
        kind = str(match.lastgroup if match.lastgroup != "prime" else "name")
        yield kind, match[kind] + ("′" if match["prime"] else "")


Tokens = list[tuple[str, str]]


def _row(tokens: Tokens, end: str) -> tuple[str, Tokens]:
    """Nodes up to the closing bracket, and the tokens behind it."""
    nodes: list[str] = []
    while tokens and tokens[0] != ("sign", end):
        if tokens[0] == ("sign", "^") and nodes:
            power, tokens = _power(tokens[1:])
            nodes[-1] = f"<msup>{nodes[-1]}{power}</msup>"
            continue
        node, tokens = _factor(tokens)
        nodes.append(node)
    return "".join(nodes), tokens[1:] if end else tokens


def _power(tokens: Tokens) -> tuple[str, Tokens]:
    if tokens and tokens[0] == ("sign", "-"):
        node, tokens = _factor(tokens[1:])
        return f"<mrow><mo>−</mo>{node}</mrow>", tokens
    if tokens and tokens[0] == ("sign", "("):
        nodes, tokens = _row(tokens[1:], ")")
        return f"<mrow>{nodes}</mrow>", tokens
    return _factor(tokens) if tokens else ("<mrow></mrow>", tokens)


def _factor(tokens: Tokens) -> tuple[str, Tokens]:
    (kind, text), rest = tokens[0], tokens[1:]
    if kind == "number":
        return f"<mn>{text}</mn>", rest
    if kind == "name" and text == "sqrt" and rest[:1] == [("sign", "(")]:
        nodes, rest = _row(rest[1:], ")")
        return f"<msqrt><mrow>{nodes}</mrow></msqrt>", rest
    if kind == "name":
        space = '<mspace width="0.17em"></mspace>' if rest[:1] and rest[0][0] in ("name", "number") else ""
        return f"<mrow>{_name(text)}{space}</mrow>" if space else _name(text), rest
    if text == "(":
        nodes, rest = _row(rest, ")")
        return f"<mrow><mo>(</mo>{nodes}<mo>)</mo></mrow>", rest
    return f"<mo>{escape(_OPERATORS.get(text, text))}</mo>", rest


def _name(text: str) -> str:
    base, _, index = text.rstrip("′").partition("_")
    # In line, for the glyph is raised already: as a superscript it would float above the letter.
    prime = '<mo lspace="0" rspace="0">′</mo>' if text.endswith("′") else ""
    symbol = _GREEK.get(base, base)
    if len(symbol) > 2 or base in _FUNCTIONS:
        return f"<mi>{escape(text)}</mi>"  # a parameter or a function under its own name
    node = f"<msub><mi>{symbol}</mi><mi>{escape(index)}</mi></msub>" if index else f"<mi>{symbol}</mi>"
    return f"<mrow>{node}{prime}</mrow>" if prime else node
