"""Progress: how far a table is merged and how complete that makes it, as the table's own properties state it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType

import msgspec

from cdc.epoch import FIRST_EPOCH, NO_EPOCHS, Epochs
from cdc.errors import FatalFault
from cdc.position import LSN_OF_BACKFILL, Position
from compactor.chain import Batch
from compactor.columns_seen import COLUMNS_SEEN, ColumnsSeen, encode_columns, parse_columns
from compactor.counts import Counts, parse_counts
from compactor.watch import LastRead, Watched

OFFSETS, EVIDENCE, FLOOR = "cdc.offsets", "cdc.evidence", "cdc.truncated-below"
VALID_THROUGH, SOURCE_LSN, HISTORY_SNAPSHOT = "cdc.valid-through", "cdc.source-lsn", "cdc.history-snapshot"
HOLDS = "cdc.holds"
EPOCH, SNAPSHOT_EPOCH, WAITS = "cdc.epoch", "cdc.snapshot-epoch", "cdc.waits-for-epoch"
STREAMED, LAST_READS = "cdc.streamed-up-to", "cdc.last-reads"


COMMIT_SKEW = timedelta(seconds=1)
"""Postgres takes the time of a commit a moment before the commit takes its place in the log, so that a transaction
right behind a heartbeat can have an earlier time. So much is taken off what a heartbeat proves."""


RESTORED_AFTER = timedelta(minutes=1)
"""Commits at the same time may stand in the log in another order than their times; no database is restored so fast."""


class ShardEvidence(msgspec.Struct, frozen=True):
    """How far the source is known to have come in a shard: everything committed before has passed through it.

    `committed_at` is None until the first heartbeat. A closed shard that was read to its end no
    longer holds anything back; its children do.
    """

    committed_at: datetime | None = None
    lsn: int = 0
    closed: bool = False

    @property
    def proven_through(self) -> datetime | None:
        """Every commit with this time or an earlier one has passed through the shard."""
        return self.committed_at - COMMIT_SKEW if self.committed_at is not None else None


@dataclass(frozen=True, slots=True)
class Progress:
    """What is merged: `offsets` by shard id, `evidence` by shard id, and the position of the newest truncate.

    `stated` is the most that was ever proven: it stays true when a shard appears that proves nothing yet. `counts` are
    of what was set aside up to the offsets. `holds` are the sequence numbers before which shards are held back.
    `columns` is what was seen of columns that the lake does not show.

    `epoch` is the newest epoch that the offsets take account of, `snapshot_epoch` the newest of these that a snapshot
    began. While that is not known to be complete, nothing more is proven. `waits` are the sequence numbers, by shard,
    at which a new epoch seems to begin that nobody recorded: nothing is merged until somebody does. `watched` is by
    what that is noticed.
    """

    offsets: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    evidence: Mapping[str, ShardEvidence] = field(default_factory=lambda: MappingProxyType({}))
    floor: Position | None = None
    stated: ShardEvidence = field(default_factory=ShardEvidence)
    counts: Counts = field(default_factory=Counts)
    holds: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    columns: ColumnsSeen = field(default_factory=ColumnsSeen)
    epoch: int = FIRST_EPOCH
    snapshot_epoch: int = FIRST_EPOCH
    waits: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    watched: Watched = field(default_factory=Watched)

    @property
    def is_snapshot_settled(self) -> bool:
        """Whether the rows are gone that the newest snapshot did not find any more."""
        settled = Position(self.snapshot_epoch, LSN_OF_BACKFILL)
        return self.snapshot_epoch == FIRST_EPOCH or (self.floor is not None and self.floor >= settled)

    @property
    def proven(self) -> ShardEvidence:
        """What the open shards prove together, or the most that was proven before."""
        if not self.is_snapshot_settled:
            return self.stated
        now = furthest_behind(self.evidence.values())
        if now is None or now.committed_at is None:
            return self.stated
        earlier = self.stated.committed_at
        return self.stated if earlier is not None and earlier > now.committed_at else now

    @property
    def valid_through(self) -> datetime | None:
        """Everything committed at the source up to then is merged; None while that is unproven."""
        return self.proven.proven_through

    def properties(self) -> dict[str, str]:
        """The table properties that state it."""
        valid_through = self.valid_through
        stated = {
            OFFSETS: _encode_numbers(self.offsets),
            HOLDS: _encode_numbers(self.holds),
            EVIDENCE: msgspec.json.encode(dict(self.evidence), order="sorted"),
            VALID_THROUGH: valid_through.isoformat().encode() if valid_through else b"",
            SOURCE_LSN: str(self.proven.lsn).encode() if valid_through else b"",
            COLUMNS_SEEN: encode_columns(self.columns),
            EPOCH: str(self.epoch).encode(),
            SNAPSHOT_EPOCH: str(self.snapshot_epoch).encode(),
            WAITS: _encode_numbers(self.waits),
            STREAMED: msgspec.json.encode(dict(self.watched.streamed), order="sorted"),
            LAST_READS: msgspec.json.encode(dict(self.watched.lasts), order="sorted"),
        }
        if self.floor is not None:
            stated[FLOOR] = msgspec.json.encode(self.floor)
        return {name: value.decode() for name, value in stated.items()} | self.counts.properties()


def furthest_behind(evidence: Iterable[ShardEvidence]) -> ShardEvidence | None:
    """The least of what open shards prove; None when one of them proves nothing, or there is none."""
    counted = [shard for shard in evidence if not shard.closed]
    if not counted or any(shard.committed_at is None for shard in counted):
        return None
    return min(counted, key=lambda shard: (shard.committed_at, shard.lsn))


def parse_progress(properties: Mapping[str, str], where: str) -> Progress:
    """The progress that a table's properties state; nothing merged yet when they state none.

    Raises:
        FatalFault: when they cannot be read: merging on from a guess could lose or double changes.
    """
    try:
        floor = properties.get(FLOOR)
        valid_through = properties.get(VALID_THROUGH)
        stated = datetime.fromisoformat(valid_through) + COMMIT_SKEW if valid_through else None
        return Progress(
            stated=ShardEvidence(stated, int(properties.get(SOURCE_LSN) or 0)),
            offsets=_decode_numbers(properties.get(OFFSETS)),
            evidence=msgspec.json.decode(properties.get(EVIDENCE) or "{}", type=dict[str, ShardEvidence]),
            floor=Position(*msgspec.json.decode(floor, type=list[int])) if floor else None,
            counts=parse_counts(properties),
            holds=_decode_numbers(properties.get(HOLDS)),
            epoch=int(properties.get(EPOCH) or FIRST_EPOCH),
            snapshot_epoch=int(properties.get(SNAPSHOT_EPOCH) or FIRST_EPOCH),
            waits=_decode_numbers(properties.get(WAITS)),
            watched=Watched(
                msgspec.json.decode(properties.get(STREAMED) or "{}", type=dict[str, int]),
                msgspec.json.decode(properties.get(LAST_READS) or "{}", type=dict[str, LastRead]),
            ),
            columns=parse_columns(properties),
        )
    except (msgspec.DecodeError, ValueError, TypeError):
        raise FatalFault(
            "the table's properties do not state how far it is merged",
            where=where,
            hint="restore cdc.offsets and cdc.evidence from the table's metadata log, or rebuild the table",
        ) from None


def _encode_numbers(numbers: Mapping[str, int]) -> bytes:
    """Sequence numbers as text: they are longer than JSON's readers hold exactly."""
    return msgspec.json.encode({shard: str(number) for shard, number in numbers.items()}, order="sorted")


