"""Row index: key → where its row lies and how new it is. Rebuilt from the tables, and never a second truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cdc.position import Position
from compactor.index.fingerprint import Fingerprinter, Fingerprints
from compactor.index.run import ABSENT, NO_ENTRIES, Entries, Run, sorted_run

Key = tuple[Any, ...]
Positions = npt.NDArray[np.int64]
"""Places of rows in a data file, counted from 0, sorted."""
NO_POSITIONS: Positions = np.empty(0, np.int64)
RECENT_MAX = 200_000
"""How many new keys are kept beside the great run before they are merged into it."""


class Mark(IntEnum):
    """What stands in `Entries.file` of a key without a live row."""

    DELETED = -1
    SET_ASIDE = -2
    FORGOTTEN = -3


@dataclass(frozen=True, slots=True)
class Located:
    """A live row: its data file, its place in it, and the position of the change that made it."""

    path: str
    row: int
    position: Position


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one key: its live row, the position of its newest change, and whether that was set aside."""

    row: Located | None = None
    newest: Position | None = None
    is_set_aside: bool = False


UNKNOWN = Known()


class RowIndex:
    """All keys ever seen, with what a merge must know before it reads anything.

    `types` are the Arrow types of the key's columns.
    """

    def __init__(self, types: Sequence[pa.DataType], random: np.random.Generator | None = None) -> None:
        self._printer = Fingerprinter(types, random or np.random.default_rng())
        nothing = self._printer.of_keys([])
        self._great = Run(nothing, NO_ENTRIES)
        self._recent = Run(nothing, NO_ENTRIES)
        # A change that was set aside (or a delete that the table has not seen yet) may be newer than the live row.
        self._above: dict[tuple[int, int], tuple[Position, Mark]] = {}
        self._paths: list[str] = []
        self._numbers: dict[str, int] = {}
        self._records: dict[str, int] = {}
        self._dead: dict[str, Positions] = {}
        self._seen: dict[Key, Known] = {}
        self._live = 0

    def __len__(self) -> int:
        return self._live

    @property
    def bytes(self) -> int:
        """The memory that its keys and the deleted positions take."""
        return self._great.bytes + self._recent.bytes + sum(dead.nbytes for dead in self._dead.values())

    # What a merge asks

    def prefetch(self, keys: Sequence[Key]) -> None:
        """Look up many keys at once; until the next change of the index, asking for one of them costs nothing."""
        keys = [key for key in keys if key not in self._seen]
        if not keys:
            return
        found = self.find(self._printer.of_keys(keys))
        for key, file, row, epoch, lsn, ordinal, word in zip(
            keys,
            found.entries.file.tolist(),
            found.entries.row.tolist(),
            found.entries.epoch.tolist(),
            found.entries.lsn.tolist(),
            found.entries.ordinals().tolist(),
            _words(found.prints),
            strict=True,
        ):
            if file == Mark.FORGOTTEN:
                self._seen[key] = UNKNOWN
                continue
            position = Position(epoch, lsn, ordinal)
            if file < 0:
                self._seen[key] = Known(None, position, file == Mark.SET_ASIDE)
                continue
            above, mark = self._above.get(word, (position, Mark.DELETED))
            self._seen[key] = Known(Located(self._paths[file], row, position), above, mark == Mark.SET_ASIDE)

    def known(self, key: Key) -> Known:
        """What is known of a key; nothing of the empty one, which stands for the whole table."""
        if not key:
            return UNKNOWN
        if key not in self._seen:
            self.prefetch([key])
        return self._seen[key]

    def located(self, key: Key) -> Located | None:
        """Where the live row of a key is."""
        return self.known(key).row

    def newest(self, key: Key) -> Position | None:
        """The position of the newest change of a key, deletes included; None when it was never seen."""
        return self.known(key).newest

    def is_set_aside(self, key: Key) -> bool:
        """Whether the newest change of a key could not be merged, so that its present values are unknown."""
        return self.known(key).is_set_aside

    def prints_of(self, columns: Sequence[pa.ChunkedArray | pa.Array]) -> Fingerprints:
        """The fingerprints of keys given by column."""
        return self._printer.of_columns(columns)

    def prints_of_keys(self, keys: Sequence[Key]) -> Fingerprints:
        """The fingerprints of keys given one by one."""
        return self._printer.of_keys(keys)

    def find(self, prints: Fingerprints) -> Found:
        """What is known of many keys; `Mark.FORGOTTEN` stands for a key never seen."""
        count = len(prints)
        entries = Entries(
            np.full(count, Mark.FORGOTTEN, np.int32),
            np.zeros(count, np.uint32),
            np.zeros(count, np.uint16),
            np.full(count, -1, np.int64),
            None,
        )
        for run in (self._great, self._recent):
            slots = run.find(prints)
            hits = np.flatnonzero(slots != ABSENT)
            entries.put(hits, run.entries.take(slots[hits]))
        above = np.zeros(count, np.bool_)
        if self._above:
            above[:] = [word in self._above for word in _words(prints)]
        return Found(prints, entries, above)

    def live_places(self, prints: Fingerprints) -> dict[str, Positions]:
        """Where the live rows of some keys lie, by file; each place list is sorted."""
        entries = self.find(prints).entries
        return self._places(entries.file, entries.row)

    def _places(self, files: npt.NDArray[np.int32], rows: npt.NDArray[np.uint32]) -> dict[str, Positions]:
        live = np.flatnonzero(files >= 0)
        order = live[np.argsort(files[live], kind="stable")]
        files, rows = files[order], rows[order]
        numbers, starts = np.unique(files, return_index=True)
        ends = [*starts.tolist(), len(rows)][1:]
        return {
            self._paths[number]: np.sort(rows[start:end]).astype(np.int64)
            for number, start, end in zip(numbers.tolist(), starts.tolist(), ends, strict=True)
        }

    def rows_below(self, floor: Position, but: Fingerprints) -> dict[str, Positions]:
        """The live rows that a truncate at this position removed, by file; those of some keys left out."""
        swept = [run.entries.take(self._swept(run, floor, but)) for run in (self._great, self._recent)]
        return self._places(*(np.concatenate(parts) for parts in zip(*((e.file, e.row) for e in swept), strict=True)))

    def rows_of_older_epochs(self, epoch: int, rows_max: int) -> dict[str, Positions]:
        """Some live rows of keys of which nothing is known from an epoch or a later one, by file."""
        files: list[npt.NDArray[np.int32]] = []
        rows: list[npt.NDArray[np.uint32]] = []
        left = rows_max
        newer = {word for word, (position, _) in self._above.items() if position.epoch >= epoch}
        for run in (self._great, self._recent):
            older = np.flatnonzero((run.entries.file >= 0) & (run.entries.epoch < epoch))[: left + len(newer)]
            if newer:
                spared = [word in newer for word in _words(run.prints.take(older))]
                older = older[~np.array(spared, np.bool_)]
            older = older[:left]
            left -= len(older)
            files.append(run.entries.file[older])
            rows.append(run.entries.row[older])
        return self._places(np.concatenate(files), np.concatenate(rows))

    def count_of_older_epochs(self, epoch: int) -> int:
        """How many live rows are of an epoch before this one."""
        runs = (run.entries for run in (self._great, self._recent))
        return sum(int(np.count_nonzero((some.file >= 0) & (some.epoch < epoch))) for some in runs)

    @staticmethod
    def _swept(run: Run, floor: Position, but: Fingerprints) -> npt.NDArray[np.bool_]:
        below = _is_below(run.entries, floor) & (run.entries.file >= 0)
        spared = run.find(but)
        below[spared[spared != ABSENT]] = False
        return below

    def is_all_at_or_above(self, position: Position) -> bool:
        """Whether every live row has this position or a newer one."""
        return not any(
            bool((_is_below(run.entries, position) & (run.entries.file >= 0)).any())
            for run in (self._great, self._recent)
        )

    def dead(self, path: str) -> Positions:
        """The deleted positions of a data file."""
        return self._dead.get(path, NO_POSITIONS)

    def is_all_dead(self, path: str, dead: Positions) -> bool:
        """Whether a data file with these deleted positions has no live row left."""
        return len(dead) == self._records[path]

    @property
    def paths(self) -> tuple[str, ...]:
        """The data files of the table."""
        return tuple(self._records)

    def records(self, path: str) -> int:
        """The rows of a data file, dead ones counted in."""
        return self._records[path]

    # What a commit tells

    def add_file(self, path: str, records: int, dead: Positions) -> None:
        """Know a data file."""
        self._numbers[path] = len(self._paths)
        self._paths.append(path)
        self._records[path] = records
        self._dead[path] = dead

    def set_dead(self, path: str, dead: Positions) -> None:
        """All deleted positions of a data file, sorted."""
        self._dead[path] = dead

    def drop_file(self, path: str) -> None:
        """A data file is no longer in the table."""
        self._numbers.pop(path, None)
        self._records.pop(path, None)
        self._dead.pop(path, None)

    def load(self, rows: Iterable[tuple[Fingerprints, Entries]], count: int) -> bool:
        """Take over all live rows of a table, so many; False when a key has two, and the index is of no use then."""
        self._great = sorted_run(rows, count, self._printer.of_keys([]))
        self._live = len(self._great)
        self._seen.clear()
        return not self._great.prints.repeats().any()

    def entries_in(self, path: str, rows: npt.NDArray[np.int64], positions: Mapping[str, npt.NDArray[Any]]) -> Entries:
        """Entries of rows at some places of a known file; `positions` has `cdc_epoch`, `cdc_lsn`, `cdc_ordinal`."""
        ordinal = positions["cdc_ordinal"].astype(np.int64)
        return Entries(
            np.full(len(rows), self._numbers[path], np.int32),
            rows.astype(np.uint32),
            positions["cdc_epoch"].astype(np.uint16),
            positions["cdc_lsn"].astype(np.int64),
            ordinal if ordinal.any() else None,
        )

    def put(self, prints: Fingerprints, entries: Entries) -> None:
        """These rows are live now; each key stands once."""
        self._seen.clear()
        found = self.find(prints)
        self._live += int((found.entries.file < 0).sum())
        marked = np.flatnonzero((found.entries.file < 0) & (found.entries.file != Mark.FORGOTTEN))
        words = _words(prints.take(marked))
        for place, word in zip(marked.tolist(), words, strict=True):
            position = _position(found.entries, place)
            if position > _position(entries, place):
                self._above[word] = position, Mark(int(found.entries.file[place]))
        self._write(prints, entries)
        for place in np.flatnonzero(found.is_above).tolist():
            word = _words(prints.take(np.array([place])))[0]
            if self._above[word][0] <= _position(entries, place):
                del self._above[word]

    def remove(self, prints: Fingerprints) -> None:
        """The rows of these keys are gone."""
        if not len(prints):
            return
        self._seen.clear()
        found = self.find(prints)
        live = np.flatnonzero(found.entries.file >= 0)
        self._live -= len(live)
        gone = prints.take(live)
        entries = found.entries.take(live)
        entries.file[:] = Mark.FORGOTTEN
        entries.epoch[:], entries.lsn[:] = 0, -1
        self._write(gone, entries)
        if self._above:
            for place, word in enumerate(_words(gone)):
                if word in self._above:
                    position, mark = self._above.pop(word)
                    self._write(gone.take(np.array([place])), marks([(position, mark)]))

    def sweep(self, floor: Position, but: Fingerprints) -> None:
        """The rows of `rows_below` are gone."""
        self._seen.clear()
        for run in (self._great, self._recent):
            self.remove(run.prints.take(self._swept(run, floor, but)))

    def mark(self, prints: Fingerprints, entries: Entries) -> None:
        """Remember deletes and changes set aside (`Mark` in `file`), where nothing newer of the key is known."""
        if not len(prints):
            return
        self._seen.clear()
        keys = (prints.high,) if prints.low is None else (prints.low, prints.high)
        order = np.lexsort((entries.ordinals(), entries.lsn, entries.epoch, *keys))
        prints, entries = prints.take(order), entries.take(order)
        newest = np.ones(len(prints), np.bool_)
        newest[:-1] = ~prints.repeats()[1:]
        prints, entries = prints.take(newest), entries.take(newest)
        known = self.find(prints)
        is_live = known.entries.file >= 0
        fresh = ~is_live & ~_is_older(entries, known.entries)
        self._write(prints.take(fresh), entries.take(fresh))
        for place in np.flatnonzero(is_live & _is_older(known.entries, entries)).tolist():
            word = _words(prints.take(np.array([place])))[0]
            position = _position(entries, place)
            if word not in self._above or position >= self._above[word][0]:
                self._above[word] = position, Mark(int(entries.file[place]))

    def _write(self, prints: Fingerprints, entries: Entries) -> None:
        """Overwrite entries in place; new keys go to the recent run, and with it sometimes to the great one."""
        is_new = np.ones(len(prints), np.bool_)
        for run in (self._great, self._recent):
            slots = run.find(prints)
            hits = np.flatnonzero(slots != ABSENT)
            run.entries.put(slots[hits], entries.take(hits))
            is_new[hits] = False
        new = np.flatnonzero(is_new)
        if not len(new):
            return
        new = new[prints.take(new).order()]
        self._recent = self._recent.with_new(prints.take(new), entries.take(new))
        if len(self._recent) > RECENT_MAX:
            self._great = self._great.with_new(self._recent.prints, self._recent.entries)
            self._recent = Run(self._printer.of_keys([]), NO_ENTRIES)


