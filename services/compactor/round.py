"""Round: the new lines of a table → what is to be committed; plain changes by column, all others one by one.

Both ways lead to the same tables. A key goes one way whole: when one of its changes is not plain, none is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cdc.contract import TableContract
from cdc.position import Position
from compactor.change import Change, ChangeReader, Rejected
from compactor.fold import TRUNCATE, UPDATE
from compactor.holds import resolve
from compactor.index import Fingerprints, RowIndex
from compactor.merge import Lake, Merged, merge
from compactor.plain import Line, PlainMerge, PlainReader, PlainRows, Sights, noted_of_plain, separate, settle
from compactor.progress import ShardEvidence


@dataclass(frozen=True, slots=True)
class Round:
    """What one round merges: the changes folded one by one, the plain ones, the points at which shards are held back
    (by shard id), and the records of which not even the key could be read.
    """

    merged: Merged
    plain: PlainMerge
    holds: Mapping[str, int]
    rejected: list[Rejected]


@dataclass(frozen=True, slots=True)
class Reading:
    """Lines as they were read by column, which takes neither the index nor the lake: the plain changes, the places of
    all other lines, what all tell of snapshots.
    """

    lines: Sequence[Line]
    plain: PlainRows
    others: list[int]
    sights: Sights


class RoundReader:
    """Reads and merges rounds of one table."""

    def __init__(self, contract: TableContract, changes: ChangeReader, plain: PlainReader) -> None:
        self._contract = contract
        self._changes = changes
        self._plain = plain

    def read(self, lines: Sequence[Line]) -> Reading:
        """Read some lines by column."""
        return Reading(lines, *self._plain.read(lines, self._changes.held))

    def merge(
        self,
        reading: Reading,
        index: RowIndex,
        lake: Lake,
        floor: Position | None,
        evidence: Mapping[str, ShardEvidence],
        continued: Collection[int] = (),
    ) -> Round:
        """Merge what was read; `evidence` is what the shards prove when all of the lines are counted in, `continued`
        are the epochs before which nothing was lost.
        """
        known, lines, plain = self._changes, reading.lines, reading.plain
        # What they tell of columns must be known before the others are read.
        known.seen = noted_of_plain(known.seen, known.held, known.watched, plain, lines)
        changes, rejected = self._one_by_one(lines, reading.others)
        while True:
            prints = index.prints_of([plain.rows[name] for name in self._contract.key])
            moved = _not_plain(plain, prints, changes, index, floor)
            if not moved.any():
                changes = self._changes.confirmed(changes)
                resolved = resolve(
                    changes, lambda some: merge(some, index, lake, self._contract, floor, continued), evidence
                )
                moved = np.isin(prints.high, index.prints_of_keys(list(resolved.merged.touched)).high)
            if not moved.any():
                break
            some, more = self._one_by_one(lines, plain.places[moved].tolist())
            changes += some
            rejected += more
            plain = plain.take(~moved)
        held = _held(plain, lines, resolved.holds)
        if held.any():
            plain, prints = plain.take(~held), prints.take(~held)
        return Round(resolved.merged, settle(plain, prints, index), resolved.holds, rejected)

    def _one_by_one(self, lines: Sequence[Line], places: Sequence[int]) -> tuple[list[Change], list[Rejected]]:
        changes: list[Change] = []
        rejected: list[Rejected] = []
        for place in places:
            line = lines[place]
            some, faulty = self._changes.read(line.shard, line.batch, [line.raw], line.epoch)
            changes += some
            rejected += faulty
        return changes, rejected


def _not_plain(
    plain: PlainRows, prints: Fingerprints, changes: Sequence[Change], index: RowIndex, floor: Position | None
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which plain changes share a key, or a truncate, with changes that are not, or are not newer than the table."""
    if any(change.op == TRUNCATE for change in changes):
        return np.ones(len(plain), np.bool_)
    slow = index.prints_of_keys(list({change.key for change in changes}))
    # A key change may take its values from the delete at the same position.
    donors = {change.position.lsn for change in changes if change.unchanged and change.op != UPDATE}
    return separate(plain, prints, index, slow, floor, donors)


def _held(
    plain: PlainRows, lines: Sequence[Line], holds: Mapping[str, int]
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which plain changes are behind the point at which their shard is held back."""
    if not holds:
        return np.zeros(len(plain), np.bool_)
    behind = (
        lines[place].shard in holds and int(lines[place].raw.seq) >= holds[lines[place].shard]
        for place in plain.places.tolist()
    )
    return np.fromiter(behind, np.bool_, len(plain))
