"""Figures as SVG inside a page: one after the other without a clash of names, and without a style of their own."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

# Elements that a page has no use for: a style would hold for the whole page, the other is of a file.
_OF_A_FILE = ("metadata", "style")
_REFERENCE = re.compile(r"(?<=url\(#)[^)]+(?=\))")


def inline(svg: bytes, prefix: str, words: str) -> str:
    """An SVG file of matplotlib as an element of a page.

    Args:
        svg: the file.
        prefix: begins every name inside, so that two figures of one page never share one.
        words: what a screen reader says in its place.
    """
    root = ET.fromstring(svg)
    named = {name for element in root.iter() for name in _references(element)}
    for element in root.iter():
        element.tag = _local(element.tag)
        attributes = {_local(name): value for name, value in element.attrib.items()}
        element.attrib.clear()
        for name, value in attributes.items():
            if name == "id" and value in named:
                element.set(name, prefix + value)
            elif name == "href" and value.startswith("#"):
                element.set(name, f"#{prefix}{value[1:]}")
            elif name != "id":
                element.set(name, _REFERENCE.sub(lambda match: prefix + match[0], value))
        for child in [child for child in element if _local(child.tag) in _OF_A_FILE]:
            element.remove(child)
    width = float(root.attrib["width"].removesuffix("pt"))
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    # Points of print, as wide as on a page of paper at 4/3 pixels each.
    root.attrib |= {"role": "img", "aria-label": words, "style": f"max-width: {width * 2:.0f}px"}
    return ET.tostring(root, encoding="unicode")


def _references(element: ET.Element) -> list[str]:
    values = {_local(name): value for name, value in element.attrib.items()}
    links = [values["href"][1:]] if values.get("href", "").startswith("#") else []
    return links + [match for value in values.values() for match in _REFERENCE.findall(value)]


def _local(name: str) -> str:
    return name.rpartition("}")[2]
