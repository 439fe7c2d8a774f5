"""Rendering: a value's Postgres text to what Debezium gives for a column of that type, ready for an encoder of JSON.

Debezium's defaults but for `decimal.handling.mode=string`. Source of the facts: events recorded from Debezium 3.6.3 on
Postgres 18, one column for each type. Where Debezium falsifies a value or drops it (an array in an array, NaN in a
numeric[], `name` while streaming) ours is exact; a type for which it has no form has none here.
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from msgspec import Raw

from cdc_publisher import temporal
from cdc_publisher.literals import Nested, parse_array, parse_hstore
from cdc_publisher.temporal import DateInfinity, Json, Renderer

PLACEHOLDER: Final = "__debezium_unavailable_value"
_SPELT_PLACEHOLDER = Raw(f'"\\u005f{PLACEHOLDER[1:]}"'.encode())
"""A row's own text that equals the placeholder. To every reader of JSON it is that text; ours sees that it was spelt
out, and does not take it for "unchanged"."""
_PLACEHOLDER_BASE64 = base64.b64encode(PLACEHOLDER.encode()).decode()
_PLACEHOLDER_NUMBERS: Json = list(PLACEHOLDER.encode())
_PLACEHOLDER_UUID = "b68a35a7-17ad-35b3-af2a-ae46edb4545a"
"""Java's UUID.nameUUIDFromBytes of the placeholder."""
_PRECISION_MAX = 6


@dataclass(frozen=True, slots=True)
class SourceType:
    """A Postgres type as the catalog describes it.

    `kind` is pg_type.typtype (b base, e enum, d domain, c composite, r range). `extension` is empty for the built-in
    types, `-` for those that belong to none. A domain has a `base` with a type modifier, an array has an `element`.
    """

    name: str
    kind: str = "b"
    extension: str = ""
    element: SourceType | None = None
    base: SourceType | None = None
    base_modifier: int = -1

    @property
    def label(self) -> str:
        """The type as an operator would write it."""
        return f"{self.element.label}[]" if self.element else self.name


class Rendering(NamedTuple):
    """What a column's values are in JSON: `render` of its text, `placeholder` for an unchanged TOASTed value."""

    render: Renderer
    placeholder: Json


def rendering(type_: SourceType, modifier: int, infinity: DateInfinity) -> Rendering | None:
    """The rendering of a column of this type; None where Debezium has no form for it or none that is exact."""
    type_, modifier = _without_domains(type_, modifier)
    if type_.element is not None:
        element_type, modifier = _without_domains(type_.element, modifier)
        element = None if element_type.name in _NOT_IN_ARRAYS else rendering(element_type, modifier, infinity)
        if element is None or element_type.element is not None:
            return None
        return Rendering(_array_renderer(element.render), _array_placeholder(element_type))
    render = _scalar(type_, modifier, infinity)
    if render is None:
        return None
    return Rendering(render, _SCALAR_PLACEHOLDERS.get(type_.name, PLACEHOLDER))


def _without_domains(type_: SourceType, modifier: int) -> tuple[SourceType, int]:
    while type_.base is not None:
        type_, modifier = type_.base, modifier if modifier >= 0 else type_.base_modifier
    return type_, modifier


def _scalar(type_: SourceType, modifier: int, infinity: DateInfinity) -> Renderer | None:
    if type_.kind == "e" or type_.extension in _TEXT_EXTENSIONS:
        return render_text
    if type_.extension:
        return _hstore if (type_.extension, type_.name) == ("hstore", "hstore") else None
    if type_.name in _TIMES:
        return _TIMES[type_.name](_PRECISION_MAX if modifier < 0 else modifier)
    if modifier == 1 and type_.name in _BITS:
        return _BITS[type_.name]
    return temporal.date_renderer(infinity) if type_.name == "date" else _PLAIN.get(type_.name)


def _array_renderer(render: Renderer) -> Renderer:
    def render_elements(elements: Nested) -> list[Json]:
        return [
            None if element is None else render_elements(element) if isinstance(element, list) else render(element)
            for element in elements
        ]

    return lambda text: render_elements(parse_array(text))


