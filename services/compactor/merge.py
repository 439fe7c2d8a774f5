"""Merge: new changes + what the lake has → what to append to history, which rows to replace, which to delete.

A change newer than its key's newest is applied at once. One that is not is looked up in history: there already, it is a
duplicate; else the key is folded anew from its history, so that the table is always the fold of every change. Where
history has only the mark of a change that was set aside, the change that comes again and can be merged now replaces it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from cdc.contract import TableContract
from cdc.position import Position
from compactor.change import SET_ASIDE, Change, Identity, Key, Row, recorded
from compactor.fold import DELETE, TRUNCATE, UPDATE, Fold, State, fold
from compactor.index import Located, RowIndex


class Lake(Protocol):
    """What a merge reads from the lake."""

    def rows_at(self, located: Mapping[Key, Located]) -> dict[Key, dict[str, Any]]:
        """Rows of the table by their places."""

    def history_of(self, column: str, values: Sequence[Any]) -> list[dict[str, Any]]:
        """Rows of the history whose column has one of some values."""


@dataclass(frozen=True, slots=True)
class Merged:
    """The outcome of a merge before it is committed.

    `history` is to be appended (values filled); `gone` are rows of the table that are dead now, `rows` new ones;
    `unresolved` could not be merged and is in none of the others. `touched` are the keys whose state was found anew:
    where `is_truncated`, all other rows below `floor` are gone too. `healed` counts the changes of `history` that were
    set aside before and replace their marks.
    """

    history: list[Change]
    gone: dict[Key, Located]
    rows: dict[Key, State]
    unresolved: list[Change]
    duplicates: int
    floor: Position | None
    touched: frozenset[Key] = frozenset()
    is_truncated: bool = False
    healed: int = 0


def merge(
    changes: Iterable[Change],
    index: RowIndex,
    lake: Lake,
    contract: TableContract,
    floor: Position | None,
    continued: Collection[int] = (),
) -> Merged:
    """Merge changes of any keys, in any order, with any duplicates; nothing was lost before the epochs `continued`."""
    new, doubled = _without_doubles(changes)
    index.prefetch(list({change.key for change in new if change.op != TRUNCATE}))
    late = {change.key for change in new if change.op != TRUNCATE and _is_late(change, index, floor)}
    told = _from_history(late, lake, contract)
    if any(change.op == TRUNCATE and _is_below(change, floor) for change in new):
        told += [recorded(row, contract) for row in lake.history_of("cdc_op", [TRUNCATE])]
    known = {change.identity for change in told if change.op != SET_ASIDE}
    marked = {change.identity for change in told if change.op == SET_ASIDE} - known
    fresh = [
        change
        for change in new
        if change.identity not in known and not (change.op == SET_ASIDE and change.identity in marked)
    ]
    corrected = late & {change.key for change in fresh}
    anew, told = family_of(corrected | _donors_in_history(fresh, lake, contract), lake, contract)
    # What comes late for a key may change what another key took over from it.
    touched = {change.key for change in fresh} | (anew if corrected else set())
    outcome = fold([*fresh, *told], _bases(fresh, anew, index, lake), floor, continued)
    planned = _planned(outcome, touched, anew, index, floor, doubled + len(new) - len(fresh))
    return _replacing(planned, marked) if marked else planned


def _replacing(merged: Merged, marked: set[Identity]) -> Merged:
    """The same merge, without the changes that had to be set aside again: their marks are in history already."""
    history = [change for change in merged.history if change.op != SET_ASIDE or change.identity not in marked]
    again = len(merged.history) - len(history)
    healed = sum(change.identity in marked for change in history)
    return replace(merged, history=history, duplicates=merged.duplicates + again, healed=healed)


def fold_anew(keys: set[Key], index: RowIndex, lake: Lake, contract: TableContract, floor: Position | None) -> Merged:
    """The state of some keys from their history alone, as after a crash between the commits of history and table."""
    anew, told = family_of(keys, lake, contract)
    outcome = fold(told, {}, floor)
    return _planned(outcome, anew, anew, index, None, 0)


def _without_doubles(changes: Iterable[Change]) -> tuple[list[Change], int]:
    unique: dict[Identity, Change] = {}
    count = 0
    for change in changes:
        count += 1
        if unique.setdefault(change.identity, change).op == SET_ASIDE != change.op:
            unique[change.identity] = change
    return list(unique.values()), count - len(unique)


def _is_late(change: Change, index: RowIndex, floor: Position | None) -> bool:
    newest = index.newest(change.key)
    return (newest is not None and change.position <= newest) or _is_below(change, floor)


def _is_below(change: Change, floor: Position | None) -> bool:
    return floor is not None and change.position <= floor


def _moves(changes: Iterable[Change], taking: frozenset[tuple[Key, Position]] = frozenset()) -> set[Position]:
    """Positions of key changes whose new row came with placeholders, to be filled from the old key's row."""
    return {
        change.position
        for change in changes
        if change.op not in {UPDATE, DELETE} and (change.unchanged or (change.key, change.position) in taking)
    }


