"""How values are written; the whole matrix is compared with real Debezium in tests/integration/test_publisher_types.py."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_publisher.literals import parse_array, parse_hstore
from cdc_publisher.rendering import SourceType, rendering
from cdc_publisher.temporal import INFINITY_BACKFILLED, INFINITY_STREAMED

ENUM = SourceType("humor", kind="e", extension="-")


def rendered(type_: SourceType | str, text: str, modifier: int = -1) -> Any:
    type_ = SourceType(type_) if isinstance(type_, str) else type_
    how = rendering(type_, modifier, INFINITY_STREAMED)
    assert how is not None
    return json.loads(msgspec.json.encode(how.render(text)))


def placeholder(type_: SourceType) -> Any:
    how = rendering(type_, -1, INFINITY_STREAMED)
    assert how is not None
    return json.loads(msgspec.json.encode(how.placeholder))


def array(element: SourceType | str) -> SourceType:
    element = SourceType(element) if isinstance(element, str) else element
    return SourceType(f"_{element.name}", element=element)


@pytest.mark.parametrize(
    ("type_", "modifier", "text", "value"),
    [
        ("int8", -1, "9223372036854775807", 9223372036854775807),
        ("bool", -1, "t", True),
        ("text", -1, 'a"b\\c\n\u2028😀\x01', 'a"b\\c\n\u2028😀\x01'),
        ("numeric", 786438, "9999999999.99", "9999999999.99"),
        ("numeric", -1, "NaN", "NAN"),
        ("numeric", -1, "-Infinity", "NEGATIVE_INFINITY"),
        ("float8", -1, "Infinity", "Infinity"),
        ("float8", -1, "100", 100.0),
        ("float8", -1, "1e+22", 1e22),
        ("money", -1, "-$1,234.56", "-1234.56"),
        ("bytea", -1, "\\xdeadbeef00", "3q2+7wA="),
        ("bit", 1, "1", True),
        ("bit", 16, "1000000000000001", "AYA="),
        ("bit", 8, "00000000", ""),
        ("date", -1, "1990-05-17", 7441),
        ("date", -1, "0044-03-15 BC", -735160),
        ("date", -1, "infinity", -2147472692),
        ("time", -1, "24:00:00", 86_400_000_000),
        ("time", 3, "23:59:59.123", 86399123),
        ("timetz", -1, "23:59:59.999999-15:59", "15:58:59.999999Z"),
        ("timetz", -1, "24:00:00+05:30:30", "18:29:30Z"),
        ("timestamp", -1, "1969-12-31 23:59:59.999999", -1),
        ("timestamp", 3, "2024-02-29 23:59:59.12", 1709251199120),
        ("timestamp", -1, "-infinity", -9223372036832400000),
        ("timestamp", -1, "294276-12-31 23:59:59.999999", 9224318015999999999),  # beyond 64 bits with a sign
        ("timestamptz", -1, "2024-03-10 15:34:56.78+00", "2024-03-10T15:34:56.780000Z"),
        ("timestamptz", 0, "2024-03-10 15:34:56+00", "2024-03-10T15:34:56Z"),
        ("timestamptz", 3, "0044-03-15 12:00:00 BC", "-0043-03-15T12:00:00.000Z"),
        ("timestamptz", -1, "0001-01-01 00:00:00+00 BC", "0000-01-01T00:00:00.000000Z"),
        ("timestamptz", -1, "10000-01-01 00:00:00+00", "+10000-01-01T00:00:00.000000Z"),
        ("timestamptz", -1, "infinity", "infinity"),
        ("interval", -1, "P1Y2M3DT4H5M6.789S", 37091106789000),
        ("interval", -1, "P-1M2DT-3H", -2467800000000),
        ("interval", -1, "PT-0.000001S", -1),
        ("interval", -1, "PT0S", 0),
        ("interval", -1, "-infinity", -(2**63)),
        ("point", -1, "(1.5,-2.5)", {"x": 1.5, "y": -2.5, "wkb": "AQEAAAAAAAAAAAD4PwAAAAAAAATA", "srid": None}),
    ],
)
def test_values(type_: str, modifier: int, text: str, value: Any) -> None:
    assert repr(rendered(type_, text, modifier)) == repr(value)


def test_infinity_differs_between_backfill_and_stream_as_it_does_in_debezium() -> None:
    how = rendering(SourceType("date"), -1, INFINITY_BACKFILLED)
    assert how is not None
    assert how.render("infinity") == -622191234


def test_domains_take_the_modifier_of_the_domain() -> None:
    domain = SourceType("dom", kind="d", extension="-", base=SourceType("timestamp"), base_modifier=3)
    assert rendered(domain, "2024-02-29 23:59:59.12") == 1709251199120
    assert rendered(array(domain), '{"2024-02-29 23:59:59.12",NULL}') == [1709251199120, None]


def test_extensions_are_known_by_the_extension_and_not_by_a_name() -> None:
    assert rendered(SourceType("citext", extension="citext"), "CiT") == "CiT"
    assert rendered(SourceType("hstore", extension="hstore"), '"k"=>"v", "n"=>NULL') == '{"k":"v","n":null}'
    assert rendering(SourceType("hstore", extension="-"), -1, INFINITY_STREAMED) is None
    assert rendering(SourceType("text", extension="-"), -1, INFINITY_STREAMED) is None
    assert rendered(ENUM, "com espaço") == "com espaço"


@pytest.mark.parametrize(
    "type_",
    [
        SourceType("line"), SourceType("tsquery"), SourceType("pg_lsn"), SourceType("int2vector"), SourceType("xid8"),
        SourceType("int4multirange", kind="m"), SourceType("comp", kind="c", extension="-"),
        SourceType("geometry", extension="postgis"), array("money"), array("interval"),
        array(SourceType("comp", kind="c", extension="-")), SourceType("varbit"),
    ],
)  # fmt: skip
def test_types_without_an_exact_form_have_none(type_: SourceType) -> None:
    assert rendering(type_, 1, INFINITY_STREAMED) is None


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (SourceType("text"), "__debezium_unavailable_value"),
        (SourceType("bytea"), "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="),
        (array("text"), ["__debezium_unavailable_value"]),
        (array("float8"), ["__debezium_unavailable_value"]),
        (array("int4"), list(b"__debezium_unavailable_value")),
        (array("date"), list(b"__debezium_unavailable_value")),
        (array("uuid"), ["b68a35a7-17ad-35b3-af2a-ae46edb4545a"]),
        (array(ENUM), ["__debezium_unavailable_value"]),
        (
            SourceType("hstore", extension="hstore"),
            '{"__debezium_unavailable_value":"__debezium_unavailable_value"}',
        ),
    ],
)
def test_what_stands_for_an_unchanged_toasted_value(type_: SourceType, value: Any) -> None:
    assert placeholder(type_) == value


def test_arrays() -> None:
    assert rendered(array("text"), '{a,"b,c","d\\"e","f\\\\g","",NULL,"NULL","{x}"}') == [
        "a", "b,c", 'd"e', "f\\g", "", None, "NULL", "{x}",
    ]  # fmt: skip
    assert rendered(array("int4"), "[0:1]={1,2}") == [1, 2]
    assert rendered(array("int4"), "{{1,2},{3,NULL}}") == [[1, 2], [3, None]]


@pytest.mark.parametrize("text", ["", "{", "a", "{a}}", "{a}{b}", '{"a}'])
def test_no_array(text: str) -> None:
    with pytest.raises(ValueError, match="form of an array"):
        parse_array(text)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@given(st.lists(st.none() | st.text(), min_size=1))
def test_any_array_of_text_comes_back(elements: list[str | None]) -> None:
    text = ",".join("NULL" if element is None else _quoted(element) for element in elements)
    assert parse_array(f"{{{text}}}") == elements


@given(st.dictionaries(st.text(), st.none() | st.text()))
def test_any_hstore_comes_back(pairs: dict[str, str | None]) -> None:
    text = ", ".join(f"{_quoted(k)}=>{'NULL' if v is None else _quoted(v)}" for k, v in pairs.items())
    assert parse_hstore(text) == pairs


@given(st.datetimes())
def test_any_timestamp_is_exact(value: datetime) -> None:
    text = value.isoformat(" ").rstrip("0") if value.microsecond else value.isoformat(" ")
    microseconds = rendered("timestamp", text)
    assert datetime(1970, 1, 1) + timedelta(microseconds=microseconds) == value
    expected = value.isoformat(timespec="microseconds") + "Z"
    assert rendered("timestamptz", f"{text}+00") == expected


@given(st.dates(), st.integers(0, 14_000))
def test_any_date_is_exact_also_beyond_pythons_years(value: date, cycles: int) -> None:
    text = f"{value.year + cycles * 400:04}-{value.month:02}-{value.day:02}"
    assert rendered("date", text) == (value - date(1970, 1, 1)).days + cycles * 146_097


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_text_comes_back_from_json(text: str) -> None:
    assert rendered("text", text) == text


@pytest.mark.parametrize(
    "type_", [SourceType("text"), SourceType("varchar"), ENUM, SourceType("citext", extension="citext")]
)
def test_a_text_that_equals_the_placeholder_is_spelt_out(type_: SourceType) -> None:
    words = "__debezium_unavailable_value"
    how = rendering(type_, -1, INFINITY_STREAMED)
    assert how is not None
    spelt, placeholder = msgspec.json.encode(how.render(words)), msgspec.json.encode(how.placeholder)
    assert spelt != placeholder
    assert json.loads(spelt) == words == json.loads(placeholder)
