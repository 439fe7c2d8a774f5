"""A shard whose records the stream drops before or while they are read: what may be lost is a gap, all else is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from cdc_consumer.lease import SHARD_END, Lease
from cdc_consumer.shard import Outcome
from cdc_consumer.stream import IteratorExpired, Record, Shard, ShardGone
from tests.shard_world import KEY, NOON, SHARD, SPREAD, STREAM, World, event, seq


@pytest.fixture
def world() -> World:
    return World()


def test_a_vanished_shard_is_left_with_what_was_read_of_it(world: World) -> None:
    world.streams.add(*map(event, range(1, 6)))

    def vanish() -> None:
        world.time.then = lambda: None
        world.streams.faults.append(ShardGone("gone"))

    world.time.then = vanish
    assert world.work() is Outcome.GONE
    assert world.check() == [1, 2, 3]


def drop(world: World) -> None:
    """The stream drops the shard, which was closed longer ago than it keeps records."""
    world.streams.dropped, world.streams.children = True, ("child",)
    world.streams.records_ = []
    world.streams.faults.append(ShardGone("gone"))


def test_a_dropped_shard_that_was_read_until_less_than_the_retention_ago_ends_without_a_gap(world: World) -> None:
    world.streams.add(event(1), event(2))
    world.work()
    world.time.seconds += timedelta(hours=23).total_seconds()
    drop(world)
    assert world.work() is Outcome.SHARD_END
    last = world.chain()[-1]
    assert (last["after"], last["closed"], last["children"]) == (seq(2), True, ["child"])
    assert world.check() == [1, 2]
    assert world.table.row.checkpoint == SHARD_END


@pytest.mark.parametrize("read", [0, 2])
def test_a_dropped_shard_that_may_have_held_what_was_never_read_ends_with_a_gap(world: World, read: int) -> None:
    if read:
        world.streams.add(event(1), event(2))
        world.work()
    world.time.seconds += timedelta(hours=30).total_seconds()
    drop(world)
    assert world.work() is Outcome.SHARD_END
    last = world.chain()[-1]
    assert int(last["after"]) > read * SPREAD
    assert (last["closed"], last["children"]) == (True, ["child"])
    world.check(expected_gaps=1)


def test_a_shard_of_a_stream_that_was_made_anew_is_left_as_it_is(world: World) -> None:
    drop(world)
    world.streams.stream = replace(STREAM, identity="s-20261122T120000Z")
    assert world.work() is Outcome.GONE
    assert world.chain() == []
    assert world.table.row.checkpoint == "TRIM_HORIZON"


def forget(world: World, numbers: int) -> None:
    """The stream drops its oldest records."""
    world.streams.records_ = world.streams.records_[numbers:]


def test_resuming_behind_the_retention_leaves_a_gap_in_the_chain(world: World) -> None:
    world.streams.add(*map(event, range(1, 4)))
    world.work()
    world.time.seconds += timedelta(hours=30).total_seconds()
    world.streams.add(*map(event, range(4, 8)))
    forget(world, 5)
    world.work()
    assert world.chain()[-1]["after"] == str(6 * SPREAD - 1)
    assert world.check(expected_gaps=1) == [1, 2, 3, 6, 7]


def test_a_quiet_stream_that_was_watched_has_no_gap(world: World) -> None:
    """No record for 30 hours, but the consumer was there and said so."""
    world.streams.add(*map(event, range(1, 4)))
    world.time.then = lambda: world.halt.ask(8) if world.time.seconds > 30 * 3600 else None
    world.work(until_caught_up=False)
    world.time.then = lambda: None
    world.streams.records_ = [Record(seq(9), world.time.clock().utc(), event(9))]
    world.work()
    assert world.check() == [1, 2, 3, 9]


def test_a_gap_is_not_forgotten_while_nothing_arrives(world: World) -> None:
    world.streams.add(event(1), event(2))
    world.work()
    world.time.seconds += timedelta(hours=30).total_seconds()
    world.streams.add(event(3))
    forget(world, 3)
    world.work()  # nothing there
    world.streams.records_ = [Record(seq(4), NOON + timedelta(hours=30), event(4))]
    world.work()
    assert world.check(expected_gaps=1) == [1, 2, 4]


def test_a_closed_shard_whose_rest_is_gone_ends_with_a_gap(world: World) -> None:
    world.streams.add(event(1), event(2))
    world.work()
    world.time.seconds += timedelta(hours=30).total_seconds()
    forget(world, 2)
    world.streams.closed = Shard(SHARD, ending=seq(99))
    assert world.work() is Outcome.SHARD_END
    assert (world.chain()[-1]["after"], world.chain()[-1]["upto"]) == (str(99 * SPREAD - 1), seq(99))
    world.check(expected_gaps=1)


def test_a_lost_lease_table_reads_nothing_twice(world: World) -> None:
    world.streams.add(event(1), event(2))
    world.work()
    world.table.row = replace(Lease(KEY), counter=0)
    world.streams.add(event(3))
    world.work()
    assert [(record["after"], record["upto"]) for record in world.chain()] == [("0", seq(2)), (seq(2), seq(3))]


def test_a_worker_that_slept_too_long_writes_what_it_had_before_the_gap(world: World) -> None:
    world.streams.add(*map(event, range(1, 7)))

    def sleep() -> None:
        world.time.then = lambda: None
        world.time.seconds += timedelta(hours=30).total_seconds()
        forget(world, 4)

    def expire() -> None:
        world.streams.faults.append(IteratorExpired("expired"))
        world.time.then = sleep

    world.time.then = expire
    world.work()
    assert world.check(expected_gaps=1) == [1, 2, 3, 5, 6]


def test_an_iterator_that_expires_on_a_quiet_stream_is_no_gap(world: World) -> None:
    world.streams.add(*map(event, range(1, 4)))

    def expire() -> None:
        if world.time.seconds > timedelta(hours=30).total_seconds():
            world.streams.faults.append(IteratorExpired("expired"))
            forget(world, 3)
            world.streams.records_.append(Record(seq(9), world.time.clock().utc(), event(9)))
            world.time.then = lambda: world.halt.ask(8) if len(world.streams.opened) > 1 else None

    world.time.then = expire
    world.work(until_caught_up=False)
    assert world.check() == [1, 2, 3, 9]


def lag(world: World) -> None:
    """A hundred records, one a minute, begun to be read 23 hours later by a worker whose writes take 4 minutes each."""
    for number in range(1, 101):
        world.streams.add(event(number))
        world.time.seconds += 60
    world.time.seconds = timedelta(hours=23).total_seconds()
    world.streams.page, world.batch_bytes = 1, 1

    def slow(path: str) -> None:
        if path.startswith("_batches"):
            world.time.seconds += 240

    world.raw.before = slow


def assert_what_is_lost_lies_in_gaps(world: World) -> None:
    gaps = sum(int(b["after"]) > int(a["upto"]) for a, b in zip(world.chain(), world.chain()[1:], strict=False))
    lost = set(range(1, 101)) - set(world.check(expected_gaps=gaps))
    assert lost
    for record in world.chain():
        assert not [n for n in lost if int(record["after"]) < n * SPREAD <= int(record["upto"])]


def test_what_the_stream_drops_under_a_good_iterator_is_a_gap(world: World) -> None:
    world.streams.retention = STREAM.retention
    lag(world)
    world.work()
    assert_what_is_lost_lies_in_gaps(world)


def test_a_retention_that_is_shortened_while_the_shard_is_read_is_heeded(world: World) -> None:
    lag(world)
    shorter = timedelta(hours=23, minutes=30)
    world.streams.retention = shorter
    world.retention = shorter
    world.work()
    assert_what_is_lost_lies_in_gaps(world)
