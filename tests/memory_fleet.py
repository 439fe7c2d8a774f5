"""Streams and a lease table in memory, and workers over them: what tests of whole workers share."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cdc.errors import FatalFault
from cdc_consumer.clock import SYSTEM_CLOCK, Clock
from cdc_consumer.consumer import consume
from cdc_consumer.coverage import HASH_KEY_LAST
from cdc_consumer.lease import Lease
from cdc_consumer.outlook import Outlook
from cdc_consumer.stream import Record, Reply, Shard, Stream
from cdc_consumer.tools import Tools
from tests.raw_zone import MemoryObjects

CREATED = "20261121T120000Z"
STREAM = Stream("s", f"s-{CREATED}", timedelta(hours=24))
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


class MemoryTable:
    def __init__(self) -> None:
        self.rows: dict[str, Lease] = {}
        self.lock = threading.Lock()

    def ensure(self) -> None:
        pass

    def leases(self) -> dict[str, Lease]:
        return dict(self.rows)

    def create(self, lease: Lease) -> None:
        self.rows.setdefault(lease.key, lease)

    def delete(self, lease: Lease) -> None:
        with self.lock:
            if self.rows.get(lease.key) == lease:
                del self.rows[lease.key]

    def replace(self, old: Lease, new: Lease) -> Lease | None:
        with self.lock:
            stored = self.rows.get(old.key)
            if stored is not None and (stored.counter, stored.owner) == (old.counter, old.owner):
                self.rows[old.key] = stored = new
            return stored


@dataclass
class MemoryStreams:
    """Streams in memory; a shard is closed when it is some other's parent."""

    stream: Stream = STREAM
    data: dict[str, list[Record]] = field(default_factory=dict)
    parents: dict[str, tuple[str, ...]] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)
    hash_keys: tuple[int, int] | None = (0, HASH_KEY_LAST)

    def add(self, shard: str, count: int, *parents: str) -> None:
        self.data[shard] = [Record(str(n), NOON, b'{"ts_ms":1}') for n in range(1, count + 1)]
        self.parents[shard] = parents

    def children(self, shard: str) -> tuple[str, ...]:
        return tuple(child for child, parents in self.parents.items() if shard in parents)

    def describe(self, name: str) -> Stream:
        if name != self.stream.name:
            raise FatalFault("no such stream")
        return self.stream

    def shards(self, stream: Stream) -> tuple[Shard, ...]:
        ends = {shard: "99" if self.children(shard) else None for shard in self.data}
        return tuple(Shard(shard, self.parents[shard], end, self.hash_keys) for shard, end in ends.items())

    def iterator(self, stream: Stream, shard: str, after: str | None) -> str:
        self.opened.append(shard)
        return after or "0"

    def records(self, stream: Stream, shard: str, iterator: str) -> Reply:
        left = tuple(record for record in self.data[shard] if int(record.seq) > int(iterator))
        children = self.children(shard)
        return Reply(left, None if children else left[-1].seq if left else iterator, 0, children)


def tools(streams: MemoryStreams, raw: MemoryObjects, clock: Clock = SYSTEM_CLOCK) -> Tools:
    return Tools(streams, raw, MemoryObjects(), {}, 1_000_000, 10, clock, lambda: 0.5)


def run(streams: MemoryStreams, table: MemoryTable, raw: MemoryObjects, names: tuple[str, ...] = ("s",)) -> None:
    consume(names, table, 30, tools(streams, raw), threading.Event(), until_caught_up=True)


def outlook(streams: MemoryStreams, table: MemoryTable, worker: str = "me") -> Outlook:
    seen = Outlook(worker, streams, table, 30, SYSTEM_CLOCK, lambda: 0.5, lambda _stream, _shard: None)
    seen.start(["s"])
    seen.look(all_anew=True)
    return seen
