"""Micro-batches: the same bytes again, and a chain that covers every record once, however it is cut."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from cdc.raw import decode_object
from cdc_consumer.batch import Batch, Closing, OpenBatch, Place, build
from cdc_consumer.filing import file_record
from cdc_consumer.resume import reached
from cdc_consumer.stream import Record

STREAM, SHARD = "usuarios-20261121T120000Z", "shardId-000000000000"
TABLES = {("public", "Usuários"): "usuarios", ("public", "pedidos"): "pedidos"}
ARRIVED = datetime(2026, 11, 21, 23, 59, 59, 987000, tzinfo=UTC)


def event(number: int, table: str = "Usuários", op: str = "c") -> bytes:
    source = {"schema": "public", "table": table, "lsn": number, "ts_us": 1_700_000_000_000_000 + number}
    return json.dumps({"op": op, "source": source, "after": {"id": number}}, ensure_ascii=False).encode()


def record(number: int, data: bytes) -> Record:
    return Record(f"000{number}", ARRIVED + timedelta(milliseconds=number), data)


def build_batch(after: int, records: Sequence[Record], closing: Closing | None = None) -> Batch:
    open_batch = OpenBatch()
    for one in records:
        open_batch.add(file_record(SHARD, one, TABLES))
    return build(Place(STREAM, SHARD, str(after)), open_batch, TABLES.values(), closing)


def mixed() -> list[Record]:
    payloads = [
        event(1),
        b"\xffgarbage",
        event(3, "pedidos"),
        b"",
        event(9, "other"),
        b'{"ts_ms":1}',
        event(4),
        b"{",
        event(99, op="r"),
    ]
    return [record(number, payload) for number, payload in enumerate(payloads, start=101)]


def test_a_batch_has_one_object_a_table_and_counts_all_else() -> None:
    batch = build_batch(100, mixed())
    assert [(ref.table, ref.records) for ref in batch.record.objects] == [("pedidos", 1), ("usuarios", 3)]
    assert (batch.record.quarantined, batch.record.empty, batch.record.left_out) == (2, 1, 2)
    assert batch.left_out == {"no-contract": 1, "heartbeat": 1}
    assert (batch.record.after, batch.record.upto) == ("100", "000109")
    assert not batch.record.closed
    assert batch.path == f"_batches/{STREAM}/{SHARD}/{'109':0>56}~{'100':0>56}.json"
    (_, (path, body)) = batch.objects
    assert path == f"postgres/json/usuarios/2026/11/22/{STREAM}~{SHARD}~{'100':0>56}~{'109':0>56}.json.gz"
    lines = decode_object(body, batch.record.objects[1])
    assert [(line.seq, line.sub, line.arrived_at) for line in lines] == [
        ("000101", 0, "2026-11-22T00:00:00.088Z"),
        ("000107", 0, "2026-11-22T00:00:00.094Z"),
        ("000109", 0, "2026-11-22T00:00:00.096Z"),
    ]
    assert bytes(lines[0].event) == event(1)


def test_the_quarantine_keeps_the_bytes_and_the_place() -> None:
    batch = build_batch(100, mixed())
    assert {item.reason: item.records for item in batch.quarantine} == {"not-utf8": 1, "not-json": 1}
    for item in batch.quarantine:
        (line,) = (json.loads(text) for text in gzip.decompress(item.body).splitlines())
        assert set(line) == {"shard", "seq", "sub", "arrived_at", "reason", "payload"}
        assert item.path.startswith(f"{item.reason}/2026/11/22/{STREAM}~{SHARD}~")
        assert base64.b64decode(line["payload"]) == {"not-utf8": b"\xffgarbage", "not-json": b"{"}[item.reason]


def heartbeat(number: int) -> bytes:
    return event(number, op="m").replace(b'"op"', b'"message": {"prefix": "cdc.heartbeat"}, "op"')


def test_evidence_is_the_latest_heartbeat_and_nothing_else() -> None:
    assert build_batch(100, mixed()).record.evidence is None
    beats = [record(number, heartbeat(lsn)) for number, lsn in ((110, 5), (111, 9), (112, 7))]
    evidence = build_batch(100, [*mixed(), *beats]).record.evidence
    assert evidence is not None
    assert evidence.lsn == 9
    assert evidence.committed_at == datetime.fromtimestamp(1_700_000_000, UTC) + timedelta(microseconds=9)


def test_a_batch_without_anything_to_keep_still_moves_the_chain() -> None:
    batch = build_batch(7, [record(8, b""), record(9, b'{"ts_ms":1}')])
    assert batch.objects == ()
    assert (batch.record.upto, batch.record.empty, batch.record.left_out) == ("0009", 1, 1)


def test_closing_without_records_ends_at_the_shards_end() -> None:
    record_ = build_batch(7, [], Closing("55", ("b", "a"))).record
    assert (record_.after, record_.upto, record_.closed, record_.children) == ("7", "55", True, ("a", "b"))


def test_closing_always_moves_on() -> None:
    assert build_batch(7, [], Closing("7", ())).record.upto == "8"
    assert build_batch(7, [], Closing(None, ())).record.upto == "8"


def test_the_same_records_give_the_same_bytes() -> None:
    assert build_batch(100, mixed()) == build_batch(100, mixed())


@given(
    payloads=st.lists(
        st.one_of(st.integers(1, 999).map(event), st.just(b""), st.binary(max_size=8)), min_size=1, max_size=30
    ),
    data=st.data(),
)
def test_any_cuts_and_crashes_cover_every_record_once(payloads: list[bytes], data: st.DataObject) -> None:
    """Batches are cut anywhere; after each one the worker may crash and begin anew at any earlier end of a batch."""
    records = [record(number, payload) for number, payload in enumerate(payloads, start=1)]
    batches: list[Batch] = []
    position = 0
    crashes = 0
    while position < len(records):
        upto = data.draw(st.integers(position + 1, len(records)), label="upto")
        batches.append(build_batch(position, records[position:upto]))
        position = upto
        if crashes < 3 and data.draw(st.booleans(), label="crash"):
            crashes += 1
            position = data.draw(st.sampled_from([0, *(int(b.record.upto) for b in batches)]), label="restart at")

    links = sorted({(int(batch.record.upto), int(batch.record.after)) for batch in batches})
    last = reached(0, ((after, end) for end, after in links))
    assert last is not None
    assert last[1] == len(records)

    kept: dict[int, bytes] = {}
    covered = 0
    counted = 0
    for batch in sorted(batches, key=lambda one: int(one.record.upto)):
        assert int(batch.record.after) <= covered
        inside = range(covered + 1, int(batch.record.upto) + 1)
        for ref, (_, body) in zip(batch.record.objects, batch.objects, strict=True):
            for line in decode_object(body, ref):
                if int(line.seq) in inside:
                    assert int(line.seq) not in kept
                    kept[int(line.seq)] = bytes(line.event)
        for item in batch.quarantine:
            for text in gzip.decompress(item.body).splitlines():
                line_ = json.loads(text)
                if int(line_["seq"]) in inside:
                    kept[int(line_["seq"])] = base64.b64decode(line_["payload"])
        total = sum(ref.records for ref in batch.record.objects)
        counted = total + batch.record.quarantined + batch.record.left_out + batch.record.empty
        assert counted == int(batch.record.upto) - int(batch.record.after)
        covered = max(covered, int(batch.record.upto))
    assert covered == len(records)
    expected = {number: payload for number, payload in enumerate(payloads, start=1) if payload}
    assert kept == expected