def _decode_numbers(text: str | None) -> dict[str, int]:
    return {shard: int(number) for shard, number in msgspec.json.decode(text or "{}", type=dict[str, str]).items()}


def with_known(progress: Progress, shards: Iterable[str]) -> Progress:
    """The same progress, with shards counted in that are known but have proven nothing yet."""
    evidence = {**dict.fromkeys(shards, ShardEvidence()), **progress.evidence}
    return replace(progress, evidence=evidence, stated=progress.proven)


def advanced(
    progress: Progress,
    batches: Iterable[Batch],
    table: str,
    holds: Mapping[str, int],
    floor: Position | None,
    epochs: Epochs = NO_EPOCHS,
) -> Progress:
    """The progress of a table after some batches, but no further than before where a shard is held back.

    A batch from before the consumer had the table's contract proves nothing: its records of the table were left out.
    """
    offsets, evidence = dict(progress.offsets), dict(progress.evidence)
    for batch in batches:
        shard, hold = batch.shard.id, holds.get(batch.shard.id)
        offsets[shard] = max(offsets.get(shard, 0), batch.upto if hold is None else min(batch.upto, hold - 1))
        evidence.setdefault(shard, ShardEvidence())
        if hold is not None and hold <= batch.upto:
            continue  # what a batch proves holds only when all of it is merged
        if begins_epoch(batch, epochs):
            evidence[shard] = msgspec.structs.replace(evidence[shard], lsn=0)  # it is not compared across epochs
        evidence[shard] = _after_batch(evidence[shard], batch, "" if is_discarded(batch, epochs) else table)
        for child in batch.record.children:
            known = evidence.get(f"{batch.shard.stream}/{child}", ShardEvidence())
            if known.committed_at is None and len(batch.record.children) > 1:
                # Everything that a child could hold comes after its parent's end.
                known = evidence_of_child(known, evidence[shard])
            # An only child has another parent, of which this one proves nothing: its own evidence is waited for.
            evidence[f"{batch.shard.stream}/{child}"] = known
    return replace(progress, offsets=offsets, evidence=evidence, floor=floor, stated=progress.proven, holds=dict(holds))


