"""Stream: shards between the producer and the raw zone, with all that may go wrong on the way."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from tests.lake_machine.source import Sent
from tests.raw_zone import MemoryObjects, ShardWriter, at


class Record(NamedTuple):
    """One record of a shard: an event, a body that is none, or a heartbeat of the source (seconds)."""

    sent: Sent | None = None
    poison: bytes | None = None
    heartbeat: float | None = None

    @property
    def body(self) -> bytes | None:
        """What goes to the table's raw objects; nothing of a heartbeat."""
        return self.sent.body if self.sent else self.poison


@dataclass
class Shard:
    """`pending` waits at the producer; `log` is in the stream, its sequence numbers are its places from 1.

    `written` is how much of it is in the raw zone.
    """

    writer: ShardWriter
    pending: list[Record] = field(default_factory=list)
    log: list[Record] = field(default_factory=list)
    written: int = 0

    @property
    def id(self) -> str:
        """Its key in `cdc.offsets`."""
        return f"{self.writer.stream}/{self.writer.shard}"


class Stream:
    """The shards of a stream and the raw zone that they are read into. `done` counts what had an effect."""

    def __init__(self, raw: MemoryObjects, table: str, shards: int, done: Counter[str]) -> None:
        self._table = table
        self._done = done
        self.shards = [Shard(ShardWriter(raw, f"shardId-{number:012}")) for number in range(shards)]

    def queue(self, place: int, record: Record) -> None:
        """Hand a record to the producer, for the shard at a place."""
        self.shards[place % len(self.shards)].pending.append(record)

    def beat(self, seconds: float) -> None:
        """A heartbeat to every shard, behind all that was committed before."""
        for shard in self.shards:
            shard.pending.append(Record(heartbeat=seconds))
        self._done["heartbeat"] += 1

    def produce(self, place: int, count: int, dice: random.Random | None) -> None:
        """Put some pending records; shuffled where a part of the call failed and came later, but heartbeats keep their place."""
        shard = self.shards[place]
        taken, shard.pending[:count] = shard.pending[:count], []
        if dice is not None:
            beats = [place for place, record in enumerate(taken) if record.heartbeat is not None]
            shuffled: list[Record] = []
            for start, end in pairwise([-1, *beats, len(taken)]):
                part = taken[start + 1 : end]
                dice.shuffle(part)
                shuffled += [*part, *taken[end : end + 1]]
            self._done["reorder in a shard"] += shuffled != taken
            taken = shuffled
        shard.log += taken

    def resend(self, place: int, start: int, count: int) -> None:
        """The producer sends records again, under new sequence numbers."""
        shard = self.shards[place]
        again = [record for record in shard.log[start : start + count] if record.heartbeat is None]
        shard.log += again
        self._done["duplicate"] += bool(again)

    def write(self, place: int, count: int) -> None:
        """Write the next records of a shard as one batch."""
        shard = self.shards[place]
        upto = min(shard.written + count, len(shard.log))
        if upto > shard.written:
            self._batch(shard, shard.written, upto)
            shard.written = upto
            self._done["batch"] += 1

    def write_late(self, place: int, cut: int) -> Iterator[None]:
        """Write a batch, but what comes before it in the chain only when asked for more: first there is a gap."""
        shard = self.shards[place]
        start, upto = shard.written, len(shard.log)
        middle = start + cut
        if start < middle < upto:
            self._batch(shard, middle, upto)
            yield
            self._batch(shard, start, middle)
            shard.written = upto
            self._done["a batch that comes late"] += 1

    def write_as_zombie(self, place: int, after: int, count: int) -> None:
        """A worker that lost its lease writes a batch of its own cut over what is written, and perhaps past it."""
        shard = self.shards[place]
        after = after % shard.written if shard.written else 0
        upto = min(after + count, len(shard.log))
        if shard.written and upto > after:
            self._batch(shard, after, upto)
            self._done["overlap"] += 1

    def told(self, offsets: Mapping[str, int]) -> list[Record]:
        """All records up to some offsets."""
        return [record for shard in self.shards for record in shard.log[: offsets.get(shard.id, 0)]]

    def _batch(self, shard: Shard, after: int, upto: int) -> None:
        records = shard.log[after:upto]
        beats = [record.heartbeat for record in records if record.heartbeat is not None]
        shard.writer.batch(
            [record.body for record in records],
            table=self._table,
            after=after,
            evidence=at(max(beats)) if beats else None,
        )
