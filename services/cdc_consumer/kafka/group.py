"""Our membership in the consumer group: one client, polled by one thread, fills a feed for each partition that is ours.

The group only decides who reads a partition. Where to go on is decided by the chain in raw; so a partition is fetched
from once its thread has said from where, and never from where the group or the client would. Partitions that stay with
us are read on during a rebalance (assignor cooperative-sticky). One that goes is given up when its thread has written
what it had, or the time for that is over; one that was lost, at once.

The thread that polls makes all calls of the client (calls.py): those that others ask for between two polls, or while it
waits for partitions to be given up. It does nothing slow besides, so a slow write to S3 never costs the membership
(`max.poll.interval.ms`).
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from cdc.errors import FatalFault, LeaseLost, TransientFault
from cdc.telemetry import get_log
from cdc_consumer.backoff import FaultReport
from cdc_consumer.clock import Clock
from cdc_consumer.kafka.calls import Calls
from cdc_consumer.kafka.fault import (
    LOG_TRUNCATED,
    MISSING,
    OFFSET_GONE,
    PARTITION_EOF,
    UNSETTLED,
    Complaints,
    kafka_error,
    kafka_fault,
)
from cdc_consumer.kafka.feed import Feed
from cdc_consumer.kafka.message import record_of
from cdc_consumer.stream import Record

POLL_RECORDS_MAX = 2_000
POLL_SECONDS = 0.1
SERVE_SECONDS = 0.05
ANSWER_SECONDS = 10.0
GIVE_UP_SECONDS = 10.0
"""How long a rebalance waits for what was read to become durable."""
FEEDS_BYTES_MAX = 64 * 1024 * 1024
"""What the feeds of all partitions together may hold; each has its share."""
FEED_BYTES_MIN = 1024 * 1024
REOPEN_SECONDS = 0.5
CLOSE_SECONDS = 15.0
_LOST_LOG = "the topic's log ends before what was read from it"

_log = get_log(__name__)


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """A partition of a topic."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.number}"


@dataclass(frozen=True, slots=True)
class Readers:
    """Whom to tell that partitions go; none of these waits.

    `ask` them to write what they have, look whether they `have_left`, or tell them to `drop` what is in flight.
    """

    ask: Callable[[Collection[Partition]], None]
    have_left: Callable[[Collection[Partition]], bool]
    drop: Callable[[Collection[Partition]], None]


@dataclass(frozen=True, slots=True)
class _Opening:
    after: int
    due: float