def _array_placeholder(element: SourceType) -> Json:
    # Debezium gives null for most of these, which is a false value: then the form that it has for text[].
    if element.name in {"int4", "int8", "date"}:
        return _PLACEHOLDER_NUMBERS
    return [{"uuid": _PLACEHOLDER_UUID, "bytea": _PLACEHOLDER_BASE64}.get(element.name, PLACEHOLDER)]


def render_text(text: str) -> Json:
    """A text is itself; see `_SPELT_PLACEHOLDER` for the one that is not."""
    return _SPELT_PLACEHOLDER if text == PLACEHOLDER else text


def _bool(text: str) -> bool:
    return text == "t"


def _bool_of_bit(text: str) -> bool:
    return text == "1"


def _float(text: str) -> Json:
    if text[-1] in "yN":  # Infinity, -Infinity, NaN
        return text
    # Postgres's own digits; a double stays a double for readers of JSON, and -0 keeps its sign.
    return Raw((text if "." in text or "e" in text else f"{text}.0").encode())


def _numeric(text: str) -> str:
    return _NUMERIC_SPECIALS[text] if text[-1] in "yN" else text


def _money(text: str) -> str:
    # The session's lc_monetary is C: "-$1,234.56".
    return text.replace("$", "").replace(",", "")


def _bytea(text: str) -> str:
    return base64.b64encode(bytes.fromhex(text[2:])).decode()


def _bits(text: str) -> str:
    number = int(text or "0", 2)
    return base64.b64encode(number.to_bytes((number.bit_length() + 7) // 8, "little")).decode()


def _point(text: str) -> Json:
    x, y = text[1:-1].split(",")
    well_known_binary = base64.b64encode(struct.pack("<BIdd", 1, 1, float(x), float(y))).decode()
    return {"x": _float(x), "y": _float(y), "wkb": well_known_binary, "srid": None}


def _hstore(text: str) -> str:
    return json.dumps(parse_hstore(text), ensure_ascii=False, separators=(",", ":"))


_NUMERIC_SPECIALS: Final = {
    "NaN": "NAN", "Infinity": "POSITIVE_INFINITY", "-Infinity": "NEGATIVE_INFINITY",
}  # fmt: skip
_TIMES: Final = {
    "timestamp": temporal.timestamp_renderer,
    "timestamptz": temporal.timestamptz_renderer,
    "time": temporal.time_renderer,
}
_BITS: Final[dict[str, Renderer | None]] = {"bit": _bool_of_bit, "varbit": None}
"""Of one bit: Debezium takes both for booleans, which have no form for an empty varbit."""
_TEXTS = (
    "text", "varchar", "bpchar", "char", "name", "json", "jsonb", "xml", "uuid", "inet", "cidr", "macaddr", "macaddr8",
    "tsvector", "int4range", "int8range", "numrange", "tsrange", "tstzrange", "daterange",
)  # fmt: skip
_PLAIN: Final[dict[str, Renderer]] = {
    **dict.fromkeys(_TEXTS, render_text),
    **dict.fromkeys(("int2", "int4", "int8", "oid"), int),
    "bool": _bool,
    "float4": _float,
    "float8": _float,
    "numeric": _numeric,
    "money": _money,
    "bytea": _bytea,
    "timetz": temporal.timetz,
    "interval": temporal.interval,
    "point": _point,
    "bit": _bits,
    "varbit": _bits,
}
_TEXT_EXTENSIONS: Final = frozenset({"citext", "ltree", "isn"})
"""Extensions whose types Debezium gives as text."""
_NOT_IN_ARRAYS: Final = frozenset({"money", "interval", "bit", "varbit", "point", "tsvector", "name", "ltree", "xml"})
"""Types whose arrays Debezium leaves out of its events."""
_SCALAR_PLACEHOLDERS: Final = {
    "bytea": _PLACEHOLDER_BASE64,
    "hstore": json.dumps({PLACEHOLDER: PLACEHOLDER}, separators=(",", ":")),
}
