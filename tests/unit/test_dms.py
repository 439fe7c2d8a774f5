"""DMS records to change events: the recorded ones, null against absent, key changes, and settings seen to be off."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from cdc.contract import TableContract, parse_contract
from cdc.decode import decode
from cdc.errors import RecordFault
from cdc.event import ChangeEvent, Op
from cdc.position import Position, parse_lsn
from cdc.raw import RawLine
from compactor.change import SET_ASIDE, ChangeReader
from tests.conftest import ROOT
from tests.dms_records import metadata, record
from tests.raw_zone import event as debezium_event

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: urn:test
version: 1.0.0
status: active
schema:
  - name: foo
    customProperties: [{property: sourceTable, value: public.foo}]
    properties:
      - {name: id, physicalType: integer, primaryKey: true, classification: internal}
      - {name: name, physicalType: text, classification: internal}
      - {name: age, physicalType: integer, classification: internal}
      - {name: attributes, physicalType: jsonb, classification: internal}
slaProperties: [{property: latency, value: 60, unit: s}]
"""
FOO = parse_contract(CONTRACT)
FULL = replace(FOO, dms_full_images=True)
PAIR = parse_contract(
    CONTRACT.replace("name: age, physicalType: integer,", "name: age, physicalType: integer, primaryKey: true,")
)
GOLDEN = [
    json.loads(line)
    for line in (ROOT / "tests/golden/dms_postgres_field_samples.jsonl").read_text(encoding="utf-8").splitlines()
]
ROW = {"id": 42, "name": "John", "age": 30, "attributes": '{"foo": "bar"}'}


def decoded(payload: bytes, contract: TableContract = FOO) -> tuple[ChangeEvent, ...]:
    return decode(payload, contract, 1)


def only(payload: bytes, contract: TableContract = FOO) -> ChangeEvent:
    (event,) = decoded(payload, contract)
    return event


def reason(event: ChangeEvent) -> str | None:
    return event.fault.reason if event.fault else None


def test_the_recorded_records_decode() -> None:
    by_what = {sample["what"]: decoded(json.dumps(sample["record"], indent=2).encode()) for sample in GOLDEN}
    # The task's own drop-table and create-table, and the exceptions table, change no row.
    assert [what for what, events in by_what.items() if not events] == [
        "task start: drop-table", "task start: create-table", "DMS's own exceptions table",
    ]  # fmt: skip
    (load,) = by_what["full load"]
    assert (load.op, load.position, load.after, load.before) == (Op.READ, Position(1, 0), ROW, None)
    assert load.committed_at == datetime(2024, 7, 29, 0, 57, 35, 691762, UTC)
    (insert,) = by_what["insert"]
    assert (insert.op, insert.position) == (Op.CREATE, Position(1, 0x27C007178, 1))
    assert insert.after == {"id": 46, "name": "Jane", "age": 31, "attributes": '{"baz": "qux"}'}
    assert insert.committed_at == datetime(2024, 7, 29, 0, 58, 17, 974340, UTC)
    (update,) = by_what["update, key unchanged"]
    assert (update.op, update.position, update.after) == (Op.UPDATE, Position(1, 0x27C007328, 1), {**ROW, "age": 33})
    gone, come = by_what["update of the primary key 46 to 45"]
    assert (gone.op, gone.before, come.op, come.row["id"]) == (Op.DELETE, {"id": 46}, Op.CREATE, 45)
    assert gone.position == come.position == Position(1, parse_lsn("2/7C0073F8"), 1)
    (delete,) = by_what["delete"]
    assert (delete.op, delete.before, delete.position.lsn) == (Op.DELETE, {"id": 45}, parse_lsn("2/840001D8"))
    events = [event for events in by_what.values() for event in events]
    assert {(event.schema, event.table) for event in events} == {("public", "foo")}
    assert not [event for event in events if event.fault or event.unchanged]


def test_debezium_is_told_apart_by_the_message_itself() -> None:
    # A row that has columns named as DMS's parts are.
    row = {**ROW, "data": "x", "metadata": {"operation": "update", "record-type": "data"}}
    assert only(debezium_event("c", 7, row, table="foo")).position == Position(1, 7)


