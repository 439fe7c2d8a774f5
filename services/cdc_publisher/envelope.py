"""Envelope: Debezium's change events as JSON, keys and values, in Debezium's order of fields.

Source of the facts: events recorded from Debezium 3.6.3 (schemas off, `decimal.handling.mode=string`). A change goes to
the encoder whole and in one call, since this is what bounds how many changes a second can be published.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Final, NamedTuple

import msgspec

from cdc.errors import FatalFault
from cdc.raw import HEARTBEAT_PREFIX, SNAPSHOT_PREFIX, SnapshotWord
from cdc.stated_columns import PREFIX, StatedColumn, content_of
from cdc_publisher.pgoutput import UNCHANGED, Value
from cdc_publisher.rendering import PLACEHOLDER, Rendering, render_text
from cdc_publisher.temporal import Json, Renderer

SOURCE_NAME: Final = "cdc"
VERSION: Final = "3.6.3.usuarios-cdc"
"""Debezium's version whose format this is, and that it is not Debezium."""
HEARTBEAT: Final = HEARTBEAT_PREFIX
"""Prefix of our own logical messages, and the partition key of the events that they become."""
PARTITION_KEY_WITHOUT_KEY: Final = "default"
"""What Debezium's Kinesis sink takes for events without a key."""


Row = Mapping[str, Json]
"""A row as it is in JSON: its columns by name, in the table's order."""


class Event(NamedTuple):
    """What goes to the stream: `data` is empty for a tombstone."""

    partition_key: str
    data: bytes


@dataclass(frozen=True, slots=True)
class TableFormat:
    """How one table's rows are written: names, renderings, and which columns are the key, in the key's order.

    `typed` are the places and renderings of the columns whose values are not written as the text that they come as.
    `stated` is what is to be told of columns that no contract names, before any of the rows.
    """

    schema: str
    table: str
    names: tuple[str, ...]
    renderings: tuple[Rendering, ...]
    typed: tuple[tuple[int, Renderer], ...]
    key: tuple[int, ...]
    source: str
    stated: tuple[StatedColumn, ...] = ()

    @classmethod
    def of(
        cls, schema: str, table: str, columns: Sequence[tuple[str, Rendering]], key_names: Sequence[str]
    ) -> TableFormat:
        """The format of a table with these columns; the key's columns must be among them."""
        names = tuple(name for name, _ in columns)
        return cls(
            schema=schema,
            table=table,
            names=names,
            renderings=tuple(rendering for _, rendering in columns),
            typed=tuple((at, how.render) for at, (_, how) in enumerate(columns) if how.render is not render_text),
            key=tuple(names.index(name) for name in key_names),
            source=f',"schema":{encode_basestring(schema)},"table":{encode_basestring(table)},"txId":',
        )

    @property
    def is_sure(self) -> bool:
        """Whether it is sure which columns of the catalogs those are that are stated."""
        return all(column.number is not None for column in self.stated)

    def row(self, values: Sequence[Value]) -> Row:
        """A row as it is in JSON."""
        rendered: list[Json] = [*values]
        try:
            if UNCHANGED in values or PLACEHOLDER in values:
                rendered = [
                    None if value is None else placeholder if value is UNCHANGED else render(value)
                    for value, (render, placeholder) in zip(values, self.renderings, strict=True)
                ]
            else:  # nearly always: then a text is itself
                for at, render in self.typed:
                    if (value := values[at]) is not None:
                        rendered[at] = render(value)
            return dict(zip(self.names, rendered, strict=True))
        except (ValueError, KeyError, IndexError):
            raise self._unreadable(values) from None

    def key_of(self, values: Sequence[Value]) -> bytes:
        """The JSON object of a row's key."""
        key: dict[str, Json] = {}
        for index in self.key:
            value = values[index]
            if value is None or value is UNCHANGED:
                raise FatalFault(
                    "a change comes without its key",
                    where=f"{self.schema}.{self.table}, column {self.names[index]}",
                    hint="set the table's REPLICA IDENTITY to DEFAULT or FULL, then make a new backfill in a new epoch",
                )
            key[self.names[index]] = self.renderings[index].render(value)
        return _encode(key)

    def _unreadable(self, values: Sequence[Value]) -> FatalFault:
        for name, rendering, value in zip(self.names, self.renderings, values, strict=False):
            try:
                if value is not None and value is not UNCHANGED:
                    rendering.render(value)
            except (ValueError, KeyError, IndexError):
                return FatalFault(
                    "a value is not in the text form that its type has",
                    where=f"{self.schema}.{self.table}, column {name}",
                    hint="leave the column out of the publication, and report the type: it holds no exact form yet",
                )
        return FatalFault(
            "a row has another number of columns than its table", where=f"{self.schema}.{self.table}", hint="report it"
        )


