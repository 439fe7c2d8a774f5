"""Structures: hstore, points, PostGIS geometries, and what nested arrays have become."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from cdc.form import Form, Kind
from cdc.postgres_type import PostgresType
from compactor.held import Converter, not_held

_JAVA_OBJECT = re.compile(r"\[+(?:L[\w.$]+;|[ZBCSIJFD])@[0-9a-f]+")
_DOUBLE_DIGITS = 15
_SMALLEST_PLAIN_EXPONENT = -4
_NOT_FINITE = {"NaN", "Infinity", "-Infinity"}


def may_have_lost_an_array(value: Sequence[Any], *, is_text: bool) -> bool:
    """Whether a list that is not empty may have been an array of arrays.

    Debezium 3.6 renders `{{1,2},{3,4}}` as two nulls, or in text as the addresses of two Java objects.
    """
    if all(item is None for item in value):
        return True
    return is_text and any(isinstance(item, str) and _JAVA_OBJECT.fullmatch(item) for item in value)


def hstore_converter(_type: PostgresType, form: Form) -> Converter | None:
    """The converter of hstore, to JSON text."""
    return _hstore if form.kind in {Kind.TEXT, Kind.MAP, Kind.BY_VALUE} else None


def _hstore(value: Any) -> str:
    if isinstance(value, dict):
        if not all(item is None or isinstance(item, str) for item in value.values()):
            raise not_held("no hstore")
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if not isinstance(value, str) or not value.startswith("{"):
        raise not_held("no hstore")
    return value


def point_converter(_type: PostgresType, form: Form) -> Converter | None:
    """The converter of points, to the text that Postgres writes."""
    return _point if form.kind is Kind.POINT else None


def _point(value: Any) -> str:
    if not isinstance(value, dict):
        raise not_held("no point")
    return f"({_coordinate(value.get('x'))},{_coordinate(value.get('y'))})"


def _coordinate(value: Any) -> str:
    """The shortest digits that say the same number; with an exponent where Postgres would give one."""
    if value in _NOT_FINITE:
        return str(value)
    if type(value) not in {int, float}:
        raise not_held("no coordinate")
    number = Decimal(repr(float(value)))
    sign, digits, _ = number.as_tuple()
    exponent = number.adjusted() if number else 0
    mark = "-" if sign else ""
    text = "".join(map(str, digits)).rstrip("0") or "0"
    if _SMALLEST_PLAIN_EXPONENT <= exponent < _DOUBLE_DIGITS:
        plain = f"{number:f}"
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    fraction = f".{text[1:]}" if len(text) > 1 else ""
    return f"{mark}{text[0]}{fraction}e{'-' if exponent < 0 else '+'}{abs(exponent):02}"


def geometry_converter(_type: PostgresType, form: Form) -> Converter | None:
    """The converter of PostGIS types, to the hexadecimal well-known binary that Debezium passes on from Postgres."""
    return _geometry if form.kind is Kind.GEOMETRY else None


def _geometry(value: Any) -> str:
    try:
        return base64.b64decode(value["wkb"], validate=True).hex().upper()
    except (TypeError, KeyError, ValueError, binascii.Error):
        raise not_held("no geometry") from None
