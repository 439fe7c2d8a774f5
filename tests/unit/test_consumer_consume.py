"""Workers and their shards: parents before children, new shards noticed, lost ones reported, faults that end it all."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from structlog.testing import capture_logs

from cdc.errors import FatalFault
from cdc_consumer.clock import SYSTEM_CLOCK, Clock
from cdc_consumer.consumer import consume
from cdc_consumer.coverage import HASH_KEY_LAST
from cdc_consumer.crew import Crew
from cdc_consumer.lease import SHARD_END, Lease, renewed, taken
from cdc_consumer.outlook import Outlook
from cdc_consumer.stream import Record, Reply, Shard, ShardGone, Stream
from cdc_consumer.tools import Tools
from sandbox.process import wait_until
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


def test_parents_are_read_to_their_end_before_their_children() -> None:
    streams, table, raw = MemoryStreams(), MemoryTable(), MemoryObjects()
    streams.add("c", 2, "a", "b")  # listed first, and a merge of two
    streams.add("a", 5)
    streams.add("b", 5)
    streams.add("d", 5, "c")
    streams.add("e", 5, "c")
    run(streams, table, raw)
    assert set(streams.opened[:2]) == {"a", "b"}
    assert streams.opened[2] == "c"
    assert set(streams.opened[3:]) == {"d", "e"}
    checkpoints = {key: lease.checkpoint for key, lease in table.rows.items()}
    identity = STREAM.identity
    ends = {f"{identity}/{shard}": SHARD_END for shard in "abc"}
    assert checkpoints == ends | {f"{identity}/d": "5", f"{identity}/e": "5"}
    closing = [json.loads(body) for path, body in raw.objects.items() if "/c/" in path and "_batches" in path]
    assert [(record["closed"], record["children"]) for record in closing] == [(True, ["d", "e"])]
    assert all(lease.owner is None for lease in table.rows.values())


def test_every_shard_is_announced_before_any_is_read() -> None:
    streams, raw = MemoryStreams(), MemoryObjects()
    for shard in "abc":
        streams.add(shard, 5)
    run(streams, MemoryTable(), raw)
    written = list(raw.objects)
    assert sorted(written[:3]) == [f"_tips/{STREAM.identity}/{shard}.json" for shard in "abc"]
    assert any(path.startswith("_batches/") for path in written[3:])


def test_a_child_is_not_taken_while_its_parent_is_not_ended() -> None:
    streams, table = MemoryStreams(), MemoryTable()
    streams.add("a", 5)
    streams.add("b", 5, "a")
    assert [one.shard.id for one in outlook(streams, table).take((), ())] == ["a"]
    seen = outlook(streams, table, "another")
    assert list(seen.take((), ())) == []


def test_new_shards_are_noticed() -> None:
    streams, table = MemoryStreams(), MemoryTable()
    streams.add("a", 5)
    seen = outlook(streams, table)
    assert [one.shard.id for one in seen.take((), ())] == ["a"]
    assert not seen.look(all_anew=True)
    key = f"{STREAM.identity}/a"
    table.rows[key] = replace(table.rows[key], checkpoint=SHARD_END, owner=None)
    streams.add("b", 5, "a")
    seen.hurry()
    assert seen.look(all_anew=False)
    assert [one.shard.id for one in seen.take((), ())] == ["b"]


def test_a_lease_in_our_name_that_we_do_not_hold_is_taken_again() -> None:
    """Its taking landed, but the answer was lost."""
    streams, table = MemoryStreams(), MemoryTable()
    streams.add("a", 5)
    key = f"{STREAM.identity}/a"
    table.rows[key] = taken(Lease(key), "me")
    assert [one.lease.counter for one in outlook(streams, table).take((), ())] == [2]


def test_a_stream_made_anew_ends_the_program() -> None:
    streams, table = MemoryStreams(), MemoryTable()
    streams.add("a", 5)
    seen = outlook(streams, table)
    streams.stream = Stream("s", "s-20261122T000000Z", timedelta(hours=24))
    seen.hurry()
    with pytest.raises(FatalFault, match="made anew"):
        seen.look(all_anew=True)


def test_a_shard_dropped_before_its_end_was_written_is_taken_before_its_children() -> None:
    """Its reader says in raw whether anything is lost; the warning comes once, and not for another stream's shard."""
    streams, table = MemoryStreams(), MemoryTable()
    streams.add("b", 5, "a")
    key = f"{STREAM.identity}/a"
    table.rows[key] = Lease(key, checkpoint="3")
    table.rows["other-stream-20200101T000000Z/a"] = Lease("other-stream-20200101T000000Z/a", checkpoint="3")
    with capture_logs() as log:
        seen = outlook(streams, table)
        seen.hurry()
        seen.look(all_anew=True)
    assert [line["lease"] for line in log if "dropped a shard" in line["event"]] == [key]
    assert [one.shard.id for one in seen.take((), ())] == ["a"]
    assert not seen.all_done([f"{STREAM.identity}/b"])
    table.rows[key] = Lease(key, checkpoint=SHARD_END)
    seen.hurry()
    seen.look(all_anew=False)
    assert [one.shard.id for one in seen.take((), ())] == ["b"]


