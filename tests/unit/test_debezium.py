from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.contract import TableContract
from cdc.debezium import PLACEHOLDER, decode, is_placeholder
from cdc.errors import RecordFault
from cdc.event import Op
from cdc.position import Position, format_lsn, parse_lsn
from cdc.postgres_type import parse_type
from tests.conftest import ROOT
from tests.raw_zone import event

GOLDEN = [
    json.loads(line)
    for line in (ROOT / "tests/golden/debezium_13_usuarios_decimal_string.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]


def test_every_recorded_event_decodes(usuarios: TableContract) -> None:
    events = [(record, decode(record["value"].encode(), usuarios, 1)) for record in GOLDEN if record["value"]]
    assert Counter(event.op for _, event in events) == {Op.READ: 5, Op.CREATE: 10, Op.UPDATE: 11, Op.DELETE: 6}
    for record, change in events:
        raw = json.loads(record["value"])
        assert (change.schema, change.table) == ("public", "Usuários")
        assert change.position == Position(1, 0 if change.op is Op.READ else raw["source"]["lsn"])
        assert change.row["id"] == json.loads(record["key"])["id"]
        assert change.committed_at.timestamp() == pytest.approx(raw["source"]["ts_us"] / 1e6)
        assert change.unchanged == {name for name, value in (raw["after"] or {}).items() if value == PLACEHOLDER}


def test_a_key_change_is_a_delete_and_a_create_at_one_position(usuarios: TableContract) -> None:
    gone, _, come = (record["value"] for record in GOLDEN if record["step"] == "pk_change")
    first, second = decode(gone.encode(), usuarios, 1), decode(come.encode(), usuarios, 1)
    assert (first.op, second.op) == (Op.DELETE, Op.CREATE)
    assert first.position == second.position
    assert second.unchanged == {"bio"}


@pytest.mark.parametrize(
    ("type_name", "value", "expected"),
    [
        ("text", PLACEHOLDER, True), ("text", PLACEHOLDER + "x", False), ("jsonb", PLACEHOLDER, True),
        ("bytea", "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==", True), ("bytea", PLACEHOLDER, True),
        ("text", "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==", False), ("text[]", [PLACEHOLDER], True),
        ("text[]", [PLACEHOLDER, "a"], False), ("integer[]", list(PLACEHOLDER.encode()), True),
        ("uuid[]", ["b68a35a7-17ad-35b3-af2a-ae46edb4545a"], True), ("text", None, False),
        ("bytea[]", ["X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="], True),
    ],
)  # fmt: skip
def test_the_placeholder_of_each_type(type_name: str, value: Any, *, expected: bool) -> None:
    assert is_placeholder(value, parse_type(type_name)) is expected


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not-debezium"), (b"{", "not-debezium"), (b"[1]", "not-debezium"), (b'{"op":"c"}', "not-debezium"),
        (b"[" * 100_000, "not-debezium"), (event("x", 1, {"id": 1}), "unknown-op"), (event("c", 1, None), "no-row"),
        (event("u", 0, {"id": 1}), "no-position"), (event("d", 1, None), "no-row"),
        (event("c", 1, {"id": 1}).replace(b"ts_us", b"ts"), "no-commit-time"),
    ],
)  # fmt: skip
def test_what_is_no_change_event_is_a_fault_with_a_reason(payload: bytes, reason: str, usuarios: TableContract) -> None:
    with pytest.raises(RecordFault) as raised:
        decode(payload, usuarios, 1)
    assert raised.value.reason == reason


@given(payload=st.binary(max_size=200))
def test_no_bytes_at_all_raise_anything_else(payload: bytes, usuarios: TableContract) -> None:
    with pytest.raises(RecordFault):
        decode(payload, usuarios, 1)


@given(st.integers(0, 2**64 - 1))
def test_an_lsn_and_its_text_say_the_same(lsn: int) -> None:
    assert parse_lsn(format_lsn(lsn)) == lsn
