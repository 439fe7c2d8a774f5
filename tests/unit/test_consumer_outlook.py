"""What a worker sees of shards and leases and takes of them: children, new, lost and past ones, a stream made anew."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from cdc.errors import FatalFault
from cdc_consumer.clock import SYSTEM_CLOCK
from cdc_consumer.coverage import HASH_KEY_LAST
from cdc_consumer.lease import SHARD_END, Lease, taken
from cdc_consumer.outlook import Outlook
from cdc_consumer.stream import Stream
from tests.memory_fleet import NOON, STREAM, MemoryStreams, MemoryTable, outlook, run
from tests.raw_zone import MemoryObjects


def test_a_child_is_not_taken_while_its_parent_is_not_ended() -> None:
    streams, table = MemoryStreams(), MemoryTable()
    streams.add("a", 5)
    streams.add("b", 5, "a")
    assert [one.shard.id for one in outlook(streams, table).take((), ())] == ["a"]
    seen = outlook(streams, table, "another")
    assert list(seen.take((), ())) == []


def test_the_lease_of_a_new_child_knows_until_when_its_parents_were_read() -> None:
    streams, table = MemoryStreams(), MemoryTable()
    streams.add("a", 5)
    streams.add("b", 5, "a")
    run(streams, table, MemoryObjects())
    ended, new = (table.rows[f"{STREAM.identity}/{shard}"] for shard in "ab")
    assert ended.arrived_at == NOON
    assert new.arrived_at is not None


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


def test_leases_of_a_stream_of_before_are_told_and_removed_and_those_of_other_streams_are_not() -> None:
    streams, table = MemoryStreams(), MemoryTable()
    streams.add("a", 5)
    before = ["s-20200101T000000Z/a", "s-20200101T000000Z/b"]
    others = ["s-t-20200101T000000Z/a", "t-20200101T000000Z/a", "s-20200101T000000Z-20200101T000000Z/a", "s-x/a"]
    table.rows = {key: Lease(key, checkpoint=SHARD_END if key == before[1] else "3") for key in [*before, *others]}
    now = 0.0
    seen = Outlook("me", streams, table, 30, replace(SYSTEM_CLOCK, monotonic=lambda: now), lambda: 0.5, lambda *_: None)
    seen.start(["s"])
    with capture_logs() as log:
        for now, rows in ((0.0, 6), (299.0, 6), (330.0, 4)):  # noqa: B007
            assert seen.look(all_anew=False)
            assert len(table.rows) == rows
    assert set(table.rows) == set(others)
    assert [line["lease"] for line in log if "made anew" in line["event"]] == [before[0]]
    assert [one.shard.id for one in seen.take((), ())] == ["a"]


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
