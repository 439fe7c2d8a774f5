"""Where a record goes, decided from as little of it as that needs.

A record is checked to be UTF-8 and JSON all through, but only the fields below are made into values. Source of the
shapes: Debezium's docs "PostgreSQL connector" and events recorded from Debezium 3.6; AWS docs "Using Amazon Kinesis
Data Streams as a target for DMS" and published samples.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

import msgspec

from cdc.contract import TableContract
from cdc.errors import RecordFault
from cdc.raw import HEARTBEAT_PREFIX, SNAPSHOT_PREFIX, SnapshotWord, one_line
from cdc.stated_columns import PREFIX as STATED_COLUMNS
from cdc_consumer.avro import JsonValue, is_avro, without_registry

DEPTH_MAX = 128
"""Deeper JSON is refused here, since parsers further on would give up at a depth that depends on who calls them."""
_OPENING, _CLOSING = b"{}"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MICROSECONDS_MAX = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LSN_MAX = 2**63 - 1
# A string that never ends is taken to the end at once, else each escaped quote in it would be tried anew.
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|([\[{])|([\]}])', re.DOTALL)
_NEITHER_OPEN_NOR_END = bytes(set(range(256)) - set(b"[{\r\n"))
_OPS_MESSAGE = "m"
_DMS_OWN_TABLES = "awsdms_"
"""DMS keeps its exceptions, heartbeats and captured DDL in tables of these names, at the source or the target."""


class Commit(NamedTuple):
    """A commit at the source: when, in microseconds since 1970, and where in the log."""

    committed_us: int
    lsn: int


@dataclass(frozen=True, slots=True)
class ToTable:
    """The record belongs to the lake table `table`; `line` is its payload on one line.

    `schema_id` names the Avro schema that the payload had before it became JSON, if any.
    """

    table: str
    line: bytes
    schema_id: int | None = None


@dataclass(frozen=True, slots=True)
class ToQuarantine:
    """The record cannot be read; `payload` is kept as it came."""

    reason: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Nobody asked for the record; it is counted by `reason`. A publisher's heartbeat proves the `commit`; what
    it says of a snapshot is its `word`.
    """

    reason: str
    commit: Commit | None = None
    word: SnapshotWord | None = None


@dataclass(frozen=True, slots=True)
class Empty:
    """The record has no data: Debezium's tombstone."""


Route = ToTable | ToQuarantine | LeftOut | Empty
Tables = Mapping[tuple[str, str], str]


class _Source(msgspec.Struct, gc=False):
    schema: str | None = None
    table: str | None = None
    lsn: int | None = None
    ts_us: int | None = None
    ts_ms: int | None = None


class _Message(msgspec.Struct, gc=False):
    prefix: str | None = None
    content: str | None = None


class _DmsMetadata(msgspec.Struct, rename="kebab", gc=False):
    schema_name: str | None = None
    table_name: str | None = None
    record_type: str | None = None


class _Envelope(msgspec.Struct, gc=False):
    op: str | None = None
    source: _Source | None = None
    message: _Message | None = None
    metadata: _DmsMetadata | None = None
    payload: _Envelope | None = None


class _Wrapped(msgspec.Struct):
    payload: msgspec.Raw


class _Heartbeat(msgspec.Struct, forbid_unknown_fields=True):
    ts_ms: int
    ts_us: int | None = None
    ts_ns: int | None = None


class _Transaction(msgspec.Struct, forbid_unknown_fields=True):
    status: Literal["BEGIN", "END"]
    id: str
    event_count: int | None  # no default: a flattened row of a table with an id and a status must not pass for one
    data_collections: Any
    ts_ms: int | None = None


