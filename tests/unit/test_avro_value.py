"""Defaults in an Avro schema, as Confluent's converter wrote them for every type, are those that raw has of a value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cdc.debezium.avro_schema import as_in_raw, connect_schema
from cdc.debezium.forms import SchemaField
from cdc.errors import RecordFault
from tests.unit.test_avro_json import DECIMAL, VARIABLE, record

UNSCALED = {"type": "bytes", "connect.parameters": {"scale": "2"}, "connect.name": DECIMAL}


def column(type_: Any, **default: Any) -> SchemaField:
    schema = record(type_)
    schema["fields"][0] |= default
    (field,) = connect_schema(json.dumps(schema)).fields or []
    return as_in_raw(field)


@pytest.mark.parametrize(
    ("type_", "stated", "in_raw"),
    [
        ("int", 7, 7), ("boolean", False, False), ("string", "x", "x"), ("float", 0.1, 0.1), ("double", "NaN", "NaN"),
        ("bytes", "\u00ff\u0001A", "/wFB"), (UNSCALED, "\u0004\u00e2", "12.50"),
        (VARIABLE, {"scale": 1, "value": "\u0019"}, "2.5"),
        ({"type": "array", "items": ["null", UNSCALED]}, ["\u0004\u00e2", None], ["12.50", None]),
        ({"type": "map", "values": "bytes"}, {"a": "A"}, {"a": "QQ=="}),
    ],
)  # fmt: skip
def test_a_default_is_what_a_value_that_equals_it_is_in_raw(type_: Any, stated: Any, in_raw: Any) -> None:
    own = type_ if isinstance(type_, dict) else {"type": type_}
    field = column([own | {"connect.default": stated}, "null"], default="Avro's own, less exact")
    assert (field.optional, field.default) == (True, in_raw)
    assert column([own, "null"], default=stated).default == in_raw


def test_a_column_without_a_default_has_none() -> None:
    assert column(["null", "int"], default=None).default is None
    assert not column({"type": "int", "connect.default": 7}).optional


@pytest.mark.parametrize(
    ("type_", "stated"),
    [("bytes", 7), ("bytes", "\u0100"), (UNSCALED, ""), (VARIABLE, 7), (VARIABLE, {}), (UNSCALED, {})],
)
def test_a_default_that_is_no_value_of_its_type_is_refused(type_: Any, stated: Any) -> None:
    own = type_ if isinstance(type_, dict) else {"type": type_}
    with pytest.raises(RecordFault, match="default"):
        column([own | {"connect.default": stated}, "null"])
