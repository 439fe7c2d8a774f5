"""Dialects of Debezium: how a message tells its forms, what a contract must tell, what is set aside and why."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from cdc.debezium import PLACEHOLDER, decode
from cdc.errors import RecordFault
from cdc.event import Op
from cdc.producer import UNSTATED, ProducerModes
from compactor.change import Change
from tests.golden_debezium import contract_of, read, recorded
from tests.raw_zone import event

TABLE = contract_of("t", "id bigint, nome text, bio text, nums numeric(10,2)[]")


def message(op: str = "u", **parts: Any) -> bytes:
    source = {"schema": "public", "table": "t", "lsn": 9, "ts_us": 1_700_000_000_000_000, "snapshot": "false"}
    row = {"id": 1, "nome": "n", "bio": "b", "nums": []}
    whole = {"before": None, "after": row, "source": source | parts.pop("source", {}), "op": op, **parts}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


def one(types: str, value: Any, modes: ProducerModes = UNSTATED, version: str = "3.6.3.Final") -> Change:
    """The change of an event of a column `v`, as from a producer of this version."""
    body = message("c", after={"id": 1, "v": value}, source={"version": version})
    (change,), rejected = read([body], contract_of("t", f"id bigint, v {types}", modes))
    assert rejected == []
    return change


@pytest.mark.parametrize(
    ("types", "value", "modes", "expected"),
    [
        ("numeric(12,2)", "-0.01", {}, Decimal("-0.01")), ("numeric(12,2)", 0.1, {}, Decimal("0.10")),
        ("numeric(12,2)", "AeJA", {"decimal": "precise"}, Decimal("1234.56")),
        ("numeric(18,4)", "ALxhAQ==", {"decimal": "precise"}, Decimal("1234.5601")),
        ("numeric(4,0)", "1234", {"decimal": "string"}, Decimal(1234)), ("numeric", {"scale": 1, "value": "Dw=="}, {}, "1.5"),
        ("numeric", "-0.00", {}, "0.00"), ("numeric", "NAN", {}, "NaN"), ("numeric", "POSITIVE_INFINITY", {}, "Infinity"),
        ("numeric", {"scale": -3, "value": "Dw=="}, {}, "15000"), ("numeric(40,1)", "1.5", {}, "1.5"),
        ("money", "12.34", {}, Decimal("12.34")), ("money", -0.07, {}, Decimal("-0.07")),
        ("timestamp", 1709251199123456, {}, datetime(2024, 2, 29, 23, 59, 59, 123456)),
        ("timestamp(3)", 1709251199123, {}, datetime(2024, 2, 29, 23, 59, 59, 123000)),
        ("timestamp(3)", 1709251199123000, {"time": "microseconds"}, datetime(2024, 2, 29, 23, 59, 59, 123000)),
        ("timestamp", 1709251199123456000, {"time": "nanoseconds"}, datetime(2024, 2, 29, 23, 59, 59, 123456)),
        ("timestamp", "2024-02-29T12:00:00.5Z", {"time": "isostring"}, datetime(2024, 2, 29, 12, 0, 0, 500000)),
        ("timestamp", -1, {}, datetime(1969, 12, 31, 23, 59, 59, 999999)), ("date", "2024-02-29Z", {}, date(2024, 2, 29)),
        ("timestamptz", "2024-02-29T12:00:00.500Z", {}, datetime(2024, 2, 29, 12, 0, 0, 500000, UTC)),
        ("time", 86400000000, {}, "24:00:00"), ("time(3)", 43200500, {}, "12:00:00.5"), ("time(0)", 60000, {}, "00:01:00"),
        ("time(3)", 60000000, {"time": "adaptive_time_microseconds"}, "00:01:00"),
        ("time", "12:00:00.120Z", {"time": "isostring"}, "12:00:00.12"), ("timetz", "18:30:00Z", {}, "18:30:00Z"),
        ("interval", "P0Y-1M2DT-3H0M0S", {}, "P0Y-1M2DT-3H0M0S"), ("bytea", "3q2+7wD7/w==", {}, bytes.fromhex("deadbeef00fbff")),
        ("bytea", "3q2-7wD7_w==", {}, bytes.fromhex("deadbeef00fbff")), ("bytea", "deadbeef00", {}, bytes.fromhex("deadbeef00")),
        ("bytea", "0102", {"binary": "hex"}, b"\1\2"), ("bytea", "0102", {"binary": "bytes"}, b"\xd3\x5d\x36"),
        ("bit(8)", "BQ==", {}, "00000101"), ("bit", True, {}, "1"), ("varbit(5)", "FQ==", {}, "10101"),
        ("hstore", {"k": "v", "n": None}, {}, '{"k":"v","n":null}'), ("hstore", '{"k":"v"}', {}, '{"k":"v"}'),
        ("point", {"x": 1.5, "y": 1e22, "wkb": "", "srid": None}, {}, "(1.5,1e+22)"),
        ("point", {"x": -0.0, "y": 1e-5, "srid": None}, {}, "(-0,1e-05)"), ("oid", 4294967295, {}, 4294967295),
        ("geometry", {"wkb": "AQE=", "srid": 4326}, {}, "0101"), ("int[]", [1, None], {}, [1, None]),
        ("real", 1.1, {}, 1.1), ("real", 1.17549435e-38, {}, 1.17549435e-38), ("tsvector", "'a' 'b'", {}, "'a' 'b'"),
        ("bigint", 9007199254740993, {}, 9007199254740993),
    ],
)  # fmt: skip
def test_a_form_that_the_value_or_the_contract_tells_is_read(
    types: str, value: Any, modes: dict[str, Any], expected: Any
) -> None:
    change = one(types, value, ProducerModes(**modes))
    assert change.fault is None
    assert change.values["v"] == expected
    assert type(change.values["v"]) is type(expected)


@pytest.mark.parametrize(
    ("types", "value", "modes", "told"),
    [
        ("numeric(12,2)", "AeJA", {}, "debezium.decimal.handling.mode"), ("numeric(4,0)", "1234", {}, "debezium.decimal"),
        ("numeric(12,2)", "-0.01", {"decimal": "precise"}, "base64"), ("numeric(12,2)", "AeJA", {"decimal": "string"}, "number"),
        ("numeric(4,2)", "AeJA", {"decimal": "precise"}, "more digits"), ("numeric(30,10)", 123456.5, {}, "lost digits"),
        ("numeric", 0.1, {}, "lost digits"), ("numeric", "9" * 200_000, {}, "no number"), ("numeric", "1e999999", {}, "digits"),
        ("numeric(12,2)", {"scale": 10**9, "value": "AQ=="}, {}, "scale"), ("numeric(12,2)", "NAN", {}, "NaN"),
        ("timestamp", 1709251199123, {}, "debezium.time.precision.mode"), ("timestamp", "2024-02-29T12:00:00Z", {}, "debezium.time"),
        ("timestamp", 1709251199123, {"time": "connect"}, "timestamp(3)"), ("time", 86399123, {}, "debezium.time"),
        ("timestamp", 1709251199123456001, {"time": "nanoseconds"}, "whole"), ("timestamp", 2**63 - 1, {"time": "nanoseconds"}, "whole"),
        ("time", "00:00:00Z", {"time": "isostring"}, "24:00"), ("time", 86400000001, {}, "no time"), ("date", 2**40, {}, "infinite"),
        ("timestamptz", "2024-02-29T12:00:00.1234567Z", {}, "infinite"), ("timestamptz", "+10000-01-01T00:00:00Z", {}, "infinite"),
        ("interval", 37091106789000, {}, "interval.handling.mode=string"), ("bytea", "0102", {}, "debezium.binary.handling.mode"),
        ("bytea", "+A==", {"binary": "base64-url-safe"}, "URL"), ("bytea", "XX", {"binary": "hex"}, "hexa"),
        ("varbit", "BQ==", {}, "does not tell"), ("varbit(5)", "BQ==", {}, "does not tell"), ("bit(2)", "BQ==", {}, "more than 2"),
        ("varbit(1)", False, {}, "alike"), ("int[]", [None, None], {}, "an array in an array"), ("int[]", [[1]], {}, "no integer"),
        ("text[]", ["[Ljava.lang.String;@1c63cd97"], {}, "an array in an array"), ("real", 0.30000000000000004, {}, "real"),
        ("real", 1e300, {}, "real"), ("bigint", 2**63, {}, "no bigint"), ("bigint", 2**70, {}, "no bigint"), ("oid", -1, {}, "no oid"),
        ("double precision", 2**60 + 1, {}, "no number"), ("hstore", "x", {}, "hstore"), ("point", [1], {}, "point"),
    ],
)  # fmt: skip
def test_what_is_ambiguous_or_not_exact_is_set_aside_with_the_remedy(
    types: str, value: Any, modes: dict[str, Any], told: str
) -> None:
    change = one(types, value, ProducerModes(**modes))
    assert change.op == "q"
    assert change.fault is not None
    assert (change.fault.reason, change.fault.where) == ("value-not-held", "v")
    assert told in change.fault.what


@pytest.mark.parametrize(
    ("types", "value", "expected"),
    [
        ("numeric(4,0)", "1234", Decimal(1234)), ("bytea", "0102", b"\xd3\x5d\x36"), ("int[]", [None], [None]),
        ("timestamp", 1709251199123, datetime(1970, 1, 20, 18, 47, 31, 199123)), ("time", 86399123, "00:01:26.399123"),
    ],
)  # fmt: skip
def test_our_own_publisher_needs_nothing_stated(types: str, value: Any, expected: Any) -> None:
    assert one(types, value, version="3.6.3.usuarios-cdc").values["v"] == expected


def test_an_interval_can_be_held_as_the_number_that_debezium_gives() -> None:
    schema_on = next(json.loads(line["value"]) for line in recorded("10"))
    change = read([json.dumps(schema_on).encode()], contract_of("tipos", "id int, c_interval bigint"))[0][0]
    assert change.values["c_interval"] == 37091106789000


def test_a_column_whose_kind_changed_in_the_schema_is_set_aside() -> None:
    body = recorded("10")[0]["value"].encode()
    for types in (
        "c_date int",
        "c_text int",
        "c_bytea text",
        "c_int4 text",
        "c_double real",
        "c_num text",
        "c_ts timestamptz",
    ):
        (change,), _ = read([body], contract_of("tipos", f"id int, {types}"))
        assert change.fault is not None, types
        assert "the column's type has changed" in change.fault.what


@pytest.mark.parametrize("snapshot", ["incremental", "true", "last", True, False, None])
def test_a_read_has_no_lsn_whatever_its_snapshot_says(*, snapshot: object) -> None:
    found = decode(message("r", source={"snapshot": snapshot, "lsn": None}), TABLE, 1)
    assert (found.op, found.position.lsn) == (Op.READ, 0)


def test_the_image_before_of_replica_identity_full_has_what_came_unchanged() -> None:
    after = {"id": 1, "nome": "n2", "bio": PLACEHOLDER, "nums": None}
    whole = {"id": 1, "nome": "n", "bio": "long", "nums": None}
    (full,), _ = read([message(before=whole, after=after)], TABLE)
    assert (full.values["bio"], full.unchanged, full.fault) == ("long", frozenset(), None)
    key_only = {"id": 1, "nome": None, "bio": None, "nums": None}
    found = decode(message(before=key_only, after=after), TABLE, 1)
    assert (set(found.unchanged), set(found.doubtful)) == ({"bio"}, {"nums"})
    still = decode(message(before=whole | {"bio": PLACEHOLDER}, after=after), TABLE, 1)
    assert (set(still.unchanged), set(still.doubtful)) == ({"bio"}, set())


def test_a_null_that_may_mean_unchanged_sets_its_update_aside() -> None:
    after = {"id": 1, "nome": "n2", "bio": "b", "nums": None}
    (change,), _ = read([message(after=after)], TABLE)
    assert change.fault is not None
    assert (change.fault.where, change.op) == ("nums", "q")
    (insert,), _ = read([message("c", after=after)], TABLE)
    assert insert.fault is None
    (ours,), _ = read([message(after=after, source={"version": "3.6.3.usuarios-cdc"})], TABLE)
    assert ours.fault is None


FLAT = {"id": 1, "nome": "n", "bio": "b", "nums": [], "__op": "u", "__lsn": 7, "__table": "t", "__source_ts_ms": 5000}


@pytest.mark.parametrize(
    ("changed", "op", "lsn"),
    [
        ({}, Op.UPDATE, 7), ({"__deleted": "true", "__op": "d"}, Op.DELETE, 7), ({"__deleted": "false"}, Op.UPDATE, 7),
        ({"__op": "r", "__lsn": None}, Op.READ, 0), ({"__source_ts_us": 5_000_000}, Op.UPDATE, 7),
    ],
)  # fmt: skip
def test_a_flattened_event_with_a_position_is_merged(changed: dict[str, Any], op: Op, lsn: int) -> None:
    found = decode(json.dumps(FLAT | changed).encode(), TABLE, 1)
    assert (found.op, found.position.lsn, found.row["nome"]) == (op, lsn, "n")
    assert found.committed_at == datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)
    assert not [name for name in found.row if name.startswith("__")]


@pytest.mark.parametrize("own", [{"source": "s"}, {"op": 5}, {"op": "c", "source": "s"}, {"payload": "p"}])
@pytest.mark.parametrize("is_wrapped", [False, True])
def test_a_flattened_row_may_have_columns_named_like_the_parts_of_an_envelope(
    own: dict[str, Any], *, is_wrapped: bool
) -> None:
    row = FLAT | own
    body: dict[str, Any] = {"schema": {"type": "struct", "fields": []}, "payload": row} if is_wrapped else row
    found = decode(json.dumps(body).encode(), TABLE, 1)
    assert {name: found.row[name] for name in own} == own


@pytest.mark.parametrize("lacking", ["__op", "__lsn", "__source_ts_ms"])
def test_a_flattened_event_without_a_position_is_refused_with_a_hint(lacking: str) -> None:
    for without in ({lacking}, {name for name in FLAT if name.startswith("__")}):
        body = {name: value for name, value in FLAT.items() if name not in without}
        with pytest.raises(RecordFault) as raised:
            decode(json.dumps(body).encode(), TABLE, 1)
        assert raised.value.reason == "flattened"
        assert "add.fields=op,table,lsn" in raised.value.hint


def test_a_name_that_stands_twice_is_refused() -> None:
    body = event("c", 1, {"id": 1, "nome": "a", "bio": '":\\', "nums": []}, table="t")
    assert decode(body, TABLE, 1).row["bio"] == '":\\'
    with pytest.raises(RecordFault) as raised:
        decode(body.replace(b'"nome"', b'"id"'), TABLE, 1)
    assert raised.value.reason == "doubled-name"


def test_a_custom_placeholder_is_known_in_every_form() -> None:
    contract = contract_of(
        "t", "id bigint, bio text, by bytea, ids uuid[], nums int[]", ProducerModes(placeholder="gone")
    )
    row = {
        "id": 1,
        "bio": "gone",
        "by": "Z29uZQ==",
        "ids": ["92c07c50-6eb5-3d20-9c74-74fb2c96f33d"],
        "nums": [103, 111, 110, 101],
    }
    found = decode(message(after=row), contract, 1)
    assert found.unchanged >= {"bio", "by", "nums"}
    assert decode(message(after=row | {"bio": PLACEHOLDER}), contract, 1).row["bio"] == PLACEHOLDER


@pytest.mark.parametrize("own", [PLACEHOLDER, [PLACEHOLDER, "a"], [PLACEHOLDER]])
def test_a_text_that_equals_the_placeholder_is_told_from_it_where_our_publisher_spelt_it_out(own: object) -> None:
    after = {"id": 1, "nome": "n", "bio": own, "nums": None}
    body = message(before=None, after=after)
    spelt = body.replace(f'"{PLACEHOLDER}"'.encode(), f'"\\u005f{PLACEHOLDER[1:]}"'.encode())
    assert spelt != body
    assert json.loads(spelt) == json.loads(body)
    found = decode(spelt, TABLE, 1)
    assert found.unchanged == frozenset()
    assert found.after == after


def with_default(field: dict[str, Any], value: Any, modes: ProducerModes = UNSTATED) -> Change:
    """The change of an event with a schema, whose column `ativo` is described by `field`."""
    fields = [{"field": "id", "type": "int64"}, {"field": "ativo", **field}]
    envelope = json.loads(message("c", after={"id": 1, "ativo": value}))
    schema = {"type": "struct", "fields": [{"field": "after", "type": "struct", "fields": fields}]}
    body = json.dumps({"schema": schema, "payload": envelope}).encode()
    types = {"boolean": "boolean", "string": "timestamptz"}[field["type"]]
    (change,), _ = read([body], contract_of("t", f"id bigint, ativo {types}", modes))
    return change


NOW = {"type": "string", "name": "io.debezium.time.ZonedTimestamp", "default": "1970-01-01T00:00:00.000000Z"}


@pytest.mark.parametrize(
    ("field", "value"),
    [({"type": "boolean", "default": True}, True), (NOW, "1970-01-01T00:00:00.000000Z")],
)
def test_the_default_of_a_nullable_column_may_stand_for_a_null(field: dict[str, Any], value: Any) -> None:
    """Kafka Connect's JsonConverter writes the default for a null; so Debezium 3.6.3 was seen to do."""
    change = with_default(field | {"optional": True}, value)
    assert change.fault is not None
    assert change.fault.where == "ativo"
    assert "replace.null.with.default" in change.fault.what
    assert with_default(field | {"optional": True}, value, ProducerModes(is_null_replaced=False)).fault is None
    assert with_default(field | {"optional": False}, value).fault is None
    assert with_default(field | {"optional": True}, None).fault is None


