"""Which partitions there are: the topics looked at now and then, each new partition announced before it is read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from cdc.errors import FatalFault
from cdc.telemetry import get_log
from cdc_consumer.kafka.group import Partition
from cdc_consumer.kafka.topics import Topics
from cdc_consumer.lease import lease_key
from cdc_consumer.stream import Shard, Stream

_log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class Known:
    """A partition as raw has it: its stream, its shard, and the key of its lease."""

    key: str
    stream: Stream
    shard: Shard


class Watch:
    """The partitions of all topics, as they were seen last."""

    def __init__(self, topics: Topics, announce: Callable[[Stream, Shard], None]) -> None:
        self._topics = topics
        self._announce = announce
        self._streams: dict[str, Stream] = {}
        self.known: dict[Partition, Known] = {}

    def survey(self, names: Iterable[str]) -> None:
        """Look at the topics.

        Raises:
            TransientFault: when cluster or raw do not answer for now.
            FatalFault: when a topic is gone, compacted, or not the one any more that we began with.
        """
        for name in names:
            stream, shards = self._topics.describe(name)
            if self._streams.setdefault(name, stream).identity != stream.identity:
                raise FatalFault(
                    "the topic was deleted and made anew while it was read",
                    where=name,
                    hint="start again: the new topic is another stream in raw, read from its beginning",
                )
            for shard in shards:
                partition = Partition(name, int(shard.id))
                if partition not in self.known:
                    # Before it is read: who reads raw must know of all that is still to come.
                    self._announce(stream, shard)
                    self.known[partition] = Known(lease_key(stream.identity, shard.id), stream, shard)
                    _log.info("partition found", stream=stream.identity, shard=shard.id)

    def keys(self, partitions: Collection[Partition]) -> set[str]:
        """The keys of the leases of partitions; those not seen yet have none."""
        return {self.known[one].key for one in partitions if one in self.known}

    def ends(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Where partitions end now.

        Raises:
            TransientFault: when the cluster does not answer for now.
        """
        found: dict[Partition, int] = {}
        for topic in {one.topic for one in partitions}:
            numbers = [one.number for one in partitions if one.topic == topic]
            found |= {Partition(topic, number): end for number, end in self._topics.ends(topic, numbers).items()}
        return found
