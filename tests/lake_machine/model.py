"""Model: what the table must be, from what was told up to its offsets, as a database would replay it.

It shares no code with the merge: one dict, all keys together, in the order of the positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.lake_machine.source import Identity, Key, Row, Sent

Position = tuple[int, int, int]
UNKNOWN = object()
"""A value that no event has told: no row may be shown with it."""


@dataclass(frozen=True)
class Shown:
    """A row as readers see it: its values without the key, and the change that made it so."""

    values: tuple[tuple[str, Any], ...]
    position: Position
    committed_at: datetime


@dataclass(frozen=True)
class Recorded:
    """What history has beside the changes that were told: those of them that are set aside in it, and the deletes of rows
    that a new snapshot did not find.
    """

    aside: frozenset[Identity]
    vanished: tuple[Sent, ...]


@dataclass
class _Row:
    values: Row
    position: Position
    committed_at: datetime


class Order:
    """In which order changes were merged, as far as it was looked: what is first seen together has one place."""

    def __init__(self) -> None:
        self._places: dict[Identity, int] = {}
        self._looks = 0

    def look(self, told: Iterable[Sent]) -> None:
        """Take note of what is merged now."""
        self._looks += 1
        for sent in told:
            self._places.setdefault(sent.identity, self._looks)

    def came_later(self, one: Sent | None, other: Sent) -> bool:
        """Whether one change was merged when the other one was already."""
        return one is not None and self._places.get(one.identity, 0) > self._places[other.identity]


def unique(told: Iterable[Sent]) -> dict[Identity, Sent]:
    """Every change once."""
    return {sent.identity: sent for sent in told}


def ordered(told: Iterable[Sent]) -> list[Sent]:
    """Every change once, in the order of positions; at one position a key change deletes before it creates."""
    return sorted(unique(told).values(), key=lambda sent: (sent.position, sent.op != "d"))


def expected_rows(
    told: Iterable[Sent],
    recorded: Recorded,
    defaults: Mapping[str, Any],
    always: AbstractSet[str],
    order: Order,
    settled: int = 1,
) -> tuple[dict[Key, Shown], set[Key]]:
    """The rows after some changes, of which some are told to be set aside, with the columns that have `defaults`.

    A change that is older than a column has its default. `always` are the columns that were shown from the beginning: of
    others a value may have been unknown when a change came. `settled` is the newest epoch whose snapshot is complete: what
    is older is gone. Beside the rows the keys of which it cannot be told, since their changes were merged while a column
    that they left unchanged was not shown, and come after one that was set aside; and those with a value of a row of which
    it was told later, in `order`, that it had been deleted by then: the value was false from the beginning, and no heartbeat
    has said otherwise. It is put right by the row between, which a producer may send again behind all that.

    Raises:
        AssertionError: when a change lacks a value that nothing told so far can give it, and nothing was set aside:
            it should have been waited for.
    """
    rows: dict[Key, _Row] = {}
    doubtful: set[Key] = set()
    undecided: set[Key] = set()
    left: dict[Position, tuple[_Row | None, bool, Key]] = {}
    ends: dict[Key, Sent] = {}  # by what the newest row of a key went
    for sent in ordered([*told, *recorded.vanished]):
        if sent.op == "t":
            ends |= dict.fromkeys(rows, sent)
            rows.clear()
            undecided.clear()
            continue
        old, is_doubtful = rows.get(sent.key), sent.key in doubtful
        if sent.op == "d":
            left[sent.position] = old, is_doubtful, sent.key
            if rows.pop(sent.key, None) is not None:
                ends[sent.key] = sent
            doubtful.discard(sent.key)
            undecided.discard(sent.key)
            continue
        if sent.identity in recorded.aside:
            doubtful.add(sent.key)
            continue
        values = {**defaults, **sent.values}
        if unchanged := sent.unchanged & defaults.keys():
            own = old, is_doubtful, sent.key
            giver, is_doubtful, giver_key = own if sent.op == "u" else left.get(sent.position, (None, False, ()))
            if is_doubtful:
                doubtful.add(sent.key)
                if not unchanged & always:
                    undecided.add(sent.key)
                continue
            is_known = giver is not None and giver.position[0] == sent.epoch
            is_known_then = giver is None and order.came_later(ends.get(giver_key), sent)
            waits = unchanged & always and not (is_known or is_known_then)
            assert not waits, f"the change at {sent.position} should have been waited for"
            values |= {name: giver.values[name] if giver and is_known else UNKNOWN for name in unchanged}
        rows[sent.key] = _Row(values, sent.position, sent.committed_at)
        doubtful.discard(sent.key)
        undecided.discard(sent.key)
        if any(values[name] is UNKNOWN for name in always & values.keys()):
            undecided.add(sent.key)
    expected = {
        key: Shown(shown(row.values, defaults), row.position, row.committed_at)
        for key, row in rows.items()
        if row.position[0] >= settled
    }
    return expected, undecided


def differences(
    some: dict[Key, Shown], others: dict[Key, Shown], but: AbstractSet[Key]
) -> dict[Key, tuple[Shown | None, Shown | None]]:
    """The keys whose rows differ, with both, but for some that are not compared."""
    keys = (some.keys() | others.keys()) - but
    return {key: (some.get(key), others.get(key)) for key in keys if some.get(key) != others.get(key)}


def shown(row: Mapping[str, Any], columns: Iterable[str]) -> tuple[tuple[str, Any], ...]:
    """A row's values in some columns, as they are compared."""
    return tuple((name, row[name]) for name in sorted(columns))


