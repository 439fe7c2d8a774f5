"""Parser of pgoutput's messages, protocol version 1: bytes in, values out, nothing else.

Source of the facts: Postgres 18 manual, chapter 54.9 "Logical Replication Message Formats".
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from struct import Struct, error
from typing import Final, NamedTuple

from cdc.errors import FatalFault

MICROSECONDS_1970_TO_2000: Final = 946_684_800_000_000
"""Postgres counts its times from 2000-01-01, everybody else from 1970-01-01."""


class Unchanged(StrEnum):
    """The one value of a TOASTed column that an update left alone: the log does not carry it.

    It is told by `is`: a text may equal it. It is a text so that looking for it among texts is fast.
    """

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED
Value = str | None | Unchanged
"""A column's value in Postgres's text form."""


class Begin(NamedTuple):
    """A transaction's changes follow; `committed_at_us` counts from 1970."""

    final_lsn: int
    committed_at_us: int
    xid: int


class Commit(NamedTuple):
    """The transaction's changes are complete; the slot may be confirmed up to `end_lsn` once they are safe."""

    commit_lsn: int
    end_lsn: int
    committed_at_us: int


class RelationColumn(NamedTuple):
    """A published column of a table; `is_identity` says that old images name it."""

    is_identity: bool
    name: str
    type_oid: int
    type_modifier: int


class Relation(NamedTuple):
    """A table as it is at this place of the log; `replica_identity` is d, f, i or n."""

    oid: int
    schema: str
    table: str
    replica_identity: str
    columns: tuple[RelationColumn, ...]


class Insert(NamedTuple):
    """A row was added."""

    relation: int
    new: list[Value]


class Update(NamedTuple):
    """A row was changed; `old` is there when the key changed (the identity's columns only) or the identity is FULL."""

    relation: int
    old: list[Value] | None
    new: list[Value]


class Delete(NamedTuple):
    """A row was removed; `old` holds the identity's columns, or all with FULL."""

    relation: int
    old: list[Value]


class Truncate(NamedTuple):
    """These tables were emptied."""

    relations: tuple[int, ...]


class LogicalMessage(NamedTuple):
    """What an application wrote into the log with `pg_logical_emit_message`."""

    is_transactional: bool
    lsn: int
    prefix: str
    content: bytes


class Ignored(NamedTuple):
    """A message that says nothing we need: a type's name, or where a change first came from."""

    kind: str


Message = Begin | Commit | Relation | Insert | Update | Delete | Truncate | LogicalMessage | Ignored

_UINT32 = Struct(">I").unpack_from
_INT32 = Struct(">i").unpack_from
_BEGIN = Struct(">xqqI").unpack_from
_COMMIT = Struct(">xxqqq").unpack_from
_MESSAGE = Struct(">xBq").unpack_from
_TEXT, _NULL, _UNCHANGED = b"tnu"
_NEW, _OLD_KEY, _OLD_ROW = b"NKO"


def parse(data: bytes) -> Message:
    """The message that these bytes are.

    Raises:
        FatalFault: when they are none that protocol version 1 knows.
    """
    try:
        reader = _READERS.get(data[0])
        if reader is not None:
            return reader(data)
        kind = f"message {data[:1]!r}"
    except (error, IndexError, UnicodeDecodeError, ValueError) as cause:
        kind = f"message {data[:1]!r} that breaks off or is no UTF-8 ({type(cause).__name__})"
    raise FatalFault(
        f"the replication stream holds a {kind}",
        where="pgoutput, protocol version 1",
        hint="check that the database's encoding is UTF8 and its version is 14 or newer",
    )


def _insert(data: bytes) -> Insert:
    if data[5] != _NEW:
        raise ValueError
    return Insert(_UINT32(data, 1)[0], _values(data, 6)[0])


def _update(data: bytes) -> Update:
    old = None
    at = 5
    if data[at] in {_OLD_KEY, _OLD_ROW}:
        old, at = _values(data, at + 1)
    if data[at] != _NEW:
        raise ValueError
    return Update(_UINT32(data, 1)[0], old, _values(data, at + 1)[0])


def _delete(data: bytes) -> Delete:
    if data[5] not in {_OLD_KEY, _OLD_ROW}:
        raise ValueError
    return Delete(_UINT32(data, 1)[0], _values(data, 6)[0])


def _values(data: bytes, at: int) -> tuple[list[Value], int]:
    """The column values of a row, and where they end. The hottest loop of the program: no helper, no slice too many."""
    count = data[at] << 8 | data[at + 1]
    at += 2
    values: list[Value] = []
    append = values.append
    length_at = _INT32
    for _ in range(count):
        kind = data[at]
        if kind == _TEXT:
            start = at + 5
            at = start + length_at(data, at + 1)[0]
            append(data[start:at].decode())
        elif kind == _NULL:
            append(None)
            at += 1
        elif kind == _UNCHANGED:
            append(UNCHANGED)
            at += 1
        else:
            raise ValueError
    if at > len(data):  # only the last value can be short without the next one missing
        raise ValueError
    return values, at


def _begin(data: bytes) -> Begin:
    final_lsn, committed_at, xid = _BEGIN(data)
    return Begin(final_lsn, committed_at + MICROSECONDS_1970_TO_2000, xid)


def _commit(data: bytes) -> Commit:
    commit_lsn, end_lsn, committed_at = _COMMIT(data)
    return Commit(commit_lsn, end_lsn, committed_at + MICROSECONDS_1970_TO_2000)


def _relation(data: bytes) -> Relation:
    schema, at = _string(data, 5)
    table, at = _string(data, at)
    identity = chr(data[at])
    count = data[at + 1] << 8 | data[at + 2]
    at += 3
    columns = []
    for _ in range(count):
        flags = data[at]
        name, at = _string(data, at + 1)
        columns.append(RelationColumn(bool(flags & 1), name, _UINT32(data, at)[0], _INT32(data, at + 4)[0]))
        at += 8
    # An empty schema name stands for pg_catalog.
    return Relation(_UINT32(data, 1)[0], schema or "pg_catalog", table, identity, tuple(columns))


def _truncate(data: bytes) -> Truncate:
    count = _UINT32(data, 1)[0]
    return Truncate(tuple(_UINT32(data, 6 + 4 * i)[0] for i in range(count)))


def _message(data: bytes) -> LogicalMessage:
    flags, lsn = _MESSAGE(data)
    prefix, at = _string(data, 10)
    length = _UINT32(data, at)[0]
    content = data[at + 4 : at + 4 + length]
    if len(content) != length:
        raise ValueError
    return LogicalMessage(bool(flags & 1), lsn, prefix, content)


def _ignored(data: bytes) -> Ignored:
    return Ignored({ord("O"): "origin", ord("Y"): "type"}[data[0]])


def _string(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(0, at)
    return data[at:end].decode(), end + 1


_READERS: Final[dict[int, Callable[[bytes], Message]]] = {
    ord("I"): _insert,
    ord("U"): _update,
    ord("D"): _delete,
    ord("B"): _begin,
    ord("C"): _commit,
    ord("R"): _relation,
    ord("T"): _truncate,
    ord("M"): _message,
    ord("O"): _ignored,
    ord("Y"): _ignored,
}
