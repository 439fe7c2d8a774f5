"""Avro to JSON: a value in Avro becomes the JSON that Debezium would have sent, with decimals as text.

fastavro reads the bytes; how a value is written follows Kafka Connect's JsonConverter, and for decimals Debezium's
`decimal.handling.mode=string`. Source of the facts: the Avro 1.11 specification, Connect's JsonConverter, and messages
recorded from Debezium 3.6.3 in both formats.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any

import fastavro
import msgspec

from cdc.debezium.avro_schema import connect_schema
from cdc.debezium.avro_value import decimal_text
from cdc.debezium.forms import CONNECT_DECIMAL, VARIABLE_SCALE_DECIMAL, SchemaField
from cdc.errors import RecordFault

Write = Callable[[Any], Any]
_FLOAT_DIGITS = range(6, 10)


class AvroToJson:
    """Makes JSON of the values of one schema."""

    def __init__(self, text: str) -> None:
        """Prepare.

        Raises:
            RecordFault: `avro-schema`, when the schema is none that values can be read by.
        """
        self._write = _Writers().of(connect_schema(text))
        try:
            self._schema = fastavro.parse_schema(_without_logic(json.loads(text)))
        except Exception:  # noqa: BLE001 - fastavro documents no list of what it raises for a schema
            raise RecordFault("avro-schema", "the message's Avro schema cannot be read") from None

    def convert(self, body: bytes) -> bytes:
        """The JSON of a value, on one line.

        Raises:
            RecordFault: `not-avro`, when the bytes are no value of the schema, or more than one.
        """
        stream = BytesIO(body)
        try:
            value = fastavro.schemaless_reader(stream, self._schema, None)
        except Exception:  # noqa: BLE001 - fastavro raises whatever the bytes make it trip over
            raise _not_avro("the bytes are no value of their Avro schema") from None
        if stream.tell() != len(body):
            raise _not_avro("bytes are left over behind the value")
        if not self._is_as_written(value, body):
            raise _not_avro("the bytes are none that an encoder writes")
        return msgspec.json.encode(self._write(value))

    def _is_as_written(self, value: Any, body: bytes) -> bool:
        """Whether the value is written as it came: fastavro reads an index below 0, or a key that stands twice, too."""
        again = BytesIO()
        try:
            fastavro.schemaless_writer(again, self._schema, value)
        except Exception:  # noqa: BLE001 - as when it reads
            return False
        return again.getvalue() == body


class _Writers:
    """The functions that make of values, as fastavro gives them, what msgspec writes as the right JSON.

    A type that a schema has in many places is one object, and so is its function: a schema is never unfolded.
    """

    def __init__(self) -> None:
        self._of_fields: dict[int, Write] = {}

    def of(self, field: SchemaField) -> Write:
        write = self._of_present(field)
        return write if write is _same else lambda value: None if value is None else write(value)

    def _of_present(self, field: SchemaField) -> Write:
        if field.name == CONNECT_DECIMAL and field.type == "bytes":
            return _decimal(field)
        if field.items is not None:
            item = self.of(field.items)
            return lambda values: [item(value) for value in values]
        if field.values is not None:
            inner = self.of(field.values)
            return lambda members: {name: inner(value) for name, value in members.items()}
        return _PLAIN[field.type] if field.type in _PLAIN else self._of_record(field)

    def _of_record(self, field: SchemaField) -> Write:
        fields = field.fields or []
        if field.name == VARIABLE_SCALE_DECIMAL and {member.field for member in fields} == {"scale", "value"}:
            return _variable_scale
        if id(fields) not in self._of_fields:
            members = [(member.field or "", self.of(member)) for member in fields]
            self._of_fields[id(fields)] = lambda record: {name: write(record[name]) for name, write in members}
        return self._of_fields[id(fields)]


def _same(value: Any) -> Any:
    return value


def _octets(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _double(value: float) -> float | str:
    """Jackson writes what is no number as text."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _float(value: float) -> float | str:
    """The fewest digits that give the same float of 32 bits, as Java has them."""
    if not math.isfinite(value):
        return _double(value)
    octets = struct.pack("<f", value)
    short = (float(f"{value:.{digits}g}") for digits in _FLOAT_DIGITS)
    return next((number for number in short if _packs_to(number, octets)), value)


def _packs_to(number: float, octets: bytes) -> bool:
    try:
        return struct.pack("<f", number) == octets
    except OverflowError:  # rounded up past the greatest float
        return False


_PLAIN: dict[str, Write] = {
    **dict.fromkeys(("boolean", "int32", "int64", "string"), _same),
    "bytes": _octets, "float": _float, "double": _double,
}  # fmt: skip


def _decimal(field: SchemaField) -> Write:
    try:
        scale = int((field.parameters or {})["scale"])
    except (KeyError, TypeError, ValueError):
        raise RecordFault("avro-schema", "the message's Avro schema has a decimal without a scale") from None
    return lambda value: _plain(value, scale)


def _variable_scale(value: dict[str, Any]) -> str:
    scale, octets = value["scale"], value["value"]
    if type(scale) is not int or not isinstance(octets, bytes):
        raise _not_avro("a decimal has no scale or no digits")
    return _plain(octets, scale)


def _plain(octets: bytes, scale: int) -> str:
    try:
        return decimal_text(octets, scale)
    except ValueError as error:
        raise _not_avro(str(error)) from None


def _without_logic(schema: Any) -> Any:
    """The schema without logical types, so that a value is read as the number or the bytes that it is on the wire."""
    if isinstance(schema, list):
        return [_without_logic(branch) for branch in schema]
    if isinstance(schema, dict):
        # A default may be anything and is never needed: what was written is read by the schema that wrote it.
        return {name: _without_logic(value) for name, value in schema.items() if name not in {"logicalType", "default"}}
    return schema


def _not_avro(what: str) -> RecordFault:
    return RecordFault("not-avro", what)
