"""Micro-batches, built purely: the records of a shard in (after, upto] become objects and their batch record.

The same records give the same bytes again: nothing here knows a clock or a worker's name.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from cdc.raw import (
    BatchRecord,
    Evidence,
    ObjectRef,
    RawLine,
    SnapshotMark,
    batch_path,
    encode_lines,
    object_path,
    padded,
    sha256,
)
from cdc_consumer.avro import JsonValue, without_registry
from cdc_consumer.kinesis import Record
from cdc_consumer.routing import Commit, Empty, LeftOut, Route, Tables, ToQuarantine, ToTable, route

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Place:
    """Which shard of which stream (by its identity), and where a batch begins: after this sequence number."""

    stream: str
    shard: str
    after: str


@dataclass(frozen=True, slots=True)
class Filed:
    """A record that was read: its number, when it arrived, where it goes, and the line it becomes there, if any."""

    seq: str
    arrived_at: datetime
    route: Route
    line: bytes


@dataclass(frozen=True, slots=True)
class Closing:
    """The end of a closed shard: the last number it can have, and the shards that follow it."""

    ending: str | None
    children: tuple[str, ...]


class QuarantineLine(msgspec.Struct, frozen=True):
    """One record that could not be read: its place in the stream, why, and its payload untouched, in base64."""

    shard: str
    seq: str
    sub: int
    arrived_at: str
    reason: str
    payload: str


@dataclass(frozen=True, slots=True)
class QuarantineObject:
    """An object for the quarantine, and what a log line may say about it."""

    path: str
    body: bytes
    reason: str
    records: int
    seq_first: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything to write for a micro-batch; `path` and `body` are the batch record's, which is written last."""

    record: BatchRecord
    path: str
    body: bytes
    objects: tuple[tuple[str, bytes], ...]
    quarantine: tuple[QuarantineObject, ...]
    left_out: Mapping[str, int]


def file_record(
    shard: str, record: Record, tables: Tables, from_avro: Callable[[bytes], JsonValue] = without_registry
) -> Filed:
    """Decide where a record goes and make the line that it becomes there; `from_avro` makes JSON of a value in Avro."""
    destination = route(record.data, tables, from_avro)
    line = b""
    if isinstance(destination, ToTable):
        body = msgspec.Raw(destination.line)
        raw = RawLine(shard, record.seq, 0, _text(record.arrived_at), body, destination.schema_id)
        line = _ENCODER.encode(raw)
        destination = ToTable(destination.table, b"")  # one copy of it is enough
    elif isinstance(destination, ToQuarantine):
        payload = base64.b64encode(destination.payload).decode("ascii")
        line = _ENCODER.encode(
            QuarantineLine(shard, record.seq, 0, _text(record.arrived_at), destination.reason, payload)
        )
        destination = ToQuarantine(destination.reason, b"")
    return Filed(record.seq, record.arrived_at, destination, line)


def build(place: Place, filed: Sequence[Filed], tables: Iterable[str], closing: Closing | None = None) -> Batch:
    """The batch of these records, which stand in the order of the shard; none are needed to close a shard.

    `tables` are all lake tables that have a contract now, with records in the batch or not.
    """
    upto = _upto(place, filed, closing)
    bounds = (place.stream, place.shard, int(place.after), int(upto))
    by_table: dict[str, list[Filed]] = {}
    by_reason: dict[str, list[Filed]] = {}
    left_out = Counter[str]()
    empty = 0
    for entry in filed:
        match entry.route:
            case ToTable(table=table):
                by_table.setdefault(table, []).append(entry)
            case ToQuarantine(reason=reason):
                by_reason.setdefault(reason, []).append(entry)
            case LeftOut(reason=reason):
                left_out[reason] += 1
            case Empty():
                empty += 1
    objects = {
        table: (object_path(table, *bounds, entries[0].arrived_at), encode_lines([entry.line for entry in entries]))
        for table, entries in sorted(by_table.items())
    }
    record = BatchRecord(
        stream=place.stream,
        shard=place.shard,
        after=place.after,
        upto=upto,
        objects=tuple(
            ObjectRef(path, table, len(by_table[table]), len(body), sha256(body))
            for table, (path, body) in objects.items()
        ),
        quarantined=sum(map(len, by_reason.values())),
        left_out=left_out.total(),
        empty=empty,
        arrived_at=filed[-1].arrived_at if filed else None,
        evidence=_evidence(filed),
        closed=closing is not None,
        children=tuple(sorted(closing.children)) if closing else (),
        tables=tuple(sorted(set(tables))),
        marks=tuple(
            SnapshotMark(entry.seq, entry.route.word)
            for entry in filed
            if isinstance(entry.route, LeftOut) and entry.route.word is not None
        ),
    )
    return Batch(
        record=record,
        path=batch_path(*bounds),
        body=_ENCODER.encode(record),
        objects=tuple(objects.values()),
        quarantine=tuple(_quarantine(reason, bounds, entries) for reason, entries in sorted(by_reason.items())),
        left_out=left_out,
    )


def _upto(place: Place, filed: Sequence[Filed], closing: Closing | None) -> str:
    if filed:
        return filed[-1].seq
    ending = closing.ending if closing else None
    # A batch that ended where it began would never be new to anybody, so a closing one always moves on.
    return ending if ending is not None and int(ending) > int(place.after) else str(int(place.after) + 1)


def _quarantine(reason: str, bounds: tuple[str, str, int, int], entries: Sequence[Filed]) -> QuarantineObject:
    stream, shard, after, upto = bounds
    day = entries[0].arrived_at.astimezone(UTC).strftime("%Y/%m/%d")
    return QuarantineObject(
        path=f"{reason}/{day}/{stream}~{shard}~{padded(after)}~{padded(upto)}.json.gz",
        body=encode_lines([entry.line for entry in entries]),
        reason=reason,
        records=len(entries),
        seq_first=entries[0].seq,
    )


def _evidence(filed: Iterable[Filed]) -> Evidence | None:
    latest: Commit | None = None
    for entry in filed:
        commit = entry.route.commit if isinstance(entry.route, LeftOut) else None
        if commit is not None and (latest is None or commit > latest):
            latest = commit
    if latest is None:
        return None
    return Evidence(_EPOCH + timedelta(microseconds=latest.committed_us), latest.lsn)


def _text(arrived_at: datetime) -> str:
    return arrived_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
