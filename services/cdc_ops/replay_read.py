"""Reading of what was kept: records of many objects, each once, in the order of each shard and as they arrived."""

from __future__ import annotations

import gzip
import heapq
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from cdc import raw
from cdc.errors import FatalFault
from cdc.objects import ObjectStore
from cdc_ops.replay_record import Record, decode_line, payload_of_base64
from cdc_ops.replay_selection import Piece
from compactor.chain import Link, read_record

Read = Callable[[Piece], list[Record]]
"""Reads the records of an object."""


class _QuarantineLine(msgspec.Struct, frozen=True):
    """What the lines of the consumer and those of the compactor have in common."""

    seq: str
    sub: int
    arrived_at: str
    reason: str
    payload: str
    schema_id: int | None = None


_QUARANTINE_LINES = msgspec.json.Decoder(_QuarantineLine)
_UNREADABLE = (OSError, EOFError, zlib.error, msgspec.MsgspecError, ValueError)


def in_order(pieces: Iterable[Piece], read: Read) -> Iterator[Record]:
    """The records of some objects: of each shard by sequence and sub-sequence number, across shards as they arrived.

    A record that lies in several objects comes once. Of each shard only objects that overlap are held in memory.
    """
    by_shard: dict[str, list[Piece]] = defaultdict(list)
    for piece in pieces:
        by_shard[piece.shard_id].append(piece)
    shards = [_timed(_of_shard(some, read)) for some in by_shard.values()]
    for _, record in heapq.merge(*shards, key=lambda timed: timed[0]):
        yield record


def quarantined(store: ObjectStore) -> Read:
    """Reads objects of the quarantine, by whichever program they were written."""

    def read(piece: Piece) -> list[Record]:
        body = store.get(piece.path)
        try:
            lines = _QUARANTINE_LINES.decode_lines(gzip.decompress(body))
            found = [
                Record(
                    piece.shard_id, int(line.seq), line.sub, datetime.fromisoformat(line.arrived_at),
                    payload_of_base64(line.payload), piece.path, piece.table, line.reason, line.schema_id,
                )
                for line in lines
            ]  # fmt: skip
        except _UNREADABLE:
            found = []
        if not found:
            raise FatalFault(
                "an object of the quarantine cannot be read",
                where=piece.path,
                hint="restore it from the bucket's versions, or leave it out by --path or --batch",
            )
        return found

    return read


def in_raw(store: ObjectStore, left_over: Callable[[Piece], None]) -> Read:
    """Reads raw objects that a batch record names, after their checksums were found right; tells of any other."""

    def read(piece: Piece) -> list[Record]:
        path = raw.batch_path(piece.stream, piece.shard, piece.after, piece.upto)
        refs: Sequence[raw.ObjectRef] = ()
        if next(iter(store.list_after(path)), None) == path:
            refs = read_record(store, Link(piece.after, piece.upto, path)).objects
        ref = next((ref for ref in refs if ref.path == piece.path), None)
        if ref is None:
            left_over(piece)  # from a crash before the batch record: its records lie in another object too
            return []
        return [
            Record(
                piece.shard_id, int(line.seq), line.sub, datetime.fromisoformat(line.arrived_at),
                bytes(line.event), piece.path, piece.table, None, line.schema_id,
            )
            for line in raw.decode_object(store.get(piece.path), ref)
        ]  # fmt: skip

    return read


def in_file(path: Path) -> Iterator[Record]:
    """The records of a file that a replay wrote, in the order of the file.

    Raises:
        FatalFault: when it cannot be read.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield decode_line(line, str(path), number)
    except (OSError, EOFError, zlib.error) as error:
        what = f"the file cannot be read: {type(error).__name__}"
        raise FatalFault(what, where=str(path), hint="check its name, and that it is whole") from None


def _of_shard(pieces: list[Piece], read: Read) -> Iterator[Record]:
    """Objects that overlap are read together: those of several tables or reasons, or by a worker that wrote late."""
    pieces.sort(key=lambda piece: (piece.after, piece.upto, piece.path))
    start = 0
    while start < len(pieces):
        upto, end = pieces[start].upto, start + 1
        while end < len(pieces) and pieces[end].after < upto:
            upto = max(upto, pieces[end].upto)
            end += 1
        found: dict[tuple[int, int], Record] = {}
        for piece in pieces[start:end]:
            for record in read(piece):
                found.setdefault(record.place, record)
        yield from (found[place] for place in sorted(found))
        start = end


def _timed(records: Iterator[Record]) -> Iterator[tuple[datetime, Record]]:
    """Records with when they arrived, or a record before them did: the stream's clock may step back."""
    latest: datetime | None = None
    for record in records:
        latest = record.arrived_at if latest is None else max(latest, record.arrived_at)
        yield latest, record
