"""Stream: shards between the producer and the raw zone, with all that may go wrong on the way."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from cdc.raw import SnapshotWord
from tests.lake_machine.source import Sent
from tests.raw_zone import MemoryObjects, ShardWriter, at

SLOTS = 12
"""A record goes to the open shard that has its slot; a split parts a shard's slots."""
SHARDS_MAX = 9


class Record(NamedTuple):
    """One record of a shard: events (two of a DMS key change), a body that is none, a heartbeat of the source (seconds),
    a publisher's word of a snapshot; or nothing, the end of a closed shard.
    """

    sents: tuple[Sent, ...] = ()
    poison: bytes | None = None
    heartbeat: float | None = None
    word: SnapshotWord | None = None
    slot: int = 0

    @property
    def body(self) -> bytes | None:
        """What goes to the table's raw objects; nothing of a heartbeat."""
        return self.sents[0].body if self.sents else self.poison

    @property
    def is_data(self) -> bool:
        """Whether a producer may send it again."""
        return self.body is not None


@dataclass
class Shard:
    """`pending` waits at the producer, and so do `strays`, which were refused and come when others have overtaken them;
    `log` is in the stream, its sequence numbers are its places from 1.

    `written` is how much of it is in the raw zone, but for what a zombie wrote, which `reached` counts too. What lies before `resent_from` is of an older epoch and never sent again.
    """

    writer: ShardWriter
    slots: frozenset[int]
    parents: tuple[Shard, ...] = ()
    pending: list[Record] = field(default_factory=list)
    strays: list[Record] = field(default_factory=list)
    log: list[Record] = field(default_factory=list)
    written: int = 0
    reached: int = 0
    resent_from: int = 0
    children: tuple[Shard, ...] = ()

    @property
    def id(self) -> str:
        """Its key in `cdc.offsets`."""
        return f"{self.writer.stream}/{self.writer.shard}"

    @property
    def is_read(self) -> bool:
        """Whether it is closed and wholly in the raw zone, so that its children may be read."""
        return bool(self.children) and self.written == len(self.log)


