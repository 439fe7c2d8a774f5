"""Columns seen: what must be remembered of columns that the lake does not show, so that they can be filled from raw.

ALTER TABLE takes an exclusive lock, so that every change after an ADD COLUMN names the column (also an unchanged one)
and none before it does. What is remembered is durable with the commit of the events that told it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

import msgspec

from cdc.contract import Column
from cdc.event import ChangeEvent, Op
from cdc.position import LSN_OF_BACKFILL, Position
from cdc.postgres_type import AS_SENT
from cdc.stated_columns import StatedColumn, StatedColumns

COLUMNS_SEEN = "cdc.columns-seen"
NAME_BYTES_MAX = 63
COLUMNS_MAX = 1600


class Seen(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a column of the source.

    `first` is the smallest position of a streamed change that carried it, `lacking` the greatest of one that lacked it
    since it was first seen. `offsets` says for each shard before which sequence number no record carried it; a shard
    that is not named has no such record. `was_shown` says that the lake had the column once: all of raw may carry it.
    `was_read` says that a read carried it, which has no place in the order.

    `type` is the Postgres type that was told of it, as a contract states one. The rest is what our publisher stated:
    the column's `number` at the source, and whether older rows have `null` or another value, which is in raw only;
    `stated` is the position of the newest of its messages.
    """

    first: tuple[int, int, int] | None = None
    lacking: tuple[int, int, int] | None = None
    offsets: dict[str, str] = {}
    was_shown: bool = False
    was_read: bool = False
    type: str | None = None
    number: int | None = None
    before: Literal["null", "value"] | None = None
    stated: tuple[int, int, int] | None = None

    @property
    def since(self) -> Position | None:
        """Where the column's present life begins; None when no change that carried it is newer than all without it."""
        first = Position(*self.first) if self.first is not None else None
        return None if first is None or (self.lacking is not None and self.lacking > first) else first


class _Stated(msgspec.Struct, omit_defaults=True):
    seen: dict[str, Seen] = {}
    waiting: dict[str, str] = {}
    added: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class ColumnsSeen:
    """`seen` by name at the source; the lake's columns that are `waiting` to be shown, each with the reason; and those
    `added` beside the contract, as source name → lake name.
    """

    seen: Mapping[str, Seen] = field(default_factory=lambda: MappingProxyType({}))
    waiting: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    added: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def encode_columns(columns: ColumnsSeen) -> bytes:
    """The value of the table property."""
    return msgspec.json.encode(_Stated(dict(columns.seen), dict(columns.waiting), dict(columns.added)), order="sorted")


def parse_columns(properties: Mapping[str, str]) -> ColumnsSeen:
    """What the table property says. Raises msgspec's errors when it cannot be read."""
    stated = msgspec.json.decode(properties.get(COLUMNS_SEEN) or "{}", type=_Stated)
    return ColumnsSeen(stated.seen, stated.waiting, stated.added)


def noted(
    seen: Mapping[str, Seen],
    event: ChangeEvent,
    watched: Collection[str],
    known: Collection[str],
    shard: str,
    number: int,
) -> dict[str, Seen] | None:
    """What is known of columns after one more event; None when it says nothing new.

    `watched` are columns to be followed though the lake shows them; of `known` ones nothing else is followed. Reads
    and deletes carry columns, but a read has no place in the order, and a delete names only the key.
    """
    carried = {*event.row, *event.unchanged}
    new: dict[str, Seen] = {}
    streamed = event.position.lsn != LSN_OF_BACKFILL
    types = event.forms.told_types if event.forms is not None else {}
    for name in carried:
        if name in known and name not in watched:
            continue
        before = seen.get(name)
        if before is None and not _is_column({**seen, **new}, name):
            continue
        after = before or Seen()
        if name in types and name not in known and types[name] != after.type:
            # Where messages differ, nothing but the text of what was sent holds the values of both.
            after = msgspec.structs.replace(after, type=types[name] if after.type is None else str(AS_SENT))
        if streamed and _is_first(after, event.position):
            after = msgspec.structs.replace(after, first=tuple(event.position))
        if event.op is Op.READ and not after.was_read:
            after = msgspec.structs.replace(after, was_read=True)
        if shard not in after.offsets or number - 1 < int(after.offsets[shard]):
            after = msgspec.structs.replace(after, offsets={**after.offsets, shard: str(number - 1)})
        if after is not before:
            new[name] = after
    if streamed and event.op is not Op.DELETE and not event.omits_nulls:
        absent = noted_lacking(seen, seen.keys() - carried, event.position)
        new |= {name: absent[name] for name in seen.keys() - carried if absent[name] is not seen[name]}
    return {**seen, **new} if new else None


def _is_column(seen: Mapping[str, Seen], name: str) -> bool:
    """Whether a new name can be one of a column: what is beyond Postgres's limits is none, and not for the log."""
    return len(name.encode()) <= NAME_BYTES_MAX and len(seen) < COLUMNS_MAX


