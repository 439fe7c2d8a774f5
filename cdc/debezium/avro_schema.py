"""Avro schema: the schema of a message in Avro, as the Kafka Connect schema that the converter made it from.

Source of the facts: the Avro 1.11 specification; Confluent's AvroData, which writes `connect.name`, `connect.version`,
`connect.type` and `connect.parameters` into the schema; messages recorded from Debezium 3.6.3 with its converter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from cdc.debezium.avro_value import default_in_raw, default_of
from cdc.debezium.forms import CONNECT_DECIMAL, VARIABLE_SCALE_DECIMAL, SchemaField
from cdc.errors import RecordFault

SCHEMA_BYTES_MAX = 4 * 1024 * 1024
DEPTH_MAX = 32
"""Of types within types. What is deeper is refused, since decoders would give up at a depth that nobody knows."""
_PLAIN = {
    "boolean": "boolean", "int": "int32", "long": "int64", "float": "float", "double": "double", "bytes": "bytes",
    "string": "string",
}  # fmt: skip
_LOGICAL = {
    ("bytes", "decimal"): CONNECT_DECIMAL,
    ("int", "date"): "org.apache.kafka.connect.data.Date",
    ("int", "time-millis"): "org.apache.kafka.connect.data.Time",
    ("long", "timestamp-millis"): "org.apache.kafka.connect.data.Timestamp",
}
_MAP_ENTRY = "MapEntry"
_OPTIONAL = 2
_DECIMALS = frozenset({CONNECT_DECIMAL, VARIABLE_SCALE_DECIMAL})


def connect_schema(text: str | bytes) -> SchemaField:
    """The Kafka Connect schema that an Avro schema stands for; its `name`s are Connect's.

    Refused is what Connect's converter never makes and what data could abuse: types within themselves, types whose
    values take no bytes (an array of them may claim any length), unions other than of null and one type, and depth.

    Raises:
        RecordFault: `avro-schema`, when it is none or refused.
    """
    if len(text) > SCHEMA_BYTES_MAX:
        raise _refused("is larger than any that Debezium makes")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise _refused("is no JSON") from None
    try:
        field = _Reader().read(document, "").field
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        raise _refused("is no Avro schema") from None
    if field.type != "struct":
        raise _refused("is none of a record")
    return field


def as_in_raw(field: SchemaField) -> SchemaField:
    """The schema of a column as raw has its values: decimals are text there, in defaults too.

    Raises:
        RecordFault: `avro-schema`, when a default is no value of its type.
    """
    try:
        default = default_in_raw(field, field.default)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _refused("has a default that is no value of its type") from None
    return msgspec.structs.replace(_in_raw(field), default=default)


def _in_raw(field: SchemaField) -> SchemaField:
    if field.name in _DECIMALS:
        return msgspec.structs.replace(field, type="string", name=None, fields=None)
    return msgspec.structs.replace(field, items=_in_raw(field.items)) if field.items is not None else field


class _Read(NamedTuple):
    field: SchemaField
    height: int = 0


class _Reader:
    """Reads one schema; a named type stands for itself further on."""

    def __init__(self) -> None:
        self._named: dict[str, _Read | None] = {}

    def read(self, schema: Any, namespace: str) -> _Read:
        if isinstance(schema, str):
            return self._by_name(schema, namespace)
        if isinstance(schema, list):
            return self._union(schema, namespace)
        kind = schema["type"]
        if not isinstance(kind, str):  # {"type": {"type": "int"}}
            return self.read(kind, namespace)
        if kind in {"record", "error", "enum", "fixed"}:
            return self._defined(schema, kind, namespace)
        if kind in {"array", "map"}:
            return self._many(schema, kind, namespace)
        return _Read(_connect(_PLAIN[kind], schema)) if kind in _PLAIN else self._by_name(kind, namespace)

    def _by_name(self, name: str, namespace: str) -> _Read:
        if name in _PLAIN:
            return _Read(SchemaField(_PLAIN[name]))
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        full = full if full in self._named else name
        found = self._named.get(full)
        if found is None:
            what = "has a type within itself" if full in self._named else "has a type that takes no bytes or is unknown"
            raise _refused(what)
        return found

    def _union(self, branches: list[Any], namespace: str) -> _Read:
        types = [branch for branch in branches if branch not in ("null", {"type": "null"})]
        if len(types) != 1 or len(branches) > _OPTIONAL:
            raise _refused("has a union that is not of null and one type")
        read = self.read(types[0], namespace)
        return read._replace(field=msgspec.structs.replace(read.field, optional=len(branches) == _OPTIONAL))

    def _many(self, schema: Mapping[str, Any], kind: str, namespace: str) -> _Read:
        if kind == "map":
            values = self.read(schema["values"], namespace)
            return _above(_connect("map", schema, values=values.field), values)
        items = self.read(schema["items"], namespace)
        if items.field.type == "struct" and _internal(schema["items"]) == _MAP_ENTRY:
            raise _refused("has a map whose keys are no plain text")
        return _above(_connect("array", schema, items=items.field), items)

    def _defined(self, schema: Mapping[str, Any], kind: str, namespace: str) -> _Read:
        name: str = schema["name"]
        full = name if "." in name else f"{schema.get('namespace', namespace)}.{name}".lstrip(".")
        if full in self._named:
            raise _refused("names two types alike")
        self._named[full] = None  # until it is read, so that it cannot hold itself
        if kind == "enum":
            found = _Read(_connect("string", schema))
        elif kind == "fixed":
            if type(schema["size"]) is not int or schema["size"] <= 0:
                raise _refused("has a type that takes no bytes")
            found = _Read(_connect("bytes", schema))
        else:
            found = self._record(schema, full.rpartition(".")[0])
        self._named[full] = found
        return found

    def _record(self, schema: Mapping[str, Any], namespace: str) -> _Read:
        members = [(member, self.read(member["type"], namespace)) for member in schema["fields"]]
        names = {member["name"] for member, _ in members if isinstance(member["name"], str)}
        if not members or len(names) != len(members):
            raise _refused("has a record without fields, or with two of one name")
        fields = [
            msgspec.structs.replace(read.field, field=member["name"], default=default_of(member))
            for member, read in members
        ]
        return _above(_connect("struct", schema, fields=fields), *(read for _, read in members))


def _above(field: SchemaField, *inner: _Read) -> _Read:
    height = 1 + max(read.height for read in inner)
    if height > DEPTH_MAX:
        raise _refused(f"nests its types deeper than {DEPTH_MAX}")
    return _Read(field, height)


def _internal(schema: Any) -> Any:
    return schema.get("connect.internal.type") if isinstance(schema, dict) else None


def _connect(type_: str, schema: Mapping[str, Any], **inner: Any) -> SchemaField:
    """A type of Connect's, with what the properties that its converter adds say of it."""
    name = schema.get("connect.name") or _LOGICAL.get((schema["type"], schema.get("logicalType", "")))
    parameters = dict(schema.get("connect.parameters") or {})
    if name is not None and not isinstance(name, str):
        raise _refused("has a connect.name that is no text")
    if name == CONNECT_DECIMAL:
        parameters.setdefault("scale", str(schema.get("scale", 0)))
    return SchemaField(type_, name=name, parameters=parameters or None, **inner)


def _refused(what: str) -> RecordFault:
    return RecordFault("avro-schema", f"the message's Avro schema {what}")