@pytest.mark.parametrize(
    ("operation", "missing", "contract", "expected"),
    [
        # A full row is read by load and insert: null is null.
        ("load", None, FOO, "merged"), ("insert", None, FOO, "merged"), ("load", None, FULL, "merged"),
        # An update's null in a column that may be TOASTed is unknown, unless the contract states full images.
        ("update", None, FOO, "dms-ambiguous-null"), ("update", None, FULL, "merged"),
        # An absent column is no null: IncludeNullAndEmpty is off.
        ("load", "absent", FOO, "dms-column-absent"), ("insert", "absent", FOO, "dms-column-absent"),
        ("update", "absent", FOO, "dms-column-absent"), ("update", "absent", FULL, "dms-column-absent"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("column", ["name", "attributes"])
def test_null_against_absent(
    operation: str, missing: str | None, contract: TableContract, expected: str, column: str
) -> None:
    row = {name: value for name, value in ROW.items() if name != column}
    event = only(record(operation, row if missing else {**row, column: None}, 7), contract)
    assert (reason(event) or "merged") == expected
    if event.fault:
        assert event.fault.where == column
        assert event.row["id"] == 42
    else:
        assert event.row[column] is None


def test_every_column_at_fault_is_told() -> None:
    row = {name: value for name, value in ROW.items() if name != "attributes"} | {"name": None}
    event = only(record("update", row, 7))
    assert {(fault.where, fault.reason) for fault in event.faults} == {
        ("name", "dms-ambiguous-null"),
        ("attributes", "dms-column-absent"),
    }


def test_a_null_of_a_type_that_is_never_toasted_is_null() -> None:
    event = only(record("update", {**ROW, "age": None}, 7))
    assert (event.fault, event.row["age"]) == (None, None)


def test_an_empty_text_is_no_null() -> None:
    assert only(record("update", {**ROW, "name": ""}, 7)).row["name"] == ""


def test_a_before_image_does_not_say_that_a_null_is_one() -> None:
    # DMS leaves LOBs out of before images and has no mark for "unchanged": neither of the two tells.
    for before in ({**ROW}, {**ROW, "name": None}, {"id": 42}):
        assert reason(only(record("update", {**ROW, "name": None}, 7, before=before))) == "dms-ambiguous-null"


def test_an_empty_before_image_contradicts_full_images() -> None:
    row = {**ROW, "name": None}
    assert reason(only(record("update", row, 7, before={}), FULL)) == "dms-ambiguous-null"
    assert reason(only(record("update", row, 7, before={"id": 42}), FULL)) is None


@pytest.mark.parametrize("name", ["before-image", "antes", "bi"])
def test_the_before_image_may_have_any_name(name: str) -> None:
    payload = record("update", ROW, 7, before={"id": 46}).replace(b"before-image", name.encode())
    gone, come = decoded(payload)
    assert (gone.before, come.row) == ({"id": 46}, ROW)


def test_a_key_change_whose_row_cannot_be_told_still_removes_the_old_key() -> None:
    gone, come = decoded(record("update", {**ROW, "name": None}, 7, before={"id": 46}))
    assert (gone.op, gone.fault, come.op, reason(come)) == (Op.DELETE, None, Op.CREATE, "dms-ambiguous-null")


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ({}, ["u"]), ({"id": 42, "age": 30}, ["u"]), ({"id": 42, "age": 31}, ["d", "c"]), ({"id": 9, "age": 30}, ["d", "c"]),
        ({"id": None, "age": None}, ["u"]), ({"name": "Jane"}, ["u"]), ({"id": 9}, ["dms-partial-key"]),
        ({"id": 42}, ["dms-partial-key"]), ({"id": 9, "age": None}, ["dms-partial-key"]), ({"id": "x", "age": 1}, ["value-not-held"]),
    ],
)  # fmt: skip
def test_the_before_image_of_a_composite_key(before: dict[str, Any], expected: list[str]) -> None:
    events = decoded(record("update", ROW, 7, before=before), PAIR)
    assert [reason(event) or event.op.value for event in events] == expected


@pytest.mark.parametrize("before", [46, "46", 46.0])
def test_keys_are_compared_as_values(before: Any) -> None:
    assert [event.op for event in decoded(record("update", {**ROW, "id": 46}, 7, before={"id": before}))] == [Op.UPDATE]


def test_before_columns_are_not_supported_and_said_so() -> None:
    event = only(record("update", {**ROW, "BI_id": 46}, 7))
    assert event.fault is not None
    assert event.fault.reason == "dms-before-columns"
    assert "BeforeImageSettings" in event.fault.hint


@pytest.mark.parametrize(
    "row",
    [
        {"id": 45},
        {"id": 45, "name": None, "age": None, "attributes": None},
        {**ROW, "id": 45},
        {"id": "45", "age": "?"},
    ],
)
def test_a_delete_needs_its_key_only(row: dict[str, Any]) -> None:
    event = only(record("delete", row, 7, 3))
    assert (event.op, event.before, event.after, event.position) == (Op.DELETE, {"id": 45}, None, Position(1, 7, 3))


def test_positions_are_numbers() -> None:
    position = {"stream-position": "00000009/FFFFFFFF.3.00000009/FFFFFFFF"}, {"stream-position": "A/0.12.A/0"}
    first, second = (
        only(msgspec.json.encode({"data": ROW, "metadata": metadata("insert", 1) | stated})).position
        for stated in position
    )
    assert first < second == Position(1, 0xA00000000, 1)
    assert only(record("insert", ROW, 7, 9)).position < only(record("insert", ROW, 7, 10)).position


@pytest.mark.parametrize(
    ("changed", "expected", "named"),
    [
        ({"stream-position": None}, "dms-no-position", "IncludeTransactionDetails"),
        ({"transaction-record-id": None}, "dms-no-position", "IncludeTransactionDetails"),
        ({"commit-timestamp": None}, "no-commit-time", "IncludeTransactionDetails"),
        ({"commit-timestamp": "2024-07-29T00:58:17"}, "no-commit-time", "zone"),
        ({"commit-timestamp": "yesterday"}, "no-commit-time", "commit-timestamp"),
        ({"stream-position": "mysql-bin.000001:4:5"}, "dms-no-position", "Postgres"),
        ({"stream-position": "00000000/00000000.1.00000000/00000000"}, "dms-no-position", "Postgres"),
        ({"stream-position": "FFFFFFFF/FFFFFFFF.1.FFFFFFFF/FFFFFFFF"}, "dms-no-position", "Postgres"),
        ({"transaction-record-id": 2**63}, "dms-no-position", "Postgres"),
        ({"transaction-record-id": "1"}, "not-dms", "DMS"),
        ({"operation": "merge"}, "unknown-op", "operation"), ({"record-type": "other"}, "unknown-op", "operation"),
    ],
)  # fmt: skip
def test_what_the_metadata_must_tell(changed: dict[str, Any], expected: str, named: str) -> None:
    stated = {name: value for name, value in (metadata("update", 7) | changed).items() if value is not None}
    with pytest.raises(RecordFault) as raised:
        decoded(msgspec.json.encode({"data": ROW, "metadata": stated}))
    assert raised.value.reason == expected
    assert named in str(raised.value)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (record("update", {**ROW, "id": None}, 7), "no-key"), (record("delete", {"name": "x"}, 7), "no-key"),
        (record("update", {**ROW, "id": "secret"}, 7), "value-not-held"),
        (msgspec.json.encode({"metadata": metadata("update", 7)}), "no-row"),
        (msgspec.json.encode({"data": None, "metadata": metadata("update", 7)}), "no-row"),
        (msgspec.json.encode({"data": [1], "metadata": metadata("update", 7)}), "not-dms"),
        (record("update", {**ROW, "age": 1}, 7).replace(b'"age": 1', b'"age": 1e99999'), "not-dms"),
        (record("update", {**ROW, "age": 1}, 7).replace(b'"age": 1', b'"age": ' + b"[" * 5000 + b"]" * 5000), "not-debezium"),
        (b'{"metadata": {"operation": 1}}', "not-dms"), (b'{"metadata": 7}', "not-debezium"),
    ],
)  # fmt: skip
def test_what_is_no_change_is_a_fault_with_a_reason_and_no_value(payload: bytes, expected: str) -> None:
    with pytest.raises(RecordFault) as raised:
        decoded(payload)
    assert raised.value.reason == expected
    assert "secret" not in str(raised.value)