def noted_stated(
    seen: Mapping[str, Seen], stated: StatedColumns, known: Collection[str], shard: str, number: int
) -> Mapping[str, Seen]:
    """What is known of columns after our publisher stated some; an older statement says nothing.

    Of `known` ones, which the lake shows, it counts only that they are others now, or of another type.
    """
    for column in stated.columns:
        before = seen.get(column.name)
        if before is None and not _is_column(seen, column.name):
            continue
        if column.name in known and (before is None or not (_is_another(before, column) or column.type != before.type)):
            continue
        after = before or Seen()
        if after.stated is None or stated.position >= after.stated:
            after = _after_statement(after, column, stated.position)
        seen = noted_offset({**seen, column.name: after}, column.name, shard, number)
    return seen


def _is_another(seen: Seen, column: StatedColumn) -> bool:
    """Whether the column was, or may have been, dropped and added anew since it was stated, with no change between."""
    return seen.number is not None and seen.number != column.number


def _after_statement(seen: Seen, column: StatedColumn, position: Position) -> Seen:
    if _is_another(seen, column):
        seen = msgspec.structs.replace(seen, first=None, before=None)
    told: Literal["null", "value"] | None = None
    if column.is_before_known:
        told = "null" if column.before is None else "value"
    return msgspec.structs.replace(
        seen,
        type=column.type,
        number=column.number,
        before=told or seen.before,
        stated=tuple(position),
    )


def _is_same(before: Seen, after: Seen) -> bool:
    return before.number in {None, after.number} and before.type == after.type


def made_anew(columns: ColumnsSeen, seen: Mapping[str, Seen]) -> ColumnsSeen:
    """What is known of columns after more was `seen`: one that was added and is another one now, or of
    another type, is added no more.
    """
    added = {
        source: name
        for source, name in columns.added.items()
        if source not in columns.seen or _is_same(columns.seen[source], seen[source])
    }
    return replace(columns, seen=seen, added=added)


def noted_first(seen: Mapping[str, Seen], name: str, position: Position) -> Mapping[str, Seen]:
    """What is known of columns after a streamed change that carried one of them."""
    if not _is_first(seen[name], position):
        return seen
    return {**seen, name: msgspec.structs.replace(seen[name], first=tuple(position))}


def noted_offset(seen: Mapping[str, Seen], name: str, shard: str, number: int) -> Mapping[str, Seen]:
    """What is known of columns after a record with some sequence number that carried one of them."""
    offsets = seen[name].offsets
    if shard in offsets and number - 1 >= int(offsets[shard]):
        return seen
    return {**seen, name: msgspec.structs.replace(seen[name], offsets={**offsets, shard: str(number - 1)})}


def noted_read(seen: Mapping[str, Seen], names: Collection[str]) -> dict[str, Seen]:
    """What is known of columns after a read that carried them all."""
    return {**seen, **{name: msgspec.structs.replace(seen.get(name, Seen()), was_read=True) for name in names}}


def noted_lacking(seen: Mapping[str, Seen], names: Collection[str], position: Position) -> dict[str, Seen]:
    """What is known of columns after a streamed change that lacked them."""
    new = {
        name: msgspec.structs.replace(seen[name], lacking=tuple(position))
        for name in names
        if (last := seen[name].lacking) is None or position > last
    }
    return {**seen, **new}


def still_watched(seen: Mapping[str, Seen], shown: Collection[Column], added: Collection[str] = ()) -> dict[str, Seen]:
    """What need be remembered once the lake shows these columns: where those begin that have a value from before."""
    names = {source for column in shown if column.value_before is None for source in _names(column)}
    watched = {source for column in shown if column.value_before is not None for source in _names(column)}
    return {
        name: msgspec.structs.replace(one, was_shown=False) if name in watched else one
        for name, one in seen.items()
        if name not in names or name in added
    }


def _names(column: Column) -> tuple[str, ...]:
    return (column.source_name, *column.former_names)


def _is_first(seen: Seen, position: Position) -> bool:
    """Whether a change begins the column's present life, as far as is known: none without it is newer."""
    if seen.lacking is not None and position < seen.lacking:
        return False
    since = seen.since
    return since is None or position < since


def taken_out(columns: ColumnsSeen, names: Collection[str]) -> ColumnsSeen:
    """After columns, by source names, were taken out of the lake: what they were is in raw from the start."""
    gone = {
        name: msgspec.structs.replace(columns.seen.get(name, Seen()), was_shown=True)
        for name in names
        # Of one that was added by itself it is known where it began.
        if name not in columns.added
    }
    added = {source: name for source, name in columns.added.items() if source not in names}
    return replace(columns, seen={**columns.seen, **gone}, added=added)
