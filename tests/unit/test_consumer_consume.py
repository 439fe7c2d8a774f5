"""Workers and their shards: parents before children, new shards noticed, lost ones reported, faults that end it all."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest

from cdc.errors import FatalFault
from cdc_consumer.clock import SYSTEM_CLOCK, Clock
from cdc_consumer.consumer import consume
from cdc_consumer.crew import Crew
from cdc_consumer.lease import SHARD_END, Lease, renewed
from cdc_consumer.outlook import Outlook
from cdc_consumer.stream import ShardGone, Stream
from sandbox.process import wait_until
from tests.memory_fleet import NOON, STREAM, MemoryStreams, MemoryTable, outlook, run, tools
from tests.raw_zone import MemoryObjects


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


def test_what_a_child_may_have_lost_counts_from_the_end_of_its_parents() -> None:
    """Also when nobody has read the child before it began to lose: it does not pass for a shard that is new to us."""
    streams, table, raw = MemoryStreams(), MemoryTable(), MemoryObjects()
    streams.add("a", 5)
    streams.add("b", 5)
    streams.add("c", 9, "a", "b")
    del streams.data["c"][:3]
    clock = replace(SYSTEM_CLOCK, utc=lambda: NOON + timedelta(hours=30))
    for parent, read_until in (("a", NOON), ("b", NOON - timedelta(hours=5))):
        key = f"{STREAM.identity}/{parent}"
        table.rows[key] = Lease(key, checkpoint=SHARD_END, arrived_at=read_until, children=("c",))
    consume(("s",), table, 30, tools(streams, raw, clock), threading.Event(), until_caught_up=True)
    assert table.rows[f"{STREAM.identity}/c"].parents == ("a", "b")
    chain = [json.loads(body) for path, body in raw.objects.items() if path.startswith("_batches/")]
    assert [(record["shard"], record["after"], record["upto"]) for record in chain] == [("c", "3", "9")]


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