def _donors_in_history(changes: list[Change], lake: Lake, contract: TableContract) -> set[Key]:
    """The old keys of key changes whose delete was merged earlier."""
    missing = _moves(changes) - {change.position for change in changes if change.op == DELETE}
    if not missing:
        return set()
    rows = lake.history_of("cdc_lsn", sorted({position.lsn for position in missing}))
    deletes = (recorded(row, contract) for row in rows if row["cdc_op"] == DELETE)
    return {change.key for change in deletes if change.position in missing}


def family_of(
    keys: set[Key], lake: Lake, contract: TableContract, taking: frozenset[tuple[Key, Position]] = frozenset()
) -> tuple[set[Key], list[Change]]:
    """Keys with all keys that they took values from or gave values to by key changes, and all their changes.

    `taking` are changes that took a value over though history does not say so.
    """
    members: set[Key] = set()
    told: list[Change] = []
    looked_up: set[Position] = set()
    while keys - members:
        told += _from_history(keys - members, lake, contract)
        members |= keys
        moves = {change.position for change in told if change.op == DELETE} | _moves(told, taking)
        unseen = moves - looked_up
        looked_up |= moves
        if unseen:
            rows = lake.history_of("cdc_lsn", sorted({position.lsn for position in unseen}))
            there = [change for change in (recorded(row, contract) for row in rows) if change.position in unseen]
            moved = _moves(there, taking)
            keys = keys | {change.key for change in there if change.position in moved}
    return members, told


def _from_history(keys: set[Key], lake: Lake, contract: TableContract) -> list[Change]:
    if not keys:
        return []
    rows = lake.history_of(contract.key[0], sorted({key[0] for key in keys}))
    changes = (recorded(row, contract) for row in rows if row["cdc_op"] != TRUNCATE)
    return [change for change in changes if change.key in keys]


def _bases(changes: list[Change], anew: set[Key], index: RowIndex, lake: Lake) -> dict[Key, State]:
    """The state before the first new change of every key not folded anew; rows are fetched only where needed."""
    moves = _moves(changes)
    places: dict[Key, Located] = {}
    fetched: dict[Key, Located] = {}
    for change in changes:
        located = index.located(change.key)
        if located is not None and change.key not in anew:
            places[change.key] = located
            if change.unchanged or (change.op == DELETE and change.position in moves):
                fetched[change.key] = located
    rows = lake.rows_at(fetched) if fetched else {}
    bases: dict[Key, State] = {}
    for key, located in places.items():
        row: Row | None = rows.get(key)
        bases[key] = State(
            row if row is not None else {},
            located.position,
            row["cdc_committed_at"] if row is not None else None,
            is_complete=not index.is_set_aside(key),
            is_read=row is not None,
        )
    return bases


def _planned(
    outcome: Fold, touched: set[Key], anew: set[Key], index: RowIndex, floor: Position | None, duplicates: int
) -> Merged:
    states = {key: state for key, state in outcome.states.items() if key in touched}
    index.prefetch(list(states))
    gone: dict[Key, Located] = {}
    rows: dict[Key, State] = {}
    for key, state in states.items():
        located = index.located(key)
        as_it_was = located is not None and state.row is not None and state.position == located.position
        if as_it_was and key not in anew:
            continue  # only something that was set aside happened; the row stays as it is
        if located is not None:
            gone[key] = located
        if state.row is not None:
            rows[key] = state
    return Merged(
        [change for change in outcome.applied if not change.is_recorded],
        gone,
        rows,
        outcome.unresolved,
        duplicates,
        outcome.floor,
        # Not all that was folded: a key that was only asked for values stays for the truncate to sweep.
        frozenset(states),
        is_truncated=outcome.floor is not None and outcome.floor != floor,
    )


def markers(history: Iterable[Change]) -> list[Change]:
    """The changes that leave no row behind by themselves and must be remembered for what comes late."""
    return [change for change in history if change.op in {DELETE, SET_ASIDE}]
