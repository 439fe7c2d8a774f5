"""Values as DMS renders them: the exact value in the lake, or set aside."""

from __future__ import annotations

import math
import struct
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdc.dms_number import number
from cdc.dms_value import normaliser
from cdc.errors import RecordFault
from cdc.postgres_type import PostgresType, parse_type
from compactor.convert import converter

_JSON = msgspec.json.Decoder(float_hook=number)


def held(type_name: str, text: str) -> Any:
    """What the lake holds of a value's JSON text."""
    type_ = parse_type(type_name)
    assert type_ is not None
    return converter(type_)(normaliser(type_)(_JSON.decode(text)))


@pytest.mark.parametrize(
    ("type_name", "text", "expected"),
    [
        ("boolean", '"true"', True), ("boolean", '"false"', False), ("boolean", '"t"', True), ("boolean", '"f"', False),
        ("boolean", "1", True), ("boolean", "0", False), ("boolean", '"1"', True), ("boolean", "true", True),
        ("boolean", "false", False), ("boolean", '"true "', True),
        ("integer", "-7", -7), ("integer", '"7"', 7), ("smallint", "32767", 32767), ("integer", "7.0", 7),
        ("bigint", "9007199254740993", 2**53 + 1), ("bigint", "9223372036854775807", 2**63 - 1),
        ("bigint", '"-9223372036854775808"', -(2**63)), ("bigint", "1.234567890123456789E18", 1234567890123456789),
        ("bigint", "-9.223372036854775807e+18", -(2**63 - 1)), ("bigint", "1.5E3", 1500), ("bigint", "0E0", 0),
        ("bigint", "1.234567890123456E15", 1234567890123456), ("bigint", "1.2345678901234567E16", 12345678901234567),
        ("numeric(12,2)", "12.5", Decimal("12.50")), ("numeric(12,2)", '"12.50"', Decimal("12.50")),
        ("numeric(12,2)", "1.25E1", Decimal("12.50")), ("numeric(12,2)", "-0.00", Decimal(0)),
        ("numeric(38,2)", "123456789012345678901234567890.12", Decimal("123456789012345678901234567890.12")),
        ("numeric(38,0)", '"99999999999999999999999999999999999999"', Decimal("9" * 38)),
        ("double precision", "0.1", 0.1), ("double precision", "1.7976931348623157E308", 1.7976931348623157e308),
        ("double precision", "5E-324", 5e-324), ("double precision", '"-Infinity"', -math.inf), ("real", "1.5", 1.5),
        ("double precision", "3", 3.0), ("real", "3.4028235E38", 3.4028235e38), ("double precision", "-0.0", -0.0),
        ("date", '"2024-02-29"', date(2024, 2, 29)), ("date", '"0001-01-01"', date(1, 1, 1)),
        ("date", '"2024-02-29T00:00:00Z"', date(2024, 2, 29)),
        ("timestamp", '"2024-07-29T00:58:17.974340Z"', datetime(2024, 7, 29, 0, 58, 17, 974340)),
        ("timestamp", '"2024-07-29T00:58:17"', datetime(2024, 7, 29, 0, 58, 17)),
        ("timestamp", '"2024-07-29 00:58:17.5"', datetime(2024, 7, 29, 0, 58, 17, 500000)),
        ("timestamp", '"2024-07-29T00:58:17.974340000Z"', datetime(2024, 7, 29, 0, 58, 17, 974340)),
        ("timestamp(3)", '"2024-07-29T00:58:17.974Z"', datetime(2024, 7, 29, 0, 58, 17, 974000)),
        ("timestamp", '"9999-12-31T23:59:59.999999"', datetime(9999, 12, 31, 23, 59, 59, 999999)),
        ("timestamp", '"0001-01-01T00:00:00Z"', datetime(1, 1, 1)),
        ("timestamptz", '"2024-07-29T00:58:17.97Z"', datetime(2024, 7, 29, 0, 58, 17, 970000, UTC)),
        ("timestamptz", '"2024-07-28 21:58:17-03"', datetime(2024, 7, 29, 0, 58, 17, 0, UTC)),
        ("timestamptz", '"2024-07-29T06:28:17+05:30"', datetime(2024, 7, 29, 0, 58, 17, 0, UTC)),
        ("jsonb", r'"{\"a\": \"ç\", \"b\": 1.50}"', '{"a": "ç", "b": 1.50}'), ("json", '"null"', "null"),
        ("bytea", '"0xDEADbeef"', b"\xde\xad\xbe\xef"), ("bytea", '"00ff"', b"\x00\xff"), ("bytea", '""', b""),
        ("bytea", r'"\\x00ff"', b"\x00\xff"), ("bytea", '"0x"', b""),
        ("uuid", '"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"', "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("char(5)", '"ab"', "ab   "), ("char(5)", '"ab   "', "ab   "), ("varchar(14)", '""', ""), ("text", '"é\\u0000"', "é\0"),
        ("text[]", r'"{a,\"b c\",NULL,\"NULL\",\"\",\"q\\\"\\\\\"}"', ["a", "b c", None, "NULL", "", 'q"\\']), ("text[]", '"{}"', []),
        ("integer[]", '"{1,NULL,-2}"', [1, None, -2]), ("boolean[]", '"{t,f}"', [True, False]),
        ("numeric(5,2)[]", '"{1.5,2}"', [Decimal("1.50"), Decimal("2.00")]), ("double precision[]", '"{1e+20,NaN}"', [1e20, pytest.approx(math.nan, nan_ok=True)]),
        ("timestamp[]", r'"{\"2024-07-29 00:58:17.5\"}"', [datetime(2024, 7, 29, 0, 58, 17, 500000)]),
        ("bytea[]", r'"{\"\\\\x00ff\"}"', [b"\x00\xff"]), ("jsonb[]", r'"{\"{\\\"a\\\": 1}\"}"', ['{"a": 1}']),
    ],
)  # fmt: skip
def test_a_rendering_is_held_exactly(type_name: str, text: str, expected: Any) -> None:
    value = held(type_name, text)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("type_name", "text"),
    [
        ("boolean", '"yes"'), ("boolean", "2"), ("boolean", "1.0"), ("boolean", '""'), ("boolean", "[]"),
        ("integer", "2147483648"), ("integer", "7.5"), ("integer", "true"), ("integer", '"7x"'), ("integer", '"1_0"'),
        ("integer", '" 7"'), ("integer", '"\\u0667"'), ("bigint", "9.223372036854775808E18"), ("bigint", '""'), ("bigint", "1E9999"),
        # What a double makes of 1234567890123456789, with 15, 16, 17 and all digits, and of 12345678901234567.
        ("bigint", "1.23456789012346E18"), ("bigint", "1.234567890123457E18"), ("bigint", "1.2345678901234568E18"),
        ("bigint", "1.234567890123456768E18"), ("bigint", "1.2345678901234568E16"), ("bigint", "1E18"),
        ("numeric(18,4)", "1.234567890123457E13"), ("numeric(20,2)", '"1.2345678901234568E17"'), ("numeric(12,2)", "12.345"),
        ("numeric(12,2)", '"NaN"'), ("numeric(12,2)", '"Infinity"'), ("numeric(12,2)", '"sNaN"'), ("numeric(12,2)", "1E-9999"),
        ("numeric(12,2)", '"12,5"'), ("numeric(12,2)", "true"), ("numeric(12,2)", "{}"),
        ("double precision", "1e400"), ("double precision", "1e-400"), ("double precision", "1" + "0" * 400), ("double precision", '"inf"'),
        ("real", "3.5E38"), ("double precision", "null"), ("double precision", "true"),
        ("date", '"2024-02-30"'), ("date", '"infinity"'), ("date", '"0044-03-15 BC"'), ("date", '"10000-01-01"'), ("date", "19000"),
        ("date", '"2024-02-29T12:00:00Z"'), ("date", '"0000-01-01"'),
        ("timestamp", '"2024-07-29T00:58:17.9743401Z"'), ("timestamp", '"2024-07-29T00:58:17+02:00"'), ("timestamp", '"infinity"'),
        ("timestamp(3)", '"2024-07-29T00:58:17.9741Z"'), ("timestamp", '"2024-07-29T24:00:00"'), ("timestamp", '"2024-07-29"'),
        ("timestamp", "1722214697"), ("timestamptz", '"2024-07-29T00:58:17"'), ("timestamptz", '"9999-12-31T23:59:59-01"'),
        ("timestamptz", '"2024-07-29T00:58:17+99:99"'), ("timestamptz", '"-infinity"'),
        ("jsonb", r'"{\"a\": \"cut o"'), ("jsonb", '""'), ("jsonb", "{}"), ("bytea", '"0xabc"'), ("bytea", '"xyz!"'), ("bytea", '"0x0x"'),
        ("uuid", '"a0eebc99"'), ("text", "7"), ("text", "1.5"), ("char(5)", "7"),
        ("text[]", r'"{{a},{b}}"'), ("text[]", r'"{a,b"'), ("text[]", '"{a,}"'), ("text[]", r'"{\"a\"b}"'), ("text[]", '"[0:1]={a,b}"'),
        ("text[]", '"{a}x"'), ("text[]", '"{a b}"'), ("text[]", '""'), ("text[]", '["a"]'), ("text[]", '"{"'), ("integer[]", '"{1,x}"'),
    ],
)  # fmt: skip
def test_what_cannot_be_told_exactly_is_set_aside_without_naming_it(type_name: str, text: str) -> None:
    with pytest.raises(RecordFault) as raised:
        held(type_name, text)
    assert raised.value.reason == "value-not-held"
    assert text not in str(raised.value)


