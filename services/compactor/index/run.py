"""Run: entries of an index in the order of their fingerprints, as numpy arrays that are found by halving."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compactor.index.fingerprint import Fingerprints

Slots = npt.NDArray[np.intp]
ABSENT = -1


@dataclass(slots=True)
class Entries:
    """What an index says of each key, by column.

    `file` is the number of a data file, or below zero a `row_index.Mark`; `row` the place in it. `ordinal` is None
    while all are 0, as they are for all producers but DMS.
    """

    file: npt.NDArray[np.int32]
    row: npt.NDArray[np.uint32]
    epoch: npt.NDArray[np.uint16]
    lsn: npt.NDArray[np.int64]
    ordinal: npt.NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.file)

    def take(self, which: Slots | npt.NDArray[np.bool_]) -> Entries:
        """Those at some places, or where a mask is true."""
        ordinal = None if self.ordinal is None else self.ordinal[which]
        return Entries(self.file[which], self.row[which], self.epoch[which], self.lsn[which], ordinal)

    def put(self, which: Slots | slice, new: Entries) -> None:
        """Overwrite those at some places."""
        self.file[which], self.row[which] = new.file, new.row
        self.epoch[which], self.lsn[which] = new.epoch, new.lsn
        if self.ordinal is None and new.ordinal is not None:
            self.ordinal = np.zeros(len(self), np.int64)
        if self.ordinal is not None:
            self.ordinal[which] = 0 if new.ordinal is None else new.ordinal

    @property
    def bytes(self) -> int:
        """The memory that they take."""
        ordinal = 0 if self.ordinal is None else self.ordinal.nbytes
        return self.file.nbytes + self.row.nbytes + self.epoch.nbytes + self.lsn.nbytes + ordinal

    def ordinals(self) -> npt.NDArray[np.int64]:
        """The ordinals, zeros where none was kept."""
        return np.zeros(len(self), np.int64) if self.ordinal is None else self.ordinal

    @classmethod
    def zeros(cls, count: int) -> Entries:
        """Room for so many."""
        return cls(
            np.zeros(count, np.int32),
            np.zeros(count, np.uint32),
            np.zeros(count, np.uint16),
            np.zeros(count, np.int64),
            None,
        )

    def sort(self, order: Slots) -> None:
        """Put them in an order, one column after the other, so that no second copy of all is needed."""
        self.file, self.row, self.epoch = self.file[order], self.row[order], self.epoch[order]
        self.lsn = self.lsn[order]
        self.ordinal = None if self.ordinal is None else self.ordinal[order]


NO_ENTRIES = Entries(np.empty(0, np.int32), np.empty(0, np.uint32), np.empty(0, np.uint16), np.empty(0, np.int64), None)


class Run:
    """Sorted fingerprints, each once, with their entries."""

    def __init__(self, prints: Fingerprints, entries: Entries) -> None:
        self.prints = prints
        self.entries = entries

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def bytes(self) -> int:
        """The memory that it takes."""
        return self.prints.bytes + self.entries.bytes

    def find(self, prints: Fingerprints) -> Slots:
        """Where some fingerprints are; ABSENT for those that are not."""
        slots = np.full(len(prints), ABSENT, np.intp)
        if not len(self):
            return slots
        order = np.argsort(prints.high)  # sorted questions walk through memory in one direction
        wanted = prints.take(order)
        at = np.searchsorted(self.prints.high, wanted.high)
        open_ = np.flatnonzero(at < len(self))
        open_ = open_[self.prints.high[at[open_]] == wanted.high[open_]]
        if self.prints.low is not None:
            assert wanted.low is not None
            slots_sorted = np.full(len(prints), ABSENT, np.intp)
            while len(open_):
                hit = self.prints.low[at[open_]] == wanted.low[open_]
                slots_sorted[open_[hit]] = at[open_[hit]]
                open_ = open_[~hit]
                at[open_] += 1  # another key with the same high half
                open_ = open_[at[open_] < len(self)]
                open_ = open_[self.prints.high[at[open_]] == wanted.high[open_]]
            slots[order] = slots_sorted
        else:
            slots[order[open_]] = at[open_]
        return slots

    def with_new(self, prints: Fingerprints, entries: Entries) -> Run:
        """This run with more entries, whose fingerprints are sorted and not in it."""
        at = self._places(prints)
        low = None
        if self.prints.low is not None:
            assert prints.low is not None
            low = np.insert(self.prints.low, at, prints.low)
        mine, new = self.entries, entries
        ordinal = None
        if mine.ordinal is not None or new.ordinal is not None:
            ordinal = np.insert(mine.ordinals(), at, new.ordinals())
        return Run(
            Fingerprints(np.insert(self.prints.high, at, prints.high), low),
            Entries(
                np.insert(mine.file, at, new.file),
                np.insert(mine.row, at, new.row),
                np.insert(mine.epoch, at, new.epoch),
                np.insert(mine.lsn, at, new.lsn),
                ordinal,
            ),
        )

    def _places(self, prints: Fingerprints) -> Slots:
        at = np.searchsorted(self.prints.high, prints.high)
        if self.prints.low is None:
            return at
        assert prints.low is not None
        open_ = np.arange(len(at))
        while len(open_):
            open_ = open_[at[open_] < len(self)]
            is_before = (self.prints.high[at[open_]] == prints.high[open_]) & (
                self.prints.low[at[open_]] < prints.low[open_]
            )
            open_ = open_[is_before]
            at[open_] += 1
        return at


def sorted_run(parts: Iterable[tuple[Fingerprints, Entries]], count: int, nothing: Fingerprints) -> Run:
    """A run of some parts with so many entries in all; `nothing` are fingerprints of no key.

    It takes little memory beside the run itself, whatever the parts are read from: each is copied to its place at once.
    """
    high = np.empty(count, np.uint64)
    low = None if nothing.low is None else np.empty(count, np.uint64)
    entries = Entries.zeros(count)
    at = 0
    for prints, part in parts:
        to = at + len(part)
        high[at:to] = prints.high
        if low is not None and prints.low is not None:
            low[at:to] = prints.low
        entries.put(slice(at, to), part)
        at = to
    if at != count:
        raise ValueError(f"{at} entries instead of {count}")
    if not Fingerprints(high, low).is_sorted():
        order = Fingerprints(high, low).order()
        high = high[order]
        low = None if low is None else low[order]
        entries.sort(order)
    return Run(Fingerprints(high, low), entries)
