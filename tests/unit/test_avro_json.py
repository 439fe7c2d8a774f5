"""How values in Avro are written as JSON, and which schemas and bytes are refused."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest

from cdc.debezium.avro_schema import DEPTH_MAX, connect_schema
from cdc.errors import RecordFault
from cdc_consumer.avro_json import AvroToJson
from tests.unit.test_avro_reader import framed

DECIMAL = "org.apache.kafka.connect.data.Decimal"
VARIABLE = {
    "type": "record", "name": "VariableScaleDecimal", "namespace": "io.debezium.data",
    "fields": [{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}],
    "connect.name": "io.debezium.data.VariableScaleDecimal",
}  # fmt: skip


def record(*types: Any) -> dict[str, Any]:
    return {"type": "record", "name": "r", "fields": [{"name": f"f{n}", "type": each} for n, each in enumerate(types)]}


def varint(number: int) -> bytes:
    number = (number << 1) ^ (number >> 63)
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*octets, number])


def reason(schema: Any, body: bytes = b"\0") -> str:
    with pytest.raises(RecordFault) as caught:
        AvroToJson(schema if isinstance(schema, str) else json.dumps(schema)).convert(body)
    return caught.value.reason


def written(type_: Any, value: Any) -> Any:
    schema = record(type_)
    return json.loads(AvroToJson(json.dumps(schema)).convert(framed({"f0": value}, 1, schema)[5:]))["f0"]


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        ("long", 2**63 - 1, 2**63 - 1), ("int", -1, -1), ("boolean", True, True), ("string", "José\n\0", "José\n\0"),
        (["null", "string"], None, None), (["string", "null"], "x", "x"), (["string"], "x", "x"),
        ("bytes", b"\xde\xad\xbe\xef", "3q2+7w=="), ("bytes", b"", ""),
        ("double", 0.1, 0.1), ("double", math.nan, "NaN"), ("double", -math.inf, "-Infinity"),
        ("float", 1.1, 1.1), ("float", 16777216.0, 16777216.0), ("float", 3.4028234663852886e38, 3.4028235e38),
        ("float", 1e-45, 1.4013e-45), ("float", math.inf, "Infinity"), ("float", -0.0, -0.0),
        ({"type": "enum", "name": "e", "symbols": ["A", "B"]}, "B", "B"),
        ({"type": "fixed", "name": "x", "size": 2}, b"ab", "YWI="),
        ({"type": "array", "items": ["null", "int"]}, [1, None], [1, None]),
        ({"type": "map", "values": ["null", "string"]}, {"a": None, "b": "c"}, {"a": None, "b": "c"}),
        # Logical types are what they are on the wire, whatever year that is.
        ({"type": "int", "logicalType": "date"}, 2**31 - 1, 2**31 - 1),
        ({"type": "long", "logicalType": "timestamp-millis"}, -(2**63), -(2**63)),
        ({"type": "bytes", "connect.name": DECIMAL, "connect.parameters": {"scale": "2"}}, b"\xfb\x2e", "-12.34"),
        ({"type": "bytes", "connect.name": DECIMAL, "connect.parameters": {"scale": "-2"}}, b"\x7b", "12300"),
        ({"type": "bytes", "connect.name": DECIMAL, "connect.parameters": {"scale": "2"}}, b"\0", "0.00"),
        (VARIABLE, {"scale": 9, "value": b"\1"}, "0.000000001"), (VARIABLE, {"scale": -3, "value": b"\0"}, "0"),
        ({"type": "array", "items": VARIABLE}, [{"scale": 0, "value": b"\x80"}], ["-128"]),
    ],
)  # fmt: skip
def test_a_value_is_written_as_connect_writes_it(type_: Any, value: Any, expected: Any) -> None:
    assert repr(written(type_, value)) == repr(expected)


@pytest.mark.parametrize(
    ("type_", "body"),
    [
        (["null", "int"], varint(-1) + b"\x02"), (["null", "int"], varint(-2)), (["int", "null"], varint(-1)),
        ({"type": "enum", "name": "e", "symbols": ["A", "B"]}, varint(-1)), ("boolean", b"\x02"),
        ("long", b"\x80\0"), ({"type": "map", "values": "int"}, b"\x04\x02a\x02\x02a\x04\0"),
    ],
)  # fmt: skip
def test_bytes_that_no_encoder_writes_are_refused_though_they_can_be_read(type_: Any, body: bytes) -> None:
    assert reason(record(type_), body) == "not-avro"


def test_a_decimal_without_connects_properties_has_its_scale() -> None:
    schema = record({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 1})
    assert json.loads(AvroToJson(json.dumps(schema)).convert(b"\x02\x0f")) == {"f0": "1.5"}


def chain(length: int) -> Any:
    """Each record has the one before by its name, in one flat list of fields."""
    types: list[Any] = [{"type": "record", "name": "t0", "fields": [{"name": "f", "type": "int"}]}]
    types += [
        {"type": "record", "name": f"t{n}", "fields": [{"name": "a", "type": f"t{n - 1}"}, {"name": "b", "type": f"t{n - 1}"}]}
        for n in range(1, length)
    ]  # fmt: skip
    return record(*types)


def nested(depth: int) -> Any:
    schema: Any = "int"
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return record(schema)


DEEP = '{"type":"array","items":' * 5000 + '"int"' + "}" * 5000


@pytest.mark.parametrize(
    "schema",
    [
        "", "{", "[" * 100_000, "1", '"long"', '{"type":"record"}', '{"type":"record","name":"r","fields":[]}',
        record("null"), record({"type": "array", "items": "null"}), record("unknown"), record([]), record(["null"]),
        record({"type": "fixed", "name": "x", "size": 0}), record({"type": "array", "items": record()}),
        record(["int", "string"]), record(["null", "int", "string"]), record({"type": "array"}), record(7), record(None),
        record("r"), record(["null", "r"]), record({"type": "array", "items": "r"}), record({"type": "map", "values": "r"}),
        record(record("int")), nested(DEPTH_MAX + 1), DEEP, chain(DEPTH_MAX + 2), chain(2000),
        record({"type": "bytes", "connect.name": DECIMAL, "connect.parameters": {"scale": "x"}}),
        record({"type": "int", "connect.name": 5}), record({"type": "int", "connect.parameters": 5}),
        {"type": "record", "name": "r", "fields": [{"name": "a", "type": "int"}, {"name": "a", "type": "int"}]},
        {"type": "record", "name": "r", "fields": {"a": 1}}, {"type": "record", "name": 3, "fields": [1]},
    ],
)  # fmt: skip
def test_a_schema_that_debezium_never_makes_is_refused(schema: Any) -> None:
    assert reason(schema) == "avro-schema"


@pytest.mark.parametrize("schema", [nested(DEPTH_MAX - 1), chain(DEPTH_MAX - 1)])
def test_a_schema_within_the_limits_is_read_without_unfolding_it(schema: Any) -> None:
    began = time.process_time()
    assert connect_schema(json.dumps(schema)).type == "struct"
    AvroToJson(json.dumps(schema))
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("type_", "body"),
    [
        ("string", b"\x04a"), ("string", b"\x02\xff"), ("string", varint(2**62)), ("string", varint(-1)),
        ("long", b"\xff" * 20), ("long", b""), ("long", b"\0\0"), ("int", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f\0"),
        ("double", b"\0" * 7), (["null", "int"], b"\x04"),
        ({"type": "array", "items": "int"}, varint(2**60)), ({"type": "array", "items": "int"}, varint(2**60) + b"\0" * 50),
        ({"type": "array", "items": "int"}, varint(-(2**60)) + varint(1) + b"\0"), ({"type": "array", "items": "int"}, varint(-(2**63))),
        ({"type": "map", "values": "int"}, varint(2**60) + b"\0\0" * 20),
        ({"type": "enum", "name": "e", "symbols": ["A"]}, b"\x04"), ({"type": "fixed", "name": "x", "size": 10**9}, b"a"),
        ("boolean", b""), (VARIABLE, varint(2**31 - 1) + b"\x02\x01"), (VARIABLE, varint(-(2**31)) + b"\x02\x01"),
        (VARIABLE, b"\0\0"), ({"type": "bytes", "connect.name": DECIMAL, "connect.parameters": {"scale": "2"}}, b"\0"),
        ({"type": "bytes", "connect.name": DECIMAL, "connect.parameters": {"scale": "1000000000"}}, b"\x02\x01"),
        ({"type": "bytes", "connect.name": DECIMAL, "connect.parameters": {"scale": "2"}}, varint(5_000_000) + b"\1" * 5_000_000),
    ],
)  # fmt: skip
def test_bytes_that_are_no_value_are_a_fault_of_the_record_and_soon(type_: Any, body: bytes) -> None:
    began = time.process_time()
    assert reason(record(type_), body) == "not-avro"
    assert time.process_time() - began < 5