@example(2**53 + 1)
@given(st.integers(10**14, 2**63 - 1) | st.integers(2**53 - 9, 2**53 + 9))
def test_an_integer_that_went_through_a_double_is_right_or_set_aside(value: int) -> None:
    for digits in range(15, 20):
        text = f"{float(value):.{digits - 1}E}"
        try:
            assert held("bigint", text) == value
        except RecordFault:
            assert value >= 10**15


def test_types_of_which_no_rendering_is_known_are_refused() -> None:
    for type_ in (PostgresType("hstore"), PostgresType("bit", (3,)), PostgresType("interval"), PostgresType("numeric")):
        with pytest.raises(RecordFault):
            normaliser(type_)("101")


def test_a_time_of_day_has_debeziums_unit() -> None:
    assert normaliser(PostgresType("time"))("23:59:59.999999") == 86_399_999_999
    assert normaliser(PostgresType("time", (3,)))("00:00:01.5Z") == 1500


@pytest.mark.parametrize(
    ("type_name", "expected"),
    [
        ("text", True), ("jsonb", True), ("bytea", True), ("integer[]", True), ("varchar", True), ("varchar(6)", True),
        ("varchar(5)", False), ("char(5)", False), ("char", True), ("numeric(12,2)", False), ("numeric(32,0)", False),
        ("numeric(38,0)", True), ("numeric(36,18)", True), ("bigint", False), ("uuid", False), ("timestamptz", False),
        ("boolean", False), ("double precision", False), ("date", False),
    ],
)  # fmt: skip
def test_which_types_may_lie_out_of_line(type_name: str, *, expected: bool) -> None:
    type_ = parse_type(type_name)
    assert type_ is not None
    assert type_.can_be_toasted is expected


