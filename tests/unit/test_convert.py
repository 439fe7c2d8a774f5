from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.errors import RecordFault
from cdc.postgres_type import parse_type
from compactor.convert import converter


def convert(type_name: str, value: Any) -> Any:
    kind = parse_type(type_name)
    assert kind is not None
    return converter(kind)(value)


@pytest.mark.parametrize(
    ("type_name", "value", "expected"),
    [
        ("bigint", 9223372036854775807, 9223372036854775807),
        ("numeric(12,2)", "-0.01", Decimal("-0.01")),
        ("numeric(12,2)", "9999999999.99", Decimal("9999999999.99")),
        ("numeric(12,2)", "1.500", Decimal("1.50")),
        ("numeric(38,10)", "1234567890123456789012345678.0123456789", Decimal("1234567890123456789012345678.0123456789")),
        ("numeric(5)", "0", Decimal(0)),
        ("date", 7441, date(1990, 5, 17)),
        ("date", -25568, date(1899, 12, 31)),
        ("timestamp", -1, datetime(1969, 12, 31, 23, 59, 59, 999999)),
        ("timestamp(3)", 1709251199123, datetime(2024, 2, 29, 23, 59, 59, 123000)),
        ("timestamp", -62135596800000000, datetime(1, 1, 1)),
        ("timestamptz", "2024-03-10T15:34:56.789012Z", datetime(2024, 3, 10, 15, 34, 56, 789012, UTC)),
        ("timestamptz", "9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)),
        ("text[]", ["vip", "a b", None, "ção"], ["vip", "a b", None, "ção"]),
        ("boolean", True, True),
        ("real", "-Infinity", -math.inf),
        ("double precision", 1, 1.0),
        ("bytea", "3q2+7wA=", b"\xde\xad\xbe\xef\x00"),
        ("jsonb", '{"a": 1e400}', '{"a": 1e400}'),
    ],
)  # fmt: skip
def test_a_value_is_converted_exactly(type_name: str, value: Any, expected: Any) -> None:
    found = convert(type_name, value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("type_name", "value"),
    [
        ("bigint", 9223372036854775808), ("smallint", 40000), ("integer", "1"), ("integer", True), ("integer", 1.0),
        ("numeric(12,2)", "0.001"), ("numeric(12,2)", "10000000000"), ("numeric(12,2)", "NaN"), ("numeric(12,2)", 0.1),
        ("numeric(12,2)", "AeJA"), ("date", -622191234), ("date", -2147472692), ("date", -719163), ("date", "2024-01-01"),
        ("timestamp", -9223372036832400000), ("timestamp", 9223372036825200000), ("timestamptz", "infinity"),
        ("timestamptz", "2024-01-01T00:00:00"), ("timestamptz", 5), ("text", 1), ("text[]", "{a}"), ("text[]", [["a"]]),
        ("boolean", "t"), ("boolean", 1), ("real", "x"), ("bytea", "é"), ("uuid", None),
    ],
)  # fmt: skip
def test_a_value_that_is_not_held_is_a_fault_that_does_not_name_it(type_name: str, value: Any) -> None:
    with pytest.raises(RecordFault) as raised:
        convert(type_name, value)
    assert raised.value.reason == "value-not-held"
    assert str(value) not in str(raised.value) or len(str(value)) < 4


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4))
def test_a_decimal_is_exact_or_a_fault(number: Decimal) -> None:
    try:
        found = convert("numeric(10,3)", str(number))
    except RecordFault:
        assert abs(number) >= 10**7 or number != round(number, 3)
    else:
        assert found == number
        assert found.as_tuple().exponent == -3


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_timestamp_is_exact_or_a_fault(microseconds: int) -> None:
    try:
        found = convert("timestamp", microseconds)
    except RecordFault:
        assert not -62135596800000000 <= microseconds < 253402300800000000
    else:
        assert (found - datetime(1970, 1, 1)) // (datetime.resolution) == microseconds