@dataclass(frozen=True, slots=True)
class Found:
    """What an index says of some keys, in their order; `is_above`: something set aside is newer than the row."""

    prints: Fingerprints
    entries: Entries
    is_above: npt.NDArray[np.bool_]


def marks(marks: Sequence[tuple[Position, Mark]]) -> Entries:
    """The entries of some marks."""
    ordinals = np.array([position.ordinal for position, _ in marks], np.int64)
    return Entries(
        np.array([mark for _, mark in marks], np.int32),
        np.zeros(len(marks), np.uint32),
        np.array([position.epoch for position, _ in marks], np.uint16),
        np.array([position.lsn for position, _ in marks], np.int64),
        ordinals if ordinals.any() else None,
    )


def _position(entries: Entries, place: int) -> Position:
    ordinal = 0 if entries.ordinal is None else int(entries.ordinal[place])
    return Position(int(entries.epoch[place]), int(entries.lsn[place]), ordinal)


def _is_older(some: Entries, others: Entries) -> npt.NDArray[np.bool_]:
    """Where the position of one is older than that of the other."""
    same_epoch = some.epoch == others.epoch
    older: npt.NDArray[np.bool_] = (some.epoch < others.epoch) | (same_epoch & (some.lsn < others.lsn))
    if some.ordinal is not None or others.ordinal is not None:
        older |= same_epoch & (some.lsn == others.lsn) & (some.ordinals() < others.ordinals())
    return older


def _is_below(entries: Entries, floor: Position) -> npt.NDArray[np.bool_]:
    below: npt.NDArray[np.bool_] = (entries.epoch < floor.epoch) | (
        (entries.epoch == floor.epoch) & (entries.lsn < floor.lsn)
    )
    if floor.ordinal:
        same = (entries.epoch == floor.epoch) & (entries.lsn == floor.lsn)
        below |= same & (entries.ordinals() < floor.ordinal)
    return below


def _words(prints: Fingerprints) -> list[tuple[int, int]]:
    low: Iterable[int] = prints.low.tolist() if prints.low is not None else [0] * len(prints)
    return list(zip(prints.high.tolist(), low, strict=True))