def with_epochs(progress: Progress, epochs: Epochs) -> Progress:
    """The progress once account is taken of the epochs recorded by now.

    What was merged past the start of an epoch was merged into an older one: its shard goes back to there, so that its
    records come again as what they are. A shard that has nothing of the epoch is taken for ended: a stream that was
    made anew leaves such, which would never close.
    """
    offsets, evidence = dict(progress.offsets), dict(progress.evidence)
    for start in epochs.starts:
        if start.epoch <= progress.epoch:
            continue
        for shard, first in start.starts.items():
            if shard in offsets:
                offsets[shard] = min(offsets[shard], int(first) - 1)
        for shard in start.ended:
            known = evidence.get(shard, ShardEvidence())
            evidence[shard] = ShardEvidence(known.committed_at, known.lsn, closed=True)
    return replace(
        progress,
        offsets=offsets,
        evidence=evidence,
        stated=progress.proven,
        epoch=epochs.newest,
        snapshot_epoch=epochs.with_snapshot,
        waits={},
        watched=Watched(),
    )


def begins_epoch(batch: Batch, epochs: Epochs) -> bool:
    """Whether the first record of an epoch is in a batch."""
    return epochs.of(batch.shard.id, batch.after) != epochs.of(batch.shard.id, batch.upto)


def is_discarded(batch: Batch, epochs: Epochs) -> bool:
    """Whether a batch ends in records of another database, which prove nothing of the table."""
    return epochs.of(batch.shard.id, batch.upto) in epochs.discarded


def restarted(batches: Iterable[Batch], evidence: Mapping[str, ShardEvidence], epochs: Epochs) -> dict[str, int]:
    """Shards in which the source's LSNs begin anew, and the first sequence number of the batch that shows it.

    A heartbeat that was committed later than another has a higher LSN, unless the database was restored or upgraded.
    """
    found: dict[str, int] = {}
    known = dict(evidence)
    for batch in batches:
        shard, stated = batch.shard.id, batch.record.evidence
        before = known.get(shard, ShardEvidence())
        if begins_epoch(batch, epochs):
            before = known[shard] = ShardEvidence()
        if stated is None or shard in found or is_discarded(batch, epochs):
            continue
        is_later = before.committed_at is not None and stated.committed_at > before.committed_at + RESTORED_AFTER
        if is_later and stated.lsn < before.lsn:
            found[shard] = batch.after + 1
        known[shard] = ShardEvidence(stated.committed_at, stated.lsn)
    return found


def evidence_of_child(child: ShardEvidence, parent: ShardEvidence) -> ShardEvidence:
    """What a closed parent proves of a child, which may be closed itself by then."""
    return msgspec.structs.replace(child, committed_at=parent.committed_at, lsn=parent.lsn)


def _after_batch(known: ShardEvidence, batch: Batch, table: str) -> ShardEvidence:
    stated = batch.record.evidence if table in batch.record.tables else None
    later = stated is not None and (known.committed_at is None or stated.committed_at > known.committed_at)
    return ShardEvidence(
        committed_at=stated.committed_at if later and stated is not None else known.committed_at,
        lsn=stated.lsn if later and stated is not None else known.lsn,
        closed=known.closed or batch.record.closed,
    )
