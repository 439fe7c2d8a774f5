"""Kafka through the eyes of a partition's thread: when it is at the tip, and what its tools are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest

from cdc.errors import TransientFault
from cdc_consumer.clock import SYSTEM_CLOCK
from cdc_consumer.kafka.consumer import fit
from cdc_consumer.kafka.feed import Feed
from cdc_consumer.kafka.group import Partition
from cdc_consumer.kafka.streams import PROVE_SECONDS, KafkaStreams
from cdc_consumer.shard import Outcome
from cdc_consumer.stream import Record, Reply, Shard, Stream
from tests.kpl import aggregate
from tests.shard_world import World, event

STREAM = Stream("t", "t-id", None)
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@dataclass
class SilentTopics:
    """A cluster that does not answer."""

    asked: int = 0

    def describe(self, name: str) -> tuple[Stream, tuple[Shard, ...]]:
        raise TransientFault("no answer", where=name)

    def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        self.asked += 1
        raise TransientFault("no answer", where=topic)


@dataclass
class OneFeed:
    """A group that has given us one partition."""

    only: Feed = field(default_factory=lambda: Feed(1000))

    def feed(self, partition: Partition) -> Feed:
        return self.only

    def open(self, partition: Partition, after: int) -> int:
        return self.only.open(after)


def record(number: int) -> Record:
    return Record(str(number), NOON, b"{}")


def test_between_records_that_never_cease_the_tip_is_reached_when_the_broker_says_so() -> None:
    """And only a silence after that has to be proven."""
    now = 0.0
    clock = replace(SYSTEM_CLOCK, monotonic=lambda: now)
    group, topics = OneFeed(), SilentTopics()
    streams = KafkaStreams(topics, group, clock)  # type: ignore[arg-type] # a stand-in for the group
    iterator = streams.iterator(STREAM, "0", None)

    def read() -> Reply:
        return streams.records(STREAM, "0", iterator)

    group.only.put([record(1)])
    assert read().behind_milliseconds > 0
    group.only.end(1)
    assert (read().behind_milliseconds, topics.asked) == (0, 0)
    group.only.put([record(2)])
    assert read().behind_milliseconds > 0
    now = PROVE_SECONDS - 1
    group.only.end(2)
    assert read().behind_milliseconds == 0
    now += PROVE_SECONDS - 1
    assert (read().behind_milliseconds, topics.asked) == (0, 0)
    now += 1
    with pytest.raises(TransientFault):
        read()
    assert topics.asked == 1


def test_what_looks_like_an_aggregate_is_one_value_that_is_not_utf8() -> None:
    world = World()
    world.pages.acquire()  # nobody gives leave for a page
    world.fit = lambda tools: replace(fit(tools, tools.streams), pace=tools.pace)
    world.streams.add(aggregate([event(1), event(2)]), aggregate([event(3)])[:-1], event(4))
    assert world.work() is Outcome.CAUGHT_UP
    assert world.check() == [3]
    assert [path.split("/")[0] for path in world.quarantine.objects] == ["not-utf8"]
    assert [record["quarantined"] for record in world.chain()] == [2]
