"""One worker of a simulated fleet: real lease decisions and real leases, a model of what its threads do with a shard.

What a worker does between two calls is one step, so that a pause or a crash falls between any two of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

from cdc.errors import LeaseLost, TransientFault
from cdc_consumer.clock import Clock
from cdc_consumer.halt import Halt
from cdc_consumer.held_lease import RENEWALS_PER_LEASE, HeldLease
from cdc_consumer.lease import TRIM_HORIZON, Lease
from cdc_consumer.outlook import Outlook, Taken
from cdc_consumer.stream import Reply, Shard, Stream

if TYPE_CHECKING:
    from tests.simulated_fleet import Simulation

STREAM = Stream("s", "s-20261121T120000Z", timedelta(hours=24))
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
LEASE_SECONDS = 30.0
RATE_MIN, RATE_MAX = 0.9, 1.1
"""How fast a worker's monotonic clock runs, against true time."""


@dataclass
class ShardModel:
    """A shard as it truly is: how many records it got, when it was closed, what follows."""

    id: str
    hash_keys: tuple[int, int]
    parents: tuple[str, ...] = ()
    listed_at: float = 0.0
    records: int = 0
    closed_at: float | None = None
    children: tuple[str, ...] = ()
    dropped: bool = False
    batches: list[tuple[int, int]] = field(default_factory=list)
    closed_in_raw: bool = False


@dataclass
class Reader:
    """What the thread of a shard is about: `todo` is its next step."""

    shard: ShardModel
    held: HeldLease
    halt: Halt
    term: int
    position: int
    todo: Callable[[], bool]
    checkpointing: int = 0


class Table:
    """The lease table as one worker, or one of its held leases (of some term), reaches it."""

    def __init__(self, world: Simulation, term: tuple[str, int] | None = None) -> None:
        self._world = world
        self._term = term

    def ensure(self) -> None:
        pass

    def leases(self) -> dict[str, Lease]:
        self._world.maybe_refuse()
        return dict(self._world.rows)

    def create(self, lease: Lease) -> None:
        self._world.maybe_refuse()
        self._world.rows.setdefault(lease.key, lease)

    def delete(self, lease: Lease) -> None:
        self._world.maybe_refuse()
        if (stored := self._world.rows.get(lease.key)) is not None and stored.counter == lease.counter:
            del self._world.rows[lease.key]
            self._world.count["removed leases"] += 1

    def replace(self, old: Lease, new: Lease) -> Lease | None:
        self._world.maybe_refuse()
        fate = self._world.dice.random() * self._world.calm
        if fate > 0.97:
            self._world.count["late writes"] += 1
            delay = self._world.dice.uniform(0, 2 * LEASE_SECONDS)
            self._world.late.append((self._world.now + delay, lambda: self._world.apply(old, new, self._term)))
            raise TransientFault("it is still on its way")
        self._world.apply(old, new, self._term)
        if fate > 0.94:
            self._world.count["lost answers"] += 1
            raise TransientFault("the answer was lost")
        return self._world.rows.get(old.key)


class Streams:
    """The stream as the workers list it."""

    def __init__(self, world: Simulation) -> None:
        self._world = world

    def describe(self, name: str) -> Stream:
        return STREAM

    def shards(self, stream: Stream) -> tuple[Shard, ...]:
        self._world.maybe_refuse()
        return tuple(
            Shard(one.id, one.parents, None if one.closed_at is None else "999999", one.hash_keys)
            for one in self._world.shards.values()
            if one.listed_at <= self._world.now and not one.dropped
        )

    def iterator(self, stream: Stream, shard: str, after: str | None) -> str:
        raise NotImplementedError

    def records(self, stream: Stream, shard: str, iterator: str) -> Reply:
        raise NotImplementedError


class Worker:
    """A process: an outlook, the leases that it holds, and a step of each reader at a time."""

    def __init__(self, world: Simulation, name: str) -> None:
        self._world = world
        self.name = name
        self.paused_until = 0.0
        self.readers: dict[str, Reader] = {}
        rate, offset = world.dice.uniform(RATE_MIN, RATE_MAX), world.dice.uniform(0, 1e6)
        self.clock = Clock(lambda: offset + rate * world.now, lambda: NOON, lambda event, _seconds: event.is_set())
        chance = Random(world.dice.random()).random
        self.outlook = Outlook(name, Streams(world), Table(world), LEASE_SECONDS, self.clock, chance, lambda *_: None)
        self.outlook.start([STREAM.name])
        self._renewal_due = 0.0

    def step(self) -> None:
        """Whatever the threads of the process do in a moment."""
        try:
            if self.outlook.look(all_anew=False):
                for key, reader in self.readers.items():
                    reader.held.heed(self.outlook.leases.get(key))
                for taken in self.outlook.take(self.readers.keys(), ()):
                    self._begin(taken)
        except TransientFault:
            pass
        if self.clock.monotonic() >= self._renewal_due:
            self._renewal_due = self.clock.monotonic() + LEASE_SECONDS / RENEWALS_PER_LEASE
            for reader in self.readers.values():
                self._try(reader.held.renew)
        for key, reader in list(self.readers.items()):
            if self._world.dice.random() < 0.5 and self._is_over(reader):
                del self.readers[key]
                self.outlook.hurry()

    def stop(self) -> None:
        """As after SIGTERM."""
        for reader in self.readers.values():
            self._try(reader.held.release)

    def _begin(self, taken: Taken) -> None:
        shard, halt = self._world.shards[taken.shard.id], Halt(self.clock)
        term = self._world.terms[taken.key]
        held = HeldLease(Table(self._world, (self.name, term)), taken.lease, halt)
        position = 0 if taken.lease.checkpoint == TRIM_HORIZON else int(taken.lease.checkpoint)
        for after, upto in sorted(shard.batches, key=lambda batch: batch[1]):
            position = upto if after <= position < upto else position
        reader = Reader(shard, held, halt, term, position, todo=bool)
        reader.todo = lambda: self._read(reader)
        self.readers[taken.key] = reader

    def _is_over(self, reader: Reader) -> bool:
        try:
            return reader.todo()
        except TransientFault:
            return False
        except LeaseLost:
            self._world.count["lost leases"] += 1
            return True

    def _read(self, reader: Reader) -> bool:
        reader.halt.check()
        shard = reader.shard
        if shard.closed_in_raw or (shard.closed_at is not None and reader.position == shard.records):
            self._world.begin(shard)
            shard.closed_in_raw = True
            reader.todo = lambda: self._end(reader)
        elif reader.position < shard.records:
            self._world.begin(shard)
            upto = self._world.dice.randint(reader.position + 1, shard.records)
            shard.batches.append((reader.position, upto))
            reader.checkpointing = upto
            reader.todo = lambda: self._checkpoint(reader)
        return False

    def _checkpoint(self, reader: Reader) -> bool:
        reader.held.checkpoint(str(reader.checkpointing), NOON)
        reader.position = reader.checkpointing
        reader.todo = lambda: self._read(reader)
        return False

    def _end(self, reader: Reader) -> bool:
        reader.held.end(reader.shard.children, NOON)
        self._try(reader.held.release)
        return True

    @staticmethod
    def _try(action: Callable[[], None]) -> None:
        with contextlib.suppress(TransientFault, LeaseLost):
            action()
