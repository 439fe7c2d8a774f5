"""What the thread of a partition sees of Kafka: the stream that it reads, and the lease that lets it."""

from __future__ import annotations

from collections.abc import Iterable

from cdc_consumer.clock import Clock
from cdc_consumer.kafka.group import Group, Partition
from cdc_consumer.kafka.topics import Topics
from cdc_consumer.lease import TRIM_HORIZON, Lease
from cdc_consumer.stream import IteratorExpired, Reply, Shard, Stream

TAKE_RECORDS_MAX = 10_000
TAKE_SECONDS = 0.25
TAKE_BYTES_MAX = 4 * 1024 * 1024
PROVE_SECONDS = 30.0
"""For how long a partition that says nothing is taken to have been read to its end: the client does not tell when it
has lost the broker, and a tip or the end of `--until-caught-up` must not rest on a silence."""


class KafkaStreams:
    """Topics as streams. An iterator is the number of an opening of the partition's feed."""

    def __init__(self, topics: Topics, group: Group, clock: Clock) -> None:
        self._topics = topics
        self._group = group
        self._clock = clock
        self._proven: dict[Partition, float] = {}

    def describe(self, name: str) -> Stream:
        """A topic."""
        return self._topics.describe(name)[0]

    def shards(self, stream: Stream) -> tuple[Shard, ...]:
        """Its partitions, which never end and have no parents."""
        return self._topics.describe(stream.name)[1]

    def iterator(self, stream: Stream, shard: str, after: str | None) -> str:
        """Have the partition fetched from there on."""
        return str(self._group.open(Partition(stream.name, int(shard)), int(after or 0)))

    def records(self, stream: Stream, shard: str, iterator: str) -> Reply:
        """What was fetched since; waits a little where nothing was.

        Raises:
            IteratorExpired: when the group took the partition and gave it back.
            LeaseLost: when it took it.
            TransientFault: when the broker does not say for now whether there is more; nothing was taken then.
        """
        partition = Partition(stream.name, int(shard))
        feed = self._group.feed(partition)
        if feed.opening != int(iterator):
            raise IteratorExpired("the partition was opened anew", where=str(partition))
        helping = feed.take(TAKE_RECORDS_MAX, TAKE_SECONDS, TAKE_BYTES_MAX)
        if helping.has_just_ended:
            self._proven[partition] = self._clock.monotonic()
        behind = 1
        if helping.records:
            behind = max(1, round((self._clock.utc() - helping.records[-1].arrived_at).total_seconds() * 1000))
        elif helping.trimmed is None and helping.at_end and self._is_proven(partition, helping.reached):
            behind = 0
        return Reply(
            records=helping.records,
            iterator=iterator,
            behind_milliseconds=behind,
            trimmed=None if helping.trimmed is None else str(helping.trimmed),
            reached=str(helping.reached),
        )

    def _is_proven(self, partition: Partition, reached: int) -> bool:
        """Whether the broker says now and then that a partition ends where we are."""
        now = self._clock.monotonic()
        if now - self._proven.get(partition, -PROVE_SECONDS) < PROVE_SECONDS:
            return True
        if self._topics.ends(partition.topic, [partition.number]).get(partition.number, 0) > reached:
            return False
        self._proven[partition] = now
        return True


class GroupLeases:
    """Leases as the group gives them: a partition is ours until it is taken away; a checkpoint is a committed offset.

    Where to go on rests on the chain in raw. A committed offset only shortens the search for the chain's end, and only
    if it was committed for the very topic that is there now: one that an operator has reset says nothing.
    """

    def __init__(self, group: Group) -> None:
        self._group = group
        self._partitions: dict[str, tuple[Partition, str]] = {}

    def take(self, key: str, stream: Stream, shard: Shard, worker: str) -> Lease:
        """The lease of a partition that the group has given us.

        Raises:
            TransientFault: when the group does not answer for now.
        """
        partition = Partition(stream.name, int(shard.id))
        self._partitions[key] = (partition, stream.identity)
        offset, noted = self._group.committed([partition]).get(partition, (0, ""))
        checkpoint = str(offset) if noted == stream.identity and offset else TRIM_HORIZON
        return Lease(key, owner=worker, checkpoint=checkpoint)

    def replace(self, old: Lease, new: Lease) -> Lease | None:
        """Commit a new checkpoint. The lease is as the group has it: None when it is no longer ours."""
        partition, identity = self._partitions[new.key]
        if partition not in self._group.ours():
            return None
        if new.checkpoint != old.checkpoint:
            self._group.commit(partition, int(new.checkpoint), identity)
        return new

    def passed(self, ends: Iterable[tuple[Partition, str, int]]) -> bool:
        """Whether all of these partitions, of topics of this identity, are committed up to their ends by whoever reads.

        An offset that notes no identity counts: some brokers forget what is noted.

        Raises:
            TransientFault: when the group does not answer for now.
        """
        wanted = {partition: (identity, end) for partition, identity, end in ends}
        committed = self._group.committed(wanted)
        return all(
            not end or (partition in committed and _passes(committed[partition], identity, end))
            for partition, (identity, end) in wanted.items()
        )


def _passes(committed: tuple[int, str], identity: str, end: int) -> bool:
    offset, noted = committed
    return offset >= end and noted in {"", identity}
