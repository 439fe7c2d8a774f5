"""Leases, decided purely: who may take a shard, and what each step makes of its lease.

A lease is a row of the lease table; its attributes are named as in the Kinesis Client Library
(awslabs/amazon-kinesis-client, DynamoDBLeaseSerializer). Every step raises the counter, so that all writes of a row
stand in one order: a late or repeated request finds another counter and changes nothing. No machine's clock is compared
with another's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from cdc_consumer.stream import Shard, Stream, is_creation

TRIM_HORIZON = "TRIM_HORIZON"
"""The checkpoint of a shard of which nothing was written yet."""
SHARD_END = "SHARD_END"
"""The checkpoint of a closed shard that was written to its end."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One shard's lease: who owns it (None: nobody), and how far the shard is written.

    `checkpoint` is a sequence number as the stream gave it, or one of the words above; `arrived_at` is when the record
    of that number arrived in the stream. Of a shard written to its end it is until when that was read, and of one never
    read until when its parents were: what may be lost since then is a gap of its own.
    """

    key: str
    owner: str | None = None
    counter: int = 0
    owner_switches: int = 0
    checkpoint: str = TRIM_HORIZON
    arrived_at: datetime | None = None
    parents: tuple[str, ...] = ()
    children: tuple[str, ...] = ()


def lease_key(stream_identity: str, shard: str) -> str:
    """The key of a shard's lease."""
    return f"{stream_identity}/{shard}"


def is_of_before(lease: Lease, stream: Stream) -> bool:
    """Whether a lease is of a shard of another stream that had this one's name, and was deleted."""
    identity = lease.key.partition("/")[0]
    start = f"{stream.name}-"
    return identity != stream.identity and identity.startswith(start) and is_creation(identity.removeprefix(start))


def unwritten(shard: Shard, leases: Mapping[str, Lease], stream_identity: str) -> Lease:
    """The lease of a shard that was never taken: what is to be read of it came after its parents were read."""
    parents = (leases.get(lease_key(stream_identity, parent)) for parent in shard.parents)
    read_until = (parent.arrived_at for parent in parents if parent is not None and parent.arrived_at is not None)
    key = lease_key(stream_identity, shard.id)
    return Lease(key, arrived_at=max(read_until, default=None), parents=tuple(sorted(shard.parents)))


def taken(lease: Lease, owner: str) -> Lease:
    """The lease in a new owner's hands."""
    return replace(lease, owner=owner, counter=lease.counter + 1, owner_switches=lease.owner_switches + 1)


def renewed(lease: Lease) -> Lease:
    """The lease with a sign of life."""
    return replace(lease, counter=lease.counter + 1)


def checkpointed(lease: Lease, checkpoint: str, arrived_at: datetime) -> Lease:
    """The lease once everything up to a sequence number is durable."""
    return replace(lease, counter=lease.counter + 1, owner_switches=0, checkpoint=checkpoint, arrived_at=arrived_at)


def ended(lease: Lease, children: Iterable[str], read_until: datetime | None) -> Lease:
    """The lease of a closed shard, all of which is durable."""
    return replace(
        lease,
        counter=lease.counter + 1,
        owner_switches=0,
        checkpoint=SHARD_END,
        arrived_at=read_until or lease.arrived_at,
        children=tuple(sorted(children)),
    )


def released(lease: Lease) -> Lease:
    """The lease given back, so that the next worker need not wait for its expiry."""
    return replace(lease, owner=None, counter=lease.counter + 1)


@dataclass(frozen=True, slots=True)
class Sighting:
    """Since when, on our own monotonic clock, a lease's counter stands still."""

    counter: int
    since: float


def watch(
    seen: Mapping[str, Sighting], leases: Iterable[Lease], now: float, blind_seconds: float = 0.0
) -> dict[str, Sighting]:
    """What was seen of the leases, brought up to date with what they are now.

    `blind_seconds` is for how long the table could not be read before: perhaps its owners could not write to it either,
    so that a counter is not taken to have stood still in that time.
    """
    return {
        lease.key: Sighting(lease.counter, min(now, known.since + blind_seconds))
        if (known := seen.get(lease.key)) is not None and known.counter == lease.counter
        else Sighting(lease.counter, now)
        for lease in leases
    }


def parents_ended(shard: Shard, listed: Collection[str], leases: Mapping[str, Lease], stream_identity: str) -> bool:
    """Whether a shard may be read at all: every parent that is still listed or has a lease is written to its end.

    Records of a key move from parent to child when a stream is resharded (AWS docs: "After a resharding"). A parent
    that is neither listed nor leased is past the stream's retention, and was written to its end or never seen.
    """
    parents = {lease_key(stream_identity, parent): parent in listed for parent in shard.parents}
    return all(
        leases[key].checkpoint == SHARD_END if key in leases else not is_listed for key, is_listed in parents.items()
    )