def test_a_numeric_is_written_as_postgres_writes_it() -> None:
    convert = normaliser(PostgresType("numeric", (50, 2)))
    for text in ("1.5", "1.50", "1.500", "+1.5", "15E-1"):
        assert convert(number(text)) == convert(text) == "1.50"
    assert convert("-0") == convert(Decimal("-0.00")) == convert(0) == "0.00"
    assert convert("9" * 48 + ".99") == "9" * 48 + ".99"


@pytest.mark.parametrize(
    ("type_name", "text", "expected"),
    [
        # A real that went through a double on its way has all of the double's digits, and is the same real.
        ("real", "1.10000002384185791", 1.1), ("real", "1.100000023841858", 1.1), ("real", "-3.4028234663852886E38", -3.4028235e38),
        ("real", "16777216", 16777216.0), ("real", "0.30000001192092896", 0.3), ("real", "1.401298464324817E-45", 1.4013e-45), ("real", "0.0", 0.0),
        ("real[]", '"{1.1,NaN}"', [1.1, pytest.approx(math.nan, nan_ok=True)]),
        # An array is text, whose numerics nobody rounds.
        ("numeric[]", '"{1.1234567890,-0.5,100,NaN}"', ["1.1234567890", "-0.5", "100", "NaN"]),
        ("numeric(60,2)[]", '"{1.5}"', ["1.50"]),
        # Postgres shows the offsets of old times with seconds.
        ("timestamptz", '"1900-01-01 00:19:32.5+00:19:32"', datetime(1900, 1, 1, 0, 0, 0, 500000, UTC)),
        ("char", '"a"', "a"), ("char(1)", '""', " "), ("money", "-12.3400", Decimal("-12.34")), ("money", '"1234567.8"', Decimal("1234567.80")),
        ("boolean", '"TRUE"', True), ("boolean", '"False"', False), ("boolean", '"T"', True),
        ("json", r'"\"\\ud800\""', r'"\ud800"'),
        ("int4range", '"[1,10)"', "[1,10)"), ("numrange", '"empty"', "empty"), ("daterange", '"[2024-01-01,)"', "[2024-01-01,)"),
        ("tsrange", r'"(\"2024-01-01 00:00:00\",\"2024-01-02 00:00:00\"]"', '("2024-01-01 00:00:00","2024-01-02 00:00:00"]'),
        ("int8range[]", r'"{\"[1,2)\",empty}"', ["[1,2)", "empty"]),
    ],
)  # fmt: skip
def test_what_can_be_told_exactly_is_not_set_aside(type_name: str, text: str, expected: Any) -> None:
    assert held(type_name, text) == expected


