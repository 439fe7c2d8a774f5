"""One shard under simulated time and faults: a crash at any write, storms, expiry, resharding, loss, SIGTERM."""

from __future__ import annotations

import gzip
import json
from contextlib import nullcontext

import pytest

from cdc.errors import FatalFault, LeaseLost, TransientFault
from cdc_consumer.lease import SHARD_END, Lease, taken
from cdc_consumer.shard import Outcome
from cdc_consumer.stream import IteratorExpired, Shard
from tests.shard_world import NOON, SHARD, Crash, World, event, seq


@pytest.fixture
def world() -> World:
    return World()


def test_caught_up(world: World) -> None:
    world.streams.add(*map(event, range(1, 8)), b"", b"{")
    assert world.work() is Outcome.CAUGHT_UP
    assert world.check() == [1, 2, 3, 4, 5, 6, 7]
    assert world.table.row.checkpoint == seq(9)
    assert world.table.row.arrived_at == NOON
    assert len(world.quarantine.objects) == 1
    (tip,) = (json.loads(body) for path, body in world.raw.objects.items() if path.startswith("_tips/"))
    assert tip["upto"] == seq(9)


def test_a_second_worker_goes_on_where_the_first_one_ended(world: World) -> None:
    world.streams.add(event(1), event(2))
    world.work()
    world.streams.add(event(3))
    world.work()
    assert world.streams.opened == [None, seq(2)]
    assert [(record["after"], record["upto"]) for record in world.chain()] == [("0", seq(2)), (seq(2), seq(3))]


def test_a_batch_is_written_when_it_is_old_enough_and_the_tip_noted_at_most_once_a_minute(world: World) -> None:
    def feed() -> None:
        if world.time.seconds < 100:
            world.streams.add(event(len(world.streams.records_) + 1))
        else:
            world.halt.ask(8)

    world.time.then = feed
    assert world.work(until_caught_up=False) is Outcome.STOPPED
    assert world.check() == list(range(1, len(world.streams.records_) + 1))
    assert 9 <= len(world.chain()) <= 11
    gaps = [later - earlier for earlier, later in zip(world.streams.calls, world.streams.calls[1:], strict=False)]
    assert min(gaps) >= 0.2


def test_a_batch_stays_below_its_bytes_and_a_larger_record_is_alone(world: World) -> None:
    world.batch_bytes = 1000
    sizes = [100, 100, 5000, 100, 100, 100, 900, 100]
    world.streams.add(*(event(number, size) for number, size in enumerate(sizes, start=1)))
    world.work()
    assert world.check() == list(range(1, 9))
    for record in world.chain():
        (ref,) = record["objects"]
        assert ref["records"] == 1 or len(gzip.decompress(world.raw.objects[ref["path"]])) <= 1000


@pytest.mark.parametrize("batch_bytes", range(1000, 1300, 10))
def test_the_ends_of_lines_count_as_well(world: World, batch_bytes: int) -> None:
    world.batch_bytes = batch_bytes
    world.streams.add(*map(event, range(10, 40)))
    world.work()
    bodies = [gzip.decompress(body) for path, body in world.raw.objects.items() if path.startswith("postgres/")]
    assert max(map(len, bodies)) <= batch_bytes


def test_order_of_writes(world: World) -> None:
    order: list[str] = []
    world.raw.before = lambda path: order.append(path.split("/")[0])
    world.quarantine.before = lambda _path: order.append("quarantine")
    world.table.before = lambda new: order.append(f"checkpoint {new.checkpoint}")
    world.streams.add(event(1), b"garbage")
    world.work()
    assert order == ["quarantine", "postgres", "_batches", f"checkpoint {seq(2)}", "_tips"]


WRITES = {"before": 13, "after": 10}  # the fakes have no moment after a checkpoint: it is the next write's "before"


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", range(14))
def test_a_crash_before_or_after_any_write_loses_nothing(world: World, moment: str, step: int) -> None:
    """Three batches of four writes each and the last tip: the worker dies at each of them, and the next goes on."""
    world.batch_bytes = 450
    payloads = [event(1), b"{", event(2), b"{", event(3), b"{"]
    world.streams.add(*payloads)
    left = step

    def maybe_die(_: object) -> None:
        nonlocal left
        left -= 1
        if left == -1:
            raise Crash

    for store in (world.raw, world.quarantine):
        setattr(store, moment, maybe_die)
    if moment == "before":
        world.table.before = maybe_die
    with pytest.raises(Crash) if step < WRITES[moment] else nullcontext():
        world.work()
    if step < WRITES[moment]:
        world.streams.add(event(7))
        world.streams.page = 2  # the next worker cuts elsewhere
        world.work()
    assert world.check() == [number for number, payload in enumerate(world.streams.records_, 1) if payload.data != b"{"]
    quarantined = {
        json.loads(line)["seq"]
        for body in world.quarantine.objects.values()
        for line in gzip.decompress(body).splitlines()
    }
    assert quarantined == {seq(2), seq(4), seq(6)}