class Moment(NamedTuple):
    """What the events of one transaction (or of the backfill) have in common: JSON pieces around the changing ones."""

    head: str
    times: str
    xid: int | None


def moment(database: str, snapshot: str, committed_at_us: int, xid: int | None) -> Moment:
    """The common part of `source`, up to `sequence` and from there to the table's name."""
    return Moment(
        head=f'{{"version":"{VERSION}","connector":"postgresql","name":"{SOURCE_NAME}",'
        f'"ts_ms":{committed_at_us // 1000},"snapshot":"{snapshot}","db":{encode_basestring(database)},"sequence":"[',
        times=f']","ts_us":{committed_at_us},"ts_ns":{committed_at_us * 1000}',
        xid=xid,
    )


def source(moment: Moment, names: str, last_commit_lsn: int | None, lsn: int) -> str:
    """The block `source` of a change; `names` is its table's part."""
    last = "null" if last_commit_lsn is None else f'\\"{last_commit_lsn}\\"'
    xid = "null" if moment.xid is None else moment.xid
    return (
        f'{moment.head}{last},\\"{lsn}\\"{moment.times}{names}{xid}'
        f',"lsn":{lsn},"xmin":null,"origin":null,"origin_lsn":null}}'
    )


def change(key: bytes | None, op: str, before: Row | None, after: Row | None, source: str, now_ns: int) -> Event:
    """The event of a change; `source` is the JSON of its block."""
    value = _encode(
        {
            "before": before,
            "after": after,
            "source": msgspec.Raw(source),
            "transaction": None,
            "op": op,
            "ts_ms": now_ns // 1_000_000,
            "ts_us": now_ns // 1000,
            "ts_ns": now_ns,
        }
    )
    return Event(PARTITION_KEY_WITHOUT_KEY if key is None else partition_key(key), value)


def tombstone(key: bytes) -> Event:
    """The empty record that follows a delete."""
    return Event(partition_key(key), b"")


def partition_key(key: bytes) -> str:
    """The partition key of a row: a digest, since partition keys show in places where a key (a CPF, say) must not."""
    return hashlib.sha256(key).hexdigest()


def heartbeat(
    database: str, last_commit_lsn: int | None, lsn: int, committed_at_us: int, xid: int, now_ns: int
) -> Event:
    """The event that says: all that was committed up to this moment was put before it."""
    block = source(moment(database, "false", committed_at_us, xid), _NO_TABLE, last_commit_lsn, lsn)
    value = (
        f'{{"op":"m","ts_ms":{now_ns // 1_000_000},"source":{block},"transaction":null,'
        f'"message":{{"prefix":"{HEARTBEAT}","content":""}}}}'
    )
    return Event(HEARTBEAT, value.encode())


def stated_columns(
    moment: Moment,
    table: TableFormat,
    columns: Sequence[StatedColumn],
    last_commit_lsn: int | None,
    lsn: int,
    now_ns: int,
) -> Event:
    """The event that says what is known of columns of a table that no contract names."""
    block = source(moment, table.source, last_commit_lsn, lsn)
    value = (
        f'{{"op":"m","ts_ms":{now_ns // 1_000_000},"source":{block},"transaction":null,'
        f'"message":{{"prefix":"{PREFIX}","content":"{content_of(columns)}"}}}}'
    )
    return Event(PREFIX, value.encode())


def snapshot_word(database: str, word: SnapshotWord, lsn: int, now_ns: int) -> Event:
    """The event that says to every shard that a snapshot begins, or is complete."""
    block = source(moment(database, "false", round(word.taken_at.timestamp() * 1e6), None), _NO_TABLE, None, lsn)
    content = base64.b64encode(msgspec.json.encode(word)).decode()
    value = (
        f'{{"op":"m","ts_ms":{now_ns // 1_000_000},"source":{block},"transaction":null,'
        f'"message":{{"prefix":"{SNAPSHOT_PREFIX}","content":"{content}"}}}}'
    )
    return Event(SNAPSHOT_PREFIX, value.encode())


_NO_TABLE: Final = ',"schema":"","table":"","txId":'
_encode: Final = msgspec.json.Encoder().encode
