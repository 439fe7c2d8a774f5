"""Any value of any such schema round-trips; any bytes and any schema are a value or a fault of the record, and soon."""

from __future__ import annotations

import contextlib
import json
import math
from base64 import b64encode
from decimal import Context, Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cdc.errors import RecordFault
from cdc_consumer.avro import AvroReader
from cdc_consumer.avro_json import AvroToJson
from cdc_consumer.routing import route
from tests.golden_avro import ENVELOPE, STREAM, MemoryRegistry, recorded_avro
from tests.raw_zone import MemoryObjects
from tests.unit.test_avro_json import DECIMAL, record
from tests.unit.test_avro_reader import framed

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def decimal_octets(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)


EXACT = Context(prec=60)
SCALED: Any = {"type": "bytes", "connect.name": DECIMAL, "connect.parameters": {"scale": "3"}}
PLAIN: list[tuple[Any, st.SearchStrategy[tuple[Any, Any]]]] = [
    ("long", st.integers(-(2**63), 2**63 - 1).map(lambda n: (n, n))),
    ("string", TEXT.map(lambda text: (text, text))),
    ("bytes", st.binary(max_size=20).map(lambda octets: (octets, b64encode(octets).decode()))),
    ("double", st.floats(allow_nan=False, allow_infinity=False).map(lambda n: (n, n))),
    ("float", st.floats(allow_nan=False, allow_infinity=False, width=32).map(lambda n: (n, n))),
    (SCALED, st.integers(-(10**30), 10**30).map(lambda n: (decimal_octets(n), f"{Decimal(n).scaleb(-3, EXACT):f}"))),
]
"""Types, with values and what they are in JSON."""
ONE = st.sampled_from(PLAIN).flatmap(lambda pair: st.tuples(st.just(pair[0]), pair[1]))
TYPED: st.SearchStrategy[tuple[Any, tuple[Any, Any]]] = st.recursive(
    ONE,
    lambda inner: (
        inner.map(lambda made: (["null", made[0]], made[1]) if not isinstance(made[0], list) else made)
        | inner.map(lambda made: ({"type": "array", "items": made[0]}, ([made[1][0]] * 2, [made[1][1]] * 2)))
        | inner.map(lambda made: ({"type": "map", "values": made[0]}, ({"k": made[1][0]}, {"k": made[1][1]})))
    ),
    max_leaves=6,
)
SCHEMAS = st.recursive(
    st.sampled_from(["null", "int", "long", "string", "bytes", "r", "x.y", "", "record"]) | st.none() | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.builds(lambda items: {"type": "array", "items": items}, inner)
        | st.builds(lambda values: {"type": "map", "values": values}, inner)
        | st.builds(lambda name, fields: {"type": "record", "name": name, "fields": [{"name": f"f{n}", "type": each} for n, each in enumerate(fields)]}, st.sampled_from(["r", "x.y", "s", ""]), st.lists(inner, max_size=3))
    ),
    max_leaves=8,
)  # fmt: skip


@given(TYPED)
def test_any_value_round_trips(typed: tuple[Any, tuple[Any, Any]]) -> None:
    type_, (value, expected) = typed
    schema = record(type_)
    found = json.loads(AvroToJson(json.dumps(schema)).convert(framed({"f0": value}, 1, schema)[5:]))["f0"]
    assert close(found, expected)


def close(found: Any, expected: Any) -> bool:
    if isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=1e-6, abs_tol=1e-44)  # a float of 32 bits has fewer digits
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(close, found, expected))
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(close(found[name], expected[name]) for name in expected)
    return bool(found == expected)


@given(SCHEMAS, st.binary(max_size=40))
def test_any_schema_and_any_bytes_are_a_value_or_a_fault(schema: Any, body: bytes) -> None:
    with contextlib.suppress(RecordFault):
        json.loads(AvroToJson(json.dumps(schema)).convert(body))


RECORDED = recorded_avro("adaptive")[0]
READER = AvroReader(
    MemoryRegistry({1: json.dumps(ENVELOPE), RECORDED.schema_id + 1: RECORDED.schema}), MemoryObjects(), lambda: 0.0
)


@given(st.binary(min_size=1, max_size=200), st.sampled_from([1, RECORDED.schema_id + 1]))
def test_any_bytes_behind_a_known_schema_are_routed(body: bytes, schema_id: int) -> None:
    data = b"\0" + schema_id.to_bytes(4, "big") + body
    assert route(data, {("public", "t"): "t"}, lambda octets: READER.read(octets, STREAM)) is not None


@given(st.integers(0, len(RECORDED.data) - 6), st.integers(1, 255))
def test_a_recorded_value_with_a_byte_changed_or_cut_is_routed(place: int, change: int) -> None:
    octets = bytearray(RECORDED.data[5:])
    head = b"\0" + (RECORDED.schema_id + 1).to_bytes(4, "big")
    cut = bytes(octets[:place])
    octets[place] ^= change
    for body in (bytes(octets), cut):
        assert route(head + body, {("public", "tipos"): "t"}, lambda data: READER.read(data, STREAM)) is not None