class _Notification(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    aggregate_type: str
    type: str
    timestamp: int
    additional_data: Any = None


class _Flat(msgspec.Struct):
    """What ExtractNewRecordState adds to a row, as far as it names the table or shows that the row was flattened."""

    table: str | None = msgspec.field(name="__table", default=None)
    source_table: str | None = msgspec.field(name="__source_table", default=None)
    schema: str | None = msgspec.field(name="__schema", default=None)
    source_schema: str | None = msgspec.field(name="__source_schema", default=None)
    op: str | None = msgspec.field(name="__op", default=None)
    lsn: int | None = msgspec.field(name="__lsn", default=None)
    deleted: str | bool | None = msgspec.field(name="__deleted", default=None)

    @property
    def is_flattened(self) -> bool:
        """Whether there is any of it."""
        return any(getattr(self, name) is not None for name in self.__struct_fields__)


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_WRAPPED = msgspec.json.Decoder(_Wrapped)
_HEARTBEAT = msgspec.json.Decoder(_Heartbeat)
_TRANSACTION = msgspec.json.Decoder(_Transaction)
_NOTIFICATION = msgspec.json.Decoder(_Notification)
_FLAT = msgspec.json.Decoder(_Flat)
_HOUSEKEEPING: tuple[tuple[msgspec.json.Decoder[Any], str], ...] = (
    (_HEARTBEAT, "heartbeat"), (_TRANSACTION, "transaction"), (_NOTIFICATION, "notification"),
)  # fmt: skip
_JSON = msgspec.json.Decoder(msgspec.Raw)
_WORD = msgspec.json.Decoder(SnapshotWord)
# A number of thousands of digits is a ValueError of Python's own.
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


def tables_by_source(contracts: Iterable[TableContract]) -> Tables:
    """Lake tables by schema and name of their source table."""
    return {(contract.source_schema, contract.source_table): contract.name for contract in contracts}


def route(data: bytes, tables: Tables, from_avro: Callable[[bytes], JsonValue] = without_registry) -> Route:
    """Where a record goes; `from_avro` makes JSON of a value in Avro.

    Raises:
        TransientFault, FatalFault: only what `from_avro` raises; whatever the bytes are, nothing else is.
    """
    if not data:
        return Empty()
    try:
        if not is_avro(data):
            return _route(data, tables)
        value = from_avro(data)
        target = _route(value.json, tables)
    except RecordFault as fault:
        return ToQuarantine(fault.reason, data)
    return replace(target, schema_id=value.schema_id) if isinstance(target, ToTable) else target


def route_together(payloads: Sequence[bytes], tables: Tables) -> list[str | None] | None:
    """For each payload the lake table where `route` would send it, untouched; None for one that has to ask `route`.

    None altogether when one of them is in the way of looking at all together.
    """
    block = b"\n".join(payloads)
    opens = block.translate(None, _NEITHER_OPEN_NOR_END)
    rows = opens.split(b"\n")
    if len(rows) != len(payloads) or b"\r" in opens or max(map(len, rows)) > DEPTH_MAX:
        return None
    # One JSON value a line is proven by three things together: every line begins with { and ends with }, so that no
    # value goes on in the next line, since } and { never meet inside of one; no line is empty; and there are as many
    # values as lines.
    if not all(payload and payload[0] == _OPENING and payload[-1] == _CLOSING for payload in payloads):
        return None
    try:
        if not block.isascii():
            block.decode("utf-8")
        envelopes = _ENVELOPE.decode_lines(block)
    except _UNREADABLE:
        return None
    if len(envelopes) != len(payloads):
        return None
    return [
        tables.get((source.schema, source.table))
        if (source := envelope.source) is not None and envelope.op != _OPS_MESSAGE and source.table and source.schema
        else None
        for envelope in envelopes
    ]


def _route(data: bytes, tables: Tables) -> Route:
    line = one_line(data)  # first, so that bytes of another encoding are called what they are
    envelope = _decode(data)
    if envelope is None:
        flattened = _flattened(_bodies(data), line, tables)
        if flattened is None:
            raise RecordFault("not-routable", "the payload is JSON but no change event")
        return flattened
    # The wrapper of schemas.enable=true has nothing beside it, so a column of that name cannot be taken for it.
    if envelope.payload is not None and envelope.source is None and envelope.metadata is None:
        envelope = envelope.payload
    if envelope.source is not None:
        return _debezium(envelope, envelope.source, line, tables)
    if envelope.metadata is not None:
        return _dms(envelope.metadata, line, tables)
    bodies = _bodies(data)
    return _flattened(bodies, line, tables) or LeftOut(_housekeeping(bodies))


def _decode(data: bytes) -> _Envelope | None:
    """The envelope; None where the payload is JSON but no envelope, as of a flattened row with a column `source`."""
    if len(data.translate(None, _NEITHER_OPEN_NOR_END)) > DEPTH_MAX and _depth(data) > DEPTH_MAX:
        raise RecordFault("too-deep", f"the payload is nested deeper than {DEPTH_MAX}")
    try:
        return _ENVELOPE.decode(data)
    except _UNREADABLE:
        try:
            _JSON.decode(data)
        except _UNREADABLE:
            raise RecordFault("not-json", "the payload is not JSON") from None
        return None


def _depth(data: bytes) -> int:
    """The deepest nesting of brackets outside of strings; for bytes that are no JSON the answer does not matter."""
    depth = deepest = 0
    for match in _BRACKETS.finditer(data):
        if match.lastindex == 1:
            depth += 1
            deepest = max(deepest, depth)
        elif match.lastindex == 2:
            depth -= 1
    return deepest


def _debezium(envelope: _Envelope, source: _Source, line: bytes, tables: Tables) -> Route:
    if envelope.op == _OPS_MESSAGE:
        prefix = envelope.message.prefix if envelope.message is not None else None
        if prefix == STATED_COLUMNS and source.table and source.schema:
            return _to_table(source.schema, source.table, line, tables)
        if prefix == HEARTBEAT_PREFIX:
            return LeftOut("heartbeat", _commit(_microseconds(source), source.lsn))
        if prefix == SNAPSHOT_PREFIX and envelope.message is not None:
            return LeftOut("snapshot", word=_word(envelope.message.content))
        return LeftOut("message")
    if not source.table or source.schema is None:
        raise RecordFault("no-table", "the change event names no table")
    return _to_table(source.schema, source.table, line, tables)


def _word(content: str | None) -> SnapshotWord:
    """What a publisher says of its snapshot."""
    try:
        return _WORD.decode(base64.b64decode(content or "", validate=True))
    except (*_UNREADABLE, binascii.Error):
        raise RecordFault("not-routable", "a publisher's word of its snapshot cannot be read") from None


def _dms(metadata: _DmsMetadata, line: bytes, tables: Tables) -> Route:
    if metadata.record_type == "control":
        return LeftOut(
            "control"
        )  # a task's drop-table at its start is none at the source; no row comes with any of them
    if not metadata.table_name or metadata.schema_name is None:
        raise RecordFault("no-table", "the change event names no table")
    target = _to_table(metadata.schema_name, metadata.table_name, line, tables)
    is_own = isinstance(target, LeftOut) and metadata.table_name.startswith(_DMS_OWN_TABLES)
    return LeftOut("dms-own-table") if is_own else target


def _to_table(schema: str, table: str, line: bytes, tables: Tables) -> Route:
    name = tables.get((schema, table))
    return LeftOut("no-contract") if name is None else ToTable(name, line)


def _bodies(data: bytes) -> list[bytes]:
    """The record, and what it wraps where it is wrapped with a schema."""
    bodies = [data]
    with contextlib.suppress(*_UNREADABLE):
        bodies.append(bytes(_WRAPPED.decode(data).payload))
    return bodies


def _flattened(bodies: list[bytes], line: bytes, tables: Tables) -> Route | None:
    """Where a row goes that ExtractNewRecordState has flattened; None when it is none.

    Raises:
        RecordFault: when it does not name its table, or not well enough.
    """
    for body in bodies:
        try:
            flat = _FLAT.decode(body)
        except _UNREADABLE:
            continue
        if not flat.is_flattened:
            continue
        table, schema = flat.table or flat.source_table, flat.schema or flat.source_schema
        schemas = [known for known, name in tables if name == table] if schema is None else [schema]
        if table is None or len(schemas) > 1:
            raise RecordFault("flattened", "the event is flattened and does not name its table with its schema")
        return _to_table(schemas[0], table, line, tables) if schemas else LeftOut("no-contract")
    return None


def _housekeeping(bodies: list[bytes]) -> str:
    """Which of Debezium's own records this is, wrapped or not; each must be that and nothing more.

    Raises:
        RecordFault: when it is none of them.
    """
    for candidate in bodies:
        for decoder, reason in _HOUSEKEEPING:
            try:
                decoder.decode(candidate)
            except _UNREADABLE:
                continue
            return reason
    raise RecordFault("no-table", "the payload is JSON but names no table")


def _microseconds(source: _Source) -> int | None:
    if source.ts_us is not None:
        return source.ts_us
    return None if source.ts_ms is None else source.ts_ms * 1000


def _commit(committed_us: int | None, lsn: int | None) -> Commit | None:
    if committed_us is None or lsn is None:
        return None
    if not 0 < committed_us <= _MICROSECONDS_MAX or not 0 < lsn <= _LSN_MAX:
        return None
    return Commit(committed_us, lsn)
