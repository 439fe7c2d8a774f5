"""Postgres's text form of a one-dimensional array, taken apart strictly: what it would not write itself is refused.

Source of the facts: Postgres 18 manual, 8.15.6 "Array Input and Output Syntax".
"""

from __future__ import annotations

import re

# Postgres quotes an element that is empty, spells NULL, or has a quote, backslash, brace, comma or ASCII white space.
_ELEMENT = re.compile(r'(?:"(?P<quoted>(?:[^"\\]|\\.)*+)"|(?P<bare>[^",{}\\ \t\n\r\v\f]++))(?P<end>[,}])', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def parse_array(text: str) -> list[str | None]:
    """The elements of an array of one dimension.

    Raises:
        ValueError: when it is none, was cut off, has more dimensions, or bounds of its own, which no list holds.
    """
    if text == "{}":
        return []
    elements: list[str | None] = []
    at, end = 1, ","
    if not text.startswith("{"):
        raise ValueError("not in Postgres's form of a one-dimensional array")
    while end == ",":
        match = _ELEMENT.match(text, at)
        if match is None:
            raise ValueError("not in Postgres's form of a one-dimensional array")
        quoted, bare, end = match["quoted"], match["bare"], match["end"]
        if quoted is not None:
            elements.append(_ESCAPED.sub(r"\1", quoted) if "\\" in quoted else quoted)
        else:
            elements.append(None if bare == "NULL" else bare)
        at = match.end()
    if at != len(text):
        raise ValueError("not in Postgres's form of a one-dimensional array")
    return elements