@pytest.mark.parametrize("modes", [UNSTATED, ProducerModes(decimal="double")])
@pytest.mark.parametrize("value", ["Infinity", "-Infinity"])
def test_a_double_without_end_may_be_a_number_too_great_for_it(value: str, modes: ProducerModes) -> None:
    change = one("numeric", value, modes)
    assert change.fault is not None
    assert "too great" in change.fault.what
    assert one("numeric", value, ProducerModes(decimal="string")).values["v"] == value
    assert one("double precision", value, modes).fault is None


@pytest.mark.parametrize("milliseconds", [-2_000_000_000_000, 100_000_000_000, 7_000_000_000_000])
def test_a_time_of_a_century_as_milliseconds_is_no_time_of_1970_where_nothing_is_stated(milliseconds: int) -> None:
    assert one("timestamp", milliseconds).fault is not None
    assert one("timestamp", milliseconds, ProducerModes(time="adaptive")).fault is None


@pytest.mark.parametrize("types", ["name", "bit(3)[]", "varbit(3)[]"])
def test_a_null_of_a_type_that_debezium_cannot_read_is_set_aside(types: str) -> None:
    change = one(types, None)
    assert change.fault is not None
    assert change.fault.where == "v"
    assert one(types, None, version="3.6.3.usuarios-cdc").fault is None


