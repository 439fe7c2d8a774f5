from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cdc import raw
from cdc.errors import FatalFault, RecordFault
from cdc.raw import RawLine
from cdc_consumer.batch import OpenBatch, Place, build
from cdc_consumer.filing import file_record
from cdc_consumer.stream import Record as Arrived
from cdc_ops.replay_read import in_file, in_order, in_raw, quarantined
from cdc_ops.replay_record import Record, decode_line, encode_line
from cdc_ops.replay_selection import Piece, Selection, find
from compactor.change import Origin
from compactor.quarantine import quarantine
from tests.raw_zone import START, MemoryObjects, ShardWriter, event

TABLES = {("public", "Usuários"): "usuarios"}


def records(store: MemoryObjects, **selection: Any) -> list[Record]:
    return list(in_order(find(store, "quarantine", Selection(**selection)), quarantined(store)))


def test_payloads_of_both_programs_come_back_byte_for_byte_in_the_order_of_the_shard() -> None:
    store = MemoryObjects()
    payloads = [b"\xff\x00 no text", b"{no json", b'{"a":\n 1}']
    opened = OpenBatch()
    for seq, payload in zip((3, 5, 9), payloads, strict=True):
        opened.add(file_record("0", Arrived(str(seq), START, payload), TABLES))
    batch = build(Place("s", "0", "2"), opened, ["usuarios"])
    for lost in batch.quarantine:
        store.put_new(lost.path, lost.body)
    body = event("c", 5, {"id": 1, "nome": "José", "bio": "\u2028"})
    line = RawLine("0", "7", 2, START.isoformat(), msgspec.Raw(body), 42)
    name = f"s~0~{raw.padded(2)}~{raw.padded(9)}"
    quarantine(store, "usuarios", [(Origin("s/0", 7, 2, line, name), (RecordFault("no-key", "the key is null"),))])
    found = records(store)
    assert [(record.number, record.sub, record.payload) for record in found] == [
        (3, 0, payloads[0]), (5, 0, payloads[1]), (7, 2, body), (9, 0, payloads[2]),
    ]  # fmt: skip
    assert [record.reason for record in found] == ["not-utf8", "not-json", "no-key", "no-table"]
    assert {(record.table, record.schema_id) for record in found} == {(None, None), ("usuarios", 42)}
    assert {record.shard for record in found} == {"s/0"}


def test_a_record_in_two_objects_comes_once_and_a_later_batch_after_an_earlier_one() -> None:
    def read(piece: Piece) -> list[Record]:
        return [
            Record(piece.shard_id, number, 0, START + timedelta(seconds=number), b"x", piece.path)
            for number in range(piece.after + 1, piece.upto + 1)
        ]

    def piece(after: int, upto: int, shard: str = "0") -> Piece:
        return Piece(f"{shard}~{after}~{upto}", "s", shard, after, upto, "2026/11/21")

    some = [piece(100, 120), piece(0, 10), piece(5, 12), piece(12, 20), piece(9, 11)]
    assert [record.number for record in in_order(some, read)] == [*range(1, 21), *range(101, 121)]
    # Across shards as they arrived.
    both = [(record.shard, record.number) for record in in_order([piece(0, 3), piece(1, 4, "1")], read)]
    assert both == [("s/0", 1), ("s/0", 2), ("s/1", 2), ("s/0", 3), ("s/1", 3), ("s/1", 4)]


def test_a_clock_that_steps_back_does_not_change_the_order_of_a_shard() -> None:
    times = {1: 5, 2: 1, 3: 6}
    some = [Piece("p", "s", "0", 0, 3, "2026/11/21")]
    found = in_order(
        some, lambda piece: [Record("s/0", n, 0, START + timedelta(seconds=t), b"x", "p") for n, t in times.items()]
    )
    assert [record.number for record in found] == [1, 2, 3]


def test_raw_is_read_by_its_batch_records_and_what_a_crash_left_is_not() -> None:
    store = MemoryObjects()
    shard = ShardWriter(store)
    shard.batch([event("c", 5, {"id": 1}), event("c", 6, {"id": 2})])
    (path,) = [path for path in store.objects if path.startswith("postgres/")]
    left = raw.object_path("usuarios", shard.stream, shard.shard, 0, 1, START)
    store.put_new(left, store.get(path))
    told: list[Piece] = []
    found = list(in_order(find(store, "raw", Selection(path="postgres/")), in_raw(store, told.append)))
    assert [(record.number, record.payload) for record in found] == [
        (1, event("c", 5, {"id": 1})),
        (2, event("c", 6, {"id": 2})),
    ]
    assert [piece.path for piece in told] == [left]


@pytest.mark.parametrize(
    "damage",
    [b"", b"no gzip", gzip.compress(b'{"seq": 1}\n'), gzip.compress(b"\xff\n")],
    ids=["empty", "no gzip", "no line", "no text"],
)
def test_an_object_that_cannot_be_read_is_named(damage: bytes) -> None:
    store = MemoryObjects()
    path = f"no-key/2026/11/21/t~s~0~{raw.padded(0)}~{raw.padded(9)}~0a.json.gz"
    store.objects[path] = damage
    with pytest.raises(FatalFault, match="cannot be read") as caught:
        records(store)
    assert caught.value.where == path


def test_a_raw_object_with_another_checksum_stops_the_replay() -> None:
    store = MemoryObjects()
    ShardWriter(store).batch([event("c", 5, {"id": 1})])
    (path,) = [path for path in store.objects if path.startswith("postgres/")]
    store.objects[path] += b"x"
    with pytest.raises(FatalFault, match="not the one that its batch record names"):
        list(in_order(find(store, "raw", Selection(path="postgres/")), in_raw(store, lambda _: None)))


@pytest.mark.parametrize("payload", [b'{"a": 1}', b'{"a":\n1}', b" {}", b"\xff", b"{no", b'{"a":"\xff"}', b"[" * 9999])
def test_a_line_of_a_file_has_the_payload_byte_for_byte(payload: bytes) -> None:
    record = Record(
        "s/0", 10**50, 3, datetime(2026, 11, 21, 1, 2, 3, 456000, tzinfo=UTC), payload, "f", "t", "no-key", 7
    )
    line = encode_line(record)
    assert b"\n" not in line
    assert decode_line(line, "f", 1) == record
    assert ("event" in json.loads(line)) == (payload == b'{"a": 1}')


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_line_that_is_none_is_named_by_its_number_and_not_quoted(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"some{suffix}"
    good = encode_line(Record("s/0", 1, 0, START, b"{}", "x"))
    for bad in (b"secret", b'{"secret": 1}', good.replace(b'"seq":"1"', b'"seq":"secret"'), good.replace(b"{}", b"{")):
        content = good + b"\n\n" + bad + b"\n"
        path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
        with pytest.raises(FatalFault, match="line 3") as caught:
            list(in_file(path))
        assert "secret" not in str(caught.value)


def test_a_file_that_is_missing_or_cut_off_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl.gz"
    with pytest.raises(FatalFault, match="FileNotFoundError"):
        list(in_file(path))
    path.write_bytes(gzip.compress(encode_line(Record("s/0", 1, 0, START, b"{}", "x")))[:-9])
    with pytest.raises(FatalFault, match="cannot be read"):
        list(in_file(path))
