"""Postgres types as contracts name them: `numeric(12,2)`, `varchar(14)`, `text[]`, `timestamp(3)`.

docs/types.md has the table of what each is in the lake. A domain is named by its base type, an enum as `enum`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ALIASES = {
    "int2": "smallint", "int4": "integer", "int": "integer", "int8": "bigint", "float4": "real",
    "float8": "double precision", "bool": "boolean", "decimal": "numeric", "character varying": "varchar",
    "character": "char", "bpchar": "char", "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp", "time with time zone": "timetz", "time without time zone": "time",
    "bit varying": "varbit", "smallserial": "smallint", "serial": "integer", "bigserial": "bigint",
}  # fmt: skip
_TEXT = frozenset({
    "text", "varchar", "char", '"char"', "name", "citext", "json", "jsonb", "uuid", "xml", "enum", "inet", "cidr",
    "macaddr", "macaddr8", "ltree", "tsvector", "int4range", "int8range", "numrange", "tsrange", "tstzrange",
    "daterange", "isbn", "isbn13", "issn", "issn13", "ismn", "ismn13", "ean13", "upc",
})  # fmt: skip
_KINDS = _TEXT | frozenset({
    "smallint", "integer", "bigint", "oid", "real", "double precision", "boolean", "numeric", "money", "date", "time",
    "timetz", "timestamp", "timestamptz", "interval", "bytea", "bit", "varbit", "hstore", "point", "geometry",
    "geography",
})  # fmt: skip
_FORM = re.compile(
    r'(?P<name>"char"|[a-z][a-z0-9 ]*?)\s*(\((?P<arguments>\d+\s*(,\s*\d+\s*)?)\))?'
    r"(?P<zone> with(out)? time zone)?(?P<array>\[\])?"
)
DECIMAL_PRECISION_MAX = 38
"""Iceberg's and Athena's limit for decimals."""
SUBSECOND_DIGITS_MAX = 6
"""Postgres's own precision of times, and that of a column which states none."""
_FIXED_LENGTH = frozenset({
    "smallint", "integer", "bigint", "real", "double precision", "boolean", "date", "time", "timetz", "timestamp",
    "timestamptz", "interval", "uuid", "oid", "name", '"char"',
})  # fmt: skip
_INLINE_BYTES_MAX = 24
"""Postgres moves no smaller value out of line (toast_helper.c: MAXALIGN(TOAST_POINTER_SIZE)); length word included."""


_AS_SENT = "as sent"


@dataclass(frozen=True, slots=True)
class PostgresType:
    """A type: its canonical `name`, its `arguments` (length, or precision and scale), and whether it is an array."""

    name: str
    arguments: tuple[int, ...] = ()
    is_array: bool = False

    @property
    def is_text(self) -> bool:
        """Whether its values are text, so that they can be masked by token or by their last characters."""
        return self.name in _TEXT and not self.is_array

    @property
    def is_as_sent(self) -> bool:
        """Whether nobody has stated the type, so that the lake has values as the producer sent them."""
        return self.name == _AS_SENT

    @property
    def is_decimal(self) -> bool:
        """Whether it is a numeric that a decimal of the lake holds; else the lake has its digits as text."""
        if self.name != "numeric" or not self.arguments:
            return False
        precision, scale = self.arguments
        return 0 < precision <= DECIMAL_PRECISION_MAX and scale <= precision

    @property
    def subsecond_digits(self) -> int:
        """How many digits of a second a time or timestamp has."""
        return self.arguments[0] if self.arguments else SUBSECOND_DIGITS_MAX

    @property
    def can_be_key(self) -> bool:
        """Whether equal keys are equal for everybody: a NaN never is, lists are no keys of the lake's index, and of the
        last ones Postgres takes some for equal that the lake shows as different texts (1.0 and 1.00).
        """
        if self.is_array or (self.name == "numeric" and not self.arguments):
            return False
        return self.name not in {"real", "double precision", "citext", "interval", "hstore"}

    @property
    def element(self) -> PostgresType:
        """The type of an array's elements."""
        return PostgresType(self.name, self.arguments)

    @property
    def can_be_toasted(self) -> bool:
        """Whether its values may lie out of line, so that the log lacks them when an update leaves them unchanged."""
        if self.is_array or (self.name in {"numeric", "varchar", "char"} and not self.arguments):
            return True
        if self.name == "numeric":  # length word, weight and scale, then two bytes for every four digits begun
            precision, scale = self.arguments
            return 4 + 4 + 2 * ((max(precision - scale, 0) + 3) // 4 + (scale + 3) // 4) > _INLINE_BYTES_MAX
        if self.name in {"varchar", "char"}:  # length word, then up to four bytes a character
            return 4 + 4 * self.arguments[0] > _INLINE_BYTES_MAX
        if self.name in {"bit", "varbit"} and self.arguments:  # length word, number of bits, then a byte for eight
            return 4 + 4 + (self.arguments[0] + 7) // 8 > _INLINE_BYTES_MAX
        return self.name not in _FIXED_LENGTH

    def __str__(self) -> str:
        arguments = f"({','.join(map(str, self.arguments))})" if self.arguments else ""
        return f"{self.name}{arguments}{'[]' if self.is_array else ''}"


AS_SENT = PostgresType(_AS_SENT)
"""The type of a column that is shown though no contract names it; no contract can state it."""


def parse_type(text: str) -> PostgresType | None:
    """The type that a contract's `physicalType` names; None when the lake cannot hold it exactly."""
    match = _FORM.fullmatch(text.strip().lower())
    if match is None:
        return None
    name = match["name"] + (match["zone"] or "")
    name = _ALIASES.get(name, name)
    arguments = tuple(int(part) for part in match["arguments"].split(",")) if match["arguments"] else ()
    if name not in _KINDS:
        return None
    if name == "numeric" and len(arguments) == 1:
        arguments = (arguments[0], 0)
    if name == "numeric" and arguments and not arguments[0]:
        return None
    if name == "bit" and not arguments:
        arguments = (1,)
    return PostgresType(name, arguments, bool(match["array"]))
