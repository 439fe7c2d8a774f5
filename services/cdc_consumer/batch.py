"""Micro-batches, built purely: the records of a shard in (after, upto] become objects and their batch record.

The same records give the same bytes again: nothing here knows a clock or a worker's name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from cdc.gzip_lines import GzipLines
from cdc.raw import BatchRecord, Evidence, ObjectRef, SnapshotMark, batch_path, object_path, padded, sha256
from cdc_consumer.filing import Filed, Lines
from cdc_consumer.routing import Commit

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Place:
    """Which shard of which stream (by its identity), and where a batch begins: after this sequence number."""

    stream: str
    shard: str
    after: str


@dataclass(frozen=True, slots=True)
class Closing:
    """The end of a closed shard: the last number it can have, and the shards that follow it."""

    ending: str | None
    children: tuple[str, ...]


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


class Read(NamedTuple):
    """A record that was read: its number, and when it arrived."""

    seq: str
    arrived_at: datetime


@dataclass(frozen=True, slots=True)
class _Begun:
    """An object that grows, and the first record in it."""

    first: Read
    lines: GzipLines


class OpenBatch:
    """The records read since the last batch, compressed while they come; `records` are those of the stream.

    `size_bytes` is that of their lines before compression.
    """

    def __init__(self) -> None:
        self.records = 0
        self.size_bytes = 0
        self.last: Read | None = None
        self.tables: dict[str, _Begun] = {}
        self.quarantine: dict[str, _Begun] = {}
        self.left_out = Counter[str]()
        self.empty = 0
        self.commit: Commit | None = None
        self.marks: list[SnapshotMark] = []

    def add(self, filed: Filed) -> None:
        """Add the next record of the shard."""
        self.records += 1
        self.size_bytes += filed.size_bytes
        self.last = Read(filed.seq, filed.arrived_at)
        _grow(self.tables, self.last, filed.tables)
        _grow(self.quarantine, self.last, filed.quarantine)
        for reason, records in filed.left_out.items():
            self.left_out[reason] += records
        self.empty += filed.empty
        if filed.commit is not None and (self.commit is None or filed.commit > self.commit):
            self.commit = filed.commit
        self.marks += [SnapshotMark(filed.seq, word) for word in filed.words]


def _grow(begun: dict[str, _Begun], read: Read, lines_by_name: Mapping[str, Lines]) -> None:
    for name, lines in lines_by_name.items():
        if name not in begun:
            begun[name] = _Begun(read, GzipLines())
        begun[name].lines.add(lines.records, lines.body)


def build(
    place: Place,
    records: OpenBatch,
    tables: Iterable[str],
    closing: Closing | None = None,
    reached: str | None = None,
) -> Batch:
    """The batch of these records, which stand in the order of the shard; none are needed to close a shard.

    `tables` are all lake tables that have a contract now, with records in the batch or not. `reached` is how far the
    shard is read, where that is past the last record. The open batch is used up.
    """
    upto = _upto(place, records, closing, reached)
    bounds = (place.stream, place.shard, int(place.after), int(upto))
    objects = {
        table: (object_path(table, *bounds, begun.first.arrived_at), begun.lines.content())
        for table, begun in sorted(records.tables.items())
    }
    record = BatchRecord(
        stream=place.stream,
        shard=place.shard,
        after=place.after,
        upto=upto,
        objects=tuple(
            ObjectRef(path, table, begun.lines.records, len(body), sha256(body), begun.lines.size_bytes)
            for table, (path, body) in objects.items()
            for begun in (records.tables[table],)
        ),
        quarantined=sum(begun.lines.records for begun in records.quarantine.values()),
        left_out=records.left_out.total(),
        empty=records.empty,
        arrived_at=records.last.arrived_at if records.last else None,
        evidence=_evidence(records.commit),
        closed=closing is not None,
        children=tuple(sorted(closing.children)) if closing else (),
        tables=tuple(sorted(set(tables))),
        marks=tuple(records.marks),
    )
    return Batch(
        record=record,
        path=batch_path(*bounds),
        body=_ENCODER.encode(record),
        objects=tuple(objects.values()),
        quarantine=tuple(_quarantine(reason, bounds, begun) for reason, begun in sorted(records.quarantine.items())),
        left_out=records.left_out,
    )


def with_bodies(batch: Batch, bodies: Sequence[bytes]) -> Batch:
    """The batch with these contents of its objects, which hold the same lines in other bytes."""
    refs = tuple(
        msgspec.structs.replace(ref, bytes=len(body), sha256=sha256(body))
        for ref, body in zip(batch.record.objects, bodies, strict=True)
    )
    record = msgspec.structs.replace(batch.record, objects=refs)
    objects = tuple((ref.path, body) for ref, body in zip(refs, bodies, strict=True))
    return replace(batch, record=record, body=_ENCODER.encode(record), objects=objects)


def _upto(place: Place, records: OpenBatch, closing: Closing | None, reached: str | None) -> str:
    last = records.last.seq if records.last else place.after
    if reached is not None and int(reached) > int(last):
        return reached
    if records.last:
        return last
    ending = closing.ending if closing else None
    # A batch that ended where it began would never be new to anybody, so a closing one always moves on.
    return ending if ending is not None and int(ending) > int(place.after) else str(int(place.after) + 1)


def _quarantine(reason: str, bounds: tuple[str, str, int, int], begun: _Begun) -> QuarantineObject:
    stream, shard, after, upto = bounds
    day = begun.first.arrived_at.astimezone(UTC).strftime("%Y/%m/%d")
    return QuarantineObject(
        path=f"{reason}/{day}/{stream}~{shard}~{padded(after)}~{padded(upto)}.json.gz",
        body=begun.lines.content(),
        reason=reason,
        records=begun.lines.records,
        seq_first=begun.first.seq,
    )


def _evidence(commit: Commit | None) -> Evidence | None:
    if commit is None:
        return None
    return Evidence(_EPOCH + timedelta(microseconds=commit.committed_us), commit.lsn)