def test_two_parts_that_could_be_the_before_image_are_refused() -> None:
    payload = msgspec.json.encode({"data": ROW, "metadata": metadata("update", 7), "a": {}, "b": {"id": 46}})
    assert reason(only(payload)) == "not-dms"


def test_a_set_aside_change_keeps_its_key_so_that_history_is_marked() -> None:
    reader = ChangeReader(FOO, b"k" * 32)

    def line(number: int, payload: bytes) -> RawLine:
        return RawLine("0", str(number), 0, "", msgspec.Raw(payload))

    changes, rejected = reader.read("s/0", "b", [
        line(1, record("update", {**ROW, "name": None}, 7)), line(2, record("insert", {**ROW, "new": 1.5}, 8)),
        line(3, record("update", {**ROW, "id": None}, 9)), line(4, msgspec.json.encode(GOLDEN[0]["record"])),
    ])  # fmt: skip
    assert [(change.key, change.op) for change in changes] == [((42,), SET_ASIDE), ((42,), "c")]
    assert [record.fault.reason for record in rejected] == ["no-key"]
    assert set(reader.seen) == {"new"}


@pytest.mark.parametrize(
    ("once", "twice"),
    [
        ('"age": 30', '"age": 30, "age": 31'), ('"id": 42', '"id": 42, "id": 43'), ('"name": "John"', '"name": "John", "new": 1, "new": 2'),
        ('"operation": "update"', '"operation": "update", "operation": "delete"'), ('"id": 7', '"id": 7, "id": 42'),
        ('"name": "John"', '"name": "a\\":", "name": "b"'), ('"metadata": {', '"metadata": {}, "metadata": {'), ('"data": {', '"data": {"id": 1}, "data": {'),
        ('"age": 30', '"age" : 30, "age": 31, "o": {"a": 1, "a": 2}'),
    ],
)  # fmt: skip
def test_a_name_that_stands_twice_is_refused(once: str, twice: str) -> None:
    payload = json.dumps({"data": ROW, "metadata": metadata("update", 7), "before-image": {"id": 7}})
    assert once in payload
    with pytest.raises(RecordFault) as raised:
        decoded(payload.replace(once, twice, 1).encode())
    assert raised.value.reason == "doubled-name"


