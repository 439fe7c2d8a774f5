"""Our membership, on a stand-in for the client: who is told what, and which calls are made, when partitions come and go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from cdc.errors import FatalFault, LeaseLost
from cdc_consumer.clock import SYSTEM_CLOCK
from cdc_consumer.kafka.fault import Complaints
from cdc_consumer.kafka.group import FEEDS_BYTES_MAX, Group, Partition, Readers
from cdc_consumer.kafka.message import arrived_at
from cdc_consumer.kafka.streams import GroupLeases
from cdc_consumer.kafka.watch import Watch
from cdc_consumer.lease import TRIM_HORIZON, checkpointed
from cdc_consumer.stream import Shard, Stream

STREAM = Stream("t", "t-id", None)
ZERO, ONE = Partition("t", 0), Partition("t", 1)


@dataclass
class FakeClient:
    """The group's decisions are made by the test; they reach us while we poll, as the client's do."""

    pending: list[Callable[[], None]] = field(default_factory=list)
    assigned: dict[tuple[str, int], int] = field(default_factory=dict)
    commits: list[tuple[int, int, str | None]] = field(default_factory=list)
    committed_: dict[int, tuple[int, str]] = field(default_factory=dict)
    callers: set[str] = field(default_factory=set)
    closed: bool = False

    def subscribe(self, topics: list[str], **callbacks: Callable[[Any, list[TopicPartition]], None]) -> None:
        self.callbacks = callbacks

    def consume(self, count: int, seconds: float) -> list[Any]:
        self.callers.add(threading.current_thread().name)
        while self.pending:
            self.pending.pop(0)()
        threading.Event().wait(0.001)
        return []

    def tell(self, what: str, *numbers: int) -> None:
        """Have the group decide, and wait until we have heard of it."""
        heard = threading.Event()

        def decide() -> None:
            self.callbacks[what](self, [TopicPartition("t", number) for number in numbers])
            heard.set()

        self.pending.append(decide)
        assert heard.wait(60)

    def incremental_assign(self, parts: list[TopicPartition]) -> None:
        self.assigned |= {(part.topic, part.partition): part.offset for part in parts}

    def incremental_unassign(self, parts: list[TopicPartition]) -> None:
        for part in parts:
            del self.assigned[part.topic, part.partition]

    def pause(self, parts: list[TopicPartition]) -> None: ...

    def resume(self, parts: list[TopicPartition]) -> None: ...

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> list[TopicPartition]:
        self.callers.add(threading.current_thread().name)
        self.commits += [(part.partition, part.offset, part.metadata) for part in offsets]
        return offsets

    def committed(self, parts: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        self.callers.add(threading.current_thread().name)
        none = (-1001, "")
        return [TopicPartition("t", p.partition, *self.committed_.get(p.partition, none)) for p in parts]

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeReaders:
    """Threads that leave when they have checkpointed."""

    said: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    leave: Callable[[], None] = lambda: None
    left: bool = False

    def ask(self, gone: Collection[Partition]) -> None:
        if ("ask", tuple(one.number for one in gone)) not in self.said:
            self.said.append(("ask", tuple(one.number for one in gone)))
            threading.Thread(target=self._leave).start()

    def _leave(self) -> None:
        self.leave()
        self.left = True

    def have_left(self, gone: Collection[Partition]) -> bool:
        return self.left

    def drop(self, gone: Collection[Partition]) -> None:
        self.said.append(("drop", tuple(one.number for one in gone)))

    def as_readers(self) -> Readers:
        return Readers(self.ask, self.have_left, self.drop)


def wait_until(probe: Callable[[], bool]) -> None:
    deadline = SYSTEM_CLOCK.monotonic() + 60
    while not probe():
        assert SYSTEM_CLOCK.monotonic() < deadline
        threading.Event().wait(0.005)


def group_of(client: FakeClient) -> Group:
    return Group(client, Complaints(), SYSTEM_CLOCK)  # type: ignore[arg-type] # a stand-in for the client


def test_nothing_is_fetched_before_its_thread_has_said_from_where() -> None:
    client = FakeClient()
    group = group_of(client)
    with group.joined(["t"], FakeReaders().as_readers()):
        client.tell("on_assign", 0, 1)
        assert group.staying() == {ZERO, ONE}
        assert client.assigned == {}
        group.open(ONE, after=7)
        wait_until(lambda: client.assigned == {("t", 1): 7})
        group.open(ZERO, after=0)
        wait_until(lambda: len(client.assigned) == 2)
        assert client.assigned["t", 0] == 0
    assert client.closed


def test_a_partition_that_goes_is_checkpointed_while_the_rebalance_waits() -> None:
    client, readers = FakeClient(), FakeReaders()
    group = group_of(client)
    leases = GroupLeases(group)
    with group.joined(["t"], readers.as_readers()):
        client.tell("on_assign", 0, 1)
        lease = leases.take("t-id/0", STREAM, Shard("0"), "me")
        group.open(ZERO, after=0)

        def flush() -> None:
            assert group.staying() == {ONE}
            new = checkpointed(lease, "5", datetime(2026, 11, 21, tzinfo=UTC))
            assert leases.replace(lease, new) == new

        readers.leave = flush
        client.tell("on_revoke", 0)
        assert client.commits == [(0, 5, "t-id")]
        assert group.ours() == {ONE}
        assert client.assigned == {}
        assert leases.replace(lease, lease) is None
        with pytest.raises(LeaseLost):
            group.feed(ZERO)
        assert client.callers == {"poll"}


def test_all_feeds_together_hold_as_much_whenever_their_partitions_came() -> None:
    client = FakeClient()
    group = group_of(client)
    with group.joined(["t"], FakeReaders().as_readers()):
        for number in range(4):
            client.tell("on_assign", number)
        assert sum(group.feed(one).bytes_max for one in group.ours()) == FEEDS_BYTES_MAX


def test_a_partition_that_was_lost_is_dropped_at_once() -> None:
    client, readers = FakeClient(), FakeReaders()
    group = group_of(client)
    with group.joined(["t"], readers.as_readers()):
        client.tell("on_assign", 0, 1)
        client.tell("on_lost", 0, 1)
        assert readers.said == [("drop", (0, 1))]
        assert group.ours() == set()


@pytest.mark.parametrize(
    ("noted", "checkpoint"),
    [((5, "t-id"), "5"), ((5, "t-of-before"), TRIM_HORIZON), ((5, ""), TRIM_HORIZON), (None, TRIM_HORIZON)],
)
def test_only_an_offset_committed_for_this_very_topic_is_a_checkpoint(
    noted: tuple[int, str] | None, checkpoint: str
) -> None:
    client = FakeClient(committed_={} if noted is None else {0: noted})
    group = group_of(client)
    with group.joined(["t"], FakeReaders().as_readers()):
        assert GroupLeases(group).take("t-id/0", STREAM, Shard("0"), "me").checkpoint == checkpoint


@pytest.mark.parametrize(
    ("noted", "has_passed"),
    [((5, "t-id"), True), ((5, ""), True), ((6, "t-of-before"), False), ((4, "t-id"), False), (None, False)],
)
def test_an_offset_of_a_topic_of_before_does_not_tell_that_its_reader_is_done(
    noted: tuple[int, str] | None, *, has_passed: bool
) -> None:
    group = group_of(client := FakeClient(committed_={} if noted is None else {1: noted}))
    with group.joined(["t"], FakeReaders().as_readers()):
        assert GroupLeases(group).passed([(ZERO, "t-id", 0), (ONE, "t-id", 5)]) is has_passed
    assert client.closed


def test_what_ends_the_polling_ends_the_program() -> None:
    client = FakeClient()
    group = group_of(client)

    def fail() -> None:
        raise FatalFault("broken")

    with group.joined(["t"], FakeReaders().as_readers()):
        client.pending.append(fail)
        wait_until(lambda: "poll" not in {thread.name for thread in threading.enumerate()})
        with pytest.raises(FatalFault, match="broken"):
            group.check()


def test_a_record_without_a_usable_time_has_the_same_at_every_try() -> None:
    assert arrived_at(-1) == datetime(1970, 1, 1, tzinfo=UTC)
    assert arrived_at(2**62).year == 9999
    assert arrived_at(1_795_269_875_963) == datetime(2026, 11, 21, 14, 4, 35, 963000, tzinfo=UTC)


@dataclass
class GrowingTopics:
    identity: str = "t-id"
    partitions: int = 1

    def describe(self, name: str) -> tuple[Stream, tuple[Shard, ...]]:
        return Stream(name, self.identity, None), tuple(Shard(str(number)) for number in range(self.partitions))

    def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        return dict.fromkeys(partitions, 3)


@dataclass
class Announcements:
    shards: list[str] = field(default_factory=list)

    def announce(self, stream: Stream, shard: Shard) -> None:
        self.shards.append(f"{stream.identity}/{shard.id}")


def test_partitions_that_are_added_are_announced_once() -> None:
    topics, told = GrowingTopics(), Announcements()
    watch = Watch(topics, told.announce)
    watch.survey(["t"])
    topics.partitions = 3
    watch.survey(["t"])
    watch.survey(["t"])
    assert told.shards == ["t-id/0", "t-id/1", "t-id/2"]
    assert watch.keys([ZERO, ONE, Partition("t", 9)]) == {"t-id/0", "t-id/1"}
    assert watch.ends([ZERO, ONE]) == {ZERO: 3, ONE: 3}


def test_a_topic_that_was_made_anew_while_it_is_read_ends_the_program() -> None:
    topics = GrowingTopics()
    watch = Watch(topics, Announcements().announce)
    watch.survey(["t"])
    topics.identity = "t-other"
    with pytest.raises(FatalFault, match="made anew"):
        watch.survey(["t"])
