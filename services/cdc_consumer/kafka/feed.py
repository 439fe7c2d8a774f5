"""A feed: what the one Kafka client has fetched of one partition, waiting for that partition's thread.

Sequence numbers here are Kafka's offsets plus one, that is, the offset after the record, as a group commits it: raw
counts from 0, "before the first record", and Kafka's first offset is 0 already.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from cdc_consumer.stream import Record


@dataclass(frozen=True, slots=True)
class Trimmed:
    """The partition has nothing any more up to this sequence number."""

    upto: int


@dataclass(frozen=True, slots=True)
class Helping:
    """What a thread takes from its feed at once.

    `trimmed` holds before the first of `records`. `reached` is how far the partition is read with them, which is past
    the last record where control records of transactions or aborted records follow; `at_end` tells that there was
    nothing more to fetch, `has_just_ended` that the broker has said so since the last time.
    """

    records: tuple[Record, ...]
    reached: int
    at_end: bool
    trimmed: int | None
    has_just_ended: bool = False


class Feed:
    """Filled by the thread that polls, emptied by the partition's; whoever opens it says where to go on."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max  # changes with the number of partitions
        self._changed = threading.Condition()
        self._items: deque[Record | Trimmed] = deque()
        self._bytes = 0
        self._next = 0
        self._taken = 0
        self._ended_at: int | None = None
        self._end_is_news = False
        self.opening = 0
        self.is_open = False

    def open(self, after: int) -> int:
        """Go on after a sequence number (0: from the beginning); returns the number of this opening."""
        with self._changed:
            self._items.clear()
            self._bytes = 0
            self._next = self._taken = after
            self._forget_end()
            self.opening += 1
            self.is_open = True
            return self.opening

    @property
    def position(self) -> int:
        """The offset of the record to fetch next, which is the sequence number of the one before."""
        return self._next

    @property
    def is_full(self) -> bool:
        """Whether to stop fetching until the thread has caught up."""
        return self._bytes > self.bytes_max

    @property
    def has_room(self) -> bool:
        """Whether to fetch again; well below full, since stopping throws away what the client has fetched ahead."""
        return self._bytes <= self.bytes_max // 2

    def put(self, records: Iterable[Record]) -> None:
        """Add records; those from before the position are left over from an earlier one."""
        with self._changed:
            for record in records:
                if int(record.seq) <= self._next or not self.is_open:
                    continue
                self._items.append(record)
                self._bytes += len(record.data)
                self._next = int(record.seq)
                self._forget_end()
            self._changed.notify_all()

    def end(self, offset: int) -> None:
        """Note that there was nothing more to fetch at an offset."""
        with self._changed:
            if self.is_open and offset >= self._next:
                self._next = self._ended_at = offset
                self._end_is_news = True
                self._changed.notify_all()

    def trim(self, offset: int) -> None:
        """Note that the partition begins at an offset past the position."""
        with self._changed:
            self._items.append(Trimmed(offset))
            self._next = offset
            self._forget_end()
            self._changed.notify_all()

    def take(self, records_max: int, wait_seconds: float, bytes_max: float = math.inf) -> Helping:
        """What is there now; waits where nothing is. A loss comes before the records that follow it, never among.

        No record is taken past `bytes_max`, but the first always is.
        """
        with self._changed:
            if not self._items and not self._end_is_news:
                self._changed.wait(wait_seconds)
            trimmed: int | None = None
            if self._items and isinstance(first := self._items[0], Trimmed):
                trimmed = self._taken = first.upto
                self._items.popleft()
            records: list[Record] = []
            while self._items and len(records) < records_max and isinstance(item := self._items[0], Record):
                bytes_max -= len(item.data)
                if records and bytes_max < 0:
                    break
                records.append(item)
                self._bytes -= len(item.data)
                self._taken = int(item.seq)
                self._items.popleft()
            at_end = not self._items and self._ended_at is not None
            if at_end:
                self._taken = max(self._taken, self._next)
            # Told by itself, after the records before it: records that never cease must not hide that there was an end.
            is_news = self._end_is_news and at_end and not records and trimmed is None
            self._end_is_news = self._end_is_news and not is_news
            return Helping(tuple(records), self._taken, at_end, trimmed, is_news)

    def _forget_end(self) -> None:
        self._ended_at, self._end_is_news = None, False