class Group:
    """The partitions that are ours now, each with its feed."""

    def __init__(self, client: Consumer, complaints: Complaints, clock: Clock) -> None:
        self._client = client
        self._complaints = complaints
        self._clock = clock
        self._report = FaultReport(clock.monotonic, where="all")
        self._lock = threading.RLock()
        self._feeds: dict[Partition, Feed] = {}
        self._openings: dict[Partition, _Opening] = {}
        self._fetching: set[Partition] = set()
        self._paused: set[Partition] = set()
        self._leaving: set[Partition] = set()
        self._fault: BaseException | None = None
        self._done = threading.Event()
        self._calls = Calls(clock, is_served=lambda: self._fault is None)
        self.has_joined = False

    @contextmanager
    def joined(self, topics: Iterable[str], readers: Readers) -> Iterator[None]:
        """Be a member while inside; leaving tells the group, which hands our partitions on at once."""
        self._client.subscribe(
            list(topics),
            on_assign=lambda _client, parts: self._gain(list(map(_partition, parts))),
            on_revoke=lambda _client, parts: self._give_up(list(map(_partition, parts)), readers),
            on_lost=lambda _client, parts: self._lose(list(map(_partition, parts)), readers),
        )
        # The thread logs with the fields that are bound here, such as the program's name.
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(self._poll,), name="poll", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join(CLOSE_SECONDS)
            # Leaving gives partitions up once more; nobody reads them any more, so that nothing waits for an answer.
            if not thread.is_alive():
                self._client.close()

    def check(self) -> None:
        """Raise what the thread that polls met.

        Raises:
            FatalFault: when going on could lose or falsify data.
        """
        if self._fault is not None:
            raise self._fault

    def ours(self) -> set[Partition]:
        """The partitions that the group has given us, those among them that are about to go."""
        with self._lock:
            return set(self._feeds)

    def staying(self) -> set[Partition]:
        """The partitions that are ours to read."""
        with self._lock:
            return self._feeds.keys() - self._leaving

    def feed(self, partition: Partition) -> Feed:
        """The feed of a partition that is ours.

        Raises:
            LeaseLost: when it is not.
        """
        with self._lock:
            feed = self._feeds.get(partition)
        if feed is None:
            raise LeaseLost("the group gave the partition to another worker", where=str(partition))
        return feed

    def open(self, partition: Partition, after: int) -> int:
        """Fetch a partition from past a sequence number on; returns the number of this opening of its feed."""
        with self._lock:
            opening = self.feed(partition).open(after)
            self._openings[partition] = _Opening(after, due=0.0)
            return opening

    def commit(self, partition: Partition, upto: int, identity: str) -> None:
        """Tell the group how far a partition is durable, for those who watch its lag and for our next start.

        Raises:
            TransientFault: when the group's coordinator does not take it for now.
        """
        note = TopicPartition(partition.topic, partition.number, upto, identity)
        try:
            answers = self._calls.ask(lambda: self._client.commit(offsets=[note], asynchronous=False))
        except KafkaException as error:
            raise self._commit_fault(partition, kafka_error(error)) from None
        for answer in answers:
            if answer.error is not None:
                raise self._commit_fault(partition, answer.error)

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, tuple[int, str]]:
        """How far partitions are committed, by us or others, and the identity noted with that (empty: none).

        Raises:
            TransientFault: when the group's coordinator does not answer for now.
        """
        asked = [TopicPartition(one.topic, one.number) for one in partitions]
        try:
            answers = self._calls.ask(lambda: self._client.committed(asked, timeout=ANSWER_SECONDS)) if asked else []
        except KafkaException as error:
            raise kafka_fault("read the committed offsets", "all", self._explained(error)) from None
        return {_partition(one): (one.offset, one.metadata or "") for one in answers if one.offset >= 0}

    def _commit_fault(self, partition: Partition, error: KafkaError | None) -> Exception:
        fault = kafka_fault("commit an offset", str(partition), self._complaints.explain(error))
        # Whether the partition is still ours the callbacks say, not an answer that a rebalance may have overtaken.
        unsettled = error is not None and error.code() in UNSETTLED
        return TransientFault(fault.what, where=fault.where) if unsettled else fault

    def _poll(self) -> None:
        try:
            while not self._done.is_set():
                self._calls.serve(0.0)
                self._start_fetching()
                self._hold_back()
                self._hand_out(self._client.consume(POLL_RECORDS_MAX, POLL_SECONDS))
        except BaseException as error:  # noqa: BLE001 - handed to the main thread, which ends the program with it
            found = kafka_error(error)
            self._fault = kafka_fault("poll", "all", self._complaints.explain(found)) if found else error

    def _gain(self, partitions: list[Partition]) -> None:
        with self._lock:
            share = max(FEED_BYTES_MIN, FEEDS_BYTES_MAX // max(1, len(self._feeds) + len(partitions)))
            for partition in partitions:
                self._feeds[partition] = Feed(share)
            for feed in self._feeds.values():
                feed.bytes_max = share
            self.has_joined = True
        self._client.incremental_assign([])  # nothing is fetched before its thread has said from where
        _log.info("partitions assigned", partitions=sorted(map(str, partitions)))

    def _give_up(self, partitions: list[Partition], readers: Readers) -> None:
        """Let them be flushed, for as long as is granted; what is not written then is read again by the next worker."""
        _log.info("partitions go", partitions=sorted(map(str, partitions)))
        with self._lock:
            self._leaving.update(partitions)
        deadline = self._clock.monotonic() + GIVE_UP_SECONDS
        readers.ask(partitions)
        while not readers.have_left(partitions) and self._clock.monotonic() < deadline:
            self._calls.serve(SERVE_SECONDS)
            readers.ask(partitions)  # again, for a thread that was just about to begin
        readers.drop(partitions)
        self._forget(partitions)

    def _lose(self, partitions: list[Partition], readers: Readers) -> None:
        _log.warning("partitions lost", partitions=sorted(map(str, partitions)))
        readers.drop(partitions)
        self._forget(partitions)

    def _forget(self, partitions: list[Partition]) -> None:
        with self._lock:
            for partition in partitions:
                self._feeds.pop(partition, None)
                self._openings.pop(partition, None)
            self._leaving.difference_update(partitions)
            gone = self._fetching.intersection(partitions)
            self._fetching -= gone
            self._paused -= gone
        self._client.incremental_unassign([TopicPartition(one.topic, one.number) for one in gone])

    def _start_fetching(self) -> None:
        now = self._clock.monotonic()
        with self._lock:
            due = {one: opening for one, opening in self._openings.items() if opening.due <= now}
            for partition, opening in due.items():
                del self._openings[partition]
                # Assigned anew rather than sought: that also wakes a partition that the client has stopped on an error.
                if partition in self._fetching:
                    self._client.incremental_unassign([TopicPartition(partition.topic, partition.number)])
                # By its number also where that is 0, so that what is gone from the beginning shows as out of range.
                self._client.incremental_assign([TopicPartition(partition.topic, partition.number, opening.after)])
                self._fetching.add(partition)
                self._paused.discard(partition)

    def _hold_back(self) -> None:
        """Stop fetching for threads that do not keep up, and go on once they do."""
        with self._lock:
            full = {one for one in self._fetching - self._paused if self._feeds[one].is_full}
            roomy = {one for one in self._paused if self._feeds[one].has_room}
            if full:
                self._client.pause([TopicPartition(one.topic, one.number) for one in full])
            if roomy:
                self._client.resume([TopicPartition(one.topic, one.number) for one in roomy])
            self._paused = (self._paused | full) - roomy

    def _hand_out(self, messages: list[Message]) -> None:
        records: dict[Partition, list[Record]] = {}
        for message in messages:
            partition = Partition(message.topic() or "", message.partition() or 0)
            error = message.error()
            if error is None:
                records.setdefault(partition, []).append(record_of(message))
                continue
            self._put(partition, records.pop(partition, []))
            self._heed(partition, message.offset(), error)
        for partition, some in records.items():
            self._put(partition, some)

    def _put(self, partition: Partition, records: list[Record]) -> None:
        with self._lock:
            # An opening that is still to come makes everything stale that was fetched before it.
            if partition in self._feeds and partition not in self._openings:
                self._feeds[partition].put(records)

    def _heed(self, partition: Partition, offset: int | None, error: KafkaError) -> None:
        with self._lock:
            feed = None if partition in self._openings else self._feeds.get(partition)
        if error.code() == PARTITION_EOF:
            if feed is not None and offset is not None:
                feed.end(offset)
        elif error.code() == OFFSET_GONE:
            if feed is not None:
                self._find_again(partition, feed)
        elif error.code() == LOG_TRUNCATED:
            raise _log_lost(partition)
        else:
            fault = kafka_fault("fetch", str(partition), self._complaints.explain(error))
            # A broker may not know a topic for a moment, as after its start; the next survey tells whether it is gone.
            if isinstance(fault, FatalFault) and error.code() not in MISSING:
                raise fault
            self._report.add("read", TransientFault(fault.what, where=fault.where))

    def _find_again(self, partition: Partition, feed: Feed) -> None:
        """The partition does not have the record at our position: go on where it begins now, as a loss."""
        position = feed.position
        asked = TopicPartition(partition.topic, partition.number)
        try:
            low, high = self._client.get_watermark_offsets(asked, timeout=ANSWER_SECONDS, cached=False)
        except KafkaException as error:
            fault = kafka_fault("find where a partition begins", str(partition), self._explained(error))
            if isinstance(fault, FatalFault):
                raise fault from None
            self._report.add("read", fault)
        else:
            if position > high:
                raise _log_lost(partition)
            if position < low:
                feed.trim(low)
        with self._lock:
            self._openings[partition] = _Opening(feed.position, due=self._clock.monotonic() + REOPEN_SECONDS)

    def _explained(self, error: KafkaException) -> KafkaError | None:
        return self._complaints.explain(kafka_error(error))


def _partition(part: TopicPartition) -> Partition:
    return Partition(part.topic, part.partition)


def _log_lost(partition: Partition) -> FatalFault:
    return FatalFault(
        _LOST_LOG,
        where=str(partition),
        hint="the topic was made anew, then start the program again; or a broker lost what it had acknowledged "
        "(unclean leader election), then begin with a new topic and a new snapshot of the source",
    )
