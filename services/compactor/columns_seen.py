"""Columns seen: what must be remembered of columns that the lake does not show, so that they can be filled from raw.

ALTER TABLE takes an exclusive lock, so that every change after an ADD COLUMN names the column (also an unchanged one)
and none before it does. What is remembered is durable with the commit of the events that told it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import msgspec

from cdc.contract import Column
from cdc.event import ChangeEvent, Op
from cdc.position import LSN_OF_BACKFILL, Position

COLUMNS_SEEN = "cdc.columns-seen"
NAME_BYTES_MAX = 63
COLUMNS_MAX = 1600


class Seen(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a column of the source.

    `first` is the smallest position of a streamed change that carried it, `lacking` the greatest of one that lacked it
    since it was first seen. `offsets` says for each shard before which sequence number no record carried it; a shard
    that is not named has no such record. `was_shown` says that the lake had the column once: all of raw may carry it.
    `was_read` says that a read carried it, which has no place in the order.
    """

    first: tuple[int, int, int] | None = None
    lacking: tuple[int, int, int] | None = None
    offsets: dict[str, str] = {}
    was_shown: bool = False
    was_read: bool = False

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
    for name in carried:
        if name in known and name not in watched:
            continue
        before = seen.get(name)
        if before is None and (len(name.encode()) > NAME_BYTES_MAX or len(seen) + len(new) >= COLUMNS_MAX):
            continue  # beyond Postgres's limits for names and columns: no name of a column, and not for the log
        after = before or Seen()
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


def noted_all(seen: Mapping[str, Seen], names: Collection[str], position: Position) -> dict[str, Seen]:
    """What is known of columns after a streamed change that carried them all."""
    first = {
        name: msgspec.structs.replace(seen.get(name, Seen()), first=tuple(position))
        for name in names
        if _is_first(seen.get(name, Seen()), position)
    }
    return {**seen, **first}


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
