"""Law: the rows of those keys of which the newest change alone does not tell, each folded from all of its changes.

A key is folded with the keys that it took values from by key changes. So many keys are folded at once that memory
stays bounded; each time raw is read again, of which only their lines are decoded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cdc.errors import FatalFault
from cdc.position import Position
from compactor.change import SET_ASIDE, Change, ChangeReader, Key
from compactor.fold import DELETE, TRUNCATE, UPDATE, table_row
from compactor.holds import resolve
from compactor.index import Fingerprints, Located, RowIndex
from compactor.merge import Merged, merge
from compactor.plain import Line
from compactor.state.heads import HeadReader
from compactor.state.together import Opened
from compactor.state.zone import Piece, Zone

CHANGES_MAX = 100_000
"""About how many changes are folded at once."""
Highs = npt.NDArray[np.uint64]
_T = TypeVar("_T")
_NO_MOVES = frozenset({UPDATE, DELETE})
_NEVER = Position(0, 0)


class EmptyLake:
    """A lake without rows: all that is known is among the changes."""

    def rows_at(self, located: Mapping[Key, Located]) -> dict[Key, dict[str, Any]]:
        """There is none."""
        assert not located
        return {}

    def history_of(self, column: str, values: Sequence[Any]) -> list[dict[str, Any]]:  # noqa: ARG002
        """There is none."""
        return []


@dataclass(slots=True)
class Donors:
    """Where deletes are: a row that a key change made may have its values from a key that was deleted there."""

    lsns: list[npt.NDArray[np.int64]] = field(default_factory=list)
    highs: list[Highs] = field(default_factory=list)

    def add(self, lsns: npt.NDArray[np.int64], highs: Highs) -> None:
        """Take note of some deletes."""
        self.lsns.append(lsns)
        self.highs.append(highs)

    def at(self, lsns: Iterable[int]) -> Highs:
        """The keys of all deletes at some LSNs, of whatever epoch; a key too many does no harm."""
        wanted = np.fromiter(lsns, np.int64)
        found = [high[np.isin(lsn, wanted)] for lsn, high in zip(self.lsns, self.highs, strict=True)]
        return np.unique(np.concatenate(found)) if found else np.empty(0, np.uint64)

    def are_deleted(self, highs: Highs) -> list[bool]:
        """Which of some keys were ever deleted."""
        are: list[bool] = np.isin(highs, np.concatenate([highs[:0], *self.highs])).tolist()
        return are


@dataclass(slots=True)
class Told:
    """What the law found: rows; how many keys have a newest change that is set aside, and these faults by column and
    reason; how many of these have a row from below the floor; the records of which not even the key could be read
    (shard, sequence number, sub-number).
    """

    rows: list[pa.Table] = field(default_factory=list)
    keys_aside: int = 0
    keys_below: int = 0
    aside: Counter[tuple[str, str]] = field(default_factory=Counter)
    rejected: set[tuple[str, int, int]] = field(default_factory=set)


class OddLines(NamedTuple):
    """The lines of an object that have no head: their places and, for each change that they hold, which line it is of
    and the fingerprint (high half) of its key. `is_all` says that no other line has a head either.
    """

    places: npt.NDArray[np.int32]
    highs: Highs
    is_all: bool

    def places_of(self, wanted: Highs) -> set[int]:
        """The places of the lines that change some keys."""
        return set(self.places[are_among(self.highs, wanted)].tolist())

    def may_be_left_out(self, wanted: Highs) -> bool:
        """Whether the whole object has no change of some keys, as far as is known without looking into it."""
        return self.is_all and not self.places_of(wanted)


_NO_ODD_LINES = OddLines(np.empty(0, np.int32), np.empty(0, np.uint64), is_all=False)


class Law:
    """Folds some keys of one table; `index` makes their fingerprints and knows of no row, `schema` is the rows'."""

    def __init__(
        self, zone: Zone, schema: pa.Schema, changes: ChangeReader, heads: HeadReader, index: RowIndex
    ) -> None:
        self._zone = zone
        self._schema = schema
        self._changes = changes
        self._heads = heads
        self._index = index
        self._truncates: dict[Position, Change] = {}
        self._odd_lines: dict[str, OddLines] = {}
        self.told = Told()

    @property
    def truncated_below(self) -> Position | None:
        """The position of the newest truncate that was read."""
        return max(self._truncates, default=None)

    def read(self, lines: Iterable[Line]) -> list[Change]:
        """The changes of some lines, truncates left out; what cannot be read is told."""
        found: list[Change] = []
        for line in lines:
            changes, rejected = self._changes.read(line.shard, line.batch, [line.raw], line.epoch)
            self._truncates |= {change.position: change for change in changes if change.op == TRUNCATE}
            found += [change for change in changes if change.op != TRUNCATE]
            self.told.rejected |= {(one.origin.shard, one.origin.sequence_number, one.origin.sub) for one in rejected}
        return found

    def read_others(self, objects: Sequence[Opened]) -> tuple[list[Change], Fingerprints]:
        """The changes of all lines without a head in some objects, and the fingerprints of their keys.

        Which line changes which key is remembered: reading a line by the law takes many times as long as by column,
        and is done again only where its key is folded.
        """
        found: list[Change] = []
        places: list[list[int]] = []
        for one in objects:
            its: list[int] = []
            for place, line in zip(one.heads.others, one.some(one.heads.others), strict=True):
                changes = self.read([line])
                its += [place] * len(changes)
                found += changes
            places.append(its)
        prints = self.prints_of(found)
        parts = np.split(prints.high, np.cumsum([len(its) for its in places])[:-1]) if objects else []
        for one, its, highs in zip(objects, places, parts, strict=True):
            self._odd_lines[one.ref.path] = OddLines(np.array(its, np.int32), highs.copy(), not len(one.heads))
        return found, prints

    def prints_of(self, changes: Sequence[Change]) -> Fingerprints:
        """The fingerprints of the changed keys."""
        return self._index.prints_of_keys([change.key for change in changes])

    def fold(self, slow: Highs, lines_count: int, donors: Donors, floor: Position | None) -> None:
        """Find the rows of all keys with some fingerprints (high halves), which have about so many lines.

        Below the floor no row lives, so that what was set aside there is of no account.
        """
        parts = max(1, -(-lines_count // CHANGES_MAX))
        for part in range(parts):
            self._fold_part(slow[slow % np.uint64(parts) == part], donors, floor)

    def _fold_part(self, own: Highs, donors: Donors, floor: Position | None) -> None:
        changes: list[Change] = []
        known, wanted = own[:0], own
        while len(wanted):
            changes += self._changes_of(wanted, donors)
            known = np.union1d(known, wanted)
            moves = {change.position.lsn for change in changes if change.op not in _NO_MOVES and change.unchanged}
            wanted = np.setdiff1d(donors.at(moves), known)
        merged = self._merged([*self._changes.confirmed(changes), *self._truncates.values()])
        rows = [table_row(state) for _, state in self._own(merged.rows, own)]
        self.told.rows.append(pa.Table.from_pylist(rows, self._schema))
        self._tell_set_aside(merged, own, floor or _NEVER)

    def _own(self, by_key: Mapping[Key, _T], own: Highs) -> list[tuple[Key, _T]]:
        """Those of some keys."""
        is_own = are_among(self._index.prints_of_keys(list(by_key)).high, own).tolist()
        return list(compress(by_key.items(), is_own))

    def _merged(self, changes: list[Change]) -> Merged:
        contract, epochs = self._zone.contract, self._zone.epochs
        resolved = resolve(
            changes,
            lambda some: merge(some, self._index, EmptyLake(), contract, None, epochs.continued),
            self._zone.progress.evidence,
        )
        if resolved.holds:
            raise FatalFault(
                f"a change waits for the row that it took values from, in {', '.join(sorted(resolved.holds))}",
                where=contract.name,
                hint="that row's changes are on their way through another shard: try again when these are in raw",
            )
        return resolved.merged

    def _changes_of(self, wanted: Highs, donors: Donors) -> list[Change]:
        """The changes of some keys, in the order in which they came, as far as they matter."""
        found: list[Change] = []
        enough = 2 * CHANGES_MAX
        pieces = (piece for piece in self._zone.pieces if not self._odd_lines_of(piece).may_be_left_out(wanted))
        for piece, text in self._zone.texts(pieces):
            found += self._changes_in(piece, text, wanted)
            if len(found) > enough:
                found = self._that_matter(found, donors)
                enough = max(enough, 2 * len(found))
        return self._that_matter(found, donors)  # also without what came late for what was let go

    def _that_matter(self, changes: Sequence[Change], donors: Donors) -> list[Change]:
        keys = list({change.key for change in changes})
        return that_matter(changes, set(compress(keys, donors.are_deleted(self._index.prints_of_keys(keys).high))))

    def _odd_lines_of(self, piece: Piece) -> OddLines:
        return self._odd_lines.get(piece.ref.path, _NO_ODD_LINES)

    def _changes_in(self, piece: Piece, text: bytes, wanted: Highs) -> list[Change]:
        odd = self._odd_lines_of(piece)
        places = odd.places_of(wanted)
        lines: list[Line] = []
        if not odd.is_all:
            heads = self._heads.read(text, piece.ref.records) if piece.epoch is not None else None
            if heads is None:
                lines = self._zone.lines(piece, text)
                heads = self._heads.read_lines(lines)
            places |= set(heads.changes.places[are_among(heads.prints.high, wanted)].tolist())
        if not places:
            return []
        lines = lines or self._zone.lines(piece, text)
        changes = self.read(lines[place] for place in sorted(places))
        return list(compress(changes, are_among(self.prints_of(changes).high, wanted).tolist()))

    def _tell_set_aside(self, merged: Merged, own: Highs, floor: Position) -> None:
        """Tell of the changes that were set aside, are newer than all others of their keys and not below the floor."""
        newest: dict[Key, Position] = {}
        aside: dict[Key, list[Change]] = {}
        for change in merged.history:
            if not change.faults:
                newest[change.key] = max(change.position, newest.get(change.key, _NEVER))
            elif change.position >= floor:
                aside.setdefault(change.key, []).append(change)
        for key, changes in self._own(aside, own):
            faults = [
                fault for change in changes if change.position > newest.get(key, _NEVER) for fault in change.faults
            ]
            self.told.keys_aside += bool(faults)
            row = merged.rows.get(key)
            is_below = row is not None and row.position is not None and row.position < floor
            self.told.keys_below += bool(faults) and is_below
            self.told.aside.update({(fault.where, fault.reason) for fault in faults})


def are_among(highs: Highs, wanted: Highs) -> npt.NDArray[np.bool_]:
    """Which fingerprints are among some others, which are sorted and unique; `np.isin` sorts these each time anew."""
    if not len(wanted):
        return np.zeros(len(highs), np.bool_)
    at = np.searchsorted(wanted, highs)
    at[at == len(wanted)] = 0
    are: npt.NDArray[np.bool_] = wanted[at] == highs
    return are


def that_matter(changes: Sequence[Change], deleted: Container[Key]) -> list[Change]:
    """Some changes without those that a newer one of the same key makes void, in the same order.

    Keys that are ever deleted, also by changes that are not among these, keep all: a key change may ask for the row
    that they had.
    """
    whole: dict[Key, Position] = {}
    for change in changes:
        if change.op != SET_ASIDE and not change.unchanged and not change.assumed and change.key not in deleted:
            whole[change.key] = max(change.position, whole.get(change.key, _NEVER))
    return [change for change in changes if change.position >= whole.get(change.key, _NEVER)]
