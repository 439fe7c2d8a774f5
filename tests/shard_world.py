"""One shard and all that outlives the worker that reads it: a stream, an object store and a lease table, all in memory.

Time passes when somebody rests; each of the parts can be told to fail.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cdc.objects import OtherContent
from cdc_consumer.clock import Clock
from cdc_consumer.halt import Halt
from cdc_consumer.held_lease import HeldLease
from cdc_consumer.lease import Lease, taken
from cdc_consumer.shard import Outcome, ShardReader
from cdc_consumer.stream import Record, Reply, Shard, Stream
from cdc_consumer.tools import Tools
from tests.raw_zone import MemoryObjects

STREAM = Stream("s", "s-20261121T120000Z", timedelta(hours=24))
SHARD = "shardId-000000000000"
KEY = f"{STREAM.identity}/{SHARD}"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
TABLES = {("public", "Usuários"): "usuarios"}


SPREAD = 1000
"""Between two sequence numbers, which are sparse in Kinesis too: a gap between batches must not hide in their density."""


def seq(number: int) -> str:
    """The sequence number of the record of this number, not in its shortest form."""
    return f"00{number * SPREAD}"


class Crash(BaseException):
    """The process dies here."""


def event(number: int, size: int = 0) -> bytes:
    source = {"schema": "public", "table": "Usuários", "lsn": number, "ts_us": 1_700_000_000_000_000 + number}
    value = {"op": "c", "source": source, "after": {"id": number, "x": "x" * size}}
    return json.dumps(value, ensure_ascii=False).encode()


@dataclass
class FakeTime:
    """A clock that moves when somebody rests; `then` is called before each rest."""

    seconds: float = 0.0
    then: Callable[[], None] = lambda: None

    def clock(self) -> Clock:
        return Clock(lambda: self.seconds, lambda: NOON + timedelta(seconds=self.seconds), self.wait)

    def wait(self, event_: threading.Event, seconds: float) -> bool:
        self.then()
        if not event_.is_set():
            self.seconds += seconds
        return event_.is_set()


@dataclass
class FakeStreams:
    """One shard; `faults` are raised by the next calls, in order, before they do anything.

    With `retention`, records that are older are gone, and iterators go on at the oldest record left, as Kinesis's do.
    """

    time: FakeTime
    records_: list[Record] = field(default_factory=list)
    page: int = 3
    closed: Shard | None = None
    children: tuple[str, ...] = ()
    stream: Stream = STREAM
    dropped: bool = False
    retention: timedelta | None = None
    faults: list[Exception] = field(default_factory=list)
    opened: list[str | None] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)

    def add(self, *payloads: bytes) -> None:
        number = len(self.records_)
        now = NOON + timedelta(seconds=self.time.seconds)
        self.records_ += [Record(seq(number + i), now, data) for i, data in enumerate(payloads, start=1)]

    def describe(self, name: str) -> Stream:
        return self.stream

    def shards(self, stream: Stream) -> tuple[Shard, ...]:
        own = () if self.dropped else (self.closed or Shard(SHARD),)
        return (*own, *(Shard(child, parents=(SHARD,)) for child in self.children))

    def iterator(self, stream: Stream, shard: str, after: str | None) -> str:
        self.opened.append(after)
        first = next((i for i, one in enumerate(self.records_) if int(one.seq) > int(after or 0)), len(self.records_))
        return str(first)

    def records(self, stream: Stream, shard: str, iterator: str) -> Reply:
        self.calls.append(self.time.seconds)
        if self.faults:
            raise self.faults.pop(0)
        start = int(iterator)
        now = NOON + timedelta(seconds=self.time.seconds)
        while self.retention and start < len(self.records_) and now - self.records_[start].arrived_at > self.retention:
            start += 1
        end = min(start + self.page, len(self.records_))
        at_end = end == len(self.records_)
        if at_end and self.closed:
            return Reply(tuple(self.records_[start:end]), None, 0, self.children[:1])
        return Reply(tuple(self.records_[start:end]), str(end), 0 if at_end else 5000)


class FaultyObjects(MemoryObjects):
    """Objects in memory whose writes `before` and `after` may disturb."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[str], None] = lambda _: None
        self.after: Callable[[str], None] = lambda _: None

    def put_new(self, path: str, body: bytes) -> None:
        self.before(path)
        if self.objects.setdefault(path, body) != body:
            raise OtherContent("other content", where=path)
        self.after(path)

    def put(self, path: str, body: bytes) -> None:
        self.before(path)
        super().put(path, body)
        self.after(path)


