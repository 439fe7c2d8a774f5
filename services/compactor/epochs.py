"""Epochs: what publishers say in raw of their snapshots becomes recorded epochs; until it has, their shards wait there.

A publisher tells every open shard when a snapshot begins, and when it is complete. A shard is not merged past such a
mark before all of the shards were found to have it and the epoch is recorded. Nothing waits long: the publisher sends
no read before every shard is told, and the marks are looked for in all of raw, merged or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import msgspec

from cdc import raw
from cdc.contract import TableContract
from cdc.epoch import FIRST_EPOCH, EpochEnd, Epochs, EpochStart, read_epochs, record_end, record_start
from cdc.objects import ObjectStore
from cdc.raw import SnapshotMark, SnapshotWord
from cdc.telemetry import get_log
from compactor import metrics
from compactor.chain import Batch, new_links, read_lines, read_record, shards
from compactor.plain import Line
from compactor.progress import Progress, with_epochs

_LOG = get_log(__name__)
READ_AT_ONCE = 4
"""How many batches are read from raw at once."""


@dataclass(slots=True)
class Sightings:
    """What was found in raw past the offsets: marks by shard, the children of closed shards, batches of the table."""

    marks: dict[str, list[SnapshotMark]] = field(default_factory=dict)
    children: dict[str, tuple[str, ...]] = field(default_factory=dict)
    batches: list[Batch] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)


class EpochKeeper:
    """The recorded epochs of one table, as raw has them; records those that publishers begin.

    `refused` are the databases of snapshots that are of another one than the table, by the snapshot's id: their epochs
    are not recorded, unless the database is `accepted`.
    """

    def __init__(self, contract: TableContract, store: ObjectStore) -> None:
        self._contract = contract
        self._store = store
        self._sightings = Sightings()
        self.epochs = Epochs()
        self.accepted: str | None = None
        self.refused: dict[str, str] = {}
        self._followed_resent: frozenset[str] = frozenset()

    def refresh(self) -> None:
        """Learn of epochs that were recorded meanwhile, by an operator or another compactor."""
        self.epochs = read_epochs(self._store, self._contract.name, self.epochs)

    def followed(self, progress: Progress) -> Progress | None:
        """The progress with account taken of epochs recorded since; None when there are none."""
        if self.epochs.newest == progress.epoch:
            return self._without_resent(progress)
        new = with_epochs(progress, self.epochs)
        closed = {shard for shard, evidence in new.evidence.items() if evidence.closed}
        retired = sorted(closed - {shard for shard, evidence in progress.evidence.items() if evidence.closed})
        hint = "rows of older epochs are deleted once its snapshot is complete; see docs/epochs.md"
        _LOG.warning("an epoch is followed", table=self._contract.name, epoch=new.epoch, retired=retired, hint=hint)
        return new

    def _without_resent(self, progress: Progress) -> Progress | None:
        """The progress that waits no longer where an operator has told of reads sent again since it was last asked."""
        waits = {shard: at for shard, at in progress.waits.items() if not self.epochs.is_resent(shard, at)}
        if waits != progress.waits and not self.epochs.resent.keys() <= self._followed_resent:
            return replace(progress, waits=waits)
        # Only what the table has taken in is done with: a commit that failed is tried again.
        self._followed_resent = frozenset(self.epochs.resent)
        return None

    def is_waiting(self, progress: Progress) -> bool:
        """Whether the table waits for an operator; said as loudly as can be, each time."""
        name, waits = self._contract.name, progress.waits
        metrics.WAITS_FOR_EPOCH.labels(name).set(len(waits))
        if waits:
            hint = f"`cdc epoch {name}` shows where it begins and records it; see docs/epochs.md"
            what = "a snapshot begins after streamed changes, or LSNs began anew: the table waits for its epoch"
            _LOG.error(what, table=name, shards=sorted(waits), hint=hint)
        return bool(waits)

    def admitted(
        self, batches: Sequence[Batch], progress: Progress, known: AbstractSet[str], *, is_new: bool
    ) -> list[Batch]:
        """The batches that may be merged now; records the epochs that all shards concerned are found to speak of.

        `known` are all shards, `is_new` says that the table's history is empty.
        """
        if not any(self._waits(batch) or self._has_foreign(batch) for batch in batches):
            self._sightings = Sightings()
            self.refused = {}
            self._tell_refused()
            return list(batches)
        self.record_announced(progress, known, is_new=is_new)
        self._tell_refused()
        waiting = self._held
        unsettled = {batch.shard.id for batch in batches if self._waits(batch)}
        # What a child has came after its parent's mark, also where it is read before other shards are.
        waiting |= descendants(unsettled, self._sightings.children)
        allowed = []
        for batch in batches:
            if batch.shard.id not in waiting and self._waits(batch):
                waiting.add(batch.shard.id)
            if batch.shard.id not in waiting:
                allowed.append(batch)
        if waiting:
            hint = "the marks of the other shards are on their way; if not, see docs/epochs.md"
            _LOG.info("waits for a snapshot's marks", table=self._contract.name, shards=sorted(waiting), hint=hint)
        return allowed

    def record_announced(self, progress: Progress, known: AbstractSet[str], *, is_new: bool) -> None:
        """Record the epochs that all shards concerned are found to speak of; what is `refused` is known then."""
        self._look(progress.offsets)
        closed = {shard for shard, evidence in progress.evidence.items() if evidence.closed}
        self._record(known | {shard.id for shard in shards(self._store)}, closed, is_new=is_new)

    def find_refused(self, progress: Progress) -> None:
        """Learn which snapshots are of another database; nothing is recorded."""
        self._look(progress.offsets)
        self.refused = {snapshot: str(word.source) for snapshot, (_, word) in self._foreign().items()}

    def lines(self, batches: Sequence[Batch]) -> list[Line]:
        """The table's records in some batches, each with its epoch; those of another database are left out."""
        name, discarded = self._contract.name, self.epochs.discarded
        kept: list[Line] = []
        left_out = 0
        # Several at a time: most of it is waiting for S3 and unpacking, and neither holds the interpreter.
        with ThreadPoolExecutor(READ_AT_ONCE, thread_name_prefix="raw") as pool:
            reading = pool.map if len(batches) > 1 else map
            for lines in reading(self._lines_of, batches):
                kept += [line for line in lines if line.epoch not in discarded] if discarded else lines
                left_out += len(lines)
        left_out -= len(kept)
        if left_out:
            metrics.DISCARDED.labels(name).inc(left_out)
            _LOG.warning("records of another database are left out", table=name, records=left_out)
        return kept

    def _lines_of(self, batch: Batch) -> list[Line]:
        """The table's records in a batch; nearly every batch is of one epoch whole."""
        shard, name, epochs = batch.shard.id, batch.name, self.epochs
        lines = read_lines(self._store, batch, self._contract.name)
        epoch = epochs.of(shard, batch.upto)
        if epochs.of(shard, batch.after + 1) == epoch:
            return [Line(shard, name, line, epoch) for line in lines]
        return [Line(shard, name, line, epochs.of(shard, int(line.seq))) for line in lines]

    def _tell_refused(self) -> None:
        name = self._contract.name
        metrics.REFUSED_SNAPSHOTS.labels(name).set(len(self.refused))
        for snapshot, source in sorted(self.refused.items()):
            _LOG.error(
                "a snapshot is of another database than the table: its shards wait",
                table=name, snapshot=snapshot, source=source, source_of_table=self.epochs.source,
                hint=f"if the table moved there, `cdc epoch {name} --accept-source`; if not, see docs/epochs.md",
            )  # fmt: skip

    @property
    def _held(self) -> set[str]:
        """The shards that came from those which a refused snapshot was told to: what they have may be of it."""
        marks = self._sightings.marks.items()
        told = {shard for shard, some in marks if any(mark.word.snapshot in self.refused for mark in some)}
        return descendants(told, self._sightings.children)

    def _has_foreign(self, batch: Batch) -> bool:
        """Whether a batch tells of a snapshot of another database, even if another followed."""
        marks = self._of_table(batch.record.marks)
        return any(self._is_foreign(mark.word) for mark in marks if int(mark.seq) > batch.after)

    def _waits(self, batch: Batch) -> bool:
        return any(
            not self._is_settled(batch.shard.id, mark)
            for mark in self._of_table(batch.record.marks)
            if int(mark.seq) > batch.after
        )

    def _of_table(self, marks: Iterable[SnapshotMark]) -> list[SnapshotMark]:
        return [mark for mark in marks if self._reads(mark.word) is not None]

    def _reads(self, word: SnapshotWord) -> int | None:
        """How many rows of the table the snapshot has; None when the table is not in it."""
        source = (self._contract.source_schema, self._contract.source_table)
        return next((reads for schema, table, reads in word.tables if (schema, table) == source), None)

    def _is_settled(self, shard: str, mark: SnapshotMark) -> bool:
        begun = self.epochs.by_origin(mark.word.snapshot)
        if mark.word.snapshot in self.refused and not mark.word.is_complete:
            return False
        if begun is None:
            # Marks of a snapshot that another followed before all shards had them: none of its reads was ever sent.
            later = (start.starts.get(shard) for start in self.epochs.starts)
            return mark.word.is_complete or any(first is not None and int(first) > int(mark.seq) for first in later)
        is_superseded = begun.epoch < self.epochs.newest
        return not mark.word.is_complete or begun.epoch in self.epochs.ends or is_superseded

    def _look(self, offsets: Mapping[str, int]) -> None:
        found = self._sightings
        for shard in shards(self._store):
            reached = offsets.get(shard.id, raw.START)
            for link in new_links(self._store, shard, reached):
                after, reached = reached, link.upto
                if link.path in found.paths:
                    continue
                found.paths.add(link.path)
                record = read_record(self._store, link)
                found.marks.setdefault(shard.id, []).extend(self._of_table(record.marks))
                if record.closed:
                    found.children[shard.id] = tuple(f"{shard.stream}/{child}" for child in record.children)
                if any(ref.table == self._contract.name for ref in record.objects):
                    found.batches.append(Batch(shard, after, link.upto, record))

    def _record(self, known: AbstractSet[str], closed: AbstractSet[str], *, is_new: bool) -> None:
        told, foreign = self._told(), self._foreign()
        for stream, word in told:
            name, places = self._contract.name, self._places(word)
            begun = self.epochs.by_origin(word.snapshot)
            if not word.is_complete and self._is_foreign(word):
                # Also where the table's own database is known only since the snapshot before.
                foreign.setdefault(word.snapshot, (stream, word))
            if not word.is_complete and begun is None and word.snapshot not in foreign:
                # What stands ahead of it in the stream, and is of another database, would belong to the epoch before.
                for its_stream, other in list(foreign.values()):
                    if self._is_ahead(self._places(other), places):
                        del foreign[other.snapshot]
                        start = self._start(its_stream, other, known, closed)
                        self._begin(msgspec.structs.replace(start, discarded=True))
                start = self._start(stream, word, known, closed)
                if is_new and not self.epochs.starts and not self._has_older(start):
                    start = msgspec.structs.replace(start, epoch=FIRST_EPOCH)
                self._begin(start)
            elif word.is_complete and begun and not begun.discarded and begun.epoch not in self.epochs.ends:
                end = EpochEnd(
                    name, begun.epoch, as_text(places), word.taken_at, self._reads(word), origin=word.snapshot
                )
                record_end(self._store, end)
                self.refresh()
                _LOG.info("the snapshot of an epoch is complete", table=name, epoch=begun.epoch, reads=end.reads)
        self.refused = {snapshot: str(word.source) for snapshot, (_, word) in foreign.items()}

    def _told(self) -> list[tuple[str, SnapshotWord]]:
        """What all shards concerned were told, each with its stream."""
        return [
            (stream, mark.word)
            for stream, mark in self._announced()
            if {f"{stream}/{shard}" for shard in mark.word.shards} <= self._places(mark.word).keys()
        ]

    def _foreign(self) -> dict[str, tuple[str, SnapshotWord]]:
        """The snapshots of another database, by their id."""
        return {
            word.snapshot: (stream, word)
            for stream, word in self._told()
            if not word.is_complete and self._is_foreign(word)
        }

    def _is_foreign(self, word: SnapshotWord) -> bool:
        """Whether a snapshot that no epoch is recorded of is of another database than the table."""
        table = self.epochs.source
        if self.epochs.by_origin(word.snapshot) is not None or word.source is None or table is None:
            return False
        return word.source not in {table, self.accepted}

    def _is_ahead(self, places: Mapping[str, int], others: Mapping[str, int]) -> bool:
        """Whether one snapshot was told to a shard before another, or to one that this other one's came from."""
        return any(number < others.get(shard, 0) for shard, number in places.items()) or not others.keys().isdisjoint(
            descendants(places, self._sightings.children) - places.keys()
        )

    def _start(self, stream: str, word: SnapshotWord, known: AbstractSet[str], closed: AbstractSet[str]) -> EpochStart:
        """The next epoch, begun by a snapshot that all shards were told of."""
        places = self._places(word)
        ended = self._ended(stream, known - places.keys(), closed) - descendants(places, self._sightings.children)
        return EpochStart(
            self._contract.name,
            self.epochs.newest + 1,
            as_text(places),
            tuple(sorted(ended)),
            origin=word.snapshot,
            source=word.source,
        )

    def _begin(self, start: EpochStart) -> None:
        record_start(self._store, start)
        self.refresh()
        told = {"table": start.table, "epoch": start.epoch, "snapshot": start.origin, "ended": list(start.ended)}
        if start.discarded:
            _LOG.error("a snapshot of another database is left out, and all that follows it", **told)
        else:
            _LOG.warning("a new epoch begins", **told)

    def _announced(self) -> list[tuple[str, SnapshotMark]]:
        """Every mark that was found, with its stream: starts before ends, older snapshots first."""
        found = [(shard.partition("/")[0], mark) for shard, marks in self._sightings.marks.items() for mark in marks]
        return sorted(found, key=lambda entry: (entry[1].word.is_complete, entry[1].word.taken_at, int(entry[1].seq)))

    def _ended(self, stream: str, known: AbstractSet[str], closed: AbstractSet[str]) -> set[str]:
        """Which shards have nothing of an epoch that begins in a stream: those of other streams, unless they are newer;
        of the same stream those that are closed. An open one that was not told is a child still to be read.
        """
        shut = closed | self._sightings.children.keys()
        return {
            shard
            for shard in known
            if (shard in shut if (its := shard.partition("/")[0]) == stream else not _is_remade(its, stream))
        }

    def _places(self, word: SnapshotWord) -> dict[str, int]:
        """Where each shard was told first of this snapshot that it begins, or is complete."""
        places: dict[str, int] = {}
        for shard, marks in self._sightings.marks.items():
            numbers = [
                int(mark.seq)
                for mark in marks
                if (mark.word.snapshot, mark.word.is_complete) == (word.snapshot, word.is_complete)
            ]
            if numbers:
                places[shard] = min(numbers)
        return places

    def _has_older(self, start: EpochStart) -> bool:
        """Whether raw has records of the table from before the start."""
        epochs = Epochs((start,))
        for batch in self._sightings.batches:
            shard = batch.shard.id
            if epochs.of(shard, batch.after + 1) == start.epoch:
                continue
            if epochs.of(shard, batch.upto) != start.epoch:
                return True
            lines = read_lines(self._store, batch, self._contract.name)
            if any(epochs.of(shard, int(line.seq)) != start.epoch for line in lines):
                return True
        return False


def _is_remade(stream: str, older: str) -> bool:
    """Whether a stream is the other one made anew, later: the same name with a later time."""
    name, _, made = stream.rpartition("-")
    older_name, _, older_made = older.rpartition("-")
    return name == older_name and made > older_made


def descendants(of: Iterable[str], children: Mapping[str, Sequence[str]]) -> set[str]:
    """The shards that followed some shards, and those that followed these."""
    found: set[str] = set()
    new = set(of)
    while new:
        new = {child for shard in new for child in children.get(shard, ())} - found
        found |= new
    return found


def as_text(numbers: Mapping[str, int]) -> dict[str, str]:
    """Sequence numbers as JSON holds them: as numbers they are longer than its readers hold exactly."""
    return {shard: str(number) for shard, number in sorted(numbers.items())}
