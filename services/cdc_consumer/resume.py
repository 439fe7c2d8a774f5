"""Where a shard goes on: after its checkpoint, or further on where the batch records in raw already reach.

The chain of batch records is the truth, the lease's checkpoint a note of it that may be late (a crash between the two),
old (a table restored from a backup) or gone. What the chain covers is not read again, so that a batch that is there
never meets another cut of its own beginning.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from cdc.errors import FatalFault
from cdc.objects import ObjectStore
from cdc.raw import START, BatchRecord, Tip, batch_path, batch_prefix, batches_past, tip_path
from cdc_consumer.lease import TRIM_HORIZON, Lease

CLOCK_SKEW_MAX = timedelta(minutes=10)
"""How far our clock may be off the stream's without a loss going unnoticed."""
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_BATCH = msgspec.json.Decoder(BatchRecord)
_TIP = msgspec.json.Decoder(Tip)


@dataclass(frozen=True, slots=True)
class Resume:
    """Where to go on: after this sequence number (`0`: from the oldest record).

    `read_until` is the latest time of which we know that all that had arrived was read (None: nothing was ever read).
    `ended` tells that the batch record of the closed shard is there, and names the shards that follow.
    """

    after: str
    read_until: datetime | None
    ended: BatchRecord | None = None


def find_resume(raw: ObjectStore, stream: str, shard: str, lease: Lease) -> Resume:
    """Where a shard goes on, by its lease and by what is in raw.

    Raises:
        TransientFault: when raw cannot be read for now.
        FatalFault: when it holds what is no batch record.
    """
    checkpoint = str(START) if lease.checkpoint == TRIM_HORIZON else lease.checkpoint
    paths = raw.list_after(batch_prefix(stream, shard), batches_past(stream, shard, int(checkpoint)))
    last = reached(int(checkpoint), map(_bounds, paths))
    tip = _tip(raw, stream, shard)
    record = _decode(raw, batch_path(stream, shard, *last)) if last else None
    after = record.upto if record else checkpoint
    return Resume(
        after=after,
        read_until=_read_until(int(after), lease, tip, record),
        ended=record if record and record.closed else None,
    )


def reached(after: int, chain: Iterable[tuple[int, int]]) -> tuple[int, int] | None:
    """The last batch, as (after, upto), up to which batches cover everything past a number; None where none does.

    The batches come by rising `upto`. Where nothing was ever checkpointed, the chain counts from its oldest batch on:
    what came before it is past the time that raw is kept.
    """
    last: tuple[int, int] | None = None
    for batch in chain:
        touches = batch[0] <= after or (after == START and last is None)
        if touches and batch[1] > after:
            last = batch
            after = batch[1]
    return last


def may_have_lost(read_until: datetime | None, now: datetime, retention: timedelta) -> bool:
    """Whether records that we never read may be gone from the stream: it drops what is older than its retention.

    Kinesis says nothing when an iterator asks for a number that is gone; it begins at the oldest record it still has.
    """
    return read_until is not None and now - read_until > retention - CLOCK_SKEW_MAX


def _bounds(path: str) -> tuple[int, int]:
    upto, _, after = path.rsplit("/", 1)[-1].removesuffix(".json").partition("~")
    try:
        return int(after), int(upto)
    except ValueError:
        raise FatalFault(
            "an object among the batch records is not named like one", where=path, hint="remove it from this prefix"
        ) from None


def _read_until(after: int, lease: Lease, tip: Tip | None, record: BatchRecord | None) -> datetime | None:
    known = [lease.arrived_at] if lease.arrived_at is not None else []
    if tip is not None and tip.read_to_tip_at is not None and int(tip.upto) <= after:
        known.append(tip.read_to_tip_at)
    if record is not None and record.arrived_at is not None:
        known.append(record.arrived_at)
    if not known and after != START:
        known.append(_LONG_AGO)  # better a loss reported that was none than one unnoticed
    return max(known, default=None)


def _tip(raw: ObjectStore, stream: str, shard: str) -> Tip | None:
    path = tip_path(stream, shard)
    if path not in raw.list_after(path):
        return None
    try:
        return _TIP.decode(raw.get(path))
    except msgspec.MsgspecError:
        return None  # it is overwritten soon, and all that it does is to spare a false alarm


def _decode(raw: ObjectStore, path: str) -> BatchRecord:
    try:
        return _BATCH.decode(raw.get(path))
    except msgspec.MsgspecError:
        raise FatalFault(
            "a batch record cannot be read", where=path, hint="restore it from the bucket's versions"
        ) from None
