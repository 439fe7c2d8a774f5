"""From a record of the stream to lines: each payload in it gets its line in raw or in the quarantine, or is counted.

A record of the KPL holds many payloads. All of them are looked at together where that gives the same answer as one by
one; whatever is out of the ordinary is looked at by itself.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from cdc.raw import SnapshotWord
from cdc_consumer.aggregate import Split, split
from cdc_consumer.avro import JsonValue, without_registry
from cdc_consumer.routing import Commit, Empty, LeftOut, Tables, ToQuarantine, ToTable, route, route_together
from cdc_consumer.stream import Record

_ENCODER = msgspec.json.Encoder()
_SUBS = tuple(b"%d" % sub for sub in range(1000))

FromAvro = Callable[[bytes], JsonValue]
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Lines(NamedTuple):
    """Lines of one destination: how many, and their bytes, each line ended by a line feed."""

    records: int
    body: bytes


class Filed(NamedTuple):
    """What became of a record: lines by lake table, lines by reason of the quarantine, and counts of the rest.

    `commit` is the latest heartbeat of the source in it, `size_bytes` that of all lines, `words` are what a publisher
    says of its snapshots.
    """

    seq: str
    arrived_at: datetime
    tables: Mapping[str, Lines] = _NOTHING
    quarantine: Mapping[str, Lines] = _NOTHING
    left_out: Mapping[str, int] = _NOTHING
    empty: int = 0
    commit: Commit | None = None
    size_bytes: int = 0
    words: tuple[SnapshotWord, ...] = ()


class _QuarantineLine(msgspec.Struct, frozen=True):
    """One payload that could not be read: its place in the stream, why, and the payload untouched, in base64."""

    shard: str
    seq: str
    sub: int
    arrived_at: str
    reason: str
    payload: str


@dataclass(slots=True)
class _Pile:
    """Payloads of one destination, with their places in the record."""

    subs: list[bytes] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class _Piles:
    """Where the payloads of one record go."""

    tables: dict[str, _Pile] = field(default_factory=dict)
    quarantine: dict[str, _Pile] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    empty: int = 0
    commit: Commit | None = None
    words: list[SnapshotWord] = field(default_factory=list)

    def add(self, sub: bytes, payload: bytes, tables: Tables, from_avro: FromAvro) -> None:
        """Put a payload where `route` sends it."""
        match route(payload, tables, from_avro):
            case ToTable(table, line, schema_id):
                self.keep(table, sub, _with_schema(line, schema_id))
            case ToQuarantine(reason):
                self.set_aside(reason, sub, payload)
            case LeftOut(reason, commit, word):
                self.words += [word] if word is not None else []
                self.left_out[reason] = self.left_out.get(reason, 0) + 1
                if commit is not None and (self.commit is None or commit > self.commit):
                    self.commit = commit
            case Empty():
                self.empty += 1

    def keep(self, table: str, sub: bytes, line: bytes) -> None:
        pile = self.tables.setdefault(table, _Pile())
        pile.subs.append(sub)
        pile.payloads.append(line)

    def set_aside(self, reason: str, sub: bytes, payload: bytes) -> None:
        pile = self.quarantine.setdefault(reason, _Pile())
        pile.subs.append(sub)
        pile.payloads.append(payload)


def file_record(
    shard: str, record: Record, tables: Tables, from_avro: FromAvro = without_registry, *, splits: bool = True
) -> Filed:
    """Decide where a record goes, or each of the payloads in it, and make the lines that they become there.

    `from_avro` makes JSON of a value in Avro; what it raises is raised here. Without `splits` a record is one payload,
    though it may look like an aggregate.
    """
    aggregate = split(record.data) if splits else None
    if aggregate is None:
        return _file_plain(shard, record, tables, from_avro)
    piles = _sorted_together(aggregate, tables, from_avro) or _sorted_singly(aggregate, tables, from_avro)
    arrived_at = _text(record.arrived_at)
    kept = {
        table: Lines(len(pile.subs), _raw_lines(shard, record.seq, arrived_at, pile))
        for table, pile in piles.tables.items()
    }
    set_aside = {
        reason: Lines(len(pile.subs), _quarantine_lines(shard, record.seq, arrived_at, reason, pile))
        for reason, pile in piles.quarantine.items()
    }
    size_bytes = sum(len(body) for _, body in (*kept.values(), *set_aside.values()))
    return Filed(
        record.seq,
        record.arrived_at,
        kept,
        set_aside,
        piles.left_out,
        piles.empty,
        piles.commit,
        size_bytes,
        tuple(piles.words),
    )


def _file_plain(shard: str, record: Record, tables: Tables, from_avro: FromAvro) -> Filed:
    """The same for a record that is one payload."""
    seq, arrived_at = record.seq, record.arrived_at
    match route(record.data, tables, from_avro):
        case ToTable(table, line, schema_id):
            body = _raw_lines(shard, seq, _text(arrived_at), _Pile([_SUBS[0]], [_with_schema(line, schema_id)]))
            return Filed(seq, arrived_at, tables={table: Lines(1, body)}, size_bytes=len(body))
        case ToQuarantine(reason, payload):
            body = _quarantine_lines(shard, seq, _text(arrived_at), reason, _Pile([_SUBS[0]], [payload]))
            return Filed(seq, arrived_at, quarantine={reason: Lines(1, body)}, size_bytes=len(body))
        case LeftOut(reason, commit, word):
            words = (word,) if word is not None else ()
            return Filed(seq, arrived_at, left_out={reason: 1}, commit=commit, words=words)
        case Empty():
            return Filed(seq, arrived_at, empty=1)


def _sorted_together(aggregate: Split, tables: Tables, from_avro: FromAvro) -> _Piles | None:
    """The piles of an aggregate that is in order as a whole, or None when each payload must be looked at."""
    payloads = aggregate.payloads
    if aggregate.damaged or not payloads:
        return None
    subs = _sub_texts(len(payloads))
    piles = _Piles()
    if b"" in payloads:  # tombstones stand between the changes
        solid = [place for place, payload in enumerate(payloads) if payload]
        piles.empty = len(payloads) - len(solid)
        subs, payloads = [subs[place] for place in solid], [payloads[place] for place in solid]
    names = route_together(payloads, tables) if payloads else []
    if names is None:
        return None
    if len(set(names)) == 1 and names[0] is not None:
        piles.tables[names[0]] = _Pile(subs, list(payloads))
        return piles
    for name, sub, payload in zip(names, subs, payloads, strict=True):
        if name is None:
            piles.add(sub, payload, tables, from_avro)
        else:
            piles.keep(name, sub, payload)
    return piles


def _sorted_singly(aggregate: Split, tables: Tables, from_avro: FromAvro) -> _Piles:
    piles = _Piles()
    subs = _sub_texts(len(aggregate.payloads))
    for place, (sub, payload) in enumerate(zip(subs, aggregate.payloads, strict=True)):
        reason = aggregate.damaged.get(place)
        if reason is None:
            piles.add(sub, payload, tables, from_avro)
        else:
            piles.set_aside(reason, sub, payload)
    return piles


def _sub_texts(count: int) -> list[bytes]:
    if count <= len(_SUBS):
        return list(_SUBS[:count])
    return [b"%d" % sub for sub in range(count)]


def _raw_lines(shard: str, seq: str, arrived_at: str, pile: _Pile) -> bytes:
    """The lines as msgspec would encode them from RawLine, with the parts that all of them share made once."""
    head = _head(shard, seq)
    middle = b',"arrived_at":"' + arrived_at.encode("ascii") + b'","event":'
    end_and_head = b"}\n" + head
    pieces = [b"}\n"] * (2 * len(pile.subs) + 1)
    pieces[0:-1:2] = [end_and_head + sub + middle for sub in pile.subs]
    pieces[0] = head + pile.subs[0] + middle
    pieces[1::2] = pile.payloads
    return b"".join(pieces)


def _with_schema(line: bytes, schema_id: int | None) -> bytes:
    """What stands in a raw line from the event on."""
    return line if schema_id is None else line + b',"schema_id":%d' % schema_id


def _head(shard: str, seq: str) -> bytes:
    return b"".join((b'{"shard":', _ENCODER.encode(shard), b',"seq":', _ENCODER.encode(seq), b',"sub":'))


def _quarantine_lines(shard: str, seq: str, arrived_at: str, reason: str, pile: _Pile) -> bytes:
    return _ENCODER.encode_lines(
        [
            _QuarantineLine(shard, seq, int(sub), arrived_at, reason, base64.b64encode(payload).decode("ascii"))
            for sub, payload in zip(pile.subs, pile.payloads, strict=True)
        ]
    )


def _text(arrived_at: datetime) -> str:
    return arrived_at.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
