"""BibTeX of what comments cite, and equations of docstrings as MathML."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from rramsweep import __version__
from rramsweep.cli.catalog import CATALOG, conf_dir
from rramsweep.reporting.equation import mathml
from rramsweep.reporting.sources import bibtex, cites

# `Wan et al., Nature 608, 2022`, `arXiv:2502.04524`: names and the year or number behind them.
_NAMES = r"(?:[A-Z]\w+ (?:[A-Z]\. )?et al\.|[A-Z]\w+ and [A-Z]\w+)"
CITATION = re.compile(rf"arXiv:\d{{4}}\.\d+|{_NAMES},? [^:;]*?(?:19|20)\d\d")


def comments():
    for path in sorted(conf_dir().glob("*/*.yaml")):
        if path.parent.name not in ("experiment", "hydra"):
            lines = (line.partition("#")[2].strip() for line in path.read_text().splitlines())
            yield pytest.param(" ".join(line for line in lines if line), id=f"{path.parent.name}/{path.stem}")


@pytest.mark.parametrize("comment", comments())
def test_every_source_that_an_option_cites_has_an_entry(comment):
    known = list(cites(comment))
    for match in CITATION.finditer(comment):
        assert any(start < match.end() and match.start() < end for start, end in known), match[0]


def laws():
    for group in CATALOG.groups():
        for option in CATALOG.options(group):
            yield pytest.param(option.equation, id=f"{group}/{option.name}")


@pytest.mark.parametrize("law", laws())
def test_no_equation_of_a_law_is_left_as_plain_text(law):
    assert not re.search(r"[~=<>]", re.sub(r"`[^`]*`", "", law))


def test_entries_are_of_what_is_cited_and_hold_what_is_known_alone():
    text = bibtex(["Wan et al.,\nNature 608, 2022 [R: CrossSim RRAM_Wan.py]"], "1.2")
    assert re.findall(r"@\w+\{(\w+)", text) == ["rramsweep", "wan2022neurram", "crosssim"]
    assert "version = {1.2}" in text
    readme = Path(__file__).parents[2].joinpath("README.md").read_text()
    assert bibtex([], __version__).strip() in readme
    assert "cited" not in text
    assert "doi = {10.1038/s41586-022-04992-8}" in text
    assert text.count("{") == text.count("}")
    assert re.findall(r"@\w+\{(\w+)", bibtex(["of my own"], "1")) == ["rramsweep"]


@pytest.mark.parametrize(
    ("span", "inside"),
    [
        (
            "G' = G_t + delta u",
            '<mrow><mi>G</mi><mo lspace="0" rspace="0">′</mo></mrow><mo>=</mo><msub><mi>G</mi><mi>t</mi></msub>',
        ),
        ("sqrt(b) x", "<msqrt><mrow><mi>b</mi></mrow></msqrt><mi>x</mi>"),
        ("(t / t0)^-nu", "</mrow><mrow><mo>−</mo><mi>ν</mi></mrow></msup>"),
        ("N(0, c^2)", "<msup><mi>c</mi><mn>2</mn></msup>"),
        ("a < b", "<mo>&lt;</mo>"),
    ],
)
def test_an_equation_in_backticks_is_mathml(span, inside):
    text = str(mathml(f"where `{span}` holds"))
    assert text.startswith("where <math><mrow>")
    assert inside in text
    ET.fromstring(f"<p>{text}</p>")  # well formed


@pytest.mark.parametrize("span", ["p_stuck_lrs", "rramsweep[timm]", "<script>alert(1)</script>", "data.npz", "x ^ ("])
def test_what_is_no_equation_is_code_or_text_and_never_markup(span):
    text = str(mathml(f"`{span}` & <b>"))
    assert "<script" not in text
    assert text.endswith(" &amp; &lt;b&gt;")
    ET.fromstring(f"<p>{text}</p>")
