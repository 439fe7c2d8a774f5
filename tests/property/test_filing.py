"""Filing an aggregate gives the lines that filing its payloads one by one gives, whatever they are."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cdc.raw import RawLine
from cdc_consumer.filing import Filed, Lines, file_record
from cdc_consumer.routing import DEPTH_MAX, Empty, LeftOut, ToQuarantine, ToTable, route
from cdc_consumer.stream import Record
from tests.kpl import aggregate

SHARD, SEQ = "shardId-000000000000", "49680427872712061244468797459882596227026785126995460114"
TABLES = {("public", "Usuários"): "usuarios", ("public", "pedidos"): "pedidos", ("", "x"): "x"}
ARRIVED_AT = datetime(2026, 11, 21, 12, 0, 3, 471999, tzinfo=UTC)


def event(table: str = "Usuários", op: str = "u", **more: object) -> bytes:
    source = {"schema": "public", "table": table, "lsn": 7, "ts_us": 1_700_000_000_000_001}
    return json.dumps(
        {"op": op, "source": source, "after": {"id": 1, "nome": "José"}} | more, ensure_ascii=False
    ).encode()


HOSTILE = [
    b"",
    b" ",
    b"{}",
    b"{}{}",
    b"{} {}",
    b'{"a":"}',
    b'{"}',
    b'{"a":{}',
    b"1}",
    b"[1]",
    b"null",
    b"\xc3",
    b"\xa9",
    b"{\xc3}",
    b'{"op":"u"},{"op":"u"}',
    b'{"x":"\\ud800"}',
    b'{"source":{"schema":"","table":"x"}}',
    b'{"source":{"schema":"public","table":""}}',
    b'{"source":{"table":"pedidos"}}',
    b'{"source":{"schema":"public","table":"pedidos","lsn":"7"}}',
    b'{"source":{"schema":"public","table":"pedidos"},"after":{"x":"a\nb"}}',
    event(),
    event("pedidos"),
    event("sessões"),
    b" " + event(),
    event() + b"\n",
    event() + b"\r\n",
    event() + event(),
    event()[:-1],
    event()[1:],
    event().replace(b", ", b",\r\n  "),
    event().replace(b", ", b",\n"),
    event().replace(b", ", b",\r"),
    event(message={"prefix": "cdc.heartbeat"}, op="m"),
    event(payload={"source": None}),
    event(after="[" * (DEPTH_MAX + 9)),
    event().replace(b'"Jos', b"[" * DEPTH_MAX + b"]" * DEPTH_MAX + b',"x":"Jos'),
    event().replace("é".encode(), b"\xe9"),
    json.dumps({"schema": {}, "payload": json.loads(event())}).encode(),
    json.dumps({"data": {"id": 1}, "metadata": {"record-type": "data", "schema-name": "public", "table-name": "pedidos"}}).encode(),
    b'{"ts_ms":1}',
]  # fmt: skip
payloads = st.one_of(
    st.sampled_from(HOSTILE), st.just(event()), st.binary(max_size=6), st.text(max_size=6).map(str.encode)
)


def one_by_one(record: Record, parts: list[bytes]) -> Filed:
    """The same, written down as plainly as it can be."""
    arrived_at = "2026-11-21T12:00:03.471Z"
    tables: dict[str, list[bytes]] = {}
    quarantine: dict[str, list[bytes]] = {}
    left_out: dict[str, int] = {}
    empty, commits = 0, []
    for sub, payload in enumerate(parts):
        match route(payload, TABLES):
            case ToTable(table, line):
                encoded = msgspec.json.encode(RawLine(SHARD, SEQ, sub, arrived_at, msgspec.Raw(line)))
                tables.setdefault(table, []).append(encoded)
            case ToQuarantine(reason, kept):
                text = base64.b64encode(kept).decode()
                fields: dict[str, Any] = {"shard": SHARD, "seq": SEQ, "sub": sub, "arrived_at": arrived_at}
                quarantine.setdefault(reason, []).append(
                    msgspec.json.encode(fields | {"reason": reason, "payload": text})
                )
            case LeftOut(reason, commit):
                left_out[reason] = left_out.get(reason, 0) + 1
                commits += [commit] if commit else []
            case Empty():
                empty += 1

    def joined(lines: list[bytes]) -> Lines:
        return Lines(len(lines), b"".join(line + b"\n" for line in lines))

    kept_tables = {name: joined(lines) for name, lines in tables.items()}
    set_aside = {name: joined(lines) for name, lines in quarantine.items()}
    size = sum(len(lines.body) for lines in (*kept_tables.values(), *set_aside.values()))
    return Filed(
        record.seq, record.arrived_at, kept_tables, set_aside, left_out, empty, max(commits, default=None), size
    )


@settings(max_examples=600)
@given(st.lists(payloads, max_size=8))
@example([b'{"a":{}', b"{}", b"{}{}"])
@example([b'{"a":"}', b'{"}', b"{}{}"])
@example([b"{}{}", b" "])
@example([event() + event(), b"\t"])
@example([b"{\xc3}", b"{\xa9}"])
@example([event()] * 3 + [b""] * 2)
def test_an_aggregate_is_filed_as_its_payloads_are_one_by_one(parts: list[bytes]) -> None:
    record = Record(SEQ, ARRIVED_AT, aggregate(parts))
    assert file_record(SHARD, record, TABLES) == one_by_one(record, parts)


@pytest.mark.parametrize("payload", HOSTILE)
def test_one_payload_out_of_the_ordinary_among_others(payload: bytes) -> None:
    parts = [event(), payload, event()]
    record = Record(SEQ, ARRIVED_AT, aggregate(parts))
    assert file_record(SHARD, record, TABLES) == one_by_one(record, parts)


@given(payloads)
def test_a_plain_record_is_filed_as_its_payload_is(payload: bytes) -> None:
    record = Record(SEQ, ARRIVED_AT, payload)
    assert file_record(SHARD, record, TABLES) == one_by_one(record, [payload])


def test_all_that_is_in_raw_is_one_json_value_a_line() -> None:
    filed = file_record(SHARD, Record(SEQ, ARRIVED_AT, aggregate(HOSTILE)), TABLES)
    assert set(filed.tables) == {"usuarios", "pedidos", "x"}
    for records, body in filed.tables.values():
        lines = body.splitlines()
        assert len(lines) == records
        for line in lines:
            assert list(json.loads(line)) == ["shard", "seq", "sub", "arrived_at", "event"]


def test_sub_records_keep_their_places_beyond_those_whose_text_is_ready() -> None:
    filed = file_record(SHARD, Record(SEQ, ARRIVED_AT, aggregate([event()] * 2500)), TABLES)
    assert [json.loads(line)["sub"] for line in filed.tables["usuarios"].body.splitlines()] == list(range(2500))
