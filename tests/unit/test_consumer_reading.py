"""How a shard is read: at a bounded pace, with a bounded number of pages in memory, aggregates included."""

from __future__ import annotations

import gzip
import json
import threading

import pytest
from prometheus_client import REGISTRY

from cdc_consumer.pace import READ_SECONDS
from cdc_consumer.shard import Outcome
from tests.kpl import aggregate
from tests.shard_world import SHARD, STREAM, World, event

MIB = 1024 * 1024


@pytest.fixture
def world() -> World:
    return World()


class Room(threading.Semaphore):
    """Room for so many pages; `asked` tells that somebody wants some."""

    def __init__(self, pages: int) -> None:
        super().__init__(pages)
        self.asked = threading.Event()

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:  # noqa: FBT001, FBT002
        self.asked.set()
        return super().acquire(blocking, timeout)


def raw_places(world: World) -> list[tuple[str, int]]:
    """Sequence number and place of every line in raw, in the order of the chain."""
    bodies = [world.raw.objects[ref["path"]] for record in world.chain() for ref in record.get("objects", ())]
    lines = [json.loads(line) for body in bodies for line in gzip.decompress(body).splitlines()]
    return [(line["seq"], line["sub"]) for line in lines]


def test_aggregates_among_plain_records_lose_nothing_to_a_bad_one(world: World) -> None:
    bad = bytearray(aggregate([event(7), event(8)]))
    bad[9] ^= 1
    world.streams.add(event(1), aggregate([event(2), b"{", b"", event(4)]), bytes(bad), event(9))
    assert world.work() is Outcome.CAUGHT_UP
    numbers = [one.seq for one in world.streams.records_]
    assert raw_places(world) == [(numbers[0], 0), (numbers[1], 0), (numbers[1], 3), (numbers[3], 0)]
    assert sum(record.get("quarantined", 0) for record in world.chain()) == 2
    assert sum(record.get("empty", 0) for record in world.chain()) == 1
    assert {path.split("/")[0] for path in world.quarantine.objects} == {"not-json", "aggregate-checksum"}


def test_what_is_read_and_written_is_counted(world: World) -> None:
    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(f"cdc_consumer_{name}", labels) or 0

    def counts() -> dict[str, float]:
        return {
            "read": value("read_records_total"),
            "read bytes": value("read_bytes_total"),
            "batches": value("written_batches_total"),
            "written": value("written_records_total", table="usuarios"),
            "written bytes": value("written_bytes_total", table="usuarios"),
            "quarantined": value("quarantined_records_total", reason="not-json"),
            "left out": value("left_out_records_total", reason="heartbeat"),
            "empty": value("empty_records_total"),
            "puts": value("put_seconds_count"),
            "checkpoints": value("checkpoint_seconds_count"),
        }

    behind: list[float | None] = []
    lag = {"stream": STREAM.identity, "shard": SHARD}
    world.time.then = lambda: behind.append(REGISTRY.get_sample_value("cdc_consumer_behind_milliseconds", lag))
    world.streams.add(aggregate([event(1), event(2), b"{"]), b"", b'{"ts_ms":1}', event(3))
    before = counts()
    world.work()
    (record,) = world.chain()
    assert {name: count - before[name] for name, count in counts().items()} == {
        "read": 4,
        "read bytes": sum(len(one.data) for one in world.streams.records_),
        "batches": 1,
        "written": 3,
        "written bytes": record["objects"][0]["bytes"],
        "quarantined": 1,
        "left out": 1,
        "empty": 1,
        "puts": 4,  # raw object, quarantine object, batch record, tip
        "checkpoints": 1,
    }
    assert behind == [5000]
    assert REGISTRY.get_sample_value("cdc_consumer_behind_milliseconds", lag) is None


def test_a_batch_never_ends_inside_of_an_aggregate(world: World) -> None:
    world.batch_bytes = 1000
    world.streams.add(*(aggregate([event(3 * pack + sub, 200) for sub in range(3)]) for pack in range(4)))
    world.work()
    assert [len(record["objects"]) for record in world.chain()] == [1] * 4
    assert [record["objects"][0]["records"] for record in world.chain()] == [3] * 4


def test_after_a_large_page_a_shard_is_not_asked_while_it_would_refuse(world: World) -> None:
    world.streams.page = 10
    world.streams.add(*(event(number, MIB) for number in range(1, 26)))
    world.work()
    first, second, third = world.streams.calls
    assert second - first >= 5
    assert third - second >= 5


def test_a_batch_that_gets_old_while_the_shard_must_not_be_asked_is_written_then(world: World) -> None:
    world.streams.page = 4
    world.streams.add(*(event(number, 7 * MIB) for number in range(1, 8)))
    world.batch_bytes = 1000 * MIB
    written_at: list[float] = []
    world.raw.before = lambda path: written_at.append(world.time.seconds) if "_batches" in path else None
    world.work()
    assert world.streams.calls[1] - world.streams.calls[0] >= 14
    assert written_at[0] == 10


def test_a_shard_with_new_records_at_every_read_still_notes_its_tip(world: World) -> None:
    def arrive() -> None:
        if world.time.seconds > 200:
            world.halt.ask(8)
        world.streams.add(event(len(world.streams.records_) + 1))

    tips: list[float] = []
    world.raw.before = lambda path: tips.append(world.time.seconds) if "_tips" in path else None
    world.time.then = arrive
    world.work(until_caught_up=False)
    assert len(tips) == 4  # at the start, and each minute
    assert world.check() == list(range(1, len(world.streams.records_)))


def test_small_pages_are_read_at_the_pace_of_the_calls(world: World) -> None:
    world.streams.add(*map(event, range(1, 11)))
    world.work()
    assert world.streams.calls == [0, READ_SECONDS, 2 * READ_SECONDS, 3 * READ_SECONDS]


def test_a_shard_that_is_behind_waits_until_there_is_room_for_a_page(world: World) -> None:
    world.pages = room = Room(0)
    world.streams.add(event(1))
    outcomes: list[Outcome] = []
    worker = threading.Thread(target=lambda: outcomes.append(world.work()))
    worker.start()
    room.asked.wait()
    assert not world.streams.calls
    room.release()
    worker.join()
    assert outcomes == [Outcome.CAUGHT_UP]
    assert world.pages.acquire(blocking=False)
    assert world.check() == [1]


def test_who_waits_for_room_can_be_stopped(world: World) -> None:
    world.pages = room = Room(0)
    outcomes: list[Outcome] = []
    worker = threading.Thread(target=lambda: outcomes.append(world.work(until_caught_up=False)))
    worker.start()
    room.asked.wait()
    world.halt.ask(8)
    worker.join()
    assert outcomes == [Outcome.STOPPED]
    assert not world.streams.calls


def test_a_shard_at_its_tip_needs_no_leave(world: World) -> None:
    world.pages = threading.Semaphore(1)
    rests: list[bool] = []

    def look() -> None:
        rests.append(world.pages.acquire(blocking=False))
        if len(rests) > 3:
            world.halt.ask(8)

    world.time.then = look
    world.work(until_caught_up=False)
    assert rests[0]  # given back after the first page
    assert len(world.streams.calls) == 4
