"""Epoch proposal: where a table's new epoch begins in each shard, found in raw, and where its snapshot is complete.

Source of the rule: a producer that reads its tables anew streams only what was committed later, so that the first
record taken or committed at the time of the snapshot, or later, is the first of the epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cdc import raw
from cdc.epoch import EpochEnd, EpochResent, Epochs, EpochStart
from cdc.objects import ObjectStore
from cdc.raw import BatchRecord
from compactor.chain import Batch, Link, Shard, parse_link, read_lines, read_record
from compactor.progress import Progress
from compactor.watch import Sight, sight

ARRIVAL_MARGIN = timedelta(minutes=10)
"""How much the clocks of source and stream may differ; so much further back is read."""
_1970 = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Proposal:
    """The start that would be recorded, and how it was found, for people."""

    start: EpochStart
    why: str


@dataclass(frozen=True, slots=True)
class _Seen:
    sequence_number: int
    sight: Sight


def propose_start(
    store: ObjectStore,
    table: str,
    epochs: Epochs,
    progress: Progress,
    shards: Mapping[str, Shard],
    *,
    is_from_now: bool = False,
    continues: bool = False,
    at: Mapping[str, int] | None = None,
) -> Proposal | None:
    """Where the next epoch of a table begins; None when raw shows no new snapshot and nobody said where.

    `shards` are all that are known, by id. `at` are sequence numbers that the operator gives; with `is_from_now` the
    epoch begins behind all that raw has.
    """
    given = dict(at or {})
    since = None if is_from_now else _snapshot_at(store, table, epochs, progress, shards)
    if since is None and not is_from_now and not given:
        return None
    starts, ended = {}, []
    for shard_id, shard in sorted(shards.items()):
        links = _links(store, shard)
        last = read_record(store, links[-1]) if links else None
        reached = links[-1].upto if links else raw.START
        if shard_id in given:
            starts[shard_id] = given[shard_id]
            continue
        found = (None if since is None else _first_since(store, table, shard, since), progress.waits.get(shard_id))
        first = None if is_from_now else min((number for number in found if number is not None), default=None)
        is_over = (last is not None and last.closed) or _is_replaced(shard, shards)
        if first is None and is_over:
            ended.append(shard_id)
        else:
            starts[shard_id] = first if first is not None else reached + 1
    text = {shard: str(number) for shard, number in starts.items()}
    start = EpochStart(table, epochs.newest + 1, text, tuple(ended), continues=continues)
    if since is not None:
        return Proposal(start, f"a snapshot of {(_1970 + since).isoformat()} comes after streamed changes")
    return Proposal(start, "behind all that raw has" if is_from_now else "as given")


def propose_end(store: ObjectStore, epochs: Epochs, shards: Mapping[str, Shard], now: datetime) -> EpochEnd | None:
    """The newest epoch's snapshot, complete with all that raw has now; None when there is none that could be."""
    start = epochs.start(epochs.with_snapshot)
    if start is None or start.epoch in epochs.ends:
        return None
    ends = {}
    for shard_id, shard in sorted(shards.items()):
        links = _links(store, shard)
        if links and shard_id not in start.ended and not read_record(store, links[-1]).closed:
            ends[shard_id] = str(links[-1].upto)
    return EpochEnd(start.table, start.epoch, ends, now)


def propose_resent(store: ObjectStore, table: str, epochs: Epochs, shards: Mapping[str, Shard]) -> EpochResent:
    """That all reads which raw has now are ones of the newest epoch's snapshot."""
    links = {shard_id: _links(store, shard) for shard_id, shard in sorted(shards.items())}
    return EpochResent(table, epochs.newest, {shard: str(some[-1].upto) for shard, some in links.items() if some})


def _snapshot_at(
    store: ObjectStore, table: str, epochs: Epochs, progress: Progress, shards: Mapping[str, Shard]
) -> timedelta | None:
    """When the snapshot was taken that no epoch knows of, as time since 1970."""
    found: list[timedelta] = []
    for shard_id, shard in shards.items():
        wait = progress.waits.get(shard_id)
        streamed = progress.watched.streamed.get(shard_id)
        for batch in _batches(store, shard, progress.offsets.get(shard_id, raw.START)):
            if wait is not None and batch.after < wait <= batch.upto and batch.record.evidence is not None:
                found.append(batch.record.evidence.committed_at - _1970)
            for seen in _sights(store, table, batch):
                if epochs.of(shard_id, seen.sequence_number) != epochs.newest:
                    continue
                if not seen.sight.is_read:
                    streamed = max(streamed or seen.sight.at_us, seen.sight.at_us)
                elif epochs.is_resent(shard_id, seen.sequence_number):
                    continue
                elif streamed is not None and seen.sight.at_us > streamed:
                    found.append(timedelta(microseconds=seen.sight.at_us))
                    break
    return min(found, default=None)


def _first_since(store: ObjectStore, table: str, shard: Shard, since: timedelta) -> int | None:
    """The first record of the table from that time on; what may be merged already is looked at too."""
    first: int | None = None
    for link in reversed(_links(store, shard)):
        record = read_record(store, link)
        if record.arrived_at is not None and record.arrived_at - _1970 < since - ARRIVAL_MARGIN:
            break
        late = [
            seen.sequence_number
            for seen in _sights(store, table, _whole(shard, link, record))
            if timedelta(microseconds=seen.sight.at_us) >= since
        ]
        first = min([*late, *([first] if first is not None else [])], default=None)
    return first


def _sights(store: ObjectStore, table: str, batch: Batch) -> Iterator[_Seen]:
    for line in read_lines(store, batch, table):
        seen = sight(bytes(line.event))
        if seen is not None:
            yield _Seen(int(line.seq), seen)


def _batches(store: ObjectStore, shard: Shard, offset: int) -> Iterator[Batch]:
    for link in _links(store, shard, offset):
        yield _whole(shard, link, read_record(store, link))


def _whole(shard: Shard, link: Link, record: BatchRecord) -> Batch:
    return Batch(shard, link.after, link.upto, record)


def _links(store: ObjectStore, shard: Shard, offset: int | None = None) -> list[Link]:
    """The batches of a shard in order, those past an offset or all that are left."""
    after = "" if offset is None else raw.batches_past(shard.stream, shard.name, offset)
    listed = store.list_after(raw.batch_prefix(shard.stream, shard.name), after)
    return [link for link in map(parse_link, listed) if link is not None]


def _is_replaced(shard: Shard, shards: Mapping[str, Shard]) -> bool:
    """Whether the stream was made anew since, so that the shard never closes."""
    name, _, made = shard.stream.rpartition("-")
    others = (other.stream.rpartition("-") for other in shards.values())
    return any(other_name == name and other_made > made for other_name, _, other_made in others)