def test_bytes_of_an_unknown_type_are_not_taken_for_its_text() -> None:
    change = one("ean13", "OTc4LTAtMzkzLTA0MDAyLTk=")
    assert change.fault is not None
    assert one("isbn", "0-393-04002-X").values["v"] == "0-393-04002-X"
    assert one("ean13", "978-0-393-04002-9", version="3.6.3.usuarios-cdc").fault is None


@pytest.mark.parametrize(
    ("types", "modes", "is_plain"),
    [
        ("bit(128)", UNSTATED, True), ("bit(129)", UNSTATED, False), ("varbit(5)", UNSTATED, True),
        ("varbit", UNSTATED, False), ("bytea", UNSTATED, False), ("bytea", ProducerModes(binary="bytes"), True),
        ("bytea", ProducerModes(binary="hex"), True), ("date[]", UNSTATED, False),
        ("date[]", ProducerModes(time="adaptive"), True),
    ],
)  # fmt: skip
def test_a_null_is_plain_where_no_mode_that_is_allowed_gives_it_for_an_unchanged_value(
    types: str, modes: ProducerModes, *, is_plain: bool
) -> None:
    body = message("u", after={"id": 1, "v": None})
    (change,), _ = read([body], contract_of("t", f"id bigint, v {types}", modes))
    assert (change.fault is None) is is_plain