def spoilt_keys(
    told: Iterable[Sent], lost: AbstractSet[Identity], lacking: AbstractSet[Identity] = frozenset()
) -> dict[tuple[int, Key], int]:
    """The keys, by epoch, whose values may be unknown from an LSN on: of a change that is not held or is `lacking` a column,
    and of key changes from there, also where what the old key left was `lost` before it reached the stream.
    """
    spoilt: dict[tuple[int, Key], int] = {}
    left = {position for _, position, is_delete in lost if is_delete}
    for sent in ordered(told):
        if not sent.is_held or sent.identity in lacking:
            spoilt.setdefault((sent.epoch, sent.key), sent.lsn)
        if sent.op == "d" and (sent.epoch, sent.key) in spoilt:
            left.add(sent.position)
        elif sent.op == "c" and sent.position in left:
            spoilt.setdefault((sent.epoch, sent.key), sent.lsn)
    return spoilt


def check_history(
    rows: list[dict[str, Any]],
    told: list[Sent],
    listed: list[Sent],
    key_columns: list[str],
    always: AbstractSet[str],
    lost: AbstractSet[Identity],
) -> Recorded:
    """History has every change once, with what it carried; what else is recorded in it.

    `listed` is what the compactor can see beyond: a change is given up because of another one that is spoilt, also where
    that one is behind the point at which its shard is held back. `always` and `lost` are those of `expected_rows` and
    `spoilt_keys`.
    """
    changes, columns = unique(told), {name for row in rows[:1] for name in row}
    found: dict[Identity, dict[str, Any]] = {}
    for row in rows:
        key = () if row["cdc_op"] == "t" else tuple(row[name] for name in key_columns)
        identity = key, (row["cdc_epoch"], row["cdc_lsn"], row["cdc_ordinal"]), row["cdc_op"] == "d"
        assert identity not in found, "a change stands twice in history"
        found[identity] = row
    vanished = [_vanished(identity, found[identity]) for identity in found.keys() - changes.keys()]
    assert changes.keys() <= found.keys(), "history lacks changes up to its offsets"
    read = {(sent.epoch, sent.key) for sent in changes.values() if sent.op == "r"}
    assert not read & {(sent.epoch, sent.key) for sent in vanished}, "a row was deleted that the snapshot has"
    aside = frozenset(identity for identity in changes if found[identity]["cdc_op"] == "q")
    # Where only reads have had a column, a change without it may as well be newer than all that has it: it is set aside,
    # loudly. Such are here the changes of an older epoch.
    newest = max((sent.epoch for sent in changes.values()), default=1)
    added = {name for name in columns if not name.startswith("cdc_")} - always - {*key_columns}
    lacking = {i for i in aside if i[1][0] < newest and added - changes[i].values.keys() - changes[i].unchanged}
    spoilt = spoilt_keys(listed, lost, lacking)
    for identity, sent in changes.items():
        row = found[identity]
        assert row["cdc_committed_at"] == sent.committed_at
        if row["cdc_op"] == "q":
            since = spoilt.get((sent.epoch, sent.key), sent.lsn + 1)
            reason = not sent.is_held or identity in lacking or (sent.unchanged and since <= sent.lsn)
            assert reason, f"the change at {sent.position} was given up without need"
            continue
        assert sent.is_held, "a value that cannot be held is in history"
        assert row["cdc_op"] == sent.op
        assert {*(row["cdc_unchanged"] or ())} & columns == sent.unchanged & columns
        # Of columns that were added, history keeps null where a value was not known and no row needed it.
        wrong = {
            name
            for name in sent.values.keys() & columns
            if row[name] != sent.values[name] and (name in always or row[name] is not None)
        }
        assert not wrong, f"history has other values of {wrong} than the change at {sent.position} carried"
    return Recorded(aside, tuple(vanished))


def _vanished(identity: Identity, row: Mapping[str, Any]) -> Sent:
    """A delete that nobody sent."""
    key, (epoch, lsn, _), is_delete = identity
    assert is_delete, f"history has a change that was not told: {identity}"
    assert lsn == 0, f"history has a delete that was not told: {identity}"
    assert epoch > 1, f"history has a delete that was not told: {identity}"
    return Sent("d", key, 0, row["cdc_committed_at"], {}, frozenset(), b"", epoch=epoch)