def test_the_lease_of_a_dropped_shard_that_was_written_to_its_end_is_removed() -> None:
    streams, table = MemoryStreams(), MemoryTable()
    streams.add("b", 5, "a")
    streams.add("c", 5, "b")
    other = "other-stream-20200101T000000Z/a"
    for key in (f"{STREAM.identity}/a", f"{STREAM.identity}/b", other):
        table.rows[key] = Lease(key, checkpoint=SHARD_END)
    now = 0.0
    seen = Outlook("me", streams, table, 30, replace(SYSTEM_CLOCK, monotonic=lambda: now), lambda: 0.5, lambda *_: None)
    seen.start(["s"])
    for now, rows in ((0.0, 3), (299.0, 3), (330.0, 2)):  # noqa: B007
        assert seen.look(all_anew=False)
        assert len(table.rows) == rows
    assert set(table.rows) == {f"{STREAM.identity}/b", other}
    assert [one.shard.id for one in seen.take((), ())] == ["c"]


def test_a_hole_in_the_hash_keys_is_told_when_it_stays() -> None:
    streams, table = MemoryStreams(), MemoryTable()
    streams.add("a", 5)
    seen = outlook(streams, table)
    with capture_logs() as log:
        for hash_keys, told in ((None, 0), (None, 1), ((0, HASH_KEY_LAST), 1), (None, 1), (None, 2)):
            streams.hash_keys = hash_keys
            seen.hurry()
            seen.look(all_anew=False)
            assert len([line for line in log if "do not take every hash key" in line["event"]]) == told


def test_a_worker_that_is_to_end_soon_leaves_the_others_what_they_hold() -> None:
    streams, table = MemoryStreams(), MemoryTable()
    for shard in "abcd":
        streams.add(shard, 5)
    assert len(list(outlook(streams, table, "other").take((), ()))) == 4
    newcomer = outlook(streams, table)
    assert list(newcomer.take_free((), ())) == []
    assert len(list(newcomer.take((), ()))) == 1


def test_a_newcomer_is_balanced_in_within_seconds_and_what_a_dead_one_held_is_taken_in_time() -> None:
    """Simulated seconds; whoever is robbed learns of it by its own look."""
    streams, table = MemoryStreams(), MemoryTable()
    for shard in "abcdefgh":
        streams.add(shard, 5)
    now = 0.0
    clock = replace(SYSTEM_CLOCK, monotonic=lambda: now)
    workers: dict[str, Outlook] = {}

    def join(name: str) -> None:
        workers[name] = Outlook(name, streams, table, 30, clock, Random(len(workers)).random, lambda *_: None)
        workers[name].start(["s"])

    def pass_until(done: Callable[[], bool]) -> float:
        nonlocal now
        began = now
        while not done():
            for name, seen in workers.items():
                if seen.look(all_anew=False):
                    held = {key for key, lease in table.rows.items() if lease.owner == name}
                    list(seen.take(held, ()))
            if int(now) != int(now + 0.25):  # renewed each second, for what matters is who does
                table.rows.update({k: renewed(one) for k, one in table.rows.items() if one.owner in workers})
            now += 0.25
            assert now - began < 100
        return now - began

    def holding(*numbers: int) -> bool:
        burdens = Counter(lease.owner for lease in table.rows.values())
        return sorted(burdens[name] for name in workers) == sorted(numbers)

    join("one")
    assert pass_until(lambda: holding(8)) <= 0.25
    join("two")
    assert pass_until(lambda: holding(4, 4)) <= 5
    join("three")
    assert pass_until(lambda: holding(3, 3, 2)) <= 5
    del workers["two"]
    assert pass_until(lambda: holding(4, 4)) <= 40