def test_a_put_whose_answer_was_lost_is_a_success(world: World) -> None:
    world.streams.add(event(1), b"{")
    lost: set[str] = set()

    def lose(path: str) -> None:
        if path not in lost:
            lost.add(path)
            raise TransientFault("the answer was lost")

    world.raw.after = world.quarantine.after = lose
    assert world.work() is Outcome.CAUGHT_UP
    assert world.check() == [1]
    assert len(lost) == 4


def test_storms_of_faults_are_sat_out_while_what_was_read_is_written(world: World) -> None:
    world.streams.add(event(1))
    storm: list[Exception] = [TransientFault("throttled") for _ in range(50)]

    def begin() -> None:
        world.time.then = lambda: None
        world.streams.faults = storm

    world.time.then = begin
    world.raw.after = lambda path: world.halt.ask(8) if "_tips" in path and not storm else None
    world.work(until_caught_up=False)
    assert world.check() == [1]
    first_batch_at = world.table.row.checkpoint
    assert first_batch_at == seq(1)
    assert (
        max(later - earlier for earlier, later in zip(world.streams.calls, world.streams.calls[1:], strict=False)) <= 5
    )


def test_an_expired_iterator_is_made_anew_after_the_last_record_read(world: World) -> None:
    world.streams.add(*map(event, range(1, 6)))

    def expire() -> None:
        world.time.then = lambda: None
        world.streams.faults.append(IteratorExpired("expired"))

    world.time.then = expire
    world.work()
    assert world.streams.opened == [None, seq(3)]
    assert world.check() == [1, 2, 3, 4, 5]


def test_the_last_batch_of_a_closed_shard_names_the_children(world: World) -> None:
    world.streams.add(event(1), event(2))
    world.streams.closed = Shard(SHARD, ending=seq(99))
    world.streams.children = ("shardId-2", "shardId-1")
    assert world.work() is Outcome.SHARD_END
    (record,) = world.chain()
    assert (record["upto"], record["closed"], record["children"]) == (seq(2), True, ["shardId-1", "shardId-2"])
    assert world.table.row.checkpoint == SHARD_END
    assert world.table.row.children == ("shardId-1", "shardId-2")


def test_a_shard_that_closes_after_all_was_written_gets_a_batch_up_to_its_end(world: World) -> None:
    world.streams.add(event(1))
    world.work()
    world.streams.closed = Shard(SHARD, ending=seq(99))
    world.streams.children = ("shardId-1",)
    assert world.work() is Outcome.SHARD_END
    record = world.chain()[-1]
    assert (record["after"], record["upto"], record["closed"]) == (seq(1), seq(99), True)
    assert "objects" not in record
    world.check()


def test_a_crash_between_the_closing_batch_record_and_shard_end(world: World) -> None:
    world.streams.add(event(1))
    world.streams.closed = Shard(SHARD, ending=seq(99))
    world.streams.children = ("shardId-1",)

    def die(new: Lease) -> None:
        if new.checkpoint == SHARD_END:
            raise Crash

    world.table.before = die
    with pytest.raises(Crash):
        world.work()
    world.table.before = lambda _: None
    assert world.work() is Outcome.SHARD_END
    assert world.table.row.checkpoint == SHARD_END
    assert world.table.row.children == ("shardId-1",)
    assert len(world.chain()) == 1


def test_a_lease_lost_in_the_middle_of_a_batch_changes_nothing(world: World) -> None:
    world.streams.add(event(1))

    def steal(path: str) -> None:
        if path.startswith("postgres/"):
            world.table.row = taken(world.table.row, "thief")

    world.raw.after = steal
    with pytest.raises(LeaseLost):
        world.work()
    assert (world.table.row.owner, world.table.row.checkpoint) == ("thief", "TRIM_HORIZON")


def test_a_lease_known_to_be_lost_stops_before_the_next_write(world: World) -> None:
    world.streams.add(event(1), b"{")
    world.quarantine.after = lambda _: world.halt.lose()
    with pytest.raises(LeaseLost):
        world.work()
    assert world.raw.objects == {}


def test_sigterm_writes_what_was_read(world: World) -> None:
    world.streams.add(event(1), event(2))
    world.time.then = lambda: world.halt.ask(8)
    assert world.work(until_caught_up=False) is Outcome.STOPPED
    assert world.check() == [1, 2]
    assert world.table.row.checkpoint == seq(2)


def test_sigterm_does_not_wait_for_ever_for_a_store_that_is_down(world: World) -> None:
    world.streams.add(event(1))
    world.time.then = lambda: None

    def down(_: str) -> None:
        raise TransientFault("down")

    world.raw.before = down
    world.time.then = lambda: world.halt.ask(8) if not world.halt.ending else None
    with pytest.raises(TransientFault):
        world.work(until_caught_up=False)
    assert world.time.seconds <= 10
    assert world.table.row.checkpoint == "TRIM_HORIZON"


def test_what_is_denied_ends_the_shard(world: World) -> None:
    world.streams.add(event(1))

    def deny(_: str) -> None:
        raise FatalFault("denied")

    world.raw.before = deny
    with pytest.raises(FatalFault):
        world.work()
    assert world.table.row.checkpoint == "TRIM_HORIZON"