@pytest.mark.parametrize(
    ("type_name", "text"),
    [
        ("real", "1.1000000238"), ("real", "5E-324"), ("money", "1.2345"), ("char", '""'), ("money", '"$1.00"'), ("real", "1.123456789012"), ("int4range", '"[1,"'), ("int4range", '"1,10"'), ("int4range", '"[1,2,3)"'),
        ("numeric[]", '"{1e5}"'), ("numeric[]", '"{1,}"'), ("numeric[]", '"{x}"'), ("tsrange", "7"), ("int4range", '""'), ("tstzrange", '"[,)"'),
        ("json", '"' + "[" * 2000 + '"'), ("json", r'"\"\\ud80\""'), ("json", '"NaN"'), ("json", '"[1,Infinity]"'),
    ],
)  # fmt: skip
def test_what_only_looks_like_it_still_is(type_name: str, text: str) -> None:
    with pytest.raises(RecordFault) as raised:
        held(type_name, text)
    assert raised.value.reason == "value-not-held"


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_real_comes_back_from_every_rendering_that_tells_it(value: float) -> None:
    for text in (repr(value), f"{value:.9g}", f"{value:.17g}", f"{value:.20E}"):
        assert struct.pack("<f", held("real", text if set(text) & set(".eE") else text + ".0")) == struct.pack(
            "<f", value
        )


@pytest.mark.parametrize("sign", [",", "[", "(", "[,"])
def test_a_long_text_that_is_no_range_is_soon_told(sign: str) -> None:
    with pytest.raises(RecordFault, match="no range"):
        normaliser(PostgresType("int4range"))("[" + sign * 1_000_000)
