"""Table plan: what a merge does to the table's files, and what the index is to know once that is committed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from cdc.position import Position
from compactor.change import SET_ASIDE, Change
from compactor.fold import State
from compactor.index import Fingerprints, Mark, Positions, RowIndex, by_file, marks, put_rows, with_dead
from compactor.merge import Merged, markers
from compactor.plain import PlainMerge


class Rows(Protocol):
    """What makes rows of the table."""

    def sorted_rows(self, states: Iterable[State], plain: pa.Table | None) -> pa.Table:
        """Rows in the order of their keys; `plain` has those merged by column."""


@dataclass(frozen=True, slots=True)
class TablePlan:
    """Rows to add, dead positions by data file, files that are dropped whole; and of the merge what the index follows.

    Where `floor` is not None, a truncate swept all rows below it but those of the keys `touched`.
    """

    rows: pa.Table
    dead: Mapping[str, Positions]
    dropped: frozenset[str]
    floor: Position | None
    touched: Fingerprints
    merged: Merged
    plain: PlainMerge | None


def plan(merged: Merged, plain: PlainMerge | None, index: RowIndex, pair: Rows) -> TablePlan:
    """What a merge does to the table; the index stays as it is."""
    rows = pair.sorted_rows(merged.rows.values(), plain.rows if plain else None)
    touched = index.prints_of_keys(list(merged.touched))
    floor = merged.floor if merged.is_truncated else None
    gone = [by_file(merged.gone.values()), plain.gone if plain else {}]
    if floor is not None:
        gone.append(index.rows_below(floor, touched))
    dead = with_dead(index, gone)
    dropped = frozenset(path for path, places in dead.items() if index.is_all_dead(path, places))
    return TablePlan(rows, dead, dropped, floor, touched, merged, plain)


def index_committed(planned: TablePlan, added: Sequence[tuple[str, int]], index: RowIndex, key: Sequence[str]) -> None:
    """Bring the index to what was committed; `added` are the new data files (path, rows), in the order of the rows."""
    merged, plain = planned.merged, planned.plain
    for path, places in planned.dead.items():
        index.set_dead(path, places)
    for path in planned.dropped:
        index.drop_file(path)
    if planned.floor is not None:
        index.sweep(planned.floor, planned.touched)
    index.remove(index.prints_of_keys(list(merged.gone)))
    put_rows(index, planned.rows, added, key)
    marked = markers(merged.history)
    index.mark(
        index.prints_of_keys([change.key for change in marked]),
        marks([(change.position, _mark(change)) for change in marked]),
    )
    if plain is not None:
        index.remove(plain.deleted)
        index.mark(plain.deleted, marks([(position, Mark.DELETED) for position in plain.deleted_at]))


def _mark(change: Change) -> Mark:
    return Mark.SET_ASIDE if change.op == SET_ASIDE else Mark.DELETED
