"""Forms: how each column is rendered, told by the inline schema of a message, or else by modes that a contract states.

Source of the facts: debezium.io, "Debezium connector for PostgreSQL", data type mappings; Kafka Connect's
JsonConverter; events recorded from Debezium 3.6.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import msgspec

from cdc.contract import TableContract, under_current_names
from cdc.debezium.placeholder import is_null_when_unread, may_be_null
from cdc.form import Form, Forms, Kind
from cdc.postgres_type import PostgresType
from cdc.producer import ProducerModes

CONNECT_DECIMAL = "org.apache.kafka.connect.data.Decimal"
VARIABLE_SCALE_DECIMAL = "io.debezium.data.VariableScaleDecimal"
_MILLISECOND_DIGITS = 3
_NAMED = {
    "io.debezium.time.Date": Form(Kind.DAYS),
    "io.debezium.time.Time": Form(Kind.MILLISECONDS),
    "io.debezium.time.MicroTime": Form(Kind.MICROSECONDS),
    "io.debezium.time.NanoTime": Form(Kind.NANOSECONDS),
    "io.debezium.time.Timestamp": Form(Kind.MILLISECONDS),
    "io.debezium.time.MicroTimestamp": Form(Kind.MICROSECONDS),
    "io.debezium.time.NanoTimestamp": Form(Kind.NANOSECONDS),
    "io.debezium.time.IsoDate": Form(Kind.ISO_DATE),
    "io.debezium.time.IsoTime": Form(Kind.ISO_TIME),
    "io.debezium.time.IsoTimestamp": Form(Kind.ISO_TIMESTAMP),
    "io.debezium.time.ZonedTime": Form(Kind.ZONED_TIME),
    "io.debezium.time.ZonedTimestamp": Form(Kind.ZONED_TIMESTAMP),
    "io.debezium.time.MicroDuration": Form(Kind.DURATION),
    "io.debezium.time.Interval": Form(Kind.ISO_DURATION),
    "org.apache.kafka.connect.data.Date": Form(Kind.DAYS),
    "org.apache.kafka.connect.data.Time": Form(Kind.MILLISECONDS, is_cut=True),
    "org.apache.kafka.connect.data.Timestamp": Form(Kind.MILLISECONDS, is_cut=True),
    VARIABLE_SCALE_DECIMAL: Form(Kind.VARIABLE_SCALE),
    "io.debezium.data.Bits": Form(Kind.BITS),
    "io.debezium.data.geometry.Point": Form(Kind.POINT),
    "io.debezium.data.geometry.Geometry": Form(Kind.GEOMETRY),
    "io.debezium.data.geometry.Geography": Form(Kind.GEOMETRY),
    **{f"io.debezium.data.{name}": Form(Kind.TEXT) for name in ("Json", "Uuid", "Enum", "Xml", "Ltree", "Tsvector")},
}
_PLAIN = {
    **dict.fromkeys(("int8", "int16", "int32", "int64"), Form(Kind.INTEGER)),
    "float": Form(Kind.FLOAT),
    "double": Form(Kind.DOUBLE),
    "boolean": Form(Kind.BOOLEAN),
    "string": Form(Kind.TEXT),
    "bytes": Form(Kind.BASE64),
    "map": Form(Kind.MAP),
}
_UNKNOWN = Form(Kind.UNKNOWN)
_NOT_OF_DEBEZIUM = frozenset({"isbn13", "issn", "issn13", "ismn", "ismn13", "ean13", "upc"})
"""Text types that Debezium omits, or with `include.unknown.datatypes` sends as bytes, which look like text."""


class SchemaField(msgspec.Struct):
    """A field of a schema as Kafka Connect's JsonConverter writes it."""

    type: str
    field: str | None = None
    name: str | None = None
    parameters: dict[str, Any] | None = None
    items: SchemaField | None = None
    values: SchemaField | None = None
    fields: list[SchemaField] | None = None
    optional: bool = False
    default: Any = None


def forms_of_schema(row: Iterable[SchemaField], contract: TableContract) -> Forms:
    """The forms that an inline schema tells of the contract's columns."""
    types = {column.source_name: column.type for column in contract.columns}
    fields = under_current_names({field.field: field for field in row if field.field}, contract.current_names)
    forms: dict[str, Form] = {}
    for name, field in fields.items():
        if name in types:
            type_ = types[name]
            form = _by_schema(field, type_, contract.producer)
            forms[name] = _judged(
                form, type_, _modes_shown(field, contract.producer), _stands_for_null(field, contract)
            )
    return Forms(forms)


def forms_of_modes(contract: TableContract, modes: ProducerModes) -> Forms:
    """The forms of the contract's columns in messages without schemas from a producer with these modes."""
    return Forms(
        {
            column.source_name: _judged(form_of_mode(column.type, modes), column.type, modes)
            for column in contract.columns
        }
    )


def _judged(form: Form, type_: PostgresType, modes: ProducerModes, default: Any = None) -> Form:
    # Of a type that nobody stated, the form is all that is known.
    is_doubtful = form.kind in {Kind.ARRAY, Kind.BITS} if type_.is_as_sent else may_be_null(type_, modes)
    return replace(
        _UNKNOWN if type_.name in _NOT_OF_DEBEZIUM else form,
        is_null_when_unchanged=is_doubtful,
        is_null_when_unread=is_null_when_unread(type_),
        default=default,
    )