class Stream:
    """The shards of a stream and the raw zone that they are read into. `done` counts what had an effect."""

    def __init__(self, raw: MemoryObjects, table: str, shards: int, done: Counter[str]) -> None:
        self._raw = raw
        self._table = table
        self._done = done
        self.shards: list[Shard] = []
        for number in range(shards):
            self._new_shard(frozenset(range(number, SLOTS, shards)))

    @property
    def open(self) -> list[Shard]:
        """The shards that records are put to."""
        return [shard for shard in self.shards if not shard.children]

    def queue(self, place: int, record: Record) -> None:
        """Hand a record to the producer, for the shard at a place."""
        self._route(place % SLOTS).pending.append(record._replace(slot=place % SLOTS))

    def beat(self, seconds: float) -> None:
        """A heartbeat to every shard, behind all that was committed before."""
        for shard in self.open:
            shard.pending.append(Record(heartbeat=seconds))
        self._done["heartbeat"] += 1

    def tell(self, word: SnapshotWord, shards: list[Shard]) -> None:
        """A publisher's word of a snapshot to some shards, behind all that they have."""
        for shard in shards:
            shard.log.append(Record(word=word))
        if not word.is_complete:
            for shard in self.shards:
                shard.resent_from = len(shard.log)

    def produce(self, place: int, count: int, dice: random.Random | None) -> None:
        """Put some pending records; shuffled where a part of the call failed and came later, but heartbeats keep their place."""
        shard = self.at(place)
        taken, shard.pending[:count] = shard.pending[:count], []
        beats = [place for place, record in enumerate(taken) if record.heartbeat is not None]
        if beats:
            taken[beats[0] : beats[0]] = self._strays(shard)
            beats = [place for place, record in enumerate(taken) if record.heartbeat is not None]
        if dice is not None:
            shuffled: list[Record] = []
            for start, end in pairwise([-1, *beats, len(taken)]):
                part = taken[start + 1 : end]
                dice.shuffle(part)
                shuffled += [*part, *taken[end : end + 1]]
            self._done["reorder in a shard"] += shuffled != taken
            taken = shuffled
        shard.log += taken

    def stray(self, place: int, dice: random.Random) -> None:
        """A change is refused, and sent again when others have overtaken it: best a delete of its key. No heartbeat does."""
        shard = self.at(place)
        waiting = [(place, sent) for place, record in enumerate(shard.pending) for sent in record.sents[:1]]
        deleted = {sent.key: sent.position for _, sent in waiting if sent.op == "d"}
        overtaken = [place for place, sent in waiting if sent.position < deleted.get(sent.key, sent.position)]
        if places := overtaken or [place for place, _ in waiting]:
            shard.strays.append(shard.pending.pop(dice.choice(places)))

    def produce_all(self) -> None:
        """All that is pending is put."""
        for place, shard in enumerate(self.shards):
            self.produce(place, len(shard.pending), None)
            shard.log += self._strays(shard)

    def arrive(self) -> None:
        """All that is pending is put, and written to the raw zone."""
        self.produce_all()
        for place, shard in enumerate(self.shards):  # a child never comes before its parents
            self.write(place, len(shard.log))

    def lose(self, place: int, count: int) -> list[Sent]:
        """The producer dies, and what it had last for a shard is never put: the events."""
        shard = self.at(place)
        kept = max(0, len(shard.pending) - count)
        lost, shard.pending[kept:] = shard.pending[kept:], []
        return [sent for record in lost for sent in record.sents]

    def reshard(self, place: int, other: int) -> None:
        """Split an open shard, or merge it with another one. What was not put yet goes to the children."""
        shard, second = self._open_at(place), self._open_at(other)
        if len(self.shards) > SHARDS_MAX - 2 or (shard is second and len(shard.slots) < 2):
            return
        parents: tuple[Shard, ...]
        if shard is second:
            parents, slots = (shard,), sorted(shard.slots)
            children = tuple(self._new_shard(frozenset(half), parents) for half in (slots[::2], slots[1::2]))
        else:
            parents = (shard, second)
            children = (self._new_shard(shard.slots | second.slots, parents),)
        for parent in parents:
            parent.children = children
            parent.log.append(Record())
        for parent in parents:
            for record in (*parent.strays, *parent.pending):
                if record.is_data:
                    self._route(record.slot).pending.append(record)
            parent.strays, parent.pending = [], []
        self._done["split" if shard is second else "merge of shards"] += 1

    def resend(self, place: int, start: int, count: int) -> None:
        """The producer sends records again, under new sequence numbers."""
        shard = self.at(place)
        start = max(start, shard.resent_from)
        self._again([record for record in shard.log[start : start + count] if record.is_data])

    def resend_of_the_deleted(self, place: int, dice: random.Random) -> None:
        """The producer sends changes again of a key whose delete is in the raw zone since."""
        shard = self.at(place)
        read = shard.log[shard.resent_from : shard.written]
        newest: dict[object, Sent] = {}
        for sent in (sent for record in read for sent in record.sents if sent.key):
            newest[sent.key] = max(sent, newest.get(sent.key, sent), key=lambda one: (one.position, one.op != "d"))
        old = [
            record for record in read if any(newest[sent.key].op == "d" != sent.op for sent in record.sents if sent.key)
        ]
        if old:
            self._again(dice.sample(old, dice.randint(1, min(3, len(old)))))
            self._done["duplicate after a delete"] += 1

    def write(self, place: int, count: int) -> None:
        """Write the next records of a shard as one batch; parents come first."""
        shard = self.at(place)
        upto = min(shard.written + count, len(shard.log))
        if upto > shard.written and all(parent.is_read for parent in shard.parents):
            self._batch(shard, shard.written, upto)
            shard.written = upto
            self._done["batch"] += 1

    def write_late(self, place: int, cut: int) -> Iterator[None]:
        """Write a batch, but what comes before it in the chain only when asked for more: first there is a gap."""
        shard = self.at(place)
        start, upto = shard.written, len(shard.log)
        middle = start + cut
        if shard.reached == start < middle < upto and all(parent.is_read for parent in shard.parents):
            self._batch(shard, middle, upto)
            yield
            self._batch(shard, start, middle)
            shard.written = upto
            self._done["a batch that comes late"] += 1

    def write_as_zombie(self, place: int, after: int, count: int) -> None:
        """A worker that lost its lease writes a batch of its own cut over what is written, and perhaps past it."""
        shard = self.at(place)
        after = after % shard.written if shard.written else 0
        upto = min(after + count, len(shard.log))
        if shard.written and upto > after:
            self._batch(shard, after, upto)
            self._done["overlap"] += 1

    def told(self, offsets: Mapping[str, int]) -> list[Record]:
        """All records up to some offsets."""
        return [record for shard in self.shards for record in shard.log[: offsets.get(shard.id, 0)]]

    @property
    def listed(self) -> dict[str, int]:
        """Up to where the shards are in the raw zone, by shard id."""
        return {shard.id: shard.reached for shard in self.shards}

    def at(self, place: int) -> Shard:
        """Any shard, by a number."""
        return self.shards[place % len(self.shards)]

    def _new_shard(self, slots: frozenset[int], parents: tuple[Shard, ...] = ()) -> Shard:
        shard = Shard(ShardWriter(self._raw, f"shardId-{len(self.shards):012}"), slots, parents)
        self.shards.append(shard)
        return shard

    def _open_at(self, place: int) -> Shard:
        """The shard with a number, or an open one in its place."""
        shard = self.at(place)
        return self.open[place % len(self.open)] if shard.children else shard

    def _route(self, slot: int) -> Shard:
        return next(shard for shard in self.open if slot in shard.slots)

    def _again(self, records: list[Record]) -> None:
        for record in records:
            self._route(record.slot).log.append(record)
        self._done["duplicate"] += bool(records)

    def _strays(self, shard: Shard) -> list[Record]:
        """What was refused comes now; of its keys newer deletes may be in the raw zone."""
        deleted: dict[object, tuple[int, int, int]] = {}
        for sent in (sent for record in shard.log[: shard.written] for sent in record.sents if sent.op == "d"):
            deleted[sent.key] = max(sent.position, deleted.get(sent.key, sent.position))
        late = [s for record in shard.strays for s in record.sents if s.position < deleted.get(s.key, s.position)]
        self._done["a late change after a delete"] += bool(late)
        strays, shard.strays = shard.strays, []
        return strays

    def _batch(self, shard: Shard, after: int, upto: int) -> None:
        records = shard.log[after:upto]
        shard.reached = max(shard.reached, upto)
        beats = [record.heartbeat for record in records if record.heartbeat is not None]
        is_end = bool(shard.children) and upto == len(shard.log)
        shard.writer.batch(
            [record.body for record in records],
            table=self._table,
            after=after,
            evidence=at(max(beats)) if beats else None,
            closed=is_end,
            children=tuple(child.writer.shard for child in shard.children) if is_end else (),
            marks_at={place: record.word for place, record in enumerate(records) if record.word is not None},
        )
