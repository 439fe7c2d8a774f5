"""Stated columns: what our publisher says of columns that no contract names, so that the lake need not guess.

No event says which type a new column has, nor what ADD COLUMN gave to the rows that were there; the catalogs do. The
publisher puts it to every shard ahead of the first change with the column, as a logical message in Debezium's format.
A value from before is data: it stands in the stream and in raw, and nowhere else.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from cdc.errors import RecordFault
from cdc.position import LSN_MAX, Position

PREFIX = "cdc.columns"
"""The prefix of the logical message."""
_MARK = f'"{PREFIX}"'.encode()


class StatedColumn(msgspec.Struct, frozen=True, omit_defaults=True):
    """A column of the source: its `number` there, which a column that is dropped and added anew does not keep.

    `type` is what a contract calls it; None where the lake cannot hold it. `before` is what rows that are older than
    the column have, as Postgres writes it, and means something only where `is_before_known`.
    """

    name: str
    number: int | None = None
    type: str | None = None
    is_before_known: bool = False
    before: str | None = None


@dataclass(frozen=True, slots=True)
class StatedColumns:
    """The columns that one message states, and its place in the log: that of the first change of such a row."""

    position: Position
    columns: tuple[StatedColumn, ...]


class _Source(msgspec.Struct):
    lsn: int


class _Message(msgspec.Struct):
    prefix: str
    content: str


class _Envelope(msgspec.Struct):
    op: str
    source: _Source
    message: _Message


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_COLUMNS = msgspec.json.Decoder(tuple[StatedColumn, ...])


def content_of(columns: Sequence[StatedColumn]) -> str:
    """The content of the message, in base64 as Debezium has it."""
    return base64.b64encode(msgspec.json.encode(columns)).decode("ascii")


def read_stated(payload: bytes, epoch: int) -> StatedColumns | None:
    """The columns that a message states; None when it is no such message.

    Raises:
        RecordFault: when it is one that cannot be read.
    """
    if _MARK not in payload:
        return None
    try:
        envelope = _ENVELOPE.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None  # a row that has such a text
    if envelope.op != "m" or envelope.message.prefix != PREFIX:
        return None
    try:
        columns = _COLUMNS.decode(base64.b64decode(envelope.message.content, validate=True))
    except (msgspec.MsgspecError, ValueError, binascii.Error, RecursionError):
        raise RecordFault("not-debezium", f"the content of a message {PREFIX} is not what it states") from None
    if not 0 < envelope.source.lsn <= LSN_MAX:
        raise RecordFault("no-position", f"a message {PREFIX} has no source.lsn, or one that no server gives")
    return StatedColumns(Position(epoch, envelope.source.lsn), columns)