@pytest.mark.parametrize("name", ["a", "é", 'a":b'])
def test_signs_of_a_name_in_a_text_are_no_second_name(name: str) -> None:
    row = {**ROW, "name": f'"{name}":', "attributes": json.dumps({name: {name: 1}}), 'x":': "\\", "y\\": 1}
    assert only(record("insert", row, 7)).row["name"] == f'"{name}":'


@pytest.mark.parametrize("part", ["1.0", 7, 1.5, True, None])
def test_parts_that_are_no_image_do_not_matter(part: object) -> None:
    # A field that a later DMS may add beside data and metadata, and the settings that add to metadata.
    stated = {**metadata("update", 7), "partition-key-value": "42", "new": {"a": [1]}}
    payload = msgspec.json.encode({"data": ROW, "metadata": stated, "before-image": {"id": 46}, "version": part})
    assert [event.op for event in decoded(payload)] == [Op.DELETE, Op.CREATE]


@pytest.mark.parametrize("part", [[], [{"id": 46}]])
def test_a_part_that_is_a_list_is_no_missing_before_image(part: object) -> None:
    with pytest.raises(RecordFault, match="no record of AWS DMS"):
        decoded(msgspec.json.encode({"data": ROW, "metadata": metadata("update", 7), "before-image": part}))
