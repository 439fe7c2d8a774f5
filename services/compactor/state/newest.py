"""Newest: of every key the newest change that was seen, while objects are read from the newest to the oldest.

The order of the objects saves work and decides nothing: positions do. Of changes at one position the one that came
first counts, as in the merge, and that is the one which is read last.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compactor.index import Entries, Fingerprints
from compactor.index.run import ABSENT, NO_ENTRIES, Run
from compactor.state.heads import Places

_Mask = npt.NDArray[np.bool_]
RECENT_MAX = 200_000
"""How many new keys are kept beside the great run before they are merged into it."""
GONE, SLOW, UNSEEN = -1, -2, -3
"""What stands in `Entries.file` of a key without a row: its newest change is a delete; the law decides; nothing yet."""


@dataclass(frozen=True, slots=True)
class Changed:
    """Some changes by column: their keys' fingerprints, epochs, LSNs, and which of them are deletes."""

    prints: Fingerprints
    epochs: npt.NDArray[np.uint16]
    lsns: npt.NDArray[np.int64]
    is_delete: _Mask


@dataclass(frozen=True, slots=True)
class Candidates:
    """Of some changes those that may be the newest of their keys, each key once: where they are among them, with their
    fingerprints in order; and the keys of which the law must decide from now on.
    """

    which: Places
    prints: Fingerprints
    slow: Fingerprints


class Newest:
    """What is the newest of each key so far; `nothing` are the fingerprints of no key."""

    def __init__(self, nothing: Fingerprints) -> None:
        self._nothing = nothing
        self._great = Run(nothing, NO_ENTRIES)
        self._recent = Run(nothing, NO_ENTRIES)

    def __len__(self) -> int:
        return len(self._great) + len(self._recent)

    def candidates(self, changed: Changed) -> Candidates:
        """Which of some changes, in the order in which they came, are not older than what is known of their keys."""
        order, doubtful = _newest_of_each(changed)
        prints = changed.prints.take(order)
        known = self._find(prints)
        epoch, lsn = changed.epochs[order], changed.lsns[order]
        is_known = known.file != UNSEEN
        is_same = is_known & (known.epoch == epoch) & (known.lsn == lsn)
        is_older = is_known & ~is_same & ((epoch < known.epoch) | ((epoch == known.epoch) & (lsn < known.lsn)))
        # A delete and another change of one key at one position are halves of a key change.
        doubtful |= is_same & ((known.file == GONE) != changed.is_delete[order])
        may_be = ~is_older & (known.file != SLOW)
        return Candidates(order[may_be & ~doubtful], prints.take(may_be & ~doubtful), prints.take(may_be & doubtful))

    def put_slow(self, prints: Fingerprints) -> Entries:
        """Of these keys the law decides; what was before as `put` has it."""
        prints = prints.take(prints.order())
        prints = prints.take(~prints.repeats())
        entries = Entries.zeros(len(prints))
        entries.file[:] = SLOW
        return self.put(prints, entries)

    def put(self, prints: Fingerprints, entries: Entries) -> Entries:
        """These are the newest of their keys now, in the order of the fingerprints, each key once; what was before."""
        before = Entries.zeros(len(prints))
        before.file[:] = UNSEEN
        is_new = np.ones(len(prints), np.bool_)
        for run in (self._great, self._recent):
            slots = run.find(prints)
            hits = np.flatnonzero(slots != ABSENT)
            before.put(hits, run.entries.take(slots[hits]))
            run.entries.put(slots[hits], entries.take(hits))
            is_new[hits] = False
        self._recent = self._recent.with_new(prints.take(is_new), entries.take(is_new))
        if len(self._recent) > RECENT_MAX:
            self._great = self._great.with_new(self._recent.prints, self._recent.entries)
            self._recent = Run(self._nothing, NO_ENTRIES)
        return before

    def _find(self, prints: Fingerprints) -> Entries:
        found = Entries.zeros(len(prints))
        found.file[:] = UNSEEN
        for run in (self._great, self._recent):
            slots = run.find(prints)
            hits = np.flatnonzero(slots != ABSENT)
            found.put(hits, run.entries.take(slots[hits]))
        return found


def _newest_of_each(changed: Changed) -> tuple[Places, _Mask]:
    """Where the newest change of each key is, in the order of fingerprints, and whether it shares its position with one
    of another kind.
    """
    prints, lsns, epochs = changed.prints, changed.lsns, changed.epochs
    keys = (prints.high,) if prints.low is None else (prints.low, prints.high)
    is_one_epoch = not len(epochs) or bool((epochs == epochs[0]).all())
    order = np.lexsort((lsns, *keys) if is_one_epoch else (lsns, epochs, *keys))
    if not len(order):
        return order, np.zeros(0, np.bool_)
    prints, lsns, epochs, is_delete = prints.take(order), lsns[order], epochs[order], changed.is_delete[order]
    same_key = prints.repeats()
    same_position = np.zeros(len(order), np.bool_)
    same_position[1:] = same_key[1:] & (lsns[1:] == lsns[:-1]) & (epochs[1:] == epochs[:-1])
    last = np.ones(len(order), np.bool_)
    last[:-1] = ~same_key[1:]
    # Sorting is stable: of those at the last position the first is the one that came first.
    starts = np.flatnonzero(~same_position)
    group = np.cumsum(~same_position) - 1
    deletes = np.add.reduceat(is_delete.astype(np.int64), starts)
    sizes = np.diff(np.append(starts, len(order)))
    newest = group[last]
    is_mixed = (deletes[newest] > 0) & (deletes[newest] < sizes[newest])
    return order[starts[newest]], is_mixed