def test_a_fault_of_one_shard_ends_the_program_after_the_others_wrote() -> None:
    other_wrote = threading.Event()

    class Denying(MemoryObjects):
        def put_new(self, path: str, body: bytes) -> None:
            if "/a/" in path:
                assert other_wrote.wait(60)
                raise FatalFault("denied")
            super().put_new(path, body)
            other_wrote.set()

    streams, table, raw = MemoryStreams(), MemoryTable(), Denying()
    streams.add("a", 5)
    streams.add("b", 5)
    with pytest.raises(FatalFault, match="denied"):
        run(streams, table, raw)
    assert table.rows[f"{STREAM.identity}/a"].checkpoint == "TRIM_HORIZON"
    assert table.rows[f"{STREAM.identity}/b"].checkpoint == "5"
    assert all(lease.owner is None for lease in table.rows.values())


def test_a_shard_that_the_stream_knows_no_more_is_left_alone_until_the_next_survey() -> None:
    now, stop, key = 0.0, threading.Event(), f"{STREAM.identity}/a"
    asked: list[float] = []

    class Vanished(MemoryStreams):
        def iterator(self, stream: Stream, shard: str, after: str | None) -> str:
            asked.append(now)
            raise ShardGone("gone")

    def wait(event: threading.Event, _seconds: float) -> bool:
        nonlocal now
        if event is stop:
            wait_until(
                lambda: key not in [one.name for one in threading.enumerate()], 60, "the shard's thread has ended"
            )
            now += 1
            if now > 100:
                stop.set()
            return stop.is_set()
        return event.wait(60)

    streams = Vanished()
    streams.add("a", 5)
    clock = Clock(lambda: now, SYSTEM_CLOCK.utc, wait)
    consume(["s"], MemoryTable(), 30, tools(streams, MemoryObjects(), clock), stop, until_caught_up=False)
    assert 2 <= len(asked) <= 5


def test_threads_learn_how_long_their_stream_keeps_records_now() -> None:
    streams, table = MemoryStreams(), MemoryTable()
    streams.add("a", 5)
    seen, crew = outlook(streams, table), Crew(table, tools(streams, MemoryObjects()), until_caught_up=False)
    for one in seen.take((), ()):
        crew.start(one)
    streams.stream = replace(STREAM, retention=timedelta(hours=1))
    seen.hurry()
    seen.look(all_anew=False)
    crew.heed(seen.streams, seen.leases)
    (member,) = crew._members.values()
    assert member.reader.retention == timedelta(hours=1)
    crew.end()


def test_a_missing_stream_ends_the_program() -> None:
    with pytest.raises(FatalFault, match="no such stream"):
        run(MemoryStreams(), MemoryTable(), MemoryObjects(), ("s", "missing"))


def test_stop_before_anything_began() -> None:
    streams, stop = MemoryStreams(), threading.Event()
    streams.add("a", 5)
    stop.set()
    table = MemoryTable()
    consume(["s"], table, 30, tools(streams, MemoryObjects()), stop, until_caught_up=False)
    assert table.rows == {}


@pytest.mark.parametrize(("all_anew", "noticed_after"), [(True, 5.0), (False, 30.0)])
def test_shards_are_listed_now_and_then_or_at_each_look(all_anew: bool, noticed_after: float) -> None:  # noqa: FBT001
    streams, table = MemoryStreams(), MemoryTable()
    streams.add("a", 5)
    now = 0.0
    seen = Outlook("me", streams, table, 30, replace(SYSTEM_CLOCK, monotonic=lambda: now), lambda: 0.5, lambda *_: None)
    seen.start(["s"])
    assert seen.look(all_anew=True)
    streams.add("b", 5)
    while "b" not in [one.shard.id for one in seen.take((), ())]:
        now += 5.0
        assert seen.look(all_anew=all_anew)
    assert now == noticed_after