def _stands_for_null(field: SchemaField, contract: TableContract) -> Any:
    """A nullable column's default, which Kafka Connect's JsonConverter writes for a null too unless told not to."""
    return field.default if field.optional and contract.producer.is_null_replaced else None


def _modes_shown(field: SchemaField, modes: ProducerModes) -> ProducerModes:
    """The modes that decide about placeholders, as far as a schema shows them."""
    value = field.items or field
    is_adaptive = value.name == "io.debezium.time.Date"
    return replace(
        modes,
        binary="bytes" if value.type == "bytes" else modes.binary or "base64",
        time="adaptive" if is_adaptive else "connect",
    )


def _by_schema(field: SchemaField, type_: PostgresType, modes: ProducerModes) -> Form:
    if field.type == "array":
        element = _by_schema(field.items, type_.element, modes) if field.items is not None else _UNKNOWN
        return Form(Kind.ARRAY, element=element, is_lossless=False)
    if field.name == CONNECT_DECIMAL:
        scale = (field.parameters or {}).get("scale")
        is_number = isinstance(scale, str) and scale.removeprefix("-").isdecimal() and len(scale) <= 6
        return Form(Kind.UNSCALED, int(scale)) if is_number and isinstance(scale, str) else _UNKNOWN
    form = _NAMED.get(field.name, _UNKNOWN) if field.name is not None else _PLAIN.get(field.type, _UNKNOWN)
    if type_.name == "bytea" and form.kind is Kind.TEXT:
        # The schema says that it is a text, not which of three ways to write bytes in one.
        return Form(Kind.BY_VALUE) if modes.binary in {None, "bytes"} else form_of_mode(type_, modes)
    return form


def form_of_mode(type_: PostgresType, modes: ProducerModes) -> Form:
    """The form of a type's values under these modes, without a schema."""
    if type_.is_array:
        return Form(Kind.ARRAY, element=form_of_mode(type_.element, modes), is_lossless=False)
    by_mode = _BY_MODE.get(type_.name)
    return by_mode(type_, modes) if by_mode is not None else _SAME_IN_ALL_MODES.get(type_.name, Form(Kind.TEXT))


_SAME_IN_ALL_MODES = {
    **dict.fromkeys(("smallint", "integer", "bigint", "oid"), Form(Kind.INTEGER)),
    **dict.fromkeys(("real", "double precision"), Form(Kind.FLOAT)),
    **dict.fromkeys(("geometry", "geography"), Form(Kind.GEOMETRY)),
    "boolean": Form(Kind.BOOLEAN),
    "timetz": Form(Kind.ZONED_TIME),
    "timestamptz": Form(Kind.ZONED_TIMESTAMP),
    "point": Form(Kind.POINT),
}


def _by_mode(mode: str | None, forms: dict[str, Form], otherwise: Form) -> Form:
    return Form(Kind.BY_VALUE) if mode is None else forms.get(mode, otherwise)


def _of_time(type_: PostgresType, mode: str | None) -> Form:
    iso = Form(Kind.ISO_TIME if type_.name == "time" else Kind.ISO_TIMESTAMP)
    is_coarse = type_.subsecond_digits <= _MILLISECOND_DIGITS
    if mode == "adaptive_time_microseconds" and type_.name == "time":
        return Form(Kind.MICROSECONDS)
    stated = {
        "connect": Form(Kind.MILLISECONDS, is_cut=True),
        "isostring": iso,
        "microseconds": Form(Kind.MICROSECONDS),
        "nanoseconds": Form(Kind.NANOSECONDS),
    }
    return _by_mode(mode, stated, Form(Kind.MILLISECONDS if is_coarse else Kind.MICROSECONDS))


def _of_decimal(type_: PostgresType, mode: str | None) -> Form:
    if type_.name == "money":
        precise = Form(Kind.UNSCALED, 2)
    else:
        precise = Form(Kind.UNSCALED, type_.arguments[1]) if type_.arguments else Form(Kind.VARIABLE_SCALE)
    return _by_mode(mode, {"precise": precise, "double": Form(Kind.DOUBLE)}, Form(Kind.TEXT))


def _of_bits(type_: PostgresType, _modes: ProducerModes) -> Form:
    return Form(Kind.BOOLEAN) if type_.arguments == (1,) else Form(Kind.BITS)


def _of_bytes(_type: PostgresType, modes: ProducerModes) -> Form:
    texts = {"base64-url-safe": Form(Kind.BASE64_URL), "hex": Form(Kind.HEX)}
    return _by_mode(modes.binary, texts, Form(Kind.BASE64))


_BY_MODE: dict[str, Callable[[PostgresType, ProducerModes], Form]] = {
    "date": lambda _, modes: _by_mode(modes.time, {"isostring": Form(Kind.ISO_DATE)}, Form(Kind.DAYS)),
    "time": lambda type_, modes: _of_time(type_, modes.time),
    "timestamp": lambda type_, modes: _of_time(type_, modes.time),
    "numeric": lambda type_, modes: _of_decimal(type_, modes.decimal),
    "money": lambda type_, modes: _of_decimal(type_, modes.decimal),
    "interval": lambda _, modes: _by_mode(modes.interval, {"string": Form(Kind.ISO_DURATION)}, Form(Kind.DURATION)),
    "hstore": lambda _, modes: _by_mode(modes.hstore, {"map": Form(Kind.MAP)}, Form(Kind.TEXT)),
    "bytea": _of_bytes,
    "bit": _of_bits,
    "varbit": _of_bits,
}