class MemoryTable:
    def __init__(self) -> None:
        self.row = Lease(KEY)
        self.before: Callable[[Lease], None] = lambda _: None

    def ensure(self) -> None:
        raise NotImplementedError

    def leases(self) -> dict[str, Lease]:
        return {KEY: self.row}

    def create(self, lease: Lease) -> None:
        raise NotImplementedError

    def delete(self, lease: Lease) -> None:
        raise NotImplementedError

    def replace(self, old: Lease, new: Lease) -> Lease | None:
        self.before(new)
        if (self.row.counter, self.row.owner) == (old.counter, old.owner):
            self.row = new
        return self.row


@dataclass
class World:
    """All that outlives a worker: stream, objects, lease table."""

    time: FakeTime = field(default_factory=FakeTime)
    raw: FaultyObjects = field(default_factory=FaultyObjects)
    quarantine: FaultyObjects = field(default_factory=FaultyObjects)
    table: MemoryTable = field(default_factory=MemoryTable)
    batch_bytes: int = 8_000_000
    retention: timedelta | None = STREAM.retention
    workers: int = 0
    pages: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(1))
    fit: Callable[[Tools], Tools] = lambda tools: tools

    def __post_init__(self) -> None:
        self.streams = FakeStreams(self.time)
        self.halt = Halt(self.time.clock())

    def work(self, *, until_caught_up: bool = True) -> Outcome:
        """A new worker takes the lease and reads the shard."""
        self.workers += 1
        self.table.row = taken(self.table.row, f"worker-{self.workers}")
        self.halt = Halt(self.time.clock())
        lease = HeldLease(self.table, self.table.row, self.halt)
        tools = Tools(
            streams=self.streams,
            raw=self.raw,
            quarantine=self.quarantine,
            tables=TABLES,
            batch_bytes=self.batch_bytes,
            batch_age_seconds=10.0,
            clock=self.time.clock(),
            chance=lambda: 0.5,
            pages=self.pages,
        )
        reader = ShardReader(STREAM, SHARD, lease, self.halt, self.fit(tools))
        reader.retention = self.retention
        return reader.run(until_caught_up=until_caught_up)

    def chain(self) -> list[dict[str, Any]]:
        """The batch records in the order of their names, which is that of their ends."""
        paths = sorted(path for path in self.raw.objects if path.startswith("_batches/"))
        return [json.loads(self.raw.objects[path]) for path in paths]

    def check(self, expected_gaps: int = 0) -> list[int]:
        """The numbers of the records in raw, those of overlaps once, after the chain was found whole."""
        covered, gaps = 0, 0
        seen: list[int] = []
        for record in self.chain():
            gaps += int(record["after"]) > covered
            for ref in record.get("objects", ()):
                lines = gzip.decompress(self.raw.objects[ref["path"]]).splitlines()
                numbers = [int(json.loads(line)["seq"]) for line in lines]
                assert all(int(record["after"]) < number <= int(record["upto"]) for number in numbers)
                seen += [number for number in numbers if number > covered]
            covered = max(covered, int(record["upto"]))
        assert gaps == expected_gaps
        assert all(number % SPREAD == 0 for number in seen)
        return [number // SPREAD for number in seen]
