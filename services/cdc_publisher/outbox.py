"""Outbox: decides which records may go to the stream next, so that the order of each key survives any failure.

A *lane* is what must stay in order: the records of one partition key. A lane has at most one record on its way, so two
records of one key never share a call: PutRecords may take the later and refuse the earlier one. Pure: no clock, no I/O.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

from cdc_publisher.ledger import Entry

RECORDS_MAX: Final = 500
"""PutRecords takes so many records a call."""
BYTES_MAX: Final = 5 * 2**20
"""PutRecords takes so many bytes a call, partition keys included."""


class Record(NamedTuple):
    """A record to be put; `entry` is told when the stream has it. An explicit hash key picks the shard."""

    partition_key: str
    data: bytes
    entry: Entry | None = None
    explicit_hash_key: str | None = None

    @property
    def size(self) -> int:
        """The bytes that count for the stream's limits; our partition keys are ASCII."""
        return len(self.data) + len(self.partition_key)

    @property
    def lane(self) -> str:
        """What must stay in order."""
        return self.explicit_hash_key or self.partition_key


class Outbox:
    """Records on their way: ready ones, ones whose lane is busy, and refused ones that wait for their time."""

    def __init__(self, backoff_seconds: Callable[[int], float]) -> None:
        self._backoff_seconds = backoff_seconds
        self._ready: deque[Record] = deque()
        # Each busy lane, with the records that wait behind the one that is ready, refused or on its way.
        self._lanes: dict[str, deque[Record] | None] = {}
        self._refused: list[tuple[float, int, Record]] = []
        self._attempts: dict[str, int] = {}
        self._serial = 0
        self.records = 0
        self.bytes = 0

    @property
    def ready_count(self) -> int:
        """How many records could go at once."""
        return len(self._ready)

    def add(self, record: Record) -> None:
        """Take a record in, behind all earlier ones of its lane."""
        self.records += 1
        self.bytes += record.size
        lane = record.lane
        if lane not in self._lanes:
            self._lanes[lane] = None
            self._ready.append(record)
            return
        waiting = self._lanes[lane]
        if waiting is None:
            self._lanes[lane] = deque((record,))
        else:
            waiting.append(record)

    def take(self, now: float) -> list[Record]:
        """The records of the next call, one of a lane at most; empty when nothing may go now."""
        while self._refused and self._refused[0][0] <= now:
            self._ready.appendleft(heapq.heappop(self._refused)[2])
        call: list[Record] = []
        size = 0
        while self._ready and len(call) < RECORDS_MAX:
            size += self._ready[0].size
            if size > BYTES_MAX and call:
                break
            call.append(self._ready.popleft())
        return call

    def settle(self, call: Sequence[Record], refused: Collection[int], now: float) -> None:
        """Learn how a call ended: the records at these places were refused, the stream has the others."""
        for place, record in enumerate(call):
            if place in refused:
                self._postpone(record, now)
            else:
                self._done(record)

    def next_due(self) -> float | None:
        """When the next refused record may be tried again."""
        return self._refused[0][0] if self._refused else None

    def _postpone(self, record: Record, now: float) -> None:
        attempt = self._attempts.get(record.lane, 0) + 1
        self._attempts[record.lane] = attempt
        self._serial += 1  # two with one due time are not compared any further
        heapq.heappush(self._refused, (now + self._backoff_seconds(attempt), self._serial, record))

    def _done(self, record: Record) -> None:
        lane = record.lane
        self.records -= 1
        self.bytes -= record.size
        if self._attempts:
            self._attempts.pop(lane, None)
        waiting = self._lanes[lane]
        if waiting:
            self._ready.append(waiting.popleft())
        else:
            del self._lanes[lane]
        if record.entry is not None:
            record.entry.open -= 1
