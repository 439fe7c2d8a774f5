"""Fold: the state of every key after its changes, in the order of their positions. Pure; the heart of the merge.

Unchanged values (TOASTed, sent without value) are taken from the key's state before; those of a key change from the old
key's state, which the delete of the same position leaves behind. A value that cannot be found makes the change
unresolved: it is never guessed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from cdc.errors import RecordFault
from cdc.event import Op
from cdc.position import Position
from compactor.change import SET_ASIDE, Change, Key, Row

_UNRESOLVED = "a value came as unchanged, but neither the row before nor the old key's row is known"
DELETE, TRUNCATE, UPDATE = Op.DELETE.value, Op.TRUNCATE.value, Op.UPDATE.value


@dataclass(frozen=True, slots=True)
class State:
    """What is known of a key: its row (None: there is none), and the change that made it so.

    `position` and `committed_at` are those of that change. `is_complete` is False when a newer change was set aside, so
    that values which later changes leave unchanged are unknown. `is_read` is False for a row that exists in the table
    but was not fetched, since nothing was expected to ask for it.
    """

    row: Row | None
    position: Position | None = None
    committed_at: datetime | None = None
    is_complete: bool = True
    is_read: bool = True


ABSENT = State(None)


@dataclass(slots=True)
class Fold:
    """The outcome: states by key, what to append to history (values filled), what stayed unresolved, and the floor."""

    states: dict[Key, State] = field(default_factory=dict)
    applied: list[Change] = field(default_factory=list)
    unresolved: list[Change] = field(default_factory=list)
    floor: Position | None = None


def fold(
    changes: Iterable[Change], bases: Mapping[Key, State], floor: Position | None, continued: Collection[int] = ()
) -> Fold:
    """Fold changes of any keys onto their base states.

    `bases` holds the state before the first of the changes for every key that had one. `floor` is the position of the
    newest truncate, or of a complete snapshot: rows below it are gone, whenever their changes arrive. `continued` are
    the epochs before which nothing was lost: only across these may a value that came unchanged be filled. A mark
    counts for nothing once the change that was set aside has been merged after all.
    """
    outcome = Fold(floor=floor)
    donors: dict[Position, State] = {}
    # At one position the delete of a key change comes before its create.
    for change in sorted(_without_replaced_marks(changes), key=lambda change: (change.position, change.op != DELETE)):
        if change.op == TRUNCATE:
            outcome.floor = max(outcome.floor or change.position, change.position)
            outcome.applied.append(change)
            continue
        before = outcome.states.get(change.key) or bases.get(change.key, ABSENT)
        if before.position and outcome.floor and before.position < outcome.floor < change.position:
            before = replace(before, row=None)  # a truncate lies between the two changes
        after, applied = _apply(change, before, donors, continued)
        if after is None:
            outcome.unresolved.append(change)
            continue
        outcome.states[change.key] = after
        outcome.applied.append(applied)
    if outcome.floor is not None:
        for key, state in outcome.states.items():
            if state.position is not None and state.position < outcome.floor:
                outcome.states[key] = State(None, state.position, state.committed_at)
    return outcome


def _without_replaced_marks(changes: Iterable[Change]) -> list[Change]:
    changes = list(changes)
    marks = {change.identity for change in changes if change.op == SET_ASIDE}
    if not marks:
        return changes
    replaced = {change.identity for change in changes if change.op != SET_ASIDE and change.identity in marks}
    return [change for change in changes if change.op != SET_ASIDE or change.identity not in replaced]


def given_up(change: Change) -> Change:
    """A change whose unchanged values can never be found, set aside."""
    return change.set_aside(
        *(RecordFault("unresolved", _UNRESOLVED, where=column) for column in sorted(change.unchanged))
    )


def _apply(
    change: Change, before: State, donors: dict[Position, State], continued: Collection[int]
) -> tuple[State | None, Change]:
    """The state after one change, and the change with its values filled; None when a value cannot be found."""
    if change.op == DELETE:
        donors[change.position] = before
        return State(None, change.position, change.committed_at), change
    if change.op == SET_ASIDE:
        return replace(before, is_complete=False), change
    filled = change
    if change.unchanged:
        source = before if change.op == UPDATE and before.row is not None else donors.get(change.position, ABSENT)
        lost_between = source.row is not None and _is_of_lost_epoch(source, change, continued)
        known = source.row is not None and source.is_complete and not lost_between
        if known:
            assert source.is_read, "a row that is needed was not fetched"
            assert source.row is not None
            values = {**change.values, **{name: source.row[name] for name in change.unchanged}}
            filled = replace(change, values=values)
        elif change.op == UPDATE and before.row is not None and not lost_between:
            # A mark stands below it: nothing is filled across. A recorded change is undone when the mark came late.
            aside = change if change.is_recorded else given_up(change)
            return replace(before, is_complete=False), aside
        elif not change.is_recorded:
            return None, change
        elif not source.is_complete or (change.op == UPDATE and not before.is_complete):
            # What it was filled with is not true since a mark came late, and there is no row to go back to.
            return replace(before, is_complete=False), change
        # else: history has the value that was found when the change was first merged
    return State(filled.values, change.position, change.committed_at), filled


def _is_of_lost_epoch(state: State, change: Change, continued: Collection[int]) -> bool:
    """Whether changes may have been lost between a state and a change: then its values are not those left unchanged.

    The read of the new snapshot has them, which may still be on its way.
    """
    if state.position is None:
        return False
    return any(epoch not in continued for epoch in range(state.position.epoch + 1, change.position.epoch + 1))


def stamped(position: Position, committed_at: object) -> dict[str, Any]:
    """What every row of the lake has beside its columns: where its change stands, and when it was committed."""
    epoch, lsn, ordinal = position
    return {"cdc_epoch": epoch, "cdc_lsn": lsn, "cdc_ordinal": ordinal, "cdc_committed_at": committed_at}


def table_row(state: State) -> dict[str, Any]:
    """The table's row of a key that lives."""
    assert state.row is not None
    assert state.position is not None
    return {**state.row, **stamped(state.position, state.committed_at)}
