"""Snapshot end: whether the newest snapshot is complete and merged whole, so that what it did not read is gone."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import timedelta

import msgspec

from cdc import raw
from cdc.epoch import OPERATOR, EpochEnd, EpochStart, record_end
from cdc.objects import ObjectStore
from cdc.telemetry import get_log
from compactor.chain import Shard, new_links, read_record
from compactor.epochs import EpochKeeper
from compactor.index import RowIndex
from compactor.lake.pair import TablePair
from compactor.progress import Progress
from compactor.vanished import is_merged

RESENT_WITHIN = timedelta(minutes=1)
"""A producer that sends refused records again has done so, or given up, after this time."""

_LOG = get_log(__name__)


class SnapshotEnd:
    """Knows when the rows of older epochs that the newest snapshot did not read may be deleted from one table."""

    def __init__(self, table: str, store: ObjectStore, keeper: EpochKeeper, pair: TablePair) -> None:
        self._table = table
        self._store = store
        self._keeper = keeper
        self._pair = pair
        self._counted_epoch = 0

    def due(self, progress: Progress, known: AbstractSet[str]) -> EpochEnd | None:
        """The end of the newest snapshot, when all of it is merged and its vanished rows are still there.

        `known` are all shards that the consumer has seen.
        """
        if progress.is_snapshot_settled:
            return None
        self._record_proven(progress, known)
        epochs = self._keeper.epochs
        start, end = epochs.start(progress.snapshot_epoch), epochs.ends.get(progress.snapshot_epoch)
        if start is None or end is None:
            return None
        if not is_merged(start, end, progress, known, closed_children(self._store, end.ends)):
            return None
        return end if self._has_all_reads(end) else None

    def _record_proven(self, progress: Progress, known: AbstractSet[str]) -> None:
        """Record that the snapshot of an operator's epoch is complete, once that is proven for all shards."""
        epochs, lasts = self._keeper.epochs, progress.watched.lasts
        start = epochs.start(progress.snapshot_epoch)
        if start is None or start.origin != OPERATOR or start.epoch in epochs.ends or not lasts:
            return
        ends = proven_ends(self._store, progress, start, known)
        if ends is not None:
            taken_at = max(last.taken_at for last in lasts.values())
            record_end(self._store, EpochEnd(self._table, start.epoch, ends, taken_at))
            self._keeper.refresh()

    def _has_all_reads(self, end: EpochEnd) -> bool:
        """Whether as many rows were merged of a snapshot as it had: one that could not be read is not gone."""
        if end.reads is None or end.epoch == self._counted_epoch:
            return True
        missing = end.reads - self._pair.count_reads(end.epoch)
        if missing <= 0:
            self._counted_epoch = end.epoch
            return True
        hint = "look into the quarantine: a row that was read, but not merged, must not be taken for deleted"
        _LOG.error(
            "reads of a snapshot are missing", table=self._table, epoch=end.epoch, missing=missing, hint=hint
        )  # fmt: skip
        return False

    def spares(self, end: EpochEnd, index: RowIndex) -> bool:
        """Whether rows of older epochs are left once the vanished ones are deleted: those of keys of which something is
        set aside since the snapshot, perhaps its read. They stay as they were, and the snapshot waits for it.
        """
        left = index.count_of_older_epochs(end.epoch)
        if left:
            hint = "mend what is in the quarantine and replay it, or correct or delete these rows at the source"
            told = {"table": self._table, "epoch": end.epoch, "rows": left, "hint": hint}
            _LOG.error("rows wait for what is set aside of a snapshot", **told)
        return left > 0


def closed_children(store: ObjectStore, ends: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The children of shards that were closed behind some sequence numbers (by shard id), and of these, by shard id."""
    children: dict[str, tuple[str, ...]] = {}
    left = [(shard, int(number)) for shard, number in ends.items()]
    while left:
        shard_id, offset = left.pop()
        stream, _, name = shard_id.partition("/")
        links = new_links(store, Shard(stream, name), offset)
        record = read_record(store, links[-1]) if links else None
        if record is not None and record.closed and shard_id not in children:
            children[shard_id] = tuple(f"{stream}/{child}" for child in record.children)
            left += [(child, raw.START) for child in children[shard_id]]
    return children


def proven_ends(
    store: ObjectStore, progress: Progress, start: EpochStart, known: AbstractSet[str]
) -> dict[str, str] | None:
    """Up to where each shard was read after the last read of a snapshot had come; None while one may still lack reads.

    A producer that had to send part of a call again does so within seconds: what a shard has a minute after the last
    read is all that there is of the snapshot.
    """
    lasts = progress.watched.lasts
    streams = {shard.partition("/")[0] for shard in lasts}
    settled_at = max(last.arrived_at for last in lasts.values()) + RESENT_WITHIN
    ends: dict[str, str] = {}
    for shard in sorted(known | progress.evidence.keys()):
        stream, _, name = shard.partition("/")
        if stream not in streams or shard in start.ended:
            continue
        evidence = progress.evidence.get(shard)
        if evidence is not None and evidence.closed:
            continue
        tip = msgspec.json.decode(store.get(raw.tip_path(stream, name)), type=raw.Tip)
        if tip.read_to_tip_at is None or tip.read_to_tip_at < settled_at:
            return None
        ends[shard] = tip.upto
    return ends
