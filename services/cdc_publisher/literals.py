"""Postgres's text form of nested values, arrays and hstore, taken apart.

Source of the facts: Postgres 18 manual, 8.15.6 "Array Input and Output Syntax" and F.17 "hstore".
"""

from __future__ import annotations

import re

Nested = list["str | Nested | None"]
"""An array's elements as text; arrays of more dimensions hold arrays."""

# Most arrays: one dimension, and nothing in them is escaped. These are taken apart at once.
_FLAT_ARRAY = re.compile(r'\{(?:"[^"\\]*"|[^",{}\\]+)(?:,(?:"[^"\\]*"|[^",{}\\]+))*\}')
_FLAT_ELEMENT = re.compile(r'"([^"]*)"|([^",{}]+)')
_ARRAY_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|([{}])|([^",{}]+)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_PAIR = re.compile(r'"((?:[^"\\]|\\.)*)"=>(?:"((?:[^"\\]|\\.)*)"|NULL)(?:, |$)', re.DOTALL)


def parse_array(text: str) -> Nested:
    """The elements of an array; bounds other than 1, which Postgres writes in front, are left out.

    Raises:
        ValueError: when it is no array; the message holds no part of it.
    """
    if text == "{}":
        return []
    if _FLAT_ARRAY.fullmatch(text):
        return [None if bare == "NULL" else bare or quoted for quoted, bare in _FLAT_ELEMENT.findall(text)]
    return _parse_nested(text)


def _parse_nested(text: str) -> Nested:
    """The elements of an array that has more dimensions, stated bounds or escaped characters."""
    start = text.index("=") + 1 if text.startswith("[") else 0
    open_arrays: list[Nested] = [[]]
    at = start
    while at < len(text):
        if text[at] == ",":
            at += 1
        token = _ARRAY_TOKEN.match(text, at)
        if token is None:
            raise ValueError("not in Postgres's form of an array")
        at = token.end()
        quoted, brace, bare = token.groups()
        if brace == "{":
            open_arrays.append([])
        elif brace == "}":
            closed = open_arrays.pop()
            if not open_arrays:
                raise ValueError("not in Postgres's form of an array")
            open_arrays[-1].append(closed)
        elif quoted is not None:
            open_arrays[-1].append(_ESCAPED.sub(r"\1", quoted) if "\\" in quoted else quoted)
        else:
            open_arrays[-1].append(None if bare == "NULL" else bare)
    if len(open_arrays) != 1 or len(open_arrays[0]) != 1 or not isinstance(open_arrays[0][0], list):
        raise ValueError("not in Postgres's form of an array")
    return open_arrays[0][0]


def parse_hstore(text: str) -> dict[str, str | None]:
    """The pairs of an hstore, in Postgres's own order.

    Raises:
        ValueError: when it is no hstore; the message holds no part of it.
    """
    pairs: dict[str, str | None] = {}
    at = 0
    while at < len(text):
        match = _PAIR.match(text, at)
        if match is None:
            raise ValueError("not in Postgres's form of an hstore")
        key, value = match.groups()
        pairs[_ESCAPED.sub(r"\1", key)] = None if value is None else _ESCAPED.sub(r"\1", value)
        at = match.end()
    return pairs
